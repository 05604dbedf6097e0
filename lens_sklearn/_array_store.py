"""A folder that remembers arrays, so that nothing is computed twice: embeddings, token ids.

The store is content-addressed: a record's key is the digest of everything its vector depends
on, so a record is never stale, only unused. Records are appended to one file and each carries
its checksums, so what a killed process or a damaged disk leaves is told from a record. Nothing is
mapped into memory: a file that is cut or a disk that is full is an error and never a signal.

No database does the same: one that maps its file ends the process by a signal where the file was
cut, and one whose file is a tree, such as SQLite's, is lost as a whole where a page is damaged.
"""

import hashlib
import json
import os
import struct
import threading
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._warnings import warn

try:
    import fcntl
except ImportError:  # without it, one process at a time
    fcntl = None

DATA_FILE = "records.bin"
EARLIER_FILE = "data.mdb"
SIGNATURE = b"lens_sklearn array store 2\n"
MARK = b"\xd7rec"
# mark, whether the text was cut, 0, bytes of the key, dimension, checksum of key and vector, and
# the checksum of all that is before and of the key
HEAD = struct.Struct("<4sBBHIII")
SCANNED_AT_ONCE = 1 << 20  # bytes
LONG_KEY = 64  # bytes that are read together with a head

_LOCK = threading.RLock()
_OPEN = {}  # real path of a folder -> _RecordFile


def _after_fork_in_child():
    # A thread that does not exist here may have held the lock and been half-way through a scan.
    global _LOCK
    _LOCK = threading.RLock()
    while _OPEN:
        _OPEN.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def store_keys(settings, texts):
    """Digest texts together with all else that their vectors depend on.

    Parameters
    ----------
    settings : dict
        Model, revision, template, pooling, layers, length, dtype: whatever changes a vector.
        Values that JSON can write.
    texts : iterable of str or tuple of (role, content)
        Plain texts and conversations; a conversation never has the key of a plain text.

    Returns
    -------
    list of bytes
        A SHA-256 digest for each text.

    Examples
    --------
    >>> from lens_sklearn._array_store import store_keys
    >>> first, second = store_keys({"model": "a"}, ["text", "text"])
    >>> first == second, store_keys({"model": "b"}, ["text"]) == [first]
    (True, False)
    """
    prefix = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    keys = []
    for text in texts:
        digest = prefix.copy()
        digest.update(json.dumps(text).encode())
        keys.append(digest.digest())
    return keys


class ArrayStore:
    """Vectors on disk, found again by key.

    Several threads and several processes may use one folder at a time. The object itself holds
    nothing but the folder's name, so it can be pickled and survives a fork.

    Parameters
    ----------
    folder : str or Path
        Where the records are, in the file ``records.bin``; it is made when it does not exist.
        Several machines may write to it at a time only where their file system locks files for
        all of them.

    Raises
    ------
    OSError
        If the folder cannot be made or written, or holds something else, such as the store of an
        earlier version (``data.mdb``).

    Notes
    -----
    A record is a head, its key and the raw float32 vector. One checksum (CRC-32) covers the head
    and the key, another the key and the vector: a changed bit anywhere makes the record one that
    is not found.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from lens_sklearn._array_store import ArrayStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = ArrayStore(folder)
    ...     store.put_many([b"a", b"b"], np.eye(2, dtype=np.float32))
    ...     vectors, found, shortened = store.get_many([b"b", b"c"], dim=2)
    ...     store.close()
    >>> found.tolist(), vectors[0].tolist()
    ([True, False], [0.0, 1.0])
    """

    def __init__(self, folder):
        self.folder = Path(folder).expanduser().resolve()
        with _LOCK:
            _record_file(self.folder)

    def __len__(self):
        with _LOCK:
            return len(_record_file(self.folder).places)

    def get_many(self, keys, dim):
        """Look up vectors.

        Parameters
        ----------
        keys : list of bytes
            As made by :func:`store_keys`.
        dim : int
            The length of each vector.

        Returns
        -------
        vectors : ndarray of float32, shape (len(keys), dim)
            What was put; NaN where there is nothing.
        found : ndarray of bool, shape (len(keys),)
            Which keys have a sound record.
        shortened : ndarray of bool, shape (len(keys),)
            Which of the found vectors are of texts that were cut.

        Raises
        ------
        OSError
            If the file cannot be read or is no longer a store.

        Warns
        -----
        RuntimeWarning
            If records are damaged. They count as not found, so they are computed and written
            again.
        """
        vectors = np.full((len(keys), dim), np.nan, dtype=np.float32)
        found = np.zeros(len(keys), dtype=bool)
        shortened = np.zeros(len(keys), dtype=bool)
        n_damaged = 0
        with _LOCK:
            records = _record_file(self.folder)
            for i, key in enumerate(keys):
                if key not in records.places:
                    continue
                record = records.read(key, dim)
                if record is None:
                    n_damaged += 1
                else:
                    shortened[i], vectors[i] = record
                    found[i] = True
            n_gaps, records.n_gaps = records.n_gaps, 0
        self._warn_of_damage(n_damaged, len(keys), n_gaps)
        return vectors, found, shortened

    def get_each(self, keys):
        """Look up vectors of different lengths.

        Parameters
        ----------
        keys : list of bytes
            As made by :func:`store_keys`.

        Returns
        -------
        list of ndarray of float32, or None
            What was put; None where there is no sound record.

        Raises
        ------
        OSError
            If the file cannot be read or is no longer a store.

        Warns
        -----
        RuntimeWarning
            If records are damaged.
        """
        with _LOCK:
            records = _record_file(self.folder)
            known = [key in records.places for key in keys]
            read = [records.read(key) if k else None for key, k in zip(keys, known, strict=True)]
            n_gaps, records.n_gaps = records.n_gaps, 0
        n_damaged = sum(known) - sum(record is not None for record in read)
        self._warn_of_damage(n_damaged, len(keys), n_gaps)
        return [None if record is None else record[1].astype(np.float32) for record in read]

    def _warn_of_damage(self, n_damaged, n_keys, n_gaps):
        what = f"{n_damaged} of {n_keys} records" if n_damaged else f"{n_gaps} places"
        if n_damaged or n_gaps:
            warn(
                f"{what} in the store {self.folder / DATA_FILE} are damaged (wrong checksum or "
                "size); what was there is computed and written again. If this comes again, "
                "delete the folder: it costs the time to compute its records, and nothing else.",
                RuntimeWarning,
            )

    def put_many(self, keys, vectors, shortened=None):
        """Write a batch of vectors.

        When the process dies meanwhile, each record is there whole or not at all.

        Parameters
        ----------
        keys : list of bytes
            A key each; records that exist already are replaced.
        vectors : ndarray of float32, shape (len(keys), dim), or list of ndarray, shape (dim,)
            What to keep, of a list each with a length of its own. float32 holds whole numbers
            below 2²⁴ exactly, so token ids too.
        shortened : ndarray of bool, shape (len(keys),), default=None
            Which vectors are of texts that were cut; None means none.

        Raises
        ------
        OSError
            If the disk is full or the folder is no longer writable.
        ValueError
            If there are not as many vectors as keys.
        """
        if not isinstance(vectors, list):
            vectors = np.asarray(vectors)
            if vectors.ndim != 2 or len(vectors) != len(keys):
                raise ValueError(
                    f"expected {len(keys)} vectors, got an array of shape {vectors.shape}."
                )
        flags = np.zeros(len(keys), dtype=bool) if shortened is None else shortened
        records = [
            _encode(key, np.asarray(vector, dtype="<f4").tobytes(), flag)
            for key, vector, flag in zip(keys, vectors, flags, strict=True)
        ]
        with _LOCK:
            try:
                _record_file(self.folder).append(keys, records)
            except OSError as error:
                raise _renamed(error, f"store {self.folder}: cannot write", ".") from error

    def close(self):
        """Close the folder in this process; the next use opens it again."""
        with _LOCK:
            records = _OPEN.pop(self.folder, None)
            if records is not None:
                records.close()


def _encode(key, vector, shortened):
    fields = (MARK, bool(shortened), 0, len(key), len(vector) // 4)
    fields += (zlib.crc32(vector, zlib.crc32(key)),)
    checksum = zlib.crc32(key, zlib.crc32(HEAD.pack(*fields, 0)[:-4]))
    return HEAD.pack(*fields, checksum) + key + vector


class _Head(NamedTuple):
    """What stands before a vector."""

    shortened: bool
    dim: int
    checksum: int
    key: bytes

    @property
    def n_bytes(self):
        return HEAD.size + len(self.key) + 4 * self.dim  # of the whole record


def _decode_head(content):
    """Return the head that bytes begin with, or None if it is not a sound one."""
    if len(content) < HEAD.size or not content.startswith(MARK):
        return None
    _, shortened, _, n_key, dim, vector_checksum, checksum = HEAD.unpack_from(content)
    key = content[HEAD.size : HEAD.size + n_key]
    if len(key) != n_key or zlib.crc32(key, zlib.crc32(content[: HEAD.size - 4])) != checksum:
        return None
    return _Head(bool(shortened), dim, vector_checksum, key)


class _RecordFile:
    """The open file of a store and where its records begin; `_LOCK` is held by the caller."""

    def __init__(self, folder):
        self.path = folder / DATA_FILE
        # A number, as a file object that is open at exit would warn.
        self.file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with self._exclusive():
                start = self._bytes(0, len(SIGNATURE))
                if start != SIGNATURE and SIGNATURE.startswith(start):  # new, or killed in making
                    self._write(0, SIGNATURE)
            start = self._bytes(0, len(SIGNATURE))
            if start != SIGNATURE:
                raise OSError(
                    f"its file {DATA_FILE} is damaged or no store: it begins with {start!r}; if "
                    "it was one, the folder may be deleted, which costs computing time alone"
                )
            self._forget()
            self.refresh()
        except BaseException:
            self.close()
            raise

    def close(self):
        os.close(self.file)

    def is_current(self):
        """Return whether the folder still holds this file, with all records that are known."""
        try:
            named, opened = os.stat(self.path), os.fstat(self.file)
        except OSError:
            return False
        same = (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)
        return same and opened.st_size >= len(SIGNATURE)

    def refresh(self):
        """Find the records that were appended since the last call."""
        size = os.fstat(self.file).st_size
        if size < self.end:  # somebody cut it
            self._forget()
        place = self.end
        while place is not None and place < size:
            head = self._head(place)
            if head is None or place + head.n_bytes > size:
                place = self._next_mark(place + 1)
                continue
            if place > self.end:
                self.n_gaps += 1
            self.places[head.key] = place
            place = self.end = place + head.n_bytes

    def read(self, key, dim=None):
        """Return whether the text was cut and its vector, or None if the record is damaged.

        Without `dim` the vector has the length that its head says.
        """
        if dim is None:
            head = self._head(self.places[key])
            if head is None:
                return None
            dim = head.dim
        start = HEAD.size + len(key)
        content = self._bytes(self.places[key], start + 4 * dim)
        head = _decode_head(content)
        if head is None or (head.key, head.dim) != (key, dim):
            return None
        if zlib.crc32(memoryview(content)[start:], zlib.crc32(key)) != head.checksum:
            return None
        return head.shortened, np.frombuffer(content, dtype="<f4", count=dim, offset=start)

    def append(self, keys, records):
        """Write records behind the last one, on the disk when it returns."""
        with self._exclusive():
            self.refresh()
            start = self.end
            try:
                self._write(start, b"".join(records))
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self.file, start)
                raise
        for key, record in zip(keys, records, strict=True):
            self.places[key] = self.end
            self.end += len(record)

    def _forget(self):
        self.places, self.end, self.n_gaps = {}, len(SIGNATURE), 0

    def _head(self, place):
        content = self._bytes(place, HEAD.size + LONG_KEY)
        if len(content) >= HEAD.size and content.startswith(MARK):
            n_key = HEAD.unpack_from(content)[3]
            if n_key > LONG_KEY:
                content = self._bytes(place, HEAD.size + n_key)
        return _decode_head(content)

    def _next_mark(self, place):
        """Return where the next mark is, or None; what is between is damaged or half written."""
        while True:
            content = self._bytes(place, SCANNED_AT_ONCE)
            found = content.find(MARK)
            if found >= 0:
                return place + found
            if len(content) < SCANNED_AT_ONCE:
                return None
            place += len(content) - len(MARK) + 1

    def _bytes(self, place, n_bytes):
        os.lseek(self.file, place, os.SEEK_SET)
        parts, missing = [], n_bytes
        while missing:
            part = os.read(self.file, missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _write(self, place, content):
        os.ftruncate(self.file, place)  # what a killed process left half written
        os.lseek(self.file, place, os.SEEK_SET)
        content = memoryview(content)
        while content:
            content = content[os.write(self.file, content) :]
        os.fsync(self.file)

    @contextmanager
    def _exclusive(self):
        if fcntl is None:
            yield
            return
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)


def _renamed(error, what, advice):
    """Return the error with a message that names the store, and its number if it has one."""
    message = f"{what} ({error.strerror or error}){advice}"
    return OSError(message) if error.errno is None else OSError(error.errno, message)


def _record_file(folder):
    """Return this process's one open file of a folder; `_LOCK` is held by the caller."""
    records = _OPEN.get(folder)
    if records is not None:
        if records.is_current():
            records.refresh()
            return records
        records.close()  # the folder was deleted meanwhile, or the file emptied
        del _OPEN[folder]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / EARLIER_FILE).exists() and not (folder / DATA_FILE).exists():
            raise OSError(
                f"its {EARLIER_FILE} is of an earlier version, which this one does not read; "
                "delete it, and its records are computed again, or give another folder"
            )
        _OPEN[folder] = _RecordFile(folder)
    except OSError as error:
        advice = ". Give a folder that is writable and either new or a store already."
        raise _renamed(error, f"store={str(folder)!r} cannot be used", advice) from error
    return _OPEN[folder]
