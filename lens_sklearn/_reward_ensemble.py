"""Several rewards as one that is careful where they differ."""

from numbers import Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from ._atomic_fit import atomic_fit
from ._augmented_pairs import AugmentedPairs
from ._base_reward import check_rewards
from ._fitted_state import check_shapes
from ._voting_reward import VotingRewardRegressor

LOWER_CONFIDENCE, WORST, MEAN = "lower_confidence", "worst", "mean"
PENALTY = 1.0  # the default, by which a choice is told


class RewardEnsemble(VotingRewardRegressor):
    r"""Several rewards combined by their mean, a lower confidence bound or the worst case.

    A pick by one reward, among many candidates above all, goes to what that reward overrates.
    Rewards that were trained apart do not overrate the same responses, so a response on which
    they differ is worth less trust.

    A reward is known up to a shift for each prompt, which means nothing and may differ from one
    member to the next. With :math:`r_m(x_j)` the reward of candidate j by member m, shifts are
    taken off within the prompt before members are compared:

    .. math::

        s_m(x_j) = r_m(x_j) - c_m, \qquad c_m = \frac{1}{N} \sum_{l=1}^{N} r_m(x_l)

    and the ensemble's reward is, with means, deviations and the minimum over the members m,

    .. math::

        \text{mean:} \quad & \operatorname{mean}_m r_m(x_j) \\
        \text{lower confidence:} \quad & \operatorname{mean}_m r_m(x_j)
            - k \, \operatorname{std}_m s_m(x_j) \\
        \text{worst:} \quad & \operatorname{mean}_m c_m + \min_m s_m(x_j)

    Scales are not touched: rewards of this package are log-odds.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and rewards, or Pipelines of embeddings that end in rewards; each is cloned. Members
        should differ: in their seeds, their kind or what they were trained on. One that is fitted
        already stays so in a ``sklearn.frozen.FrozenEstimator``.
    combine : {"lower_confidence", "worst", "mean"}, default="lower_confidence"
        How the rewards become one.
    uncertainty_penalty : float, default=1.0
        How many standard deviations are subtracted, k, for "lower_confidence" alone.
    weights : array-like of shape (n_estimators,), default=None
        Weights of the members in mean and standard deviation; None is equal ones. "worst" has
        no use for them.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted rewards.
    member_means_ : ndarray of shape (n_estimators,)
        Each member's mean reward of the training responses.
    n_features_in_ : int
        d.

    See Also
    --------
    VotingRewardRegressor : The mean alone.
    GPRewardRegressor : A posterior deviation without an ensemble.

    Notes
    -----
    A response that comes without others to its prompt, as a row (d,) or one candidate, has no
    prompt's mean: :math:`c_m` is then its `member_means_`. So a response alone does not have the
    reward that it has among candidates.

    The two responses of a pair lie equally far from their mean, so members differ equally on
    both: "lower_confidence" has the mean's log-odds of pairs, and "worst" the middle of the
    smallest and the largest. What they change are picks among three or more.

    References
    ----------
    T. Coste, U. Anwar, R. Kirk and D. Krueger, "Reward model ensembles help mitigate
    overoptimization", ICLR 2024.

    Examples
    --------
    >>> from lens_sklearn import BTRewardRegressor, RewardEnsemble
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> members = [(f"seed {i}", BTRewardRegressor(max_epochs=5, random_state=i)) for i in range(3)]
    >>> ensemble = RewardEnsemble(members, uncertainty_penalty=0.5).fit(toy.pairs)
    >>> rewards, deviations = ensemble.predict(toy.candidates, return_std=True)
    >>> rewards.shape == deviations.shape == toy.gold.shape
    True
    """

    _parameter_constraints = {
        **VotingRewardRegressor._parameter_constraints,
        "combine": [StrOptions({LOWER_CONFIDENCE, WORST, MEAN})],
        "uncertainty_penalty": [Interval(Real, 0, None, closed="neither")],
    }

    fitted_state_names = (*VotingRewardRegressor.fitted_state_names, "member_means_")

    def __init__(
        self, estimators, *, combine=LOWER_CONFIDENCE, uncertainty_penalty=PENALTY, weights=None
    ):
        super().__init__(estimators, weights=weights)
        self.combine = combine
        self.uncertainty_penalty = uncertainty_penalty

    @atomic_fit
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, *, groups=None, unlabeled=None):
        """Fit every reward.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1), or the ratings.
        sample_weight : array-like of shape (n,), optional
            Weight of each pair.
        groups : array-like of shape (n,), optional
            Prompts of the pairs.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, for rewards that learn from them.

        Returns
        -------
        RewardEnsemble
            Itself, fitted.

        Raises
        ------
        ValueError
            As :meth:`VotingRewardRegressor.fit`; if there is one reward alone and it is to be
            compared with others, or a parameter is set that `combine` has no use for.
        """
        super().fit(X, y, sample_weight, groups=groups, unlabeled=unlabeled)
        responses = X.originals if isinstance(X, AugmentedPairs) else X
        rewards = self._predict_parts(self._check_embeddings(responses)).astype(np.float64)
        self.member_means_ = np.nanmean(rewards.reshape(len(rewards), -1), axis=1)
        return self

    def _check_parts(self):
        super()._check_parts()
        if self.combine != MEAN and len(self.estimators) < 2:
            raise ValueError(
                f"combine={self.combine!r} compares rewards and estimators has one; give two or "
                'more, or combine="mean".'
            )
        if self.combine != LOWER_CONFIDENCE and self.uncertainty_penalty != PENALTY:
            raise ValueError(
                f"uncertainty_penalty={self.uncertainty_penalty!r} has no effect with "
                f"combine={self.combine!r}; it is for {LOWER_CONFIDENCE!r}."
            )
        if self.combine == WORST and self.weights is not None:
            raise ValueError(f"weights={self.weights!r} has no effect with combine={WORST!r}.")

    def predict(self, X, return_std=False):
        """Return the combined rewards of embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings: candidates (n_prompts, N, d), pairs (n, 2, d), whose second last axis is
            the responses to a prompt, or rows (m, d), which stand alone. All-NaN candidates are
            padding.
        return_std : bool, default=False
            Whether to return how far the members differ as well.

        Returns
        -------
        rewards : ndarray of float64, shape (...)
            Rewards, NaN for padding.
        deviations : ndarray of float64, shape (...)
            Standard deviations over the members, shifts taken off; only with `return_std`.
        """
        X = self._check_embeddings(X)
        rewards = self._predict_parts(X).astype(np.float64)  # (M, ...)
        shifts = self._shifts(rewards)
        relative = rewards - shifts
        center = np.average(relative, axis=0, weights=self.weights)
        deviations = np.sqrt(np.average((relative - center) ** 2, axis=0, weights=self.weights))
        combined = np.average(rewards, axis=0, weights=self.weights)
        if self.combine == LOWER_CONFIDENCE:
            combined = combined - self.uncertainty_penalty * deviations
        elif self.combine == WORST:
            combined = shifts.mean(axis=0) + relative.min(axis=0)
        combined = check_rewards(combined, X)
        return (combined, deviations) if return_std else combined

    def _shifts(self, rewards):
        """Return what members add to all rewards of a prompt, for rewards (M, ...)."""
        alone = self.member_means_.reshape(-1, *[1] * (rewards.ndim - 1))
        if rewards.ndim < 3:
            return alone
        there = ~np.isnan(rewards)
        n = there.sum(axis=-1, keepdims=True)  # (M, n_prompts, 1)
        mean = np.where(there, rewards, 0).sum(axis=-1, keepdims=True) / np.maximum(n, 1)
        return np.where(n > 1, mean, alone)

    def set_fitted_state(self, state):
        """Set the fitted attributes, so that the estimator is fitted.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If an attribute is not known or missing, or there is not one mean a member.
        """
        super().set_fitted_state(state)
        check_shapes(self, {"member_means_": (self.member_means_, (len(self.estimators_),))})
