"""The language model as its own judge (Yuan et al., "Self-Rewarding Language Models", 2024)."""

from itertools import combinations

import numpy as np
from sklearn.utils._param_validation import StrOptions

from ._conversations import fill_in, plain_text
from ._labelling import MODEL_CONSTRAINTS, LanguageModelLabeller, places

POINTWISE = """Review the user's question and the response below. Rate the response from 1 to 5:
1: it is irrelevant, wrong or harmful.
2: it is related to the question but hardly answers it.
3: it answers part of the question in a useful way.
4: it answers the question well, with little to improve.
5: it is a perfect answer: helpful, correct, clear and to the point.

Question:
{prompt}

Response:
{response}

Reply with the rating alone. Rating:"""

PAIRWISE = """Which of the two responses to the user's question below is better: more helpful, \
correct, clear and harmless?

Question:
{prompt}

Response A:
{first}

Response B:
{second}

Reply with A or B alone. The better response is"""


class SelfRewardingLabeller(LanguageModelLabeller):
    """Label responses with a language model as judge, usually the one that wrote them.

    Nothing is generated or parsed: the answer is read off the next-token logits, so small
    models that do not keep to a format can judge too.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub or a local folder.
    mode : {"pointwise", "pairwise"}, default="pointwise"
        "pointwise" rates each response from 1 to 5; its score is the expected rating under the
        probabilities of the five digits. "pairwise" compares all pairs of a prompt's
        responses, each in both orders so that a preference for a position cancels out; the
        score is the mean probability of beating another. That is k (k − 1) comparisons a
        prompt instead of k ratings.
    instruction : str, default=None
        Another text for the judge, with ``{prompt}`` and ``{response}``, or ``{prompt}``,
        ``{first}`` and ``{second}`` for pairs. It should end where the digit, or A or B, is to
        come.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    max_length : int, default=4096
        Longest question to the judge in tokens; the beginnings of longer ones are cut and
        their number is logged.
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
        How many questions of the latest ``score`` were cut.
    shown_first_ : ndarray of float, shape (m, 2)
        With ``mode="pairwise"`` the probability that the response shown first is better, of each
        of the latest ``score``'s m comparisons: the earlier response first, then the later one.

    Examples
    --------
    >>> from lens_sklearn.textual import SelfRewardingLabeller
    >>> labeller = SelfRewardingLabeller(mode="pairwise")
    >>> labeller.score(["2 + 2?"], [["4", "A fish."]])  # doctest: +SKIP
    array([[0.91, 0.09]])
    """

    _parameter_constraints = MODEL_CONSTRAINTS | {
        "mode": [StrOptions({"pointwise", "pairwise"})],
        "instruction": [str, None],
    }

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        mode="pointwise",
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
        if self.mode == "pairwise":
            self._compare(model, prompts, items, scores)
            return
        instruction = self.instruction or POINTWISE
        where, place = places(items)
        questions = [
            fill_in(instruction, prompt=plain_text(prompts[i]), response=plain_text(items[i, j]))
            for i, j in where
        ]
        probabilities = self._answer_probabilities(model, questions, "12345", place)  # (m, 5)
        scores[tuple(where.T)] = probabilities @ np.arange(1, 6)

    def _compare(self, model, prompts, items, scores):
        """Give each response its mean probability of beating another of its prompt."""
        instruction = self.instruction or PAIRWISE
        matches, questions = [], []
        for i, row in enumerate(items):
            present = [j for j, item in enumerate(row) if item is not None]
            scores[i, present] = 0.5 if len(present) == 1 else 0
            for a, b in combinations(present, 2):
                for first, second in ((a, b), (b, a)):
                    matches.append((i, first, second, len(present) - 1))
                    questions.append(
                        fill_in(
                            instruction,
                            prompt=plain_text(prompts[i]),
                            first=plain_text(row[first]),
                            second=plain_text(row[second]),
                        )
                    )
        if not questions:
            self.shown_first_ = np.empty((0, 2))
            return

        def place(m):
            i, first, second, _ = matches[m]
            return f"responses[{i}][{first}] and [{second}]"

        probabilities = self._answer_probabilities(model, questions, "AB", place)  # (m, 2)
        self.shown_first_ = probabilities[:, 0].reshape(-1, 2)
        for match, (a, b) in zip(matches, probabilities, strict=True):
            i, first, second, n_others = match
            scores[i, first] += a / (2 * n_others)
            scores[i, second] += b / (2 * n_others)
