"""Mutation testing: draws mutants of the modules, runs each against its test files, counts.

    python tests/mutation/run.py --n 300 --seed 0 --jobs 2

A run that was stopped goes on where it stood. README.md beside this file tells the rest.
"""

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter
from pathlib import Path

from sites import draw

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
UNUSED = shutil.ignore_patterns(
    ".*", "__pycache__", "benchmarks", "docs", "mutation", "build", "dist", "*.egg-info"
)
KEY = ("module", "source", "operator", "occurrence")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=300, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="copies of the tree")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none later")
    parser.add_argument("--modules", nargs="+", help="of these alone, as modules.toml names them")
    parser.add_argument("--record", type=Path, default=HERE / "record.jsonl")
    parser.add_argument("--again", action="store_true", help="run anew what survived")
    parser.add_argument("--report", action="store_true", help="run nothing, count the record")
    return parser.parse_args(arguments)


def matching_tests(only):
    """Return {module: test files}, of what exists."""
    found = {}
    tests_of = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))["tests"]
    for module, names in tests_of.items():
        tests = [f"tests/{name}.py" for name in names]
        there = [test for test in tests if (ROOT / test).exists()]
        missing = sorted(set(tests) - set(there))
        if not path_of(module).exists() or not there:
            print(f"note: {module} is left out: it is not there, or no test file of it")
        elif only is None or module in only:
            found[module] = there
            if missing:
                print(f"note: {module} goes without {', '.join(missing)}")
    return found


def path_of(module):
    return ROOT / "lens_sklearn" / f"{module.replace('.', '/')}.py"


def read_record(path):
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    entries = map(json.loads, lines)
    return {tuple(entry[key] for key in KEY): entry for entry in entries}  # the last one counts


class Worker:
    """A process that holds a copy of the tree."""

    def __init__(self, folder):
        shutil.copytree(ROOT, folder, ignore=UNUSED, symlinks=True)
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            cwd=folder,
            env=os.environ | one_thread,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, module, code, tests, limit):
        task = {"path": str(path_of(module).relative_to(ROOT)), "code": code}
        print(
            json.dumps(task | {"tests": tests, "limit": limit}), file=self.process.stdin, flush=True
        )
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("a worker was ended")
        return json.loads(answer)


def run_all(mutants, tests_of, sources, record, jobs, deadline):
    """Run mutants in several workers and add each to the record as it ends."""
    waiting, lock, limits = queue.SimpleQueue(), threading.Lock(), {}
    for mutant in mutants:
        waiting.put(mutant)

    def limit_of(worker, module):
        """Ten times what the tests take without a mutant, and a minute; they must pass."""
        tests = tuple(tests_of[module])
        if tests not in limits:
            answer = worker.ask(module, sources[module], tests, 3600)
            if answer["outcome"] != "survived":
                raise SystemExit(f"{tests} do not pass without a mutant:\n{answer['output']}")
            limits[tests] = 60 + 10 * answer["seconds"]
        return limits[tests]

    def work(worker):
        while time.monotonic() < deadline:
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            module, code = mutant["module"], mutant.pop("code")
            answer = worker.ask(module, code, tests_of[module], limit_of(worker, module))
            answer.pop("output")
            with lock, record.open("a", encoding="utf-8") as file:
                print(json.dumps(mutant | answer, ensure_ascii=False), file=file)
                print(f"{waiting.qsize():4} to go  {answer['outcome']:9} {module}:{mutant['line']}")

    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(Path(folder) / str(i)) for i in range(jobs)]
        threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            for worker in workers:
                worker.process.terminate()
                worker.process.wait()


def report(entries):
    """Print a table of the outcomes and each survivor."""
    rows = {module: Counter() for module in sorted({entry["module"] for entry in entries})}
    for entry in entries:
        rows[entry["module"]][entry["outcome"]] += 1
    rows["all"] = sum(rows.values(), Counter())
    print(f"\n{'module':26} {'mutants':>7} {'killed':>7} {'timeout':>7} {'survived':>8}  score")
    for module, count in rows.items():
        n, gone = count.total(), count["killed"] + count["timeout"]
        score = f"{gone / n:6.1%}" if n else "     -"
        print(
            f"{module:26} {n:7} {count['killed']:7} {count['timeout']:7} "
            f"{count['survived']:8} {score}"
        )
    for entry in entries:
        if entry["outcome"] not in ("killed", "timeout"):
            print(f"\n{entry['outcome']}: {entry['module']}:{entry['line']}  {entry['operator']}")
            print("\n".join(f"    {line}" for line in entry["diff"]))


def main(arguments=None):
    args = parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # folders and workers as well
    tests_of = matching_tests(args.modules)
    sources = {module: path_of(module).read_text(encoding="utf-8") for module in tests_of}
    mutants = draw(sources, args.n, args.seed)
    drawn = [tuple(mutant[key] for key in KEY) for mutant in mutants]
    known = read_record(args.record)
    done = {key for key in known if not (args.again and known[key]["outcome"] == "survived")}
    if not args.report:
        new = [mutant for key, mutant in zip(drawn, mutants, strict=True) if key not in done]
        new.sort(key=lambda mutant: mutant["module"])
        print(f"{len(mutants)} mutants drawn, {len(new)} to run")
        deadline = time.monotonic() + 60 * args.minutes
        run_all(new, tests_of, sources, args.record, args.jobs, deadline)
        known = read_record(args.record)
    report([known[key] for key in drawn if key in known])


if __name__ == "__main__":
    main()
