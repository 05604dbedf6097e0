"""The embeddings of d = 3840 taken apart: 384 features of one layer or one pooling each."""

from functools import partial

from . import alpaca, hh
from ._dataset import Dataset
from ._splits import CandidateData, PairData

#: In their order there: the mean over tokens of each layer, and three poolings of the last one.
BLOCKS = (*(f"layer{i}" for i in range(7)), "first", "maximum", "deviation")


def _alpaca(data, store=None, *, part):
    whole = alpaca.load(data, d=3840)
    return CandidateData(whole.candidates[..., part].copy(), whole.gold)


def _hh(data, store=None, *, part):
    return PairData(hh.load(data).pairs[..., part].copy())


DATASETS = [
    Dataset(
        f"{name}_{block}",
        partial(load, part=slice(384 * i, 384 * (i + 1))),
        n_features=384,
        gold=name == "alpaca",
        # The mean over tokens of the last layer is alpaca_384, on which settings were chosen.
        suites=() if block == "layer6" else ("blocks",),
        sizes=sizes,
    )
    for name, load, sizes in (("alpaca", _alpaca, (100, 300)), ("hh", _hh, (300,)))
    for i, block in enumerate(BLOCKS)
]
