"""Whatever numbers an estimator is given: the right answer, or an error that says what to do."""

import re
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

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
    PairClassifier,
    RepeatAugmenter,
    RewardEnsemble,
    VotingRewardRegressor,
    WithinPromptWhitening,
    export,
)
from lens_sklearn._number_checks import check_plain, check_precision

QUICK = dict(hidden_dim=8, max_epochs=3, learning_rate=1e-2, random_state=0)
VAE = ContrastiveVAE(latent_dim=2, hidden_dim=8, max_epochs=3, random_state=0)
LINEAR = LinearRewardRegressor(Cs=[1e-3, 1e-2], cv=2)
ESTIMATORS = [
    AutoRewardRegressor(["linear"], random_state=0),
    BTRewardRegressor(**QUICK),
    VAE,
    DifferenceAugmenter(random_state=0),
    DirectNoiseAugmenter(random_state=0),
    DistillationAugmenter(teacher=LINEAR, factor=2, random_state=0),
    EmbeddingScaler(),
    GPRewardRegressor(0.1),
    GaussianAugmenter(random_state=0),
    LatentPairAugmenter(VAE, random_state=0),
    LINEAR,
    PairClassifier(LINEAR),
    RepeatAugmenter(),
    VotingRewardRegressor([("linear", LINEAR)]),
    RewardEnsemble([("linear", LINEAR), ("same", LINEAR)]),
    WithinPromptWhitening(),
]
ESTIMATORS = {type(e).__name__: e for e in ESTIMATORS}
OF_TEXT = {"LLMEmbedder", "ResponseFeatures", "ResponseViews"}


def test_every_estimator_is_tried():
    assert set(ESTIMATORS) == set(export.CLASSES) - OF_TEXT


def outcome(name, X):
    """Return what an estimator that is fitted on X makes of it, as numbers."""
    estimator = clone(ESTIMATORS[name])
    if "Augmenter" in name:
        return np.asarray(estimator.fit_transform(X))
    estimator.fit(X)
    return (
        estimator.decision_function(X) if hasattr(estimator, "predict") else estimator.transform(X)
    )


def column(X, number, function):
    X = X.copy()
    X[..., number] = function(X[..., number])
    return X


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


# The same numbers in another form: the same answer.
SAME = {
    "read-only": read_only,
    "Fortran": np.asfortranarray,
    "a list": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "float64": lambda X: X.astype(np.float64),
    "long double": lambda X: X.astype(np.longdouble),
    "big-endian": lambda X: X.astype(">f4"),
    "strided": lambda X: np.repeat(X, 2, axis=2)[..., ::2],
}


@pytest.mark.parametrize("form", SAME)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_form_of_an_array_makes_no_difference(name, form, pairs):
    np.testing.assert_allclose(
        outcome(name, SAME[form](pairs)), outcome(name, pairs), rtol=1e-4, atol=1e-5
    )


# Other numbers, that float32 holds: finite answers.
FINITE = {
    "int64": lambda X: (100 * X).astype(int),
    "int8": lambda X: (20 * X).astype(np.int8),
    "float16": lambda X: X.astype(np.float16),
    "bool": lambda X: X > 0,
    "1e-10": lambda X: X * 1e-10,
    "1e10": lambda X: X * 1e10,
    "a constant": lambda X: column(X, 1, lambda c: 0 * c + 0.1),
    "a denormal feature": lambda X: column(X, 1, lambda c: c * np.float32(1e-40)),
    "a tiny feature": lambda X: column(X, 0, lambda c: c * np.float32(1e-25)),
    "an offset of 1e4": lambda X: X.astype(np.float64) + 1e4,
    "two pairs": lambda X: X[:2],
}


@pytest.mark.parametrize("kind", FINITE)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_that_float32_holds(name, kind, pairs):
    if kind == "two pairs" and name == "DistillationAugmenter":
        pytest.skip("its teacher needs more, and says so")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*of (one|equal) |no two groups|.*too few", UserWarning)
        assert np.isfinite(outcome(name, FINITE[kind](pairs))).all()


REFUSED = {
    "denormal": (lambda X: X * np.float32(1e-40), r"goes up to \d\.\d+e-40 .*EmbeddingScaler"),
    "1e19": (lambda X: X * np.float32(1e19), r"feature 10 of X goes up to .*e\+19 \(row 19\)"),
    "one of 1e19": (lambda X: column(X, 5, lambda c: c * np.float32(1e19)), "feature 5 of X goes"),
    "offset of 1e9": (lambda X: X.astype(float) + 1e9, r"feature 0 of X lies around 1e\+09 and d"),
    "an offset of one": (
        lambda X: column(X.astype(float), 7, lambda c: c - 1e9),
        r"feature 7 of X lies around -1e\+09 .* lost where float64 becomes float32.* Embedding",
    ),
    "a list with an offset": (lambda X: (X.astype(float) + 1e9).tolist(), "is lost where float64"),
    "large ints": (
        lambda X: (100 * X.astype(float) + 1e12).astype(int),
        "is lost where int64 becomes float32",
    ),
    "1e-50": (lambda X: X.astype(float) * 1e-50, "is lost where float64"),
    "1e300": (lambda X: X.astype(float) * 1e300, "in row 0, column 0, feature 0 once it is float3"),
    "complex": (lambda X: X + 0j, "Complex data not supported"),
    "no features": (lambda X: X[..., :0], r"shape \(60, 2, 0\), with 0 feature\(s\)"),
    "no pairs": (lambda X: X[:0], r"0 sample\(s\)"),
    "masked": (lambda X: np.ma.masked_array(X, X > 2), "X has masked entries"),
    "times": (lambda X: X.astype("M8[s]"), "X holds datetime64"),
    "None": (
        lambda X: np.where(np.arange(X.size).reshape(X.shape) == 31, None, X.astype(object)),
        "contains NaN in row 1, column 0, feature 7",
    ),
    "partly NaN": (
        lambda X: np.where(np.arange(X.size).reshape(X.shape) == 31, np.nan, X),
        "contains NaN in row 1, column 0, feature 7",
    ),
    "infinite": (
        lambda X: np.where(np.arange(X.size).reshape(X.shape) == 31, -np.inf, X),
        "contains infinity in row 1, column 0, feature 7",
    ),
    "all NaN": (
        lambda X: X * np.nan,
        "every embedding of X is padding|left out are 60 of 60 pairs",
    ),
}
# What works in float64 takes these.
SCALED = {"denormal", "1e19", "one of 1e19", "offset of 1e9", "an offset of one", "1e-50"}
IN_FLOAT64 = {"GPRewardRegressor", "LinearRewardRegressor", "PairClassifier",
              "VotingRewardRegressor", "RewardEnsemble"}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_numbers_are_refused_with_what_to_do(name, kind, pairs):
    change, message = REFUSED[kind]
    X = change(pairs)
    if name == "EmbeddingScaler" and kind in SCALED:
        found = outcome(name, X)
        np.testing.assert_allclose(found.std(axis=(0, 1)), 1, rtol=1e-3)
        return
    if name in IN_FLOAT64 and kind in {"denormal", "1e19", "one of 1e19"}:
        assert np.corrcoef(outcome(name, X), outcome(name, pairs))[0, 1] > 0.999
        return
    if name == "WithinPromptWhitening" and kind in {"denormal", "1e19", "one of 1e19"}:
        np.testing.assert_allclose(outcome(name, X), outcome(name, pairs), rtol=1e-3, atol=1e-4)
        return
    if name == "EmbeddingScaler" and kind == "1e300":
        message = "feature 0 of X has values so large that their squares do not fit into float64"
    with pytest.raises(ValueError, match=message):
        outcome(name, X)


@pytest.mark.parametrize("change", [lambda X: X * 1e-40, lambda X: X * 1e30, lambda X: X + 1e9])
def test_the_remedy_works(change, pairs):
    """What the message says: a scaler in front, which works in float64, gives the same rewards."""
    groups = {"linearrewardregressor__groups": np.arange(len(pairs))}  # folds are by bytes else

    def rewards(X):
        return make_pipeline(EmbeddingScaler(), clone(LINEAR)).fit(X, **groups).predict(X)

    X = pairs.astype(np.float64)
    np.testing.assert_allclose(rewards(change(X)), rewards(X), rtol=1e-3, atol=1e-4)


REWARDS = [name for name, e in ESTIMATORS.items() if hasattr(e, "predict") and "Pair" not in name]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_not_finite_is_refused_after_the_fit(name, value, pairs):
    estimator = clone(ESTIMATORS[name]).fit(pairs)
    bad = pairs.copy()
    bad[4, 1, 3] = value
    methods = ("predict", "decision_function", "predict_proba", "score", "transform", "augment")
    methods = [m for m in methods if hasattr(estimator, m)]
    assert methods
    for method in methods:
        if method == "score" and name == "PairClassifier":
            continue  # by its predict
        with pytest.raises(ValueError, match="in row 4, column 1, feature 3"):
            getattr(estimator, method)(bad)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_that_is_not_finite_names_its_row(name, pairs, candidates):
    reward = clone(ESTIMATORS[name]).fit(pairs * np.float32(1e-12))
    X, gold = candidates
    X = X.copy()
    X[2, 3] = 3e38
    X[5, 1] = np.nan  # padding is no fault
    try:
        found = reward.predict(X)
    except ValueError as error:
        assert re.search(
            r"the reward of row 2, column 3 is .*: the embedding goes up to 3e\+38", str(error)
        )
    else:
        assert np.argwhere(~np.isfinite(found)).tolist() == [[5, 1]]


def test_a_network_whose_reward_overflows(pairs, candidates):
    reward = BTRewardRegressor(**QUICK).fit(pairs * np.float32(1e-12))
    X = candidates[0].copy()
    X[2, 3] = 3e38
    with pytest.raises(ValueError, match=r"the reward of row 2, column 3 is .*EmbeddingScaler"):
        reward.predict(X)
    with pytest.raises(ValueError, match=r"the reward of row 0 is "):
        reward.predict(X[2, 3:4])


def test_float32_is_not_looked_at_twice_and_constants_are_no_loss():
    X = np.full((3, 2, 2), 0.1) + np.array([0.0, 1e-16])
    check_precision(X.astype(np.float32), X)  # differs by what float64 rounds to
    X = np.ones((2, 2, 1)) + np.arange(4).reshape(2, 2, 1) * 1e-5
    check_precision(X.astype(np.float32), X)  # rounded by 6e-8, of 3e-5
    X = np.ones((2, 2, 1)) + np.arange(4).reshape(2, 2, 1) * 1e-7
    with pytest.raises(ValueError, match="feature 0 of X lies around 1 and differs by 3e-07 only"):
        check_precision(X.astype(np.float32), X)
    X = np.concatenate([X, [[[0], [1]], [[2], [3]]]], axis=2)  # beside another it is a constant
    check_precision(X.astype(np.float32), X)
    X[..., 0] = 1 + (X[..., 0] - 1) / 20  # no float32 differs by so little
    with pytest.raises(ValueError, match=r"feature 0 of X lies around 1 and differs by 1.5e-08 on"):
        check_precision(X.astype(np.float32), X)
    check_precision(X.astype(np.float32).astype(np.float32), X.astype(np.float32))
    check_precision(X, X)  # float64 is kept


@pytest.mark.parametrize("size, fits", [(9e-17, False), (2e-16, True), (9e15, True), (2e16, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_range_of_numbers(size, fits, sign):
    X = np.float32([[[sign * size, 0], [0, np.nan]]])
    X[0, 1] = np.nan  # padding is not looked at
    if fits:
        check_precision(X)
    else:
        with pytest.raises(ValueError, match=r"feature 0 of X goes up to .* \(row 0\)"):
            check_precision(X)


def test_plain_numbers():
    check_plain([[1.0]])
    check_plain(np.ma.masked_array([1.0, 2.0]))  # nothing is masked
    with pytest.raises(ValueError, match=r"timedelta64\[s\]; embeddings are numbers"):
        check_plain(np.zeros(2, "m8[s]"))


@pytest.mark.parametrize("kind", ["list", "frame", "dataset"])
def test_rows_of_text_are_told_what_they_lack(kind):
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    if kind == "frame":
        rows = pytest.importorskip("pandas").DataFrame(rows)
    if kind == "dataset":
        rows = pytest.importorskip("datasets").Dataset.from_list(rows)
    with pytest.raises(ValueError, match="X has rows of text; embeddings are needed, as LLMEmb"):
        LinearRewardRegressor().fit(rows)
