"""Theorems 1 and 2, Lemma 3 and the distances, each held by checks that mutants fail.

A check takes the implementation as its argument. It is run on the library's function, where it
must pass, and on wrong ones (a dropped term, another constant), where it must not.
"""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lens_sklearn.theory import (
    beneficial_region,
    empirical_wasserstein1,
    gaussian_kl,
    lemma3_bound,
    noise_radius,
    paper_n0,
    theorem1_margin_bound,
    theorem2_error_ratio,
    theorem2_limit,
    theorem2_rho,
    wasserstein2_gaussian,
)

variances = st.floats(1e-4, 4.0)
dims = st.integers(1, 200)
deltas = st.floats(1e-4, 0.5)


# ------------------------------------------------------------------------ t_delta
def check_radius_inverts_the_tail_bound(radius):
    """Laurent and Massart: P(χ² ≥ m + 2√(mx) + 2x) ≤ exp(−x), here with x = ln(4/δ)."""
    for m in (1, 16, 300):
        for delta in (0.3, 0.01):
            squared = radius(0.04, m, delta) ** 2 / 0.04
            assert 2 * squared >= m
            root_x = (np.sqrt(2 * squared - m) - np.sqrt(m)) / 2
            assert 4 * np.exp(-(root_x**2)) == pytest.approx(delta)


RADIUS_MUTANTS = {
    "variance taken for a standard deviation": lambda v, m, d: noise_radius(v**2, m, d),
    "ln(1/δ) for ln(4/δ)": lambda v, m, d: noise_radius(v, m, 1 - 1e-9 if d > 0.25 else 4 * d),
    "dimension dropped": lambda v, m, d: np.sqrt(noise_radius(v, m, d) ** 2 - v * m),
    "last term dropped": lambda v, m, d: np.sqrt(
        noise_radius(v, m, d) ** 2 - 2 * v * np.log(4 / d)
    ),
}


def test_radius_inverts_the_tail_bound():
    check_radius_inverts_the_tail_bound(noise_radius)


@pytest.mark.parametrize("mutant", RADIUS_MUTANTS.values(), ids=RADIUS_MUTANTS)
def test_radius_mutants_are_caught(mutant):
    with pytest.raises(AssertionError):
        check_radius_inverts_the_tail_bound(mutant)


@given(variances, dims, deltas, st.floats(1.01, 10))
def test_radius_grows_with_noise_dimension_and_confidence(variance, m, delta, factor):
    radius = noise_radius(variance, m, delta)
    assert noise_radius(factor * variance, m, delta) == pytest.approx(np.sqrt(factor) * radius)
    assert noise_radius(variance, m + 1, delta) > radius
    assert noise_radius(variance, m, delta / factor) > radius
    assert noise_radius(0.0, m, delta) == 0


@given(variances, dims, deltas)
def test_radius_covers_the_chi_quantile(variance, m, delta):
    quantile = np.sqrt(variance) * stats.chi(m).ppf(1 - delta / 2)
    assert noise_radius(variance, m, delta) >= quantile


# ---------------------------------------------------------------------- Theorem 1
def worst_case(n, rng, *, reward, decoder, error, variance, m, alpha):
    """Margins of n synthetic pairs in a world where Theorem 1 leaves as little as can be.

    The reward falls by ``reward * |x - c|^alpha`` around the chosen embedding's centre and rises
    by as much around the rejected one's, so every displacement counts in full, whatever its
    direction. The decoder is ``decoder`` times an isometry, so it stretches by exactly L_g.
    Reconstructions miss by exactly ``error``, in a fixed direction.
    """
    far = 1e6  # between the centres: the two cones never meet
    miss = np.zeros(m)
    miss[0] = error
    moved = [
        np.linalg.norm(decoder * np.sqrt(variance) * rng.normal(size=(n, m)) + miss, axis=1)
        for _ in range(2)
    ]
    height = reward * far**alpha
    return 2 * height, 2 * height - reward * (moved[0] ** alpha + moved[1] ** alpha)


WORLDS = [
    {"reward": 2.0, "decoder": 3.0, "error": 0.0, "variance": 0.01, "m": 16, "alpha": 1.0},
    {"reward": 0.5, "decoder": 0.2, "error": 1.5, "variance": 1e-6, "m": 2, "alpha": 1.0},
    {"reward": 1.0, "decoder": 5.0, "error": 0.3, "variance": 0.04, "m": 64, "alpha": 0.5},
    {"reward": 1.0, "decoder": 1.0, "error": 0.0, "variance": 1.0, "m": 1, "alpha": 1.0},
]


def check_theorem1_rate(bound):
    rng = np.random.default_rng(0)
    for world in WORLDS:
        for delta in (0.5, 0.1, 0.01):
            margin, synthetic = worst_case(5000, rng, **world)
            promised = bound(
                margin,
                reward_lipschitz=world["reward"],
                decoder_lipschitz=world["decoder"],
                reconstruction_error=world["error"],
                noise_variance=world["variance"],
                latent_dim=world["m"],
                delta=delta,
                alpha=world["alpha"],
            )
            broken = int((synthetic < promised - 1e-9 * margin).sum())
            # Exact: would a failure rate of delta show this many? Once in 10⁵ it would.
            test = stats.binomtest(broken, len(synthetic), delta, alternative="greater")
            assert test.pvalue > 1e-5, (world, delta, broken)


def mutant(**changes):
    """Theorem 1's bound with some of its arguments replaced by functions of them."""

    def bound(margin, **arguments):
        for name, change in changes.items():
            arguments[name] = change(arguments[name])
        return theorem1_margin_bound(margin, **arguments)

    return bound


THEOREM1_MUTANTS = {
    "one member instead of two": mutant(reward_lipschitz=lambda value: value / 2),
    "reconstruction error dropped": mutant(reconstruction_error=lambda value: 0.0),
    "decoder's constant dropped": mutant(decoder_lipschitz=lambda value: 1.0),
    "reward's constant dropped": mutant(reward_lipschitz=lambda value: 1.0),
    "variance taken for a standard deviation": mutant(noise_variance=np.square),
    "one latent dimension": mutant(latent_dim=lambda value: 1),
    "sign of the deduction": lambda margin, **arguments: (
        2 * margin - theorem1_margin_bound(margin, **arguments)
    ),
}


def test_theorem1_holds_at_its_rate():
    check_theorem1_rate(theorem1_margin_bound)


@pytest.mark.parametrize("bound", THEOREM1_MUTANTS.values(), ids=THEOREM1_MUTANTS)
def test_theorem1_mutants_are_caught(bound):
    with pytest.raises(AssertionError):
        check_theorem1_rate(bound)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_theorem1_is_equation_14(alpha):
    bound = theorem1_margin_bound(
        3.0,
        reward_lipschitz=0.7,
        decoder_lipschitz=1.3,
        reconstruction_error=0.4,
        noise_variance=0.09,
        latent_dim=5,
        delta=0.2,
        alpha=alpha,
    )
    t = 0.3 * (5 + 2 * (5 * np.log(20)) ** 0.5 + 2 * np.log(20)) ** 0.5
    assert bound == pytest.approx(3 - 2 * 0.7 * (1.3 * t + 0.4) ** alpha)


@given(st.floats(-5, 5), st.floats(0.01, 10), st.floats(0.01, 10), dims, deltas)
def test_theorem1_tightens_to_the_margin(margin, reward, decoder, m, delta):
    def bound(scale):
        return theorem1_margin_bound(
            margin,
            reward_lipschitz=reward,
            decoder_lipschitz=decoder,
            reconstruction_error=scale,
            noise_variance=scale**2,
            latent_dim=m,
            delta=delta,
        )

    bounds = [bound(scale) for scale in (1.0, 0.1, 1e-3, 0.0)]
    assert (np.diff(bounds) > 0).all()
    assert bounds[-1] == margin
    assert margin - bounds[2] == pytest.approx(1e-3 * (margin - bounds[0]))  # linear in both


# ---------------------------------------------------------------------- Theorem 2
def check_ratio_is_a_quotient_of_errors(ratio):
    """Equation 35 against the quotient of equations 33 and 27, written out."""
    c1, b0, d, delta = 0.24, 5.63, 4096, 0.05
    rho = b0 / (c1 * np.sqrt(d + np.log(1 / delta)))
    for p in (0.1, 0.26, 0.5, 0.8):
        for k in (1, 2, 4, 50.0):
            for n in (1, 66, 1000):
                plain = c1 * np.sqrt((d + np.log(1 / delta)) / n)
                augmented = c1 * np.sqrt((d + np.log(1 / delta)) / (k * n))
                augmented += (k - 1) / k * b0 * n**-p
                assert ratio(k, n, rho=rho, p=p) == pytest.approx(augmented / plain)


THEOREM2_MUTANTS = {
    "1/k for its root": lambda k, n, *, rho, p: 1 / k + (k - 1) / k * rho * n ** (0.5 - p),
    "share of synthetic pairs dropped": lambda k, n, *, rho, p: k**-0.5 + rho * n ** (0.5 - p),
    "sign of the exponent": lambda k, n, *, rho, p: k**-0.5 + (k - 1) / k * rho * n ** (p - 0.5),
}


def test_ratio_is_a_quotient_of_errors():
    check_ratio_is_a_quotient_of_errors(theorem2_error_ratio)


@pytest.mark.parametrize("ratio", THEOREM2_MUTANTS.values(), ids=THEOREM2_MUTANTS)
def test_theorem2_mutants_are_caught(ratio):
    with pytest.raises(AssertionError):
        check_ratio_is_a_quotient_of_errors(ratio)


@given(st.floats(1, 1e6), st.floats(0, 10), st.floats(0.01, 1.5))
def test_ratio_is_one_without_synthesis_and_has_its_limit(n, rho, p):
    assert theorem2_error_ratio(1, n, rho=rho, p=p) == 1
    limit = theorem2_limit(n, rho=rho, p=p)
    assert theorem2_error_ratio(np.inf, n, rho=rho, p=p) == limit
    assert theorem2_error_ratio(1e12, n, rho=rho, p=p) == pytest.approx(limit, abs=1e-5, rel=1e-5)


def check_region_agrees_with_brute_force(contains):
    rng = np.random.default_rng(0)
    k, n = np.meshgrid(np.geomspace(1.01, 1e6, 60), np.geomspace(1, 1e8, 60))
    for _ in range(50):
        rho, p = 10 ** rng.uniform(-2, 1), rng.choice([0.1, 0.26, 0.4, 0.5, 0.7, 1.0])
        ratio = theorem2_error_ratio(k, n, rho=rho, p=p)
        clear = abs(ratio - 1) > 1e-9  # on the boundary itself rounding decides
        np.testing.assert_array_equal((ratio < 1)[clear], contains(rho, p, k, n)[clear])


def test_region_agrees_with_brute_force():
    check_region_agrees_with_brute_force(
        lambda rho, p, k, n: beneficial_region(rho=rho, p=p).contains(k, n)
    )


def papers_region(rho, p, k, n):
    """Equation 38 as the paper reads it: for p < 1/2 and N above the threshold."""
    if p >= 0.5:
        return beneficial_region(rho=rho, p=p).contains(k, n)
    return n > rho ** (-1 / (0.5 - p))


REGION_MUTANTS = {
    "the paper's sign": papers_region,
    "the limit's region for every k": lambda rho, p, k, n: rho * n ** (0.5 - p) < 1,
}


@pytest.mark.parametrize("contains", REGION_MUTANTS.values(), ids=REGION_MUTANTS)
def test_region_mutants_are_caught(contains):
    with pytest.raises(AssertionError):
        check_region_agrees_with_brute_force(contains)


@given(st.floats(0.01, 5), st.floats(0.05, 1.2).filter(lambda p: abs(p - 0.5) > 0.02))
def test_region_ends_where_the_limit_is_one(rho, p):
    region = beneficial_region(rho=rho, p=p)
    with np.errstate(over="ignore", under="ignore"):
        threshold = np.exp(np.log(rho) / (p - 0.5))  # ρ N^(1/2 − p) = 1, solved for N
    ends = (0, threshold) if p < 0.5 else (threshold, np.inf)
    assert (region.n_lower, region.n_upper) == pytest.approx(ends)
    assert (region.rho, region.p) == (rho, p)
    if 2 <= threshold <= 1e12:
        inside, outside = (threshold / 1.01, threshold * 1.01)[:: 1 if p < 0.5 else -1]
        assert region.contains(1e12, inside) and not region.contains(1e12, outside)
        assert np.isfinite(region.smallest_k(inside)) and np.isinf(region.smallest_k(outside))


@given(
    st.floats(0.01, 5),
    st.floats(0.05, 1.2).filter(lambda p: abs(p - 0.5) > 0.02),
    st.floats(1.001, 1e4),
)
def test_ratio_is_one_on_the_boundary(rho, p, k):
    region = beneficial_region(rho=rho, p=p)
    boundary = region.boundary_n(k)
    if 1 <= boundary <= 1e12:
        assert theorem2_error_ratio(k, boundary, rho=rho, p=p) == pytest.approx(1)
        assert region.smallest_k(boundary) == pytest.approx(k, rel=1e-4)


def test_regions_by_hand():
    """With p = 1/4 the limit is N^(1/4) / 10, with p = 1 it is 10 / √N."""
    falls, grows = beneficial_region(rho=10, p=1), beneficial_region(rho=0.1, p=0.25)
    assert (falls.n_lower, falls.n_upper) == pytest.approx((100, np.inf))
    assert (grows.n_lower, grows.n_upper) == pytest.approx((0, 10_000))
    # At k = 4 the limit has to be below 2/3.
    assert falls.boundary_n(4) == pytest.approx(225)
    assert grows.boundary_n([4.0, 1e300]) == pytest.approx([(20 / 3) ** 4, 10_000])
    # A limit of 1/2 lets every k help, 3/4 those above 9, 1 none.
    np.testing.assert_allclose(grows.smallest_k([625, 7.5**4, 10_000]), [1, 9, np.inf])
    np.testing.assert_allclose(grows.smallest_k([1, 20_000]), [1, np.inf])
    found = grows.contains([[1.0], [1.01], [8.9], [9.1], [np.inf]], [600, 7.5**4, 10_001])
    assert found.tolist() == [
        [False, False, False],  # k = 1 changes nothing
        [True, False, False],
        [True, False, False],
        [True, True, False],
        [True, True, False],
    ]
    assert not grows.contains(1, 1)


def test_region_without_dependence_on_n():
    assert beneficial_region(rho=0.9, p=0.5).n_upper == np.inf
    nowhere = beneficial_region(rho=1.1, p=0.5)
    assert nowhere.n_lower == nowhere.n_upper == 0
    assert np.isnan(nowhere.boundary_n(4)) and np.isnan(nowhere.boundary_n([4, 5])).all()
    assert beneficial_region(rho=1.0, p=0.5).n_upper == 0
    for p in (0.3, 0.5, 0.8):
        everywhere = beneficial_region(rho=0.0, p=p)
        assert (everywhere.n_lower, everywhere.n_upper) == (0, np.inf)
        assert everywhere.contains(2, 1e9)


def test_the_papers_threshold_and_what_its_equation_says_there():
    n0 = paper_n0(c1=0.24, b0=5.63, p=0.26, d=4096, delta=0.05)
    assert round(n0, 2) == 65.59
    rho = theorem2_rho(c1=0.24, b0=5.63, d=4096, delta=0.05)
    region = beneficial_region(rho=rho, p=0.26)
    assert region.n_upper == pytest.approx(n0)
    # The sign trap: below the threshold augmentation helps, above it no k does.
    assert theorem2_limit(n0 / 2, rho=rho, p=0.26) < 1 < theorem2_limit(n0 * 2, rho=rho, p=0.26)
    ks = np.geomspace(1.001, 1e9, 500)
    assert (theorem2_error_ratio(ks, 1000, rho=rho, p=0.26) > 1).all()


# ------------------------------------------------------------------------ Lemma 3
clouds = st.integers(1, 12).flatmap(
    lambda n: arrays(float, (2, n, 3), elements=st.floats(-10, 10).map(lambda x: round(x, 3)))
)


@given(clouds)
def test_lemma3(points):
    assert empirical_wasserstein1(*points) <= lemma3_bound(*points) + 1e-9


@given(clouds, st.randoms())
def test_wasserstein1_forgets_the_order_and_the_bound_does_not_fall_below(points, random):
    embeddings, synthetic = points
    shuffled = synthetic[random.sample(range(len(synthetic)), len(synthetic))]
    distance = empirical_wasserstein1(embeddings, synthetic)
    assert empirical_wasserstein1(embeddings, shuffled) == pytest.approx(distance, abs=1e-9)
    assert distance <= lemma3_bound(embeddings, shuffled) + 1e-9
    assert empirical_wasserstein1(synthetic, shuffled) == pytest.approx(0, abs=1e-9)


@given(clouds)
def test_wasserstein1_is_scipys_in_one_dimension(points):
    x, y = points[..., 0]
    expected = stats.wasserstein_distance(x, y)
    assert empirical_wasserstein1(x[:, None], y[:, None]) == pytest.approx(expected, abs=1e-9)


def check_lemma3(distance, bound):
    """A set moved as one, where the lemma is an equation; then one with a single point moved."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 4))
    shift = np.array([3.0, 0.0, 4.0, 0.0])
    assert distance(points, points[::-1] + shift) == pytest.approx(5)
    assert distance(points, points + shift) <= bound(points, points + shift) + 1e-9
    moved = points.copy()
    moved[0] += shift
    assert distance(points, moved) <= bound(points, moved)
    assert bound(points, moved) == pytest.approx(5)


LEMMA3_MUTANTS = {
    "smallest for largest": (
        empirical_wasserstein1,
        lambda x, y: np.linalg.norm(x - y, axis=1).min(),
    ),
    "half": (empirical_wasserstein1, lambda x, y: lemma3_bound(x, y) / 2),
    "mean for largest": (
        empirical_wasserstein1,
        lambda x, y: np.linalg.norm(x - y, axis=1).mean(),
    ),
    "distance without transport": (
        lambda x, y: np.linalg.norm(x - y, axis=1).mean(),
        lemma3_bound,
    ),
    "sum for mean": (lambda x, y: len(x) * empirical_wasserstein1(x, y), lemma3_bound),
}


def test_lemma3_is_an_equation_for_a_shift():
    check_lemma3(empirical_wasserstein1, lemma3_bound)


@pytest.mark.parametrize("functions", LEMMA3_MUTANTS.values(), ids=LEMMA3_MUTANTS)
def test_lemma3_mutants_are_caught(functions):
    with pytest.raises(AssertionError):
        check_lemma3(*functions)


# --------------------------------------------------------- distances of Gaussians
means = arrays(float, 4, elements=st.floats(-5, 5))
stds = arrays(float, 4, elements=st.floats(0.05, 5))
gaussians = st.tuples(means, stds)


@given(gaussians, gaussians, gaussians)
def test_wasserstein2_is_a_metric(p, q, r):
    assert wasserstein2_gaussian(*p, *p) == 0
    distance = wasserstein2_gaussian(*p, *q)
    same = np.array_equal(p[0], q[0]) and np.array_equal(p[1], q[1])
    assert (distance > 0) == (not same) or distance < 1e-150  # squares of tiny gaps underflow
    assert distance == wasserstein2_gaussian(*q, *p)
    assert wasserstein2_gaussian(*p, *r) <= distance + wasserstein2_gaussian(*q, *r) + 1e-9


@given(gaussians, gaussians)
def test_kl_is_torchs_and_never_negative(p, q):
    kl = gaussian_kl(*p, *q)
    first, second = (torch.distributions.Normal(*map(torch.as_tensor, each)) for each in (p, q))
    expected = torch.distributions.kl_divergence(first, second).sum().item()
    assert kl >= 0
    assert kl == pytest.approx(expected, abs=1e-9)
    assert gaussian_kl(*p, *p) == 0


def some_gaussians(n):
    rng = np.random.default_rng(0)
    for _ in range(n):
        yield [(rng.normal(size=3), rng.uniform(0.1, 3, 3)) for _ in range(3)]


def check_wasserstein2(distance):
    for p, q, r in some_gaussians(200):
        assert distance(*p, *p) == 0
        assert distance(*p, p[0], q[1]) > 0 and distance(*p, q[0], p[1]) > 0
        assert distance(*p, *q) == pytest.approx(distance(*q, *p))
        assert distance(*p, *r) <= distance(*p, *q) + distance(*q, *r) + 1e-9
        # In one dimension it is the distance between quantile functions.
        grid = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
        gap = p[0][:1] - q[0][:1] + (p[1][:1] - q[1][:1]) * grid
        first = distance(p[0][:1], p[1][:1], q[0][:1], q[1][:1])
        assert first == pytest.approx(np.sqrt((gap**2).mean()), rel=1e-2)


def check_kl(divergence):
    for p, q, _ in some_gaussians(200):
        assert divergence(*p, *p) == pytest.approx(0, abs=1e-12)
        assert divergence(*p, *q) > 0
        # Its definition: the mean of the log-ratio over draws of the first.
        x = p[0] + p[1] * stats.norm.ppf((np.arange(2000)[:, None] + 0.5) / 2000)
        ratio = stats.norm(*p).logpdf(x) - stats.norm(*q).logpdf(x)
        expected = ratio.mean(axis=0).sum()
        assert divergence(*p, *q) == pytest.approx(expected, rel=2e-2, abs=1e-2)


DISTANCE_MUTANTS = {
    "W2 squared": (check_wasserstein2, lambda *a: wasserstein2_gaussian(*a) ** 2),
    "W2 of the means alone": (check_wasserstein2, lambda m, s, n, t: np.linalg.norm(m - n)),
    "W2 with variances": (
        check_wasserstein2,
        lambda m, s, n, t: wasserstein2_gaussian(m, s**2, n, t**2),
    ),
    "KL for W2": (check_wasserstein2, gaussian_kl),
    "KL without the half": (check_kl, lambda *a: 2 * gaussian_kl(*a)),
    "KL with its ends exchanged": (check_kl, lambda m, s, n, t: gaussian_kl(n, t, m, s)),
    "KL without the mean": (check_kl, lambda m, s, n, t: gaussian_kl(n, s, n, t)),
}


def test_distances_are_what_they_are_called():
    check_wasserstein2(wasserstein2_gaussian)
    check_kl(gaussian_kl)


@pytest.mark.parametrize(("check", "distance"), DISTANCE_MUTANTS.values(), ids=DISTANCE_MUTANTS)
def test_distance_mutants_are_caught(check, distance):
    with pytest.raises(AssertionError):
        check(distance)


def test_distances_broadcast_over_pairs():
    mean, std = np.zeros((7, 2, 3)), np.ones((7, 2, 3))
    assert wasserstein2_gaussian(mean[:, 0], std[:, 0], mean[:, 1], std[:, 1]).shape == (7,)
    assert gaussian_kl(mean, std).shape == (7, 2)


# ---------------------------------------------------------------------- bad input
def bound_with(**changes):
    constants = {
        "reward_lipschitz": 1.0,
        "decoder_lipschitz": 1.0,
        "reconstruction_error": 1.0,
        "noise_variance": 1.0,
        "latent_dim": 1,
        "delta": 0.5,
    }
    return theorem1_margin_bound(0.0, **constants | changes)


def rho_with(**changes):
    return theorem2_rho(**{"c1": 1.0, "b0": 1.0, "d": 1, "delta": 0.5} | changes)


REGION = beneficial_region(rho=1.0, p=0.3)
TINY = np.nextafter(0, 1)
#: A call of one value, what its error names, values just inside the range and just outside.
RANGES = {
    "noise_variance": (
        lambda v: noise_radius(v, 16, 0.05),
        r"noise_variance must be in \[0, inf\]",
        (0, 1, np.inf),
        (-TINY, np.nan),
    ),
    "latent_dim": (
        lambda v: noise_radius(0.01, v, 0.05),
        r"latent_dim must be in \[1, inf\]",
        (1, 2),
        (0, 0.99),
    ),
    "delta": (
        lambda v: noise_radius(0.01, 16, v),
        r"delta must be in \(0, 1\)",
        (1e-300, 1 - 1e-16),
        (0, 1, 1.5, np.nan),
    ),
    "reward_lipschitz": (
        lambda v: bound_with(reward_lipschitz=v),
        r"reward_lipschitz must be in \[0, inf\]",
        (0, 1),
        (-TINY, np.nan),
    ),
    "decoder_lipschitz": (
        lambda v: bound_with(decoder_lipschitz=v),
        r"decoder_lipschitz must be in \[0, inf\]",
        (0, 1),
        (-TINY, np.nan),
    ),
    "reconstruction_error": (
        lambda v: bound_with(reconstruction_error=v),
        r"reconstruction_error must be in \[0, inf\]",
        (0, 1),
        (-TINY, np.nan),
    ),
    "alpha": (
        lambda v: bound_with(alpha=v),
        r"alpha must be in \(0, 1\]",
        (TINY, 1),
        (0, 1.01, -0.5),
    ),
    "c1": (lambda v: rho_with(c1=v), r"c1 must be in \(0, inf\]", (1e-300, 1), (0, -1)),
    "b0": (lambda v: rho_with(b0=v), r"b0 must be in \[0, inf\]", (0, 1), (-TINY,)),
    "d": (lambda v: rho_with(d=v), r"d must be in \[1, inf\]", (1, 2), (0, 0.99)),
    "delta of rho": (
        lambda v: rho_with(delta=v),
        r"delta must be in \(0, 1\)",
        (1e-300, 1 - 1e-16),
        (0, 1),
    ),
    "k": (
        lambda v: theorem2_error_ratio(v, 10, rho=1, p=0.3),
        r"k must be in \[1, inf\]",
        (1, np.inf),
        (0.99, [2, 0.5], np.nan),
    ),
    "n": (
        lambda v: theorem2_error_ratio(2, v, rho=1, p=0.3),
        r"n must be in \[1, inf\]",
        (1, 2),
        (0, 0.99),
    ),
    "rho": (
        lambda v: theorem2_error_ratio(2, 10, rho=v, p=0.3),
        r"rho must be in \[0, inf\]",
        (0, 1),
        (-TINY,),
    ),
    "n of the limit": (
        lambda v: theorem2_limit(v, rho=1, p=0.3),
        r"n must be in \[1, inf\]",
        (1, 2),
        (0, 0.99),
    ),
    "rho of the limit": (
        lambda v: theorem2_limit(2, rho=v, p=0.3),
        r"rho must be in \[0, inf\]",
        (0, 1),
        (-TINY,),
    ),
    "rho of a region": (
        lambda v: beneficial_region(rho=v, p=0.3),
        r"rho must be in \[0, inf\]",
        (0, 1),
        (-TINY,),
    ),
    "k that a region contains": (
        lambda v: REGION.contains(v, 2),
        r"k must be in \[1, inf\]",
        (1, 2),
        (0.99,),
    ),
    "k of a boundary": (
        lambda v: REGION.boundary_n(v),
        r"k must be in \(1, inf\]",
        (1.01, np.inf),
        (1, 0.5),
    ),
    "deviations of W2": (
        lambda v: wasserstein2_gaussian([0.0], [v], [0.0], [0.0]),
        r"std0 must be in \[0, inf\]",
        (0, 1),
        (-TINY,),
    ),
    "second deviations of W2": (
        lambda v: wasserstein2_gaussian([0.0], [0.0], [0.0], [v]),
        r"std1 must be in \[0, inf\]",
        (0, 1),
        (-TINY,),
    ),
    "deviations of KL": (
        lambda v: gaussian_kl([0.0], [v]),
        r"std0 must be in \(0, inf\]",
        (1e-150, 1),
        (0, -1),
    ),
    "second deviations of KL": (
        lambda v: gaussian_kl([0.0], [1.0], [0.0], [v]),
        r"std1 must be in \(0, inf\]",
        (1e-150, 1),
        (0, -1),
    ),
}


@pytest.mark.parametrize(("call", "message", "inside", "outside"), RANGES.values(), ids=RANGES)
def test_ranges_hold_to_their_ends(call, message, inside, outside):
    for value in inside:
        call(value)
    for value in outside:
        with pytest.raises(ValueError, match=message):
            call(value)


def test_error_names_the_value():
    with pytest.raises(ValueError, match=r"k must be in \[1, inf\], got \[2, 0\.5\]\."):
        theorem2_error_ratio([2, 0.5], 10, rho=1, p=0.3)
    with pytest.raises(ValueError, match="divides by 1/2 - p"):
        paper_n0(1, 1, 0.5, 4, 0.05)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones((2, 3)), np.ones((2, 4))),
        (np.ones(3), np.ones(3)),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2))),
        (np.ones((0, 3)), np.ones((0, 3))),
    ],
)
def test_wasserstein1_asks_for_two_sets_of_one_size(x, y):
    with pytest.raises(ValueError, match=r"the shape \(n, d\), n > 0; got"):
        empirical_wasserstein1(x, y)


def test_a_region_cannot_be_changed():
    region = beneficial_region(rho=1.0, p=0.3)
    with pytest.raises(FrozenInstanceError):
        region.n_upper = 3


def test_an_error_ratio_is_of_one_pair_at_least():
    with pytest.raises(ValueError, match="n must be in"):
        theorem2_error_ratio(2, 0, rho=1.0, p=0.3)
    assert np.isfinite(theorem2_error_ratio(2, 1, rho=1.0, p=0.3))
