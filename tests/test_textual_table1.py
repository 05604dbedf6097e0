"""Table 1 end to end: on tiny models, and the small size's code on tiny ones too."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_models
from numpy.testing import assert_allclose

from benchmarks.table1 import cli, markdown, small, table1
from benchmarks.table1 import paper as paper_size
from benchmarks.table1.settings import untemplated
from benchmarks.table1.summary import interval, meanings, notes, row_label
from benchmarks.table1.systems import LABELLERS, MLP, ROWS, SCORED
from benchmarks.table1.table import length_correlation, read_cells, wanted_rows
from lens_sklearn import response_lengths
from lens_sklearn.textual import RewardLabeller, RewardModelLabeller

# Random models do both.
pytestmark = [
    pytest.mark.filterwarnings("ignore:iteration . of the self-evolved labeller is sure of none"),
    pytest.mark.filterwarnings("ignore:.* responses are empty"),
    pytest.mark.filterwarnings("ignore:.* were cut at max_new_tokens"),
    pytest.mark.filterwarnings("ignore:.* synthetic pairs are left out"),
]


def test_every_row_runs_and_a_second_call_repeats_nothing(tmp_path):
    rows = wanted_rows("paper")
    rest = {"folder": tmp_path, "factors": (1, 2), "rows": rows}
    records = table1("tiny", **rest, report=lambda line: None)
    cells = {(r["system"], r["factor"]): r for r in records}
    for system in (name for name in rows if name in ROWS):
        assert {(system, 1), (system, 2)} <= cells.keys()
        assert cells[system, 1]["rows"] == 48 and cells[system, 2]["rows"] > 48
    assert np.isfinite([r["gold"] for r in records]).all()
    random, oracle = cells["random pick", 1], cells["oracle", 1]
    assert random["gold"] < oracle["gold"]
    assert all(r["gold"] <= oracle["gold"] for r in records)
    for r in records:
        assert len(r["picked"]) == 8
        assert r["gold"] == pytest.approx(np.mean(r["picked"]), abs=1e-6)
    assert cells["longest", 1]["length"] == pytest.approx(1)
    assert cells["shortest", 1]["length"] == pytest.approx(-1)
    assert random["length"] is None
    originals = {(ROWS[n].model, tuple(cells[n, 1]["picked"])) for n in rows if n in ROWS}
    assert len(originals) == 3, "without synthesis a row is its reward model alone"
    assert len(list((tmp_path / "rewards").iterdir())) <= 2, "the originals' weights stay alone"
    again = table1("tiny", **rest, report=pytest.fail)
    assert again == records


def test_a_killed_run_goes_on_and_other_settings_are_left_out(tmp_path):
    rows = ["longest", "oracle"]
    first = table1("tiny", folder=tmp_path, factors=(1,), rows=rows, report=lambda line: None)
    path = tmp_path / "table1.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(first[0] | {"setting": "another", "gold": 99.0}) + "\n")
        file.write('{"size": "tiny", "set')  # cut off
    told = []
    rows = [*rows, "shortest"]
    records = table1("tiny", folder=tmp_path, factors=(1,), rows=rows, report=told.append)
    assert [r["system"] for r in records] == ["longest", "shortest", "oracle"]
    assert records[::2] == first and len(told) == 1 and told[0].startswith("shortest")
    assert len(read_cells(path)) == 4


# ----------------------------------------------------------------------------- the small size
@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write 40 prompts with 5 responses, of the tiny models' words, where longer is better."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    with gzip.open(folder / "alpaca_eval_dev.jsonl.gz", "wt") as file:
        for i in range(40):
            lengths = rng.permutation([2, 4, 6, 8, 70])
            file.write(json.dumps({
                "prompt": f"{tiny_models.sentence(rng, 6)} {i}",
                "responses": [tiny_models.sentence(rng, n) for n in lengths],
                "gold": (lengths / 10).tolist(),
            }) + "\n")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {
        "base": tiny_models.save_causal(folder / "base"),
        "encoder": tiny_models.save_encoder(folder / "encoder"),
        "reward": tiny_models.save_reward(folder / "reward"),
    }


@pytest.fixture
def words(data, models, tmp_path, monkeypatch):
    monkeypatch.setattr(small, "ENCODER", models["encoder"])
    words = f"--size small --data {data} --folder {tmp_path / 'folder'} --base {models['base']}"
    return [*words.split(), *"--n-pairs 8 --n-prompts 6 --n-candidates 4 --max-length 60".split()]


def test_the_small_sets_are_apart_and_fit(words):
    args = cli.read_arguments(words)
    first, other = (small.small_setting(args, seed) for seed in (0, 1))
    test = {row["prompt"] for row in first.candidates}
    few = {row["prompt"] for row in first.pairs}
    assert len(test) == 6 and len(few) == 8 and not test & few
    assert first.gold_rewards.shape == (6, 4)
    assert_allclose(first.gold_rewards, first.gold_rewards.round(1))
    for row in first.candidates:
        assert max(len(text.split()) for text in row["responses"]) <= 8, "70 words do not fit"
    words_of = response_words(first.candidates)
    assert_allclose(first.gold_rewards, words_of / 10)
    for row in first.pairs:
        n_chosen, n_rejected = (len(row[side].split()) for side in ("chosen", "rejected"))
        assert n_rejected < n_chosen <= 8
    assert other.candidates == first.candidates and other.pairs != first.pairs
    assert {row["prompt"] for row in other.pairs} == few and other.digest() != first.digest()
    labeller = first.make_labeller()
    assert isinstance(labeller, RewardLabeller) and first.make_labeller() is labeller
    assert f"{26 * 2} pairs of 26 other prompts" in first.labeller


def response_words(rows):
    return np.array([[len(text.split()) for text in row["responses"]] for row in rows])


def test_a_test_prompt_has_responses_of_different_gold(models):
    rows = [
        {
            "prompt": f"cat {i}",
            "responses": ["dog", "mat", "tree"],
            "gold": [0.0, 0.0, float(i > 4)],
        }
        for i in range(10)
    ]
    sizes = {"n_pairs": 2, "n_candidates": 3, "max_length": 40}
    sets = small.draw_sets(rows, models["base"], 0, n_prompts=2, **sizes)
    assert (np.ptp(sets.gold, axis=1) == 1).all()
    with pytest.raises(ValueError, match="10 prompts have 5 with 3 responses .* different gold"):
        small.draw_sets(rows, models["base"], 0, n_prompts=6, **sizes)


def test_the_labellers_pairs_use_a_response_once():
    row = {"prompt": "p", "responses": list("abcdef")}
    gold = np.array([0.0, 0.0, 1.0, 1.05, 2.0, 3.0])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pairs = small._pairs(row, gold, np.arange(6), 3, rng)
        texts = [pair[side] for pair in pairs for side in ("chosen", "rejected")]
        assert len(set(texts)) == len(texts)
        for pair in pairs:
            better, worse = (gold["abcdef".index(pair[s])] for s in ("chosen", "rejected"))
            assert better - worse > small.MIN_GAP


def test_the_small_size_runs(words, capsys, tmp_path):
    rows = ["embedding MLP on text synthesis", "self-rewarding", "longest", "random pick"]
    words += ["--n-samples", "2", "--max-new-tokens", "4", "--rows", *rows, "control: the labeller"]
    cli.main(words)
    out = capsys.readouterr().out
    assert "| system | original | 2× |" in out and "| longest |" in out
    assert "1 steps on 8 pairs" in out and "Rank correlation of scores with length" in out
    assert "other prompts of the same judge" in out and "no chat template" not in out
    kept = (tmp_path / "folder" / "table1.jsonl").read_text()
    cli.main(words)
    assert capsys.readouterr().out.endswith(out[out.index("\nTable 1, small") :])
    assert (tmp_path / "folder" / "table1.jsonl").read_text() == kept


def test_the_small_estimate_counts_what_is_run(words, capsys):
    cli.main([*words, "--estimate", "--rows", "LENS"])
    out = capsys.readouterr().out
    assert "  0.0 min  fine-tuning" in out and "  0.0 min  sampling" in out
    assert "min  a seed, by operations and a short calibration" in out


def test_a_base_without_a_template_is_said(words, models, tmp_path):
    plain = tiny_models.save_causal(tmp_path / "plain", chat_template=None)
    assert untemplated(models["base"]) == ()
    words[words.index("--base") + 1] = plain
    with pytest.warns(UserWarning, match="plain has no chat template: it is not an Instruct model"):
        setting = small.small_setting(cli.read_arguments(words), 0)
    assert "continued as plain text" in notes(setting)


def test_an_interrupted_run_says_how_to_go_on(words, monkeypatch, tmp_path):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "table1", stop)
    with pytest.raises(SystemExit, match=r"interrupted; .*folder keeps what is done"):
        cli.main(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size tiny --data X", "--data has no effect with --size tiny"),
        ("--size tiny --estimate", "--estimate has no effect with --size tiny"),
        ("--size small --gold X", "--gold has no effect with --size small"),
        ("--size paper --n-prompts 3", "--n-prompts has no effect with --size paper"),
        ("--rows paper LENS", "paper and all stand alone"),
        ("--rows Lens", "invalid choice: 'Lens'"),
        ("--factors 0", "0 is less than 1"),
    ],
)
def test_what_has_no_effect_is_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        cli.main(words.split())
    assert message in capsys.readouterr().err


def test_what_the_small_size_lacks_is_named(words, data, monkeypatch):
    monkeypatch.delenv("LENS_SKLEARN_DATA", raising=False)
    with pytest.raises(SystemExit, match="needs --data, the folder of alpaca_eval_dev.jsonl.gz"):
        cli.main(["--size", "small"])
    with pytest.raises(SystemExit, match="40 prompts have 0 with 5 responses of at most 60 tokens"):
        cli.main([*words, "--n-candidates", "5"])
    with pytest.raises(SystemExit, match="then 34 for the pairs and 0 for the labeller"):
        cli.main([*words, "--n-pairs", "34"])


# ----------------------------------------------------------------------------- the paper size
def test_the_estimate_and_what_paper_needs(capsys, tmp_path):
    cli.main(["--size", "paper", "--estimate"])
    out = capsys.readouterr().out
    assert "an estimate by operations, not a measurement" in out
    with pytest.raises(SystemExit, match="needs --pairs"):
        cli.main(["--size", "paper", "--folder", str(tmp_path)])
    with pytest.raises(ValueError, match="needs a setting"):
        table1("paper", folder=tmp_path)


@pytest.fixture
def paper_words(models, tmp_path):
    (tmp_path / "pairs.jsonl").write_text(
        '{"prompt": "cat", "chosen": "dog ran", "rejected": "mat"}\n' * 3
    )
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "the cat"}\n{"prompt": "the dog"}\n')
    words = f"--size paper --pairs {tmp_path}/pairs.jsonl --prompts {tmp_path}/prompts.jsonl "
    words += f"--folder {tmp_path}/folder --base {models['base']} --max-new-tokens 4"
    return words.split()


def test_the_labeller_is_not_the_evaluator(paper_words, models, tmp_path, monkeypatch):
    monkeypatch.setattr(paper_size, "_scored", lambda rows, *args: (rows, np.zeros((2, 1))))
    reward = models["reward"]
    words = [*paper_words, "--labeller", reward, "--gold"]
    copy = tiny_models.save_reward(tmp_path / "copy")  # the same model by another name
    for gold in (reward, reward + "/", copy):
        with pytest.raises(ValueError, match="is the evaluator .* --labeller-is-evaluator"):
            paper_size.paper_setting(cli.read_arguments([*words, gold]))
    asked = [*words, reward, "--labeller-is-evaluator"]
    setting = paper_size.paper_setting(cli.read_arguments(asked))
    assert setting.labeller_is_evaluator and "on the test's own metric" in notes(setting)
    other = tiny_models.save_reward(tmp_path / "other", seed=1)
    setting = paper_size.paper_setting(cli.read_arguments([*words, other]))
    assert not setting.labeller_is_evaluator and "own metric" not in notes(setting)
    assert isinstance(setting.make_labeller(), RewardModelLabeller)
    assert (setting.labeller, setting.evaluator) == (reward, other)
    with pytest.raises(ValueError, match="--labeller-is-evaluator has no effect"):
        paper_size.paper_setting(cli.read_arguments([*words, other, "--labeller-is-evaluator"]))


def test_rows_with_gold_need_no_evaluator(paper_words, models, tmp_path):
    path = Path(paper_words[paper_words.index("--prompts") + 1])
    path.write_text('{"prompt": "the cat", "responses": ["a", "b"], "gold": [1.0, 2.0]}\n')
    words = [*paper_words, "--labeller", models["reward"]]
    setting = paper_size.paper_setting(cli.read_arguments(words))
    assert setting.evaluator == "the gold of prompts.jsonl" and len(setting.pairs) == 3
    with pytest.raises(ValueError, match="--gold has no effect"):
        paper_size.paper_setting(cli.read_arguments([*words, "--gold", "X"]))


# ------------------------------------------------------------------------------- the table
def test_labellers_are_as_the_paper_has_them():
    class Fake:
        base = "base"

    modes = {
        "self-rewarding": "pairwise",
        "IPO (implicit preference)": "likelihood",
        "self-rewarding, ratings": "pointwise",
        "IPO, P(yes)": "p_yes",
    }
    for name, mode in modes.items():
        labeller = LABELLERS[ROWS[name].synthesis](Fake, 0)
        assert (labeller.mode, labeller.model_name) == (mode, "base")
    extra = set(wanted_rows("all")) - set(wanted_rows("paper"))
    assert extra >= {"self-rewarding, ratings", "IPO, P(yes)"}
    assert {"longest", "shortest", "random pick", "oracle"} <= set(wanted_rows("paper"))


def test_intervals_and_differences_are_paired_by_prompt():
    def cell(system, factor, seed, picked, length=None):
        known = {"system": system, "factor": factor, "seed": seed, "length": length}
        return known | {"picked": picked, "gold": float(np.mean(picked))}

    records = [
        cell(MLP, 1, 0, [0.0, 1.0, 2.0, 3.0], 0.5),
        cell(MLP, 1, 1, [2.0, 1.0, 2.0, 3.0], 0.3),
        cell("LENS", 2, 0, [1.5, 1.5, 2.5, 3.5]),
        cell("LENS", 2, 1, [1.5, 1.5, 2.5, 3.5]),
    ]
    gold, difference, length = markdown(records).split("\n\n")[1::2]
    assert "| 1.75 ± 0.35 [" in gold and "| 2.25 ± 0.00 [" in gold
    assert f"| {MLP} | 0 |  |" in difference, "against itself"
    assert "| LENS |  | +0.50 [+0.50, +0.50] |" in difference, "paired: no spread"
    assert f"| {MLP} | +0.40 |  |" in length and "| LENS |  | none |" in length
    assert interval([3.0] * 5) == (3.0, 3.0)
    values = np.random.default_rng(0).normal(size=400)
    low, high = interval(values)
    half = 1.96 * values.std() / 20
    assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.01)
    assert interval(values) == (low, high)


def test_correlation_with_length_is_within_prompts():
    lengths = np.array([[1.0, 2, 3], [10, 20, np.nan], [5, 5, 5]])
    scores = np.array([[0.1, 0.2, 0.9], [5, 4, np.nan], [1, 2, 3]])
    assert length_correlation(scores, lengths) == pytest.approx(0)  # of 1, -1 and none
    assert length_correlation(scores[:1], lengths[:1]) == pytest.approx(1)
    assert length_correlation(scores[2:], lengths[2:]) is None


def test_rows_that_know_the_metric_say_so():
    assert row_label("full fine-tune", True) == "full fine-tune (labelled by the evaluator)"
    assert row_label("full fine-tune", False) == "full fine-tune"
    assert row_label("LENS", True) == "LENS" and row_label("longest", True) == "longest"
    lines = meanings([*ROWS, *SCORED]).splitlines()
    assert len(lines) == len(ROWS) + len(SCORED) and max(map(len, lines)) < 110


def test_scores_without_a_model():
    class Fake:
        candidates = [{"prompt": "p", "responses": ["aaa", "b"]}]
        gold_rewards = np.array([[1.0, 3.0]])

    found = {name: SCORED[name][0](Fake) for name in ("longest", "shortest", "random pick")}
    assert_allclose(found["longest"], response_lengths(Fake.candidates))
    assert_allclose(found["shortest"], [[-3, -1]])
    assert_allclose(found["random pick"], [[0, 0]])


@pytest.mark.slow
def test_the_small_size_on_smollm2(data, packaged, tmp_path, capsys):
    for name in ("smollm2", "minilm"):
        packaged(name)
    words = f"--size small --data {data} --folder {tmp_path} --n-pairs 4 --n-prompts 3 "
    words += "--n-candidates 2 --n-samples 2 --max-new-tokens 4 --max-length 90 --factors 2"
    # One row of each kind; all of them run on the tiny model above.
    rows = ["low-rank adaptation", "self-rewarding", "LENS", "control: the labeller", "longest"]
    cli.main([*words.split(), "--rows", *rows])
    out = capsys.readouterr().out
    for system in rows:
        assert f"| {system} |" in out
