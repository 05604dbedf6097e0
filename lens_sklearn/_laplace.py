"""Laplace's approximation to the posterior of log-odds that have a Gaussian prior.

The pages and equations are those of C. E. Rasmussen and C. K. I. Williams, "Gaussian processes
for machine learning", 2006, chapters 3 and 5. All arrays are tensors of float64 on one device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches

from ._warnings import warn

#: The least curvature of the likelihood, as a share of a pair's weight: beyond log-odds of ±14 it
#: would underflow.
LEAST_CURVATURE = 1e-6
#: Pairs of the same size of group at once: bounds the memory of leaving groups out.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class LaplacePosterior:
    r"""A Gaussian posterior of the log-odds of n pairs.

    Its mean is the mode of the true posterior, its covariance the inverse of the Hessian there,
    :math:`(K^{-1} + W)^{-1}`.

    Parameters
    ----------
    dual_coef : tensor, shape (n,)
        The mode is ``K @ dual_coef``.
    log_odds : tensor, shape (n,)
        The mode.
    curvature : tensor, shape (n,)
        W, minus the second derivatives of the log likelihood.
    L : tensor, shape (n, n)
        The lower Cholesky factor of :math:`K + W^{-1}`.
    n_iter : int
        Steps of Newton's method.
    log_marginal_likelihood : float
        Of the targets, by the same approximation (equation 3.32).
    """

    dual_coef: torch.Tensor
    log_odds: torch.Tensor
    curvature: torch.Tensor
    L: torch.Tensor
    n_iter: int
    log_marginal_likelihood: float

    def leave_groups_out(self, covariance, group):
        """Predict the pairs of each group from those of all others, without fitting anew.

        Section 5.4.2 does so for single observations. Here a whole group is left out, and the
        likelihood of the others keeps the Gaussian that all pairs gave it.

        Parameters
        ----------
        covariance : tensor, shape (n, n)
            The prior covariance of what is predicted with the log-odds of the pairs: K, or that
            of a part of the reward.
        group : ndarray, shape (n,)
            The group of each pair.

        Returns
        -------
        tensor, shape (n,)
            Posterior means of the log-odds given all other groups.
        """
        inverse = torch.cholesky_inverse(self.L)
        left_out = covariance @ self.dual_coef
        for rows in groups_of_one_size(group):
            m, size = rows.shape
            for chunk in gen_batches(m, max(1, CHUNK // size)):
                index = torch.as_tensor(rows[chunk], device=inverse.device)  # (b, size)
                # A block of the inverse is the precision of a group's log-odds given all others.
                precision = inverse[index[:, :, None], index[:, None, :]]
                unknown = solve_blocks(precision, self.dual_coef[index])  # (b, size)
                known = torch.einsum("bij,bi->bj", inverse[index], unknown)  # (b, n)
                left_out[index] -= torch.einsum("bij,bj->bi", covariance[index], known)
        return left_out


def groups_of_one_size(group):
    """Return the pairs of each group, together with those of all groups that are as large.

    Parameters
    ----------
    group : ndarray, shape (n,)
        The group of each pair.

    Returns
    -------
    list of ndarray of int, shape (m, size)
        For each size that occurs, the pairs of each of its m groups.
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, group[order][1:] != group[order][:-1]])
    sizes = np.diff(np.r_[starts, len(order)])
    return [order[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)]


def solve_blocks(blocks, values):
    """Solve many small systems.

    Parameters
    ----------
    blocks : tensor, shape (b, size, size)
        Positive definite matrices.
    values : tensor, shape (b, size)
        Right-hand sides.

    Returns
    -------
    tensor, shape (b, size)
        The solutions.
    """
    if blocks.shape[-1] == 1:
        return values / blocks[:, 0]
    L = torch.linalg.cholesky(blocks)
    return torch.cholesky_solve(values[..., None], L)[..., 0]


def fit_laplace(kernel, target, weight, *, max_iter=50, tol=1e-6):
    """Find the posterior by Newton's method, in the dual.

    Parameters
    ----------
    kernel : tensor, shape (n, n)
        K, the prior covariance of the log-odds.
    target : tensor, shape (n,)
        Probabilities that column 0 wins.
    weight : tensor, shape (n,)
        How often each pair was observed; positive.
    max_iter : int, default=50
        The most steps. Usually about 5 are needed.
    tol : float, default=1e-6
        It stops when no coefficient moves by more than this share of the largest.

    Returns
    -------
    LaplacePosterior
        The posterior.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps are not enough.
    """
    dual, largest, step, n_iter = torch.zeros_like(target), 0.0, np.inf, 0
    while n_iter < max_iter and not step <= tol * largest:
        log_odds = kernel @ dual
        win = torch.sigmoid(log_odds)
        curvature = torch.maximum(weight * win * (1 - win), LEAST_CURVATURE * weight)
        goal = log_odds + weight * (target - win) / curvature
        noisy = kernel.clone()
        noisy.diagonal().add_(1 / curvature)
        L = torch.linalg.cholesky(noisy)
        new = torch.cholesky_solve(goal[:, None], L)[:, 0]
        step, largest = torch.stack([abs(new - dual).max(), abs(new).max()]).tolist()
        dual, n_iter = new, n_iter + 1
    if not step <= tol * largest:
        warn(
            f"Newton's method has not converged in {max_iter} steps: the last one moved "
            f"coefficients by {step / largest:.1g} of the largest. The rewards are not "
            "the most probable ones; a smaller prior_variance or smaller weights converge sooner.",
            ConvergenceWarning,
        )
    log_odds = kernel @ dual
    evidence = _log_marginal_likelihood(dual, log_odds, curvature, L, target, weight)
    return LaplacePosterior(dual, log_odds, curvature, L, n_iter, evidence)


def condition(L, covariance, prior_variance):
    """Condition rewards on the pairs.

    Parameters
    ----------
    L : tensor, shape (n, n)
        The lower Cholesky factor of the covariance of the observed log-odds.
    covariance : tensor, shape (m, n)
        Prior covariance of the rewards with the log-odds.
    prior_variance : tensor, shape (m,)
        Prior variance of the rewards.

    Returns
    -------
    known : tensor, shape (n, m)
        L⁻¹ times the covariances.
    variance : tensor, shape (m,)
        The posterior variance; rounding may make it a little negative.
    """
    known = torch.linalg.solve_triangular(L, covariance.T, upper=False)
    return known, prior_variance - torch.einsum("ij,ij->j", known, known)


def _log_marginal_likelihood(dual, log_odds, curvature, L, target, weight):
    """Return log p(y | f) - f K⁻¹ f / 2 - log |1 + K W| / 2 at the mode f."""
    loss = torch.logaddexp(log_odds, torch.zeros_like(log_odds)) - target * log_odds
    # |1 + K W| = |W| |K + W⁻¹|
    log_determinant = curvature.log().sum() + 2 * L.diagonal().log().sum()
    return float(-weight @ loss - (dual @ log_odds + log_determinant) / 2)
