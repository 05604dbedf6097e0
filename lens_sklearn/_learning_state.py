"""What a network and its training consist of, as plain values: weights, Adam's moments, draws."""

import numpy as np
import torch

#: Words of a Mersenne twister, which every RandomState is unless somebody built it otherwise.
TWISTER_WORDS = 624


def weights_to_arrays(module):
    """Return a network's weights.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU.

    Returns
    -------
    dict of str to ndarray
        Copies, by name.
    """
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def check_weights(owner, arrays, shapes):
    """Check weights that were read from a file, before a network of their size is made.

    Parameters
    ----------
    owner : object
        Named in the error.
    arrays : dict of str to ndarray
        The weights.
    shapes : dict of str to tuple of int
        The shape that each must have by the parameters.

    Raises
    ------
    ValueError
        If one is missing, is not known or has another shape.
    """
    kind = type(owner).__name__
    if set(arrays) != set(shapes):
        raise ValueError(
            f"the weights do not fit the parameters of a {kind}: they have to be {sorted(shapes)}, "
            f"not {sorted(arrays)}"
        )
    for name, shape in shapes.items():
        found = getattr(arrays[name], "shape", type(arrays[name]).__name__)
        if found != shape:
            raise ValueError(
                f"the weights do not fit the parameters of a {kind}: {name} has shape {found}, "
                f"not {shape}"
            )


def set_weights(module, arrays):
    """Give a network the weights that `weights_to_arrays` returned.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU.
    arrays : dict of str to ndarray
        The weights.

    Raises
    ------
    ValueError
        If names or shapes are not those of the network.
    """
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the parameters ({error})") from None


def adam_state(optimizer):
    """Return an optimizer's state on the CPU.

    Parameters
    ----------
    optimizer : torch.optim.Adam
        After a step.

    Returns
    -------
    dict of int to dict of str to tensor
        Entry ``state`` of its ``state_dict``.
    """
    return {
        index: {key: tensor.cpu() for key, tensor in moments.items()}
        for index, moments in optimizer.state_dict()["state"].items()
    }


def adam_to_arrays(module, state):
    """Return Adam's step and moments of each weight.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    state : dict of int to dict of str to tensor
        As `adam_state` returned it.

    Returns
    -------
    dict of str to dict
        For each weight the number ``step`` and the arrays ``exp_avg`` and ``exp_avg_sq``, copies.
    """
    names = [name for name, _ in module.named_parameters()]
    return {
        names[index]: {
            key: tensor.item() if key == "step" else tensor.numpy().copy()
            for key, tensor in moments.items()
        }
        for index, moments in state.items()
    }


def adam_from_arrays(module, arrays):
    """Return the state that `adam_to_arrays` was given; nothing of nothing.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    arrays : dict of str to dict
        What it returned.

    Returns
    -------
    dict of int to dict of str to tensor
        Entry ``state`` of an optimizer's ``state_dict``.

    Raises
    ------
    ValueError
        If a moment does not have its weight's shape.
    """
    if not arrays:  # no step was taken
        return {}
    state = {}
    for index, (name, weight) in enumerate(module.named_parameters()):
        state[index] = {"step": torch.tensor(float(arrays[name]["step"]))}
        for key in ("exp_avg", "exp_avg_sq"):
            moment = np.array(arrays[name][key], dtype=np.float32)
            if moment.shape != weight.shape:
                raise ValueError(
                    f"Adam's {key} of {name} has shape {moment.shape}, not {tuple(weight.shape)}"
                )
            state[index][key] = torch.from_numpy(moment)
    return state


def random_state_to_values(random_state):
    """Return the state of a random generator.

    Parameters
    ----------
    random_state : RandomState
        A Mersenne twister.

    Returns
    -------
    dict
        ``key``, an array, and numbers.

    Raises
    ------
    ValueError
        If it is another generator.
    """
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise ValueError(
            f"random_state is a {state['bit_generator']}; only an MT19937 can be written down."
        )
    draws = {"key": state["state"]["key"], "position": state["state"]["pos"]}
    return draws | {"has_gauss": state["has_gauss"], "gauss": state["gauss"]}


def random_state_from_values(values):
    """Make the generator whose state `random_state_to_values` returned.

    Parameters
    ----------
    values : dict
        What it returned.

    Returns
    -------
    RandomState
        Goes on drawing where that one stood.

    Raises
    ------
    ValueError
        If these are no such state.
    """
    key, position = np.asarray(values["key"]), int(values["position"])
    # numpy would read whatever memory a wrong position points at.
    if key.shape != (TWISTER_WORDS,) or key.dtype != np.uint32 or not 0 <= position <= len(key):
        raise ValueError(f"a random state of {key.dtype} {key.shape} at {position} is none")
    random_state = np.random.RandomState()
    gauss = int(values["has_gauss"]), float(values["gauss"])
    random_state.set_state(("MT19937", key, position, *gauss))
    return random_state
