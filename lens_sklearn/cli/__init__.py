"""The command line: ``lens-sklearn fit | compare | score | best-of-n | report | serve | demo``."""

from ._main import main

__all__ = ["main"]
