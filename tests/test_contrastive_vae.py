"""ContrastiveVAE: the loss of the paper, its sharing modes, sampling, learning."""

import inspect
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from vae_by_hand import VAEByHand

from lens_sklearn import ContrastiveVAE
from lens_sklearn._low_rank_error import offset_dominates
from lens_sklearn._pair_vae import PairVAE, lens_losses

SHARING = ("heads", "none", "all")


@pytest.fixture(params=SHARING)
def vae(request, pairs):
    """A briefly fitted autoencoder of each sharing mode."""
    vae = ContrastiveVAE(4, 8, sharing=request.param, max_epochs=3, random_state=0)
    return vae.fit(pairs)


# ------------------------------------------------------------------------------ loss
def test_loss_terms_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    x, back = (torch.tensor(rng.normal(size=(2, 5, 7))) for _ in range(2))
    mean, log_variance = (torch.tensor(rng.normal(size=(2, 5, 3))) for _ in range(2))
    losses = lens_losses(x, back, mean, log_variance)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(posterior, prior).sum(-1).sum(0).mean()
    std = posterior.scale
    w2 = ((mean[0] - mean[1]) ** 2 + (std[0] - std[1]) ** 2).sum(-1).sqrt().mean()
    torch.testing.assert_close(losses["kl"], kl)
    torch.testing.assert_close(losses["divergence"], w2)
    torch.testing.assert_close(losses["reconstruction"], ((x - back) ** 2).sum() / 5)
    per_feature = lens_losses(x, back, mean, log_variance, "mean")["reconstruction"]
    torch.testing.assert_close(7 * per_feature, losses["reconstruction"])


@pytest.mark.parametrize("sharing", SHARING)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**16), st.floats(-3, 3))
def test_error_without_reconstruction_is_the_error(sharing, b, d, seed, magnitude):
    generator = torch.Generator().manual_seed(seed)
    module = PairVAE(d, 3, 4, sharing, generator).double()
    x = 10**magnitude * torch.randn(2, b, d, generator=generator, dtype=torch.float64)
    z = torch.randn(2, b, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, b, generator=generator, dtype=torch.float64)
    results = []
    for error in (module.error(x, z, x.square().sum(-1)), (x - module.decode(z)).square().sum(-1)):
        learnt = [z, *module.expand.parameters(), module.project]
        results.append([error, *torch.autograd.grad((weights * error).sum(), learnt)])
    torch.testing.assert_close(*results, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("offset", [0, 10, 1000])
def test_rounding_of_errors_in_float32(offset):
    """Without the reconstruction it is relative to the norms, with it to the error itself."""
    generator = torch.Generator().manual_seed(0)
    module = PairVAE(512, 3, 16, "heads", generator)
    x = torch.randn(2, 32, 512, generator=generator) + offset
    z = torch.randn(2, 32, 3, generator=generator)
    with torch.no_grad():
        module.project[:, -1] += x.mean((0, 1))
        low_rank, subtracted = module.error(x, z, x.square().sum(-1)), module.error(x, z)
        back = module.double().decode(z.double())
        exact = (x.double() - back).square().sum(-1)
    norms = (x.double().norm(dim=-1) + back.norm(dim=-1)).square()
    assert ((low_rank - exact).abs() <= 4 * 1.2e-7 * norms).all()
    assert ((subtracted - exact).abs() <= 16 * 1.2e-7 * (exact * norms).sqrt()).all()
    if offset == 1000:
        assert (low_rank - exact).abs().max() > 100 * (subtracted - exact).abs().max()


@pytest.mark.parametrize("sharing", ["heads", "none"])
@pytest.mark.parametrize(
    ("offset", "spread", "rtol"), [(10, 0.3, 1e-5), (1000, 0.3, 1e-4), (1000, 0.03, 1e-4)]
)
def test_embeddings_far_from_the_origin_are_learnt_from_as_precisely(sharing, offset, spread, rtol):
    """Without the subtraction the errors are off by 1e-4, by half, and negative."""
    rng = np.random.default_rng(0)
    pairs = (offset + spread * rng.normal(size=(70, 2, 64))).astype(np.float32)
    training = {"beta": 1.0, "gamma": 0.1, "learning_rate": 1e-4, "batch_size": 70}
    vae = ContrastiveVAE(4, 8, sharing=sharing, max_epochs=1, random_state=0, **training)
    by_hand = VAEByHand(64, 4, 8, sharing, seed=0)
    vae.fit(pairs)
    by_hand.learn(pairs, 1, **training)
    # The state of long training: the decoder's bias is the mean, which the encoder takes off.
    mean = torch.tensor(pairs.mean((0, 1)))
    with torch.no_grad():
        vae.module_.project.mul_(spread)[:, -1] = mean
        vae.module_.trunk.bias -= (mean @ vae.module_.trunk.weight)[:, None]
    for name, weight in vae.module_.named_parameters():
        by_hand.weights[name] = weight.detach().double().requires_grad_()
    (expected,) = by_hand.learn(pairs, 1, **training)
    found = vae.partial_fit(pairs).history_[-1]
    assert found == pytest.approx(expected, rel=rtol)
    assert found["reconstruction"] > 0


def test_no_reconstruction_is_written_where_no_offset_dominates(pairs, monkeypatch):
    def decode(self, z):
        raise AssertionError("memory and time of n rows of d features")

    monkeypatch.setattr(PairVAE, "decode", decode)
    ContrastiveVAE(4, 8, max_epochs=1).fit(pairs)
    with pytest.raises(AssertionError):
        ContrastiveVAE(4, 8, max_epochs=1).fit(pairs + 2)


def test_an_offset_dominates_if_it_is_longer_than_the_spread():
    def dominates(*rows):
        rows = torch.tensor(rows, dtype=torch.float32)
        return offset_dominates(rows, rows.square().sum(1))

    assert dominates([4, 3], [4, -3])  # ‖mean‖² = 16, the spread 9
    assert not dominates([3, 4], [3, -4])
    assert not dominates([1, 1], [1, -1])
    assert dominates([1000.1, 1], [1000, -1])
    assert not dominates([0, 0])


@given(st.integers(1, 4), st.floats(-5, 5))
def test_divergence_is_safe_where_the_posteriors_coincide(latent_dim, value):
    mean = torch.full((2, 3, latent_dim), value, requires_grad=True)
    log_variance = torch.zeros(2, 3, latent_dim, requires_grad=True)
    x = torch.zeros(2, 3, 2)
    lens_losses(x, x, mean, log_variance)["divergence"].backward()
    assert torch.isfinite(mean.grad).all()
    assert torch.isfinite(log_variance.grad).all()


def test_divergence_weight_pushes_the_posteriors_apart(pairs):
    def gap(gamma):
        vae = ContrastiveVAE(4, 16, gamma=gamma, learning_rate=1e-2, random_state=0).fit(pairs)
        return np.linalg.norm(np.diff(vae.transform(pairs), axis=1), axis=-1).mean()

    assert gap(50) > 1.5 * gap(0)


def test_kl_weight_pulls_the_posteriors_to_the_prior(pairs):
    def mean_square(beta):
        vae = ContrastiveVAE(4, 16, beta=beta, learning_rate=1e-2, random_state=0).fit(pairs)
        return (vae.transform(pairs) ** 2).mean()

    assert mean_square(20) < 0.5 * mean_square(0.01)


# --------------------------------------------------------------------------- network
def test_reversed_views_are_read(vae, pairs):
    np.testing.assert_array_equal(
        vae.transform(pairs[:, ::-1]), vae.transform(np.array(pairs[:, ::-1], order="C"))
    )


def test_log_variances_are_clamped_where_float32_would_overflow():
    module = PairVAE(3, 2, 4, "heads", torch.Generator().manual_seed(0))
    with torch.no_grad():
        module.heads.weight.zero_()
        module.heads.bias.copy_(torch.tensor([[[5.0, -50, 20, -9]], [[0, 0, 14.9, -20]]]))
    mean, log_variance = module.encode(torch.zeros(2, 1, 3))
    torch.testing.assert_close(mean, torch.tensor([[[5.0, -50]], [[0, 0]]]))
    torch.testing.assert_close(log_variance, torch.tensor([[[15.0, -9]], [[14.9, -15]]]))


def test_number_of_parameters_follows_sharing(pairs):
    d, h, latent = 12, 8, 4
    trunk, head = d * h + h, h * 2 * latent + 2 * latent
    decoder = latent * h + h + h * d + d
    expected = {
        "heads": trunk + 2 * head + decoder,
        "none": 2 * (trunk + head + decoder),
        "all": trunk + head + decoder,
    }
    for sharing, n_parameters in expected.items():
        vae = ContrastiveVAE(latent, h, sharing=sharing, max_epochs=1).fit(pairs)
        assert vae.n_parameters_ == n_parameters


def test_paper_size():
    pairs = np.zeros((2, 2, 4096), dtype=np.float32)
    n_parameters = ContrastiveVAE(max_epochs=1).fit(pairs).n_parameters_
    assert 0.5e6 < n_parameters < 0.56e6


def test_heads_differ_and_a_shared_head_does_not(pairs):
    same = np.repeat(pairs[:, :1], 2, axis=1)
    for sharing in SHARING:
        means = ContrastiveVAE(4, 8, sharing=sharing, max_epochs=1).fit(pairs).transform(same)
        assert np.allclose(means[:, 0], means[:, 1]) == (sharing == "all")


# -------------------------------------------------------------------------- learning
TRAINING = {"beta": 0.7, "gamma": 0.5, "learning_rate": 3e-3, "batch_size": 32}


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("reconstruction", ["sum", "mean"])
def test_training_is_the_one_written_out_by_hand(sharing, reconstruction, pairs):
    """Weights, noise, order, batches of 32 and 28, losses and Adam's steps, over three calls."""
    training = TRAINING | {"reconstruction": reconstruction}
    vae = ContrastiveVAE(4, 8, sharing=sharing, max_epochs=2, random_state=7, **training)
    by_hand = VAEByHand(12, 4, 8, sharing, seed=7)
    expected = by_hand.learn(pairs, 2, **training)
    vae.fit(pairs)
    for part in (pairs[:40], pairs[::-1]):  # Adam's moments and steps are kept
        expected += by_hand.learn(part, 1, **training)
        vae.partial_fit(part)
    assert len(vae.history_) == len(expected) == 4
    for found, by in zip(vae.history_, expected, strict=True):
        assert found == pytest.approx(by, rel=1e-5)
    for name, weight in vae.module_.named_parameters():
        np.testing.assert_allclose(
            weight.detach(), by_hand.weights[name].detach(), rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_a_learning_rate_that_is_set_anew_is_obeyed(pairs):
    vae = ContrastiveVAE(4, 8, max_epochs=1, warm_start=True, random_state=7, **TRAINING)
    by_hand = VAEByHand(12, 4, 8, "heads", seed=7)
    vae.fit(pairs)
    by_hand.learn(pairs, 1, **TRAINING)
    slower = TRAINING | {"learning_rate": 1e-5}
    vae.set_params(learning_rate=1e-5).fit(pairs)
    by_hand.learn(pairs, 1, **slower)
    vae.partial_fit(pairs)
    by_hand.learn(pairs, 1, **slower)
    for name, weight in vae.module_.named_parameters():
        np.testing.assert_allclose(
            weight.detach(), by_hand.weights[name].detach(), rtol=1e-5, atol=1e-6, err_msg=name
        )


def test_pairs_in_another_order_give_the_same_model(pairs):
    order = np.random.default_rng(1).permutation(len(pairs))
    one, other = (ContrastiveVAE(4, 8, max_epochs=2, random_state=0, **TRAINING) for _ in range(2))
    np.testing.assert_allclose(
        one.fit(pairs).transform(pairs), other.fit(pairs[order]).transform(pairs), atol=1e-6
    )


def test_defaults_are_the_papers():
    """Section 4.1 and appendix A.1, and the better of its readings where there are two."""
    assert ContrastiveVAE().get_params() == {
        "latent_dim": 16,
        "hidden_dim": 64,
        "sharing": "heads",
        "beta": 1.0,
        "gamma": 0.1,
        "reconstruction": "sum",
        "learning_rate": 1e-4,
        "batch_size": 128,
        "max_epochs": 100,
        "warm_start": False,
        "device": "auto",
        "random_state": None,
        "verbose": 0,
    }
    for name in ("sample_pairs", "sample_latents", "sample_rows"):
        parameters = inspect.signature(getattr(ContrastiveVAE, name)).parameters
        defaults = {key: p.default for key, p in parameters.items() if key not in ("self", "X")}
        assert defaults.pop("residual", False) is False
        assert defaults == {
            "n_samples": 1,
            "noise_variance": 0.01,
            "n_candidates": 4,
            "random_state": None,
        }


def test_learning_lowers_the_loss_and_raises_the_score(pairs):
    short = ContrastiveVAE(4, 16, learning_rate=1e-2, max_epochs=1, random_state=0).fit(pairs)
    long = clone(short).set_params(max_epochs=80).fit(pairs)
    assert len(long.history_) == 80
    assert long.history_[-1]["loss"] < 0.9 * long.history_[0]["loss"]
    assert long.score(pairs) > short.score(pairs)
    first = long.history_[0]
    total = first["reconstruction"] + first["kl"] - 0.1 * first["divergence"]
    assert total == pytest.approx(first["loss"], rel=1e-5)


def test_score_is_minus_the_loss_at_the_means(pairs):
    vae = ContrastiveVAE(4, 8, gamma=0.7, beta=0.3, max_epochs=2, random_state=0).fit(pairs)
    mean, std = vae.encode(pairs)
    error = ((pairs - vae.decode(mean)) ** 2).sum(axis=(1, 2))
    kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=(1, 2))
    w2 = np.sqrt(((mean[:, 0] - mean[:, 1]) ** 2 + (std[:, 0] - std[:, 1]) ** 2).sum(-1))
    assert vae.score(pairs) == pytest.approx(-(error + 0.3 * kl - 0.7 * w2).mean(), rel=1e-4)


def test_same_seed_same_weights_even_under_threads(pairs):
    expected = ContrastiveVAE(4, 8, max_epochs=3, random_state=5).fit(pairs).transform(pairs)

    def fitted(_):
        return ContrastiveVAE(4, 8, max_epochs=3, random_state=5).fit(pairs).transform(pairs)

    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(fitted, range(6)):
            np.testing.assert_array_equal(result, expected)
    other = ContrastiveVAE(4, 8, max_epochs=3, random_state=6).fit(pairs).transform(pairs)
    assert not np.allclose(other, expected)


def test_global_random_state_is_left_alone(pairs):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    vae = ContrastiveVAE(4, 8, max_epochs=1).fit(pairs)
    vae.sample_pairs(pairs)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_partial_fit_goes_on(pairs):
    vae = ContrastiveVAE(4, 16, learning_rate=1e-2, random_state=0)
    for _ in range(40):
        vae.partial_fit(pairs)
    assert len(vae.history_) == 40
    assert vae.history_[-1]["loss"] < vae.history_[0]["loss"]
    with pytest.raises(ValueError, match="features"):
        vae.partial_fit(pairs[..., :5])


def test_warm_start_goes_on_and_a_cold_one_begins_anew(pairs):
    vae = ContrastiveVAE(4, 8, max_epochs=2, random_state=0).fit(pairs)
    once = vae.history_
    assert vae.fit(pairs).history_ == once, "the same seed, from the beginning"
    first = vae.module_.trunk.weight.detach().clone()
    warm = vae.set_params(warm_start=True, max_epochs=1, learning_rate=1e-9).fit(pairs)
    assert warm.history_[:2] == once and len(warm.history_) == 3
    torch.testing.assert_close(warm.module_.trunk.weight.detach(), first, rtol=0, atol=1e-8)
    with pytest.raises(ValueError, match="features"):
        warm.fit(pairs[..., :5])


def test_fewer_pairs_than_a_batch_make_one_batch(pairs):
    assert ContrastiveVAE(4, 8, max_epochs=1).fit(pairs[:3]).score(pairs[:3]) < 0


# ---------------------------------------------------------------------- fitted state
def frozen(value):
    """A copy of a state as a file gives it: arrays that nobody may write to, the rest by JSON."""
    if isinstance(value, np.ndarray):
        copy = value.copy()
        copy.flags.writeable = False
        return copy
    if isinstance(value, dict):
        return {key: frozen(each) for key, each in value.items()}
    if isinstance(value, list):
        return [frozen(each) for each in value]
    return json.loads(json.dumps(value, allow_nan=False))


def test_a_restored_model_is_the_same_and_goes_on_learning_the_same(vae, pairs):
    vae.partial_fit(pairs)
    state = frozen(vae.get_fitted_state())
    again = clone(vae)
    assert again.set_fitted_state(state) is None
    for name in ("history_", "n_features_in_", "n_parameters_"):
        assert getattr(again, name) == getattr(vae, name)
    for part in (pairs[:20], pairs):
        np.testing.assert_equal(again.encode(pairs), vae.encode(pairs))
        np.testing.assert_array_equal(*(m.decode(vae.transform(pairs)) for m in (again, vae)))
        np.testing.assert_array_equal(
            *(m.sample_pairs(pairs, 2, random_state=0) for m in (again, vae))
        )
        assert again.score(pairs) == vae.score(pairs)
        for model in (vae, again):
            model.partial_fit(part)
    assert again.history_ == vae.history_
    np.testing.assert_equal(again.get_fitted_state(), vae.get_fitted_state())
    # What learning changed, it did not change in the state that was taken before.
    restored = clone(vae)
    restored.set_fitted_state(state)
    np.testing.assert_equal(restored.get_fitted_state(), state)


def test_a_state_does_not_follow_its_model(vae, pairs):
    state = vae.get_fitted_state()
    before = frozen(state)
    vae.partial_fit(pairs)
    np.testing.assert_equal(state, before)


def test_a_state_that_does_not_fit_is_refused(vae, pairs):
    state = vae.get_fitted_state()
    for parameters in ({"latent_dim": 5}, {"hidden_dim": 7}):
        other = clone(vae).set_params(**parameters)
        with pytest.raises(ValueError, match="the weights do not fit the parameters"):
            other.set_fitted_state(state)
        assert not hasattr(other, "module_"), "nothing is set by halves"
    moments = {**state["adam"], "project": {**state["adam"]["project"]}}
    for key in ("exp_avg", "exp_avg_sq"):
        moments["project"] = {**state["adam"]["project"], key: np.zeros((1, 2, 3))}
        with pytest.raises(ValueError, match=rf"{key} of project has shape \(1, 2, 3\)"):
            clone(vae).set_fitted_state(state | {"adam": moments})
    draws = state["random_state"]
    for wrong in (
        {"key": draws["key"][:5]},
        {"key": draws["key"].astype(float)},
        {"position": 625},
        {"position": -1},
    ):
        with pytest.raises(ValueError, match="is none"):
            clone(vae).set_fitted_state(state | {"random_state": draws | wrong})
    with pytest.raises(NotFittedError):
        clone(vae).get_fitted_state()


def test_draws_of_every_random_state_are_written_down(pairs):
    def restored(random_state):
        vae = ContrastiveVAE(2, 3, max_epochs=1, random_state=random_state).fit(pairs)
        again = ContrastiveVAE(2, 3, max_epochs=1)
        again.set_fitted_state(frozen(vae.get_fitted_state()))
        return vae.partial_fit(pairs).history_ == again.partial_fit(pairs).history_

    halfway = np.random.RandomState(0)
    halfway.normal()  # the second of a pair of normal numbers is kept
    assert restored(3) and restored(halfway) and restored(None)
    with pytest.raises(ValueError, match="random_state is a PCG64"):
        restored(np.random.RandomState(np.random.PCG64(0)))


# ------------------------------------------------------------------------- inference
def test_shapes(vae, pairs):
    mean, std = vae.encode(pairs)
    assert mean.shape == std.shape == (60, 2, 4)
    assert (std > 0).all()
    np.testing.assert_array_equal(vae.transform(pairs), mean)
    assert vae.decode(mean).shape == pairs.shape
    np.testing.assert_array_equal(vae.inverse_transform(mean), vae.decode(mean))


def test_embeddings_that_are_not_in_a_pair_are_read_by_both_heads(vae, pairs):
    alone = vae.encode(pairs[:, 0])
    twice = vae.encode(np.repeat(pairs[:, :1], 2, axis=1))
    np.testing.assert_equal(alone, twice)


def test_many_pairs_are_read_as_few_are():
    """Beyond 4,096 pairs at once: posteriors, decoding, the score and the stream of noise."""
    pairs = np.random.default_rng(0).normal(size=(4100, 2, 3)).astype(np.float32)
    vae = ContrastiveVAE(2, 3, max_epochs=1, random_state=0).fit(pairs[:50])
    parts = np.split(pairs, [1000, 4096])
    z = vae.transform(pairs)
    np.testing.assert_allclose(
        z, np.concatenate([vae.transform(part) for part in parts]), atol=1e-6
    )
    decoded = [vae.decode(part) for part in np.split(z, [1000, 4096])]
    np.testing.assert_allclose(vae.decode(z), np.concatenate(decoded), atol=1e-6)
    score = np.average([vae.score(part) for part in parts], weights=[len(part) for part in parts])
    assert vae.score(pairs) == pytest.approx(score, rel=1e-6)
    latents = vae.sample_latents(pairs, noise_variance=0.25, n_candidates=1, random_state=0)
    generator = np.random.default_rng(np.random.RandomState(0).randint(2**31 - 1))
    noise = 0.5 * generator.standard_normal((4100, 1, 2, 2), dtype=np.float32)
    order = sorted(range(4100), key=lambda i: pairs[i].tobytes())
    np.testing.assert_allclose(latents[order], z[order][:, None] + noise, atol=1e-6)


def test_latents_by_hand(vae, pairs):
    """Of 3 · 2 drawn the 2 likeliest under the embedding's own Gaussian, the likeliest first."""
    mean, std = vae.encode(pairs)
    found = vae.sample_latents(pairs, 2, noise_variance=0.25, n_candidates=3, random_state=7)
    generator = np.random.default_rng(np.random.RandomState(7).randint(2**31 - 1))
    noise = 0.5 * generator.standard_normal((60, 6, 2, 4), dtype=np.float32)
    order = sorted(range(60), key=lambda i: pairs[i].tobytes())
    for eta, i in zip(noise, order, strict=True):
        for column in range(2):
            z = mean[i, column] + eta[:, column]  # (6, 4)
            likelihood = stats.norm(mean[i, column], std[i, column]).logpdf(z).sum(axis=1)
            best = sorted(range(6), key=lambda j: -likelihood[j])[:2]
            np.testing.assert_allclose(found[i, :, column], z[best], atol=1e-6)


def test_samples_without_noise_are_reconstructions(vae, pairs):
    samples = vae.sample_pairs(pairs, 3, noise_variance=0)
    expected = vae.decode(vae.transform(pairs))
    for j in range(3):
        np.testing.assert_allclose(samples[:, j], expected, atol=1e-5)


def test_samples_are_the_decoded_latents(vae, pairs):
    latents = vae.sample_latents(pairs, 2, noise_variance=0.5, random_state=1)
    samples = vae.sample_pairs(pairs, 2, noise_variance=0.5, random_state=1)
    assert samples.shape == (60, 2, 2, 12)
    for j in range(2):
        np.testing.assert_allclose(samples[:, j], vae.decode(latents[:, j]), atol=1e-5)


def test_rows_are_the_samples_in_the_order_pair_sample_column(vae, pairs):
    drawn = {"noise_variance": 0.5, "n_candidates": 2, "random_state": 1}
    rows = vae.sample_rows(pairs, 3, **drawn)
    assert len(rows) == 60 * 3 * 2
    samples = vae.sample_pairs(pairs, 3, **drawn)
    np.testing.assert_array_equal(rows[slice(None)], samples.reshape(-1, 12))
    latents = vae.sample_latents(pairs, 3, **drawn)  # (60, 3, 2, 4)
    decoded = vae.decode(latents.reshape(-1, 2, 4)).reshape(60, 3, 2, 12)
    np.testing.assert_allclose(samples, decoded, atol=1e-5)
    one = 17 * 6 + 2 * 2 + 1  # pair 17, sample 2, the rejected one
    np.testing.assert_allclose(rows[np.array([one])][0], decoded[17, 2, 1], atol=1e-5)


def test_residual_rows_are_moved_by_what_the_noise_changes(vae, pairs):
    drawn = {"noise_variance": 0.5, "n_candidates": 2, "random_state": 1}
    rows = vae.sample_rows(pairs, 3, **drawn, residual=True)[slice(None)]
    change = vae.sample_pairs(pairs, 3, **drawn) - vae.decode(vae.transform(pairs))[:, None]
    expected = pairs[:, None] + change
    np.testing.assert_allclose(rows.reshape(60, 3, 2, 12), expected, atol=1e-5)


def test_noise_has_the_variance_asked_for(vae, pairs):
    latents = vae.sample_latents(pairs, 200, noise_variance=0.25, n_candidates=1, random_state=0)
    noise = latents - vae.transform(pairs)[:, None]
    assert noise.var() == pytest.approx(0.25, rel=0.02)
    assert abs(noise.mean()) < 0.01


def test_kept_candidates_are_the_likeliest(vae, pairs):
    def log_likelihood(n_candidates):
        mean, std = vae.encode(pairs)
        z = vae.sample_latents(pairs, 4, n_candidates=n_candidates, random_state=0)
        return -(((z - mean[:, None]) / std[:, None]) ** 2).sum(-1)

    all_of_four, best_of_four = log_likelihood(1), log_likelihood(4)
    assert best_of_four.mean() > all_of_four.mean()
    assert (np.diff(best_of_four, axis=1) <= 1e-4).all(), "the likeliest come first"


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_likelihood_never_falls_under_top_k(n_samples, n_candidates, seed):
    """The kept are the likeliest of those drawn, for each embedding and each place."""
    pairs = np.random.default_rng(0).normal(size=(10, 2, 6)).astype(np.float32)
    vae = ContrastiveVAE(3, 8, max_epochs=1, random_state=0).fit(pairs)
    mean, std = vae.encode(pairs)

    def log_likelihood(**drawn):
        z = vae.sample_latents(pairs, noise_variance=1.0, random_state=seed, **drawn)
        return stats.norm(mean[:, None], std[:, None]).logpdf(z).sum(-1)  # (n, drawn, 2)

    kept = log_likelihood(n_samples=n_samples, n_candidates=n_candidates)
    # The same seed draws the same noise, here without a choice.
    drawn = log_likelihood(n_samples=n_samples * n_candidates, n_candidates=1)
    best = np.sort(drawn, axis=1)[:, ::-1][:, :n_samples]
    np.testing.assert_allclose(np.sort(kept, axis=1)[:, ::-1], best, rtol=1e-4, atol=1e-4)
    assert (kept.mean(axis=1) >= drawn.mean(axis=1) - 1e-4).all()


def test_sampling_follows_the_rows_wherever_they_stand(vae, pairs):
    order = np.random.default_rng(0).permutation(len(pairs))
    straight = vae.sample_pairs(pairs, 2, random_state=3)
    shuffled = vae.sample_pairs(pairs[order], 2, random_state=3)
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-5)


def test_pickle_predicts_the_same_and_goes_on_learning(vae, pairs):
    again = pickle.loads(pickle.dumps(vae))
    np.testing.assert_array_equal(again.transform(pairs), vae.transform(pairs))
    vae.partial_fit(pairs)
    again.partial_fit(pairs)
    np.testing.assert_array_equal(again.transform(pairs), vae.transform(pairs))


# ------------------------------------------------------------------------- bad input
def test_unfitted_use_is_refused(pairs):
    for method in ("encode", "transform", "sample_pairs", "sample_latents", "score"):
        with pytest.raises(NotFittedError):
            getattr(ContrastiveVAE(), method)(pairs)
    with pytest.raises(NotFittedError):
        ContrastiveVAE().decode(np.zeros((2, 2, 16)))


def test_bad_input_is_named(vae, pairs):
    with pytest.raises(ValueError, match=r"\(n, 2, d\), got shape"):
        vae.encode(np.ones((4, 3, 12)))
    with pytest.raises(ValueError, match=r"latents of shape \(n, 2, 4\)"):
        vae.decode(np.ones((4, 2, 3)))
    with pytest.raises(ValueError, match="device='gpu' is none"):
        ContrastiveVAE(device="gpu").fit(pairs)
    with pytest.raises(ValueError, match=r"\(n, 2, d\), got shape \(2, 3, 2, 12\)"):
        vae.encode(np.ones((2, 3, 2, 12)))
    for shape in ((4, 3, 4), (2, 4), (1, 4, 2, 4)):
        with pytest.raises(ValueError, match=r"latents of shape \(n, 2, 4\), got shape"):
            vae.decode(np.ones(shape))
    with pytest.raises(ValueError, match="expecting 12 features"):
        vae.encode(np.ones((4, 2, 5)))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("latent_dim", [1], [0, 1.5]),
        ("hidden_dim", [1], [0, 1.5]),
        ("sharing", SHARING, ["some", None]),
        ("beta", [0, 0.5], [-1e-9]),
        ("gamma", [0, 0.5], [-1e-9]),
        ("reconstruction", ["sum", "mean"], ["max"]),
        ("learning_rate", [1e-9], [0]),
        ("batch_size", [1], [0, 1.5]),
        ("max_epochs", [1], [0, 1.5]),
        ("warm_start", [True, False], ["yes"]),
        ("device", ["cpu", torch.device("cpu")], [3]),
        ("random_state", [None, 0, np.random.RandomState(0)], [-1]),
        ("verbose", [0, False], [-1]),
    ],
)
def test_parameters_are_held_to_their_ranges(name, good, bad, pairs):
    vae = ContrastiveVAE(2, 3, max_epochs=1)
    for value in good:
        clone(vae).set_params(**{name: value}).fit(pairs[:4])
        clone(vae).set_params(**{name: value}).partial_fit(pairs[:4])
    for value in bad:
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=f"The '{name}' parameter of ContrastiveVAE"):
                getattr(clone(vae).set_params(**{name: value}), method)(pairs[:4])
