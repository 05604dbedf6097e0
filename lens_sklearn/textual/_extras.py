"""Optional packages: imported where they are used, and quiet about what is theirs to follow."""

import importlib
import warnings
from contextlib import contextmanager


def import_extra(module, extra="textual"):
    """Import an optional package; name the extra that brings it where it is missing.

    Parameters
    ----------
    module : str
        Name of the package.
    extra : str, default="textual"
        What brings it.

    Returns
    -------
    module
        Imported.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} is missing ({error}): pip install "lens-sklearn[{extra}]"'
        ) from error


@contextmanager
def ignore_deprecations():
    """Leave out the deprecations that are TRL's and PEFT's own to follow."""
    with warnings.catch_warnings():
        pattern = r"`\w*gradient_checkpointing\w*` is deprecated"
        warnings.filterwarnings("ignore", pattern, FutureWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # said by an error
        yield
