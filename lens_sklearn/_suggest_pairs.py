"""Which pairs to label next: the two likeliest winners of prompts drawn at random."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._messages import as_messages, message_key
from ._records import as_records, is_text
from ._rows import read_responses, read_texts


def suggest_pairs(reward, candidates, n, *, labeled=None, random_state=None):
    """Choose pairs of responses whose labels are worth most for Best-of-N.

    Of each prompt the two responses with the largest rewards are chosen, and prompts are drawn at
    random. A label then decides between likely winners, which is what Best-of-N is about, and not
    between two responses that nobody would pick. Of equal responses to a prompt one is taken. Fit
    the reward on what was labelled so far, label what is suggested, and so on, in rounds.

    Parameters
    ----------
    reward : estimator
        Fitted; its ``predict`` takes the candidates.
    candidates : rows of text, or array-like of shape (n_prompts, N, d)
        Candidate rows, or their embeddings.
    n : int
        How many pairs.
    labeled : array-like of shape (m, 3), default=None
        Pairs that need no label any more, as ``prompt, first, second`` of earlier suggestions;
        the next likeliest two responses of such a prompt are taken. Prompts without any such pair
        come first.
    random_state : int, RandomState instance or None, default=None
        Draws the prompts.

    Returns
    -------
    SuggestedPairs
        The pairs; each in random order of its two responses, so that the label cannot be guessed
        from the place.

    Raises
    ------
    ValueError
        If there are fewer than `n` pairs left, or the candidates are no candidates.
    sklearn.exceptions.NotFittedError
        If the reward is not fitted.

    See Also
    --------
    suspect_pairs : Pairs whose labels should be read again.

    Notes
    -----
    Pairs whose outcome the reward finds most uncertain, wherever they are, did worse than random
    ones in the same measurement.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor, suggest_pairs
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=40, n_features=4, random_state=0)
    >>> reward = LinearRewardRegressor().fit(toy.pairs)
    >>> found = suggest_pairs(reward, toy.candidates, 5, random_state=0)
    >>> len(found.prompt), found.pairs(toy.candidates).shape
    (5, (5, 2, 4))
    """
    check_is_fitted(reward)
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n={n!r} has to be a whole number from 1.")
    X = _read(candidates)
    rewards = np.asarray(reward.predict(X), dtype=float)  # (n_prompts, N)
    known = _known(labeled, rewards.shape)
    random_state = check_random_state(random_state)
    left = {}
    for i, keys in enumerate(_keys(X)):
        pair = _next_pair(rewards[i], keys, known.get(i, set()))
        if pair is not None:
            left[i] = pair
    if n > len(left):
        raise ValueError(
            f"n={n}, and {len(left)} of {len(rewards)} prompts have a pair without a label: one "
            "of each prompt is suggested at a time. Ask for fewer, or give more prompts."
        )
    order = random_state.permutation(sorted(left))
    chosen = sorted(order, key=lambda i: len(known.get(i, ())))[:n]  # stable: at random otherwise
    pairs = np.array([left[i] for i in chosen])
    swapped = random_state.randint(2, size=len(pairs)) == 1
    pairs[swapped] = pairs[swapped, ::-1]
    return SuggestedPairs(np.array(chosen), pairs[:, 0], pairs[:, 1])


@dataclass(frozen=True)
class SuggestedPairs:
    """Pairs to label.

    Attributes
    ----------
    prompt : ndarray of int, shape (n,)
        Rows of the candidates.
    first, second : ndarray of int, shape (n,)
        Which of a prompt's responses, in random order.
    """

    prompt: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def numbers(self):
        """Return where the pairs are.

        Returns
        -------
        list of dict
            With ``row``, ``first`` and ``second``, the numbers of a prompt and its responses.
        """
        found = zip(self.prompt.tolist(), self.first.tolist(), self.second.tolist(), strict=True)
        return [{"row": i, "first": a, "second": b} for i, a, b in found]

    def rows(self, candidates):
        """Return the pairs as rows to label.

        Parameters
        ----------
        candidates : rows of text
            The candidate rows.

        Returns
        -------
        list of dict
            What `numbers` returns with ``prompt``, where there is one, and the texts
            ``response_a`` and ``response_b``.
        """
        candidates = as_records(candidates)
        rows = []
        for numbers in self.numbers():
            row = candidates[numbers["row"]]
            prompt = {"prompt": row["prompt"]} if "prompt" in row else {}
            a, b = (row["responses"][numbers[place]] for place in ("first", "second"))
            rows.append(numbers | prompt | {"response_a": a, "response_b": b})
        return rows

    def pairs(self, candidates):
        """Return the pairs' embeddings.

        Parameters
        ----------
        candidates : array-like of shape (n_prompts, N, d)
            The candidates.

        Returns
        -------
        ndarray, shape (n, 2, d)
            Not ordered by a label: give `fit` the probability that the first wins as ``y``.
        """
        X = np.asarray(candidates)
        return np.stack([X[self.prompt, self.first], X[self.prompt, self.second]], axis=1)


def _known(labeled, shape):
    """Return the labelled pairs of each prompt, as sets of two responses."""
    known = {}
    if labeled is None or not len(labeled):
        return known
    try:
        labeled = np.asarray(labeled)
    except ValueError:  # lists of several lengths
        labeled = np.array(labeled, dtype=object)
    if labeled.ndim != 2 or labeled.shape[1] != 3 or labeled.dtype.kind not in "iu":
        raise ValueError(
            f"labeled must have shape (m, 3), whole numbers of prompt, first and second; got "
            f"{labeled.shape} of {labeled.dtype}."
        )
    limits = np.array([shape[0], shape[1], shape[1]])
    is_outside = ((labeled < 0) | (labeled >= limits)).any(axis=1)
    wrong = np.flatnonzero(is_outside | (labeled[:, 1] == labeled[:, 2]))
    if len(wrong):
        raise ValueError(
            f"labeled[{wrong[0]}] is {labeled[wrong[0]].tolist()}: a prompt and two of its "
            f"responses are expected, of {shape[0]} prompts with {shape[1]} at most."
        )
    for i, a, b in labeled.tolist():
        known.setdefault(i, set()).add(frozenset((a, b)))
    return known


def _read(candidates):
    """Return candidates as records or as an array (n_prompts, N, d)."""
    if is_text(candidates):
        rows = as_records(candidates)
        if (kind := read_texts(rows).kind) != "candidates":
            raise ValueError(f"expected candidate rows (prompt, responses), got {kind}.")
        return rows
    X = np.asarray(candidates)
    if X.ndim != 3:
        raise ValueError(f"candidates must have the shape (n_prompts, N, d); got {X.shape}.")
    return X


def _keys(X):
    """Yield what tells a prompt's responses apart, prompt by prompt."""
    if isinstance(X, np.ndarray):
        for row in X:
            yield [response.tobytes() for response in row]
    else:
        for row in read_responses(X).responses:
            yield [None if response is None else _key(response) for response in row]


def _key(response):
    """Return what tells a response apart; one message is the same as its text alone."""
    messages = tuple(map(message_key, as_messages(response)))
    return messages[0][1] if len(messages) == 1 and len(messages[0]) == 2 else messages


def _next_pair(rewards, keys, known):
    """Return the two likeliest different winners without a label against each other, or None."""
    order, seen = [], set()
    for j in np.argsort(-rewards, kind="stable").tolist():
        if np.isfinite(rewards[j]) and keys[j] not in seen:
            seen.add(keys[j])
            order.append(j)
    known = {frozenset(keys[j] for j in pair) for pair in known}
    # By the worse of the two, then by the better: (0, 1), (0, 2), (1, 2), (0, 3), …
    for worse in range(1, len(order)):
        for better in range(worse):
            if frozenset((keys[order[better]], keys[order[worse]])) not in known:
                return order[better], order[worse]
    return None
