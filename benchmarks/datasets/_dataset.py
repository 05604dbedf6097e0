"""What a file of this folder declares for each data set that it holds."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """Preference data, and what suites need to know of it.

    Attributes
    ----------
    name : str
        What results call it.
    load : callable
        ``load(data, store)``: of the folder with the files, and a folder for embeddings; returns
        ``CandidateData`` or ``PairData``.
    n_features : int, default=None
        d of its embeddings, where it is known before they are made.
    gold : bool, default=True
        Whether its responses have gold rewards.
    suites : tuple of str, default=()
        The suites that run on it, besides those that are about one data set.
    sizes : tuple of int, default=()
        Training pairs N at which these run.
    needs_files : bool, default=True
        Whether `load` reads the folder `data`.
    made : str, default=None
        The file in the folder for embeddings that it reads and does not make.
    """

    name: str
    load: Callable
    n_features: int | None = None
    gold: bool = True
    suites: tuple = ()
    sizes: tuple = ()
    needs_files: bool = True
    made: str | None = None
