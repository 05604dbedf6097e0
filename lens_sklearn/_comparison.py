"""Every control and method on one's own pairs, by cross-validation that leaves prompts out."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from numbers import Integral
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import check_random_state
from sklearn.utils.validation import has_fit_parameter

from . import __version__
from ._augmenters import RepeatAugmenter
from ._auto_reward import AutoRewardRegressor
from ._bt_reward import BTRewardRegressor
from ._comparison_data import CANDIDATES, Folds, Task, check_data, check_folds
from ._comparison_table import SHORTCUTS, Comparison, JudgedPairs, make_curve, make_table
from ._contrastive_vae import ContrastiveVAE
from ._device import one_thread
from ._distillation import DistillationAugmenter
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._linear_reward import LinearRewardRegressor
from ._result_lines import ResultLines
from ._scaler import EmbeddingScaler
from .metrics import best_of_n_curve

REFERENCE = "linear"
#: Whose learning curves are drawn, at which shares of the training prompts.
CURVE_METHODS, SHARES = (REFERENCE, "auto"), (0.25, 0.5)
#: With fewer prompts than this a part of them is too small for folds of its own.
MIN_PROMPTS = 4


class Method(NamedTuple):
    """A method that is compared.

    Attributes
    ----------
    label : str
        Its name in tables.
    reward : callable or None
        Makes the reward from a seed and a device; None is a shortcut.
    augmenter : callable or None
        Makes what augments the pairs, likewise.
    view : {"both", "embedding", "features"}
        Which columns it sees.
    unlabeled : bool
        Whether it learns from responses without labels.
    """

    label: str
    reward: Callable | None = None
    augmenter: Callable | None = None
    view: str = "both"
    unlabeled: bool = False


def _linear(seed, device):
    return LinearRewardRegressor()


def _gp(seed, device):
    return GPRewardRegressor(device=device, random_state=seed)


def _network(seed, device):
    return BTRewardRegressor(device=device, random_state=seed)


def _auto(seed, device):
    return AutoRewardRegressor(device=device, random_state=seed)


def _repeat(seed, device):
    return RepeatAugmenter(factor=4)


def _lens(seed, device):
    return LatentPairAugmenter(ContrastiveVAE(device=device), factor=4, random_state=seed)


def _distillation(seed, device):
    return DistillationAugmenter(teacher=GPRewardRegressor(device=device), random_state=seed)


METHODS = {
    "longest": Method("longest"),
    "shortest": Method("shortest"),
    "random": Method("random"),
    "linear-embedding": Method("tuned linear, embedding", _linear, view="embedding"),
    "linear-features": Method("tuned linear, features", _linear, view="features"),
    REFERENCE: Method("tuned linear", _linear),
    "gp": Method("Gaussian process", _gp),
    "network": Method("network", _network),
    "repeat": Method("network, repeat 4×", _network, _repeat),
    "lens": Method("LENS 4×", _network, _lens),
    "distillation": Method("distillation", _network, _distillation),
    "auto": Method("auto", _auto),
    "distillation-unlabeled": Method(
        "distillation, unlabeled", _network, _distillation, unlabeled=True
    ),
    "auto-unlabeled": Method("auto, unlabeled", _auto, unlabeled=True),
}
QUICK = ("longest", "shortest", "random", "linear-embedding", "linear-features", REFERENCE, "gp",
         "auto", "auto-unlabeled")  # fmt: skip


def compare_rewards(
    X,
    y=None,
    sample_weight=None,
    *,
    groups=None,
    n_response_features=0,
    lengths=None,
    unlabeled=None,
    unlabeled_groups=None,
    candidates=None,
    gold=None,
    candidate_lengths=None,
    methods=None,
    learning_curve=True,
    cv=5,
    n_repeats=1,
    results=None,
    n_jobs=None,
    device="auto",
    progress=None,
    random_state=None,
):
    r"""Compare every control and method on one's own pairs.

    Prompts are dealt to `cv` folds, and each method is fitted on the pairs of all folds but one
    and judged by the pairs of that one. All methods see the same folds, so differences are paired;
    they are taken to the tuned linear model on all columns, which is fixed in advance. Pairs of
    one prompt are not independent: intervals are clustered by prompt. P-values are corrected by
    Holm's method for the number of methods, within each metric.

    The intervals say how the methods that these pairs gave do on other prompts. Training sets of
    the folds overlap, so what other training pairs would have given is in them in part only.

    Parameters
    ----------
    X : array-like of shape (n, 2, d)
        Pairs, column 0 chosen.
    y : array-like of shape (n,), default=None
        Probability that column 0 wins; None is 1.
    sample_weight : array-like of shape (n,), default=None
        Weight of each pair, in fits and averages. Distillation, whose teacher knows no weights,
        is then left out.
    groups : array-like of shape (n,), default=None
        Prompts of the pairs (:func:`~lens_sklearn.prompt_groups`); None gives each its own.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`).
    lengths : array-like of shape (n, 2), default=None
        Lengths of the responses (:func:`~lens_sklearn.response_lengths`), for the shortcuts and
        the accuracies by length, which are left out without them.
    unlabeled : array-like of shape (m, N, d), default=None
        Responses without labels, for the methods that learn from them. Those to a fold's prompts
        are left out with it.
    unlabeled_groups : array-like of shape (m,), default=None
        Their prompts, named as in `groups`; None says that they have none of the pairs'
        prompts.
    candidates : array-like of shape (n_prompts, N, d), default=None
        Candidates of other prompts: what is fitted on all pairs picks among them.
    gold : array-like of shape (n_prompts, N), default=None
        Their gold rewards.
    candidate_lengths : array-like of shape (n_prompts, N), default=None
        Their lengths, for the shortcuts.
    methods : list of str, default=None
        Names in ``METHODS``; the reference is always there. None is all that the data allow.
    learning_curve : bool, default=True
        Whether the tuned linear model, and "auto" where it is among `methods`, are also fitted on
        a quarter and on half of each fold's training prompts.
    cv : int, default=5
        Folds.
    n_repeats : int, default=1
        How often the prompts are dealt anew; a pair's results are averaged.
    results : str or Path, default=None
        A file of JSON lines that keeps every fit's result: a second run with the same data and
        settings goes on from there.
    n_jobs : int, default=None
        Fits at a time; None is 1, -1 all cores.
    device : str, default="auto"
        Where networks compute.
    progress : callable, default=None
        Called with the number of fits that are done, of all, and the last one's name.
    random_state : int, RandomState instance or None, default=None
        Deals folds and seeds the methods.

    Returns
    -------
    Comparison
        With ``table``, ``curves`` and ``conclusions``.

    Raises
    ------
    ValueError
        On malformed arrays, fewer prompts than folds, pairs that are all ties, an unknown method
        or one whose data are not given, `results` of another comparison, or if the reference
        cannot be fitted.

    See Also
    --------
    ComparisonDisplay : A picture of it.

    Examples
    --------
    >>> from lens_sklearn import compare_rewards
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> found = compare_rewards(toy.pairs, methods=["random", "gp"], cv=3, random_state=0)
    >>> [row["label"] for row in found.table]
    ['random', 'tuned linear', 'Gaussian process']
    >>> found.row("random")["accuracy"]
    0.5
    """
    data = check_data(
        X, y, sample_weight, groups, n_response_features, lengths, unlabeled, unlabeled_groups,
        candidates, gold, candidate_lengths,
    )  # fmt: skip
    check_folds(data.groups, data.target, cv)
    seed = random_state
    if not isinstance(seed, Integral):
        seed = int(check_random_state(seed).randint(2**31))
    names = _choose_methods(methods, data)
    folds = Folds(data.groups, cv, n_repeats, seed)
    tasks = _plan(names, data, folds, learning_curve)
    header = {"data": data.digest(), "folds": cv, "repeats": n_repeats, "seed": int(seed)}
    store = None
    if results is not None:
        header |= {"response features": data.n_response_features, "version": __version__}
        store = ResultLines(results, header)
    runner = _Runner(data, folds, store, n_jobs, device, progress)
    return _assemble(names, data, folds, runner.run(tasks))


def check_methods(methods, *, has_features, has_lengths, has_weights, has_unlabeled):
    """Return the methods to compare, in the order of ``METHODS``.

    Parameters
    ----------
    methods : list of str or None
        Names; None is all that the data allow.
    has_features, has_lengths, has_weights, has_unlabeled : bool
        What the data have.

    Returns
    -------
    list of str
        Names, the reference among them.

    Raises
    ------
    ValueError
        On a name that is not known, or a method that the data do not allow.
    """
    reasons = {}
    for name, method in METHODS.items():
        if method.view != "both" and not has_features:
            reasons[name] = "it needs response features"
        elif name in SHORTCUTS and not has_lengths:
            reasons[name] = "it needs the lengths of responses"
        elif method.unlabeled and not has_unlabeled:
            reasons[name] = "it needs responses without labels"
        elif method.augmenter is _distillation and has_weights:
            reasons[name] = "its teacher knows no weights of pairs"
    if methods is None:
        return [name for name in METHODS if name not in reasons]
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"there is no method {name!r}; there are {', '.join(METHODS)}.")
        if name in reasons:
            raise ValueError(f"the method {name!r} cannot be compared: {reasons[name]}.")
    return [name for name in METHODS if name in methods or name == REFERENCE]


# ----------------------------------------------------------------------------- before the fits
def _choose_methods(methods, data):
    return check_methods(
        methods,
        has_features=data.n_response_features > 0,
        has_lengths=data.lengths is not None,
        has_weights=data.weight is not None,
        has_unlabeled=data.unlabeled is not None,
    )


def _plan(names, data, folds, learning_curve):
    """Return the fits: the cheapest methods first, those of learning curves last."""
    tasks = [
        Task(name, repeat, fold, 1.0)
        for name in names
        if METHODS[name].reward is not None
        for repeat in range(folds.n_repeats)
        for fold in range(folds.cv)
    ]
    if data.candidates is not None:
        tasks += [Task(n, 0, CANDIDATES, 1.0) for n in names if METHODS[n].reward is not None]
    if learning_curve and folds.least_prompts * min(SHARES) >= MIN_PROMPTS:
        tasks += [
            Task(name, repeat, fold, share)
            for name in CURVE_METHODS
            if name in names
            for share in SHARES
            for repeat in range(folds.n_repeats)
            for fold in range(folds.cv)
        ]
    return tasks


def _text(task):
    """Name a fit."""
    if task.fold == CANDIDATES:
        return f"{METHODS[task.method].label}, all pairs"
    text = f"{METHODS[task.method].label}, fold {task.fold + 1}"
    text += f" of repeat {task.repeat + 1}" if task.repeat else ""
    return text + (f", {task.share:.0%} of the prompts" if task.share < 1 else "")


# ------------------------------------------------------------------------------------ the fits
class _Runner:
    """Runs what is missing, and keeps what is there."""

    def __init__(self, data, folds, store, n_jobs, device, progress):
        self.data, self.folds, self.store = data, folds, store
        self.n_jobs, self.device, self.progress = n_jobs, device, progress

    def run(self, tasks):
        """Return the results by task; those that failed have an ``error``."""
        there = {}
        for line in self.store.lines if self.store else ():
            there[Task(*line["task"])] = line
        found = {task: there[task] for task in tasks if task in there}
        missing = [task for task in tasks if task not in found]
        fit = delayed(partial(_run_task, self.data, device=self.device))
        pool = Parallel(self.n_jobs, return_as="generator_unordered")
        calls = (
            fit(task, self.folds.train(task), self._test(task), self._seed(task))
            for task in missing
        )
        for result in pool(calls):
            task = Task(*result["task"])
            found[task] = result
            if "error" in result:
                if task.method == REFERENCE:
                    raise ValueError(f"{_text(task)} failed: {result['error']}")
            elif self.store:
                self.store.add(result)
            if self.progress:
                self.progress(len(found), len(tasks), _text(task))
        return found

    def _test(self, task):
        return None if task.fold == CANDIDATES else self.folds.test(task)

    def _seed(self, task):
        if task.fold == CANDIDATES:
            return self.folds.of(0)
        return self.folds.of(task.repeat, task.fold, 1)


def _run_task(data, task, train, test, seed, *, device):
    """Fit once; return what is known of left-out pairs, or of the candidates, as JSON types."""
    started = time.perf_counter()
    result = {"task": list(task)}
    with warnings.catch_warnings(record=True) as caught, one_thread():
        warnings.simplefilter("always", UserWarning)
        try:
            predict = _fit(METHODS[task.method], data, train, test, seed, device)
            if test is None:
                result["gold"] = picked_gold(predict(data.candidates), data.gold).tolist()
            else:
                rewards = predict(data.X[test])
                result["log_odds"] = (rewards[:, 0] - rewards[:, 1]).astype(float).tolist()
        except Exception as error:  # one method's failure is no reason to lose the others
            return {"task": list(task), "error": f"{type(error).__name__}: {error}"}
    ours = [w for w in caught if issubclass(w.category, UserWarning)]
    result["warnings"] = dict(Counter(str(w.message) for w in ours))
    return result | {"seconds": round(time.perf_counter() - started, 3)}


def _fit(method, data, train, test, seed, device):
    """Fit a method on some pairs; return its rewards of embeddings (..., d)."""
    k, d = data.n_response_features, data.X.shape[-1]
    columns = {"both": slice(None), "embedding": slice(d - k), "features": slice(d - k, None)}
    columns = columns[method.view]
    k = 0 if method.view == "embedding" else k
    X, target, groups = data.X[train][..., columns], data.target[train], data.groups[train]
    weight = None if data.weight is None else data.weight[train]
    reward = told(method.reward(seed, device), k)
    params = {}
    if method.unlabeled:
        left_out = [] if test is None else data.groups[test]
        kept = ~np.isin(data.unlabeled_groups, left_out)
        params["unlabeled"] = data.unlabeled[kept][..., columns]
    if method.augmenter is None:
        reward.fit(X, target, weight, groups=groups, **params)
        return lambda rows: reward.predict(rows[..., columns])
    scaler = EmbeddingScaler()
    augmenter = told(method.augmenter(seed, device), k)
    X = scaler.fit_transform(X)
    params = {name: scaler.transform(value) for name, value in params.items()}
    if has_fit_parameter(augmenter, "groups"):
        params["groups"] = groups
    pairs = augmenter.fit_transform(X, target, **params)
    reward.fit(pairs, target, weight, groups=groups)
    return lambda rows: reward.predict(scaler.transform(rows[..., columns]))


def told(estimator, n_response_features):
    """Tell an estimator of response features, if it treats the two views apart.

    Parameters
    ----------
    estimator : estimator
        Changed in place.
    n_response_features : int
        k.

    Returns
    -------
    estimator
        Itself.
    """
    params = estimator.get_params()
    for name in ("n_response_features", "teacher__n_response_features"):
        if name in params:
            estimator.set_params(**{name: n_response_features})
    return estimator


def picked_gold(rewards, gold):
    """Return the gold of each prompt's pick.

    Parameters
    ----------
    rewards, gold : ndarray, shape (n_prompts, N)
        Predicted and gold rewards; NaN is padding.

    Returns
    -------
    ndarray, shape (n_prompts,)
        Candidates of equal reward share their mean gold.
    """
    curve = best_of_n_curve(rewards, gold, [gold.shape[1]], n_bootstrap=1, random_state=0)
    return curve.per_prompt[:, 0]


# --------------------------------------------------------------------------------- what came out
def _assemble(names, data, folds, found):
    """Return the comparison of all results."""
    weight = np.ones(len(data.target)) if data.weight is None else data.weight
    pairs = JudgedPairs(data.target, weight, data.groups, data.lengths)
    failed = {task.method: r["error"] for task, r in found.items() if "error" in r}
    names = [name for name in names if name not in failed]
    judged = {name: _judge(name, data, folds, found, pairs) for name in names}
    table = make_table(judged, pairs, _gold_of(names, data, found), REFERENCE)
    for row in table:
        fits = [
            result["seconds"]
            for task, result in found.items()
            if task.method == row["method"] and task.share == 1 and task.fold != CANDIDATES
        ]
        row["label"] = METHODS[row["method"]].label
        row["seconds"] = float(np.median(fits)) if fits else 0.0
    counts = {"pairs": len(data.target), "prompts": len(np.unique(data.groups))}
    counts |= {"folds": folds.cv, "repeats": folds.n_repeats}
    if data.lengths is not None:
        counts |= {s: int(pairs.in_subset(s).sum()) for s in ("length_matched", "shorter_wins")}
    if data.candidates is not None:
        counts["candidates"] = len(data.candidates)
    said = Counter()
    for result in found.values():
        said.update(result.get("warnings", {}))
    return Comparison(
        table=table,
        reference=REFERENCE,
        curves=_curves(names, folds, found, pairs, judged),
        counts=counts,
        failures={METHODS[name].label: error for name, error in failed.items()},
        warnings=dict(said),
    )


def _judge(name, data, folds, found, pairs):
    """Return a method's values pair by pair."""
    if METHODS[name].reward is not None:
        return pairs.judge(_left_out(name, 1.0, folds, found))
    log_odds = np.zeros(len(data.target))
    if name in SHORTCUTS:
        log_odds = (data.lengths[:, 0] - data.lengths[:, 1]) * (1 if name == "longest" else -1)
    values = pairs.judge(log_odds[None])
    if name in SHORTCUTS:
        del values["log_loss"]  # characters are no log-odds
    return values


def _left_out(name, share, folds, found):
    """Return left-out log-odds (n_repeats, n)."""
    log_odds = np.full((folds.n_repeats, len(folds.groups)), np.nan)
    for repeat in range(folds.n_repeats):
        for fold in range(folds.cv):
            task = Task(name, repeat, fold, share)
            log_odds[repeat, folds.test(task)] = found[task]["log_odds"]
    return log_odds


def _gold_of(names, data, found):
    """Return the gold of each method's pick, by method."""
    if data.candidates is None:
        return {}
    gold = {}
    for name in names:
        if METHODS[name].reward is not None:
            gold[name] = np.array(found[Task(name, 0, CANDIDATES, 1.0)]["gold"])
        elif name not in SHORTCUTS:
            gold[name] = picked_gold(np.where(np.isnan(data.gold), np.nan, 0), data.gold)
        elif data.candidate_lengths is not None:
            sign = 1 if name == "longest" else -1
            gold[name] = picked_gold(sign * data.candidate_lengths, data.gold)
    return gold


def _curves(names, folds, found, pairs, judged):
    """Return the learning curves by method."""
    curves = {}
    for name in CURVE_METHODS:
        tasks = [task for task in found if task.method == name and task.share < 1]
        if name not in names or not tasks:
            continue
        folds_of = [Task(name, r, f, 1.0) for r in range(folds.n_repeats) for f in range(folds.cv)]
        sizes = [
            np.mean([len(folds.train(task._replace(share=share))) for task in folds_of])
            for share in (*SHARES, 1.0)
        ]
        parts = [pairs.judge(_left_out(name, share, folds, found)) for share in SHARES]
        curves[name] = make_curve(sizes, [*parts, judged[name]], pairs)
    return curves
