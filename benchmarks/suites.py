"""What is run on what: the learning curves and the paper's tables and figures.

A suite asks methods and data sets which of them belong to it, so that a new one enters by its own
file. Numbers of splits and settings are chosen by the methods' measured cost
(``docs/research/cost.md``): the curves of one data set take two to thirteen hours on two cores.
"""

from typing import NamedTuple

from .datasets import DATASETS
from .methods import METHODS


class Cell(NamedTuple):
    """One setting: methods on splits 0 to n_splits - 1 of a dataset at N pairs."""

    dataset: str
    n_pairs: int
    n_splits: int
    methods: tuple


def n_splits(n_pairs):
    """Return the splits that a claim needs: 20 up to N = 500, 8 beyond."""
    return 20 if n_pairs <= 500 else 8


def methods_of(suite, wanted=lambda method: True):
    """Return the names of a suite's methods, of those that are wanted."""
    return tuple(name for name, m in METHODS.items() if suite in m.suites and wanted(m))


def settings_of(suite):
    """Yield each data set of a suite with each of its N."""
    for dataset in DATASETS.values():
        if suite in dataset.suites:
            for n_pairs in dataset.sizes:
                yield dataset, n_pairs


def curves():
    """Every method at every size, but for variants that are too dear there."""

    def affordable(dataset, n_pairs):
        return lambda m: (
            (m.max_pairs is None or n_pairs <= m.max_pairs)
            and (m.max_features is None or dataset.n_features <= m.max_features)
        )

    return [
        Cell(data.name, n, n_splits(n), methods_of("curves", affordable(data, n)))
        for data, n in settings_of("curves")
    ]


def headline():
    """What the targets are read off, on all three sets: within three hours on two cores."""
    everything = methods_of("headline")
    quick = methods_of("headline", lambda m: not m.slow)
    pairs_alone = methods_of("headline", lambda m: not m.unlabeled)
    baselines = methods_of("headline", lambda m: m.baseline)
    return [
        *(Cell("alpaca_384", n, n_splits(n), everything) for n in (50, 100, 200, 300, 500, 1000)),
        *(Cell("alpaca_3840", n, n_splits(n), quick) for n in (100, 200, 300)),
        Cell("alpaca_3840", 500, n_splits(500), baselines),  # what N = 100 to 300 may be worth
        *(Cell("hh_3840", n, n_splits(n), pairs_alone) for n in (100, 300)),
    ]


def why():
    """Why LENS falls short of repeated pairs, and repairs of it."""
    repairs, probed = methods_of("why"), methods_of("probe")
    return [
        Cell("alpaca_384", 100, 20, repairs),
        Cell("alpaca_384", 200, 20, repairs),
        Cell("alpaca_3840", 200, 10, repairs),
        Cell("hh_3840", 200, 10, repairs),
        Cell("alpaca_384", 1000, 8, probed),
        Cell("alpaca_3840", 1000, 8, probed),
    ]


def keep():
    """Leave out synthetic pairs whose order is wrong or not certain."""
    return [
        Cell(dataset, n, 5, methods_of("keep"))
        for dataset, sizes in (
            ("alpaca_384", (200, 1000)),
            ("alpaca_3840", (200, 1000)),
            ("hh_3840", (200, 800)),
        )
        for n in sizes
    ]


def blocks():
    """Embeddings that no setting was chosen on: each layer and pooling alone, but the last mean."""
    return [
        Cell(data.name, n, 8, methods_of("blocks", lambda m, data=data: data.gold or not m.slow))
        for data, n in settings_of("blocks")
    ]


def lsa():
    """Embeddings of another kind, which no language model made."""
    return [
        Cell(data.name, n, 8, methods_of("lsa", lambda m, data=data: data.gold or not m.unlabeled))
        for data, n in settings_of("lsa")
    ]


def text():
    """From texts to picks, through ``LLMEmbedder``: the mean of each layer of MiniLM, d = 2688."""
    return [Cell(data.name, n, 8, methods_of("text")) for data, n in settings_of("text")]


def mpnet():
    """Learning curves on embeddings of another language model, on which no setting was found.

    From 500 pairs on there is the yardstick alone.
    """
    return [
        Cell(data.name, n, n_splits(n), methods_of("mpnet", lambda m, n=n: m.baseline or n < 500))
        for data, n in settings_of("mpnet")
    ]


def embedders():
    """Learning curves on every embedder and source of judgement, within three hours on two cores.

    Responses without labels are for few pairs, and distillation, whose fit takes as long as all
    else together, is run on one embedder of each source.
    """
    return _embedders(lambda n: 10 if n <= 500 else 3 if n <= 1000 else 1)


def embedders_full():
    """The same with the splits that a claim needs: more than a day."""
    return _embedders(n_splits)


def _embedders(splits_at):
    few_pairs = methods_of("embedders")
    many_pairs = methods_of("embedders", lambda m: not m.unlabeled)
    return [
        *(
            Cell(data.name, n, splits_at(n), few_pairs if n <= 500 else many_pairs)
            for data, n in settings_of("embedders")
        ),
        *(
            Cell(data.name, n, min(3, splits_at(n)), methods_of("embedders, dear"))
            for data, n in settings_of("embedders_quick")
            if n in (100, 300)
        ),
    ]


def embedders_quick():
    """One embedder of each source, in less than five minutes on two cores."""
    return [
        Cell(data.name, n, 2, methods_of("embedders_quick"))
        for data, n in settings_of("embedders_quick")
        if n in (100, 200)
    ]


def layers():
    """At which layer and pooling a decoder should be read: logistic regression on each."""
    return [
        Cell(data.name, n, 8, methods_of("layers"))
        for data, n in settings_of("layers")
        if n in (100, 300, 1000)
    ]


def quick():
    """The methods of the curves at one or two sizes, in less than five minutes on two cores.

    But for what takes longest at d = 3840: unlabelled responses, and means of five fits that are no
    baseline.
    """
    short = methods_of("curves", lambda m: m.baseline or not (m.unlabeled or m.slow))
    return [
        Cell("alpaca_384", 100, 2, methods_of("curves")),
        Cell("alpaca_384", 200, 2, methods_of("curves")),
        Cell("alpaca_3840", 100, 2, short),
    ]


def table1():
    """The latent half of Table 1: every augmentation at 2x, 4x and 8x."""
    return _paper("table1")


def table2():
    """Time and parameters at 8x."""
    return [Cell("alpaca_3840", 1000, 3, methods_of("table2"))]


def table5():
    """What chosen and rejected share."""
    return _paper("table5")


def figure2():
    """The divergence's weight, the noise and the number of pairs."""
    return _paper("figure2") + [
        Cell(name, n, splits, methods_of("figure2, pairs"))
        for name, n, splits in (
            ("alpaca_384", 100, 10),
            ("alpaca_384", 500, 5),
            ("alpaca_384", 1000, 5),
            ("alpaca_384", 2000, 3),
            ("alpaca_3840", 100, 5),
            ("alpaca_3840", 500, 3),
        )
    ]


def figure3():
    """Maps of the latents."""
    return [Cell("alpaca_3840", 1000, 1, methods_of("figure3"))]


def figure4():
    """The KL term's weight; original pairs, synthetic pairs or both."""
    return _paper("figure4")


def _paper(suite):
    methods = methods_of(suite)
    return [
        Cell("alpaca_384", 200, 10, methods),
        Cell("alpaca_3840", 200, 5, methods),
        Cell("alpaca_3840", 1000, 3, methods),
    ]


SUITES = {
    suite.__name__: suite
    for suite in (
        curves, headline, why, keep, blocks, lsa, text, mpnet,
        embedders, embedders_full, embedders_quick, layers,
        table1, table2, table5, figure2, figure3, figure4, quick,
    )
}  # fmt: skip
