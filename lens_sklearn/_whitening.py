"""A learnt linear map of embeddings, which weighs directions."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from sklearn.utils import gen_batches

from ._device import as_tensor

#: Embeddings at once: bounds the memory of temporaries.
CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Whitening:
    """A learnt map of embeddings.

    Parameters
    ----------
    mean : ndarray of float64, shape (d,)
        Means of the features.
    scale : ndarray of float64, shape (d,)
        Their standard deviations, times the factor that makes the mean square norm of the pairs'
        whitened members 1; infinite for constant features, which are ignored.
    norm : float
        The typical norm of standardised embeddings.
    norm_exponent : float
        The power that norms, in units of `norm`, are raised to; 1 leaves them as they are.
    directions : ndarray of float64, shape (r, d)
        Orthonormal axes: eigenvectors of Σ that the pairs span, r = min(n, d), or of T.
    gains : ndarray of float64, shape (r,) or (r, r)
        M - 1 on these axes, a diagonal or a matrix; M is 1 in all directions beside them.
    wiener_exponent, covariance_exponent : float
        The powers that the gains were made with.
    """

    mean: np.ndarray
    scale: np.ndarray
    norm: float
    norm_exponent: float
    directions: np.ndarray
    gains: np.ndarray
    wiener_exponent: float
    covariance_exponent: float

    def apply(self, rows):
        """Map embeddings so that the pairs' members have a mean square norm of 1.

        Parameters
        ----------
        rows : ndarray, or tensor of float64 where the map is, shape (m, d)
            Embeddings.

        Returns
        -------
        ndarray of float64, or tensor, shape (m, d)
            Whitened embeddings.
        """
        if isinstance(rows, np.ndarray):
            return self.on("cpu").apply(torch.from_numpy(np.asarray(rows, np.float64))).numpy()
        rows = (rows - self.mean).div_(self.scale)
        if self.norm_exponent < 1:
            rows *= norm_factors(rows, self.norm, self.norm_exponent)
        along = rows @ self.directions.T  # (m, r)
        along = along * self.gains if self.gains.ndim == 1 else along @ self.gains
        return rows.addmm_(along, self.directions)

    def apply_in_chunks(self, rows):
        """Map many embeddings, with temporaries of a few.

        Parameters
        ----------
        rows : tensor of float64 where the map is, shape (m, d)
            Embeddings.

        Returns
        -------
        tensor, shape (m, d)
            Whitened embeddings.
        """
        out = torch.empty_like(rows)
        for chunk in gen_batches(len(rows), CHUNK):
            out[chunk] = self.apply(rows[chunk])
        return out

    def on(self, device):
        """Return the map of tensors on a device.

        Parameters
        ----------
        device : str or torch.device
            Where.

        Returns
        -------
        Whitening
            The same map; its arrays are tensors.
        """
        names = ("mean", "scale", "directions", "gains")
        return replace(self, **{n: as_tensor(getattr(self, n)).to(device) for n in names})

    def get_state(self):
        """Return the fields as numbers and arrays.

        Returns
        -------
        dict
            What `from_state` reads.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state, n_features):
        """Build a map from what `get_state` returned.

        Parameters
        ----------
        state : dict
            The fields.
        n_features : int
            d.

        Returns
        -------
        Whitening
            The map.

        Raises
        ------
        ValueError
            If a field is missing or unknown, or an array has a shape that does not fit.
        """
        try:
            whitening = cls(**state)
        except TypeError as error:
            raise ValueError(f"not the state of a whitening: {error}") from None
        r = len(whitening.gains)
        shapes = {
            "mean": (n_features,),
            "scale": (n_features,),
            "directions": (r, n_features),
            "gains": (r,) if np.ndim(whitening.gains) == 1 else (r, r),
        }
        for name, shape in shapes.items():
            found = np.shape(getattr(whitening, name))
            if found != shape:
                raise ValueError(f"{name} of a whitening has shape {found}, not {shape}")
        return whitening


def norm_factors(standard, norm, exponent):
    """Return the factors that raise the norms of embeddings to a power.

    Parameters
    ----------
    standard : tensor of float64, shape (..., d)
        Standardised embeddings.
    norm : float
        The norm that stays as it is.
    exponent : float
        The power.

    Returns
    -------
    tensor, shape (..., 1)
        The factors; 0 for a norm of 0.
    """
    relative = torch.linalg.vector_norm(standard, dim=-1, keepdim=True) / norm
    return torch.where(relative == 0, 0.0, relative ** (exponent - 1))
