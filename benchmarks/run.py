"""Run suites of the benchmark; what is there already is not run again.

::

    python -m benchmarks.run --suite curves --data FOLDER --n-jobs 2
    python -m benchmarks.run --suite table5 figure4 --data FOLDER
    python -m benchmarks.run --quick --data FOLDER --n-jobs 2
    python -m benchmarks.run --suite table1 --size small --data FOLDER

FOLDER holds the .npz and .jsonl.gz files; ``LENS_SKLEARN_DATA`` names it as well, and the
data set ``toy`` needs none. Results go to ``results/SUITE.jsonl`` (:mod:`.records`), each as soon
as its method is done: a run that was killed goes on where it stopped.
``python -m benchmarks.report`` makes the tables and figures.
"""

import argparse
import importlib
import os
import sys
import time
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from lens_sklearn import BTRewardRegressor

from .datasets import DATASETS
from .methods import METHODS
from .objective import evaluate
from .records import RESULTS, add_record, begin_run, provenance, read_records
from .suites import SUITES

STORE = RESULTS / ".store"


def missing(cells, records):
    """Return what is still to be run.

    Parameters
    ----------
    cells : list of Cell
        The settings.
    records : list of dict
        What is there.

    Returns
    -------
    list of tuple
        Dataset, N, seed and the methods that this split lacks.
    """
    done = {(r["dataset"], r["n_pairs"], r["seed"], r["method"]) for r in records}
    wanted = {
        (cell.dataset, cell.n_pairs, seed, method): None
        for cell in cells
        for seed in range(cell.n_splits)
        for method in cell.methods
    }
    left = [key for key in wanted if key not in done]
    return [
        (*key, [k[3] for k in group])
        for key, group in groupby(sorted(left, key=_order(left)), key=lambda k: k[:3])
    ]


def _order(keys):
    """Sort by split and leave datasets and methods in the order of their first appearance."""
    rank = {name: i for i, name in enumerate(dict.fromkeys(k for key in keys for k in key[::3]))}
    return lambda key: (rank[key[0]], *key[1:3], rank[key[3]])


@lru_cache(maxsize=1)
def load(dataset, data, store=STORE):
    """Load a dataset once a process; `data` is the folder or None, `store` that of embeddings."""
    # Imports and first calls take seconds that are no method's.
    BTRewardRegressor(max_epochs=1).fit(np.eye(8, 3, dtype=np.float32).reshape(4, 2, 3))
    return DATASETS[dataset].load(data, store)


def run_split(dataset, data, n_pairs, seed, methods, path, run, store=STORE):
    """Run methods on one split and append a line for each as it is done.

    Parameters
    ----------
    dataset : str
        A key of ``DATASETS``.
    data : Path or None
        Folder with its files.
    n_pairs, seed : int
        N and the split.
    methods : list of str
        Keys of ``METHODS``.
    path : Path
        The results' file.
    run : str
        From `begin_run`.
    store : Path, default=STORE
        Folder of embeddings that are made here.
    """
    torch.set_num_threads(1)
    with threadpool_limits(1):
        split = load(dataset, data, store).split(n_pairs, seed).scaled()
        for method in methods:
            record = {"dataset": dataset, "n_pairs": n_pairs, "seed": seed, "method": method}
            try:
                record |= run_method(METHODS[method], split, seed)
            except Exception as error:
                error.add_note(f"in {method!r} on split {seed} of {dataset} at N = {n_pairs}")
                raise
            add_record(path, record, run)


def run_method(method, split, seed):
    """Fit and judge one method.

    Parameters
    ----------
    method : Method
        Which one.
    split : Split
        Standardised; the method reads its view of it.
    seed : int
        Of the method.

    Returns
    -------
    dict
        ``seconds`` of the fit as if no other method had run before, the metrics and, if the
        method keeps any, ``details``.
    """
    split = split.view(method.view)
    split.details, split.borrowed = {}, 0.0
    start = time.perf_counter()
    score = method.fit(split, seed)
    record = {"seconds": round(time.perf_counter() - start + split.borrowed, 3)}
    record |= evaluate(score, split, method.log_odds)
    if len(split.pairs) not in method.diagram:
        record.pop("reliability", None)
    return record | ({"details": split.details} if split.details else {})


def run_suite(name, cells, data, n_jobs, folder=RESULTS, store=STORE):
    """Run what a suite lacks.

    Parameters
    ----------
    name : str
        Names the results' file.
    cells : list of Cell
        The settings.
    data : Path or None
        Folder with the datasets' files.
    n_jobs : int
        Splits at once.
    folder : Path, default=RESULTS
        Where the results' file is.
    store : Path, default=STORE
        Folder of embeddings that are made here.

    Returns
    -------
    list of dict
        All records of the file.
    """
    path = folder / f"{name}.jsonl"
    todo = missing(cells, read_records(path))
    print(f"{name}: {len(todo)} splits to run, results in {path}", file=sys.stderr, flush=True)
    run = begin_run(path, provenance()) if todo else None
    jobs = (
        delayed(run_split)(dataset, data, n_pairs, seed, methods, path, run, store)
        for dataset, n_pairs, seed, methods in todo
    )
    start = time.perf_counter()
    done = Parallel(n_jobs, return_as="generator_unordered")(jobs)
    for i, _ in enumerate(done, 1):
        minutes = (time.perf_counter() - start) / 60
        print(f"{name}: {i}/{len(todo)} splits, {minutes:.1f} min", file=sys.stderr, flush=True)
    return read_records(path)


def restricted(cells, dataset=None, n_pairs=None, splits=None, methods=None):
    """Keep the part of a suite that the command line asks for.

    Parameters
    ----------
    cells : list of Cell
        The suite.
    dataset, n_pairs, methods : list, default=None
        Keep these; None keeps all. Data sets that the suite lacks are run in the place of its
        first one, methods that it lacks on all of its data sets.
    splits : int, default=None
        At most so many.

    Returns
    -------
    list of Cell
        What is left.
    """
    if dataset:
        known = {cell.dataset for cell in cells}
        first = [cell for cell in cells if cell.dataset == cells[0].dataset]
        cells = [cell for cell in cells if cell.dataset in dataset]
        cells += [c._replace(dataset=d) for d in dataset if d not in known for c in first]
    if n_pairs:
        cells = [cell for cell in cells if cell.n_pairs in n_pairs]
    if methods:
        cells = [c._replace(methods=tuple(methods)) for c in cells]
    if splits:
        cells = [c._replace(n_splits=min(splits, c.n_splits)) for c in cells]
    return cells


def _some(names):
    return {"nargs": "+", "choices": list(names), "metavar": "NAME"}


def _alone(names):
    return f"these alone: {'; '.join(names)}"


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--suite", **_some(SUITES), default=["curves"], help=", ".join(SUITES))
    parser.add_argument(
        "--quick", dest="suite", action="store_const", const=["quick"], help="--suite quick"
    )
    parser.add_argument("--data", default=os.environ.get("LENS_SKLEARN_DATA"), type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument(
        "--embeddings",
        type=Path,
        default=STORE,
        help="folder of embeddings that are made here, those of benchmarks.embed_decoder too",
    )
    parser.add_argument("--n-jobs", type=int, default=1, help="splits at once")
    parser.add_argument("--dataset", **_some(DATASETS), help=_alone(DATASETS))
    parser.add_argument("--n-pairs", nargs="+", type=int, help="these sizes alone")
    parser.add_argument("--splits", type=int, help="at most so many splits")
    parser.add_argument("--methods", **_some(METHODS), help=_alone(METHODS))
    parser.add_argument(
        "--size",
        choices=("tiny", "small", "paper"),
        help="with --suite table1: every row of the table, those of text space too, on models of "
        "this size; takes the options of benchmarks.table1 in the place of those above",
    )
    return parser


def main(argv=None):
    """Read the command line and run."""
    command = parser()
    sized = argparse.ArgumentParser(prog=command.prog, add_help=False, allow_abbrev=False)
    sized.add_argument("--suite", nargs="+")
    sized.add_argument("--size")
    asked, others = sized.parse_known_args(argv)
    if asked.size is not None:
        if asked.suite != ["table1"]:
            command.error("--size goes with --suite table1 alone")
        return importlib.import_module("benchmarks.table1").main(["--size", asked.size, *others])
    args = command.parse_args(argv)
    suites = {
        name: restricted(SUITES[name](), args.dataset, args.n_pairs, args.splits, args.methods)
        for name in args.suite
    }
    needs_files = any(DATASETS[c.dataset].needs_files for cells in suites.values() for c in cells)
    if needs_files and (args.data is None or not args.data.is_dir()):
        command.error(f"--data: {args.data} is no folder; give the one with the .npz files")
    made = {DATASETS[c.dataset].made for cells in suites.values() for c in cells} - {None}
    lacking = sorted(name for name in made if not (args.embeddings / name).is_file())
    if lacking:
        command.error(
            f"--embeddings: {args.embeddings} lacks {', '.join(lacking)}, which "
            "benchmarks.embed_decoder makes"
        )
    for name, cells in suites.items():
        run_suite(name, cells, args.data, args.n_jobs, args.results, args.embeddings)


if __name__ == "__main__":
    # Under its own name: functions of __main__ cannot be sent to other processes.
    importlib.import_module("benchmarks.run").main()
