"""Which states a model is read at when nothing is said."""

import json

import joblib
import numpy as np
import pytest
import tiny_models
from sklearn.base import clone
from transformers import AutoConfig

from lens_sklearn import LLMEmbedder, export
from lens_sklearn._reading import is_decoder, read_layers, read_poolings

ROWS = [{"prompt": "why the cat", "chosen": "because the dog ran", "rejected": "no"}]


@pytest.mark.parametrize(
    "kind, options, expected",
    [
        ("llama", {}, True),
        ("qwen2", {}, True),
        ("gpt2", {}, True),
        ("gemma3_text", {}, True),
        ("gemma3_text", {"use_bidirectional_attention": True}, False),  # EmbeddingGemma
        ("llama", {"is_causal": False}, False),
        ("bert", {}, False),
        ("roberta", {}, False),
        ("bert", {"is_decoder": True}, True),
        ("bert-generation", {}, False),
        ("xlnet", {}, False),
        ("mpnet", {}, False),
        ("modernbert", {}, False),
        ("t5", {}, False),
        ("bart", {}, False),
    ],
)
def test_decoders_are_told_from_encoders(kind, options, expected):
    config = AutoConfig.for_model(kind)
    for name, value in options.items():
        setattr(config, name, value)
    assert is_decoder(config) is expected


@pytest.mark.parametrize("depth, layer", [(30, 18), (24, 14), (12, 7), (2, 1), (1, 1)])
def test_a_decoder_is_read_at_three_fifths_of_its_depth(depth, layer):
    assert read_layers("auto", depth + 1, True) == (layer,)
    assert read_layers("all", depth + 1, True) == tuple(range(depth + 1))


def test_an_encoder_is_read_at_all_layers():
    assert read_layers("auto", 7, False) == tuple(range(7))
    assert read_poolings("auto", False) == ("mean",)
    assert read_poolings("auto", True) == ("last", "response_mean")
    assert read_poolings("max", True) == ("max",) == read_poolings(["max"], False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        "decoder": tiny_models.save_decoder(tmp_path_factory.mktemp("decoder"), layers=5),
        "encoder": tiny_models.save_encoder(tmp_path_factory.mktemp("encoder")),
    }


@pytest.mark.parametrize(
    "kind, layers, poolings",
    [("decoder", (3,), ("last", "response_mean")), ("encoder", (0, 1, 2), ("mean",))],
)
def test_it_is_the_default_and_can_be_said(folders, kind, layers, poolings):
    embedder = LLMEmbedder(folders[kind], dtype="float32")
    vectors = embedder.fit_transform(ROWS)
    assert (embedder.layers_, embedder.poolings_) == (layers, poolings)
    assert embedder.n_features_out_ == len(layers) * len(poolings) * 16 == vectors.shape[-1]
    said = clone(embedder).set_params(layer=list(layers), pooling=list(poolings))
    np.testing.assert_array_equal(said.fit_transform(ROWS), vectors)


def test_one_may_be_said_without_the_other(folders):
    embedder = LLMEmbedder(folders["decoder"], pooling="max").fit()
    assert (embedder.layers_, embedder.poolings_) == ((3,), ("max",))
    embedder = LLMEmbedder(folders["decoder"], layer=-1).fit()
    assert (embedder.layers_, embedder.poolings_) == ((5,), ("last", "response_mean"))


def test_what_was_read_is_kept_in_files(folders, tmp_path):
    embedder = LLMEmbedder(folders["decoder"], device="cpu")
    expected = embedder.fit_transform(ROWS)
    joblib.dump(embedder, tmp_path / "embedder.joblib")
    export.save(embedder, tmp_path / "folder")
    for again in (joblib.load(tmp_path / "embedder.joblib"), export.load(tmp_path / "folder")):
        again.device = "cpu"
        assert (again.layers_, again.poolings_) == ((3,), ("last", "response_mean"))
        assert (again.layer, again.pooling) == ("auto", "auto")
        np.testing.assert_array_equal(again.transform(ROWS), expected)
    state = json.loads(json.dumps(embedder.get_fitted_state()))
    assert state["poolings_"] == ["last", "response_mean"]
