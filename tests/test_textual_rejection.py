"""Best-of-N picks as rows, and the recipe that trains on them."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from tiny_models import WORDS, save_causal

from benchmarks import sft
from lens_sklearn.textual import RejectionSampler, ResponseGenerator

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
    sft.main(["train", str(picks), "--model", base, "-o", str(tmp_path / "tuned")])
    assert "16 rows, mean training loss" in capsys.readouterr().out
    sft.main(
        ["judge", str(picks), "--first", str(tmp_path / "tuned"), "--second", base]
        + ["--judge", base, "--max-new-tokens", "8"]
    )
    assert "beats the second with mean probability" in capsys.readouterr().out
