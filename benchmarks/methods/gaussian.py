"""Samples of a Gaussian fitted to the chosen and one to the rejected embeddings."""

from functools import partial

from lens_sklearn import GaussianAugmenter

from ._method import Method
from ._published import reward


def fit(split, seed, factor=4):
    pairs = GaussianAugmenter(factor=factor, random_state=seed).fit_transform(split.pairs)
    return reward(random_state=seed).fit(pairs).predict


METHODS = [
    Method("Gaussian 2x", partial(fit, factor=2), suites=("table1",)),
    Method("Gaussian 4x", fit, suites=("table1", "curves"), style=dict(color="#56B4E9")),
    Method("Gaussian 8x", partial(fit, factor=8), suites=("table1",)),
]
