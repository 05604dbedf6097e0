"""The Gaussian-process reward: exact, blind to order and scale, and sure of what it has seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from lens_sklearn import (
    AugmentedPairs,
    GPRewardRegressor,
    RepeatAugmenter,
    WithinPromptWhitening,
)
from lens_sklearn._gp_reward import _kernels, _of_pairs, _whole_groups
from lens_sklearn.datasets import make_preference_pairs


def test_is_the_most_probable_reward(pairs):
    """No other log-odds have a larger posterior density: against a general minimiser."""
    y, weight = np.tile([1.0, 0.7, 0.5], 20), np.tile([1.0, 2.0], 30)
    reward = GPRewardRegressor(2.0, uncertainty_penalty=0).fit(pairs, y, sample_weight=weight)
    parts = [_of_pairs(k) for k in _kernels(reward.members_, reward.members_)]
    kernel = sum(2 / 3 * k / np.diag(k).mean() for k in parts)
    assert np.diag(kernel).mean() == pytest.approx(2.0), "the prior variance is the parameter"
    weight = weight / weight.mean()

    def loss(dual):
        odds = kernel @ dual
        likelihood = weight @ (np.logaddexp(0, odds) - y * odds)
        return likelihood + dual @ odds / 2, kernel @ (weight * (expit(odds) - y) + dual)

    best = minimize(loss, np.zeros(60), jac=True, options={"gtol": 1e-8})
    np.testing.assert_allclose(reward.decision_function(pairs), kernel @ best.x, atol=1e-4)


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_order_scale_and_constant_features_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(30, 2, 5)).astype(np.float32)
    new = rng.normal(size=(4, 3, 5)).astype(np.float32)
    expected = GPRewardRegressor().fit(pairs).predict(new)
    order = rng.permutation(30)
    np.testing.assert_allclose(
        GPRewardRegressor().fit(pairs[order]).predict(new), expected, atol=1e-6
    )

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 7.0)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    again = GPRewardRegressor().fit(moved(pairs)).predict(moved(new))
    np.testing.assert_allclose(again, expected, atol=1e-3)


def test_swapped_pairs_with_swapped_targets_are_the_same_pairs(pairs, candidates):
    y = np.linspace(0, 1, 60)
    one = GPRewardRegressor().fit(pairs, y).predict(candidates[0])
    two = GPRewardRegressor().fit(pairs[:, ::-1], 1 - y).predict(candidates[0])
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_kernels_are_covariances(pairs):
    members = pairs.reshape(-1, 12).astype(float)
    for kernel in _kernels(members, members):
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-9)
        assert np.linalg.eigvalsh(kernel)[0] > -1e-8
    zero = np.zeros((1, 12))
    assert all(np.isfinite(k).all() for k in _kernels(zero, members))


def test_chunks_change_nothing(pairs, candidates, monkeypatch):
    whole = GPRewardRegressor(uncertainty_penalty=1.0).fit(pairs)
    expected = whole.predict(candidates[0])
    monkeypatch.setattr("lens_sklearn._gp_reward.CHUNK", 14)  # 60 pairs in chunks of 7
    chunked = GPRewardRegressor(uncertainty_penalty=1.0).fit(pairs)
    np.testing.assert_allclose(chunked.dual_coef_, whole.dual_coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(chunked.predict(candidates[0]), expected, rtol=1e-6, atol=1e-9)


def test_more_pairs_than_are_used_are_drawn_by_seed():
    toy = make_preference_pairs(300, 8, random_state=0)
    few = GPRewardRegressor(max_pairs=50, random_state=0)
    first = few.fit(toy.pairs).predict(toy.candidates)
    assert few.members_.shape == (100, 8)
    np.testing.assert_array_equal(first, few.fit(toy.pairs).predict(toy.candidates))
    assert (first != few.set_params(random_state=1).fit(toy.pairs).predict(toy.candidates)).any()
    everything = GPRewardRegressor().fit(toy.pairs)
    assert everything.score(toy.candidates, toy.gold) > few.score(toy.candidates, toy.gold)


# ------------------------------------------------------------------------------ caution
def test_caution_subtracts_posterior_deviations(pairs, candidates):
    """Those of the exact Gaussian posterior, found by conditioning the whole covariance."""
    y = np.tile([1.0, 0.7, 0.5], 20)
    fits = [GPRewardRegressor(2.0, uncertainty_penalty=c).fit(pairs, y) for c in (0, 0.5, 1)]
    plain, half, whole = (fitted.predict(candidates[0]).ravel() for fitted in fits)
    np.testing.assert_allclose(plain - whole, 2 * (plain - half), atol=1e-8)
    process, win = fits[0], expit(fits[0].decision_function(pairs))
    at = process.metric_._apply(candidates[0].reshape(-1, 12).astype(float))
    everything = np.concatenate([at, process.members_])
    kernels = _kernels(everything, everything)
    joint = sum(v * k for v, k in zip(process.variances_, kernels, strict=True))
    m = len(at)
    to_pairs = joint[:m, m::2] - joint[:m, m + 1 :: 2]
    noisy = _of_pairs(joint[m:, m:]) + np.diag(1 / (win * (1 - win)))
    posterior = joint[:m, :m] - to_pairs @ np.linalg.inv(noisy) @ to_pairs.T
    np.testing.assert_allclose(plain - whole, np.sqrt(np.diag(posterior)), atol=1e-4)


def test_caution_is_for_what_is_little_known(pairs):
    near, far = pairs[0, 0], 10 * pairs[0, 0]

    def deviation(n):
        fits = (GPRewardRegressor(uncertainty_penalty=c).fit(pairs[:n]) for c in (0, 1))
        plain, cautious = (fitted.predict(np.stack([near, far])) for fitted in fits)
        return plain - cautious

    few, many = deviation(20), deviation(60)
    assert (few > 0).all() and few[1] > 2 * few[0] and many[1] > 2 * many[0]


def longer_first(rng, n, d=12):
    pairs = rng.normal(size=(n, 2, d)) * rng.lognormal(sigma=0.5, size=(n, 2, 1))
    order = np.argsort(-np.linalg.norm(pairs, axis=2), axis=1)
    return np.take_along_axis(pairs, order[:, :, None], axis=1).astype(np.float32)


def test_auto_is_more_cautious_where_pairs_left_out_ask_for_it():
    rng = np.random.default_rng(0)
    longer, test = longer_first(rng, 150), longer_first(rng, 500)[:, ::-1]
    shorter = GPRewardRegressor().fit(longer[:, ::-1])
    assert shorter.uncertainty_penalty_ > 1
    assert shorter.score(test) > GPRewardRegressor(uncertainty_penalty=0.5).fit(
        longer[:, ::-1]
    ).score(test)
    bold = GPRewardRegressor().fit(longer)
    assert bold.uncertainty_penalty_ == 0 and bold.factor_ is None
    np.testing.assert_array_equal(
        bold.predict(test), GPRewardRegressor(uncertainty_penalty=0).fit(longer).predict(test)
    )
    assert bold.score(test[:, ::-1]) > GPRewardRegressor(uncertainty_penalty=0.5).fit(longer).score(
        test[:, ::-1]
    )
    coins = rng.normal(size=(150, 2, 12)).astype(np.float32)
    assert 0.3 < GPRewardRegressor().fit(coins).uncertainty_penalty_ < 0.7
    assert GPRewardRegressor(uncertainty_penalty=0.25).fit(coins).uncertainty_penalty_ == 0.25


def judged_anew(process, pairs, y, weight, prompts):
    """The most probable caution, its standard error, and the losses of pairs left out.

    By a Gaussian posterior of the pairs of other prompts, conditioned anew for each.
    """
    n, weight = len(pairs), weight / weight.mean()
    kernels = _kernels(process.members_, process.members_)
    joint = sum(v * k for v, k in zip(process.variances_, kernels, strict=True))
    to_pairs = joint[:, 0::2] - joint[:, 1::2]
    kernel = to_pairs[0::2] - to_pairs[1::2]
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
def test_pairs_are_left_out_of_their_own_judgement(monkeypatch, groups, seed, share, more):
    rng = np.random.default_rng(seed)
    pairs = longer_first(rng, 80)
    shorter = rng.random(80) < share
    pairs[shorter] = pairs[shorter, ::-1]
    y, weight = np.tile([1.0, 0.9, 0.6, 1.0], 20), np.tile([1.0, 3.0], 40)
    process = GPRewardRegressor(2.0).fit(pairs, y, sample_weight=weight, groups=groups)
    prompts = np.arange(80) if groups is None else groups
    best, error, _ = judged_anew(process, pairs, y, weight, prompts)
    less = 2 if groups is None else 1
    expected = best - error if more else best + less * error
    assert process.uncertainty_penalty_ == pytest.approx(expected, abs=1e-3)
    assert expected > 0.6 if more else 0 < expected < 0.4
    monkeypatch.setattr("lens_sklearn._gp_reward.LEFT_OUT", 79)
    fewer = GPRewardRegressor(2.0).fit(pairs, y, sample_weight=weight, groups=groups)
    assert fewer.uncertainty_penalty_ != process.uncertainty_penalty_
    assert not more or fewer.uncertainty_penalty_ == pytest.approx(expected, rel=0.2)


@given(
    groups=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    left_out=st.integers(1, 30),
    seed=st.integers(0, 100),
)
def test_groups_are_left_out_as_a_whole(groups, left_out, seed):
    groups = np.array(groups)
    order = np.random.default_rng(seed).permutation(len(groups))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lens_sklearn._gp_reward.LEFT_OUT", left_out)
        out = _whole_groups(order, groups)
    assert len(out) == len(set(out)) <= left_out
    assert not set(groups[out]) & set(np.delete(groups, out))
    if len(groups) > left_out:  # no other group would have had a place
        first = list(dict.fromkeys(groups[order]))
        following = first[len(set(groups[out]))]
        assert set(groups[out]) == set(first[: len(set(groups[out]))])
        assert len(out) + (groups == following).sum() > left_out


def test_children_of_a_pair_are_left_out_with_it():
    """By default an original pair and what was made of it are one group."""
    pairs = longer_first(np.random.default_rng(1), 80)[:, ::-1]
    augmented = RepeatAugmenter(factor=3).fit_transform(pairs)
    expected = GPRewardRegressor().fit(augmented, groups=np.arange(80)).uncertainty_penalty_
    assert expected > 0.6
    assert GPRewardRegressor().fit(augmented).uncertainty_penalty_ == expected
    assert GPRewardRegressor().fit(np.asarray(augmented)).uncertainty_penalty_ != expected
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GPRewardRegressor().fit(augmented, groups=np.arange(240))


def test_one_group_of_all_pairs_is_judged_by_the_prior(pairs, monkeypatch):
    one = GPRewardRegressor().fit(pairs, groups=np.zeros(60))
    assert np.isfinite(one.uncertainty_penalty_)
    monkeypatch.setattr("lens_sklearn._gp_reward.LEFT_OUT", 59)
    assert GPRewardRegressor().fit(pairs, groups=np.zeros(60)).uncertainty_penalty_ == 0.5


# ------------------------------------------------------------------------------- metric
def by_common_factor(rng, n, common):
    """Features have a factor in common, by which pairs are ordered or by anything but that."""
    x = rng.normal(size=(n, 2, 12)) + 0.6 * rng.normal(size=(n, 2, 1))
    reward = x.mean(axis=2) if common else x[:, :, 0] - x[:, :, 1]
    order = np.argsort(-reward, axis=1)
    return np.take_along_axis(x, order[:, :, None], axis=1).astype(np.float32)


@pytest.mark.parametrize("with_unlabelled", [False, True])
@pytest.mark.parametrize("common", [False, True])
def test_the_metric_is_that_in_which_pairs_left_out_are_most_likely(
    common, with_unlabelled, monkeypatch
):
    pairs = by_common_factor(np.random.default_rng(3), 150, common)
    test = by_common_factor(np.random.default_rng(2), 1000, common)
    unlabeled = None
    if with_unlabelled:
        unlabeled = by_common_factor(np.random.default_rng(4), 100, common)
    y, weight = np.tile([1.0, 0.97, 1.0], 50), np.tile([1.0, 1.5], 75)
    prompts = np.arange(150) // 2
    told = {"sample_weight": weight, "groups": prompts, "unlabeled": unlabeled}
    losses, accuracies = {}, {}
    for power in (0.125, 0, 0.25):
        process = GPRewardRegressor(metric=WithinPromptWhitening(covariance_exponent=power))
        process.fit(pairs, y, **told)
        *_, losses[power] = judged_anew(process, pairs, y, weight, prompts)
        accuracies[power] = process.score(test)
    best = 0.25 if common else 0
    gains = {power: (losses[0.125] - losses[power]).sum() for power in losses}
    assert max(gains, key=gains.get) == best
    assert accuracies[best] > accuracies[0.125]
    error = np.std(losses[0.125] - losses[best]) * np.sqrt(150)
    for asked, errors, power in (
        (gains[best] - 0.01, 0, best),
        (gains[best] + 0.01, 0, 0.125),
        (0, gains[best] / error - 0.01, best),
        (0, gains[best] / error + 0.01, 0.125),
    ):
        monkeypatch.setattr("lens_sklearn._gp_reward.ASKED", asked)
        monkeypatch.setattr("lens_sklearn._gp_reward.ASKED_ERRORS", errors)
        auto = GPRewardRegressor().fit(pairs, y, **told)
        assert auto.metric_.covariance_exponent == power
        assert auto.score(test) == accuracies[power]


def test_chance_chooses_no_metric():
    coins = np.random.default_rng(0).normal(size=(150, 2, 12)).astype(np.float32)
    power = GPRewardRegressor().fit(coins).metric_.covariance_exponent
    assert power == WithinPromptWhitening().covariance_exponent == 0.125


def test_a_metric_that_is_given_is_taken(pairs, candidates):
    metric = WithinPromptWhitening(0.5, covariance_exponent=0.3)
    process = GPRewardRegressor(metric=metric).fit(pairs, unlabeled=candidates[0])
    assert process.metric_.get_params() == metric.get_params()
    assert not hasattr(metric, "mean_")
    expected = metric.fit(pairs, unlabeled=candidates[0]).transform(pairs)
    np.testing.assert_array_equal(process.metric_.transform(pairs), expected)
    with pytest.raises(ValueError, match="'metric' parameter"):
        GPRewardRegressor(metric="linear").fit(pairs)


def test_with_many_pairs_some_whole_prompts_choose_the_metric(monkeypatch):
    monkeypatch.setattr("lens_sklearn._gp_reward.LEFT_OUT", 150)
    pairs = by_common_factor(np.random.default_rng(1), 300, common=False)
    assert (
        GPRewardRegressor().fit(pairs, groups=np.arange(300) // 2).metric_.covariance_exponent == 0
    )
    one = GPRewardRegressor().fit(pairs, groups=np.zeros(300))
    assert one.metric_.covariance_exponent == 0.125, "none can be left out"


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
        metric = reward.metric_
        moved = metric.transform(np.diag(metric.scale_)) - metric.transform(np.zeros((1, 24)))
        size = np.linalg.norm(moved, axis=1)
        assert size[:4].min() > 1.5 * size[4:].max()
        gains.append(reward.score(test) - without.score(test))
    assert np.mean(gains) > 0.005


@given(seed=st.integers(0, 100), shift=st.floats(-3, 3), scale=st.floats(0.01, 100))
def test_order_scale_and_constant_features_of_unlabelled_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    pairs = rng.normal(size=(30, 2, 5)).astype(np.float32)
    new = rng.normal(size=(4, 3, 5)).astype(np.float32)
    unlabeled = rng.normal(size=(9, 4, 5)).astype(np.float32)
    expected = GPRewardRegressor().fit(pairs, unlabeled=unlabeled).predict(new)

    def moved(X):
        constant = np.full((*X.shape[:-1], 1), 7.0)
        return np.concatenate([scale * X + shift, constant], axis=-1)

    padded = np.concatenate([moved(unlabeled), np.full((9, 2, 6), np.nan)], axis=1)
    reward = GPRewardRegressor().fit(moved(pairs), unlabeled=padded[rng.permutation(9)])
    np.testing.assert_allclose(reward.predict(moved(new)), expected, atol=1e-3)


def test_few_unlabelled_responses_change_little(pairs, candidates):
    """Of two prompts nothing is known about ratios of variances: they are taken to be one."""
    reward = GPRewardRegressor().fit(pairs)
    rewards = reward.predict(candidates[0])
    few = GPRewardRegressor().fit(pairs, unlabeled=pairs.reshape(30, 4, 12)[:2])
    assert np.corrcoef(rewards.ravel(), few.predict(candidates[0]).ravel())[0, 1] > 0.98


def test_more_unlabelled_responses_than_are_used_are_drawn_by_seed(pairs, monkeypatch):
    unlabeled = np.random.default_rng(0).normal(size=(50, 4, 12))
    monkeypatch.setattr("lens_sklearn._within_prompt_whitening.REFERENCE", 10 * 4 * 12)
    one, same, other = (
        GPRewardRegressor(random_state=seed).fit(pairs, unlabeled=unlabeled).predict(pairs)
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
    with pytest.raises(ValueError, match="at least one non-zero"):
        reward.fit(pairs, sample_weight=np.zeros(60))
