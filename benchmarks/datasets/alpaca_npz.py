"""AlpacaEval responses, embedded: 16 models' answers to a prompt, judged against a reference."""

import numpy as np

from .splits import CandidateData


def load(data, store=None, *, d):
    """Read ``alpaca_eval_dev_minilm{d}.npz``."""
    with np.load(data / f"alpaca_eval_dev_minilm{d}.npz") as arrays:
        return CandidateData(
            arrays["embeddings"].astype(np.float32), arrays["gold"].astype(np.float64)
        )
