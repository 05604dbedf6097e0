"""Synthesis of preference pairs in the latent space of an autoencoder, and by a reward's word."""

import warnings
from math import ceil, sqrt
from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn.base import _fit_context, clone
from sklearn.model_selection import GroupKFold
from sklearn.utils import check_consistent_length, check_random_state, gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_memory, has_fit_parameter

from ._augmented_pairs import AugmentedPairs
from ._augmenters import PairAugmenter
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._device import draw_seed, row_order
from ._gp_reward import GPRewardRegressor
from ._pools import DifferenceRows
from ._validation import check_unlabeled
from .theory._certificate import keeps_order, rewards_of

CHUNK = 1024  # pairs rewarded at once: bounds the memory at large d
TEMPERED = 0.8  # a network cannot follow a reward that raises lengths to a lower power
# Of factor="auto". A network needs fewer steps to follow a reward where d is larger, and more where
# many pairs have taught it much.
AUTO_FACTORS, AUTO_PAIRS, AUTO_LEAST = (1, 2, 4, 8), 250_000, 150  # the latter two times sqrt(d)
AUTO_PAIRS_LEAST = 12_800  # fewer tell how it orders two, but not so well which of many it picks
AUTO_LOWEST, AUTO_HIGHEST = (2, 8), 256  # the least factor, AUTO_LEAST / sqrt(d), is 2 to 8
AUTO_FOLDS, AUTO_SMALLEST, AUTO_ERRORS = 3, 20, 2  # beyond the interval of 95 %
# With more pairs, errors are as small as what a network loses of its reward: networks are compared,
# which lose it in the check already, so fewer errors are asked for.
AUTO_FOLLOWED, AUTO_FOLLOWED_ERRORS = 1000, 1


class LatentPairAugmenter(PairAugmenter):
    """Synthesise preference pairs in the latent space of a contrastive autoencoder (LENS).

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
        in a grid search (``augment__vae__gamma``).
    factor : int or "auto", default=4
        Pairs returned for each original pair, the original included. "auto" chooses by the
        accuracy on held-out original pairs in three folds by `groups`: of 1, 2, 4 and 8 that at
        which a ``BTRewardRegressor()`` does best. With ``relabel="all"``, where all that is
        trained on follows the reward, of 1 and what makes about 12,800 pairs, or 250,000 / √d if
        that is more (a factor of 2 to 256): 1 only if the reward itself does worse than a
        ``BTRewardRegressor()`` of the originals by more than two standard errors, or, beyond
        1,000 originals, if the network that follows it does by more than one. Fewer than 20 pairs
        get 1.
    noise_variance : float, default=0.01
        Variance of the noise in latent space.
    n_candidates : int, default=4
        Noisy latents drawn for each one kept by likelihood.
    pairing : {"compositional", "matched"}, default="compositional"
        "compositional" combines real and synthetic members, as few syntheses as give `factor`
        pairs; "matched" pairs the j-th chosen variant with the j-th rejected one alone.
    decode : {"reconstruct", "residual", "transfer"}, default="reconstruct"
        "reconstruct" is the paper's g(z + η); "residual" is e + g(z + η) − g(z), which keeps
        what the bottleneck loses. "transfer" needs no autoencoder: the second member of a pair
        is its first, an original e, plus or minus the difference e'⁺ − e'⁻ of another pair:
        what told two responses apart elsewhere is tried on this one. Both e and the difference
        are drawn from their Ledoit-Wolf covariance: shrunk, and given noise in all directions,
        the more the fewer pairs there are. Which member is better is for `relabel` to say.
    relabel : {"none", "synthetic", "all"}, default="none"
        Which pairs get σ(`sharpness` · (r₀ − r₁)) under `reward` as the probability that column
        0 wins. "none" hands down each original's own target to its synthetic pairs; "synthetic"
        leaves the originals theirs; "all" relabels the originals too, so that what is trained on
        the result follows the reward alone.
    sharpness : float, default=1.0
        Factor on the log-odds of relabelled pairs: above 1 it undoes the caution of a reward that
        has seen few pairs, so that less training is needed to follow it.
    keep : {"all", "ordered", "certified"}, default="all"
        Which synthetic pairs to return beside the originals. "ordered" keeps those that a
        reward of the originals orders as their target says; "certified" only those whose
        order follows from the parent's margin, the reward's Lipschitz constant and the
        distance that the members moved
        (:attr:`~lens_sklearn.theory.SynthesisCertificate.realised_bound`): few under residual
        decoding of strong noise, and as a rule none under "reconstruct". The noise that is
        drawn is the same with all three.
    reward : BTRewardRegressor or GPRewardRegressor, default=None
        The reward that `keep` and `relabel` ask; it is cloned and fitted on the original pairs,
        targets and all. None is ``BTRewardRegressor()``. Another estimator needs ``fit`` on
        pairs, rewards by ``predict`` or ``coef_``, and for "certified" its Lipschitz constant as
        attribute ``lipschitz``. It is not used with ``keep="all"`` and ``relabel="none"``.
    memory : str, joblib.Memory or None, default=None
        Where fitted autoencoders are cached: a change of `noise_variance` or `factor` alone
        then fits none anew. With ``random_state=None`` caching freezes the draw.
    random_state : int, RandomState instance or None, default=None
        Draws noise and pairing, and seeds an autoencoder and a reward that have no seed of
        their own.

    Attributes
    ----------
    vae_ : ContrastiveVAE
        The fitted autoencoder, except under ``decode="transfer"`` and with unlabelled responses.
    reward_ : estimator
        The fitted reward, after a `fit_transform` that asked it.
    factor_ : int
        The factor in force.
    factor_scores_ : dict of int to float
        Under ``factor="auto"`` the held-out accuracy of what judged each factor.
    n_kept_ : int
        Synthetic pairs that the last `fit_transform` returned, of ``(factor - 1) * n``.
    n_features_in_ : int
        d.

    See Also
    --------
    RepeatAugmenter : The same number of optimiser steps without new data.
    DirectNoiseAugmenter : Noise in embedding space.
    GaussianAugmenter : Samples of a Gaussian fitted to the embeddings.

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

    _parameter_constraints = PairAugmenter._parameter_constraints | {
        "vae": [HasMethods(["fit", "sample_pairs"]), None],
        "noise_variance": [Interval(Real, 0, None, closed="left")],
        "n_candidates": [Interval(Integral, 1, None, closed="left")],
        "factor": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "decode": [StrOptions({"reconstruct", "residual", "transfer"})],
        "relabel": [StrOptions({"none", "synthetic", "all"})],
        "sharpness": [Interval(Real, 0, None, closed="neither")],
        "keep": [StrOptions({"all", "ordered", "certified"})],
        "reward": [HasMethods(["fit"]), None],
        "memory": [None, str, HasMethods(["cache"])],
    }

    # With metadata routing on, a search's groups keep prompts whole in our folds as well.
    __metadata_request__fit = {"groups": True, "unlabeled": True}

    def __init__(
        self,
        vae=None,
        *,
        factor=4,
        noise_variance=0.01,
        n_candidates=4,
        pairing="compositional",
        decode="reconstruct",
        relabel="none",
        sharpness=1.0,
        keep="all",
        reward=None,
        memory=None,
        random_state=None,
    ):
        self.vae = vae
        self.factor = factor
        self.noise_variance = noise_variance
        self.n_candidates = n_candidates
        self.pairing = pairing
        self.decode = decode
        self.relabel = relabel
        self.sharpness = sharpness
        self.keep = keep
        self.reward = reward
        self.memory = memory
        self.random_state = random_state

    @classmethod
    def recommended(cls, **overrides):
        """Return the augmenter that did best on real preference data.

        Synthetic pairs apply one pair's difference to another's response, a
        :class:`GPRewardRegressor` of the originals says how likely either member is to win,
        and cross-validation decides whether to augment at all. Where `fit_transform` is given
        unlabelled responses, synthetic pairs are two of those, and they tell the reward what
        responses to one prompt differ in. Embeddings may be raw: the process, the synthesis and
        a :class:`BTRewardRegressor` standardise them by the originals. The paper's settings are
        the constructor's defaults instead.

        Parameters
        ----------
        **overrides : dict
            Parameters that replace the preset's.

        Returns
        -------
        LatentPairAugmenter
            Not fitted.

        Examples
        --------
        >>> from lens_sklearn import LatentPairAugmenter
        >>> LatentPairAugmenter.recommended(factor=8, random_state=0)
        LatentPairAugmenter(decode='transfer', factor=8, random_state=0, relabel='all',
                            reward=GPRewardRegressor(), sharpness=3.0)
        """
        preset = {
            "factor": "auto",
            "decode": "transfer",
            "relabel": "all",
            "sharpness": 3.0,
            "reward": GPRewardRegressor(),
        }
        return cls(**preset | overrides)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, *, unlabeled=None, groups=None):
        """Learn what synthesis needs.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins; embeddings of shape (n, d) are
            paired by its order.
        unlabeled : array-like of shape (m, N, d), optional
            As in `fit_transform`.
        groups : array-like of shape (n,), optional
            As in `fit_transform`.

        Returns
        -------
        LatentPairAugmenter
            Fitted.
        """
        self._prepare(X, y, unlabeled, groups)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def fit_transform(self, X, y=None, *, unlabeled=None, groups=None):
        """Fit and return the augmented pairs.

        .. note::
            This is not ``fit(X).transform(X)``: `transform` returns its input as it is, so
            that a Pipeline augments what it trains on and nothing that it predicts or scores.

        Parameters
        ----------
        X : array-like of shape (n, 2, d), or of shape (n, d) with ratings y
            Pairs, column 0 chosen.
        y : array-like of shape (n,), optional
            For pairs the probability that column 0 wins (default 1). Embeddings of shape
            (n, d) are paired by its order.
        unlabeled : array-like of shape (m, N, d), optional
            Responses without labels, N to a prompt, all-NaN ones being padding. The synthetic
            pairs are then two of a prompt's each, with targets from the reward, which is given
            them as well if its `fit` takes `unlabeled`. A Pipeline hands them on with metadata
            routing and ``transform_input=["unlabeled"]``.
        groups : array-like of shape (n,), optional
            Prompts of the pairs, kept whole in the folds of ``factor="auto"`` and given to the
            reward if its `fit` takes `groups`. Default: each pair has its own.

        Returns
        -------
        AugmentedPairs of shape (factor_ * n, 2, d)
            The n originals first, then the synthetic pairs; fewer where `keep` leaves some out.

        Raises
        ------
        ValueError
            If unlabelled responses come with ``relabel="none"``, have another shape or d, or
            no prompt has two of them.

        Warns
        -----
        UserWarning
            If `keep` keeps no synthetic pair, or lengths vary so much that the reward tempers
            them.
        """
        pairs, unlabeled, groups, random_state = self._prepare(X, y, unlabeled, groups)
        augmented = pairs
        if self.factor_ > 1 and unlabeled is not None:
            augmented = self._pair_unlabeled(pairs, unlabeled, random_state)
        elif self.factor_ > 1:
            augmented = self._augment(pairs, self.factor_, random_state)
        return self._asked(augmented, unlabeled, groups, random_state)

    def _prepare(self, X, y, unlabeled, groups):
        pairs = self._checked(X, y)
        if unlabeled is not None:
            unlabeled = self._checked_unlabeled(unlabeled)
        if groups is not None:
            groups = np.asarray(groups)
            check_consistent_length(pairs, groups)
        random_state = check_random_state(self.random_state)
        self.factor_ = self.factor
        if self.factor == "auto":
            self.factor_ = self._chosen_factor(pairs, unlabeled, groups, random_state)
        self._fit(pairs.originals, random_state, needed=unlabeled is None)
        return pairs, unlabeled, groups, random_state

    def _checked_unlabeled(self, unlabeled):
        if self.relabel == "none":
            raise ValueError(
                "unlabelled responses have no parents to take a target from; set "
                'relabel="synthetic" or "all" (LatentPairAugmenter.recommended does).'
            )
        return check_unlabeled(self, unlabeled)

    def _chosen_factor(self, pairs, unlabeled, groups, random_state):
        n, seed = len(pairs), draw_seed(random_state)
        prompts = np.arange(n) if groups is None else groups
        n_folds = min(AUTO_FOLDS, len(np.unique(prompts)))
        self.factor_scores_ = {}
        if n < AUTO_SMALLEST or n_folds < 2:  # too few to tell anything apart: do no harm
            return 1
        follows = self.relabel == "all"
        factors = (1, follow_factor(pairs)) if follows else AUTO_FACTORS
        by_networks = not follows or n > AUTO_FOLLOWED
        right = np.empty((len(factors), n))
        for train, test in GroupKFold(n_folds).split(right[0], groups=prompts):
            known = AugmentedPairs(pairs.originals[train], target=pairs.target[train])
            of_known = None if groups is None else groups[train]
            for row, factor in zip(right, factors, strict=True):
                reward = self._fitted_on(known, factor, unlabeled, of_known, seed, by_networks)
                wins = np.sign(reward.decision_function(pairs[test])) / 2 + 0.5
                row[test] = 1 - abs(pairs.target[test] - wins)
        self.factor_scores_ = dict(zip(factors, right.mean(axis=1).tolist(), strict=True))
        if not follows:
            return factors[int(right.mean(axis=1).argmax())]  # the smaller of equals
        loss = right[0] - right[1]
        errors = AUTO_FOLLOWED_ERRORS if by_networks else AUTO_ERRORS
        return 1 if loss.mean() > errors * loss.std(ddof=1) / sqrt(n) else factors[1]

    def _fitted_on(self, pairs, factor, unlabeled, groups, seed, by_networks):
        """Return what judges a factor: a network, or the reward whose targets it would get."""
        if factor > 1 and not by_networks:
            return self._fitted_reward(pairs, unlabeled, groups, check_random_state(seed))
        if factor > 1:
            augmenter = clone(self).set_params(factor=factor, random_state=seed)
            pairs = augmenter.fit_transform(
                pairs.originals, pairs.target, unlabeled=unlabeled, groups=groups
            )
        return BTRewardRegressor(random_state=seed).fit(pairs)

    def _fit(self, originals, random_state, needed=True):
        # Drawn even where it is not used: the noise is then the same with either kind of seed.
        seed = draw_seed(random_state)
        if self.decode == "transfer" or not needed:
            return
        vae = ContrastiveVAE() if self.vae is None else clone(self.vae)
        if vae.random_state is None and self.random_state is not None:
            vae.set_params(random_state=seed)
        self.vae_ = check_memory(self.memory).cache(_fit_vae)(vae, originals)

    def _augment(self, pairs, factor, random_state):
        if self.decode != "transfer":
            return super()._augment(pairs, factor, random_state)
        pool = DifferenceRows.draw(pairs.originals, factor - 1, _generator(random_state))
        members = 2 * len(pairs) + np.arange(len(pool)).reshape(-1, 2)
        return self._with_members(pairs, pool, members)

    def _pair_unlabeled(self, pairs, unlabeled, random_state):
        _, n_responses, d = unlabeled.shape
        usable = ~np.isnan(unlabeled[:, :, 0])
        prompts = np.flatnonzero(usable.sum(axis=1) >= 2)
        n_new, generator = (self.factor_ - 1) * len(pairs), _generator(random_state)
        prompt = prompts[generator.integers(len(prompts), size=n_new)]
        drawn = np.where(usable[prompt], generator.random((n_new, n_responses)), 2)
        two = np.argpartition(drawn, 1, axis=1)[:, :2]  # padding, at 2, comes last
        members = 2 * len(pairs) + n_responses * prompt[:, None] + two
        return self._with_members(pairs, unlabeled.reshape(-1, d), members)

    def _with_members(self, pairs, pool, members):
        return AugmentedPairs(
            pairs.originals,
            pool,
            np.concatenate([pairs.members, members]),
            np.tile(np.arange(len(pairs)), self.factor_),
            target=pairs.target,
            weight=pairs.weight,
        )

    def _synthesise(self, originals, n_samples, random_state):
        return self.vae_.sample_rows(
            originals,
            n_samples,
            noise_variance=self.noise_variance,
            n_candidates=self.n_candidates,
            random_state=random_state,
            residual=self.decode == "residual",
        )

    def _asked(self, augmented, unlabeled, groups, random_state):
        """Return the pairs with the reward's targets, and of them those that are kept."""
        synthetic = np.flatnonzero(augmented.is_synthetic)
        self.n_kept_ = len(synthetic)
        if not len(synthetic) or (self.keep == "all" and self.relabel == "none"):
            return augmented
        self.reward_ = self._fitted_reward(augmented, unlabeled, groups, random_state)
        if self.relabel != "none":
            relabelled = synthetic if self.relabel == "synthetic" else np.arange(len(augmented))
            augmented = augmented[:]  # the pairs that were given keep their targets
            augmented.target = augmented.target.copy()
            for chunk in gen_batches(len(relabelled), CHUNK):
                index = relabelled[chunk]
                rewards = rewards_of(self.reward_, augmented.rows(index))
                odds = self.sharpness * (rewards[:, 0] - rewards[:, 1])
                augmented.target[index] = expit(odds)
        if self.keep == "all":
            return augmented
        kept = ~augmented.is_synthetic
        kept[synthetic] = keeps_order(
            augmented, synthetic, self.reward_, certified=self.keep == "certified"
        )
        self.n_kept_ = int(kept[synthetic].sum())
        if not self.n_kept_:
            warnings.warn(
                f"keep={self.keep!r} keeps none of the {len(synthetic)} synthetic pairs: the "
                'result is the originals alone. decode="residual" or a smaller noise_variance '
                "moves pairs less.",
                stacklevel=5,
            )
        return augmented[np.flatnonzero(kept)]

    def _fitted_reward(self, augmented, unlabeled, groups, random_state):
        reward = BTRewardRegressor() if self.reward is None else clone(self.reward)
        if self.random_state is not None and reward.get_params().get("random_state", 0) is None:
            reward.set_params(random_state=draw_seed(random_state))
        order = row_order(augmented.originals)
        originals = AugmentedPairs(
            augmented.originals[order],
            target=augmented.target[order],
            weight=augmented.weight[order],
        )
        known = {"unlabeled": unlabeled, "groups": None if groups is None else groups[order]}
        taken = (name for name in known if has_fit_parameter(reward, name))
        reward.fit(originals, **{name: known[name] for name in taken})
        if getattr(getattr(reward, "metric_", None), "norm_exponent_", 1) < TEMPERED:
            warnings.warn(
                "the lengths of the embeddings vary far more than those of a language model's; "
                "the reward reads them tempered, and a network that is to follow it must as well. "
                "Put WithinPromptWhitening(0, covariance_exponent=0) in a Pipeline before this "
                "step: it standardises and tempers.",
                stacklevel=6,
            )
        return reward


def _generator(random_state):
    return np.random.default_rng(draw_seed(random_state))


def _fit_vae(vae, originals):
    return vae.fit(originals)


def follow_factor(pairs):
    """Return the factor at which 20 epochs are enough steps to follow a reward's targets.

    Parameters
    ----------
    pairs : array-like, shape (n, 2, d)
        The originals.

    Returns
    -------
    int
        ``250_000 / sqrt(d)`` pairs in all, no less than 12,800, but at least ``150 / sqrt(d)``
        times the originals, within 2 and 8 times, and at most 256 times.
    """
    n, _, d = pairs.shape
    least = np.clip(AUTO_LEAST / sqrt(d), *AUTO_LOWEST)
    wanted = max(AUTO_PAIRS_LEAST, AUTO_PAIRS / sqrt(d))
    return ceil(np.clip(wanted / n, least, AUTO_HIGHEST))
