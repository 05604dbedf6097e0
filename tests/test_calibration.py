"""Slopes of log-odds."""

import numpy as np
import pytest
from scipy.special import expit

from lens_sklearn._calibration import fit_slope


@pytest.mark.parametrize("slope", [0.2, 1.0, 5.0])
def test_the_slope_of_many_pairs_is_found(slope):
    log_odds = np.random.default_rng(0).normal(size=20_000)
    target = expit(slope * log_odds)  # soft targets have no noise
    assert fit_slope(log_odds, target) == pytest.approx(slope, rel=2e-2)


def test_scaling_log_odds_scales_the_slope_inversely():
    rng = np.random.default_rng(0)
    log_odds, target = rng.normal(size=40), rng.random(40)
    assert fit_slope(100 * log_odds, target) == pytest.approx(
        fit_slope(log_odds, target) / 100, rel=1e-4
    )


def test_pairs_without_a_mistake_get_a_finite_slope():
    slope = fit_slope(np.ones(10), np.ones(10))
    # By hand: the slope s maximises -10 log(1 + exp(-s)) - (log s)² / 2.
    grid = np.linspace(0.1, 10, 100_000)
    best = grid[np.argmin(10 * np.log1p(np.exp(-grid)) + np.log(grid) ** 2 / 2)]
    assert slope == pytest.approx(best, rel=1e-3)


def test_a_weight_is_a_repetition():
    rng = np.random.default_rng(0)
    log_odds, target, weight = rng.normal(size=9), rng.random(9), rng.integers(1, 4, 9)
    repeated = fit_slope(np.repeat(log_odds, weight), np.repeat(target, weight))
    assert fit_slope(log_odds, target, weight) == pytest.approx(repeated, rel=1e-6)


def test_pairs_close_to_0_get_no_huge_slope_where_others_are_not():
    assert fit_slope([1e-6], [1.0]) > 1e5
    # By hand: so small a log-odds says nothing, and the prior's mode is a root mean square of 1.
    assert fit_slope([1e-6], [1.0], size=0.5) == pytest.approx(2, rel=1e-3)
    rng = np.random.default_rng(0)
    log_odds, target = rng.normal(size=9), rng.random(9)
    own = np.sqrt((log_odds**2).mean())
    assert fit_slope(log_odds, target, size=own) == fit_slope(log_odds, target)


@pytest.mark.parametrize("log_odds", [np.zeros(3), np.zeros(0)])
def test_nothing_to_learn_from_leaves_log_odds_as_they_are(log_odds):
    assert fit_slope(log_odds, np.ones(len(log_odds))) == 1.0


def test_the_prior_is_one_of_the_scale():
    """Targets of one half ask for slope 0; the prior's mode is then what is left of it."""
    slope = fit_slope(np.array([3.0, -3.0]), np.array([0.5, 0.5]))
    assert 0 < slope < 1 / 3
