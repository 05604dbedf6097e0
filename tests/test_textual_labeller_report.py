"""What the report says of a labeller, by hand, and of labellers with known faults."""

import numpy as np
import pytest

from lens_sklearn.metrics import pair_accuracy_score
from lens_sklearn.textual import LabellerReport, report_labeller

ROWS = [
    {"prompt": "why", "responses": ["aaaaaaaaaa", "bbbbbbbbb", "c"]},
    {"prompt": "how", "responses": ["dddd", "ee"]},
]
GOLD = [[1.0, 3.0, 2.0], [2.0, 1.0]]


def by_text(scores):
    """Return a labeller that knows each text."""
    return lambda prompts, responses: [[scores[t[0]] for t in row] for row in responses]


def length(prompts, responses):
    return [[len(text) for text in row] for row in responses]


def test_numbers_by_hand():
    report = report_labeller(by_text({"a": 2, "b": 2, "c": 1, "d": 0, "e": 1}), ROWS, GOLD)
    # b > a is a tie, b > c is right, c > a is wrong; d > e is wrong
    assert (report.n_prompts, report.n_pairs, report.n_length_matched) == (2, 4, 1)
    assert report.accuracy == 1.5 / 4 and report.length_matched == 0.5 and report.ties == 0.25
    # ranks of gold 1 3 2 against 2.5 2.5 1; 2 1 against 1 2
    assert report.rank_correlation == pytest.approx((0 - 1) / 2)
    # ranks of lengths 3 2 1 against 2.5 2.5 1; 2 1 against 1 2
    assert report.length_correlation == pytest.approx((np.sqrt(3) / 2 - 1) / 2)
    assert report.unjudged == 0 and report.seconds >= 0 and report.name == "<lambda>"
    assert report.first_wins == 0.5 and report.order_changes == 0
    # the longest: wrong, right, wrong; right
    longest = report.longest
    assert longest.accuracy == 0.5 and longest.length_matched == 0 and longest.ties == 0
    assert longest.length_correlation == pytest.approx(1) and longest.longest is None
    assert longest.rank_correlation == pytest.approx((-0.5 + 1) / 2)
    assert report.gain == pytest.approx(1.5 / 4 - 0.5)


def test_accuracies_are_those_of_the_metrics():
    rng = np.random.RandomState(0)
    rows = [
        {"prompt": f"question {i}", "responses": ["x" * n for n in rng.randint(1, 30, 5)]}
        for i in range(30)
    ]
    gold = rng.normal(size=(30, 5)).round(1)
    lengths = np.array([[len(t) for t in row["responses"]] for row in rows])
    scores = gold + 2 * rng.normal(size=gold.shape)
    report = report_labeller(lambda p, r: scores, rows, gold, check_order=False, name="noisy")
    assert report.accuracy == pytest.approx(pair_accuracy_score(scores, gold))
    assert report.length_matched == pytest.approx(
        pair_accuracy_score(scores, gold, lengths=lengths, subset="length_matched")
    )
    assert report.longest.accuracy == pytest.approx(pair_accuracy_score(lengths, gold))
    assert np.isnan(report.first_wins) and np.isnan(report.order_changes)
    low, high = report.accuracy_interval
    per_prompt = [pair_accuracy_score(scores[i : i + 1], gold[i : i + 1]) for i in range(30)]
    width = 2 * 1.96 * np.std(per_prompt, ddof=1) / np.sqrt(30)
    assert low < report.accuracy < high and high - low == pytest.approx(width, rel=0.25)
    again = report_labeller(lambda p, r: scores, rows, gold, check_order=False, name="noisy")
    assert again.accuracy_interval == (low, high)
    other = report_labeller(lambda p, r: scores, rows, gold, check_order=False, random_state=1)
    assert other.accuracy_interval != (low, high)


def test_intervals_draw_prompts_and_not_rows():
    rows = [{"prompt": f"q {i % 4}", "chosen": "a", "rejected": "bb"} for i in range(400)]
    right = {f"q {i}": i != 0 for i in range(4)}

    def judge(prompts, responses):
        return [
            [(t == "a") == right[p] for t in row] for p, row in zip(prompts, responses, strict=True)
        ]

    report = report_labeller(judge, rows, check_order=False)
    assert report.n_prompts == 4 and report.accuracy == 0.75
    assert report.accuracy_interval[0] <= 0.5 and report.accuracy_interval[1] == 1
    one = report_labeller(judge, rows[1:2], check_order=False)
    assert np.isnan(one.accuracy_interval).all() and "1.000 |" in one.to_markdown()


def test_a_labeller_that_prefers_the_first_place_is_found_out():
    rows = [{"prompt": f"q {i}", "chosen": "a", "rejected": "bb"} for i in range(200)]

    def first(prompts, responses):
        return [[-j for j in range(len(row))] for row in responses]

    report = report_labeller(first, rows)
    assert report.first_wins == 1 and report.order_changes == 1
    assert 0.35 < report.accuracy < 0.65  # chosen does not always stand first
    last = report_labeller(lambda p, r: [[0, 1] for _ in r], rows)
    assert last.first_wins == 0
    assert report_labeller(first, ROWS, GOLD).accuracy == 0.5  # as they stand: 1 of 3, 1 of 1
    fair = report_labeller(length, rows)
    assert fair.first_wins == 0.5 and fair.order_changes == 0 and fair.accuracy == 0


def test_a_labeller_may_tell_its_own_position_bias():
    class Both:
        position_bias_ = 0.25  # beyond one half

        def score(self, prompts, responses):
            return np.array(length(prompts, responses))

    report = report_labeller(Both(), [{"prompt": "why", "chosen": "bb", "rejected": "a"}])
    assert report.first_wins == 0.75 and report.name == "Both"


def test_targets_and_ties_of_preference_rows():
    pairs = [("a", "bb"), ("a", "bb"), ("cc", "cc")]
    rows = [{"prompt": "why", "chosen": c, "rejected": r} for c, r in pairs]
    assert report_labeller(length, rows).n_pairs == 2
    targets = [0.2, 0.9, 0.5]
    rows = [{**row, "target": t} for row, t in zip(rows, targets, strict=True)]
    report = report_labeller(length, rows)
    assert report.n_pairs == 2 and report.accuracy == 0.5


def test_what_is_not_judged_or_has_no_gold_is_in_no_pair():
    judge = by_text({"a": None, "b": 2, "c": 1, "d": None, "e": None})
    report = report_labeller(judge, ROWS, GOLD)
    assert report.n_pairs == 1 and report.accuracy == 1 and report.unjudged == 3 / 5
    assert report.longest.accuracy == 1 and report.longest.n_pairs == 1  # on the same pair
    assert report_labeller(length, ROWS, [[1, np.nan, 0], [2, 1]]).n_pairs == 2
    nothing = report_labeller(lambda p, r: [[None] * len(row) for row in r], ROWS, GOLD)
    assert nothing.n_pairs == 0 and nothing.unjudged == 1 and np.isnan(nothing.accuracy)
    assert "nan" not in str(nothing) and np.isnan(nothing.rank_correlation)


def test_a_labeller_that_ties_all_has_no_correlation():
    report = report_labeller(lambda p, r: [[0] * len(row) for row in r], ROWS, GOLD)
    assert report.rank_correlation == report.length_correlation == 0
    assert report.accuracy == 0.5 and report.ties == 1


def test_the_table_shows_all_numbers():
    report = report_labeller(length, ROWS, GOLD)
    lines = report.to_markdown().splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| length | 0.500 [") and lines[3].startswith("| longest | 0.500 [")
    text = str(report).splitlines()
    assert text[0].split("  ")[0] == "labeller" and "correlation with length" in text[0]
    assert text[-1] == ("4 pairs, 1 of about equal length, of 2 prompts; 95 % intervals by prompts")
    assert isinstance(report, LabellerReport) and hash(report)


def test_a_name_stays_in_its_cell():
    report = report_labeller(lambda p, r: length(p, r), ROWS, GOLD)
    assert report.to_markdown().splitlines()[2].startswith(r"| \<lambda\> | ")
    report = report_labeller(length, ROWS, GOLD, name="a|b\nc")
    lines = report.to_markdown().splitlines()
    assert len(lines) == 4 and lines[2].startswith(r"| a\|b c | ")
    assert len(str(report).splitlines()) == 4


@pytest.mark.parametrize(
    ("rows", "gold", "message"),
    [
        (ROWS, [["a", 2, 3], [1, 2]], r"gold\[0\] is .*: expected 3 finite numbers"),
        (ROWS, None, "candidate rows need gold"),
        (ROWS, [[1, 2, 3]], "gold has a row a prompt; got 1 rows for 2"),
        (ROWS, 3.0, "gold has a row a prompt; got float for 2"),
        (ROWS, [[1, 2], [1, 2]], r"gold\[0\] has the shape \(2,\); row 0 has 3 responses"),
        (ROWS, [[1, 2, 3], [1, 2, 3]], r"gold\[1\] is .*: expected 2 finite numbers"),
        (ROWS, [[1, 2, np.inf], [1, 2]], r"gold\[0\] is .*: expected 3 finite numbers"),
        (ROWS, [[1, 1, 1], [2, 2]], "no two responses to one prompt differ in gold"),
        ([{"responses": ["a", "b"]}], [[1, 2]], "row 0: there is no prompt"),
        ([{"prompt": "why", "chosen": "a", "rejected": "b"}], [[1, 0]], "gold is of candidate"),
        ([{"prompt": "why", "chosen": "a", "rejected": "a"}], None, "no two responses"),
    ],
)
def test_what_it_refuses_before_the_labeller_is_asked(rows, gold, message):
    with pytest.raises(ValueError, match=message):
        report_labeller(lambda p, r: pytest.fail("asked"), rows, gold)


def test_scores_that_break_the_protocol_are_named():
    class Odd:
        def score(self, prompts, responses):
            return np.zeros((2, 2))

    with pytest.raises(ValueError, match=r"Odd scored 2 × 3 responses with shape \(2, 2\)"):
        report_labeller(Odd(), ROWS, GOLD)

    class Lists:
        def score(self, prompts, responses):
            return [[0.0] * len(row) for row in responses]

    with pytest.raises(ValueError, match="Lists .* 2 × 3 .*lists of several lengths"):
        report_labeller(Lists(), ROWS, GOLD)

    class Words:
        def score(self, prompts, responses):
            return [["good"] * 3] * 2

    with pytest.raises(ValueError, match="Words .* no numbers"):
        report_labeller(Words(), ROWS, GOLD)
    with pytest.raises(TypeError, match="the labeller is the class Odd"):
        report_labeller(Odd, ROWS, GOLD)
    with pytest.raises(ValueError, match="n_bootstrap == 0"):
        report_labeller(length, ROWS, GOLD, n_bootstrap=0)
