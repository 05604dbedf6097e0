"""The constants of Theorem 2, estimated as in the paper's appendix B.5."""

from dataclasses import dataclass
from math import log
from numbers import Integral

import numpy as np
from scipy import stats
from sklearn.base import clone
from sklearn.utils import check_random_state

from .._base_reward import rewards_of
from .._device import draw_seed
from ..displays import axes_or_new
from ._bounds import check_probability, check_range


@dataclass(frozen=True)
class PowerLawFit:
    r"""A power law :math:`A N^{-p}` fitted by regression of logarithms.

    Parameters
    ----------
    n : ndarray of int, shape (m,)
        Training sizes.
    values : ndarray of float64, shape (n_repeats, m)
        What was measured.
    constant, exponent : float
        A and p.
    constant_interval, exponent_interval : tuple of float
        Confidence limits, those of least squares with independent errors.
    name : str
        What was measured, in words.
    """

    n: np.ndarray
    values: np.ndarray
    constant: float
    exponent: float
    constant_interval: tuple
    exponent_interval: tuple
    name: str

    def predict(self, n):
        """Return the fitted values at n.

        Parameters
        ----------
        n : float or array-like
            Training sizes.

        Returns
        -------
        float or ndarray
            :math:`A n^{-p}`.
        """
        return self.constant * np.asarray(n, dtype=float) ** -self.exponent

    def plot(self, ax=None):
        """Draw the measured values and the fitted line on logarithmic axes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        matplotlib Axes
            With the plot.
        """
        ax = axes_or_new(ax)
        low, high = self.exponent_interval
        label = f"{self.name}: p = {self.exponent:.3g} [{low:.3g}, {high:.3g}]"
        (line,) = ax.plot(self.n, self.predict(self.n), label=label)
        _dots(ax, self.n, self.values, line.get_color())
        ax.set(xscale="log", yscale="log", xlabel="training pairs N", ylabel="error")
        ax.legend(fontsize="small")
        return ax


@dataclass(frozen=True)
class ReconstructionScaling:
    """How the reconstruction error on held-out pairs falls with the number of training pairs.

    Parameters
    ----------
    supremum : PowerLawFit
        Of the largest norm ``|g(z) - e|`` over the held-out embeddings, which Theorem 1 needs.
    norm : PowerLawFit
        Of the mean norm.
    mean_squared : PowerLawFit
        Of the mean squared norm, which the paper measures (B.5.2). Its exponent is about twice
        that of the norm, so it is not the p of Theorem 2.
    """

    supremum: PowerLawFit
    norm: PowerLawFit
    mean_squared: PowerLawFit

    def plot(self, ax=None):
        """Draw the three fits.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        matplotlib Axes
            With the plot.
        """
        for fit in (self.supremum, self.norm, self.mean_squared):
            ax = fit.plot(ax)
        return ax


@dataclass(frozen=True)
class ConstantFit:
    """A constant fitted to estimation errors by least squares through the origin.

    Parameters
    ----------
    n : ndarray of int, shape (m,)
        Training sizes.
    values : ndarray of float64, shape (n_repeats, m)
        Errors that the theorem bounds by ``constant * basis``.
    basis : ndarray of float64, shape (m,)
        The bound's dependence on n.
    constant : float
        The fitted constant.
    interval : tuple of float
        Confidence limits, those of least squares with independent errors.
    r2 : float
        Share of the errors' variance over n that the fit explains; below 0 the errors do not
        depend on n as the theorem says.
    name : str
        What the constant is called.
    """

    n: np.ndarray
    values: np.ndarray
    basis: np.ndarray
    constant: float
    interval: tuple
    r2: float
    name: str

    def plot(self, ax=None):
        """Draw the errors and the fitted curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to plot; None makes a figure.

        Returns
        -------
        matplotlib Axes
            With the plot.
        """
        ax = axes_or_new(ax)
        low, high = self.interval
        label = f"{self.name} = {self.constant:.3g} [{low:.3g}, {high:.3g}]"
        (line,) = ax.plot(self.n, self.constant * self.basis, label=label)
        _dots(ax, self.n, self.values, line.get_color())
        ax.set(xscale="log", xlabel="training pairs N", ylabel="estimation error")
        ax.legend(fontsize="small")
        return ax


def _dots(ax, n, values, color):
    x = np.broadcast_to(n, values.shape)
    ax.plot(x.ravel(), values.ravel(), "o", color=color, alpha=0.5, markersize=4)


def estimate_reconstruction_exponent(
    vae,
    pairs,
    test_pairs,
    *,
    train_sizes=None,
    n_repeats=3,
    equal_steps=True,
    confidence=0.95,
    random_state=None,
):
    r"""Estimate how the reconstruction error decays with the training size (B.5.1, B.5.2).

    Clones of an autoencoder are trained on random subsets of pairs, their errors measured on
    held-out ones, and :math:`\ln \varepsilon = \ln A - p \ln N` is fitted.

    Parameters
    ----------
    vae : ContrastiveVAE
        The autoencoder; it is cloned.
    pairs : array-like of shape (n, 2, d)
        Pairs to draw training subsets from.
    test_pairs : array-like of shape (n_test, 2, d)
        Held-out pairs.
    train_sizes : array-like of int, default=None
        Subset sizes, at least two; None is five from n / 16 to n, each twice the one before.
    n_repeats : int, default=3
        Subsets drawn of each size.
    equal_steps : bool, default=True
        Whether smaller subsets are trained for more epochs, so that every size takes as many
        optimiser steps as the largest. At equal epochs a small subset is under-trained, and p
        would measure that.
    confidence : float, default=0.95
        Coverage of the intervals.
    random_state : int, RandomState instance or None, default=None
        Draws subsets and seeds the autoencoders.

    Returns
    -------
    ReconstructionScaling
        The fits of the supremum, the mean norm and the mean squared norm.

    Raises
    ------
    ValueError
        If a size is not between 1 and n, or there are fewer than two.
    """
    pairs, test_pairs = np.asarray(pairs), np.asarray(test_pairs)
    sizes = _sizes(train_sizes, len(pairs), at_least=2)
    check_probability("confidence", confidence)
    errors = {"supremum": [], "mean norm": [], "mean squared norm": []}
    for n, subset, seed in _subsets(pairs, sizes, n_repeats, random_state):
        model = _seeded(vae, seed)
        if equal_steps:
            steps = -(-n // model.batch_size), -(-sizes.max() // model.batch_size)
            model.set_params(max_epochs=-(-model.max_epochs * int(steps[1]) // int(steps[0])))
        model.fit(subset)
        norm = np.linalg.norm(model.decode(model.transform(test_pairs)) - test_pairs, axis=-1)
        for name, value in zip(errors, (norm.max(), norm.mean(), (norm**2).mean()), strict=True):
            errors[name].append(float(value))
    return ReconstructionScaling(
        *(
            _fit_power_law(sizes, np.reshape(values, (n_repeats, -1)), confidence, name)
            for name, values in errors.items()
        )
    )


def estimate_statistical_constant(
    reward,
    pairs,
    test_pairs,
    *,
    optimum,
    train_sizes=None,
    n_repeats=3,
    delta=0.05,
    confidence=0.95,
    random_state=None,
):
    r"""Estimate the constant of the statistical error (B.5.1).

    Clones of a reward model are trained on random subsets, and :math:`C_1` fitted in

    .. math:: \zeta(N) = L(\hat r_N) - L(r^*) \approx C_1 \sqrt{(d + \ln(1/\delta_1)) / N}

    where L is the Bradley–Terry loss on held-out pairs.

    Parameters
    ----------
    reward : BTRewardRegressor
        The reward model; it is cloned.
    pairs : array-like of shape (n, 2, d)
        Pairs to draw training subsets from.
    test_pairs : array-like of shape (n_test, 2, d)
        Held-out pairs.
    optimum : BTRewardRegressor, linear model with ``coef_``, or callable
        Stands for the best possible reward :math:`r^*`: known on a toy world, else a model
        trained on far more pairs.
    train_sizes : array-like of int, default=None
        Subset sizes; None is five from n / 16 to n, each twice the one before.
    n_repeats : int, default=3
        Subsets drawn of each size.
    delta : float, default=0.05
        :math:`\delta_1`.
    confidence : float, default=0.95
        Coverage of the interval.
    random_state : int, RandomState instance or None, default=None
        Draws subsets and seeds the reward models.

    Returns
    -------
    ConstantFit
        :math:`C_1` with its fit.

    Raises
    ------
    ValueError
        If a size is not between 1 and n, or a parameter is out of its range.
    """
    return _fit_errors(
        reward,
        None,
        (pairs, test_pairs, optimum),
        (train_sizes, n_repeats, random_state),
        basis=lambda n, d: statistical_rate(n, d, delta),
        offset=lambda n, d: 0.0,
        confidence=confidence,
        name="C₁",
    )


def estimate_synthesis_bias(
    reward,
    augmenter,
    pairs,
    test_pairs,
    *,
    optimum,
    c1,
    p,
    train_sizes=None,
    n_repeats=3,
    delta=0.05,
    confidence=0.95,
    random_state=None,
):
    r"""Estimate the constant of the synthesis bias (B.5.1).

    Clones of a reward model are trained on augmented subsets, and :math:`B_0` fitted in

    .. math::
        \zeta_{aug}(N) - C_1 \sqrt{\frac{d + \ln(1/\delta_1)}{k N}}
            \approx \frac{k - 1}{k} B_0 N^{-p}

    with k the augmenter's factor.

    Parameters
    ----------
    reward : BTRewardRegressor
        The reward model; it is cloned.
    augmenter : LatentPairAugmenter
        The augmenter, its factor above 1; it is cloned.
    pairs : array-like of shape (n, 2, d)
        Pairs to draw training subsets from.
    test_pairs : array-like of shape (n_test, 2, d)
        Held-out pairs.
    optimum : BTRewardRegressor, linear model with ``coef_``, or callable
        Stands for the best possible reward.
    c1 : float
        As :func:`estimate_statistical_constant` finds it.
    p : float
        As :func:`estimate_reconstruction_exponent` finds it.
    train_sizes : array-like of int, default=None
        Subset sizes; None is five from n / 16 to n, each twice the one before.
    n_repeats : int, default=3
        Subsets drawn of each size.
    delta : float, default=0.05
        :math:`\delta_1`.
    confidence : float, default=0.95
        Coverage of the interval; it does not include the uncertainty of `c1` and `p`.
    random_state : int, RandomState instance or None, default=None
        Draws subsets and seeds augmenters and reward models.

    Returns
    -------
    ConstantFit
        :math:`B_0` with its fit; `values` are the biases, the left side above. They may be
        negative, where augmentation does better than the statistical rate.

    Raises
    ------
    ValueError
        If a size is not between 1 and n, a parameter is out of its range, or the augmenter's
        factor is 1 or not a number.
    """
    k = augmenter.factor
    if not isinstance(k, Integral):
        raise ValueError(f"factor={k!r}: the bias is estimated at a known factor; give a number.")
    if k == 1:
        raise ValueError("factor=1 makes no synthetic pairs, so there is no bias to estimate.")
    return _fit_errors(
        reward,
        augmenter,
        (pairs, test_pairs, optimum),
        (train_sizes, n_repeats, random_state),
        basis=lambda n, d: (k - 1) / k * n ** -float(p),
        offset=lambda n, d: c1 * statistical_rate(k * n, d, delta),
        confidence=confidence,
        name="B₀",
    )


def statistical_rate(n, d, delta):
    r"""Return the statistical error over its constant (equation 27).

    Parameters
    ----------
    n : float or array-like
        Pairs.
    d : int
        Dimension of the embeddings.
    delta : float
        Probability of failure, in (0, 1).

    Returns
    -------
    float or ndarray
        :math:`\sqrt{(d + \ln(1/\delta_1)) / N}`.
    """
    check_probability("delta", delta)
    return np.sqrt((d + log(1 / delta)) / np.asarray(n, dtype=float))


def _fit_errors(reward, augmenter, data, plan, *, basis, offset, confidence, name):
    """Measure estimation errors over training sizes and fit their constant."""
    pairs, test_pairs, optimum = np.asarray(data[0]), np.asarray(data[1]), data[2]
    train_sizes, n_repeats, random_state = plan
    sizes = _sizes(train_sizes, len(pairs), at_least=1)
    check_probability("confidence", confidence)
    best = _bradley_terry_loss(optimum, test_pairs)
    errors = []
    for _, subset, seed in _subsets(pairs, sizes, n_repeats, random_state):
        if augmenter is not None:
            subset = _seeded(augmenter, seed).fit_transform(subset)
        model = _seeded(reward, seed).fit(subset)
        errors.append(_bradley_terry_loss(model, test_pairs) - best)
    d = pairs.shape[-1]
    values = np.reshape(errors, (n_repeats, -1)) - offset(sizes, d)
    return _fit_constant(sizes, values, basis(sizes, d), confidence, name)


def _bradley_terry_loss(reward, pairs):
    rewards = rewards_of(reward, pairs)
    return float(np.logaddexp(0, rewards[:, 1] - rewards[:, 0]).mean())


def _sizes(train_sizes, n, at_least):
    sizes = np.unique(n // 2 ** np.arange(5) if train_sizes is None else train_sizes)
    sizes = sizes[sizes > 0] if train_sizes is None else sizes
    check_range("train_sizes", sizes, 1, n)
    if len(sizes) < at_least:
        raise ValueError(f"train_sizes={sizes.tolist()}; a slope needs at least {at_least} sizes.")
    return sizes.astype(int)


def _subsets(pairs, sizes, n_repeats, random_state):
    """Yield (size, subset, seed) for every repeat, and in it for every size."""
    random_state = check_random_state(random_state)
    for _ in range(n_repeats):
        order = random_state.permutation(len(pairs))  # a larger subset holds the smaller ones
        for n in sizes:
            yield int(n), pairs[order[:n]], draw_seed(random_state)


def _seeded(estimator, seed):
    estimator = clone(estimator)
    if "random_state" in estimator.get_params(deep=False):
        estimator.set_params(random_state=seed)
    return estimator


def _fit_power_law(n, values, confidence, name):
    x, y = np.log(np.broadcast_to(n, values.shape)).ravel(), np.log(values).ravel()
    line = stats.linregress(x, y)
    half = stats.t.ppf((1 + confidence) / 2, len(x) - 2) if len(x) > 2 else np.inf
    p_half = half * line.stderr if len(x) > 2 else np.inf
    a_half = half * line.intercept_stderr if len(x) > 2 else np.inf
    return PowerLawFit(
        n,
        values,
        constant=float(np.exp(line.intercept)),
        exponent=float(-line.slope),
        constant_interval=_limits(line.intercept, a_half, np.exp),
        exponent_interval=_limits(-line.slope, p_half),
        name=name,
    )


def _fit_constant(n, values, basis, confidence, name):
    x, y = np.broadcast_to(basis, values.shape).ravel(), values.ravel()
    constant = x @ y / (x @ x)
    residual = y - constant * x
    half = np.inf
    if len(x) > 1:
        variance = residual @ residual / (len(x) - 1) / (x @ x)
        half = stats.t.ppf((1 + confidence) / 2, len(x) - 1) * np.sqrt(variance)
    spread = ((y - y.mean()) ** 2).sum()
    r2 = 1 - residual @ residual / spread if spread > 0 else np.nan
    return ConstantFit(n, values, basis, float(constant), _limits(constant, half), float(r2), name)


def _limits(centre, half, function=float):
    return tuple(float(function(end)) for end in (centre - half, centre + half))
