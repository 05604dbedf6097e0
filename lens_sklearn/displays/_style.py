"""What all pictures share: matplotlib when it is needed, colors, labels at the ends of lines."""

from importlib import import_module
from itertools import cycle, islice
from textwrap import wrap

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
#: Points of a panel's width below which legends take what room there is; a column has 240.
NARROW = 324
#: Points that a line and the gaps of a legend take beside a label.
ENTRY = 48
#: Share of a panel's width, of which the axes have about this much.
MOST_OF_LEGEND = 0.75
#: Points that labels, ticks and a legend take of a panel's height beside its rows.
ROOM_OUTSIDE = 62
#: Share of a panel's width that the names of rows may take.
MOST_FOR_ROWS = 0.5
#: Points below which no letter goes.
LEAST_SIZE = 5


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


def panel_size(ax):
    """Return how much of its figure the axes and their labels have.

    Parameters
    ----------
    ax : matplotlib Axes
        Any; those of a grid share the figure.

    Returns
    -------
    width, height : float
        In points.
    """
    width, height = 72 * ax.figure.get_size_inches()
    spec = ax.get_subplotspec()
    if spec is not None:
        grid = spec.get_gridspec()
        width *= _share(grid.get_width_ratios(), spec.colspan)
        height *= _share(grid.get_height_ratios(), spec.rowspan)
    return width, height


def _share(ratios, span):
    return sum(ratios[i] for i in span) / sum(ratios)


def text_width(text, size):
    """Return how wide a text is, without drawing it.

    Parameters
    ----------
    text : str
        One line, or several of which the widest counts.
    size : float or str
        Of the font, as matplotlib takes it.

    Returns
    -------
    float
        In points.
    """
    properties = load_matplotlib("font_manager").FontProperties(size=size)
    path = load_matplotlib("textpath").TextPath
    return max(path((0, 0), line, prop=properties).get_extents().width for line in text.split("\n"))


def wrap_labels(ax, *, beside_names=False):
    """Let the labels of the axes and the title go on in another line at the figure's edge.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose, with its labels.
    beside_names : bool, default=False
        Whether long names stand on the left: a centered label has half of the room then.
    """
    if beside_names and panel_size(ax)[0] < NARROW:
        ax.set_xlabel(ax.get_xlabel(), loc="right")
    for text in (ax.xaxis.label, ax.yaxis.label, ax.title):
        text.set_wrap(True)


def label_rows(ax, labels):
    """Label rows, the first on top, in letters that there is room for.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose.
    labels : list of str
        Of the rows 0, 1, …
    """
    width, height = panel_size(ax)
    drawn = ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    size = drawn[0].label1.get_size() if drawn else LEAST_SIZE  # the user's own
    room = (height - ROOM_OUTSIDE) / max(1, len(labels)), MOST_FOR_ROWS * width
    widest = max((text_width(label, size) for label in labels), default=0)
    size *= min(1, room[0] / (LINE_HEIGHT * size), room[1] / max(widest, 1))
    ax.tick_params("y", labelsize=max(size, LEAST_SIZE))


def legend_above(ax, n_columns=2, **kwargs):
    """Put the legend where no interval can lie, within the figure.

    Parameters
    ----------
    ax : matplotlib Axes
        Whose.
    n_columns : int, default=2
        Names beside each other, where they have room.
    **kwargs : dict
        Passed to matplotlib's ``legend``.
    """
    width = panel_size(ax)[0]
    handles, labels = ax.get_legend_handles_labels()
    widths = [text_width(label, kwargs.get("fontsize", "medium")) + ENTRY for label in labels]
    if width >= NARROW and _columns_width(widths, n_columns) < MOST_OF_LEGEND * width:
        place = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}
        ax.legend(**place, ncols=n_columns, **kwargs)
        return
    kwargs = {"fontsize": "small", "handlelength": 1.5, "columnspacing": 1, "handletextpad": 0.4,
              "borderaxespad": 0.2} | kwargs  # fmt: skip
    size = load_matplotlib("font_manager").FontProperties(size=kwargs["fontsize"])
    em = size.get_size_in_points()
    beside = em * (kwargs["handlelength"] + kwargs["handletextpad"] + kwargs["columnspacing"])
    widths = [text_width(label, em) + beside for label in labels]
    while n_columns > 1 and _columns_width(widths, n_columns) > width - em:
        n_columns -= 1
    shares = [(width - em - beside) / (w - beside + 1e-9) for w in widths]
    labels = [
        label if share >= 1 else "\n".join(wrap(label, max(8, int(share * len(label)))))
        for label, share in zip(labels, shares, strict=False)
    ]
    # What is wider than the axes goes over the room of the labels on their left.
    place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "frameon": False}
    ax.legend(handles, labels, **place, ncols=n_columns, **kwargs)


def _columns_width(widths, n_columns):
    """Return how wide a legend is, which fills its columns one after the other."""
    return sum(max(column, default=0) for column in np.array_split(widths, n_columns))


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
