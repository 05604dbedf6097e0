"""Theorem 1 on one's own data: which synthetic pairs keep their parent's order."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._base_reward import rewards_of
from .._contrastive_vae import ContrastiveVAE
from .._order_filter import lipschitz_constant, measure_pairs
from ..displays import axes_or_new
from ._bounds import noise_radius, theorem1_margin_bound
from ._lipschitz import decoder_lipschitz


@dataclass(frozen=True, repr=False)
class SynthesisCertificate:
    r"""What Theorem 1 promises for each synthetic pair, and what came of it.

    Create one with :meth:`from_estimator` or :meth:`from_augmented`.

    Two bounds stand beside each other. `bound` is Theorem 1 (equation 14): it is known before
    any noise is drawn and holds with probability 1 − delta for each pair. `realised_bound` is
    known after synthesis and holds always, as the reward is Lipschitz:

    .. math:: r(\hat e^+) - r(\hat e^-) \ge r(e^+) - r(e^-)
        - L_r \big( \|\hat e^+ - e^+\| + \|\hat e^- - e^-\| \big)

    A pair with one real member is moved on one side only, so it pays half of Theorem 1's
    deduction.

    Parameters
    ----------
    parent : ndarray of int, shape (m,)
        Original pair of each synthetic one.
    n_synthetic : ndarray of int, shape (m,)
        Its synthetic members, 1 or 2 (0 for a copy).
    margin, synthetic_margin : ndarray of float64, shape (m,)
        Reward of column 0 minus that of column 1, for the parent and for the pair itself.
    displacement : ndarray of float64, shape (m, 2)
        Distance :math:`\|\hat e - e\|` of each member from the parent's.
    bound, realised_bound : ndarray of float64, shape (m,)
        Lower bounds of `synthetic_margin`.
    delta : float
        Probability with which `bound` may fail for a pair.
    radius : float
        :math:`t_\delta`, of the latent noise.
    reward_lipschitz, decoder_lipschitz : float
        The constants, upper bounds where networks are concerned.
    reconstruction_error : float
        Supremum of :math:`\|g(z) - e\|` over the originals, and 0 under residual decoding.
    mean_squared_error : float
        Mean of :math:`\|g(z) - e\|^2` (the paper's B.5.3), whatever the decoding.
    residual : bool
        Whether decoding is residual.

    References
    ----------
    LENS, section 4, Theorem 1 and appendix B.5.4.
    """

    parent: np.ndarray
    n_synthetic: np.ndarray
    margin: np.ndarray
    synthetic_margin: np.ndarray
    displacement: np.ndarray
    bound: np.ndarray
    realised_bound: np.ndarray
    delta: float
    radius: float
    reward_lipschitz: float
    decoder_lipschitz: float
    reconstruction_error: float
    mean_squared_error: float
    residual: bool

    @classmethod
    def from_estimator(cls, augmenter, pairs, reward, delta=0.05, *, y=None, lipschitz=None):
        """Certify what a fitted augmenter makes of pairs.

        Parameters
        ----------
        augmenter : LatentPairAugmenter
            Fitted. For the pairs of its ``fit_transform`` the synthetic pairs are those that it
            returned.
        pairs : array-like of shape (n, 2, d)
            Original pairs, column 0 chosen.
        reward : BTRewardRegressor, linear model with ``coef_``, or callable
            The reward that margins are measured with: a fitted model, or a function of
            embeddings (…, d) to rewards (…).
        delta : float, default=0.05
            Probability of failure for each pair, in (0, 1).
        y : array-like of shape (n,), default=None
            The targets that `fit_transform` was given; `keep` reads them.
        lipschitz : float, default=None
            Lipschitz constant of the reward. None takes a function's attribute ``lipschitz``
            or computes a certified bound of a model's.

        Returns
        -------
        SynthesisCertificate
            One entry for each synthetic pair.

        Raises
        ------
        TypeError
            If the augmenter synthesises nothing in the latent space of a ContrastiveVAE.
        ValueError
            If it returns no synthetic pair, or the reward's Lipschitz constant is not known.

        Examples
        --------
        >>> from lens_sklearn import ContrastiveVAE, LatentPairAugmenter
        >>> from lens_sklearn.datasets import make_preference_pairs
        >>> from lens_sklearn.theory import SynthesisCertificate
        >>> toy = make_preference_pairs(n_pairs=64, n_features=8, random_state=0)
        >>> vae = ContrastiveVAE(max_epochs=2)
        >>> augmenter = LatentPairAugmenter(vae, decode="residual", random_state=0).fit(toy.pairs)
        >>> certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)
        >>> len(certificate), certificate.reconstruction_error
        (192, 0.0)
        """
        if not hasattr(augmenter, "vae"):
            raise TypeError(
                f"{type(augmenter).__name__} has no latent space; a certificate is of a "
                "LatentPairAugmenter."
            )
        check_is_fitted(augmenter)
        if augmenter.factor == 1:
            raise ValueError("factor=1 makes no synthetic pairs; there is nothing to certify.")
        return cls.from_augmented(
            augmenter.augment(np.asarray(pairs, dtype=np.float32), y),
            augmenter.vae_,
            reward,
            delta,
            noise_variance=augmenter.noise_variance,
            residual=augmenter.decode == "residual",
            lipschitz=lipschitz,
        )

    @classmethod
    def from_augmented(
        cls, augmented, vae, reward, delta=0.05, *, noise_variance, residual, lipschitz=None
    ):
        """Certify pairs that are augmented already.

        Parameters
        ----------
        augmented : AugmentedPairs
            What ``LatentPairAugmenter.fit_transform`` returned, or a part of it.
        vae : ContrastiveVAE
            The fitted autoencoder that it came from.
        reward : BTRewardRegressor, linear model with ``coef_``, or callable
            As in :meth:`from_estimator`.
        delta : float, default=0.05
            Probability of failure for each pair, in (0, 1).
        noise_variance : float
            Variance of the latent noise.
        residual : bool
            Whether decoding was residual.
        lipschitz : float, default=None
            As in :meth:`from_estimator`.

        Returns
        -------
        SynthesisCertificate
            One entry for each synthetic pair.
        """
        if not isinstance(vae, ContrastiveVAE):
            raise TypeError(
                f"the autoencoder is a {type(vae).__name__}; a certificate needs a ContrastiveVAE, "
                "whose decoder's Lipschitz constant can be bounded."
            )
        if not augmented.is_synthetic.any():
            raise ValueError("no pair is synthetic; there is nothing to certify.")
        originals = augmented.originals
        if lipschitz is None:
            lipschitz = lipschitz_constant(reward)
        error = np.linalg.norm(vae.decode(vae.transform(originals)) - originals, axis=-1)
        reconstruction_error = 0.0 if residual else float(error.max())
        decoder = decoder_lipschitz(vae, originals).upper
        margins = rewards_of(reward, originals)
        index = np.flatnonzero(augmented.is_synthetic)
        parent = augmented.parent[index]
        n_synthetic = (augmented.members[index] >= 2 * len(originals)).sum(axis=1)
        margin = (margins[:, 0] - margins[:, 1])[parent]
        synthetic_margin, displacement = measure_pairs(augmented, index, reward)
        bound = theorem1_margin_bound(
            margin,
            reward_lipschitz=lipschitz * n_synthetic / 2,
            decoder_lipschitz=decoder,
            reconstruction_error=reconstruction_error,
            noise_variance=noise_variance,
            latent_dim=vae.latent_dim,
            delta=delta,
        )
        return cls(
            parent=parent,
            n_synthetic=n_synthetic,
            margin=margin,
            synthetic_margin=synthetic_margin,
            displacement=displacement,
            bound=bound,
            realised_bound=margin - lipschitz * displacement.sum(axis=1),
            delta=delta,
            radius=float(noise_radius(noise_variance, vae.latent_dim, delta)),
            reward_lipschitz=float(lipschitz),
            decoder_lipschitz=decoder,
            reconstruction_error=reconstruction_error,
            mean_squared_error=float((error**2).mean()),
            residual=residual,
        )

    def __len__(self):
        return len(self.parent)

    @property
    def certified(self):
        """Whether Theorem 1 promises that column 0 stays ahead, bool of shape (m,)."""
        return self.bound > 0

    @property
    def realised_certified(self):
        """Whether `realised_bound` proves that column 0 stayed ahead, bool of shape (m,)."""
        return self.realised_bound > 0

    @property
    def ordered(self):
        """Whether column 0 has the larger reward, bool of shape (m,)."""
        return self.synthetic_margin > 0

    @property
    def kept(self):
        """Whether the reward orders the pair as it does its parent, bool of shape (m,)."""
        return np.sign(self.synthetic_margin) == np.sign(self.margin)

    @property
    def totals(self):
        """Return the totals, a dict of float.

        ``kept``, ``ordered``, ``certified`` and ``realised_certified`` are shares of the
        synthetic pairs, ``bound_held`` the share whose margin is not below Theorem 1's bound,
        ``mean_margin`` and ``mean_synthetic_margin`` the mean gaps (the paper's B.5.4).
        """
        return {
            "kept": float(self.kept.mean()),
            "ordered": float(self.ordered.mean()),
            "certified": float(self.certified.mean()),
            "realised_certified": float(self.realised_certified.mean()),
            "bound_held": float((self.synthetic_margin >= self.bound).mean()),
            "mean_margin": float(self.margin.mean()),
            "mean_synthetic_margin": float(self.synthetic_margin.mean()),
        }

    def __repr__(self):
        totals = self.totals
        return (
            f"SynthesisCertificate({len(self)} synthetic pairs: {totals['kept']:.1%} keep their "
            f"parent's order, {totals['certified']:.1%} certified; mean margin "
            f"{totals['mean_margin']:.3g} -> {totals['mean_synthetic_margin']:.3g})"
        )

    def to_dict(self):
        """Return the certificate as columns, for ``pandas.DataFrame`` or its like.

        Returns
        -------
        dict of str to ndarray, each of shape (m,)
            An entry for each synthetic pair.
        """
        return {
            "parent": self.parent,
            "n_synthetic": self.n_synthetic,
            "margin": self.margin,
            "synthetic_margin": self.synthetic_margin,
            "displacement_chosen": self.displacement[:, 0],
            "displacement_rejected": self.displacement[:, 1],
            "bound": self.bound,
            "certified": self.certified,
            "realised_bound": self.realised_bound,
            "realised_certified": self.realised_certified,
            "ordered": self.ordered,
            "kept": self.kept,
        }

    def plot(self, ax=None):
        """Draw each synthetic pair's margin over its parent's, with the bounds.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        matplotlib Axes
            With the plot.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        kept = self.kept
        for mask, color, label in ((kept, "C0", "order kept"), (~kept, "C3", "order lost")):
            label = f"{label} ({mask.mean():.1%})"
            ax.scatter(
                self.margin[mask],
                self.synthetic_margin[mask],
                s=8,
                color=color,
                alpha=0.5,
                linewidths=0,
                label=label,
            )
        ends = np.array([self.margin.min(), self.margin.max()])
        ax.plot(ends, ends, color="0.4", linewidth=1, label="parent's margin")
        ax.autoscale(False)  # the bound may lie far below
        loss = 2 * self.reward_lipschitz * self._moved
        hidden = ", below" if ends[1] - loss < ax.get_ylim()[0] else ""
        label = f"Theorem 1, both synthetic: margin − {loss:.3g}{hidden}"
        ax.plot(ends, ends - loss, color="k", linestyle="--", label=label)
        for draw in (ax.axhline, ax.axvline):
            draw(0, color="0.8", linewidth=1, zorder=0)
        ax.set(xlabel="parent's reward margin", ylabel="synthetic pair's reward margin")
        ax.legend(fontsize="small")
        return ax

    @property
    def _moved(self):
        return self.decoder_lipschitz * self.radius + self.reconstruction_error
