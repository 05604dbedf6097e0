"""The benchmark of many embedders: views of a response, its length, and what probabilities say."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from benchmarks import run
from benchmarks.datasets import DATASETS, CandidateData, PairData, toy
from benchmarks.methods import Method
from benchmarks.objective import MIN_GAP, best_slope_loss, calibration, evaluate, ordered_pairs


@pytest.fixture(scope="module")
def world():
    """Candidates whose second feature is their gold, with lengths; the last four are padding."""
    plain = toy.load(n_prompts=40, n_features=6)
    candidates, gold = plain.candidates.copy(), plain.gold.copy()
    candidates[:, 12:], gold[:, 12:] = np.nan, np.nan
    rng = np.random.default_rng(0)
    lengths = np.where(np.isnan(gold), np.nan, rng.integers(50, 150, gold.shape))
    features = np.stack([np.log(lengths), 3 * gold + 7], axis=-1).astype(np.float32)
    return CandidateData(candidates, gold, n_test=8, features=features, lengths=lengths)


@pytest.fixture(scope="module")
def human():
    """Pairs whose one feature says which of them was chosen."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(80, 2, 6)).astype(np.float32)
    lengths = rng.integers(50, 150, (80, 2)).astype(float)
    features = (pairs[..., :1] * 2).astype(np.float32)
    return PairData(pairs, n_test=20, features=features, lengths=lengths)


# ------------------------------------------------------------------------------- views
def test_features_and_lengths_follow_their_responses(world, human):
    known = {
        row.tobytes(): (tuple(features), length)
        for row, features, length in zip(
            world.candidates.reshape(-1, 6),
            world.features.reshape(-1, 2),
            world.lengths.ravel(),
            strict=True,
        )
        if np.isfinite(length)
    }
    split = world.split(50, 3)
    for part, columns in ((split.pairs, "pairs"), (split.unlabeled, "unlabeled")):
        features = getattr(split.features, columns).reshape(-1, 2)
        for row, own in zip(part.reshape(-1, 6), features, strict=True):
            if np.isfinite(row[0]):
                assert known[row.tobytes()][0] == tuple(own)
    for row, own, length in zip(
        split.test.reshape(-1, 6),
        split.features.test.reshape(-1, 2),
        split.lengths.ravel(),
        strict=True,
    ):
        assert np.isnan(length) or known[row.tobytes()] == (tuple(own), length)
    split = human.split(30, 1)
    for part in ("pairs", "unlabeled", "test"):
        np.testing.assert_array_equal(
            getattr(split.features, part), 2 * getattr(split, part)[..., :1]
        )
    assert split.lengths.shape == (20, 2)


def test_views_are_columns_of_one_split(world):
    split = world.split(50, 0).scaled()
    assert split.view("embedding") is split and split.n_response_features == 0
    features, both = split.view("features"), split.view("both")
    assert both is split.view("both"), "made once, so that methods share what they compute"
    assert features.n_response_features == 0 and both.n_response_features == 2
    for part in ("pairs", "unlabeled", "test"):
        embedding, own = getattr(split, part), getattr(split.features, part)
        np.testing.assert_array_equal(getattr(features, part), own)
        np.testing.assert_array_equal(getattr(both, part)[..., :6], embedding)
        np.testing.assert_array_equal(getattr(both, part)[..., 6:], own)
    np.testing.assert_array_equal(both.features.pairs, world.split(50, 0).features.pairs)
    for view in (features, both):
        assert view.groups is split.groups and view.gold is split.gold
        assert view.lengths is split.lengths


def test_views_share_no_work(world):
    split = world.split(20, 0).scaled()
    views = ["embedding", "both", "features"]
    assert [split.view(v).once("key", lambda v=v: v) for v in views] == views
    assert split.view("both").details is not split.details


def test_a_view_that_is_not_there_is_refused(world):
    plain = replace(world.split(20, 0), features=None)
    with pytest.raises(ValueError, match="view='both' needs response features"):
        plain.view("both")
    with pytest.raises(ValueError, match="'text' is none of embedding, features, both"):
        plain.view("text")


def test_without_features_a_split_is_what_it_was(world):
    plain = CandidateData(world.candidates, world.gold, n_test=8)
    one, two = plain.split(50, 0).scaled(), world.split(50, 0).scaled()
    for part in ("pairs", "groups", "unlabeled", "test", "gold"):
        np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    assert set(evaluate(lambda X: X[..., 0], one)) == {"gold", "accuracy", "random", "oracle"}


@pytest.mark.parametrize("name", ["features", "lengths"])
def test_columns_of_other_responses_are_refused(world, name):
    other = getattr(world, name)[:-1]
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(40, 16.*got \(39, 16"):
        CandidateData(world.candidates, world.gold, **{name: other})
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(40, 2.*got \(39, "):
        PairData(world.candidates[:, :2], **{name: other[:, :2]})


# ----------------------------------------------------------------------------- metrics
def counted_one_by_one(rewards, gold, lengths):
    """Return hits on matched pairs and on those whose shorter response is better."""
    matched, shorter = [], []
    for r, g, n in zip(rewards, gold, lengths, strict=True):
        for i, j in permutations(range(len(r)), 2):
            if g[i] - g[j] > MIN_GAP:
                hit = 1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0
                if abs(n[i] - n[j]) < max(n[i], n[j]) / 5:
                    matched.append(hit)
                if n[i] < n[j]:
                    shorter.append(hit)
    return np.mean(matched), np.mean(shorter)


def test_accuracy_by_length_is_counted_pair_by_pair(world, human):
    def score(X):
        return X[..., 0].round(0)  # with ties

    split = world.split(20, 0)
    expected = counted_one_by_one(score(split.test), split.gold, split.lengths)
    found = evaluate(score, split)
    assert (found["accuracy_matched"], found["accuracy_shorter"]) == pytest.approx(
        expected, abs=1e-5
    )
    split = human.split(20, 0)
    gold = np.tile([1.0, 0.0], (20, 1))
    expected = counted_one_by_one(score(split.test), gold, split.lengths)
    found = evaluate(score, split)
    assert (found["accuracy_matched"], found["accuracy_shorter"]) == pytest.approx(
        expected, abs=1e-5
    )
    assert "gold" not in found


def test_a_fifth_of_the_longer_one_is_no_match():
    split = PairData(np.zeros((3, 2, 1), np.float32), n_test=1).split(1, 0)
    split.test = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    split.lengths = np.array([[100, 80], [81, 100]])  # 20 is no less than a fifth of 100
    assert evaluate(lambda X: X[..., 0], split)["accuracy_matched"] == 0
    assert evaluate(lambda X: X[..., 0], split)["accuracy_shorter"] == 0
    split.lengths = np.array([[100, 50], [100, 50]])
    found = evaluate(lambda X: X[..., 0], split)
    assert "accuracy_matched" not in found and "accuracy_shorter" not in found


def test_length_alone_orders_its_own_pairs(world):
    split = world.split(20, 0)
    found = evaluate(lambda X: split.lengths, split, log_odds=False)
    assert found["accuracy_shorter"] == 0
    assert "log_loss" not in found and "ece" not in found


def test_ordered_pairs_leave_padding_and_near_ties_out():
    rewards = np.array([[1.0, 2.0, 3.0, np.nan]])
    gold = np.array([[0.0, 0.05, 1.0, np.nan]])
    found, lengths = ordered_pairs(rewards, gold, 10 * rewards)
    assert sorted(map(tuple, found.tolist())) == [(3.0, 1.0), (3.0, 2.0)]
    np.testing.assert_array_equal(lengths, 10 * found)


def test_calibration_by_hand():
    margin = np.log([3.0, 3.0, 3.0, 1 / 3])  # right three times of four, as it says
    found = calibration(margin)
    loss = -(3 * np.log(0.75) + np.log(0.25)) / 4
    assert found["log_loss"] == found["log_loss_best_slope"] == pytest.approx(loss, abs=1e-5)
    assert calibration(5 * margin)["log_loss_best_slope"] == pytest.approx(loss, abs=1e-5)
    assert calibration(5 * margin)["log_loss"] > loss + 0.1
    assert best_slope_loss(-margin) == pytest.approx(np.log(2), abs=1e-4), "no slope is negative"
    assert best_slope_loss(0 * margin) == np.log(2)
    assert best_slope_loss(np.ones(3)) == pytest.approx(0, abs=1e-4)


def test_calibration_error_needs_both_outcomes():
    rng = np.random.default_rng(1)
    log_odds = rng.normal(scale=2, size=40_000)
    margin = np.where(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)), log_odds, -log_odds)
    honest, sure, shy = (calibration(s * margin) for s in (1, 3, 0))
    assert honest["ece"] < 0.01 < 0.1 < sure["ece"]
    assert honest["log_loss"] == pytest.approx(honest["log_loss_best_slope"], abs=1e-3)
    assert shy["ece"] < 0.01 and shy["log_loss"] == pytest.approx(np.log(2), abs=1e-5)
    counts, predicted, observed = np.array(honest["reliability"])
    assert counts.sum() == 40_000 and (counts > 100).all()
    assert (np.abs(predicted - observed) / counts).max() < 0.05
    error = np.abs(predicted - observed).sum() / counts.sum()
    assert error == pytest.approx(honest["ece"], abs=1e-3)


# -------------------------------------------------------------------------- the runner
@pytest.fixture
def toy_run(tmp_path, monkeypatch, world):
    monkeypatch.setitem(
        run.DATASETS, "toy", replace(DATASETS["toy"], load=lambda data, store: world)
    )
    run.load.cache_clear()
    yield tmp_path
    run.load.cache_clear()


def run_methods(folder, monkeypatch, *methods, n_pairs=30):
    for method in methods:
        monkeypatch.setitem(run.METHODS, method.name, method)
    cells = [run.SUITES["curves"]()[0]._replace(
        dataset="toy", n_pairs=n_pairs, n_splits=1, methods=tuple(m.name for m in methods)
    )]  # fmt: skip
    return run.run_suite("suite", cells, None, 1, folder)


def test_a_method_reads_its_view(toy_run, monkeypatch):
    shapes = {}

    def fit(split, seed):
        shapes[split.pairs.shape[-1]] = split.n_response_features
        split.details["d"] = split.pairs.shape[-1]
        return lambda X: X[..., -1]

    named = {view: Method(view, fit, view=view) for view in ("embedding", "features", "both")}
    found = run_methods(toy_run, monkeypatch, *named.values())
    assert shapes == {6: 0, 2: 0, 8: 2}
    assert [r["details"]["d"] for r in found] == [6, 2, 8]
    assert found[1]["accuracy"] == found[2]["accuracy"] == 1, "the feature is the gold"
    assert found[1]["accuracy_matched"] == 1


def test_bins_are_kept_where_a_diagram_is_drawn(toy_run, monkeypatch):
    def fit(split, seed):
        return lambda X: X[..., 0]

    drawn, other = Method("drawn", fit, diagram=(30,)), Method("other", fit, diagram=(50,))
    rank = Method("rank", fit, log_odds=False, diagram=(30,))
    found = {r["method"]: r for r in run_methods(toy_run, monkeypatch, drawn, other, rank)}
    assert np.shape(found["drawn"]["reliability"]) == (3, 10)
    assert "reliability" not in found["other"] and found["other"]["ece"] == found["drawn"]["ece"]
    assert "ece" not in found["rank"] and "accuracy_matched" in found["rank"]
