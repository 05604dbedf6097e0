"""WithinPromptWhitening: its map is the one defined, and changes little where little is known."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power, helmert, sqrtm
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from lens_sklearn import (
    AugmentedPairs,
    BTRewardRegressor,
    EmbeddingScaler,
    WithinPromptWhitening,
)
from lens_sklearn._within_prompt_whitening import (
    WhiteningSettings,
    WithinPromptSpectra,
    within_prompt_contrasts,
)

MIX = np.random.default_rng(7).normal(size=(2, 5, 5)) * np.geomspace(2, 0.2, 5)[:, None]


def tensor(array):
    return torch.from_numpy(array.astype(float))


def five(rng, m, n):
    """Responses (m, n, 5) with covariances of their own within and between prompts."""
    return rng.normal(size=(m, 1, 5)) @ MIX[0] + rng.normal(size=(m, n, 5)) @ MIX[1]


# ------------------------------------------------------------------------------ the map
def defined(pairs, unlabeled, p, q, new):
    """z and √d M z of new rows: the definition by scikit-learn's and scipy's functions."""
    members = pairs.reshape(-1, pairs.shape[-1]).astype(float)
    responses = members
    differences = members[0::2] - members[1::2]
    if unlabeled is not None:
        responses = np.concatenate([members, *unlabeled])
        # Helmert's contrasts have the variance of one response, a difference has twice that.
        contrasts = [np.sqrt(2) * helmert(len(x)) @ x for x in unlabeled.astype(float)]
        differences = np.concatenate([differences, *contrasts])
    scaler = StandardScaler().fit(responses)
    differences = differences / scaler.scale_
    sigma = LedoitWolf(assume_centered=True).fit(differences)
    # Directions that no pair varies in stay as they are: their variance is the unit.
    unit = sigma.shrinkage_ * np.mean(differences**2)
    power = fractional_matrix_power(sigma.covariance_ / unit, q)
    M = power
    if unlabeled is not None and p:
        M = power @ wiener(differences, scaler.transform(responses), p)
    size = np.sqrt(np.mean(np.square(scaler.transform(members) @ M.T)))
    z = scaler.transform(new)
    return z, z @ M.T / size


def wiener(differences, responses, p):
    """T^{1/2} (T^{-1/2} Σ T^{-1/2})^p T^{-1/2}."""
    total = LedoitWolf(assume_centered=True).fit(responses).covariance_
    root = sqrtm(total)
    ratio = LedoitWolf(assume_centered=True).fit(differences @ np.linalg.inv(root))
    assert ratio.shrinkage_ < 0.9, "more is known than that the ratio is one"
    return root @ fractional_matrix_power(ratio.covariance_, p) @ np.linalg.inv(root)


@pytest.mark.parametrize(("p", "q"), [(0.25, 0.125), (0.5, 0), (0, 0.3), (1, 0.5)])
@pytest.mark.parametrize("with_unlabeled", [False, True])
@pytest.mark.parametrize("n", [80, 5])
def test_it_is_the_map_of_its_definition(anisotropic, anisotropic_pairs, n, with_unlabeled, p, q):
    pairs = anisotropic_pairs[:n]  # fewer than features, or more
    unlabeled = anisotropic(np.random.default_rng(1), 50, 4) if with_unlabeled else None
    new = anisotropic(np.random.default_rng(2), 30, 1)[:, 0].astype(float)
    z, expected = defined(pairs, unlabeled, p, q, new)
    whitening = WithinPromptWhitening(p, covariance_exponent=q).fit(pairs, unlabeled=unlabeled)
    found = whitening.transform(new)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    if n == 80 and (q or with_unlabeled):
        assert abs(found - z).max() > 0.2, "it does something"


def test_directions_beside_all_responses_count_as_the_least(anisotropic):
    """Nothing varies in them, and the shrunk variance there is the unit."""
    rng = np.random.default_rng(0)
    pairs, unlabeled = anisotropic(rng, 3, 2), anisotropic(rng, 2, 2)
    new = anisotropic(rng, 30, 1)[:, 0].astype(float)
    _, expected = defined(pairs, unlabeled, 0, 0.5, new)
    whitening = WithinPromptWhitening(0, covariance_exponent=0.5).fit(pairs, unlabeled=unlabeled)
    assert whitening.whitening_.directions.shape == (10, 12)
    np.testing.assert_allclose(whitening.transform(new), expected, atol=1e-6)


def test_whitening_is_inverse_for_no_exponent(topical):
    """Directions weigh more the more responses to a prompt differ in them, never less."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pairs, test = topical(rng, 30, 2), topical(rng, 300, 2)

        def share(transformer, test=test):  # of all variance that is within prompts
            rows = transformer.transform(test)
            return (rows[:, 0] - rows[:, 1]).var(axis=0).sum() / rows.var(axis=(0, 1)).sum()

        standard = EmbeddingScaler().fit(pairs)
        alone = WithinPromptWhitening().fit(pairs)
        more = WithinPromptWhitening(covariance_exponent=0.25).fit(pairs)
        both = WithinPromptWhitening().fit(pairs, unlabeled=topical(rng, 200, 5))
        assert share(more) > 1.1 * share(alone) > 1.2 * share(standard)
        assert share(both) > 1.5 * share(alone)


def test_few_responses_leave_the_ratio_at_one():
    """Of one or two prompts nothing is known about ratios of variances."""
    rng = np.random.default_rng(0)
    pairs, unlabeled = rng.normal(size=(3, 2, 30)), rng.normal(size=(2, 4, 30))
    spectra = WithinPromptSpectra.estimate(tensor(pairs.reshape(-1, 30)), unlabeled, None)
    np.testing.assert_allclose(spectra.ratio.variances, 1, atol=0.1)
    filtered, unfiltered = spectra.whitening(1, 0.125), spectra.whitening(0, 0.125)
    new = rng.normal(size=(50, 30))
    np.testing.assert_allclose(filtered.apply(new), unfiltered.apply(new), atol=0.1)


def test_it_is_a_linear_map_without_a_preference_for_a_column(anisotropic, anisotropic_pairs):
    unlabeled = anisotropic(np.random.default_rng(1), 20, 4)
    at = WithinPromptWhitening().fit(anisotropic_pairs, unlabeled=unlabeled).transform
    a, b, c = np.random.default_rng(0).normal(size=(3, 7, 12))
    np.testing.assert_allclose(at(a + b - c), at(a) + at(b) - at(c), atol=1e-9)
    swapped = WithinPromptWhitening().fit(anisotropic_pairs[:, ::-1], unlabeled=unlabeled)
    np.testing.assert_allclose(swapped.transform(a), at(a), atol=1e-9)
    assert np.square(at(anisotropic_pairs)).mean() == pytest.approx(1)


@pytest.mark.parametrize("with_unlabeled", [False, True])
def test_without_exponents_it_is_standardisation(anisotropic, anisotropic_pairs, with_unlabeled):
    both = pairs = anisotropic_pairs
    unlabeled = None
    if with_unlabeled:
        unlabeled = anisotropic(np.random.default_rng(1), 20, 4)
        both = np.concatenate([pairs.reshape(-1, 12), unlabeled.reshape(-1, 12)])
    whitening = WithinPromptWhitening(0, covariance_exponent=0).fit(pairs, unlabeled=unlabeled)
    ratio = whitening.transform(pairs) / EmbeddingScaler().fit(both).transform(pairs)
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
    assert with_unlabeled or ratio.mean() == pytest.approx(1)


@given(
    seed=st.integers(0, 100),
    shift=st.floats(-3, 3),
    scale=st.floats(0.1, 100),
    constant=st.sampled_from([7.0, 0.1, 1 / 3, -2.7e-5, 0.0]),
)
def test_order_scale_constant_features_and_padding_do_not_matter(seed, shift, scale, constant):
    rng = np.random.default_rng(seed)
    pairs, unlabeled, new = five(rng, 30, 2), five(rng, 20, 4), five(rng, 4, 3)
    fitted = WithinPromptWhitening(1, covariance_exponent=0.5).fit(pairs, unlabeled=unlabeled)
    assert abs(fitted.whitening_.gains).max() > 0.3, "it does something"

    def moved(X):
        constants = np.full((*X.shape[:-1], 1), constant)
        return np.concatenate([scale * X + shift, constants], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((20, 2, 6), np.nan)], axis=1)
    found = (
        WithinPromptWhitening(1, covariance_exponent=0.5)
        .fit(moved(pairs)[rng.permutation(30)], unlabeled=padded[rng.permutation(20)])
        .transform(moved(new))
    )
    assert not found[..., 5].any(), "a constant feature says nothing, not even rounding"
    expected = np.sqrt(6 / 5) * fitted.transform(new)
    np.testing.assert_allclose(found[..., :5], expected, atol=1e-3)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -0.7, 1e30, 1e-30, 0.0])
@pytest.mark.parametrize("with_unlabeled", [False, True])
def test_constants_that_no_sum_holds_exactly_are_constant(value, with_unlabeled):
    rng = np.random.default_rng(0)
    pairs, unlabeled = rng.normal(size=(101, 2, 4)), rng.normal(size=(33, 3, 4))
    pairs[:, :, 2] = unlabeled[:, :, 2] = value
    whitening = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled if with_unlabeled else None)
    constant = np.isinf(whitening.whitening_.scale)
    np.testing.assert_array_equal(constant, [False, False, True, False])
    assert not whitening.whitening_.directions[:, 2].any()
    moved = pairs.copy()
    moved[:, :, 2] += 1000
    np.testing.assert_array_equal(whitening.transform(moved), whitening.transform(pairs))


def test_a_feature_that_varies_by_rounding_is_constant():
    """As one that is, up to the rounding of the language model's own sums."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(50, 2, 3))
    pairs[:, :, 1] = 1000 + 1e-4 * rng.integers(-1, 2, size=(50, 2))
    assert np.isinf(WithinPromptWhitening().fit(pairs).whitening_.scale).tolist() == [0, 1, 0]
    pairs[:, :, 1] = 1000 + 0.1 * rng.normal(size=(50, 2))
    assert not np.isinf(WithinPromptWhitening().fit(pairs).whitening_.scale).any()


# ------------------------------------------------------------------------------ norms
def heavy(rng, *shape, d=40, spread=1.0):
    """Embeddings whose lengths vary manyfold."""
    return rng.normal(size=(*shape, d)) * rng.lognormal(sigma=spread, size=(*shape, 1))


@pytest.mark.parametrize("with_unlabeled", [False, True])
def test_norms_that_vary_manyfold_are_raised_to_a_power(with_unlabeled):
    """Directions, and the order of norms, stay as they are."""
    rng = np.random.default_rng(0)
    pairs, new = heavy(rng, 100, 2), heavy(rng, 2000)
    unlabeled = heavy(rng, 50, 8) if with_unlabeled else None
    metric = WithinPromptWhitening(0, covariance_exponent=0).fit(pairs, unlabeled=unlabeled)
    whitening = metric.whitening_
    assert 0.2 < whitening.norm_exponent < 0.4
    found, expected = metric.transform(new), (new - whitening.mean) / whitening.scale
    before, after = (np.linalg.norm(x, axis=1) for x in (expected, found))
    cosine = np.einsum("ij,ij->i", found, expected) / (before * after)
    np.testing.assert_allclose(cosine, 1, atol=1e-9)
    np.testing.assert_array_equal(np.argsort(after), np.argsort(before))
    assert np.log(after).std() == pytest.approx(np.sqrt(0.3**2 + 1 / 80), rel=0.15)
    assert np.square(metric.transform(pairs)).mean() == pytest.approx(1)
    assert not metric.transform(whitening.mean[None]).any(), "no division by a norm of zero"


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.1, 100))
def test_embeddings_of_all_norms_may_be_moved_scaled_and_padded(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs, new, unlabeled = (
        five(rng, m, n) * rng.lognormal(sigma=1.0, size=(m, n, 1))
        for m, n in ((30, 2), (4, 3), (20, 4))
    )
    expected = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled)
    assert expected.whitening_.norm_exponent < 0.9

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 0.1)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((20, 2, 6), np.nan)], axis=1)
    found = WithinPromptWhitening().fit(moved(pairs), unlabeled=padded)
    exponent = expected.whitening_.norm_exponent
    assert found.whitening_.norm_exponent == pytest.approx(exponent, rel=1e-3)
    transformed = np.sqrt(6 / 5) * expected.transform(new)
    np.testing.assert_allclose(found.transform(moved(new))[..., :5], transformed, atol=1e-2)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), d=st.sampled_from([8, 40]))
def test_norms_as_in_embeddings_are_left_as_they_are(seed, d):
    rng = np.random.default_rng(seed)
    metric = WithinPromptWhitening().fit(heavy(rng, 300, 2, d=d, spread=0.2))
    assert metric.whitening_.norm_exponent == 1


def test_long_embeddings_say_no_more_than_others():
    """The better response has the larger share of feature 0 in its norm."""
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = heavy(rng, 600, 2, spread=1.5)
        share = X[:, :, 0] / np.linalg.norm(X, axis=2)
        X = np.take_along_axis(X, np.argsort(-share, axis=1)[:, :, None], axis=1)
        pairs, test = X[:100], X[100:]
        scores = []
        for max_spread in (0.3, 100):
            spectra = WithinPromptSpectra.estimate(
                tensor(pairs.reshape(-1, 40)),
                None,
                None,
                settings=WhiteningSettings(max_norm_spread=max_spread),
            )
            whitening = spectra.whitening(0, 0.125)
            assert (whitening.norm_exponent < 1) == (max_spread < 1)
            pairs_, test_ = (
                whitening.apply(x.reshape(-1, 40)).reshape(-1, 2, 40) for x in (pairs, test)
            )
            mean = (pairs_[:, 0] - pairs_[:, 1]).mean(axis=0)  # the direction of a plain guess
            scores.append(np.mean((test_[:, 0] - test_[:, 1]) @ mean > 0))
        gains.append(scores[0] - scores[1])
    assert np.mean(gains) > 0.02


# ------------------------------------------------------------------------------ data
def test_contrasts_are_differences_of_their_number():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 3))
    responses = 10 * rng.normal(size=(20_000, 1, 3)) + rng.normal(size=(20_000, 4, 3)) @ factor
    responses[:10_000, 3] = np.nan
    contrasts = within_prompt_contrasts(tensor(responses)).numpy()
    assert contrasts.shape == (10_000 * 2 + 10_000 * 3, 3)
    np.testing.assert_allclose(np.cov(contrasts.T), 2 * factor.T @ factor, rtol=0.05, atol=0.05)
    pairs = responses[:, :2]
    found = within_prompt_contrasts(tensor(pairs))
    np.testing.assert_allclose(found, pairs[:, 1] - pairs[:, 0], atol=1e-9)


def test_chunks_padding_dtypes_and_texts_with_parents(anisotropic, anisotropic_pairs):
    whitening = WithinPromptWhitening().fit(anisotropic_pairs)
    embeddings = anisotropic(np.random.default_rng(1), 1200, 2)
    embeddings[2, 1] = np.nan
    whole = whitening.transform(embeddings)  # in three chunks
    assert np.isnan(whole).any(axis=-1).sum() == np.isnan(whole).all(axis=-1).sum() == 1
    parts = [whitening.transform(embeddings[i : i + 100]) for i in range(0, 1200, 100)]
    np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-6)
    assert whole.dtype == np.float32
    assert whitening.transform(embeddings.astype(float)).dtype == np.float64
    texts = AugmentedPairs(
        anisotropic_pairs,
        anisotropic_pairs[:4, 0],
        np.array([[0, 1], [160, 161]]),
        np.zeros(2, int),
    )
    moved = whitening.transform(texts)
    np.testing.assert_array_equal(moved.parent, [0, 0])
    expected = whitening.transform(np.asarray(texts))
    np.testing.assert_allclose(np.asarray(moved), expected, atol=1e-6)


def test_more_responses_than_are_used_are_drawn_by_prompt_and_seed(anisotropic, anisotropic_pairs):
    members = tensor(anisotropic_pairs.reshape(-1, 12))
    unlabeled = anisotropic(np.random.default_rng(1), 50, 4)
    ten = WhiteningSettings(max_reference_values=10 * 4 * 12)

    def whitening(seed, **few):
        random_state = np.random.RandomState(seed)
        return WithinPromptSpectra.estimate(members, unlabeled, random_state, **few).whitening(
            0.25, 0.125
        )

    drawn = unlabeled[np.random.RandomState(3).permutation(50)[:10]]
    expected = WithinPromptWhitening().fit(anisotropic_pairs, unlabeled=drawn).whitening_
    np.testing.assert_array_equal(whitening(3, settings=ten).gains, expected.gains)
    assert (whitening(4, settings=ten).gains != expected.gains).any()
    np.testing.assert_array_equal(whitening(3).gains, whitening(4).gains, "all are used")
    assert WhiteningSettings().max_reference_values == 4_000_000, "as the docstrings say"
    assert WhiteningSettings().max_norm_spread == 0.3


def test_random_state_draws_responses():
    """Of more than 4,000,000 numbers, padding included: four of these five prompts'."""
    pairs = np.random.default_rng(0).normal(size=(20, 2, 2))
    unlabeled = np.full((5, 500_000, 2), np.nan, dtype=np.float32)
    unlabeled[:, :4] = np.random.default_rng(1).normal(size=(5, 4, 2))
    means = [
        WithinPromptWhitening(random_state=seed).fit(pairs, unlabeled=unlabeled).whitening_.mean
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(means[0], means[1])
    assert (means[0] != means[2]).any()
    four = [
        np.concatenate([pairs.reshape(-1, 2), unlabeled[np.arange(5) != i, :4].reshape(-1, 2)])
        for i in range(5)
    ]
    assert min(abs(means[0] - rows.mean(axis=0)).max() for rows in four) < 1e-6


def test_the_map_is_a_value(anisotropic, anisotropic_pairs):
    unlabeled = anisotropic(np.random.default_rng(1), 20, 4)
    whitening = WithinPromptWhitening(0.5).fit(anisotropic_pairs, unlabeled=unlabeled)
    assert whitening.whitening_.wiener_exponent == 0.5
    assert whitening.whitening_.covariance_exponent == 0.125
    with pytest.raises(FrozenInstanceError):
        whitening.whitening_.norm = 2.0
    rows = whitening.whitening_.apply(anisotropic_pairs.reshape(-1, 12))
    assert np.square(rows).sum(axis=1).mean() == pytest.approx(1)
    np.testing.assert_allclose(
        whitening.transform(anisotropic_pairs).reshape(-1, 12), np.sqrt(12) * rows, atol=1e-5
    )


@pytest.mark.parametrize("with_unlabeled", [False, True])
def test_fitted_state_comes_back(anisotropic, anisotropic_pairs, with_unlabeled):
    unlabeled = anisotropic(np.random.default_rng(1), 20, 4) if with_unlabeled else None
    fitted = WithinPromptWhitening().fit(anisotropic_pairs, unlabeled=unlabeled)
    state = fitted.get_fitted_state()
    assert all(isinstance(v, int | float | np.ndarray) for v in state["whitening_"].values())
    again = WithinPromptWhitening()
    again.set_fitted_state(state)
    np.testing.assert_array_equal(
        again.transform(anisotropic_pairs), fitted.transform(anisotropic_pairs)
    )
    assert again.n_features_in_ == 12
    for name in ("mean", "scale", "directions", "gains"):
        broken = state["whitening_"] | {name: getattr(fitted.whitening_, name)[:-1]}
        with pytest.raises(ValueError, match="of a whitening has shape"):
            WithinPromptWhitening().set_fitted_state(state | {"whitening_": broken})
    with pytest.raises(ValueError, match="has shape"):
        WithinPromptWhitening().set_fitted_state(state | {"n_features_in_": 11})
    for broken in ({"mean": state["whitening_"]["mean"]}, state["whitening_"] | {"bias": 1}):
        with pytest.raises(ValueError, match="not the state of a whitening"):
            WithinPromptWhitening().set_fitted_state(state | {"whitening_": broken})
    with pytest.raises(NotFittedError):
        WithinPromptWhitening().get_fitted_state()


def test_spectra_are_not_changed_by_making_maps(anisotropic_pairs):
    spectra = WithinPromptSpectra.estimate(tensor(anisotropic_pairs.reshape(-1, 12)), None, None)
    first = spectra.whitening(0.25, 0.125)
    spectra.whitening(0.25, 0.5)
    again = spectra.whitening(0.25, 0.125)
    for name in ("scale", "gains", "norm"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert replace(first, norm=3.0).norm == 3.0


def test_a_pipeline_hands_unlabelled_responses_on(pairs, candidates):
    pipe = Pipeline(
        [
            ("scale", EmbeddingScaler()),
            ("whiten", WithinPromptWhitening()),
            ("reward", BTRewardRegressor(learning_rate=1e-2, random_state=0)),
        ],
        transform_input=["unlabeled"],
    )
    with sklearn.config_context(enable_metadata_routing=True):
        pipe.fit(pairs, unlabeled=candidates[0])
        assert pipe["whiten"].whitening_.gains.ndim == 2
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


def test_responses_to_one_prompt_are_enough(pairs):
    unlabeled = np.random.default_rng(0).normal(size=(1, 5, 12))
    whitening = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled)
    assert np.isfinite(whitening.transform(pairs)).all()


def test_response_features_stay_as_they_are():
    rng = np.random.default_rng(3)
    pairs, unlabeled = five(rng, 40, 2), five(rng, 30, 4)
    features = rng.normal(size=(40, 2, 3))
    given = np.concatenate([pairs, features], axis=-1)
    more = np.concatenate([unlabeled, rng.normal(size=(30, 4, 3))], axis=-1)
    alone = WithinPromptWhitening().fit(pairs, unlabeled=unlabeled)
    both = WithinPromptWhitening(n_response_features=3).fit(given, unlabeled=more)
    mapped = both.transform(given)
    np.testing.assert_array_equal(mapped[..., :5], alone.transform(pairs))
    np.testing.assert_array_equal(mapped[..., 5:], features)
    again = WithinPromptWhitening(n_response_features=3)
    again.set_fitted_state(both.get_fitted_state())
    np.testing.assert_array_equal(again.transform(given), mapped)
    with pytest.raises(ValueError, match="n_response_features=8, but X has 8 features"):
        WithinPromptWhitening(n_response_features=8).fit(given)
