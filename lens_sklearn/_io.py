"""Files of rows: .jsonl, .jsonl.gz, .csv and .parquet, read into dicts and checked."""

import csv
import gzip
import json
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ._rows import CANDIDATE_COLUMN, as_records, columns_of, kind_of, read_texts

LIST_COLUMNS = (CANDIDATE_COLUMN, "gold")
_CSV_LOCK = threading.Lock()  # the module csv has one limit for all its readers


def load_preferences(path):
    """Read preference rows from a file.

    Parameters
    ----------
    path : str or Path
        A .jsonl, .jsonl.gz, .parquet or .csv file with the columns ``chosen``, ``rejected``
        and, optionally, ``prompt``, ``target`` and ``weight``.

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
    rows = load_rows(path)
    if kind_of(rows[0]) != "pairs":
        raise ValueError(
            f"{path}: preference rows need the columns 'chosen' and 'rejected'; "
            f"got {columns_of(rows[0])}."
        )
    with warnings.catch_warnings():  # the ties are reported once, when the rows are used
        warnings.simplefilter("ignore")
        read_texts(rows)
    try:
        pair_targets(rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return rows


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
        except (TypeError, ValueError):
            raise ValueError(f"{where}: {value!r:.40} is no number; it is {what}.") from None
        if not (0 <= values[i] <= most and values[i] < np.inf):
            raise ValueError(f"{where}: got {value!r:.40}; it is {what}.")
    return values


def load_candidates(path):
    """Read candidate rows and their gold rewards from a file.

    Parameters
    ----------
    path : str or Path
        A .jsonl, .jsonl.gz or .parquet file with the columns ``responses`` (list of texts),
        ``gold`` (list of float) and, optionally, ``prompt``. In a .csv file the two lists are
        written as JSON.

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
    rows = _load_candidate_rows(path, "'responses' and 'gold'")
    return rows, _gold_of(rows, read_texts(rows).items.shape)


def load_candidate_rows(path):
    """Read candidate rows from a file, with or without gold rewards.

    Parameters
    ----------
    path : str or Path
        As :func:`load_candidates` reads it; ``gold`` may be missing.

    Returns
    -------
    list of dict
        The rows; who uses them checks their texts.

    Raises
    ------
    ValueError
        If the file cannot be read or holds other rows.
    """
    return _load_candidate_rows(path, "'responses'")


def _load_candidate_rows(path, columns):
    rows = load_rows(path)
    if kind_of(rows[0]) != "candidates":
        raise ValueError(
            f"{path}: candidate rows need the columns {columns}; got {columns_of(rows[0])}."
        )
    return _decode_lists(rows, path)


def _gold_of(rows, shape):
    gold = np.full(shape, np.nan)  # (n_prompts, N)
    for i, row in enumerate(rows):
        values = row.get("gold")
        if values is None:
            raise ValueError(f"row {i}: column 'gold' is missing; it lists a reward a response.")
        values = np.asarray(values, dtype=float)
        if values.shape != (len(row[CANDIDATE_COLUMN]),):
            raise ValueError(
                f"row {i}: 'gold' has shape {values.shape} for "
                f"{len(row[CANDIDATE_COLUMN])} responses; one number a response is needed."
            )
        if not np.isfinite(values).all():
            j = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"row {i}: gold[{j}] is {values[j]}; gold rewards are finite.")
        gold[i, : len(values)] = values
    return gold


def load_rows(path):
    """Read the rows of a file, of whatever kind they are.

    Parameters
    ----------
    path : str or Path
        A .jsonl, .jsonl.gz, .parquet or .csv file.

    Returns
    -------
    list of dict
        At least one row. The cells of a .csv file are text, but for the lists ``responses``
        and ``gold``, which a table may hold as JSON.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file's ending is another one, it has no rows, or a line cannot be read; the
        message names it.
    ImportError
        If the file is .parquet and the extra ``tables`` is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        rows = _json_lines(path)
    elif name.endswith(".csv"):
        rows = _csv_rows(path)
        if rows and CANDIDATE_COLUMN in rows[0] and kind_of(rows[0]) == "candidates":
            rows = _decode_lists(rows, path)
    elif name.endswith(".parquet"):
        rows = _parquet_rows(path)
    else:
        raise ValueError(f"{path}: the ending must be .jsonl, .jsonl.gz, .parquet or .csv.")
    if not rows:
        raise ValueError(f"{path}: the file has no rows.")
    return rows


def _json_lines(path):
    rows = []
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error}).") from None
    return rows


def _csv_rows(path):
    """Read a table whose every cell is text: "None", "NA", "007" and "true" are answers."""
    with _CSV_LOCK, open(path, encoding="utf-8-sig", newline="") as lines:
        limit = csv.field_size_limit(path.stat().st_size + 1)  # a text may be long
        reader = csv.reader(lines, strict=True)  # else a stray quote takes what follows with it
        try:
            return _rows_below_header(reader, path)
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error}).") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 ({error}).") from None
        finally:
            csv.field_size_limit(limit)


def _rows_below_header(reader, path):
    rows, header = [], None
    for cells in reader:
        if not cells:  # an empty line
            continue
        if header is None:
            header = cells
            named = [name for name in header if name]
            twice = sorted({name for name in named if named.count(name) > 1})
            if twice:
                raise ValueError(f"{path}: there are two columns {twice[0]!r}.")
        elif len(cells) != len(header):
            raise ValueError(
                f"{path}, line {reader.line_num}: {len(cells)} cells under a header of "
                f"{len(header)}. A text with a comma, a quote or a line break stands in quotes."
            )
        else:  # a column without a name is a table program's row numbers or an empty margin
            named = zip(header, cells, strict=True)
            rows.append({name: cell for name, cell in named if name})
    return rows


def _parquet_rows(path):
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise ImportError(
            f"reading {path.name} needs pyarrow: pip install 'lens-sklearn[tables]'"
        ) from None
    try:
        with ParquetFile(path) as file:
            table = file.read()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not Parquet ({error}).") from None
    index = [name for name in table.column_names if name.startswith("__index_level_")]
    table = table.drop_columns(index)  # row numbers that pandas wrote
    return as_records(table) if len(table) else []


def _decode_lists(rows, path):
    """Read the lists of candidate rows where they are written as JSON."""
    for i, row in enumerate(rows):
        for column in LIST_COLUMNS:
            if isinstance(row, Mapping) and isinstance(row.get(column), str):
                try:
                    row[column] = json.loads(row[column])
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"{path}, row {i}, column '{column}': not a list in JSON ({error})."
                    ) from None
    return rows
