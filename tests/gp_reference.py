"""The Gaussian process's formulas written down again, for tests to compare with."""

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel


def angles(A, B):
    """Angles of rows by Kahan's formula, which has no cosine in it."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (A, B))
    apart, along = a[:, None] - b[None], a[:, None] + b[None]
    return 2 * np.arctan2(np.linalg.norm(apart, axis=2), np.linalg.norm(along, axis=2))


def arc_cosine(A, B, order):
    """Cho and Saul's kernels: 2 E[step(w a) step(w b)], 2 E[relu(w a) relu(w b)]."""
    angle = angles(A, B)
    if order == 0:
        return 1 - angle / np.pi
    norms = np.outer(np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=1))
    return norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi


def kernels(A, B):
    """The linear, the tangent and the Gaussian kernel (m, n) of rows."""
    linear = A @ B.T
    tangent = arc_cosine(A, B, 1) + linear * arc_cosine(A, B, 0)
    return linear, tangent, rbf_kernel(A, B, gamma=0.5)


def differences(n):
    """The matrix (n, 2n) that turns members' rewards into pairs' log-odds."""
    return np.kron(np.eye(n), [1, -1])


def covariance(weights, A, B):
    """The prior covariance (m, n) of rewards."""
    return sum(w * k for w, k in zip(weights, kernels(A, B), strict=True))


def pair_kernel(members, prior_variance):
    """The prior covariance (n, n) of pairs' log-odds, each kernel with a third of the variance."""
    D = differences(len(members) // 2)
    parts = [D @ k @ D.T for k in kernels(members, members)]
    return sum(prior_variance / 3 * k / np.diag(k).mean() for k in parts)
