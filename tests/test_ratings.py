"""Pairs of responses that were rated one by one."""

import tracemalloc
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn import LinearRewardRegressor, load_candidates, pairs_from_ratings


def numbered(*shape):
    """Return embeddings whose only feature is their place."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)


def places(rated):
    return [tuple(pair) for pair in rated.pairs[..., 0].astype(int).tolist()]


def test_pairs_by_hand():
    # Prompt b: 3 > 1 = 1; prompt a: 5 > 2.
    rated = pairs_from_ratings(numbered(5), [1, 2, 3, 5, 1], ["b", "a", "b", "a", "b"])
    assert places(rated) == [(3, 1), (2, 0), (2, 4)]
    assert rated.groups.tolist() == [0, 1, 1]
    assert rated.gap.tolist() == [3, 2, 2]
    np.testing.assert_allclose(rated.weight, [1.5, 0.75, 0.75])  # each prompt 1.5 of 3
    assert rated.pairs.dtype == np.float32


def test_candidates_are_paired_within_rows():
    X, ratings = numbered(2, 3), np.array([[0.0, 1.0, 3.0], [7.0, 5.0, np.nan]])
    X[1, 2] = np.nan
    rated = pairs_from_ratings(X, ratings)
    assert places(rated) == [(2, 1), (2, 0), (1, 0), (3, 4)]
    assert rated.groups.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(rated.weight, [2 / 3] * 3 + [2])
    # Two rows of one prompt: pairs within rows as before, weights and groups by prompt.
    together = pairs_from_ratings(X, ratings, ["p", "p"])
    assert places(together) == places(rated) and together.groups.tolist() == [0] * 4
    assert together.weight.tolist() == [1] * 4
    assert pairs_from_ratings(X, ratings, weight="pair").weight.tolist() == [1] * 4


def test_a_gap_must_be_exceeded():
    ratings = [[0.0, 1.0, 3.0]]  # gaps of 1, 2 and 3
    for min_gap, kept in ((0.5, 3), (1, 2), (2, 1)):
        rated = pairs_from_ratings(numbered(1, 3), ratings, min_gap=min_gap)
        assert (rated.gap > min_gap).all() and len(rated.gap) == kept


@given(st.data(), st.sampled_from([0.0, 0.5, 1.0]), st.none() | st.integers(1, 4))
def test_pairs_are_those_of_a_loop(data, min_gap, most):
    n = data.draw(st.integers(2, 10))
    ratings = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))) / 2
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    expected = {
        (i, j)
        for i, j in permutations(range(n), 2)
        if groups[i] == groups[j] and ratings[i] - ratings[j] > min_gap
    }
    options = {"min_gap": min_gap, "max_per_prompt": most, "random_state": 0}
    if not expected:
        with pytest.raises(ValueError, match="no pair is left"):
            pairs_from_ratings(numbered(n), ratings, groups, **options)
        return
    rated = pairs_from_ratings(numbered(n), ratings, groups, **options)
    pairs = places(rated)
    assert len(set(pairs)) == len(pairs) and set(pairs) <= expected
    every = places(pairs_from_ratings(numbered(n), ratings, groups, min_gap=min_gap))
    assert pairs == [pair for pair in every if pair in set(pairs)]  # in the order of all
    of_prompt = [np.sum([groups[i] == g for i, _ in expected]) for g in range(4)]
    kept = [np.sum([groups[i] == g for i, _ in pairs]) for g in range(4)]
    assert kept == [c if most is None else min(c, most) for c in of_prompt]
    np.testing.assert_array_equal(rated.gap, [ratings[i] - ratings[j] for i, j in pairs])
    codes = np.unique(groups, return_inverse=True)[1]
    np.testing.assert_array_equal(rated.groups, [codes[i] for i, _ in pairs])
    assert rated.weight.mean() == pytest.approx(1)
    share = np.bincount(rated.groups, rated.weight)
    np.testing.assert_allclose(share[share > 0], share.max())  # every prompt counts alike


def test_every_pair_is_drawn_as_often():
    ratings = [[0.0, 1.0, 2.0, 3.0]]
    drawn = [
        places(pairs_from_ratings(numbered(1, 4), ratings, max_per_prompt=2, random_state=seed))
        for seed in range(300)
    ]
    counts = pd.Series([pair for pairs in drawn for pair in pairs]).value_counts()
    assert len(counts) == 6 and counts.min() > 70  # 100 each
    same = [
        places(pairs_from_ratings(numbered(1, 4), ratings, max_per_prompt=2, random_state=3))
        for _ in range(2)
    ]
    assert same[0] == same[1]


def test_memory_is_that_of_the_pairs_that_are_kept():
    n = 4000  # eight million pairs, 64 MB as numbers alone
    rating = np.random.default_rng(0).normal(size=n)
    tracemalloc.start()
    rated = pairs_from_ratings(numbered(n), rating, np.zeros(n), max_per_prompt=10, random_state=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rated.pairs.shape == (10, 2, 1) and peak < 2e6


# ----------------------------------------------------------------------------------- text
def test_rows_of_text_become_preference_rows(tmp_path):
    path = tmp_path / "rated.jsonl"
    path.write_text(
        '{"prompt": "p", "responses": ["bad", "good", "fair"], "gold": [1, 5, 2]}\n'
        '{"prompt": "q", "responses": ["no", "yes"], "gold": [0, 1], "source": "x"}\n'
        '{"prompt": "p", "responses": ["one", "two"], "gold": [1, 2]}\n'
    )
    rows, gold = load_candidates(path)
    for given_rows in (rows, pd.DataFrame(rows)):
        rated = pairs_from_ratings(given_rows, gold)
        texts = [(row["prompt"], row["chosen"], row["rejected"]) for row in rated.pairs]
        assert texts == [
            ("p", "good", "fair"),
            ("p", "good", "bad"),
            ("p", "fair", "bad"),
            ("q", "yes", "no"),
            ("p", "two", "one"),
        ]
        assert rated.groups.tolist() == [0, 0, 0, 1, 0]
        np.testing.assert_allclose(rated.weight, [0.625] * 3 + [2.5, 0.625])
        assert [row["weight"] for row in rated.pairs] == rated.weight.tolist()
        assert [row["gap"] for row in rated.pairs] == [3, 4, 1, 1, 1]
        assert list(rated.pairs[0]) == ["prompt", "chosen", "rejected", "weight", "gap"]


def test_rated_rows_of_one_response_are_paired_within_their_prompts():
    texts = [("p", "bad"), ("q", "lone"), ("p", "good"), ("p", "fair")]
    rows = [{"prompt": prompt, "response": text, "judge": 1} for prompt, text in texts]
    for given_rows in (rows, pd.DataFrame(rows), {k: [r[k] for r in rows] for k in rows[0]}):
        rated = pairs_from_ratings(given_rows, [1, 3, 5, 2])
        found = [(row["prompt"], row["chosen"], row["rejected"]) for row in rated.pairs]
        assert found == [("p", "good", "fair"), ("p", "good", "bad"), ("p", "fair", "bad")]
        assert rated.gap.tolist() == [3, 4, 1] and rated.groups.tolist() == [0, 0, 0]


def test_a_row_without_a_prompt_has_none():
    rated = pairs_from_ratings([{"responses": ["a", "b"]}], [[0, 1]])
    assert rated.pairs == [{"chosen": "b", "rejected": "a", "weight": 1.0, "gap": 1.0}]


# -------------------------------------------------------------------------------- bad input
ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ONES, [1, 2, 3]), r"shape \(n, d\) need groups"),
        ((ONES, [1, 2, np.nan], [0, 0, 0]), r"ratings\[2\] is nan; ratings are finite"),
        ((ONES, [1, np.inf, 0], [0, 0, 0]), r"ratings\[1\] is inf"),
        ((ONES, [1, 2], [0, 0, 0]), "inconsistent numbers of samples"),
        ((ONES, [1, 2, 3], [0, 0]), "inconsistent numbers of samples"),
        ((ONES, [1, 2, 3], [0, 0, np.nan]), r"groups\[2\] is nan"),
        ((ONES, [1, 2, 3], [0, 1, 2]), "each of the 3 prompts has a single response"),
        ((ONES, [1, 1, 3], [0, 0, 1]), "ratings of a prompt are equal, in all 2 prompts"),
        ((ONES * np.nan, [1, 1, 3], [0, 0, 1]), "Input X contains NaN in row 0"),
        ((np.ones((2, 2, 2)), np.ones((2, 3))), r"shape \(2, 2\), one a response; got \(2, 3\)"),
        ((np.ones((1, 2, 2)), [[1, np.nan]]), r"ratings\[0, 1\] is nan"),
        ((np.full((1, 2, 2), np.nan), [[1, np.nan]]), r"ratings\[0, 0\] is 1.0, but there is no"),
        ((np.ones((2, 2, 2)), np.ones((2, 2)), [1]), "inconsistent numbers of samples"),
        ((np.ones(3), [1, 2, 3]), r"got shape \(3,\)"),
        ((np.array([["a"]]), [1]), "rows with 'responses'"),
        (([{"chosen": "a", "rejected": "b"}], [1]), "column 'responses', got pairs"),
        (([{"responses": ["a"]}], [[1]], [0]), "rows of text know their prompts"),
        (([{"responses": ["a", "b"]}], [[1]]), r"ratings must have the shape \(1, 2\)"),
        (([{"responses": ["a"]}], [[1]]), "each of the 1 prompts has a single"),
    ],
)
def test_bad_ratings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pairs_from_ratings(*arguments)


def test_a_gap_that_leaves_nothing_tells_the_largest():
    with pytest.raises(ValueError, match="differ by 1.5 at most, which is no more than min_gap=2"):
        pairs_from_ratings(ONES, [1, 2.5, 9], [0, 0, 1], min_gap=2)


@pytest.mark.parametrize(
    "options",
    [{"min_gap": -1}, {"max_per_prompt": 0}, {"weight": "response"}, {"random_state": "x"}],
)
def test_options_are_checked(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"'{name}' parameter of pairs_from_ratings"):
        pairs_from_ratings(ONES, [1, 2, 3], [0, 0, 0], **options)


def test_a_reward_learns_from_ratings(candidates):
    X, gold = candidates
    rated = pairs_from_ratings(X, gold)
    reward = LinearRewardRegressor().fit(
        rated.pairs, sample_weight=rated.weight, groups=rated.groups
    )
    assert reward.coef_.argmax() == 0 and reward.score(X, gold) > gold.mean() + 0.5
