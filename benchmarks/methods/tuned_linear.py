"""Logistic regression on chosen minus rejected, its penalty chosen by prompts."""

from lens_sklearn import LinearRewardRegressor

from ._method import Method


def fit(split, seed):
    reward = LinearRewardRegressor().fit(split.pairs, groups=split.groups)
    split.details["C"] = float(reward.C_)
    return reward.predict


METHODS = [
    Method(
        "tuned linear",
        fit,
        suites=("curves", "headline", "blocks", "lsa", "text", "mpnet"),
        baseline=True,
        tuned=True,
        style=dict(color="#000000", linestyle="--"),
    )
]
