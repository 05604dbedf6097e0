"""Best-of-N picks as rows for supervised fine-tuning (rejection sampling)."""

from collections.abc import Mapping
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval

from .._records import as_records
from .._rows import read_prompts, read_responses
from .._warnings import warn
from ._conversations import as_messages


class RejectionSampler(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Keep the response that a reward model likes best, as a row for TRL's ``SFTTrainer``.

    Parameters
    ----------
    reward : estimator
        Fitted; its ``predict`` takes candidate rows. ``clone`` keeps it as it is.
    n : int, default=None
        How many of each prompt's responses stand for selection, the first ones; None is all.

    Attributes
    ----------
    n_left_out_ : int
        How many prompts of the latest ``transform`` had no response, or none with a reward.

    Notes
    -----
    Rows are conversational, ``prompt`` and ``completion`` being lists of messages, so that
    TRL applies the model's chat template. Of equal rewards the first response wins.

    Examples
    --------
    >>> import numpy as np
    >>> from lens_sklearn.textual import RejectionSampler
    >>> class Longest:
    ...     def predict(self, rows):
    ...         return np.array([[len(text) for text in row["responses"]] for row in rows])
    >>> rows = [{"prompt": "2 + 2?", "responses": ["4", "It is 4.", "no"]}]
    >>> RejectionSampler(Longest(), n=2).transform(rows)[0]["completion"]
    [{'role': 'assistant', 'content': 'It is 4.'}]
    """

    _parameter_constraints = {
        "reward": [HasMethods(["predict"])],
        "n": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, reward, n=None):
        self.reward = reward
        self.n = n

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Check the parameters; nothing is learnt.

        Parameters
        ----------
        X : rows of text, default=None
            Ignored.
        y : None
            Ignored.

        Returns
        -------
        RejectionSampler
            Itself.
        """
        return self

    def transform(self, X):
        """Pick the best response of each prompt.

        Parameters
        ----------
        X : rows of text
            Candidate rows: ``prompt`` and ``responses``, as a :class:`ResponseGenerator`
            makes them.

        Returns
        -------
        list of dict
            A row a prompt that has a pick: ``prompt``, ``completion``, ``score``, the picked
            response's reward, and ``scores``, the rewards of all that stood for selection.

        Raises
        ------
        ValueError
            If the rows are no candidate rows with prompts, or none of them has a pick.

        Warns
        -----
        UserWarning
            If prompts are left out, because they have no response, as where all that were
            sampled were empty, or none with a reward, as where all texts were dropped.
        """
        self._validate_params()
        n_rows, numbers, candidates = self._candidates(X)
        if not candidates:
            raise ValueError(f"none of {n_rows} prompts has a response to pick.")
        rewards = np.asarray(self.reward.predict(candidates), dtype=float)  # (n_prompts, n)
        picked = np.flatnonzero(~np.isnan(rewards).all(axis=1))
        left_out = sorted(set(range(n_rows)) - {numbers[i] for i in picked})
        self.n_left_out_ = len(left_out)
        if not len(picked):
            raise ValueError(f"none of {n_rows} prompts has a response with a reward: all are NaN.")
        if left_out:
            warn(
                f"{len(left_out)} of {n_rows} prompts (first: row {left_out[0]}) have no response "
                "to pick, or none with a reward that is not NaN, and are left out."
            )
        return [self._pick(candidates[i], rewards[i]) for i in picked]

    def _candidates(self, X):
        """Return how many rows there are, the numbers of those with responses, and these."""
        rows = as_records(X)
        kept = [i for i, row in enumerate(rows) if not _is_without_responses(row)]
        # In place of no response stands an empty one, so that errors name the row that is meant.
        read = [{**row, "responses": [""]} if _is_without_responses(row) else row for row in rows]
        table, prompts = read_responses(read), read_prompts(read)
        if table.kind != "candidates":
            raise ValueError(f"expected candidate rows (prompt, responses), got {table.kind}.")
        items = table.responses[:, : self.n]
        candidates = [
            {
                "prompt": as_messages(prompts[i]),
                "responses": [_response(item) for item in items[i] if item is not None],
            }
            for i in kept
        ]
        return len(rows), kept, candidates

    @staticmethod
    def _pick(row, rewards):
        best = int(np.nanargmax(rewards))
        return {
            "prompt": row["prompt"],
            "completion": _completion(row["responses"][best]),
            "score": float(rewards[best]),
            "scores": rewards[: len(row["responses"])].tolist(),
        }

    def __sklearn_clone__(self):
        return type(self)(self.reward, self.n)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.no_validation = True
        return tags


def _is_without_responses(row):
    """Say whether a row has an empty list of responses, as ResponseGenerator may return."""
    responses = row.get("responses", "") if isinstance(row, Mapping) else ""
    if isinstance(responses, str):
        return responses.strip() == "[]"  # a table writes lists as JSON
    return hasattr(responses, "__len__") and len(responses) == 0


def _response(messages):
    """Write a response as a string where it is an answer of one message."""
    if isinstance(messages, str):
        return messages
    is_answer = len(messages) == 1 and messages[0][0] == "assistant" and len(messages[0]) == 2
    return messages[0][1] if is_answer else as_messages(messages)


def _completion(response):
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    return response
