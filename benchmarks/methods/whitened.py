"""Repeated pairs in the metric of unlabelled responses: what they give to a plain network."""

from dataclasses import replace
from functools import partial

from lens_sklearn import WithinPromptWhitening

from . import _ensemble, repeat
from ._method import Method


def fit(split, seed):
    whitening = WithinPromptWhitening(random_state=seed)
    whitening.fit(split.pairs, unlabeled=split.unlabeled)
    whitened = replace(split, pairs=whitening.transform(split.pairs))
    score = repeat.from_zero(whitened, seed)
    return lambda X: score(whitening.transform(X))


METHODS = [
    Method(
        "repeat 4x, zero output, whitened",
        fit,
        suites=("curves",),
        label="repeat 4×, zero output, whitened with unlabelled",
        unlabeled=True,
    ),
    Method(
        "repeat 4x, zero output, whitened, five",
        partial(_ensemble.of, method=fit),
        suites=("curves",),
        label="repeat 4×, zero output, whitened with unlabelled, mean of five",
        unlabeled=True,
        slow=True,
    ),
]
