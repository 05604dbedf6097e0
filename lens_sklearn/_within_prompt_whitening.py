"""A linear map of embeddings that weighs directions by how much they differ within prompts."""

from dataclasses import dataclass, replace
from math import sqrt
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._atomic_fit import atomic_fit
from ._augmented_pairs import AugmentedPairs
from ._covariance import (
    ShrunkCovariance,
    estimate_shrinkage,
    shrunk_covariance,
    shrunk_covariance_of_span,
)
from ._device import as_tensor
from ._validation import (
    check_embeddings,
    check_originals,
    check_response_features,
    check_unlabeled,
)
from ._whitening import CHUNK, Whitening, norm_factors


class WithinPromptWhitening(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    r"""Weigh directions by how much the responses to one prompt differ in them.

    Two embeddings differ mostly in what their prompts are about, but nobody ever prefers a
    response over one to another prompt. Embeddings are standardised to z and become
    :math:`M z`. From pairs alone

    .. math:: M = \Sigma^{q},

    with Σ the covariance of :math:`z^+ - z^-`. Responses without labels, several to a prompt,
    say far better what differs within prompts. With those, and T the covariance of all
    responses,

    .. math:: M = \Sigma^{q}\, T^{1/2} (T^{-1/2} \Sigma T^{-1/2})^{p}\, T^{-1/2},

    whose second part is a power of the Wiener filter :math:`\Sigma T^{-1}`, the best linear guess
    of how a response differs from others to its prompt. All covariances are Ledoit-Wolf
    estimates. The ratio in parentheses is shrunk by itself, so that with few responses it is the
    identity, and the filter then does nothing.

    Where the norms of the pairs' z vary far more than those of language models' embeddings, as
    those of word counts do, the embeddings with the largest norms would matter most. Norms are
    then first raised to the power, the norm exponent, at which their logarithms have the
    standard deviation √(0.3² + 1 / 2d).

    Parameters
    ----------
    wiener_exponent : float, default=0.25
        The power p; 0 is no filter. Without unlabelled responses it has no effect.
    covariance_exponent : float, default=0.125
        The power q; 0 leaves Σ out.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`). The map is learnt
        and applied without them, and they stay as they are.
    random_state : int, RandomState instance or None, default=None
        With more than 4,000,000 / d unlabelled responses, draws the prompts whose responses are
        used. With fewer nothing is random.

    Attributes
    ----------
    whitening_ : Whitening
        The map as a value object: ``mean`` and ``scale`` of shape (d,), ``norm``,
        ``norm_exponent`` (1 leaves norms as they are), ``directions`` (r, d), ``gains`` and the
        two exponents.
    n_features_in_ : int
        d, response features included.

    See Also
    --------
    GPRewardRegressor : Uses this map in its kernels.
    EmbeddingScaler : The standardisation alone.

    Notes
    -----
    A Pipeline hands unlabelled responses on, through the steps before this one, with metadata
    routing and ``transform_input=["unlabeled"]``. They may be those of the pairs, those to be
    picked from, or others of their kind; some hundred prompts are wanted. To learn from 400
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
    >>> whitening = WithinPromptWhitening().fit(toy.pairs, unlabeled=toy.candidates)
    >>> whitening.transform(toy.candidates).shape == toy.candidates.shape
    True
    """

    computes_in_float64 = True

    _parameter_constraints = {
        "wiener_exponent": [Interval(Real, 0, None, closed="left")],
        "covariance_exponent": [Interval(Real, 0, None, closed="left")],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    __metadata_request__fit = {"unlabeled": True}  # with metadata routing on

    #: What `get_fitted_state` returns.
    fitted_state_names = ("n_features_in_", "whitening_")

    def __init__(
        self,
        wiener_exponent=0.25,
        *,
        covariance_exponent=0.125,
        n_response_features=0,
        random_state=None,
    ):
        self.wiener_exponent = wiener_exponent
        self.covariance_exponent = covariance_exponent
        self.n_response_features = n_response_features
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    @atomic_fit
    def fit(self, X, y=None, *, unlabeled=None):
        """Learn the map.

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
            On malformed pairs; if `n_response_features` leaves no column; if unlabelled
            responses have another shape or d, or no prompt has two.
        """
        originals = check_originals(self, X, y, reset=True)
        check_response_features(self.n_response_features, originals.shape[-1])
        d = originals.shape[-1] - self.n_response_features
        originals = originals[..., :d]
        if unlabeled is not None:
            unlabeled = check_unlabeled(self, unlabeled)[..., :d]
        members = originals.reshape(-1, d).astype(np.float64)  # (2n, d)
        spectra = WithinPromptSpectra.estimate(
            as_tensor(members), unlabeled, check_random_state(self.random_state)
        )
        self.whitening_ = spectra.whitening(self.wiener_exponent, self.covariance_exponent)
        return self

    def transform(self, X):
        """Map embeddings.

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
        if isinstance(X, AugmentedPairs):
            return X.with_rows(self.transform)  # pairs synthesised in text keep their parents
        X = check_embeddings(self, X, reset=False, allow_padding=True, dtype=["float32", "float64"])
        rows = X.reshape(-1, X.shape[-1])
        d = X.shape[-1] - self.n_response_features
        out = np.empty_like(rows)
        out[:, d:] = rows[:, d:]
        for chunk in gen_batches(len(rows), CHUNK):
            whitened = self.whitening_.apply(rows[chunk, :d].astype(np.float64))
            out[chunk, :d] = sqrt(d) * whitened
        return out.reshape(X.shape)

    def get_fitted_state(self):
        """Return what `fit` learnt.

        Returns
        -------
        dict
            Numbers, arrays and dicts of these.
        """
        check_is_fitted(self)
        return {"n_features_in_": self.n_features_in_, "whitening_": self.whitening_.get_state()}

    def set_fitted_state(self, state):
        """Take what another estimator's `fit` learnt.

        Parameters
        ----------
        state : dict
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If the shapes do not fit each other.
        """
        n_features = int(state["n_features_in_"])
        d = n_features - self.n_response_features
        self.whitening_ = Whitening.from_state(state["whitening_"], d)
        self.n_features_in_ = n_features

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


@dataclass(frozen=True)
class WhiteningSettings:
    """What :class:`WithinPromptSpectra` is estimated with.

    Parameters
    ----------
    max_reference_values : int, default=4_000_000
        How many numbers of unlabelled responses are used: the covariances of more are hardly
        better, and time grows with them.
    max_norm_spread : float, default=0.3
        By how much the logarithms of norms may deviate, beyond those of a Gaussian, before norms
        are raised to a power below 1. They deviate by 0.08 to 0.26 where a language model's
        states or the vectors of a text's words are averaged, and far more in word counts.
    norm_quantiles : (float, float), default=(0.16, 0.84)
        Half the distance of these quantiles is a Gaussian's standard deviation; a few outliers
        do not change it.
    constant_tolerance : float, default=1e-6
        Features that deviate by less than this share of their mean are constant up to rounding.
    """

    max_reference_values: int = 4_000_000
    max_norm_spread: float = 0.3
    norm_quantiles: tuple = (0.16, 0.84)
    constant_tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class WithinPromptSpectra:
    """Σ and T as eigenvalues and eigenvectors: whitenings of many exponents then cost little.

    All arrays are tensors of float64 on one device.

    Parameters
    ----------
    members : tensor, shape (2 * n, d)
        The pairs' members, those of a pair beside each other.
    mean : tensor, shape (d,)
        Means of the features.
    scale : tensor, shape (d,)
        Their standard deviations, infinite for constant features.
    norm : float
        The typical norm of standardised members.
    norm_exponent : float
        The power that norms are raised to.
    directions : tensor, shape (r, d)
        The axes: eigenvectors of Σ, or of T where there are unlabelled responses.
    within : ShrunkCovariance
        Σ on these axes, in units of its variance in all other directions.
    ratio : ShrunkCovariance or None
        T^{-1/2} Σ T^{-1/2} on these axes, in units of its mean; None without unlabelled responses.
    total_deviation : tensor, shape (r,), or None
        The square roots of T's eigenvalues; None without unlabelled responses.
    """

    members: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    norm: float
    norm_exponent: float
    directions: torch.Tensor
    within: ShrunkCovariance
    ratio: ShrunkCovariance | None = None
    total_deviation: torch.Tensor | None = None

    @classmethod
    def estimate(cls, members, unlabeled, random_state, *, settings=None):
        """Estimate the spectra from pairs and, where there are any, unlabelled responses.

        Parameters
        ----------
        members : tensor of float64, shape (2 * n, d)
            The pairs' members, those of a pair beside each other. All is computed where they are.
        unlabeled : ndarray, shape (m, N, d), or None
            Checked responses without labels.
        random_state : RandomState
            Draws prompts where there are more than are used.
        settings : WhiteningSettings, optional
            By default the defaults.

        Returns
        -------
        WithinPromptSpectra
            The spectra.
        """
        settings = settings or WhiteningSettings()
        given, responses = members, members
        if unlabeled is not None:
            unlabeled = _draw_prompts(unlabeled, settings.max_reference_values, random_state)
            unlabeled = as_tensor(unlabeled).to(members.device)
            responses = torch.cat([members, unlabeled[~unlabeled[:, :, 0].isnan()]])
        mean, scale = _moments(responses, settings)
        norm, exponent = _norm_exponent((members - mean).div_(scale), settings)
        if exponent < 1:

            def even_norms(rows):
                return mean + (rows - mean) * norm_factors((rows - mean) / scale, norm, exponent)

            responses, members = even_norms(responses), even_norms(members)
            unlabeled = unlabeled if unlabeled is None else even_norms(unlabeled)
        differences = members[0::2] - members[1::2]  # (n, d)
        if unlabeled is None:
            spectra = _spectra_of_pairs(differences.div_(scale))
        else:
            differences = torch.cat([differences, within_prompt_contrasts(unlabeled)])
            spectra = _spectra_of_responses(differences / scale, (responses - mean) / scale)
        axes = spectra.pop("axes")
        directions = axes.masked_fill(scale.isinf(), 0)  # of constant features not even rounding
        return cls(given, mean, scale, norm, exponent, directions, **spectra)

    def whitening(self, wiener_exponent, covariance_exponent):
        """Return the map of two exponents.

        Parameters
        ----------
        wiener_exponent : float
            The power p.
        covariance_exponent : float
            The power q.

        Returns
        -------
        Whitening
            Scaled so that the pairs' members have a mean square norm of 1.
        """
        unscaled = Whitening(
            self.mean,
            self.scale,
            self.norm,
            self.norm_exponent,
            self.directions,
            self._gains(wiener_exponent, covariance_exponent),
            wiener_exponent,
            covariance_exponent,
        )
        squares = 0.0
        for chunk in gen_batches(len(self.members), CHUNK):
            rows = unscaled.apply(self.members[chunk])
            squares += torch.einsum("ij,ij->", rows, rows)
        size = sqrt(float(squares) / len(self.members)) or 1.0
        names = ("mean", "directions", "gains")
        return replace(
            unscaled,
            **{name: getattr(unscaled, name).cpu().numpy() for name in names},
            scale=(self.scale * size).cpu().numpy(),
            norm=float(self.norm / size),
        )

    def _gains(self, wiener_exponent, covariance_exponent):
        """Return M - 1 on `directions`: a diagonal, and with unlabelled responses a matrix."""
        if self.ratio is None:
            return self.within.variances**covariance_exponent - 1
        deviation = self.total_deviation
        # Rows are multiplied from the left, so T^{-1/2} comes first.
        wiener = self.ratio.power(wiener_exponent) * deviation / deviation[:, None]
        return wiener @ self.within.power(covariance_exponent) - torch.eye(len(deviation)).to(
            deviation
        )


def within_prompt_contrasts(unlabeled):
    """Return N - 1 independent differences a prompt, each with the covariance of a difference.

    They are Helmert contrasts: response k + 1 less the mean of the k before it, times
    √(2k / (k + 1)).

    Parameters
    ----------
    unlabeled : tensor of float64, shape (m, N, d)
        Responses, all-NaN ones being padding.

    Returns
    -------
    tensor, shape (number of responses less that of prompts, d)
        The contrasts.
    """
    there = ~unlabeled[:, :, 0].isnan()
    k = (there.cumsum(dim=1) - there.long())[:, :, None]  # (m, N, 1)
    filled = torch.where(there[:, :, None], unlabeled, 0.0)
    contrasts = filled - (filled.cumsum(dim=1) - filled) / k.clamp(min=1)
    contrasts *= torch.sqrt(2 * k / (k + 1).double())
    return contrasts[there & (k[:, :, 0] > 0)]


def _draw_prompts(unlabeled, max_values, random_state):
    """Draw the responses of so many prompts that their covariances are affordable."""
    n_prompts = max(1, max_values // unlabeled[0].size)
    if len(unlabeled) > n_prompts:
        unlabeled = unlabeled[random_state.permutation(len(unlabeled))[:n_prompts]]
    return unlabeled.astype(np.float64)


def _moments(responses, settings):
    """Return means (d,) and deviations (d,), infinite for constant features."""
    mean, scale = responses.mean(dim=0), responses.std(dim=0, correction=0)
    # Sums round: in float64 a constant deviates by up to 1e-15 of its mean instead of 0.
    scale[scale <= settings.constant_tolerance * abs(mean)] = torch.inf
    return mean, scale


def _norm_exponent(standard, settings):
    """Return the typical norm of standardised embeddings, and the power to raise norms to."""
    norms = torch.linalg.vector_norm(standard, dim=1)
    norms = norms[norms > 0].cpu().numpy()
    if not len(norms):
        return 1.0, 1.0
    low, high = settings.norm_quantiles
    low, middle, high = np.quantile(np.log(norms), [low, 0.5, high])
    # The logarithms of a Gaussian's norms deviate by √(1 / 2d).
    spread = sqrt(settings.max_norm_spread**2 + 0.5 / int(standard.any(dim=0).sum()))
    return float(np.exp(middle)), float(min(1, 2 * spread / max(high - low, spread)))


def _spectra_of_pairs(differences):
    within = shrunk_covariance_of_span(differences)
    return {"axes": within.axes, "within": within.in_units_of(within.rest)}


def _spectra_of_responses(differences, responses):
    total = shrunk_covariance_of_span(responses)
    deviation = total.variances.sqrt()
    along = differences @ total.axes.T  # (m, r)
    white = along / deviation
    shrinkage = estimate_shrinkage(white)
    ratio = shrunk_covariance(white, shrinkage).in_units_of(shrinkage.mean_variance)
    # The shrinkage of Σ is that of all d features, also those beside the axes.
    within = shrunk_covariance(along, estimate_shrinkage(differences))
    return {
        "axes": total.axes,
        "within": within.in_units_of(within.rest),
        "ratio": ratio,
        "total_deviation": deviation,
    }
