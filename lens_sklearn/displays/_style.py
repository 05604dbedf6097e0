"""What all pictures share: matplotlib when it is needed, colors, labels at the ends of lines."""

from importlib import import_module
from itertools import cycle, islice

import numpy as np
from sklearn.isotonic import isotonic_regression

# Okabe and Ito's colors, which color-blind readers tell apart; line styles and markers differ
# besides, for print in gray.
BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "0.5"
COLORS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Lines of a label, as a share of its font size.
LINE_HEIGHT = 1.2
#: Points between the axes and the labels of their lines.
GAP = 5


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


def series_styles(n):
    """Return how lines are drawn beside each other.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    list of dict
        ``color``, ``linestyle`` and ``marker`` of each.
    """
    styles = zip(cycle(COLORS), cycle(LINE_STYLES), cycle(MARKERS), strict=False)
    names = ("color", "linestyle", "marker")
    return [dict(zip(names, style, strict=True)) for style in islice(styles, n)]


def dodge(n, step):
    """Return factors that put n series beside each other on a log axis.

    Parameters
    ----------
    n : int
        How many.
    step : float
        Factor between neighbors.

    Returns
    -------
    ndarray, shape (n,)
        Their geometric mean is 1.
    """
    return step ** (np.arange(n) - (n - 1) / 2)


def spread(positions, heights):
    """Move positions apart, as little as possible in the sum of squares.

    Parameters
    ----------
    positions : array-like of shape (n,)
        Where the centers of labels want to be.
    heights : array-like of shape (n,)
        Their heights.

    Returns
    -------
    ndarray, shape (n,)
        Where they are, in the same order from bottom to top.
    """
    positions = np.asarray(positions, dtype=float)
    order = np.argsort(positions, kind="stable")
    heights = np.asarray(heights, dtype=float)[order]
    steps = np.cumsum(heights) - heights / 2
    placed = np.empty(len(order))
    placed[order] = isotonic_regression(positions[order] - steps) + steps
    return placed


def label_line_ends(ax, ends):
    """Write names at the ends of lines, to the right of the axes and not over each other.

    Draw everything and set the limits first. A figure without a layout engine would cut them off,
    so names are in a legend there.

    Parameters
    ----------
    ax : matplotlib Axes
        With the lines.
    ends : list of (str, float, float, color)
        Name, where the line ends, and its color. The name begins with the line's label.

    Returns
    -------
    list of matplotlib Text
        The labels.
    """
    if ax.figure.get_layout_engine() is None:
        return _name_in_legend(ax, [name for name, *_ in ends])
    ScaledTranslation = load_matplotlib("transforms").ScaledTranslation
    size = load_matplotlib("font_manager").FontProperties(size="small").get_size_in_points()
    figure = ax.figure
    ax.get_ylim()  # brings the limits up to date
    pixels = np.array([ax.transData.transform((x, y))[1] for _, x, y, _ in ends])
    at = pixels * 72 / figure.dpi
    heights = [LINE_HEIGHT * size * (1 + name.count("\n")) for name, *_ in ends]
    moved = spread(at, heights) - at  # points
    labels = []
    for (name, x, y, color), dy in zip(ends, moved, strict=True):
        move = ScaledTranslation(GAP / 72, dy / 72, figure.dpi_scale_trans)
        leader = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
        label = ax.annotate(
            name,
            xy=(x, y),
            xytext=(1, y),
            textcoords=ax.get_yaxis_transform() + move,
            va="center",
            size="small",
            color=darken(color),
            annotation_clip=False,
            arrowprops=leader | {"relpos": (0, 0.5), "alpha": 0.6},
        )
        labels.append(label)
    ax.spines[["top", "right"]].set_visible(False)
    return labels


def _name_in_legend(ax, names):
    """Put names in a legend, whatever stands behind the labels of their lines."""
    known = list(zip(*ax.get_legend_handles_labels(), strict=True))
    found = {}
    for name in names:
        for handle, label in known:
            if f"{name}\n".startswith(f"{label}\n"):
                found[name] = handle
    labels = [name.replace("\n", ", ") for name in found]
    return ax.legend(list(found.values()), labels, fontsize="small").get_texts()


def darken(color):
    """Return a color in which small letters can be read on white.

    Parameters
    ----------
    color : matplotlib color
        Any.

    Returns
    -------
    tuple of float
        Red, green and blue.
    """
    return tuple(0.75 * part for part in load_matplotlib("colors").to_rgb(color))


def legend_above(ax, n_columns=2, **kwargs):
    """Put the legend where no interval can lie.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose.
    n_columns : int, default=2
        Names beside each other.
    **kwargs : dict
        Passed to matplotlib's ``legend``.
    """
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}
    ax.legend(**place, ncols=n_columns, **kwargs)


def set_log_ticks(ax, values):
    """Put a logarithmic x axis with ticks at the values, as whole numbers.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose.
    values : array-like of shape (m,)
        Positive.
    """
    ax.set_xscale("log", base=2)
    ax.set_xticks(values, [f"{value:.0f}" for value in values])
    ax.minorticks_off()


def check_named(what, given):
    """Return a dict of named things, or raise.

    Parameters
    ----------
    what : str
        The parameter's name.
    given : dict
        Names and things.

    Returns
    -------
    dict
        A copy.

    Raises
    ------
    TypeError
        If it is no dict.
    ValueError
        If it is empty.
    """
    if not hasattr(given, "items"):
        raise TypeError(f"{what} must be a dict from name to values; got a {type(given).__name__}.")
    if not len(given):
        raise ValueError(f"{what} is empty; give one name at least.")
    return dict(given)
