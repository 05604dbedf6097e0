"""Synthesis of preference pairs in text space: sample, label, pair top with bottom."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from .._augmented_rows import AugmentedRows
from .._device import draw_seed
from .._rows import read_preferences, read_prompts
from .._warnings import warn
from ._conversations import preference_row


class TextPairSynthesizer(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Synthesise preference rows from sampled responses (the paper's textual baselines).

    To each row's prompt responses are sampled and labelled; the best is paired with the worst,
    the second best with the second worst, and so on. Like the latent augmenters this is a step
    that acts in ``fit`` alone, but it stands before the embedder.

    Parameters
    ----------
    generator : ResponseGenerator
        Samples at least ``2 * (factor - 1)`` responses a prompt.
    labeller : PairLabeller
        :class:`RewardModelLabeller`, :class:`SelfRewardingLabeller`, :class:`SelfEvolvedLabeller`,
        :class:`ImplicitPreferenceLabeller`, :class:`RewardLabeller`, or any object with
        ``score(prompts, responses)``. One with a ``fit`` is fitted on the rows and responses.
    factor : int, default=4
        Rows returned for each original row, the original included.
    random_state : int, RandomState instance or None, default=None
        Seeds a generator that has no seed of its own.

    Attributes
    ----------
    generator_ : ResponseGenerator
        Fitted.
    labeller_ : PairLabeller
        Fitted, where it learns.
    n_tied_ : int
        How many pairs were left out because the labeller gave both responses one score.
    n_missing_ : int
        How many pairs could not be made because a prompt had too few different responses.

    See Also
    --------
    lens_sklearn.LatentPairAugmenter : The paper's synthesis in latent space.

    Notes
    -----
    Tied pairs are left out and not kept with the soft target ½: ½ would say that the two
    responses are equally good, but a tie mostly says that the labeller cannot tell. So
    ``fit_transform`` may return fewer than ``factor * n`` rows, and then it warns.

    The rows know their parents; :class:`~lens_sklearn.LLMEmbedder` and
    :class:`~lens_sklearn.EmbeddingScaler` hand this on, and the early stopping of
    :class:`~lens_sklearn.BTRewardRegressor` validates on original rows of whole held-out
    parents.

    Examples
    --------
    >>> from sklearn.pipeline import Pipeline
    >>> from lens_sklearn import BTRewardRegressor, EmbeddingScaler, LLMEmbedder
    >>> from lens_sklearn.textual import (
    ...     RewardModelLabeller, ResponseGenerator, TextPairSynthesizer)
    >>> pipe = Pipeline([
    ...     ("synthesize", TextPairSynthesizer(ResponseGenerator(), RewardModelLabeller())),
    ...     ("embed", LLMEmbedder()),
    ...     ("scale", EmbeddingScaler()),
    ...     ("reward", BTRewardRegressor()),
    ... ])
    >>> pipe.fit(rows).score(candidates, gold)  # doctest: +SKIP
    1.62
    """

    _parameter_constraints = {
        "generator": [HasMethods(["fit", "transform"])],
        "labeller": [HasMethods(["score"])],
        "factor": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(self, generator, labeller, *, factor=4, random_state=None):
        self.generator = generator
        self.labeller = labeller
        self.factor = factor
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X=None, y=None):
        """Find the generator's model; nothing is sampled or learnt.

        Parameters
        ----------
        X : rows of text, default=None
            Ignored.
        y : None
            Ignored.

        Returns
        -------
        TextPairSynthesizer
            Itself, fitted.

        Raises
        ------
        ValueError
            If the generator samples too few responses for ``factor``.
        """
        n_least = 2 * (self.factor - 1)
        if getattr(self.generator, "n_samples", n_least) < n_least:
            raise ValueError(
                f"factor={self.factor} pairs the best {self.factor - 1} responses with the worst "
                f"{self.factor - 1}, so the generator needs n_samples >= {n_least}; got "
                f"{self.generator.n_samples}."
            )
        generator = clone(self.generator)
        seed = draw_seed(check_random_state(self.random_state))
        if getattr(generator, "random_state", 0) is None and self.random_state is not None:
            generator.set_params(random_state=seed)
        self.generator_ = generator.fit()
        is_estimator = hasattr(self.labeller, "get_params")
        self.labeller_ = clone(self.labeller) if is_estimator else self.labeller
        self.n_tied_ = self.n_missing_ = 0
        return self

    def fit_transform(self, X, y=None):
        """Return the rows with the synthetic ones made from them.

        .. note::
            This is not ``fit(X).transform(X)``: `transform` returns its input as it is, so
            that a Pipeline augments what it trains on and nothing that it predicts or scores.

        Parameters
        ----------
        X : rows of text
            Preference rows with prompts, their own or shared by both texts.
        y : None
            Targets cannot follow: a synthetic row's label is the labeller's, not its parent's.

        Returns
        -------
        AugmentedRows
            The n originals first, with nothing but prompt, chosen and rejected, then the pairs
            of best and worst response, then those of the second best and second worst, and so
            on: ``factor * n`` rows less those with equal scores or too few different responses.

        Raises
        ------
        ValueError
            If `y` is given, the rows are augmented already or have no prompt, or the labeller
            returns scores of another shape or that are not finite.

        Warns
        -----
        UserWarning
            If pairs are left out.
        """
        if y is not None:
            raise ValueError(
                "y cannot follow text synthesis: the labels of synthetic rows are the "
                "labeller's. Order chosen and rejected by y, and fit without it."
            )
        if isinstance(X, AugmentedRows) and X.is_synthetic.any():
            raise ValueError("the rows are augmented already; augment once.")
        rows = read_preferences(X)
        prompts = read_prompts(rows)
        self.fit(rows)
        if self.factor == 1:
            return AugmentedRows(rows)
        candidates = self.generator_.transform(rows)
        if hasattr(self.labeller_, "fit"):
            self.labeller_.fit(rows, candidates)
        responses = [list(dict.fromkeys(row["responses"])) for row in candidates]
        rankings = self._rank([row["prompt"] for row in candidates], responses)
        return self._pair(rows, prompts, responses, rankings)

    def transform(self, X):
        """Return the rows as they are.

        Parameters
        ----------
        X : rows of text
            Preference or candidate rows.

        Returns
        -------
        rows of text
            `X`.
        """
        check_is_fitted(self)
        return X

    def _rank(self, prompts, responses):
        """Return {row: its responses' numbers, the best first, with their scores}."""
        several = [i for i, texts in enumerate(responses) if len(texts) > 1]
        if not several:
            return {}
        texts = [responses[i] for i in several]
        scores = self.labeller_.score([prompts[i] for i in several], texts)
        scores = _check_scores(self.labeller_, scores, texts, several)
        rankings = {}
        for i, row, row_texts in zip(several, scores, texts, strict=True):
            order = np.argsort(-row[: len(row_texts)], kind="stable")
            rankings[i] = order, row[order]
        return rankings

    def _pair(self, rows, prompts, responses, rankings):
        """Pair the j-th best response with the j-th worst, j = 1, …, factor - 1."""
        new, parent, number = [], [], []
        self.n_tied_ = self.n_missing_ = 0
        for j in range(self.factor - 1):
            for i, row in enumerate(rows):
                order, scores = rankings.get(i, ((), ()))
                worst = len(order) - 1 - j
                if j >= worst:
                    self.n_missing_ += 1
                elif scores[j] == scores[worst]:
                    self.n_tied_ += 1
                else:
                    top, bottom = responses[i][order[j]], responses[i][order[worst]]
                    new.append(preference_row(row, prompts[i], top, bottom))
                    parent.append(i)
                    number.append(j + 1)
        self._report(len(rows) * (self.factor - 1), len(new))
        return AugmentedRows(rows + new, [*range(len(rows)), *parent], [0] * len(rows) + number)

    def _report(self, n_pairs, n_new):
        if n_new == n_pairs:
            return
        reasons = []
        if self.n_tied_:
            reasons.append(f"the labeller ties the two responses of {self.n_tied_}")
        if self.n_missing_:
            reasons.append(f"too few different responses were sampled for {self.n_missing_}")
        nothing = "" if n_new else " Nothing was synthesised: the rows are the originals alone."
        warn(
            f"{n_pairs - n_new} of {n_pairs} synthetic pairs are left out: "
            f"{' and '.join(reasons)}.{nothing}",
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def _check_scores(labeller, scores, texts, rows):
    """Return a labeller's scores (n, k) if they are what the protocol promises."""
    scores, k = np.asarray(scores, dtype=float), max(map(len, texts))
    name = type(labeller).__name__
    if scores.shape != (len(texts), k):
        raise ValueError(f"{name} scored {len(texts)} × {k} responses with shape {scores.shape}.")
    for i, row_texts, row in zip(rows, texts, scores, strict=True):
        bad = np.flatnonzero(~np.isfinite(row[: len(row_texts)]))
        if len(bad):
            raise ValueError(f"{name} gave {row[bad[0]]} to row {i}, response {bad[0]}.")
    return scores
