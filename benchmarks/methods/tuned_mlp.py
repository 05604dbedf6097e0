"""The reward's learning rate, weight decay and steps, chosen by cross-validation by prompts.

Alone, and as the mean of five with other seeds.
"""

from functools import partial
from math import ceil

import numpy as np
import torch
from sklearn.model_selection import GroupKFold
from skorch.callbacks import Callback

from . import _ensemble
from ._method import Method
from ._published import reward

#: By the kind of start: from zero, small steps pick well before large ones have settled.
LEARNING_RATES = {"uniform": (3e-4, 1e-3), "zero": (1e-4, 3e-4, 1e-3)}
#: Decoupled, so a step shrinks the weights by rate times decay: the strong ones matter here.
WEIGHT_DECAYS = (0.0, 50.0, 150.0)
N_FOLDS = 3
MAX_STEPS = 300  # of a fit in the search, or 10 epochs if they are more
PATIENCE = 60  # steps


def fit(split, seed, output_init="uniform"):
    params, _ = search(split, seed, output_init)
    split.details |= params
    return fit_once(split.pairs, params, seed).predict


def fit_ensemble(split, seed, output_init="uniform"):
    """Average five with the parameters of one search."""
    params, _ = search(split, seed, output_init)
    split.details |= params
    fits = [fit_once(split.pairs, params, s) for s in _ensemble.seeds(seed)]
    return _ensemble.mean([fitted.predict for fitted in fits])


def search(split, seed, output_init="uniform"):
    """Return the best parameters and their held-out loss; once a split and kind of start."""
    key = ("tuned MLP", seed, output_init)
    return split.once(key, lambda: _search(split.pairs, split.groups, seed, output_init))


def fit_once(pairs, params, seed):
    """Fit with parameters of `search`."""
    return reward(early_stopping=False, random_state=seed, **params).fit(pairs)


def _search(pairs, groups, seed, output_init):
    """Try every rate and decay; the held-out curve gives the epochs of each at no cost."""
    folds = list(GroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(pairs, groups=groups))
    results = []
    for learning_rate in LEARNING_RATES[output_init]:
        for weight_decay in WEIGHT_DECAYS:
            params = {
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
                "output_init": output_init,
            }
            curve = np.mean([_held_out(pairs, *fold, params, seed) for fold in folds], axis=0)
            epochs = int(np.argmin(curve)) + 1
            results.append((float(curve.min()), params | {"max_epochs": epochs}))
    loss, params = min(results, key=lambda result: result[0])
    return params, loss


def _held_out(pairs, train, test, params, seed):
    """Return the loss on held-out pairs after every epoch, the last one repeated to the end."""
    per_epoch = ceil(len(pairs) / 128)  # the same in every fold
    max_epochs = max(10, MAX_STEPS // per_epoch)
    losses = HeldOutLoss(pairs[test], patience=max(3, PATIENCE // per_epoch))
    reward(
        early_stopping=False, max_epochs=max_epochs, callbacks=[losses], random_state=seed, **params
    ).fit(pairs[train])
    return losses.losses + [losses.losses[-1]] * (max_epochs - len(losses.losses))


class HeldOutLoss(Callback):
    """Keep the loss on other pairs after every epoch, and stop when it no longer falls.

    It is the Bradley-Terry loss at the best *scale* of the rewards. The plain loss goes on
    falling while rewards grow to their right size and their order gets worse already; what a
    reward picks does not depend on its scale.
    """

    def __init__(self, pairs, patience):
        self.pairs = torch.from_numpy(pairs)
        self.patience = patience

    def on_train_begin(self, net, **kwargs):
        self.losses, self.pairs = [], self.pairs.to(net.device)

    def on_epoch_end(self, net, **kwargs):
        with torch.inference_mode():
            rewards = net.module_(self.pairs).cpu()
        self.losses.append(scaled_loss(rewards[:, 0] - rewards[:, 1]))
        if len(self.losses) - 1 - int(np.argmin(self.losses)) >= self.patience:
            raise KeyboardInterrupt  # how skorch's own callbacks end a fit


def scaled_loss(margin):
    """Return the mean of -log sigmoid(s * margin) at the best of 41 scales s > 0.

    Parameters
    ----------
    margin : tensor, shape (n,)
        Rewards of chosen minus rejected.

    Returns
    -------
    float
        The loss.
    """
    scales = torch.logspace(-2, 2, 41) / margin.abs().mean().clamp(min=1e-12)
    losses = torch.nn.functional.softplus(-scales[:, None] * margin).mean(dim=1)  # (41,)
    return float(losses.min())


SUITES = ("curves", "headline", "lsa", "mpnet")
METHODS = [
    Method(
        "tuned MLP",
        fit,
        suites=SUITES,
        baseline=True,
        tuned=True,
        style=dict(color="#000000", linestyle="-."),
    ),
    Method(
        "ensemble",
        fit_ensemble,
        suites=SUITES,
        label="ensemble of tuned MLPs",
        baseline=True,
        tuned=True,
        shares="tuned MLP",
        style=dict(color="#000000", linestyle="-", linewidth=2),
    ),
    Method(
        "tuned MLP, zero output",
        partial(fit, output_init="zero"),
        suites=SUITES,
        baseline=True,
        tuned=True,
    ),
    Method(
        "ensemble, zero output",
        partial(fit_ensemble, output_init="zero"),
        suites=SUITES,
        baseline=True,
        tuned=True,
        shares="tuned MLP, zero output",
        style=dict(color="#999999", linestyle="--", linewidth=2),
    ),
]
