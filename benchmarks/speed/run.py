"""Speed and memory as ratios, each against a rival in the same run.

::

    python -m benchmarks.speed.run --data FOLDER   # or some of the parts:
    python -m benchmarks.speed.run fit memory synthesis grid many rewards

Prints ratio and reach beside each other and keeps the rows in ``benchmarks/results/speed.json``
with machine, versions and commit; parts that are not run keep their rows. The embedding part
reads texts from ``--data`` or the environment variable ``LENS_SKLEARN_DATA``.
"""

import argparse
import json
import os
import platform
import subprocess
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results" / "speed.json"
PARTS = ("fit", "memory", "synthesis", "grid", "embedding", "many", "rewards", "start", "gpu")
ON_A_GPU = {"gpu"}
PACKAGES = ("torch", "numpy", "scikit-learn", "skorch", "transformers", "sentence-transformers")


def machine():
    """Return what the numbers depend on."""
    here = Path(__file__).parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, cwd=here,
    )  # fmt: skip
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": str(date.today()), "commit": commit.stdout.strip(), "gpu": gpu,
        "cpu": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
    }  # fmt: skip


def cpu_name():
    """Return the processor's name and its widest vectors."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def reached(row):
    """Whether a ratio is where it should be; None where the reach is no number."""
    sign, _, bound = row["reach"].partition(" ")
    if sign not in ("<=", ">="):
        return None
    return row["ratio"] <= float(bound) if sign == "<=" else row["ratio"] >= float(bound)


def print_table(parts):
    """Print all rows."""
    print(f"{'what':<46} {'rival':<36} {'ratio':>8}  {'reach':<8}")
    for part in parts.values():
        for row in part["rows"]:
            mark = {True: "reached", False: "missed", None: ""}[reached(row)]
            what, rival = f"{row['what']:<46}", f"{row['rival']:<36}"
            print(f"{what} {rival} {row['ratio']:8.4g}  {row['reach']:<8} {mark}")


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.run", description=__doc__.splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--n-pairs", type=int, default=1000)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--factor", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, nargs=2, default=(100, 20))
    parser.add_argument(
        "--many-pairs", type=int, nargs=2, default=(50_000, 1024), metavar=("N", "D")
    )
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--gpu-parts", nargs="+", help="of whole, reward, grid, gp, embedding")
    parser.add_argument("--gp", type=int, nargs=2, default=(5000, 4096), metavar=("N", "D"))
    parser.add_argument("--model", help="folder of a decoder, for embeddings on a GPU")
    parser.add_argument("--data", default=os.environ.get("LENS_SKLEARN_DATA"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def main(argv=None):
    """Measure the parts asked for and print the table."""
    command = parser()
    args = command.parse_args(argv)
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        command.error(f"no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    kept = json.loads(args.results.read_text()) if args.results.exists() else {}
    for part in args.parts or PARTS:
        if part in ON_A_GPU and not torch.cuda.is_available():
            print(f"{part}: not run, there is no GPU here")
            continue
        rows = list(import_module(f".{part}", __package__).measure(args))
        kept[part] = machine() | {"rows": [row | {"reached": reached(row)} for row in rows]}
        args.results.parent.mkdir(exist_ok=True)
        text = json.dumps(kept, indent=1, default=float, ensure_ascii=False)
        args.results.write_text(text + "\n", encoding="utf-8")
    print_table({part: kept[part] for part in PARTS if part in kept})


if __name__ == "__main__":
    main()
