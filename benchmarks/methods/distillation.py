"""What the library recommends for a network: a teacher's soft targets on synthetic pairs.

Without responses that carry no labels and with them, as one network and as the mean of five on
the same augmented pairs.
"""

from functools import partial

from lens_sklearn import BTRewardRegressor, DistillationAugmenter

from . import _ensemble
from ._method import Method
from .gaussian_process import settings_of


def make_augmenter(seed):
    """Return the augmenter that the library recommends, not fitted."""
    return DistillationAugmenter(random_state=seed)


def augmented(split, seed, unlabeled=False):
    """Return the pairs with the teacher's targets; once a split."""

    def compute():
        augmenter = make_augmenter(seed)
        pairs = augmenter.fit_transform(
            split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups
        )
        details = {"factor": augmenter.factor_}
        if augmenter.factor_ > 1:
            details |= settings_of(augmenter.teacher_)
        return details, pairs

    details, pairs = split.once(("distillation", seed, unlabeled), compute)
    split.details |= details
    return pairs


def fit(split, seed, unlabeled=False):
    """Train the paper's reward on the augmented pairs."""
    return BTRewardRegressor(random_state=seed).fit(augmented(split, seed, unlabeled)).predict


def fit_five(split, seed, unlabeled=False):
    """Train five of them on the same augmented pairs, and average."""
    pairs = augmented(split, seed, unlabeled)
    networks = [BTRewardRegressor(random_state=s).fit(pairs) for s in _ensemble.seeds(seed)]
    return _ensemble.mean([network.predict for network in networks])


SUITES = ("curves", "headline", "blocks", "lsa", "text", "mpnet")
METHODS = [
    Method(
        "distillation",
        fit,
        suites=(*SUITES, "embedders, dear"),
        style=dict(color="#009E73", linewidth=2.5),
    ),
    Method(
        "distillation, five",
        fit_five,
        suites=("curves",),
        label="distillation, mean of five",
        slow=True,
        max_pairs=300,
        max_features=384,
        shares="distillation",
    ),
    Method(
        "distillation, unlabelled",
        partial(fit, unlabeled=True),
        suites=(*SUITES, "embedders, dear"),
        label="distillation with unlabelled",
        unlabeled=True,
        slow=True,
        style=dict(color="#0072B2"),
    ),
    Method(
        "distillation, unlabelled, five",
        partial(fit_five, unlabeled=True),
        suites=("curves",),
        label="distillation with unlabelled, mean of five",
        unlabeled=True,
        slow=True,
        max_pairs=300,
        max_features=384,
        shares="distillation, unlabelled",
    ),
]
