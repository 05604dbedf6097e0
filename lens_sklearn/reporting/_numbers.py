"""The numbers of a report, and how they are written."""

from typing import NamedTuple

import numpy as np

from .._statistics import Difference, clustered_mean
from ..metrics import SUBSETS, best_of_n_curve, count_pairs, pair_accuracy_score

#: Fewer prompts than this have intervals that are rough themselves.
FEW = 30


class Row(NamedTuple):
    """A way to pick, and what it is worth.

    Attributes
    ----------
    name : str
        "this model", "reference", "longest", "shortest", "random" or "oracle".
    gold : float
        Mean gold reward of the pick among all candidates.
    difference : Difference or None
        Gold of this model's pick less that of this one, by prompt; None is this model itself.
    accuracies : dict of str to float
        Pair accuracy by subset; subsets without a pair are left out.
    """

    name: str
    gold: float
    difference: Difference | None
    accuracies: dict


def compare(evidence):
    """Return what the models' picks are worth beside those that need no model.

    Parameters
    ----------
    evidence : Evidence
        With gold.

    Returns
    -------
    list of Row
        The models first.
    counts : dict of str to int
        Pairs of each subset of which there are lengths.
    """
    gold = evidence.gold
    lengths = evidence.lengths
    subsets = [
        {"subset": name, "lengths": None if name == "all" else lengths}
        for name in (SUBSETS if lengths is not None else SUBSETS[:1])
    ]
    counts = {subset["subset"]: count_pairs(gold, **subset) for subset in subsets}
    ways = evidence.named_rewards() | evidence.shortcuts()
    picks = {name: _gold_of_the_pick(rewards, gold) for name, rewards in ways.items()}
    picks |= {"random": np.nanmean(gold, axis=1), "oracle": _gold_of_the_pick(gold, gold)}
    rows = []
    for name, values in picks.items():
        difference = None
        if name != "this model":
            difference = clustered_mean(picks["this model"] - values, evidence.groups)
        accuracies = {
            subset["subset"]: 0.5
            if name == "random"
            else pair_accuracy_score(ways.get(name, gold), gold, **subset)
            for subset in subsets
            if counts[subset["subset"]]
        }
        rows.append(Row(name, float(values.mean()), difference, accuracies))
    return rows, counts


def _gold_of_the_pick(rewards, gold):
    """Return the gold of each prompt's pick among all candidates, ndarray of shape (n_prompts,)."""
    every = [gold.shape[1]]
    return best_of_n_curve(rewards, gold, every, n_bootstrap=1, random_state=0).per_prompt[:, 0]


def first_pick(rewards):
    """Return the place of the largest reward, ndarray of int of shape (n_prompts,)."""
    return np.nanargmax(rewards, axis=1)


def spread_out(values, n):
    """Choose n of some values from the largest to the smallest, at equal distances.

    Parameters
    ----------
    values : ndarray of shape (m,)
        By which they are sorted, ties in their order.
    n : int
        How many at most.

    Returns
    -------
    ndarray of int
        Their indices, that of the largest value first.
    """
    order = np.argsort(-values, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(n, len(order))).round().astype(int))]


#: What is left of a sum that should be 0.
ROUNDING = 1e-12


def number(value, beside=0.0):
    """Write a number: three decimals, or four digits where it and those beside it are small."""
    if value is None or np.isnan(value):
        return ""
    value = 0.0 if abs(value) < ROUNDING else value
    size = max(abs(value), abs(beside))
    return f"{value:.3f}" if value == 0 or 0.01 <= size < 10_000 else f"{value:.4g}"


def signed(value):
    """Write a difference."""
    return f"+{number(value)}" if value >= ROUNDING else number(value)


def interval(low, high):
    """Write an interval; empty where there is none."""
    if np.isnan(low) or np.isnan(high):
        return ""
    return f"{number(low, beside=high)} to {number(high, beside=low)}"


def limits(found):
    """Return the limits of a `Difference`."""
    return found.mean - found.half_width, found.mean + found.half_width


def verdict(found):
    """Say in words what a `Difference` means for this model."""
    low, high = limits(found)
    if np.isnan(low):
        return "of one prompt, which says nothing of others"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not clearly different"


def count(n, what):
    """Write a number of things."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
