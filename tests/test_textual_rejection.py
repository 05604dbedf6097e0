"""Best-of-N picks as rows, and the recipe that trains on them."""

import json

import numpy as np
import pytest
from sklearn.base import clone
from tiny_models import save_causal

from benchmarks import sft
from lens_sklearn.textual import RejectionSampler

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

    with pytest.raises(ValueError, match="row 0: no response has a reward"):
        RejectionSampler(Nothing()).transform(ROWS)


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
