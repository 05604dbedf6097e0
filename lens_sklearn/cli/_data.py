"""What commands learn from and judge: rows of text, or embeddings out of .npy and .npz files."""

from typing import NamedTuple

from ._arguments import reading, refuse_text_options

PAIR_COLUMNS = ("chosen", "rejected")


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
    numbers : ndarray of int, shape (n,)
        Which rows of the file they are.
    """

    X: object
    target: object
    weight: object
    groups: object
    is_text: bool
    numbers: object

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
        return Pairs(X, target, weight, self.groups[index], self.is_text, self.numbers[index])


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
    from .._io import load_numbered, pair_targets
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
        numbers = np.arange(len(found.X))
        pairs = Pairs(found.X, found.target, found.weight, groups, False, numbers)
    else:
        rows, numbers = load_numbered(path, **reading(arguments), on_invalid=arguments.on_invalid)
        pairs = Pairs(rows, *pair_targets(rows), prompt_groups(rows), True, numbers)
    if pairs.weight is not None and not pairs.weight.any():
        raise ValueError(f"{path}: the weight of every row is 0; nothing can be learnt.")
    return pairs


def read_candidates(arguments, *, needs_gold=True, keeps_empty=False):
    """Read the candidates of ``best-of-n`` and ``report``.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``candidates`` and what :func:`~._arguments.add_rows` adds.
    needs_gold : bool, default=True
        Whether they are of no use without gold rewards.
    keeps_empty : bool, default=False
        Whether rows without any text stay, so that the others keep their numbers.

    Returns
    -------
    rows : list of dict or None
        Rows with a text at least, or all; None for embeddings.
    X : list of dict, or ndarray of shape (n_prompts, N, d)
        What a model reads of them.
    gold : ndarray of shape (n_prompts, N), or None
        NaN where there is no response, or an empty one that is left out; None without gold.

    Raises
    ------
    ValueError
        If the file holds something else, or every text is empty.
    """
    from warnings import catch_warnings, simplefilter

    import numpy as np

    from .._embedding_files import is_embedding_file, load_embeddings
    from .._rows import read_texts

    path = arguments.candidates
    if is_embedding_file(path):
        refuse_text_options(arguments, path)
        found = load_embeddings(path)
        if found.kind != "candidates" or (needs_gold and found.gold is None):
            needed = "the arrays 'candidates' and 'gold'" if needs_gold else "candidates"
            raise ValueError(f"{path}: needs {needed} of a .npz file.")
        return None, found.X, found.gold
    rows, gold = _load_candidates(arguments, needs_gold)
    with catch_warnings():
        simplefilter("ignore")  # they were told
        table = read_texts(rows, arguments.on_invalid)
    there = np.array([item is not None for item in table.items.ravel()]).reshape(table.items.shape)
    kept = there.any(axis=1)
    if not kept.any():
        raise ValueError(f"{path}: every row has empty or malformed texts alone.")
    if keeps_empty:
        kept[:] = True
    rows = [row for row, is_kept in zip(rows, kept, strict=True) if is_kept]
    gold = None if gold is None else np.where(there, gold, np.nan)[kept]
    return rows, rows, gold


def _load_candidates(arguments, needs_gold):
    """Return rows and gold, None where it may be missing and no row has one."""
    from .._io import check_texts, load_candidate_rows, load_candidates

    path, how = arguments.candidates, reading(arguments)
    how |= {"columns": {k: v for k, v in how["columns"].items() if k not in PAIR_COLUMNS}}
    if not needs_gold and path != "-" and how["columns"]["gold"] is None:
        rows = load_candidate_rows(path, **how)
        if all(row.get("gold") is None for row in rows):
            check_texts(rows, path, arguments.on_invalid)
            return rows, None
    return load_candidates(path, **how, on_invalid=arguments.on_invalid)
