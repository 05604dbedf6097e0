"""LENS as published; the autoencoder is fitted once a split for all factors and noises."""

import numpy as np

from lens_sklearn import ContrastiveVAE, LatentPairAugmenter

from .published import reward


class Lens:
    """Latent synthesis, then the paper's reward.

    Parameters
    ----------
    vae, network : dict, default=None
        Parameters of the autoencoder and of the reward network that are not the paper's.
    **augmenter
        Parameters of the augmenter.
    """

    def __init__(self, vae=None, network=None, **augmenter):
        self.vae = vae or {}
        self.network = network or {}
        self.augmenter = augmenter

    def augmented(self, split, seed):
        """Fit the augmenter and return it with the augmented pairs."""
        augmenter = LatentPairAugmenter(
            ContrastiveVAE(**self.vae),
            memory=self._memory(split),
            random_state=seed,
            **self.augmenter,
        )
        return augmenter, augmenter.fit_transform(split.pairs)

    def _memory(self, split):
        return OncePerSplit(split)

    def __call__(self, split, seed):
        _, pairs = self.augmented(split, seed)
        return reward(random_state=seed, **self.network).fit(pairs).predict


class OncePerSplit:
    """What the augmenter takes as its memory: one in the split, so that it ends with it.

    Parameters
    ----------
    split : Split
        The split.
    more : ndarray, shape (m, 2, d), default=None
        Pairs that the autoencoder is fitted on besides the originals.
    """

    def __init__(self, split, more=None):
        self.split = split
        self.more = more

    def cache(self, function):
        def cached(vae, originals):
            if self.more is not None:
                originals = np.concatenate([originals, self.more])
            key = (repr(vae), len(originals))
            return self.split.once(key, lambda: function(vae, originals))

        return cached
