"""The table of a comparison by hand, its learning curves, and the sentences that it allows."""

import json

import numpy as np
import pytest
from scipy import stats

from lens_sklearn._comparison_table import (
    Comparison,
    JudgedPairs,
    differs,
    interval_text,
    make_curve,
    make_table,
)

LENGTHS = np.array([[100, 90], [10, 100], [50, 100], [100, 10]])
PAIRS = JudgedPairs(np.array([1, 1, 0, 0.5]), np.ones(4), np.array([0, 0, 1, 2]), LENGTHS)


def test_pairs_are_judged_by_hand():
    values = PAIRS.judge([[1.0, -2.0, -3.0, 4.0], [1.0, 0.0, 3.0, 4.0]])
    np.testing.assert_array_equal(values["accuracy"], [1, 0.25, 0.5, 0.5])
    # The first pair's lengths alone are within a fifth. In the second the shorter one won, in the
    # third column 1, which is longer; a tie has no winner.
    np.testing.assert_array_equal(values["length_matched"], [1, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(values["shorter_wins"], [np.nan, 0.25, np.nan, np.nan])
    loss = np.log1p(np.exp([-1.0, 2.0, -3.0, 4.0])), np.log1p(np.exp([-1.0, 0.0, 3.0, 4.0]))
    np.testing.assert_allclose(values["log_loss"], np.mean(loss, axis=0) - [0, 0, 0, 2])
    assert set(JudgedPairs(PAIRS.target, PAIRS.weight, PAIRS.groups, None).judge([[0.0] * 4])) == {
        "accuracy",
        "log_loss",
    }


def judged(*columns):
    return [{"accuracy": np.array(c, float), "log_loss": np.zeros(len(c))} for c in columns]


def table_of(values, gold=None, groups=None, weight=None):
    n = len(next(iter(values.values()))["accuracy"])
    weight = np.ones(n) if weight is None else weight
    pairs = JudgedPairs(np.ones(n), weight, np.arange(n) if groups is None else groups, None)
    return {row["method"]: row for row in make_table(values, pairs, gold or {}, "linear")}


def test_differences_are_paired_and_clustered():
    linear, other = judged([1, 1, 0, 0, 1, 0], [1, 1, 1, 0, 1, 1])
    rows = table_of({"linear": linear, "gp": other})
    assert rows["gp"]["accuracy"] == pytest.approx(5 / 6)
    assert rows["gp"]["accuracy_difference"] == pytest.approx(2 / 6)
    difference = np.array([0, 0, 1, 0, 0, 1])
    assert rows["gp"]["accuracy_p"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
    assert rows["linear"]["accuracy_difference"] == 0 and np.isnan(rows["linear"]["accuracy_p"])
    whole = table_of({"linear": linear, "gp": other}, groups=np.array([0, 0, 0, 1, 1, 1]))
    assert whole["gp"]["accuracy_difference_half_width"] == 0  # 1/3 in both prompts
    heavy = table_of({"linear": linear, "gp": other}, weight=np.array([1, 1, 5, 1, 1, 1]))
    assert heavy["gp"]["accuracy_difference"] == pytest.approx(6 / 10)
    assert np.isnan(rows["gp"]["gold"]) and np.isnan(rows["gp"]["length_matched"])


def test_p_values_are_corrected_for_methods_but_not_for_random():
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 2, size=(4, 40))
    names = ["linear", "gp", "network", "random"]
    rows = table_of(dict(zip(names, judged(*columns), strict=True)))
    small, large = sorted(rows[name]["accuracy_p"] for name in ("gp", "network"))
    assert min(rows[n]["accuracy_p_holm"] for n in ("gp", "network")) == min(2 * small, 1)
    assert max(rows[n]["accuracy_p_holm"] for n in ("gp", "network")) == min(
        max(2 * small, large), 1
    )
    assert np.isnan(rows["random"]["accuracy_p_holm"])


def test_gold_is_by_prompt_of_the_candidates():
    linear, other = judged([1, 0], [0, 1])
    gold = {"linear": np.array([1.0, 2.0, 3.0]), "gp": np.array([2.0, 2.0, 5.0])}
    rows = table_of({"linear": linear, "gp": other}, gold=gold)
    assert rows["gp"]["gold"] == 3 and rows["gp"]["gold_difference"] == 1
    assert rows["gp"]["gold_p"] == pytest.approx(stats.ttest_rel(*gold.values()).pvalue)


def test_the_gain_of_a_doubling_is_the_slope_over_log2():
    parts = judged([0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0])  # 0, 1/4, 1/2
    pairs = JudgedPairs(np.ones(4), np.ones(4), np.arange(4), None)
    curve = make_curve([25, 50, 100], parts, pairs)
    assert curve["accuracy"] == [0, 0.25, 0.5] and curve["n_pairs"] == [25, 50, 100]
    slopes = np.array([0.5, 0.5, 0, 0])  # each pair's own
    half_width = stats.t.ppf(0.975, 3) * slopes.std(ddof=1) / 2
    np.testing.assert_allclose(curve["accuracy_gain"], [0.25, half_width])
    assert curve["log_loss_gain"] == [0, 0]
    uneven = make_curve([10, 20, 160], parts, pairs)  # 0, 1 and 4 doublings
    expected = np.polyfit([0, 1, 4], [0, 0.25, 0.5], 1)[0]
    assert uneven["accuracy_gain"][0] == pytest.approx(expected)


def found(differences, *, curves=None, matched=None, counts=None):
    """Return a comparison with these differences in accuracy and corrected p-values."""
    table = []
    for name, (difference, p) in {"linear": (0.0, np.nan), **differences}.items():
        row = {"method": name, "label": name.upper(), "accuracy": 0.7 + difference}
        row |= {"accuracy_half_width": 0.1}
        row |= {"accuracy_difference": difference, "accuracy_p_holm": p}
        difference, p = (matched or {}).get(name, (0.0, 1.0))
        row |= {"length_matched_difference": difference, "length_matched_p_holm": p}
        table.append(row)
    return Comparison(table, "linear", curves or {}, counts or {}, {}, {})


@pytest.mark.parametrize(
    ("differences", "sentences"),
    [
        ({}, ["No method beats the LINEAR model beyond chance."]),
        ({"gp": (0.1, 0.06)}, ["No method beats the LINEAR model beyond chance."]),
        ({"gp": (0.1, 0.04)}, ["GP beats the LINEAR model beyond chance."]),
        (
            {"gp": (0.1, 0.04), "auto": (0.1, 0.0), "lens": (-0.1, 0.01)},
            ["GP and AUTO beat the LINEAR model beyond chance.", "Worse beyond chance: LENS."],
        ),
        (
            {"longest": (0.01, 0.9), "shortest": (-0.5, 0.01), "random": (-0.2, np.nan)},
            [
                "No method beats the LINEAR model beyond chance.",
                "The longest response is the better one in 0.710 of the pairs, without any model; "
                "it is not shown that the LINEAR model knows more than this.",
            ],
        ),
        ({"longest": (-0.1, 0.01)}, ["No method beats the LINEAR model beyond chance."]),
        ({"longest": (-0.3, 0.9)}, ["No method beats the LINEAR model beyond chance."]),
    ],
)
def test_what_is_concluded(differences, sentences):
    assert found(differences).conclusions == sentences


def test_the_conclusion_is_drawn_twice_and_the_curve_is_read():
    curves = {
        "linear": {"n_pairs": [25.0, 100.0], "accuracy_gain": [0.5, 0.1]},
        "auto": {
            "n_pairs": [24.6, 100.2],
            "accuracy": [0.6, 0.988],
            "accuracy_gain": [0.012, 0.008],
        },
    }
    comparison = found(
        {"auto": (0.1, 0.01)},
        matched={"auto": (0.0, 1.0)},
        counts={"pairs": 40, "length_matched": 12},
        curves=curves,
    )
    assert comparison.conclusions == [
        "AUTO beats the LINEAR model beyond chance.",
        "No method beats the LINEAR model beyond chance on the 12 pairs of about equal length.",
        "Twice as many pairs would add +0.012 [+0.004, +0.020] to the accuracy of AUTO "
        "(extrapolated from 25 to 100 pairs).",
    ]
    curves["auto"]["accuracy"] = [0.6, 0.989]
    assert comparison.conclusions[-1] == (
        "More pairs can add 0.011 to the accuracy of AUTO at most: a line through 25 to 100 pairs "
        "passes 1 at twice as many."
    )
    assert not differs(comparison.row("linear"), "accuracy", 1)
    with pytest.raises(KeyError, match="gp"):
        comparison.row("gp")


def test_a_reference_that_knows_nothing_is_told_first():
    comparison = found({})
    comparison.row("linear")["accuracy"] = 0.59
    assert comparison.conclusions[0] == (
        "The LINEAR model is not above chance: it orders 0.590 [0.490, 0.690] of the pairs. More "
        "pairs, or an embedding that tells more, are wanted first."
    )
    comparison.row("linear")["accuracy"] = 0.61
    assert comparison.conclusions == found({}).conclusions


def test_pairs_of_equal_length_alone_are_not_told_of_twice():
    assert len(found({}, counts={"pairs": 40, "length_matched": 40}).conclusions) == 1
    assert len(found({}, counts={"pairs": 40, "length_matched": 0}).conclusions) == 1
    assert len(found({}, counts={"pairs": 40, "length_matched": 39}).conclusions) == 2


def test_everything_is_json_without_nan():
    linear, other = judged([1, 0], [0, 1])
    pairs = JudgedPairs(np.ones(2), np.ones(2), np.arange(2), None)
    table = make_table({"linear": linear, "gp": other}, pairs, {}, "linear")
    for row in table:
        row["label"] = row["method"]
    content = Comparison(table, "linear", {}, {"pairs": 2}, {}, {}).to_dict()
    again = json.loads(json.dumps(content, allow_nan=False))
    assert again["table"][0]["gold"] is None and again["table"][1]["accuracy"] == 0.5
    assert again["conclusions"][-1] == "No method beats the linear model beyond chance."
    assert interval_text(0.1, np.nan) == "+0.100"
