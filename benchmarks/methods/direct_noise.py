"""Noise added to the embeddings themselves."""

from lens_sklearn import DirectNoiseAugmenter

from .published import reward


def fit(split, seed, factor=4):
    pairs = DirectNoiseAugmenter(factor=factor, random_state=seed).fit_transform(split.pairs)
    return reward(random_state=seed).fit(pairs).predict
