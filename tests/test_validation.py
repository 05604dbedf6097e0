"""Pairs, weights and groups in whatever form they come, and what is refused by name."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import DataConversionWarning

from lens_sklearn import (
    BTRewardRegressor,
    DistillationAugmenter,
    GPRewardRegressor,
    LinearRewardRegressor,
    RepeatAugmenter,
)
from lens_sklearn._validation import (
    check_embeddings,
    check_finite,
    check_pairs,
    check_training_pairs,
    check_unlabeled,
    encode_groups,
)

ONE_PROMPT = "ignore:the .* rated embeddings come without groups:UserWarning"


class Anything(BaseEstimator):
    """Holds n_features_in_."""


# ------------------------------------------------------------------------------ ratings
@pytest.mark.filterwarnings(ONE_PROMPT)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_rated_embeddings_are_paired_by_their_order(ratings):
    X = np.array(ratings, dtype=np.float32)[:, None]
    pairs = check_pairs(Anything(), X, ratings, reset=True)
    assert len(pairs) == len(ratings) // 2
    better, worse = pairs.originals[..., 0].T
    assert (better >= worse).all()
    assert ((pairs.target == 0.5) == (better == worse)).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=2, max_size=40))
def test_ratings_are_paired_within_prompts(rows):
    groups, ratings = np.array(rows).T
    X = np.stack([groups, ratings], axis=1).astype(np.float32)
    sizes = np.unique(groups, return_counts=True)[1]
    if (sizes < 2).all():
        with pytest.raises(ValueError, match="no prompt in groups has two"):
            check_training_pairs(Anything(), X, ratings, groups=groups)
        return
    pairs, group = check_training_pairs(Anything(), X, ratings, groups=groups)
    assert len(pairs) == len(group) == (sizes // 2).sum()
    assert (pairs.originals[:, 0, 0] == pairs.originals[:, 1, 0]).all(), "of the same prompt"
    assert (pairs.originals[:, 0, 1] >= pairs.originals[:, 1, 1]).all(), "the better one first"
    names = np.unique(groups)
    np.testing.assert_array_equal(group, encode_groups(pairs.originals[:, 0, 0]))
    used = pairs.originals.reshape(-1, 2)
    for name in names:  # the upper half against the lower half; an odd one out is in the middle
        mine = np.sort(ratings[groups == name])
        half = len(mine) // 2
        expected = np.r_[mine[:half], mine[len(mine) - half :]]
        np.testing.assert_array_equal(np.sort(used[used[:, 0] == name, 1]), expected)


def test_ratings_without_prompts_are_said_to_be_of_one(pairs):
    with pytest.warns(UserWarning, match="60 rated embeddings .* one prompt. If .* give groups="):
        check_pairs(Anything(), pairs[:, 0], np.arange(60), reset=True)


def test_a_pair_of_rated_embeddings_weighs_the_product():
    X, ratings = np.eye(4, dtype=np.float32), [3, 1, 2, 0]
    groups, weight = ["a", "b", "a", "b"], [2.0, 3.0, 5.0, 7.0]
    pairs, group = check_training_pairs(Anything(), X, ratings, weight, groups)
    assert pairs.weight.tolist() == [10, 21] and group.tolist() == [0, 1]


# ------------------------------------------------------------------------------ weights
def test_weights_multiply_those_that_pairs_have(pairs):
    weight = np.random.default_rng(0).random(60).astype(np.float32)
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    for given_weight in (weight, np.tile(weight, 3)):
        once, _ = check_training_pairs(Anything(), augmented, sample_weight=given_weight)
        np.testing.assert_allclose(once.weight, np.tile(weight, 3))
        twice, _ = check_training_pairs(Anything(), once, sample_weight=given_weight)
        np.testing.assert_allclose(twice.weight, np.tile(weight, 3) ** 2, rtol=1e-6)
    assert (augmented.weight == 1).all(), "what was given is not changed"


def test_pairs_without_weight_are_left_out_and_groups_stay_those_of_the_originals(pairs):
    weight, groups = np.r_[np.zeros(20), np.ones(40)], np.arange(60) // 2
    kept, group = check_training_pairs(Anything(), pairs, None, weight, groups)
    assert kept.parent.tolist() == list(range(20, 60))
    np.testing.assert_array_equal(group[kept.parent], groups[20:])
    with pytest.raises(ValueError, match="zero"):
        check_training_pairs(Anything(), kept, sample_weight=np.zeros(40))


# ------------------------------------------------------------------------------- groups
def test_groups_are_numbered_whatever_they_are_called():
    assert encode_groups(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert encode_groups(np.array([7, 7, 3])).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, np.nan], r"groups\[2\] is nan"),
        (np.array(["a", None, "b"], dtype=object), r"groups\[1\] is None"),
        (np.zeros((3, 1)), r"shape \(n,\)"),
    ],
)
def test_missing_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=message):
        encode_groups(groups)


def test_by_default_each_original_has_a_group_of_its_own(pairs):
    augmented = RepeatAugmenter(factor=2).fit_transform(pairs)
    _, groups = check_training_pairs(Anything(), augmented)
    assert groups.tolist() == list(range(60))
    with pytest.raises(ValueError, match="groups has 120 prompts for 60 original pairs"):
        check_training_pairs(Anything(), augmented, groups=np.arange(120))


# --------------------------------------------------------------------------- embeddings
def test_rows_that_are_all_nan_are_no_padding():
    X = np.zeros((3, 4), dtype=np.float32)
    X[1] = np.nan
    with pytest.raises(ValueError, match="NaN in row 1"):
        check_embeddings(Anything(), X, reset=True, allow_padding=True)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0] * 59, r"shape \(60,\), a probability a pair; got \(59,\)"),
        ([1.0] * 59 + [1.5], r"y\[59\] is 1.5"),
        ([1.0] * 58 + [np.nan, 1.0], r"y\[58\] is nan"),
        ([-0.1] + [1.0] * 59, r"y\[0\] is -0.1"),
    ],
)
def test_bad_targets_are_named(pairs, y, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(Anything(), pairs, y, reset=True)


@pytest.mark.parametrize(
    ("unlabeled", "message"),
    [
        (np.zeros((3, 2, 4, 12)), r"shape \(m, N, d\), .* got \(3, 2, 4, 12\)"),
        (np.zeros((3, 4, 11)), "unlabeled: X has 11 features"),
        ([{"prompt": "a", "responses": ["b", "c"]}], "unlabeled: .*row.*transform_input="),
        (np.full((3, 1, 12), 1.0), "none of the 3 prompts of unlabeled has two"),
        (np.where(np.arange(4)[None, :, None] < 1, np.ones((3, 4, 12)), np.nan), "none of the 3"),
        (np.where(np.arange(12) < 5, np.ones((3, 4, 12)), np.inf), "unlabeled: .* infinity in row"),
    ],
)
def test_bad_unlabelled_responses_are_named(pairs, unlabeled, message):
    estimator = Anything()
    check_pairs(estimator, pairs, reset=True)
    with pytest.raises(ValueError, match=message):
        check_unlabeled(estimator, unlabeled)


def test_one_prompt_of_two_responses_is_enough(pairs):
    estimator = Anything()
    check_pairs(estimator, pairs, reset=True)
    unlabeled = np.full((3, 4, 12), np.nan)
    unlabeled[0, 0] = unlabeled[1, 1:3] = 1
    checked = check_unlabeled(estimator, unlabeled)
    np.testing.assert_array_equal(checked, unlabeled)
    assert checked.dtype == np.float32


def test_names_of_columns_are_those_of_fit():
    """Of frames (n, d); arrays of more axes have none."""
    frame = pd.DataFrame(np.eye(4), columns=list("abcd"))
    estimator = Anything()
    check_embeddings(estimator, frame, reset=True)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    check_embeddings(estimator, frame, reset=False)
    check_embeddings(estimator, np.zeros((3, 2, 4)), reset=False)
    with pytest.raises(ValueError, match="feature names"):
        check_embeddings(estimator, frame[list("dcba")], reset=False)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        check_embeddings(estimator, np.eye(4), reset=False)
    nameless = Anything()
    check_embeddings(nameless, np.eye(4), reset=True)
    check_embeddings(nameless, np.eye(4), reset=False)  # warnings are errors


@pytest.mark.filterwarnings(ONE_PROMPT)
def test_a_column_of_ratings_is_read_with_a_warning():
    X = np.eye(4, dtype=np.float32)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        pairs = check_pairs(Anything(), X, np.arange(4)[:, None], reset=True)
    np.testing.assert_array_equal(pairs.originals.argmax(axis=-1), [[3, 1], [2, 0]])


def test_padding_is_let_through_where_it_is_asked_for_alone():
    X = np.zeros((2, 3, 4))
    X[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN in row 1, column 2"):
        check_finite(X)
    check_finite(X, allow_padding=True)


# ------------------------------------------------------------------- what a fit cannot use
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_prompt_that_is_missing_is_named(missing):
    groups = np.array(["a", "b", missing, "a"], dtype=object)
    with pytest.raises(ValueError, match=r"groups\[2\] is .*; every pair needs a prompt"):
        encode_groups(groups)
    series = pd.Series(["a", missing], dtype="string")
    with pytest.raises(ValueError, match=r"groups\[1\] is"):
        encode_groups(series)


@pytest.mark.parametrize(
    ("weight", "shape"), [(np.ones(5), r"\(5,\)"), (2.0, r"\(\)"), (np.ones((4, 1)), r"\(4, 1\)")]
)
def test_weights_of_another_shape_are_named(weight, shape):
    X = np.random.default_rng(0).normal(size=(4, 2, 3))
    message = r"sample_weight must have shape \(4,\), a weight a pair; got " + shape
    with pytest.raises(ValueError, match=message):
        check_training_pairs(Anything(), X, sample_weight=weight)
    augmented = RepeatAugmenter(factor=3).fit_transform(X)
    message = r"shape \(12,\), a weight a pair, or \(4,\), one an original; got " + shape
    with pytest.raises(ValueError, match=message):
        check_training_pairs(Anything(), augmented, sample_weight=weight)


REWARDS = [
    LinearRewardRegressor(),
    GPRewardRegressor(),
    BTRewardRegressor(max_epochs=1, device="cpu", random_state=0),
]


@pytest.mark.parametrize("reward", REWARDS)
def test_ties_alone_teach_nothing(reward, pairs):
    equal = np.repeat(pairs[:, :1], 2, axis=1)
    for X, y in ((pairs, np.full(60, 0.5)), (equal, None), (np.ones_like(pairs), None)):
        with pytest.warns(UserWarning, match="all 60 pairs are ties.*nothing to learn"):
            fitted = clone(reward).fit(X, y)
        assert np.abs(fitted.decision_function(equal)).max() < 1e-6
    # One that is none is enough, and pairs that are only judged may all be ties.
    y = np.full(60, 0.5)
    y[7] = 1
    assert clone(reward).fit(pairs, y).score(pairs, np.full(60, 0.5)) == 0.5


@pytest.mark.parametrize("reward", REWARDS)
def test_a_constant_feature_says_nothing(reward, pairs):
    constant = pairs.copy()
    constant[..., 3] = 7
    fitted = clone(reward).fit(constant)
    other = constant.copy()
    other[:, 0, 3] = 8
    assert np.isfinite(fitted.predict(other)).all()
    if isinstance(reward, LinearRewardRegressor):
        assert fitted.coef_[3] == 0


@pytest.mark.parametrize("reward", REWARDS)
def test_prompts_of_another_length_are_named(reward, pairs):
    with pytest.raises(ValueError, match="groups has 61 prompts for 60 original pairs"):
        clone(reward).fit(pairs, groups=np.arange(61))
    with pytest.raises(ValueError, match=r"groups\[0\] is nan"):
        clone(reward).fit(pairs, groups=np.full(60, np.nan))


def test_one_prompt_is_an_error_or_a_warning(pairs):
    one = np.zeros(60)
    with pytest.raises(ValueError, match="leaves none of 1 prompts to train on"):
        BTRewardRegressor().fit(pairs, groups=one)
    with pytest.warns(UserWarning, match="none can be left out to choose the penalty"):
        LinearRewardRegressor().fit(pairs, groups=one)
    with pytest.warns(UserWarning, match="60 pairs of 1 prompts are too few"):
        assert DistillationAugmenter().fit(pairs, groups=one).factor_ == 1


def test_fewer_prompts_than_folds_are_a_fold_each(pairs):
    two = np.arange(60) % 2
    by_two, by_five = (LinearRewardRegressor(cv=cv).fit(pairs, groups=two) for cv in (2, 5))
    np.testing.assert_array_equal(by_two.log_losses_, by_five.log_losses_)
    with pytest.warns(UserWarning, match=r"of 2 prompts are too few .*20 pairs of 3 prompts"):
        assert DistillationAugmenter().fit(pairs, groups=two).factor_ == 1
