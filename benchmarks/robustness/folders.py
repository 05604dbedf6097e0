"""Saved models whose files are damaged or planted."""

import hashlib
import json
import os
import shutil
from contextlib import suppress

import numpy as np

from lens_sklearn import export

from .mutations import changed_bytes, changed_tree
from .tally import Tally
from .zoo import toy

PLANTED = ("out", "store", "memory")  # parameters that write, were they taken from a file


def malformed_folders(n, draws, models, folder):
    """Load saved models of which one file was changed.

    An answer is right if it is a ValueError or a FileNotFoundError that names a file of the
    folder, or a model that says of itself what its file says. Whatever happens, nothing is written.

    Parameters
    ----------
    n : int
        How many folders.
    draws : random.Random
        What draws.
    models : dict of str to estimator
        What is saved, fitted.
    folder : Path
        For the folders.

    Returns
    -------
    list of Tally
        Of descriptions, of weights, and of weights whose checksum was made to fit.
    """
    saved = {}
    for name, model in models.items():
        export.save(model, folder / name)
        saved[name] = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
    changes = {
        "descriptions of models": _change_description,
        "weights of models": _change_weights,
        "planted weights of models": _plant_weights,
    }
    tallies = [Tally(kind) for kind in changes]
    tried, written = folder / "tried", folder / "again"
    for k in range(n):
        tally = tallies[k % 2 if k % 8 else 2]
        name = draws.choice(list(models))
        files, what = changes[tally.kind](dict(saved[name]), draws, folder)
        shutil.rmtree(tried, ignore_errors=True)
        tried.mkdir()
        for file, content in files.items():
            (tried / file).write_bytes(content)
        with tally.attempt(f"{name}: {what}"[:400], (ValueError, FileNotFoundError)):
            try:
                model = export.load(tried)
            except (ValueError, FileNotFoundError) as error:
                tally.check(any(f in str(error) for f in files), f"{name}: {error}"[:300])
                raise
            _use(model)
            export.save(model, written)
            promised = json.loads(files[export.DESCRIPTION])
            said = json.loads((written / export.DESCRIPTION).read_bytes())
            other = _difference(promised["steps"], said["steps"])
            tally.check(other is None, f"{name}: loaded as another, {other}")
        tally.check(sorted(p.name for p in tried.iterdir()) == sorted(files), f"{what}: it wrote")
        tally.check(not (folder / "planted").exists(), f"{name}, {what}: wrote what was planted")
    return tallies


def _use(model):
    """Predict with a model of embeddings; what it refuses it may refuse."""
    first = model.steps[0][1] if hasattr(model, "steps") else model
    if not hasattr(model, "predict") or hasattr(first, "embedder"):
        return
    with suppress(ValueError), np.errstate(all="ignore"):
        model.predict(toy().candidates)


def _change_description(files, draws, folder):
    text = files[export.DESCRIPTION]
    if draws.random() < 0.3:
        changed = changed_bytes(text, draws)
    else:
        tree = json.loads(text)
        for _ in range(draws.choice([1, 1, 2])):
            tree = changed_tree(tree, draws)
        steps = tree.get("steps")
        for step in steps if isinstance(steps, list) else []:
            if isinstance(step, dict) and isinstance(step.get("params"), dict):
                named = {key for key in PLANTED if key in step["params"]}
                step["params"] |= dict.fromkeys(named, str(folder / "planted"))
        changed = json.dumps(tree, indent=2).encode()
    n = len(os.path.commonprefix([text, changed]))
    return files | {export.DESCRIPTION: changed}, f"{changed[max(0, n - 60) : n + 60]!r}"


def _change_weights(files, draws, folder):
    (name,) = set(files) - {export.DESCRIPTION}
    files[name] = changed_bytes(files[name], draws)
    return files, "weights"


def _plant_weights(files, draws, folder):
    """Change the weights and write the checksum that fits them."""
    (name,) = set(files) - {export.DESCRIPTION}
    content = files.pop(name)
    if draws.random() < 0.5:  # the header alone, in which everything that can lie is
        n = 8 + int.from_bytes(content[:8], "little")
        content = changed_bytes(content[:n], draws) + content[n:]
    else:
        content = changed_bytes(content, draws)
    digest = hashlib.sha256(content).hexdigest()
    planted = f"weights-{digest[:16]}.safetensors"
    tree = json.loads(files[export.DESCRIPTION]) | {"weights": planted, "weights_sha256": digest}
    files[export.DESCRIPTION] = json.dumps(tree).encode()
    return files | {planted: content}, f"planted weights {content[:60]!r}"


def _difference(promised, said, where=""):
    """Return where two descriptions that both say something say another thing, or None."""
    if isinstance(promised, dict) and isinstance(said, dict):
        keys = sorted((promised.keys() & said.keys()) - set(export.OF_THE_MACHINE))
    elif isinstance(promised, list) and isinstance(said, list) and len(promised) == len(said):
        keys = range(len(said))
    else:
        return None if promised == said else f"{where}: {promised!r:.80}, and not {said!r:.80}"
    found = (_difference(promised[key], said[key], f"{where}/{key}") for key in keys)
    return next(filter(None, found), None)
