"""Rows of Arrow tables: Parquet, Feather, and folders that ``datasets`` saved."""

import json
from pathlib import Path

STATE, SPLITS = "state.json", "dataset_dict.json"


def read_parquet(path):
    """Read the rows of a Parquet file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of dict
        Its rows, without the row numbers that pandas wrote.

    Raises
    ------
    ValueError
        If it is not Parquet.
    ImportError
        If pyarrow is not installed.
    """
    pa = _pyarrow(path)
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            return _rows(file.read())
    except (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeError) as error:
        raise ValueError(f"{path}: not Parquet, or damaged ({error}).") from None


def read_arrow(path):
    """Read the rows of an Arrow file or stream.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    list of dict
        Its rows, without the row numbers that pandas wrote.

    Raises
    ------
    ValueError
        If it is neither.
    ImportError
        If pyarrow is not installed.
    """
    pa = _pyarrow(path)
    from pyarrow import ipc

    try:
        with pa.OSFile(str(path), "rb") as file:
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            reader = ipc.open_file(file) if is_file else ipc.open_stream(file)
            return _rows(reader.read_all())
    except (pa.ArrowException, OSError, MemoryError, OverflowError, UnicodeError) as error:
        raise ValueError(f"{path}: no Arrow table, or damaged ({error}).") from None


def read_folder(folder, split, tell_splits):
    """Read the rows of a folder that ``Dataset.save_to_disk`` wrote.

    Parameters
    ----------
    folder : Path
        Of a dataset, or of several by split.
    split : str or None
        Which of several.
    tell_splits : callable
        Says which there are.

    Returns
    -------
    rows : list of dict
        The rows.
    split_is_read : bool
        Whether there was a split to choose.

    Raises
    ------
    ValueError
        If it is another folder, or the split is not there.
    ImportError
        If pyarrow is not installed.
    """
    if (folder / SPLITS).is_file():
        splits = _read_json(folder / SPLITS, "splits")
        if split is None and len(splits) == 1:
            split = splits[0]
        if split is None:
            raise ValueError(f"{folder}: {tell_splits(splits)}")
        if split not in splits:
            raise ValueError(f"{folder}: there is no split {split!r}; {tell_splits(splits)}")
        return _read_dataset(folder / split), True
    if (folder / STATE).is_file():
        return _read_dataset(folder), False
    raise ValueError(
        f"{folder}: this folder is no dataset that 'save_to_disk' wrote; give a file in it."
    )


def _read_dataset(folder):
    names = [file.get("filename") for file in _read_json(folder / STATE, "_data_files")]
    rows = []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(f"{folder / STATE}: it names a file {name!r:.60} that is not its own.")
        rows += read_arrow(folder / name)
    return rows


def _read_json(path, key):
    try:
        value = json.loads(path.read_text(encoding="utf-8"))[key]
        if not isinstance(value, list):
            raise TypeError
        return value if key != "splits" else [str(name) for name in value]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        raise ValueError(f"{path}: damaged, it does not list {key!r}.") from None


def _rows(table):
    index = [name for name in table.column_names if name.startswith("__index_level_")]
    names = [name for name in table.column_names if name not in index]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"there are two columns {sorted(twice)[0]!r}")
    return table.drop_columns(index).to_pylist()  # row numbers that pandas wrote


def _pyarrow(path):
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            f"reading {path.name} needs pyarrow: pip install 'lens-sklearn[tables]'"
        ) from None
    return pyarrow
