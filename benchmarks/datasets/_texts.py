"""The three sources of judgement as texts: response features, lengths, and data of embeddings."""

import gzip
import json
from typing import NamedTuple

import numpy as np

from ._splits import CandidateData, PairData


class Source(NamedTuple):
    """Where a judge's texts are, and what they are like.

    Attributes
    ----------
    file : str
        The .jsonl.gz file is called so, and files of embeddings begin so.
    gold : bool
        Whether rows are candidates with gold rewards; otherwise pairs.
    sizes : tuple of int
        N of learning curves.
    """

    file: str
    gold: bool
    sizes: tuple


SIZES = (50, 100, 200, 300, 500, 1000, 2000, 5000)
SOURCES = {
    "alpaca": Source("alpaca_eval_dev", True, SIZES),
    "hh": Source("hh_harmless_dev", False, (50, 100, 200, 300, 500, 850)),
    "wildbench": Source("wildbench_dev", True, SIZES),
}


def read_rows(source, data):
    """Read a source's rows, an empty response included.

    Parameters
    ----------
    source : str
        A key of ``SOURCES``.
    data : Path
        Folder with its .jsonl.gz file.

    Returns
    -------
    list of dict
        Candidate or preference rows.
    """
    path = data / f"{SOURCES[source].file}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def responses_of(rows):
    """Return the responses of each row, of a pair the chosen one first.

    Parameters
    ----------
    rows : list of dict
        From `read_rows`.

    Returns
    -------
    list of list of str
        As many in every row.
    """
    return [row.get("responses") or [row["chosen"], row["rejected"]] for row in rows]


def response_features(rows):
    """Count what can be counted in the responses of rows.

    Parameters
    ----------
    rows : list of dict
        From `read_rows`.

    Returns
    -------
    ndarray of float32, shape (n, N, k)
        Features, not standardised.
    """
    from lens_sklearn import ResponseFeatures

    return np.asarray(ResponseFeatures().fit_transform(rows), dtype=np.float32)


def judged(source, rows, embeddings, features=None):
    """Join a source's judgements with embeddings of its responses.

    Parameters
    ----------
    source : str
        A key of ``SOURCES``.
    rows : list of dict
        From `read_rows`.
    embeddings : ndarray, shape (n, N, d)
        Of their responses.
    features : ndarray, shape (n, N, k), default=None
        More response features, behind those that are counted.

    Returns
    -------
    CandidateData or PairData
        With response features and lengths.
    """
    lengths = np.array([[len(text) for text in texts] for texts in responses_of(rows)], float)
    counted = response_features(rows)
    if features is not None:
        counted = np.concatenate([counted, features.astype(np.float32)], axis=-1)
    embeddings, known = embeddings.astype(np.float32), {"features": counted, "lengths": lengths}
    if not SOURCES[source].gold:
        return PairData(embeddings, **known)
    return CandidateData(embeddings, np.array([row["gold"] for row in rows], float), **known)
