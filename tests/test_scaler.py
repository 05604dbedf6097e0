"""EmbeddingScaler: one scale over all leading axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from lens_sklearn import EmbeddingScaler


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


def test_fit_forgets_and_checks_d(pairs):
    scaler = EmbeddingScaler().fit(pairs).fit(pairs[..., :5])
    assert scaler.n_features_in_ == 5
    with pytest.raises(ValueError, match="12 features.*expecting 5"):
        scaler.transform(pairs)
