"""Checking arrays of embeddings, and the container of augmented pairs."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing

from lens_sklearn import AugmentedPairs, ContrastiveVAE
from lens_sklearn._device import as_tensor
from lens_sklearn._pools import DecodedRows
from lens_sklearn._validation import check_embeddings, check_pairs


# ------------------------------------------------------------------------- embeddings
class Anything(BaseEstimator):
    """Holds n_features_in_."""


@pytest.mark.parametrize(
    ("shape", "message"),
    [((4, 3, 5), "column 0 chosen; got shape"), ((4, 2, 3, 5), "got shape"), ((4, 5), "no y")],
)
def test_wrong_ranks_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(Anything(), np.ones(shape), reset=True)


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_values_that_are_not_finite_are_named_with_row_and_column(pairs, value, name):
    pairs[7, 1, 3] = value
    with pytest.raises(ValueError, match=f"{name} in row 7, column 1"):
        check_pairs(Anything(), pairs, reset=True)


def test_padding_is_whole_embeddings_only(candidates):
    X = candidates[0]
    X[2, 4:] = np.nan
    check_embeddings(Anything(), X, reset=True, allow_padding=True)
    X[3, 0, 0] = np.nan
    with pytest.raises(ValueError, match="row 3, column 0"):
        check_embeddings(Anything(), X, reset=True, allow_padding=True)


def test_large_finite_values_are_no_infinity():
    X = np.full((4, 2, 3), 3e38, dtype=np.float32)
    estimator = Anything()
    check_pairs(estimator, X / np.float32(1e38), reset=True)
    check_pairs(estimator, X, reset=False)


def test_another_d_is_refused(pairs):
    estimator = Anything()
    check_pairs(estimator, pairs, reset=True)
    with pytest.raises(ValueError, match="11 features.*expecting 12"):
        check_pairs(estimator, pairs[..., :11], reset=False)


def test_float32_pairs_are_not_copied(pairs):
    assert np.shares_memory(check_pairs(Anything(), pairs, reset=True).originals, pairs)


def test_memory_maps_become_tensors_without_a_copy(pairs, tmp_path):
    np.save(tmp_path / "pairs.npy", pairs)
    mapped = np.load(tmp_path / "pairs.npy", mmap_mode="r")
    tensor = as_tensor(mapped)
    assert tensor.data_ptr() == mapped.ctypes.data
    np.testing.assert_array_equal(tensor.numpy(), pairs)
    of_map, of_array = (
        ContrastiveVAE(4, 8, max_epochs=1, random_state=0).fit(X).transform(pairs)
        for X in (mapped, pairs)
    )
    np.testing.assert_array_equal(of_map, of_array)


def test_equal_columns_are_ties(pairs):
    pairs[5, 1] = pairs[5, 0]
    target = check_pairs(Anything(), pairs, reset=True).target
    assert np.flatnonzero(target == 0.5).tolist() == [5]


# -------------------------------------------------------------------------- container
@pytest.fixture
def augmented(pairs):
    """Three times 60 pairs with a low-rank pool of 120 rows."""
    rng = np.random.default_rng(3)
    codes, weight = rng.normal(size=(120, 4)), rng.normal(size=(4, 12))
    pool = DecodedRows(codes.astype(np.float32), weight.astype(np.float32))
    real = np.arange(120).reshape(60, 2)
    members = np.concatenate([real, real + 120, np.stack([real[:, 0], real[:, 1] + 120], 1)])
    return AugmentedPairs(pairs, pool, members, np.tile(np.arange(60), 3))


def test_container_is_an_array(augmented, pairs):
    dense = np.asarray(augmented)
    assert dense.shape == augmented.shape == (180, 2, 12)
    np.testing.assert_array_equal(dense[:60], pairs)
    np.testing.assert_allclose(dense[60:120], augmented.pool[slice(None)].reshape(60, 2, 12))
    np.testing.assert_array_equal(dense[120:, 0], pairs[:, 0])
    assert augmented.is_synthetic.tolist() == [False] * 60 + [True] * 120


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(0, 179)))
def test_slices_carry_everything_along(index):
    rng = np.random.default_rng(3)
    members = rng.integers(0, 120, (180, 2))
    whole = AugmentedPairs(
        rng.normal(size=(60, 2, 3)), None, members, rng.integers(0, 60, 180),
        target=rng.random(180), weight=rng.random(180),
    )  # fmt: skip
    part = _safe_indexing(whole, index)
    np.testing.assert_array_equal(np.asarray(part), np.asarray(whole)[index])
    for name in ("parent", "target", "weight", "is_synthetic"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[index])


def test_tensors_decode_to_the_same_rows(augmented):
    index = np.array([0, 70, 130, 179])
    rows = augmented.to("cpu").rows(index)
    np.testing.assert_allclose(rows.numpy(), augmented.rows(index), rtol=1e-5, atol=1e-6)


def test_targets_are_handed_down(augmented):
    y = np.linspace(0, 1, 60)
    np.testing.assert_allclose(augmented.with_target(y).target, np.tile(y, 3), rtol=1e-6)
    assert (augmented.target == 1).all()


def test_targets_of_a_slice_are_handed_down_from_its_own_parents(augmented):
    """Parents of a slice are not 0 … n - 1 in turn."""
    y = np.linspace(0, 1, 60)
    part = augmented[np.array([75, 3, 130, 59])]
    np.testing.assert_allclose(part.with_target(y).target, y[[15, 3, 10, 59]], rtol=1e-6)
    np.testing.assert_allclose(part.with_target(y[:4]).target, y[:4], rtol=1e-6)
    with pytest.raises(ValueError, match=r"shape \(4,\), a probability a pair, or \(60,\)"):
        part.with_target(y[:5])


def test_pairs_are_frozen_and_a_slice_shares_no_targets(augmented):
    with pytest.raises(FrozenInstanceError):
        augmented.target = np.zeros(180)
    for part in (augmented[:], augmented[10:20], augmented[np.arange(180)]):
        part.target[0] = 0.25
        part.weight[0] = 9
        part.members[0] = 0
    assert (augmented.target == 1).all() and (augmented.weight == 1).all()
    assert np.shares_memory(augmented[5:].originals, augmented.originals)


def test_replaced_weights_leave_all_else(augmented):
    weight = np.where(augmented.is_synthetic, 0.5, 1.0)
    other = replace(augmented, weight=weight)
    np.testing.assert_array_equal(other.weight, weight)
    np.testing.assert_array_equal(np.asarray(other), np.asarray(augmented))
    assert (augmented.weight == 1).all()
    one_each = replace(augmented, weight=np.arange(60))
    np.testing.assert_array_equal(one_each.weight, np.tile(np.arange(60), 3))


def test_a_slice_knows_what_is_synthetic_in_the_whole(pairs):
    """The second copy of a pair stays a copy where the first one is not selected."""
    copies = AugmentedPairs(pairs, members=np.tile(np.arange(120).reshape(60, 2), (2, 1)))
    assert copies.is_synthetic.tolist() == [False] * 60 + [True] * 60
    assert copies[60:].is_synthetic.all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": [0.5, 1.2]}, r"y\[1\] is 1.2"),
        ({"target": [np.nan, 1]}, r"y\[0\] is nan"),
        ({"weight": [1, -1]}, r"weight\[1\] is -1"),
        ({"weight": [np.inf, 1]}, r"weight\[0\] is inf"),
    ],
)
def test_bad_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        AugmentedPairs(np.zeros((2, 2, 3), np.float32), **fields)


def test_it_has_the_attributes_of_an_array(augmented, pairs):
    assert augmented.ndim == 3 and augmented.dtype == np.float32
    assert len(augmented) == 180 and augmented.shape == (180, 2, 12)
    for i in (0, 7, 75, -1):
        np.testing.assert_allclose(augmented[i], np.asarray(augmented)[i], rtol=1e-6)
    np.testing.assert_array_equal(augmented[3:9, 0], np.asarray(augmented)[3:9, 0])
    np.testing.assert_array_equal(np.asarray(augmented[2:5, ...]), np.asarray(augmented)[2:5])
    assert repr(augmented) == "AugmentedPairs(shape=(180, 2, 12), n_originals=60, n_synthetic=120)"


def test_a_pair_is_a_tie_if_all_its_features_are_equal():
    """The first feature alone, or some of them, make no tie."""
    pairs = np.zeros((4, 2, 3), np.float32)
    pairs[:, 0] = [[1, 2, 3], [1, 2, 3], [1, 2, 3], [5, 2, 3]]
    pairs[:, 1] = [[1, 2, 3], [1, 2, 4], [1, 0, 3], [1, 2, 3]]
    assert AugmentedPairs(pairs).target.tolist() == [0.5, 1, 1, 1]


def test_the_first_of_several_bad_values_is_named():
    with pytest.raises(ValueError, match=r"y\[1\] is 2.0"):
        AugmentedPairs(np.zeros((4, 2, 1), np.float32), target=[1, 2, 0, 3])
    with pytest.raises(ValueError, match=r"weight\[1\] is -2.0"):
        AugmentedPairs(np.zeros((4, 2, 1), np.float32), weight=[1, -2, 0, -3])


def test_weights_are_multiplied_and_pairs_without_any_left_out(augmented):
    once = augmented.weigh(np.arange(60.0))
    assert len(once) == 177 and 0 not in once.parent
    np.testing.assert_array_equal(once.weight, np.tile(np.arange(1, 60), 3))
    twice = once.weigh(np.full(177, 2.0))
    np.testing.assert_array_equal(twice.weight, 2 * once.weight)
    assert augmented.weigh() is augmented
    for nothing in (np.zeros(60), np.zeros(180)):
        with pytest.raises(ValueError, match="weights of all pairs are zero"):
            augmented.weigh(nothing)


def test_synthetic_pairs_are_added_behind_the_originals(pairs):
    originals = AugmentedPairs(pairs, target=np.linspace(0, 1, 60), weight=np.arange(60))
    pool = np.arange(240 * 12, dtype=np.float32).reshape(240, 12)
    augmented = originals.add(pool, 120 + np.arange(240).reshape(120, 2))
    np.testing.assert_array_equal(np.asarray(augmented)[60:].reshape(240, 12), pool)
    np.testing.assert_array_equal(augmented.parent, np.tile(np.arange(60), 3))
    np.testing.assert_array_equal(augmented.weight, np.tile(np.arange(60), 3))
    assert augmented.is_synthetic.tolist() == [False] * 60 + [True] * 120


@given(st.lists(st.integers(0, 11), min_size=1, max_size=20))
def test_coded_batches_are_the_decoded_ones(index):
    """Products with the identity are the rows themselves; each distinct member is there once."""
    rng = np.random.default_rng(0)
    originals = rng.normal(size=(4, 2, 5)).astype(np.float32)
    codes = rng.normal(size=(6, 3)).astype(np.float32)
    weight = rng.normal(size=(3, 5)).astype(np.float32)
    members = rng.integers(0, 14, (12, 2))
    whole = AugmentedPairs(originals, DecodedRows(codes, weight), members, np.arange(12) % 4)
    index = np.array(index)
    batch = whole.to("cpu").coded(index)
    assert len(batch) == len(index)
    products = batch.project(torch.eye(5))
    assert len(products) == len(np.unique(members[index]))
    np.testing.assert_allclose(products[batch.order].numpy(), whole.rows(index), atol=1e-6)
    assert len(batch.codes) == len(np.unique(members[index][members[index] >= 8]))
    np.testing.assert_array_equal(batch.rows[:3].numpy(), weight)


@pytest.mark.parametrize(
    ("n_pairs", "pays"),
    # m synthetic members of h = 8 codes each, d = 10, width 4: rows take m · 10 · (2 · 4 + 8)
    # products and codes 2 · 8 · (10 + m) · 4.
    [(3, 960 > 1024), (4, 1280 > 1152), (5, 1600 > 1280)],
)
def test_codes_pay_where_they_take_fewer_products(n_pairs, pays):
    pool = DecodedRows(np.ones((20, 8), np.float32), np.ones((8, 10), np.float32))
    members = np.arange(40).reshape(20, 2)  # 10 originals, then 10 pairs of synthetic rows
    whole = AugmentedPairs(np.ones((10, 2, 10), np.float32), pool, members, np.arange(20) % 10)
    assert whole.codes_pay(np.arange(10, 10 + n_pairs), 4) == pays
    assert whole.codes_pay(np.arange(20)[5 : 10 + n_pairs], 4) == pays, "originals do not count"
    assert not whole.codes_pay(np.arange(10), 4)
    pool = DecodedRows(pool.codes, pool.weight, np.zeros((1, 10)), np.zeros(20, int))
    based = replace(whole, pool=pool)
    assert not based.codes_pay(np.arange(20), 4), "every member has a base row of its own"


def test_pairs_of_the_first_pool_rows_alone_are_synthetic(pairs):
    """Row 0 of the pool is member 2n; without an original beside it nothing else tells."""
    alone = AugmentedPairs(pairs[:2], pairs[2], np.array([[4, 5]]), np.array([0]))
    assert alone.is_synthetic.tolist() == [True]
    mixed = AugmentedPairs(pairs[:2], pairs[2], np.array([[0, 5], [4, 3]]), np.array([0, 1]))
    assert mixed.is_synthetic.tolist() == [True, True]


def test_a_pair_comes_from_the_parent_of_its_first_member(pairs):
    mixed = AugmentedPairs(pairs[:2], members=np.array([[0, 3], [2, 1]]))
    assert mixed.parent.tolist() == [0, 1]
    assert mixed.is_synthetic.tolist() == [False, False]


def test_arrays_have_the_dtype_that_is_asked_for(augmented):
    assert np.asarray(augmented).dtype == np.float32
    assert np.asarray(augmented, dtype=np.float64).dtype == np.float64


def test_targets_that_were_made_stay(augmented):
    made = replace(augmented, target=np.full(180, 0.3), has_targets=True)
    assert made.with_target(np.ones(60)) is made and made.with_target(None) is made
    assert made[10:20].has_targets and made.weigh(np.arange(60)).has_targets
    assert not augmented[:].has_targets


def test_only_the_first_pair_of_each_parent_is_original(pairs):
    repeated = AugmentedPairs(pairs[:2], members=np.array([[2, 3], [2, 3], [0, 1]]))
    assert repeated.is_synthetic.tolist() == [False, True, False]


def test_other_embeddings_of_the_same_pairs(augmented, pairs):
    """A pool that is kept as codes is decoded; pairs without one have none."""
    for whole in (augmented, AugmentedPairs(pairs)):
        doubled = whole.with_rows(lambda rows: 2 * rows)
        np.testing.assert_allclose(np.asarray(doubled), 2 * np.asarray(whole), rtol=1e-5)
        np.testing.assert_array_equal(doubled.parent, whole.parent)
    assert isinstance(augmented.with_rows(lambda rows: rows).pool, np.ndarray)
    assert AugmentedPairs(pairs).with_rows(lambda rows: rows).pool is None
