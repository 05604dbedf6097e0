"""What the library recommends, without and with responses that carry no labels, and its teacher."""

from functools import partial

from lens_sklearn import BTRewardRegressor, GaussianProcessReward, LatentPairAugmenter


def fit(split, seed, unlabeled=False):
    """Train the paper's reward on what ``LatentPairAugmenter.recommended`` makes of the pairs."""
    augmenter = LatentPairAugmenter.recommended(random_state=seed)
    pairs = augmenter.fit_transform(
        split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups
    )
    split.details |= {"factor": augmenter.factor_}
    return BTRewardRegressor(random_state=seed).fit(pairs).predict


def teacher(split, seed, unlabeled=False):
    """Return the reward that gives the synthetic pairs their targets, by itself."""
    reward = GaussianProcessReward(random_state=seed)
    return reward.fit(split.pairs, unlabeled=split.unlabeled if unlabeled else None).predict


METHODS = {
    "ours": fit,
    "ours, unlabelled": partial(fit, unlabeled=True),
    "Gaussian process": teacher,
    "Gaussian process, unlabelled": partial(teacher, unlabeled=True),
}
