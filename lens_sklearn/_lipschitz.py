r"""A certified upper bound of the Lipschitz constant of a network with one hidden ReLU layer.

With :math:`f(x) = B\,\mathrm{relu}(A x + a)` the difference of two outputs is
:math:`B D A (x - x')` for a diagonal D with entries in [0, 1]. As :math:`D = (I + S)/2` with
:math:`|S_{jj}| \le 1`, and as S commutes with any positive diagonal matrix T,

.. math:: \|B D A\| \le \tfrac12 \big( \|B A\| + \|B T^{-1}\| \, \|T A\| \big)

which at T = I is never above the product of spectral norms.
"""

import torch


def lipschitz_upper_bound(A, B):
    """Bound the Lipschitz constant of ``x -> B relu(A x + a)`` from above.

    Parameters
    ----------
    A : tensor, shape (h, m)
        Weight of the hidden layer.
    B : tensor, shape (out, h)
        Weight of the output layer.

    Returns
    -------
    float
        The smaller of the bounds at T = I and at the T that balances each unit's incoming and
        outgoing weights.
    """
    A, B = (weight.detach().cpu().double() for weight in (A, B))
    return min(_bound(A, B, scale) for scale in (torch.ones_like(A[:, 0]), _balance(A, B)))


def _balance(A, B):
    incoming, outgoing = A.norm(dim=1), B.norm(dim=0)
    alive = (incoming > 0) & (outgoing > 0)  # a dead unit adds nothing at any scale
    return torch.where(alive, (outgoing / incoming.where(alive, 1.0)).sqrt(), 1.0)


def _bound(A, B, scale):
    norm = torch.linalg.matrix_norm
    product = norm(B / scale, ord=2) * norm(scale[:, None] * A, ord=2)
    return float(0.5 * (norm(B @ A, ord=2) + product))
