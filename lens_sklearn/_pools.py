"""Rows of synthetic members that are made when they are asked for.

Each class has a length, gives rows (m, d) by an array of indices and moves to a torch device by
``to``: what :class:`AugmentedPairs` takes as its pool.
"""

from math import sqrt

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.covariance import ledoit_wolf_shrinkage

from ._device import as_tensor, row_order

NOISE_ROWS = 256  # d times as many normal numbers serve all members


def take_rows(array, rows):
    if isinstance(array, np.ndarray):
        return array[rows]
    # Five times as fast as indexing on a CPU.
    return array.index_select(0, torch.from_numpy(rows).to(array.device))


class DecodedRows:
    """Embeddings that are kept as codes and decoded only when they are asked for.

    Row i is ``codes[i] @ weight``, plus ``base[base_row[i]]`` where a base is given: the last
    layer of a decoder, applied late, so that memory grows with the width of the codes and not
    with d. A layer's bias is a row of `weight` whose code is 1.

    Parameters
    ----------
    codes : ndarray of float32, shape (m, h)
        Activations before the last layer.
    weight : ndarray of float32, shape (h, d)
        That layer's weight.
    base : ndarray of float32, shape (r, d), optional
        Rows that the decoded ones are added to (residual decoding).
    base_row : ndarray of int, shape (m,), optional
        Which base row goes with which code.
    """

    def __init__(self, codes, weight, base=None, base_row=None):
        self.codes = codes
        self.weight = weight
        self.base = base
        self.base_row = base_row

    def __len__(self):
        return len(self.codes)

    def to(self, device):
        """Return the same rows as tensors on a torch device.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        DecodedRows
            Shares its memory with this one on the CPU.
        """
        base = None if self.base is None else as_tensor(self.base).to(device)
        codes, weight = as_tensor(self.codes).to(device), as_tensor(self.weight).to(device)
        return DecodedRows(codes, weight, base, self.base_row)

    def __getitem__(self, rows):
        out = self.codes[rows] @ self.weight  # (len(rows), d)
        if self.base is not None:
            out += self.base[self.base_row[rows]]
        return out


class FeatureRows:
    """Response features of synthetic members: those of the originals they were made from.

    Parameters
    ----------
    features : ndarray of float32, shape (r, k)
        Features of the originals.
    owner : ndarray of int, shape (m,)
        Whose features each row has.
    moved_by : ndarray of int, shape (m,), optional
        By which pair's difference, ``features[2 * i] - features[2 * i + 1]``, a row is moved.
    sign : ndarray of float32, shape (m,), optional
        What that difference is multiplied by: 1, -1 or, for a row that is not moved, 0.
    """

    def __init__(self, features, owner, moved_by=None, sign=None):
        self.features = features
        self.owner = owner
        self.moved_by = moved_by
        self.sign = sign

    def __len__(self):
        return len(self.owner)

    def to(self, device):
        """Return the same rows as tensors on a torch device.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        FeatureRows
            Shares its memory with this one on the CPU.
        """
        features = as_tensor(self.features).to(device)
        sign = None if self.sign is None else as_tensor(self.sign).to(device)
        return FeatureRows(features, self.owner, self.moved_by, sign)

    def __getitem__(self, rows):
        out = take_rows(self.features, self.owner[rows])
        if self.moved_by is not None:
            difference = take_rows(self.features, 2 * self.moved_by[rows])
            difference -= take_rows(self.features, 2 * self.moved_by[rows] + 1)
            out += self.sign[rows][:, None] * difference
        return out


class JoinedRows:
    """Rows of two views beside each other: synthetic embeddings, then response features.

    They are decoded before a layer reads them: a layer on codes would have to be told which of
    its columns are codes.

    Parameters
    ----------
    embedding : DecodedRows or the like, of length m
        Rows (m, d).
    features : FeatureRows, of length m
        Rows (m, k).
    """

    def __init__(self, embedding, features):
        self.embedding = embedding
        self.features = features

    def __len__(self):
        return len(self.embedding)

    def to(self, device):
        """Return the same rows as tensors on a torch device.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        JoinedRows
            Shares its memory with this one on the CPU.
        """
        return JoinedRows(self.embedding.to(device), self.features.to(device))

    def __getitem__(self, rows):
        views = (self.embedding[rows], self.features[rows])
        if isinstance(views[0], np.ndarray):
            return np.concatenate(views, axis=1)
        return torch.cat(views, dim=1)


class DifferenceRows:
    r"""Pairs of a response and the same response moved by a difference; kept as indices.

    Rows 2k and 2k + 1 are the members of pair k,

    .. math::
        e_0 = \bar e + a (e - \bar e) + b\, s \odot \epsilon_0, \qquad
        e_1 = e_0 \pm a' (e'^+ - e'^-) + b'\, s \odot \epsilon_1,

    with e an original, :math:`e'^\pm` a pair, s the features' standard deviations and standard
    normal :math:`\epsilon`. On standardised features a² is what the Ledoit-Wolf estimate of the
    covariance leaves to the samples and b² the variance that it gives to all directions alike;
    a', b' are the same of the differences. So both are drawn from the shrunk covariance: few
    samples span few directions, and a reward that is trained in those alone is left at its
    initial weights in all others.

    The noise of a member is a window into one vector of normal numbers, so that memory grows
    with the originals and not with the members [1]_.

    Parameters
    ----------
    originals : ndarray of float32, shape (n, 2, d)
        The pairs.
    base_row : ndarray of int, shape (m,)
        Which of the 2n responses e is.
    pair : ndarray of int, shape (m,)
        Whose difference it is moved by.
    sign : ndarray of float32, shape (m,)
        1 or -1.
    window : ndarray of int, shape (m, 2)
        Where the noise of e and of the difference begins.
    noise : ndarray of float32, shape (NOISE_ROWS * d,)
        The normal numbers.
    mean, scale : ndarray of float32, shape (d,)
        Of the responses.
    shares : tuple of two pairs of float
        (a, b) and (a', b').

    References
    ----------
    .. [1] T. Salimans et al., "Evolution strategies as a scalable alternative to reinforcement
       learning", 2017: the shared noise table.
    """

    def __init__(self, originals, base_row, pair, sign, window, noise, mean, scale, shares):
        self.originals = originals
        self.base_row = base_row
        self.pair = pair
        self.sign = sign
        self.window = window
        self.noise = noise
        self.mean = mean
        self.scale = scale
        self.shares = shares

    @classmethod
    def draw(cls, originals, n_new, generator):
        """Draw pairs from the originals.

        Parameters
        ----------
        originals : ndarray of float32, shape (n, 2, d)
            The pairs; in another order each gets the same children.
        n_new : int
            Children of each pair; theirs is the response e.
        generator : numpy.random.Generator
            Draws.

        Returns
        -------
        DifferenceRows
            Of 2 * n * n_new rows: the first children of all pairs, then the second ones, ....
        """
        n, _, d = originals.shape
        order = row_order(originals)
        noise = generator.standard_normal(NOISE_ROWS * d, dtype=np.float32)
        drawn = {
            "base_row": 2 * np.arange(n)[:, None]
            + _by(order, generator.integers(2, size=(n, n_new))),
            "pair": _by(order, order[generator.integers(n, size=(n, n_new))]),
            "sign": _by(order, generator.choice(np.float32([-1, 1]), size=(n, n_new))),
            "window": _by(order, generator.integers(len(noise) - d + 1, size=(n, n_new, 2))),
        }
        flat = {
            name: a.swapaxes(0, 1).reshape(n * n_new, *a.shape[2:]) for name, a in drawn.items()
        }
        return cls(originals, **flat, noise=noise, **_moments(originals[order]))

    def __len__(self):
        return 2 * len(self.pair)

    def move(self, features):
        """Apply the differences to other columns of the same pairs, without noise.

        Parameters
        ----------
        features : ndarray of float32, shape (2n, k)
            Of the originals' members.

        Returns
        -------
        FeatureRows
            Of the same length: members e keep the features of their original, the others are
            moved by the difference of the pair that the embedding was moved by.
        """
        sign = np.stack([np.zeros_like(self.sign), self.sign], axis=1).ravel()
        return FeatureRows(features, np.repeat(self.base_row, 2), np.repeat(self.pair, 2), sign)

    def to(self, device):
        """Return the same rows as tensors on a torch device.

        Parameters
        ----------
        device : torch.device
            Where to.

        Returns
        -------
        DifferenceRows
            Shares its memory with this one on the CPU.
        """
        moved = {name: as_tensor(getattr(self, name)).to(device) for name in _ARRAYS}
        return DifferenceRows(**vars(self) | moved)

    def __getitem__(self, rows):
        index, place = np.unique(rows // 2, return_inverse=True)
        flat = self.originals.reshape(-1, self.originals.shape[-1])
        response = take_rows(flat, self.base_row[index])
        response -= self.mean
        response = self._noisy(response, self.window[index, 0], 0)
        response += self.mean
        out = take_rows(response, place)  # both members of a pair begin with it
        moved = np.flatnonzero(rows % 2)
        index = rows[moved] // 2
        difference = take_rows(flat, 2 * self.pair[index])
        difference -= take_rows(flat, 2 * self.pair[index] + 1)
        difference *= self.sign[index][:, None]
        out[moved] += self._noisy(difference, self.window[index, 1], 1)
        return out

    def _noisy(self, rows, window, which):
        keep, spread = self.shares[which]
        rows *= keep
        noise = take_rows(self._windows(), window)
        noise *= spread * self.scale
        rows += noise
        return rows

    def _windows(self):
        d = self.originals.shape[-1]
        if isinstance(self.noise, torch.Tensor):
            return self.noise.unfold(0, d, 1)
        return sliding_window_view(self.noise, d)


_ARRAYS = ("originals", "sign", "noise", "mean", "scale")  # what rows are computed from


def _by(order, drawn):
    """Give what is drawn to pairs in an order that does not depend on where they stand."""
    out = np.empty_like(drawn)
    out[order] = drawn
    return out


def _moments(originals):
    responses = originals.reshape(-1, originals.shape[-1])
    mean, scale = responses.mean(axis=0), responses.std(axis=0)
    # By the range: a mean of equal float32 numbers may be another, and their deviation not 0.
    varying = (np.ptp(responses, axis=0) > 1e-6 * abs(mean)) & (scale > 0)  # squares may underflow
    scale[~varying] = 0
    of_responses = ((responses - mean)[:, varying]) / scale[varying]
    of_differences = (originals[:, 0] - originals[:, 1])[:, varying] / scale[varying]
    return {
        "mean": np.where(varying, mean, responses[0]),
        "scale": scale,
        "shares": (_shrunk(of_responses), _shrunk(of_differences)),
    }


def _shrunk(rows):
    """Return what to multiply centred rows with, and the deviation of the noise to add."""
    if len(rows) < 2 or not rows.any():
        return 1.0, 0.0
    share = ledoit_wolf_shrinkage(rows, assume_centered=True)
    return sqrt(1 - share), sqrt(share * np.mean(np.square(rows)))
