"""Laplace's approximation to the posterior of log-odds that have a Gaussian prior.

The pages and equations are those of C. E. Rasmussen and C. K. I. Williams, "Gaussian processes
for machine learning", 2006, chapters 3 and 5.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve, solve_triangular
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from ._warnings import warn

#: The least curvature of the likelihood, as a share of a pair's weight: beyond log-odds of ±14 it
#: would underflow.
LEAST_CURVATURE = 1e-6


@dataclass(frozen=True, eq=False)
class LeftOut:
    """What the pairs of all other groups predict of pairs.

    Parameters
    ----------
    log_odds : ndarray of float64, shape (m,)
        Posterior means of the log-odds that column 0 wins.
    std_difference : ndarray of float64, shape (m,)
        Posterior standard deviation of the reward of column 0 less that of column 1.
    """

    log_odds: np.ndarray
    std_difference: np.ndarray


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

    @property
    def pseudo_targets(self):
        """Log-odds (n,) that would give the same mode if observed with Gaussian noise 1 / W."""
        return self.log_odds + self.dual_coef / self.curvature

    def leave_groups_out(self, index, group, covariance, prior_variance):
        """Predict pairs from the pairs of all other groups, without fitting anew.

        Section 5.4.2 does so for single observations. Here a whole group is left out, and the
        likelihood of the others keeps the Gaussian that all pairs gave it.

        Parameters
        ----------
        index : ndarray of int, shape (m,)
            The pairs to predict.
        group : ndarray, shape (m,)
            The group of each. All pairs of a group must be in `index`.
        covariance : ndarray of float64, shape (2 * m, n)
            Prior covariance of the rewards of their members with the log-odds of all pairs.
        prior_variance : ndarray of float64, shape (2 * m,)
            Prior variance of these rewards.

        Returns
        -------
        LeftOut
            The predictions.
        """
        m, n = len(index), len(self.dual_coef)
        unit = np.zeros((n, m))
        unit[index, np.arange(m)] = 1
        root = solve_triangular(self.L, unit, lower=True)  # columns of L⁻¹
        known, variance = condition(self.L, covariance, prior_variance)
        together = group[:, None] == group
        # A block of the inverse is the precision of a group's log-odds given all others.
        precision = np.where(together, root.T @ root, 0)
        own = np.where(np.repeat(together, 2, axis=1), root.T @ known, 0)  # (m, 2m)
        unknown = solve(precision, np.column_stack([self.dual_coef[index], own]), assume_a="pos")
        variance += np.einsum("ij,ij->j", own, unknown[:, 1:])
        deviation = np.sqrt(np.maximum(variance, 0)).reshape(m, 2)
        log_odds = self.pseudo_targets[index] - unknown[:, 0]
        return LeftOut(log_odds, deviation[:, 0] - deviation[:, 1])


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
