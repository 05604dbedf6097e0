"""Ctrl-C ends a fit and a search wherever it comes, and nothing half fitted remains."""

import inspect
import pickle
import signal
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    ContrastiveVAE,
    DistillationAugmenter,
    EmbeddingScaler,
    GPRewardRegressor,
    LatentPairAugmenter,
    LinearRewardRegressor,
    PairClassifier,
    VotingRewardRegressor,
    WithinPromptWhitening,
    _bt_reward,
    _reward_net,
)
from lens_sklearn._atomic_fit import atomic_fit

QUICK = dict(hidden_dim=4, max_epochs=2, random_state=0)
VAE = ContrastiveVAE(latent_dim=2, hidden_dim=4, max_epochs=2, random_state=0)
LEARNERS = {
    "network": BTRewardRegressor(**QUICK),
    "linear": LinearRewardRegressor(Cs=2, cv=2),
    "GP": GPRewardRegressor(0.1),
    "voting": VotingRewardRegressor([("a", BTRewardRegressor(**QUICK))]),
    "auto": AutoRewardRegressor([("a", BTRewardRegressor(**QUICK))], random_state=0),
    "classifier": PairClassifier(BTRewardRegressor(**QUICK)),
    "autoencoder": VAE,
    "LENS": LatentPairAugmenter(VAE, random_state=0),
    "distillation": DistillationAugmenter(
        teacher=BTRewardRegressor(**QUICK), factor=2, random_state=0
    ),
    "scaler": EmbeddingScaler(),
    "whitening": WithinPromptWhitening(),
}


class InterruptAt:
    """Raise KeyboardInterrupt at the k-th call of a function of the package or of skorch."""

    def __init__(self, k=None):
        self.k, self.n_calls = k, 0

    def __enter__(self):
        sys.setprofile(self._count)
        return self

    def __exit__(self, *error):
        sys.setprofile(None)

    def _count(self, frame, event, arg):
        path = frame.f_code.co_filename
        if event != "call" or not ("lens_sklearn/" in path or "skorch/" in path):
            return
        # Before it began, and where Python ends a generator: it only prints what is raised there.
        if path.endswith("_atomic_fit.py") or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return
        self.n_calls += 1
        if self.n_calls == self.k:
            sys.setprofile(None)
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", LEARNERS)
def test_an_interrupted_fit_leaves_what_was_there(name, pairs):
    fitted = clone(LEARNERS[name])
    with InterruptAt() as counted:
        fitted.fit(pairs)
    others = pairs[:40, :, :7]  # another d: what is left of both would not fit together
    before = pickle.dumps(fitted)
    for share in np.linspace(0.02, 0.98, 9):
        k = 1 + int(share * counted.n_calls)
        fresh = clone(LEARNERS[name])
        with pytest.raises(KeyboardInterrupt), InterruptAt(k):
            fresh.fit(pairs)
        with pytest.raises(NotFittedError):
            check_is_fitted(fresh)
        assert not [a for a in vars(fresh) if a.endswith("_")]
        with pytest.raises(KeyboardInterrupt), InterruptAt(max(1, k // 3)):
            fitted.fit(others)
        assert pickle.dumps(fitted) == before


@pytest.mark.parametrize("warm", ["warm_start", "partial_fit"])
def test_an_interrupted_warm_start_leaves_the_weights(warm, pairs):
    vae = clone(VAE).set_params(warm_start=True).fit(pairs)
    code, history = vae.transform(pairs), list(vae.history_)
    go_on = vae.fit if warm == "warm_start" else vae.partial_fit
    with InterruptAt() as counted:
        pickle.loads(pickle.dumps(vae)).partial_fit(pairs)
    with pytest.raises(KeyboardInterrupt), InterruptAt(counted.n_calls - 3):
        go_on(pairs)
    np.testing.assert_array_equal(vae.transform(pairs), code)
    assert vae.history_ == history


def test_an_interrupted_scaler_has_seen_no_part_of_a_batch(pairs, monkeypatch):
    scaler = EmbeddingScaler().fit(pairs)
    seen = scaler.scaler_.n_samples_seen_
    monkeypatch.setattr("lens_sklearn._scaler.CHUNK", pairs[:10].nbytes)
    with InterruptAt() as counted:
        pickle.loads(pickle.dumps(scaler)).partial_fit(pairs)
    with pytest.raises(KeyboardInterrupt), InterruptAt(counted.n_calls - 1):
        scaler.partial_fit(pairs)
    assert scaler.scaler_.n_samples_seen_ == seen


class Interrupt(Callback):
    """A callback of the user that interrupts in one of its methods."""

    def __init__(self, where, epoch=2):
        self.where, self.epoch = where, epoch

    def initialize(self):
        setattr(self, self.where, self._interrupt)
        return self

    def _interrupt(self, net, *args, training=True, **kwargs):
        if self.where == "on_train_begin" or len(net.history) == self.epoch:
            raise KeyboardInterrupt


CALLBACKS = ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end")


@pytest.mark.parametrize("where", CALLBACKS)
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_users_callback_interrupts(where, early_stopping, pairs):
    reward = BTRewardRegressor(**QUICK, early_stopping=early_stopping, callbacks=[Interrupt(where)])
    with pytest.raises(KeyboardInterrupt):
        reward.fit(pairs)
    assert not hasattr(reward, "net_") and not hasattr(reward, "history_")


@pytest.mark.parametrize("error_score", [np.nan, "raise", 0.0])
@pytest.mark.parametrize("part", ["training", "validation", "slope"])
def test_a_signal_ends_a_search(part, error_score, pairs, monkeypatch):
    """Ctrl-C itself, in the middle of an epoch, in its validation and in the slope."""
    fits = []

    def interrupted(function):
        def wrapper(*args, **kwargs):
            fits.append(part)
            if len(fits) == 2:
                signal.raise_signal(signal.SIGINT)
            return function(*args, **kwargs)

        return wrapper

    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    owner, name = {
        "training": (_reward_net.RewardNet, "train_step"),
        "validation": (_reward_net.RewardNet, "validation_step"),
        "slope": (_bt_reward, "fit_slope"),
    }[part]
    monkeypatch.setattr(owner, name, interrupted(getattr(owner, name)))
    search = GridSearchCV(
        Pipeline([("scale", EmbeddingScaler()), ("reward", BTRewardRegressor(**QUICK))]),
        {"reward__hidden_dim": [2, 4]},
        cv=2,
        error_score=error_score,
    )
    try:
        with pytest.raises(KeyboardInterrupt):
            search.fit(pairs)
    finally:
        signal.signal(signal.SIGINT, was)
    assert len(fits) == 2 and not hasattr(search, "best_estimator_")


def test_early_stopping_of_the_user_still_stops(pairs):
    """skorch's own says so by a KeyboardInterrupt too, and that one is no Ctrl-C."""
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1e9, threshold_mode="abs")
    reward = BTRewardRegressor(
        hidden_dim=4, max_epochs=9, early_stopping=False, callbacks=[stop], random_state=0
    ).fit(pairs)
    assert len(reward.history_) == 3  # the first is the best, two more do not fall by 1e9


def test_an_interrupted_bar_is_closed(pairs, capsys):
    reward = BTRewardRegressor(**QUICK, verbose=1, callbacks=[Interrupt("on_epoch_end")])
    with pytest.raises(KeyboardInterrupt):
        reward.fit(pairs)
    assert capsys.readouterr().err.endswith("\n")


def test_attributes_come_back_after_any_error():
    class Learner:
        a_ = 1

        @atomic_fit
        def fit(self, error=None):
            """Learn."""
            self.b_ = [2]
            if error is not None:
                del self.c_
                raise error
            self.c_ = 3
            return self

    learner = Learner()
    with pytest.raises(SystemExit):
        learner.c_ = 0
        learner.fit(SystemExit())
    assert vars(learner) == {"c_": 0}
    assert learner.fit() is learner and vars(learner) == {"b_": [2], "c_": 3}
    assert Learner.fit.__doc__ == "Learn."
