"""Synthesis of preference pairs in the latent space of an autoencoder: LENS."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import clone
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_memory

from ._augmenters import PairAugmenter
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._device import draw_seed, row_order
from ._order_filter import has_lipschitz_constant, keeps_order
from ._warnings import warn


class LatentPairAugmenter(PairAugmenter):
    """Synthesize preference pairs in the latent space of a contrastive autoencoder (LENS).

    Each embedding's latent is perturbed with Gaussian noise and decoded (equation 7); real and
    synthetic members of the same original pair are combined with each other (equation 8).

    The decoded members are kept as codes of the decoder's last layer, so memory grows with the
    original pairs and hardly with `factor`.

    The same pairs in another order get the same children: the autoencoder is trained on them in
    the order of their bytes, and what is drawn goes to them in that order.

    Parameters
    ----------
    vae : ContrastiveVAE, default=None
        The autoencoder to fit; None is ``ContrastiveVAE()``. Give one to reach its parameters
        in a grid search (``augment__vae__gamma``). Another object needs ``fit`` on pairs
        (n, 2, d) and ``sample_pairs`` with the parameters of
        :meth:`ContrastiveVAE.sample_pairs`; for ``decode="residual"`` also ``transform`` and
        ``decode``.
    factor : int, default=4
        Pairs returned for each original pair, the original included.
    noise_variance : float, default=0.01
        Variance of the noise in latent space.
    n_candidates : int, default=4
        Noisy latents drawn for each one kept by likelihood.
    pairing : {"compositional", "matched"}, default="compositional"
        "compositional" combines real and synthetic members, as few syntheses as give `factor`
        pairs; "matched" pairs the j-th chosen variant with the j-th rejected one alone.
    decode : {"reconstruct", "residual"}, default="reconstruct"
        "reconstruct" is the paper's g(z + η); "residual" is e + g(z + η) − g(z), which keeps
        what the bottleneck loses.
    keep : {"all", "ordered", "certified"}, default="all"
        Which synthetic pairs to return beside the originals. "ordered" keeps those that
        `reward` orders as their target says; "certified" only those whose order follows from
        the parent's margin, the reward's Lipschitz constant and the distance that the members
        moved (:attr:`~lens_sklearn.theory.SynthesisCertificate.realised_bound`): few under
        residual decoding of strong noise, and as a rule none under "reconstruct". The noise that
        is drawn is the same with all three.
    reward : BTRewardRegressor or LinearRewardRegressor, default=None
        The reward that `keep` reads; it is cloned and fitted on the original pairs. None is
        ``BTRewardRegressor()``. Another estimator needs ``fit(pairs, targets)`` and rewards of
        embeddings by ``predict`` or ``coef_``, and for "certified" its Lipschitz constant as
        attribute ``lipschitz``. With ``keep="all"`` it has no effect and is refused.
    memory : str, joblib.Memory or None, default=None
        Where fitted autoencoders are cached: a change of `noise_variance` or `factor` alone
        then fits none anew. With ``random_state=None`` caching freezes the draw.
    n_response_features : int, default=0
        The last so many columns are response features (:class:`ResponseViews`). Synthesis acts on
        the other columns alone, as if these were not there; a synthetic member has the features
        of its parent's member in the same column.
    random_state : int, RandomState instance or None, default=None
        Draws noise and pairing, and seeds an autoencoder and a reward that have no seed of
        their own.

    Attributes
    ----------
    vae_ : ContrastiveVAE
        The fitted autoencoder.
    reward_ : estimator
        The fitted reward, where `keep` reads one.
    n_kept_ : int
        Synthetic pairs that the last `fit_transform` or `augment` returned, of
        ``(factor - 1) * n``.
    n_features_in_ : int
        d, response features included.

    See Also
    --------
    RepeatAugmenter : The same number of optimiser steps without new data.
    DirectNoiseAugmenter : Noise in embedding space.
    GaussianAugmenter : Samples of a Gaussian fitted to the embeddings.
    DistillationAugmenter : Gives these pairs the soft targets of a teacher.

    References
    ----------
    LENS, sections 3.2 and 3.3, equations 7 and 8.

    Examples
    --------
    >>> from lens_sklearn import ContrastiveVAE, LatentPairAugmenter
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> pairs = make_preference_pairs(n_pairs=64, n_features=8, random_state=0).pairs
    >>> vae = ContrastiveVAE(max_epochs=2)
    >>> LatentPairAugmenter(vae, factor=4, random_state=0).fit_transform(pairs)
    AugmentedPairs(shape=(256, 2, 8), n_originals=64, n_synthetic=192)
    """

    fitted_state_names = ("n_features_in_", "vae_", "reward_", "n_kept_")
    optional_state_names = ("reward_", "n_kept_")

    _parameter_constraints = PairAugmenter._parameter_constraints | {
        "vae": [HasMethods(["fit", "sample_pairs"]), None],
        "noise_variance": [Interval(Real, 0, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "decode": [StrOptions({"reconstruct", "residual"})],
        "keep": [StrOptions({"all", "ordered", "certified"})],
        "reward": [HasMethods(["fit"]), None],
        "memory": [None, str, HasMethods(["cache"])],
    }

    def __init__(
        self,
        vae=None,
        *,
        factor=4,
        noise_variance=0.01,
        n_candidates=4,
        pairing="compositional",
        decode="reconstruct",
        keep="all",
        reward=None,
        memory=None,
        n_response_features=0,
        random_state=None,
    ):
        self.vae = vae
        self.factor = factor
        self.noise_variance = noise_variance
        self.n_candidates = n_candidates
        self.pairing = pairing
        self.decode = decode
        self.keep = keep
        self.reward = reward
        self.memory = memory
        self.n_response_features = n_response_features
        self.random_state = random_state

    def _fit(self, pairs, random_state):
        self._check_parts()
        seed = draw_seed(random_state)
        vae = ContrastiveVAE() if self.vae is None else clone(self.vae, safe=False)
        self._seed(vae, seed)
        self.vae_ = check_memory(self.memory).cache(_fit_vae)(vae, pairs.originals)
        if self.keep != "all":
            reward = BTRewardRegressor() if self.reward is None else clone(self.reward, safe=False)
            self._seed(reward, seed)
            order = row_order(pairs.originals)
            reward.fit(pairs.originals[order], pairs.target[order])
            self.reward_ = reward
        elif hasattr(self, "reward_"):
            del self.reward_  # of an earlier fit

    def _check_parts(self):
        if self.keep == "all" and self.reward is not None:
            raise ValueError(
                'reward has no effect with keep="all"; set keep="ordered" or "certified", or '
                "leave reward out. DistillationAugmenter takes soft targets from a reward."
            )
        if self.keep == "certified" and self.reward is not None:
            if not has_lipschitz_constant(self.reward):
                raise ValueError(
                    f'keep="certified" needs the Lipschitz constant of the reward, which a '
                    f"{type(self.reward).__name__} does not have; take BTRewardRegressor, "
                    "LinearRewardRegressor or one with an attribute `lipschitz`."
                )
        missing = [name for name in ("transform", "decode") if not hasattr(self.vae, name)]
        if self.decode == "residual" and self.vae is not None and missing:
            raise ValueError(
                f'decode="residual" needs an autoencoder with {" and ".join(missing)}, which a '
                f"{type(self.vae).__name__} does not have."
            )

    def _synthesize(self, originals, n_samples, random_state):
        how = {
            "noise_variance": self.noise_variance,
            "n_candidates": self.n_candidates,
            "random_state": random_state,
        }
        residual = self.decode == "residual"
        # Ours keeps members as codes; another one, and a subclass, samples in its own way.
        if getattr(type(self.vae_), "sample_pairs", None) is ContrastiveVAE.sample_pairs:
            rows = self.vae_.sample_rows(originals, n_samples, residual=residual, **how)
            self._check_synthetic(rows.codes, rows.weight)
            return rows
        rows = np.asarray(self.vae_.sample_pairs(originals, n_samples, **how), dtype=np.float32)
        shape = (len(originals), n_samples, 2, originals.shape[-1])
        if rows.shape != shape:
            raise ValueError(
                f"sample_pairs of {type(self.vae_).__name__} returned the shape {rows.shape}; "
                f"expected (n, n_samples, 2, d) = {shape}."
            )
        if residual:  # ê = e + g(z + η) − g(z)
            decoded = np.asarray(self.vae_.decode(self.vae_.transform(originals)))
            rows = rows + (originals - decoded).astype(np.float32)[:, None]
        self._check_synthetic(rows)
        return rows.reshape(-1, originals.shape[-1])  # (n, n_samples, 2, d) -> (2·n·n_samples, d)

    def _check_synthetic(self, *arrays):
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                f"the {type(self.vae_).__name__} makes synthetic pairs that are not finite. Its "
                "training diverged, or these pairs are far larger than those it was fitted on; "
                "standardize them with EmbeddingScaler."
            )

    def _augment(self, pairs, random_state):
        augmented = super()._augment(pairs, random_state)
        synthetic = np.flatnonzero(augmented.is_synthetic)
        self.n_kept_ = len(synthetic)
        if self.keep == "all" or not len(synthetic):
            return augmented
        kept = ~augmented.is_synthetic
        kept[synthetic] = keeps_order(
            augmented, synthetic, self.reward_, certified=self.keep == "certified"
        )
        self.n_kept_ = int(kept[synthetic].sum())
        if not self.n_kept_:
            warn(
                f"keep={self.keep!r} keeps none of the {len(synthetic)} synthetic pairs: the "
                'result is the originals alone. decode="residual" or a smaller noise_variance '
                "moves pairs less."
            )
        return augmented[np.flatnonzero(kept)]


def _fit_vae(vae, originals):
    vae.fit(originals)
    return vae
