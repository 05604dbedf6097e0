"""A linear Bradley–Terry reward whose penalty is chosen by prompts that it has not seen."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval
from threadpoolctl import threadpool_limits

from ._base_reward import RewardRegressor
from ._device import row_order
from ._fitted_state import check_shapes
from ._validation import check_training_pairs
from ._warnings import warn

CHUNK = 4096  # rows turned into float64 at once: bounds the memory of fit and predict
# Largest gradient of the mean loss where a fit stops: coarse in the search, whose losses are
# flat at their minima, fine for the coefficients that are kept.
SEARCH_TOLERANCE, TOLERANCE = 1e-5, 1e-7


class LinearRewardRegressor(RewardRegressor):
    r"""Linear Bradley–Terry reward: logistic regression on differences of embeddings.

    The reward is :math:`r(e) = w \cdot e` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`. With targets t, weights s and features z, the embeddings
    divided by their standard deviations, `fit` minimises

    .. math:: \tfrac12 \|w\|^2 + C \sum_i s_i \, [\log(1 + e^{m_i}) - t_i m_i], \qquad
        m_i = w \cdot (z_i^+ - z_i^-)

    where C is the one of a grid that predicts the pairs of left-out prompts best. It takes
    seconds and often does as well as anything else, so run it as the control of whatever costs
    more.

    Parameters
    ----------
    Cs : int or array-like of float, default=13
        The grid of C, the inverse of the penalty: a number of values between 1e-6 and 1 on a
        logarithmic scale, or the values. A single value is taken as it is, without search.
    cv : int, default=5
        Folds of whole prompts, or as many as there are prompts if these are fewer. A fold's
        original pairs judge a reward that is fitted on all pairs of the others.
    standardize : bool, default=True
        Whether the penalty sees features divided by their standard deviations among the members
        of the original pairs, so that their scale makes no difference. Behind an
        :class:`EmbeddingScaler` it changes nothing.
    max_iter : int, default=200
        The most iterations of the solver (L-BFGS) for a value of C.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (d,)
        The weights w in the units of the embeddings, 0 for features that never change.
    C_ : float
        The chosen C. At an end of the grid another grid may do better.
    Cs_ : ndarray of float64, shape (n_values,)
        The grid, in ascending order.
    log_losses_ : ndarray of float64, shape (n_values,)
        Mean log loss of the left-out original pairs for each value, NaN where there was no
        search. Of equal losses the strongest penalty is chosen.
    lipschitz : float
        The Lipschitz constant of the reward, the norm of `coef_`.
    n_iter_ : int
        Iterations of the solver for the chosen C, from the solution of the value before it.
    n_features_in_ : int
        d.

    See Also
    --------
    BTRewardRegressor : A network.
    GPRewardRegressor : A sum of this model's kernel and two that are not linear.

    Notes
    -----
    Weights are repetitions: a pair of weight 2 counts as two pairs of one prompt.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=200, n_features=8, random_state=0)
    >>> reward = LinearRewardRegressor().fit(toy.pairs)
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    """

    _parameter_constraints = {
        "Cs": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "standardize": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    fitted_state_names = ("coef_", "C_", "Cs_", "log_losses_", "n_iter_", "n_features_in_")

    def __init__(self, Cs=13, *, cv=5, standardize=True, max_iter=200):
        self.Cs = Cs
        self.cv = cv
        self.standardize = standardize
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        """Learn the reward from pairs.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen. Rated embeddings are paired by the order of their ratings.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1; 0.5 for a pair of equal embeddings);
            for augmented pairs a value an original, for rated embeddings the ratings.
        sample_weight : array-like of shape (n,), optional
            How often each pair counts; for augmented pairs a value an original, for rated
            embeddings a pair weighs the product of its members' weights.
        groups : array-like of shape (n,), optional
            Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`), for augmented pairs those
            of the originals, which folds keep whole. By default each original has its own.

        Returns
        -------
        LinearRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, targets outside [0, 1], weights that are all zero, values of C
            that are not positive, or `groups` that are not as many as the pairs.

        Warns
        -----
        UserWarning
            If no two prompts have original pairs: the middle of the grid is taken.
        ConvergenceWarning
            If the solver needs more than `max_iter` iterations for the chosen C.
        """
        pairs, group = check_training_pairs(self, X, y, sample_weight, groups)
        if groups is None:
            group = np.argsort(row_order(pairs.originals))  # wherever an original stands
        weight = pairs.weight.astype(np.float64)
        self.Cs_ = self._grid()
        original, group = ~pairs.is_synthetic, group[pairs.parent]
        rows = _differences(pairs)  # (n, d)
        scale = _scale(pairs, weight) if self.standardize else np.ones(rows.shape[1])
        rows /= scale
        target = pairs.target.astype(np.float64)
        # Threads gain little on small products, and on a busy machine cost 20 times as much.
        with threadpool_limits(limits=1, user_api="blas"):
            coef = self._learn(rows, target, weight, original, group)
        self.coef_ = coef / scale
        return self

    def _learn(self, rows, target, weight, original, group):
        """Return the weights (d,) of rows by the best value of C; set that."""
        basis = None
        if len(rows) < rows.shape[1]:
            # A penalised solution lies in the span of the rows: n numbers a row do for d.
            basis, rows = np.linalg.qr(rows.T)  # (d, n), (n, n)
            rows = rows.T
        best = self._search(rows, target, weight, original, group)
        self.C_ = float(self.Cs_[best])
        coef = self._solve(rows, target, weight, best)
        return coef if basis is None else basis @ coef

    def _grid(self):
        """Return the values of C in ascending order."""
        if isinstance(self.Cs, Integral):
            return np.logspace(-6, 0, self.Cs)
        values = np.unique(np.asarray(self.Cs, dtype=np.float64))
        if not len(values) or not (values[0] > 0 and values[-1] < np.inf):
            raise ValueError(f"Cs={self.Cs!r}; values of C are positive and finite.")
        return values

    def _search(self, rows, target, weight, original, group):
        """Return which value of C predicts left-out groups best; set `log_losses_`."""
        n_values = len(self.Cs_)
        self.log_losses_ = np.full(n_values, np.nan)
        fold = _folds(group, np.where(original, weight, 0), self.cv)
        test_folds = np.unique(fold[original])
        if n_values == 1 or len(test_folds) < 2:
            if n_values > 1:
                warn(
                    "no two groups have original pairs, so that none can be left out to choose "
                    f"the penalty; takes C={self.Cs_[(n_values - 1) // 2]:.3g}, the middle of Cs."
                )
            return (n_values - 1) // 2
        total = np.zeros(n_values)
        for number in test_folds:
            left_out = fold == number
            data = _classes(rows, target, weight, np.flatnonzero(~left_out))
            coefs = self._path(self._model(), data, self.Cs_)
            test = left_out & original
            margin = rows[test] @ coefs.T  # (n_test, n_values)
            loss = np.logaddexp(0, margin) - target[test, None] * margin
            total += weight[test] @ loss
        self.log_losses_ = total / weight[original].sum()
        return int(self.log_losses_.argmin())

    def _solve(self, rows, target, weight, best):
        """Return the chosen value's coefficients (k,), with a warning if they are not precise."""
        data = _classes(rows, target, weight, np.arange(len(rows)))
        model = self._model()
        self._path(model, data, self.Cs_[:best])
        model.set_params(C=self.C_, tol=TOLERANCE).fit(*data)
        self.n_iter_ = int(model.n_iter_[0])
        return model.coef_[0]

    def _path(self, model, data, Cs):
        """Return the coefficients (len(Cs), k) for ascending values, each from the one before."""
        coefs = np.empty((len(Cs), data[0].shape[1]))
        with warnings.catch_warnings():
            # The weakest penalties may not converge; they are rarely the ones chosen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for coef, C in zip(coefs, Cs, strict=True):
                coef[:] = model.set_params(C=C).fit(*data).coef_[0]
        return coefs

    def _model(self):
        return LogisticRegression(
            fit_intercept=False, tol=SEARCH_TOLERANCE, max_iter=self.max_iter, warm_start=True
        )

    def set_fitted_state(self, state):
        """Set the fitted attributes.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If there are not as many weights as features.
        """
        check_shapes(self, {"coef_": (state["coef_"], (int(state["n_features_in_"]),))})
        super().set_fitted_state(state)

    def _predict_rows(self, rows):
        """Return the rewards of embeddings (m, d)."""
        rewards = np.empty(len(rows))
        for chunk in gen_batches(len(rows), CHUNK):
            rewards[chunk] = rows[chunk] @ self.coef_
        return rewards

    @property
    def lipschitz(self):
        """The Lipschitz constant of the reward, the norm of its weights."""
        return float(np.linalg.norm(self.coef_))


def _differences(pairs):
    """Return column 0 less column 1, (n, d) in float64."""
    out = np.empty((len(pairs), pairs.shape[-1]))
    for chunk in gen_batches(len(pairs), CHUNK):
        rows = pairs.rows(np.arange(chunk.start, chunk.stop))  # (b, 2, d)
        np.subtract(rows[:, 0], rows[:, 1], out=out[chunk], dtype=np.float64)
    return out


def _scale(pairs, weight):
    """Return the deviation (d,) of the members of original pairs, infinity for constants."""
    original = np.flatnonzero(~pairs.is_synthetic)
    original = original if len(original) else np.arange(len(pairs))
    first = pairs.rows(original[:1])[0, 0].astype(np.float64)
    share = np.repeat(weight[original], 2) / (2 * weight[original].sum())
    mean, square = np.zeros_like(first), np.zeros_like(first)
    for chunk in gen_batches(len(original), CHUNK):
        # Less the first member, a constant is 0, and a large mean costs no precision.
        members = pairs.rows(original[chunk]).reshape(-1, len(first)) - first
        part = share[2 * chunk.start : 2 * chunk.stop]
        mean += part @ members
        square += part @ members**2
    variance = square - mean**2
    return np.sqrt(np.where(variance > 0, variance, np.inf))


def _folds(group, weight, n_folds):
    """Deal whole groups to folds, the heaviest first; return the fold of each pair (n,)."""
    index = np.unique(group, return_inverse=True)[1]
    order = np.argsort(-np.bincount(index, weight), kind="stable")
    fold = np.empty(len(order), dtype=int)
    fold[order] = np.arange(len(order)) % n_folds
    return fold[index]


def _classes(rows, target, weight, index):
    """Return some rows (m, k), labels and weights for a classifier: t of label 1, 1 - t of 0.

    It wants both labels. So the first row stands twice, as it is and turned round, with half its
    weight: the same loss.
    """
    won, lost = index[target[index] > 0], index[target[index] < 1]
    index = np.concatenate([won, lost])
    index = np.append(index, index[0])
    label = np.repeat([1, 0], [len(won), len(lost)])
    label = np.append(label, 1 - label[0])
    weight = weight[index] * np.concatenate([target[won], 1 - target[lost], [0]])
    weight[-1] = weight[0] = weight[0] / 2
    rows = rows[index]
    rows[-1] *= -1
    return rows, label, weight
