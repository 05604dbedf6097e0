"""The language model as its own judge (Yuan et al., "Self-Rewarding Language Models", 2024)."""

from sklearn.utils._param_validation import StrOptions

from ._judge import Judge
from ._labelling import MODEL_CONSTRAINTS, QuestionLabeller


class SelfRewardingLabeller(Judge, QuestionLabeller):
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
        Longest question to the judge in tokens. Of longer ones the ends of the responses are
        cut, those of two to equal room, and the beginning of the prompt where it takes more
        than half of what the instruction leaves; their number is logged.
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
        How many questions of the latest ``score`` were cut.
    n_escaped_ : int
        How many of its prompts and responses hold special tokens of the tokenizer. They are
        data and no turns of the judge's conversation, so these are written as ordinary
        characters.
    n_judged_ : int
        How many different questions it computed, the others being in the store.
    position_bias_ : float
        Of "pairwise": mean probability that the response shown first wins, less ½. Each pair
        is asked in both orders, so 0 is no preference for a position. NaN without a pair.
    shown_first_ : ndarray of float, shape (m, 2)
        Of "pairwise": the probability that the response shown first is better, of each of the
        latest ``score``'s 2m comparisons: the earlier response first, then the later one.

    Notes
    -----
    Yuan et al. (2024) let the judge reason and write a score from 0 to 5 by an additive
    rubric; here it answers by a single token, and the question is in other words than theirs.

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

    def _inputs(self, model, prompts, items):
        instruction, matches, place = self._matches(items)
        return self._ask(model, instruction, prompts, items, matches, place)
