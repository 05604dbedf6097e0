"""An all-NaN embedding is a dropped text or padding: it is left out, and nothing else moves."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from test_number_checks import ESTIMATORS

from lens_sklearn import (
    BestOfNScorer,
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    LinearRewardRegressor,
    RepeatAugmenter,
    best_of_n_score,
    compare_rewards,
)
from lens_sklearn._augmented_pairs import AugmentedPairs
from lens_sklearn._validation import check_training_pairs, kept_pairs
from lens_sklearn.metrics import leave_out_dropped, pair_accuracy_score

LEFT_OUT = r"left out are 2 of 60 pairs \(first: row 7\) that hold an all-NaN embedding"
GONE = [7, 30]


@pytest.fixture
def with_dropped(pairs):
    """Pairs of which one was dropped, and of another one text."""
    pairs = pairs.copy()
    pairs[7] = np.nan
    pairs[30, 1] = np.nan
    return pairs


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"EmbeddingScaler"}))
def test_a_fit_is_that_of_the_other_pairs(name, pairs, with_dropped):
    left = np.delete(pairs, GONE, axis=0)
    model = ESTIMATORS[name]
    if hasattr(model, "augment"):
        with pytest.warns(UserWarning, match=LEFT_OUT):
            found = clone(model).fit_transform(with_dropped)
        expected = clone(model).fit_transform(left)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
        kept = np.delete(np.arange(60), GONE)
        np.testing.assert_array_equal(found.parent, kept[expected.parent])
        np.testing.assert_array_equal(found.is_synthetic, expected.is_synthetic)
        np.testing.assert_array_equal(found.target, expected.target)
        assert len(found.originals) == 60
        return
    with pytest.warns(UserWarning, match=LEFT_OUT):
        found = clone(model).fit(with_dropped)
    expected = clone(model).fit(left)
    ask = found.decision_function if hasattr(found, "predict") else found.transform
    other = expected.decision_function if hasattr(found, "predict") else expected.transform
    np.testing.assert_allclose(ask(pairs), other(pairs), rtol=1e-5, atol=1e-6)


def test_the_scaler_learns_from_what_is_there(pairs, with_dropped):
    """Of the pair with one dropped text the other is there."""
    rows = np.delete(pairs.reshape(-1, 12), [14, 15, 61], axis=0)
    scaler = EmbeddingScaler().fit(with_dropped)
    np.testing.assert_allclose(scaler.scaler_.mean_, rows.mean(axis=0), atol=1e-6)
    assert np.isnan(scaler.transform(with_dropped)[7]).all()


@pytest.mark.parametrize(
    "augmenter", [RepeatAugmenter(factor=2), ESTIMATORS["LatentPairAugmenter"]]
)
def test_weights_groups_and_targets_stay_one_an_original(augmenter, pairs, with_dropped):
    rng = np.random.default_rng(0)
    weight, groups, y = rng.random(60) + 0.5, rng.integers(20, size=60), rng.random(60)
    kept = np.delete(np.arange(60), GONE)

    def fit(X, rows):
        model = make_pipeline(EmbeddingScaler(), clone(augmenter), LinearRewardRegressor())
        given = {"sample_weight": weight[rows], "groups": groups[rows]}
        given = {f"linearrewardregressor__{k}": v for k, v in given.items()}
        return model.fit(X, y[rows], **given)

    left = pairs[kept].copy()
    with pytest.warns(UserWarning, match="left out are 2 of 60 pairs"):
        found = fit(np.where(np.isnan(with_dropped).any(axis=(1, 2), keepdims=True), np.nan,
                             with_dropped), np.arange(60))  # fmt: skip
    expected = fit(left, kept)
    np.testing.assert_allclose(found.predict(pairs), expected.predict(pairs), rtol=1e-4, atol=1e-5)


def test_left_out_log_odds_keep_their_places(with_dropped):
    with pytest.warns(UserWarning, match=LEFT_OUT):
        reward = LinearRewardRegressor().fit(with_dropped)
    assert np.flatnonzero(np.isnan(reward.left_out_log_odds_)).tolist() == GONE


def test_kept_pairs_of_augmented_ones(with_dropped):
    pairs = AugmentedPairs(with_dropped)
    augmented = pairs.add(np.ones((120, 12), np.float32), 120 + np.arange(120).reshape(60, 2))
    weight = np.ones(60)
    weight[3] = 0
    with pytest.warns(UserWarning, match=r"left out are 2 of 120 pairs \(first: row 7\)"):
        kept, groups = check_training_pairs(
            LinearRewardRegressor(), augmented, sample_weight=weight, groups=np.arange(60) // 2
        )
    n, index = kept_pairs(augmented, kept, weight)
    assert n == 120 and index.tolist() == [
        i for i in range(120) if i not in (3, 7, 30, 63)
    ]  # children of dropped originals have members of their own
    assert len(groups) == 60


def test_a_dropped_synthetic_member_takes_its_pair_along(pairs):
    pool = np.ones((120, 12), np.float32)
    pool[5] = np.nan
    augmented = AugmentedPairs(pairs).add(pool, 120 + np.arange(120).reshape(60, 2))
    with pytest.warns(UserWarning, match=r"left out are 1 of 120 pairs \(first: row 62\)"):
        LinearRewardRegressor().fit(augmented)
    pool[5, :3] = 1
    with pytest.raises(ValueError, match="synthetic members: .*NaN in row 5, column 0, feature 3"):
        LinearRewardRegressor().fit(augmented)


@pytest.mark.parametrize("name, value", [("target", np.nan), ("target", 2), ("weight", np.nan),
                                         ("weight", -1)])  # fmt: skip
def test_augmented_pairs_that_were_written_to(name, value, pairs):
    augmented = RepeatAugmenter(factor=2).fit_transform(pairs)
    getattr(augmented, name)[70] = value
    for reward in (BTRewardRegressor(max_epochs=1), LinearRewardRegressor()):
        with pytest.raises(ValueError, match=rf"\[70\] is {float(value)}"):
            reward.fit(augmented)


def test_nothing_left(pairs):
    with pytest.raises(
        ValueError, match=r"at least 1 pairs, got 0 .*; left out are 60 of 60 pairs"
    ):
        LinearRewardRegressor().fit(np.full_like(pairs, np.nan))


def test_rated_embeddings_have_no_padding(pairs):
    X, y = pairs[:, 0].copy(), np.arange(60)
    X[3] = np.nan
    with pytest.raises(ValueError, match="NaN in row 3, feature 0"):
        LinearRewardRegressor().fit(X, y, groups=y // 4)


def test_a_comparison_refuses_them(with_dropped):
    with pytest.raises(ValueError, match="NaN in row 7, column 0"):
        compare_rewards(with_dropped, ["linear"])


# ------------------------------------------------------------------------------ scores
def test_a_dropped_candidate_is_never_picked(pairs, candidates):
    X, gold = candidates
    reward = LinearRewardRegressor().fit(pairs)
    expected_rewards = reward.predict(X)
    X = X.copy()
    best = expected_rewards.argmax(axis=1)
    X[2, best[2]] = np.nan
    padded = gold.copy()
    padded[2, best[2]] = np.nan
    expected = best_of_n_score(np.where(np.isnan(padded), np.nan, expected_rewards), padded)
    assert reward.score(X, padded) == pytest.approx(expected)  # padding: nothing to say
    said = rf"1 of 50 candidates \(first: row 2, column {best[2]}\) have no reward.* left out\.$"
    for score in (lambda: reward.score(X, gold), lambda: BestOfNScorer(X, gold)(reward)):
        with pytest.warns(UserWarning, match=said):
            assert score() == pytest.approx(expected)
    X[5] = np.nan
    weight = np.arange(1.0, 11)
    others = np.delete(np.arange(10), 5)
    with pytest.warns(UserWarning, match="6 of 50 .*left out; 1 prompts have no other"):
        found = reward.score(X, gold, sample_weight=weight)
    assert found == pytest.approx(
        reward.score(X[others], padded[others], sample_weight=weight[others])
    )


def test_a_pair_with_a_dropped_text_is_not_scored(pairs, with_dropped):
    reward = LinearRewardRegressor().fit(pairs)
    with pytest.warns(UserWarning, match=LEFT_OUT):
        found = reward.score(with_dropped)
    assert found == reward.score(np.delete(pairs, GONE, axis=0))
    with pytest.warns(UserWarning, match=LEFT_OUT):
        assert reward.score(with_dropped, sample_weight=np.ones(60)) == found


def test_leaving_out_of_pairs():
    rewards = [[1.0, 2.0], [np.nan, 2.0], [3.0, 1.0], [np.nan, np.nan]]
    with pytest.warns(UserWarning, match=r"^2 of 4 pairs \(first: row 1\) have no reward, as dro"):
        left, y, kept = leave_out_dropped(rewards, [0, 1, 1, 1])
    assert left.tolist() == [[1, 2], [3, 1]] and y.tolist() == [0, 1] and kept.tolist() == [0, 2]
    assert pair_accuracy_score(left, y) == 1
    with pytest.warns(UserWarning):
        assert leave_out_dropped(rewards)[1] is None
    left, y, kept = leave_out_dropped(rewards[::2])
    assert left.tolist() == rewards[::2] and y is None and kept.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"2 of 2 pairs \(first: row 0\) .*; nothing is left"):
        leave_out_dropped(rewards[1::2])
    with pytest.raises(ValueError, match=r"the same shape, or first axis; got \(4, 2\) and \(3,\)"):
        leave_out_dropped(rewards, [0, 1, 1])
    with pytest.raises(ValueError, match="the same shape"):
        leave_out_dropped(rewards, np.zeros((4, 3)))


def test_the_metrics_are_strict():
    with pytest.raises(ValueError, match="rewards is NaN in row 0, column 1 and the other is not"):
        best_of_n_score([[1.0, np.nan]], [[1.0, 2.0]])
    with pytest.raises(ValueError, match="gold is NaN in row 0, column 1"):
        best_of_n_score(*leave_out_dropped([[1.0, 2.0]], [[1.0, np.nan]])[:2])


@pytest.mark.parametrize("n", [4, 100])
def test_best_of_more_than_there_are(n):
    with pytest.raises(ValueError, match=f"n={n}, but there are 3 candidates a prompt at most"):
        best_of_n_score([[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], n)


def test_a_dropped_pair_has_no_class(pairs, with_dropped):
    model = ESTIMATORS["PairClassifier"]
    fitted = clone(model).fit(pairs)
    with pytest.raises(ValueError, match=r"2 of 60 pairs \(first: row 7\) hold an all-NaN embedd"):
        fitted.predict(with_dropped)
    log_odds = fitted.decision_function(with_dropped)
    assert np.flatnonzero(np.isnan(log_odds)).tolist() == GONE


def test_synthetic_pairs_that_are_not_finite(pairs):
    """An autoencoder's weights that someone broke, or one of one's own."""
    augmenter = clone(ESTIMATORS["LatentPairAugmenter"]).fit(pairs)
    with torch.no_grad():
        augmenter.vae_.module_.project[:] = np.inf
    with pytest.raises(ValueError, match="ContrastiveVAE makes synthetic pairs that are"):
        augmenter.augment(pairs)

    class Broken(ContrastiveVAE):
        def sample_pairs(self, X, n_samples=1, **kwargs):
            return np.full((len(X), n_samples, *X.shape[1:]), np.inf)

    with pytest.raises(ValueError, match="Broken makes synthetic pairs that are not finite"):
        clone(augmenter).set_params(vae=Broken(max_epochs=1)).fit_transform(pairs)
