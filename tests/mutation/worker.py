"""Runs tests on mutants, each in a fork of one process that has loaded all heavy libraries.

Reads a JSON object a line (the module's file, its mutated code, test files, a time limit) and
answers with one. The package itself is never loaded here, so every fork loads the mutated one.
"""

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

HEAVY = (
    "numpy", "scipy.stats", "scipy.optimize", "scipy.linalg", "scipy.spatial.distance", "torch",
    "torch.func", "sklearn", "sklearn.base", "sklearn.covariance", "sklearn.datasets",
    "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline", "skorch",
    "sklearn.utils.estimator_checks", "joblib", "safetensors.numpy", "tqdm.auto",
    "matplotlib.pyplot", "pandas", "hypothesis.extra.numpy", "pytest",
)  # fmt: skip


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the fork is ended, too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tree = Path.cwd()
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "Agg"}
    sys.dont_write_bytecode = True  # a mutant of equal size and time would run its neighbour's
    sys.path.insert(0, str(tree))
    for name in HEAVY:
        try:
            importlib.import_module(name)
        except ImportError:
            pass
    for line in sys.stdin:
        task = json.loads(line)
        path = tree / task["path"]
        original = path.read_text(encoding="utf-8")
        path.write_text(task["code"], encoding="utf-8")
        try:
            answer = run(task["tests"], task["limit"])
        finally:
            path.write_text(original, encoding="utf-8")
            shutil.rmtree(tree / ".hypothesis", ignore_errors=True)
        print(json.dumps(answer), flush=True)


def run(tests, limit):
    """Run test files in a fork and return how they ended and after how long."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if not child:
            os.setsid()  # what the tests start is ended with them
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, signal.SIG_DFL)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            os._exit(test(tests))
        status = None
        try:
            while status is None and time.monotonic() < start + limit:
                done, code = os.waitpid(child, os.WNOHANG)
                status = os.waitstatus_to_exitcode(code) if done else None
                time.sleep(0.02)
        finally:
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if status is None:
            os.waitpid(child, 0)
        log.seek(0)
        output = log.read()[-2000:].decode(errors="replace")
    outcome = {None: "timeout", 0: "survived", 5: "no tests"}.get(status, "killed")
    return {"outcome": outcome, "seconds": round(time.monotonic() - start, 1), "output": output}


def test(tests):
    import pytest

    options = ["-x", "-q", "--tb=line", "--no-header", "-p", "no:cacheprovider"]
    # Plugins are loaded before pytest is; every mutant is shown the same random examples.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", "--hypothesis-seed=0"]
    try:
        return int(pytest.main([*options, *tests]))
    except BaseException:
        return 3


if __name__ == "__main__":
    main()
