"""LENS as published; the autoencoder is fitted once a split for all factors and noises."""

from lens_sklearn import ContrastiveVAE, LatentPairAugmenter

from ._method import Method
from ._published import reward


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

    def make_augmenter(self, split, seed, **params):
        """Return the augmenter, not fitted; it shares the autoencoder with others of the split."""
        return LatentPairAugmenter(
            ContrastiveVAE(**self.vae),
            memory=OncePerSplit(split),
            random_state=seed,
            **self.augmenter | params,
        )

    def __call__(self, split, seed):
        pairs = self.make_augmenter(split, seed).fit_transform(split.pairs)
        return reward(random_state=seed, **self.network).fit(pairs).predict


class OncePerSplit:
    """What the augmenter takes as its memory: one in the split, so that it ends with it.

    Parameters
    ----------
    split : Split
        The split.
    """

    def __init__(self, split):
        self.split = split

    def __sklearn_clone__(self):
        return self  # an augmenter that is cloned shares it

    def cache(self, function):
        def cached(vae, originals):
            return self.split.once((repr(vae), len(originals)), lambda: function(vae, originals))

        return cached


METHODS = [
    Method("LENS 2x", Lens(factor=2), suites=("curves", "table1"), max_pairs=1000),
    Method(
        "LENS 4x",
        Lens(factor=4),
        suites=(
            *("curves", "headline", "table1", "table5", "figure2", "figure2, pairs", "figure4"),
            *("embedders", "embedders_quick"),
        ),
        setting={"γ": 0.1, "σ²": 0.01, "β": 1.0},
        style=dict(color="#E69F00"),
    ),
    Method(
        "LENS 8x",
        Lens(factor=8),
        suites=("curves", "table1"),
        max_pairs=1000,
        style=dict(color="#D55E00"),
    ),
    Method(
        "LENS 4x, zero output",
        Lens(factor=4, network={"output_init": "zero"}),
        suites=("curves", "keep"),
    ),
]
