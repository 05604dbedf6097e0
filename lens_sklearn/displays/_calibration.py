"""Whether probabilities of pairs mean what they say."""

import numpy as np

from .._statistics import wilson_interval
from ..metrics import calibration_bins, leave_out_dropped
from ._style import BLUE, GRAY, axes_or_new, legend_above, wrap_labels


class PairCalibrationDisplay:
    r"""Reliability diagram of pairs: how often the favored response won.

    A pair has no sides: that column 0 wins with p is that column 1 wins with 1 − p. So pairs are
    turned until p is at least one half, and the diagram goes from one half to one. Pairs whose
    column 0 is always the chosen one can be judged as they are.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    counts : array-like of int, shape (n_bins,)
        Pairs in each bin of equal width between one half and one.
    predicted, observed : array-like of shape (n_bins,)
        Mean probability that the favored response wins, and the share in which it did; NaN in
        empty bins.
    name : str, default=None
        Name in the legend.
    confidence : float, default=0.95
        Coverage of the Wilson interval of a share, which takes pairs for independent.
    weights : array-like of shape (n_bins,), default=None
        Total weight of the pairs in each bin, by which `ece` averages; None is `counts`.
    effective_counts : array-like of shape (n_bins,), default=None
        As how many pairs of equal weight those of a bin tell, for the intervals; None is `counts`.

    Attributes
    ----------
    lower, upper : ndarray, shape (n_bins,)
        Limits of the intervals.
    ece : float
        Expected calibration error over these bins: the mean gap between predicted and observed,
        by pairs or their weights.
    line_, ax_, figure_ : matplotlib objects
        Set by :meth:`plot`.

    See Also
    --------
    lens_sklearn.expected_calibration_error : The same gap over bins between 0 and 1.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples
    --------
    >>> from lens_sklearn import PairCalibrationDisplay
    >>> display = PairCalibrationDisplay.from_predictions([0.9, 0.9, 0.9, 0.1], n_bins=5)
    >>> display.counts.tolist(), round(display.ece, 2)
    ([0, 0, 0, 0, 4], 0.15)
    """

    def __init__(
        self, counts, predicted, observed, *, name=None, confidence=0.95, weights=None,
        effective_counts=None,
    ):  # fmt: skip
        self.counts = np.asarray(counts)
        self.predicted = np.asarray(predicted, dtype=float)
        self.observed = np.asarray(observed, dtype=float)
        self.weights = np.asarray(counts if weights is None else weights)
        effective = counts if effective_counts is None else effective_counts
        self.effective_counts = np.asarray(effective)
        shapes = [a.shape for a in (self.counts, self.predicted, self.observed, self.weights,
                                    self.effective_counts)]  # fmt: skip
        if self.counts.ndim != 1 or len(set(shapes)) > 1 or not self.counts.sum() > 0:
            raise ValueError(
                "counts, predicted and observed, and weights and effective_counts where given, "
                f"must have the shape (n_bins,) and some pairs; got {', '.join(map(str, shapes))}."
            )
        if not 0 < confidence < 1:
            raise ValueError(f"confidence={confidence!r} must lie between 0 and 1.")
        self.name = name
        self.confidence = confidence
        self.lower, self.upper = wilson_interval(self.observed, self.effective_counts, confidence)
        there = self.counts > 0
        gap = np.abs(self.predicted - self.observed)[there]
        self.ece = float(self.weights[there] @ gap / self.weights.sum())

    @classmethod
    def from_estimator(
        cls, estimator, pairs, y=None, *, sample_weight=None, name=None, ax=None, **kwargs
    ):
        """Predict probabilities of pairs and plot how they came true.

        Parameters
        ----------
        estimator : estimator
            Fitted; has ``predict_proba`` of pairs.
        pairs : rows of text or array-like of shape (n, 2, d)
            Pairs that it has not seen.
        y : array-like of shape (n,), default=None
            Probability that column 0 wins, or whether it did; None is 1 for every pair.
        sample_weight : array-like of shape (n,), default=None
            How much each pair counts; None is 1.
        name : str, default=None
            Name in the legend; None is the estimator's class.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        **kwargs : dict
            Passed to :meth:`from_predictions`.

        Returns
        -------
        PairCalibrationDisplay
            With the plot drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``predict_proba``.

        Warns
        -----
        UserWarning
            If pairs hold a dropped text: they have no probability and are left out.
        """
        if not hasattr(estimator, "predict_proba"):
            raise TypeError(
                f"a {type(estimator).__name__} has no predict_proba; give a reward, or a "
                "PairClassifier around it."
            )
        name = type(estimator).__name__ if name is None else name
        probabilities, y, kept = leave_out_dropped(estimator.predict_proba(pairs), y)
        weight = None if sample_weight is None else np.asarray(sample_weight)[kept]
        named = {"sample_weight": weight, "name": name, "ax": ax}
        return cls.from_predictions(probabilities[:, 1], y, **named, **kwargs)

    @classmethod
    def from_predictions(
        cls, probabilities, y=None, *, sample_weight=None, n_bins=5, confidence=0.95, name=None,
        ax=None, **kwargs,
    ):  # fmt: skip
        r"""Plot how given probabilities came true.

        Parameters
        ----------
        probabilities : array-like of shape (n,)
            That column 0 wins, as ``reward.predict_proba(pairs)[:, 1]``.
        y : array-like of shape (n,), default=None
            Probability that column 0 wins, or whether it did; None is 1 for every pair.
        sample_weight : array-like of shape (n,), default=None
            How much each pair counts; None is 1. Pairs of weight 0 are left out. An interval is
            that of :math:`(\sum_i w_i)^2 / \sum_i w_i^2` pairs.
        n_bins : int, default=5
            Bins of equal width between one half and one. A bin holds its lower edge.
        confidence : float, default=0.95
            Coverage of the intervals.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        **kwargs : dict
            Passed to :meth:`plot`.

        Returns
        -------
        PairCalibrationDisplay
            With the plot drawn.

        Raises
        ------
        ValueError
            As :func:`~lens_sklearn.expected_calibration_error`.
        """
        if n_bins != int(n_bins) or n_bins < 1:
            raise ValueError(f"n_bins={n_bins!r}; bins are a whole number, at least 1.")
        p = np.asarray(probabilities, dtype=float)
        y = np.ones(p.shape) if y is None else np.asarray(y, dtype=float)
        calibration_bins(p, y, 1, sample_weight)  # checks all
        w = np.ones(p.shape) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        p, y, w = p[w > 0], y[w > 0], w[w > 0]
        # Turn each pair to the favored side; what favors none came true by half.
        t = np.where(p > 0.5, y, np.where(p < 0.5, 1 - y, 0.5))
        p = np.maximum(p, 1 - p)
        n = int(n_bins)
        counts = calibration_bins(p, t, 2 * n)[0][n:]
        weights, predicted, observed = (a[n:] for a in calibration_bins(p, t, 2 * n, w))
        squares = calibration_bins(p, t, 2 * n, w**2)[0][n:]
        with np.errstate(invalid="ignore"):  # empty bins
            means = predicted / weights, observed / weights
            of_bins = {"weights": weights, "effective_counts": weights**2 / squares}
        return cls(counts, *means, name=name, confidence=confidence, **of_bins).plot(
            ax=ax, **kwargs
        )

    def plot(self, ax=None, *, name=None, plot_counts=True, **kwargs):
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        name : str, default=None
            Name in the legend instead of the display's.
        plot_counts : bool, default=True
            Whether to write the number of pairs n under each bin.
        **kwargs : dict
            Passed to matplotlib's ``errorbar``.

        Returns
        -------
        PairCalibrationDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        there = self.counts > 0
        x, y = self.predicted[there], self.observed[there]
        name = self.name if name is None else name
        label = f"ECE {self.ece:.3f}" if name is None else f"{name}, ECE {self.ece:.3f}"
        bars = np.maximum([y - self.lower[there], self.upper[there] - y], 0)
        style = {"marker": "o", "color": BLUE, "markersize": 4, "linewidth": 1.2, "capsize": 2}
        drawn = ax.errorbar(x, y, bars, label=label, **style | kwargs)
        self.line_ = drawn.lines[0]
        ax.plot([0.5, 1], [0.5, 1], color=GRAY, linewidth=1, linestyle="--", zorder=0)
        low = min([0.4, *self.lower[there]])
        room = 0.1 * (1.02 - low)  # for the counts
        ax.set(xlim=(0.49, 1.01), ylim=(min(low - room, ax.get_ylim()[0]), 1.02))
        if plot_counts:
            centers = 0.5 + (np.arange(len(self.counts)) + 0.5) / (2 * len(self.counts))
            at = {"xycoords": ax.get_xaxis_transform(), "ha": "center", "size": "small"}
            for number, (center, count) in enumerate(zip(centers, self.counts, strict=True)):
                text = f"{count}" if number else f"n = {count}"
                ax.annotate(text, (center, 0.02), color="0.3", **at)
        ax.set(xlabel="probability of the favored response", ylabel="share in which it won")
        wrap_labels(ax)
        legend_above(ax, n_columns=1)
        self.ax_, self.figure_ = ax, ax.figure
        return self
