"""The network of the contrastive autoencoder and its loss (LENS, equations 4 to 6)."""

from math import sqrt

import torch
from torch import nn

from ._low_rank_error import LowRankError, offset_dominates


def _uniform(n_in, generator, *shape):  # torch.nn.Linear's own initialisation
    bound = 1 / sqrt(n_in)
    return nn.Parameter(nn.init.uniform_(torch.empty(shape), -bound, bound, generator=generator))


class _PairLinear(nn.Module):
    """A linear layer over both columns of a pair, with one weight for both or one each."""

    def __init__(self, n_weights, n_in, n_out, generator):
        super().__init__()
        self.weight = _uniform(n_in, generator, n_weights, n_in, n_out)
        self.bias = _uniform(n_in, generator, n_weights, 1, n_out)

    def forward(self, x):  # (2, b, n_in) -> (2, b, n_out)
        if len(self.weight) == 1:  # squeezed, as the gradient of an index is filled with zeros
            return x @ self.weight.squeeze(0) + self.bias.squeeze(0)
        return torch.baddbmm(self.bias, x, self.weight)


class PairVAE(nn.Module):
    """Encoder N(μ, diag σ²) and decoder, both two-layer perceptrons.

    Parameters
    ----------
    n_features : int
        d.
    latent_dim : int
        Dimensions of the latent space.
    hidden_dim : int
        Width of the hidden layer of encoder and decoder.
    sharing : {"heads", "none", "all"}
        What the two columns of a pair share: all but the posterior's projection, nothing, or
        everything.
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(self, n_features, latent_dim, hidden_dim, sharing, generator):
        super().__init__()
        trunk = 2 if sharing == "none" else 1
        heads = 1 if sharing == "all" else 2
        self.trunk = _PairLinear(trunk, n_features, hidden_dim, generator)
        self.heads = _PairLinear(heads, hidden_dim, 2 * latent_dim, generator)
        self.expand = _PairLinear(trunk, latent_dim, hidden_dim, generator)
        # The last row is the bias, for which `hidden` ends with a 1.
        self.project = _uniform(hidden_dim, generator, trunk, hidden_dim + 1, n_features)

    @staticmethod
    def weight_shapes(n_features, latent_dim, hidden_dim, sharing):
        """Return the shapes of a network's weights.

        Parameters
        ----------
        n_features, latent_dim, hidden_dim, sharing
            As of the network.

        Returns
        -------
        dict of str to tuple of int
            By name.
        """
        trunk, heads = 1 + (sharing == "none"), 1 + (sharing != "all")
        return {
            "project": (trunk, hidden_dim + 1, n_features),
            "trunk.weight": (trunk, n_features, hidden_dim),
            "trunk.bias": (trunk, 1, hidden_dim),
            "heads.weight": (heads, hidden_dim, 2 * latent_dim),
            "heads.bias": (heads, 1, 2 * latent_dim),
            "expand.weight": (trunk, latent_dim, hidden_dim),
            "expand.bias": (trunk, 1, hidden_dim),
        }

    def encode(self, x):
        """Return the posteriors.

        Parameters
        ----------
        x : tensor, shape (2, b, d)
            Embeddings; index 0 chosen, 1 rejected, here and below.

        Returns
        -------
        mean, log_variance : tensor, each of shape (2, b, latent_dim)
            Their parameters.
        """
        mean, log_variance = self.heads(self.trunk(x).relu()).chunk(2, dim=-1)
        # exp(±15) spans every useful scale; beyond it float32 overflows.
        return mean, log_variance.clamp(-15, 15)

    def hidden(self, z):
        """Return the activations before the decoder's last layer.

        Parameters
        ----------
        z : tensor, shape (2, b, latent_dim)
            Latents.

        Returns
        -------
        tensor, shape (2, b, hidden_dim + 1)
            Activations; the last is 1, for the bias.
        """
        return nn.functional.pad(self.expand(z).relu(), (0, 1), value=1.0)

    def decode(self, z):
        """Map latents back to embeddings.

        Parameters
        ----------
        z : tensor, shape (2, b, latent_dim)
            Latents.

        Returns
        -------
        tensor, shape (2, b, d)
            Embeddings.
        """
        return self.hidden(z) @ self.project

    def error(self, x, z, square_norm=None):
        """Return the squared errors of decoded latents.

        Parameters
        ----------
        x : tensor, shape (2, b, d)
            Embeddings.
        z : tensor, shape (2, b, latent_dim)
            Latents.
        square_norm : tensor, shape (2, b), optional
            ``‖x‖²``: with it no reconstruction is written, and rounding is relative to it and
            not to the error. None decodes and subtracts.

        Returns
        -------
        tensor, shape (2, b)
            Squared errors, summed over the features.
        """
        if square_norm is None:
            return (x - self.decode(z)).square().sum(-1)
        return LowRankError.apply(x, square_norm, self.hidden(z), self.project)


def lens_losses(x, reconstructed, mean, log_variance, reconstruction="sum"):
    """Terms of the LENS loss (equations 4 to 6), each a mean over pairs.

    Parameters
    ----------
    x, reconstructed : tensor, shape (2, b, d)
        Embeddings and their reconstructions; index 0 chosen, 1 rejected.
    mean, log_variance : tensor, shape (2, b, latent_dim)
        Parameters of the posteriors.
    reconstruction : {"sum", "mean"}, default="sum"
        Squared error summed or averaged over the d features.

    Returns
    -------
    dict of tensor
        ``reconstruction`` and ``kl``, summed over the two members, and ``divergence``, the
        2-Wasserstein distance (not its square) between the two posteriors.
    """
    error = (x - reconstructed).square()
    error = error.sum(-1) if reconstruction == "sum" else error.mean(-1)  # (2, b)
    return loss_terms(error, mean, log_variance)


def loss_terms(error, mean, log_variance):
    """Terms of the loss, the squared error being known.

    Parameters
    ----------
    error : tensor, shape (2, b)
        Squared error of each embedding.
    mean, log_variance : tensor, shape (2, b, latent_dim)
        Parameters of the posteriors.

    Returns
    -------
    dict of tensor
        As `lens_losses` returns it.
    """
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)  # (2, b)
    std = (0.5 * log_variance).exp()
    # The norm's gradient at 0 is defined as 0, where that of a bare square root is infinite.
    gap = torch.cat([mean[0] - mean[1], std[0] - std[1]], dim=-1)  # (b, 2·latent_dim)
    divergence = torch.linalg.vector_norm(gap, dim=-1)
    return {
        "reconstruction": error.sum(0).mean(),
        "kl": kl.sum(0).mean(),
        "divergence": divergence.mean(),
    }


def lens_step(module, optimizer, data, total, weigh, reconstruction, batch_size):
    """Return a function that takes one step of the optimizer, as often as it is called.

    Parameters
    ----------
    module : PairVAE
        The network.
    optimizer : torch.optim.Optimizer
        Of its weights.
    data : tensor, shape (2n, d)
        Embeddings, the members of a pair beside each other.
    total : tensor, shape (4,)
        The losses of a batch times its size are added here: the whole, then its terms.
    weigh : callable
        From the terms of `loss_terms` to the whole.
    reconstruction : {"sum", "mean"}
        As in `lens_losses`.
    batch_size : int
        The most pairs a step.

    Returns
    -------
    callable
        Takes indices of pairs (b,) and standard normal numbers (b, 2, latent_dim).
    """
    n, d = len(data) // 2, data.shape[1]
    scale = 1.0 if reconstruction == "sum" else 1 / d
    square_norm = torch.linalg.vector_norm(data, dim=1).square()
    if offset_dominates(data, square_norm):
        square_norm = None  # errors are too small beside it: decode and subtract
    batch = data.new_empty(2 * min(n, batch_size), d)  # fresh memory costs page faults

    def step(index, eta):
        rows = torch.cat([2 * index, 2 * index + 1])
        x = torch.index_select(data, 0, rows, out=batch[: len(rows)]).view(2, -1, d)
        mean, log_variance = module.encode(x)
        z = mean + (0.5 * log_variance).exp() * eta.movedim(1, 0)
        norms = None if square_norm is None else square_norm[rows].view(2, -1)
        losses = loss_terms(scale * module.error(x, z, norms), mean, log_variance)
        loss = weigh(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total.add_(torch.stack([loss, *losses.values()]).detach(), alpha=len(index))

    return step
