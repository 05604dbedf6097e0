"""Numbers that an estimator can compute with: finite, and not rounded away by float32."""

from collections.abc import Mapping

import numpy as np
from sklearn.utils import gen_batches

#: Between these, sums of squares over all features are finite and not 0 in float32.
SMALLEST, LARGEST = 1e-16, 1e16
#: What rounding may take of the range of a feature.
MAX_ROUNDING = 0.01
#: Features that differ by less than this share of themselves are constant up to rounding.
CONSTANT = 1e-12
#: Half of what the last bit of a float32 is worth, as a share of the number.
FLOAT32_STEP = 3e-8
#: Numbers turned into float64 at once.
CHUNK = 1 << 20
STANDARDIZE = "Standardize them first: EmbeddingScaler computes in float64 and takes float64."


def check_plain(X):
    """Raise if what is given would become numbers that it does not mean.

    Parameters
    ----------
    X : object
        Embeddings, not checked yet.

    Raises
    ------
    ValueError
        On masked entries, whose masks would be lost, on times, and on rows of text.
    """
    columns = getattr(X, "column_names", getattr(X, "columns", ()))  # of a Dataset, of a frame
    is_list_of_rows = isinstance(X, list) and len(X) > 0 and isinstance(X[0], Mapping)
    if is_list_of_rows or any(name in ("chosen", "responses") for name in columns):
        raise ValueError(
            "X has rows of text; embeddings are needed, as LLMEmbedder makes them: put one before "
            "this step, in a Pipeline."
        )
    if np.ma.is_masked(X):
        raise ValueError(
            "X has masked entries. Fill them in; candidates that are not there are all NaN."
        )
    if getattr(X, "dtype", None) is not None and getattr(X.dtype, "kind", "") in tuple("mM"):
        raise ValueError(f"X holds {X.dtype}; embeddings are numbers.")


def check_finite(X, *, allow_padding=False, given=None):
    """Raise if an embedding is not finite, naming its row.

    Parameters
    ----------
    X : ndarray, shape (..., d)
        Embeddings.
    allow_padding : bool, default=False
        Whether embeddings that are NaN in every feature are let through.
    given : array-like, optional
        What `X` was made of, where numbers may have been finite still.

    Raises
    ------
    ValueError
        The message names the first bad row and feature and, in pairs and candidates, its column.
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
        place = f"row {where[0]}{column}, feature {where[-1]}"
        if value == "infinity" and _is_numbers(given) and np.isfinite(given[tuple(where)]):
            raise ValueError(
                f"Input X contains infinity in {place} once it is {X.dtype}: {given[tuple(where)]} "
                "is too large for it. Divide the embeddings by a number, all by the same."
            )
        raise ValueError(
            f"Input X contains {value} in {place} "
            f"({len(np.unique(np.argwhere(bad)[:, 0]))} bad rows of {len(X)}). Embeddings must "
            "be finite; only whole all-NaN candidates are read, as padding."
        )


def check_precision(X, given=None, *, squares=True):
    """Raise if float32 does not hold what the embeddings of a fit differ in.

    Parameters
    ----------
    X : ndarray, shape (..., d)
        Checked embeddings; only those of float32 are looked at.
    given : array-like, optional
        What they were made of.
    squares : bool, default=True
        Whether squares of the numbers are taken in float32.

    Raises
    ------
    ValueError
        If squares of the numbers would not be finite, or would be 0; if a feature of `given`
        differs by less than float32 rounds it to. The message says what to do.
    """
    if X.dtype != np.float32:
        return
    if squares:
        _check_squares(X)
    if not _is_numbers(given) or given.itemsize < 4 or given.dtype == X.dtype:
        return
    lost = _features_lost(X.reshape(-1, X.shape[-1]), given.reshape(-1, X.shape[-1]))
    if lost is not None:
        feature, middle, spread = lost
        raise ValueError(
            f"feature {feature} of X lies around {middle:.3g} and differs by {spread:.3g} only, "
            f"which is lost where {given.dtype} becomes float32. {STANDARDIZE}"
        )


def _check_squares(X):
    largest = float(max(X.max(), -X.min()))
    if np.isnan(largest):  # padding, which is slower to leave out
        largest = float(max(np.fmax.reduce(X, axis=None), -np.fmin.reduce(X, axis=None)))
    if largest > LARGEST or 0 < largest < SMALLEST:
        i = np.unravel_index(np.nanargmax(np.abs(X)), X.shape)
        raise ValueError(
            f"feature {i[-1]} of X goes up to {largest:.3g} (row {i[0]}) and no other is larger; "
            f"the squares of such numbers do not fit into float32. {STANDARDIZE}"
        )


def _is_numbers(given):
    return isinstance(given, np.ndarray) and given.dtype.kind in "iuf"


def _features_lost(rows, given):
    """Return a feature that rounding to float32 takes away, its middle and its spread, or None."""
    d = rows.shape[1]
    low, high, error = np.full(d, np.inf), np.full(d, -np.inf), np.zeros(d)
    for chunk in gen_batches(len(rows), max(1, CHUNK // d)):
        exact = given[chunk].astype(np.float64)
        low, high = np.fmin(low, np.fmin.reduce(exact)), np.fmax(high, np.fmax.reduce(exact))
        error = np.fmax(error, np.fmax.reduce(abs(exact - rows[chunk])))
    # What differs by less than float64 rounds to is a constant, wherever it comes from.
    differs = high - low > CONSTANT * np.maximum(abs(low), abs(high))
    lost = differs & (error > MAX_ROUNDING * (high - low))
    # One of many that differs by about the rounding of float32 may be a constant that came from it.
    if (differs & ~lost).any():
        lost &= high - low < FLOAT32_STEP * np.maximum(abs(low), abs(high))
    if not lost.any():
        return None
    i = np.flatnonzero(lost)[0]
    return int(i), (low[i] + high[i]) / 2, high[i] - low[i]
