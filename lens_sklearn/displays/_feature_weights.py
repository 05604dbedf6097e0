"""What a linear reward weighs."""

import numpy as np

from ._style import BLUE, GRAY, axes_or_new, label_rows, wrap_labels


class FeatureWeightsDisplay:
    """What a linear reward likes and dislikes in how a response is written.

    Parameters
    ----------
    weights : array-like of shape (k,)
        Log-odds that a standard deviation of each feature adds.
    names : sequence of str, length k
        The features.
    controlled : array-like of shape (k,), default=None
        Weights that were fitted and are left out of what is predicted, 0 where there is none.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    See Also
    --------
    LinearRewardRegressor : Has these weights.

    Examples
    --------
    >>> from lens_sklearn import FeatureWeightsDisplay
    >>> display = FeatureWeightsDisplay([0.8, -0.3], ["log_words", "refusal_start"]).plot()
    """

    def __init__(self, weights, names, controlled=None):
        self.weights = np.asarray(weights, dtype=float)
        self.names = list(names)
        self.controlled = np.zeros(len(self.weights)) if controlled is None else controlled
        if not len(self.weights) == len(self.names) == len(self.controlled):
            raise ValueError(
                f"{len(self.weights)} weights of {len(self.names)} names and "
                f"{len(self.controlled)} controlled weights; there must be one of each a feature."
            )

    @classmethod
    def from_estimator(cls, estimator, names):
        """Take the weights of a fitted linear reward.

        Parameters
        ----------
        estimator : LinearRewardRegressor
            Fitted with ``n_response_features=len(names)``.
        names : sequence of str
            As ``ResponseFeatures().names``.

        Returns
        -------
        FeatureWeightsDisplay
            Not drawn yet.

        Raises
        ------
        TypeError
            If it is no linear reward, or not fitted.
        ValueError
            If it was fitted with another number of response features.
        """
        if not hasattr(estimator, "control_coef_"):
            raise TypeError(
                f"a {type(estimator).__name__} has no weights of features; give a fitted "
                "LinearRewardRegressor."
            )
        k = estimator.n_response_features
        if k != len(names) or not k:
            raise ValueError(
                f"the reward has n_response_features={k}, and there are {len(names)} names; give "
                "the names of its response features."
            )
        d = estimator.n_features_in_
        controlled = np.zeros(d)
        columns = np.asarray(estimator.controlled, dtype=int)
        if len(columns):
            controlled[np.sort(columns % d)] = estimator.control_coef_
        return cls(estimator.coef_[-k:], names, controlled[-k:])

    def plot(self, ax=None, *, max_features=15):
        """Draw the largest weights as bars, the largest on top.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.
        max_features : int, default=15
            How many are drawn.

        Returns
        -------
        FeatureWeightsDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        values = self.weights + self.controlled
        shown = np.argsort(-np.abs(values), kind="stable")[:max_features]
        is_controlled = np.asarray(self.controlled)[shown] != 0
        places = np.arange(len(shown))
        bars = ax.barh(places, values[shown], color=BLUE)
        for bar, hatched in zip(bars, is_controlled, strict=True):
            if hatched:
                bar.set(facecolor="white", edgecolor=GRAY, hatch="///")
        labels = [self.names[i] + (" (controlled)" if c else "")
                  for i, c in zip(shown, is_controlled, strict=True)]  # fmt: skip
        label_rows(ax, labels)
        ax.axvline(0, color=GRAY, linewidth=1)
        ax.set(xlabel="log-odds per standard deviation")
        wrap_labels(ax, beside_names=True)
        self.ax_, self.figure_ = ax, ax.figure
        return self
