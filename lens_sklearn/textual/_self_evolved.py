"""A reward model that learns from its own confident labels (Huang et al., 2024)."""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit
from sklearn.base import BaseEstimator, _fit_context, clone
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from .._augmented_rows import AugmentedRows
from .._rows import read_preferences, read_prompts
from .._warnings import warn
from ._conversations import as_messages, candidate_rows, preference_row


class SelfEvolvedLabeller(BaseEstimator):
    r"""Label responses with a reward model that evolves on what it labels.

    The reward model is trained on the preference rows and scores the sampled responses. Of
    each prompt's best and worst response it keeps the confident pairs, is trained anew on the rows
    and those pairs, and so on.

    Parameters
    ----------
    reward : estimator
        Not fitted; ``fit`` takes preference rows and ``predict`` candidate rows: a Pipeline
        from :class:`~lens_sklearn.LLMEmbedder` to :class:`~lens_sklearn.BTRewardRegressor`, or
        a :class:`FineTunedRewardRegressor`.
    n_iterations : int, default=3
        Trainings after the first.
    high : float, default=0.55
        A pair is kept if the probability of its better response is above this and that of its
        worse response below `low`.
    low : float, default=0.45
        See `high`.
    gap : float, default=0.3
        A pair is kept, too, if the two probabilities differ by more than this.

    Attributes
    ----------
    reward_ : estimator
        The reward model of the last iteration.
    center_ : float
        Its mean reward of the preference rows' responses.
    n_kept_ : list of int
        How many pairs each iteration kept.

    Notes
    -----
    A response's probability is :math:`\sigma(r - c)`. A Bradley–Terry reward is known up to a
    shift, so c is the mean reward of the labelled responses.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from lens_sklearn import BTRewardRegressor, EmbeddingScaler, LLMEmbedder
    >>> from lens_sklearn.textual import SelfEvolvedLabeller
    >>> labeller = SelfEvolvedLabeller(
    ...     make_pipeline(LLMEmbedder(), EmbeddingScaler(), BTRewardRegressor()), n_iterations=2
    ... )
    >>> labeller.fit(rows, candidates).n_kept_  # doctest: +SKIP
    [31, 45]
    """

    _parameter_constraints = {
        "reward": [HasMethods(["fit", "predict"])],
        "n_iterations": [Interval(Integral, 0, None, closed="left")],
        "high": [Interval(Real, 0, 1, closed="both")],
        "low": [Interval(Real, 0, 1, closed="both")],
        "gap": [Interval(Real, 0, 1, closed="both")],
    }

    def __init__(self, reward, *, n_iterations=3, high=0.55, low=0.45, gap=0.3):
        self.reward = reward
        self.n_iterations = n_iterations
        self.high = high
        self.low = low
        self.gap = gap

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

        Warns
        -----
        UserWarning
            If an iteration finds no confident pair; then it is the last one.
        """
        rows = read_preferences(X)
        if len(candidates) != len(rows):
            raise ValueError(f"got {len(rows)} rows and candidates for {len(candidates)}.")
        prompts = read_prompts(rows)
        responses = [list(dict.fromkeys(row["responses"])) for row in candidates]
        parents = [i for i, texts in enumerate(responses) if len(texts) > 1]
        self.n_kept_ = []
        self._train(AugmentedRows(rows), rows)
        for iteration in range(self.n_iterations):
            new_parents, pairs = self._confident_pairs(parents, prompts, responses)
            self.n_kept_.append(len(pairs))
            if not pairs:
                warn(
                    f"iteration {iteration + 1} of the self-evolved labeller is sure of none of "
                    f"{len(parents)} pairs: the reward model stays as it is.",
                )
                break
            new = [
                preference_row(rows[i], prompts[i], *pair)
                for i, pair in zip(new_parents, pairs, strict=True)
            ]
            parent = [*range(len(rows)), *new_parents]
            self._train(AugmentedRows(rows + new, parent, [0] * len(rows) + [1] * len(new)), rows)
        return self

    def _train(self, training, rows):
        self.reward_ = clone(self.reward).fit(training)
        self.center_ = float(np.nanmean(self.reward_.predict(rows)))

    def _confident_pairs(self, parents, prompts, responses):
        """Return the rows whose best and worst response make a confident pair, and the pairs."""
        if not parents:
            return [], []
        texts = [responses[i] for i in parents]
        probability = expit(self._rewards([as_messages(prompts[i]) for i in parents], texts))
        best, worst = np.nanargmax(probability, axis=1), np.nanargmin(probability, axis=1)
        row = np.arange(len(parents))
        high, low = probability[row, best], probability[row, worst]
        is_confident = ((high > self.high) & (low < self.low)) | (high - low > self.gap)
        confident = np.flatnonzero(is_confident & (high > low))
        return (
            [parents[i] for i in confident],
            [(texts[i][best[i]], texts[i][worst[i]]) for i in confident],
        )

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
