"""Standardise embeddings of any shape ``(..., d)``."""

from copy import deepcopy

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.preprocessing import StandardScaler
from sklearn.utils import gen_batches
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ._atomic_fit import atomic_fit
from ._augmented_pairs import AugmentedPairs
from ._fitted_state import FittedState, check_shapes
from ._validation import check_embeddings

FLOATS = ("float32", "float64")  # check_array keeps these and turns all else into the first
CHUNK = 1 << 22  # bytes; StandardScaler's temporaries in float64 are a few times as large
STATISTICS = ("mean_", "var_", "scale_")  # of a StandardScaler, each of shape (d,)


class EmbeddingScaler(
    FittedState, OneToOneFeatureMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
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

    Notes
    -----
    Each column has its own mean and deviation, so an embedding and the response features behind
    it (:class:`ResponseViews`) do not touch each other's scale.

    Under metadata routing ``sample_weight`` reaches the scaler of a Pipeline on request alone,
    ``EmbeddingScaler().set_fit_request(sample_weight=True)``; by default it passes by on its way
    to the reward model, and every embedding counts the same.

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
    __metadata_request__fit = {"sample_weight": False}
    __metadata_request__partial_fit = {"sample_weight": False}

    def __init__(self, with_mean=True, with_std=True, *, copy=True):
        self.with_mean = with_mean
        self.with_std = with_std
        self.copy = copy

    @atomic_fit
    def fit(self, X, y=None, sample_weight=None):
        """Learn each feature's mean and standard deviation.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; all-NaN ones are padding and are left out.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            How often each entry of the first axis counts, with all embeddings in it; None
            counts each once.

        Returns
        -------
        EmbeddingScaler
            Itself, fitted.
        """
        if hasattr(self, "scaler_"):
            del self.scaler_
        return self.partial_fit(X, sample_weight=sample_weight)

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def partial_fit(self, X, y=None, sample_weight=None):
        """Update the means and standard deviations with further embeddings.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; all-NaN ones are padding and are left out.
        y : None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            How often each entry of the first axis counts, with all embeddings in it; None
            counts each once.

        Returns
        -------
        EmbeddingScaler
            Itself, fitted.

        Raises
        ------
        ValueError
            If nothing but padding and weights of 0 was seen so far, an embedding is not finite,
            or a weight is negative; if numbers are so large that their squares are not finite.
        """
        first = not hasattr(self, "scaler_")
        X = check_embeddings(self, X, reset=first, allow_padding=True, dtype=FLOATS)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        if first:
            scaler = StandardScaler(with_mean=self.with_mean, with_std=self.with_std)
            # Folded rows never leave this class, whatever output the user has configured.
            scaler.set_output(transform="default")
        else:
            scaler = deepcopy(self.scaler_)  # changed by parts: in whole or not at all
            if sample_weight is None and np.asarray(scaler.n_samples_seen_).dtype.kind == "f":
                sample_weight = np.ones(len(X))  # else it would round the weights seen before
        for part in _parts(X):
            rows = X[part].reshape(-1, X.shape[-1])  # (m, d)
            with np.errstate(over="ignore", invalid="ignore"):  # said below
                if sample_weight is None:
                    _learn(scaler, rows)
                else:
                    weight = np.repeat(sample_weight[part], len(rows) // len(X[part]))  # (m,)
                    _learn(scaler, rows[weight > 0], weight[weight > 0])
        if not hasattr(scaler, "n_samples_seen_"):
            raise ValueError(
                "every embedding of X is padding or has the weight 0; there is nothing to learn "
                "from."
            )
        _check_moments(scaler)
        if sample_weight is not None and self.with_std:
            _keep_constants(scaler, X.size // X.shape[-1])
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
        if isinstance(X, AugmentedPairs):
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

    def get_fitted_state(self):
        """Return the fitted attributes.

        Returns
        -------
        dict of str to object
            ``n_features_in_`` and the arrays of ``scaler_``; those that it lacks, not being
            asked for a mean or a deviation, are left out.
        """
        state = {"n_features_in_": int(self.n_features_in_)}
        for name in (*STATISTICS, "n_samples_seen_"):
            if getattr(self.scaler_, name) is not None:
                state[name] = np.asarray(getattr(self.scaler_, name))
        return state

    def set_fitted_state(self, state):
        """Set the fitted attributes, so that the scaler is fitted.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If an array is missing, is not known or has another shape.
        """
        unknown = sorted(set(state) - {"n_features_in_", "n_samples_seen_", *STATISTICS})
        if unknown:
            raise ValueError(f"EmbeddingScaler has no fitted attribute {unknown[0]!r}")
        d = int(state["n_features_in_"])
        needed = {
            "mean_": self.with_mean or self.with_std,
            "var_": self.with_std,
            "scale_": self.with_std,
        }
        arrays = {name: state.get(name) for name in STATISTICS}
        check_shapes(self, {name: (arrays[name], (d,)) for name in STATISTICS if needed[name]})
        scaler = StandardScaler(with_mean=self.with_mean, with_std=self.with_std)
        scaler.set_output(transform="default")
        scaler.n_features_in_ = d
        for name, array in arrays.items():
            setattr(scaler, name, array if needed[name] else None)
        seen = np.asarray(state["n_samples_seen_"])
        check_shapes(self, {"n_samples_seen_": (seen, (d,) if seen.ndim else ())})
        scaler.n_samples_seen_ = seen if seen.ndim else seen[()]
        self.n_features_in_, self.scaler_ = d, scaler

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _parts(X):
    """Return slices of the first axis that hold about `CHUNK` bytes each."""
    return gen_batches(len(X), max(1, CHUNK * len(X) // max(1, X.nbytes)))


def _learn(scaler, rows, weight=None):
    """Update a StandardScaler with rows (m, d) and their weights (m,), without the padding."""
    padding = np.isnan(rows[:, :1]).any(axis=1)
    if padding.any():
        rows = rows[~padding]
        weight = None if weight is None else weight[~padding]
    if not len(rows):  # padding alone would turn the means into NaN
        return
    if weight is None:
        scaler.partial_fit(rows)
        return
    with np.errstate(invalid="ignore"):  # the root of a constant's variance, rounded below 0
        # Weights get the dtype of the rows, and so would their sum over all chunks.
        scaler.partial_fit(rows.astype(np.float64), sample_weight=weight)
    if scaler.var_ is not None:
        np.maximum(scaler.var_, 0, out=scaler.var_)


def _check_moments(scaler):
    """Raise if squares of numbers overflowed, which would turn all of a feature into 0."""
    for moment in (scaler.mean_, scaler.var_):
        bad = [] if moment is None else np.flatnonzero(~np.isfinite(moment))
        if len(bad):
            raise ValueError(
                f"feature {bad[0]} of X has values so large that their squares do not fit into "
                "float64. Divide the embeddings by a number, all by the same."
            )


def _keep_constants(scaler, n_rows):
    """Leave features unscaled whose variance is the rounding of a sum of n_rows numbers.

    StandardScaler bounds that rounding by the sum of the weights, which may be much less.
    """
    step = n_rows * np.finfo(np.float64).eps
    scaler.scale_[scaler.var_ <= step * scaler.var_ + (step * scaler.mean_) ** 2] = 1.0


def _is_mapped(array):
    """Whether an array is a view of a file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False
