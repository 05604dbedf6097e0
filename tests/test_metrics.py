"""Pair accuracy; Best-of-N: the unbiased estimator, its curve and the scorer."""

import pickle
import tracemalloc
from itertools import combinations, permutations

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV

from lens_sklearn import metrics
from lens_sklearn.metrics import (
    BestOfNScorer,
    best_of_n_curve,
    best_of_n_score,
    calibration_bins,
    count_pairs,
    expected_calibration_error,
    pair_accuracy_score,
)

few_values = st.integers(-3, 3).map(float)  # small integers, so that ties occur


@st.composite
def scored(draw, max_candidates=6):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, max_candidates)))
    rewards = draw(arrays(float, shape, elements=few_values))
    gold = draw(arrays(float, shape, elements=st.floats(-5, 5)))
    return rewards, gold


# --------------------------------------------------------------------- pair accuracy
def test_accuracy_of_pairs_by_hand():
    rewards = [[2.0, 1.0], [0.0, 1.0], [1.0, 1.0], [3.0, -3.0]]  # right, wrong, tie, right
    assert pair_accuracy_score(rewards) == 2.5 / 4
    assert pair_accuracy_score(rewards, sample_weight=[1, 2, 4, 0]) == (1 + 0 + 2) / 7
    # Column 0 wins with probability ¼, 0, 0.9 and ½: agreement ¼, 1, ½ and ½.
    assert pair_accuracy_score(rewards, [0.25, 0.0, 0.9, 0.5]) == pytest.approx(2.25 / 4)
    weighted = pair_accuracy_score(rewards, [0.25, 0.0, 0.9, 0.5], sample_weight=[4, 3, 2, 1])
    assert weighted == pytest.approx((1 + 3 + 1 + 0.5) / 10)


def counted_pair_by_pair(rewards, gold, min_gap, weight):
    """Accuracy over pairs of candidates, one by one."""
    right = counted = 0.0
    for r, g, w in zip(rewards, gold, weight, strict=True):
        for i, j in permutations(range(len(r)), 2):
            if g[i] - g[j] > min_gap:  # False for NaN
                counted += w
                right += w * (1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0)
    return right / counted if counted else None


@given(scored(), st.data(), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([1, 40, 1 << 22]))
def test_accuracy_of_candidates_is_that_of_their_pairs(data, more, min_gap, at_once):
    rewards, gold = data
    mask = more.draw(arrays(bool, rewards.shape))
    mask[:, 0] = False
    rewards[mask] = gold[mask] = np.nan
    weight = more.draw(st.none() | arrays(float, len(gold), elements=st.integers(0, 3)))
    ones = np.ones(len(gold))
    expected = counted_pair_by_pair(rewards, gold, min_gap, ones if weight is None else weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "COMPARISONS", at_once)
        if expected is None:
            with pytest.raises(ValueError, match="differs by more than|weight"):
                pair_accuracy_score(rewards, gold, sample_weight=weight, min_gap=min_gap)
        else:
            score = pair_accuracy_score(rewards, gold, sample_weight=weight, min_gap=min_gap)
            assert score == pytest.approx(expected)


def test_memory_does_not_grow_with_the_prompts():
    gold = np.random.default_rng(0).normal(size=(100, 400))
    tracemalloc.start()
    assert pair_accuracy_score(gold, gold) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 70e6  # all differences of gold at once are 128 MB


def test_pairs_of_all_prompts_are_pooled():
    # Three pairs in order and one that is not: no mean over the two prompts, which is ½.
    rewards = [[1.0, 2.0, 3.0], [2.0, 1.0, np.nan]]
    gold = [[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]]
    assert pair_accuracy_score(rewards, gold) == 3 / 4
    assert pair_accuracy_score(rewards, gold, sample_weight=[1, 3]) == 3 / 6


def test_a_gap_must_be_exceeded():
    gold = [[0.0, 1.0, 3.0]]  # gaps of 1, 2 and 3; the rewards order only that of 1
    rewards = [[1.0, 2.0, 0.0]]
    assert pair_accuracy_score(rewards, gold) == 1 / 3
    assert pair_accuracy_score(rewards, gold, min_gap=0.5) == 1 / 3
    assert pair_accuracy_score(rewards, gold, min_gap=1) == 0


def test_two_candidates_with_gold_are_pairs_with_a_target():
    rng = np.random.default_rng(0)
    rewards, target = rng.integers(0, 3, size=(50, 2)), rng.integers(0, 2, size=50)
    gold = np.stack([target, 1 - target], axis=1)
    weight = rng.random(50)
    for weights in ({}, {"sample_weight": weight}):
        by_target = pair_accuracy_score(rewards, target, **weights)
        assert by_target == pytest.approx(pair_accuracy_score(rewards, gold, **weights))
        assert by_target != pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0],), r"shape \(n, 2\); got \(2,\)"),
        ((np.ones((4, 3)),), r"\(4, 3\).*need their gold as y"),
        ((np.ones((0, 2)),), r"got \(0, 2\)"),
        ((np.ones((4, 2)), np.ones(3)), r"shape \(4,\).*got \(3,\)"),
        ((np.ones((4, 2)), 1.0), r"shape \(4,\).*got \(\)"),
        ((np.ones((4, 3)), np.ones((4, 2))), r"\(4, 3\) and \(4, 2\)"),
        (([[1.0, 2.0], [np.nan, 0.0]],), "rewards is NaN in row 1, column 0"),
        (([[1.0, np.inf], [1.0, 0.0]],), "rewards is infinite in row 0, column 1"),
        ((np.ones((2, 2)), [0.5, 1.5]), r"y\[1\] is 1.5"),
        ((np.ones((2, 2)), [-0.5, 1.0]), r"y\[0\] is -0.5"),
        ((np.ones((2, 2)), [0.5, np.nan]), r"y\[1\] is nan"),
        (([[1.0, np.nan]], [[1.0, 2.0]]), "rewards is NaN in row 0, column 1"),
        (([[1.0, 2.0]], [[1.0, 1.0]]), r"gold that differs by more than 0.0, in any of the 1 pro"),
        (([[1.0, 2.0, np.nan]], [[1.0, 1.0, np.nan]]), "gold that differs"),
    ],
)
def test_bad_input_of_accuracy_says_where(arguments, message):
    with pytest.raises(ValueError, match=message):
        pair_accuracy_score(*arguments)


@pytest.mark.parametrize("gap", [-0.1, np.nan, np.inf])
def test_a_gap_that_is_none_is_named(gap):
    with pytest.raises(ValueError, match=f"min_gap={gap}"):
        pair_accuracy_score([[1.0, 2.0]], [[1.0, 2.0]], min_gap=gap)


def test_a_gap_without_gold_is_refused():
    with pytest.raises(ValueError, match=r"min_gap=0.1 needs gold"):
        pair_accuracy_score([[1.0, 2.0]], min_gap=0.1)
    with pytest.raises(ValueError, match=r"min_gap=0.1 needs gold"):
        pair_accuracy_score([[1.0, 2.0]], [1.0], min_gap=0.1)


GOLD = np.array([[0.0, 1.0], [1.0, 1.0]])  # no pair in the second prompt


@pytest.mark.parametrize("score", [pair_accuracy_score, best_of_n_score])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 2, 3], r"shape \(2,\).*got \(3,\)"),
        (1.0, r"shape \(2,\).*got \(\)"),
        ([1, -1], r"sample_weight\[1\] is -1"),
        ([np.nan, 1], r"sample_weight\[0\] is nan"),
        ([1, np.inf], r"sample_weight\[1\] is inf"),
        ([0, 0], "zero in every row"),
    ],
)
def test_bad_weights_are_named(score, weight, message):
    with pytest.raises(ValueError, match=message):
        score(GOLD, GOLD, sample_weight=weight)


def test_weight_on_prompts_without_pairs_alone():
    with pytest.raises(ValueError, match="every prompt that has a pair"):
        pair_accuracy_score(GOLD, GOLD, sample_weight=[0, 1])
    assert pair_accuracy_score(GOLD, GOLD, sample_weight=[1, 0]) == 1.0


# ----------------------------------------------------------- pairs of about equal length
def test_matched_lengths_differ_by_less_than_a_fifth_of_the_longer():
    rewards = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])  # right in the outer two
    # 20 of 100 is a fifth and 7 of 35 too, which 0.2 * 35 would not say; 19 of 100 is less.
    lengths = [[100, 81], [100, 80], [28, 35], [6, 5]]
    judged = {"lengths": lengths, "subset": "length_matched"}
    assert pair_accuracy_score(rewards, **judged) == 1.0
    assert pair_accuracy_score(-rewards, **judged) == 0.0
    # Targets and weights are those of the pairs that are left: the first and the last.
    target, weight = [1.0, 1.0, 1.0, 0.25], [1.0, 9.0, 9.0, 2.0]
    scored = pair_accuracy_score(rewards, target, sample_weight=weight, **judged)
    assert scored == pytest.approx((1 + 2 * 0.25) / 3)


def test_the_shorter_wins_by_target():
    lengths = [[1, 2], [2, 1], [2, 1], [1, 2], [1, 1]]
    rewards = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    judged = {"lengths": lengths, "subset": "shorter_wins"}
    # Without targets column 0 wins: only the first pair has it shorter.
    assert pair_accuracy_score(rewards, **judged) == 1.0
    # Column 1 wins the second, as the shorter; the third is a tie, the fourth won by the longer.
    scored = pair_accuracy_score(rewards, [0.75, 0.0, 0.5, 0.25, 1.0], **judged)
    assert scored == pytest.approx((0.75 + 0.0) / 2)


@given(scored(), st.data(), st.sampled_from(["length_matched", "shorter_wins"]))
def test_a_subset_of_candidates_is_that_of_their_pairs(data, more, subset):
    rewards, gold = data
    lengths = more.draw(arrays(float, gold.shape, elements=st.integers(1, 12)))
    mask = more.draw(arrays(bool, gold.shape))
    mask[:, 0] = False
    rewards[mask] = gold[mask] = np.nan
    lengths[mask] = more.draw(st.sampled_from([np.nan, np.inf, 3.0]))  # nobody reads it
    right = counted = 0.0
    for r, g, a in zip(rewards, gold, lengths, strict=True):
        for i, j in permutations(range(len(r)), 2):
            if not g[i] > g[j]:  # neither of padding
                continue
            matched = abs(a[i] - a[j]) * 5 < max(a[i], a[j])
            if a[i] < a[j] if subset == "shorter_wins" else matched:
                counted += 1
                right += 1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0
    judged = {"lengths": lengths, "subset": subset}
    assert count_pairs(gold, **judged) == counted
    if counted:
        assert pair_accuracy_score(rewards, gold, **judged) == pytest.approx(right / counted)
    else:
        with pytest.raises(ValueError, match=rf"no pair to order \(subset='{subset}'\)"):
            pair_accuracy_score(rewards, gold, **judged)


def test_length_alone_is_wrong_wherever_the_shorter_wins():
    rng = np.random.default_rng(0)
    gold, lengths = rng.normal(size=(20, 6)), rng.integers(1, 1000, size=(20, 6))
    judged = {"lengths": lengths, "subset": "shorter_wins"}
    assert pair_accuracy_score(lengths, gold, **judged) == 0
    assert pair_accuracy_score(-lengths, gold, **judged) == 1


def test_pairs_are_counted():
    gold = [[0.0, 1.0, 3.0], [1.0, 1.0, np.nan]]
    assert count_pairs(gold) == 3
    assert count_pairs(gold, min_gap=1) == 2
    lengths = [[10, 11, 9], [1, 1, 1]]
    assert count_pairs(gold, lengths=lengths, subset="shorter_wins") == 2  # 9 < 10 and 9 < 11
    assert isinstance(count_pairs(gold), int)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": "longer"}, "subset='longer'; there are all, length_matched, shorter_wins"),
        ({"subset": "shorter_wins"}, "subset='shorter_wins' needs lengths"),
        ({"lengths": [[1, 2]]}, "subset='all' has no use for lengths"),
        (
            {"lengths": [1, 2], "subset": "length_matched"},
            r"shape of the rewards, \(1, 2\); got \(2,\)",
        ),
        (
            {"lengths": [[1, -2]], "subset": "length_matched"},
            "lengths is -2.0 in row 0, column 1",
        ),
        (
            {"lengths": [[np.nan, 2]], "subset": "length_matched"},
            "lengths is nan in row 0, column 0",
        ),
        (
            {"lengths": [[1, np.inf]], "subset": "length_matched"},
            "lengths is inf in row 0, column 1",
        ),
        (
            {"lengths": [[1, 9]], "subset": "length_matched"},
            r"no pair to order \(subset='length_matched'\)",
        ),
    ],
)
@pytest.mark.parametrize("gold", [None, [[1.0, 0.0]]])
def test_bad_subsets_are_named(options, message, gold):
    with pytest.raises(ValueError, match=message):
        pair_accuracy_score([[1.0, 0.0]], gold, **options)


def test_weight_outside_the_subset_alone():
    judged = {"lengths": [[1, 9], [9, 9]], "subset": "length_matched", "sample_weight": [1, 0]}
    with pytest.raises(ValueError, match=r"every pair to order \(subset='length_matched'\) has"):
        pair_accuracy_score(np.ones((2, 2)), **judged)


# ------------------------------------------------------------------------ Best-of-N
def enumerated(rewards, gold, n):
    """Mean over all subsets of size n of the mean gold among the subset's best."""
    valid = ~np.isnan(rewards)
    rewards, gold = rewards[valid], gold[valid]
    n = min(n, len(rewards))
    # Ties share the mean gold of every candidate of that reward.
    gold = np.array([gold[rewards == reward].mean() for reward in rewards])
    subsets = [list(subset) for subset in combinations(range(len(rewards)), n)]
    return np.mean([gold[subset][np.argmax(rewards[subset])] for subset in subsets])


@given(scored(), st.integers(1, 6))
def test_equals_enumeration_of_all_subsets(data, n):
    rewards, gold = data
    n = min(n, rewards.shape[1])
    expected = np.mean([enumerated(*row, n) for row in zip(*data, strict=True)])
    assert best_of_n_score(rewards, gold, n) == pytest.approx(expected, abs=1e-9)


@given(scored(), st.integers(1, 6), st.data())
def test_padding_is_as_if_not_there(data, n, more):
    rewards, gold = (values.copy() for values in data)
    n = min(n, rewards.shape[1])
    mask = more.draw(arrays(bool, rewards.shape))
    mask[:, 0] = False
    rewards[mask] = gold[mask] = np.nan
    expected = np.mean([enumerated(*row, n) for row in zip(rewards, gold, strict=True)])
    assert best_of_n_score(rewards, gold, n) == pytest.approx(expected, abs=1e-9)


@given(scored())
def test_blind_to_monotone_maps_of_the_reward(data):
    rewards, gold = data
    assert best_of_n_score(np.exp(rewards) * 3 - 7, gold) == pytest.approx(
        best_of_n_score(rewards, gold)
    )


@given(scored())
def test_ends_and_bounds(data):
    rewards, gold = data
    assert best_of_n_score(rewards, gold, 1) == pytest.approx(gold.mean())
    distinct = rewards + np.linspace(0, 0.5, rewards.shape[1])
    picked = np.take_along_axis(gold, distinct.argmax(1)[:, None], 1).mean()
    assert best_of_n_score(distinct, gold) == pytest.approx(picked)
    oracle = best_of_n_score(gold, gold)
    assert gold.min(1).mean() - 1e-9 <= best_of_n_score(rewards, gold) <= oracle + 1e-9


def test_large_n_stays_finite_and_oracle_rises():
    gold = np.random.default_rng(0).normal(size=(3, 2000))
    curve = best_of_n_curve(gold, gold, [1, 10, 1000, 2000])
    assert np.isfinite(curve.mean).all()
    assert (np.diff(curve.mean) > 0).all()


def test_weights_weigh_prompts():
    rewards, gold = np.eye(2), np.array([[1.0, 0.0], [0.0, 5.0]])
    assert best_of_n_score(rewards, gold, sample_weight=[1, 3]) == 4.0


# ----------------------------------------------------------------------------- curve
def test_curve_is_the_score_at_each_n():
    rng = np.random.default_rng(0)
    rewards, gold = rng.normal(size=(2, 30, 12))
    curve = best_of_n_curve(rewards, gold, random_state=0)
    assert curve.n.tolist() == [1, 2, 4, 8, 12]
    for n, mean, each in zip(curve.n, curve.mean, curve.per_prompt.T, strict=True):
        assert mean == pytest.approx(best_of_n_score(rewards, gold, n))
        assert each.mean() == pytest.approx(mean)
    assert (curve.lower <= curve.mean).all() and (curve.mean <= curve.upper).all()
    # log n - (n - 1) / n
    expected = [0, 0.193147, 0.636294, 1.204442, 1.568240]
    np.testing.assert_allclose(curve.kl_bound, expected, atol=1e-6)
    again = best_of_n_curve(rewards, gold, random_state=0)
    np.testing.assert_array_equal(again.lower, curve.lower)


@pytest.mark.parametrize(("confidence", "least", "most"), [(0.95, 0.88, 0.99), (0.5, 0.4, 0.6)])
def test_interval_covers_the_truth_as_often_as_it_says(confidence, least, most):
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        gold = rng.normal(size=(60, 2))
        curve = best_of_n_curve(
            gold, gold, [2], n_bootstrap=300, confidence=confidence, random_state=seed
        )
        covered.append(curve.lower[0] <= 1 / np.sqrt(np.pi) <= curve.upper[0])
    assert least < np.mean(covered) < most


def test_the_interval_is_of_95_per_cent_and_1000_samples_by_default(candidates):
    gold = candidates[1]
    curve = best_of_n_curve(gold, gold, random_state=0)
    same = best_of_n_curve(gold, gold, n_bootstrap=1000, confidence=0.95, random_state=0)
    np.testing.assert_array_equal(curve.lower, same.lower)
    np.testing.assert_array_equal(curve.upper, same.upper)


def test_the_interval_is_that_of_the_bootstrap():
    # Two prompts, gold 0 and 1: a sample's mean is 0, ½ or 1 with chances ¼, ½, ¼.
    curve = best_of_n_curve([[0.0], [0.0]], [[0.0], [1.0]], n_bootstrap=4000, random_state=0)
    assert (curve.lower.tolist(), curve.upper.tolist()) == ([0.0], [1.0])
    curve = best_of_n_curve(
        [[0.0], [0.0]], [[0.0], [1.0]], n_bootstrap=4000, confidence=0.4, random_state=0
    )
    assert (curve.lower.tolist(), curve.upper.tolist()) == ([0.5], [0.5])


def test_a_curve_does_not_change():
    curve = best_of_n_curve([[0.0, 1.0]], [[0.0, 1.0]], random_state=0)
    with pytest.raises(AttributeError):
        curve.mean = curve.upper


# ------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("rewards", "gold", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), r"\(2, 3\) and \(2, 2\)"),
        (np.ones(3), np.ones(3), "n_prompts, N"),
        ([[1.0, np.nan]], [[1.0, 2.0]], "rewards is NaN in row 0, column 1"),
        ([[1.0], [2.0]], [[1.0], [np.nan]], "gold is NaN in row 1, column 0"),
        ([[1.0, np.inf]], [[1.0, 2.0]], "rewards is infinite in row 0, column 1"),
        ([[1.0], [np.nan]], [[1.0], [np.nan]], "row 1 has no candidate"),
        (np.ones((0, 3)), np.ones((0, 3)), "no prompts"),
    ],
)
def test_bad_input_says_where(rewards, gold, message):
    with pytest.raises(ValueError, match=message):
        best_of_n_score(rewards, gold)


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_bad_n_is_named(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        best_of_n_score([[1.0]], [[1.0]], n)


# ---------------------------------------------------------------------------- scorer
class Scaled(BaseEstimator):
    """Rewards are the first feature, times a parameter."""

    def __init__(self, factor=1):
        self.factor = factor

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return self.factor * np.asarray(X)[..., 0]

    def score(self, X, y=None):
        return 0.0


@pytest.mark.parametrize("routing", [False, True])
def test_scorer_in_grid_search(candidates, routing):
    scorer = BestOfNScorer(*candidates)
    assert check_scoring(Scaled(), scoring=scorer) is scorer
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(Scaled(), {"factor": [-1, 1]}, scoring=scorer, cv=2)
        assert search.fit(np.ones((4, 2, 12))).best_params_ == {"factor": 1}
        oracle = candidates[1].max(axis=1).mean()
        assert search.best_score_ == pytest.approx(oracle)
        both = {"best_of_n": scorer, "best_of_2": BestOfNScorer(*candidates, n=2)}
        search = GridSearchCV(Scaled(), {"factor": [-1, 1]}, scoring=both, refit="best_of_2", cv=2)
        assert search.fit(np.ones((4, 2, 12))).best_params_ == {"factor": 1}


def test_scorer_pickles_and_shows_itself(candidates):
    scorer = pickle.loads(pickle.dumps(BestOfNScorer(*candidates, n=4)))
    assert repr(scorer) == "BestOfNScorer(<10 prompts>, n=4)"
    X, gold = candidates
    assert scorer(Scaled()) == best_of_n_score(X[..., 0], gold, 4)
    assert scorer(Scaled()) < BestOfNScorer(X, gold)(Scaled()) == gold.max(axis=1).mean()


def test_the_first_bad_row_of_pairs_is_named_and_other_shapes_refused():
    with pytest.raises(ValueError, match=r"y\[1\] is 2.0"):
        pair_accuracy_score(np.zeros((4, 2)), [1, 2, 0, 3])
    with pytest.raises(ValueError, match=r"shape \(n, 2\); got \(4, 2, 2\)"):
        pair_accuracy_score(np.zeros((4, 2, 2)))


# ------------------------------------------------------------------------ calibration
def test_calibration_error_by_hand():
    probabilities = [0.05, 0.1, 0.15, 0.95, 1.0, 0.0]
    targets = [0, 1, 0, 1, 0.5, 0]
    counts, predicted, observed = calibration_bins(probabilities, targets)
    assert counts.tolist() == [2, 2, 0, 0, 0, 0, 0, 0, 0, 2]  # 0.1 opens a bin, 1 is in the last
    np.testing.assert_allclose(predicted[[0, 1, 9]], [0.05, 0.25, 1.95])
    np.testing.assert_allclose(observed[[0, 1, 9]], [0, 1, 1.5])
    expected = (0.05 + 0.75 + 0.45) / 6
    assert expected_calibration_error(probabilities, targets) == pytest.approx(expected)
    one = expected_calibration_error(probabilities, targets, n_bins=1)
    assert one == pytest.approx(abs(2.25 - 2.5) / 6)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_calibration_error_is_of_the_sums_and_lies_below_a_coin_that_is_sure(n, n_bins, seed):
    rng = np.random.default_rng(seed)
    p, t = rng.random(n).round(1), rng.integers(0, 2, n)
    error = expected_calibration_error(p, t, n_bins=n_bins)
    whole = expected_calibration_error(p, t, n_bins=1)
    assert whole - 1e-12 <= error <= np.abs(p - t).mean() + 1e-12  # bins part what cancels
    order = rng.permutation(n)
    again = expected_calibration_error(p[order], t[order], n_bins=n_bins)
    assert again == pytest.approx(error)
    assert expected_calibration_error(t, t, n_bins=n_bins) == 0


def test_weights_of_the_calibration_error_are_numbers_of_copies():
    rng = np.random.default_rng(0)
    p, t, n = rng.random(30), rng.integers(0, 2, 30), rng.integers(0, 4, 30)
    weighed = expected_calibration_error(p, t, sample_weight=n / 7)
    copied = expected_calibration_error(np.repeat(p, n), np.repeat(t, n))
    assert weighed == pytest.approx(copied)
    assert weighed != pytest.approx(expected_calibration_error(p, t))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1], r"must have the shape \(2,\); got \(1,\)"),
        ([1, -1], r"sample_weight\[1\] is -1.0"),
        ([np.inf, 1], r"sample_weight\[0\] is inf"),
        ([0, 0], "every weight is 0"),
    ],
)
def test_weights_of_the_calibration_error_are_checked(weight, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error([0.5, 0.5], [0, 1], sample_weight=weight)


def test_every_tenth_lies_in_the_bin_that_it_opens():
    for n_bins in (10, 100):
        edges = np.arange(n_bins) / n_bins
        assert calibration_bins(edges, 0 * edges, n_bins)[0].tolist() == [1] * n_bins


@pytest.mark.parametrize(
    ("probabilities", "targets", "n_bins", "message"),
    [
        ([0.5, 1.5], [0, 1], 10, r"probabilities\[1\] is 1.5"),
        ([0.5, np.nan], [0, 1], 10, r"probabilities\[1\] is nan"),
        ([0.5, 0.5], [-1, 1], 10, r"targets\[0\] is -1.0"),
        ([0.5, 0.5], [0], 10, r"got \(2,\) and \(1,\)"),
        ([[0.5, 0.5]], [[0, 1]], 10, r"got \(1, 2\)"),
        ([], [], 10, r"n >= 1; got \(0,\)"),
        ([0.5], [0], 0, "n_bins=0"),
        ([0.5], [0], 2.5, "n_bins=2.5"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities, targets, n_bins, message):
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(probabilities, targets, n_bins=n_bins)
