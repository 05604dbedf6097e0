"""Processes that are killed while they embed, generate, fit and save."""

import multiprocessing
import shutil
import signal
import time
import warnings

import joblib
import numpy as np

from lens_sklearn import EmbeddingScaler, LinearRewardRegressor, export
from lens_sklearn._array_store import ArrayStore

from . import jobs
from .tally import Tally
from .zoo import toy


def killed_processes(n, draws, model, folder):
    """Kill processes at random moments and read what they left.

    An answer is right if stores hold whole records alone, named files are whole, a folder holds
    the old or the new model, and the work, done again, comes to the same.

    Parameters
    ----------
    n : int
        How many kills of each of the four kinds of work.
    draws : random.Random
        What draws.
    model : str
        A language model.
    folder : Path
        For what the processes write.

    Returns
    -------
    list of Tally
        Of each kind of work.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([jobs.__name__])
    tallies = []
    for name, check in CHECKS.items():
        tally = Tally(f"kills, {name}")
        reference = folder / f"{name} whole"
        _prepare(reference)
        expected = getattr(jobs, name)(model, reference)
        seconds = _duration(context, name, model, _prepare(folder / name))
        while tally.tried < n:
            here = _prepare(folder / name)
            delay = draws.uniform(0, seconds)
            process = _start(context, name, model, here)
            time.sleep(delay)
            process.kill()
            process.join()
            if process.exitcode != -signal.SIGKILL:
                tally.check(process.exitcode == 0, f"{name}: ended with {process.exitcode}")
                seconds *= 0.9  # it was done before
                continue
            with tally.attempt(f"{name}, killed after {delay:.3f} s"):
                check(tally, here, model, expected)
            _close(here)
        _close(reference)
        tallies.append(tally)
    return tallies


def _prepare(folder):
    """Return an empty folder with an old model in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pairs = toy().pairs
    models = [EmbeddingScaler().fit(pairs), LinearRewardRegressor(3).fit(pairs)]
    joblib.dump(models, folder / "models")
    export.save(models[1], folder / "model")
    return folder


def _close(folder):
    if (folder / "store").exists():
        ArrayStore(folder / "store").close()


def _start(context, name, model, folder):
    here, there = context.Pipe()
    job = (getattr(jobs, name), model, folder, there)
    process = context.Process(target=jobs.run, args=job)
    process.start()
    here.recv()
    return process


def _duration(context, name, model, folder):
    process = _start(context, name, model, folder)
    start = time.monotonic()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{name} ended with {process.exitcode} without being killed")
    return time.monotonic() - start


def _check_embed(tally, folder, model, expected):
    for path in (folder / "out").glob("*.npy") if (folder / "out").exists() else ():
        tally.check((np.load(path) == expected).all(), f"{path.name} is not whole")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of damaged records
        again = jobs.embed(model, folder)
    tally.check(np.allclose(again, expected, rtol=1e-4, atol=1e-5), "embeddings differ")


def _check_generate(tally, folder, model, expected):
    tally.check(jobs.generate(model, folder) == expected, "responses differ")


def _check_fit(tally, folder, model, expected):
    found = export.load(folder / "model")
    new = hasattr(found, "steps")
    if new:
        coefficients = found[-1].coef_, expected[-1].coef_
        tally.check(np.allclose(*coefficients, rtol=1e-3, atol=1e-6), "another new model")
    else:
        tally.check(found.predict(toy().pairs).shape == toy().pairs.shape[:2], "no old model")
    jobs.fit(model, folder)
    tally.check(hasattr(export.load(folder / "model"), "steps"), "the work did not go on")
    tally.check(len(list((folder / "model").iterdir())) == 2, "files are left")


def _check_save(tally, folder, model, expected):
    found = export.load(folder / "model")
    reference = next(m for m in joblib.load(folder / "models") if type(m) is type(found))
    for name, value in reference.get_fitted_state().items():
        same = np.array_equal(found.get_fitted_state()[name], value, equal_nan=True)
        tally.check(same, f"{name} of {type(found).__name__} differs")
    export.save(reference, folder / "model")
    tally.check(len(list((folder / "model").iterdir())) == 2, "files are left")


CHECKS = {
    "embed": _check_embed,
    "generate": _check_generate,
    "fit": _check_fit,
    "save": _check_save,
}
