"""How long networks stay loaded, and what stays in front of a text that is cut."""

import os
import pickle
import threading
import weakref

import numpy as np
import pytest
from sklearn.base import clone
from tiny_models import save_causal, save_chatml, save_reward

from lens_sklearn._language_model import LanguageModel, resolve_model
from lens_sklearn.textual import (
    ImplicitPreferenceLabeller,
    RewardModelLabeller,
    SelfRewardingLabeller,
    _networks,
    keep_networks,
    release_networks,
)

TEXTS = (["why"], [["the cat", "a dog"]])


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    return save_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture
def loaded(monkeypatch):
    """The networks that are loaded, as weak references; none stays from one test to another."""
    loaded, load = [], _networks.HeadedModel._load

    def watched(self, transformers):
        network = load(self, transformers)
        loaded.append(weakref.ref(network))
        return network

    monkeypatch.setattr(_networks.HeadedModel, "_load", watched)
    release_networks()
    yield loaded
    release_networks()


def alive(loaded):
    return [network() is not None for network in loaded]


def test_the_network_used_last_stays_until_another_is_loaded(causal, reward, loaded):
    judge, labeller = ImplicitPreferenceLabeller(causal), RewardModelLabeller(reward)
    first = judge.score(*TEXTS)
    np.testing.assert_array_equal(judge.score(*TEXTS), first)
    # another labeller of the same network and head needs no other
    SelfRewardingLabeller(causal, mode="pairwise").score(*TEXTS)
    assert alive(loaded) == [True]
    labeller.score(*TEXTS)
    assert alive(loaded) == [False, True]
    judge.score(*TEXTS)
    assert alive(loaded) == [False, False, True]
    assert release_networks() == 1 and release_networks() == 0
    assert alive(loaded) == [False] * 3


def test_one_is_released_before_the_next_is_read(causal, reward, loaded, monkeypatch):
    ImplicitPreferenceLabeller(causal).score(*TEXTS)
    load, before = _networks.HeadedModel._load, []

    def watched(self, transformers):
        before.append(alive(loaded))
        return load(self, transformers)

    monkeypatch.setattr(_networks.HeadedModel, "_load", watched)
    RewardModelLabeller(reward).score(*TEXTS)
    assert before == [[False]]


def test_a_block_keeps_several_until_it_ends(causal, reward, loaded):
    judge, labeller = ImplicitPreferenceLabeller(causal), RewardModelLabeller(reward)
    with keep_networks():
        with keep_networks():
            for _ in range(2):
                judge.score(*TEXTS)
                labeller.score(*TEXTS)
        assert alive(loaded) == [True, True]
    assert alive(loaded) == [False, False]


def test_a_changed_folder_is_loaded_anew(tmp_path, loaded):
    folder = save_reward(tmp_path, seed=0)
    labeller = RewardModelLabeller(folder)
    first = labeller.score(*TEXTS)
    save_reward(tmp_path, seed=1)
    assert (labeller.score(*TEXTS) != first).all() and alive(loaded) == [False, True]


def test_training_begins_with_free_memory(causal, reward, loaded):
    ImplicitPreferenceLabeller(causal).score(*TEXTS)
    _networks.headed_model(RewardModelLabeller(reward), "reward").load_for_training()
    assert alive(loaded) == [False]


def test_a_network_in_use_is_not_taken_away(causal, reward, loaded):
    labeller = RewardModelLabeller(reward)
    expected = labeller.score(*TEXTS)
    release_networks()
    with _networks.headed_model(ImplicitPreferenceLabeller(causal), "causal") as model:
        network = model.network
        np.testing.assert_array_equal(labeller.score(*TEXTS), expected)
        assert model.network is network
    del network, model
    assert alive(loaded) == [False, True, False]  # the one asked last stays, at the end of its use


def test_threads_share_one_network(causal, loaded):
    judge = ImplicitPreferenceLabeller(causal)
    expected = judge.score(*TEXTS)
    release_networks()
    results, start = [], threading.Barrier(4)

    def work():
        start.wait()
        results.append(clone(judge).score(*TEXTS))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and len(loaded) == 2
    for scores in results:
        np.testing.assert_allclose(scores, expected, atol=3e-6)


def test_an_error_leaves_nothing_in_use(causal, reward, loaded, monkeypatch):
    judge = ImplicitPreferenceLabeller(causal)
    with monkeypatch.context() as patch:
        patch.setattr("lens_sklearn.textual._labelling.check_outputs", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            judge.score(*TEXTS)
    RewardModelLabeller(reward).score(*TEXTS)
    assert alive(loaded) == [False, True]


def test_pickles_and_clones_hold_no_network(causal):
    judge = ImplicitPreferenceLabeller(causal)
    judge.score(*TEXTS)
    assert len(pickle.dumps(judge)) < 1000
    assert vars(clone(judge)) == vars(ImplicitPreferenceLabeller(causal))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a process")
def test_a_fork_while_a_network_is_in_use_can_score(causal, loaded):
    judge = ImplicitPreferenceLabeller(causal)
    with _networks.headed_model(judge, "causal") as model:
        assert model.network is not None
        child = os.fork()
        if not child:  # pragma: no cover - another process
            os._exit(0 if release_networks() == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0


# ------------------------------------------------------------------------------ the front token
def test_a_token_that_begins_turns_does_not_stay_in_front(tmp_path, causal):
    chatml, plain = (
        LanguageModel(resolve_model(folder, device="cpu"))
        for folder in (save_chatml(tmp_path), causal)
    )
    ids = [np.array([1, 5, 6, 1, 8, 9])]
    assert _networks.truncate_left(chatml, ids, 3)[0][0].tolist() == [1, 8, 9]
    assert _networks.truncate_left(chatml, ids, 2)[0][0].tolist() == [8, 9]
    assert _networks.truncate_left(plain, [np.array([0, 5, 6, 7])], 2)[0][0].tolist() == [0, 7]
