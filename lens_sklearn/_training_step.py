"""One optimisation step, repeated: on a GPU it is captured once and replayed.

The networks are small. On a GPU a step is some sixty kernels that take no time, and launching
them one by one does. A CUDA graph launches them all at once.
"""

from contextlib import contextmanager

import torch

from ._device import torch_device
from ._warnings import warn

#: Share of a GPU's free memory that training data may take.
MEMORY_SHARE = 0.5
#: Steps taken as they are before one is captured: libraries and moments are made in these.
WARM_UP = 3


class TrainingStep:
    """Calls a step, and on a GPU replays it as a CUDA graph after a few calls.

    A graph reads its inputs where they were when it was captured, so they are copied there; each
    size of the first axis has a graph of its own, such as an epoch's last short batch. What
    a step computes is the same either way: nothing is captured that was not called before, and no
    call is taken twice.

    Parameters
    ----------
    step : callable
        Takes tensors on the device and returns nothing. It must not wait for the GPU, nor depend
        on anything but tensors that stay in their place.
    device : torch.device
        Where it computes.
    record : callable, optional
        Takes a function without arguments and returns one that repeats what it did; default:
        `record_graph` on a CUDA device, None elsewhere, which calls the step every time.
    """

    def __init__(self, step, device, record=None):
        self.step = step
        self.device = device
        self.record = record_graph if record is None and device.type == "cuda" else record
        self.forget()

    def forget(self):
        """Drop what was captured: something that it holds has changed its place or value."""
        self._n_calls = {}  # of each size
        self._captured = {}  # size: inputs, replay

    def __call__(self, *inputs):
        """Take one step.

        Parameters
        ----------
        *inputs : tensors of the same length
            What the step takes; on the device, or on the CPU where it is copied to it.
        """
        if self.record is None:
            self.step(*inputs)
            return
        size = len(inputs[0])
        if size in self._captured:
            held, replay = self._captured[size]
            for mine, given in zip(held, inputs, strict=True):
                mine.copy_(given, non_blocking=True)
            replay()
            return
        self._n_calls[size] = self._n_calls.get(size, 0) + 1
        if self._n_calls[size] <= WARM_UP:
            self.step(*(tensor.to(self.device) for tensor in inputs))
            return
        self._capture(size, inputs)
        self(*inputs)

    def _capture(self, size, inputs):
        held = [tensor.to(self.device, copy=True) for tensor in inputs]
        try:
            self._captured[size] = held, self.record(lambda: self.step(*held))
        except RuntimeError as error:
            self.record = None
            reason = str(error).partition("\n")[0]
            warn(f"this GPU's steps are launched one by one: no CUDA graph of them ({reason}).")


def record_graph(function):
    """Capture what a function does to the GPU.

    Parameters
    ----------
    function : callable
        Without arguments; it is not carried out.

    Returns
    -------
    callable
        Carries it out.
    """
    graph = torch.cuda.CUDAGraph()
    # torch.cuda.graph would collect garbage and empty the cache each time. Other threads may use
    # the GPU meanwhile.
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        function()
    finally:
        graph.capture_end()
    return graph.replay


@contextmanager
def training_stream(device):
    """Compute on a stream of one's own, as capturing needs it; networks then train side by side.

    Parameters
    ----------
    device : torch.device
        Where to compute; nothing happens on one that is no GPU.
    """
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        outer = torch.cuda.current_stream()
        stream = torch.cuda.Stream()
        stream.wait_stream(outer)
        with torch.cuda.stream(stream):
            yield
        outer.wait_stream(stream)


def optimizer_options(device):
    """Return how Adam is to compute.

    Parameters
    ----------
    device : torch.device
        Where.

    Returns
    -------
    dict
        Fused: one kernel; on a GPU also such that a graph may hold it.
    """
    return {"fused": True, "capturable": device.type == "cuda"}


def training_device(device, n_bytes):
    """Return where to train: not on a GPU that was not asked for and has no room.

    Parameters
    ----------
    device : str or torch.device
        As :func:`torch_device` takes it.
    n_bytes : int
        What the data takes.

    Returns
    -------
    torch.device
        The device.

    Warns
    -----
    UserWarning
        If "auto" would have been a GPU.
    """
    found = torch_device(device)
    if device == "auto" and found.type == "cuda" and n_bytes > MEMORY_SHARE * free_bytes(found):
        warn(
            f"training on the CPU: the pairs take {n_bytes / 1e9:.1f} GB, and the GPU has "
            f'{free_bytes(found) / 1e9:.1f} GB free. device="cuda" tries it nevertheless.'
        )
        return torch.device("cpu")
    return found


def free_bytes(device):
    """Return how much memory of a GPU is free, what torch holds in reserve included.

    Parameters
    ----------
    device : torch.device
        The GPU.

    Returns
    -------
    int
        Bytes.
    """
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve
