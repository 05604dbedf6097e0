"""The linear reward: its objective written out, and a penalty chosen without leaks."""

from dataclasses import replace

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from lens_sklearn import AugmentedPairs, LinearRewardRegressor, RepeatAugmenter, _linear_reward
from lens_sklearn._calibration import fit_slope
from lens_sklearn._device import row_order
from lens_sklearn.datasets import make_preference_pairs

GRID = np.logspace(-4, 0, 5)
# Coefficients and losses agree as far as the solver's tolerances go.
CLOSE, CLOSE_LOSSES = {"rtol": 2e-3, "atol": 2e-5}, {"rtol": 1e-4}


def make_pairs(n, d, seed=0):
    """Pairs (n, 2, d) of features of unequal scale; a linear reward and noise order them."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(n, 2, d)) * rng.uniform(0.5, 3, size=d) + rng.normal(size=d)
    margin = (pairs[:, 0] - pairs[:, 1]) @ (rng.normal(size=d) / d**0.5)
    lost = margin + rng.logistic(size=n) < 0
    pairs[lost] = pairs[lost, ::-1]
    return pairs.astype(np.float32)


def minimum(rows, target, weight, C):
    """Minimise the objective of the docstring over w (k,), by its formula."""

    def objective(w):
        margin = rows @ w
        loss = np.log1p(np.exp(margin)) - target * margin
        gradient = w + C * rows.T @ (weight * (expit(margin) - target))
        return w @ w / 2 + C * weight @ loss, gradient

    return minimize(objective, np.zeros(rows.shape[1]), jac=True, tol=1e-12).x


def deviations(pairs, weight):
    """Deviation of each feature over both columns, weighted by pairs."""
    members = pairs.astype(float).reshape(-1, pairs.shape[-1])
    weight = np.repeat(weight, 2)
    mean = np.average(members, axis=0, weights=weight)
    return np.sqrt(np.average((members - mean) ** 2, axis=0, weights=weight))


def weights(reward):
    """The weights that minimise the objective, before the slope."""
    return reward.coef_ / reward.slope_


def left_out_losses(rows, target, weight, fold, judges, Cs):
    """Mean log loss of the judging pairs, each fold by the minimum of all the others."""
    loss = np.empty((len(Cs), len(rows)))
    for number in np.unique(fold):
        known, test = fold != number, fold == number
        for i, C in enumerate(Cs):
            win = expit(rows[test] @ minimum(rows[known], target[known], weight[known], C))
            loss[i, test] = -target[test] * np.log(win) - (1 - target[test]) * np.log(1 - win)
    return np.average(loss[:, judges], axis=1, weights=weight[judges])


# ------------------------------------------------------------------------- objective
@pytest.mark.parametrize("C", [1e-4, 0.03, 1.0])
@pytest.mark.parametrize("shape", [(60, 8), (20, 30)], ids=["n > d", "n < d"])
@pytest.mark.parametrize("standardize", [True, False])
def test_minimises_the_objective(shape, C, standardize):
    rng = np.random.default_rng(1)
    pairs, target, weight = make_pairs(*shape), rng.random(shape[0]), rng.uniform(0, 3, shape[0])
    target[:5] = [0, 0, 1, 1, 0.5]
    scale = deviations(pairs, weight) if standardize else np.ones(shape[1])
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / scale
    reward = LinearRewardRegressor(Cs=[C], standardize=standardize)
    reward.fit(pairs, target, sample_weight=weight)
    assert_allclose(weights(reward), minimum(rows, target, weight, C) / scale, **CLOSE)
    assert reward.C_ == C
    assert reward.feature_ratio_ == 1  # there was nothing to search


def test_losses_are_those_of_left_out_groups():
    rng = np.random.default_rng(0)
    pairs, target, weight = make_pairs(48, 6), rng.random(48), rng.uniform(0.5, 2, 48)
    groups = np.repeat(np.arange(12), 4)
    weight = np.repeat(weight[:12], 4)
    reward = LinearRewardRegressor(GRID, cv=3).fit(
        pairs, target, sample_weight=weight, groups=groups
    )
    # Groups are dealt to three folds by their weight, the heaviest first.
    fold = np.empty(12, dtype=int)
    fold[np.argsort(-weight[::4])] = np.tile([0, 1, 2], 4)
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / deviations(pairs, weight)
    everyone = np.ones(48, dtype=bool)
    expected = left_out_losses(rows, target, weight, fold[groups], everyone, GRID)
    assert_allclose(reward.log_losses_, expected, **CLOSE_LOSSES)
    best = GRID[expected.argmin()]
    assert reward.C_ == best
    coef = minimum(rows, target, weight, best) / deviations(pairs, weight)
    assert_allclose(weights(reward), coef, **CLOSE)


def test_the_default_is_the_grid_and_folds_of_the_benchmark():
    pairs, groups = make_pairs(60, 4), np.arange(60)
    reward = LinearRewardRegressor().fit(pairs, groups=groups)
    assert_allclose(reward.Cs_, 10.0 ** np.arange(-6, 0.25, 0.5))
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / deviations(pairs, np.ones(60))
    ones, everyone = np.ones(60), np.ones(60, dtype=bool)
    expected = left_out_losses(rows, ones, ones, groups % 5, everyone, reward.Cs_)
    assert_allclose(reward.log_losses_, expected, **CLOSE_LOSSES)
    assert LinearRewardRegressor().max_iter == 200
    assert LinearRewardRegressor().standardize is True


@pytest.mark.parametrize("standardize", [True, False])
def test_more_features_than_pairs_are_no_other_problem(standardize):
    # Constant features change nothing, nor do pairs of equal columns that are as likely as not.
    pairs = make_pairs(30, 6)
    wide = np.concatenate([pairs, np.full((30, 2, 40), 0.1, dtype=np.float32)], axis=-1)
    reward = LinearRewardRegressor(GRID, standardize=standardize).fit(pairs, groups=np.arange(30))
    same = LinearRewardRegressor(GRID, standardize=standardize).fit(wide, groups=np.arange(30))
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert same.C_ == reward.C_
    assert_allclose(same.coef_[:6], reward.coef_, **CLOSE)
    assert not same.coef_[6:].any()


def test_pairs_that_say_nothing_make_no_difference_to_the_span():
    few = make_pairs(12, 20)
    zeros = np.zeros((30, 2, 20), dtype=np.float32)
    reward = LinearRewardRegressor([0.1], standardize=False)
    expected = weights(reward.fit(few))
    assert_allclose(weights(reward.fit(np.concatenate([few, zeros]))), expected, **CLOSE)


def test_no_more_features_are_solved_for_than_there_are_pairs(monkeypatch):
    shapes = set()

    class Recording(LogisticRegression):
        def fit(self, X, y, sample_weight):
            shapes.add(X.shape)
            return super().fit(X, y, sample_weight)

    monkeypatch.setattr(_linear_reward, "LogisticRegression", Recording)
    LinearRewardRegressor(GRID).fit(make_pairs(20, 500))
    assert shapes == {(17, 20), (21, 20)}  # 16 and 20 pairs, the first one twice


def test_each_value_starts_from_the_one_before():
    pairs = make_pairs(200, 20)
    near, far = LinearRewardRegressor([0.049, 0.05]), LinearRewardRegressor([1e-6, 0.05])
    near.fit(pairs), far.fit(pairs)
    assert near.C_ == far.C_ == 0.05
    assert near.n_iter_ < 0.7 * far.n_iter_


# ------------------------------------------------------------------------ invariances
def test_scale_and_shift_of_features_make_no_difference():
    pairs, groups = make_pairs(60, 5), np.arange(60) // 2
    reward = LinearRewardRegressor(GRID).fit(pairs, groups=groups)
    factor = np.array([1e-3, 1, 7, 1e3, 1e5])
    scaled = (pairs * factor + 3 * factor).astype(np.float32)
    same = LinearRewardRegressor(GRID).fit(scaled, groups=groups)
    assert same.C_ == reward.C_
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert_allclose(same.coef_ * factor, reward.coef_, **CLOSE)
    raw = LinearRewardRegressor([0.1], standardize=False)
    before, after = raw.fit(pairs).coef_[0], raw.fit(pairs * [0.01, 1, 1, 1, 1]).coef_[0]
    assert abs(after * 0.01) < 0.01 * abs(before)  # a feature of small scale is penalised away


@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_rows_makes_no_difference(grouped):
    pairs, order = make_pairs(60, 5), np.random.default_rng(2).permutation(60)
    groups = np.arange(60) // 3 if grouped else None
    target = np.linspace(0.2, 1, 60)
    reward = LinearRewardRegressor(GRID).fit(pairs, target, groups=groups)
    same = LinearRewardRegressor(GRID).fit(
        pairs[order], target[order], groups=None if groups is None else groups[order]
    )
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert_allclose(same.coef_, reward.coef_, **CLOSE)


def test_weights_are_repetitions():
    pairs, groups = make_pairs(40, 5), np.arange(40) // 2
    target = np.random.default_rng(0).random(40)
    times = np.random.default_rng(1).integers(0, 4, size=40)
    reward = LinearRewardRegressor(GRID).fit(pairs, target, sample_weight=times, groups=groups)
    repeated = np.repeat(np.arange(40), times)
    same = LinearRewardRegressor(GRID).fit(
        pairs[repeated], target[repeated], groups=groups[repeated]
    )
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert_allclose(same.coef_, reward.coef_, **CLOSE)
    twice = LinearRewardRegressor([1e-3]).fit(pairs, target, sample_weight=np.full(40, 2))
    once = LinearRewardRegressor([2e-3]).fit(pairs, target)
    assert_allclose(weights(twice), weights(once), **CLOSE)


def test_a_target_of_0_is_the_other_column():
    pairs, groups = make_pairs(40, 5), np.arange(40)
    lost = np.arange(40) % 3 == 0
    swapped = np.where(lost[:, None, None], pairs[:, ::-1], pairs)
    reward = LinearRewardRegressor(GRID).fit(pairs, groups=groups)
    same = LinearRewardRegressor(GRID).fit(swapped, 1.0 - lost, groups=groups)
    assert_allclose(same.coef_, reward.coef_, **CLOSE)
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    against = LinearRewardRegressor(GRID).fit(pairs, np.zeros(40), groups=groups)
    assert_allclose(against.coef_, -reward.coef_, **CLOSE)


@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
def test_pairs_that_are_as_likely_as_not_give_no_reward():
    reward = LinearRewardRegressor(GRID).fit(make_pairs(30, 4), np.full(30, 0.5))
    assert_allclose(reward.coef_, 0, atol=1e-6)
    constant = LinearRewardRegressor(GRID).fit(np.ones((10, 2, 3)))
    assert not constant.coef_.any()
    assert_allclose(constant.log_losses_, np.log(2))
    assert constant.C_ == GRID[0]  # of equals the strongest penalty


# ---------------------------------------------------------------------------- no leaks
def test_groups_are_kept_whole():
    # Every pair stands five times and its label is noise: who knows its copies foretells it.
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(40, 2, 20)).astype(np.float32)
    pairs = np.tile(alone, (5, 1, 1)) + 1e-3 * rng.normal(size=(200, 2, 20)).astype(np.float32)
    groups = np.tile(np.arange(40), 5)
    kept, leaked = LinearRewardRegressor(GRID), LinearRewardRegressor(GRID)
    kept.fit(pairs, groups=groups)
    leaked.fit(pairs)
    assert kept.C_ == GRID[0] and leaked.C_ > 100 * kept.C_
    assert kept.log_losses_.min() > 0.65 > 0.3 > leaked.log_losses_.min()
    names = np.array([f"prompt {g:02}" for g in groups])  # whatever tells groups apart
    same = LinearRewardRegressor(GRID).fit(pairs, groups=names)
    np.testing.assert_array_equal(same.log_losses_, kept.log_losses_)


def test_synthetic_pairs_stay_with_their_parents():
    # Copies are of one parent, so they are weights, and never judge.
    pairs = make_pairs(40, 5)
    copies = RepeatAugmenter(factor=3).fit_transform(pairs)
    reward = LinearRewardRegressor(GRID).fit(copies)
    weighted = LinearRewardRegressor(GRID).fit(pairs, sample_weight=np.full(40, 3))
    assert_allclose(reward.log_losses_, weighted.log_losses_, **CLOSE_LOSSES)
    assert_allclose(weights(reward), weights(weighted), **CLOSE)


def augmented(n=30, d=4, seed=0):
    """Pairs with two synthetic ones a parent, of another scale, their targets and weights."""
    rng = np.random.default_rng(seed)
    pairs, pool = make_pairs(n, d), 5 * rng.normal(size=(4 * n, d)).astype(np.float32)
    members = np.concatenate([np.arange(2 * n), np.arange(2 * n, 6 * n)]).reshape(-1, 2)
    parent = np.concatenate([np.arange(n), np.repeat(np.arange(n), 2)])
    target, weight = rng.random(3 * n), rng.uniform(0.5, 2, 3 * n)
    return AugmentedPairs(pairs, pool, members, parent, target=target, weight=weight)


def test_originals_alone_judge_and_set_the_scale():
    pairs = augmented()
    groups = np.arange(30) // 2
    reward = LinearRewardRegressor(GRID).fit(pairs, groups=groups)
    original = np.arange(90) < 30
    weight, target = pairs.weight.astype(float), pairs.target.astype(float)
    scale = deviations(pairs.originals, weight[:30])
    everything = np.asarray(pairs).astype(float)
    rows = (everything[:, 0] - everything[:, 1]) / scale
    total = weight[:30].reshape(15, 2).sum(axis=1)
    fold = np.empty(15, dtype=int)
    fold[np.argsort(-total)] = np.arange(15) % 5
    fold = fold[groups[pairs.parent]]
    expected = left_out_losses(rows, target, weight, fold, original, GRID)
    assert_allclose(reward.log_losses_, expected, **CLOSE_LOSSES)
    coef = minimum(rows, target, weight, GRID[expected.argmin()]) / scale
    assert_allclose(weights(reward), coef, **CLOSE)


def test_weights_of_originals_are_handed_down():
    pairs = augmented()
    weight = np.random.default_rng(3).integers(0, 3, size=30)
    reward = LinearRewardRegressor(GRID).fit(pairs, sample_weight=weight)
    product = replace(pairs, weight=(pairs.weight * weight[pairs.parent]).astype(np.float32))
    same = LinearRewardRegressor(GRID).fit(product[np.flatnonzero(product.weight)])
    assert_allclose(same.coef_, reward.coef_, **CLOSE)
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)


@pytest.mark.parametrize("case", ["one group", "one pair", "no original"])
def test_without_two_groups_the_middle_of_the_grid_is_taken(case):
    pairs, groups = augmented(), None
    if case == "one group":
        pairs, groups = make_pairs(20, 4), np.zeros(20)
    elif case == "one pair":
        pairs = make_pairs(1, 4)
    else:
        pairs = pairs[30:]
    with pytest.warns(UserWarning, match="no two groups.*takes C=0.01") as caught:
        reward = LinearRewardRegressor(GRID).fit(pairs, groups=groups)
    assert [w.filename for w in caught if w.category is UserWarning] == [__file__]
    assert reward.C_ == GRID[2]
    assert reward.coef_.any() and np.isnan(reward.log_losses_).all()
    LinearRewardRegressor([0.1]).fit(pairs, groups=groups)  # nothing was to be chosen
    with pytest.warns(UserWarning, match="takes C=0.001"):  # of an even number the smaller
        reward = LinearRewardRegressor(GRID[:4]).fit(pairs, groups=groups)
    assert reward.C_ == GRID[1]


def test_fewer_groups_than_folds_are_left_out_one_by_one():
    pairs, groups = make_pairs(30, 4), np.arange(30) % 3
    reward = LinearRewardRegressor(GRID, cv=10).fit(pairs, groups=groups)
    same = LinearRewardRegressor(GRID, cv=3).fit(pairs, groups=groups)
    np.testing.assert_array_equal(reward.log_losses_, same.log_losses_)
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / deviations(pairs, np.ones(30))
    ones, everyone = np.ones(30), np.ones(30, dtype=bool)
    expected = left_out_losses(rows, ones, ones, groups, everyone, GRID)
    assert_allclose(reward.log_losses_, expected, **CLOSE_LOSSES)


# ----------------------------------------------------------------------------- reward
def test_finds_a_linear_reward():
    toy = make_preference_pairs(n_pairs=500, n_features=8, n_latent=8, random_state=0)
    reward = LinearRewardRegressor().fit(toy.pairs)
    w1 = toy.reward.w1
    assert reward.coef_ @ w1 / np.linalg.norm(w1) / np.linalg.norm(reward.coef_) > 0.97
    picked, best = reward.score(toy.candidates, toy.gold), toy.gold.max(axis=1).mean()
    assert picked - toy.gold.mean() > 0.95 * (best - toy.gold.mean())


def test_rewards_are_linear_in_embeddings(monkeypatch):
    pairs = make_pairs(30, 4)
    reward = LinearRewardRegressor(GRID).fit(pairs)
    X = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32)
    X[2, 3] = np.nan
    rewards = reward.predict(X)
    assert_allclose(rewards, (X.astype(float) * reward.coef_).sum(axis=-1))
    assert np.isnan(rewards[2, 3])
    monkeypatch.setattr(_linear_reward, "CHUNK", 3)
    np.testing.assert_array_equal(reward.predict(X), rewards)
    assert_allclose(reward.decision_function(pairs), reward.predict(pairs) @ [1, -1])


def test_few_pairs_at_once_are_no_other_problem(monkeypatch):
    pairs, weight = make_pairs(30, 4), np.arange(30)
    reward = LinearRewardRegressor(GRID).fit(pairs, sample_weight=weight)
    monkeypatch.setattr(_linear_reward, "CHUNK", 4)
    same = LinearRewardRegressor(GRID).fit(pairs, sample_weight=weight)
    assert_allclose(same.coef_, reward.coef_, rtol=1e-6)


def test_rewards_are_as_steep_as_the_lipschitz_constant():
    reward = LinearRewardRegressor(GRID).fit(make_pairs(30, 4))
    step = reward.coef_ / np.linalg.norm(reward.coef_)  # of length 1, straight up
    assert reward.lipschitz == pytest.approx(np.diff(reward.predict([0 * step, step]))[0], rel=1e-5)


def test_constants_that_float32_cannot_hold_weigh_nothing():
    rng = np.random.default_rng(0)
    pairs = make_pairs(200, 8)
    constants = rng.uniform(-100, 100, size=8).astype(np.float32)
    constants[:2] = 0.1, 1e6
    wide = np.concatenate([pairs, np.broadcast_to(constants, pairs.shape)], axis=-1)
    reward = LinearRewardRegressor(GRID).fit(wide)
    assert reward.coef_[:8].all() and not reward.coef_[8:].any()
    # Nor do they where synthetic pairs differ in them.
    moved = np.concatenate([wide.reshape(-1, 16) + rng.normal(size=(400, 16))]).astype(np.float32)
    members = np.arange(800).reshape(-1, 2)
    pairs = AugmentedPairs(wide, moved, members, np.tile(np.arange(200), 2))
    assert not LinearRewardRegressor(GRID).fit(pairs).coef_[8:].any()


def test_a_large_mean_costs_no_precision():
    pairs = np.round(make_pairs(60, 3) * 8) / 8  # float32 holds these, moved by 4096 as well
    reward, moved = LinearRewardRegressor([0.1]), LinearRewardRegressor([0.1])
    assert_allclose(weights(moved.fit(pairs + 4096)), weights(reward.fit(pairs)), rtol=1e-6)


def test_ratings_are_paired_within_groups():
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(80, 3)).astype(np.float32), np.tile(np.arange(8), 10)
    ratings, weight = X @ [1.0, -2.0, 0.5] + 99 * groups, rng.integers(1, 3, size=80)
    reward = LinearRewardRegressor(GRID).fit(X, ratings, sample_weight=weight, groups=groups)
    order = np.argsort(-ratings).reshape(8, 10)  # the last prompt's first: its ratings are highest
    upper, lower = order[:, :5].ravel(), order[:, 5:].ravel()
    same = LinearRewardRegressor(GRID).fit(
        np.stack([X[upper], X[lower]], axis=1),
        sample_weight=weight[upper] * weight[lower],
        groups=groups[upper],
    )
    assert_allclose(same.coef_, reward.coef_, **CLOSE)
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)


# ------------------------------------------------------------------------- parameters
def test_a_grid_is_a_number_or_values():
    pairs = make_pairs(30, 4)
    assert_allclose(LinearRewardRegressor(3).fit(pairs).Cs_, [1e-6, 1e-3, 1])
    shuffled = LinearRewardRegressor((0.1, 1e-3, 0.1, 10)).fit(pairs)
    assert_allclose(shuffled.Cs_, [1e-3, 0.1, 10])
    ordered = LinearRewardRegressor([1e-3, 0.1, 10]).fit(pairs)
    np.testing.assert_array_equal(shuffled.log_losses_, ordered.log_losses_)


@pytest.mark.parametrize("Cs", [[0.0, 1.0], [-1.0], [np.nan], [1.0, np.inf], []])
def test_bad_values_are_named(Cs):
    with pytest.raises(ValueError, match=r"Cs=.*positive and finite"):
        LinearRewardRegressor(Cs).fit(make_pairs(10, 3))


@pytest.mark.parametrize(
    "setting",
    [
        {"Cs": 1},
        {"Cs": "auto"},
        {"cv": 1},
        {"standardize": 2},
        {"max_iter": 0},
        {"n_response_features": -1},
        {"controlled": 3},
    ],
)
def test_bad_settings_are_named(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        LinearRewardRegressor(**setting).fit(make_pairs(10, 3))


def test_groups_and_weights_must_fit_the_pairs():
    pairs = make_pairs(10, 3)
    with pytest.raises(ValueError, match="9 prompts for 10 original pairs"):
        LinearRewardRegressor().fit(pairs, groups=np.arange(9))
    with pytest.raises(ValueError, match="zero"):
        LinearRewardRegressor().fit(pairs, sample_weight=np.zeros(10))


def test_only_a_chosen_fit_that_does_not_converge_warns():
    pairs = make_pairs(60, 20)
    with pytest.warns(ConvergenceWarning):
        reward = LinearRewardRegressor([1.0], max_iter=2).fit(pairs)
    assert reward.n_iter_ == 2
    # The weakest penalty of this grid does not converge, and is not chosen.
    data = pairs[:, 0] - pairs[:, 1], np.arange(60) % 2
    with pytest.warns(ConvergenceWarning):
        LogisticRegression(C=1e8, fit_intercept=False, max_iter=12, tol=1e-5).fit(*data)
    reward = LinearRewardRegressor([1e-5, 1e8], max_iter=12).fit(pairs)
    assert reward.C_ == 1e-5


def test_is_a_good_scikit_learn_citizen():
    reward = LinearRewardRegressor(tuple(GRID), cv=3, standardize=False, max_iter=50)
    assert clone(reward).get_params() == reward.get_params()
    names = ["Cs", "controlled", "cv", "max_iter", "n_response_features", "standardize"]
    assert list(LinearRewardRegressor().get_params()) == names
    pairs = make_pairs(30, 4)
    first = reward.fit(pairs).coef_
    np.testing.assert_array_equal(reward.fit(pairs).coef_, first)
    for name in LinearRewardRegressor.fitted_state_names:
        assert hasattr(reward, name)
    with sklearn.config_context(enable_metadata_routing=True):
        assert reward.get_metadata_routing().fit.requests["groups"] is True


def test_two_prompts_are_enough_to_choose_a_penalty():
    pairs = make_pairs(40, 3)
    reward = LinearRewardRegressor().fit(pairs, groups=np.arange(40) % 2)  # warnings are errors
    assert np.isfinite(reward.log_losses_).all()
    assert reward.C_ == reward.Cs_[reward.log_losses_.argmin()]


# ------------------------------------------------------------------------------- slope
def left_out_margins(rows, target, weight, fold, C, free=slice(None)):
    """Log-odds of each pair by the minimum of all other folds, and as long as that of all."""
    margin, long = np.empty(len(rows)), np.empty(len(rows))
    length = np.linalg.norm(minimum(rows, target, weight, C)[free])
    for number in np.unique(fold):
        known, test = fold != number, fold == number
        w = minimum(rows[known], target[known], weight[known], C)[free]
        margin[test] = rows[test][:, free] @ w
        long[test] = margin[test] * length / np.linalg.norm(w)
    return margin, long


@pytest.mark.parametrize("shape", [(50, 6), (30, 40)], ids=["n > d", "n < d"])
def test_the_slope_is_fitted_to_left_out_log_odds(shape):
    n, d = shape
    rng = np.random.default_rng(0)
    pairs, target, weight = make_pairs(n, d), rng.random(n), np.repeat(rng.uniform(1, 2, n // 2), 2)
    groups = np.arange(n) // 2
    reward = LinearRewardRegressor([0.01]).fit(pairs, target, weight, groups=groups)
    fold = np.empty(n // 2, dtype=int)
    fold[np.argsort(-weight[::2])] = np.arange(n // 2) % 5
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / deviations(pairs, weight)
    margin, long = left_out_margins(rows, target, weight, fold[groups], 0.01)
    slope = fit_slope(long, target, weight)
    assert reward.slope_ == pytest.approx(slope, rel=1e-3)
    assert_allclose(reward.left_out_log_odds_, slope * long, rtol=2e-2, atol=1e-4)
    loss = np.average(np.logaddexp(0, margin) - target * margin, weights=weight)
    assert_allclose(reward.log_losses_, [loss], **CLOSE_LOSSES)  # the slope comes after the choice


def test_left_out_log_odds_are_those_of_the_chosen_setting():
    pairs = make_pairs(60, 5)
    chosen = LinearRewardRegressor(GRID).fit(pairs)
    alone = LinearRewardRegressor([chosen.C_]).fit(pairs)
    assert chosen.C_ not in (GRID[0], GRID[-1])
    assert_allclose(chosen.left_out_log_odds_, alone.left_out_log_odds_, rtol=1e-2, atol=1e-3)
    assert_allclose(chosen.slope_, alone.slope_, rtol=1e-3)


@pytest.mark.parametrize("C", [1e-5, 1.0], ids=["too flat", "too sharp"])
def test_probabilities_of_fresh_pairs_are_as_sharp_as_they_should_be(C):
    rng = np.random.default_rng(0)
    w = rng.normal(size=60) / 4
    pairs = rng.normal(size=(5400, 2, 60)).astype(np.float32)
    lost = (pairs[:, 0] - pairs[:, 1]) @ w + rng.logistic(size=5400) < 0
    pairs[lost] = pairs[lost, ::-1]
    known, fresh = pairs[:400], pairs[400:]
    reward = LinearRewardRegressor([C]).fit(known)
    log_odds = reward.decision_function(fresh)

    def loss(slope):
        return np.logaddexp(0, -slope * log_odds).mean()

    best = min(loss(slope) for slope in np.geomspace(0.1, 10, 200))
    assert loss(1) < best + 0.01
    assert loss(1 / reward.slope_) > best + 0.01, "the toy data must need a slope"


def test_left_out_log_odds_stand_where_the_pairs_were_given():
    pairs = augmented()
    weight = np.random.default_rng(3).integers(0, 3, size=30)
    weight[:3] = 0, 1, 2
    reward = LinearRewardRegressor(GRID).fit(pairs, sample_weight=weight)
    known = np.isfinite(reward.left_out_log_odds_)
    assert known.tolist() == (weight > 0).tolist() + [False] * 60
    by_pair = LinearRewardRegressor(GRID).fit(pairs, sample_weight=weight[pairs.parent])
    assert_array_equal(by_pair.left_out_log_odds_, reward.left_out_log_odds_)
    array = LinearRewardRegressor(GRID).fit(make_pairs(30, 4), sample_weight=weight)
    known = np.isfinite(array.left_out_log_odds_)
    assert known.tolist() == (weight > 0).tolist()
    kept = np.flatnonzero(weight)
    same = LinearRewardRegressor(GRID).fit(make_pairs(30, 4)[kept], sample_weight=weight[kept])
    assert_allclose(same.left_out_log_odds_, array.left_out_log_odds_[kept], **CLOSE)


def test_folds_of_fewer_pairs_make_no_slope():
    # Under so strong a penalty weights are as long as the pairs are many: a half has half of it.
    pairs = np.zeros((40, 2, 1), dtype=np.float32)
    pairs[:, 0] = 1
    reward = LinearRewardRegressor([1e-9], cv=2, standardize=False).fit(pairs)
    coef = 1e-9 * 40 / 2
    assert weights(reward) == pytest.approx([coef], rel=1e-3)
    assert reward.slope_ == pytest.approx(fit_slope(np.full(40, coef), np.ones(40)), rel=1e-3)
    assert_allclose(reward.left_out_log_odds_, reward.decision_function(pairs), rtol=1e-6)


def test_without_two_groups_there_is_no_slope():
    reward = LinearRewardRegressor([0.1]).fit(make_pairs(20, 4), groups=np.zeros(20))
    assert reward.slope_ == 1
    assert np.isnan(reward.left_out_log_odds_).tolist() == [True] * 20


# ----------------------------------------------------------------------- response features
def with_features(n, d, k, seed=0):
    """Pairs (n, 2, d + k) and their groups of two; both views decide, the features more."""
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(n, 2, d + k)) * rng.uniform(0.5, 3, size=d + k)
    w = rng.normal(size=d + k) / np.r_[np.full(d, d), np.full(k, 0.5 * k)]
    lost = (pairs[:, 0] - pairs[:, 1]) @ w + rng.logistic(size=n) < 0
    pairs[lost] = pairs[lost, ::-1]
    return pairs.astype(np.float32), np.arange(n) // 2


def views_by_hand(pairs, k, ratio, standardize=True, weight=None):
    """Differences (n, d + k) as the penalty sees them, and what divides each column."""
    weight = np.ones(len(pairs)) if weight is None else weight
    members = pairs.astype(float)
    scale = deviations(pairs, weight)
    mean = np.average(members.mean(axis=1), axis=0, weights=weight)
    d = pairs.shape[-1] - k
    if not standardize:
        scale[:d] = 1
    features = np.clip((members[..., d:] - mean[d:]) / scale[d:], -3, 3)
    rows = np.concatenate([members[..., :d] / scale[:d], features], axis=-1)
    rows = rows[:, 0] - rows[:, 1]
    unit = np.ones(d + k)
    for view in (slice(0, d), slice(d, None)):
        size = np.average((rows[:, view] ** 2).sum(axis=1), weights=weight) if d + k else 1
        unit[view] = np.sqrt(size / 1000) or 1
    unit[d:] /= np.sqrt(ratio)
    return rows / unit, np.concatenate([scale[:d], np.ones(k)]) * unit


@pytest.mark.parametrize(
    ("d", "k"), [(6, 3), (90, 3), (0, 3), (5, 70), (80, 70)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("standardize", [True, False])
def test_each_view_has_a_strength_of_its_own(d, k, standardize):
    pairs, groups = with_features(60, d, k)
    pairs[0, 0, -1] = 50  # an outlier, which is clipped
    grid = [1e-4, 1e-3, 1e-2]
    weight = np.repeat(np.random.default_rng(5).uniform(0.5, 2, 30), 2)
    reward = LinearRewardRegressor(grid, standardize=standardize, n_response_features=k)
    reward.fit(pairs, sample_weight=weight, groups=groups)
    fold = np.empty(30, dtype=int)
    fold[np.argsort(-weight[::2])] = np.arange(30) % 5
    ones, everyone = np.ones(60), np.ones(60, dtype=bool)
    ratios = [1 / 3, 1, 3] if d else [1]
    losses = np.empty((3, len(ratios)))
    for i, ratio in enumerate(ratios):
        rows, _ = views_by_hand(pairs, k, ratio, standardize, weight)
        losses[:, i] = left_out_losses(rows, ones, weight, fold[groups], everyone, grid)
    assert_allclose(reward.log_losses_, losses if d else losses[:, 0], rtol=1e-3)
    C, ratio = np.unravel_index(reward.log_losses_.argmin(), losses.shape)
    assert (reward.C_, reward.feature_ratio_) == (grid[C], ratios[ratio])
    rows, scale = views_by_hand(pairs, k, ratios[ratio], standardize, weight)
    coef = minimum(rows, ones, weight, grid[C]) / scale
    assert_allclose(weights(reward), coef, rtol=5e-3, atol=1e-3 * np.abs(coef).max())


def test_the_ratio_is_searched():
    chosen = set()
    for strong in ("embedding", "features"):
        rng = np.random.default_rng(1)
        pairs = rng.normal(size=(150, 2, 40)).astype(np.float32)
        w = np.zeros(40)
        w[slice(0, 20) if strong == "embedding" else slice(20, 40)] = rng.normal(size=20)
        lost = (pairs[:, 0] - pairs[:, 1]) @ w < 0
        pairs[lost] = pairs[lost, ::-1]
        chosen.add(
            (strong, LinearRewardRegressor(n_response_features=20).fit(pairs).feature_ratio_)
        )
    assert chosen == {("embedding", 1 / 3), ("features", 3.0)}


def test_features_are_predicted_in_clipped_deviations():
    # By hand: members 0 and 2 have the mean 1 and the deviation 1.
    pairs = np.tile(np.array([[[2.0], [0.0]]], dtype=np.float32), (10, 1, 1))
    reward = LinearRewardRegressor(n_response_features=1).fit(pairs)
    assert (reward.feature_mean_, reward.feature_scale_) == ([1], [1])
    rewards = reward.predict([[[0.0], [1.0], [3.0], [4.0], [1000.0], [-1000.0], [np.nan]]])
    assert_allclose(rewards[0] / reward.coef_[0], [-1, 0, 2, 3, 3, -3, np.nan])
    # Behind an embedding that says nothing the same columns do the same.
    wide = np.concatenate([np.zeros_like(pairs), pairs], axis=-1)
    both = LinearRewardRegressor(n_response_features=1).fit(wide)
    assert_allclose(both.predict([[5.0, 4.0], [-5.0, 9.0]]), 3 * both.coef_[1])
    assert both.coef_[0] == 0


def test_scale_and_shift_of_both_views_make_no_difference():
    pairs, groups = with_features(60, 4, 3)
    factor, shift = np.array([1e-3, 1, 7, 1e3, 1e3, 2, 5.0]), np.array([0, 1, 2, 0, 9, -1, 0.5])
    reward = LinearRewardRegressor(n_response_features=3).fit(pairs, groups=groups)
    same = LinearRewardRegressor(n_response_features=3).fit(pairs * factor + shift, groups=groups)
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert_allclose(same.coef_ * [*factor[:4], 1, 1, 1], reward.coef_, **CLOSE)
    raw = LinearRewardRegressor([1e-3], n_response_features=3, standardize=False)
    features = factor * [0, 0, 0, 0, 1, 1, 1] + [1, 1, 1, 1, 0, 0, 0]  # the embedding stays
    first = raw.fit(pairs, groups=groups).coef_
    assert_allclose(raw.fit(pairs * features, groups=groups).coef_, first, **CLOSE)


def test_the_number_of_columns_of_a_view_makes_no_difference():
    # Every column of the embedding four times: the same embedding.
    pairs, groups = with_features(60, 5, 3)
    wide = np.concatenate([np.tile(pairs[..., :5], 4), pairs[..., 5:]], axis=-1)
    reward = LinearRewardRegressor(n_response_features=3).fit(pairs, groups=groups)
    same = LinearRewardRegressor(n_response_features=3).fit(wide, groups=groups)
    assert_allclose(same.log_losses_, reward.log_losses_, **CLOSE_LOSSES)
    assert_allclose(same.predict(wide), reward.predict(pairs), rtol=1e-2, atol=1e-3)


def test_the_lipschitz_constant_is_in_units_of_x():
    pairs, groups = with_features(60, 4, 3)
    reward = LinearRewardRegressor(n_response_features=3).fit(pairs, groups=groups)
    steepest = np.r_[reward.coef_[:4], reward.coef_[4:] / reward.feature_scale_]
    step = 1e-2 * steepest / np.linalg.norm(steepest)
    at = np.r_[np.zeros(4), reward.feature_mean_]
    rise = np.diff(reward.predict([at, at + step]))[0] / 1e-2
    assert reward.lipschitz == pytest.approx(rise, rel=1e-3)


def test_synthetic_pairs_set_no_scale_of_features():
    pairs = augmented(d=4)
    reward = LinearRewardRegressor(n_response_features=2).fit(pairs)
    alone = LinearRewardRegressor(n_response_features=2).fit(
        pairs.originals, sample_weight=pairs.weight[:30]
    )
    assert_allclose(reward.feature_mean_, alone.feature_mean_)
    assert_allclose(reward.feature_scale_, alone.feature_scale_)


def test_more_features_than_columns_are_refused():
    with pytest.raises(ValueError, match="n_response_features=4, but X has 3 features"):
        LinearRewardRegressor(n_response_features=4).fit(make_pairs(10, 3))
    LinearRewardRegressor(n_response_features=3).fit(make_pairs(10, 3))


# --------------------------------------------------------------------------------- control
def long_and_good(n, seed=0, always=True):
    """Pairs (n, 2, 6) of length and quality, which go together, and noise; both decide."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(n, 2))
    length = 0.7 * quality + rng.normal(size=(n, 2))
    pairs = np.concatenate([np.stack([quality, length], -1), rng.normal(size=(n, 2, 4))], axis=-1)
    if always:  # the chosen one is longer, whatever else it is
        lost = length[:, 0] < length[:, 1]
    else:
        margin = 2 * (length[:, 0] - length[:, 1]) + (quality[:, 0] - quality[:, 1])
        lost = margin + rng.logistic(size=n) < 0
    pairs[lost] = pairs[lost, ::-1]
    return pairs.astype(np.float32)


@pytest.mark.parametrize("n_response_features", [0, 5])
@pytest.mark.parametrize("column", [1, -5])
def test_control_removes_length(n_response_features, column):
    pairs = long_and_good(400, always=False)
    setting = {"n_response_features": n_response_features}
    used = LinearRewardRegressor(**setting).fit(pairs)
    reward = LinearRewardRegressor(**setting, controlled=[column]).fit(pairs)
    assert reward.coef_[1] == 0 < reward.control_coef_[0] and reward.control_coef_.shape == (1,)
    fresh = long_and_good(2000, seed=1).reshape(-1, 6)
    quality, length = fresh[:, 0].astype(float), fresh[:, 1].astype(float)
    rest = length - quality * (length @ quality) / (quality @ quality)
    assert abs(np.corrcoef(rest, reward.predict(fresh))[0, 1]) < 0.1
    assert np.corrcoef(rest, used.predict(fresh))[0, 1] > 0.5
    # What is left is what decides beside length: quality is worth half of it.
    deviation = pairs[..., 1].std() if n_response_features else 1
    ratio = reward.control_coef_[0] / deviation / reward.coef_[0]
    assert ratio == pytest.approx(2, rel=0.4)


def test_length_that_always_decides_leaves_nothing_else():
    pairs = long_and_good(300)
    used = LinearRewardRegressor(controlled=[5]).fit(pairs)  # of no importance
    reward = LinearRewardRegressor(controlled=[1]).fit(pairs)
    assert np.corrcoef(used.predict(pairs).ravel(), pairs[..., 1].ravel())[0, 1] > 0.9
    share = np.abs(weights(reward)).max() / (reward.control_coef_[0] / reward.slope_)
    assert share < 0.05


@pytest.mark.parametrize("C", [1e-3, 1e-2])
@pytest.mark.parametrize("d", [6, 50])
def test_controlled_columns_have_a_penalty_of_their_own(C, d):
    # By hand: its difference is divided so that its mean square is 30 / C, other columns not.
    pairs = make_pairs(40, d)
    reward = LinearRewardRegressor([C], controlled=[2, -1]).fit(pairs)
    scale = deviations(pairs, np.ones(40))
    rows = (pairs[:, 0].astype(float) - pairs[:, 1]) / scale
    for column in (2, d - 1):
        factor = np.sqrt((rows[:, column] ** 2).mean() * C / 30)
        rows[:, column] /= factor
        scale[column] *= factor
    coef = minimum(rows, np.ones(40), np.ones(40), C) / scale
    assert_allclose(reward.control_coef_ / reward.slope_, coef[[2, -1]], rtol=5e-3)
    coef[[2, -1]] = 0
    assert_allclose(weights(reward), coef, rtol=5e-3, atol=2e-2 * np.abs(coef).max())
    # Log-odds and slope are of what is predicted: the rest of each fold's solution.
    fold, ones = np.argsort(row_order(pairs)) % 5, np.ones(40)
    free = np.setdiff1d(np.arange(d), [2, d - 1])
    _, margin = left_out_margins(rows, ones, ones, fold, C, free)
    slope = fit_slope(margin, ones)
    assert reward.slope_ == pytest.approx(slope, rel=2e-2)
    log_odds = slope * margin
    error = np.abs(reward.left_out_log_odds_ - log_odds).max()
    assert error < 0.03 * np.abs(log_odds).max()


@pytest.mark.parametrize(
    ("controlled", "message"),
    [
        ([3], r"controlled\[0\] is 3, but X has 3 features: columns are -3 to 2"),
        ([0, -4], r"controlled\[1\] is -4"),
        ([0, 1, -3], r"names column 0 twice, the second time as controlled\[2\]"),
        ([0, 1, 2], "names all 3 features"),
        ([0.5], r"controlled\[0\] is 0.5; columns are whole numbers"),
        (["log_words"], r"controlled\[0\] is 'log_words'; columns are whole"),
        ([True], r"controlled\[0\] is True"),
    ],
)
def test_bad_controls_are_named(controlled, message):
    with pytest.raises(ValueError, match=message):
        LinearRewardRegressor(controlled=controlled).fit(make_pairs(10, 3))


def test_a_control_without_effect_is_warned_of():
    pairs = make_pairs(20, 4)
    pairs[:, 1, 2] = pairs[:, 0, 2]  # of one prompt
    pairs[..., 0] = 0.1
    with pytest.warns(UserWarning, match=r"controlled columns \[0, 2\] differ in no pair"):
        reward = LinearRewardRegressor(GRID, controlled=[0, 1, -2]).fit(pairs)
    assert (reward.control_coef_ != 0).tolist() == [False, True, False]
    plain = LinearRewardRegressor(GRID, controlled=np.array([1])).fit(pairs)
    assert_allclose(plain.coef_, reward.coef_, **CLOSE)


def test_fitted_features_and_controls_survive_their_state():
    pairs, groups = with_features(40, 4, 3)
    setting = {"n_response_features": 3, "controlled": [-1]}
    reward = LinearRewardRegressor(**setting).fit(pairs, groups=groups)
    same = LinearRewardRegressor(**setting)
    same.set_fitted_state(reward.get_fitted_state())
    assert_array_equal(same.predict(pairs), reward.predict(pairs))
    assert_array_equal(same.control_coef_, reward.control_coef_)
    state = reward.get_fitted_state() | {"feature_mean_": np.zeros(2)}
    with pytest.raises(ValueError, match="feature_mean_ of LinearRewardRegressor has shape"):
        same.set_fitted_state(state)
