"""Estimators of other libraries in saved models: no code of a file is run."""

import base64
import json
import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from lens_sklearn import (
    BTRewardRegressor,
    DistillationAugmenter,
    EmbeddingScaler,
    GPRewardRegressor,
    LinearRewardRegressor,
    PairClassifier,
    RewardEnsemble,
    VotingRewardRegressor,
)
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.export import load, save

skops_io = pytest.importorskip("skops.io")
TREE = "sklearn.tree._tree.Tree"


@pytest.fixture(scope="module")
def toy():
    return make_preference_pairs(n_pairs=60, n_features=4, random_state=0)


def test_a_pipeline_with_a_foreign_step_predicts_the_same(toy, tmp_path):
    pipe = make_pipeline(FunctionTransformer(np.tanh), LinearRewardRegressor()).fit(toy.pairs)
    save(pipe, tmp_path)
    np.testing.assert_array_equal(
        load(tmp_path).predict(toy.candidates), pipe.predict(toy.candidates)
    )


def test_a_foreign_model_alone_keeps_its_numbers(toy, tmp_path):
    pca = PCA(2).fit(toy.pairs[:, 0])
    save(make_pipeline(pca), tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again[0].components_, pca.components_)
    assert again.transform(toy.pairs[:, 0]).shape == (60, 2)


def test_foreign_parameters_and_parts_of_a_state(toy, tmp_path):
    def reward():
        return make_pipeline(FunctionTransformer(np.tanh), LinearRewardRegressor())

    vote = VotingRewardRegressor([("a", reward()), ("b", LinearRewardRegressor())]).fit(toy.pairs)
    augmenter = DistillationAugmenter(teacher=reward(), factor=2, random_state=0)
    augmenter.fit(toy.pairs)
    save(vote, tmp_path / "vote")
    save(augmenter, tmp_path / "augmenter")
    again = load(tmp_path / "vote")
    np.testing.assert_array_equal(again.predict(toy.pairs), vote.predict(toy.pairs))
    assert again.estimators[0][1][0].func is np.tanh
    assert load(tmp_path / "augmenter").teacher[0].func is np.tanh


def test_types_that_skops_does_not_trust_are_named_and_can_be_trusted(toy, tmp_path):
    tree = DecisionTreeRegressor(max_depth=2).fit(toy.pairs[:, 0], toy.pairs[:, 1, 0])
    message = rf"tree holds types that are not trusted: {TREE}.*trusted=\['{TREE}'\]"
    with pytest.raises(ValueError, match=message):
        save(make_tree(tree), tmp_path)
    assert not list(tmp_path.iterdir()), "a refusal leaves no half-written model"
    save(make_tree(tree), tmp_path, trusted=[TREE])
    with pytest.raises(ValueError, match="not trusted"):
        load(tmp_path)
    again = load(tmp_path, trusted=[TREE])
    X = toy.pairs[:, 0]
    np.testing.assert_array_equal(again.predict(X), tree.predict(X))
    with pytest.raises(TypeError, match="a list of names"):
        load(tmp_path, trusted=TREE)


def make_tree(tree):
    from sklearn.pipeline import Pipeline

    return Pipeline([("tree", tree)])


def test_a_function_of_ones_own_is_not_written(toy, tmp_path):
    pipe = make_pipeline(FunctionTransformer(lambda x: x), LinearRewardRegressor()).fit(toy.pairs)
    with pytest.raises(ValueError, match="types that are not trusted.*lambda"):
        save(pipe, tmp_path)


class Planted(BaseEstimator):
    """What a malicious file might hold."""

    def __reduce__(self):
        return os.system, ("exit 1",)


def foreign(folder, change):
    """Change the bytes of the parameter of another library in a saved augmenter."""
    path = folder / "pipeline.json"
    description = json.loads(path.read_text())
    step = description["steps"][0]["params"]["teacher"]["steps"][0]
    step["foreign"] = base64.b64encode(change(base64.b64decode(step["foreign"]))).decode()
    path.write_text(json.dumps(description))


def packed(data):
    out = BytesIO()
    with (
        zipfile.ZipFile(BytesIO(data)) as old,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: skops_io.dumps(Planted()), "not trusted"),
        (packed, "it is packed"),
        (lambda data: data[:-40], "is no file of skops"),
        (lambda data: b"", "is no file of skops"),
    ],
    ids=["planted", "packed", "cut", "empty"],
)
def test_damaged_and_planted_files_are_refused(toy, tmp_path, change, message):
    teacher = make_pipeline(FunctionTransformer(np.tanh), LinearRewardRegressor())
    augmenter = DistillationAugmenter(teacher=teacher, factor=2, random_state=0).fit(toy.pairs)
    save(augmenter, tmp_path)
    foreign(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        load(tmp_path)


def test_without_skops_the_extra_is_named(toy, tmp_path, monkeypatch):
    pipe = make_pipeline(FunctionTransformer(np.tanh), LinearRewardRegressor()).fit(toy.pairs)
    save(pipe, tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    for do in (lambda: save(pipe, tmp_path), lambda: load(tmp_path)):
        with pytest.raises(ImportError, match=r"lens-sklearn\[save\]"):
            do()


def test_a_search_says_what_to_save(toy, tmp_path):
    search = GridSearchCV(LinearRewardRegressor(), {"Cs": [(1.0,), (0.1,)]}, cv=2)
    with pytest.raises(ValueError, match="search.best_estimator_"):
        save(search, tmp_path)
    search.fit(toy.pairs)
    with pytest.raises(ValueError, match="search.best_estimator_"):
        save(search, tmp_path)
    save(search.best_estimator_, tmp_path)


MEMBERS = {
    "network": BTRewardRegressor(max_epochs=2, random_state=0),
    "linear": LinearRewardRegressor(),
    "process": GPRewardRegressor(),
    "scaled": make_pipeline(EmbeddingScaler(), LinearRewardRegressor()),
    "foreign": make_pipeline(FunctionTransformer(np.tanh), LinearRewardRegressor()),
}


@pytest.mark.parametrize("kind", [RewardEnsemble, VotingRewardRegressor])
def test_frozen_members_come_back_fitted(kind, toy, tmp_path):
    members = [(name, FrozenEstimator(clone(m).fit(toy.pairs))) for name, m in MEMBERS.items()]
    ensemble = kind(members).fit(toy.pairs[:9])
    save(ensemble, tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.predict(toy.candidates), ensemble.predict(toy.candidates))
    for (name, member), fitted in zip(again.estimators, again.estimators_, strict=True):
        assert isinstance(member, FrozenEstimator) and member is fitted, name
    again.fit(-toy.pairs[:20])  # which they do not learn from
    for (_, one), (_, other) in zip(again.estimators, members, strict=True):
        np.testing.assert_array_equal(one.predict(toy.pairs), other.predict(toy.pairs))
    save(again, tmp_path / "twice")
    assert load(tmp_path / "twice").estimators_[0].n_features_in_ == 4


def test_frozen_members_are_written_once(toy, tmp_path):
    wide = BTRewardRegressor(hidden_dim=4096, max_epochs=1).fit(toy.pairs)
    save(wide, tmp_path / "alone")
    save(VotingRewardRegressor([("a", FrozenEstimator(wide))]).fit(toy.pairs), tmp_path / "vote")
    alone, vote = (
        sum(file.stat().st_size for file in (tmp_path / name).iterdir())
        for name in ("alone", "vote")
    )
    assert vote < 1.1 * alone


def test_frozen_parts_of_other_estimators(toy, tmp_path):
    reward = LinearRewardRegressor().fit(toy.pairs)
    scaler = EmbeddingScaler().fit(toy.pairs)
    models = {
        "step": make_pipeline(FrozenEstimator(scaler), LinearRewardRegressor()),
        "pca": make_pipeline(FrozenEstimator(PCA(2).fit(toy.pairs[:, 0]))),
        "teacher": DistillationAugmenter(teacher=FrozenEstimator(reward), factor=2, random_state=0),
        "classifier": PairClassifier(FrozenEstimator(reward)),
    }
    for name, model in models.items():
        X = toy.pairs[:, 0] if name == "pca" else toy.pairs
        model.fit(X, np.repeat([0, 1], 30) if name == "classifier" else None)
        save(model, tmp_path / name)
        again = load(tmp_path / name)
        for method in ("predict", "transform", "predict_proba"):
            if hasattr(model, method) and name != "teacher":
                expected = getattr(model, method)(X)
                np.testing.assert_array_equal(getattr(again, method)(X), expected, err_msg=name)
    teacher = load(tmp_path / "teacher").teacher
    np.testing.assert_array_equal(teacher.predict(toy.pairs), reward.predict(toy.pairs))


def test_of_a_frozen_member_what_is_foreign_alone_has_to_be_trusted(toy, tmp_path):
    class_names = [TREE]
    tree = DecisionTreeRegressor(max_depth=2).fit(toy.pairs[:, 0], toy.pairs[:, 1, 0])
    pipe = make_pipeline(FrozenEstimator(tree))
    with pytest.raises(ValueError, match=rf"types that are not trusted: {TREE}\. .*trusted="):
        save(pipe, tmp_path)
    save(pipe, tmp_path, trusted=class_names)
    with pytest.raises(ValueError, match=rf"trusted=\['{TREE}'\]"):
        load(tmp_path)
    X = toy.pairs[:, 0]
    np.testing.assert_array_equal(load(tmp_path, trusted=class_names).predict(X), tree.predict(X))


def test_a_frozen_part_has_to_be_fitted(toy, tmp_path):
    model = make_pipeline(EmbeddingScaler(), LinearRewardRegressor()).fit(toy.pairs)
    model.steps[0] = ("scaler", FrozenEstimator(EmbeddingScaler()))
    with pytest.raises(NotFittedError):
        save(model, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("planted", ["nowhere", ["a"], 3, {"class": "Popen", "params": {}}])
def test_a_frozen_part_of_a_file_is_what_was_written(planted, toy, tmp_path):
    reward = FrozenEstimator(LinearRewardRegressor().fit(toy.pairs))
    save(VotingRewardRegressor([("a", reward)]).fit(toy.pairs), tmp_path)
    path = tmp_path / "pipeline.json"
    description = json.loads(path.read_text())
    description["steps"][0]["state"]["estimators_"][0]["frozen"] = planted
    path.write_text(json.dumps(description))
    with pytest.raises(ValueError, match="pipeline.json"):
        load(tmp_path)
