"""What a comparison of reward models found: a table of intervals, learning curves, sentences."""

from dataclasses import asdict, dataclass

import numpy as np

from ._statistics import clustered_mean, holm
from .metrics import pair_agreement, subset_mask

#: Differences that are claimed have a smaller p-value than this, corrected for all methods.
LEVEL = 0.05
METRICS = ("accuracy", "length_matched", "shorter_wins", "log_loss", "gold")
SHORTCUTS = ("longest", "shortest")


@dataclass(frozen=True)
class Comparison:
    """Reward models side by side, by pairs of prompts that they have not seen.

    :func:`~lens_sklearn.compare_rewards` makes one.

    Parameters
    ----------
    table : list of dict
        A row a method: ``method``, ``label``, ``seconds`` of a fit, and for each metric m
        (``accuracy``, ``length_matched``, ``shorter_wins``, ``log_loss``, ``gold``) its mean
        ``m`` with ``m_half_width`` and the paired difference to the reference,
        ``m_difference`` with ``m_difference_half_width``, ``m_p`` and ``m_p_holm``. Half-widths
        are of 95 % intervals clustered by prompt. NaN is what there is not.
    reference : str
        The method that all are held against, fixed in advance: the tuned linear model.
    curves : dict of str to dict
        By method, the lists ``n_pairs``, ``accuracy``, ``accuracy_half_width``, ``log_loss`` and
        ``log_loss_half_width``, a value a size, and ``accuracy_gain`` and ``log_loss_gain``: mean
        and half-width of what a doubling of the pairs adds.
    counts : dict of str to int
        ``pairs``, ``prompts``, ``folds``, ``repeats``, and, where lengths are known, the pairs of
        ``length_matched`` and ``shorter_wins``; ``candidates``, their prompts, where there are
        any.
    failures : dict of str to str
        Methods that could not be fitted, with the error.
    warnings : dict of str to int
        Warnings of the fits, with how often each came.

    Attributes
    ----------
    conclusions : list of str
        What can be said, in plain sentences.
    """

    table: list
    reference: str
    curves: dict
    counts: dict
    failures: dict
    warnings: dict

    def row(self, method):
        """Return the row of a method.

        Parameters
        ----------
        method : str
            Its name.

        Returns
        -------
        dict of str to object
            A row of `table`.

        Raises
        ------
        KeyError
            If it is not there.
        """
        for row in self.table:
            if row["method"] == method:
                return row
        raise KeyError(method)

    def to_dict(self):
        """Return everything as JSON types.

        Returns
        -------
        dict of str to object
            The parameters and `conclusions`; None is what there is not.
        """
        return _without_nan(asdict(self) | {"conclusions": self.conclusions})

    @property
    def conclusions(self):
        """What can be said, in plain sentences."""
        sentences = [*self._say_chance(), self._say_better("accuracy")]
        if 0 < self.counts.get("length_matched", 0) < self.counts["pairs"]:
            sentences.append(self._say_better("length_matched"))
        sentences += self._say_worse() + self._say_shortcuts() + self._say_gain()
        return sentences

    def _differing(self, metric, sign):
        """Return labels of methods, shortcuts left out, that differ beyond chance."""
        rows = [row for row in self.table if row["method"] not in (*SHORTCUTS, "random")]
        return [row["label"] for row in rows if differs(row, metric, sign)]

    def _say_chance(self):
        row = self.row(self.reference)
        mean, half_width = row["accuracy"], row["accuracy_half_width"]
        if mean - half_width > 0.5:
            return []
        return [
            f"The {row['label']} model is not above chance: it orders {mean:.3f} "
            f"[{mean - half_width:.3f}, {mean + half_width:.3f}] of the pairs. More pairs, or an "
            "embedding that tells more, are wanted first."
        ]

    def _say_better(self, metric):
        better, reference = self._differing(metric, 1), self.row(self.reference)["label"]
        what = f"the {reference} model beyond chance"
        where = ""
        if metric == "length_matched":
            where = f" on the {self.counts[metric]} pairs of about equal length"
        if better:
            return f"{_and(better)} {'beats' if len(better) == 1 else 'beat'} {what}{where}."
        return f"No method beats {what}{where}."

    def _say_worse(self):
        worse = self._differing("accuracy", -1)
        return [f"Worse beyond chance: {_and(worse)}."] if worse else []

    def _say_shortcuts(self):
        said = []
        for name in SHORTCUTS:
            try:
                row = self.row(name)
            except KeyError:
                continue
            if row["accuracy"] > 0.5 and not differs(row, "accuracy", -1):
                model = self.row(self.reference)["label"]
                said.append(
                    f"The {name} response is the better one in {row['accuracy']:.3f} of the pairs, "
                    f"without any model; it is not shown that the {model} model knows "
                    "more than this."
                )
        return said

    def _say_gain(self):
        if not self.curves:
            return []
        name = "auto" if "auto" in self.curves else next(iter(self.curves))
        curve = self.curves[name]
        gain, half_width = curve["accuracy_gain"]
        first, last = curve["n_pairs"][0], curve["n_pairs"][-1]
        label, left = self.row(name)["label"], 1 - curve["accuracy"][-1]
        if gain > left:  # a line knows no bound
            return [
                f"More pairs can add {left:.3f} to the accuracy of {label} at most: a line through "
                f"{first:.0f} to {last:.0f} pairs passes 1 at twice as many."
            ]
        return [
            f"Twice as many pairs would add {interval_text(gain, half_width)} to the accuracy of "
            f"{label} (extrapolated from {first:.0f} to {last:.0f} pairs)."
        ]


def differs(row, metric, sign):
    """Whether a method differs from the reference beyond chance.

    Parameters
    ----------
    row : dict
        Of a `Comparison`'s table.
    metric : str
        Its name.
    sign : {1, -1}
        Larger or smaller.

    Returns
    -------
    bool
        By the corrected p-value.
    """
    return bool(row[f"{metric}_p_holm"] < LEVEL and sign * row[f"{metric}_difference"] > 0)


def interval_text(mean, half_width):
    """Write a difference with its interval.

    Parameters
    ----------
    mean, half_width : float
        As in `Comparison`; NaN is left out.

    Returns
    -------
    str
        As ``+0.012 [+0.004, +0.020]``.
    """
    if np.isnan(half_width):
        return f"{mean:+.3f}"
    return f"{mean:+.3f} [{mean - half_width:+.3f}, {mean + half_width:+.3f}]"


@dataclass(frozen=True)
class JudgedPairs:
    """The pairs that methods are judged by.

    Parameters
    ----------
    target : ndarray, shape (n,)
        Probabilities that column 0 wins.
    weight : ndarray, shape (n,)
        Weights.
    groups : ndarray of int, shape (n,)
        Prompts.
    lengths : ndarray of shape (n, 2) or None
        Lengths of the responses.
    """

    target: np.ndarray
    weight: np.ndarray
    groups: np.ndarray
    lengths: np.ndarray | None

    def judge(self, log_odds):
        """Judge left-out log-odds pair by pair.

        Parameters
        ----------
        log_odds : ndarray, shape (n_repeats, n)
            That column 0 wins.

        Returns
        -------
        dict of str to ndarray, shape (n,)
            By metric, means over repeats; NaN for pairs that are not in a subset.
        """
        log_odds = np.asarray(log_odds, dtype=float)
        zeros = np.zeros(log_odds.shape[1])
        agreement = np.mean(
            [pair_agreement(np.stack([x, zeros], axis=1), self.target) for x in log_odds], axis=0
        )
        loss = np.logaddexp(0, log_odds) - self.target * log_odds
        values = {"accuracy": agreement, "log_loss": loss.mean(axis=0)}
        for subset in SUBSETS_BY_LENGTH if self.lengths is not None else ():
            values[subset] = np.where(self.in_subset(subset), agreement, np.nan)
        return values

    def in_subset(self, subset):
        """Return which pairs are in a subset by length.

        Parameters
        ----------
        subset : str
            Of :func:`~lens_sklearn.metrics.pair_accuracy_score`.

        Returns
        -------
        ndarray of bool, shape (n,)
            A mask.
        """
        return subset_mask(self.target, self.lengths, subset)


SUBSETS_BY_LENGTH = ("length_matched", "shorter_wins")


def make_table(judged, pairs, gold, reference):
    """Average what methods did, and hold it against the reference.

    Parameters
    ----------
    judged : dict of str to dict of str to ndarray
        By method, what `JudgedPairs.judge` returned; metrics that make no sense are left out.
    pairs : JudgedPairs
        The pairs.
    gold : dict of str to ndarray, shape (n_prompts,)
        By method, the gold of its pick; empty without candidates.
    reference : str
        One of the methods.

    Returns
    -------
    list of dict
        The rows of a `Comparison`, without label and seconds.
    """
    rows = {name: {"method": name} for name in judged}
    for metric in METRICS:
        values = gold if metric == "gold" else {m: v.get(metric) for m, v in judged.items()}
        p_values = [
            _judge_metric(row, metric, values.get(name), values.get(reference), pairs)
            for name, row in rows.items()
        ]
        for row, p in zip(rows.values(), holm(p_values), strict=True):
            row[f"{metric}_p_holm"] = float(p)
    return list(rows.values())


def _judge_metric(row, metric, values, reference, pairs):
    """Set a metric of a row; return the p-value that is one of the family."""
    nothing = np.full(1, np.nan)
    difference = nothing if values is None or reference is None else values - reference
    values = nothing if values is None else values
    for name, column in ((metric, values), (f"{metric}_difference", difference)):
        if metric == "gold" or column is nothing:
            found = clustered_mean(column, np.arange(len(column)))
        else:
            found = clustered_mean(column, pairs.groups, pairs.weight)
        row[name], row[f"{name}_half_width"] = found.mean, found.half_width
    is_reference = values is reference
    # A random pick is no hypothesis, and every further comparison costs the others power.
    row[f"{metric}_p"] = np.nan if is_reference or row["method"] == "random" else found.p
    return row[f"{metric}_p"]


def make_curve(sizes, judged, pairs):
    """Average a learning curve, and what a doubling of the pairs adds.

    The gain is the slope of a line through the means over log2 of the sizes. It is a mean over
    pairs of their own slopes, so it has the same interval as everything else.

    Parameters
    ----------
    sizes : array-like of shape (m,)
        Numbers of training pairs, ascending.
    judged : list of m dict of str to ndarray, shape (n,)
        What `JudgedPairs.judge` returned, a size each.
    pairs : JudgedPairs
        The pairs.

    Returns
    -------
    dict of str to list
        As in `Comparison`.
    """
    curve = {"n_pairs": [float(size) for size in sizes]}
    doublings = np.log2(sizes) - np.log2(sizes).mean()
    for metric in ("accuracy", "log_loss"):
        values = np.stack([found[metric] for found in judged])  # (m, n)
        means = [clustered_mean(row, pairs.groups, pairs.weight) for row in values]
        curve[metric] = [found.mean for found in means]
        curve[f"{metric}_half_width"] = [found.half_width for found in means]
        slopes = doublings @ values / (doublings @ doublings)
        gain = clustered_mean(slopes, pairs.groups, pairs.weight)
        curve[f"{metric}_gain"] = [gain.mean, gain.half_width]
    return curve


def _and(names):
    """Write names as text: a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
