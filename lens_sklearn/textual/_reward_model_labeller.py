"""A trained reward model of language as labeller."""

from ._labelling import MODEL_CONSTRAINTS, LanguageModelLabeller, places
from ._networks import predict_rewards
from ._prediction_settings import read_settings

MAX_LENGTH = 4096  # of models that do not say


class RewardModelLabeller(LanguageModelLabeller):
    """Label responses with a trained reward model, such as Skywork's.

    Any sequence-classification model with one output serves. (:class:`RewardLabeller` labels
    with a reward that this package fitted, a whole Pipeline for example.)

    Parameters
    ----------
    model_name : str or Path, default="Skywork/Skywork-Reward-V2-Llama-3.1-8B"
        Name on the Hugging Face Hub, a local folder, or one that a
        :class:`FineTunedRewardRegressor` has saved.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    max_length : int, default=None
        Longest conversation in tokens; the beginnings of longer ones are cut and their number
        is logged. None is what a :class:`FineTunedRewardRegressor` has saved in the folder, and
        4096 for other models.
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
        How many conversations of the latest ``score`` were cut.

    Notes
    -----
    The paper's text baselines are labelled by a reward model that was trained on the full set
    of more than 100,000 pairs: privileged information, which the systems that start from the
    few pairs alone do not have. Say so wherever they stand side by side.

    Examples
    --------
    >>> from lens_sklearn.textual import RewardModelLabeller
    >>> labeller = RewardModelLabeller()
    >>> labeller.score(["2 + 2?"], [["4", "5", "A fish."]]).shape  # doctest: +SKIP
    (1, 3)
    """

    _parameter_constraints = MODEL_CONSTRAINTS | {
        "max_length": [*MODEL_CONSTRAINTS["max_length"], None]
    }
    head = "reward"

    def __init__(
        self,
        model_name="Skywork/Skywork-Reward-V2-Llama-3.1-8B",
        *,
        revision=None,
        max_length=None,
        chat_template="auto",
        batch_tokens=16384,
        dtype="auto",
        device="auto",
        show_progress=None,
    ):
        self.model_name = model_name
        self.revision = revision
        self.max_length = max_length
        self.chat_template = chat_template
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.show_progress = show_progress

    def _longest(self):
        if self.max_length is not None:
            return self.max_length
        return (read_settings(self.model_name) or {"max_length": MAX_LENGTH})["max_length"]

    def _score(self, model, prompts, items, scores):
        where, place = places(items)
        ids = self._ids(model, [prompts[i] + items[i, j] for i, j in where], place)
        scores[tuple(where.T)] = predict_rewards(model, ids, self.batch_tokens, self.show_progress)
