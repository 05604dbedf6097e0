"""How long a user waits before anything begins."""

import subprocess
import sys
import time

STARTS = {
    "import lens_sklearn": ("-c", "import lens_sklearn", "<= 1.5"),
    "lens-sklearn --help": ("-c", "from lens_sklearn.cli import main; main(['--help'])", "<= 0.5"),
    "import of a reward": ("-c", "from lens_sklearn import BTRewardRegressor", ""),
    "import of torch, scikit-learn and skorch": ("-c", "import torch, sklearn.base, skorch", ""),
}


def seconds(*command):
    """Return the seconds of a process; of three, the least disturbed."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        taken.append(time.perf_counter() - start)
    return min(taken)


def measure(args):
    """Yield the rows of the table: seconds are ratios to one second."""
    for what, (*command, reach) in STARTS.items():
        mine = seconds(*command)
        yield {
            "what": what, "rival": "one second", "ratio": mine, "reach": reach,
            "setting": "least of three processes", "seconds": {"ours": mine, "rival": 1.0},
        }  # fmt: skip
