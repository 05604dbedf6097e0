"""The command line: ``lens-sklearn fit | score | best-of-n | demo``."""

from ._main import main

__all__ = ["main"]
