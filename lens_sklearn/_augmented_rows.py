"""Preference rows and the rows synthesised from them, with where each came from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class AugmentedRows(Sequence):
    """Preference rows that know which of them are synthetic, and from which row each was made.

    Whoever reads rows reads them: TRL by ``datasets.Dataset.from_list(list(rows))``, and
    :class:`~lens_sklearn.LLMEmbedder`, which turns them into ``AugmentedPairs`` so that early
    stopping validates on whole held-out parents. They are in whatever order they were given
    in, and cannot be changed.

    ``rows[3]`` is a row. A slice, an array of indices or a mask gives augmented rows in exactly
    the order asked for, with parents counted anew; an original that is selected twice is two
    originals, of which the first is its children's parent. They compare equal to a list of
    equal rows.

    Parameters
    ----------
    rows : sequence of dict
        Each with ``chosen`` and ``rejected``.
    parent : array-like of int, shape (n_rows,), default=None
        Index of the row that each row was made from, an original's own index; None for
        originals alone.
    number : array-like of int, shape (n_rows,), default=None
        0 for an original, j for its j-th synthetic row; None for originals alone.

    Attributes
    ----------
    n_originals : int
        How many rows are originals.
    is_synthetic : ndarray of bool, shape (n_rows,)
        Whether a row is synthetic.
    shape : tuple of int
        ``(n_rows,)``: by it scikit-learn knows that an array of indices may select rows.

    Raises
    ------
    ValueError
        If there is not one parent and one number a row, or a parent is not an original.

    Examples
    --------
    >>> from lens_sklearn.textual import AugmentedRows
    >>> row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
    >>> new = {"prompt": "2 + 2?", "chosen": "Four.", "rejected": "Many."}
    >>> rows = AugmentedRows([row, new], parent=[0, 0], number=[0, 1])
    >>> rows, rows.is_synthetic.tolist()
    (AugmentedRows(n_originals=1, n_synthetic=1), [False, True])
    >>> backwards = rows[::-1]
    >>> backwards == [new, row], backwards.parent.tolist()
    (True, [1, 1])
    """

    rows: tuple
    parent: np.ndarray | None = None
    number: np.ndarray | None = None

    def __post_init__(self):
        n = len(self.rows)
        self._set("rows", tuple(self.rows))
        self._set("parent", _integers(np.arange(n) if self.parent is None else self.parent))
        self._set("number", _integers(np.zeros(n) if self.number is None else self.number))
        if self.parent.shape != (n,) or self.number.shape != (n,):
            raise ValueError(
                f"parent and number have one integer a row; got shapes {self.parent.shape} and "
                f"{self.number.shape} for {n} rows."
            )
        outside = (self.parent < 0) | (self.parent >= n) | (self.number < 0)
        is_own = self.parent == np.arange(n)
        wrong = outside | (is_own == self.is_synthetic)
        wrong[~outside] |= self.is_synthetic[self.parent[~outside]]
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"row {i} has parent {self.parent[i]} and number {self.number[i]}: an original is "
                "its own parent and has number 0, the parent of a synthetic row is an original "
                "and its number is 1 or more."
            )

    def _set(self, name, value):
        object.__setattr__(self, name, value)  # as a frozen dataclass sets a field

    @property
    def is_synthetic(self):
        """Whether a row is synthetic, shape (n_rows,)."""
        return self.number > 0

    @property
    def n_originals(self):
        """How many rows are originals."""
        return int((self.number == 0).sum())

    @property
    def shape(self):
        """Shape as an array of rows, ``(n_rows,)``."""
        return (len(self.rows),)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if isinstance(index, tuple):  # scikit-learn indexes arrays with (index, ...)
            (index,) = (part for part in index if part is not Ellipsis)
        if isinstance(index, int | np.integer):
            return self.rows[index]
        index = np.arange(len(self))[index]  # (m,)
        place = np.full(len(self), -1)
        place[index[::-1]] = np.arange(len(index))[::-1]  # of equal indices the first one's
        is_synthetic = self.is_synthetic[index]
        parent = np.where(is_synthetic, place[self.parent[index]], np.arange(len(index)))
        if (parent < 0).any():
            orphan = index[np.flatnonzero(parent < 0)[0]]
            raise IndexError(
                f"row {orphan} is synthetic and its parent, row {self.parent[orphan]}, is not "
                "among the rows selected. Select parents with their children, as GroupKFold "
                "does with groups=rows.parent."
            )
        return AugmentedRows([self.rows[i] for i in index], parent, self.number[index])

    def hand_down(self, values):
        """Give each row a value: its own, or that of the original it was made from.

        Parameters
        ----------
        values : array-like of shape (n_rows,) or (n_originals,)
            A value a row, or a value an original.

        Returns
        -------
        ndarray of shape (n_rows,)
            A value a row.

        Raises
        ------
        ValueError
            On another shape.
        """
        values = np.asarray(values)
        if values.shape == (len(self),):
            return values
        if values.shape != (self.n_originals,):
            raise ValueError(
                f"expected a value a row ({len(self)}) or a value an original "
                f"({self.n_originals}); got shape {values.shape}."
            )
        place = np.cumsum(~self.is_synthetic) - 1  # of each original among the originals
        return values[place[self.parent]]

    def __eq__(self, other):
        if isinstance(other, AugmentedRows):
            return (
                self.rows == other.rows
                and np.array_equal(self.parent, other.parent)
                and np.array_equal(self.number, other.number)
            )
        return list(self.rows) == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # rows are dicts, which have none either

    def __repr__(self):
        return (
            f"AugmentedRows(n_originals={self.n_originals}, "
            f"n_synthetic={int(self.is_synthetic.sum())})"
        )


def _integers(values):
    """Return a read-only array of int."""
    values = np.array(values, dtype=int)
    values.flags.writeable = False
    return values
