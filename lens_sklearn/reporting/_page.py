"""The page: its parts in order, and what it looks like."""

from numbers import Integral

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar

from .._io import pair_targets
from .._records import as_records
from .._rows import prompt_groups, prompt_keys
from .._validation import encode_groups
from ..displays import load_matplotlib
from ._candidate_sections import (
    conclude,
    describe_data,
    show_best_of_n,
    show_comparison,
    show_lengths,
    show_picks,
)
from ._evidence import Evidence, is_text
from ._html import Markup, join, listing, paragraph, tag
from ._model_sections import (
    PairData,
    describe_model,
    show_calibration,
    show_certificate,
    show_histories,
    show_latents,
)
from ._numbers import FEW, count
from ._style import STYLE
from ._svg import Pictures

#: Nothing is loaded and nothing runs, whatever a text says.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'"


def html_report(
    estimator,
    candidates,
    gold=None,
    *,
    pairs=None,
    target=None,
    sample_weight=None,
    groups=None,
    reference=None,
    name="reward model",
    about=None,
    notes=(),
    n_examples=8,
    random_state=0,
):
    """Write what a fitted reward model is worth as one HTML page.

    The page needs no network and runs no script: style and pictures are in it, and texts of
    others are escaped. What cannot be shown says why. The same arguments give the same page.

    Parameters
    ----------
    estimator : estimator
        Fitted: a reward, or a Pipeline that ends in one.
    candidates : rows of text or array-like of shape (n_prompts, N, d)
        Candidate rows, or embeddings padded with NaN; of prompts that the estimator has not
        learned from.
    gold : array-like of shape (n_prompts, N), default=None
        Gold rewards, NaN where a row has fewer than N candidates. None: picks are shown, and not
        judged.
    pairs : rows of text or array-like of shape (n, 2, d), default=None
        Preference pairs, column 0 chosen, for calibration, the map of latents and the
        certificate. Calibration means something for pairs that the estimator has not learned
        from.
    target : array-like of shape (n,), default=None
        Probability that column 0 of each pair wins. None takes it from the column ``target`` of
        rows, and is 1 without one.
    sample_weight : array-like of shape (n,), default=None
        How much each pair counts in accuracy and calibration; pairs of weight 0 are left out.
        None takes it from the column ``weight`` of rows, and is 1 without one.
    groups : array-like of shape (n,), default=None
        Equal values for pairs of equal prompts; None reads the prompts of rows, and counts each
        pair of embeddings as one.
    reference : estimator, default=None
        Another fitted reward, which reads the same `candidates`: a control.
    name : str, default="reward model"
        Title of the page.
    about : dict of str to object, default=None
        What else is to be said of the model, by name.
    notes : sequence of str, default=()
        Sentences that stand at the beginning.
    n_examples : int, default=8
        Prompts whose picks are shown side by side, at most.
    random_state : int, default=0
        Draws the bootstrap of the Best-of-N intervals.

    Returns
    -------
    str
        HTML.

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If `estimator` or `reference` has no ``predict``.
    ValueError
        If shapes do not fit, `candidates` have no reward at all, every weight is 0, `target`,
        `sample_weight` or `groups` are given without pairs, or `notes` is one text.

    Warns
    -----
    UserWarning
        If candidates have no reward, as dropped texts have none, and are left out.

    See Also
    --------
    lens_sklearn.displays : Its pictures, one by one.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> from lens_sklearn.reporting import html_report
    >>> toy = make_preference_pairs(n_pairs=200, n_features=4, random_state=0)
    >>> reward = LinearRewardRegressor().fit(toy.pairs[:100])
    >>> page = html_report(reward, toy.candidates, toy.gold, pairs=toy.pairs[100:])
    >>> page.startswith("<!DOCTYPE html>"), "<script" in page
    (True, False)
    """
    load_matplotlib("figure")  # before the work
    of_pairs = {"target": target, "sample_weight": sample_weight, "groups": groups}
    if pairs is None and any(values is not None for values in of_pairs.values()):
        raise ValueError(
            "target, sample_weight and groups are of pairs, and there are none; give pairs."
        )
    check_scalar(n_examples, "n_examples", Integral, min_val=0)
    if isinstance(notes, str):
        raise ValueError("notes has to be a list of sentences, not one.")
    whole = estimator = getattr(estimator, "best_estimator_", estimator)
    evidence = Evidence.gather(estimator, candidates, gold, reference)
    if pairs is not None:
        estimator, pairs = _read_pairs(estimator, pairs, candidates, of_pairs)
    pictures = Pictures()
    curve = show_best_of_n(evidence, pictures, random_state)
    sections = [
        ("In short", _summary(evidence, notes)),
        ("Data", describe_data(evidence, pairs)),
        ("Comparison", show_comparison(evidence)),
        ("Best-of-N", curve),
        ("Picks side by side", show_picks(evidence, n_examples)),
        ("Reward and length", show_lengths(evidence, pictures)),
        ("Calibration", show_calibration(estimator, pairs, pictures)),
        ("Latent space", show_latents(estimator, pairs, pictures)),
        ("Training", show_histories(estimator, pictures)),
        ("Certificate", show_certificate(estimator, pairs, pictures)),
        ("The model", describe_model(whole, about or {})),
    ]
    return _page(name, sections, pictures)


def _read_pairs(estimator, pairs, candidates, given):
    """Return the estimator behind its embedder, and the pairs that count, embedded once."""
    n_shared, has_texts = None, is_text(pairs)
    pairs, given = _weigh(as_records(pairs) if has_texts else pairs, has_texts, **given)
    if has_texts and is_text(candidates):
        known = set(prompt_keys(pairs))
        n_shared = sum(key in known for key in prompt_keys(candidates) if key)
    steps = getattr(estimator, "steps", None)
    if has_texts and steps is not None and len(steps) > 1:
        if hasattr(steps[0][1], "transform"):
            pairs = steps[0][1].transform(pairs)
            estimator = Pipeline(steps[1:])
    return estimator, PairData(pairs, n_shared=n_shared, **given)


def _weigh(pairs, has_texts, target, sample_weight, groups):
    """Return the pairs that weigh more than 0, and what is known of them."""
    n = len(pairs)
    own = pair_targets(pairs) if has_texts else (None, None)
    target, weight = (
        o if v is None else v for o, v in zip(own, (target, sample_weight), strict=True)
    )
    if groups is None:
        groups = prompt_groups(pairs) if has_texts else np.arange(n)
    given = {
        "target": None if target is None else np.asarray(target, dtype=float),
        "weight": None if weight is None else np.asarray(weight, dtype=float),
        "groups": encode_groups(groups),
    }
    for key, values in given.items():
        name = "sample_weight" if key == "weight" else key
        if values is not None and values.shape != (n,):
            raise ValueError(f"{name} must have the shape ({n},), one a pair; got {values.shape}.")
    if weight is None:
        return pairs, given
    kept = np.flatnonzero(given["weight"])
    if not len(kept):
        raise ValueError("sample_weight: every weight is 0; no pair is left to report on.")
    given = {key: None if values is None else values[kept] for key, values in given.items()}
    return [pairs[i] for i in kept] if has_texts else np.asarray(pairs)[kept], given


def _summary(evidence, notes):
    items = conclude(evidence)
    n = len(set(evidence.groups.tolist()))
    if evidence.gold is not None:
        items.append("In parentheses are 95 % intervals by prompt.")
        if n < FEW:
            items[-1] += f" {count(n, 'prompt')} are few: take them as rough."
    return [listing([*items, *notes])]


def _page(name, sections, pictures):
    contents, parts = [], []
    for title, blocks in sections:
        key = title.lower().replace(" ", "-")
        contents.append(tag("a", title, href=f"#{key}"))
        parts.append(tag("section", tag("h2", title), join(blocks), id=key))
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", f"Report: {name}"),
            tag("link", rel="icon", href="data:,"),
            tag("style", Markup(STYLE + pictures.styles())),
        ],
        "\n",
    )
    header = tag("header", paragraph("Reward model report"), tag("h1", name))
    nav = tag("nav", listing(contents), aria_label="Contents")
    main = tag("main", join(parts, "\n"))
    page = [tag("head", head), tag("body", join([header, nav, main], "\n"))]
    return f"<!DOCTYPE html>\n{tag('html', join(page, chr(10)), lang='en')}\n"
