"""Different texts of one row whose embeddings are the same: nothing can tell them apart."""

import logging

import numpy as np

from ._warnings import warn

logger = logging.getLogger("lens_sklearn")


class EqualEmbeddings:
    """Find different texts of one row with the same embedding.

    Parameters
    ----------
    n_texts : int
        How many distinct texts there are.
    """

    def __init__(self, n_texts):
        self._marks = np.zeros(n_texts, dtype=np.int64)  # 0 is a text that has no embedding

    def note(self, numbers, vectors):
        """Remember the embeddings of some texts.

        Parameters
        ----------
        numbers : ndarray of int, shape (m,)
            Which texts.
        vectors : ndarray of float32, shape (m, d)
            Their embeddings, of which 8 bytes each are kept.
        """
        self._marks[numbers] = [hash(vector.tobytes()) or 1 for vector in vectors]

    def forget(self, numbers):
        """Forget texts that are given none.

        Parameters
        ----------
        numbers : ndarray of int, shape (m,)
            Which texts.
        """
        self._marks[numbers] = 0

    def report(self, kind, cells, shape, max_length=None):
        """Say in how many rows different texts have the same embedding.

        Parameters
        ----------
        kind : {"pairs", "candidates", "texts"}
            What the rows are. Of pairs it is a warning, of candidates a line of the log, and
            other texts are not compared.
        cells : ndarray of int, shape (n_cells,)
            The number of each cell's text, -1 for none.
        shape : tuple of int
            Shape of the table.
        max_length : int, default=None
            The limit in force, for the message; None where a server has one that is not known.

        Returns
        -------
        int
            How many rows.

        Warns
        -----
        UserWarning
            If there are such pairs.
        """
        if kind not in ("pairs", "candidates") or not (cells >= 0).any():
            return 0
        cells = cells.reshape(shape)
        marks = np.where(cells < 0, 0, self._marks[cells])
        rows = np.arange(len(cells))[:, None]
        by_mark = np.lexsort((cells, marks))
        marks, numbers = marks[rows, by_mark], cells[rows, by_mark]
        equal = (marks[:, 1:] == marks[:, :-1]) & (numbers[:, 1:] != numbers[:, :-1])
        alike = (equal & (marks[:, 1:] != 0)).any(axis=1)
        if not alike.any():
            return 0
        count, first = int(alike.sum()), int(np.flatnonzero(alike)[0])
        why = (
            "What tells them apart was cut off (a text may have "
            f"{max_length} tokens), or left out by the chat template or the tokenizer, or is not "
            "read by these layers and poolings."
        )
        if max_length is None:
            why = "What tells them apart may have been cut off by the server."
        if kind == "pairs":
            warn(
                f"in {count} of {len(cells)} rows (first: row {first}) chosen and rejected are "
                f"different texts with the same embedding, so these pairs say nothing. {why}"
            )
        else:
            logger.warning(
                "In %d of %d rows (first: row %d) different candidates have the same embedding, "
                "so they get the same reward. %s", count, len(cells), first, why,
            )  # fmt: skip
        return count
