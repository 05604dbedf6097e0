"""Synthetic pairs by a reward's word: transfer, soft targets, unlabelled responses, auto."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    GaussianProcessReward,
    LatentPairAugmenter,
    export,
)
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.theory import SynthesisCertificate


def recommended(**params):
    return LatentPairAugmenter.recommended(**{"factor": 4, "random_state": 0} | params)


def test_transfer_moves_an_original_by_the_difference_of_a_pair(pairs):
    augmented = recommended().fit_transform(pairs)
    assert augmented.shape == (240, 2, 12) and augmented.is_synthetic.sum() == 180
    rows = np.asarray(augmented)
    np.testing.assert_array_equal(rows[:60], pairs)
    difference = pairs[:, 0] - pairs[:, 1]
    signed = np.concatenate([difference, -difference])
    for (first, second), parent in zip(rows[60:], augmented.parent[60:], strict=True):
        assert (first == pairs[parent]).all(axis=1).any(), "the first member is its parent's"
        assert np.abs(signed - (second - first)).max(axis=1).min() < 1e-5


def test_targets_are_the_rewards_and_originals_keep_theirs(pairs):
    y = np.linspace(0.5, 1, 60).astype(np.float32)
    augmenter = recommended(sharpness=2.0, relabel="synthetic")
    augmented = augmenter.fit_transform(pairs, y)
    np.testing.assert_array_equal(augmented.target[:60], y)
    odds = augmenter.reward_.decision_function(augmented)[60:]
    np.testing.assert_allclose(augmented.target[60:], expit(2 * odds), atol=1e-5)
    expected = GaussianProcessReward().fit(pairs, y).decision_function(augmented)[60:]
    np.testing.assert_allclose(odds, expected, atol=1e-5)
    everything = recommended(sharpness=2.0).fit_transform(pairs, y)
    np.testing.assert_array_equal(everything.target[60:], augmented.target[60:])
    of_originals = expit(2 * augmenter.reward_.decision_function(pairs))
    np.testing.assert_allclose(everything.target[:60], of_originals, atol=1e-5)


def test_soft_targets_go_with_the_papers_synthesis_too(pairs):
    vae = ContrastiveVAE(4, 8, max_epochs=2)
    hard = LatentPairAugmenter(vae, random_state=0).fit_transform(pairs)
    soft = LatentPairAugmenter(
        vae, random_state=0, relabel="synthetic", reward=GaussianProcessReward()
    ).fit_transform(pairs)
    np.testing.assert_array_equal(np.asarray(hard), np.asarray(soft))
    assert len(np.unique(soft.target[60:])) > 100 and (hard.target == 1).all()


def test_shuffled_pairs_have_the_same_children(pairs):
    order = np.random.default_rng(0).permutation(60)
    one = recommended().fit_transform(pairs)
    two = recommended().fit_transform(pairs[order])
    for i in range(60):
        mine = np.asarray(one)[one.parent == order[i]]
        np.testing.assert_allclose(np.asarray(two)[two.parent == i], mine, atol=1e-6)
        np.testing.assert_allclose(
            two.target[two.parent == i], one.target[one.parent == order[i]], atol=1e-5
        )


def test_memory_does_not_grow_with_the_factor(pairs):
    sizes = []
    for factor in (2, 32):
        pool = recommended(factor=factor).fit_transform(pairs).pool
        assert pool.originals is not None and pool.originals.shape == pairs.shape
        sizes.append(sum(a.nbytes for a in (pool.base_row, pool.pair, pool.sign)))
    assert sizes[1] == 31 * sizes[0] == 31 * 60 * (8 + 8 + 4), "three numbers a synthetic pair"


# --------------------------------------------------------------------------- unlabelled
def test_unlabelled_pairs_are_two_responses_of_one_prompt(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    unlabeled[0, 1:] = np.nan  # one response: no pair
    unlabeled[1, 2:] = np.nan
    augmented = recommended().fit_transform(pairs, unlabeled=unlabeled)
    rows = np.asarray(augmented)[60:]
    assert np.isfinite(rows).all()
    flat = unlabeled.reshape(-1, 12)
    index = np.array([[np.flatnonzero((flat == e).all(axis=1))[0] for e in pair] for pair in rows])
    assert (index[:, 0] // 4 == index[:, 1] // 4).all() and (index[:, 0] != index[:, 1]).all()
    assert set(index[:, 0] // 4) == {1, 2, 3, 4, 5, 6}
    np.testing.assert_array_equal(np.bincount(augmented.parent), 4)


def test_unlabelled_responses_come_through_a_pipeline(pairs):
    unlabeled = 5 + 3 * np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    with config_context(enable_metadata_routing=True):
        augmenter = recommended().set_fit_request(unlabeled=True)
        pipe = Pipeline(
            [
                ("scale", EmbeddingScaler()),
                ("augment", augmenter),
                ("reward", BTRewardRegressor(max_epochs=2, random_state=0)),
            ],
            transform_input=["unlabeled"],
        )
        rewards = pipe.fit(pairs, unlabeled=unlabeled, groups=np.arange(60)).predict(pairs)
    scaler = EmbeddingScaler().fit(pairs)
    augmented = recommended().fit_transform(
        scaler.transform(pairs), unlabeled=scaler.transform(unlabeled)
    )
    expected = BTRewardRegressor(max_epochs=2, random_state=0).fit(augmented)
    np.testing.assert_array_equal(rewards, expected.predict(scaler.transform(pairs)))


@pytest.mark.parametrize(
    ("unlabeled", "params", "message"),
    [
        (np.zeros((3, 4, 12)), {"relabel": "none"}, 'no parents .* relabel="synthetic"'),
        (np.zeros((3, 4, 11)), {}, "11 features"),
        (np.zeros((3, 4, 2, 12)), {}, r"shape \(m, N, d\)"),
        (np.zeros((3, 1, 12)), {}, "none of the 3 prompts .* two responses"),
    ],
)
def test_bad_unlabelled_responses(pairs, unlabeled, params, message):
    with pytest.raises(ValueError, match=message):
        recommended(**params).fit_transform(pairs, unlabeled=unlabeled)


# --------------------------------------------------------------------------------- auto
def test_auto_augments_where_it_does_no_harm(pairs):
    augmenter = recommended(factor="auto")
    augmented = augmenter.fit_transform(pairs, groups=np.arange(60) // 2)
    assert set(augmenter.factor_scores_) == {1, 64}
    assert augmenter.factor_ == len(augmented) / 60
    assert clone(augmenter).factor == "auto", "the parameter stays as it was given"


class Contrarian(GaussianProcessReward):
    """A teacher that prefers what was rejected."""

    def predict(self, X):
        return -super().predict(X)


def test_auto_refuses_a_teacher_that_is_wrong():
    toy = make_preference_pairs(150, 64, random_state=0)
    wrong = recommended(factor="auto", reward=Contrarian(), sharpness=20.0)
    augmented = wrong.fit_transform(toy.pairs)
    assert wrong.factor_ == 1 and len(augmented) == 150
    assert wrong.factor_scores_[1] > wrong.factor_scores_[64]


def test_auto_leaves_a_handful_of_pairs_alone(pairs):
    augmenter = recommended(factor="auto")
    assert len(augmenter.fit_transform(pairs[:10])) == 10
    assert augmenter.factor_ == 1 and augmenter.factor_scores_ == {}


# -------------------------------------------------------------------------------- others
def test_no_certificate_without_a_latent_space(pairs):
    with pytest.raises(ValueError, match='decode="transfer"'):
        SynthesisCertificate.from_estimator(
            recommended().fit(pairs), pairs, lambda X: X[..., 0], lipschitz=1.0
        )


def test_a_fitted_preset_is_saved(pairs, tmp_path):
    pipe = Pipeline([("augment", recommended()), ("reward", BTRewardRegressor(max_epochs=1))])
    export.save(pipe.fit(pairs), tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.predict(pairs), pipe.predict(pairs))
    assert again[0].reward.prior_variance == 1.0
    alone = GaussianProcessReward().fit(pairs)
    export.save(alone, tmp_path / "alone")
    np.testing.assert_array_equal(
        export.load(tmp_path / "alone").predict(pairs), alone.predict(pairs)
    )
