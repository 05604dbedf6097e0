"""What is recommended: several rewards, weighed by how they predict pairs of other prompts."""

import time
import warnings
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn import config_context
from sklearn.base import MetaEstimatorMixin, _fit_context, clone
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from ._atomic_fit import atomic_fit
from ._augmenters import RepeatAugmenter
from ._base_reward import RewardRegressor
from ._bt_reward import BTRewardRegressor
from ._calibration import fit_slope
from ._contrastive_vae import ContrastiveVAE
from ._device import draw_seed, row_order
from ._distillation import DistillationAugmenter
from ._feature_scale import check_controlled
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._linear_algebra import float64_device
from ._linear_reward import LinearRewardRegressor
from ._validation import check_response_features, check_training_pairs, check_unlabeled
from ._warnings import warn

#: What ``candidates="auto"`` tries; each takes seconds.
QUICK = ("linear", "GP", "network")
#: What ``candidates="all"`` tries besides.
SLOW = ("LENS", "distillation")


@dataclass(frozen=True)
class StackingSettings:
    """How candidates are weighed.

    Parameters
    ----------
    n_folds : int, default=3
        Folds of whole prompts for candidates that do not predict left-out pairs by themselves.
    shrinkage : float, default=10.0
        The weights minimise the log loss of left-out pairs, in all, plus this times their squared
        distance from the prior's.
    min_weight : float, default=0.01
        Candidates below this are left out: a hundredth of a vote is not worth its time.
    """

    n_folds: int = 3
    shrinkage: float = 10.0
    min_weight: float = 0.01


@dataclass(frozen=True)
class Candidate:
    """A reward with the view that it reads.

    Parameters
    ----------
    name : str
        What `cv_results_` calls it.
    estimator : estimator
        Not fitted.
    view : {"both", "embedding", "features"}
        Its columns.
    prior : float
        Its weight before any pair has spoken, up to a factor.
    has_device : bool, default=False
        Whether it computes on this reward's device.
    """

    name: str
    estimator: object
    view: str
    prior: float
    has_device: bool = False


class AutoRewardRegressor(MetaEstimatorMixin, RewardRegressor):
    r"""Combine several rewards, weighed by how well they predict pairs of left-out prompts.

    Which reward does best depends on the embedder, on who judged and on how many pairs there are.
    So several are fitted, each predicts every pair from the pairs of other prompts, and the
    reward is the weighted sum of theirs,

    .. math:: r = \sum_k w_k r_k, \qquad w = \arg\min_{w \ge 0} \sum_i
        \log\bigl(1 + e^{-\sum_k w_k l_{ik}}\bigr) + \lambda \lVert w - w^0 \rVert^2,

    with :math:`l_{ik}` the log-odds of pair i by candidate k. With few pairs the weights stay near
    the prior's :math:`w^0`, which is the Gaussian process of both views alone, or, where there is
    one view, the mean of Gaussian process and linear model; with many they go where the pairs say.
    The sum is a log-odds, and `predict_proba` means what it says.

    Parameters
    ----------
    candidates : {"auto", "all"}, list of str, or list of (str, estimator), default="auto"
        What is combined. "auto" is :class:`LinearRewardRegressor` ("linear"),
        :class:`GPRewardRegressor` ("GP"), each on the embedding, on the response features and on
        both, and a :class:`BTRewardRegressor` trained on each pair four times ("network"). "all"
        adds networks on the paper's synthetic pairs ("LENS") and on pairs with soft targets of a
        Gaussian process ("distillation"), which take minutes. A list of these names takes those
        alone; rewards of one's own come as (name, estimator), and read every column.
    n_response_features : int, default=0
        How many of the last columns are response features (:class:`ResponseFeatures`). With 0, or
        with no other column, there is one view, and every candidate stands once.
    controlled : sequence of int, default=()
        Columns among the response features that are fitted, and then left out of what is
        predicted, as in :class:`GPRewardRegressor`. Candidates that cannot do so are left out:
        networks, and those of the embedding alone, which would put in its own terms what is
        controlled.
    device : str, default="auto"
        Where Gaussian processes and networks compute; "auto" takes a GPU if there is one. The
        linear model always computes on the CPU, rewards of one's own where they are set to.
    random_state : int, RandomState instance or None, default=None
        Seeds networks and folds.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray, shape (n_candidates + 1,)
        "candidate", its name; "weight" in the sum; "log_loss" and "accuracy" on left-out pairs,
        with "log_loss_error", the standard error of the mean over prompts; "fit_time" in seconds.
        The last row is the combination, whose weights saw the pairs that it is judged by.
    candidates_ : dict of str to estimator
        Those fitted candidates that have a weight.
    weights_ : dict of str to float
        Their weights :math:`w_k`, the factor that calibrates the candidate included.
    views_ : dict of str to str
        The columns that they read: "embedding", "features" or "both".
    n_features_in_ : int
        d.

    See Also
    --------
    VotingRewardRegressor : The mean of rewards with weights of one's own.
    ResponseViews : Puts an embedding and response features side by side.

    Notes
    -----
    The linear model and the Gaussian process say what they predict of left-out pairs without
    being fitted again; networks are fitted three times more.

    References
    ----------
    L. Breiman, "Stacked regressions", 1996, for weights that are not negative;
    Y. Yao et al., "Using stacking to average Bayesian predictive distributions", 2018.

    Examples
    --------
    >>> from lens_sklearn import AutoRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=8, random_state=0)
    >>> reward = AutoRewardRegressor(random_state=0).fit(toy.pairs)
    >>> [str(name) for name in reward.cv_results_["candidate"]]
    ['linear', 'GP', 'network', 'combined']
    >>> bool(reward.score(toy.candidates, toy.gold) > toy.gold.mean())
    True
    """

    _parameter_constraints = {
        "candidates": [StrOptions({"auto", "all"}), list, tuple],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "controlled": ["array-like"],
        "device": [str, torch.device],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"groups": True, "unlabeled": True}  # with metadata routing on

    fitted_state_names = ("n_features_in_", "candidates_", "weights_", "views_", "cv_results_")

    def __init__(
        self,
        candidates="auto",
        *,
        n_response_features=0,
        controlled=(),
        device="auto",
        random_state=None,
    ):
        self.candidates = candidates
        self.n_response_features = n_response_features
        self.controlled = controlled
        self.device = device
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def fit(self, X, y=None, sample_weight=None, *, unlabeled=None, groups=None):
        """Learn all candidates, and their weights.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen. Rated embeddings are paired by the order of their ratings.
        y : array-like of shape (n,), optional
            Probability that column 0 wins (default 1; 0.5 for a pair of equal embeddings).
        sample_weight : array-like of shape (n,), optional
            How often each pair was observed.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to each of m prompts, all-NaN ones being padding. They are
            given to the candidates that learn from them.
        groups : array-like of shape (n,), optional
            Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`), which are left out whole.
            By default each original is a group of its own.

        Returns
        -------
        AutoRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs, unknown or repeated candidates, a `device` that torch does not
            know or that no candidate computes on, or if no candidate can be fitted: the message
            says why each failed.

        Warns
        -----
        UserWarning
            If a candidate cannot be fitted, which is then left out; if all pairs are of one
            prompt, so that the weights are the prior's; if nothing learns from `unlabeled`.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._fit(X, y, sample_weight, unlabeled, groups)
        # What several candidates warn of is said once.
        for message, category in dict.fromkeys((str(w.message), w.category) for w in caught):
            warn(message, category)
        return self

    def _fit(self, X, y, sample_weight, unlabeled, groups):
        """Fit all candidates, and weigh them."""
        pairs, group = check_training_pairs(self, X, y, sample_weight, groups)
        check_response_features(self.n_response_features, pairs.shape[-1], alone=True)
        float64_device(self.device)
        if groups is None:
            group = np.argsort(row_order(pairs.originals))  # folds do not depend on their order
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        random_state = check_random_state(self.random_state)
        candidates = self._make_candidates(random_state)
        given = {"unlabeled": unlabeled}
        if unlabeled is not None and not any(_asked(c.estimator, given) for c in candidates):
            names = [candidate.name for candidate in candidates]
            warn(f"none of the candidates {names} learns from unlabeled: it has no effect.")
        settings = StackingSettings()
        seed = draw_seed(random_state)
        fitted, errors = [], []
        for candidate in candidates:
            start = time.perf_counter()
            try:
                columns = self._columns(candidate.view)
                reward, left_out = _fit_candidate(
                    candidate.estimator, columns, pairs, group, unlabeled, settings, seed
                )
            except (ValueError, RuntimeError, np.linalg.LinAlgError) as error:
                errors.append(f"{candidate.name}: {error}")
                continue
            fitted.append((candidate, reward, left_out, time.perf_counter() - start))
        if not fitted:
            raise ValueError("no candidate could be fitted. " + " ".join(errors))
        for error in errors:
            warn(f"left out a candidate that could not be fitted. {error}")
        self._weigh(fitted, pairs, group, settings)

    def _make_candidates(self, random_state):
        """Return the candidates, in the order of their names."""
        given = self.candidates
        names = (
            {"auto": QUICK, "all": QUICK + SLOW}.get(given, given)
            if isinstance(given, str)
            else given
        )
        if not len(names):
            raise ValueError("candidates is empty; give names or (name, estimator).")
        controlled = self._controlled()
        made = []
        for item in names:
            if isinstance(item, str):
                made += self._named_candidates(item, controlled, random_state)
                continue
            if not (isinstance(item, tuple | list) and len(item) == 2 and hasattr(item[1], "fit")):
                raise ValueError(
                    f"candidates has {item!r}; each is a name of {list(QUICK + SLOW)} or "
                    "(name, estimator)."
                )
            if len(controlled):
                raise ValueError(
                    f"controlled does not reach the candidate {item[0]!r}, an estimator of your "
                    "own; set it there, and leave it out here."
                )
            estimator = _seed(clone(item[1]), random_state)
            made.append(Candidate(str(item[0]), estimator, "both", 1.0))
        if not made:
            raise ValueError(
                f"candidates={given!r} have no part that could be left out, so that none can do "
                'what controlled asks; "linear" and "GP" can.'
            )
        if self.device != "auto" and not any(c.has_device for c in made):
            raise ValueError(
                f"device={self.device!r} has no effect: none of the candidates "
                f"{[c.name for c in made]} is told it. Leave it at 'auto', and set an estimator "
                "of your own where it is to compute."
            )
        repeated = {c.name for c in made if [m.name for m in made].count(c.name) > 1}
        if repeated:
            raise ValueError(f"candidates names {sorted(repeated)[0]!r} twice.")
        return made

    def _controlled(self):
        """Return the controlled columns, counted from the end."""
        first = self.n_features_in_ - self.n_response_features
        columns = check_controlled(self.controlled, self.n_features_in_, first=first)
        return columns - self.n_features_in_

    def _named_candidates(self, name, controlled, random_state):
        """Return a candidate for each view that it reads."""
        k, d = self.n_response_features, self.n_features_in_
        two_views = 0 < k < d
        if name in ("linear", "GP"):
            kind = LinearRewardRegressor if name == "linear" else GPRewardRegressor
            settings = {"n_response_features": k, "controlled": tuple(int(c) for c in controlled)}
            gp = name == "GP"
            if gp:
                settings |= {"random_state": draw_seed(random_state), "device": self.device}
            # With two views a penalised sum of both is rarely far from the best (docs/research).
            prior = float(gp or not two_views)
            if not two_views:
                return [Candidate(name, kind(**settings), "both", prior, gp)]
            alone = {k: v for k, v in settings.items() if k in ("random_state", "device")}
            made = [Candidate(f"{name}, both views", kind(**settings), "both", prior, gp)]
            if not len(controlled):  # an embedding alone would take over what is controlled
                made.append(Candidate(f"{name}, embedding", kind(**alone), "embedding", 0.0, gp))
            if len(controlled) < k:
                made.append(Candidate(f"{name}, features", kind(**settings), "features", 0.0, gp))
            return made
        if name not in QUICK + SLOW:
            raise ValueError(f"candidates has {name!r}; the names are {list(QUICK + SLOW)}.")
        if len(controlled):
            return []  # a network has no part that could be left out
        seeds = {"random_state": draw_seed(random_state)}
        if name == "network":
            augmenter = RepeatAugmenter(factor=4)
        elif name == "LENS":
            vae = ContrastiveVAE(device=self.device)
            augmenter = LatentPairAugmenter(vae, n_response_features=k, **seeds)
        else:
            teacher = GPRewardRegressor(n_response_features=k, device=self.device)
            augmenter = DistillationAugmenter(teacher=teacher, n_response_features=k, **seeds)
        reward = BTRewardRegressor(
            n_response_features=k, device=self.device, random_state=draw_seed(random_state)
        )
        with config_context(enable_metadata_routing=True):
            reward.set_fit_request(sample_weight=True)
        pipeline = Pipeline([("augment", augmenter), ("reward", reward)])
        return [Candidate(name, pipeline, "both", 0.0, True)]

    def _weigh(self, fitted, pairs, group, settings):
        """Find the weights, and set the fitted attributes."""
        left_out = np.stack([values for _, _, values, _ in fitted])  # (k, n)
        known = ~np.isnan(left_out).any(axis=0) & ~pairs.is_synthetic
        target, weight = pairs.target[known], pairs.weight[known].astype(np.float64)
        slopes = np.array([fit_slope(row, target, weight) for row in left_out[:, known]])
        log_odds = slopes[:, None] * left_out[:, known]
        prior = np.array([candidate.prior for candidate, *_ in fitted])
        prior = prior / prior.sum() if prior.any() else np.full(len(prior), 1 / len(prior))
        if known.any():
            weights = stack(log_odds, target, weight, prior, settings.shrinkage)
        else:
            weights = prior
            warn(
                "all pairs are of one prompt, so that none can be left out: the candidates' "
                "weights are the prior's, and probabilities are not calibrated."
            )
        weights[weights < settings.min_weight * weights.max()] = 0
        combined = weights @ log_odds
        names = [candidate.name for candidate, *_ in fitted]
        table = [
            _judge(row, target, weight, group[pairs.parent[known]]) for row in (*log_odds, combined)
        ]
        self.cv_results_ = {
            "candidate": np.array([*names, "combined"]),
            "weight": np.append(weights, 1.0),
            **{key: np.array([row[key] for row in table]) for key in table[0]},
            "fit_time": np.array([seconds for *_, seconds in fitted] + [np.nan]),
        }
        self.cv_results_["fit_time"][-1] = np.nansum(self.cv_results_["fit_time"])
        used = np.flatnonzero(weights)
        if not len(used):
            warn("no candidate orders left-out pairs better than chance: every reward is 0.")
        self.candidates_ = {names[i]: fitted[i][1] for i in used}
        self.weights_ = {names[i]: float(weights[i] * slopes[i]) for i in used}
        self.views_ = {names[i]: fitted[i][0].view for i in used}

    def _columns(self, view):
        """Return the columns of a view."""
        first = self.n_features_in_ - self.n_response_features
        of_view = {"embedding": slice(0, first), "features": slice(first, None)}
        return of_view.get(view, slice(None))

    def set_fitted_state(self, state):
        """Set the fitted attributes.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If candidates, weights and views are not of the same names.
        """
        super().set_fitted_state(state)
        if not (self.candidates_.keys() == self.weights_.keys() == self.views_.keys()):
            raise ValueError("candidates_, weights_ and views_ have to be of the same names")

    def _predict_rows(self, rows):
        """Return the rewards of embeddings (m, d)."""
        rewards = np.where(np.isnan(rows).all(axis=1), np.nan, 0.0)  # padding
        there = rows[~np.isnan(rewards)]
        for name, reward in self.candidates_.items():
            predicted = reward.predict(there[:, self._columns(self.views_[name])])
            rewards[~np.isnan(rewards)] += self.weights_[name] * predicted
        return rewards


def stack(log_odds, target, weight, prior, shrinkage):
    """Return the weights of candidates that predict left-out pairs best, shrunk to a prior.

    Parameters
    ----------
    log_odds : ndarray of float64, shape (k, n)
        Calibrated log-odds of left-out pairs by each candidate.
    target, weight : ndarray, shape (n,)
        Probabilities that column 0 wins, and how often each pair was observed.
    prior : ndarray of float64, shape (k,)
        The weights without any pair.
    shrinkage : float
        The cost of a squared distance of 1 from the prior, in nats.

    Returns
    -------
    ndarray of float64, shape (k,)
        Weights of at least 0.
    """

    def loss(weights):
        combined = weights @ log_odds
        away = weights - prior
        win = np.exp(-np.logaddexp(0, -combined))
        value = weight @ (np.logaddexp(0, combined) - target * combined)
        slope = log_odds @ (weight * (win - target))
        return value + shrinkage * away @ away, slope + 2 * shrinkage * away

    return minimize(loss, prior, jac=True, bounds=[(0, None)] * len(prior), method="L-BFGS-B").x


def _judge(log_odds, target, weight, group):
    """Return log loss, its standard error over prompts, and accuracy on left-out pairs."""
    if not len(log_odds):
        return {"log_loss": np.nan, "log_loss_error": np.nan, "accuracy": np.nan}
    losses = np.logaddexp(0, log_odds) - target * log_odds
    mean = np.average(losses, weights=weight)
    _, place = np.unique(group, return_inverse=True)
    by_prompt = np.bincount(place, weight * (losses - mean))
    m = len(by_prompt)
    error = np.sqrt(by_prompt @ by_prompt * m / max(m - 1, 1)) / weight.sum()
    wins = (log_odds > 0) + 0.5 * (log_odds == 0)
    right = target * wins + (1 - target) * (1 - wins)
    accuracy = np.average(right, weights=weight)
    return {"log_loss": mean, "log_loss_error": error if m > 1 else np.nan, "accuracy": accuracy}


def _fit_candidate(estimator, columns, pairs, group, unlabeled, settings, seed):
    """Return a fitted reward, and what it predicts of left-out pairs (n,), NaN where it cannot."""
    own = pairs if columns == slice(None) else pairs.with_rows(lambda rows: rows[..., columns])
    own_unlabeled = None if unlabeled is None else unlabeled[..., columns]
    reward = _fit(estimator, own, group, own_unlabeled)
    if hasattr(reward, "left_out_log_odds_"):
        return reward, reward.left_out_log_odds_
    left_out = np.full(len(pairs), np.nan)
    of_pair = group[pairs.parent]
    n_groups = len(np.unique(of_pair[~pairs.is_synthetic]))
    if n_groups < 2:
        return reward, left_out
    folds = GroupKFold(min(settings.n_folds, n_groups), shuffle=True, random_state=seed)
    for train, test in folds.split(of_pair, groups=of_pair):
        test = test[~pairs.is_synthetic[test]]
        if not len(test):
            continue
        other = _fit(clone(estimator), own[train], group, own_unlabeled)
        rewards = np.asarray(other.predict(own.rows(test)), dtype=np.float64)
        left_out[test] = rewards[:, 0] - rewards[:, 1]
    return reward, left_out


def _fit(estimator, pairs, group, unlabeled):
    """Fit with what it asks for of weights, prompts and responses without labels."""
    given = {"groups": group, "unlabeled": unlabeled}
    if pairs.is_synthetic.any():  # these carry their targets and weights
        X, y = pairs, None
    else:
        X, y = pairs.rows(np.arange(len(pairs))), pairs.target
        given |= {"groups": group[pairs.parent]}
        if (pairs.weight != 1).any():
            given |= {"sample_weight": pairs.weight}
    given = {name: value for name, value in given.items() if value is not None}
    asked = _asked(estimator, given)
    if "sample_weight" in given and "sample_weight" not in asked and np.ptp(pairs.weight) > 0:
        raise ValueError(f"a {type(estimator).__name__} takes no weights of pairs.")
    with config_context(enable_metadata_routing=isinstance(estimator, Pipeline)):
        return estimator.fit(X, y, **{name: given[name] for name in asked})


def _asked(estimator, given):
    """Return the names of what its fit takes."""
    if not isinstance(estimator, Pipeline):
        return {name for name in given if has_fit_parameter(estimator, name)}
    with config_context(enable_metadata_routing=True):
        return get_routing_for_object(estimator).consumes("fit", given)


def _seed(estimator, random_state):
    """Seed every part that has no seed."""
    params = estimator.get_params()
    unseeded = sorted(
        k for k in params if k.split("__")[-1] == "random_state" and params[k] is None
    )
    return estimator.set_params(**{name: draw_seed(random_state) for name in unseeded})
