"""The pairs that a Gaussian process learns from."""

import hashlib
from dataclasses import dataclass

import numpy as np
from sklearn.utils import gen_batches

#: Pairs that are decoded at once while repeated ones are looked for.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class TrainingPairs:
    """Distinct pairs with what was observed of them.

    Parameters
    ----------
    members : ndarray of float64, shape (2 * n, d)
        Embeddings, the members of a pair beside each other.
    target : ndarray of float64, shape (n,)
        Probabilities that column 0 wins.
    weight : ndarray of float64, shape (n,)
        How often each pair was observed.
    group : ndarray, shape (n,)
        The prompt of each.
    """

    members: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    group: np.ndarray

    def __len__(self):
        return len(self.target)

    def take(self, index):
        """Return some of the pairs.

        Parameters
        ----------
        index : ndarray of int, shape (m,)
            Which.

        Returns
        -------
        TrainingPairs
            Those.
        """
        members = self.members[member_rows(index)]
        return TrainingPairs(members, self.target[index], self.weight[index], self.group[index])


def merge_repeated_pairs(pairs):
    """Merge pairs that are the same, which leaves the likelihood as it is.

    A pair that is observed twice with weight 1 and one that is observed once with weight 2 then
    are the same to all that follows. Pairs are the same if their embeddings are, to the bit, in
    either order of the columns.

    Parameters
    ----------
    pairs : AugmentedPairs
        Pairs with targets and weights.

    Returns
    -------
    index : ndarray of int, shape (m,)
        The first of each set of same pairs, in the order of `pairs`.
    target : ndarray of float64, shape (m,)
        The weighted mean of their targets.
    weight : ndarray of float64, shape (m,)
        The sum of their weights.
    place : ndarray of int, shape (n,)
        Of each pair, which of the m it was merged into.
    sign : ndarray of float64, shape (n,)
        1 where it stands as that one does, -1 where its columns are swapped.
    """
    target, weight = pairs.target.astype(np.float64), pairs.weight.astype(np.float64)
    index, place, swapped = _same_pairs(pairs)
    sign = np.where(swapped == swapped[index][place], 1.0, -1.0)
    if len(index) == len(pairs):
        return index, target, weight, place, sign
    target = np.where(sign > 0, target, 1 - target)
    total = np.bincount(place, weight)
    # Added up from the first, so that the mean of equal targets is that target to the bit.
    away = np.bincount(place, weight * (target - target[index][place])) / total
    return index, np.clip(target[index] + away, 0, 1), total, place, sign


def _same_pairs(pairs):
    """Return the first of same pairs (m,), the place of each there (n,), which are swapped (n,)."""
    # Pairs of the same members need not be decoded to be known as the same.
    _, first, known = np.unique(pairs.members, axis=0, return_index=True, return_inverse=True)
    digests = []
    for chunk in gen_batches(len(first), CHUNK):
        rows = pairs.rows(first[chunk]) + 0  # -0.0 becomes 0.0
        members = rows.reshape(-1, rows.shape[-1])
        digests += [hashlib.blake2b(member, digest_size=16).digest() for member in members]
    _, code = np.unique(np.frombuffer(b"".join(digests), dtype="V16"), return_inverse=True)
    code = code.reshape(-1, 2)[known.ravel()]  # (n, 2)
    _, first, place = np.unique(
        np.sort(code, axis=1), axis=0, return_index=True, return_inverse=True
    )
    order = np.argsort(first)  # that of the pairs
    return first[order], np.argsort(order)[place.ravel()], code[:, 0] > code[:, 1]


def member_rows(index):
    """Return where the members of pairs stand.

    Parameters
    ----------
    index : ndarray of int, shape (m,)
        Pairs.

    Returns
    -------
    ndarray of int, shape (2 * m,)
        Rows of the members of all pairs, those of a pair beside each other.
    """
    return np.stack([2 * index, 2 * index + 1], axis=1).ravel()
