"""The benchmark: fair splits, honest bookkeeping, and statistics with known answers."""

import gzip
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import tiny_models
import torch

from benchmarks import page, records, report, run, theory
from benchmarks._discovery import discover
from benchmarks.cost import core_hours, median_seconds
from benchmarks.curves import chained_means, interval, multipliers, values_of
from benchmarks.datasets import (
    DATASETS,
    CandidateData,
    PairData,
    alpaca_results,
    alpaca_text,
    hub,
    toy,
)
from benchmarks.datasets.blocks import BLOCKS
from benchmarks.datasets.lsa import TERMS
from benchmarks.methods import BASELINES, METHODS, Method, distillation, lens_repairs, tuned_mlp
from benchmarks.objective import MIN_GAP, evaluate
from benchmarks.suites import SUITES, Cell, methods_of
from lens_sklearn import LLMEmbedder, best_of_n_score
from lens_sklearn._statistics import holm

matplotlib.use("Agg")
ROOT = Path(run.__file__).parents[1]


@pytest.fixture(scope="module")
def world():
    return toy.load(n_prompts=60, n_features=8)


@pytest.fixture(scope="module")
def human():
    pairs = np.random.default_rng(0).normal(size=(80, 2, 6)).astype(np.float32)
    return PairData(pairs, groups=np.arange(80) // 2, n_test=10)


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    monkeypatch.setattr(tuned_mlp, "MAX_STEPS", 12)
    monkeypatch.setattr(tuned_mlp, "WEIGHT_DECAYS", (0.0, 150.0))
    # The factor that is chosen on few pairs trains on some 12,800, which takes most of a minute.
    few = {"factor": 3}
    make = distillation.make_augmenter
    monkeypatch.setattr(distillation, "make_augmenter", lambda seed: make(seed).set_params(**few))


# ------------------------------------------------------------------------------ splits
def test_test_prompts_are_not_trained_on(world, human):
    for seed in range(5):
        split = world.split(100, seed)
        tested = {row.tobytes() for row in split.test.reshape(-1, 8)}
        assert not tested & {row.tobytes() for row in split.pairs.reshape(-1, 8)}
        assert not tested & {row.tobytes() for row in split.unlabeled.reshape(-1, 8)}
        assert len(split.test) == 12 and len(split.unlabeled) == 48
        split = human.split(30, seed)
        prompt = {row.tobytes(): i // 2 for i, row in enumerate(human.pairs)}
        tested = {prompt[row.tobytes()] for row in split.test}
        assert len(tested) == 10 and not tested & set(split.groups)


def test_a_split_is_the_same_for_every_method(world, human):
    for data in (world, human):
        one, two, other = data.split(40, 3), data.split(40, 3), data.split(40, 4)
        for name in ("pairs", "groups", "unlabeled", "test"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        assert not np.array_equal(one.pairs, other.pairs)


def test_fewer_pairs_are_a_prefix_of_more(world, human):
    for data, sizes in ((world, (1, 50, 3000, 5000)), (human, (1, 20, 60))):
        splits = [data.split(n, 0) for n in sizes]
        for split, n in zip(splits, sizes, strict=True):
            assert len(split.pairs) == len(split.groups) == n
            np.testing.assert_array_equal(split.pairs, splits[-1].pairs[:n])
            np.testing.assert_array_equal(split.groups, splits[-1].groups[:n])
            np.testing.assert_array_equal(split.test, splits[-1].test)
            np.testing.assert_array_equal(split.unlabeled, splits[-1].unlabeled)


def test_pairs_are_ordered_by_gold_and_far_enough_apart(world):
    gold = {
        row.tobytes(): g
        for row, g in zip(world.candidates.reshape(-1, 8), world.gold.ravel(), strict=True)
    }
    split = world.split(200, 0)
    gaps = [gold[chosen.tobytes()] - gold[rejected.tobytes()] for chosen, rejected in split.pairs]
    assert min(gaps) > MIN_GAP


def test_padded_candidates_are_never_paired(world):
    candidates, gold = world.candidates.copy(), world.gold.copy()
    candidates[:, 5:], gold[:, 5:] = np.nan, np.nan
    split = CandidateData(candidates, gold, n_test=12).split(100, 0)
    assert np.isfinite(split.pairs).all()


def test_unlabeled_responses_carry_no_label(human):
    split = human.split(60, 0)
    chosen = {row.tobytes() for row in human.pairs[:, 0]}
    first = np.mean([row.tobytes() in chosen for row in split.unlabeled[:, 0]])
    assert 0.25 < first < 0.75
    assert len(split.unlabeled) == 60


def test_what_cannot_be_split_is_said(world, human):
    with pytest.raises(ValueError, match="100 training pairs asked for; split 0 has 60"):
        human.split(100, 0)
    with pytest.raises(ValueError, match="60 test prompts of 60 leave none"):
        CandidateData(world.candidates, world.gold, n_test=60).split(1, 0)
    with pytest.raises(ValueError, match="no two candidates of a prompt differ"):
        CandidateData(world.candidates, 0 * world.gold, n_test=6).split(1, 0)


def test_standardising_looks_at_the_training_pairs_alone(world):
    split = world.split(50, 0)
    scaled = split.scaled()
    np.testing.assert_allclose(scaled.pairs.reshape(-1, 8).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.pairs.reshape(-1, 8).std(axis=0), 1, atol=1e-4)
    mean, std = (getattr(split.pairs.reshape(-1, 8), f)(axis=0) for f in ("mean", "std"))
    np.testing.assert_allclose(scaled.test, (split.test - mean) / std, rtol=1e-3, atol=1e-3)
    assert scaled.unlabeled.shape == split.unlabeled.shape


# ----------------------------------------------------------------------------- metrics
def test_metrics_equal_brute_force(world, human):
    rng = np.random.default_rng(0)
    split = world.split(5, 0)
    weight = rng.normal(size=8)
    rewards = (split.test @ weight).round(0)  # with ties
    right = pairs = 0
    for r, g in zip(rewards, split.gold, strict=True):
        for i in range(16):
            for j in range(16):
                if g[i] - g[j] > 0.1:
                    pairs += 1
                    right += 1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0
    found = evaluate(lambda X: (X @ weight).round(0), split)
    assert found["accuracy"] == pytest.approx(right / pairs)
    assert found["gold"] == pytest.approx(best_of_n_score(rewards, split.gold))
    assert found["random"] < found["oracle"] == pytest.approx(split.gold.max(axis=1).mean())
    assert evaluate(lambda X: X[..., 0] * 0, split)["gold"] == pytest.approx(found["random"])

    split = human.split(5, 0)
    rewards = split.test[..., 0].round(0)
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in rewards]
    assert evaluate(lambda X: X[..., 0].round(0), split) == {
        "accuracy": pytest.approx(np.mean(wins))
    }


def test_blocks_are_the_features_of_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(8, 3))
    embeddings = rng.normal(size=(8, 3, 3840)).astype(np.float16)
    np.savez(tmp_path / "alpaca_eval_dev_minilm3840.npz", embeddings=embeddings, gold=gold)
    np.savez(tmp_path / "hh_harmless_dev_minilm3840.npz", embeddings=embeddings[:, :2])
    whole = DATASETS["alpaca_3840"].load(tmp_path, None)
    for i, block in enumerate(BLOCKS):
        part = DATASETS[f"alpaca_{block}"].load(tmp_path, None)
        assert part.candidates.shape == (8, 3, 384) and part.candidates.base is None
        np.testing.assert_array_equal(
            part.candidates, whole.candidates[..., 384 * i : 384 * (i + 1)]
        )
    pairs = DATASETS["hh_deviation"].load(tmp_path, None).pairs
    np.testing.assert_array_equal(pairs, embeddings[:, :2, -384:])


def test_latent_semantic_analysis_embeds_each_response(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.datasets.lsa.N_FEATURES", 4)
    animals = ["cats purr", "dogs bark", "cows moo at dogs", "cats purr at cows"]
    rows = [
        {"prompt": f"p{i}", "responses": animals[i % 2 :] + animals[: i % 2], "gold": [1, 2, 3, 4]}
        for i in range(6)
    ]
    human = [{"prompt": "", "chosen": animals[i % 4], "rejected": ""} for i in range(12)]
    for name, texts in (("alpaca_eval_dev", rows), ("hh_harmless_dev", human)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(text) + "\n" for text in texts)
    for terms in TERMS:
        data = DATASETS[f"alpaca_{terms}"].load(tmp_path, None)
        assert data.candidates.shape == (6, 4, 4) and data.gold.shape == (6, 4)
        np.testing.assert_allclose(data.candidates[0, 1:], data.candidates[1, :3], atol=1e-5)
        lengths = np.linalg.norm(data.candidates[0], axis=1)
        assert (lengths.std() > 0.1) == (terms == "counts"), "a norm for all but the counts"
        pairs = DATASETS[f"hh_{terms}"].load(tmp_path, None).pairs
        np.testing.assert_allclose(pairs[:, 1], 0, atol=1e-6)
        assert pairs[:, 0].any(axis=1).all()


def test_a_score_of_the_wrong_shape_is_refused(world):
    with pytest.raises(ValueError, match=r"maps \(12, 16, 8\) to \(12, 16\); got \(12,\)"):
        evaluate(lambda X: X[:, 0, 0], world.split(5, 0))


# ----------------------------------------------------------------------------- methods
def test_all_that_a_suite_names_is_there():
    cells = [cell for suite in SUITES.values() for cell in suite()]
    assert {cell.dataset for cell in cells} < set(DATASETS)
    assert all(cell.methods and set(cell.methods) <= set(METHODS) for cell in cells)
    for cell in SUITES["curves"]():
        assert cell.n_splits >= (20 if cell.n_pairs <= 500 else 8)
    named = {*SUITES, "probe", "figure2, pairs", "embedders, dear"}
    for entry in (*METHODS.values(), *DATASETS.values()):
        assert set(entry.suites) <= named, f"{entry.name} names a suite that is not there"
    for method in METHODS.values():
        assert not method.shares or method.shares in METHODS
        assert method.baseline or not method.tuned


def test_dear_variants_are_run_where_they_can_be_afforded():
    curves = {(cell.dataset, cell.n_pairs): set(cell.methods) for cell in SUITES["curves"]()}
    assert "LENS 8x" in curves["alpaca_3840", 1000]
    assert "LENS 8x" not in curves["alpaca_3840", 2000]
    with_five = {key for key, methods in curves.items() if "distillation, five" in methods}
    assert with_five == {("alpaca_384", n) for n in (50, 100, 200, 300)}
    by_suite = {name: {c.dataset: set(c.methods) for c in SUITES[name]()} for name in SUITES}
    assert "distillation, unlabelled" not in by_suite["blocks"]["hh_layer0"]
    assert "GP, unlabelled" in by_suite["blocks"]["hh_layer0"]
    assert "GP, unlabelled" not in by_suite["lsa"]["hh_words"]


@pytest.mark.parametrize("method", dict.fromkeys(methods_of("curves") + methods_of("keep")))
def test_methods_return_a_score_that_their_seed_repeats(method, world):
    split = world.split(40, 0).scaled()
    first = METHODS[method].fit(split, 1)(split.test)
    assert first.shape == split.gold.shape and np.isfinite(first).all()
    again = METHODS[method].fit(world.split(40, 0).scaled(), 1)(split.test)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("method", sorted(set(methods_of("why")) - set(methods_of("curves"))))
def test_repairs_return_a_score(method, world):
    split = world.split(40, 0).scaled()
    assert np.isfinite(METHODS[method].fit(split, 1)(split.test)).all()


def test_filters_keep_what_they_say_and_as_many_are_drawn_at_random(world):
    kept = {}
    for name in ("order-checked", "as many at random", "residual, certified"):
        split = world.split(40, 0).scaled()
        METHODS[f"LENS 4x, {name}"].fit(split, 0)
        kept[name] = split.details["kept"]
    assert 0 < kept["order-checked"] == kept["as many at random"] < 1
    assert 0 <= kept["residual, certified"] <= 1


def test_what_ablations_keep_beside_their_results(world):
    split = world.split(40, 0).scaled()
    METHODS["LENS latents, γ=10"].fit(split, 0)
    assert np.shape(split.details["map"]) == (80, 2)
    assert 0 <= split.details["head"] <= 1
    METHODS["LENS 8x, timed"].fit(split, 0)
    assert split.details["n_pairs"] == 320 and split.details["seconds_reward"] >= 0
    assert np.isfinite(METHODS["LENS 4x, synthetic only"].fit(split, 0)(split.test)).all()


def test_the_probe_tells_a_trained_autoencoder_from_an_untrained_one(world):
    def kept(**vae):
        split = world.split(60, 0).scaled()
        lens_repairs.Probed(vae=vae, factor=4)(split, 0)
        return split.details

    untrained, trained = kept(max_epochs=1), kept(learning_rate=1e-2, max_epochs=200)
    for name in ("kept", "kept_difference", "test_kept", "test_kept_difference"):
        assert untrained[name] < 0.1 < 0.4 < trained[name] <= 1
    assert abs(untrained["accuracy_of_kept"] - 0.5) < trained["accuracy_of_kept"] - 0.5
    assert untrained["head"] > 0.6  # one for chosen, one for rejected, and nothing else
    assert kept(sharing="all")["head"] == 0.5


def test_methods_do_not_read_the_test_set(world):
    split = world.split(40, 0).scaled()
    blind = world.split(40, 0).scaled()
    blind.test, blind.gold = None, None
    for method in ("tuned MLP", "tuned linear", "LENS 4x", "distillation"):
        score = METHODS[method].fit(blind, 0)
        np.testing.assert_array_equal(score(split.test), METHODS[method].fit(split, 0)(split.test))


def test_shared_work_is_charged_to_each(world):
    split = world.split(40, 0).scaled()
    calls = []

    def slow():
        calls.append(1)
        return len(calls)

    assert split.once("key", slow) == 1 and split.borrowed == 0
    assert split.once("key", slow) == 1 and split.borrowed > 0
    assert len(calls) == 1


def test_the_search_is_blind_to_the_scale_of_rewards():
    margin = torch.tensor([3.0, 1.0, -0.5, 2.0, 0.7])
    loss = tuned_mlp.scaled_loss(margin)
    assert tuned_mlp.scaled_loss(1e-3 * margin) == pytest.approx(loss)
    plain = float(torch.nn.functional.softplus(-margin).mean())
    assert loss <= plain
    assert tuned_mlp.scaled_loss(-margin) == pytest.approx(np.log(2), abs=0.01)  # s near 0
    assert tuned_mlp.scaled_loss(0 * margin) == pytest.approx(np.log(2))


# --------------------------------------------------------------------------- the runner
CELLS = [Cell("toy", n, 2, ("original", "tuned linear")) for n in (20, 30)]


@pytest.fixture
def results(tmp_path, monkeypatch, world):
    toy_world = replace(DATASETS["toy"], load=lambda data, store: world)
    monkeypatch.setitem(run.DATASETS, "toy", toy_world)
    run.load.cache_clear()
    yield tmp_path
    run.load.cache_clear()


def test_a_killed_run_goes_on_and_repeats_nothing(results, monkeypatch):
    ran = []
    fit = METHODS["tuned linear"].fit

    def counted(split, seed):
        ran.append(seed)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return fit(split, seed)

    monkeypatch.setitem(run.METHODS, "tuned linear", Method("tuned linear", counted))
    with pytest.raises(KeyboardInterrupt):
        run.run_suite("suite", CELLS, None, 1, results)
    path = results / "suite.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 5  # the run, then a line a result
    with path.open("a") as file:
        file.write('{"dataset": "toy", "n_pa')  # cut off in the middle of a line
    before = records.read_records(path)
    found = run.run_suite("suite", CELLS, None, 1, results)
    assert found[:5] == before and len(found) == 8
    keys = Counter((r["n_pairs"], r["seed"], r["method"]) for r in found)
    assert set(keys.values()) == {1} and len(keys) == 8
    assert len(ran) == 5
    text = path.read_text()
    run.run_suite("suite", CELLS, None, 1, results)
    assert path.read_text() == text


def test_compact_results_are_the_same_results(results, monkeypatch):
    for commit in ("first", "second", "first"):  # a second run of a commit adds no line on it
        monkeypatch.setattr(run, "provenance", lambda commit=commit: {"commit": commit})
        cells = [c._replace(n_splits=1 if commit == "first" else 2) for c in CELLS]
        appended = run.run_suite("suite", cells, None, 1, results)
    path = results / "suite.jsonl"
    assert len(path.read_text().splitlines()) == 2 + len(appended) == 10
    assert {(r["seed"], r["commit"]) for r in appended} == {(0, "first"), (1, "second")}
    mixed = appended + [appended[0] | {"commit": "third", "details": {"C": 0.1}}]
    path.write_text(records.compact(mixed))
    assert len(path.read_text().splitlines()) == 3 + len(CELLS) * 2  # a line a run, and a split
    by_key = [json.dumps(r, sort_keys=True) for r in mixed]
    again = [json.dumps(r, sort_keys=True) for r in records.read_records(path)]
    assert sorted(again) == sorted(by_key)
    text = path.read_text()
    records.main([str(path)])
    assert path.read_text() == text


def test_records_carry_their_provenance(results):
    (record, *_) = run.run_suite("suite", CELLS[:1], None, 1, results)
    expected = {"dataset", "n_pairs", "seed", "method", "seconds", "accuracy", "gold", "commit"}
    assert expected | {"lens_sklearn", "torch", "scikit-learn", "numpy", "machine"} <= set(record)


@pytest.mark.parametrize("name", [None, "a GPU"])
def test_a_record_names_what_it_was_computed_on(monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: name is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert records.provenance()["machine"].endswith(f", {name or 'CPU'}")


def test_jobs_do_not_change_results(results):
    def numbers(found):
        return sorted(
            (r["n_pairs"], r["seed"], r["method"], r["accuracy"], r["gold"]) for r in found
        )

    one = numbers(run.run_suite("one", CELLS, None, 1, results))
    assert len(one) == 8
    run.load.cache_clear()
    # Threads, so that the small world of this test is seen.
    with run_threads():
        two = numbers(run.run_suite("two", CELLS, None, 2, results))
    assert one == two


def run_threads():
    from joblib import parallel_config

    return parallel_config(backend="threading")


NEW_METHOD = '''
"""A method that a newcomer drops in: the mean difference of the pairs."""

from ._method import Method


def fit(split, seed):
    weight = (split.pairs[:, 0] - split.pairs[:, 1]).mean(axis=0)
    return lambda X: X @ weight


METHODS = [
    Method(
        "mean difference", fit, suites=("curves",), label="centroids", style={"color": "red"}
    )
]
'''
SHOW = """
import runpy
import sys
from pathlib import Path

sys.argv[1:] = (
    "--dataset toy --n-pairs 50 100 --splits 2 --n-jobs 2 --results new --methods".split()
    + ["mean difference", "tuned linear"]
)
runpy.run_module("benchmarks.run", run_name="__main__", alter_sys=True)  # as -m does

from benchmarks import page, report, suites
from benchmarks.figures import learning_curves
from benchmarks.records import read_records

assert "mean difference" in suites.methods_of("curves")
records = read_records(Path("new/curves.jsonl"))
assert "| centroids " in page.curve_table(records, "accuracy")
assert learning_curves(records, Path("new"))
report.main(["--suite", "curves", "--results", "new"])
"""


def test_a_new_method_is_one_new_file(tmp_path):
    left_out = shutil.ignore_patterns("results", "__pycache__")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks", ignore=left_out)
    (tmp_path / "benchmarks" / "methods" / "centroids.py").write_text(NEW_METHOD)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])  # for the library
    environment = os.environ | {"PYTHONPATH": path, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "4/4 splits" in done.stderr  # in processes of their own
    found = records.read_records(tmp_path / "new" / "curves.jsonl")
    assert Counter(r["method"] for r in found) == {"mean difference": 4, "tuned linear": 4}
    assert min(r["accuracy"] for r in found) > 0.5
    assert re.search(r"^\| mean difference +\| +0\.\d+ ", done.stdout, re.MULTILINE)


def test_two_methods_of_one_name_are_refused(monkeypatch):
    from benchmarks import methods
    from benchmarks.methods import original, repeat

    monkeypatch.setattr(repeat, "METHODS", original.METHODS)
    with pytest.raises(ValueError, match="repeat: 'original' is declared elsewhere too"):
        discover(methods, "METHODS")


def test_missing_groups_methods_by_split():
    known = [{"dataset": "toy", "n_pairs": 20, "seed": 1, "method": "original"}]
    assert run.missing(CELLS[:1], known) == [
        ("toy", 20, 0, ["original", "tuned linear"]),
        ("toy", 20, 1, ["tuned linear"]),
    ]


def test_a_failure_says_where(results, monkeypatch):
    def broken(split, seed):
        raise ValueError("no")

    monkeypatch.setitem(run.METHODS, "original", Method("original", broken))
    with pytest.raises(ValueError, match="no") as caught:
        run.run_suite("suite", CELLS, None, 1, results)
    assert caught.value.__notes__ == ["in 'original' on split 0 of toy at N = 20"]


def test_restricting_a_suite():
    cells = run.restricted(
        SUITES["curves"](), ["toy"], [50, 100], 3, ["original", "LENS 8x, timed"]
    )
    assert cells == [Cell("toy", n, 3, ("original", "LENS 8x, timed")) for n in (50, 100)]


def test_without_data_the_error_says_what_to_give(capsys, monkeypatch):
    monkeypatch.delenv("LENS_SKLEARN_DATA", raising=False)
    with pytest.raises(SystemExit):
        run.main(["--suite", "curves"])
    assert "--data" in capsys.readouterr().err


# -------------------------------------------------------------------- documented commands
def documented_commands():
    """Return the command lines of the documentation, each with the file that has it."""
    files = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    files += ROOT.glob("benchmarks/**/*.py")
    found = {}
    for file in files:
        text = file.read_text(encoding="utf-8").replace("\\\n", " ")
        in_line = re.findall(r"`(python3? [^`]*benchmarks[^`]*)`", text)
        own_line = re.findall(r"^ *((?:python3?|accelerate launch) .*benchmarks.*)$", text, re.M)
        for command in in_line + own_line:
            words = shlex.split(command, comments=True)
            found[" ".join(words)] = str(file.relative_to(ROOT))
    return found


def test_documented_commands_are_understood():
    commands = documented_commands()
    modules = {re.search(r"-m (benchmarks[\w.]*)", c)[1] for c in commands if " -m " in c}
    assert modules >= {f"benchmarks.{name}" for name in ("run", "report", "page", "table1", "sft")}
    for command, file in commands.items():
        found = re.search(r"(?:^python3?|\d) -m (benchmarks[\w.]*)(.*)$", command)
        assert found, f"{file}: {command}: a script by its path finds benchmarks/datasets first"
        module = importlib.import_module(found[1])
        words = found[2].split()
        if "--" not in found[2]:  # a command's name in running text
            continue
        if module is run and "--size" in words:
            module, words = importlib.import_module("benchmarks.table1"), words[2:]
        module.parser().parse_args(words)  # exits, and so fails, on what it does not know


def test_documented_modules_run_as_a_shell_runs_them():
    modules = {re.search(r"-m (benchmarks[\w.]*)", c)[1] for c in documented_commands()}
    script = (
        "import runpy, sys\nsys.argv[1:] = ['--help']\nfor name in {}:\n    try:\n"
        "        runpy.run_module(name, run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end:\n        assert not end.code\n"
    )
    words = [sys.executable, "-c", script.format(sorted(modules))]  # "-c" looks here, as "-m" does
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: python -m benchmarks.") == len(modules)


def test_the_theorems_are_measured_on_the_toy_world(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(theory, "N_PAIRS", {"toy_32": 60})
    monkeypatch.setattr(theory, "VARIANCES", (0.01,))
    words = ["--world", "toy_32", "--what", "certificates", "--results", str(tmp_path)]
    theory.main([*words, "--learning-rate", "1e-3"])
    found = records.read_records(tmp_path / "theory.jsonl")
    assert [r["decode"] for r in found] == list(theory.DECODE)
    assert found[0]["n_pairs"] == 60 and found[0]["vae_learning_rate"] == 1e-3
    assert found[1]["kept"] > found[0]["kept"]
    assert "residual" in capsys.readouterr().out
    known = records.read_records(records.RESULTS / "theory.jsonl")
    assert set(found[0]) - {"dataset"} <= {key for r in known for key in r}


# -------------------------------------------------------------------------- statistics
NAMES = {"good": "distillation", "bad": "original"}


def synthetic_records(n_seeds=20, noise=0.0):
    """Accuracy grows by 0.02 with every doubling; method "good" is worth 3 times the pairs."""
    rng = np.random.default_rng(0)
    records = []
    for seed in range(n_seeds):
        split = rng.normal(scale=noise)
        for n in (50, 100, 200, 400, 800):
            for method, factor in {"tuned linear": 1, "good": 3, "bad": 0.5}.items():
                value = 0.6 + 0.02 * np.log2(n * factor / 50) + split
                records.append({"n_pairs": n, "seed": seed, "method": method, "accuracy": value})
    return records


def test_multiplier_of_a_known_curve():
    sizes, values = values_of(synthetic_records(noise=0.05), "accuracy")
    found = multipliers(sizes, values, ["good", "bad", "tuned linear"], BASELINES)
    for size in (0, 1):
        good = found["good", size]
        assert good[:3] == pytest.approx((3, 3, 3))
        assert not (good.below or good.above or good.lower_below or good.upper_above)
    for size in (1, 2, 3, 4):
        assert found["bad", size].value == pytest.approx(0.5)
        assert found["tuned linear", size].value == pytest.approx(1)
    values["good"][2] = np.nan
    assert ("good", 2) not in multipliers(sizes, values, ["good"], BASELINES)


def test_multiplier_beyond_the_sizes_is_a_bound():
    sizes, values = values_of(synthetic_records(), "accuracy")
    found = multipliers(sizes, values, ["good"], BASELINES)["good", 4]
    assert found.above and found.upper_above and found.value == pytest.approx(1)
    found = multipliers(sizes, values, ["bad"], BASELINES)["bad", 0]
    assert found.below and found.lower_below and found.value == pytest.approx(1)


def test_multiplier_interval_covers_noise():
    records = synthetic_records()
    rng = np.random.default_rng(1)
    for record in records:
        record["accuracy"] += rng.normal(scale=0.01)
    sizes, values = values_of(records, "accuracy")
    found = multipliers(sizes, values, ["good"], BASELINES)["good", 1]
    assert found.lower < 3 < found.upper < 6


def test_chained_means_ignore_which_splits_are_missing():
    rng = np.random.default_rng(0)
    values = np.arange(4.0)[:, None] + rng.normal(size=6)  # splits differ by a constant
    whole = chained_means(values, np.ones((1, 6)))
    np.testing.assert_allclose(whole[0], values.mean(axis=1))
    values[2:, 3:] = np.nan
    np.testing.assert_allclose(chained_means(values, np.ones((1, 6))), whole)


def test_intervals_and_holm():
    found = interval(np.array([1.0, 2.0, 3.0, np.nan]))
    assert found.mean == 2 and found.n == 3
    assert found.half_width == pytest.approx(4.302653 / np.sqrt(3), rel=1e-5)
    assert np.isnan(interval(np.array([1.0])).half_width)
    assert interval(np.zeros(3)).p == 1 and interval(np.ones(3)).p == 0
    np.testing.assert_allclose(holm([0.01, 0.04, np.nan, 0.03]), [0.03, 0.06, np.nan, 0.06])


def test_the_report_has_tables_and_figures(tmp_path, capsys):
    rows = synthetic_records(n_seeds=4, noise=0.01)
    for row in rows:
        row |= {"dataset": "toy", "seconds": 1.0, "gold": row["accuracy"] * 2, "random": 0.0}
        row |= {"oracle": 2.0, "commit": "abc"}
        row["method"] = NAMES.get(row["method"], row["method"])
    (tmp_path / "curves.jsonl").write_text(records.compact(rows))
    report.main(["--results", str(tmp_path), "-o", str(tmp_path / "made")])
    out = capsys.readouterr().out
    assert "3.00 [3.00, 3.00]" in out and "≥ 1.00" in out and "commit abc" in out
    assert "best tuned by accuracy: tuned linear" in out
    assert (tmp_path / "made" / "curves_toy.png").stat().st_size > 10_000
    assert (tmp_path / "made" / "report.md").read_text() == out
    report.main(["--results", str(tmp_path)])
    assert capsys.readouterr().out == out.replace("![Learning curves](curves_toy.png)\n\n", "")
    assert {path.name for path in tmp_path.iterdir()} == {"curves.jsonl", "made"}


def test_the_report_compares_with_the_methods_that_a_suite_names():
    rows = [
        {"dataset": "toy", "n_pairs": 9, "seed": s, "method": m, "seconds": 1.0, "accuracy": a + s}
        for s in range(3)
        for m, a in (("original", 0.1), ("repeat 4x", 0.2), ("LENS 4x", 0.5))
    ]
    found = report.comparisons(rows, ("repeat 4x",))
    table = report.size_table(rows, "toy", 9, found)
    assert "against repeat 4x" in table and "against original" not in table
    assert found["accuracy", "repeat 4x", 9][1]["LENS 4x"].startswith("+0.300")
    assert set(report.RIVALS) <= set(SUITES)


@pytest.mark.parametrize(("path", "n_tables"), [*zip(page.PAGES, (11, 2), strict=True)])
def test_pages_hold_the_committed_results(path, n_tables):
    text = path.read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->") >= n_tables
    assert page.rendered(text) == text


def test_committed_results_are_small_and_name_methods_that_are_there():
    files = [path for path in records.RESULTS.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2e6
    assert {path.suffix for path in files} <= {".jsonl", ".json", ".md"}, "the rest can be made"
    for path in files:
        if path.suffix == ".jsonl" and path.stem not in ("theory", "why"):
            found = records.read_records(path)
            assert found and {r["method"] for r in found} <= set(METHODS), path.name
            assert {r["dataset"] for r in found} <= set(DATASETS), path.name
            assert all(r["commit"] and r["machine"] for r in found), path.name
            assert path.read_text(encoding="utf-8") == records.compact(found), path.name


def test_the_headline_is_a_part_of_the_curves_and_takes_three_hours_on_two_cores():
    cells = SUITES["headline"]()
    curves = {(c.dataset, c.n_pairs): c for c in SUITES["curves"]()}
    for cell in cells:
        whole = curves[cell.dataset, cell.n_pairs]
        assert set(cell.methods) <= set(whole.methods) and cell.n_splits == whole.n_splits
    assert core_hours(cells, records.read_records(records.RESULTS / "curves.jsonl")) <= 2 * 3


def test_shared_work_is_paid_for_once_and_other_sizes_are_guessed():
    seconds = {"tuned MLP": 100.0, "ensemble": 130.0}
    records = [
        {"dataset": "toy", "n_pairs": n, "method": m, "seconds": s * n / 100}
        for n in (100, 400)
        for m, s in seconds.items()
    ]
    assert median_seconds(records)["toy", 400, "ensemble"] == 520
    both = tuple(seconds)
    assert core_hours([Cell("toy", 100, 36, both)], records) == pytest.approx(1.3)
    assert core_hours([Cell("toy", 100, 36, ("ensemble",))], records) == pytest.approx(1.3)
    assert core_hours([Cell("toy", 800, 36, ("tuned MLP",))], records) == pytest.approx(8)
    assert core_hours([Cell("toy", 50, 36, ("tuned MLP", "other"))], records) == pytest.approx(1)


def test_tables_of_the_page(tmp_path):
    rows = synthetic_records(n_seeds=4, noise=0.01)
    for row in rows:
        row["method"] = NAMES.get(row["method"], row["method"])
    curves = [row | {"dataset": "toy"} for row in rows]
    assert "(+0." in page.table("toy, accuracy", {"curves": curves})
    assert "3.0 [3.0, 3.0]" in page.table("toy, multiplier by accuracy", {"curves": curves})
    untuned = [
        row | {"method": "repeat 4x, zero output, five"}
        for row in curves
        if row["method"] == "distillation"
    ]
    against_all, against_tuned = (
        page.table(f"toy, {kind}multiplier by accuracy", {"curves": curves + untuned})
        for kind in ("", "tuned ")
    )
    assert "1.0 [1.0, 1.0]" in against_all and "3.0 [3.0, 3.0]" in against_tuned
    halves = [
        row
        | {
            "dataset": f"toy_{name}",
            "accuracy": row["accuracy"] + gain * (row["method"] == "distillation"),
        }
        for name, gain in (("good", 0.0), ("bad", -0.2))
        for row in rows
        if row["n_pairs"] == 100
    ]
    by_block = page.blocks_table(halves, "accuracy")
    assert "toy, N = 100: best of each embedding" in by_block and "(bad)" in by_block
    assert "toy, N = 100: tuned linear" in by_block
    one_by_one = page.table("lsa, accuracy", {"lsa": halves}).splitlines()
    assert "toy_good, N = 100" in one_by_one[2] and "tuned linear" in one_by_one[2]
    assert " +0." in one_by_one[2] and " −0." in one_by_one[3]
    header = one_by_one[0].split(" | ")
    assert "distillation" in " ".join(header) and "mean of five" not in one_by_one[0]  # was not run
    with pytest.raises(ValueError, match="no results of 'other'"):
        page.rendered("<!-- table: other, accuracy --> <!-- end -->", tmp_path)


# ----------------------------------------------------------------- datasets from others
@pytest.fixture
def alpaca_folder(tmp_path):
    for m in range(4):
        folder = tmp_path / "results" / f"model-{m}" / alpaca_results.ANNOTATOR
        folder.mkdir(parents=True)
        items = [
            {
                "instruction": f"question {q}",
                "output_1": "the reference",
                "generator_1": "gpt4_1106_preview",
                "output_2": f"answer of model {m} to question {q}",
                "generator_2": f"model-{m}",
                "preference": None if (q, m) == (1, 0) else 1 + m / 3,
            }
            for q in range(3)
        ]
        (folder / "annotations.json").write_text(json.dumps(items))
    return tmp_path


def test_reading_a_results_folder(alpaca_folder):
    rows = alpaca_results.read_results(alpaca_folder / "results", n_candidates=3)
    assert [row["prompt"] for row in rows] == [f"question {q}" for q in range(3)]
    for row in rows:
        assert len(set(row["models"])) == 3
        for model, response, gold in zip(row["models"], row["responses"], row["gold"], strict=True):
            m = int(model[-1])
            assert f"model {m} to" in response
            assert gold == pytest.approx([-6.9068, np.log(1 / 2), np.log(2), 6.9068][m])
    assert "model-0" not in rows[1]["models"]  # the judge gave no verdict
    rows = alpaca_results.read_results(alpaca_folder / "results", n_candidates=4)
    assert [row["prompt"] for row in rows] == ["question 0", "question 2"]


def test_a_results_folder_that_is_none_is_refused(alpaca_folder, tmp_path):
    with pytest.raises(ValueError, match="no file MODEL/weighted"):
        alpaca_results.read_results(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no prompt has 16 judged answers"):
        alpaca_results.read_results(alpaca_folder / "results")
    file = next((alpaca_folder / "results").glob("*/*/annotations.json"))
    items = json.loads(file.read_text())
    items[1]["preference"] = 2.5
    file.write_text(json.dumps(items))
    with pytest.raises(ValueError, match=r"annotations.json: item 1: preference 2.5 is not in"):
        alpaca_results.read_results(alpaca_folder / "results", n_candidates=3)


def fake_embed(rows, store):
    columns = ("chosen", "rejected") if "chosen" in rows[0] else None
    texts = [[row[c] for c in columns] if columns else row["responses"] for row in rows]
    return np.array([[[len(t), t.count("a")] for t in row] for row in texts], dtype=np.float32)


def test_the_results_folder_as_a_dataset(alpaca_folder, monkeypatch):
    monkeypatch.setattr(alpaca_results, "embed", fake_embed)
    monkeypatch.setattr(
        alpaca_results.read_results, "__defaults__", (4, alpaca_results.ANNOTATOR, 0)
    )
    monkeypatch.setattr(alpaca_results, "CandidateData", lambda e, g, n_test: (e, g, n_test))
    embeddings, gold, _ = alpaca_results.load(alpaca_folder, None)
    assert embeddings.shape == (2, 4, 2) and gold.shape == (2, 4)


def test_texts_are_embedded_once(tmp_path):
    rows = [
        {"prompt": f"q{i}", "responses": [f"answer {i} {j}" for j in range(3)], "gold": [0, 1, 2]}
        for i in range(2)
    ]
    with gzip.open(tmp_path / "alpaca_eval_dev.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    data = alpaca_text.load(tmp_path, tmp_path / "store")
    assert data.candidates.shape == (2, 3, 7 * 384) and data.gold.tolist() == [[0, 1, 2]] * 2
    again = alpaca_text.load(tmp_path, tmp_path / "store")
    np.testing.assert_array_equal(again.candidates, data.candidates)
    model = tiny_models.save_encoder(tmp_path / alpaca_text.MPNET)
    other = DATASETS["alpaca_mpnet"].load(tmp_path, tmp_path / "store")
    last = LLMEmbedder(str(model), layer=-1, pooling="mean", dtype="bfloat16")
    np.testing.assert_array_equal(other.candidates, last.fit_transform(rows))


def test_dialogues_are_split_before_the_last_answer():
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: A joke?\n\nAssistant:"
    row = hub.hh_row({"chosen": start + " No.", "rejected": start + " Yes!"})
    assert row == {
        "prompt": start.removesuffix("\n\nAssistant:"),
        "chosen": "No.",
        "rejected": "Yes!",
    }
    assert len(hub.hh_row({"chosen": start + " a", "rejected": start + " b"}, 10)["prompt"]) == 10
    assert hub.hh_row({"chosen": start + " No.", "rejected": start + " No. "}) is None
    assert hub.hh_row({"chosen": start + " No.", "rejected": "\n\nHuman: Hi" + start}) is None
    longer = start + " a\n\nHuman: b\n\nAssistant: c"
    assert hub.hh_row({"chosen": start + " No.", "rejected": longer}) is None
    assert hub.hh_row({"chosen": "no turn", "rejected": "no turn either"}) is None


@pytest.mark.parametrize("name", ["load_hh", "load_tldr"])
def test_hub_rows_become_pairs(name, monkeypatch):
    datasets = pytest.importorskip("datasets")
    start = "\n\nHuman: Hi {}\n\nAssistant:"
    rows = [
        {
            "prompt": f"post {i % 20}",
            "chosen": start.format(i % 20) + f" good {i}",
            "rejected": start.format(i % 20) + f" bad {i}",
        }
        for i in range(30)
    ]

    def load_dataset(path, split, streaming, **options):
        assert streaming and "trust_remote_code" not in options
        return datasets.Dataset.from_list(rows).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "embed", fake_embed)
    data = getattr(hub, name)(n_rows=25)
    assert data.pairs.shape == (25, 2, 2)
    assert len(np.unique(data.groups)) <= 20


@pytest.mark.hub
@pytest.mark.skipif(
    "LENS_SKLEARN_HUB" not in os.environ, reason="set LENS_SKLEARN_HUB=1 where there is a network"
)
def test_the_hub_itself():
    for rows in (
        hub._hub_rows("Anthropic/hh-rlhf", "test", 5, data_dir="harmless-base"),
        hub._hub_rows("trl-lib/tldr-preference", "validation", 5),
    ):
        assert len(rows) == 5 and {"chosen", "rejected"} <= set(rows[0])


def test_every_row_of_table_1_is_a_size_of_the_suite(monkeypatch, capsys):
    table1 = importlib.import_module("benchmarks.table1")
    asked = []
    monkeypatch.setattr(table1, "main", asked.append)
    run.main(["--suite", "table1", "--size", "tiny", "--factors", "1", "2"])
    assert asked == [["--size", "tiny", "--factors", "1", "2"]]
    words = ["--size", "small", "--data", "here", "--n-pairs", "5"]  # options of both commands
    run.main(["--suite", "table1", *words])
    assert asked[1:] == [words]
    for arguments in (["--size", "tiny"], ["--suite", "table1", "--factors", "1"]):
        with pytest.raises(SystemExit):
            run.main(arguments)
    assert "--size goes with --suite table1" in capsys.readouterr().err


def test_the_report_averages_numbers_and_leaves_words_out():
    record = {"dataset": "toy", "n_pairs": 9, "method": "tuned MLP"}
    kept = [{"max_epochs": n, "output_init": "zero"} for n in (10, 20)]
    table = report.details_table([record | {"seed": i, "details": d} for i, d in enumerate(kept)])
    assert "15" in table and "output_init" not in table
