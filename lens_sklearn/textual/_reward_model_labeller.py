"""A trained reward model of language as labeller."""

import numpy as np

from ._labelling import MODEL_CONSTRAINTS, Inputs, LanguageModelLabeller, places
from ._networks import decode_cut, reward_reader, tokenize_texts, truncate_left, write_texts
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
    store : str or Path, default=None
        A folder that keeps what the network said: a call that was killed resumes after its last
        batch and scores nothing twice.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_overlong_ : int
        How many conversations of the latest ``score`` were cut.
    n_judged_ : int
        How many different ones it computed, the others being in the store.

    Notes
    -----
    The paper's text baselines are labelled by a reward model that was trained on the full set
    of more than 100,000 pairs: privileged information, which the systems that start from the
    few pairs alone do not have. Say so wherever they stand side by side.

    Contents go to the chat template as they are, as in :class:`FineTunedRewardRegressor` and
    :class:`~lens_sklearn.LLMEmbedder`, since a reward model was trained and is compared so. A
    special token within a response, such as one that ends a turn, is then read as such: take
    them out of responses that you do not trust.

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
        store=None,
        show_progress=None,
    ):
        self.model_name = model_name
        self.revision = revision
        self.max_length = max_length
        self.chat_template = chat_template
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.store = store
        self.show_progress = show_progress

    _cut = "their beginnings"

    def _limit(self, model):
        longest = self.max_length
        if longest is None:
            longest = (read_settings(self.model_name) or {"max_length": MAX_LENGTH})["max_length"]
        return model.longest_input(longest)

    def _inputs(self, model, prompts, items):
        where, place = places(items)
        conversations = [prompts[i] + items[i, j] for i, j in where]
        texts, plain = write_texts(model, conversations, self.chat_template, place)
        ids = tokenize_texts(model, texts, plain, place)
        ids, overlong = truncate_left(model, ids, self._limit(model))
        for i in np.flatnonzero(overlong):
            texts[i] = decode_cut(model, ids[i], plain[i])
        return Inputs(texts, ids, np.ones(len(ids), dtype=int), where[:, 0], overlong, place)

    def _output(self, model):
        return "reward", 1

    def _reader(self, model, inputs, output):
        compute, budget = reward_reader(model, inputs.ids, self.batch_tokens)
        return [len(ids) for ids in inputs.ids], budget, compute
