"""WithinPromptMetric: it discounts topics, and changes little where little is known."""

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import Pipeline

from lens_sklearn import (
    AugmentedPairs,
    BTRewardRegressor,
    EmbeddingScaler,
    GaussianProcessReward,
    WithinPromptMetric,
)
from lens_sklearn._within_prompt_metric import _contrasts


def test_topics_are_discounted(topical):
    """The more the responses to a prompt differ in a feature, the more it counts."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pairs, test = topical(rng, 30, 2), topical(rng, 300, 2)

        def share(metric, test=test):  # of all variance that is within prompts
            rows = test if metric is None else metric.transform(test)
            return (rows[:, 0] - rows[:, 1]).var(axis=0).sum() / rows.var(axis=(0, 1)).sum()

        alone = WithinPromptMetric().fit(pairs)
        metric = WithinPromptMetric().fit(pairs, unlabeled=topical(rng, 200, 5))
        assert share(metric) > 1.5 * share(alone) > 1.5 * share(None)


def test_it_is_a_linear_map_without_a_preference_for_a_column(pairs, candidates):
    metric = WithinPromptMetric().fit(pairs, unlabeled=candidates[0])
    a, b, c = np.random.default_rng(0).normal(size=(3, 7, 12))
    at = metric.transform
    np.testing.assert_allclose(at(a + b - c), at(a) + at(b) - at(c), atol=1e-9)
    swapped = WithinPromptMetric().fit(pairs[:, ::-1], unlabeled=candidates[0])
    np.testing.assert_allclose(swapped.transform(a), at(a), atol=1e-9)
    assert np.square(at(pairs)).mean() == pytest.approx(1)


def test_without_powers_it_is_standardisation(pairs, candidates):
    powers = dict(filter_power=0, covariance_power=0)
    metric = WithinPromptMetric(**powers).fit(pairs)
    np.testing.assert_allclose(
        metric.transform(pairs), EmbeddingScaler().fit_transform(pairs), atol=1e-5
    )
    both = np.concatenate([pairs.reshape(-1, 12), candidates[0].reshape(-1, 12)])
    scaled = EmbeddingScaler().fit(both).transform(pairs)
    metric = WithinPromptMetric(**powers).fit(pairs, unlabeled=candidates[0])
    ratio = metric.transform(pairs) / scaled
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_order_scale_constant_features_and_padding_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(30, 2, 5))
    unlabeled = rng.normal(size=(9, 4, 5))
    new = rng.normal(size=(4, 3, 5))
    expected = WithinPromptMetric().fit(pairs, unlabeled=unlabeled).transform(new)

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 7.0)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((9, 2, 6), np.nan)], axis=1)
    metric = WithinPromptMetric().fit(
        moved(pairs)[rng.permutation(30)], unlabeled=padded[rng.permutation(9)]
    )
    found = metric.transform(moved(new))
    assert not found[..., 5].any(), "a constant feature says nothing, not even rounding"
    np.testing.assert_allclose(found[..., :5] / expected, np.sqrt(6 / 5), rtol=1e-2, atol=1e-2)


def test_contrasts_are_differences_of_their_number():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 3))
    responses = 10 * rng.normal(size=(20_000, 1, 3)) + rng.normal(size=(20_000, 4, 3)) @ factor
    responses[:10_000, 3] = np.nan
    contrasts = _contrasts(responses)
    assert contrasts.shape == (10_000 * 2 + 10_000 * 3, 3)
    np.testing.assert_allclose(np.cov(contrasts.T), 2 * factor.T @ factor, rtol=0.05, atol=0.05)
    pairs = responses[:, :2]
    np.testing.assert_allclose(_contrasts(pairs), pairs[:, 1] - pairs[:, 0], atol=1e-9)


def test_chunks_padding_dtypes_and_texts_with_parents(pairs, candidates, monkeypatch):
    metric = WithinPromptMetric().fit(pairs)
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    whole = metric.transform(embeddings)
    assert np.isnan(whole).any(axis=-1).sum() == 1
    assert whole.dtype == np.float32
    assert metric.transform(embeddings.astype(float)).dtype == np.float64
    monkeypatch.setattr("lens_sklearn._within_prompt_metric.CHUNK", 7)
    np.testing.assert_allclose(metric.transform(embeddings), whole, atol=1e-6)
    texts = AugmentedPairs(pairs, pairs[:4, 0], np.array([[0, 1], [120, 121]]), np.array([0, 0]))
    moved = metric.transform(texts)
    np.testing.assert_array_equal(moved.parent, [0, 0])
    np.testing.assert_allclose(np.asarray(moved), metric.transform(np.asarray(texts)), atol=1e-6)


def test_the_process_reads_the_same_metric(pairs, candidates):
    process = GaussianProcessReward().fit(pairs, unlabeled=candidates[0])
    metric = WithinPromptMetric().fit(pairs, unlabeled=candidates[0])
    found = metric.transform(pairs)
    np.testing.assert_array_equal(process.metric_.transform(pairs), found)
    np.testing.assert_allclose(found.reshape(-1, 12), np.sqrt(12) * process.members_, atol=1e-5)


def test_a_pipeline_hands_unlabelled_responses_on(pairs, candidates):
    pipe = Pipeline(
        [
            ("scale", EmbeddingScaler()),
            ("metric", WithinPromptMetric()),
            ("reward", BTRewardRegressor(learning_rate=1e-2, random_state=0)),
        ],
        transform_input=["unlabeled"],
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipe.fit(pairs, unlabeled=candidates[0])
        assert pipe["metric"].gains_.ndim == 2
        assert pipe.score(*candidates) > candidates[1].mean()


def test_bad_input(pairs):
    for unlabeled, message in (
        (np.zeros((3, 4, 11)), "unlabeled: .*11 features"),
        (np.zeros((3, 1, 12)), "none of the 3 prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            WithinPromptMetric().fit(pairs, unlabeled=unlabeled)
    with pytest.raises(ValueError, match="filter_power"):
        WithinPromptMetric(-1).fit(pairs)
    with pytest.raises(ValueError, match="expected pairs of shape"):
        WithinPromptMetric().fit(np.zeros((4, 3, 2)))
