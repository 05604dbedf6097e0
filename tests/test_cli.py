"""The command line end to end with a tiny random model, and its errors without tracebacks."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import save_decoder, sentence

from lens_sklearn import cli
from lens_sklearn.export import load


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
    fit = ["fit", folder / "pairs.jsonl", "-o", folder / "reward", *options(folder)]
    assert run(*fit) == 0
    return folder


def options(folder):
    names = ["--model", folder / "model", "--device", "cpu", "--layer", "1,2", "--pooling", "mean"]
    return [*names, "--vae-epochs", "2", "--epochs", "2", "--factor", "3"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def test_fit_saves_a_model_and_tells_what_it_did(data, tmp_path, capsys):
    out = tmp_path / "new" / "reward"
    fit = ["fit", data / "pairs.jsonl", "-o", out, *options(data), "--gamma", "0.5", "--seed", "3"]
    assert run(*fit) == 0
    printed = capsys.readouterr()
    assert "held out accuracy" in printed.out and "32 pairs for training, 8" in printed.err
    pipeline = load(out)
    assert pipeline.get_params()["augment__vae__gamma"] == 0.5
    assert pipeline["augment"].factor == 3 and pipeline["embed"].layer == [1, 2]
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["seed"] == 3 and config["sizes"]["train_pairs"] == 32
    assert 0 <= config["scores"]["held_out_accuracy"] <= 1
    assert "torch" in config["versions"]


@pytest.mark.parametrize("method", cli.METHODS)
def test_every_method_fits(method, data, tmp_path):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *options(data)]
    assert run(*fit, "--method", method, "--test-fraction", "0") == 0
    assert load(tmp_path)["augment"].factor == (1 if method == "none" else 3)


def test_recommended_chooses_its_factor_by_prompts(data, tmp_path, capsys):
    given = options(data)
    where = given.index("--factor")
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path, *given[:where], *given[where + 2 :]]
    assert run(*fit, "--method", "recommended", "--test-fraction", "0") == 0
    assert load(tmp_path)["augment"].factor == "auto"
    assert "factor" in capsys.readouterr().out
    assert json.loads((tmp_path / "config.json").read_text())["sizes"]["factor"] in (1, 256)


def test_unlabelled_responses_are_learnt_from(data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", *options(data), "--method", "recommended"]
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
    fit += ["--method", "recommended", "--unlabeled", tmp_path / "all.jsonl"]
    assert run(*fit) == 0
    assert f"{len(pairs) - 8} prompts with responses" in capsys.readouterr().err
    write(tmp_path / "few.jsonl", read(tmp_path / "all.jsonl")[:1])
    seeds = [run(*fit[:-1], tmp_path / "few.jsonl", "--seed", seed) for seed in range(8)]
    assert 2 in seeds and "all prompts are held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("candidates", "lens", "goes with --method recommended, not lens"),
        ("pairs", "recommended", "need the columns 'responses'"),
    ],
)
def test_bad_unlabelled_rows(name, method, message, data, tmp_path, capsys):
    fit = ["fit", data / "pairs.jsonl", "-o", tmp_path / "reward", *options(data)]
    fit += ["--method", method, "--unlabeled", data / f"{name}.jsonl"]
    assert run(*fit) == 2
    assert message in capsys.readouterr().err


def test_same_seed_same_rewards(data, tmp_path):
    assert run("fit", data / "pairs.jsonl", "-o", tmp_path / "again", *options(data)) == 0
    for name in ("reward", "again"):
        folder = data / name if name == "reward" else tmp_path / name
        done = run("score", folder, data / "pairs.jsonl", "-o", tmp_path / f"{name}.jsonl")
        assert done == 0
    assert read(tmp_path / "reward.jsonl") == read(tmp_path / "again.jsonl")


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
    assert "pair accuracy" in capsys.readouterr().err
    assert [len(row["rewards"]) for row in read(tmp_path / "p.jsonl")] == [2] * 40


def test_model_may_have_moved(data, tmp_path):
    (data / "model").rename(data / "moved")
    try:
        score = ["score", data / "reward", data / "pairs.jsonl", "-o", tmp_path / "out.jsonl"]
        assert run(*score) == 2
        assert run(*score, "--model", data / "moved") == 0
    finally:
        (data / "moved").rename(data / "model")


def test_best_of_n_table_picks_and_plot(data, tmp_path, capsys):
    plot, picks = tmp_path / "curve.png", tmp_path / "picks.jsonl"
    best = ["best-of-n", data / "reward", data / "candidates.jsonl", "--n", "1", "3"]
    assert run(*best, "--plot", plot, "-o", picks) == 0
    header, _, *rows = capsys.readouterr().out.splitlines()
    assert "gold of the pick" in header and len(rows) == 2
    assert plot.read_bytes().startswith(b"\x89PNG")
    expected = load(data / "reward").predict(read(data / "candidates.jsonl"))
    assert [row["gold"] for row in read(picks)] == np.nanargmax(expected, axis=1).tolist()


def test_demo_with_a_tiny_model(data, tmp_path, capsys):
    demo = ["demo", "-o", tmp_path, "--splits", "2", "--pairs", "40", "--model", data / "model"]
    assert run(*demo) == 0
    table = capsys.readouterr().out
    for method in ("original", "repeat 4×", "LENS 2×", "LENS 8×", "tuned linear", "oracle"):
        assert f"| {method} " in table
    assert "| Gaussian process " in table
    names = ("table.md", "table.json", "curve.png", "config.json", "candidates.jsonl")
    assert all((tmp_path / name).is_file() for name in names)
    content = json.loads((tmp_path / "table.json").read_text())
    rows = {row["method"]: row for row in content["summary"]}
    assert rows["LENS 8×"]["n_pairs"] == 8 * 40 and rows["original"]["difference"][0] == 0
    gold = {name: row["gold"][0] for name, row in rows.items()}
    assert max(gold, key=gold.get) == "oracle"
    assert run("best-of-n", tmp_path, tmp_path / "candidates.jsonl") == 0


@pytest.mark.slow
def test_demo_learns_something_from_real_text(tmp_path):
    assert run("demo", "-o", tmp_path, "--splits", "1") == 0
    content = json.loads((tmp_path / "table.json").read_text())
    rows = {row["method"]: row for row in content["summary"]}
    for method in ("original", "LENS 4×", "tuned linear", "Gaussian process"):
        assert rows[method]["gold"][0] > rows["random"]["gold"][0] + 0.1
        assert 0.6 < rows[method]["accuracy"][0] < 0.95


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fit", "nowhere.jsonl", "-o", "out"], "nowhere.jsonl: no such file"),
        (["score", "nowhere", "{data}/pairs.jsonl"], "not a saved reward model"),
        (["score", "{data}/model", "{data}/pairs.jsonl"], "not a saved reward model"),
        (["best-of-n", "{data}/reward", "{data}/pairs.jsonl"], "'responses'"),
        (["best-of-n", "{data}/reward", "{data}/candidates.jsonl", "--n", "0"], "at least 1"),
        (["fit", "{data}/pairs.jsonl", "-o", "out", "--test-fraction", "2"], "--test-fraction 2"),
        (["fit", "{data}/candidates.jsonl", "-o", "out"], "'chosen' and 'rejected'"),
        (
            ["fit", "{data}/pairs.jsonl", "-o", "out", "--method", "repeat", "--factor", "auto"],
            "--factor auto goes with lens and recommended, not repeat",
        ),
        (["fit", "{data}/model/config.json", "-o", "out"], "the ending must be"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, data, capsys, tmp_path):
    arguments = [a.format(data=data) for a in arguments]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("lens-sklearn: error: ") and message in error
    assert "Traceback" not in error
    with pytest.raises(Exception, match=".+"):
        run(*arguments, "--debug")


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["fit", "x"], ["fit", "x", "-o", "y", "--layer", "last"]]
)
def test_bad_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_wrong_number_is_named(capsys):
    with pytest.raises(SystemExit):
        run("fit", "x", "-o", "y", "--factor", "many")
    assert "argument --factor: 'many' is no whole number" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["fit", "score", "best-of-n", "demo"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text and f"lens-sklearn {command}" in text
    assert "default:" in text


def test_unexpected_errors_and_interrupts(monkeypatch, capsys):
    def fail(error):
        def run_demo(arguments):
            raise error

        monkeypatch.setattr(cli, "run_demo", run_demo)

    fail(RuntimeError("odd"))
    assert run("demo") == 1
    assert "--debug shows where" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="odd"):
        run("demo", "--debug")
    fail(KeyboardInterrupt())
    assert run("demo") == 130
    assert "interrupted" in capsys.readouterr().err


def test_ties_are_reported_without_a_traceback(data, tmp_path, capsys):
    rows = read(data / "pairs.jsonl")
    rows[3]["rejected"] = rows[3]["chosen"]
    write(tmp_path / "ties.jsonl", rows)
    assert run("score", data / "reward", tmp_path / "ties.jsonl", "-o", tmp_path / "o.jsonl") == 0
    assert "lens-sklearn: warning: 1 of 40 rows have chosen equal" in capsys.readouterr().err


def test_help_is_fast_and_light():
    code = (
        "import sys\nfrom lens_sklearn.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('transformers' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.strip() == "False"
