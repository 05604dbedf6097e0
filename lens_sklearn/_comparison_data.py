"""What a comparison of reward models is made on: checked arrays, and folds by prompt."""

import hashlib
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold

from ._augmented_pairs import AugmentedPairs, default_target
from ._linear_reward import LinearRewardRegressor
from ._validation import (
    check_finite,
    check_response_features,
    check_training_pairs,
    check_unlabeled,
)

CANDIDATES = "candidates"


class ComparedData(NamedTuple):
    """What methods are fitted on and judged by, as in `compare_rewards`; None is not given."""

    X: np.ndarray  # (n, 2, d)
    target: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray
    n_response_features: int
    lengths: np.ndarray | None
    unlabeled: np.ndarray | None
    unlabeled_groups: np.ndarray | None
    candidates: np.ndarray | None
    gold: np.ndarray | None
    candidate_lengths: np.ndarray | None

    def digest(self):
        """Return a digest of all arrays that results depend on.

        Returns
        -------
        str
            Hexadecimal.
        """
        digest = hashlib.sha256()
        for name, value in self._asdict().items():
            if isinstance(value, np.ndarray):
                digest.update(f"{name} {value.dtype.str} {value.shape}".encode())
                digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()


class Task(NamedTuple):
    """One fit; its fold is a number, or CANDIDATES for a fit of all pairs."""

    method: str
    repeat: int
    fold: int | str
    share: float  # of the training prompts


def check_folds(groups, target, cv):
    """Refuse pairs that cannot be compared on.

    Parameters
    ----------
    groups : array-like of shape (n,)
        Prompts of the pairs.
    target : ndarray, shape (n,)
        Probabilities that column 0 wins.
    cv : int
        Folds.

    Raises
    ------
    ValueError
        With one prompt, fewer prompts than folds, fewer folds than two, or ties alone.
    """
    n_prompts = len(np.unique(groups))
    if not isinstance(cv, Integral) or cv < 2:
        raise ValueError(f"{cv!r} folds; a whole number of at least 2 leaves prompts out.")
    if n_prompts < 2:
        raise ValueError(
            f"all {len(groups)} pairs are of one prompt; leaving prompts out needs pairs of two or "
            "more."
        )
    if n_prompts < cv:
        raise ValueError(
            f"the pairs have {n_prompts} prompts, fewer than the {cv} folds; take {n_prompts} "
            "folds or fewer."
        )
    _check_ties(target)


def _check_ties(target):
    if (np.asarray(target) == 0.5).all():
        raise ValueError(
            f"all {len(target)} pairs are ties: both responses are the same, or the target is "
            "0.5; there is no order to learn or to judge by."
        )


def check_data(
    X, y, weight, groups, k, lengths, unlabeled, unlabeled_groups, candidates, gold,
    candidate_lengths,
):  # fmt: skip
    """Check everything that `compare_rewards` is given, and leave out pairs of weight 0.

    Parameters
    ----------
    X, y, weight, groups, k, lengths, unlabeled, unlabeled_groups, candidates, gold : array-like
        As there, `weight` being ``sample_weight`` and `k` ``n_response_features``.
    candidate_lengths : array-like
        As there.

    Returns
    -------
    ComparedData
        Arrays that fit together.

    Raises
    ------
    ValueError
        If they do not.
    """
    if isinstance(X, AugmentedPairs):
        raise ValueError("pairs are compared on as they are; give the originals as an array.")
    probe = LinearRewardRegressor()  # it has d
    if np.ndim(X) != 3 or np.shape(X)[1] != 2:
        raise ValueError(f"expected pairs of shape (n, 2, d); got shape {np.shape(X)}.")
    X = np.asarray(X)
    check_finite(X)  # a pair that is left out would be missing from the folds
    target = default_target(X) if y is None else np.asarray(y)
    _check_ties(target)
    names = np.arange(len(X)) if groups is None else np.asarray(groups)
    _, groups = check_training_pairs(probe, X, y, weight, groups)
    check_response_features(k, X.shape[-1])
    lengths = _check_numbers("lengths", lengths, np.ones(X.shape[:2], dtype=bool))
    if weight is not None:
        weight = np.asarray(weight, dtype=float)
        kept = weight > 0
        X, target, weight, groups = X[kept], target[kept], weight[kept], groups[kept]
        lengths = None if lengths is None else lengths[kept]
    if unlabeled is not None:
        unlabeled = check_unlabeled(probe, unlabeled)
        unlabeled_groups = _numbers_of(unlabeled_groups, names, groups, len(unlabeled))
    if (candidates is None) != (gold is None):
        raise ValueError("candidates and gold go together; one of them is None.")
    if candidates is not None:
        candidates, there = _check_candidates(candidates, X.shape[-1])
        gold = _check_numbers("gold", gold, there)
        candidate_lengths = _check_numbers("candidate_lengths", candidate_lengths, there)
    return ComparedData(
        X, target.astype(float), weight, groups, k, lengths, unlabeled, unlabeled_groups,
        candidates, gold, candidate_lengths,
    )  # fmt: skip


def _numbers_of(given, names, numbers, n):
    """Return the numbers of the prompts that are given by name, -1 for those of no pair."""
    if given is None:
        return np.full(n, -1)
    if len(given) != n:
        raise ValueError(f"unlabeled_groups has {len(given)} prompts for {n} rows of unlabeled.")
    given = np.asarray(given).tolist()
    for i, name in enumerate(given):
        if name is None or name != name:  # no prompt would be left out with its fold
            raise ValueError(f"unlabeled_groups[{i}] is {name}; every row needs a prompt.")
    number = dict(zip(names.tolist(), numbers.tolist(), strict=True))
    return np.array([number.get(name, -1) for name in given])


def _check_candidates(candidates, d):
    """Return candidates (n_prompts, N, d), and which of them are there."""
    candidates = np.asarray(candidates)
    if candidates.ndim != 3 or candidates.shape[-1] != d:
        raise ValueError(
            f"candidates must have the shape (n_prompts, N, {d}); got {candidates.shape}."
        )
    try:
        check_finite(candidates, allow_padding=True)
    except ValueError as error:  # it calls any array X, as the pairs are called here
        raise ValueError(f"candidates: {error}") from None
    return candidates, ~np.isnan(candidates).all(axis=-1)


def _check_numbers(name, values, there):
    """Return a finite number of each response that is there, NaN for padding."""
    if values is None:
        return None
    values = np.asarray(values, dtype=float)
    if values.shape != there.shape:
        raise ValueError(f"{name} must have the shape {there.shape}; got {values.shape}.")
    bad = np.where(there, ~np.isfinite(values), ~np.isnan(values))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        why = "it must be finite" if there[row, column] else "and the candidate is padding"
        raise ValueError(f"{name}[{row}, {column}] is {values[row, column]}, {why}.")
    return values


class Folds:
    """Which pairs each fit trains on and leaves out.

    Parameters
    ----------
    groups : ndarray of int, shape (n,)
        Prompts of the pairs.
    cv, n_repeats : int
        Folds, and how often prompts are dealt to them.
    seed : int
        Of all draws.
    """

    def __init__(self, groups, cv, n_repeats, seed):
        self.groups, self.cv, self.n_repeats, self.seed = groups, cv, n_repeats, seed
        self._splits = []
        for repeat in range(n_repeats):
            splitter = GroupKFold(cv, shuffle=True, random_state=self.of(repeat))
            self._splits.append(list(splitter.split(groups, groups=groups)))

    def of(self, *numbers):
        """Return a seed of its own for a repeat, or for one of its folds.

        Parameters
        ----------
        *numbers : int
            Which.

        Returns
        -------
        int
            The same for the same numbers.
        """
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1)[0])

    def train(self, task):
        """Return the training pairs; a share's are among those of a larger one.

        Parameters
        ----------
        task : Task
            A fit.

        Returns
        -------
        ndarray of int, shape (m,)
            Their numbers.
        """
        if task.fold == CANDIDATES:
            return np.arange(len(self.groups))
        train = self._splits[task.repeat][task.fold][0]
        prompts = np.unique(self.groups[train])
        order = np.random.RandomState(self.of(task.repeat, task.fold)).permutation(prompts)
        kept = order[: round(task.share * len(order))]
        return train[np.isin(self.groups[train], kept)]

    def test(self, task):
        """Return the pairs that are left out.

        Parameters
        ----------
        task : Task
            A fit of a fold.

        Returns
        -------
        ndarray of int, shape (n - m,)
            Their numbers.
        """
        return self._splits[task.repeat][task.fold][1]

    @property
    def least_prompts(self):
        """The fewest prompts that a fold trains on."""
        n_prompts = len(np.unique(self.groups))
        return n_prompts - -(-n_prompts // self.cv)
