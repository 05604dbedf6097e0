"""EmbeddingScaler: one scale over all leading axes."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import get_routing_for_object

from lens_sklearn import EmbeddingScaler, _scaler
from lens_sklearn._augmented_pairs import AugmentedPairs


def peak_memory(call, *args):
    """Return the bytes allocated at a time during a call, its result included."""
    tracemalloc.start()
    try:
        result = call(*args)  # held while the peak is read
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5))
def test_is_standard_scaler_over_the_leading_axes(leading, d):
    X = np.random.default_rng(0).normal(3, 5, size=(*leading, d)).astype(np.float32)
    expected = StandardScaler().fit_transform(X.reshape(-1, d)).reshape(X.shape)
    np.testing.assert_array_equal(EmbeddingScaler().fit_transform(X), expected)


def test_round_trip_and_dtype(pairs):
    scaler = EmbeddingScaler().fit(pairs)
    scaled = scaler.transform(pairs)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaler.inverse_transform(scaled), pairs, atol=1e-5)


def test_constant_and_huge_features_stay_finite(pairs):
    pairs[..., 3] = 1e4
    pairs[..., 4] *= 1e6
    scaled = EmbeddingScaler().fit_transform(pairs)
    assert np.isfinite(scaled).all()
    assert np.abs(scaled).max() < 10


def test_padding_is_left_out_and_stays(candidates):
    X = candidates[0]
    X[0, 3:] = np.nan
    scaled = EmbeddingScaler().fit_transform(X)
    np.testing.assert_array_equal(np.isnan(scaled), np.isnan(X))
    np.testing.assert_allclose(np.nanmean(scaled, axis=(0, 1)), 0, atol=1e-6)


def test_partial_fit_equals_fit(pairs):
    whole = EmbeddingScaler().fit(pairs)
    parts = EmbeddingScaler().partial_fit(pairs[:20]).partial_fit(pairs[20:])
    np.testing.assert_allclose(parts.scaler_.scale_, whole.scaler_.scale_, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 2, 7), (700, 7), (3, 100, 2, 7)])
def test_chunks_are_the_whole(shape, dtype, monkeypatch):
    X = np.random.default_rng(0).normal(3, 5, size=shape).astype(dtype)
    X[..., 2] = 7
    flat = X.reshape(-1, 7)
    expected = StandardScaler().fit(flat)
    for chunk in (1, 1000, 1 << 20):
        monkeypatch.setattr(_scaler, "CHUNK", chunk)
        scaler = EmbeddingScaler().fit(X)
        assert scaler.scaler_.n_samples_seen_ == len(flat)
        np.testing.assert_allclose(scaler.scaler_.mean_, expected.mean_, rtol=1e-12)
        np.testing.assert_allclose(scaler.scaler_.var_, expected.var_, rtol=1e-10, atol=1e-20)
        scaled = scaler.transform(X[::-1])  # not contiguous
        assert scaled.dtype == dtype
        np.testing.assert_allclose(
            scaled, expected.transform(flat).reshape(shape)[::-1], rtol=1e-5, atol=1e-6
        )


def test_padding_alone_teaches_nothing(candidates, monkeypatch):
    monkeypatch.setattr(_scaler, "CHUNK", 1)  # whole chunks of padding
    X = candidates[0].copy()
    padding = np.full_like(X[:2], np.nan)
    with pytest.raises(ValueError, match="every embedding of X is padding"):
        EmbeddingScaler().fit(padding)
    expected = EmbeddingScaler().fit(X[2:]).scaler_
    X[:2] = np.nan
    for scaler in (EmbeddingScaler().fit(X), EmbeddingScaler().fit(X).partial_fit(padding)):
        np.testing.assert_array_equal(scaler.scaler_.mean_, expected.mean_)
        np.testing.assert_array_equal(scaler.scaler_.var_, expected.var_)


def test_memory_is_the_input_and_the_output():
    X = np.random.default_rng(0).standard_normal((4000, 2, 1024), dtype=np.float32)  # 32 MB
    assert peak_memory(EmbeddingScaler().fit, X)[0] < 0.6 * X.nbytes
    peak, scaled = peak_memory(EmbeddingScaler().fit_transform, X)
    assert peak < 1.3 * X.nbytes
    scaler = EmbeddingScaler(copy=False)
    peak, in_place = peak_memory(scaler.fit_transform, X)
    assert peak < 0.6 * X.nbytes
    assert np.shares_memory(in_place, X)
    np.testing.assert_array_equal(in_place, scaled)
    half = X.astype(np.float16)  # converted once, and the conversion is what is standardised
    assert peak_memory(scaler.transform, half)[0] < 1.3 * X.nbytes


@pytest.mark.parametrize("method", ["transform", "inverse_transform"])
def test_copy_decides_what_is_overwritten(method, pairs, tmp_path):
    pairs = pairs.astype(np.float32)
    original, mapped = pairs.copy(), tmp_path / "pairs.npy"
    np.save(mapped, pairs)
    expected = getattr(EmbeddingScaler().fit(pairs), method)(pairs)
    scaler = EmbeddingScaler(copy=False).fit(pairs)
    np.testing.assert_array_equal(pairs, original)
    read_only = pairs.copy()
    read_only.flags.writeable = False
    for spared in (read_only, np.load(mapped, mmap_mode="r+"), original.tolist()):
        np.testing.assert_array_equal(getattr(scaler, method)(spared), expected)
        np.testing.assert_array_equal(spared, original)
    np.testing.assert_array_equal(np.load(mapped), original)
    half = getattr(scaler, method)(pairs.astype(np.float16))
    np.testing.assert_allclose(half, expected, rtol=1e-2, atol=1e-2)

    assert getattr(scaler, method)(pairs) is pairs
    np.testing.assert_array_equal(pairs, expected)


def test_synthesised_pairs_are_overwritten_where_they_may_be(pairs):
    pool = pairs[:, 0].copy()
    members = np.vstack([np.arange(2 * len(pairs)).reshape(-1, 2), [[0, 2 * len(pairs)]]])
    augmented = AugmentedPairs(pairs, pool, members, np.r_[: len(pairs), 0])
    kept = EmbeddingScaler().fit(augmented)
    expected = kept.transform(augmented)
    assert not np.shares_memory(expected.pool, pool)
    scaled = EmbeddingScaler(copy=False).fit(augmented).transform(augmented)
    assert scaled.originals is pairs
    assert scaled.pool is pool
    np.testing.assert_array_equal(np.asarray(scaled), np.asarray(expected))


def test_fit_forgets_and_checks_d(pairs):
    scaler = EmbeddingScaler().fit(pairs).fit(pairs[..., :5])
    assert scaler.n_features_in_ == 5
    with pytest.raises(ValueError, match="12 features.*expecting 5"):
        scaler.transform(pairs)


# ------------------------------------------------------------------------------- weights
def padded(shape, dtype, seed=0):
    """Return embeddings whose last feature is a constant that float32 rounds, some padding."""
    X = np.random.default_rng(seed).normal(3, 5, size=shape).astype(dtype)
    X[..., -1] = 0.1
    if len(shape) > 2:
        X[1, -1] = X[4] = np.nan
    return X


def assert_equal_scalers(one, other):
    for name in ("mean_", "var_", "scale_"):
        values = [getattr(scaler.scaler_, name) for scaler in (one, other)]
        np.testing.assert_allclose(*values, rtol=1e-12, atol=1e-16)
    assert one.scaler_.n_samples_seen_ == other.scaler_.n_samples_seen_


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(50, 7), (50, 2, 7), (20, 3, 2, 7)])
def test_weights_are_repetitions(shape, dtype, chunk, monkeypatch):
    monkeypatch.setattr(_scaler, "CHUNK", chunk)
    X = padded(shape, dtype)
    weight = np.random.default_rng(1).integers(0, 4, size=len(X))
    repeated = EmbeddingScaler().fit(np.repeat(X, weight, axis=0))
    assert_equal_scalers(EmbeddingScaler().fit(X, sample_weight=weight), repeated)
    parts = EmbeddingScaler().partial_fit(X[:5], sample_weight=weight[:5])
    assert_equal_scalers(parts.partial_fit(X[5:], sample_weight=weight[5:]), repeated)
    assert repeated.scaler_.scale_[-1] == 1


@pytest.mark.parametrize("unit", [1e-9, 0.3, 1e9])
def test_the_unit_of_the_weights_does_not_count(unit):
    X = padded((1000, 2, 7), np.float32)[5:]  # what follows the padding
    X[..., -3:] = [0.1, 1e4 / 3, -1e-6]  # float32 rounds them, and float64 rounds their sums
    weight = unit * np.random.default_rng(1).uniform(size=len(X))
    scaler = EmbeddingScaler().fit(X, sample_weight=weight).scaler_
    flat = X.reshape(-1, 7).astype(np.float64)
    each = np.repeat(weight, 2)
    mean = np.average(flat, axis=0, weights=each)
    std = np.sqrt(np.average((flat - mean) ** 2, axis=0, weights=each))
    np.testing.assert_allclose(scaler.mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(scaler.scale_[:4], std[:4], rtol=1e-12)
    assert scaler.scale_[4:].tolist() == [1, 1, 1]


def test_embeddings_without_weights_count_once_beside_those_with(pairs):
    weight = np.linspace(0.25, 2.5, 20)
    mixed = EmbeddingScaler().partial_fit(pairs[:20], sample_weight=weight).partial_fit(pairs[20:])
    whole = EmbeddingScaler().fit(pairs, sample_weight=np.r_[weight, np.ones(40)])
    assert_equal_scalers(mixed, whole)
    turned = EmbeddingScaler().partial_fit(pairs[20:])
    assert_equal_scalers(turned.partial_fit(pairs[:20], sample_weight=weight), whole)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(120), "sample_weight"),  # one for each embedding instead of each pair
        (-np.ones(60), "[Nn]egative"),
        (np.full(60, np.nan), "NaN"),
        (np.zeros(60), "weight 0|non-zero"),
    ],
)
def test_wrong_weights(pairs, weight, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingScaler().fit(pairs, sample_weight=weight)


def test_weights_of_a_pipeline_reach_the_scaler_on_request(pairs):
    X, weight = pairs[:, 0], np.arange(60.0)
    y = X @ np.arange(12)
    expected = {False: EmbeddingScaler().fit(X), True: EmbeddingScaler().fit(X, None, weight)}
    reward = LinearRegression()
    with config_context(enable_metadata_routing=True):
        reward.set_fit_request(sample_weight=True)
        for asked in (False, True):
            scaler = EmbeddingScaler()
            if asked:
                scaler.set_fit_request(sample_weight=True)
            pipe = Pipeline([("scale", scaler), ("reward", reward)])
            pipe.fit(X, y, sample_weight=weight)
            assert_equal_scalers(pipe["scale"], expected[asked])


# ------------------------------------------------------------------------------- state
@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("with_std", [True, False])
def test_the_fitted_state_makes_another_scaler_fitted(pairs, with_mean, with_std):
    scaler = EmbeddingScaler(with_mean=with_mean, with_std=with_std).fit(pairs)
    state, again = scaler.get_fitted_state(), clone(scaler)
    assert ("mean_" in state, "scale_" in state) == (with_mean or with_std, with_std)
    again.set_fitted_state(state)
    assert again.n_features_in_ == 12
    np.testing.assert_array_equal(again.transform(pairs), scaler.transform(pairs))
    further = [s.partial_fit(pairs[:9] + 1).transform(pairs) for s in (scaler, again)]
    np.testing.assert_array_equal(*further)


def test_a_state_that_does_not_fit_is_refused(pairs):
    state = EmbeddingScaler().fit(pairs).get_fitted_state()
    for wrong, message in [
        ({"mean_": np.zeros(11)}, r"mean_ of EmbeddingScaler has shape \(11,\), not \(12,\)"),
        ({"scale_": None}, "scale_"),
        ({"n_features_in_": 11}, "shape"),
        ({"n_samples_seen_": np.ones(3)}, "n_samples_seen_"),
        ({"evil_": 1}, "no fitted attribute 'evil_'"),
    ]:
        scaler = EmbeddingScaler()
        with pytest.raises(ValueError, match=message):
            scaler.set_fitted_state({**state, **wrong})
        assert not hasattr(scaler, "scaler_")


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("constant", [0.1, 1 / 3, -1234.567])
def test_weighted_constants_stay_unscaled_whatever_the_unit_of_weights(constant, unit):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2, 3)).astype(np.float32)
    X[..., 1] = constant
    scaler = EmbeddingScaler().fit(X, sample_weight=unit * (0.1 + rng.random(200)))
    assert scaler.scaler_.scale_[1] == 1
    np.testing.assert_allclose(scaler.transform(X)[..., 1], 0, atol=1e-6 * abs(constant))


def test_weights_are_taken_where_they_are_asked_for_alone():
    """In a Pipeline sample weights are the reward's, unless somebody asks for them here."""
    requests = get_routing_for_object(EmbeddingScaler())
    for method in ("fit", "partial_fit"):
        assert getattr(requests, method).requests == {"sample_weight": False}
