"""AlpacaEval responses from their text, through ``LLMEmbedder``."""

from lens_sklearn import load_candidates

from .embedding import embed
from .splits import CandidateData


def load(data, store):
    """Read and embed ``alpaca_eval_dev.jsonl.gz``."""
    rows, gold = load_candidates(data / "alpaca_eval_dev.jsonl.gz")
    return CandidateData(embed(rows, store), gold)
