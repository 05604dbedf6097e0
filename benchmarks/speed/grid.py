"""A grid search over the divergence's weight and the noise, with and without `memory`."""

import tempfile
import time

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter

EPOCHS = 25, 5  # a quarter of the defaults' 100 and 20: their proportion, and so the ratio, stays
FEATURES = 1024


class CountedVAE(ContrastiveVAE):
    """Counts its fits."""

    n_fits = 0

    def fit(self, X, y=None):
        """Count and fit."""
        CountedVAE.n_fits += 1
        return super().fit(X, y)


def search(pairs, memory):
    """Return seconds and fits of the autoencoder."""
    augment = LatentPairAugmenter(
        CountedVAE(max_epochs=EPOCHS[0], random_state=0), memory=memory, random_state=0
    )
    reward = BTRewardRegressor(max_epochs=EPOCHS[1], random_state=0)
    grid = {
        "augment__vae__gamma": [0, 0.1, 0.5, 1.0],
        "augment__noise_variance": [1e-3, 1e-2, 1e-1, 1.0],
    }
    CountedVAE.n_fits, start = 0, time.perf_counter()
    GridSearchCV(Pipeline([("augment", augment), ("reward", reward)]), grid, cv=5).fit(pairs)
    return time.perf_counter() - start, CountedVAE.n_fits


def measure(args):
    """Yield the rows of the table."""
    pairs = np.random.default_rng(0).normal(size=(1000, 2, FEATURES)).astype(np.float32)
    without, n_without = search(pairs, None)
    with tempfile.TemporaryDirectory() as folder:
        seconds, n_fits = search(pairs, folder)
    setting = f"N = 1000, d = {FEATURES}, factor 4, {EPOCHS[0]} + {EPOCHS[1]} epochs"
    row = {"rival": "without memory", "setting": setting}
    row |= {"seconds": {"ours": seconds, "rival": without}}
    yield row | {"what": "4 x 4 x 5 grid: time", "ratio": seconds / without, "reach": "<= 0.4"}
    yield row | {
        "what": "4 x 4 x 5 grid: autoencoders fitted", "ratio": n_fits, "reach": "<= 21",
        "detail": {"without_memory": n_without},
    }  # fmt: skip
