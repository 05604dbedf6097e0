"""A reward model that learns from its own confident labels (Huang et al., 2024)."""

from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._augmented_rows import AugmentedRows
from .._messages import read_text
from .._records import columns_of
from .._rows import read_preferences, read_prompts
from .._warnings import warn
from ._conversations import as_messages, candidate_rows, preference_row


class SelfEvolvedLabeller(BaseEstimator):
    r"""Label responses with a reward model that evolves on what it labels.

    The reward model is trained on the preference rows and scores pairs of other responses to
    their prompts. Of the pairs that it is sure of the better response is chosen; it is trained
    anew on the rows and those pairs, and so on.

    Parameters
    ----------
    reward : estimator
        Not fitted; ``fit`` takes preference rows and ``predict`` candidate rows: a Pipeline
        from :class:`~lens_sklearn.LLMEmbedder` to :class:`~lens_sklearn.BTRewardRegressor`, or
        a :class:`FineTunedRewardRegressor`.
    pairs : {"given", "best_worst"}, default="given"
        "given", as in the source: the pairs are there before the reward model. Of each row's
        responses two are drawn at random, once; where there are two, they are the pair. A pair
        that an iteration is sure of gets its order from the reward model and keeps it; the
        others are asked again in the next iteration. "best_worst" takes each row's best and
        worst response by the reward model of that iteration, which are far apart by their
        choice: most are kept, right or wrong.
    n_iterations : int, default=3
        Trainings after the first.
    high : float, default=0.55
        A pair is kept if the probability of its better response is above this and that of its
        worse response below `low`.
    low : float, default=0.45
        See `high`.
    gap : float, default=0.3
        A pair is kept, too, if the two probabilities differ by more than this.
    random_state : int, RandomState instance or None, default=None
        Draws the given pairs.

    Attributes
    ----------
    reward_ : estimator
        The reward model of the last iteration.
    center_ : float
        Its mean reward of the preference rows' responses.
    n_kept_ : list of int
        How many pairs each iteration was sure of: of "given" pairs those that earlier ones left
        undecided, of "best_worst" all.
    n_flipped_ : list of int
        How many of them it turned round, because the second response is the better one; of
        "best_worst" none.
    n_undecided_ : list of int
        How many pairs it was not sure of.

    Notes
    -----
    A response's probability is :math:`\sigma(r - c)`. A Bradley–Terry reward is known up to a
    shift, so c is the mean reward of the labelled responses. The source's two filters, `high` with
    `low` and `gap`, belong to stages of its training that it tells apart; here either will do in
    every iteration. Its pairs come with the data, here they are sampled responses, one pair a
    row: give :meth:`fit` two responses a row to have pairs of your own.

    References
    ----------
    C. Huang et al., "Self-Evolved Reward Learning for LLMs", 2024.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from lens_sklearn import BTRewardRegressor, EmbeddingScaler, LLMEmbedder
    >>> from lens_sklearn.textual import SelfEvolvedLabeller
    >>> labeller = SelfEvolvedLabeller(
    ...     make_pipeline(LLMEmbedder(), EmbeddingScaler(), BTRewardRegressor()), n_iterations=2
    ... )
    >>> labeller.fit(rows, candidates).n_kept_  # doctest: +SKIP
    [31, 14]
    """

    _parameter_constraints = {
        "reward": [HasMethods(["fit", "predict"])],
        "pairs": [StrOptions({"given", "best_worst"})],
        "n_iterations": [Interval(Integral, 0, None, closed="left")],
        "high": [Interval(Real, 0, 1, closed="both")],
        "low": [Interval(Real, 0, 1, closed="both")],
        "gap": [Interval(Real, 0, 1, closed="both")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        reward,
        *,
        pairs="given",
        n_iterations=3,
        high=0.55,
        low=0.45,
        gap=0.3,
        random_state=None,
    ):
        self.reward = reward
        self.pairs = pairs
        self.n_iterations = n_iterations
        self.high = high
        self.low = low
        self.gap = gap
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, candidates):
        """Train, label and train again.

        Parameters
        ----------
        X : rows of text
            Preference rows.
        candidates : list of dict
            A row with ``responses`` for each row of `X`, to its prompt. Rows with fewer than
            two different responses give no pair.

        Returns
        -------
        SelfEvolvedLabeller
            Itself, fitted.

        Raises
        ------
        ValueError
            If `candidates` are not one a row, one of them has no list of responses, a response is
            neither a string nor one message, or a row has no prompt.

        Warns
        -----
        UserWarning
            If an iteration finds no confident pair; then it is the last one.
        """
        rows = read_preferences(X)
        if len(candidates) != len(rows):
            raise ValueError(f"got {len(rows)} rows and candidates for {len(candidates)}.")
        prompts = read_prompts(rows)
        responses = [_texts_of(row, i) for i, row in enumerate(candidates)]
        several = [i for i, texts in enumerate(responses) if len(texts) > 1]
        if self.pairs == "given":
            self._draw_pairs(several, responses)
        self.n_kept_, self.n_flipped_, self.n_undecided_ = [], [], []
        self._train(AugmentedRows(rows), rows)
        labelled, open_rows = {}, several  # the pairs that it is sure of, and rows yet to decide
        for iteration in range(self.n_iterations):
            new = self._confident_pairs(open_rows, prompts, responses)
            self._count(new, open_rows, responses)
            if not new:
                warn(
                    f"iteration {iteration + 1} of the self-evolved labeller is sure of none of "
                    f"{len(open_rows)} pairs: the reward model stays as it is.",
                )
                break
            if self.pairs == "given":
                labelled = dict(sorted((labelled | new).items()))
                open_rows = [i for i in open_rows if i not in new]
            else:
                labelled = new
            parents = list(labelled)
            made = [preference_row(rows[i], prompts[i], *labelled[i]) for i in parents]
            number = [0] * len(rows) + [1] * len(made)
            self._train(AugmentedRows(rows + made, [*range(len(rows)), *parents], number), rows)
            if not open_rows:
                break
        return self

    def _draw_pairs(self, rows, responses):
        """Leave two random responses of each row, in random order."""
        rng = check_random_state(self.random_state)
        for i in rows:
            two = rng.choice(len(responses[i]), 2, replace=False)
            # Where the pair is all there is, it has the order in which it was given.
            two = two if len(responses[i]) > 2 else (0, 1)
            responses[i] = [responses[i][j] for j in two]

    def _train(self, training, rows):
        self.reward_ = clone(self.reward).fit(training)
        self.center_ = float(np.nanmean(self.reward_.predict(rows)))

    def _confident_pairs(self, open_rows, prompts, responses):
        """Return {row: (better, worse)} of rows whose pair is a confident one."""
        if not open_rows:
            return {}
        texts = [responses[i] for i in open_rows]
        probability = expit(self._rewards([as_messages(prompts[i]) for i in open_rows], texts))
        # A row of which no response has a reward, as dropped texts have none, has no pair.
        known = ~np.isnan(probability).all(axis=1)
        best = np.nanargmax(np.where(known[:, None], probability, 0), axis=1)
        worst = np.nanargmin(np.where(known[:, None], probability, 0), axis=1)
        row = np.arange(len(open_rows))
        high, low = probability[row, best], probability[row, worst]
        is_confident = ((high > self.high) & (low < self.low)) | (high - low > self.gap)
        return {
            open_rows[i]: (texts[i][best[i]], texts[i][worst[i]])
            for i in np.flatnonzero(is_confident & (high > low))
        }

    def _count(self, new, open_rows, responses):
        self.n_kept_.append(len(new))
        self.n_undecided_.append(len(open_rows) - len(new))
        flipped = [i for i, pair in new.items() if pair[0] == responses[i][1]]
        self.n_flipped_.append(len(flipped) if self.pairs == "given" else 0)

    def _rewards(self, prompts, responses):
        return self.reward_.predict(candidate_rows(prompts, responses)) - self.center_

    def score(self, prompts, responses):
        """Score responses with the evolved reward model.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float, shape (n, k)
            Centred rewards; NaN is the padding of shorter lists.
        """
        check_is_fitted(self)
        return self._rewards(prompts, responses)


def _texts_of(row, i):
    """Return the different responses of a candidate row as strings."""
    responses = row.get("responses") if isinstance(row, Mapping) else None
    if not isinstance(responses, list | tuple):
        raise ValueError(
            f"candidates[{i}]: expected a dict with a list of 'responses'; got {columns_of(row)}."
        )
    texts = []
    for j, response in enumerate(responses):
        if not isinstance(response, str):  # a sampled text is a text, whatever it looks like
            messages = read_text(response, f"candidates[{i}], responses[{j}]")
            if len(messages) != 1 or messages[0][0] != "assistant" or len(messages[0]) != 2:
                raise ValueError(
                    f"candidates[{i}], responses[{j}]: expected a str or one assistant's message "
                    "without further fields."
                )
            response = messages[0][1]
        texts.append(response)
    return list(dict.fromkeys(texts))
