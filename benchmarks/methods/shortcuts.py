"""Ways to pick a response that read neither a pair nor a model: what every method has to beat."""

import numpy as np

from ._method import Method


def longest(split, seed):
    return lambda X: split.lengths


def shortest(split, seed):
    return lambda X: -split.lengths


def random(split, seed):
    """Give all the same reward: ties count half, and a pick among them gets their mean."""
    return lambda X: np.where(np.isnan(X).all(axis=-1), np.nan, 0.0)


SUITES = ("embedders", "embedders_quick")
METHODS = [
    Method(
        "longest",
        longest,
        suites=SUITES,
        label="the longest response",
        log_odds=False,
        shortcut=True,
        style=dict(color="#56B4E9", linestyle=":"),
    ),
    Method(
        "shortest",
        shortest,
        suites=SUITES,
        label="the shortest response",
        log_odds=False,
        shortcut=True,
    ),
    Method("random", random, suites=SUITES, label="any response", log_odds=False, shortcut=True),
]
