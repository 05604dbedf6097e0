"""The fuzzers: a short run finds nothing, and a fault that is planted is counted."""

import random
import sys
import zlib
from pathlib import Path

import pytest

from benchmarks.robustness import folders, rows, stores, zoo
from benchmarks.robustness.run import PARTS, QUICK_MODELS, main, run
from benchmarks.robustness.tally import Tally, as_table
from benchmarks.robustness.zoo import fitted_models, save_language_model
from lens_sklearn import export

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it kills and measures memory")


def test_a_quick_run_finds_nothing(capsys):
    assert main(["--quick"]) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    tried = [int(line.split("|")[2].replace(",", "")) for line in out.splitlines()[2:]]
    assert len(tried) >= 12 and min(tried) >= 1 and sum(tried) > 600


@pytest.fixture(scope="module")
def linear():
    return fitted_models(None, ["linear"])


def found_by(tallies):
    tallies = tallies if isinstance(tallies, list) else [tallies]
    return sum(len(tally.faults) for tally in tallies)


def test_an_error_of_another_kind_is_counted(monkeypatch):
    def broken(X):
        raise KeyError("content")

    whole = rows.read_texts
    monkeypatch.setattr(rows, "read_texts", lambda X: whole(X) if X in sound else broken(X))
    sound = list(rows.TABLES.values())
    tally = rows.malformed_rows(50, random.Random(0))
    assert tally.tried == 50 and len(tally.faults) > 40
    assert "KeyError at test_robustness.py" in tally.faults[0]


def test_a_row_that_changes_another_is_counted(monkeypatch):
    whole = rows.read_texts

    def shifted(X):
        table = whole(X)
        if X not in list(rows.TABLES.values()):
            table.items[:] = table.items[::-1].copy()
        return table

    monkeypatch.setattr(rows, "read_texts", shifted)
    assert found_by(rows.malformed_rows(50, random.Random(0)))


def test_a_loader_that_names_no_file_is_counted(monkeypatch, tmp_path):
    load = rows.load_preferences

    def nameless(path):
        try:
            return load(path)
        except ValueError:
            raise ValueError("something is wrong") from None

    monkeypatch.setattr(rows, "load_preferences", nameless)
    assert found_by(rows.malformed_files(100, random.Random(0), tmp_path))


def test_a_store_that_believes_every_record_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(zlib, "crc32", lambda *args: 0)
    assert found_by(stores.damaged_stores(60, random.Random(0), tmp_path))


def test_a_model_that_takes_paths_from_a_file_is_counted(monkeypatch, tmp_path, linear):
    load = export.load

    def careless(folder):
        (tmp_path / "planted").write_text("")
        return load(folder)

    monkeypatch.setattr(export, "load", careless)
    tallies = folders.malformed_folders(5, random.Random(0), linear, tmp_path)
    assert any("wrote what was planted" in fault for t in tallies for fault in t.faults)


def test_a_model_that_loads_as_another_is_counted(monkeypatch, tmp_path, linear):
    monkeypatch.setattr(export, "load", lambda folder: linear["linear"])
    tallies = folders.malformed_folders(20, random.Random(0), linear, tmp_path)
    assert any("loaded as another" in fault for t in tallies for fault in t.faults)


def test_what_takes_long_or_says_nothing_is_counted(monkeypatch):
    monkeypatch.setattr("benchmarks.robustness.tally.LONGEST", -1)
    tally = Tally("some")
    with tally.attempt("one", (ValueError,)):
        raise ValueError
    assert tally.tried == 1
    assert [fault.split(":")[1].split()[0] for fault in tally.faults] == ["a", "took"]


def test_the_table_and_the_exit_code_say_what_failed(monkeypatch, capsys):
    tallies = [Tally("one", 1200), Tally("two", 3, ["why\x1b[31m"])]
    assert as_table(tallies).splitlines()[2:] == ["| one | 1,200 | 0 |", "| two | 3 | 1 |"]
    monkeypatch.setattr("benchmarks.robustness.run.run", lambda *args, **options: tallies)
    assert main([]) == 1
    assert capsys.readouterr().out.endswith("two: why\\x1b[31m\n")


def test_every_class_that_can_be_saved_is_tried():
    text = Path(zoo.__file__).read_text(encoding="utf-8")
    assert all(name in text for name in export.CLASSES)
    assert set(PARTS) == {"rows", "files", "folders", "stores", "kills"}


def test_the_quick_models_hold_text_and_weights(tmp_path):
    models = fitted_models(save_language_model(tmp_path / "model"), QUICK_MODELS)
    assert list(models) == list(QUICK_MODELS)
    assert [t.kind for t in run(("stores",), quick=True)] == [
        "flipped bits of a store", "stores that were cut",
    ]  # fmt: skip
