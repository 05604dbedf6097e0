"""Save fitted pipelines as safetensors and JSON, which run no code when they are loaded.

A pickle runs whatever its author wrote. Here a file names classes out of a fixed list, their
parameters and their fitted state as numbers, texts and arrays, and nothing else is built from it.
"""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._augmenters import (
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    GaussianAugmenter,
    RepeatAugmenter,
)
from ._auto_reward import AutoRewardRegressor
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._distillation import DistillationAugmenter
from ._embedder import LLMEmbedder
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._linear_reward import LinearRewardRegressor
from ._pair_classifier import PairClassifier
from ._response_features import ResponseFeatures
from ._response_views import ResponseViews
from ._scaler import EmbeddingScaler
from ._voting_reward import VotingRewardRegressor
from ._within_prompt_whitening import WithinPromptWhitening

__all__ = ["load", "save"]

DESCRIPTION, WEIGHTS = "pipeline.json", "weights.safetensors"
FORMAT = 2
CLASSES = {
    c.__name__: c
    for c in (
        LLMEmbedder,
        ResponseFeatures,
        ResponseViews,
        EmbeddingScaler,
        WithinPromptWhitening,
        ContrastiveVAE,
        LatentPairAugmenter,
        DifferenceAugmenter,
        DistillationAugmenter,
        DirectNoiseAugmenter,
        GaussianAugmenter,
        RepeatAugmenter,
        AutoRewardRegressor,
        BTRewardRegressor,
        LinearRewardRegressor,
        GPRewardRegressor,
        PairClassifier,
        VotingRewardRegressor,
    )
}
#: Parameters that belong to a machine and not to a model, with what is written for them.
OF_THE_MACHINE = {"store": None, "out": None, "device": "auto", "n_jobs": None, "memory": None}


def save(model, folder):
    """Save a fitted pipeline without pickle.

    Parameters
    ----------
    model : Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted. A Pipeline's steps, also of one within, are estimators of this package; each is
        asked for its fitted state. What belongs to the machine is not written: ``store``,
        ``out``, ``memory`` and ``n_jobs`` become None, ``device`` "auto". Language models are
        kept by name.
    folder : str or Path
        Made if it is not there; gets ``pipeline.json`` and ``weights.safetensors``.

    Raises
    ------
    ValueError
        If a step is of another class, or a parameter cannot be written as JSON.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.

    See Also
    --------
    load : Read it back.

    Examples
    --------
    >>> import tempfile
    >>> from lens_sklearn import BTRewardRegressor, export
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=50, n_features=4, random_state=0)
    >>> reward = BTRewardRegressor(max_epochs=1, random_state=0).fit(toy.pairs)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export.save(reward, folder)
    ...     again = export.load(folder)
    >>> bool((again.predict(toy.candidates) == reward.predict(toy.candidates)).all())
    True
    """
    from safetensors.numpy import save as to_bytes

    is_pipeline = isinstance(model, Pipeline)
    steps, arrays = [], {}
    for name, step in model.steps if is_pipeline else [("model", model)]:
        check_is_fitted(step)
        steps.append({"name": name} | _write_fitted(step, name, arrays))
    weights = to_bytes(arrays)
    description = {
        "format": FORMAT,
        "pipeline": is_pipeline,
        "steps": steps,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": versions(),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(description, indent=2, allow_nan=False)
    for name, content in ((WEIGHTS, weights), (DESCRIPTION, text.encode())):
        partial = folder / f"{name}.partial"  # a killed process leaves the old file whole
        partial.write_bytes(content)
        os.replace(partial, folder / name)


def load(folder):
    """Load what :func:`save` wrote; no code from the files is run.

    Parameters
    ----------
    folder : str or Path
        The folder.

    Returns
    -------
    Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted.

    Raises
    ------
    FileNotFoundError
        If the folder holds no saved pipeline.
    ValueError
        If the files are damaged, do not belong together, are of a newer format, or name a
        class or parameter that is not known.

    See Also
    --------
    save : Write it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    folder = Path(folder)
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder}: not a saved reward model, it has no {name}; "
                "'lens-sklearn fit' and lens_sklearn.export.save write one."
            )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ValueError(f"format {description['format']!r}; this version reads {FORMAT}")
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != description["weights_sha256"]:
            raise ValueError(f"{WEIGHTS} is damaged or belongs to another pipeline")
        arrays = from_bytes(weights)
        steps = [(step["name"], _read_fitted(step, arrays)) for step in description["steps"]]
        is_pipeline = description["pipeline"]
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{folder / DESCRIPTION}: {what}.") from error
    return Pipeline(steps) if is_pipeline else steps[0][1]


def versions():
    """Return the versions of what a result depends on.

    Returns
    -------
    dict of str to str
        Of Python and the packages that compute.
    """
    found = {"python": platform.python_version()}
    for name in ("lens-sklearn", "scikit-learn", "torch", "skorch", "transformers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# ------------------------------------------------------------------------------ parameters
def _write_params(estimator, where):
    """Return an estimator's class and parameters as JSON types."""
    if isinstance(estimator, Pipeline):
        steps = estimator.steps
        return {"steps": [{"name": n} | _write_params(s, f"{where}__{n}") for n, s in steps]}
    name = type(estimator).__name__
    if CLASSES.get(name) is not type(estimator):
        raise ValueError(
            f"{where}: {type(estimator).__name__} cannot be saved without pickle; known are "
            f"{sorted(CLASSES)}. joblib.dump saves anything."
        )
    params = {
        key: OF_THE_MACHINE[key]
        if key in OF_THE_MACHINE
        else _write_param(value, f"{where}__{key}")
        for key, value in estimator.get_params(deep=False).items()
    }
    return {"class": name, "params": params}


def _write_param(value, where):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_write_param(v, where) for v in value]
    if isinstance(value, BaseEstimator):
        return _write_params(value, where)
    raise ValueError(
        f"{where}: a {type(value).__name__} cannot be written as JSON; set it to a number, a "
        "text or None before saving. joblib.dump saves whatever pickles."
    )


def _read_params(description):
    """Return the estimator that `_write_params` described, not fitted."""
    if "steps" in description:
        return Pipeline([(step["name"], _read_params(step)) for step in description["steps"]])
    if description["class"] not in CLASSES:
        raise ValueError(f"class {description['class']!r} is none of {sorted(CLASSES)}")
    params = {key: _read_param(value) for key, value in description["params"].items()}
    kind = CLASSES[description["class"]]
    for name, parameter in signature(kind).parameters.items():
        if isinstance(parameter.default, tuple) and isinstance(params.get(name), list):
            params[name] = tuple(params[name])  # JSON has lists alone
    return kind(**params)


def _read_param(value):
    if isinstance(value, list):
        return [_read_param(v) for v in value]
    return _read_params(value) if isinstance(value, dict) else value


# ------------------------------------------------------------------------------ fitted state
# Of a value of a state that is no JSON type, what it is written as: {"kind": kind, …}.
ARRAY, ESTIMATOR, MAPPING, TEXTS = "array", "estimator", "mapping", "texts"


def _write_fitted(estimator, where, arrays):
    """Return a fitted estimator as JSON types; its arrays go to `arrays`, by their place."""
    if isinstance(estimator, Pipeline):
        steps = estimator.steps
        return {"steps": [{"name": n} | _write_fitted(s, f"{where}/{n}", arrays) for n, s in steps]}
    written = _write_params(estimator, where)
    state = {
        key: _write_state(value, f"{where}/{key}", arrays)
        for key, value in estimator.get_fitted_state().items()
    }
    return written | {"state": state}


def _write_state(value, where, arrays):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"kind": TEXTS, "values": value.tolist()}
    if isinstance(value, np.ndarray):
        arrays[where] = np.array(value, order="C")  # keeps 0-d arrays such
        return {"kind": ARRAY, "name": where}
    if isinstance(value, list | tuple):
        return [_write_state(v, f"{where}/{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, dict):  # its keys need not be texts
        items = [[key, _write_state(v, f"{where}/{key}", arrays)] for key, v in value.items()]
        return {"kind": MAPPING, "items": items}
    if isinstance(value, BaseEstimator):
        return {"kind": ESTIMATOR} | _write_fitted(value, where, arrays)
    raise ValueError(f"{where}: a {type(value).__name__} cannot be saved without pickle.")


def _read_fitted(description, arrays):
    if "steps" in description:
        steps = description["steps"]
        return Pipeline([(step["name"], _read_fitted(step, arrays)) for step in steps])
    estimator = _read_params(description)
    state = {key: _read_state(value, arrays) for key, value in description["state"].items()}
    estimator.set_fitted_state(state)
    return estimator


def _read_state(value, arrays):
    if isinstance(value, list):
        return [_read_state(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if value["kind"] == ARRAY:
        return arrays[value["name"]]
    if value["kind"] == TEXTS:
        return np.array(value["values"], dtype=np.str_)
    if value["kind"] == MAPPING:
        return {key: _read_state(v, arrays) for key, v in value["items"]}
    if value["kind"] == ESTIMATOR:
        return _read_fitted(value, arrays)
    raise ValueError(f"a value of the kind {value['kind']!r} is not known")
