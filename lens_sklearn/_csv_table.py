"""Tables in text, .csv and .tsv, whose every cell is text: "None", "NA", "007" are answers."""

import csv
import threading
from itertools import chain

from ._printed_lists import read_messages
from ._text_lines import MOST_BYTES

DELIMITERS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a bar"}
_LOCK = threading.Lock()  # the module csv has one limit for all its readers


def read_table(lines, known, default=","):
    """Read rows below a header.

    Parameters
    ----------
    lines : TextLines
        The file's.
    known : set of str
        Columns that tell which delimiter the header has.
    default : str, default=","
        The delimiter of a header that does not tell.

    Returns
    -------
    list of dict
        All cells are text but conversations that Python printed, which are read.

    Raises
    ------
    ValueError
        If the header has a column twice, a row has more or fewer cells than the header, a cell
        stands under no name, or a quote is not closed; the message names the line.
    """
    with _LOCK:
        limit = csv.field_size_limit(MOST_BYTES)
        try:
            return _rows(lines, known, default)
        finally:
            csv.field_size_limit(limit)


def _rows(lines, known, default):
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return []
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's first line
        default, known = first[4], ()
        first = next(lines, "")
    delimiter = _delimiter(first, known, default)
    padded = any(name != name.lstrip() for name in _cells(first, delimiter)[1:])
    reader = csv.reader(
        chain([first], lines), delimiter=delimiter, strict=True, skipinitialspace=padded
    )  # strict: else a stray quote takes what follows with it
    rows, header, start = [], None, lines.number
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            where = lines.where(start)
            more = f" to {lines.number}" if lines.number > start else ""
            advice = "A quote within a quoted text is written twice."
            if "new-line" in str(error):
                error = "a carriage return within a line"
                advice = "A text with a line break stands in quotes."
            raise ValueError(f"{where}{more}: not CSV ({error}). {advice}") from None
        if cells is None:
            return rows
        if header is None and cells:
            header = _header(cells, lines)
        elif any(cells):  # a table program leaves rows of empty cells at the end
            rows.append(_row(header, cells, lines, start, delimiter))
        start = lines.number + 1


def _cells(line, delimiter):
    """Return the cells of a line, none where it is malformed, which is told when it is read."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _delimiter(header, known, default):
    """Return the delimiter under which the header has most known columns, or most columns."""

    def columns(delimiter):
        cells = _cells(header, delimiter)
        return sum(cell.strip().lower() in known for cell in cells), len(cells)

    if not known:
        return default
    n_columns = {delimiter: columns(delimiter) for delimiter in DELIMITERS}

    def likely(delimiter):
        n_known, n_cells = n_columns[delimiter]
        return n_known, n_cells > 1 and delimiter == default, n_cells, delimiter == default

    return max(DELIMITERS, key=likely)


def _header(cells, lines):
    header = [name.strip() for name in cells]
    named = [name for name in header if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise ValueError(f"{lines.where()}: there are two columns {twice[0]!r}.")
    return header


def _row(header, cells, lines, start, delimiter):
    where = lines.where(start)
    quotes = f"A text with {DELIMITERS.get(delimiter, 'a delimiter')}, a quote or a line break"
    if len(cells) != len(header):
        raise ValueError(
            f"{where}: {len(cells)} cells under a header of {len(header)}. {quotes} stands in "
            "quotes."
        )
    row, begun = {}, False
    for name, cell in zip(header, cells, strict=True):
        if name:
            begun = True
            try:
                row[name] = read_messages(cell)
            except ValueError as error:
                raise ValueError(f"{where}, column '{name}': {error}.") from None
        elif begun and cell.strip():  # before the others stand the row numbers of pandas
            raise ValueError(
                f"{where}: the cell {cell!r:.40} stands under no name. {quotes} stands in quotes; "
                "or give the column a name."
            )
    return row
