"""The parts of a report about candidates: what they are, and what is picked among them."""

from functools import partial

import numpy as np

from ..displays import BestOfNComparisonDisplay, RewardLengthDisplay
from ._html import absent, details, join, paragraph, quote, table, tag
from ._numbers import (
    compare,
    count,
    first_pick,
    interval,
    limits,
    number,
    signed,
    spread_out,
    verdict,
)
from ._svg import side_by_side

NO_GOLD = "the candidates have no gold rewards."
#: Characters of a prompt and of a response in the table of picks.
LONG_PROMPT, LONG_RESPONSE = 500, 800
WAYS = {
    "random": "a random one",
    "longest": "the longest response",
    "shortest": "the shortest response",
    "oracle": "the best possible one, by gold",
}
SUBSET_NAMES = {
    "all": "pair accuracy",
    "length_matched": "of about equal length",
    "shorter_wins": "the shorter one is better",
}


def describe_data(evidence, pairs):
    """Return the summary of candidates and pairs.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.
    pairs : PairData or None
        The pairs.

    Returns
    -------
    list of Markup
        Blocks.
    """
    n = evidence.n_candidates
    rows = [["prompts", f"{len(n):,}"]]
    if len(set(evidence.groups.tolist())) < len(n):
        rows.append(["different prompts", f"{len(set(evidence.groups.tolist())):,}"])
    rows.append(["candidates", f"{n.sum():,}"])
    rows.append(["candidates of a prompt", _range(n)])
    if evidence.lengths is not None:
        low, middle, high = np.nanquantile(evidence.lengths, [0.05, 0.5, 0.95])
        rows.append(["characters of a response, median", f"{middle:,.0f}"])
        rows.append(["characters, 5 % to 95 %", f"{low:,.0f} to {high:,.0f}"])
    if evidence.gold is not None:
        gold = evidence.gold
        rows.append(["gold, mean", number(np.nanmean(gold))])
        rows.append(["gold, range", interval(np.nanmin(gold), np.nanmax(gold))])
        within = gold - np.nanmean(gold, axis=1, keepdims=True)
        rows.append(["gold, deviation within prompts", number(np.sqrt(np.nanmean(within**2)))])
    if pairs is not None:
        rows.append(["preference pairs", f"{len(pairs.X):,}"])
        rows.append(["prompts of pairs", f"{len(set(pairs.groups.tolist())):,}"])
        if pairs.n_shared is not None:
            rows.append(["prompts with candidates and pairs", f"{pairs.n_shared:,}"])
    blocks = [table(["", ""], rows)]
    if evidence.gold is None:
        blocks.append(paragraph("The candidates have no gold rewards, by which picks are judged."))
    if evidence.lengths is None:
        blocks.append(paragraph("These are embeddings; texts and their lengths are not known."))
    return blocks


def _range(n):
    return f"{n.min()}" if n.min() == n.max() else f"{n.min()} to {n.max()}"


def show_comparison(evidence):
    """Return the table of what is picked by models and without one.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.

    Returns
    -------
    list of Markup
        Blocks.
    """
    if evidence.gold is None:
        return [absent(NO_GOLD)]
    rows, counts = compare(evidence)
    subsets = [name for name in counts if counts[name]]
    header = ["pick", "gold of the pick", "this model less it", "95 % interval"]
    cells = []
    for row in rows:
        difference = ["", ""]
        if row.difference is not None:
            difference = [signed(row.difference.mean), interval(*limits(row.difference))]
        accuracies = [number(row.accuracies[name]) for name in subsets]
        cells.append([WAYS.get(row.name, row.name), number(row.gold), *difference, *accuracies])
    if subsets:
        last = ["pairs of candidates", "", "", "", *(f"{counts[name]:,}" for name in subsets)]
        cells.append(last)
    most = evidence.n_candidates.max()
    text = (
        f"The gold reward of the response that is picked among all candidates, {most} at most, "
        "averaged over prompts. A model is worth what it gains over the rows that need none. "
        "Intervals are of the difference by prompt."
    )
    blocks = [paragraph(text), table([*header, *(SUBSET_NAMES[s] for s in subsets)], cells)]
    if subsets:
        text = (
            "Pair accuracy is the share of a prompt's pairs of candidates that are put in the "
            "order of gold; 0.5 is a coin."
        )
        if "length_matched" in subsets:
            text += " Lengths are about equal if they differ by less than a fifth."
        blocks.append(paragraph(text))
    if evidence.reference is None:
        text = (
            "There is no reference model. Take a control of the same pairs, as of "
            '"lens-sklearn fit --method repeat", to see what this model\'s method is worth.'
        )
        blocks.append(paragraph(text))
    return blocks


def conclude(evidence):
    """Return the sentences that a reader in a hurry needs.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.

    Returns
    -------
    list of str
        Sentences.
    """
    if evidence.gold is None:
        return ["The candidates have no gold rewards, so nothing is said about the picks."]
    rows = {row.name: row for row in compare(evidence)[0]}
    found = [
        f"The picks of this model have a mean gold reward of {number(rows['this model'].gold)}; "
        f"random ones have {number(rows['random'].gold)} and the best possible ones "
        f"{number(rows['oracle'].gold)}."
    ]
    for name in ("reference", "random", "longest"):
        if name in rows:
            difference = rows[name].difference
            between = interval(*limits(difference))
            found.append(
                f"Against {WAYS.get(name, 'the reference model')}: {signed(difference.mean)}"
                f"{f' ({between})' if between else ''}, {verdict(difference)}."
            )
    return found


def show_best_of_n(evidence, pictures, seed):
    """Return the Best-of-N curve and its numbers.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.
    pictures : Pictures
        Of the page.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Markup
        Blocks.
    """
    if evidence.gold is None:
        return [absent(NO_GOLD)]
    if evidence.gold.shape[1] == 1:
        return [absent("each prompt has one candidate, among which there is nothing to pick.")]
    named, gold, shortcuts = evidence.named_rewards(), evidence.gold, evidence.shortcuts()

    def plot(ax):
        given = {"shortcuts": shortcuts, "random_state": seed}
        return BestOfNComparisonDisplay.from_predictions(named, gold, ax=ax, **given)

    display, figure = pictures.draw(plot, lambda display: _tell_curves(display, len(gold)))
    return [figure, details("The numbers", _curve_table(display))]


def _without_model(display):
    return (display.shortcuts or {}) | {"oracle": display.oracle}


def _tell_curves(display, n_prompts):
    curves = display.curves | _without_model(display)
    at = "; ".join(
        f"{name} "
        + ", ".join(f"{number(m)} at n = {n}" for n, m in zip(of.n, of.mean, strict=True))
        for name, of in curves.items()
    )
    alt = f"Mean gold reward of the pick among n candidates: {at}; random {number(display.random)}."
    caption = (
        "Mean gold reward of the best of n candidates by each reward. Bars are 95 % bootstrap "
        f"intervals over {count(n_prompts, 'prompt')}."
    )
    return alt, caption


def _curve_table(display):
    header, columns = ["n"], [[f"{n}" for n in display.oracle.n]]
    for name, curve in display.curves.items():
        header += [name, "95 % interval"]
        columns.append([number(mean) for mean in curve.mean])
        columns.append([interval(*of) for of in zip(curve.lower, curve.upper, strict=True)])
    for name, curve in _without_model(display).items():
        header.append(name)
        columns.append([number(mean) for mean in curve.mean])
    return table(header, [list(row) for row in zip(*columns, strict=True)])


def show_lengths(evidence, pictures):
    """Return how far the reward goes by length, and how far gold does.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.
    pictures : Pictures
        Of the page.

    Returns
    -------
    list of Markup
        Blocks.
    """
    if evidence.lengths is None:
        return [absent("embeddings have no lengths.")]
    named = {"reward": evidence.rewards}
    if evidence.gold is not None:
        named["gold"] = evidence.gold
    figures = []
    for name, values in named.items():
        try:
            display = RewardLengthDisplay(values, evidence.lengths, name=name)
        except ValueError as error:  # candidates that leave nothing to see
            return [absent(str(error))]
        if np.isnan(display.correlation):
            figures.append(absent(f"the {name} differs within no prompt."))
        else:
            figures.append(pictures.draw(partial(_plot_length, display), _tell_length)[1])
    text = (
        "Responses, each less its prompt's mean on both axes. A reward that goes by "
        "length much more than gold does has learned a shortcut."
    )
    return [paragraph(text), side_by_side(figures)]


def _plot_length(display, ax):
    display.plot(ax)
    ax.set_ylabel(f"{display.name}, less the prompt's mean")
    return display


def _tell_length(display):
    between = interval(*display.interval)
    found = f"correlation {number(display.correlation)}{f' ({between})' if between else ''}"
    twice = f"{signed(display.slope)} for twice the length"
    alt = f"The {display.name} of responses against their length, within prompts: {found}, {twice}."
    return alt, f"The {display.name}: {found}, {twice}."


def show_picks(evidence, n_examples):
    """Return the table of picks beside those of a plain choice.

    Parameters
    ----------
    evidence : Evidence
        Of the candidates.
    n_examples : int
        Prompts at most.

    Returns
    -------
    list of Markup
        Blocks.
    """
    if evidence.reference is not None:
        plain, name = evidence.reference, "the reference model's"
    elif evidence.lengths is not None:
        plain, name = evidence.lengths, "the longest response"
    else:
        return [absent("there is no reference model, and embeddings have no lengths.")]
    ours, theirs = first_pick(evidence.rewards), first_pick(plain)
    differ = np.flatnonzero(ours != theirs)
    if not len(differ):
        return [absent(f"this model's pick is {name} for every prompt.")]
    text = f"For {len(differ):,} of {count(len(ours), 'prompt')} the two picks differ. "
    if evidence.gold is None:
        chosen = spread_out(-differ, n_examples)
        text += "These are some of them, at equal distances in the file."
    else:
        gain = evidence.gold[differ, ours[differ]] - evidence.gold[differ, theirs[differ]]
        chosen = spread_out(gain, n_examples)
        text += (
            f"This model's has more gold for {(gain > 0).sum():,} of them, less for "
            f"{(gain < 0).sum():,}. Those shown lie at equal distances between its largest gain "
            "and its largest loss."
        )
    rows = [_picks_of(evidence, i, ours[i], theirs[i]) for i in differ[chosen]]
    block = table(["prompt", "this model's pick", name], rows, is_named=True)
    return [paragraph(text), tag("div", block, class_="picks")]


def _picks_of(evidence, i, ours, theirs):
    prompt = f"row {evidence.number[i]}"
    if evidence.prompts is not None:
        text = evidence.prompts[i]
        shown = quote(text, LONG_PROMPT) if text else ""
        prompt = join([shown, tag("div", prompt, class_="muted small")])
    cells = [prompt]
    for pick in (ours, theirs):
        about = f"response {pick}"
        text = ""
        if evidence.responses is not None:
            text = quote(evidence.responses[i, pick], LONG_RESPONSE)
            about += f", {count(int(evidence.lengths[i, pick]), 'character')}"
        about += f", reward {number(evidence.rewards[i, pick])}"
        gold = ""
        if evidence.gold is not None:
            gold = tag("div", f"gold {number(evidence.gold[i, pick])}", class_="gold")
        cells.append(join([gold, text, tag("div", about, class_="muted small")]))
    return cells
