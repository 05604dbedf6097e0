"""Covariances of rewards: three kernels of embeddings, their sum, and differences within pairs.

All three are functions of inner products, which are computed once. Everything here is a tensor of
float64 on one device.
"""

from dataclasses import dataclass
from math import pi

import torch
from sklearn.utils import gen_batches

#: Rows of a kernel at once: bounds the memory of temporaries.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class InnerProducts:
    """The inner products of rows a with rows b, and of each with itself.

    Parameters
    ----------
    products : tensor, shape (m, n)
        a · b.
    squares_a : tensor, shape (m, 1)
        |a|².
    squares_b : tensor, shape (1, n)
        |b|².
    """

    products: torch.Tensor
    squares_a: torch.Tensor
    squares_b: torch.Tensor


def inner_products(A, B):
    """Return what the kernels are functions of.

    Parameters
    ----------
    A : tensor, shape (m, d)
        Embeddings.
    B : tensor, shape (n, d)
        Embeddings.

    Returns
    -------
    InnerProducts
        Of each row of `A` with each of `B`.
    """
    return InnerProducts(A @ B.T, square_norms(A)[:, None], square_norms(B)[None])


def square_norms(rows):
    """Return |x|² of rows.

    Parameters
    ----------
    rows : tensor, shape (m, d)
        Embeddings.

    Returns
    -------
    tensor, shape (m,)
        Without a copy of the rows.
    """
    return (rows[:, None] @ rows[:, :, None]).ravel()


def linear_kernel(inner):
    """Return the covariance of a linear reward with independent standard normal weights.

    Parameters
    ----------
    inner : InnerProducts
        Of embeddings a and b.

    Returns
    -------
    tensor, shape (m, n)
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
    tensor, shape (m, n)
        The kernel; the variance of a reward is 2 |a|².

    References
    ----------
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    Y. Cho and L. Saul, "Kernel methods for deep learning", NeurIPS 2009, equations 3 to 6.
    """
    norms = torch.sqrt(inner.squares_a * inner.squares_b)
    cosine = (inner.products / norms).nan_to_num_(nan=0.0)  # 0 / 0 of an embedding that is 0
    angle = cosine.clamp_(-1, 1).arccos_()
    kernel = norms.mul_(torch.sin(angle))
    return kernel.addcmul_(angle.neg_().add_(pi), inner.products, value=2).div_(pi)


def gaussian_kernel(inner):
    """Return the Gaussian kernel of width 1, the mean square norm of whitened embeddings.

    Parameters
    ----------
    inner : InnerProducts
        Of embeddings a and b.

    Returns
    -------
    tensor, shape (m, n)
        exp(-|a - b|² / 2); the variance of a reward is 1.
    """
    distances = (inner.squares_a + inner.squares_b).sub_(inner.products, alpha=2)
    return distances.clamp_(min=0).mul_(-0.5).exp_()  # rounding makes small ones negative


#: The kernels by name.
KERNELS = {"linear": linear_kernel, "tangent": tangent_kernel, "gaussian": gaussian_kernel}


def pair_columns(kernel):
    """Return covariances with differences within pairs.

    Parameters
    ----------
    kernel : tensor, shape (m, 2 * n)
        Covariances with the members of pairs, those of a pair beside each other.

    Returns
    -------
    tensor, shape (m, n)
        Covariances with the reward of column 0 less that of column 1.
    """
    return kernel[:, 0::2] - kernel[:, 1::2]


def pair_covariance(kernel):
    """Return the covariance of differences within pairs.

    Parameters
    ----------
    kernel : tensor, shape (2 * m, 2 * n)
        Covariances of the members of pairs, those of a pair beside each other.

    Returns
    -------
    tensor, shape (m, n)
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
        A : tensor, shape (m, d)
            Embeddings.
        members : tensor, shape (2 * n, d)
            Members of pairs.

        Returns
        -------
        tensor, shape (m, n)
            Covariances.
        """
        return pair_columns(self._between(A, members))

    def between_pairs(self, some, members):
        """Return the covariance of the log-odds of pairs with those of others.

        Parameters
        ----------
        some : tensor, shape (2 * m, d)
            Members of pairs.
        members : tensor, shape (2 * n, d)
            Members of pairs.

        Returns
        -------
        tensor, shape (m, n)
            Covariances.
        """
        covariance = some.new_empty(len(some) // 2, len(members) // 2)
        for chunk in gen_batches(len(covariance), CHUNK // 2):
            rows = some[2 * chunk.start : 2 * chunk.stop]
            covariance[chunk] = pair_covariance(self._between(rows, members))
        return covariance

    def _between(self, A, B):
        """Return the covariance (m, n) of rewards with others."""
        inner = inner_products(A, B)
        total = torch.zeros_like(inner.products)
        for name, weight in self.weights.items():
            total.add_(KERNELS[name](inner), alpha=weight)
        return total

    def variance(self, A):
        """Return the prior variance of rewards.

        Parameters
        ----------
        A : tensor, shape (m, d)
            Embeddings.

        Returns
        -------
        tensor, shape (m,)
            Variances.
        """
        weight = {name: self.weights.get(name, 0.0) for name in KERNELS}
        return (weight["linear"] + 2 * weight["tangent"]) * square_norms(A) + weight["gaussian"]


def fit_kernel_sum(members, shares):
    """Weigh kernels so that each has its share in the variance of a pair's log-odds.

    Parameters
    ----------
    members : tensor, shape (2 * n, d)
        Members of pairs.
    shares : dict of str to float
        The mean prior variance of the pairs' log-odds by each kernel.

    Returns
    -------
    KernelSum
        The sum.
    """
    weights = {}
    for name, share in shares.items():
        spread = float(_pair_variances(KERNELS[name], members).mean())
        weights[name] = float(share / (spread if spread > 0 else 1.0))
    return KernelSum(weights)


def _pair_variances(kernel, members):
    """Return the prior variance (n,) of the log-odds of each pair."""
    first, second = members[0::2], members[1::2]
    norms = square_norms(members)
    of_first, of_second = norms[0::2], norms[1::2]
    between = (first[:, None] @ second[:, :, None]).ravel()
    # Each by the kernel itself, so that equal members differ by nothing, not by rounding.
    return (
        kernel(InnerProducts(of_first, of_first, of_first))
        + kernel(InnerProducts(of_second, of_second, of_second))
        - 2 * kernel(InnerProducts(between, of_first, of_second))
    )
