"""Pairs whose label is unlike what all other pairs say, for a person to read again."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import has_fit_parameter

from ._augmented_pairs import AugmentedPairs
from ._io import pair_targets
from ._number_checks import check_finite
from ._records import as_records, is_text
from ._rows import prompt_groups, read_texts
from ._validation import encode_groups
from ._warnings import warn


def suspect_pairs(reward, pairs, y=None, sample_weight=None, *, groups=None, n_splits=5):
    """Order pairs by how unlike their label is to what pairs of other prompts say.

    The reward is fitted `n_splits` times, each time without a part of the prompts, and predicts
    the pairs of that part. A pair whose label it finds unlikely is either mislabelled or unlike the
    others for a reason: read it again. It is a list to read, and no filter: leaving such pairs out
    leaves out the hard ones too.

    Parameters
    ----------
    reward : estimator
        Not fitted, or fitted: it is cloned. A reward of embeddings, or a Pipeline from text.
    pairs : rows of text, or array-like of shape (n, 2, d)
        Preference rows or embeddings, column 0 chosen.
    y : array-like of shape (n,), default=None
        Probability that ``chosen`` wins. None takes it from the column ``target`` of rows of text,
        and is 1 without one.
    sample_weight : array-like of shape (n,), default=None
        How much each pair counts where others are judged by it; one of weight 0 is judged and not
        learned from. None takes it from the column ``weight`` of rows of text, and is 1 without
        one.
    groups : array-like of shape (n,), default=None
        Prompts of the pairs, which are left out whole. None takes them from rows of text, and
        takes each pair of embeddings for a prompt of its own.
    n_splits : int, default=5
        Parts of the prompts.

    Returns
    -------
    SuspectPairs
        Pairs in the order in which they should be read.

    Raises
    ------
    ValueError
        If there are fewer prompts than `n_splits`, `y`, `sample_weight` or `groups` is of another
        length, a value is not finite or out of range, the reward's ``fit`` takes no weights,
        without one part of the prompts every weight is 0, or the pairs are augmented already.
    TypeError
        If `reward` has no ``decision_function``.

    Warns
    -----
    UserWarning
        If embeddings are all-NaN, as those of dropped texts: their pairs come last, with NaN.

    See Also
    --------
    suggest_pairs : Pairs to label next.

    Notes
    -----
    Labels that a reward cannot predict cannot be suspected either: how much the order is worth
    is what :func:`pair_accuracy_score` of left-out pairs says.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor, suspect_pairs
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=4, random_state=0)
    >>> pairs = toy.pairs.copy()
    >>> pairs[7] = pairs[7, ::-1]  # a slip
    >>> found = suspect_pairs(LinearRewardRegressor(), pairs)
    >>> 7 in found.index[:20]
    True
    """
    if isinstance(n_splits, bool) or not isinstance(n_splits, Integral) or n_splits < 2:
        raise ValueError(f"n_splits={n_splits!r} has to be a whole number from 2.")
    if not hasattr(reward, "decision_function"):
        raise TypeError(
            f"{type(_last_step(reward)[1]).__name__} gives no log-odds (decision_function), by "
            "which a label could be unlikely; give a reward, such as LinearRewardRegressor()."
        )
    X, kept = _read(pairs)
    n = len(X)
    if groups is None:
        groups = np.arange(n) if isinstance(X, np.ndarray) else prompt_groups(X)
    groups = encode_groups(_checked(groups, n, "groups"))
    target, weight = (None, None) if isinstance(X, np.ndarray) else pair_targets(X)
    y = target if y is None else _checked_numbers(y, n, "y", 1)
    if sample_weight is not None:
        weight = _checked_numbers(sample_weight, n, "sample_weight", np.inf)
    _check_takes_weights(reward, weight)
    n_groups = len(np.unique(groups[kept]))
    if n_groups < n_splits:
        raise ValueError(
            f"n_splits={n_splits} and {n_groups} prompts: every part needs one. Lower n_splits."
        )
    log_odds = np.full(n, np.nan)
    for part in _splits(groups[kept], None if weight is None else weight[kept], n_splits):
        train, test = (kept[rows] for rows in part)
        parts = (None if values is None else values[train] for values in (y, weight, groups))
        fitted = _fit(clone(reward), _take(X, train), *parts)
        log_odds[test] = fitted.decision_function(_take(X, test))
    sign = np.ones(n) if y is None else 2 * y - 1
    for_label = log_odds * sign
    order = np.argsort(for_label, kind="stable")
    return SuspectPairs(order, log_odds[order], expit(for_label[order]))


@dataclass(frozen=True)
class SuspectPairs:
    """Pairs in the order in which they should be read again.

    Attributes
    ----------
    index : ndarray of int, shape (n,)
        Rows of the pairs, the most suspect first.
    log_odds : ndarray of float64, shape (n,)
        Log-odds that ``chosen`` wins, by pairs of other prompts.
    probability : ndarray of float64, shape (n,)
        Probability that the label is right, by the same.
    """

    index: np.ndarray
    log_odds: np.ndarray
    probability: np.ndarray

    def rows(self, pairs, n=None):
        """Return the most suspect pairs as rows to read.

        Parameters
        ----------
        pairs : rows of text
            The preference rows.
        n : int, default=None
            How many; None is all.

        Returns
        -------
        list of dict
            Each row with ``row``, its number in `pairs`, and ``probability``, which stand in
            place of its own columns of these names.
        """
        pairs = as_records(pairs)
        found = zip(self.index[:n].tolist(), self.probability[:n].tolist(), strict=True)
        numbers = [{"row": i, "probability": p} for i, p in found]
        return [own | dict(pairs[own["row"]]) | own for own in numbers]


def _read(pairs):
    """Return records or an array of pairs, and which of them can be judged."""
    if isinstance(pairs, AugmentedPairs):
        raise ValueError(
            "AugmentedPairs have copies that would judge each other; give the original pairs, and "
            "put the augmenter before the reward in a Pipeline."
        )
    if is_text(pairs):
        X = as_records(pairs)
        if (kind := read_texts(X).kind) != "pairs":
            raise ValueError(f"expected preference rows (chosen, rejected), got {kind}.")
        return X, np.arange(len(X))
    X = np.asarray(pairs)
    if X.ndim != 3 or X.shape[1] != 2:
        raise ValueError(f"pairs must have the shape (n, 2, d), column 0 chosen; got {X.shape}.")
    if X.dtype.kind != "f":
        return X, np.arange(len(X))
    check_finite(X, allow_padding=True)
    dropped = np.flatnonzero(np.isnan(X).any(axis=(1, 2)))
    if len(dropped):
        warn(
            f"{len(dropped)} of {len(X)} pairs (first: row {dropped[0]}) hold an all-NaN "
            "embedding, as a dropped text has; they are not judged and come last."
        )
    return X, np.setdiff1d(np.arange(len(X)), dropped)


def _take(X, rows):
    return X[rows] if isinstance(X, np.ndarray) else [X[i] for i in rows]


def _checked(values, n, name):
    values = np.asarray(values)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one a pair; got {values.shape}.")
    return values


def _checked_numbers(values, n, name, most):
    values = _checked(values, n, name).astype(float)
    bad = np.flatnonzero(~((values >= 0) & (values <= most) & np.isfinite(values)))
    if len(bad):
        expected = "it is in [0, 1]" if most == 1 else "it is finite and at least 0"
        raise ValueError(f"{name}[{bad[0]}] is {values[bad[0]]}; {expected}.")
    return values


def _last_step(reward):
    """Return the name, empty without a Pipeline, and the estimator that pairs are fitted by."""
    return getattr(reward, "steps", [("", reward)])[-1]


def _check_takes_weights(reward, weight):
    if weight is not None and not has_fit_parameter(_last_step(reward)[1], "sample_weight"):
        raise ValueError(
            f"the pairs have weights, and the fit of a {type(_last_step(reward)[1]).__name__} "
            "takes no sample_weight: to it all pairs count alike. Take another reward, or leave "
            "the weights (the column 'weight' of rows) out."
        )


def _splits(groups, weight, n_splits):
    """Return the pairs to learn from and to judge by turns; what weighs 0 is judged alone."""
    splits = list(GroupKFold(n_splits).split(np.zeros(len(groups)), groups=groups))
    if weight is None:
        return splits
    splits = [(train[weight[train] > 0], test) for train, test in splits]
    if not all(len(train) for train, _ in splits):
        n_prompts = len(np.unique(groups[weight > 0]))
        raise ValueError(
            f"pairs of {n_prompts} of the prompts weigh more than 0, and without one part of the "
            "prompts none is left to learn from; give weights to pairs of more prompts."
        )
    return splits


def _fit(reward, X, y, weight, groups):
    """Fit a reward, or the last step of a Pipeline, on pairs and what is known of them."""
    prefix, last = _last_step(reward)
    prefix = f"{prefix}__" if prefix else ""
    params = {} if weight is None else {f"{prefix}sample_weight": weight}
    if has_fit_parameter(last, "groups"):
        params[f"{prefix}groups"] = groups
    with config_context(enable_metadata_routing=False):
        return reward.fit(X, y, **params)
