"""What the library recommends: the models that the pairs themselves speak for, on both views."""

from functools import partial

from ._method import DIAGRAM, Method


def fit(split, seed, unlabeled=False):
    from lens_sklearn import AutoRewardRegressor

    reward = AutoRewardRegressor(n_response_features=split.n_response_features, random_state=seed)
    reward.fit(split.pairs, groups=split.groups, unlabeled=split.unlabeled if unlabeled else None)
    return reward.predict


SUITES = ("embedders", "embedders_quick")
METHODS = [
    Method(
        "auto",
        fit,
        suites=SUITES,
        view="both",
        diagram=DIAGRAM,
        style=dict(color="#009E73", linewidth=2.5),
    ),
    Method(
        "auto, unlabelled",
        partial(fit, unlabeled=True),
        suites=SUITES,
        label="auto with unlabelled",
        unlabeled=True,
        view="both",
        diagram=DIAGRAM,
        style=dict(color="#0072B2", linewidth=2.5),
    ),
]
