"""The cells of Table 1: what is missing is run, and each is kept as soon as it is there."""

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from lens_sklearn import best_of_n_curve, response_lengths

from .systems import ROWS, SCORED, drop_weights, fitted, synthetic_rows
from .tiny import tiny_setting

RESULTS = "table1.jsonl"
CHEAP_FIRST = ("mlp", "lora", "full")


def table1(
    size="tiny", *, folder=None, factors=None, seeds=(0,), setting=None, rows="all", report=print
):
    """Run every row of Table 1; return a record a cell.

    Parameters
    ----------
    size : {"tiny", "small", "paper"}, default="tiny"
        Those but "tiny" need a `setting`.
    folder : str or Path, default=None
        Where models, responses and results are kept; None is a temporary folder.
    factors : sequence of int, default=None
        Columns of "tiny"; None is 1, 2, 4.
    seeds : sequence of int, default=(0,)
        Repetitions, on the same test prompts.
    setting : callable, default=None
        ``setting(seed) -> Setting``; None builds the tiny one.
    rows : {"paper", "all"} or collection of str, default="all"
        The paper's rows with the controls, those of other labellers besides, or these alone.
    report : callable, default=print
        Takes a line on each finished cell.

    Returns
    -------
    list of dict
        With ``system``, ``factor``, ``seed``, ``gold`` (mean gold reward of the pick),
        ``picked`` (of each test prompt), ``length`` (correlation of scores with length within
        prompts, NaN where there is none), ``rows`` (trained on) and ``seconds``.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return table1(
                size, folder=temporary, factors=factors, seeds=seeds, setting=setting, rows=rows,
                report=report,
            )  # fmt: skip
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if setting is None and size != "tiny":
        raise ValueError(f"size={size!r} needs a setting: its models and rows.")
    names, records = wanted_rows(rows), []
    for seed in seeds:
        made = setting(seed) if setting else tiny_setting(folder, factors)
        key = {"size": size, "setting": made.digest(), "seed": seed}
        known = [r for r in read_cells(folder / RESULTS) if key.items() <= r.items()]
        order = [n for n in (*ROWS, *SCORED) if n in names]
        known = [r for r in known if r["system"] in names and r["factor"] in (1, *made.factors)]
        for record in cells(made, seed, known, names):
            known.append(key | record)
            with (folder / RESULTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[-1]) + "\n")
            line = "{system}, {factor}x: {gold:.3f} ({rows} rows, {seconds:.1f} s)"
            report(line.format(**record))
        records += sorted(known, key=lambda r: (order.index(r["system"]), r["factor"]))
    return records


def wanted_rows(rows):
    """Return the names of rows.

    Parameters
    ----------
    rows : {"paper", "all"} or collection of str
        As of `table1`.

    Returns
    -------
    list of str
        Keys of ``ROWS`` and ``SCORED``.
    """
    named = {"all": [*ROWS, *SCORED]}
    named["paper"] = [n for n in named["all"] if n in SCORED or ROWS[n].in_paper]
    return named[rows] if isinstance(rows, str) else list(rows)


def read_cells(path):
    """Read finished cells; a last line that a killed run has cut off is taken away.

    Parameters
    ----------
    path : Path
        Need not be there.

    Returns
    -------
    list of dict
        Records.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def cells(setting, seed, known, names):
    """Yield a record a cell that is not known yet, cheap ones first.

    Parameters
    ----------
    setting : Setting
        What the systems are run on.
    seed : int
        Of generation and training.
    known : list of dict
        Records that are there; grows while cells are yielded.
    names : list of str
        Rows.

    Yields
    ------
    dict
        A record without size, setting and seed.
    """
    for name in (n for n in names if n in SCORED):
        if not _find(known, {name}, 1):
            start = time.perf_counter()
            scores, n_rows = SCORED[name][0](setting), 0
            if name == "control: tuned linear":
                n_rows = len(setting.pairs)
            yield record(setting, name, 1, scores, n_rows, start)
    labelled, kept = {}, set()
    systems = sorted(
        (n for n in names if n in ROWS), key=lambda n: CHEAP_FIRST.index(ROWS[n].model)
    )
    for system in systems:
        kind, synthesis = ROWS[system].model, ROWS[system].synthesis
        for factor in setting.factors:
            if _find(known, {system}, factor):
                continue
            start = time.perf_counter()
            alike = {n for n, row in ROWS.items() if row.model == kind}
            if factor == 1 and (same := _find(known, alike, 1)):  # the originals alone
                yield _cell(same) | {"system": system, "seconds": 0.0}
                continue
            if factor > 1 and isinstance(synthesis, str) and synthesis not in labelled:
                labelled[synthesis] = synthetic_rows(setting, synthesis, seed)
            rows = labelled.get(synthesis) if isinstance(synthesis, str) else None
            reward = fitted(setting, system, factor, rows, seed)
            n_rows = factor * len(setting.pairs)
            if factor > 1 and rows is not None:
                n_rows = int((rows.number < factor).sum())
            yield record(setting, system, factor, reward.predict(setting.candidates), n_rows, start)
            if factor == 1 and kind != "mlp":
                kept.add(reward.folder_)  # a self-evolved labeller begins with it
            drop_weights(setting, kept)


def _find(records, systems, factor):
    found = (r for r in records if r["system"] in systems and r["factor"] == factor)
    return next(found, None)


def _cell(record):
    return {k: v for k, v in record.items() if k not in ("size", "setting", "seed")}


def record(setting, system, factor, scores, n_rows, start):
    """Return one cell of the table.

    Parameters
    ----------
    setting : Setting
        With the test responses and their gold.
    system : str
        The row.
    factor : int
        The column.
    scores : ndarray, shape (n_prompts, N)
        Of the test responses.
    n_rows : int
        How many the system was trained on.
    start : float
        When it began.

    Returns
    -------
    dict
        As `table1` returns, without size, setting and seed.
    """
    gold, scores = setting.gold_rewards, np.asarray(scores, dtype=float)
    curve = best_of_n_curve(scores, gold, [gold.shape[1]], n_bootstrap=1, random_state=0)
    picked = curve.per_prompt[:, -1]
    return {
        "system": system,
        "factor": factor,
        "gold": float(picked.mean()),
        "picked": picked.round(6).tolist(),
        "length": length_correlation(scores, response_lengths(setting.candidates)),
        "rows": n_rows,
        "seconds": round(time.perf_counter() - start, 2),
    }


def length_correlation(scores, lengths):
    """Return the rank correlation of scores with length, the mean over prompts.

    Parameters
    ----------
    scores, lengths : ndarray, shape (n_prompts, N)
        NaN is padding.

    Returns
    -------
    float or None
        Over the prompts where neither is constant; None if there is none.
    """
    from scipy.stats import spearmanr

    found = []
    for own, length in zip(scores, lengths, strict=True):
        there = ~np.isnan(own) & ~np.isnan(length)
        if there.any() and np.ptp(own[there]) > 0 and np.ptp(length[there]) > 0:
            found.append(spearmanr(own[there], length[there]).statistic)
    return float(np.mean(found)) if found else None
