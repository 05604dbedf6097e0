"""A reward as a classifier of pairs, for scikit-learn's tools that want probabilities."""

from collections.abc import Mapping

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, _fit_context, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from ._augmented_pairs import AugmentedPairs, check_target
from ._fitted_state import FittedState
from ._linear_reward import LinearRewardRegressor
from ._number_checks import check_plain


class PairClassifier(FittedState, MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A reward as a scikit-learn classifier of pairs: which of the two columns wins.

    Class 1 is that column 0 wins. So whatever scikit-learn does with probabilities it does with
    those of a reward: ``CalibratedClassifierCV``, ``cross_val_predict(method="predict_proba")``,
    the scorers "neg_log_loss", "neg_brier_score" and "roc_auc", calibration curves. These want
    pairs of both classes, while pairs with column 0 chosen are all of class 1: see
    :func:`~lens_sklearn.shuffle_columns`.

    Parameters
    ----------
    reward : estimator, default=None
        A reward, or a Pipeline that ends in one. None is :class:`LinearRewardRegressor`.

    Attributes
    ----------
    reward_ : estimator
        The fitted reward, a clone.
    classes_ : ndarray of int, shape (2,)
        0, column 1 wins, and 1, column 0 wins.
    n_features_in_ : int
        The reward's; d for pairs of embeddings.

    See Also
    --------
    shuffle_columns : Pairs of both classes.

    Notes
    -----
    Pairs that column 1 wins are turned round before the reward sees them, so that it learns the
    same from pairs whose columns were shuffled.

    With metadata routing on, weights and prompts go where the reward asks for them: `groups`
    reaches every reward, and `sample_weight` one with ``set_fit_request(sample_weight=True)``.

    Examples
    --------
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from lens_sklearn import PairClassifier, shuffle_columns
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=4, random_state=0)
    >>> pairs, y = shuffle_columns(toy.pairs, random_state=0)
    >>> calibrated = CalibratedClassifierCV(PairClassifier(), cv=5).fit(pairs, y)
    >>> calibrated.predict_proba(pairs).shape
    (100, 2)
    """

    _parameter_constraints = {"reward": [HasMethods(["fit", "decision_function"]), None]}

    fitted_state_names = ("reward_", "classes_")

    def __init__(self, reward=None):
        self.reward = reward

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None, *, groups=None, unlabeled=None):
        """Fit the reward.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or preference rows
            Pairs; rows of text for a Pipeline that reads them.
        y : array-like of shape (n,), optional
            1 where column 0 wins and 0 where column 1 does. By default column 0 wins.
        sample_weight : array-like of shape (n,), optional
            Weight of each pair.
        groups : array-like of shape (n,), optional
            Prompts of the pairs, for a reward that takes them.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, for a reward that takes them.

        Returns
        -------
        PairClassifier
            Itself, fitted.

        Raises
        ------
        ValueError
            On another shape, labels other than 0 and 1, or what the reward refuses.
        """
        X = _check_pairs(X)
        if y is not None:
            y = _check_labels(y, X)
            if isinstance(X, np.ndarray):
                X, y = _turn_round(X, y == 0), None
        given = {"sample_weight": sample_weight, "groups": groups, "unlabeled": unlabeled}
        given = {name: value for name, value in given.items() if value is not None}
        if get_config()["enable_metadata_routing"]:
            given = process_routing(self, "fit", **given).reward.fit
        self.reward_ = clone(self._reward()).fit(X, y, **given)
        self.classes_ = np.array([0, 1])
        return self

    def _reward(self):
        return LinearRewardRegressor() if self.reward is None else self.reward

    def decision_function(self, X):
        """Return the log-odds that column 0 wins.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or preference rows
            Pairs.

        Returns
        -------
        ndarray of float, shape (n,)
            Positive where class 1 is predicted.
        """
        check_is_fitted(self)
        return self.reward_.decision_function(_check_pairs(X))

    def predict_proba(self, X):
        """Return the probabilities of both classes.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or preference rows
            Pairs.

        Returns
        -------
        ndarray of float, shape (n, 2)
            Probability that column 1 wins, and that column 0 wins.
        """
        check_is_fitted(self)
        return self.reward_.predict_proba(_check_pairs(X))

    def predict(self, X):
        """Return which column wins.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or preference rows
            Pairs.

        Returns
        -------
        ndarray of int, shape (n,)
            1 where column 0 wins, 0 where column 1 does or the rewards are equal.

        Raises
        ------
        ValueError
            If a pair holds an all-NaN embedding, as a dropped text has: it is of no class.
        """
        log_odds = self.decision_function(X)
        lost = np.flatnonzero(np.isnan(log_odds))
        if len(lost):
            raise ValueError(
                f"{len(lost)} of {len(log_odds)} pairs (first: row {lost[0]}) hold an all-NaN "
                "embedding, as a dropped text has, so that none of the two wins. Leave them out."
            )
        return self.classes_[(log_odds > 0).astype(int)]

    def score(self, X, y=None, sample_weight=None):
        """Return the share of pairs whose winner is predicted.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or preference rows
            Pairs.
        y : array-like of shape (n,), optional
            1 where column 0 wins, 0 where column 1 does. By default column 0 wins.
        sample_weight : array-like of shape (n,), optional
            Weight of each pair.

        Returns
        -------
        float
            Accuracy; larger is better.
        """
        y = np.ones(len(X), dtype=int) if y is None else y
        return super().score(X, y, sample_weight)

    @property
    def n_features_in_(self):
        """The reward's number of features."""
        check_is_fitted(self)
        return self.reward_.n_features_in_

    def get_metadata_routing(self):
        """Return where metadata goes: from `fit` to the reward's `fit`.

        Returns
        -------
        MetadataRouter
            A description of it.
        """
        return MetadataRouter(owner=self).add(
            reward=self._reward(), method_mapping=MethodMapping().add(caller="fit", callee="fit")
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = False
        tags.classifier_tags.multi_class = False
        return tags


def shuffle_columns(X, y=None, *, random_state=None):
    """Swap the columns of half of the pairs, so that both classes occur.

    scikit-learn's tools for probabilities want labels 0 and 1: log loss, ROC AUC and
    ``CalibratedClassifierCV`` fail or mean nothing where every y is 1, as of pairs with column 0
    chosen. Shuffle test pairs as well as training pairs before they go to such a tool.

    Parameters
    ----------
    X : array-like of shape (n, 2, d)
        Pairs. Augment them afterwards.
    y : array-like of shape (n,), default=None
        Probability that column 0 wins, or labels 0 and 1; None is 1 for every pair.
    random_state : int, RandomState instance or None, default=None
        Draws which half.

    Returns
    -------
    pairs : ndarray, shape (n, 2, d)
        A copy; n // 2 of the pairs have their columns swapped.
    y : ndarray, shape (n,)
        Labels, ints if `y` was None: 1 - y of the pairs that were swapped.

    Raises
    ------
    ValueError
        On another shape or a y outside [0, 1].

    See Also
    --------
    PairClassifier : A reward as a classifier of these.

    Examples
    --------
    >>> import numpy as np
    >>> from lens_sklearn import shuffle_columns
    >>> pairs, y = shuffle_columns(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]), random_state=0)
    >>> pairs[:, :, 0].tolist(), y.tolist()
    ([[1.0, 2.0], [4.0, 3.0]], [1, 0])
    """
    if isinstance(X, AugmentedPairs):
        raise ValueError("shuffle the columns of the pairs first and augment them afterwards.")
    X = np.asarray(X)
    if X.ndim != 3 or X.shape[1] != 2:
        raise ValueError(f"expected pairs of shape (n, 2, d); got shape {X.shape}.")
    y = np.ones(len(X), dtype=int) if y is None else column_or_1d(y)
    check_consistent_length(X, y)
    check_target(y)
    swapped = np.zeros(len(X), dtype=bool)
    swapped[: len(X) // 2] = True
    check_random_state(random_state).shuffle(swapped)
    return _turn_round(X, swapped), np.where(swapped, 1 - y, y)


def _turn_round(X, which):
    """Return a copy of pairs (n, 2, d) with the columns of some of them swapped."""
    X = X.copy()
    X[which] = X[which, ::-1]
    return X


def _check_pairs(X):
    """Return pairs as an array (n, 2, d); rows of text and augmented pairs stay as they are."""
    columns = getattr(X, "column_names", getattr(X, "columns", ()))
    if isinstance(X, AugmentedPairs) or "chosen" in columns:
        return X
    if not hasattr(X, "shape") and len(X) and isinstance(X[0], Mapping):
        return X
    check_plain(X)
    X = np.asarray(X)
    if X.dtype.kind in "biuf" and (X.ndim != 3 or X.shape[1] != 2):
        raise ValueError(
            f"PairClassifier classifies pairs of shape (n, 2, d); got shape {X.shape}."
        )
    return X


def _check_labels(y, X):
    """Return labels (n,) as ints."""
    y = column_or_1d(y, warn=True)
    if not isinstance(X, AugmentedPairs):  # whose labels may be one an original
        check_consistent_length(X, y)
    bad = np.flatnonzero(~np.isin(y, (0, 1)))
    if len(bad):
        raise ValueError(
            f"y[{bad[0]}] is {y[bad[0]]!r}; a classifier's labels are 1, column 0 wins, and 0. "
            "Probabilities that column 0 wins go to the fit of the reward itself."
        )
    return y.astype(int)
