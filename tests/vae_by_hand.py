"""The training of ContrastiveVAE written out from the paper, in float64: what tests expect of it.

Nothing here calls the library. It draws the same numbers, in the same order: one seed for the
initial weights, then for each call of `fit` or `partial_fit` one for the noise and one for the
order of the pairs.
"""

from math import sqrt

import numpy as np
import torch


class VAEByHand:
    """Equations 4 to 6 and Adam, pair by pair of columns."""

    def __init__(self, d, latent_dim, hidden_dim, sharing, *, seed):
        self.random_state = np.random.RandomState(seed)
        trunk, heads = {"heads": (1, 2), "none": (2, 2), "all": (1, 1)}[sharing]
        shapes = {
            "trunk.weight": (trunk, d, hidden_dim),
            "trunk.bias": (trunk, 1, hidden_dim),
            "heads.weight": (heads, hidden_dim, 2 * latent_dim),
            "heads.bias": (heads, 1, 2 * latent_dim),
            "expand.weight": (trunk, latent_dim, hidden_dim),
            "expand.bias": (trunk, 1, hidden_dim),
            "project": (trunk, hidden_dim + 1, d),  # its last row is the bias
        }
        inputs = {"trunk": d, "heads": hidden_dim, "expand": latent_dim, "project": hidden_dim}
        generator = self.generator()
        self.weights = {}
        for name, shape in shapes.items():
            bound = 1 / sqrt(inputs[name.split(".")[0]])
            drawn = torch.rand(shape, generator=generator).double()
            self.weights[name] = (bound * (2 * drawn - 1)).requires_grad_()
        self.moments = {name: (0.0, 0.0) for name in shapes}
        self.n_steps = 0

    def generator(self):
        return torch.Generator().manual_seed(int(self.random_state.randint(2**31 - 1)))

    def weight(self, name, column):
        both = self.weights[name]
        return both[column if len(both) == 2 else 0]

    def encode(self, x, column):  # (b, d) -> two of (b, latent_dim)
        hidden = x @ self.weight("trunk.weight", column) + self.weight("trunk.bias", column)
        out = hidden.clamp(min=0) @ self.weight("heads.weight", column)
        mean, log_variance = (out + self.weight("heads.bias", column)).tensor_split(2, dim=1)
        return mean, log_variance

    def decode(self, z, column):  # (b, latent_dim) -> (b, d)
        hidden = z @ self.weight("expand.weight", column) + self.weight("expand.bias", column)
        last = self.weight("project", column)
        return hidden.clamp(min=0) @ last[:-1] + last[-1]

    def losses(self, x, eta, *, beta, gamma, reconstruction):  # x (b, 2, d), eta (2, b, m)
        error = kl = 0.0
        posteriors = []
        for column in range(2):
            mean, log_variance = self.encode(x[:, column], column)
            std = (log_variance / 2).exp()
            back = self.decode(mean + std * eta[column], column)
            square = (x[:, column] - back) ** 2  # (b, d)
            error += (square.sum(1) if reconstruction == "sum" else square.mean(1)).mean()
            kl += (0.5 * (mean**2 + std**2 - 1) - std.log()).sum(1).mean()
            posteriors.append(torch.cat([mean, std], dim=1))
        divergence = ((posteriors[0] - posteriors[1]) ** 2).sum(1).sqrt().mean()
        loss = error + beta * kl - gamma * divergence
        return {"loss": loss, "reconstruction": error, "kl": kl, "divergence": divergence}

    def step(self, loss, learning_rate):  # Adam with its authors' constants
        gradients = torch.autograd.grad(loss, list(self.weights.values()))
        self.n_steps += 1
        for (name, weight), gradient in zip(self.weights.items(), gradients, strict=True):
            first, second = self.moments[name]
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            self.moments[name] = first, second
            unbiased = first / (1 - 0.9**self.n_steps)
            scale = (second / (1 - 0.999**self.n_steps)).sqrt() + 1e-8
            self.weights[name] = (weight - learning_rate * unbiased / scale).detach()
            self.weights[name].requires_grad_()

    def learn(
        self, pairs, n_epochs, *, batch_size, learning_rate, beta, gamma, reconstruction="sum"
    ):
        """Return what `history_` has to gain."""
        noise, shuffle = self.generator(), self.generator()
        order = torch.tensor(sorted(range(len(pairs)), key=lambda i: pairs[i].tobytes()))
        x = torch.tensor(pairs.astype(float))
        latent_dim = self.weights["expand.weight"].shape[1]
        history = []
        for _ in range(n_epochs):
            totals = dict.fromkeys(("loss", "reconstruction", "kl", "divergence"), 0.0)
            for index in order[torch.randperm(len(pairs), generator=shuffle)].split(batch_size):
                eta = torch.randn(2, len(index), latent_dim, generator=noise).double()
                losses = self.losses(
                    x[index], eta, beta=beta, gamma=gamma, reconstruction=reconstruction
                )
                self.step(losses["loss"], learning_rate)
                for name, value in losses.items():
                    totals[name] += value.item() * len(index)
            history.append({name: value / len(pairs) for name, value in totals.items()})
        return history
