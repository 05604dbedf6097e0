"""A Bradley–Terry reward with a Gaussian-process prior: exact where pairs are few."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._atomic_fit import atomic_fit
from ._base_reward import RewardRegressor, check_rewards
from ._device import as_tensor, row_order
from ._feature_scale import FeatureScale, check_controlled
from ._fitted_state import check_shapes
from ._gp_pairs import TrainingPairs, member_rows, merge_repeated_pairs
from ._gp_selection import (
    InducedPrior,
    Prior,
    SelectionSettings,
    average_posteriors,
    draw_groups,
)
from ._inducing import MAX_INDUCING
from ._kernels import KERNELS, KernelSum, fit_kernel_sum
from ._laplace import condition
from ._linear_algebra import float64_device, on_cpu_if_full
from ._validation import (
    check_response_features,
    check_training_pairs,
    check_unlabeled,
    kept_pairs,
    warn_of_idle_controls,
)
from ._warnings import warn
from ._whitening import Whitening
from ._within_prompt_whitening import WithinPromptSpectra, WithinPromptWhitening

#: Embeddings scored at once: bounds the memory of predict.
CHUNK = 1024
#: The kernels of response features, and their shares: a count matters mostly in proportion.
FEATURE_SHARES = {"linear": 3 / 4, "gaussian": 1 / 4}
CONTROLLED_SHARES = {"linear": 1.0}


class GPRewardRegressor(RewardRegressor):
    r"""Bradley–Terry reward whose prior is a Gaussian process over two views of a response.

    The reward is :math:`r \sim GP(0, k)` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`. The kernel is a sum of one of the embedding and, where the
    last columns are response features, one of those:

    .. math:: k = v_1 \sum_j \tfrac{1}{3 c_j} k_j(M z, M z')
        + v_2 \sum_j \tfrac{s_j}{c_j} k_j(f, f')

    Of the embedding z, standardised, the k_j are the kernels of a linear model, of an infinitely
    wide ReLU network (its neural tangent kernel) and a Gaussian one, after the map M of
    :class:`WithinPromptWhitening`, in which directions weigh more the more the responses to one
    prompt differ in them. Of the features f, standardised and kept within three deviations, they
    are a linear kernel (s = 3/4) and a Gaussian one (1/4). The c_j make the mean prior variance of
    a training pair's log-odds :math:`v_1` by the first view and :math:`v_2` by the second.

    How strong each view is, the pairs say: for every combination of strengths the most probable
    reward is found, pairs are predicted from those of other prompts, and the rewards are averaged
    with weights that favour combinations that predict well.

    Parameters
    ----------
    prior_variance : float or "auto", default="auto"
        The mean prior variance of a pair's log-odds, shared equally by the views. "auto" averages
        over the strengths of each view as above.
    kernel : {"auto", "linear", "tangent", "gaussian"}, default="auto"
        The kernel of the embedding; "auto" is the sum of all three.
    whitening : WithinPromptWhitening, default=None
        Whose two exponents to use; its `random_state` is ignored, this reward's is used. None is
        ``WithinPromptWhitening()``.
    uncertainty_penalty : float, default=0.0
        How many posterior standard deviations are subtracted from each reward: a lower confidence
        bound for picking among responses unlike those of the pairs. 0 gives the mean.
    n_response_features : int, default=0
        How many of the last columns are response features (:class:`ResponseFeatures`). All of
        them may be.
    controlled : sequence of int, default=()
        Columns among the response features that are fitted, and then left out of what is
        predicted, as ``ResponseFeatures().columns(["log_characters"])`` gives them: so that length
        explains what it explains, and the reward is about the rest. Their prior variance of a
        pair's log-odds is 30, whatever that of the others is.
    max_pairs : int, default=5000
        Up to so many distinct pairs the posterior is exact: time grows with their cube and memory
        with their square. With more, all are learnt from, and the reward is a combination of the
        covariances with `max_pairs` of them, at most 2000, that are drawn at random: time and
        memory then grow in proportion to the pairs.
    device : str, default="auto"
        Where to compute, in float64; "auto" takes a GPU if there is one. What is learnt is kept
        on the CPU.
    random_state : int, RandomState instance or None, default=None
        Draws the pairs that the reward is a combination of, and the prompts that are used of more
        than 4,000,000 / d unlabelled responses. With fewer of both nothing is random.

    Attributes
    ----------
    whitening_ : Whitening or None
        The map in front of the embedding's kernels, with its exponents.
    feature_mean_, feature_scale_ : ndarray of float64, shape (n_response_features,)
        Means of the response features and their standard deviations, infinity for constants.
    X_train_ : ndarray of float64, shape (2 * n_used, m)
        The views of the pairs that the reward is a combination of, as the kernels have them, side
        by side; the members of a pair beside each other.
    dual_coef_ : ndarray of float64, shape (n_views, n_used)
        Coefficients of the pairs: the reward is the sum over views of these times the prior
        covariances with the pairs' log-odds.
    kernel_weights_ : dict of str to dict of str to float
        The factors of the kernels of each view, "embedding", "features" and "controlled".
    strengths_ : ndarray of float64, shape (n_averaged, n_strengths)
        The prior variances that were averaged: of the embedding and of the features.
    strength_weights_ : ndarray of float64, shape (n_averaged,)
        Their weights.
    prior_variance_ : ndarray of float64, shape (n_strengths,)
        Their weighted geometric mean, for which `L_` and the deviations are.
    L_ : ndarray of float64, shape (n_used, n_used)
        The lower Cholesky factor of the prior covariance of these pairs' log-odds plus the noise
        that the likelihood of all pairs amounts to.
    slope_ : float
        The factor that makes log-odds of left-out pairs, without what is controlled, mean what
        they say; it is in all of the above already.
    left_out_log_odds_ : ndarray of float64, shape (n_pairs,)
        Log-odds of each pair of `X` from the pairs of all other prompts; NaN for pairs that have
        no weight, and where there is one prompt alone.
    log_marginal_likelihood_value_ : float
        Log marginal likelihood of the targets at the mean strengths, by Laplace's approximation.
    n_iter_ : int
        Steps of Newton's method there.
    n_features_in_ : int
        d.

    See Also
    --------
    AutoRewardRegressor : Combines this with other rewards.
    BTRewardRegressor : A network, whose memory does not grow with the pairs.
    WithinPromptWhitening : The map alone, for any reward.

    Notes
    -----
    Weights are repetitions: a pair of weight 2 is the same as that pair twice. Pairs whose
    embeddings are the same to the bit are merged before all else into one, whose weight is the
    sum of theirs and whose target the weighted mean; its group is that of the first. How often
    a pair was observed thus changes what is learnt from it, but not the scale of the views.

    References
    ----------
    W. Chu and Z. Ghahramani, "Preference learning with Gaussian processes", ICML 2005;
    A. Jacot, F. Gabriel and C. Hongler, "Neural tangent kernel", NeurIPS 2018;
    C. E. Rasmussen and C. K. I. Williams, "Gaussian processes for machine learning", 2006,
    section 3.4 for Laplace's approximation and 5.4.2 for leave-one-out prediction;
    Y. Yao et al., "Using stacking to average Bayesian predictive distributions", 2018.

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
        "prior_variance": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "kernel": [StrOptions({"auto", *KERNELS})],
        "whitening": [WithinPromptWhitening, None],
        "uncertainty_penalty": [Interval(Real, 0, None, closed="left")],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "controlled": ["array-like"],
        "max_pairs": [Interval(Integral, 1, None, closed="left")],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"groups": True, "unlabeled": True}  # with metadata routing on

    #: What `get_fitted_state` returns.
    computes_in_float64 = True

    fitted_state_names = (
        "n_features_in_",
        "whitening_",
        "feature_mean_",
        "feature_scale_",
        "X_train_",
        "dual_coef_",
        "kernel_weights_",
        "strengths_",
        "strength_weights_",
        "prior_variance_",
        "L_",
        "slope_",
        "left_out_log_odds_",
        "log_marginal_likelihood_value_",
        "n_iter_",
    )

    def __init__(
        self,
        prior_variance="auto",
        *,
        kernel="auto",
        whitening=None,
        uncertainty_penalty=0.0,
        n_response_features=0,
        controlled=(),
        max_pairs=5000,
        device="auto",
        random_state=None,
    ):
        self.prior_variance = prior_variance
        self.kernel = kernel
        self.whitening = whitening
        self.uncertainty_penalty = uncertainty_penalty
        self.n_response_features = n_response_features
        self.controlled = controlled
        self.max_pairs = max_pairs
        self.device = device
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
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
            wanted. The embedding's map and the scale of the features are learnt from them.
        groups : array-like of shape (n,), optional
            Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`), for augmented pairs those
            of the originals: strengths are judged by predicting pairs from those of other
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
            not as many as the pairs; if `controlled` names no response features, or all columns; if
            there is no embedding for a `kernel` or `whitening`; if torch knows no such `device`.

        Warns
        -----
        ConvergenceWarning
            If Newton's method does not converge.
        UserWarning
            If all pairs are of one prompt, so that none can be left out: every strength then
            weighs the same, and log-odds keep their scale. If controlled columns differ in no
            pair: to control them has no effect. If the memory of a GPU does not suffice: all is
            then computed on the CPU.
        """
        device = float64_device(self.device)
        pairs, group = check_training_pairs(self, X, y, sample_weight, groups)
        check_response_features(self.n_response_features, pairs.shape[-1], alone=True)
        self._check_kernel(self._views())
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        random_state = check_random_state(self.random_state)
        used, inducing, back = self._training_pairs(pairs, group, random_state)
        if len(np.unique(used.group)) < 2 and (used.target != 0.5).any():
            warn(
                "all distinct pairs are of one prompt, so that none can be left out: strengths of "
                "the prior are averaged with equal weights, and probabilities are not calibrated."
            )
        first, second = used.members[0::2], used.members[1::2]
        controlled = self._views().get("controlled", ())
        warn_of_idle_controls([int(c) for c in controlled if (first[:, c] == second[:, c]).all()])
        state = random_state.get_state()

        def learn(device):
            random_state.set_state(state)  # a second try draws the same
            members = as_tensor(used.members).to(device)
            self._learn_scales(used.members, members, unlabeled, random_state)
            return self._average(self._learn_kernels(used.members, members, inducing), used)

        averaged = on_cpu_if_full(learn, device)
        n_given, given = kept_pairs(X, pairs, sample_weight)
        left_out = np.full(n_given, np.nan)
        left_out[given] = back(averaged.left_out)
        self._keep(averaged, left_out)
        return self

    def _average(self, prior, used):
        """Return the average of the posteriors of all strengths of a prior."""
        settings, n_strengths = SelectionSettings(), 1 + int(prior.strength_of.max())
        if self.prior_variance == "auto":
            strengths = settings.strengths(n_strengths)
        else:
            strengths = np.full((1, n_strengths), self.prior_variance / n_strengths)
        order = row_order(used.members.reshape(len(used), -1))
        # Bytes may sort by the first column; shuffled, the first pairs are like all others.
        order = np.random.default_rng(0).permutation(order)
        index = draw_groups(order, used.group, settings.max_left_out)
        return average_posteriors(prior, used, strengths, index, settings)

    def _check_kernel(self, views):
        """Refuse what is said of the embedding's kernels where there is no embedding."""
        if "embedding" not in views and (self.whitening is not None or self.kernel != "auto"):
            raise ValueError(
                f"whitening={self.whitening!r} and kernel={self.kernel!r} are the embedding's and "
                f"have no effect: all {self.n_features_in_} columns are response features. Leave "
                "them at their defaults."
            )

    def _training_pairs(self, pairs, groups, random_state):
        """Merge repeated pairs and decode them; draw inducing ones if there are many.

        Returns the pairs, which are inducing (None for all), and a map of what is said of them to
        what is said of all pairs.
        """
        index, target, weight, place, sign = merge_repeated_pairs(pairs)
        inducing = None
        if len(index) > self.max_pairs:
            drawn = random_state.permutation(len(index))[: min(self.max_pairs, MAX_INDUCING)]
            rank = np.argsort(row_order(pairs.originals))  # so that the order of rows is no matter
            inducing = np.argsort(rank[pairs.parent[index]], kind="stable")[drawn]
        members = pairs.rows(index).astype(np.float64)  # (n, 2, d)
        members = members.reshape(-1, members.shape[-1])  # (2n, d)
        used = TrainingPairs(members, target, weight, groups[pairs.parent[index]])
        return used, inducing, lambda values: sign * values[place]

    def _learn_scales(self, rows, members, unlabeled, random_state):
        """Learn the map of the embedding and the scale of the features.

        The pairs' members (2n, d) are given twice, as an array and as a tensor on the device.
        """
        d = self.n_features_in_ - self.n_response_features
        self.whitening_ = None
        if d:
            responses = None if unlabeled is None else unlabeled[..., :d]
            spectra = WithinPromptSpectra.estimate(members[:, :d], responses, random_state)
            whitening = WithinPromptWhitening() if self.whitening is None else self.whitening
            self.whitening_ = spectra.whitening(
                whitening.wiener_exponent, whitening.covariance_exponent
            )
        features = rows[:, d:]
        if unlabeled is not None:
            there = unlabeled[~np.isnan(unlabeled[..., 0])]
            features = np.concatenate([features, there[:, d:]])
        scale = FeatureScale.estimate(features)
        self.feature_mean_, self.feature_scale_ = scale.mean, scale.scale

    def _learn_kernels(self, rows, members, inducing):
        """Weigh the kernels of each view, and return the prior of the pairs; rows as above."""
        views, scaled, kernels, covariances = self._views(), [], [], []
        self.kernel_weights_ = {}
        if inducing is not None:
            kept = torch.as_tensor(member_rows(inducing), device=members.device)
        for name in views:
            if name == "embedding":
                at = self.whitening_.on(members.device).apply_in_chunks(members[:, views[name]])
            else:
                at = as_tensor(self._scale_features(name, rows)).to(members.device)
            scaled.append(at)
            kernels.append(fit_kernel_sum(at, self._shares(name)))
            self.kernel_weights_[name] = kernels[-1].weights
            covariances.append(kernels[-1].between_pairs(at, at if inducing is None else at[kept]))
        spanning = scaled if inducing is None else [at[kept] for at in scaled]
        self.X_train_ = torch.cat(spanning, dim=1).cpu().numpy()
        predicted = np.array([name != "controlled" for name in views])
        # What is controlled has a strength of its own, so that any number does here.
        strength_of = np.minimum(np.arange(len(views)), predicted.sum() - 1)
        if inducing is None:
            return Prior(covariances, strength_of, predicted)
        return InducedPrior(covariances, strength_of, predicted, inducing, scaled, kernels)

    def _views(self):
        """Return the columns of each view, by its name."""
        d = self.n_features_in_ - self.n_response_features
        columns = np.arange(self.n_features_in_)
        controlled = check_controlled(self.controlled, self.n_features_in_, first=d)
        views = {
            "embedding": columns[:d],
            "features": np.setdiff1d(columns[d:], controlled),
            "controlled": controlled,
        }
        return {name: columns for name, columns in views.items() if len(columns)}

    def _shares(self, name):
        """Return the shares of a view's kernels in its variance, which sum to 1."""
        if name == "embedding":
            names = KERNELS if self.kernel == "auto" else [self.kernel]
            return {name: 1 / len(names) for name in names}
        return FEATURE_SHARES if name == "features" else CONTROLLED_SHARES

    def _scale_features(self, name, rows):
        """Return what the kernels of features see of embeddings (m, d): rows of norm about 1."""
        columns = self._views()[name] - (self.n_features_in_ - self.n_response_features)
        scale = FeatureScale(self.feature_mean_[columns], self.feature_scale_[columns])
        standard = scale.apply(rows[:, self._views()[name]])
        n_varying = np.isfinite(scale.scale).sum()
        return standard / np.sqrt(max(n_varying, 1))

    def _keep(self, averaged, left_out):
        """Set the fitted attributes."""
        self.dual_coef_ = averaged.dual_coef
        self.strengths_ = averaged.strengths
        self.strength_weights_ = averaged.weights
        self.prior_variance_ = averaged.prior_variance
        self.slope_ = averaged.slope
        self.left_out_log_odds_ = left_out
        self.L_ = averaged.posterior.L.cpu().numpy()
        self.n_iter_ = averaged.posterior.n_iter
        self.log_marginal_likelihood_value_ = averaged.posterior.log_marginal_likelihood

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
            The mean rewards less `uncertainty_penalty` standard deviations; NaN for padding.
        deviations : ndarray of float64, shape (...)
            Posterior standard deviations of the rewards at the mean strengths; NaN for padding.
            Only with `return_std`.
        """
        if not return_std:
            return super().predict(X)
        X = self._check_embeddings(X)
        rewards, deviations = self._rewards_and_deviations(X.reshape(-1, X.shape[-1]))
        rewards = check_rewards(rewards.reshape(X.shape[:-1]), X)
        return rewards, deviations.reshape(X.shape[:-1])

    def _predict_rows(self, rows):
        return self._rewards_and_deviations(rows, needs_std=self.uncertainty_penalty > 0)[0]

    def _rewards_and_deviations(self, rows, needs_std=True):
        """Return rewards and deviations of embeddings (m, d), each (m,)."""

        def compute(device):
            """Rewards, and the variances before the slope."""
            tensors, rewards, variances = self._tensors(device, needs_std), [], []
            for chunk in gen_batches(len(rows), CHUNK):
                mean, variance = self._condition(rows[chunk], tensors, needs_std)
                rewards.append(mean)
                variances.append(variance)
            return torch.cat(rewards).cpu().numpy(), torch.cat(variances).cpu().numpy()

        if not len(rows):
            return np.zeros(0), np.zeros(0)
        rewards, variances = on_cpu_if_full(compute, float64_device(self.device))
        deviations = self.slope_ * np.sqrt(np.maximum(variances, 0))
        if self.uncertainty_penalty:
            rewards -= self.uncertainty_penalty * deviations
        return rewards, deviations

    def _tensors(self, device, needs_std):
        """Return what was learnt on a device: the predicted views, and the factor of deviations."""
        views, start = {}, 0
        for part, (name, columns) in enumerate(self._views().items()):
            members = self.X_train_[:, start : start + len(columns)]
            start += len(columns)
            if name != "controlled":
                coef = as_tensor(self.dual_coef_[part]).to(device)
                views[name] = columns, as_tensor(members).to(device), coef
        whitening = None if self.whitening_ is None else self.whitening_.on(device)
        return views, whitening, as_tensor(self.L_).to(device) if needs_std else None

    def _condition(self, rows, tensors, needs_std):
        """Return rewards and their variances, before the slope, of embeddings (m, d)."""
        views, whitening, L = tensors
        rewards, total, variance = 0.0, 0.0, 0.0
        for part, (name, (columns, members, coef)) in enumerate(views.items()):
            if name == "embedding":
                of_view = np.asarray(rows[:, columns], dtype=np.float64)
                at = whitening.apply(as_tensor(of_view).to(members.device))
            else:
                at = as_tensor(self._scale_features(name, rows)).to(members.device)
            kernel = KernelSum(self.kernel_weights_[name])
            covariance = kernel.with_pairs(at, members)
            rewards = rewards + covariance @ coef
            if needs_std:
                strength = float(self.prior_variance_[min(part, len(self.prior_variance_) - 1)])
                total = total + strength * covariance
                variance = variance + strength * kernel.variance(at)
        if needs_std:
            variance = condition(L, total, variance)[1]
        return rewards, variance if needs_std else torch.zeros_like(rewards)

    def get_fitted_state(self):
        """Return what `fit` learnt.

        Returns
        -------
        dict
            Numbers, arrays and dicts of these.
        """
        check_is_fitted(self)
        whitening = None if self.whitening_ is None else self.whitening_.get_state()
        return super().get_fitted_state() | {"whitening_": whitening}

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
        self.n_features_in_ = d = int(state["n_features_in_"])
        check_shapes(self, {"X_train_": (state["X_train_"], (2 * len(state["L_"]), d))})
        views = self._views()
        n = len(state["L_"])
        k = self.n_response_features
        shapes = {
            "dual_coef_": (len(views), n),
            "feature_mean_": (k,),
            "feature_scale_": (k,),
            "prior_variance_": (len([name for name in views if name != "controlled"]),),
            "L_": (n, n),
        }
        check_shapes(self, {name: (state[name], shape) for name, shape in shapes.items()})
        if set(state["kernel_weights_"]) != set(views):
            raise ValueError(f"kernel_weights_ of a {type(self).__name__} must be of {list(views)}")
        unknown = {name for w in state["kernel_weights_"].values() for name in w} - set(KERNELS)
        if unknown:
            raise ValueError(f"kernel_weights_ of a {type(self).__name__}: no kernel {unknown}")
        whitening = state["whitening_"]
        if "embedding" in views:
            whitening = Whitening.from_state(whitening, len(views["embedding"]))
        super().set_fitted_state(state | {"whitening_": whitening})
