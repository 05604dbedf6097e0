"""A Bradley–Terry reward with a Gaussian-process prior: exact where pairs are few."""

from numbers import Integral, Real

import numpy as np
from scipy.linalg import eigh, solve, svd
from scipy.special import expit
from sklearn.base import _fit_context
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval

from ._pairs import check_embeddings, check_pairs, row_order
from ._reward import PairwiseReward

CHUNK = 1024  # rows of a kernel at once: bounds the memory of fit and predict
MAX_ITERATIONS = 50
TOLERANCE = 1e-6
METRIC = 1 / 8  # the power of the differences' covariance that embeddings are multiplied with
FILTER = 1 / 4  # that of the Wiener filter of differences, with unlabelled responses
REFERENCE = 4_000_000  # numbers of unlabelled responses that the metric is estimated from
LEAST_SHRINKAGE = 1e-4  # no direction has no variance at all


class GaussianProcessReward(PairwiseReward):
    r"""Bradley–Terry reward whose prior is a Gaussian process over embeddings.

    The reward is :math:`r \sim GP(0, k)` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`; `fit` finds the most probable r. The kernel is the sum, in
    equal parts, of a linear model, an infinitely wide ReLU network (its neural tangent kernel)
    and a local one (Gaussian of the width of the data), on standardised embeddings z in the
    metric of their differences:

    .. math:: k = \tfrac{v}{3} \sum_j k_j(\Sigma^{1/8} z, \Sigma^{1/8} z') / c_j, \qquad
        c_j = \operatorname{mean}_i \operatorname{Var}_{k_j}[r(e_i^+) - r(e_i^-)]

    with Σ the Ledoit-Wolf estimate of the covariance of :math:`z^+ - z^-`: directions in which
    the responses to a prompt differ count for a little more than those in which prompts do.
    Responses without labels tell far better which are which. With those, and T the covariance of
    all responses, :math:`\Sigma^{1/8}` becomes

    .. math:: \Sigma^{1/8}\, T^{1/2} (T^{-1/2} \Sigma T^{-1/2})^{1/4}\, T^{-1/2},

    whose latter part is a power of the Wiener filter :math:`\Sigma T^{-1}`, the best linear guess
    of what tells a response apart from others to its prompt. The ratio in its midst has a
    Ledoit-Wolf estimate of its own, so that few responses make it the identity.
    The prior variance of a training pair's log-odds is v. At a few hundred pairs a fixed
    v = 1 does better than any strength of regularisation found by cross-validation, which has
    too few pairs to tell strengths apart.

    Parameters
    ----------
    prior_variance : float, default=1.0
        The prior variance v of a pair's log-odds.
    max_pairs : int, default=5000
        With more pairs than this, as many are drawn at random: time grows with their cube and
        memory with their square. 5,000 take about 20 seconds of one core at d = 384, 70 at d =
        3840, and 2 GB.
    random_state : int, RandomState instance or None, default=None
        Draws them, and of more than 4,000,000 / d unlabelled responses some prompts' that make
        as many; with fewer nothing is random.

    Attributes
    ----------
    members_ : ndarray of float64, shape (2 * n_used, d)
        Embeddings of the pairs that were used, standardised and in the metric.
    dual_coef_ : ndarray of float64, shape (2 * n_used, 3)
        Their weights in the reward, a column a kernel.
    directions_ : ndarray of float64, shape (r, d)
        Eigenvectors of Σ that the pairs span, r = min(n_used, d), or of T.
    gains_ : ndarray of float64, shape (r,) or (r, r)
        Their factors in the metric over that of all other directions, less 1; a matrix with
        unlabelled responses.
    n_iter_ : int
        Newton steps taken.
    n_features_in_ : int
        d.

    See Also
    --------
    BTRewardRegressor : A network, whose memory does not grow with the pairs.
    LatentPairAugmenter : Takes the targets of synthetic pairs from such a reward.

    References
    ----------
    W. Chu and Z. Ghahramani, "Preference learning with Gaussian processes", ICML 2005;
    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", J. Multivariate Analysis 88, 2004;
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    N. Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", 1949.

    Examples
    --------
    >>> from lens_sklearn import GaussianProcessReward
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=8, random_state=0)
    >>> reward = GaussianProcessReward().fit(toy.pairs)
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    """

    _parameter_constraints = {
        "prior_variance": [Interval(Real, 0, None, closed="neither")],
        "max_pairs": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"unlabeled": True}  # with metadata routing on

    def __init__(self, prior_variance=1.0, *, max_pairs=5000, random_state=None):
        self.prior_variance = prior_variance
        self.max_pairs = max_pairs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, unlabeled=None):
        """Learn the reward from pairs.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen. Rated embeddings are paired by the order of their ratings.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1; 0.5 for a pair of equal embeddings).
        sample_weight : array-like of shape (n,), optional
            Weight of each pair.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to each of m prompts, all-NaN ones being padding: those of
            the pairs, those to be picked from, or others of their kind. Some hundred prompts are
            wanted. Their metric takes about 1 second at d = 384 and 7 at d = 3840.

        Returns
        -------
        GaussianProcessReward
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, targets outside [0, 1], or weights that are all zero; if
            unlabelled responses have another shape or d, or no prompt has two.
        """
        pairs = self._weighted(check_pairs(self, X, y, reset=True), X, y, sample_weight)
        random_state = check_random_state(self.random_state)
        if len(pairs) > self.max_pairs:
            drawn = random_state.permutation(len(pairs))[: self.max_pairs]
            rank = np.argsort(row_order(pairs.originals))  # of each original; nothing is decoded
            pairs = pairs[np.argsort(rank[pairs.parent], kind="stable")[drawn]]
        members = pairs.rows(np.arange(len(pairs))).astype(np.float64)
        members = members.reshape(-1, members.shape[-1])  # (2n, d)
        self._fit_metric(members, unlabeled, random_state)
        members = self._in_metric((members - self.mean_) / self.scale_)
        size = np.sqrt(np.einsum("ij,ij->", members, members) / len(members))
        self.scale_ *= size or 1.0
        self.members_ = members / (size or 1.0)
        parts = np.empty((3, len(pairs), len(pairs)))
        for chunk in gen_batches(len(pairs), CHUNK // 2):
            rows = self.members_[2 * chunk.start : 2 * chunk.stop]
            for part, k in zip(parts, _kernels(rows, self.members_), strict=True):
                part[chunk] = _of_pairs(k)
        spread = np.trace(parts, axis1=1, axis2=2) / len(pairs)  # c_j
        share = self.prior_variance / (len(parts) * np.where(spread > 0, spread, 1.0))
        kernel = np.einsum("j,jnm->nm", share, parts)
        dual = self._most_probable(kernel, pairs.target.astype(float), pairs.weight.astype(float))
        self.dual_coef_ = np.outer(np.stack([dual, -dual], axis=1).ravel(), share)
        return self

    def _fit_metric(self, members, unlabeled, random_state):
        responses, differences = members, members[0::2] - members[1::2]
        if unlabeled is not None:
            unlabeled = _drawn(check_unlabeled(self, unlabeled), random_state)
            responses = np.concatenate([members, unlabeled[~np.isnan(unlabeled[:, :, 0])]])
            differences = np.concatenate([differences, _contrasts(unlabeled)])
        self.mean_, self.scale_ = responses.mean(axis=0), responses.std(axis=0)
        self.scale_[self.scale_ <= 1e-6 * abs(self.mean_)] = np.inf  # constant features say nothing
        differences /= self.scale_
        if unlabeled is None:
            variance, least, self.directions_ = _shrunk_spectrum(differences)
            self.gains_ = (variance / least) ** METRIC - 1
            return
        variance, _, self.directions_ = _shrunk_spectrum((responses - self.mean_) / self.scale_)
        deviation = np.sqrt(variance)  # T^(1/2), on its axes
        along = differences @ self.directions_.T
        white = along / deviation
        share, mean = _shrinkage(white)
        ratio = _shrunk_power(white, share, mean, mean, FILTER)  # 1 where it is as in the mean
        share, mean = _shrinkage(differences)
        sigma = _shrunk_power(along, share, mean, share * mean, METRIC)  # 1 beside all responses
        self.gains_ = (ratio * deviation / deviation[:, None]) @ sigma - np.eye(len(variance))

    def _in_metric(self, rows):
        along = rows @ self.directions_.T
        along = along * self.gains_ if self.gains_.ndim == 1 else along @ self.gains_
        return rows + along @ self.directions_

    def _most_probable(self, kernel, target, weight):
        """Newton's method in the dual: log-odds are ``kernel @ dual``."""
        dual = np.zeros(len(kernel))
        for self.n_iter_ in range(1, MAX_ITERATIONS + 1):
            odds = kernel @ dual
            win = expit(odds)
            curvature = np.maximum(weight * win * (1 - win), 1e-6 * weight)
            goal = odds + weight * (target - win) / curvature
            new = solve(kernel + np.diag(1 / curvature), goal, assume_a="pos")
            step = abs(new - dual).max()
            dual = new
            if step <= TOLERANCE * abs(dual).max():
                break
        return dual

    def _rewards(self, rows):
        rewards = np.empty(len(rows))
        for chunk in gen_batches(len(rows), CHUNK):
            kernels = _kernels(
                self._in_metric((rows[chunk] - self.mean_) / self.scale_), self.members_
            )
            rewards[chunk] = sum(k @ a for k, a in zip(kernels, self.dual_coef_.T, strict=True))
        return rewards


def check_unlabeled(estimator, X):
    """Check responses without labels, several to a prompt.

    Parameters
    ----------
    estimator : estimator
        Its d is theirs.
    X : array-like, shape (m, N, d)
        N responses to each of m prompts; all-NaN ones are padding.

    Returns
    -------
    ndarray of float32, shape (m, N, d)
        The checked array.

    Raises
    ------
    ValueError
        If the shape or d is another, one is not finite, or no prompt has two.
    """
    try:
        X = check_embeddings(estimator, X, reset=False, allow_padding=True, min_ndim=3)
    except ValueError as error:  # it calls any array X, as the pairs are called here
        raise ValueError(f"unlabeled: {error}") from None
    if X.ndim != 3:
        raise ValueError(
            "unlabeled must have the shape (m, N, d), N responses to each of m prompts; got "
            f"{X.shape}."
        )
    if (~np.isnan(X[:, :, 0])).sum(axis=1).max() < 2:
        raise ValueError(f"none of the {len(X)} prompts of unlabeled has two responses.")
    return X


def _drawn(unlabeled, random_state):
    """Draw the responses of so many prompts that a metric of them is affordable."""
    n_prompts = max(1, REFERENCE // unlabeled[0].size)
    if len(unlabeled) > n_prompts:
        unlabeled = unlabeled[random_state.permutation(len(unlabeled))[:n_prompts]]
    return unlabeled.astype(np.float64)


def _contrasts(unlabeled):
    """Return N - 1 independent differences a prompt, each with the covariance of a difference.

    Response k + 1 less the mean of the k before it, times √(2k / (k + 1)).
    """
    there = ~np.isnan(unlabeled[:, :, 0])
    k = (np.cumsum(there, axis=1) - there)[:, :, None]  # (m, N, 1)
    filled = np.where(there[:, :, None], unlabeled, 0.0)
    contrasts = filled - (np.cumsum(filled, axis=1) - filled) / np.maximum(k, 1)
    contrasts *= np.sqrt(2 * k / (k + 1))
    return contrasts[there & (k[:, :, 0] > 0)]


def _shrinkage(rows):
    """Return the Ledoit-Wolf shrinkage of centred rows' covariance, and the mean variance."""
    varying = rows[:, rows.any(axis=0)]
    share, mean = 1.0, np.mean(np.square(varying)) if varying.size else 1.0
    if len(rows) > 1 and varying.size:
        share = max(ledoit_wolf_shrinkage(varying, assume_centered=True), LEAST_SHRINKAGE)
    return share, mean


def _shrunk_power(rows, share, mean, unit, power):
    """Raise the shrunk covariance of rows, over a unit of variance, to a power."""
    variance, axes = eigh((1 - share) / len(rows) * (rows.T @ rows))
    return (axes * ((np.maximum(variance, 0) + share * mean) / unit) ** power) @ axes.T


def _shrunk_spectrum(rows):
    """Return the shrunk covariance's eigenvalues in the rows' span and outside it, and its axes."""
    share, mean = _shrinkage(rows)
    deviations, axes = svd(rows / np.sqrt(len(rows)), full_matrices=False)[1:]
    return (1 - share) * deviations**2 + share * mean, share * mean, axes


def _kernels(A, B):
    """Yield the linear, the tangent and the local kernel of rows A (m, d) and B (n, d)."""
    product = A @ B.T  # all three are functions of it
    square_a = np.einsum("ij,ij->i", A, A)[:, None]
    square_b = np.einsum("ij,ij->i", B, B)[None]
    yield product
    norms = np.sqrt(square_a * square_b)
    cosine = np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)
    angle = np.arccos(np.clip(cosine, -1, 1))
    yield (norms * np.sin(angle) + 2 * (np.pi - angle) * product) / np.pi
    yield np.exp(-0.5 * np.maximum(square_a + square_b - 2 * product, 0))


def _of_pairs(kernel):
    """Covariance of the pairs' differences (m, n) from that of their members (2m, 2n)."""
    differences = kernel[0::2] - kernel[1::2]
    return differences[:, 0::2] - differences[:, 1::2]
