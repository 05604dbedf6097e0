"""The toy world of ``make_preference_pairs``: prompts, candidates and an exact gold reward."""

from lens_sklearn.datasets import make_preference_pairs

from ._dataset import Dataset
from ._splits import CandidateData


def load(data=None, store=None, *, n_prompts=505, n_features=64):
    """Make one world of as many prompts as the real candidates have; it needs no file."""
    world = make_preference_pairs(
        n_pairs=1,
        n_features=n_features,
        n_test_prompts=n_prompts,
        n_latent=16,
        embedding_noise=0.3,
        nonlinearity=0.5,
        random_state=0,
    )
    return CandidateData(world.candidates, world.gold, n_test=n_prompts // 5)


DATASETS = [Dataset("toy", load, n_features=64, needs_files=False)]
