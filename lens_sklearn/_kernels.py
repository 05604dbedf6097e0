"""Covariances of rewards: three kernels of embeddings, their sum, and differences within pairs.

All three are functions of inner products, which are computed once.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import gen_batches

#: Rows of a kernel at once: bounds the memory of temporaries.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class InnerProducts:
    """The inner products of rows a with rows b, and of each with itself.

    Parameters
    ----------
    products : ndarray of float64, shape (m, n)
        a · b.
    squares_a : ndarray of float64, shape (m, 1)
        |a|².
    squares_b : ndarray of float64, shape (1, n)
        |b|².
    """

    products: np.ndarray
    squares_a: np.ndarray
    squares_b: np.ndarray


def inner_products(A, B):
    """Return what the kernels are functions of.

    Parameters
    ----------
    A : ndarray of float64, shape (m, d)
        Embeddings.
    B : ndarray of float64, shape (n, d)
        Embeddings.

    Returns
    -------
    InnerProducts
        Of each row of `A` with each of `B`.
    """
    return InnerProducts(
        A @ B.T, np.einsum("ij,ij->i", A, A)[:, None], np.einsum("ij,ij->i", B, B)[None]
    )


def linear_kernel(inner):
    """Return the covariance of a linear reward with independent standard normal weights.

    Parameters
    ----------
    inner : InnerProducts
        Of embeddings a and b.

    Returns
    -------
    ndarray of float64, shape (m, n)
        a · b; the variance of a reward is |a|².
    """
    return inner.products


def tangent_kernel(inner):
    r"""Return the neural tangent kernel of an infinitely wide ReLU network of two layers.

    With θ the angle between a and b,
    :math:`k = |a| |b| (\sin θ + 2 (π - θ) \cos θ) / π`, where
    :math:`(\sin θ + (π - θ) \cos θ) / π` is of the output layer and
    :math:`(π - θ) \cos θ / π` of the first. There are no biases.

    Parameters
    ----------
    inner : InnerProducts
        Of embeddings a and b.

    Returns
    -------
    ndarray of float64, shape (m, n)
        The kernel; the variance of a reward is 2 |a|².

    References
    ----------
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    Y. Cho and L. Saul, "Kernel methods for deep learning", NeurIPS 2009, equations 3 to 6.
    """
    norms = np.sqrt(inner.squares_a * inner.squares_b)
    cosine = np.divide(inner.products, norms, out=np.zeros_like(norms), where=norms > 0)
    angle = np.arccos(np.clip(cosine, -1, 1))
    return (norms * np.sin(angle) + 2 * (np.pi - angle) * inner.products) / np.pi


def gaussian_kernel(inner):
    """Return the Gaussian kernel of width 1, the mean square norm of whitened embeddings.

    Parameters
    ----------
    inner : InnerProducts
        Of embeddings a and b.

    Returns
    -------
    ndarray of float64, shape (m, n)
        exp(-|a - b|² / 2); the variance of a reward is 1.
    """
    distances = inner.squares_a + inner.squares_b - 2 * inner.products
    return np.exp(-0.5 * np.maximum(distances, 0))  # rounding makes small ones negative


#: The kernels by name.
KERNELS = {"linear": linear_kernel, "tangent": tangent_kernel, "gaussian": gaussian_kernel}


def pair_columns(kernel):
    """Return covariances with differences within pairs.

    Parameters
    ----------
    kernel : ndarray, shape (m, 2 * n)
        Covariances with the members of pairs, those of a pair beside each other.

    Returns
    -------
    ndarray, shape (m, n)
        Covariances with the reward of column 0 less that of column 1.
    """
    return kernel[:, 0::2] - kernel[:, 1::2]


def pair_covariance(kernel):
    """Return the covariance of differences within pairs.

    Parameters
    ----------
    kernel : ndarray, shape (2 * m, 2 * n)
        Covariances of the members of pairs, those of a pair beside each other.

    Returns
    -------
    ndarray, shape (m, n)
        Covariances of the reward of column 0 less that of column 1.
    """
    return pair_columns(kernel[0::2] - kernel[1::2])


@dataclass(frozen=True, eq=False)
class KernelSum:
    """A weighted sum of kernels: the prior covariance of rewards.

    Parameters
    ----------
    weights : dict of str to float
        The weight of each kernel, by its name.
    """

    weights: dict

    def with_pairs(self, A, members):
        """Return the covariance of rewards with the log-odds of pairs.

        Parameters
        ----------
        A : ndarray of float64, shape (m, d)
            Embeddings.
        members : ndarray of float64, shape (2 * n, d)
            Members of pairs.

        Returns
        -------
        ndarray of float64, shape (m, n)
            Covariances.
        """
        inner = inner_products(A, members)
        return sum(w * pair_columns(KERNELS[name](inner)) for name, w in self.weights.items())

    def variance(self, A):
        """Return the prior variance of rewards.

        Parameters
        ----------
        A : ndarray of float64, shape (m, d)
            Embeddings.

        Returns
        -------
        ndarray of float64, shape (m,)
            Variances.
        """
        weight = {name: self.weights.get(name, 0.0) for name in KERNELS}
        squares = np.einsum("ij,ij->i", A, A)
        return (weight["linear"] + 2 * weight["tangent"]) * squares + weight["gaussian"]


def fit_kernel_sum(members, shares):
    """Weigh kernels so that each has its share in the variance of a pair's log-odds.

    Parameters
    ----------
    members : ndarray of float64, shape (2 * n, d)
        Members of pairs.
    shares : dict of str to float
        The mean prior variance of the pairs' log-odds by each kernel.

    Returns
    -------
    kernel : KernelSum
        The sum.
    covariance : ndarray of float64, shape (n, n)
        The prior covariance of the pairs' log-odds.
    """
    n = len(members) // 2
    parts = {name: np.empty((n, n)) for name in shares}
    for chunk in gen_batches(n, CHUNK // 2):
        inner = inner_products(members[2 * chunk.start : 2 * chunk.stop], members)
        for name, part in parts.items():
            part[chunk] = pair_covariance(KERNELS[name](inner))
    weights = {}
    covariance = np.zeros((n, n))
    for name, part in parts.items():
        spread = np.trace(part) / n
        weights[name] = float(shares[name] / (spread if spread > 0 else 1.0))
        part *= weights[name]
        covariance += part
    return KernelSum(weights), covariance
