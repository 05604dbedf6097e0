"""Losses over the epochs of a training."""

import numpy as np

from ._style import (
    GRAY,
    check_named,
    label_line_ends,
    load_matplotlib,
    series_styles,
    wrap_labels,
)

#: Losses that are drawn, in this order, and what they are called.
LOSSES = {
    "train_loss": "train",
    "valid_loss": "held out",
    "loss": "loss",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "divergence": "divergence",
}
#: What an epoch must improve on the best loss so far, as a share of it: early stopping's rule.
THRESHOLD = 1e-4
#: Where models stand that a fitted estimator holds.
PARTS = ("best_estimator_", "vae_", "reward_", "augmenter_", "teacher_", "candidates_")


class TrainingHistoryDisplay:
    """Losses over epochs, of each network that an estimator holds.

    Create one with :meth:`from_estimator`.

    Parameters
    ----------
    histories : dict of str to list of dict
        By name, the losses of each epoch, as in ``history_`` of :class:`ContrastiveVAE` and
        :class:`BTRewardRegressor`: any of ``train_loss``, ``valid_loss``, ``loss``,
        ``reconstruction``, ``kl`` and ``divergence``, and ``epoch`` or none.

    Attributes
    ----------
    losses : dict of str to dict of str to ndarray of shape (n_epochs,)
        By name, the losses.
    epochs : dict of str to ndarray of shape (n_epochs,)
        By name, the numbers of the epochs.
    best_epochs : dict of str to int or None
        By name, the epoch whose weights early stopping kept: the last that improved
        ``valid_loss`` by more than a ten thousandth. None without early stopping.
    axes_, figure_ : ndarray of matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    Examples
    --------
    >>> from lens_sklearn import BTRewardRegressor, TrainingHistoryDisplay
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=60, n_features=4, random_state=0).pairs
    >>> reward = BTRewardRegressor(max_epochs=5, random_state=0).fit(pairs)
    >>> display = TrainingHistoryDisplay.from_estimator(reward)
    >>> display.losses["BTRewardRegressor"]["train_loss"].shape
    (5,)
    """

    def __init__(self, histories):
        self.losses, self.epochs, self.best_epochs = {}, {}, {}
        for name, history in check_named("histories", histories).items():
            self.losses[name] = losses = _losses_of(name, history)
            rows = _epochs_of(history)
            numbers = [row.get("epoch", 1 + i) for i, row in enumerate(rows)]
            self.epochs[name] = np.asarray(numbers)
            valid = losses.get("valid_loss")
            best = None if valid is None else int(self.epochs[name][_best(valid)])
            self.best_epochs[name] = best

    @classmethod
    def from_estimator(cls, estimator, *, axes=None):
        """Find the networks in a fitted estimator and plot their losses.

        Parameters
        ----------
        estimator : estimator
            Fitted: a :class:`ContrastiveVAE`, a :class:`BTRewardRegressor`, or what holds some: a
            Pipeline, a search, an augmenter, an ensemble.
        axes : array-like of matplotlib Axes, default=None
            Where to plot, one a network; None makes a figure.

        Returns
        -------
        TrainingHistoryDisplay
            With the plot drawn.

        Raises
        ------
        TypeError
            If no network is found that was trained.
        """
        histories = {}
        _collect(estimator, histories, set())
        if not histories:
            raise TypeError(
                f"no training history in this {type(estimator).__name__}; give a fitted "
                "ContrastiveVAE or BTRewardRegressor, or a fitted Pipeline, search or ensemble "
                "that holds one."
            )
        return cls(histories).plot(axes=axes)

    def plot(self, axes=None):
        """Draw a panel a network, the epoch that early stopping kept as a line.

        Parameters
        ----------
        axes : array-like of matplotlib Axes, default=None
            Where to plot, one a network; None makes a figure.

        Returns
        -------
        TrainingHistoryDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If there are more or fewer axes than networks.
        """
        n = len(self.losses)
        if axes is None:
            figure = load_matplotlib("pyplot").figure(layout="constrained")
            width, height = figure.get_size_inches()
            figure.set_size_inches(width, height * max(1, 0.7 * n))
            axes = figure.subplots(n, 1)
        self.axes_ = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        if len(self.axes_) != n:
            raise ValueError(
                f"{len(self.axes_)} axes for {n} networks, {', '.join(self.losses)}; give one each."
            )
        for ax, name in zip(self.axes_, self.losses, strict=True):
            self._plot_losses(ax, name)
        self.figure_ = self.axes_[0].figure
        return self

    def _plot_losses(self, ax, name):
        losses, epochs = self.losses[name], self.epochs[name]
        ends = []
        for (key, values), style in zip(losses.items(), series_styles(len(losses)), strict=True):
            # Markers show where epochs are too few for a line.
            style["marker"] = style["marker"] if len(epochs) < 10 else None
            ax.plot(epochs, values, linewidth=1.2, markersize=4, label=LOSSES[key], **style)
            ends.append((LOSSES[key], epochs[-1], values[-1], style["color"]))
        if "loss" in losses and all((values > 0).all() for values in losses.values()):
            _set_log_losses(ax, list(losses.values()))  # the autoencoder's differ manyfold
        best = self.best_epochs[name]
        if best is not None:
            ax.axvline(best, color=GRAY, linewidth=1, linestyle=":", zorder=0)
            ax.set_title(f"{name}, epoch {best} kept", size="medium")
        else:
            ax.set_title(name, size="medium")
        ax.xaxis.set_major_locator(
            load_matplotlib("ticker").MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10])
        )
        ax.set(xlabel="epoch", ylabel="loss")
        wrap_labels(ax)
        label_line_ends(ax, ends)


def _set_log_losses(ax, losses):
    """Put a logarithmic y axis whose few ticks are plain numbers."""
    ticker = load_matplotlib("ticker")
    n_decades = np.log10(max(map(np.max, losses)) / min(map(np.min, losses)))
    ax.set_yscale("log")
    if n_decades < 0.7:
        ax.yaxis.set_major_locator(ticker.MaxNLocator(4))
    else:
        subs = (1, 2, 5) if n_decades < 2 else (1,)
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda loss, _: f"{loss:g}"))
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())


def _losses_of(name, history):
    """Return losses by name, each (n_epochs,)."""
    if isinstance(history, str) or not hasattr(history, "__len__") or not len(history):
        raise ValueError(f"the history of {name} has no epochs; give a list of dict, one an epoch.")
    history = _epochs_of(history)
    known = [key for key in LOSSES if history and all(key in row for row in history)]
    if not known:
        raise ValueError(
            f"the history of {name} has no loss in every epoch; losses are {', '.join(LOSSES)}, "
            f"and its first epoch has {', '.join(map(str, history[0]))}."
        )
    return {key: np.array([row[key] for row in history], dtype=float) for key in known}


def _epochs_of(history):
    """Return the rows that have losses: a trainer's log ends with one of other numbers."""
    return [row for row in history if "loss" in row] or list(history)


def _best(valid):
    """Return the index of the epoch that early stopping goes back to."""
    best, threshold = 0, np.inf
    for index, loss in enumerate(valid):
        if loss < threshold:
            best, threshold = index, loss - THRESHOLD * loss
    return best


def _collect(estimator, histories, seen, name=None):
    """Add the histories of an estimator and of its parts, each once."""
    if id(estimator) in seen:
        return
    seen.add(id(estimator))
    kind = type(estimator).__name__
    history = getattr(estimator, "history_", None)
    if isinstance(history, list) and history and isinstance(history[0], dict):
        if any(all(key in row for row in _epochs_of(history)) for key in LOSSES):
            label = kind if name is None else f"{name}: {kind}"
            histories[_unused(label, histories)] = history
    for part in PARTS:
        found = getattr(estimator, part, None)
        for label, one in _named(found):
            _collect(one, histories, seen, name if label is None else label)
    for _, step in getattr(estimator, "steps", ()):
        _collect(step, histories, seen, name)
    names = [label for label, _ in getattr(estimator, "estimators", None) or ()]
    fitted = getattr(estimator, "estimators_", ())
    for label, one in zip(names, fitted, strict=False):
        _collect(one, histories, seen, label)


def _named(found):
    """Return (name, estimator) of what a fitted attribute holds."""
    if found is None:
        return []
    if isinstance(found, dict):
        return list(found.items())
    return [(None, found)]


def _unused(name, taken):
    """Return a name that is not taken: a number is put behind it."""
    numbers = (f"{name} {i}" for i in range(2, 2 + len(taken)))
    return name if name not in taken else next(n for n in numbers if n not in taken)
