"""Files of rows, in text or as tables, read into dicts and checked."""

import difflib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ._arrow_rows import read_arrow, read_folder, read_parquet
from ._csv_table import read_table
from ._json_rows import read_json, tell_splits
from ._printed_lists import read_list
from ._records import (
    CANDIDATE_COLUMN,
    PAIR_COLUMNS,
    as_records,
    columns_of,
    kind_of,
    meant,
    near_columns,
)
from ._rows import read_texts
from ._text_lines import STDIN, TextLines, open_stream
from ._warnings import warn

LIST_COLUMNS = (CANDIDATE_COLUMN, "gold")
#: What is told by its first bytes may be named otherwise; these are told by nothing else.
TEXT_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
PACKED_ENDINGS = (".gz", ".bz2", ".xz")
ENDINGS = (
    "the ending must be .jsonl, .json, .csv, .tsv, each also with .gz, or .parquet; or give a "
    "folder that 'save_to_disk' wrote"
)
TEXT_COLUMNS = ("prompt", "chosen", "rejected", CANDIDATE_COLUMN, "response", "completion",
                "messages", "conversations", "conversation", "text")  # fmt: skip


def load_rows(path, *, split=None, columns=None):
    """Read the rows of a file, of whatever kind they are.

    Parameters
    ----------
    path : str or Path
        A .jsonl, .json, .csv or .tsv file, as it is or packed (.gz, .bz2, .xz); a .parquet,
        .arrow or .feather file; a folder that ``Dataset.save_to_disk`` wrote; or ``-``,
        standard input. ``path:split`` names one of several splits.
    split : str, default=None
        Which split, where there are several.
    columns : dict of str to str, default=None
        What the file calls ``prompt``, ``chosen``, ``rejected`` and so on; None and what is
        left out have the same name there.

    Returns
    -------
    list of dict
        At least one row. The cells of a .csv file are text, but for the lists ``responses``
        and ``gold`` and for conversations that Python printed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If it cannot be read.
    ValueError
        If the file's ending is another one, it has no rows, or a line cannot be read; the
        message names it.
    ImportError
        If it is an Arrow table and the extra ``tables`` is not installed.
    """
    columns = {role: name for role, name in (columns or {}).items() if name is not None}
    path, split = _find(path, split)
    rows, has_splits = _read(path, split, {*TEXT_COLUMNS, *columns.values()})
    if split is not None and not has_splits:
        raise ValueError(f"{path}: there are no splits in it to choose {split!r} from.")
    if not rows:
        what = (
            "standard input has no rows, or was read before"
            if str(path) in STDIN
            else ("the file has no rows")
        )
        raise ValueError(f"{path}: {what}.")
    if columns:
        rows = _rename(rows, columns, path)
    if any(isinstance(rows[0].get(name), str) for name in LIST_COLUMNS) and _is_candidates(rows):
        rows = _decode_lists(rows, path)
    return rows


def split_path(path):
    """Take a path apart that names a split, as ``folder:train``.

    Parameters
    ----------
    path : str
        Of a file or folder, or with the name of a split behind a colon.

    Returns
    -------
    path : str
        As it is where there is such a file or folder.
    split : str or None
        The split's name.
    """
    before, _, after = path.rpartition(":")
    if after and os.path.exists(before) and not os.path.exists(path):
        return before, after
    return path, None


def _find(path, split):
    """Return the path, and the split that stands behind it."""
    name = os.fspath(path)
    if name in STDIN:
        return name, split
    if not name:
        raise FileNotFoundError("the name of a file is empty.")
    if split is None:
        name, split = split_path(name)
    if not os.path.exists(name):
        hint = " Download it first, and give the file." if "://" in name else ""
        raise FileNotFoundError(f"{name}: no such file or folder.{hint}")
    return Path(name), split


def _read(path, split, known):
    """Return the rows of a file, and whether it has splits."""
    name = str(path).lower()
    if str(path) not in STDIN and path.is_dir():
        return read_folder(path, split, tell_splits)
    with open_stream(path) as stream:
        first = stream.peek(4096)
        text = first.lstrip()
        is_named = name.removesuffix(_packing(name)).endswith(TEXT_ENDINGS) or name in STDIN
        if first.startswith(b"PAR1"):
            return read_parquet(_a_file(path)), False
        if first.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
            return read_arrow(_a_file(path)), False
        if first.startswith(b"\x93NUMPY"):
            raise ValueError(f"{path}: has embeddings, not rows of text.")
        if name.endswith(".parquet"):
            raise ValueError(f"{path}: not Parquet.")
        lines = TextLines(stream, str(path))
        if text.startswith((b"{", b"[")) or ".json" in name or ".ndjson" in name:
            return read_json(lines, known, split)
        if not is_named:
            raise ValueError(f"{path}: {ENDINGS}.")
        default = "\t" if ".tsv" in name else ","
        return read_table(lines, known, default), False


def _packing(name):
    return next((ending for ending in PACKED_ENDINGS if name.endswith(ending)), "")


def _a_file(path):
    if str(path) in STDIN:
        raise ValueError(f"{path}: an Arrow table is read from a file, not from standard input.")
    return path


def _rename(rows, columns, path):
    """Return rows whose columns have the names that they are read by."""
    if len(set(columns.values())) < len(columns):
        raise ValueError(f"{path}: one column cannot be read as two: {columns}.")
    renamed, taken = [], {*columns, *columns.values()}
    for i, row in enumerate(rows):
        for role, name in columns.items():
            if name not in row:
                near = difflib.get_close_matches(name, map(str, row), n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"{path}, row {i}: there is no column {name!r}, which is to be read as "
                    f"{role!r}; got {columns_of(row)}.{hint}"
                )
        own = {role: row[name] for role, name in columns.items()}
        renamed.append(own | {name: cell for name, cell in row.items() if name not in taken})
    return renamed


def _is_candidates(rows):
    try:
        return kind_of(rows[0]) == "candidates"
    except ValueError:
        return False


def _decode_lists(rows, path):
    """Read the lists of candidate rows where they are written as text."""
    for i, row in enumerate(rows):
        for column in LIST_COLUMNS:
            cell = row.get(column)
            if isinstance(cell, str):
                try:
                    row[column] = _number(cell) if column == "gold" else read_list(cell)
                except ValueError as error:
                    raise ValueError(f"{path}, row {i}, column '{column}': {error}.") from None
    return rows


def _number(cell):
    """Return the gold of one response, or of a list of them."""
    try:
        return float(cell)
    except ValueError:
        return read_list(cell)


# -------------------------------------------------------------------------------- what is needed
def _kind(rows, path, needed):
    """Return what rows there are; an error tells how other columns are named."""
    try:
        kind = kind_of(rows[0])
        missing = [name for name in PAIR_COLUMNS if name in needed and name not in rows[0]]
        if kind != "pairs" or not missing:
            return kind
        raise ValueError(
            f"there is no column {' and '.join(map(repr, missing))}; got {columns_of(rows[0])}."
            f"{meant(rows[0], missing)}"
        )
    except ValueError as error:
        names = PAIR_COLUMNS if needed else (CANDIDATE_COLUMN,)
        near = near_columns(rows[0], names) if isinstance(rows[0], dict) else {}
        named = near or {name: "NAME" for name in names}
        options = " ".join(f"--{name}-column {column}" for name, column in named.items())
        raise ValueError(
            f"{path}: {error} Or name the columns: {options}, in Python columns={named}."
        ) from None


def _tell_unread(row, path, names):
    """Warn of columns that look like one which would be read."""
    lower = {str(name).strip().lower(): name for name in reversed(list(row))}
    for name in names:
        near = [] if name in row else difflib.get_close_matches(name, lower, n=1, cutoff=0.8)
        if near and lower[near[0]] not in TEXT_COLUMNS:
            warn(
                f"{path}: the column {lower[near[0]]!r} is not read; if it is the {name}, call it "
                f"{name!r}."
            )


def load_preferences(path, *, split=None, columns=None, on_invalid="raise"):
    """Read preference rows from a file.

    Parameters
    ----------
    path : str or Path
        A .jsonl, .json, .csv or .tsv file, as it is or packed (.gz, .bz2, .xz), a .parquet file
        or a folder that ``Dataset.save_to_disk`` wrote, with the columns ``chosen``,
        ``rejected`` and, optionally, ``prompt``, ``target`` and ``weight``; ``-`` is standard
        input.
    split : str, default=None
        Which split, where there are several; ``path:split`` says the same.
    columns : dict of str to str, default=None
        What the file calls ``prompt``, ``chosen`` and ``rejected``, where it has other names.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        What becomes of rows with an empty text: "raise" refuses them, "drop" leaves them out
        with a warning that counts them, "keep" keeps them.

    Returns
    -------
    list of dict
        The rows, checked; further columns are kept. Every cell of a .csv file is text.

    Raises
    ------
    ValueError
        If the file's ending is another one, a line cannot be read, or a row is malformed:
        ``target`` is a probability and ``weight`` a number of at least 0.
    ImportError
        If the file is .parquet and the extra ``tables`` is not installed.

    See Also
    --------
    pair_targets : The numbers of ``target`` and ``weight``.
    """
    return load_numbered(path, split=split, columns=columns, on_invalid=on_invalid)[0]


def load_numbered(path, *, split=None, columns=None, on_invalid="raise"):
    """Read preference rows from a file, with their places in it.

    Parameters
    ----------
    path, split, columns, on_invalid
        As :func:`load_preferences` takes them.

    Returns
    -------
    rows : list of dict
        The rows, checked.
    numbers : ndarray of int, shape (n,)
        Which rows of the file they are, some of which may be left out.

    Raises
    ------
    ValueError
        As :func:`load_preferences`.
    """
    rows = load_rows(path, split=split, columns=columns)
    if _kind(rows, path, PAIR_COLUMNS) != "pairs":
        raise ValueError(
            f"{path}: preference rows need the columns 'chosen' and 'rejected'; "
            f"got {columns_of(rows[0])}."
        )
    _tell_unread(rows[0], path, ("target", "weight"))
    try:
        pair_targets(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    numbers = np.setdiff1d(np.arange(len(rows)), check_texts(rows, path, on_invalid).dropped)
    if not len(numbers):
        raise ValueError(f"{path}: every row has an empty or malformed text; none is left.")
    return [rows[i] for i in numbers], numbers


def check_texts(rows, path, on_invalid):
    """Read the texts of a file's rows, before anything is done with them.

    Parameters
    ----------
    rows : list of dict
        The rows.
    path : str or Path
        Their file, for messages.
    on_invalid : {"raise", "drop", "keep"}
        As in :func:`~lens_sklearn._rows.read_texts`.

    Returns
    -------
    TextTable
        The texts; ties and the like are told when they are used.

    Raises
    ------
    ValueError
        If a text is malformed; the message names the file and the row.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = read_texts(rows, on_invalid)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if table.dropped:
        warn(
            f"{path}: {len(table.dropped)} of {len(rows)} rows are left out, because a text is "
            f"empty or malformed (first: row {table.dropped[0]})."
        )
    return table


def pair_targets(X):
    """Read the targets and weights that preference rows bring along.

    Parameters
    ----------
    X : rows of text
        Preference rows. Their column ``target`` is the probability that ``chosen`` wins, as
        where several people judged a pair, and ``weight`` how much a pair counts; numbers may
        be written as text, as in a .csv file.

    Returns
    -------
    target : ndarray of float64, shape (n,), or None
        What `fit` takes as `y`; None without such a column.
    weight : ndarray of float64, shape (n,), or None
        What `fit` takes as `sample_weight`; None without such a column.

    Raises
    ------
    ValueError
        If only some rows have a value, one is no number, a target is outside [0, 1], or a
        weight is negative or not finite; the message names the row.

    See Also
    --------
    pairs_from_ratings : Makes such rows of rated responses.

    Examples
    --------
    >>> from lens_sklearn import pair_targets
    >>> pair_targets([{"chosen": "4.", "rejected": "5.", "target": 0.9}])
    (array([0.9]), None)
    """
    rows = as_records(X)
    if kind_of(rows[0]) != "pairs":
        raise ValueError(
            "expected preference rows with the columns 'chosen' and 'rejected'; "
            f"got {columns_of(rows[0])}."
        )
    target = _numbers(rows, "target", 1, "the probability that 'chosen' wins, in [0, 1]")
    return target, _numbers(rows, "weight", np.inf, "a finite weight of at least 0")


def _numbers(rows, column, most, what):
    """Return a column (n,) of numbers from 0 to `most`, or None if no row has it."""
    found = [row.get(column) if isinstance(row, Mapping) else None for row in rows]
    if all(value is None for value in found):
        return None
    values = np.empty(len(rows))
    for i, value in enumerate(found):
        where = f"row {i}, column '{column}'"
        if value is None:
            other = next(j for j, present in enumerate(found) if present is not None)
            raise ValueError(f"{where}: is missing, and row {other} has one; all rows need it.")
        try:
            values[i] = float(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{where}: {value!r:.40} is no number; it is {what}.") from None
        if not (0 <= values[i] <= most and values[i] < np.inf):
            raise ValueError(f"{where}: got {value!r:.40}; it is {what}.")
    return values


def load_candidates(path, *, split=None, columns=None, on_invalid="raise"):
    """Read candidate rows and their gold rewards from a file.

    Parameters
    ----------
    path : str or Path
        As :func:`load_preferences` reads it, with the columns ``responses`` (list of texts),
        ``gold`` (list of float) and, optionally, ``prompt``. In a .csv file the two lists are
        written as JSON.
    split : str, default=None
        Which split, where there are several.
    columns : dict of str to str, default=None
        What the file calls ``prompt``, ``responses`` and ``gold``, where it has other names.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        What becomes of rows with an empty text.

    Returns
    -------
    rows : list of dict
        The rows, checked.
    gold : ndarray of float64, shape (n_prompts, N)
        The gold rewards; rows with fewer than N responses are padded with NaN.

    Raises
    ------
    ValueError
        If a row has no ``gold``, or another number of gold rewards than of responses, or a
        gold reward that is not finite.
    ImportError
        If the file is .parquet and the extra ``tables`` is not installed.
    """
    rows = load_candidate_rows(path, split=split, columns=columns, needed="'responses' and 'gold'")
    shape = check_texts(rows, path, on_invalid).items.shape
    try:
        return rows, _gold_of(rows, shape)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_candidate_rows(path, *, split=None, columns=None, needed="'responses'"):
    """Read candidate rows from a file, with or without gold rewards.

    Parameters
    ----------
    path : str or Path
        As :func:`load_candidates` reads it; ``gold`` may be missing.
    split : str, default=None
        Which split, where there are several.
    columns : dict of str to str, default=None
        What the file calls its columns, where it has other names.
    needed : str, default="'responses'"
        The columns that an error asks for.

    Returns
    -------
    list of dict
        The rows; who uses them checks their texts.

    Raises
    ------
    ValueError
        If the file cannot be read or holds other rows.
    """
    rows = load_rows(path, split=split, columns=columns)
    if _kind(rows, path, ()) != "candidates":
        raise ValueError(
            f"{path}: candidate rows need the columns {needed}; got {columns_of(rows[0])}."
        )
    _tell_unread(rows[0], path, ("gold",))
    return _decode_lists(rows, path)


def _gold_of(rows, shape):
    gold = np.full(shape, np.nan)  # (n_prompts, N)
    for i, row in enumerate(rows):
        values = row.get("gold")
        if values is None:
            raise ValueError(
                f"row {i}: column 'gold' is missing, which lists the gold reward of each response; "
                f"got {columns_of(row)}.{meant(row, ('gold',))}"
            )
        if CANDIDATE_COLUMN not in row and not isinstance(values, list | tuple | np.ndarray):
            values = [values]  # of the one response
        try:
            values = np.asarray(values, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"row {i}: 'gold' is {values!r:.60}; expected a list of numbers, one a response."
            ) from None
        n = len(row.get(CANDIDATE_COLUMN, [None]))
        if values.shape != (n,):
            raise ValueError(
                f"row {i}: 'gold' has shape {values.shape} for {n} responses; one number a "
                "response is needed."
            )
        if not np.isfinite(values).all():
            j = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"row {i}: gold[{j}] is {values[j]}; gold rewards are finite.")
        gold[i, :n] = values
    return gold
