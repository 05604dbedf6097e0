"""Noise added to the embeddings themselves."""

from lens_sklearn import BTRewardRegressor, DirectNoiseAugmenter


def fit(split, seed, factor=4):
    pairs = DirectNoiseAugmenter(factor=factor, random_state=seed).fit_transform(split.pairs)
    return BTRewardRegressor(random_state=seed).fit(pairs).predict
