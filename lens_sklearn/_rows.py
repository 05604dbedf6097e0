"""Tables of text: rows with prompts, chosen and rejected texts or candidates, and their groups.

Text comes in as rows with named columns, or as nested lists, and leaves as a
:class:`TextTable` in the shape that its embeddings will have.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ._messages import (
    as_messages,
    contents_of,
    is_null,
    join,
    mark_turns,
    message_dicts,
    message_key,
    read_text,
    says_nothing,
    shared_messages,
)
from ._records import (
    CANDIDATE_COLUMN,
    PAIR_COLUMNS,
    as_records,
    candidate_column,
    columns_of,
    kind_of,
    meant,
)
from ._text_tables import Faults, ResponseTable, TextTable
from ._warnings import warn

#: A word is soon the beginning of an answer; so many characters of a prompt are not.
LONG_PROMPT = 10
ASKERS = ("system", "user", "human")
SEVERAL = " pairs_from_lists(rows) makes a pair of every chosen and every rejected text."


class _Row(NamedTuple):
    """A row as it was read: its prompt, or None, and its texts; None for what is left out."""

    prompt: str | tuple | None
    texts: list


def read_texts(X, on_invalid="raise"):
    r"""Read rows of text into a table of plain texts and conversations.

    Parameters
    ----------
    X : list of dict, DataFrame, datasets.Dataset, dict of columns, ndarray of object or nested \
            list of str
        Preference rows have the columns ``chosen`` and ``rejected``, candidate rows have
        ``responses``, and rows of single responses, which are candidates of one, have
        ``response``, ``completion``, ``messages``, ``conversations`` or ``text``; all may have
        ``prompt``. A text is a str or a list of messages, ``{"role", "content"}`` or ShareGPT's
        ``{"from", "value"}``, also as JSON in a str. A str that marks turns by
        ``"\n\nHuman:"`` and ``"\n\nAssistant:"`` is a conversation too. Without ``prompt`` a
        text stands for itself (TRL's implicit prompt); one that begins with its prompt is read
        once. Rows that are neither dicts nor frames are nested lists of texts.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        What becomes of an empty text. "drop" leaves the row out, of candidates the empty one,
        and does so with whatever else is malformed; "keep" takes it for an empty response. An
        empty candidate is kept under "raise" too.

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
        target 0.5. If rows are left out. If a column looks like the prompt and is not read.
    """
    rows, kind, column, read, faults = _read_rows(X, on_invalid)
    if kind == "texts":
        items = _nested_texts(rows, faults)
        dropped = _rows_without(items)
        _report(faults, len(rows), dropped)
        return TextTable(kind, items, dropped)
    items = np.full((len(rows), max(len(row.texts) for row in read)), None, dtype=object)
    for i, row in enumerate(read):
        for j, text in enumerate(row.texts):
            if text is not None:
                items[i, j] = join(row.prompt, text)[0]
    dropped = _rows_without(items)
    _report(faults, len(rows), dropped)
    if kind == "pairs":
        _warn_of_ties(items)
        _warn_of_repeated_prompts(read)
    _warn_of_unread_prompt(rows, read)
    return TextTable(kind, items, dropped, column)


def read_responses(X, on_invalid="keep"):
    """Read rows of text with prompts and responses apart.

    Parameters
    ----------
    X : rows of text
        As :func:`read_texts` reads them. Without a ``prompt`` column the prompt is the run of
        messages that the texts of a row share, and of nested lists and single responses what
        stands before each conversation's last message. Plain strings without a prompt have none.
    on_invalid : {"keep", "raise", "drop"}, default="keep"
        As in :func:`read_texts`.

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
    rows, kind, column, read, faults = _read_rows(X, on_invalid)
    if kind == "texts":
        items = _nested_texts(rows, faults)
        prompts, responses = np.full((2, *items.shape), None, dtype=object)
        for index in np.ndindex(items.shape):
            if items[index] is not None:
                shared = shared_messages([items[index]])
                prompts[index], responses[index] = _split(items[index], shared)
    else:
        shape = (len(rows), max(len(row.texts) for row in read))
        prompts, responses = np.full((2, *shape), None, dtype=object)
        for i, row in enumerate(read):
            present = [text for text in row.texts if text is not None]
            shared = shared_messages(present) if row.prompt is None and present else ()
            for j, text in enumerate(row.texts):
                if text is not None:
                    prompts[i, j], responses[i, j] = _apart(row.prompt, text, shared)
    dropped = _rows_without(responses)
    _report(faults, len(rows), dropped)
    return ResponseTable(kind, prompts, responses, dropped, column)


def text_of(value):
    """Return the text of a prompt or response as its reader sees it.

    Parameters
    ----------
    value : str, tuple of messages or None
        An entry of a :class:`ResponseTable`.

    Returns
    -------
    str
        Contents of messages are joined by line breaks; None is empty. Tool calls, reasoning and
        other fields are left out.
    """
    return "" if value is None else "\n".join(contents_of(value))


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
        Equal numbers for equal prompts, in order of first appearance. White space at their ends
        makes no difference.

    Warns
    -----
    UserWarning
        If no row has a prompt.
    """
    rows = as_records(X)
    keys = prompt_keys(rows)
    if not any(keys):
        warn(
            "no row has a prompt, so each counts as a prompt of its own, and answers to the same "
            "question may stand on both sides of a split. Give a column 'prompt'."
            f"{meant(rows[0], ['prompt'])}"
        )
    return number_prompts(keys)


def number_prompts(keys):
    """Give prompts numbers in order of first appearance.

    Parameters
    ----------
    keys : list of tuple
        What :func:`prompt_keys` returns; an empty one is a prompt of its own.

    Returns
    -------
    ndarray of int, shape (n,)
        Equal numbers for equal prompts.
    """
    numbers = {}
    return np.array(
        [numbers.setdefault(key or ("row", i), len(numbers)) for i, key in enumerate(keys)]
    )


def prompt_keys(X):
    """Return what names each row's prompt, the same in preference and candidate rows.

    Parameters
    ----------
    X : rows of text
        As :func:`prompt_groups` reads them.

    Returns
    -------
    list of tuple of messages
        Prompts as messages without white space around them, so that a plain text and the same
        said by a user are one; empty where a row has none, and where it is malformed.

    Raises
    ------
    ValueError
        If they are texts alone, or no row can be read.
    """
    rows = as_records(X)
    if _kind(rows, lenient=False) == "texts":
        raise ValueError("prompt_groups reads preference or candidate rows; got texts alone.")
    read = _read_rows(rows, "keep", lenient=True)[3]  # who embeds the rows says what is wrong
    keys = []
    for row in read:
        key = tuple(message_key(m) for m in _prompt_in(row))
        keys.append(key if any(m[1] for m in key) else ())
    return keys


def read_preferences(X, on_invalid="raise"):
    """Read preference rows as dicts of their texts alone.

    Parameters
    ----------
    X : rows of text
        Preference rows, as :func:`read_texts` reads them.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        As in :func:`read_texts`.

    Returns
    -------
    list of dict
        With ``chosen``, ``rejected`` and, where there is one, ``prompt``, each a str or a list
        of messages; further columns are left out.

    Raises
    ------
    ValueError
        If they are other rows, or a text is malformed; the message names it.
    """
    rows = as_records(X)
    if _kind(rows, lenient=on_invalid == "drop") != "pairs":
        raise ValueError(
            "expected preference rows with the columns 'chosen' and 'rejected'; "
            f"got {columns_of(rows[0])}."
        )
    _, _, _, read, faults = _read_rows(rows, on_invalid)
    dropped = [i for i, row in enumerate(read) if None in row.texts]
    _report(faults, len(rows), dropped)
    kept = [row for row in read if None not in row.texts]
    if not kept:
        raise ValueError(f"on_invalid='drop' leaves none of {len(rows)} rows. {faults.first}")
    _warn_of_ties([[join(row.prompt, text)[0] for text in row.texts] for row in kept])
    return [
        ({} if row.prompt is None else {"prompt": _as_cell(row.prompt)})
        | {column: _as_cell(text) for column, text in zip(PAIR_COLUMNS, row.texts, strict=True)}
        for row in kept
    ]


def read_prompts(X):
    """Read the prompts of rows, as conversations.

    Parameters
    ----------
    X : rows of text
        Preference or candidate rows as :func:`read_texts` reads them, rows that have nothing
        but a ``prompt``, or a list of prompts. Without a ``prompt`` column the prompt is the
        run of messages that the texts of a row share. Where the texts begin with the prompt, a
        system message of theirs is part of it.

    Returns
    -------
    list of tuple of messages
        A prompt a row; a plain string is a user's message.

    Raises
    ------
    ValueError
        If a row has no prompt, or a malformed one; the message names it.
    """
    prompts, faults = [], Faults("keep")
    for i, row in enumerate(as_records(X)):
        is_prompt = not isinstance(row, Mapping) or {"role", "content"} <= row.keys()
        if is_prompt or _has_no_text(row):
            cell = row if is_prompt else row.get("prompt")
            where = f"row {i}" if is_prompt else f"row {i}, column 'prompt'"
            prompt = mark_turns(read_text(cell, where), [])[0]
        else:
            prompt = _prompt_in(_row(row, i, kind_of(row), candidate_column(row), faults))
        if not prompt or says_nothing(prompt):
            raise ValueError(
                f"row {i}: there is no prompt, neither a column 'prompt' nor messages that the "
                "row's texts share. trl.extract_prompt splits plain texts."
            )
        prompts.append(as_messages(prompt))
    return prompts


def read_dialogues(prompts, responses):
    """Read prompts and, for each, its responses.

    Parameters
    ----------
    prompts : list of n prompts
        Strings or lists of ``{"role", "content"}`` messages.
    responses : list of n lists of responses
        Strings or lists of messages, any number a prompt; they may be empty. One that begins
        with its prompt is read without it.

    Returns
    -------
    prompts : list of tuple of messages
        The prompts as conversations.
    items : ndarray of object, shape (n, k)
        The responses as tuples of messages; None is the padding of shorter lists.

    Raises
    ------
    ValueError
        If the lengths differ, or a text is of another type; the message names it.
    """
    prompts = read_prompts(prompts)
    if len(responses) != len(prompts):
        raise ValueError(f"got {len(prompts)} prompts and {len(responses)} lists of responses.")
    items = np.full((len(prompts), max(map(len, responses))), None, dtype=object)
    for i, row in enumerate(responses):
        if isinstance(row, str):
            raise ValueError(f"responses[{i}]: expected a list of responses, got a string.")
        texts = [read_text(response, f"responses[{i}][{j}]") for j, response in enumerate(row)]
        for j, text in enumerate(mark_turns(prompts[i], texts)[1]):
            whole, n_prompt = join(prompts[i], text)
            items[i, j] = whole[n_prompt:]
    return prompts, items


def _checked(faults, i, text, where, *, is_candidate=False):
    """Return a text; None where it is empty and left out."""
    if text is None or not says_nothing(text):
        return text
    return None if faults.leaves_out_empty(i, where, is_candidate=is_candidate) else text


def _report(faults, n_rows, dropped):
    """Say once what was left out."""
    message = faults.summary(n_rows, dropped)
    if message:
        warn(message)


def _rows_without(items):
    """Return the rows of which nothing is left."""
    flat = items.reshape(len(items), -1)
    return tuple(i for i, row in enumerate(flat) if all(cell is None for cell in row))


# ------------------------------------------------------------------ rows with named columns
def _kind(rows, *, lenient):
    """Return the kind of rows by the first, or by the first that has one."""
    error = None
    for row in rows if lenient else rows[:1]:
        try:
            return kind_of(row)
        except ValueError as raised:
            error = error or raised
    raise error


def _read_rows(X, on_invalid, *, lenient=False):
    """Return rows, their kind, the column of candidates, the rows as read, and the faults."""
    faults, rows = Faults(on_invalid, lenient=lenient), as_records(X)
    lenient = faults.lenient
    if lenient and any(isinstance(row, Mapping) for row in rows):
        kind = _kind([row for row in rows if isinstance(row, Mapping)], lenient=True)
    else:
        kind = _kind(rows, lenient=lenient)
    if kind == "texts":
        if any(isinstance(row, Mapping) and not row.keys() & {"role", "from"} for row in rows):
            raise ValueError(f"row 0: expected a dict like others, got {type(rows[0]).__name__}.")
        return rows, kind, CANDIDATE_COLUMN, [], faults
    mappings = (row for row in rows if isinstance(row, Mapping))
    column = next(filter(None, map(candidate_column, mappings)), CANDIDATE_COLUMN)
    empty = [None] * (2 if kind == "pairs" else 1)
    read = []
    for i, row in enumerate(rows):
        one = faults.attempt(i, _row, row, i, kind, column, faults)
        if one is None or (kind == "pairs" and None in one.texts):
            one = _Row(None, empty)
        read.append(one)
    return rows, kind, column, read, faults


def _row(row, i, kind, column, faults):
    """Read one row; a fault of a candidate leaves the others."""
    if not isinstance(row, Mapping):
        raise ValueError(f"row {i}: expected a dict like row 0, got {type(row).__name__}.")
    prompt = row.get("prompt")
    prompt = None if is_null(prompt) else read_text(prompt, f"row {i}, column 'prompt'")
    if prompt == "" and not isinstance(row["prompt"], str):
        prompt = None  # a list of no messages
    if kind == "pairs":
        cells = [_cell(row, i, c, PAIR_COLUMNS, hint=SEVERAL) for c in PAIR_COLUMNS]
        places = [f"row {i}, column '{c}'" for c in PAIR_COLUMNS]
    elif column == CANDIDATE_COLUMN:
        places = [f"row {i}, responses[{j}]" for j in range(len(_responses_of(row, i)))]
        cells = [
            faults.attempt(i, read_text, cell, where)
            for cell, where in zip(_responses_of(row, i), places, strict=True)
        ]
    else:
        cells, places = [_cell(row, i, column, [column])], [f"row {i}, column '{column}'"]
    prompt, texts = mark_turns(prompt, cells)
    texts = [
        _checked(faults, i, text, where, is_candidate=kind == "candidates")
        for text, where in zip(texts, places, strict=True)
    ]
    return _Row(prompt, texts)


def _cell(row, i, column, names, *, hint=""):
    if column not in row:
        missing = [name for name in names if name not in row]
        raise ValueError(
            f"row {i}: column '{column}' is missing; got {columns_of(row)}.{meant(row, missing)}"
        )
    return read_text(row[column], f"row {i}, column '{column}'", hint=hint)


def _responses_of(row, i):
    responses = row.get(CANDIDATE_COLUMN)
    if isinstance(responses, np.ndarray):
        responses = responses.tolist()
    if isinstance(responses, str) and responses.lstrip()[:1] == "[":
        try:  # a table writes lists as JSON
            responses = json.loads(responses)
        except (ValueError, RecursionError):
            pass
    if not isinstance(responses, list | tuple) or not responses:
        missing = "" if CANDIDATE_COLUMN in row else meant(row, [CANDIDATE_COLUMN])
        raise ValueError(
            f"row {i}, column 'responses': expected a list of at least one text, "
            f"got {type(responses).__name__ if not responses else repr(responses)[:40]}.{missing}"
        )
    first = responses[0]
    if isinstance(first, Mapping) and first.get("role", first.get("from")) in ASKERS:
        raise ValueError(
            f"row {i}, column 'responses': the messages of one conversation stand where "
            "responses are expected; a list of responses holds a str or a list of messages each."
        )
    return responses


def _has_no_text(row):
    return "prompt" in row and not any(c in row for c in PAIR_COLUMNS) and (
        candidate_column(row) is None
    )  # fmt: skip


def _prompt_in(row):
    """Return a row's prompt as messages, with a system message that its texts begin with."""
    texts = [text for text in row.texts if text is not None]
    if row.prompt is None:
        return shared_messages(texts) if texts else ()
    before = {join(row.prompt, text) for text in texts}
    before = {whole[:n_prompt] for whole, n_prompt in before}
    return before.pop() if len(before) == 1 else as_messages(row.prompt)


def _apart(prompt, text, shared):
    """Return a text's prompt, None if it has none, and its response."""
    if prompt is None:
        return _split(text, shared)
    whole, n_prompt = join(prompt, text)
    return prompt, text if isinstance(text, str) else whole[n_prompt:]


def _split(text, shared):
    """Return what a text shares with its neighbors, None for nothing, and the rest."""
    return (shared, text[len(shared) :]) if shared else (None, text)


def _as_cell(text):
    return text if isinstance(text, str) else message_dicts(text)


# -------------------------------------------------------------------------------- warnings
def _warn_of_ties(items):
    ties = [i for i, (chosen, other) in enumerate(items) if chosen == other and chosen is not None]
    if ties:
        warn(
            f"{len(ties)} of {len(items)} rows have chosen equal to rejected (first: row "
            f"{ties[0]}). They are kept as ties, target 0.5."
        )


def _warn_of_repeated_prompts(read):
    """Say that strings begin with their prompt, where all do: one that does may well quote it."""
    n_rows = 0
    for row in read:
        prompt = row.prompt if isinstance(row.prompt, str) or not row.prompt else row.prompt[-1][1]
        if not prompt or None in row.texts:
            continue
        if not all(isinstance(t, str) and t.lstrip().startswith(prompt) for t in row.texts):
            return
        n_rows += len(prompt) >= LONG_PROMPT
    if n_rows > 1:
        warn(
            "every 'chosen' and 'rejected' begins with its prompt, which so is read twice. If they "
            "are whole texts, cut the prompt off them or leave the column 'prompt' out."
        )


def _warn_of_unread_prompt(rows, read):
    """Say that a column is not read which others call the prompt, where texts have none."""
    for row in read:
        if row.prompt is not None or any(isinstance(t, tuple) and len(t) > 1 for t in row.texts):
            return
    unread = meant(rows[0], ["prompt"]) if isinstance(rows[0], Mapping) else ""
    if unread:
        warn(f"no row has a prompt, and further columns are not read.{unread}")


# ---------------------------------------------------------------------------- nested lists
def _nested_texts(rows, faults):
    """Read nested lists of texts; a conversation is a leaf, not a level."""

    def is_leaf(value):
        return not isinstance(value, list | tuple | np.ndarray) or (
            len(value) > 0 and isinstance(value[0], Mapping)
        )

    def shape_of(value):
        return () if is_leaf(value) or not len(value) else (len(value), *shape_of(value[0]))

    items = np.full(shape_of(rows), None, dtype=object)

    def fill(value, index):
        where = "".join(f"[{i}]" for i in index)
        if len(index) == items.ndim:
            if not is_leaf(value) and not (isinstance(value, list | tuple) and not value):
                raise ValueError(f"texts{where}: nested deeper than its neighbours.")
            where = f"row {index[0]}, texts{where}"
            (text,) = mark_turns(None, [read_text(value, where)])[1]
            items[index] = _checked(faults, index[0], text, where)
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

    for i, row in enumerate(rows):
        faults.attempt(i, fill, row, (i,))
        if i in faults.rows:
            items[i] = None
    return items
