"""The network of the Bradley–Terry reward: module, loss, and batches of pairs in memory."""

from math import isfinite

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from ._augmented_pairs import CodedPairs
from ._device import as_tensor, torch_generator
from ._divergence import has_finite_weights, raise_diverged
from ._feature_scale import MAX_DEVIATIONS
from ._replayed_epochs import ReplayedEpochs, can_replay


class RewardMLP(nn.Module):
    """Two-layer perceptron from an embedding to its reward.

    Parameters
    ----------
    n_features : int
        d.
    hidden_dim : int
        Width of the hidden layer.
    seed : int, default=0
        Draws the initial weights from a generator of its own.
    output_init : {"zero", "uniform"}, default="zero"
        How the output layer begins.
    moments : tensor of shape (2, d), optional
        Mean and deviation of each feature: embeddings come as they are, and the hidden layer is
        one of standardised embeddings z. None is for features that are standard.
    response_moments : tensor of shape (2, k), optional
        Mean and deviation of the last k columns, response features: before anything else they are
        standardised and kept within three deviations.
    """

    def __init__(
        self,
        n_features,
        hidden_dim,
        seed=0,
        output_init="zero",
        moments=None,
        response_moments=None,
    ):
        super().__init__()
        self.register_buffer("moments", moments)
        self.register_buffer("response_moments", response_moments)
        self.hidden = nn.utils.skip_init(nn.Linear, n_features, hidden_dim)
        self.output = nn.utils.skip_init(nn.Linear, hidden_dim, 1)
        generator = torch_generator(seed)
        for layer in (self.hidden, self.output):  # torch.nn.Linear's own initialisation
            bound = layer.in_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
        if output_init == "zero":
            for parameter in self.output.parameters():
                nn.init.zeros_(parameter)

    @staticmethod
    def weight_shapes(n_features, hidden_dim, n_response_features=0):
        """Return the shapes of the weights of a network that has absorbed its moments.

        Parameters
        ----------
        n_features, hidden_dim : int
            As of the network.
        n_response_features : int, default=0
            k.

        Returns
        -------
        dict of str to tuple of int
            By name.
        """
        shapes = {
            "hidden.weight": (hidden_dim, n_features),
            "hidden.bias": (hidden_dim,),
            "output.weight": (1, hidden_dim),
            "output.bias": (1,),
        }
        k = n_response_features
        return shapes | ({"response_moments": (2, k)} if k else {})

    def forward(self, x):
        """Return the rewards of embeddings.

        Parameters
        ----------
        x : tensor, shape (..., d), or CodedPairs
            Embeddings; coded pairs have no response features.

        Returns
        -------
        tensor, shape (...)
            Rewards; those of coded pairs have the shape (b, 2).
        """
        if isinstance(x, CodedPairs):
            weight, bias = self._first_layer()
            hidden = x.project(weight.T) + bias
            return self.output(hidden.relu()).squeeze(-1)[x.order]
        if self.response_moments is not None:
            mean, deviation = self.response_moments
            k = len(mean)
            standard = ((x[..., -k:] - mean) / deviation).clamp_(-MAX_DEVIATIONS, MAX_DEVIATIONS)
            x = torch.cat([x[..., :-k], standard], dim=-1)
        if self.moments is not None:
            mean, deviation = self.moments
            x = (x - mean).div_(deviation)
        return self.output(self.hidden(x).relu()).squeeze(-1)

    def _first_layer(self):
        """Return the weight and bias that do to embeddings as they come what theirs do to z."""
        if self.moments is None:
            return self.hidden.weight, self.hidden.bias
        mean, deviation = self.moments
        weight = self.hidden.weight / deviation
        return weight, self.hidden.bias - weight @ mean

    @torch.no_grad()
    def absorb_moments(self):
        """Write the moments into the hidden layer: a trained net has no further use for them."""
        weight, bias = self._first_layer()
        self.hidden.weight.copy_(weight)
        self.hidden.bias.copy_(bias)
        self.moments = None

    @torch.no_grad()
    def scale_rewards(self, factor):
        """Multiply all rewards.

        Parameters
        ----------
        factor : float
            By what.
        """
        self.output.weight.mul_(factor)
        self.output.bias.mul_(factor)

    @torch.no_grad()
    def steepness(self):
        """Return how fast the hidden units can change with an embedding as it comes.

        Returns
        -------
        tensor, shape (hidden_dim, d)
            The hidden layer's weight per unit of each column, once moments are absorbed.
        """
        weight = self.hidden.weight.clone()
        if self.response_moments is not None:
            deviation = self.response_moments[1]
            weight[:, -len(deviation) :] /= deviation
        return weight


class BradleyTerryLoss(nn.Module):
    r"""Negative log-likelihood of Bradley–Terry with soft targets (equation 9).

    With :math:`\Delta = r_0 - r_1`, target t and weight w the loss is the mean of

    .. math:: -w\,[t \log\sigma(\Delta) + (1 - t) \log\sigma(-\Delta)] + c\,w\,(r_0 + r_1)^2

    Parameters
    ----------
    label_smoothing : float, default=0.0
        s moves targets to ``t (1 - s) + s / 2``; in training only.
    center_coefficient : float, default=0.0
        c; in training only. Rewards are known up to a shift, which this pins near 0.
    """

    def __init__(self, label_smoothing=0.0, center_coefficient=0.0):
        super().__init__()
        self.label_smoothing = label_smoothing
        self.center_coefficient = center_coefficient

    def forward(self, rewards, target_and_weight):
        """Return the loss of a batch.

        Parameters
        ----------
        rewards : tensor, shape (b, 2)
            Rewards of the pairs' members.
        target_and_weight : tuple of tensor, each of shape (b,)
            Probability that column 0 wins, and weight.

        Returns
        -------
        tensor, shape ()
            The loss.
        """
        target, weight = target_and_weight
        if self.training:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        margin = rewards[:, 0] - rewards[:, 1]
        loss = nn.functional.binary_cross_entropy_with_logits(
            margin, target, weight=weight, reduction="mean"
        )
        if self.training and self.center_coefficient:
            loss = loss + self.center_coefficient * (weight * rewards.sum(1).square()).mean()
        return loss


class PairBatches:
    """Iterate over pairs in memory: skorch's ``iterator_train`` without a DataLoader.

    A DataLoader fetches row by row, which costs up to three times the training itself at small
    d; here a batch is one indexing operation. Synthetic members stay codes in it where that
    takes fewer operations, and are decoded elsewhere.

    Parameters
    ----------
    dataset : PairDataset
        The pairs.
    batch_size : int
        Pairs a batch.
    seed : int or None, default=None
        Shuffles every epoch anew; None keeps the order.
    """

    def __init__(self, dataset, batch_size, seed=None):
        self.dataset = dataset
        self.batch_size = batch_size
        self.generator = None if seed is None else torch_generator(seed)
        self.replayed = None  # ReplayedEpochs, from the first epoch of a net that has them

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self):
        for index in self.indices():
            yield self.dataset[index.numpy()]

    def indices(self, device="cpu"):
        """Draw the pairs of an epoch's batches.

        Parameters
        ----------
        device : torch.device or str, default="cpu"
            Where the indices are to be.

        Returns
        -------
        tuple of tensor of int, each of shape (b,)
            The indices, a tensor a batch.
        """
        n = len(self.dataset)
        if self.generator is None:
            order = torch.arange(n)
        else:
            order = torch.randperm(n, generator=self.generator)
        return order.to(device).split(self.batch_size)


class PairDataset(torch.utils.data.Dataset):
    """Pairs on a device, read by arrays of indices.

    Parameters
    ----------
    pairs : AugmentedPairs
        The pairs.
    device : torch.device
        Where batches are made.
    width : int, default=1
        Outputs of the layer that the batches are for; it decides what stays coded. With 0 nothing
        does: no layer comes first.
    """

    def __init__(self, pairs, device, width=1):
        self.width = width
        self.pairs = pairs.to(device)
        self.target = as_tensor(pairs.target).to(device)
        self.weight = as_tensor(pairs.weight).to(device)

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        coded = self.width > 0 and self.pairs.codes_pay(index, self.width)
        x = self.pairs.coded(index) if coded else self.pairs.rows(index)
        return x, (self.target[index], self.weight[index])


class Interrupted(BaseException):
    """Stands for a KeyboardInterrupt on its way through skorch, which would end it there."""


class RewardNet(NeuralNet):
    """skorch's net, which lets coded pairs through to the module and replays steps on a GPU.

    skorch takes a KeyboardInterrupt for "stop here and keep what there is", whoever raised it. Here
    only its own early stopping means that; Ctrl-C ends the fit, and so the search around it.
    """

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train, and let Ctrl-C through.

        Parameters
        ----------
        X : PairDataset
            The pairs.
        y, classes : None
            As in skorch.
        **fit_params : dict
            As in skorch.

        Returns
        -------
        RewardNet
            Itself.

        Raises
        ------
        KeyboardInterrupt
            If the training was interrupted.
        ValueError
            If the loss of an epoch, or a weight at the end, is not finite.
        """
        try:
            super().partial_fit(X, y, classes, **fit_params)
        except Interrupted as interrupted:
            raise interrupted.__cause__ from None
        finally:
            for _, callback in self.callbacks_:
                if isinstance(callback, EpochBar):
                    callback.close()
        self._check_weights()
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Run the epochs.

        Parameters
        ----------
        X, y, epochs, **fit_params
            As in skorch.

        Returns
        -------
        RewardNet
            Itself.
        """
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except KeyboardInterrupt as interrupt:
            if self._has_stopped_early():
                return self
            raise Interrupted from interrupt

    def _has_stopped_early(self):
        stops = (c for _, c in self.callbacks_ if isinstance(c, EarlyStopping))
        return any(stop.misses_ == stop.patience for stop in stops)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Go once through the pairs, and check that the loss is finite.

        Parameters
        ----------
        iterator, training, prefix, step_fn, **fit_params
            As in skorch.

        Raises
        ------
        ValueError
            If it is not.
        """
        if iterator is None:
            return
        if training and iterator.replayed is None and can_replay(self, iterator.dataset):
            iterator.replayed = ReplayedEpochs(self, iterator.dataset)
        if training and iterator.replayed is not None:
            self._replay_epoch(iterator, prefix)
        else:
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        losses = self.history[-1, "batches", :, f"{prefix}_loss"]
        if not all(map(isfinite, losses)):
            self._raise_diverged()

    def _replay_epoch(self, iterator, prefix):
        loss = iterator.replayed.run(iterator.indices(iterator.dataset.target.device))
        self.history.new_batch()  # one batch, as large as the epoch
        self.history.record_batch(f"{prefix}_loss", loss)
        self.history.record_batch(f"{prefix}_batch_size", len(iterator.dataset))
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def _check_weights(self):
        # The last step's own loss is never computed.
        if not has_finite_weights(self.module_):
            self._raise_diverged()

    def _raise_diverged(self):
        found = f"its loss or weights are not finite in epoch {len(self.history)}"
        remedy = "leave standardize=True where features are large"
        raise_diverged("the reward network", found, self.lr, remedy)

    def infer(self, x, **fit_params):
        """Return the rewards of a batch.

        Parameters
        ----------
        x : tensor or CodedPairs
            The batch, on the net's device.
        **fit_params : dict
            As in skorch.

        Returns
        -------
        tensor
            Rewards.
        """
        if isinstance(x, CodedPairs):
            return self.module_(x, **fit_params)
        return super().infer(x, **fit_params)


class EpochBar(Callback):
    """One progress bar over all epochs; skorch's own draws and clears one an epoch."""

    bar_ = None

    def on_train_begin(self, net, **kwargs):
        """Open the bar."""
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, desc="BTRewardRegressor", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        """Advance the bar and show the epoch's losses."""
        losses = {key: f"{net.history[-1][key]:.4f}" for key in losses_of(net.history)}
        self.bar_.set_postfix(losses)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.close()

    def close(self):
        """Close the bar where one is open: a fit that fails has no end of training."""
        if self.bar_ is not None:
            self.bar_.close()


def losses_of(history):
    """Return the names of the losses that a net's history holds.

    Parameters
    ----------
    history : list of dict
        An epoch each.

    Returns
    -------
    list of str
        ``train_loss`` and, with early stopping, ``valid_loss``.
    """
    return [key for key in ("train_loss", "valid_loss") if key in history[0]]
