"""The shape contract of embeddings: what every estimator checks of what it is given.

Pairs have the shape ``(n, 2, d)`` with column 0 chosen, candidates ``(n_prompts, N, d)`` with
all-NaN rows as padding.
"""

import numpy as np
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from ._augmented_pairs import AugmentedPairs


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
        If an embedding is not finite (the message names its row), or d differs from fit's.
    """
    if _has_feature_names(X, estimator):
        X = validate_data(estimator, X, reset=reset, skip_check_array=True)
    X = check_array(
        X,
        dtype=dtype,
        allow_nd=True,
        ensure_2d=min_ndim >= 2,
        ensure_all_finite=False,
        input_name="X",
        estimator=estimator,
    )
    check_finite(X, allow_padding=allow_padding and X.ndim > 2)
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


def check_finite(X, *, allow_padding=False):
    """Raise if an embedding is not finite, naming its row.

    Parameters
    ----------
    X : ndarray, shape (..., d)
        Embeddings.
    allow_padding : bool, default=False
        Whether embeddings that are NaN in every feature are let through.

    Raises
    ------
    ValueError
        The message names the first bad row and, in pairs and candidates, its column.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # one pass, no temporary of X's size
            return
    bad = ~np.isfinite(X)
    if allow_padding:
        bad &= ~np.isnan(X).all(axis=-1, keepdims=True)
    if bad.any():
        where = np.argwhere(bad)[0]
        value = "NaN" if np.isnan(X[tuple(where)]) else "infinity"
        column = f", column {where[1]}" if X.ndim > 2 else ""
        raise ValueError(
            f"Input X contains {value} in row {where[0]}{column} "
            f"({len(np.unique(np.argwhere(bad)[:, 0]))} bad rows of {len(X)}). Embeddings must "
            "be finite; only whole all-NaN candidates are read, as padding."
        )


def check_pairs(estimator, X, y=None, *, reset, min_pairs=1):
    """Check training pairs and their targets, whatever form they come in.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted or asked.
    X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
        Rated embeddings are paired by the order of their ratings: the upper half of the
        ranking against the lower half, equal ratings giving target 0.5.
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
    """
    if isinstance(X, AugmentedPairs):
        check_embeddings(estimator, X.originals, reset=reset, min_ndim=3)
        pairs = X if y is None else X.with_target(y)
    else:
        X = check_embeddings(estimator, X, reset=reset)
        if X.ndim == 2:
            pairs = _pairs_of_rated(X, y)
        elif X.ndim != 3 or X.shape[1] != 2:
            raise ValueError(
                f"expected pairs of shape (n, 2, d), column 0 chosen; got shape {X.shape}."
            )
        else:
            pairs = AugmentedPairs(X).with_target(y)
    if len(pairs) < min_pairs:
        raise ValueError(
            f"{type(estimator).__name__} needs at least {min_pairs} pairs, got {len(pairs)} "
            f"(n_samples={len(X)})."
        )
    return pairs


def _pairs_of_rated(X, y):
    if y is None:
        raise ValueError(
            f"got embeddings of shape {X.shape} and no y; pairs have the shape (n, 2, d). "
            "Embeddings of shape (n, d) need ratings: requires y to be passed, but the target "
            "y is None."
        )
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y)
    if y.dtype.kind in "fc" and not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity; ratings must be finite.")
    if len(X) < 2:
        raise ValueError("one rated embedding (n_samples=1, 1 sample) makes no pair; give two.")
    upper, lower = rated_order(y)
    target = np.where(y[upper] == y[lower], 0.5, 1.0)
    return AugmentedPairs(np.stack([X[upper], X[lower]], axis=1), target=target)


def rated_order(y):
    """Pair rated items: the upper half of the ranking against the lower half.

    Parameters
    ----------
    y : array-like of shape (n,)
        Ratings of any sortable kind.

    Returns
    -------
    upper, lower : ndarray of int, each of shape (n // 2,)
        Indices of the better and the worse item of each pair.
    """
    _, rank = np.unique(np.asarray(y), return_inverse=True)
    order = np.argsort(-rank, kind="stable")
    half = len(order) // 2
    return order[:half], order[len(order) - half :]


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
        If the shape or d is another, one is not finite, or no prompt has two.
    """
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
