"""Where dense linear algebra is computed: on a device with float64 and memory enough."""

import torch

from ._device import torch_device
from ._warnings import warn


def float64_device(device):
    """Return the torch device that a ``device`` parameter names, if it computes in float64.

    Parameters
    ----------
    device : str or torch.device
        As in `torch_device`.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        If torch knows no such device, or it has no float64.
    """
    found = torch_device(device)
    if found.type == "mps":
        raise ValueError(
            f"device={device!r} has no float64, in which this reward computes; use 'cpu', or "
            "'cuda' where there is such a GPU."
        )
    return found


def on_cpu_if_full(compute, device):
    """Compute on a device, or on the CPU if its memory does not suffice.

    Parameters
    ----------
    compute : callable
        Is given a device; what it returns does not depend on which.
    device : torch.device
        Where to try first.

    Returns
    -------
    object
        What `compute` returned.

    Warns
    -----
    UserWarning
        If the memory of the device did not suffice.
    """
    try:
        return compute(device)
    except torch.OutOfMemoryError:
        if device == torch.device("cpu"):
            raise
    warn(f"the memory of device {str(device)!r} does not suffice; computes on the CPU instead.")
    return compute(torch.device("cpu"))
