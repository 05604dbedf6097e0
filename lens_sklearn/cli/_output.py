"""What commands share on their way out: paths looked at in time, files, tables, messages."""

import csv
import gzip
import json
import math
import os
import re
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PICTURES = (".pdf", ".png", ".svg")
RESULTS = (".jsonl", ".json", ".csv", ".tsv")
RESULTS += tuple(f"{ending}.gz" for ending in RESULTS)
#: What tells that a folder is of this package, and what a run that was stopped may leave.
OURS, LEFT = ("pipeline.json", "table.json"), (".partial",)

# Characters that move a terminal's cursor, color it or turn its text around.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


# ------------------------------------------------------------- before the work that is written
def check_folder(path, force=False):
    """Refuse a folder for ``-o`` that cannot be made or written to, or that is in use.

    Parameters
    ----------
    path : str
        The folder, there already or not.
    force : bool or None, default=False
        Whether what this package wrote there is overwritten; None does not look.

    Raises
    ------
    OSError
        If a file stands in its way, the place is read-only, or the folder holds something.
    ValueError
        If the name is empty.
    """
    if not str(path).strip():
        raise ValueError("-o: the name of the folder is empty.")
    path = Path(path)
    place = next(place for place in (path, *path.parents) if os.path.exists(place))
    if not place.is_dir():
        raise NotADirectoryError(f"-o {path}: {place} is a file; give a folder.")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"-o {path}: the folder {place} is read-only.")
    if force is None or not path.is_dir():
        return
    inside = [p.name for p in path.iterdir() if not p.name.endswith(LEFT)]
    inside = [name for name in inside if name != "embeddings"]  # what --store may have put there
    if not inside:
        return
    if not any(name in inside for name in OURS):
        raise FileExistsError(
            f"-o {path}: the folder holds something else ({min(inside)!r:.60}); give a new one."
        )
    if not force:
        raise FileExistsError(f"-o {path}: a model is there; --force overwrites it.")


def check_file(flag, path, source, force=False, endings=None):
    """Refuse a file that cannot be written, that is there, or that is being read.

    Parameters
    ----------
    flag : str
        The option that names it.
    path : str or None
        The file; None, no such option, is never refused.
    source : str
        The file that the command reads.
    force : bool, default=False
        Whether a file that is there is overwritten.
    endings : sequence of str, default=None
        Endings that can be written; None is any.

    Raises
    ------
    OSError
        If it is a folder or is there, its folder is not there or the place is read-only.
    ValueError
        If it is `source`, or its name is empty or ends otherwise.
    """
    if path is None:
        return
    if not str(path).strip():
        raise ValueError(f"{flag}: the name of the file is empty.")
    name, path = str(path), Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{flag} {path}: this is a folder; give a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{flag} {path}: there is no folder {path.parent}; make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{flag} {path}: the file or its folder is read-only.")
    if path.exists() and os.path.exists(source) and path.samefile(source):
        raise ValueError(f"{flag} {path}: this file is being read; give another.")
    if path.exists() and not path.is_file():  # a device, such as /dev/null
        return
    if endings is not None and not name.lower().endswith(endings):
        raise ValueError(f"{flag} {path}: the ending must be one of {', '.join(endings)}.")
    if path.exists() and not force:
        raise FileExistsError(f"{flag} {path}: the file is there; --force overwrites it.")


def check_picture(flag, path):
    """Refuse a picture of another kind.

    Parameters
    ----------
    flag : str
        The option that names it.
    path : str
        The picture.

    Raises
    ------
    ValueError
        If its ending is of no picture that is drawn.
    """
    if Path(path).suffix.lower() not in PICTURES:
        raise ValueError(f"{flag} {path}: the ending must be one of {', '.join(PICTURES)}.")


def check_matplotlib(what):
    """Refuse to begin what ends in a picture where none can be drawn.

    Parameters
    ----------
    what : str
        The option or command that draws.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise ImportError(f"{what} needs matplotlib: pip install 'lens-sklearn[plot]'.")


# --------------------------------------------------------------------------------------- writing
def printable(text):
    """Write characters that a terminal obeys as escapes.

    Parameters
    ----------
    text : str
        With names that others chose.

    Returns
    -------
    str
        Line breaks and tabs stay.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def say(text):
    """Print to standard error: standard output is for results."""
    print(printable(text), file=sys.stderr, flush=True)


def print_table(header, rows):
    """Print a table of text cells."""
    from .._demo import markdown_table

    print(printable(markdown_table(header, rows)))


def print_wide_table(header, rows, width):
    """Print a table as several that are not wider than a terminal.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list of str
        Cells. The first column stands in each table.
    width : int
        Characters of a line.
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    parts, used = [[0]], widths[0] + 4
    for i in range(1, len(header)):
        if used + widths[i] + 3 > width and len(parts[-1]) > 1:
            parts.append([0])
            used = widths[0] + 4
        parts[-1].append(i)
        used += widths[i] + 3
    for number, part in enumerate(parts):
        if number:
            print()
        print_table([header[i] for i in part], [[row[i] for i in part] for row in rows])


def to_json(value):
    """Write a value as JSON that reads well and that every reader takes.

    Parameters
    ----------
    value : object
        What is not finite becomes null, what JSON has no type for its text.

    Returns
    -------
    str
        One line; characters that a terminal obeys, and halves of characters, are escaped.
    """
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=str)
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _finite(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


@contextmanager
def replacing(path):
    """Open a file that takes the place of `path` once it is whole.

    Parameters
    ----------
    path : str or Path
        The file. A device is written to as it is.

    Yields
    ------
    io.TextIOWrapper
        To write to, in UTF-8.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with open(path, "w", encoding="utf-8", newline="") as file:
            yield file
        return
    path = path.resolve()  # a link stays one
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    try:
        with opener(partial, "wt", encoding="utf-8", newline="") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_rows(path, rows):
    """Write rows to a file in the format of its ending, or as lines to standard output.

    Parameters
    ----------
    path : str or None
        One of ``RESULTS``; None is standard output.
    rows : iterable of dict
        The rows.
    """
    if path is None:
        for row in rows:
            print(to_json(row))
        return
    name = path.lower().removesuffix(".gz")
    with replacing(path) as file:
        if name.endswith((".csv", ".tsv")):
            _write_table(file, list(rows), "\t" if name.endswith(".tsv") else ",")
        elif name.endswith(".json"):
            file.write("[" + ",\n ".join(map(to_json, rows)) + "]\n")
        else:
            file.writelines(f"{to_json(row)}\n" for row in rows)


def _write_table(file, rows, delimiter):
    """Write a table; texts stand as they are, everything else as JSON."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        cells = [row.get(name) for name in names]
        writer.writerow([_cell(cell) for cell in cells])


def _cell(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return "" if value is None else to_json(value)


def write_json(path, content):
    """Write what is JSON already to a file."""
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2) + "\n")


def write_config(arguments, folder, **more):
    """Write beside a model how it came about: settings, `more`, and versions."""
    from ..export import versions

    content = {"settings": settings_of(arguments), **more, "versions": versions()}
    write_json(Path(folder) / "config.json", content)


def settings_of(arguments):
    """Return the settings of a command, without what does not change its results."""
    return {k: v for k, v in vars(arguments).items() if k not in ("run", "debug", "force")}
