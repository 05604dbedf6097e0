"""Two views of a response side by side: what it says, and how it is written."""

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from ._augmented_pairs import pairs_of_rows
from ._augmented_rows import AugmentedRows
from ._fitted_state import FittedState
from ._response_features import ResponseFeatures
from ._rows import as_records


class ResponseViews(FittedState, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Join the embedding of each text and its features on the last axis.

    Preference rows become pairs ``(n, 2, d + k)``, candidate rows become
    ``(n, N, d + k)``, the embedding first. Whatever comes next is told k, the number of
    response features, by its parameter ``n_response_features``.

    Parameters
    ----------
    embedder : transformer
        Turns rows of text into embeddings ``(..., d)``: :class:`LLMEmbedder`, or a Pipeline of
        it and what follows it on embeddings alone. It is cloned.
    features : ResponseFeatures, default=None
        Turns the same rows into features ``(..., k)``; it is cloned. None is
        ``ResponseFeatures()``.

    Attributes
    ----------
    embedder_ : transformer
        The fitted embedder.
    features_ : ResponseFeatures
        The fitted features.
    n_response_features_ : int
        k, and one more where the embedder is an ``LLMEmbedder(log_likelihood=True)``. Of a
        Pipeline it is k alone.
    n_features_out_ : int
        d + k.

    See Also
    --------
    ResponseFeatures : What the features are; its ``columns`` counts from the end, and so holds
        here too.
    EmbeddingScaler : Standardizes both views.

    Notes
    -----
    :class:`sklearn.pipeline.FeatureUnion` joins on axis 1, which is here the two members of a
    pair, and asks for arrays of two dimensions.

    Both views are joined in a new array in memory, even where the embedder returns a memory map
    of a file (``LLMEmbedder(out=...)``) or float16.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from lens_sklearn import ResponseFeatures, ResponseViews
    >>> rows = [{"prompt": "2 + 2?", "chosen": "4.", "rejected": "It is five."}]
    >>> embedder = FunctionTransformer(lambda rows: np.zeros((len(rows), 2, 3)))
    >>> views = ResponseViews(embedder, ResponseFeatures(["log_words", "finished"]))
    >>> views.fit_transform(rows).shape, views.n_response_features_
    ((1, 2, 5), 2)
    """

    _parameter_constraints = {
        "embedder": [HasMethods(["fit", "transform"])],
        "features": [HasMethods(["fit", "transform"]), None],
    }
    fitted_state_names = ("embedder_", "features_", "n_response_features_", "n_features_out_")

    def __init__(self, embedder, features=None):
        self.embedder = embedder
        self.features = features

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Fit the embedder and the features.

        Parameters
        ----------
        X : rows of text
            As the embedder takes them.
        y : array-like, default=None
            Given to the embedder.

        Returns
        -------
        ResponseViews
            Itself, fitted.
        """
        embedder = clone(self.embedder).fit(X, y)
        d = getattr(embedder, "n_features_out_", None)
        if d is None:
            d = embedder.transform(as_records(X)[:1]).shape[-1]
        return self._set(embedder, d)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None):
        """Fit, then return both views of rows of text.

        .. note::
            Where the embedder's ``fit_transform`` leaves out rows
            (``LLMEmbedder(overlong="drop")``), this leaves out the same, whereas ``transform``
            keeps them with NaN. To tell which, the rows are then embedded once more; the
            embedder's ``store`` saves that work.

        Parameters
        ----------
        X : rows of text
            As the embedder takes them.
        y : array-like, default=None
            Given to the embedder.

        Returns
        -------
        ndarray of float, shape (n, 2, d + k), (n, N, d + k) or (..., d + k)
            The embedding, then the features.

        Raises
        ------
        ValueError
            If a row is malformed, or the embedder returns other rows than it was given.
        """
        embedder = clone(self.embedder)
        if hasattr(embedder, "fit_transform"):
            embedding = embedder.fit_transform(X, y)
        else:
            embedding = embedder.fit(X, y).transform(X)
        self._set(embedder, embedding.shape[-1])
        n = len(X if isinstance(X, AugmentedRows) else as_records(X))
        if len(embedding) != n:
            X = self._kept_rows(X, len(embedding))
        return self._join(embedding, X)

    def transform(self, X):
        """Return both views of rows of text.

        Parameters
        ----------
        X : rows of text
            As the embedder takes them.

        Returns
        -------
        ndarray of float, shape (n, 2, d + k), (n, N, d + k) or (..., d + k)
            The embedding, then the features. What is all-NaN in one view, as the padding of
            ragged candidates is, is so in both. Rows that a ``TextPairSynthesizer`` made become
            `AugmentedPairs`, which remember parents.

        Raises
        ------
        ValueError
            If a row is malformed, or the embedder returns other rows than it was given.
        """
        check_is_fitted(self)
        return self._join(self.embedder_.transform(X), X)

    def _set(self, embedder, d):
        if self.features is None:
            is_strict = getattr(embedder, "on_invalid", None) != "drop"
            features = ResponseFeatures(on_invalid="keep" if is_strict else "drop")
        else:
            features = clone(self.features)
        self.embedder_, self.features_ = embedder, features.fit(None)
        k = self.features_.n_features_out_
        self.n_features_out_ = d + k
        # An embedder's own stand behind its states, and so before those of `features`.
        self.n_response_features_ = k + getattr(embedder, "n_response_features_", 0)
        return self

    def _kept_rows(self, X, n_kept):
        """Return the rows that the embedder did not leave out."""
        embedding = np.asarray(self.embedder_.transform(X))
        kept = ~np.isnan(embedding[..., 0]).reshape(len(embedding), -1).any(axis=1)
        if isinstance(X, AugmentedRows):
            kept &= kept[X.parent]
        if kept.sum() != n_kept:
            raise ValueError(
                f"the embedder returned {n_kept} rows for {len(kept)}, and their features are not "
                "known. What makes new rows, such as an augmenter, belongs behind ResponseViews."
            )
        index = np.flatnonzero(kept)
        return X[index] if isinstance(X, AugmentedRows) else [as_records(X)[i] for i in index]

    def _join(self, embedding, X):
        embedding = np.asarray(embedding)
        features = np.asarray(self.features_.transform(X))
        if embedding.shape[:-1] != features.shape[:-1]:
            raise ValueError(
                f"the embedder returned an array of shape {embedding.shape} for rows whose "
                f"features have the shape {features.shape}; all but the last axis must agree."
            )
        padding = np.isnan(embedding[..., 0]) | np.isnan(features[..., 0])
        joined = np.concatenate([embedding, features], axis=-1)
        joined[padding] = np.nan
        return pairs_of_rows(joined, X)

    def get_feature_names_out(self, input_features=None):
        """Return the names of both views' columns.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of object, shape (d + k,)
            The embedder's, ``embedding0``, … if it has none, then the features'.
        """
        check_is_fitted(self)
        d = self.n_features_out_ - self.features_.n_features_out_
        try:
            names = self.embedder_.get_feature_names_out()
        except AttributeError:  # not the embedder's, or not that of a Pipeline's step
            names = [f"embedding{i}" for i in range(d)]
        return np.array([*names, *self.features_.get_feature_names_out()], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        tags.transformer_tags.preserves_dtype = []
        return tags
