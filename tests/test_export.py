"""Saved pipelines predict the same, and loading them runs nothing."""

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest
import skorch
import torch
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    ContrastiveVAE,
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    GPRewardRegressor,
    LatentPairAugmenter,
    LinearRewardRegressor,
    LLMEmbedder,
    RepeatAugmenter,
    VotingRewardRegressor,
    WithinPromptWhitening,
)
from lens_sklearn._fitted_state import check_kinds
from lens_sklearn.export import load, save

VAE = ContrastiveVAE(4, 8, max_epochs=1)
AUGMENTERS = [
    LatentPairAugmenter(VAE, factor=2, random_state=0),
    LatentPairAugmenter(
        VAE,
        decode="residual",
        keep="ordered",
        reward=BTRewardRegressor(max_epochs=1),
        random_state=0,
    ),
    DistillationAugmenter(factor=2, random_state=0),
    DistillationAugmenter(
        LatentPairAugmenter(VAE), LinearRewardRegressor(), factor="auto", random_state=0
    ),
    DifferenceAugmenter(factor=2, random_state=0),
    DirectNoiseAugmenter(factor=2, random_state=0),
    GaussianAugmenter(factor=2, random_state=0),
    RepeatAugmenter(factor=2),
]
REWARDS = [
    BTRewardRegressor(max_epochs=2, random_state=0),
    LinearRewardRegressor(),
    GPRewardRegressor(),
    GPRewardRegressor(whitening=WithinPromptWhitening(covariance_exponent=0.3)),
    GPRewardRegressor(n_response_features=3, controlled=(-1,)),
    AutoRewardRegressor(n_response_features=3, random_state=0),
]


def make(augmenter=AUGMENTERS[0], **params):
    scaler = EmbeddingScaler()
    reward = BTRewardRegressor(max_epochs=2, random_state=0)
    pipeline = Pipeline([("scale", scaler), ("augment", clone(augmenter)), ("reward", reward)])
    return pipeline.set_params(**params)


@pytest.mark.parametrize("params", [{}, {"scale__with_mean": False}, {"scale__with_std": False}])
def test_same_predictions_to_the_bit(params, pairs, candidates, tmp_path):
    pipeline = make(**params).fit(pairs)
    save(pipeline, tmp_path / "new" / "folder")
    again = load(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(again.predict(candidates[0]), pipeline.predict(candidates[0]))
    assert again.score(*candidates) == pipeline.score(*candidates)
    assert repr(again.get_params()) == repr(pipeline.get_params())
    assert again["scale"].n_features_in_ == 12


def equal(found, expected, where=""):
    """Compare values of any depth, estimators by their class and all that is fitted."""
    assert type(found) is type(expected) or {type(found), type(expected)} <= {list, tuple}, where
    if isinstance(expected, np.ndarray | torch.Tensor):
        np.testing.assert_array_equal(found, expected, err_msg=where)
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            equal(found[key], expected[key], f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, pair in enumerate(zip(found, expected, strict=True)):
            equal(*pair, f"{where}[{i}]")
    elif isinstance(expected, skorch.NeuralNet):
        equal(dict(found.module_.state_dict()), dict(expected.module_.state_dict()), where)
    elif isinstance(expected, BaseEstimator):
        assert repr(found.get_params()) == repr(expected.get_params()), where
        fitted = [name for name in vars(expected) if name.endswith("_")]
        assert sorted(fitted) == sorted(n for n in vars(found) if n.endswith("_")), where
        for name in fitted:
            equal(getattr(found, name), getattr(expected, name), f"{where}.{name}")
    elif dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            pair = (getattr(value, field.name) for value in (found, expected))
            equal(*pair, f"{where}.{field.name}")
    elif not isinstance(expected, torch.nn.Module):
        assert found == expected, where


@pytest.mark.parametrize("model", [*AUGMENTERS, *REWARDS, VAE], ids=lambda m: type(m).__name__)
def test_a_loaded_model_is_the_saved_one(model, pairs, tmp_path):
    """The same classes, parameters and fitted attributes, those of its parts included."""
    model = clone(model).fit(pairs)
    save(model, tmp_path)
    again = load(tmp_path)
    equal(again, model)
    if hasattr(model, "augment"):
        one, two = model.augment(pairs), again.augment(pairs)
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
        np.testing.assert_array_equal(one.target, two.target)
    if isinstance(model, ContrastiveVAE):
        equal(again.partial_fit(pairs), model.partial_fit(pairs))


@pytest.mark.parametrize(
    "model",
    [
        BTRewardRegressor(max_epochs=2, n_response_features=3, random_state=0),
        VotingRewardRegressor([("net", BTRewardRegressor(max_epochs=2, n_response_features=3))]),
        LinearRewardRegressor(n_response_features=3, controlled=(-1,)),
        *REWARDS[-2:],
    ],
    ids=lambda m: type(m).__name__,
)
def test_constant_features_are_saved(model, pairs, tmp_path):
    """No response has a table, or all end in a full stop: their deviation is taken as infinite."""
    X = np.array(pairs)
    X[..., 0], X[..., -2], X[..., -3] = 1.5, 0, 3.1
    model = clone(model).fit(X)
    save(model, tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(X), model.predict(X))


@pytest.mark.parametrize("name", ["scale", "response_moments"])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_only_deviations_may_be_infinite_and_none_is_less_than_zero(name, bad):
    check_kinds(VAE, {name: np.array([1.0, np.inf])})
    with pytest.raises(ValueError, match=f"{name} of ContrastiveVAE holds -?(nan|inf)"):
        check_kinds(VAE, {name: np.array([1.0, bad])})


@pytest.mark.parametrize("model", [GPRewardRegressor(), WithinPromptWhitening(0.5)])
def test_what_was_learnt_from_unlabelled_responses_comes_back(model, pairs, candidates, tmp_path):
    pairs = pairs * np.exp(np.linspace(-3, 3, len(pairs)))[:, None, None]  # norms are evened out
    model = clone(model).fit(pairs, unlabeled=candidates[0])
    save(model, tmp_path)
    again = load(tmp_path)
    equal(again, model)
    use = "predict" if hasattr(model, "predict") else "transform"
    found, expected = (getattr(m, use)(candidates[0]) for m in (again, model))
    np.testing.assert_array_equal(found, expected)
    assert model.whitening_.norm_exponent < 1


def test_arrays_that_do_not_fit_are_refused(pairs, tmp_path):
    for model, name in ((GPRewardRegressor(), "dual_coef_"), (LinearRewardRegressor(), "coef_")):
        model.fit(pairs)
        setattr(model, name, getattr(model, name)[:-1])
        with pytest.raises(ValueError, match="cannot be saved: .* has shape"):
            save(model, tmp_path)
        assert not list(tmp_path.iterdir())


def test_raw_features_are_saved_as_trained(pairs, candidates, tmp_path):
    scale = np.geomspace(0.01, 100, 12).astype(np.float32)
    model = BTRewardRegressor(max_epochs=2, random_state=0).fit(pairs * scale + 3 * scale)
    save(model, tmp_path)
    embeddings = candidates[0] * scale
    np.testing.assert_array_equal(load(tmp_path).predict(embeddings), model.predict(embeddings))


def test_loaded_pipeline_can_be_saved_cloned_and_fitted_again(pairs, candidates, tmp_path):
    pipeline = make().fit(pairs)
    save(pipeline, tmp_path)
    again = load(tmp_path)
    save(again, tmp_path / "second")
    twice = load(tmp_path / "second").predict(candidates[0])
    np.testing.assert_array_equal(twice, pipeline.predict(candidates[0]))
    refitted = clone(again).fit(pairs).predict(candidates[0])
    np.testing.assert_array_equal(refitted, pipeline.predict(candidates[0]))
    again["scale"].partial_fit(pairs)


def test_embedder_comes_back_without_reading_its_model(tmp_path):
    from tiny_models import save_decoder, sentence

    random_state = np.random.RandomState(0)
    model = save_decoder(tmp_path / "model")
    texts = [[sentence(random_state, 5), sentence(random_state, 6)] for _ in range(30)]
    embedder = LLMEmbedder(model, layer="all", store=tmp_path / "store", device="cpu")
    reward = BTRewardRegressor(max_epochs=1, random_state=0)
    pipeline = make_pipeline(embedder, EmbeddingScaler(), reward).fit(texts)
    save(pipeline, tmp_path / "out")
    again = load(tmp_path / "out")
    assert again[0].store is None and again[0].device == "auto"
    assert again[0].get_feature_names_out().shape == embedder.get_feature_names_out().shape
    again[0].device = "cpu"
    np.testing.assert_array_equal(again.predict(texts), pipeline.predict(texts))


def test_single_estimator(pairs, tmp_path):
    reward = BTRewardRegressor(max_epochs=1, random_state=0).fit(pairs)
    save(reward, tmp_path)
    np.testing.assert_array_equal(load(tmp_path).predict(pairs), reward.predict(pairs))


def test_unfitted_and_unknown_are_refused(pairs, tmp_path):
    with pytest.raises(NotFittedError):
        save(make(), tmp_path)
    pipeline = make().fit(pairs).set_params(reward__random_state=np.random.RandomState(0))
    with pytest.raises(ValueError, match="reward__random_state: a RandomState cannot be written"):
        save(pipeline, tmp_path)
    assert not list(tmp_path.iterdir()), "a refusal leaves no half-written model"


def edit(folder, change):
    path = folder / "pipeline.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda d: d["steps"][0].update({"class": "Popen"}), "class 'Popen' is none of"),
        (lambda d: d["steps"][2]["params"].update(evil=1), "evil"),
        (lambda d: d["steps"][2]["params"].update(hidden_dim=3), "do not fit the parameters"),
        (lambda d: d["steps"][0]["state"].update(n_features_in_=3), "shape"),
        (lambda d: d.update(format=4), "format 4; this version reads 2 and 3"),
        (lambda d: d.update(weights_sha256="0"), "damaged or belongs to another"),
        (lambda d: d.pop("steps"), "'steps' is missing"),
    ],
)
def test_bad_description(change, message, pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    edit(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def weights_of(folder):
    (path,) = folder.glob("weights-*.safetensors")
    return path


def test_damaged_files(pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(ValueError, match="pipeline.json"):
        load(tmp_path)
    save(make().fit(pairs), tmp_path)
    weights_of(tmp_path).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"weights-\w+.safetensors is damaged"):
        load(tmp_path)
    weights_of(tmp_path).unlink()
    with pytest.raises(FileNotFoundError, match=r"it has no weights-\w+.safetensors"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a saved reward model"):
        load(tmp_path / "nowhere")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the file's code ran",)


def test_a_pickle_in_place_of_the_weights_does_not_run(pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    weights_of(tmp_path).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path)


# ------------------------------------------------------------------------------ hostile folders
def plant(folder, change):
    """Change the weights as somebody does who writes the right checksum for them."""
    path = weights_of(folder)
    content = change(path.read_bytes())
    digest = hashlib.sha256(content).hexdigest()
    path.unlink()
    name = f"weights-{digest[:16]}.safetensors"
    (folder / name).write_bytes(content)
    edit(folder, lambda d: d.update(weights=name, weights_sha256=digest))


def with_array(name, array):
    return lambda content: to_bytes({**from_bytes(content), name: array})


@pytest.fixture
def net_folder(pairs, tmp_path):
    save(BTRewardRegressor(4, max_epochs=1, random_state=0).fit(pairs), tmp_path)
    return tmp_path


PARAMS = ("steps", 0, "params")
STATE = ("steps", 0, "state")


@pytest.mark.parametrize(
    "place, value, message",
    [
        ((*PARAMS, "hidden_dim"), 10**9, "hidden.weight has shape"),
        ((*STATE, "n_features_in_"), 10**12, "hidden.weight has shape"),
        (
            (*PARAMS, "n_response_features"),
            10**9,
            "do not fit the parameters of a",
        ),
        ((*PARAMS, "hidden_dim"), "4", "hidden_dim.*must be an int"),
        ((*PARAMS, "hidden_dim"), -1, "hidden_dim"),
        ((*STATE, "n_features_in_"), 12.0, "has to be a whole number from 0, not 12.0"),
        ((*STATE, "slope_"), None, "slope_ of BTRewardRegressor has to be a number, not None"),
        ((*STATE, "history_"), {}, "'kind' is missing"),
        ((*STATE, "history_"), ["x"], "has to be a list of tables of numbers, not"),
        ((*STATE, "history_", 0, "items"), "", "history_/0 has to be a list of keys and values"),
        ((*STATE, "history_", 0, "items", 0), ["a"], "has to be a list of keys and values"),
        ((*STATE, "history_", 0, "items", 0, 0), "dur", "a key of model/history_/0 comes twice"),
        ((*STATE, "more_"), {"kind": "texts", "values": "ab"}, "has to be a list of texts"),
        ((*STATE, "more_"), {"kind": "x" * 5000}, "of the kind 'x{50,99} is not known"),
        ((*STATE, "weights"), 3, "has to be a table of arrays, not 3"),
        ((*STATE, "weights", "items", 0, 1, "name"), "model/weights/hidden.bias", "asks for"),
        (("steps", 0, "name"), "a__b", "one step of the name 'model'"),
        (("steps",), [], "list index out of range"),
        (("steps",), {}, "is missing"),
        (("pipeline",), 1, "true or false, not 1"),
        (("pipeline",), True, None),
        (("weights",), "../weights-0123456789abcdef.safetensors", "is no name of weights"),
        (("weights",), "/etc/passwd", "is no name of weights"),
        (("weights",), ["x"], "is no name of weights"),
    ],
)
def test_a_planted_value(net_folder, place, value, message):
    def change(description):
        *above, last = place
        for key in above:
            description = description[key]
        description[last] = value

    edit(net_folder, change)
    if message is None:
        assert isinstance(load(net_folder), Pipeline)
        return
    with pytest.raises(ValueError, match=message) as caught:
        load(net_folder)
    assert "pipeline.json" in str(caught.value)


def test_what_belongs_to_the_machine_is_not_taken_from_a_file(tmp_path):
    from tiny_models import save_decoder

    embedder = LLMEmbedder(save_decoder(tmp_path / "model"), device="cpu").fit()
    save(embedder, tmp_path / "saved")
    planted = {
        "out": str(tmp_path / "out"),
        "store": str(tmp_path / "store"),
        "device": "cuda:7",
        "n_jobs": 10_000,
    }
    edit(tmp_path / "saved", lambda d: d["steps"][0]["params"].update(planted))
    again = load(tmp_path / "saved")
    assert (again.out, again.store, again.device, again.n_jobs) == (None, None, "auto", None)
    again.transform(["a text"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "saved"]


def test_callbacks_are_not_of_the_model(net_folder, pairs, tmp_path):
    edit(net_folder, lambda d: d["steps"][0]["params"].update(callbacks=["x"]))
    assert load(net_folder).callbacks is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(net_folder, bad):
    name = "model/weights/hidden.bias"
    plant(net_folder, with_array(name, np.full(4, bad, dtype=np.float32)))
    with pytest.raises(ValueError, match=f"hidden.bias of BTRewardRegressor holds {bad}"):
        load(net_folder)


def test_a_model_whose_training_diverged_is_not_saved(pairs, tmp_path):
    model = LinearRewardRegressor().fit(pairs)
    model.coef_[3] = np.nan
    with pytest.raises(ValueError, match="coef_ of LinearRewardRegressor holds nan"):
        save(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_that_nothing_asks_for_are_refused(net_folder):
    plant(net_folder, with_array("more", np.zeros(1)))
    with pytest.raises(ValueError, match="the weights hold 'more'"):
        load(net_folder)


@pytest.mark.parametrize(
    "header",
    [
        b'{"x": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        b'{"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
        b'{"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}',
        b"[" * 100_000,
        b"",
    ],
)
def test_a_header_that_lies(net_folder, header):
    plant(net_folder, lambda _: len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match="weights-|pipeline.json"):
        load(net_folder)
    plant(net_folder, lambda _: (1 << 62).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="not a file of weights"):
        load(net_folder)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" * 200_000, "nested too deeply|not the description"),
        ('{"a": ' * 200_000, "nested too deeply|not the description"),
        ('{"format": 3, "format": 3}', "'format' comes twice"),
        ('{"format": 1e999}', "1e999 is not finite"),
        ('{"format": NaN}', "NaN is not finite"),
        ('{"format": ' + "9" * 5000 + "}", "beyond 64 bits"),
        ("[]", "it holds a list, not an object"),
        ("", "not the description of a model"),
        ("{}", "'format' is missing"),
        ('{"format": [3]}', "this version reads"),
    ],
)
def test_a_malformed_description(tmp_path, text, message):
    (tmp_path / "pipeline.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load(tmp_path)
    assert str(tmp_path / "pipeline.json") in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["pipeline.json", "weights"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(net_folder, name, kind):
    path = weights_of(net_folder) if name == "weights" else net_folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path if kind == "loop" else "/dev/zero")
    with pytest.raises(ValueError, match=f"{path.name}: (this is no file|it cannot be read)"):
        load(net_folder)


def test_links_to_the_files_are_followed(net_folder, pairs):
    """As in the cache of the Hugging Face Hub."""
    (net_folder / "blobs").mkdir()
    expected = load(net_folder).predict(pairs)
    for path in (weights_of(net_folder), net_folder / "pipeline.json"):
        path.rename(net_folder / "blobs" / path.name)
        path.symlink_to(net_folder / "blobs" / path.name)
    np.testing.assert_array_equal(load(net_folder).predict(pairs), expected)


def test_a_pipeline_whose_steps_do_not_fit_each_other_is_refused(pairs, tmp_path):
    scaler = EmbeddingScaler().fit(pairs[..., :5])
    reward = LinearRewardRegressor().fit(pairs)
    with pytest.raises(ValueError, match="step 'scale' makes 5 features and 'fit' expects 12"):
        save(Pipeline([("scale", scaler), ("fit", reward)]), tmp_path)


def test_a_template_from_a_file_is_checked(tmp_path):
    from tiny_models import CHAT_TEMPLATE, save_decoder

    model = save_decoder(tmp_path / "model")
    folder = tmp_path / "saved"
    save(LLMEmbedder(model, chat_template=CHAT_TEMPLATE).fit(), folder)
    assert load(folder).chat_template == CHAT_TEMPLATE
    edit(folder, lambda d: d["steps"][0]["params"].update(chat_template="{{ 'a' * 10 ** 9 }}"))
    with pytest.raises(ValueError, match="pipeline.json: chat_template multiplies"):
        load(folder)


def state_of(model, pairs, changes=None):
    """Return a fitted model, and its state with some of it changed."""
    model = model.fit(pairs)
    state = model.get_fitted_state()
    for name, value in (changes or {}).items():
        first, _, second = name.partition("/")
        state[first] = {**state[first], second: value} if second else value
    return model, state


@pytest.mark.parametrize(
    "model, changes, message",
    [
        (GPRewardRegressor(), {"kernel_weights_": {"embedding": 6}}, "a table of tables of num"),
        (GPRewardRegressor(), {"kernel_weights_": {"embedding": {"cube": 1.0}}}, "no kernel"),
        (GPRewardRegressor(), {"whitening_": ["x"]}, "whitening_ .* has to be a table or null"),
        (GPRewardRegressor(), {"whitening_/norm_exponent": "x"}, "norm_exponent .* a number"),
        (GPRewardRegressor(), {"n_iter_": -1}, "n_iter_ .* a whole number from 0, not -1"),
        (GPRewardRegressor(), {"slope_": True}, "slope_ .* a number, not True"),
        (VAE, {"adam/project": 3}, "adam of ContrastiveVAE has to hold tables"),
        (VAE, {"random_state/gauss": "0.0"}, "gauss of ContrastiveVAE has to be a number"),
        (VAE, {"random_state/key": [1]}, "key of ContrastiveVAE has to be an array"),
        (LinearRewardRegressor(), {"coef_": np.array(["a"])}, "coef_ .* an array of numbers"),
        (LinearRewardRegressor(), {"coef_": [1.0]}, "coef_ .* an array of numbers, not .1.0."),
    ],
)
def test_fitted_values_are_of_their_kind(model, changes, message, pairs):
    model, state = state_of(clone(model), pairs, changes)
    with pytest.raises(ValueError, match=message):
        check_kinds(model, state)
        model.set_fitted_state(state)


@pytest.mark.parametrize("name", ["weights_", "views_"])
def test_the_tables_of_an_average_are_of_the_same_names(name, pairs):
    model, state = state_of(AutoRewardRegressor(["linear"], random_state=0), pairs)
    state[name] = {"GP": next(iter(state[name].values()))}
    with pytest.raises(ValueError, match="have to be of the same names"):
        model.set_fitted_state(state)


def test_what_is_missing_is_named(pairs):
    model, state = state_of(LinearRewardRegressor(), pairs)
    del state["slope_"]
    with pytest.raises(ValueError, match=r"a fitted LinearRewardRegressor needs \['slope_'\]"):
        model.set_fitted_state(state)


# ------------------------------------------------------------------------------ kills and races
def test_a_folder_of_the_earlier_format_is_read_and_replaced(net_folder, pairs):
    expected = load(net_folder).predict(pairs)
    weights_of(net_folder).rename(net_folder / "weights.safetensors")
    edit(net_folder, lambda d: d.update(format=2) or d.pop("weights"))
    again = load(net_folder)
    np.testing.assert_array_equal(again.predict(pairs), expected)
    save(again, net_folder)
    names = sorted(path.name for path in net_folder.iterdir())
    assert names == ["pipeline.json", weights_of(net_folder).name]


def test_nothing_of_earlier_models_and_killed_processes_stays(net_folder, pairs):
    hexadecimal = "0" * 32
    left = [f".pipeline.json.{hexadecimal}.partial", "weights-0123456789abcdef.safetensors"]
    left += [f".weights-0123456789abcdef.safetensors.{hexadecimal}.partial"]
    kept = ["weights.safetensors", "model.safetensors", "weights-mine.safetensors"]
    for name in left + kept:
        (net_folder / name).write_text("")
    before = next(p.name for p in net_folder.glob("weights-*") if p.stat().st_size)
    save(LinearRewardRegressor().fit(pairs), net_folder)
    names = {path.name for path in net_folder.iterdir()}
    assert names >= {*kept, "pipeline.json"} and not names & {*left, before}
    assert len(names) == 5


@pytest.mark.parametrize("n_done", range(4))
def test_a_save_that_fails_leaves_the_old_model(net_folder, pairs, monkeypatch, n_done):
    expected = load(net_folder).predict(pairs)
    model = LinearRewardRegressor().fit(pairs)
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > n_done:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(model, net_folder)
    new = model.predict(pairs)
    found = load(net_folder).predict(pairs)
    np.testing.assert_array_equal(found, expected if n_done < 3 else new)
    assert not list(net_folder.glob(".*"))


SAVING = """
import sys, joblib
from lens_sklearn import export
first, second = joblib.load(sys.argv[1])
print("ready", flush=True)
for i in range(int(sys.argv[3])):
    export.save(first if i % 2 else second, sys.argv[2])
"""


def two_models(pairs, path):
    models = [LinearRewardRegressor(C).fit(pairs) for C in (3, 5)]
    joblib.dump(models, path)
    return [model.predict(pairs) for model in models]


def saving(tmp_path, n_times):
    command = [sys.executable, "-c", SAVING, str(tmp_path / "models"), str(tmp_path / "folder")]
    return subprocess.Popen([*command, str(n_times)], stdout=subprocess.PIPE)


def test_processes_that_save_to_one_folder_leave_a_whole_model(pairs, tmp_path):
    expected = two_models(pairs, tmp_path / "models")
    processes = [saving(tmp_path, 12) for _ in range(2)]
    n_loaded = 0
    while any(process.poll() is None for process in processes):
        if (tmp_path / "folder" / "pipeline.json").exists():
            found = load(tmp_path / "folder").predict(pairs)
            assert any((found == one).all() for one in expected)
            n_loaded += 1
    for process in processes:
        process.stdout.close()
        assert process.returncode == 0
    assert n_loaded > 3
    assert len(list((tmp_path / "folder").iterdir())) == 2


def test_a_killed_save_leaves_the_old_model_or_the_new_one(pairs, tmp_path):
    expected = two_models(pairs, tmp_path / "models")
    save(joblib.load(tmp_path / "models")[0], tmp_path / "folder")
    for delay in (0, 0.02):
        process = saving(tmp_path, 10_000)
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        found = load(tmp_path / "folder").predict(pairs)
        assert any((found == one).all() for one in expected)
