"""Response features on one scale, so that no rare one decides by itself."""

from dataclasses import dataclass

import numpy as np

#: Features are kept within so many standard deviations of their mean. One that is nearly constant
#: among the pairs, say a code block in one of a hundred responses, would else be worth as much as
#: all the others where it appears again.
MAX_DEVIATIONS = 3.0


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """A learnt scale of response features.

    Parameters
    ----------
    mean : ndarray of float64, shape (k,)
        Means of the features.
    scale : ndarray of float64, shape (k,)
        Their standard deviations, infinity for constant features, which are ignored.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def estimate(cls, members, weight=None):
        """Learn the scale.

        Parameters
        ----------
        members : ndarray, shape (m, k)
            Features of responses.
        weight : ndarray, shape (m,), default=None
            How often each counts; None is once.

        Returns
        -------
        FeatureScale
            The scale.
        """
        members = np.asarray(members, dtype=np.float64)
        mean = np.average(members, axis=0, weights=weight)
        variance = np.average((members - mean) ** 2, axis=0, weights=weight)
        constant = variance <= (1e-9 * np.abs(mean)) ** 2  # sums of constants round
        return cls(mean, np.sqrt(np.where(constant, np.inf, variance)))

    def apply(self, rows):
        """Standardise features and keep them within three deviations.

        Parameters
        ----------
        rows : ndarray, shape (..., k)
            Features.

        Returns
        -------
        ndarray of float64, shape (..., k)
            Standardised; NaN stays NaN.
        """
        standard = (np.asarray(rows, dtype=np.float64) - self.mean) / self.scale
        return np.clip(standard, -MAX_DEVIATIONS, MAX_DEVIATIONS)
