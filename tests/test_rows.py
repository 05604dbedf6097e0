"""Reading rows of text in every form, and from files; bad rows say where they are."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from lens_sklearn import load_candidates, load_preferences, prompt_groups
from lens_sklearn._rows import _prompt_keys, read_texts

ROWS = [
    {"prompt": "p0", "chosen": "good", "rejected": "bad"},
    {"prompt": "p1", "chosen": "fine", "rejected": "poor"},
    {"prompt": "p0", "chosen": "great", "rejected": "awful"},
]
USER = {"role": "user", "content": "p0"}


def says(text):
    return {"role": "assistant", "content": text}


# ------------------------------------------------------------------------------ rows
def object_array(rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def hugging_face(rows):
    return pytest.importorskip("datasets", reason="reads a datasets.Dataset").Dataset.from_list(
        rows
    )


def polars(rows):
    return pytest.importorskip("polars", reason="reads a polars frame").DataFrame(rows)


@pytest.mark.parametrize("make", [list, pd.DataFrame, object_array, hugging_face, polars])
def test_every_form_of_rows_reads_the_same(make):
    expected = read_texts(ROWS)
    table = read_texts(make(ROWS))
    assert table.kind == "pairs"
    assert table.items.tolist() == expected.items.tolist()
    assert table.items[1, 0] == (("user", "p1"), ("assistant", "fine"))


def test_string_explicit_and_implicit_prompts_agree():
    explicit = [{"prompt": [USER], "chosen": [says("good")], "rejected": [says("bad")]}]
    implicit = [{"chosen": [USER, says("good")], "rejected": [USER, says("bad")]}]
    for rows in (explicit, implicit):
        assert read_texts(rows).items.tolist() == read_texts(ROWS[:1]).items.tolist()
        assert prompt_groups(rows * 2).tolist() == [0, 0]


def test_groups_follow_prompts_and_order_of_appearance():
    assert prompt_groups(ROWS).tolist() == [0, 1, 0]
    plain = [{"chosen": "a", "rejected": "b"}] * 2
    assert prompt_groups(plain).tolist() == [0, 1]


def test_ragged_candidates_are_padded():
    rows = [{"prompt": "p", "responses": ["a", "b", "c"]}, {"prompt": "q", "responses": ["d"]}]
    table = read_texts(rows)
    assert table.kind == "candidates"
    assert table.items.shape == (2, 3)
    assert table.items[1, 1:].tolist() == [None, None]


def test_nested_lists_keep_their_shape():
    assert read_texts([["a", "b"], ["c", "d"], ["e", "f"]]).items.shape == (3, 2)
    assert read_texts(["a", "b"]).items.tolist() == ["a", "b"]
    conversations = [[USER, says("x")], [USER, says("y")]]
    assert read_texts(conversations).items.shape == (2,)


def test_ties_are_kept_and_counted():
    rows = [*ROWS, {"prompt": "p", "chosen": "same", "rejected": "same"}]
    with pytest.warns(UserWarning, match=r"1 of 4 rows .* \(first: row 3\)"):
        assert len(read_texts(rows).items) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ("text", "single string"),
        ({"chosen": ["a"], "rejected": ["b"]}, "dict of columns"),
        ([{"prompt": "p", "chosen": "a", "rejcted": "b"}], "row 0: column 'rejected' is missing"),
        ([{"question": "p"}], "row 0: .*'chosen' and 'rejected'.*'question'"),
        ([ROWS[0], {"prompt": "p", "chosen": None, "rejected": "b"}], "row 1, column 'chosen'"),
        ([ROWS[0], {"prompt": "p", "chosen": "a", "rejected": " "}], "row 1, .*'rejected'.*empty"),
        ([ROWS[0], {"prompt": float("nan"), "chosen": "a", "rejected": "b"}], "row 1.*'prompt'"),
        ([ROWS[0], "text"], "row 1: expected a dict"),
        ([{"prompt": "p", "responses": []}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": "abc"}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": ["a", 3]}], r"row 0, responses\[1\]"),
        ([{"chosen": [{"role": "user"}], "rejected": "b"}], "row 0, column 'chosen', message 0"),
        ([["a", "b"], ["c"]], "row 1.*expected 2 entries"),
        ([["a", "b"], "c"], "row 1.*single text"),
        ([["a", ["b"]]], "deeper"),
        (np.zeros((3, 2)), "array of float64"),
    ],
)
def test_bad_rows_say_where(rows, message):
    with pytest.raises(ValueError, match=message):
        read_texts(rows)


# ----------------------------------------------------------------------------- files
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_preferences_survive_every_format(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    lines = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="writes parquet")
        pd.DataFrame(ROWS).to_parquet(path)
    elif ending == ".csv":
        pd.DataFrame(ROWS).to_csv(path, index=False)
    elif ending == ".jsonl":
        path.write_text(lines)
    else:
        path.write_bytes(gzip.compress(lines.encode()))
    assert load_preferences(path) == ROWS


def test_candidates_come_with_padded_gold(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "p", "responses": ["a", "b"], "gold": [1, 2]},
        {"prompt": "q", "responses": ["c"], "gold": [3]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    read, gold = load_candidates(path)
    assert read == rows
    np.testing.assert_array_equal(gold, [[1, 2], [3, np.nan]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p", "responses": ["a"]}', "row 0: column 'gold' is missing"),
        ('{"responses": ["a", "b"], "gold": [1]}', "row 0: 'gold' has shape"),
        ('{"responses": ["a"], "gold": [NaN]}', r"row 0: gold\[0\] is nan"),
        ('{"responses": ["a"], "gold": [1]}\n{', "line 2: not JSON"),
        ('{"chosen": "a", "rejected": "b"}', "'responses' and 'gold'"),
        ("", "no rows"),
    ],
)
def test_bad_candidate_files_say_where(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_candidates(path)


def test_other_endings_and_missing_files(tmp_path):
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(ValueError, match="ending"):
        load_preferences(tmp_path / "rows.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_preferences(tmp_path / "none.jsonl")


def test_pairs_and_candidates_of_a_prompt_are_known_by_the_same_key():
    pair = {"chosen": [USER, says("4")], "rejected": [USER, says("5")]}
    candidates = {"responses": [[USER, says("Four.")], [USER, says("Five.")], [USER, says("6")]]}
    (key,) = _prompt_keys([pair])
    assert key and _prompt_keys([candidates]) == [key]
    strings = [{"chosen": "4", "rejected": "5"}, {"chosen": "6", "rejected": "7"}]
    assert not any(_prompt_keys(strings))
    assert prompt_groups(strings).tolist() == [0, 1]
