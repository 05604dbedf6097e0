"""The parts of a report about the model itself, some of which need preference pairs."""

import copy
import os
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone

from .._contrastive_vae import ContrastiveVAE
from .._latent_augmenter import LatentPairAugmenter
from .._statistics import clustered_mean
from ..displays import LatentSpaceDisplay, PairCalibrationDisplay, TrainingHistoryDisplay
from ..metrics import leave_out_dropped, pair_agreement
from ..theory import SynthesisCertificate
from ._html import absent, details, paragraph, table, tag, visible
from ._numbers import count, interval, limits, number
from ._svg import side_by_side

NO_PAIRS = "no preference pairs were given."
NO_THEOREM2 = (
    "Theorem 2, which says at how many pairs synthesis can help, is not evaluated here: its "
    "constants take trainings at several numbers of pairs, and a report has one model. "
    "theorem2_error_ratio of lens_sklearn.theory evaluates it from what "
    "estimate_reconstruction_exponent, estimate_statistical_constant and estimate_synthesis_bias "
    "measure."
)
#: More pairs than this are too many dots for a map or a certificate: some are taken.
MOST_PAIRS = 500
MOST_NETWORKS = 12
LOSS_NAMES = {"train_loss": "loss", "valid_loss": "held-out loss", "kl": "KL"}


@dataclass(frozen=True)
class PairData:
    """Preference pairs as the model reads them behind its embedder.

    Attributes
    ----------
    X : rows of text or ndarray of shape (n, 2, d)
        The pairs, column 0 chosen.
    target : ndarray of shape (n,), or None
        Probability that column 0 wins; None is 1.
    weight : ndarray of shape (n,), or None
        How much each pair counts; None is 1.
    groups : ndarray of int, shape (n,)
        Equal numbers for equal prompts.
    n_shared : int or None
        Prompts that have candidates too; None is not known.
    """

    X: object
    target: np.ndarray | None
    weight: np.ndarray | None
    groups: np.ndarray
    n_shared: int | None


class Histories(TrainingHistoryDisplay):
    """The losses of all networks in a model, not drawn yet."""

    def plot(self, axes=None):
        """Draw nothing."""
        return self


def show_calibration(model, pairs, pictures):
    """Return whether the probabilities of pairs came true.

    Parameters
    ----------
    model : estimator
        Fitted.
    pairs : PairData or None
        The pairs.
    pictures : Pictures
        Of the page.

    Returns
    -------
    list of Markup
        Blocks.
    """
    if pairs is None:
        return [absent(NO_PAIRS)]
    if not hasattr(model, "predict_proba"):
        return [absent("the model predicts no probabilities of pairs.")]
    probabilities, target, kept = leave_out_dropped(model.predict_proba(pairs.X), pairs.target)
    agreement = pair_agreement(probabilities[:, ::-1], target)  # [:, 1] is that column 0 wins
    weight = None if pairs.weight is None else pairs.weight[kept]
    accuracy = clustered_mean(agreement, pairs.groups[kept], weight)

    def plot(ax):
        return PairCalibrationDisplay.from_predictions(
            probabilities[:, 1], target, sample_weight=weight, ax=ax
        )

    display, figure = pictures.draw(plot, _tell_calibration)
    between = interval(*limits(accuracy))
    text = (
        f"Of {count(len(agreement), 'pair')} a share of {number(accuracy.mean)}"
        f"{f' ({between})' if between else ''} is put in order. The expected calibration error is "
        f"{display.ece:.3f}: by so much, on average, the predicted probability differs from the "
        "share that came true. Both mean something for pairs that the model has not learned from."
    )
    if weight is not None:
        text += " Pairs count by their weights."
    header = ["predicted", "pairs", "mean prediction", "came true", "95 % interval"]
    return [paragraph(text), figure, details("The numbers", table(header, _bins(display)))]


def _bins(display):
    edges = np.linspace(0.5, 1, len(display.counts) + 1)
    names = [f"{low:.1f} to {high:.1f}" for low, high in zip(edges, edges[1:], strict=False)]
    numbers = (display.predicted, display.observed, display.lower, display.upper)
    return [
        [name, f"{n:,}", number(predicted), number(observed), interval(low, high)]
        for name, n, predicted, observed, low, high in zip(
            names, display.counts, *numbers, strict=True
        )
    ]


def _tell_calibration(display):
    rows = [row for row in _bins(display) if row[2]]
    bins = "; ".join(f"predicted {p}, came true {share}" for _, _, p, share, _ in rows)
    alt = f"Reliability diagram of {count(display.counts.sum(), 'pair')}: {bins}."
    return alt, "How often the response that the model favors was the preferred one."


def show_latents(model, pairs, pictures):
    """Return the map of latents.

    Parameters
    ----------
    model : estimator
        Fitted.
    pairs : PairData or None
        The pairs.
    pictures : Pictures
        Of the page.

    Returns
    -------
    list of Markup
        Blocks.
    """
    augmenter, X, _, note = _augmenter_and_pairs(model, pairs)
    if augmenter is None:
        return [absent(note)]

    def plot(ax):
        return LatentSpaceDisplay.from_estimator(augmenter, X, ax=ax, random_state=0)

    def tell(display):
        first, second = display.explained_variance_ratio
        apart, heads = number(display.distance), number(display.head_distance)
        alt = (
            f"Latents of {count(len(display.points), 'pair')} in the plane of their two principal "
            f"components, which show {first:.0%} and {second:.0%} of the variance. The centroids "
            f"of chosen and rejected ones lie {apart} apart, the two heads of the encoder lay the "
            f"same embeddings {heads} apart."
        )
        caption = (
            "Latents of chosen and rejected responses; open markers are synthetic, large ones "
            "centroids. Where the heads alone are as far apart as the centroids, the map shows "
            f"what the encoder was told and not what it found.{note}"
        )
        return alt, caption

    return [pictures.draw(plot, tell)[1]]


def show_histories(model, pictures):
    """Return the losses of all networks in a model.

    Parameters
    ----------
    model : estimator
        Fitted.
    pictures : Pictures
        Of the page.

    Returns
    -------
    list of Markup
        Blocks.
    """
    try:
        found = Histories.from_estimator(model)
    except TypeError:  # it has no network
        return [absent("the model holds no network that was trained in epochs.")]
    figures = [_show_history(name, found, pictures) for name in list(found.losses)[:MOST_NETWORKS]]
    blocks = [side_by_side(figures)]
    if len(found.losses) > MOST_NETWORKS:
        more = len(found.losses) - MOST_NETWORKS
        blocks.append(paragraph(f"{count(more, 'more network')} of the model: not shown."))
    return blocks


def _show_history(name, found, pictures):
    losses, epochs = found.losses[name], found.epochs[name]
    history = [
        {"epoch": int(epoch)} | {key: float(values[i]) for key, values in losses.items()}
        for i, epoch in enumerate(epochs)
    ]
    ends = ", ".join(
        f"{LOSS_NAMES.get(key, key)} from {number(values[0])} to {number(values[-1])}"
        for key, values in losses.items()
    )
    best = found.best_epochs[name]
    kept = "" if best is None else f"; early stopping kept epoch {best}"
    told = f"{name}, {count(len(epochs), 'epoch')}: {ends}{kept}."

    # matplotlib would read mathematics between two dollars, and controls are no SVG.
    title = visible(name).replace("$", r"\$")

    def plot(ax):
        return TrainingHistoryDisplay({title: history}).plot(axes=[ax])

    return pictures.draw(plot, lambda _: (f"Losses of {told}", told))[1]


def show_certificate(model, pairs, pictures):
    """Return what Theorem 1 promises of synthetic pairs, and what came of it.

    Parameters
    ----------
    model : estimator
        Fitted.
    pairs : PairData or None
        The pairs.
    pictures : Pictures
        Of the page.

    Returns
    -------
    list of Markup
        Blocks.
    """
    augmenter, X, target, note = _augmenter_and_pairs(model, pairs)
    if augmenter is None:
        return [absent(note)]
    theorem2 = paragraph(NO_THEOREM2)
    reason = _why_no_certificate(augmenter, _last(model))
    if reason is not None:
        return [absent(reason), theorem2]
    augmenter = copy.copy(augmenter)  # which counts what it keeps
    found = SynthesisCertificate.from_estimator(augmenter, X, _last(model), y=target)

    def plot(ax):
        found.plot(ax)
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize="small")
        return found

    def tell(found):
        alt = (
            f"Reward margins of {count(len(found), 'synthetic pair')} over those of their parents: "
            f"{found.totals['kept']:.1%} keep the order, {found.totals['certified']:.1%} are "
            "certified."
        )
        caption = (
            "Margins by this model's own reward, which learned from such pairs: they say what "
            f"synthesis did to the order, and not whether the order is right.{note}"
        )
        return alt, caption

    rows = _certificate_rows(found)
    return [pictures.draw(plot, tell)[1], table(["", ""], rows), theorem2]


def _certificate_rows(found):
    totals = found.totals
    return [
        ["synthetic pairs", f"{len(found):,}"],
        ["keep their parent's order", f"{totals['kept']:.1%}"],
        ["certified by Theorem 1, before the noise is drawn", f"{totals['certified']:.1%}"],
        ["certified afterwards, by how far they moved", f"{totals['realised_certified']:.1%}"],
        ["not below Theorem 1's bound", f"{totals['bound_held']:.1%}"],
        ["mean margin of the parents", number(totals["mean_margin"])],
        ["mean margin of the synthetic pairs", number(totals["mean_synthetic_margin"])],
        ["Lipschitz constant of the reward, at most", number(found.reward_lipschitz)],
        ["Lipschitz constant of the decoder, at most", number(found.decoder_lipschitz)],
        ["reconstruction error, largest", number(found.reconstruction_error)],
    ]


def _why_no_certificate(augmenter, reward):
    """Return why there is no certificate, or None."""
    if not isinstance(augmenter, LatentPairAugmenter):
        return "the certificate is of a LatentPairAugmenter, and the model's pairs came otherwise."
    if not isinstance(augmenter.vae_, ContrastiveVAE):
        return "the certificate needs a ContrastiveVAE, whose decoder can be bounded."
    if augmenter.factor == 1:
        return "factor=1 makes no synthetic pairs."
    if augmenter.keep != "all":
        return f"the augmenter keeps {augmenter.keep} pairs alone, by a filter of its own."
    if augmenter.n_response_features:
        return "the certificate is of embeddings without response features beside them."
    if not (hasattr(reward, "lipschitz") or hasattr(reward, "coef_")):
        return f"the Lipschitz constant of a {type(reward).__name__} is not known."
    return None


def _last(model):
    return model.steps[-1][1] if hasattr(model, "steps") else model


def _augmenter_and_pairs(model, pairs):
    """Return what has an autoencoder, the pairs and targets as it reads them, and a note."""
    has_one = any(map(_has_autoencoder, _parts(model)))
    if not has_one:
        return None, None, None, "the model has no autoencoder."
    if pairs is None:
        return None, None, None, NO_PAIRS
    X = pairs.X
    for step in _parts(model):
        if _has_autoencoder(step):
            break
        if hasattr(step, "transform"):
            X = step.transform(X)
    X = np.asarray(X)
    kept = np.flatnonzero(~np.isnan(X).any(axis=(1, 2)))
    note = ""
    if len(kept) > MOST_PAIRS:
        kept = kept[np.linspace(0, len(kept) - 1, MOST_PAIRS).round().astype(int)]
        note = f" {MOST_PAIRS:,} of {len(X):,} pairs were taken."
    target = None if pairs.target is None else pairs.target[kept]
    return getattr(step, "augmenter_", step), X[kept], target, note


def _parts(model):
    return [step for _, step in model.steps] if hasattr(model, "steps") else [model]


def _has_autoencoder(step):
    step = getattr(step, "augmenter_", step)
    return hasattr(getattr(step, "vae_", step), "sample_latents")


def describe_model(model, about):
    """Return the steps of a model, and what else is known.

    Parameters
    ----------
    model : estimator
        Fitted, with its embedder.
    about : dict of str to object
        What is known besides.

    Returns
    -------
    list of Markup
        Blocks.
    """
    steps = getattr(model, "steps", None) or [("estimator", model)]
    rows = [[name, tag("code", _settings(step))] for name, step in steps]
    rows += [[name, str(value)] for name, value in about.items()]
    return [tag("div", table(["", ""], rows), class_="about")]


def _settings(step):
    """Return an estimator's text, without where this machine keeps models and embeddings."""
    if not hasattr(step, "get_params"):
        return str(step)
    step = clone(step, safe=False)
    shown = {
        name: None if name.split("__")[-1] in ("store", "memory") else os.path.basename(value)
        for name, value in step.get_params().items()
        if isinstance(value, str | os.PathLike)
        and (os.path.isabs(value) or name.split("__")[-1] in ("store", "memory"))
    }
    return " ".join(repr(step.set_params(**shown)).split())
