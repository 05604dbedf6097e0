"""The original pairs over again: the steps of augmentation without new data."""

from lens_sklearn import BTRewardRegressor, RepeatAugmenter


def fit(split, seed, factor=4):
    pairs = RepeatAugmenter(factor=factor).fit_transform(split.pairs)
    return BTRewardRegressor(random_state=seed).fit(pairs).predict
