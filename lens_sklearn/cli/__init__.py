"""The command line: ``lens-sklearn fit | compare | score | best-of-n | demo``."""

from ._main import main

__all__ = ["main"]
