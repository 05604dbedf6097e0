"""Table 1 end to end on tiny models: every system gets a number at every factor."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "table1.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("table1_script", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore:iteration 1 of the self-evolved labeller is sure of none")
@pytest.mark.filterwarnings("ignore:.* responses are empty")  # random models do both
def test_every_row_runs_and_a_second_call_repeats_nothing(script, tmp_path):
    records = script.table1("tiny", folder=tmp_path, factors=(1, 2), report=lambda line: None)
    cells = {(r["system"], r["factor"]): r for r in records}
    for system in script.SYSTEMS:
        assert {(system, 1), (system, 2)} <= cells.keys()
        assert cells[system, 1]["rows"] == 48 and cells[system, 2]["rows"] > 48
    assert np.isfinite([r["gold"] for r in records]).all()
    random, oracle = cells["random pick", 1]["gold"], cells["oracle", 1]["gold"]
    assert random < oracle and all(r["gold"] <= oracle for r in records)
    again = script.table1("tiny", folder=tmp_path, factors=(1, 2), report=pytest.fail)
    assert again == records
    table = script.markdown(records)
    assert "| LENS |" in table and "| original | 2× |" in table


def test_the_estimate_and_what_paper_needs(script, capsys, tmp_path):
    script.main(["--size", "paper", "--estimate"])
    out = capsys.readouterr().out
    assert "an estimate by operations, not a measurement" in out
    with pytest.raises(SystemExit, match="needs --pairs"):
        script.main(["--size", "paper", "--folder", str(tmp_path)])
    with pytest.raises(ValueError, match="needs a setting"):
        script.table1("paper", folder=tmp_path)
