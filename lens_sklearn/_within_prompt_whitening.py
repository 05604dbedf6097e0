"""A metric of embeddings in which directions count by how much they differ within prompts."""

from math import sqrt
from numbers import Real

import numpy as np
from scipy.linalg import eigh, svd
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._augmented_pairs import AugmentedPairs
from ._validation import check_embeddings, check_pairs, check_unlabeled

CHUNK = 1024  # embeddings at once: bounds the memory of transform
REFERENCE = 4_000_000  # numbers of unlabelled responses that the metric is estimated from
LEAST_SHRINKAGE = 1e-4  # no direction has no variance at all
# By how much the logarithms of lengths deviate at most, beyond those of a Gaussian. They do by 0.08
# to 0.26 where texts are averaged by a language model or as words of unit length.
SPREAD_OF_LENGTHS = 0.3


class WithinPromptWhitening(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    r"""Weigh directions by how much the responses to one prompt differ in them.

    What two embeddings differ in is mostly what their prompts are about, and no preference is
    between responses to different prompts. Embeddings are standardised to z and become
    :math:`M z`. From pairs alone

    .. math:: M = \Sigma^{q},

    with Σ the covariance of :math:`z^+ - z^-`. Responses without labels, several to a prompt,
    tell far better what differs within prompts. With those, and T the covariance of all
    responses,

    .. math:: M = \Sigma^{q}\, T^{1/2} (T^{-1/2} \Sigma T^{-1/2})^{p}\, T^{-1/2},

    whose latter part is a power of the Wiener filter :math:`\Sigma T^{-1}`, the best linear guess
    of what tells a response apart from others to its prompt. All covariances are Ledoit-Wolf
    estimates. The ratio in the midst of M has one of its own, so that few responses make it the
    identity, and the filter then does nothing.

    Where the lengths of the pairs' z vary far more than those of language models' embeddings, as
    those of word counts do, the longest would say the most. Lengths are then raised to the power
    at which their logarithms deviate by √(0.3² + 1 / 2d), before all else.

    Parameters
    ----------
    wiener_exponent : float, default=0.25
        The power p; 0 is no filter. Without unlabelled responses it has no say.
    covariance_exponent : float, default=0.125
        The power q; 0 leaves Σ out.
    random_state : int, RandomState instance or None, default=None
        Draws, of more than 4,000,000 / d unlabelled responses, some prompts' that make as many;
        with fewer nothing is random.

    Attributes
    ----------
    mean_ : ndarray of float64, shape (d,)
        Means of the features.
    scale_ : ndarray of float64, shape (d,)
        Their deviations, times what makes the mean square length of the pairs' members in the
        metric 1; infinite for constant features, which say nothing.
    length_ : float
        The typical length of z.
    norm_exponent_ : float
        The power that lengths are raised to, in units of that one; 1 leaves them as they are.
    directions_ : ndarray of float64, shape (r, d)
        Eigenvectors of Σ that the pairs span, r = min(n, d), or of T.
    gains_ : ndarray of float64, shape (r,) or (r, r)
        Their factors in M over that of all other directions, less 1; a matrix with unlabelled
        responses.
    n_features_in_ : int
        d.

    See Also
    --------
    GPRewardRegressor : Has this metric in its kernels.
    EmbeddingScaler : The standardisation alone.

    Notes
    -----
    A Pipeline hands unlabelled responses on, through the steps before this one, with metadata
    routing and ``transform_input=["unlabeled"]``. They may be those of the pairs, those to be
    picked from, or others of their kind; some hundred prompts are wanted. The metric of 400
    prompts with 16 responses each takes about 1 second at d = 384 and 7 at d = 3840.

    References
    ----------
    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", J. Multivariate Analysis 88, 2004;
    N. Wiener, "Extrapolation, interpolation, and smoothing of stationary time series", 1949.

    Examples
    --------
    >>> from lens_sklearn import WithinPromptWhitening
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=100, n_features=8, random_state=0)
    >>> metric = WithinPromptWhitening().fit(toy.pairs, unlabeled=toy.candidates)
    >>> metric.transform(toy.candidates).shape == toy.candidates.shape
    True
    """

    _parameter_constraints = {
        "wiener_exponent": [Interval(Real, 0, None, closed="left")],
        "covariance_exponent": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"unlabeled": True}  # with metadata routing on

    def __init__(self, wiener_exponent=0.25, *, covariance_exponent=0.125, random_state=None):
        self.wiener_exponent = wiener_exponent
        self.covariance_exponent = covariance_exponent
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, unlabeled=None):
        """Learn the metric.

        Parameters
        ----------
        X : AugmentedPairs, array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs; which column is chosen makes no difference. Rated embeddings are paired by
            the order of their ratings.
        y : array-like of shape (n,), optional
            Ratings; ignored for pairs.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to each of m prompts, all-NaN ones being padding.

        Returns
        -------
        WithinPromptWhitening
            Itself, fitted.

        Raises
        ------
        ValueError
            On malformed pairs; if unlabelled responses have another shape or d, or no prompt
            has two.
        """
        originals = check_pairs(self, X, y, reset=True).originals
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)
        members = originals.reshape(-1, originals.shape[-1]).astype(np.float64)
        return self._learn(Spectra(members, unlabeled, check_random_state(self.random_state)))

    def _learn(self, spectra):
        """Learn from what is independent of the powers."""
        self.n_features_in_ = spectra.mean.size
        self.mean_, self.scale_ = spectra.mean, spectra.scale.copy()
        self.length_, self.norm_exponent_ = spectra.length, spectra.norm_exponent_
        self.directions_ = spectra.directions
        self.gains_ = spectra.gains(self.wiener_exponent, self.covariance_exponent)
        rows = self._apply(spectra.members)
        size = np.sqrt(np.einsum("ij,ij->", rows, rows) / len(rows))
        self.scale_ *= size or 1.0
        self.length_ /= size or 1.0
        return self

    def transform(self, X):
        """Return embeddings in the metric.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Embeddings; padding stays padding.

        Returns
        -------
        ndarray of the same shape
            √d M z, in which the features of the pairs have a mean square of 1 as standardised
            ones do; float32 unless `X` is float64. `AugmentedPairs` of synthesised text stay such.
        """
        check_is_fitted(self)
        if isinstance(X, AugmentedPairs) and isinstance(X.pool, np.ndarray):
            return X.with_rows(self.transform)  # pairs synthesised in text keep their parents
        X = check_embeddings(self, X, reset=False, allow_padding=True, dtype=["float32", "float64"])
        rows = X.reshape(-1, X.shape[-1])
        out = np.empty_like(rows)
        for chunk in gen_batches(len(rows), CHUNK):
            out[chunk] = sqrt(X.shape[-1]) * self._apply(rows[chunk].astype(np.float64))
        return out.reshape(X.shape)

    def _apply(self, rows):
        """Return rows (m, d) in the metric, where members have a mean square length of 1."""
        rows = (rows - self.mean_) / self.scale_
        if self.norm_exponent_ < 1:
            rows *= _length_factors(rows, self.length_, self.norm_exponent_)
        along = rows @ self.directions_.T
        along = along * self.gains_ if self.gains_.ndim == 1 else along @ self.gains_
        return rows + along @ self.directions_

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class Spectra:
    """Σ and T as eigenvalues and eigenvectors, from which metrics of many powers cost little.

    Parameters
    ----------
    members : ndarray of float64, shape (2 * n, d)
        Those of a pair beside each other.
    unlabeled : ndarray, shape (m, N, d), or None
        Checked responses without labels.
    random_state : RandomState
        Draws from those.
    """

    def __init__(self, members, unlabeled, random_state):
        self.members = responses = members
        if unlabeled is not None:
            unlabeled = _drawn(unlabeled, random_state)
            responses = np.concatenate([members, unlabeled[~np.isnan(unlabeled[:, :, 0])]])
        self.mean, self.scale = responses.mean(axis=0), responses.std(axis=0)
        self.scale[self.scale <= 1e-6 * abs(self.mean)] = np.inf  # constant features say nothing
        self.length, self.norm_exponent_ = _lengths((members - self.mean) / self.scale)
        if self.norm_exponent_ < 1:
            responses, members = self._tempered(responses), self._tempered(members)
            unlabeled = unlabeled if unlabeled is None else self._tempered(unlabeled)
        differences = members[0::2] - members[1::2]
        if unlabeled is not None:
            differences = np.concatenate([differences, _contrasts(unlabeled)])
        differences /= self.scale
        if unlabeled is None:
            self.ratio = self.deviation = None
            variance, least, self.directions = _shrunk_spectrum(differences)
            self.sigma = variance / least
        else:
            variance, _, self.directions = _shrunk_spectrum((responses - self.mean) / self.scale)
            self.deviation = np.sqrt(variance)  # T's square root on its axes
            along = differences @ self.directions.T
            white = along / self.deviation
            share, mean = _shrinkage(white)
            self.ratio = _shrunk_axes(white, share, mean, mean)  # 1 where it is as in the mean
            share, mean = _shrinkage(differences)
            self.sigma = _shrunk_axes(along, share, mean, share * mean)  # 1 beside all responses
        self.directions[:, np.isinf(self.scale)] = 0  # not even rounding

    def _tempered(self, rows):
        standard = (rows - self.mean) / self.scale
        factors = _length_factors(standard, self.length, self.norm_exponent_)
        return self.mean + (rows - self.mean) * factors

    def gains(self, wiener_exponent, covariance_exponent):
        """Return M - 1 on `directions`: a diagonal, and with unlabelled responses a matrix."""
        if self.ratio is None:
            return self.sigma**covariance_exponent - 1
        ratio, sigma = (
            _power(*self.ratio, wiener_exponent),
            _power(*self.sigma, covariance_exponent),
        )
        filtered = (ratio * self.deviation / self.deviation[:, None]) @ sigma
        return filtered - np.eye(len(filtered))


def _drawn(unlabeled, random_state):
    """Draw the responses of so many prompts that a metric of them is affordable."""
    n_prompts = max(1, REFERENCE // unlabeled[0].size)
    if len(unlabeled) > n_prompts:
        unlabeled = unlabeled[random_state.permutation(len(unlabeled))[:n_prompts]]
    return unlabeled.astype(np.float64)


def _lengths(standard):
    """Return the geometric middle of standardised embeddings' lengths, and what tempers them."""
    lengths = np.sqrt(np.einsum("ij,ij->i", standard, standard))
    lengths = lengths[lengths > 0]
    if not len(lengths):
        return 1.0, 1.0
    low, middle, high = np.quantile(np.log(lengths), [0.16, 0.5, 0.84])
    most = sqrt(SPREAD_OF_LENGTHS**2 + 0.5 / standard.any(axis=0).sum())
    return float(np.exp(middle)), float(min(1, 2 * most / max(high - low, most)))


def _length_factors(standard, length, power):
    """Return what raises the lengths of embeddings (..., d) to a power, (..., 1)."""
    relative = np.sqrt(np.einsum("...i,...i->...", standard, standard))[..., None] / length
    return np.power(relative, power - 1, out=np.zeros_like(relative), where=relative != 0)


def _contrasts(unlabeled):
    """Return N - 1 independent differences a prompt, each with the covariance of a difference.

    Response k + 1 less the mean of the k before it, times √(2k / (k + 1)).
    """
    there = ~np.isnan(unlabeled[:, :, 0])
    k = (np.cumsum(there, axis=1) - there)[:, :, None]  # (m, N, 1)
    filled = np.where(there[:, :, None], unlabeled, 0.0)
    contrasts = filled - (np.cumsum(filled, axis=1) - filled) / np.maximum(k, 1)
    contrasts *= np.sqrt(2 * k / (k + 1))
    return contrasts[there & (k[:, :, 0] > 0)]


def _shrinkage(rows):
    """Return the Ledoit-Wolf shrinkage of centred rows' covariance, and the mean variance."""
    varying = rows[:, rows.any(axis=0)]
    share, mean = 1.0, np.mean(np.square(varying)) if varying.size else 1.0
    if len(rows) > 1 and varying.size:
        share = max(ledoit_wolf_shrinkage(varying, assume_centered=True), LEAST_SHRINKAGE)
    return share, mean


def _shrunk_axes(rows, share, mean, unit):
    """Return the shrunk covariance of rows, over a unit of variance, as eigenvalues and axes."""
    variance, axes = eigh((1 - share) / len(rows) * (rows.T @ rows))
    return (np.maximum(variance, 0) + share * mean) / unit, axes


def _power(variance, axes, power):
    return (axes * variance**power) @ axes.T


def _shrunk_spectrum(rows):
    """Return the shrunk covariance's eigenvalues in the rows' span and outside it, and its axes."""
    share, mean = _shrinkage(rows)
    deviations, axes = svd(rows / np.sqrt(len(rows)), full_matrices=False)[1:]
    return (1 - share) * deviations**2 + share * mean, share * mean, axes
