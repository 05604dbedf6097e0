"""LatentPairAugmenter: members of the autoencoder, pairs that keep their order."""

import inspect

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    GPRewardRegressor,
    LatentPairAugmenter,
    LinearRewardRegressor,
)
from lens_sklearn._pools import DecodedRows
from lens_sklearn.theory import SynthesisCertificate

VAE = ContrastiveVAE(4, 8, max_epochs=2)


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


class FirstFeature(BaseEstimator):
    """Reward of the chosen embedding's first feature; remembers what it was fitted on."""

    def fit(self, X, y=None):
        self.seen_ = np.asarray(X)
        return self

    def predict(self, X):
        return X[..., 0]


class Rows(FirstFeature):
    """As scikit-learn's own: `predict` takes rows (m, d), and `fit` need not return itself."""

    def fit(self, X, y):
        super().fit(X)

    def predict(self, X):
        assert X.ndim == 2
        return super().predict(X)


class Nothing(BaseEstimator):
    """Gives no rewards."""

    def fit(self, X, y):
        return self


class FirstCoefficient(LogisticRegression):
    """A linear model of scikit-learn's kind, whose weights are known."""

    def fit(self, X, y):
        self.coef_ = np.eye(X.shape[-1])[:1]
        return self


def keeping(keep, **params):
    params = {"decode": "residual", "noise_variance": 1.0, "random_state": 0, **params}
    reward = None if keep == "all" else REWARD
    return LatentPairAugmenter(VAE, keep=keep, reward=reward, **params)


@pytest.mark.parametrize("keep", ["ordered", "certified"])
@pytest.mark.parametrize("pairing", ["compositional", "matched"])
def test_kept_pairs_are_those_of_the_certificate(pairs, keep, pairing):
    augmenter = keeping(keep, pairing=pairing)
    kept = augmenter.fit_transform(pairs)
    everything = keeping("all", pairing=pairing).fit_transform(pairs)
    certificate = SynthesisCertificate.from_augmented(
        everything, augmenter.vae_, augmenter.reward_, noise_variance=1.0, residual=True
    )
    mask = certificate.ordered if keep == "ordered" else certificate.realised_certified
    assert 0 < augmenter.n_kept_ == mask.sum() < 180
    of_kept = SynthesisCertificate.from_estimator(augmenter, pairs, augmenter.reward_)
    margin = certificate.synthetic_margin[mask]
    np.testing.assert_allclose(of_kept.synthetic_margin, margin, rtol=1e-5)  # float32
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


def test_any_reward_of_the_contract_will_do(pairs):
    augmenter = keeping("ordered").set_params(reward=FirstFeature())
    kept = augmenter.fit_transform(pairs)
    seen = augmenter.reward_.seen_
    np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(pairs, axis=0))
    assert (np.diff(np.asarray(kept)[60:, :, 0]) < 0).all()
    for reward in (FirstCoefficient(), Rows()):
        augmenter.set_params(reward=reward)
        np.testing.assert_array_equal(np.asarray(augmenter.fit_transform(pairs)), np.asarray(kept))
    with pytest.raises(TypeError, match="a Nothing gives no rewards; it needs `predict`"):
        augmenter.set_params(reward=Nothing()).fit_transform(pairs)
    augmenter.set_params(keep="all", reward=None).fit(pairs)
    assert not hasattr(augmenter, "reward_"), "nothing is left of an earlier fit"


def test_certified_pairs_of_a_linear_reward_by_hand(pairs):
    """The first feature is Lipschitz with 1: a pair is kept if no movement could exchange it."""
    augmenter = keeping("certified").set_params(reward=FirstCoefficient(), noise_variance=0.3)
    kept = augmenter.fit_transform(pairs)
    everything = keeping("all").set_params(noise_variance=0.3).fit_transform(pairs)
    rows, parents = np.asarray(everything)[60:], pairs[everything.parent[60:]]
    moved = np.linalg.norm(rows - parents, axis=-1).sum(axis=1)
    proven = parents[:, 0, 0] - parents[:, 1, 0] > moved
    assert 0 < proven.sum() < 180
    np.testing.assert_allclose(np.asarray(kept)[60:], rows[proven], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"keep": "all", "reward": REWARD}, 'reward has no effect with keep="all"'),
        ({"keep": "certified", "reward": GPRewardRegressor()}, "GPRewardRegressor does not have"),
        ({"keep": "certified", "reward": FirstFeature()}, "an attribute `lipschitz`"),
    ],
)
def test_what_has_no_effect_or_no_proof_is_refused_before_anything_is_fitted(
    pairs, params, message, monkeypatch
):
    monkeypatch.setattr(ContrastiveVAE, "fit", lambda *_: pytest.fail("fitted for nothing"))
    with pytest.raises(ValueError, match=message):
        LatentPairAugmenter(VAE, **params).fit(pairs)


@pytest.mark.parametrize(
    "reward", [BTRewardRegressor(max_epochs=1), LinearRewardRegressor(), FirstCoefficient()]
)
def test_rewards_with_a_lipschitz_constant_can_certify(pairs, reward):
    LatentPairAugmenter(
        VAE, decode="residual", noise_variance=1e-4, keep="certified", reward=reward
    ).fit_transform(pairs)


# ------------------------------------------------------------------ another autoencoder
class Doubler(BaseEstimator):
    """An autoencoder of the contract: ``fit`` and ``sample_pairs``; codes are halves."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def sample_pairs(self, X, n_samples, *, noise_variance, n_candidates, random_state):
        seed = random_state.randint(1000)
        noise = np.random.default_rng(seed).normal(size=(len(X), n_samples, *X.shape[1:]))
        return 2 * X[:, None] + np.sqrt(noise_variance / n_candidates) * noise


class Invertible(Doubler):
    """What residual decoding needs besides."""

    def transform(self, X):
        return X / 2

    def decode(self, z):
        return 4 * z


def test_an_autoencoder_needs_no_more_than_its_contract(pairs):
    augmenter = LatentPairAugmenter(
        Doubler(), factor=3, noise_variance=0.09, n_candidates=9, pairing="matched", random_state=0
    )
    rows = np.asarray(augmenter.fit_transform(pairs))
    np.testing.assert_array_equal(rows[:60], pairs)
    noise = (rows[60:] - 2 * np.tile(pairs, (2, 1, 1))) / 0.1
    assert noise.std() == pytest.approx(1, abs=0.05)
    np.testing.assert_array_equal(np.asarray(augmenter.augment(pairs)), rows)
    residual = clone(augmenter).set_params(vae=Invertible(), decode="residual")
    moved = np.asarray(residual.fit_transform(pairs))[60:] - np.tile(pairs, (2, 1, 1))
    np.testing.assert_allclose(moved, 0.1 * noise, atol=1e-5)
    with pytest.raises(ValueError, match='"residual" needs .* with transform and decode, .* Doub'):
        augmenter.set_params(decode="residual").fit(pairs)


def test_a_subclass_samples_in_its_own_way(pairs):
    class Still(ContrastiveVAE):
        """Returns the pairs themselves."""

        def sample_pairs(self, X, n_samples=1, **how):
            return np.repeat(X[:, None], n_samples, axis=1)

    augmenter = LatentPairAugmenter(Still(4, 8, max_epochs=1), factor=3, pairing="matched")
    rows = np.asarray(augmenter.fit_transform(pairs))
    np.testing.assert_array_equal(rows, np.tile(pairs, (3, 1, 1)))


def test_samples_of_another_shape_are_named(pairs):
    class Sideways(Doubler):
        def sample_pairs(self, X, n_samples, **how):
            return super().sample_pairs(X, n_samples, **how).swapaxes(0, 1)

    with pytest.raises(ValueError, match=r"Sideways returned the shape \(2, 60, 2, 12\); expected"):
        LatentPairAugmenter(Sideways(), factor=3, pairing="matched", random_state=0).fit_transform(
            pairs
        )


class PlainVAE:
    """An object of the contract that is no estimator."""

    def fit(self, X):
        self.n = len(X)

    def sample_pairs(self, X, n_samples, **how):
        return np.repeat(X[:, None], n_samples, axis=1)


class PlainReward:
    """The same for rewards: the first feature."""

    def fit(self, X, y):
        self.n = len(X)

    def predict(self, rows):
        return rows[:, 0]


def test_objects_that_are_no_estimators_are_copied_and_left_alone(pairs):
    vae, reward = PlainVAE(), PlainReward()
    augmenter = LatentPairAugmenter(vae, factor=2, pairing="matched", keep="ordered", reward=reward)
    rows = np.asarray(augmenter.fit_transform(pairs))
    ahead = pairs[:, 0, 0] > pairs[:, 1, 0]
    np.testing.assert_array_equal(rows, np.concatenate([pairs, pairs[ahead]]))
    assert augmenter.vae_.n == augmenter.reward_.n == 60
    assert not vars(vae) and not vars(reward)


# ------------------------------------------------------------------------- defaults
def test_defaults_are_the_papers():
    """A.1 of the paper: σ² = 0.01; section 3.2: real and synthetic are combined."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(LatentPairAugmenter).parameters.items()
    }
    assert defaults["noise_variance"] == 0.01
    assert (defaults["factor"], defaults["n_candidates"]) == (4, 4)
    assert defaults["pairing"] == "compositional"
    assert (defaults["decode"], defaults["keep"]) == ("reconstruct", "all")


@pytest.mark.parametrize("n_candidates", [1, 7])
def test_members_are_those_that_the_autoencoder_samples(pairs, n_candidates):
    how = {"noise_variance": 0.5, "n_candidates": n_candidates}
    augmenter = LatentPairAugmenter(VAE, factor=3, pairing="matched", random_state=0, **how)
    rows = np.asarray(augmenter.fit_transform(pairs))[60:].reshape(2, 60, 2, 12)
    random_state = np.random.RandomState(0)
    random_state.randint(np.iinfo(np.int32).max)  # the autoencoder's seed
    samples = augmenter.vae_.sample_pairs(pairs, 2, random_state=random_state, **how)
    np.testing.assert_allclose(rows, samples.swapaxes(0, 1), atol=1e-5)


@pytest.mark.parametrize("seed", [0, None, np.random.RandomState(3)], ids=str)
@pytest.mark.parametrize("keep", ["all", "ordered"])
def test_augment_repeats_what_fit_transform_returned(pairs, seed, keep):
    augmenter = keeping(keep, random_state=seed)
    augmented = augmenter.fit_transform(pairs)
    for _ in range(2):
        again = augmenter.augment(pairs)
        np.testing.assert_array_equal(np.asarray(again), np.asarray(augmented))
        np.testing.assert_array_equal(again.target, augmented.target)


def test_filter_follows_the_rows_wherever_they_stand(pairs):
    order = np.random.default_rng(1).permutation(60)
    y = np.linspace(0.1, 1, 60)
    straight = keeping("ordered").fit_transform(pairs, y)
    shuffled = keeping("ordered").fit_transform(pairs[order], y[order])
    kept = np.bincount(straight.parent, minlength=60)
    np.testing.assert_array_equal(np.bincount(shuffled.parent, minlength=60), kept[order])
