"""Better reward models from few preference pairs.

Rows of text go through estimators that chain in a scikit-learn Pipeline::

    rows (prompt, chosen, rejected)          rows (prompt, responses), gold
        │ LLMEmbedder, EmbeddingScaler           │ the same transforms
    pairs (n, 2, d), column 0 chosen         candidates (n_prompts, N, d)
        │ LatentPairAugmenter                    │ (unchanged)
    AugmentedPairs (factor·n, 2, d)              │
        │ BTRewardRegressor.fit                  │ .predict, .score: Best-of-N
        ▼                                        ▼
    a reward model                           mean gold reward of the pick

``datasets`` has toy and demo data, ``theory`` the paper's theorems.
"""

from ._augmented_pairs import AugmentedPairs
from ._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._embedder import LLMEmbedder
from ._gp_reward import GPRewardRegressor
from ._io import load_candidates, load_preferences
from ._latent_augmenter import LatentPairAugmenter
from ._rows import prompt_groups
from ._scaler import EmbeddingScaler
from ._within_prompt_whitening import WithinPromptWhitening
from .displays import BestOfNDisplay
from .metrics import BestOfNScorer, best_of_n_curve, best_of_n_score

__version__ = "0.1.0"

__all__ = [
    "AugmentedPairs",
    "BTRewardRegressor",
    "BestOfNDisplay",
    "BestOfNScorer",
    "ContrastiveVAE",
    "DirectNoiseAugmenter",
    "EmbeddingScaler",
    "GaussianAugmenter",
    "GPRewardRegressor",
    "LLMEmbedder",
    "LatentPairAugmenter",
    "RepeatAugmenter",
    "WithinPromptWhitening",
    "best_of_n_curve",
    "best_of_n_score",
    "load_candidates",
    "load_preferences",
    "prompt_groups",
]
