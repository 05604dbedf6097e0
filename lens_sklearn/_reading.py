"""Which hidden states of a language model are read, and how their tokens are pooled."""

from numbers import Integral

from ._hidden_states import POOLINGS

# Where a decoder is read by default: at this share of its depth, by the mean over the response and
# by the last token. In SmolLM2 (30 layers, people's preferences) these states order pairs better
# than the last layer's last token, which is about the next token (docs/research/two_views.md).
DECODER_DEPTH = 0.6
DECODER_POOLINGS = ("last", "response_mean")
# An encoder: all layers, by the mean, as MiniLM's did best.
ENCODER_POOLINGS = ("mean",)
# Listed among causal models and not among masked ones, though their tokens see what follows.
SEE_WHAT_FOLLOWS = {"bert-generation", "xlnet"}


def is_decoder(config):
    """Tell whether no token of a model sees those that follow it.

    Parameters
    ----------
    config : transformers.PreTrainedConfig
        A text model's configuration.

    Returns
    -------
    bool
        Whether its log-likelihoods mean something, and its last token alone has seen the text.
    """
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False) or not getattr(config, "is_causal", True):
        return False
    if getattr(config, "use_bidirectional_attention", None) in (True, "all"):
        return False
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return False
    # BERT and its kin have causal variants too, which say so.
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES or kind in SEE_WHAT_FOLLOWS
    return not encoder or bool(getattr(config, "is_decoder", False))


def read_poolings(pooling, decoder):
    """Return the poolings that a parameter means.

    Parameters
    ----------
    pooling : str or list of str
        "auto", a name or several.
    decoder : bool
        Whether the model is one.

    Returns
    -------
    tuple of str
        Names that ``_hidden_states.pool`` knows.

    Raises
    ------
    ValueError
        If a name is another, or there is none.
    """
    if isinstance(pooling, str) and pooling == "auto":
        return DECODER_POOLINGS if decoder else ENCODER_POOLINGS
    poolings = (pooling,) if isinstance(pooling, str) else tuple(pooling)
    wrong = [name for name in poolings if name not in POOLINGS]
    if wrong or not poolings:
        raise ValueError(
            f"pooling={pooling!r}: expected 'auto' or one or several of {', '.join(POOLINGS)}"
            + (f"; {wrong[0]!r} is none of them." if wrong else ".")
        )
    return poolings


def read_layers(layer, n_hidden_states, decoder):
    """Return the hidden states that a parameter means.

    Parameters
    ----------
    layer : int, list of int, "all" or "auto"
        Negative numbers count from the end.
    n_hidden_states : int
        How many there are, the embedding layer included.
    decoder : bool
        Whether the model is one.

    Returns
    -------
    tuple of int
        Indices counted from 0.

    Raises
    ------
    ValueError
        If there is no such hidden state, or the list is empty.
    """
    if isinstance(layer, str):
        if layer == "auto" and decoder:
            return (round(DECODER_DEPTH * (n_hidden_states - 1)),)
        return tuple(range(n_hidden_states))
    layers = [layer] if isinstance(layer, Integral) else list(layer)
    for index in layers:
        if not isinstance(index, Integral) or not -n_hidden_states <= index < n_hidden_states:
            raise ValueError(
                f"layer={layer!r}: {index!r} is not a hidden state of this model, which has "
                f"{n_hidden_states} (0 is the embedding layer, {n_hidden_states - 1} or -1 the "
                "last)."
            )
    if not layers:
        raise ValueError("layer=[]: at least one hidden state is needed.")
    return tuple(int(index) % n_hidden_states for index in layers)


def check_same_model(language_model, layers, width):
    """Refuse a model that is not the one an embedder was fitted to: a folder may hold another.

    Parameters
    ----------
    language_model : LanguageModel
        The model that is there.
    layers : tuple of int
        The hidden states that `fit` chose, counted from 0.
    width : float
        Features of these together, by one pooling.

    Raises
    ------
    ValueError
        If it has not those hidden states, or they are not so wide.
    """
    n, size = language_model.n_hidden_states, language_model.hidden_size
    if max(layers) >= n or width != len(layers) * size:
        raise ValueError(
            f"the model has {n} hidden states of {size} features; the embedder was fitted for "
            f"{width:g} features of the hidden states {layers}. Fit it again, or give the model "
            "that it was fitted to."
        )
