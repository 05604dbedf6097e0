"""Responses as latent semantic analysis has them: no language model, and no label.

Counts of terms, weighted by their rarity, and their 384 leading components. Terms are words and
pairs of words, or two to four characters of a word. A response is embedded without its prompt.
"""

import gzip
import json
from functools import partial

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from lens_sklearn import load_candidates

from ._dataset import Dataset
from ._splits import CandidateData, PairData

N_FEATURES, N_TERMS = 384, 20_000
#: How terms are counted. Without a norm a long response is far out.
TERMS = {
    "words": {"ngram_range": (1, 2)},
    "characters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "counts": {"ngram_range": (1, 2), "norm": None},
}


def _alpaca(data, store=None, *, terms):
    """Read ``alpaca_eval_dev.jsonl.gz``."""
    rows, gold = load_candidates(data / "alpaca_eval_dev.jsonl.gz")
    texts = [text for row in rows for text in row["responses"]]
    return CandidateData(embedded(texts, terms).reshape(*gold.shape, -1), gold)


def _hh(data, store=None, *, terms):
    """Read ``hh_harmless_dev.jsonl.gz``; an empty response is at the origin."""
    with gzip.open(data / "hh_harmless_dev.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts = [row[column] for row in rows for column in ("chosen", "rejected")]
    return PairData(embedded(texts, terms).reshape(len(rows), 2, -1))


def embedded(texts, terms="words"):
    """Embed texts by the terms that occur in them.

    Parameters
    ----------
    texts : list of str
        All that are to be embedded.
    terms : str, default="words"
        A key of ``TERMS``.

    Returns
    -------
    ndarray of float32, shape (n, N_FEATURES)
        Embeddings.
    """
    counts = TfidfVectorizer(sublinear_tf=True, min_df=3, max_features=N_TERMS, **TERMS[terms])
    analysis = make_pipeline(counts, TruncatedSVD(N_FEATURES, random_state=0))
    return analysis.fit_transform(texts).astype(np.float32)


DATASETS = [
    Dataset(
        f"{name}_{terms}",
        partial(load, terms=terms),
        n_features=N_FEATURES,
        gold=name == "alpaca",
        suites=("lsa",),
        sizes=sizes,
    )
    for name, load, sizes in (("alpaca", _alpaca, (100, 300)), ("hh", _hh, (300,)))
    for terms in TERMS
]
