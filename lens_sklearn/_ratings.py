"""Pairs of rated responses: who rates responses one by one has preferences within prompts."""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params
from sklearn.utils.random import sample_without_replacement
from sklearn.utils.validation import check_consistent_length, column_or_1d

from ._records import CANDIDATE_COLUMN, as_records, candidate_column, kind_of
from ._rows import number_prompts, prompt_keys, read_texts
from ._validation import check_finite, encode_groups


class RatedPairs(NamedTuple):
    """Pairs made of rated responses.

    Attributes
    ----------
    pairs : ndarray of shape (m, 2, d) or list of m dict
        Pairs, column 0 the higher rated; of rows of text, preference rows.
    weight : ndarray of float64, shape (m,)
        Weight of each pair, 1 on average.
    groups : ndarray of int, shape (m,)
        The number of each pair's prompt.
    gap : ndarray of float64, shape (m,)
        By how much the rating of column 0 is larger.
    """

    pairs: np.ndarray | list
    weight: np.ndarray
    groups: np.ndarray
    gap: np.ndarray


@validate_params(
    {
        "X": "no_validation",
        "ratings": ["array-like"],
        "groups": ["array-like", None],
        "min_gap": [Interval(Real, 0, None, closed="left")],
        "max_per_prompt": [Interval(Integral, 1, None, closed="left"), None],
        "weight": [StrOptions({"prompt", "pair"})],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def pairs_from_ratings(
    X,
    ratings,
    groups=None,
    *,
    min_gap=0.0,
    max_per_prompt=None,
    weight="prompt",
    random_state=None,
):
    """Make pairs of responses to the same prompt that were rated one by one.

    Every two responses to a prompt whose ratings differ by more than `min_gap` are a pair, column
    0 the higher rated. Equal ratings make none.

    Parameters
    ----------
    X : array-like of shape (n, d) or (n_prompts, N, d), or candidate rows
        Embeddings of responses, or of candidates with all-NaN padding; or rows of text with
        ``responses``, or with one ``response`` each, of which preference rows are made.
    ratings : array-like of shape (n,) or (n_prompts, N)
        Ratings, on whatever scale; NaN for padding. For rows of text as
        :func:`~lens_sklearn.load_candidates` returns them.
    groups : array-like of shape (n,) or (n_prompts,), default=None
        Prompts. Embeddings of shape (n, d) need those of each; candidates of each row, where
        None gives every row its own. Rows of text know theirs, and take none.
    min_gap : float, default=0.0
        Ratings that differ by no more than this make no pair.
    max_per_prompt : int, default=None
        The most pairs of a prompt, of candidates of a row: drawn from all of them, without
        replacement. None is all: N responses make up to N (N - 1) / 2.
    weight : {"prompt", "pair"}, default="prompt"
        Whether each prompt counts alike, however many pairs it has, or each pair does. Pairs of
        a prompt share responses, so that many of them say less than as many prompts do.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs under `max_per_prompt`.

    Returns
    -------
    RatedPairs
        A named tuple of ``pairs``, ``weight``, ``groups`` and ``gap``, by prompt. Preference
        rows have ``prompt`` (if there is one), ``chosen``, ``rejected``, ``weight`` and ``gap``.

    Raises
    ------
    ValueError
        If ratings are not finite or not as many as the responses, groups are missing or NaN, or
        no pair is left; the message says why.

    See Also
    --------
    pair_targets : Weights and targets of preference rows.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor, pairs_from_ratings
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_test_prompts=50, n_features=4, random_state=0)
    >>> rated = pairs_from_ratings(toy.candidates, toy.gold, max_per_prompt=8, random_state=0)
    >>> rated.pairs.shape
    (400, 2, 4)
    >>> reward = LinearRewardRegressor().fit(rated.pairs, None, rated.weight, groups=rated.groups)
    """
    if _is_text(X):
        return _pairs_of_rows(X, ratings, groups, min_gap, max_per_prompt, weight, random_state)
    X = np.asarray(X)
    if X.ndim not in (2, 3) or X.dtype.kind not in "fiub":
        raise ValueError(
            "expected embeddings of shape (n, d), candidates of shape (n_prompts, N, d) or rows "
            f"with 'responses'; got shape {X.shape} of {X.dtype}."
        )
    check_finite(X, allow_padding=X.ndim == 3)
    if X.ndim == 2:
        if groups is None:
            raise ValueError("embeddings of shape (n, d) need groups, the prompt of each.")
        ratings = column_or_1d(ratings, dtype=np.float64)
        check_consistent_length(X, ratings, groups)
        there = np.ones(len(X), dtype=bool)
    else:
        there = ~np.isnan(X).all(axis=-1)  # (n_prompts, N)
    index, pair_weight, group, gap = _rated_pairs(
        ratings, there, groups, min_gap, max_per_prompt, weight, random_state
    )
    return RatedPairs(X.reshape(-1, X.shape[-1])[index], pair_weight, group, gap)


def _is_text(X):
    columns = getattr(X, "column_names", getattr(X, "columns", None))
    if columns is not None:
        return any(isinstance(c, str) for c in columns)
    if isinstance(X, Mapping):
        return True
    return not hasattr(X, "dtype") and len(X) > 0 and isinstance(X[0], Mapping)


def _pairs_of_rows(X, ratings, groups, *options):
    """Return pairs as preference rows."""
    rows = as_records(X)
    if kind_of(rows[0]) != "candidates":
        raise ValueError("expected candidate rows with the column 'responses', got pairs.")
    if groups is not None:
        raise ValueError("rows of text know their prompts; groups has no effect, leave it out.")
    there = np.not_equal(read_texts(rows).items, None)  # (n_prompts, N)
    column, width = candidate_column(rows[0]), there.shape[1]
    if column != CANDIDATE_COLUMN:
        there = there[:, 0]  # a response a row: the prompt says which belong together
    prompts = number_prompts(prompt_keys(rows))
    index, weight, group, gap = _rated_pairs(ratings, there, prompts, *options)
    pairs = []
    for (better, worse), *numbers in zip(index, weight.tolist(), gap.tolist(), strict=True):
        row = rows[better // width]
        cells = [
            rows[c // width][column] if column != CANDIDATE_COLUMN else row[column][c % width]
            for c in (better, worse)
        ]
        pair = {"prompt": row["prompt"]} if "prompt" in row else {}
        pair |= dict(zip(("chosen", "rejected", "weight", "gap"), cells + numbers, strict=True))
        pairs.append(pair)
    return RatedPairs(pairs, weight, group, gap)


def _rated_pairs(ratings, there, groups, min_gap, max_per_prompt, weight, random_state):
    """Return pairs as indices (m, 2) of flattened responses, their weights, groups and gaps.

    Of candidates `there` is (n_prompts, N), pairs are within rows and groups are the rows'.
    """
    ratings = _check_ratings(ratings, there)
    if there.ndim == 1:
        group = pool = encode_groups(groups)
    else:
        n, width = there.shape
        group = np.arange(n) if groups is None else encode_groups(groups)
        check_consistent_length(there, group)
        group, pool = np.repeat(group, width), np.repeat(np.arange(n), width)
    index = np.flatnonzero(there)
    order = index[np.lexsort([-ratings.ravel()[index], pool[index]])]  # by prompt, best first
    sorted_ratings, pool = ratings.ravel()[order], np.unique(pool[order], return_inverse=True)[1]
    start, end = _worse(sorted_ratings, pool, min_gap)
    n_below = end - start  # of each response, the ones that it wins against
    if not n_below.any():
        raise ValueError(_why_none(sorted_ratings, pool, min_gap))
    number = _drawn(n_below, pool, max_per_prompt, random_state)
    before = np.cumsum(n_below) - n_below
    first = np.searchsorted(np.cumsum(n_below), number, side="right")
    second = start[first] + number - before[first]
    gap = sorted_ratings[first] - sorted_ratings[second]
    pairs = order[np.stack([first, second], axis=1)]
    group = group[pairs[:, 0]]
    return pairs, _weights(group, weight), group, gap


def _check_ratings(ratings, there):
    ratings = np.asarray(ratings, dtype=np.float64)
    if ratings.shape != there.shape:
        raise ValueError(
            f"ratings must have the shape {there.shape}, one a response; got {ratings.shape}."
        )
    bad = ~np.isfinite(ratings) & there
    if bad.any():
        where = np.argwhere(bad)[0]
        place = ", ".join(map(str, where))
        raise ValueError(f"ratings[{place}] is {ratings[tuple(where)]}; ratings are finite.")
    lone = ~np.isnan(ratings) & ~there
    if lone.any():
        row, column = np.argwhere(lone)[0]
        raise ValueError(
            f"ratings[{row}, {column}] is {ratings[row, column]}, but there is no such response; "
            "padding is NaN in both."
        )
    return ratings


def _worse(ratings, pool, min_gap):
    """Return where those begin and end that each response wins against; best come first.

    Within a pool they are its last ones, found by bisection of all pools at once.
    """
    size = np.bincount(pool)
    end = np.repeat(np.cumsum(size), size)
    low, high = np.arange(1, len(ratings) + 1), end.copy()
    while (low < high).any():
        middle = np.minimum((low + high) // 2, len(ratings) - 1)
        wins = ratings - ratings[middle] > min_gap
        high = np.where(wins & (low < high), middle, high)
        low = np.where(~wins & (low < high), middle + 1, low)
    return low, end


def _drawn(n_below, pool, max_per_prompt, random_state):
    """Return the numbers of the pairs that are kept, in ascending order."""
    if max_per_prompt is None:
        return np.arange(n_below.sum())
    random_state = check_random_state(random_state)
    n_pairs = np.bincount(pool, n_below).astype(int)  # of each pool
    numbers = []
    for first, n in zip(np.cumsum(n_pairs) - n_pairs, n_pairs, strict=True):
        n_kept = min(n, max_per_prompt)
        drawn = sample_without_replacement(n, n_kept, random_state=random_state)
        numbers.append(first + np.sort(drawn))
    return np.concatenate(numbers)


def _weights(group, weight):
    """Return weights (m,) of mean 1."""
    if weight == "pair":
        return np.ones(len(group))
    number, n_pairs = np.unique(group, return_inverse=True, return_counts=True)[1:]
    return len(group) / (len(n_pairs) * n_pairs[number])


def _why_none(ratings, pool, min_gap):
    """Return why no pair is left of ratings that are sorted by pool, the best first."""
    size = np.bincount(pool)
    if len(size) == len(pool):
        return f"no pair is left: each of the {len(size)} prompts has a single response."
    last = np.cumsum(size) - 1
    widest = (ratings[last - size + 1] - ratings[last]).max()
    if widest == 0:
        return f"no pair is left: the ratings of a prompt are equal, in all {len(size)} prompts."
    return (
        f"no pair is left: the ratings of a prompt differ by {widest:.3g} at most, which is no "
        f"more than min_gap={min_gap}."
    )
