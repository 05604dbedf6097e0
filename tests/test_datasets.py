"""The toy world keeps its promises, and so do the demo's sentences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn._demo_data import demo_responses
from lens_sklearn._rows import prompt_groups, read_texts
from lens_sklearn.datasets import (
    load_candidates,
    load_preferences,
    make_demo_preferences,
    make_preference_pairs,
)


@given(
    n_pairs=st.integers(1, 30),
    d=st.integers(1, 20),
    n_candidates=st.integers(1, 5),
    n_test_prompts=st.integers(1, 4),
    n_latent=st.integers(1, 12),
    seed=st.integers(0, 100),
)
def test_any_shape(n_pairs, d, n_candidates, n_test_prompts, n_latent, seed):
    toy = make_preference_pairs(
        n_pairs,
        d,
        n_candidates=n_candidates,
        n_test_prompts=n_test_prompts,
        n_latent=n_latent,
        random_state=seed,
    )
    assert toy.pairs.shape == (n_pairs, 2, d) and toy.pairs.dtype == np.float32
    assert toy.candidates.shape == (n_test_prompts, n_candidates, d)
    assert toy.gold.shape == (n_test_prompts, n_candidates)
    assert toy.pair_gold.shape == (n_pairs, 2) and toy.groups.shape == (n_pairs,)
    basis = toy.basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-10)
    assert (toy.pair_gold[:, 0] >= toy.pair_gold[:, 1]).all()


@pytest.mark.parametrize("nonlinearity", [0, 0.7, 3])
def test_gold_is_the_reward_of_the_embeddings(nonlinearity):
    toy = make_preference_pairs(nonlinearity=nonlinearity, random_state=0)
    np.testing.assert_array_equal(toy.gold, toy.reward(toy.candidates))
    np.testing.assert_array_equal(toy.pair_gold, toy.reward(toy.pairs))


@given(
    nonlinearity=st.floats(0, 5),
    scale=st.floats(0.1, 10),
    d=st.integers(1, 6),
    step=st.floats(1e-3, 10),
)
def test_reward_is_lipschitz(nonlinearity, scale, d, step):
    toy = make_preference_pairs(
        2, d, n_latent=d, nonlinearity=nonlinearity, reward_scale=scale, random_state=0
    )
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, d))
    b = a + step * rng.normal(size=(500, d))
    slope = np.abs(toy.reward(a) - toy.reward(b)) / np.linalg.norm(a - b, axis=-1)
    assert slope.max() <= toy.reward_lipschitz * (1 + 1e-6)


def test_lipschitz_constant_is_reached():
    toy = make_preference_pairs(2, 5, nonlinearity=2.0, reward_scale=3.0, random_state=0)
    reward = toy.reward
    sign = np.sign(reward.w1 @ reward.w2) or 1.0
    steepest = reward.w1 + sign * 2.0 * reward.w2
    # cos(w2 · e) is ±1 at e = 0 and at e = π w2, where w2 is a unit vector
    start = np.zeros(5) if sign > 0 else np.pi * reward.w2
    end = start + 1e-5 * steepest / np.linalg.norm(steepest)
    slope = (reward(end) - reward(start)) / np.linalg.norm(end - start)
    assert slope == pytest.approx(toy.reward_lipschitz, rel=1e-4)


@pytest.mark.parametrize("label_noise", [0.0, 0.2, 1.0])
def test_flips_are_as_frequent_as_asked(label_noise):
    toy = make_preference_pairs(4000, 4, label_noise=label_noise, random_state=0)
    flipped = toy.pair_gold[:, 0] < toy.pair_gold[:, 1]
    assert flipped.mean() == pytest.approx(label_noise, abs=4 * np.sqrt(0.25 / 4000))
    assert flipped.mean() == label_noise or 0 < label_noise < 1


def test_temperature_follows_bradley_terry():
    toy = make_preference_pairs(20000, 4, temperature=0.5, random_state=0)
    margin = np.abs(toy.pair_gold[:, 0] - toy.pair_gold[:, 1])
    right = toy.pair_gold[:, 0] > toy.pair_gold[:, 1]
    for low, high in [(0, 0.5), (0.5, 1), (1, 2)]:
        here = (margin > low) & (margin < high)
        expected = (1 / (1 + np.exp(-margin[here] / 0.5))).mean()
        assert right[here].mean() == pytest.approx(expected, abs=0.03)


def test_prompts_are_shared_within_groups_alone():
    toy = make_preference_pairs(60, 8, n_prompts=6, n_latent=4, embedding_noise=0.0, random_state=0)
    assert np.unique(toy.groups).size == 6
    prompt_part = toy.pairs.reshape(-1, 8) @ toy.basis[2:].T
    for group in range(6):
        rows = np.repeat(toy.groups == group, 2)
        assert np.ptp(prompt_part[rows], axis=0).max() < 1e-5
    assert np.ptp(prompt_part, axis=0).min() > 0.1


@pytest.mark.parametrize("make", [make_preference_pairs, make_demo_preferences])
def test_seed_decides(make):
    a, b, c = make(random_state=0), make(random_state=0), make(random_state=1)
    np.testing.assert_array_equal(a.gold, b.gold)
    np.testing.assert_array_equal(a.pairs, b.pairs)
    assert not np.array_equal(a.gold, c.gold)


def test_label_noise_changes_labels_alone():
    clean = make_preference_pairs(50, 4, random_state=0)
    noisy = make_preference_pairs(50, 4, label_noise=0.5, temperature=1.0, random_state=0)
    np.testing.assert_array_equal(clean.candidates, noisy.candidates)
    np.testing.assert_array_equal(np.sort(clean.pairs, axis=1), np.sort(noisy.pairs, axis=1))


@pytest.mark.parametrize(
    "bad", [{"n_pairs": 0}, {"n_features": 0}, {"label_noise": 1.1}, {"temperature": -1}]
)
def test_bad_parameters(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_preference_pairs(**bad)


def test_demo_splits_by_prompt():
    demo = make_demo_preferences(random_state=0)
    held_out = {row["prompt"] for row in demo.candidates}
    assert len(held_out) == 33
    assert held_out.isdisjoint(row["prompt"] for row in demo.pairs)
    assert len(np.unique(demo.pair_index, axis=0)) == len(demo.pairs) == 240
    same = prompt_groups(demo.pairs)
    assert len(set(zip(same, demo.groups, strict=True))) == len(set(same)) == len(set(demo.groups))


def test_demo_gold_orders_the_pairs():
    prompts, responses, gold = demo_responses()
    demo = make_demo_preferences(random_state=3)
    for row, (p, chosen, rejected) in zip(demo.pairs, demo.pair_index, strict=True):
        assert row["prompt"] == prompts[p] and row["chosen"] == responses[p, chosen]
        assert gold[p, chosen] - gold[p, rejected] > 0.1
    np.testing.assert_array_equal(demo.gold, [row["gold"] for row in demo.candidates])
    assert read_texts(demo.pairs).items.shape == (240, 2)
    assert read_texts(demo.candidates).items.shape == (33, 16)


def test_demo_responses_differ_and_length_does_not_give_quality_away():
    prompts, responses, gold = demo_responses()
    assert len(set(prompts)) == len(prompts) >= 60
    assert all(len(set(row)) == 16 for row in responses)
    assert min(map(len, map(str.split, responses.ravel()))) > 20
    length = np.vectorize(lambda text: len(text.split()))(responses).astype(float)
    within = [x - x.mean(axis=1, keepdims=True) for x in (length, gold)]
    assert abs(np.corrcoef(*(x.ravel() for x in within))[0, 1]) < 0.25
    assert gold.max(axis=1).min() > gold.mean() > gold.min(axis=1).max()


def test_demo_refuses_impossible_sizes():
    with pytest.raises(ValueError, match="n_test_prompts=73 leaves no training prompt"):
        make_demo_preferences(n_test_prompts=73)
    with pytest.raises(ValueError, match="only .* pairs can be drawn"):
        make_demo_preferences(n_pairs=10**6)


def test_loaders_are_reexported():
    assert load_preferences.__module__ == load_candidates.__module__ == "lens_sklearn._io"
