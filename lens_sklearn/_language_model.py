"""Language models by specification: loaded once a process, pooled by attention mask.

Nothing in here is ever part of a pickle except :class:`ModelSpec`, a few short strings. Whoever
needs a model says which, and the process's cache has it or loads it.
"""

import datetime
import functools
import hashlib
import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ._device import torch_device
from ._log_likelihood import load_causal, mean_log_likelihoods
from ._messages import check_fields, message_dicts
from ._packaged_model import packaged_folder

POOLINGS = ("last", "mean", "response_mean", "cls", "weighted_mean", "max")
CACHE_SIZE = 2  # models held at a time by one process
HASHED_WHOLE = 1 << 28  # bytes; larger files are told apart by size, time, head and tail
WEIGHT_ENDINGS = (".safetensors", ".bin", ".safetensors.index.json", ".bin.index.json")
TEMPLATE_DATE = datetime.datetime(2024, 7, 26)  # the fallback date of Llama 3's own template
# Templates ask for today's date with a function of transformers, which passes none of ours on:
# a macro of the same name, put before the template, hides it.
_WRITTEN_DATE = "".join(
    f"|replace('%{code}', '{TEMPLATE_DATE:%{code}}')" for code in "aAbBdHIjmMpSyY"
)
FIXED_DATE = "{% macro strftime_now(f) %}{{ f" + _WRITTEN_DATE + " }}{% endmacro %}"

_LOCK = threading.RLock()
_CACHE = OrderedDict()  # ModelSpec -> LanguageModel, the latest used last


class ModelSpec(NamedTuple):
    """Which model, and how it computes.

    Attributes
    ----------
    name : str
        Name on the Hugging Face Hub or a local folder.
    revision : str or None
        Commit, branch or tag of a Hub model.
    fingerprint : str or None
        Digest of a local folder's files, so that a retrained folder is another model.
    dtype : {"float32", "bfloat16", "float16"}
        Precision of weights and activations.
    device : str
        A torch device.
    """

    name: str
    revision: str | None
    fingerprint: str | None
    dtype: str
    device: str


def resolve_model(name, revision=None, dtype="auto", device="auto"):
    """Turn a user's parameters into a specification.

    Parameters
    ----------
    name : str or Path
        Name on the Hugging Face Hub, a local folder, or "minilm", which the extra ``demo`` has.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        "auto" is bfloat16 on CUDA and float32 elsewhere.
    device : str, default="auto"
        "auto" is CUDA when there is a device and the CPU otherwise.

    Returns
    -------
    ModelSpec
        Nothing is loaded yet.

    Raises
    ------
    ValueError
        If the folder is not a model, or `name` looks like a path to nothing.
    """
    name = packaged_folder(os.fspath(name))
    folder = Path(name).expanduser()
    fingerprint = None
    if folder.is_dir():
        name, fingerprint = str(folder.resolve()), _fingerprint(folder)
    elif folder.exists() or name.startswith((".", "~", os.sep)) or name.count("/") > 1:
        raise ValueError(
            f"model_name={name!r} is not a folder. Give a model's name on the Hugging Face Hub "
            "or a folder with config.json, a tokenizer and weights."
        )
    device = str(torch_device(device))
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    return ModelSpec(name, revision, fingerprint, dtype, device)


def get_language_model(spec):
    """Return the process's one copy of a model.

    Parameters
    ----------
    spec : ModelSpec
        Which model.

    Returns
    -------
    LanguageModel
        From the cache, which holds the few models that were used last; any thread may ask.
    """
    with _LOCK:
        language_model = _CACHE.pop(spec, None) or LanguageModel(spec)
        _CACHE[spec] = language_model
        while len(_CACHE) > max(CACHE_SIZE, torch.cuda.device_count()):
            _CACHE.popitem(last=False)
        return language_model


def embed_batch(
    number, spec, ids, layers, poolings, spans=None, *, log_likelihood=False, take_turns=False
):
    """Embed one batch in whatever process and on whatever GPU this runs.

    Parameters
    ----------
    number : int
        Which batch.
    spec : ModelSpec
        Which model.
    ids : list of ndarray of int
        Token ids of the texts.
    layers, poolings, spans, log_likelihood
        As in `LanguageModel.embed`.
    take_turns : bool, default=False
        Whether the device "cuda" means each GPU of the machine in turn, by the batch's number.

    Returns
    -------
    number : int
        As given.
    vectors : ndarray of float32, shape (b, d)
        Embeddings.
    """
    n_devices = torch.cuda.device_count() if take_turns and spec.device == "cuda" else 0
    if n_devices > 1:
        spec = spec._replace(device=f"cuda:{number % n_devices}")
    language_model = get_language_model(spec)
    with _LOCK:  # transformers sets global defaults while it reads weights
        language_model.causal_network if log_likelihood else language_model.network  # noqa: B018
    return number, language_model.embed(ids, layers, poolings, spans, log_likelihood=log_likelihood)


class LanguageModel:
    """A tokenizer and, from the first forward pass on, its network.

    Parameters
    ----------
    spec : ModelSpec
        Which model.

    Attributes
    ----------
    config : transformers.PreTrainedConfig
        The text model's configuration.
    tokenizer : transformers.PreTrainedTokenizerBase
        Its tokenizer.
    commit : str or None
        The Hub's commit, whatever branch was asked for; None for a local folder.
    n_hidden_states : int
        Number of layers, the embedding layer included.
    hidden_size : int
        Features of one hidden state.

    Raises
    ------
    OSError
        If the model cannot be found or read.
    """

    def __init__(self, spec):
        import transformers

        self.spec = spec
        self._lock = threading.RLock()  # fast tokenizers must not be used by two threads at once
        with quiet(transformers):
            try:
                config = transformers.AutoConfig.from_pretrained(spec.name, **self._source)
                self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                    spec.name, **self._source
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                raise OSError(
                    f"model_name={spec.name!r}, revision={spec.revision!r}: no config.json and "
                    "tokenizer that transformers can load were found there, neither in a local "
                    f"folder of this name nor on the Hugging Face Hub. transformers says: {error}"
                ) from error
        self.commit = getattr(config, "_commit_hash", None)
        self.config = config.get_text_config()
        self.n_hidden_states = self.config.num_hidden_layers + 1
        self.hidden_size = self.config.hidden_size
        self._network = self._causal_network = None

    @property
    def _source(self):
        local = self.spec.fingerprint is not None
        where = {"local_files_only": True} if local else {"revision": self.spec.revision}
        return {**where, "trust_remote_code": False}

    @property
    def network(self):
        """The network in evaluation mode; loaded by the first who asks."""
        with self._lock:
            if self._network is None:
                import transformers

                with quiet(transformers):
                    self._network = self._load(transformers).eval()
            return self._network

    @property
    def causal_network(self):
        """The network with its next-token head; `network` is then a part of it, not a copy."""
        with self._lock:
            if self._causal_network is None:
                import transformers

                self._network = None
                with quiet(transformers):
                    loaded = load_causal(
                        transformers, self.spec.name, getattr(torch, self.spec.dtype), self._source
                    )
                self._causal_network = loaded.to(self.spec.device)
                self._network = self._causal_network.base_model
            return self._causal_network

    def _load(self, transformers):
        """Read the network's weights; a subclass reads those of a head too."""
        network = transformers.AutoModel.from_pretrained(
            self.spec.name, dtype=getattr(torch, self.spec.dtype), **self._source
        )
        if network.config.is_encoder_decoder:
            network = network.get_encoder()
        network.config.use_cache = False
        return network.to(self.spec.device)

    def longest_input(self, max_length):
        """Return how many tokens a text may have.

        Parameters
        ----------
        max_length : int
            The user's limit.

        Returns
        -------
        int
            That limit, or the tokenizer's or the network's own where it is lower.
        """
        limits = [
            max_length,
            self.tokenizer.model_max_length,
            getattr(self.config, "max_position_embeddings", None),
        ]
        return int(min(limit for limit in limits if limit and limit > 0))

    def render(self, messages, template, *, add_generation_prompt=False):
        """Write a conversation as the text that the model reads.

        Parameters
        ----------
        messages : tuple of (role, content) or (role, content, extra)
            The conversation.
        template : str
            A Jinja chat template.
        add_generation_prompt : bool, default=False
            Whether the text ends where the assistant's next message begins.

        Returns
        -------
        str
            Includes the template's special tokens. A template that prints today's date gets
            a fixed one: an embedding must not depend on the day.
        """
        return self.tokenizer.apply_chat_template(
            message_dicts(messages),
            chat_template=FIXED_DATE + template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )

    def tokenize(self, texts, max_length, *, add_special_tokens):
        """Turn texts into token ids.

        Parameters
        ----------
        texts : list of str
            Plain texts or rendered conversations.
        max_length : int
            Longer texts are cut, on the tokenizer's ``truncation_side``.
        add_special_tokens : bool
            False for rendered conversations, which have theirs already.

        Returns
        -------
        ids : list of ndarray of int32
            Token ids, no padding.
        overlong : ndarray of bool, shape (len(texts),)
            Which texts were cut.
        """
        options = {"add_special_tokens": add_special_tokens, "return_attention_mask": False}
        with self._lock:
            encoded = self.tokenizer(texts, verbose=False, **options)["input_ids"]
            overlong = np.array([len(ids) > max_length for ids in encoded], dtype=bool)
            for i in np.flatnonzero(overlong):
                encoded[i] = self.tokenizer(
                    texts[i], truncation=True, max_length=max_length, **options
                )["input_ids"]
        return [np.array(ids, dtype=np.int32) for ids in encoded], overlong

    def embed(self, ids, layers, poolings, spans=None, *, log_likelihood=False):
        """Run one batch and pool its hidden states.

        Parameters
        ----------
        ids : list of ndarray of int
            Token ids, at least one a text.
        layers : sequence of int
            Indices of hidden states; 0 is the embedding layer.
        poolings : sequence of str
            Names that :func:`pool` knows.
        spans : ndarray of int, shape (len(ids), 2), default=None
            First token of each response and the one behind its last; None is the whole text.
        log_likelihood : bool, default=False
            Whether the mean log-likelihood of the responses' tokens follows.

        Returns
        -------
        ndarray of float32, shape (len(ids), len(layers) * len(poolings) * hidden_size)
            Concatenated layer by layer, within a layer pooling by pooling. With
            `log_likelihood` there is one column more.
        """
        # Padding goes to the right whatever side the tokenizer prefers: the tokens then keep
        # their absolute positions, and a causal model never looks at what comes after them.
        tokens, mask = pad_right(ids, self.tokenizer.pad_token_id or 0)
        network = self.causal_network.base_model if log_likelihood else self.network
        last = self.n_hidden_states - 1
        if spans is None:
            spans = np.array([(0, len(own)) for own in ids])
        only_last = set(layers) == {last}
        with torch.inference_mode():
            mask = torch.from_numpy(mask).to(self.spec.device)
            output = network(
                input_ids=torch.from_numpy(tokens).to(self.spec.device),
                attention_mask=mask,
                output_hidden_states=not only_last,  # they would take all layers' memory
            )
            states = {last: output.last_hidden_state} if only_last else output.hidden_states
            starts = torch.from_numpy(spans[:, 0]).to(self.spec.device)
            vectors = [
                pool(states[layer], mask, name, starts) for layer in layers for name in poolings
            ]
            if log_likelihood:
                means = mean_log_likelihoods(
                    self.causal_network, output.last_hidden_state, ids, spans
                )
                vectors.append(means[:, None])
            return torch.cat(vectors, dim=1).cpu().numpy()


def template_text(chat_template, tokenizer):
    """Return the chat template in force.

    Parameters
    ----------
    chat_template : "auto", str, None or False
        The user's parameter.
    tokenizer : transformers.PreTrainedTokenizerBase
        Whose own template "auto" takes.

    Returns
    -------
    str or None
        None for no template.
    """
    if chat_template is None or chat_template is False:
        return None
    if chat_template != "auto":
        return chat_template
    return tokenizer.get_chat_template() if tokenizer.chat_template else None


def render(language_model, messages, template, place, i, **options):
    """Write a conversation as text; name the row of one that the template refuses.

    Parameters
    ----------
    language_model : LanguageModel
        Whose tokenizer renders.
    messages : tuple of (role, content) or (role, content, extra)
        The conversation.
    template : str
        A Jinja chat template.
    place : callable
        Names the row of text number `i`.
    i : int
        Number of the text.
    **options : dict
        Passed on to ``LanguageModel.render``.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        If the template refuses the conversation, or does not write one of its fields.
    """
    from jinja2 import TemplateError

    def write(messages):
        return language_model.render(messages, template, **options)

    try:
        text = write(messages)
        check_fields(messages, template, text, write, lambda: place(i), TemplateError)
        return text
    except TemplateError as error:
        roles = [message[0] for message in messages]
        raise ValueError(
            f"{place(i)}: the chat template refuses the conversation with the roles {roles} "
            f"({error}). Give another chat_template, or None to join the contents."
        ) from error


def pad_right(ids, pad_id):
    """Put token ids of several lengths into one array.

    Parameters
    ----------
    ids : list of ndarray of int
        Token ids.
    pad_id : int
        Fills the right; only the mask tells padding from tokens.

    Returns
    -------
    tokens, mask : ndarray of int64, shape (len(ids), longest)
        Token ids and 1 where they are.
    """
    lengths = np.array([len(i) for i in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]  # (B, T)
    tokens = np.full(mask.shape, pad_id, dtype=np.int64)
    tokens[mask] = np.concatenate(ids)
    return tokens, mask.astype(np.int64)


def pool(hidden, mask, pooling, starts=None):
    """Pool the hidden states of each text's own tokens, in float32.

    Which tokens are padding is read from the mask alone, so a padding token that is also the
    end-of-sequence token makes no difference, nor does the side it is on.

    Parameters
    ----------
    hidden : Tensor, shape (B, T, h)
        Hidden states.
    mask : Tensor of int, shape (B, T)
        1 at tokens, 0 at padding, on either side.
    pooling : {"last", "mean", "response_mean", "cls", "weighted_mean", "max"}
        One of `POOLINGS`: the last token, the mean, the mean from the response's first token on,
        the first token, the mean weighted by position 1, 2, …, or the maximum.
    starts : Tensor of int, shape (B,), default=None
        First token of each response, counted without padding. Where there is no such token, its
        mean is the last one; None is the whole text.

    Returns
    -------
    Tensor of float32, shape (B, h)
        One vector a text.
    """
    mask = mask.bool()
    if pooling in ("last", "cls"):
        # argmax returns the first of equal maxima: the first token, seen from either end.
        if pooling == "cls":
            index = mask.int().argmax(dim=1)
        else:
            index = mask.shape[1] - 1 - mask.int().flip(1).argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), index].float()
    hidden = hidden.float()
    if pooling == "max":
        return hidden.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    weight = mask.float()  # (B, T)
    if pooling == "response_mean" and starts is not None:
        position = weight.cumsum(dim=1) - 1
        first = torch.minimum(starts.to(weight), weight.sum(dim=1) - 1)
        weight = weight * (position >= first[:, None])
    if pooling == "weighted_mean":
        weight = weight * weight.cumsum(dim=1)
    weight = weight / weight.sum(dim=1, keepdim=True)
    # Padding may hold infinities in half precision: 0 * inf would be NaN.
    hidden = hidden.masked_fill((weight == 0)[..., None], 0.0)
    return torch.einsum("bt,bth->bh", weight, hidden)


def batches_by_tokens(lengths, budget):
    """Group texts of like length so that each batch has at most `budget` padded tokens.

    Parameters
    ----------
    lengths : ndarray of int, shape (n,)
        Tokens of each text.
    budget : int
        Upper bound of longest × count; a text that is longer by itself is a batch by itself.

    Returns
    -------
    list of ndarray of int
        Indices into `lengths`, the longest texts first so that a lack of memory shows at once.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches


def _fingerprint(folder):
    """Digest the files of a model folder; say what is missing when it is none."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    names = [p.name for p in files]
    missing = []
    if "config.json" not in names:
        missing.append("config.json")
    if not any(name.endswith(WEIGHT_ENDINGS) for name in names):
        missing.append("weights (*.safetensors or *.bin)")
    if missing:
        found = ", ".join(names[:8]) if names else "no files"
        raise ValueError(
            f"the folder {str(folder)!r} is not a model: it has no {' and no '.join(missing)} "
            f"(found: {found}). Save one there with save_pretrained, of the model and of the "
            "tokenizer."
        )
    digest = hashlib.sha256()
    for path in files:
        if path.suffix != ".md":
            status = path.stat()
            part = _file_digest(str(path.resolve()), status.st_size, status.st_mtime_ns)
            digest.update(f"{path.name}\0{part}\0".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def _file_digest(path, size, mtime_ns):
    with open(path, "rb") as file:
        if size <= HASHED_WHOLE:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size} {mtime_ns}".encode())
        digest.update(file.read(1 << 20))
        file.seek(-(1 << 20), os.SEEK_END)
        digest.update(file.read())
        return digest.hexdigest()


@contextmanager
def quiet(transformers):
    """Keep loading bars and reports of unused heads off the screen, and restore them after.

    Parameters
    ----------
    transformers : module
        The imported package.
    """
    logging = transformers.utils.logging
    with _LOCK:
        bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bar:
                logging.enable_progress_bar()
