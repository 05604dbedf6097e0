"""Token ids to batches, and the hidden states of a batch to one vector a text."""

import numpy as np
import torch

POOLINGS = ("last", "mean", "response_mean", "cls", "weighted_mean", "max")


def pad_right(ids, pad_id):
    """Put token ids of several lengths into one array.

    Parameters
    ----------
    ids : list of ndarray of int
        Token ids.
    pad_id : int
        Fills the right; only the mask tells padding from tokens.

    Returns
    -------
    tokens, mask : ndarray of int64, shape (len(ids), longest)
        Token ids and 1 where they are.
    """
    lengths = np.array([len(i) for i in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
    tokens = np.full(mask.shape, pad_id, dtype=np.int64)
    tokens[mask] = np.concatenate(ids)
    return tokens, mask.astype(np.int64)


def pool(hidden, mask, pooling, starts=None, lasts=None):
    """Pool the hidden states of each text's own tokens, in float32.

    Which tokens are padding is read from the mask alone, so a padding token that is also the
    end-of-sequence token makes no difference, nor does the side it is on.

    Parameters
    ----------
    hidden : Tensor, shape (B, T, h)
        Hidden states.
    mask : Tensor of int, shape (B, T)
        1 at tokens, 0 at padding, on either side.
    pooling : {"last", "mean", "response_mean", "cls", "weighted_mean", "max"}
        One of `POOLINGS`: the last token, the mean, the mean from the response's first token on,
        the first token, the mean weighted by position 1, 2, …, or the maximum.
    starts : Tensor of int, shape (B,), default=None
        First token of each response, counted without padding. Where there is no such token, its
        mean is the last one; None is the whole text.
    lasts : Tensor of int, shape (B,), default=None
        The token that "last" reads, counted likewise; None is the text's last.

    Returns
    -------
    Tensor of float32, shape (B, h)
        One vector a text.
    """
    mask = mask.bool()
    if pooling in ("last", "cls"):
        # argmax returns the first of equal maxima: the first token, seen from either end.
        if pooling == "cls":
            index = mask.int().argmax(dim=1)
        elif lasts is not None:
            index = mask.int().argmax(dim=1) + lasts
        else:
            index = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), index].float()
    hidden = hidden.float()
    if pooling == "max":
        return hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    weight = mask.float()  # (B, T)
    if pooling == "response_mean" and starts is not None:
        position = weight.cumsum(dim=1) - 1
        first = torch.minimum(starts.to(weight), weight.sum(dim=1) - 1)
        weight = weight * (position >= first[:, None])
    if pooling == "weighted_mean":
        weight = weight * weight.cumsum(dim=1)
    weight = weight / weight.sum(dim=1, keepdim=True)
    # Padding may hold infinities in half precision: 0 * inf would be NaN.
    hidden = hidden.masked_fill((weight == 0)[..., None], 0.0)
    return torch.einsum("bt,bth->bh", weight, hidden)


def batches_by_tokens(lengths, budget):
    """Group texts of like length so that each batch has at most `budget` padded tokens.

    Parameters
    ----------
    lengths : ndarray of int, shape (n,)
        Tokens of each text.
    budget : int
        Upper bound of longest × count; a text that is longer by itself is a batch by itself.

    Returns
    -------
    list of ndarray of int
        Indices into `lengths`, the longest texts first so that a lack of memory shows at once.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches
