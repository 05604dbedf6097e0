"""Where torch computes and what is drawn: devices, explicit generators, an order of pairs."""

from contextlib import contextmanager
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import torch
from sklearn.utils import check_random_state
from threadpoolctl import threadpool_limits


def torch_device(device):
    """Return the torch device that a ``device`` parameter names.

    Parameters
    ----------
    device : str or torch.device
        "auto" is a GPU if there is one and the CPU otherwise; else as torch spells it.

    Returns
    -------
    torch.device
        The device.

    Raises
    ------
    ValueError
        If torch knows no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device={device!r} is none that torch knows; use 'auto', 'cpu', 'cuda', 'cuda:1', …"
        ) from None


def torch_generator(random_state, device="cpu"):
    """Make a torch generator from a scikit-learn ``random_state``.

    Explicit generators, unlike a forked global state, are safe under threads.

    Parameters
    ----------
    random_state : int, RandomState or None
        As everywhere in scikit-learn.
    device : str or torch.device, default="cpu"
        Where the numbers are drawn.

    Returns
    -------
    torch.Generator
        Seeded.
    """
    return torch.Generator(device=device).manual_seed(draw_seed(random_state))


def draw_seed(random_state):
    """Draw a seed from a scikit-learn ``random_state``.

    Parameters
    ----------
    random_state : int, RandomState or None
        As everywhere in scikit-learn.

    Returns
    -------
    int
        Below 2³¹.
    """
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def on_device(module, device):
    """Return a module on a device; the module itself, kept on the CPU, is never moved.

    A fitted estimator holds its network on the CPU, so what is pickled after training on a GPU
    loads on a machine without one.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU.
    device : torch.device
        Where to compute.

    Returns
    -------
    torch.nn.Module
        `module` itself on the CPU, a copy elsewhere.
    """
    return module if device.type == "cpu" else deepcopy(module).to(device)


def as_tensor(array):
    """Return an array as a tensor of the same memory.

    Parameters
    ----------
    array : ndarray
        Read-only arrays (a memory map, a broadcast) become tensors too, which nobody may write
        to; torch has no flag for that. A reversed view is copied.

    Returns
    -------
    torch.Tensor
        On the CPU.
    """
    if min(array.strides, default=0) < 0:  # torch has no such tensors
        array = np.array(array, order="C")
    if not array.flags.writeable:
        interface = array.__array_interface__
        interface["data"] = (interface["data"][0], False)
        # The namespace keeps the array alive for as long as the tensor lives.
        array = np.asarray(SimpleNamespace(__array_interface__=interface, array=array))
    return torch.from_numpy(array)


def row_order(pairs):
    """Return an order of pairs that does not depend on where they stand.

    What is drawn at random goes to pairs in this order, so shuffled pairs get the same each.

    Parameters
    ----------
    pairs : ndarray, shape (n, 2, d)
        Pairs, column 0 chosen.

    Returns
    -------
    ndarray of int, shape (n,)
        Indices that sort the pairs by their bytes.
    """
    rows = np.ascontiguousarray(pairs).reshape(len(pairs), -1)
    return np.argsort(rows.view(f"V{pairs[0].nbytes}").ravel(), kind="stable")


@contextmanager
def one_thread():
    """Train on one thread: the networks are small, and threads wait for busy cores."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)
