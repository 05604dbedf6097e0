"""What a model card tells of a reward: its pairs, and what it is worth beside controls."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit
from sklearn.pipeline import Pipeline

from ._augmented_pairs import AugmentedPairs
from ._comparison import picked_gold, told
from ._comparison_table import JudgedPairs, make_table
from ._io import pair_targets
from ._linear_reward import LinearRewardRegressor
from ._records import as_records, is_text
from ._rows import number_prompts, prompt_keys
from ._shortcuts import response_lengths
from ._warnings import warn
from .displays import RewardLengthDisplay
from .metrics import expected_calibration_error, leave_out_dropped

MODEL, LINEAR = "model", "linear"
#: In the order of the table.
METHODS = (MODEL, LINEAR, "longest", "random")


class GivenPairs(NamedTuple):
    """Preference pairs, as they are given, and what is known of them."""

    X: object
    groups: np.ndarray  # (n,)
    prompts: list  # (n,), what names each row's prompt; empty without text
    lengths: np.ndarray | None  # (n, 2)
    target: np.ndarray | None
    weight: np.ndarray | None


class Findings(NamedTuple):
    """What was measured; None is what was not."""

    table: list  # of rows by method
    n_pairs: int
    n_prompts: int
    n_candidates: int  # prompts with candidates
    calibration: float | None
    length: RewardLengthDisplay | None
    n_shared: int  # held-out prompts that were trained on


def _is_embeddings(X):
    return isinstance(X, AugmentedPairs) or not is_text(X)


def read_pairs(X, name):
    """Read pairs with their prompts, lengths and targets.

    Parameters
    ----------
    X : rows of text or array-like of shape (n, 2, d)
        Pairs.
    name : str
        What the caller calls them.

    Returns
    -------
    GivenPairs
        Pairs of embeddings are of a prompt each; of AugmentedPairs the synthetic ones, which
        nobody has judged, are left out.

    Raises
    ------
    ValueError
        If they are no pairs.
    """
    if _is_embeddings(X):
        if np.ndim(X) != 3 or X.shape[1] != 2:
            raise ValueError(f"{name} must be pairs of shape (n, 2, d); got shape {np.shape(X)}.")
        target = weight = None
        if isinstance(X, AugmentedPairs):
            X = X[~X.is_synthetic]
            X, target, weight = np.asarray(X), X.target, X.weight
        return GivenPairs(X, np.arange(len(X)), [], None, target, weight)
    rows = as_records(X)
    try:
        target, weight = pair_targets(rows)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    keys = prompt_keys(rows)
    return GivenPairs(rows, number_prompts(keys), keys, response_lengths(rows), target, weight)


def _split(model):
    """Return what turns rows into embeddings, and the reward of those."""
    if isinstance(model, Pipeline) and len(model) > 1:
        return model[:-1].transform, model[-1]
    return lambda X: X, model


def measure(model, train, test, candidates, gold, controls):
    """Judge a model and the controls by held-out pairs and candidates.

    Parameters
    ----------
    model : estimator
        Fitted.
    train, test : GivenPairs or None
        What it was fitted on, and pairs of other prompts.
    candidates, gold : rows of text or array-like, array-like, or None
        Candidates of other prompts with their gold rewards.
    controls : bool
        Whether to judge controls as well.

    Returns
    -------
    Findings
        What could be measured.
    """
    embed, reward = _split(model)
    rewards = {MODEL: reward.predict}
    is_judged = test is not None or candidates is not None
    if controls and is_judged and train is not None:
        X = embed(train.X)
        if _is_embeddings(X):  # a reward that is a language model reads texts itself
            linear = told(LinearRewardRegressor(), getattr(reward, "n_response_features", 0))
            linear.fit(X, train.target, train.weight, groups=train.groups)
            rewards[LINEAR] = linear.predict
    judged, pairs, gold_of, calibration, length = {}, None, {}, None, None
    if test is not None:
        Z = embed(test.X)
        values = {name: np.asarray(predict(Z), dtype=float) for name, predict in rewards.items()}
        target, kept = leave_out_dropped(values[MODEL], _target_of(test))[1:]
        values = {name: value[kept] for name, value in values.items()}
        weight = np.ones(len(test.groups)) if test.weight is None else test.weight
        pairs = JudgedPairs(target, weight[kept], test.groups[kept], None)
        lengths = None if test.lengths is None else test.lengths[kept]
        judged = _judge_pairs(values, lengths, pairs, controls)
        calibration = _calibration(values[MODEL], target, pairs.weight)
        length = _length(values[MODEL], lengths)
    if candidates is not None:
        Z = embed(candidates)
        lengths = None if _is_embeddings(candidates) else response_lengths(candidates)
        values = {name: np.asarray(predict(Z), dtype=float) for name, predict in rewards.items()}
        gold_of, display = _judge_picks(values, gold, lengths, controls)
        length = display or length
    methods = [name for name in METHODS if name in judged or name in gold_of]
    table = make_table({m: judged.get(m, {}) for m in methods}, pairs, gold_of, LINEAR)
    return Findings(
        table=table,
        n_pairs=0 if pairs is None else len(pairs.target),
        n_prompts=0 if pairs is None else len(np.unique(pairs.groups)),
        n_candidates=len(gold_of.get(MODEL, ())),
        calibration=calibration,
        length=length,
        n_shared=_count_shared(train, test, candidates),
    )


def _target_of(pairs):
    return np.ones(len(pairs.groups)) if pairs.target is None else pairs.target


def _judge_pairs(values, lengths, pairs, controls):
    """Return what `JudgedPairs.judge` says, by method."""
    log_odds = {name: value[:, 0] - value[:, 1] for name, value in values.items()}
    if controls:
        log_odds["random"] = np.zeros(len(pairs.target))
        if lengths is not None:
            log_odds["longest"] = lengths[:, 0] - lengths[:, 1]
    judged = {name: pairs.judge(value[None]) for name, value in log_odds.items()}
    if "longest" in judged:
        del judged["longest"]["log_loss"]  # characters are no log-odds
    return judged


def _judge_picks(values, gold, lengths, controls):
    """Return the gold of each method's picks (n_prompts,), and rewards against lengths."""
    rewards, gold, kept = leave_out_dropped(values[MODEL], gold)
    there = ~np.isnan(rewards)
    by_method = {name: np.where(there, value[kept], np.nan) for name, value in values.items()}
    lengths = None if lengths is None else np.where(there, lengths[kept], np.nan)
    if controls:
        by_method["random"] = np.where(there, 0.0, np.nan)
        if lengths is not None:
            by_method["longest"] = lengths
    picks = {name: picked_gold(value, gold) for name, value in by_method.items()}
    return picks, _length(rewards, lengths)


def _calibration(rewards, target, weight):
    """Return the calibration error of pairs in both orders, as one order has one outcome."""
    log_odds = rewards[:, 0] - rewards[:, 1]
    p = expit(log_odds)
    both = np.concatenate([p, 1 - p]), np.concatenate([target, 1 - target])
    return expected_calibration_error(*both, sample_weight=np.concatenate([weight, weight]))


def _length(rewards, lengths):
    """Return rewards against lengths, None where lengths are not known or do not differ."""
    if lengths is None:
        return None
    try:
        return RewardLengthDisplay(rewards, lengths)
    except ValueError:  # no prompt has responses of two lengths
        return None


def _count_shared(train, test, candidates):
    """Return how many held-out prompts were trained on."""
    if train is None:
        return 0
    trained = {key for key in train.prompts if key}
    held_out = set(() if test is None else test.prompts)
    if candidates is not None and not _is_embeddings(candidates):
        held_out |= set(prompt_keys(as_records(candidates)))
    n_shared = len(trained & held_out)
    if n_shared:
        warn(
            f"{n_shared} prompts of test or candidates are prompts of train as well, so the card's "
            "numbers look better than on other prompts; leave them out of one."
        )
    return n_shared
