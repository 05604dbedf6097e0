"""EmbeddingScaler: one scale over all leading axes."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

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
