"""What augmenters share, and those that need no autoencoder: controls, and differences."""

from copy import deepcopy
from dataclasses import replace
from math import ceil, sqrt
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, _fit_context
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._atomic_fit import atomic_fit
from ._augmented_pairs import AugmentedPairs
from ._device import draw_seed, row_order
from ._fitted_state import FittedState
from ._learning_state import random_state_from_values, random_state_to_values
from ._pools import DifferenceRows, FeatureRows, JoinedRows
from ._validation import check_embeddings, check_pairs, check_response_features


class PairAugmenter(
    FittedState, OneToOneFeatureMixin, TransformerMixin, BaseEstimator, auto_wrap_output_keys=None
):
    """Base of augmenters: checks, pairing, and a `transform` that changes nothing.

    A subclass synthesizes members in ``_synthesize``, which are then combined with the
    originals, or makes whole pairs in ``_augment``. Either is given pairs without their response
    features, which ``_features_of_pool`` gives to what was synthesized.
    """

    n_response_features = 0  # of a subclass without this parameter

    def __init_subclass__(cls, **kwargs):
        """Leave 3-D arrays alone, whatever output the user has configured."""
        super().__init_subclass__(auto_wrap_output_keys=None, **kwargs)

    fitted_state_names = ("n_features_in_",)

    _parameter_constraints = {
        "factor": [Interval(Integral, 1, None, closed="left")],
        "pairing": [StrOptions({"compositional", "matched"})],
        "n_response_features": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
    }

    @_fit_context(prefer_skip_nested_validation=False)
    @atomic_fit
    def fit(self, X, y=None):
        """Learn what synthesis needs.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins; embeddings of shape (n, d) are
            paired by its order.

        Returns
        -------
        self
            Fitted.
        """
        self._learn(self._check_originals(X, y, reset=True).compact())
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    @atomic_fit
    def fit_transform(self, X, y=None):
        """Fit and return the augmented pairs.

        .. note::
            This is not ``fit(X).transform(X)``: `transform` returns its input as it is, so
            that a Pipeline augments what it trains on and nothing that it predicts or scores.
            It is ``fit(X).augment(X)``.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins (default 1); it is handed down to the
            synthetic pairs. Embeddings of shape (n, d) are paired by its order.

        Returns
        -------
        AugmentedPairs of shape (factor * n, 2, d)
            The n originals first, then the synthetic pairs; fewer where some are left out
            (:class:`LatentPairAugmenter`'s `keep`).

        Raises
        ------
        ValueError
            On malformed pairs, pairs that are augmented already, or a parameter that has no
            effect beside the others.
        """
        whole = self._check_originals(X, y, reset=True)
        pairs = whole.compact()
        random_state = self._learn(pairs)
        return self._augment_views(pairs, random_state).among(whole)

    def augment(self, X, y=None):
        """Augment pairs by what was learnt before.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            As in `fit_transform`.

        Returns
        -------
        AugmentedPairs of shape (factor * n, 2, d)
            For the pairs of `fit_transform` what that returned: the draws are the same in
            every call.
        """
        check_is_fitted(self)
        whole = self._check_originals(X, y, reset=False)
        augmented = self._augment_views(whole.compact(), deepcopy(self._random_state))
        return augmented.among(whole)

    def transform(self, X):
        """Return the input as it is.

        Parameters
        ----------
        X : array-like of shape (..., d)
            Pairs or candidates.

        Returns
        -------
        ndarray of shape (..., d)
            `X`.
        """
        check_is_fitted(self)
        return check_embeddings(
            self, X, reset=False, allow_padding=True, dtype=["float32", "float64"]
        )

    def get_fitted_state(self):
        """Return the fitted attributes and the random state of `augment`.

        Returns
        -------
        dict of str to object
            As :mod:`lens_sklearn.export` writes them.
        """
        draws = random_state_to_values(self._random_state)
        return super().get_fitted_state() | {"random_state": draws}

    def set_fitted_state(self, state):
        """Set the fitted attributes and the random state of `augment`.

        Parameters
        ----------
        state : dict of str to object
            What `get_fitted_state` returned.

        Raises
        ------
        ValueError
            If an attribute is not known.
        """
        state = dict(state)
        self._random_state = random_state_from_values(state.pop("random_state"))
        super().set_fitted_state(state)

    def _check_originals(self, X, y, *, reset):
        if isinstance(X, AugmentedPairs):
            raise ValueError(
                "the pairs are augmented already; augment once, by the product of the factors."
            )
        pairs = check_pairs(self, X, y, reset=reset)
        check_response_features(self.n_response_features, pairs.shape[-1])
        return pairs if y is None else replace(pairs, has_targets=True)

    def _learn(self, pairs):
        """Fit, and return the random state that synthesis goes on drawing from."""
        random_state = check_random_state(self.random_state)
        self._fit(self._without_features(pairs), random_state)
        self._random_state = deepcopy(random_state)  # for `augment`
        return random_state

    def _seed(self, estimator, seed):
        """Seed an estimator that has no seed of its own, if this one has."""
        if self.random_state is not None and getattr(estimator, "random_state", 0) is None:
            estimator.random_state = seed

    def _fit(self, pairs, random_state):
        """Learn from n original pairs."""

    def _without_features(self, pairs):
        if not self.n_response_features:
            return pairs
        embedding = np.ascontiguousarray(pairs.originals[..., : -self.n_response_features])
        return replace(pairs, originals=embedding)

    def _augment_views(self, pairs, random_state):
        """Augment the embedding's view and give what is synthetic its response features."""
        augmented = self._augment(self._without_features(pairs), random_state)
        if not self.n_response_features:
            return augmented
        pool = augmented.pool
        if pool is not None:
            features = pairs.originals[..., -self.n_response_features :]
            features = self._features_of_pool(augmented, features.reshape(len(pairs) * 2, -1))
            if isinstance(pool, np.ndarray):
                pool = np.concatenate([pool, features[np.arange(len(pool))]], axis=1)
            else:
                pool = JoinedRows(pool, features)
        return replace(augmented, originals=pairs.originals, pool=pool)

    def _features_of_pool(self, augmented, features):
        """Return the features (m, k) of synthetic members by those of the originals (2n, k)."""
        n_real = len(features)
        own = 2 * augmented.parent[:, None] + np.arange(2)  # (n_pairs, 2), the parents' members
        synthetic = augmented.members >= n_real
        owner = np.zeros(len(augmented.pool), dtype=int)
        owner[augmented.members[synthetic] - n_real] = own[synthetic]
        return FeatureRows(features, owner)

    def _synthesize(self, originals, n_samples, random_state):
        """Return 2·n·n_samples synthetic rows in the order (pair, sample, column)."""
        raise NotImplementedError

    def _augment(self, pairs, random_state):
        """Combine the members of each original pair with those synthesized from it."""
        if self.factor == 1:
            return pairs
        n, n_new = len(pairs), self.factor - 1
        if self.pairing == "matched":
            n_samples = n_new
            chosen = rejected = np.broadcast_to(np.arange(1, n_new + 1), (n, n_new))
        else:
            # Members 0 are the originals: (m + 1)² combinations hold every pair but the real.
            n_samples = ceil(sqrt(self.factor)) - 1
            n_combinations = (n_samples + 1) ** 2 - 1
            drawn = np.empty((n, n_combinations), dtype=int)
            drawn[row_order(pairs.originals)] = np.argsort(
                random_state.random_sample(drawn.shape), axis=1
            )
            chosen, rejected = np.divmod(1 + drawn[:, :n_new], n_samples + 1)
        pool = self._synthesize(pairs.originals, n_samples, random_state)
        parent = np.arange(n)[:, None]

        def member(sample, column):  # (n, n_new) -> rows of originals or pool
            synthetic = 2 * n + 2 * (parent * n_samples + sample - 1) + column
            return np.where(sample == 0, 2 * parent + column, synthetic)

        members = np.stack([member(chosen, 0), member(rejected, 1)], axis=-1)  # (n, k-1, 2)
        return pairs.add(pool, members.swapaxes(0, 1).reshape(-1, 2))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class DirectNoiseAugmenter(PairAugmenter):
    """Control: Gaussian noise added to the embeddings themselves.

    Parameters
    ----------
    factor : int, default=4
        Pairs returned for each original pair, the original included.
    noise_variance : float, default=0.01
        Variance of the noise in each feature, in units of that feature's variance over the
        pairs, so that it means the same on raw and on standardised embeddings.
    pairing : {"compositional", "matched"}, default="compositional"
        As in :class:`LatentPairAugmenter`.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`). Synthesis acts on
        the other columns alone, as if these were not there; a synthetic member has the features
        of its parent's member in the same column.
    random_state : int, RandomState instance or None, default=None
        Draws noise and pairing.

    Attributes
    ----------
    scale_ : ndarray of shape (d,)
        Standard deviation of each feature of the embedding.
    n_features_in_ : int
        d, response features included.
    """

    fitted_state_names = ("n_features_in_", "scale_")

    _parameter_constraints = PairAugmenter._parameter_constraints | {
        "noise_variance": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        factor=4,
        noise_variance=0.01,
        pairing="compositional",
        n_response_features=0,
        random_state=None,
    ):
        self.factor = factor
        self.noise_variance = noise_variance
        self.pairing = pairing
        self.n_response_features = n_response_features
        self.random_state = random_state

    def _fit(self, pairs, random_state):
        rows = pairs.originals.reshape(-1, pairs.shape[-1])
        self.scale_ = rows.std(axis=0, dtype=np.float64)

    def _synthesize(self, originals, n_samples, random_state):
        rows = np.repeat(originals[:, None], n_samples, axis=1)  # (n, n_samples, 2, d)
        generator = np.random.default_rng(draw_seed(random_state))
        scale = (sqrt(self.noise_variance) * self.scale_).astype(np.float32)
        rows[row_order(originals)] += scale * generator.standard_normal(
            rows.shape, dtype=np.float32
        )
        return rows.reshape(-1, rows.shape[-1])


class GaussianAugmenter(PairAugmenter):
    """Control: samples of two Gaussians, fitted to the chosen and the rejected embeddings.

    The sample ``mean + Xᵀw / sqrt(n)`` with centred embeddings X and standard normal w has
    exactly the empirical mean and covariance; no d × d matrix is formed, so d may exceed n.

    Parameters
    ----------
    factor : int, default=4
        Pairs returned for each original pair, the original included.
    spread : float, default=1.0
        Factor on the standard deviation.
    pairing : {"compositional", "matched"}, default="compositional"
        As in :class:`LatentPairAugmenter`.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`). Synthesis acts on
        the other columns alone, as if these were not there; a synthetic member has the features
        of its parent's member in the same column.
    random_state : int, RandomState instance or None, default=None
        Draws samples and pairing.

    Attributes
    ----------
    mean_ : ndarray of shape (2, d)
        Mean of the chosen and of the rejected embeddings.
    n_features_in_ : int
        d, response features included.
    """

    fitted_state_names = ("n_features_in_", "mean_")

    _parameter_constraints = PairAugmenter._parameter_constraints | {
        "spread": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        factor=4,
        spread=1.0,
        pairing="compositional",
        n_response_features=0,
        random_state=None,
    ):
        self.factor = factor
        self.spread = spread
        self.pairing = pairing
        self.n_response_features = n_response_features
        self.random_state = random_state

    def _fit(self, pairs, random_state):
        self.mean_ = pairs.originals.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _synthesize(self, originals, n_samples, random_state):
        n, _, d = originals.shape
        order = row_order(originals)
        originals = originals[order]
        generator = np.random.default_rng(draw_seed(random_state))
        rows = np.empty((n * n_samples, 2, d), dtype=np.float32)
        for chunk in gen_batches(len(rows), 1024):  # the weights are n numbers a row
            for column in range(2):
                drawn = rows[chunk, column]
                weights = generator.standard_normal((len(drawn), n), dtype=np.float32)
                weights *= self.spread / sqrt(n)
                drawn[:] = weights @ originals[:, column]
                drawn += np.outer(1 - weights.sum(axis=1), self.mean_[column])
        rows = rows.reshape(n, n_samples, 2, d)
        return rows[np.argsort(order)].reshape(-1, d)


class RepeatAugmenter(PairAugmenter):
    """Control: the original pairs `factor` times, so the same optimiser steps and no new data.

    k-fold augmentation at fixed epochs is also k-fold the steps; a gain that this control has
    too is a gain of longer training.

    Parameters
    ----------
    factor : int, default=4
        How many times each pair is returned.

    Attributes
    ----------
    n_features_in_ : int
        d.
    """

    _parameter_constraints = {"factor": PairAugmenter._parameter_constraints["factor"]}
    random_state = None

    def __init__(self, *, factor=4):
        self.factor = factor

    def _augment(self, pairs, random_state):
        copies = np.tile(pairs.members, (self.factor - 1, 1))
        return pairs.add(None, copies)


class DifferenceAugmenter(PairAugmenter):
    """Apply one pair's difference to another pair's response.

    What told two responses apart elsewhere is tried on this one: the first member of a
    synthetic pair is a response e of its parent, the second is e plus or minus the difference
    e'⁺ − e'⁻ of another pair. Both are drawn from their Ledoit-Wolf covariance: shrunk, and given
    noise in all directions, the more the fewer pairs there are. Either member may be the better
    one, so every synthetic pair has target 0.5 until :class:`DistillationAugmenter` gives it a
    teacher's soft target.

    Parameters
    ----------
    factor : int, default=4
        Pairs returned for each original pair, the original included.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`). The others are
        augmented as if these were not there. A difference of embeddings goes with the difference
        of the same pair's features, without noise: e has its own features and the other member
        these plus or minus that difference. So they may leave their range, a share 0 to 1.
    random_state : int, RandomState instance or None, default=None
        Draws responses, differences and noise.

    Attributes
    ----------
    n_features_in_ : int
        d, response features included.

    See Also
    --------
    DistillationAugmenter : Gives these pairs the soft targets of a teacher.

    Examples
    --------
    >>> from lens_sklearn import DifferenceAugmenter
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=64, n_features=8, random_state=0).pairs
    >>> DifferenceAugmenter(factor=3, random_state=0).fit_transform(pairs)
    AugmentedPairs(shape=(192, 2, 8), n_originals=64, n_synthetic=128)
    """

    _parameter_constraints = {
        name: PairAugmenter._parameter_constraints[name]
        for name in ("factor", "n_response_features", "random_state")
    }

    def __init__(self, *, factor=4, n_response_features=0, random_state=None):
        self.factor = factor
        self.n_response_features = n_response_features
        self.random_state = random_state

    def _augment(self, pairs, random_state):
        if self.factor == 1:
            return pairs
        generator = np.random.default_rng(draw_seed(random_state))
        pool = DifferenceRows.draw(pairs.originals, self.factor - 1, generator)
        members = 2 * len(pairs) + np.arange(len(pool)).reshape(-1, 2)
        augmented = pairs.add(pool, members)
        target = np.where(augmented.is_synthetic, 0.5, augmented.target)
        return replace(augmented, target=target, has_targets=True)

    def _features_of_pool(self, augmented, features):
        return augmented.pool.move(features)
