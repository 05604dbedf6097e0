"""Best-of-N picks as rows, and the recipe that trains on them."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from tiny_models import WORDS, save_causal

from benchmarks import sft
from lens_sklearn._statistics import wilson_interval
from lens_sklearn.textual import RejectionSampler, ResponseGenerator, SelfRewardingLabeller

THEIRS = pytest.mark.filterwarnings(r"ignore:`\w*gradient_checkpointing\w*` is deprecated")
pytestmark = pytest.mark.filterwarnings("ignore:.* were cut at max_new_tokens")


class Length:
    """A reward that counts words; NaN pads."""

    def predict(self, rows):
        rewards = np.full((len(rows), max(len(row["responses"]) for row in rows)), np.nan)
        for i, row in enumerate(rows):
            lengths = [len(text.split()) for text in row["responses"]]
            rewards[i, : len(lengths)] = lengths
        return rewards


ROWS = [
    {"prompt": "why", "responses": ["no", "the cat sat", "a dog", "you said a big dog ran"]},
    {"prompt": [{"role": "user", "content": "how"}], "responses": ["yes no", "always"]},
]


def test_the_best_of_the_first_n_is_kept_with_its_scores():
    picks = clone(RejectionSampler(Length(), n=3)).fit_transform(ROWS)
    assert [row["completion"][0]["content"] for row in picks] == ["the cat sat", "yes no"]
    assert picks[0]["prompt"] == [{"role": "user", "content": "why"}]
    assert (
        picks[0]["score"] == 3 and picks[0]["scores"] == [1, 3, 2] and picks[1]["scores"] == [2, 1]
    )
    assert RejectionSampler(Length()).transform(ROWS)[0]["score"] == 6


def test_what_it_refuses():
    sampler = RejectionSampler(Length())
    with pytest.raises(ValueError, match="expected candidate rows .* got pairs"):
        sampler.transform([{"prompt": "why", "chosen": "yes", "rejected": "no"}])
    with pytest.raises(ValueError, match="row 0: there is no prompt"):
        sampler.transform([{"responses": ["yes", "no"]}])

    class Nothing:
        def predict(self, rows):
            return np.full((len(rows), 4), np.nan)

    with pytest.raises(ValueError, match="none of 2 prompts has a response with a reward"):
        RejectionSampler(Nothing()).transform(ROWS)


@pytest.mark.parametrize("empty", [[], (), np.array([]), "[]"])
def test_a_prompt_without_responses_is_left_out(empty):
    rows = [{"prompt": "so", "responses": empty}, *ROWS, {"prompt": "so", "responses": empty}]
    sampler = RejectionSampler(Length())
    with pytest.warns(UserWarning, match=r"2 of 4 prompts \(first: row 0\) have no response"):
        picks = sampler.transform(rows)
    assert picks == RejectionSampler(Length()).transform(ROWS) and sampler.n_left_out_ == 2
    sampler.transform(ROWS)
    assert sampler.n_left_out_ == 0
    with pytest.raises(ValueError, match="none of 2 prompts has a response to pick"):
        sampler.transform([rows[0], rows[-1]])
    with pytest.raises(ValueError, match=r"row 2, responses\[0\]: expected a str"):
        sampler.transform([rows[0], ROWS[0], {"prompt": "so", "responses": [3]}])


def test_a_prompt_without_a_reward_is_left_out():
    class Short(Length):
        def predict(self, rows):
            rewards = super().predict(rows)
            return np.where(rewards > 2, np.nan, rewards)

    sampler, long = RejectionSampler(Short()), {"prompt": "so", "responses": ["a big dog"]}
    with pytest.warns(UserWarning, match=r"1 of 3 prompts \(first: row 1\)"):
        picks = sampler.transform([ROWS[0], long, ROWS[1]])
    assert [row["score"] for row in picks] == [2, 2] and sampler.n_left_out_ == 1


def test_what_the_generator_returns_is_picked_from(tmp_path):
    model = save_causal(tmp_path)
    prompts = [f"{word} cat" for word in WORDS]
    generator = ResponseGenerator(model, n_samples=1, max_new_tokens=1, random_state=0)
    with pytest.warns(UserWarning, match="responses are empty"):  # one token, the end among them
        rows = generator.fit_transform(prompts)
    n_empty = sum(not row["responses"] for row in rows)
    assert 0 < n_empty < len(prompts)
    sampler = RejectionSampler(Length())
    with pytest.warns(UserWarning, match=f"{n_empty} of {len(rows)} prompts"):
        assert len(sampler.transform(rows)) == len(rows) - n_empty


@THEIRS
@pytest.mark.filterwarnings("ignore:.* responses are empty")  # a random model's
def test_the_recipe_trains_and_the_judge_compares(tmp_path, capsys):
    base = save_causal(tmp_path / "base")
    picks = tmp_path / "picks.jsonl"
    picks.write_text("\n".join(map(json.dumps, RejectionSampler(Length()).transform(ROWS * 8))))
    arguments = ["train", str(picks), "--model", base, "-o", str(tmp_path / "tuned")]
    sft.main(arguments)
    assert "16 rows, mean training loss" in capsys.readouterr().out
    # an ordinary folder: no pickle and nothing of the trainer's in it or beside it
    names = {path.name for path in (tmp_path / "tuned").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert all(path.is_file() for path in (tmp_path / "tuned").iterdir())
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert {path.name for path in tmp_path.iterdir()} == {"base", "picks.jsonl", "tuned"}
    with pytest.raises(FileExistsError, match="it exists already"):
        sft.main(arguments)
    sft.main(
        ["judge", str(picks), "--first", str(tmp_path / "tuned"), "--second", base]
        + ["--judge", base, "--max-new-tokens", "8"]
    )
    assert "win rate" in capsys.readouterr().out


class Judge:
    """Prefers the answer of more words, and what is shown first by half a word."""

    calls = []

    def __init__(self, model, mode):
        assert mode == "pairwise"

    def score(self, prompts, responses):
        lengths = np.array([[len(text.split()) for text in row] for row in responses])
        margin = lengths[:, 0] - lengths[:, 1]
        self.shown_first_ = 1 / (1 + np.exp(-np.stack([margin + 0.5, 0.5 - margin], axis=1)))
        self.calls.append(len(prompts))


@pytest.fixture
def answered(monkeypatch):
    """Judge the answers that stand in each row, by `Judge`."""

    class Generator:
        def __init__(self, model, **options):
            self.model = model

        def fit_transform(self, rows):
            return [{"prompt": "why", "responses": row[self.model]} for row in rows]

    monkeypatch.setattr(sft, "ResponseGenerator", Generator)
    monkeypatch.setattr(sft, "SelfRewardingLabeller", Judge)
    monkeypatch.setattr(Judge, "calls", [])

    def compare(*answers, **options):
        rows = [{"a": first, "b": second} for first, second in answers]
        return sft.judge(rows, "a", "b", "judge", **options)

    return compare


def test_equal_answers_are_ties_that_no_judge_is_asked(answered):
    found = answered((["x y"], ["x y"]), (["x"], ["x"]))
    assert Judge.calls == []
    assert found.counts == (0, 2, 0) and found.n_equal == 2
    assert found.win_rate[0] == 0.5


def test_rounding_is_a_tie(answered):
    found = answered((["x y"], ["y x"]), (["x"], ["y"]))
    assert Judge.calls == [2] and found.n_equal == 0
    # both prefer what is shown first, equally in both orders
    assert found.counts == (0, 2, 0)
    assert "in 2 prompts the position decides" in str(found)
    tiny = sft.Comparison(np.array([[0.49999997, 0.5], [0.50000003, 0.5]]), 0.01, 0, 2)
    assert tiny.counts == (0, 2, 0) and tiny._replace(tie=0.0).counts == (1, 0, 1)


def test_wins_and_losses_are_counted_in_both_orders(answered):
    found = answered(
        (["x y z"], ["x"]), (["x"], ["x y z"]), (["x"], ["x y"]), (["x"], ["x"]), ([], ["x"])
    )
    assert Judge.calls == [3] and found.n_rows == 5
    assert found.counts == (1, 1, 2)
    up, down = 1 / (1 + np.exp(-2.5)), 1 / (1 + np.exp(-1.5))  # margins of 2, first and second
    np.testing.assert_allclose(found.orders[0], [up, down])
    np.testing.assert_allclose(found.orders[1], [1 - down, 1 - up])
    np.testing.assert_allclose(found.orders[3], 0.5)
    lines = str(found)
    assert "4 of 5 prompts" in lines and "wins 1, ties 1 (1 of them by equal" in lines
    assert "alike it wins 1 and loses 2; in 0 prompts the position decides" in lines
    assert found.win_rate[0] == pytest.approx(1.5 / 4)
    with pytest.raises(ValueError, match="no prompt has a response of both"):
        answered(([], ["x"]))


def test_wilsons_interval():
    # R. G. Newcombe (1998), Table I, method 3: 81 of 263
    np.testing.assert_allclose(wilson_interval(81 / 263, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson_interval(0, 20), (0.0, 0.1611), atol=5e-5)


@pytest.mark.filterwarnings("ignore:.* responses are empty")
def test_a_model_ties_with_itself(tmp_path):
    base = save_causal(tmp_path / "base")
    found = sft.judge(ROWS, base, base, base, max_new_tokens=4)
    assert found.counts == (0, len(found.orders), 0) == (0, found.n_equal, 0)


def test_the_pairwise_judge_tells_both_orders(tmp_path):
    base = save_causal(tmp_path)
    judge = SelfRewardingLabeller(base, mode="pairwise", device="cpu", chat_template=None)
    scores = judge.score(["why", "how"], [["no", "the cat"], ["yes", "yes"]])
    orders = np.stack([judge.shown_first_[:, 0], 1 - judge.shown_first_[:, 1]], axis=1)
    np.testing.assert_allclose(orders.mean(axis=1), scores[:, 0])
    # equal answers: only the position differs
    assert judge.shown_first_[1, 0] == pytest.approx(judge.shown_first_[1, 1], abs=1e-6)
    judge.score(["why"], [["no"]])
    assert judge.shown_first_.shape == (0, 2)
