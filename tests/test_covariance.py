"""Shrunk covariances, against scikit-learn's LedoitWolf and scipy's matrix powers."""

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from sklearn.covariance import LedoitWolf, ledoit_wolf_shrinkage

from lens_sklearn import _covariance
from lens_sklearn._covariance import (
    LEAST_SHARE,
    Shrinkage,
    ShrunkCovariance,
)


def anisotropic_rows(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * np.geomspace(3, 0.1, d)[:, None])


def estimate_shrinkage(rows):
    return _covariance.estimate_shrinkage(torch.from_numpy(rows))


def shrunk_covariance(rows, shrinkage):
    return as_arrays(_covariance.shrunk_covariance(torch.from_numpy(rows), shrinkage))


def shrunk_covariance_of_span(rows):
    return as_arrays(_covariance.shrunk_covariance_of_span(torch.from_numpy(rows)))


def as_arrays(found):
    return ShrunkCovariance(found.variances.numpy(), found.axes.numpy(), found.rest)


def whole(covariance):
    """The covariance as a matrix, directions beside the axes included."""
    axes = covariance.axes
    beside = np.eye(axes.shape[1]) - axes.T @ axes
    return (axes.T * covariance.variances) @ axes + covariance.rest * beside


@pytest.mark.parametrize(("n", "d"), [(40, 6), (200, 6), (12, 30), (1, 5)])
def test_shrunk_covariances_are_ledoit_and_wolfs(n, d):
    rows = anisotropic_rows(n, d)
    share, target = 1, np.mean(rows**2) * np.eye(d)  # one row says nothing of a covariance
    if n > 1:
        expected = LedoitWolf(assume_centered=True).fit(rows)
        share, target = expected.shrinkage_, expected.covariance_
        assert 0.01 < share < 0.9, "neither is nothing shrunk nor everything"
    shrinkage = estimate_shrinkage(rows)
    assert shrinkage.share == pytest.approx(share)
    assert shrinkage.mean_variance == pytest.approx(np.mean(rows**2))
    np.testing.assert_allclose(whole(shrunk_covariance(rows, shrinkage)), target, atol=1e-9)
    span = shrunk_covariance_of_span(rows)
    assert span.axes.shape == (min(n, d), d)
    np.testing.assert_allclose(span.axes @ span.axes.T, np.eye(min(n, d)), atol=1e-9)
    np.testing.assert_allclose(whole(span), target, atol=1e-9)


@pytest.mark.parametrize("exponent", [0.5, -0.5, 0.125, 0, 2])
def test_powers(exponent):
    rows = anisotropic_rows(50, 6)
    covariance = shrunk_covariance(rows, estimate_shrinkage(rows))
    ledoit_wolf = LedoitWolf(assume_centered=True).fit(rows).covariance_
    expected = fractional_matrix_power(ledoit_wolf, exponent)
    np.testing.assert_allclose(covariance.power(exponent), expected, atol=1e-8)
    doubled = covariance.in_units_of(2.0)
    np.testing.assert_allclose(doubled.power(exponent), expected / 2**exponent, atol=1e-8)
    assert doubled.rest == covariance.rest / 2


def test_features_that_never_vary_change_no_shrinkage():
    rows = anisotropic_rows(30, 4)
    padded = np.insert(rows, [0, 2, 4], 0.0, axis=1)
    assert estimate_shrinkage(padded) == estimate_shrinkage(rows)
    nothing = estimate_shrinkage(np.zeros((5, 3)))
    assert nothing == Shrinkage(1.0, 1.0) and nothing.floor == 1


def test_no_direction_is_without_variance():
    """Where Ledoit and Wolf shrink nothing, inverse powers must be finite all the same."""
    rows = np.linspace(-2, 2, 50)[:, None]
    assert LedoitWolf(assume_centered=True).fit(rows).shrinkage_ == 0
    assert estimate_shrinkage(rows).share == LEAST_SHARE > 0
    flat = np.outer(np.linspace(-2, 2, 50), [1.0, 1.0])
    covariance = shrunk_covariance(flat, Shrinkage(LEAST_SHARE, 1.0))
    assert np.isfinite(covariance.power(-0.5)).all()


@pytest.mark.parametrize(("n", "d"), [(2, 3), (12, 13), (30, 400), (40, 2500)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_the_share_of_wide_rows_is_ledoit_and_wolfs(n, d, scale):
    rows = scale * anisotropic_rows(n, d)
    expected = ledoit_wolf_shrinkage(rows, assume_centered=True)
    assert 0 < expected < 1
    assert estimate_shrinkage(rows).share == pytest.approx(expected, rel=1e-10)


def test_no_product_of_features_is_made_of_wide_rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.linalg, "eigh", None)
        shapes = []
        made = torch.Tensor.__matmul__
        patch.setattr(torch.Tensor, "__matmul__", lambda a, b: shapes.append(b.shape) or made(a, b))
        estimate_shrinkage(anisotropic_rows(20, 21))
    assert max(map(max, shapes)) == 21 and all(shape[-1:] != (21,) for shape in shapes)


def test_the_share_of_wide_rows_stays_between_its_bounds():
    # Every row has the same product, so nothing scatters about the sample covariance.
    rows = np.tile([[1.0, -2.0, 0.5, 3.0]], (3, 1))
    assert ledoit_wolf_shrinkage(rows, assume_centered=True) == pytest.approx(0, abs=1e-12)
    assert estimate_shrinkage(rows).share == LEAST_SHARE
    # By hand: |S|² = 2 and its trace 2, so S is 2/3 from a ball, and two rows of the squared norm
    # 2 scatter by (8 / 2 - 2) / 2 = 1: more than that, so nothing of S is left.
    assert estimate_shrinkage(np.array([[1.0, 1, 0], [0, 0, np.sqrt(2)]])).share == 1
