"""Best-of-N: the unbiased estimator, its curve, the scorer and the display."""

import pickle
from itertools import combinations

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import GridSearchCV

from lens_sklearn import BestOfNDisplay, BestOfNScorer, best_of_n_curve, best_of_n_score

few_values = st.integers(-3, 3).map(float)  # small integers, so that ties occur


@st.composite
def scored(draw, max_candidates=6):
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, max_candidates)))
    rewards = draw(arrays(float, shape, elements=few_values))
    gold = draw(arrays(float, shape, elements=st.floats(-5, 5)))
    return rewards, gold


def enumerated(rewards, gold, n):
    """Mean over all subsets of size n of the mean gold among the subset's best."""
    valid = ~np.isnan(rewards)
    rewards, gold = rewards[valid], gold[valid]
    n = min(n, len(rewards))
    # Ties share the mean gold of every candidate of that reward.
    gold = np.array([gold[rewards == reward].mean() for reward in rewards])
    subsets = [list(subset) for subset in combinations(range(len(rewards)), n)]
    return np.mean([gold[subset][np.argmax(rewards[subset])] for subset in subsets])


@given(scored(), st.integers(1, 6))
def test_equals_enumeration_of_all_subsets(data, n):
    rewards, gold = data
    expected = np.mean([enumerated(*row, n) for row in zip(*data, strict=True)])
    assert best_of_n_score(rewards, gold, n) == pytest.approx(expected, abs=1e-9)


@given(scored(), st.integers(1, 6), st.data())
def test_padding_is_as_if_not_there(data, n, more):
    rewards, gold = (values.copy() for values in data)
    mask = more.draw(arrays(bool, rewards.shape))
    mask[:, 0] = False
    rewards[mask] = gold[mask] = np.nan
    expected = np.mean([enumerated(*row, n) for row in zip(rewards, gold, strict=True)])
    assert best_of_n_score(rewards, gold, n) == pytest.approx(expected, abs=1e-9)


@given(scored())
def test_blind_to_monotone_maps_of_the_reward(data):
    rewards, gold = data
    assert best_of_n_score(np.exp(rewards) * 3 - 7, gold) == pytest.approx(
        best_of_n_score(rewards, gold)
    )


@given(scored())
def test_ends_and_bounds(data):
    rewards, gold = data
    assert best_of_n_score(rewards, gold, 1) == pytest.approx(gold.mean())
    distinct = rewards + np.linspace(0, 0.5, rewards.shape[1])
    picked = np.take_along_axis(gold, distinct.argmax(1)[:, None], 1).mean()
    assert best_of_n_score(distinct, gold) == pytest.approx(picked)
    oracle = best_of_n_score(gold, gold)
    assert gold.min(1).mean() - 1e-9 <= best_of_n_score(rewards, gold) <= oracle + 1e-9


def test_large_n_stays_finite_and_oracle_rises():
    gold = np.random.default_rng(0).normal(size=(3, 2000))
    curve = best_of_n_curve(gold, gold, [1, 10, 1000, 2000])
    assert np.isfinite(curve.mean).all()
    assert (np.diff(curve.mean) > 0).all()


def test_weights_weigh_prompts():
    rewards, gold = np.eye(2), np.array([[1.0, 0.0], [0.0, 5.0]])
    assert best_of_n_score(rewards, gold, sample_weight=[1, 3]) == 4.0


# ----------------------------------------------------------------------------- curve
def test_curve_is_the_score_at_each_n():
    rng = np.random.default_rng(0)
    rewards, gold = rng.normal(size=(2, 30, 12))
    curve = best_of_n_curve(rewards, gold, random_state=0)
    assert curve.n.tolist() == [1, 2, 4, 8, 12]
    for n, mean, each in zip(curve.n, curve.mean, curve.per_prompt.T, strict=True):
        assert mean == pytest.approx(best_of_n_score(rewards, gold, n))
        assert each.mean() == pytest.approx(mean)
    assert (curve.lower <= curve.mean).all() and (curve.mean <= curve.upper).all()
    assert curve.kl_bound[0] == 0
    again = best_of_n_curve(rewards, gold, random_state=0)
    np.testing.assert_array_equal(again.lower, curve.lower)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(200):
        gold = rng.normal(size=(60, 2))
        curve = best_of_n_curve(gold, gold, [2], n_bootstrap=300, random_state=seed)
        covered.append(curve.lower[0] <= 1 / np.sqrt(np.pi) <= curve.upper[0])
    assert 0.88 < np.mean(covered) < 0.99


# ------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("rewards", "gold", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 2)), r"\(2, 3\) and \(2, 2\)"),
        (np.ones(3), np.ones(3), "n_prompts, N"),
        ([[1.0, np.nan]], [[1.0, 2.0]], "rewards is NaN in row 0, column 1"),
        ([[1.0], [2.0]], [[1.0], [np.nan]], "gold is NaN in row 1, column 0"),
        ([[1.0, np.inf]], [[1.0, 2.0]], "rewards is infinite in row 0, column 1"),
        ([[1.0], [np.nan]], [[1.0], [np.nan]], "row 1 has no candidate"),
        (np.ones((0, 3)), np.ones((0, 3)), "no prompts"),
    ],
)
def test_bad_input_says_where(rewards, gold, message):
    with pytest.raises(ValueError, match=message):
        best_of_n_score(rewards, gold)


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_bad_n_is_named(n):
    with pytest.raises(ValueError, match=f"n={n}"):
        best_of_n_score([[1.0]], [[1.0]], n)


# ---------------------------------------------------------------------------- scorer
class Scaled(BaseEstimator):
    """Rewards are the first feature, times a parameter."""

    def __init__(self, factor=1):
        self.factor = factor

    def fit(self, X, y=None):
        return self

    def predict(self, X):
        return self.factor * np.asarray(X)[..., 0]

    def score(self, X, y=None):
        return 0.0


@pytest.mark.parametrize("routing", [False, True])
def test_scorer_in_grid_search(candidates, routing):
    scorer = BestOfNScorer(*candidates)
    assert check_scoring(Scaled(), scoring=scorer) is scorer
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(Scaled(), {"factor": [-1, 1]}, scoring=scorer, cv=2)
        assert search.fit(np.ones((4, 2, 12))).best_params_ == {"factor": 1}
        oracle = candidates[1].max(axis=1).mean()
        assert search.best_score_ == pytest.approx(oracle)
        both = {"best_of_n": scorer, "best_of_2": BestOfNScorer(*candidates, n=2)}
        search = GridSearchCV(Scaled(), {"factor": [-1, 1]}, scoring=both, refit="best_of_2", cv=2)
        assert search.fit(np.ones((4, 2, 12))).best_params_ == {"factor": 1}


def test_scorer_pickles_and_shows_itself(candidates):
    scorer = pickle.loads(pickle.dumps(BestOfNScorer(*candidates, n=4)))
    assert repr(scorer) == "BestOfNScorer(<10 prompts>, n=4)"
    assert scorer(Scaled()) == BestOfNScorer(*candidates, n=4)(Scaled())


# --------------------------------------------------------------------------- display
def test_display_draws_what_it_holds(candidates):
    matplotlib = pytest.importorskip("matplotlib", reason="draws")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    display = BestOfNDisplay.from_estimator(Scaled(), *candidates, random_state=0)
    np.testing.assert_array_equal(display.line_.get_ydata(), display.curve.mean)
    np.testing.assert_array_equal(display.line_.get_xdata(), [1, 2, 4, 5])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["Scaled", "oracle", "random"]
    assert display.random == pytest.approx(candidates[1].mean())
    other = display.plot(display.ax_, name="again", plot_reference=False)
    assert other is display
    assert display.figure_ is display.ax_.figure
    plt.close("all")
