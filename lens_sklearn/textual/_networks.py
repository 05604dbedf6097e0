"""Language models with their heads, texts as their token ids, and batches of them."""

import logging
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
from .._model_weights import load_weights
from .._progress import progress_bar
from .._warnings import warn
from ._adapters import load_adapter
from ._extras import import_extra
from ._kept_networks import (
    Kept,
    begin_use,
    end_use,
    find_kept,
    free_memory,
    release_idle,
    take_network,
)

CLASSES = {"causal": "AutoModelForCausalLM", "reward": "AutoModelForSequenceClassification"}

logger = logging.getLogger("lens_sklearn.textual")


class HeadedModel(LanguageModel):
    """A language model with its head; a ``with`` block says how long its network is in use.

    The network is loaded by the first who asks for it. `_kept_networks` says when it goes.

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
        self.head, self.end_ids = head, []
        self.key = (spec, head)

    def __enter__(self):
        begin_use(self.key)
        return self

    def __exit__(self, *exception):
        if not end_use(self.key):
            self._network = None

    @property
    def network(self):
        """The network in evaluation mode; loaded by the first who asks."""
        kept = take_network(self, self._load_kept)
        self._network, self.end_ids = kept.network, kept.end_ids
        return kept.network

    def _load_kept(self):
        import transformers

        with quiet(transformers):
            network = self._load(transformers).eval()
        return Kept(self, network, self.end_ids)

    def load_for_training(self):
        """Load the network to be fine-tuned; a head that the weights lack is drawn.

        Returns
        -------
        transformers.PreTrainedModel
            With one output, on the CPU; whoever loads it owns it. Networks that nobody uses are
        released first.

        Raises
        ------
        ValueError
            If other weights than the head's are missing, or not the model's.
        """
        import transformers

        release_idle()
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
                network = load_adapter(transformers, loader, self.spec.name, options, self.head)
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


def headed_model(estimator, head, name=None, *, fresh=False):
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
    fresh : bool, default=False
        Whether its tokenizer must be nobody else's, since it will be changed.

    Returns
    -------
    HeadedModel
        A context manager; the one that is loaded already if there is one.
    """
    name, device = estimator.model_name if name is None else name, estimator.device
    if device == "auto" and torch.cuda.device_count() > 1:
        device = "accelerate"
    spreads = device == "accelerate"
    revision = estimator.revision if name == estimator.model_name else None
    spec = resolve_model(name, revision, estimator.dtype, "auto" if spreads else device)
    spec = spec._replace(device="accelerate") if spreads else spec
    kept = None if fresh else find_kept((spec, head))
    return HeadedModel(spec, head) if kept is None else kept


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
    texts, plain = write_texts(model, conversations, chat_template, place, prompt=prompt)
    return tokenize_texts(model, texts, plain, place, prompt=prompt)


def write_texts(model, conversations, chat_template, place, *, prompt=False):
    """Write conversations as the tokenizer reads them.

    Parameters
    ----------
    model, conversations, chat_template, place, prompt
        As in :func:`token_ids`.

    Returns
    -------
    texts : list of str
        Rendered or joined.
    plain : ndarray of bool, shape (len(conversations),)
        Which the tokenizer puts its special tokens around.
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
    return texts, plain


def tokenize_texts(model, texts, plain, place, *, prompt=False):
    """Turn written texts into token ids.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer is used.
    texts : list of str
        What :func:`write_texts` returns.
    plain : ndarray of bool, shape (len(texts),)
        Likewise.
    place : callable
        Names text number i in an error.
    prompt : bool, default=False
        Whether an answer is to follow: what the tokenizer ends a plain text with is left out.

    Returns
    -------
    list of ndarray of int32
        Token ids.
    """
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
    for i in np.flatnonzero(plain) if prompt else ():  # else nothing would follow
        if len(ids[i]) > 1 and ids[i][-1] in ends:
            ids[i] = ids[i][:-1]
    return ids


def decode_cut(model, ids, plain):
    """Write the token ids of a text that was cut as text again.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer is used.
    ids : ndarray of int
        Token ids.
    plain : bool
        Whether the tokenizer put its special tokens around the text: they are left out.

    Returns
    -------
    str
        The text.
    """
    before = model.added_tokens.before if plain else ()
    begins = tuple(ids[: len(before)].tolist()) == tuple(before)
    return model.tokenizer.decode(ids[len(before) if begins else 0 :])


def truncate_left(model, ids, limit):
    """Shorten token ids from the left, where the oldest messages are.

    Parameters
    ----------
    model : LanguageModel
        Its tokenizer's BOS or CLS stays in front of what is left, unless turns begin with it.
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
    short, front = list(ids), ()
    if overlong.any():
        front = model.lone_front_tokens("auto")
    for i in np.flatnonzero(overlong):
        keeps = int(ids[i][0]) in front and limits[i] > 1
        end = ids[i][len(ids[i]) - limits[i] + keeps :]
        short[i] = np.concatenate([ids[i][:1], end]) if keeps else end
    return short, overlong


def report_overlong(overlong, limit, place, what="their beginnings"):
    """Log how many texts were cut, and the first of them.

    Parameters
    ----------
    overlong : ndarray of bool, shape (n,)
        Which were.
    limit : int
        The most tokens a text may have.
    place : callable
        Names text number i.
    what : str, default="their beginnings"
        What was cut of them.

    Returns
    -------
    int
        How many.
    """
    if overlong.any():
        logger.warning(
            "%d of %d texts (first: %s) are longer than %d tokens; %s were cut.",
            overlong.sum(), len(overlong), place(int(np.flatnonzero(overlong)[0])), limit, what,
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
    compute, budget = reward_reader(model, ids, batch_tokens)
    rewards = np.empty(len(ids))
    lengths = [len(i) for i in ids]
    for batch, new in run_batches(lengths, budget, compute, show_progress=show_progress):
        rewards[batch] = new[:, 0]
    return rewards


def reward_reader(model, ids, batch_tokens):
    """Return what computes the rewards of a batch of token ids.

    Parameters
    ----------
    model : HeadedModel
        With a reward head.
    ids : list of ndarray of int
        Token ids.
    batch_tokens : int
        Tokens of one batch.

    Returns
    -------
    compute : callable
        Takes an array of indices and returns rewards (B, 1) of float32.
    budget : int
        Tokens that a batch may have.
    """
    network = model.network
    pad_id = network.config.get_text_config().pad_token_id
    if pad_id is not None and pad_id >= (model.n_tokens or np.inf):
        pad_id = None  # it was added, and the network has no embedding for it

    def compute(batch):
        tokens, mask = pad_right([ids[i] for i in batch], 0 if pad_id is None else pad_id)
        with torch.inference_mode():
            logits = network(
                input_ids=torch.from_numpy(tokens).to(network.device),
                attention_mask=torch.from_numpy(mask).to(network.device),
            ).logits
        return logits[:, :1].float().cpu().numpy()

    # transformers finds a text's last token as the last one that is not `pad_token_id`; a
    # network that has none takes the batch's last column, so its texts go one by one.
    return compute, batch_tokens if pad_id is not None else 1
