"""A language model fine-tuned into a reward model, with TRL's RewardTrainer inside."""

import json
import os
import shutil
import tempfile
import weakref
from numbers import Integral, Real
from pathlib import Path
from uuid import uuid4

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import check_is_fitted

from .._array_store import store_keys
from .._atomic_fit import atomic_fit
from .._augmented_rows import AugmentedRows
from .._device import draw_seed
from .._language_model import quiet, template_text
from .._rows import read_texts
from .._warnings import warn
from ..metrics import best_of_n_score, leave_out_dropped, pair_accuracy_score
from ._extras import import_extra
from ._networks import (
    free_memory,
    headed_model,
    predict_rewards,
    report_overlong,
    token_ids,
    truncate_left,
)
from ._prediction_settings import SETTINGS, read_settings, write_settings
from ._reward_training import HISTORY, MODEL, TRAINING_STATE, train_reward_model


class FineTunedRewardRegressor(RegressorMixin, BaseEstimator):
    r"""Bradley–Terry reward model made of a language model, fully fine-tuned or by LoRA.

    The loss is that of :class:`~lens_sklearn.BTRewardRegressor`, on text instead of embeddings;
    training is TRL's ``RewardTrainer``.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub or a local folder. A model without a reward head gets one,
        drawn by `random_state`.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    lora : dict, default=None
        None trains all weights. A dict trains a low-rank adapter: it holds arguments of
        ``peft.LoraConfig``, beside ``r=32``, ``lora_alpha=16`` and
        ``modules_to_save=["score"]``, so ``{}`` will do.
    learning_rate : float, default=None
        None is 1e-5, and 1e-4 with LoRA.
    max_epochs : int, default=1
        Passes over the pairs.
    batch_size : int, default=8
        Pairs a step (and device). Where memory may not hold them, give
        ``training_arguments={"auto_find_batch_size": True}``: the trainer then starts anew
        with smaller batches.
    max_length : int, default=1024
        Longest conversation in tokens; the beginnings of longer ones are cut and their number
        is logged. It is saved beside the weights, since predictions depend on it.
    chat_template : "auto", str, None or False, default="auto"
        As in :class:`~lens_sklearn.LLMEmbedder`. The folder of the weights has a tokenizer with
        the template in force, or with none.
    weight_decay : float, default=0.0
        Of AdamW.
    center_coefficient : float, default=0.0
        Weight of the mean of ``(r0 + r1)²``, which keeps rewards near 0.
    gradient_checkpointing : bool, default=False
        Compute activations twice to save memory.
    training_arguments : dict, default=None
        Further arguments of ``trl.RewardConfig``, such as ``gradient_accumulation_steps`` or
        ``deepspeed``; they win over those above.
    checkpoint_steps : int, default=100
        Steps between two checkpoints, where there is a `store`.
    store : str or Path, default=None
        A folder for checkpoints and trained models. A fit that was interrupted resumes from its
        latest checkpoint, and one that is done is not done again; fits with other parameters
        or rows have a folder of their own in it. Needs a ``random_state``. None is a temporary
        folder that goes with the estimator.
    batch_tokens : int, default=16384
        Tokens of one batch in ``predict``. When memory runs out, batches are halved with a
        warning.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the weights. On CUDA float32 weights are trained with bfloat16
        activations.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where to compute; "auto" is a GPU if there is one. On several GPUs start the script by
        ``accelerate launch``.
    callbacks : list of transformers.TrainerCallback, default=None
        Further callbacks of the training.
    random_state : int, RandomState instance or None, default=None
        Draws the head, the adapter and the order of pairs.
    verbose : int, default=0
        1 shows the trainer's progress and logs.

    Attributes
    ----------
    folder_ : str
        Folder of the trained model, an ordinary Hugging Face one: ``from_pretrained`` of
        ``transformers``, or of ``peft`` with LoRA, reads it, and so does
        :class:`RewardModelLabeller`.
    history_ : list of dict
        What the trainer logged: ``loss``, ``accuracy``, ``margin`` and more.
    n_overlong_ : int
        How many conversations of the latest ``fit`` or ``predict`` were cut.

    See Also
    --------
    lens_sklearn.BTRewardRegressor : The same on frozen embeddings.

    Notes
    -----
    The weights are in `folder_` and never in a pickle: ``joblib.dump`` writes the folder's
    name. Set `store`, or use ``save``, to keep them longer than the process.

    The trainer seeds the global generators of Python, numpy and torch; their states are
    restored after the fit. TRL reports its use to the Hugging Face Hub unless the environment
    variable ``HF_HUB_DISABLE_TELEMETRY`` is 1.

    Examples
    --------
    >>> from lens_sklearn.textual import FineTunedRewardRegressor
    >>> reward = FineTunedRewardRegressor(lora={"r": 8}, store="rewards", random_state=0)
    >>> reward.fit(rows).score(candidates, gold)  # doctest: +SKIP
    1.28
    """

    _parameter_constraints = {
        "model_name": [str, os.PathLike],
        "revision": [str, None],
        "lora": [dict, None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_length": [Interval(Integral, 1, None, closed="left")],
        "chat_template": [str, None, Options(bool, {False})],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "center_coefficient": [Interval(Real, 0, None, closed="left")],
        "gradient_checkpointing": ["boolean"],
        "training_arguments": [dict, None],
        "checkpoint_steps": [Interval(Integral, 1, None, closed="left")],
        "store": [str, os.PathLike, None],
        "batch_tokens": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"float32", "bfloat16"})],
        "device": [StrOptions({"auto", "cpu", "cuda"})],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        revision=None,
        lora=None,
        learning_rate=None,
        max_epochs=1,
        batch_size=8,
        max_length=1024,
        chat_template="auto",
        weight_decay=0.0,
        center_coefficient=0.0,
        gradient_checkpointing=False,
        training_arguments=None,
        checkpoint_steps=100,
        store=None,
        batch_tokens=16384,
        dtype="float32",
        device="auto",
        callbacks=None,
        random_state=None,
        verbose=0,
    ):
        self.model_name = model_name
        self.revision = revision
        self.lora = lora
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.max_length = max_length
        self.chat_template = chat_template
        self.weight_decay = weight_decay
        self.center_coefficient = center_coefficient
        self.gradient_checkpointing = gradient_checkpointing
        self.training_arguments = training_arguments
        self.checkpoint_steps = checkpoint_steps
        self.store = store
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        """Fine-tune the model on preference rows.

        Parameters
        ----------
        X : rows of text
            Preference rows, synthetic ones included.
        y : array-like of shape (n,), default=None
            1 where ``chosen`` wins and 0 where ``rejected`` does; None is 1. Soft targets are
            refused: TRL's loss has none.
        sample_weight : array-like of shape (n,), default=None
            How often each pair counts, a whole number: TRL's loss has no weights, so pairs are
            repeated. For augmented rows a value a row or a value an original.
        groups : None
            Refused, since it would have no effect: groups keep prompts whole in a validation
            split, and this estimator trains ``max_epochs`` on all pairs. It is here because
            the ``fit`` of all other rewards has it; in a Pipeline with metadata routing leave
            it unrequested.

        Returns
        -------
        FineTunedRewardRegressor
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed rows, other targets or weights, `groups`, or ``store`` without
            ``random_state``.
        ImportError
            If the extra ``textual`` is not installed.

        Warns
        -----
        UserWarning
            If chosen and rejected are different texts of the same tokens; their number and the
            first are named.
        """
        import_extra("trl")  # fails before anything is read
        if groups is not None:
            raise ValueError(
                "groups has no effect: FineTunedRewardRegressor holds no pairs out, so there is "
                "no split in which prompts could stay whole. Leave it out, and give groups to "
                "the cross-validation around it."
            )
        if self.store is not None and self.random_state is None:
            raise ValueError(
                "store is given and random_state is None: an interrupted fit would begin anew "
                "with other draws. Give an int random_state."
            )
        table = read_texts(X)
        if table.kind != "pairs":
            raise ValueError(
                f"expected preference rows (chosen, rejected) to fit, got {table.kind}."
            )
        items = _put_winner_first(table.items, y)
        repeats = _repetitions(sample_weight, X, len(items))
        model = headed_model(self, "reward", fresh=True)
        seed = draw_seed(self.random_state)
        model.tokenizer.chat_template = template_text(self.chat_template, model.tokenizer)
        ids = self._ids(model, items)
        _warn_of_equal_pairs(items, ids, self.max_length)
        ids = [ids[2 * i + column] for i in repeats for column in (0, 1)]
        folder = self._folder(model, seed, ids)
        if not (folder / MODEL).is_dir():
            train_reward_model(self, model, ids, folder, seed)
            free_memory()
        if read_settings(folder / MODEL) is None:  # trained by an earlier version
            write_settings(folder / MODEL, self)
        self.folder_ = str(folder / MODEL)
        self.history_ = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
        return self

    def _ids(self, model, items):
        """Return token ids a text, in the order of `items` laid flat."""
        where = [tuple(map(int, np.unravel_index(i, items.shape))) for i in range(items.size)]

        def place(i):
            return "row " + ", ".join(map(str, where[i]))

        ids = token_ids(model, list(items.flat), self.chat_template, place)
        limit = model.longest_input(self.max_length)
        ids, overlong = truncate_left(model, ids, limit)
        self.n_overlong_ = report_overlong(overlong, limit, place)
        return ids

    def _folder(self, model, seed, ids):
        """Return the folder of this very fit: by what it depends on, or a temporary one."""
        if self.store is None:
            folder = tempfile.mkdtemp(prefix="lens_sklearn-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            return Path(folder)
        machine = {"store", "device", "callbacks", "verbose", "random_state", "batch_tokens"}
        settings = {k: v for k, v in self.get_params(deep=False).items() if k not in machine}
        settings |= {"model_name": model.spec.fingerprint or model.spec.name, "seed": seed}
        settings["template"] = model.tokenizer.chat_template
        settings = json.loads(json.dumps(settings, default=str))
        (key,) = store_keys(settings, [[i.tolist() for i in ids]])
        folder = Path(self.store).expanduser().resolve() / key.hex()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def predict(self, X):
        """Return the rewards of texts.

        The network stays loaded until another is used (:func:`release_networks`).

        Parameters
        ----------
        X : rows of text
            Candidate rows, preference rows or nested lists of texts.

        Returns
        -------
        ndarray of float64, shape (n, N), (n, 2) or the lists' own shape
            Rewards; NaN is the padding of ragged candidate lists. They do not depend on the
            batch but by rounding.

        Raises
        ------
        FileNotFoundError
            If the folder of the weights is gone.
        """
        check_is_fitted(self, "folder_")
        if not Path(self.folder_).is_dir():
            raise FileNotFoundError(
                f"the fine-tuned weights are not in {self.folder_} any more. A pickle holds "
                "their folder's name alone, and without a store the folder is temporary: set "
                "store before fitting, or keep them by save(folder)."
            )
        items = read_texts(X).items
        rewards = np.full(items.shape, np.nan)
        present = items != None  # noqa: E711 - element by element
        with headed_model(self, "reward", self.folder_) as model:
            ids = self._ids(model, items[present])
            rewards[present] = predict_rewards(model, ids, self.batch_tokens)
        bad = np.argwhere(present & ~np.isfinite(rewards))
        if len(bad):
            raise ValueError(
                f"the reward of row {', '.join(map(str, bad[0]))} is {rewards[tuple(bad[0])]}; its "
                "language model overflows. Load it in another dtype."
            )
        return rewards

    def decision_function(self, X):
        """Return the log-odds that ``chosen`` wins.

        Parameters
        ----------
        X : rows of text
            Preference rows.

        Returns
        -------
        ndarray of float64, shape (n,)
            The reward of ``chosen`` less that of ``rejected``.

        Raises
        ------
        ValueError
            If the rows are no pairs.
        """
        rewards = self.predict(X)
        if rewards.ndim != 2 or rewards.shape[1] != 2:
            raise ValueError(f"expected pairs; got rewards of shape {rewards.shape}.")
        return rewards[:, 0] - rewards[:, 1]

    def predict_proba(self, X):
        """Return the probabilities of both outcomes of pairs.

        Parameters
        ----------
        X : rows of text
            Preference rows.

        Returns
        -------
        ndarray of float64, shape (n, 2)
            Probability that ``rejected`` wins, and that ``chosen`` wins, in the order of
            scikit-learn's classes 0 and 1 of "chosen wins".
        """
        log_odds = self.decision_function(X)
        return np.stack([expit(-log_odds), expit(log_odds)], axis=1)

    def score(self, X, y=None, sample_weight=None):
        """Return the mean gold reward of the Best-of-N pick, or pair accuracy without gold.

        Both are larger for a better model, as in :class:`~lens_sklearn.BTRewardRegressor`.

        Parameters
        ----------
        X : rows of text
            Candidate rows with gold rewards, or preference rows.
        y : array-like of shape (n, N) or (n,), default=None
            Gold rewards of the candidates, or the probability that ``chosen`` wins (None is 1).
        sample_weight : array-like of shape (n,), default=None
            Weight of each prompt or pair.

        Returns
        -------
        float
            Mean gold reward of the candidate with the largest reward, or the share of pairs
            ordered rightly, ties counting half.

        Raises
        ------
        ValueError
            If candidates come without gold: two of each would be taken for pairs.
        """
        if np.ndim(y) < 2 and read_texts(X).kind != "pairs":
            raise ValueError("candidates are scored against their gold rewards: give them as y.")
        score = pair_accuracy_score if np.ndim(y) < 2 else best_of_n_score
        rewards, y, kept = leave_out_dropped(self.predict(X), y)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)[kept]
        return score(rewards, y, sample_weight=sample_weight)

    def save(self, folder):
        """Copy the trained model to a folder of its own, an ordinary Hugging Face one.

        Its tokenizer has the chat template in force, and ``lens_sklearn.json`` has `max_length`
        and `dtype`, which ``load`` and :class:`RewardModelLabeller` take from there.

        Parameters
        ----------
        folder : str or Path
            Must not exist yet.

        Raises
        ------
        FileExistsError
            If it does.
        """
        check_is_fitted(self, "folder_")
        folder = Path(folder).expanduser()
        if folder.exists():
            raise FileExistsError(f"{folder}: it exists already. Give a folder that does not.")
        partial = folder.with_name(f".{folder.name}.{uuid4().hex}.partial")
        try:
            shutil.copytree(self.folder_, partial, ignore=shutil.ignore_patterns(*TRAINING_STATE))
            self._put_template(partial)
            write_settings(partial, self)
            os.replace(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def _put_template(self, folder):
        """Give the tokenizer in a folder the chat template in force where it has another."""
        import transformers

        with quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            template = template_text(self.chat_template, tokenizer)
            if template == template_text("auto", tokenizer):
                return
            tokenizer.chat_template = template
            for path in (folder / "chat_template.jinja", folder / "additional_chat_templates"):
                path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, True)
            tokenizer.save_pretrained(folder)

    @classmethod
    def load(cls, folder, **params):
        """Make a fitted estimator of a saved folder; no code from it is run.

        Parameters
        ----------
        folder : str or Path
            As ``save`` wrote it, or any reward model of ``transformers`` or ``peft``.
        **params : dict
            Parameters of the estimator. Without them `max_length` and `dtype` are those that
            the model was saved with, and the chat template is that of the folder's tokenizer.

        Returns
        -------
        FineTunedRewardRegressor
            Fitted.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ValueError
            If the folder is no model, its ``lens_sklearn.json`` is malformed, or a parameter is.

        Warns
        -----
        UserWarning
            If the folder has no ``lens_sklearn.json``, as those of earlier versions and of
            other packages have none, and `max_length` is not given: the default is taken.
        """
        if not Path(folder).expanduser().is_dir():
            raise FileNotFoundError(f"{folder}: no such folder.")
        saved = read_settings(folder)
        estimator = cls(str(folder), **((saved or {}) | params))
        validate_parameter_constraints(
            cls._parameter_constraints, estimator.get_params(deep=False), cls.__name__
        )
        headed_model(estimator, "reward")  # says what is missing in a folder that is no model
        if saved is None and "max_length" not in params:
            warn(
                f"{folder} has no {SETTINGS}, so it is not known at how many tokens its model "
                f"cuts a text: the default is taken, max_length={estimator.max_length}. Give the "
                "max_length that it was trained with."
            )
        estimator.folder_ = str(Path(folder).expanduser().resolve())
        estimator.history_, estimator.n_overlong_ = [], 0
        return estimator

    def __getstate__(self):
        if getattr(self, "folder_", None) is not None and self.store is None:
            temporary = Path(self.folder_).is_relative_to(tempfile.gettempdir())
            if temporary and Path(self.folder_).name == MODEL:
                warn(
                    f"a pickle does not hold the fine-tuned weights, and {self.folder_} goes "
                    "with this estimator: set store before fitting, or keep them by save(folder).",
                )
        return super().__getstate__()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.target_tags.required = False
        tags.regressor_tags.poor_score = True
        return tags


def _warn_of_equal_pairs(items, ids, max_length):
    """Count pairs of different texts whose token ids (2n) are the same."""
    equal = [
        i for i, (chosen, rejected) in enumerate(items)
        if chosen != rejected and np.array_equal(ids[2 * i], ids[2 * i + 1])
    ]  # fmt: skip
    if equal:
        warn(
            f"in {len(equal)} of {len(items)} rows (first: row {equal[0]}) chosen and rejected are "
            "different texts of the same tokens, so these pairs say nothing. What tells them "
            f"apart was cut off (max_length={max_length}), or left out by the chat template or "
            "the tokenizer."
        )


def _put_winner_first(items, y):
    """Return pairs (n, 2) of texts with the winner in column 0."""
    if y is None:
        return items
    y = np.asarray(y, dtype=float)
    if y.shape != (len(items),):
        raise ValueError(f"y must have shape ({len(items)},), a label a row; got {y.shape}.")
    soft = np.flatnonzero((y != 0) & (y != 1))
    if len(soft):
        raise ValueError(
            f"y[{soft[0]}] is {y[soft[0]]}: TRL's loss has hard labels alone, 1 where chosen wins "
            "and 0 where rejected does."
        )
    return np.where(y[:, None] == 1, items, items[:, ::-1])


def _repetitions(sample_weight, X, n):
    """Return indices of the rows (n,), each as often as its weight says."""
    if sample_weight is None:
        return np.arange(n)
    weight = np.asarray(sample_weight, dtype=float)
    bad = np.flatnonzero(~((weight >= 0) & (weight < np.inf) & (weight == np.floor(weight))))
    if len(bad):
        raise ValueError(
            f"sample_weight[{bad[0]}] is {weight.ravel()[bad[0]]}: TRL's loss has no weights, so "
            "a weight is how often the pair is repeated, a whole number."
        )
    if isinstance(X, AugmentedRows):
        weight = X.hand_down(weight)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {weight.shape}.")
    if not weight.any():
        raise ValueError("the weights of all pairs are zero; at least one must be positive.")
    return np.repeat(np.arange(n), weight.astype(int))
