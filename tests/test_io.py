"""Files become rows in every format; what cannot be read is named with file and line."""

import csv
import gzip
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lens_sklearn import load_candidates, load_preferences, pair_targets
from lens_sklearn._io import load_candidate_rows, load_rows
from lens_sklearn._rows import read_texts

ROWS = [
    {"prompt": "p0", "chosen": "good", "rejected": "bad"},
    {"prompt": "p1", "chosen": "fine", "rejected": "poor"},
    {"prompt": "p0", "chosen": "great", "rejected": "awful"},
]
CANDIDATES = [
    {"prompt": "p", "responses": ["a", "b"], "gold": [1.0, 2.0]},
    {"prompt": "q", "responses": ["c"], "gold": [3.0]},
]


def write(path, rows):
    """Write rows in the format of the path's ending, as other programs do."""
    lines = "\n".join(map(json.dumps, rows)) + "\n\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines)
    elif path.suffix == ".parquet":
        pa = pytest.importorskip("pyarrow", reason="writes Parquet")
        parquet = pytest.importorskip("pyarrow.parquet", reason="writes Parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(rows[0])
            for row in rows:
                cells = row.values()
                writer.writerow(c if isinstance(c, str) else json.dumps(c) for c in cells)
    return path


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_rows_survive_every_format(tmp_path, ending):
    assert load_preferences(write(tmp_path / f"pairs{ending}", ROWS)) == ROWS
    path = write(tmp_path / f"candidates{ending}", CANDIDATES)
    rows, gold = load_candidates(path)
    assert rows == CANDIDATES == load_rows(path) == load_candidate_rows(path)
    np.testing.assert_array_equal(gold, [[1, 2], [3, np.nan]])
    without = [{"responses": row["responses"]} for row in CANDIDATES]
    assert load_candidate_rows(write(tmp_path / f"unlabeled{ending}", without)) == without


def test_conversations_of_parquet_are_lists_of_dicts(tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": "2 + 2?"}],
            "chosen": [{"role": "assistant", "content": "4"}],
            "rejected": [{"role": "assistant", "content": "5"}],
        }
    ]
    assert load_preferences(write(tmp_path / "rows.parquet", rows)) == rows


def test_row_numbers_that_pandas_wrote_are_no_column(tmp_path):
    pd = pytest.importorskip("pandas", reason="writes what is read")
    pytest.importorskip("pyarrow", reason="writes Parquet")
    frame = pd.DataFrame(ROWS)[1:]
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_csv(tmp_path / "rows.csv")
    for ending in ("parquet", "csv"):
        assert load_rows(tmp_path / f"rows.{ending}") == ROWS[1:]


def test_tables_are_read_without_pandas(tmp_path):
    paths = [str(write(tmp_path / f"rows.{ending}", ROWS)) for ending in ("csv", "parquet")]
    code = (
        "import sys\n"
        "sys.modules['pandas'] = None\n"
        "from lens_sklearn._io import load_preferences\n"
        "print([len(load_preferences(path)) for path in sys.argv[1:]])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
    assert done.stdout.strip() == "[3, 3]", done.stderr


def test_parquet_names_its_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"rows.parquet needs pyarrow.*lens-sklearn\[tables\]"):
        load_rows(path)


# ------------------------------------------------------------------------------- CSV
def test_words_and_numbers_of_a_table_stay_text(tmp_path):
    texts = ["None", "NA", "null", "nan", "007", "1e5", "true", "-", " padded ", '"', "a\n\nb,c"]
    rows = [{"prompt": "p", "chosen": t, "rejected": "no", "source": ""} for t in texts]
    assert load_preferences(write(tmp_path / "rows.csv", rows)) == rows


def test_long_texts_of_a_table_are_whole(tmp_path):
    limit = csv.field_size_limit()
    rows = [{"chosen": "long " * limit, "rejected": "short"}]
    assert load_rows(write(tmp_path / "rows.csv", rows)) == rows
    assert csv.field_size_limit() == limit


def test_a_byte_order_mark_is_no_text(tmp_path):
    for ending in (".jsonl", ".jsonl.gz", ".csv"):
        path = write(tmp_path / f"rows{ending}", ROWS)
        content = gzip.decompress(path.read_bytes()) if ending == ".jsonl.gz" else path.read_bytes()
        marked = b"\xef\xbb\xbf" + content
        path.write_bytes(gzip.compress(marked) if ending == ".jsonl.gz" else marked)
        assert load_rows(path) == ROWS


def test_columns_without_a_name_are_no_columns(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("chosen,rejected,,\n\ngood,bad,,\n")
    assert load_rows(path) == [{"chosen": "good", "rejected": "bad"}]


def test_a_table_of_prompts_alone_is_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("prompt,gold\nwhy,[1\n")  # of another kind: its gold is no list of ours
    assert load_rows(path) == [{"prompt": "why", "gold": "[1"}]


# ------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"chosen,rejected\na,b\nyes, it is,no\n", "rows.csv, line 3: 3 cells under .* of 2"),
        (b"chosen,rejected\na\n", "rows.csv, line 2: 1 cells under a header of 2"),
        (b'chosen,rejected\n"a" is,b\n', "rows.csv, line 2: not CSV"),
        (b'chosen,rejected\n"a,b\nc,d\n', "rows.csv, line 2 to 3: not CSV"),
        (
            b"chosen,rejected\ncaf\xe9,b\n",
            "rows.csv, line 2: not UTF-8 .byte 0xe9.*iconv -f",
        ),
        (b"chosen,chosen\na,b\n", "rows.csv, line 1: there are two columns 'chosen'"),
        (b"chosen,rejected\n", "rows.csv: the file has no rows"),
        (b"", "rows.csv: the file has no rows"),
        (
            b"responses,gold\n\"['a' 'b']\",[1]\n",
            "row 0, column 'responses': entries without",
        ),
        (b'responses\n"[""a""]"\n', "preference rows need .*'chosen'.*got .'responses'"),
    ],
)
def test_bad_tables_say_where(tmp_path, text, message):
    (tmp_path / "rows.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        load_preferences(tmp_path / "rows.csv")


def test_bad_parquet_is_named(tmp_path):
    path = write(tmp_path / "rows.parquet", ROWS)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="rows.parquet: not Parquet"):
        load_rows(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p", "responses": ["a"]}', "row 0: column 'gold' is missing"),
        ('{"responses": ["a", "b"], "gold": [1]}', "row 0: 'gold' has shape"),
        ('{"responses": ["a"], "gold": [NaN]}', r"row 0: gold\[0\] is nan"),
        ('{"responses": ["a"], "gold": [1]}\n{', "line 2: not JSON"),
        ('{"responses": "a", "gold": [1]}', "row 0, column 'responses': not a list in JSON"),
        (
            '{"responses": ["a"], "gold": [1]}\n"text"',
            "line 2: expected an object .* a string",
        ),
        ('{"chosen": "a", "rejected": "b"}', "'responses' and 'gold'"),
        ("", "no rows"),
    ],
)
def test_bad_candidate_files_say_where(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_candidates(path)


def test_rows_of_another_kind_are_refused(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", ROWS)
    with pytest.raises(ValueError, match="need the columns 'responses'; got .*'chosen'"):
        load_candidate_rows(pairs)
    with pytest.raises(ValueError, match="'chosen' and 'rejected'; got .*'responses'"):
        load_preferences(write(tmp_path / "candidates.jsonl", CANDIDATES))


def test_ties_are_reported_when_the_rows_are_used(tmp_path):
    rows = load_preferences(write(tmp_path / "r.jsonl", [{"chosen": "a", "rejected": "a"}]))
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        read_texts(rows)


def test_other_endings_and_missing_files(tmp_path):
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(ValueError, match="ending"):
        load_preferences(tmp_path / "rows.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_preferences(tmp_path / "none.jsonl")


# ------------------------------------------------------------------------ targets and weights
PAIR = {"chosen": "a", "rejected": "b"}


def test_targets_and_weights_are_read_with_the_rows(tmp_path):
    rows = [{**PAIR, "target": 1, "weight": 0}, {**PAIR, "target": 0.25, "weight": 3.5}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_preferences(path) == rows
    target, weight = pair_targets(load_preferences(path))
    assert target.tolist() == [1, 0.25] and weight.tolist() == [0, 3.5]
    assert pair_targets([PAIR]) == (None, None)
    target, weight = pair_targets([{**PAIR, "weight": 2}])
    assert target is None and weight.tolist() == [2]


def test_targets_of_a_table_are_text(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("chosen,rejected,target\na,b,0.75\nc,d,1\n")
    target, weight = pair_targets(load_preferences(path))
    assert target.tolist() == [0.75, 1] and weight is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("target", 1.5, "row 1, column 'target': got 1.5; it is the probability"),
        ("target", -0.1, "row 1, column 'target': got -0.1"),
        ("target", float("nan"), "row 1, column 'target': got nan"),
        ("target", "often", "row 1, column 'target': 'often' is no number; it is the probability"),
        ("target", [1], "row 1, column 'target': .1. is no number"),
        ("target", "", "row 1, column 'target': '' is no number"),
        ("weight", -1, "row 1, column 'weight': got -1; it is a finite weight of at least 0"),
        ("weight", float("inf"), "row 1, column 'weight': got inf"),
        ("weight", None, "row 1, column 'weight': is missing, and row 0 has one; all rows need"),
    ],
)
def test_a_bad_target_or_weight_is_named_with_its_file_and_row(column, value, message, tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{**PAIR, column: 1}, {**PAIR, column: value}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=f"pairs.jsonl: {message}"):
        load_preferences(path)
    with pytest.raises(ValueError, match=f"^{message}"):
        pair_targets(rows)


def test_targets_are_those_of_preference_rows():
    with pytest.raises(ValueError, match="columns 'chosen' and 'rejected'; got"):
        pair_targets([{"responses": ["a"], "target": 1}])
    assert pair_targets(pd.DataFrame([{**PAIR, "target": 0.5}]))[0].tolist() == [0.5]


# ------------------------------------------------------------------------------ found by fuzzing
@pytest.mark.parametrize(
    "text, line",
    [("prompt,ch\rosen,rejected\na,b,c\n", 1), ("chosen,rejected\na,b\nc\rd,e\n", 3)],
)
def test_a_carriage_return_within_a_line_of_csv_is_named(tmp_path, text, line):
    path = tmp_path / "pairs.csv"
    path.write_bytes(text.encode())
    message = rf"pairs.csv.* line {line}.*: not CSV \(a carriage return within a line\)"
    with pytest.raises(ValueError, match=message):
        load_preferences(path)


def test_long_names_of_columns_and_many_of_them_are_shortened(tmp_path):
    path = tmp_path / "pairs.jsonl"
    row = {"chosen": "a"} | {"b" * 5000 + str(i): "c" for i in range(50)}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match=r"b{60}…', '…'\]") as caught:
        load_preferences(path)
    assert len(str(caught.value)) < 2000
