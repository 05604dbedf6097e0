"""How long a text may be: what a network's table of positions has rows for."""

import numpy as np
import pytest
import tiny_models
import torch
import transformers

from lens_sklearn import LLMEmbedder
from lens_sklearn._blueprint import make_blueprint, n_embeddings, n_positions

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
WIDE = {**SMALL, "intermediate_size": 32}
BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
# family, its configuration, the most tokens that it reads
FAMILIES = [
    ("Roberta", {**WIDE, "max_position_embeddings": 34}, 31),
    ("Roberta", {**WIDE, "max_position_embeddings": 34, "pad_token_id": 1}, 32),
    ("XLMRoberta", {**WIDE, "max_position_embeddings": 20, "pad_token_id": 1}, 18),
    ("Camembert", {**WIDE, "max_position_embeddings": 20, "pad_token_id": 1}, 18),
    ("MPNet", {**WIDE, "max_position_embeddings": 20, "pad_token_id": 1}, 18),
    ("Bert", {**WIDE, "max_position_embeddings": 20}, 20),
    ("Electra", {**WIDE, "max_position_embeddings": 20, "embedding_size": 16}, 20),
    ("DistilBert", {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2,
                    "max_position_embeddings": 20}, 20),
    ("GPT2", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}, 20),
    ("OPT", {**SMALL, "ffn_dim": 32, "word_embed_proj_dim": 16,
             "max_position_embeddings": 20}, 20),
    ("Bart", {**BART, "max_position_embeddings": 20}, 20),
    ("Mpt", {"d_model": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 20}, 20),
]  # fmt: skip


def save(folder, family, options):
    vocabulary = tiny_models._vocabulary(["<s>", "</s>", "<pad>", "<unk>"])
    config = getattr(transformers, f"{family}Config")(
        **{"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1} | options,
        vocab_size=len(vocabulary),
    )
    tokenizer = tiny_models._tokenizer(
        vocabulary, "<s> $A </s>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", model_max_length=10**30,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        getattr(transformers, f"{family}Model")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family, options, expected", FAMILIES)
def test_the_longest_text_is_embedded(tmp_path, family, options, expected):
    model = save(tmp_path, family, options)
    embedder = LLMEmbedder(model, layer=-1, pooling="mean", max_length=10**6).fit()
    assert embedder.max_length_ == expected
    rows = [["the cat " * 40, "a"], ["cat " * (expected - 2), "cat " * (expected - 3)]]
    assert np.isfinite(embedder.transform(rows)).all()
    assert embedder.n_overlong_ == 1


def test_no_table_is_no_limit():
    for family in ("Llama", "T5", "Bloom"):
        config = getattr(transformers, f"{family}Config")()
        network = make_blueprint(transformers, config)
        assert n_positions(network) is None
        assert n_embeddings(network, config) == config.vocab_size
        assert all(tensor.is_meta for tensor in network.parameters())


def test_a_network_that_needs_numbers_goes_by_its_configuration():
    config = transformers.EsmConfig()  # has no vocabulary, so no network can be made
    assert make_blueprint(transformers, config) is None
    assert n_embeddings(None, transformers.BertConfig(vocab_size=7)) == 7
