"""Laplace's approximation: the mode, the evidence, and leave-group-out prediction."""

import gp_reference
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning

from lens_sklearn import _laplace
from lens_sklearn._laplace import LaplacePosterior

RNG = np.random.default_rng(0)
N = 24
ROOT = RNG.normal(size=(3 * N, 40))
JOINT = ROOT @ ROOT.T / 40  # of the log-odds of N pairs, then the rewards of their members
KERNEL = JOINT[:N, :N]
TARGET = np.tile([1.0, 0.7, 0.5, 0.1], N // 4)
WEIGHT = np.tile([1.0, 2.0, 0.5], N // 3)


def fit_laplace(*arrays, **params):
    return _laplace.fit_laplace(*map(torch.from_numpy, arrays), **params)


def leave_out(posterior, covariance, group):
    return posterior.leave_groups_out(torch.from_numpy(covariance), group)


def arrays(posterior):
    """Dual coefficients, log-odds, curvature and factor as arrays."""
    return (
        tensor.numpy()
        for tensor in (posterior.dual_coef, posterior.log_odds, posterior.curvature, posterior.L)
    )


def test_the_mode_is_the_most_probable():
    posterior = fit_laplace(KERNEL, TARGET, WEIGHT)

    def loss(dual):
        odds = KERNEL @ dual
        value = WEIGHT @ (np.logaddexp(0, odds) - TARGET * odds) + dual @ odds / 2
        return value, KERNEL @ (WEIGHT * (expit(odds) - TARGET) + dual)

    best = minimize(loss, np.zeros(N), jac=True, options={"gtol": 1e-9})
    dual_coef, log_odds, curvature, L = arrays(posterior)
    np.testing.assert_allclose(log_odds, KERNEL @ best.x, atol=1e-6)
    np.testing.assert_allclose(KERNEL @ dual_coef, log_odds, atol=1e-9)
    win = expit(log_odds)
    np.testing.assert_allclose(curvature, WEIGHT * win * (1 - win), rtol=1e-4)
    noisy = KERNEL + np.diag(1 / curvature)
    np.testing.assert_allclose(L @ L.T, noisy, atol=1e-8)
    assert not np.triu(L, 1).any()
    # The coefficients are those of what would be observed with Gaussian noise.
    seen, _ = gp_reference.pseudo_observations(KERNEL, TARGET, WEIGHT)
    np.testing.assert_allclose(np.linalg.solve(noisy, seen), dual_coef, atol=1e-5)
    assert 2 < posterior.n_iter < 10


def test_log_marginal_likelihood():
    posterior = fit_laplace(KERNEL, TARGET, WEIGHT)
    f = posterior.log_odds.numpy()
    win = expit(f)
    likelihood = WEIGHT @ (TARGET * np.log(win) + (1 - TARGET) * np.log(1 - win))
    determinant = np.linalg.slogdet(np.eye(N) + KERNEL * (WEIGHT * win * (1 - win)))[1]
    expected = likelihood - f @ np.linalg.solve(KERNEL, f) / 2 - determinant / 2
    assert posterior.log_marginal_likelihood == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("target", [1.0, 0.5, 0.2])
def test_log_marginal_likelihood_of_one_pair_is_near_the_integral(target):
    def integrand(f):
        return np.exp(target * f - np.logaddexp(0, f)) * norm.pdf(f)

    exact = np.log(quad(integrand, -12, 12)[0])
    found = fit_laplace(np.eye(1), np.array([target]), np.ones(1)).log_marginal_likelihood
    assert found == pytest.approx(exact, abs=0.02)


def test_weights_are_repetitions():
    twice = np.repeat(np.arange(N), np.tile([1, 2, 3], N // 3))
    one = fit_laplace(KERNEL, TARGET, np.tile([1.0, 2.0, 3.0], N // 3))
    two = fit_laplace(KERNEL[np.ix_(twice, twice)], TARGET[twice], np.ones(len(twice)))
    np.testing.assert_allclose(one.log_odds[twice], two.log_odds, atol=1e-6)
    assert one.log_marginal_likelihood == pytest.approx(two.log_marginal_likelihood, abs=1e-5)


def test_what_does_not_converge_warns():
    with pytest.warns(ConvergenceWarning, match="not converged in 2 steps.*smaller prior_variance"):
        posterior = fit_laplace(KERNEL, TARGET, WEIGHT, max_iter=2)
    assert posterior.n_iter == 2
    needed = fit_laplace(KERNEL, TARGET, WEIGHT).n_iter
    assert fit_laplace(KERNEL, TARGET, WEIGHT, max_iter=needed).n_iter == needed
    assert fit_laplace(KERNEL, TARGET, WEIGHT, tol=0.1).n_iter < needed


def test_without_evidence_there_is_nothing_to_find():
    posterior = fit_laplace(KERNEL, np.full(N, 0.5), WEIGHT)
    assert posterior.n_iter == 1 and not posterior.dual_coef.any()


def test_extreme_log_odds_do_not_underflow_but_warn():
    """Beyond log-odds of 14 the curvature has its least value, and steps are short."""
    with pytest.warns(ConvergenceWarning, match="in 50 steps"):
        posterior = fit_laplace(1e4 * np.ones((1, 1)), np.ones(1), np.full(1, 1e6))
    assert posterior.n_iter == 50
    assert 14 < posterior.log_odds[0] < 25 and posterior.L.isfinite().all()


def test_conditioning_is_a_schur_complement():
    posterior = fit_laplace(KERNEL, TARGET, WEIGHT)
    rewards = slice(N, N + 7)
    given = torch.from_numpy(JOINT)[rewards]
    _, variance = _laplace.condition(posterior.L, given[:, :N], given[:, rewards].diagonal())
    noisy = KERNEL + np.diag(1 / posterior.curvature.numpy())
    schur = JOINT[rewards, rewards] - JOINT[rewards, :N] @ np.linalg.solve(
        noisy, JOINT[:N, rewards]
    )
    np.testing.assert_allclose(variance, np.diag(schur), atol=1e-9)


PART = ROOT[:N, :25] @ ROOT[:N, :25].T / 40  # of a part of the reward: KERNEL less the rest


@pytest.mark.parametrize("part", [KERNEL, PART], ids=["the whole", "a part"])
@pytest.mark.parametrize(
    "group", [np.arange(N), np.arange(N) % 8, np.arange(N) // 10, np.repeat([0, 1, 2], [1, 4, 19])]
)
def test_groups_left_out_are_predicted_by_the_others_alone(group, part):
    """Against conditioning anew on the pairs of all other groups; groups of 1, 3 and more."""
    posterior = fit_laplace(KERNEL, TARGET, WEIGHT)
    seen, noise = gp_reference.pseudo_observations(KERNEL, TARGET, WEIGHT)
    expected = gp_reference.left_out(KERNEL, part, seen, noise, group)
    np.testing.assert_allclose(leave_out(posterior, part, group), expected, atol=1e-5)
    names = np.array(["c", "a", "d", "b"] * 6)[group]  # groups need not be numbers in order
    if len(np.unique(group)) <= 4:
        np.testing.assert_allclose(leave_out(posterior, part, names), expected, atol=1e-5)


def test_one_group_of_all_is_predicted_by_the_prior():
    left_out = leave_out(fit_laplace(KERNEL, TARGET, WEIGHT), KERNEL, np.zeros(N))
    np.testing.assert_allclose(left_out, 0, atol=1e-6)


def test_leaving_out_is_near_fitting_anew():
    """The Gaussian of the other pairs hardly changes when one is not seen."""
    found = leave_out(fit_laplace(KERNEL, TARGET, WEIGHT), KERNEL, np.arange(N))
    for i in range(N):
        others = np.arange(N) != i
        anew = fit_laplace(KERNEL[np.ix_(others, others)], TARGET[others], WEIGHT[others])
        assert found[i] == pytest.approx(KERNEL[i, others] @ anew.dual_coef.numpy(), abs=0.1)


def test_what_was_learnt_cannot_be_set_anew():
    assert LaplacePosterior.__dataclass_params__.frozen
