"""The two files of a saved model: a description in JSON and weights in safetensors.

The weights' name tells their content, and the description, which names them, is replaced last: at
every moment a folder holds the old model or the new one.
"""

import hashlib
import json
import math
import os
import re
import stat
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

try:
    import fcntl
except ImportError:  # without it, one process at a time
    fcntl = None

DESCRIPTION = "pipeline.json"
FORMAT = 3
WEIGHTS_OF_FORMAT_2 = "weights.safetensors"
WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.safetensors")
PARTIAL = re.compile(rf"\.(?:{re.escape(DESCRIPTION)}|{WEIGHTS.pattern})\.[0-9a-f]{{32}}\.partial")
LONGEST_DESCRIPTION = 1 << 26  # bytes
READ_AGAIN = 20  # times, while another process replaces the model


def write_model(folder, description, arrays):
    """Write a model, or leave the folder as it is.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    description : dict
        Values that JSON can write.
    arrays : dict of str to ndarray
        The weights.

    Raises
    ------
    ValueError
        If a number of the description is not finite.
    OSError
        If the folder cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    weights = to_bytes(arrays)
    digest = hashlib.sha256(weights).hexdigest()
    name = f"weights-{digest[:16]}.safetensors"
    head = {"format": FORMAT, "weights": name, "weights_sha256": digest}
    text = json.dumps(head | description, indent=2, allow_nan=False)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as alone:
        earlier = _weights_of_format_2(folder)
        _replace(folder, name, weights)
        _replace(folder, DESCRIPTION, text.encode())
        for path in _leftovers(folder, name) if alone else []:
            path.unlink(missing_ok=True)
        if earlier is not None:
            earlier.unlink(missing_ok=True)


def read_model(folder):
    """Read what :func:`write_model` wrote.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Returns
    -------
    description : dict
        As it was given.
    arrays : dict of str to ndarray
        As they were given.

    Raises
    ------
    FileNotFoundError
        If the folder or one of the files is not there.
    ValueError
        If a file is malformed, of another format, or of another model.
    """
    folder = Path(folder)
    for attempt in range(READ_AGAIN):
        text = _read(folder / DESCRIPTION, LONGEST_DESCRIPTION)
        description = _parse(folder / DESCRIPTION, text)
        name, digest = _weights_named(folder, description)
        try:
            weights = _read(folder / name)
        except FileNotFoundError:  # another process may have replaced both files meanwhile
            last = attempt == READ_AGAIN - 1
            if last or _read(folder / DESCRIPTION, LONGEST_DESCRIPTION) == text:
                raise
        else:
            break
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(
            f"{folder / name}: {name} is damaged or belongs to another model (its checksum is not "
            f"the one in {DESCRIPTION})."
        )
    return description, _parse_weights(folder / name, weights)


def _weights_named(folder, description):
    try:
        if description["format"] == 2:
            return WEIGHTS_OF_FORMAT_2, description["weights_sha256"]
        if description["format"] != FORMAT:
            raise ValueError(
                f"format {description['format']!r:.100}; this version reads 2 and {FORMAT}"
            )
        name = description["weights"]
        if not isinstance(name, str) or not WEIGHTS.fullmatch(name):
            raise ValueError(f"weights={name!r:.100} is no name of weights, weights-….safetensors")
        return name, description["weights_sha256"]
    except KeyError as error:
        raise ValueError(f"{folder / DESCRIPTION}: {error} is missing.") from None
    except ValueError as error:
        raise ValueError(f"{folder / DESCRIPTION}: {error}.") from None


# ------------------------------------------------------------------------------ reading
def _read(path, longest=None):
    """Return the bytes of a regular file; a link is followed, as a downloaded model has links."""
    try:
        # Without O_NONBLOCK a named pipe would be waited for.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path}: this is no file.")
            if longest is not None and status.st_size > longest:
                raise ValueError(
                    f"{path}: {status.st_size} bytes are more than the {longest} that a "
                    "description may have."
                )
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path.parent}: not a saved reward model, it has no {path.name}; "
            "'lens-sklearn fit' and lens_sklearn.export.save write one."
        ) from None
    except OSError as error:
        raise ValueError(f"{path}: it cannot be read ({error.strerror or error}).") from error


def _parse(path, text):
    try:
        description = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_not_finite,
            parse_float=_finite,
            parse_int=_small,
        )
    except RecursionError:
        raise ValueError(f"{path}: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{path}: not the description of a model ({error}).") from error
    if not isinstance(description, dict):
        raise ValueError(f"{path}: it holds a {type(description).__name__}, not an object.")
    return description


def _without_duplicates(items):
    values = dict(items)
    if len(values) < len(items):
        names = [name for name, _ in items]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r:.100} comes twice")
    return values


def _not_finite(text):
    raise ValueError(f"the number {text} is not finite")


def _finite(text):
    return float(text) if math.isfinite(float(text)) else _not_finite(text[:40])


def _small(text):
    if len(text) > 20 or abs(int(text)) >= 1 << 63:
        raise ValueError(f"the number {text[:40]} is beyond 64 bits")
    return int(text)


def _parse_weights(path, content):
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(content)
    except (SafetensorError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a file of weights ({error}).") from error


# ------------------------------------------------------------------------------ writing
def _replace(folder, name, content):
    """Give a file its content at once and for good."""
    partial = folder / f".{name}.{uuid4().hex}.partial"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(partial, flags, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, folder / name)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync(folder)


def _sync(folder):
    if os.name == "nt":  # folders are not opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _alone(folder):
    """Wait for other processes that write here; say whether they can be told."""
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # not every file system can
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _leftovers(folder, name):
    """Return the weights of earlier models and what killed processes left."""
    return [
        path
        for path in folder.iterdir()
        if PARTIAL.fullmatch(path.name) or (WEIGHTS.fullmatch(path.name) and path.name != name)
    ]


def _weights_of_format_2(folder):
    """Return the file that an earlier version's description names, if there is one."""
    try:
        description = _parse(folder / DESCRIPTION, _read(folder / DESCRIPTION, LONGEST_DESCRIPTION))
    except (OSError, ValueError):
        return None
    return folder / WEIGHTS_OF_FORMAT_2 if description.get("format") == 2 else None
