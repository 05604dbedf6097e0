"""Original pairs and the synthetic ones made from them, and their batches as codes."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ._augmented_rows import AugmentedRows
from ._device import as_tensor
from ._pools import DecodedRows, take_rows


def default_target(pairs):
    """Return 1 for each pair of an array, 0.5 where its two columns are equal.

    Parameters
    ----------
    pairs : ndarray, shape (n, 2, d)
        Pairs, column 0 chosen.

    Returns
    -------
    ndarray of float32, shape (n,)
        Targets.
    """
    target = np.ones(len(pairs), dtype=np.float32)
    # Compare the first feature before the rest: equal columns are rare and n·d is large.
    maybe = np.flatnonzero(pairs[:, 0, 0] == pairs[:, 1, 0])
    target[maybe[(pairs[maybe, 0] == pairs[maybe, 1]).all(axis=-1)]] = 0.5
    return target


def check_target(y):
    """Check the probabilities that column 0 wins.

    Parameters
    ----------
    y : array-like, shape (n,)
        Probabilities in [0, 1].

    Returns
    -------
    ndarray of float32, shape (n,)
        The targets.

    Raises
    ------
    ValueError
        On a value outside [0, 1] or NaN; the message names the row.
    """
    y = np.asarray(y, dtype=np.float32)
    bad = ~((y >= 0) & (y <= 1))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(f"y[{i}] is {y[i]}; the probability that column 0 wins is in [0, 1].")
    return y


def check_weight(weight):
    """Check the weights of pairs.

    Parameters
    ----------
    weight : array-like, shape (n,)
        Weights.

    Returns
    -------
    ndarray of float32, shape (n,)
        The weights.

    Raises
    ------
    ValueError
        On one that is negative or not finite; the message names the row.
    """
    weight = np.asarray(weight, dtype=np.float32)
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(f"weight[{i}] is {weight[i]}; a weight is finite and not negative.")
    return weight


class CodedPairs:
    """A batch of pairs whose synthetic members are still codes.

    A linear layer Q sees a synthetic member as ``codes @ (weight @ Q)``: weight goes through it
    once a batch, however many members are made from it, and nothing is decoded to d.

    Parameters
    ----------
    rows : tensor of float32, shape (h + r, d)
        The weight that decodes the codes, then the distinct real members.
    codes : tensor of float32, shape (s, h)
        The distinct synthetic members.
    order : tensor of int, shape (b, 2)
        The members of each pair: numbers below s are synthetic, the others real.
    """

    def __init__(self, rows, codes, order):
        self.rows = rows
        self.codes = codes
        self.order = order

    def __len__(self):
        return len(self.order)

    def project(self, matrix):
        """Multiply the distinct members with a matrix.

        Parameters
        ----------
        matrix : tensor, shape (d, k)
            A linear layer.

        Returns
        -------
        tensor, shape (s + r, k)
            The products; `order` finds those of each pair.
        """
        product = self.rows @ matrix  # (h + r, k)
        h = self.codes.shape[1]
        return torch.cat([self.codes @ product[:h], product[h:]])


@dataclass(frozen=True, eq=False, repr=False)
class AugmentedPairs:
    """Original pairs and the synthetic ones made from them, with where each came from.

    The container behaves as an array of shape ``(n_pairs, 2, d)``: it has a length and a
    shape, slices by rows and turns into an array for whoever asks for one. The originals are
    held once and synthetic members as a pool, so memory grows with the originals and not with
    the augmentation factor as long as the pool's rows are kept as codes.

    It is frozen: :func:`dataclasses.replace` makes one with other targets or weights. A slice
    shares the embeddings and nothing else.

    Parameters
    ----------
    originals : ndarray of float32, shape (n, 2, d)
        The real pairs, column 0 chosen.
    pool : ndarray of shape (m, d), DecodedRows or the like, optional
        Synthetic members; other than an array it gives rows by an array of indices and moves
        to a device by ``to``.
    members : ndarray of int, shape (n_pairs, 2), optional
        The two members of each pair: numbers below 2n are originals (``2 * i + column``), the
        others count through the pool. Default: the originals alone.
    parent : ndarray of int, shape (n_pairs,), optional
        Index of the original pair that each pair comes from.
    target : array-like of shape (n,) or (n_pairs,), optional
        Probability that column 0 wins; an array of length n is handed down from parents.
        Default: 1, and 0.5 where an original's two columns are equal.
    weight : array-like of shape (n,) or (n_pairs,), optional
        Weight of each pair in the loss. Default: 1.
    is_synthetic : ndarray of bool, shape (n_pairs,), optional
        Whether at least one member of the pair is synthetic, or the pair is a copy: only the
        first pair of each parent is original. Default: found from the members.
    has_targets : bool, default=False
        Whether whoever augmented the pairs was given their targets, or made them. A Pipeline
        gives its ``y`` to every step: these pairs have had theirs.

    Raises
    ------
    ValueError
        If a target is outside [0, 1], or a weight is negative or not finite.
    """

    originals: np.ndarray
    pool: object = None
    members: np.ndarray | None = None
    parent: np.ndarray | None = None
    target: np.ndarray | None = None
    weight: np.ndarray | None = None
    is_synthetic: np.ndarray | None = None
    has_targets: bool = False

    def __post_init__(self):
        n = len(self.originals)
        if self.members is None:
            self._set("members", np.arange(2 * n).reshape(n, 2))
        if self.parent is None:
            self._set("parent", self.members[:, 0] // 2)
        target = default_target(self.originals) if self.target is None else self.target
        weight = np.ones(n, dtype=np.float32) if self.weight is None else self.weight
        self._set("target", self._hand_down(check_target(target)))
        self._set("weight", self._hand_down(check_weight(weight)))
        if self.is_synthetic is None:
            first = np.zeros(len(self.members), dtype=bool)
            first[np.unique(self.parent, return_index=True)[1]] = True
            self._set("is_synthetic", (self.members >= 2 * n).any(axis=1) | ~first)

    def _set(self, name, value):
        object.__setattr__(self, name, value)  # as a frozen dataclass sets a field

    def _hand_down(self, values):
        """Give each pair its own value, or that of its parent."""
        return values if len(values) == len(self.members) else values[self.parent]

    def with_target(self, y):
        """Return the same pairs with other targets.

        Parameters
        ----------
        y : array-like of shape (n,) or (n_pairs,), or None
            Probability that column 0 wins, a value an original or a value a pair. With None,
            or where `has_targets`, the pairs are returned as they are.

        Returns
        -------
        AugmentedPairs
            Shares its embeddings with this one.

        Raises
        ------
        ValueError
            On another shape, or a value outside [0, 1].
        """
        if y is None or self.has_targets:
            return self
        y, n, n_pairs = np.asarray(y), len(self.originals), len(self)
        if y.shape not in ((n,), (n_pairs,)):
            or_original = "" if n == n_pairs else f", or ({n},), one an original"
            raise ValueError(
                f"y must have shape ({n_pairs},), a probability a pair{or_original}; got {y.shape}."
            )
        return replace(self, target=y)

    def weigh(self, sample_weight=None):
        """Multiply weights into those of the pairs, and leave out the pairs of weight 0.

        Parameters
        ----------
        sample_weight : ndarray of shape (n,) or (n_pairs,), optional
            A weight an original or a weight a pair. Default: 1.

        Returns
        -------
        AugmentedPairs
            Shares its embeddings with this one.

        Raises
        ------
        ValueError
            If no pair has a weight.
        """
        weight = self.weight
        if sample_weight is not None:
            weight = weight * self._hand_down(np.asarray(sample_weight))
        if not weight.sum() > 0:
            raise ValueError("the weights of all pairs are zero; at least one must be positive.")
        if sample_weight is None and weight.all():
            return self
        return replace(self, weight=weight)[np.flatnonzero(weight)]

    def add(self, pool, members):
        """Add synthetic pairs to originals that have none yet.

        Parameters
        ----------
        pool : ndarray of shape (m, d), DecodedRows or the like
            Synthetic members.
        members : ndarray of int, shape (k * n, 2)
            The members of the first synthetic pair of each original, then of the second one, ….

        Returns
        -------
        AugmentedPairs of shape ((k + 1) * n, 2, d)
            The originals first; targets and weights are handed down.
        """
        n = len(self)
        return replace(
            self,
            pool=pool,
            members=np.concatenate([self.members, members]),
            parent=np.tile(np.arange(n), 1 + len(members) // n),
            is_synthetic=None,
        )

    def compact(self):
        """Return original pairs without the originals that were left out.

        Returns
        -------
        AugmentedPairs
            Of as many originals as pairs; itself where these are all.
        """
        if len(self) == len(self.originals):
            return self
        return AugmentedPairs(
            self.originals[self.parent],
            target=self.target,
            weight=self.weight,
            has_targets=self.has_targets,
        )

    def among(self, whole):
        """Undo `compact` for what was made of its pairs: weights and groups stay one an original.

        Parameters
        ----------
        whole : AugmentedPairs
            The pairs that `compact` was called of.

        Returns
        -------
        AugmentedPairs
            The same pairs; their originals are those of `whole`.
        """
        n, n_whole = len(self.originals), len(whole.originals)
        if n == n_whole:
            return self
        real = np.arange(2 * n_whole).reshape(-1, 2)[whole.parent].ravel()
        is_real = self.members < 2 * n
        members = np.where(
            is_real, real[np.where(is_real, self.members, 0)], self.members + 2 * (n_whole - n)
        )
        return replace(
            self, originals=whole.originals, members=members, parent=whole.parent[self.parent]
        )

    def __len__(self):
        return len(self.members)

    @property
    def shape(self):
        """Shape as an array, ``(n_pairs, 2, d)``."""
        return (len(self.members), 2, self.originals.shape[-1])

    @property
    def ndim(self):
        """Number of axes, 3."""
        return 3

    @property
    def dtype(self):
        """The dtype of the embeddings."""
        return self.originals.dtype

    def __getitem__(self, rows):
        if isinstance(rows, tuple):  # scikit-learn indexes arrays with (rows, ...)
            rows, *rest = rows
            if any(part is not Ellipsis and part != slice(None) for part in rest):
                return np.asarray(self[rows])[(slice(None), *rest)]
        if isinstance(rows, int | np.integer):
            return self.rows(np.array([rows]))[0]
        rows = np.arange(len(self))[rows]  # an array of indices copies what it selects
        names = ("members", "parent", "target", "weight", "is_synthetic")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def with_rows(self, function):
        """Return the same pairs of other embeddings; a pool that is no array is decoded.

        Parameters
        ----------
        function : callable, (..., d) -> (..., d)
            What to do to embeddings.

        Returns
        -------
        AugmentedPairs
            With parents, targets and weights of this one.
        """
        pool = self.pool
        if pool is not None and not isinstance(pool, np.ndarray):
            pool = pool[np.arange(len(pool))]  # (m, d)
        pool = None if pool is None else function(pool)
        return replace(self, originals=function(self.originals), pool=pool)

    def to(self, device):
        """Return the same pairs as tensors on a torch device; `rows` then gives tensors.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        AugmentedPairs
            Shares its memory with this one on the CPU.
        """
        pool = as_tensor(self.pool) if isinstance(self.pool, np.ndarray) else self.pool
        pool = None if pool is None else pool.to(device)
        return replace(self, originals=as_tensor(self.originals).to(device), pool=pool)

    def rows(self, index):
        """Decode some of the pairs.

        Parameters
        ----------
        index : ndarray of int, shape (b,)
            Which pairs.

        Returns
        -------
        ndarray or tensor of float32, shape (b, 2, d)
            Their embeddings, always a new array.
        """
        members = self.members[index].ravel()  # (2b,)
        n_real = 2 * len(self.originals)
        flat = self.originals.reshape(n_real, -1)
        synthetic = np.flatnonzero(members >= n_real)
        if not len(synthetic):
            return take_rows(flat, members).reshape(-1, 2, flat.shape[1])
        out = take_rows(flat, np.where(members < n_real, members, 0))  # (2b, d)
        out[synthetic] = self.pool[members[synthetic] - n_real]
        return out.reshape(-1, 2, flat.shape[1])

    def coded(self, index):
        """Return some of the pairs without decoding them; only of tensors, without a base.

        Parameters
        ----------
        index : ndarray of int, shape (b,)
            Which pairs.

        Returns
        -------
        CodedPairs
            The batch.
        """
        members, order = np.unique(self.members[index], return_inverse=True)
        n_real = 2 * len(self.originals)
        first = np.searchsorted(members, n_real)  # originals have the smaller numbers
        real, synthetic = members[:first], members[first:] - n_real
        order = (order.reshape(-1, 2) - first) % len(members)  # (b, 2), synthetic ones first
        flat, weight = self.originals.flatten(0, 1), self.pool.weight
        rows = flat.new_empty(len(weight) + len(real), flat.shape[1])
        rows[: len(weight)] = weight
        real = torch.from_numpy(real).to(flat.device)
        torch.index_select(flat, 0, real, out=rows[len(weight) :])
        return CodedPairs(rows, self.pool.codes[synthetic], torch.from_numpy(order).to(flat.device))

    def codes_pay(self, index, width):
        """Whether a layer costs fewer operations on codes than on decoded rows.

        Parameters
        ----------
        index : ndarray of int, shape (b,)
            A batch of pairs.
        width : int
            Outputs of the layer.

        Returns
        -------
        bool
            For m synthetic members and h codes each, forward and backward take 2·m·d·width
            products on rows and m·h·d to decode them, 2·h·(d + m)·width on codes. With a base
            every member brings a row of its own, so that codes save nothing there.
        """
        if not isinstance(self.pool, DecodedRows) or self.pool.base is not None:
            return False
        m = int((self.members[index] >= 2 * len(self.originals)).sum())
        h, d = self.pool.weight.shape
        return m * d * (2 * width + h) > 2 * h * (d + m) * width

    def __array__(self, dtype=None, copy=None):
        return self.rows(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def __repr__(self):
        return (
            f"AugmentedPairs(shape={self.shape}, n_originals={len(self.originals)}, "
            f"n_synthetic={int(self.is_synthetic.sum())})"
        )


def pairs_of_rows(embeddings, X):
    """Return pairs synthesized in text as the augmented pairs they are, all else unchanged.

    Parameters
    ----------
    embeddings : ndarray, shape (n, 2, d) or any other
        Of the rows `X`.
    X : AugmentedRows or rows of any other kind
        Whose they are.

    Returns
    -------
    AugmentedPairs or ndarray
        Pairs that remember parents, where there are synthetic rows.
    """
    if not isinstance(X, AugmentedRows) or not X.is_synthetic.any():
        return embeddings
    n, d = X.n_originals, embeddings.shape[-1]
    order = np.argsort(X.is_synthetic, kind="stable")  # originals first
    place = np.argsort(order)  # of each row among those
    if (order != np.arange(len(X))).any():  # otherwise a memory map stays one
        embeddings = embeddings[order]
    pairs = AugmentedPairs(
        embeddings[:n],
        embeddings[n:].reshape(-1, d),
        np.arange(2 * len(X)).reshape(-1, 2),
        place[X.parent[order]],
        target=default_target(embeddings),  # a tied original says nothing of its children
    )
    return pairs[place]


def rows_without_dropped(embeddings, X, y, reason):
    """Tell which preference rows hold no dropped text.

    Parameters
    ----------
    embeddings : ndarray, shape (n, 2, d)
        A dropped text's are all-NaN.
    X : AugmentedRows or rows of any other kind
        Whose they are. Without its original a synthetic row has no parent, and goes with it.
    y : array-like or None
        Targets, which cannot follow.
    reason : tuple of (str, str)
        The parameter that asks for it, and what such a row holds.

    Returns
    -------
    ndarray of bool, shape (n,)
        Which rows stay.

    Raises
    ------
    ValueError
        If rows would be left out and `y` is given, or no row is left.
    """
    kept = np.isfinite(embeddings[:, :, 0]).all(axis=1)
    if isinstance(X, AugmentedRows):
        kept &= kept[X.parent]
    if not kept.all() and (y is not None or not kept.any()):
        why = "y cannot follow" if kept.any() else "no row is left"
        name, what = reason
        raise ValueError(
            f"{name}='drop': {(~kept).sum()} of {len(kept)} rows (first: row "
            f"{np.flatnonzero(~kept)[0]}) hold {what} and would be left out, but {why}. "
            f"Choose another {name}, or leave these rows out beforehand."
        )
    return kept
