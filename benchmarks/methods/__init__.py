"""What is compared: a file a method, or a family of them, found by its list ``METHODS``.

To add a method, add a file. Its :class:`Method` says in which suites it is run, what tables call
it and how figures draw it; no other file names it.
"""

import sys

from .._discovery import discover
from ._method import Method

__all__ = ["BASELINES", "METHODS", "ORIGINAL", "TUNED", "Method", "title_of"]

#: The paper's un-augmented model: what differences are taken to.
ORIGINAL = "original"


def _order(method):
    return method.name != ORIGINAL, not method.baseline, method.name.casefold()


#: Name -> Method: the original first, then the un-augmented models, then the others.
METHODS = {
    method.name: method
    for method in sorted(discover(sys.modules[__name__], "METHODS").values(), key=_order)
}
#: The un-augmented models that augmentation has to beat; the best of them is the yardstick.
BASELINES = tuple(name for name, method in METHODS.items() if method.baseline)
#: Those of them whose settings are chosen by cross-validation.
TUNED = tuple(name for name, method in METHODS.items() if method.tuned)


def title_of(name):
    """Return what tables call a method; one whose file is gone keeps its name."""
    return METHODS[name].title if name in METHODS else Method(name, None).title
