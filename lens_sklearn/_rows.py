"""What a row of text may look like: its columns, messages, prompts and groups.

Text comes in as rows with named columns, or as nested lists, and leaves as a
:class:`TextTable` in the shape that its embeddings will have.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ._warnings import warn

PAIR_COLUMNS = ("chosen", "rejected")
CANDIDATE_COLUMN = "responses"


class TextTable(NamedTuple):
    """Texts in the shape that their embeddings will have.

    Attributes
    ----------
    kind : {"pairs", "candidates", "texts"}
        What the rows were.
    items : ndarray of object, shape (n, 2), (n, N) or the nested lists' own shape
        Each entry is a ``str`` (a plain text), a tuple of ``(role, content)`` messages (a
        conversation) or None (the padding of a ragged candidate list).
    """

    kind: str
    items: np.ndarray

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
        return _place(self.kind, self.items.shape, flat)


class ResponseTable(NamedTuple):
    """Prompts and responses apart, in the shape that their features will have.

    Attributes
    ----------
    kind : {"pairs", "candidates", "texts"}
        What the rows were.
    prompts : ndarray of object, shape (n, 2), (n, N) or the nested lists' own shape
        Each entry is a ``str``, a tuple of ``(role, content)`` messages or, without a prompt
        and for padding, None.
    responses : ndarray of object, of the same shape
        Each entry is a ``str``, a tuple of messages or, for padding, None.
    """

    kind: str
    prompts: np.ndarray
    responses: np.ndarray

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
        return _place(self.kind, self.responses.shape, flat)


def read_texts(X):
    """Read rows of text into a table of plain texts and conversations.

    Parameters
    ----------
    X : list of dict, DataFrame, datasets.Dataset, ndarray of object or nested list of str
        Preference rows have the columns ``chosen`` and ``rejected``, candidate rows have
        ``responses``; both may have ``prompt``. A text is a str or a list of
        ``{"role", "content"}`` messages. Without ``prompt`` a text stands for itself (TRL's
        implicit prompt). Rows that are neither dicts nor frames are nested lists of texts.

    Returns
    -------
    TextTable
        The texts and what kind of rows they were.

    Raises
    ------
    ValueError
        If there are no rows, a column is missing, or a text is empty or of another type; the
        message names the row and the column.

    Warns
    -----
    UserWarning
        If ``chosen`` equals ``rejected`` in some rows: these ties are kept, they count as
        target 0.5.
    """
    rows = as_records(X)
    kind = kind_of(rows[0])
    if kind == "texts":
        return TextTable(kind, _nested_texts(rows))
    if kind == "pairs":
        items = np.empty((len(rows), 2), dtype=object)
        for i, row in enumerate(rows):
            prompt = _prompt_of(row, i)
            for c, column in enumerate(PAIR_COLUMNS):
                items[i, c] = _join(prompt, _cell(row, i, column))
        _warn_of_ties(items)
        return TextTable(kind, items)
    lists = [_responses_of(row, i) for i, row in enumerate(rows)]
    items = np.full((len(rows), max(map(len, lists))), None, dtype=object)
    for i, (row, responses) in enumerate(zip(rows, lists, strict=True)):
        prompt = _prompt_of(row, i)
        for j, response in enumerate(responses):
            items[i, j] = _join(prompt, _text(response, f"row {i}, responses[{j}]"))
    return TextTable(kind, items)


def read_responses(X):
    """Read rows of text with prompts and responses apart.

    Parameters
    ----------
    X : rows of text
        As :func:`read_texts` reads them, but responses may be empty. Without a ``prompt``
        column the prompt is the run of messages that the texts of a row share, and of nested
        lists what stands before each conversation's last message. Plain strings without a
        prompt have none.

    Returns
    -------
    ResponseTable
        Prompts and responses, and what kind of rows they were.

    Raises
    ------
    ValueError
        If there are no rows, a column is missing, or a text is of another type; the message
        names the row and the column.
    """
    rows = as_records(X)
    kind = kind_of(rows[0])
    if kind == "texts":
        items = _nested_texts(rows, may_be_empty=True)
        prompts, responses = np.full((2, *items.shape), None, dtype=object)
        for index in np.ndindex(items.shape):
            prompts[index], responses[index] = _split(
                items[index], _shared_messages([items[index]])
            )
        return ResponseTable(kind, prompts, responses)
    read = [_cells(row, i, kind) for i, row in enumerate(rows)]
    shape = (len(rows), max(map(len, read)))
    prompts, responses = np.full((2, *shape), None, dtype=object)
    for i, (row, cells) in enumerate(zip(rows, read, strict=True)):
        prompt = _prompt_of(row, i)
        shared = _shared_messages(cells) if prompt is None else ()
        for j, cell in enumerate(cells):
            repeated = _prompt_length(prompt, cell)
            own, responses[i, j] = _split(cell, cell[:repeated] if repeated else shared)
            prompts[i, j] = own if prompt is None else prompt
    return ResponseTable(kind, prompts, responses)


def text_of(value):
    """Return the text of a prompt or response as its reader sees it.

    Parameters
    ----------
    value : str, tuple of (role, content) or None
        An entry of a :class:`ResponseTable`.

    Returns
    -------
    str
        Contents of messages are joined by line breaks; None is empty.
    """
    if value is None or isinstance(value, str):
        return value or ""
    return "\n".join(content for _, content in value)


def prompt_groups(X):
    """Give equal numbers to rows of the same prompt, for ``GroupKFold`` and its kin.

    Two rows with the same prompt in different folds make a score look better than it is.

    Parameters
    ----------
    X : rows of text, as :func:`read_texts` reads them
        Preference or candidate rows. Without a ``prompt`` column the prompt is the longest
        run of messages that the texts of a row share; plain strings without a prompt have
        none, and every such row is its own group.

    Returns
    -------
    ndarray of int, shape (n,)
        Equal numbers for equal prompts, in order of first appearance.
    """
    numbers = {}
    keys = (key or ("row", i) for i, key in enumerate(prompt_keys(X)))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def prompt_keys(X):
    """Return what names each row's prompt, the same in preference and candidate rows.

    Parameters
    ----------
    X : rows of text
        As :func:`prompt_groups` reads them.

    Returns
    -------
    list of tuple of (role, content)
        Prompts as messages, so that a plain text and the same said by a user are one; empty where
        a row has none.

    Raises
    ------
    ValueError
        If they are texts alone, or malformed.
    """
    rows = as_records(X)
    kind = kind_of(rows[0])
    if kind == "texts":
        raise ValueError("prompt_groups reads preference or candidate rows; got texts alone.")
    keys = []
    for i, row in enumerate(rows):
        key = _prompt_of(row, i)
        if key is None:
            key = _shared_messages(
                [_cell(row, i, c) for c in PAIR_COLUMNS]
                if kind == "pairs"
                else [_text(r, f"row {i}, responses") for r in _responses_of(row, i)]
            )
        keys.append(_as_messages(key))
    return keys


def read_preferences(X):
    """Read preference rows as dicts of their texts alone.

    Parameters
    ----------
    X : rows of text
        Preference rows, as :func:`read_texts` reads them.

    Returns
    -------
    list of dict
        With ``chosen``, ``rejected`` and, where there is one, ``prompt``; further columns are
        left out.

    Raises
    ------
    ValueError
        If they are other rows, or a text is malformed; the message names it.
    """
    rows = as_records(X)
    if kind_of(rows[0]) != "pairs":
        raise ValueError(
            "expected preference rows with the columns 'chosen' and 'rejected'; "
            f"got {columns_of(rows[0])}."
        )
    read_texts(rows)
    columns = ("prompt", *PAIR_COLUMNS)
    return [
        {c: list(row[c]) if not isinstance(row[c], str) else row[c] for c in columns if c in row}
        for row in rows
    ]


def read_prompts(X):
    """Read the prompts of rows, as conversations.

    Parameters
    ----------
    X : rows of text
        Preference or candidate rows as :func:`read_texts` reads them, rows that have nothing
        but a ``prompt``, or a list of prompts. Without a ``prompt`` column the prompt is the
        run of messages that the texts of a row share.

    Returns
    -------
    list of tuple of (role, content)
        A prompt a row; a plain string is a user's message.

    Raises
    ------
    ValueError
        If a row has no prompt, or a malformed one; the message names it.
    """
    prompts = []
    for i, row in enumerate(as_records(X)):
        if not isinstance(row, Mapping) or ("role" in row and "content" in row):
            prompt = _text([row] if isinstance(row, Mapping) else row, f"row {i}")
        elif "prompt" in row:
            prompt = _prompt_of(row, i)
        elif kind_of(row) == "pairs":
            prompt = _shared_messages([_cell(row, i, c) for c in PAIR_COLUMNS])
        else:
            prompt = _shared_messages([_text(r, f"row {i}") for r in _responses_of(row, i)])
        if not prompt:
            raise ValueError(
                f"row {i}: there is no prompt, neither a column 'prompt' nor messages that the "
                "row's texts share. trl.extract_prompt splits plain texts."
            )
        prompts.append((("user", prompt),) if isinstance(prompt, str) else prompt)
    return prompts


def read_dialogues(prompts, responses):
    """Read prompts and, for each, its responses.

    Parameters
    ----------
    prompts : list of n prompts
        Strings or lists of ``{"role", "content"}`` messages.
    responses : list of n lists of responses
        Strings or lists of messages, any number a prompt.

    Returns
    -------
    prompts : list of tuple of (role, content)
        The prompts as conversations.
    items : ndarray of object, shape (n, k)
        The responses as tuples of messages; None is the padding of shorter lists.

    Raises
    ------
    ValueError
        If the lengths differ, or a text is empty or of another type; the message names it.
    """
    prompts = read_prompts(prompts)
    if len(responses) != len(prompts):
        raise ValueError(f"got {len(prompts)} prompts and {len(responses)} lists of responses.")
    items = np.full((len(prompts), max(map(len, responses))), None, dtype=object)
    for i, row in enumerate(responses):
        if isinstance(row, str):
            raise ValueError(f"responses[{i}]: expected a list of responses, got a string.")
        for j, response in enumerate(row):
            items[i, j] = _join((), _text(response, f"responses[{i}][{j}]"))
    return prompts, items


def as_records(X):
    """Return rows as a list, of dicts wherever they have named columns.

    Parameters
    ----------
    X : rows of text
        In any form that :func:`read_texts` reads; an Arrow table is a frame too.

    Returns
    -------
    list
        At least one row, with all its columns.

    Raises
    ------
    ValueError
        If there is no row, or X is no rows of text.
    """
    if isinstance(X, str | Mapping):
        got = "a dict of columns" if isinstance(X, Mapping) else "a single string"
        raise ValueError(f"expected rows (a list of dicts, a DataFrame, …), got {got}.")
    if hasattr(X, "column_names") and hasattr(X, "to_list"):  # datasets.Dataset
        rows = X.to_list()
    elif hasattr(X, "columns"):
        import narwhals as nw

        rows = nw.from_native(X, eager_only=True).rows(named=True)
    else:
        if hasattr(X, "dtype") and getattr(X.dtype, "kind", "O") not in "OUS":
            raise ValueError(f"expected rows of text, got an array of {X.dtype}.")
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
        The columns' names, or what it is instead of a dict.
    """
    return sorted(map(str, row)) if isinstance(row, Mapping) else f"rows of {type(row).__name__}"


def kind_of(row):
    """Tell what rows there are by the first of them.

    Parameters
    ----------
    row : dict, str or list
        One row.

    Returns
    -------
    {"pairs", "candidates", "texts"}
        "texts" for whatever has no columns.

    Raises
    ------
    ValueError
        If its columns are others.
    """
    if not isinstance(row, Mapping):
        return "texts"
    if any(column in row for column in PAIR_COLUMNS):
        return "pairs"
    if CANDIDATE_COLUMN in row:
        return "candidates"
    raise ValueError(
        "row 0: preference rows need the columns 'chosen' and 'rejected', candidate rows need "
        f"'responses'; got {columns_of(row)}."
    )


def _place(kind, shape, flat):
    row, *rest = (int(i) for i in np.unravel_index(flat, shape))
    if kind == "pairs":
        return f"row {row}, column '{PAIR_COLUMNS[rest[0]]}'"
    if kind == "candidates":
        return f"row {row}, responses[{rest[0]}]"
    return f"row {row}" + "".join(f"[{i}]" for i in rest)


def _cells(row, i, kind):
    """Return the texts of a row, which may be empty."""
    if kind == "pairs":
        return [_cell(row, i, column, may_be_empty=True) for column in PAIR_COLUMNS]
    return [
        _text(response, f"row {i}, responses[{j}]", may_be_empty=True)
        for j, response in enumerate(_responses_of(row, i))
    ]


def _split(text, shared):
    """Return what a text shares with its neighbors, None for nothing, and the rest."""
    return (shared, text[len(shared) :]) if shared else (None, text)


def _cell(row, i, column, *, may_be_empty=False):
    if not isinstance(row, Mapping):
        raise ValueError(f"row {i}: expected a dict like row 0, got {type(row).__name__}.")
    if column not in row:
        raise ValueError(f"row {i}: column '{column}' is missing; got {columns_of(row)}.")
    return _text(row[column], f"row {i}, column '{column}'", may_be_empty=may_be_empty)


def _prompt_of(row, i):
    if not isinstance(row, Mapping):
        raise ValueError(f"row {i}: expected a dict like row 0, got {type(row).__name__}.")
    return _cell(row, i, "prompt") if "prompt" in row else None


def _responses_of(row, i):
    responses = row.get(CANDIDATE_COLUMN) if isinstance(row, Mapping) else None
    if isinstance(responses, np.ndarray):
        responses = responses.tolist()
    if not isinstance(responses, list | tuple) or not responses:
        raise ValueError(
            f"row {i}, column 'responses': expected a list of at least one text, "
            f"got {type(responses).__name__ if not responses else repr(responses)[:40]}."
        )
    return responses


def _text(value, where, *, may_be_empty=False):
    """Return one checked text: a str, or a tuple of (role, content) messages."""
    if isinstance(value, str):
        if not value.strip() and not may_be_empty:
            raise ValueError(f"{where}: the text is empty.")
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple) and value:
        for j, message in enumerate(value):
            content = message.get("content") if isinstance(message, Mapping) else None
            if not isinstance(content, str) or not isinstance(message.get("role"), str):
                raise ValueError(
                    f"{where}, message {j}: expected {{'role': str, 'content': str}}, "
                    f"got {message!r:.60}."
                )
            if not content.strip() and not may_be_empty:
                raise ValueError(f"{where}, message {j}: the content is empty.")
        return tuple((message["role"], message["content"]) for message in value)
    raise ValueError(
        f"{where}: expected a str or a list of {{'role', 'content'}} messages, "
        f"got {'an empty list' if value == [] else repr(value)[:60]}."
    )


def _join(prompt, response):
    """Put a prompt before a response, unless it is there already; without one, return it alone."""
    if prompt is None or _prompt_length(prompt, response):
        return response
    if isinstance(response, str):
        response = (("assistant", response),)
    return _as_messages(prompt) + response


def _as_messages(prompt):
    """Return a prompt as messages: a plain text is what a user says."""
    return (("user", prompt),) if isinstance(prompt, str) else prompt


def _prompt_length(prompt, text):
    """Return how many messages of a conversation repeat its prompt, 0 if it does not.

    Where the column ``prompt`` stands beside whole conversations, as in UltraFeedback, these
    begin with it; a system message may stand before.
    """
    if not prompt or isinstance(text, str):
        return 0
    prompt = _as_messages(prompt)
    start = 0
    while prompt[0][0] != "system" and start < len(text) and text[start][0] == "system":
        start += 1
    end = start + len(prompt)
    return end if end < len(text) and text[start:end] == prompt else 0


def _shared_messages(texts):
    shared = []
    if all(isinstance(text, tuple) for text in texts):
        for messages in zip(*texts, strict=False):
            if len(set(messages)) > 1 or len(shared) + 1 == min(map(len, texts)):
                break
            shared.append(messages[0])
    return tuple(shared)


def _warn_of_ties(items):
    ties = [i for i, (chosen, rejected) in enumerate(items) if chosen == rejected]
    if ties:
        warn(
            f"{len(ties)} of {len(items)} rows have chosen equal to rejected (first: row "
            f"{ties[0]}). They are kept as ties, target 0.5."
        )


def _nested_texts(rows, *, may_be_empty=False):
    """Read nested lists of texts; a conversation is a leaf, not a level."""

    def is_leaf(value):
        return not isinstance(value, list | tuple | np.ndarray) or (
            len(value) > 0 and isinstance(value[0], Mapping)
        )

    def shape_of(value):
        return () if is_leaf(value) or not len(value) else (len(value), *shape_of(value[0]))

    items = np.empty(shape_of(rows), dtype=object)

    def fill(value, index):
        where = "".join(f"[{i}]" for i in index)
        if len(index) == items.ndim:
            if not is_leaf(value) and not (isinstance(value, list | tuple) and not value):
                raise ValueError(f"texts{where}: nested deeper than its neighbours.")
            items[index] = _text(value, f"row {index[0]}, texts{where}", may_be_empty=may_be_empty)
            return
        if is_leaf(value) or len(value) != items.shape[len(index)]:
            got = "a single text" if is_leaf(value) else f"{len(value)} entries"
            raise ValueError(
                f"row {index[0] if index else 0}, texts{where}: expected "
                f"{items.shape[len(index)]} entries like its neighbours, got {got}. Ragged "
                "candidate lists go into rows with the column 'responses'."
            )
        for i, entry in enumerate(value):
            fill(entry, (*index, i))

    fill(rows, ())
    return items
