"""The comparison that ``lens-sklearn demo`` runs, on embeddings that are there already."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student
from sklearn.utils.validation import has_fit_parameter

from ._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
from ._auto_reward import AutoRewardRegressor
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._distillation import DistillationAugmenter
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._linear_reward import LinearRewardRegressor
from ._scaler import EmbeddingScaler
from .metrics import best_of_n_score, pair_accuracy_score

ORIGINAL = "original"
MIN_MARGIN = 0.1  # as in make_demo_preferences: closer candidates are no pair


class Split(NamedTuple):
    """One split by prompt: training pairs and held-out candidates.

    Attributes
    ----------
    pairs : ndarray, shape (n, 2, d)
        Training pairs.
    groups : ndarray of int, shape (n,)
        Their prompts.
    candidates : ndarray, shape (n_prompts, N, d)
        Held-out candidates.
    gold : ndarray, shape (n_prompts, N)
        Their gold rewards.
    lengths : ndarray, shape (n_prompts, N)
        Their lengths in characters.
    pair_features : ndarray, shape (n, 2, k)
        Response features of the training pairs.
    candidate_features : ndarray, shape (n_prompts, N, k)
        Those of the held-out candidates.
    """

    pairs: np.ndarray
    groups: np.ndarray
    candidates: np.ndarray
    gold: np.ndarray
    lengths: np.ndarray
    pair_features: np.ndarray
    candidate_features: np.ndarray


def demo_methods(random_state):
    """Return the compared augmenters, None for no augmentation.

    Parameters
    ----------
    random_state : int
        Seed of those that draw.

    Returns
    -------
    dict of str to augmenter or None
        By the names of the table.
    """
    seed = {"random_state": random_state}
    methods = {ORIGINAL: None}
    methods |= {f"repeat {k}×": RepeatAugmenter(factor=k) for k in (2, 4, 8)}
    methods["direct noise 4×"] = DirectNoiseAugmenter(factor=4, **seed)
    methods["Gaussian 4×"] = GaussianAugmenter(factor=4, **seed)
    methods |= {
        f"LENS {k}×": LatentPairAugmenter(ContrastiveVAE(), factor=k, **seed) for k in (2, 4, 8)
    }
    methods["distillation 8×"] = DistillationAugmenter(factor=8, **seed)
    return methods


def run_split(split, random_state):
    """Train and test every method on one split.

    Parameters
    ----------
    split : Split
        Raw embeddings.
    random_state : int
        Seed of all methods; equal for all, so differences are paired.

    Returns
    -------
    results : dict of str to dict
        What :func:`measure` returns and ``n_pairs``, by method.
    rewards : dict of str to ndarray, shape (n_prompts, N)
        Predicted rewards by method; those that need no training are left out.
    fitted : dict of str to (scaler, augmenter or None, reward)
        What was trained.
    """
    scaler = EmbeddingScaler().fit(split.pairs)
    pairs, candidates = scaler.transform(split.pairs), scaler.transform(split.candidates)
    results, rewards, fitted = {}, {}, {}
    for name, augmenter in demo_methods(random_state).items():
        params = {"groups": split.groups} if has_fit_parameter(augmenter, "groups") else {}
        data = pairs if augmenter is None else augmenter.fit_transform(pairs, **params)
        reward = BTRewardRegressor(random_state=random_state).fit(data, groups=split.groups)
        rewards[name] = reward.predict(candidates)
        results[name] = {"n_pairs": len(data)}
        fitted[name] = (scaler, augmenter, reward)
    others = {"tuned linear": LinearRewardRegressor(), "Gaussian process": GPRewardRegressor()}
    for name, reward in others.items():
        rewards[name] = reward.fit(pairs, groups=split.groups).predict(candidates)
        results[name] = {"n_pairs": len(pairs)}
        fitted[name] = (scaler, None, reward)
    k = split.pair_features.shape[-1]
    auto = AutoRewardRegressor(n_response_features=k, random_state=random_state)
    both = np.concatenate([split.pairs, split.pair_features], axis=-1)
    auto.fit(both, groups=split.groups)
    rewards["auto"] = auto.predict(
        np.concatenate([split.candidates, split.candidate_features], axis=-1)
    )
    results["auto"] = {"n_pairs": len(pairs)}
    untrained = {
        "longest": split.lengths,
        "shortest": -split.lengths,
        "random": np.zeros_like(split.gold),  # ties: any of them, with equal chances
        "oracle": split.gold,
    }
    for name, values in {**rewards, **untrained}.items():
        results.setdefault(name, {"n_pairs": 0})
        results[name] |= measure(values, split.gold, split.lengths)
    return results, rewards, fitted


def measure(rewards, gold, lengths):
    """Judge rewards of candidates by their gold.

    Parameters
    ----------
    rewards : ndarray, shape (n_prompts, N)
        Predicted rewards.
    gold : ndarray, shape (n_prompts, N)
        Gold rewards.
    lengths : ndarray, shape (n_prompts, N)
        Characters of the candidates.

    Returns
    -------
    dict of str to float
        ``gold``, the mean gold reward of the pick, and ``accuracy``, that of the pairs of a
        prompt's candidates whose gold differs by more than ``MIN_MARGIN``; ``matched``, that
        of those whose lengths differ by less than a fifth.
    """
    return {
        "gold": best_of_n_score(rewards, gold),
        "accuracy": pair_accuracy_score(rewards, gold, min_gap=MIN_MARGIN),
        "matched": pair_accuracy_score(
            rewards, gold, min_gap=MIN_MARGIN, lengths=lengths, subset="length_matched"
        ),
    }


def summarize(results, confidence=0.95):
    """Average over splits, with Student intervals paired by split.

    Parameters
    ----------
    results : list of dict
        What :func:`run_split` returned, a split each.
    confidence : float, default=0.95
        Coverage, if splits were independent; they share prompts, so it is somewhat less.

    Returns
    -------
    list of dict
        A row a method: ``method``, ``n_pairs``, and ``gold``, ``difference`` (of gold, to
        the original pairs), ``accuracy`` and ``matched``, each a list of mean and half-width;
        the half-width is None with a single split.
    """
    n = len(results)
    quantile = student.ppf((1 + confidence) / 2, n - 1) if n > 1 else np.nan

    def interval(values):
        if n == 1:
            return [float(values[0]), None]
        return [float(np.mean(values)), float(quantile * np.std(values, ddof=1) / np.sqrt(n))]

    def column(name, key):
        return np.array([result[name][key] for result in results])

    return [
        {
            "method": name,
            "n_pairs": int(results[0][name]["n_pairs"]),
            "gold": interval(column(name, "gold")),
            "difference": interval(column(name, "gold") - column(ORIGINAL, "gold")),
            "accuracy": interval(column(name, "accuracy")),
            "matched": interval(column(name, "matched")),
        }
        for name in results[0]
    ]


def markdown_table(header, rows):
    """Write a table that reads well as text and as Markdown.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list of str
        Cells; all columns but the first are aligned to the right.

    Returns
    -------
    str
        The table.
    """
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in cells
    ]
    dashes = ["-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([lines[0], "|" + "|".join(dashes) + "|", *lines[1:]])


def demo_table(summary):
    """Write the demo's table.

    Parameters
    ----------
    summary : list of dict
        From :func:`summarize`.

    Returns
    -------
    str
        Markdown.
    """

    def cell(value, sign=""):
        mean, half_width = value
        return f"{mean:{sign}.3f}" + ("" if half_width is None else f" ± {half_width:.3f}")

    rows = [
        [
            row["method"],
            str(row["n_pairs"] or ""),
            cell(row["gold"]),
            "" if row["method"] == ORIGINAL else cell(row["difference"], "+"),
            *(
                "" if row["method"] in ("random", "oracle") else cell(row[key])
                for key in ("accuracy", "matched")
            ),
        ]
        for row in summary
    ]
    header = ["method", "pairs", "gold of the pick", "against original", "accuracy"]
    header.append("length-matched")
    return markdown_table(header, rows)
