"""The whole fit after embedding, its stages, and the matrix products that it needs."""

import time

import numpy as np
import torch

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter

from .script import plain

HIDDEN, WIDTH, BATCH = 64, 256, 128  # of the autoencoder, of the reward; pairs a step


class TimedVAE(ContrastiveVAE):
    """Notes the seconds of its fit."""

    def fit(self, X, y=None):
        """Fit and note the seconds."""
        start = time.perf_counter()
        super().fit(X, y)
        self.seconds_ = time.perf_counter() - start
        return self


def ours(pairs, factor, epochs, pairing="compositional"):
    """Return the seconds of the three stages, and the augmented pairs."""
    vae = TimedVAE(max_epochs=epochs[0], random_state=0)
    augmenter = LatentPairAugmenter(vae, factor=factor, pairing=pairing, random_state=0)
    start = time.perf_counter()
    augmented = augmenter.fit_transform(pairs)
    both, learning = time.perf_counter() - start, augmenter.vae_.seconds_
    return np.array([learning, both - learning, reward(augmented, epochs[1])]), augmented


def reward(pairs, epochs):
    """Return the seconds of the reward stage."""
    start = time.perf_counter()
    BTRewardRegressor(max_epochs=epochs, early_stopping=False, random_state=0).fit(pairs)
    return time.perf_counter() - start


def products(pairs, augmented, epochs, n_timed=100):
    """Return the seconds of the matrix products with d alone, scaled up from `n_timed` steps.

    An autoencoder's step multiplies its batch with the encoder's first layer and the decoder's
    last one, forward and backward, and the latter with itself; a reward's step multiplies the
    distinct real members and the decoder's last layer with the reward's first one, forward and
    backward. Smaller products are left out, so the time is a lower bound.
    """
    n, _, d = pairs.shape
    data = torch.from_numpy(pairs).reshape(-1, d)
    batch, width = min(2 * BATCH, len(data)), WIDTH
    encoder, decoder = torch.randn(d, HIDDEN), torch.randn(HIDDEN, d)
    hidden, gram = torch.randn(batch, HIDDEN), torch.randn(HIDDEN, HIDDEN)
    starts = np.random.default_rng(0).integers(0, len(data) - batch + 1, n_timed)

    def vae_step(start):
        x = data[start : start + batch]
        x @ encoder, x @ decoder.T, x.T @ hidden, hidden.T @ x, decoder @ decoder.T, gram @ decoder

    order = np.random.default_rng(0).permutation(len(augmented))[:BATCH]
    members = np.unique(augmented.members[order])
    n_rows = int((members < 2 * n).sum()) + HIDDEN + 1
    layer, grad = torch.randn(width, d), torch.randn(n_rows, width)

    def reward_step(start):
        x = data[start : start + n_rows]
        x @ layer.T, grad.T @ x

    seconds = 0.0
    for step, size, n_epochs in (
        (vae_step, n, epochs[0]),
        (reward_step, len(augmented), epochs[1]),
    ):
        step(0)
        begin = time.perf_counter()
        for start in starts:
            step(start)
        seconds += (time.perf_counter() - begin) / n_timed * n_epochs * size / BATCH
    return seconds


def measure(args):
    """Yield the rows of the table."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(args.n_pairs, 2, args.features)).astype(np.float32)
    epochs = args.epochs
    ours(pairs[:8], args.factor, (1, 1))  # torch imports its optimisers at the first step
    plain(pairs[:8], args.factor, (1, 1))
    runs = {"ours": [], "script": [], "products": [], "materialised": []}
    for _ in range(args.repeats):
        times, augmented = ours(pairs, args.factor, epochs)
        runs["ours"].append(times)
        runs["script"].append(plain(pairs, args.factor, epochs))
        runs["products"].append(products(pairs, augmented, epochs))
        runs["materialised"].append(reward(np.asarray(augmented), epochs[1]))
    matched = ours(pairs, args.factor, (1, epochs[1]), "matched")[1]
    on_codes, on_rows = reward(matched, epochs[1]), reward(np.asarray(matched), epochs[1])
    stages = {name: np.median(values, axis=0) for name, values in runs.items()}
    whole, script = stages["ours"].sum(), stages["script"].sum()
    size = f"N = {args.n_pairs}, d = {args.features}, factor {args.factor}"
    setting = {"setting": f"{size}, {epochs[0]} + {epochs[1]} epochs, median of {args.repeats}"}

    def row(what, rival, theirs, mine, reach, **more):
        return setting | {
            "what": what, "rival": rival, "ratio": theirs / mine, "reach": reach,
            "seconds": {"ours": mine, "rival": theirs} | more,
        }  # fmt: skip

    names = ("autoencoder", "synthesis", "reward")
    both = {
        f"{name}_{who}": float(seconds)
        for who in ("ours", "script")
        for name, seconds in zip(names, stages[who], strict=True)
    }
    yield row("whole fit", "research script", script, whole, ">= 2", **both)
    yield row("whole fit: time", "its matrix products alone", whole, stages["products"], "<= 1.5")
    mine = stages["ours"][2]
    yield row("reward stage", "same code, materialised", stages["materialised"], mine, ">= 2.5")
    yield row("reward stage", "research script", stages["script"][2], mine, ">= 2.5")
    yield row("reward stage, matched pairs", "same code, materialised", on_rows, on_codes, ">= 2.5")
