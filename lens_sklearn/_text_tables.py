"""Tables of texts, and what is malformed in the rows that they are read from."""

from typing import NamedTuple

import numpy as np

CHOICES = (
    "on_invalid='drop' leaves such rows out, on_invalid='keep' takes it for an empty response."
)


class TextTable(NamedTuple):
    """Texts in the shape that their embeddings will have.

    Attributes
    ----------
    kind : {"pairs", "candidates", "texts"}
        What the rows were.
    items : ndarray of object, shape (n, 2), (n, N) or the nested lists' own shape
        Each entry is a ``str`` (a plain text), a tuple of messages (a conversation) or None (the
        padding of a ragged candidate list, and what was left out). A message is ``(role,
        content)`` or ``(role, content, extra)``, `extra` the JSON of its further fields.
    dropped : tuple of int, default=()
        The rows that were left out.
    column : str, default="responses"
        Where the candidates stood.
    """

    kind: str
    items: np.ndarray
    dropped: tuple = ()
    column: str = "responses"

    def place(self, flat):
        """Name a cell as its user knows it.

        Parameters
        ----------
        flat : int
            The cell's index in the flattened items.

        Returns
        -------
        str
            Its row and, where there are several, its column.
        """
        return _place(self.kind, self.items.shape, flat, self.column)


class ResponseTable(NamedTuple):
    """Prompts and responses apart, in the shape that their features will have.

    Attributes
    ----------
    kind : {"pairs", "candidates", "texts"}
        What the rows were.
    prompts : ndarray of object, shape (n, 2), (n, N) or the nested lists' own shape
        Each entry is a ``str``, a tuple of messages or, without a prompt and for padding, None.
    responses : ndarray of object, of the same shape
        Each entry is a ``str``, a tuple of messages or, for padding, None.
    dropped : tuple of int, default=()
        The rows that were left out.
    column : str, default="responses"
        Where the candidates stood.
    """

    kind: str
    prompts: np.ndarray
    responses: np.ndarray
    dropped: tuple = ()
    column: str = "responses"

    def place(self, flat):
        """Name a cell as its user knows it.

        Parameters
        ----------
        flat : int
            The cell's index in the flattened responses.

        Returns
        -------
        str
            Its row and, where there are several, its column.
        """
        return _place(self.kind, self.responses.shape, flat, self.column)


class Faults:
    """What is malformed in rows: raised at once or, where it is left out, counted.

    Parameters
    ----------
    on_invalid : {"raise", "drop", "keep"}
        What becomes of an empty text.
    lenient : bool, default=False
        Whether other faults are left out too, as they are under "drop".

    Attributes
    ----------
    first : str or None
        The first fault.
    rows : dict of int to int
        How many faults a row has.

    Raises
    ------
    ValueError
        If there is no such choice.
    """

    def __init__(self, on_invalid, *, lenient=False):
        if on_invalid not in ("raise", "drop", "keep"):
            raise ValueError(f"on_invalid is 'raise', 'drop' or 'keep'; got {on_invalid!r:.40}.")
        self.on_invalid, self.first, self.rows = on_invalid, None, {}
        self.lenient = lenient or on_invalid == "drop"

    def attempt(self, i, read, *args, **options):
        """Read something of a row.

        Parameters
        ----------
        i : int
            The row.
        read : callable
            What reads it.
        *args, **options
            Given to `read`.

        Returns
        -------
        object
            What `read` returns; None where it is left out.

        Raises
        ------
        ValueError
            What `read` raises, unless it is left out.
        """
        try:
            return read(*args, **options)
        except ValueError as error:
            if not self.lenient:
                raise
            self.add(i, str(error))
            return None

    def leaves_out_empty(self, i, where, *, is_candidate):
        """Say whether an empty text is left out.

        Parameters
        ----------
        i : int
            The row.
        where : str
            Names the cell.
        is_candidate : bool
            Whether it is a sample among others, and so a real one.

        Returns
        -------
        bool
            True under "drop".

        Raises
        ------
        ValueError
            Under "raise", if it is no candidate.
        """
        if self.on_invalid == "drop":
            self.add(i, f"{where}: the text is empty.")
            return True
        if self.on_invalid == "raise" and not is_candidate:
            raise ValueError(f"{where}: the text is empty. {CHOICES}")
        return False

    def add(self, i, message):
        """Count a fault.

        Parameters
        ----------
        i : int
            The row.
        message : str
            What is wrong.
        """
        self.first = self.first or message
        self.rows[i] = self.rows.get(i, 0) + 1

    def summary(self, n_rows, dropped):
        """Say what was left out.

        Parameters
        ----------
        n_rows : int
            How many rows there were.
        dropped : sequence of int
            Those that were left out as a whole.

        Returns
        -------
        str
            Counts and the first fault; empty where nothing was left out.
        """
        if not self.rows:
            return ""
        n_cells = sum(n for i, n in self.rows.items() if i not in set(dropped))
        parts = [f"{len(dropped)} of {n_rows} rows"] if dropped else []
        parts += [f"{n_cells} candidates{' of other rows' if dropped else ''}"] * (n_cells > 0)
        return f"on_invalid='drop' leaves out {' and '.join(parts)}. The first: {self.first}"


def _place(kind, shape, flat, column):
    row, *rest = (int(i) for i in np.unravel_index(flat, shape))
    if kind == "pairs":
        return f"row {row}, column '{('chosen', 'rejected')[rest[0]]}'"
    if kind == "candidates":
        in_list = column == "responses"
        return f"row {row}, responses[{rest[0]}]" if in_list else f"row {row}, column '{column}'"
    return f"row {row}" + "".join(f"[{i}]" for i in rest)
