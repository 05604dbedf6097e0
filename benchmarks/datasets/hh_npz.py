"""Human preferences of HH-RLHF (harmless), embedded; every pair has a prompt of its own."""

import numpy as np

from .splits import PairData


def load(data, store=None):
    """Read ``hh_harmless_dev_minilm3840.npz``."""
    with np.load(data / "hh_harmless_dev_minilm3840.npz") as arrays:
        return PairData(arrays["embeddings"].astype(np.float32))
