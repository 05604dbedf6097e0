"""The reconstruction error of a decoder's last layer, without the reconstruction.

With a last layer ``r = h W + b``, the squared error of an embedding x of d features is

    ‖x − r‖² = ‖x‖² − 2 (h · Wx + x · b) + h W Wᵀ hᵀ + 2 h · Wb + ‖b‖²

in which only ``Wx`` costs as much as decoding. Neither the reconstruction nor the error is ever
written out, and the gradient of h, ``2 (h WWᵀ + Wb − Wx)``, needs no further product with d.
"""

import torch


class LowRankError(torch.autograd.Function):
    """Squared error of ``h @ weight + bias`` against x, summed over the features.

    Exact up to rounding: as in the subtraction itself, the rounding error is relative to
    ‖x‖² + ‖r‖². All arguments have a leading axis for the two columns of a pair; weight and
    bias have length 1 there if both columns share them.
    """

    @staticmethod
    def forward(ctx, x, square_norm, hidden, weight, bias):
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
        weight, bias : tensor, shape (1 or 2, h, d) and (1 or 2, 1, d)
            The last layer.

        Returns
        -------
        tensor, shape (2, b)
            ``‖x − hidden @ weight − bias‖²``.
        """
        n_weights, ctx.shape = len(weight), hidden.shape
        x = x.reshape(n_weights, -1, x.shape[-1])  # (n_weights, m, d)
        hidden = hidden.reshape(n_weights, -1, hidden.shape[-1])
        wx = x @ weight.mT  # (n_weights, m, h)
        bx = x @ bias.mT  # (n_weights, m, 1)
        gram, wb = weight @ weight.mT, bias @ weight.mT  # (n_weights, h, h) and (…, 1, h)
        half = hidden @ gram + wb - wx  # (r − x) Wᵀ
        rows = (hidden * (half + wb - wx)).sum(-1, keepdim=True)
        rows = rows - 2 * bx + bias.square().sum(-1, keepdim=True)
        ctx.save_for_backward(x, hidden, weight, bias, half)
        return square_norm + rows.view(square_norm.shape)

    @staticmethod
    def backward(ctx, grad):
        """Compute the gradients of hidden, weight and bias.

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
        x, hidden, weight, bias, half = ctx.saved_tensors
        grad = 2 * grad.reshape(len(weight), -1, 1)  # (n_weights, m, 1)
        scaled = grad * hidden
        # hᵀ(r − x) with r = h W + b multiplied out, so that r is written nowhere
        grad_weight = scaled.sum(1)[..., None] * bias  # (n_weights, h, d)
        grad_weight.baddbmm_(scaled.mT, x, alpha=-1).baddbmm_(scaled.mT @ hidden, weight)
        grad_bias = grad.sum(1, keepdim=True) * bias  # (n_weights, 1, d)
        grad_bias.baddbmm_(grad.mT, x, alpha=-1).baddbmm_(grad.mT @ hidden, weight)
        return None, None, (grad * half).view(ctx.shape), grad_weight, grad_bias
