"""Files as people have them: what they are is told by content, and every fault has its line."""

import bz2
import gzip
import io
import json
import lzma
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lens_sklearn import _text_lines as text_lines
from lens_sklearn import load_candidates, load_preferences
from lens_sklearn._embedding_files import load_embeddings
from lens_sklearn._io import load_rows
from lens_sklearn._json_rows import read_json
from lens_sklearn._printed_lists import read_list, read_messages

ROWS = [
    {"prompt": "é, 漢?", "chosen": 'a "b"\nc, d', "rejected": "None"},
    {"prompt": "q", "chosen": "007", "rejected": "NA"},
]
CANDIDATES = [{"prompt": "p", "responses": ["a", "b"]}, {"prompt": "q", "responses": ["c"]}]
CONVERSATION = {
    name: [{"role": "user", "content": "x"}, {"role": "assistant", "content": name}]
    for name in ("chosen", "rejected")
}
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FRAME = pd.DataFrame(ROWS)


def table(delimiter=",", **settings):
    return FRAME.to_csv(index=False, sep=delimiter, **settings)


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def put(folder, name, content):
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# ------------------------------------------------------------------------------- what is read
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.json", LINES),
        ("a.jsonl", json.dumps(ROWS)),  # an array, whatever its name says
        ("a.jsonl", json.dumps(ROWS, indent=1, ensure_ascii=False)),
        ("a.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS)),  # as jq writes it
        ("a.json", json.dumps(columns(ROWS))),
        ("a.json", json.dumps({"data": ROWS, "version": 1})),
        *(("a.json", FRAME.to_json(orient=o)) for o in ("columns", "records", "index", "split")),
        ("rows", LINES),
        ("a.jsonl", LINES.replace("\n", "\r\n\r\n")),
        ("a.jsonl", LINES.encode("utf-16")),
        ("a.jsonl", LINES.encode("utf-32")),
        ("a.jsonl.gz", LINES),  # unpacked by whoever fetched it
        ("a.jsonl", gzip.compress(LINES.encode())),
        ("a.jsonl.gz", gzip.compress(LINES[:80].encode()) + gzip.compress(LINES[80:].encode())),
        ("a.csv.bz2", bz2.compress(table().encode())),
        ("a.tsv.xz", lzma.compress(table("\t").encode())),
        *(("a.csv", table(delimiter)) for delimiter in ",;\t|"),
        ("a.tsv", table("\t")),
        ("a.csv", "sep=;\n" + table(";")),
        ("a.csv", table("\t").encode("utf-16")),
        ("a.csv", table() + ",,\n,,\n"),
        ("a.csv", FRAME.to_csv()),  # with pandas' row numbers
    ],
)
def test_rows_are_read_from(name, content, tmp_path):
    assert load_preferences(put(tmp_path, name, content)) == ROWS


def test_old_line_ends_and_spaces_after_commas(tmp_path):
    rows = [{"prompt": "p", "chosen": "a, b", "rejected": "c"}]
    old = 'prompt,chosen,rejected\rp,"a, b",c\r'
    assert load_rows(put(tmp_path, "a.csv", old)) == rows
    assert load_rows(put(tmp_path, "b.csv", 'prompt, chosen, rejected\np, "a, b", c\n')) == rows


def test_one_row_is_not_taken_for_columns(tmp_path):
    several = {"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"]}
    for row in (CANDIDATES[0], CONVERSATION, several, {"messages": CONVERSATION["chosen"]}):
        assert load_rows(put(tmp_path, "a.json", json.dumps(row))) == [row]
    for rows in (CANDIDATES, [CONVERSATION] * 3):
        assert load_rows(put(tmp_path, "a.json", json.dumps(columns(rows)))) == rows


def test_an_array_longer_than_a_piece_is_read(tmp_path):
    rows = [{"chosen": "é" * (i % 5000) + str(i), "rejected": "}],{["} for i in range(3000)]
    content = json.dumps(rows, ensure_ascii=False)
    assert len(content) > 4 << 20
    assert load_rows(put(tmp_path, "a.json", content)) == rows


def test_splits_are_named(tmp_path):
    path = put(tmp_path, "a.json", json.dumps({"train": ROWS, "test": columns(ROWS[1:])}))
    with pytest.raises(ValueError, match="a.json: it has the splits train, test; name one"):
        load_rows(path)
    assert load_rows(path, split="train") == ROWS
    assert load_rows(f"{path}:test") == load_rows(path, split="test") == ROWS[1:]
    with pytest.raises(ValueError, match="no split 'dev'; it has the splits train, test"):
        load_rows(path, split="dev")
    with pytest.raises(ValueError, match="no splits in it to choose 'dev' from"):
        load_rows(put(tmp_path, "b.jsonl", LINES), split="dev")


def test_saved_datasets_are_read(tmp_path):
    datasets = pytest.importorskip("datasets", reason="writes what is read")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one", num_shards=2)
    rows.select([1]).save_to_disk(tmp_path / "part")
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk(tmp_path / "both")
    datasets.DatasetDict(train=rows).save_to_disk(tmp_path / "single")
    assert load_rows(tmp_path / "one") == load_rows(tmp_path / "single") == ROWS
    assert load_rows(tmp_path / "part") == ROWS[1:]
    assert load_rows(f"{tmp_path}/both:test") == ROWS[:1]
    assert load_rows(tmp_path / "both", split="train") == ROWS
    with pytest.raises(ValueError, match="both: it has the splits train, test"):
        load_rows(tmp_path / "both")
    with pytest.raises(ValueError, match="this folder is no dataset that 'save_to_disk' wrote"):
        load_rows(tmp_path)
    state = json.loads((tmp_path / "one" / "state.json").read_text())
    state["_data_files"][0]["filename"] = "../part/data-00000-of-00001.arrow"
    (tmp_path / "one" / "state.json").write_text(json.dumps(state))
    with pytest.raises(ValueError, match="names a file .* that is not its own"):
        load_rows(tmp_path / "one")


def test_arrow_tables_are_told_by_content(tmp_path):
    pytest.importorskip("pyarrow", reason="writes what is read")
    FRAME.to_parquet(tmp_path / "a.jsonl")
    FRAME.to_feather(tmp_path / "a.feather")
    assert load_rows(tmp_path / "a.jsonl") == load_rows(tmp_path / "a.feather") == ROWS


@pytest.mark.parametrize("content", [LINES, table(), gzip.compress(LINES.encode())])
def test_standard_input_is_read(content, monkeypatch):
    data = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert load_preferences("-") == ROWS


def test_columns_of_other_names_are_read(tmp_path):
    path = put(tmp_path, "a.csv", "q;good;bad;target\np;x;y;1\n")
    named = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    row = {"prompt": "p", "chosen": "x", "rejected": "y", "target": "1"}
    assert load_preferences(path, columns=named) == [row]
    with pytest.raises(ValueError, match="row 0: there is no column 'god'.* mean 'good'"):
        load_preferences(path, columns=named | {"chosen": "god"})
    with pytest.raises(ValueError, match="one column cannot be read as two"):
        load_preferences(path, columns=named | {"chosen": "bad"})
    swapped = load_rows(put(tmp_path, "b.jsonl", LINES), columns={"chosen": "rejected",
                                                                 "rejected": "chosen"})  # fmt: skip
    assert swapped[1] == {"prompt": "q", "chosen": "NA", "rejected": "007"}


def test_a_column_that_is_nearly_read_is_told(tmp_path):
    path = put(tmp_path, "a.csv", "chosen,rejected,Weights\na,b,1\n")
    with pytest.warns(UserWarning, match="the column 'Weights' is not read; if it is the weight"):
        load_preferences(path)
    path = put(tmp_path, "b.csv", "Chosen,rejected\na,b\n")
    with pytest.raises(ValueError, match="no column 'chosen'.*Rename 'Chosen'.*--chosen-column Ch"):
        load_preferences(path)


@pytest.mark.parametrize("delimiter", ",;\t|")
def test_a_header_of_other_names_is_cut_where_it_has_cells(delimiter, tmp_path):
    """A German table program: no name is known, texts have commas, the ending says .csv."""
    lines = [["Frage", "gut"], ["Wie viel, bitte?", "Vier."]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
    for name in ("a.csv", "a.tsv"):
        rows = load_rows(put(tmp_path, name, text))
        assert rows == [{"Frage": "Wie viel, bitte?", "gut": "Vier."}]
    text = text.replace('"', "") if delimiter != "," else text
    assert load_rows(put(tmp_path, "bare.csv", text))[0]["gut"] == "Vier."
    with pytest.raises(ValueError, match="--chosen-column NAME --rejected-column NAME, in Python"):
        load_preferences(put(tmp_path, "b.csv", text))


def test_a_header_of_one_name_is_no_list(tmp_path):
    assert load_rows(put(tmp_path, "a.tsv", "answer\na, b; c\n")) == [{"answer": "a, b; c"}]


def test_an_address_is_no_file():
    with pytest.raises(FileNotFoundError, match="x.jsonl: no such file or folder. Download it fi"):
        load_rows("https://example.org/x.jsonl")


def test_empty_texts_are_refused_left_out_or_kept(tmp_path):
    rows = [*ROWS, {"prompt": "p", "chosen": "", "rejected": "b"}]
    path = put(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match="a.jsonl: row 2, column 'chosen': the text is empty"):
        load_preferences(path)
    with pytest.warns(UserWarning, match="1 of 3 rows are left out.*first: row 2"):
        assert load_preferences(path, on_invalid="drop") == ROWS
    assert load_preferences(path, on_invalid="keep") == rows


# ------------------------------------------------------------------------------- printed lists
def test_lists_that_python_printed_are_read(tmp_path):
    assert read_list("['a', \"it's\", 'x, y']") == ["a", "it's", "x, y"]
    assert read_list("('a',)") == ["a"] and read_list('["a"]') == ["a"]
    printed = pd.DataFrame([{**row, "gold": [1.0] * len(row["responses"])} for row in CANDIDATES])
    rows, gold = load_candidates(put(tmp_path, "a.csv", printed.to_csv(index=False)))
    assert [row["responses"] for row in rows] == [["a", "b"], ["c"]]
    np.testing.assert_array_equal(gold, [[1, 1], [1, np.nan]])
    content = pd.DataFrame([CONVERSATION]).to_csv(index=False)
    assert load_rows(put(tmp_path, "b.csv", content)) == [CONVERSATION]
    as_json = json.dumps(CONVERSATION["chosen"])
    assert read_messages(as_json) == as_json  # who reads texts reads it
    assert read_messages("[{'a': 1}]") == "[{'a': 1}]" and read_messages("None") == "None"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("['a' 'b']", "entries without commas"),  # numpy's; Python would read one entry, 'ab'
        ("['a'\n 'b']", "entries without commas"),
        ("[0.1 0.2]", "neither a list in JSON nor one that Python prints"),
        ("array(['a', 'b'], dtype=object)", "neither a list in JSON nor"),
        ("{'a': 1}", "not a list in JSON"),
        ('{"a": 1}', "not a list but dict"),
        ("plain", "not a list in JSON"),
        ("[" * 5000, "neither a list"),
        ("['" + "a" * (1 << 20) + "']", "too long to be read as Python's"),
        ("[__import__('os').system('true')]", "neither a list"),
    ],
)
def test_lists_whose_entries_cannot_be_told_apart_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_list(text)


# ------------------------------------------------------------------------------- what is refused
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "chosen,rejected,\nyes, it is,no\n", "line 2: the cell 'no' stands under no"),
        ("a.csv", "chosen,rejected\na\0b,c\n", "line 2: has a NUL byte"),
        ("a.csv", table().encode("utf-16-le"), "line 1: has a NUL byte.*UTF-16 without"),
        ("a.csv", "chosen;rejected\na;b;c\n", "line 2: 3 cells under.*with a semicolon"),
        ("a.csv", table().encode("utf-16") + b"\0", "line 5 or after: not UTF-16"),
        ("a.jsonl", LINES.replace("q", "é").encode("latin-1", "replace"), "line 2: not UTF-8"),
        ("a.jsonl", LINES + "[1]\n", "line 3: expected an object .* got an array"),
        ("a.jsonl", "null\n", "line 1: expected an object .* got null"),
        ("a.jsonl", '{"chosen": "a", "rejected": "b", "chosen": "c"}', "'chosen' stands twice"),
        ("a.jsonl", "{'chosen': 'a'}\n", "line 1: not JSON.*what Python prints"),
        ("a.jsonl", '{"chosen": ' + "[" * 300 + "]" * 300 + "}", "line 1: .* more than 100 deep"),
        ("a.json", "[" * 100_000, "line 1: .* more than 100 deep"),
        ("a.json", '[{"chosen": ' + '{"a":' * 300 + "1" + "}" * 301 + "]", "more than 100 deep"),
        ("a.jsonl", '{"target": ' + "9" * 5000 + "}", "line 1: a whole number has too many digits"),
        ("a.jsonl", LINES[:-20], "line 2: not JSON .Expecting"),
        ("a.json", json.dumps(ROWS)[:-1], "line 1: the array that begins here is not closed"),
        ("a.json", json.dumps(ROWS, indent=1)[:-9], "line 10: not JSON"),
        ("a.json", json.dumps(ROWS) + "\n\nx", "line 3: something follows the array"),
        ("a.json", "[{},]", "line 1: not JSON .a comma before the ]"),
        ("a.json", "[{}\n{}]", "line 2: not JSON .a comma or ] is missing"),
        ("a.json", '{"prompt": ["a"], "chosen": ["b", "c"]}', "lengths: prompt 1, chosen 2"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-4], "what is packed in it is damaged"),
        ("a.jsonl.gz", b"\x1f\x8b" + bytes(range(100)), "what is packed in it is damaged"),
        ("a.jsonl.bz2", bz2.compress(LINES.encode())[:-9], "what is packed in it is damaged"),
        ("a.csv", "<!DOCTYPE html><html>", "is a web page; download the file itself"),
        ("a.xlsx", b"PK\x03\x04", "an Excel workbook"),
        ("a.parquet", "junk", "not Parquet"),
        ("a.json", "{}", "preference rows need"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(name, content, message, tmp_path):
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        load_preferences(put(tmp_path, name, content))


def test_pipes_and_folders_are_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.jsonl")  # which would wait for a writer
    with pytest.raises(OSError, match="pipe.jsonl: this is no file .* pipe it into '-'"):
        load_rows(tmp_path / "pipe.jsonl")
    with pytest.raises(FileNotFoundError, match="name of a file is empty"):
        load_rows("")


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(text_lines, "MOST_BYTES", 1000)
    monkeypatch.setattr(text_lines, "_FREE", 100_000)
    long = json.dumps({"chosen": "a" * 1000, "rejected": "b"})
    with pytest.raises(ValueError, match="a.jsonl, line 2: is longer than"):
        load_rows(put(tmp_path, "a.jsonl", LINES[: LINES.index("\n") + 1] + long))
    bomb = gzip.compress(b"[" + b" " * 1_000_000)
    with pytest.raises(ValueError, match="b.json.gz: unpacks to more than 200 times its size"):
        load_rows(put(tmp_path, "b.json.gz", bomb))
    bomb = gzip.compress(LINES.encode() + b"\n" * 1_000_000)
    with pytest.raises(ValueError, match="c.jsonl.gz: unpacks to more than 200 times its size"):
        load_rows(put(tmp_path, "c.jsonl.gz", bomb))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({"chosen": TEXT, "rejected": TEXT}), min_size=2, max_size=4))
def test_every_way_to_write_json_reads_the_same(rows):
    texts = [
        json.dumps(rows),
        json.dumps(rows, indent=2, ensure_ascii=False),
        "".join(json.dumps(row) + "\n" for row in rows),
        "\n".join(json.dumps(row, indent=1) for row in rows),
        json.dumps(columns(rows)),
    ]
    for text in texts:
        stream = io.BufferedReader(io.BytesIO(text.encode()))
        lines = text_lines.TextLines(stream, "rows.json")
        assert read_json(lines, {"chosen", "rejected"})[0] == rows


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_are_refused_with_their_name_or_read(data, tmp_path_factory):
    content = data.draw(
        st.sampled_from([LINES, table(), json.dumps(ROWS, indent=1), gzip.compress(LINES.encode())])
    )
    content = bytearray(content.encode() if isinstance(content, str) else content)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    name = data.draw(st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv", "x.jsonl.gz"]))
    path = put(tmp_path_factory.getbasetemp(), name, bytes(content))
    try:
        rows = load_rows(path)
    except ValueError as error:
        assert name in str(error)
    else:
        assert all(isinstance(row, dict) for row in rows)


# ------------------------------------------------------------------------------- embeddings
def test_embeddings_are_read(tmp_path):
    X = np.arange(12.0).reshape(3, 2, 2)
    np.save(tmp_path / "a.npy", X)
    found = load_embeddings(tmp_path / "a.npy")
    assert found.kind == "pairs" and found.target is None
    np.testing.assert_array_equal(found.X, X)
    fortran = np.asfortranarray(X.astype(np.float16))
    np.savez_compressed(tmp_path / "a.npz", pairs=fortran, groups=list("aab"), weight=[1, 2, 3])
    np.save(tmp_path / "four.npy", np.ones((3, 4, 2)))
    assert load_embeddings(tmp_path / "four.npy").kind == "candidates"
    np.save(tmp_path / "flat.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"pairs \(n, 2, d\) or candidates .*; got \(3, 4\)"):
        load_embeddings(tmp_path / "flat.npy")
    found = load_embeddings(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.X, X)
    assert found.groups.tolist() == ["a", "a", "b"] and found.weight.tolist() == [1.0, 2.0, 3.0]
    X[1, 1] = np.nan
    np.savez(tmp_path / "c.npz", candidates=X, gold=[[1, 2], [3, np.nan], [5, 6]])
    found = load_embeddings(tmp_path / "c.npz")
    assert found.kind == "candidates" and np.isnan(found.gold[1, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((2, 2, 3))}, "expected an array 'pairs' .* got X"),
        ({"pairs": np.ones((2, 3, 3))}, r"'pairs': expected the shape \(n, 2, d\); got"),
        ({"pairs": np.full((2, 2, 3), np.nan)}, r"'pairs'\[0, 0\]: the embedding is not finite"),
        ({"candidates": np.array([[[1.0, np.inf]]])}, r"'candidates'\[0, 0\]: .* not finite"),
        ({"candidates": np.array([[[1.0, np.nan]]])}, r"'candidates'\[0, 0\]: .* not finite"),
        ({"pairs": np.ones((2, 2, 3)), "gold": np.ones(2)}, "the array 'gold' is not read"),
        ({"pairs": np.ones((2, 2, 3)), "target": np.ones(3)}, r"'target': .* shape \(2,\)"),
        ({"pairs": np.array([[["a"], ["b"]]])}, "'pairs': expected numbers"),
        ({"pairs": np.array([{}], dtype=object)}, "arrays of Python objects are not read"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=f"a.npz.*{message}"):
        load_embeddings(tmp_path / "a.npz")


def test_damaged_arrays_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((4, 2, 3)))
    whole = (tmp_path / "a.npy").read_bytes()
    for content in (whole[:-1], whole[:20], whole.replace(b"(4, 2, 3)", b"(99999,2)"), b"PK", b""):
        with pytest.raises(ValueError, match="a.npy: "):
            load_embeddings(put(tmp_path, "a.npy", content))
