"""One scale for response features."""

import numpy as np
import pytest

from lens_sklearn._feature_scale import FeatureScale


def test_features_are_standardised_and_kept_within_three_deviations():
    members = np.array([[0.0, 5.0], [2.0, 5.0]])
    scale = FeatureScale.estimate(members)
    assert scale.mean.tolist() == [1, 5]
    assert scale.scale.tolist() == [1, np.inf]
    rows = np.array([[2.0, 7.0], [5.0, 5.0], [-9.0, 0.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(scale.apply(rows), [[1, 0], [3, 0], [-3, 0], [np.nan, 0]])


def test_a_weight_is_a_repetition():
    rng = np.random.default_rng(0)
    members, weight = rng.normal(size=(6, 3)), rng.integers(1, 4, 6)
    repeated = FeatureScale.estimate(np.repeat(members, weight, axis=0))
    weighted = FeatureScale.estimate(members, weight)
    np.testing.assert_allclose(weighted.mean, repeated.mean)
    np.testing.assert_allclose(weighted.scale, repeated.scale)


@pytest.mark.parametrize("value", [0.1, 1e6, -3.7e-5])
def test_a_constant_is_ignored_though_its_mean_rounds(value):
    scale = FeatureScale.estimate(np.full((1001, 1), value))
    assert np.isinf(scale.scale).all()
