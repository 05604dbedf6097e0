"""Statistics over splits: paired intervals, Holm's correction, and the data multiplier.

Splits with the same seed are the same for all methods and share their test set and first pairs
over N, so everything here is paired by seed. Splits of one dataset share prompts; intervals
that treat them as independent are somewhat too narrow.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from lens_sklearn._statistics import Difference
from lens_sklearn.displays._data_multiplier import reach


def values_of(records, metric, seeds=None):
    """Arrange results by method, size and seed.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.
    metric : str
        Which number.
    seeds : array-like of int, default=None
        Sorted; with those of other datasets too, values of several can be paired. None is the
        seeds that are there.

    Returns
    -------
    sizes : ndarray of int, shape (n_sizes,)
        N in ascending order.
    values : dict of str to ndarray, shape (n_sizes, n_seeds)
        By method; NaN where there is no result.
    """
    records = [r for r in records if metric in r]
    sizes = np.unique([r["n_pairs"] for r in records])
    seeds = np.unique([r["seed"] for r in records] if seeds is None else seeds)
    methods = dict.fromkeys(r["method"] for r in records)
    values = {m: np.full((len(sizes), len(seeds)), np.nan) for m in methods}
    for r in records:
        at = np.searchsorted(sizes, r["n_pairs"]), np.searchsorted(seeds, r["seed"])
        values[r["method"]][at] = r[metric]
    return sizes, values


def interval(values, confidence=0.95):
    """Average over splits with a Student interval.

    Parameters
    ----------
    values : ndarray, shape (n_seeds,)
        Values or paired differences; NaN is left out.
    confidence : float, default=0.95
        Coverage.

    Returns
    -------
    Difference
        The mean, its interval and the p-value of 0.
    """
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return Difference(float(values.mean()) if n else np.nan, np.nan, np.nan, n)
    error = stats.sem(values)
    half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    if error == 0:  # all splits agree to the bit
        return Difference(float(values[0]), 0.0, float(values[0] == 0), n)
    p = 2 * stats.t.sf(abs(values.mean()) / error, n - 1)
    return Difference(float(values.mean()), float(half_width), float(p), n)


def best_baseline(values, baselines, size):
    """Return the name of the best un-augmented model at a size, by its mean.

    Parameters
    ----------
    values : dict of str to ndarray, shape (n_sizes, n_seeds)
        From `values_of`.
    baselines : list of str
        Candidates; those without results are left out.
    size : int
        Index of the size.

    Returns
    -------
    str or None
        The best, None if none has results.
    """
    there = [m for m in baselines if m in values and not np.isnan(values[m][size]).all()]
    return max(there, key=lambda m: np.nanmean(values[m][size]), default=None)


def chained_means(values, weights):
    """Average curves over splits where larger sizes have fewer of them.

    The mean at the next size is the mean at the last one plus the mean *increment* over the
    splits that have both, so an easy split that is missing at large N does not bend the curve.
    With the same splits everywhere these are the plain means.

    Parameters
    ----------
    values : ndarray, shape (n_sizes, n_seeds)
        Results, NaN where there is none.
    weights : ndarray, shape (b, n_seeds)
        Weight of each split; a row a resample.

    Returns
    -------
    ndarray, shape (b, n_sizes)
        Curves; NaN at sizes without results.
    """
    curves = np.full((len(weights), len(values)), np.nan)
    last = None
    for i, row in enumerate(values):
        there = ~np.isnan(row)
        if not there.any():
            continue
        both = there if last is None else there & ~np.isnan(values[last])
        gain = row[both] if last is None else row[both] - values[last, both]
        with np.errstate(invalid="ignore"):  # a resample may miss all of them
            mean = weights[:, both] @ gain / weights[:, both].sum(axis=1)
        curves[:, i] = mean if last is None else curves[:, last] + mean
        last = i
    return curves


class Multiplier(NamedTuple):
    """How many times the pairs the un-augmented model needs for the same result.

    Attributes
    ----------
    value, lower, upper : float
        N' / N and its bootstrap interval.
    below, above : bool
        Whether the value lies beyond the smallest or the largest size that was run, so that
        `value` is only a bound.
    lower_below, upper_above : bool
        The same of the interval's ends.
    """

    value: float
    lower: float
    upper: float
    below: bool
    above: bool
    lower_below: bool
    upper_above: bool


def multipliers(sizes, values, methods, baselines, *, n_bootstrap=2000, confidence=0.95, seed=0):
    """Read the data multipliers of methods off the learning curve of the best baseline.

    At each size the best baseline by mean counts. N' is the smallest size, interpolated
    linearly in log N, where that curve reaches the method's mean at N.

    Parameters
    ----------
    sizes : ndarray of int, shape (n_sizes,)
        N in ascending order.
    values : dict of str to ndarray, shape (n_sizes, n_seeds)
        From `values_of`; larger is better.
    methods : list of str
        Whose multipliers.
    baselines : list of str
        The un-augmented models.
    n_bootstrap : int, default=2000
        Resamples of the splits, of which methods and baselines see the same.
    confidence : float, default=0.95
        Of the percentile interval.
    seed : int, default=0
        Of the bootstrap.

    Returns
    -------
    dict of (str, int) to Multiplier
        By method and index of the size, where the method has results: values, their intervals, and
        whether they are bounds.
    """
    n_seeds = next(iter(values.values())).shape[1]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_bootstrap)
    weights = np.concatenate([np.ones((1, n_seeds)), drawn])
    base = [chained_means(values[m], weights) for m in baselines if m in values]
    curve = np.fmax.reduce(base)  # (1 + n_bootstrap, n_sizes)
    there = ~np.isnan(curve[0])
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = {}
    for method in methods:
        targets = chained_means(values[method], weights)
        for i, n in enumerate(sizes):
            if not np.isnan(values[method][i]).all():
                log_n, side = reach(np.log(sizes[there]), curve[:, there], targets[:, [i]])
                found[method, i] = _multiplier(log_n[:, 0], side[:, 0], n, sizes[there], tails)
    return found


def _multiplier(reached, side, n_pairs, sizes, tails):
    """Summarise where the curve, and each resample of it, reaches a method's result at N."""
    known = ~np.isnan(reached)
    reached, side = reached[known], side[known]
    ratio = np.exp(reached) / n_pairs
    lower, upper = np.quantile(ratio[1:], tails) if len(ratio) > 1 else (np.nan, np.nan)
    smallest, largest = sizes[[0, -1]] / n_pairs
    return Multiplier(
        float(ratio[0]),
        float(lower),
        float(upper),
        below=bool(side[0] < 0),
        above=bool(side[0] > 0),
        lower_below=bool(np.isclose(lower, smallest) and (side[1:] < 0).any()),
        upper_above=bool(np.isclose(upper, largest) and (side[1:] > 0).any()),
    )
