"""Pairs that are judged by themselves: all, of about equal length, won by the shorter one."""

import numpy as np

#: Which pairs are judged.
SUBSETS = ("all", "length_matched", "shorter_wins")


class Subset:
    """Which of the pairs are judged, by the lengths of their members.

    Parameters
    ----------
    name : str
        One of `SUBSETS`.
    lengths : array-like, shape (n, N), or None
        Lengths of the responses; None goes with "all".
    rewards : ndarray, shape (n, N)
        Their rewards, NaN for padding.

    Raises
    ------
    ValueError
        On another name, lengths without a use or the reverse, or lengths that are not finite.
    """

    def __init__(self, name, lengths, rewards):
        if name not in SUBSETS:
            raise ValueError(f"subset={name!r}; there are {', '.join(SUBSETS)}.")
        if (lengths is None) != (name == "all"):
            missing = "needs lengths" if lengths is None else "has no use for lengths"
            raise ValueError(f"subset={name!r} {missing}.")
        self.name = name
        self.named = "" if name == "all" else f" (subset={name!r})"
        self.lengths = None if lengths is None else _check_lengths(lengths, rewards)

    def of_better(self, rows):
        """Tell for each two candidates whether they are kept if the first is the better one.

        Parameters
        ----------
        rows : slice
            Which b prompts.

        Returns
        -------
        ndarray of bool
            Broadcasts to (b, N, N).
        """
        if self.lengths is None:
            return True
        return self._kept(self.lengths[rows, :, None], self.lengths[rows, None, :])

    def of_pairs(self, target):
        """Tell for each pair whether it is kept.

        Parameters
        ----------
        target : ndarray, shape (n,)
            Probabilities that column 0 wins.

        Returns
        -------
        ndarray of bool, shape (n,)
            Whether it is.
        """
        if self.lengths is None:
            return np.ones(len(target), dtype=bool)
        first, second = self.lengths.T
        if self.name == "length_matched":
            return self._kept(first, second)
        decided = target != 0.5
        first_wins = target > 0.5
        winner, loser = np.where(first_wins, first, second), np.where(first_wins, second, first)
        return decided & self._kept(winner, loser)

    def _kept(self, better, worse):
        """Compare lengths; NaN, which is padding, is in no pair."""
        if self.name == "shorter_wins":
            return better < worse
        return 5 * np.abs(better - worse) < np.maximum(better, worse)  # 0.2 would round


def _check_lengths(lengths, rewards):
    lengths = np.asarray(lengths, dtype=float)
    if lengths.shape != rewards.shape:
        raise ValueError(
            f"lengths must have the shape of the rewards, {rewards.shape}; got {lengths.shape}."
        )
    bad = ~((lengths >= 0) & (lengths < np.inf)) & ~np.isnan(rewards)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"lengths is {lengths[row, column]} in row {row}, column {column}; a length is finite "
            "and not negative."
        )
    return np.where(np.isnan(rewards), np.nan, lengths)
