"""Standardise embeddings of any shape ``(..., d)``."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from ._pairs import AugmentedPairs, check_embeddings

FLOATS = ("float32", "float64")  # check_array keeps these and turns all else into the first


class EmbeddingScaler(
    OneToOneFeatureMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Standardise embeddings ``(..., d)`` over all leading axes.

    Hidden states of language models have a few huge dimensions and some that never change.
    Unscaled, a reward at the paper's learning rate hardly starts to learn. This is
    :class:`sklearn.preprocessing.StandardScaler` with the leading axes folded into one, so
    chosen, rejected and candidates share one scale; constant columns stay finite.

    Parameters
    ----------
    with_mean : bool, default=True
        Subtract each feature's mean.
    with_std : bool, default=True
        Divide by each feature's standard deviation.

    Attributes
    ----------
    scaler_ : StandardScaler
        Holds ``mean_``, ``var_`` and ``scale_``, each of shape (d,).
    n_features_in_ : int
        d.

    Examples
    --------
    >>> import numpy as np
    >>> from lens_sklearn import EmbeddingScaler
    >>> pairs = np.random.default_rng(0).normal(size=(50, 2, 3)) * [1, 100, 0]
    >>> scaled = EmbeddingScaler().fit_transform(pairs)
    >>> scaled.shape, bool(np.isfinite(scaled).all())
    ((50, 2, 3), True)
    """

    _parameter_constraints = {"with_mean": ["boolean"], "with_std": ["boolean"]}

    def __init__(self, with_mean=True, with_std=True):
        self.with_mean = with_mean
        self.with_std = with_std

    def fit(self, X, y=None):
        """Learn each feature's mean and standard deviation.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; all-NaN ones are padding and are left out.
        y : None
            Ignored.

        Returns
        -------
        EmbeddingScaler
            Itself, fitted.
        """
        if hasattr(self, "scaler_"):
            del self.scaler_
        return self.partial_fit(X)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Update the means and standard deviations with further embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; all-NaN ones are padding and are left out.
        y : None
            Ignored.

        Returns
        -------
        EmbeddingScaler
            Itself, fitted.
        """
        first = not hasattr(self, "scaler_")
        X = check_embeddings(self, X, reset=first, allow_padding=True, dtype=FLOATS)
        if first:
            scaler = StandardScaler(with_mean=self.with_mean, with_std=self.with_std)
            # Folded rows never leave this class, whatever output the user has configured.
            self.scaler_ = scaler.set_output(transform="default")
        self.scaler_.partial_fit(X.reshape(-1, X.shape[-1]))
        return self

    def transform(self, X):
        """Standardise embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; padding stays padding.

        Returns
        -------
        ndarray of the same shape
            Standardised embeddings, float32 unless `X` is float64; `AugmentedPairs` of
            synthesised text stay such.
        """
        return self._apply(X, "transform")

    def inverse_transform(self, X):
        """Undo the standardisation.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Standardised embeddings.

        Returns
        -------
        ndarray of the same shape
            Embeddings on their original scale.
        """
        return self._apply(X, "inverse_transform")

    def _apply(self, X, method):
        check_is_fitted(self)
        if isinstance(X, AugmentedPairs) and isinstance(X.pool, np.ndarray):
            new = X[:]  # pairs synthesised in text keep their parents
            new.originals = self._apply(X.originals, method)
            new.pool = self._apply(X.pool, method)
            return new
        X = check_embeddings(self, X, reset=False, allow_padding=True, dtype=FLOATS)
        return getattr(self.scaler_, method)(X.reshape(-1, X.shape[-1])).reshape(X.shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
