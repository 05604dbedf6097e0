"""A table of what was tried to break the library, and how often it broke.

::

    python -m benchmarks.robustness.run           # about 6 minutes
    python -m benchmarks.robustness.run --quick   # half a minute, kills most of it
    python -m benchmarks.robustness.run rows folders --seed 1

Ends with 1 if anything failed; each fault is then printed below the table.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from .folders import malformed_folders
from .kills import killed_processes
from .rows import malformed_files, malformed_rows
from .stores import damaged_stores
from .tally import as_table
from .zoo import fitted_models, save_language_model

#: How often each part is tried: in full, and quickly.
PARTS = {
    "rows": (6000, 300),
    "files": (6000, 200),
    "folders": (12_000, 150),
    "stores": (900, 60),
    "kills": (30, 1),
}
QUICK_MODELS = ("pipeline", "vae", "gp", "text")


def run(parts=tuple(PARTS), *, quick=False, seed=0, report=lambda text: None):
    """Try all parts.

    Parameters
    ----------
    parts : sequence of str, default=all
        Which.
    quick : bool, default=False
        Whether to try little.
    seed : int, default=0
        What is tried.
    report : callable, default=nothing
        Is told how long each part took.

    Returns
    -------
    list of Tally
        A row of the table each.
    """
    tallies = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = save_language_model(folder / "language model")
        for part in parts:
            n, draws, start = PARTS[part][quick], random.Random(seed), time.monotonic()
            here = folder / part
            here.mkdir()
            if part == "rows":
                found = [malformed_rows(n, draws)]
            elif part == "files":
                found = malformed_files(n, draws, here)
            elif part == "folders":
                models = fitted_models(model, QUICK_MODELS if quick else None)
                found = malformed_folders(n, draws, models, here)
            elif part == "stores":
                found = damaged_stores(n, draws, here)
            else:
                found = killed_processes(n, draws, model, here)
            tallies += found
            report(f"{part}: {time.monotonic() - start:.0f} s")
    return tallies


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.robustness.run", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--quick", action="store_true", help="try little, in seconds")
    parser.add_argument("--seed", type=int, default=0, help="what is tried")
    return parser


def main(arguments=None):
    """Print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line.

    Returns
    -------
    int
        1 if anything failed.
    """
    options = parser().parse_args(arguments)
    tallies = run(
        options.parts or tuple(PARTS), quick=options.quick, seed=options.seed,
        report=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(as_table(tallies))
    faults = [f"{tally.kind}: {fault}" for tally in tallies for fault in tally.faults]
    for fault in faults:
        print(ascii(fault)[1:-1])
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
