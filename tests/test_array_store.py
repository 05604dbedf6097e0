import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import threading

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn import _array_store
from lens_sklearn._array_store import DATA_FILE, ArrayStore, store_keys

SETTINGS = {"model": "m", "revision": None, "template": None, "pooling": ["last"], "layers": [2]}


def keys_of(n, **settings):
    return store_keys(SETTINGS | settings, [f"text {i}" for i in range(n)])


def vectors_of(n, dim=8, seed=0):
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    store = ArrayStore(tmp_path / "store")
    yield store
    store.close()


def test_what_was_put_is_found_to_the_bit_and_in_order(store):
    keys, vectors = keys_of(20), vectors_of(20)
    store.put_many(keys[:10], vectors[:10])
    order = np.random.default_rng(1).permutation(20)
    found_vectors, found, shortened = store.get_many([keys[i] for i in order], 8)
    assert (found == (order < 10)).all()
    assert (found_vectors[found] == vectors[order][found]).all()
    assert np.isnan(found_vectors[~found]).all()
    assert not shortened.any()
    assert len(store) == 10


def test_a_key_asked_for_twice_is_found_twice(store):
    keys, vectors = keys_of(2), vectors_of(2)
    store.put_many(keys, vectors)
    found_vectors, found, _ = store.get_many([keys[1], keys[0], keys[1]], 8)
    assert found.all()
    assert (found_vectors == vectors[[1, 0, 1]]).all()


def test_it_remembers_which_texts_were_cut(store):
    cut = np.array([True, False, True])
    store.put_many(keys_of(3), vectors_of(3), cut)
    assert (store.get_many(keys_of(3), 8)[2] == cut).all()


def test_a_later_record_replaces_an_earlier_one(store):
    store.put_many(keys_of(3), vectors_of(3, seed=0))
    store.put_many(keys_of(3), vectors_of(3, seed=1))
    assert (store.get_many(keys_of(3), 8)[0] == vectors_of(3, seed=1)).all()


def test_nothing_asked_nothing_found(store):
    vectors, found, _ = store.get_many([], 8)
    assert vectors.shape == (0, 8) and found.shape == (0,)
    store.put_many([], np.empty((0, 8), dtype=np.float32))
    assert len(store) == 0


def test_special_values_survive(store):
    vectors = np.array([[np.nan, np.inf, -np.inf, -0.0, 1e-45]], dtype=np.float32)
    store.put_many(keys_of(1), vectors)
    assert store.get_many(keys_of(1), 5)[0].tobytes() == vectors.tobytes()


def test_wrong_number_of_vectors(store):
    with pytest.raises(ValueError, match="expected 3 vectors"):
        store.put_many(keys_of(3), vectors_of(2))


# ---------------------------------------------------------------------------------- keys
@given(
    st.lists(
        st.one_of(st.text(), st.lists(st.tuples(st.text(), st.text()), min_size=1).map(tuple)),
        unique=True,
    )
)
def test_distinct_texts_have_distinct_keys(texts):
    assert len(set(store_keys(SETTINGS, texts))) == len(texts)


def test_a_conversation_is_not_its_text():
    conversation = (("user", "a"),)
    assert (
        len(set(store_keys({}, [conversation, str(conversation), "user a", '["user", "a"]']))) == 4
    )


def test_the_order_of_settings_does_not_count():
    backwards = dict(reversed(SETTINGS.items()))
    assert list(backwards) != list(SETTINGS)
    assert store_keys(backwards, ["text"]) == store_keys(SETTINGS, ["text"])


def test_every_setting_counts():
    assert keys_of(1) == keys_of(1)
    for name in SETTINGS:
        assert keys_of(1) != keys_of(1, **{name: "another"}), name


# ------------------------------------------------------------------------------- failures
def flip_a_byte(folder, vector):
    """Damage the record that holds `vector`."""
    path = folder / DATA_FILE
    # Pages are copied on write: stale copies of a record may lie about in the file.
    whole = vector.tobytes()
    path.write_bytes(path.read_bytes().replace(whole, bytes([whole[0] ^ 1]) + whole[1:]))


def test_a_damaged_record_is_reported_and_missing_and_can_be_written_again(store):
    keys, vectors = keys_of(5), vectors_of(5)
    store.put_many(keys, vectors)
    store.close()
    flip_a_byte(store.folder, vectors[3])
    with pytest.warns(RuntimeWarning, match="1 of 5 records .* damaged"):
        found_vectors, found, _ = store.get_many(keys, 8)
    assert found.tolist() == [True, True, True, False, True]
    assert np.isnan(found_vectors[3]).all()
    store.put_many(keys[3:4], vectors[3:4])
    assert store.get_many(keys, 8)[1].all()


def test_a_record_under_anothers_key_is_damaged(store):
    store.put_many(keys_of(2), vectors_of(2))
    with store._transaction(write=True) as transaction:
        transaction.put(keys_of(2)[0], transaction.get(keys_of(2)[1]))
    with pytest.warns(RuntimeWarning, match="1 of 2"):
        assert store.get_many(keys_of(2), 8)[1].tolist() == [False, True]


def test_a_record_of_another_version_is_damaged(store):
    store.put_many(keys_of(2), vectors_of(2))
    with store._transaction(write=True) as transaction:
        payload = transaction.get(keys_of(2)[0])
        later = struct.pack("<H", struct.unpack_from("<H", payload)[0] + 1)
        transaction.put(keys_of(2)[0], later + payload[2:])
    with pytest.warns(RuntimeWarning, match="1 of 2"):
        assert store.get_many(keys_of(2), 8)[1].tolist() == [False, True]


@pytest.mark.parametrize("dim", [7, 9])
def test_another_dimension_is_no_match(store, dim):
    store.put_many(keys_of(2), vectors_of(2))
    with pytest.warns(RuntimeWarning, match="2 of 2"):
        assert not store.get_many(keys_of(2), dim)[1].any()


def test_an_unusable_folder_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("something else")
    for folder in (file, file / "below"):
        with pytest.raises(OSError, match=r"store='.*file.*' cannot be used .*writable"):
            ArrayStore(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / DATA_FILE).write_bytes(b"not lmdb" * 10_000)
    with pytest.raises(OSError, match="cannot be used"):
        ArrayStore(tmp_path / "other")


def test_a_folder_without_permission_is_named(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match="cannot be used"):
        ArrayStore(tmp_path / "store")


def test_a_deleted_folder_is_made_again(store):
    store.put_many(keys_of(2), vectors_of(2))
    shutil.rmtree(store.folder)
    assert not store.get_many(keys_of(2), 8)[1].any()
    store.put_many(keys_of(2), vectors_of(2))
    assert (store.folder / DATA_FILE).exists()


# ------------------------------------------------------------- growth, threads, processes
def test_it_grows_beyond_its_first_size(tmp_path, monkeypatch):
    monkeypatch.setattr(_array_store, "FIRST_MAP_SIZE", 1 << 16)
    store = ArrayStore(tmp_path)
    for part in range(5):
        store.put_many(keys_of(100, revision=part), vectors_of(100, dim=512, seed=part))
    assert (tmp_path / DATA_FILE).stat().st_size > 1 << 20
    for part in range(5):
        vectors, found, _ = store.get_many(keys_of(100, revision=part), 512)
        assert found.all() and (vectors == vectors_of(100, dim=512, seed=part)).all()
    store.close()


def test_the_object_is_a_name(store):
    store.put_many(keys_of(2), vectors_of(2))
    assert len(pickle.dumps(store)) < 1000
    assert pickle.loads(pickle.dumps(store)).get_many(keys_of(2), 8)[1].all()
    assert ArrayStore(store.folder).get_many(keys_of(2), 8)[1].all()  # open twice


def write_and_read(folder, part, n_batches):
    _array_store.FIRST_MAP_SIZE = 1 << 16  # so that the writers enlarge it under each other
    store = ArrayStore(folder)
    for batch in range(n_batches):
        keys = keys_of(20, revision=[part, batch])
        store.put_many(keys, vectors_of(20, dim=256, seed=batch))
        assert store.get_many(keys, 256)[1].all()


def all_there(store, parts, n_batches):
    for part in range(parts):
        for batch in range(n_batches):
            vectors, found, _ = store.get_many(keys_of(20, revision=[part, batch]), 256)
            assert found.all() and (vectors == vectors_of(20, dim=256, seed=batch)).all()
    assert len(store) == 20 * parts * n_batches


def test_threads_share_it(tmp_path, monkeypatch):
    monkeypatch.setattr(_array_store, "FIRST_MAP_SIZE", 1 << 16)
    threads = [
        threading.Thread(target=write_and_read, args=(tmp_path, part, 10)) for part in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = ArrayStore(tmp_path)
    all_there(store, 4, 10)
    store.close()


# Python 3.12 warns of any fork in a process with threads; that it works here is what we test.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_share_it(tmp_path, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    store = ArrayStore(tmp_path)  # open here while the others write
    context = multiprocessing.get_context(method)
    processes = [
        context.Process(target=write_and_read, args=(tmp_path, part, 30)) for part in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    all_there(store, 2, 30)
    store.close()


KILLED = """
import os, signal, sys
import numpy as np
from lens_sklearn._array_store import ArrayStore
store = ArrayStore(sys.argv[1])
store.put_many([b"whole"], np.ones((1, 4), dtype=np.float32))
transaction = store._transaction(write=True)
transaction.put(b"half", b"not yet committed")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_writer_killed_within_a_transaction_leaves_no_trace_and_no_lock(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = ArrayStore(tmp_path)
    _, found, _ = store.get_many([b"whole", b"half"], 4)
    assert found.tolist() == [True, False]
    store.put_many([b"half"], np.ones((1, 4), dtype=np.float32))  # the lock was freed
    assert len(store) == 2
    store.close()


def test_a_full_disk_is_an_error_that_names_the_store(store, monkeypatch):
    def full(*args, **kwargs):
        raise lmdb.DiskError("No space left on device")

    monkeypatch.setattr(store, "_transaction", full)
    with pytest.raises(OSError, match="cannot write"):
        store.put_many(keys_of(1), vectors_of(1))
