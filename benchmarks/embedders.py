"""The tables of the suite ``embedders``: every claim on every embedder, and twice.

What is recommended is held against the best single rival at each N on each data set, and
averaged over data sets: splits of the same seed are averaged first, since those of one source
share their prompts. All is told on all pairs and on pairs of like lengths, beside the shortcuts.
"""

import numpy as np

from lens_sklearn._demo import markdown_table

from .cells import difference_cell, in_order, multiplier_cell
from .curves import best_baseline, interval, multipliers, values_of
from .figures import pooled_bins
from .methods import BASELINES, METHODS, title_of

TITLES = {
    "accuracy": "pair accuracy",
    "gold": "gold of the pick",
    "accuracy_matched": "pair accuracy, lengths alike",
    "accuracy_shorter": "pair accuracy, the shorter one better",
}
DIGITS = {"gold": 2}
#: What claims are made by.
CLAIMS = ("accuracy", "gold", "accuracy_matched")
RECOMMENDED = ("auto", "auto, unlabelled")
#: Of probabilities: log loss beyond that of the best slope, and calibration error.
MOST_EXCESS, MOST_ERROR = 0.01, 0.06
SHORTCUT_SIZE = 300
LEGEND = (
    "Against rivals: the rival with the best mean is chosen at each N of a data set after the "
    "fact. Bold is below it beyond the 95 % interval of this one difference, an arrow above it. "
    "Averages are taken over data sets split by split, of splits that all of them have."
)


def tables(records):
    """Write the tables of the suite.

    Parameters
    ----------
    records : list of dict
        Its results.

    Returns
    -------
    list of str
        Markdown.
    """
    parts = [LEGEND]
    for method in RECOMMENDED:
        for rivals, title in ((rivals_of(method), "single rival"), (shortcuts(), "shortcut")):
            for metric in CLAIMS:
                parts += rival_table(records, method, rivals, title, metric)
    for dataset, chosen in _by_dataset(records):
        parts.append(f"### {dataset}")
        for metric in CLAIMS:
            parts += mean_table(chosen, metric)
        for metric in ("accuracy", "accuracy_matched"):
            parts += multiplier_table(chosen, metric)
        parts += shortcut_table(chosen)
        parts += calibration_table(chosen)
    return parts


def rivals_of(method):
    """Return what a recommended method is to be no worse than.

    Parameters
    ----------
    method : str
        One of ``RECOMMENDED``.

    Returns
    -------
    list of str
        Single models; those that read unlabelled responses only if the method does.
    """
    unlabeled = METHODS[method].unlabeled
    return [
        name
        for name, m in METHODS.items()
        if name not in RECOMMENDED and not m.shortcut and (unlabeled or not m.unlabeled)
    ]


def shortcuts():
    """Return the names of what learns nothing."""
    return [name for name, m in METHODS.items() if m.shortcut]


def rival_table(records, method, rivals, title, metric):
    """Write the paired differences of a method to its best rival, which is in brackets.

    Parameters
    ----------
    records : list of dict
        Results on several datasets.
    method : str
        Which one.
    rivals : list of str
        Methods, of which the best by mean at each N of a dataset counts.
    title : str
        What rivals are called.
    metric : str
        Which number.

    Returns
    -------
    list of str
        A title, a table with a row a dataset and averages over those of a source and over all,
        and a count; nothing where the method or its rivals were not run.
    """
    differences, best = rival_differences(records, method, rivals, metric)
    if not differences:
        return []
    sizes = sorted({n for by_size in differences.values() for n in by_size})
    digits, rows, below = DIGITS.get(metric, 3), [], []
    for dataset, by_size in differences.items():
        row = [dataset]
        for n in sizes:
            if n not in by_size:
                row.append("")
                continue
            found = interval(by_size[n])
            is_below = found.mean + found.half_width < 0
            below += [f"{dataset} at N = {n}"] if is_below else []
            row.append(f"{_marked(found, digits)} ({title_of(best[dataset, n])})")
        rows.append(row)
    rows += _averages(differences, sizes, digits)
    n_settings = sum(map(len, differences.values()))
    verdict = f"Below the best {title} beyond the interval in {len(below)} of {n_settings} settings"
    return [
        f"### {title_of(method)} against the best {title}: {TITLES[metric]}",
        markdown_table(["data set", *(f"N = {n}" for n in sizes)], rows),
        verdict + (": " if below else "") + "; ".join(below) + ".",
    ]


def rival_differences(records, method, rivals, metric):
    """Return the differences of a method to its best rivals.

    Parameters
    ----------
    records, method, rivals, metric
        As of `rival_table`.

    Returns
    -------
    differences : dict of str to dict of int to ndarray, shape (n_seeds,)
        By dataset and N; the seeds are the same everywhere, NaN where one was not run.
    best : dict of (str, int) to str
        The rival by dataset and N.
    """
    seeds = sorted({r["seed"] for r in records})
    differences, best = {}, {}
    for dataset, chosen in _by_dataset(records):
        sizes, values = values_of(chosen, metric, seeds)
        for i, n in enumerate(sizes):
            rival = best_baseline(values, rivals, i)
            if rival is None or method not in values or np.isnan(values[method][i]).all():
                continue
            differences.setdefault(dataset, {})[int(n)] = values[method][i] - values[rival][i]
            best[dataset, int(n)] = rival
    return differences, best


def _averages(differences, sizes, digits):
    """Average over datasets, split by split, and then over splits."""
    sources = dict.fromkeys(dataset.split("_")[0] for dataset in differences)
    groups = {f"average of {s}": [d for d in differences if d.split("_")[0] == s] for s in sources}
    rows = []
    for name, datasets in (groups | {"average of all": list(differences)}).items():
        row = [name]
        for n in sizes:
            there = [differences[d][n] for d in datasets if n in differences[d]]
            row.append(_marked(interval(np.mean(there, axis=0)), digits) if there else "")
        rows.append(row)
    return rows


def _marked(difference, digits):
    """Write a difference, bold where it is below 0 beyond its interval, an arrow where above."""
    cell = difference_cell(difference, digits).replace("-", "−")
    if difference.mean + difference.half_width < 0:
        return f"**{cell}**"
    return cell + (" ↑" if difference.mean - difference.half_width > 0 else "")


def mean_table(records, metric):
    """Write the means of all methods at all N.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.
    metric : str
        Which number.

    Returns
    -------
    list of str
        A table, or nothing without such results.
    """
    sizes, values = values_of(records, metric)
    digits = DIGITS.get(metric, 3)

    def cell(method, i):
        mean = interval(values[method][i]).mean
        return "" if np.isnan(mean) else f"{mean:.{digits}f}".replace("-", "−")

    return _table(TITLES[metric], sizes, values, cell)


def multiplier_table(records, metric):
    """Write the data multipliers of all methods at all N.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.
    metric : str
        Which number.

    Returns
    -------
    list of str
        A table, or nothing without an un-augmented model at two sizes.
    """
    sizes, values = values_of(records, metric)
    base = [m for m in BASELINES if m in values]
    if not base or len(sizes) < 2:
        return []
    found = multipliers(sizes, values, values, base)

    def cell(method, i):
        return multiplier_cell(found[method, i], 1) if (method, i) in found else ""

    return _table(f"data multiplier by {TITLES[metric]}", sizes, values, cell)


def shortcut_table(records):
    """Write what is left of each method where length does not help, beside the shortcuts.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.

    Returns
    -------
    list of str
        A table at the N nearest to ``SHORTCUT_SIZE``.
    """
    n_pairs = min({r["n_pairs"] for r in records}, key=lambda n: (abs(n - SHORTCUT_SIZE), n))
    chosen = [r for r in records if r["n_pairs"] == n_pairs]
    metrics = [m for m in TITLES if any(m in r for r in chosen)]

    def cell(method, metric):
        found = [r[metric] for r in chosen if r["method"] == method and metric in r]
        digits = DIGITS.get(metric, 3)
        return f"{np.mean(found):.{digits}f}".replace("-", "−") if found else ""

    rows = [[title_of(m), *(cell(m, k) for k in metrics)] for m in in_order(_methods(chosen))]
    return [markdown_table([f"N = {n_pairs}", *(TITLES[m] for m in metrics)], rows)]


def calibration_table(records):
    """Write how well log-odds are probabilities.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.

    Returns
    -------
    list of str
        A table of log loss, the same at the best slope in hindsight, and calibration error, with
        that of all splits' bins together where they were kept, and where what is recommended
        misses its targets; nothing without such results.
    """
    records = [r for r in records if "ece" in r]
    if not records:
        return []
    found = [values_of(records, m) for m in ("log_loss", "log_loss_best_slope", "ece")]
    sizes, missed = found[0][0], []

    def cell(method, i):
        loss, best, error = (interval(values[method][i]).mean for _, values in found)
        if np.isnan(loss):
            return ""
        excess = round(loss - best, 5)  # as exact as results are
        if method in RECOMMENDED and (excess > MOST_EXCESS or error > MOST_ERROR):
            missed.append(f"{method} at N = {sizes[i]}")
        pooled = pooled_error(records, method, sizes[i])
        cell = f"{loss:.3f} / {best:.3f} / {error:.3f}"
        return cell if pooled is None else f"{cell}, pooled {pooled:.3f}"

    title = "log loss / at the best slope / calibration error"
    parts = _table(title, sizes, found[0][1], cell)
    targets = f"More than {MOST_EXCESS} beyond the best slope, or an error above {MOST_ERROR}: "
    return [*parts, targets + "; ".join(missed) + "."] if missed else parts


def pooled_error(records, method, n_pairs):
    """Return the calibration error of the bins of all splits together.

    A split's own error counts the noise of its bins, of which a few hundred test pairs have as much
    as the targets allow.

    Parameters
    ----------
    records : list of dict
        Results on one dataset.
    method : str
        Which one.
    n_pairs : int
        N.

    Returns
    -------
    float or None
        None where no bins were kept.
    """
    kept = [r for r in records if (r["method"], r["n_pairs"]) == (method, n_pairs)]
    kept = [r for r in kept if "reliability" in r]
    if not kept:
        return None
    counts, predicted, observed = pooled_bins(kept)
    return float(np.abs(predicted - observed).sum() / counts.sum())


def layer_tables(records):
    """Write at which layer and pooling a decoder is best read.

    Parameters
    ----------
    records : list of dict
        Results of the suite ``layers``.

    Returns
    -------
    list of str
        Tables of a source and metric each: a row a layer, a column a pooling and N.
    """
    found, parts = {}, []
    for r in records:
        source, embedder = r["dataset"].split("_", 1)
        name = embedder.rpartition("_")[2]
        pooling = name.rstrip("0123456789")
        key = source, int(name.removeprefix(pooling)), pooling, r["n_pairs"]
        found.setdefault(key, []).append(r)
    for source in dict.fromkeys(key[0] for key in found):
        own = {key[1:]: rs for key, rs in found.items() if key[0] == source}
        columns = sorted({key[1:] for key in own})
        for metric in CLAIMS:
            if not any(metric in r for rs in own.values() for r in rs):
                continue
            digits = DIGITS.get(metric, 3)
            rows = [
                [
                    str(layer),
                    *(
                        f"{np.mean([r[metric] for r in own[layer, *at]]):.{digits}f}"
                        if (layer, *at) in own
                        else ""
                        for at in columns
                    ),
                ]
                for layer in sorted({key[0] for key in own})
            ]
            header = [f"{TITLES[metric]}, layer", *(f"{p}, N = {n}" for p, n in columns)]
            parts += [f"### {source}: {TITLES[metric]}", markdown_table(header, rows)]
    return parts


def _table(title, sizes, values, cell):
    if not len(sizes):
        return []
    methods = in_order(values)
    rows = [[title_of(m), *(cell(m, i) for i in range(len(sizes)))] for m in methods]
    return [markdown_table([title, *(f"N = {n}" for n in sizes)], rows)]


def _methods(records):
    return dict.fromkeys(r["method"] for r in records)


def _by_dataset(records):
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        yield dataset, [r for r in records if r["dataset"] == dataset]
