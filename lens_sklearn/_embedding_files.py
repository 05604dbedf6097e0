"""Files of embeddings, .npy and .npz: pairs, or candidates and their gold rewards."""

import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

ENDINGS = (".npy", ".npz")
_PAIRS = {"target": 1, "weight": 1, "groups": 1}
_CANDIDATES = {"gold": 2}
# A damaged header is no literal of Python, or one of something else.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, OverflowError, SyntaxError,
            RuntimeError, zlib.error, zipfile.BadZipFile, tokenize.TokenError)  # fmt: skip
_FREE, _MOST_RATIO = 1 << 28, 200  # numbers do not pack so well


class Embeddings(NamedTuple):
    """Embeddings, and what a file says of them; None is not given.

    Attributes
    ----------
    kind : {"pairs", "candidates"}
        What they are of.
    X : ndarray, shape (n, 2, d) or (n_prompts, N, d)
        Pairs, column 0 chosen, or candidates, padded with all-NaN embeddings.
    target, weight, groups : ndarray of shape (n,), or None
        Of pairs.
    gold : ndarray of shape (n_prompts, N), or None
        Of candidates.
    """

    kind: str
    X: np.ndarray
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    gold: np.ndarray | None = None


def is_embedding_file(path):
    """Tell whether a file holds embeddings, by its name.

    Parameters
    ----------
    path : str or Path
        A file.

    Returns
    -------
    bool
        Whether it ends in .npy or .npz.
    """
    return str(path).lower().endswith(ENDINGS)


def load_embeddings(path):
    """Read embeddings from a file; no code in it is run.

    Parameters
    ----------
    path : str or Path
        A .npy file has pairs (n, 2, d), or candidates (n_prompts, N, d) where N is not 2. A .npz
        file has ``pairs`` and, optionally, ``target``, ``weight`` and ``groups``, or
        ``candidates`` (n_prompts, N, d) and, optionally, ``gold``.

    Returns
    -------
    Embeddings
        Checked for shapes and types; padding is all NaN.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or its arrays are others.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        arrays = _read_arrays(path)
    except MemoryError:
        raise ValueError(f"{path}: its arrays do not fit into memory.") from None
    except _DAMAGED as error:
        raise ValueError(f"{path}: {str(error).rstrip('.')}.") from None
    kinds = {"pairs", "candidates"} & set(arrays)
    if len(kinds) != 1:
        raise ValueError(
            f"{path}: expected an array 'pairs' (n, 2, d) or 'candidates' (n_prompts, N, d); got "
            f"{', '.join(sorted(arrays)) or 'none'}."
        )
    kind = kinds.pop()
    X = _check_embeddings(path, kind, arrays.pop(kind))
    allowed = _PAIRS if kind == "pairs" else _CANDIDATES
    for name, array in arrays.items():
        if name not in allowed:
            raise ValueError(
                f"{path}: the array {name!r:.40} is not read; beside '{kind}' there may be "
                f"{', '.join(allowed)}."
            )
        shape = X.shape[: allowed[name]]
        if array.shape != shape or (name != "groups" and array.dtype.kind not in "fiub"):
            raise ValueError(
                f"{path}, '{name}': expected numbers of the shape {shape}; got {array.dtype} of "
                f"the shape {array.shape}."
            )
        if name != "groups":
            arrays[name] = array.astype(np.float64)
    return Embeddings(kind, X, **arrays)


def _check_embeddings(path, name, X):
    if X.ndim != 3 or (name == "pairs" and X.shape[1] != 2) or 0 in X.shape:
        expected = "(n, 2, d)" if name == "pairs" else "(n_prompts, N, d)"
        if path.suffix.lower() == ".npy":  # which has no names
            raise ValueError(
                f"{path}: expected pairs (n, 2, d) or candidates (n_prompts, N, d); got {X.shape}."
            )
        raise ValueError(f"{path}, '{name}': expected the shape {expected}; got {X.shape}.")
    if X.dtype.kind not in "fiu":
        raise ValueError(f"{path}, '{name}': expected numbers; got {X.dtype}.")
    X = X if X.dtype in (np.float32, np.float64) else X.astype(np.float32)
    padding = np.isnan(X).all(axis=-1)  # (n, N)
    bad = ~np.isfinite(X).all(axis=-1) & ~(padding if name == "candidates" else False)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}, '{name}'[{row}, {column}]: the embedding is not finite; only the padding of "
            "candidates is, all of it NaN."
        )
    return X


def _read_arrays(path):
    with open(path, "rb") as file:
        begin = file.read(6)
        if begin == npy.MAGIC_PREFIX:
            file.seek(0)
            X = _read_member(file, path.stat().st_size)
            return {"candidates" if X.ndim == 3 and X.shape[1] != 2 else "pairs": X}
    if not begin.startswith(b"PK"):
        raise ValueError("neither .npy nor .npz, as numpy.save and numpy.savez write them")
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size > max(_FREE, _MOST_RATIO * member.compress_size):
                raise ValueError(f"{member.filename!r:.40} unpacks to too many times its size")
            with archive.open(member) as stream:
                name = member.filename.removesuffix(".npy")
                arrays[name] = _read_member(stream, member.file_size)
    return arrays


def _read_member(stream, size):
    """Return an array, if it is as large as its header says: else it would be made first."""
    version = npy.read_magic(stream)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("arrays of Python objects are not read, they may run code")
    n_bytes = prod(shape) * dtype.itemsize
    if n_bytes > size:
        raise ValueError(f"an array of shape {shape} is cut off")
    data = stream.read(n_bytes)
    if len(data) < n_bytes:
        raise ValueError(f"an array of shape {shape} is cut off")
    array = np.frombuffer(data, dtype=dtype, count=prod(shape))
    return array.reshape(shape, order="F" if is_fortran else "C").copy()
