"""Lines of results: whole ones come back, halves are cut off, other results are refused."""

import pytest

from lens_sklearn._result_lines import ResultLines

HEADER = {"data": "a" * 64, "folds": 5}


def test_what_was_written_comes_back(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = ResultLines(path, HEADER)
    assert lines.lines == []
    lines.add({"x": [0.1, 1e300]})
    lines.add({"x": [2]})
    assert lines.lines == ResultLines(path, HEADER).lines == [{"x": [0.1, 1e300]}, {"x": [2]}]
    assert path.read_text().count("\n") == 3


def test_half_a_line_is_cut_off_and_the_next_one_whole(tmp_path):
    path = tmp_path / "results.jsonl"
    ResultLines(path, HEADER).add({"x": 1})
    with path.open("a") as file:
        file.write('{"x": 2')
    lines = ResultLines(path, HEADER)
    lines.add({"x": 3})
    assert ResultLines(path, HEADER).lines == [{"x": 1}, {"x": 3}]


def test_half_a_header_begins_anew(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"data": "aa')
    assert ResultLines(path, HEADER).lines == ResultLines(path, HEADER).lines == []


def test_other_results_are_refused_by_what_differs(tmp_path):
    path = tmp_path / "results.jsonl"
    ResultLines(path, HEADER).add({"x": 1})
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"another comparison: folds 5, not 3\. Give another"):
        ResultLines(path, HEADER | {"folds": 3})
    with pytest.raises(ValueError, match=r"another comparison: data; folds 5, not 3\."):
        ResultLines(path, {"data": "b" * 64, "folds": 3})
    assert path.read_bytes() == content  # refused and left as it was


@pytest.mark.parametrize("text", ["no JSON\n", "[1]\n", '{"data": 1}\nno JSON\n'])
def test_other_files_are_refused(text, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match="these are no results of a comparison"):
        ResultLines(path, HEADER)


def test_a_value_that_is_no_json_writes_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = ResultLines(path, HEADER)
    with pytest.raises(ValueError, match="JSON"):
        lines.add({"x": float("nan")})
    assert lines.lines == ResultLines(path, HEADER).lines == []
