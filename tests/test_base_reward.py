"""What rewards share: rewards of embeddings by any kind of reward, and who asks for prompts."""

import numpy as np
import pytest
from sklearn.utils.metadata_routing import get_routing_for_object

from lens_sklearn import BTRewardRegressor, GPRewardRegressor, LinearRewardRegressor
from lens_sklearn._base_reward import RewardRegressor, rewards_of

X = np.random.default_rng(0).normal(size=(3, 4, 5))
WEIGHT = np.arange(5.0)


class Rows:
    """A model whose `predict` takes rows (m, d) alone, as scikit-learn's do."""

    def predict(self, rows):
        assert rows.shape == (12, 5)
        return rows @ WEIGHT


class Coefficients:
    """A linear model of two axes; its labels would be no rewards."""

    coef_ = WEIGHT[None]

    def predict(self, rows):
        raise AssertionError("labels are no rewards")


@pytest.mark.parametrize("reward", [Rows(), Coefficients(), lambda X: X @ WEIGHT])
def test_rewards_of_every_kind_of_reward(reward):
    rewards = rewards_of(reward, X)
    assert rewards.shape == (3, 4) and rewards.dtype == np.float64
    np.testing.assert_allclose(rewards, X @ WEIGHT)


def test_rewards_of_ours_keep_padding(pairs):
    reward = LinearRewardRegressor().fit(pairs)
    padded = pairs.copy()
    padded[3, 1] = np.nan
    rewards = rewards_of(reward, padded)
    assert np.isnan(rewards[3, 1]) and np.isnan(rewards).sum() == 1
    np.testing.assert_allclose(rewards[:3], pairs[:3] @ reward.coef_, rtol=1e-5)


def test_what_gives_no_rewards_is_named():
    with pytest.raises(TypeError, match="a object gives no rewards; it needs `predict` or `coef_`"):
        rewards_of(object(), X)


@pytest.mark.parametrize(
    "reward", [BTRewardRegressor(), LinearRewardRegressor(), GPRewardRegressor()]
)
def test_prompts_are_asked_for_by_every_reward(reward):
    requests = get_routing_for_object(reward).fit.requests
    assert requests["groups"] is True
    assert requests.get("unlabeled", True) is True


class Sum(RewardRegressor):
    """The smallest reward: it adds up the features."""

    def fit(self, X, y=None):
        self.n_features_in_ = np.shape(X)[-1]
        return self

    def _predict_rows(self, rows):
        return rows.sum(axis=1)


def test_a_reward_needs_no_more_than_fit_and_rewards_of_rows(pairs, candidates):
    reward = Sum().fit(pairs)
    np.testing.assert_allclose(reward.predict(candidates[0]), candidates[0].sum(axis=-1), rtol=1e-5)
    log_odds = pairs[:, 0].sum(axis=1) - pairs[:, 1].sum(axis=1)
    np.testing.assert_allclose(reward.decision_function(pairs), log_odds, atol=1e-5)
    np.testing.assert_allclose(reward.decision_function(pairs[:, 0]), pairs[:, 0].sum(axis=1))
    probability = reward.predict_proba(pairs)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-log_odds)), atol=1e-6)
    np.testing.assert_allclose(probability[:, 0], 1 / (1 + np.exp(log_odds)), atol=1e-6)
    assert reward.score(pairs) == np.mean(log_odds > 0)
    assert reward.score(pairs, np.zeros(60)) == np.mean(log_odds < 0)
    with pytest.raises(ValueError, match=r"expected pairs of shape \(n, 2, d\)"):
        reward.decision_function(candidates[0])
    with pytest.raises(NotImplementedError):
        RewardRegressor._predict_rows(reward, pairs[:, 0])
