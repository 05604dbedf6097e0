"""A fitted reward of this package as labeller."""

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods

from ._conversations import candidate_rows


class RewardLabeller(BaseEstimator):
    """Label responses with a reward model that is fitted already.

    Parameters
    ----------
    reward : estimator
        Fitted; its ``predict`` takes candidate rows: a Pipeline from
        :class:`~lens_sklearn.LLMEmbedder` to :class:`~lens_sklearn.BTRewardRegressor`, or a
        :class:`FineTunedRewardRegressor`.

    Notes
    -----
    ``clone`` keeps the fitted reward, so a Pipeline or a grid search may hold this labeller.

    Examples
    --------
    >>> from lens_sklearn.textual import RewardLabeller
    >>> labeller = RewardLabeller(pipe)  # doctest: +SKIP
    >>> labeller.score(["2 + 2?"], [["4", "A fish."]]).shape  # doctest: +SKIP
    (1, 2)
    """

    _parameter_constraints = {"reward": [HasMethods(["predict"])]}

    def __init__(self, reward):
        self.reward = reward

    def score(self, prompts, responses):
        """Score responses.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float, shape (n, k)
            Larger is better; NaN is the padding of shorter lists.
        """
        self._validate_params()
        return self.reward.predict(candidate_rows(prompts, responses))

    def __sklearn_clone__(self):
        return type(self)(self.reward)
