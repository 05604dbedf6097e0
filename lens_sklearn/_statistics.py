"""Statistics of comparisons: means with intervals, and the correction for many of them."""

from typing import NamedTuple

import numpy as np
from scipy import stats


class Difference(NamedTuple):
    """A mean with its Student interval.

    Attributes
    ----------
    mean, half_width : float
        Over n independent parts; the half-width is NaN for one part.
    p : float
        Of a mean of 0, two-sided.
    n : int
        Independent parts: splits, or prompts.
    """

    mean: float
    half_width: float
    p: float
    n: int


def holm(p_values):
    """Adjust p-values for the number of comparisons by Holm's step-down method.

    Parameters
    ----------
    p_values : array-like of shape (m,)
        P-values; NaN is no comparison.

    Returns
    -------
    ndarray, shape (m,)
        Adjusted ones: below α where the difference is significant at the family's level α.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted


def clustered_mean(values, clusters, weight=None, confidence=0.95):
    r"""Average values whose errors are independent between clusters alone.

    The mean :math:`\bar v = \sum_i w_i v_i / W`, with :math:`W = \sum_i w_i`, of G clusters g
    has the variance

    .. math:: \frac{G}{G - 1} \frac{1}{W^2}
        \sum_g \Big(\sum_{i \in g} w_i (v_i - \bar v)\Big)^2

    and a Student interval of G - 1 degrees of freedom. With a value a cluster and equal weights
    it is the interval of a mean.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Values; NaN is left out.
    clusters : ndarray of int, shape (n,)
        What is independent of what: prompts.
    weight : ndarray, shape (n,), default=None
        Weight of each value; None is 1.
    confidence : float, default=0.95
        Coverage.

    Returns
    -------
    Difference
        The mean, its interval and the p-value of 0; all NaN without a value.

    References
    ----------
    K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models",
    1986.
    """
    values = np.asarray(values, dtype=float)
    weight = np.ones(len(values)) if weight is None else np.asarray(weight, dtype=float)
    known = ~np.isnan(values) & (weight > 0)
    values, weight = values[known], weight[known]
    if not len(values):
        return Difference(np.nan, np.nan, np.nan, 0)
    cluster = np.unique(np.asarray(clusters)[known], return_inverse=True)[1]
    n = int(cluster.max()) + 1
    mean = float(weight @ values / weight.sum())
    if n < 2:
        return Difference(mean, np.nan, np.nan, n)
    residuals = np.bincount(cluster, weight * (values - mean))
    error = np.sqrt(n / (n - 1) * residuals @ residuals) / weight.sum()
    # Equal values differ by rounding alone.
    if error <= 1e-12 * np.abs(values).max():
        return Difference(mean, 0.0, float(mean == 0), n)
    p = 2 * stats.t.sf(abs(mean) / error, n - 1)
    half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    return Difference(mean, float(half_width), float(p), n)


def wilson_interval(share, n, confidence=0.95):
    """Return the limits of the Wilson score interval of shares.

    Parameters
    ----------
    share : float or ndarray
        Successes / n.
    n : int or ndarray of int
        Independent tries; where there is none the limits are NaN.
    confidence : float, default=0.95
        Coverage.

    Returns
    -------
    lower, upper : float or ndarray
        The limits.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = stats.norm.ppf((1 + confidence) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        shrunk = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        spread = np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        half_width = z * spread / (1 + z**2 / n)
    return shrunk - half_width, shrunk + half_width
