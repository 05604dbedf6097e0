"""Rows in JSON: a row a line, an array of rows, or an object of columns or of splits."""

import json
from collections.abc import Mapping

from ._text_lines import MOST_BYTES

MOST_DEPTH = 100  # lists and objects within each other
MOST_DOCUMENT = 512 << 20  # characters of a file that is one object
_CHUNK = 1 << 20


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(f"the key {twice!r:.40} stands twice in one object")
    return found


class _Twice(ValueError):
    """A key that stands twice, of which JSON's readers keep the last."""


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def read_json(lines, known, split=None):
    """Read rows in any of JSON's ways.

    Parameters
    ----------
    lines : TextLines
        The file's, not yet read.
    known : set of str
        Columns that tell a row.
    split : str, default=None
        Which split, of a file that holds several.

    Returns
    -------
    rows : list
        The rows, checked to be objects.
    split_is_read : bool
        Whether there was a split to choose.

    Raises
    ------
    ValueError
        If it is not JSON, or not of rows; the message names the line.
    """
    mark = lines.peek()
    if mark == b"[":
        return list(_Document(lines, "", MOST_BYTES).entries()), False
    if mark == b"{" and ".jsonl" not in lines.name.lower() and lines.next_is_long():
        rows = list(_Document(lines, "", MOST_DOCUMENT).values())
        return (
            _rows_of_object(rows[0], lines.name, known, split) if len(rows) == 1 else (rows, False)
        )
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        return [], False
    if first.lstrip()[0] == "[":
        return list(_Document(lines, first, MOST_BYTES).entries()), False
    try:
        value = _decode(first.strip())
    except json.JSONDecodeError as error:
        if not _is_cut_off(error, first.strip()):
            raise ValueError(f"{lines.where()}: not JSON ({_hint(error, first)}).") from None
        rows = list(_Document(lines, first, MOST_DOCUMENT).values())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{lines.where()}: {_why(error)}.") from None
    else:
        rows = [_object(value, lines.where())]
        rows += _rest_of_lines(lines)
    return _rows_of_document(rows, lines.name, known, split)


def _rows_of_document(rows, name, known, split):
    return _rows_of_object(rows[0], name, known, split) if len(rows) == 1 else (rows, False)


def _rest_of_lines(lines):
    for line in lines:
        if line.strip():
            try:
                value = _decode(line.strip())
            except json.JSONDecodeError as error:
                raise ValueError(f"{lines.where()}: not JSON ({_hint(error, line)}).") from None
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{lines.where()}: {_why(error)}.") from None
            yield _object(value, lines.where())


def _decode(text):
    value, end = _DECODER.raw_decode(text)
    if end < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    _check_depth(value, text)
    return value


def _check_depth(value, text):
    """Refuse what would end in a RecursionError somewhere later."""
    if text.count("[") + text.count("{") <= MOST_DEPTH:
        return
    level = [value]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _object(value, where):
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{where}: expected an object with columns, such as "
            f'{{"prompt": …, "chosen": …, "rejected": …}}; got {_name(value)}.'
        )
    return value


def _name(value):
    """Name a value's type as JSON does."""
    if value is None:
        return "null"
    names = {str: "a string", list: "an array", bool: "a boolean"}
    return names.get(type(value), "a number")


def _is_cut_off(error, text):
    """Whether a line ends within a value, as where one object takes several lines."""
    return error.msg.startswith("Expecting") and error.pos >= len(text)


def _hint(error, text):
    hint = f"{error.msg} at character {error.colno}"
    if text.lstrip().startswith(("{'", "[{'")):
        hint += "; this is what Python prints, json.dumps writes JSON"
    return hint


def _why(error):
    if isinstance(error, RecursionError):
        return f"lists and objects stand more than {MOST_DEPTH} deep within each other"
    if isinstance(error, _Twice | UnicodeError):
        return str(error)
    return "a whole number has too many digits to be read"


class _Document:
    """JSON that is read piece by piece, whatever its lines are."""

    def __init__(self, lines, text, most):
        self.lines, self.most = lines, most
        self.buffer, self.at = text, 0
        self.line = max(lines.number, 1)  # that the buffer begins on
        self.is_whole = False

    def entries(self):
        """Yield the objects of an array."""
        self._skip()
        start, self.at = self._where(self.at), self.at + 1
        mark = self._skip()
        while mark != "]":
            yield self._value()
            mark = self._skip()
            if mark == ",":
                self.at += 1
                mark = self._skip()
                if mark == "]":
                    raise ValueError(f"{self._where(self.at)}: not JSON (a comma before the ]).")
            elif mark != "]" and mark:
                raise ValueError(f"{self._where(self.at)}: not JSON (a comma or ] is missing).")
            if not mark:
                raise ValueError(f"{start}: the array that begins here is not closed.")
        self.at += 1
        if self._skip():
            raise ValueError(f"{self._where(self.at)}: something follows the array of rows.")

    def values(self):
        """Yield objects that follow each other."""
        while self._skip():
            yield self._value()
            self.most = MOST_BYTES

    def _skip(self):
        """Skip white space; return what comes next, an empty text at the end."""
        while True:
            while self.at < len(self.buffer) and self.buffer[self.at] in " \t\r\n":
                self.at += 1
            if self.at < len(self.buffer):
                return self.buffer[self.at]
            if not self._more():
                return ""

    def _more(self):
        """Read on; forget what is behind."""
        if self.is_whole:
            return False
        self.line += self.buffer.count("\n", 0, self.at)
        self.buffer, self.at = self.buffer[self.at :], 0
        if len(self.buffer) > self.most:
            raise ValueError(
                f"{self._where(0)}: a row of more than {self.most >> 20} MiB begins here; write a "
                "row a line."
            )
        size = max(_CHUNK, len(self.buffer))  # so that a long value is not read many times
        piece = self.lines.read(size, self.line + self.buffer.count("\n"))
        self.is_whole = not piece
        self.buffer += piece
        return bool(piece)

    def _where(self, at):
        return self.lines.where(self.line + self.buffer.count("\n", 0, at))

    def _value(self):
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.at)
                _check_depth(value, self.buffer[self.at : end])
            except json.JSONDecodeError as error:
                # What is wrong stands where it stops, unless the piece stops there.
                is_wrong = "Unterminated" not in error.msg and error.pos < len(self.buffer) - 20
                if is_wrong or not self._more():
                    raise ValueError(f"{self._where(error.pos)}: not JSON ({error.msg}).") from None
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{self._where(self.at)}: {_why(error)}.") from None
            else:
                if not isinstance(value, Mapping):
                    _object(value, self._where(self.at))
                self.at = end
                return value


# --------------------------------------------------------------------------- one object, many rows
def _rows_of_object(value, name, known, split):
    """Return the rows that one object holds: itself, its columns, or a split."""
    if known & set(value):
        return _from_columns(value, name, known), False
    if {"columns", "data"} <= set(value) and _is_list_of(value["data"], list):
        columns = value["columns"]
        return [dict(zip(columns, cells, strict=False)) for cells in value["data"]], False
    splits = {key: part for key, part in value.items() if _holds_rows(part, known)}
    if (
        splits
        and len(splits) == len(value)
        and all(isinstance(part, Mapping) for part in splits.values())
    ):
        first = next(iter(splits.values()))
        if _from_columns(first, name, known)[0] is first:  # rows by their numbers
            return list(splits.values()), False
    if not splits:
        return [value], False
    if split is None and len(splits) > 1:
        raise ValueError(f"{name}: {tell_splits(splits)}")
    key = next(iter(splits)) if split is None else split
    if key not in splits:
        raise ValueError(f"{name}: there is no split {split!r}; {tell_splits(splits)}")
    part = splits[key]
    return (_from_columns(part, name, known) if isinstance(part, Mapping) else part), True


def tell_splits(names):
    """Say which splits there are, and how one is named.

    Parameters
    ----------
    names : iterable of str
        The splits.

    Returns
    -------
    str
        A sentence.
    """
    *_, last = names = list(names)
    return (
        f"it has the splits {', '.join(map(str, names))}; name one of them, as --split {last} or "
        f"split={last!r}."
    )


def _is_list_of(value, kind):
    return isinstance(value, list) and bool(value) and all(isinstance(v, kind) for v in value)


def _holds_rows(value, known):
    if isinstance(value, Mapping):
        return bool(known & set(value))
    return _is_list_of(value, dict) and bool(known & set(value[0]))


def _is_message(value):
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def _is_column(name, value):
    """Whether a value lists what many rows have under this name."""
    if isinstance(value, Mapping):  # by row numbers, as pandas writes it
        return not _is_message(value)
    if not isinstance(value, list) or not value or _is_message(value[0]):
        return False
    if name == "responses":  # a row has texts, or lists of messages
        return isinstance(value[0], list) and not (value[0] and _is_message(value[0][0]))
    return True


def _from_columns(value, name, known):
    """Return the rows of an object of columns; one of a single row is that row."""
    row, columns = value, {key: column for key, column in value.items() if key in known}
    if not all(_is_column(key, column) for key, column in columns.items()):
        return [row]
    value = {key: column for key, column in value.items() if isinstance(column, list | dict)}
    sizes = {key: len(column) for key, column in value.items()}
    if len(set(sizes.values())) > 1:
        if "prompt" not in value:  # a row may list several chosen and rejected responses
            return [row]
        told = ", ".join(f"{key} {size}" for key, size in sizes.items())
        raise ValueError(f"{name}: columns of different lengths: {told}.")
    lists = {k: list(v.values()) if isinstance(v, Mapping) else v for k, v in value.items()}
    return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
