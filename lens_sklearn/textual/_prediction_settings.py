"""What the predictions of a fine-tuned reward depend on, in a file beside its weights."""

import json
import os
from pathlib import Path
from uuid import uuid4

SETTINGS = "lens_sklearn.json"
FORMAT = 1
DTYPES = ("float32", "bfloat16")


def write_settings(folder, estimator):
    """Write the parameters that a prediction depends on into a model's folder.

    The chat template is not among them: the folder's tokenizer has it.

    Parameters
    ----------
    folder : str or Path
        An ordinary Hugging Face folder, which stays one.
    estimator : FineTunedRewardRegressor
        Whose parameters hold.
    """
    settings = {
        "format": FORMAT,
        "max_length": int(estimator.max_length),
        "dtype": str(estimator.dtype),
    }
    partial = Path(folder) / f".{SETTINGS}.{uuid4().hex}.partial"
    try:
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, Path(folder) / SETTINGS)
    finally:
        partial.unlink(missing_ok=True)


def read_settings(folder):
    """Read what :func:`write_settings` wrote.

    Parameters
    ----------
    folder : str or Path
        A model's folder, or anything else that names a model.

    Returns
    -------
    dict or None
        ``max_length`` and ``dtype``; None if there is no such file, as in folders of other
        packages and of earlier versions.

    Raises
    ------
    ValueError
        If the file says something else.
    """
    path = Path(folder).expanduser() / SETTINGS
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if settings["format"] != FORMAT:
            raise ValueError(f"format {settings['format']!r:.100}; this version reads {FORMAT}")
        max_length, dtype = settings["max_length"], settings["dtype"]
        if type(max_length) is not int or max_length < 1:
            raise ValueError(f"max_length {max_length!r:.100} is no whole number from 1")
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r:.100} is none of {', '.join(DTYPES)}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"{path}: it does not say how the model reads texts ({reason}). Delete it, and give "
            "max_length by hand."
        ) from error
    return {"max_length": max_length, "dtype": dtype}
