"""Preference data for benchmarks, by name. Splits are by prompt and the same for all methods."""

from functools import partial

from . import alpaca_npz, alpaca_results, alpaca_text, blocks, hh_npz, hub, lsa, toy
from .splits import CandidateData, PairData, Split

__all__ = ["DATASETS", "CandidateData", "PairData", "Split"]

#: Name -> ``load(data, store)``: the folder with the files, and a folder for embeddings.
DATASETS = (
    {
        "toy": toy.load,
        "alpaca_384": partial(alpaca_npz.load, d=384),
        "alpaca_3840": partial(alpaca_npz.load, d=3840),
        "hh_3840": hh_npz.load,
        "alpaca_text": alpaca_text.load,
        "alpaca_mpnet": alpaca_text.load_mpnet,
        "alpaca_results": alpaca_results.load,
        "hub_hh": hub.load_hh,
        "hub_tldr": hub.load_tldr,
    }
    | blocks.DATASETS
    | lsa.DATASETS
)
