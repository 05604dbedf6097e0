"""A reward network's epochs on a GPU: steps replayed, and one look at the loss an epoch."""

import torch
from skorch.callbacks import Callback, LRScheduler

from ._pair_table import PairTable, fits
from ._training_step import TrainingStep, free_bytes

#: What skorch calls at every batch; whoever listens needs the batches.
PER_BATCH = ("on_batch_begin", "on_batch_end", "on_grad_computed", "notify")


class ReplayedEpochs:
    """Train a net for an epoch at a time as skorch does, batch for batch.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised, on its device; its optimizer may be captured.
    dataset : PairDataset
        The pairs, on the same device.
    record : callable, optional
        As in :class:`TrainingStep`.
    """

    def __init__(self, net, dataset, record=None):
        self.net = net
        self.table = PairTable(dataset.pairs)
        self.dataset = dataset
        device = dataset.target.device
        self.total = torch.zeros((), device=device)
        self.step = TrainingStep(self._step, device, record)
        self._state = None

    def run(self, batches):
        """Train for one epoch.

        Parameters
        ----------
        batches : iterable of tensor of int, shape (b,)
            Indices of each batch's pairs, on any device.

        Returns
        -------
        float
            Mean loss of the pairs.
        """
        state = self._held()
        if state != self._state:  # a callback has set another learning rate, or frozen a layer
            self.step.forget()
            self._state = state
        self.net.module_.train()
        self.net.criterion_.train()
        self.total.zero_()
        for index in batches:
            self.step(index)
        return self.total.item() / len(self.dataset)

    def _step(self, index):
        net = self.net
        target = self.dataset.target.index_select(0, index)
        weight = self.dataset.weight.index_select(0, index)
        net.optimizer_.zero_grad()
        loss = net.criterion_(net.module_(self.table[index]), (target, weight))
        loss.backward()
        net.optimizer_.step()
        self.total.add_(loss.detach(), alpha=len(index))

    def _held(self):
        """Return all that a graph has in it besides tensors' values."""
        net = self.net
        groups = [
            {name: value for name, value in group.items() if name != "params"}
            for group in net.optimizer_.param_groups
        ]
        parameters = [(p.data_ptr(), p.requires_grad) for p in net.module_.parameters()]
        criterion = {k: v for k, v in vars(net.criterion_).items() if not k.startswith("_")}
        criterion.pop("training")
        return id(net.optimizer_), groups, parameters, criterion


def can_replay(net, dataset):
    """Tell whether a net's epochs are replayed.

    Parameters
    ----------
    net : skorch.NeuralNet
        Initialised.
    dataset : PairDataset
        What it trains on.

    Returns
    -------
    bool
        On a GPU with room for the pairs' table, where no callback wants batches.
    """
    device = dataset.target.device
    if device.type != "cuda" or wants_batches(net.callbacks_):
        return False
    return fits(dataset.pairs, free_bytes(device))


def wants_batches(callbacks):
    """Tell whether a callback does something at every batch.

    Parameters
    ----------
    callbacks : list of (str, object)
        A net's.

    Returns
    -------
    bool
        Such a net trains batch by batch, in skorch's own loop.
    """
    return any(_listens(callback) for _, callback in callbacks)


def _listens(callback):
    if isinstance(callback, LRScheduler) and callback.step_every == "epoch":
        return False
    return any(
        getattr(type(callback), name, None) is not getattr(Callback, name, None)
        for name in PER_BATCH
    )
