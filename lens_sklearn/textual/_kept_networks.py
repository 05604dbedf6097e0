"""How long networks stay loaded: the one used last, several within a block, none on demand.

The models of text space are large and are needed one after the other (a generator, then a
labeller, then a reward model), so loading one releases those that nobody uses. The one used
last stays, since who trains by a reward asks it at every step.
"""

import gc
import os
import threading
from collections import Counter, OrderedDict
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

_LOCK = threading.RLock()  # held while weights are read, so that two threads load none twice
_KEPT = OrderedDict()  # key -> Kept, the latest used last
_USES = Counter()  # key -> `with` blocks that it is used in
_BLOCKS = []  # the open blocks of `keep_networks`


class Kept(NamedTuple):
    """A network that stays loaded.

    Attributes
    ----------
    model : HeadedModel
        Who loaded it.
    network : torch.nn.Module
        On its device.
    end_ids : list of int
        The tokens that end a response.
    """

    model: Any
    network: Any
    end_ids: list


def _after_fork_in_child():
    # A thread that does not exist here may have held the lock; blocks are the parent's.
    global _LOCK
    _LOCK = threading.RLock()
    _USES.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def release_networks():
    """Release the language models that stay loaded, and give their memory back.

    Generators, labellers and fine-tuned rewards of this package leave the network that they used
    last in memory, so that the next call need not load it again. Using another one releases it.
    Those of :class:`~lens_sklearn.LLMEmbedder` are not meant.

    Returns
    -------
    int
        How many networks were released. One that another thread computes with goes when that
        is done.

    See Also
    --------
    keep_networks : Lets several stay loaded.

    Examples
    --------
    >>> from lens_sklearn.textual import release_networks
    >>> release_networks()
    0
    """
    with _LOCK:
        n_released = len(_KEPT)
        _KEPT.clear()
    free_memory()
    return n_released


@contextmanager
def keep_networks():
    """Let several language models stay loaded until the block ends.

    Without it loading a network releases the one before. Training that asks a generator and a
    judge in turn would load each of them at every step. All must fit into memory beside each
    other: n parameters take 4n bytes in float32 and 2n in half precision.

    Yields
    ------
    None
        At the end of the outermost block all networks are released, those of other threads
        included.

    See Also
    --------
    release_networks : Releases them at once.

    Examples
    --------
    >>> from lens_sklearn.textual import keep_networks
    >>> with keep_networks():
    ...     pass  # generator.transform(prompts), labeller.score(prompts, responses), …
    """
    block = object()
    with _LOCK:
        _BLOCKS.append(block)
    try:
        yield
    finally:
        with _LOCK:
            _BLOCKS.remove(block)
            if not _BLOCKS:
                _release(list(_KEPT))


def find_kept(key):
    """Return the model whose network stays loaded.

    Parameters
    ----------
    key : tuple of (ModelSpec, str)
        Which model with which head.

    Returns
    -------
    HeadedModel or None
        None if there is none.
    """
    with _LOCK:
        return _KEPT[key].model if key in _KEPT else None


def take_network(model, load):
    """Return a network that is loaded, or load it and release the others first.

    Parameters
    ----------
    model : HeadedModel
        Who needs it.
    load : callable
        Loads it and returns a `Kept`.

    Returns
    -------
    Kept
        From now on the latest one.
    """
    with _LOCK:
        if model.key not in _KEPT:
            if not _BLOCKS:
                _release(key for key in list(_KEPT) if not _USES[key])
            _KEPT[model.key] = load()
        _KEPT.move_to_end(model.key)
        return _KEPT[model.key]


def begin_use(key):
    """Keep a network from being released by the loading of another.

    Parameters
    ----------
    key : tuple of (ModelSpec, str)
        Which model with which head.
    """
    with _LOCK:
        _USES[key] += 1


def end_use(key):
    """End what `begin_use` began; of the networks that nobody uses the latest stays.

    Parameters
    ----------
    key : tuple of (ModelSpec, str)
        Which model with which head.

    Returns
    -------
    bool
        Whether the network stays loaded.
    """
    with _LOCK:
        _USES[key] -= 1
        if not _USES[key]:
            del _USES[key]
        if not _BLOCKS and len(_KEPT) > 1:
            *earlier, _ = _KEPT
            _release(key for key in earlier if not _USES[key])
        return key in _KEPT


def release_idle():
    """Release the networks that nobody uses, before something else needs their memory."""
    with _LOCK:
        _release(key for key in list(_KEPT) if not _USES[key])


def _release(keys):
    """Forget networks; `_LOCK` is held by the caller."""
    keys = list(keys)
    for key in keys:
        del _KEPT[key]
    if keys:
        free_memory()


def free_memory():
    """Give memory that nothing refers to back to the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
