import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn import _array_store
from lens_sklearn._array_store import DATA_FILE, HEAD, SIGNATURE, ArrayStore, store_keys

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


def test_vectors_of_different_lengths_are_found_as_they_were(store):
    keys, vectors = keys_of(4), [vectors_of(1, dim)[0] for dim in (3, 1, 5)]
    store.put_many(keys[:3], vectors)
    found = store.get_each([keys[i] for i in (2, 3, 0, 1, 2)])
    assert found[1] is None
    for vector, i in zip((found[0], *found[2:]), (2, 0, 1, 2), strict=True):
        assert vector.dtype == np.float32 and (vector == vectors[i]).all()
    with pytest.raises(ValueError):
        store.put_many(keys, vectors)


def test_a_damaged_record_of_any_length_is_said_and_missing(store):
    keys = keys_of(2)
    store.put_many(keys, [np.ones(3, dtype=np.float32), np.ones(4, dtype=np.float32)])
    file = store.folder / DATA_FILE
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="1 of 2 records"):
        first, second = store.get_each(keys)
    assert first.tolist() == [1, 1, 1] and second is None


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
RECORD = HEAD.size + 32 + 4 * 8  # bytes of a record of `keys_of` and `vectors_of`


def change(folder, place, content):
    """Write bytes into a store's file at a place, or cut it there."""
    with open(folder / DATA_FILE, "r+b") as file:
        file.seek(place)
        file.write(content) if content else file.truncate()


def test_a_record_has_the_layout_that_is_documented(store):
    store.put_many([b"key"], np.array([[1.5, -2.0]]), np.array([True]))
    content = (store.folder / DATA_FILE).read_bytes()
    assert content.startswith(SIGNATURE)
    vector = struct.pack("<2f", 1.5, -2.0)
    head = struct.pack("<4sBBHII", b"\xd7rec", 1, 0, 3, 2, zlib.crc32(b"key" + vector))
    head += struct.pack("<I", zlib.crc32(head + b"key"))
    assert content[len(SIGNATURE) :] == head + b"key" + vector


def test_a_damaged_record_is_reported_and_missing_and_can_be_written_again(store):
    keys, vectors = keys_of(5), vectors_of(5)
    store.put_many(keys, vectors)
    place = (store.folder / DATA_FILE).read_bytes().index(vectors[3].tobytes())
    change(store.folder, place, b"?")
    with pytest.warns(RuntimeWarning, match=r"1 of 5 records .*records.bin are damaged .* delete"):
        found_vectors, found, _ = store.get_many(keys, 8)
    assert found.tolist() == [True, True, True, False, True]
    assert np.isnan(found_vectors[3]).all()
    store.put_many(keys[3:4], vectors[3:4])
    assert store.get_many(keys, 8)[1].all()


@pytest.mark.parametrize("reopened", [False, True])
def test_every_flipped_bit_is_a_miss_or_an_error(store, reopened):
    keys, vectors, cut = keys_of(3), vectors_of(3), np.array([False, True, False])
    store.put_many(keys, vectors, cut)
    whole = (store.folder / DATA_FILE).read_bytes()
    for bit in range(8 * len(whole)) if reopened else range(0, 8 * len(whole), 7):
        place = bit // 8
        change(store.folder, place, bytes([whole[place] ^ 1 << bit % 8]))
        if reopened:
            store.close()
        damaged = (place - len(SIGNATURE)) // RECORD
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found_vectors, found, shortened = store.get_many(keys, 8)
            except OSError:
                assert damaged < 0
            else:
                # An open store does not read the signature again.
                assert found.tolist() == [i != damaged for i in range(3)], bit
                assert (found_vectors[found] == vectors[found]).all()
                assert (shortened[found] == cut[found]).all()
        change(store.folder, place, whole[place : place + 1])
    store.close()


@pytest.mark.parametrize("reopened", [False, True])
def test_a_cut_file_holds_the_records_before_the_cut(store, reopened):
    keys, vectors = keys_of(3), vectors_of(3)
    store.put_many(keys, vectors)
    size = len(SIGNATURE) + 3 * RECORD
    for place in range(size - 1, len(SIGNATURE) - 1, -1):
        change(store.folder, place, b"")
        if reopened:
            store.close()
        _, found, _ = store.get_many(keys, 8)
        assert found.tolist() == [len(SIGNATURE) + (i + 1) * RECORD <= place for i in range(3)]
    store.put_many(keys, vectors)
    assert (store.get_many(keys, 8)[0] == vectors).all()
    assert (store.folder / DATA_FILE).stat().st_size == size


def test_what_a_killed_writer_left_is_overwritten(store):
    keys, vectors = keys_of(3), vectors_of(3)
    store.put_many(keys, vectors)
    change(store.folder, len(SIGNATURE) + 2 * RECORD + 40, b"")
    store.put_many(keys[2:], vectors[2:])
    assert (store.folder / DATA_FILE).stat().st_size == len(SIGNATURE) + 3 * RECORD
    assert (store.get_many(keys, 8)[0] == vectors).all()


def test_records_behind_a_damaged_head_are_found_and_it_is_said(store, monkeypatch):
    monkeypatch.setattr(_array_store, "SCANNED_AT_ONCE", 16)  # a mark may lie across two parts
    keys, vectors = keys_of(5), vectors_of(5)
    store.put_many(keys, vectors)
    store.close()
    change(store.folder, len(SIGNATURE) + RECORD, b"?")
    with pytest.warns(RuntimeWarning, match="1 places .* damaged"):
        assert store.get_many(keys, 8)[1].tolist() == [True, False, True, True, True]
    store.put_many(keys[1:2], vectors[1:2])
    assert store.get_many(keys, 8)[1].all()


def test_a_record_under_anothers_key_is_damaged(store):
    keys, vectors = keys_of(2), vectors_of(2)
    store.put_many(keys, vectors)
    place = len(SIGNATURE) + HEAD.size + 32
    change(store.folder, place, vectors[1].tobytes())
    with pytest.warns(RuntimeWarning, match="1 of 2"):
        assert store.get_many(keys, 8)[1].tolist() == [False, True]


def test_keys_of_any_length(store):
    keys = [b"", b"a" * 64, b"b" * 65, b"c" * 60_000]
    store.put_many(keys, vectors_of(4))
    store.close()
    assert (store.get_many(keys, 8)[0] == vectors_of(4)).all()


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
    (tmp_path / "other" / DATA_FILE).write_bytes(b"no store" * 10_000)
    with pytest.raises(OSError, match="cannot be used .*damaged or no store.*may be deleted"):
        ArrayStore(tmp_path / "other")
    assert (tmp_path / "other" / DATA_FILE).read_bytes() == b"no store" * 10_000


def test_the_store_of_an_earlier_version_is_named(tmp_path):
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(OSError, match="data.mdb is of an earlier version.*delete it"):
        ArrayStore(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 1, len(SIGNATURE) - 1])
def test_a_process_killed_while_it_makes_a_store_is_no_obstacle(tmp_path, n_bytes):
    (tmp_path / DATA_FILE).write_bytes(SIGNATURE[:n_bytes])
    store = ArrayStore(tmp_path)
    store.put_many(keys_of(2), vectors_of(2))
    assert store.get_many(keys_of(2), 8)[1].all()
    store.close()


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
def test_the_object_is_a_name(store):
    store.put_many(keys_of(2), vectors_of(2))
    assert len(pickle.dumps(store)) < 1000
    assert pickle.loads(pickle.dumps(store)).get_many(keys_of(2), 8)[1].all()
    assert ArrayStore(store.folder).get_many(keys_of(2), 8)[1].all()  # open twice


def write_and_read(folder, part, n_batches):
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


def test_threads_share_it(tmp_path):
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


FORKED = """
import os, signal, sys, threading
import numpy as np
from lens_sklearn._array_store import ArrayStore
store, stop = ArrayStore(sys.argv[1]), threading.Event()
def write():
    i = 0
    while not stop.is_set():
        store.put_many([b"%d" % i], np.full((1, 64), i, dtype=np.float32))
        i += 1
threads = [threading.Thread(target=write) for _ in range(3)]
[thread.start() for thread in threads]
hung = 0
for child in range(32):
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        store.put_many([b"child %d" % child], np.ones((1, 64), dtype=np.float32))
        os._exit(not store.get_many([b"child %d" % child], 64)[1].all())
    hung += os.waitpid(pid, 0)[1] != 0
stop.set()
[thread.join() for thread in threads]
assert store.get_many([b"child %d" % i for i in range(32)], 64)[1].all()
sys.exit(hung)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_forked_while_threads_write_does_not_hang(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr


KILLED = """
import os, signal, sys
import numpy as np
from lens_sklearn._array_store import ArrayStore
store = ArrayStore(sys.argv[1])
store.put_many([b"whole"], np.ones((1, 4), dtype=np.float32))
def killed(n_bytes):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = killed  # in the middle of writing, with the lock of the file
store.put_many([b"second"], np.ones((1, 4), dtype=np.float32))
"""


def test_a_killed_writer_leaves_whole_records_and_no_lock(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = ArrayStore(tmp_path)
    assert store.get_many([b"whole", b"second"], 4)[1].all()
    store.put_many([b"third"], np.ones((1, 4), dtype=np.float32))  # the lock was freed
    assert len(store) == 3
    store.close()


LIMITED = """
import resource, sys
import numpy as np
from lens_sklearn._array_store import ArrayStore
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
store = ArrayStore(sys.argv[1])
store.put_many([b"small"], np.ones((1, 4), dtype=np.float32))
try:
    store.put_many([b"large"], np.ones((1, 4000), dtype=np.float32))
except OSError as error:
    print(error)
assert store.get_many([b"small"], 4)[1].all() and len(store) == 1
store.put_many([b"next"], np.ones((1, 4), dtype=np.float32))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files")
def test_no_room_is_an_error_that_names_the_store_and_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"store {tmp_path}: cannot write (File too large)." in done.stdout
    store = ArrayStore(tmp_path)
    assert store.get_many([b"small", b"next"], 4)[1].all() and len(store) == 2
    store.close()
