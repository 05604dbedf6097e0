"""The embeddings of d = 3840 taken apart: 384 features of one layer or one pooling each."""

from functools import partial

from . import alpaca_npz, hh_npz
from .splits import CandidateData, PairData

#: In their order there: the mean over tokens of each layer, and three poolings of the last one.
BLOCKS = (*(f"layer{i}" for i in range(7)), "first", "maximum", "deviation")


def _alpaca(data, store=None, *, part):
    whole = alpaca_npz.load(data, d=3840)
    return CandidateData(whole.candidates[..., part].copy(), whole.gold)


def _hh(data, store=None, *, part):
    return PairData(hh_npz.load(data).pairs[..., part].copy())


DATASETS = {
    f"{name}_{block}": partial(load, part=slice(384 * i, 384 * (i + 1)))
    for name, load in (("alpaca", _alpaca), ("hh", _hh))
    for i, block in enumerate(BLOCKS)
}
