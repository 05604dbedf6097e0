"""Find what the modules of a package declare, so that a new file needs no list to stand in."""

import importlib
import pkgutil


def discover(package, attribute):
    """Gather what a package's modules declare.

    Parameters
    ----------
    package : module
        A package; modules whose name begins with an underscore are helpers.
    attribute : str
        Name of the list of entries that each of the others has.

    Returns
    -------
    dict of str to object
        The entries by their ``name``, in the order of modules and of their lists.

    Raises
    ------
    ValueError
        If two entries have the same name.
    """
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for entry in getattr(module, attribute):
            if entry.name in found:
                raise ValueError(f"{module.__name__}: {entry.name!r} is declared elsewhere too.")
            found[entry.name] = entry
    return found
