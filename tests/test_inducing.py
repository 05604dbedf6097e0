"""The posterior of many pairs: exact if all are inducing, else that of their approximate prior."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from lens_sklearn import _inducing
from lens_sklearn._inducing import InducedPosterior, fit_induced
from lens_sklearn._laplace import condition, fit_laplace

RNG = np.random.default_rng(0)
N = 24
ROOT = torch.from_numpy(RNG.normal(size=(3 * N, 40)))
JOINT = ROOT @ ROOT.T / 40  # of the log-odds of N pairs, then the rewards of their members
KERNEL, REWARDS = JOINT[:N, :N], slice(N, N + 9)
PART = ROOT[:N, :25] @ ROOT[:N, :25].T / 40  # of a part of the reward: KERNEL less the rest
TARGET = torch.tensor([1.0, 0.7, 0.5, 0.1] * (N // 4), dtype=torch.float64)
WEIGHT = torch.tensor([1.0, 2.0, 0.5] * (N // 3), dtype=torch.float64)
GROUPS = [np.arange(N), np.arange(N) % 8, np.repeat([0, 1, 2], [1, 4, 19])]


def fit(inducing, kernel=KERNEL, **params):
    inducing = torch.as_tensor(inducing)
    return fit_induced(kernel[:, inducing], inducing, TARGET, WEIGHT, **{"tol": 1e-9} | params)


@pytest.fixture(params=[4096, 5], ids=["at once", "in chunks"])
def chunk(request, monkeypatch):
    monkeypatch.setattr(_inducing, "CHUNK", request.param)
    monkeypatch.setattr(_inducing, "BLOCK", request.param)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("part", [KERNEL, PART], ids=["the whole", "a part"])
def test_is_exact_if_all_pairs_are_inducing(part):
    order = RNG.permutation(N)  # the inducing pairs stand in any order
    exact, found = fit_laplace(KERNEL, TARGET, WEIGHT, tol=1e-9), fit(order)
    close = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(found.log_odds, exact.log_odds, **close)
    np.testing.assert_allclose(found.dual_coef, exact.dual_coef[order], **close)
    assert found.log_marginal_likelihood == pytest.approx(exact.log_marginal_likelihood, abs=1e-5)
    for group in GROUPS:
        np.testing.assert_allclose(
            found.leave_groups_out(part[:, order], group),
            exact.leave_groups_out(part, group),
            **close,
        )
    variances = JOINT[REWARDS, REWARDS].diagonal()
    np.testing.assert_allclose(
        condition(found.L, JOINT[REWARDS, :N][:, order], variances)[1],
        condition(exact.L, JOINT[REWARDS, :N], variances)[1],
        **close,
    )


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("group", GROUPS)
def test_few_inducing_pairs_have_the_exact_posterior_of_their_prior(group):
    """Which is that of covariances C K⁻¹ Cᵀ: against the exact posterior with these."""
    few = np.array([3, 17, 8, 0, 11])
    cross, inner = KERNEL[:, few], KERNEL[few][:, few]
    prior = cross @ torch.linalg.solve(inner, cross.T)
    exact, found = fit_laplace(prior, TARGET, WEIGHT, tol=1e-9), fit(few)
    np.testing.assert_allclose(found.log_odds, exact.log_odds, atol=1e-5)
    np.testing.assert_allclose(cross @ found.dual_coef, found.log_odds, atol=1e-6)
    for part in (cross, None):
        left_out = found.leave_groups_out(part, group)
        np.testing.assert_allclose(left_out, exact.leave_groups_out(prior, group), atol=1e-5)
    # What a reward has beside the inducing pairs is as uncertain as before.
    to_few = JOINT[REWARDS][:, few]
    along = to_few @ torch.linalg.solve(inner, to_few.T)
    known = condition(exact.L, to_few @ torch.linalg.solve(inner, cross.T), along.diagonal())[1]
    before = JOINT[REWARDS, REWARDS].diagonal()
    variance = condition(found.L, to_few, before)[1]
    np.testing.assert_allclose(variance, before - along.diagonal() + known, atol=1e-5)
    assert (variance > 0).all() and (variance < before).all()


def test_covariances_without_full_rank_are_no_obstacle():
    """A linear kernel of 6 features has 6 directions, however many pairs are inducing."""
    rows = ROOT[:N, :6]
    kernel = rows @ rows.T
    exact, found = fit_laplace(kernel, TARGET, WEIGHT, tol=1e-9), fit(np.arange(12), kernel)
    np.testing.assert_allclose(found.log_odds, exact.log_odds, atol=1e-5)
    np.testing.assert_allclose(
        condition(found.L, kernel[:, :12], kernel.diagonal())[1],
        condition(exact.L, kernel, kernel.diagonal())[1],
        atol=1e-5,
    )


def test_a_start_nearby_saves_steps_and_changes_nothing():
    cold = fit(np.arange(12), tol=1e-3)
    warm = fit(np.arange(12), tol=1e-3, start=cold.log_odds)
    assert warm.n_iter < cold.n_iter < 8
    np.testing.assert_allclose(warm.log_odds, fit(np.arange(12)).log_odds, atol=1e-5)


def test_without_evidence_there_is_nothing_to_find():
    found = fit_induced(KERNEL, torch.arange(N), torch.full_like(TARGET, 0.5), WEIGHT)
    assert found.n_iter == 1 and not found.coef.any()


def test_what_does_not_converge_warns():
    with pytest.warns(ConvergenceWarning, match="not converged in 1 steps.*smaller prior_variance"):
        fit(np.arange(N), max_iter=1)


def test_weights_are_repetitions():
    twice = torch.from_numpy(np.repeat(np.arange(N), np.tile([1, 2, 3], N // 3)))
    first = torch.tensor([0, 5, 7])
    weight = torch.tensor([1.0, 2.0, 3.0] * (N // 3), dtype=torch.float64)
    one = fit_induced(KERNEL[:, first], first, TARGET, weight)
    at = torch.searchsorted(twice, first)
    ones = torch.ones(len(twice), dtype=torch.float64)
    two = fit_induced(KERNEL[twice][:, first], at, TARGET[twice], ones)
    np.testing.assert_allclose(one.log_odds[twice], two.log_odds, atol=1e-6)


def test_settings_are_those_of_the_docstrings():
    assert _inducing.MAX_INDUCING == 2000
    assert InducedPosterior.__dataclass_params__.frozen
