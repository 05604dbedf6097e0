"""Preferences that a language model holds without being trained to judge."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from .._warnings import warn
from ._conversations import fill_in, plain_text
from ._labelling import MODEL_CONSTRAINTS, Escaped, Inputs, QuestionLabeller, places
from ._networks import decode_cut, tokenize_texts, truncate_left, write_texts
from ._questions import refuse_special_tokens
from ._shared_prefix import SharedPrefix

P_YES = """Question:
{prompt}

Response:
{response}

Is this response a good answer to the question? Reply with Yes or No alone. Answer:"""

#: For a model that continues the text: no template, the instruction first, nothing behind.
P_YES_PLAIN = """You see a question and a response to it. Decide whether the response is true, \
useful, safe and answers what was asked. Say Yes or No and nothing else.
Question: {prompt}
Response: {response}
"""
LONGEST_PLAIN = 1024  # tokens, as in the source


class ImplicitPreferenceLabeller(QuestionLabeller):
    """Label responses by what a language model implicitly prefers (the paper's IPO).

    TRL's ``loss_type="ipo"`` is another thing of the same name: identity preference
    optimisation.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub or a local folder.
    mode : {"p_yes", "p_yes_plain", "likelihood"}, default="p_yes"
        "p_yes" scores P(Yes) / (P(Yes) + P(No)) from the next-token logits that follow the
        question whether the response is good. "p_yes_plain" is that as its source has it: without
        a chat template, the instruction in front, and all but the first 1,024 tokens cut, so
        that of long texts the end is not judged. "likelihood" is the mean log-likelihood of the
        response's tokens given the prompt: their sum would favour short responses. An empty
        response has none, so it gets NaN, no judgement.
    instruction : str, default=None
        Another question for "p_yes" and "p_yes_plain", with ``{prompt}`` and ``{response}``. It
        should end where Yes or No is to come. "likelihood" has no question and refuses one.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    max_length : int, default=4096
        Longest text in tokens. Of a longer question the end of the response is cut, and the
        beginning of the prompt where it takes more than half of what the instruction leaves.
        For a likelihood the prompt's beginning is cut, and the end of a response that is too
        long by itself; "p_yes_plain" cuts the end of the whole. Their number is logged.
    chat_template : "auto", str, None or False, default="auto"
        As in :class:`~lens_sklearn.LLMEmbedder`; "p_yes_plain" has none and refuses one.
    batch_tokens : int, default=16384
        Tokens of one batch. When memory runs out, batches are halved with a warning.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision; "auto" is bfloat16 on CUDA and float32 on the CPU.
    device : str, default="auto"
        As in :class:`ResponseGenerator`.
    store : str or Path, default=None
        A folder that keeps what the network said: a call that was killed resumes after its last
        batch and judges nothing twice.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_overlong_ : int
        How many texts of the latest ``score`` were cut.
    n_escaped_ : int
        How many of its prompts and responses hold special tokens of the tokenizer. They are
        data and begin or end no turns, so these are written as ordinary characters.
    n_empty_ : int
        Of "likelihood": how many responses of the latest ``score`` have no token.
    n_judged_ : int
        How many different texts it computed, the others being in the store.

    References
    ----------
    Garg, Singh, Singh and Chopra (2025), "IPO: Your Language Model is Secretly a Preference
    Classifier". The questions here are in other words than theirs, and one instruction serves
    all topics.

    Examples
    --------
    >>> from lens_sklearn.textual import ImplicitPreferenceLabeller
    >>> labeller = ImplicitPreferenceLabeller(mode="likelihood")
    >>> labeller.score(["2 + 2?"], [["4", "A fish."]]).shape  # doctest: +SKIP
    (1, 2)
    """

    _parameter_constraints = MODEL_CONSTRAINTS | {
        "mode": [StrOptions({"p_yes", "p_yes_plain", "likelihood"})],
        "instruction": [str, None],
    }

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        mode="p_yes",
        instruction=None,
        revision=None,
        max_length=4096,
        chat_template="auto",
        batch_tokens=16384,
        dtype="auto",
        device="auto",
        store=None,
        show_progress=None,
    ):
        self.model_name = model_name
        self.mode = mode
        self.instruction = instruction
        self.revision = revision
        self.max_length = max_length
        self.chat_template = chat_template
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.store = store
        self.show_progress = show_progress

    _choices = ("Yes", "No")

    @property
    def _cut(self):
        cut = {
            "likelihood": "the beginnings of prompts, or the ends of responses",
            "p_yes_plain": "their ends",
        }
        return cut.get(self.mode, super()._cut)

    def _limit(self, model):
        limit = super()._limit(model)
        return min(limit, LONGEST_PLAIN) if self.mode == "p_yes_plain" else limit

    def _output(self, model):
        return ("mean log-likelihood", 1) if self.mode == "likelihood" else super()._output(model)

    def _refuse_what_has_no_effect(self):
        if self.mode == "likelihood" and self.instruction is not None:
            raise ValueError(
                "instruction has no effect with mode='likelihood', which puts no question: "
                "leave it out."
            )
        if self.mode == "p_yes_plain" and self.chat_template not in ("auto", None, False):
            raise ValueError(
                "chat_template has no effect with mode='p_yes_plain', which uses none: leave it "
                "out, or choose mode='p_yes'."
            )

    def _inputs(self, model, prompts, items):
        self._refuse_what_has_no_effect()
        where, place = places(items)
        if self.mode == "p_yes_plain":
            return self._continued(model, prompts, items, where, place)
        if self.mode == "likelihood":
            return self._answers(model, prompts, items, where, place)
        matches = [(i, {"response": j}) for i, j in where]
        return self._ask(model, self.instruction or P_YES, prompts, items, matches, place)

    def _continued(self, model, prompts, items, where, place):
        """Return questions as plain texts, cut at their ends."""
        escape, instruction = Escaped(model, None), self.instruction or P_YES_PLAIN
        prompts = [escape(plain_text(prompt)) for prompt in prompts]
        texts = [
            fill_in(instruction, prompt=prompts[i], response=escape(plain_text(items[i, j])))
            for i, j in where
        ]
        alone = fill_in(instruction, prompt="", response="")
        alone, *ids = tokenize_texts(
            model, [alone, *texts], np.ones(len(texts) + 1, dtype=bool), lambda i: place(i - 1),
            prompt=True,
        )  # fmt: skip
        refuse_special_tokens(model.tokenizer, escape.escape, alone, ids, place)
        limit = self._limit(model)
        overlong = np.array([len(own) > limit for own in ids], dtype=bool)
        ids = [own[:limit] for own in ids]
        for i in np.flatnonzero(overlong):
            texts[i] = decode_cut(model, ids[i], True)
        n_last = np.ones(len(ids), dtype=int)
        return Inputs(texts, ids, n_last, where[:, 0], overlong, place, escape.n_changed)

    def _answers(self, model, prompts, items, where, place):
        """Return prompts with their responses behind them."""
        limit = self._limit(model)
        if limit < 2:
            raise ValueError(
                f"max_length={self.max_length} leaves no token of a response beside the one before "
                "it: give 2 at least."
            )
        escape = Escaped(model, self.chat_template)
        prompts = [tuple((m[0], escape(m[1]), *m[2:]) for m in prompt) for prompt in prompts]
        written, plain = write_texts(
            model, prompts, self.chat_template, lambda i: f"prompts[{i}]", prompt=True
        )
        contexts = tokenize_texts(
            model, written, plain, lambda i: f"prompts[{i}]", prompt=True
        )  # fmt: skip
        texts = [escape(plain_text(items[i, j])) for i, j in where]
        answers = model.tokenize(texts, add_special_tokens=False, place=place)
        whole = np.array([len(contexts[i]) for i, _ in where], dtype=int)
        whole += np.array([len(answer) for answer in answers], dtype=int)
        answers = [answer[: limit - 1] for answer in answers]  # one token stays before
        room = [limit - len(answer) for answer in answers]
        before, _ = truncate_left(model, [contexts[i] for i, _ in where], room)
        overlong = whole > limit
        ids = [np.concatenate(both) for both in zip(before, answers, strict=True)]
        texts = [written[i] + text for (i, _), text in zip(where, texts, strict=True)]
        for i in np.flatnonzero(overlong):
            texts[i] = decode_cut(model, ids[i], plain[where[i, 0]])
        n_last = np.array([len(answer) + 1 for answer in answers], dtype=int)
        return Inputs(texts, ids, n_last, where[:, 0], overlong, place, escape.n_changed)

    def _evaluate(self, model, inputs, output):
        values = super()._evaluate(model, inputs, output)
        empty = inputs.n_last == (1 if self.mode == "likelihood" else 0)
        self.n_empty_ = int(empty.sum())
        if self.n_empty_:
            first = inputs.place(int(np.flatnonzero(empty)[0]))
            warn(
                f"{self.n_empty_} of {len(empty)} responses (first: {first}) are empty: they have "
                "no likelihood, and get NaN."
            )
            values[empty] = np.nan
        return values

    def _reader(self, model, inputs, output):
        if self.mode != "likelihood":
            return super()._reader(model, inputs, output)

        shared = SharedPrefix(model, inputs.ids, inputs.n_last, inputs.prompt)

        def compute(batch):
            ids, n_last = [inputs.ids[i] for i in batch], inputs.n_last[batch]
            logits = shared.logits(batch)  # (B, longest + 1, V)
            means = []
            for own, n, row in zip(ids, n_last, logits, strict=True):  # one float32 copy at a time
                if n == 1:  # an empty answer has no token to count
                    means.append(torch.zeros((), device=row.device))
                    continue
                tokens = torch.from_numpy(own[-n + 1 :].astype(np.int64)).to(row.device)
                means.append(-torch.nn.functional.cross_entropy(row[-n:-1].float(), tokens))
            return torch.stack(means).cpu().numpy()[:, None]

        return shared.lengths, self.batch_tokens, compute
