"""The mean of rewards, and what scikit-learn's own ensembles do with rewards."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import (
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from lens_sklearn import (
    GPRewardRegressor,
    LinearRewardRegressor,
    PairClassifier,
    RepeatAugmenter,
    VotingRewardRegressor,
    export,
    shuffle_columns,
)

WEAK, STRONG = LinearRewardRegressor(Cs=[1e-5]), LinearRewardRegressor(Cs=[1.0])
PARTS = [("weak", WEAK), ("strong", STRONG)]


def test_the_reward_is_the_mean_of_the_rewards(pairs, candidates):
    vote = VotingRewardRegressor(PARTS).fit(pairs)
    one, two = (clone(reward).fit(pairs) for _, reward in PARTS)
    for X in (pairs, candidates[0], candidates[0][0], candidates[0][None]):
        np.testing.assert_allclose(vote.predict(X), (one.predict(X) + two.predict(X)) / 2)
    weighted = VotingRewardRegressor(PARTS, weights=[3, 1]).fit(pairs)
    expected = 0.75 * one.predict(pairs) + 0.25 * two.predict(pairs)
    np.testing.assert_allclose(weighted.predict(pairs), expected)
    log_odds = (one.decision_function(pairs) + two.decision_function(pairs)) / 2
    np.testing.assert_allclose(vote.decision_function(pairs), log_odds)
    np.testing.assert_allclose(vote.predict_proba(pairs)[:, 1], 1 / (1 + np.exp(-log_odds)))
    assert vote.score(*candidates) > candidates[1].mean()
    assert vote.n_features_in_ == 12 and len(vote.estimators_) == 2


def test_padding_stays(pairs, candidates):
    X = candidates[0].copy()
    X[3, 2:] = np.nan
    for name, reward in (("gp", GPRewardRegressor()), ("linear", WEAK)):
        rewards = VotingRewardRegressor([(name, reward), ("weak", WEAK)]).fit(pairs).predict(X)
        assert np.isnan(rewards[3, 2:]).all() and np.isnan(rewards).sum() == 3


def test_parts_are_cloned_and_have_names(pairs):
    vote = VotingRewardRegressor(PARTS).fit(pairs)
    assert not hasattr(WEAK, "coef_") and vote.get_params()["weak__cv"] == 5
    other = clone(vote).set_params(weak__Cs=[1e-3], strong=GPRewardRegressor())
    assert WEAK.Cs == [1e-5] and isinstance(other.estimators[1][1], GPRewardRegressor)
    assert other.estimators[0][1].Cs == [1e-3]
    search = GridSearchCV(VotingRewardRegressor(PARTS), {"weights": [[1, 0], [0, 1]]}, cv=2)
    assert search.fit(pairs).best_params_["weights"] in ([1, 0], [0, 1])


def test_a_pipeline_may_augment(pairs):
    vote = VotingRewardRegressor([("a", make_pipeline(RepeatAugmenter(factor=2), WEAK))])
    expected = make_pipeline(RepeatAugmenter(factor=2), clone(WEAK)).fit(pairs).predict(pairs)
    np.testing.assert_array_equal(vote.fit(pairs).predict(pairs), expected)


@pytest.fixture
def seen():
    return []


@pytest.fixture
def recording(seen):
    """Return a reward that writes down what its fit is given."""

    class Recording(LinearRewardRegressor):
        def fit(self, X, y=None, sample_weight=None, *, groups=None):
            seen.append((y, sample_weight, groups))
            return super().fit(X, y, sample_weight, groups=groups)

    return Recording(Cs=[1e-3])


@pytest.mark.parametrize("routing", [False, True])
def test_what_fit_is_given_goes_on(routing, recording, seen, pairs):
    y, weight, groups = np.full(60, 0.75), np.arange(60), np.arange(60) // 2
    unlabeled = np.random.default_rng(0).normal(size=(9, 3, 12))
    with sklearn.config_context(enable_metadata_routing=True):  # else it refuses to be told
        weighted = clone(recording).set_fit_request(sample_weight=True)
        gp = GPRewardRegressor().set_fit_request(sample_weight=True)
    vote = VotingRewardRegressor([("one", weighted), ("two", weighted), ("gp", gp)])
    with sklearn.config_context(enable_metadata_routing=routing):
        vote.fit(pairs, y, weight, groups=groups, unlabeled=unlabeled)
        gp = clone(gp).fit(pairs, y, weight, groups=groups, unlabeled=unlabeled)
    assert len(seen) == 2
    for told in seen:
        for value, expected in zip(told, (y, weight, groups), strict=True):
            np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(vote.estimators_[2].predict(pairs), gp.predict(pairs))


def test_routing_asks_each_reward(recording, seen, pairs):
    with sklearn.config_context(enable_metadata_routing=True):
        deaf = clone(recording).set_fit_request(sample_weight=False)
        hearing = clone(recording).set_fit_request(sample_weight=True)
        vote = VotingRewardRegressor([("deaf", deaf), ("hearing", hearing)])
        vote.fit(pairs, sample_weight=np.ones(60))
    assert seen[0][1] is None and seen[1][1] is not None


def test_a_saved_vote_is_the_same(pairs, tmp_path):
    vote = VotingRewardRegressor(PARTS, weights=[1, 2]).fit(pairs)
    export.save(vote, tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.predict(pairs), vote.predict(pairs))
    assert again.get_params()["strong__Cs"] == [1.0]
    np.testing.assert_array_equal(clone(again).fit(pairs).predict(pairs), vote.predict(pairs))


@pytest.mark.parametrize(
    ("vote", "message"),
    [
        (VotingRewardRegressor([]), "estimators is empty"),
        (VotingRewardRegressor([("a", WEAK), ("a", STRONG)]), "Names provided are not unique"),
        (VotingRewardRegressor(PARTS, weights=[1]), "weights=.1.; there must be 2"),
        (VotingRewardRegressor(PARTS, weights=[1, -1]), "none below 0"),
        (VotingRewardRegressor(PARTS, weights=[0, 0]), "not all 0"),
        (VotingRewardRegressor(PARTS, weights=[1, np.nan]), "there must be 2"),
        (VotingRewardRegressor(PARTS, weights=[1, np.inf]), "there must be 2"),
        (VotingRewardRegressor("ab"), "'estimators' parameter"),
    ],
)
def test_bad_parts_are_named(vote, message, pairs):
    with pytest.raises(ValueError, match=message):
        vote.fit(pairs)


def test_responses_that_nothing_learns_from_are_refused(pairs):
    with pytest.raises(ValueError, match="unlabeled has no effect"):
        VotingRewardRegressor(PARTS).fit(pairs, unlabeled=np.ones((3, 2, 12)))
    vote = VotingRewardRegressor(PARTS).fit(pairs)
    with pytest.raises(ValueError, match="expecting 12 features"):
        vote.predict(np.ones((3, 2, 5)))


# ------------------------------------------------- scikit-learn's ensembles, as they are today
@pytest.fixture
def rated(candidates):
    X, gold = candidates
    return X.reshape(-1, 12), gold.ravel()


ONE_PROMPT = "ignore:the 50 rated embeddings come without groups:UserWarning"


@pytest.mark.filterwarnings(ONE_PROMPT)
def test_voting_regressor_is_right_on_rows(rated):
    X, y = rated
    mean = VotingRegressor(PARTS).fit(X, y).predict(X)
    np.testing.assert_allclose(mean, VotingRewardRegressor(PARTS).fit(X, y).predict(X))


def test_voting_regressor_averages_over_the_wrong_axis_elsewhere(pairs, candidates):
    # It asks a reward nothing that would tell a reward of it. This pins why there is our own:
    # once it is right or refuses, the documentation can say so.
    vote = VotingRegressor(PARTS).fit(pairs, np.ones(60))
    assert vote.predict(candidates[0]).shape == (5, 2) != candidates[1].shape
    with pytest.raises(TypeError, match="'y'"):
        VotingRegressor(PARTS).fit(pairs)


def test_other_ensembles_of_rewards_refuse_candidates(pairs, candidates):
    with pytest.raises(ValueError, match="dim 3"):
        BaggingRegressor(WEAK, n_estimators=2).fit(pairs, np.ones(60))
    stack = StackingRegressor(PARTS, cv=2).fit(pairs, np.ones(60))
    with pytest.raises(ValueError, match="features"):
        stack.predict(candidates[0])


def test_ensembles_of_pair_classifiers_are_right_on_pairs(pairs):
    X, y = shuffle_columns(pairs, random_state=0)
    parts = [(name, PairClassifier(reward)) for name, reward in PARTS]
    vote = VotingClassifier(parts, voting="soft").fit(X, y)
    expected = np.mean([clone(part).fit(X, y).predict_proba(X) for _, part in parts], axis=0)
    np.testing.assert_allclose(vote.predict_proba(X), expected)
    stack = StackingClassifier(parts, cv=3).fit(X, y)
    assert stack.predict_proba(X).shape == (60, 2) and stack.score(X, y) > 0.7
