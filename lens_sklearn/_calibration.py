"""Log-odds that mean what they say: the slope that makes them so, and how far they are off."""

import numpy as np
from scipy.optimize import minimize_scalar

#: Prior standard deviation of the logarithm of the scale of log-odds: a factor of e is common.
LOG_SCALE_STD = 1.0
#: The logarithm of the scale is looked for between plus and minus this.
MAX_LOG_SCALE = 6.0


def fit_slope(log_odds, target, weight=None, *, size=None):
    r"""Return the factor that makes left-out log-odds mean what they say.

    It maximises the likelihood of the targets given ``slope * log_odds``, times a prior: the root
    mean square s of the scaled log-odds has :math:`\log s \sim N(0, 1)`. With few pairs, or pairs
    that happen to be ordered without a mistake, the prior keeps the slope finite.

    Parameters
    ----------
    log_odds : ndarray, shape (n,)
        Log-odds that column 0 wins, of pairs that were left out of training.
    target : ndarray, shape (n,)
        Probabilities that column 0 wins.
    weight : ndarray, shape (n,), default=None
        How often each pair was observed; None is once.
    size : float, default=None
        The root mean square of log-odds before scaling, where more pairs than these tell it; None
        is that of these. Few may all happen to be close to 0.

    Returns
    -------
    float
        The slope, positive; 1 if all log-odds are 0 or there are none.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines", 1999, without the intercept,
    which a reward cannot have: turning a pair round must turn the probability round.
    """
    log_odds = np.asarray(log_odds, dtype=np.float64)
    weight = np.ones(len(log_odds)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = weight.sum()
    if size is None and total > 0:
        size = np.sqrt(weight @ log_odds**2 / total)
    if not total > 0 or not size > 0:
        return 1.0
    standard = log_odds / size

    def loss(log_scale):
        scaled = np.exp(log_scale) * standard
        likelihood = weight @ (np.logaddexp(0, scaled) - target * scaled)
        return likelihood + (log_scale / LOG_SCALE_STD) ** 2 / 2

    best = minimize_scalar(loss, bounds=(-MAX_LOG_SCALE, MAX_LOG_SCALE), method="bounded").x
    return float(np.exp(best) / size)


def expected_calibration_error(probabilities, targets, *, sample_weight=None, n_bins=10):
    r"""Mean gap between predicted probabilities and how often the event came true.

    Predictions fall into `n_bins` bins of equal width, and

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \, |\bar p_b - \bar t_b|

    with :math:`n_b` predictions of mean :math:`\bar p_b` and mean target :math:`\bar t_b` in bin
    b; with weights, sums and means are of those. It says whether probabilities mean what they
    say, not whether they tell pairs apart: a coin has 0. Few pairs a bin make it larger, since
    each gap counts its noise as well.

    Parameters
    ----------
    probabilities : array-like of shape (n,)
        Predicted probabilities that column 0 wins, as in ``reward.predict_proba(pairs)[:, 1]``.
    targets : array-like of shape (n,)
        Whether it won, 0 or 1, or the probability that it does. Where column 0 always wins,
        turn half of the pairs around first: one outcome alone hides what is wrong with the other.
    sample_weight : array-like of shape (n,), default=None
        How much each prediction counts; None is 1.
    n_bins : int, default=10
        Bins between 0 and 1. A bin holds its lower edge, and the last one 1 as well.

    Returns
    -------
    float
        Between 0 and 1; smaller is better.

    Raises
    ------
    ValueError
        On shapes that differ or are empty, values that are not in [0, 1], the message naming the
        row, weights that are negative, not finite or all 0, or an `n_bins` that is no whole
        number of at least 1.

    Examples
    --------
    >>> from lens_sklearn.metrics import expected_calibration_error
    >>> round(expected_calibration_error([0.75, 0.75, 0.25, 0.25], [1, 0, 0, 0]), 3)
    0.25
    """
    counts, predicted, observed = calibration_bins(probabilities, targets, n_bins, sample_weight)
    return float(np.abs(predicted - observed).sum() / counts.sum())


def calibration_bins(probabilities, targets, n_bins=10, sample_weight=None):
    """Return what a reliability diagram shows.

    Parameters
    ----------
    probabilities, targets : array-like of shape (n,)
        As in `expected_calibration_error`.
    n_bins : int, default=10
        Bins of equal width between 0 and 1.
    sample_weight : array-like of shape (n,), default=None
        How much each prediction counts; None is 1.

    Returns
    -------
    counts : ndarray of int, shape (n_bins,)
        Predictions in each bin; with weights the sums of those, as float.
    predicted, observed : ndarray of float, shape (n_bins,)
        Sums of their probabilities and of their targets, each times its weight.

    Raises
    ------
    ValueError
        As `expected_calibration_error`.
    """
    if n_bins != int(n_bins) or n_bins < 1:
        raise ValueError(f"n_bins={n_bins!r}; bins are a whole number, at least 1.")
    p, t = np.asarray(probabilities, dtype=float), np.asarray(targets, dtype=float)
    if p.ndim != 1 or p.shape != t.shape or not len(p):
        raise ValueError(
            f"probabilities and targets must both have the shape (n,) with n >= 1; got {p.shape} "
            f"and {t.shape}."
        )
    for name, values in (("probabilities", p), ("targets", t)):
        bad = ~((values >= 0) & (values <= 1))
        if bad.any():
            row = np.flatnonzero(bad)[0]
            raise ValueError(f"{name}[{row}] is {values[row]}; it must be in [0, 1].")
    w = _check_weights(sample_weight, p.shape)
    edges = np.arange(1, n_bins) / n_bins  # p * n_bins would round 0.29 * 100 below its edge
    at = np.searchsorted(edges, p, side="right")
    counts, predicted, observed = (
        np.bincount(at, values, minlength=n_bins)
        for values in ((None, p, t) if w is None else (w, w * p, w * t))
    )
    return counts, predicted, observed


def _check_weights(weight, shape):
    """Return weights as float64, None where there are none."""
    if weight is None:
        return None
    weight = np.asarray(weight, dtype=float)
    if weight.shape != shape:
        raise ValueError(f"sample_weight must have the shape {shape}; got {weight.shape}.")
    bad = np.flatnonzero(~((weight >= 0) & np.isfinite(weight)))
    if len(bad):
        raise ValueError(
            f"sample_weight[{bad[0]}] is {weight[bad[0]]}; it must be finite and at least 0."
        )
    if not weight.any():
        raise ValueError("sample_weight: every weight is 0.")
    return weight
