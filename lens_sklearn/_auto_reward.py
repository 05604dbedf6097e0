"""A reward that is chosen by left-out prompts: a stand-in with the names of the one to come."""

from numbers import Integral

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions

from ._base_reward import RewardRegressor
from ._linear_reward import LinearRewardRegressor
from ._validation import check_embeddings


class AutoRewardRegressor(RewardRegressor):
    """The tuned linear model under another name.

    Parameters
    ----------
    candidates : {"auto"}, default="auto"
        What is combined.
    n_response_features : int, default=0
        The last so many columns are response features.
    controlled : array-like of int, default=()
        Columns that are fitted and left out of what is predicted.
    random_state : int, RandomState instance or None, default=None
        Draws folds.

    Attributes
    ----------
    reward_ : LinearRewardRegressor
        The fitted reward.
    cv_results_ : dict of str to ndarray
        Of each candidate ``name``, ``log_loss``, ``log_loss_se``, ``accuracy`` and ``weight``.
    n_features_in_ : int
        d.
    """

    _parameter_constraints = {
        "candidates": [StrOptions({"auto"})],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "controlled": ["array-like"],
        "random_state": ["random_state"],
    }
    __metadata_request__fit = {"groups": True, "unlabeled": True}

    fitted_state_names = ("reward_", "cv_results_", "n_features_in_")

    def __init__(
        self, candidates="auto", *, n_response_features=0, controlled=(), random_state=None
    ):
        self.candidates = candidates
        self.n_response_features = n_response_features
        self.controlled = controlled
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, groups=None, unlabeled=None):
        """Learn the reward from pairs.

        Parameters
        ----------
        X : AugmentedPairs or array-like of shape (n, 2, d)
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            Probability that column 0 wins.
        sample_weight : array-like of shape (n,), optional
            How often each pair counts.
        groups : array-like of shape (n,), optional
            Prompts of the pairs.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels.

        Returns
        -------
        AutoRewardRegressor
            Itself, fitted.
        """
        self.reward_ = LinearRewardRegressor().fit(X, y, sample_weight, groups=groups)
        self.n_features_in_ = self.reward_.n_features_in_
        if unlabeled is not None:
            check_embeddings(self, unlabeled, reset=False, allow_padding=True)
        self.cv_results_ = {
            "name": ["linear"],
            "log_loss": np.array([np.nanmin(self.reward_.log_losses_)]),
            "log_loss_se": np.zeros(1),
            "accuracy": np.array([0.5]),
            "weight": np.ones(1),
        }
        return self

    def _predict_rows(self, rows):
        return self.reward_.predict(rows[:, None])[:, 0]  # padding is of 3-D arrays alone
