"""AlpacaEval responses, embedded: 16 models' answers to a prompt, judged against a reference."""

from functools import partial

import numpy as np

from ._dataset import Dataset
from ._splits import CandidateData

SIZES = (50, 100, 200, 300, 500, 1000, 2000, 5000)


def load(data, store=None, *, d):
    """Read ``alpaca_eval_dev_minilm{d}.npz``."""
    with np.load(data / f"alpaca_eval_dev_minilm{d}.npz") as arrays:
        return CandidateData(
            arrays["embeddings"].astype(np.float32), arrays["gold"].astype(np.float64)
        )


DATASETS = [
    Dataset(f"alpaca_{d}", partial(load, d=d), n_features=d, suites=("curves",), sizes=SIZES)
    for d in (384, 3840)
]
