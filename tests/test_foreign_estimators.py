"""Estimators of other libraries in saved models: no code of a file is run."""

import base64
import json
import os
import zipfile
from io import BytesIO

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from lens_sklearn import DistillationAugmenter, LinearRewardRegressor, VotingRewardRegressor
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
