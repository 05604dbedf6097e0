"""Rows that are made when they are asked for: differences of pairs at other responses."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from lens_sklearn._pools import DecodedRows, DifferenceRows


def by_common_factor(n, d=12, seed=0):
    """Pairs (n, 2, d) whose differences lie along one direction, and so survive shrinkage.

    The chosen response is ahead along that direction by 2 on average.
    """
    rng = np.random.default_rng(seed)
    direction = np.linspace(1, 2, d) / np.sqrt(d)
    along = 3 * rng.normal(size=(n, 2, 1)) + np.array([[[1.0], [-1.0]]])
    return (5 + along * direction + 0.1 * rng.normal(size=(n, 2, d))).astype(np.float32)


def draw(pairs, n_new, seed=0):
    """Return the pool, and its rows as pairs (n_new, n, 2, d)."""
    pool = DifferenceRows.draw(pairs, n_new, np.random.default_rng(seed))
    rows = pool[np.arange(len(pool))]
    return pool, rows.reshape(n_new, len(pairs), 2, pairs.shape[-1])


@pytest.mark.parametrize("n", [60, 20_000])
def test_members_have_the_shrunk_moments_of_the_originals(n):
    """The first member is like a response and the second differs as two responses do."""
    rng = np.random.default_rng(0)
    spread = np.float32([3, 1, 1, 0.3, 0.1, 1e-3])
    prompt = 10 + rng.normal(size=(n, 1, 6)).astype(np.float32)
    pairs = prompt + spread * rng.normal(size=(n, 2, 6)).astype(np.float32)
    _, rows = draw(pairs, 60_000 // n, seed=1)
    scale = pairs.reshape(-1, 6).std(axis=0)
    real, new = pairs / scale, rows.reshape(-1, 2, 6) / scale
    np.testing.assert_allclose(new[:, 0].mean(axis=0), real.mean(axis=(0, 1)), atol=0.05)
    responses = LedoitWolf().fit(real.reshape(-1, 6)).covariance_
    np.testing.assert_allclose(np.cov(new[:, 0].T), responses, atol=0.05)
    differences = real[:, 0] - real[:, 1]
    expected = LedoitWolf(assume_centered=True).fit(differences).covariance_
    np.testing.assert_allclose(np.cov((new[:, 1] - new[:, 0]).T), expected, atol=0.05)


def test_either_member_may_be_the_better_one():
    """Chosen responses are ahead by 2; with both signs synthetic differences have no mean."""
    _, rows = draw(by_common_factor(400), 40)
    ahead = (rows[:, :, 1] - rows[:, :, 0]).mean(axis=(0, 1))
    np.testing.assert_allclose(ahead, 0, atol=0.05)


def test_a_response_is_moved_by_the_difference_of_any_pair():
    pairs = by_common_factor(60)
    pool, _ = draw(pairs, 4)
    assert pool.shares[1][0] > 0.5, "differences survive their shrinkage"
    pool.shares = ((1.0, 0.0), (1.0, 0.0))  # without noise: whole differences
    rows = pool[np.arange(len(pool))].reshape(4, 60, 2, 12)
    differences = pairs[:, 0] - pairs[:, 1]
    signed = np.concatenate([differences, -differences])
    own = 0
    for children in rows:
        for parent, (first, second) in enumerate(children):
            assert np.abs(first - pairs[parent]).max(axis=1).min() < 1e-5, "its parent's response"
            gap = np.abs(signed - (second - first)).max(axis=1)
            assert gap.min() < 1e-5
            own += gap.argmin() % 60 == parent
    assert own < 20, "of 240 differences about 4 are the parent's own"


def test_the_noises_of_a_response_and_of_its_difference_are_independent():
    """From isotropic pairs all is noise: shrinkage leaves nothing of the samples' covariance."""
    pairs = np.random.default_rng(0).normal(size=(60, 2, 12)).astype(np.float32)
    pool, rows = draw(pairs, 400)
    pool.shares = ((0.0, 1.0), (0.0, 1.0))
    rows = pool[np.arange(len(pool))].reshape(-1, 2, 12)
    first = (rows[:, 0] - pool.mean) / pool.scale
    difference = (rows[:, 1] - rows[:, 0]) / pool.scale
    np.testing.assert_allclose(first.std(axis=0), 1, atol=0.1)
    np.testing.assert_allclose((first * difference).mean(axis=0), 0, atol=0.15)


def test_shuffled_pairs_have_the_same_children():
    pairs = by_common_factor(60)
    order = np.random.default_rng(1).permutation(60)
    pool, straight = draw(pairs, 3)
    _, shuffled = draw(pairs[order], 3)
    assert pool.shares[1][0] > 0.5
    np.testing.assert_allclose(shuffled, straight[:, order], atol=1e-5)


def test_rows_are_the_same_as_tensors_and_alone(pairs):
    pool = DifferenceRows.draw(pairs, 3, np.random.default_rng(0))
    rows = pool[np.arange(len(pool))]
    assert rows.shape == (360, 12) and rows.dtype == np.float32
    picked = np.array([7, 3, 6, 7, 359, 0])
    np.testing.assert_allclose(pool[picked], rows[picked], atol=1e-6)
    on_device = pool.to(torch.device("cpu"))
    np.testing.assert_allclose(on_device[picked].numpy(), rows[picked], atol=1e-5)


@pytest.mark.parametrize("n", [60, 1000])
@pytest.mark.parametrize("constant", [7.0, 0.1, 1 / 3, -1234.567])
def test_features_that_never_change_stay_as_they_are(n, constant):
    """Also those whose mean, summed up in float32, is another number."""
    pairs = by_common_factor(n)
    constants = np.full((n, 2, 2), constant, np.float32)
    rows = DifferenceRows.draw(pairs, 3, np.random.default_rng(0))
    more = DifferenceRows.draw(
        np.concatenate([pairs, constants], axis=-1), 3, np.random.default_rng(0)
    )
    assert more.shares == pytest.approx(np.array(rows.shares), abs=1e-4)
    np.testing.assert_allclose(more[np.arange(9)][:, 12:], constant, rtol=1e-6)


def test_pairs_that_are_all_equal_have_equal_children():
    same = DifferenceRows.draw(np.ones((3, 2, 4), np.float32), 2, np.random.default_rng(0))
    np.testing.assert_array_equal(same[np.arange(12)], 1)


@pytest.mark.parametrize("with_base", [False, True])
def test_decoded_rows_are_codes_times_weight_plus_their_base(with_base):
    rng = np.random.default_rng(0)
    codes, weight, base = (rng.normal(size=s).astype(np.float32) for s in ((7, 3), (3, 5), (4, 5)))
    base_row = rng.integers(0, 4, 7)
    pool = DecodedRows(codes, weight, *((base, base_row) if with_base else ()))
    index = np.array([6, 0, 6, 2])
    expected = codes[index] @ weight + (base[base_row[index]] if with_base else 0)
    np.testing.assert_allclose(pool[index], expected, rtol=1e-6)
    moved = pool.to(torch.device("cpu"))
    assert len(moved) == len(pool) == 7 and isinstance(moved.weight, torch.Tensor)
    np.testing.assert_allclose(moved[index].numpy(), expected, rtol=1e-5)
    assert (moved.base is None) == (not with_base)


def test_a_single_pair_keeps_its_difference():
    """One difference has no covariance to be shrunk."""
    pair = np.float32([[[1, 2, 5], [3, -2, 5]]])
    rows = DifferenceRows.draw(pair, 6, np.random.default_rng(0))
    moved = rows[np.arange(12)].reshape(6, 2, 3)
    difference = abs(moved[:, 1] - moved[:, 0])
    np.testing.assert_allclose(difference, np.tile([2, 4, 0], (6, 1)), atol=1e-5)
