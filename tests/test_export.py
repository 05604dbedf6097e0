"""Saved pipelines predict the same, and loading them runs nothing."""

import dataclasses
import json
import pickle

import numpy as np
import pytest
import skorch
import torch
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
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
    WithinPromptWhitening,
)
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
        save(model, tmp_path)
        with pytest.raises(ValueError, match="has shape"):
            load(tmp_path)


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
    with pytest.raises(ValueError, match="pca: PCA cannot be saved without pickle"):
        save(make_pipeline(PCA(2).fit(pairs[:, 0])), tmp_path)
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
        (lambda d: d.update(format=3), "format 3; this version reads 2"),
        (lambda d: d.update(weights_sha256="0"), "damaged or belongs to another"),
        (lambda d: d.pop("steps"), "'steps' is missing"),
    ],
)
def test_bad_description(change, message, pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    edit(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_damaged_files(pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(ValueError, match="pipeline.json"):
        load(tmp_path)
    save(make().fit(pairs), tmp_path)
    save_file({"x": np.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="weights.safetensors is damaged"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="not a saved reward model"):
        load(tmp_path / "nowhere")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the file's code ran",)


def test_a_pickle_in_place_of_the_weights_does_not_run(pairs, tmp_path):
    save(make().fit(pairs), tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="damaged"):
        load(tmp_path)
