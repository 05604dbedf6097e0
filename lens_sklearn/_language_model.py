"""Language models by specification: loaded once a process, pooled by attention mask.

Nothing in here is ever part of a pickle except :class:`ModelSpec`, a few short strings. Whoever
needs a model says which, and the process's cache has it or loads it.
"""

import datetime
import functools
import os
import threading
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ._blueprint import length_limits, make_blueprint, n_embeddings
from ._conversation_text import UNEXPECTED, check_written, write_conversation
from ._device import torch_device
from ._hidden_states import pad_right, pool
from ._log_likelihood import check_logits, mean_log_likelihoods
from ._model_folder import adapter_base, folder_fingerprint
from ._model_weights import encoder_of, load_weights
from ._packaged_model import packaged_folder
from ._reading import is_decoder
from ._state_reader import StateReader
from ._tokens import added_tokens, check_ids, encode, legal_pad
from ._warnings import warn

CACHE_SIZE = 2  # models held at a time by one process
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
        Name on the Hugging Face Hub, a local folder, or "minilm" or "smollm2", which the extras
        ``demo`` and ``smollm2`` have.
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
        name, fingerprint = str(folder.resolve()), folder_fingerprint(folder)
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
                at = "" if spec.revision is None else f", revision={spec.revision!r}"
                raise OSError(
                    f"model_name={spec.name!r}{at}: neither a folder of this name nor the Hugging "
                    "Face Hub has a config.json and a tokenizer that transformers can load. "
                    f"transformers says: {error}"
                ) from error
        # A pad token that was added to the tokenizer and the configuration, and not to the network.
        self._settings = {}
        pad_id, n_tokens = (getattr(config, n, None) for n in ("pad_token_id", "vocab_size"))
        if pad_id is not None and n_tokens is not None and pad_id >= n_tokens:
            self._settings["pad_token_id"] = config.pad_token_id = None
        self.commit = getattr(config, "_commit_hash", None)
        self._whole_config = config
        self.config = config.get_text_config()
        self.n_hidden_states = self.config.num_hidden_layers + 1
        self.hidden_size = self.config.hidden_size
        self._network = self._causal_network = self._reader = None

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
                try:
                    with quiet(transformers):
                        loaded = self._checked(transformers.AutoModelForCausalLM, head="causal")
                except ValueError as error:
                    raise ValueError(f"log_likelihood=True: {error}") from error
                loaded.eval().config.use_cache = False
                check_logits(loaded, self.spec.name)
                self._causal_network = loaded.to(self.spec.device)
                self._network = self._causal_network.base_model
            return self._causal_network

    def _load(self, transformers):
        """Read the network's weights; a subclass reads those of a head too."""
        network = self._checked(transformers.AutoModel)
        network.config.use_cache = False
        return network.to(self.spec.device)

    def _checked(self, loader, **options):
        base = adapter_base(self.spec.name)
        if base is not None:
            raise ValueError(
                f"model_name={self.spec.name!r} holds an adapter of the model {base!r}. Embed with "
                "the whole: peft's AutoPeftModel… loads it, and merge_and_unload() followed by "
                "save_pretrained(folder) writes it, beside its tokenizer."
            )
        options |= {"dtype": getattr(torch, self.spec.dtype)} | self._settings | self._source
        return load_weights(loader, self.spec.name, **options)

    @functools.cached_property
    def _blueprint(self):
        import transformers

        with quiet(transformers):
            network = make_blueprint(transformers, self._whole_config)
        return None if network is None else encoder_of(network)

    @property
    def n_tokens(self):
        """How many tokens the network has an embedding for; None where that is not known."""
        return n_embeddings(self._blueprint, self.config)

    @property
    def pad_id(self):
        """A token id that padding may have."""
        return legal_pad(self.tokenizer.pad_token_id, self.n_tokens)

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
        limits = [max_length, self.tokenizer.model_max_length]
        return min(int(n) for n in [*limits, *length_limits(self._blueprint, self.config)] if n > 0)

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
        apply = functools.partial(
            self.tokenizer.apply_chat_template,
            chat_template=FIXED_DATE + template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
        return write_conversation(messages, apply)

    @functools.cached_property
    def added_tokens(self):
        """What the tokenizer puts around a text by itself."""
        with self._lock:
            return added_tokens(self.tokenizer)

    @property
    def front_tokens(self):
        """The tokens that stay in front of a text that is cut."""
        own = {self.tokenizer.bos_token_id, self.tokenizer.cls_token_id}
        return own.union(self.added_tokens.before) - {None}

    def lone_front_tokens(self, chat_template):
        """Return the tokens that stand in front of a text and nowhere else in it.

        In ChatML the tokenizer's BOS may be the token that begins every turn. In front of a text
        whose beginning was cut it would begin a turn that is none.

        Parameters
        ----------
        chat_template : "auto", str, None or False
            As in :class:`~lens_sklearn.LLMEmbedder`.

        Returns
        -------
        set of int
            What stays in front of a text that is cut.
        """
        from jinja2 import TemplateError

        own = self.front_tokens - set(self.added_tokens.before)
        template = template_text(chat_template, self.tokenizer)
        if template is None or not own:
            return self.front_tokens
        try:
            text = self.render((("user", "a"), ("assistant", "a"), ("user", "a")), template)
        except (TemplateError, *UNEXPECTED):
            return self.front_tokens
        (ids,) = self.tokenize([text], add_special_tokens=False)
        return self.front_tokens - {token for token in own if (ids == token).sum() > 1}

    def tokenize(self, texts, *, add_special_tokens, place=None):
        """Turn texts into token ids.

        Parameters
        ----------
        texts : list of str
            Plain texts or rendered conversations.
        add_special_tokens : bool
            False for rendered conversations, which have theirs already. A plain text that has
            them already, since it was rendered beforehand, gets no second ones.
        place : callable, default=None
            Names text number i in an error; None names it by its number.

        Returns
        -------
        list of ndarray of int32
            Token ids, no padding, not cut.

        Raises
        ------
        ValueError
            If the tokenizer refuses a text, or makes a token of it that the network has no
            embedding for.
        """
        place = place or "text {}".format
        with self._lock:
            added = self.added_tokens if add_special_tokens else None
            ids = encode(self.tokenizer, texts, added, place)
        check_ids(ids, self.n_tokens, place)
        return ids

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
        spans : ndarray of int, shape (len(ids), 2 or 3), default=None
            First token of each response, the one behind its last, and the one that "last" reads
            if that is not the text's last; None is the whole text.
        log_likelihood : bool, default=False
            Whether the mean log-likelihood of the responses' tokens follows.

        Returns
        -------
        ndarray of float32, shape (len(ids), len(layers) * len(poolings) * hidden_size)
            Concatenated layer by layer, within a layer pooling by pooling. With
            `log_likelihood` there is one column more.
        """
        spans = np.array([(0, len(own)) for own in ids]) if spans is None else spans
        try:
            return self._embed(ids, layers, poolings, spans, log_likelihood)
        except torch.cuda.OutOfMemoryError:
            if len(ids) == 1:
                raise
        torch.cuda.empty_cache()
        warn(
            f"the GPU has no room for {len(ids)} texts of up to {max(map(len, ids))} tokens: they "
            "are read in two batches. A smaller batch_tokens saves the attempt."
        )
        half = len(ids) // 2
        parts = (slice(half), slice(half, None))
        vectors = [
            self.embed(ids[p], layers, poolings, spans[p], log_likelihood=log_likelihood)
            for p in parts
        ]
        return np.concatenate(vectors)

    def _embed(self, ids, layers, poolings, spans, log_likelihood):
        # Padding goes to the right whatever side the tokenizer prefers: the tokens then keep
        # their absolute positions, and a causal model never looks at what comes after them.
        tokens, mask = pad_right(ids, self.pad_id)
        reader, last = self._state_reader(log_likelihood), self.n_hidden_states - 1
        asked = {*layers, last} if log_likelihood else set(layers)
        final = []  # the last hidden states, for the log-likelihoods
        with torch.inference_mode():
            mask = torch.from_numpy(mask).to(self.spec.device)
            marks = torch.from_numpy(spans).to(self.spec.device)
            starts, lasts = marks[:, 0], marks[:, 2] if marks.shape[1] > 2 else None

            def pooled(layer, state):
                if log_likelihood and layer == last:
                    final.append(state)
                if layer in layers:
                    return [pool(state, mask, name, starts, lasts) for name in poolings]

            tokens = torch.from_numpy(tokens).to(self.spec.device)
            found = reader.read(tokens, mask, asked, pooled)
            vectors = [vector for layer in layers for vector in found[layer]]
            if log_likelihood:
                means = mean_log_likelihoods(self.causal_network, final[0], ids, spans[:, :2])
                vectors.append(means[:, None])
            return torch.cat(vectors, dim=1).cpu().numpy()

    def _state_reader(self, log_likelihood):
        with self._lock:
            network = self.causal_network.base_model if log_likelihood else self.network
            if self._reader is None or self._reader.network is not network:
                self._reader = StateReader(
                    network, self.n_hidden_states, causal=is_decoder(self.config)
                )
            return self._reader


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
        If the template refuses the conversation, or leaves a part of it out.
    """
    from jinja2 import TemplateError

    def write(messages):
        return language_model.render(messages, template, **options)

    try:
        text = write(messages)
    except (TemplateError, *UNEXPECTED) as error:
        roles = [message[0] for message in messages]
        raise ValueError(
            f"{place(i)}: the chat template refuses the conversation with the roles {roles} "
            f"({error}). Give another chat_template, or None to join the contents."
        ) from error

    def is_own():
        return template == template_text("auto", language_model.tokenizer)

    check_written(messages, template, text, write, lambda: place(i), is_own)
    return text


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
