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

from ._atomic_fit import atomic_fit
from ._base_reward import RewardRegressor
from ._calibration import fit_slope
from ._device import row_order
from ._feature_scale import CONTROL_VARIANCE, FeatureScale
from ._fitted_state import check_shapes
from ._validation import (
    check_response_features,
    check_training_pairs,
    kept_pairs,
    warn_of_idle_controls,
)
from ._warnings import warn

CHUNK = 4096  # rows turned into float64 at once: bounds the memory of fit and predict
# Largest gradient of the mean loss where a fit stops: coarse in the search, whose losses are
# flat at their minima, fine for the coefficients that are kept.
SEARCH_TOLERANCE, TOLERANCE = 1e-5, 1e-7
#: Strengths of the response features beside the embedding's that are tried.
RATIOS = (1 / 3, 1.0, 3.0)
#: Mean squared norm of a pair's difference in a view. The prior variance of its log-odds is C
#: times this: the default grid goes from 1e-3, where nothing is learnt, to 1e3, no penalty at all.
VIEW_SIZE = 1000.0


class LinearRewardRegressor(RewardRegressor):
    r"""Linear Bradley–Terry reward: logistic regression on differences of embeddings.

    The reward is :math:`r(e) = w \cdot e` and a pair is won with probability
    :math:`\sigma(r(e^+) - r(e^-))`. With targets t, weights s and features z, the embeddings
    divided by their standard deviations, `fit` minimises

    .. math:: \tfrac12 \|w\|^2 + C \sum_i s_i \, [\log(1 + e^{m_i}) - t_i m_i], \qquad
        m_i = w \cdot (z_i^+ - z_i^-)

    where C is the one of a grid that predicts the pairs of left-out prompts best. A slope that is
    fitted to what those predictions were multiplies w at the end, so that log-odds mean what they
    say. It takes seconds and often does as well as anything else, so run it as the control of
    whatever costs more.

    Parameters
    ----------
    Cs : int or array-like of float, default=13
        The grid of C, the inverse of the penalty: a number of values between 1e-6 and 1 on a
        logarithmic scale, or the values. A single value is taken as it is.
    cv : int, default=5
        Folds of whole prompts, or as many as there are prompts if these are fewer. A fold's
        original pairs judge a reward that is fitted on all pairs of the others.
    standardize : bool, default=True
        Whether the penalty sees features divided by their standard deviations among the members
        of the original pairs, so that their scale makes no difference. Behind an
        :class:`EmbeddingScaler` it changes nothing. Response features always are standardised.
    max_iter : int, default=200
        The most iterations of the solver (L-BFGS) for a value of C.
    n_response_features : int, default=0
        How many of the last columns are response features (:class:`ResponseViews`); all of them
        where there is no embedding. They are standardised by the members of the original pairs,
        kept within three deviations, and have a strength of their own; see Notes.
    controlled : sequence of int, default=()
        Columns that are fitted and then left out of what is predicted, such as
        ``features.columns(["log_words"])`` of a :class:`ResponseFeatures`. Negative numbers count
        from the end. The reward is then what the judge prefers among responses that are alike
        there.

    Attributes
    ----------
    coef_ : ndarray of float64, shape (d,)
        The weights w: of the embedding's columns in the units of the embeddings, of response
        features in standard deviations, so that they can be held against each other. 0 for
        columns that never change and for controlled ones.
    control_coef_ : ndarray of float64, shape (c,)
        The weights of the controlled columns in the same units.
    slope_ : float
        What the weights were multiplied by at the end, so that the left-out log-odds mean what
        they say; 1 where no prompt could be left out.
    left_out_log_odds_ : ndarray of float64, shape (n_pairs,)
        What is predicted of each pair by weights that were fitted without its fold, made as long
        as the final ones; NaN for synthetic pairs, pairs of weight 0, and where no prompt could
        be left out.
    C_ : float
        The chosen C. At an end of the grid another grid may do better.
    Cs_ : ndarray of float64, shape (n_values,)
        The grid, in ascending order.
    feature_ratio_ : float
        The chosen strength of the features beside the embedding's, 1 where it was not searched.
    log_losses_ : ndarray of float64, shape (n_values,) or (n_values, 3)
        Mean log loss of the left-out original pairs for each value of C, before the slope, and
        with both views for each ratio of 1/3, 1 and 3. NaN where no prompt could be left out.
        Of equal losses the strongest penalty is chosen.
    feature_mean_, feature_scale_ : ndarray of float64, shape (k,)
        Means and standard deviations of the k response features, infinity for those that never
        change.
    lipschitz : float
        The Lipschitz constant of the reward in the units of X; of response features that are
        kept within their bounds an upper bound.
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

    With response features each view is scaled as a whole: the mean squared norm of a pair's
    difference is 1000 in it. So one C shrinks both alike, whatever their numbers of columns, and
    the prior variance of a pair's log-odds is 1000 C from the embedding and 1000 C times
    `feature_ratio_` from the features. C means something else without response features: there it
    multiplies differences as they are, divided by the deviations of their columns.

    A controlled column has a weak penalty of its own, which C does not change: the prior variance
    of the log-odds that it gives is 30. It is part of what the folds judge C by, since without it
    they would choose the C that makes up best for what was left out. It is no part of what
    `slope_` is fitted to, nor of `left_out_log_odds_`: probabilities are those of the prediction
    that is made.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=200, n_features=8, random_state=0)
    >>> reward = LinearRewardRegressor().fit(toy.pairs)
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True

    What a judge likes, read from response features alone:

    >>> from lens_sklearn import ResponseFeatures
    >>> lists, plain = "- apples\\n- pears\\n- plums", "Apples, pears and a few plums."
    >>> rows = [{"prompt": f"Name {i} fruits.", "chosen": lists, "rejected": plain}
    ...         for i in range(20)]
    >>> features = ResponseFeatures(["log_list_items", "finished"])
    >>> reward = LinearRewardRegressor(n_response_features=2).fit(features.fit_transform(rows))
    >>> {name: bool(weight > 0) for name, weight in zip(features.names, reward.coef_)}
    {'log_list_items': True, 'finished': False}
    """

    _parameter_constraints = {
        "Cs": [Interval(Integral, 2, None, closed="left"), "array-like"],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "standardize": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "controlled": ["array-like"],
    }

    computes_in_float64 = True

    fitted_state_names = (
        "coef_",
        "control_coef_",
        "slope_",
        "left_out_log_odds_",
        "C_",
        "Cs_",
        "feature_ratio_",
        "log_losses_",
        "feature_mean_",
        "feature_scale_",
        "n_iter_",
        "n_features_in_",
    )

    def __init__(
        self,
        Cs=13,
        *,
        cv=5,
        standardize=True,
        max_iter=200,
        n_response_features=0,
        controlled=(),
    ):
        self.Cs = Cs
        self.cv = cv
        self.standardize = standardize
        self.max_iter = max_iter
        self.n_response_features = n_response_features
        self.controlled = controlled

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
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
            that are not positive, `groups` that are not as many as the pairs, more response
            features than columns, or controlled columns that are out of range, repeated or all.

        Warns
        -----
        UserWarning
            If no two prompts have original pairs: the middle of the grid is taken. If controlled
            columns differ in no pair: to control them has no effect.
        ConvergenceWarning
            If the solver needs more than `max_iter` iterations for the chosen C.
        """
        pairs, group = check_training_pairs(self, X, y, sample_weight, groups)
        columns = self._columns(pairs.shape[-1])
        self.Cs_ = self._grid()
        if groups is None:
            group = np.argsort(row_order(pairs.originals))  # wherever an original stands
        weight = pairs.weight.astype(np.float64)
        original, group = ~pairs.is_synthetic, group[pairs.parent]
        rows, scale = self._standardize(pairs, weight, columns)
        target = pairs.target.astype(np.float64)
        # Threads gain little on small products, and on a busy machine cost 20 times as much.
        with threadpool_limits(limits=1, user_api="blas"):
            coef, left_out = self._learn(rows, columns, target, weight, original, group)
        known = ~np.isnan(left_out)
        self.slope_ = fit_slope(left_out[known], target[known], weight[known])
        n_given, given = kept_pairs(X, pairs, sample_weight)
        self.left_out_log_odds_ = np.full(n_given, np.nan)
        self.left_out_log_odds_[given] = self.slope_ * left_out
        coef = self.slope_ * coef / scale
        controlled = columns[-1]
        self.control_coef_ = coef[controlled]
        coef[controlled] = 0
        self.coef_ = coef
        return self

    def _columns(self, d):
        """Return the columns of the embedding, of the features, and the controlled ones."""
        k = self.n_response_features
        check_response_features(k, d, alone=True)
        controlled = _check_controlled(self.controlled, d)
        free = np.setdiff1d(np.arange(d), controlled)
        return free[free < d - k], free[free >= d - k], controlled

    def _standardize(self, pairs, weight, columns):
        """Return the differences of pairs as the penalty sees them, and what divided them."""
        d, k = pairs.shape[-1], self.n_response_features
        original = np.flatnonzero(~pairs.is_synthetic)
        original = original if len(original) else np.arange(len(pairs))
        features = _feature_scale(pairs, original, weight, k)
        self.feature_mean_, self.feature_scale_ = features.mean, features.scale
        rows = _differences(pairs, features)  # (n, d)
        scale = _scale(pairs, original, weight) if self.standardize else np.ones(d)
        scale[d - k :] = np.where(np.isinf(features.scale), np.inf, 1.0)
        rows /= scale
        of_embedding, of_features, controlled = columns
        views = [of_embedding, of_features] if k else []
        sizes = [VIEW_SIZE] * len(views) + [1.0] * len(controlled)
        for view, size in zip([*views, *controlled[:, None]], sizes, strict=True):
            squares = np.einsum("nd,nd->n", rows[:, view], rows[:, view])[original]
            factor = np.sqrt(np.average(squares, weights=weight[original]) / size) or 1.0
            rows[:, view] /= factor
            scale[view] *= factor
        idle = [int(column) for column in controlled if not rows[:, column].any()]
        warn_of_idle_controls(idle)
        return rows, scale

    def _learn(self, rows, columns, target, weight, original, group):
        """Return the weights (d,) and the left-out log-odds (n,) of the best setting; set that."""
        design = _Design(rows, columns)
        ratios = RATIOS if len(columns[0]) and len(columns[1]) else (1.0,)
        best, ratio, left_out = self._search(design, ratios, target, weight, original, group)
        self.C_, self.feature_ratio_ = float(self.Cs_[best]), float(ratio)
        coef = self._solve(design, target, weight, best)
        left_out *= np.linalg.norm(coef[: design.n_free])
        return design.weights(coef, ratio), left_out

    def _grid(self):
        """Return the values of C in ascending order."""
        if isinstance(self.Cs, Integral):
            return np.logspace(-6, 0, self.Cs)
        values = np.unique(np.asarray(self.Cs, dtype=np.float64))
        if not len(values) or not (values[0] > 0 and values[-1] < np.inf):
            raise ValueError(f"Cs={self.Cs!r}; values of C are positive and finite.")
        return values

    def _search(self, design, ratios, target, weight, original, group):
        """Find what predicts left-out groups best; set `log_losses_`.

        Return which value of C it is, the ratio, and log-odds of left-out pairs (n,) by weights
        of length 1. Under a strong penalty weights are as long as the pairs are many, and folds
        have fewer pairs than the final fit, whose length these log-odds are to have.
        """
        n_values, n = len(self.Cs_), len(target)
        losses = np.full((n_values, len(ratios)), np.nan)
        self.log_losses_ = losses if len(ratios) > 1 else losses[:, 0]
        fold = _folds(group, np.where(original, weight, 0), self.cv)
        test_folds = np.unique(fold[original])
        if len(test_folds) < 2:
            middle = (n_values - 1) // 2
            if losses.size > 1:
                warn(
                    "no two groups have original pairs, so that none can be left out to choose "
                    f"the penalty; takes C={self.Cs_[middle]:.3g}, the middle of Cs"
                    + (", and both views as equals." if len(ratios) > 1 else ".")
                )
            return middle, 1.0, np.full(n, np.nan)
        left_out = np.full((n, n_values, len(ratios)), np.nan)
        n_free = design.n_free
        for number, ratio in enumerate(ratios):
            rows, total = design.rows_of(ratio), np.zeros(n_values)
            for fold_number in test_folds:
                held_out = fold == fold_number
                data = _classes(rows, target, weight, np.flatnonzero(~held_out))
                coefs = self._path(self._model(), data, self.Cs_, n_free)
                test = held_out & original
                margin = rows[test] @ coefs.T  # (n_test, n_values)
                loss = np.logaddexp(0, margin) - target[test, None] * margin
                total += weight[test] @ loss
                length = np.linalg.norm(coefs[:, :n_free], axis=1)  # (n_values,)
                length[length == 0] = 1.0
                left_out[test, :, number] = rows[test, :n_free] @ coefs[:, :n_free].T / length
            losses[:, number] = total / weight[original].sum()
        best, number = divmod(int(losses.argmin()), len(ratios))
        return best, ratios[number], left_out[:, best, number]

    def _solve(self, design, target, weight, best):
        """Return the chosen setting's coefficients, with a warning if they are not precise."""
        rows = design.rows_of(self.feature_ratio_)
        data = _classes(rows, target, weight, np.arange(len(rows)))
        model = self._model()
        self._path(model, data, self.Cs_[:best], design.n_free)
        coef = _solution(model.set_params(tol=TOLERANCE), data, self.C_, design.n_free)
        self.n_iter_ = int(model.n_iter_[0])
        return coef

    def _path(self, model, data, Cs, n_free):
        """Return the coefficients (len(Cs), k) for ascending values, each from the one before."""
        coefs = np.empty((len(Cs), data[0].shape[1]))
        with warnings.catch_warnings():
            # The weakest penalties may not converge; they are rarely the ones chosen.
            warnings.simplefilter("ignore", ConvergenceWarning)
            for coef, C in zip(coefs, Cs, strict=True):
                coef[:] = _solution(model, data, C, n_free)
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
            If there are not as many weights as features, or means as response features.
        """
        shapes, k = {"coef_": (int(state["n_features_in_"]),)}, self.n_response_features
        if k:
            shapes |= {"feature_mean_": (k,), "feature_scale_": (k,)}
        check_shapes(self, {name: (state.get(name), shape) for name, shape in shapes.items()})
        super().set_fitted_state(state)

    def _predict_rows(self, rows):
        """Return the rewards of embeddings (m, d)."""
        rewards, k = np.empty(len(rows)), self.n_response_features
        for chunk in gen_batches(len(rows), CHUNK):
            part = rows[chunk]
            if k:
                features = FeatureScale(self.feature_mean_, self.feature_scale_).apply(part[:, -k:])
                part = np.concatenate([part[:, :-k], features], axis=1)
            rewards[chunk] = part @ self.coef_
        return rewards

    @property
    def lipschitz(self):
        """The Lipschitz constant of the reward, an upper bound if it has response features."""
        steepness, k = self.coef_, self.n_response_features
        if k:
            steepness = np.concatenate([steepness[:-k], steepness[-k:] / self.feature_scale_])
        return float(np.linalg.norm(steepness))


class _Design:
    """Differences of pairs as the columns of one problem: embedding, features, controlled.

    A penalised solution lies in the span of the rows: n numbers a row do for a view's columns.
    """

    def __init__(self, rows, columns):
        self.columns, self.bases, blocks = columns, [], []
        for number, view in enumerate(columns):
            block = rows if len(view) == rows.shape[1] else rows[:, view]
            basis = None
            if len(rows) < len(view) and number < 2:
                basis, block = np.linalg.qr(block.T)  # (len(view), n), (n, n)
                block = block.T
            self.bases.append(basis)
            blocks.append(block)
        self.ends = np.cumsum([block.shape[1] for block in blocks])
        filled = [block for block in blocks if block.shape[1]]
        self.rows = filled[0] if len(filled) == 1 else np.hstack(filled)

    @property
    def n_free(self):
        """How many columns come before the controlled ones."""
        return int(self.ends[1])

    def rows_of(self, ratio):
        """Return the rows with the features this strong beside the embedding."""
        if ratio == 1:
            return self.rows
        rows = self.rows.copy()
        rows[:, self.ends[0] : self.ends[1]] *= np.sqrt(ratio)
        return rows

    def weights(self, coef, ratio):
        """Return the weights (d,) of coefficients that were found for a ratio."""
        weights = np.zeros(sum(map(len, self.columns)))
        parts = np.split(coef, self.ends[:2])
        for view, basis, part, factor in zip(
            self.columns, self.bases, parts, (1.0, np.sqrt(ratio), 1.0), strict=True
        ):
            weights[view] = factor * (part if basis is None else basis @ part)
        return weights


def _solution(model, data, C, n_free):
    """Return the coefficients (k,) for a value of C, which does not act on controlled columns."""
    rows, *rest = data
    strength = np.sqrt(CONTROL_VARIANCE / C)
    if n_free < rows.shape[1]:
        rows = rows.copy()
        rows[:, n_free:] *= strength
    coef = model.set_params(C=C).fit(rows, *rest).coef_[0].copy()
    coef[n_free:] *= strength
    return coef


def _check_controlled(controlled, d):
    """Return the numbers of controlled columns, counted from the start."""
    given = list(controlled)
    for place, column in enumerate(given):
        if not isinstance(column, Integral) or isinstance(column, bool):
            raise ValueError(f"controlled[{place}] is {column!r}; columns are whole numbers.")
        if not -d <= column < d:
            raise ValueError(
                f"controlled[{place}] is {column}, but X has {d} features: columns are {-d} to "
                f"{d - 1}."
            )
    columns = [int(column) % d for column in given]
    for place, column in enumerate(columns):
        if column in columns[:place]:
            raise ValueError(
                f"controlled={given} names column {column} twice, the second time as "
                f"controlled[{place}]."
            )
    if len(columns) == d:
        raise ValueError(
            f"controlled={given} names all {d} features, which leaves none to predict by."
        )
    return np.array(columns, dtype=int)


def _feature_scale(pairs, original, weight, k):
    """Return the scale of the last k columns among the members of original pairs."""
    if not k:
        return FeatureScale(np.empty(0), np.empty(0))
    members = np.concatenate(
        [
            pairs.rows(original[chunk])[..., -k:].reshape(-1, k)
            for chunk in gen_batches(len(original), CHUNK)
        ]
    )
    return FeatureScale.estimate(members, np.repeat(weight[original], 2))


def _differences(pairs, features):
    """Return column 0 less column 1, (n, d) in float64, of features on their scale."""
    out, k = np.empty((len(pairs), pairs.shape[-1])), len(features.mean)
    for chunk in gen_batches(len(pairs), CHUNK):
        rows = pairs.rows(np.arange(chunk.start, chunk.stop))  # (b, 2, d)
        np.subtract(rows[:, 0], rows[:, 1], out=out[chunk], dtype=np.float64)
        if k:
            standard = features.apply(rows[..., -k:])
            out[chunk, -k:] = standard[:, 0] - standard[:, 1]
    return out


def _scale(pairs, original, weight):
    """Return the deviation (d,) of the members of original pairs, infinity for constants."""
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
