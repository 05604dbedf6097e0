"""Logistic regression on chosen minus rejected, its penalty chosen by prompts."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold

from ._method import Method

PENALTIES = np.logspace(-6, 0, 13)
N_FOLDS = 5


def fit(split, seed):
    difference = split.pairs[:, 0] - split.pairs[:, 1]
    rows, basis = _reduced(difference)
    signs = np.where(np.arange(len(rows)) % 2, -1, 1).astype(rows.dtype)  # both classes occur
    model = LogisticRegressionCV(
        Cs=PENALTIES,
        cv=list(GroupKFold(N_FOLDS).split(rows, groups=split.groups)),
        scoring="neg_log_loss",
        fit_intercept=False,
        l1_ratios=(0,),
        max_iter=200,
        use_legacy_attributes=False,
    )
    with warnings.catch_warnings():
        # The weakest penalties may not converge; they are not the ones chosen.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows * signs[:, None], signs > 0)
    split.details["C"] = float(model.C_)
    weight = model.coef_[0].astype(np.float32)
    weight = weight if basis is None else weight @ basis
    return lambda X: X @ weight


def _reduced(difference):
    """Rotate n rows of d > n features into n: an L2-penalised solution lies in their span."""
    if len(difference) >= difference.shape[1]:
        return difference, None
    u, s, basis = np.linalg.svd(difference, full_matrices=False)
    return u * s, basis


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
