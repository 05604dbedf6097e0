"""LENS as published; the autoencoder is fitted once a split for all factors and noises."""

from lens_sklearn import ContrastiveVAE, LatentPairAugmenter

from .published import reward


class Lens:
    """Latent synthesis, then the paper's reward.

    Parameters
    ----------
    vae, reward : dict, default=None
        Parameters of the autoencoder and of the reward that are not the paper's.
    **augmenter
        Parameters of the augmenter.
    """

    def __init__(self, vae=None, reward=None, **augmenter):
        self.vae = vae or {}
        self.reward = reward or {}
        self.augmenter = augmenter

    def augmented(self, split, seed):
        """Fit the augmenter and return it with the augmented pairs."""
        augmenter = LatentPairAugmenter(
            ContrastiveVAE(**self.vae),
            memory=_OncePerSplit(split),
            random_state=seed,
            **self.augmenter,
        )
        return augmenter, augmenter.fit_transform(split.pairs)

    def __call__(self, split, seed):
        _, pairs = self.augmented(split, seed)
        return reward(random_state=seed, **self.reward).fit(pairs).predict


class _OncePerSplit:
    """What the augmenter takes as its memory: one in the split, so that it ends with it."""

    def __init__(self, split):
        self.split = split

    def cache(self, function):
        def cached(vae, originals):
            return self.split.once(repr(vae), lambda: function(vae, originals))

        return cached
