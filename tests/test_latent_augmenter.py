"""Synthetic pairs by a reward's word: transfer, soft targets, unlabelled responses, auto."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import Pipeline

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    GPRewardRegressor,
    LatentPairAugmenter,
    WithinPromptWhitening,
    export,
)
from lens_sklearn._latent_augmenter import follow_factor
from lens_sklearn._pools import DifferenceRows
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.theory import SynthesisCertificate


def recommended(**params):
    return LatentPairAugmenter.recommended(**{"factor": 4, "random_state": 0} | params)


@pytest.mark.parametrize("n", [60, 20_000])
def test_transferred_members_have_the_shrunk_moments_of_the_originals(n):
    """The first member is like a response and the second differs as two responses do."""
    rng = np.random.default_rng(0)
    spread = np.float32([3, 1, 1, 0.3, 0.1, 1e-3])
    prompt = 10 + rng.normal(size=(n, 1, 6)).astype(np.float32)
    pairs = prompt + spread * rng.normal(size=(n, 2, 6)).astype(np.float32)
    pool = DifferenceRows.draw(pairs, 60_000 // n, np.random.default_rng(1))
    rows = pool[np.arange(len(pool))].reshape(-1, 2, 6)
    scale = pairs.reshape(-1, 6).std(axis=0)
    real, new = pairs / scale, rows / scale
    np.testing.assert_allclose(new[:, 0].mean(axis=0), real.mean(axis=(0, 1)), atol=0.05)
    responses = LedoitWolf().fit(real.reshape(-1, 6)).covariance_
    np.testing.assert_allclose(np.cov(new[:, 0].T), responses, atol=0.05)
    differences = real[:, 0] - real[:, 1]
    expected = LedoitWolf(assume_centered=True).fit(differences).covariance_
    np.testing.assert_allclose(np.cov((new[:, 1] - new[:, 0]).T), expected, atol=0.05)


def test_children_are_their_parents_and_originals_come_first(pairs):
    augmented = recommended().fit_transform(pairs)
    assert augmented.shape == (240, 2, 12) and augmented.is_synthetic.sum() == 180
    rows = np.asarray(augmented)
    np.testing.assert_array_equal(rows[:60], pairs)
    augmented.pool.shares = ((1.0, 0.0), (1.0, 0.0))  # without noise: whole differences
    rows = np.asarray(augmented)
    difference = pairs[:, 0] - pairs[:, 1]
    signed = np.concatenate([difference, -difference])
    for (first, second), parent in zip(rows[60:], augmented.parent[60:], strict=True):
        assert np.abs(first - pairs[parent]).max(axis=1).min() < 1e-5, "it begins at its parent's"
        assert np.abs(signed - (second - first)).max(axis=1).min() < 1e-5


def test_transferred_rows_are_the_same_as_tensors_and_alone(pairs):
    pool = DifferenceRows.draw(pairs, 3, np.random.default_rng(0))
    rows = pool[np.arange(len(pool))]
    assert rows.shape == (360, 12) and rows.dtype == np.float32
    picked = np.array([7, 3, 6, 7, 359, 0])
    np.testing.assert_allclose(pool[picked], rows[picked], atol=1e-6)
    on_device = pool.to(torch.device("cpu"))
    np.testing.assert_allclose(on_device[picked].numpy(), rows[picked], atol=1e-5)


def test_features_that_never_change_stay_as_they_are(pairs):
    with_constant = np.concatenate([pairs, np.full((60, 2, 2), 7, np.float32)], axis=-1)
    rows = DifferenceRows.draw(pairs, 3, np.random.default_rng(0))
    more = DifferenceRows.draw(with_constant, 3, np.random.default_rng(0))
    assert more.shares == pytest.approx(np.array(rows.shares), abs=1e-5)
    np.testing.assert_allclose(more[np.arange(9)][:, 12:], 7, atol=1e-5)
    same = DifferenceRows.draw(np.ones((3, 2, 4), np.float32), 2, np.random.default_rng(0))
    np.testing.assert_array_equal(same[np.arange(12)], 1)


def test_raw_embeddings_are_as_good_as_standardised_ones():
    gold = []
    for seed in range(4):
        toy = make_preference_pairs(80, 16, nonlinearity=1.0, random_state=seed)
        rng = np.random.default_rng(seed)
        scale = (10 ** rng.uniform(-3, 3, 16)).astype(np.float32)
        shift = scale * rng.uniform(-3, 3, 16).astype(np.float32)
        pipe = Pipeline(
            [("augment", recommended(factor=16)), ("reward", BTRewardRegressor(random_state=0))]
        )
        raw = pipe.fit(toy.pairs * scale + shift).score(toy.candidates * scale + shift, toy.gold)
        scaled = pipe.fit(toy.pairs).score(toy.candidates, toy.gold)
        gold.append((raw, scaled, toy.gold.mean()))
    raw, scaled, random = np.mean(gold, axis=0)
    assert raw - random > 0.97 * (scaled - random)


def test_targets_are_the_rewards_and_originals_keep_theirs(pairs):
    y = np.linspace(0.5, 1, 60).astype(np.float32)
    augmenter = recommended(sharpness=2.0, relabel="synthetic")
    augmented = augmenter.fit_transform(pairs, y)
    np.testing.assert_array_equal(augmented.target[:60], y)
    odds = augmenter.reward_.decision_function(augmented)[60:]
    np.testing.assert_allclose(augmented.target[60:], expit(2 * odds), atol=1e-5)
    expected = GPRewardRegressor().fit(pairs, y).decision_function(augmented)[60:]
    np.testing.assert_allclose(odds, expected, atol=1e-5)
    everything = recommended(sharpness=2.0).fit_transform(pairs, y)
    np.testing.assert_array_equal(everything.target[60:], augmented.target[60:])
    of_originals = expit(2 * augmenter.reward_.decision_function(pairs))
    np.testing.assert_allclose(everything.target[:60], of_originals, atol=1e-5)


def test_soft_targets_go_with_the_papers_synthesis_too(pairs):
    vae = ContrastiveVAE(4, 8, max_epochs=2)
    hard = LatentPairAugmenter(vae, random_state=0).fit_transform(pairs)
    soft = LatentPairAugmenter(
        vae, random_state=0, relabel="synthetic", reward=GPRewardRegressor()
    ).fit_transform(pairs)
    np.testing.assert_array_equal(np.asarray(hard), np.asarray(soft))
    assert len(np.unique(soft.target[60:])) > 100 and (hard.target == 1).all()


def test_shuffled_pairs_have_the_same_children(pairs):
    order = np.random.default_rng(0).permutation(60)
    one = recommended().fit_transform(pairs)
    two = recommended().fit_transform(pairs[order])
    for i in range(60):
        mine = np.asarray(one)[one.parent == order[i]]
        np.testing.assert_allclose(np.asarray(two)[two.parent == i], mine, atol=1e-6)
        np.testing.assert_allclose(
            two.target[two.parent == i], one.target[one.parent == order[i]], atol=1e-5
        )


def test_memory_does_not_grow_with_the_factor(pairs):
    sizes = []
    for factor in (2, 32):
        pool = recommended(factor=factor).fit_transform(pairs).pool
        assert pool.originals is not None and pool.originals.shape == pairs.shape
        assert pool.noise.nbytes == 4 * 256 * 12, "one table, whatever the factor"
        sizes.append(sum(a.nbytes for a in (pool.base_row, pool.pair, pool.sign, pool.window)))
    assert sizes[1] == 31 * sizes[0] == 31 * 60 * (8 + 8 + 4 + 16), "five numbers a pair"


# --------------------------------------------------------------------------- unlabelled
def test_unlabelled_pairs_are_two_responses_of_one_prompt(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    unlabeled[0, 1:] = np.nan  # one response: no pair
    unlabeled[1, 2:] = np.nan
    augmented = recommended().fit_transform(pairs, unlabeled=unlabeled)
    rows = np.asarray(augmented)[60:]
    assert np.isfinite(rows).all()
    flat = unlabeled.reshape(-1, 12)
    index = np.array([[np.flatnonzero((flat == e).all(axis=1))[0] for e in pair] for pair in rows])
    assert (index[:, 0] // 4 == index[:, 1] // 4).all() and (index[:, 0] != index[:, 1]).all()
    assert set(index[:, 0] // 4) == {1, 2, 3, 4, 5, 6}
    np.testing.assert_array_equal(np.bincount(augmented.parent), 4)


def test_the_reward_is_given_the_unlabelled_responses_if_it_takes_them(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    augmenter = recommended()
    augmented = augmenter.fit_transform(pairs, unlabeled=unlabeled)
    process = GPRewardRegressor().fit(pairs, unlabeled=unlabeled)
    odds = 3 * process.decision_function(augmented)
    np.testing.assert_allclose(augmented.target, expit(odds), atol=1e-5)
    augmenter = recommended(reward=BTRewardRegressor(max_epochs=1, random_state=0))
    augmented = augmenter.fit_transform(pairs, unlabeled=unlabeled)
    assert len(augmented) == 240 and augmenter.reward_.n_features_in_ == 12


@pytest.mark.parametrize("factor", [4, "auto"])
def test_the_reward_is_told_the_prompts_if_it_takes_them(factor):
    """Of pairs that are there twice it makes a difference which ones are left out together."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 8)) * np.sort(rng.lognormal(sigma=0.3, size=(60, 2, 1)), axis=1)
    repeated = np.concatenate([pairs, pairs + 1e-3]).astype(np.float32)
    prompts = np.tile(np.arange(60), 2)
    order = np.random.default_rng(0).permutation(120)
    augmenter = recommended(factor=factor)
    augmenter.fit_transform(repeated[order], groups=prompts[order])
    told = GPRewardRegressor().fit(repeated, groups=prompts).uncertainty_penalty_
    assert augmenter.reward_.uncertainty_penalty_ == pytest.approx(told, abs=1e-6)
    assert told != pytest.approx(GPRewardRegressor().fit(repeated).uncertainty_penalty_, abs=1e-2)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        augmenter.fit_transform(repeated, groups=prompts[1:])


def test_no_autoencoder_is_fitted_for_unlabelled_responses(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    augmenter = recommended(decode="reconstruct", vae=ContrastiveVAE(4, 8, max_epochs=1))
    assert not hasattr(augmenter.fit(pairs, unlabeled=unlabeled), "vae_")
    assert hasattr(augmenter.fit(pairs), "vae_")


def test_unlabelled_responses_come_through_a_pipeline(pairs):
    unlabeled = 5 + 3 * np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [
                ("scale", EmbeddingScaler()),
                ("augment", recommended()),
                ("reward", BTRewardRegressor(max_epochs=2, random_state=0)),
            ],
            transform_input=["unlabeled"],
        )
        rewards = pipe.fit(pairs, unlabeled=unlabeled, groups=np.arange(60)).predict(pairs)
    scaler = EmbeddingScaler().fit(pairs)
    augmented = recommended().fit_transform(
        scaler.transform(pairs), unlabeled=scaler.transform(unlabeled), groups=np.arange(60)
    )
    expected = BTRewardRegressor(max_epochs=2, random_state=0).fit(augmented)
    np.testing.assert_array_equal(rewards, expected.predict(scaler.transform(pairs)))


@pytest.mark.parametrize(
    ("unlabeled", "params", "message"),
    [
        (np.zeros((3, 4, 12)), {"relabel": "none"}, 'no parents .* relabel="synthetic"'),
        (np.zeros((3, 4, 11)), {}, "11 features"),
        (np.zeros((3, 4, 2, 12)), {}, r"shape \(m, N, d\)"),
        (np.zeros((3, 1, 12)), {}, "none of the 3 prompts .* two responses"),
    ],
)
def test_bad_unlabelled_responses(pairs, unlabeled, params, message):
    with pytest.raises(ValueError, match=message):
        recommended(**params).fit_transform(pairs, unlabeled=unlabeled)


# --------------------------------------------------------------------------------- auto
def test_auto_augments_where_it_does_no_harm(pairs):
    augmenter = recommended(factor="auto")
    augmented = augmenter.fit_transform(pairs, groups=np.arange(60) // 2)
    assert set(augmenter.factor_scores_) == {1, 256}
    assert augmenter.factor_ == len(augmented) / 60
    assert clone(augmenter).factor == "auto", "the parameter stays as it was given"


@pytest.mark.parametrize(
    ("n", "d", "factor"),
    [
        *[(50, 384, 256), (200, 384, 64), (200, 64, 157), (200, 3840, 64), (10**5, 8, 8)],
        *[(5000, 384, 8), (5000, 3840, 3), (10**4, 10**5, 2)],
    ],
)
def test_the_more_pairs_and_features_the_smaller_the_factor(n, d, factor):
    assert follow_factor(np.broadcast_to(np.float32(0), (n, 2, d))) == factor


class Contrarian(GPRewardRegressor):
    """A teacher that prefers what was rejected."""

    def predict(self, X):
        return -super().predict(X)


def test_auto_refuses_a_teacher_that_is_wrong():
    toy = make_preference_pairs(150, 64, random_state=0)
    wrong = recommended(factor="auto", reward=Contrarian())
    augmented = wrong.fit_transform(toy.pairs)
    assert wrong.factor_ == 1 and len(augmented) == 150
    assert wrong.factor_scores_[1] > 0.5 > wrong.factor_scores_[209]


def test_auto_judges_what_the_network_makes_of_the_reward_where_pairs_are_many(monkeypatch):
    """A reward that is right gains nothing where the network cannot follow it."""
    toy = make_preference_pairs(150, 64, random_state=0)
    blunt = recommended(factor="auto", sharpness=1e-9)  # all targets are 0.5
    assert blunt.fit(toy.pairs).factor_ == 209
    scores = blunt.factor_scores_
    monkeypatch.setattr("lens_sklearn._latent_augmenter.AUTO_FOLLOWED", 100)
    assert blunt.fit(toy.pairs).factor_ == 1
    assert blunt.factor_scores_[1] == scores[1] > blunt.factor_scores_[209]
    assert scores[209] > blunt.factor_scores_[209], "that was the reward itself"
    assert recommended(factor="auto").fit(toy.pairs).factor_ == 209


@pytest.mark.parametrize(
    ("by_networks", "lost", "won", "augments"),
    [
        (True, 9, 6, True),  # 3 pairs of √15
        (True, 11, 6, False),  # 5 of √17
        (False, 11, 6, True),
        (False, 18, 6, False),  # 12 of 2 √24
    ],
)
def test_auto_asks_one_error_of_networks_and_two_of_the_reward(
    monkeypatch, by_networks, lost, won, augments
):
    """Pairs that only what would be augmented orders wrongly (lost), and only it rightly (won)."""
    wrong = {False: np.arange(won), True: won + np.arange(lost)}  # by whether it is augmented

    def fitted_on(self, pairs, factor, *others):
        def decision_function(tested):
            return 1 - 2 * np.isin(np.asarray(tested)[:, 0, 0], wrong[factor > 1])

        return SimpleNamespace(decision_function=decision_function)

    monkeypatch.setattr(LatentPairAugmenter, "_fitted_on", fitted_on)
    if by_networks:
        monkeypatch.setattr("lens_sklearn._latent_augmenter.AUTO_FOLLOWED", 100)
    pairs = np.random.default_rng(0).normal(size=(300, 2, 4)).astype(np.float32)
    pairs[:, 0, 0] = np.arange(300)  # so that a pair is known
    augmenter = recommended(factor="auto").fit(pairs)
    assert (augmenter.factor_ > 1) == augments


def test_auto_judges_the_teacher_on_pairs_that_it_has_not_seen():
    """On pairs at random nothing is learnt, though the process is right on those it was given."""
    pairs = np.random.default_rng(0).normal(size=(300, 2, 64)).astype(np.float32)
    augmenter = recommended(factor="auto")
    augmenter.fit(pairs)
    assert abs(max(augmenter.factor_scores_.values()) - 0.5) < 0.1
    assert GPRewardRegressor().fit(pairs).score(pairs) > 0.7


def test_auto_chooses_how_much_by_networks_where_targets_are_handed_down():
    toy = make_preference_pairs(90, 8, random_state=0)
    augmenter = LatentPairAugmenter(
        ContrastiveVAE(4, 8, max_epochs=1), factor="auto", random_state=0
    )
    augmented = augmenter.fit_transform(toy.pairs)
    scores = augmenter.factor_scores_
    assert list(scores) == [1, 2, 4, 8] and scores[augmenter.factor_] == max(scores.values())
    assert len(augmented) == 90 * augmenter.factor_


def test_auto_leaves_a_handful_of_pairs_alone(pairs):
    augmenter = recommended(factor="auto")
    assert len(augmenter.fit_transform(pairs[:10])) == 10
    assert augmenter.factor_ == 1 and augmenter.factor_scores_ == {}


def test_a_network_must_see_lengths_as_the_reward_does():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 12)) * rng.lognormal(size=(60, 2, 1))
    with pytest.warns(UserWarning, match="lengths of the embeddings vary"):
        recommended().fit_transform(pairs)
    tempered = WithinPromptWhitening(0, covariance_exponent=0).fit_transform(pairs)
    recommended().fit_transform(tempered)  # warnings are errors


# -------------------------------------------------------------------------------- others
def test_no_certificate_without_a_latent_space(pairs):
    with pytest.raises(ValueError, match='decode="transfer"'):
        SynthesisCertificate.from_estimator(
            recommended().fit(pairs), pairs, lambda X: X[..., 0], lipschitz=1.0
        )


def test_a_fitted_preset_is_saved(pairs, tmp_path):
    pipe = Pipeline([("augment", recommended()), ("reward", BTRewardRegressor(max_epochs=1))])
    export.save(pipe.fit(pairs), tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.predict(pairs), pipe.predict(pairs))
    assert again[0].reward.prior_variance == 1.0
    for name, unlabeled in (("alone", None), ("with", pairs.reshape(30, 4, 12))):
        alone = GPRewardRegressor().fit(pairs, unlabeled=unlabeled)
        export.save(alone, tmp_path / name)
        np.testing.assert_array_equal(
            export.load(tmp_path / name).predict(pairs), alone.predict(pairs)
        )
