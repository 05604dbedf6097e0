"""AlpacaEval responses from their text, through ``LLMEmbedder``."""

from lens_sklearn import load_candidates

from ._dataset import Dataset
from ._embedding import embed
from ._splits import CandidateData

MPNET = "all-mpnet-base-v2"


def load(data, store):
    """Read and embed ``alpaca_eval_dev.jsonl.gz``."""
    return _embedded(data, store)


def load_mpnet(data, store):
    """Embed it with another language model, of twelve layers and d = 768: the last layer alone.

    The model is taken from the folder ``all-mpnet-base-v2`` in `data` if it is there, else from the
    hub. bfloat16 takes a third of the time on a CPU.
    """
    folder = data / MPNET
    name = str(folder) if folder.is_dir() else f"sentence-transformers/{MPNET}"
    return _embedded(data, store, name, layer=-1, dtype="bfloat16")


def _embedded(data, store, *model, **options):
    rows, gold = load_candidates(data / "alpaca_eval_dev.jsonl.gz")
    return CandidateData(embed(rows, store, *model, **options), gold)


DATASETS = [
    Dataset("alpaca_text", load, n_features=2688, suites=("text",), sizes=(100, 300)),
    Dataset(
        "alpaca_mpnet",
        load_mpnet,
        n_features=768,
        suites=("mpnet",),
        sizes=(100, 200, 300, 500, 1000),
    ),
]
