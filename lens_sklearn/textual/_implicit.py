"""Preferences that a language model holds without being trained to judge."""

import numpy as np
import torch
from sklearn.utils._param_validation import StrOptions

from ._conversations import fill_in, plain_text
from ._labelling import MODEL_CONSTRAINTS, LanguageModelLabeller, places
from ._networks import last_logits, report_overlong, run_batches, token_ids, truncate_left

P_YES = """Question:
{prompt}

Response:
{response}

Is this response a good answer to the question? Reply with Yes or No alone. Answer:"""


class ImplicitPreferenceLabeller(LanguageModelLabeller):
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
        Longest text in tokens; the beginnings of longer ones are cut and their number is
        logged.
    chat_template : "auto", str, None or False, default="auto"
        As in :class:`~lens_sklearn.LLMEmbedder`.
    batch_tokens : int, default=16384
        Tokens of one batch. When memory runs out, batches are halved with a warning.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision; "auto" is bfloat16 on CUDA and float32 on the CPU.
    device : str, default="auto"
        As in :class:`ResponseGenerator`.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_overlong_ : int
        How many texts of the latest ``score`` were cut.

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
        self.show_progress = show_progress

    def _score(self, model, prompts, items, scores):
        where, place = places(items)
        if self.mode == "likelihood":
            if self.instruction is not None:
                raise ValueError(
                    "instruction has no effect with mode='likelihood', which puts no question: "
                    "leave it out."
                )
            contexts = token_ids(
                model, prompts, self.chat_template, lambda i: f"prompts[{i}]", prompt=True
            )
            answers = [plain_text(items[i, j]) for i, j in where]
            scores[tuple(where.T)] = self._likelihoods(
                model, [contexts[i] for i, _ in where], answers, place
            )
            return
        instruction = self.instruction or P_YES
        questions = [
            fill_in(instruction, prompt=plain_text(prompts[i]), response=plain_text(items[i, j]))
            for i, j in where
        ]
        probabilities = self._answer_probabilities(model, questions, ("Yes", "No"), place)
        scores[tuple(where.T)] = probabilities[:, 0]

    def _likelihoods(self, model, contexts, answers, place):
        """Return the mean log-likelihood of the answers' tokens, given their contexts."""
        answers = model.tokenize(answers, add_special_tokens=False, place=place)
        answers, _ = truncate_left(model, answers, self._limit - 1)  # one token stays before
        room = [self._limit - len(answer) for answer in answers]
        lengths = [len(c) + len(a) for c, a in zip(contexts, answers, strict=True)]
        self.n_overlong_ = report_overlong(np.array(lengths) > self._limit, self._limit, place)
        contexts, _ = truncate_left(model, contexts, room)
        ids = [np.concatenate(both) for both in zip(contexts, answers, strict=True)]

        def compute(batch):
            longest = max(len(answers[i]) for i in batch)
            logits = last_logits(model, [ids[i] for i in batch], longest + 1)  # (B, longest + 1, V)
            means = []
            for i, row in zip(batch, logits, strict=True):  # one float32 copy at a time
                n = len(answers[i])
                if n == 0:  # an empty answer has no token to count
                    means.append(torch.zeros((), device=row.device))
                    continue
                own = torch.from_numpy(answers[i].astype(np.int64)).to(row.device)
                means.append(-torch.nn.functional.cross_entropy(row[-n - 1 : -1].float(), own))
            return torch.stack(means).cpu().numpy()

        likelihoods = np.empty(len(ids))
        for batch, new in run_batches(
            [len(i) for i in ids], self.batch_tokens, compute, show_progress=self.show_progress
        ):
            likelihoods[batch] = new
        return likelihoods
