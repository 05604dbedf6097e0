"""Logistic regression on chosen minus rejected, its penalty chosen by prompts."""

from lens_sklearn import LinearRewardRegressor

from ._method import DIAGRAM, Method


def fit(split, seed):
    reward = LinearRewardRegressor(n_response_features=split.n_response_features)
    reward.fit(split.pairs, groups=split.groups)
    split.details["C"] = float(reward.C_)
    return reward.predict


EMBEDDERS = ("embedders", "embedders_quick")
METHODS = [
    Method(
        "tuned linear",
        fit,
        suites=("curves", "headline", "blocks", "lsa", "text", "mpnet", *EMBEDDERS, "layers"),
        baseline=True,
        tuned=True,
        diagram=DIAGRAM,
        style=dict(color="#000000", linestyle="--"),
    ),
    Method(
        "tuned linear, features",
        fit,
        suites=EMBEDDERS,
        view="features",
        diagram=DIAGRAM,
        style=dict(color="#D55E00", linestyle="--"),
    ),
    Method(
        "tuned linear, both",
        fit,
        suites=EMBEDDERS,
        view="both",
        style=dict(color="#8C564B", linestyle="--"),
    ),
]
