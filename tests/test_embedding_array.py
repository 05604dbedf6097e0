"""Embeddings that are larger than memory: written to a file as they come, and mapped."""

import errno
import os
import signal
import subprocess
import sys
import tracemalloc

import joblib
import numpy as np
import pytest
import tiny_models
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from lens_sklearn import BTRewardRegressor, EmbeddingScaler, _embedder, _embedding_array
from lens_sklearn._array_store import ArrayStore
from lens_sklearn._augmented_pairs import AugmentedPairs
from lens_sklearn._augmented_rows import AugmentedRows
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._embedding_array import CellWriter
from lens_sklearn._language_model import LanguageModel


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.save_decoder(tmp_path_factory.mktemp("decoder"))


def some_rows(n, seed=0):
    """Preference rows of known words; some texts are equal."""
    rng = np.random.RandomState(seed)
    texts = [tiny_models.sentence(rng, k) for k in rng.randint(1, 25, size=2 * n)]
    rows = [{"chosen": c, "rejected": r} for c, r in zip(texts[:n], texts[n:], strict=True)]
    rows[-1] = {"chosen": rows[0]["rejected"], "rejected": rows[1]["rejected"]}
    return rows


ROWS = some_rows(20)
CANDIDATES = [
    {"prompt": "why", "responses": ["a cat", "no"]},
    {"prompt": "how", "responses": ["I"]},
]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def rounded(vectors):
    """Half a step of float16: relative where it has all its digits, absolute below."""
    return np.abs(vectors) * 2.0**-11 + 2.0**-25


# --------------------------------------------------------------------------------- values
@pytest.mark.parametrize("X", [ROWS, CANDIDATES, [["cat", "dog"], ["no", "cat"]]], ids=type)
@pytest.mark.parametrize("with_store", [False, True])
def test_a_map_holds_what_memory_does(model, tmp_path, X, with_store, monkeypatch):
    monkeypatch.setattr(_embedder, "READ_AT_ONCE", 1)  # a text at a time
    store = tmp_path / "store" if with_store else None
    in_memory = LLMEmbedder(model, store=store).fit_transform(X)
    embedder = LLMEmbedder(model, store=store, out=tmp_path / "out").fit()
    for mapped in (embedder.transform(X), clone(embedder).fit_transform(X)):
        assert isinstance(mapped, np.memmap) and not mapped.flags.writeable
        assert mapped.dtype == np.float32
        np.testing.assert_array_equal(mapped, in_memory)
        np.testing.assert_array_equal(np.load(mapped.filename), in_memory)
    assert len(files(tmp_path / "out")) == 1  # equal texts, equal name


@pytest.mark.parametrize("X", [ROWS, CANDIDATES], ids=["pairs", "candidates"])
def test_float16_is_rounded_once(model, tmp_path, X):
    exact = LLMEmbedder(model).fit_transform(X)
    for out in (None, tmp_path):
        half = LLMEmbedder(model, out=out, out_dtype="float16").fit_transform(X)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, exact.astype(np.float16))
        assert (np.isnan(exact) | (np.abs(half - exact) <= rounded(exact))).all()
        assert isinstance(half, np.memmap) == (out is not None)


def test_a_value_beyond_float16_is_named(model, tmp_path, monkeypatch):
    embed = LanguageModel.embed
    monkeypatch.setattr(
        LanguageModel, "embed", lambda *args, **options: 1e6 * embed(*args, **options)
    )
    embedder = LLMEmbedder(model, out=tmp_path, out_dtype="float16")
    with pytest.raises(
        ValueError, match=r"row \d+, column '\w+': a hidden state of .*e\+0\d is beyond float16"
    ):
        embedder.fit_transform(ROWS)
    assert files(tmp_path) == []
    assert np.isfinite(embedder.set_params(out_dtype="float32").fit_transform(ROWS)).all()


@given(st.lists(st.integers(-1, 5), min_size=1, max_size=20), st.randoms())
def test_every_cell_gets_its_text(raw, random):
    seen = {}
    cells = np.array([-1 if c < 0 else seen.setdefault(c, len(seen)) for c in raw])
    vectors = np.random.default_rng(0).normal(size=(len(seen), 3)).astype(np.float32)
    array = np.zeros((len(cells), 3), dtype=np.float32)
    writer = CellWriter(array, cells, place=str)
    numbers = list(range(len(seen)))
    random.shuffle(numbers)
    for part in (numbers[:2], numbers[2:]):
        writer.write(np.array(part, dtype=int), vectors[part])
    for cell, row in zip(cells, array, strict=True):
        np.testing.assert_array_equal(row, vectors[cell] if cell >= 0 else np.full(3, np.nan))


# ---------------------------------------------------------------------------------- names
def test_other_content_has_another_file(model, tmp_path):
    embedder = LLMEmbedder(model, out=tmp_path).fit()
    train, test = embedder.transform(ROWS), embedder.transform(some_rows(20, seed=1))
    assert np.abs(train - test).max() > 0.1
    np.testing.assert_array_equal(train, LLMEmbedder(model).fit_transform(ROWS))
    flat = [text for row in ROWS for text in row.values()]
    others = [
        embedder.transform(ROWS[::-1]),
        embedder.transform(flat),  # the same texts in another shape
        clone(embedder).set_params(out_dtype="float16").fit_transform(ROWS),
        clone(embedder).set_params(pooling="mean").fit_transform(ROWS),
        clone(embedder).set_params(max_length=4).fit_transform(ROWS),
        clone(embedder).set_params(max_length=4, overlong="drop").fit().transform(ROWS),
    ]
    assert len({m.filename for m in [train, test, *others]}) == 8 == len(files(tmp_path))


@pytest.mark.parametrize("step", [1, 1 << 24])
def test_rows_left_out_are_not_in_the_file(model, tmp_path, step, monkeypatch):
    monkeypatch.setattr(_embedding_array, "COPIED_AT_ONCE", step)
    options = {"layer": -1, "pooling": "last", "max_length": 14, "overlong": "drop"}
    in_memory = LLMEmbedder(model, **options).fit_transform(ROWS)
    assert 0 < len(in_memory) < len(ROWS)
    embedder = LLMEmbedder(model, out=tmp_path, **options)
    mapped = embedder.fit_transform(ROWS)
    np.testing.assert_array_equal(np.load(mapped.filename), in_memory)
    assert len(files(tmp_path)) == 1
    with pytest.raises(ValueError, match="y cannot follow"):
        embedder.fit_transform(ROWS, np.ones(len(ROWS)))
    assert len(files(tmp_path)) == 1
    assert embedder.transform(ROWS).shape == (20, 2, 16)
    assert len(files(tmp_path)) == 2


def test_synthetic_rows_keep_their_parents(model, tmp_path):
    rows = AugmentedRows(ROWS + ROWS[3:], [*range(20), *range(3, 20)], [0] * 20 + [1] * 17)
    options = {"max_length": 20, "overlong": "drop"}
    expected = LLMEmbedder(model, **options).fit_transform(rows)
    pairs = LLMEmbedder(model, out=tmp_path, **options).fit_transform(rows)
    assert isinstance(pairs, AugmentedPairs)
    assert isinstance(pairs.originals, np.memmap) and isinstance(pairs.pool, np.memmap)
    np.testing.assert_array_equal(np.asarray(pairs), np.asarray(expected))
    np.testing.assert_array_equal(pairs.parent, expected.parent)


def test_the_same_rows_of_other_parents_may_leave_out_others(model, tmp_path):
    short, long = {"chosen": "cat", "rejected": "dog"}, {"chosen": "a " * 20, "rejected": "no"}
    rows = [short, long, {"chosen": "red", "rejected": "blue"}]
    embedder = LLMEmbedder(model, out=tmp_path, max_length=14, overlong="drop")
    of_short = embedder.fit_transform(AugmentedRows(rows, [0, 1, 0], [0, 0, 1]))
    of_long = embedder.fit_transform(AugmentedRows(rows, [0, 1, 1], [0, 0, 1]))
    assert (len(of_short), len(of_long)) == (2, 1)
    assert len(files(tmp_path)) == 2


# --------------------------------------------------------------------------------- workers
@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_agree_with_one_process(model, tmp_path, backend):
    alone = LLMEmbedder(model, batch_tokens=60).fit_transform(ROWS)
    with joblib.parallel_config(backend=backend):
        mapped = LLMEmbedder(model, batch_tokens=60, out=tmp_path, n_jobs=2).fit_transform(ROWS)
    np.testing.assert_array_equal(mapped, alone)


KILLED = """
import os, signal, sys
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._embedding_array import CellWriter
model, store, out, *texts = sys.argv[1:]
write, calls = CellWriter.write, []
def counted(self, *args):
    write(self, *args)
    calls.append(args)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
CellWriter.write = counted
LLMEmbedder(model, store=store, out=out, batch_tokens=60).fit_transform(texts)
"""


def test_a_killed_run_leaves_no_file_that_could_be_read(model, tmp_path):
    texts, out = [text for row in ROWS for text in row.values()], tmp_path / "out"
    command = [sys.executable, "-c", KILLED, model, str(tmp_path / "store"), str(out), *texts]
    done = subprocess.run(command, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (partial,) = files(out)
    assert partial.endswith(".partial")
    assert 0 < len(ArrayStore(tmp_path / "store")) < len(set(texts))
    options = {"batch_tokens": 60, "store": tmp_path / "store"}
    resumed = LLMEmbedder(model, out=out, **options).fit_transform(texts)
    np.testing.assert_allclose(
        resumed, LLMEmbedder(model).fit_transform(texts), rtol=1e-5, atol=1e-5
    )
    assert len(files(out)) == 2


# ---------------------------------------------------------------------------------- errors
def test_what_fails_leaves_nothing(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="more than 4 tokens"):
        LLMEmbedder(model, max_length=4, overlong="raise", out=tmp_path).fit_transform(ROWS)
    assert files(tmp_path) == []

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="out=.*no room for 2.6e-06 GB"):
        LLMEmbedder(model, layer=-1, pooling="last", out=tmp_path).fit_transform(ROWS)
    assert files(tmp_path) == []


LIMITED = """
import resource, sys
import numpy as np
from lens_sklearn._embedding_array import new_array
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
with new_array(sys.argv[1], (100, 10), "float32") as array:
    array[:] = 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files")
@pytest.mark.parametrize("limit", [0, 50, 1000, 4127])
def test_no_room_is_an_error_and_no_signal(tmp_path, limit):
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"out='{tmp_path}': no room for 4e-06 GB of embeddings (File too large)" in done.stderr
    assert files(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, None])
def test_where_a_file_cannot_be_reserved_it_is_written(tmp_path, monkeypatch, number):
    def unable(*args):
        raise OSError(number, "cannot")

    if number is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    monkeypatch.setattr(_embedding_array, "COPIED_AT_ONCE", 48)
    with _embedding_array.new_array(tmp_path, (5, 7), "float32") as array:
        (path,) = tmp_path.iterdir()
        assert path.stat().st_size == path.read_bytes().index(b"\n") + 1 + 5 * 7 * 4
        array[:] = np.arange(35).reshape(5, 7)
        kept = _embedding_array.keep_rows(array, np.ones(5, dtype=bool), tmp_path, "name")
    np.testing.assert_array_equal(kept, np.arange(35).reshape(5, 7))
    assert files(tmp_path) == ["name.npy"]


def test_an_empty_array_has_a_file_too(tmp_path):
    with _embedding_array.new_array(tmp_path, (0, 2, 3), "float16") as array:
        assert array.shape == (0, 2, 3) and array.dtype == np.float16


def test_an_unwritable_folder_is_an_error_of_fit(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="out=.* cannot be used"):
        LLMEmbedder(model, out=tmp_path / "file").fit(ROWS)


# ------------------------------------------------------------------------------ what follows
@pytest.mark.parametrize("scaler", ["passthrough", EmbeddingScaler(), EmbeddingScaler(copy=False)])
def test_a_pipeline_trains_on_the_map(model, tmp_path, scaler):
    def fitted(**options):
        reward = BTRewardRegressor(4, max_epochs=3, early_stopping=False, random_state=0)
        pipe = make_pipeline(LLMEmbedder(model, **options), clone_of(scaler), reward)
        return pipe.fit(ROWS).predict(CANDIDATES)

    expected = fitted()
    np.testing.assert_array_equal(fitted(out=tmp_path), expected)
    half = fitted(out=tmp_path, out_dtype="float16")
    np.testing.assert_allclose(half, expected, atol=2e-2)


def clone_of(scaler):
    return scaler if scaler == "passthrough" else clone(scaler)


@pytest.mark.parametrize("with_store", [False, True])
def test_memory_holds_one_copy_or_none(model, tmp_path, with_store, monkeypatch):
    d, texts = 1 << 14, [" ".join(row.values()) for row in some_rows(400)]  # 26 MB
    monkeypatch.setattr(_embedder, "READ_AT_ONCE", 1 << 20)
    monkeypatch.setattr(_embedder, "check_same_model", lambda *args: None)  # it is not so wide
    monkeypatch.setattr(
        LanguageModel, "embed", lambda self, ids, *_, **__: np.ones((len(ids), d), dtype=np.float32)
    )

    def peak(out):
        store = tmp_path / "store" if with_store else None
        embedder = LLMEmbedder(model, batch_tokens=256, store=store, out=out).fit()
        embedder.n_features_out_ = d
        embedder.transform(texts[:3])
        tracemalloc.start()
        vectors = embedder.transform(texts)  # held while the peak is read
        used = tracemalloc.get_traced_memory()[1] / vectors.nbytes
        tracemalloc.stop()
        return used

    for _ in range(2):  # the second time from the store
        assert peak(tmp_path / "out") < 0.4
        assert peak(None) < 1.4
