"""Preference rows and the rows synthesised from them, with where each came from."""

import numpy as np


class AugmentedRows(list):
    """A list of preference rows that knows which are synthetic, and from which original.

    Being a list of dicts, it is read by whoever reads rows: TRL through
    ``datasets.Dataset.from_list``, and :class:`~lens_sklearn.LLMEmbedder`, which turns it into
    ``AugmentedPairs`` so that early stopping validates on whole held-out parents.

    Parameters
    ----------
    rows : list of dict
        The originals first, each with ``chosen`` and ``rejected``.
    parent : array-like of int, shape (n_rows,), default=None
        Index of the original that each row comes from; None for originals alone.
    number : array-like of int, shape (n_rows,), default=None
        0 for an original, j for its j-th synthetic row.

    Attributes
    ----------
    n_originals : int
        How many rows, the first ones, are originals.
    is_synthetic : ndarray of bool, shape (n_rows,)
        Whether a row is synthetic.

    Examples
    --------
    >>> from lens_sklearn.textual import AugmentedRows
    >>> row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
    >>> new = {"prompt": "2 + 2?", "chosen": "Four.", "rejected": "Many."}
    >>> rows = AugmentedRows([row, new], parent=[0, 0], number=[0, 1])
    >>> rows, rows.is_synthetic.tolist()
    (AugmentedRows(n_originals=1, n_synthetic=1), [False, True])
    """

    def __init__(self, rows, parent=None, number=None):
        super().__init__(rows)
        n = len(self)
        self.parent = np.arange(n) if parent is None else np.asarray(parent, dtype=int)
        self.number = np.zeros(n, dtype=int) if number is None else np.asarray(number, dtype=int)
        self.is_synthetic = self.number > 0
        self.n_originals = int((~self.is_synthetic).sum())
        first = np.arange(self.n_originals)
        if len(self.parent) != n or not np.array_equal(self.parent[: self.n_originals], first):
            raise ValueError(
                "the originals come first and are their own parents: parent and number must "
                f"begin with 0, 1, … and 0, 0, …, one number a row; got {len(self.parent)} "
                f"parents for {n} rows."
            )

    def __getitem__(self, rows):
        if isinstance(rows, int | np.integer):
            return super().__getitem__(rows)
        rows = np.arange(len(self))[rows]
        kept = rows[~self.is_synthetic[rows]]
        position = np.full(self.n_originals, -1)
        position[kept] = np.arange(len(kept))
        rows = np.concatenate([kept, rows[self.is_synthetic[rows]]])
        parent = position[self.parent[rows]]
        if (parent < 0).any():
            orphan = rows[int(np.flatnonzero(parent < 0)[0])]
            raise IndexError(f"row {orphan} is synthetic and its parent is not among the rows.")
        return AugmentedRows([list.__getitem__(self, i) for i in rows], parent, self.number[rows])

    def __repr__(self):
        return (
            f"AugmentedRows(n_originals={self.n_originals}, "
            f"n_synthetic={int(self.is_synthetic.sum())})"
        )


def preference_row(row, prompt, chosen, rejected):
    """Make a preference row of new responses, in the form of another row.

    Parameters
    ----------
    row : dict
        The row that it is made from: strings or messages, with or without a prompt.
    prompt : tuple of (role, content)
        That row's prompt.
    chosen, rejected : str
        The responses.

    Returns
    -------
    dict
        With the columns of `row`.
    """

    def as_in_row(text):
        if isinstance(row["chosen"], str):
            return text
        shared = [] if "prompt" in row else [{"role": r, "content": c} for r, c in prompt]
        return [*shared, {"role": "assistant", "content": text}]

    new = {"prompt": row["prompt"]} if "prompt" in row else {}
    return new | {"chosen": as_in_row(chosen), "rejected": as_in_row(rejected)}
