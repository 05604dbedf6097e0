"""Pairs to label next: likely winners of prompts at random, none twice."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from lens_sklearn import LinearRewardRegressor, export, suggest_pairs
from lens_sklearn.cli import main
from lens_sklearn.datasets import make_preference_pairs


class FirstFeature(BaseEstimator):
    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        if isinstance(X, np.ndarray):
            return X[..., 0]
        most = max(len(row["responses"]) for row in X)
        lengths = [[len(text) for text in row["responses"]] for row in X]
        return [found + [np.nan] * (most - len(found)) for found in lengths]


X = np.zeros((3, 4, 2))
X[..., 0] = [[1, 4, 2, 3], [9, 8, 1, 0], [0, 0.5, 7, np.nan]]
WINNERS = [{1, 3}, {0, 1}, {1, 2}]


def sets(found):
    return {
        int(i): {int(a), int(b)}
        for i, a, b in zip(found.prompt, found.first, found.second, strict=True)
    }


def test_the_two_likeliest_winners_of_each_prompt():
    found = suggest_pairs(FirstFeature(), X, 3, random_state=0)
    assert sets(found) == dict(enumerate(WINNERS))
    pairs = found.pairs(X)
    np.testing.assert_array_equal(pairs[0, 0], X[found.prompt[0], found.first[0]])
    np.testing.assert_array_equal(pairs[2, 1], X[found.prompt[2], found.second[2]])


def test_prompts_and_places_are_drawn():
    many = np.tile(X[:1], (200, 1, 1))
    one = suggest_pairs(FirstFeature(), many, 100, random_state=0)
    again = suggest_pairs(FirstFeature(), many, 100, random_state=0)
    other = suggest_pairs(FirstFeature(), many, 100, random_state=1)
    assert one.prompt.tolist() == again.prompt.tolist() != other.prompt.tolist()
    assert len(set(one.prompt.tolist())) == 100 and max(one.prompt) > 150
    assert 25 < np.sum(one.first == 1) < 75


def test_prompts_with_labels_come_last_with_their_next_pair():
    labeled = [(0, 3, 1), (1, 0, 1), (1, 2, 0)]
    found = suggest_pairs(FirstFeature(), X, 3, labeled=labeled, random_state=0)
    assert found.prompt.tolist() == [2, 0, 1]
    assert sets(found) == {2: {1, 2}, 0: {1, 2}, 1: {1, 2}}  # 4 against 2; 8 against 1


def test_a_prompt_without_pairs_left_is_left_out():
    labeled = [(2, 0, 1), (2, 1, 2), (2, 0, 2)]  # the fourth is padding
    found = suggest_pairs(FirstFeature(), X, 2, labeled=labeled, random_state=0)
    assert set(sets(found)) == {0, 1}
    with pytest.raises(ValueError, match="n=3, and 2 of 3 prompts have a pair without a label"):
        suggest_pairs(FirstFeature(), X, 3, labeled=labeled)


def test_two_equal_responses_are_no_pair():
    same = X[:1].copy()
    same[0, 3] = same[0, 1]  # the likeliest one twice
    assert sets(suggest_pairs(FirstFeature(), same, 1)) == {0: {1, 2}}
    # A label of one of them is a label of the other.
    found = suggest_pairs(FirstFeature(), same, 1, labeled=[(0, 2, 3)])
    assert sets(found) == {0: {0, 1}}
    with pytest.raises(ValueError, match="0 of 1 prompts have a pair"):
        suggest_pairs(FirstFeature(), np.repeat(same[:, :1], 3, axis=1), 1)


def test_two_equal_texts_are_no_pair():
    messages = [{"role": "assistant", "content": "bbb"}]
    rows = [
        {"prompt": "p", "responses": ["a", "bbb", "cc", "bbb"]},
        {"prompt": "q", "responses": ["bbb", messages, "a"]},
        {"prompt": "r", "responses": ["a ", "a"]},
    ]

    class Ones(FirstFeature):
        def predict(self, X):
            return [[1, 3, 2, 3], [3, 3, 1, np.nan], [2, 1, np.nan, np.nan]]

    assert sets(suggest_pairs(Ones(), rows[:2] + rows[2:], 2, random_state=0)) == {
        0: {1, 2},
        1: {0, 2},
    }


def test_rows_to_label():
    rows = [{"prompt": "p", "responses": ["a", "bbb", "cc"]}, {"responses": ["d", "ee"]}]
    made = suggest_pairs(FirstFeature(), rows, 2, random_state=0).rows(rows)
    by_row = {row["row"]: row for row in made}
    assert {by_row[0]["response_a"], by_row[0]["response_b"]} == {"bbb", "cc"}
    assert by_row[0]["prompt"] == "p" and "prompt" not in by_row[1]
    assert rows[0]["responses"][by_row[0]["first"]] == by_row[0]["response_a"]


def test_rows_to_label_of_a_frame():
    frame = pd.DataFrame({"prompt": ["p", "q"], "responses": [["a", "bbb", "cc"], ["d", "ee"]]})
    made = suggest_pairs(FirstFeature(), frame, 2, random_state=0).rows(frame)
    texts = {row["prompt"]: {row["response_a"], row["response_b"]} for row in made}
    assert texts == {"p": {"bbb", "cc"}, "q": {"d", "ee"}}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n": 0}, "n=0 has to be a whole number"),
        ({"n": 1, "labeled": [(0, 1)]}, r"labeled must have shape \(m, 3\)"),
        ({"n": 1, "labeled": [(0, 1, 2), (0, 1, 4)]}, r"labeled\[1\] is \[0, 1, 4\]"),
        ({"n": 1, "labeled": [(0.0, 1.0, 2.0)]}, "whole numbers"),
        ({"n": 1, "labeled": [(0, 1), (1,)]}, "whole numbers"),
        ({"n": 1, "labeled": [(0, 1, 2), (0, 1, 1)]}, r"labeled\[1\] is \[0, 1, 1\]"),
    ],
)
def test_what_cannot_be_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        suggest_pairs(FirstFeature(), X, **params)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (1, 3, 4, 2)])
def test_other_embeddings_are_no_candidates(shape):
    with pytest.raises(ValueError, match=r"candidates must have the shape \(n_prompts, N, d\)"):
        suggest_pairs(FirstFeature(), np.ones(shape), 1)


def test_pairs_are_no_candidates():
    with pytest.raises(ValueError, match="expected candidate rows"):
        suggest_pairs(FirstFeature(), [{"chosen": "a", "rejected": "b"}] * 3, 1)
    with pytest.raises(NotFittedError):
        suggest_pairs(LinearRewardRegressor(), X, 1)


@pytest.fixture
def saved(tmp_path):
    toy = make_preference_pairs(n_pairs=40, n_features=4, random_state=0)
    export.save(LinearRewardRegressor().fit(toy.pairs), tmp_path / "reward")
    np.savez(tmp_path / "candidates.npz", candidates=toy.candidates, gold=toy.gold)
    return tmp_path


def test_the_command_goes_on_where_it_stopped(saved, capsys):
    given = [str(saved / "reward"), str(saved / "candidates.npz"), "-n", "5", "-o"]
    assert main(["suggest", *given, str(saved / "first.csv")]) == 0
    labeled = ["--labeled", str(saved / "first.csv")]
    assert main(["suggest", *given, str(saved / "next.csv"), *labeled]) == 0
    numbers = []
    for name in ("first.csv", "next.csv"):
        with open(saved / name, encoding="utf-8", newline="") as file:
            numbers += [
                (int(r["row"]), *sorted((r["first"], r["second"]))) for r in csv.DictReader(file)
            ]
    assert len(numbers) == len(set(numbers)) == 10
    assert "5 pairs to label in" in capsys.readouterr().err
    (saved / "odd.jsonl").write_text(json.dumps({"row": 1}) + "\n")
    assert (
        main(["suggest", *given, str(saved / "x.csv"), "--labeled", str(saved / "odd.jsonl")]) == 2
    )
    assert "row 0 has no whole numbers row, first and second" in capsys.readouterr().err


def test_what_was_labeled_is_read_with_care(saved, capsys):
    given = [str(saved / "reward"), str(saved / "candidates.npz"), "-n", "5", "-o"]
    first = saved / "first.jsonl"
    assert main(["suggest", *given, str(first)]) == 0
    before = first.read_text()
    # The list of what was labelled is not to be lost to the next suggestions.
    assert main(["suggest", *given, str(first), "--labeled", str(first), "--force"]) == 2
    assert "this file is being read" in capsys.readouterr().err
    assert first.read_text() == before
    for row in ({"row": 1.5, "first": 0, "second": 1}, {"row": "1.5", "first": 0, "second": 1}):
        (saved / "odd.jsonl").write_text(json.dumps(row) + "\n")
        labeled = ["--labeled", str(saved / "odd.jsonl")]
        assert main(["suggest", *given, str(saved / "x.csv"), *labeled]) == 2
        assert "row 0 has no whole numbers" in capsys.readouterr().err


def test_labels_of_other_candidates_are_refused(tmp_path, monkeypatch, capsys):
    from lens_sklearn.cli import suggest

    monkeypatch.setattr(suggest, "load_pipeline", lambda *_, **__: FirstFeature())
    rows = [{"prompt": f"p{i}", "responses": ["a", "bbb", "cc"]} for i in range(4)]
    source, first = tmp_path / "candidates.jsonl", tmp_path / "first.csv"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["suggest", "reward", str(source), "-n", "2", "-o"]
    assert main([*given, str(first)]) == 0
    labeled = ["--labeled", str(first)]
    assert main([*given, str(tmp_path / "next.csv"), *labeled]) == 0
    for row in rows:
        row["responses"].reverse()
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([*given, str(tmp_path / "other.csv"), *labeled]) == 2
    said = capsys.readouterr().err
    assert "row 0 has another response_" in said and "of other candidates" in said


def test_pairs_with_labels_are_not_taken_for_candidates(saved, capsys):
    pairs = np.random.default_rng(0).standard_normal((9, 2, 4))
    np.savez(saved / "pairs.npz", pairs=pairs, target=np.ones(9))
    np.save(saved / "two.npy", pairs)  # has no names: candidates of two each
    given = ["suggest", str(saved / "reward"), "-n", "5", "-o", str(saved / "out.csv")]
    assert main([*given, str(saved / "pairs.npz")]) == 2
    assert "holds pairs, and their labels would not be read" in capsys.readouterr().err
    assert main([*given, str(saved / "two.npy")]) == 0
