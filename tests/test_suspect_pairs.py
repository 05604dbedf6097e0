"""Pairs whose label is unlike the others', found without their own prompts."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline

from lens_sklearn import (
    EmbeddingScaler,
    LinearRewardRegressor,
    RepeatAugmenter,
    suspect_pairs,
)
from lens_sklearn.datasets import make_preference_pairs


class FirstFeature(BaseEstimator):
    """Log-odds are the difference of the first feature; notes what it was fitted on."""

    fits = []

    def fit(self, X, y=None, groups=None):
        FirstFeature.fits.append((np.asarray(X)[:, 0, 0].tolist(), y, groups))
        return self

    def decision_function(self, X):
        return X[:, 0, 0] - X[:, 1, 0]


class Longer(BaseEstimator):
    """Log-odds of rows of text are the difference of their lengths."""

    def fit(self, X, y=None):
        return self

    def decision_function(self, X):
        return np.array([len(row["chosen"]) - len(row["rejected"]) for row in X], dtype=float)


class Counted(FirstFeature):
    """Notes the weights as well; log-odds are 0 without any."""

    def fit(self, X, y=None, sample_weight=None, groups=None):
        self.total_ = 0 if sample_weight is None else sum(sample_weight)
        Counted.fits.append((np.asarray(X)[:, 0, 0].tolist(), y, sample_weight))
        return self


def pairs_with(differences):
    pairs = np.zeros((len(differences), 2, 2))
    pairs[:, 0, 0] = differences
    return pairs


def test_the_least_likely_label_comes_first():
    found = suspect_pairs(FirstFeature(), pairs_with([2.0, -3.0, 0.5, -1.0]), n_splits=2)
    assert found.index.tolist() == [1, 3, 2, 0]
    assert found.log_odds.tolist() == [-3.0, -1.0, 0.5, 2.0]
    np.testing.assert_allclose(found.probability, expit([-3.0, -1.0, 0.5, 2.0]))


def test_targets_say_which_side_the_label_is_on():
    y = [0.0, 0.0, 1.0, 0.5]  # log-odds for the label: -2, 3, .5 and 0
    found = suspect_pairs(FirstFeature(), pairs_with([2.0, -3.0, 0.5, -9.0]), y, n_splits=2)
    assert found.index.tolist() == [0, 3, 2, 1]
    np.testing.assert_allclose(found.probability, expit([-2.0, 0.0, 0.5, 3.0]))


def test_no_pair_is_judged_with_its_own_prompt():
    FirstFeature.fits.clear()
    groups = np.array([0, 0, 1, 1, 2, 2])
    pairs = pairs_with([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    suspect_pairs(FirstFeature(), pairs, groups=groups, n_splits=3)
    assert len(FirstFeature.fits) == 3
    left_out = []
    for seen, y, prompts in FirstFeature.fits:
        assert y is None and len(seen) == len(prompts) == 4
        assert set(groups[np.array(seen, dtype=int)]) == set(prompts)
        left_out += set(range(3)) - set(prompts)
    assert sorted(left_out) == [0, 1, 2]


def test_rows_of_text_are_grouped_by_their_prompts():
    rows = [{"prompt": f"p{i % 3}", "chosen": "x" * i, "rejected": "y" * 4} for i in range(1, 7)]
    found = suspect_pairs(Longer(), rows, n_splits=3)
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.rows(rows, 1) == [{"row": 0, "probability": found.probability[0]} | rows[0]]
    with pytest.raises(ValueError, match="n_splits=4 and 3 prompts"):
        suspect_pairs(Longer(), rows, n_splits=4)


def test_a_flipped_label_stands_out_on_data():
    toy = make_preference_pairs(n_pairs=200, n_features=6, random_state=0)
    pairs = toy.pairs.copy()
    flipped = np.arange(0, 200, 10)
    pairs[flipped] = pairs[flipped, ::-1]
    for reward in (LinearRewardRegressor(), make_pipeline("passthrough", LinearRewardRegressor())):
        found = suspect_pairs(reward, pairs)
        rank = np.empty(200)
        rank[found.index] = np.arange(200)
        assert rank[flipped].mean() < 60 < 90 < np.delete(rank, flipped).mean()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"groups": [0, 1]}, r"groups must have shape \(4,\)"),
        ({"y": [1, 0, 1]}, r"y must have shape \(4,\)"),
    ],
)
def test_lengths_are_checked(params, message):
    with pytest.raises(ValueError, match=message):
        suspect_pairs(FirstFeature(), pairs_with([1.0, 2.0, 3.0, 4.0]), n_splits=2, **params)


def test_candidates_are_no_pairs():
    with pytest.raises(ValueError, match="expected preference rows"):
        suspect_pairs(Longer(), [{"prompt": "p", "responses": ["a", "b"]}] * 5)


@pytest.mark.parametrize("container", ["dict of columns", "DataFrame"])
def test_rows_may_be_in_any_container(container):
    rows = [{"prompt": f"p{i}", "chosen": "x" * i, "rejected": "y" * 4} for i in range(1, 7)]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    given = columns if container == "dict of columns" else pd.DataFrame(columns)
    found = suspect_pairs(Longer(), given, n_splits=3)
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5]
    assert [row["chosen"] for row in found.rows(given, 2)] == ["x", "xx"]


def test_copies_of_a_pair_do_not_judge_it():
    toy = make_preference_pairs(n_pairs=20, n_features=3, random_state=0)
    copies = RepeatAugmenter(factor=2).fit_transform(toy.pairs)
    with pytest.raises(ValueError, match="AugmentedPairs have copies .* give the original pairs"):
        suspect_pairs(LinearRewardRegressor(), copies)


def test_errors_name_the_pair_as_it_was_given():
    pairs = pairs_with(np.arange(10.0))
    with pytest.raises(ValueError, match=r"y\[9\] is nan"):
        suspect_pairs(FirstFeature(), pairs, [1.0] * 9 + [np.nan])
    broken = pairs.copy()
    broken[9, 1, 0] = np.inf
    with pytest.raises(ValueError, match="infinity in row 9"):
        suspect_pairs(FirstFeature(), broken)
    FirstFeature.fits.clear()
    dropped = pairs.copy()
    dropped[7, 1] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 10 pairs \(first: row 7\)") as said:
        found = suspect_pairs(FirstFeature(), dropped)
    assert len(said) == 1 and found.index[-1] == 7 and np.isnan(found.log_odds[-1])
    assert np.isfinite(found.log_odds[:-1]).all()
    assert all(7.0 not in seen for seen, _, _ in FirstFeature.fits)


@pytest.mark.parametrize("n_splits", [1, 0, True, 2.5, "5", None])
def test_parts_are_a_whole_number(n_splits):
    with pytest.raises(ValueError, match="n_splits=.* whole number from 2"):
        suspect_pairs(FirstFeature(), pairs_with(np.arange(10.0)), n_splits=n_splits)


@pytest.mark.parametrize("shape", [(10, 3), (10, 4, 3), (1, 10, 2, 3)])
def test_other_embeddings_are_no_pairs(shape):
    with pytest.raises(ValueError, match=r"pairs must have the shape \(n, 2, d\)"):
        suspect_pairs(FirstFeature(), np.ones(shape))


def test_groups_may_be_of_any_name_but_none():
    pairs = pairs_with(np.arange(4.0))
    with pytest.raises(ValueError, match=r"groups\[1\] is None"):
        suspect_pairs(FirstFeature(), pairs, groups=["a", None, "b", "c"], n_splits=2)


def rows_with(**columns):
    rows = [{"prompt": f"p{i}", "chosen": "x" * (i + 1), "rejected": "yy"} for i in range(4)]
    return [row | {k: values[i] for k, values in columns.items()} for i, row in enumerate(rows)]


def test_weights_go_to_each_fit_and_what_weighs_nothing_is_judged_alone():
    Counted.fits.clear()
    weight = np.array([1.0, 2.0, 0.0, 4.0])
    given = pairs_with([0.0, 1.0, 2.0, 3.0]), [1, 1, 0, 1], weight
    found = suspect_pairs(Counted(), *given, n_splits=4)
    assert sorted(found.index) == [0, 1, 2, 3] and found.index[0] == 2
    for seen, y, weights in Counted.fits:
        assert 2.0 not in seen
        assert weights.tolist() == weight[np.array(seen, dtype=int)].tolist()
        assert y.tolist() == [1.0] * len(seen)
    assert sorted(len(seen) for seen, _, _ in Counted.fits) == [2, 2, 2, 3]


def test_log_odds_are_those_of_weighted_fits_without_the_prompt():
    toy = make_preference_pairs(n_pairs=20, n_features=3, random_state=0)
    groups, weight = np.arange(20) % 4, 1.0 + np.arange(20) % 3
    reward = make_pipeline("passthrough", LinearRewardRegressor(Cs=[0.1]))
    found = suspect_pairs(reward, toy.pairs, None, weight, groups=groups, n_splits=4)
    expected = np.empty(20)
    for prompt in range(4):
        kept = groups != prompt
        fitted = LinearRewardRegressor(Cs=[0.1])
        fitted.fit(toy.pairs[kept], None, weight[kept], groups=groups[kept])
        expected[~kept] = fitted.decision_function(toy.pairs[~kept])
    np.testing.assert_allclose(found.log_odds, expected[found.index], rtol=1e-6)


def test_targets_and_weights_of_rows_are_read():
    class Text(Longer):
        seen = []

        def fit(self, X, y=None, sample_weight=None):
            Text.seen.append((y, sample_weight))
            return self

    rows = rows_with(target=["1", "0", "1", "0.5"], weight=[1, 0, 1, 1])
    found = suspect_pairs(Text(), rows, n_splits=2)  # log-odds -1, 0, 1 and 2
    assert found.index.tolist() == [0, 1, 3, 2]
    assert sorted(sum((y.tolist() for y, _ in Text.seen), [])) == [0.5, 1.0, 1.0]
    assert sum(sum(w) for _, w in Text.seen) == 3  # row 1 is learned from in neither part
    again = suspect_pairs(Text(), rows, [1, 1, 1, 0], [1, 1, 1, 1], n_splits=2)
    assert again.index.tolist() == [3, 0, 1, 2]  # what is given comes before the columns


def test_what_gives_no_log_odds_is_refused():
    for reward in (EmbeddingScaler(), make_pipeline(EmbeddingScaler())):
        with pytest.raises(TypeError, match="^EmbeddingScaler gives no log-odds"):
            suspect_pairs(reward, rows_with(weight=[1, 2, 1, 1]), n_splits=2)


def test_a_reward_without_weights_refuses_them():
    with pytest.raises(ValueError, match="a Longer takes no sample_weight.*the column 'weight'"):
        suspect_pairs(Longer(), rows_with(weight=[1, 2, 1, 1]), n_splits=2)
    with pytest.raises(ValueError, match="takes no sample_weight"):
        suspect_pairs(make_pipeline("passthrough", Longer()), rows_with(weight=[1] * 4), n_splits=2)


@pytest.mark.parametrize(
    ("weight", "y", "message"),
    [
        ([1, 2], None, r"sample_weight must have shape \(4,\)"),
        ([1, -1, 1, 1], None, r"sample_weight\[1\] is -1.0; it is finite and at least 0"),
        ([1, 1, 1, np.inf], None, r"sample_weight\[3\] is inf"),
        ([0, 0, 1, 0], None, "pairs of 1 of the prompts weigh more than 0"),
        ([0, 0, 0, 0], None, "pairs of 0 of the prompts"),
        (None, [1, 1, 2, 1], r"y\[2\] is 2.0; it is in \[0, 1\]"),
        (None, [1, np.nan, 1, 1], r"y\[1\] is nan"),
    ],
)
def test_numbers_are_checked_before_any_fit(weight, y, message):
    Counted.fits.clear()
    with pytest.raises(ValueError, match=message):
        suspect_pairs(Counted(), pairs_with([1.0, 2.0, 3.0, 4.0]), y, weight, n_splits=2)
    assert not Counted.fits
