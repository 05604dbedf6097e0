"""What a Gaussian process chooses by leave-group-out prediction: its whitening, its penalty."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ._gp_posterior import GPPosterior


@dataclass(frozen=True)
class SelectionSettings:
    """How whitening and uncertainty penalty are chosen.

    Parameters
    ----------
    max_left_out : int, default=1000
        How many pairs are predicted at most: time grows with their cube.
    wiener_exponent : float, default=0.25
        Of every whitening; that of ``WithinPromptWhitening()``.
    covariance_exponents : tuple of float, default=(0.125, 0.0, 0.25)
        Those compared. The first, that of ``WithinPromptWhitening()``, needs no evidence.
    min_gain : float, default=1.0
        Nats of log likelihood that another exponent must gain: below a factor of e the data
        do not say which is better.
    min_gain_errors : float, default=2.0
        Standard errors that the gain must exceed.
    penalty : float, default=0.5
        The prior mean of the penalty, which is taken where pairs do not speak against it.
    penalty_std : float, default=2.0
        Its prior standard deviation.
    log_scale_std : float, default=1.0
        Prior standard deviation of the logarithm of a factor on all log-odds, which is fitted
        beside the penalty: rewards that are too large or small need not mean a wrong penalty.
    errors_for_more : float, default=1.0
        Standard errors by which pairs must ask for a larger penalty.
    errors_for_less : float, default=1.0
        Standard errors by which they must ask for a smaller one.
    errors_for_less_without_groups : float, default=2.0
        The same where prompts are unknown. Another pair of the same prompt may then be among the
        others, and what is left out seems to need less of a penalty than it does.
    """

    max_left_out: int = 1000
    wiener_exponent: float = 0.25
    covariance_exponents: tuple = (0.125, 0.0, 0.25)
    min_gain: float = 1.0
    min_gain_errors: float = 2.0
    penalty: float = 0.5
    penalty_std: float = 2.0
    log_scale_std: float = 1.0
    errors_for_more: float = 1.0
    errors_for_less: float = 1.0
    errors_for_less_without_groups: float = 2.0


@dataclass(frozen=True, eq=False)
class PenaltyEstimate:
    """The most probable uncertainty penalty of pairs that were left out.

    Parameters
    ----------
    value : float
        The penalty.
    error : float
        Its standard error.
    losses : ndarray of float64, shape (m,)
        The pairs' log losses with it.
    """

    value: float
    error: float
    losses: np.ndarray


def draw_whole_groups(order, group, max_size):
    """Return the first pairs of an order, leaving out groups that do not fit in as a whole.

    Parameters
    ----------
    order : ndarray of int, shape (n,)
        The pairs, those to be taken first in front.
    group : ndarray, shape (n,)
        The group of each pair.
    max_size : int
        How many may be taken.

    Returns
    -------
    ndarray of int, shape (m,)
        All pairs of some groups, `max_size` at most.
    """
    if len(order) <= max_size:
        return order
    _, first, rank = np.unique(group[order], return_index=True, return_inverse=True)
    by_group = np.argsort(first[rank], kind="stable")
    head, next_pair = by_group[:max_size], by_group[max_size]
    return order[head[rank[head] != rank[next_pair]]]


def select_whitening(spectra, pairs, prior_variance, settings):
    """Choose the covariance exponent with which pairs are best predicted by other groups.

    Each exponent is judged by pairs alone that are left out themselves.

    Parameters
    ----------
    spectra : WithinPromptSpectra
        What whitenings are made from.
    pairs : TrainingPairs
        Pairs to learn from and to predict; none at all gives the first exponent.
    prior_variance : float
        The mean prior variance of the pairs' log-odds.
    settings : SelectionSettings
        The exponents, and how much better than the first another must be.

    Returns
    -------
    Whitening
        The one chosen.
    """
    chosen = None
    for exponent in settings.covariance_exponents:
        whitening = spectra.whitening(settings.wiener_exponent, exponent)
        if not len(pairs):
            return whitening
        posterior = GPPosterior.fit(whitening, pairs, prior_variance)
        losses = estimate_penalty(posterior, pairs, np.arange(len(pairs)), settings).losses
        if chosen is None:
            chosen, first, largest = whitening, losses, 0.0
        gains = first - losses
        gain, error = gains.sum(), gains.std() * sqrt(len(gains))
        if gain > max(largest, settings.min_gain, settings.min_gain_errors * error):
            chosen, largest = whitening, gain
    return chosen


def select_penalty(posterior, pairs, index, settings, *, has_groups):
    """Choose the uncertainty penalty.

    Parameters
    ----------
    posterior : GPPosterior
        Of all pairs.
    pairs : TrainingPairs
        All pairs.
    index : ndarray of int, shape (m,)
        Those to predict, whole groups of them.
    settings : SelectionSettings
        The prior, and how many standard errors a change takes.
    has_groups : bool
        Whether the groups are prompts.

    Returns
    -------
    float
        The prior mean, or as much more or less, but no less than 0, as the pairs ask for beyond
        those standard errors.
    """
    estimate = estimate_penalty(posterior, pairs, index, settings)
    for_less = settings.errors_for_less if has_groups else settings.errors_for_less_without_groups
    at_least = estimate.value - settings.errors_for_more * estimate.error
    at_most = estimate.value + for_less * estimate.error
    return float(max(0, np.clip(settings.penalty, at_least, at_most)))


def estimate_penalty(posterior, pairs, index, settings):
    """Estimate the penalty with which pairs are best predicted by those of other groups.

    A pair is won with log-odds s (f - c · u): f its predicted log-odds, u the posterior
    deviation of the reward of column 0 less that of column 1, c the penalty, and s an unknown
    factor. Of s and c the most probable values are found.

    Parameters
    ----------
    posterior : GPPosterior
        Of all pairs.
    pairs : TrainingPairs
        All pairs.
    index : ndarray of int, shape (m,)
        Those to predict, whole groups of them.
    settings : SelectionSettings
        The prior of log s and c.

    Returns
    -------
    PenaltyEstimate
        The penalty, its standard error by Laplace's approximation, and the losses.
    """
    left_out = posterior.leave_groups_out(index, pairs.group[index])
    log_odds, deviation = left_out.log_odds, left_out.std_difference
    target, weight = pairs.target[index], pairs.weight[index]
    mean = np.array([0, settings.penalty])
    std = np.array([settings.log_scale_std, settings.penalty_std])

    def penalized(parameters):
        scale = np.exp(parameters[0])
        value = scale * (log_odds - parameters[1] * deviation)
        return value, np.stack([value, -scale * deviation])  # and its slopes (2, m)

    def losses(value):
        return weight * (np.logaddexp(0, value) - target * value)

    def loss(parameters):
        value, slopes = penalized(parameters)
        off = (parameters - mean) / std
        loss = losses(value).sum() + off @ off / 2
        return loss, slopes @ (weight * (expit(value) - target)) + off / std

    best = minimize(loss, mean, jac=True).x
    value, slopes = penalized(best)
    win = expit(value)
    by_scale, by_penalty = slopes @ (weight * (win - target))
    hessian = (slopes * weight * win * (1 - win)) @ slopes.T
    hessian += [[by_scale, by_penalty], [by_penalty, 0]] + np.diag(std**-2)
    error = np.sqrt(np.linalg.inv(hessian)[1, 1])
    return PenaltyEstimate(float(best[1]), float(error), losses(value))
