"""A comparison of methods as intervals and learning curves."""

import numpy as np

from ._style import (
    BLUE,
    GRAY,
    NARROW,
    ROOM_OUTSIDE,
    VERMILION,
    label_rows,
    legend_above,
    load_matplotlib,
    panel_size,
    wrap_labels,
)


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
        axes : matplotlib Axes or array-like of 1 or 2 of them, default=None
            Where to draw; None makes a figure. One alone has the differences, and there is one
            alone if there are no curves.

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
        self.axes_ = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
        self.figure_ = self.axes_[0].figure
        self._plot_differences(self.axes_[0])
        if self.comparison.curves and len(self.axes_) > 1:
            self._plot_curves(self.axes_[1])
        return self

    def _plot_differences(self, ax):
        found = self.comparison
        rows = [row for row in found.table if row["method"] != "random"]
        styles = [("accuracy", "all pairs", "o", BLUE, -0.15)]
        if found.counts.get("length_matched"):
            styles.append(("length_matched", "equal length", "D", VERMILION, 0.15))
        room = (panel_size(ax)[1] - ROOM_OUTSIDE) / max(1, len(rows))  # of two markers
        size = np.clip(0.4 * room, 1, 5)
        for metric, label, marker, color, shift in styles:
            ax.errorbar(
                [row[f"{metric}_difference"] for row in rows],
                [i + shift * (len(styles) > 1) for i in range(len(rows))],
                xerr=[row[f"{metric}_difference_half_width"] for row in rows],
                fmt=marker,
                color=color,
                markersize=size,
                capsize=size / 2.5,
                label=label,
            )
        reference = found.row(found.reference)["label"]
        ax.axvline(0, color=GRAY, linewidth=1, zorder=0)
        label_rows(ax, [f"{r['label']}  {r['accuracy']:.3f}" for r in rows])
        ax.set(xlabel=f"accuracy less that of {reference}, 95 % interval")
        wrap_labels(ax, beside_names=True)
        if len(styles) > 1:
            legend_above(ax)

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
        wrap_labels(ax)
        legend_above(ax)


def comparison_axes(figure, comparison):
    """Make the axes of a comparison's picture.

    Parameters
    ----------
    figure : matplotlib Figure
        Gets a size that the methods fit in; one as narrow as a column keeps its width, and has
        the learning curves below.
    comparison : Comparison
        What will be drawn.

    Returns
    -------
    ndarray of matplotlib Axes
        Two, or one if there are no learning curves.
    """
    n_axes = 2 if comparison.curves else 1
    if 72 * figure.get_figwidth() < NARROW:
        heights = [1 + 0.16 * len(comparison.table), 2.2][:n_axes]
        figure.set_figheight(sum(heights))
        return figure.subplots(n_axes, 1, squeeze=False, height_ratios=heights)[:, 0]
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
