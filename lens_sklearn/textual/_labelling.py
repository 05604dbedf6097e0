"""What labellers share: the protocol, and scoring texts with a language model."""

import logging
import os
from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._array_store import ArrayStore, store_keys
from .._language_model import template_text
from .._rows import read_dialogues
from ._conversations import plain_text
from ._networks import headed_model, report_overlong, run_batches
from ._questions import write_questions
from ._shared_prefix import SharedPrefix
from ._special_tokens import Escape

logger = logging.getLogger("lens_sklearn.textual")

#: Constraints of the parameters that every labeller with a language model has.
MODEL_CONSTRAINTS = {
    "model_name": [str, os.PathLike],
    "revision": [str, None],
    "max_length": [Interval(Integral, 1, None, closed="left")],
    "chat_template": [str, None, Options(bool, {False})],
    "batch_tokens": [Interval(Integral, 1, None, closed="left")],
    "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
    "device": [str],
    "store": [str, os.PathLike, None],
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


class Inputs(NamedTuple):
    """What a network reads for the scores of responses.

    Attributes
    ----------
    texts : list of str
        As written, without what the tokenizer itself puts around a plain text.
    ids : list of ndarray of int32
        Token ids within the limit.
    n_last : ndarray of int, shape (m,)
        How many positions are looked at, counted from the end.
    prompt : ndarray of int, shape (m,)
        To which prompt each belongs.
    overlong : ndarray of bool, shape (m,)
        Which were cut.
    place : callable
        Names number i of them.
    n_escaped : int
        In how many prompts and responses special tokens were written as ordinary characters.
    """

    texts: list
    ids: list
    n_last: np.ndarray
    prompt: np.ndarray
    overlong: np.ndarray
    place: Callable
    n_escaped: int = 0

    def select(self, numbers):
        """Return some of them.

        Parameters
        ----------
        numbers : list of int
            Which.

        Returns
        -------
        Inputs
            Named by their numbers here.
        """
        return self._replace(
            texts=[self.texts[i] for i in numbers],
            ids=[self.ids[i] for i in numbers],
            n_last=self.n_last[numbers],
            prompt=self.prompt[numbers],
            overlong=self.overlong[numbers],
            place=lambda i: self.place(numbers[i]),
        )


class LanguageModelLabeller(BaseEstimator):
    """Base of the labellers that read scores off a language model's outputs.

    A subclass says what the network reads (``_inputs``), which numbers come out of it for each
    text (``_reader`` and ``_output``), and what scores they are (``_scores``).
    """

    _parameter_constraints = MODEL_CONSTRAINTS
    head = "causal"

    def score(self, prompts, responses):
        """Score responses.

        Texts are read before the network is loaded, and equal ones once.

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
            If a text is malformed, the chat template refuses a conversation, or the network's
            output is not finite; the message names it.
        """
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        model = headed_model(self, self.head)
        output = self._output(model)
        inputs = self._inputs(model, prompts, items)
        self.n_overlong_ = report_overlong(
            inputs.overlong, self._limit(model), inputs.place, self._cut
        )
        self.n_escaped_ = report_escaped(inputs.n_escaped)
        return self._scores(items, self._evaluate(model, inputs, output))

    def rendered(self, prompts, responses):
        """Return the texts that the model reads to score responses, cut and escaped.

        The weights are not loaded for it.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        list of str
            One for each response, prompt by prompt; of a judge that compares, one for each
            comparison. Special tokens that the tokenizer itself puts around a plain text are
            not in it.

        Raises
        ------
        ValueError
            If a text is malformed, or the chat template refuses a conversation; the message
            names it.
        """
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        return self._inputs(headed_model(self, self.head), prompts, items).texts

    #: What is cut of a text that is too long.
    _cut = "their responses or prompts"

    def _limit(self, model):
        """Return how many tokens the network reads of a text."""
        return model.longest_input(self.max_length)

    def _inputs(self, model, prompts, items):
        """Return the `Inputs` of all items that are not padding."""
        raise NotImplementedError

    def _output(self, model):
        """Return what is read off the network, of values that JSON can write, and its width."""
        raise NotImplementedError

    def _reader(self, model, inputs, output):
        """Return the lengths of inputs, a batch's budget, and what computes a batch."""
        raise NotImplementedError

    def _scores(self, items, values):
        """Return scores (n, k) by the network's outputs (m, width)."""
        where, _ = places(items)
        scores = np.full(items.shape, np.nan)
        scores[tuple(where.T)] = values[:, 0]
        return scores

    def _evaluate(self, model, inputs, output):
        """Return the network's outputs for inputs, shape (m, width)."""
        settings = {"output": output[0], "head": self.head} | model_settings(model)
        keys = store_keys(
            settings,
            [[int(n), ids.tolist()] for n, ids in zip(inputs.n_last, inputs.ids, strict=True)],
        )
        number = {}  # the keys, each once
        kind = [number.setdefault(key, len(number)) for key in keys]
        once = np.unique(kind, return_index=True)[1] if kind else np.empty(0, dtype=int)
        keys = list(number)
        values = np.full((len(keys), output[1]), np.nan, dtype=np.float32)
        missing = np.arange(len(keys))
        if self.store is not None:
            store = ArrayStore(self.store)
            values, found, _ = store.get_many(keys, output[1])
            missing = missing[~found]
        self.n_judged_ = 0
        if not len(missing):
            return values[kind].astype(float)
        part = inputs.select(once[missing])
        with model:
            lengths, budget, compute = self._reader(model, part, output)
            for batch, new in run_batches(
                lengths, budget, compute, show_progress=self.show_progress
            ):
                check_outputs(new, [part.place(i) for i in batch])
                values[missing[batch]] = new
                self.n_judged_ += len(batch)
                if self.store is not None:
                    store.put_many([keys[missing[i]] for i in batch], new)
        return values[kind].astype(float)


class QuestionLabeller(LanguageModelLabeller):
    """Base of the labellers that put a question and read the answer's first token."""

    def _output(self, model):
        columns = [answer_tokens(model, choice) for choice in self._choices]
        return {"answers": columns}, len(columns)

    def _reader(self, model, inputs, output):
        columns = output[0]["answers"]
        flat = torch.tensor([token for tokens in columns for token in tokens])
        owner = torch.tensor([j for j, tokens in enumerate(columns) for _ in tokens])

        shared = SharedPrefix(model, inputs.ids, inputs.n_last, inputs.prompt)

        def compute(batch):
            logits = shared.logits(batch)[:, -1].float().cpu()
            # A choice may be written by several tokens, with and without a space before it.
            each = logits[:, flat].softmax(dim=1)  # (B, tokens)
            return torch.zeros(len(batch), len(columns)).index_add_(1, owner, each).numpy()

        return shared.lengths, self.batch_tokens, compute

    def _ask(self, model, instruction, prompts, items, matches, place):
        """Return the inputs of questions.

        A match is the number of a prompt, and of its responses by their names in the
        instruction.
        """
        escape = Escaped(model, self.chat_template)
        prompts = [escape(plain_text(prompt)) for prompt in prompts]
        items = [[None if r is None else escape(plain_text(r)) for r in row] for row in items]
        texts = [
            {"prompt": prompts[i]} | {name: items[i][j] for name, j in names.items()}
            for i, names in matches
        ]
        questions = write_questions(
            model, instruction, texts, self.chat_template, self._limit(model), place
        )
        return Inputs(
            *questions[:2],
            n_last=np.ones(len(texts), dtype=int),
            prompt=np.array([i for i, _ in matches], dtype=int),
            overlong=questions.overlong,
            place=place,
            n_escaped=escape.n_changed,
        )


class Escaped:
    """Escapes texts for a model and counts those that it changed.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer reads them.
    chat_template : "auto", str, None or False
        The user's parameter.

    Attributes
    ----------
    escape : Escape
        For this model and template.
    n_changed : int
        How many texts had special tokens.
    """

    def __init__(self, model, chat_template):
        self.escape = Escape(model.tokenizer, template_text(chat_template, model.tokenizer))
        self.n_changed = 0

    def __call__(self, text):
        escaped = self.escape(text)
        self.n_changed += escaped != text
        return escaped


def model_settings(model):
    """Return what a network's output depends on besides token ids.

    Parameters
    ----------
    model : LanguageModel
        Which.

    Returns
    -------
    dict
        Of strings.
    """
    return {
        "model": model.spec.fingerprint or model.spec.name,
        "revision": model.commit or model.spec.revision,
        "dtype": model.spec.dtype,
        "device": model.spec.device.split(":")[0],
    }


def check_outputs(values, names):
    """Refuse outputs that are not finite: they would pass for padding.

    Parameters
    ----------
    values : ndarray of float, shape (B, width)
        Of a batch.
    names : list of str
        Of its texts.

    Raises
    ------
    ValueError
        If one is not; the message names the first.
    """
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{names[bad[0]]}: the language model's output is not finite, so it has no score. Its "
            "activations overflow: load it in another dtype."
        )


def report_escaped(n_escaped):
    """Log in how many texts special tokens were escaped.

    Parameters
    ----------
    n_escaped : int
        How many.

    Returns
    -------
    int
        The same.
    """
    if n_escaped:
        logger.warning(
            "%d prompts and responses hold special tokens, which are read as ordinary characters.",
            n_escaped,
        )
    return n_escaped


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
