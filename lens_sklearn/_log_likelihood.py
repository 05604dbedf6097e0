"""How likely a causal language model finds tokens, from the hidden states of one forward pass."""

import numpy as np
import torch

LOGITS_AT_ONCE = 1 << 24  # entries; with their logarithms 128 MiB in float32


def check_logits(network, name):
    """Refuse a network that makes its logits in a way that is not known here.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        With a next-token head, in evaluation mode.
    name : str
        The model's name, for the message.

    Raises
    ------
    ValueError
        If :func:`logits` gives others than the network itself.
    """
    # Some families scale or cap what comes out of the head: a wrong number would not be noticed.
    with torch.inference_mode():
        tokens = torch.tensor([[0, 1]])
        states = network.base_model(input_ids=tokens).last_hidden_state
        ours, own = logits(network, states), network(input_ids=tokens).logits.float()
    if not torch.allclose(ours, own, rtol=0.02, atol=0.02 * float(own.abs().max())):
        raise ValueError(
            f"log_likelihood=True: how {name!r} makes logits of its hidden states is not known. "
            "Take another model, or log_likelihood=False."
        )


def logits(network, states):
    """Return what a causal network makes of its last hidden states.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        With a next-token head.
    states : Tensor, shape (..., h)
        Last hidden states.

    Returns
    -------
    Tensor of float32, shape (..., vocabulary)
        Logits, scaled and capped as the network's configuration says.
    """
    config = network.config.get_text_config()
    made = network.get_output_embeddings()(states).float()
    made = made * (getattr(config, "logit_scale", None) or 1.0)  # Cohere
    made = made / (getattr(config, "logits_scaling", None) or 1.0)  # Granite
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2
    return made if cap is None else cap * torch.tanh(made / cap)


def mean_log_likelihoods(network, states, ids, spans):
    """Return the mean log-likelihood of some tokens of each text.

    Parameters
    ----------
    network : transformers.PreTrainedModel
        With a next-token head.
    states : Tensor, shape (B, T, h)
        Its last hidden states; text i begins at token 0, whatever is behind it is not read.
    ids : list of ndarray of int
        Token ids of the B texts.
    spans : ndarray of int, shape (B, 2)
        First token that counts, and the one behind the last. A text's token 0 follows nothing,
        so it never counts.

    Returns
    -------
    Tensor of float32, shape (B,)
        Natural logarithms; 0 where no token counts.
    """
    positions = [np.arange(max(1, start), end) for start, end in spans]
    counts = np.array([len(p) for p in positions])
    rows, columns = np.repeat(np.arange(len(ids)), counts), np.concatenate(positions)
    wanted = np.concatenate([own[p] for own, p in zip(ids, positions, strict=True)])
    step = max(1, LOGITS_AT_ONCE // network.get_output_embeddings().weight.shape[0])
    found = [np.empty(0)]
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        made = logits(network, states[rows[part], columns[part] - 1])  # (tokens, vocabulary)
        own = torch.from_numpy(wanted[part].astype(np.int64)).to(made.device)
        loss = torch.nn.functional.cross_entropy(made, own, reduction="none")
        found.append(-loss.double().cpu().numpy())
    sums = np.bincount(rows, weights=np.concatenate(found), minlength=len(ids))
    return torch.from_numpy((sums / np.maximum(counts, 1)).astype(np.float32)).to(states.device)
