"""Displays hold numbers, draw them as they are, and need matplotlib only then."""

import sys

import numpy as np
import pytest

from lens_sklearn import (
    BestOfNDisplay,
    Comparison,
    ComparisonDisplay,
    FeatureWeightsDisplay,
    GPRewardRegressor,
    LinearRewardRegressor,
    displays,
)
from lens_sklearn.displays import axes_or_new, save_comparison, save_curves
from lens_sklearn.metrics import best_of_n_curve, best_of_n_score

matplotlib = pytest.importorskip("matplotlib", reason="draws")


@pytest.fixture(autouse=True)
def pyplot():
    """Draw in memory, and close what was drawn."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture
def scored():
    """Return rewards and gold (30, 5), correlated."""
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(30, 5))
    return gold + rng.normal(size=gold.shape), gold


class FirstFeature:
    def predict(self, X):
        return X[..., 0]


def lines_of(ax):
    """Return the drawn lines as {label: (x, y)}."""
    return {line.get_label(): line.get_data() for line in ax.get_lines()}


def labels_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_display_draws_what_it_holds(scored):
    rewards, gold = scored
    display = BestOfNDisplay.from_predictions(rewards, gold, name="mine", random_state=0)
    curve = best_of_n_curve(rewards, gold, random_state=0)
    np.testing.assert_array_equal(display.curve.lower, curve.lower)
    lines = lines_of(display.ax_)
    assert list(lines) == labels_of(display.ax_) == ["mine", "oracle", "random"]
    np.testing.assert_array_equal(lines["mine"], (curve.n, curve.mean))
    oracle = [best_of_n_score(gold, gold, n) for n in (1, 2, 4, 5)]
    np.testing.assert_allclose(lines["oracle"], ([1, 2, 4, 5], oracle))
    np.testing.assert_allclose(lines["random"][1], gold.mean())  # a line across
    assert display.random == pytest.approx(gold.mean())
    np.testing.assert_array_equal(display.line_.get_data(), lines["mine"])
    assert display.figure_ is display.ax_.figure


def test_the_band_is_the_interval(scored):
    display = BestOfNDisplay.from_predictions(*scored, random_state=0)
    (band,) = display.ax_.collections
    drawn = {tuple(vertex) for vertex in band.get_paths()[0].vertices}
    curve = display.curve
    assert drawn >= set(zip(curve.n, curve.lower, strict=True))
    assert drawn >= set(zip(curve.n, curve.upper, strict=True))
    np.testing.assert_array_equal(band.get_facecolor()[0, :3], matplotlib.colors.to_rgb("C0"))


def test_axes_say_what_they_show(scored):
    ax = BestOfNDisplay.from_predictions(*scored).ax_
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "2", "4", "5"]
    assert "candidates" in ax.get_xlabel() and "gold" in ax.get_ylabel()


def test_from_estimator_scores_the_candidates(candidates):
    display = BestOfNDisplay.from_estimator(FirstFeature(), *candidates, ns=[1, 3], random_state=0)
    X, gold = candidates
    assert labels_of(display.ax_)[0] == display.name == "FirstFeature"
    expected = best_of_n_curve(X[..., 0], gold, [1, 3], random_state=0)
    np.testing.assert_array_equal(display.line_.get_data(), (expected.n, expected.mean))
    np.testing.assert_array_equal(display.curve.upper, expected.upper)


def test_two_curves_on_the_same_axes(scored, pyplot):
    first = BestOfNDisplay.from_predictions(*scored, name="first")
    second = BestOfNDisplay.from_predictions(
        *scored, name="second", ax=first.ax_, plot_reference=False
    )
    assert second.ax_ is first.ax_
    assert labels_of(first.ax_) == ["first", "oracle", "random", "second"]
    assert len(pyplot.get_fignums()) == 1
    again = first.plot(name="again", plot_reference=False, color="r", marker="s")
    assert again is first and labels_of(again.ax_) == ["again"]
    assert (again.line_.get_color(), again.line_.get_marker()) == ("r", "s")
    assert len(pyplot.get_fignums()) == 2
    X = np.stack([scored[0], scored[0]], axis=-1)
    alone = BestOfNDisplay.from_estimator(FirstFeature(), X, scored[1], plot_reference=False)
    assert labels_of(alone.ax_) == ["FirstFeature"]


def test_drawing_leaves_the_global_generator_alone(scored):
    _, before, position, *_ = np.random.get_state()
    BestOfNDisplay.from_predictions(*scored, random_state=0)
    _, after, now, *_ = np.random.get_state()
    np.testing.assert_array_equal(after, before)
    assert now == position


def test_curves_are_saved_with_references_once(scored, tmp_path, pyplot, monkeypatch):
    figures = []
    figure_class = matplotlib.figure.Figure

    class Figure(figure_class):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            figures.append(self)

    monkeypatch.setattr(matplotlib.figure, "Figure", Figure)
    rewards, gold = scored
    path = tmp_path / "curves.png"
    named = [("one", rewards), ("two", -rewards)]
    shortcuts = {"longest": gold}
    save_curves(named, gold, path, ns=[1, 4], where=", split 0", shortcuts=shortcuts)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not pyplot.get_fignums()  # none is left open
    (ax,) = figures[0].axes
    assert labels_of(ax) == ["one", "oracle", "random", "longest", "two"]
    lines = lines_of(ax)
    assert len(ax.get_lines()) == 5
    for name, sign in (("one", 1), ("two", -1)):
        expected = [best_of_n_score(sign * rewards, gold, n) for n in (1, 4)]
        np.testing.assert_allclose(lines[name], ([1, 4], expected))
    assert ax.get_title() == "Best-of-n on 30 prompts, split 0"
    lower = best_of_n_curve(rewards, gold, [1, 4], random_state=0).lower
    drawn = {tuple(vertex) for vertex in ax.collections[0].get_paths()[0].vertices}
    assert drawn >= set(zip([1, 4], lower, strict=True))


def test_axes_are_made_only_where_none_are_given(pyplot):
    ax = axes_or_new(None)
    assert ax.figure.number in pyplot.get_fignums()
    assert axes_or_new(ax) is ax
    assert len(pyplot.get_fignums()) == 1


def test_shortcuts_are_references(scored, candidates):
    rewards, gold = scored
    shortcuts = {"longest": -gold, "shortest": gold}
    display = BestOfNDisplay.from_predictions(rewards, gold, name="mine", shortcuts=shortcuts)
    assert labels_of(display.ax_) == ["mine", "oracle", "random", "longest", "shortest"]
    lines = lines_of(display.ax_)
    expected = [best_of_n_score(-gold, gold, n) for n in (1, 2, 4, 5)]
    np.testing.assert_allclose(lines["longest"], ([1, 2, 4, 5], expected))
    np.testing.assert_array_equal(display.shortcuts["shortest"].mean, display.oracle.mean)
    styles = [line.get_linestyle() for line in display.ax_.get_lines()]
    assert styles[3] == "-." and styles.count("-.") == 1
    alone = display.plot(plot_reference=False)
    assert labels_of(alone.ax_) == ["mine"]
    X, gold = candidates
    drawn = BestOfNDisplay.from_estimator(FirstFeature(), X, gold, shortcuts={"worst": -gold})
    assert labels_of(drawn.ax_)[-1] == "worst"


@pytest.mark.parametrize("draw", ["display", "axes", "file"])
def test_without_matplotlib_the_extra_is_named(draw, scored, tmp_path, monkeypatch):
    for module in ("pyplot", "figure"):
        monkeypatch.setitem(sys.modules, f"matplotlib.{module}", None)
    rewards, gold = scored
    with pytest.raises(ImportError, match=r'pip install "lens-sklearn\[plot\]"'):
        if draw == "display":
            BestOfNDisplay.from_predictions(rewards, gold)
        elif draw == "axes":
            axes_or_new(None)
        else:
            save_curves([("one", rewards)], gold, tmp_path / "curves.png")


def test_the_public_surface():
    assert displays.__all__ == ["BestOfNDisplay", "ComparisonDisplay", "FeatureWeightsDisplay"]


# ------------------------------------------------------------------------------- a comparison
def compared(*, with_curves=True, n_matched=5):
    """Return a comparison of three methods, by hand."""
    table = [
        {
            "method": name,
            "label": name.upper(),
            "accuracy": 0.7 + difference,
            "accuracy_difference": difference,
            "accuracy_difference_half_width": 0.1,
            "length_matched_difference": -difference,
            "length_matched_difference_half_width": 0.2,
        }
        for name, difference in (("random", -0.2), ("linear", 0.0), ("gp", 0.05))
    ]
    curve = {"n_pairs": [25.0, 50.0, 100.0], "accuracy": [0.6, 0.65, 0.7]}
    curve |= {"accuracy_half_width": [0.1, 0.1, 0.1], "accuracy_gain": [0.05, 0.02]}
    curves = {"linear": curve} if with_curves else {}
    return Comparison(table, "linear", curves, {"length_matched": n_matched}, {}, {})


def points_of(ax):
    """Return {label: (x, y)} of points with error bars."""
    return {c.get_label(): c.lines[0].get_xydata().T for c in ax.containers}


def test_a_comparison_is_drawn_as_it_is(pyplot):
    display = ComparisonDisplay(compared()).plot()
    left, right = display.axes_
    points = points_of(left)
    np.testing.assert_allclose(points["all pairs"][0], [0, 0.05])  # random is no row
    np.testing.assert_allclose(points["equal length"][0], [0, -0.05])
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["LINEAR  0.700", "GP  0.750"]
    assert left.yaxis_inverted() and "less that of LINEAR" in left.get_xlabel()
    np.testing.assert_allclose(points_of(right)["LINEAR"][1], [0.6, 0.65, 0.7])
    (dotted,) = [line for line in right.get_lines() if line.get_linestyle() == ":"]
    np.testing.assert_allclose(dotted.get_data(), ([100, 200], [0.7, 0.75]))
    assert [text.get_text() for text in right.get_xticklabels()] == ["25", "50", "100", "200"]
    assert display.figure_ is left.figure


def test_a_comparison_without_curves_or_lengths_has_one_panel(pyplot):
    display = ComparisonDisplay(compared(with_curves=False, n_matched=0)).plot()
    assert len(display.axes_) == 1 and list(points_of(display.axes_[0])) == ["all pairs"]
    given = pyplot.subplots(1, 2)[1]
    assert ComparisonDisplay(compared()).plot(given).axes_ is given


def test_a_comparison_is_saved(tmp_path):
    save_comparison(compared(), tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_the_largest_weights_are_drawn_first_and_what_is_controlled_says_so():
    display = FeatureWeightsDisplay([0.1, -2.0, 0.0], ["a", "b", "c"], [0.0, 0.0, 1.0])
    ax = display.plot(max_features=2).ax_
    assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "c (controlled)"]
    assert [bar.get_width() for bar in ax.patches] == [-2.0, 1.0]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, True]


def test_weights_are_those_of_the_reward():
    pairs = np.random.default_rng(0).normal(size=(60, 2, 5))
    pairs[..., 3] += [1.0, 0.0]
    reward = LinearRewardRegressor(n_response_features=3, controlled=[-1]).fit(pairs)
    display = FeatureWeightsDisplay.from_estimator(reward, ["u", "v", "w"])
    np.testing.assert_array_equal(display.weights, reward.coef_[-3:])
    assert display.weights.argmax() == 1
    assert display.weights[2] == 0
    np.testing.assert_array_equal(display.controlled, [0, 0, reward.control_coef_[0]])


def test_names_must_be_those_of_the_features():
    pairs = np.random.default_rng(0).normal(size=(20, 2, 3))
    reward = LinearRewardRegressor().fit(pairs)
    with pytest.raises(ValueError, match="n_response_features=0, and there are 2 names"):
        FeatureWeightsDisplay.from_estimator(reward, ["a", "b"])
    gp = GPRewardRegressor(n_response_features=3)
    with pytest.raises(TypeError, match="a GPRewardRegressor has no weights.*LinearReward"):
        FeatureWeightsDisplay.from_estimator(gp, ["u", "v", "w"])
    with pytest.raises(ValueError, match="1 weights of 2 names"):
        FeatureWeightsDisplay([1.0], ["a", "b"])
