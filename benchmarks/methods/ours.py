"""What the library recommends, without and with responses that carry no labels, and its teacher."""

from functools import partial

from lens_sklearn import BTRewardRegressor, GPRewardRegressor, LatentPairAugmenter

from . import ensemble


def augmented(split, seed, unlabeled=False):
    """Return what ``LatentPairAugmenter.recommended`` makes of the pairs; once a split."""

    def compute():
        augmenter = LatentPairAugmenter.recommended(random_state=seed)
        pairs = augmenter.fit_transform(
            split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups
        )
        details = {"factor": augmenter.factor_}
        if augmenter.factor_ > 1:
            details |= _chosen(augmenter.reward_)
        return details, pairs

    details, pairs = split.once(("ours", seed, unlabeled), compute)
    split.details |= details
    return pairs


def fit(split, seed, unlabeled=False):
    """Train the paper's reward on the augmented pairs."""
    return BTRewardRegressor(random_state=seed).fit(augmented(split, seed, unlabeled)).predict


def five(split, seed, unlabeled=False):
    """Train five of them on the same augmented pairs, and average."""
    pairs = augmented(split, seed, unlabeled)
    networks = [BTRewardRegressor(random_state=s).fit(pairs) for s in ensemble.seeds(seed)]
    return ensemble.mean([network.predict for network in networks])


def teacher(split, seed, unlabeled=False, uncertainty_penalty="auto"):
    """Return the reward that gives the synthetic pairs their targets, by itself."""
    reward = GPRewardRegressor(uncertainty_penalty=uncertainty_penalty, random_state=seed)
    reward.fit(split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups)
    split.details |= _chosen(reward)
    return reward.predict


def _chosen(process):
    metric = process.metric_
    return {
        "uncertainty_penalty": process.uncertainty_penalty_,
        "covariance_exponent": metric.covariance_exponent,
        "norm_exponent_": metric.norm_exponent_,
    }


METHODS = {
    "ours": fit,
    "ours, five": five,
    "ours, unlabelled": partial(fit, unlabeled=True),
    "ours, unlabelled, five": partial(five, unlabeled=True),
    "Gaussian process": partial(teacher, uncertainty_penalty=0),
    "Gaussian process, unlabelled": partial(teacher, unlabeled=True, uncertainty_penalty=0),
    "Gaussian process, cautious": teacher,
    "Gaussian process, cautious, unlabelled": partial(teacher, unlabeled=True),
}
