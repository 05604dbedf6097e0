"""The combination of rewards: weights by left-out prompts, and what each candidate is given."""

import joblib
import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    DirectNoiseAugmenter,
    EmbeddingScaler,
    GPRewardRegressor,
    LinearRewardRegressor,
    RepeatAugmenter,
    _auto_reward,
    export,
)
from lens_sklearn._auto_reward import Candidate, StackingSettings, stack
from lens_sklearn._calibration import fit_slope

ONE_VIEW = ["linear", "GP", "network"]
TWO_VIEWS = [
    *("linear, both views", "linear, embedding", "linear, features"),
    *("GP, both views", "GP, embedding", "GP, features"),
    "network",
]
QUICK = ["linear", "GP"]


def make_pairs(n, seed=0, noise=0.5, d=8):
    """Pairs whose first and last columns say which is better, and chance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2, d))
    better = np.argsort(-(X[..., 0] + X[..., -1] + noise * rng.normal(size=(n, 2))), axis=1)
    return np.take_along_axis(X, better[:, :, None], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    """Return the default, fitted to 60 pairs of an embedding (5) and features (3)."""
    reward = AutoRewardRegressor(n_response_features=3, random_state=0)
    return reward.fit(make_pairs(60), groups=np.arange(60) // 2)


def named(reward):
    return reward.cv_results_["candidate"].tolist()


class Recorder(LinearRewardRegressor):
    """Writes down what its fit is given."""

    seen = []

    def fit(self, X, y=None, sample_weight=None, *, unlabeled=None, groups=None):
        self.seen.append((X, y, sample_weight, unlabeled, groups))
        return super().fit(X, y, sample_weight, groups=groups)


@pytest.fixture
def seen(monkeypatch):
    monkeypatch.setattr(Recorder, "seen", [])
    return Recorder.seen


class Broken(LinearRewardRegressor):
    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        raise ValueError("it is broken")


class Knower(LinearRewardRegressor):
    """Knows the pairs of the prompts that it has seen by heart, and nothing else."""

    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        super().fit(X, y, sample_weight, groups=groups)
        del self.left_out_log_odds_  # it cannot say what it predicts of others
        self.prompts_ = np.unique(X[..., 0])
        return self

    def _predict_rows(self, rows):
        return np.where(np.isin(rows[:, 0], self.prompts_), 5 * rows[:, 1], -5 * rows[:, 1])


# ------------------------------------------------------------------------------- stacking
def loss_of(weights, log_odds, target, weight, prior, shrinkage):
    combined = weights @ log_odds
    losses = -target * np.log(expit(combined)) - (1 - target) * np.log(expit(-combined))
    return weight @ losses + shrinkage * np.sum((weights - prior) ** 2)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), shrinkage=st.sampled_from([0.1, 1.0, 10.0]))
def test_no_weights_on_a_grid_are_better(seed, shrinkage):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(size=(2, 20)) + rng.normal(size=(2, 1))
    target, weight, prior = rng.random(20), rng.integers(1, 4, 20), rng.random(2)
    found = stack(log_odds, target, weight, prior, shrinkage)
    assert (found >= 0).all()
    told = log_odds, target, weight, prior, shrinkage
    grid = np.linspace(0, 3, 31)
    best = min(loss_of(np.array([a, b]), *told) for a in grid for b in grid)
    assert loss_of(found, *told) <= best + 1e-6


def test_without_pairs_or_with_infinite_shrinkage_the_weights_are_the_prior():
    prior = np.array([0.2, 0.8])
    none = stack(np.zeros((2, 0)), np.zeros(0), np.zeros(0), prior, 10.0)
    np.testing.assert_allclose(none, prior, atol=1e-9)
    log_odds = np.array([[2.0, -2.0, 1.0], [-1.0, 1.0, 0.5]])
    stiff = stack(log_odds, np.array([1.0, 0.0, 1.0]), np.ones(3), prior, 1e9)
    np.testing.assert_allclose(stiff, prior, atol=1e-6)


def test_without_shrinkage_the_weights_are_the_most_likely():
    """One candidate: log-odds of 1 that win three times of four need the weight log 3."""
    found = stack(np.ones((1, 4)), np.array([1, 1, 1, 0]), np.ones(4), np.ones(1), 0.0)
    assert found[0] == pytest.approx(np.log(3), abs=1e-4)
    weighted = stack(np.ones((1, 2)), np.array([1, 0]), np.array([3, 1]), np.ones(1), 0.0)
    assert weighted[0] == pytest.approx(np.log(3), abs=1e-4)
    wrong = np.array([[1.0, 1.0], [-1.0, -1.0]])
    found = stack(wrong, np.array([0.9, 0.9]), np.ones(2), np.full(2, 0.5), 0.0)
    assert found[1] == pytest.approx(0, abs=1e-6) and found[0] == pytest.approx(np.log(9), rel=1e-3)


# ----------------------------------------------------------------------------- candidates
def test_candidates_of_one_view_and_of_two(fitted):
    assert named(fitted) == [*TWO_VIEWS, "combined"]
    one = AutoRewardRegressor(random_state=0).fit(make_pairs(40))
    assert named(one) == [*ONE_VIEW, "combined"]
    only = AutoRewardRegressor(QUICK, n_response_features=8).fit(make_pairs(40))
    assert named(only) == [*QUICK, "combined"]
    for reward in only.candidates_.values():
        assert reward.n_response_features == 8


def test_distillation_is_a_candidate_that_can_be_fitted():
    reward = AutoRewardRegressor(["linear", "distillation"], random_state=0).fit(make_pairs(60))
    assert named(reward) == ["linear", "distillation", "combined"]


def test_all_candidates(monkeypatch):
    made = AutoRewardRegressor("all", n_response_features=2)
    made.n_features_in_ = 8
    candidates = made._make_candidates(np.random.RandomState(0))
    assert [c.name for c in candidates] == [*TWO_VIEWS, "LENS", "distillation"]
    for candidate in candidates[-3:]:
        steps = candidate.estimator.named_steps
        assert steps["reward"].n_response_features == 2 and candidate.view == "both"
        assert steps["reward"].random_state is not None
    assert [c.prior for c in candidates] == [0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_views_read_their_columns(fitted):
    pairs, groups = make_pairs(60), np.arange(60) // 2
    new = np.random.default_rng(1).normal(size=(9, 8)).astype(np.float32)
    views = {"linear, embedding": "embedding", "GP, features": "features", "network": "both"}
    assert all(fitted.views_[name] == view for name, view in views.items() if name in fitted.views_)
    embedding = LinearRewardRegressor().fit(pairs[..., :5], groups=groups)
    features = LinearRewardRegressor(n_response_features=3).fit(pairs[..., 5:], groups=groups)
    both = LinearRewardRegressor(n_response_features=3).fit(pairs, groups=groups)
    reward = AutoRewardRegressor(["linear"], n_response_features=3).fit(pairs, groups=groups)
    expected = np.zeros(9)
    for name, alone, columns in (
        ("linear, embedding", embedding, slice(0, 5)),
        ("linear, features", features, slice(5, 8)),
        ("linear, both views", both, slice(0, 8)),
    ):
        expected += reward.weights_.get(name, 0) * alone.predict(new[:, columns])
    np.testing.assert_allclose(reward.predict(new), expected, rtol=1e-6)


def test_ones_own_candidates_read_every_column_whatever_their_name():
    pairs = make_pairs(40)
    own = [("mine, embedding", LinearRewardRegressor()), ["net, features", GPRewardRegressor()]]
    reward = AutoRewardRegressor([*own, "linear"], n_response_features=3).fit(pairs)
    assert named(reward)[:2] == ["mine, embedding", "net, features"]
    assert reward.views_["mine, embedding"] == "both"
    alone = LinearRewardRegressor().fit(pairs)
    np.testing.assert_array_equal(
        reward.candidates_["mine, embedding"].predict(pairs), alone.predict(pairs)
    )
    assert not hasattr(own[0][1], "coef_"), "a parameter is not fitted"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"candidates": []}, "candidates is empty"),
        ({"candidates": ["forest"]}, r"candidates has 'forest'; the names are \['linear'"),
        ({"candidates": "best"}, "'candidates' parameter"),
        ({"candidates": [LinearRewardRegressor()]}, "each is a name of .* or"),
        ({"candidates": [("a", 3)]}, "each is a name of .* or"),
        ({"candidates": ["GP", "GP"]}, "names 'GP' twice"),
        ({"candidates": ["GP", ("GP", GPRewardRegressor())]}, "names 'GP' twice"),
        ({"n_response_features": 9}, "n_response_features=9, but X has 8 features"),
        ({"n_response_features": 3, "controlled": [2]}, "column 2.*begin at column 5"),
        (
            {"candidates": ["network"], "n_response_features": 3, "controlled": [7]},
            "none can do what controlled asks",
        ),
        (
            {
                "candidates": [("mine", GPRewardRegressor())],
                "n_response_features": 3,
                "controlled": [7],
            },
            "does not reach the candidate 'mine'",
        ),
    ],
)
def test_what_cannot_be_combined_is_said_before_anything_is_fitted(monkeypatch, params, message):
    monkeypatch.setattr(_auto_reward, "_fit_candidate", None)
    with pytest.raises(ValueError, match=message):
        AutoRewardRegressor(**params).fit(make_pairs(20))


def test_a_candidate_that_fails_is_left_out_with_a_warning():
    pairs = make_pairs(30)
    with pytest.warns(UserWarning, match="left out a candidate.*bad: it is broken") as record:
        reward = AutoRewardRegressor([("bad", Broken()), "linear"]).fit(pairs)
    assert record[0].filename == __file__
    assert named(reward) == ["linear", "combined"]
    alone = AutoRewardRegressor(["linear"]).fit(pairs)
    np.testing.assert_array_equal(reward.predict(pairs), alone.predict(pairs))
    with pytest.raises(ValueError, match="no candidate .*one: it is broken.*two: it is broken"):
        AutoRewardRegressor([("one", Broken()), ("two", Broken())]).fit(pairs)


def test_controlled_columns_do_not_change_the_reward():
    pairs = make_pairs(60)
    reward = AutoRewardRegressor(n_response_features=3, controlled=(-1,), random_state=0)
    reward.fit(pairs)
    of_features = [name for name in TWO_VIEWS[:-1] if "embedding" not in name]
    assert named(reward) == [*of_features, "combined"], "others cannot leave a part out"
    moved = pairs.copy()
    moved[..., -1] += 1
    np.testing.assert_array_equal(reward.predict(moved), reward.predict(pairs))
    # With every feature controlled the features alone predict nothing.
    every = clone(reward).set_params(candidates=["GP"], controlled=(5, 6, 7)).fit(pairs)
    assert named(every) == ["GP, both views", "combined"]


def test_what_is_controlled_does_not_come_back_by_the_embedding():
    """The embedding knows what is controlled, and alone it would predict by that."""
    rng = np.random.default_rng(0)
    length, quality = rng.normal(size=(2, 300, 2))
    embedding = [length + 0.1 * rng.normal(size=(300, 2)), quality]
    pairs = np.stack([*embedding, length, rng.normal(size=(300, 2))], axis=-1)
    better = 3 * length + quality + rng.gumbel(size=(300, 2))
    order = np.argsort(-better, axis=1)
    pairs = np.take_along_axis(pairs, order[..., None], axis=1)
    longer = np.array([[[1.0, 0, 1, 0], [-1, 0, -1, 0]], [[0, 1, 0, 0], [0, -1, 0, 0]]])
    settings = {"candidates": ["linear"], "n_response_features": 2}
    used = AutoRewardRegressor(**settings).fit(pairs).decision_function(longer)
    left_out = AutoRewardRegressor(controlled=(-2,), **settings).fit(pairs)
    by_length, by_quality = left_out.decision_function(longer)
    assert used[0] > 3
    assert abs(by_length) < 0.25 * by_quality


# -------------------------------------------------------------------------------- weights
def test_weights_are_those_by_hand(fitted):
    """From two candidates that say what they predict of left-out pairs."""
    pairs, groups = make_pairs(60), np.arange(60) // 2
    y, weight = np.tile([1.0, 0.8, 1.0], 20), np.tile([1.0, 2.0], 30)
    told = {"sample_weight": weight, "groups": groups}
    reward = AutoRewardRegressor(QUICK).fit(pairs, y, **told)
    parts = [kind().fit(pairs, y, **told) for kind in (LinearRewardRegressor, GPRewardRegressor)]
    left_out = np.stack([part.left_out_log_odds_ for part in parts])
    slopes = np.array([fit_slope(row, y, weight) for row in left_out])
    weights = stack(slopes[:, None] * left_out, y, weight, np.full(2, 0.5), 10.0)
    np.testing.assert_allclose(reward.cv_results_["weight"], [*weights, 1], rtol=1e-4)
    for name, expected in zip(QUICK, weights * slopes, strict=True):
        assert reward.weights_[name] == pytest.approx(expected, rel=1e-4)
    expected = sum(w * s * p.predict(pairs) for w, s, p in zip(weights, slopes, parts, strict=True))
    np.testing.assert_allclose(reward.predict(pairs), expected, rtol=1e-4)


def test_cv_results(fitted):
    results = fitted.cv_results_
    assert list(results) == [
        *("candidate", "weight", "log_loss", "log_loss_error", "accuracy", "fit_time")
    ]
    assert {value.shape for value in results.values()} == {(8,)}
    assert results["weight"][-1] == 1 and (results["weight"] >= 0).all()
    assert results["fit_time"][-1] == pytest.approx(results["fit_time"][:-1].sum())
    assert (results["log_loss_error"] > 0).all()
    assert set(fitted.weights_) == set(fitted.candidates_) == set(fitted.views_)
    used = results["candidate"][:-1][results["weight"][:-1] > 0]
    assert list(fitted.weights_) == used.tolist()


def test_judgement_of_left_out_pairs_by_hand():
    """The last rows of results: mean loss, its error over prompts, ties count half."""
    log_odds, target = np.array([1.0, -1.0, 0.0, 2.0]), np.array([1.0, 1.0, 1.0, 0.25])
    weight, group = np.array([1.0, 2.0, 1.0, 1.0]), np.array([0, 0, 1, 2])
    losses = np.log1p(np.exp(-log_odds)) + (1 - target) * log_odds
    mean = weight @ losses / 5
    sums = [
        (losses[0] - mean) + 2 * (losses[1] - mean),
        losses[2] - mean,
        losses[3] - mean,
    ]
    found = _auto_reward._judge(log_odds, target, weight, group)
    assert found["log_loss"] == pytest.approx(mean)
    assert found["log_loss_error"] == pytest.approx(np.sqrt(3 / 2 * np.sum(np.square(sums))) / 5)
    assert found["accuracy"] == pytest.approx((1 + 0 + 0.5 + 0.25) / 5)


def test_prompts_are_kept_whole():
    """A candidate that knows the prompts that it saw by heart is judged by those it did not."""
    rng = np.random.default_rng(0)
    pairs = make_pairs(60)
    pairs[..., 0] = (np.arange(60) // 3)[:, None]  # the prompt
    pairs[..., 1] = np.sort(rng.normal(size=(60, 2)), axis=1)[:, ::-1]
    groups = np.arange(60) // 3
    told = AutoRewardRegressor(["linear", ("heart", Knower())]).fit(pairs, groups=groups)
    accuracy = dict(zip(named(told), told.cv_results_["accuracy"], strict=True))
    assert accuracy["heart"] == 0
    apart = AutoRewardRegressor(["linear", ("heart", Knower())], random_state=0).fit(pairs)
    assert apart.cv_results_["accuracy"][1] > 0.5
    weights = [reward.weights_["heart"] for reward in (told, apart)]
    assert weights[0] < 0.02 and weights[1] > 10 * weights[0], "what is wrong counts for nothing"


@pytest.mark.filterwarnings("ignore:all distinct pairs are of one prompt:UserWarning")
@pytest.mark.filterwarnings("ignore:no two groups have original pairs:UserWarning")
def test_one_prompt_has_the_weights_of_the_prior():
    pairs = make_pairs(20)
    with pytest.warns(UserWarning, match="weights are the prior's, and probabilities are not"):
        reward = AutoRewardRegressor(QUICK).fit(pairs, groups=np.zeros(20))
    assert reward.weights_ == {"linear": 0.5, "GP": 0.5}
    assert np.isnan(reward.cv_results_["log_loss"]).all()


def test_more_pairs_move_the_weights_to_what_predicts():
    """The second column of features decides alone; the embedding is noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2, 20))
    X = np.take_along_axis(X, np.argsort(-X[..., -1:], axis=1), axis=1).astype(np.float32)
    own = [("good", LinearRewardRegressor()), ("bad", LinearRewardRegressor(Cs=[1e-9, 2e-9]))]
    few, many = (AutoRewardRegressor(own).fit(X[:n]).cv_results_["weight"] for n in (20, 600))
    assert many[0] > many[1] and many[0] - many[1] >= few[0] - few[1]


@pytest.mark.parametrize("seed", range(2))
def test_probabilities_mean_what_they_say(seed):
    pairs, fresh = make_pairs(300, seed, 1.5), make_pairs(3000, seed + 10, 1.5)
    odds = AutoRewardRegressor(QUICK, n_response_features=3).fit(pairs).decision_function(fresh)
    losses = [np.logaddexp(0, -s * odds).mean() for s in (1, *np.geomspace(0.2, 5, 100))]
    assert losses[0] < min(losses) + 0.01


# --------------------------------------------------------------------- what each is given
def test_weights_prompts_and_targets_go_on(seen):
    pairs, y, groups = make_pairs(30), np.linspace(0.5, 1, 30).astype(np.float32), np.arange(30) % 7
    weight = np.tile([0.0, 1.0, 2.0], 10)
    kept = weight > 0
    AutoRewardRegressor([("seen", Recorder())]).fit(pairs, y, weight, groups=groups)
    X, target, weights, unlabeled, prompts = seen[0]
    np.testing.assert_array_equal(X, pairs[kept])
    np.testing.assert_array_equal(target, y[kept])
    np.testing.assert_array_equal(weights, weight[kept])
    np.testing.assert_array_equal(prompts, groups[kept])
    assert unlabeled is None and len(seen) == 1


def test_equal_weights_are_weights(seen):
    """Each pair observed twice is more evidence than once."""
    AutoRewardRegressor([("seen", Recorder())]).fit(make_pairs(20), sample_weight=np.full(20, 2))
    assert seen[0][2].tolist() == [2] * 20
    AutoRewardRegressor([("seen", Recorder())]).fit(make_pairs(20), sample_weight=np.ones(20))
    assert seen[1][2] is None


def test_a_candidate_without_weights_is_left_out_where_they_differ():
    pairs, weight = make_pairs(30), np.tile([1.0, 2.0], 15)
    deaf = make_pipeline(EmbeddingScaler(), LinearRewardRegressor())
    with pytest.warns(UserWarning, match="deaf: a Pipeline takes no weights of pairs"):
        AutoRewardRegressor([("deaf", deaf), "linear"]).fit(pairs, sample_weight=weight)


def test_responses_without_labels_go_to_those_who_ask(seen):
    pairs, unlabeled = make_pairs(30), np.random.default_rng(0).normal(size=(9, 3, 8))
    candidates = ["GP", ("linear", LinearRewardRegressor()), ("seen", Recorder())]
    reward = AutoRewardRegressor(candidates, n_response_features=2, random_state=0)
    reward.fit(pairs, unlabeled=unlabeled)
    np.testing.assert_allclose(seen[0][3], unlabeled, rtol=1e-6)
    alone = GPRewardRegressor(n_response_features=2).fit(pairs, unlabeled=unlabeled)
    found = reward.candidates_["GP, both views"]
    np.testing.assert_allclose(found.predict(pairs), alone.predict(pairs), rtol=1e-6)
    with pytest.warns(UserWarning, match=r"none of the candidates \['linear'\] learns from"):
        AutoRewardRegressor(["linear"]).fit(pairs, unlabeled=unlabeled)
    with pytest.raises(ValueError, match=r"unlabeled must have the shape \(m, N, d\)"):
        reward.fit(pairs, unlabeled=unlabeled[0])


def test_synthetic_pairs_are_learnt_from_and_never_judged():
    pairs = make_pairs(30)
    augmented = DirectNoiseAugmenter(factor=3, random_state=0).fit_transform(pairs)
    reward = AutoRewardRegressor(QUICK).fit(augmented)
    gp = GPRewardRegressor().fit(augmented)
    left_out = gp.left_out_log_odds_[~augmented.is_synthetic]
    assert len(left_out) == 30 and gp.left_out_log_odds_.shape == (90,)
    odds = fit_slope(left_out, np.ones(30)) * left_out
    assert reward.cv_results_["log_loss"][1] == pytest.approx(np.logaddexp(0, -odds).mean())
    np.testing.assert_array_equal(reward.candidates_["GP"].predict(pairs), gp.predict(pairs))


def test_folds_of_synthetic_pairs_keep_parents_and_children_together():
    """What has learnt a pair's children by heart does not know the pair when it is left out."""
    pairs = make_pairs(30)
    pairs[..., 0] = np.arange(30)[:, None]
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)

    class Heart(Knower):
        def fit(self, X, y=None, sample_weight=None, *, groups=None):
            return super().fit(np.asarray(X))

    reward = AutoRewardRegressor(["linear", ("heart", Heart())]).fit(augmented)
    right = (pairs[:, 0, 1] < pairs[:, 1, 1]).mean()
    assert reward.cv_results_["accuracy"][1] == pytest.approx(right)


# ---------------------------------------------------------------------- as an estimator
def test_the_same_seed_is_the_same_reward(fitted):
    pairs, groups = make_pairs(60), np.arange(60) // 2
    again = clone(fitted).fit(pairs, groups=groups)
    np.testing.assert_array_equal(again.predict(pairs), fitted.predict(pairs))
    assert "network" in fitted.cv_results_["candidate"]
    state = np.random.get_state()[1].copy()
    clone(fitted).set_params(random_state=1).fit(pairs, groups=groups)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_the_order_of_pairs_does_not_matter():
    pairs, order = make_pairs(40), np.random.default_rng(0).permutation(40)
    own = ["linear", "GP", ("net", make_pipeline(EmbeddingScaler(), LinearRewardRegressor()))]
    reward = AutoRewardRegressor(own, random_state=0)
    one, two = (clone(reward).fit(X).predict(pairs) for X in (pairs, pairs[order]))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_parts_without_a_seed_get_one():
    net = make_pipeline(RepeatAugmenter(factor=2), BTRewardRegressor(max_epochs=1))
    own = [("net", net), ("seeded", BTRewardRegressor(max_epochs=1, random_state=7))]
    one, two = (AutoRewardRegressor(own, random_state=0).fit(make_pairs(30)) for _ in range(2))
    np.testing.assert_array_equal(one.predict(make_pairs(9)), two.predict(make_pairs(9)))
    assert net[-1].random_state is None
    assert one.candidates_["seeded"].random_state == 7


def test_params_and_clone():
    reward = AutoRewardRegressor([("a", GPRewardRegressor(1.0))], controlled=(1,))
    assert reward.get_params() == {
        "candidates": reward.candidates,
        "n_response_features": 0,
        "controlled": (1,),
        "device": "auto",
        "random_state": None,
    }
    again = clone(reward)
    assert again.candidates[0][1] is not reward.candidates[0][1]
    assert again.candidates[0][1].prior_variance == 1.0


@pytest.mark.parametrize("how", ["export", "joblib"])
def test_a_saved_reward_is_the_same(fitted, tmp_path, how):
    if how == "export":
        export.save(fitted, tmp_path)
        again = export.load(tmp_path)
    else:
        joblib.dump(fitted, tmp_path / "reward")
        again = joblib.load(tmp_path / "reward")
    pairs = make_pairs(60)
    np.testing.assert_array_equal(again.predict(pairs), fitted.predict(pairs))
    assert again.weights_ == fitted.weights_ and again.views_ == fitted.views_
    for key, value in fitted.cv_results_.items():
        np.testing.assert_array_equal(again.cv_results_[key], value)


def test_ones_own_candidates_are_saved(tmp_path):
    own = [("net", make_pipeline(EmbeddingScaler(), LinearRewardRegressor())), "GP"]
    reward = AutoRewardRegressor(own, random_state=0).fit(make_pairs(30))
    export.save(reward, tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.predict(make_pairs(9)), reward.predict(make_pairs(9)))
    np.testing.assert_array_equal(
        clone(again).fit(make_pairs(30)).predict(make_pairs(9)), reward.predict(make_pairs(9))
    )


def test_in_a_pipeline_prompts_and_responses_are_routed(seen):
    pairs, groups = make_pairs(30), np.arange(30) // 3
    unlabeled = np.random.default_rng(0).normal(size=(9, 3, 8))
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = Pipeline(
            [("scale", EmbeddingScaler()), ("reward", AutoRewardRegressor([("a", Recorder())]))],
            transform_input=["unlabeled"],
        )
        pipeline.fit(pairs, groups=groups, unlabeled=unlabeled)
    np.testing.assert_array_equal(seen[0][4], groups)
    scaled = pipeline["scale"].transform(unlabeled)
    np.testing.assert_allclose(seen[0][3], scaled, rtol=1e-5)
    assert pipeline.score(pairs) > 0.8


def test_padding_and_scores(fitted, candidates):
    embeddings = candidates[0][..., :8].copy()
    embeddings[2, 4] = np.nan
    assert np.isnan(fitted.predict(embeddings)).sum() == 1
    gold = embeddings[..., 0] + embeddings[..., -1]
    assert fitted.score(embeddings, gold) > np.nanmean(gold) + 0.5


def test_what_was_set_cannot_be_set_anew():
    for value_object in (Candidate, StackingSettings):
        assert value_object.__dataclass_params__.frozen
    settings = StackingSettings()
    assert (settings.n_folds, settings.shrinkage, settings.min_weight) == (3, 10, 0.01)


def test_what_several_candidates_warn_of_is_said_once():
    pairs = np.random.default_rng(0).normal(size=(12, 2, 3))
    reward = AutoRewardRegressor(["linear", "GP"], random_state=0)
    with pytest.warns(UserWarning) as caught:
        reward.fit(pairs, np.full(12, 0.5))
    messages = [str(warning.message) for warning in caught]
    assert any("are ties" in message for message in messages)
    assert len(messages) == len(set(messages))


def test_the_device_reaches_what_computes_on_one(monkeypatch):
    told = []
    for kind in (GPRewardRegressor, BTRewardRegressor):
        fit = kind.fit

        def spy(self, *args, fit=fit, **kwargs):
            told.append((type(self).__name__, str(self.device)))
            return fit(self, *args, **kwargs)

        monkeypatch.setattr(kind, "fit", spy)
    AutoRewardRegressor(["GP", "network"], device="cpu", random_state=0).fit(make_pairs(30))
    assert set(told) == {("GPRewardRegressor", "cpu"), ("BTRewardRegressor", "cpu")}


@pytest.mark.parametrize(
    ("candidates", "device", "message"),
    [
        ("auto", "gpu", "'gpu' is none that torch knows"),
        ("auto", "mps", "'mps' has no float64.*use 'cpu'"),
        (["linear"], "cpu", r"'cpu' has no effect.*\['linear'\] is told it"),
        ([("mine", GPRewardRegressor())], "cpu", "has no effect.*an estimator of your own"),
    ],
)
def test_devices_without_effect_or_float64_are_refused(candidates, device, message):
    with pytest.raises(ValueError, match=message):
        AutoRewardRegressor(candidates, device=device).fit(make_pairs(30))
