"""Augmented pairs on a GPU, read by a tensor of indices without waiting for it."""

import numpy as np
import torch

from ._pools import DecodedRows

#: Rows of a pool decoded at once.
CHUNK = 8192
#: Share of the free memory that rows decoded beforehand may take.
MEMORY_SHARE = 0.5


class PairTable:
    """Pairs of which every batch takes the same operations, so that a CUDA graph may hold them.

    :class:`AugmentedPairs` reads synthetic and real members apart, so its operations depend on
    which those are. Here every member is read both ways and the right one is taken. Synthetic
    members stay codes; those of another pool are decoded once.

    Parameters
    ----------
    pairs : AugmentedPairs
        Moved to a device by `to`.
    """

    def __init__(self, pairs):
        flat = pairs.originals.flatten(0, 1)  # (2n, d)
        pool, device = pairs.pool, flat.device
        synthetic = pairs.members >= len(flat)
        if not synthetic.any():
            pool = None
        if pool is not None and not isinstance(pool, DecodedRows):
            flat, pool = _beside(flat, pool), None

        def put(array):
            return torch.from_numpy(array).to(device)

        self.rows, self.pool = flat, pool
        if pool is None:
            self.members = put(pairs.members)
            return
        self.members = put(np.where(synthetic, 0, pairs.members))  # (n_pairs, 2)
        codes = np.where(synthetic, pairs.members - len(flat), 0)
        self.codes, self.synthetic = put(codes), put(synthetic)
        if pool.base is not None:
            self.base_row = put(np.asarray(pool.base_row, dtype=np.int64))

    def __getitem__(self, index):
        """Return pairs.

        Parameters
        ----------
        index : tensor of int, shape (b,)
            Which; on the device.

        Returns
        -------
        tensor of float32, shape (b, 2, d)
            Their embeddings.
        """
        shape = (len(index), 2, self.rows.shape[1])
        real = self.rows.index_select(0, self.members.index_select(0, index).flatten())
        if self.pool is None:
            return real.view(shape)
        code = self.codes.index_select(0, index).flatten()  # (2b,)
        made = self.pool.codes.index_select(0, code) @ self.pool.weight
        if self.pool.base is not None:
            made += self.pool.base.index_select(0, self.base_row.index_select(0, code))
        synthetic = self.synthetic.index_select(0, index).view(-1, 1)
        return torch.where(synthetic, made, real).view(shape)


def fits(pairs, free):
    """Tell whether a :class:`PairTable` has room.

    Parameters
    ----------
    pairs : AugmentedPairs
        The pairs, already on the device.
    free : int
        Bytes that are free there.

    Returns
    -------
    bool
        Indices and, of a pool that is not kept as codes, rows and originals beside each other.
    """
    needed = 3 * pairs.members.nbytes
    if pairs.pool is not None and not isinstance(pairs.pool, DecodedRows):
        needed += 4 * (2 * len(pairs.originals) + len(pairs.pool)) * pairs.shape[-1]
    return needed < MEMORY_SHARE * free


def _beside(flat, pool):
    """Return rows and, below them, those of a pool, decoded chunk by chunk."""
    table = flat.new_empty(len(flat) + len(pool), flat.shape[1])
    table[: len(flat)] = flat
    for start in range(0, len(pool), CHUNK):
        stop = min(start + CHUNK, len(pool))
        table[len(flat) + start : len(flat) + stop] = pool[np.arange(start, stop)]
    return table
