"""Learning curves, and how many times the pairs a baseline needs for the same score."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from .._statistics import clustered_mean
from ._style import (
    axes_or_new,
    check_named,
    dodge,
    label_line_ends,
    series_styles,
    set_log_ticks,
    wrap_labels,
)

#: Resamples of the splits for the intervals of multipliers.
N_BOOTSTRAP = 1000


class DataMultiplierDisplay:
    r"""Scores against the number of training pairs, with the data multiplier of each method.

    The data multiplier at N is :math:`N'/N`, where the baseline needs :math:`N'` pairs for the
    mean score that the method has with N. :math:`N'` is read off the baseline's curve, linearly
    in :math:`\log N` between its sizes; a dip of the curve needs no more pairs than before it.

    Create one with :meth:`from_estimators`, :meth:`from_scores` or :meth:`from_comparison`.

    Parameters
    ----------
    sizes : array-like of int, shape (m,)
        Numbers of pairs, ascending.
    scores : dict of str to array-like of shape (m,) or (m, n_splits)
        Scores by method, larger is better; splits are the same for all methods. A size that a
        method was not run at is all NaN.
    baseline : str, default=None
        The method that multipliers are of; None is the first.
    half_width : dict of str to array-like of shape (m,), default=None
        Half-widths of the intervals of scores without splits.
    score_name : str, default="score"
        What was measured.
    confidence : float, default=0.95
        Coverage of the intervals: Student's over splits for scores, the bootstrap's over splits
        for multipliers. With less than two splits there are none.

    Attributes
    ----------
    mean, half_width : dict of str to ndarray of shape (m,)
        Mean score over splits and half-width of its interval.
    multipliers : dict of str to ndarray of shape (m,)
        N'/N of every method but the baseline. Where the score is beyond the baseline's curve it is
        a bound: that to the curve's end.
    bounds : dict of str to ndarray of int, shape (m,)
        1 where a multiplier is a lower bound, as the baseline has not reached the score with its
        most pairs; −1 where it is an upper bound; else 0.
    multiplier_intervals : dict of str to ndarray of shape (m, 2)
        Their limits; NaN without splits.
    lines_, labels_, ax_, figure_ : matplotlib objects
        Set by :meth:`plot`.

    Examples
    --------
    >>> from lens_sklearn import DataMultiplierDisplay
    >>> scores = {"plain": [0.6, 0.7, 0.8], "augmented": [0.7, 0.75, 0.9]}
    >>> display = DataMultiplierDisplay([100, 200, 400], scores)
    >>> display.multipliers["augmented"].round(2).tolist(), display.bounds["augmented"].tolist()
    ([2.0, 1.41, 1.0], [0, 0, 1])
    """

    def __init__(
        self, sizes, scores, *, baseline=None, half_width=None, score_name="score", confidence=0.95
    ):
        self.sizes = _check_sizes(sizes)
        self.score_name = score_name
        self.scores = {
            name: _check_scores(name, values, len(self.sizes))
            for name, values in check_named("scores", scores).items()
        }
        if len({values.shape for values in self.scores.values()}) > 1:
            shapes = ", ".join(f"{name} {values.shape}" for name, values in self.scores.items())
            raise ValueError(f"all methods need the same splits; scores have the shapes {shapes}.")
        self.baseline = next(iter(self.scores)) if baseline is None else baseline
        if self.baseline not in self.scores:
            raise ValueError(
                f"baseline={self.baseline!r} has no scores; those are of {', '.join(self.scores)}."
            )
        self.mean = {name: values.mean(axis=1) for name, values in self.scores.items()}
        self.half_width = {
            name: self._half_width(values, confidence) for name, values in self.scores.items()
        }
        for name, values in (half_width or {}).items():
            self._check_half_width(name, values)
            self.half_width[name] = np.asarray(values, dtype=float)
        self._set_multipliers(confidence)

    @staticmethod
    def _half_width(values, confidence):
        splits = np.arange(values.shape[1])
        found = [clustered_mean(row, splits, confidence=confidence) for row in values]
        return np.array([one.half_width for one in found])

    def _check_half_width(self, name, values):
        if name not in self.scores:
            raise ValueError(f"half_width has {name!r}, of which there are no scores.")
        if self.scores[name].shape[1] > 1 or np.shape(values) != self.sizes.shape:
            raise ValueError(
                f"half_width of {name} must have the shape {self.sizes.shape} and is of scores "
                "without splits; of splits it is computed."
            )

    def _set_multipliers(self, confidence):
        n_splits = self.scores[self.baseline].shape[1]
        weight = np.full((1, n_splits), 1 / n_splits)
        if n_splits > 1:
            drawn = np.random.default_rng(0).multinomial(n_splits, weight[0], size=N_BOOTSTRAP)
            weight = np.concatenate([weight, drawn / n_splits])
        tails = [(1 - confidence) / 2, (1 + confidence) / 2]
        self.multipliers, self.bounds, self.multiplier_intervals = {}, {}, {}
        known = ~np.isnan(self.mean[self.baseline])
        curves = weight @ self.scores[self.baseline][known].T  # (1 + b, m)
        for name, values in self.scores.items():
            if name == self.baseline:
                continue
            log_n, side = reach(np.log(self.sizes[known]), curves, weight @ values.T)
            ratio = np.exp(log_n) / self.sizes
            self.multipliers[name], self.bounds[name] = ratio[0], side[0]
            limits = np.full((len(self.sizes), 2), np.nan)
            if n_splits > 1:
                limits = np.quantile(ratio[1:], tails, axis=0).T
            self.multiplier_intervals[name] = limits

    @classmethod
    def from_estimators(
        cls,
        estimators,
        pairs,
        X_test,
        y_test=None,
        *,
        y=None,
        groups=None,
        train_sizes=None,
        n_splits=5,
        baseline=None,
        score_name=None,
        ax=None,
        random_state=None,
    ):
        """Fit clones on growing subsets of pairs, score them, and plot the curves.

        A split is an order of the prompts. The pairs at N are the first of those at a larger N,
        the same for every method, and the test set is one.

        Parameters
        ----------
        estimators : dict of str to estimator
            Rewards or Pipelines that end in one, by name.
        pairs : array-like of shape (n, 2, d)
            Training pairs, column 0 chosen.
        X_test : array-like of shape (n_test, 2, d) or (n_prompts, N, d)
            What is scored: pairs of other prompts, or candidates.
        y_test : array-like of shape (n_test,) or (n_prompts, N), default=None
            As ``score`` takes it: for candidates their gold.
        y : array-like of shape (n,), default=None
            Probability that column 0 wins; None is 1.
        groups : array-like of shape (n,), default=None
            Prompts, kept together; also given to a ``fit`` that takes them.
        train_sizes : array-like of int, default=None
            Numbers of pairs; None is an eighth, a quarter, a half and all of them.
        n_splits : int, default=5
            Orders of the prompts.
        baseline : str, default=None
            The method that multipliers are of; None is the first.
        score_name : str, default=None
            What ``score`` measures; None is "gold of the pick" with `y_test` of two axes, else
            "pair accuracy".
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        random_state : int, RandomState instance or None, default=None
            Draws the orders.

        Returns
        -------
        DataMultiplierDisplay
            With the plot drawn.

        Raises
        ------
        ValueError
            If a size is more than there are pairs, or another number of groups or targets.
        """
        estimators = check_named("estimators", estimators)
        pairs = np.asarray(pairs)
        n = len(pairs)
        if train_sizes is None:
            train_sizes = np.unique([max(2, n // k) for k in (8, 4, 2, 1)])
        sizes = _check_sizes(train_sizes)
        if sizes[-1] > n:
            raise ValueError(f"train_sizes goes to {sizes[-1]}, but there are {n} pairs.")
        if baseline is not None and baseline not in estimators:
            raise ValueError(f"baseline={baseline!r} is none of {', '.join(estimators)}.")
        for what, given in (("y", y), ("groups", groups)):
            if given is not None and np.shape(given) != (n,):
                raise ValueError(f"{what} must have the shape ({n},); got {np.shape(given)}.")
        number = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
        orders = _orders(number, n_splits, check_random_state(random_state))
        scores = {name: np.empty((len(sizes), n_splits)) for name in estimators}
        for (i, size), (j, order) in _grid(sizes, orders):
            rows = order[:size]
            target = None if y is None else np.asarray(y)[rows]
            for name, estimator in estimators.items():
                of_prompts = groups is not None and has_fit_parameter(estimator, "groups")
                given = {"groups": number[rows]} if of_prompts else {}
                fitted = clone(estimator).fit(pairs[rows], target, **given)
                scores[name][i, j] = fitted.score(X_test, y_test)
        if score_name is None:
            score_name = "gold of the pick" if np.ndim(y_test) == 2 else "pair accuracy"
        return cls.from_scores(sizes, scores, baseline=baseline, score_name=score_name, ax=ax)

    @classmethod
    def from_scores(
        cls, sizes, scores, *, baseline=None, score_name="score", confidence=0.95, ax=None
    ):
        """Plot scores that are given.

        Parameters
        ----------
        sizes : array-like of int, shape (m,)
            Numbers of pairs, ascending.
        scores : dict of str to array-like of shape (m,) or (m, n_splits)
            Scores by method, larger is better.
        baseline : str, default=None
            The method that multipliers are of; None is the first.
        score_name : str, default="score"
            What was measured.
        confidence : float, default=0.95
            Coverage of the intervals.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        DataMultiplierDisplay
            With the plot drawn.
        """
        display = cls(
            sizes, scores, baseline=baseline, score_name=score_name, confidence=confidence
        )
        return display.plot(ax=ax)

    @classmethod
    def from_comparison(cls, comparison, *, ax=None):
        """Plot the learning curves of a comparison.

        Parameters
        ----------
        comparison : Comparison
            From :func:`~lens_sklearn.compare_rewards`, with curves.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        DataMultiplierDisplay
            With the plot drawn; the reference is the baseline.

        Raises
        ------
        ValueError
            If the comparison has no curve of its reference.
        """
        curves = comparison.curves
        if comparison.reference not in curves:
            raise ValueError(
                f"the comparison has no learning curve of its reference, {comparison.reference}; "
                f"it has {', '.join(curves) or 'none'}."
            )
        labels = {name: comparison.row(name)["label"] for name in curves}
        display = cls(
            curves[comparison.reference]["n_pairs"],
            {labels[name]: curve["accuracy"] for name, curve in curves.items()},
            baseline=labels[comparison.reference],
            half_width={labels[n]: curve["accuracy_half_width"] for n, curve in curves.items()},
            score_name="pair accuracy",
        )
        return display.plot(ax=ax)

    def plot(self, ax=None):
        """Draw the curves, and a line from each method's score to where the baseline has it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        DataMultiplierDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        self.lines_, ends = {}, []
        styles, factors = series_styles(len(self.mean)), dodge(len(self.mean), 1.03)
        for (name, mean), style, factor in zip(self.mean.items(), styles, factors, strict=True):
            there = ~np.isnan(mean)
            x, y = self.sizes[there] * factor, mean[there]
            bars = np.nan_to_num(self.half_width[name][there])
            options = {"markersize": 4, "linewidth": 1.2, "elinewidth": 0.8, "label": name}
            self.lines_[name] = ax.errorbar(x, y, bars, **options, **style).lines[0]
            at = self._shown(name)
            if at is not None:
                ratio = self.multipliers[name][at]
                reached = [self.sizes[at] * factor, self.sizes[at] * ratio]
                ax.plot(reached, [mean[at]] * 2, color=style["color"], linestyle=":", linewidth=1)
                sign = {1: "≥ ", -1: "≤ ", 0: ""}[int(self.bounds[name][at])]
                name = f"{name}\n{sign}{ratio:.2g}× at {self.sizes[at]:.0f}"
            ends.append((name, x[-1], y[-1], style["color"]))
        set_log_ticks(ax, self.sizes)
        ax.set(xlabel="training pairs N", ylabel=self.score_name)
        wrap_labels(ax)
        self.labels_ = label_line_ends(ax, ends)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _shown(self, name):
        """Return the size whose multiplier is written: the largest that is none of a bound."""
        if name not in self.multipliers:
            return None
        known = np.flatnonzero(~np.isnan(self.multipliers[name]))
        if not len(known):
            return None
        inner = known[self.bounds[name][known] == 0]
        above = known[self.bounds[name][known] > 0]
        # A lower bound says most at the fewest pairs, an upper one at the most.
        return int(inner[-1] if len(inner) else above[0] if len(above) else known[-1])


def reach(log_n, curves, values):
    """Return where curves reach values.

    Parameters
    ----------
    log_n : ndarray, shape (m,)
        Sizes, ascending.
    curves : ndarray, shape (b, m)
        A curve a row; one with NaN reaches nothing that is known.
    values : ndarray, shape (b, k)
        What each curve is to reach; NaN is left so.

    Returns
    -------
    reached : ndarray, shape (b, k)
        The smallest size, interpolated linearly; an end of the curve where it lies beyond.
    side : ndarray of int, shape (b, k)
        -1 where the value lies below the whole curve, 1 above, else 0.
    """
    best = np.maximum.accumulate(curves, axis=1)  # a dip needs no more pairs than before
    first = (best[:, None] < values[:, :, None]).sum(axis=-1)  # the first size that reaches it
    side = (first == len(log_n)).astype(int) - (values < best[:, :1])
    after = np.clip(first, 1, len(log_n) - 1)
    low, high = (np.take_along_axis(best, at, axis=1) for at in (after - 1, after))
    with np.errstate(invalid="ignore", divide="ignore"):  # of flat curves, replaced below
        share = (values - low) / (high - low)
    reached = log_n[after - 1] + share * (log_n[after] - log_n[after - 1])
    reached = np.where(first == 0, log_n[0], np.where(side > 0, log_n[-1], reached))
    unknown = np.isnan(values) | np.isnan(curves).any(axis=1, keepdims=True)
    return np.where(unknown, np.nan, reached), np.where(unknown, 0, side)


def _check_sizes(sizes):
    sizes = np.asarray(sizes, dtype=float)
    if sizes.ndim != 1 or len(sizes) < 2 or not (np.diff(sizes) > 0).all() or sizes[0] <= 0:
        raise ValueError(
            f"sizes must be two or more positive numbers, ascending; got {sizes.tolist()}."
        )
    return sizes.astype(int) if (sizes == sizes.astype(int)).all() else sizes


def _check_scores(name, values, n_sizes):
    """Return scores as (m, n_splits)."""
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n_sizes or not values.shape[1]:
        raise ValueError(
            f"scores of {name} must have the shape ({n_sizes},) or ({n_sizes}, n_splits); got "
            f"{values.shape}."
        )
    missing = np.isnan(values)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any() or np.isinf(values).any() or missing.all():
        row = int(np.flatnonzero(partly | np.isinf(values).any(axis=1) | missing.all(axis=1))[0])
        raise ValueError(
            f"scores of {name} are not finite at size number {row}: {values[row].tolist()}. A size "
            "that it was not run at is NaN in all splits, and one at least is not."
        )
    return values


def _orders(number, n_splits, random_state):
    """Draw orders of the pairs that keep prompts together."""
    if n_splits != int(n_splits) or n_splits < 1:
        raise ValueError(f"n_splits={n_splits!r}; it is a whole number, at least 1.")
    ranks = (random_state.permutation(number.max() + 1) for _ in range(n_splits))
    return [np.argsort(rank[number], kind="stable") for rank in ranks]


def _grid(sizes, orders):
    return (
        ((i, size), (j, order)) for i, size in enumerate(sizes) for j, order in enumerate(orders)
    )
