"""What a labeller is worth, on rows whose order is known: one table beside the longest response."""

import re
import time
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.utils import check_random_state, check_scalar

from .._io import pair_targets
from .._records import as_records
from .._rows import prompt_groups, read_prompts, read_responses
from .._shortcuts import response_lengths
from ..metrics import pair_agreement, subset_mask
from ._conversations import as_messages
from ._function_labeller import FunctionLabeller, as_labeller, check_scores

#: A column of the table: its header, and how a report's number is written.
COLUMNS = {
    "labeller": lambda r: " ".join(r.name.split()),
    "accuracy": lambda r: _with_interval(r.accuracy, r.accuracy_interval),
    "about equal length": lambda r: _with_interval(r.length_matched, r.length_matched_interval),
    "beyond longest": lambda r: _with_interval(r.gain, r.gain_interval, "+.3f"),
    "rank correlation": lambda r: _number(r.rank_correlation),
    "ties": lambda r: _number(r.ties),
    "first wins": lambda r: _number(r.first_wins),
    "order changes": lambda r: _number(r.order_changes),
    "correlation with length": lambda r: _number(r.length_correlation),
    "unjudged": lambda r: _number(r.unjudged),
    "seconds": lambda r: _number(r.seconds, ".1f"),
}


@dataclass(frozen=True)
class LabellerReport:
    """What a labeller is worth; :func:`report_labeller` makes one, and ``print`` shows a table.

    Parameters
    ----------
    name : str
        The labeller's.
    n_prompts : int
        Different prompts.
    n_pairs : int
        Pairs of responses to one prompt whose gold differs, both of them judged.
    n_length_matched : int
        Those whose lengths differ by less than a fifth.
    accuracy : float
        Share of the pairs whose better response has the higher score; ties count half.
    accuracy_interval : tuple of float
        Its 95 % interval.
    length_matched : float
        Accuracy on the pairs of about equal length.
    length_matched_interval : tuple of float
        Its 95 % interval.
    rank_correlation : float
        Spearman's between scores and gold, the mean over rows whose gold is not constant; a
        labeller that gives all responses one score has 0 there.
    ties : float
        Share of the pairs with equal scores.
    length_correlation : float
        Spearman's between scores and characters, the mean over rows.
    gain : float, default=nan
        Accuracy beyond that of the longest response, on the same pairs.
    gain_interval : tuple of float, default=(nan, nan)
        Its 95 % interval.
    first_wins : float, default=nan
        How often the response that was placed first has the higher score, asked in both orders;
        0.5 is no preference. A labeller that compares in both orders by itself may tell this of
        its comparisons by an attribute ``position_bias_``, which is that share less ½.
    order_changes : float, default=nan
        Share of the pairs of which another response wins, or none, in the other order.
    unjudged : float, default=nan
        Share of the responses with NaN for a score.
    seconds : float, default=nan
        What one call of ``score`` took.
    longest : LabellerReport, default=None
        The control: the longer of two responses is the better one.
    """

    name: str
    n_prompts: int
    n_pairs: int
    n_length_matched: int
    accuracy: float
    accuracy_interval: tuple
    length_matched: float
    length_matched_interval: tuple
    rank_correlation: float
    ties: float
    length_correlation: float
    gain: float = np.nan
    gain_interval: tuple = (np.nan, np.nan)
    first_wins: float = np.nan
    order_changes: float = np.nan
    unjudged: float = np.nan
    seconds: float = np.nan
    longest: "LabellerReport | None" = None

    def to_markdown(self):
        """Return the table in Markdown.

        Returns
        -------
        str
            A row for the labeller and one for the longest response.
        """
        header, *rows = self._cells()
        rows = [[re.sub(r"([\\`*<>\[\]|])", r"\\\1", row[0]), *row[1:]] for row in rows]
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def __str__(self):
        lines = self._cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
            for line in lines
        ]
        counts = (
            f"{self.n_pairs} pairs, {self.n_length_matched} of about equal length, of "
            f"{self.n_prompts} prompts; 95 % intervals by prompts"
        )
        return "\n".join([*table, counts])

    def _cells(self):
        reports = [self] if self.longest is None else [self, self.longest]
        return [list(COLUMNS), *([write(r) for write in COLUMNS.values()] for r in reports)]


def report_labeller(
    labeller,
    rows,
    gold=None,
    *,
    check_order=True,
    n_bootstrap=1000,
    random_state=0,
    name=None,
):
    """Report what a labeller is worth on rows whose order is known.

    Parameters
    ----------
    labeller : PairLabeller or callable
        Fitted, if it learns; a function ``f(prompts, responses) -> scores`` is one.
    rows : rows of text
        Candidate rows with prompts, and their `gold`, or preference rows with prompts, where a
        column ``target`` counts. Which response of a pair stands first is drawn at random.
    gold : array-like of shape (n_prompts, k), default=None
        Gold rewards of the candidates; shorter lists may be shorter or padded with NaN, and a
        response whose gold is NaN is in no pair.
    check_order : bool, default=True
        Whether the responses are scored a second time in reversed order.
    n_bootstrap : int, default=1000
        Samples of prompts, with replacement, that the intervals are made of.
    random_state : int, RandomState instance or None, default=0
        Draws them, and the order of pairs.
    name : str, default=None
        The labeller's in the table; None is its class or function.

    Returns
    -------
    LabellerReport
        Numbers as attributes; ``print`` and ``to_markdown`` show one table.

    Raises
    ------
    ValueError
        If gold is missing, is given beside preference rows, has another shape or is infinite, or
        no two responses to one prompt differ in it; if a row has no prompt; or if the labeller
        returns scores of another shape or infinite ones.

    See Also
    --------
    lens_sklearn.metrics.pair_accuracy_score : The accuracy alone.

    Notes
    -----
    Pairs of a prompt are not independent, so whole prompts are drawn for the intervals, which are
    the 2.5th and 97.5th percentiles. Weights of rows are not used.

    Examples
    --------
    >>> from lens_sklearn.textual import report_labeller
    >>> rows = [
    ...     {"prompt": "2 + 2?", "responses": ["4", "It is 5.", "It is 4."]},
    ...     {"prompt": "3 + 3?", "responses": ["6, I think", "7, I am very sure"]},
    ... ]
    >>> gold = [[1.0, -1.0, 2.0], [1.0, -1.0]]
    >>> def knows_four(prompts, responses):
    ...     return [["4" in text for text in texts] for texts in responses]
    >>> report = report_labeller(knows_four, rows, gold)
    >>> report.accuracy, report.ties, round(report.longest.accuracy, 3)
    (0.75, 0.5, 0.375)
    """
    labeller = as_labeller(labeller)
    check_scalar(n_bootstrap, "n_bootstrap", Integral, min_val=1)
    rng = check_random_state(random_state)
    data = _read(rows, gold)
    orders = [rng.permutation(2) if data.is_pairs else np.arange(n) for n in data.counts]
    start = time.perf_counter()
    scores = _score(labeller, data, orders)
    found = {"seconds": time.perf_counter() - start}
    present = ~np.isnan(data.lengths)
    found["unjudged"] = float(np.isnan(scores[present]).mean())
    bias = getattr(labeller, "position_bias_", None)
    if check_order:
        backwards = _score(labeller, data, [order[::-1] for order in orders])
        found |= _ask_of_order(scores, backwards, orders, data)
    if bias is not None and not np.isnan(bias):
        found["first_wins"] = 0.5 + float(bias)
    measure = _Measure(data, scores, n_bootstrap, rng)
    longest = measure.report("longest", data.lengths)
    return measure.report(name or _name(labeller), scores, longest=longest, **found)


class _Data(NamedTuple):
    """Rows whose order is known; arrays (n, k) have NaN for padding."""

    is_pairs: bool
    prompts: list
    responses: list
    counts: list
    gold: np.ndarray
    lengths: np.ndarray
    groups: np.ndarray  # (n,), equal prompts have equal numbers
    pairs: np.ndarray  # (m, 3): row, better response, worse response


class _Measure:
    """Measures scores on the pairs that a labeller judged, with one draw of prompts for all."""

    def __init__(self, data, scores, n_bootstrap, rng):
        pairs = data.pairs
        judged = ~np.isnan(_of_pairs(scores, pairs)).any(axis=1)
        self.data, self.pairs, self.n_bootstrap = data, pairs[judged], n_bootstrap
        self.seed = rng.randint(np.iinfo(np.int32).max)
        groups = data.groups[self.pairs[:, 0]]
        self.cluster = np.unique(groups, return_inverse=True)[1].reshape(-1)
        self.n_clusters = int(self.cluster.max(initial=-1)) + 1
        lengths = _of_pairs(data.lengths, self.pairs)
        self.matched = subset_mask(np.ones(len(lengths)), lengths, "length_matched")

    def report(self, name, scores, longest=None, **found):
        own = _of_pairs(scores, self.pairs)
        wins, everywhere = _wins(own), np.ones(len(own), dtype=bool)
        if longest is not None:
            beyond = wins - _wins(_of_pairs(self.data.lengths, self.pairs))
            found["gain"], found["gain_interval"] = self.share(beyond, everywhere)
        accuracy, accuracy_interval = self.share(wins, everywhere)
        length_matched, length_matched_interval = self.share(wins, self.matched)
        return LabellerReport(
            name=name,
            n_prompts=len(np.unique(self.data.groups)),
            n_pairs=len(own),
            n_length_matched=int(self.matched.sum()),
            accuracy=accuracy,
            accuracy_interval=accuracy_interval,
            length_matched=length_matched,
            length_matched_interval=length_matched_interval,
            rank_correlation=_mean_correlation(scores, self.data.gold),
            ties=self.share(own[:, 0] == own[:, 1], everywhere)[0],
            length_correlation=_mean_correlation(scores, self.data.lengths),
            longest=longest,
            **found,
        )

    def share(self, values, mask):
        """Return the mean of the pairs' values and its interval; whole prompts are drawn."""
        sums = np.bincount(self.cluster[mask], values[mask], self.n_clusters)
        counts = np.bincount(self.cluster[mask], minlength=self.n_clusters)
        if not counts.any():
            return np.nan, (np.nan, np.nan)
        mean, n = float(sums.sum() / counts.sum()), self.n_clusters
        if np.count_nonzero(counts) < 2:
            return mean, (np.nan, np.nan)
        rng = np.random.RandomState(self.seed)
        means = np.full(self.n_bootstrap, np.nan)
        for i in range(self.n_bootstrap):
            drawn = np.bincount(rng.randint(n, size=n), minlength=n)
            if drawn @ counts:
                means[i] = drawn @ sums / (drawn @ counts)
        low, high = np.nanpercentile(means, [2.5, 97.5])
        return mean, (float(low), float(high))


def _read(rows, gold):
    """Read rows with what is known of them."""
    rows = as_records(rows)
    table, prompts = read_responses(rows), read_prompts(rows)
    items, is_pairs = table.responses, table.kind == "pairs"
    lengths = response_lengths(rows)
    present = ~np.isnan(lengths)
    if is_pairs:
        if gold is not None:
            raise ValueError(
                "gold is of candidate rows; preference rows say by chosen and rejected, and by a "
                "column 'target', which response is better."
            )
        target = pair_targets(rows)[0]
        if target is None:
            target = np.array([0.5 if one == other else 1.0 for one, other in items])
        gold = np.stack([target, 1 - target], axis=1)
    elif gold is None:
        raise ValueError("candidate rows need gold, a number a response.")
    else:
        gold = _read_gold(gold, present)
    pairs = np.argwhere(gold[:, :, None] > gold[:, None, :])  # not for NaN
    if not len(pairs):
        raise ValueError(
            "no two responses to one prompt differ in gold; there is no pair to order."
        )
    responses = [[_as_given(item) for item in row if item is not None] for row in items]
    return _Data(
        is_pairs,
        [as_messages(prompt) for prompt in prompts],
        responses,
        list(map(len, responses)),
        gold,
        lengths,
        prompt_groups(rows),
        pairs,
    )


def _read_gold(gold, present):
    """Return gold (n, k) of lists that may be shorter, NaN for padding."""
    if not hasattr(gold, "__len__") or len(gold) != len(present):
        got = f"{len(gold)} rows" if hasattr(gold, "__len__") else type(gold).__name__
        raise ValueError(f"gold has a row a prompt; got {got} for {len(present)} prompts.")
    read = np.full(present.shape, np.nan)
    for i, row in enumerate(gold):
        n, k = int(present[i].sum()), present.shape[1]
        try:
            row = np.asarray(row, dtype=float)
        except (TypeError, ValueError):
            raise ValueError(f"gold[{i}] is {row!r:.80}: expected {n} finite numbers.") from None
        if row.ndim != 1 or len(row) not in (n, k):
            raise ValueError(f"gold[{i}] has the shape {row.shape}; row {i} has {n} responses.")
        if np.isinf(row).any() or not np.isnan(row[n:]).all():
            raise ValueError(
                f"gold[{i}] is {row.tolist()}: expected {n} finite numbers, NaN for unknown ones "
                "and for padding."
            )
        read[i, : len(row)] = row
    return read


def _score(labeller, data, orders):
    """Score responses in an order; return the scores (n, k) where the responses stood before."""
    texts = [[row[j] for j in order] for row, order in zip(data.responses, orders, strict=True)]
    scores = labeller.score(data.prompts, texts)
    scores = check_scores(labeller, scores, texts, range(len(texts)))
    placed = np.full(data.lengths.shape, np.nan)
    for i, order in enumerate(orders):
        placed[i, order] = scores[i, : len(order)]
    return placed


def _ask_of_order(scores, backwards, orders, data):
    """Say how often the first place wins, and how often the order changes who does."""
    place = np.zeros(data.lengths.shape, dtype=int)
    for i, order in enumerate(orders):
        place[i, order] = np.arange(len(order))
    pairs = data.pairs[
        ~np.isnan(_of_pairs(scores, data.pairs) + _of_pairs(backwards, data.pairs)).any(axis=1)
    ]
    if not len(pairs):
        return {}
    there, back = _wins(_of_pairs(scores, pairs)), _wins(_of_pairs(backwards, pairs))
    places = _of_pairs(place, pairs)
    is_first = places[:, 0] < places[:, 1]
    first = np.where(is_first, there, 1 - there) + np.where(is_first, 1 - back, back)
    return {
        "first_wins": float(first.mean() / 2),
        "order_changes": float((there != back).mean()),
    }


def _of_pairs(values, pairs):
    """Return the values (m, 2) of the better and the worse response of each pair."""
    return values[pairs[:, :1], pairs[:, 1:]]


def _wins(values):
    """Return 1 where the first value is larger, 0.5 for a tie."""
    return pair_agreement(values) if len(values) else np.zeros(0)


def _mean_correlation(scores, other):
    """Return Spearman's correlation within a row, the mean over rows where `other` varies."""
    found = []
    for one, two in zip(scores, other, strict=True):
        known = ~np.isnan(one) & ~np.isnan(two)
        one, two = rankdata(one[known]), rankdata(two[known])
        if len(two) > 1 and np.ptp(two) > 0:
            found.append(np.corrcoef(one, two)[0, 1] if np.ptp(one) > 0 else 0.0)
    return float(np.mean(found)) if found else np.nan


def _as_given(response):
    return response if isinstance(response, str) else as_messages(response)


def _name(labeller):
    if isinstance(labeller, FunctionLabeller):
        return getattr(labeller.function, "__name__", type(labeller.function).__name__)
    return type(labeller).__name__


def _number(value, form=".3f"):
    return "" if np.isnan(value) else format(value, form)


def _with_interval(value, interval, form=".3f"):
    if np.isnan(interval).any():
        return _number(value, form)
    return f"{_number(value, form)} [{', '.join(format(v, form) for v in interval)}]"
