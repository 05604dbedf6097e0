"""Synthesis of preference pairs in text space: sample, label, pair top with bottom."""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._augmented_rows import AugmentedRows
from .._device import draw_seed
from .._rows import read_preferences, read_prompts
from .._warnings import warn
from ._conversations import preference_row
from ._function_labeller import as_labeller, check_scores


class TextPairSynthesizer(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Synthesise preference rows from sampled responses (the paper's textual baselines).

    For each synthetic row responses to the original's prompt are sampled and labelled, and the
    best is paired with the worst. Like the latent augmenters this is a step that acts in ``fit``
    alone, but it stands before the embedder.

    Parameters
    ----------
    generator : ResponseGenerator
        Samples at least two responses a prompt, and further ones where a prompt comes again.
    labeller : PairLabeller or callable
        :class:`RewardModelLabeller`, :class:`SelfRewardingLabeller`, :class:`RubricLabeller`,
        :class:`SelfEvolvedLabeller`, :class:`ImplicitPreferenceLabeller`, :class:`RewardLabeller`,
        any object with ``score(prompts, responses)``, or a function of both. One with a ``fit`` is
        fitted on the rows and, for each, all responses sampled to its prompt.
    factor : int, default=4
        Rows returned for each original row, the original included.
    draws : {"anew", "once"}, default="anew"
        "anew" samples ``n_samples`` responses for each synthetic row and pairs the best with the
        worst of them: the paper (A.1) samples different pairs several times. "once" samples
        ``n_samples`` responses a row and pairs the second best with the second worst, too, and
        so on down to the middle, where the labeller can hardly tell which is better.
    random_state : int, RandomState instance or None, default=None
        Seeds a generator and a labeller that have no seed of their own.

    Attributes
    ----------
    generator_ : ResponseGenerator
        Fitted.
    labeller_ : PairLabeller
        Fitted, where it learns.
    n_tied_ : int
        How many pairs were left out because the labeller gave both responses one score.
    n_missing_ : int
        How many pairs could not be made because a prompt had too few different responses, or too
        few that were judged.
    n_repeated_ : int
        How many pairs were left out because a pair of the same row has both responses already.
    n_unjudged_ : int
        How many responses got NaN from the labeller, which is no judgement; they are in no pair.

    See Also
    --------
    lens_sklearn.LatentPairAugmenter : The paper's synthesis in latent space.

    Notes
    -----
    Cost: under "anew" a row takes ``(factor - 1) * n_samples`` responses, sampled and labelled,
    under "once" ``n_samples``. With 16 samples and a factor of 8 that is 112 against 16. A
    pairwise judge compares within a draw alone. A :class:`ResponseGenerator` numbers the samples
    of a prompt, so the rows of a smaller factor are the first of a larger one, and a ``store``
    generates nothing twice.

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
        "labeller": [HasMethods(["score"]), callable],
        "factor": [Interval(Integral, 1, None, closed="left")],
        "draws": [StrOptions({"anew", "once"})],
        "random_state": ["random_state"],
    }

    def __init__(self, generator, labeller, *, factor=4, draws="anew", random_state=None):
        self.generator = generator
        self.labeller = labeller
        self.factor = factor
        self.draws = draws
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
        TypeError
            If the labeller is a class.
        """
        labeller = as_labeller(self.labeller)
        n_pairs = self.factor - 1
        n_least = 2 * n_pairs if self.draws == "once" else 2 * (n_pairs > 0)
        if getattr(self.generator, "n_samples", n_least) < n_least:
            best = f"best {n_pairs} responses with the worst {n_pairs}"
            what = f" pairs the {best}" if self.draws == "once" else " pairs best and worst"
            raise ValueError(
                f"factor={self.factor} with draws={self.draws!r}{what}, so the generator needs "
                f"n_samples >= {n_least}; got {self.generator.n_samples}."
            )
        rng = check_random_state(self.random_state)
        generator, seed = clone(self.generator), draw_seed(rng)
        if getattr(generator, "random_state", 0) is None and self.random_state is not None:
            generator.set_params(random_state=seed)
        self.generator_ = generator.fit()
        self.labeller_ = clone(labeller) if hasattr(labeller, "get_params") else labeller
        if self.random_state is not None:
            _seed(self.labeller_, rng)
        self.n_tied_ = self.n_missing_ = self.n_repeated_ = self.n_unjudged_ = 0
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
            of the first draw, one a row, then those of the second draw, and so on; under "once"
            the pairs of best and worst, then those of second best and second worst. In all
            ``factor * n`` rows less those that are left out.

        Raises
        ------
        ValueError
            If `y` is given, the rows are augmented already or have no prompt, the generator
            returns another number of rows than it was given, or the labeller returns scores of
            another shape or infinite ones.

        Warns
        -----
        UserWarning
            If pairs are left out, or responses have no judgement.
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
        candidates = self._draw(rows)
        if hasattr(self.labeller_, "fit"):
            self.labeller_.fit(rows, _pooled(candidates, len(rows)))
        responses = [list(dict.fromkeys(row["responses"])) for row in candidates]
        rankings = self._rank([row["prompt"] for row in candidates], responses, len(rows))
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

    def _draw(self, rows):
        """Return candidate rows: draw t of row i is number t * n + i."""
        asked = rows * (self.factor - 1) if self.draws == "anew" else rows
        candidates = self.generator_.transform(asked)
        if len(candidates) != len(asked):
            raise ValueError(
                f"{type(self.generator_).__name__} returned {len(candidates)} candidate rows for "
                f"{len(asked)} rows; expected as many, in their order."
            )
        return candidates

    def _rank(self, prompts, responses, n_rows):
        """Return {draw: its judged responses' numbers, the best first, with their scores}."""
        several = [i for i, texts in enumerate(responses) if len(texts) > 1]
        self.n_unjudged_ = 0
        if not several:
            return {}
        texts = [responses[i] for i in several]
        scores = self.labeller_.score([prompts[i] for i in several], texts)
        scores = check_scores(self.labeller_, scores, texts, [i % n_rows for i in several])
        rankings = {}
        for i, row, row_texts in zip(several, scores, texts, strict=True):
            row = row[: len(row_texts)]
            order = np.argsort(-row, kind="stable")  # NaN comes last
            order = order[: np.count_nonzero(~np.isnan(row))]
            self.n_unjudged_ += len(row) - len(order)
            rankings[i] = order, row[order]
        if self.n_unjudged_:
            warn(
                f"{self.n_unjudged_} of {sum(map(len, texts))} responses got no judgement (NaN) by "
                f"{type(self.labeller_).__name__} and are left out of pairing."
            )
        return rankings

    def _pair(self, rows, prompts, responses, rankings):
        """Pair the best response of each draw with the worst; of one draw the j-th with j-th."""
        new, parent, number, seen = [], [], [], set()
        self.n_tied_ = self.n_missing_ = self.n_repeated_ = 0
        for t in range(self.factor - 1):
            draw, best = (t, 0) if self.draws == "anew" else (0, t)
            for i, row in enumerate(rows):
                texts = responses[draw * len(rows) + i]
                order, scores = rankings.get(draw * len(rows) + i, ((), ()))
                worst = len(order) - 1 - best
                if best >= worst:
                    self.n_missing_ += 1
                    continue
                if scores[best] == scores[worst]:
                    self.n_tied_ += 1
                    continue
                pair = i, texts[order[best]], texts[order[worst]]
                if pair in seen:
                    self.n_repeated_ += 1
                    continue
                seen.add(pair)
                new.append(preference_row(row, prompts[i], *pair[1:]))
                parent.append(i)
                number.append(t + 1)
        self._report(len(rows) * (self.factor - 1), len(new))
        return AugmentedRows(rows + new, [*range(len(rows)), *parent], [0] * len(rows) + number)

    def _report(self, n_pairs, n_new):
        if n_new == n_pairs:
            return
        reasons = []
        if self.n_tied_:
            reasons.append(f"the labeller ties the two responses of {self.n_tied_}")
        if self.n_missing_:
            judged = " and judged" if self.n_unjudged_ else ""
            reasons.append(
                f"too few different responses were sampled{judged} for {self.n_missing_}"
            )
        if self.n_repeated_:
            reasons.append(f"{self.n_repeated_} were made of another draw already")
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


def _pooled(candidates, n_rows):
    """Return one candidate row a preference row, with the responses of all its draws."""
    return [
        {
            "prompt": candidates[i]["prompt"],
            "responses": [text for row in candidates[i::n_rows] for text in row["responses"]],
        }
        for i in range(n_rows)
    ]


def _seed(labeller, rng):
    """Seed a labeller, and what it trains, where they have no seed of their own."""
    if not hasattr(labeller, "get_params"):
        return
    # Only what learns clones what it holds; a fitted reward is the user's own and stays as it is.
    parameters = labeller.get_params(deep=hasattr(labeller, "fit"))
    for name in sorted(parameters):
        if name.split("__")[-1] == "random_state" and parameters[name] is None:
            labeller.set_params(**{name: draw_seed(rng)})
