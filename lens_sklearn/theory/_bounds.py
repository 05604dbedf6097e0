"""Theorems 1 and 2 and Lemma 3 as functions of their constants."""

from dataclasses import dataclass
from math import inf, log, nan, sqrt

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import xlogy


def check_range(name, value, low, high=inf, *, low_open=False, high_open=False):
    """Raise unless every value is a number between the ends.

    Parameters
    ----------
    name : str
        Named in the error.
    value : float or array-like
        What to check.
    low : float
        Lower end.
    high : float, default=inf
        Upper end.
    low_open, high_open : bool, default=False
        Whether the end itself is refused.

    Raises
    ------
    ValueError
        If a value is NaN or not between the ends.
    """
    values = np.asarray(value, dtype=float)
    high_enough = values > low if low_open else values >= low
    low_enough = values < high if high_open else values <= high
    if not (high_enough & low_enough).all():
        interval = f"{'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"
        raise ValueError(f"{name} must be in {interval}, got {value!r}.")


def check_probability(name, value):
    """Raise unless every value is in (0, 1).

    Parameters
    ----------
    name : str
        Named in the error.
    value : float or array-like
        What to check.

    Raises
    ------
    ValueError
        If a value is not between 0 and 1.
    """
    check_range(name, value, 0, 1, low_open=True, high_open=True)


# ------------------------------------------------------------------------- Theorem 1
def noise_radius(noise_variance, latent_dim, delta):
    r"""Return the radius that latent noise stays within (equation 15).

    .. math:: t_\delta = \sigma \sqrt{m + 2 \sqrt{m \ln(4/\delta)} + 2 \ln(4/\delta)}

    for :math:`\eta \sim N(0, \sigma^2 I_m)`: one noise vector is longer than this with
    probability at most delta / 2, so one of a pair's two is with probability at most delta
    (equations 21 and 22).

    Parameters
    ----------
    noise_variance : float or array-like
        Variance of the noise in each latent dimension, not its standard deviation.
    latent_dim : int or array-like
        Dimensions m of the latent space.
    delta : float or array-like
        Probability of failure, in (0, 1).

    Returns
    -------
    float or ndarray
        The radius, in units of the latent space.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from lens_sklearn.theory import noise_radius
    >>> round(float(noise_radius(0.01, 16, 0.05)), 3)
    0.644
    """
    check_range("noise_variance", noise_variance, 0)
    check_range("latent_dim", latent_dim, 1)
    check_probability("delta", delta)
    m, tail = np.asarray(latent_dim, dtype=float), np.log(4 / np.asarray(delta, dtype=float))
    return np.sqrt(noise_variance) * np.sqrt(m + 2 * np.sqrt(m * tail) + 2 * tail)


def theorem1_margin_bound(
    margin,
    *,
    reward_lipschitz,
    decoder_lipschitz,
    reconstruction_error,
    noise_variance,
    latent_dim,
    delta,
    alpha=1.0,
):
    r"""Lower bound of a synthetic pair's reward margin (Theorem 1, equation 14).

    With probability at least 1 − delta over the noise,

    .. math::
        r^*(\hat e^+) - r^*(\hat e^-) \ge r^*(e^+) - r^*(e^-)
            - 2 L_r (L_g t_\delta + \varepsilon_{rec})^\alpha

    The probability is that of one synthetic pair; it does not hold for all pairs at once.

    Parameters
    ----------
    margin : float or array-like of shape (n,)
        Margin :math:`r^*(e^+) - r^*(e^-)` of the original pair.
    reward_lipschitz : float or array-like of shape (n,)
        Hölder constant :math:`L_r` of the reward.
    decoder_lipschitz : float or array-like of shape (n,)
        Lipschitz constant :math:`L_g` of the decoder.
    reconstruction_error : float or array-like of shape (n,)
        :math:`\varepsilon_{rec}`, an upper bound of the norm :math:`\|g(z) - e\|` over both
        members: not its mean, and not its square. 0 under residual decoding.
    noise_variance : float
        Variance of the noise in each latent dimension.
    latent_dim : int
        Dimensions of the latent space.
    delta : float
        Probability of failure, in (0, 1).
    alpha : float, default=1.0
        Hölder exponent of the reward, in (0, 1]; 1 for networks of ReLUs.

    Returns
    -------
    float or ndarray of shape (n,)
        The bound, in units of the reward.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    Examples
    --------
    >>> from lens_sklearn.theory import theorem1_margin_bound
    >>> bound = theorem1_margin_bound(
    ...     2.0,
    ...     reward_lipschitz=1.0,
    ...     decoder_lipschitz=1.0,
    ...     reconstruction_error=0.1,
    ...     noise_variance=0.01,
    ...     latent_dim=16,
    ...     delta=0.05,
    ... )
    >>> round(float(bound), 2)
    0.51
    """
    check_range("reward_lipschitz", reward_lipschitz, 0)
    check_range("decoder_lipschitz", decoder_lipschitz, 0)
    check_range("reconstruction_error", reconstruction_error, 0)
    check_range("alpha", alpha, 0, 1, low_open=True)
    distance = decoder_lipschitz * noise_radius(noise_variance, latent_dim, delta)
    distance = distance + np.asarray(reconstruction_error, dtype=float)
    return np.asarray(margin, dtype=float) - 2 * reward_lipschitz * distance**alpha


# ------------------------------------------------------------------------- Theorem 2
def theorem2_rho(c1, b0, d, delta):
    r"""Ratio of the synthesis bias to the statistical error (below equation 34).

    .. math:: \rho = \frac{B_0}{C_1 \sqrt{d + \ln(1/\delta_1)}}

    Parameters
    ----------
    c1 : float
        Constant of the statistical error.
    b0 : float
        Constant of the synthesis bias.
    d : int
        Dimension of the embeddings.
    delta : float
        Probability of failure, in (0, 1).

    Returns
    -------
    float
        Rho.

    Examples
    --------
    >>> from lens_sklearn.theory import theorem2_rho
    >>> round(theorem2_rho(c1=0.24, b0=5.63, d=4096, delta=0.05), 4)
    0.3664
    """
    check_range("c1", c1, 0, low_open=True)
    check_range("b0", b0, 0)
    check_range("d", d, 1)
    check_probability("delta", delta)
    return b0 / (c1 * sqrt(d + log(1 / delta)))


def theorem2_error_ratio(k, n, *, rho, p):
    r"""Estimation error with k-fold augmentation over the error without (equation 35).

    .. math::
        \frac{\zeta_{aug}}{\zeta}(k, N) = \sqrt{1/k} + \frac{k - 1}{k} \, \rho N^{1/2 - p}

    Below 1 augmentation helps. ``k = inf`` gives the limit (equation 36).

    Parameters
    ----------
    k : float or array-like
        Augmentation factor, at least 1, the originals included.
    n : float or array-like
        Original pairs N, at least 1.
    rho : float
        As :func:`theorem2_rho` returns it.
    p : float
        Exponent of the reconstruction error's decay :math:`O(N^{-p})`.

    Returns
    -------
    float or ndarray
        The ratio; `k` and `n` broadcast.

    Raises
    ------
    ValueError
        If a parameter is out of its range.

    See Also
    --------
    beneficial_region : Where the ratio is below 1.

    Examples
    --------
    The paper's constants, at the 1,000 pairs and the four-fold augmentation of its experiments:

    >>> from lens_sklearn.theory import theorem2_error_ratio
    >>> round(float(theorem2_error_ratio(4, 1000, rho=0.3664, p=0.26)), 2)
    1.94
    """
    check_range("k", k, 1)
    check_range("n", n, 1)
    check_range("rho", rho, 0)
    share = 1 / np.asarray(k, dtype=float)
    return np.sqrt(share) + (1 - share) * theorem2_limit(n, rho=rho, p=p)


def theorem2_limit(n, *, rho, p):
    r"""Limit of the error ratio for ever more synthetic pairs (equation 36).

    Parameters
    ----------
    n : float or array-like
        Original pairs N, at least 1.
    rho : float
        As :func:`theorem2_rho` returns it.
    p : float
        Exponent of the reconstruction error's decay.

    Returns
    -------
    float or ndarray
        :math:`\rho N^{1/2 - p}`.

    Examples
    --------
    >>> from lens_sklearn.theory import theorem2_limit
    >>> round(float(theorem2_limit(1000, rho=0.3664, p=0.26)), 2)
    1.92
    """
    check_range("n", n, 1)
    check_range("rho", rho, 0)
    return rho * np.asarray(n, dtype=float) ** (0.5 - p)


@dataclass(frozen=True)
class BeneficialRegion:
    r"""Where k-fold augmentation lowers the error, by equation 35.

    With :math:`c = \rho N^{1/2 - p}` and :math:`s = 1/\sqrt k` equation 35 is
    :math:`s + (1 - s^2) c`, and it is below 1 for s < 1 exactly where :math:`c (1 + s) < 1`. So
    every k > 1 helps for c ≤ 1/2, only :math:`k > (c / (1 - c))^2` for 1/2 < c < 1, and none
    for c ≥ 1.

    Parameters
    ----------
    rho, p : float
        The constants.
    n_lower, n_upper : float
        Some k helps where ``n_lower < N < n_upper``. With p < 1/2 `n_upper` is the threshold
        and `n_lower` 0; with p > 1/2 it is the other way round. Equal where nothing helps.
    """

    rho: float
    p: float
    n_lower: float
    n_upper: float

    def contains(self, k, n):
        """Tell whether k-fold augmentation of n pairs lowers the error.

        Parameters
        ----------
        k : float or array-like
            Augmentation factor, at least 1.
        n : float or array-like
            Original pairs, at least 1.

        Returns
        -------
        bool or ndarray of bool
            Whether ``theorem2_error_ratio(k, n)`` is below 1.
        """
        check_range("k", k, 1)
        k = np.asarray(k, dtype=float)
        limit = theorem2_limit(n, rho=self.rho, p=self.p)
        return (k > 1) & (limit * (1 + 1 / np.sqrt(k)) < 1)

    def smallest_k(self, n):
        """Return the factor above which augmentation of n pairs lowers the error.

        Parameters
        ----------
        n : float or array-like
            Original pairs, at least 1.

        Returns
        -------
        float or ndarray
            1 where every k > 1 helps, infinity where none does.
        """
        limit = theorem2_limit(n, rho=self.rho, p=self.p)
        with np.errstate(divide="ignore"):
            k = (limit / np.maximum(1 - limit, 0)) ** 2
        return np.maximum(k, 1.0)

    def boundary_n(self, k):
        """Return the number of original pairs at which the ratio is 1.

        Parameters
        ----------
        k : float or array-like
            Augmentation factor above 1.

        Returns
        -------
        float or ndarray
            The upper end of the N that gain from k if p < 1/2, the lower end if p > 1/2, NaN
            if the ratio does not depend on N (p = 1/2).
        """
        check_range("k", k, 1, low_open=True)
        return _solve_n(self.rho * (1 + 1 / np.sqrt(np.asarray(k, dtype=float))), self.p)


def _solve_n(rho, p):
    """Return the N with rho N^(1/2 - p) = 1."""
    if p == 0.5:
        return np.full(np.shape(rho), nan)[()]
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(rho, dtype=float) ** (-1 / (0.5 - p))


def beneficial_region(*, rho, p):
    r"""Solve equation 35 for the k and N at which augmentation lowers the error.

    .. warning::
        This disagrees with the paper, and the paper with its own equation. For p < 1/2 the left
        side of :math:`\rho N^{1/2 - p} < 1` grows with N, so the condition holds for N **below**
        :math:`N_0 = \rho^{-1/(1/2 - p)}`. Equations 37 and 38 state it for N above. By the
        paper's own constants augmentation helps with fewer than 66 pairs and harms at the 1,000
        of its experiments. Equation 35 is a ratio of upper bounds, so this speaks about the
        bounds: it is no proof of harm.

    Parameters
    ----------
    rho : float
        As :func:`theorem2_rho` returns it.
    p : float
        Exponent of the reconstruction error's decay.

    Returns
    -------
    BeneficialRegion
        The region.

    See Also
    --------
    paper_n0 : The threshold as the paper computes it.

    Examples
    --------
    >>> from lens_sklearn.theory import beneficial_region, theorem2_rho
    >>> region = beneficial_region(rho=theorem2_rho(0.24, 5.63, d=4096, delta=0.05), p=0.26)
    >>> region.n_lower, round(region.n_upper, 2)
    (0.0, 65.59)
    >>> bool(region.contains(k=4, n=10)), bool(region.contains(k=4, n=1000))
    (True, False)
    """
    check_range("rho", rho, 0)
    if rho == 0 or (p == 0.5 and rho < 1):
        return BeneficialRegion(rho, p, 0.0, inf)
    if p == 0.5:
        return BeneficialRegion(rho, p, 0.0, 0.0)
    ends = (0.0, float(_solve_n(rho, p))) if p < 0.5 else (float(_solve_n(rho, p)), inf)
    return BeneficialRegion(rho, p, *ends)


def paper_n0(c1, b0, p, d, delta):
    r"""Threshold of equation 38, as the paper computes it.

    .. math:: N_0 = \Big(\frac{C_1 \sqrt{d + \ln(1/\delta_1)}}{B_0}\Big)^{1/(1/2 - p)}

    The paper says that augmentation helps **above** it; by its equation 35 it does **below**
    (see :func:`beneficial_region`).

    Parameters
    ----------
    c1 : float
        Constant of the statistical error.
    b0 : float
        Constant of the synthesis bias.
    p : float
        Exponent of the reconstruction error's decay, not 1/2.
    d : int
        Dimension of the embeddings.
    delta : float
        Probability of failure, in (0, 1).

    Returns
    -------
    float
        The threshold, a number of pairs.

    Examples
    --------
    >>> from lens_sklearn.theory import paper_n0
    >>> round(paper_n0(c1=0.24, b0=5.63, p=0.26, d=4096, delta=0.05), 2)
    65.59
    """
    if p == 0.5:
        raise ValueError("p=0.5; equation 38 divides by 1/2 - p: the ratio does not depend on N.")
    return float(_solve_n(theorem2_rho(c1, b0, d, delta), p))


# ------------------------------------------------------------- distances, and Lemma 3
def wasserstein2_gaussian(mean0, std0, mean1, std1):
    r"""2-Wasserstein distance between diagonal Gaussians (equation 5).

    .. math:: W_2 = \sqrt{\|\mu_0 - \mu_1\|^2 + \|\sigma_0 - \sigma_1\|^2}

    Parameters
    ----------
    mean0, std0, mean1, std1 : array-like of shape (..., m)
        Means and standard deviations.

    Returns
    -------
    ndarray of shape (...)
        Distances.

    Examples
    --------
    >>> from lens_sklearn.theory import wasserstein2_gaussian
    >>> float(wasserstein2_gaussian([0.0, 0.0], [1.0, 1.0], [3.0, 0.0], [1.0, 5.0]))
    5.0
    """
    check_range("std0", std0, 0)
    check_range("std1", std1, 0)
    means = np.linalg.norm(np.subtract(mean0, mean1), axis=-1)
    return np.hypot(means, np.linalg.norm(np.subtract(std0, std1), axis=-1))


def gaussian_kl(mean0, std0, mean1=0.0, std1=1.0):
    r"""KL divergence :math:`KL(N_0 \,\|\, N_1)` of diagonal Gaussians (equation 4).

    Parameters
    ----------
    mean0, std0 : array-like of shape (..., m)
        The first Gaussian.
    mean1 : array-like of shape (..., m), default=0.0
        Mean of the second.
    std1 : array-like of shape (..., m), default=1.0
        Standard deviation of the second.

    Returns
    -------
    ndarray of shape (...)
        Divergences, in nats.

    Examples
    --------
    >>> from lens_sklearn.theory import gaussian_kl
    >>> float(gaussian_kl([2.0, 0.0], [1.0, 1.0]))
    2.0
    """
    check_range("std0", std0, 0, low_open=True)
    check_range("std1", std1, 0, low_open=True)
    shift = np.subtract(mean0, mean1) / np.asarray(std1, dtype=float)
    ratio = np.divide(std0, std1)
    # x - 1 - log x with x = ratio²; a tiny negative rounding error is no divergence.
    terms = np.maximum(ratio**2 - 1 - xlogy(2, ratio), 0)
    return 0.5 * (shift**2 + terms).sum(axis=-1)


def empirical_wasserstein1(X, Y):
    r"""Exact 1-Wasserstein distance between two empirical measures of equal size.

    Between n points and n points of weight 1/n an optimal plan is a permutation, which
    scipy's assignment solver finds. It takes n² memory and up to n³ time.

    Parameters
    ----------
    X, Y : array-like of shape (n, d)
        The points.

    Returns
    -------
    float
        The distance, in units of the Euclidean norm.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> from lens_sklearn.theory import empirical_wasserstein1
    >>> empirical_wasserstein1([[0.0], [1.0]], [[1.0], [0.0]])
    0.0
    """
    X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
    if X.ndim != 2 or X.shape != Y.shape or not len(X):
        raise ValueError(
            f"X and Y must both have the shape (n, d), n > 0; got {X.shape} and {Y.shape}."
        )
    cost = cdist(X, Y)
    return float(cost[linear_sum_assignment(cost)].mean())


def lemma3_bound(embeddings, synthetic):
    r"""Upper bound of the Wasserstein distance that synthesis moves a set (Lemma 3).

    .. math:: W_1(\hat\mu, \mu) \le \max_i \|\hat e_i - e_i\|

    Parameters
    ----------
    embeddings : array-like of shape (n, d)
        Original embeddings.
    synthetic : array-like of shape (n, d)
        Row i is synthesised from row i of `embeddings`.

    Returns
    -------
    float
        The bound.

    See Also
    --------
    empirical_wasserstein1 : The distance itself.

    Examples
    --------
    >>> from lens_sklearn.theory import lemma3_bound
    >>> lemma3_bound([[0.0], [1.0]], [[1.0], [0.5]])
    1.0
    """
    displacement = np.subtract(synthetic, embeddings, dtype=float)
    return float(np.linalg.norm(displacement, axis=-1).max())
