"""A function of prompts and responses as labeller, and what is asked of every labeller."""

import inspect
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator

from .._rows import read_dialogues
from ._conversations import as_messages, plain_text


class FunctionLabeller(BaseEstimator):
    """Label responses with a function ``f(prompts, responses) -> scores``.

    Wherever a labeller is asked for, such a function may stand for itself; this class is there
    for its parameter.

    Parameters
    ----------
    function : callable
        Takes n prompts and n lists of responses, and returns their scores: an array (n, k), k
        being the longest list's length, or n lists with a number a response. Larger is better.
        NaN or None is no judgement.
    messages : bool, default=False
        Whether the function is given prompts and responses as lists of
        ``{"role", "content"}`` messages. Otherwise each is a string: the content of a lone
        message, and of several their roles and contents, one a line.

    Notes
    -----
    The function is called once with everything. ``clone`` keeps it as it is, and a pickle holds
    it if it can be pickled, which a lambda cannot.

    Examples
    --------
    >>> from lens_sklearn.textual import FunctionLabeller
    >>> def brevity(prompts, responses):
    ...     return [[-len(text) for text in texts] for texts in responses]
    >>> FunctionLabeller(brevity).score(["2 + 2?", "Why?"], [["4", "It is 4."], ["No."]])
    array([[-1., -8.],
           [-3., nan]])
    """

    _parameter_constraints = {"function": [callable], "messages": ["boolean"]}

    def __init__(self, function, messages=False):
        self.function = function
        self.messages = messages

    def score(self, prompts, responses):
        """Score responses.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float, shape (n, k)
            Larger is better; NaN is the padding of shorter lists, and no judgement.

        Raises
        ------
        ValueError
            If a text is malformed, or the function returns other numbers of scores, what is no
            number, or what is infinite; the message names it.
        """
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        form = as_messages if self.messages else plain_text
        rows = [[form(item) for item in row if item is not None] for row in items]
        scores = self.function([form(prompt) for prompt in prompts], rows)
        return self._checked(scores, list(map(len, rows)), items.shape[1])

    def _checked(self, scores, counts, k):
        """Return scores, lists or an array, as an array padded with NaN."""
        checked = np.full((len(counts), k), np.nan)
        scores = scores.to_numpy() if hasattr(scores, "to_numpy") else scores  # of a data frame
        if not hasattr(scores, "__len__") or isinstance(scores, str | dict):
            raise ValueError(
                f"{self._name} returned {type(scores).__name__}; expected an array of shape "
                f"{checked.shape}, or a list of scores a prompt."
            )
        if len(scores) != len(counts):
            raise ValueError(f"{self._name} returned {len(scores)} rows for {len(counts)} prompts.")
        for i, (row, n) in enumerate(zip(scores, counts, strict=True)):
            is_list = hasattr(row, "__len__") and not isinstance(row, str | dict | set)
            n_scores = len(row) if is_list and np.ndim(row) else None
            if n_scores not in (n, k):
                got = "a single value" if n_scores is None else f"{n_scores} scores"
                raise ValueError(
                    f"{self._name} returned {got} for the {n} responses of prompt {i}; expected "
                    "a list of as many."
                )
            # By position, whatever a series is indexed by; what an array has beyond is padding.
            for j, value in enumerate(list(row)[:n]):
                checked[i, j] = self._number(value, i, j)
        return checked

    def _number(self, value, i, j):
        if value is None:
            return np.nan
        value = value.item() if hasattr(value, "item") else value  # numpy and torch
        if not isinstance(value, Real) or np.isinf(value):
            raise ValueError(
                f"{self._name} returned {value!r:.40} for responses[{i}][{j}]; a score is a "
                "finite number, or NaN for no judgement."
            )
        return float(value)

    @property
    def _name(self):
        return f"the function {getattr(self.function, '__name__', repr(self.function))}"

    def __sklearn_clone__(self):
        return type(self)(self.function, self.messages)


def as_labeller(labeller):
    """Return a labeller; a plain function becomes one.

    Parameters
    ----------
    labeller : PairLabeller or callable
        Has ``score(prompts, responses)``, or is a function of both.

    Returns
    -------
    PairLabeller
        The labeller itself, or a :class:`FunctionLabeller`.

    Raises
    ------
    TypeError
        If it is neither, or a class.
    """
    if inspect.isclass(labeller):
        raise TypeError(
            f"the labeller is the class {labeller.__name__}; give an object, "
            f"{labeller.__name__}(...)."
        )
    if hasattr(labeller, "score"):
        return labeller
    if callable(labeller):
        return FunctionLabeller(labeller)
    raise TypeError(
        "a labeller has score(prompts, responses), or is a function of both; got "
        f"{type(labeller).__name__}."
    )


def check_scores(labeller, scores, texts, rows):
    """Return a labeller's scores if they are what the protocol promises.

    Parameters
    ----------
    labeller : PairLabeller
        Whose they are.
    scores : array-like
        What it returned.
    texts : list of n lists of responses
        What it scored.
    rows : list of int
        Numbers of the n rows, for an error.

    Returns
    -------
    ndarray of float, shape (n, k)
        NaN is padding, and no judgement.

    Raises
    ------
    ValueError
        If they have another shape, or are infinite or no numbers.
    """
    name, k = type(labeller).__name__, max(map(len, texts))
    try:
        scores = np.asarray(scores, dtype=float)
    except (TypeError, ValueError) as error:
        is_ragged = "inhomogeneous" in str(error)
        raise ValueError(
            f"{name} scored {len(texts)} × {k} responses with "
            f"{'lists of several lengths; pad them with NaN' if is_ragged else 'no numbers'}."
        ) from None
    if scores.shape != (len(texts), k):
        raise ValueError(f"{name} scored {len(texts)} × {k} responses with shape {scores.shape}.")
    for i, row_texts, row in zip(rows, texts, scores, strict=True):
        bad = np.flatnonzero(np.isinf(row[: len(row_texts)]))
        if len(bad):
            raise ValueError(f"{name} gave {row[bad[0]]} to row {i}, response {bad[0]}.")
    return scores
