"""Settings and data that the tests share."""

import os

# Threads of matrix products wait for each other where processes share two cores: ten times the
# time of one thread each. Numpy reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

# Models are built here: nothing asks the hub for one, and TRL reports no training to it.
for variable in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE"):
    os.environ.setdefault(variable, "1")
torch.set_num_threads(1)  # two workers on two cores; results are the same to the bit

# The first call of torch takes longer than hypothesis's default deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture
def pairs():
    """Pairs (60, 2, 12): the chosen one lies further along the first feature."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 12)).astype(np.float32)
    pairs[:, 0, 0] += 1.5
    return pairs


@pytest.fixture
def packaged():
    """Return a function of a packaged model's name: its folder, or the test is skipped."""

    def folder(name):
        from lens_sklearn._packaged_model import packaged_folder

        try:
            return packaged_folder(name)
        except ImportError as error:
            pytest.skip(str(error))

    return folder


@pytest.fixture
def candidates():
    """Return candidates (10, 5, 12) and their gold, the first feature."""
    rng = np.random.default_rng(1)
    candidates = rng.normal(size=(10, 5, 12)).astype(np.float32)
    return candidates, candidates[..., 0].astype(float)


@pytest.fixture
def topical():
    """Return a function of a generator, m and N that makes responses (m, N, 24).

    Those to one prompt differ in the first 4 features, and prompts in the others.
    """

    def make(rng, n_prompts, n_responses):
        topic = np.pad(3 * rng.normal(size=(n_prompts, 1, 20)), ((0, 0), (0, 0), (4, 0)))
        own = np.pad(rng.normal(size=(n_prompts, n_responses, 4)), ((0, 0), (0, 0), (0, 20)))
        return topic + own + 0.3 * rng.normal(size=(n_prompts, n_responses, 24))

    return make


@pytest.fixture
def anisotropic():
    """Return a function of a generator, m and N that makes responses (m, N, 12).

    Variances within and between prompts differ manyfold by direction, in other directions each,
    so that shrinkage leaves covariances as they are for the most part and their order matters.
    """
    mix = np.random.default_rng(42).normal(size=(2, 12, 12)) * np.geomspace(2, 0.1, 12)[:, None]

    def make(rng, n_prompts, n_responses):
        topic = rng.normal(size=(n_prompts, 1, 12)) @ mix[0]
        own = rng.normal(size=(n_prompts, n_responses, 12)) @ mix[1]
        return (topic + own + np.arange(12)).astype(np.float32)

    return make


@pytest.fixture
def anisotropic_pairs(anisotropic):
    """Pairs (80, 2, 12) of `anisotropic`; the chosen one has the larger first feature."""
    pairs = anisotropic(np.random.default_rng(0), 80, 2)
    return np.take_along_axis(pairs, np.argsort(-pairs[:, :, :1], axis=1), axis=1)
