"""Kernels against their definitions: a wide network, arc-cosine kernels, scikit-learn's."""

import gp_reference
import numpy as np
import pytest
import torch

from lens_sklearn import _kernels
from lens_sklearn._kernels import (
    KERNELS,
    KernelSum,
    gaussian_kernel,
    linear_kernel,
    pair_columns,
    pair_covariance,
    tangent_kernel,
)

A = np.random.default_rng(0).normal(size=(6, 4)) * np.linspace(0.3, 2, 6)[:, None]
B = np.random.default_rng(1).normal(size=(8, 4))
TENSORS = torch.from_numpy(A), torch.from_numpy(B)


def inner_products(*arrays):
    return _kernels.inner_products(*map(torch.from_numpy, arrays))


def fit_kernel_sum(members, shares):
    """The sum, and the covariance of the pairs by it."""
    members = torch.from_numpy(members)
    kernel = _kernels.fit_kernel_sum(members, shares)
    return kernel, kernel.between_pairs(members, members).numpy()


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
    for name, kernel in KERNELS.items():
        expected = gp_reference.KERNELS[name](A, B)
        np.testing.assert_allclose(kernel(inner), expected, atol=1e-12)
    assert list(KERNELS.values()) == [linear_kernel, tangent_kernel, gaussian_kernel]


def test_kernels_are_covariances():
    members = np.concatenate([A, B, A[:2], -A[:2]])  # the same and the opposite as well
    inner = inner_products(members, members)
    for kernel in KERNELS.values():
        np.testing.assert_allclose(kernel(inner), kernel(inner).T, atol=1e-12)
        assert np.linalg.eigvalsh(kernel(inner))[0] > -1e-9
    assert all(k(inner_products(np.zeros((1, 4)), B)).isfinite().all() for k in KERNELS.values())


def test_differences_within_pairs():
    kernel = np.random.default_rng(3).normal(size=(6, 8))
    tensor, D = torch.from_numpy(kernel), gp_reference.differences
    np.testing.assert_allclose(pair_covariance(tensor), D(3) @ kernel @ D(4).T, atol=1e-12)
    np.testing.assert_allclose(pair_columns(tensor), kernel @ D(4).T, atol=1e-12)


@pytest.mark.parametrize(
    "shares", [gp_reference.THIRDS, {"gaussian": 1.5, "linear": 0.5}, {"linear": 2.0}]
)
def test_each_kernel_has_its_share_of_the_prior_variance(monkeypatch, shares):
    kernel, found = fit_kernel_sum(B, shares)
    assert kernel.weights == pytest.approx(gp_reference.kernel_weights(B, shares))
    np.testing.assert_allclose(found, gp_reference.pair_kernel(B, shares), atol=1e-12)
    assert np.diag(found).mean() == pytest.approx(sum(shares.values()))
    monkeypatch.setattr(_kernels, "CHUNK", 6)  # 4 pairs in chunks of 3
    np.testing.assert_allclose(fit_kernel_sum(B, shares)[1], found, atol=1e-12)


def test_pairs_of_equal_members_leave_the_weights_finite():
    same, nothing = fit_kernel_sum(np.repeat(B, 2, axis=0), gp_reference.THIRDS)
    assert np.isfinite(list(same.weights.values())).all() and not nothing.round(12).any()


@pytest.mark.parametrize(
    "weights",
    [{"linear": 0.5, "tangent": 0.2, "gaussian": 0.7}, {"gaussian": 2.0}, {"tangent": 0.4}],
)
def test_covariances_and_variances_of_rewards(weights):
    kernel = KernelSum(weights)
    joint = gp_reference.covariance(weights, A, B)
    np.testing.assert_allclose(
        kernel.with_pairs(*TENSORS), joint @ gp_reference.differences(4).T, atol=1e-12
    )
    prior = np.diag(gp_reference.covariance(weights, A, A))
    np.testing.assert_allclose(kernel.variance(TENSORS[0]), prior, atol=1e-7)


def test_what_was_learnt_cannot_be_set_anew():
    for value_object in (KernelSum,):
        assert value_object.__dataclass_params__.frozen
