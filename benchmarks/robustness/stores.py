"""Stores in which a bit is flipped or whose file is cut."""

import numpy as np

from lens_sklearn._array_store import DATA_FILE, ArrayStore, store_keys

from .tally import Tally

N_RECORDS, DIM = 20, 8


def damaged_stores(n, draws, folder):
    """Read stores after a flipped bit or a cut, with the file open or opened anew.

    An answer is right if every record is found as it was put or not found, or it is an OSError
    that names the folder; and if what is missing can then be put and found.

    Parameters
    ----------
    n : int
        How many flips, and a third as many cuts.
    draws : random.Random
        What draws.
    folder : Path
        For the store.

    Returns
    -------
    list of Tally
        Of flips and of cuts.
    """
    keys = store_keys({}, map(str, range(N_RECORDS)))
    vectors = np.random.default_rng(0).normal(size=(N_RECORDS, DIM)).astype(np.float32)
    cut = np.arange(N_RECORDS) % 2 == 1
    store = ArrayStore(folder / "store")
    store.put_many(keys, vectors, cut)
    path = folder / "store" / DATA_FILE
    whole = path.read_bytes()
    tallies = [Tally("flipped bits of a store"), Tally("stores that were cut")]
    for k in range(n + n // 3):
        tally = tallies[k >= n]
        place, bit = draws.randrange(len(whole)), draws.randrange(8)
        reopened = draws.random() < 0.5
        what = f"byte {place}, bit {bit}, {'opened anew' if reopened else 'open'}"
        store.close()
        path.write_bytes(whole)
        if not reopened:
            len(store)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        with open(path, "r+b") as file:
            file.write(damaged) if k < n else file.truncate(place)
        with tally.attempt(what, (OSError,)):
            try:
                found_vectors, found, shortened = store.get_many(keys, DIM)
            except OSError as error:
                tally.check(str(folder) in str(error), f"{what}: {error} names no folder")
                raise
            right = (found_vectors[found] == vectors[found]).all()
            tally.check(right and (shortened[found] == cut[found]).all(), f"{what}: a wrong record")
            tally.check(k >= n or found.sum() >= N_RECORDS - 1, f"{what}: lost {(~found).sum()}")
            missing = np.flatnonzero(~found)
            store.put_many([keys[i] for i in missing], vectors[missing], cut[missing])
            again = store.get_many(keys, DIM)
            tally.check(again[1].all() and (again[0] == vectors).all(), f"{what}: not mended")
            tally.check((again[2] == cut).all(), f"{what}: flags not mended")
    store.close()
    return tallies
