"""The Gaussian-process reward: an average over strengths of two views, by left-out prompts."""

from dataclasses import replace

import gp_reference
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from lens_sklearn import (
    AugmentedPairs,
    DirectNoiseAugmenter,
    GPRewardRegressor,
    RepeatAugmenter,
    WithinPromptWhitening,
    _gp_reward,
    _within_prompt_whitening,
)
from lens_sklearn._gp_pairs import TrainingPairs, merge_repeated_pairs
from lens_sklearn._gp_selection import (
    Averaged,
    Prior,
    SelectionSettings,
    average_posteriors,
    draw_groups,
)
from lens_sklearn._within_prompt_whitening import WhiteningSettings
from lens_sklearn.datasets import make_preference_pairs

SETTINGS = SelectionSettings()
FEATURES = {"linear": 3 / 4, "gaussian": 1 / 4}
ONE_PROMPT = "ignore:all distinct pairs are of one prompt:UserWarning"


def ordered_by(rewards, X):
    """Put the better response of each pair first."""
    order = np.argsort(-rewards, axis=1)
    return np.take_along_axis(X, order[:, :, None], axis=1).astype(np.float32)


def two_views(rng, n, noise=0.5):
    """Pairs of an embedding (6) and features (4); both, and chance, say which one is better."""
    X = rng.normal(size=(n, 2, 10)) + 0.5 * rng.normal(size=(n, 1, 10))
    X[..., 9] = np.round(np.exp(X[..., 9]))  # a count
    return ordered_by(X[..., 0] - X[..., 1] + X[..., 6] + noise * rng.normal(size=(n, 2)), X)


def by_common_factor(rng, n, common):
    """Features have a factor in common, by which pairs are ordered or by anything but that."""
    X = rng.normal(size=(n, 2, 12)) + 0.6 * rng.normal(size=(n, 2, 1))
    return ordered_by(X.mean(axis=2) if common else X[:, :, 0] - X[:, :, 1], X)


# ---------------------------------------------------------------------------- posterior
@pytest.mark.parametrize("kernel", ["auto", "linear", "tangent", "gaussian"])
def test_is_the_most_probable_reward(anisotropic_pairs, kernel):
    """No other log-odds have a larger posterior density: against a general minimiser."""
    pairs = anisotropic_pairs[:60]
    y, weight = np.tile([1.0, 0.7, 0.5], 20), np.tile([1.0, 2.0], 30)
    reward = GPRewardRegressor(2.0, kernel=kernel).fit(pairs, y, sample_weight=weight)
    shares = gp_reference.THIRDS if kernel == "auto" else {kernel: 1.0}
    K = 2 * gp_reference.pair_kernel(reward.X_train_, shares)

    def loss(dual):
        odds = K @ dual
        likelihood = weight @ (np.logaddexp(0, odds) - y * odds)
        return likelihood + dual @ odds / 2, K @ (weight * (expit(odds) - y) + dual)

    best = minimize(loss, np.zeros(60), jac=True, options={"gtol": 1e-8})
    found = reward.decision_function(pairs)
    np.testing.assert_allclose(found, reward.slope_ * (K @ best.x), atol=1e-4)
    assert reward.slope_ != pytest.approx(1, abs=0.02)
    assert np.square(reward.X_train_).sum(axis=1).mean() == pytest.approx(1)
    likelihood = best.fun - best.x @ K @ best.x / 2
    win = expit(K @ best.x)
    determinant = np.linalg.slogdet(np.eye(60) + K * (weight * win * (1 - win)))[1]
    evidence = -likelihood - best.x @ K @ best.x / 2 - determinant / 2
    assert reward.log_marginal_likelihood_value_ == pytest.approx(evidence, abs=1e-3)
    assert reward.strengths_.tolist() == [[2]] and reward.strength_weights_.tolist() == [1]


def test_the_evidence_prefers_the_variance_that_made_the_data():
    """Log-odds drawn with a large variance: a small one is less likely, and a huge one too."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(400, 2, 4)).astype(np.float32)
    odds = 3 * (pairs[:, 0, 0] - pairs[:, 1, 0])
    swap = rng.random(400) > expit(odds)
    pairs[swap] = pairs[swap, ::-1]
    evidence = {
        v: GPRewardRegressor(v).fit(pairs).log_marginal_likelihood_value_ for v in (0.01, 10, 1e4)
    }
    assert evidence[10] > max(evidence[0.01], evidence[1e4]) + 1


class ByHand:
    """The average, kernel by kernel, from what the kernels see of pairs and new embeddings."""

    def __init__(self, fitted, views, pairs, new, y, weight, group, weights=None):
        """Take `views`, of each its shares, its strength's number and whether it predicts."""
        n = len(pairs)
        D = gp_reference.differences(n)
        K, at, parts = [], [], []
        for name, (shares, place, predicted) in views.items():
            members, rows = self.seen_by(fitted, name, pairs), self.seen_by(fitted, name, new)
            kernels = gp_reference.kernel_weights(members, shares)
            assert kernels == pytest.approx(fitted.kernel_weights_[name])
            K.append(D @ gp_reference.covariance(kernels, members, members) @ D.T)
            at.append(gp_reference.covariance(kernels, rows, members) @ D.T)
            parts.append((place, predicted))
        rewards, losses, slopes, self.left_out = [], [], [], []
        for strength in fitted.strengths_:
            strong = [strength[p] if yes else 30 for p, yes in parts]
            whole = sum(v * k for v, k in zip(strong, K, strict=True))
            part = sum(strength[p] * k for (p, yes), k in zip(parts, K, strict=True) if yes)
            to = sum(strength[p] * a for (p, yes), a in zip(parts, at, strict=True) if yes)
            seen, noise = gp_reference.pseudo_observations(whole, y, weight)
            odds = gp_reference.left_out(whole, whole, seen, noise, group)
            slope = gp_reference.slope_of(odds, y, weight)
            losses.append(weight @ (np.logaddexp(0, slope * odds) - y * slope * odds))
            left_out = gp_reference.left_out(whole, part, seen, noise, group)
            slope = gp_reference.slope_of(left_out, y, weight)  # of what is predicted
            rewards.append(slope * (to @ np.linalg.solve(whole + np.diag(noise), seen)))
            self.left_out.append(slope * left_out)
            slopes.append(slope)
        self.weights = softmax(-np.array(losses) / 4) if weights is None else weights
        self.rewards = self.weights @ rewards
        self.left_out = self.weights @ self.left_out
        self.slope = self.weights @ slopes
        self.prior_variance = np.exp(self.weights @ np.log(fitted.strengths_))

    @staticmethod
    def seen_by(fitted, name, X):
        rows = X.reshape(-1, X.shape[-1]).astype(float)
        d, k = fitted.n_features_in_, fitted.n_response_features
        if name == "embedding":
            return fitted.whitening_.apply(rows[:, : d - k])
        controlled = np.array(fitted.controlled, dtype=int) % d
        columns = np.setdiff1d(np.arange(d - k, d), controlled)
        columns = controlled if name == "controlled" else columns
        at = columns - (d - k)
        standard = (rows[:, columns] - fitted.feature_mean_[at]) / fitted.feature_scale_[at]
        return np.clip(standard, -3, 3) / np.sqrt(len(columns))

    def check(self, fitted, new):
        np.testing.assert_allclose(fitted.strength_weights_, self.weights, atol=1e-4)
        np.testing.assert_allclose(fitted.predict(new), self.rewards, atol=1e-3)
        np.testing.assert_allclose(fitted.left_out_log_odds_, self.left_out, atol=1e-3)
        assert fitted.slope_ == pytest.approx(self.slope, rel=1e-3)
        np.testing.assert_allclose(fitted.prior_variance_, self.prior_variance, rtol=1e-3)


EMBEDDING = {"embedding": (gp_reference.THIRDS, 0, True)}
BOTH = EMBEDDING | {"features": (FEATURES, 1, True)}


@pytest.mark.parametrize(
    ("params", "views", "n_strengths"),
    [
        ({}, EMBEDDING, 5),
        ({"n_response_features": 4}, BOTH, 16),
        ({"n_response_features": 10}, {"features": (FEATURES, 0, True)}, 5),
        (
            {"n_response_features": 4, "controlled": (-1, 7)},
            BOTH | {"controlled": ({"linear": 1.0}, 1, False)},
            16,
        ),
        (
            {"n_response_features": 2, "controlled": [8, 9]},
            EMBEDDING | {"controlled": ({"linear": 1.0}, 0, False)},
            5,
        ),
        ({"n_response_features": 4, "prior_variance": 3.0}, BOTH, 1),
    ],
    ids=["one view", "two views", "features alone", "controlled", "all controlled", "a variance"],
)
def test_the_average_is_that_by_hand(params, views, n_strengths):
    rng = np.random.default_rng(0)
    pairs, new = two_views(rng, 40), rng.normal(size=(15, 10)).astype(np.float32)
    y, weight = np.tile([1.0, 0.9, 1.0, 0.4], 10), np.tile([1.0, 2.0], 20)
    group = np.arange(40) // 3
    told = {"sample_weight": weight, "groups": group}
    fitted = GPRewardRegressor(**params).fit(pairs, y, **told)
    assert len(fitted.strengths_) == n_strengths
    if "prior_variance" in params:
        assert fitted.strengths_.tolist() == [[1.5, 1.5]], "views share it"
    ByHand(fitted, views, pairs, new, y, weight, group).check(fitted, new)


def test_more_pairs_than_weigh_strengths_keep_the_heaviest():
    """Of 60 pairs 40 weigh the strengths, and the three best are fitted to all."""
    rng = np.random.default_rng(1)
    pairs = two_views(rng, 60).astype(float)
    members = pairs.reshape(120, 10)
    D, group = gp_reference.differences(60), np.arange(60) // 2
    parts = [D @ view @ view.T @ D.T for view in (members[:, :6], members[:, 6:])]
    prior = Prior(
        [torch.from_numpy(part) for part in parts], np.array([0, 1]), np.array([True, True])
    )
    data = TrainingPairs(members, np.ones(60), np.ones(60), group)
    index = np.arange(20, 60)
    strengths = SETTINGS.strengths(2)
    few = average_posteriors(prior, data, strengths, index, SETTINGS)
    some = average_posteriors(
        prior.take(index), data.take(index), strengths, np.arange(40), SETTINGS
    )
    best = np.sort(np.argsort(-some.weights)[:3])
    np.testing.assert_array_equal(few.strengths, strengths[best])
    anew = average_posteriors(prior, data, strengths[best], np.arange(60), SETTINGS)
    np.testing.assert_allclose(few.weights, some.weights[best] / some.weights[best].sum())
    assert few.posterior.dual_coef.shape == (60,) and few.left_out.shape == (60,)
    assert few.slope == pytest.approx(anew.slope, rel=0.1)
    two = average_posteriors(prior, data, strengths, index, replace(SETTINGS, max_posteriors=2))
    assert len(two.strengths) == len(two.weights) == 2


def test_no_more_pairs_than_that_weigh_strengths(monkeypatch):
    monkeypatch.setattr(_gp_reward, "SelectionSettings", lambda: replace(SETTINGS, max_left_out=30))
    pairs = two_views(np.random.default_rng(0), 40)
    groups = np.arange(40) // 2
    fitted = GPRewardRegressor(n_response_features=4).fit(pairs, groups=groups)
    assert fitted.strengths_.shape == (3, 2) and not np.isnan(fitted.left_out_log_odds_).any()
    once, weights = np.ones(40), fitted.strength_weights_
    by_hand = ByHand(fitted, BOTH, pairs, pairs, once, once, groups, weights)
    by_hand.check(fitted, pairs.reshape(-1, 10))
    assert np.ptp(weights) > 1e-3 and weights.sum() == pytest.approx(1)
    # Two prompts of 20: neither fits in with another, so parts of both weigh them.
    large = GPRewardRegressor(n_response_features=4).fit(pairs, groups=np.arange(40) % 2)
    assert large.strengths_.shape == (3, 2)
    weights = large.strength_weights_
    assert np.ptp(weights) > 1e-3 and weights.sum() == pytest.approx(1)


def test_pairs_that_are_sorted_by_a_column_weigh_strengths_at_random(monkeypatch):
    """Rows sort by their first column's bytes; the pairs that are drawn are not of one value."""
    drawn = []

    def draw(order, group, max_size):
        drawn.append(draw_groups(order, group, max_size))
        return drawn[-1]

    monkeypatch.setattr(_gp_reward, "draw_groups", draw)
    monkeypatch.setattr(_gp_reward, "SelectionSettings", lambda: replace(SETTINGS, max_left_out=50))
    pairs = two_views(np.random.default_rng(0), 100)
    pairs[:, :, 0] = (np.arange(100) < 50)[:, None]
    GPRewardRegressor(1.0, n_response_features=10).fit(pairs)
    assert len(drawn[0]) == 50 and 10 < (drawn[0] < 50).sum() < 40


@given(
    seed=st.integers(0, 100),
    shift=st.floats(-3, 3),
    scale=st.floats(0.1, 100),
    constant=st.sampled_from([7.0, 0.1, 1 / 3]),
    with_unlabeled=st.booleans(),
    k=st.sampled_from([0, 2, 5]),
)
@settings(max_examples=30)
def test_order_scale_and_constant_features_do_not_matter(
    seed, shift, scale, constant, with_unlabeled, k
):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(2, 5, 5)) * np.geomspace(2, 0.2, 5)[:, None]

    def make(m, n):
        return rng.normal(size=(m, 1, 5)) @ mix[0] + rng.normal(size=(m, n, 5)) @ mix[1]

    pairs, new, unlabeled = make(30, 2), make(4, 3), make(15, 4) if with_unlabeled else None
    reward = GPRewardRegressor(n_response_features=k)
    expected = reward.fit(pairs, unlabeled=unlabeled).predict(new)
    order = rng.permutation(30)
    shuffled = reward.fit(pairs[order], unlabeled=unlabeled).predict(new)
    np.testing.assert_allclose(shuffled, expected, atol=1e-6)

    def moved(X):
        constants = np.full((*X.shape[:-1], 1), constant)
        return np.concatenate([scale * X + shift, constants], axis=-1)

    if with_unlabeled:
        padded = np.concatenate([moved(unlabeled), np.full((15, 2, 6), np.nan)], axis=1)
        unlabeled = padded[rng.permutation(15)]
    reward.set_params(n_response_features=k and k + 1)
    again = reward.fit(moved(pairs), unlabeled=unlabeled).predict(moved(new))
    np.testing.assert_allclose(again, expected, atol=1e-3)


def test_swapped_pairs_with_swapped_targets_are_the_same_pairs(anisotropic_pairs, candidates):
    y = np.linspace(0, 1, 80)
    one = GPRewardRegressor().fit(anisotropic_pairs, y).predict(candidates[0])
    two = GPRewardRegressor().fit(anisotropic_pairs[:, ::-1], 1 - y).predict(candidates[0])
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_chunks_change_nothing(anisotropic, anisotropic_pairs):
    embeddings = anisotropic(np.random.default_rng(1), 400, 6)  # scored in three chunks
    reward = GPRewardRegressor(uncertainty_penalty=1.0).fit(anisotropic_pairs)
    parts = [reward.predict(embeddings[i : i + 50]) for i in range(0, 400, 50)]
    np.testing.assert_allclose(reward.predict(embeddings), np.concatenate(parts), atol=1e-9)


def test_what_does_not_converge_warns(pairs):
    with pytest.warns(ConvergenceWarning, match="not converged in 50 steps") as record:
        reward = GPRewardRegressor(1e8).fit(pairs)
    assert reward.n_iter_ == 50
    assert record[0].filename == __file__
    assert 3 <= GPRewardRegressor().fit(pairs).n_iter_ <= 10


# ------------------------------------------------------------------ weights and repetition
@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("with_unlabeled", [False, True])
@pytest.mark.filterwarnings(ONE_PROMPT)
@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
@settings(max_examples=8)
@given(data=st.data())
def test_weights_are_repetitions(data, with_groups, with_unlabeled):
    """For predictions and for all that pairs decide, a weight of 2 is the pair twice."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    n = data.draw(st.integers(1, 40))
    most = data.draw(st.integers(1, 4))
    weight = rng.integers(1, most + 1, n)
    pairs = by_common_factor(rng, n, common=True)
    y = rng.choice([1.0, 1.0, 0.75, 0.5, 0.0], n)
    groups = rng.integers(0, max(1, n // 3), n) if with_groups else None
    unlabeled = by_common_factor(rng, 20, common=True) if with_unlabeled else None
    reward = GPRewardRegressor(n_response_features=data.draw(st.sampled_from([0, 3])))
    weighted = clone(reward).fit(pairs, y, sample_weight=weight, groups=groups, unlabeled=unlabeled)
    twice = rng.permutation(np.repeat(np.arange(n), weight))
    repeated = clone(reward).fit(
        pairs[twice],
        y[twice],
        groups=None if groups is None else groups[twice],
        unlabeled=unlabeled,
    )
    new = by_common_factor(rng, 10, common=True)
    for found, expected in zip(
        repeated.predict(new, return_std=True), weighted.predict(new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(repeated.strength_weights_, weighted.strength_weights_, atol=1e-6)
    np.testing.assert_allclose(
        repeated.left_out_log_odds_, weighted.left_out_log_odds_[twice], atol=1e-6
    )
    assert repeated.log_marginal_likelihood_value_ == pytest.approx(
        weighted.log_marginal_likelihood_value_, abs=1e-6
    )


def test_a_weight_of_two_everywhere_is_more_evidence(anisotropic_pairs):
    one = GPRewardRegressor(1.0).fit(anisotropic_pairs)
    two = GPRewardRegressor(1.0).fit(anisotropic_pairs, sample_weight=np.full(80, 2))
    every = GPRewardRegressor(1.0).fit(np.repeat(anisotropic_pairs, 2, axis=0))
    odds = [r.decision_function(anisotropic_pairs) for r in (one, two, every)]
    np.testing.assert_allclose(odds[1], odds[2], atol=1e-9)
    assert abs(odds[1] / two.slope_).mean() > 1.2 * abs(odds[0] / one.slope_).mean()
    assert abs(odds[1]).mean() > abs(odds[0]).mean()


@pytest.mark.filterwarnings(ONE_PROMPT)
def test_weights_of_the_data_are_those_of_the_likelihood(anisotropic_pairs):
    """Weights per original, of a container, of rated rows; a pair of weight 0 is not there."""
    weight = np.tile([0.0, 1.0, 2.0, 1.0], 20)
    expected = GPRewardRegressor().fit(anisotropic_pairs, sample_weight=weight)
    assert expected.X_train_.shape == (120, 12)
    kept = weight > 0
    alone = GPRewardRegressor().fit(anisotropic_pairs[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(alone.dual_coef_, expected.dual_coef_)
    left_out = np.full(80, np.nan)
    left_out[kept] = alone.left_out_log_odds_
    np.testing.assert_array_equal(expected.left_out_log_odds_, left_out)
    augmented = RepeatAugmenter(factor=2).fit_transform(anisotropic_pairs)
    by_original = GPRewardRegressor().fit(augmented, sample_weight=weight / 2)
    by_pair = GPRewardRegressor().fit(augmented, sample_weight=weight[augmented.parent] / 2)
    own = GPRewardRegressor().fit(replace(augmented, weight=weight[augmented.parent] / 2))
    for reward in (by_original, by_pair, own):
        np.testing.assert_allclose(reward.dual_coef_, expected.dual_coef_, atol=1e-9)
        np.testing.assert_allclose(reward.left_out_log_odds_, left_out[augmented.parent], atol=1e-9)
    # Rated rows are all of one prompt, so that nothing is left out.
    ratings, rated_weight = np.array([4, 3, 2, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    rows = anisotropic_pairs[:2].reshape(4, 12)
    rated = GPRewardRegressor().fit(rows, ratings, sample_weight=rated_weight, groups=np.zeros(4))
    paired = GPRewardRegressor().fit(
        np.stack([rows[:2], rows[2:]], axis=1), sample_weight=[3.0, 8.0], groups=np.zeros(2)
    )
    np.testing.assert_allclose(rated.dual_coef_, paired.dual_coef_, atol=1e-9)
    assert np.isnan(rated.left_out_log_odds_).tolist() == [True, True]


def test_same_pairs_are_merged_in_the_order_of_the_first():
    a, b, c = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    pairs = AugmentedPairs(
        np.stack([c, a, c, b, a[::-1], c]),
        target=[1.0, 0.7, 0.5, 0.2, 0.1, 1.0],
        weight=[1.0, 1.0, 3.0, 1.0, 2.0, 4.0],
    )
    index, target, weight, place, sign = merge_repeated_pairs(pairs)
    np.testing.assert_array_equal(index, [0, 1, 3])
    np.testing.assert_array_equal(place, [0, 1, 0, 2, 1, 0])
    np.testing.assert_array_equal(sign, [1, 1, 1, 1, -1, 1])
    np.testing.assert_allclose(weight, [8, 3, 1])
    np.testing.assert_allclose(target, [6.5 / 8, (0.7 + 2 * 0.9) / 3, 0.2], atol=1e-7)
    # Members of equal bytes are the same wherever they are kept.
    pool = AugmentedPairs(
        np.stack([a, b]),
        np.stack([a[0], a[1], c[0]]),
        np.array([[0, 1], [4, 5], [0, 6], [6, 5], [2, 3]]),
        np.array([0, 0, 0, 0, 1]),
    )
    np.testing.assert_array_equal(merge_repeated_pairs(pool)[0], [0, 2, 3, 4])
    # A zero has no sign.
    zeros = np.stack([np.zeros((2, 3)), -np.zeros((2, 3))]).astype(np.float32)
    assert len(merge_repeated_pairs(AugmentedPairs(zeros))[0]) == 1


@given(seed=st.integers(0, 1000), n=st.integers(1, 30), distinct=st.integers(1, 8))
def test_merging_keeps_wins_and_losses(seed, n, distinct):
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(distinct, 2, 3)).astype(np.float32)
    which = rng.integers(0, distinct, n)
    swapped = rng.random(n) < 0.5
    originals = np.where(swapped[:, None, None], pool[which][:, ::-1], pool[which])
    y, w = rng.random(n).astype(np.float32), rng.integers(1, 4, n).astype(np.float32)
    pairs = AugmentedPairs(originals, target=y, weight=w)
    index, target, weight, place, sign = merge_repeated_pairs(pairs)
    np.testing.assert_array_equal(which[index][place], which)
    np.testing.assert_array_equal(sign > 0, swapped[index][place] == swapped)
    np.testing.assert_array_equal(which[index], list(dict.fromkeys(which)))
    np.testing.assert_array_equal(index, np.sort(index))
    for i, t, total in zip(index, target, weight, strict=True):
        same = which == which[i]
        wins = np.where(swapped == swapped[i], y, 1 - y)[same] @ w[same]
        assert total == w[same].sum()
        assert t * total == pytest.approx(wins, abs=1e-5)


def test_repeated_pairs_are_not_left_out_by_themselves(anisotropic_pairs):
    """Copies are one pair, so that none predicts its own copy; the first's group is the pair's."""
    expected = GPRewardRegressor().fit(anisotropic_pairs, sample_weight=np.full(80, 3.0))
    augmented = RepeatAugmenter(factor=3).fit_transform(anisotropic_pairs)
    for copies in (augmented, np.asarray(augmented)):
        found = GPRewardRegressor().fit(copies)
        assert found.X_train_.shape == (160, 12)
        np.testing.assert_allclose(
            found.left_out_log_odds_, np.tile(expected.left_out_log_odds_, 3), atol=1e-9
        )
    pairs, groups = anisotropic_pairs, np.arange(80) // 4
    expected = GPRewardRegressor().fit(pairs, sample_weight=np.full(80, 2.0), groups=groups)
    turned = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(160, 2, 12)
    others = np.stack([groups, np.zeros(80)], axis=1).ravel()  # of the second copies
    for told in (np.repeat(groups, 2), others):
        found = GPRewardRegressor().fit(turned, np.tile([1, 0], 80), groups=told)
        left_out = np.stack([1, -1]) * expected.left_out_log_odds_[:, None]
        np.testing.assert_allclose(found.left_out_log_odds_, left_out.ravel(), atol=1e-9)


# --------------------------------------------------------------------------- many pairs
def test_of_many_pairs_some_are_drawn_by_seed_and_all_are_learnt_from():
    toy = make_preference_pairs(300, 8, random_state=0)
    few = GPRewardRegressor(max_pairs=50, random_state=0)
    first = few.fit(toy.pairs).predict(toy.candidates)
    assert few.X_train_.shape == (100, 8) and few.L_.shape == (50, 50)
    assert few.dual_coef_.shape == (1, 50)
    np.testing.assert_array_equal(first, few.fit(toy.pairs).predict(toy.candidates))
    assert not np.isnan(few.left_out_log_odds_).any() and len(few.left_out_log_odds_) == 300
    order = np.random.default_rng(1).permutation(300)
    y, weight, groups = np.linspace(0.5, 1, 300), np.linspace(1, 3, 300), np.arange(300) // 3
    known, shuffled = (
        few.fit(toy.pairs[rows], y[rows], sample_weight=weight[rows], groups=groups[rows]).predict(
            toy.candidates
        )
        for rows in (np.arange(300), order)
    )
    np.testing.assert_allclose(shuffled, known, atol=1e-6)
    assert abs(known - first).max() > 1e-3
    assert (first != few.set_params(random_state=1).fit(toy.pairs).predict(toy.candidates)).any()


def test_many_pairs_predict_better_than_as_many_as_are_drawn():
    gains = []
    for seed in range(4):
        toy = make_preference_pairs(600, 24, n_latent=20, label_noise=0.2, random_state=seed)
        many = GPRewardRegressor(max_pairs=60, random_state=0).fit(toy.pairs[:400])
        alone = GPRewardRegressor().fit(toy.pairs[:60])
        gains.append(many.score(toy.pairs[400:]) - alone.score(toy.pairs[400:]))
        exact = GPRewardRegressor().fit(toy.pairs[:400])
        assert many.score(toy.pairs[400:]) > exact.score(toy.pairs[400:]) - 0.03
    assert np.mean(gains) > 0.04


@pytest.mark.parametrize(
    "params", [{}, {"n_response_features": 3}, {"n_response_features": 3, "controlled": (11,)}]
)
def test_all_pairs_but_one_inducing_are_near_the_exact_posterior(anisotropic, params):
    pairs = anisotropic(np.random.default_rng(3), 120, 2)
    y, groups = np.tile([1.0, 0.8, 0.3], 40), np.arange(120) // 2
    exact, near = (
        GPRewardRegressor(max_pairs=n, random_state=0, **params).fit(pairs, y, groups=groups)
        for n in (120, 119)
    )
    new = anisotropic(np.random.default_rng(4), 50, 4)
    for found, expected in zip(
        near.predict(new, return_std=True), exact.predict(new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=0.05 * expected.std() + 1e-3)
    size = exact.left_out_log_odds_.std()
    np.testing.assert_allclose(near.left_out_log_odds_, exact.left_out_log_odds_, atol=0.1 * size)
    assert near.slope_ == pytest.approx(exact.slope_, rel=0.02)
    np.testing.assert_allclose(near.strength_weights_, exact.strength_weights_, atol=0.02)


def test_no_matrix_of_all_pairs_is_made_of_many(monkeypatch):
    """Of 1,000 pairs only covariances with the 40 inducing ones, and among 100 left out."""
    monkeypatch.setattr(_gp_reward, "SelectionSettings", lambda: replace(SETTINGS, max_left_out=99))
    shapes, made = [], torch.Tensor.new_empty

    def spy(self, *shape, **kwargs):
        shapes.append(shape)
        return made(self, *shape, **kwargs)

    monkeypatch.setattr(torch.Tensor, "new_empty", spy)
    toy = make_preference_pairs(1000, 8, random_state=0)
    GPRewardRegressor(max_pairs=40, random_state=0).fit(toy.pairs)
    assert (1000, 40) in shapes and (99, 99) in shapes
    assert max(np.prod(shape) for shape in shapes) == 40_000


def test_repeated_pairs_do_not_count_for_the_most():
    toy = make_preference_pairs(60, 8, random_state=0)
    twice = np.repeat(toy.pairs, 2, axis=0)
    reward = GPRewardRegressor(max_pairs=60).fit(twice)
    np.testing.assert_array_equal(
        reward.dual_coef_,
        GPRewardRegressor().fit(toy.pairs, sample_weight=np.full(60, 2)).dual_coef_,
    )
    first, shuffled = (
        GPRewardRegressor(max_pairs=20, random_state=0).fit(x).predict(toy.candidates)
        for x in (twice, twice[np.random.default_rng(0).permutation(120)])
    )
    np.testing.assert_allclose(first, shuffled, atol=1e-6)


def test_many_pairs_of_one_prompt_are_averaged_with_equal_weights():
    pairs = by_common_factor(np.random.default_rng(1), 1010, common=False)
    with pytest.warns(UserWarning, match="of one prompt.*equal weights.*not calibrated") as record:
        one = GPRewardRegressor(kernel="linear").fit(pairs, groups=np.zeros(1010))
    assert record[0].filename == __file__
    assert one.strength_weights_.tolist() == [0.2] * 5 and one.slope_ == 1
    assert one.left_out_log_odds_.shape == (1010,) and np.isnan(one.left_out_log_odds_).all()


@pytest.mark.filterwarnings(ONE_PROMPT)
def test_one_prompt_is_averaged_with_equal_weights(anisotropic_pairs):
    one = GPRewardRegressor().fit(anisotropic_pairs, groups=np.zeros(80))
    each = [GPRewardRegressor(v).fit(anisotropic_pairs, groups=np.zeros(80)) for v in
            (0.1, 0.3, 1, 3, 10)]  # fmt: skip
    expected = np.mean([r.predict(anisotropic_pairs) for r in each], axis=0)
    np.testing.assert_allclose(one.predict(anisotropic_pairs), expected, atol=1e-9)
    assert one.prior_variance_ == pytest.approx(np.prod([0.1, 0.3, 1, 3, 10]) ** 0.2)


# ----------------------------------------------------------------------------- deviations
@pytest.mark.parametrize("k", [0, 4])
@pytest.mark.parametrize("controlled", [(), (11,)])
def test_penalty_subtracts_posterior_deviations(anisotropic_pairs, candidates, k, controlled):
    """Those of the exact Gaussian posterior, found by conditioning the whole covariance."""
    if controlled and not k:
        return
    pairs, y = anisotropic_pairs[:60], np.tile([1.0, 0.7, 0.5], 20)
    params = {"n_response_features": k, "controlled": controlled}
    fits = [GPRewardRegressor(0.5, uncertainty_penalty=c, **params).fit(pairs, y) for c in
            (0, 0.5, 1)]  # fmt: skip
    plain, half, whole = (fitted.predict(candidates[0]).ravel() for fitted in fits)
    np.testing.assert_allclose(plain - whole, 2 * (plain - half), atol=1e-8)
    process, D = fits[0], gp_reference.differences(60)
    names = ["embedding", "features", "controlled"][: 1 + bool(k) + len(controlled)]
    assert list(process.kernel_weights_) == names
    to_pairs, prior, K = 0, 0, 0
    for name in names:
        at, members = (ByHand.seen_by(process, name, X) for X in (candidates[0], pairs))
        weights = process.kernel_weights_[name]
        v = 30 if name == "controlled" else 0.5 / len(process.prior_variance_)
        K = K + v * D @ gp_reference.covariance(weights, members, members) @ D.T
        if name != "controlled":
            to_pairs = to_pairs + v * gp_reference.covariance(weights, at, members) @ D.T
            prior = prior + v * gp_reference.covariance(weights, at, at)
    _, noise = gp_reference.pseudo_observations(K, y, np.ones(60))
    noisy = K + np.diag(noise)
    posterior = prior - to_pairs @ np.linalg.inv(noisy) @ to_pairs.T
    deviations = process.slope_ * np.sqrt(np.diag(posterior))
    np.testing.assert_allclose(plain - whole, deviations, atol=1e-4)
    np.testing.assert_allclose(process.L_ @ process.L_.T, noisy, atol=1e-4)
    assert process.slope_ != pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("penalty", [0, 0.5])
def test_return_std(anisotropic_pairs, candidates, penalty):
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    reward = GPRewardRegressor(uncertainty_penalty=penalty).fit(anisotropic_pairs)
    rewards, deviations = reward.predict(embeddings, return_std=True)
    np.testing.assert_array_equal(rewards, reward.predict(embeddings))
    for found in (rewards, deviations):
        assert found.shape == (10, 5)
        assert np.isnan(found[2, 4]) and np.isnan(found).sum() == 1
    plain = GPRewardRegressor().fit(anisotropic_pairs).predict(embeddings)
    np.testing.assert_allclose(plain - rewards, penalty * deviations, atol=1e-9)
    there = ~np.isnan(deviations)
    assert (deviations[there] > 0).all()
    augmented = AugmentedPairs(anisotropic_pairs)
    assert reward.predict(augmented, return_std=True)[1].shape == (80, 2)
    with pytest.raises(NotFittedError):
        GPRewardRegressor().predict(embeddings, return_std=True)
    with pytest.raises(ValueError, match="11 features"):
        reward.predict(embeddings[..., :11], return_std=True)


def test_deviations_are_those_of_what_is_little_known(pairs):
    near, far = pairs[0, 0], 10 * pairs[0, 0]

    def deviation(n):
        reward = GPRewardRegressor(1.0).fit(pairs[:n])
        return reward.predict(np.stack([near, far]), return_std=True)[1] / reward.slope_

    few, many = deviation(20), deviation(60)
    assert few[1] > 2 * few[0] and many[1] > 2 * many[0]
    unlike = GPRewardRegressor(1.0).fit(pairs).predict(np.full((1, 12), 1e3), return_std=True)[1]
    assert unlike > 10 * few[0]


# ----------------------------------------------------------------------- left-out groups
def test_settings_are_those_of_the_docstrings():
    """The parameters' descriptions give these numbers."""
    assert SETTINGS.one_view == (0.1, 0.3, 1, 3, 10) and SETTINGS.more_views == (0.1, 0.3, 1, 3)
    assert (SETTINGS.temperature, SETTINGS.max_left_out, SETTINGS.max_posteriors) == (4, 1000, 3)
    assert SETTINGS.strengths(1).tolist() == [[0.1], [0.3], [1], [3], [10]]
    two = SETTINGS.strengths(2)
    assert two.shape == (16, 2) and {0.1, 0.3, 1, 3} == set(two[:, 0]) == set(two[:, 1])
    assert {"linear": 3 / 4, "gaussian": 1 / 4} == _gp_reward.FEATURE_SHARES


def test_defaults():
    assert GPRewardRegressor().get_params() == {
        "device": "auto",
        "prior_variance": "auto",
        "kernel": "auto",
        "whitening": None,
        "uncertainty_penalty": 0.0,
        "n_response_features": 0,
        "controlled": (),
        "max_pairs": 5000,
        "random_state": None,
    }


@given(
    groups=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    left_out=st.integers(1, 30),
    seed=st.integers(0, 100),
)
def test_groups_are_drawn_as_a_whole_where_two_fit_in(groups, left_out, seed):
    groups = np.array(groups)
    order = np.random.default_rng(seed).permutation(len(groups))
    out = draw_groups(order, groups, left_out)
    assert len(out) == len(set(out)) <= left_out
    first = list(dict.fromkeys(groups[order]))
    sizes = np.cumsum([(groups == g).sum() for g in first])
    n_whole = int((sizes <= left_out).sum())
    if len(groups) <= left_out:
        np.testing.assert_array_equal(out, order)
    elif n_whole > 1:
        assert set(out) == set(np.flatnonzero(np.isin(groups, first[:n_whole])))
    else:
        np.testing.assert_array_equal(out, order[:left_out])


def test_children_of_a_pair_are_left_out_with_it():
    """By default an original pair and what was made of it are one group."""
    pairs = np.random.default_rng(1).normal(size=(60, 2, 12))  # by chance, so nothing is known
    augmented = DirectNoiseAugmenter(factor=3, random_state=0).fit_transform(pairs)
    expected = GPRewardRegressor().fit(augmented, groups=np.arange(60)).left_out_log_odds_
    np.testing.assert_array_equal(GPRewardRegressor().fit(augmented).left_out_log_odds_, expected)
    apart = GPRewardRegressor().fit(np.asarray(augmented))
    assert apart.left_out_log_odds_.mean() > expected.mean() + 0.5, "children know their parent"
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GPRewardRegressor().fit(augmented, groups=np.arange(180))


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_mean_what_they_say(seed):
    """Log loss on fresh pairs within 0.01 of the best slope in hindsight."""
    rng = np.random.default_rng(seed)
    pairs, fresh = two_views(rng, 300, noise=1.5), two_views(rng, 4000, noise=1.5)
    reward = GPRewardRegressor(n_response_features=4).fit(pairs)
    odds = reward.decision_function(fresh)

    def loss(slope):
        return np.logaddexp(0, -slope * odds).mean()

    assert loss(1) < min(loss(slope) for slope in np.geomspace(0.1, 10, 200)) + 0.01
    left_out = reward.left_out_log_odds_
    assert np.logaddexp(0, -left_out).mean() == pytest.approx(loss(1), abs=0.1)


# ------------------------------------------------------------------------------- two views
def test_the_view_that_predicts_is_the_stronger_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2, 10))
    for column, stronger in ((0, 0), (9, 1)):
        pairs = ordered_by(X[..., column], X)
        strengths = GPRewardRegressor(n_response_features=4).fit(pairs).prior_variance_
        assert strengths[stronger] > 2 * strengths[1 - stronger]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_controlled_does_not_come_back_by_the_embedding(seed):
    """The embedding knows the length as well; what it pays for is quality."""
    rng = np.random.default_rng(seed)
    length, quality = rng.normal(size=(2, 200, 2))
    noise = rng.normal(size=(3, 200, 2))
    pairs = np.stack([length + 0.1 * noise[0], quality, noise[1], length, noise[2]], axis=-1)
    order = np.argsort(-(3 * length + quality + rng.gumbel(size=(200, 2))), axis=1)
    pairs = np.take_along_axis(pairs, order[..., None], axis=1)
    two = np.array([[[1.0, 0, 0, 1, 0], [-1, 0, 0, -1, 0]], [[0, 1, 0, 0, 0], [0, -1, 0, 0, 0]]])
    used, left_out = (
        GPRewardRegressor(n_response_features=2, controlled=c).fit(pairs).decision_function(two)
        for c in ((), (-2,))
    )
    assert used[0] > 2 * used[1]
    assert abs(left_out[0]) < 0.35 * left_out[1]


def test_to_control_what_never_differs_warns(anisotropic_pairs):
    pairs = anisotropic_pairs[:30].copy()
    pairs[..., -1] = np.arange(30)[:, None]  # it varies, but never within a pair
    with pytest.warns(UserWarning, match=r"controlled columns \[11\] differ in no pair"):
        GPRewardRegressor(n_response_features=2, controlled=(-1,)).fit(pairs)


def test_a_controlled_column_is_left_out_of_what_is_predicted():
    rng = np.random.default_rng(0)
    pairs, new = two_views(rng, 60), rng.normal(size=(20, 10)).astype(np.float32)
    moved = new.copy()
    moved[:, 7] += 1
    plain, controlled = (
        GPRewardRegressor(n_response_features=4, controlled=c).fit(pairs) for c in ((), (7,))
    )
    np.testing.assert_array_equal(controlled.predict(moved), controlled.predict(new))
    assert (plain.predict(moved) != plain.predict(new)).all()
    np.testing.assert_array_equal(
        controlled.predict(new),
        GPRewardRegressor(n_response_features=4, controlled=[-3]).fit(pairs).predict(new),
    )
    # What it predicts of left-out pairs has no controlled part either.
    changed = pairs.copy()
    changed[0, 0, 7] = changed[0, 1, 7]
    found = controlled.decision_function(pairs) - controlled.decision_function(changed)
    np.testing.assert_array_equal(found, 0)


def test_what_is_controlled_explains_what_it_can():
    """Length decides; half of the longer responses have a mark, which alone is rewarded then."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2, 5))
    pairs = ordered_by(X[..., 4], X)  # the larger last column always wins
    pairs[:, 0, 3] += 1  # and has more of another that comes with it
    new = rng.normal(size=(500, 2, 5)).astype(np.float32)
    plain, controlled = (
        GPRewardRegressor(n_response_features=2, controlled=c).fit(pairs) for c in ((), (4,))
    )
    spread = [np.std(r.decision_function(new)) for r in (plain, controlled)]
    assert spread[1] < 0.5 * spread[0]
    only_length = ordered_by(X[..., 4], X)
    rest = GPRewardRegressor(n_response_features=2, controlled=(4,)).fit(only_length)
    all_of_it = GPRewardRegressor(n_response_features=2).fit(only_length)
    found = [np.std(r.decision_function(new)) for r in (all_of_it, rest)]
    assert found[1] < 0.15 * found[0]


@pytest.mark.parametrize("k", [2, 4])
def test_features_count_up_to_three_deviations(k):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2, 4))
    reward = GPRewardRegressor(n_response_features=k).fit(ordered_by(X[..., 3], X))
    mean, scale = reward.feature_mean_[-1], reward.feature_scale_[-1]
    new = np.tile(X[0, 0], (5, 1))
    new[:, 3] = mean + scale * np.array([2.9, 3.1, 100, -3.1, -100])
    rewards = reward.predict(new)
    assert rewards[1] == rewards[2] > rewards[0] > rewards[3] == rewards[4]


def test_unlabelled_responses_move_the_scale_of_features(pairs, candidates):
    """All members, each once, padding aside."""
    unlabeled = 3 + 2 * candidates[0]
    unlabeled[3, 1:3] = np.nan
    reward = GPRewardRegressor(n_response_features=2).fit(pairs, unlabeled=unlabeled)
    there = unlabeled[~np.isnan(unlabeled).any(axis=-1)]
    rows = np.concatenate([pairs.reshape(-1, 12), there])[:, -2:]
    np.testing.assert_allclose(reward.feature_mean_, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(reward.feature_scale_, rows.std(axis=0), rtol=1e-5)
    expected = WithinPromptWhitening().fit(pairs[..., :10], unlabeled=unlabeled[..., :10])
    rows = pairs.reshape(-1, 12)[:, :10].astype(float)
    np.testing.assert_allclose(
        reward.whitening_.apply(rows), expected.whitening_.apply(rows), atol=1e-12
    )


def test_features_that_say_nothing_change_little():
    rng = np.random.default_rng(0)
    pairs, new = by_common_factor(rng, 200, common=True), by_common_factor(rng, 2000, common=True)
    alone = GPRewardRegressor().fit(pairs).score(new)
    constant = [np.concatenate([X, np.ones((*X.shape[:2], 2))], axis=2) for X in (pairs, new)]
    both = GPRewardRegressor(n_response_features=2).fit(constant[0])
    assert np.isinf(both.feature_scale_).all()
    assert both.score(constant[1]) == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_response_features": 13}, "n_response_features=13, but X has 12 features"),
        ({"n_response_features": 3, "controlled": [8]}, "column 8.*embedding.*begin at column 9"),
        ({"controlled": [11]}, r"column 11.*embedding.*n_response_features=0"),
        ({"n_response_features": 3, "controlled": [12]}, "column 12; X has 12 columns"),
        ({"n_response_features": 3, "controlled": [-13]}, "column -13; X has 12 columns"),
        ({"n_response_features": 3, "controlled": [11, -1]}, "names a column twice"),
        ({"n_response_features": 3, "controlled": ["length"]}, "columns are whole numbers"),
        ({"n_response_features": 3, "controlled": [[11]]}, "columns are whole numbers"),
        ({"n_response_features": 3, "controlled": [10.0]}, "columns are whole numbers"),
        ({"n_response_features": 12, "controlled": range(12)}, "all columns are controlled"),
        ({"n_response_features": 12, "kernel": "linear"}, "have no effect: all 12 columns are"),
        (
            {"n_response_features": 12, "whitening": WithinPromptWhitening()},
            "have no effect: all 12 columns are",
        ),
        ({"kernel": "cosine"}, "'kernel' parameter"),
        ({"whitening": "auto"}, "'whitening' parameter"),
        ({"uncertainty_penalty": "auto"}, "'uncertainty_penalty' parameter"),
        ({"n_response_features": -1}, "'n_response_features' parameter"),
    ],
)
def test_views_that_are_not_there(monkeypatch, pairs, params, message):
    """What is wrong is said before anything is learnt."""
    monkeypatch.setattr(_gp_reward, "merge_repeated_pairs", None)
    with pytest.raises(ValueError, match=message):
        GPRewardRegressor(**params).fit(pairs)


# ---------------------------------------------------------------------------- whitening
def test_a_whitening_that_is_given_is_taken(anisotropic, anisotropic_pairs):
    unlabeled = anisotropic(np.random.default_rng(1), 30, 4)
    whitening = WithinPromptWhitening(0.5, covariance_exponent=0.3)
    process = GPRewardRegressor(whitening=whitening).fit(anisotropic_pairs, unlabeled=unlabeled)
    assert not hasattr(whitening, "whitening_"), "a parameter is not fitted"
    expected = whitening.fit(anisotropic_pairs, unlabeled=unlabeled)
    rows = anisotropic_pairs.reshape(-1, 12).astype(float)
    np.testing.assert_array_equal(process.whitening_.apply(rows), expected.whitening_.apply(rows))
    np.testing.assert_allclose(expected.transform(rows), np.sqrt(12) * process.X_train_, atol=1e-12)
    assert abs(process.whitening_.gains).max() > 0.3, "it does something"
    default = GPRewardRegressor().fit(anisotropic_pairs).whitening_
    assert (default.wiener_exponent, default.covariance_exponent) == (0.25, 0.125)


# --------------------------------------------------------------------------- unlabelled
def ordered(pairs):
    """The better response first: that with the larger sine of feature 0."""
    return ordered_by(np.sin(pairs[:, :, 0]), pairs)


def test_unlabelled_responses_tell_what_differs_within_prompts(topical):
    """Topics are discounted, more than by the pairs alone, and the order of others improves."""
    gains = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pairs, test = ordered(topical(rng, 30, 2)), ordered(topical(rng, 300, 2))
        without = GPRewardRegressor().fit(pairs)
        reward = GPRewardRegressor().fit(pairs, unlabeled=topical(rng, 200, 5))
        whitening = reward.whitening_
        moved = whitening.apply(np.diag(whitening.scale)) - whitening.apply(np.zeros((1, 24)))
        size = np.linalg.norm(moved, axis=1)
        assert size[:4].min() > 1.5 * size[4:].max()
        gains.append(reward.score(test) - without.score(test))
    assert np.mean(gains) > 0.005


def test_more_unlabelled_responses_than_are_used_are_drawn_by_seed(anisotropic_pairs):
    """Of more than 4,000,000 numbers, padding included: two of these three prompts'."""
    unlabeled = np.full((3, 120_000, 12), np.nan, dtype=np.float32)
    unlabeled[:, :5] = np.random.default_rng(0).normal(size=(3, 5, 12))
    one, same, other = (
        GPRewardRegressor(random_state=seed)
        .fit(anisotropic_pairs, unlabeled=unlabeled)
        .predict(anisotropic_pairs)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_bad_unlabelled_responses(pairs):
    for unlabeled, message in (
        (np.zeros((3, 4, 11)), "unlabeled: .*11 features"),
        (np.zeros((3, 12)), r"shape \(m, N, d\)"),
        (np.zeros((3, 1, 12)), "none of the 3 prompts"),
        (np.full((3, 2, 12), np.inf), "unlabeled: .*(finite|infinity)"),
    ):
        with pytest.raises(ValueError, match=message):
            GPRewardRegressor().fit(pairs, unlabeled=unlabeled)


# ------------------------------------------------------------------------------- state
@pytest.mark.parametrize("k", [0, 3, 12])
def test_fitted_state_comes_back(anisotropic_pairs, candidates, k):
    params = {"n_response_features": k, "controlled": (11,) if k else ()}
    fitted = GPRewardRegressor(**params).fit(anisotropic_pairs)
    state = fitted.get_fitted_state()
    assert set(state) == set(GPRewardRegressor.fitted_state_names)
    # As after a file: rows of memory in the usual order.
    read = state | {"L_": np.ascontiguousarray(state["L_"])}
    again = GPRewardRegressor(**params)
    again.set_fitted_state(read)
    for found, expected in zip(
        again.predict(candidates[0], return_std=True),
        fitted.predict(candidates[0], return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert vars(again).keys() == vars(fitted).keys()
    assert again.get_fitted_state().keys() == state.keys()
    assert (fitted.whitening_ is None) == (k == 12)


def test_a_state_that_does_not_fit_is_refused(anisotropic_pairs):
    reward = GPRewardRegressor(n_response_features=3)
    state = reward.fit(anisotropic_pairs).get_fitted_state()
    for name in ("X_train_", "dual_coef_", "L_", "feature_mean_", "feature_scale_",
                 "prior_variance_"):  # fmt: skip
        with pytest.raises(ValueError, match="has shape"):
            clone(reward).set_fitted_state(state | {name: state[name][:-1]})
    with pytest.raises(ValueError, match="has shape"):
        clone(reward).set_fitted_state(state | {"n_features_in_": 11})
    with pytest.raises(ValueError, match=r"must be of \['embedding', 'features'\]"):
        clone(reward).set_fitted_state(state | {"kernel_weights_": {"embedding": {}}})
    broken = state["whitening_"] | {"mean": np.zeros(3)}
    with pytest.raises(ValueError, match="mean of a whitening has shape"):
        clone(reward).set_fitted_state(state | {"whitening_": broken})
    del state["L_"]
    with pytest.raises(ValueError, match="needs .*L_"):
        clone(reward).set_fitted_state(state)
    with pytest.raises(NotFittedError):
        GPRewardRegressor().get_fitted_state()


@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
def test_padding_ties_and_bad_input(pairs, candidates):
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    reward = GPRewardRegressor().fit(AugmentedPairs(pairs))
    assert np.isnan(reward.predict(embeddings)).sum() == 1
    same = np.repeat(pairs[:, :1], 2, axis=1)
    plain = GPRewardRegressor().fit(same)
    np.testing.assert_allclose(plain.predict(embeddings[:2]), 0)
    with pytest.raises(ValueError, match="expected pairs of shape"):
        reward.fit(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="prior_variance"):
        GPRewardRegressor(0).fit(pairs)
    with pytest.raises(ValueError, match="at least one"):
        reward.fit(pairs, sample_weight=np.zeros(60))


@pytest.mark.filterwarnings(ONE_PROMPT)
def test_one_pair_is_enough(anisotropic_pairs):
    reward = GPRewardRegressor(max_pairs=1, random_state=0).fit(anisotropic_pairs)
    assert reward.dual_coef_.shape == (1, 1)
    with pytest.raises(ValueError, match="'max_pairs' parameter"):
        GPRewardRegressor(max_pairs=0).fit(anisotropic_pairs)


def test_what_was_learnt_cannot_be_set_anew():
    for value_object in (Averaged, Prior, SelectionSettings, TrainingPairs):
        assert value_object.__dataclass_params__.frozen


# ------------------------------------------------------------------------------- devices
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.parametrize("with_unlabeled", [False, True])
def test_a_gpu_computes_the_same(anisotropic, anisotropic_pairs, k, with_unlabeled):
    unlabeled = anisotropic(np.random.default_rng(1), 30, 4) if with_unlabeled else None
    on_gpu, on_cpu = (
        GPRewardRegressor(n_response_features=k, device=device).fit(
            anisotropic_pairs, unlabeled=unlabeled, groups=np.arange(80) // 3
        )
        for device in ("cuda", "cpu")
    )
    for name in ("dual_coef_", "X_train_", "L_", "left_out_log_odds_", "prior_variance_"):
        found, expected = getattr(on_gpu, name), getattr(on_cpu, name)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    new = anisotropic(np.random.default_rng(2), 1200, 2)
    new[3, 1] = np.nan
    for found, expected in zip(
        on_gpu.predict(new, return_std=True), on_cpu.predict(new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_a_full_device_leaves_the_work_to_the_cpu(anisotropic, anisotropic_pairs, monkeypatch):
    """A device by another name stands for a GPU whose memory does not suffice."""
    unlabeled = anisotropic(np.random.default_rng(1), 30, 4)
    few = WhiteningSettings(max_reference_values=400)
    monkeypatch.setattr(_within_prompt_whitening, "WhiteningSettings", lambda: few)
    expected = GPRewardRegressor(random_state=3, device="cpu").fit(
        anisotropic_pairs, unlabeled=unlabeled
    )
    full = iter([True, False, True, False])

    def average(*args):
        if next(full):
            raise torch.OutOfMemoryError
        return average_posteriors(*args)

    monkeypatch.setattr(_gp_reward, "average_posteriors", average)
    reward = GPRewardRegressor(random_state=3, device="cpu:0")
    with pytest.warns(UserWarning, match="memory of device 'cpu:0' does not suffice.*CPU instead"):
        reward.fit(anisotropic_pairs, unlabeled=unlabeled)
    np.testing.assert_array_equal(reward.dual_coef_, expected.dual_coef_, "the same was drawn")
    with pytest.raises(torch.OutOfMemoryError):
        reward.set_params(device="cpu").fit(anisotropic_pairs)


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "'gpu' is none that torch knows"), ("mps", "no float64")]
)
def test_devices_that_are_none_are_refused(anisotropic_pairs, device, message):
    with pytest.raises(ValueError, match=message):
        GPRewardRegressor(device=device).fit(anisotropic_pairs)
