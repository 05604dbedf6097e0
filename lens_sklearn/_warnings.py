"""Warnings that point at the line of whoever called this package."""

import inspect
import warnings
from pathlib import Path

PACKAGE = Path(__file__).parent
COMMAND_LINE = PACKAGE / "cli"


def warn(message, category=UserWarning):
    """Warn at the first caller's line that is in neither this package nor scikit-learn.

    A fixed ``stacklevel`` is right on one path alone: the same warning is reached from an
    estimator, from a Pipeline and from a search. The command line counts as a caller.

    Parameters
    ----------
    message : str
        What is wrong, and what would be right.
    category : type, default=UserWarning
        The warning's class.
    """
    frame, level = inspect.currentframe().f_back, 2
    while frame is not None and _is_inner(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level - 1 if frame is None else level)


def _is_inner(frame):
    path = Path(frame.f_code.co_filename)
    if frame.f_globals.get("__name__", "").split(".")[0] in ("sklearn", "joblib"):
        return True
    return path.is_relative_to(PACKAGE) and not path.is_relative_to(COMMAND_LINE)
