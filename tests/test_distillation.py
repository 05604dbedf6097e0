"""DistillationAugmenter: a teacher's soft targets, unlabelled responses, factor="auto"."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.pipeline import Pipeline, make_pipeline

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    EmbeddingScaler,
    GPRewardRegressor,
    LatentPairAugmenter,
    RepeatAugmenter,
    WithinPromptWhitening,
)
from lens_sklearn._distillation import FactorRule
from lens_sklearn.datasets import make_preference_pairs


def distillation(**params):
    return DistillationAugmenter(**{"factor": 4, "random_state": 0} | params)


class Recorder(BaseEstimator):
    """A teacher of the contract: rewards are the first feature; keeps what each fit was given."""

    __metadata_request__fit = {"groups": True, "unlabeled": True}
    fits = []

    def fit(self, X, y, groups=None, unlabeled=None):
        self.fits.append({"X": X, "y": y, "groups": groups, "unlabeled": unlabeled})
        return self

    def predict(self, X):
        return X[..., 0]


@pytest.fixture
def recorder():
    Recorder.fits = []
    return Recorder()


class Coefficients(BaseEstimator):
    """A teacher that has no `predict` but ``coef_``, as the contract allows."""

    def fit(self, X, y):
        self.coef_ = np.eye(X.shape[-1])[:1]
        return self


# ------------------------------------------------------------------------------- targets
def test_all_targets_are_the_teachers_probabilities_at_the_temperature(pairs):
    y = np.linspace(0.5, 1, 60).astype(np.float32)
    augmented = distillation(temperature=0.5).fit_transform(pairs, y)
    teacher = GPRewardRegressor().fit(pairs, y)
    log_odds = teacher.decision_function(np.asarray(augmented))
    np.testing.assert_allclose(augmented.target, expit(log_odds / 0.5), atol=1e-5)
    assert augmented.shape == (240, 2, 12) and augmented.is_synthetic.sum() == 180
    np.testing.assert_array_equal(np.asarray(augmented)[:60], pairs)


def test_defaults_are_a_third_of_the_temperature_and_a_gaussian_process(pairs):
    augmenter = DistillationAugmenter(factor=2, random_state=0)
    augmented = augmenter.fit_transform(pairs)
    assert isinstance(augmenter.teacher_, GPRewardRegressor)
    log_odds = GPRewardRegressor().fit(pairs).decision_function(pairs)
    np.testing.assert_allclose(augmented.target[:60], expit(3 * log_odds), atol=1e-5)
    assert DistillationAugmenter().factor == "auto"


def test_the_pairs_are_those_of_the_augmenter(pairs):
    latent = LatentPairAugmenter(ContrastiveVAE(4, 8, max_epochs=2, random_state=1), factor=9)
    for augmenter in (latent, RepeatAugmenter(), DifferenceAugmenter()):
        distilled = distillation(augmenter=augmenter, factor=3)
        soft = distilled.fit_transform(pairs)
        assert soft.shape == (180, 2, 12), "the factor is the distillation's"
        assert augmenter.get_params()["factor"] != 3, "what was given is not changed"
        again = distilled.augmenter_.augment(pairs)
        np.testing.assert_array_equal(np.asarray(soft), np.asarray(again))
        np.testing.assert_array_equal(distilled.augment(pairs).target, soft.target)
    one, two = (np.asarray(distillation(augmenter=latent).fit_transform(pairs)) for _ in "12")
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("teacher", [Recorder(), Coefficients()], ids=["predict", "coef_"])
@pytest.mark.parametrize("factor", [4, "auto"])
def test_any_teacher_of_the_contract_will_do(pairs, teacher, factor):
    augmenter = distillation(teacher=teacher, factor=factor)
    augmented = augmenter.fit_transform(pairs)
    assert augmenter.factor_ > 1
    rewards = np.asarray(augmented, dtype=float)[..., 0]
    np.testing.assert_allclose(
        augmented.target, expit(3 * (rewards[:, 0] - rewards[:, 1])), atol=1e-4
    )


def test_a_teacher_without_a_seed_gets_one_where_there_is_one_to_draw_from(pairs):
    network = BTRewardRegressor(max_epochs=1)
    one, two = (distillation(teacher=network) for _ in "12")
    np.testing.assert_array_equal(one.fit_transform(pairs).target, two.fit_transform(pairs).target)
    assert isinstance(one.teacher_.random_state, int) and network.random_state is None
    own = distillation(teacher=BTRewardRegressor(max_epochs=1, random_state=7)).fit(pairs)
    assert own.teacher_.random_state == 7
    free = distillation(teacher=network, random_state=None).fit(pairs)
    assert free.teacher_.random_state is None


def test_shuffled_pairs_have_the_same_children(pairs):
    order = np.random.default_rng(0).permutation(60)
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    for told in (None, unlabeled):
        one = distillation().fit_transform(pairs, unlabeled=told)
        two = distillation().fit_transform(pairs[order], unlabeled=told)
        for i in range(60):
            mine = np.asarray(one)[one.parent == order[i]]
            np.testing.assert_allclose(np.asarray(two)[two.parent == i], mine, atol=1e-6)
            np.testing.assert_allclose(
                two.target[two.parent == i], one.target[one.parent == order[i]], atol=1e-5
            )


def test_raw_embeddings_are_as_good_as_standardised_ones():
    gold = []
    for seed in range(4):
        toy = make_preference_pairs(80, 16, nonlinearity=1.0, random_state=seed)
        rng = np.random.default_rng(seed)
        scale = (10 ** rng.uniform(-3, 3, 16)).astype(np.float32)
        shift = scale * rng.uniform(-3, 3, 16).astype(np.float32)
        pipe = make_pipeline(distillation(factor=16), BTRewardRegressor(random_state=0))
        raw = pipe.fit(toy.pairs * scale + shift).score(toy.candidates * scale + shift, toy.gold)
        scaled = pipe.fit(toy.pairs).score(toy.candidates, toy.gold)
        gold.append((raw, scaled, toy.gold.mean()))
    raw, scaled, random = np.mean(gold, axis=0)
    assert raw - random > 0.97 * (scaled - random)


def test_memory_does_not_grow_with_the_factor(pairs):
    sizes = []
    for factor in (2, 32):
        pool = distillation(factor=factor).fit_transform(pairs).pool
        assert pool.originals.shape == pairs.shape
        assert pool.noise.nbytes == 4 * 256 * 12, "one table, whatever the factor"
        sizes.append(sum(a.nbytes for a in (pool.base_row, pool.pair, pool.sign, pool.window)))
    assert sizes[1] == 31 * sizes[0] == 31 * 60 * (8 + 8 + 4 + 16), "five numbers a pair"


# --------------------------------------------------------------------------- unlabelled
def test_unlabelled_pairs_are_two_responses_of_one_prompt(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    unlabeled[0, 1:] = np.nan  # one response: no pair
    unlabeled[1, 2:] = np.nan
    augmented = distillation().fit_transform(pairs, unlabeled=unlabeled)
    rows = np.asarray(augmented)[60:]
    assert np.isfinite(rows).all()
    flat = unlabeled.reshape(-1, 12)
    index = np.array([[np.flatnonzero((flat == e).all(axis=1))[0] for e in pair] for pair in rows])
    assert (index[:, 0] // 4 == index[:, 1] // 4).all() and (index[:, 0] != index[:, 1]).all()
    assert set(index[:, 0] // 4) == {1, 2, 3, 4, 5, 6}
    np.testing.assert_array_equal(np.bincount(augmented.parent), 4)


def test_the_teacher_is_given_what_it_requests(pairs, recorder):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    groups = np.arange(60) // 3
    y = np.linspace(0, 1, 60).astype(np.float32)
    order = np.random.default_rng(0).permutation(60)
    distillation(teacher=recorder).fit_transform(
        pairs[order], y[order], unlabeled=unlabeled, groups=groups[order]
    )
    (given,) = recorder.fits
    np.testing.assert_array_equal(given["unlabeled"], unlabeled)
    place = {pair.tobytes(): i for i, pair in enumerate(pairs)}
    which = [place[pair.tobytes()] for pair in given["X"]]
    np.testing.assert_array_equal(given["groups"], groups[which])
    np.testing.assert_array_equal(given["y"], y[which])
    distillation(teacher=recorder).fit_transform(pairs)
    assert recorder.fits[1]["groups"] is None, "nobody told the prompts"


def test_a_teacher_that_takes_no_unlabelled_responses_still_labels_them(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    teacher = BTRewardRegressor(max_epochs=1, random_state=0)
    augmented = distillation(teacher=teacher).fit_transform(pairs, unlabeled=unlabeled)
    assert len(augmented) == 240
    pool = {row.tobytes() for row in unlabeled.reshape(-1, 12)}
    assert all(row.tobytes() in pool for row in np.asarray(augmented)[60:].reshape(-1, 12))


def test_unlabelled_responses_reach_a_teacher_behind_other_steps(pairs):
    """A Pipeline is given what its steps request, transformed by the steps before."""
    unlabeled = 5 + 3 * np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    teacher = Pipeline(
        [("scale", EmbeddingScaler()), ("reward", GPRewardRegressor())],
        transform_input=["unlabeled"],
    )
    augmenter = distillation(teacher=teacher)
    augmented = augmenter.fit_transform(pairs, unlabeled=unlabeled, groups=np.arange(60) // 2)
    scaler = EmbeddingScaler().fit(pairs)
    expected = GPRewardRegressor().fit(
        scaler.transform(pairs),
        unlabeled=scaler.transform(unlabeled),
        groups=np.arange(60) // 2,
    )
    log_odds = expected.decision_function(scaler.transform(np.asarray(augmented)))
    np.testing.assert_allclose(augmented.target, expit(3 * log_odds), atol=1e-4)


class Undecided(Recorder):
    """Its `fit` has groups, and nobody said whether it requests them."""

    __metadata_request__fit = {"groups": None, "unlabeled": None}


def test_metadata_that_nobody_decided_on_is_refused(pairs):
    with pytest.raises(UnsetMetadataPassedError, match="groups"):
        distillation(teacher=Undecided()).fit_transform(pairs, groups=np.arange(60))
    step = Pipeline([("reward", Undecided())])
    with pytest.raises(UnsetMetadataPassedError, match="groups"):
        distillation(teacher=step).fit_transform(pairs, groups=np.arange(60))


def test_a_teacher_whose_steps_do_not_transform_unlabelled_responses_is_refused(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    teacher = make_pipeline(EmbeddingScaler(), GPRewardRegressor())
    with pytest.raises(ValueError, match=r'transform_input=\["unlabeled"\]'):
        distillation(teacher=teacher).fit_transform(pairs, unlabeled=unlabeled)
    distillation(teacher=teacher).fit_transform(pairs, groups=np.arange(60))


def test_augment_wants_what_was_paired(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    paired = distillation()
    augmented = paired.fit_transform(pairs, unlabeled=unlabeled)
    again = paired.augment(pairs, unlabeled=unlabeled)
    np.testing.assert_array_equal(np.asarray(again), np.asarray(augmented))
    np.testing.assert_array_equal(again.target, augmented.target)
    with pytest.raises(ValueError, match="give unlabeled= here too"):
        paired.augment(pairs)
    with pytest.raises(ValueError, match="unlabeled has no effect here"):
        distillation().fit(pairs).augment(pairs, unlabeled=unlabeled)


def test_a_distillation_makes_no_pairs_for_another(pairs):
    with pytest.raises(ValueError, match="a distillation itself"):
        distillation(augmenter=DistillationAugmenter()).fit(pairs)


def test_unlabelled_responses_without_effect_are_refused(pairs):
    unlabeled = np.random.default_rng(5).normal(size=(40, 4, 12)).astype(np.float32)
    augmenter = distillation(augmenter=RepeatAugmenter(), teacher=BTRewardRegressor())
    with pytest.raises(ValueError, match="unlabeled has no effect: the pairs come from Repeat"):
        augmenter.fit_transform(pairs, unlabeled=unlabeled)
    augmenter.set_params(teacher=GPRewardRegressor()).fit_transform(pairs, unlabeled=unlabeled)
    assert augmenter.teacher_.whitening_.gains.ndim == 2, "the teacher learnt from them"


@pytest.mark.parametrize("factor", [4, "auto"])
def test_the_teacher_is_told_the_prompts(factor):
    """Of pairs that are there twice it makes a difference which ones are left out together."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 8)) * np.sort(rng.lognormal(sigma=0.3, size=(60, 2, 1)), axis=1)
    repeated = np.concatenate([pairs, pairs + 1e-3]).astype(np.float32)
    prompts = np.tile(np.arange(60), 2)
    order = np.random.default_rng(0).permutation(120)
    augmenter = distillation(factor=factor)
    augmenter.fit_transform(repeated[order], groups=prompts[order])
    told = GPRewardRegressor().fit(repeated, groups=prompts).slope_
    assert augmenter.teacher_.slope_ == pytest.approx(told, rel=1e-6)
    assert told != pytest.approx(GPRewardRegressor().fit(repeated).slope_, rel=0.1)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        augmenter.fit_transform(repeated, groups=prompts[1:])


@pytest.mark.parametrize("augmenter", [distillation(), DifferenceAugmenter(random_state=0)])
def test_targets_of_a_pipeline_do_not_replace_those_that_were_made(pairs, augmenter):
    """A Pipeline gives y to the augmenter and to the reward; the latter must not undo the first."""
    y = np.ones(60)
    pipe = make_pipeline(augmenter, BTRewardRegressor(max_epochs=2, random_state=0))
    expected = BTRewardRegressor(max_epochs=2, random_state=0).fit(
        clone(augmenter).fit_transform(pairs, y)
    )
    np.testing.assert_array_equal(pipe.fit(pairs, y).predict(pairs), expected.predict(pairs))
    without = clone(pipe).fit(pairs).predict(pairs)
    np.testing.assert_array_equal(pipe.predict(pairs), without)


def test_a_pipeline_hands_everything_on(pairs):
    unlabeled = 5 + 3 * np.random.default_rng(5).normal(size=(7, 4, 12)).astype(np.float32)
    groups = np.arange(60) // 2
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [
                ("scale", EmbeddingScaler()),
                ("augment", distillation()),
                ("reward", BTRewardRegressor(max_epochs=2, random_state=0)),
            ],
            transform_input=["unlabeled"],
        )
        rewards = pipe.fit(pairs, unlabeled=unlabeled, groups=groups).predict(pairs)
    scaler = EmbeddingScaler().fit(pairs)
    augmented = distillation().fit_transform(
        scaler.transform(pairs), unlabeled=scaler.transform(unlabeled), groups=groups
    )
    expected = BTRewardRegressor(max_epochs=2, random_state=0).fit(augmented, groups=groups)
    np.testing.assert_array_equal(rewards, expected.predict(scaler.transform(pairs)))


@pytest.mark.parametrize(
    ("unlabeled", "message"),
    [
        (np.zeros((3, 4, 11)), "11 features"),
        (np.zeros((3, 4, 2, 12)), r"shape \(m, N, d\)"),
        (np.zeros((3, 1, 12)), "none of the 3 prompts .* two responses"),
    ],
)
def test_bad_unlabelled_responses(pairs, unlabeled, message):
    with pytest.raises(ValueError, match=message):
        distillation().fit_transform(pairs, unlabeled=unlabeled)


# --------------------------------------------------------------------------------- auto
def test_auto_augments_where_it_does_no_harm(pairs):
    augmenter = distillation(factor="auto")
    augmented = augmenter.fit_transform(pairs, groups=np.arange(60) // 2)
    assert set(augmenter.factor_scores_) == {1, 256}
    assert augmenter.factor_ == len(augmented) / 60
    assert clone(augmenter).factor == "auto", "the parameter stays as it was given"


@pytest.mark.parametrize(
    ("n", "d", "factor"),
    [
        *[(50, 384, 256), (200, 384, 64), (200, 64, 157), (200, 3840, 64), (10**5, 8, 8)],
        *[(5000, 384, 8), (5000, 3840, 3), (10**4, 10**5, 2)],
    ],
)
def test_the_more_pairs_and_features_the_smaller_the_factor(n, d, factor):
    assert FactorRule().factor(n, d) == factor


@pytest.mark.parametrize(
    ("n", "lost", "won", "refused"),
    [
        (1000, 18, 6, True),  # 12 of 2 √24
        (1000, 15, 6, False),  # 9 of 2 √21
        (1001, 11, 6, True),  # 5 of √17: students are compared, and one error is enough
        (1001, 9, 6, False),  # 3 of √15
        (1001, 6, 11, False),
    ],
)
def test_auto_asks_two_errors_of_a_teacher_and_one_of_a_student(n, lost, won, refused):
    """Pairs that only what is distilled orders wrongly (lost), and only it rightly (won)."""
    agreement = np.ones((2, n))
    agreement[1, :lost] = 0
    agreement[0, lost : lost + won] = 0
    assert FactorRule().refuses(agreement) == refused


class Contrarian(GPRewardRegressor):
    """A teacher that prefers what was rejected."""

    def predict(self, X, return_std=False):
        return -super().predict(X)


def test_auto_refuses_a_teacher_that_is_wrong():
    toy = make_preference_pairs(150, 64, random_state=0)
    wrong = distillation(factor="auto", teacher=Contrarian())
    augmented = wrong.fit_transform(toy.pairs)
    assert wrong.factor_ == 1 and len(augmented) == 150
    assert (augmented.target == 1).all(), "the originals keep their own targets"
    assert wrong.factor_scores_[1] > 0.5 > wrong.factor_scores_[209]


@pytest.mark.filterwarnings("ignore:all .* pairs are ties:UserWarning")
def test_students_are_compared_where_pairs_are_many():
    """A teacher that is right gains nothing where the network cannot follow it."""
    toy = make_preference_pairs(150, 64, random_state=0)
    blunt = distillation(factor="auto", temperature=1e9)  # all targets are 0.5
    pairs, groups = blunt._check_originals(toy.pairs, None, reset=True), np.arange(150)
    few = {"n_pairs": 24_000, "min_pairs": 0}  # a factor of 20, so that students take no time
    assert blunt._choose_factor(pairs, groups, {}, 0, FactorRule(**few)) == 20
    from_the_teacher = blunt.factor_scores_
    rule = FactorRule(student_from=100, **few)
    assert blunt._choose_factor(pairs, groups, {}, 0, rule) == 1
    assert blunt.factor_scores_[1] == from_the_teacher[1] > blunt.factor_scores_[20]
    assert from_the_teacher[20] > blunt.factor_scores_[20], "that was the teacher itself"
    sharp = distillation(factor="auto")
    sharp._check_originals(toy.pairs, None, reset=True)
    assert sharp._choose_factor(pairs, groups, {}, 0, rule) == 20


def test_the_folds_hold_out_what_the_teacher_has_not_seen(recorder):
    """Groups stay whole, and targets, prompts and unlabelled responses go into every fold."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 4)).astype(np.float32)
    y = rng.random(60).astype(np.float32)
    groups, unlabeled = np.arange(60) % 6, rng.normal(size=(5, 3, 4)).astype(np.float32)
    place = {pair.tobytes(): i for i, pair in enumerate(pairs)}
    augmenter = distillation(factor="auto", teacher=recorder)
    augmenter.fit_transform(pairs, y, groups=groups, unlabeled=unlabeled)
    folds = recorder.fits[:3]
    for given in folds:
        which = np.array([place[pair.tobytes()] for pair in given["X"]])
        assert len(which) == 40
        assert len(set(groups[which])) == 4, "two of six prompts are held out, as a whole"
        np.testing.assert_array_equal(given["groups"], groups[which])
        np.testing.assert_array_equal(given["y"], y[which])
        np.testing.assert_array_equal(given["unlabeled"], unlabeled)
    held_out = [60 - len(given["X"]) for given in folds]
    assert sum(held_out) == 60


def test_the_scores_are_of_held_out_pairs_and_their_targets(recorder):
    """With columns exchanged and targets 0 the comparison is the same; a hand-made teacher."""
    toy = make_preference_pairs(90, 8, random_state=0)
    straight = distillation(factor="auto", teacher=recorder).fit(toy.pairs)
    swapped = distillation(factor="auto", teacher=recorder)
    swapped.fit(toy.pairs[:, ::-1].copy(), np.zeros(90))
    by_hand = np.mean(toy.pairs[:, 0, 0] > toy.pairs[:, 1, 0])
    factor = FactorRule().factor(90, 8)
    assert straight.factor_scores_[factor] == pytest.approx(by_hand)
    assert swapped.factor_scores_[factor] == pytest.approx(by_hand)


def test_pairs_at_random_teach_nothing_of_others():
    """The Gaussian process is right on the pairs that it was given, and on no others."""
    pairs = np.random.default_rng(0).normal(size=(300, 2, 64)).astype(np.float32)
    augmenter = distillation(factor="auto")
    augmenter.fit(pairs)
    assert abs(max(augmenter.factor_scores_.values()) - 0.5) < 0.1
    assert GPRewardRegressor().fit(pairs).score(pairs) > 0.7


def test_auto_leaves_a_handful_of_pairs_alone_and_says_so(pairs):
    augmenter = distillation(factor="auto").fit(pairs)
    with pytest.warns(UserWarning, match=r"10 pairs of 10 prompts are too few .* \(20 pairs"):
        assert len(augmenter.fit_transform(pairs[:10])) == 10
    assert augmenter.factor_ == 1 and augmenter.factor_scores_ == {}
    assert not hasattr(augmenter, "teacher_"), "nothing is left of an earlier fit"
    assert not hasattr(augmenter, "augmenter_")
    with pytest.warns(UserWarning, match="60 pairs of 1 prompts are too few"):
        augmenter.fit(pairs, groups=np.zeros(60))
    assert augmenter.factor_ == 1, "one prompt leaves nothing to hold out"
    assert len(augmenter.augment(pairs)) == 60


def test_a_network_must_see_norms_as_the_teacher_does():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 12)) * rng.lognormal(size=(60, 2, 1))
    with pytest.warns(UserWarning, match="norms of the embeddings vary") as caught:
        distillation().fit_transform(pairs)
    assert caught[0].filename == __file__, "it points at the caller's line"
    with pytest.warns(UserWarning, match="norms of the embeddings vary") as caught:
        make_pipeline(distillation(), BTRewardRegressor(max_epochs=1)).fit(pairs)
    assert caught[0].filename == __file__
    even = WithinPromptWhitening(0, covariance_exponent=0).fit_transform(pairs)
    distillation().fit_transform(even)  # warnings are errors


def test_padding_is_never_paired(pairs):
    """Also where of many responses two alone are there, wherever they stand."""
    rng = np.random.default_rng(0)
    unlabeled = np.full((20, 40, 12), np.nan, np.float32)
    for prompt in unlabeled:
        prompt[rng.permutation(40)[:2]] = rng.normal(size=(2, 12))
    augmented = distillation(factor=8).fit_transform(pairs, unlabeled=unlabeled)
    rows = np.asarray(augmented)
    assert np.isfinite(rows).all()
    assert (rows[60:, 0] != rows[60:, 1]).any(axis=1).all()


@pytest.mark.parametrize(
    ("params", "name"),
    [({"temperature": 0.0}, "temperature"), ({"factor": 0}, "factor"), ({"augmenter": 3}, "aug")],
)
def test_parameters_out_of_range_are_named(pairs, params, name):
    with pytest.raises(ValueError, match=f"The '{name}.* of DistillationAugmenter"):
        distillation(**params).fit(pairs)


# ------------------------------------------------------------------------------ two views
@pytest.mark.parametrize("augmenter", [None, DirectNoiseAugmenter(), RepeatAugmenter()])
def test_the_augmenter_carries_features_and_the_teacher_sees_them(pairs, augmenter):
    features = np.zeros((60, 2, 1), dtype=np.float32)
    features[::2, 0] = features[1::2, 1] = 1
    y = np.tile([1.0, 0.0], 30)  # the feature tells the winner
    given = np.concatenate([pairs, features], axis=-1)
    distiller = distillation(augmenter=augmenter, n_response_features=1)
    distilled = distiller.fit_transform(given, y)
    rows = np.asarray(distilled)
    assert set(np.unique(rows[..., -1] @ [1, -1])) <= {-1, 0, 1}  # no noise on it
    rewards = distiller.teacher_.predict(rows)
    expected = expit((rewards[:, 0] - rewards[:, 1]) * 3)
    np.testing.assert_allclose(distilled.target, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(distiller.augment(given, y)), rows)
    flipped = rows.copy()
    flipped[..., -1] = 1 - flipped[..., -1]
    assert (distiller.teacher_.predict(flipped) != rewards).all()


def test_response_features_are_named_once(pairs):
    inner = DirectNoiseAugmenter(n_response_features=2)
    with pytest.raises(ValueError, match="augmenter's n_response_features=2 has no effect beside"):
        DistillationAugmenter(inner, factor=2).fit_transform(pairs)
    same = DistillationAugmenter(inner, factor=2, n_response_features=2).fit(pairs)
    assert same.augmenter_.scale_.shape == (10,)
    with pytest.raises(ValueError, match="n_response_features=12, but X has 12 features"):
        DistillationAugmenter(factor=2, n_response_features=12).fit_transform(pairs)
