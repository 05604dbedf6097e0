"""A Gaussian posterior of many pairs, from their covariances with a few of them.

The reward is a combination of the covariances with m inducing pairs, the likelihood that of all n:
J. Quiñonero-Candela and C. E. Rasmussen, "A unifying view of sparse approximate Gaussian process
regression", JMLR 2005, where means are those of section 5 and variances those of section 6. If all
pairs are inducing, this is the exact posterior. All arrays are tensors of float64 on one device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import gen_batches

from ._laplace import LEAST_CURVATURE, groups_of_one_size, solve_blocks
from ._warnings import warn

#: The most inducing pairs: time grows with their square, and little is gained beyond.
MAX_INDUCING = 2000
#: Added to the variances of inducing pairs, as a share of their mean, so that rounding leaves their
#: covariance positive definite.
JITTER = 1e-8
#: The least that pairs are taken to say of a direction, in units of what the prior says of it.
LEAST_INFORMATION = 1e-10
#: Pairs at once: bounds the memory of temporaries.
CHUNK = 4096
#: Columns of a symmetric product at once: with more blocks less is computed twice.
BLOCK = 512


@dataclass(frozen=True, eq=False)
class InducedPosterior:
    r"""A Gaussian posterior of the log-odds of n pairs, spanned by m of them.

    With K = L Lᵀ the covariance of the inducing pairs, the log-odds are Φ w, where Φ is the
    covariance of all pairs with the inducing ones times L⁻ᵀ, and w has a standard normal prior. The
    posterior precision of w is :math:`A = 1 + Φ^T W Φ`.

    Parameters
    ----------
    features : tensor, shape (n, m)
        Φ.
    root : tensor, shape (m, m)
        L, lower.
    coef : tensor, shape (m,)
        w.
    residual : tensor, shape (n,)
        By how much what would be observed with Gaussian noise exceeds the mode.
    curvature : tensor, shape (n,)
        W, minus the second derivatives of the log likelihood.
    precision_root : tensor, shape (m, m)
        The lower Cholesky factor of A.
    n_iter : int
        Steps of Newton's method.
    log_marginal_likelihood : float
        Of the targets, by Laplace's approximation.
    """

    features: torch.Tensor
    root: torch.Tensor
    coef: torch.Tensor
    residual: torch.Tensor
    curvature: torch.Tensor
    precision_root: torch.Tensor
    n_iter: int
    log_marginal_likelihood: float

    @property
    def log_odds(self):
        """The mode, (n,)."""
        return self.features @ self.coef

    @property
    def dual_coef(self):
        """The coefficients (m,) of the covariances with the inducing pairs."""
        return _solve_transposed(self.root, self.coef[:, None])[:, 0]

    @property
    def L(self):
        r"""The lower Cholesky factor (m, m) of the covariance of noisy log-odds.

        The posterior variance of a reward is the prior's less what the inducing pairs explain,
        :math:`c (K^{-1} - (K + G)^{-1}) c^T` with :math:`G = L Φ^T W Φ L^T`. That is
        :math:`c (K + K G^{-1} K)^{-1} c^T`, as if the inducing pairs were observed with the noise
        :math:`K G^{-1} K`, which is W⁻¹ if all pairs are inducing.
        """
        information = self.precision_root @ self.precision_root.T
        information.diagonal().sub_(1)
        known, axes = torch.linalg.eigh(information)
        half = self.root @ (axes * torch.sqrt(1 + 1 / known.clamp(min=LEAST_INFORMATION)))
        return torch.linalg.cholesky(half @ half.T)

    def leave_groups_out(self, covariance, group):
        """Predict the pairs of each group from those of all others, without fitting anew.

        Parameters
        ----------
        covariance : tensor, shape (n, m), or None
            Prior covariances of what is predicted with the log-odds of the inducing pairs; None
            predicts the log-odds of the pairs.
        group : ndarray, shape (n,)
            The group of each pair.

        Returns
        -------
        tensor, shape (n,)
            Posterior means of the log-odds given all other groups.
        """
        left_out = self.log_odds if covariance is None else covariance @ self.dual_coef
        scale = self.root @ self.precision_root  # A = R Rᵀ, so that Φ R⁻ᵀ = C (L R)⁻ᵀ
        for rows in groups_of_one_size(group):
            m, size = rows.shape
            for chunk in gen_batches(m, max(1, CHUNK // size)):
                index = torch.as_tensor(rows[chunk], device=left_out.device)  # (b, size)
                seen = _times_inverse(self.features[index.ravel()], self.precision_root)
                seen = seen.view(*index.shape, -1)  # (b, size, m)
                known = spread = seen @ seen.mT  # the posterior covariance of the group
                if covariance is not None:
                    part = _times_inverse(covariance[index.ravel()], scale)
                    spread = part.view_as(seen) @ seen.mT
                noise = torch.diag_embed(1 / self.curvature[index])
                away = solve_blocks(noise - known, self.residual[index])  # (b, size)
                left_out[index] -= (spread @ away[..., None])[..., 0]
        return left_out


def fit_induced(covariance, inducing, target, weight, *, max_iter=50, tol=1e-3, start=None):
    """Find the posterior by Newton's method.

    Parameters
    ----------
    covariance : tensor, shape (n, m)
        Prior covariances of all pairs' log-odds with those of the inducing pairs.
    inducing : tensor of int, shape (m,)
        Which pairs are inducing.
    target : tensor, shape (n,)
        Probabilities that column 0 wins.
    weight : tensor, shape (n,)
        How often each pair was observed; positive.
    max_iter : int, default=50
        The most steps. Usually about 4 are needed.
    tol : float, default=1e-3
        It stops when no coefficient moved by more than this share of the largest. A step squares
        the error, so that after it a millionth is left.
    start : tensor, shape (n,), optional
        Log-odds to start from, such as those of another prior; 0 by default.

    Returns
    -------
    InducedPosterior
        The posterior.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` steps are not enough.
    """
    inner = covariance[inducing]
    inner.diagonal().add_(JITTER * inner.diagonal().mean())
    root = torch.linalg.cholesky(inner)
    features = _times_inverse(covariance, root)
    log_odds = torch.zeros_like(target) if start is None else start
    coef, largest, step, n_iter = torch.zeros_like(features[0]), 0.0, np.inf, 0
    while n_iter < max_iter and not step <= tol * largest:
        win = torch.sigmoid(log_odds)
        curvature = torch.maximum(weight * win * (1 - win), LEAST_CURVATURE * weight)
        goal = curvature * log_odds + weight * (target - win)
        precision_root = torch.linalg.cholesky(_precision(features, curvature))
        new = torch.cholesky_solve((features.T @ goal)[:, None], precision_root)[:, 0]
        step, largest = torch.stack([abs(new - coef).max(), abs(new).max()]).tolist()
        coef, n_iter = new, n_iter + 1
        log_odds = features @ coef
    if not step <= tol * largest:
        warn(
            f"Newton's method has not converged in {max_iter} steps: the last one moved "
            f"coefficients by {step / largest:.1g} of the largest. The rewards are not the most "
            "probable ones; a smaller prior_variance or smaller weights converge sooner.",
            ConvergenceWarning,
        )
    residual = weight * (target - torch.sigmoid(log_odds)) / curvature
    loss = torch.logaddexp(log_odds, torch.zeros_like(log_odds)) - target * log_odds
    log_determinant = 2 * precision_root.diagonal().log().sum()
    evidence = float(-weight @ loss - (coef @ coef + log_determinant) / 2)
    return InducedPosterior(
        features, root, coef, residual, curvature, precision_root, n_iter, evidence
    )


def _precision(features, curvature):
    """Return 1 + Φᵀ W Φ, (m, m); above its diagonal is only what nobody reads."""
    m = features.shape[1]
    total = torch.eye(m).to(features)
    for chunk in gen_batches(len(features), CHUNK):
        rows = features[chunk]
        weighted = rows * curvature[chunk, None]
        for block in gen_batches(m, BLOCK):
            total[block.start :, block].addmm_(weighted[:, block.start :].T, rows[:, block])
    return total


def _times_inverse(rows, root):
    """Return rows (b, m) times L⁻ᵀ of a lower factor."""
    # From the left, so that what comes back has whole rows beside each other in memory.
    return torch.linalg.solve_triangular(root, rows.T, upper=False).T


def _solve_transposed(root, values):
    """Return L⁻ᵀ times values (m, k)."""
    return torch.linalg.solve_triangular(root.T, values, upper=True)
