"""Language models with their heads: loaded for one piece of work, then released.

The models of text space are large and are needed one after the other (a generator, then a
labeller, then a reward model), so none stays in the process's cache: a ``with`` block holds it.
"""

import gc
import importlib
import logging
import pickle
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch

from .._hidden_states import batches_by_tokens, pad_right
from .._language_model import (
    LanguageModel,
    quiet,
    render,
    resolve_model,
    template_text,
)
from .._messages import join_contents
from .._model_folder import adapter_base
from .._model_weights import (
    check_finite,
    in_body,
    load_weights,
    load_with_report,
    refuse_strangers,
)
from .._packaged_model import packaged_folder
from .._progress import progress_bar
from .._warnings import warn

CLASSES = {"causal": "AutoModelForCausalLM", "reward": "AutoModelForSequenceClassification"}

LONGEST_REASON = 300  # characters of another package's error

logger = logging.getLogger("lens_sklearn.textual")


def import_extra(module):
    """Import an optional package; name the extra that brings it where it is missing.

    Parameters
    ----------
    module : str
        Name of the package.

    Returns
    -------
    module
        Imported.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'{module} is missing ({error}): pip install "lens-sklearn[textual]"'
        ) from error


class HeadedModel(LanguageModel):
    """A language model with its head, whose network lives as long as a ``with`` block.

    Parameters
    ----------
    spec : ModelSpec
        Which model. The device "accelerate" spreads its layers over all devices there are.
    head : {"causal", "reward"}
        A next-token head, or one that gives a text its reward.

    Attributes
    ----------
    end_ids : list of int
        The tokens that end a response, once a causal network is loaded.
    """

    def __init__(self, spec, head):
        super().__init__(spec)
        self.head = head

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._network = None
        free_memory()

    def load_for_training(self):
        """Load the network to be fine-tuned; a head that the weights lack is drawn.

        Returns
        -------
        transformers.PreTrainedModel
            With one output, on the CPU; whoever loads it owns it.

        Raises
        ------
        ValueError
            If other weights than the head's are missing, or not the model's.
        """
        import transformers

        loader = getattr(transformers, CLASSES[self.head])
        with quiet(transformers):
            return load_weights(
                loader,
                self.spec.name,
                head=self.head,
                draws_head=True,
                num_labels=1,
                dtype=getattr(torch, self.spec.dtype),
                **self._settings,
                **self._source,
            )

    def _load(self, transformers):
        loader = getattr(transformers, CLASSES[self.head])
        options = {"dtype": getattr(torch, self.spec.dtype)}
        spreads = self.spec.device == "accelerate"
        if spreads:
            import_extra("accelerate")
            options["device_map"] = "auto"
        if adapter_base(self.spec.name) is not None:
            with torch.random.fork_rng():  # weights are drawn before the saved ones replace them
                network = _load_adapter(transformers, loader, self.spec.name, options, self.head)
        else:
            network = load_weights(
                loader,
                self.spec.name,
                head=self.head,
                **options,
                **self._settings,
                **self._source,
            )
        if self.head == "reward" and network.config.num_labels != 1:
            raise ValueError(
                f"model_name={self.spec.name!r} gives {network.config.num_labels} numbers a "
                "text; a reward model gives one (num_labels=1)."
            )
        if self.head == "causal":
            self.end_ids = self._end_ids(network)
            network.generation_config = transformers.GenerationConfig()  # no settings of its own
        return network if spreads else network.to(self.spec.device)

    def _end_ids(self, network):
        """Return the tokens that end a response: the network's own and the tokenizer's."""
        ends = network.generation_config.eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
        return sorted({*ends, self.tokenizer.eos_token_id} - {None})


def headed_model(estimator, head, name=None):
    """Find the model of an estimator's parameters; no weights are loaded yet.

    Parameters
    ----------
    estimator : estimator
        Has ``model_name``, ``revision``, ``dtype`` and ``device``. The device "auto" is one
        GPU if there is one, and all of them through accelerate if there are several.
    head : {"causal", "reward"}
        Which head it needs.
    name : str, default=None
        Another name or folder than the estimator's.

    Returns
    -------
    HeadedModel
        A context manager.
    """
    name, device = estimator.model_name if name is None else name, estimator.device
    if device == "auto" and torch.cuda.device_count() > 1:
        device = "accelerate"
    spreads = device == "accelerate"
    revision = estimator.revision if name == estimator.model_name else None
    spec = resolve_model(name, revision, estimator.dtype, "auto" if spreads else device)
    return HeadedModel(spec._replace(device="accelerate") if spreads else spec, head)


def _load_adapter(transformers, loader, folder, options, head):
    """Load the model that an adapter's folder names, and put the adapter on it."""
    peft = import_extra("peft")
    with _told_of_adapter(folder):
        adapter = peft.PeftConfig.from_pretrained(folder)
        saved = peft.load_peft_weights(folder, device="cpu")
    if adapter.is_prompt_learning:
        raise ValueError(
            f"model_name={folder!r} holds an adapter of virtual tokens "
            f"(peft_type {adapter.peft_type.value}), which is not read: they change which tokens a "
            "text has. Take an adapter of weights, such as LoRA."
        )
    try:
        network, missing, unexpected = load_with_report(
            loader,
            packaged_folder(adapter.base_model_name_or_path),
            revision=adapter.revision,
            config=transformers.AutoConfig.from_pretrained(folder, local_files_only=True),
            trust_remote_code=False,
            **options,
        )
    except OSError as error:
        raise OSError(
            f"model_name={folder!r}: the adapter's model {adapter.base_model_name_or_path!r}, "
            f"which adapter_config.json names (base_model_name_or_path), cannot be loaded: {error}"
        ) from error
    own = {key.removeprefix("base_model.model.") for key in saved}
    lacking = {key for key in missing - own if not in_body(network, key)}
    if lacking and lacking == missing - own:
        raise ValueError(
            f"model_name={folder!r}: neither the adapter nor its model "
            f"{adapter.base_model_name_or_path!r} has a {head} head ({sorted(lacking)[:3]}), which "
            "would be random. Save the adapter with the head, by modules_to_save of its "
            "peft.LoraConfig."
        )
    refuse_strangers(network, adapter.base_model_name_or_path, missing - own, unexpected, head)
    with ignore_deprecations(), _told_of_adapter(folder):
        whole = peft.PeftModel.from_pretrained(network, folder)
        report = whole.load_adapter(folder, "default")
    wrong = sorted({*report.missing_keys, *report.unexpected_keys})
    if wrong:
        raise ValueError(
            f"model_name={folder!r}: {len(wrong)} of the adapter's weights do not fit the model "
            f"{adapter.base_model_name_or_path!r} ({wrong[0]!r}); it was made for another."
        )
    check_finite(whole, folder)
    return whole


@contextmanager
def _told_of_adapter(folder):
    """Name the folder of an adapter that PEFT fails to read."""
    from safetensors import SafetensorError

    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except (
        SafetensorError,
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
        if isinstance(error, pickle.UnpicklingError):  # torch advises to run what the file says
            reason = "the file *.bin holds other things than tensors, which are never run"
        raise ValueError(
            f"model_name={folder!r}: its adapter cannot be put on its model "
            f"({type(error).__name__}: {reason}). It is damaged, was made for another model, or "
            "its adapter_config.json is another adapter's."
        ) from error


@contextmanager
def ignore_deprecations():
    """Leave out the deprecations that are TRL's and PEFT's own to follow."""
    with warnings.catch_warnings():
        pattern = r"`\w*gradient_checkpointing\w*` is deprecated"
        warnings.filterwarnings("ignore", pattern, FutureWarning)
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # said by an error
        yield


def free_memory():
    """Give memory that nothing refers to back to the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ------------------------------------------------------------------------------ token ids
def token_ids(model, conversations, chat_template, place, *, prompt=False):
    """Turn conversations into token ids, special tokens once.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer is used.
    conversations : list of str or tuple of (role, content)
        The conversations; a str is read as it is.
    chat_template : "auto", str, None or False
        As in :class:`~lens_sklearn.LLMEmbedder`; without one contents are joined by line
        breaks.
    place : callable
        Names conversation number i in an error.
    prompt : bool, default=False
        Whether an answer is to follow: the text then ends where it begins.

    Returns
    -------
    list of ndarray of int32
        Token ids; a template's text gets no further special tokens.
    """
    template = template_text(chat_template, model.tokenizer)
    texts, plain = [], np.zeros(len(conversations), dtype=bool)
    for i, conversation in enumerate(conversations):
        plain[i] = template is None or isinstance(conversation, str)
        if isinstance(conversation, str):
            texts.append(conversation)
        elif template is None:
            text = join_contents(conversation, partial(place, i))
            texts.append(text + "\n" if prompt else text)
        else:
            texts.append(
                render(model, conversation, template, place, i, add_generation_prompt=prompt)
            )
    ids = [None] * len(texts)
    for special in (True, False):
        group = np.flatnonzero(plain == special)
        if len(group):
            new = model.tokenize(
                [texts[i] for i in group],
                add_special_tokens=special,
                place=lambda i, group=group: place(group[i]),
            )
            for i, tokens in zip(group, new, strict=True):
                ids[i] = tokens
    ends = {model.tokenizer.eos_token_id, model.tokenizer.sep_token_id} - {None}
    if prompt and template is None:  # some tokenizers end every text: nothing would follow
        ids = [i[:-1] if len(i) > 1 and i[-1] in ends else i for i in ids]
    return ids


def truncate_left(model, ids, limit):
    """Shorten token ids from the left, where the oldest messages are.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer's BOS or CLS stays in front of what is left.
    ids : list of ndarray of int
        Token ids.
    limit : int or list of int
        Most tokens of each.

    Returns
    -------
    ids : list of ndarray of int
        None longer than its limit.
    overlong : ndarray of bool, shape (len(ids),)
        Which were cut.
    """
    limits = np.broadcast_to(limit, len(ids))
    overlong = np.array([len(i) > n for i, n in zip(ids, limits, strict=True)], dtype=bool)
    short = list(ids)
    for i in np.flatnonzero(overlong):
        keeps = int(ids[i][0]) in model.front_tokens and limits[i] > 1
        end = ids[i][len(ids[i]) - limits[i] + keeps :]
        short[i] = np.concatenate([ids[i][:1], end]) if keeps else end
    return short, overlong


def report_overlong(overlong, limit, place):
    """Log how many texts were cut, and the first of them.

    Parameters
    ----------
    overlong : ndarray of bool, shape (n,)
        Which were.
    limit : int
        The most tokens a text may have.
    place : callable
        Names text number i.

    Returns
    -------
    int
        How many.
    """
    if overlong.any():
        logger.warning(
            "%d of %d texts (first: %s) are longer than %d tokens; their beginnings were cut.",
            overlong.sum(), len(overlong), place(int(np.flatnonzero(overlong)[0])), limit,
        )  # fmt: skip
    return int(overlong.sum())


# ------------------------------------------------------------------------------ batches
def run_batches(lengths, batch_tokens, compute, *, show_progress=None, desc="Scoring"):
    """Compute batch by batch; a batch that memory does not hold is halved, and so are the rest.

    Parameters
    ----------
    lengths : sequence of int
        Tokens that each item takes.
    batch_tokens : int
        Tokens of one batch, padding included.
    compute : callable
        Takes an array of indices of items.
    show_progress : bool, default=None
        Whether a bar is shown; None shows it on a terminal when there are many items.
    desc : str, default="Scoring"
        What the bar says.

    Yields
    ------
    batch : ndarray of int
        Indices of items.
    result : object
        What `compute` returned for them.

    Warns
    -----
    RuntimeWarning
        If memory ran out and the work goes on with smaller batches.
    """
    lengths = np.asarray(lengths, dtype=int)
    batches = batches_by_tokens(lengths, batch_tokens)
    with progress_bar(show_progress, len(lengths), desc) as bar:
        while batches:
            batch, result, out_of_memory = batches[0], None, False
            try:
                result = compute(batch)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error) or len(batch) == 1:
                    raise
                out_of_memory = True
            if out_of_memory:  # out of the except block, whose traceback holds the batch's tensors
                free_memory()
                rest = np.concatenate(batches)
                budget = int(lengths[batch].max()) * (len(batch) // 2)
                warn(
                    f"{desc}: out of memory with {len(batch)} texts at a time; going on with "
                    f"{len(batch) // 2} (batch_tokens={budget}).",
                    RuntimeWarning,
                )
                batches = [rest[part] for part in batches_by_tokens(lengths[rest], budget)]
                continue
            batches.pop(0)
            yield batch, result
            bar.update(len(batch))


def _is_out_of_memory(error):
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(w in str(error).lower() for w in words)


def pad_left(ids, pad_id):
    """Put token ids of several lengths into one array that ends where they end.

    Parameters
    ----------
    ids : list of ndarray of int
        Token ids.
    pad_id : int
        Fills the left; only the mask tells padding from tokens.

    Returns
    -------
    tokens, mask : ndarray of int64, shape (len(ids), longest)
        Token ids and 1 where they are.
    """
    tokens, mask = pad_right([i[::-1] for i in ids], pad_id)
    return tokens[:, ::-1].copy(), mask[:, ::-1].copy()


def last_logits(model, ids, n_last=1):
    """Run one batch and return the logits that follow its last tokens.

    Parameters
    ----------
    model : HeadedModel
        With a causal head.
    ids : list of ndarray of int
        Token ids.
    n_last : int, default=1
        How many positions, counted from the end.

    Returns
    -------
    Tensor of float, shape (len(ids), n_last, vocabulary)
        On the network's device.
    """
    tokens, mask = (torch.from_numpy(a) for a in pad_left(ids, model.pad_id))
    network = model.network
    with torch.inference_mode():
        return network(
            input_ids=tokens.to(network.device),
            attention_mask=mask.to(network.device),
            position_ids=(mask.cumsum(1) - 1).clamp(min=0).to(network.device),
            use_cache=False,
            logits_to_keep=n_last,
        ).logits


# ------------------------------------------------------------------------------ rewards
def predict_rewards(model, ids, batch_tokens, show_progress=None):
    """Score token ids with a reward model; scores do not depend on the batch.

    Parameters
    ----------
    model : HeadedModel
        With a reward head.
    ids : list of ndarray of int
        Token ids.
    batch_tokens : int
        Tokens of one batch.
    show_progress : bool, default=None
        Whether a bar is shown.

    Returns
    -------
    ndarray of float64, shape (len(ids),)
        Rewards.
    """
    network = model.network
    pad_id = network.config.get_text_config().pad_token_id
    if pad_id is not None and pad_id >= (model.n_tokens or np.inf):
        pad_id = None  # it was added, and the network has no embedding for it
    # transformers finds a text's last token as the last one that is not `pad_token_id`; a
    # network that has none takes the batch's last column, so its texts go one by one.
    lengths = [len(i) for i in ids]
    budget = batch_tokens if pad_id is not None else 1

    def compute(batch):
        tokens, mask = pad_right([ids[i] for i in batch], 0 if pad_id is None else pad_id)
        with torch.inference_mode():
            logits = network(
                input_ids=torch.from_numpy(tokens).to(network.device),
                attention_mask=torch.from_numpy(mask).to(network.device),
            ).logits
        return logits[:, 0].float().cpu().numpy()

    rewards = np.empty(len(ids))
    for batch, new in run_batches(lengths, budget, compute, show_progress=show_progress):
        rewards[batch] = new
    return rewards
