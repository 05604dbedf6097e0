"""Save fitted pipelines as safetensors and JSON, which run no code when they are loaded.

A pickle runs whatever its author wrote. Here a file names classes out of a fixed list, their
parameters and arrays, and nothing else is built from it.
"""

import hashlib
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from ._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
from ._bt_reward import BTRewardRegressor
from ._contrastive_vae import ContrastiveVAE
from ._embedder import LLMEmbedder
from ._gp_reward import GPRewardRegressor
from ._latent_augmenter import LatentPairAugmenter
from ._reward_net import BradleyTerryLoss, RewardMLP
from ._scaler import EmbeddingScaler
from ._within_prompt_whitening import WithinPromptWhitening

__all__ = ["load", "save"]

DESCRIPTION, WEIGHTS = "pipeline.json", "weights.safetensors"
FORMAT = 1
AUGMENTERS = (LatentPairAugmenter, DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter)
CLASSES = {
    c.__name__: c
    for c in (
        LLMEmbedder,
        EmbeddingScaler,
        ContrastiveVAE,
        BTRewardRegressor,
        GPRewardRegressor,
        WithinPromptWhitening,
        *AUGMENTERS,
    )
}
#: Parameters that belong to a machine and not to a model, with what is written for them.
OF_THE_MACHINE = {"store": None, "out": None, "device": "auto", "n_jobs": None, "memory": None}


def save(model, folder):
    """Save a fitted pipeline without pickle.

    Parameters
    ----------
    model : Pipeline, LLMEmbedder, EmbeddingScaler, augmenter or reward model
        Fitted. A Pipeline's steps are estimators of this package. What belongs to the machine
        is not written: ``store``, ``out``, ``memory`` and ``n_jobs`` become None, ``device``
        "auto". Language models are kept by name; augmenters by their parameters alone, since
        on new data they change nothing.
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
        written = _written(step, name)
        state, step_arrays = _state_of(step)
        steps.append({"name": name, **written, "state": state})
        arrays |= {f"{name}/{key}": np.ascontiguousarray(a) for key, a in step_arrays.items()}
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
        steps = [_read_step(step, arrays) for step in description["steps"]]
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
def _written(estimator, where):
    """Return an estimator's class and parameters as JSON types."""
    name = type(estimator).__name__
    if CLASSES.get(name) is not type(estimator):
        raise ValueError(
            f"{where}: {type(estimator).__name__} cannot be saved without pickle; known are "
            f"{sorted(CLASSES)}. joblib.dump saves anything."
        )
    params = {
        key: OF_THE_MACHINE[key] if key in OF_THE_MACHINE else _json(value, f"{where}__{key}")
        for key, value in estimator.get_params(deep=False).items()
    }
    return {"class": name, "params": params}


def _json(value, where):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_json(v, where) for v in value]
    if isinstance(value, BaseEstimator):
        return _written(value, where)
    raise ValueError(
        f"{where}: a {type(value).__name__} cannot be written as JSON; set it to a number, a "
        "text or None before saving."
    )


def _built(description):
    """Return the estimator that `_written` described, not fitted."""
    if description["class"] not in CLASSES:
        raise ValueError(f"class {description['class']!r} is none of {sorted(CLASSES)}")
    params = {
        key: _built(value) if isinstance(value, dict) else value
        for key, value in description["params"].items()
    }
    return CLASSES[description["class"]](**params)


def _read_step(step, arrays):
    estimator, prefix = _built(step), f"{step['name']}/"
    own = {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
    _restore(estimator, step["state"], own)
    return step["name"], estimator


# ------------------------------------------------------------------------------ fitted state
METRIC_STATE = ("mean_", "scale_", "directions_", "gains_")
PROCESS_STATE = ("members_", "dual_coef_", "variances_")
EMBEDDER_STATE = ("n_features_out_", "max_length_", "revision_", "n_overlong_")


def _state_of(step):
    """Return a fitted step's state as JSON types and arrays."""
    if isinstance(step, LLMEmbedder):
        state = {key: _json(getattr(step, key), key) for key in EMBEDDER_STATE}
        return state | {"layers_": [int(layer) for layer in step.layers_]}, {}
    state = {"n_features_in_": int(step.n_features_in_)}
    if isinstance(step, EmbeddingScaler):
        scaler = step.scaler_
        arrays = {"n_samples_seen_": np.asarray(scaler.n_samples_seen_)}
        for key in ("mean_", "var_", "scale_"):
            if getattr(scaler, key) is not None:
                arrays[key] = getattr(scaler, key)
        return state, arrays
    if isinstance(step, BTRewardRegressor):
        weights = step.net_.module_.state_dict()
        return state, {key: tensor.numpy() for key, tensor in weights.items()}
    if isinstance(step, WithinPromptWhitening):
        state |= {"length_": step.length_, "norm_exponent_": step.norm_exponent_}
        return state, {key: getattr(step, key) for key in METRIC_STATE}
    if isinstance(step, GPRewardRegressor):
        metric, arrays = _state_of(step.metric_)
        own = PROCESS_STATE + (("factor_",) if step.factor_ is not None else ())
        state["uncertainty_penalty_"] = step.uncertainty_penalty_
        state["metric_"] = _written(step.metric_, "metric_") | {"state": metric}
        return state, arrays | {key: getattr(step, key) for key in own}
    if isinstance(step, AUGMENTERS):
        return state, {}
    raise ValueError(f"a {type(step).__name__} is saved as a part of its augmenter only.")


def _restore(estimator, state, arrays):
    """Give an estimator the state that `_state_of` took."""
    if isinstance(estimator, LLMEmbedder):
        for key in EMBEDDER_STATE:
            setattr(estimator, key, state[key])
        estimator.layers_ = tuple(state["layers_"])
        return
    d = estimator.n_features_in_ = int(state["n_features_in_"])
    if isinstance(estimator, EmbeddingScaler):
        scaler = StandardScaler(with_mean=estimator.with_mean, with_std=estimator.with_std)
        scaler.n_features_in_ = d
        for key in ("mean_", "var_", "scale_"):
            array = arrays.get(key)
            if array is not None and array.shape != (d,):
                raise ValueError(f"the scaler's {key} has shape {array.shape}, expected ({d},)")
            setattr(scaler, key, array)
        seen = arrays["n_samples_seen_"]
        scaler.n_samples_seen_ = seen if seen.ndim else seen[()]
        estimator.scaler_ = scaler
    elif isinstance(estimator, BTRewardRegressor):
        estimator.net_ = _reward_net(estimator, d, arrays)
    elif isinstance(estimator, WithinPromptWhitening):
        estimator.length_, estimator.norm_exponent_ = state["length_"], state["norm_exponent_"]
        r = len(arrays["gains_"])
        gains = (r, r) if arrays["gains_"].ndim == 2 else (r,)
        _set_arrays(estimator, METRIC_STATE, ((d,), (d,), (r, d), gains), arrays)
    elif isinstance(estimator, GPRewardRegressor):
        estimator.metric_ = _built(state["metric_"])
        _restore(estimator.metric_, state["metric_"]["state"], arrays)
        n = len(arrays["dual_coef_"])
        _set_arrays(estimator, PROCESS_STATE, ((2 * n, d), (n,), (3,)), arrays)
        estimator.uncertainty_penalty_, estimator.factor_ = state["uncertainty_penalty_"], None
        if "factor_" in arrays:
            _set_arrays(estimator, ("factor_",), ((n, n),), arrays)


def _set_arrays(estimator, names, shapes, arrays):
    for name, shape in zip(names, shapes, strict=True):
        if arrays[name].shape != shape:
            kind = type(estimator).__name__
            raise ValueError(f"{name} of {kind} has shape {arrays[name].shape}, not {shape}")
        setattr(estimator, name, arrays[name])


def _reward_net(estimator, d, arrays):
    from skorch import NeuralNet

    net = NeuralNet(
        RewardMLP,
        criterion=BradleyTerryLoss,
        module__n_features=d,
        module__hidden_dim=estimator.hidden_dim,
        train_split=None,
        verbose=0,
        device="cpu",
    ).initialize()
    tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    try:
        net.module_.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"the reward's weights do not fit its parameters ({error})") from None
    net.trim_for_prediction()
    return net
