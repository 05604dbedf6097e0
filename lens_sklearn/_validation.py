"""The shape contract of embeddings: what every estimator checks of what it is given.

Pairs have the shape ``(n, 2, d)`` with column 0 chosen, candidates ``(n_prompts, N, d)`` with
all-NaN rows as padding.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from ._augmented_pairs import AugmentedPairs, check_target, check_weight
from ._number_checks import check_finite, check_plain, check_precision
from ._warnings import warn


def check_embeddings(estimator, X, *, reset, allow_padding=False, min_ndim=2, dtype=np.float32):
    """Check an array of embeddings ``(..., d)`` and hold its d against the estimator's.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_ = d`` if `reset`, is compared with it otherwise.
    X : array-like, shape (..., d)
        Embeddings.
    reset : bool
        Whether this is a fit.
    allow_padding : bool, default=False
        Whether all-NaN embeddings are let through, as the padding of ragged candidates; rows
        of a 2-D array never are.
    min_ndim : int, default=2
        Smallest number of axes.
    dtype : dtype, default=numpy.float32
        The dtype asked of the result; no copy is made of an array that has it.

    Returns
    -------
    ndarray, shape (..., d)
        The checked array.

    Raises
    ------
    ValueError
        If an embedding is not finite (the message names its row), or d differs from fit's; in a
        fit, if float32 does not hold what features differ in (:func:`check_precision`).
    """
    check_plain(X)
    if _has_feature_names(X, estimator):
        X = validate_data(estimator, X, reset=reset, skip_check_array=True)
    given = np.asarray(X) if hasattr(X, "columns") or isinstance(X, list) else X
    with np.errstate(over="ignore"):  # said below, with the row
        X = check_array(
            X,
            dtype=dtype,
            allow_nd=True,
            ensure_2d=min_ndim >= 2,
            ensure_all_finite=False,
            input_name="X",
            estimator=estimator,
        )
    if not X.size:
        raise ValueError(
            f"X has the shape {X.shape}, with 0 feature(s) or no embedding at all; a minimum of "
            "1 is required."
        )
    check_finite(X, allow_padding=allow_padding and X.ndim > 2, given=given)
    if reset:
        in_float32 = dtype is np.float32 and not getattr(estimator, "computes_in_float64", False)
        check_precision(X, given, squares=in_float32)
    if reset:
        estimator.n_features_in_ = X.shape[-1]
    elif X.shape[-1] != estimator.n_features_in_:
        raise ValueError(
            f"X has {X.shape[-1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input"
        )
    return X


def _has_feature_names(X, estimator):
    # Column names matter for 2-D frames alone, whose d is what scikit-learn counts too.
    return hasattr(X, "columns") or (
        hasattr(estimator, "feature_names_in_") and getattr(X, "ndim", 0) == 2
    )


def check_response_features(n_response_features, n_columns, *, alone=False):
    """Check that there are as many response features, and that they leave an embedding.

    Parameters
    ----------
    n_response_features : int
        How many of the last columns are response features.
    n_columns : int
        All columns.
    alone : bool, default=False
        Whether response features without an embedding will do.

    Raises
    ------
    ValueError
        If there is no other column, or with `alone` if there are fewer columns.
    """
    if alone:
        if n_response_features > n_columns:
            raise ValueError(
                f"n_response_features={n_response_features}, but X has {n_columns} features in "
                "all: response features are the last of them."
            )
    elif n_response_features >= n_columns:
        raise ValueError(
            f"n_response_features={n_response_features}, but X has {n_columns} features in all: "
            "the first ones must be the embedding's, which this acts on."
        )


def warn_of_idle_controls(columns):
    """Warn of controlled columns that explain nothing.

    Parameters
    ----------
    columns : list of int
        Those in which the members of no pair differ; none is fine.
    """
    if columns:
        warn(
            f"the controlled columns {columns} differ in no pair, so that to control them has no "
            "effect."
        )


def check_pairs(estimator, X, y=None, *, reset, min_pairs=1):
    """Check pairs and their targets, whatever form they come in.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted or asked.
    X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
        Rated embeddings are taken to be responses to one prompt, and paired by the order of
        their ratings: the upper half of the ranking against the lower half, equal ratings
        giving target 0.5.
    y : array-like of shape (n,), optional
        For pairs the probability that column 0 wins, in [0, 1] (default 1; 0.5 where the two
        columns are equal); for rated embeddings the ratings, of any sortable kind.
    reset : bool
        Whether this is a fit.
    min_pairs : int, default=1
        The fewest pairs accepted.

    Returns
    -------
    AugmentedPairs
        The pairs with their targets; arrays come back as originals alone.

    Raises
    ------
    ValueError
        On a wrong rank, another number of columns than 2, values that are not finite, targets
        outside [0, 1], or too few pairs.

    Warns
    -----
    UserWarning
        If embeddings are rated: nothing tells whether they are of one prompt.

    See Also
    --------
    check_training_pairs : The same with weights and groups.
    """
    return check_training_pairs(estimator, X, y, reset=reset, min_pairs=min_pairs)[0]


def check_training_pairs(
    estimator, X, y=None, sample_weight=None, groups=None, *, reset=True, min_pairs=1
):
    """Check pairs with their targets, weights and groups, whatever form they come in.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted or asked.
    X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
        Rated embeddings are paired within each group, as in :func:`check_pairs`.
    y : array-like of shape (n,), optional
        As in :func:`check_pairs`.
    sample_weight : array-like of shape (n,), optional
        Weight of each pair, for augmented pairs of each original or of each pair; it multiplies
        the weight that a pair has already. A pair of rated embeddings weighs the product of its
        members' weights.
    groups : array-like of shape (n,), optional
        Prompts: of the pairs, for augmented pairs of the originals, or of the rated embeddings.
        Default: each original has one of its own, and rated embeddings are all of one prompt.
    reset : bool, default=True
        Whether this is a fit.
    min_pairs : int, default=1
        The fewest pairs accepted.

    Returns
    -------
    pairs : AugmentedPairs
        Pairs with their targets and weights; those of weight 0 are left out, and those that hold
        an all-NaN embedding. The originals stay, so that groups go on to be theirs.
    groups : ndarray of int
        The number of each original's group.

    Raises
    ------
    ValueError
        As :func:`check_pairs`; if weights or groups are not as many as the pairs, a weight is
        negative, or all are 0.

    Warns
    -----
    UserWarning
        If rated embeddings come without groups, or all pairs that a reward is fitted on
        are ties; if pairs hold an all-NaN embedding, as dropped texts have, and are left out.
    """
    if isinstance(X, AugmentedPairs):
        _check_augmented(estimator, X, reset=reset)
    else:
        X = check_embeddings(estimator, X, reset=reset, allow_padding=True)
        if X.ndim == 2:
            X, y, sample_weight, groups = _pair_rated(X, y, sample_weight, groups)
        if X.ndim != 3 or X.shape[1] != 2:
            raise ValueError(
                f"expected pairs of shape (n, 2, d), column 0 chosen; got shape {X.shape}."
            )
    pairs = X if isinstance(X, AugmentedPairs) else AugmentedPairs(X)
    dropped = _which_dropped(pairs)
    n_left = len(pairs) - dropped.sum()
    if n_left < min_pairs:
        raise ValueError(
            f"{type(estimator).__name__} needs at least {min_pairs} pairs, got {n_left} "
            f"(n_samples={n_left}){_say_dropped(dropped, '; left out are')}."
        )
    n = len(pairs.originals)
    groups = _check_groups(groups, n)
    if sample_weight is not None:
        sample_weight = _check_pair_weight(sample_weight, n, len(X))
    pairs = pairs.with_target(y)
    if dropped.any():
        warn(_say_dropped(dropped, "left out are") + ".")
        pairs = replace(pairs, weight=np.where(dropped, 0, pairs.weight))
    pairs = pairs.weigh(sample_weight)
    if reset and is_regressor(estimator) and (pairs.target == 0.5).all():
        low, high = pairs.originals.min(), pairs.originals.max()
        rounded = ""
        if low == high and high != 0:
            rounded = f" Every number is {high:.6g}: float32 may have rounded away what differed."
        warn(
            f"all {len(pairs)} pairs are ties, of equal columns or with the target 0.5: none says "
            f"which of two responses is better, so there is nothing to learn.{rounded}"
        )
    return pairs, groups


def check_originals(estimator, X, y=None, *, reset):
    """Check pairs for what learns from the originals alone, whatever their targets.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted or asked.
    X, y : array-like
        As in :func:`check_pairs`.
    reset : bool
        Whether this is a fit.

    Returns
    -------
    ndarray of float32, shape (n, 2, d)
        The originals, without those that hold an all-NaN embedding.
    """
    originals = check_pairs(estimator, X, y, reset=reset).originals
    missing = np.isnan(originals[..., 0]).any(axis=1)
    return originals[~missing] if missing.any() else originals


def _check_augmented(estimator, pairs, *, reset):
    """Check what a frozen class cannot: its arrays may have been written to."""
    check_embeddings(estimator, pairs.originals, reset=reset, min_ndim=3, allow_padding=True)
    if isinstance(pairs.pool, np.ndarray):
        try:
            check_finite(pairs.pool[:, None], allow_padding=True)
        except ValueError as error:
            raise ValueError(f"synthetic members: {error}") from None
    check_target(pairs.target)
    check_weight(pairs.weight)


def _which_dropped(pairs):
    """Return which pairs hold an all-NaN embedding, (n_pairs,)."""
    missing = np.isnan(pairs.originals[..., 0]).ravel()
    if isinstance(pairs.pool, np.ndarray):
        missing = np.concatenate([missing, np.isnan(pairs.pool[:, 0])])
    if not missing.any():
        return np.zeros(len(pairs), dtype=bool)
    known = pairs.members < len(missing)
    return (known & missing[np.where(known, pairs.members, 0)]).any(axis=1)


def _say_dropped(dropped, lead):
    if not dropped.any():
        return ""
    return (
        f"{lead} {dropped.sum()} of {len(dropped)} pairs (first: row "
        f"{np.flatnonzero(dropped)[0]}) that hold an all-NaN embedding, as a dropped text has"
    )


def kept_pairs(X, pairs, sample_weight=None):
    """Tell which pairs :func:`check_training_pairs` kept: those that have a weight.

    Parameters
    ----------
    X : AugmentedPairs or array-like
        What it was given.
    pairs : AugmentedPairs
        What it returned.
    sample_weight : array-like, optional
        As it was given.

    Returns
    -------
    n_given : int
        How many pairs there were.
    kept : ndarray of int, shape (len(pairs),)
        The place of each pair among them.
    """
    if not isinstance(X, AugmentedPairs):
        return len(pairs.originals), pairs.parent
    weight = np.where(_which_dropped(X), 0, X.weight)
    if sample_weight is not None:
        sample_weight = np.asarray(sample_weight)
        by_pair = len(sample_weight) == len(X)
        weight = weight * (sample_weight if by_pair else sample_weight[X.parent])
    return len(X), np.flatnonzero(weight)


def _check_pair_weight(sample_weight, n, n_pairs):
    """Return weights (n,), one an original, or (n_pairs,)."""
    shape = np.shape(sample_weight)
    if shape not in ((n,), (n_pairs,)):
        or_original = "" if n == n_pairs else f", or ({n},), one an original"
        raise ValueError(
            f"sample_weight must have shape ({n_pairs},), a weight a pair{or_original}; got "
            f"{shape}."
        )
    return _check_sample_weight(sample_weight, np.empty((*shape, 1)), ensure_non_negative=True)


def _pair_rated(X, y, sample_weight, groups):
    """Pair rated embeddings; return pairs (m, 2, d), targets, weights and groups, (m,) each."""
    if y is None:
        raise ValueError(
            f"got embeddings of shape {X.shape} and no y; pairs have the shape (n, 2, d). "
            "Embeddings of shape (n, d) need ratings: requires y to be passed, but the target "
            "y is None."
        )
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y, groups)
    if y.dtype.kind in "fc" and not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity; ratings must be finite.")
    if len(X) < 2:
        raise ValueError("one rated embedding (n_samples=1, 1 sample) makes no pair; give two.")
    if groups is None:
        warn(
            f"the {len(X)} rated embeddings come without groups and are taken to be responses to "
            "one prompt. If they are not, pair them within prompts, or give groups=, the prompt of "
            "each, to a fit that takes it."
        )
    group = np.zeros(len(X), dtype=int) if groups is None else encode_groups(groups)
    upper, lower = _pair_by_rating(y, group)
    if not len(upper):
        raise ValueError("no prompt in groups has two rated embeddings, so there are no pairs.")
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        sample_weight = weight[upper] * weight[lower]
    target = np.where(y[upper] == y[lower], 0.5, 1.0)
    # Of one prompt, pairs could not be held out: each then counts as its own, as pairs do.
    of_pairs = None if groups is None else group[upper]
    return np.stack([X[upper], X[lower]], axis=1), target, sample_weight, of_pairs


def _pair_by_rating(y, groups):
    """Pair the upper half of each group's ranking with the lower half; the middle is left out."""
    _, rating = np.unique(y, return_inverse=True)
    order = np.lexsort([-rating, groups])  # stable: equal ratings stay in their order
    size = np.bincount(groups)
    size, first = np.repeat(size, size), np.repeat(np.cumsum(size) - size, size)
    rank = np.arange(len(order)) - first  # within its group
    return order[rank < size // 2], order[rank >= size - size // 2]


def encode_groups(groups):
    """Return the number of each one's group: 0, 1, … in sorted order.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Numbers or texts.

    Returns
    -------
    ndarray of int, shape (n,)
        The number of each one's group.

    Raises
    ------
    ValueError
        If they are not one-dimensional, or one is NaN or None.
    """
    groups = np.asarray(groups)
    if groups.ndim != 1:
        raise ValueError(f"groups must have the shape (n,), a prompt each; got {groups.shape}.")
    missing = np.array([_is_missing(group) for group in groups.tolist()], dtype=bool)
    if missing.any():
        i = int(np.flatnonzero(missing)[0])
        raise ValueError(f"groups[{i}] is {groups[i]}; every pair needs a prompt.")
    return np.unique(groups, return_inverse=True)[1]


def _is_missing(value):
    """Whether a value is None, NaN, NaT or pandas' NA, which refuses to be compared."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True


def _check_groups(groups, n):
    """Return the number of each of n originals' groups."""
    if groups is None:
        return np.arange(n)
    groups = encode_groups(groups)
    if len(groups) != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: groups has {len(groups)} "
            f"prompts for {n} original pairs."
        )
    return groups


def check_unlabeled(estimator, X):
    """Check responses without labels, several to a prompt.

    Parameters
    ----------
    estimator : estimator
        Its d is theirs.
    X : array-like, shape (m, N, d)
        N responses to each of m prompts; all-NaN ones are padding.

    Returns
    -------
    ndarray of float32, shape (m, N, d)
        The checked array.

    Raises
    ------
    ValueError
        If the shape or d is another, one is not finite, no prompt has two, or they are text.
    """
    if hasattr(X, "columns") or (isinstance(X, list) and X and isinstance(X[0], Mapping)):
        raise ValueError(
            "unlabeled: expected embeddings of shape (m, N, d), got rows of text. In a Pipeline, "
            "transform_input=['unlabeled'] and metadata routing send them through the steps "
            "before."
        )
    try:
        X = check_embeddings(estimator, X, reset=False, allow_padding=True, min_ndim=3)
    except ValueError as error:  # it calls any array X, as the pairs are called here
        raise ValueError(f"unlabeled: {error}") from None
    if X.ndim != 3:
        raise ValueError(
            "unlabeled must have the shape (m, N, d), N responses to each of m prompts; got "
            f"{X.shape}."
        )
    if (~np.isnan(X[:, :, 0])).sum(axis=1).max() < 2:
        raise ValueError(f"none of the {len(X)} prompts of unlabeled has two responses.")
    return X
