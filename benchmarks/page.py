"""Write the tables of the research record, and of "Does it help?", from the results.

::

    python -m benchmarks.page

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; all else is written by hand.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from lens_sklearn._demo import markdown_table

from .cells import difference_cell, in_order, multiplier_cell
from .cost import core_hours, median_seconds
from .curves import best_baseline, interval, multipliers, values_of
from .methods import BASELINES, TUNED, title_of
from .records import RESULTS, read_records
from .suites import SUITES

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "research" / "results.md", DOCS / "research" / "cost.md")
COSTS = (("alpaca_384", 200), ("alpaca_384", 2000), ("alpaca_3840", 200), ("alpaca_3840", 2000))
MARKED = re.compile(r"(<!-- table: (.+?) -->).*?(<!-- end -->)", re.DOTALL)
#: Of the summary: methods, and data sets by what it calls them, each with an N.
SUMMARY = (
    *("repeat 4x, zero output", "LENS 4x, zero output"),
    *("GP", "distillation", "GP, unlabelled", "distillation, unlabelled"),
)
SUMMARY_SETTINGS = (
    ("alpaca_384", "MiniLM, d = 384", 100),
    ("alpaca_384", "MiniLM, d = 384", 1000),
    ("alpaca_3840", "MiniLM, d = 3840", 100),
    ("alpaca_mpnet", "mpnet, d = 768", 100),
    ("hh_3840", "human labels, d = 3840", 100),
)
DECIMALS = {"accuracy": 3, "gold": 2}
TITLES = {"accuracy": "pair accuracy", "gold": "gold of the pick"}

CONTROL = "repeat 4x, zero output"
BEST_OF_EACH = "best of each embedding"
PROBES = {
    "kept": "kept of training responses",
    "kept_difference": "of training differences",
    "test_kept": "of test responses",
    "test_kept_difference": "of test differences",
    "accuracy_of_kept": "accuracy on reconstructions",
    "head": "prefers the head",
}


def curve_table(records, metric):
    """Write the means of a dataset's curves; the best un-augmented model at a size is in italics.

    Parameters
    ----------
    records : list of dict
        Results on the dataset.
    metric : str
        Which number.

    Returns
    -------
    str
        Markdown: a row a method, a column a size.
    """
    sizes, values = values_of(records, metric)
    best = [best_baseline(values, BASELINES, i) for i in range(len(sizes))]
    digits = DECIMALS[metric]

    def cell(method, i):
        if _lacks(values, method, i):
            return ""
        mean = f"{np.nanmean(values[method][i]):.{digits}f}"
        if method == best[i]:
            return f"*{mean}*"
        if method in BASELINES or best[i] is None:
            return mean
        return f"{mean} ({_signed(values[method][i] - values[best[i]][i], digits)})"

    return _table(TITLES[metric], sizes, in_order(values), cell)


def multiplier_table(records, metric, baselines=BASELINES):
    """Write the data multipliers of a dataset.

    Parameters
    ----------
    records : list of dict
        Results on the dataset.
    metric : str
        By which number.
    baselines : sequence of str, default=BASELINES
        The un-augmented models; at each size the best by mean is what is compared to.

    Returns
    -------
    str
        Markdown: a row a method, a column a size.
    """
    sizes, values = values_of(records, metric)

    compared = [m for m in in_order(values) if m not in BASELINES]
    found = multipliers(sizes, values, compared, baselines)

    def cell(method, i):
        return multiplier_cell(found[method, i], 1) if (method, i) in found else ""

    return _table(f"multiplier by {metric}", sizes, compared, cell)


def repairs_table(records, metric):
    """Write what repairs of LENS differ in from the originals repeated, a column a setting.

    Parameters
    ----------
    records : list of dict
        Results of the suite "why".
    metric : str
        Which number.

    Returns
    -------
    str
        Markdown.
    """
    methods = [m for m in in_order(r["method"] for r in records) if m != CONTROL]
    header, columns = [], []
    for dataset, n in _settings(records):
        chosen = [r for r in records if (r["dataset"], r["n_pairs"]) == (dataset, n)]
        _, values = values_of(chosen, metric)
        if CONTROL not in values or "LENS 4x, residual" not in values:
            continue
        header.append(f"{dataset}, N = {n}")
        differences = [values[m][0] - values[CONTROL][0] if m in values else None for m in methods]
        columns.append(["" if d is None else _signed(d, DECIMALS[metric]) for d in differences])
    rows = zip(map(title_of, methods), *columns, strict=True)
    return markdown_table([TITLES[metric], *header], [list(row) for row in rows])


def probe_table(records):
    """Write what reconstructions keep and what the reward makes of the heads.

    Parameters
    ----------
    records : list of dict
        Results of the suite "why".

    Returns
    -------
    str
        Markdown: means over splits, a row a setting and autoencoder.
    """
    rows = []
    probed = [r for r in records if "head" in r.get("details", {})]
    for dataset, n in _settings(probed):
        for method in in_order(r["method"] for r in probed):
            found = [
                r["details"]
                for r in probed
                if (r["dataset"], r["n_pairs"], r["method"]) == (dataset, n, method)
            ]
            if found:
                means = (f"{np.mean([f[name] for f in found]):.2f}" for name in PROBES)
                title = f"{dataset}, N = {n}: {title_of(method)}"
                rows.append([title, *(_minus(mean) for mean in means)])
    return markdown_table(["", *PROBES.values()], rows)


def blocks_table(records, metric):
    """Write what is gained on embeddings that no setting was chosen on.

    Parameters
    ----------
    records : list of dict
        Results of the suite "blocks".
    metric : str
        Which number.

    Returns
    -------
    str
        Markdown: differences to un-augmented models, and to that which is the best by mean on
        each embedding, averaged over embeddings before the interval over splits, and the lowest
        mean of an embedding.
    """
    values = {}  # by source and N, embedding, and method: one for each split
    for dataset, n in _settings(records):
        chosen = [r for r in records if (r["dataset"], r["n_pairs"]) == (dataset, n)]
        sizes, found = values_of(chosen, metric)
        if len(sizes):
            best = found[best_baseline(found, BASELINES, 0)]
            embeddings = values.setdefault((dataset.split("_")[0], n), {})
            embeddings[dataset] = {m: v[0] for m, v in found.items()} | {BEST_OF_EACH: best[0]}
    rows, shown = [], _compared(records)
    for (source, n), embeddings in values.items():
        there = set.intersection(*(set(found) for found in embeddings.values()))
        for rival in (r for r in (BEST_OF_EACH, *BASELINES) if r in there):
            cells = [
                _over_embeddings(embeddings, method, rival, DECIMALS[metric])
                if method in there
                else ""
                for method in shown
            ]
            rows.append([f"{source}, N = {n}: {title_of(rival)}", *cells])
    header = [f"{TITLES[metric]}, against", *map(title_of, shown)]
    return markdown_table(header, rows)


def _compared(records):
    """Return the methods that were run and are no baseline."""
    return [m for m in in_order(r["method"] for r in records) if m not in BASELINES]


def _over_embeddings(embeddings, method, rival, digits):
    differences = {name: found[method] - found[rival] for name, found in embeddings.items()}
    worst = min(differences, key=lambda name: np.nanmean(differences[name]))
    mean = _signed(np.mean(list(differences.values()), axis=0), digits)
    lowest = _minus(f"{np.nanmean(differences[worst]):+.{digits}f}")
    return f"{mean}; {lowest} ({worst.split('_')[1]})"


def settings_table(records, metric):
    """Write what is gained on each embedding over its best un-augmented model.

    Parameters
    ----------
    records : list of dict
        Results of the suite "lsa" or "text".
    metric : str
        Which number.

    Returns
    -------
    str
        Markdown: a row a dataset and size.
    """
    rows, digits = [], DECIMALS[metric]
    shown = _compared(records)
    for dataset, n in _settings(records):
        chosen = [r for r in records if (r["dataset"], r["n_pairs"]) == (dataset, n)]
        sizes, found = values_of(chosen, metric)
        if not len(sizes):
            continue
        best = best_baseline(found, BASELINES, 0)
        cells = [_signed(found[m][0] - found[best][0], digits) if m in found else "" for m in shown]
        mean = _minus(f"{np.nanmean(found[best][0]):.{digits}f}")
        rows.append([f"{dataset}, N = {n}", f"{mean} ({title_of(best)})", *cells])
    header = [TITLES[metric], "best un-augmented", *map(title_of, shown)]
    return markdown_table(header, rows)


def summary_table(records):
    """Write what a few methods gain in accuracy over the best un-augmented model.

    Parameters
    ----------
    records : list of dict
        Results of the suites "curves" and "mpnet".

    Returns
    -------
    str
        Markdown: a row a method of `SUMMARY`, a column a data set and N.
    """
    rows = {method: [title_of(method)] for method in SUMMARY}
    header = ["pair accuracy", *(f"{title}, N = {n}" for _, title, n in SUMMARY_SETTINGS)]
    first = ["best un-augmented model"]
    for dataset, _, n in SUMMARY_SETTINGS:
        chosen = [r for r in records if (r["dataset"], r["n_pairs"]) == (dataset, n)]
        _, found = values_of(chosen, "accuracy")
        best = found[best_baseline(found, BASELINES, 0)][0]
        first.append(f"{np.nanmean(best):.3f}")
        for method, row in rows.items():
            row.append(_signed(found[method][0] - best, 3) if method in found else "")
    return markdown_table(header, [first, *rows.values()])


def seconds_table(records):
    """Write what a fit takes.

    Parameters
    ----------
    records : list of dict
        Results of the suite "curves".

    Returns
    -------
    str
        Markdown: a row a method, a column of `COSTS` each.
    """
    known = median_seconds(records)

    def cell(method, dataset, n_pairs):
        seconds = known.get((dataset, n_pairs, method))
        return "" if seconds is None else f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"

    methods = in_order(r["method"] for r in records)
    rows = [[title_of(m), *(cell(m, *setting) for setting in COSTS)] for m in methods]
    return markdown_table(["seconds", *(f"{d}, N = {n}" for d, n in COSTS)], rows)


def hours_table(records):
    """Write what the two suites of learning curves take.

    Parameters
    ----------
    records : list of dict
        Results of the suite "curves".

    Returns
    -------
    str
        Markdown: a row a suite, a column a dataset.
    """
    rows = []
    for name in ("headline", "curves"):
        cells = SUITES[name]()
        sets = list(dict.fromkeys(c.dataset for c in cells))
        hours = [core_hours([c for c in cells if c.dataset == d], records) for d in sets]
        rows.append([f"`{name}`", *(f"{h:.1f}" for h in (*hours, sum(hours)))])
    return markdown_table(["core hours", *sets, "all"], rows)


def _settings(records):
    return dict.fromkeys((r["dataset"], r["n_pairs"]) for r in records)


def _lacks(values, method, i):
    return method not in values or np.isnan(values[method][i]).all()


def _signed(differences, digits):
    return _minus(difference_cell(interval(differences), digits))


def _minus(text):
    return text.replace("-", "−")


def _table(title, sizes, methods, cell):
    rows = [[title_of(m), *(_minus(cell(m, i)) for i in range(len(sizes)))] for m in methods]
    return markdown_table([title, *(f"N = {n}" for n in sizes)], rows)


def table(name, results):
    """Write the table of a name.

    Parameters
    ----------
    name : str
        "DATASET, METRIC", "DATASET, multiplier by METRIC", the same with "tuned multiplier",
        "why, METRIC", "why, probes", "blocks, METRIC", "lsa, METRIC", "text, METRIC",
        "cost, seconds", "cost, hours" or "summary, accuracy".
    results : dict of str to list of dict
        Results of the suites "curves", "why", "blocks", "lsa", "text" and "mpnet".

    Returns
    -------
    str
        Markdown.
    """
    subject, what = name.split(", ", 1)
    if subject == "summary":
        return summary_table(results["curves"] + results["mpnet"])
    if subject == "why":
        why = results["why"]
        return probe_table(why) if what == "probes" else repairs_table(why, what)
    if subject in ("blocks", "lsa", "text"):
        write = blocks_table if subject == "blocks" else settings_table
        return write(results[subject], what)
    if subject == "cost":
        return (hours_table if what == "hours" else seconds_table)(results["curves"])
    curves = results["curves"] + results.get("mpnet", [])
    records = [r for r in curves if r["dataset"] == subject]
    if not records:
        raise ValueError(f"table {name!r}: there are no results of {subject!r}.")
    kind, by, metric = what.rpartition("multiplier by ")
    if by:
        return multiplier_table(records, metric, TUNED if kind == "tuned " else BASELINES)
    return curve_table(records, what)


def rendered(text, folder=RESULTS):
    """Make the tables of a page anew.

    Parameters
    ----------
    text : str
        The page.
    folder : Path, default=RESULTS
        Where the results are.

    Returns
    -------
    str
        The page with other tables and the same text.
    """
    suites = ("curves", "why", "blocks", "lsa", "text", "mpnet")
    results = {name: read_records(folder / f"{name}.jsonl") for name in suites}
    return MARKED.sub(lambda m: f"{m[1]}\n\n{table(m[2], results)}\n\n{m[3]}", text)


def parser():
    """Return the parser of the command line."""
    return argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__.splitlines()[0]
    )


def main(argv=None):
    """Write the pages."""
    parser().parse_args(argv)
    for path in PAGES:
        path.write_text(rendered(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
