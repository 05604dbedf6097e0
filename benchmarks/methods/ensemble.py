"""Five networks with other seeds and their mean reward: of the tuned MLP, or of any method."""

import numpy as np

from . import tuned_mlp

N_MEMBERS = 5


def fit(split, seed, output_init="uniform"):
    """Average MLPs with the tuned MLP's parameters."""
    params, _ = tuned_mlp.search(split, seed, output_init)
    split.details |= params
    return mean([tuned_mlp.fit_once(split.pairs, params, s).predict for s in seeds(seed)])


def of(split, seed, method):
    """Average fits of a method."""
    return mean([method(split, s) for s in seeds(seed)])


def seeds(seed):
    """Return seeds far from those of other splits: no two ensembles share a member."""
    return range(N_MEMBERS * seed, N_MEMBERS * (seed + 1))


def mean(scores):
    """Return the score that is the mean of some."""
    return lambda X: np.mean([score(X) for score in scores], axis=0)
