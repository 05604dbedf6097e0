"""Estimators of other libraries as bytes that run no code when they are read (skops)."""

import importlib
import io
import zipfile

import numpy as np


def _skops():
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        raise ImportError(
            "an estimator of another library is saved through skops: "
            "pip install 'lens-sklearn[save]'."
        ) from error


def write_estimator(estimator, where, trusted):
    """Write an estimator of another library.

    Parameters
    ----------
    estimator : estimator
        Fitted or not.
    where : str
        Its place, for the error.
    trusted : sequence of str
        Names of types that are trusted besides those that skops trusts.

    Returns
    -------
    ndarray of uint8, shape (n_bytes,)
        A file of skops.

    Raises
    ------
    ImportError
        If skops is not installed.
    ValueError
        If it holds a type that is not trusted, or cannot be written.
    """
    skops = _skops()
    try:
        written = skops.dumps(estimator)
    except Exception as error:  # skops meets objects of any kind, and what they raise
        raise ValueError(
            f"{where}: {_name(estimator)} cannot be saved without pickle ({error}). joblib.dump "
            "saves whatever pickles."
        ) from error
    _check_trust(skops, written, where, trusted)
    return np.frombuffer(written, dtype=np.uint8)


def read_estimator(data, where, trusted):
    """Read what :func:`write_estimator` wrote.

    Parameters
    ----------
    data : ndarray of uint8, shape (n_bytes,)
        A file of skops.
    where : str
        Its place, for the error.
    trusted : sequence of str
        As in :func:`write_estimator`.

    Returns
    -------
    estimator
        The estimator.

    Raises
    ------
    ImportError
        If skops is not installed.
    ValueError
        If the file is damaged, packed, or holds a type that is not trusted.
    """
    skops = _skops()
    written = data.tobytes()
    try:
        with zipfile.ZipFile(io.BytesIO(written)) as archive:
            packed = any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist())
        if packed:  # ours are not, and what is may be of any size
            raise ValueError("it is packed")
        _check_trust(skops, written, where, trusted)
        return skops.loads(written, trusted=list(trusted))
    except UntrustedError:
        raise
    except Exception as error:
        raise ValueError(f"{where} is no file of skops: {error}") from error


class UntrustedError(ValueError):
    """An estimator holds types that nobody has said to trust."""


def _check_trust(skops, written, where, trusted):
    unknown = sorted(set(skops.get_untrusted_types(data=written)) - set(trusted))
    if unknown:
        raise UntrustedError(
            f"{where} holds types that are not trusted: {', '.join(unknown)}. If you know where "
            f"they come from, give trusted={unknown}."
        )


def _name(estimator):
    return type(estimator).__name__
