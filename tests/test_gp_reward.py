"""The Gaussian-process reward: exact, blind to order and scale, and sure of what it has seen."""

from dataclasses import replace

import gp_reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lens_sklearn._gp_posterior import GPPosterior, TrainingPairs, merge_repeated_pairs
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from lens_sklearn import (
    AugmentedPairs,
    DirectNoiseAugmenter,
    GPRewardRegressor,
    RepeatAugmenter,
    WithinPromptWhitening,
)
from lens_sklearn._device import row_order
from lens_sklearn._gp_selection import (
    SelectionSettings,
    draw_whole_groups,
    select_penalty,
    select_whitening,
)
from lens_sklearn._within_prompt_whitening import WithinPromptSpectra
from lens_sklearn.datasets import make_preference_pairs

SETTINGS = SelectionSettings()


def training_pairs(pairs, y=None, weight=None, groups=None):
    n = len(pairs)
    return TrainingPairs(
        pairs.reshape(2 * n, -1).astype(float),
        np.ones(n) if y is None else y,
        np.ones(n) if weight is None else weight,
        np.arange(n) if groups is None else groups,
    )


def spectra_of(pairs):
    return WithinPromptSpectra.estimate(pairs.reshape(2 * len(pairs), -1).astype(float), None, None)


# ---------------------------------------------------------------------------- posterior
def test_is_the_most_probable_reward(anisotropic_pairs):
    """No other log-odds have a larger posterior density: against a general minimiser."""
    pairs = anisotropic_pairs[:60]
    y, weight = np.tile([1.0, 0.7, 0.5], 20), np.tile([1.0, 2.0], 30)
    reward = GPRewardRegressor(2.0, uncertainty_penalty=0).fit(pairs, y, sample_weight=weight)
    kernel = gp_reference.pair_kernel(reward.X_train_, 2.0)

    def loss(dual):
        odds = kernel @ dual
        likelihood = weight @ (np.logaddexp(0, odds) - y * odds)
        return likelihood + dual @ odds / 2, kernel @ (weight * (expit(odds) - y) + dual)

    best = minimize(loss, np.zeros(60), jac=True, options={"gtol": 1e-8})
    np.testing.assert_allclose(reward.decision_function(pairs), kernel @ best.x, atol=1e-4)
    assert np.square(reward.X_train_).sum(axis=1).mean() == pytest.approx(1)
    likelihood = best.fun - best.x @ kernel @ best.x / 2
    win = expit(kernel @ best.x)
    determinant = np.linalg.slogdet(np.eye(60) + kernel * (weight * win * (1 - win)))[1]
    evidence = -likelihood - best.x @ kernel @ best.x / 2 - determinant / 2
    assert reward.log_marginal_likelihood_value_ == pytest.approx(evidence, abs=1e-3)


def test_the_evidence_prefers_the_variance_that_made_the_data():
    """Log-odds drawn with a large variance: a small one is less likely, and a huge one too."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(400, 2, 4)).astype(np.float32)
    odds = 3 * (pairs[:, 0, 0] - pairs[:, 1, 0])
    swap = rng.random(400) > expit(odds)
    pairs[swap] = pairs[swap, ::-1]
    evidence = {
        v: GPRewardRegressor(v, uncertainty_penalty=0).fit(pairs).log_marginal_likelihood_value_
        for v in (0.01, 10, 1e4)
    }
    assert evidence[10] > max(evidence[0.01], evidence[1e4]) + 1


@given(
    seed=st.integers(0, 100),
    shift=st.floats(-3, 3),
    scale=st.floats(0.1, 100),
    constant=st.sampled_from([7.0, 0.1, 1 / 3]),
    with_unlabeled=st.booleans(),
)
@settings(max_examples=50)
def test_order_scale_and_constant_features_do_not_matter(
    seed, shift, scale, constant, with_unlabeled
):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(2, 5, 5)) * np.geomspace(2, 0.2, 5)[:, None]

    def make(m, n):
        return rng.normal(size=(m, 1, 5)) @ mix[0] + rng.normal(size=(m, n, 5)) @ mix[1]

    pairs, new, unlabeled = make(30, 2), make(4, 3), make(15, 4) if with_unlabeled else None
    expected = GPRewardRegressor().fit(pairs, unlabeled=unlabeled).predict(new)
    order = rng.permutation(30)
    shuffled = GPRewardRegressor().fit(pairs[order], unlabeled=unlabeled).predict(new)
    np.testing.assert_allclose(shuffled, expected, atol=1e-6)

    def moved(X):
        constants = np.full((*X.shape[:-1], 1), constant)
        return np.concatenate([scale * X + shift, constants], axis=-1)

    if with_unlabeled:
        padded = np.concatenate([moved(unlabeled), np.full((15, 2, 6), np.nan)], axis=1)
        unlabeled = padded[rng.permutation(15)]
    again = GPRewardRegressor().fit(moved(pairs), unlabeled=unlabeled).predict(moved(new))
    np.testing.assert_allclose(again, expected, atol=1e-3)


def test_swapped_pairs_with_swapped_targets_are_the_same_pairs(anisotropic_pairs, candidates):
    y = np.linspace(0, 1, 80)
    one = GPRewardRegressor().fit(anisotropic_pairs, y).predict(candidates[0])
    two = GPRewardRegressor().fit(anisotropic_pairs[:, ::-1], 1 - y).predict(candidates[0])
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_chunks_change_nothing(anisotropic, anisotropic_pairs):
    embeddings = anisotropic(np.random.default_rng(1), 400, 6)  # scored in three chunks
    reward = GPRewardRegressor(uncertainty_penalty=1.0).fit(anisotropic_pairs)
    parts = [reward.predict(embeddings[i : i + 50]) for i in range(0, 400, 50)]
    np.testing.assert_allclose(reward.predict(embeddings), np.concatenate(parts), atol=1e-9)


def test_what_does_not_converge_warns(pairs):
    with pytest.warns(ConvergenceWarning, match="not converged in 50 steps") as record:
        reward = GPRewardRegressor(
            1e8, uncertainty_penalty=0, whitening=WithinPromptWhitening()
        ).fit(pairs)
    assert reward.n_iter_ == 50
    assert record[0].filename == __file__
    assert 3 <= GPRewardRegressor().fit(pairs).n_iter_ <= 10


# ------------------------------------------------------------------ weights and repetition
@pytest.mark.parametrize("with_groups", [False, True])
@pytest.mark.parametrize("with_unlabeled", [False, True])
@settings(max_examples=8)
@given(data=st.data())
def test_weights_are_repetitions(data, with_groups, with_unlabeled):
    """To predict and to choose what is "auto", a weight of 2 is the same as the pair twice."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    n = data.draw(st.integers(1, 40))
    most = data.draw(st.integers(1, 4))
    weight = rng.integers(1, most + 1, n)
    pairs = by_common_factor(rng, n, common=True)
    y = rng.choice([1.0, 1.0, 0.75, 0.5, 0.0], n)
    groups = rng.integers(0, max(1, n // 3), n) if with_groups else None
    unlabeled = by_common_factor(rng, 20, common=True) if with_unlabeled else None
    weighted = GPRewardRegressor().fit(
        pairs, y, sample_weight=weight, groups=groups, unlabeled=unlabeled
    )
    twice = rng.permutation(np.repeat(np.arange(n), weight))
    repeated = GPRewardRegressor().fit(
        pairs[twice],
        y[twice],
        groups=None if groups is None else groups[twice],
        unlabeled=unlabeled,
    )
    new = by_common_factor(rng, 10, common=True)
    for found, expected in zip(
        repeated.predict(new, return_std=True), weighted.predict(new, return_std=True), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert repeated.uncertainty_penalty_ == pytest.approx(weighted.uncertainty_penalty_, abs=1e-4)
    exponents = [r.whitening_.covariance_exponent for r in (weighted, repeated)]
    assert exponents[0] == exponents[1]
    assert repeated.log_marginal_likelihood_value_ == pytest.approx(
        weighted.log_marginal_likelihood_value_, abs=1e-6
    )


def test_a_weight_of_two_everywhere_is_more_evidence(anisotropic_pairs):
    one = GPRewardRegressor(uncertainty_penalty=0).fit(anisotropic_pairs)
    two = GPRewardRegressor(uncertainty_penalty=0).fit(
        anisotropic_pairs, sample_weight=np.full(80, 2)
    )
    every = GPRewardRegressor(uncertainty_penalty=0).fit(np.repeat(anisotropic_pairs, 2, axis=0))
    odds = [r.decision_function(anisotropic_pairs) for r in (one, two, every)]
    np.testing.assert_allclose(odds[1], odds[2], atol=1e-9)
    assert abs(odds[1]).mean() > 1.2 * abs(odds[0]).mean()


def test_weights_of_the_data_are_those_of_the_likelihood(anisotropic_pairs):
    """Weights per original, of a container, of rated rows; a pair of weight 0 is not there."""
    weight = np.tile([0.0, 1.0, 2.0, 1.0], 20)
    expected = GPRewardRegressor().fit(anisotropic_pairs, sample_weight=weight)
    assert expected.X_train_.shape == (120, 12)
    kept = weight > 0
    alone = GPRewardRegressor().fit(anisotropic_pairs[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(alone.dual_coef_, expected.dual_coef_)
    augmented = RepeatAugmenter(factor=2).fit_transform(anisotropic_pairs)
    by_original = GPRewardRegressor().fit(augmented, sample_weight=weight / 2)
    by_pair = GPRewardRegressor().fit(augmented, sample_weight=weight[augmented.parent] / 2)
    for reward in (by_original, by_pair):
        np.testing.assert_allclose(reward.dual_coef_, expected.dual_coef_, atol=1e-9)
    ratings, rated_weight = np.array([4, 3, 2, 1]), np.array([1.0, 2.0, 3.0, 4.0])
    rows = anisotropic_pairs[:2].reshape(4, 12)
    rated = GPRewardRegressor().fit(rows, ratings, sample_weight=rated_weight, groups=np.zeros(4))
    paired = GPRewardRegressor().fit(
        np.stack([rows[:2], rows[2:]], axis=1), sample_weight=[3.0, 8.0], groups=np.zeros(2)
    )
    np.testing.assert_allclose(rated.dual_coef_, paired.dual_coef_, atol=1e-9)


def test_same_pairs_are_merged_in_the_order_of_the_first():
    a, b, c = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    pairs = AugmentedPairs(
        np.stack([c, a, c, b, a[::-1], c]),
        target=[1.0, 0.7, 0.5, 0.2, 0.1, 1.0],
        weight=[1.0, 1.0, 3.0, 1.0, 2.0, 4.0],
    )
    index, target, weight = merge_repeated_pairs(pairs)
    np.testing.assert_array_equal(index, [0, 1, 3])
    np.testing.assert_allclose(weight, [8, 3, 1])
    np.testing.assert_allclose(target, [6.5 / 8, (0.7 + 2 * 0.9) / 3, 0.2], atol=1e-7)
    # Members of equal bytes are the same wherever they are kept.
    pool = AugmentedPairs(
        np.stack([a, b]),
        np.stack([a[0], a[1], c[0]]),
        np.array([[0, 1], [4, 5], [0, 6], [6, 5], [2, 3]]),
        np.array([0, 0, 0, 0, 1]),
    )
    np.testing.assert_array_equal(merge_repeated_pairs(pool)[0], [0, 2, 3, 4])
    # A zero has no sign.
    zeros = np.stack([np.zeros((2, 3)), -np.zeros((2, 3))]).astype(np.float32)
    assert len(merge_repeated_pairs(AugmentedPairs(zeros))[0]) == 1


@given(seed=st.integers(0, 1000), n=st.integers(1, 30), distinct=st.integers(1, 8))
def test_merging_keeps_wins_and_losses(seed, n, distinct):
    rng = np.random.default_rng(seed)
    pool = rng.normal(size=(distinct, 2, 3)).astype(np.float32)
    which = rng.integers(0, distinct, n)
    swapped = rng.random(n) < 0.5
    originals = np.where(swapped[:, None, None], pool[which][:, ::-1], pool[which])
    y, w = rng.random(n).astype(np.float32), rng.integers(1, 4, n).astype(np.float32)
    index, target, weight = merge_repeated_pairs(AugmentedPairs(originals, target=y, weight=w))
    np.testing.assert_array_equal(which[index], list(dict.fromkeys(which)))
    np.testing.assert_array_equal(index, np.sort(index))
    for i, t, total in zip(index, target, weight, strict=True):
        same = which == which[i]
        wins = np.where(swapped == swapped[i], y, 1 - y)[same] @ w[same]
        assert total == w[same].sum()
        assert t * total == pytest.approx(wins, abs=1e-5)


def test_repeated_pairs_are_not_left_out_by_themselves(anisotropic_pairs):
    """Copies are one pair, so that none predicts its own copy; the first's group is the pair's."""
    expected = GPRewardRegressor().fit(anisotropic_pairs, sample_weight=np.full(80, 3.0))
    augmented = RepeatAugmenter(factor=3).fit_transform(anisotropic_pairs)
    for copies in (augmented, np.asarray(augmented)):
        found = GPRewardRegressor().fit(copies)
        assert found.X_train_.shape == (160, 12)
        assert found.uncertainty_penalty_ == pytest.approx(expected.uncertainty_penalty_, abs=1e-6)
    pairs, groups = longer_first(np.random.default_rng(1), 80)[:, ::-1], np.arange(80) // 4
    expected = GPRewardRegressor().fit(pairs, sample_weight=np.full(80, 2.0), groups=groups)
    assert expected.uncertainty_penalty_ > 0.6, "groups make a difference"
    others = np.stack([groups, np.zeros(80)], axis=1).ravel()  # of the second copies
    for told in (np.repeat(groups, 2), others):
        found = GPRewardRegressor().fit(np.repeat(pairs, 2, axis=0), groups=told)
        assert found.uncertainty_penalty_ == pytest.approx(expected.uncertainty_penalty_, abs=1e-6)


# --------------------------------------------------------------------------- many pairs
def test_more_pairs_than_are_used_are_drawn_by_seed():
    toy = make_preference_pairs(300, 8, random_state=0)
    few = GPRewardRegressor(max_pairs=50, random_state=0)
    first = few.fit(toy.pairs).predict(toy.candidates)
    assert few.X_train_.shape == (100, 8)
    np.testing.assert_array_equal(first, few.fit(toy.pairs).predict(toy.candidates))
    order = np.random.default_rng(1).permutation(300)
    y, weight, groups = np.linspace(0.5, 1, 300), np.linspace(1, 3, 300), np.arange(300) // 3
    known, shuffled = (
        few.fit(toy.pairs[rows], y[rows], sample_weight=weight[rows], groups=groups[rows]).predict(
            toy.candidates
        )
        for rows in (np.arange(300), order)
    )
    np.testing.assert_allclose(shuffled, known, atol=1e-6)
    assert abs(known - first).max() > 1e-3
    assert (first != few.set_params(random_state=1).fit(toy.pairs).predict(toy.candidates)).any()
    everything = GPRewardRegressor().fit(toy.pairs)
    assert everything.score(toy.candidates, toy.gold) > few.score(toy.candidates, toy.gold)


def test_repeated_pairs_do_not_count_for_the_most():
    toy = make_preference_pairs(60, 8, random_state=0)
    twice = np.repeat(toy.pairs, 2, axis=0)
    reward = GPRewardRegressor(max_pairs=60).fit(twice)
    np.testing.assert_array_equal(
        reward.dual_coef_,
        GPRewardRegressor().fit(toy.pairs, sample_weight=np.full(60, 2)).dual_coef_,
    )
    first, shuffled = (
        GPRewardRegressor(max_pairs=20, random_state=0).fit(x).predict(toy.candidates)
        for x in (twice, twice[np.random.default_rng(0).permutation(120)])
    )
    np.testing.assert_allclose(first, shuffled, atol=1e-6)


def test_one_large_prompt_is_never_left_out():
    """Of 1,100 pairs to one prompt no whole prompt is among 1,000, so nothing is known."""
    pairs = by_common_factor(np.random.default_rng(1), 1100, common=False)
    one = GPRewardRegressor().fit(pairs, groups=np.zeros(1100))
    assert one.whitening_.covariance_exponent == 0.125
    assert one.uncertainty_penalty_ == 0.5


# ----------------------------------------------------------------------------- penalty
def test_penalty_subtracts_posterior_deviations(anisotropic_pairs, candidates):
    """Those of the exact Gaussian posterior, found by conditioning the whole covariance."""
    pairs, y = anisotropic_pairs[:60], np.tile([1.0, 0.7, 0.5], 20)
    fits = [GPRewardRegressor(2.0, uncertainty_penalty=c).fit(pairs, y) for c in (0, 0.5, 1)]
    plain, half, whole = (fitted.predict(candidates[0]).ravel() for fitted in fits)
    np.testing.assert_allclose(plain - whole, 2 * (plain - half), atol=1e-8)
    process, win = fits[0], expit(fits[0].decision_function(pairs))
    at = process.whitening_.apply(candidates[0].reshape(-1, 12).astype(float))
    everything = np.concatenate([at, process.X_train_])
    joint = gp_reference.covariance(process.kernel_weights_, everything, everything)
    m, D = len(at), gp_reference.differences(60)
    to_pairs = joint[:m, m:] @ D.T
    noisy = D @ joint[m:, m:] @ D.T + np.diag(1 / (win * (1 - win)))
    posterior = joint[:m, :m] - to_pairs @ np.linalg.inv(noisy) @ to_pairs.T
    np.testing.assert_allclose(plain - whole, np.sqrt(np.diag(posterior)), atol=1e-4)
    np.testing.assert_allclose(process.L_ @ process.L_.T, noisy, atol=1e-4)


@pytest.mark.parametrize("penalty", [0, 0.5, "auto"])
def test_return_std(anisotropic_pairs, candidates, penalty):
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    reward = GPRewardRegressor(uncertainty_penalty=penalty).fit(anisotropic_pairs)
    rewards, deviations = reward.predict(embeddings, return_std=True)
    np.testing.assert_array_equal(rewards, reward.predict(embeddings))
    for found in (rewards, deviations):
        assert found.shape == (10, 5)
        assert np.isnan(found[2, 4]) and np.isnan(found).sum() == 1
    plain = GPRewardRegressor(uncertainty_penalty=0).fit(anisotropic_pairs).predict(embeddings)
    np.testing.assert_allclose(plain - rewards, reward.uncertainty_penalty_ * deviations, atol=1e-9)
    there = ~np.isnan(deviations)
    assert (deviations[there] > 0).all()
    augmented = AugmentedPairs(anisotropic_pairs)
    assert reward.predict(augmented, return_std=True)[1].shape == (80, 2)
    with pytest.raises(NotFittedError):
        GPRewardRegressor().predict(embeddings, return_std=True)
    with pytest.raises(ValueError, match="11 features"):
        reward.predict(embeddings[..., :11], return_std=True)


def test_deviations_are_those_of_what_is_little_known(pairs):
    near, far = pairs[0, 0], 10 * pairs[0, 0]

    def deviation(n):
        return GPRewardRegressor().fit(pairs[:n]).predict(np.stack([near, far]), return_std=True)[1]

    few, many = deviation(20), deviation(60)
    assert few[1] > 2 * few[0] and many[1] > 2 * many[0]
    unlike = GPRewardRegressor(uncertainty_penalty=0).fit(pairs)
    _, prior = unlike.predict(np.full((1, 12), 1e3), return_std=True)
    assert prior > 10 * few[0]


def longer_first(rng, n, d=12):
    pairs = rng.normal(size=(n, 2, d)) * rng.lognormal(sigma=0.5, size=(n, 2, 1))
    order = np.argsort(-np.linalg.norm(pairs, axis=2), axis=1)
    return np.take_along_axis(pairs, order[:, :, None], axis=1).astype(np.float32)


def test_auto_penalty_is_larger_where_pairs_left_out_ask_for_it():
    rng = np.random.default_rng(0)
    longer, test = longer_first(rng, 150), longer_first(rng, 500)[:, ::-1]
    half = GPRewardRegressor(uncertainty_penalty=0.5)
    shorter = GPRewardRegressor().fit(longer[:, ::-1])
    assert shorter.uncertainty_penalty_ > 1
    assert shorter.score(test) > half.fit(longer[:, ::-1]).score(test)
    bold = GPRewardRegressor().fit(longer)
    assert bold.uncertainty_penalty_ == 0 and bold.L_.shape == (150, 150)
    np.testing.assert_array_equal(
        bold.predict(test), GPRewardRegressor(uncertainty_penalty=0).fit(longer).predict(test)
    )
    assert bold.score(test[:, ::-1]) > half.fit(longer).score(test[:, ::-1])
    coins = rng.normal(size=(150, 2, 12)).astype(np.float32)
    assert 0.3 < GPRewardRegressor().fit(coins).uncertainty_penalty_ < 0.7
    assert GPRewardRegressor(uncertainty_penalty=0.25).fit(coins).uncertainty_penalty_ == 0.25


def predicted_anew(process, pairs, y, weight, prompts):
    """The most probable penalty, its standard error, and the losses of pairs left out.

    By a Gaussian posterior of the pairs of other prompts, conditioned anew for each.
    """
    n, D = len(pairs), gp_reference.differences(len(pairs))
    joint = gp_reference.covariance(process.kernel_weights_, process.X_train_, process.X_train_)
    to_pairs = joint @ D.T
    kernel = D @ to_pairs
    odds = kernel @ process.dual_coef_
    curvature = weight * expit(odds) * expit(-odds)
    observed = odds + weight * (y - expit(odds)) / curvature
    unseen, further = np.empty(n), np.empty(n)
    for i in range(n):
        others, members = prompts != prompts[i], slice(2 * i, 2 * i + 2)
        noisy = (kernel + np.diag(1 / curvature))[np.ix_(others, others)]
        unseen[i] = kernel[i, others] @ np.linalg.solve(noisy, observed[others])
        known = to_pairs[members][:, others]
        posterior = joint[members, members] - known @ np.linalg.solve(noisy, known.T)
        further[i] = np.subtract(*np.sqrt(np.diag(posterior)))

    def losses(p):
        cautious = np.exp(p[0]) * (unseen - p[1] * further)
        return weight * (np.logaddexp(0, cautious) - y * cautious)

    def loss(p):
        return losses(p).sum() + p[0] ** 2 / 2 + (p[1] - 0.5) ** 2 / 8

    found = minimize(loss, [0, 0.5], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9})
    steps = 1e-3 * np.eye(2)
    curved = [
        [
            sum(s * t * loss(found.x + s * a + t * b) for s in (1, -1) for t in (1, -1)) / 4e-6
            for a in steps
        ]
        for b in steps
    ]
    return found.x[1], np.sqrt(np.linalg.inv(curved)[1, 1]), losses(found.x)


FOURS = np.arange(80) // 4 % 15  # prompts of four pairs and of eight


@pytest.mark.parametrize(
    ("groups", "seed", "share", "more"),
    [(None, 1, 1, True), (None, 3, 0.2, False), (FOURS, 1, 1, True), (FOURS, 4, 0.35, False)],
    ids=["pairs, more", "pairs, less", "prompts, more", "prompts, less"],
)
def test_pairs_do_not_predict_their_own_prompt(groups, seed, share, more):
    rng = np.random.default_rng(seed)
    pairs = longer_first(rng, 80)
    shorter = rng.random(80) < share
    pairs[shorter] = pairs[shorter, ::-1]
    y, weight = np.tile([1.0, 0.9, 0.6, 1.0], 20), np.tile([0.5, 1.5], 40)
    process = GPRewardRegressor(2.0).fit(pairs, y, sample_weight=weight, groups=groups)
    prompts = np.arange(80) if groups is None else groups
    best, error, _ = predicted_anew(process, pairs, y, weight, prompts)
    less = 2 if groups is None else 1
    expected = best - error if more else best + less * error
    assert process.uncertainty_penalty_ == pytest.approx(expected, abs=1e-3)
    assert expected > 0.6 if more else 0 < expected < 0.4
    # Fewer pairs say nearly the same.
    data = training_pairs(pairs, y, weight, prompts)
    posterior = GPPosterior.fit(process.whitening_, data, 2.0)
    has_groups = groups is not None
    some = draw_whole_groups(rng.permutation(80), prompts, 79)
    found = [
        select_penalty(posterior, data, index, SETTINGS, has_groups=has_groups)
        for index in (np.arange(80), some)
    ]
    assert found[0] == pytest.approx(process.uncertainty_penalty_, abs=1e-5)
    assert found[1] != found[0]
    assert not more or found[1] == pytest.approx(expected, rel=0.3)


def test_no_pairs_and_one_group_of_all():
    pairs = longer_first(np.random.default_rng(0), 40)
    data = training_pairs(pairs, groups=np.zeros(40))
    posterior = GPPosterior.fit(spectra_of(pairs).whitening(0.25, 0.125), data, 1.0)
    none = select_penalty(posterior, data, np.arange(0), SETTINGS, has_groups=True)
    assert none == 0.5 == SETTINGS.penalty
    one = GPRewardRegressor().fit(pairs, groups=np.zeros(40))
    assert np.isfinite(one.uncertainty_penalty_), "it is predicted by the prior"


def test_settings_are_those_of_the_docstrings():
    """The parameters' descriptions give these numbers."""
    whitening = WithinPromptWhitening()
    assert SETTINGS.wiener_exponent == whitening.wiener_exponent == 0.25
    assert SETTINGS.covariance_exponents == (whitening.covariance_exponent, 0, 0.25)
    assert (SETTINGS.max_left_out, SETTINGS.penalty) == (1000, 0.5)
    assert (SETTINGS.min_gain, SETTINGS.min_gain_errors) == (1, 2)
    errors = SETTINGS.errors_for_more, SETTINGS.errors_for_less
    assert (*errors, SETTINGS.errors_for_less_without_groups) == (1, 1, 2)


def test_defaults():
    assert GPRewardRegressor().get_params() == {
        "prior_variance": 1.0,
        "whitening": "auto",
        "uncertainty_penalty": "auto",
        "max_pairs": 5000,
        "random_state": None,
    }


@given(
    groups=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    left_out=st.integers(1, 30),
    seed=st.integers(0, 100),
)
def test_groups_are_left_out_as_a_whole(groups, left_out, seed):
    groups = np.array(groups)
    order = np.random.default_rng(seed).permutation(len(groups))
    out = draw_whole_groups(order, groups, left_out)
    assert len(out) == len(set(out)) <= left_out
    assert not set(groups[out]) & set(np.delete(groups, out))
    if len(groups) > left_out:  # no other group would have had a place
        first = list(dict.fromkeys(groups[order]))
        following = first[len(set(groups[out]))]
        assert set(groups[out]) == set(first[: len(set(groups[out]))])
        assert len(out) + (groups == following).sum() > left_out
    else:
        np.testing.assert_array_equal(out, order)


def test_children_of_a_pair_are_left_out_with_it():
    """By default an original pair and what was made of it are one group."""
    pairs = longer_first(np.random.default_rng(1), 80)[:, ::-1]
    augmented = DirectNoiseAugmenter(factor=3, random_state=0).fit_transform(pairs)
    expected = GPRewardRegressor().fit(augmented, groups=np.arange(80)).uncertainty_penalty_
    assert expected > 0.6
    assert GPRewardRegressor().fit(augmented).uncertainty_penalty_ == expected
    assert GPRewardRegressor().fit(np.asarray(augmented)).uncertainty_penalty_ != expected
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GPRewardRegressor().fit(augmented, groups=np.arange(240))


# ---------------------------------------------------------------------------- whitening
def by_common_factor(rng, n, common):
    """Features have a factor in common, by which pairs are ordered or by anything but that."""
    x = rng.normal(size=(n, 2, 12)) + 0.6 * rng.normal(size=(n, 2, 1))
    reward = x.mean(axis=2) if common else x[:, :, 0] - x[:, :, 1]
    order = np.argsort(-reward, axis=1)
    return np.take_along_axis(x, order[:, :, None], axis=1).astype(np.float32)


@pytest.mark.parametrize("with_unlabeled", [False, True])
@pytest.mark.parametrize("common", [False, True])
def test_the_whitening_is_that_in_which_pairs_left_out_are_most_likely(common, with_unlabeled):
    pairs = by_common_factor(np.random.default_rng(3), 150, common)
    test = by_common_factor(np.random.default_rng(2), 1000, common)
    unlabeled = None
    if with_unlabeled:
        unlabeled = by_common_factor(np.random.default_rng(4), 100, common)
    y, weight = np.tile([1.0, 0.97, 1.0], 50), np.tile([0.8, 1.2], 75)
    prompts = np.arange(150) // 2
    told = {"sample_weight": weight, "groups": prompts, "unlabeled": unlabeled}
    losses, accuracies = {}, {}
    for exponent in (0.125, 0, 0.25):
        whitening = WithinPromptWhitening(covariance_exponent=exponent)
        process = GPRewardRegressor(whitening=whitening).fit(pairs, y, **told)
        *_, losses[exponent] = predicted_anew(process, pairs, y, weight, prompts)
        accuracies[exponent] = process.score(test)
    best = 0.25 if common else 0
    gains = {exponent: (losses[0.125] - losses[exponent]).sum() for exponent in losses}
    assert max(gains, key=gains.get) == best
    assert accuracies[best] > accuracies[0.125]
    data = training_pairs(pairs, y, weight, prompts)
    spectra = WithinPromptSpectra.estimate(data.members, unlabeled, None)
    error = np.std(losses[0.125] - losses[best]) * np.sqrt(150)
    for min_gain, errors, expected in (
        (gains[best] - 0.01, 0, best),
        (gains[best] + 0.01, 0, 0.125),
        (0, gains[best] / error - 0.01, best),
        (0, gains[best] / error + 0.01, 0.125),
    ):
        asked = replace(SETTINGS, min_gain=min_gain, min_gain_errors=errors)
        chosen = select_whitening(spectra, data, 1.0, asked)
        assert chosen.covariance_exponent == expected
    auto = GPRewardRegressor().fit(pairs, y, **told)
    enough = gains[best] > max(1, 2 * error)
    assert auto.whitening_.covariance_exponent == (best if enough else 0.125)
    assert auto.score(test) == accuracies[auto.whitening_.covariance_exponent]


def test_chance_chooses_no_whitening():
    coins = np.random.default_rng(0).normal(size=(150, 2, 12)).astype(np.float32)
    assert GPRewardRegressor().fit(coins).whitening_.covariance_exponent == 0.125


def test_a_whitening_that_is_given_is_taken(anisotropic, anisotropic_pairs):
    unlabeled = anisotropic(np.random.default_rng(1), 30, 4)
    whitening = WithinPromptWhitening(0.5, covariance_exponent=0.3)
    process = GPRewardRegressor(whitening=whitening).fit(anisotropic_pairs, unlabeled=unlabeled)
    assert not hasattr(whitening, "whitening_"), "a parameter is not fitted"
    expected = whitening.fit(anisotropic_pairs, unlabeled=unlabeled)
    rows = anisotropic_pairs.reshape(-1, 12).astype(float)
    np.testing.assert_array_equal(process.whitening_.apply(rows), expected.whitening_.apply(rows))
    np.testing.assert_allclose(expected.transform(rows), np.sqrt(12) * process.X_train_, atol=1e-12)
    assert abs(process.whitening_.gains).max() > 0.3, "it does something"
    with pytest.raises(ValueError, match="'whitening' parameter"):
        GPRewardRegressor(whitening="linear").fit(anisotropic_pairs)


def test_some_whole_prompts_choose_the_whitening():
    pairs = by_common_factor(np.random.default_rng(1), 300, common=False)
    data = training_pairs(pairs, groups=np.arange(300) // 2)
    some = draw_whole_groups(row_order(data.members.reshape(300, -1)), data.group, 150)
    assert 148 < len(some) <= 150
    spectra = spectra_of(pairs)
    assert select_whitening(spectra, data.take(some), 1.0, SETTINGS).covariance_exponent == 0
    none = select_whitening(spectra, data.take(some[:0]), 1.0, SETTINGS)
    assert none.covariance_exponent == 0.125


def test_whitenings_are_compared_with_the_prior_variance_in_use():
    """A tiny one lets no whitening fit better than another, here."""
    pairs = by_common_factor(np.random.default_rng(0), 100, common=True)
    exponents = [
        GPRewardRegressor(v).fit(pairs).whitening_.covariance_exponent for v in (0.01, 1.0)
    ]
    assert exponents == [0.125, 0.25]


def test_selecting_changes_nothing(anisotropic_pairs):
    """Models that are compared are values; none is overwritten by the next."""
    data, spectra = training_pairs(anisotropic_pairs), spectra_of(anisotropic_pairs)
    posterior = GPPosterior.fit(spectra.whitening(0.25, 0.125), data, 1.0)
    before = posterior.laplace.dual_coef.copy(), posterior.laplace.L.copy()
    select_whitening(spectra, data, 1.0, SETTINGS)
    select_penalty(posterior, data, np.arange(80), SETTINGS, has_groups=False)
    again = GPPosterior.fit(spectra.whitening(0.25, 0.125), data, 1.0)
    for found in (posterior, again):
        np.testing.assert_array_equal(found.laplace.dual_coef, before[0])
        np.testing.assert_array_equal(found.laplace.L, before[1])


# --------------------------------------------------------------------------- unlabelled
def ordered(pairs):
    """The better response first: that with the larger sine of feature 0."""
    return np.take_along_axis(pairs, np.argsort(-np.sin(pairs[:, :, :1]), axis=1), axis=1)


def test_unlabelled_responses_tell_what_differs_within_prompts(topical):
    """Topics are discounted, more than by the pairs alone, and the order of others improves."""
    gains = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pairs, test = ordered(topical(rng, 30, 2)), ordered(topical(rng, 300, 2))
        without = GPRewardRegressor().fit(pairs)
        reward = GPRewardRegressor().fit(pairs, unlabeled=topical(rng, 200, 5))
        whitening = reward.whitening_
        moved = whitening.apply(np.diag(whitening.scale)) - whitening.apply(np.zeros((1, 24)))
        size = np.linalg.norm(moved, axis=1)
        assert size[:4].min() > 1.5 * size[4:].max()
        gains.append(reward.score(test) - without.score(test))
    assert np.mean(gains) > 0.005


def test_more_unlabelled_responses_than_are_used_are_drawn_by_seed(anisotropic_pairs):
    """Of more than 4,000,000 numbers, padding included: two of these three prompts'."""
    unlabeled = np.full((3, 120_000, 12), np.nan, dtype=np.float32)
    unlabeled[:, :5] = np.random.default_rng(0).normal(size=(3, 5, 12))
    one, same, other = (
        GPRewardRegressor(random_state=seed, uncertainty_penalty=0)
        .fit(anisotropic_pairs, unlabeled=unlabeled)
        .predict(anisotropic_pairs)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_bad_unlabelled_responses(pairs):
    for unlabeled, message in (
        (np.zeros((3, 4, 11)), "unlabeled: .*11 features"),
        (np.zeros((3, 12)), r"shape \(m, N, d\)"),
        (np.zeros((3, 1, 12)), "none of the 3 prompts"),
        (np.full((3, 2, 12), np.inf), "unlabeled: .*(finite|infinity)"),
    ):
        with pytest.raises(ValueError, match=message):
            GPRewardRegressor().fit(pairs, unlabeled=unlabeled)


# ------------------------------------------------------------------------------- state
def test_fitted_state_comes_back(anisotropic_pairs, candidates):
    fitted = GPRewardRegressor().fit(anisotropic_pairs)
    state = fitted.get_fitted_state()
    assert set(state) == set(GPRewardRegressor.fitted_state_names)
    for value in (
        *state["whitening_"].values(),
        *(v for k, v in state.items() if k != "whitening_"),
    ):
        assert isinstance(value, int | float | np.ndarray)
    # As after a file: rows of memory in the usual order.
    read = state | {"L_": np.ascontiguousarray(state["L_"])}
    again = GPRewardRegressor()
    again.set_fitted_state(read)
    for found, expected in zip(
        again.predict(candidates[0], return_std=True),
        fitted.predict(candidates[0], return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert vars(again).keys() == vars(fitted).keys()
    assert again.L_.flags.f_contiguous, "LAPACK takes it as it is"
    for name in ("X_train_", "dual_coef_", "kernel_weights_", "L_"):
        with pytest.raises(ValueError, match="has shape"):
            GPRewardRegressor().set_fitted_state(state | {name: state[name][:-1]})
    with pytest.raises(ValueError, match="has shape"):
        GPRewardRegressor().set_fitted_state(state | {"n_features_in_": 11})
    broken = state["whitening_"] | {"mean": np.zeros(3)}
    with pytest.raises(ValueError, match="mean of a whitening has shape"):
        GPRewardRegressor().set_fitted_state(state | {"whitening_": broken})
    del state["L_"]
    with pytest.raises(ValueError, match="needs .*L_"):
        GPRewardRegressor().set_fitted_state(state)
    with pytest.raises(NotFittedError):
        GPRewardRegressor().get_fitted_state()


@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
def test_padding_ties_and_bad_input(pairs, candidates):
    embeddings = candidates[0].copy()
    embeddings[2, 4] = np.nan
    reward = GPRewardRegressor().fit(AugmentedPairs(pairs))
    assert np.isnan(reward.predict(embeddings)).sum() == 1
    same = np.repeat(pairs[:, :1], 2, axis=1)
    plain = GPRewardRegressor(uncertainty_penalty=0).fit(same)
    np.testing.assert_allclose(plain.predict(embeddings[:2]), 0)
    with pytest.raises(ValueError, match="expected pairs of shape"):
        reward.fit(np.zeros((4, 3, 2)))
    with pytest.raises(ValueError, match="prior_variance"):
        GPRewardRegressor(0).fit(pairs)
    with pytest.raises(ValueError, match="at least one"):
        reward.fit(pairs, sample_weight=np.zeros(60))


def test_one_pair_is_enough(anisotropic_pairs):
    reward = GPRewardRegressor(max_pairs=1, random_state=0).fit(anisotropic_pairs)
    assert len(reward.dual_coef_) == 1
    with pytest.raises(ValueError, match="'max_pairs' parameter"):
        GPRewardRegressor(max_pairs=0).fit(anisotropic_pairs)


def test_what_was_learnt_cannot_be_set_anew():
    for value_object in (GPPosterior, TrainingPairs):
        assert value_object.__dataclass_params__.frozen
