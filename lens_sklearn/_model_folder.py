"""The folder of a local model: whether it is one, and a digest of all that its files say."""

import functools
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ADAPTER = "adapter_config.json"
WEIGHT_ENDINGS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json")
CHUNK, PIECE = 1 << 26, 1 << 20  # bytes hashed by one thread, and read at a time


def folder_fingerprint(folder):
    """Digest the files of a model's folder; say what is missing when it is none.

    Parameters
    ----------
    folder : Path
        A model saved by ``save_pretrained``, or an adapter. Of an adapter on a local model the
        digest covers that model too.

    Returns
    -------
    str
        SHA-256 in hexadecimal digits. Every byte counts, so that a change anywhere in the
        weights is another model; a file that was read once in this process is read again when
        its size, times or inode differ.

    Raises
    ------
    ValueError
        If there is no configuration or there are no weights.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    names = [p.name for p in files]
    missing = []
    if "config.json" not in names:
        missing.append("config.json")
    if not any(name.endswith(WEIGHT_ENDINGS) for name in names):
        missing.append("weights (*.safetensors or *.bin)")
    if missing:
        found = ", ".join(names[:8]) if names else "no files"
        raise ValueError(
            f"the folder {str(folder)!r} is not a model: it has no {' and no '.join(missing)} "
            f"(found: {found}). Save one there with save_pretrained, of the model and of the "
            "tokenizer."
        )
    files = [path for path in files if path.suffix != ".md"]
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{_digest_of(path)}\0".encode())
    base = adapter_base(folder)
    if base is not None and Path(base).is_dir() and not Path(base).samefile(folder):
        digest.update(folder_fingerprint(Path(base)).encode())
    return digest.hexdigest()


def adapter_base(folder):
    """Return which model an adapter is put on.

    Parameters
    ----------
    folder : str or Path
        A model's folder.

    Returns
    -------
    str or None
        A folder or a Hub name; None if the folder holds no adapter.

    Raises
    ------
    ValueError
        If the adapter's file does not say.
    """
    path = Path(folder) / ADAPTER
    if not path.is_file():
        return None
    try:
        name = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        name = error
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path}: it does not name the adapter's model (base_model_name_or_path).")
    return name


def _digest_of(path):
    path = path.resolve()
    status = path.stat()
    # The inode's own time cannot be set back, as the other can after a change.
    return _file_digest(
        str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    )


@functools.lru_cache(maxsize=256)
def _file_digest(path, size, mtime_ns, ctime_ns, inode):
    def chunk_digest(start):
        digest = hashlib.sha256()  # lets other threads run
        with open(path, "rb") as file:
            file.seek(start)
            for _ in range(CHUNK // PIECE):
                digest.update(file.read(PIECE))
        return digest.digest()

    starts = range(0, max(size, 1), CHUNK)
    with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
        return hashlib.sha256(b"".join(pool.map(chunk_digest, starts))).hexdigest()
