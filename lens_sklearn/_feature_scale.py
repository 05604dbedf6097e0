"""Response features on one scale, so that no rare one decides by itself."""

from dataclasses import dataclass

import numpy as np

#: Features are kept within so many standard deviations of their mean. One that is nearly constant
#: among the pairs, say a code block in one of a hundred responses, would else be worth as much as
#: all the others where it appears again.
MAX_DEVIATIONS = 3.0
#: Prior variance of the log-odds that a controlled column gives to a pair, whatever strength all
#: else has. What a strong penalty kept from it, other columns that go with it would take over.
CONTROL_VARIANCE = 30.0


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
        share = np.ones(len(members)) if weight is None else np.asarray(weight, dtype=np.float64)
        share = share / share.sum()
        mean = share @ members
        variance = share @ (members - mean) ** 2
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


def check_controlled(controlled, n_columns, *, first=0):
    """Check the columns whose part is left out of what is predicted.

    Parameters
    ----------
    controlled : sequence of int
        Columns, negative ones counted from the end.
    n_columns : int
        All columns.
    first : int, default=0
        The first column that may be controlled.

    Returns
    -------
    ndarray of int, shape (c,)
        Columns counted from 0, in ascending order.

    Raises
    ------
    ValueError
        If one is not there, not a whole number, named twice, or before `first`, or if all columns
        are controlled.
    """
    columns = np.asarray(controlled)
    if not columns.size:
        return np.zeros(0, dtype=int)
    if columns.ndim != 1 or columns.dtype.kind not in "iu":
        raise ValueError(
            f"controlled={controlled!r}; columns are whole numbers, one after another."
        )
    bad = columns[(columns >= n_columns) | (columns < -n_columns)]
    if len(bad):
        raise ValueError(f"controlled has column {bad[0]}; X has {n_columns} columns.")
    columns = columns % n_columns
    if len(np.unique(columns)) < len(columns):
        raise ValueError(f"controlled={controlled!r} names a column twice.")
    if columns.min() < first:
        raise ValueError(
            f"controlled has column {columns.min()}, which is one of the embedding's; response "
            f"features begin at column {first} (n_response_features={n_columns - first})."
        )
    if len(columns) == n_columns:
        raise ValueError("all columns are controlled, which leaves none to predict with.")
    return np.sort(columns)
