"""A Bradley–Terry reward with a Gaussian-process prior: exact where pairs are few."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._base_reward import RewardRegressor
from ._device import row_order
from ._fitted_state import check_shapes
from ._gp_posterior import GPPosterior, TrainingPairs, merge_repeated_pairs
from ._gp_selection import (
    SelectionSettings,
    draw_whole_groups,
    select_penalty,
    select_whitening,
)
from ._kernels import KERNELS, KernelSum
from ._laplace import condition
from ._validation import check_training_pairs, check_unlabeled
from ._within_prompt_whitening import Whitening, WithinPromptSpectra, WithinPromptWhitening

#: Embeddings scored at once: bounds the memory of predict.
CHUNK = 1024


class GPRewardRegressor(RewardRegressor):
    r"""Bradley–Terry reward whose prior is a Gaussian process over embeddings.

    The reward is :math:`r \sim GP(0, k)` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`. `fit` finds the most probable r. `predict` returns it less
    `uncertainty_penalty_` posterior standard deviations, a lower confidence bound. The kernel is
    a sum, in equal parts, of that of a linear model, that of an infinitely wide ReLU network
    (its neural tangent kernel) and a Gaussian one. It is a function of whitened embeddings M z,
    with z the standardised embeddings and M the map of :class:`WithinPromptWhitening`, in which
    directions weigh more the more the responses to one prompt differ in them:

    .. math:: k = \tfrac{v}{3} \sum_j k_j(M z, M z') / c_j, \qquad
        c_j = \operatorname{mean}_i \operatorname{Var}_{k_j}[r(e_i^+) - r(e_i^-)]

    Responses without labels estimate M far better than pairs do. The prior variance of a
    training pair's log-odds is v on average. With a few hundred pairs the fixed v = 1 does
    better than any strength of regularisation found by cross-validation, which has too few
    pairs to distinguish them.

    Parameters
    ----------
    prior_variance : float, default=1.0
        The mean prior variance v of a pair's log-odds.
    whitening : WithinPromptWhitening or "auto", default="auto"
        Whose two exponents to use; its `random_state` is ignored, this reward's is used.
        "auto" is ``WithinPromptWhitening()`` unless leave-group-out prediction of up to 1,000
        pairs speaks for a `covariance_exponent` of 0 or 1/4: another must make them more likely
        by a factor of e at least, and by more than two standard errors.
    uncertainty_penalty : float or "auto", default="auto"
        How many posterior standard deviations are subtracted from each reward; 0 gives the most
        probable reward. Embeddings far from those of the pairs are uncertain, and more often
        than not worse responses. "auto" is 1/2, moved towards the value that predicts up to 1,000
        left-out pairs best, but only as far as that differs by more than one standard error (two
        for a decrease where `fit` got no groups); at least 0.
    max_pairs : int, default=5000
        With more distinct pairs than this, as many are drawn at random: time grows with their
        cube and memory with their square. 5,000 take about 20 seconds of one core at d = 384,
        70 at d = 3840, and 2 GB.
    random_state : int, RandomState instance or None, default=None
        Draws these pairs, and the prompts that are used of more than 4,000,000 / d unlabelled
        responses. With fewer of both nothing is random.

    Attributes
    ----------
    whitening_ : Whitening
        The map in front of the kernels, with its exponents.
    X_train_ : ndarray of float64, shape (2 * n_used, d)
        Whitened embeddings of the pairs that were used, those of a pair beside each other.
    dual_coef_ : ndarray of float64, shape (n_used,)
        Coefficients of the pairs: the most probable reward of an embedding is their sum times
        its prior covariances with the pairs' log-odds.
    kernel_weights_ : ndarray of float64, shape (3,)
        The kernels' factors, v / (3 c_j): linear, tangent, Gaussian.
    L_ : ndarray of float64, shape (n_used, n_used)
        The lower Cholesky factor of the prior covariance of the pairs' log-odds plus the noise
        variance that their likelihood amounts to.
    uncertainty_penalty_ : float
        The penalty in use.
    log_marginal_likelihood_value_ : float
        Log marginal likelihood of the targets, by Laplace's approximation.
    n_iter_ : int
        Steps of Newton's method.
    n_features_in_ : int
        d.

    See Also
    --------
    BTRewardRegressor : A network, whose memory does not grow with the pairs.
    WithinPromptWhitening : The map alone, for any reward.

    Notes
    -----
    Weights are repetitions: a pair of weight 2 is the same as that pair twice. Pairs whose
    embeddings are the same to the bit are merged before all else into one, whose weight is the
    sum of theirs and whose target the weighted mean; its group is that of the first. How often
    a pair was observed thus changes what is learnt from it, but not the whitening.

    References
    ----------
    W. Chu and Z. Ghahramani, "Preference learning with Gaussian processes", ICML 2005;
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    C. E. Rasmussen and C. K. I. Williams, "Gaussian processes for machine learning", 2006,
    section 3.4 for Laplace's approximation and 5.4.2 for leave-one-out prediction.

    Examples
    --------
    >>> from lens_sklearn import GPRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=8, random_state=0)
    >>> reward = GPRewardRegressor().fit(toy.pairs)
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    >>> rewards, deviations = reward.predict(toy.candidates, return_std=True)
    >>> rewards.shape == deviations.shape == toy.gold.shape
    True
    """

    _parameter_constraints = {
        "prior_variance": [Interval(Real, 0, None, closed="neither")],
        "whitening": [WithinPromptWhitening, StrOptions({"auto"})],
        "uncertainty_penalty": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "max_pairs": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"groups": True, "unlabeled": True}  # with metadata routing on

    #: What `get_fitted_state` returns.
    fitted_state_names = (
        "n_features_in_",
        "whitening_",
        "X_train_",
        "dual_coef_",
        "kernel_weights_",
        "L_",
        "uncertainty_penalty_",
        "log_marginal_likelihood_value_",
        "n_iter_",
    )

    def __init__(
        self,
        prior_variance=1.0,
        *,
        whitening="auto",
        uncertainty_penalty="auto",
        max_pairs=5000,
        random_state=None,
    ):
        self.prior_variance = prior_variance
        self.whitening = whitening
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
            How often each pair was observed: a weight of 2 is the same as the pair twice.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to each of m prompts, all-NaN ones being padding: those of
            the pairs, those to be picked from, or others of their kind. Some hundred prompts are
            wanted.
        groups : array-like of shape (n,), optional
            Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`), for augmented pairs those
            of the originals: what is "auto" is chosen by predicting pairs from those of other
            prompts. By default each original is a group of its own.

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

        Warns
        -----
        ConvergenceWarning
            If Newton's method does not converge.
        """
        pairs, group = check_training_pairs(self, X, y, sample_weight, groups)
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        random_state = check_random_state(self.random_state)
        pairs = self._training_pairs(pairs, group, random_state)
        spectra = WithinPromptSpectra.estimate(pairs.members, unlabeled, random_state)
        settings = SelectionSettings()
        index = draw_whole_groups(
            row_order(pairs.members.reshape(len(pairs), -1)), pairs.group, settings.max_left_out
        )
        if self.whitening == "auto":
            some = pairs.take(index)
            whitening = select_whitening(spectra, some, self.prior_variance, settings)
        else:
            exponents = self.whitening.wiener_exponent, self.whitening.covariance_exponent
            whitening = spectra.whitening(*exponents)
        posterior = GPPosterior.fit(whitening, pairs, self.prior_variance)
        penalty = self.uncertainty_penalty
        if penalty == "auto":
            has_groups = groups is not None
            penalty = select_penalty(posterior, pairs, index, settings, has_groups=has_groups)
        self.uncertainty_penalty_ = float(penalty)
        self._keep(posterior)
        return self

    def _training_pairs(self, pairs, groups, random_state):
        """Merge repeated pairs, draw `max_pairs` of them and decode those."""
        index, target, weight = merge_repeated_pairs(pairs)
        if len(index) > self.max_pairs:
            drawn = random_state.permutation(len(index))[: self.max_pairs]
            rank = np.argsort(row_order(pairs.originals))  # so that the order of rows is no matter
            drawn = np.argsort(rank[pairs.parent[index]], kind="stable")[drawn]
            index, target, weight = index[drawn], target[drawn], weight[drawn]
        members = pairs.rows(index).astype(np.float64)  # (n, 2, d)
        members = members.reshape(-1, members.shape[-1])  # (2n, d)
        return TrainingPairs(members, target, weight, groups[pairs.parent[index]])

    def _keep(self, posterior):
        """Set the fitted attributes."""
        self.whitening_ = posterior.whitening
        self.X_train_ = posterior.members
        self.kernel_weights_ = posterior.kernel.weights
        self.dual_coef_ = posterior.laplace.dual_coef
        self.L_ = posterior.laplace.L
        self.n_iter_ = posterior.laplace.n_iter
        self.log_marginal_likelihood_value_ = posterior.laplace.log_marginal_likelihood

    def predict(self, X, return_std=False):
        """Return the rewards of embeddings, and on request how uncertain they are.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings: candidates (n_prompts, N, d), pairs (n, 2, d) or any other. All-NaN
            candidates are padding.
        return_std : bool, default=False
            Whether to return posterior standard deviations as well.

        Returns
        -------
        rewards : ndarray of float64, shape (...)
            The most probable rewards less `uncertainty_penalty_` standard deviations; NaN for
            padding.
        deviations : ndarray of float64, shape (...)
            Posterior standard deviations of the rewards; NaN for padding. Only with
            `return_std`.
        """
        if not return_std:
            return super().predict(X)
        X = self._check_embeddings(X)
        rewards, deviations = self._rewards_and_deviations(X.reshape(-1, X.shape[-1]))
        return rewards.reshape(X.shape[:-1]), deviations.reshape(X.shape[:-1])

    def _predict_rows(self, rows):
        return self._rewards_and_deviations(rows, needs_std=self.uncertainty_penalty_ > 0)[0]

    def _rewards_and_deviations(self, rows, needs_std=True):
        """Return rewards and deviations of embeddings (m, d), each (m,)."""
        kernel = KernelSum(self.kernel_weights_)
        rewards, deviations = np.empty(len(rows)), np.zeros(len(rows))
        for chunk in gen_batches(len(rows), CHUNK):
            at = self.whitening_.apply(rows[chunk])
            covariance = kernel.with_pairs(at, self.X_train_)
            rewards[chunk] = covariance @ self.dual_coef_
            if needs_std:
                _, variance = condition(self.L_, covariance, kernel.variance(at))
                deviations[chunk] = np.sqrt(np.maximum(variance, 0))
        if self.uncertainty_penalty_:
            rewards -= self.uncertainty_penalty_ * deviations
        return rewards, deviations

    def get_fitted_state(self):
        """Return what `fit` learnt.

        Returns
        -------
        dict
            Numbers, arrays and dicts of these.
        """
        check_is_fitted(self)
        return super().get_fitted_state() | {"whitening_": self.whitening_.get_state()}

    def set_fitted_state(self, state):
        """Take what another estimator's `fit` learnt.

        Parameters
        ----------
        state : dict
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If something is missing, or the shapes do not fit each other.
        """
        missing = set(self.fitted_state_names) - set(state)
        if missing:
            raise ValueError(f"the state of a {type(self).__name__} needs {sorted(missing)}")
        n, d = len(state["dual_coef_"]), int(state["n_features_in_"])
        shapes = {
            "X_train_": (2 * n, d),
            "dual_coef_": (n,),
            "kernel_weights_": (len(KERNELS),),
            "L_": (n, n),
        }
        check_shapes(self, {name: (state[name], shape) for name, shape in shapes.items()})
        whitening = Whitening.from_state(state["whitening_"], d)
        super().set_fitted_state(state | {"whitening_": whitening})
        self.L_ = np.asfortranarray(self.L_)  # else every solve copies it
