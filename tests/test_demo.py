"""The demo's statistics and table against numbers worked out by hand."""

from functools import partial, wraps

import numpy as np
import pytest
import torch

from lens_sklearn import _demo
from lens_sklearn._demo import demo_methods, demo_table, markdown_table, measure, summarize
from lens_sklearn._device import one_thread

RESULTS = [
    {
        "original": {"n_pairs": 10, "gold": 0.5, "accuracy": 0.6, "matched": 0.5},
        "better": {"n_pairs": 20, "gold": 0.75, "accuracy": 0.7, "matched": 0.6},
        "random": {"n_pairs": 0, "gold": 0.0, "accuracy": 0.5, "matched": 0.5},
    },
    {
        "original": {"n_pairs": 10, "gold": 0.25, "accuracy": 0.8, "matched": 0.6},
        "better": {"n_pairs": 20, "gold": 1.0, "accuracy": 0.9, "matched": 0.8},
        "random": {"n_pairs": 0, "gold": 0.0, "accuracy": 0.5, "matched": 0.5},
    },
]


def test_intervals_are_students_and_paired_by_split():
    rows = {row["method"]: row for row in summarize(RESULTS)}
    # Of two values a and b the mean's half-width is t |a - b| / 2, and t of one degree of
    # freedom is tan(0.475 pi) = 12.706.
    t = np.tan(0.475 * np.pi)
    assert rows["better"]["n_pairs"] == 20
    assert rows["better"]["gold"] == pytest.approx([0.875, t * 0.125])
    assert rows["better"]["difference"] == pytest.approx([0.5, t * 0.25])  # of 0.25 and 0.75
    assert rows["better"]["accuracy"] == pytest.approx([0.8, t * 0.1])
    assert rows["better"]["matched"] == pytest.approx([0.7, t * 0.1])
    assert rows["original"]["difference"] == [0, 0]
    narrow = {row["method"]: row for row in summarize(RESULTS, confidence=0.5)}
    assert narrow["better"]["gold"] == pytest.approx([0.875, 0.125])  # tan(pi / 4) = 1


def test_a_single_split_has_no_interval():
    rows = {row["method"]: row for row in summarize(RESULTS[:1])}
    assert rows["better"]["difference"] == [0.25, None]


def test_table_leaves_out_what_means_nothing():
    assert demo_table(summarize(RESULTS[:1])).splitlines() == [
        "| method   | pairs | gold of the pick | against original | accuracy | length-matched |",
        "|----------|------:|-----------------:|-----------------:|---------:|---------------:|",
        "| original |    10 |            0.500 |                  |    0.600 |          0.500 |",
        "| better   |    20 |            0.750 |           +0.250 |    0.700 |          0.600 |",
        "| random   |       |            0.000 |           -0.500 |          |                |",
    ]
    assert "  +0.500 ± 3.177 | 0.800 ± 1.271 |  0.700 ± 1.271 |" in demo_table(summarize(RESULTS))


def test_columns_are_as_wide_as_their_widest_cell():
    table = markdown_table(["name", "n"], [["a", "100"], ["longer", "1"]])
    assert table == "| name   |   n |\n|--------|----:|\n| a      | 100 |\n| longer |   1 |"


def test_candidates_of_about_equal_gold_are_no_pair():
    rewards = np.array([[3.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
    gold = np.array([[1.0, 0.0, 0.5], [0.0, 0.05, 1.0]])
    # First prompt: 1 > 0 and 1 > 0.5 right, 0.5 > 0 a tie. Second: 1 > 0 and 1 > 0.05 right,
    # and 0.05 is no better than 0. Picks have gold 1 and 1.
    lengths = np.array([[10.0, 9.0, 9.0], [10.0, 20.0, 40.0]])  # matched within the first alone
    expected = {"gold": 1.0, "accuracy": 4.5 / 5, "matched": 2.5 / 3}
    assert measure(rewards, gold, lengths) == pytest.approx(expected)


def test_methods_are_named_by_their_factor():
    methods = demo_methods(random_state=3)
    assert methods.pop("original") is None
    for name, augmenter in methods.items():
        assert augmenter.factor == int(name.split()[-1].rstrip("×"))
        assert augmenter.get_params().get("random_state", 3) == 3


def test_every_reward_is_told_the_prompts(monkeypatch, pairs, candidates):
    groups, told = np.arange(len(pairs)) // 2, []

    def record(fit):
        @wraps(fit)
        def wrapper(self, X, *args, **params):
            told.append((type(self).__name__, params.get("groups")))
            return fit(self, X, *args, **params)

        return wrapper

    names = ("BTRewardRegressor", "LinearRewardRegressor", "GPRewardRegressor")
    for name in (*names, "AutoRewardRegressor"):
        reward = getattr(_demo, name)
        monkeypatch.setattr(reward, "fit", record(reward.fit))
    lengths = np.ones_like(candidates[1])
    lengths[:, 0] = 1.1
    split = _demo.Split(pairs, groups, *candidates, lengths, pairs[..., :2], candidates[0][..., :2])
    monkeypatch.setattr(
        _demo, "AutoRewardRegressor", partial(_demo.AutoRewardRegressor, candidates=["linear"])
    )
    results, rewards, fitted = _demo.run_split(split, 0)
    # A network a method, the two others, the teacher of distillation, and what is recommended
    # with its three linear models.
    assert len(told) == len(demo_methods(0)) + 2 + 1 + 4
    for name, given in told:
        np.testing.assert_array_equal(np.sort(given), groups, err_msg=name)  # in any order
    assert list(results) == [*rewards, "longest", "shortest", "random", "oracle"]
    assert set(rewards) == {*fitted, "auto"}
    assert results["LENS 8×"]["n_pairs"] == 8 * len(pairs)
    assert results["random"]["gold"] == pytest.approx(candidates[1].mean())
    assert results["random"]["accuracy"] == results["random"]["matched"] == 0.5
    assert results["longest"]["gold"] == pytest.approx(candidates[1][:, 0].mean())
    assert results["shortest"]["gold"] == pytest.approx(candidates[1][:, 1:].mean())
    assert results["longest"]["n_pairs"] == 0
    assert results["oracle"]["gold"] == candidates[1].max(axis=1).mean()


def test_one_thread_gives_the_threads_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
