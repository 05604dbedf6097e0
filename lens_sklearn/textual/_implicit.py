"""Preferences that a language model holds without being trained to judge."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from ._conversations import plain_text
from ._labelling import MODEL_CONSTRAINTS, Escaped, Inputs, QuestionLabeller, places
from ._networks import tokenize_texts, truncate_left, write_texts
from ._shared_prefix import SharedPrefix

P_YES = """Question:
{prompt}

Response:
{response}

Is this response a good answer to the question? Reply with Yes or No alone. Answer:"""


class ImplicitPreferenceLabeller(QuestionLabeller):
    """Label responses by what a language model implicitly prefers (the paper's IPO).

    TRL's ``loss_type="ipo"`` is another thing of the same name: identity preference
    optimisation.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub or a local folder.
    mode : {"p_yes", "likelihood"}, default="p_yes"
        "p_yes" scores P(Yes) / (P(Yes) + P(No)) from the next-token logits that follow the
        question whether the response is good. "likelihood" is the mean log-likelihood of the
        response's tokens given the prompt: their sum would favour short responses.
    instruction : str, default=None
        Another question for "p_yes", with ``{prompt}`` and ``{response}``. It should end where
        Yes or No is to come. "likelihood" has no question and refuses one.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    max_length : int, default=4096
        Longest text in tokens. Of a longer question the end of the response is cut, and the
        beginning of the prompt where it takes more than half of what the instruction leaves.
        For a likelihood the prompt's beginning is cut, and the end of a response that is too
        long by itself. Their number is logged.
    chat_template : "auto", str, None or False, default="auto"
        As in :class:`~lens_sklearn.LLMEmbedder`.
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
    n_judged_ : int
        How many different texts it computed, the others being in the store.

    Examples
    --------
    >>> from lens_sklearn.textual import ImplicitPreferenceLabeller
    >>> labeller = ImplicitPreferenceLabeller(mode="likelihood")
    >>> labeller.score(["2 + 2?"], [["4", "A fish."]]).shape  # doctest: +SKIP
    (1, 2)
    """

    _parameter_constraints = MODEL_CONSTRAINTS | {
        "mode": [StrOptions({"p_yes", "likelihood"})],
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
        return "the beginnings of their prompts" if self.mode == "likelihood" else super()._cut

    def _output(self, model):
        if self.mode != "likelihood":
            return super()._output(model)
        if self.instruction is not None:
            raise ValueError(
                "instruction has no effect with mode='likelihood', which puts no question: "
                "leave it out."
            )
        return "mean log-likelihood", 1

    def _inputs(self, model, prompts, items):
        where, place = places(items)
        if self.mode == "likelihood":
            return self._answers(model, prompts, items, where, place)
        matches = [(i, {"response": j}) for i, j in where]
        return self._ask(model, self.instruction or P_YES, prompts, items, matches, place)

    def _answers(self, model, prompts, items, where, place):
        """Return prompts with their responses behind them."""
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
        limit = model.longest_input(self.max_length)
        whole = np.array([len(contexts[i]) for i, _ in where], dtype=int)
        whole += np.array([len(answer) for answer in answers], dtype=int)
        answers = [answer[: limit - 1] for answer in answers]  # one token stays before
        room = [limit - len(answer) for answer in answers]
        before, _ = truncate_left(model, [contexts[i] for i, _ in where], room)
        overlong = whole > limit
        ids = [np.concatenate(both) for both in zip(before, answers, strict=True)]
        texts = [written[i] + text for (i, _), text in zip(where, texts, strict=True)]
        for i in np.flatnonzero(overlong):
            texts[i] = model.tokenizer.decode(ids[i])
        n_last = np.array([len(answer) + 1 for answer in answers], dtype=int)
        return Inputs(texts, ids, n_last, where[:, 0], overlong, place, escape.n_changed)

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
