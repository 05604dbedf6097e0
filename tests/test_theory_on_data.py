"""Lipschitz constants, certificates and estimates, on networks and a toy world."""

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression

from lens_sklearn import (
    AugmentedPairs,
    BTRewardRegressor,
    ContrastiveVAE,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    LatentPairAugmenter,
    RepeatAugmenter,
)
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.theory import (
    SynthesisCertificate,
    decoder_lipschitz,
    empirical_wasserstein1,
    estimate_reconstruction_exponent,
    estimate_statistical_constant,
    estimate_synthesis_bias,
    lemma3_bound,
    noise_radius,
    reward_lipschitz,
)
from lens_sklearn.theory._estimates import _fit_constant, _fit_power_law
from lens_sklearn.theory._lipschitz import relu_net_bounds

matplotlib.use("Agg")
matplotlib.rcParams["figure.max_open_warning"] = 0


@pytest.fixture(scope="module")
def toy():
    return make_preference_pairs(n_pairs=120, n_features=10, nonlinearity=0.5, random_state=0)


@pytest.fixture(scope="module", params=["heads", "none", "all"])
def vae(request, toy):
    vae = ContrastiveVAE(4, 16, sharing=request.param, learning_rate=3e-3, random_state=0)
    return vae.fit(toy.pairs)


@pytest.fixture(scope="module")
def reward(toy):
    return BTRewardRegressor(32, learning_rate=3e-3, random_state=0).fit(toy.pairs)


def make_augmenter(decode="reconstruct", **params):
    vae = ContrastiveVAE(4, 16, learning_rate=3e-3)
    params = {"random_state": 0, "noise_variance": 0.01, **params}
    return LatentPairAugmenter(vae, decode=decode, **params)


# ----------------------------------------------------------- Lipschitz constants
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 20), st.integers(1, 6))
def test_lower_is_below_upper_is_below_the_product_of_norms(seed, m, h, out):
    generator = torch.Generator().manual_seed(seed)
    A, B = torch.randn(h, m, generator=generator), torch.randn(out, h, generator=generator)
    a = torch.randn(h, generator=generator)
    points = torch.randn(20, m, generator=generator)
    lower, upper = relu_net_bounds(A, a, B, points.numpy())
    product = torch.linalg.matrix_norm(A, ord=2) * torch.linalg.matrix_norm(B, ord=2)
    assert lower <= upper * (1 + 1e-9)
    assert upper <= float(product) * (1 + 1e-5)

    def net(x):
        return (x @ A.T + a).relu() @ B.T

    jacobians = torch.func.vmap(torch.func.jacrev(net))(points)
    largest = torch.linalg.matrix_norm(jacobians, ord=2).max()
    assert lower == pytest.approx(float(largest), rel=1e-4, abs=1e-6)
    gap = torch.linalg.vector_norm(net(points)[1:] - net(points)[:-1], dim=1)
    moved = torch.linalg.vector_norm(points[1:] - points[:-1], dim=1)
    assert (gap <= upper * moved * (1 + 1e-4) + 1e-5).all()


def test_bounds_are_exact_where_every_unit_is_active():
    A, B = torch.eye(3) * 2, torch.eye(3) * 5
    lower, upper = relu_net_bounds(A, torch.full((3,), 100.0), B, np.zeros((1, 3)))
    assert lower == upper == pytest.approx(10)


@pytest.mark.parametrize("shape", [(3, 8, 4), (4, 8, 3), (2, 5, 1), (1, 6, 1)])
def test_upper_bound_by_hand(shape):
    """½ (|BA| + |B/T| |TA|) at T = 1 or at the T that balances the units, whichever is less."""
    m, h, out = shape
    rng = np.random.default_rng(0)
    for spread in (0.1, 2.0):
        A = rng.normal(size=(h, m)) * np.exp(spread * rng.normal(size=(h, 1)))
        B = rng.normal(size=(out, h)) * np.exp(spread * rng.normal(size=h))
        T = np.sqrt(np.linalg.norm(B, axis=0) / np.linalg.norm(A, axis=1))[:, None]
        ends = [
            0.5 * np.linalg.norm(B @ A, 2)
            + 0.5 * np.linalg.norm(B / t.T, 2) * np.linalg.norm(t * A, 2)
            for t in (np.ones((h, 1)), T)
        ]
        bias, points = torch.zeros(h), np.zeros((1, m))
        upper = relu_net_bounds(torch.tensor(A), bias, torch.tensor(B), points).upper
        assert upper == pytest.approx(min(ends))
        # A unit that nothing comes into, or nothing out of, changes nothing.
        for dead in ((np.zeros((1, m)), np.ones((out, 1))), (np.ones((1, m)), np.zeros((out, 1)))):
            A1, B1 = np.vstack([A, dead[0]]), np.hstack([B, dead[1]])
            nets = torch.tensor(A1), torch.zeros(h + 1), torch.tensor(B1)
            assert upper <= relu_net_bounds(*nets, points).upper < np.inf


@pytest.mark.parametrize("where", [0, 4095, 4096, 4999])
def test_the_steepest_of_many_points_is_found(where):
    """relu(x) has the slope 1 at one point of 5,000 alone."""
    points = np.full((5000, 1), -1.0)
    one = torch.ones(1, 1)
    assert relu_net_bounds(one, torch.zeros(1), one, points).lower == 0
    points[where] = 1
    assert relu_net_bounds(one, torch.zeros(1), 3 * one, points).lower == pytest.approx(3)
    at_the_kink = relu_net_bounds(one, torch.zeros(1), one, np.zeros((1, 1)))
    assert at_the_kink == (0, 1), "as torch has the gradient there"


def test_scaling_a_unit_there_and_back_leaves_its_function_and_hardly_the_bound():
    rng = torch.Generator().manual_seed(0)
    A, B = torch.randn(8, 3, generator=rng), torch.randn(4, 8, generator=rng)
    scale = torch.logspace(-3, 3, 8)
    plain = relu_net_bounds(A, torch.zeros(8), B, np.zeros((1, 3))).upper
    skewed = relu_net_bounds(scale[:, None] * A, torch.zeros(8), B / scale, np.zeros((1, 3)))
    assert skewed.upper < 1.5 * plain


def test_decoder_never_stretches_by_more(vae, toy):
    lower, upper = decoder_lipschitz(vae, toy.pairs)
    assert 0 < lower <= upper
    rng = np.random.default_rng(0)
    z, step = rng.normal(size=(2, 500, 2, 4)).astype(np.float32)
    moved = np.linalg.norm(vae.decode(z + 0.1 * step) - vae.decode(z), axis=-1)
    assert (moved <= upper * np.linalg.norm(0.1 * step, axis=-1) * (1 + 1e-4)).all()
    means = vae.transform(toy.pairs)
    small = 1e-3 * step[: len(means)]
    slope = np.linalg.norm(vae.decode(means + small) - vae.decode(means), axis=-1)
    assert slope.max() / np.linalg.norm(small, axis=-1).max() <= 1.01 * upper


def test_the_larger_of_two_decoders_counts(toy):
    vae = ContrastiveVAE(4, 16, sharing="none", max_epochs=1, random_state=0).fit(toy.pairs)
    bounds = []
    for column in range(2):
        z = vae.transform(toy.pairs)[:, column]
        hidden, last = vae.module_.expand, vae.module_.project
        A, B = hidden.weight[column].T, last[column, :-1].T
        bounds.append(relu_net_bounds(A, hidden.bias[column, 0], B, z))
    assert bounds[0] != bounds[1]
    assert decoder_lipschitz(vae, toy.pairs) == tuple(np.max(bounds, axis=0))
    for column in range(2):
        with torch.no_grad():
            vae.module_.project[column] *= 10
            scaled = decoder_lipschitz(vae, toy.pairs)
            vae.module_.project[column] /= 10
        assert scaled == pytest.approx(10 * np.array(bounds[column]), rel=1e-5)


def test_reward_never_rises_faster(reward, toy):
    lower, upper = reward_lipschitz(reward, toy.candidates)
    assert 0 < lower <= upper
    a, b = toy.candidates.reshape(-1, 10)[:-1], toy.candidates.reshape(-1, 10)[1:]
    rise = abs(reward.predict(a) - reward.predict(b))
    assert (rise <= upper * np.linalg.norm(a - b, axis=1) * (1 + 1e-4)).all()


def test_a_reward_of_response_features_has_no_bounds_of_a_network(pairs):
    reward = BTRewardRegressor(max_epochs=1, n_response_features=2, random_state=0).fit(pairs)
    with pytest.raises(ValueError, match="n_response_features=2.*attribute `lipschitz`"):
        reward_lipschitz(reward, pairs)


def test_padding_has_no_gradient(reward, toy):
    padded = toy.candidates.copy()
    padded[0, 1:] = np.nan
    found = reward_lipschitz(reward, padded)
    rest = toy.candidates.reshape(-1, 10)[np.isfinite(padded[..., 0]).ravel()]
    assert found == reward_lipschitz(reward, rest)
    assert np.isfinite(found.lower)


# -------------------------------------------------- the noise that selection leaves
@pytest.mark.parametrize("delta", [0.5, 0.1])
def test_selection_by_likelihood_keeps_the_radius(vae, toy, delta):
    for n_candidates in (1, 4, 16):
        latents = vae.sample_latents(
            toy.pairs, 8, noise_variance=0.04, n_candidates=n_candidates, random_state=0
        )
        length = np.linalg.norm(latents - vae.transform(toy.pairs)[:, None], axis=-1).ravel()
        # The exact quantile, not the looser radius: t_delta would hide a longer noise.
        exact = 0.2 * stats.chi(4).ppf(1 - delta / 2)
        broken = int((length > exact).sum())
        test = stats.binomtest(broken, len(length), delta / 2, alternative="greater")
        assert test.pvalue > 1e-5
        assert (length > noise_radius(0.04, 4, delta)).mean() <= delta / 2


# ------------------------------------------------------------------- certificates
@pytest.mark.parametrize("decode", ["reconstruct", "residual"])
@pytest.mark.parametrize("noise_variance", [0.001, 0.1])
def test_bounds_hold_on_the_toy_world(toy, decode, noise_variance):
    augmenter = make_augmenter(decode, factor=8, noise_variance=noise_variance).fit(toy.pairs)
    for delta in (0.5, 0.05):
        certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward, delta)
        assert len(certificate) == 7 * 120
        broken = int((certificate.synthetic_margin < certificate.bound).sum())
        assert stats.binomtest(broken, 840, delta, alternative="greater").pvalue > 1e-5
        slack = certificate.synthetic_margin - certificate.realised_bound
        assert slack.min() > -1e-4
        assert certificate.kept[certificate.realised_certified].all()
        assert certificate.ordered[certificate.realised_certified].all()


def test_certificate_is_of_the_pairs_that_are_trained_on(toy):
    augmenter = make_augmenter(factor=4)
    augmented = augmenter.fit_transform(toy.pairs)
    one = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)
    other = SynthesisCertificate.from_augmented(
        augmented, augmenter.vae_, toy.reward, noise_variance=0.01, residual=False
    )
    np.testing.assert_array_equal(one.synthetic_margin, other.synthetic_margin)
    rows = np.asarray(augmented)[120:]
    gold = toy.reward(rows)
    np.testing.assert_allclose(one.synthetic_margin, gold[:, 0] - gold[:, 1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.margin, np.tile(-np.diff(toy.pair_gold)[:, 0], 3), atol=1e-6)
    moved = np.linalg.norm(rows - np.tile(toy.pairs, (3, 1, 1)), axis=-1)
    np.testing.assert_allclose(one.displacement, moved, rtol=1e-5)
    assert ((moved > 0).sum(axis=1) == one.n_synthetic).all()
    assert lemma3_bound(np.tile(toy.pairs[:, 0], (3, 1)), rows[:, 0]) == pytest.approx(
        one.displacement[:, 0].max(), rel=1e-5
    )


@pytest.mark.parametrize("random_state", [0, None, np.random.RandomState(1)], ids=str)
@pytest.mark.parametrize("keep", ["all", "ordered"])
def test_certificate_is_of_what_fit_transform_returned(toy, random_state, keep):
    """Whatever was drawn before the synthesis, and whatever was left out after it."""
    augmenter = make_augmenter(factor=4).set_params(random_state=random_state, keep=keep)
    y = np.tile([1.0, 0.0, 0.5], 40)
    rows = np.asarray(augmenter.fit_transform(toy.pairs, y))[120:]
    certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward, y=y)
    gold = toy.reward(rows)
    np.testing.assert_allclose(
        certificate.synthetic_margin, gold[:, 0] - gold[:, 1], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("decode", ["reconstruct", "residual"])
def test_certificate_by_hand(toy, decode):
    """Equation 14 with each constant from its own definition; one real member pays half."""
    augmenter = make_augmenter(decode, factor=8, noise_variance=0.04).fit(toy.pairs)
    certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward, 0.2)
    vae = augmenter.vae_
    missed = np.linalg.norm(vae.decode(vae.transform(toy.pairs)) - toy.pairs, axis=-1)
    assert missed.max() > 1.5 * missed.mean()
    supremum = missed.max() if decode == "reconstruct" else 0
    assert certificate.reconstruction_error == pytest.approx(supremum)
    assert certificate.mean_squared_error == pytest.approx((missed**2).mean())
    assert certificate.mean_squared_error > 1.01 * missed.mean() ** 2
    radius = 0.2 * np.sqrt(4 + 2 * np.sqrt(4 * np.log(20)) + 2 * np.log(20))
    assert certificate.radius == pytest.approx(radius)
    slope = decoder_lipschitz(vae, toy.pairs).upper
    assert certificate.decoder_lipschitz == slope
    assert certificate.reward_lipschitz == toy.reward.lipschitz
    whole = 2 * toy.reward.lipschitz * (slope * radius + supremum)
    deduction = certificate.margin - certificate.bound
    assert set(certificate.n_synthetic) >= {1, 2}
    np.testing.assert_allclose(deduction, whole * certificate.n_synthetic / 2, rtol=1e-6)
    moved = toy.reward.lipschitz * certificate.displacement.sum(axis=1)
    np.testing.assert_allclose(certificate.margin - certificate.realised_bound, moved, rtol=1e-6)
    assert (certificate.delta, certificate.residual) == (0.2, decode == "residual")


def test_totals_by_hand():
    certificate = SynthesisCertificate(
        parent=np.arange(5),
        n_synthetic=np.array([1, 2, 2, 2, 2]),
        margin=np.array([3.0, 2.0, 1.0, -1.0, 5.0]),
        synthetic_margin=np.array([2.0, -1.0, 0.5, -2.0, 6.0]),
        displacement=np.zeros((5, 2)),
        bound=np.array([1.0, -0.5, 0.5, -3.0, 6.5]),
        realised_bound=np.array([1.5, -2.0, -0.1, -4.0, 0.0]),
        delta=0.05,
        radius=1.0,
        reward_lipschitz=1.0,
        decoder_lipschitz=1.0,
        reconstruction_error=0.0,
        mean_squared_error=0.0,
        residual=False,
    )
    assert certificate.certified.tolist() == [True, False, True, False, True]
    assert certificate.realised_certified.tolist() == [True, False, False, False, False]
    assert certificate.ordered.tolist() == [True, False, True, False, True]
    assert certificate.kept.tolist() == [True, False, True, True, True]
    assert certificate.totals == pytest.approx(
        {
            "kept": 0.8,
            "ordered": 0.6,
            "certified": 0.6,
            "realised_certified": 0.2,
            "bound_held": 0.6,  # equal is held; broken are the second and the last
            "mean_margin": 2.0,
            "mean_synthetic_margin": 1.1,
        }
    )


def test_residual_decoding_leaves_only_the_noise(toy):
    def certify(decode, noise_variance):
        augmenter = make_augmenter(decode, noise_variance=noise_variance).fit(toy.pairs)
        return SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)

    silent = certify("residual", 0.0)
    assert silent.reconstruction_error == 0
    assert silent.totals["kept"] == silent.totals["certified"] == 1
    np.testing.assert_allclose(silent.bound, silent.margin)
    np.testing.assert_allclose(silent.synthetic_margin, silent.margin, atol=1e-5)
    paper, residual = certify("reconstruct", 0.01), certify("residual", 0.01)
    assert paper.mean_squared_error == residual.mean_squared_error > 0
    assert (residual.bound > paper.bound).all()
    assert residual.displacement.max() <= residual.decoder_lipschitz * 10 * 0.1
    assert residual.totals["realised_certified"] > paper.totals["realised_certified"]


def test_rewards_of_every_kind(toy, reward):
    augmenter = make_augmenter().fit(toy.pairs)
    learned = SynthesisCertificate.from_estimator(augmenter, toy.pairs, reward)
    assert learned.reward_lipschitz == reward_lipschitz(reward, toy.pairs).upper
    assert (learned.synthetic_margin >= learned.realised_bound - 1e-4).all()
    difference = toy.pairs[:, 0] - toy.pairs[:, 1]
    X, y = np.concatenate([difference, -difference]), np.repeat([1, 0], 120)
    linear = LogisticRegression(fit_intercept=False).fit(X, y)
    certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, linear)
    assert certificate.reward_lipschitz == pytest.approx(np.linalg.norm(linear.coef_))
    assert certificate.margin[:120] == pytest.approx(linear.decision_function(difference), abs=1e-4)
    first = SynthesisCertificate.from_estimator(
        augmenter, toy.pairs, lambda X: X[..., 0], lipschitz=1.0
    )
    assert first.reward_lipschitz == 1


def test_certificate_refuses_what_it_cannot_certify(toy):
    with pytest.raises(TypeError, match="DirectNoiseAugmenter has no latent space"):
        direct = DirectNoiseAugmenter().fit(toy.pairs)
        SynthesisCertificate.from_estimator(direct, toy.pairs, toy.reward)
    augmenter = make_augmenter().fit(toy.pairs)
    with pytest.raises(ValueError, match="give lipschitz="):
        SynthesisCertificate.from_estimator(augmenter, toy.pairs, lambda X: X[..., 0])
    with pytest.raises(ValueError, match="factor=1"):
        augmenter = make_augmenter(factor=1).fit(toy.pairs)
        SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)
    with pytest.raises(ValueError, match="no pair is synthetic"):
        originals = AugmentedPairs(toy.pairs)
        how = {"noise_variance": 0.01, "residual": False}
        SynthesisCertificate.from_augmented(
            originals, make_augmenter().fit(toy.pairs).vae_, toy.reward, **how
        )
    with pytest.raises(TypeError, match="the autoencoder is a object; .* needs a ContrastiveVAE"):
        SynthesisCertificate.from_augmented(originals, object(), toy.reward, **how)
    with pytest.raises(ValueError, match="delta must be in"):
        augmenter = make_augmenter().fit(toy.pairs)
        SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward, 1.5)


def test_certificate_shows_itself(toy):
    augmenter = make_augmenter().fit(toy.pairs)
    certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)
    columns = certificate.to_dict()
    assert {len(column) for column in columns.values()} == {len(certificate)} == {360}
    assert columns["kept"].mean() == pytest.approx(certificate.totals["kept"])
    np.testing.assert_array_equal(columns["displacement_rejected"], certificate.displacement[:, 1])
    assert f"{certificate.totals['kept']:.1%} keep" in repr(certificate)
    ax = certificate.plot()
    assert certificate.plot(ax) is ax
    kept, lost = (len(points.get_offsets()) for points in ax.collections[:2])
    assert (kept, lost) == (certificate.kept.sum(), (~certificate.kept).sum())
    parents, theorem, level, upright = ax.get_lines()[:4]
    ends = [certificate.margin.min(), certificate.margin.max()]
    np.testing.assert_allclose(parents.get_data(), [ends, ends])
    moved = certificate.decoder_lipschitz * certificate.radius + certificate.reconstruction_error
    deduction = 2 * certificate.reward_lipschitz * moved
    np.testing.assert_allclose(theorem.get_ydata(), np.subtract(ends, deduction))
    assert f"margin − {deduction:.3g}" in theorem.get_label()
    assert ("below" in theorem.get_label()) == (ends[1] - deduction < ax.get_ylim()[0])
    assert set(level.get_ydata()) == set(upright.get_xdata()) == {0}


RESIDUAL_MUTANTS = {
    "decoded noise": lambda vae, e, z, noisy: e + vae.decode(noisy),
    "the paper's mode": lambda vae, e, z, noisy: vae.decode(noisy),
    "noise twice": lambda vae, e, z, noisy: e + vae.decode(2 * noisy - z) - vae.decode(z),
}


def check_residual_bound(toy, synthesise):
    """The three lines of the proof: no displacement above L_g times its noise's length."""
    vae = ContrastiveVAE(4, 16, learning_rate=3e-3, random_state=0).fit(toy.pairs)
    z = vae.transform(toy.pairs)
    noise = 0.1 * np.random.default_rng(0).normal(size=z.shape).astype(np.float32)
    moved = np.linalg.norm(synthesise(vae, toy.pairs, z, z + noise) - toy.pairs, axis=-1)
    # The slope along this noise is known, so a bound that is off by 2 is seen.
    slope = np.linalg.norm(vae.decode(z + noise) - vae.decode(z), axis=-1)
    assert (moved <= slope * (1 + 1e-3) + 1e-5).all()
    upper = decoder_lipschitz(vae, toy.pairs).upper
    assert (moved <= upper * np.linalg.norm(noise, axis=-1) * (1 + 1e-4)).all()


def test_residual_decoding_moves_by_the_noise_alone(toy):
    check_residual_bound(toy, lambda vae, e, z, noisy: e + vae.decode(noisy) - vae.decode(z))


@pytest.mark.parametrize("synthesise", RESIDUAL_MUTANTS.values(), ids=RESIDUAL_MUTANTS)
def test_residual_mutants_are_caught(toy, synthesise):
    with pytest.raises(AssertionError):
        check_residual_bound(toy, synthesise)


def test_lemma3_on_synthetic_embeddings(toy):
    augmented = make_augmenter(factor=2, pairing="matched").fit_transform(toy.pairs)
    rows = np.asarray(augmented)[120:].reshape(-1, 10)
    originals = toy.pairs.reshape(-1, 10)
    assert 0 < empirical_wasserstein1(originals, rows) <= lemma3_bound(originals, rows)


# ---------------------------------------------------------------------- estimates
class PowerLawVAE(BaseEstimator):
    """Misses by ``A n^-p`` at most after training on n pairs, in one direction.

    The first embedding is missed by nothing, the last by all of it, those between by equal steps:
    the largest norm is ``A n^-p``, the mean one half of it.
    """

    def __init__(self, A=3.0, p=0.3, batch_size=10, max_epochs=8, random_state=None):
        self.A = A
        self.p = p
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.random_state = random_state

    def fit(self, X, y=None):
        self.n_ = len(X)
        self.steps_.append(self.max_epochs * -(-len(X) // self.batch_size))
        return self

    steps_ = []

    def transform(self, X):
        return X

    def decode(self, z):
        missed = np.zeros(z.shape)
        share = np.linspace(0, 1, 2 * len(z)).reshape(-1, 2)
        missed[..., 0] = share * self.A * self.n_**-self.p
        return z + missed


@pytest.mark.parametrize("equal_steps", [True, False])
def test_exponent_of_a_power_law_is_found(toy, equal_steps):
    PowerLawVAE.steps_.clear()
    scaling = estimate_reconstruction_exponent(
        PowerLawVAE(), toy.pairs, toy.pairs, n_repeats=2, equal_steps=equal_steps, random_state=0
    )
    squares = np.square(np.linspace(0, 1, 240)).mean()
    # The paper measures the square, whose exponent is twice that of the theorem's norm.
    for fit, constant, exponent in (
        (scaling.supremum, 3, 0.3),
        (scaling.norm, 1.5, 0.3),
        (scaling.mean_squared, 9 * squares, 0.6),
    ):
        assert fit.exponent == pytest.approx(exponent)
        assert fit.constant == pytest.approx(constant)
        assert fit.exponent_interval == pytest.approx((exponent, exponent))
        assert fit.constant_interval == pytest.approx((constant, constant))
        assert fit.n.tolist() == [7, 15, 30, 60, 120]
        assert fit.values.shape == (2, 5)
        for values in (*fit.values, fit.predict(fit.n)):
            assert values == pytest.approx(constant * fit.n**-exponent)
    steps = np.reshape(PowerLawVAE.steps_, (2, 5))
    # A batch holds 10 pairs: 1, 2, 3, 6 and 12 steps an epoch, of 8 epochs at 120 pairs.
    expected = [96, 96, 96, 96, 96] if equal_steps else [8, 16, 24, 48, 96]
    assert steps.tolist() == [expected, expected]
    assert len(scaling.plot().lines) == 6


def test_interval_of_the_exponent_covers_it():
    rng = np.random.default_rng(0)
    n = np.array([50, 100, 200, 400])
    covered = []
    for _ in range(300):
        values = 2 * n**-0.4 * np.exp(0.1 * rng.normal(size=(3, 4)))
        low, high = _fit_power_law(n, values, 0.9, "").exponent_interval
        covered.append(low <= 0.4 <= high)
    assert stats.binomtest(sum(covered), 300, 0.9).pvalue > 1e-4


def test_constant_is_found_and_its_interval_covers_it():
    rng = np.random.default_rng(0)
    n = np.array([50, 100, 200, 400])
    exact = _fit_constant(n, np.tile(0.7 * n**-0.5, (2, 1)), n**-0.5, 0.95, "c")
    assert (exact.constant, exact.r2) == pytest.approx((0.7, 1))
    covered = []
    for _ in range(300):
        values = 0.7 * n**-0.5 + 0.02 * rng.normal(size=(3, 4))
        low, high = _fit_constant(n, values, n**-0.5, 0.9, "c").interval
        covered.append(low <= 0.7 <= high)
    assert stats.binomtest(sum(covered), 300, 0.9).pvalue > 1e-4
    wrong = _fit_constant(n, np.tile(0.01 * n**0.5, (2, 1)), n**-0.5, 0.95, "c")
    assert wrong.r2 < 0


def test_reconstruction_error_falls_with_pairs(toy):
    vae = ContrastiveVAE(8, 32, learning_rate=3e-3, max_epochs=40)
    scaling = estimate_reconstruction_exponent(
        vae, toy.pairs, toy.candidates[:, :2], train_sizes=[15, 120], n_repeats=2, random_state=0
    )
    assert scaling.norm.exponent > 0
    assert (scaling.supremum.values > 1.2 * scaling.norm.values).all()
    assert (scaling.mean_squared.values >= scaling.norm.values**2).all()


@pytest.fixture(scope="module")
def labelled():
    """Noisy labels, so that the gold reward is the best possible one."""
    return make_preference_pairs(n_pairs=2400, n_features=6, temperature=1.0, random_state=1)


def ridge_reward(penalty=1.0):
    class BradleyTerryRegression(LinearRegression):
        """Logistic regression of differences, with the interface of a reward."""

        def fit(self, X, y=None):
            X = np.asarray(X)
            difference = X[:, 0] - X[:, 1]
            stacked = np.concatenate([difference, -difference])
            labels = np.repeat([1, 0], len(difference))
            model = LogisticRegression(fit_intercept=False, C=1 / penalty).fit(stacked, labels)
            self.coef_ = model.coef_.ravel()
            return self

    return BradleyTerryRegression()


def test_statistical_constant_is_positive_and_extends(labelled):
    train, test = labelled.pairs[:400], labelled.pairs[400:]
    fit = estimate_statistical_constant(
        ridge_reward(), train, test, optimum=labelled.reward, n_repeats=4, random_state=0
    )
    assert fit.constant > 0 and fit.interval[0] < fit.constant < fit.interval[1]
    assert fit.values.mean(axis=0)[0] > fit.values.mean(axis=0)[-1]
    assert fit.basis == pytest.approx(np.sqrt((6 + np.log(20)) / fit.n))
    assert len(fit.plot().lines) == 2


class FixedReward(BaseEstimator):
    """A linear reward that nothing is learnt by, but for what it was given: `seen_`."""

    def __init__(self, seen=None):
        self.seen = seen

    def fit(self, X, y=None):
        FixedReward.seen_.append(np.asarray(X))
        self.coef_ = np.array([1.0, -0.5, 0.0, 0.0, 2.0, 0.0])
        return self

    seen_ = []


def test_errors_are_losses_above_the_optimums(labelled):
    """By hand: values are L(model) − L(optimum), less C₁ √((d + ln 1/δ) / kN) for the bias."""
    train, test = labelled.pairs[:200], labelled.pairs[400:]

    def loss(rewards):
        return np.log(1 + np.exp(-(rewards[:, 0] - rewards[:, 1]))).mean()

    gap = loss(test @ np.array([1.0, -0.5, 0.0, 0.0, 2.0, 0.0])) - loss(labelled.reward(test))
    assert gap > 0.1
    plan = {"optimum": labelled.reward, "train_sizes": [50, 200], "n_repeats": 2, "delta": 0.1}
    FixedReward.seen_.clear()
    fit = estimate_statistical_constant(FixedReward(), train, test, random_state=0, **plan)
    assert [len(X) for X in FixedReward.seen_] == [50, 200, 50, 200]
    assert fit.values == pytest.approx(np.full((2, 2), gap), rel=1e-5)
    rate = np.sqrt((6 + np.log(10)) / np.array([50, 200]))
    assert fit.basis == pytest.approx(rate)
    assert fit.constant == pytest.approx(gap * rate.sum() / (rate**2).sum(), rel=1e-5)
    FixedReward.seen_.clear()
    bias = estimate_synthesis_bias(
        FixedReward(), RepeatAugmenter(factor=4), train, test, c1=0.3, p=0.26, **plan
    )
    assert [len(X) for X in FixedReward.seen_] == [200, 800, 200, 800]
    assert bias.values == pytest.approx(np.tile(gap - 0.3 * rate / 2, (2, 1)), rel=1e-5)
    assert bias.basis == pytest.approx(0.75 * np.array([50.0, 200.0]) ** -0.26)


def test_synthesis_bias_of_more_noise_is_larger(labelled):
    train, test = labelled.pairs[:200], labelled.pairs[400:]

    def bias(augmenter):
        return estimate_synthesis_bias(
            ridge_reward(),
            augmenter,
            train,
            test,
            optimum=labelled.reward,
            c1=0.02,
            p=0.26,
            train_sizes=[50, 200],
            random_state=0,
        )

    repeated = bias(RepeatAugmenter(factor=2))
    noisy = bias(DirectNoiseAugmenter(factor=2, noise_variance=25.0, pairing="matched"))
    assert noisy.constant > repeated.constant
    assert repeated.basis == pytest.approx(0.5 * repeated.n**-0.26)
    errors = repeated.values + 0.02 * np.sqrt((6 + np.log(20)) / (2 * repeated.n))
    assert (errors > 0).all()  # no reward is better than the gold one


def test_estimates_refuse_bad_plans(toy):
    with pytest.raises(ValueError, match=r"train_sizes must be in \[1, 120\]"):
        estimate_reconstruction_exponent(PowerLawVAE(), toy.pairs, toy.pairs, train_sizes=[10, 200])
    with pytest.raises(ValueError, match="at least 2 sizes"):
        estimate_reconstruction_exponent(PowerLawVAE(), toy.pairs, toy.pairs, train_sizes=[10])
    with pytest.raises(ValueError, match="no bias to estimate"):
        estimate_synthesis_bias(
            ridge_reward(),
            RepeatAugmenter(factor=1),
            toy.pairs,
            toy.pairs,
            optimum=toy.reward,
            c1=1,
            p=0.2,
        )
    with pytest.raises(ValueError, match="factor='auto': .* give a number"):
        estimate_synthesis_bias(
            ridge_reward(),
            DistillationAugmenter(),
            toy.pairs,
            toy.pairs,
            optimum=toy.reward,
            c1=1,
            p=0.2,
        )
    with pytest.raises(ValueError, match="confidence must be in"):
        estimate_statistical_constant(
            ridge_reward(), toy.pairs, toy.pairs, optimum=toy.reward, confidence=1.0
        )
