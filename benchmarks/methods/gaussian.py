"""Samples of a Gaussian fitted to the chosen and one to the rejected embeddings."""

from lens_sklearn import BTRewardRegressor, GaussianAugmenter


def fit(split, seed, factor=4):
    pairs = GaussianAugmenter(factor=factor, random_state=seed).fit_transform(split.pairs)
    return BTRewardRegressor(random_state=seed).fit(pairs).predict
