"""Noise added to the embeddings themselves."""

from functools import partial

from lens_sklearn import DirectNoiseAugmenter

from ._method import Method
from ._published import reward


def fit(split, seed, factor=4):
    pairs = DirectNoiseAugmenter(factor=factor, random_state=seed).fit_transform(split.pairs)
    return reward(random_state=seed).fit(pairs).predict


METHODS = [
    Method("direct noise 2x", partial(fit, factor=2), suites=("table1",)),
    Method("direct noise 4x", fit, suites=("table1", "curves")),
    Method("direct noise 8x", partial(fit, factor=8), suites=("table1",)),
]
