"""What a report is made of: rewards, gold, lengths and texts of the same responses."""

from dataclasses import dataclass

import numpy as np

from .._records import is_text
from .._rows import prompt_groups, read_responses, text_of
from .._shortcuts import response_lengths
from .._warnings import warn
from ..metrics import leave_out_dropped


@dataclass(frozen=True)
class Evidence:
    """Candidates and what is known of them; None is not known.

    Attributes
    ----------
    rewards : ndarray of shape (n_prompts, N)
        Of the model; NaN is padding or a dropped text.
    gold, lengths, reference : ndarray of shape (n_prompts, N), or None
        Gold rewards, characters, and the rewards of the other model; NaN where `rewards` is.
    groups : ndarray of int, shape (n_prompts,)
        Equal numbers for equal prompts.
    number : ndarray of int, shape (n_prompts,)
        The row of each prompt in the file.
    prompts : list of str, or None
        The prompts as text.
    responses : ndarray of object, shape (n_prompts, N), or None
        The responses as text.
    """

    rewards: np.ndarray
    gold: np.ndarray | None
    lengths: np.ndarray | None
    reference: np.ndarray | None
    groups: np.ndarray
    number: np.ndarray
    prompts: list | None
    responses: np.ndarray | None

    @classmethod
    def gather(cls, model, candidates, gold, reference):
        """Predict rewards, and leave out what has none.

        Parameters
        ----------
        model : estimator
            Fitted; has ``predict``.
        candidates : rows of text or array-like of shape (n_prompts, N, d)
            What both models read.
        gold : array-like of shape (n_prompts, N), or None
            Gold rewards.
        reference : estimator or None
            The other model.

        Returns
        -------
        Evidence
            Checked.
        """
        rewards = _predict("estimator", model, candidates)
        other = None if reference is None else _predict("reference", reference, candidates)
        if other is not None and other.shape != rewards.shape:
            raise ValueError(
                f"the reference gives rewards of shape {other.shape}, the estimator of shape "
                f"{rewards.shape}, to the same candidates."
            )
        missing = np.isnan(rewards) | (False if other is None else np.isnan(other))
        rewards = np.where(missing, np.nan, rewards)
        gold = None if gold is None else _checked(gold, rewards.shape)
        kept = np.arange(len(rewards))
        if gold is not None:
            rewards, gold, kept = leave_out_dropped(rewards, gold)
        there = ~np.isnan(rewards).all(axis=1)  # gold may lack where rewards do
        rewards, kept = rewards[there], kept[there]
        gold = None if gold is None else gold[there]
        if not len(kept):
            raise ValueError("candidates: none has a reward; there is nothing to report.")
        other = None if other is None else np.where(missing, np.nan, other)[kept]
        texts = _texts_of(candidates, kept, np.isnan(rewards))
        return cls(rewards, gold, texts[0], other, texts[1], kept, *texts[2:])

    @property
    def n_candidates(self):
        """Return how many candidates there are for each prompt, ndarray of shape (n_prompts,)."""
        return (~np.isnan(self.rewards)).sum(axis=1)

    def named_rewards(self):
        """Return the rewards of the models, by the names that the page calls them.

        Returns
        -------
        dict of str to ndarray of shape (n_prompts, N)
            "this model" and, where there is one, "reference".
        """
        found = {"this model": self.rewards}
        return found if self.reference is None else found | {"reference": self.reference}

    def shortcuts(self):
        """Return the rewards by length, none where lengths are not known.

        Returns
        -------
        dict of str to ndarray of shape (n_prompts, N)
            "longest" and "shortest".
        """
        if self.lengths is None:
            return {}
        return {"longest": self.lengths, "shortest": -self.lengths}


def _predict(name, model, candidates):
    if not hasattr(model, "predict"):
        raise TypeError(f"{name}: a {type(model).__name__} has no predict; give a fitted reward.")
    rewards = np.asarray(model.predict(candidates), dtype=float)
    if rewards.ndim != 2:
        raise ValueError(
            f"candidates: expected rows of text, or embeddings of shape (n_prompts, N, d); the "
            f"{name} gave them rewards of shape {rewards.shape}."
        )
    return rewards


def _checked(gold, shape):
    gold = np.asarray(gold, dtype=float)
    if gold.shape != shape:
        raise ValueError(
            f"gold must have the same shape as the candidates' rewards, {shape}; got {gold.shape}."
        )
    return gold


def _texts_of(candidates, kept, missing):
    """Return lengths, groups, prompts and responses; of embeddings, groups alone."""
    if not is_text(candidates):
        return None, np.arange(len(kept)), None, None
    lengths = np.where(missing, np.nan, response_lengths(candidates)[kept])
    found = read_responses(candidates)
    prompts = [
        text_of(next((prompt for prompt in found.prompts[i] if prompt is not None), None))
        for i in kept
    ]
    responses = np.vectorize(text_of, otypes=[object])(found.responses[kept])
    if not any(prompts):
        warn("no candidate row has a prompt; each counts as a prompt of its own.")
        return lengths, np.arange(len(kept)), prompts, responses
    return lengths, prompt_groups(candidates)[kept], prompts, responses
