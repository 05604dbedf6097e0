"""A fitted reward as the function that trainers of language models call."""

import inspect
from collections.abc import Mapping
from numbers import Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._row_scores import Scores, score_rows
from ._warnings import warn

#: What prompts begin turns with once a chat template has been applied to them.
RENDERED = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "[INST]", "<|user|>")
#: Rewards that differ by less, as a share of the largest, differ by float32's rounding alone.
SAME = 1e-6


def as_reward_function(estimator, *, name="lens_reward", floor=None, reference=None):
    """Make a fitted reward a function for TRL, OpenRLHF or verl.

    Parameters
    ----------
    estimator : estimator
        Fitted; its ``predict`` takes candidate rows of text: a Pipeline from
        :class:`LLMEmbedder` or :class:`ResponseViews` to a reward, or a
        :class:`~lens_sklearn.textual.FineTunedRewardRegressor`.
    name : str, default="lens_reward"
        What trainers log it by.
    floor : float, default=None
        The reward of a completion that cannot be scored: one that is empty, or refused by the
        embedder (too long under ``overlong="raise"``, malformed). None is TRL's None, which
        leaves such a completion out of its reward; OpenRLHF and verl, which need a number, are
        given the lowest reward of the batch, and 0 where there is none.
    reference : rows of text, default=None
        Preference or candidate rows whose rewards are to have mean 0 and standard deviation 1.
        None leaves rewards as they are, known up to a shift.

    Returns
    -------
    RewardFunction
        ``GRPOTrainer(reward_funcs=function)`` takes it as it is; ``function.openrlhf`` and
        ``function.verl`` are for those.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If the rewards of `reference` do not vary, or `floor` is no finite number.

    Notes
    -----
    Signatures are those of TRL's ``GRPOTrainer`` and ``RLOOTrainer``, OpenRLHF's
    ``reward_func.py`` and verl's ``custom_reward_function``.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from lens_sklearn import as_reward_function
    >>> class Length(BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         return self
    ...     def predict(self, rows):
    ...         return [[len(text) for text in row["responses"]] for row in rows]
    ...     def __sklearn_is_fitted__(self):
    ...         return True
    >>> function = as_reward_function(Length())
    >>> function(prompts=["2 + 2?", "2 + 2?"], completions=["It is 4.", ""])
    [8.0, None]
    """
    check_is_fitted(estimator)
    if floor is not None:
        is_number = isinstance(floor, Real) and not isinstance(floor, bool)
        if not is_number or not np.isfinite(floor):
            raise ValueError(f"floor={floor!r} has to be a finite number, or None.")
    mean, scale = 0.0, 1.0
    if reference is not None:
        rewards = np.asarray(estimator.predict(reference), dtype=float)
        mean, scale = float(np.nanmean(rewards)), float(np.nanstd(rewards))
        if not scale > SAME * np.nanmax(np.abs(rewards)):
            raise ValueError(
                "the rewards of the reference rows are all equal, so they give no scale; take "
                "rows with several responses."
            )
    return RewardFunction(estimator, name, floor, mean, scale)


class RewardFunction:
    """What :func:`as_reward_function` returns.

    Parameters
    ----------
    estimator : estimator
        The fitted reward.
    name : str
        What trainers log it by.
    floor : float or None
        The reward of what cannot be scored.
    mean, scale : float
        Subtracted from rewards, and what they are divided by.

    Attributes
    ----------
    n_scored : int
        How many completions have been scored.
    n_failed : int
        How many could not be.
    """

    def __init__(self, estimator, name, floor, mean, scale):
        self.estimator, self.floor, self.mean, self.scale = estimator, floor, mean, scale
        self.__name__ = name
        self.n_scored = self.n_failed = 0
        self._has_deviation = returns_std(estimator)

    def __call__(self, prompts, completions, **kwargs):
        """Score completions as TRL's trainers ask for it.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        completions : list of n completions
            Strings or lists of messages.
        **kwargs : dict
            Further columns, which are ignored, and TRL's ``log_extra`` and ``log_metric``: where
            the reward has a posterior, its standard deviations are logged by them.

        Returns
        -------
        list of n float or None
            Rewards; `floor` stands for what cannot be scored.

        Raises
        ------
        ValueError
            If nothing could be scored from the first call on: then the reward itself is at fault.
        """
        rewards, deviations = self._score(prompts, completions)
        if deviations is not None and np.isfinite(deviations).any():
            extra, metric = kwargs.get("log_extra"), kwargs.get("log_metric")
            if extra is not None:
                shown = [float(d) if np.isfinite(d) else None for d in deviations]
                extra(f"{self.__name__}_std", shown)
            if metric is not None:
                metric(f"{self.__name__}_std", float(np.nanmean(deviations)))
        return [float(r) if np.isfinite(r) else self.floor for r in rewards]

    def openrlhf(self, queries, prompts, labels=None, **kwargs):
        """Score as OpenRLHF's ``reward_func`` in a file for ``--reward.remote_url``.

        Parameters
        ----------
        queries : list of n str
            Prompts with their responses. A prompt that a chat template has rendered already is
            read with its response as one text, which the embedder takes apart if it was
            rendered by its own template.
        prompts : list of n str
            The prompts, with which the queries begin.
        labels : list, default=None
            Ignored.
        **kwargs : dict
            Ignored.

        Returns
        -------
        dict
            ``rewards`` and ``scores``, float32 tensors (n,), and ``extra_logs``.
        """
        import torch

        rewards, deviations = self._score(*split_queries(queries, prompts))
        values = torch.tensor(self._fill(rewards), dtype=torch.float32)
        logs = {}
        if deviations is not None:
            logs[f"{self.__name__}_std"] = torch.tensor(np.nan_to_num(deviations).tolist())
        return {"rewards": values, "scores": values.clone(), "extra_logs": logs}

    def verl(self, data_source, solution_str, ground_truth=None, extra_info=None, **kwargs):
        """Score one response as verl's ``custom_reward_function``.

        Parameters
        ----------
        data_source : str
            Ignored.
        solution_str : str
            The response.
        ground_truth : object, default=None
            Ignored.
        extra_info : dict, default=None
            Has the prompt as ``prompt``, a string or a list of messages: verl hands no other on.
        **kwargs : dict
            Ignored.

        Returns
        -------
        float
            The reward.

        Raises
        ------
        ValueError
            If ``extra_info`` has no ``prompt``.
        """
        return self.verl_batch([data_source], [solution_str], [ground_truth], [extra_info])[0]

    def verl_batch(
        self, data_sources, solution_strs, ground_truths=None, extra_infos=None, **kwargs
    ):
        """Score responses as verl's batch reward manager asks for it: one forward pass.

        Parameters
        ----------
        data_sources : list of str
            Ignored.
        solution_strs : list of n str
            The responses.
        ground_truths : list, default=None
            Ignored.
        extra_infos : list of n dict
            Each has the prompt as ``prompt``.
        **kwargs : dict
            Ignored.

        Returns
        -------
        list of n float
            The rewards.

        Raises
        ------
        ValueError
            If an ``extra_info`` has no ``prompt``.
        """
        infos = [None] * len(solution_strs) if extra_infos is None else extra_infos
        prompts = []
        for i, info in enumerate(infos):
            if not isinstance(info, Mapping) or info.get("prompt") is None:
                raise ValueError(
                    f"extra_info of response {i} has no prompt, without which its reward is "
                    "another: put the prompt's text or messages into the column extra_info as "
                    "{'prompt': ...}."
                )
            prompts.append(info["prompt"])
        rewards, _ = self._score(prompts, solution_strs)
        return self._fill(rewards)

    def _fill(self, rewards):
        """Return rewards (n,) as floats, with a number for what could not be scored."""
        floor = self.floor
        if floor is None:
            floor = np.nanmin(rewards) if np.isfinite(rewards).any() else 0.0
        return np.where(np.isfinite(rewards), rewards, floor).astype(float).tolist()

    def _score(self, prompts, completions):
        """Return rewards (n,), NaN where there is none, and deviations (n,) or None."""
        prompts, completions = list(prompts), list(completions)
        if len(prompts) != len(completions):
            raise ValueError(f"got {len(prompts)} prompts and {len(completions)} completions.")
        rewards = np.full(len(prompts), np.nan)
        deviations = np.full(len(prompts), np.nan) if self._has_deviation else None
        rows = [candidate_row(*both) for both in zip(prompts, completions, strict=True)]
        places = [i for i, row in enumerate(rows) if row]
        given, faults = [rows[i] for i in places], []
        found = score_rows(self.estimator, given, self._has_deviation, ValueError) if given else []
        for i, one in zip(places, found, strict=True):
            if not isinstance(one, Scores):
                faults.append((i, one))
                continue
            rewards[i] = one.rewards[0]
            if deviations is not None:
                deviations[i] = one.deviations[0]
        n_scored = int(np.isfinite(rewards).sum())
        self.n_scored += n_scored
        self.n_failed += len(rewards) - n_scored
        if faults:
            place, error = faults[0]
            if not self.n_scored:
                raise error
            warn(
                f"{len(faults)} of {len(rewards)} completions have no reward (first: number "
                f"{place}: {error})."
            )
        if deviations is not None:
            deviations = deviations / self.scale
        return (rewards - self.mean) / self.scale, deviations


def split_queries(queries, prompts):
    """Take responses out of queries that begin with their prompts.

    Parameters
    ----------
    queries : list of n str
        Prompts with their responses.
    prompts : list of n str
        The prompts.

    Returns
    -------
    prompts : list of n str or None
        None where prompt and response stay one text.
    responses : list of n str
        What follows the prompts.
    """
    queries, prompts = list(queries), list(prompts)
    if len(queries) != len(prompts):
        raise ValueError(f"got {len(queries)} queries and {len(prompts)} prompts.")
    split = []
    for query, prompt in zip(queries, prompts, strict=True):
        is_rendered = any(mark in prompt for mark in RENDERED)
        if is_rendered or not query.startswith(prompt):
            split.append((None, query))
        else:
            split.append((prompt, query[len(prompt) :]))
    return [p for p, _ in split], [r for _, r in split]


def candidate_row(prompt, completion):
    """Return a candidate row of one response.

    Parameters
    ----------
    prompt : str, list of messages or None
        None where prompt and response are one text.
    completion : str, list of messages or None
        The response.

    Returns
    -------
    dict or None
        None where there is nothing to read.
    """
    if completion is None or _is_blank(completion):
        return None
    row = {"responses": [completion]}
    return row if prompt is None else {"prompt": prompt} | row


def _is_blank(completion):
    """Return whether a completion says nothing and calls nothing; the reader judges the rest."""
    if isinstance(completion, str):
        return not completion.strip()
    return isinstance(completion, list) and all(
        isinstance(message, dict)
        and not message.get("tool_calls")
        and (message.get("content") is None or not str(message["content"]).strip())
        for message in completion
    )


def returns_std(estimator):
    """Return whether a reward has posterior deviations.

    Parameters
    ----------
    estimator : estimator
        A reward, or a Pipeline of which the last step is one.

    Returns
    -------
    bool
        Whether its ``predict`` takes ``return_std``.
    """
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return "return_std" in inspect.signature(last.predict).parameters
