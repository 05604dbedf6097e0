"""What generators share: prompts in, candidate rows out, and counts of what is of no use."""

import os
from collections import Counter
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from .._array_store import ArrayStore
from .._rows import read_prompts
from .._warnings import warn
from ._conversations import as_messages
from ._sampling import check_stop

MOST_CUT = 0.1  # of the responses; a warning says if more were cut

#: Constraints of the parameters that every generator has.
SAMPLING_CONSTRAINTS = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "top_p": [Interval(Real, 0, 1, closed="right")],
    "max_new_tokens": [Interval(Integral, 1, None, closed="left")],
    "system_prompt": [str, None],
    "stop": [list, tuple, None],
    "store": [str, os.PathLike, None],
    "random_state": ["random_state"],
    "show_progress": ["boolean", None],
}


class SampledRows(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Base of the estimators that sample responses to the prompts of rows."""

    _parameter_constraints = SAMPLING_CONSTRAINTS
    advice_if_identical = "raise the temperature or max_new_tokens."

    def transform(self, X):
        """Sample responses to the prompts of rows.

        Parameters
        ----------
        X : rows of text
            Preference or candidate rows, rows with a ``prompt`` alone, or a list of prompts.
            Where a prompt comes several times it gets further samples each time.

        Returns
        -------
        list of dict
            Candidate rows: ``prompt``, a list of messages; ``responses``, a list of
            ``n_samples`` strings; and ``finish_reasons``, for each of them "length" if it was
            cut at ``max_new_tokens`` and "stop" if it came to its end. Empty responses are left
            out. ``system_prompt`` is no part of the rows.

        Raises
        ------
        ValueError
            If a row has no prompt, or one is refused or too long; the message names the row.

        Warns
        -----
        UserWarning
            If responses are empty, more than a tenth were cut, all responses to a prompt are
            identical, or prompts have a system message beside ``system_prompt``.
        """
        check_is_fitted(self)
        prompts = read_prompts(X)
        samples = self._sample(self._with_system_prompt(prompts))
        self._report(samples)
        rows = []
        for prompt, own in zip(prompts, samples, strict=True):
            kept = [(text, reason) for text, reason in own if text.strip()]
            rows.append(
                {
                    "prompt": as_messages(prompt),
                    "responses": [text for text, _ in kept],
                    "finish_reasons": [reason for _, reason in kept],
                }
            )
        return rows

    def _sample(self, prompts):
        """Return n_samples tuples (text, finish reason) a prompt."""
        raise NotImplementedError

    def _check(self):
        """Refuse what the constraints cannot tell, and set the counts to nothing."""
        check_stop(self.stop)
        if self.store is not None:
            if self.random_state is None:
                raise ValueError(
                    "store is given and random_state is None: a resumed run would draw other "
                    "samples and find none of its own. Give an int random_state."
                )
            ArrayStore(self.store)
        self.n_empty_ = self.n_identical_ = self.n_cut_ = self.n_generated_ = 0

    def _with_system_prompt(self, prompts):
        """Put the system prompt before prompts that have no system message of their own."""
        if self.system_prompt is None:
            return prompts
        has_own = [any(message[0] == "system" for message in prompt) for prompt in prompts]
        if any(has_own):
            warn(
                f"{sum(has_own)} of {len(prompts)} prompts (first: {_first(has_own)}) have a "
                "system message of their own, which is kept; system_prompt is put before the "
                "others."
            )
        first = ("system", self.system_prompt)
        return [p if own else (first, *p) for p, own in zip(prompts, has_own, strict=True)]

    def _numbered(self, prompts):
        """Return each sample as its prompt and its number among the samples of that prompt."""
        counts, samples = Counter(), []
        for prompt in prompts:  # a prompt that comes again gets the samples that follow
            samples += [[prompt, counts[prompt] + j] for j in range(self.n_samples)]
            counts[prompt] += self.n_samples
        return samples

    def _by_prompt(self, samples):
        """Return a list of all samples as a list a prompt."""
        starts = range(0, len(samples), self.n_samples)
        return [samples[start : start + self.n_samples] for start in starts]

    def _report(self, samples):
        """Count what is of no use, and say so."""
        n = len(samples) * self.n_samples
        n_empty = np.array([sum(not text.strip() for text, _ in own) for own in samples])
        n_cut = np.array([sum(reason == "length" for _, reason in own) for own in samples])
        identical = np.array([len(own) > 1 and len({t for t, _ in own}) == 1 for own in samples])
        self.n_empty_, self.n_cut_ = int(n_empty.sum()), int(n_cut.sum())
        self.n_identical_ = int(identical.sum())
        if self.n_empty_:
            warn(
                f"{self.n_empty_} of {n} responses are empty (first: {_first(n_empty)}) and are "
                "left out."
            )
        if self.n_cut_ > MOST_CUT * n:
            warn(
                f"{self.n_cut_} of {n} responses (first: {_first(n_cut)}) were cut at "
                f"max_new_tokens={self.max_new_tokens} before they came to an end "
                "(finish_reasons has 'length'). Raise max_new_tokens, or leave them out."
            )
        if self.n_identical_:
            warn(
                f"{self.n_identical_} of {len(samples)} prompts (first: {_first(identical)}) got "
                f"{self.n_samples} identical responses; {self.advice_if_identical}"
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


def row_name(i):
    """Name a row in an error.

    Parameters
    ----------
    i : int
        Its number.

    Returns
    -------
    str
        Such as "row 3".
    """
    return f"row {int(i)}"


def _first(counts):
    return row_name(np.flatnonzero(counts)[0])
