"""Shrunk covariances as variances and axes, of which every power is cheap.

The sample covariance of few rows is a bad guess of the true one: its large variances are too
large and its small ones too small. Ledoit and Wolf (J. Multivariate Analysis 88, 2004) move it
towards the mean variance times the identity, by the share that minimises the expected error.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh, svd
from sklearn.covariance import ledoit_wolf_shrinkage

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
    rows : ndarray of float64, shape (n, d)
        Centered rows.

    Returns
    -------
    Shrinkage
        The share is 1 where there is a single row or nothing varies.
    """
    varying = rows[:, rows.any(axis=0)]
    share, mean = 1.0, np.mean(np.square(varying)) if varying.size else 1.0
    if len(rows) > 1 and varying.size:
        wide = varying.shape[1] > len(rows)
        share = max((_share_of_gram if wide else _share)(varying), LEAST_SHARE)
    return Shrinkage(share, mean)


def _share(rows):
    return ledoit_wolf_shrinkage(rows, assume_centered=True)


def _share_of_gram(rows):
    r"""Return the same share from inner products of rows (n, d): linear in d, for d above n.

    With S the sample covariance and :math:`\mu` its mean variance, the share is what the rows'
    own :math:`x x^T` scatter about S, over how far S is from :math:`\mu I`. Both need only
    :math:`\|S\|^2 = \|X X^T\|^2 / n^2` and the norms of the rows.
    """
    n, d = rows.shape
    gram = rows @ rows.T  # (n, n)
    norms = gram.diagonal()
    trace, square = norms.sum() / n, np.sum(gram**2) / n**2  # of S
    scatter = (norms @ norms / n - square) / n
    distance = square - trace**2 / d
    scatter = min(scatter, distance)
    return scatter / distance if scatter else 0.0


@dataclass(frozen=True, eq=False)
class ShrunkCovariance:
    """A shrunk covariance by its eigenvalues and eigenvectors.

    Parameters
    ----------
    variances : ndarray of float64, shape (r,)
        Eigenvalues.
    axes : ndarray of float64, shape (r, d)
        Their eigenvectors.
    rest : float
        The variance of every direction orthogonal to `axes`.
    """

    variances: np.ndarray
    axes: np.ndarray
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
        ndarray of float64, shape (d, d)
            Symmetric.
        """
        return (self.axes.T * self.variances**exponent) @ self.axes


def shrunk_covariance(rows, shrinkage):
    """Return the shrunk covariance of rows on all d axes; for rows with n above d.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, d)
        Centered rows.
    shrinkage : Shrinkage
        How far to shrink.

    Returns
    -------
    ShrunkCovariance
        With r = d.
    """
    variances, axes = eigh((1 - shrinkage.share) / len(rows) * (rows.T @ rows))
    variances = np.maximum(variances, 0) + shrinkage.floor
    return ShrunkCovariance(variances, axes.T, shrinkage.floor)


def shrunk_covariance_of_span(rows):
    """Return the shrunk covariance of rows on the axes that they span; for d above n.

    Nothing of the size d × d is made.

    Parameters
    ----------
    rows : ndarray of float64, shape (n, d)
        Centered rows, whose shrinkage is estimated.

    Returns
    -------
    ShrunkCovariance
        With r = min(n, d).
    """
    shrinkage = estimate_shrinkage(rows)
    deviations, axes = svd(rows / np.sqrt(len(rows)), full_matrices=False)[1:]
    variances = (1 - shrinkage.share) * deviations**2 + shrinkage.floor
    return ShrunkCovariance(variances, axes, shrinkage.floor)
