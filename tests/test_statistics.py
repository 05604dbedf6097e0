"""Intervals by prompt: by hand, against the plain interval, and their coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.curves import interval
from lens_sklearn._statistics import clustered_mean, holm


def test_a_clustered_mean_by_hand():
    # Mean (1 + 3 + 2 * 5) / 4 = 3.5; residuals of the clusters -2.5 - .5 = -3 and 2 * 1.5 = 3.
    found = clustered_mean([1.0, 3.0, 5.0, np.nan], [7, 7, 9, 9], [1, 1, 2, 5])
    assert found.mean == 3.5 and found.n == 2
    error = np.sqrt(2 * (9 + 9)) / 4
    assert found.half_width == pytest.approx(12.7062 * error, rel=1e-5)
    assert found.p == pytest.approx(1 - 2 / np.pi * np.arctan(3.5 / error))  # Cauchy: 1 degree


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=20))
def test_a_value_a_cluster_is_the_plain_interval(values):
    values = np.array(values, dtype=float)
    plain, clustered = interval(values), clustered_mean(values, np.arange(len(values)))
    np.testing.assert_allclose(clustered, plain, rtol=1e-9, atol=1e-12)


@given(st.lists(st.integers(-5, 5), min_size=4, max_size=20))
def test_a_repeated_cluster_tells_nothing_more(values):
    values = np.array(values, dtype=float)
    once = clustered_mean(values, np.arange(len(values)))
    thrice = clustered_mean(np.repeat(values, 3), np.repeat(np.arange(len(values)), 3))
    np.testing.assert_allclose(thrice, once, rtol=1e-9, atol=1e-12)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    values, cluster, weight = rng.normal(size=12), np.arange(12) // 2, rng.integers(1, 4, size=12)
    one = clustered_mean(values, cluster, weight)
    two = clustered_mean(np.repeat(values, weight), np.repeat(cluster, weight))
    np.testing.assert_allclose(one, two)


def test_intervals_cover_correlated_values():
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(30), 5)

    def covers(cluster):
        values = 0.3 + np.repeat(rng.normal(size=30), 5) + rng.normal(size=150)
        found = clustered_mean(values, cluster)
        return abs(found.mean - 0.3) < found.half_width

    assert 0.92 < np.mean([covers(cluster) for _ in range(500)]) < 0.98
    assert np.mean([covers(np.arange(150)) for _ in range(500)]) < 0.85  # as if independent


def test_what_has_no_interval():
    assert np.isnan(clustered_mean([np.nan, 1.0], [0, 1], [1, 0])).tolist() == [1, 1, 1, 0]
    one = clustered_mean([2.0, 4.0], [3, 3])
    assert one.mean == 3 and one.n == 1 and np.isnan(one.half_width) and np.isnan(one.p)
    assert clustered_mean([0.0, 0.0], [0, 1])[1:3] == (0, 1)  # no difference at all
    assert clustered_mean([0.1] * 7, range(7))[1:3] == (0, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_value_and_bonferroni(p):
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(1, len(p) * np.array(p))).all()
    assert (np.diff(adjusted[np.argsort(p)]) >= 0).all()
