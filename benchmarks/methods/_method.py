"""What a file of this folder declares for each method that it holds."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

#: The N of reliability diagrams, which few methods have: bins are the larger part of a result.
DIAGRAM = (100, 300, 850, 1000)


@dataclass(frozen=True)
class Method:
    """A way to a reward, and all that suites, tables and figures need to know of it.

    Attributes
    ----------
    name : str
        What results call it.
    fit : callable
        ``fit(split, seed) -> score``, a score being a map (..., d) -> (...). The split is
        standardised; `fit` reads its ``pairs``, ``groups`` and ``unlabeled``, never its test set.
        Shortcuts, which learn nothing, may return the ``lengths`` of test responses.
    suites : tuple of str, default=()
        The suites that run it.
    label : str, default=""
        What tables of the research record call it; empty is its name.
    baseline : bool, default=False
        Whether it is an un-augmented model. The best of these is what others are compared with.
    tuned : bool, default=False
        Whether it is a baseline whose settings are chosen by cross-validation.
    unlabeled : bool, default=False
        Whether it reads responses that carry no labels.
    slow : bool, default=False
        Whether a fit at d = 3840 takes minutes: some suites leave it out there.
    max_pairs, max_features : int, default=None
        Beyond these the suite ``curves`` does not run it.
    view : {"embedding", "features", "both"}, default="embedding"
        The columns of responses that it reads.
    log_odds : bool, default=True
        Whether differences of its score are meant as log-odds.
    shortcut : bool, default=False
        Whether it learns nothing.
    diagram : tuple of int, default=()
        The N at which results keep what its reliability diagram shows.
    shares : str, default=""
        The method whose work on a split it takes over, so that both cost little more than one.
    setting : dict of str to float
        Symbols of the paper's settings and their values, for figures over one of them.
    style : dict, default=None
        How figures draw its learning curve; None leaves it out.
    """

    name: str
    fit: Callable
    suites: tuple = ()
    label: str = ""
    baseline: bool = False
    tuned: bool = False
    unlabeled: bool = False
    slow: bool = False
    max_pairs: int | None = None
    max_features: int | None = None
    view: str = "embedding"
    log_odds: bool = True
    shortcut: bool = False
    diagram: tuple = ()
    shares: str = ""
    setting: dict = field(default_factory=dict)
    style: dict | None = None

    @property
    def title(self):
        """What tables call it."""
        return self.label or re.sub(r"(\d)x\b", r"\1×", self.name)
