"""Pairs whose label is unlike what all other pairs say, for a person to read again."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GroupKFold
from sklearn.utils.validation import has_fit_parameter

from ._augmented_pairs import AugmentedPairs, check_target
from ._number_checks import check_finite
from ._records import as_records, is_text
from ._rows import prompt_groups, read_texts
from ._validation import encode_groups
from ._warnings import warn


def suspect_pairs(reward, pairs, y=None, *, groups=None, n_splits=5):
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
        Probability that ``chosen`` wins; None is 1.
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
        If there are fewer prompts than `n_splits`, `y` or `groups` is of another length, a target
        is no probability, an embedding is not finite, or the pairs are augmented already.

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
    X, kept = _read(pairs)
    n = len(X)
    if groups is None:
        groups = np.arange(n) if isinstance(X, np.ndarray) else prompt_groups(X)
    groups = encode_groups(_checked(groups, n, "groups"))
    if y is not None:
        y = _checked(y, n, "y").astype(float)
        check_target(y)
    n_groups = len(np.unique(groups[kept]))
    if n_groups < n_splits:
        raise ValueError(
            f"n_splits={n_splits} and {n_groups} prompts: every part needs one. Lower n_splits."
        )
    log_odds = np.full(n, np.nan)
    for part in GroupKFold(n_splits).split(kept, groups=groups[kept]):
        train, test = (kept[rows] for rows in part)
        fitted = _fit(
            clone(reward), _take(X, train), None if y is None else y[train], groups[train]
        )
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


def _fit(reward, X, y, groups):
    """Fit a reward, or the last step of a Pipeline, on pairs and their prompts."""
    *_, (prefix, last) = getattr(reward, "steps", [("", reward)])
    params = {}
    if has_fit_parameter(last, "groups"):
        params[f"{prefix}__groups" if prefix else "groups"] = groups
    with config_context(enable_metadata_routing=False):
        return reward.fit(X, y, **params)
