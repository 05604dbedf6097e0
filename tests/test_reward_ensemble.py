"""Ensembles of rewards: what is subtracted where they differ, by hand and by property."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from lens_sklearn import (
    BTRewardRegressor,
    LinearRewardRegressor,
    RepeatAugmenter,
    RewardEnsemble,
    VotingRewardRegressor,
    export,
)
from lens_sklearn._base_reward import RewardRegressor

MEMBERS = [(f"seed {i}", BTRewardRegressor(max_epochs=2, random_state=i)) for i in range(3)]


class Column(RewardRegressor):
    """A reward that is one feature, and a shift."""

    def __init__(self, column=0, shift=0.0):
        self.column, self.shift = column, shift

    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        self.n_features_in_ = np.shape(X)[-1]
        return self

    def _predict_rows(self, rows):
        return rows[:, self.column] + self.shift


# The members' rewards of three candidates: (0, 3, 6) and (3, 0, 0); shifted they are
# (-3, 0, 3) and (2, -1, -1), whose means are (-1/2, -1/2, 1), deviations (5/2, 1/2, 2) and
# minima (-3, -1, -1). The prompt's own means are 3 and 1, and 2 on average.
THREE = np.array([[[0.0, 3.0], [3.0, 0.0], [6.0, 0.0]]], dtype=np.float32)
DEVIATIONS = np.array([2.5, 0.5, 2.0])
TRAIN = np.array([[[4.0, 1.0], [0.0, 1.0]], [[2.0, 5.0], [2.0, 1.0]]], dtype=np.float32)


def two(**params):
    members = [("one", Column(0)), ("two", Column(1, params.pop("shift", 0.0)))]
    return RewardEnsemble(members, **params).fit(TRAIN)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"combine": "mean"}, [1.5, 1.5, 3.0]),
        ({}, [-1.0, 1.0, 1.0]),
        ({"uncertainty_penalty": 2}, [-3.5, 0.5, -1.0]),
        ({"combine": "worst"}, [-1.0, 1.0, 1.0]),
    ],
)
def test_rewards_by_hand(params, expected):
    rewards, deviations = two(**params).predict(THREE, return_std=True)
    np.testing.assert_allclose(rewards, [expected], rtol=1e-6)
    np.testing.assert_allclose(deviations, [DEVIATIONS], rtol=1e-6)
    np.testing.assert_array_equal(two(**params).predict(THREE), rewards)


def test_weights_by_hand():
    # weights 3 and 1: means (-7/4, -1/4, 2), squared gaps 3/16 of (5, 1, 4) squared
    ensemble = two(weights=[3, 1])
    rewards, deviations = ensemble.predict(THREE, return_std=True)
    expected = np.sqrt(3 / 16) * np.array([5, 1, 4])
    np.testing.assert_allclose(deviations, [expected], rtol=1e-6)
    np.testing.assert_allclose(rewards, [[0.75, 2.25, 4.5] - expected], rtol=1e-6)


def test_a_response_alone_is_held_against_the_training_responses():
    ensemble = two()
    np.testing.assert_allclose(ensemble.member_means_, [2.0, 2.0])
    # (6, 0) is 4 above and 2 below the members' means: mean 3, deviation 3
    row = THREE[0, 2:]
    for alone in (row, row[None]):
        rewards, deviations = ensemble.predict(alone, return_std=True)
        assert (rewards.ravel(), deviations.ravel()) == ([0.0], [3.0])
    np.testing.assert_allclose(two(combine="worst").predict(row), [2.0 - 2.0])
    padded = np.concatenate([row[None], np.full((1, 2, 2), np.nan, dtype=np.float32)], axis=1)
    np.testing.assert_array_equal(ensemble.predict(padded), [[0.0, np.nan, np.nan]])


def test_padding_counts_for_nothing():
    padded = np.concatenate([THREE, np.full((1, 2, 2), np.nan, dtype=np.float32)], axis=1)
    for combine in ("mean", "lower_confidence", "worst"):
        rewards, deviations = two(combine=combine).predict(padded, return_std=True)
        np.testing.assert_allclose(rewards[0, :3], two(combine=combine).predict(THREE)[0])
        np.testing.assert_allclose(deviations[0, :3], DEVIATIONS, rtol=1e-6)
        assert np.isnan(rewards[0, 3:]).all() and np.isnan(deviations[0, 3:]).all()


@given(st.floats(-100, 100), st.sampled_from(["lower_confidence", "worst"]))
def test_a_members_shift_changes_no_pick(shift, combine):
    plain, shifted = two(combine=combine), two(combine=combine, shift=shift)
    for X in (THREE, THREE[:, :2], THREE[0]):
        difference = shifted.predict(X) - plain.predict(X)
        np.testing.assert_allclose(difference, np.full(X.shape[:-1], shift / 2), atol=1e-4)


def test_pairs_are_antisymmetric():
    # The members' log-odds of (0, 3) against (6, 0) are -6 and 3.
    pair = THREE[:, [0, 2]]
    for combine, expected in (("mean", -1.5), ("lower_confidence", -1.5), ("worst", -1.5)):
        ensemble = two(combine=combine)
        np.testing.assert_allclose(ensemble.decision_function(pair), [expected], rtol=1e-6)
        swapped = ensemble.predict_proba(pair[:, ::-1])
        np.testing.assert_allclose(ensemble.predict_proba(pair), swapped[:, ::-1])


def test_worst_of_a_pair_is_the_middle_of_the_extremes():
    members = [("a", Column(0)), ("b", Column(1)), ("c", Column(2))]
    pair = np.array([[[5.0, 1.0, 0.0], [0.0, 0.0, 1.0]]], dtype=np.float32)  # 5, 1 and -1
    ensemble = RewardEnsemble(members, combine="worst").fit(pair)
    np.testing.assert_allclose(ensemble.decision_function(pair), [(5 - 1) / 2])


def test_the_pick_goes_by_the_combined_reward():
    gold = np.array([[0.0, 1.0, 2.0]])
    assert two(combine="mean").score(THREE, gold) == 2.0
    assert two(uncertainty_penalty=1.5).score(THREE, gold) == 1.0


def test_the_mean_is_that_of_a_vote(pairs, candidates):
    ensemble = RewardEnsemble(MEMBERS, combine="mean", weights=[1, 2, 3]).fit(pairs)
    vote = VotingRewardRegressor(MEMBERS, weights=[1, 2, 3]).fit(pairs)
    X, gold = candidates
    np.testing.assert_allclose(ensemble.predict(X), vote.predict(X), rtol=1e-5)
    careful = RewardEnsemble(MEMBERS).fit(pairs)
    assert (careful.predict(X) < vote.set_params(weights=None).predict(X)).all()
    assert careful.score(X, gold) > gold.mean()


def test_fitted_members_stay_as_they_are(pairs):
    fitted = [(name, clone(member).fit(pairs)) for name, member in MEMBERS]
    frozen = RewardEnsemble([(name, FrozenEstimator(member)) for name, member in fitted])
    frozen.fit(pairs[:5])
    means = [member.predict(pairs[:5]).mean() for _, member in fitted]
    np.testing.assert_allclose(frozen.member_means_, means, rtol=1e-5)
    for (_, member), kept in zip(fitted, frozen.estimators_, strict=True):
        np.testing.assert_array_equal(kept.predict(pairs), member.predict(pairs))


def test_augmented_pairs_and_dropped_texts(pairs):
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    members = [("linear", LinearRewardRegressor(Cs=[0.1])), ("other", Column())]
    ensemble = RewardEnsemble(members).fit(augmented)
    assert ensemble.member_means_[1] == pytest.approx(pairs[..., 0].mean(), rel=1e-5)
    dropped = pairs.copy()
    dropped[3, 1] = np.nan
    with pytest.warns(UserWarning, match="all-NaN"):
        ensemble.fit(dropped)
    kept = np.delete(pairs[..., 0].ravel(), 7)
    assert ensemble.member_means_[1] == pytest.approx(kept.mean(), rel=1e-5)


def test_a_saved_ensemble_is_the_same(pairs, candidates, tmp_path):
    ensemble = RewardEnsemble(MEMBERS, uncertainty_penalty=0.5).fit(pairs)
    export.save(ensemble, tmp_path)
    again = export.load(tmp_path)
    for X in (candidates[0], pairs[:, 0]):
        for one, other in zip(again.predict(X, True), ensemble.predict(X, True), strict=True):
            np.testing.assert_array_equal(one, other)
    path = tmp_path / "pipeline.json"
    description = json.loads(path.read_text())
    del description["steps"][0]["state"]["estimators_"][2]
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match="nothing asks for|has shape"):
        export.load(tmp_path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimators": MEMBERS[:1]}, "estimators has one"),
        ({"combine": "worst", "uncertainty_penalty": 2.0}, "has no effect with combine='worst'"),
        ({"combine": "mean", "uncertainty_penalty": 2.0}, "has no effect with combine='mean'"),
        ({"combine": "worst", "weights": [1, 2, 3]}, r"weights=\[1, 2, 3\] has no effect"),
        ({"weights": [1, 2]}, "there must be 3"),
        ({"uncertainty_penalty": 0}, "'uncertainty_penalty' parameter"),
        ({"combine": "median"}, "'combine' parameter"),
    ],
)
def test_what_has_no_effect_is_refused(params, message, pairs):
    ensemble = RewardEnsemble(MEMBERS).set_params(**params)
    with pytest.raises(ValueError, match=message):
        ensemble.fit(pairs)
    assert not hasattr(ensemble, "estimators_")


def test_one_reward_has_a_mean(pairs):
    alone = RewardEnsemble(MEMBERS[:1], combine="mean").fit(pairs)
    rewards, deviations = alone.predict(pairs, return_std=True)
    np.testing.assert_array_equal(rewards, alone.estimators_[0].predict(pairs))
    assert not deviations.any()


def test_a_failed_fit_leaves_the_ensemble(pairs):
    ensemble = RewardEnsemble(MEMBERS).fit(pairs)
    before = ensemble.predict(pairs)
    with pytest.raises(ValueError, match="estimators is empty"):
        ensemble.set_params(estimators=[]).fit(pairs)
    np.testing.assert_array_equal(ensemble.predict(pairs), before)
