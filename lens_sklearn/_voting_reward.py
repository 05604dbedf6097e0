"""The mean of several rewards, for embeddings of any shape."""

import numpy as np
from sklearn import get_config
from sklearn.base import MetaEstimatorMixin, _fit_context, clone
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import has_fit_parameter

from ._base_reward import RewardRegressor, check_rewards


class VotingRewardRegressor(MetaEstimatorMixin, RewardRegressor, _BaseComposition):
    """Mean of several rewards, which are fitted on the same pairs.

    The mean of rewards is the mean of their log-odds. scikit-learn's ``VotingRegressor`` is for
    rows (n, d) alone: of pairs and candidates it averages over the wrong axis, without a word.
    This one takes what a reward takes. A ``VotingClassifier`` or ``StackingClassifier`` of
    :class:`PairClassifier` works on pairs (n, 2, d) as it is.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and rewards, or Pipelines of embeddings that end in rewards; each is cloned.
    weights : array-like of shape (n_estimators,), default=None
        Weights of the rewards in the mean; None is equal ones.

    Attributes
    ----------
    estimators_ : list of estimator
        The fitted rewards.
    n_features_in_ : int
        d.

    See Also
    --------
    PairClassifier : Rewards for scikit-learn's own ensembles of classifiers.
    RewardEnsemble : One that trusts rewards less where they differ.

    Notes
    -----
    With metadata routing on, each reward is given what it requests; otherwise all get
    `sample_weight` and `groups`, and those whose `fit` takes it get `unlabeled`.

    Examples
    --------
    >>> from lens_sklearn import GPRewardRegressor, LinearRewardRegressor, VotingRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> rewards = [("linear", LinearRewardRegressor()), ("gp", GPRewardRegressor())]
    >>> vote = VotingRewardRegressor(rewards).fit(toy.pairs)
    >>> vote.predict(toy.candidates).shape == toy.gold.shape
    True
    """

    _parameter_constraints = {"estimators": [list], "weights": ["array-like", None]}

    fitted_state_names = ("estimators_", "n_features_in_")

    def __init__(self, estimators, *, weights=None):
        self.estimators = estimators
        self.weights = weights

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
        VotingRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            If there is no reward, two have the same name, weights are not one a reward, finite
            and positive in sum, `unlabeled` reaches no reward, or what a reward refuses.
        """
        self._check_parts()
        given = {"sample_weight": sample_weight, "groups": groups, "unlabeled": unlabeled}
        given = {name: value for name, value in given.items() if value is not None}
        params = self._params_of_parts(given)
        if unlabeled is not None and not any("unlabeled" in p for p in params.values()):
            raise ValueError("unlabeled has no effect: no reward learns from such responses.")
        self.estimators_ = [
            clone(estimator).fit(X, y, **params[name]) for name, estimator in self.estimators
        ]
        # Not the first part's: a step of another library counts a pair's two columns as features.
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
        self.n_features_in_ = int(shape[-1])
        return self

    def _check_parts(self):
        if not self.estimators:
            raise ValueError("estimators is empty; give (name, reward) tuples.")
        self._validate_names([name for name, _ in self.estimators])
        if self.weights is None:
            return
        weights = np.asarray(self.weights, dtype=float)
        n = len(self.estimators)
        if weights.shape != (n,) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
            raise ValueError(
                f"weights={self.weights!r}; there must be {n}, one a reward, none below 0 and "
                "not all 0."
            )

    def _params_of_parts(self, given):
        """Return what each reward's fit is given, by name."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **given)
            return {name: routed[name].fit for name, _ in self.estimators}
        return {
            name: {
                k: value
                for k, value in given.items()
                if k != "unlabeled" or has_fit_parameter(estimator, k)
            }
            for name, estimator in self.estimators
        }

    def predict(self, X):
        """Return the mean of the rewards of embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings: candidates (n_prompts, N, d), pairs (n, 2, d) or any other. All-NaN
            candidates are padding.

        Returns
        -------
        ndarray of float, shape (...)
            Rewards, NaN for padding.
        """
        X = self._check_embeddings(X)
        return check_rewards(np.average(self._predict_parts(X), axis=0, weights=self.weights), X)

    def _predict_parts(self, X):
        """Return the rewards of every part, (n_estimators, ...)."""
        return np.stack([estimator.predict(X) for estimator in self.estimators_])

    def get_params(self, deep=True):
        """Return the parameters, with the rewards by their names.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of the rewards too.

        Returns
        -------
        dict of str to object
            Parameters.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters, as ``set_params(linear__cv=3)`` or ``set_params(linear=...)``.

        Parameters
        ----------
        **params : dict
            Parameters, rewards by their names, or parameters of these.

        Returns
        -------
        VotingRewardRegressor
            Itself.
        """
        return self._set_params("estimators", **params)

    def get_metadata_routing(self):
        """Return where metadata goes: from `fit` to the rewards' `fit`.

        Returns
        -------
        MetadataRouter
            A description of it.
        """
        router = MetadataRouter(owner=self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(**dict(self.estimators), method_mapping=mapping)
