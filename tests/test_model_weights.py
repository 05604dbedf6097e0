"""Weights that are not the configuration's are refused by every loader."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from safetensors.torch import load_file, save_file

from lens_sklearn import LLMEmbedder
from lens_sklearn._language_model import LanguageModel, resolve_model
from lens_sklearn._model_weights import load_weights
from lens_sklearn.textual import RewardModelLabeller
from lens_sklearn.textual._extras import ignore_deprecations

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    make = {
        "decoder": tiny_models.save_decoder,
        "causal": tiny_models.save_causal,
        "reward": tiny_models.save_reward,
        "encoder": tiny_models.save_encoder,
    }
    return {kind: make[kind](tmp_path_factory.mktemp(kind)) for kind in make}


def changed(folder, tmp_path, change, **config):
    """Copy a model; `change` turns its weights by name into others."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    path = copy / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})
    if config:
        settings = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(settings | config))
    return str(copy)


def prefixed(prefix):
    return lambda weights: {prefix + key: value for key, value in weights.items()}


def without(part):
    return lambda weights: {key: value for key, value in weights.items() if part not in key}


def with_layer(number):
    def add(weights):
        more = {k.replace("layers.1.", f"layers.{number}."): v.clone() for k, v in weights.items()}
        return weights | more

    return add


def lora(weights):
    key = next(key for key in weights if key.endswith("q_proj.weight"))
    name = key.removesuffix("weight") + "lora_A.default.weight"
    return weights | {name: torch.ones(2, 16)}


def one_nan(weights):
    weights["norm.weight"][3] = torch.nan
    return weights


WRONG = {
    "_orig_mod": (prefixed("_orig_mod."), "lack 20 of the 20 .* compiled module"),
    "module": (prefixed("module."), r"lack 20 .* begin with 'module\.' .* parallel wrapper"),
    "peft": (prefixed("base_model.model."), "lack 20 .*merge_and_unload"),
    "other": (prefixed("network.encoder."), "begin with 'network.encoder.' in addition"),
    "layer": (without("layers.1."), r"lack 9 of the 20 .*of the layers 1, counted from 0"),
    "tensor": (without("0.mlp.up_proj"), r"lack 1 of .*\('layers.0.mlp.up_proj.weight'\)"),
    "embedding": (without("embed_tokens"), r"lack 1 of .*\('embed_tokens.weight'\)"),
    "more layers": (with_layer(2), r"9 of its weights have no place .*'layers.2.in.*fewer layers"),
    "adapter": (lora, "1 of its weights have no place .* unmerged"),
    "nan": (one_nan, r"'norm.weight' hold values that are not finite; .* diverged"),
    "shape": (
        lambda weights: weights | {"embed_tokens.weight": torch.ones(7, 16)},
        r"1 of its weights have other shapes .*'embed_tokens.weight' is \(7, 16\) .* \(40, 16\)",
    ),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_an_embedder_refuses_them(folders, tmp_path, change, message):
    wrong = changed(folders["decoder"], tmp_path, change)
    store = tmp_path / "store"
    embedder = LLMEmbedder(wrong, store=store, dtype="float32").fit()
    with pytest.raises(ValueError, match="model_name=.*" + message):
        embedder.transform(["the cat"])


@pytest.mark.parametrize(
    "prefix, words",
    [("_orig_mod.", "compiled"), ("module.", "parallel"), ("_fsdp_wrapped_module.", "sharded")],
)
@pytest.mark.parametrize("kind", ["causal", "reward"])
def test_an_embedder_tells_the_wrapper_of_a_model_with_a_head(
    folders, tmp_path, kind, prefix, words
):
    wrong = changed(folders[kind], tmp_path, prefixed(prefix))
    with pytest.raises(ValueError, match=f"lack 20 .* begin with '{prefix}model.' .*{words}"):
        LLMEmbedder(wrong, dtype="float32").fit().transform(["the cat"])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "base_model.model."])
@pytest.mark.parametrize("kind", ["causal", "reward"])
def test_heads_are_checked_with_their_bodies(folders, tmp_path, kind, prefix):
    wrong = changed(folders[kind], tmp_path, prefixed(prefix))
    loader = {
        "causal": transformers.AutoModelForCausalLM,
        "reward": transformers.AutoModelForSequenceClassification,
    }[kind]
    for draws_head in (False, True):  # a head alone may be drawn for training, never a body
        lacks = 20 if draws_head else 21
        with pytest.raises(ValueError, match=f"lack {lacks} of the 21 .* begin with '{prefix}'"):
            load_weights(loader, wrong, head=kind, draws_head=draws_head)


def test_what_is_not_read_may_be_missing_or_in_addition(folders, tmp_path):
    plain = load_weights(transformers.AutoModel, folders["decoder"])
    prefix = changed(folders["decoder"], tmp_path, prefixed("model."))  # a base of a causal model
    again = load_weights(transformers.AutoModel, prefix)
    for key, tensor in plain.named_parameters():
        assert torch.equal(tensor, again.get_parameter(key))
    for kind in ("causal", "reward"):
        load_weights(transformers.AutoModel, folders[kind])
    shutil.rmtree(prefix)
    no_pooler = changed(folders["encoder"], tmp_path, without("pooler"))
    assert LLMEmbedder(no_pooler).fit_transform(["a cat"]).shape == (1, 48)


def test_a_pooler_before_a_head_may_not_be_missing(folders, tmp_path):
    config = transformers.AutoConfig.from_pretrained(folders["encoder"], num_labels=1)
    model = transformers.BertForSequenceClassification(config)
    model.save_pretrained(tmp_path / "whole")
    wrong = changed(tmp_path / "whole", tmp_path, without("pooler"))
    loader = transformers.AutoModelForSequenceClassification
    with pytest.raises(ValueError, match="lack 2 of .*'bert.pooler.dense.bias'"):
        load_weights(loader, wrong, head="reward")
    load_weights(loader, wrong, head="reward", draws_head=True)


def test_a_head_may_be_missing_only_where_it_is_trained(folders):
    loader = transformers.AutoModelForSequenceClassification
    with pytest.raises(ValueError, match="has no reward head: .*'score.weight'"):
        load_weights(loader, folders["decoder"], head="reward", num_labels=1)
    load_weights(loader, folders["decoder"], head="reward", draws_head=True, num_labels=1)


def test_the_encoder_alone_of_an_encoder_decoder_must_be_there(tmp_path):
    config = transformers.T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2
    )
    transformers.T5EncoderModel(config).save_pretrained(tmp_path / "encoder")
    transformers.T5Model(config).save_pretrained(tmp_path / "whole")
    for kind in ("encoder", "whole"):
        network = load_weights(transformers.AutoModel, str(tmp_path / kind))
        saved = load_file(tmp_path / kind / "model.safetensors")
        key = "encoder.block.1.layer.0.SelfAttention.q.weight"
        assert torch.equal(network.get_parameter(key.removeprefix("encoder.")), saved[key])
    wrong = changed(tmp_path / "encoder", tmp_path, without("encoder.block.1."))
    with pytest.raises(ValueError, match="lack .*encoder.block.1"):
        load_weights(transformers.AutoModel, wrong)


def test_a_file_that_was_cut_off_is_a_value_error(folders, tmp_path):
    wrong = changed(folders["decoder"], tmp_path, lambda weights: weights)
    path = Path(wrong) / "model.safetensors"
    for size in (5, 100, path.stat().st_size // 2):
        path.write_bytes((Path(folders["decoder"]) / "model.safetensors").read_bytes()[:size])
        with pytest.raises(ValueError, match="weights cannot be read.*damaged, cut off or"):
            load_weights(transformers.AutoModel, wrong)
    path.unlink()
    for content in (
        b"version https://git-lfs",
        pickle.dumps(os.system, protocol=2),
    ):  # no code is run
        path.with_name("pytorch_model.bin").write_bytes(content)
        with pytest.raises(ValueError, match="other things than tensors, which are never run"):
            load_weights(transformers.AutoModel, wrong)


def test_float16_that_overflows_says_what_to_do(folders, tmp_path):
    big = changed(folders["decoder"], tmp_path, lambda w: w | {"norm.weight": torch.ones(16) * 1e6})
    load_weights(transformers.AutoModel, big)
    with pytest.raises(ValueError, match="'norm.weight' .*float16 ends at 65504: use dtype='bfl"):
        load_weights(transformers.AutoModel, big, dtype=torch.float16)


# -------------------------------------------------------------------------------- adapters
def save_adapter(folder, base, **options):
    network = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    options = {"r": 4, "target_modules": ["q_proj"], "init_lora_weights": False} | options
    with ignore_deprecations():
        whole = peft.get_peft_model(network, peft.LoraConfig(**options))
    whole.save_pretrained(folder)
    network.config.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return whole.eval(), str(folder)


def score(folder):
    return RewardModelLabeller(folder, device="cpu", dtype="float32").score(["why"], [["a", "no"]])


def test_an_adapter_needs_a_head_of_its_own_or_of_its_base(folders, tmp_path):
    _, bare = save_adapter(tmp_path / "bare", folders["decoder"])
    with pytest.raises(ValueError, match="neither the adapter .* has a reward head .*'score.weig"):
        score(bare)
    with_head = save_adapter(tmp_path / "head", folders["decoder"], modules_to_save=["score"])
    of_base = save_adapter(tmp_path / "base", folders["reward"])
    for whole, folder in (with_head, of_base):
        ids = transformers.AutoTokenizer.from_pretrained(folder)(
            "<s> user why </s> assistant no </s>", add_special_tokens=False, return_tensors="pt"
        )
        assert score(folder)[0, 1] == pytest.approx(whole(**ids).logits.item(), abs=1e-5)


def test_an_adapter_of_another_model_is_refused(folders, tmp_path):
    deep = tiny_models.save_decoder(tmp_path / "deep", layers=3)
    _, folder = save_adapter(tmp_path / "adapter", deep, modules_to_save=["score"])
    path = Path(folder) / "adapter_config.json"
    named = json.loads(path.read_text()) | {"base_model_name_or_path": folders["reward"]}
    path.write_text(json.dumps(named))
    shutil.copy(Path(folders["reward"]) / "config.json", folder)
    with pytest.raises(ValueError, match="2 of the adapter's weights do not fit"):
        score(folder)


def test_an_adapter_that_lacks_weights_is_refused(folders, tmp_path):
    _, folder = save_adapter(tmp_path / "adapter", folders["reward"])
    path = Path(folder) / "adapter_model.safetensors"
    save_file(without("layers.1.self_attn.q_proj.lora_B")(load_file(path)), path)
    with pytest.raises(ValueError, match="1 of the adapter's weights do not fit"):
        score(folder)


def test_an_adapter_of_virtual_tokens_is_refused_by_name(folders, tmp_path):
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folders["reward"])
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="SEQ_CLS")
    with ignore_deprecations():
        whole = peft.get_peft_model(network, config)
    whole.save_pretrained(tmp_path)
    network.config.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folders["reward"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="virtual tokens .peft_type PROMPT_TUNING.* not read"):
        score(str(tmp_path))


def rename(weights):
    return {key.removeprefix("base_model.model."): value for key, value in weights.items()}


@pytest.mark.parametrize(
    "damage, words",
    {
        "empty": (lambda path: path.write_bytes(b""), "header too small"),
        "pointer": (lambda path: path.write_text("version https://git-lfs"), "header too large"),
        "rank": ({"r": 2}, "size mismatch"),
        "kind": ({"peft_type": "NEW"}, "'NEW'"),
        "targets": ({"target_modules": ["none"]}, "No modules"),
        "names": (lambda path: save_file(rename(load_file(path)), path), "KeyError"),
    }.values(),
    ids=["empty", "pointer", "rank", "kind", "targets", "names"],
)
def test_a_damaged_adapter_is_named(folders, tmp_path, damage, words):
    _, folder = save_adapter(tmp_path, folders["decoder"], modules_to_save=["score"])
    if isinstance(damage, dict):
        path = Path(folder) / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    else:
        damage(Path(folder) / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=f"model_name=.*its adapter cannot be put on .*{words}"):
        score(folder)


def test_an_adapter_never_runs_what_its_file_says(folders, tmp_path):
    _, folder = save_adapter(tmp_path, folders["reward"])
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save({"x": peft.LoraConfig()}, tmp_path / "adapter_model.bin")
    with pytest.raises(ValueError, match="other things than tensors, which are never run") as error:
        score(folder)
    assert "weights_only" not in str(error.value)


def test_an_adapter_whose_model_is_not_there_names_it(folders, tmp_path):
    _, folder = save_adapter(tmp_path, folders["reward"])
    path = tmp_path / "adapter_config.json"
    named = json.loads(path.read_text()) | {"base_model_name_or_path": "/nowhere/base"}
    path.write_text(json.dumps(named))
    with pytest.raises(OSError, match="'/nowhere/base', which adapter_config.json names"):
        score(folder)


def test_an_embedder_says_how_an_adapter_becomes_a_model(folders, tmp_path):
    _, folder = save_adapter(tmp_path / "adapter", folders["reward"])
    with pytest.raises(ValueError, match="holds an adapter of .*merge_and_unload"):
        LLMEmbedder(folder).fit().transform(["a cat"])


# ------------------------------------------------------------------------ what they compute
@pytest.mark.parametrize("head", [False, True])
def test_a_state_that_is_not_finite_is_an_error_and_never_stored(
    folders, tmp_path, monkeypatch, head
):
    from lens_sklearn._array_store import ArrayStore

    embed = LanguageModel.embed

    def overflows(self, ids, *args, **options):
        vectors = embed(self, ids, *args, **options)
        vectors[[len(own) == 3 for own in ids], -1] = np.inf
        return vectors

    monkeypatch.setattr(LanguageModel, "embed", overflows)
    options = {"store": tmp_path / "store", "out": tmp_path / "out", "dtype": "float32"}
    embedder = LLMEmbedder(folders["causal"], log_likelihood=head, batch_tokens=4, **options)
    message = re.escape("row 0[1]: the model ") + ".* makes 1 of the .* NaN or infinite"
    with pytest.raises(ValueError, match=message):
        embedder.fit_transform([["a big red cat", "a cat"]])
    assert len(ArrayStore(tmp_path / "store")) == 1  # the longer text, which was first
    assert not list((tmp_path / "out").iterdir())
    monkeypatch.undo()
    found = embedder.fit_transform([["a big red cat", "a cat"]])
    assert np.isfinite(found).all()


def test_what_an_old_store_holds_not_finite_is_computed_again(folders, tmp_path, monkeypatch):
    from lens_sklearn import _embedder

    options = {"store": tmp_path / "store", "dtype": "float32"}
    right = LLMEmbedder(folders["decoder"], **options).fit_transform(["a cat", "red"])
    get_many = _embedder.ArrayStore.get_many

    def spoilt(self, keys, dim):
        vectors, found, cut = get_many(self, keys, dim)
        vectors[0, 0] = np.nan
        return vectors, found, cut

    monkeypatch.setattr(_embedder.ArrayStore, "get_many", spoilt)
    again = LLMEmbedder(folders["decoder"], **options).fit_transform(["a cat", "red"])
    np.testing.assert_allclose(again, right, rtol=1e-5, atol=1e-5)


def test_the_blueprint_takes_no_weights(folders):
    model = LanguageModel(resolve_model(folders["decoder"]))
    assert model.n_tokens == 40 and model._network is None
