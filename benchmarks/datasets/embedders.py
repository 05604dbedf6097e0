"""Three sources of judgement, each on several embedders, with response features and lengths.

AlpacaEval has one judge who compares with a reference and is fond of length, WildBench's judge
scores each response by itself, HH-RLHF has people. A data set is named by its source and its
embedder: ``minilm384``, ``minilm3840`` and ``smollm576`` are files beside the texts, ``lsa`` and
``mpnet768`` are computed from these. ``smollm2_mean18`` and the like are the states of a decoder
as ``benchmarks.embed_decoder`` wrote them: the mean over a response's tokens, or the state at its
end, of one layer. Their response features have the decoder's log-likelihood as well.
"""

from functools import partial

import numpy as np

from . import alpaca_text, lsa
from ._dataset import Dataset
from ._texts import SOURCES, judged, read_rows, responses_of

#: Hidden states of the decoder that are read, and how the tokens of a response are pooled.
LAYERS = (4, 8, 12, 15, 18, 20, 22, 24, 26, 28, 29, 30)
POOLINGS = ("last", "mean")
#: The layer and pooling that learning curves are drawn of.
READ = ("mean", 18)


def made_file(source):
    """Return the name of the file that ``benchmarks.embed_decoder`` writes.

    Parameters
    ----------
    source : str
        A key of ``SOURCES``.

    Returns
    -------
    str
        In the folder for embeddings.
    """
    return f"smollm2_layers_{source}.npz"


def _stored(data, store=None, *, source, name):
    """Read embeddings that stand beside the texts."""
    with np.load(data / f"{SOURCES[source].file}_{name}.npz") as arrays:
        return judged(source, read_rows(source, data), arrays["embeddings"])


def _lsa(data, store=None, *, source):
    """Embed the texts by their words."""
    rows = read_rows(source, data)
    texts = [text for texts in responses_of(rows) for text in texts]
    return judged(source, rows, lsa.embedded(texts).reshape(len(rows), -1, lsa.N_FEATURES))


def _mpnet(data, store):
    """Embed the texts with another language model."""
    embedded = alpaca_text.load_mpnet(data, store).candidates
    return judged("alpaca", read_rows("alpaca", data), embedded)


def _decoder(data, store, *, source, pooling, layer):
    """Read states of a decoder, and how likely it finds each response."""
    with np.load(store / made_file(source)) as arrays:
        states, log_likelihood = arrays[f"{pooling}{layer}"], arrays["log_likelihood"]
    return judged(source, read_rows(source, data), states, log_likelihood[..., None])


def _dataset(source, embedder, load, n_features, suites, **options):
    return Dataset(
        f"{source}_{embedder}",
        load,
        n_features=n_features,
        gold=SOURCES[source].gold,
        suites=suites,
        sizes=SOURCES[source].sizes,
        **options,
    )


BOTH = ("embedders", "embedders_quick")
DATASETS = [
    *(
        _dataset(source, name, partial(_stored, source=source, name=name), d, suites)
        for source, name, d, suites in (
            ("alpaca", "minilm384", 384, ("embedders",)),
            ("alpaca", "minilm3840", 3840, ("embedders",)),
            ("alpaca", "smollm576", 576, BOTH),
            ("hh", "minilm3840", 3840, ("embedders",)),
            ("hh", "smollm576", 576, BOTH),
        )
    ),
    *(
        _dataset(
            source,
            "lsa",
            partial(_lsa, source=source),
            lsa.N_FEATURES,
            BOTH if source == "wildbench" else ("embedders",),
        )
        for source in SOURCES
    ),
    _dataset("alpaca", "mpnet768", _mpnet, 768, ()),
    *(
        _dataset(
            source,
            f"smollm2_{pooling}{layer}",
            partial(_decoder, source=source, pooling=pooling, layer=layer),
            576,
            ("embedders", "layers") if (pooling, layer) == READ else ("layers",),
            made=made_file(source),
        )
        for source in SOURCES
        for pooling in POOLINGS
        for layer in LAYERS
    ),
]
