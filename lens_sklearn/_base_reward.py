"""What all rewards share: rewards of embeddings, log-odds and probabilities of pairs, scores."""

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ._augmented_pairs import AugmentedPairs
from ._fitted_state import FittedState
from ._validation import check_embeddings, check_training_pairs
from .metrics import best_of_n_score, leave_out_dropped, pair_accuracy_score


class RewardRegressor(FittedState, RegressorMixin, BaseEstimator):
    """Base of rewards: a subclass has `fit` and ``_predict_rows``, rewards of rows (m, d)."""

    # With metadata routing on, prompts reach every reward.
    __metadata_request__fit = {"groups": True}

    def predict(self, X):
        """Return the rewards of embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings: candidates (n_prompts, N, d), pairs (n, 2, d) or any other. All-NaN
            candidates are padding.

        Returns
        -------
        ndarray of float, shape (...)
            Rewards, NaN for padding.

        Raises
        ------
        ValueError
            If an embedding is not finite, or its reward is not: the message names its row.
        """
        X = self._check_embeddings(X)
        rewards = self._predict_rows(X.reshape(-1, X.shape[-1])).reshape(X.shape[:-1])
        return check_rewards(rewards, X)

    def _check_embeddings(self, X):
        check_is_fitted(self)
        if isinstance(X, AugmentedPairs):
            X = np.asarray(X)
        return check_embeddings(self, X, reset=False, allow_padding=True)

    def _predict_rows(self, rows):
        """Return the rewards of embeddings (m, d)."""
        raise NotImplementedError

    def decision_function(self, X):
        """Return the log-odds that column 0 wins.

        Parameters
        ----------
        X : AugmentedPairs or array-like of shape (n, 2, d), or of shape (n, d)
            Pairs. Embeddings that are not in a pair are held against a reward of 0.

        Returns
        -------
        ndarray of float, shape (n,)
            ``r0 - r1``.

        Raises
        ------
        ValueError
            On another shape.
        """
        rewards = self.predict(X)
        if rewards.ndim == 1:
            return rewards
        if rewards.ndim != 2 or rewards.shape[1] != 2:
            raise ValueError(
                f"expected pairs of shape (n, 2, d); got rewards of shape {rewards.shape}."
            )
        return rewards[:, 0] - rewards[:, 1]

    def predict_proba(self, X):
        """Return the probabilities of both outcomes of pairs.

        Parameters
        ----------
        X : AugmentedPairs or array-like of shape (n, 2, d), or of shape (n, d)
            As in `decision_function`.

        Returns
        -------
        ndarray of float, shape (n, 2)
            Probability that column 1 wins, and that column 0 wins, in the order of
            scikit-learn's classes 0 and 1 of "column 0 wins".
        """
        log_odds = self.decision_function(X).astype(np.float64)
        return np.stack([expit(-log_odds), expit(log_odds)], axis=1)

    def score(self, X, y=None, sample_weight=None):
        """Return the mean gold reward of the Best-of-N pick, or pair accuracy without gold.

        Both are larger for a better model. The first is what a reward model is for.

        .. note::
            Two candidates a prompt have the shape of pairs. Without gold they are scored as
            such, as if the first of each were the chosen one.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, N, d), (n, 2, d), or (n, d) with ratings y
            Candidates with gold rewards, or pairs.
        y : array-like of shape (n, N) or (n,), optional
            Gold rewards of the candidates: the score is the mean gold reward of the candidate
            with the largest predicted reward. For pairs, the probability that column 0 wins
            (default 1); for embeddings of shape (n, d), ratings that pair them. The score is
            then the share of pairs ordered rightly, ties counting half.
        sample_weight : array-like of shape (n,), optional
            Weight of each prompt or pair, for augmented pairs of each original or of each pair.

        Returns
        -------
        float
            Mean gold reward, or accuracy.

        Raises
        ------
        ValueError
            On shapes that do not fit each other, values that are not finite, or if nothing is
            left to score.

        Warns
        -----
        UserWarning
            If candidates with gold have an all-NaN embedding, as dropped texts do: they are never
            picked. A prompt of such candidates alone is left out, and so is a pair that holds one.
        """
        check_is_fitted(self)
        if y is not None and np.ndim(y) == 2:
            rewards, gold, kept = leave_out_dropped(self.predict(X), y)
            if sample_weight is not None:
                sample_weight = np.asarray(sample_weight)[kept]
            return best_of_n_score(rewards, gold, sample_weight=sample_weight)
        pairs, _ = check_training_pairs(self, X, y, sample_weight, reset=False)
        return pair_accuracy_score(self.predict(pairs), pairs.target, sample_weight=pairs.weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.regressor_tags.poor_score = True
        return tags


def check_rewards(rewards, X):
    """Raise if an embedding that is there has a reward that is not finite.

    Parameters
    ----------
    rewards : ndarray, shape (...)
        What was predicted.
    X : ndarray, shape (..., d)
        Checked embeddings.

    Returns
    -------
    ndarray, shape (...)
        The rewards.

    Raises
    ------
    ValueError
        The message names the row, and in pairs and candidates the column.
    """
    if np.isfinite(rewards).all():
        return rewards
    bad = np.argwhere(~np.isfinite(rewards) & ~np.isnan(X[..., 0]))
    if len(bad):
        where = tuple(bad[0])
        column = f", column {where[1]}" if len(where) > 1 else ""
        raise ValueError(
            f"the reward of row {where[0]}{column} is {rewards[where]}: the embedding goes up to "
            f"{np.abs(X[where]).max():.3g}. Embeddings need the scale of the pairs that the reward "
            "was fitted on; put an EmbeddingScaler in front of both."
        )
    return rewards


def rewards_of(reward, X):
    """Return rewards of embeddings by whatever kind of reward it is.

    Parameters
    ----------
    reward : estimator or callable
        A reward of this package, a linear model with ``coef_``, an estimator with ``predict`` of
        embeddings (m, d), or a function of embeddings (..., d).
    X : ndarray of shape (..., d)
        Embeddings.

    Returns
    -------
    ndarray of float64, shape (...)
        Rewards.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if isinstance(reward, RewardRegressor):
        rewards = reward.predict(X)
    elif hasattr(reward, "coef_"):  # scikit-learn's classifiers predict labels
        rewards = X @ np.ravel(reward.coef_)
    elif hasattr(reward, "predict"):
        rewards = np.reshape(reward.predict(X.reshape(-1, X.shape[-1])), X.shape[:-1])
    elif callable(reward):
        rewards = reward(X)
    else:
        raise TypeError(
            f"a {type(reward).__name__} gives no rewards; it needs `predict` or `coef_`, or is a "
            "function of embeddings."
        )
    return np.asarray(rewards, dtype=np.float64)
