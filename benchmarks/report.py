"""Tables in Markdown and figures from the results of ``benchmarks.run``.

::

    python -m benchmarks.report --suite curves             # tables alone
    python -m benchmarks.report --suite curves -o FOLDER   # figures too

Differences are paired by split, with 95 % Student intervals over splits. A star marks those
that hold at the 5 % level after Holm's correction for all methods and sizes of a dataset.
What a method does stands in ``benchmarks/methods``.
"""

import argparse
import sys
import tomllib
from numbers import Real
from pathlib import Path

import numpy as np

from lens_sklearn._demo import markdown_table
from lens_sklearn._statistics import holm

from . import embedders
from .cells import difference_cell, in_order, multiplier_cell
from .curves import best_baseline, interval, multipliers, values_of
from .figures import FIGURES, learning_curves
from .methods import BASELINES, ORIGINAL
from .objective import METRICS
from .records import RESULTS, RUN, read_records
from .suites import SUITES

BEST = "best tuned"
#: What a suite's methods are compared with.
RIVALS = {"why": ("repeat 4x, zero output", "LENS 4x, probed")}
#: Suites whose tables are others.
TABLES = {
    "embedders": embedders.tables,
    "embedders_full": embedders.tables,
    "embedders_quick": embedders.tables,
    "layers": embedders.layer_tables,
}
INTRODUCTION = __doc__[__doc__.index("Differences") :].strip()
FINDINGS = Path(__file__).parent / "findings.toml"


def report(name, records, folder=None):
    """Write the tables of a suite and draw its figures.

    Parameters
    ----------
    name : str
        The suite.
    records : list of dict
        Its results.
    folder : Path, default=None
        Where figures go; None draws none.

    Returns
    -------
    str
        Markdown.
    """
    parts = [f"## {name}", *_findings(name)]
    if name in TABLES:
        parts += TABLES[name](records)
    for dataset in dict.fromkeys(r["dataset"] for r in records if name not in TABLES):
        chosen = [r for r in records if r["dataset"] == dataset]
        if learning_curves in FIGURES.get(name, {}).values():
            parts += multiplier_tables(chosen, dataset)
        found = comparisons(chosen, RIVALS.get(name, (ORIGINAL, BEST)))
        for n_pairs in sorted({r["n_pairs"] for r in chosen}):
            parts.append(size_table(chosen, dataset, n_pairs, found))
    if name not in TABLES and any("details" in r for r in records):
        parts.append(details_table(records))
    for title, draw in FIGURES.get(name, {}).items() if folder else ():
        for path in draw(records, folder):
            parts.append(f"![{title}]({path.name})")
    return "\n\n".join([part for part in parts if part] + [provenance_line(records)])


def comparisons(records, titles=(ORIGINAL, BEST)):
    """Compare every method with some, such as the original and the best un-augmented model.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.
    titles : sequence of str, default=("original", "best tuned")
        Methods, or "best tuned" for the un-augmented model that is best at a size.

    Returns
    -------
    dict of (metric, title, N) to (rival, dict of method to str)
        The paired differences as cells, starred if they hold after Holm's correction for all
        methods and sizes that are compared by the same metric with the same kind of rival.
    """
    cells = {}
    for metric in METRICS:
        if not any(metric in r for r in records):
            continue
        sizes, values = values_of(records, metric)
        for title in titles:
            found, rivals = {}, {}
            for i, n in enumerate(sizes):
                rival = best_baseline(values, BASELINES, i) if title == BEST else title
                if rival not in values or np.isnan(values[rival][i]).all():
                    continue
                rivals[n] = rival
                for method in values:
                    if method != rival and not np.isnan(values[method][i]).all():
                        found[n, method] = interval(values[method][i] - values[rival][i])
            adjusted = holm([d.p for d in found.values()])
            for n, rival in rivals.items():
                cells[metric, title, n] = (
                    rival,
                    {
                        method: difference_cell(d) + ("\\*" if p < 0.05 else "")
                        for (at, method), d, p in zip(found, found.values(), adjusted, strict=True)
                        if at == n
                    },
                )
    return cells


def size_table(records, dataset, n_pairs, compared):
    """Write the table of one dataset at one size.

    Parameters
    ----------
    records : list of dict
        Results on the dataset.
    dataset : str
        Its name.
    n_pairs : int
        N.
    compared : dict
        From `comparisons`.

    Returns
    -------
    str
        Means, and differences to what they were compared with where that was run.
    """
    chosen = [r for r in records if r["n_pairs"] == n_pairs]
    methods = in_order(r["method"] for r in chosen)
    columns, header, notes = [methods], ["method"], []
    for metric in METRICS:
        if not any(metric in r for r in chosen):
            continue
        _, values = values_of(chosen, metric)
        columns.append([f"{np.nanmean(values[m]):.3f}" for m in methods])
        header.append(metric)
        for title in dict.fromkeys(title for _, title, _ in compared):
            rival, cells = compared.get((metric, title, n_pairs), (None, None))
            if rival:
                columns.append([cells.get(m, "") for m in methods])
                header.append(f"against {title}")
            if rival and title == BEST:
                notes.append(f"{BEST} by {metric}: {rival}")
        if metric == "gold":
            notes += [f"{k} {np.mean([r[k] for r in chosen]):.2f}" for k in ("random", "oracle")]
    seconds = {m: [r["seconds"] for r in chosen if r["method"] == m] for m in methods}
    columns.append([f"{np.mean(seconds[m]):.1f}" for m in methods])
    title = f"### {dataset}, N = {n_pairs}, {len({r['seed'] for r in chosen})} splits"
    table = markdown_table([*header, "seconds"], [list(row) for row in zip(*columns, strict=True)])
    return "\n\n".join([title, table, *(["; ".join(notes) + "."] if notes else [])])


def multiplier_tables(records, dataset):
    """Write the data multiplier of every method at every size, a table a metric.

    Parameters
    ----------
    records : list of dict
        Results on the dataset.
    dataset : str
        Its name.

    Returns
    -------
    list of str
        Tables; none without a tuned un-augmented model at two sizes.
    """
    tables = []
    for metric in METRICS:
        if not any(metric in r for r in records):
            continue
        sizes, values = values_of(records, metric)
        base = [m for m in BASELINES if m in values]
        if not base or len(sizes) < 2:
            continue
        found = multipliers(sizes, values, values, base)
        rows = [
            [
                m,
                *(
                    multiplier_cell(found[m, i]) if (m, i) in found else ""
                    for i in range(len(sizes))
                ),
            ]
            for m in in_order(values)
        ]
        title = f"### {dataset}: data multiplier by {metric}"
        tables += [title, markdown_table(["method", *(f"N = {n}" for n in sizes)], rows)]
    return tables


def details_table(records):
    """Average what methods kept beside their results.

    Parameters
    ----------
    records : list of dict
        Results.

    Returns
    -------
    str
        A row a dataset, size and method.
    """
    rows, keys = {}, {}
    for r in records:
        numbers = {k: v for k, v in r.get("details", {}).items() if isinstance(v, Real)}
        if numbers:
            rows.setdefault((r["dataset"], r["n_pairs"], r["method"]), []).append(numbers)
            keys |= dict.fromkeys(numbers)
    cells = [
        [f"{method}, {dataset}, N = {n}"]
        + [_number(np.mean([f[k] for f in found if k in f] or [np.nan])) for k in keys]
        for (dataset, n, method), found in rows.items()
    ]
    return "\n\n".join(["### Details, means over splits", markdown_table(["method", *keys], cells)])


def _number(value):
    return "" if np.isnan(value) else f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def provenance_line(records):
    """Say where the numbers come from.

    Parameters
    ----------
    records : list of dict
        Results.

    Returns
    -------
    str
        Versions, commits, machines and time.
    """
    parts = [
        f"{key} {' / '.join(sorted({r[key] for r in records if key in r}))}"
        for key in RUN
        if any(key in r for r in records)
    ]
    hours = sum(r["seconds"] for r in records) / 3600
    return (
        f"{len(records)} results, {hours:.2f} core hours; splits are seeds 0 to "
        f"{max(r['seed'] for r in records)}; " + ", ".join(parts) + "."
    )


def _findings(name):
    found = tomllib.loads(FINDINGS.read_text(encoding="utf-8")).get(name, {})
    lines = [f"*{title}:* {found[key]}" for key, title in _TITLES.items() if found.get(key)]
    return ["  \n".join(lines)] if lines else []


_TITLES = {"paper": "The paper", "seen": "Here", "sentence": "In a sentence"}


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--suite", nargs="+", choices=list(SUITES), help="default: all with results"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with *.jsonl")
    parser.add_argument("-o", "--output", type=Path, help="folder for report.md and its figures")
    return parser


def main(argv=None):
    """Read the command line and print the report; write it with its figures where asked to."""
    command = parser()
    args = command.parse_args(argv)
    wanted = args.suite or [s for s in SUITES if (args.results / f"{s}.jsonl").exists()]
    if not wanted:
        command.error(f"{args.results} has no results; run benchmarks.run first")
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
    texts = []
    for name in wanted:
        records = read_records(args.results / f"{name}.jsonl")
        if not records:
            command.error(f"{args.results} has no results of {name}; run benchmarks.run first")
        texts.append(report(name, records, args.output))
    text = "\n\n".join(["# Results of the benchmark", INTRODUCTION, *texts]) + "\n"
    if args.output:
        (args.output / "report.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
