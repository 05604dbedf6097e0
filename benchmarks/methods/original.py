"""The paper's reward on the original pairs alone: 20 epochs at 1e-4, early stopping."""

from functools import partial

from ._method import DIAGRAM, Method
from ._published import reward

FACTOR = 4


def fit(split, seed, **params):
    return reward(random_state=seed, **params).fit(split.pairs).predict


def fit_longer(split, seed):
    """Give the original pairs the optimiser steps, and the patience, that 4x augmentation gets."""
    return fit(split, seed, max_epochs=20 * FACTOR, patience=5 * FACTOR)


METHODS = [
    Method(
        "original",
        fit,
        suites=(
            *("curves", "headline", "figure2", "figure2, pairs", "figure4"),
            *("table1", "table2", "table5"),
        ),
        label="original (paper's steps)",
        style=dict(color="#999999", linestyle=":"),
    ),
    Method("steps 4x", fit_longer, suites=("curves", "figure2, pairs", "figure4")),
    Method(
        "original, zero output",
        partial(fit, output_init="zero"),
        suites=(
            *("curves", "headline", "why", "probe", "blocks", "lsa", "text", "mpnet", "keep"),
            *("embedders", "embedders_quick"),
        ),
        baseline=True,
        diagram=DIAGRAM,
        style=dict(color="#999999", linewidth=2),
    ),
]
