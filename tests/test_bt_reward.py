"""BTRewardRegressor: its loss, its split, its batches, its scores."""

import pickle

import numpy as np
import pytest
import skorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    GaussianAugmenter,
    LatentPairAugmenter,
    RepeatAugmenter,
    _bt_reward,
)
from lens_sklearn._augmented_pairs import AugmentedPairs, CodedPairs
from lens_sklearn._bt_reward import _moments
from lens_sklearn._calibration import fit_slope
from lens_sklearn._feature_scale import FeatureScale
from lens_sklearn._reward_net import BradleyTerryLoss, PairBatches, PairDataset, RewardMLP
from lens_sklearn.datasets import make_preference_pairs

FAST = dict(hidden_dim=16, learning_rate=1e-2, random_state=0)
finite = st.floats(-5, 5, width=32)

CPU = torch.device("cpu")


# ------------------------------------------------------------------------------ loss
@given(finite, finite, st.floats(0, 1), finite)
def test_loss_is_symmetric_and_blind_to_a_shift(r0, r1, target, shift):
    def loss(*rewards, t):
        batch = torch.tensor([t], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        return BradleyTerryLoss()(torch.tensor([rewards], dtype=torch.float64), batch).item()

    expected = np.logaddexp(0, r1 - r0) * target + np.logaddexp(0, r0 - r1) * (1 - target)
    assert loss(r0, r1, t=target) == pytest.approx(expected, abs=1e-6)
    assert loss(r1, r0, t=1 - target) == pytest.approx(expected, abs=1e-6)
    assert loss(r0 + shift, r1 + shift, t=target) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_smoothing_and_centering_are_for_training_only(weight):
    loss = BradleyTerryLoss(label_smoothing=0.2, center_coefficient=0.5)
    rewards = torch.tensor([[1.0, 2.0]])
    batch = torch.ones(1), torch.full((1,), weight)
    plain = np.logaddexp(0, 1)
    assert loss.eval()(rewards, batch).item() == pytest.approx(weight * plain)
    smoothed = 0.9 * plain + 0.1 * np.logaddexp(0, -1)
    assert loss.train()(rewards, batch).item() == pytest.approx(weight * (smoothed + 0.5 * 9))


def test_smoothing_and_centering_reach_the_training(pairs):
    """Smoothed targets want smaller margins; centred rewards lie around 0."""
    fit = dict(FAST, early_stopping=False, max_epochs=60)
    plain = BTRewardRegressor(**fit).fit(pairs)
    smooth = BTRewardRegressor(**fit, label_smoothing=0.4).fit(pairs)
    margin, smoothed = (abs(r.decision_function(pairs)).mean() for r in (plain, smooth))
    assert smoothed < 0.6 * margin
    fit["output_init"] = "uniform"
    free, centered = (
        BTRewardRegressor(**fit, center_coefficient=c).fit(pairs).predict(pairs) for c in (0, 10)
    )
    assert abs(centered.sum(axis=1)).mean() < 0.2 * abs(free.sum(axis=1)).mean()


def test_defaults_are_the_papers_but_for_the_first_rewards():
    """Section 3.3: hidden 256, 1e-4, at most 20 epochs, patience 5; A.1: batch 128."""
    reward = BTRewardRegressor()
    assert (reward.hidden_dim, reward.learning_rate) == (256, 1e-4)
    assert (reward.max_epochs, reward.patience, reward.batch_size) == (20, 5, 128)
    assert reward.early_stopping and reward.validation_fraction == 0.1
    assert (reward.weight_decay, reward.label_smoothing, reward.center_coefficient) == (0, 0, 0)
    assert reward.output_init == "zero" and reward.standardize
    net = BTRewardRegressor(learning_rate=1e-9, max_epochs=1)
    toy = make_preference_pairs(n_pairs=20, n_features=4, random_state=0)
    rewards = net.fit(toy.pairs).predict(toy.pairs) / net.slope_
    assert abs(rewards).max() < 1e-6, "rewards begin at 0"


def test_weights_weigh():
    rewards, target = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.ones(2)
    one = BradleyTerryLoss()(rewards, (target, torch.tensor([2.0, 0.0])))
    torch.testing.assert_close(one, BradleyTerryLoss()(rewards[:1], (target[:1], torch.ones(1))))


# --------------------------------------------------------------------------- batches
@given(st.integers(1, 50), st.integers(1, 20))
def test_batches_hold_every_pair_once(n, batch_size):
    pairs = AugmentedPairs(np.arange(2 * n, dtype=np.float32).reshape(n, 2, 1))
    batches = PairBatches(PairDataset(pairs, torch.device("cpu")), batch_size, seed=0)
    first = torch.cat([x[:, 0, 0] for x, _ in batches])
    second = torch.cat([x[:, 0, 0] for x, _ in batches])
    assert sorted(first.tolist()) == list(range(0, 2 * n, 2))
    assert len(list(batches)) == len(batches)
    if n > 10:
        assert first.tolist() != second.tolist(), "every epoch has an order of its own"


# ------------------------------------------------------------------- initial weights
@given(seed=st.integers(0, 2**16))
def test_rewards_begin_at_zero_and_differ_by_the_output_alone(seed):
    zero, uniform = (RewardMLP(5, 16, seed, init) for init in ("zero", "uniform"))
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=(7, 5)).astype(np.float32))
    assert not zero(x).any()
    assert uniform(x).all()
    assert torch.equal(zero.hidden.weight, uniform.hidden.weight)
    assert torch.equal(zero.hidden.bias, uniform.hidden.bias)


def test_few_pairs_do_not_undo_a_random_output():
    """What is learnt from 60 pairs in 64 dimensions drowns in the initial reward."""
    won = []
    for seed in range(8):
        toy = make_preference_pairs(n_pairs=60, n_features=64, random_state=seed)
        won.append(
            [
                BTRewardRegressor(output_init=init, random_state=seed)
                .fit(toy.pairs)
                .score(toy.candidates, toy.gold)
                for init in ("zero", "uniform")
            ]
        )
    zero, uniform = np.transpose(won)
    assert np.sum(zero > uniform) >= 7


# ------------------------------------------------------------------- standard features
def rescaled(X, rng):
    """Features as of hidden states: scales over four decades, means up to three deviations."""
    d = X.shape[-1]
    scale = 10 ** rng.uniform(-2, 2, d)
    return (X * scale + rng.uniform(-3, 3, d) * scale).astype(np.float32)


@given(st.integers(0, 2**16))
@settings(max_examples=10)
def test_the_scale_of_features_makes_no_difference(seed):
    toy = make_preference_pairs(n_pairs=80, n_features=12, random_state=seed)
    raw, candidates = (
        rescaled(X, np.random.default_rng(seed)) for X in (toy.pairs, toy.candidates)
    )
    fit = dict(FAST, max_epochs=5)
    scaler = EmbeddingScaler().fit(raw)
    expected = BTRewardRegressor(**fit, standardize=False).fit(scaler.transform(raw))
    found = BTRewardRegressor(**fit).fit(raw)
    gap = found.predict(candidates) - expected.predict(scaler.transform(candidates))
    np.testing.assert_allclose(gap - gap.mean(), 0, atol=2e-3)


def test_at_raw_scale_the_rest_is_not_learnt_without_it():
    gold = []
    for seed in range(5):
        toy = make_preference_pairs(n_pairs=200, n_features=32, random_state=seed)
        rng = np.random.default_rng(seed)
        scale = np.where(rng.random(32) < 0.1, 100, 1) / 10  # a few huge features
        gold.append(
            [
                BTRewardRegressor(standardize=standardize, random_state=seed)
                .fit(toy.pairs * scale)
                .score(toy.candidates * scale, toy.gold)
                for standardize in (True, False)
            ]
        )
    with_it, without = np.transpose(gold)
    assert np.sum(with_it > without) >= 4


@pytest.mark.parametrize("weight", [None, 2.0])
def test_equal_weights_give_the_moments_of_the_scaler_to_the_bit(pairs, weight):
    originals = 3 * pairs + 1
    augmented = AugmentedPairs(originals, weight=None if weight is None else np.full(60, weight))
    scaler = EmbeddingScaler().fit(originals).scaler_
    expected = np.stack([scaler.mean_, scaler.scale_]).astype(np.float32)
    np.testing.assert_array_equal(_moments(augmented).numpy(), expected)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 1.5])
def test_a_share_held_out_lies_between_none_and_all(pairs, fraction):
    with pytest.raises(ValueError, match="'validation_fraction' parameter"):
        BTRewardRegressor(validation_fraction=fraction).fit(pairs)


def test_features_that_are_almost_standard_are_standardised_too(pairs):
    """A mean of 0.2 or a deviation of 0.8 is not what rounding makes of 0 and 1."""
    scaled = EmbeddingScaler().fit_transform(pairs)
    candidates = scaled[:, 0]
    expected = BTRewardRegressor(**FAST).fit(scaled).predict(candidates)
    for scale, shift in ((1, 0.2), (0.8, 0)):
        raw = (scale * scaled + shift).astype(np.float32)
        found = BTRewardRegressor(**FAST).fit(raw).predict(raw[:, 0])
        np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=2e-3)


def test_standard_features_are_left_as_they_are(pairs):
    scaled = EmbeddingScaler().fit_transform(pairs)
    fits = [BTRewardRegressor(**FAST, standardize=s).fit(scaled) for s in (True, False)]
    first, second = (fitted.predict(scaled) for fitted in fits)
    assert (first == second).all(), "behind the scaler it is the same to the bit"


def test_children_do_not_change_what_features_are_standardised_by(pairs):
    pairs = pairs * np.float32(50)
    far = LatentPairAugmenter(ContrastiveVAE(4, 3, max_epochs=1), noise_variance=1e4, factor=2)
    fit = dict(FAST, max_epochs=1, learning_rate=1e-9)  # the first weights, as good as untrained
    alone = BTRewardRegressor(**fit, output_init="uniform").fit(pairs)
    augmented = BTRewardRegressor(**fit, output_init="uniform").fit(far.fit_transform(pairs))
    np.testing.assert_allclose(alone.predict(pairs), augmented.predict(pairs), atol=1e-4)


# ------------------------------------------------------------------------------ codes
def synthesised(pairs, factor=8, **options):
    vae = ContrastiveVAE(4, 3, max_epochs=2, sharing=options.pop("sharing", "heads"))
    augmenter = LatentPairAugmenter(vae, factor=factor, random_state=0, **options)
    return augmenter.fit_transform(pairs)


def loss_and_gradients(module, x, target_and_weight):
    module.zero_grad()
    loss = BradleyTerryLoss()(module(x), target_and_weight)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in module.parameters())]


@pytest.mark.parametrize("sharing", ["heads", "none"])
@pytest.mark.parametrize("pairing", ["compositional", "matched"])
@given(st.integers(1, 480), st.integers(0, 2**16), st.booleans())
def test_codes_give_the_rewards_and_gradients_of_decoded_rows(pairing, sharing, b, seed, raw):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(60, 2, 12)).astype(np.float32)
    augmented = synthesised(pairs, pairing=pairing, sharing=sharing).to(torch.device("cpu"))
    index = rng.integers(0, len(augmented), b)
    batch = torch.from_numpy(rng.random((2, b), dtype=np.float32)).unbind()
    moments = torch.from_numpy(rng.uniform(0.5, 2, (2, 12)).astype(np.float32)) if raw else None
    module = RewardMLP(12, 16, seed, "uniform", moments)  # at zero most gradients are zero
    on_rows = loss_and_gradients(module, augmented.rows(index), batch)
    on_codes = loss_and_gradients(module, augmented.coded(index), batch)
    torch.testing.assert_close(on_codes, on_rows, rtol=1e-5, atol=1e-5)


def test_fits_on_codes_and_on_materialised_pairs_agree(pairs):
    augmented = synthesised(pairs)
    # An array's rows are all originals, by which features would be standardised.
    fit = dict(FAST, max_epochs=5, early_stopping=False, standardize=False)
    on_codes = BTRewardRegressor(**fit).fit(augmented).predict(pairs)
    on_rows = BTRewardRegressor(**fit).fit(np.asarray(augmented)).predict(pairs)
    # The last bias has no gradient but rounding, which Adam turns into a shift of all rewards.
    np.testing.assert_allclose(on_codes - on_codes.mean(), on_rows - on_rows.mean(), atol=1e-4)


def test_what_is_cheaper_is_trained_on(pairs):
    for augmented, width, coded in (
        (synthesised(pairs), 16, True),
        (synthesised(pairs, decode="residual"), 16, False),  # a base row for every member
        (synthesised(pairs, factor=1), 16, False),
        (GaussianAugmenter(factor=8, random_state=0).fit_transform(pairs), 16, False),
    ):
        x, _ = PairDataset(augmented, torch.device("cpu"), width)[np.arange(len(augmented))]
        assert isinstance(x, CodedPairs) == coded
        assert len(x) == len(augmented)
    few = np.arange(61)  # one synthetic pair: its weight would cost more than its two rows
    assert not synthesised(pairs).codes_pay(few, 16)


class Watch(Callback):
    sizes = []

    def on_batch_end(self, net, batch, training, **kwargs):
        self.sizes.append(len(batch[0]))


def test_callbacks_and_the_fitted_net_see_a_plain_module(pairs):
    reward = BTRewardRegressor(**FAST, callbacks=[Watch()], early_stopping=False, max_epochs=1)
    reward.fit(synthesised(pairs))
    assert sum(Watch.sizes) == 480, "a batch has the length of its pairs, coded or not"
    net = pickle.loads(pickle.dumps(reward)).net_
    rewards = net.module_(torch.from_numpy(pairs)).detach().numpy()
    np.testing.assert_allclose(rewards, reward.predict(pairs), atol=1e-6)
    np.testing.assert_allclose(net.predict(pairs), reward.predict(pairs), atol=1e-6)


# -------------------------------------------------------------------------- learning
def test_learns_the_order(pairs, candidates):
    reward = BTRewardRegressor(**FAST, early_stopping=False).fit(pairs)
    assert reward.score(pairs) > 0.75
    assert reward.score(*candidates) > candidates[1].mean() + 0.5
    assert isinstance(reward.net_, skorch.NeuralNet)
    assert {"epoch", "train_loss", "dur"} == set(reward.history_[0])


def test_swapped_pairs_with_swapped_targets_are_the_same_data(pairs):
    fit = dict(FAST, early_stopping=False, max_epochs=5)
    straight = BTRewardRegressor(**fit).fit(pairs).predict(pairs)
    swapped = BTRewardRegressor(**fit).fit(pairs[:, ::-1].copy(), np.zeros(60)).predict(pairs)
    np.testing.assert_allclose(straight, swapped, atol=1e-4)


def test_same_seed_same_rewards(pairs):
    first, second = (BTRewardRegressor(**FAST).fit(pairs).predict(pairs) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = BTRewardRegressor(**{**FAST, "random_state": 1}).fit(pairs).predict(pairs)
    assert not np.allclose(first, other)


def test_weight_decay_shrinks_the_rewards(pairs):
    def spread(weight_decay):
        reward = BTRewardRegressor(**FAST, weight_decay=weight_decay, early_stopping=False)
        return reward.fit(pairs).predict(pairs).std()

    assert spread(10.0) < 0.8 * spread(0.0)


@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
def test_ties_teach_equality(pairs):
    def gap(target):
        reward = BTRewardRegressor(**FAST, early_stopping=False)
        return np.abs(reward.fit(pairs, np.full(60, target)).decision_function(pairs)).mean()

    assert gap(0.5) < 0.5 * gap(1.0)


def test_weightless_pairs_are_as_if_not_there(pairs):
    wrong = np.concatenate([pairs, pairs[:20, ::-1]])
    weight = np.r_[np.ones(60), np.zeros(20)]
    fit = dict(FAST, early_stopping=False)
    np.testing.assert_array_equal(
        BTRewardRegressor(**fit).fit(wrong, sample_weight=weight).predict(pairs),
        BTRewardRegressor(**fit).fit(pairs).predict(pairs),
    )


def test_features_are_standardised_by_weights_as_by_repetition(pairs):
    """Pairs that weigh three times as much count three times in the mean and deviation."""
    pairs = pairs * np.linspace(1, 30, 12, dtype=np.float32) + 7
    weight = np.r_[np.full(20, 3.0), np.ones(40)]
    fit = dict(FAST, early_stopping=False, max_epochs=1, output_init="uniform")
    fit["learning_rate"] = 1e-9  # the first weights, as good as untrained
    weighted = BTRewardRegressor(**fit).fit(pairs, sample_weight=weight).predict(pairs)
    repeated = np.concatenate([np.repeat(pairs[:20], 3, axis=0), pairs[20:]])
    np.testing.assert_allclose(
        weighted, BTRewardRegressor(**fit).fit(repeated).predict(pairs), atol=1e-4
    )
    plain = BTRewardRegressor(**fit).fit(pairs).predict(pairs)
    assert abs(weighted - plain).max() > 1e-2
    np.testing.assert_allclose(
        BTRewardRegressor(**fit).fit(pairs, sample_weight=np.full(60, 2.0)).predict(pairs),
        plain,
        atol=1e-5,
        err_msg="only the ratios of weights matter",
    )


def test_weights_of_originals_reach_their_children(pairs):
    weight = np.random.default_rng(0).random(60) + 0.1
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    fit = dict(FAST, early_stopping=False, max_epochs=2)
    np.testing.assert_array_equal(
        BTRewardRegressor(**fit).fit(augmented, sample_weight=weight).predict(pairs),
        BTRewardRegressor(**fit).fit(augmented, sample_weight=np.tile(weight, 3)).predict(pairs),
    )


# ------------------------------------------------------------------- early stopping
def test_validation_holds_out_whole_parents_and_original_pairs(pairs):
    augmented = GaussianAugmenter(factor=4, random_state=0).fit_transform(pairs)
    reward = BTRewardRegressor(validation_fraction=0.25)
    train, valid = reward._split(augmented, np.arange(60), np.random.RandomState(0), CPU)
    assert len(valid) == 15
    assert not valid.pairs.is_synthetic.any()
    assert not set(valid.pairs.parent) & set(train.pairs.parent)
    assert len(train) == 4 * 45


@given(st.integers(0, 2**16), st.integers(2, 20), st.floats(0.05, 0.5))
def test_validation_holds_out_whole_prompts(seed, n_prompts, fraction):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(60, 2, 3)).astype(np.float32)
    groups = np.r_[np.arange(n_prompts), rng.integers(0, n_prompts, 60 - n_prompts)]
    augmented = RepeatAugmenter(factor=2).fit_transform(pairs)
    reward = BTRewardRegressor(validation_fraction=fraction)
    random_state = np.random.RandomState(seed)
    try:
        train, valid = reward._split(augmented, groups, random_state, CPU)
    except ValueError as error:
        assert "leaves none of" in str(error)
        return
    of_valid, of_train = (set(groups[part.pairs.parent]) for part in (valid, train))
    assert not of_valid & of_train
    assert len(valid) >= int(fraction * 60)
    assert len(train) == 2 * (60 - len(valid))
    sizes = np.bincount(groups)
    assert len(valid) - max(sizes[list(of_valid)]) < max(1, int(fraction * 60)), "no more prompts"


def test_prompts_given_to_fit_stop_the_leak(pairs):
    """Of 40 prompts with six equal pairs each, a prompt's own pairs would validate training."""
    rng = np.random.default_rng(0)
    few = rng.normal(size=(40, 2, 64)).astype(np.float32)  # nothing to learn for other prompts
    repeated, groups = np.tile(few, (6, 1, 1)), np.tile(np.arange(40), 6)
    fit = dict(FAST, max_epochs=30)
    leaky = BTRewardRegressor(**fit).fit(repeated).history_[-1]["valid_loss"]
    honest = BTRewardRegressor(**fit).fit(repeated, groups=groups).history_
    assert leaky < 0.3
    assert min(epoch["valid_loss"] for epoch in honest) > 0.6
    with pytest.raises(ValueError, match="groups has 239 prompts for 240 original pairs"):
        BTRewardRegressor().fit(repeated, groups=groups[1:])
    with pytest.raises(ValueError, match="leaves none of 1 prompts"):
        BTRewardRegressor().fit(repeated, groups=np.zeros(240))


def test_stops_and_goes_back_to_the_best_epoch(pairs):
    noise = np.random.default_rng(0).normal(size=(80, 2, 12)).astype(np.float32)
    reward = BTRewardRegressor(
        64, learning_rate=5e-2, max_epochs=100, patience=3, random_state=0
    ).fit(noise)
    losses = [epoch["valid_loss"] for epoch in reward.history_]
    assert len(losses) < 100
    best = int(np.argmin(losses))
    assert len(losses) - 1 - best >= 3
    again = BTRewardRegressor(
        64, learning_rate=5e-2, max_epochs=best + 1, patience=100, random_state=0
    ).fit(noise)
    np.testing.assert_allclose(reward.predict(noise), again.predict(noise), atol=1e-5)


def test_callbacks_of_the_user_are_called_and_kept(pairs):
    class Count(Callback):
        epochs = 0

        def on_epoch_end(self, net, **kwargs):
            self.epochs += 1

    callbacks = [count := Count()]
    BTRewardRegressor(**FAST, callbacks=callbacks, early_stopping=False, max_epochs=4).fit(pairs)
    assert count.epochs == 4
    assert callbacks == [count]


def test_progress_bar(pairs, capsys):
    BTRewardRegressor(**FAST, verbose=1, max_epochs=2).fit(pairs)
    printed = capsys.readouterr()
    assert "train_loss" in printed.err and printed.out == "", "a table of epochs is for verbose=2"
    BTRewardRegressor(**FAST, max_epochs=2).fit(pairs)
    printed = capsys.readouterr()
    assert printed.err == printed.out == ""


# ----------------------------------------------------------------------------- slope
def test_the_slope_is_fitted_to_held_out_pairs(pairs, monkeypatch):
    target, weight = np.linspace(0.3, 1, 60), np.linspace(1, 3, 60)
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    reward = BTRewardRegressor(**FAST, validation_fraction=0.3)
    reward.fit(augmented, target, weight)
    _, valid = reward._split(augmented, np.arange(60), np.random.RandomState(0), CPU)
    held_out = valid.pairs.parent
    assert len(held_out) == 18 and reward.slope_ != 1
    before = reward.decision_function(pairs) / reward.slope_
    size = np.sqrt(np.average(before**2, weights=weight))
    weight /= weight.mean()
    expected = fit_slope(before[held_out], target[held_out], weight[held_out], size=size)
    assert reward.slope_ == pytest.approx(expected, rel=1e-4)
    monkeypatch.setattr(_bt_reward, "CHUNK", 8)
    same = clone(reward).fit(augmented, target, weight)  # few pairs are read at once
    assert same.slope_ == pytest.approx(reward.slope_, rel=1e-4)


def test_a_slope_changes_no_order_and_mends_probabilities():
    toy = make_preference_pairs(n_pairs=2300, n_features=12, random_state=0)
    known, fresh = toy.pairs[:300], toy.pairs[300:]
    reward = BTRewardRegressor(learning_rate=1e-5, random_state=0).fit(known)
    log_odds = reward.decision_function(fresh)
    before = log_odds / reward.slope_
    loss, plain = (np.logaddexp(0, -m).mean() for m in (log_odds, before))
    assert plain > 0.65 > loss, "after a few steps every probability is one half"
    best = min(np.logaddexp(0, -s * before).mean() for s in np.geomspace(0.1, 100, 200))
    assert loss < best + 0.03
    assert reward.slope_ > 0
    steeper = reward.lipschitz / reward.slope_
    reward.net_.module_.scale_rewards(1 / reward.slope_)
    assert reward.lipschitz == pytest.approx(steeper, rel=1e-5), "it is part of the weights"
    np.testing.assert_allclose(reward.decision_function(fresh), before, rtol=1e-3, atol=1e-5)


def test_without_early_stopping_there_is_no_slope(pairs):
    reward = BTRewardRegressor(**FAST, early_stopping=False, max_epochs=1).fit(pairs)
    assert reward.slope_ == 1.0


# ------------------------------------------------------------------ response features
def viewed(pairs, factor=40.0):
    """Pairs whose last three columns are features of a large scale and mean, with an outlier."""
    pairs = pairs.copy()
    pairs[..., -3:] = factor * (pairs[..., -3:] + 2)
    pairs[0, 0, -1] = 1e4
    return pairs


def scaled(pairs, like=None):
    scale = FeatureScale.estimate((pairs if like is None else like)[..., -3:].reshape(-1, 3))
    return np.concatenate([pairs[..., :-3], scale.apply(pairs[..., -3:])], -1).astype(np.float32)


@pytest.mark.parametrize("standardize", [True, False])
def test_response_features_are_read_on_their_scale(pairs, candidates, standardize):
    raw, X = viewed(pairs), viewed(candidates[0])
    fit = dict(FAST, standardize=False)
    if standardize:  # the embedding's columns are made standard by hand
        embedding = EmbeddingScaler().fit(raw[..., :-3])
        by_hand = [
            np.concatenate([embedding.transform(A[..., :-3]), A[..., -3:]], -1) for A in (raw, X)
        ]
    else:
        by_hand = [raw, X]
    expected = BTRewardRegressor(**fit).fit(scaled(by_hand[0]))
    found = BTRewardRegressor(**{**fit, "standardize": standardize}, n_response_features=3).fit(raw)
    assert found.slope_ == pytest.approx(expected.slope_, rel=1e-2)
    np.testing.assert_allclose(
        found.decision_function(raw),
        expected.decision_function(scaled(by_hand[0])),
        rtol=1e-2,
        atol=1e-3,
    )
    gap = found.predict(X) - expected.predict(scaled(by_hand[1], like=by_hand[0]))
    np.testing.assert_allclose(gap - gap.mean(), 0, atol=1e-2)
    far = X[0, :2].copy()
    far[:, -1] = 1e5, 1e9  # beyond three deviations all are the same
    far[1, :-1] = far[0, :-1]
    assert np.ptp(found.predict(far)) == 0


def test_response_features_alone_will_do_and_more_than_all_will_not(pairs):
    alone = BTRewardRegressor(**FAST, n_response_features=12).fit(pairs)
    assert alone.score(pairs) > 0.7
    with pytest.raises(ValueError, match="n_response_features=13, but X has 12 features"):
        BTRewardRegressor(n_response_features=13).fit(pairs)


@pytest.mark.parametrize("k", [0, 3])
def test_synthetic_pairs_of_codes_are_decoded_before_features_are_read(pairs, k):
    vae = ContrastiveVAE(4, 3, max_epochs=2)
    augmented = LatentPairAugmenter(
        vae, factor=8, n_response_features=k, random_state=0
    ).fit_transform(pairs)
    fit = dict(FAST, max_epochs=5, early_stopping=False, standardize=False)
    features = BTRewardRegressor(**fit, n_response_features=3).fit(augmented)
    by_hand = augmented.with_rows(lambda rows: scaled(rows, like=augmented.originals))
    expected = BTRewardRegressor(**fit).fit(by_hand)
    np.testing.assert_allclose(
        features.decision_function(pairs),
        expected.decision_function(scaled(pairs)),
        rtol=1e-3,
        atol=1e-3,
    )


def test_features_count_as_often_as_originals_weigh(pairs):
    raw, weight = viewed(pairs), np.r_[np.full(20, 3), np.ones(40, dtype=int)]
    fit = dict(FAST, max_epochs=1, early_stopping=False, output_init="uniform", learning_rate=1e-9)
    fit["n_response_features"] = 3
    weighted = BTRewardRegressor(**fit).fit(raw, sample_weight=weight).predict(raw)
    repeated = BTRewardRegressor(**fit).fit(np.repeat(raw, weight, axis=0)).predict(raw)
    np.testing.assert_allclose(weighted, repeated, atol=1e-4)
    assert abs(weighted - BTRewardRegressor(**fit).fit(raw).predict(raw)).max() > 1e-2


def test_no_gradient_of_features_is_larger_than_the_lipschitz_constant(pairs):
    raw = viewed(pairs, factor=0.01)  # a unit is a hundred deviations
    reward = BTRewardRegressor(**FAST, n_response_features=3).fit(raw)
    points = raw.reshape(-1, 12)
    step = np.random.default_rng(0).normal(scale=1e-3, size=points.shape).astype(np.float32)
    rise = abs(reward.predict(points + step) - reward.predict(points))
    slope = rise / np.linalg.norm(step, axis=1)
    assert 0.1 * reward.lipschitz < slope.max() <= 1.01 * reward.lipschitz


def test_response_features_survive_their_state_and_pickles(pairs):
    raw = viewed(pairs)
    reward = BTRewardRegressor(**FAST, n_response_features=3).fit(raw)
    same = clone(reward)
    same.set_fitted_state(reward.get_fitted_state())
    np.testing.assert_array_equal(same.predict(raw), reward.predict(raw))
    assert same.slope_ == reward.slope_ and same.lipschitz == reward.lipschitz
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(reward)).predict(raw), reward.predict(raw)
    )
    state = BTRewardRegressor(**FAST).fit(raw).get_fitted_state()
    with pytest.raises(ValueError, match="weights do not fit the parameters"):
        same.set_fitted_state(state)
    del state["slope_"]  # as it was saved before there was one
    plain = BTRewardRegressor(**FAST)
    plain.set_fitted_state(state)
    assert plain.slope_ == 1


# ------------------------------------------------------------------------- inference
def test_predict_keeps_every_leading_axis(pairs, candidates):
    reward = BTRewardRegressor(**FAST, max_epochs=2).fit(pairs)
    X = candidates[0]
    rewards = reward.predict(X)
    assert rewards.shape == (10, 5)
    np.testing.assert_allclose(reward.predict(X[3]), rewards[3], atol=1e-6)
    np.testing.assert_allclose(reward.predict(X[None])[0], rewards, atol=1e-6)
    np.testing.assert_allclose(
        reward.decision_function(pairs), -reward.decision_function(pairs[:, ::-1]), atol=1e-6
    )


def test_padding_is_never_picked(pairs, candidates):
    reward = BTRewardRegressor(**FAST).fit(pairs)
    X, gold = candidates
    expected = reward.score(X[:, :4], gold[:, :4])
    X, gold = X.copy(), gold.copy()
    X[:, 4] = np.nan
    gold[:, 4] = np.nan
    assert np.isnan(reward.predict(X)[:, 4]).all()
    assert reward.score(X, gold) == pytest.approx(expected)


def test_scores_weigh_prompts_and_pairs(pairs, candidates):
    reward = BTRewardRegressor(**FAST, max_epochs=3).fit(pairs)
    X, gold = candidates
    weight = np.random.default_rng(0).random(10)
    picked = gold[np.arange(10), reward.predict(X).argmax(axis=1)]
    expected = np.average(picked, weights=weight)
    assert reward.score(X, gold, weight) == pytest.approx(expected)
    weight = np.random.default_rng(0).random(60)
    right = reward.predict(pairs)[:, 0] > reward.predict(pairs)[:, 1]
    assert reward.score(pairs, sample_weight=weight) == pytest.approx(weight @ right / weight.sum())
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    for weights in (weight, np.tile(weight, 3)):  # one an original, or one a pair
        assert reward.score(augmented, sample_weight=weights) == pytest.approx(
            weight @ right / weight.sum()
        )
    with pytest.raises(ValueError, match=r"\(180,\), .* or \(60,\), .*; got \(59,\)"):
        reward.score(augmented, sample_weight=weight[1:])


def test_probabilities_are_those_of_the_log_odds(pairs):
    reward = BTRewardRegressor(**FAST).fit(pairs)
    log_odds = reward.decision_function(pairs)
    probability = reward.predict_proba(pairs)
    assert probability.shape == (60, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-log_odds)), rtol=1e-6)
    far = reward.predict_proba(np.stack([pairs[:, 0] * 1e6, pairs[:, 1]], axis=1))
    assert ((far >= 0) & (far <= 1)).all()


def test_no_gradient_is_larger_than_the_lipschitz_constant(pairs):
    for standardize in (True, False):
        reward = BTRewardRegressor(**FAST, standardize=standardize).fit(5 * pairs + 3)
        one, two = np.random.default_rng(0).normal(scale=20, size=(2, 2000, 12)).astype(np.float32)
        slope = abs(reward.predict(one) - reward.predict(two)) / np.linalg.norm(one - two, axis=1)
        assert 0.2 * reward.lipschitz < slope.max() <= reward.lipschitz


def test_accuracy_counts_ties_half(pairs):
    reward = BTRewardRegressor(**FAST, max_epochs=1).fit(pairs)
    same = np.repeat(pairs[:, :1], 2, axis=1)
    assert reward.score(same) == 0.5
    assert reward.score(pairs, np.zeros(60)) == pytest.approx(1 - reward.score(pairs))


def test_pickle_is_small_and_predicts_to_the_bit(pairs):
    reward = BTRewardRegressor(hidden_dim=256, max_epochs=2).fit(np.tile(pairs, (1, 1, 100)))
    blob = pickle.dumps(reward)
    assert len(blob) < 1.2 * 4 * 256 * 1200 + 50_000, "the weights once, no optimiser"
    X = np.tile(pairs, (1, 1, 100))
    np.testing.assert_array_equal(pickle.loads(blob).predict(X), reward.predict(X))
    assert b"cuda:" not in blob


# ------------------------------------------------------------------------- bad input
def test_unfitted_use_is_refused(pairs):
    for method in ("predict", "decision_function", "score"):
        with pytest.raises(NotFittedError):
            getattr(BTRewardRegressor(), method)(pairs)


def test_bad_input_is_named(pairs, candidates):
    with pytest.raises(ValueError, match="holds out 1 of 1 original pairs.*early_stopping=False"):
        BTRewardRegressor().fit(pairs[:1])
    BTRewardRegressor(early_stopping=False, max_epochs=1).fit(pairs[:1])
    with pytest.raises(ValueError, match="at least one"):
        BTRewardRegressor().fit(pairs, sample_weight=np.zeros(60))
    reward = BTRewardRegressor(**FAST, max_epochs=1).fit(pairs)
    X, gold = candidates
    with pytest.raises(ValueError, match="the same shape, or first axis"):
        reward.score(X, gold[:, :3])
    with pytest.raises(ValueError, match="expected pairs"):
        reward.decision_function(X)
    with pytest.raises(ValueError, match="7 features.*expecting 12"):
        reward.predict(X[..., :7])


def test_tags_say_what_is_taken():
    tags = BTRewardRegressor().__sklearn_tags__()
    assert tags.input_tags.three_d_array and tags.input_tags.two_d_array
    assert not tags.target_tags.required, "pairs need no target"
    assert tags.regressor_tags.poor_score
