"""Weights that are the model's own: what a file lacks would be random, without a word."""

import json
import pickle
import re
from collections import Counter

import torch

#: Prefixes that wrappers leave in the names of weights, and what to do about them.
WRAPPERS = {
    "_orig_mod.": "they were saved from a compiled module: save model._orig_mod instead",
    "module.": "they were saved from a parallel wrapper: save model.module instead",
    "_fsdp_wrapped_module.": "they were saved from a sharded wrapper: save its full state instead",
    "base_model.model.": "they were saved from a PEFT model: save model.merge_and_unload() instead",
}
# Buffers that a network makes itself, and that older files hold or lack.
COMPUTED = re.compile(
    r"(position_ids|inv_freq|token_type_ids|masked_bias|num_batches_tracked"
    r"|(attn|attention)\.bias|(q|k|v|input|output)_scale)$"
)
POOLER = re.compile(r"(^|\.)\w*pooler\.")  # behind the hidden states
ADAPTER_KEYS = re.compile(r"\.(lora_\w+|base_layer|modules_to_save)\.")


def load_weights(loader, name, *, head=None, draws_head=False, **options):
    """Load a network, and refuse weights that are not all its own.

    Parameters
    ----------
    loader : type
        An ``Auto…`` class of transformers.
    name : str
        Name on the Hugging Face Hub or a local folder.
    head : {None, "causal", "reward"}, default=None
        Which head the loader puts on; None is none, and then a pooler may be missing.
    draws_head : bool, default=False
        Whether the head may be missing, for training.
    **options : dict
        Further arguments of ``from_pretrained``.

    Returns
    -------
    transformers.PreTrainedModel
        As loaded; of an encoder-decoder without a head the encoder.

    Raises
    ------
    ValueError
        If weights are missing, have other shapes, belong to layers that the configuration does
        not have, or are not finite, or the file is damaged.
    """
    network, missing, unexpected = load_with_report(loader, name, **options)
    if head is None and encoder_of(network) is not network:
        whole, network = network, encoder_of(network)
        own = {id(tensor) for _, tensor in _tensors(network)}
        missing -= {key for key, tensor in _tensors(whole) if id(tensor) not in own}
    if head is None or draws_head:
        missing = {key for key in missing if not POOLER.search(key)}
    if draws_head:
        missing = {key for key in missing if in_body(network, key)}
    refuse_strangers(network, name, missing, unexpected, head)
    check_finite(network, name)
    return network


def encoder_of(network):
    """Return the part of a network that reads a text.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        Without a head.

    Returns
    -------
    transformers.PreTrainedModel
        The encoder of an encoder-decoder, also where its configuration is an encoder's alone;
        any other network itself.
    """
    parts = dict(network.named_children())
    both = network.config.is_encoder_decoder or {"encoder", "decoder"} <= parts.keys()
    return network.get_encoder() if both else network


def load_with_report(loader, name, **options):
    """Load a network, and return the names of the weights that its file lacks.

    Parameters
    ----------
    loader : type
        An ``Auto…`` class of transformers.
    name : str
        Name on the Hugging Face Hub or a local folder.
    **options : dict
        Further arguments of ``from_pretrained``.

    Returns
    -------
    network : transformers.PreTrainedModel
        As loaded.
    missing, unexpected : set of str
        Names of weights that are random now, and of those in the file that are not used.

    Raises
    ------
    ValueError
        If weights have other shapes, or the file is damaged.
    """
    from safetensors import SafetensorError

    try:
        network, report = loader.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except torch.cuda.OutOfMemoryError:
        raise
    except pickle.UnpicklingError as error:  # torch advises to run what the file says
        raise ValueError(
            f"model_name={name!r}: its weights cannot be read: the file *.bin holds other things "
            "than tensors, which are never run, or it is damaged or a Git LFS pointer. Save the "
            "model again by save_pretrained, as safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"model_name={name!r}: its weights cannot be read ({type(error).__name__}: {error}). "
            "A file may be damaged, cut off or a Git LFS pointer; save or download it again."
        ) from error
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(
            f"model_name={name!r}: the network that its config.json describes cannot be made "
            f"({type(error).__name__}: {error})."
        ) from error
    if report["mismatched_keys"]:
        key, found, needed = min(report["mismatched_keys"])
        raise ValueError(
            f"model_name={name!r}: {len(report['mismatched_keys'])} of its weights have other "
            f"shapes than config.json says: {key!r} is {tuple(found)} and should be "
            f"{tuple(needed)}. Configuration and weights are of different models."
        )
    missing = {key for key in report["missing_keys"] if not COMPUTED.search(key)}
    return network, missing, set(report["unexpected_keys"])


def refuse_strangers(network, name, missing, unexpected, head=None):
    """Refuse weights of another model than the configuration's.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        As loaded.
    name : str
        The model's name, for the message.
    missing, unexpected : set of str
        Names of weights that may not be missing and are, and of those that are not used.
    head : {None, "causal", "reward"}, default=None
        Which head is needed.

    Raises
    ------
    ValueError
        If weights are missing, or would be left out though they are of the network's layers.
    """
    if missing:
        raise ValueError(_lacks(network, name, missing, unexpected, head))
    stray = {key for key in unexpected if _is_stray(network, key)}
    if stray:
        why = "the configuration has fewer layers or parts, or is another model's."
        if any(ADAPTER_KEYS.search(key) for key in stray):
            why = "an adapter was saved unmerged. Save model.merge_and_unload() instead."
        raise ValueError(
            f"model_name={name!r}: {len(stray)} of its weights have no place in the network that "
            f"config.json describes ({_some(stray)}) and would be left out: {why}"
        )


def in_body(network, key):
    """Tell whether a weight belongs to the network below its head.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        With a head or without one.
    key : str
        The weight's name.

    Returns
    -------
    bool
        True for all weights of a network that has no head.
    """
    has_head = network.base_model is not network
    return not has_head or key.startswith(f"{network.base_model_prefix}.")


def check_finite(network, name):
    """Refuse weights that are not finite.

    Parameters
    ----------
    network : torch.nn.Module
        Loaded.
    name : str
        The model's name, for the message.

    Raises
    ------
    ValueError
        If a weight is NaN or infinite.
    """
    for key, tensor in network.named_parameters():
        if tensor.is_meta or tensor.itemsize < 2 or not tensor.is_floating_point():
            continue
        # A sum is several times faster; one that overflows is no proof yet.
        if tensor.numel() and not tensor.detach().sum().isfinite() and not _is_finite(tensor):
            cause = "the training that made them diverged, or the file is damaged."
            if tensor.dtype == torch.float16:
                cause = "float16 ends at 65504: use dtype='bfloat16' or 'float32', if not " + cause
            raise ValueError(
                f"model_name={name!r}: the weights {key!r} hold values that are not finite; {cause}"
            )


def _is_finite(tensor):
    return bool(torch.stack(torch.aminmax(tensor.detach())).isfinite().all())


def _lacks(network, name, missing, unexpected, head):
    """Say what is missing and why it may be."""
    needed = len(list(network.named_parameters()))
    if head is not None and not any(in_body(network, key) for key in missing):
        return (
            f"model_name={name!r} has no {head} head: its weights lack {sorted(missing)[:3]}, "
            "which would be random. Take a model that was saved with its head."
        )
    return (
        f"model_name={name!r}: its weights lack {len(missing)} of the {needed} that "
        f"{type(network).__name__} has ({_some(missing)}), which would be random. "
        + _reason(missing, unexpected)
    )


def _reason(missing, unexpected):
    if any(ADAPTER_KEYS.search(key) for key in unexpected):
        return "They hold an adapter that was not merged: save model.merge_and_unload() instead."
    prefix, added = _renamed(missing, unexpected) or ("", False)
    if added:
        wrapper = next((w for w in WRAPPERS if prefix.startswith(w)), None)
        why = WRAPPERS.get(wrapper, "save the model itself by save_pretrained")
        return f"The file's names begin with {prefix!r} in addition; {why}, or rename them."
    if prefix:
        return f"The file's names lack the beginning {prefix!r}; rename them."
    if len(unexpected) >= len(missing):
        return (
            f"The file has {len(unexpected)} with other names ({_some(unexpected)}): config.json "
            "seems to be another model's."
        )
    layers = sorted({int(n) for key in missing for n in re.findall(r"\.(\d+)\.", f".{key}")})
    if layers and all(re.search(r"(^|\.)\d+\.", key) for key in missing):
        return (
            f"They are of the layers {', '.join(map(str, layers[:5]))}, counted from 0: was the "
            "file cut off, or does config.json say too many layers?"
        )
    return "Save the model again by save_pretrained, with all of its weights."


def _renamed(missing, unexpected):
    """Return (prefix, whether the file has it in addition) that explains most names, or None."""
    counts = Counter()
    ends = Counter(unexpected)
    for key in missing:
        parts = key.split(".")
        for i in range(1, len(parts)):
            if ends[".".join(parts[i:])]:
                counts[".".join(parts[:i]) + ".", False] += 1
    suffixes = {}
    for key in unexpected:
        parts = key.split(".")
        for i in range(1, len(parts)):
            suffixes.setdefault(".".join(parts[i:]), []).append(".".join(parts[:i]) + ".")
    for key in missing:
        counts.update((prefix, True) for prefix in suffixes.get(key, ()))
    likeliest = counts.most_common(1)
    return likeliest[0][0] if likeliest and likeliest[0][1] > len(missing) / 2 else None


def _is_stray(network, key):
    """Tell whether an unused weight is a part of one of the network's own layers."""
    if COMPUTED.search(key):
        return False
    if ADAPTER_KEYS.search(key):
        return True
    prefix = f"{network.base_model_prefix}."
    own = {key, key.removeprefix(prefix), prefix + key}
    lists = [n for n, m in network.named_modules() if isinstance(m, torch.nn.ModuleList)]
    return any(k.startswith(f"{name}.") for k in own for name in lists)


def _tensors(network):
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _some(keys):
    keys = sorted(keys)
    return ", ".join(map(repr, keys[:3])) + (", …" if len(keys) > 3 else "")
