"""A network without its weights: how many tokens it knows, and how many it may read."""

import re

import torch

# What configurations call the most tokens that a network may read.
LENGTH_NAMES = ("max_position_embeddings", "max_seq_len", "max_sequence_length")
POSITIONS = re.compile(r"(^|\.)(embed_positions|positions?_embed|positions?_embeddings?)$")


def make_blueprint(transformers, config):
    """Make a network that has shapes and no numbers.

    Parameters
    ----------
    transformers : module
        The imported package.
    config : transformers.PreTrainedConfig
        The model's.

    Returns
    -------
    torch.nn.Module or None
        On the device "meta", so that it takes no memory. None where the network's code does not
        allow for that.
    """
    try:
        with torch.device("meta"):
            return transformers.AutoModel.from_config(config)
    except Exception:  # code that needs numbers may fail in any way
        return None


def n_embeddings(blueprint, config):
    """Return how many tokens a network has an embedding for.

    Parameters
    ----------
    blueprint : torch.nn.Module or None
        From :func:`make_blueprint`.
    config : transformers.PreTrainedConfig
        The text model's.

    Returns
    -------
    int or None
        None where that is not known, as of networks that read letters.
    """
    if blueprint is not None:
        try:
            matrix = blueprint.get_input_embeddings().weight
        except (AttributeError, NotImplementedError):
            return None
        return len(matrix)
    return getattr(config, "vocab_size", None)


def length_limits(blueprint, config):
    """Return the limits that a network sets to a text's tokens.

    Parameters
    ----------
    blueprint : torch.nn.Module or None
        From :func:`make_blueprint`.
    config : transformers.PreTrainedConfig
        The text model's.

    Returns
    -------
    list of int
        The lowest holds; empty where there is none.
    """
    named = [getattr(config, name, None) for name in LENGTH_NAMES]
    rows = None if blueprint is None else n_positions(blueprint)
    return [n for n in [*named, rows] if isinstance(n, int) and n > 0]


def n_positions(network):
    """Return how many tokens a network's table of positions has rows for.

    Parameters
    ----------
    network : torch.nn.Module
        With or without numbers.

    Returns
    -------
    int or None
        Rows that tokens get: RoBERTa and its kin begin behind the padding's, OPT and BART behind
        some offset. None where there is no table.
    """
    found = []
    for name, module in network.named_modules():
        table = getattr(module, "weight", None)
        if not POSITIONS.search(name) or getattr(table, "ndim", 0) != 2:
            continue
        padding = getattr(module, "padding_idx", None)
        unused = (getattr(module, "offset", None) or 0) + (0 if padding is None else padding + 1)
        if unused < len(table):
            found.append(len(table) - unused)
    return min(found, default=None)
