"""Table 1 end to end on tiny models: every system gets a number at every factor."""

import numpy as np
import pytest

from benchmarks import table1


@pytest.mark.filterwarnings("ignore:iteration 1 of the self-evolved labeller is sure of none")
@pytest.mark.filterwarnings("ignore:.* responses are empty")  # random models do both
@pytest.mark.filterwarnings("ignore:.* were cut at max_new_tokens")
def test_every_row_runs_and_a_second_call_repeats_nothing(tmp_path):
    records = table1.table1("tiny", folder=tmp_path, factors=(1, 2), report=lambda line: None)
    cells = {(r["system"], r["factor"]): r for r in records}
    for system in table1.SYSTEMS:
        assert {(system, 1), (system, 2)} <= cells.keys()
        assert cells[system, 1]["rows"] == 48 and cells[system, 2]["rows"] > 48
    assert np.isfinite([r["gold"] for r in records]).all()
    random, oracle = cells["random pick", 1]["gold"], cells["oracle", 1]["gold"]
    assert random < oracle and all(r["gold"] <= oracle for r in records)
    again = table1.table1("tiny", folder=tmp_path, factors=(1, 2), report=pytest.fail)
    assert again == records
    table = table1.markdown(records)
    assert "| LENS |" in table and "| original | 2× |" in table


def test_the_estimate_and_what_paper_needs(capsys, tmp_path):
    table1.main(["--size", "paper", "--estimate"])
    out = capsys.readouterr().out
    assert "an estimate by operations, not a measurement" in out
    with pytest.raises(SystemExit, match="needs --pairs"):
        table1.main(["--size", "paper", "--folder", str(tmp_path)])
    with pytest.raises(ValueError, match="needs a setting"):
        table1.table1("paper", folder=tmp_path)
