"""A Bradley–Terry reward with a Gaussian-process prior: exact where pairs are few."""

from math import sqrt
from numbers import Integral, Real

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import _fit_context, clone
from sklearn.utils import check_consistent_length, check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions

from ._base_reward import RewardRegressor
from ._device import row_order
from ._validation import check_pairs, check_training_pairs, check_unlabeled
from ._within_prompt_whitening import Spectra, WithinPromptWhitening

CHUNK = 1024  # rows of a kernel at once: bounds the memory of fit and predict
MAX_ITERATIONS = 50
TOLERANCE = 1e-6
# Of uncertainty_penalty="auto": how many pairs are left out in turn at most, and the prior mean
# and deviation of the logarithm of a factor on their log-odds, and of the caution.
LEFT_OUT, CAUTION_MEAN, CAUTION_SPREAD = 1000, np.array([0, 0.5]), np.array([1.0, 2.0])
# By how many standard errors they must ask for less. Where prompts are not told, another pair of
# the same prompt may be known, and what is left out seems less in need of caution than it is.
LESS, LESS_WITHOUT_GROUPS = 1, 2
# Of metric="auto": covariance powers, and how many nats and standard errors of them pairs must gain
# by another than the first.
POWERS, ASKED, ASKED_ERRORS = (0.125, 0.0, 0.25), 1, 2


class GPRewardRegressor(RewardRegressor):
    r"""Bradley–Terry reward whose prior is a Gaussian process over embeddings.

    The reward is :math:`r \sim GP(0, k)` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`; `fit` finds the most probable r, and `predict` returns it
    less `uncertainty_penalty_` of its posterior standard deviations. The kernel is the sum, in
    equal parts, of a linear model, an infinitely wide ReLU network (its neural
    tangent kernel) and a local one (Gaussian of the width of the data), on embeddings z in the
    metric M of
    :class:`WithinPromptWhitening`, in which directions count by how much the responses to one
    prompt differ in them:

    .. math:: k = \tfrac{v}{3} \sum_j k_j(M z, M z') / c_j, \qquad
        c_j = \operatorname{mean}_i \operatorname{Var}_{k_j}[r(e_i^+) - r(e_i^-)]

    Responses without labels tell far better than pairs what that metric is.
    The prior variance of a training pair's log-odds is v. At a few hundred pairs a fixed
    v = 1 does better than any strength of regularisation found by cross-validation, which has
    too few pairs to tell strengths apart.

    Parameters
    ----------
    prior_variance : float, default=1.0
        The prior variance v of a pair's log-odds.
    metric : WithinPromptWhitening or "auto", default="auto"
        The metric; only its powers matter, its seed is this reward's. "auto" is
        ``WithinPromptWhitening()``, or that with `covariance_exponent` 0 or 1/4 if pairs are more
        likely in it when those of each group are left out in turn: by a factor of e at
        least, and beyond two standard errors. Up to 1,000 pairs are asked.
    uncertainty_penalty : float or "auto", default="auto"
        How many posterior standard deviations are subtracted from each reward. An embedding far
        from those of the pairs is little known, and more often than not a worse response. "auto"
        is a half, or as much more or less, but no less than 0, as the pairs ask for beyond a
        standard error when those of each of `fit`'s groups are left out in turn; without groups
        each pair by itself, and two standard errors for less. 0 is the most probable reward.
    max_pairs : int, default=5000
        With more pairs than this, as many are drawn at random: time grows with their cube and
        memory with their square. 5,000 take about 20 seconds of one core at d = 384, 70 at d =
        3840, and 2 GB.
    random_state : int, RandomState instance or None, default=None
        Draws them, and of more than 4,000,000 / d unlabelled responses some prompts' that make
        as many; with fewer nothing is random.

    Attributes
    ----------
    metric_ : WithinPromptWhitening
        The metric in force.
    uncertainty_penalty_ : float
        The caution in force.
    members_ : ndarray of float64, shape (2 * n_used, d)
        Embeddings of the pairs that were used, in the metric.
    dual_coef_ : ndarray of float64, shape (n_used,)
        The pairs' weights: the most probable reward is their sum over the covariances of an
        embedding with the pairs' log-odds.
    variances_ : ndarray of float64, shape (3,)
        The kernels' factors, v / (3 c_j).
    factor_ : ndarray of float64, shape (n_used, n_used)
        The Cholesky factor of the covariance of pairs and their likelihood; None where
        `uncertainty_penalty_` is 0.
    n_iter_ : int
        Newton steps taken.
    n_features_in_ : int
        d.

    See Also
    --------
    BTRewardRegressor : A network, whose memory does not grow with the pairs.
    WithinPromptWhitening : The metric by itself, for any reward.
    LatentPairAugmenter : Takes the targets of synthetic pairs from such a reward.

    References
    ----------
    W. Chu and Z. Ghahramani, "Preference learning with Gaussian processes", ICML 2005;
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    C. E. Rasmussen and C. K. I. Williams, "Gaussian processes for machine learning", 2006,
    section 5.4.2, for what is left out.

    Examples
    --------
    >>> from lens_sklearn import GPRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=8, random_state=0)
    >>> reward = GPRewardRegressor().fit(toy.pairs)
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    """

    _parameter_constraints = {
        "prior_variance": [Interval(Real, 0, None, closed="neither")],
        "metric": [WithinPromptWhitening, StrOptions({"auto"})],
        "uncertainty_penalty": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_pairs": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"groups": True, "unlabeled": True}  # with metadata routing on

    def __init__(
        self,
        prior_variance=1.0,
        *,
        metric="auto",
        uncertainty_penalty="auto",
        max_pairs=5000,
        random_state=None,
    ):
        self.prior_variance = prior_variance
        self.metric = metric
        self.uncertainty_penalty = uncertainty_penalty
        self.max_pairs = max_pairs
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, unlabeled=None, groups=None):
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
            wanted.
        groups : array-like of shape (n,), optional
            Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`), for augmented pairs those
            of the originals: "auto", of the metric and of the caution, judges a pair by those of
            other prompts. By default each original has its own.

        Returns
        -------
        GPRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, targets outside [0, 1], or weights that are all zero; if
            unlabelled responses have another shape or d, or no prompt has two; if `groups` are
            not as many as the pairs.
        """
        pairs = check_pairs(self, X, y, reset=True)
        check_consistent_length(pairs.originals, groups)
        pairs, _g = check_training_pairs(self, X, y, sample_weight, groups)
        random_state = check_random_state(self.random_state)
        if len(pairs) > self.max_pairs:
            drawn = random_state.permutation(len(pairs))[: self.max_pairs]
            rank = np.argsort(row_order(pairs.originals))  # of each original; nothing is decoded
            pairs = pairs[np.argsort(rank[pairs.parent], kind="stable")[drawn]]
        members = pairs.rows(np.arange(len(pairs))).astype(np.float64)
        members = members.reshape(-1, members.shape[-1])  # (2n, d)
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        spectra = Spectra(members, unlabeled, random_state)
        group = pairs.parent if groups is None else np.asarray(groups)[pairs.parent]
        out = _whole_groups(row_order(members.reshape(len(pairs), -1)), group)
        if self.metric == "auto":
            metric = self._chosen_metric(spectra, pairs, out, group)
        else:
            metric = clone(self.metric)._learn(spectra)
        observed = self._learn(metric, members, pairs)
        self.uncertainty_penalty_ = self.uncertainty_penalty
        if self.uncertainty_penalty == "auto":
            best, error, _ = self._judged(observed, pairs, out, group)
            less = LESS_WITHOUT_GROUPS if groups is None else LESS
            self.uncertainty_penalty_ = max(
                0, np.clip(CAUTION_MEAN[1], best - error, best + less * error)
            )
        self.uncertainty_penalty_ = float(self.uncertainty_penalty_)
        if not self.uncertainty_penalty_:
            self.factor_ = None  # of no more use
        return self

    def _chosen_metric(self, spectra, pairs, out, group):
        """Return the metric in which pairs left out are foretold best, by those alone."""
        if not len(out):
            return WithinPromptWhitening()._learn(spectra)
        some, index = pairs[out], np.arange(len(out))
        members = spectra.members.reshape(len(pairs), 2, -1)[out].reshape(2 * len(out), -1)
        chosen, most = None, 0
        for power in POWERS:
            metric = WithinPromptWhitening(covariance_exponent=power)._learn(spectra)
            observed = self._learn(metric, members, some)
            losses = self._judged(observed, some, index, group[out])[2]
            if chosen is None:
                chosen, first = metric, losses
            gains = first - losses
            gain = gains.sum()
            if gain > max(most, ASKED, ASKED_ERRORS * gains.std() * sqrt(len(gains))):
                chosen, most = metric, gain
        return chosen

    def _learn(self, metric, members, pairs):
        """Find the most probable reward in a metric.

        Returns the log-odds that, observed with Gaussian noise, would give the same one.
        """
        self.metric_, self.members_ = metric, metric._apply(members)
        kernel = self._covariance_of_pairs()
        target, weight = pairs.target.astype(float), pairs.weight.astype(float)
        self.dual_coef_, curvature, self.factor_ = self._most_probable(kernel, target, weight)
        return kernel @ self.dual_coef_ + self.dual_coef_ / curvature

    def _covariance_of_pairs(self):
        """Return the prior covariance of the log-odds of the pairs of ``members_`` (n, n)."""
        n = len(self.members_) // 2
        parts = np.empty((3, n, n))
        for chunk in gen_batches(n, CHUNK // 2):
            rows = self.members_[2 * chunk.start : 2 * chunk.stop]
            for part, k in zip(parts, _kernels(rows, self.members_), strict=True):
                part[chunk] = _of_pairs(k)
        spread = np.trace(parts, axis1=1, axis2=2) / n  # c_j
        self.variances_ = self.prior_variance / (len(parts) * np.where(spread > 0, spread, 1.0))
        return np.einsum("j,jnm->nm", self.variances_, parts)

    def _most_probable(self, kernel, target, weight):
        """Newton's method in the dual: log-odds are ``kernel @ dual``.

        Returns that, the curvature of the last step, and the Cholesky factor that it took.
        """
        n = len(kernel)
        dual = np.zeros(n)
        for self.n_iter_ in range(1, MAX_ITERATIONS + 1):
            odds = kernel @ dual
            win = expit(odds)
            curvature = np.maximum(weight * win * (1 - win), 1e-6 * weight)
            goal = odds + weight * (target - win) / curvature
            factor = kernel.copy(order="F")  # where LAPACK works in place
            factor.flat[:: n + 1] += 1 / curvature
            factor = cholesky(factor, lower=True, overwrite_a=True)
            new = cho_solve((factor, True), goal)
            step = abs(new - dual).max()
            dual = new
            if step <= TOLERANCE * abs(dual).max():
                break
        return dual, curvature, factor

    def _judged(self, observed, pairs, out, group):
        """Return what pairs say of a reward of all others: `_ordering_best` of those left out."""
        odds, further = self._left_out(out, group[out], observed[out])
        target, weight = (a[out].astype(float) for a in (pairs.target, pairs.weight))
        return _ordering_best(odds, further, target, weight)

    def _left_out(self, out, group, odds):
        """Return what the pairs of all other groups tell of pairs, section 5.4.2 for groups.

        Parameters
        ----------
        out : ndarray of int, shape (m,)
            The pairs.
        group : ndarray, shape (m,)
            Theirs, as a whole.
        odds : ndarray, shape (m,)
            The log-odds that were observed.

        Returns
        -------
        odds : ndarray, shape (m,)
            Posterior means of their log-odds.
        further : ndarray, shape (m,)
            Posterior deviation of the reward of column 0 less that of column 1.
        """
        m, n = len(out), len(self.dual_coef_)
        unit = np.zeros((n, m))
        unit[out, np.arange(m)] = 1
        root = solve_triangular(self.factor_, unit, lower=True)
        at = self.members_[np.stack([2 * out, 2 * out + 1], axis=1).ravel()]
        known, variance = self._posterior(at, self._with_pairs(at))
        together = group[:, None] == group
        precision = np.where(together, root.T @ root, 0)  # of a group's log-odds, given the others
        own = np.where(np.repeat(together, 2, axis=1), root.T @ known, 0)  # (m, 2m)
        unknown = solve(precision, np.column_stack([self.dual_coef_[out], own]), assume_a="pos")
        variance += np.einsum("ij,ij->j", own, unknown[:, 1:])
        deviation = np.sqrt(np.maximum(variance, 0)).reshape(m, 2)
        return odds - unknown[:, 0], deviation[:, 0] - deviation[:, 1]

    def _predict_rows(self, rows):
        rewards = np.empty(len(rows))
        for chunk in gen_batches(len(rows), CHUNK):
            at = self.metric_._apply(rows[chunk])
            covariance = self._with_pairs(at)
            rewards[chunk] = covariance @ self.dual_coef_
            if self.factor_ is not None:
                _, variance = self._posterior(at, covariance)
                rewards[chunk] -= self.uncertainty_penalty_ * np.sqrt(np.maximum(variance, 0))
        return rewards

    def _with_pairs(self, at):
        """Return the covariance of embeddings' rewards (m) with the pairs' log-odds (m, n)."""
        kernels = zip(self.variances_, _kernels(at, self.members_), strict=True)
        return sum(v * (k[:, 0::2] - k[:, 1::2]) for v, k in kernels)

    def _posterior(self, at, covariance):
        """Return what the pairs tell of embeddings' rewards (n, m), and the variance left (m)."""
        linear, tangent, local = self.variances_
        prior = (linear + 2 * tangent) * np.einsum("ij,ij->i", at, at) + local
        known = solve_triangular(self.factor_, covariance.T, lower=True, check_finite=False)
        return known, prior - np.einsum("ij,ij->j", known, known)


def _ordering_best(odds, further, target, weight):
    """Return the most probable caution of pairs, its standard error and the pairs' losses.

    A pair is won with log-odds s (odds − caution · further), the factor s on them unknown too.
    """

    def cautious(parameters):
        scale = np.exp(parameters[0])
        value = scale * (odds - parameters[1] * further)
        return value, np.stack([value, -scale * further])  # and its slopes

    def losses(value):
        return weight * (np.logaddexp(0, value) - target * value)

    def loss(parameters):
        value, slopes = cautious(parameters)
        off = (parameters - CAUTION_MEAN) / CAUTION_SPREAD
        loss = losses(value).sum() + off @ off / 2
        return loss, slopes @ (weight * (expit(value) - target)) + off / CAUTION_SPREAD

    best = minimize(loss, CAUTION_MEAN, jac=True).x
    value, slopes = cautious(best)
    win = expit(value)
    by_scale, by_caution = slopes @ (weight * (win - target))
    curvature = (slopes * weight * win * (1 - win)) @ slopes.T
    curvature += [[by_scale, by_caution], [by_caution, 0]] + np.diag(CAUTION_SPREAD**-2)
    return best[1], np.sqrt(np.linalg.inv(curvature)[1, 1]), losses(value)


def _whole_groups(order, group):
    """Return the first pairs of an order, LEFT_OUT at most, of groups that are there as a whole."""
    if len(order) <= LEFT_OUT:
        return order
    _, first, rank = np.unique(group[order], return_index=True, return_inverse=True)
    by_group = np.argsort(first[rank], kind="stable")
    out, beyond = by_group[:LEFT_OUT], by_group[LEFT_OUT]
    return order[out[rank[out] != rank[beyond]]]


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
