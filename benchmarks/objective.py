"""The metrics of every benchmark, each defined once, in the library.

On candidates with gold rewards: ``gold``, the mean gold reward of the Best-of-N pick, and
``accuracy`` over all pairs of a prompt's candidates whose gold differs by more than
``MIN_GAP``. On pairs of known order: ``accuracy`` alone. Ties count half.

Where the lengths of responses are known, every claim is made twice: ``accuracy_matched`` is over
pairs whose lengths differ by less than a fifth of the longer one, ``accuracy_shorter`` over those
of which the shorter response is the better one. Rewards whose differences are log-odds are judged
as such too: ``log_loss``, the same at the best single slope in hindsight, and ``ece``.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from lens_sklearn import best_of_n_score, pair_accuracy_score
from lens_sklearn.metrics import calibration_bins

METRICS = ("accuracy", "gold")
#: Of gold, between two responses that make a pair, to train on or to be ordered.
MIN_GAP = 0.1
#: Lengths are alike that differ by less than this share of the longer one.
MATCHED = 1 / 5
N_BINS = 10


def evaluate(score, split, log_odds=True):
    """Judge a reward on a split's test set.

    Parameters
    ----------
    score : callable, (..., d) -> (...)
        The reward.
    split : datasets.Split
        Only its test set is read.
    log_odds : bool, default=True
        Whether differences of the reward are meant as log-odds, and judged so where the split has
        lengths.

    Returns
    -------
    dict of str to float
        ``accuracy`` and, with gold rewards, ``gold`` and what a ``random`` pick and the
        ``oracle`` would get. With lengths ``accuracy_matched`` and ``accuracy_shorter`` where
        there are such pairs and, for log-odds, ``log_loss``, ``log_loss_best_slope``, ``ece`` and
        ``reliability``: counts, probabilities and wins of each of ``N_BINS`` bins.
    """
    rewards = np.asarray(score(split.test))
    if rewards.shape != split.test.shape[:-1]:
        raise ValueError(
            f"a score maps {split.test.shape} to {split.test.shape[:-1]}; got {rewards.shape}."
        )
    if split.gold is None:  # column 0 is the chosen one
        found = {"accuracy": pair_accuracy_score(rewards)}
    else:
        found = {
            "gold": best_of_n_score(rewards, split.gold),
            "accuracy": pair_accuracy_score(rewards, split.gold, min_gap=MIN_GAP),
            "random": float(np.nanmean(split.gold, axis=1).mean()),
            "oracle": float(np.nanmax(split.gold, axis=1).mean()),
        }
    if split.lengths is None:
        return found
    rewards, lengths = ordered_pairs(rewards, split.gold, split.lengths)
    found |= by_length(rewards, lengths)
    if log_odds:
        found |= calibration(rewards[:, 0] - rewards[:, 1])
    # To the last digit that a pair of many can change: results of many data sets stay small.
    return {name: round(v, 5) if isinstance(v, float) else v for name, v in found.items()}


def ordered_pairs(rewards, gold, lengths):
    """Return the test pairs that count, the better response first.

    Parameters
    ----------
    rewards, lengths : ndarray, shape (p, N)
        Of candidates, or of pairs (p, 2) whose column 0 is the better one.
    gold : ndarray, shape (p, N), or None
        Gold rewards of candidates, NaN for padding.

    Returns
    -------
    rewards, lengths : ndarray of float64, shape (m, 2)
        Of pairs whose gold differs by more than ``MIN_GAP``.
    """
    both = np.stack([rewards, lengths]).astype(np.float64)
    if gold is None:
        return both[0], both[1]
    better, worse = np.nonzero(~np.eye(gold.shape[1], dtype=bool))
    row, pair = np.nonzero(gold[:, better] - gold[:, worse] > MIN_GAP)  # false for padding
    return tuple(np.stack([both[:, row, better[pair]], both[:, row, worse[pair]]], axis=-1))


def by_length(rewards, lengths):
    """Return accuracy on pairs of like lengths, and where the shorter response is the better one.

    Parameters
    ----------
    rewards, lengths : ndarray, shape (m, 2)
        From `ordered_pairs`.

    Returns
    -------
    dict of str to float
        Without those of which there is no pair.
    """
    gap = np.abs(lengths[:, 0] - lengths[:, 1])
    subsets = {
        "accuracy_matched": gap < MATCHED * lengths.max(axis=1),
        "accuracy_shorter": lengths[:, 0] < lengths[:, 1],
    }
    return {
        name: pair_accuracy_score(rewards[kept]) for name, kept in subsets.items() if kept.any()
    }


def calibration(margin):
    """Judge log-odds as probabilities.

    Parameters
    ----------
    margin : ndarray, shape (m,)
        Log-odds of the better response of each pair.

    Returns
    -------
    dict of str to float or list
        ``log_loss``, ``log_loss_best_slope``, ``ece`` and ``reliability``, the last two after
        half of the pairs were turned around: the same ones for every method.
    """
    won = np.random.default_rng(0).random(len(margin)) < 0.5
    bins = calibration_bins(expit(np.where(won, margin, -margin)), won, N_BINS)
    counts, predicted, observed = bins
    return {
        "log_loss": _log_loss(margin),
        "log_loss_best_slope": best_slope_loss(margin),
        "ece": float(np.abs(predicted - observed).sum() / counts.sum()),
        "reliability": [counts.tolist(), predicted.round(1).tolist(), observed.tolist()],
    }


def _log_loss(margin):
    return float(np.logaddexp(0, -margin).mean())


def best_slope_loss(margin):
    """Return the log loss at the slope that is best in hindsight, which is positive.

    Parameters
    ----------
    margin : ndarray, shape (m,)
        Log-odds of the better response of each pair.

    Returns
    -------
    float
        At most that of the margins as they are, and of a coin.
    """
    size = np.abs(margin).mean()
    if size == 0:
        return _log_loss(margin)
    # The loss is convex in the slope, and so has one minimum over its logarithm.
    found = minimize_scalar(
        lambda log_slope: _log_loss(np.exp(log_slope) / size * margin), bounds=(-12, 12)
    )
    return min(float(found.fun), _log_loss(margin))
