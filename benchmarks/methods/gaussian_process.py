"""The Gaussian process by itself, on either view and both, and with a penalty for uncertainty."""

from functools import partial

from lens_sklearn import GPRewardRegressor

from ._method import DIAGRAM, Method


def fit(split, seed, unlabeled=False, **params):
    reward = GPRewardRegressor(
        n_response_features=split.n_response_features, random_state=seed, **params
    )
    reward.fit(split.pairs, unlabeled=split.unlabeled if unlabeled else None, groups=split.groups)
    split.details |= settings_of(reward)
    return reward.predict


def settings_of(reward):
    """Return what a fitted Gaussian process learnt of its prior."""
    return {"prior_variance": reward.prior_variance_.tolist(), "slope": reward.slope_}


ALL = ("curves", "headline", "blocks", "lsa", "text", "mpnet")
SOME = ("curves", "headline", "blocks", "lsa")
EMBEDDERS = ("embedders", "embedders_quick")
METHODS = [
    Method(
        "GP",
        fit,
        suites=(*ALL, *EMBEDDERS),
        label="Gaussian process",
        diagram=DIAGRAM,
        style=dict(color="#CC79A7"),
    ),
    Method(
        "GP, features",
        fit,
        suites=EMBEDDERS,
        label="Gaussian process, features",
        view="features",
    ),
    Method("GP, both", fit, suites=EMBEDDERS, label="Gaussian process, both", view="both"),
    Method(
        "GP, unlabelled",
        partial(fit, unlabeled=True),
        suites=(*ALL, "embedders"),
        label="Gaussian process with unlabelled",
        unlabeled=True,
    ),
    Method(
        "GP, with penalty",
        partial(fit, uncertainty_penalty=0.5),
        suites=SOME,
        label="Gaussian process, `uncertainty_penalty=0.5`",
        style=dict(color="#CC79A7", linestyle="--"),
    ),
    Method(
        "GP, with penalty, unlabelled",
        partial(fit, unlabeled=True, uncertainty_penalty=0.5),
        suites=SOME,
        label="Gaussian process with unlabelled, `uncertainty_penalty=0.5`",
        unlabeled=True,
    ),
]
