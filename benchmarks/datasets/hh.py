"""Human preferences of HH-RLHF (harmless), embedded; every pair has a prompt of its own."""

import numpy as np

from ._dataset import Dataset
from ._splits import PairData


def load(data, store=None):
    """Read ``hh_harmless_dev_minilm3840.npz``."""
    with np.load(data / "hh_harmless_dev_minilm3840.npz") as arrays:
        return PairData(arrays["embeddings"].astype(np.float32))


DATASETS = [
    Dataset(
        "hh_3840",
        load,
        n_features=3840,
        gold=False,
        suites=("curves",),
        sizes=(50, 100, 200, 300, 500, 850),  # 856 training pairs are there
    )
]
