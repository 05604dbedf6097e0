"""Why LENS falls short of its controls, and the obvious repairs: one change of LENS 4x at a time.

All rewards begin at zero. "LENS 4x, probed" is the setting from which each departs, and "repeat
4x, zero output" what it has to beat. Repairs that needed changes inside the library (noise by the
posterior, fresh pairs in every epoch, a linear skip, noise of differences, an autoencoder of
unlabelled responses) did no better; commit d20d247 is the last that can run them.
"""

from dataclasses import replace

import numpy as np

from lens_sklearn import BTRewardRegressor, DistillationAugmenter, GPRewardRegressor

from ..objective import evaluate
from ._method import Method
from .lens import Lens

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
        augmenter = self.make_augmenter(split, seed)
        fitted = BTRewardRegressor(random_state=seed).fit(augmenter.fit_transform(split.pairs))
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


class Weighted(Lens):
    """Let synthetic pairs weigh less in the loss than original ones."""

    def __init__(self, weight):
        super().__init__(factor=4)
        self.weight = weight

    def __call__(self, split, seed):
        pairs = self.make_augmenter(split, seed).fit_transform(split.pairs)
        weight = np.where(pairs.is_synthetic, self.weight, pairs.weight)
        return BTRewardRegressor(random_state=seed).fit(replace(pairs, weight=weight)).predict


class Distilled(Lens):
    """Give all pairs the soft targets of a Gaussian process, as sharp as it has them."""

    def __call__(self, split, seed):
        augmenter = DistillationAugmenter(
            self.make_augmenter(split, seed),
            GPRewardRegressor(uncertainty_penalty=0),
            temperature=1.0,
            factor=4,
            random_state=seed,
        )
        pairs = augmenter.fit_transform(split.pairs, groups=split.groups)
        return BTRewardRegressor(random_state=seed).fit(pairs).predict


class Filtered(Lens):
    """Leave synthetic pairs out, and keep the share of them that is left."""

    def __init__(self, **augmenter):
        super().__init__(factor=4, network=ZERO, **augmenter)

    def __call__(self, split, seed):
        augmenter = self.make_augmenter(split, seed)
        pairs = augmenter.fit_transform(split.pairs)
        split.details["kept"] = augmenter.n_kept_ / (3 * len(split.pairs))
        return BTRewardRegressor(random_state=seed).fit(pairs).predict


class AtRandom(Lens):
    """As many synthetic pairs as have the right order, whatever their order."""

    def __call__(self, split, seed):
        ordered = self.make_augmenter(split, seed, keep="ordered")
        ordered.fit_transform(split.pairs)
        pairs = self.make_augmenter(split, seed).fit_transform(split.pairs)
        n, n_kept = len(split.pairs), ordered.n_kept_
        drawn = n + np.random.default_rng(seed).permutation(len(pairs) - n)[:n_kept]
        split.details["kept"] = n_kept / (3 * n)
        rows = np.concatenate([np.arange(n), np.sort(drawn)])
        return BTRewardRegressor(random_state=seed).fit(pairs[rows]).predict


METHODS = [
    Method("LENS 4x, probed", Probed(factor=4), suites=("why", "probe")),
    Method(
        "LENS 4x, autoencoder at 1e-3",
        Probed({"learning_rate": 1e-3}, factor=4),
        suites=("why", "probe"),
    ),
    Method("LENS 4x, one head", Lens({"sharing": "all"}, ZERO, factor=4), suites=("why",)),
    Method("LENS 4x, weight 0.1", Weighted(0.1), suites=("why",)),
    Method("LENS 4x, weight 0.3", Weighted(0.3), suites=("why",)),
    Method("LENS 4x, targets of a GP", Distilled(), suites=("why",)),
    Method(
        "LENS 4x, residual", Lens(network=ZERO, factor=4, decode="residual"), suites=("why", "keep")
    ),
    Method("LENS 4x, order-checked", Filtered(keep="ordered"), suites=("why", "keep")),
    Method(
        "LENS 4x, residual, order-checked",
        Filtered(keep="ordered", decode="residual"),
        suites=("keep",),
    ),
    Method(
        "LENS 4x, residual, certified",
        Filtered(keep="certified", decode="residual"),
        suites=("keep",),
    ),
    Method("LENS 4x, as many at random", AtRandom(network=ZERO, factor=4), suites=("keep",)),
    Method(
        "LENS 4x, residual, as many at random",
        AtRandom(network=ZERO, factor=4, decode="residual"),
        suites=("keep",),
    ),
]
