"""The speed benchmark's own measuring."""

import sys
from pathlib import Path

import numpy as np
import pytest

SPEED = Path(__file__).parents[1] / "benchmarks" / "speed"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_fit_is_not_that_of_the_process_that_measures(monkeypatch):
    monkeypatch.syspath_prepend(SPEED)
    import memory

    mine = np.ones(2**26)  # half a gigabyte, more than a process with torch in it
    used = memory.in_a_process(4000, 256, 4, 1, 1, 0)
    assert mine.nbytes > used["bytes"] >= used["pairs_bytes"]
