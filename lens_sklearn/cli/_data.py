"""What commands learn from and judge: rows of text, or embeddings out of .npy and .npz files."""

from typing import NamedTuple

from ._arguments import reading, refuse_text_options


class Pairs(NamedTuple):
    """Pairs in the form that a Pipeline reads.

    Attributes
    ----------
    X : list of dict, or ndarray of shape (n, 2, d)
        Rows of text, or embeddings.
    target, weight : ndarray of shape (n,), or None
        What the pairs bring along.
    groups : ndarray of int, shape (n,)
        Their prompts.
    is_text : bool
        Whether they are rows.
    """

    X: object
    target: object
    weight: object
    groups: object
    is_text: bool

    def take(self, index):
        """Return some of the pairs.

        Parameters
        ----------
        index : ndarray of int, shape (m,)
            Which.

        Returns
        -------
        Pairs
            In that order.
        """
        X = [self.X[i] for i in index] if self.is_text else self.X[index]
        target, weight = (None if v is None else v[index] for v in (self.target, self.weight))
        return Pairs(X, target, weight, self.groups[index], self.is_text)


def read_pairs(arguments):
    """Read the pairs of ``fit`` and ``compare``.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``pairs`` and what :func:`~._arguments.add_rows` adds.

    Returns
    -------
    Pairs
        Checked.

    Raises
    ------
    ValueError
        If the file holds something else, or every weight is 0.
    """
    import numpy as np

    from .._embedding_files import is_embedding_file, load_embeddings
    from .._io import load_preferences, pair_targets
    from .._rows import prompt_groups

    path = arguments.pairs
    if is_embedding_file(path):
        refuse_text_options(arguments, path)
        found = load_embeddings(path)
        if found.kind != "pairs":
            raise ValueError(
                f"{path}: holds candidates; pairs are needed, an array 'pairs' (n, 2, d), and this "
                f"one is {found.X.shape}."
            )
        groups = np.arange(len(found.X)) if found.groups is None else found.groups
        groups = np.unique(groups, return_inverse=True)[1]
        pairs = Pairs(found.X, found.target, found.weight, groups, False)
    else:
        rows = load_preferences(path, **reading(arguments), on_invalid=arguments.on_invalid)
        pairs = Pairs(rows, *pair_targets(rows), prompt_groups(rows), True)
    if pairs.weight is not None and not pairs.weight.any():
        raise ValueError(f"{path}: the weight of every row is 0; nothing can be learnt.")
    return pairs
