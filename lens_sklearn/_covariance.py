"""Shrunk covariances as variances and axes, of which every power is cheap.

The sample covariance of few rows is a bad guess of the true one: its large variances are too
large and its small ones too small. Ledoit and Wolf (J. Multivariate Analysis 88, 2004) move it
towards the mean variance times the identity, by the share that minimises the expected error.

Everything here is a tensor of float64 on one device, and in all products the shorter side of the
rows is squared.
"""

from dataclasses import dataclass, replace

import torch

#: The least share. With very many rows Ledoit and Wolf's goes to 0, and a direction without any
#: variance would then have no inverse power.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Shrinkage:
    """How far a covariance is moved towards the mean variance times the identity.

    Parameters
    ----------
    share : float
        From 0, the sample covariance, to 1, the identity times the mean variance.
    mean_variance : float
        The mean variance of the features that vary.
    """

    share: float
    mean_variance: float

    @property
    def floor(self):
        """The variance of a direction in which the rows do not vary."""
        return self.share * self.mean_variance


def estimate_shrinkage(rows):
    """Estimate Ledoit and Wolf's shrinkage.

    Features that are 0 in every row are left out: they would make the mean variance smaller.

    Parameters
    ----------
    rows : tensor, shape (n, d)
        Centered rows.

    Returns
    -------
    Shrinkage
        The share is 1 where there is a single row or nothing varies.
    """
    return _shrinkage(rows, _shorter_gram(rows))


def _shrinkage(rows, gram):
    r"""Return the shrinkage of rows (n, d), whose products with themselves are known.

    With S the sample covariance and :math:`\mu` its mean variance, the share is what the rows'
    own :math:`x x^T` scatter about S, over how far S is from :math:`\mu I`. Both need only
    :math:`\|S\|^2 = \|X X^T\|^2 / n^2 = \|X^T X\|^2 / n^2` and the norms of the rows.
    """
    n, d = len(rows), int(rows.any(dim=0).sum())
    if not d:
        return Shrinkage(1.0, 1.0)
    norms = torch.einsum("ij,ij->i", rows, rows)
    trace, square = float(norms.sum()) / n, float(torch.sum(gram**2)) / n**2  # of S
    if n == 1 or d == 1:  # one variance is the mean variance
        return Shrinkage(1.0 if n == 1 else LEAST_SHARE, trace / d)
    scatter = (float(norms @ norms) / n - square) / n
    distance = square - trace**2 / d
    scatter = min(scatter, distance)
    return Shrinkage(max(scatter / distance if scatter else 0.0, LEAST_SHARE), trace / d)


def _shorter_gram(rows):
    """Return the products of rows with rows, or of features with features: the smaller matrix."""
    return rows @ rows.T if rows.shape[1] > len(rows) else rows.T @ rows


@dataclass(frozen=True, eq=False)
class ShrunkCovariance:
    """A shrunk covariance by its eigenvalues and eigenvectors.

    Parameters
    ----------
    variances : tensor, shape (r,)
        Eigenvalues.
    axes : tensor, shape (r, d)
        Their eigenvectors.
    rest : float
        The variance of every direction orthogonal to `axes`.
    """

    variances: torch.Tensor
    axes: torch.Tensor
    rest: float

    def in_units_of(self, unit):
        """Return the same covariance measured in units of a variance.

        Parameters
        ----------
        unit : float
            The variance that becomes 1.

        Returns
        -------
        ShrunkCovariance
            Of the same axes.
        """
        return replace(self, variances=self.variances / unit, rest=self.rest / unit)

    def power(self, exponent):
        """Return a power of the covariance within the span of its axes.

        Parameters
        ----------
        exponent : float
            1/2 is the square root, -1 the inverse.

        Returns
        -------
        tensor, shape (d, d)
            Symmetric.
        """
        return (self.axes.T * self.variances**exponent) @ self.axes


def shrunk_covariance(rows, shrinkage):
    """Return the shrunk covariance of rows on all d axes; for rows with n above d.

    Parameters
    ----------
    rows : tensor, shape (n, d)
        Centered rows.
    shrinkage : Shrinkage
        How far to shrink.

    Returns
    -------
    ShrunkCovariance
        With r = d.
    """
    variances, axes = torch.linalg.eigh((1 - shrinkage.share) / len(rows) * (rows.T @ rows))
    variances = variances.clamp(min=0) + shrinkage.floor
    return ShrunkCovariance(variances, axes.T, shrinkage.floor)


def shrunk_covariance_of_span(rows):
    """Return the shrunk covariance of rows on the axes that they span; for d above n.

    Nothing of the size d × d is made.

    Parameters
    ----------
    rows : tensor, shape (n, d)
        Centered rows, whose shrinkage is estimated.

    Returns
    -------
    ShrunkCovariance
        With r = min(n, d).
    """
    gram = _shorter_gram(rows)
    shrinkage = _shrinkage(rows, gram)
    squares, axes = torch.linalg.eigh(gram)
    if len(rows) < rows.shape[1]:
        # The longest first: what follows is then orthogonal to these, however short it is.
        squares, axes = squares.flip(0), torch.linalg.qr(rows.T @ axes.flip(1))[0]
    variances = (1 - shrinkage.share) / len(rows) * squares.clamp(min=0) + shrinkage.floor
    return ShrunkCovariance(variances, axes.T, shrinkage.floor)
