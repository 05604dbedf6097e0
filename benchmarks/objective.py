"""The metrics of every benchmark, each defined once, in the library.

On candidates with gold rewards: ``gold``, the mean gold reward of the Best-of-N pick, and
``accuracy`` over all pairs of a prompt's candidates whose gold differs by more than
``MIN_GAP``. On pairs of known order: ``accuracy`` alone. Ties count half.
"""

import numpy as np

from lens_sklearn import best_of_n_score, pair_accuracy_score

METRICS = ("accuracy", "gold")
#: Of gold, between two responses that make a pair, to train on or to be ordered.
MIN_GAP = 0.1


def evaluate(score, split):
    """Judge a reward on a split's test set.

    Parameters
    ----------
    score : callable, (..., d) -> (...)
        The reward.
    split : datasets.Split
        Only its test set is read.

    Returns
    -------
    dict of str to float
        ``accuracy`` and, with gold rewards, ``gold`` and what a ``random`` pick and the
        ``oracle`` would get.
    """
    rewards = np.asarray(score(split.test))
    if rewards.shape != split.test.shape[:-1]:
        raise ValueError(
            f"a score maps {split.test.shape} to {split.test.shape[:-1]}; got {rewards.shape}."
        )
    if split.gold is None:  # column 0 is the chosen one
        return {"accuracy": pair_accuracy_score(rewards)}
    return {
        "gold": best_of_n_score(rewards, split.gold),
        "accuracy": pair_accuracy_score(rewards, split.gold, min_gap=MIN_GAP),
        "random": float(np.nanmean(split.gold, axis=1).mean()),
        "oracle": float(np.nanmax(split.gold, axis=1).mean()),
    }
