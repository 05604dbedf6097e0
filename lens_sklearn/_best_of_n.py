"""Best-of-N: the gold reward of the candidate that a reward model picks."""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln
from sklearn.utils import check_random_state, gen_batches


def best_of_n_score(rewards, gold, n=None, *, sample_weight=None):
    r"""Mean gold reward of the Best-of-n pick.

    With the N candidates of a prompt sorted by reward, the expected gold of the best of n
    drawn without replacement is

    .. math:: \sum_{i=n}^{N} \binom{i-1}{n-1} \Big/ \binom{N}{n} \; gold_{(i)}

    which is unbiased and uses every candidate. Candidates of equal reward share their mean
    gold. At n = N this is the plain arg max.

    Parameters
    ----------
    rewards : array-like of shape (n_prompts, N)
        Predicted rewards; NaN is padding and is never picked.
    gold : array-like of shape (n_prompts, N)
        Gold rewards, NaN where `rewards` is.
    n : int, default=None
        How many candidates are drawn; None is all of each prompt. A prompt that has fewer
        uses all it has.
    sample_weight : array-like of shape (n_prompts,), default=None
        Weight of each prompt.

    Returns
    -------
    float
        Mean over prompts; larger is better.

    Raises
    ------
    ValueError
        If the shapes differ, a reward without gold or a gold without reward stands somewhere,
        a value is infinite, or a prompt has no candidate; the message names row and column.

    Examples
    --------
    >>> from lens_sklearn import best_of_n_score
    >>> best_of_n_score([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]])
    3.0
    >>> best_of_n_score([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]], n=1)
    2.0
    """
    rewards, gold = _checked(rewards, gold)
    ns = [rewards.shape[1] if n is None else _checked_n(n)]
    return float(np.average(_expected_gold(rewards, gold, ns)[:, 0], weights=sample_weight))


@dataclass(frozen=True)
class BestOfNCurve:
    """Best-of-n scores over n, with bootstrap intervals over prompts.

    Attributes
    ----------
    n : ndarray of int, shape (m,)
        Numbers of candidates drawn.
    mean, lower, upper : ndarray, shape (m,)
        Mean gold reward of the pick and the limits of its interval.
    per_prompt : ndarray, shape (n_prompts, m)
        Expected gold reward of the pick for each prompt.
    kl_bound : ndarray, shape (m,)
        ``log n - (n - 1) / n``: an upper bound on the KL divergence of the Best-of-n policy
        from the one that the candidates come from, not its value.
    """

    n: np.ndarray
    mean: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    per_prompt: np.ndarray
    kl_bound: np.ndarray


def best_of_n_curve(
    rewards, gold, ns=None, *, n_bootstrap=1000, confidence=0.95, random_state=None
):
    """Best-of-n score for several n, with bootstrap intervals over prompts.

    Parameters
    ----------
    rewards : array-like of shape (n_prompts, N)
        Predicted rewards; NaN is padding.
    gold : array-like of shape (n_prompts, N)
        Gold rewards, NaN where `rewards` is.
    ns : array-like of int, default=None
        The numbers of candidates; None is the powers of two up to N, and N.
    n_bootstrap : int, default=1000
        Bootstrap samples of the prompts.
    confidence : float, default=0.95
        Coverage of the percentile interval.
    random_state : int, RandomState instance or None, default=None
        Draws the bootstrap samples.

    Returns
    -------
    BestOfNCurve
        The curve.

    Raises
    ------
    ValueError
        As `best_of_n_score`.

    Examples
    --------
    >>> from lens_sklearn import best_of_n_curve
    >>> curve = best_of_n_curve([[0.1, 0.9, 0.5]], [[1.0, 3.0, 2.0]], random_state=0)
    >>> curve.n.tolist(), curve.mean.round(2).tolist()
    ([1, 2, 3], [2.0, 2.67, 3.0])
    """
    rewards, gold = _checked(rewards, gold)
    n_prompts, n_max = rewards.shape
    if ns is None:
        ns = np.unique(np.append(2 ** np.arange(int(np.log2(n_max)) + 1), n_max))
    ns = np.array([_checked_n(n) for n in ns])
    per_prompt = _expected_gold(rewards, gold, ns)
    random_state = check_random_state(random_state)
    means = np.empty((n_bootstrap, len(ns)))
    for chunk in gen_batches(n_bootstrap, 256):
        counts = random_state.multinomial(
            n_prompts, np.full(n_prompts, 1 / n_prompts), size=len(means[chunk])
        )
        means[chunk] = counts @ per_prompt / n_prompts
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(means, [tail, 1 - tail], axis=0)
    return BestOfNCurve(
        ns, per_prompt.mean(axis=0), lower, upper, per_prompt, np.log(ns) - (ns - 1) / ns
    )


def _checked_n(n):
    if n != int(n) or n < 1:
        raise ValueError(f"n={n!r}; Best-of-n draws a whole number of candidates, at least 1.")
    return int(n)


def _checked(rewards, gold):
    rewards, gold = np.asarray(rewards, dtype=float), np.asarray(gold, dtype=float)
    if rewards.ndim != 2 or rewards.shape != gold.shape:
        raise ValueError(
            "rewards and gold must both have the shape (n_prompts, N); got "
            f"{rewards.shape} and {gold.shape}."
        )
    for name, values in (("rewards", rewards), ("gold", gold)):
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise ValueError(f"{name} is infinite in row {row}, column {column}.")
    lone = np.isnan(rewards) != np.isnan(gold)
    if lone.any():
        row, column = np.argwhere(lone)[0]
        missing = "gold" if np.isnan(gold[row, column]) else "rewards"
        raise ValueError(
            f"{missing} is NaN in row {row}, column {column} and the other is not; padding is "
            "NaN in both."
        )
    empty = np.flatnonzero(np.isnan(rewards).all(axis=1))
    if not len(rewards) or len(empty):
        where = f"row {empty[0]} has no candidate" if len(empty) else "there are no prompts"
        raise ValueError(f"{where}; every prompt needs at least one reward that is not NaN.")
    return rewards, gold


def _expected_gold(rewards, gold, ns):
    """Return the expected gold of the best of n, shape (n_prompts, len(ns))."""
    order = np.argsort(rewards, axis=1, kind="stable")  # NaN goes last
    rewards = np.take_along_axis(rewards, order, axis=1)
    gold = _mean_over_ties(rewards, np.take_along_axis(gold, order, axis=1))
    n_valid = (~np.isnan(rewards)).sum(axis=1)[:, None]  # (n_prompts, 1)
    i = np.arange(1, rewards.shape[1] + 1)[None]  # rank, the worst is 1
    out = np.empty((len(rewards), len(ns)))
    for column, n in enumerate(ns):
        n = np.minimum(n, n_valid)
        possible = (i >= n) & (i <= n_valid)
        with np.errstate(invalid="ignore"):
            log_weight = _log_binomial(i - 1, n - 1) - _log_binomial(n_valid, n)
        weight = np.exp(np.where(possible, log_weight, -np.inf))
        out[:, column] = (weight * np.where(possible, gold, 0)).sum(axis=1)
    return out


def _log_binomial(a, b):
    return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)


def _mean_over_ties(rewards, gold):
    """Give each of a row's equal rewards the mean gold of all of them; rows are sorted."""
    new = np.ones(rewards.shape, dtype=bool)
    new[:, 1:] = rewards[:, 1:] != rewards[:, :-1]
    group = np.cumsum(new.ravel()) - 1
    mean = np.bincount(group, gold.ravel()) / np.bincount(group)
    return mean[group].reshape(gold.shape)


class BestOfNScorer:
    """Scorer for ``GridSearchCV(scoring=...)``: Best-of-N on fixed candidates.

    Whatever fold it is given, it scores the mean gold reward of the estimator's pick among the
    same candidates, which should share no prompt with the training rows.

    Parameters
    ----------
    candidates : rows of text or array-like of shape (n_prompts, N, d)
        What the estimator's ``predict`` takes.
    gold : array-like of shape (n_prompts, N)
        Their gold rewards.
    n : int, default=None
        How many candidates are drawn; None is all.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> from lens_sklearn import BestOfNScorer, BTRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> search = GridSearchCV(
    ...     BTRewardRegressor(max_epochs=2, random_state=0),
    ...     {"hidden_dim": [4, 8]},
    ...     scoring=BestOfNScorer(toy.candidates, toy.gold),
    ... ).fit(toy.pairs)
    >>> len(search.cv_results_["mean_test_score"])
    2
    """

    def __init__(self, candidates, gold, n=None):
        self.candidates = candidates
        self.gold = gold
        self.n = n

    def __call__(self, estimator, X=None, y=None, **params):
        """Return the Best-of-N score of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Has ``predict``.
        X, y : object
            The fold's; not used.
        **params : dict
            Not used.

        Returns
        -------
        float
            Mean gold reward of the pick.
        """
        return best_of_n_score(estimator.predict(self.candidates), self.gold, self.n)

    def __repr__(self):
        n = "" if self.n is None else f", n={self.n}"
        return f"BestOfNScorer(<{len(self.gold)} prompts>{n})"


class BestOfNDisplay:
    """Curve of the Best-of-n score over n.

    Create one with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    curve : BestOfNCurve
        The reward model's.
    oracle : BestOfNCurve
        That of picking by gold.
    random : float
        Mean gold reward of a random pick.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    line_, ax_, figure_ : matplotlib objects
        Set by :meth:`plot`.
    """

    def __init__(self, curve, *, oracle, random, name=None):
        self.curve = curve
        self.oracle = oracle
        self.random = random
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, candidates, gold, *, name=None, ax=None, **kwargs):
        """Score candidates with an estimator and plot the curve.

        Parameters
        ----------
        estimator : estimator
            Fitted; has ``predict``.
        candidates : rows of text or array-like of shape (n_prompts, N, d)
            What ``predict`` takes.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        name : str, default=None
            Name in the legend; None is the estimator's class.
        ax : matplotlib Axes, default=None
            Where to plot.
        **kwargs : dict
            Passed to :func:`best_of_n_curve`.

        Returns
        -------
        BestOfNDisplay
            With the plot drawn.
        """
        name = type(estimator).__name__ if name is None else name
        rewards = estimator.predict(candidates)
        return cls.from_predictions(rewards, gold, name=name, ax=ax, **kwargs)

    @classmethod
    def from_predictions(cls, rewards, gold, *, name=None, ax=None, **kwargs):
        """Plot the curve of given rewards.

        Parameters
        ----------
        rewards : array-like of shape (n_prompts, N)
            Predicted rewards.
        gold : array-like of shape (n_prompts, N)
            Gold rewards.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Where to plot.
        **kwargs : dict
            Passed to :func:`best_of_n_curve`.

        Returns
        -------
        BestOfNDisplay
            With the plot drawn.
        """
        curve = best_of_n_curve(rewards, gold, **kwargs)
        oracle = best_of_n_curve(gold, gold, curve.n, n_bootstrap=1)
        random = best_of_n_score(rewards, gold, n=1)
        return cls(curve, oracle=oracle, random=random, name=name).plot(ax=ax)

    def plot(self, ax=None, *, name=None, plot_reference=True, **kwargs):
        """Draw the curve with its interval.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.
        name : str, default=None
            Name in the legend instead of the display's.
        plot_reference : bool, default=True
            Whether to draw the oracle's curve and the random pick.
        **kwargs : dict
            Passed to matplotlib's ``plot``.

        Returns
        -------
        BestOfNDisplay
            Itself.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError(
                "plotting needs matplotlib: pip install 'lens-sklearn[plot]'"
            ) from None
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        curve = self.curve
        label = self.name if name is None else name
        (self.line_,) = ax.plot(curve.n, curve.mean, **{"marker": "o", "label": label, **kwargs})
        color = self.line_.get_color()
        ax.fill_between(curve.n, curve.lower, curve.upper, color=color, alpha=0.2, linewidth=0)
        if plot_reference:
            ax.plot(curve.n, self.oracle.mean, color="0.4", linestyle="--", label="oracle")
            ax.axhline(self.random, color="0.4", linestyle=":", label="random")
        ax.set_xscale("log", base=2)
        ax.set_xticks(curve.n, [str(n) for n in curve.n])
        ax.minorticks_off()
        ax.set(xlabel="n, candidates drawn", ylabel="mean gold reward of the pick")
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def save_curves(named_rewards, gold, path, *, ns=None, where=""):
    """Draw the Best-of-N curves of several reward models into a file.

    Parameters
    ----------
    named_rewards : list of (str, ndarray of shape (n_prompts, N))
        Names and predicted rewards.
    gold : ndarray, shape (n_prompts, N)
        Gold rewards.
    path : str or Path
        The picture.
    ns : list of int, default=None
        As in `best_of_n_curve`.
    where : str, default=""
        Ends the title.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("a plot needs matplotlib: pip install 'lens-sklearn[plot]'") from None
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.add_subplot()
    for number, (name, rewards) in enumerate(named_rewards):
        display = BestOfNDisplay.from_predictions(
            rewards, gold, ns=ns, name=name, ax=ax, random_state=0
        )
        if number:  # the references are the same for all
            for line in ax.get_lines()[-2:]:
                line.remove()
    handles = {line.get_label(): line for line in display.ax_.get_lines()}
    ax.legend(handles.values(), handles.keys())
    ax.set_title(f"Best-of-n on {len(gold)} prompts{where}")
    figure.savefig(path, dpi=150)
