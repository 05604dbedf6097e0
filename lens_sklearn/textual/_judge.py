"""A judge's two questions, a rating and a comparison, and scores of its answers."""

from itertools import combinations

import numpy as np

from ._labelling import places

POINTWISE = """Review the user's question and the response below. Rate the response from 1 to 5:
1: it is irrelevant, wrong or harmful.
2: it is related to the question but hardly answers it.
3: it answers part of the question in a useful way.
4: it answers the question well, with little to improve.
5: it is a perfect answer: helpful, correct, clear and to the point.

Question:
{prompt}

Response:
{response}

Reply with the rating alone. Rating:"""

PAIRWISE = """Which of the two responses to the user's question below is better: more helpful, \
correct, clear and harmless?

Question:
{prompt}

Response A:
{first}

Response B:
{second}

Reply with A or B alone. The better response is"""


class Judge:
    """Mixin of judges by the probabilities of one token, with ``mode`` and ``instruction``."""

    @property
    def _choices(self):
        return "AB" if self.mode == "pairwise" else "12345"

    def _matches(self, items):
        """Return the instruction, what is put into it, and a function that names a question.

        A match is the number of a prompt, and of its responses by their names in the
        instruction.
        """
        if self.mode == "pairwise":
            matches = comparisons(items)

            def place(m):
                i, names = matches[m]
                return f"responses[{i}][{names['first']}] and [{names['second']}]"

            return self.instruction or PAIRWISE, matches, place
        where, place = places(items)
        return self.instruction or POINTWISE, [(i, {"response": j}) for i, j in where], place

    def _scores(self, items, values):
        """Return scores (n, k) by the probabilities of the choices, a row a question.

        A question without an answer, whose probabilities are NaN, is in no mean.
        """
        present = items != None  # noqa: E711 - element by element
        if self.mode == "pairwise":
            wins = values[:, 0] / values.sum(axis=1)
            scores = _mean_wins(items, present, wins)
        else:
            wins, scores = np.empty(0), np.full(items.shape, np.nan)
            scores[present] = values @ np.arange(1, 6)
        known = wins[~np.isnan(wins)]
        self.position_bias_ = float(known.mean()) - 0.5 if len(known) else np.nan
        self.shown_first_ = wins.reshape(-1, 2)
        return scores


def _mean_wins(items, present, wins):
    """Return each response's mean probability of beating another, ½ where there is none."""
    sums, counts = np.zeros((2, *items.shape))
    for (i, names), win in zip(comparisons(items), wins, strict=True):
        if not np.isnan(win):
            # Of two equal texts each gets ½, to the bit.
            sums[i, names["first"]] += win
            sums[i, names["second"]] += 1 - win
            counts[i, [names["first"], names["second"]]] += 1
    scores = np.full(items.shape, np.nan)
    scores[present & (present.sum(axis=1) == 1)[:, None]] = 0.5
    return np.divide(sums, counts, out=scores, where=counts > 0)


def comparisons(items):
    """Return all pairs of a prompt's responses, each in both orders.

    Parameters
    ----------
    items : ndarray of object, shape (n, k)
        None is padding.

    Returns
    -------
    list of (int, dict)
        The number of a prompt, and of its responses by the names "first" and "second".
    """
    return [
        (i, {"first": first, "second": second})
        for i, row in enumerate(items)
        for pair in combinations([j for j, item in enumerate(row) if item is not None], 2)
        for first, second in (pair, pair[::-1])
    ]
