"""How strong the prior of a Gaussian process is: an average over strengths that pairs speak for."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from scipy.special import softmax

from ._calibration import fit_slope
from ._device import as_tensor
from ._feature_scale import CONTROL_VARIANCE
from ._gp_pairs import member_rows
from ._inducing import fit_induced
from ._laplace import LaplacePosterior, fit_laplace


@dataclass(frozen=True)
class SelectionSettings:
    """Which strengths are averaged, and how far pairs move the average.

    Parameters
    ----------
    one_view : tuple of float, default=(0.1, 0.3, 1.0, 3.0, 10.0)
        Prior variances of a pair's log-odds where there is one view.
    more_views : tuple of float, default=(0.1, 0.3, 1.0, 3.0)
        The same for each view where there are more; every combination is tried.
    temperature : float, default=4.0
        A strength weighs exp(-L / temperature), L the log loss of left-out pairs in all. At 1 it
        would be believed as a likelihood is, but a few hundred left-out pairs tell strengths
        apart no better than by chance: an average over most of them predicts better than the best.
    max_left_out : int, default=1000
        How many pairs are used to weigh strengths: time grows with their cube.
    max_posteriors : int, default=3
        With more pairs than that, so many of the heaviest strengths are averaged.
    """

    one_view: tuple = (0.1, 0.3, 1.0, 3.0, 10.0)
    more_views: tuple = (0.1, 0.3, 1.0, 3.0)
    temperature: float = 4.0
    max_left_out: int = 1000
    max_posteriors: int = 3

    def strengths(self, n_views):
        """Return the combinations that are tried.

        Parameters
        ----------
        n_views : int
            Views with a strength of their own.

        Returns
        -------
        ndarray of float64, shape (g, n_views)
            Prior variances of a pair's log-odds by each view.
        """
        values = self.one_view if n_views == 1 else self.more_views
        return np.array(list(product(values, repeat=n_views)))


@dataclass(frozen=True, eq=False)
class Averaged:
    """An average of posteriors.

    Parameters
    ----------
    strengths : ndarray of float64, shape (g, s)
        The strengths that were averaged.
    weights : ndarray of float64, shape (g,)
        Their weights, which sum to 1.
    dual_coef : ndarray of float64, shape (n_parts, n or m)
        Coefficients of the pairs, or of the inducing ones, in each part of the reward.
    left_out : ndarray of float64, shape (n,)
        Log-odds of each pair, by the parts that are predicted, given the pairs of all other
        groups; NaN where there is no other.
    slope : float
        The mean factor on log-odds; those of all else are multiplied already.
    prior_variance : ndarray of float64, shape (s,)
        The mean strengths.
    posterior : LaplacePosterior or InducedPosterior
        That of the mean strengths.
    """

    strengths: np.ndarray
    weights: np.ndarray
    dual_coef: np.ndarray
    left_out: np.ndarray
    slope: float
    prior_variance: np.ndarray
    posterior: LaplacePosterior


@dataclass(frozen=True, eq=False)
class Prior:
    """What all strengths share: the parts of the reward, each of unit prior variance.

    Parameters
    ----------
    covariances : list of tensor of float64, shape (n, n)
        The prior covariance of the pairs' log-odds by each part, all on one device.
    strength_of : ndarray of int, shape (n_parts,)
        Which strength each part has that predicts.
    predicted : ndarray of bool, shape (n_parts,)
        Which parts predict; the others are controlled.
    """

    covariances: list
    strength_of: np.ndarray
    predicted: np.ndarray

    def take(self, index):
        """Return the prior of some pairs.

        Parameters
        ----------
        index : ndarray of int, shape (m,)
            Which.

        Returns
        -------
        Prior
            Theirs.
        """
        rows = torch.as_tensor(index, device=self.covariances[0].device)
        some = [covariance[rows[:, None], rows] for covariance in self.covariances]
        return Prior(some, self.strength_of, self.predicted)

    def strengths_of_parts(self, strengths):
        """Return the prior variance of each part.

        Parameters
        ----------
        strengths : ndarray of float64, shape (..., s)
            Prior variances.

        Returns
        -------
        ndarray of float64, shape (..., n_parts)
            Those of the parts, `CONTROL_VARIANCE` where one is controlled.
        """
        return np.where(self.predicted, strengths[..., self.strength_of], CONTROL_VARIANCE)

    def covariance(self, strengths, *, predicted=False):
        """Return the prior covariance of the pairs' log-odds.

        Parameters
        ----------
        strengths : ndarray of float64, shape (s,)
            Prior variances.
        predicted : bool, default=False
            Whether to leave out what is controlled.

        Returns
        -------
        tensor of float64, shape (n, n)
            The covariance.
        """
        total = torch.zeros_like(self.covariances[0])
        of_parts = self.strengths_of_parts(strengths)
        for part, covariance in enumerate(self.covariances):
            if self.predicted[part] or not predicted:
                total.add_(covariance, alpha=float(of_parts[part]))
        return total

    def posterior(self, strengths, pairs, start=None):
        """Return the posterior of the pairs' log-odds.

        Parameters
        ----------
        strengths : ndarray of float64, shape (s,)
            Prior variances.
        pairs : TrainingPairs
            What was observed.
        start : LaplacePosterior, optional
            Another posterior; of few pairs it saves nothing.

        Returns
        -------
        LaplacePosterior
            Where the covariances are.
        """
        kernel = self.covariance(strengths)
        observed = (as_tensor(array).to(kernel.device) for array in (pairs.target, pairs.weight))
        return fit_laplace(kernel, *observed)

    def left_out(self, posterior, strengths, group, *, predicted=False):
        """Predict the pairs of each group from those of all others.

        Parameters
        ----------
        posterior : LaplacePosterior
            That of these strengths.
        strengths : ndarray of float64, shape (s,)
            Prior variances.
        group : ndarray, shape (n,)
            The group of each pair.
        predicted : bool, default=False
            Whether to leave out what is controlled.

        Returns
        -------
        ndarray of float64, shape (n,)
            Log-odds.
        """
        covariance = self.covariance(strengths, predicted=predicted)
        return posterior.leave_groups_out(covariance, group).cpu().numpy()


@dataclass(frozen=True, eq=False)
class InducedPrior(Prior):
    """The same of many pairs, by their covariances with m of them.

    Parameters
    ----------
    covariances : list of tensor of float64, shape (n, m)
        Of the log-odds of all pairs with those of the inducing ones, by each part.
    strength_of, predicted : ndarray, shape (n_parts,)
        As before.
    inducing : ndarray of int, shape (m,)
        Which pairs these are.
    members : list of tensor of float64, shape (2 * n, d_part)
        The members of all pairs as each part has them.
    kernels : list of KernelSum
        The kernels of each part.
    """

    inducing: np.ndarray
    members: list
    kernels: list

    def take(self, index):
        """Return the exact prior of some pairs.

        Parameters
        ----------
        index : ndarray of int, shape (m,)
            Which.

        Returns
        -------
        Prior
            Theirs.
        """
        rows = torch.as_tensor(member_rows(index), device=self.covariances[0].device)
        some = [members[rows] for members in self.members]
        covariances = [
            kernel.between_pairs(a, a) for kernel, a in zip(self.kernels, some, strict=True)
        ]
        return Prior(covariances, self.strength_of, self.predicted)

    def posterior(self, strengths, pairs, start=None):
        """Return the posterior of the pairs' log-odds, as for few pairs.

        Parameters
        ----------
        strengths : ndarray of float64, shape (s,)
            Prior variances.
        pairs : TrainingPairs
            What was observed.
        start : LaplacePosterior or InducedPosterior, optional
            Another posterior, which this is not far from.

        Returns
        -------
        InducedPosterior
            Where the covariances are.
        """
        covariance = self.covariance(strengths)
        inducing, target, weight = (
            as_tensor(array).to(covariance.device)
            for array in (self.inducing, pairs.target, pairs.weight)
        )
        start = None if start is None else start.log_odds
        return fit_induced(covariance, inducing, target, weight, start=start)

    def left_out(self, posterior, strengths, group, *, predicted=False):
        """Predict the pairs of each group from those of all others, as for few pairs.

        Parameters
        ----------
        posterior : InducedPosterior
            That of these strengths.
        strengths : ndarray of float64, shape (s,)
            Prior variances.
        group : ndarray, shape (n,)
            The group of each pair.
        predicted : bool, default=False
            Whether to leave out what is controlled.

        Returns
        -------
        ndarray of float64, shape (n,)
            Log-odds.
        """
        covariance = self.covariance(strengths, predicted=True) if predicted else None
        return posterior.leave_groups_out(covariance, group).cpu().numpy()


def average_posteriors(prior, pairs, strengths, index, settings):
    """Fit a posterior for each strength, and average them by what left-out groups say.

    Parameters
    ----------
    prior : Prior or InducedPrior
        Of all pairs.
    pairs : TrainingPairs
        All pairs.
    strengths : ndarray of float64, shape (g, s)
        What is tried.
    index : ndarray of int, shape (m,)
        The pairs that weigh strengths.
    settings : SelectionSettings
        How they are weighed.

    Returns
    -------
    Averaged
        The average.
    """
    can_leave_out = len(np.unique(pairs.group)) > 1
    if can_leave_out and len(index) < len(pairs) and len(strengths) > 1:
        some, known = prior.take(index), pairs.take(index)
        log_weights = _fit_all(some, known, strengths, settings)[0]
        kept = np.sort(np.argsort(-log_weights, kind="stable")[: settings.max_posteriors])
        strengths, log_weights = strengths[kept], log_weights[kept]
        _, slopes, duals, left_out, last = _fit_all(prior, pairs, strengths, settings)
    else:
        log_weights, slopes, duals, left_out, last = _fit_all(prior, pairs, strengths, settings)
    weights = softmax(log_weights)
    by_part = weights[:, None] * slopes[:, None] * prior.strengths_of_parts(strengths)  # (g, parts)
    mean = np.exp(weights @ np.log(strengths))
    posterior = prior.posterior(mean, pairs, last)
    return Averaged(
        strengths,
        weights,
        by_part.T @ duals,
        (weights * slopes) @ left_out,
        float(weights @ slopes),
        mean,
        posterior,
    )


def _fit_all(prior, pairs, strengths, settings):
    """Return log weights, slopes, coefficients and left-out log-odds of all, the last posterior."""
    g, n = len(strengths), len(pairs)
    log_weights, slopes = np.zeros(g), np.ones(g)
    duals, left_out, posterior = [], np.full((g, n), np.nan), None
    can_leave_out = len(np.unique(pairs.group)) > 1
    for i, strength in enumerate(strengths):
        posterior = prior.posterior(strength, pairs, posterior)
        duals.append(posterior.dual_coef.cpu().numpy())
        if not can_leave_out:
            continue
        whole = prior.left_out(posterior, strength, pairs.group)
        slopes[i] = fit_slope(whole, pairs.target, pairs.weight)
        scaled = slopes[i] * whole
        loss = pairs.weight @ (np.logaddexp(0, scaled) - pairs.target * scaled)
        log_weights[i] = -loss / settings.temperature
        left_out[i] = whole
        if not prior.predicted.all():
            left_out[i] = prior.left_out(posterior, strength, pairs.group, predicted=True)
            slopes[i] = fit_slope(left_out[i], pairs.target, pairs.weight)
    return log_weights, slopes, np.stack(duals), left_out, posterior


def draw_groups(order, group, max_size):
    """Return the first pairs of an order, as whole groups where at least two fit in.

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
        `max_size` pairs at most: all pairs of some groups, or, of large groups, the first pairs.
    """
    if len(order) <= max_size:
        return order
    _, first, rank = np.unique(group[order], return_index=True, return_inverse=True)
    by_group = np.argsort(first[rank], kind="stable")
    head, next_pair = by_group[:max_size], by_group[max_size]
    whole = head[rank[head] != rank[next_pair]]
    return order[whole] if len(np.unique(rank[whole])) > 1 else order[:max_size]
