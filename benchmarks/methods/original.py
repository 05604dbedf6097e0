"""The paper's reward on the original pairs alone: 20 epochs at 1e-4, early stopping."""

from lens_sklearn import BTRewardRegressor


def fit(split, seed):
    return BTRewardRegressor(random_state=seed).fit(split.pairs).predict
