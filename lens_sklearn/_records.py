"""Rows of text in whatever container: lists of dicts, frames, datasets, dicts of columns."""

from collections.abc import Mapping
from difflib import get_close_matches
from numbers import Number

import numpy as np

PAIR_COLUMNS = ("chosen", "rejected")
CANDIDATE_COLUMN = "responses"
SINGULAR_AND_PLURAL = ("response", CANDIDATE_COLUMN)
SINGLE_COLUMNS = ("response", "completion", "messages", "conversations", "conversation", "text")
# What others call the columns, in lower case.
SYNONYMS = {
    "prompt": "prompts question questions instruction instructions query input user_input "
    "prompt_text context history conversations conversation messages",
    "chosen": "preferred accepted positive better good response_chosen chosen_response choosen",
    "rejected": "dispreferred nonpreferred negative worse bad response_rejected "
    "rejected_response refused",
    "responses": "candidates completions answers outputs generations generated_responses",
    "gold": "gold_reward gold_rewards scores ratings",
    "response": "answer output generation reply assistant solution",
}


def is_text(X):
    """Tell rows of text from embeddings.

    Parameters
    ----------
    X : object
        What an estimator reads.

    Returns
    -------
    bool
        False for arrays and tensors of numbers and for nested lists of them.
    """
    dtype = getattr(X, "dtype", None)
    if dtype is not None:
        # torch's types have no kind.
        return getattr(dtype, "kind", "f" if getattr(X, "ndim", 0) else "O") not in "biufc"
    while isinstance(X, list | tuple) and X:
        X = X[0]
    return is_text(X) if hasattr(X, "dtype") else not isinstance(X, Number)


def as_records(X):
    """Return rows as a list, of dicts wherever they have named columns.

    Parameters
    ----------
    X : rows of text
        A list of dicts, a frame or an Arrow table, a ``datasets.Dataset`` with or without a
        length, an array of objects, a dict of columns, or nested lists of texts.

    Returns
    -------
    list
        At least one row, with all its columns.

    Raises
    ------
    ValueError
        If there is no row, or X is no rows of text.
    """
    if isinstance(X, str):
        raise ValueError(
            "expected rows (a list of dicts, a DataFrame, …), got a single string. "
            "load_preferences and load_candidates read files."
        )
    if isinstance(X, Mapping):
        rows = _rows_of_columns(X)
    elif hasattr(X, "column_names") and hasattr(X, "to_list"):  # datasets.Dataset
        rows = X.to_list()
    elif hasattr(X, "columns"):
        import narwhals as nw

        rows = nw.from_native(X, eager_only=True).rows(named=True)
    elif hasattr(X, "to_pylist"):  # an array of Arrow
        rows = X.to_pylist()
    elif getattr(getattr(X, "dtype", None), "names", None):  # a structured array of numpy
        rows = [dict(zip(X.dtype.names, row.tolist(), strict=True)) for row in X]
    else:
        if hasattr(X, "dtype") and getattr(X.dtype, "kind", "O") not in "OUS":
            raise ValueError(f"expected rows of text, got an array of {X.dtype}.")
        if not hasattr(X, "__iter__"):
            raise ValueError(f"expected rows of text, got {type(X).__name__}.")
        rows = list(X.tolist() if isinstance(X, np.ndarray) else X)
    if not rows:
        raise ValueError("got no rows; at least one is needed (0 samples).")
    return rows


def columns_of(row):
    """Tell what columns a row has, for an error.

    Parameters
    ----------
    row : dict or other
        One row.

    Returns
    -------
    list of str or str
        The columns' names, shortened, or what it is instead of a dict.
    """
    if not isinstance(row, Mapping):
        return f"rows of {type(row).__name__}"
    names = sorted(name if len(name) <= 60 else f"{name[:60]}…" for name in map(str, row))
    return names if len(names) <= 20 else [*names[:20], "…"]


def kind_of(row):
    """Tell what rows there are by the first of them.

    Parameters
    ----------
    row : dict, str or list
        One row.

    Returns
    -------
    {"pairs", "candidates", "texts"}
        "texts" for whatever has no columns. Rows of single responses are candidates of one.

    Raises
    ------
    ValueError
        If its columns are others.
    """
    if not isinstance(row, Mapping):
        return "texts"
    if any(column in row for column in PAIR_COLUMNS):
        return "pairs"
    if candidate_column(row) is not None:
        return "candidates"
    if {"role", "content"} <= row.keys() or {"from", "value"} <= row.keys():
        raise ValueError("row 0 is a message: a conversation is one row, put it into a list.")
    sides = _two_sides(row)
    if sides:
        raise ValueError(
            f"row 0: which of {sides[0]!r} and {sides[1]!r} is better is not read from a further "
            "column; put the better one into 'chosen' and the other one into 'rejected', and leave "
            f"ties out. Got {columns_of(row)}."
        )
    raise ValueError(
        "row 0: preference rows need the columns 'chosen' and 'rejected', candidate rows need "
        f"'responses', single responses {', '.join(map(repr, SINGLE_COLUMNS[:3]))} or 'text'; "
        f"got {columns_of(row)}.{meant(row, (*PAIR_COLUMNS, *SINGULAR_AND_PLURAL, 'prompt'))}"
    )


def _two_sides(row):
    """Return two columns of texts, as response_a and response_b, if there are such."""
    for name in (str(name) for name in row if "model" not in str(name)):
        for one, other in (("_a", "_b"), ("_1", "_2"), ("_0", "_1")):
            twin = name.removesuffix(one) + other
            if name.endswith(one) and all(isinstance(row.get(c), str | list) for c in (name, twin)):
                return name, twin
    return None


def candidate_column(row):
    """Return the column of a row that holds its candidates or its one response.

    Parameters
    ----------
    row : dict
        One row.

    Returns
    -------
    str or None
        ``responses``, which lists them, or a column of one response: ``response``,
        ``completion``, ``messages``, ``conversations``, ``conversation`` or ``text``.
    """
    columns = (CANDIDATE_COLUMN, *SINGLE_COLUMNS)
    return next((column for column in columns if column in row), None)


def meant(row, names):
    """Say which columns of a row may be meant by names that are missing.

    Parameters
    ----------
    row : dict
        One row.
    names : sequence of str
        Columns that are missing.

    Returns
    -------
    str
        A sentence with a space before it; empty if nothing is like them.
    """
    near = near_columns(row, names)
    if not near:
        return ""
    columns = " and ".join(map(repr, near.values()))
    parts = [f"{column!r} to {name!r}" for name, column in near.items()]
    return f" Did you mean {columns}? Rename {' and '.join(parts)}."


def near_columns(row, names):
    """Find the columns of a row that may be meant by names that are missing.

    Parameters
    ----------
    row : dict
        One row.
    names : sequence of str
        Columns that are missing.

    Returns
    -------
    dict of str to str
        What the row calls them; those that nothing is like are left out.
    """
    found, columns = {}, [str(c) for c in row]
    for name in names:
        if name in row:
            continue
        near = [c for c in columns if c.strip().lower() in (name, *SYNONYMS.get(name, "").split())]
        near += get_close_matches(name, columns, n=1, cutoff=0.85)
        near = [c for c in near if c != name and c not in found.values()]
        if near:
            found[name] = near[0]
    return found


def _rows_of_columns(X):
    """Return the rows of a dict of columns; refuse one row and a dict of splits."""
    splits = [name for name, value in X.items() if hasattr(value, "column_names")]
    if splits:
        raise ValueError(
            f"expected rows, got the splits {', '.join(map(repr, splits))}: take one of them, "
            f"such as X[{splits[0]!r}]."
        )
    columns = {}
    for name, value in X.items():
        is_text = isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__")
        entries = [value] if is_text else list(value)
        if is_text or _is_one_cell(name, entries):
            raise ValueError(
                f"expected rows, got a dict whose {name!r} is one cell: a single row goes into a "
                "list, [row]; a dict of columns has a list of cells for each."
            )
        columns[name] = [e.as_py() if hasattr(e, "as_py") else e for e in entries]
    lengths = {name: len(entries) for name, entries in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"got a dict of columns of different lengths: {lengths}.")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _is_one_cell(name, entries):
    """Tell whether a list is a row's conversation or candidates, and no column of them."""
    if name == CANDIDATE_COLUMN:
        return any(isinstance(entry, str | Mapping) for entry in entries)
    return any(isinstance(e, Mapping) and ("role" in e or "from" in e) for e in entries)
