"""Comparisons on toy pairs: what is left out, paired and resumed, and bad input."""

import json
import warnings
from functools import partial

import numpy as np
import pytest

from lens_sklearn import LinearRewardRegressor, compare_rewards
from lens_sklearn import _comparison as module
from lens_sklearn._comparison import METHODS, QUICK, check_methods
from lens_sklearn._comparison_data import CANDIDATES, Folds, Task
from lens_sklearn._distillation import DistillationAugmenter
from lens_sklearn.metrics import best_of_n_score, pair_accuracy_score

CHEAP = ["random", "linear", "gp"]


@pytest.fixture
def groups():
    return np.arange(60) // 2


@pytest.fixture
def recorded(monkeypatch):
    """Record the rows that each linear model is fitted on, and asked of."""
    fits = []

    class Recorded(LinearRewardRegressor):
        def fit(self, X, y=None, sample_weight=None, *, groups=None):
            fits.append((X, y, sample_weight, groups))
            return super().fit(X, y, sample_weight, groups=groups)

    monkeypatch.setitem(
        METHODS, "linear", METHODS["linear"]._replace(reward=lambda seed, device: Recorded())
    )
    return fits


def test_prompts_are_left_out_whole(pairs, groups, recorded):
    found = compare_rewards(pairs, groups=groups, methods=[], cv=3, random_state=0)
    assert found.counts == {"pairs": 60, "prompts": 30, "folds": 3, "repeats": 1}
    whole, shares = recorded[:3], recorded[3:]
    log_odds = np.full(60, np.nan)
    for X, y, weight, kept in whole:
        assert weight is None and (y == 1).all()
        left_out = ~np.isin(groups, kept)
        assert left_out.sum() == 20 and (X == pairs[~left_out]).all()
        log_odds[left_out] = (
            LinearRewardRegressor().fit(X, y, groups=kept).decision_function(pairs[left_out])
        )
    accuracy = pair_accuracy_score(np.stack([log_odds, 0 * log_odds], axis=1))
    assert found.row("linear")["accuracy"] == pytest.approx(accuracy)
    assert found.row("linear")["log_loss"] == pytest.approx(np.logaddexp(0, -log_odds).mean())
    # A quarter of a fold's prompts is among its half, and that among all.
    prompts = [set(kept) for *_, kept in shares]
    assert sorted(map(len, prompts)) == [5] * 3 + [10] * 3
    for quarter, half, (*_, every) in zip(prompts[:3], prompts[3:], whole, strict=True):
        assert quarter < half < set(every)
    assert found.curves["linear"]["n_pairs"] == [10, 20, 40]
    assert found.curves["linear"]["accuracy"][-1] == found.row("linear")["accuracy"]


def test_repeats_deal_prompts_anew(pairs, groups, recorded):
    settings = {"groups": groups, "methods": [], "cv": 3, "learning_curve": False}
    found = compare_rewards(pairs, n_repeats=2, random_state=0, **settings)
    assert found.counts["repeats"] == 2 and not found.curves
    tests = [frozenset(groups) - frozenset(kept) for *_, kept in recorded]
    assert len(set(tests)) == 6
    for repeat in (tests[:3], tests[3:]):
        assert frozenset().union(*repeat) == frozenset(groups)


def test_targets_and_weights_reach_fits_and_averages(pairs, groups, recorded):
    rng = np.random.default_rng(0)
    target, weight = rng.uniform(size=60), rng.integers(0, 3, size=60)
    found = compare_rewards(
        pairs, target, weight, groups=groups, methods=["random"], cv=2, random_state=0
    )
    kept = weight > 0
    assert found.counts["pairs"] == kept.sum()
    X, y, given, prompts = recorded[0]
    inside = kept & np.isin(groups, prompts)
    np.testing.assert_array_equal(X, pairs[inside])
    np.testing.assert_array_equal(y, target[inside])
    np.testing.assert_array_equal(given, weight[inside])
    assert found.row("random")["log_loss"] == pytest.approx(np.log(2))


def test_shortcuts_and_gold_are_those_of_the_metrics(pairs, groups, candidates):
    candidates, gold = candidates
    rng = np.random.default_rng(0)
    lengths, of_candidates = rng.integers(9, 99, (60, 2)), rng.integers(9, 99, gold.shape)
    found = compare_rewards(
        pairs,
        groups=groups,
        lengths=lengths,
        candidates=candidates,
        gold=gold,
        candidate_lengths=of_candidates,
        methods=["longest", "shortest", "random"],
        cv=2,
        random_state=0,
        learning_curve=False,
    )
    for name, sign in (("longest", 1), ("shortest", -1)):
        row = found.row(name)
        assert row["accuracy"] == pytest.approx(pair_accuracy_score(sign * lengths))
        matched = {"lengths": lengths, "subset": "length_matched"}
        assert row["length_matched"] == pytest.approx(
            pair_accuracy_score(sign * lengths, **matched)
        )
        assert row["gold"] == pytest.approx(best_of_n_score(sign * of_candidates, gold))
        assert np.isnan(row["log_loss"]) and row["shorter_wins"] == (name == "shortest")
    assert found.row("random")["gold"] == pytest.approx(gold.mean())
    linear = LinearRewardRegressor().fit(pairs, groups=groups)
    assert found.row("linear")["gold"] == pytest.approx(linear.score(candidates, gold))
    assert found.counts["candidates"] == 10
    assert found.counts["shorter_wins"] == (lengths[:, 0] < lengths[:, 1]).sum()


def test_views_are_columns(pairs, groups, monkeypatch):
    seen = []

    class Recorded(LinearRewardRegressor):
        def fit(self, X, *args, **kwargs):
            seen.append(X.shape[-1])
            return super().fit(X, *args, **kwargs)

    for name in ("linear-embedding", "linear-features", "linear"):
        method = METHODS[name]._replace(reward=lambda seed, device: Recorded())
        monkeypatch.setitem(METHODS, name, method)
    found = compare_rewards(
        pairs,
        groups=groups,
        n_response_features=3,
        methods=["linear-embedding", "linear-features"],
        cv=2,
        learning_curve=False,
        random_state=0,
    )
    assert seen == [9, 9, 3, 3, 12, 12]
    accuracy = {row["method"]: row["accuracy"] for row in found.table}
    assert accuracy["linear-embedding"] > accuracy["linear-features"]  # the first column decides


def test_unlabeled_responses_of_left_out_prompts_are_left_out(pairs, groups, monkeypatch):
    seen = []

    def fit_transform(self, X, y=None, *, groups=None, unlabeled=None):
        seen.append((set(groups), unlabeled[:, 0, 0]))
        return X

    monkeypatch.setattr(DistillationAugmenter, "fit_transform", fit_transform)
    monkeypatch.setattr(module.EmbeddingScaler, "transform", lambda self, X: X)
    unlabeled = np.random.default_rng(2).normal(size=(31, 3, 12)).astype(np.float32)
    unlabeled[:, 0, 0] = np.arange(31)  # its own number
    names = np.array([f"prompt {g}" for g in groups])
    compare_rewards(
        pairs,
        groups=names,
        unlabeled=unlabeled,
        unlabeled_groups=[f"prompt {g}" for g in range(30)] + ["another"],
        methods=["distillation-unlabeled"],
        cv=2,
        learning_curve=False,
        random_state=0,
    )
    order = np.unique(names, return_index=True)[1]
    for kept, numbers in seen:
        assert set(numbers) == {groups[order[k]] for k in kept} | {30} and len(numbers) == 16


def test_every_method_runs(pairs, groups, monkeypatch):
    few = partial(DistillationAugmenter, factor=2)  # "auto" takes its time
    monkeypatch.setattr(module, "DistillationAugmenter", few)
    unlabeled = np.random.default_rng(2).normal(size=(8, 3, 12)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # those of fits are counted and not raised
        found = compare_rewards(
            pairs,
            groups=groups,
            n_response_features=2,
            lengths=np.random.default_rng(1).integers(9, 99, (60, 2)),
            unlabeled=unlabeled,
            cv=2,
            learning_curve=False,
            device="cpu",
            random_state=0,
        )
    assert [row["method"] for row in found.table] == list(METHODS) and not found.failures
    for row in found.table:
        assert (row["log_loss"] < 0.75) != (row["method"] in ("longest", "shortest"))


def test_workers_change_nothing(pairs, groups):
    settings = {"groups": groups, "methods": ["gp", "repeat"], "cv": 2, "random_state": 0}
    settings |= {"learning_curve": False, "device": "cpu"}
    one = compare_rewards(pairs, **settings)
    two = compare_rewards(pairs, n_jobs=2, **settings)
    for row in (*one.table, *two.table):
        row["seconds"] = 0
    assert one.to_dict() == two.to_dict()


# ----------------------------------------------------------------------------------- resuming
def test_a_second_run_fits_what_is_missing(pairs, groups, tmp_path, recorded):
    path = tmp_path / "results.jsonl"
    settings = {"groups": groups, "cv": 3, "random_state": 0, "results": path}
    calls = []
    first = compare_rewards(
        pairs, methods=[], progress=lambda *told: calls.append(told), **settings
    )
    assert len(recorded) == 9 and [done for done, *_ in calls] == list(range(1, 10))
    assert calls[0][1:] == (9, "tuned linear, fold 1")
    assert calls[-1][2] == "tuned linear, fold 3, 50% of the prompts"
    assert compare_rewards(pairs, methods=[], **settings).to_dict() == first.to_dict()
    assert len(recorded) == 9
    more = compare_rewards(pairs, methods=["gp"], **settings)
    assert len(recorded) == 9 and more.row("linear")["accuracy"] == first.row("linear")["accuracy"]
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + 9 + 3
    path.write_text("\n".join(lines[:5]) + '\n{"task": ["lin')  # killed
    again = compare_rewards(pairs, methods=["gp"], **settings)
    assert len(recorded) == 14
    assert again.row("gp")["accuracy"] == more.row("gp")["accuracy"]
    assert sorted(json.loads(line)["task"] for line in path.read_text().splitlines()[1:] if line)


def test_an_interrupt_keeps_what_is_done(pairs, groups, tmp_path):
    path = tmp_path / "results.jsonl"
    settings = {"groups": groups, "methods": ["gp"], "cv": 3, "random_state": 0, "results": path}

    def interrupt(done, total, text):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_rewards(pairs, progress=interrupt, **settings)
    assert len(path.read_text().splitlines()) == 1 + 4
    found = compare_rewards(pairs, **settings)
    assert found.row("gp")["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cv": 2}, "another comparison: folds 3, not 2"),
        ({"random_state": 1}, "seed 0, not 1"),
        ({"n_response_features": 1}, "response features 0, not 1"),
        ({"y": np.full(60, 0.9)}, "another comparison: data. Give another folder"),
        ({"groups": np.arange(60)}, "another comparison: data. "),
    ],
)
def test_other_data_or_settings_are_refused(change, message, pairs, groups, tmp_path):
    settings = {"groups": groups, "cv": 3, "random_state": 0, "results": tmp_path / "r.jsonl"}
    settings |= {"methods": ["random"], "learning_curve": False}
    compare_rewards(pairs, **settings)
    with pytest.raises(ValueError, match=message):
        compare_rewards(pairs, **settings | change)


# ----------------------------------------------------------------------------------- bad input
def test_a_method_that_fails_is_named_and_the_others_stay(pairs, groups, tmp_path, monkeypatch):
    def fail(seed, device):
        raise RuntimeError("out of luck")

    monkeypatch.setitem(METHODS, "gp", METHODS["gp"]._replace(reward=fail))
    path = tmp_path / "results.jsonl"
    settings = {"groups": groups, "cv": 2, "random_state": 0, "results": path}
    found = compare_rewards(pairs, methods=CHEAP, **settings)
    assert found.failures == {"Gaussian process": "RuntimeError: out of luck"}
    assert [row["method"] for row in found.table] == ["random", "linear"]
    assert "out of luck" not in path.read_text()  # the next run tries again
    monkeypatch.setitem(METHODS, "linear", METHODS["linear"]._replace(reward=fail))
    with pytest.raises(ValueError, match="tuned linear, fold 1 failed: RuntimeError: out of luck"):
        compare_rewards(pairs[:50], methods=[], cv=2)


def test_warnings_of_fits_are_counted(pairs, groups, monkeypatch):
    class Loud(LinearRewardRegressor):
        def fit(self, *args, **kwargs):
            warnings.warn("loud", UserWarning, stacklevel=1)
            return super().fit(*args, **kwargs)

    loud = METHODS["linear"]._replace(reward=lambda seed, device: Loud())
    monkeypatch.setitem(METHODS, "linear", loud)
    found = compare_rewards(pairs, groups=groups, methods=[], cv=2, learning_curve=False)
    assert found.warnings == {"loud": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": np.zeros(60)}, "all 60 pairs are of one prompt"),
        ({"groups": np.arange(60) % 4}, "4 prompts, fewer than the 5 folds; take 4 folds or fewer"),
        ({"cv": 1}, "1 folds; a whole number of at least 2"),
        ({"cv": 2.5}, "2.5 folds; a whole number"),
        ({"y": np.full(60, 0.5)}, "all 60 pairs are ties"),
        ({"groups": [np.nan] * 60}, r"groups\[0\] is nan"),
        ({"methods": ["lense"]}, "there is no method 'lense'; there are longest, shortest, random"),
        ({"methods": ["longest"]}, "'longest' cannot be compared: it needs the lengths"),
        ({"methods": ["linear-features"]}, "it needs response features"),
        ({"methods": ["auto-unlabeled"]}, "it needs responses without labels"),
        (
            {"methods": ["distillation"], "sample_weight": np.ones(60)},
            "its teacher knows no weights",
        ),
        ({"lengths": np.zeros((60, 3))}, r"lengths must have the shape \(60, 2\); got \(60, 3\)"),
        ({"gold": np.zeros((3, 4))}, "candidates and gold go together"),
        (
            {"candidates": np.zeros((3, 4, 7)), "gold": np.zeros((3, 4))},
            r"\(n_prompts, N, 12\); got \(3, 4, 7\)",
        ),
        (
            {"candidates": np.zeros((3, 4, 12)), "gold": np.zeros((3, 5))},
            "gold must have",
        ),
        (
            {"unlabeled": np.zeros((3, 4, 12)), "unlabeled_groups": [1, 2]},
            "unlabeled_groups has 2 prompts for 3 rows",
        ),
        (
            {"unlabeled": np.zeros((2, 4, 12)), "unlabeled_groups": [1, np.nan]},
            r"unlabeled_groups\[1\] is nan",
        ),
        ({"lengths": np.where(np.eye(60, 2), np.nan, 1)}, r"lengths\[0, 0\] is nan"),
        (
            {"candidates": np.where(np.arange(12) == 1, np.nan, np.ones((3, 4, 12)))}
            | {"gold": np.zeros((3, 4))},
            "candidates: .*NaN in row 0, column 0",
        ),
        (
            {"candidates": np.zeros((3, 4, 12)), "gold": np.where(np.eye(3, 4), np.nan, 1)},
            r"gold\[0, 0\] is nan",
        ),
        (
            {"candidates": np.full((3, 4, 12), np.nan), "gold": np.zeros((3, 4))},
            r"gold\[0, 0\] is 0.0, and the candidate is padding",
        ),
        ({"n_response_features": 12}, "n_response_features=12, but X has 12 features"),
    ],
)
def test_bad_input_is_refused_before_the_work(change, message, pairs, recorded):
    with pytest.raises(ValueError, match=message):
        compare_rewards(pairs, **change)
    assert not recorded


def test_rated_embeddings_are_refused(pairs):
    with pytest.raises(ValueError, match=r"shape \(n, 2, d\); got shape \(60, 12"):
        compare_rewards(pairs[:, 0], np.arange(60.0))


def test_methods_are_those_that_the_data_allow():
    everything = {"has_features": True, "has_lengths": True, "has_unlabeled": True}
    assert check_methods(None, has_weights=False, **everything) == list(METHODS)
    weighted = check_methods(None, has_weights=True, **everything)
    assert set(METHODS) - set(weighted) == {"distillation", "distillation-unlabeled"}
    nothing = dict.fromkeys(everything, False)
    assert check_methods(None, has_weights=False, **nothing) == [
        "random", "linear", "gp", "network", "repeat", "lens", "distillation", "auto",
    ]  # fmt: skip
    assert check_methods(["gp"], has_weights=False, **nothing) == ["linear", "gp"]
    assert set(QUICK) < set(METHODS)


def test_few_prompts_have_no_learning_curve(pairs):
    found = compare_rewards(pairs, groups=np.arange(60) % 16, methods=[], cv=2, random_state=0)
    assert not found.curves  # a quarter of 8 prompts is 2


def test_folds_are_reproducible_and_depend_on_the_seed(groups):
    tasks = [Task("linear", 0, fold, 0.5) for fold in range(3)]
    one, same, other = (Folds(groups, 3, 1, seed) for seed in (0, 0, 1))
    for task in tasks:
        np.testing.assert_array_equal(one.train(task), same.train(task))
    assert any(set(one.train(task)) != set(other.train(task)) for task in tasks)
    every = one.train(Task("linear", 0, CANDIDATES, 1.0))
    np.testing.assert_array_equal(every, np.arange(60))


@pytest.mark.parametrize("name", ["gp", "network", "lens", "distillation", "auto"])
def test_methods_compute_where_they_are_told(name):
    method = METHODS[name]
    made = [make(0, "cpu") for make in (method.reward, method.augmenter) if make is not None]
    devices = [v for e in made for k, v in e.get_params().items() if k.endswith("device")]
    assert devices and set(devices) == {"cpu"}
    for estimator in made:
        module.told(estimator, 3)
        params = estimator.get_params()
        assert params.get("teacher__n_response_features", 3) == 3
