"""The original pairs with the optimiser steps, and the patience, that 4x augmentation gets."""

from lens_sklearn import BTRewardRegressor

FACTOR = 4


def fit(split, seed):
    reward = BTRewardRegressor(max_epochs=20 * FACTOR, patience=5 * FACTOR, random_state=seed)
    return reward.fit(split.pairs).predict
