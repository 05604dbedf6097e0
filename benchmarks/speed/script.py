"""The rival: the whole fit as a research script does it, straight down.

The same maths in loops over ``DataLoader(TensorDataset(...), shuffle=True)`` with Adam, on
augmented pairs that stand in memory.
"""

import time
from math import ceil, sqrt

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class PlainVAE(nn.Module):
    """The paper's autoencoder, written straight down."""

    def __init__(self, d, hidden=64, latent=16):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(d, hidden), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(hidden, 2 * latent) for _ in range(2))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, d))

    def encode(self, e, column):
        return self.heads[column](self.trunk(e)).chunk(2, dim=-1)


def vae_loss(model, x):
    """Return the loss of a batch (b, 2, d)."""
    loss, posteriors = 0.0, []
    for column in range(2):
        mean, log_variance = model.encode(x[:, column], column)
        std = (0.5 * log_variance).exp()
        z = mean + std * torch.randn_like(mean)
        loss = loss + ((model.decoder(z) - x[:, column]) ** 2).sum(-1).mean()
        loss = loss + 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(-1).mean()
        posteriors.append((mean, std))
    (m0, s0), (m1, s1) = posteriors
    w2 = (((m0 - m1) ** 2).sum(-1) + ((s0 - s1) ** 2).sum(-1) + 1e-12).sqrt().mean()
    return loss - 0.1 * w2


def reward_loss(model, x):
    """Return the loss of a batch (b, 2, d)."""
    return -nn.functional.logsigmoid(model(x[:, 0]) - model(x[:, 1])).mean()


def reward_network(d):
    """Return a two-layer perceptron."""
    return nn.Sequential(nn.Linear(d, 256), nn.ReLU(), nn.Linear(256, 1))


def train(model, loss_of, pairs, epochs):
    """Train a model, as such scripts do."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    for _ in range(epochs):
        for (x,) in DataLoader(TensorDataset(pairs), batch_size=128, shuffle=True):
            loss = loss_of(model, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def plain_augmentation(model, pairs, factor):
    """Decode, combine and materialise; candidates by likelihood as in the paper."""
    n_samples = ceil(sqrt(factor)) - 1
    members = []
    for column in range(2):
        e = pairs[:, column]
        mean, log_variance = model.encode(e, column)
        eta = 0.1 * torch.randn(len(e), 4 * n_samples, mean.shape[-1], device=e.device)
        distance = (eta**2 / log_variance.exp()[:, None]).sum(-1)
        best = distance.argsort(dim=1)[:, :n_samples]
        eta = eta.gather(1, best[..., None].expand(-1, -1, mean.shape[-1]))
        members.append(torch.cat([e[:, None], model.decoder(mean[:, None] + eta)], dim=1))
    combinations = [(a, b) for a in range(n_samples + 1) for b in range(n_samples + 1)][:factor]
    return torch.cat(
        [torch.stack([members[0][:, a], members[1][:, b]], 1) for a, b in combinations]
    )


def plain(pairs, factor, epochs):
    """Return the seconds of the autoencoder, of synthesis and of the reward."""
    pairs = torch.from_numpy(pairs)
    times = [time.perf_counter()]
    model = PlainVAE(pairs.shape[-1])
    train(model, vae_loss, pairs, epochs[0])
    times.append(time.perf_counter())
    augmented = plain_augmentation(model, pairs, factor)
    times.append(time.perf_counter())
    train(reward_network(pairs.shape[-1]), reward_loss, augmented, epochs[1])
    times.append(time.perf_counter())
    return np.diff(times)
