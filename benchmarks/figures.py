"""Figures of the report, one function a suite; each returns the files that it wrote."""

import numpy as np

from .curves import best_baseline, interval, values_of
from .methods import BASELINES, METHODS, ORIGINAL
from .objective import METRICS

LABELS = {
    "accuracy": "pair accuracy",
    "gold": "gold reward of the pick",
    "accuracy_matched": "pair accuracy, lengths alike",
}
#: The paper's settings: symbol, and the suite whose figure is over it.
SETTINGS = {"γ": "figure2", "σ²": "figure2", "β": "figure4"}


def learning_curves(records, folder):
    """Draw the learning curves of each dataset, and the differences to the best tuned model.

    Parameters
    ----------
    records : list of dict
        Results of the suite ``curves``.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        A file a dataset.
    """
    paths = []
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        chosen = [r for r in records if r["dataset"] == dataset]
        metrics = [m for m in LABELS if any(m in r for r in chosen)]
        figure, axes = _subplots(2, len(metrics), figsize=(5 * len(metrics), 7), sharex=True)
        for (top, bottom), metric in zip(axes.T, metrics, strict=True):
            sizes, values = values_of(chosen, metric)
            _curves(top, sizes, values)
            top.set_ylabel(LABELS[metric])
            _curve_differences(bottom, sizes, values)
            bottom.set_ylabel("against the best\nun-augmented model")
            bottom.set_xlabel("pairs N")
        handles = axes[0, 0].get_legend_handles_labels()
        n_columns = 2 if axes.shape[1] == 1 else 6  # as many names as stand beside each other
        figure.legend(*handles, loc="outside lower center", ncols=n_columns, fontsize=8)
        figure.suptitle(dataset)
        paths.append(_save(figure, folder / f"curves_{dataset}.png"))
    return paths


def _curves(axis, sizes, values):
    for method in values:
        style = _style(method)
        if style:
            means = np.array([interval(row).mean for row in values[method]])
            there = ~np.isnan(means)
            axis.plot(sizes[there], means[there], marker="o", markersize=3, label=method, **style)
    _log_sizes(axis, sizes)


def _style(method):
    """Return how a method declares that its curve is drawn; None leaves it out."""
    return METHODS[method].style if method in METHODS else None


def _curve_differences(axis, sizes, values):
    best = [best_baseline(values, BASELINES, i) for i in range(len(sizes))]
    axis.axhline(0, color="black", linewidth=1)
    shown = [m for m in values if _style(m) and m not in BASELINES]
    for j, method in enumerate(shown):
        found = [
            interval(values[method][i] - values[b][i]) if b else interval(np.array([]))
            for i, b in enumerate(best)
        ]
        style = {key: _style(method).get(key) for key in ("color", "linestyle")}
        axis.errorbar(
            sizes * 1.03 ** (j - len(shown) / 2),  # side by side
            [d.mean for d in found],
            [d.half_width for d in found],
            marker="o",
            markersize=3,
            capsize=2,
            label=method,
            **style,
        )


def reliability(records, folder):
    """Draw how often pairs come true over what a method says of them, a file a dataset.

    Parameters
    ----------
    records : list of dict
        Results, some of which kept bins.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        A file a dataset; its bins are those of all splits together.
    """
    paths = []
    kept = [r for r in records if "reliability" in r]
    for dataset in dict.fromkeys(r["dataset"] for r in kept):
        chosen = [r for r in kept if r["dataset"] == dataset]
        sizes = sorted({r["n_pairs"] for r in chosen})
        figure, axes = _subplots(1, len(sizes), figsize=(5 * len(sizes), 4.5), sharey=True)
        for axis, n_pairs in zip(axes[0], sizes, strict=True):
            _diagram(axis, [r for r in chosen if r["n_pairs"] == n_pairs])
            axis.set_title(f"N = {n_pairs}")
            axis.set_xlabel("probability that the first response wins")
        axes[0, 0].set_ylabel("share of pairs where it does")
        figure.suptitle(dataset)
        paths.append(_save(figure, folder / f"reliability_{dataset}.png"))
    return paths


def _diagram(axis, records):
    axis.plot([0, 1], [0, 1], color="black", linewidth=1)
    for method in dict.fromkeys(r["method"] for r in records):
        counts, predicted, observed = pooled_bins([r for r in records if r["method"] == method])
        there = counts > 0
        error = np.abs(predicted - observed).sum() / counts.sum()
        axis.plot(
            predicted[there] / counts[there],
            observed[there] / counts[there],
            marker="o",
            markersize=3,
            label=f"{method}, ECE {error:.3f}",
            **_style(method) or {},
        )
    axis.legend(fontsize=7)


def pooled_bins(records):
    """Add the bins of several splits.

    Parameters
    ----------
    records : list of dict
        Results of one method at one size.

    Returns
    -------
    ndarray, shape (3, n_bins)
        Counts, and sums of probabilities and of wins.
    """
    return np.sum([r["reliability"] for r in records], axis=0)


def settings(records, folder):
    """Draw the differences to the original over each setting that a suite varies.

    Parameters
    ----------
    records : list of dict
        Results of the suites ``figure2`` or ``figure4``.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        One file.
    """
    varied = [r for r in records if len(_settings(r["method"])) == 1]
    symbols = [s for s in SETTINGS if any(s in _settings(r["method"]) for r in varied)]
    name = SETTINGS[symbols[0]]
    symbols += ["N"] if name == "figure2" else []
    panels = sorted({(r["dataset"], r["n_pairs"]) for r in varied})
    metrics = [m for m in METRICS if any(m in r for r in records)]
    figure, axes = _subplots(
        len(metrics), len(symbols), figsize=(4.5 * len(symbols), 3.2 * len(metrics)), sharex="col"
    )
    for row, metric in zip(axes, metrics, strict=True):
        for axis, symbol in zip(row, symbols, strict=True):
            if symbol == "N":
                _pairs_panel(axis, records, metric)
                continue
            for j, (dataset, n) in enumerate(panels):
                chosen = [r for r in records if (r["dataset"], r["n_pairs"]) == (dataset, n)]
                _setting(axis, values_of(chosen, metric)[1], symbol, f"{dataset}, N = {n}", j)
            axis.axhline(0, color="black", linewidth=1)
            axis.set_ylabel(f"{LABELS[metric]},\nagainst original")
    for axis, symbol in zip(axes[-1], symbols, strict=True):
        axis.set_xlabel({"σ²": "noise variance σ²", "N": "pairs N"}.get(symbol, symbol))
    handles = axes[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(symbols), fontsize=8)
    return [_save(figure, folder / f"{name}.png")]


def _settings(method):
    return METHODS[method].setting if method in METHODS else {}


def _setting(axis, values, symbol, label, j):
    points = {_settings(m)[symbol]: m for m in values if symbol in _settings(m)}
    at = sorted(points)
    found = [interval(values[points[x]][0] - values[ORIGINAL][0]) for x in at]
    place = np.arange(len(at)) + 0.08 * (j - 1.5)
    axis.errorbar(
        place,
        [d.mean for d in found],
        [d.half_width for d in found],
        marker="o",
        markersize=4,
        capsize=2,
        label=label,
    )
    axis.set_xticks(np.arange(len(at)), [f"{x:g}" for x in at])


def _pairs_panel(axis, records, metric):
    """Draw LENS 4x against the original over N."""
    for j, dataset in enumerate(dict.fromkeys(r["dataset"] for r in records)):
        sizes, values = values_of([r for r in records if r["dataset"] == dataset], metric)
        found = [interval(row) for row in values["LENS 4x"] - values[ORIGINAL]]
        axis.errorbar(
            sizes * 1.04**j,
            [d.mean for d in found],
            [d.half_width for d in found],
            marker="o",
            markersize=4,
            capsize=2,
            label=dataset,
        )
    _log_sizes(axis, np.unique([r["n_pairs"] for r in records]))
    axis.axhline(0, color="black", linewidth=1)
    axis.set_ylabel(f"{LABELS[metric]},\nagainst original")
    axis.legend(fontsize=8)


def latents(records, folder):
    """Draw the maps of the latents, chosen and rejected.

    Parameters
    ----------
    records : list of dict
        Results of the suite ``figure3``.
    folder : Path
        Where to.

    Returns
    -------
    list of Path
        One file.
    """
    maps = [r for r in records if "map" in r.get("details", {})]
    figure, axes = _subplots(1, len(maps), figsize=(3 * len(maps), 3.4))
    for axis, record in zip(axes[0], maps, strict=True):
        points = np.array(record["details"]["map"])
        for side, color in ((0, "#0072B2"), (1, "#D55E00")):
            axis.scatter(*points[side::2].T, s=4, color=color, label=("chosen", "rejected")[side])
        details = record["details"]
        axis.set_title(record["method"].removeprefix("LENS latents, "))
        axis.set_xlabel(f"sides {details['sides']:.2f}, head {details['head']:.2f}")
        axis.set_xticks([])
        axis.set_yticks([])
    axes[0, 0].legend(fontsize=8)
    return [_save(figure, folder / "figure3.png")]


def _subplots(n_rows, n_columns, **options):
    from matplotlib import pyplot

    return pyplot.subplots(n_rows, n_columns, squeeze=False, layout="constrained", **options)


def _log_sizes(axis, sizes):
    axis.set_xscale("log")
    axis.set_xticks(sizes, [str(n) for n in sizes], rotation=45)
    axis.minorticks_off()


def _save(figure, path):
    from matplotlib import pyplot

    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


#: Suite -> title -> function.
FIGURES = {
    "curves": {"Learning curves": learning_curves},
    "headline": {"Learning curves": learning_curves},
    "quick": {"Learning curves": learning_curves},
    "mpnet": {"Learning curves": learning_curves},
    "embedders_full": {"Learning curves": learning_curves, "Reliability": reliability},
    "embedders": {"Learning curves": learning_curves, "Reliability": reliability},
    "embedders_quick": {"Learning curves": learning_curves, "Reliability": reliability},
    "figure2": {"Figure 2": settings},
    "figure3": {"Figure 3": latents},
    "figure4": {"Figure 4": settings},
}
