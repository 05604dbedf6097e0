"""The augmenters: how many pairs, in which order, made of what, from which parent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from lens_sklearn import (
    AugmentedPairs,
    BTRewardRegressor,
    ContrastiveVAE,
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    LatentPairAugmenter,
    RepeatAugmenter,
    WithinPromptWhitening,
)

VAE = ContrastiveVAE(4, 8, max_epochs=2)
AUGMENTERS = [
    LatentPairAugmenter(VAE, random_state=0),
    LatentPairAugmenter(VAE, decode="residual", random_state=0),
    LatentPairAugmenter(clone(VAE).set_params(sharing="none"), pairing="matched", random_state=0),
    DirectNoiseAugmenter(random_state=0),
    GaussianAugmenter(random_state=0),
    RepeatAugmenter(),
]


@pytest.fixture(params=AUGMENTERS, ids=lambda a: type(a).__name__)
def augmenter(request):
    return clone(request.param)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8, 9])
def test_factor_times_n_pairs_and_the_originals_first(augmenter, pairs, factor):
    augmented = augmenter.set_params(factor=factor).fit_transform(pairs)
    assert isinstance(augmented, AugmentedPairs)
    assert augmented.shape == (factor * 60, 2, 12)
    np.testing.assert_array_equal(np.asarray(augmented[:60]), pairs)
    assert np.isfinite(np.asarray(augmented)).all()
    assert np.bincount(augmented.parent).tolist() == [factor] * 60
    assert augmented.is_synthetic.sum() == (factor - 1) * 60
    assert not augmented.is_synthetic[:60].any()


def test_targets_and_ties_are_handed_down(augmenter, pairs):
    y = np.linspace(0, 1, 60)
    augmented = augmenter.fit_transform(pairs, y)
    np.testing.assert_allclose(augmented.target, y[augmented.parent], rtol=1e-6)
    pairs[9, 0] = pairs[9, 1]
    assert (augmenter.fit_transform(pairs).target == 0.5).sum() == augmenter.factor


def test_transform_changes_nothing(augmenter, pairs, candidates):
    augmenter.fit(pairs)
    for X in (pairs, candidates[0], pairs[:, 0]):
        assert augmenter.transform(X) is X


def test_same_seed_same_pairs(augmenter, pairs):
    first, second = (np.asarray(clone(augmenter).fit_transform(pairs)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_augmented_pairs_are_not_augmented_again(augmenter, pairs):
    with pytest.raises(ValueError, match="augmented already"):
        augmenter.fit_transform(augmenter.fit_transform(pairs))


@given(factor=st.integers(2, 20))
def test_compositional_pairs_of_a_parent_are_distinct_and_never_the_original(factor):
    pairs = np.random.default_rng(0).normal(size=(7, 2, 3)).astype(np.float32)
    augmented = DirectNoiseAugmenter(factor=factor, random_state=0).fit_transform(pairs)
    n_samples = int(np.ceil(np.sqrt(factor))) - 1
    for i in range(7):
        members = augmented.members[augmented.parent == i]
        assert len(np.unique(members, axis=0)) == factor
        for column in range(2):
            ours = members[:, column]
            pool = ours[ours >= 14] - 14
            # rows of the pool stand in the order (pair, sample, column)
            assert (pool // (2 * n_samples) == i).all()
            assert (pool % 2 == column).all()
            assert (ours[ours < 14] == 2 * i + column).all()


def test_compositional_mixes_real_and_synthetic_and_matched_does_not(pairs):
    def real_members(pairing):
        augmented = DirectNoiseAugmenter(factor=4, pairing=pairing).fit_transform(pairs)
        return (augmented.members[60:] < 120).sum(axis=1)

    assert np.bincount(real_members("compositional")).tolist() == [60, 120]
    assert (real_members("matched") == 0).all()


# ------------------------------------------------------------------------- row order
@pytest.mark.parametrize("factor", [2, 4, 7])
def test_augmentation_follows_the_rows_wherever_they_stand(augmenter, pairs, factor):
    augmenter.set_params(factor=factor)
    order = np.random.default_rng(1).permutation(60)
    straight = np.asarray(augmenter.fit_transform(pairs)).reshape(factor, 60, 2, 12)
    shuffled = np.asarray(augmenter.fit_transform(pairs[order])).reshape(factor, 60, 2, 12)
    np.testing.assert_allclose(shuffled, straight[:, order], atol=1e-5)


# -------------------------------------------------------------------------- controls
def test_direct_noise_is_relative_to_each_feature(pairs):
    pairs[..., 2] *= 100
    augmenter = DirectNoiseAugmenter(
        factor=200, noise_variance=0.25, pairing="matched", random_state=0
    )
    noise = np.asarray(augmenter.fit_transform(pairs))[60:] - np.tile(pairs, (199, 1, 1))
    relative = noise.std(axis=(0, 1)) / pairs.std(axis=(0, 1))
    np.testing.assert_allclose(relative, 0.5, rtol=0.03)


def test_gaussian_has_the_mean_and_covariance_of_each_column(pairs):
    augmenter = GaussianAugmenter(factor=400, pairing="matched", random_state=0)
    drawn = np.asarray(augmenter.fit_transform(pairs))[60:]
    for column in range(2):
        np.testing.assert_allclose(drawn[:, column].mean(0), pairs[:, column].mean(0), atol=0.05)
        np.testing.assert_allclose(
            np.cov(drawn[:, column].T), np.cov(pairs[:, column].T, bias=True), atol=0.1
        )


def test_repeat_is_the_originals_again(pairs):
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    np.testing.assert_array_equal(np.asarray(augmented), np.tile(pairs, (3, 1, 1)))


# ----------------------------------------------------------------------- differences
def test_difference_pairs_have_no_order_of_their_own(pairs):
    y = np.linspace(0, 1, 60)
    augmented = DifferenceAugmenter(factor=3, random_state=0).fit_transform(pairs, y)
    np.testing.assert_allclose(augmented.target[:60], y, rtol=1e-6)
    assert (augmented.target[60:] == 0.5).all()
    assert (augmented.members[60:] >= 120).all(), "both members are synthetic"


@pytest.mark.parametrize("seed", [0, None, np.random.RandomState(3)], ids=str)
def test_augment_repeats_what_fit_transform_returned(augmenter, pairs, seed):
    if "random_state" in augmenter.get_params():
        augmenter.set_params(random_state=seed)
    augmented = augmenter.fit_transform(pairs)
    again = augmenter.augment(pairs)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(augmented))
    np.testing.assert_array_equal(again.target, augmented.target)
    with pytest.raises(ValueError, match="11 features"):
        augmenter.augment(pairs[..., :11])


def test_a_random_state_goes_on_where_fit_transform_left_it(pairs):
    """Two calls with one generator draw twice, as everywhere in scikit-learn."""
    augmenter = DirectNoiseAugmenter(random_state=np.random.RandomState(0))
    first, second = (np.asarray(augmenter.fit_transform(pairs)) for _ in range(2))
    assert (first != second).any()


def test_spread_is_a_factor_on_the_deviation(pairs):
    wide = GaussianAugmenter(factor=400, spread=2.0, pairing="matched", random_state=0)
    drawn = np.asarray(wide.fit_transform(pairs))[60:]
    for column in range(2):
        np.testing.assert_allclose(drawn[:, column].mean(0), pairs[:, column].mean(0), atol=0.1)
        np.testing.assert_allclose(
            np.cov(drawn[:, column].T), 4 * np.cov(pairs[:, column].T, bias=True), atol=0.4
        )


def test_defaults():
    """Four pairs for one, and the paper's noise variance (A.1)."""
    assert DirectNoiseAugmenter().noise_variance == 0.01
    assert GaussianAugmenter().spread == 1.0
    for augmenter in (DirectNoiseAugmenter(), GaussianAugmenter()):
        assert (augmenter.factor, augmenter.pairing) == (4, "compositional")
    assert RepeatAugmenter().factor == DifferenceAugmenter().factor == 4


@pytest.mark.filterwarnings("ignore:the 60 rated embeddings come without groups")
def test_ratings_of_a_pipeline_pair_once(pairs):
    """With two for one there are as many pairs as ratings, which are no probabilities."""
    X, ratings = pairs[:, 0], np.linspace(0, 1, 60)
    reward = BTRewardRegressor(max_epochs=2, random_state=0)
    for factor in (1, 2, 4):
        augmenter = RepeatAugmenter(factor=factor)
        expected = clone(reward).fit(clone(augmenter).fit_transform(X, ratings)).predict(X)
        pipe = make_pipeline(augmenter, clone(reward)).fit(X, ratings)
        np.testing.assert_array_equal(pipe.predict(X), expected)


@pytest.mark.parametrize("step", [EmbeddingScaler(), WithinPromptWhitening()])
def test_a_transformer_behind_an_augmenter_keeps_parents_and_targets(augmenter, pairs, step):
    y = np.linspace(0, 1, 60)
    augmented = augmenter.fit_transform(5 * pairs + 3, y)
    step = clone(step).fit(5 * pairs + 3)
    moved = step.transform(augmented)
    assert isinstance(moved, AugmentedPairs)
    np.testing.assert_allclose(np.asarray(moved), step.transform(np.asarray(augmented)), atol=1e-4)
    for name in ("parent", "target", "weight", "is_synthetic"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(augmented, name))


def test_the_fitted_state_makes_another_one_the_same(augmenter, pairs):
    augmented = augmenter.fit_transform(pairs)
    other = clone(augmenter)
    other.set_fitted_state(augmenter.get_fitted_state())
    np.testing.assert_array_equal(np.asarray(other.augment(pairs)), np.asarray(augmented))
    assert other.n_features_in_ == 12
    with pytest.raises(ValueError, match="has no fitted attribute 'planted_'"):
        other.set_fitted_state(augmenter.get_fitted_state() | {"planted_": 1})
