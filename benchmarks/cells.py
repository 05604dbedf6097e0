"""How tables write numbers and order methods."""

import numpy as np

from .methods import METHODS


def in_order(methods):
    """Sort methods as they are declared; those whose file is gone come last."""
    there = set(methods)
    return [m for m in METHODS if m in there] + sorted(there - set(METHODS))


def difference_cell(difference, digits=3):
    """Write a difference with its interval.

    Parameters
    ----------
    difference : Difference
        From `curves.interval`.
    digits : int, default=3
        Decimals.

    Returns
    -------
    str
        The mean alone where there is one split.
    """
    mean = f"{difference.mean:+.{digits}f}"
    if np.isnan(difference.half_width):
        return mean
    return f"{mean} ± {difference.half_width:.{digits}f}"


def multiplier_cell(found, digits=2):
    """Write a data multiplier with its interval.

    Parameters
    ----------
    found : Multiplier
        Of `curves.multipliers`.
    digits : int, default=2
        Decimals.

    Returns
    -------
    str
        Bounds marked as such.
    """

    def end(value, below, above):
        return ("≤ " if below else "≥ " if above else "") + f"{value:.{digits}f}"

    value = end(found.value, found.below, found.above)
    lower = end(found.lower, found.lower_below, False)
    return f"{value} [{lower}, {end(found.upper, False, found.upper_above)}]"
