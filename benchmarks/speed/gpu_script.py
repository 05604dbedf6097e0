"""The rivals on a GPU: a research script with its tensors there, and the same captured by hand.

The maths of ``script.py`` without a DataLoader. Captured, the last batch of an epoch is left out,
which spares it a second graph.
"""

import time

import torch

from .script import PlainVAE, plain_augmentation, reward_loss, reward_network, vae_loss

BATCH, RATE = 128, 1e-4


def train(model, loss_of, pairs, epochs, **adam):
    """Train with plain launches."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, **adam)
    for _ in range(epochs):
        for rows in torch.randperm(len(pairs), device=pairs.device).split(BATCH):
            loss = loss_of(model, pairs[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train_captured(model, loss_of, pairs, epochs):
    """Train with one step captured in a CUDA graph."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True, capturable=True)
    size = min(BATCH, len(pairs))
    held = torch.arange(size, device=pairs.device)

    def step():
        optimizer.zero_grad()
        loss_of(model, pairs[held]).backward()
        optimizer.step()

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for _ in range(epochs):
        for rows in torch.randperm(len(pairs), device=pairs.device).split(size):
            if len(rows) == size:
                held.copy_(rows)
                graph.replay()


def fit(pairs, factor, epochs, how, **options):
    """Return the seconds of autoencoder, synthesis and reward.

    Parameters
    ----------
    pairs : ndarray of shape (n, 2, d)
    factor : int
    epochs : (int, int)
    how : callable
        `train` or `train_captured`.
    **options : dict
        Of Adam.

    Returns
    -------
    list of float
    """
    times = [time.perf_counter()]

    def lap():
        torch.cuda.synchronize()
        times.append(time.perf_counter())

    data = torch.from_numpy(pairs).cuda()
    vae = PlainVAE(data.shape[-1]).cuda()
    how(vae, vae_loss, data, epochs[0], **options)
    lap()
    augmented = plain_augmentation(vae, data, factor)
    lap()
    how(reward_network(data.shape[-1]).cuda(), reward_loss, augmented, epochs[1], **options)
    lap()
    return [stop - start for start, stop in zip(times, times[1:], strict=False)]
