"""What commands share on their way out: paths looked at in time, files, tables, messages."""

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

PICTURES = (".pdf", ".png", ".svg")


# ------------------------------------------------------------- before the work that is written
def check_folder(path):
    """Refuse a folder for ``-o`` that cannot be made or written to.

    Parameters
    ----------
    path : str or Path
        The folder, there already or not.

    Raises
    ------
    OSError
        If a file stands in its way, or the place is read-only.
    """
    path = Path(path)
    place = next(place for place in (path, *path.parents) if place.exists())
    if not place.is_dir():
        raise NotADirectoryError(f"-o {path}: {place} is a file; give a folder.")
    if not os.access(place, os.W_OK):
        raise PermissionError(f"-o {path}: the folder {place} is read-only.")


def check_file(flag, path, source):
    """Refuse a file that cannot be written, or that is being read.

    Parameters
    ----------
    flag : str
        The option that names it.
    path : str or None
        The file; None, no such option, is never refused.
    source : str
        The file that the command reads.

    Raises
    ------
    OSError
        If it is a folder, its folder is not there or the place is read-only.
    ValueError
        If it is `source`.
    """
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{flag} {path}: this is a folder; give a file.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{flag} {path}: there is no folder {path.parent}; make it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{flag} {path}: the file or its folder is read-only.")
    if path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"{flag} {path}: this file is being read; give another.")


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
def say(text):
    """Print to standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def print_table(header, rows):
    """Print a table of text cells."""
    from .._demo import markdown_table

    print(markdown_table(header, rows))


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


def write_lines(path, lines):
    """Write lines to a file, or to standard output if `path` is None."""
    if path is None:
        for line in lines:
            print(line)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def write_json(path, content):
    """Write what is JSON already to a file."""
    Path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_config(arguments, folder, **more):
    """Write beside a model how it came about: settings, `more`, and versions."""
    from ..export import versions

    settings = {k: v for k, v in vars(arguments).items() if k not in ("run", "debug")}
    content = {"settings": settings, **more, "versions": versions()}
    write_json(Path(folder) / "config.json", content)
