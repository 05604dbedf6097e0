"""The embedding and the features of a response stay side by side."""

import joblib
import numpy as np
import pytest
import tiny_models
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from lens_sklearn import (
    AugmentedPairs,
    EmbeddingScaler,
    LinearRewardRegressor,
    LLMEmbedder,
    RepeatAugmenter,
    ResponseFeatures,
    ResponseViews,
    export,
)
from lens_sklearn.textual import AugmentedRows

ROWS = [
    {"prompt": "why the cat", "chosen": "because the dog ran", "rejected": "no"},
    {"prompt": "how big", "chosen": "small and red", "rejected": "small"},
    {"prompt": "yes", "chosen": "maybe never always i you we they said", "rejected": "a"},
]
CANDIDATES = [
    {"prompt": "how big", "responses": ["small", "red and blue", "no"]},
    {"prompt": "why", "responses": ["a cat"]},
]
FEATURES = ResponseFeatures(["log_words", "finished"])


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    folder = tiny_models.save_decoder(tmp_path_factory.mktemp("decoder"))
    return LLMEmbedder(folder, layer=-1, pooling="last", device="cpu")


@pytest.mark.parametrize("rows", [ROWS, CANDIDATES, [["a cat", "no"], ["a", "the"]]])
def test_both_views_are_what_they_are_alone(embedder, rows):
    views = ResponseViews(embedder, FEATURES)
    joined = views.fit_transform(rows)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined[..., :16], clone(embedder).fit().transform(rows))
    np.testing.assert_array_equal(joined[..., 16:], clone(FEATURES).fit().transform(rows))
    np.testing.assert_array_equal(views.transform(rows), joined)
    np.testing.assert_array_equal(clone(views).fit(rows).transform(rows), joined)
    assert (views.n_response_features_, views.n_features_out_) == (2, 18)
    names = views.get_feature_names_out().tolist()
    assert names[0] == "llmembedder0" and names[15:] == ["llmembedder15", "log_words", "finished"]


def test_padding_is_nan_in_both_views(embedder):
    joined = ResponseViews(embedder, FEATURES).fit_transform(CANDIDATES)
    assert np.isnan(joined[1, 1:]).all() and np.isfinite(joined[0]).all()
    assert np.isfinite(joined[1, 0]).all()


def test_a_dropped_candidate_is_nan_in_both_views(embedder):
    short = clone(embedder).set_params(max_length=12, overlong="drop")
    rows = [{"prompt": "how", "responses": ["small", "red and blue " * 9]}]
    joined = ResponseViews(short, FEATURES).fit_transform(rows)
    assert np.isfinite(joined[0, 0]).all() and np.isnan(joined[0, 1]).all()


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_rows_that_the_embedder_leaves_out_are_left_out_of_both(embedder, in_pipeline):
    short = clone(embedder).set_params(max_length=12, overlong="drop")
    if in_pipeline:
        short = Pipeline([("embed", short), ("scale", EmbeddingScaler())])
    views = ResponseViews(short, FEATURES)
    joined = views.fit_transform(ROWS)
    assert joined.shape == (2, 2, 18)
    np.testing.assert_array_equal(joined, views.transform(ROWS[:2]))
    whole = views.transform(ROWS)
    assert np.isnan(whole[2, 0]).all() and np.isfinite(whole[2, 1]).all()
    with pytest.raises(ValueError, match="y cannot follow"):
        views.fit_transform(ROWS, [1, 1, 1])


def test_synthesized_rows_remember_parents_where_some_are_left_out(embedder):
    short = clone(embedder).set_params(max_length=12, overlong="drop")
    new = {"prompt": "how big", "chosen": "red", "rejected": "no no"}
    orphan = {"prompt": "yes", "chosen": "a", "rejected": "no"}
    rows = AugmentedRows([orphan, new, *ROWS], parent=[4, 3, 2, 3, 4], number=[1, 1, 0, 0, 0])
    for views in (ResponseViews(short, FEATURES), ResponseViews(embedder, FEATURES)):
        pairs = views.fit_transform(rows)
        kept = [1, 2, 3] if views.embedder is short else [0, 1, 2, 3, 4]
        assert isinstance(pairs, AugmentedPairs)
        assert pairs.is_synthetic.tolist() == [i < 2 for i in kept]
        of_rows = clone(views).fit(list(rows)).transform([rows[i] for i in kept])
        np.testing.assert_allclose(np.asarray(pairs), of_rows, rtol=1e-5, atol=1e-5)
        # A pair's parent is counted among the originals, in the order in which they stand.
        assert pairs.parent.tolist() == ([1, 0, 1] if views.embedder is short else [2, 1, 0, 1, 2])


class Plain(TransformerMixin, BaseEstimator):
    """An embedder that knows nothing of parents, padding or names."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.array([[[len(r[c]), 1, 2] for c in ("chosen", "rejected")] for r in X], float)


def test_any_transformer_of_rows_will_do():
    new = {"prompt": "yes", "chosen": "a", "rejected": "no"}
    rows = AugmentedRows([*ROWS, new], parent=[0, 1, 2, 2], number=[0, 0, 0, 1])
    views = ResponseViews(Plain(), FEATURES).fit(ROWS)
    pairs = views.transform(rows)
    assert isinstance(pairs, AugmentedPairs) and pairs.parent.tolist() == [0, 1, 2, 2]
    assert pairs.originals[1, 0, :3].tolist() == [13, 1, 2]
    assert views.get_feature_names_out().tolist() == [
        "embedding0", "embedding1", "embedding2", "log_words", "finished"
    ]  # fmt: skip
    assert views.n_features_out_ == 5
    assert ResponseViews(Plain()).fit(ROWS).n_response_features_ == len(ResponseFeatures().names)


def test_what_makes_rows_or_other_shapes_is_refused():
    augments = Pipeline([("embed", Plain()), ("repeat", RepeatAugmenter(factor=2))])
    with pytest.raises(ValueError, match="returned 6 rows for 3.*belongs behind ResponseViews"):
        ResponseViews(augments, FEATURES).fit_transform(ROWS)
    flat = FunctionTransformer(lambda rows: np.zeros((len(rows), 5)))
    with pytest.raises(ValueError, match=r"shape \(3, 5\).*shape \(3, 2, 2\)"):
        ResponseViews(flat, FEATURES).fit_transform(ROWS)
    with pytest.raises(ValueError, match="'embedder' parameter"):
        ResponseViews("minilm").fit(ROWS)
    with pytest.raises(NotFittedError):
        ResponseViews(Plain()).transform(ROWS)


def test_what_the_embedder_leaves_out_has_no_features(embedder):
    rows = [*ROWS, {**ROWS[0], "chosen": 3}, {**ROWS[0], "rejected": " "}]
    views = ResponseViews(clone(embedder).set_params(on_invalid="drop"))
    with pytest.warns(UserWarning, match="2 of 5 rows"):
        joined = views.fit_transform(rows)
    assert len(joined) == len(ROWS) and np.isfinite(joined).all()
    with pytest.warns(UserWarning, match="2 of 5 rows"):
        again = views.transform(rows)
    np.testing.assert_allclose(again[: len(ROWS)], joined, rtol=1e-5, atol=1e-5)
    assert np.isnan(again[len(ROWS) :]).all()


def test_it_searches_trains_scores_and_persists(embedder, tmp_path):
    views = ResponseViews(embedder, FEATURES)
    assert "embedder__layer" in views.get_params() and "features__features" in views.get_params()
    pipe = Pipeline(
        [("views", views), ("scale", EmbeddingScaler()), ("reward", LinearRewardRegressor())]
    )
    pipe.fit(ROWS * 3)
    expected = pipe.predict(CANDIDATES)
    assert np.isnan(expected[1, 1:]).all() and np.isfinite(expected[0]).all()
    joblib.dump(pipe, tmp_path / "pipe.joblib")
    export.save(pipe, tmp_path / "folder")
    for again in (joblib.load(tmp_path / "pipe.joblib"), export.load(tmp_path / "folder")):
        np.testing.assert_allclose(again.predict(CANDIDATES), expected, rtol=1e-6)


def test_a_pipeline_within_is_saved_without_pickle(embedder, tmp_path):
    within = Pipeline([("embed", embedder), ("scale", EmbeddingScaler())])
    views = ResponseViews(within, FEATURES).fit(ROWS)
    expected = views.transform(ROWS)
    export.save(views, tmp_path)
    again = export.load(tmp_path)
    np.testing.assert_array_equal(again.transform(ROWS), expected)
    np.testing.assert_array_equal(clone(again).fit(ROWS).transform(ROWS), expected)
    mine = ResponseViews(embedder, ResponseFeatures(functions={"one": lambda p, r: 1})).fit(ROWS)
    with pytest.raises(ValueError, match="model__features__functions: a dict cannot be written"):
        export.save(mine, tmp_path)
