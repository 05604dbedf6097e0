"""Pictures of results, in the manner of scikit-learn's displays.

matplotlib is imported when something is drawn, never before.
"""

from importlib import import_module
from itertools import cycle

import numpy as np

from .metrics import best_of_n_curve, best_of_n_score

__all__ = ["BestOfNDisplay", "ComparisonDisplay", "FeatureWeightsDisplay"]

# Okabe and Ito's colors, which color-blind readers tell apart; markers differ besides.
BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "0.5"
SHORTCUT_STYLES = ("-.", (0, (1, 3)))  # of gray lines, apart from the oracle's and random's


def load_matplotlib(module):
    """Import a module of matplotlib.

    Parameters
    ----------
    module : str
        Its name within matplotlib, as "pyplot".

    Returns
    -------
    module
        The module.

    Raises
    ------
    ImportError
        Without matplotlib; the message names the extra that installs it.
    """
    try:
        return import_module(f"matplotlib.{module}")
    except ImportError:
        raise ImportError('plotting needs matplotlib: pip install "lens-sklearn[plot]"') from None


def axes_or_new(ax):
    """Return the axes, or new ones.

    Parameters
    ----------
    ax : matplotlib Axes or None
        None makes a figure.

    Returns
    -------
    matplotlib Axes
        The axes.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    if ax is not None:
        return ax
    return load_matplotlib("pyplot").subplots(layout="constrained")[1]


class BestOfNDisplay:
    """Curve of the Best-of-n score over n.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    curve : BestOfNCurve
        The reward model's.
    oracle : BestOfNCurve
        That of picking by gold.
    random : float
        Mean gold reward of a random pick.
    name : str, default=None
        Name in the legend.
    shortcuts : dict of str to BestOfNCurve, default=None
        Curves of rewards without a model, drawn as references under their names.

    Attributes
    ----------
    line_, ax_, figure_ : matplotlib objects
        Set by :meth:`plot`.
    """

    def __init__(self, curve, *, oracle, random, name=None, shortcuts=None):
        self.curve = curve
        self.oracle = oracle
        self.random = random
        self.name = name
        self.shortcuts = shortcuts

    @classmethod
    def from_estimator(
        cls,
        estimator,
        candidates,
        gold,
        *,
        name=None,
        ax=None,
        plot_reference=True,
        shortcuts=None,
        **kwargs,
    ):
        """Score candidates with an estimator and plot the curve.

        Parameters
        ----------
        estimator : estimator
            Fitted; has ``predict``.
        candidates : rows of text or array-like of shape (n_prompts, N, d)
            What ``predict`` takes.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        name : str, default=None
            Name in the legend; None is the estimator's class.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        plot_reference : bool, default=True
            Whether to draw the oracle's curve, the random pick and `shortcuts`.
        shortcuts : dict of str to array-like of shape (n_prompts, N), default=None
            Rewards without a model (:func:`~lens_sklearn.shortcut_rewards`), whose curves are
            references too.
        **kwargs : dict
            Passed to :func:`best_of_n_curve`.

        Returns
        -------
        BestOfNDisplay
            With the plot drawn.
        """
        name = type(estimator).__name__ if name is None else name
        rewards = estimator.predict(candidates)
        return cls.from_predictions(
            rewards,
            gold,
            name=name,
            ax=ax,
            plot_reference=plot_reference,
            shortcuts=shortcuts,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        rewards,
        gold,
        *,
        name=None,
        ax=None,
        plot_reference=True,
        shortcuts=None,
        **kwargs,
    ):
        """Plot the curve of given rewards.

        Parameters
        ----------
        rewards : array-like of shape (n_prompts, N)
            Predicted rewards.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        plot_reference : bool, default=True
            Whether to draw the oracle's curve, the random pick and `shortcuts`.
        shortcuts : dict of str to array-like of shape (n_prompts, N), default=None
            Rewards without a model (:func:`~lens_sklearn.shortcut_rewards`), whose curves are
            references too.
        **kwargs : dict
            Passed to :func:`best_of_n_curve`.

        Returns
        -------
        BestOfNDisplay
            With the plot drawn.
        """
        curve = best_of_n_curve(rewards, gold, **kwargs)

        def reference(values):
            # Only its mean is drawn; a seed keeps numpy's global generator out of it.
            return best_of_n_curve(values, gold, curve.n, n_bootstrap=1, random_state=0)

        shortcuts = {label: reference(values) for label, values in (shortcuts or {}).items()}
        random = best_of_n_score(rewards, gold, n=1)
        display = cls(curve, oracle=reference(gold), random=random, name=name, shortcuts=shortcuts)
        return display.plot(ax=ax, plot_reference=plot_reference)

    def plot(self, ax=None, *, name=None, plot_reference=True, **kwargs):
        """Draw the curve with its interval.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        name : str, default=None
            Name in the legend instead of the display's.
        plot_reference : bool, default=True
            Whether to draw the oracle's curve, the random pick and the shortcuts.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        BestOfNDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        curve = self.curve
        label = self.name if name is None else name
        (self.line_,) = ax.plot(curve.n, curve.mean, **{"marker": "o", "label": label, **kwargs})
        color = self.line_.get_color()
        ax.fill_between(curve.n, curve.lower, curve.upper, color=color, alpha=0.2, linewidth=0)
        if plot_reference:
            ax.plot(curve.n, self.oracle.mean, color="0.4", linestyle="--", label="oracle")
            ax.axhline(self.random, color="0.4", linestyle=":", label="random")
            shortcuts = (self.shortcuts or {}).items()
            for (label, shortcut), style in zip(shortcuts, cycle(SHORTCUT_STYLES), strict=False):
                ax.plot(shortcut.n, shortcut.mean, color="0.6", linestyle=style, label=label)
        ax.set_xscale("log", base=2)
        ax.set_xticks(curve.n, [str(n) for n in curve.n])
        ax.minorticks_off()
        ax.set(xlabel="n, candidates drawn", ylabel="mean gold reward of the pick")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


class ComparisonDisplay:
    """Methods against the reference, and learning curves.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~lens_sklearn.compare_rewards`.

    Attributes
    ----------
    axes_, figure_ : ndarray of matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    Examples
    --------
    >>> from lens_sklearn import ComparisonDisplay, compare_rewards
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> found = compare_rewards(toy.pairs, methods=["gp"], cv=3, random_state=0)
    >>> display = ComparisonDisplay(found).plot()
    """

    def __init__(self, comparison):
        self.comparison = comparison

    def plot(self, axes=None):
        """Draw differences in accuracy on the left, learning curves on the right.

        Parameters
        ----------
        axes : array-like of 2 matplotlib Axes, default=None
            Where to draw; None makes a figure, with the left one alone if there are no curves.

        Returns
        -------
        ComparisonDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        if axes is None:
            figure = load_matplotlib("pyplot").figure(layout="constrained")
            axes = comparison_axes(figure, self.comparison)
        self.axes_ = axes
        self.figure_ = axes[0].figure
        self._plot_differences(axes[0])
        if self.comparison.curves:
            self._plot_curves(axes[1])
        return self

    def _plot_differences(self, ax):
        found = self.comparison
        rows = [row for row in found.table if row["method"] != "random"]
        styles = [("accuracy", "all pairs", "o", BLUE, -0.15)]
        if found.counts.get("length_matched"):
            styles.append(("length_matched", "equal length", "D", VERMILION, 0.15))
        for metric, label, marker, color, shift in styles:
            ax.errorbar(
                [row[f"{metric}_difference"] for row in rows],
                [i + shift * (len(styles) > 1) for i in range(len(rows))],
                xerr=[row[f"{metric}_difference_half_width"] for row in rows],
                fmt=marker,
                color=color,
                markersize=5,
                capsize=2,
                label=label,
            )
        reference = found.row(found.reference)["label"]
        ax.axvline(0, color=GRAY, linewidth=1, zorder=0)
        ax.set_yticks(range(len(rows)), [f"{r['label']}  {r['accuracy']:.3f}" for r in rows])
        ax.invert_yaxis()
        ax.set(xlabel=f"accuracy less that of {reference}, 95 % interval")
        if len(styles) > 1:
            _legend_above(ax)

    def _plot_curves(self, ax):
        # Beside each other, where equal curves would hide one another.
        styles = zip("os", (BLUE, VERMILION), ("-", "--"), (0.98, 1.02), strict=True)
        curves = zip(self.comparison.curves.items(), styles, strict=False)
        for (name, curve), (marker, color, line, shift) in curves:
            size, accuracy = curve["n_pairs"], curve["accuracy"]
            label = self.comparison.row(name)["label"]
            ax.errorbar(
                [shift * n for n in size],
                accuracy,
                yerr=curve["accuracy_half_width"],
                marker=marker,
                color=color,
                linestyle=line,
                capsize=2,
                label=label,
            )
            doubled = [accuracy[-1], accuracy[-1] + curve["accuracy_gain"][0]]
            ax.plot([size[-1], 2 * size[-1]], doubled, color=color, linestyle=":")
        ax.set_xscale("log", base=2)
        ticks = [*size, 2 * size[-1]]
        ax.set_xticks(ticks, [f"{n:.0f}" for n in ticks])
        ax.minorticks_off()
        ax.set(xlabel="training pairs (dotted: extrapolated)", ylabel="accuracy, left-out prompts")
        _legend_above(ax)


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
        ax.set_yticks(places, labels)
        ax.invert_yaxis()
        ax.axvline(0, color=GRAY, linewidth=1)
        ax.set(xlabel="log-odds a standard deviation of the feature adds")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _legend_above(ax):
    """Put the legend where no interval can lie."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def comparison_axes(figure, comparison):
    """Make the axes of a comparison's picture.

    Parameters
    ----------
    figure : matplotlib Figure
        Gets a size that the methods fit in.
    comparison : Comparison
        What will be drawn.

    Returns
    -------
    ndarray of matplotlib Axes
        Two, or one if there are no learning curves.
    """
    n_axes = 2 if comparison.curves else 1
    figure.set_size_inches(6.4 + 4 * (n_axes - 1), max(3, 1 + 0.35 * len(comparison.table)))
    ratios = {"width_ratios": [1.4, 1]} if n_axes == 2 else {}
    return figure.subplots(1, n_axes, squeeze=False, **ratios)[0]


def save_comparison(comparison, path):
    """Draw a comparison into a file.

    Parameters
    ----------
    comparison : Comparison
        What to draw.
    path : str or Path
        The picture.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    figure = load_matplotlib("figure").Figure(layout="constrained")
    ComparisonDisplay(comparison).plot(comparison_axes(figure, comparison))
    figure.savefig(path, dpi=150)


def save_curves(named_rewards, gold, path, *, ns=None, where="", shortcuts=None):
    """Draw the Best-of-N curves of several reward models into a file.

    Parameters
    ----------
    named_rewards : list of (str, ndarray of shape (n_prompts, N))
        Names and predicted rewards.
    gold : ndarray, shape (n_prompts, N)
        Gold rewards.
    path : str or Path
        The picture.
    ns : list of int, default=None
        As in `best_of_n_curve`.
    where : str, default=""
        Ends the title.
    shortcuts : dict of str to ndarray of shape (n_prompts, N), default=None
        Rewards without a model, drawn as references.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    figure = load_matplotlib("figure").Figure(figsize=(6, 4), layout="constrained")
    ax = figure.add_subplot()
    for number, (name, rewards) in enumerate(named_rewards):
        BestOfNDisplay.from_predictions(
            rewards,
            gold,
            ns=ns,
            name=name,
            ax=ax,
            plot_reference=not number,  # the references are the same for all
            shortcuts=shortcuts,
            random_state=0,
        )
    ax.set_title(f"Best-of-n on {len(gold)} prompts{where}")
    figure.savefig(path, dpi=150)
