"""Why LENS falls short of its controls, and the obvious repairs: one change of LENS 4x at a time.

All rewards begin at zero. "LENS 4x, probed" is the setting from which each departs, and "repeat
4x, zero output" what it has to beat.
"""

from functools import partial
from math import sqrt

import numpy as np
from skorch.callbacks import Callback
from torch import nn

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    GPRewardRegressor,
    LatentPairAugmenter,
    RepeatAugmenter,
)
from lens_sklearn._augmented_pairs import AugmentedPairs
from lens_sklearn._augmenters import PairAugmenter
from lens_sklearn._device import draw_seed
from lens_sklearn._reward_net import PairDataset, RewardMLP

from ..objective import evaluate
from . import ensemble
from .lens import Lens, OncePerSplit

ZERO = {"output_init": "zero"}


class Probed(Lens):
    """LENS 4x; keep what its reconstructions lose and what the reward makes of the heads.

    ``kept`` and ``kept_difference`` are the shares of the variance of the training responses, and
    of that of their pairs' differences, that reconstruction keeps; ``test_kept`` and
    ``test_kept_difference`` are those of test responses. ``accuracy_of_kept`` is the accuracy of
    the *originals'* reward on reconstructed test responses: what of the order is left in them.
    ``head`` is how often the LENS reward prefers a test response through the head of the chosen
    to the same one through the other's: 0.5 unless it has learned the heads.
    """

    def __call__(self, split, seed):
        augmenter, pairs = self.augmented(split, seed)
        fitted = BTRewardRegressor(random_state=seed).fit(pairs)
        split.details |= _probe(augmenter.vae_, fitted, split, seed)
        return fitted.predict


def _probe(vae, fitted, split, seed):
    def reconstructed(pairs):  # column j through head j
        return vae.inverse_transform(vae.transform(pairs))

    def share(true, seen):
        return float(1 - np.mean((true - seen) ** 2) / np.mean((true - true.mean(axis=0)) ** 2))

    def difference(X):
        return X[:, 0] - X[:, 1]

    responses = split.test.reshape(-1, split.test.shape[-1])
    by_head = reconstructed(np.stack([responses] * 2, axis=1))  # (m, 2, d)
    seen = by_head[:, 0].reshape(split.test.shape)  # through one head: none tells the order
    trained = reconstructed(split.pairs)
    original = BTRewardRegressor(random_state=seed).fit(split.pairs)
    rewards = fitted.predict(by_head)
    return {
        "kept": share(split.pairs, trained),
        "kept_difference": share(difference(split.pairs), difference(trained)),
        "test_kept": share(split.test, seen),
        "test_kept_difference": share(difference(split.test), difference(seen)),
        "accuracy_of_kept": evaluate(lambda X: original.predict(seen), split)["accuracy"],
        "head": float(np.mean(np.sign(difference(rewards)) / 2 + 0.5)),
    }


class PosteriorNoiseVAE(ContrastiveVAE):
    """Noise in units of each posterior's own deviation; ``noise_variance`` is its square."""

    def _sample_latents(self, pairs, n_samples, noise_variance, n_candidates, random_state):
        mean, log_variance = self._map("encode", pairs)
        generator = np.random.default_rng(draw_seed(random_state))
        shape = (len(pairs), n_samples, *mean.shape[1:])
        noise = sqrt(noise_variance) * generator.standard_normal(shape, dtype=np.float32)
        return mean[:, None] + np.exp(log_variance / 2)[:, None] * noise


def posterior_noise(split, seed):
    """Draw latents from the posteriors themselves."""
    augmenter = LatentPairAugmenter(
        PosteriorNoiseVAE(), factor=4, noise_variance=1.0, random_state=seed
    )
    return BTRewardRegressor(random_state=seed).fit(augmenter.fit_transform(split.pairs)).predict


class WithUnlabelled(Probed):
    """Let the autoencoder see all responses, two to a prompt making a pair.

    Its heads are shared, as most pairs have no label.
    """

    def __init__(self):
        super().__init__(vae={"sharing": "all"}, factor=4)

    def _memory(self, split):
        more = split.unlabeled.reshape(-1, 2, split.unlabeled.shape[-1])  # in no order
        return OncePerSplit(split, more)


class FreshPairs(Callback):
    """Train every epoch on other synthetic pairs."""

    def __init__(self, draw):
        self.draw = draw

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Replace the training pairs."""
        drawn = self.draw()
        vars(dataset_train).update(vars(PairDataset(drawn, net.device, dataset_train.width)))


def all_epochs(split, seed, fresh=False):
    """Train on LENS 4x for all 20 epochs, on one set of synthetic pairs or on a set an epoch."""
    augmenter = LatentPairAugmenter(
        # With a seed of its own it is fitted once.
        ContrastiveVAE(random_state=seed),
        factor=4,
        memory=OncePerSplit(split),
        random_state=np.random.RandomState(seed),
    )
    draw = partial(augmenter.fit_transform, split.pairs)
    callbacks = [FreshPairs(draw)] if fresh else None
    network = BTRewardRegressor(early_stopping=False, callbacks=callbacks, random_state=seed)
    return network.fit(draw()).predict


class Weighted(Lens):
    """Let synthetic pairs weigh less in the loss than original ones."""

    def __init__(self, weight):
        super().__init__(factor=4)
        self.weight = weight

    def __call__(self, split, seed):
        _, pairs = self.augmented(split, seed)
        pairs.weight[pairs.is_synthetic] = self.weight
        return BTRewardRegressor(random_state=seed).fit(pairs).predict


class SkipMLP(RewardMLP):
    """The reward's perceptron and a linear reward beside it, both of which begin at zero."""

    def __init__(self, n_features, hidden_dim, **params):
        super().__init__(n_features, hidden_dim, **params)
        self.skip = nn.utils.skip_init(nn.Linear, n_features, 1, bias=False)
        nn.init.zeros_(self.skip.weight)

    def forward(self, x):
        """Return the rewards of embeddings (..., d)."""
        return super().forward(x) + self.skip(x).squeeze(-1)


class SkipReward(BTRewardRegressor):
    """The paper's reward with a linear skip."""

    def _make_net(self, train, valid, random_state):
        return super()._make_net(train, valid, random_state).set_params(module=SkipMLP)


def skip(split, seed, augmenter):
    """Train a reward with a linear skip."""
    pairs = augmenter(split, seed)
    pool = None if pairs.pool is None else pairs.pool[np.arange(len(pairs.pool))]  # decoded
    pairs = AugmentedPairs(
        pairs.originals, pool, pairs.members, pairs.parent, pairs.target, pairs.weight
    )
    return SkipReward(random_state=seed).fit(pairs).predict


class DifferenceNoise(PairAugmenter):
    """Noise with the covariance of the pairs' differences, in embedding space."""

    def __init__(self, *, factor=4, noise_variance=0.1, pairing="compositional", random_state=None):
        self.factor = factor
        self.noise_variance = noise_variance
        self.pairing = pairing
        self.random_state = random_state

    def _synthesise(self, originals, n_samples, random_state):
        n, _, d = originals.shape
        generator = np.random.default_rng(draw_seed(random_state))
        weights = generator.standard_normal((2 * n * n_samples, n), dtype=np.float32)
        noise = weights @ (originals[:, 0] - originals[:, 1]) * sqrt(self.noise_variance / n)
        rows = np.repeat(originals[:, None], n_samples, axis=1).reshape(-1, d)
        return rows + noise


def difference_noise(split, seed, noise_variance):
    """Add noise that varies as responses to one prompt do."""
    augmenter = DifferenceNoise(noise_variance=noise_variance, random_state=seed)
    return BTRewardRegressor(random_state=seed).fit(augmenter.fit_transform(split.pairs)).predict


METHODS = {
    "LENS 4x, probed": Probed(factor=4),
    "LENS 4x, residual": Lens(factor=4, decode="residual", network=ZERO),
    "LENS 4x, one head": Lens(vae={"sharing": "all"}, factor=4, network=ZERO),
    "LENS 4x, posterior noise": posterior_noise,
    "LENS 4x, all epochs": all_epochs,
    "LENS 4x, fresh every epoch": partial(all_epochs, fresh=True),
    "LENS 4x, weight 0.1": Weighted(0.1),
    "LENS 4x, weight 0.3": Weighted(0.3),
    "LENS 4x, autoencoder at 1e-3": Probed(vae={"learning_rate": 1e-3}, factor=4),
    "LENS 4x, autoencoder with unlabelled": WithUnlabelled(),
    "LENS 4x, targets of a process": Lens(
        factor=4, relabel="all", reward=GPRewardRegressor(uncertainty_penalty=0), network=ZERO
    ),
    "LENS 4x, order-checked": Lens(factor=4, keep="ordered", network=ZERO),
    "LENS 4x, five": partial(ensemble.of, method=Lens(factor=4, network=ZERO)),
    "LENS 4x, linear skip": partial(
        skip, augmenter=lambda split, seed: Lens(factor=4).augmented(split, seed)[1]
    ),
    "repeat 4x, linear skip": partial(
        skip, augmenter=lambda split, seed: RepeatAugmenter(factor=4).fit_transform(split.pairs)
    ),
    "difference noise 4x, σ²=0.1": partial(difference_noise, noise_variance=0.1),
    "difference noise 4x, σ²=1": partial(difference_noise, noise_variance=1.0),
}
