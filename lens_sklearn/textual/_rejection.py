"""Best-of-N picks as rows for supervised fine-tuning (rejection sampling)."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval

from .._rows import read_prompts, read_texts
from ._conversations import as_messages


class RejectionSampler(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Keep the response that a reward model likes best, as a row for TRL's ``SFTTrainer``.

    Parameters
    ----------
    reward : estimator
        Fitted; its ``predict`` takes candidate rows. ``clone`` keeps it as it is.
    n : int, default=None
        How many of each prompt's responses stand for selection, the first ones; None is all.

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
            A row a prompt: ``prompt``, ``completion``, ``score``, the picked response's
            reward, and ``scores``, the rewards of all that stood for selection.

        Raises
        ------
        ValueError
            If the rows are no candidate rows with prompts, or a prompt gets no finite reward.
        """
        self._validate_params()
        table, prompts = read_texts(X), read_prompts(X)
        if table.kind != "candidates":
            raise ValueError(f"expected candidate rows (prompt, responses), got {table.kind}.")
        items = table.items[:, : self.n]
        candidates = [
            {
                "prompt": as_messages(prompt),
                "responses": [_response(i[len(prompt) :]) for i in row if i is not None],
            }
            for prompt, row in zip(prompts, items, strict=True)
        ]
        rewards = np.asarray(self.reward.predict(candidates), dtype=float)  # (n_prompts, n)
        empty = np.flatnonzero(np.isnan(rewards).all(axis=1))
        if len(empty):
            raise ValueError(f"row {empty[0]}: no response has a reward that is not NaN.")
        return [
            {
                "prompt": row["prompt"],
                "completion": _completion(row["responses"][best]),
                "score": float(scores[best]),
                "scores": scores[: len(row["responses"])].tolist(),
            }
            for row, scores, best in zip(
                candidates, rewards, np.nanargmax(rewards, axis=1), strict=True
            )
        ]

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


def _response(messages):
    """Write a response as a string where it is an answer of one message."""
    roles = [message[0] for message in messages]
    return messages[0][1] if roles == ["assistant"] else as_messages(messages)


def _completion(response):
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}]
    return response
