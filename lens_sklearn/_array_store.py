"""A folder that remembers arrays, so that nothing is computed twice: embeddings, token ids.

The store is content-addressed: a record's key is the digest of everything its vector depends
on, so a record is never stale, only unused. The engine is LMDB, whose commits are atomic and
durable: a process killed at any moment leaves the store as it was after its last batch.
"""

import hashlib
import json
import os
import threading
import zlib
from pathlib import Path

import numpy as np

from ._warnings import warn

RECORD_VERSION = 1
FIRST_MAP_SIZE = 1 << 26  # bytes of address space; it doubles whenever the records fill it
DATA_FILE = "data.mdb"

# LMDB forbids to open one folder twice in a process and to use an open one after a fork.
_LOCK = threading.RLock()
_ENVIRONMENTS = {}  # real path -> (inode of its data file, lmdb.Environment)


def _after_fork_in_child():
    global _LOCK
    _LOCK = threading.RLock()
    while _ENVIRONMENTS:  # py-lmdb forgets them here and leaves the parent's locks alone
        _ENVIRONMENTS.popitem()[1][1].close()


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
        Where the records are; it is made when it does not exist. Network file systems do not
        offer what LMDB needs when several machines write at a time.

    Raises
    ------
    OSError
        If the folder cannot be made or written, or holds something else.

    Notes
    -----
    A record is a header (format version, flags, dimension, CRC-32) and the raw float32 vector.
    The checksum covers the key too, so a record that is found under another's key is damaged
    as well.

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
            _environment(self.folder)

    def __len__(self):
        with _LOCK, self._transaction() as transaction:
            return transaction.stat()["entries"]

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
        block = max(1, (1 << 26) // (4 * dim + 64))  # the copy beside `vectors` stays small
        for start in range(0, len(keys), block):
            part = slice(start, start + block)
            stored = self._read(keys[part])
            present = np.array([key in stored for key in keys[part]], dtype=bool)
            payloads = [stored[key] for key in keys[part] if key in stored]
            records, sound = _decode([k for k in keys[part] if k in stored], payloads, dim)
            where = start + np.flatnonzero(present)[sound]
            vectors[where] = records["vector"]
            shortened[where] = records["shortened"].astype(bool)
            found[where] = True
            n_damaged += int((~sound).sum())
        if n_damaged:
            warn(
                f"{n_damaged} of {len(keys)} records in the store {self.folder} are damaged "
                "(wrong checksum or size); they are computed and written again.",
                RuntimeWarning,
            )
        return vectors, found, shortened

    def put_many(self, keys, vectors, shortened=None):
        """Write a batch of vectors: all of it or, when the process dies, none.

        Parameters
        ----------
        keys : list of bytes
            A key each; records that exist already are replaced.
        vectors : ndarray of float32, shape (len(keys), dim)
            What to keep. float32 holds whole numbers below 2²⁴ exactly, so token ids too.
        shortened : ndarray of bool, shape (len(keys),), default=None
            Which vectors are of texts that were cut; None means none.

        Raises
        ------
        OSError
            If the disk is full or the folder is no longer writable.
        """
        import lmdb

        items = _encode(keys, vectors, shortened)
        n_bytes = sum(len(payload) for _, payload in items)
        with _LOCK:
            while True:
                try:
                    with self._transaction(write=True) as transaction:
                        transaction.cursor().putmulti(items)
                    return
                except lmdb.MapFullError:
                    environment = _environment(self.folder)
                    size = environment.info()["map_size"]
                    environment.set_mapsize(2 * size + 4 * n_bytes)
                except lmdb.Error as error:
                    raise OSError(f"store {self.folder}: cannot write ({error}).") from error

    def close(self):
        """Close the folder in this process; the next use opens it again."""
        with _LOCK:
            _, environment = _ENVIRONMENTS.pop(self.folder, (None, None))
            if environment is not None:
                environment.close()

    def _read(self, keys):
        """Return the stored bytes by key; one transaction, so one state of the store."""
        with _LOCK, self._transaction() as transaction:
            return dict(transaction.cursor().getmulti(keys))

    def _transaction(self, write=False):
        import lmdb

        environment = _environment(self.folder)
        while True:
            try:
                return environment.begin(write=write)
            except lmdb.MapResizedError:  # another process has enlarged the file
                environment.set_mapsize(0)


def _record_type(dim):
    header = [
        ("version", "<u2"),
        ("shortened", "<u2"),
        ("dim", "<u4"),
        ("checksum", "<u4"),
    ]
    return np.dtype([*header, ("vector", "<f4", (dim,))])


def _checksums(keys, records):
    vectors = map(memoryview, np.ascontiguousarray(records["vector"]).view("u1"))
    return np.fromiter(map(zlib.crc32, vectors, map(zlib.crc32, keys)), "<u4", len(keys))


def _encode(keys, vectors, shortened):
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or len(vectors) != len(keys):
        raise ValueError(f"expected {len(keys)} vectors, got an array of shape {vectors.shape}.")
    records = np.zeros(len(keys), dtype=_record_type(vectors.shape[1]))
    records["version"] = RECORD_VERSION
    records["dim"] = vectors.shape[1]
    records["vector"] = vectors
    if shortened is not None:
        records["shortened"] = shortened
    records["checksum"] = _checksums(keys, records)
    return [(key, record.tobytes()) for key, record in zip(keys, records, strict=True)]


def _decode(keys, payloads, dim):
    """Return the sound records, and which of the payloads they are."""
    kind = _record_type(dim)
    sound = np.array([len(payload) == kind.itemsize for payload in payloads], dtype=bool)
    chosen = np.flatnonzero(sound)
    records = np.frombuffer(b"".join(payloads[i] for i in chosen), dtype=kind)
    valid = (records["version"] == RECORD_VERSION) & (records["dim"] == dim)
    valid &= records["checksum"] == _checksums([keys[i] for i in chosen], records)
    sound[chosen] = valid
    return records[valid], sound


def _environment(folder):
    """Return this process's one open environment of a folder; `_LOCK` is held by the caller."""
    import lmdb

    data = folder / DATA_FILE
    inode, environment = _ENVIRONMENTS.get(folder, (None, None))
    if environment is not None:
        if data.exists() and data.stat().st_ino == inode:
            return environment
        environment.close()  # the folder was deleted meanwhile: its file is out of sight
        del _ENVIRONMENTS[folder]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        size = max(FIRST_MAP_SIZE, data.stat().st_size if data.exists() else 0)
        environment = lmdb.open(str(folder), map_size=size, readahead=False)
        environment.reader_check()  # forget the readers that were killed
    except (OSError, lmdb.Error) as error:
        raise OSError(
            f"store={str(folder)!r} cannot be used ({error}). Give a folder that is writable "
            "and either new or a store already."
        ) from error
    _ENVIRONMENTS[folder] = (data.stat().st_ino, environment)
    return environment
