"""Save fitted pipelines as safetensors and JSON, which run no code when they are loaded.

A pickle runs whatever its author wrote. Here a file names classes out of a fixed list, their
parameters and their fitted state as numbers, texts and arrays, and nothing else is built from it.
Estimators of other libraries go through skops, which builds types of a list of its own.
"""

import base64
import binascii
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import validate_parameter_constraints
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
from ._fitted_state import check_kinds
from ._foreign_estimators import read_estimator, write_estimator
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._linear_reward import LinearRewardRegressor
from ._pair_classifier import PairClassifier
from ._response_features import ResponseFeatures
from ._response_views import ResponseViews
from ._reward_ensemble import RewardEnsemble
from ._saved_model import DESCRIPTION, read_model, write_model
from ._scaler import EmbeddingScaler
from ._template_check import check_template
from ._voting_reward import VotingRewardRegressor
from ._within_prompt_whitening import WithinPromptWhitening

__all__ = ["load", "save"]

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
        RewardEnsemble,
        VotingRewardRegressor,
    )
}
#: Parameters that belong to a machine and not to a model, with what they are in a file: it could
#: otherwise write where it likes.
OF_THE_MACHINE = {
    "store": None,
    "out": None,
    "device": "auto",
    "n_jobs": None,
    "memory": None,
    "callbacks": None,
}


def save(model, folder, *, trusted=()):
    """Save a fitted pipeline without pickle.

    Parameters
    ----------
    model : Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted. Estimators of this package are asked for their fitted state; those of other
        libraries, a ``PCA`` for example, are written by skops (extra ``save``). What is in a
        ``FrozenEstimator`` is written with its fitted state, wherever it stands. A fitted search
        is not saved, its ``best_estimator_`` is. What belongs to the machine is not written:
        ``store``, ``out``, ``memory``, ``n_jobs`` and ``callbacks`` become None, ``device``
        "auto". Language models are kept by name: one in a local folder by the path that it has
        here.
    folder : str or Path
        Made if it is not there; gets ``pipeline.json`` and ``weights-….safetensors``, whose name
        tells its content. The description is replaced last and at once, so a process that is
        killed, or two that save to one folder, leave one whole model.
    trusted : sequence of str, default=()
        Names of types in estimators of other libraries that skops does not trust by itself,
        such as ``"sklearn.tree._tree.Tree"``. Loading needs the same.

    Raises
    ------
    ImportError
        If an estimator of another library is there and skops is not.
    ValueError
        If the model is a search, a parameter cannot be written as JSON, a type is not trusted,
        or a fitted value is not finite.
    OSError
        If the folder cannot be written; what was in it is still there.
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
    _refuse_search(model)
    is_pipeline = isinstance(model, Pipeline)
    steps, files = [], _Files({}, _names(trusted), {})
    for name, step in model.steps if is_pipeline else [("model", model)]:
        check_is_fitted(step)
        steps.append({"name": name} | _write_fitted(step, name, files))
    description = {"pipeline": is_pipeline, "steps": steps, "versions": versions()}
    try:
        _read_model(description, files.again())  # what could not be loaded is not saved
    except _MALFORMED as error:
        raise ValueError(f"{type(model).__name__} cannot be saved: {_words(error)}.") from error
    write_model(folder, description, files.arrays)


def load(folder, *, trusted=()):
    """Load what :func:`save` wrote; no code from the files is run.

    Parameters
    ----------
    folder : str or Path
        The folder.
    trusted : sequence of str, default=()
        Names of types that estimators of other libraries may hold besides those that skops
        trusts. Give those alone of which you know where they come from.

    Returns
    -------
    Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted.

    Raises
    ------
    FileNotFoundError
        If the folder holds no saved pipeline.
    ImportError
        If it holds an estimator of another library and skops is not installed.
    ValueError
        If the files are damaged, do not belong together, are of a newer format, name a class or
        parameter that is not known, a type that is not trusted, promise other sizes than the
        weights have, or hold a chat template that could take memory without end.

    See Also
    --------
    save : Write it.

    Notes
    -----
    What belongs to the machine (`save` names it) is not taken from the file whatever it says, so
    that loading and predicting write no files. ``model_name`` is: give a model that you load a
    name that you trust, as it is read or downloaded when texts are embedded.
    """
    trusted = _names(trusted)
    description, arrays = read_model(folder)
    try:
        return _read_model(description, _Files(arrays, trusted, {}))
    except _MALFORMED as error:
        raise ValueError(f"{os.path.join(folder, DESCRIPTION)}: {_words(error)}.") from error


LONGEST_WORDS = 1000  # characters of an error that may repeat what a file says
#: What reading a description that does not fit comes to.
_MALFORMED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def _words(error):
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    words = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return words if len(words) <= LONGEST_WORDS else f"{words[:LONGEST_WORDS]}…"


def _names(trusted):
    """Return names of types as a list; a lone one is a common slip."""
    if isinstance(trusted, str) or not all(isinstance(name, str) for name in trusted):
        raise TypeError(f"trusted has to be a list of names of types; got {trusted!r}.")
    return list(trusted)


def _refuse_search(model):
    if isinstance(model, BaseSearchCV):
        raise ValueError(
            f"a {type(model).__name__} holds the record of a search; save what it found: "
            "export.save(search.best_estimator_, folder)."
        )


class _Files(NamedTuple):
    """What is written beside a description, or was: arrays by their place, taken when read.

    A frozen estimator is its own clone, so a parameter is a part of the fitted state too. It is
    written where it comes first: `frozen` has that place by id, and when read the estimator by
    place.
    """

    arrays: dict
    trusted: list
    frozen: dict

    def again(self):
        """Return the same, not read yet."""
        return self._replace(arrays=dict(self.arrays), frozen={})


def _read_model(description, files):
    """Return the model of a description; every array has to be asked for, once."""
    is_pipeline, steps = description["pipeline"], description["steps"]
    if not isinstance(is_pipeline, bool):
        raise ValueError(f"'pipeline' has to be true or false, not {is_pipeline!r:.100}")
    if not is_pipeline and (len(steps), steps[0]["name"]) != (1, "model"):
        raise ValueError("what is no pipeline has one step of the name 'model'")
    pipeline = _read_pipeline(steps, lambda step, name: _read_fitted(step, name, files))
    if files.arrays:
        raise ValueError(f"the weights hold {sorted(files.arrays)[0]!r}, which nothing asks for")
    return pipeline if is_pipeline else pipeline.steps[0][1]


def _read_pipeline(steps, read):
    """Return a Pipeline of steps that `read` makes of their description and name."""
    names = [step["name"] for step in steps]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"the names of steps have to be there and to differ: {names!r:.200}")
    for name in names:
        if not isinstance(name, str) or "__" in name or name in ("steps", "memory", "verbose"):
            raise ValueError(f"{name!r:.100} is no name of a step")
    made = [(name, read(step, name)) for name, step in zip(names, steps, strict=True)]
    for (name, step), (following, other) in pairwise(made):
        if not hasattr(step, "transform"):
            raise ValueError(f"step {name!r} does not transform, and {following!r} follows it")
        d = getattr(step, "n_features_out_", getattr(step, "n_features_in_", None))
        d = d if type(step) in CLASSES.values() else None  # others need not keep their features
        expected = getattr(other, "n_features_in_", d)
        if None not in (d, expected) and d != expected:
            raise ValueError(
                f"step {name!r} makes {d} features and {following!r} expects {expected}"
            )
    return Pipeline(made)


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
def _is_ours(estimator):
    return CLASSES.get(type(estimator).__name__) is type(estimator)


def _write_params(estimator, where, files):
    """Return an estimator's class and parameters as JSON types."""
    if isinstance(estimator, Pipeline):
        steps = estimator.steps
        return {"steps": [{"name": n} | _write_params(s, f"{where}__{n}", files) for n, s in steps]}
    if isinstance(estimator, FrozenEstimator):
        return _write_frozen(estimator, where, files)
    if not _is_ours(estimator):
        written = write_estimator(estimator, where, files.trusted).tobytes()
        return {"foreign": base64.b64encode(written).decode()}
    params = {
        key: OF_THE_MACHINE[key]
        if key in OF_THE_MACHINE
        else _write_param(value, f"{where}__{key}", files)
        for key, value in estimator.get_params(deep=False).items()
    }
    return {"class": type(estimator).__name__, "params": params}


def _write_param(value, where, files):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_write_param(v, f"{where}__{i}", files) for i, v in enumerate(value)]
    if isinstance(value, BaseEstimator):
        return _write_params(value, where, files)
    raise ValueError(
        f"{where}: a {type(value).__name__} cannot be written as JSON; set it to a number, a "
        "text or None before saving. joblib.dump saves whatever pickles."
    )


def _read_params(description, where, files):
    """Return the estimator that `_write_params` described, not fitted unless it is frozen."""
    if "steps" in description:
        return _read_pipeline(
            description["steps"], lambda step, name: _read_params(step, f"{where}__{name}", files)
        )
    if "frozen" in description:
        return _read_frozen(description, where, files)
    if "foreign" in description:
        try:
            data = base64.b64decode(description["foreign"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise ValueError(f"an estimator of another library is no base64: {error}") from error
        return read_estimator(np.frombuffer(data, dtype=np.uint8), "a parameter", files.trusted)
    if description["class"] not in list(CLASSES):  # it need not be hashable
        raise ValueError(f"class {description['class']!r:.100} is none of {sorted(CLASSES)}")
    given = description["params"].items()
    params = {key: _read_param(value, f"{where}__{key}", files) for key, value in given}
    params |= {key: value for key, value in OF_THE_MACHINE.items() if key in params}
    kind = CLASSES[description["class"]]
    for name, parameter in signature(kind).parameters.items():
        if isinstance(parameter.default, tuple) and isinstance(params.get(name), list):
            params[name] = tuple(params[name])  # JSON has lists alone
    estimator = kind(**params)
    validate_parameter_constraints(
        estimator._parameter_constraints, estimator.get_params(deep=False), kind.__name__
    )
    if isinstance(params.get("chat_template"), str) and params["chat_template"] != "auto":
        check_template(params["chat_template"])
    return estimator


def _read_param(value, where, files):
    if isinstance(value, list):
        return [_read_param(v, f"{where}__{i}", files) for i, v in enumerate(value)]
    return _read_params(value, where, files) if isinstance(value, dict) else value


def _write_frozen(estimator, where, files):
    """Return a frozen estimator, which is fitted wherever it stands, or where it was written."""
    if id(estimator) in files.frozen:
        return {"frozen": files.frozen[id(estimator)]}
    files.frozen[id(estimator)] = where
    check_is_fitted(estimator)
    return {"frozen": _write_fitted(estimator.estimator, where, files)}


def _read_frozen(description, where, files):
    inner = description["frozen"]
    if isinstance(inner, str):
        return files.frozen[inner]
    files.frozen[where] = FrozenEstimator(_read_fitted(inner, where, files))
    return files.frozen[where]


# ------------------------------------------------------------------------------ fitted state
# Of a value of a state that is no JSON type, what it is written as: {"kind": kind, …}.
ARRAY, ESTIMATOR, MAPPING, TEXTS = "array", "estimator", "mapping", "texts"


def _write_fitted(estimator, where, files):
    """Return a fitted estimator as JSON types; its arrays go to `files`, by their place."""
    if isinstance(estimator, Pipeline):
        steps = [{"name": n} | _write_fitted(s, f"{where}/{n}", files) for n, s in estimator.steps]
        return {"steps": steps}
    if isinstance(estimator, FrozenEstimator):
        return _write_frozen(estimator, where, files)
    if not _is_ours(estimator):
        files.arrays[where] = write_estimator(estimator, where, files.trusted)
        return {"foreign": where}
    written = _write_params(estimator, where, files)
    state = {
        key: _write_state(value, f"{where}/{key}", files)
        for key, value in estimator.get_fitted_state().items()
    }
    return written | {"state": state}


def _write_state(value, where, files):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"kind": TEXTS, "values": value.tolist()}
    if isinstance(value, np.ndarray):
        files.arrays[where] = np.array(value, order="C")  # keeps 0-d arrays such
        return {"kind": ARRAY, "name": where}
    if isinstance(value, list | tuple):
        return [_write_state(v, f"{where}/{i}", files) for i, v in enumerate(value)]
    if isinstance(value, dict):  # its keys need not be texts
        items = [[key, _write_state(v, f"{where}/{key}", files)] for key, v in value.items()]
        return {"kind": MAPPING, "items": items}
    if isinstance(value, BaseEstimator):
        return {"kind": ESTIMATOR} | _write_fitted(value, where, files)
    raise ValueError(f"{where}: a {type(value).__name__} cannot be saved without pickle.")


def _read_fitted(description, where, files):
    if "steps" in description:
        return _read_pipeline(
            description["steps"],
            lambda step, name: _read_fitted(step, f"{where}/{name}", files),
        )
    if "foreign" in description:
        if description["foreign"] != where:
            raise ValueError(f"{where} asks for the array {description['foreign']!r:.100}")
        return read_estimator(files.arrays.pop(where), where, files.trusted)
    if "frozen" in description:
        return _read_frozen(description, where, files)
    estimator = _read_params(description, where, files)
    state = {
        key: _read_state(value, f"{where}/{key}", files)
        for key, value in description["state"].items()
    }
    check_kinds(estimator, state)
    estimator.set_fitted_state(state)
    return estimator


def _read_state(value, where, files):
    if isinstance(value, list):
        return [_read_state(v, f"{where}/{i}", files) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value["kind"] == ARRAY:
        if value["name"] != where:
            raise ValueError(f"{where} asks for the array {value['name']!r:.100}")
        return files.arrays.pop(where)
    if value["kind"] == TEXTS:
        if not isinstance(value["values"], list) or not all(
            isinstance(text, str) for text in value["values"]
        ):
            raise ValueError(f"{where} has to be a list of texts")
        return np.array(value["values"], dtype=np.str_)
    if value["kind"] == MAPPING:
        items = value["items"]
        if not isinstance(items, list) or not all(
            isinstance(item, list) and len(item) == 2 and isinstance(item[0], str | int | float)
            for item in items
        ):
            raise ValueError(f"{where} has to be a list of keys and values")
        table = {key: _read_state(v, f"{where}/{key}", files) for key, v in items}
        if len(table) < len(items):
            raise ValueError(f"a key of {where} comes twice")
        return table
    if value["kind"] == ESTIMATOR:
        return _read_fitted(value, where, files)
    raise ValueError(f"{where}: a value of the kind {value['kind']!r:.100} is not known")
