"""Kernels against their definitions: a wide network, arc-cosine kernels, scikit-learn's."""

import gp_reference
import numpy as np
import pytest

from lens_sklearn import _kernels
from lens_sklearn._kernels import (
    KERNELS,
    KernelSum,
    fit_kernel_sum,
    gaussian_kernel,
    inner_products,
    linear_kernel,
    pair_columns,
    pair_covariance,
    tangent_kernel,
)

A = np.random.default_rng(0).normal(size=(6, 4)) * np.linspace(0.3, 2, 6)[:, None]
B = np.random.default_rng(1).normal(size=(8, 4))


def test_tangent_kernel_is_that_of_a_wide_network():
    """Gradients of f(x) = √(2 / m) Σ v relu(w · x) by all m weights, one by one."""
    m, rng = 400_000, np.random.default_rng(2)
    w, v = rng.normal(size=(m, 4)), rng.normal(size=m)
    by_v = [np.sqrt(2 / m) * np.maximum(x @ w.T, 0) for x in (A, B)]  # (rows, m)
    on = [np.sqrt(2 / m) * v * (x @ w.T > 0) for x in (A, B)]  # gradient by w: times x
    expected = by_v[0] @ by_v[1].T + (on[0] @ on[1].T) * (A @ B.T)
    np.testing.assert_allclose(tangent_kernel(inner_products(A, B)), expected, rtol=0.02, atol=0.02)


def test_kernels_are_the_closed_forms():
    inner = inner_products(A, B)
    for kernel, expected in zip(KERNELS, gp_reference.kernels(A, B), strict=True):
        np.testing.assert_allclose(kernel(inner), expected, atol=1e-12)
    assert KERNELS == (linear_kernel, tangent_kernel, gaussian_kernel)


def test_kernels_are_covariances():
    members = np.concatenate([A, B, A[:2], -A[:2]])  # the same and the opposite as well
    inner = inner_products(members, members)
    for kernel in KERNELS:
        np.testing.assert_allclose(kernel(inner), kernel(inner).T, atol=1e-12)
        assert np.linalg.eigvalsh(kernel(inner))[0] > -1e-9
    assert all(np.isfinite(k(inner_products(np.zeros((1, 4)), B))).all() for k in KERNELS)


def test_differences_within_pairs():
    kernel = np.random.default_rng(3).normal(size=(6, 8))
    D = gp_reference.differences
    np.testing.assert_allclose(pair_covariance(kernel), D(3) @ kernel @ D(4).T, atol=1e-12)
    np.testing.assert_allclose(pair_columns(kernel), kernel @ D(4).T, atol=1e-12)


def test_the_sum_shares_the_prior_variance(monkeypatch):
    kernel, found = fit_kernel_sum(B, 2.0)
    np.testing.assert_allclose(found, gp_reference.pair_kernel(B, 2.0), atol=1e-12)
    assert np.diag(found).mean() == pytest.approx(2.0)
    monkeypatch.setattr(_kernels, "CHUNK", 6)  # 4 pairs in chunks of 3
    np.testing.assert_allclose(fit_kernel_sum(B, 2.0)[1], found, atol=1e-12)
    # Pairs of equal members differ in nothing, and the kernels' weights stay finite.
    same, nothing = fit_kernel_sum(np.repeat(B, 2, axis=0), 1.0)
    assert np.isfinite(same.weights).all() and not nothing.round(12).any()


def test_covariances_and_variances_of_rewards():
    weights = np.array([0.5, 0.2, 0.7])
    kernel = KernelSum(weights)
    joint = gp_reference.covariance(weights, A, B)
    np.testing.assert_allclose(
        kernel.with_pairs(A, B), joint @ gp_reference.differences(4).T, atol=1e-12
    )
    prior = np.diag(gp_reference.covariance(weights, A, A))
    np.testing.assert_allclose(kernel.variance(A), prior, atol=1e-7)


def test_what_was_learnt_cannot_be_set_anew():
    for value_object in (KernelSum,):
        assert value_object.__dataclass_params__.frozen
