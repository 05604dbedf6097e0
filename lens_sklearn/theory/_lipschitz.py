"""Lipschitz constants of fitted decoders and reward nets, from both sides."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from .._lipschitz import lipschitz_upper_bound

#: Points whose Jacobians are computed at once.
CHUNK = 4096


class LipschitzBounds(NamedTuple):
    """What is known of a Lipschitz constant in the Euclidean norm.

    Parameters
    ----------
    lower : float
        Largest norm of a Jacobian at the given points: the constant is at least this.
    upper : float
        Certified: the constant is at most this.
    """

    lower: float
    upper: float


def decoder_lipschitz(vae, pairs):
    r"""Bound the Lipschitz constant of a fitted decoder.

    Parameters
    ----------
    vae : ContrastiveVAE
        Fitted. Where chosen and rejected have decoders of their own, the bounds are those of
        the larger constant.
    pairs : array-like of shape (n, 2, d)
        The lower bound is taken at their latent means.

    Returns
    -------
    LipschitzBounds
        In units of embeddings per unit of latents.

    See Also
    --------
    reward_lipschitz : The same for a reward model.

    Notes
    -----
    With one hidden layer of ReLUs :math:`g(z) - g(z') = B D A (z - z')` for a diagonal D with
    entries in [0, 1]. As :math:`D = (I + S)/2` with :math:`|S_{jj}| \le 1`, and as S commutes
    with any positive diagonal matrix T,

    .. math:: \|B D A\| \le \tfrac12 \big( \|B A\| + \|B T^{-1}\| \, \|T A\| \big)

    which at T = I is never above the product of spectral norms. The smaller of T = I and the T
    that balances each unit's incoming and outgoing weights is returned.

    Examples
    --------
    >>> from lens_sklearn import ContrastiveVAE
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> from lens_sklearn.theory import decoder_lipschitz
    >>> pairs = make_preference_pairs(n_pairs=64, n_features=8, random_state=0).pairs
    >>> vae = ContrastiveVAE(max_epochs=2, random_state=0).fit(pairs)
    >>> lower, upper = decoder_lipschitz(vae, pairs)
    >>> 0 < lower <= upper
    True
    """
    check_is_fitted(vae)
    latents = np.asarray(vae.transform(pairs))  # (n, 2, m)
    module = vae.module_
    bounds = []
    for column in range(2):
        expand, project = module.expand, module.project
        own = column if len(expand.weight) == 2 else 0
        bounds.append(
            relu_net_bounds(
                expand.weight[own].T, expand.bias[own, 0], project[own, :-1].T, latents[:, column]
            )
        )
    return LipschitzBounds(*np.max(bounds, axis=0).tolist())


def reward_lipschitz(reward, X):
    """Bound the Lipschitz constant of a fitted reward model.

    Networks of ReLUs are Lipschitz, so Theorem 1 applies with ``alpha=1``.

    Parameters
    ----------
    reward : BTRewardRegressor
        Fitted.
    X : array-like of shape (..., d)
        Embeddings; the lower bound is the largest gradient at one of them.

    Returns
    -------
    LipschitzBounds
        In units of reward per unit of embeddings.

    Raises
    ------
    ValueError
        If the reward has response features, whose scale and bounds are no layer of the network.

    See Also
    --------
    decoder_lipschitz : The same for a decoder, with the way the upper bound is found.

    Examples
    --------
    >>> from lens_sklearn import BTRewardRegressor
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> from lens_sklearn.theory import reward_lipschitz
    >>> toy = make_preference_pairs(n_pairs=64, n_features=8, random_state=0)
    >>> reward = BTRewardRegressor(max_epochs=2, random_state=0).fit(toy.pairs)
    >>> lower, upper = reward_lipschitz(reward, toy.candidates)
    >>> 0 < lower <= upper
    True
    """
    check_is_fitted(reward)
    if reward.n_response_features:
        raise ValueError(
            f"the reward has n_response_features={reward.n_response_features}, which are put on a "
            "scale and kept within bounds before the network reads them; its upper bound is the "
            "attribute `lipschitz`."
        )
    module = reward.net_.module_
    X = np.asarray(X)
    points = X.reshape(-1, X.shape[-1])
    points = points[~np.isnan(points).all(axis=1)]  # padding has no gradient
    return relu_net_bounds(module.hidden.weight, module.hidden.bias, module.output.weight, points)


def relu_net_bounds(A, a, B, points):
    """Bound the Lipschitz constant of a network with one hidden layer, x ↦ B relu(A x + a).

    Parameters
    ----------
    A : tensor, shape (h, m)
        Weight of the hidden layer.
    a : tensor, shape (h,)
        Its bias.
    B : tensor, shape (out, h)
        Weight of the last layer.
    points : ndarray, shape (n, m)
        Where Jacobians are taken.

    Returns
    -------
    LipschitzBounds
        The bounds.
    """
    upper = lipschitz_upper_bound(A, B)
    A, a, B = (parameter.detach().cpu().double() for parameter in (A, a, B))
    return LipschitzBounds(_largest_jacobian(A, a, B, points), upper)


def _largest_jacobian(A, a, B, points):
    """Return the largest spectral norm of B D(x) A over the points."""
    # The smaller side carries the Gram matrix: m of a decoder's input, 1 of a reward's output.
    inner = B.T @ B if len(A.T) <= len(B) else A @ A.T
    outer = A if len(A.T) <= len(B) else B.T  # (h, q)
    largest = 0.0
    for chunk in torch.as_tensor(np.asarray(points)).double().split(CHUNK):
        active = (chunk @ A.T + a > 0).double()  # (n, h)
        slopes = active[:, :, None] * outer  # (n, h, q)
        gram = slopes.transpose(1, 2) @ (inner @ slopes)  # (n, q, q)
        largest = max(largest, float(torch.linalg.eigvalsh(gram)[:, -1].max()))
    return max(largest, 0.0) ** 0.5
