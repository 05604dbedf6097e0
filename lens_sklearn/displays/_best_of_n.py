"""Best-of-n curves: of one reward, and of several side by side."""

from dataclasses import dataclass
from itertools import cycle

import numpy as np

from .._statistics import clustered_mean
from ..metrics import best_of_n_curve, best_of_n_score, leave_out_dropped
from ._style import (
    axes_or_new,
    check_named,
    dodge,
    label_line_ends,
    legend_above,
    load_matplotlib,
    series_styles,
    set_log_ticks,
    wrap_labels,
)

SHORTCUT_STYLES = ("-.", (0, (1, 3)))  # of gray lines, apart from the oracle's and random's


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
        wrap_labels(ax)
        legend_above(ax, n_columns=3)
        self.ax_, self.figure_ = ax, ax.figure
        return self


@dataclass(frozen=True)
class MeanCurve:
    """Best-of-n scores over n, averaged over splits, with Student intervals.

    Parameters
    ----------
    n : ndarray of int, shape (m,)
        Numbers of candidates drawn.
    mean, lower, upper : ndarray, shape (m,)
        Mean over splits and the limits of its interval.
    per_split : ndarray, shape (n_splits, m)
        The score on each split.
    """

    n: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    per_split: np.ndarray


def mean_curve(rewards, golds, ns=None, *, confidence=0.95):
    """Average Best-of-n curves over splits.

    Parameters
    ----------
    rewards : list of array-like of shape (n_prompts, N)
        Predicted rewards on each split.
    golds : list of array-like of shape (n_prompts, N)
        Their gold rewards.
    ns : array-like of int, default=None
        The numbers of candidates; None is the powers of two up to the smallest N, and that.
    confidence : float, default=0.95
        Coverage of the Student interval, which takes splits for independent.

    Returns
    -------
    MeanCurve
        The curve.

    Raises
    ------
    ValueError
        If there are fewer than two splits, other numbers of them, or as `best_of_n_curve`; the
        message names the split.
    """
    if len(rewards) != len(golds) or len(golds) < 2:
        raise ValueError(
            f"rewards of {len(rewards)} splits and gold of {len(golds)}; give as many of both, two "
            "at least. Of one split there is from_predictions."
        )
    if ns is None:
        n_max = min(np.shape(gold)[1] for gold in golds)
        ns = np.unique(np.append(2 ** np.arange(int(np.log2(n_max)) + 1), n_max))
    curves = []
    for number, (given, gold) in enumerate(zip(rewards, golds, strict=True)):
        try:
            curves.append(best_of_n_curve(given, gold, ns, n_bootstrap=1, random_state=0))
        except ValueError as error:
            raise ValueError(f"split {number}: {error}") from None
    per_split = np.stack([curve.mean for curve in curves])  # (n_splits, m)
    splits = np.arange(len(per_split))
    found = [clustered_mean(column, splits, confidence=confidence) for column in per_split.T]
    mean, half_width = (
        np.array([getattr(f, key) for f in found]) for key in ("mean", "half_width")
    )
    return MeanCurve(curves[0].n, mean, mean - half_width, mean + half_width, per_split)


class BestOfNComparisonDisplay:
    """Best-of-n curves of several rewards, named at the ends of their lines.

    Create one with :meth:`from_estimators`, :meth:`from_predictions` or :meth:`from_splits`.

    Parameters
    ----------
    curves : dict of str to BestOfNCurve or MeanCurve
        By name.
    oracle : BestOfNCurve or MeanCurve
        That of picking by gold.
    random : float
        Mean gold reward of a random pick.
    shortcuts : dict of str to BestOfNCurve or MeanCurve, default=None
        Curves of rewards without a model, drawn as references under their names.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        By name, set by :meth:`plot`.
    labels_ : list of matplotlib Text
        The names at the lines' ends.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    See Also
    --------
    BestOfNDisplay : One reward, its interval as a band.

    Examples
    --------
    >>> from lens_sklearn import BestOfNComparisonDisplay
    >>> gold = [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0]]
    >>> rewards = {"good": gold, "bad": [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]]}
    >>> display = BestOfNComparisonDisplay.from_predictions(rewards, gold, random_state=0)
    >>> {name: curve.mean[-1].item() for name, curve in display.curves.items()}
    {'good': 2.5, 'bad': 0.0}
    """

    def __init__(self, curves, *, oracle, random, shortcuts=None):
        self.curves = check_named("curves", curves)
        self.oracle = oracle
        self.random = random
        self.shortcuts = shortcuts

    @classmethod
    def from_estimators(cls, estimators, candidates, gold, *, ax=None, shortcuts=None, **kwargs):
        """Score candidates with several estimators and plot their curves.

        Parameters
        ----------
        estimators : dict of str to estimator
            Fitted, by name; each has ``predict``.
        candidates : rows of text or array-like of shape (n_prompts, N, d)
            What ``predict`` takes.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        shortcuts : dict of str to array-like of shape (n_prompts, N), default=None
            Rewards without a model (:func:`~lens_sklearn.shortcut_rewards`).
        **kwargs : dict
            Passed to :func:`~lens_sklearn.best_of_n_curve`.

        Returns
        -------
        BestOfNComparisonDisplay
            With the plot drawn.

        Warns
        -----
        UserWarning
            If candidates with gold have no reward, as dropped texts have none: those without one
            of any estimator are left out for all.
        """
        estimators = check_named("estimators", estimators)
        rewards = {name: estimator.predict(candidates) for name, estimator in estimators.items()}
        rewards, gold, shortcuts = _leave_out_dropped(rewards, gold, shortcuts or {})
        return cls.from_predictions(rewards, gold, ax=ax, shortcuts=shortcuts, **kwargs)

    @classmethod
    def from_predictions(cls, rewards, gold, *, ax=None, shortcuts=None, **kwargs):
        """Plot the curves of given rewards, with bootstrap intervals over prompts.

        Parameters
        ----------
        rewards : dict of str to array-like of shape (n_prompts, N)
            Predicted rewards, by name.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        shortcuts : dict of str to array-like of shape (n_prompts, N), default=None
            Rewards without a model (:func:`~lens_sklearn.shortcut_rewards`).
        **kwargs : dict
            Passed to :func:`~lens_sklearn.best_of_n_curve`.

        Returns
        -------
        BestOfNComparisonDisplay
            With the plot drawn.
        """

        def curve_of(values):
            return best_of_n_curve(values, gold, **kwargs)

        return cls._from(curve_of, rewards, gold, shortcuts, best_of_n_score(gold, gold, n=1), ax)

    @classmethod
    def from_splits(cls, rewards, golds, *, ns=None, ax=None, shortcuts=None, confidence=0.95):
        """Plot means over splits, with Student intervals over these.

        Parameters
        ----------
        rewards : dict of str to list of array-like of shape (n_prompts, N)
            Predicted rewards on each split, by name.
        golds : list of array-like of shape (n_prompts, N)
            Gold rewards of each split's candidates.
        ns : array-like of int, default=None
            The numbers of candidates; None is the powers of two up to the smallest N, and that.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        shortcuts : dict of str to list of array-like of shape (n_prompts, N), default=None
            Rewards without a model on each split.
        confidence : float, default=0.95
            Coverage. Splits of one data set share prompts, so that intervals that take them for
            independent are somewhat too narrow.

        Returns
        -------
        BestOfNComparisonDisplay
            With the plot drawn; its curves are `MeanCurve`.
        """

        def curve_of(values):
            return mean_curve(values, golds, ns, confidence=confidence)

        random = float(np.mean([best_of_n_score(gold, gold, n=1) for gold in golds]))
        return cls._from(curve_of, rewards, golds, shortcuts, random, ax)

    @classmethod
    def _from(cls, curve_of, rewards, gold, shortcuts, random, ax):
        curves = {}
        for name, values in check_named("rewards", rewards).items():
            try:
                curves[name] = curve_of(values)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        shortcuts = {name: curve_of(values) for name, values in (shortcuts or {}).items()}
        display = cls(curves, oracle=curve_of(gold), random=random, shortcuts=shortcuts)
        return display.plot(ax=ax)

    def plot(self, ax=None, *, plot_reference=True):
        """Draw the curves beside each other, their intervals as bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        plot_reference : bool, default=True
            Whether to draw the oracle's curve, the random pick and the shortcuts.

        Returns
        -------
        BestOfNComparisonDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        ends = self._draw_references(ax) if plot_reference else []
        self.lines_ = {}
        styles, factors = series_styles(len(self.curves)), dodge(len(self.curves), 1.04)
        drawn = zip(self.curves.items(), styles, factors, strict=True)
        for (name, curve), style, factor in drawn:
            below, above = curve.mean - curve.lower, curve.upper - curve.mean
            x = curve.n * factor  # side by side, or bars would hide each other
            options = {"markersize": 3, "linewidth": 1.2, "elinewidth": 0.8, "label": name}
            bars = ax.errorbar(x, curve.mean, np.maximum([below, above], 0), **options, **style)
            self.lines_[name] = bars.lines[0]
            ends.append((name, x[-1], curve.mean[-1], style["color"]))
        set_log_ticks(ax, next(iter(self.curves.values())).n)
        ax.set(xlabel="n, candidates drawn", ylabel="mean gold reward of the pick")
        wrap_labels(ax)
        self.labels_ = label_line_ends(ax, ends)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_references(self, ax):
        """Draw what needs no reward model in gray; return the lines' ends."""
        n = self.oracle.n
        references = {
            "oracle": (self.oracle.mean, "--"),
            "random": (np.full(len(n), self.random), ":"),
        }
        styles = cycle(SHORTCUT_STYLES)
        for (name, curve), style in zip((self.shortcuts or {}).items(), styles, strict=False):
            references[name] = (curve.mean, style)
        for name, (mean, style) in references.items():
            ax.plot(n, mean, color="0.45", linestyle=style, linewidth=1, label=name)
        return [(name, n[-1], mean[-1], "0.45") for name, (mean, _) in references.items()]


def _leave_out_dropped(rewards, gold, shortcuts):
    """Leave out for all rewards the candidates that one of them has no reward for."""
    gold = np.asarray(gold, dtype=float)
    given = [np.asarray(values, dtype=float) for values in (*rewards.values(), *shortcuts.values())]
    if any(values.shape != gold.shape for values in given):
        return rewards, gold, shortcuts  # which one it is, is said later
    missing = np.isnan(given[: len(rewards)]).any(axis=0)
    _, gold, kept = leave_out_dropped(np.where(missing, np.nan, given[0]), gold)
    given = iter([np.where(missing, np.nan, values)[kept] for values in given])
    return dict(zip(rewards, given, strict=False)), gold, dict(zip(shortcuts, given, strict=True))


def save_curves(named_rewards, gold, path, *, ns=None, where="", shortcuts=None):
    """Draw the Best-of-N curves of several reward models into a file.

    Parameters
    ----------
    named_rewards : list of (str, ndarray of shape (n_prompts, N) or list of these)
        Names and predicted rewards; those of several splits are averaged.
    gold : ndarray of shape (n_prompts, N) or list of these
        Gold rewards, of each split where they are several.
    path : str or Path
        The picture.
    ns : list of int, default=None
        As in `best_of_n_curve`.
    where : str, default=""
        Ends the title.
    shortcuts : dict of str to ndarray of shape (n_prompts, N) or list of these, default=None
        Rewards without a model, drawn as references.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    rewards = dict(named_rewards)
    if isinstance(gold, list) and len(gold) == 1:
        gold, rewards = gold[0], {name: of_splits[0] for name, of_splits in rewards.items()}
        shortcuts = {name: of_splits[0] for name, of_splits in (shortcuts or {}).items()}
    figure = load_matplotlib("figure").Figure(figsize=(6, 4), layout="constrained")
    draw = {"ns": ns, "ax": figure.add_subplot(), "shortcuts": shortcuts}
    if isinstance(gold, list):
        of = f"{len(gold[0])} prompts, mean of {len(gold)} splits"
        display = BestOfNComparisonDisplay.from_splits(rewards, gold, **draw)
    else:
        of = f"{len(gold)} prompts"
        display = BestOfNComparisonDisplay.from_predictions(rewards, gold, **draw, random_state=0)
    display.ax_.set_title(f"Best-of-n on {of}{where}")
    figure.savefig(path, dpi=150)
