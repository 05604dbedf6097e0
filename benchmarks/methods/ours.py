"""What the library recommends, without and with responses that carry no labels, and its teacher."""

from functools import partial

import numpy as np

from lens_sklearn import BTRewardRegressor, GaussianProcessReward, LatentPairAugmenter
from lens_sklearn._latent_augmenter import AUTO_MOST, AUTO_PAIRS


def fit(split, seed, *, unlabeled=False, **overrides):
    """Train the paper's reward on what ``LatentPairAugmenter.recommended`` makes of the pairs."""
    augmenter = LatentPairAugmenter.recommended(random_state=seed, **overrides)
    pairs = augmenter.fit_transform(
        split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups
    )
    return BTRewardRegressor(random_state=seed).fit(pairs).predict


def unchecked(split, seed, **kwargs):
    """Augment at the factor that "auto" would try, without its cross-validation."""
    factor = int(np.clip(-(-AUTO_PAIRS // len(split.pairs)), 2, AUTO_MOST))
    return fit(split, seed, factor=factor, **kwargs)


def teacher(split, seed):
    """Return the reward that gives the synthetic pairs their targets, by itself."""
    return GaussianProcessReward(random_state=seed).fit(split.pairs).predict


METHODS = {
    "ours": fit,
    "ours, unlabelled": partial(fit, unlabeled=True),
    "ours, unchecked": unchecked,
    "ours, unlabelled, unchecked": partial(unchecked, unlabeled=True),
    "Gaussian process": teacher,
}
