"""Rows that list several chosen and several rejected texts, as pairs."""

from collections.abc import Mapping

import numpy as np

from ._records import PAIR_COLUMNS, as_records, columns_of, meant


def pairs_from_lists(X):
    """Make a pair of every chosen and every rejected text of a row.

    A row of RewardBench 2 has one chosen text and three rejected ones, some have several of both.
    A row of k chosen and m rejected texts becomes k · m preference rows of the weight 1 / (k · m),
    so that each row counts alike; :func:`pair_targets` reads these weights.

    Parameters
    ----------
    X : rows of text
        In any form that :class:`~lens_sklearn.LLMEmbedder` reads; ``chosen`` and ``rejected`` are
        lists of texts, or texts.

    Returns
    -------
    list of dict
        Preference rows, with the further columns of the row that each was made of. Where all of
        them hold one text of either, no ``weight`` is added. One that a row had is shared.

    Raises
    ------
    ValueError
        If a column is missing or a list is empty; the message names the row.

    See Also
    --------
    pairs_from_ratings : Of responses that were rated one by one.

    Examples
    --------
    >>> from lens_sklearn import pairs_from_lists
    >>> row = {"prompt": "A prime?", "chosen": ["7"], "rejected": ["8", "9"]}
    >>> for pair in pairs_from_lists([row]):
    ...     print(pair)
    {'prompt': 'A prime?', 'chosen': '7', 'rejected': '8', 'weight': 0.5}
    {'prompt': 'A prime?', 'chosen': '7', 'rejected': '9', 'weight': 0.5}
    """
    rows = as_records(X)
    lists = [[_texts(row, i, column) for column in PAIR_COLUMNS] for i, row in enumerate(rows)]
    pairs, has_several = [], any(len(texts) > 1 for row in lists for texts in row)
    for i, (row, (chosen, rejected)) in enumerate(zip(rows, lists, strict=True)):
        share = _weight(row, i) / (len(chosen) * len(rejected)) if has_several else None
        for better in chosen:
            for worse in rejected:
                pair = {**row, "chosen": better, "rejected": worse}
                pairs.append(pair | ({} if share is None else {"weight": share}))
    return pairs


def _texts(row, i, column):
    """Return the texts of a cell as a list."""
    if not isinstance(row, Mapping):
        raise ValueError(f"row {i}: expected a dict, got {type(row).__name__}.")
    if column not in row:
        missing = [name for name in PAIR_COLUMNS if name not in row]
        raise ValueError(
            f"row {i}: column '{column}' is missing; got {columns_of(row)}.{meant(row, missing)}"
        )
    value = row[column].tolist() if isinstance(row[column], np.ndarray) else row[column]
    if not isinstance(value, list | tuple) or (value and isinstance(value[0], Mapping)):
        return [value]  # one text, or the messages of one conversation
    if not value:
        raise ValueError(f"row {i}, column '{column}': the list has no text.")
    return list(value)


def _weight(row, i):
    value = row.get("weight")
    try:
        return 1.0 if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"row {i}, column 'weight': {value!r:.40} is no number; it is a finite weight of at "
            "least 0."
        ) from None
