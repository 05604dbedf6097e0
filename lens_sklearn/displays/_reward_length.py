"""How far a reward goes by the length of a response."""

import numpy as np
from scipy import stats

from .._shortcuts import response_lengths
from ..metrics import leave_out_dropped
from ._style import BLUE, VERMILION, axes_or_new, wrap_labels

#: More responses than this are drawn as hexagons.
MAX_DOTS = 2000


class RewardLengthDisplay:
    r"""Rewards against the lengths of responses, within prompts.

    A prompt's mean is taken off both: a reward is compared with others of its prompt, so that what
    all of them share means nothing. Lengths are counted in doublings, :math:`\log_2`.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    rewards : array-like of shape (n_prompts, N)
        Predicted rewards of candidates or pairs; NaN is padding.
    lengths : array-like of shape (n_prompts, N)
        Lengths of the responses; an empty one counts as 1. NaN where `rewards` is.
    name : str, default=None
        Ends the title.
    confidence : float, default=0.95
        Coverage of the interval of the correlation.

    Attributes
    ----------
    relative_lengths, relative_rewards : ndarray of shape (n_responses,)
        Those of each response, less its prompt's mean.
    correlation : float
        Pearson's, over all responses. NaN if no reward differs within a prompt.
    interval : tuple of float
        Its limits, by Fisher's transformation and a jackknife over prompts; NaN for less than
        three prompts.
    slope : float
        What a doubling of the length adds to the reward, by least squares.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    See Also
    --------
    lens_sklearn.shortcut_rewards : Rewards by length alone.

    Examples
    --------
    >>> from lens_sklearn import RewardLengthDisplay
    >>> display = RewardLengthDisplay([[1.0, 2.0, 3.0], [0.0, 5.0, 4.0]], [[1, 2, 4], [8, 8, 16]])
    >>> round(display.correlation, 2), round(display.slope, 2)
    (0.46, 1.12)
    """

    def __init__(self, rewards, lengths, *, name=None, confidence=0.95):
        rewards, lengths = _check(rewards, lengths)
        doublings = np.log2(np.maximum(lengths, 1))
        self.name = name
        self.confidence = confidence
        there = ~np.isnan(rewards)
        x = doublings - np.nanmean(doublings, axis=1, keepdims=True)
        y = rewards - np.nanmean(rewards, axis=1, keepdims=True)
        self.relative_lengths, self.relative_rewards = x[there], y[there]
        x, y = np.where(there, x, 0), np.where(there, y, 0)
        # Sums by prompt: the means over any of them are 0 already.
        xx, yy, xy = (x * x).sum(axis=1), (y * y).sum(axis=1), (x * y).sum(axis=1)
        if not xx.sum() > 1e-12 * len(xx):
            raise ValueError(
                "the lengths differ within no prompt, so that no reward can go by them; give "
                "candidates of several lengths."
            )
        self.slope = float(xy.sum() / xx.sum())
        self.correlation = float(_correlation(xx.sum(), yy.sum(), xy.sum()))
        self.interval = _jackknife(xx, yy, xy, confidence)

    @classmethod
    def from_estimator(cls, estimator, X, lengths=None, *, name=None, ax=None, confidence=0.95):
        """Predict rewards of responses and plot them against their lengths.

        Parameters
        ----------
        estimator : estimator
            Fitted; has ``predict``.
        X : rows of text or array-like of shape (n_prompts, N, d)
            Candidates or pairs, as ``predict`` takes them.
        lengths : array-like of shape (n_prompts, N), default=None
            Lengths of the responses; None counts the characters of rows of text
            (:func:`~lens_sklearn.response_lengths`).
        name : str, default=None
            Ends the title; None is the estimator's class.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        confidence : float, default=0.95
            Coverage of the interval of the correlation.

        Returns
        -------
        RewardLengthDisplay
            With the plot drawn.

        Raises
        ------
        ValueError
            If `X` is no rows of text and there are no lengths.

        Warns
        -----
        UserWarning
            If responses have no reward, as dropped texts have none, and are left out.
        """
        if lengths is None:
            if getattr(getattr(X, "dtype", None), "kind", "O") in "biufc":
                raise ValueError(
                    "embeddings have no lengths; give them as lengths, of shape (n_prompts, N), as "
                    "response_lengths counts them in rows of text."
                )
            lengths = response_lengths(X)
        name = type(estimator).__name__ if name is None else name
        rewards, lengths, _ = leave_out_dropped(estimator.predict(X), np.asarray(lengths))
        display = cls(rewards, lengths, name=name, confidence=confidence)
        return display.plot(ax=ax)

    @classmethod
    def from_predictions(cls, rewards, lengths, *, name=None, ax=None, confidence=0.95):
        """Plot given rewards against lengths.

        Parameters
        ----------
        rewards : array-like of shape (n_prompts, N)
            Predicted rewards of candidates or pairs; NaN is padding.
        lengths : array-like of shape (n_prompts, N)
            Lengths of the responses.
        name : str, default=None
            Ends the title.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        confidence : float, default=0.95
            Coverage of the interval of the correlation.

        Returns
        -------
        RewardLengthDisplay
            With the plot drawn.
        """
        return cls(rewards, lengths, name=name, confidence=confidence).plot(ax=ax)

    def plot(self, ax=None):
        """Draw a dot a response, or hexagons where they are many, and the line of least squares.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        RewardLengthDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        x, y = self.relative_lengths, self.relative_rewards
        if len(x) > MAX_DOTS:
            ax.hexbin(x, y, gridsize=30, cmap="cividis_r", mincnt=1, bins="log", linewidths=0.1)
        else:
            ax.scatter(x, y, s=8, color=BLUE, alpha=0.5, linewidths=0)
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, self.slope * ends, color="black", linewidth=3)
        ax.plot(ends, self.slope * ends, color=VERMILION, linewidth=1.5)
        ax.set(
            xlabel="doublings of the length, less the prompt's mean",
            ylabel="reward, less the prompt's mean",
        )
        low, high = self.interval
        found = f"correlation {self.correlation:.2f}"
        found += "" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]"
        ax.set_title(found if self.name is None else f"{self.name}: {found}", size="medium")
        wrap_labels(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _check(rewards, lengths):
    rewards, lengths = np.asarray(rewards, dtype=float), np.asarray(lengths, dtype=float)
    if rewards.ndim != 2 or rewards.shape != lengths.shape or not rewards.size:
        raise ValueError(
            "rewards and lengths must both have the shape (n_prompts, N); got "
            f"{rewards.shape} and {lengths.shape}."
        )
    bad = (lengths < 0) | np.isinf(lengths) | np.isinf(rewards)
    bad |= np.isnan(lengths) & ~np.isnan(rewards)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"row {row}, column {column} has the reward {rewards[row, column]} and the length "
            f"{lengths[row, column]}; lengths are finite and not negative, and NaN only where the "
            "reward is NaN."
        )
    lengths = np.where(np.isnan(rewards), np.nan, lengths)  # texts that were dropped
    kept = (~np.isnan(rewards)).sum(axis=1) > 1
    if not kept.any():
        raise ValueError("no prompt has two responses with a reward; there is nothing to compare.")
    return rewards[kept], lengths[kept]


def _correlation(xx, yy, xy):
    """Return Pearson's correlation of sums of squares, NaN where one is 0."""
    product = np.asarray(xx * yy)
    return np.clip(xy / np.sqrt(np.where(product > 0, product, np.nan)), -1, 1)


def _jackknife(xx, yy, xy, confidence):
    """Return the limits of the correlation, each prompt being left out in turn."""
    n = len(xx)
    if n < 3:
        return np.nan, np.nan
    left = _correlation(xx.sum() - xx, yy.sum() - yy, xy.sum() - xy)
    edge = 1 - 1e-12  # of what Fisher's transformation keeps finite
    z = np.arctanh(np.clip(left, -edge, edge))
    center = np.arctanh(np.clip(_correlation(xx.sum(), yy.sum(), xy.sum()), -edge, edge))
    error = np.sqrt((n - 1) / n * ((z - z.mean()) ** 2).sum())
    half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * error
    return float(np.tanh(center - half_width)), float(np.tanh(center + half_width))
