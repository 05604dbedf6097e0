"""scikit-learn's estimator contract, held by every estimator."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    ContrastiveVAE,
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    GPRewardRegressor,
    LatentPairAugmenter,
    LinearRewardRegressor,
    RepeatAugmenter,
    RewardEnsemble,
    VotingRewardRegressor,
    WithinPromptWhitening,
)

ESTIMATORS = [
    EmbeddingScaler(),
    ContrastiveVAE(max_epochs=2),
    LatentPairAugmenter(ContrastiveVAE(max_epochs=2)),
    LatentPairAugmenter(
        ContrastiveVAE(max_epochs=2),
        decode="residual",
        keep="ordered",
        reward=BTRewardRegressor(learning_rate=1e-2),
    ),
    DirectNoiseAugmenter(),
    GaussianAugmenter(),
    RepeatAugmenter(),
    BTRewardRegressor(max_epochs=3),
    GPRewardRegressor(),
    GPRewardRegressor(uncertainty_penalty=0.5),
    WithinPromptWhitening(),
    DifferenceAugmenter(),
    DistillationAugmenter(factor=2),
    LinearRewardRegressor(),
    VotingRewardRegressor([("linear", LinearRewardRegressor())]),
    RewardEnsemble(
        [("linear", LinearRewardRegressor()), ("strong", LinearRewardRegressor(Cs=[1.0]))]
    ),
    AutoRewardRegressor(["linear", "GP"]),
]

MORE_ROWS = "fit_transform returns factor * n pairs and transform is the identity, by design"
LOG_ODDS = "a pairwise model has a decision function: the log-odds that column 0 wins"
BY_RANK = "ratings are paired by rank, and repeated rows have other partners than weighted ones"
STEPS = "weights and repetition give other batches, so other steps of the optimiser"
EXPECTED_FAILURES = {
    estimator: {
        "check_regressors_no_decision_function": LOG_ODDS,
        "check_sample_weight_equivalence_on_dense_data": reason,
    }
    for estimator, reason in (
        (BTRewardRegressor, STEPS),
        (LinearRewardRegressor, BY_RANK),
        (GPRewardRegressor, BY_RANK),
        (VotingRewardRegressor, BY_RANK),
        (RewardEnsemble, BY_RANK),
        (AutoRewardRegressor, BY_RANK),
    )
}


def expected_failures(estimator):
    if hasattr(estimator, "factor"):
        return {
            "check_transformer_general": MORE_ROWS,
            "check_transformer_data_not_an_array": MORE_ROWS,
        }
    return EXPECTED_FAILURES.get(type(estimator), {})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:the .* rated embeddings come without groups:UserWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failures, xfail_strict=True)
def test_estimator_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_two_d_array_stays_on(estimator):
    # With the tag off scikit-learn runs a single check: a green that says nothing.
    assert estimator.__sklearn_tags__().input_tags.two_d_array
