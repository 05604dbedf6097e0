"""Embeddings of texts that a server makes."""

from functools import partial
from numbers import Integral

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._array_store import store_keys
from .._augmented_pairs import pairs_of_rows, rows_without_dropped
from .._augmented_rows import AugmentedRows
from .._equal_embeddings import EqualEmbeddings
from .._messages import join_contents
from .._rows import read_texts
from ._server_client import EMBEDDINGS, SERVER_CONSTRAINTS, ServerClient

PROBE = "text"  # is embedded by fit, to learn d


class ServerEmbedder(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Embed rows of text on a server that speaks OpenAI's protocol.

    It takes the place of :class:`~lens_sklearn.LLMEmbedder` in a Pipeline and reads the same
    rows; prompt and response are joined by a line break, as there without a chat template.

    Parameters
    ----------
    model : str
        The embedding model's name on the server.
    base_url : str, default="http://127.0.0.1:8000/v1"
        The server's address.
    api_key_env : str, default="OPENAI_API_KEY"
        As in :class:`ServerGenerator`.
    batch_size : int, default=32
        Texts of one request.
    on_invalid : {"raise", "drop", "keep"}, default="raise"
        What becomes of an empty text, as in :class:`~lens_sklearn.LLMEmbedder`.
    n_concurrent : int, default=8
        Requests that are under way at a time.
    max_retries : int, default=5
        As in :class:`ServerGenerator`.
    timeout : float, default=60
        Seconds without a byte after which a request counts as lost.
    store : str or Path, default=None
        A folder that keeps embeddings: a text that is there is not sent again, and a run that
        was killed or failed goes on where it ended.
    extra_body : dict, default=None
        Further fields of a request, such as ``{"dimensions": 256}``.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_features_out_ : int
        d, the length of an embedding.
    n_embedded_ : int
        How many different texts of the latest ``transform`` were sent, the others being in the
        store.

    See Also
    --------
    lens_sklearn.LLMEmbedder : Hidden states of a network in this process.

    Notes
    -----
    The server applies its own limit of length, and some cut longer texts without a word; pairs
    whose two texts become equal by it are warned of.

    Examples
    --------
    >>> from lens_sklearn.textual import ServerEmbedder
    >>> embedder = ServerEmbedder("nomic-embed-text", base_url="http://127.0.0.1:11434/v1")
    >>> rows = [{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]
    >>> embedder.fit_transform(rows).shape  # doctest: +SKIP
    (1, 2, 768)
    """

    _parameter_constraints = SERVER_CONSTRAINTS | {
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "on_invalid": [StrOptions({"raise", "drop", "keep"})],
    }

    def __init__(
        self,
        model,
        *,
        base_url="http://127.0.0.1:8000/v1",
        api_key_env="OPENAI_API_KEY",
        batch_size=32,
        on_invalid="raise",
        n_concurrent=8,
        max_retries=5,
        timeout=60,
        store=None,
        extra_body=None,
        show_progress=None,
    ):
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.batch_size = batch_size
        self.on_invalid = on_invalid
        self.n_concurrent = n_concurrent
        self.max_retries = max_retries
        self.timeout = timeout
        self.store = store
        self.extra_body = extra_body
        self.show_progress = show_progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Embed one word, so that the model and the length of its embeddings are known.

        Parameters
        ----------
        X : rows of text, default=None
            Not looked at: ``transform`` reads its rows itself.
        y : None
            Ignored.

        Returns
        -------
        ServerEmbedder
            Itself, fitted; nothing is learnt.

        Raises
        ------
        ValueError
            If the address is none, or ``extra_body`` has a field that is set here.
        ImportError
            If the extra ``server`` is not installed.
        OSError
            If the store cannot be written.
        RuntimeError
            If the server does not answer as it should.
        """
        (vector,) = self._embed([PROBE], lambda i: "the first request")
        self.n_features_out_ = len(vector)
        return self

    def transform(self, X):
        """Embed rows of text.

        Parameters
        ----------
        X : list of dict, DataFrame, datasets.Dataset, ndarray of object or nested list of str
            Preference rows, candidate rows or nested lists of texts.

        Returns
        -------
        ndarray of float32, shape (n, 2, d), (n, N, d) or (..., d)
            The embeddings; those of padding and dropped texts are all-NaN. Rows that a
            :class:`TextPairSynthesizer` made become
            :class:`~lens_sklearn.AugmentedPairs`, which remember parents.

        Raises
        ------
        ValueError
            If a row is malformed or a text blank, or the server's embeddings have another length
            than those that ``fit`` found.
        RuntimeError
            If a request failed after all retries, or an answer lacks an embedding or has one
            that is not finite; the message names the row.

        Warns
        -----
        UserWarning
            If chosen and rejected are different texts with the same embedding.
        """
        check_is_fitted(self)
        return self._embed_table(X, read_texts(X, self.on_invalid))

    def fit_transform(self, X, y=None):
        """Fit, then embed rows of text.

        .. note::
            Under ``on_invalid="drop"`` this leaves out the preference rows that hold a dropped
            text, whereas ``transform`` keeps them with NaN.

        Parameters
        ----------
        X : rows of text
            As in ``transform``.
        y : array-like, default=None
            Passed through by a Pipeline, so rows cannot be left out when it is given.

        Returns
        -------
        ndarray of float32, shape (n, 2, d), (n, N, d) or (..., d)
            The embeddings.

        Raises
        ------
        ValueError
            If rows would have to be left out and `y` is given, or no row is left.
        """
        table = read_texts(X, self.on_invalid)
        self.fit(X, y)
        return self._embed_table(X, table, y, leave_out=self.on_invalid == "drop")

    def _embed_table(self, X, table, y=None, *, leave_out=False):
        numbers, cells = {}, []  # distinct texts, each with its number; a number a cell
        for cell, item in enumerate(table.items.flat):
            if item is not None:
                item = join_contents(item, partial(table.place, cell))
                if not item.strip():
                    raise ValueError(
                        f"{table.place(cell)}: the text is blank, and a server has no embedding "
                        "for it. on_invalid='drop' leaves it out."
                    )
            cells.append(-1 if item is None else numbers.setdefault(item, len(numbers)))
        cells = np.array(cells)

        def place(number):
            return table.place(int(np.flatnonzero(cells == number)[0]))

        embeddings = np.full((len(cells), self.n_features_out_), np.nan, dtype=np.float32)
        vectors = self._embed(list(numbers), place)
        for number, vector in enumerate(vectors):
            if len(vector) != self.n_features_out_:
                raise ValueError(
                    f"{place(number)}: the embedding has {len(vector)} values, those before have "
                    f"{self.n_features_out_}. Did the model behind {self.model!r} change? Fit "
                    "again, and give a new store."
                )
        equal = EqualEmbeddings(len(numbers))
        if vectors:
            vectors = np.stack(vectors)
            embeddings[cells >= 0] = vectors[cells[cells >= 0]]
            equal.note(np.arange(len(vectors)), vectors)
        equal.report(table.kind, cells, table.items.shape)
        embeddings = embeddings.reshape(*table.items.shape, -1)  # (..., d)
        if leave_out and table.kind == "pairs":
            reason = ("on_invalid", "a text that is empty or malformed")
            kept = rows_without_dropped(embeddings, X, y, reason)
            embeddings = embeddings[kept]
            X = X[np.flatnonzero(kept)] if isinstance(X, AugmentedRows) else X
        return pairs_of_rows(embeddings, X)

    def _embed(self, texts, place):
        """Return a vector a text; the texts are distinct."""
        client = ServerClient(self, EMBEDDINGS, {"encoding_format": "float"})
        vectors, self.n_embedded_ = client.ask(
            store_keys(client.settings, texts),
            lambda group: {"input": [texts[i] for i in group]},
            partial(_read_embeddings, place=place),
            place,
            per_request=self.batch_size,
            desc="Embedding",
        )
        return vectors

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


def _read_embeddings(answer, group, place):
    """Return the embeddings of an answer in the order of its texts."""
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != len(group):
        got = len(data) if isinstance(data, list) else type(data).__name__
        raise ValueError(f"expected 'data' with {len(group)} embeddings, got {got}.")
    if not all(
        isinstance(entry, dict) and isinstance(entry.get("embedding"), list) for entry in data
    ):
        raise ValueError("expected entries with a list 'embedding' of numbers.")
    indices = [entry.get("index") for entry in data]
    if any(index is not None for index in indices):  # they may come in any order
        if sorted(indices, key=str) != sorted(range(len(group)), key=str):
            raise ValueError(f"the indices of the embeddings are {indices}.")
        data = sorted(data, key=lambda entry: entry["index"])
    vectors = []
    for i, entry in zip(group, data, strict=True):
        try:
            with np.errstate(over="ignore"):
                vector = np.asarray(entry["embedding"], dtype=np.float64).astype(np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"the embedding of {place(i)} is no list of numbers.") from None
        if vector.ndim != 1 or not len(vector):
            raise ValueError(f"the embedding of {place(i)} has the shape {vector.shape}.")
        if not np.isfinite(vector).all():
            n_wrong = int((~np.isfinite(vector)).sum())
            raise ValueError(
                f"{n_wrong} of the {len(vector)} values of the embedding of {place(i)} are NaN or "
                "infinite; nothing of it was stored."
            )
        vectors.append(vector)
    return vectors
