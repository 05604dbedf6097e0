"""A reward network's epochs on a GPU, and the table of pairs that they read."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EpochScoring, LRScheduler

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    LatentPairAugmenter,
)
from lens_sklearn._augmented_pairs import AugmentedPairs
from lens_sklearn._pair_table import PairTable, fits
from lens_sklearn._replayed_epochs import ReplayedEpochs, wants_batches
from lens_sklearn.datasets import make_preference_pairs

CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="captures on a GPU")


def toy(n_pairs=60, n_features=6):
    return make_preference_pairs(n_pairs=n_pairs, n_features=n_features, random_state=0).pairs


def augmented(kind):
    pairs, vae = toy(), ContrastiveVAE(max_epochs=1, random_state=0)
    augmenters = {
        "codes": LatentPairAugmenter(vae, factor=4, random_state=0),
        "codes on a base": LatentPairAugmenter(vae, factor=4, decode="residual", random_state=0),
        "drawn rows": DistillationAugmenter(random_state=0),
        "array": DirectNoiseAugmenter(factor=3, random_state=0),
    }
    return AugmentedPairs(pairs) if kind == "originals" else augmenters[kind].fit_transform(pairs)


@pytest.mark.parametrize("kind", ["originals", "codes", "codes on a base", "drawn rows", "array"])
def test_a_table_reads_the_pairs(kind, monkeypatch):
    monkeypatch.setattr("lens_sklearn._pair_table.CHUNK", 7)
    pairs = augmented(kind)
    index = np.random.default_rng(0).integers(len(pairs), size=50)
    expected = pairs.rows(index)
    read = PairTable(pairs.to(CPU))[torch.from_numpy(index)].numpy()
    np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-5)


def test_a_table_of_codes_takes_no_rows():
    pairs = augmented("codes")
    assert fits(pairs, 8 * pairs.members.nbytes)
    decoded = augmented("array")
    rows = 4 * (2 * len(decoded.originals) + len(decoded.pool)) * decoded.shape[-1]
    assert not fits(decoded, rows) and fits(decoded, 8 * (rows + decoded.members.nbytes))


@pytest.mark.parametrize("kind", ["originals", "codes", "array"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_replayed_epochs_train_as_skorch_does(kind, early_stopping, replay):
    pairs = augmented(kind)
    rng = np.random.default_rng(0)
    target, weight = rng.uniform(size=60), rng.uniform(0.5, 2, size=60)
    options = dict(
        max_epochs=6, batch_size=50, learning_rate=1e-2, label_smoothing=0.1,
        center_coefficient=0.05, early_stopping=early_stopping, random_state=0,
    )  # fmt: skip
    plain = BTRewardRegressor(**options).fit(pairs, target, sample_weight=weight)
    with replay() as epochs:
        replayed = BTRewardRegressor(**options).fit(pairs, target, sample_weight=weight)
    assert epochs.count == len(plain.history_)
    for mine, theirs in zip(replayed.history_, plain.history_, strict=True):
        mine.pop("dur"), theirs.pop("dur")
        assert mine == pytest.approx(theirs, rel=1e-5)
    np.testing.assert_allclose(replayed.predict(toy()), plain.predict(toy()), atol=2e-5)


class Halve(Callback):
    """Halves the learning rate after every epoch."""

    def on_epoch_end(self, net, **kwargs):
        for group in net.optimizer_.param_groups:
            group["lr"] /= 2


@pytest.mark.parametrize(
    "callback", [Halve(), LRScheduler("StepLR", step_size=1, gamma=0.5)], ids=["own", "skorch's"]
)
def test_a_learning_rate_that_changes_between_epochs_is_obeyed(callback, replay):
    options = dict(max_epochs=6, batch_size=16, learning_rate=0.05, random_state=0)
    plain = BTRewardRegressor(callbacks=[callback], **options).fit(toy())
    with replay(bakes=True) as epochs:
        replayed = BTRewardRegressor(callbacks=[callback], **options).fit(toy())
        constant = BTRewardRegressor(**options).fit(toy())
    assert epochs.count
    np.testing.assert_allclose(replayed.predict(toy()), plain.predict(toy()), atol=2e-5)
    assert abs(constant.predict(toy()) - plain.predict(toy())).max() > 1e-2


class Counter(Callback):
    """Counts batches."""

    n_batches = 0

    def on_batch_end(self, net, training=False, **kwargs):
        self.n_batches += training


def test_who_listens_to_batches_gets_every_one(replay):
    counter = Counter()
    with replay() as epochs:
        reward = BTRewardRegressor(
            max_epochs=3, batch_size=16, early_stopping=False, callbacks=[counter], random_state=0
        )
        reward.fit(toy())
    assert counter.n_batches == 3 * 4 and epochs.count == 0


def test_callbacks_that_want_batches():
    assert not wants_batches([("own", Halve())])
    assert not wants_batches([("by epoch", LRScheduler("StepLR", step_size=1))])
    assert wants_batches([("by batch", LRScheduler("StepLR", step_size=1, step_every="batch"))])
    assert wants_batches([("own", Halve()), ("count", Counter())])
    assert wants_batches([("scores", EpochScoring("accuracy"))])


class Epochs:
    count = 0


@pytest.fixture
def replay(monkeypatch):
    """Train as on a GPU, with a stand-in for its graphs."""
    from contextlib import contextmanager

    @contextmanager
    def replaying(bakes=False):
        seen = Epochs()

        class Counted(ReplayedEpochs):
            def __init__(self, net, dataset):
                super().__init__(net, dataset, record=self._bake if bakes else lambda f: f)

            def _bake(self, function):
                """Keep the hyperparameters that there are now, as a graph does."""
                group = self.net.optimizer_.param_groups[0]
                baked = group["lr"]

                def repeat():
                    now, group["lr"] = group["lr"], baked
                    function()
                    group["lr"] = now

                return repeat

            def run(self, batches):
                seen.count += 1
                return super().run(batches)

        with monkeypatch.context() as patch:
            patch.setattr("lens_sklearn._reward_net.ReplayedEpochs", Counted)
            patch.setattr(
                "lens_sklearn._reward_net.can_replay",
                lambda net, dataset: not wants_batches(net.callbacks_),
            )
            yield seen

    return replaying


@gpu
@pytest.mark.parametrize("kind", ["originals", "codes", "codes on a base", "drawn rows", "array"])
def test_a_captured_reward_is_the_plain_one(kind):
    pairs = augmented(kind)
    options = dict(max_epochs=12, batch_size=50, learning_rate=1e-2, device="cuda", random_state=0)
    captured = BTRewardRegressor(**options).fit(pairs)
    plain = BTRewardRegressor(callbacks=[Counter()], **options).fit(pairs)
    assert len(captured.history_) == len(plain.history_)
    np.testing.assert_allclose(captured.predict(toy()), plain.predict(toy()), atol=1e-4)
    short = options | {"max_epochs": 2, "early_stopping": False}  # later, rounding has grown
    captured = BTRewardRegressor(**short).fit(pairs)
    on_cpu = BTRewardRegressor(**short | {"device": "cpu"}).fit(pairs)
    np.testing.assert_allclose(captured.predict(toy()), on_cpu.predict(toy()), atol=1e-3)


@gpu
def test_a_callback_changes_the_rate_of_captured_steps():
    options = dict(max_epochs=8, batch_size=8, learning_rate=0.05, device="cuda", random_state=0)
    captured = BTRewardRegressor(callbacks=[Halve()], **options).fit(toy())
    plain = BTRewardRegressor(callbacks=[Halve(), Counter()], **options).fit(toy())
    np.testing.assert_allclose(captured.predict(toy()), plain.predict(toy()), atol=1e-4)


@gpu
def test_networks_train_side_by_side_in_threads():
    from joblib import Parallel, delayed

    def learn(seed):
        reward = BTRewardRegressor(
            max_epochs=10, batch_size=8, device="cuda", early_stopping=False, random_state=seed
        )
        return reward.fit(toy()).predict(toy())

    in_turn = [learn(seed) for seed in range(8)]
    beside = Parallel(n_jobs=8, backend="threading")(delayed(learn)(seed) for seed in range(8))
    for one, other in zip(in_turn, beside, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
