"""Which synthetic pairs keep their order: as a reward measures it, or certified."""

import numpy as np
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.utils import gen_batches

from ._base_reward import rewards_of

#: Pairs decoded at once: bounds the memory at large d.
CHUNK = 1024


def measure_pairs(augmented, index, reward):
    r"""Measure reward margins of pairs, and how far their members moved from the parents'.

    Parameters
    ----------
    augmented : AugmentedPairs
        Originals and synthetic pairs.
    index : ndarray of int, shape (m,)
        The pairs in question.
    reward : estimator or callable
        As :func:`rewards_of` takes it.

    Returns
    -------
    margin : ndarray of float64, shape (m,)
        Reward of column 0 minus that of column 1.
    displacement : ndarray of float64, shape (m, 2)
        Distance :math:`\|\hat e - e\|` of each member from the parent's.
    """
    margin = np.empty(len(index))
    displacement = np.empty((len(index), 2))
    for chunk in gen_batches(len(index), CHUNK):
        rows = augmented.rows(index[chunk])  # (b, 2, d)
        rewards = rewards_of(reward, rows)
        margin[chunk] = rewards[:, 0] - rewards[:, 1]
        moved = rows - augmented.originals[augmented.parent[index[chunk]]]
        displacement[chunk] = np.linalg.norm(moved, axis=-1)
    return margin, displacement


def keeps_order(augmented, index, reward, *, certified):
    r"""Tell which synthetic pairs a reward orders as their target says.

    A pair whose target says that column 0 wins keeps its order if its margin is positive, one
    whose target says that column 1 wins if it is negative. A tie has no order to lose. The order
    is certified if it follows from the parent's margin, as the reward is Lipschitz:

    .. math:: r(\hat e^+) - r(\hat e^-) \ge r(e^+) - r(e^-)
        - L_r \big( \|\hat e^+ - e^+\| + \|\hat e^- - e^-\| \big)

    Theorem 1's own bound would not do as a filter: it is the same deduction for every pair, so
    it selects parents and not syntheses. Once the noise is drawn, the distance that a member
    moved is known, and the bound by this distance holds without a delta.

    Parameters
    ----------
    augmented : AugmentedPairs
        Originals and synthetic pairs.
    index : ndarray of int, shape (m,)
        The pairs in question.
    reward : estimator or callable
        As :func:`rewards_of` takes it.
    certified : bool
        Whether the order must be certified.

    Returns
    -------
    ndarray of bool, shape (m,)
        Whether the order is kept.

    Raises
    ------
    ValueError
        If it must be certified and the reward's Lipschitz constant is not known.
    """
    sign = np.sign(2 * augmented.target[index] - 1)  # 1 where column 0 wins, 0 for a tie
    margin, displacement = measure_pairs(augmented, index, reward)
    if not certified:
        return (sign * margin > 0) | (sign == 0)
    rewards = rewards_of(reward, augmented.originals)
    margin = (rewards[:, 0] - rewards[:, 1])[augmented.parent[index]]
    loss = lipschitz_constant(reward) * displacement.sum(axis=1)
    return (sign * margin > loss) | (sign == 0)


def has_lipschitz_constant(reward):
    """Whether a reward that is not fitted yet will have a Lipschitz constant.

    Parameters
    ----------
    reward : estimator
        Not fitted.

    Returns
    -------
    bool
        True for an attribute or property ``lipschitz``, and for scikit-learn's linear models.
    """
    linear = isinstance(reward, LinearModel | LinearClassifierMixin)
    return linear or hasattr(type(reward), "lipschitz") or "lipschitz" in vars(reward)


def lipschitz_constant(reward):
    """Return a reward's Lipschitz constant in the Euclidean norm, or an upper bound of it.

    Parameters
    ----------
    reward : estimator or callable
        Fitted, with ``lipschitz`` or ``coef_``.

    Returns
    -------
    float
        In units of reward per unit of embeddings.

    Raises
    ------
    ValueError
        If it is not known.
    """
    if hasattr(reward, "lipschitz"):
        return float(reward.lipschitz)
    if hasattr(reward, "coef_"):
        return float(np.linalg.norm(reward.coef_))
    raise ValueError(
        f"the Lipschitz constant of {reward!r} is not known; give lipschitz=, or a reward that "
        "has it as its attribute `lipschitz`."
    )
