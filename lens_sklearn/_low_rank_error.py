"""The reconstruction error of a decoder's last layer, without the reconstruction.

With a last layer ``r = h W``, whose bias is a row of W for which h has a 1, the squared error of
an embedding x of d features is

    ‖x − r‖² = ‖x‖² − 2 h · Wx + h W Wᵀ hᵀ

in which only ``Wx`` costs as much as decoding. Neither the reconstruction nor the error is ever
written out, and the gradient of h, ``2 (h WWᵀ − Wx)``, needs no further product with d.

The three terms are as large as ‖x‖², whatever their sum: where embeddings lie far from the origin
and close to each other, the error drowns in rounding, and the plain subtraction has to do.
"""

import torch


def offset_dominates(rows, square_norm):
    """Tell whether embeddings have more norm by their mean than by their differences from it.

    The best constant reconstruction, their mean, has the error ``E‖x − E x‖²``. Where ``‖E x‖²``
    exceeds it, `LowRankError` would lose the digits that tell a reconstruction from a better one.

    Parameters
    ----------
    rows : tensor, shape (m, d)
        Embeddings.
    square_norm : tensor, shape (m,)
        ``‖x‖²``.

    Returns
    -------
    bool
        Whether ``‖E x‖² > E‖x − E x‖²``.
    """
    # E‖x − E x‖² = E‖x‖² − ‖E x‖², which cancels; moved to the other side it does not.
    return bool(2 * rows.mean(dim=0).square().sum() > square_norm.mean())


class LowRankError(torch.autograd.Function):
    """Squared error of ``hidden @ weight`` against x, summed over the features.

    The rounding error is absolute, of the order of ε (‖x‖ + ‖r‖)² with ε the dtype's precision,
    1.2e-7 in float32. That of the subtraction is relative to ‖x − r‖ and vanishes with it; this
    one does not, so a small error of long embeddings is lost in it and may come out negative.
    `ContrastiveVAE` therefore asks `offset_dominates` once a fit and subtracts where it is so;
    elsewhere the errors that it meets are a fair share of ‖x‖².

    All arguments have a leading axis for the two columns of a pair, of length 1 in the weight if
    both columns share it.
    """

    @staticmethod
    def forward(ctx, x, square_norm, hidden, weight):
        """Compute the errors.

        Parameters
        ----------
        ctx : context
            Torch's.
        x : tensor, shape (2, b, d)
            Embeddings; they get no gradient.
        square_norm : tensor, shape (2, b)
            ``‖x‖²``, which does not change from epoch to epoch.
        hidden : tensor, shape (2, b, h)
            Activations before the last layer.
        weight : tensor, shape (1 or 2, h, d)
            The last layer.

        Returns
        -------
        tensor, shape (2, b)
            ``‖x − hidden @ weight‖²``.
        """
        n_weights, ctx.shape = len(weight), hidden.shape
        x = x.reshape(n_weights, -1, x.shape[-1])  # (n_weights, m, d)
        hidden = hidden.reshape(n_weights, -1, hidden.shape[-1])
        wx = x @ weight.mT  # (n_weights, m, h)
        half = torch.baddbmm(wx, hidden, weight @ weight.mT, beta=-1)  # (r − x) Wᵀ
        rows = torch.linalg.vecdot(hidden, half - wx)
        ctx.save_for_backward(x, hidden, weight, half)
        return square_norm + rows.view(square_norm.shape)

    @staticmethod
    def backward(ctx, grad):
        """Compute the gradients of hidden and weight.

        Parameters
        ----------
        ctx : context
            Torch's.
        grad : tensor, shape (2, b)
            Gradient of the errors.

        Returns
        -------
        tuple
            None for x and its norm, then the gradients.
        """
        x, hidden, weight, half = ctx.saved_tensors
        grad = 2 * grad.reshape(len(weight), -1, 1)  # (n_weights, m, 1)
        scaled = (grad * hidden).mT  # (n_weights, h, m)
        # hᵀ(r − x) with r = h W multiplied out, so that r is written nowhere
        grad_weight = (scaled @ hidden) @ weight  # (n_weights, h, d)
        grad_weight.baddbmm_(scaled, x, alpha=-1)
        return None, None, (grad * half).view(ctx.shape), grad_weight
