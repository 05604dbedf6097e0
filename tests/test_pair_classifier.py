"""A reward as a classifier of pairs, in scikit-learn's tools for probabilities."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from lens_sklearn import (
    BTRewardRegressor,
    LinearRewardRegressor,
    PairClassifier,
    RepeatAugmenter,
    export,
    shuffle_columns,
)

WEAK = LinearRewardRegressor(Cs=[1e-4])  # one value of C: no search


class Flat(LinearRewardRegressor):
    """A reward whose log-odds are a hundredth of what they should be."""

    def predict(self, X):
        return super().predict(X) / 100


@pytest.fixture
def shuffled(pairs):
    return shuffle_columns(pairs, random_state=0)


# ------------------------------------------------------------------------------- columns
@given(st.integers(1, 9), st.integers(0, 5))
def test_half_of_the_pairs_are_swapped(n, seed):
    X = np.arange(4.0 * n).reshape(n, 2, 2)
    before = X.copy()
    pairs, y = shuffle_columns(X, random_state=seed)
    assert y.dtype.kind == "i" and (y == 0).sum() == n // 2
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(pairs[y == 1], X[y == 1])
    np.testing.assert_array_equal(pairs[y == 0], X[y == 0, ::-1])
    again, same = shuffle_columns(X, random_state=seed)
    np.testing.assert_array_equal(same, y)
    np.testing.assert_array_equal(again, pairs)


def test_targets_are_swapped_with_the_columns():
    X = np.arange(8.0).reshape(4, 2, 1)
    pairs, y = shuffle_columns(X, [0.25, 1.0, 0.0, 0.5], random_state=0)
    swapped = pairs[:, 0, 0] != X[:, 0, 0]
    assert swapped.sum() == 2
    np.testing.assert_array_equal(y, np.where(swapped, [0.75, 0.0, 1.0, 0.5], [0.25, 1, 0, 0.5]))


def test_other_columns_are_drawn_by_another_seed():
    X = np.zeros((40, 2, 1))
    one, two = (shuffle_columns(X, random_state=seed)[1] for seed in (0, 1))
    assert (one != two).any()


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((4, 3)), None, r"shape \(n, 2, d\); got shape \(4, 3\)"),
        (np.ones((4, 3, 2)), None, r"got shape \(4, 3, 2\)"),
        (np.ones((4, 2, 2)), [1, 0], "inconsistent numbers of samples"),
        (np.ones((2, 2, 2)), [1, 1.5], r"y\[1\] is 1.5"),
    ],
)
def test_columns_of_something_else_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        shuffle_columns(X, y)


def test_augmented_pairs_are_shuffled_before(pairs):
    with pytest.raises(ValueError, match="first and augment them afterwards"):
        shuffle_columns(RepeatAugmenter(factor=2).fit_transform(pairs))


# ---------------------------------------------------------------------------- classifier
@pytest.mark.parametrize(
    "reward", [None, WEAK, BTRewardRegressor(max_epochs=2, device="cpu", random_state=0)]
)
def test_columns_make_no_difference(reward, pairs, shuffled):
    X, y = shuffled
    one, two = PairClassifier(reward).fit(X, y), PairClassifier(reward).fit(pairs)
    alone = (LinearRewardRegressor() if reward is None else clone(reward)).fit(pairs)
    for fitted in (one.reward_, two.reward_):
        np.testing.assert_array_equal(fitted.predict(pairs), alone.predict(pairs))
    assert type(one.reward_) is type(alone)


def test_classes_are_column_1_and_column_0(shuffled):
    X, y = shuffled
    classifier = PairClassifier().fit(X, y)
    assert is_classifier(classifier) and classifier.classes_.tolist() == [0, 1]
    log_odds = classifier.decision_function(X)
    rewards = classifier.reward_.predict(X)
    np.testing.assert_allclose(log_odds, rewards[:, 0] - rewards[:, 1])
    probability = classifier.predict_proba(X)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-log_odds)))
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_array_equal(classifier.predict(X), log_odds > 0)
    assert classifier.predict(X).dtype.kind == "i"
    assert classifier.score(X, y) == np.mean((log_odds > 0) == y) > 0.7
    assert classifier.n_features_in_ == 12


def test_a_tie_is_class_0_and_without_labels_column_0_wins(pairs):
    classifier = PairClassifier().fit(pairs)
    tie = np.stack([pairs[:1, 0], pairs[:1, 0]], axis=1)
    assert classifier.predict(tie).tolist() == [0]
    assert classifier.score(pairs) == classifier.score(pairs, np.ones(60))
    weight = np.arange(60)
    expected = np.average(classifier.predict(pairs), weights=weight)
    assert classifier.score(pairs, sample_weight=weight) == pytest.approx(expected)


def test_weights_reach_the_reward(shuffled):
    X, y = shuffled
    weight = np.random.default_rng(0).integers(0, 3, size=60)
    groups, repeat = np.arange(60), lambda a: np.repeat(a, weight, axis=0)
    weighted = PairClassifier(WEAK).fit(X, y, weight, groups=groups).reward_.coef_
    plain = PairClassifier(WEAK).fit(X, y, groups=groups).reward_.coef_
    assert not np.allclose(weighted, plain, rtol=1e-3)
    # The scale of features is that of all repetitions, so the penalty is the same too; copies are
    # pairs of one prompt, or they would foretell each other.
    repeated = PairClassifier(WEAK).fit(repeat(X), repeat(y), groups=repeat(groups))
    np.testing.assert_allclose(weighted, repeated.reward_.coef_, rtol=1e-3)


def test_it_is_a_meta_estimator(pairs):
    classifier = PairClassifier(LinearRewardRegressor(cv=3))
    assert classifier.get_params()["reward__cv"] == 3
    copy = clone(classifier).set_params(reward__cv=4)
    assert classifier.reward.cv == 3
    copy.fit(pairs)
    assert copy.reward_ is not copy.reward and not hasattr(copy.reward, "coef_")
    search = GridSearchCV(classifier, {"reward__Cs": [[1e-9], [1e-3]]}, scoring="neg_log_loss")
    search.fit(*shuffle_columns(pairs, random_state=0))
    assert search.best_params_ == {"reward__Cs": [1e-3]}


def test_what_is_not_fitted_says_so(pairs):
    for method in ("predict", "predict_proba", "decision_function", "score"):
        with pytest.raises(NotFittedError):
            getattr(PairClassifier(), method)(pairs)
    assert not hasattr(PairClassifier(), "n_features_in_")


def test_a_saved_classifier_is_the_same(pairs, tmp_path):
    classifier = PairClassifier(LinearRewardRegressor(cv=3)).fit(pairs)
    export.save(classifier, tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.predict_proba(pairs), classifier.predict_proba(pairs))
    np.testing.assert_array_equal(again.predict(pairs), classifier.predict(pairs))
    assert again.reward.cv == 3


# ---------------------------------------------------------------- scikit-learn's own tools
@pytest.mark.parametrize("ensemble", [True, False])
@pytest.mark.parametrize("method", ["sigmoid", "temperature"])
def test_probabilities_can_be_calibrated(method, ensemble, shuffled):
    X, y = shuffled
    flat = PairClassifier(Flat(Cs=[1e-2]))
    calibrated = CalibratedClassifierCV(flat, method=method, cv=3, ensemble=ensemble).fit(X, y)
    probability = calibrated.predict_proba(X)
    assert probability.shape == (60, 2)
    plain = flat.fit(X, y).predict_proba(X)
    # Every probability is near one half; a slope mends that.
    assert np.abs(plain - 0.5).max() < 0.1
    assert log_loss(y, probability) < log_loss(y, plain) - 0.1
    assert len(calibration_curve(y, probability[:, 1], n_bins=3)[0]) > 1


def test_probabilities_of_left_out_pairs(shuffled):
    X, y = shuffled
    groups = np.arange(60) // 2
    probability = cross_val_predict(
        PairClassifier(WEAK), X, y, groups=groups, cv=GroupKFold(3), method="predict_proba"
    )
    train, test = next(GroupKFold(3).split(X, y, groups))
    expected = PairClassifier(WEAK).fit(X[train], y[train]).predict_proba(X[test])
    np.testing.assert_array_equal(probability[test], expected)


@pytest.mark.parametrize(
    "scoring", ["neg_brier_score", "neg_log_loss", "roc_auc", "accuracy", "average_precision"]
)
def test_scorers_read_its_probabilities(scoring, shuffled):
    X, y = shuffled
    learned = cross_val_score(PairClassifier(), X, y, scoring=scoring, cv=3, error_score="raise")
    coin = {"neg_brier_score": -0.25, "neg_log_loss": -np.log(2)}.get(scoring, 0.5)
    assert (learned > coin).all()


def test_routing_takes_prompts_and_weights_to_the_reward(shuffled):
    X, y = shuffled
    groups, seen = np.arange(60) // 3, []

    class Recording(LinearRewardRegressor):
        def fit(self, X, y=None, sample_weight=None, *, groups=None):
            seen.append((len(X), groups, sample_weight))
            return super().fit(X, y, sample_weight, groups=groups)

    with sklearn.config_context(enable_metadata_routing=True):
        cross_val_score(
            PairClassifier(Recording(cv=2)), X, y, params={"groups": groups}, cv=GroupKFold(2)
        )
        CalibratedClassifierCV(PairClassifier(Recording(cv=2)), cv=GroupKFold(2)).fit(
            X, y, groups=groups
        )
        reward = Recording(cv=2).set_fit_request(sample_weight=True)
        PairClassifier(reward).fit(X, y, sample_weight=np.arange(60), groups=groups)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            PairClassifier(Recording()).fit(X, y, sample_weight=np.arange(60))
    assert len(seen) == 5
    assert all(len(told) == n and len(set(told)) == n // 3 for n, told, _ in seen)
    np.testing.assert_array_equal(seen[-1][2], np.arange(60))


# ----------------------------------------------------------- pipelines, and what is refused
def test_a_pipeline_is_a_reward_too(pairs, shuffled):
    pipeline = make_pipeline(RepeatAugmenter(factor=2), WEAK)
    classifier = PairClassifier(pipeline).fit(*shuffled)
    expected = clone(pipeline).fit(pairs).decision_function(pairs)
    np.testing.assert_array_equal(classifier.decision_function(pairs), expected)


def letters(rows):
    """Embed a row's two texts by how often they have an a and a b."""
    rows = rows.to_dict("records") if hasattr(rows, "columns") else rows
    count = [
        [[row[c].count("a"), row[c].count("b")] for c in ("chosen", "rejected")] for row in rows
    ]
    return np.array(count, dtype=float)


@pytest.mark.parametrize("make", [list, pd.DataFrame])
def test_rows_of_text_keep_their_labels(make):
    rows = make([{"chosen": "a" * (i + 2), "rejected": "b" * i + "a"} for i in range(8)])
    pipeline = make_pipeline(FunctionTransformer(letters), WEAK)
    one = PairClassifier(pipeline).fit(rows)
    other = PairClassifier(pipeline).fit(rows, np.zeros(8))
    np.testing.assert_allclose(one.decision_function(rows), -other.decision_function(rows))
    assert one.predict(rows).all() and not other.predict(rows).any()


def test_augmented_pairs_have_a_label_an_original(pairs):
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    label = np.arange(60) % 2
    fitted = PairClassifier(WEAK).fit(augmented, label).reward_
    np.testing.assert_array_equal(fitted.coef_, clone(WEAK).fit(augmented, label).coef_)
    assert PairClassifier(WEAK).fit(augmented).predict(augmented).shape == (180,)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(60, 0.7), r"y\[0\] is .*0.7.*labels are 1.*Probabilities .* fit of the reward"),
        (np.full(60, 2), r"y\[0\] is .*2"),
        (np.array(["a"] * 60), r"y\[0\] is .*'a'"),
        (np.ones(59), "inconsistent numbers of samples"),
    ],
)
def test_labels_are_hard_ones(y, message, pairs):
    with pytest.raises(ValueError, match=message):
        PairClassifier().fit(pairs, y)


@pytest.mark.parametrize("shape", [(6, 4), (6, 3, 4), (6,)])
def test_only_pairs_are_classified(shape, pairs):
    classifier = PairClassifier().fit(pairs)
    for method in (classifier.fit, classifier.predict, classifier.predict_proba):
        with pytest.raises(ValueError, match=r"pairs of shape \(n, 2, d\); got shape \("):
            method(np.ones(shape))


def test_a_frame_of_numbers_is_no_pairs():
    with pytest.raises(ValueError, match=r"got shape \(4, 3\)"):
        PairClassifier().fit(pd.DataFrame(np.ones((4, 3))), [0, 1, 0, 1])


def test_a_reward_gives_log_odds():
    class Plain:
        def fit(self, X, y=None):
            return self

    with pytest.raises(ValueError, match="'reward' parameter of PairClassifier"):
        PairClassifier(Plain()).fit(np.ones((4, 2, 3)))
