"""Time of the whole fit after embedding, beside a plain research script, in one run.

    python benchmarks/fit_speed.py [--n-pairs 1000] [--features 4096] [--factor 8] [--repeats 3]

The rival does the same maths as people write it: the autoencoder and the reward in loops over
``DataLoader(TensorDataset(...), shuffle=True)`` with Adam, on augmented pairs that stand in
memory. Both run 100 and 20 epochs without early stopping, alternating, on the same cores.
"""

import argparse
import json
import os
import platform
import time
from math import ceil, sqrt

import numpy as np
import sklearn
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter, __version__


class PlainVAE(nn.Module):
    """The paper's autoencoder, written straight down."""

    def __init__(self, d, hidden=64, latent=16):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(d, hidden), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(hidden, 2 * latent) for _ in range(2))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d))

    def encode(self, e, column):
        return self.heads[column](self.trunk(e)).chunk(2, dim=-1)


def plain_vae(pairs, epochs):
    model = PlainVAE(pairs.shape[-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    for _ in range(epochs):
        for (x,) in DataLoader(TensorDataset(pairs), batch_size=128, shuffle=True):
            loss, posteriors = 0.0, []
            for column in range(2):
                mean, log_variance = model.encode(x[:, column], column)
                std = (0.5 * log_variance).exp()
                z = mean + std * torch.randn_like(mean)
                loss = loss + ((model.decoder(z) - x[:, column]) ** 2).sum(-1).mean()
                kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1).mean()
                loss = loss + kl
                posteriors.append((mean, std))
            (m0, s0), (m1, s1) = posteriors
            w2 = (((m0 - m1) ** 2).sum(-1) + ((s0 - s1) ** 2).sum(-1) + 1e-12).sqrt().mean()
            optimizer.zero_grad()
            (loss - 0.1 * w2).backward()
            optimizer.step()
    return model


@torch.no_grad()
def plain_augmentation(model, pairs, factor):
    """Decode, combine and materialise; candidates by likelihood as in the paper."""
    n_samples = ceil(sqrt(factor)) - 1
    members = []
    for column in range(2):
        e = pairs[:, column]
        mean, log_variance = model.encode(e, column)
        eta = 0.1 * torch.randn(len(e), 4 * n_samples, mean.shape[-1])
        distance = (eta**2 / log_variance.exp()[:, None]).sum(-1)
        best = distance.argsort(dim=1)[:, :n_samples]
        eta = eta.gather(1, best[..., None].expand(-1, -1, mean.shape[-1]))
        members.append(torch.cat([e[:, None], model.decoder(mean[:, None] + eta)], dim=1))
    combinations = [(a, b) for a in range(n_samples + 1) for b in range(n_samples + 1)][:factor]
    return torch.cat(
        [torch.stack([members[0][:, a], members[1][:, b]], 1) for a, b in combinations]
    )


def plain_reward(pairs, epochs):
    model = nn.Sequential(nn.Linear(pairs.shape[-1], 256), nn.ReLU(), nn.Linear(256, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    for _ in range(epochs):
        for (x,) in DataLoader(TensorDataset(pairs), batch_size=128, shuffle=True):
            loss = -nn.functional.logsigmoid(model(x[:, 0]) - model(x[:, 1])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def plain(pairs, factor, epochs):
    pairs = torch.from_numpy(pairs)
    times = [time.perf_counter()]
    model = plain_vae(pairs, epochs[0])
    times.append(time.perf_counter())
    augmented = plain_augmentation(model, pairs, factor)
    times.append(time.perf_counter())
    plain_reward(augmented, epochs[1])
    times.append(time.perf_counter())
    return np.diff(times)


def ours(pairs, factor, epochs):
    times = [time.perf_counter()]
    vae = ContrastiveVAE(max_epochs=epochs[0], random_state=0)
    augmenter = LatentPairAugmenter(vae, factor=factor, random_state=0).fit(pairs)
    times.append(time.perf_counter())
    random_state = np.random.RandomState(0)
    augmented = augmenter._augment(augmenter._checked(pairs, None), random_state)
    times.append(time.perf_counter())
    reward = BTRewardRegressor(max_epochs=epochs[1], early_stopping=False, random_state=0)
    reward.fit(augmented)
    times.append(time.perf_counter())
    return np.diff(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-pairs", type=int, default=1000)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs=2, default=(100, 20))
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(args.n_pairs, 2, args.features)).astype(np.float32)
    ours(pairs[:8], args.factor, (1, 1))  # torch imports its optimisers at the first step
    plain(pairs[:8], args.factor, (1, 1))
    runs = {"ours": [], "plain": []}
    for _ in range(args.repeats):
        for name, function in (("ours", ours), ("plain", plain)):
            runs[name].append(function(pairs, args.factor, args.epochs))
    stages = ["autoencoder", "synthesis", "reward", "whole fit"]
    seconds = {
        name: np.median([[*times, times.sum()] for times in values], axis=0)
        for name, values in runs.items()
    }
    print(f"N = {args.n_pairs}, d = {args.features}, factor {args.factor}, median of runs")
    print(f"{'stage':<12} {'plain s':>9} {'ours s':>9} {'ratio':>7}")
    for stage, theirs, mine in zip(stages, seconds["plain"], seconds["ours"], strict=True):
        print(f"{stage:<12} {theirs:9.2f} {mine:9.2f} {theirs / mine:6.2f}x")
    versions = {"lens_sklearn": __version__, "torch": torch.__version__}
    versions |= {"scikit-learn": sklearn.__version__, "threads": torch.get_num_threads()}
    print(json.dumps(versions | {"machine": platform.machine(), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
