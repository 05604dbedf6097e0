"""Where embeddings are put as they come: an array in memory or a file that is mapped into it.

A file is written under a temporary name and gets its own when it is whole, so what has a name can
be read. The name tells the content: other texts or settings never overwrite it.
"""

import errno
import hashlib
import json
import math
import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import numpy as np

COPIED_AT_ONCE = 1 << 24  # bytes


def make_folder(folder):
    """Make a folder for arrays.

    Parameters
    ----------
    folder : str or Path
        Where the arrays are to be.

    Returns
    -------
    Path
        The folder, absolute.

    Raises
    ------
    OSError
        If it cannot be made or written.
    """
    path = Path(folder).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write")
    except OSError as error:
        raise OSError(
            f"out={os.fspath(folder)!r} cannot be used ({error}). Give a writable folder."
        ) from error
    return path


def array_name(keys, cells, **settings):
    """Name an array by what it holds.

    Parameters
    ----------
    keys : list of bytes
        The digest of each distinct text and its settings.
    cells : ndarray of int
        The text of each cell, -1 for none.
    **settings : dict
        What else the array depends on, in values that JSON can write.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> import numpy as np
    >>> from lens_sklearn._embedding_array import array_name
    >>> names = [array_name([b"a", b"b"], np.array(cells)) for cells in ([0, 1], [1, 0], [0, 1])]
    >>> names[0] == names[2], names[0] == names[1]
    (True, False)
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for key in keys:
        digest.update(key)
    digest.update(np.ascontiguousarray(cells, dtype="<i8").data)
    return digest.hexdigest()[:32]


@contextmanager
def new_array(folder, shape, dtype):
    """Make an array to be filled within a ``with`` block and kept by :func:`keep_rows`.

    Parameters
    ----------
    folder : str, Path or None
        Where the file is to be; None makes an array in memory.
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its dtype.

    Yields
    ------
    ndarray or memmap
        The values are arbitrary. A file that is not kept is gone after the block.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    if folder is None:
        yield np.empty(shape, dtype=dtype)
        return
    path = make_folder(folder) / f"{uuid4().hex}.partial"
    try:
        try:
            _make_file(path, shape, dtype)
        except OSError as error:
            n_bytes = np.dtype(dtype).itemsize * math.prod(shape)
            raise OSError(
                error.errno,
                f"out={str(path.parent)!r}: no room for {n_bytes / 1e9:.2g} GB of embeddings "
                f"({error.strerror or error})",
            ) from error
        yield np.lib.format.open_memmap(path, mode="r+")
    finally:
        path.unlink(missing_ok=True)


def _make_file(path, shape, dtype):
    """Write a file whose every byte has its place on the disk.

    A map of a file with holes is killed, without an error, when the disk is full.
    """
    dtype = np.dtype(dtype)
    n_bytes = dtype.itemsize * math.prod(shape)
    header = {"shape": tuple(map(int, shape)), "fortran_order": False,
              "descr": np.lib.format.dtype_to_descr(dtype)}  # fmt: skip
    with open(path, "xb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        if n_bytes and hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, file.tell() + n_bytes)
                return
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise  # else this file system cannot
        zeros = memoryview(bytes(min(n_bytes, COPIED_AT_ONCE)))
        for start in range(0, n_bytes, COPIED_AT_ONCE):
            file.write(zeros[: n_bytes - start])


def _keep_array(array, name):
    if not isinstance(array, np.memmap):
        return array
    array.flush()  # onto the disk
    path = Path(array.filename).with_name(f"{name}.npy")
    os.replace(array.filename, path)
    return np.load(path, mmap_mode="r")


def keep_rows(array, kept, folder, name):
    """Give a filled array its name, without the rows that are left out.

    Parameters
    ----------
    array : ndarray or memmap
        As :func:`new_array` made it.
    kept : ndarray of bool, shape (len(array),)
        Which rows.
    folder : str, Path or None
        As given to :func:`new_array`.
    name : str
        The file's name without its ending; an array in memory needs none.

    Returns
    -------
    ndarray or memmap
        An array in memory or a read-only map of the file; of all rows without a copy.
    """
    if kept.all():
        return _keep_array(array, name)
    rows = np.flatnonzero(kept)
    step = max(1, COPIED_AT_ONCE // array[0].nbytes)
    with new_array(folder, (len(rows), *array.shape[1:]), array.dtype) as fewer:
        for start in range(0, len(rows), step):
            fewer[start : start + step] = array[rows[start : start + step]]
        return _keep_array(fewer, name)


class CellWriter:
    """Write the embeddings of distinct texts to all cells of a table that hold them.

    Parameters
    ----------
    array : ndarray, shape (..., d)
        The table's embeddings, C-contiguous; cells without a text become NaN at once.
    cells : ndarray of int, shape (n_cells,)
        The number of each cell's text, -1 for none.
    place : callable
        Names the row of a text's number in errors.
    """

    def __init__(self, array, cells, place):
        self.rows = array.reshape(-1, array.shape[-1])
        self.place = place
        self.order = np.argsort(cells, kind="stable")
        self.first = np.searchsorted(cells[self.order], np.arange(cells.max(initial=-1) + 2))
        self.rows[cells == -1] = np.nan

    def write(self, numbers, vectors):
        """Write the embeddings of some texts.

        Parameters
        ----------
        numbers : ndarray of int, shape (m,)
            Which texts.
        vectors : ndarray of float32, shape (m, d), or float
            Their embeddings, or one value for all features.

        Raises
        ------
        ValueError
            If a value is too large for float16; the message names the row.
        """
        numbers = np.asarray(numbers, dtype=int)
        count = self.first[numbers + 1] - self.first[numbers]
        # Cell k of a text is k places behind its first: count up, and start anew at every text.
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        cells = self.order[np.repeat(self.first[numbers], count) + within]
        if np.ndim(vectors):
            vectors = self._cast(numbers, vectors)[np.repeat(np.arange(len(numbers)), count)]
        self.rows[cells] = vectors

    def _cast(self, numbers, vectors):
        if self.rows.dtype == vectors.dtype:
            return vectors
        with np.errstate(over="ignore", invalid="ignore"):
            cast = vectors.astype(self.rows.dtype)
        large = (np.isinf(cast) & np.isfinite(vectors)).any(axis=1)
        if large.any():
            i = int(np.flatnonzero(large)[0])
            raise ValueError(
                f"{self.place(numbers[i])}: a hidden state of {np.abs(vectors[i]).max():.3g} is "
                f"beyond {self.rows.dtype}, which ends at {np.finfo(self.rows.dtype).max}. Use "
                "out_dtype='float32', or other layers."
            )
        return cast
