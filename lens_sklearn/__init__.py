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

``datasets`` has toy and demo data, ``metrics`` and ``displays`` what results are judged by,
``export`` files that run no code, ``serving`` a reward over HTTP, ``theory`` the paper's theorems,
``textual`` the systems of text space. A name is imported when it is first used, so that the
command line starts at once.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "AugmentedPairs": "_augmented_pairs",
    "AblationDisplay": "displays",
    "AutoRewardRegressor": "_auto_reward",
    "BTRewardRegressor": "_bt_reward",
    "BestOfNComparisonDisplay": "displays",
    "BestOfNDisplay": "displays",
    "BestOfNScorer": "metrics",
    "ContrastiveVAE": "_contrastive_vae",
    "DataMultiplierDisplay": "displays",
    "DifferenceAugmenter": "_augmenters",
    "DirectNoiseAugmenter": "_augmenters",
    "DistillationAugmenter": "_distillation",
    "EmbeddingScaler": "_scaler",
    "FeatureWeightsDisplay": "displays",
    "GPRewardRegressor": "_gp_reward",
    "GaussianAugmenter": "_augmenters",
    "LLMEmbedder": "_embedder",
    "LatentPairAugmenter": "_latent_augmenter",
    "LatentSpaceDisplay": "displays",
    "LinearRewardRegressor": "_linear_reward",
    "PairCalibrationDisplay": "displays",
    "PairClassifier": "_pair_classifier",
    "RepeatAugmenter": "_augmenters",
    "RewardEnsemble": "_reward_ensemble",
    "RewardLengthDisplay": "displays",
    "ResponseFeatures": "_response_features",
    "ResponseViews": "_response_views",
    "TrainingHistoryDisplay": "displays",
    "VotingRewardRegressor": "_voting_reward",
    "WithinPromptWhitening": "_within_prompt_whitening",
    "Comparison": "_comparison_table",
    "ComparisonDisplay": "displays",
    "as_reward_function": "_reward_function",
    "best_of_n_curve": "metrics",
    "best_of_n_score": "metrics",
    "compare_rewards": "_comparison",
    "expected_calibration_error": "metrics",
    "load_candidates": "_io",
    "from_pretrained": "_hub",
    "load_preferences": "_io",
    "model_card": "_model_card",
    "pair_accuracy_score": "metrics",
    "pair_targets": "_io",
    "pairs_from_lists": "_pair_lists",
    "pairs_from_ratings": "_ratings",
    "prompt_groups": "_rows",
    "push_to_hub": "_hub",
    "response_lengths": "_shortcuts",
    "shortcut_rewards": "_shortcuts",
    "shuffle_columns": "_pair_classifier",
    "suggest_pairs": "_suggest_pairs",
    "suspect_pairs": "_suspect_pairs",
}
_MODULES = (
    "datasets",
    "displays",
    "export",
    "metrics",
    "reporting",
    "serving",
    "textual",
    "theory",
)

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value  # the next look-up finds it here
    return value


def __dir__():
    return sorted([*globals(), *_HOMES, *_MODULES])
