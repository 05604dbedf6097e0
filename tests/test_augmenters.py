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


# ------------------------------------------------------------------------------ two views
CARRIERS = [a for a in AUGMENTERS if not isinstance(a, RepeatAugmenter)]
CARRIERS += [
    DifferenceAugmenter(random_state=0),
    LatentPairAugmenter(VAE, decode="residual", keep="ordered", random_state=0),
]


@pytest.fixture(params=CARRIERS, ids=lambda a: type(a).__name__)
def carrier(request):
    return clone(request.param).set_params(factor=5)


def with_features(pairs, k=3):
    features = np.random.default_rng(9).normal(size=(len(pairs), 2, k)).astype(np.float32)
    return np.concatenate([pairs, features], axis=-1)


def test_the_embedding_is_augmented_as_if_there_were_no_features(carrier, pairs):
    y = np.linspace(0.1, 1, 60)
    alone = clone(carrier).fit_transform(pairs, y)
    both = carrier.set_params(n_response_features=3).fit_transform(with_features(pairs), y)
    np.testing.assert_array_equal(np.asarray(both)[..., :12], np.asarray(alone))
    for name in ("parent", "target", "is_synthetic", "weight", "has_targets"):
        np.testing.assert_array_equal(getattr(both, name), getattr(alone, name))
    assert both.shape[-1] == carrier.n_features_in_ == 15


@pytest.mark.parametrize(
    "carrier", [a for a in CARRIERS if not isinstance(a, DifferenceAugmenter)], indirect=True
)
def test_synthetic_pairs_have_the_features_of_their_parent(carrier, pairs):
    carrier.set_params(n_response_features=3)
    given = with_features(pairs)
    augmented = carrier.fit_transform(given)
    assert augmented.is_synthetic.any()
    np.testing.assert_array_equal(
        np.asarray(augmented)[..., 12:], given[augmented.parent][..., 12:]
    )
    again = carrier.augment(given)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(augmented))
    np.testing.assert_array_equal(carrier.transform(given), given)


def test_a_difference_of_embeddings_goes_with_that_of_features(pairs):
    feature = np.arange(120.0, dtype=np.float32).reshape(60, 2) ** 2  # no two differences equal
    given = np.concatenate([pairs, feature[..., None]], axis=-1)
    augmenter = DifferenceAugmenter(factor=4, n_response_features=1, random_state=0)
    augmented = augmenter.fit_transform(given)
    first, second = np.asarray(augmented)[60:, :, -1].T
    own = feature[augmented.parent[60:]]
    assert ((first[:, None] == own).sum(axis=1) == 1).all()  # the response e is the parent's
    pool = augmented.pool.embedding
    np.testing.assert_array_equal(first, feature.ravel()[pool.base_row])
    difference = (feature[:, 0] - feature[:, 1])[pool.pair]
    np.testing.assert_array_equal(second, first + pool.sign * difference)
    assert (second < 0).any()  # it may leave the range of the originals


def test_networks_train_on_carried_features_as_on_arrays(carrier, pairs):
    augmented = carrier.set_params(n_response_features=3).fit_transform(with_features(pairs))
    reward = BTRewardRegressor(max_epochs=2, random_state=0)
    whole = AugmentedPairs(
        augmented.originals,
        np.asarray(augmented)[60:].reshape(-1, 15),
        np.arange(2 * len(augmented)).reshape(-1, 2),
        augmented.parent,
        augmented.target,
    )
    expected = clone(reward).fit(whole).predict(pairs := with_features(pairs))
    found = reward.fit(augmented).predict(pairs)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_features_must_leave_columns_to_the_embedding(carrier, pairs):
    for k in (12, 13):
        with pytest.raises(ValueError, match=f"n_response_features={k}, but X has 12 features"):
            carrier.set_params(n_response_features=k).fit_transform(pairs)
    with pytest.raises(ValueError, match="'n_response_features' parameter"):
        carrier.set_params(n_response_features=-1).fit_transform(pairs)
    one_left = carrier.set_params(n_response_features=11).fit_transform(pairs)
    assert one_left.shape[-1] == 12


def test_each_view_has_its_own_scale(pairs):
    given = with_features(pairs) * np.linspace(1, 1e3, 15, dtype=np.float32)
    both = EmbeddingScaler().fit_transform(given)
    views = [EmbeddingScaler().fit_transform(view) for view in (given[..., :12], given[..., 12:])]
    np.testing.assert_array_equal(both, np.concatenate(views, axis=-1))
