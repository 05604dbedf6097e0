"""Results as lines of JSON: what a run depends on once, and then columns of numbers a split.

A line with a ``commit`` describes a run: versions, commit and machine, and the ``run`` by which
other lines name it, which is a digest of all that. Any other line holds results of one split: what
they share, and for the rest a list a column, so that a key is written once a split::

    {"run": "5ee2c3f0", "commit": "bbc43683dc12", "torch": "2.13.0", ...}
    {"run": "5ee2c3f0", "dataset": "toy", "n_pairs": 50, "seed": 0, "random": -0.1, "oracle": 1.5,
     "method": ["original", "LENS 4x"], "accuracy": [0.61, 0.62], "seconds": [0.1, 1.4]}

A result is appended as soon as it is there, as a line with columns of length 1, so that a killed
run loses nothing. What is committed is written anew with a line a split::

    python -m benchmarks.records benchmarks/results/curves.jsonl
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import sklearn
import torch

from lens_sklearn import __version__

RESULTS = Path(__file__).parent / "results"
#: What results of a split share, and what is told of a run.
SPLIT = ("what", "dataset", "n_pairs", "seed", "random", "oracle")
RUN = (
    "commit", "lens_sklearn", "scikit-learn", "torch", "skorch", "transformers", "numpy", "python",
    "machine",
)  # fmt: skip


def read_records(path):
    """Read results; a last line that a killed run has cut off is left out.

    Parameters
    ----------
    path : Path
        A .jsonl file, which need not be there.

    Returns
    -------
    list of dict
        A record a result, each with all that is known of its run.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    runs, records = {}, []
    for line in map(json.loads, text[: text.rfind("\n") + 1].splitlines()):
        if "commit" in line:
            runs[line.pop("run")] = line
            continue
        columns = {key: line.pop(key) for key in list(line) if isinstance(line[key], list)}
        for values in zip(*columns.values(), strict=True):
            own = {k: v for k, v in zip(columns, values, strict=True) if v is not None}
            record = line | own
            records.append(record | runs[record.pop("run")])
    return records


def add_record(path, record, run):
    """Append a result.

    Parameters
    ----------
    path : Path
        From `begin_run`.
    record : dict
        Of one method on one split.
    run : str
        From `begin_run`.
    """
    with path.open("a", encoding="utf-8") as file:  # one write a line: jobs share it
        file.write(_line([{"run": run} | record]))


def begin_run(path, described):
    """Drop a line that a killed run has cut off, and describe the run unless it is there.

    Parameters
    ----------
    path : Path
        A .jsonl file, which need not be there.
    described : dict of str to str
        Versions, commit and machine.

    Returns
    -------
    str
        By what the run's results name it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    line = _run_line(described)
    if line not in whole.splitlines(keepends=True):
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
    return _digest(described)


def compact(records):
    """Write records with a line a run and a line a split.

    Parameters
    ----------
    records : list of dict
        From `read_records`.

    Returns
    -------
    str
        The text of a file, from which `read_records` reads the same.
    """
    runs, splits = {}, {}
    for record in records:
        described = {key: record[key] for key in RUN if key in record}
        own = {"run": _digest(described)}
        own |= {key: value for key, value in record.items() if key not in RUN}
        runs[own["run"]] = _run_line(described)
        split = tuple((key, own[key]) for key in SPLIT if key in own)
        splits.setdefault(split, []).append(own)
    # Runs in the order of what is written, so that writing it again changes nothing.
    used = dict.fromkeys(record["run"] for rows in splits.values() for record in rows)
    return "".join([*(runs[run] for run in used), *map(_line, splits.values())])


def _line(records):
    """Write results of one split, of one run or of several."""
    shared = {key: records[0][key] for key in SPLIT if key in records[0]}
    if len({record["run"] for record in records}) == 1:
        shared = {"run": records[0]["run"]} | shared
    names = dict.fromkeys(k for record in records for k in record if k not in shared)
    columns = {name: [record.get(name) for record in records] for name in names}
    return _dump(shared | columns)


def _run_line(described):
    return _dump({"run": _digest(described)} | described)


def _digest(described):
    return hashlib.sha256(_dump(described).encode()).hexdigest()[:8]


def _dump(line):
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def provenance():
    """Return versions, commit and machine.

    Returns
    -------
    dict of str to str
        What a run's results depend on besides code and data.
    """
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"  # by "auto"
    return {
        "commit": _commit(),
        "lens_sklearn": __version__,
        "scikit-learn": sklearn.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"one thread a job, {device}",
    }


def _commit():
    if shutil.which("git") is None:
        return "unknown"

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        return done.stdout.strip() if done.returncode == 0 else None

    sha = git("rev-parse", "--short=12", "HEAD")
    if sha is None:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "../lens_sklearn")
    return sha + ("+changes" if changed else "")


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.records", description="Write result files with a line a split."
    )
    parser.add_argument("files", nargs="+", type=Path)
    return parser


def main(argv=None):
    """Write files anew."""
    for path in parser().parse_args(argv).files:
        text = compact(read_records(path))
        whole = path.with_suffix(".new")
        whole.write_text(text, encoding="utf-8")
        whole.replace(path)


if __name__ == "__main__":
    main()
