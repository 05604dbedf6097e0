"""Networks out of an adapter's folder, and what is said of one that cannot be read."""

import pickle
from contextlib import contextmanager

import torch

from .._model_weights import check_finite, in_body, load_with_report, refuse_strangers
from .._packaged_model import packaged_folder
from ._extras import ignore_deprecations, import_extra

LONGEST_REASON = 300  # characters of another package's error


def load_adapter(transformers, loader, folder, options, head):
    """Load the model that an adapter's folder names, and put the adapter on it.

    Parameters
    ----------
    transformers : module
        The imported package.
    loader : type
        An auto class of transformers.
    folder : str
        The adapter's folder.
    options : dict
        Passed on to the loader.
    head : {"causal", "reward"}
        Which head the network shall have.

    Returns
    -------
    peft.PeftModel
        The network with the adapter on it.

    Raises
    ------
    ValueError
        If the adapter is damaged, was made for another model, or has no such head.
    OSError
        If the model that it names cannot be loaded.
    """
    peft = import_extra("peft")
    with _told_of_adapter(folder):
        adapter = peft.PeftConfig.from_pretrained(folder)
        saved = peft.load_peft_weights(folder, device="cpu")
    if adapter.is_prompt_learning:
        raise ValueError(
            f"model_name={folder!r} holds an adapter of virtual tokens "
            f"(peft_type {adapter.peft_type.value}), which is not read: they change which tokens a "
            "text has. Take an adapter of weights, such as LoRA."
        )
    try:
        network, missing, unexpected = load_with_report(
            loader,
            packaged_folder(adapter.base_model_name_or_path),
            revision=adapter.revision,
            config=transformers.AutoConfig.from_pretrained(folder, local_files_only=True),
            trust_remote_code=False,
            **options,
        )
    except OSError as error:
        raise OSError(
            f"model_name={folder!r}: the adapter's model {adapter.base_model_name_or_path!r}, "
            f"which adapter_config.json names (base_model_name_or_path), cannot be loaded: {error}"
        ) from error
    own = {key.removeprefix("base_model.model.") for key in saved}
    lacking = {key for key in missing - own if not in_body(network, key)}
    if lacking and lacking == missing - own:
        raise ValueError(
            f"model_name={folder!r}: neither the adapter nor its model "
            f"{adapter.base_model_name_or_path!r} has a {head} head ({sorted(lacking)[:3]}), which "
            "would be random. Save the adapter with the head, by modules_to_save of its "
            "peft.LoraConfig."
        )
    refuse_strangers(network, adapter.base_model_name_or_path, missing - own, unexpected, head)
    with ignore_deprecations(), _told_of_adapter(folder):
        whole = peft.PeftModel.from_pretrained(network, folder)
        report = whole.load_adapter(folder, "default")
    wrong = sorted({*report.missing_keys, *report.unexpected_keys})
    if wrong:
        raise ValueError(
            f"model_name={folder!r}: {len(wrong)} of the adapter's weights do not fit the model "
            f"{adapter.base_model_name_or_path!r} ({wrong[0]!r}); it was made for another."
        )
    check_finite(whole, folder)
    return whole


@contextmanager
def _told_of_adapter(folder):
    """Name the folder of an adapter that PEFT fails to read."""
    from safetensors import SafetensorError

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (
        SafetensorError,
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
        if isinstance(error, pickle.UnpicklingError):  # torch advises to run what the file says
            reason = "the file *.bin holds other things than tensors, which are never run"
        raise ValueError(
            f"model_name={folder!r}: its adapter cannot be put on its model "
            f"({type(error).__name__}: {reason}). It is damaged, was made for another model, or "
            "its adapter_config.json is another adapter's."
        ) from error
