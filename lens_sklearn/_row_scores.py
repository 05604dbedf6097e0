"""Rewards of rows of which some may be refused."""

from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """What was predicted of a row.

    Attributes
    ----------
    rewards : list of float
        A reward a response, NaN where it has none.
    deviations : list of float or None
        Their posterior standard deviations, where the reward has a posterior.
    """

    rewards: list
    deviations: list | None


def score_rows(estimator, rows, has_deviation=False, caught=Exception):
    """Predict rows; halve them where some are refused, so that each costs itself alone.

    Parameters
    ----------
    estimator : estimator
        Its ``predict`` takes candidate rows of text.
    rows : list of n dict
        Each has ``responses``.
    has_deviation : bool, default=False
        Whether ``predict`` takes ``return_std``.
    caught : type of exception, default=Exception
        What stands for the row that it was raised at; other exceptions are raised.

    Returns
    -------
    list of n Scores or Exception
        An exception stands for a row that was refused, or at which the model failed.
    """
    try:
        if has_deviation:
            rewards, deviations = (
                _matrix(values, rows) for values in estimator.predict(rows, return_std=True)
            )
        else:
            rewards, deviations = _matrix(estimator.predict(rows), rows), None
    except caught as error:  # the neighbors are not to pay for it
        if len(rows) == 1:
            return [error]
        half = len(rows) // 2
        parts = (rows[:half], rows[half:])
        return [one for part in parts for one in score_rows(estimator, part, has_deviation, caught)]
    found = []
    for i, row in enumerate(rows):
        n = len(row["responses"])
        spread = None if deviations is None else deviations[i, :n].tolist()
        found.append(Scores(rewards[i, :n].tolist(), spread))
    return found


def _matrix(values, rows):
    """Return predictions as (n, N), as many columns as the longest row has responses."""
    return np.asarray(values, dtype=np.float64).reshape(len(rows), -1)
