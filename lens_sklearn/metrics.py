"""What a reward model is judged by: pair accuracy, calibration, the gold of its Best-of-N pick."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from sklearn.utils import check_random_state, gen_batches

from ._calibration import calibration_bins, expected_calibration_error
from ._pair_subsets import SUBSETS as SUBSETS
from ._pair_subsets import Subset
from ._warnings import warn

__all__ = [
    "BestOfNCurve",
    "BestOfNScorer",
    "best_of_n_curve",
    "best_of_n_score",
    "calibration_bins",
    "count_pairs",
    "expected_calibration_error",
    "pair_accuracy_score",
]

#: Comparisons of two candidates held at once: bounds the memory of pair accuracy.
COMPARISONS = 1 << 22


def pair_accuracy_score(
    rewards, y=None, *, sample_weight=None, min_gap=0.0, lengths=None, subset="all"
):
    r"""Share of pairs that the rewards put in the right order; equal rewards count half.

    Of pairs, column 0 should get the larger reward, with the probability `y`. Of candidates
    with gold rewards, every pair of a prompt's candidates whose gold differs by more than
    `min_gap` counts, and the pairs of all prompts are pooled.

    Parameters
    ----------
    rewards : array-like of shape (n, 2) or (n_prompts, N)
        Predicted rewards of pairs, or of candidates, where NaN is padding.
    y : array-like of shape (n,) or (n_prompts, N), default=None
        For pairs the probability t that column 0 wins, None being 1: a pair counts as t if
        column 0 has the larger reward and as 1 - t if column 1 has. For candidates their gold
        rewards, NaN where `rewards` is.
    sample_weight : array-like of shape (n,) or (n_prompts,), default=None
        Weight of each pair; for candidates of each prompt, and so of every pair in it.
    min_gap : float, default=0.0
        Candidates whose gold differs by no more than this make no pair. Only of candidates.
    lengths : array-like of shape (n, 2) or (n_prompts, N), default=None
        Lengths of the responses (:func:`~lens_sklearn.response_lengths`), for a `subset`.
    subset : {"all", "length_matched", "shorter_wins"}, default="all"
        Which pairs are judged: all; those whose lengths a and b differ by less than a fifth of
        the longer one, ``|a - b| < max(a, b) / 5``; or those of which the shorter response is
        the better one. A reward that does no more than to prefer long responses is wrong in
        all of the last and about as good as a coin in the second.

    Returns
    -------
    float
        Between 0 and 1; larger is better.

    Raises
    ------
    ValueError
        On shapes that do not fit, padding that is not NaN in both, infinite values,
        probabilities outside [0, 1], weights that are negative or zero for all, a `min_gap`
        below 0 or without candidates, lengths without a subset or the reverse, lengths that
        are not finite, or if there is no pair to judge; the message names the row.

    See Also
    --------
    lens_sklearn.shortcut_rewards : Rewards that know the lengths alone.

    Examples
    --------
    >>> from lens_sklearn.metrics import pair_accuracy_score
    >>> pair_accuracy_score([[2.0, 1.0], [0.5, 0.5], [0.0, 3.0]])
    0.5
    >>> pair_accuracy_score([[0.1, 0.9, 0.5]], [[1.0, 2.0, 3.0]])  # 1 < 2 and 1 < 3, not 2 < 3
    0.6666666666666666
    >>> rewards, lengths = [[2.0, 1.0], [0.0, 3.0]], [[90, 100], [50, 100]]
    >>> pair_accuracy_score(rewards, lengths=lengths, subset="length_matched")
    1.0
    """
    if y is not None and np.ndim(y) == 2:
        rewards, gold = _check_scored(rewards, y)
        kept = Subset(subset, lengths, rewards)
        right, counted = _count_right(rewards, gold, _check_gap(min_gap), kept)
        weight = _check_weight(sample_weight, len(right))
        if not counted.any():
            raise ValueError(
                f"no two candidates of a prompt have gold that differs by more than {min_gap}, "
                f"in any of the {len(right)} prompts; there is no pair to order{kept.named}."
            )
        if not weight @ counted > 0:
            raise ValueError("every prompt that has a pair to order has the weight zero.")
        return float(weight @ right / (weight @ counted))
    if min_gap:
        raise ValueError(
            f"min_gap={min_gap} needs gold rewards of candidates as y, of shape (n_prompts, N)."
        )
    agreement = pair_agreement(rewards, y)
    weight = _check_weight(sample_weight, len(agreement))
    kept = Subset(subset, lengths, np.asarray(rewards, dtype=float))
    mask = kept.of_pairs(np.ones(len(agreement)) if y is None else np.asarray(y, dtype=float))
    if not mask.any():
        raise ValueError(f"there is no pair to order{kept.named} among the {len(mask)} pairs.")
    if not weight[mask].any():
        raise ValueError(f"every pair to order{kept.named} has the weight zero.")
    return float(np.average(agreement[mask], weights=weight[mask]))


def leave_out_dropped(rewards, y=None):
    """Leave out what a model gave no reward, because its text was dropped.

    The metrics are strict: NaN is padding, in rewards and gold alike. This is for those who know
    that a NaN among rewards is that of an all-NaN embedding, as of everything that `predict` of a
    reward returns.

    Parameters
    ----------
    rewards : array-like of shape (n, 2) or (n_prompts, N)
        Predicted rewards of pairs, or of candidates.
    y : array-like of shape (n,) or (n_prompts, N), default=None
        For candidates their gold rewards; for pairs the probability that column 0 wins, or None.

    Returns
    -------
    rewards : ndarray, shape (m, N)
        Those of the prompts that have a candidate left, or of the pairs of which both have a
        reward.
    y : ndarray of shape (m,) or (m, N), or None
        Theirs; gold is NaN where a candidate has no reward.
    kept : ndarray of int, shape (m,)
        The rows that these are.

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or nothing is left.

    Warns
    -----
    UserWarning
        If something is left out; the message counts it and names the first.
    """
    rewards = np.asarray(rewards, dtype=float)
    y = None if y is None else np.asarray(y, dtype=float)
    of_candidates = y is not None and y.ndim == 2
    if rewards.ndim != 2 or y is not None and y.shape != rewards.shape[: y.ndim]:
        shapes = f"{rewards.shape} and {None if y is None else y.shape}"
        raise ValueError(f"rewards and y must have the same shape, or first axis; got {shapes}.")
    missing = np.isnan(rewards)
    if not of_candidates:
        missing = missing.any(axis=1, keepdims=True)
    lost = missing & ~np.isnan(y) if of_candidates else missing
    if not lost.any():
        return rewards, y, np.arange(len(rewards))
    kept = np.flatnonzero(~missing.all(axis=1))
    row, column = np.argwhere(lost)[0]
    of_all = f"{lost.sum()} of {lost.size} pairs (first: row {row})"
    if of_candidates:
        there = int((~np.isnan(y)).sum())
        of_all = f"{lost.sum()} of {there} candidates (first: row {row}, column {column})"
    n_lost = len(rewards) - len(kept)
    prompts = f"; {n_lost} prompts have no other" if of_candidates and n_lost else ""
    if not len(kept):
        raise ValueError(f"{of_all} have no reward, as dropped texts have none; nothing is left.")
    warn(f"{of_all} have no reward, as dropped texts have none, and are left out{prompts}.")
    if of_candidates:
        y = np.where(missing, np.nan, y)
    return rewards[kept], None if y is None else y[kept], kept


def count_pairs(gold, *, min_gap=0.0, lengths=None, subset="all"):
    """Count the pairs of candidates that `pair_accuracy_score` judges.

    Parameters
    ----------
    gold : array-like of shape (n_prompts, N)
        Gold rewards; NaN is padding.
    min_gap : float, default=0.0
        As in `pair_accuracy_score`.
    lengths : array-like of shape (n_prompts, N), default=None
        As in `pair_accuracy_score`.
    subset : {"all", "length_matched", "shorter_wins"}, default="all"
        As in `pair_accuracy_score`.

    Returns
    -------
    int
        Their number.

    Raises
    ------
    ValueError
        As `pair_accuracy_score`, but for pairs that are not there.
    """
    gold, _ = _check_scored(gold, gold)
    kept = Subset(subset, lengths, gold)
    return int(_count_right(gold, gold, _check_gap(min_gap), kept)[1].sum())


def subset_mask(target, lengths, subset):
    """Return which pairs `pair_accuracy_score` judges in a subset.

    Parameters
    ----------
    target : ndarray, shape (n,)
        Probabilities that column 0 wins.
    lengths : ndarray of shape (n, 2) or None
        Lengths of the responses, None for all pairs.
    subset : {"all", "length_matched", "shorter_wins"}
        Its name.

    Returns
    -------
    ndarray of bool, shape (n,)
        The pairs in it.

    Raises
    ------
    ValueError
        As `pair_accuracy_score`.
    """
    return Subset(subset, lengths, np.zeros((len(target), 2))).of_pairs(np.asarray(target))


def pair_agreement(rewards, y=None):
    """Return how far each pair is ordered as its target says.

    Parameters
    ----------
    rewards : array-like of shape (n, 2)
        Predicted rewards.
    y : array-like of shape (n,), default=None
        The probability t that column 0 wins; None is 1.

    Returns
    -------
    ndarray of float64, shape (n,)
        t if column 0 has the larger reward, 1 - t if column 1 has, 0.5 for a tie.

    Raises
    ------
    ValueError
        On another shape, a reward that is not finite, or a probability outside [0, 1].
    """
    rewards = np.asarray(rewards, dtype=float)
    if rewards.ndim != 2 or rewards.shape[1] != 2 or not len(rewards):
        raise ValueError(
            f"rewards of pairs have the shape (n, 2); got {rewards.shape}. Rewards of candidates "
            "need their gold as y, of the same shape."
        )
    bad = ~np.isfinite(rewards)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        value = "NaN" if np.isnan(rewards[row, column]) else "infinite"
        raise ValueError(f"rewards is {value} in row {row}, column {column}.")
    wins = (rewards[:, 0] > rewards[:, 1]) + 0.5 * (rewards[:, 0] == rewards[:, 1])
    if y is None:
        return wins
    target = np.asarray(y, dtype=float)
    if target.shape != wins.shape:
        raise ValueError(
            f"y must have the shape {wins.shape}, a probability a pair, or be gold rewards of "
            f"candidates; got {target.shape}."
        )
    bad = ~((target >= 0) & (target <= 1))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ValueError(
            f"y[{row}] is {target[row]}; the probability that column 0 wins is in [0, 1]."
        )
    return target * wins + (1 - target) * (1 - wins)


def _count_right(rewards, gold, min_gap, kept):
    """Return for each prompt how many pairs are in order, ties half, and how many there are."""
    n_prompts, n_candidates = gold.shape
    right, counted = np.empty(n_prompts), np.empty(n_prompts)
    for rows in gen_batches(n_prompts, max(1, COMPARISONS // n_candidates**2)):
        better = gold[rows, :, None] - gold[rows, None, :] > min_gap  # (b, N, N), not for NaN
        better &= kept.of_better(rows)
        counted[rows] = np.count_nonzero(better, axis=(1, 2))
        above = rewards[rows, :, None] > rewards[rows, None, :]
        tied = rewards[rows, :, None] == rewards[rows, None, :]
        right[rows] = np.count_nonzero(better & above, axis=(1, 2))
        right[rows] += 0.5 * np.count_nonzero(better & tied, axis=(1, 2))
    return right, counted


def _check_gap(min_gap):
    if not 0 <= min_gap < np.inf:
        raise ValueError(f"min_gap={min_gap!r}; a gap of gold rewards is finite and not negative.")
    return min_gap


def best_of_n_score(rewards, gold, n=None, *, sample_weight=None):
    r"""Mean gold reward of the Best-of-n pick.

    With the N candidates of a prompt sorted by reward, the expected gold of the best of n
    drawn without replacement is

    .. math:: \sum_{i=n}^{N} \binom{i-1}{n-1} \Big/ \binom{N}{n} \; gold_{(i)}

    which is unbiased and uses every candidate. Candidates of equal reward share their mean
    gold. At n = N this is the plain arg max.

    Parameters
    ----------
    rewards : array-like of shape (n_prompts, N)
        Predicted rewards; NaN is padding and is never picked.
    gold : array-like of shape (n_prompts, N)
        Gold rewards, NaN where `rewards` is.
    n : int, default=None
        How many candidates are drawn; None is all of each prompt. A prompt that has fewer
        uses all it has.
    sample_weight : array-like of shape (n_prompts,), default=None
        Weight of each prompt.

    Returns
    -------
    float
        Mean over prompts; larger is better.

    Raises
    ------
    ValueError
        If the shapes differ, a reward without gold or a gold without reward stands somewhere,
        a value is infinite, or a prompt has no candidate; the message names row and column. If
        `n` is more than N; if weights are not one a prompt, not finite, negative, or zero for all.

    Examples
    --------
    >>> from lens_sklearn import best_of_n_score
    >>> best_of_n_score([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]])
    3.0
    >>> best_of_n_score([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]], n=1)
    2.0
    """
    rewards, gold = _check_scored(rewards, gold)
    ns = [rewards.shape[1] if n is None else _check_n(n, rewards)]
    weight = _check_weight(sample_weight, len(rewards))
    return float(np.average(_expected_gold(rewards, gold, ns)[:, 0], weights=weight))


@dataclass(frozen=True)
class BestOfNCurve:
    """Best-of-n scores over n, with bootstrap intervals over prompts.

    Parameters
    ----------
    n : ndarray of int, shape (m,)
        Numbers of candidates drawn.
    mean, lower, upper : ndarray, shape (m,)
        Mean gold reward of the pick and the limits of its interval.
    per_prompt : ndarray, shape (n_prompts, m)
        Expected gold reward of the pick for each prompt.
    kl_bound : ndarray, shape (m,)
        ``log n - (n - 1) / n``: an upper bound on the KL divergence of the Best-of-n policy
        from the one that the candidates come from, not its value.
    """

    n: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    per_prompt: np.ndarray
    kl_bound: np.ndarray


def best_of_n_curve(
    rewards, gold, ns=None, *, n_bootstrap=1000, confidence=0.95, random_state=None
):
    """Best-of-n score for several n, with bootstrap intervals over prompts.

    Parameters
    ----------
    rewards : array-like of shape (n_prompts, N)
        Predicted rewards; NaN is padding.
    gold : array-like of shape (n_prompts, N)
        Gold rewards, NaN where `rewards` is.
    ns : array-like of int, default=None
        The numbers of candidates; None is the powers of two up to N, and N.
    n_bootstrap : int, default=1000
        Bootstrap samples of the prompts.
    confidence : float, default=0.95
        Coverage of the percentile interval.
    random_state : int, RandomState instance or None, default=None
        Draws the bootstrap samples.

    Returns
    -------
    BestOfNCurve
        The curve.

    Raises
    ------
    ValueError
        As `best_of_n_score`.

    Examples
    --------
    >>> from lens_sklearn import best_of_n_curve
    >>> curve = best_of_n_curve([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]], random_state=0)
    >>> curve.n.tolist(), curve.mean.round(2).tolist()
    ([1, 2, 3], [2.0, 2.67, 3.0])
    """
    rewards, gold = _check_scored(rewards, gold)
    n_prompts, n_max = rewards.shape
    if ns is None:
        ns = np.unique(np.append(2 ** np.arange(int(np.log2(n_max)) + 1), n_max))
    ns = np.array([_check_n(n, rewards) for n in ns])
    per_prompt = _expected_gold(rewards, gold, ns)
    random_state = check_random_state(random_state)
    means = np.empty((n_bootstrap, len(ns)))
    for chunk in gen_batches(n_bootstrap, 256):
        counts = random_state.multinomial(
            n_prompts, np.full(n_prompts, 1 / n_prompts), size=len(means[chunk])
        )
        means[chunk] = counts @ per_prompt / n_prompts
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail], axis=0)
    return BestOfNCurve(
        ns, per_prompt.mean(axis=0), lower, upper, per_prompt, np.log(ns) - (ns - 1) / ns
    )


def _check_n(n, rewards):
    if n != int(n) or n < 1:
        raise ValueError(f"n={n!r}; Best-of-n draws a whole number of candidates, at least 1.")
    if n > rewards.shape[1]:
        raise ValueError(
            f"n={n}, but there are {rewards.shape[1]} candidates a prompt at most; none can be the "
            f"best of {n}."
        )
    return int(n)


def _check_weight(sample_weight, n):
    """Return the weights as an array (n,), ones for None."""
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight, dtype=float)
    if weight.shape != (n,):
        raise ValueError(
            f"sample_weight must have the shape ({n},), one a row; got {weight.shape}."
        )
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        row = np.flatnonzero(bad)[0]
        raise ValueError(f"sample_weight[{row}] is {weight[row]}; weights are finite, at least 0.")
    if not weight.any():
        raise ValueError("sample_weight is zero in every row.")
    return weight


def _check_scored(rewards, gold):
    rewards, gold = np.asarray(rewards, dtype=float), np.asarray(gold, dtype=float)
    if rewards.ndim != 2 or rewards.shape != gold.shape:
        raise ValueError(
            "rewards and gold must both have the shape (n_prompts, N); got "
            f"{rewards.shape} and {gold.shape}."
        )
    for name, values in (("rewards", rewards), ("gold", gold)):
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise ValueError(f"{name} is infinite in row {row}, column {column}.")
    lone = np.isnan(rewards) != np.isnan(gold)
    if lone.any():
        row, column = np.argwhere(lone)[0]
        missing = "gold" if np.isnan(gold[row, column]) else "rewards"
        raise ValueError(
            f"{missing} is NaN in row {row}, column {column} and the other is not; padding is "
            "NaN in both."
        )
    empty = np.flatnonzero(np.isnan(rewards).all(axis=1))
    if not len(rewards) or len(empty):
        where = f"row {empty[0]} has no candidate" if len(empty) else "there are no prompts"
        raise ValueError(f"{where}; every prompt needs at least one reward that is not NaN.")
    return rewards, gold


def _expected_gold(rewards, gold, ns):
    """Return the expected gold of the best of n, shape (n_prompts, len(ns))."""
    order = np.argsort(rewards, axis=1, kind="stable")  # NaN goes last
    rewards = np.take_along_axis(rewards, order, axis=1)
    gold = _mean_over_ties(rewards, np.take_along_axis(gold, order, axis=1))
    n_valid = (~np.isnan(rewards)).sum(axis=1)[:, None]  # (n_prompts, 1)
    i = np.arange(1, rewards.shape[1] + 1)[None]  # rank, the worst is 1
    out = np.empty((len(rewards), len(ns)))
    for column, n in enumerate(ns):
        n = np.minimum(n, n_valid)
        possible = (i >= n) & (i <= n_valid)
        with np.errstate(invalid="ignore"):
            log_weight = _log_binomial(i - 1, n - 1) - _log_binomial(n_valid, n)
        weight = np.exp(np.where(possible, log_weight, -np.inf))
        out[:, column] = (weight * np.where(possible, gold, 0)).sum(axis=1)
    return out


def _log_binomial(a, b):
    return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)


def _mean_over_ties(rewards, gold):
    """Give each of a row's equal rewards the mean gold of all of them; rows are sorted."""
    new = np.ones(rewards.shape, dtype=bool)
    new[:, 1:] = rewards[:, 1:] != rewards[:, :-1]
    group = np.cumsum(new.ravel()) - 1
    mean = np.bincount(group, gold.ravel()) / np.bincount(group)
    return mean[group].reshape(gold.shape)


class BestOfNScorer:
    """Scorer for ``GridSearchCV(scoring=...)``: Best-of-N on fixed candidates.

    Whatever fold it is given, it scores the mean gold reward of the estimator's pick among the
    same candidates, which should share no prompt with the training rows.

    Parameters
    ----------
    candidates : rows of text or array-like of shape (n_prompts, N, d)
        What the estimator's ``predict`` takes.
    gold : array-like of shape (n_prompts, N)
        Their gold rewards.
    n : int, default=None
        How many candidates are drawn; None is all.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from lens_sklearn import BestOfNScorer, BTRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> search = GridSearchCV(
    ...     BTRewardRegressor(max_epochs=2, random_state=0),
    ...     {"hidden_dim": [4, 8]},
    ...     scoring=BestOfNScorer(toy.candidates, toy.gold),
    ... ).fit(toy.pairs)
    >>> len(search.cv_results_["mean_test_score"])
    2
    """

    def __init__(self, candidates, gold, n=None):
        self.candidates = candidates
        self.gold = gold
        self.n = n

    def __call__(self, estimator, X=None, y=None, **params):
        """Return the Best-of-N score of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Has ``predict``.
        X, y : object
            The fold's; not used.
        **params : dict
            Not used.

        Returns
        -------
        float
            Mean gold reward of the pick.
        """
        rewards, gold, _ = leave_out_dropped(estimator.predict(self.candidates), self.gold)
        return best_of_n_score(rewards, gold, self.n)

    def __repr__(self):
        n = "" if self.n is None else f", n={self.n}"
        return f"BestOfNScorer(<{len(self.gold)} prompts>{n})"
