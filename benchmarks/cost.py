"""What the benchmark costs: seconds of a fit and core hours of a suite, by earlier results."""

from math import log

import numpy as np

from .methods import METHODS


def median_seconds(records):
    """Return what fits took on one core.

    Parameters
    ----------
    records : list of dict
        Results.

    Returns
    -------
    dict of (dataset, n_pairs, method) to float
        Medians over splits, each as if its method had run alone.
    """
    found = {}
    for r in records:
        found.setdefault((r["dataset"], r["n_pairs"], r["method"]), []).append(r["seconds"])
    return {key: float(np.median(values)) for key, values in found.items()}


def core_hours(cells, records):
    """Estimate what cells take on one core.

    Parameters
    ----------
    cells : list of Cell
        Settings.
    records : list of dict
        Results of some like them. A method that was not run at a size is taken to cost what it
        did at the nearest one on that dataset, in proportion to N where that one is smaller;
        one that was not run on the dataset at all costs nothing here.

    Returns
    -------
    float
        Hours.
    """
    known = median_seconds(records)

    def cost(dataset, n_pairs, method):
        sizes = [n for d, n, m in known if (d, m) == (dataset, method)]
        if not sizes:
            return 0.0
        near = min(sizes, key=lambda n: abs(log(n / n_pairs)))
        return known[dataset, near, method] * max(1, n_pairs / near)

    seconds = 0.0
    for cell in cells:
        for method in cell.methods:
            own = cost(cell.dataset, cell.n_pairs, method)
            shared = METHODS[method].shares if method in METHODS else None
            if shared in cell.methods:  # a split pays for it once
                own -= min(own, cost(cell.dataset, cell.n_pairs, shared))
            seconds += cell.n_splits * own
    return seconds / 3600
