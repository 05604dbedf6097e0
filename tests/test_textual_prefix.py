"""What texts share is computed once, and the logits are those of whole texts."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_models import save_causal, save_chatml, sentence

from lens_sklearn.textual import ImplicitPreferenceLabeller, SelfRewardingLabeller, _shared_prefix
from lens_sklearn.textual._networks import headed_model, last_logits
from lens_sklearn.textual._shared_prefix import SharedPrefix, has_plain_cache

FAMILIES = ["Llama", "Qwen2", "GPT2"]
RNG = np.random.RandomState(0)
PROMPTS = [sentence(RNG, 12) for _ in range(4)]
RESPONSES = [[sentence(RNG, n) for n in RNG.randint(1, 9, size=3)] for _ in range(4)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: save_chatml(tmp_path_factory.mktemp(family), family=family)
            for family in FAMILIES}  # fmt: skip


def open_model(folder):
    return headed_model(SelfRewardingLabeller(folder, dtype="float32", device="cpu"), "causal")


def texts(n_shared, groups, rng):
    """Return token ids that begin alike: all of them, and further those of a group."""
    start, ids, group = rng.integers(3, 250, size=n_shared), [], []
    for number, (n_own, sizes) in enumerate(groups):
        own = rng.integers(3, 250, size=n_own)
        for size in sizes:
            ids.append(np.concatenate([start, own, rng.integers(3, 250, size=size)]))
            group.append(number)
    return ids, np.array(group)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("n_shared", "groups"),
    [
        (30, [(0, [3, 9, 1]), (0, [5])]),
        (20, [(15, [3, 9, 1]), (0, [5]), (25, [2, 2])]),
        (0, [(25, [3, 1]), (9, [4]), (18, [7, 2, 5])]),
    ],
)
def test_logits_are_those_of_whole_texts(folders, family, n_shared, groups):
    ids, group = texts(n_shared, groups, np.random.default_rng(0))
    n_last = np.array([1 + i % 3 for i in range(len(ids))])
    with open_model(folders[family]) as model:
        shared, read = SharedPrefix(model, ids, n_last, group), []
        network = model.network
        hook = network.register_forward_pre_hook(
            lambda *a: read.append(a[2]["input_ids"].numel()), with_kwargs=True
        )
        batches = [np.arange(len(ids)), np.array([len(ids) - 1, 0]), np.array([1])]
        for batch in batches:  # the state of what all share is not changed by a batch
            logits = shared.logits(batch)
            longest = int(n_last[batch].max())
            assert logits.shape[:2] == (len(batch), longest)
            for row, i in zip(logits, batch, strict=True):
                whole = last_logits(model, [ids[i]], int(n_last[i]))[0]
                torch.testing.assert_close(row[-n_last[i] :], whole, atol=1e-4, rtol=1e-4)
        hook.remove()
    n_shared = min(n_shared, *(len(own) - n for own, n in zip(ids, n_last, strict=True)))
    assert shared.n_shared == n_shared
    assert sum(read[: 1 + (n_shared > 0)]) < sum(map(len, ids))  # what the first batch read


def test_only_what_is_not_asked_for_is_shared(folders):
    same = np.arange(3, 33)
    with open_model(folders["Llama"]) as model:
        shared = SharedPrefix(model, [same, same], np.array([1, 6]), np.zeros(2, dtype=int))
        assert shared.n_shared == 24
        both = shared.logits(np.array([0, 1]))
        torch.testing.assert_close(both[0], both[1])


@pytest.mark.parametrize("mode", ["pointwise", "pairwise", "likelihood"])
@pytest.mark.parametrize("family", FAMILIES)
def test_judges_say_the_same_and_read_less(folders, family, mode, monkeypatch):
    judge = SelfRewardingLabeller if mode != "likelihood" else ImplicitPreferenceLabeller
    judge = judge(folders[family], mode=mode, dtype="float32", batch_tokens=9000)
    with open_model(folders[family]) as model:
        read = []
        hook = model.network.register_forward_pre_hook(
            lambda *a: read.append(a[2]["input_ids"].numel()), with_kwargs=True
        )
        scores = judge.score(PROMPTS, RESPONSES)
        n_read = sum(read)
        read.clear()
        monkeypatch.setattr(_shared_prefix, "WORTHWHILE", 2)
        whole = clone(judge).score(PROMPTS, RESPONSES)
        hook.remove()
    np.testing.assert_allclose(scores, whole, atol=1e-4)
    assert np.ptp(scores) > 1e-3
    assert n_read < 0.85 * sum(read)


def test_networks_that_remember_otherwise_read_whole_texts(tmp_path):
    folder = save_chatml(tmp_path, family="Mistral", sliding_window=16)
    ids, group = texts(30, [(0, [3, 9, 1])], np.random.default_rng(0))
    with open_model(folder) as model:
        assert not has_plain_cache(model)
        shared = SharedPrefix(model, ids, np.ones(3, dtype=int), group)
        torch.testing.assert_close(shared.logits(np.arange(3)), last_logits(model, ids))
        assert shared.lengths.tolist() == [33, 39, 31]


def test_texts_that_share_little_are_read_whole(folders, monkeypatch):
    monkeypatch.setattr(_shared_prefix, "has_plain_cache", lambda model: 1 / 0)
    ids, group = texts(1, [(0, [30, 20])], np.random.default_rng(0))
    with open_model(folders["Llama"]) as model:
        assert SharedPrefix(model, ids, np.ones(2, dtype=int), group).lengths.tolist() == [31, 21]


def test_a_batch_that_memory_does_not_hold_is_halved(tmp_path, monkeypatch):
    judge = ImplicitPreferenceLabeller(save_causal(tmp_path), batch_tokens=9000)
    expected, logits, sizes = judge.score(PROMPTS, RESPONSES), SharedPrefix.logits, []

    def small_memory(self, batch):
        if len(batch) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        sizes.append(len(batch))
        return logits(self, batch)

    monkeypatch.setattr(SharedPrefix, "logits", small_memory)
    with pytest.warns(RuntimeWarning, match="out of memory with 12 texts at a time"):
        np.testing.assert_allclose(judge.score(PROMPTS, RESPONSES), expected, atol=3e-6)
    assert sum(sizes) == 12
