"""Five fits with other seeds and their mean reward."""

import numpy as np

N_MEMBERS = 5


def of(split, seed, method):
    """Average fits of a method."""
    return mean([method(split, s) for s in seeds(seed)])


def seeds(seed):
    """Return seeds far from those of other splits: no two ensembles share a member."""
    return range(N_MEMBERS * seed, N_MEMBERS * (seed + 1))


def mean(scores):
    """Return the score that is the mean of some."""
    return lambda X: np.mean([score(X) for score in scores], axis=0)
