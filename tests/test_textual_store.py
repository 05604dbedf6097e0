"""Labellers that were stopped go on where they stopped, and judge nothing twice."""

import os
import signal

import numpy as np
import pytest
from sklearn.base import clone
from tiny_models import save_causal, save_reward, sentence

from lens_sklearn._array_store import ArrayStore
from lens_sklearn.textual import (
    ImplicitPreferenceLabeller,
    RewardModelLabeller,
    SelfRewardingLabeller,
    _labelling,
    _networks,
)

RNG = np.random.RandomState(0)
PROMPTS = [sentence(RNG, 3 + i) for i in range(6)]
RESPONSES = [[sentence(RNG, n) for n in RNG.randint(1, 9, size=3)] for _ in range(6)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal")), save_reward(
        tmp_path_factory.mktemp("reward")
    )


def make(folders, name, **options):
    causal, reward = folders
    if name == "reward_model":
        return RewardModelLabeller(reward, **options)
    kind = (
        SelfRewardingLabeller if name in ("pointwise", "pairwise") else ImplicitPreferenceLabeller
    )
    return kind(causal, mode=name, **options)


NAMES = ["reward_model", "pointwise", "pairwise", "p_yes", "likelihood"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_in_the_store_needs_no_network(folders, name, tmp_path, monkeypatch):
    expected = make(folders, name).score(PROMPTS, RESPONSES)
    labeller = make(folders, name, store=tmp_path)
    np.testing.assert_array_equal(labeller.score(PROMPTS, RESPONSES), expected)
    assert labeller.n_judged_ == (36 if name == "pairwise" else 18)
    monkeypatch.setattr(_networks.HeadedModel, "network", property(lambda self: 1 / 0))
    again = clone(labeller)
    np.testing.assert_array_equal(again.score(PROMPTS[::-1], RESPONSES[::-1]), expected[::-1])
    assert again.n_judged_ == 0 and again.n_overlong_ == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_call_costs_one_batch(folders, name, tmp_path, monkeypatch):
    expected = make(folders, name).score(PROMPTS, RESPONSES)
    labeller = make(folders, name, store=tmp_path)
    labeller.set_params(batch_tokens=400 if name in ("pointwise", "pairwise") else 60)
    sizes, run = [], _labelling.run_batches

    def watched(lengths, budget, compute, **options):
        def counted(batch):
            sizes.append(len(batch))
            if len(sizes) == 3:
                raise RuntimeError("the machine is on fire")
            return compute(batch)

        return run(lengths, budget, counted, **options)

    monkeypatch.setattr(_labelling, "run_batches", watched)
    with pytest.raises(RuntimeError, match="on fire"):
        labeller.score(PROMPTS, RESPONSES)
    n_done, n_all = sum(sizes[:2]), 36 if name == "pairwise" else 18
    assert 0 < n_done < n_all and labeller.n_judged_ == n_done
    sizes[:] = [0] * 3
    np.testing.assert_allclose(labeller.score(PROMPTS, RESPONSES), expected, atol=3e-6)
    assert sum(sizes) == labeller.n_judged_ == n_all - n_done


def test_equal_texts_are_judged_once(folders):
    labeller = make(folders, "p_yes")
    scores = labeller.score(["why", "why"], [["no", "yes"], ["yes", "yes"]])
    assert labeller.n_judged_ == 2
    assert scores[0, 1] == scores[1, 0] == scores[1, 1] != scores[0, 0]
    pairs = make(folders, "pairwise")
    assert pairs.score(["why"], [["no", "no"]]).tolist() == [[0.5, 0.5]]
    assert pairs.n_judged_ == 1


def test_whatever_changes_a_score_is_another_record(folders, tmp_path):
    texts = (["why not"], [["the cat sat on the mat " * 9]])
    judges = [
        make(folders, "pointwise", store=tmp_path),
        make(folders, "pointwise", store=tmp_path, instruction="{prompt} said {response}"),
        make(folders, "pointwise", store=tmp_path, chat_template=None),
        make(folders, "pointwise", store=tmp_path, max_length=120),
        make(folders, "pointwise", store=tmp_path, dtype="bfloat16"),
        make(folders, "p_yes", store=tmp_path),
        make(folders, "p_yes", store=tmp_path, instruction="{prompt} said {response}"),
        make(folders, "likelihood", store=tmp_path),
        make(folders, "reward_model", store=tmp_path),
        make((save_causal(tmp_path / "other", seed=1), None), "pointwise", store=tmp_path),
    ]
    for judge in judges:
        expected = clone(judge).set_params(store=None).score(*texts)
        np.testing.assert_array_equal(judge.score(*texts), expected)
        assert judge.n_judged_ == 1
    # what has no effect on a score has none on its record
    judge = make(folders, "pointwise", store=tmp_path, batch_tokens=7, max_length=4000)
    judge.score(*texts)
    assert judge.n_judged_ == 0


def test_outputs_that_are_not_finite_are_named_and_not_kept(folders, tmp_path, monkeypatch):
    labeller = make(folders, "reward_model", store=tmp_path)
    reader = _networks.reward_reader

    def overflows(model, ids, batch_tokens):
        compute, budget = reader(model, ids, batch_tokens)
        return lambda batch: np.where(batch[:, None] == 4, np.inf, compute(batch)), budget

    with monkeypatch.context() as patch:
        patch.setattr("lens_sklearn.textual._reward_model_labeller.reward_reader", overflows)
        with pytest.raises(ValueError, match=r"responses\[1\]\[1\]: .* not finite"):
            labeller.score(PROMPTS, RESPONSES)
    labeller.score(PROMPTS, RESPONSES)
    assert labeller.n_judged_ == 18


def test_a_store_that_cannot_be_written_fails_first(folders, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_networks.HeadedModel, "network", property(lambda self: 1 / 0))
    with pytest.raises(OSError, match="store=.* cannot be used"):
        make(folders, "p_yes", store=tmp_path / "file").score(PROMPTS, RESPONSES)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_judge_goes_on(folders, tmp_path):
    expected = make(folders, "pointwise").score(PROMPTS, RESPONSES)
    put, calls = ArrayStore.put_many, []

    def third_dies(self, keys, *args):
        calls.append(len(keys))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, keys, *args)

    judge = make(folders, "pointwise", store=tmp_path, batch_tokens=400)
    child = os.fork()  # a process of its own, without the seconds of imports
    if not child:  # pragma: no cover - another process
        ArrayStore.put_many = third_dies
        judge.score(PROMPTS, RESPONSES)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    np.testing.assert_allclose(judge.score(PROMPTS, RESPONSES), expected, atol=3e-6)
    assert 0 < judge.n_judged_ < 18
