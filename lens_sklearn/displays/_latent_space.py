"""Latents of chosen and rejected responses in two dimensions."""

import numpy as np

from ._style import BLUE, VERMILION, axes_or_new, legend_above, wrap_labels


class LatentSpaceDisplay:
    r"""Latents of pairs in two dimensions, synthetic ones beside the real.

    The plane is that of the two largest principal components of the real latents, turned so that
    chosen ones lie to the right and above. Create one with
    :meth:`from_estimator` or :meth:`from_latents`.

    Parameters
    ----------
    latents : array-like of shape (n, 2, k)
        Latents of the pairs, column 0 chosen.
    synthetic : array-like of shape (m, 2, k), default=None
        Latents of synthetic pairs.
    head_distance : float, default=None
        How far the two heads of the encoder lay the same embeddings apart.

    Attributes
    ----------
    points : ndarray of shape (n, 2, 2)
        The latents in the plane: pair, column, coordinate.
    synthetic_points : ndarray of shape (m, 2, 2) or None
        The synthetic ones.
    explained_variance_ratio : ndarray of shape (2,)
        Share of the real latents' variance that each axis shows.
    distance : float
        Distance of the centroids of chosen and rejected latents, in all k dimensions.
    head_distance : float or None
        As given. Where it is as large as `distance`, the encoder tells the columns apart because
        it was told which is which, and not by what is in the embeddings.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Set by :meth:`plot`.

    References
    ----------
    LENS, "Limited Preference Data? Learning Better Reward Model with Latent Space Synthesis",
    2025, the figure of latents over γ.

    Examples
    --------
    >>> from lens_sklearn import LatentSpaceDisplay
    >>> latents = [[[1.0, 0.0], [-1.0, 0.0]], [[2.0, 1.0], [-2.0, 1.0]]]
    >>> LatentSpaceDisplay(latents).distance
    3.0
    """

    def __init__(self, latents, synthetic=None, *, head_distance=None):
        latents = _check_latents("latents", latents)
        rows = latents.reshape(-1, latents.shape[-1])
        center = rows.mean(axis=0)
        _, size, axes = np.linalg.svd(rows - center, full_matrices=False)
        # The sign of an axis means nothing: chosen ones lie to the right and above.
        gap = (latents[:, 0] - latents[:, 1]).mean(axis=0)
        axes = axes * np.where(axes @ gap < 0, -1, 1)[:, None]
        axes = np.pad(axes, ((0, max(0, 2 - len(axes))), (0, 0)))[:2]  # (2, k)
        share = np.pad(size**2, (0, max(0, 2 - len(size))))[:2]
        total = float(size @ size)
        self.explained_variance_ratio = share / total if total else np.zeros(2)
        self.points = (latents - center) @ axes.T
        self.synthetic_points = None
        if synthetic is not None:
            synthetic = _check_latents("synthetic", synthetic, latents.shape[-1])
            self.synthetic_points = (synthetic - center) @ axes.T
        self.distance = float(np.linalg.norm(gap))
        self.head_distance = head_distance

    @classmethod
    def from_estimator(
        cls, estimator, pairs, *, n_synthetic=1, noise_variance=None, ax=None, random_state=None
    ):
        """Encode pairs with a fitted autoencoder, draw synthetic latents, and plot both.

        Parameters
        ----------
        estimator : ContrastiveVAE, LatentPairAugmenter or Pipeline
            Fitted; of a Pipeline the first step with an autoencoder, and what stands before it.
        pairs : array-like of shape (n, 2, d), or what the Pipeline takes
            Pairs, column 0 chosen; of augmented pairs the originals.
        n_synthetic : int, default=1
            Synthetic pairs for each, 0 for none.
        noise_variance : float, default=None
            Of the noise of synthesis; None is the augmenter's, or 0.01 for an autoencoder alone.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        random_state : int, RandomState instance or None, default=None
            Draws the noise.

        Returns
        -------
        LatentSpaceDisplay
            With the plot drawn.

        Raises
        ------
        TypeError
            If there is no fitted autoencoder.
        ValueError
            On pairs of another shape, or if `n_synthetic` is 0 and `noise_variance` is given.
        """
        if n_synthetic == 0 and noise_variance is not None:
            raise ValueError("noise_variance has no effect with n_synthetic=0; leave it out.")
        if n_synthetic != int(n_synthetic) or n_synthetic < 0:
            raise ValueError(f"n_synthetic={n_synthetic!r}; it is a whole number, 0 or more.")
        augmenter, pairs = _find_augmenter(estimator, pairs)
        vae = getattr(augmenter, "vae_", augmenter)
        if not (hasattr(vae, "sample_latents") and hasattr(vae, "history_")):
            raise TypeError(
                f"no fitted autoencoder in this {type(estimator).__name__}; give a fitted "
                "ContrastiveVAE or LatentPairAugmenter, or a Pipeline with one."
            )
        if hasattr(pairs, "is_synthetic"):
            pairs = pairs[np.flatnonzero(~pairs.is_synthetic)]
        pairs = np.asarray(pairs)
        if pairs.ndim != 3 or pairs.shape[1] != 2:
            raise ValueError(
                f"expected pairs of shape (n, 2, d), column 0 chosen; got shape {pairs.shape}."
            )
        n_features = getattr(augmenter, "n_response_features", 0)
        pairs = pairs[..., : pairs.shape[-1] - n_features]
        pairs = pairs[~np.isnan(pairs).all(axis=-1).any(axis=1)]  # dropped texts have no latents
        latents, turned = vae.transform(pairs), vae.transform(pairs[:, ::-1])
        # Each embedding by the head of column 0 and by that of column 1.
        heads = np.concatenate([latents[:, 0] - turned[:, 1], turned[:, 0] - latents[:, 1]])
        synthetic = None
        if n_synthetic:
            variance = getattr(augmenter, "noise_variance", 0.01)
            variance = variance if noise_variance is None else noise_variance
            how = {"n_candidates": getattr(augmenter, "n_candidates", 4)}
            how |= {"noise_variance": variance, "random_state": random_state}
            synthetic = vae.sample_latents(pairs, int(n_synthetic), **how)
            synthetic = synthetic.reshape(-1, *latents.shape[1:])
        head_distance = float(np.linalg.norm(heads.mean(axis=0, dtype=float)))
        return cls(latents, synthetic, head_distance=head_distance).plot(ax=ax)

    @classmethod
    def from_latents(cls, latents, synthetic=None, *, ax=None):
        """Plot latents that are given.

        Parameters
        ----------
        latents : array-like of shape (n, 2, k)
            Latents of the pairs, column 0 chosen.
        synthetic : array-like of shape (m, 2, k), default=None
            Latents of synthetic pairs.
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        LatentSpaceDisplay
            With the plot drawn.
        """
        return cls(latents, synthetic).plot(ax=ax)

    def plot(self, ax=None):
        """Draw the latents: filled markers are real, open ones synthetic, large ones centroids.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        LatentSpaceDisplay
            Itself.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        ax = axes_or_new(ax)
        size = float(np.clip(1500 / len(self.points), 4, 20))
        sides = (("chosen", BLUE, "o"), ("rejected", VERMILION, "^"))
        for column, (name, color, marker) in enumerate(sides):
            if self.synthetic_points is not None:
                x, y = self.synthetic_points[:, column].T
                label = f"{name}, synthetic"
                open_marker = {"facecolors": "none", "edgecolors": color, "linewidths": 0.5}
                ax.scatter(x, y, s=size, marker=marker, alpha=0.6, label=label, **open_marker)
            x, y = self.points[:, column].T
            ax.scatter(x, y, s=size, marker=marker, color=color, linewidths=0, label=name)
        for column, (_, color, marker) in enumerate(sides):
            x, y = self.points[:, column].mean(axis=0)
            ax.scatter(x, y, s=70, marker=marker, color=color, edgecolors="k", linewidths=1.2)
        first, second = self.explained_variance_ratio
        ax.set(xlabel=f"component 1 ({first:.0%})", ylabel=f"component 2 ({second:.0%})")
        wrap_labels(ax)
        legend_above(ax, fontsize="small", handlelength=1, handletextpad=0.2, columnspacing=1)
        heads = "" if self.head_distance is None else f"\nheads alone {self.head_distance:.2f}"
        ax.annotate(
            f"centroids apart {self.distance:.2f}{heads}",
            (0.03, 0.04),
            xycoords="axes fraction",
            size="small",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _find_augmenter(estimator, pairs):
    """Return what has the autoencoder, and the pairs as it reads them."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(estimator, "steps", None)
    if steps is None:
        return getattr(estimator, "augmenter_", estimator), pairs
    for _, step in steps:
        step = getattr(step, "augmenter_", step)
        if hasattr(step, "vae_") or hasattr(step, "sample_latents"):
            return step, pairs
        if hasattr(step, "transform"):
            pairs = step.transform(pairs)
    return estimator, pairs


def _check_latents(name, latents, k=None):
    latents = np.asarray(latents, dtype=float)
    if latents.ndim != 3 or latents.shape[1] != 2 or not latents.size:
        raise ValueError(f"{name} must have the shape (n, 2, k); got {latents.shape}.")
    if k is not None and latents.shape[-1] != k:
        raise ValueError(f"{name} have {latents.shape[-1]} dimensions, and the real latents {k}.")
    bad = ~np.isfinite(latents).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f"{name} are not finite in row {np.flatnonzero(bad)[0]}.")
    return latents
