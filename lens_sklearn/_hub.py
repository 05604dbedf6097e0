"""Fitted pipelines on the Hugging Face Hub, and back."""

import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ._model_card import HUB_NAME, is_for_others, model_card
from ._saved_model import DESCRIPTION
from .export import load, save

CARD = "README.md"
WEIGHTS = "weights-*.safetensors"
FILES = [DESCRIPTION, WEIGHTS, CARD]


def push_to_hub(
    model,
    repo_id,
    *,
    card=None,
    token=None,
    private=True,
    revision=None,
    commit_message="Upload a reward model",
    trusted=(),
):
    """Save a fitted pipeline in a repository on the Hugging Face Hub.

    Parameters
    ----------
    model : Pipeline or reward model
        Fitted, and of what :func:`~lens_sklearn.export.save` takes. What gives no rewards needs
        a `card`.
    repo_id : str
        "user/name"; made if it is not there.
    card : huggingface_hub.ModelCard or str, default=None
        Its README.md, as :func:`~lens_sklearn.model_card` writes it; None is a card without
        measurements.
    token : str, default=None
        An access token that may write. None is that of ``hf auth login`` or ``HF_TOKEN``. It
        is handed on and neither kept nor shown.
    private : bool, default=True
        Whether a repository that is made is private. One that is there stays as it is.
    revision : str, default=None
        The branch; None is the main one.
    commit_message : str, default="Upload a reward model"
        First line of the commit.
    trusted : sequence of str, default=()
        As in :func:`~lens_sklearn.export.save`.

    Returns
    -------
    str
        Where it is.

    Raises
    ------
    ValueError
        If the model cannot be saved, reads texts with a language model in a local folder, which
        nobody else has, or `repo_id` or `token` cannot be one.
    OSError
        If the Hub does not take it.

    See Also
    --------
    from_pretrained : Loads it.
    model_card : Writes a card with measurements.

    Notes
    -----
    Three files are uploaded, ``pipeline.json``, ``weights-….safetensors`` and ``README.md``, and
    weights of an earlier upload are deleted in the same commit. Language models are kept by name.

    Examples
    --------
    >>> from lens_sklearn import model_card, push_to_hub
    >>> card = model_card(pipe, train=pairs, license="mit")  # doctest: +SKIP
    >>> push_to_hub(pipe, "user/my-reward", card=card)  # doctest: +SKIP
    'https://huggingface.co/user/my-reward'
    """
    import huggingface_hub

    _check_repo(repo_id)
    _check_token(token)
    with tempfile.TemporaryDirectory() as folder:
        save(model, folder, trusted=trusted)
        _refuse_local_models(Path(folder) / DESCRIPTION)
        text = str(model_card(model, repo_id=repo_id) if card is None else card)
        (Path(folder) / CARD).write_text(text, encoding="utf-8")
        with _asking(f"{repo_id}: the Hub did not take the model", token):
            url = huggingface_hub.create_repo(
                repo_id, token=token, private=private, exist_ok=True, repo_type="model"
            )
            huggingface_hub.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                repo_type="model",
                token=token,
                revision=revision,
                commit_message=commit_message,
                allow_patterns=FILES,
                delete_patterns=[WEIGHTS],
            )
    return str(url)


def from_pretrained(repo_id, *, revision=None, token=None, trusted=()):
    """Load a pipeline that `push_to_hub` or `export.save` wrote; no code is run.

    Parameters
    ----------
    repo_id : str or Path
        "user/name" on the Hugging Face Hub, or a folder, which goes first.
    revision : str, default=None
        Branch, tag or commit of the repository; None is the main branch.
    token : str, default=None
        An access token that may read. None is that of ``hf auth login`` or ``HF_TOKEN``.
    trusted : sequence of str, default=()
        As in :func:`~lens_sklearn.export.load`.

    Returns
    -------
    Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted.

    Raises
    ------
    FileNotFoundError
        If there is no saved pipeline.
    ValueError
        If `repo_id` can be neither, an option of the Hub comes with a folder, or as
        :func:`~lens_sklearn.export.load`.
    OSError
        If the Hub does not give it.

    See Also
    --------
    push_to_hub : Writes it.

    Notes
    -----
    What belongs to the machine is not taken from the files, as :func:`~lens_sklearn.export.load`
    says. The name of the language model is: it is downloaded when texts are embedded.

    Examples
    --------
    >>> import tempfile
    >>> from lens_sklearn import LinearRewardRegressor, export, from_pretrained
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=50, n_features=4, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export.save(LinearRewardRegressor().fit(toy.pairs), folder)
    ...     again = from_pretrained(folder)
    >>> again.predict(toy.candidates).shape == toy.gold.shape
    True
    """
    import huggingface_hub

    if os.fspath(repo_id) and Path(repo_id).is_dir():
        given = {"revision": revision, "token": token}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} has no effect on the folder {os.fspath(repo_id)!r}.")
        return load(repo_id, trusted=trusted)
    _check_repo(repo_id)
    _check_token(token)
    with _asking(f"{repo_id}: the Hub did not give the model", token):
        folder = huggingface_hub.snapshot_download(
            repo_id, repo_type="model", revision=revision, token=token, allow_patterns=FILES
        )
    return load(folder, trusted=trusted)


def _check_repo(repo_id):
    if not isinstance(repo_id, str) or not HUB_NAME.fullmatch(repo_id):
        raise ValueError(
            f"repo_id={os.fspath(repo_id)!r} is neither a folder that is there nor a name on the "
            "Hub, such as 'user/my-reward'."
        )


def _check_token(token):
    # httpx puts a header that it cannot send into its error, token and all.
    if token is not None and (not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token)):
        raise ValueError(
            "token has to be a text without white space, such as 'hf_…', or None; give no True."
        )


def _refuse_local_models(path):
    """Refuse a saved pipeline whose language model is in a folder of this machine."""
    for where, name in _model_names(json.loads(path.read_text(encoding="utf-8"))):
        if not is_for_others(name):
            raise ValueError(
                f"{where} has model_name={name!r}, a folder of this machine, which nobody who "
                "loads the model has. Upload that language model to the Hub, fit with its name "
                "there, such as 'user/my-encoder', and push again."
            )


def _model_names(value, where="model"):
    """Yield the place and the name of every language model of a description."""
    if isinstance(value, list):
        for part in value:
            yield from _model_names(part, where)
    elif isinstance(value, dict):
        where = value.get("class") or where
        if isinstance(value.get("model_name"), str):
            yield where, value["model_name"]
        for part in value.values():
            yield from _model_names(part, where)


@contextmanager
def _asking(lead, token):
    """Say what the Hub was asked for where it fails, without the token."""
    try:
        yield
    except Exception as error:  # of huggingface_hub, its client, the network or the disk
        words = f"{type(error).__name__}: {error}"
        if token and token in words:
            # The first error would be printed with this one.
            raise OSError(f"{lead} ({words.replace(token, '…')}).") from None
        raise OSError(f"{lead} ({words}).") from error
