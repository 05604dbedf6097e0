"""A step that is captured once and replayed."""

import warnings

import pytest
import torch

from lens_sklearn import BTRewardRegressor, ContrastiveVAE
from lens_sklearn._training_step import WARM_UP, TrainingStep, training_device
from lens_sklearn.datasets import make_preference_pairs

CPU = torch.device("cpu")


class Recorder:
    """Stands for CUDA graphs: what is captured is not carried out, and reads the same memory."""

    def __init__(self):
        self.captured, self.replayed = 0, 0

    def __call__(self, function):
        self.captured += 1

        def replay():
            self.replayed += 1
            function()

        return replay


def sums(record):
    """Return a step that adds up what it is given, and where it adds."""
    total = torch.zeros(2)
    taken = []

    def step(x, y):
        taken.append(len(x))
        total.add_(torch.stack([x.sum(), y.sum()]))

    return TrainingStep(step, CPU, record), total, taken


def test_every_call_is_carried_out_once_with_its_own_inputs():
    record = Recorder()
    step, total, taken = sums(record)
    calls = [(torch.full((4,), float(i)), torch.full((4,), 10.0 * i)) for i in range(1, 8)]
    for inputs in calls:
        step(*inputs)
    assert total.tolist() == [4 * 28, 40 * 28] and taken == [4] * 7
    assert record.captured == 1 and record.replayed == 7 - WARM_UP


def test_inputs_may_be_overwritten_after_a_call():
    step, total, _ = sums(Recorder())
    x = torch.ones(3)
    for _ in range(6):
        step(x, x)
        x += 1
    assert total[0] == 3 * (1 + 2 + 3 + 4 + 5 + 6)


def test_each_size_has_a_graph_of_its_own():
    record = Recorder()
    step, total, taken = sums(record)
    for _ in range(5):
        step(torch.ones(4), torch.ones(4))
        step(torch.ones(2), torch.ones(2))
    assert total[0] == 5 * 6 and taken == [4, 2] * 5 and record.captured == 2


def test_what_is_forgotten_is_captured_anew():
    record = Recorder()
    factor = [1.0]
    total = torch.zeros(1)

    def step(x):
        total.add_(factor[0] * x.sum())

    step = TrainingStep(step, CPU, lambda f, held=factor: _bake(f, held, record))
    for _ in range(5):
        step(torch.ones(1))
    factor[0] = 100.0
    step(torch.ones(1))
    assert total.item() == 6, "a graph has the old number in it"
    step.forget()
    step(torch.ones(1))
    assert total.item() == 106 and record.captured == 1


def _bake(function, held, record):
    value = held[0]

    def replay():
        now, held[0] = held[0], value
        function()
        held[0] = now

    record(function)
    return replay


def test_without_graphs_steps_are_taken_one_by_one_and_it_is_said_once():
    def refuse(function):
        raise RuntimeError("operation not permitted when stream is capturing\nCompile with ...")

    step, total, taken = sums(refuse)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(8):
            step(torch.ones(4), torch.ones(4))
    assert taken == [4] * 8 and total[0] == 32
    (warning,) = caught
    assert "one by one" in str(warning.message) and "Compile" not in str(warning.message)


def test_on_a_cpu_nothing_is_recorded():
    step, total, _ = sums(None)
    assert step.record is None
    step(torch.ones(2), torch.ones(2))
    assert total[0] == 2


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="captures on a GPU")


@gpu
@pytest.mark.parametrize("n_pairs", [300, 256, 50])
@pytest.mark.parametrize("sharing", ["heads", "none"])
def test_a_captured_autoencoder_is_the_plain_one(n_pairs, sharing, monkeypatch):
    pairs = make_preference_pairs(n_pairs=n_pairs, n_features=24, random_state=0).pairs
    vae = ContrastiveVAE(
        sharing=sharing, max_epochs=20, learning_rate=1e-3, device="cuda", random_state=0
    )
    captured = vae.fit(pairs).get_fitted_state()
    monkeypatch.setattr("lens_sklearn._training_step.record_graph", None)
    plain = vae.fit(pairs).get_fitted_state()
    for name, weight in plain["weights"].items():
        assert abs(weight - captured["weights"][name]).max() < 2e-5, name
    for mine, theirs in zip(plain["history_"], captured["history_"], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-4, abs=1e-5)


@gpu
def test_capturing_goes_on_from_a_warm_start():
    pairs = make_preference_pairs(n_pairs=300, n_features=24, random_state=0).pairs
    vae = ContrastiveVAE(max_epochs=6, warm_start=True, device="cuda", random_state=0)
    vae.fit(pairs).fit(pairs)
    assert len(vae.history_) == 12
    assert vae.history_[-1]["loss"] < vae.history_[0]["loss"]


@gpu
def test_a_graph_that_fails_is_said_and_the_fit_goes_on(monkeypatch):
    def refuse(function):
        raise RuntimeError("no graphs here")

    monkeypatch.setattr("lens_sklearn._training_step.record_graph", refuse)
    pairs = make_preference_pairs(n_pairs=300, n_features=8, random_state=0).pairs
    with pytest.warns(UserWarning, match="one by one"):
        ContrastiveVAE(max_epochs=4, device="cuda", random_state=0).fit(pairs)
    with pytest.warns(UserWarning, match="one by one"):
        BTRewardRegressor(max_epochs=4, device="cuda", random_state=0).fit(pairs)


@pytest.mark.parametrize("n_bytes, expected", [(40, "cuda"), (60, "cpu")])
def test_a_gpu_without_room_is_left_where_it_was_not_asked_for(n_bytes, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("lens_sklearn._training_step.free_bytes", lambda device: 100)
    assert training_device("cuda", n_bytes).type == "cuda"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert training_device("auto", n_bytes).type == expected
    assert [str(w.message)[:19] for w in caught] == ["training on the CPU"] * (expected == "cpu")
