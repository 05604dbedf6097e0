"""The augmenters: how many pairs, in which order, made of what, from which parent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone

from lens_sklearn import (
    AugmentedPairs,
    BTRewardRegressor,
    ContrastiveVAE,
    DirectNoiseAugmenter,
    GaussianAugmenter,
    LatentPairAugmenter,
    RepeatAugmenter,
)
from lens_sklearn._pools import DecodedRows
from lens_sklearn.theory import SynthesisCertificate

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


# ---------------------------------------------------------------------------- latent
def test_latent_members_are_the_autoencoders_samples(pairs):
    augmenter = LatentPairAugmenter(VAE, factor=2, pairing="matched", random_state=0)
    synthetic = np.asarray(augmenter.set_params(noise_variance=0.0).fit_transform(pairs))[60:]
    expected = augmenter.vae_.decode(augmenter.vae_.transform(pairs))
    np.testing.assert_allclose(synthetic, expected, atol=1e-5)


def test_residual_decoding_without_noise_is_the_original(pairs):
    augmenter = LatentPairAugmenter(VAE, noise_variance=0.0, decode="residual", pairing="matched")
    augmented = np.asarray(augmenter.fit_transform(pairs))
    np.testing.assert_allclose(augmented, np.tile(pairs, (4, 1, 1)), atol=1e-5)


@pytest.mark.parametrize("sharing", ["heads", "none"])
def test_residual_decoding_adds_the_decoded_difference(pairs, sharing):
    vae = clone(VAE).set_params(sharing=sharing)
    both = {}
    for decode in ("reconstruct", "residual"):
        augmenter = LatentPairAugmenter(
            vae, factor=2, pairing="matched", noise_variance=1.0, decode=decode, random_state=0
        )
        both[decode] = np.asarray(augmenter.fit_transform(pairs))[60:]
    bottleneck = augmenter.vae_.decode(augmenter.vae_.transform(pairs))
    expected = pairs + both["reconstruct"] - bottleneck
    np.testing.assert_allclose(both["residual"], expected, atol=1e-5)


def test_synthetic_rows_are_codes_so_memory_does_not_follow_d():
    pairs = np.random.default_rng(0).normal(size=(50, 2, 2000)).astype(np.float32)
    augmented = LatentPairAugmenter(ContrastiveVAE(max_epochs=1), factor=16).fit_transform(pairs)
    assert isinstance(augmented.pool, DecodedRows)
    assert augmented.pool.codes.nbytes < 0.2 * pairs.nbytes
    assert augmented.originals is pairs


def test_default_autoencoder_and_its_seed(pairs):
    augmenter = LatentPairAugmenter(random_state=0).fit(pairs)
    assert augmenter.vae_.latent_dim == 16
    own = LatentPairAugmenter(clone(VAE).set_params(random_state=7), random_state=0).fit(pairs)
    assert own.vae_.random_state == 7
    assert augmenter.vae is None, "parameters are never changed by fit"


def test_memory_fits_one_autoencoder_for_all_noises(pairs, tmp_path, monkeypatch):
    fits = []
    fit = ContrastiveVAE.fit
    monkeypatch.setattr(
        ContrastiveVAE, "fit", lambda self, X, y=None: fits.append(1) or fit(self, X, y)
    )
    results = []
    for factor, noise_variance in [(4, 0.01), (8, 0.01), (4, 0.1)]:
        augmenter = LatentPairAugmenter(
            VAE, factor=factor, noise_variance=noise_variance, memory=str(tmp_path), random_state=0
        )
        results.append(np.asarray(augmenter.fit_transform(pairs)))
    assert len(fits) == 1
    without = LatentPairAugmenter(VAE, factor=4, noise_variance=0.1, random_state=0)
    np.testing.assert_array_equal(results[2], np.asarray(without.fit_transform(pairs)))
    LatentPairAugmenter(clone(VAE).set_params(gamma=0.5), memory=str(tmp_path), random_state=0).fit(
        pairs
    )
    assert len(fits) == 3, "another gamma is another autoencoder"


# ------------------------------------------------------------------------------ keep
REWARD = BTRewardRegressor(16, learning_rate=1e-2)


def keeping(keep, **params):
    params = {"decode": "residual", "noise_variance": 1.0, "random_state": 0, **params}
    return LatentPairAugmenter(VAE, keep=keep, reward=REWARD, **params)


@pytest.mark.parametrize("keep", ["ordered", "certified"])
@pytest.mark.parametrize("pairing", ["compositional", "matched"])
def test_kept_pairs_are_those_of_the_certificate(pairs, keep, pairing):
    augmenter = keeping(keep, pairing=pairing)
    kept = augmenter.fit_transform(pairs)
    everything = keeping("all", pairing=pairing).fit_transform(pairs)
    certificate = SynthesisCertificate.from_estimator(augmenter, pairs, augmenter.reward_)
    assert len(certificate) == 180, "a certificate is of all pairs, whatever is kept"
    mask = certificate.ordered if keep == "ordered" else certificate.realised_certified
    assert 0 < augmenter.n_kept_ == mask.sum() < 180
    rows = np.concatenate([np.arange(60), 60 + np.flatnonzero(mask)])
    np.testing.assert_allclose(np.asarray(kept), np.asarray(everything)[rows], atol=1e-6)
    for name in ("parent", "target", "weight", "is_synthetic", "members"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(everything, name)[rows])
    np.testing.assert_array_equal(np.asarray(kept[:60]), pairs)


def test_certified_pairs_are_ordered_and_all_is_the_default(pairs):
    n_kept = {}
    for keep in ("all", "ordered", "certified"):
        augmenter = keeping(keep)
        augmenter.fit_transform(pairs)
        n_kept[keep] = augmenter.n_kept_
    assert n_kept["certified"] < n_kept["ordered"] < n_kept["all"] == 180
    default = LatentPairAugmenter(random_state=0)
    assert default.keep == "all"
    assert not hasattr(keeping("all").fit(pairs), "reward_"), "no reward is trained for nothing"


@pytest.mark.parametrize("keep", ["ordered", "certified"])
def test_order_is_the_targets(pairs, keep):
    """Where a target says that column 1 wins, column 1 must stay ahead."""
    y = np.tile([1.0, 0.0, 0.5], 20)
    augmenter = keeping(keep)
    kept = augmenter.fit_transform(pairs, y)
    everything = keeping("all").fit_transform(pairs, y)
    margin = augmenter.reward_.decision_function(everything)[60:]
    sign = np.sign(2 * everything.target[60:] - 1)
    ordered = (margin * sign > 0) | (sign == 0)
    if keep == "ordered":
        assert augmenter.n_kept_ == ordered.sum()
    assert set(kept.target[60:]) == {0.0, 0.5, 1.0}
    assert (kept.target[60:] == 0.5).sum() == 60, "a tie has no order to lose"
    assert augmenter.n_kept_ <= ordered.sum() < 180


def test_originals_alone_where_nothing_is_certified(pairs):
    augmenter = keeping("certified", noise_variance=1e6)
    with pytest.warns(UserWarning, match='keep=.certified. keeps none of the 180.*"residual"'):
        augmented = augmenter.fit_transform(pairs)
    assert augmenter.n_kept_ == 0
    np.testing.assert_array_equal(np.asarray(augmented), pairs)
    assert keeping("certified", factor=1).fit_transform(pairs).shape == (60, 2, 12)


def test_reward_is_the_users_and_seeded_by_the_augmenter(pairs):
    augmenter = keeping("ordered")
    augmenter.fit_transform(pairs)
    assert augmenter.reward_.hidden_dim == 16
    assert augmenter.reward_.random_state is not None
    assert augmenter.reward is REWARD and REWARD.random_state is None
    default = keeping("ordered").set_params(reward=None)
    default.fit_transform(pairs)
    assert default.reward_.hidden_dim == 256
    own = clone(augmenter).set_params(reward__random_state=7)
    own.fit_transform(pairs)
    assert own.reward_.random_state == 7


class FirstFeature(BaseEstimator):
    """Reward of the chosen embedding's first feature; remembers what it was fitted on."""

    def fit(self, X, y=None):
        self.seen_ = np.asarray(X)
        return self

    def predict(self, X):
        return X[..., 0]


def test_any_reward_may_be_asked(pairs):
    augmenter = keeping("ordered").set_params(reward=FirstFeature())
    kept = augmenter.fit_transform(pairs)
    seen = augmenter.reward_.seen_
    np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(pairs, axis=0))
    assert (np.diff(np.asarray(kept)[60:, :, 0]) < 0).all()
    with pytest.raises(ValueError, match="attribute `lipschitz`"):
        augmenter.set_params(keep="certified").fit_transform(pairs)


# ------------------------------------------------------------------------- row order
@pytest.mark.parametrize("factor", [2, 4, 7])
def test_augmentation_follows_the_rows_wherever_they_stand(augmenter, pairs, factor):
    augmenter.set_params(factor=factor)
    order = np.random.default_rng(1).permutation(60)
    straight = np.asarray(augmenter.fit_transform(pairs)).reshape(factor, 60, 2, 12)
    shuffled = np.asarray(augmenter.fit_transform(pairs[order])).reshape(factor, 60, 2, 12)
    np.testing.assert_allclose(shuffled, straight[:, order], atol=1e-5)


def test_filter_follows_the_rows_wherever_they_stand(pairs):
    order = np.random.default_rng(1).permutation(60)
    y = np.linspace(0.1, 1, 60)
    straight = keeping("ordered").fit_transform(pairs, y)
    shuffled = keeping("ordered").fit_transform(pairs[order], y[order])
    kept = np.bincount(straight.parent, minlength=60)
    np.testing.assert_array_equal(np.bincount(shuffled.parent, minlength=60), kept[order])


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
