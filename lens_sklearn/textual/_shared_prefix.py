"""Logits behind texts that begin alike: what they share is computed once."""

from typing import Any, NamedTuple

import numpy as np
import torch

from ._networks import last_logits, pad_left

WORTHWHILE = 0.1  # share of all tokens that need not be computed, below which it does not pay


class State(NamedTuple):
    """Texts up to some token, as the network remembers them.

    Attributes
    ----------
    cache : transformers.DynamicCache
        Keys and values of each layer.
    mask : Tensor of int, shape (B, T)
        1 at tokens, 0 at padding.
    """

    cache: Any
    mask: torch.Tensor


class SharedPrefix:
    """Computes the logits behind token ids in batches.

    All texts of a judge begin with the same instruction, and those of one prompt go on with it.
    The network reads what all share once, and what those of a prompt share once a batch. Where
    that saves little, or the network has no plain cache of keys and values, as with sliding
    windows and recurrent states, each text is read whole.

    Parameters
    ----------
    model : HeadedModel
        With a causal head.
    ids : list of ndarray of int
        Token ids.
    n_last : ndarray of int, shape (len(ids),)
        How many logits of each are asked for, counted from the end.
    group : ndarray of int, shape (len(ids),)
        Texts of one group may have more in common than all of them.

    Attributes
    ----------
    lengths : ndarray of int, shape (len(ids),)
        What is to be batched by: each text's group has one length, so that it stays together.
    """

    def __init__(self, model, ids, n_last, group):
        self.model, self.ids, self.n_last, self.group = model, ids, n_last, np.asarray(group)
        lengths = np.array([len(own) for own in ids])
        _, number = np.unique(self.group, return_inverse=True)
        longest = np.zeros(number.max() + 1, dtype=int)
        np.maximum.at(longest, number, lengths)
        self.n_shared = self._n_common(np.arange(len(ids)))
        groups = [np.flatnonzero(number == g) for g in range(len(longest))]
        saved = (len(ids) - 1) * self.n_shared
        saved += sum((len(g) - 1) * (self._n_common(g) - self.n_shared) for g in groups)
        self._shares = saved > WORTHWHILE * lengths.sum() and has_plain_cache(model)
        self.lengths = longest[number] if self._shares else lengths
        self._start = None

    def logits(self, batch):
        """Return the logits that follow the last tokens.

        Parameters
        ----------
        batch : ndarray of int, shape (B,)
            Indices of texts.

        Returns
        -------
        Tensor of float, shape (B, n, vocabulary)
            For the largest of their `n_last`, on the network's device.
        """
        n_last = int(self.n_last[batch].max())
        if not self._shares:
            return last_logits(self.model, [self.ids[i] for i in batch], n_last)
        if self._start is None and self.n_shared:
            self._start, _ = self._read(None, None, [self.ids[0][: self.n_shared]], 1)
        start, n_read = self._start, np.full(len(batch), self.n_shared)
        rows = np.zeros(len(batch), dtype=int)
        _, number = np.unique(self.group[batch], return_inverse=True)
        members = [batch[number == g] for g in range(number.max() + 1)]
        ends = np.array([self._n_common(m) if len(m) > 1 else self.n_shared for m in members])
        sizes = np.array([len(m) for m in members])
        saved = ((sizes - 1) * (ends - self.n_shared)).sum()
        if saved > WORTHWHILE * sum(len(self.ids[i]) - self.n_shared for i in batch):
            middles = [
                self.ids[m[0]][self.n_shared : e] for m, e in zip(members, ends, strict=True)
            ]
            start, _ = self._read(start, np.zeros(len(members), dtype=int), middles, 1)
            n_read, rows = ends[number], number
        rest = [self.ids[i][n:] for i, n in zip(batch, n_read, strict=True)]
        return self._read(start, rows, rest, n_last)[1]

    def _n_common(self, numbers):
        """Return how many tokens texts begin with alike, none of those whose logits are asked."""
        first = self.ids[numbers[0]]
        n = min(len(self.ids[i]) - int(self.n_last[i]) for i in numbers)
        for i in numbers[1:]:
            differ = np.flatnonzero(first[:n] != self.ids[i][:n])
            n = int(differ[0]) if len(differ) else n
        return max(n, 0)

    def _read(self, before, rows, ids, n_last):
        """Go on from rows of a state; return the new state and the logits of the last tokens."""
        network = self.model.network
        tokens, mask = (torch.from_numpy(a) for a in pad_left(ids, self.model.pad_id))
        mask = mask.to(network.device)
        cache = None
        if before is not None:
            cache = select_rows(before.cache, rows)
            rows = torch.from_numpy(rows).to(before.mask.device)
            mask = torch.cat([before.mask[rows], mask], dim=1)
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        with torch.inference_mode():
            output = network(
                input_ids=tokens.to(network.device),
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=n_last,
            )
        return State(output.past_key_values, mask), output.logits


def has_plain_cache(model):
    """Tell whether a network remembers keys and values of all tokens, and nothing else.

    Parameters
    ----------
    model : HeadedModel
        With a causal head.

    Returns
    -------
    bool
        By what it returns for one token.
    """
    from transformers import cache_utils

    layer_class = getattr(cache_utils, "DynamicLayer", None)
    network = model.network
    tokens = torch.zeros((1, 1), dtype=torch.long, device=network.device)
    with torch.inference_mode():
        output = network(input_ids=tokens, use_cache=True)
    cache = getattr(output, "past_key_values", None)
    if layer_class is None or type(cache) is not cache_utils.DynamicCache:
        return False
    return all(type(layer) is layer_class and layer.keys is not None for layer in cache.layers)


def select_rows(cache, rows):
    """Copy rows of a cache, which a network may then lengthen.

    Parameters
    ----------
    cache : transformers.DynamicCache
        With plain layers.
    rows : ndarray of int, shape (B,)
        Which, in order; they may repeat.

    Returns
    -------
    transformers.DynamicCache
        Of B rows.
    """
    from transformers import DynamicCache

    copy = DynamicCache()
    for number, layer in enumerate(cache.layers):
        own = torch.from_numpy(rows).to(layer.keys.device)
        with torch.inference_mode():
            copy.update(layer.keys[own], layer.values[own], number)
    return copy
