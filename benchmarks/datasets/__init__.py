"""Preference data: a file a data set, or a family of them, found by its list ``DATASETS``.

Splits are by prompt and the same for all methods. To add a data set, add a file: its
:class:`Dataset` says which suites run on it and at which N.
"""

import sys

from .._discovery import discover
from ._dataset import Dataset
from ._splits import CandidateData, PairData, Split

__all__ = ["DATASETS", "CandidateData", "Dataset", "PairData", "Split"]

#: Name -> Dataset.
DATASETS = discover(sys.modules[__name__], "DATASETS")
