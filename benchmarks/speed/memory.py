"""Peak memory of the fit, and time and memory a pair as the pairs grow; a process each.

A process fits on a few pairs first, so what torch and BLAS keep for themselves is there before
memory is noted; what is added to it at the peak afterwards, the pairs included, is the fit's. Linux
alone, which tells a process's peak and lets it start anew.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAIRS_ROW = (20_000, 4096, 8, 1, 1)  # pairs, features, factor, epochs
GROWTH = [(n, 1024, 8, 4, 2) for n in (1_000, 10_000, 100_000)]


def peak():
    """Return the most bytes that this process held since `forget_peak`.

    ``getrusage`` would begin with the peak of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def forget_peak():
    """Let the peak be what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def fit(n, d, factor, vae_epochs, reward_epochs, scale=0):
    """Return bytes and seconds of one fit in this process; `scale` 2 is without a copy."""
    import numpy as np
    from sklearn.pipeline import make_pipeline

    from lens_sklearn import (
        BTRewardRegressor,
        ContrastiveVAE,
        EmbeddingScaler,
        LatentPairAugmenter,
    )

    pipe = make_pipeline(
        EmbeddingScaler(copy=scale == 1) if scale else "passthrough",
        LatentPairAugmenter(
            ContrastiveVAE(max_epochs=vae_epochs), factor=factor, random_state=0
        ),
        BTRewardRegressor(max_epochs=reward_epochs, random_state=0),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pipe.fit(rng.standard_normal((256, 2, d), dtype=np.float32))
    forget_peak()
    before = peak()
    pairs = rng.standard_normal((n, 2, d), dtype=np.float32)
    start = time.perf_counter()
    pipe.fit(pairs)
    return {
        "seconds": time.perf_counter() - start,
        "bytes": peak() - before,
        "pairs_bytes": pairs.nbytes,
    }


def in_a_process(*size):
    """Run `fit` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.speed.memory", *map(str, size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(args):
    """Yield the rows of the table."""
    whats = (
        "peak memory of the fit",
        "the same behind EmbeddingScaler",
        "the same behind EmbeddingScaler(copy=False)",
    )
    for scale, what in enumerate(whats):
        used = in_a_process(*PAIRS_ROW, scale)
        n, d, factor, *_ = PAIRS_ROW
        yield {
            "what": what, "rival": "bytes of the original pairs", "reach": "<= 1.6",
            "ratio": used["bytes"] / used["pairs_bytes"], "setting":
            f"N = {n}, d = {d}, factor {factor}, early stopping on", "detail": used,
        }  # fmt: skip
    used = [in_a_process(*size, 0) for size in GROWTH]
    for name, key in (("time", "seconds"), ("memory", "bytes")):
        values = [u[key] / size[0] for u, size in zip(used, GROWTH, strict=True)]
        yield {
            "what": f"{name} a pair, N = {GROWTH[0][0]:,} to {GROWTH[-1][0]:,}",
            "rival": f"itself at N = {GROWTH[0][0]:,}",
            "reach": "<= 1.3", "ratio": max(values) / values[0], "setting":
            "d = 1024, factor 8, 4 + 2 epochs", "detail": {"a_pair": values},
        }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(fit(*map(int, sys.argv[1:]))))
