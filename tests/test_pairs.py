"""Reading rows, checking arrays, and the container of augmented pairs."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing

from lens_sklearn import AugmentedPairs, load_candidates, load_preferences, prompt_groups
from lens_sklearn._pairs import LowRankRows, check_embeddings, check_pairs, read_texts

ROWS = [
    {"prompt": "p0", "chosen": "good", "rejected": "bad"},
    {"prompt": "p1", "chosen": "fine", "rejected": "poor"},
    {"prompt": "p0", "chosen": "great", "rejected": "awful"},
]
USER = {"role": "user", "content": "p0"}


def says(text):
    return {"role": "assistant", "content": text}


# ------------------------------------------------------------------------------ rows
def object_array(rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def hugging_face(rows):
    return pytest.importorskip("datasets", reason="reads a datasets.Dataset").Dataset.from_list(
        rows
    )


def polars(rows):
    return pytest.importorskip("polars", reason="reads a polars frame").DataFrame(rows)


@pytest.mark.parametrize("make", [list, pd.DataFrame, object_array, hugging_face, polars])
def test_every_form_of_rows_reads_the_same(make):
    expected = read_texts(ROWS)
    table = read_texts(make(ROWS))
    assert table.kind == "pairs"
    assert table.items.tolist() == expected.items.tolist()
    assert table.items[1, 0] == (("user", "p1"), ("assistant", "fine"))


def test_string_explicit_and_implicit_prompts_agree():
    explicit = [{"prompt": [USER], "chosen": [says("good")], "rejected": [says("bad")]}]
    implicit = [{"chosen": [USER, says("good")], "rejected": [USER, says("bad")]}]
    for rows in (explicit, implicit):
        assert read_texts(rows).items.tolist() == read_texts(ROWS[:1]).items.tolist()
        assert prompt_groups(rows * 2).tolist() == [0, 0]


def test_groups_follow_prompts_and_order_of_appearance():
    assert prompt_groups(ROWS).tolist() == [0, 1, 0]
    plain = [{"chosen": "a", "rejected": "b"}] * 2
    assert prompt_groups(plain).tolist() == [0, 1]


def test_ragged_candidates_are_padded():
    rows = [{"prompt": "p", "responses": ["a", "b", "c"]}, {"prompt": "q", "responses": ["d"]}]
    table = read_texts(rows)
    assert table.kind == "candidates"
    assert table.items.shape == (2, 3)
    assert table.items[1, 1:].tolist() == [None, None]


def test_nested_lists_keep_their_shape():
    assert read_texts([["a", "b"], ["c", "d"], ["e", "f"]]).items.shape == (3, 2)
    assert read_texts(["a", "b"]).items.tolist() == ["a", "b"]
    conversations = [[USER, says("x")], [USER, says("y")]]
    assert read_texts(conversations).items.shape == (2,)


def test_ties_are_kept_and_counted():
    rows = [*ROWS, {"prompt": "p", "chosen": "same", "rejected": "same"}]
    with pytest.warns(UserWarning, match=r"1 of 4 rows .* \(first: row 3\)"):
        assert len(read_texts(rows).items) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ("text", "single string"),
        ({"chosen": ["a"], "rejected": ["b"]}, "dict of columns"),
        ([{"prompt": "p", "chosen": "a", "rejcted": "b"}], "row 0: column 'rejected' is missing"),
        ([{"question": "p"}], "row 0: .*'chosen' and 'rejected'.*'question'"),
        ([ROWS[0], {"prompt": "p", "chosen": None, "rejected": "b"}], "row 1, column 'chosen'"),
        ([ROWS[0], {"prompt": "p", "chosen": "a", "rejected": " "}], "row 1, .*'rejected'.*empty"),
        ([ROWS[0], {"prompt": float("nan"), "chosen": "a", "rejected": "b"}], "row 1.*'prompt'"),
        ([ROWS[0], "text"], "row 1: expected a dict"),
        ([{"prompt": "p", "responses": []}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": "abc"}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": ["a", 3]}], r"row 0, responses\[1\]"),
        ([{"chosen": [{"role": "user"}], "rejected": "b"}], "row 0, column 'chosen', message 0"),
        ([["a", "b"], ["c"]], "row 1.*expected 2 entries"),
        ([["a", "b"], "c"], "row 1.*single text"),
        ([["a", ["b"]]], "deeper"),
        (np.zeros((3, 2)), "array of float64"),
    ],
)
def test_bad_rows_say_where(rows, message):
    with pytest.raises(ValueError, match=message):
        read_texts(rows)


# ----------------------------------------------------------------------------- files
@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_preferences_survive_every_format(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    lines = "\n".join(map(json.dumps, ROWS)) + "\n\n"
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="writes parquet")
        pd.DataFrame(ROWS).to_parquet(path)
    elif ending == ".csv":
        pd.DataFrame(ROWS).to_csv(path, index=False)
    elif ending == ".jsonl":
        path.write_text(lines)
    else:
        path.write_bytes(gzip.compress(lines.encode()))
    assert load_preferences(path) == ROWS


def test_candidates_come_with_padded_gold(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": "p", "responses": ["a", "b"], "gold": [1, 2]},
        {"prompt": "q", "responses": ["c"], "gold": [3]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    read, gold = load_candidates(path)
    assert read == rows
    np.testing.assert_array_equal(gold, [[1, 2], [3, np.nan]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "p", "responses": ["a"]}', "row 0: column 'gold' is missing"),
        ('{"responses": ["a", "b"], "gold": [1]}', "row 0: 'gold' has shape"),
        ('{"responses": ["a"], "gold": [NaN]}', r"row 0: gold\[0\] is nan"),
        ('{"responses": ["a"], "gold": [1]}\n{', "line 2: not JSON"),
        ('{"chosen": "a", "rejected": "b"}', "'responses' and 'gold'"),
        ("", "no rows"),
    ],
)
def test_bad_candidate_files_say_where(tmp_path, text, message):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_candidates(path)


def test_other_endings_and_missing_files(tmp_path):
    (tmp_path / "rows.txt").write_text("x")
    with pytest.raises(ValueError, match="ending"):
        load_preferences(tmp_path / "rows.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_preferences(tmp_path / "none.jsonl")


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
    check_pairs(Anything(), X, reset=True)


def test_another_d_is_refused(pairs):
    estimator = Anything()
    check_pairs(estimator, pairs, reset=True)
    with pytest.raises(ValueError, match="11 features.*expecting 12"):
        check_pairs(estimator, pairs[..., :11], reset=False)


def test_float32_pairs_are_not_copied(pairs):
    assert np.shares_memory(check_pairs(Anything(), pairs, reset=True).originals, pairs)


def test_equal_columns_are_ties(pairs):
    pairs[5, 1] = pairs[5, 0]
    target = check_pairs(Anything(), pairs, reset=True).target
    assert np.flatnonzero(target == 0.5).tolist() == [5]


@pytest.mark.parametrize(
    ("y", "message"), [([1.0] * 59, "shape"), ([1.0] * 59 + [1.5], r"y\[59\] is 1.5")]
)
def test_bad_targets_are_named(pairs, y, message):
    with pytest.raises(ValueError, match=message):
        check_pairs(Anything(), pairs, y, reset=True)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_rated_embeddings_are_paired_by_their_order(ratings):
    X = np.array(ratings, dtype=np.float32)[:, None]
    pairs = check_pairs(Anything(), X, ratings, reset=True)
    assert len(pairs) == len(ratings) // 2
    better, worse = pairs.originals[..., 0].T
    assert (better >= worse).all()
    assert ((pairs.target == 0.5) == (better == worse)).all()


# -------------------------------------------------------------------------- container
@pytest.fixture
def augmented(pairs):
    """Three times 60 pairs with a low-rank pool of 120 rows."""
    rng = np.random.default_rng(3)
    codes, weight = rng.normal(size=(120, 4)), rng.normal(size=(4, 12))
    pool = LowRankRows(codes.astype(np.float32), weight.astype(np.float32))
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
    np.testing.assert_allclose(rows.numpy(), augmented.rows(index), rtol=1e-6)


def test_targets_are_handed_down(augmented):
    y = np.linspace(0, 1, 60)
    np.testing.assert_allclose(augmented.with_target(y).target, np.tile(y, 3), rtol=1e-6)
    assert (augmented.target == 1).all()
