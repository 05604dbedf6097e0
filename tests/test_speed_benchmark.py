"""The speed benchmark's own measuring."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.speed import fit, many, memory, rewards


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_peak_of_a_fit_is_not_that_of_the_process_that_measures():
    mine = np.ones(2**26)  # half a gigabyte, more than a process with torch in it
    used = memory.in_a_process(1000, 256, 4, 1, 1, 0)
    assert mine.nbytes > used["bytes"] >= used["pairs_bytes"]


def test_the_rows_of_a_fit_are_ratios_of_what_was_timed():
    args = SimpleNamespace(n_pairs=120, features=8, factor=4, epochs=(2, 1), repeats=1)
    whole, products, *_, matched = fit.measure(args)
    stages = [whole["seconds"][f"{name}_ours"] for name in ("autoencoder", "synthesis", "reward")]
    assert min(stages) > 0 and sum(stages) == pytest.approx(whole["seconds"]["ours"])
    assert whole["ratio"] == whole["seconds"]["rival"] / whole["seconds"]["ours"]
    assert products["seconds"]["rival"] == whole["seconds"]["ours"]
    assert matched["what"] == "reward stage, matched pairs"


@pytest.mark.parametrize("shared", [False, True])
def test_networks_trained_at_once_are_those_trained_in_turn(shared, monkeypatch):
    monkeypatch.setattr(many, "CHECKED", (6, 1))
    many.check(shared)


def test_many_pairs_are_held_against_some_of_them():
    time, accuracy = rewards.measure_many(600, 6, 2, n_drawn=30, n_test=300)
    assert time["ratio"] == time["seconds"]["ours"] / time["seconds"]["rival"] > 0
    ours, rival = (np.mean(accuracy["accuracy"][name]) for name in ("ours", "rival"))
    assert accuracy["ratio"] == ours / rival > 1, "more pairs say more"
