"""What labellers share: the protocol, and scoring texts with a language model."""

import os
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._rows import read_dialogues
from ._networks import (
    headed_model,
    last_logits,
    report_overlong,
    run_batches,
    token_ids,
    truncate_left,
)

#: Constraints of the parameters that every labeller with a language model has.
MODEL_CONSTRAINTS = {
    "model_name": [str, os.PathLike],
    "revision": [str, None],
    "max_length": [Interval(Integral, 1, None, closed="left")],
    "chat_template": [str, None, Options(bool, {False})],
    "batch_tokens": [Interval(Integral, 1, None, closed="left")],
    "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
    "device": [str],
    "show_progress": ["boolean", None],
}


@runtime_checkable
class PairLabeller(Protocol):
    """The protocol of labellers, which score responses for a :class:`TextPairSynthesizer`.

    A labeller that learns has ``fit(rows, candidates)`` besides: it is called with the
    preference rows and with the sampled responses as candidate rows.
    """

    def score(self, prompts, responses):
        """Score responses; only comparisons within a prompt are used.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float, shape (n, k)
            Larger is better; NaN is the padding of shorter lists.
        """
        ...


class LanguageModelLabeller(BaseEstimator):
    """Base of the labellers that read scores off a language model's outputs."""

    _parameter_constraints = MODEL_CONSTRAINTS
    head = "causal"

    def score(self, prompts, responses):
        """Score responses.

        The network is loaded for this call and released at its end: call it once with all texts.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float64, shape (n, k)
            Larger is better; NaN is the padding of shorter lists. Scores do not depend on the
            batch but by rounding.

        Raises
        ------
        ValueError
            If a text is malformed, or the chat template refuses a conversation; the message
            names it.
        """
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        scores = np.full(items.shape, np.nan)
        with headed_model(self, self.head) as model:
            self._limit = model.longest_input(self._longest())
            self._score(model, prompts, items, scores)
        return scores

    def _longest(self):
        """Return the user's limit of a text in tokens."""
        return self.max_length

    def _score(self, model, prompts, items, scores):
        """Fill in the scores of the items that are not padding."""
        raise NotImplementedError

    def _ids(self, model, conversations, place, *, prompt=False):
        """Return token ids within the limit; count and report those that were cut."""
        ids = token_ids(model, conversations, self.chat_template, place, prompt=prompt)
        ids, overlong = truncate_left(model, ids, self._limit)
        self.n_overlong_ = report_overlong(overlong, self._limit, place)
        return ids

    def _answer_probabilities(self, model, questions, choices, place):
        """Return the probabilities of the answers to questions, shape (n, len(choices))."""
        columns = [answer_tokens(model, choice) for choice in choices]
        flat = torch.tensor([token for tokens in columns for token in tokens])
        owner = torch.tensor([j for j, tokens in enumerate(columns) for _ in tokens])
        conversations = [(("user", question),) for question in questions]
        ids = self._ids(model, conversations, place, prompt=True)

        def compute(batch):
            logits = last_logits(model, [ids[i] for i in batch])[:, -1].float().cpu()
            # A choice may be written by several tokens, with and without a space before it.
            each = logits[:, flat].softmax(dim=1)  # (B, tokens)
            return torch.zeros(len(batch), len(columns)).index_add_(1, owner, each).numpy()

        probabilities = np.empty((len(ids), len(columns)))
        for batch, new in run_batches(
            [len(i) for i in ids], self.batch_tokens, compute, show_progress=self.show_progress
        ):
            probabilities[batch] = new
        return probabilities


def answer_tokens(model, answer):
    """Return the tokens by which a model may begin a short answer.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer writes it.
    answer : str
        A word or digit.

    Returns
    -------
    list of int
        One or two tokens: the answer, with and without a space before it.

    Raises
    ------
    ValueError
        If the tokenizer has no single token for it.
    """
    tokenizer, tokens = model.tokenizer, set()
    for text in (answer, " " + answer):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        # "▁", "5" is two tokens of which the first is but a space
        if ids and ids[-1] != tokenizer.unk_token_id and not tokenizer.decode(ids[:-1]).strip():
            if tokenizer.decode(ids[-1:]).strip() == answer:
                tokens.add(ids[-1])
    if not tokens:
        raise ValueError(
            f"the tokenizer of {model.spec.name!r} has no single token for {answer!r}, so its "
            "probability cannot be read off the next-token logits."
        )
    return sorted(tokens)


def places(items):
    """Return where the items are, and a function that names them.

    Parameters
    ----------
    items : ndarray of object, shape (n, k)
        None is padding.

    Returns
    -------
    where : ndarray of int, shape (m, 2)
        Rows and columns of the items that are not padding.
    place : callable
        Names item number i of `where`.
    """
    where = np.argwhere(items != None)  # noqa: E711 - element by element

    def place(i):
        return f"responses[{where[i, 0]}][{where[i, 1]}]"

    return where, place
