"""The original pairs over again: the steps of augmentation without new data."""

from functools import partial

from lens_sklearn import RepeatAugmenter

from . import _ensemble
from ._method import DIAGRAM, Method
from ._published import reward


def fit(split, seed, factor=4, **params):
    pairs = RepeatAugmenter(factor=factor).fit_transform(split.pairs)
    return reward(random_state=seed, **params).fit(pairs).predict


from_zero = partial(fit, output_init="zero")

METHODS = [
    Method("repeat 2x", partial(fit, factor=2), suites=("table1",)),
    Method("repeat 4x", fit, suites=("table1", "curves")),
    Method("repeat 8x", partial(fit, factor=8), suites=("table1",)),
    Method(
        "repeat 4x, zero output",
        from_zero,
        suites=(
            *("curves", "headline", "why", "probe", "lsa", "mpnet", "keep"),
            *("embedders", "embedders_quick"),
        ),
        baseline=True,
        diagram=DIAGRAM,
    ),
    Method(
        "repeat 4x, zero output, five",
        partial(_ensemble.of, method=from_zero),
        suites=("curves", "headline", "why", "blocks", "lsa", "text", "mpnet"),
        label="repeat 4×, zero output, mean of five",
        baseline=True,
        style=dict(color="#000000", linestyle=":", linewidth=2.5),
    ),
]
