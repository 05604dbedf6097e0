"""The paper's ablations of LENS at 4x: one setting changed at a time.

"LENS 4x" itself is the setting from which each departs: γ = 0.1, β = 1, σ² = 0.01, separate
heads, original and synthetic pairs together.
"""

import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from ._method import Method
from ._published import reward
from .lens import Lens

GAMMAS = (0.0, 0.1, 0.5, 1.0, 10.0)
BETAS = (0.1, 0.5, 1.0, 2.0, 5.0)
NOISE_VARIANCES = (0.001, 0.01, 0.1, 1.0)


class OnlySynthetic(Lens):
    """Train on synthetic pairs alone: both members synthetic, as many pairs as 4x has."""

    def __init__(self):
        super().__init__(factor=5, pairing="matched")

    def __call__(self, split, seed):
        pairs = self.make_augmenter(split, seed).fit_transform(split.pairs)
        # Early stopping validates on original pairs, which this one must not see.
        alone = reward(early_stopping=False, random_state=seed)
        return alone.fit(np.asarray(pairs[pairs.is_synthetic])).predict


class Timed(Lens):
    """Keep the seconds of the stages and the sizes of the networks."""

    def __call__(self, split, seed):
        start = time.perf_counter()
        augmenter = self.make_augmenter(split, seed)
        pairs = augmenter.fit_transform(split.pairs)
        augmented = time.perf_counter()
        fitted = reward(random_state=seed).fit(pairs)
        trained = time.perf_counter()
        split.details |= {
            "seconds_generation": round(augmented - start, 2),
            "seconds_reward": round(trained - augmented, 2),
            "n_parameters_vae": augmenter.vae_.n_parameters_,
            "n_parameters_reward": sum(p.numel() for p in fitted.net_.module_.parameters()),
            "n_pairs": len(pairs),
        }
        return fitted.predict


class Latents(Lens):
    """Keep a t-SNE map of the training pairs' latents, and what tells the two sides apart.

    ``sides`` is the accuracy of a linear rule that tells chosen from rejected latents, on
    held-out pairs of the same split. ``head`` is how often that rule follows the *head* when
    the two embeddings of a held-out pair are swapped, so that each goes through the other's
    head: 1 means that the distance between the sides is the heads' alone, 0 that it is the
    embeddings'.
    """

    def __init__(self, gamma):
        super().__init__(vae={"gamma": gamma}, factor=4)

    def __call__(self, split, seed):
        augmenter = self.make_augmenter(split, seed)
        pairs = augmenter.fit_transform(split.pairs)
        half = len(split.pairs) // 2
        z = augmenter.vae_.transform(split.pairs)  # (n, 2, latent_dim)
        swapped = augmenter.vae_.transform(split.pairs[half:, ::-1])
        side = np.tile([1, 0], half)
        rule = LogisticRegression(max_iter=1000).fit(z[:half].reshape(2 * half, -1), side)

        def accuracy(latents):
            rows = latents.reshape(-1, z.shape[-1])
            return float(np.mean(rule.predict(rows) == np.tile([1, 0], len(latents))))

        flat = z.reshape(-1, z.shape[-1])
        both = np.tile([1, 0], len(z))
        shown = TSNE(random_state=seed).fit_transform(flat[:400])  # 200 pairs: chosen, rejected
        split.details |= {
            "sides": accuracy(z[half:]),
            "head": accuracy(swapped),
            "silhouette": float(silhouette_score(flat, both)),
            "divergence": augmenter.vae_.history_[-1]["divergence"],
            "map": shown.astype(float).round(1).tolist(),
        }
        return reward(random_state=seed).fit(pairs).predict


def _changed(symbol, value, suite, lens):
    return Method(f"LENS 4x, {symbol}={value:g}", lens, suites=(suite,), setting={symbol: value})


METHODS = [
    *(_changed("γ", g, "figure2", Lens({"gamma": g}, factor=4)) for g in GAMMAS if g != 0.1),
    *(_changed("β", b, "figure4", Lens({"beta": b}, factor=4)) for b in BETAS if b != 1),
    *(
        _changed("σ²", v, "figure2", Lens(factor=4, noise_variance=v))
        for v in NOISE_VARIANCES
        if v != 0.01
    ),
    *(
        Method(f"LENS 4x, sharing={s}", Lens({"sharing": s}, factor=4), suites=("table5",))
        for s in ("none", "all")
    ),
    Method("LENS 4x, synthetic only", OnlySynthetic(), suites=("figure4",)),
    Method("LENS 8x, timed", Timed(factor=8), suites=("table2",)),
    *(Method(f"LENS latents, γ={g:g}", Latents(g), suites=("figure3",)) for g in GAMMAS),
]
