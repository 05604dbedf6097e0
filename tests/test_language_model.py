"""Several GPUs, where batches take turns, and one without room. The devices are stubs."""

import joblib
import numpy as np
import pytest
import torch
from tiny_models import save_encoder

from lens_sklearn import LLMEmbedder, _language_model
from lens_sklearn._language_model import (
    LanguageModel,
    embed_batch,
    get_language_model,
    resolve_model,
)


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs whose models compute on the CPU; returns the devices asked for."""
    asked = []

    def on_cpu(spec):
        asked.append(spec.device)
        return get_language_model(spec._replace(device="cpu"))

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(_language_model, "get_language_model", on_cpu)
    return asked


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    """A tiny encoder."""
    return resolve_model(save_encoder(tmp_path_factory.mktemp("encoder")), device="cpu")


def test_batches_take_turns_on_all_gpus(two_gpus, spec):
    ids, layers = [np.array([5, 6, 7])], (-1 % get_language_model(spec).n_hidden_states,)
    for number in range(4):
        embed_batch(number, spec._replace(device="cuda"), ids, layers, ("mean",), take_turns=True)
    assert two_gpus == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    two_gpus.clear()
    embed_batch(1, spec._replace(device="cuda"), ids, layers, ("mean",))
    embed_batch(1, spec._replace(device="cuda:1"), ids, layers, ("mean",), take_turns=True)
    embed_batch(1, spec, ids, layers, ("mean",), take_turns=True)
    assert two_gpus == ["cuda", "cuda:1", "cpu"], "one that is named, or a single job, stays"


def test_jobs_on_gpus_are_threads_and_give_the_same_numbers(two_gpus, spec, monkeypatch):
    texts = [["one text", "another one that is longer"], ["a third", "and the fourth of them all"]]
    plain = LLMEmbedder(spec.name, device="cpu", batch_tokens=16).fit(texts)
    expected, backends = plain.transform(texts), []
    parallel = joblib.Parallel

    def seen(*args, **kwargs):
        made = parallel(*args, **kwargs)
        backends.append(type(made._backend).__name__)
        return made

    monkeypatch.setattr(joblib, "Parallel", seen)
    monkeypatch.setattr(
        "lens_sklearn._embedder.resolve_model", lambda *args: spec._replace(device="cuda")
    )
    embedder = LLMEmbedder(spec.name, batch_tokens=16, n_jobs=2).fit(texts)
    two_gpus.clear()
    np.testing.assert_allclose(embedder.transform(texts), expected, atol=1e-5)
    assert backends == ["ThreadingBackend"] and set(two_gpus) == {"cuda:0", "cuda:1"}


def test_the_cache_holds_a_model_for_every_gpu(spec, monkeypatch):
    monkeypatch.setattr(_language_model, "_CACHE", type(_language_model._CACHE)())
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    models = [get_language_model(spec._replace(device=f"cpu:{i}")) for i in range(5)]
    assert len(_language_model._CACHE) == 4
    assert get_language_model(spec._replace(device="cpu:1")) is models[1]


def test_a_batch_without_room_is_halved_until_it_fits(spec, monkeypatch):
    language_model = get_language_model(spec)
    ids = [np.arange(3, 3 + n, dtype=np.int32) for n in (2, 3, 4, 5, 6)]
    expected = language_model.embed(ids, [1, 2], ("last", "mean"))
    whole, sizes = LanguageModel._embed, []

    def small(self, ids, *args):
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return whole(self, ids, *args)

    monkeypatch.setattr(LanguageModel, "_embed", small)
    with pytest.warns(UserWarning, match="no room for . texts of up to 6 tokens.*batch_tokens"):
        found = language_model.embed(ids, [1, 2], ("last", "mean"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sizes == [5, 2, 3, 1, 2]


def test_a_text_without_room_is_an_error(spec, monkeypatch):
    def full(self, *args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(LanguageModel, "_embed", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        get_language_model(spec).embed([np.array([3, 4])], [0], ("last",))
