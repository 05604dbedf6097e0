"""WithinPromptWhitening: it discounts topics, and changes little where little is known."""

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
    GPRewardRegressor,
    WithinPromptWhitening,
)
from lens_sklearn._within_prompt_whitening import _contrasts


def test_topics_are_discounted(topical):
    """The more the responses to a prompt differ in a feature, the more it counts."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pairs, test = topical(rng, 30, 2), topical(rng, 300, 2)

        def share(metric, test=test):  # of all variance that is within prompts
            rows = test if metric is None else metric.transform(test)
            return (rows[:, 0] - rows[:, 1]).var(axis=0).sum() / rows.var(axis=(0, 1)).sum()

        alone = WithinPromptWhitening().fit(pairs)
        metric = WithinPromptWhitening().fit(pairs, unlabeled=topical(rng, 200, 5))
        assert share(metric) > 1.5 * share(alone) > 1.5 * share(None)


def test_it_is_a_linear_map_without_a_preference_for_a_column(pairs, candidates):
    metric = WithinPromptWhitening().fit(pairs, unlabeled=candidates[0])
    a, b, c = np.random.default_rng(0).normal(size=(3, 7, 12))
    at = metric.transform
    np.testing.assert_allclose(at(a + b - c), at(a) + at(b) - at(c), atol=1e-9)
    swapped = WithinPromptWhitening().fit(pairs[:, ::-1], unlabeled=candidates[0])
    np.testing.assert_allclose(swapped.transform(a), at(a), atol=1e-9)
    assert np.square(at(pairs)).mean() == pytest.approx(1)


def test_without_powers_it_is_standardisation(pairs, candidates):
    powers = dict(wiener_exponent=0, covariance_exponent=0)
    metric = WithinPromptWhitening(**powers).fit(pairs)
    np.testing.assert_allclose(
        metric.transform(pairs), EmbeddingScaler().fit_transform(pairs), atol=1e-5
    )
    both = np.concatenate([pairs.reshape(-1, 12), candidates[0].reshape(-1, 12)])
    scaled = EmbeddingScaler().fit(both).transform(pairs)
    metric = WithinPromptWhitening(**powers).fit(pairs, unlabeled=candidates[0])
    ratio = metric.transform(pairs) / scaled
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_order_scale_constant_features_and_padding_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(30, 2, 5))
    unlabeled = rng.normal(size=(9, 4, 5))
    new = rng.normal(size=(4, 3, 5))
    expected = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled).transform(new)

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 7.0)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((9, 2, 6), np.nan)], axis=1)
    metric = WithinPromptWhitening().fit(
        moved(pairs)[rng.permutation(30)], unlabeled=padded[rng.permutation(9)]
    )
    found = metric.transform(moved(new))
    assert not found[..., 5].any(), "a constant feature says nothing, not even rounding"
    np.testing.assert_allclose(found[..., :5] / expected, np.sqrt(6 / 5), rtol=1e-2, atol=1e-2)


def heavy(rng, *shape, d=40, spread=1.0):
    """Embeddings whose lengths vary manyfold."""
    return rng.normal(size=(*shape, d)) * rng.lognormal(sigma=spread, size=(*shape, 1))


@pytest.mark.parametrize("with_unlabelled", [False, True])
def test_lengths_that_vary_manyfold_are_tempered(with_unlabelled):
    """Directions, and the order of lengths, stay as they are."""
    rng = np.random.default_rng(0)
    pairs, new = heavy(rng, 100, 2), heavy(rng, 2000)
    unlabeled = heavy(rng, 50, 8) if with_unlabelled else None
    metric = WithinPromptWhitening(0, covariance_exponent=0).fit(pairs, unlabeled=unlabeled)
    assert 0.2 < metric.norm_exponent_ < 0.4
    found, expected = metric.transform(new), (new - metric.mean_) / metric.scale_
    before, after = (np.linalg.norm(x, axis=1) for x in (expected, found))
    cosine = np.einsum("ij,ij->i", found, expected) / (before * after)
    np.testing.assert_allclose(cosine, 1, atol=1e-9)
    np.testing.assert_array_equal(np.argsort(after), np.argsort(before))
    assert np.log(after).std() == pytest.approx(np.sqrt(0.3**2 + 1 / 80), rel=0.15)
    assert np.square(metric.transform(pairs)).mean() == pytest.approx(1)
    assert not metric.transform(metric.mean_[None]).any(), "no division by a length of zero"


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_tempered_embeddings_may_be_moved_scaled_and_padded(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs, new, unlabeled = (heavy(rng, *shape, d=5) for shape in ((30, 2), (4, 3), (9, 4)))
    expected = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled)

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 7.0)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((9, 2, 6), np.nan)], axis=1)
    metric = WithinPromptWhitening().fit(moved(pairs), unlabeled=padded)
    assert metric.norm_exponent_ == pytest.approx(expected.norm_exponent_, rel=1e-3)
    np.testing.assert_allclose(
        metric.transform(moved(new))[..., :5],
        np.sqrt(6 / 5) * expected.transform(new),
        rtol=1e-2,
        atol=1e-2,
    )


@given(seed=st.integers(0, 1000), d=st.sampled_from([8, 40]))
def test_lengths_as_in_embeddings_are_left_as_they_are(seed, d):
    rng = np.random.default_rng(seed)
    metric = WithinPromptWhitening().fit(heavy(rng, 300, 2, d=d, spread=0.2))
    assert metric.norm_exponent_ == 1


def test_a_process_is_not_misled_by_long_embeddings(monkeypatch):
    """The better response has the larger share of feature 0 in its length."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = heavy(rng, 600, 2, spread=1.5)
        share = X[:, :, 0] / np.linalg.norm(X, axis=2)
        X = np.take_along_axis(X, np.argsort(-share, axis=1)[:, :, None], axis=1)
        pairs, test = X[:100], X[100:]
        tempered = GPRewardRegressor().fit(pairs).score(test)
        with monkeypatch.context() as patch:
            patch.setattr("lens_sklearn._within_prompt_whitening.SPREAD_OF_LENGTHS", 100)
            gains.append(tempered - GPRewardRegressor().fit(pairs).score(test))
    assert np.mean(gains) > 0.02


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
    metric = WithinPromptWhitening().fit(pairs)
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    whole = metric.transform(embeddings)
    assert np.isnan(whole).any(axis=-1).sum() == 1
    assert whole.dtype == np.float32
    assert metric.transform(embeddings.astype(float)).dtype == np.float64
    monkeypatch.setattr("lens_sklearn._within_prompt_whitening.CHUNK", 7)
    np.testing.assert_allclose(metric.transform(embeddings), whole, atol=1e-6)
    texts = AugmentedPairs(pairs, pairs[:4, 0], np.array([[0, 1], [120, 121]]), np.array([0, 0]))
    moved = metric.transform(texts)
    np.testing.assert_array_equal(moved.parent, [0, 0])
    np.testing.assert_allclose(np.asarray(moved), metric.transform(np.asarray(texts)), atol=1e-6)


def test_the_process_reads_the_same_metric(pairs, candidates):
    process = GPRewardRegressor().fit(pairs, unlabeled=candidates[0])
    metric = WithinPromptWhitening().fit(pairs, unlabeled=candidates[0])
    found = metric.transform(pairs)
    np.testing.assert_array_equal(process.metric_.transform(pairs), found)
    np.testing.assert_allclose(found.reshape(-1, 12), np.sqrt(12) * process.members_, atol=1e-5)


def test_a_pipeline_hands_unlabelled_responses_on(pairs, candidates):
    pipe = Pipeline(
        [
            ("scale", EmbeddingScaler()),
            ("metric", WithinPromptWhitening()),
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
            WithinPromptWhitening().fit(pairs, unlabeled=unlabeled)
    with pytest.raises(ValueError, match="wiener_exponent"):
        WithinPromptWhitening(-1).fit(pairs)
    with pytest.raises(ValueError, match="expected pairs of shape"):
        WithinPromptWhitening().fit(np.zeros((4, 3, 2)))
