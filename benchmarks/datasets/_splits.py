"""Splits by prompt whose pairs at a small N are a prefix of those at a larger one."""

import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from lens_sklearn import EmbeddingScaler

from ..objective import MIN_GAP

N_TEST_PROMPTS = 105
BLOCK = 4096  # candidate pairs drawn at once
#: What a method may read of a response: what it says, how it is written, or both.
VIEWS = ("embedding", "features", "both")


class Columns(NamedTuple):
    """Columns of a split's responses.

    Attributes
    ----------
    pairs : ndarray of float32, shape (n, 2, k)
        Of the training pairs.
    unlabeled : ndarray of float32, shape (m, N, k), or None
        Of the responses that carry no labels.
    test : ndarray of float32, shape (p, N, k)
        Of the test set.
    """

    pairs: np.ndarray
    unlabeled: np.ndarray | None
    test: np.ndarray


@dataclass(eq=False)
class Split:
    """Training pairs and a test set of other prompts.

    Attributes
    ----------
    pairs : ndarray of float32, shape (n, 2, d)
        Training pairs, column 0 chosen.
    groups : ndarray of int, shape (n,)
        Their prompts.
    unlabeled : ndarray of float32, shape (m, N, d), or None
        Responses to training prompts, labelled or not, that may be used without labels; a
        prompt a row. No test prompt is among them, and their order tells nothing.
    test : ndarray of float32, shape (p, N, d)
        Candidates of the test prompts or, where `gold` is None, test pairs (p, 2, d), column 0
        chosen.
    gold : ndarray, shape (p, N), or None
        Gold rewards of the candidates.
    lengths : ndarray, shape (p, N), or None
        Characters of the test responses, for metrics and for methods that read nothing else.
    features : Columns or None
        Response features, never standardised.
    n_response_features : int
        How many of the last columns are response features; the others are embeddings.
    details : dict
        What a method wants to be kept beside its result.
    borrowed : float
        Seconds of work that the current method has taken over from another one.
    """

    pairs: np.ndarray
    groups: np.ndarray
    unlabeled: np.ndarray | None
    test: np.ndarray
    gold: np.ndarray | None
    lengths: np.ndarray | None = None
    features: Columns | None = None
    n_response_features: int = 0
    details: dict = field(default_factory=dict)
    borrowed: float = 0.0
    _shared: dict = field(default_factory=dict)
    _views: dict = field(default_factory=dict)

    def scaled(self):
        """Return the split standardised by its training pairs: the one place where it is done.

        Returns
        -------
        Split
            With new arrays; this one stays as it is. Response features are left as they are.
        """
        scaler = EmbeddingScaler().fit(self.pairs)
        unlabeled = None if self.unlabeled is None else scaler.transform(self.unlabeled)
        return Split(
            scaler.transform(self.pairs),
            self.groups,
            unlabeled,
            scaler.transform(self.test),
            self.gold,
            self.lengths,
            self.features,
        )

    def view(self, name):
        """Return the split with the columns that a method reads.

        Parameters
        ----------
        name : {"embedding", "features", "both"}
            The embeddings, the response features, or these behind those.

        Returns
        -------
        Split
            Itself for "embedding"; else one that is made once and shares nothing that methods
            keep: work on other columns is other work. `n_response_features` says
            how many columns are features: with "features" all.

        Raises
        ------
        ValueError
            If there is no such view, or the data set has no response features.
        """
        if name not in VIEWS:
            raise ValueError(f"view={name!r} is none of {', '.join(VIEWS)}.")
        if name == "embedding":
            return self
        if self.features is None:
            raise ValueError(f"view={name!r} needs response features; this data set has none.")
        if name not in self._views:
            columns, k = self.features, self.features.pairs.shape[-1]
            if name == "both":
                embeddings = Columns(self.pairs, self.unlabeled, self.test)
                columns = Columns(*map(_joined, embeddings, self.features))
            made = replace(self, **columns._asdict(), n_response_features=k)
            self._views[name] = replace(made, details={}, borrowed=0.0, _shared={}, _views={})
        return self._views[name]

    def once(self, key, compute):
        """Compute what several methods share once, and charge each of them its time.

        Parameters
        ----------
        key : hashable
            Names the work, settings and seed included.
        compute : callable
            Does it.

        Returns
        -------
        object
            The result, the same object for all.
        """
        if key in self._shared:
            self.borrowed += self._shared[key][1]
        else:
            start = time.perf_counter()
            value = compute()
            self._shared[key] = (value, time.perf_counter() - start)
        return self._shared[key][0]


def _joined(embeddings, features):
    """Join two views on the last axis, None where there are no responses."""
    return None if embeddings is None else np.concatenate([embeddings, features], axis=-1)


def _check_aligned(responses, features, lengths):
    """Raise ValueError unless features and lengths are of the responses (n, N, d)."""
    shape = responses.shape[:2]
    if features is not None and (features.ndim != 3 or features.shape[:2] != shape):
        raise ValueError(f"features must have the shape {(*shape, 'k')}; got {features.shape}.")
    if lengths is not None and lengths.shape != shape:
        raise ValueError(f"lengths must have the shape {shape}; got {lengths.shape}.")


class CandidateData:
    """Candidates with gold rewards; pairs are drawn from the training prompts.

    Parameters
    ----------
    candidates : ndarray of float32, shape (n_prompts, N, d)
        Embeddings; all-NaN ones are padding.
    gold : ndarray, shape (n_prompts, N)
        Gold rewards, NaN for padding.
    n_test : int, default=N_TEST_PROMPTS
        Test prompts of a split.
    features : ndarray of float32, shape (n_prompts, N, k), default=None
        Response features, NaN for padding.
    lengths : ndarray, shape (n_prompts, N), default=None
        Characters of the responses, NaN for padding.
    """

    max_pairs = None  # drawn with replacement

    def __init__(self, candidates, gold, n_test=N_TEST_PROMPTS, features=None, lengths=None):
        _check_aligned(candidates, features, lengths)
        self.candidates = candidates
        self.gold = gold
        self.n_test = n_test
        self.features = features
        self.lengths = lengths

    def split(self, n_pairs, seed):
        """Return a split; the test set and the first pairs do not depend on `n_pairs`.

        Parameters
        ----------
        n_pairs : int
            Training pairs.
        seed : int
            Draws the split.

        Returns
        -------
        Split
            Not standardised.
        """
        train, test = _by_group(np.arange(len(self.gold)), self.n_test, seed)
        prompt, two = self._draw(train, n_pairs, np.random.default_rng(seed))

        def columns(array):
            return Columns(array[prompt[:, None], two], array[train], array[test])

        embedding = columns(self.candidates)
        return Split(
            embedding.pairs,
            prompt,
            embedding.unlabeled,
            embedding.test,
            self.gold[test],
            None if self.lengths is None else self.lengths[test],
            None if self.features is None else columns(self.features),
        )

    def _draw(self, train, n_pairs, rng):
        """Draw blocks of a fixed size, so that more pairs only add to fewer."""
        prompts, twos, found, empty = [], [], 0, 0
        while found < n_pairs:
            prompt = rng.choice(train, BLOCK)
            two = np.argsort(rng.random((BLOCK, self.gold.shape[1])), axis=1)[:, :2]
            difference = self.gold[prompt, two[:, 0]] - self.gold[prompt, two[:, 1]]
            two[difference < 0] = two[difference < 0, ::-1]  # column 0 is the better one
            kept = np.abs(difference) > MIN_GAP  # false for padding
            prompts.append(prompt[kept])
            twos.append(two[kept])
            found += kept.sum()
            empty += not kept.any()
            if empty == 10:
                raise ValueError(f"no two candidates of a prompt differ by more than {MIN_GAP}.")
        return np.concatenate(prompts)[:n_pairs], np.concatenate(twos)[:n_pairs]


class PairData:
    """Pairs of known order without gold rewards.

    Parameters
    ----------
    pairs : ndarray of float32, shape (n, 2, d)
        Embeddings, column 0 chosen.
    groups : ndarray of int, shape (n,), default=None
        Their prompts; None gives each pair its own.
    n_test : int, default=300
        Test prompts of a split.
    features : ndarray of float32, shape (n, 2, k), default=None
        Response features.
    lengths : ndarray, shape (n, 2), default=None
        Characters of the responses.
    """

    def __init__(self, pairs, groups=None, n_test=300, features=None, lengths=None):
        _check_aligned(pairs, features, lengths)
        self.pairs = pairs
        self.features = features
        self.lengths = lengths
        self.groups = np.arange(len(pairs)) if groups is None else np.asarray(groups)
        self.n_test = n_test

    @property
    def max_pairs(self):
        """The most training pairs that every split has if prompts do not repeat."""
        return len(self.pairs) - self.n_test

    def split(self, n_pairs, seed):
        """Return a split; the test set and the first pairs do not depend on `n_pairs`.

        Parameters
        ----------
        n_pairs : int
            Training pairs.
        seed : int
            Draws the split.

        Returns
        -------
        Split
            Not standardised. All training responses are `unlabeled`, two a prompt, in random
            order so that they carry no label.
        """
        train, test = _by_group(self.groups, self.n_test, seed)
        if n_pairs > len(train):
            raise ValueError(f"{n_pairs} training pairs asked for; split {seed} has {len(train)}.")
        rng = np.random.default_rng(seed)
        train = rng.permutation(train)
        order = np.argsort(rng.random((len(train), 2)), axis=1)

        def columns(array):
            return Columns(array[train[:n_pairs]], array[train[:, None], order], array[test])

        embedding = columns(self.pairs)
        return Split(
            embedding.pairs,
            self.groups[train[:n_pairs]],
            embedding.unlabeled,
            embedding.test,
            None,
            None if self.lengths is None else self.lengths[test],
            None if self.features is None else columns(self.features),
        )


def _by_group(groups, n_test, seed):
    n_groups = len(np.unique(groups))
    if n_test >= n_groups:
        raise ValueError(f"{n_test} test prompts of {n_groups} leave none to train on.")
    split = GroupShuffleSplit(1, test_size=n_test, random_state=seed)
    return next(split.split(groups, groups=groups))
