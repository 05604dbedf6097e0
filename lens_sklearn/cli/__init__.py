"""The command line: ``lens-sklearn fit | compare | score | best-of-n | serve | demo``."""

from ._main import main

__all__ = ["main"]
