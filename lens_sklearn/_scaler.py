"""Standardise embeddings of any shape ``(..., d)``."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils.validation import check_is_fitted

from ._augmented_pairs import AugmentedPairs
from ._validation import check_embeddings

FLOATS = ("float32", "float64")  # check_array keeps these and turns all else into the first
CHUNK = 1 << 22  # bytes; StandardScaler's temporaries in float64 are a few times as large


class EmbeddingScaler(
    OneToOneFeatureMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Standardise embeddings ``(..., d)`` over all leading axes.

    Hidden states of language models have a few huge dimensions and some that never change.
    Unscaled, an autoencoder at the paper's learning rate hardly starts to learn. This is
    :class:`sklearn.preprocessing.StandardScaler` with the leading axes folded into one, so
    chosen, rejected and candidates share one scale; constant columns stay finite.

    Parameters
    ----------
    with_mean : bool, default=True
        Subtract each feature's mean.
    with_std : bool, default=True
        Divide by each feature's standard deviation.
    copy : bool, default=True
        False standardises in place and so saves an array as large as the input. Every
        ``transform`` and ``inverse_transform``, and with them a Pipeline's ``fit`` and
        ``predict``, then **overwrite the array that they are given**, which is safe behind
        :class:`LLMEmbedder`, whose array nobody else holds. Arrays that are read-only, mapped
        from a file or not of floats are still copied.

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

    _parameter_constraints = {
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "copy": ["boolean"],
    }

    def __init__(self, with_mean=True, with_std=True, *, copy=True):
        self.with_mean = with_mean
        self.with_std = with_std
        self.copy = copy

    def fit(self, X, y=None, sample_weight=None):
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
        return self.partial_fit(X, sample_weight=sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
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

        Raises
        ------
        ValueError
            If nothing but padding was seen so far, or an embedding is not finite.
        """
        first = not hasattr(self, "scaler_")
        X = check_embeddings(self, X, reset=first, allow_padding=True, dtype=FLOATS)
        if first:
            scaler = StandardScaler(with_mean=self.with_mean, with_std=self.with_std)
            # Folded rows never leave this class, whatever output the user has configured.
            scaler.set_output(transform="default")
        else:
            scaler = self.scaler_
        for part in _parts(X):
            rows = X[part].reshape(-1, X.shape[-1])
            padding = np.isnan(rows[:, :1]).any(axis=1)
            if padding.any():
                rows = rows[~padding]
            if len(rows):  # padding alone would turn the means into NaN
                scaler.partial_fit(rows)
        if not hasattr(scaler, "n_samples_seen_"):
            raise ValueError("every embedding of X is padding; there is nothing to learn from.")
        self.scaler_ = scaler
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
            synthesised text stay such. Under ``copy=False`` it is `X` itself where it can be.
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
            # Pairs synthesised in text keep their parents.
            return X.with_rows(lambda rows: self._apply(rows, method))
        given = X
        X = check_embeddings(self, X, reset=False, allow_padding=True, dtype=FLOATS)
        # The check has copied an array of another dtype already.
        ours = isinstance(given, np.ndarray) and not np.may_share_memory(X, given)
        in_place = ours or not self.copy and X.flags.writeable and not _is_mapped(X)
        out = X if in_place else np.empty(X.shape, dtype=X.dtype)
        for part in _parts(X):
            rows = X[part]
            folded = rows.reshape(-1, X.shape[-1])
            out[part] = getattr(self.scaler_, method)(folded).reshape(rows.shape)
        return out

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _parts(X):
    """Return slices of the first axis that hold about `CHUNK` bytes each."""
    return gen_batches(len(X), max(1, CHUNK * len(X) // max(1, X.nbytes)))


def _is_mapped(array):
    """Whether an array is a view of a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
