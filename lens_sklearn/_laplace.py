"""Laplace's approximation to the posterior of log-odds that have a Gaussian prior.

The pages and equations are those of C. E. Rasmussen and C. K. I. Williams, "Gaussian processes
for machine learning", 2006, chapters 3 and 5.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from ._warnings import warn

#: The least curvature of the likelihood, as a share of a pair's weight: beyond log-odds of ±14 it
#: would underflow.
LEAST_CURVATURE = 1e-6


@dataclass(frozen=True, eq=False)
class LaplacePosterior:
    r"""A Gaussian posterior of the log-odds of n pairs.

    Its mean is the mode of the true posterior, its covariance the inverse of the Hessian there,
    :math:`(K^{-1} + W)^{-1}`.

    Parameters
    ----------
    dual_coef : ndarray of float64, shape (n,)
        The mode is ``K @ dual_coef``.
    log_odds : ndarray of float64, shape (n,)
        The mode.
    curvature : ndarray of float64, shape (n,)
        W, minus the second derivatives of the log likelihood.
    L : ndarray of float64, shape (n, n)
        The lower Cholesky factor of :math:`K + W^{-1}`.
    n_iter : int
        Steps of Newton's method.
    log_marginal_likelihood : float
        Of the targets, by the same approximation (equation 3.32).
    """

    dual_coef: np.ndarray
    log_odds: np.ndarray
    curvature: np.ndarray
    L: np.ndarray
    n_iter: int
    log_marginal_likelihood: float

    def leave_groups_out(self, covariance, group):
        """Predict the pairs of each group from those of all others, without fitting anew.

        Section 5.4.2 does so for single observations. Here a whole group is left out, and the
        likelihood of the others keeps the Gaussian that all pairs gave it.

        Parameters
        ----------
        covariance : ndarray of float64, shape (n, n)
            The prior covariance of what is predicted with the log-odds of the pairs: K, or that
            of a part of the reward.
        group : ndarray, shape (n,)
            The group of each pair.

        Returns
        -------
        ndarray of float64, shape (n,)
            Posterior means of the log-odds given all other groups.
        """
        inverse, info = dpotri(self.L, lower=1)
        if info:
            raise np.linalg.LinAlgError("the covariance of the log-odds has no inverse.")
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        left_out = covariance @ self.dual_coef
        order = np.argsort(group, kind="stable")
        starts = np.flatnonzero(np.r_[True, group[order][1:] != group[order][:-1]])
        sizes = np.diff(np.r_[starts, len(order)])
        single = order[starts[sizes == 1]]
        known = np.einsum("ij,ij->i", covariance[single], inverse[single])
        left_out[single] -= known * self.dual_coef[single] / inverse[single, single]
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
            rows = order[start : start + size]
            # A block of the inverse is the precision of a group's log-odds given all others.
            precision = inverse[np.ix_(rows, rows)]
            unknown = solve(precision, self.dual_coef[rows], assume_a="pos")
            left_out[rows] -= covariance[rows] @ (inverse[:, rows] @ unknown)
        return left_out


def fit_laplace(kernel, target, weight, *, max_iter=50, tol=1e-6):
    """Find the posterior by Newton's method, in the dual.

    Parameters
    ----------
    kernel : ndarray of float64, shape (n, n)
        K, the prior covariance of the log-odds.
    target : ndarray of float64, shape (n,)
        Probabilities that column 0 wins.
    weight : ndarray of float64, shape (n,)
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
    n = len(kernel)
    dual, step, n_iter = np.zeros(n), np.inf, 0
    while n_iter < max_iter and not step <= tol * abs(dual).max():
        log_odds = kernel @ dual
        win = expit(log_odds)
        curvature = np.maximum(weight * win * (1 - win), LEAST_CURVATURE * weight)
        goal = log_odds + weight * (target - win) / curvature
        L = kernel.copy(order="F")  # where LAPACK works in place
        L.flat[:: n + 1] += 1 / curvature
        L = cholesky(L, lower=True, overwrite_a=True)
        new = cho_solve((L, True), goal)
        step = abs(new - dual).max()
        dual, n_iter = new, n_iter + 1
    if not step <= tol * abs(dual).max():
        warn(
            f"Newton's method has not converged in {max_iter} steps: the last one moved "
            f"coefficients by {step / abs(dual).max():.1g} of the largest. The rewards are not "
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
    L : ndarray of float64, shape (n, n)
        The lower Cholesky factor of the covariance of the observed log-odds.
    covariance : ndarray of float64, shape (m, n)
        Prior covariance of the rewards with the log-odds.
    prior_variance : ndarray of float64, shape (m,)
        Prior variance of the rewards.

    Returns
    -------
    known : ndarray of float64, shape (n, m)
        L⁻¹ times the covariances.
    variance : ndarray of float64, shape (m,)
        The posterior variance; rounding may make it a little negative.
    """
    known = solve_triangular(L, covariance.T, lower=True, check_finite=False)
    return known, prior_variance - np.einsum("ij,ij->j", known, known)


def _log_marginal_likelihood(dual, log_odds, curvature, L, target, weight):
    """Return log p(y | f) - f K⁻¹ f / 2 - log |1 + K W| / 2 at the mode f."""
    likelihood = weight @ (target * log_odds - np.logaddexp(0, log_odds))
    # |1 + K W| = |W| |K + W⁻¹|
    log_determinant = np.log(curvature).sum() + 2 * np.log(np.diag(L)).sum()
    return float(likelihood - (dual @ log_odds + log_determinant) / 2)
