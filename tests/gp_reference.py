"""The Gaussian process's formulas written down again, for tests to compare with."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit
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


#: The kernels (m, n) of rows.
KERNELS = {
    "linear": lambda A, B: A @ B.T,
    "tangent": lambda A, B: arc_cosine(A, B, 1) + A @ B.T * arc_cosine(A, B, 0),
    "gaussian": lambda A, B: rbf_kernel(A, B, gamma=0.5),
}
THIRDS = dict.fromkeys(KERNELS, 1 / 3)


def differences(n):
    """The matrix (n, 2n) that turns members' rewards into pairs' log-odds."""
    return np.kron(np.eye(n), [1, -1])


def covariance(weights, A, B):
    """The prior covariance (m, n) of rewards."""
    return sum(w * KERNELS[name](A, B) for name, w in weights.items())


def kernel_weights(members, shares):
    """The factors that give each kernel its share in the pairs' mean prior variance."""
    D = differences(len(members) // 2)
    spread = {name: np.diag(D @ KERNELS[name](members, members) @ D.T).mean() for name in shares}
    return {name: shares[name] / spread[name] for name in shares}


def pair_kernel(members, shares):
    """The prior covariance (n, n) of pairs' log-odds."""
    D = differences(len(members) // 2)
    return D @ covariance(kernel_weights(members, shares), members, members) @ D.T


def pseudo_observations(kernel, target, weight):
    """What would be observed of log-odds, with which Gaussian noise, at the posterior's mode."""
    log_odds = np.zeros(len(kernel))
    for _ in range(60):
        win = expit(log_odds)
        noise = 1 / (weight * win * (1 - win))
        seen = log_odds + noise * weight * (target - win)
        log_odds = kernel @ np.linalg.solve(kernel + np.diag(noise), seen)
    return seen, noise


def left_out(kernel, part, seen, noise, group):
    """Log-odds by a part of the reward, conditioned on the pairs of all other groups."""
    noisy = kernel + np.diag(noise)
    found = np.empty(len(seen))
    for i in range(len(seen)):
        others = group != group[i]
        found[i] = part[i, others] @ np.linalg.solve(noisy[np.ix_(others, others)], seen[others])
    return found


def slope_of(log_odds, target, weight):
    """The most probable factor, if the log of the root mean square is N(0, 1) before."""
    size = np.sqrt(np.average(log_odds**2, weights=weight))

    def loss(slope):
        losses = np.logaddexp(0, slope * log_odds) - target * slope * log_odds
        return weight @ losses + np.log(slope * size) ** 2 / 2

    return minimize_scalar(loss, bounds=(1e-3 / size, 50 / size), method="bounded").x
