"""Displays hold numbers, draw them as they are, and need matplotlib only then."""

import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline

import lens_sklearn
from lens_sklearn import (
    AblationDisplay,
    BestOfNComparisonDisplay,
    BestOfNDisplay,
    BTRewardRegressor,
    Comparison,
    ComparisonDisplay,
    ContrastiveVAE,
    DataMultiplierDisplay,
    FeatureWeightsDisplay,
    GPRewardRegressor,
    LatentPairAugmenter,
    LatentSpaceDisplay,
    LinearRewardRegressor,
    PairCalibrationDisplay,
    PairClassifier,
    RewardLengthDisplay,
    TrainingHistoryDisplay,
    VotingRewardRegressor,
    displays,
)
from lens_sklearn._statistics import wilson_interval
from lens_sklearn.displays import axes_or_new, mean_curve, save_comparison, save_curves
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


def ends_of(ax):
    """Return {name: text} of what stands at the ends of lines."""
    return {text.get_text().splitlines()[0]: text for text in ax.texts}


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


@pytest.fixture
def figures(monkeypatch):
    """Return the list of figures that are made without pyplot."""
    made = []
    figure_class = matplotlib.figure.Figure

    class Figure(figure_class):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(matplotlib.figure, "Figure", Figure)
    return made


def test_curves_are_saved_with_references_once(scored, tmp_path, pyplot, figures):
    rewards, gold = scored
    path = tmp_path / "curves.png"
    named = [("one", rewards), ("two", -rewards)]
    shortcuts = {"longest": gold}
    save_curves(named, gold, path, ns=[1, 4], where=", split 0", shortcuts=shortcuts)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not pyplot.get_fignums()  # none is left open
    (ax,) = figures[0].axes
    assert sorted(ends_of(ax)) == ["longest", "one", "oracle", "random", "two"]
    assert len(ax.get_lines()) == 5
    lines = [line.get_ydata() for line in ax.get_lines()]
    for sign in (1, -1):
        expected = [best_of_n_score(sign * rewards, gold, n) for n in (1, 4)]
        assert any(np.allclose(expected, y) for y in lines)
    assert ax.get_title() == "Best-of-n on 30 prompts, split 0"


@pytest.mark.parametrize("n_splits", [1, 3])
def test_curves_of_splits_are_saved_as_their_mean(n_splits, scored, tmp_path, figures):
    rewards, gold = scored
    named = [("one", [rewards + i * gold for i in range(n_splits)])]
    shortcuts = {"longest": [gold] * n_splits}
    path = tmp_path / "curves.png"
    save_curves(named, [gold] * n_splits, path, ns=[1, 4], shortcuts=shortcuts)
    (ax,) = figures[0].axes
    mean = np.mean([best_of_n_score(values, gold, 4) for values in named[0][1]])
    assert any(line.get_ydata()[-1] == pytest.approx(mean) for line in ax.get_lines())
    splits = ", mean of 3 splits" if n_splits > 1 else ""
    assert ax.get_title() == f"Best-of-n on 30 prompts{splits}"


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
    names = [name for name in displays.__all__ if name != "MeanCurve"]
    assert names == [name for name in lens_sklearn.__all__ if name.endswith("Display")]
    assert displays.__all__ == sorted(displays.__all__)


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
    assert ComparisonDisplay(compared()).plot(given).axes_.tolist() == given.tolist()


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


# -------------------------------------------------------------------- several rewards side by side
def test_curves_are_named_at_their_ends_and_in_no_other_place(scored, pyplot):
    rewards, gold = scored
    given = {"good": rewards, "gold": gold, "bad": -gold}
    display = BestOfNComparisonDisplay.from_predictions(
        given, gold, shortcuts={"longest": -rewards}, random_state=0
    )
    ax = display.ax_
    assert list(display.curves) == list(display.lines_) == list(given)
    assert sorted(ends_of(ax)) == ["bad", "gold", "good", "longest", "oracle", "random"]
    assert ax.get_legend() is None and len(pyplot.get_fignums()) == 1
    for name, values in given.items():
        expected = best_of_n_curve(values, gold, random_state=0)
        np.testing.assert_array_equal(display.curves[name].lower, expected.lower)
        np.testing.assert_array_equal(display.lines_[name].get_ydata(), expected.mean)
    styles = {(line.get_linestyle(), line.get_marker()) for line in display.lines_.values()}
    assert len(styles) == 3  # apart in gray, too
    assert display.random == pytest.approx(gold.mean())
    alone = display.plot(plot_reference=False)
    assert sorted(ends_of(alone.ax_)) == ["bad", "gold", "good"]


def test_labels_do_not_lie_over_each_other_and_keep_their_order(scored):
    rewards, gold = scored
    given = {f"method {i}": rewards + 1e-3 * i * gold for i in range(8)}
    display = BestOfNComparisonDisplay.from_predictions(given, gold, n_bootstrap=2, random_state=0)
    display.figure_.draw_without_rendering()
    # Of the letters, without the lines that lead to them.
    boxes = [matplotlib.text.Text.get_window_extent(label) for label in display.labels_]
    inside = display.ax_.get_window_extent()
    assert all(box.x0 >= inside.x1 for box in boxes)
    assert all(box.x1 <= display.figure_.bbox.x1 for box in boxes)
    ends = np.argsort([label.xy[1] for label in display.labels_], kind="stable")
    boxes = [boxes[i] for i in ends]  # as the lines end, from bottom to top
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))
    assert len(boxes) == 10


def test_without_a_layout_names_are_in_a_legend(pyplot):
    # Labels beside the axes would be cut off, or lie on the next axes.
    ax = pyplot.subplots()[1]
    display = DataMultiplierDisplay.from_scores([1, 2], {"a": [0, 1], "b": [0.5, 1]}, ax=ax)
    assert labels_of(ax) == ["a", "b, 1× at 2"] and not ax.texts
    assert [text.get_text() for text in display.labels_] == labels_of(ax)


def test_estimators_score_the_candidates(candidates):
    X, gold = candidates
    reward = LinearRewardRegressor().fit(X[:, :2])
    display = BestOfNComparisonDisplay.from_estimators(
        {"linear": reward, "first": FirstFeature()}, X, gold, ns=[5], random_state=0
    )
    assert display.curves["first"].mean == pytest.approx(best_of_n_score(X[..., 0], gold))
    assert display.curves["linear"].mean == pytest.approx(reward.score(X, gold))


def test_a_curve_of_splits_is_their_mean_with_students_interval(scored):
    rewards, gold = scored
    halves = [rewards[:10], rewards[10:15], rewards[15:]]
    golds = [gold[:10], gold[10:15], gold[15:, :]]
    curve = mean_curve(halves, golds, [1, 3], confidence=0.9)
    each = [[best_of_n_score(r, g, n) for n in (1, 3)] for r, g in zip(halves, golds, strict=True)]
    np.testing.assert_allclose(curve.per_split, each)
    np.testing.assert_allclose(curve.mean, np.mean(each, axis=0))
    expected = stats.t.ppf(0.95, 2) * stats.sem(np.array(each), axis=0)
    np.testing.assert_allclose(curve.upper - curve.mean, expected)
    np.testing.assert_allclose(curve.mean - curve.lower, expected)
    display = BestOfNComparisonDisplay.from_splits({"mine": halves}, golds)
    assert display.curves["mine"].n.tolist() == [1, 2, 4, 5]
    assert display.random == pytest.approx(np.mean([g.mean() for g in golds]))


def test_what_does_not_fit_is_named(scored):
    rewards, gold = scored
    from_predictions = BestOfNComparisonDisplay.from_predictions
    with pytest.raises(ValueError, match="short: rewards and gold must both have"):
        from_predictions({"fine": rewards, "short": rewards[:3]}, gold)
    with pytest.raises(TypeError, match="rewards must be a dict .* got a ndarray"):
        from_predictions(rewards, gold)
    with pytest.raises(ValueError, match="rewards is empty"):
        from_predictions({}, gold)
    with pytest.raises(ValueError, match="rewards of 1 splits and gold of 2"):
        BestOfNComparisonDisplay.from_splits({"one": [rewards]}, [gold, gold])
    with pytest.raises(ValueError, match="one: split 1: rewards and gold"):
        BestOfNComparisonDisplay.from_splits({"one": [rewards, rewards[:2]]}, [gold, gold])


# ------------------------------------------------------------------------------ training histories
@pytest.fixture(scope="module")
def trained():
    """Return a fitted pipeline of synthesis and a network, and its pairs (60, 2, 6)."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(60, 2, 6)).astype(np.float32)
    pairs[:, 0, 0] += 0.3
    vae = ContrastiveVAE(latent_dim=3, max_epochs=3, gamma=0.5, learning_rate=1e-3)
    augmenter = LatentPairAugmenter(vae, factor=2, noise_variance=0.5, random_state=0)
    reward = BTRewardRegressor(8, learning_rate=0.1, max_epochs=30, patience=3, random_state=0)
    return Pipeline([("augment", augmenter), ("reward", reward)]).fit(pairs), pairs


def test_a_pipeline_has_the_histories_of_its_networks(trained):
    pipeline, _ = trained
    display = TrainingHistoryDisplay.from_estimator(pipeline)
    assert list(display.losses) == ["ContrastiveVAE", "BTRewardRegressor"]
    history = pipeline["augment"].vae_.history_
    for key in ("loss", "reconstruction", "kl", "divergence"):
        expected = [row[key] for row in history]
        np.testing.assert_array_equal(display.losses["ContrastiveVAE"][key], expected)
    assert display.epochs["ContrastiveVAE"].tolist() == [1, 2, 3]
    first, second = display.axes_
    assert list(ends_of(first)) == ["loss", "reconstruction", "KL", "divergence"]
    assert list(ends_of(second)) == ["train", "held out"]
    valid = np.array([row["valid_loss"] for row in pipeline["reward"].history_])
    np.testing.assert_array_equal(second.get_lines()[1].get_ydata(), valid)
    best = display.best_epochs["BTRewardRegressor"]
    assert best == 1 + valid.argmin() == len(valid) - 3  # patience=3 epochs later it stopped
    assert second.get_lines()[2].get_xdata() == [best, best]
    assert second.get_title() == f"BTRewardRegressor, epoch {best} kept"
    assert display.best_epochs["ContrastiveVAE"] is None


def test_the_epoch_kept_is_that_of_early_stopping():
    # 0.49999 is less than a ten thousandth better than 0.5: early stopping keeps the second.
    valid = [0.7, 0.5, 0.49999, 0.6]
    history = [{"epoch": i, "train_loss": 1.0, "valid_loss": v} for i, v in enumerate(valid, 1)]
    assert TrainingHistoryDisplay({"net": history}).best_epochs == {"net": 2}
    history[2]["valid_loss"] = 0.4999
    assert TrainingHistoryDisplay({"net": history}).best_epochs == {"net": 3}


def test_networks_are_found_wherever_they_stand(trained, pyplot):
    pipeline, pairs = trained
    net = BTRewardRegressor(4, max_epochs=2, early_stopping=False, random_state=0)
    voting = VotingRewardRegressor([("a", net), ("b", net), ("c", LinearRewardRegressor())])
    classifier = PairClassifier(voting).fit(pairs)
    display = TrainingHistoryDisplay.from_estimator(classifier)
    assert list(display.losses) == ["a: BTRewardRegressor", "b: BTRewardRegressor"]
    assert display.best_epochs["a: BTRewardRegressor"] is None  # no early stopping
    search = GridSearchCV(net, {"hidden_dim": [2]}, cv=2).fit(pairs)
    given = pyplot.subplots()[1]
    found = TrainingHistoryDisplay.from_estimator(search, axes=given)
    assert list(found.losses) == ["BTRewardRegressor"] and found.axes_[0] is given
    twice = make_pipeline(pipeline["augment"], pipeline["augment"])
    assert list(TrainingHistoryDisplay.from_estimator(twice).losses) == ["ContrastiveVAE"]
    again = make_pipeline(pipeline["augment"], LatentPairAugmenter(ContrastiveVAE(max_epochs=1)))
    again.steps[1][1].fit(pairs)
    names = list(TrainingHistoryDisplay.from_estimator(again).losses)
    assert names == ["ContrastiveVAE", "ContrastiveVAE 2"]


def test_a_trainers_log_ends_with_a_row_without_losses():
    log = [{"loss": 0.7, "epoch": 0.5}, {"loss": 0.6, "epoch": 1.0}, {"train_runtime": 3.0}]
    display = TrainingHistoryDisplay({"trainer": log})
    assert display.losses["trainer"]["loss"].tolist() == [0.7, 0.6]
    assert display.epochs["trainer"].tolist() == [0.5, 1.0]


def test_what_has_no_history_says_so(trained, pyplot):
    for estimator in (BTRewardRegressor(), LinearRewardRegressor(), FirstFeature()):
        with pytest.raises(TypeError, match=f"history in this {type(estimator).__name__}; give"):
            TrainingHistoryDisplay.from_estimator(estimator)
    with pytest.raises(ValueError, match="history of net has no epochs"):
        TrainingHistoryDisplay({"net": []})
    with pytest.raises(ValueError, match="no loss in every epoch.* first epoch has accuracy"):
        TrainingHistoryDisplay({"net": [{"accuracy": 1.0}]})
    with pytest.raises(ValueError, match="1 axes for 2 networks, ContrastiveVAE, BTReward"):
        TrainingHistoryDisplay.from_estimator(trained[0], axes=pyplot.subplots()[1])


# ------------------------------------------------------------------------------------ latent space
def test_the_plane_is_that_of_the_principal_components():
    latents = np.zeros((4, 2, 3))
    latents[:, 0, 1], latents[:, 1, 1] = 3, -3  # the largest
    latents[:, :, 2] = [[1, 1], [-1, -1], [1, 1], [-1, -1]]
    synthetic = np.array([[[5.0, 3, 1], [0, -3, -1]]])
    display = LatentSpaceDisplay.from_latents(latents, synthetic)
    np.testing.assert_allclose(np.abs(display.points[..., 0]), 3, atol=1e-12)
    np.testing.assert_allclose(np.abs(display.points[..., 1]), 1, atol=1e-12)
    assert (display.points[:, 0, 0] > 0).all()  # chosen ones to the right
    turned = LatentSpaceDisplay(latents[:, ::-1])
    np.testing.assert_allclose(turned.points[:, ::-1, 0], -display.points[..., 0], atol=1e-12)
    # What the plane does not show, 5 of the first coordinate, is not there.
    np.testing.assert_allclose(np.abs(display.synthetic_points), [[[3, 1], [3, 1]]], atol=1e-12)
    np.testing.assert_allclose(display.explained_variance_ratio, [0.9, 0.1])
    assert display.distance == pytest.approx(6)
    assert display.head_distance is None
    assert labels_of(display.ax_) == [
        "chosen, synthetic", "chosen", "rejected, synthetic", "rejected"
    ]  # fmt: skip
    assert [t.get_text() for t in display.ax_.texts] == ["centroids apart 6.00"]
    assert len(display.ax_.collections) == 6  # with the centroids


def test_one_latent_dimension_has_a_plane_too():
    display = LatentSpaceDisplay([[[1.0], [0.0]], [[2.0], [0.0]]])
    assert (display.points[..., 1] == 0).all()
    np.testing.assert_allclose(display.explained_variance_ratio, [1, 0])
    constant = LatentSpaceDisplay(np.ones((3, 2, 2)))
    assert constant.distance == 0 and (constant.explained_variance_ratio == 0).all()


def test_latents_are_those_of_the_autoencoder(trained):
    pipeline, pairs = trained
    vae = pipeline["augment"].vae_
    display = LatentSpaceDisplay.from_estimator(pipeline, pairs, n_synthetic=2, random_state=0)
    z = vae.transform(pairs).astype(float)
    gap = (z[:, 0] - z[:, 1]).mean(axis=0)
    assert display.distance == pytest.approx(np.linalg.norm(gap))
    # Each embedding read by either head.
    rows = pairs.reshape(-1, 1, 6).repeat(2, axis=1)
    z = vae.transform(rows).astype(float)
    heads = np.linalg.norm((z[:, 0] - z[:, 1]).mean(axis=0))
    assert display.head_distance == pytest.approx(heads, rel=1e-4)
    assert display.points.shape == (60, 2, 2) and display.synthetic_points.shape == (120, 2, 2)

    # noise_variance is the augmenter's, and can be another one.
    def noise(display):
        moved = display.synthetic_points.reshape(60, -1, 2, 2) - display.points[:, None]
        return moved.var()

    def drawn(estimator, **kwargs):
        return LatentSpaceDisplay.from_estimator(estimator, pairs, random_state=0, **kwargs)

    alone = drawn(vae, noise_variance=0.5)
    np.testing.assert_allclose(
        drawn(pipeline["augment"]).synthetic_points, alone.synthetic_points, rtol=1e-5, atol=1e-5
    )
    assert noise(alone) > 10 * noise(drawn(vae))
    assert drawn(vae, n_synthetic=0).synthetic_points is None


def test_one_head_for_both_columns_tells_nothing_apart():
    pairs = np.random.default_rng(0).normal(size=(20, 2, 4)).astype(np.float32)
    vae = ContrastiveVAE(2, sharing="all", max_epochs=1, random_state=0).fit(pairs)
    pairs[3, 1] = np.nan  # a dropped text
    display = LatentSpaceDisplay.from_estimator(vae, pairs, n_synthetic=0)
    assert display.head_distance == pytest.approx(0, abs=1e-6)
    assert len(display.points) == 19


def test_of_augmented_pairs_the_originals_count(trained):
    pipeline, pairs = trained
    augmented = pipeline["augment"].augment(pairs)
    assert len(augmented) == 120
    display = LatentSpaceDisplay.from_estimator(pipeline, augmented, random_state=0)
    np.testing.assert_array_equal(
        display.points, LatentSpaceDisplay.from_estimator(pipeline, pairs, random_state=0).points
    )


def test_latents_that_make_no_sense_are_refused(trained):
    pipeline, pairs = trained
    from_estimator = LatentSpaceDisplay.from_estimator
    for estimator in (ContrastiveVAE(), LinearRewardRegressor(), make_pipeline(FirstFeature())):
        with pytest.raises(TypeError, match="no fitted autoencoder in this"):
            from_estimator(estimator, pairs)
    with pytest.raises(ValueError, match=r"pairs of shape \(n, 2, d\).* got shape \(60, 6\)"):
        from_estimator(pipeline, pairs[:, 0])
    with pytest.raises(ValueError, match="noise_variance has no effect with n_synthetic=0"):
        from_estimator(pipeline, pairs, n_synthetic=0, noise_variance=1.0)
    with pytest.raises(ValueError, match="n_synthetic=1.5"):
        from_estimator(pipeline, pairs, n_synthetic=1.5)
    with pytest.raises(ValueError, match=r"latents must have the shape \(n, 2, k\)"):
        LatentSpaceDisplay(np.ones((3, 3, 2)))
    with pytest.raises(ValueError, match="synthetic have 3 dimensions, and the real latents 2"):
        LatentSpaceDisplay(np.ones((3, 2, 2)), np.ones((3, 2, 3)))
    with pytest.raises(ValueError, match="latents are not finite in row 1"):
        LatentSpaceDisplay([[[0.0], [1.0]], [[np.nan], [0.0]]])


# ------------------------------------------------------------------------------------- calibration
def test_pairs_are_turned_to_the_favored_side():
    p = np.array([0.95, 0.05, 0.95, 0.62, 0.38, 0.5])
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    display = PairCalibrationDisplay.from_predictions(p, y, n_bins=5)
    assert display.counts.tolist() == [1, 2, 0, 0, 3]
    np.testing.assert_allclose(display.predicted[[0, 1, 4]], [0.5, 0.62, 0.95])
    np.testing.assert_allclose(display.observed[[0, 1, 4]], [0.5, 0.5, 2 / 3])
    assert np.isnan(display.observed[[2, 3]]).all()
    assert display.ece == pytest.approx((2 * 0.12 + 3 * (0.95 - 2 / 3)) / 6)
    # Wilson by hand: 2 of 3.
    z = stats.norm.ppf(0.975)
    center = (2 / 3 + z**2 / 6) / (1 + z**2 / 3)
    half = z * np.sqrt(2 / 9 / 3 + z**2 / 36) / (1 + z**2 / 3)
    np.testing.assert_allclose([display.lower[4], display.upper[4]], [center - half, center + half])
    np.testing.assert_allclose(display.line_.get_xydata(), [[0.5, 0.5], [0.62, 0.5], [0.95, 2 / 3]])
    counts = [text.get_text() for text in display.ax_.texts]
    assert counts == ["n = 1", "2", "0", "0", "3"]


def test_turning_pairs_round_changes_nothing():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(size=40), rng.integers(0, 2, 40)
    turned = rng.random(40) < 0.5
    one = PairCalibrationDisplay.from_predictions(p, y)
    other = PairCalibrationDisplay.from_predictions(
        np.where(turned, 1 - p, p), np.where(turned, 1 - y, y)
    )
    np.testing.assert_allclose(one.observed, other.observed)
    assert one.ece == pytest.approx(other.ece)


def test_calibration_of_an_estimator(trained):
    pipeline, pairs = trained
    display = PairCalibrationDisplay.from_estimator(pipeline, pairs, n_bins=2)
    p = pipeline.predict_proba(pairs)[:, 1]
    right = p > 0.5
    assert display.counts.sum() == 60
    won = np.nan_to_num(display.observed * display.counts).sum()
    assert won == pytest.approx(right.sum())  # column 0 is the chosen one
    assert labels_of(display.ax_) == [f"Pipeline, ECE {display.ece:.3f}"]
    second = PairCalibrationDisplay.from_predictions(
        p, name="again", ax=display.ax_, plot_counts=False, color="r"
    )
    assert second.ax_ is display.ax_ and second.line_.get_color() == "r"
    assert len(display.ax_.texts) == 2  # counts of the first alone


def test_calibration_by_weights():
    p, y, w = [0.9, 0.9, 0.1, 0.6, 0.8], [1, 0, 0, 1, 1], [1.0, 2.0, 1.0, 4.0, 0.0]
    display = PairCalibrationDisplay.from_predictions(p, y, sample_weight=w, n_bins=5)
    assert display.counts.tolist() == [0, 1, 0, 0, 3]  # that of weight 0 is no pair
    assert display.observed[[1, 4]] == pytest.approx([1, 1 / 2])
    assert display.ece == pytest.approx((4 * 0.4 + 4 * 0.4) / 8)
    # Weights 1, 2 and 1 tell as much as 16 / 6 pairs, and one pair as one.
    expected = wilson_interval(np.array([1, 0.5]), np.array([1, 16 / 6]))
    np.testing.assert_allclose((display.lower[[1, 4]], display.upper[[1, 4]]), expected)
    plain = PairCalibrationDisplay.from_predictions(p[:4], y[:4])
    equal = PairCalibrationDisplay.from_predictions(p[:4], y[:4], sample_weight=[0.3] * 4)
    for name in ("counts", "predicted", "observed", "lower", "upper", "ece"):
        np.testing.assert_allclose(getattr(plain, name), getattr(equal, name), equal_nan=True)


def test_weights_of_an_estimators_pairs_are_those_that_are_left(candidates):
    X, _ = candidates
    reward = LinearRewardRegressor().fit(X[:, :2])
    weight = np.arange(1.0, 11)
    dropped = X[:, :2].copy()
    dropped[3, 0] = np.nan
    with pytest.warns(UserWarning, match="1 of 10 pairs"):
        found = PairCalibrationDisplay.from_estimator(reward, dropped, sample_weight=weight)
    kept = np.delete(np.arange(10), 3)
    p = reward.predict_proba(X[kept, :2])[:, 1]
    by_hand = PairCalibrationDisplay.from_predictions(p, sample_weight=weight[kept])
    assert found.ece == pytest.approx(by_hand.ece) and found.weights.sum() == 51


def test_dropped_texts_are_left_out_with_a_warning(candidates):
    X, gold = candidates
    reward = LinearRewardRegressor().fit(X[:, :2])
    X = X.copy()
    X[0, 1] = np.nan
    with pytest.warns(UserWarning, match=r"1 of 50 candidates \(first: row 0, column 1\)"):
        display = BestOfNComparisonDisplay.from_estimators(
            {"first": FirstFeature(), "linear": reward}, X, gold,
            shortcuts={"longest": gold}, random_state=0,
        )  # fmt: skip
    gold_left = gold.copy()
    gold_left[0, 1] = np.nan
    np.testing.assert_allclose(display.oracle.mean[-1], best_of_n_score(gold_left, gold_left))
    np.testing.assert_allclose(display.shortcuts["longest"].mean, display.oracle.mean)
    with pytest.warns(UserWarning, match="1 of 10 pairs"):
        of_pairs = PairCalibrationDisplay.from_estimator(reward, X[:, :2])
    assert of_pairs.counts.sum() == 9
    with pytest.warns(UserWarning, match="1 of 50 candidates"):
        lengths = RewardLengthDisplay.from_estimator(reward, X, np.exp2(gold + 9))
    assert len(lengths.relative_rewards) == 49


def test_probabilities_that_make_no_sense_are_refused():
    from_predictions = PairCalibrationDisplay.from_predictions
    with pytest.raises(ValueError, match=r"probabilities\[1\] is 1.5"):
        from_predictions([0.5, 1.5])
    with pytest.raises(ValueError, match=r"targets\[0\] is 2.0"):
        from_predictions([0.5], [2])
    with pytest.raises(ValueError, match="n_bins=0"):
        from_predictions([0.5], n_bins=0)
    with pytest.raises(ValueError, match="confidence=95"):
        from_predictions([0.5], confidence=95)
    with pytest.raises(TypeError, match="a FirstFeature has no predict_proba"):
        PairCalibrationDisplay.from_estimator(FirstFeature(), np.ones((2, 2, 1)))
    with pytest.raises(ValueError, match="must have the shape"):
        PairCalibrationDisplay([0, 0], [0.5, 0.5], [0.5, 0.5])


# ---------------------------------------------------------------------------- reward and its length
def test_reward_and_length_are_compared_within_prompts():
    lengths = np.array([[1, 2, 4, np.nan], [8, 8, 16, 32], [0, 1, 2, 2]])
    doublings = np.log2(np.maximum(lengths, 1))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=lengths.shape)
    rewards = 100 * np.arange(3)[:, None] + 0.5 * doublings + noise
    display = RewardLengthDisplay.from_predictions(rewards, lengths, name="mine")
    x = doublings - np.nanmean(doublings, axis=1, keepdims=True)
    y = rewards - np.nanmean(rewards, axis=1, keepdims=True)
    x, y = x[~np.isnan(x)], y[~np.isnan(y)]
    np.testing.assert_allclose(display.relative_lengths, x)
    np.testing.assert_allclose(display.relative_rewards, y)
    found = stats.linregress(x, y)
    assert display.correlation == pytest.approx(found.rvalue)
    assert display.slope == pytest.approx(found.slope)
    low, high = display.interval
    assert low < display.correlation < high
    assert display.ax_.get_title().startswith("mine: correlation")
    assert len(display.ax_.collections[0].get_offsets()) == 11


def test_the_interval_is_the_jackknifes():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, (6, 3))
    rewards = rng.normal(size=(6, 3)) + 0.3 * np.log2(lengths)
    whole = RewardLengthDisplay(rewards, lengths)
    left = [
        np.arctanh(RewardLengthDisplay(rewards[keep], lengths[keep]).correlation)
        for keep in ~np.eye(6, dtype=bool)
    ]
    error = np.sqrt(5 / 6 * ((left - np.mean(left)) ** 2).sum())
    center, t = np.arctanh(whole.correlation), stats.t.ppf(0.975, 5)
    np.testing.assert_allclose(whole.interval, np.tanh([center - t * error, center + t * error]))


def test_a_reward_of_length_alone_correlates_wholly_and_a_constant_one_not_at_all():
    lengths = np.array([[10, 20], [5, 80], [7, 9], [3, 4]])
    assert RewardLengthDisplay(np.log2(lengths), lengths).correlation == pytest.approx(1)
    constant = RewardLengthDisplay(np.ones((4, 2)), lengths).plot()
    assert np.isnan(constant.correlation) and constant.slope == 0
    assert np.isnan(RewardLengthDisplay(lengths[:2], lengths[:2]).interval).all()  # two prompts


def test_lengths_are_counted_in_rows_and_asked_for_with_embeddings(candidates):
    class Shortest:
        def predict(self, X):
            return -np.array([[len(text) for text in row["responses"]] for row in X], dtype=float)

    rows = [{"prompt": "p", "responses": ["a", "bbb"]}, {"prompt": "q", "responses": ["cc", "d"]}]
    assert RewardLengthDisplay.from_estimator(Shortest(), rows).slope < 0
    X, gold = candidates
    with pytest.raises(ValueError, match="embeddings have no lengths; give them"):
        RewardLengthDisplay.from_estimator(FirstFeature(), X)
    display = RewardLengthDisplay.from_estimator(FirstFeature(), X, np.exp2(gold + 9))
    assert display.correlation == pytest.approx(1) and display.name == "FirstFeature"


def test_many_responses_are_drawn_as_hexagons():
    rng = np.random.default_rng(0)
    display = RewardLengthDisplay.from_predictions(
        rng.normal(size=(300, 8)), rng.integers(1, 99, (300, 8))
    )
    assert isinstance(display.ax_.collections[0], matplotlib.collections.PolyCollection)


def test_lengths_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"shape \(n_prompts, N\); got \(1, 2\) and \(2,\)"):
        RewardLengthDisplay([[1.0, 2.0]], [1, 2])
    with pytest.raises(ValueError, match="row 0, column 1 .* the length -1"):
        RewardLengthDisplay([[1.0, 2.0]], [[1, -1]])
    with pytest.raises(ValueError, match="row 0, column 0 .* the length nan"):
        RewardLengthDisplay([[1.0, 2.0]], [[np.nan, 1]])
    with pytest.raises(ValueError, match="differ within no prompt"):
        RewardLengthDisplay([[1.0, 2.0], [1, 3]], [[7, 7], [9, 9]])
    with pytest.raises(ValueError, match="no prompt has two responses"):
        RewardLengthDisplay([[1.0, np.nan]], [[1, 2]])


# ----------------------------------------------------------------------------- the data multiplier
def test_the_multiplier_is_read_off_the_baselines_curve():
    sizes = [100, 200, 400]
    scores = {
        "plain": [0.6, 0.7, 0.8],
        "better": [0.7, 0.75, 0.9],  # 200 / 100, 200·√2 / 200, above
        "worse": [0.5, 0.6, 0.65],  # below, 100 / 200, 100·√2 / 400
    }
    display = DataMultiplierDisplay.from_scores(sizes, scores)
    assert display.baseline == "plain" and list(display.multipliers) == ["better", "worse"]
    np.testing.assert_allclose(display.multipliers["better"], [2, np.sqrt(2), 1])
    assert display.bounds["better"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(display.multipliers["worse"], [1, 0.5, np.sqrt(2) / 4])
    assert display.bounds["worse"].tolist() == [-1, 0, 0]
    assert np.isnan(display.multiplier_intervals["better"]).all()  # no splits
    texts = {name: text.get_text() for name, text in ends_of(display.ax_).items()}
    assert texts == {
        "plain": "plain", "better": "better\n1.4× at 200", "worse": "worse\n0.35× at 400"
    }  # fmt: skip
    other = DataMultiplierDisplay(sizes, scores, baseline="better")
    np.testing.assert_allclose(other.multipliers["plain"], [1, 0.5, 0.25 * 2 ** (1 + 1 / 3)])
    assert other.bounds["plain"].tolist() == [-1, 0, 0]


def test_a_dip_of_the_baseline_needs_no_more_pairs_than_before():
    scores = {"plain": [0.6, 0.8, 0.7, 0.9], "other": [0.75, 0.75, 0.85, 0.95]}
    display = DataMultiplierDisplay([1, 2, 4, 8], scores)
    np.testing.assert_allclose(display.multipliers["other"], [2**0.75, 2**0.75 / 2, 2**2.5 / 4, 1])
    flat = DataMultiplierDisplay([1, 2], {"plain": [0.5, 0.5], "other": [0.5, 0.6]})
    assert flat.multipliers["other"].tolist() == [1.0, 1.0]  # the first size has it already
    assert flat.bounds["other"].tolist() == [0, 1]


def test_bounds_are_written_as_such():
    above = DataMultiplierDisplay.from_scores([1, 2], {"plain": [0, 1], "other": [2, 3]})
    assert ends_of(above.ax_)["other"].get_text() == "other\n≥ 2× at 1"
    below = DataMultiplierDisplay.from_scores([1, 2], {"plain": [0, 1], "other": [-2, -1]})
    assert ends_of(below.ax_)["other"].get_text() == "other\n≤ 0.5× at 2"


def test_intervals_are_over_splits_that_all_methods_share():
    rng = np.random.default_rng(0)
    plain = np.array([[0.6], [0.7], [0.8]]) + 0.1 * rng.normal(size=(1, 6))
    # An easy split is as easy for both, so the multiplier is certain and the scores are not.
    display = DataMultiplierDisplay([1, 2, 4], {"plain": plain, "other": plain + 0.05})
    np.testing.assert_allclose(display.multipliers["other"][:2], np.sqrt(2))
    np.testing.assert_allclose(display.multiplier_intervals["other"][:2], np.sqrt(2))
    np.testing.assert_allclose(display.mean["plain"], plain.mean(axis=1))
    expected = stats.t.ppf(0.975, 5) * stats.sem(plain[1])
    assert display.half_width["plain"][1] == pytest.approx(expected)


def test_a_size_that_was_not_run_is_left_out():
    scores = {"plain": [0.6, np.nan, 0.8], "other": [np.nan, 0.7, 0.8]}
    display = DataMultiplierDisplay.from_scores([1, 2, 4], scores)
    np.testing.assert_allclose(display.multipliers["other"], [np.nan, 1, 1])
    lines = display.lines_
    assert len(lines["plain"].get_xdata()) == len(lines["other"].get_xdata()) == 2


def test_learning_curves_of_estimators_are_nested_and_by_prompt(pairs):
    class Counting(LinearRewardRegressor):
        seen = []

        def fit(self, X, y=None, sample_weight=None, *, groups=None):
            Counting.seen.append((X, groups))
            return super().fit(X, y, sample_weight, groups=groups)

    groups = np.arange(60) // 2
    display = DataMultiplierDisplay.from_estimators(
        {"one": Counting(), "two": LinearRewardRegressor()},
        pairs[:20, :, :3],
        pairs[40:, :, :3],
        groups=groups[:20],
        train_sizes=[10, 20],
        n_splits=2,
        random_state=0,
    )
    assert display.scores["one"].shape == (2, 2)
    np.testing.assert_array_equal(display.scores["one"], display.scores["two"])
    assert display.multipliers["two"][0] == pytest.approx(1)
    assert display.score_name == "pair accuracy"
    sizes = [(len(X), len(np.unique(g))) for X, g in Counting.seen]
    assert sizes == [(10, 5), (10, 5), (20, 10), (20, 10)]
    small, large = Counting.seen[0][0], Counting.seen[2][0]
    np.testing.assert_array_equal(large[:10], small)
    assert not np.array_equal(Counting.seen[1][0], small)  # another split
    whole = LinearRewardRegressor().fit(Counting.seen[-1][0], groups=Counting.seen[-1][1])
    assert display.scores["one"][1, 1] == whole.score(pairs[40:, :, :3])


def test_a_comparisons_curves_have_a_multiplier(pyplot):
    found = compared()
    curves = found.curves | {"gp": found.curves["linear"] | {"accuracy": [0.65, 0.7, 0.75]}}
    comparison = Comparison(found.table, "linear", curves, found.counts, {}, {})
    display = DataMultiplierDisplay.from_comparison(comparison)
    np.testing.assert_allclose(display.multipliers["GP"], [2, 2, 1])
    assert display.half_width["GP"].tolist() == [0.1, 0.1, 0.1]
    with pytest.raises(ValueError, match="no learning curve of its reference, linear; it has none"):
        DataMultiplierDisplay.from_comparison(compared(with_curves=False))


def test_curves_that_make_no_sense_are_refused(pairs):
    with pytest.raises(ValueError, match=r"sizes must be .* ascending; got \[2.0, 1.0\]"):
        DataMultiplierDisplay([2, 1], {"a": [0, 1]})
    with pytest.raises(ValueError, match=r"scores of a must have the shape \(2,\)"):
        DataMultiplierDisplay([1, 2], {"a": [0, 1, 2]})
    with pytest.raises(ValueError, match="the same splits"):
        DataMultiplierDisplay([1, 2], {"a": [0, 1], "b": [[0, 1], [1, 2]]})
    with pytest.raises(ValueError, match="scores of a are not finite at size number 1"):
        DataMultiplierDisplay([1, 2], {"a": [[0, 1], [np.nan, 2]]})
    with pytest.raises(ValueError, match="baseline='c' has no scores; those are of a"):
        DataMultiplierDisplay([1, 2], {"a": [0, 1]}, baseline="c")
    with pytest.raises(ValueError, match="half_width of a must have the shape"):
        DataMultiplierDisplay([1, 2], {"a": [0, 1]}, half_width={"a": [0]})
    one = {"one": LinearRewardRegressor()}
    with pytest.raises(ValueError, match="train_sizes goes to 61, but there are 60 pairs"):
        DataMultiplierDisplay.from_estimators(one, pairs, pairs, train_sizes=[5, 61])
    with pytest.raises(ValueError, match=r"groups must have the shape \(60,\)"):
        DataMultiplierDisplay.from_estimators(one, pairs, pairs, groups=[1, 2])
    with pytest.raises(ValueError, match="baseline='two' is none of one"):
        DataMultiplierDisplay.from_estimators(one, pairs, pairs, baseline="two")
    with pytest.raises(ValueError, match="n_splits=0"):
        DataMultiplierDisplay.from_estimators(one, pairs, pairs, n_splits=0)


# ---------------------------------------------------------------------------------------- ablations
def results_of(params, scores, name="score"):
    """Return cv_results_ of candidates with the scores of their folds, (n, n_folds)."""
    folds = {f"split{i}_test_{name}": column for i, column in enumerate(np.transpose(scores))}
    return {"params": params, f"mean_test_{name}": np.mean(scores, axis=1), **folds}


def test_cells_are_means_with_standard_errors():
    params = [{"vae__gamma": g, "noise": s} for g in (0.5, 0) for s in (0.1, 0.01)]
    scores = [[0.5, 0.7], [0.6, 0.6], [0.9, 0.7], [0.2, 0.4]]
    display = AblationDisplay.from_cv_results(results_of(params, scores))
    assert (display.x_name, display.y_name) == ("vae__gamma", "noise")
    assert (display.x_values, display.y_values) == ([0, 0.5], [0.01, 0.1])  # ascending
    np.testing.assert_allclose(display.mean, [[0.3, 0.6], [0.8, 0.6]])
    # Two folds differ by 0.2: deviation 0.2 / √2, standard error 0.1.
    np.testing.assert_allclose(display.standard_error, [[0.1, 0], [0.1, 0.1]], atol=1e-12)
    assert display.best_index == (1, 0)
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == ["0.300\n±0.100", "0.600\n±0.000", "0.800\n±0.100", "0.600\n±0.100"]
    assert display.ax_.get_xlabel() == "gamma" and display.ax_.get_ylabel() == "noise"
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["0", "0.5"]
    (frame,) = display.ax_.patches
    assert frame.get_xy() == (-0.5, 0.5)
    turned = AblationDisplay.from_cv_results(results_of(params, scores), x="noise")
    np.testing.assert_allclose(turned.mean, display.mean.T)
    colors = {t.get_text()[:5]: t.get_color() for t in display.ax_.texts}
    assert colors["0.300"] == "white" and colors["0.800"] == "black"  # dark and light cells


def test_further_parameters_are_fixed_and_other_scorers_named():
    params = [{"a": a, "b": b, "c": c} for a in (1, 2) for b in ("x", None) for c in (True, 1)]
    scores = np.arange(16.0).reshape(8, 2)
    results = results_of(params, scores, "accuracy")
    with pytest.raises(ValueError, match="parameters that vary are a, b, c; a heat map is of two"):
        AblationDisplay.from_cv_results(results, metric="accuracy")
    fixed = AblationDisplay.from_cv_results(results, metric="accuracy", fixed={"c": True})
    np.testing.assert_allclose(fixed.mean, [[0.5, 8.5], [4.5, 12.5]])
    assert fixed.y_values == ["x", None] and "accuracy" in fixed.ax_.get_title()
    with pytest.raises(ValueError, match="no scores 'score' by fold; it has accuracy"):
        AblationDisplay.from_cv_results(results, fixed={"c": 1})
    with pytest.raises(ValueError, match="fixed has 'd', which the search has not; it has a, b, c"):
        AblationDisplay.from_cv_results(results, fixed={"d": 1})
    with pytest.raises(ValueError, match="no result of the search has {'c': 5}"):
        AblationDisplay.from_cv_results(results, fixed={"c": 5})
    with pytest.raises(ValueError, match="no parameter 'e'; it has a, b, c"):
        AblationDisplay.from_cv_results(results, x="e")
    with pytest.raises(ValueError, match="x and y are both 'a'"):
        AblationDisplay.from_cv_results(results, x="a", y="a")


def test_cells_that_were_not_run_are_empty_and_doubles_refused():
    params = [{"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 1, "b": 2}]
    display = AblationDisplay.from_cv_results(results_of(params, [[1.0], [2.0], [3.0]]))
    assert np.isnan(display.mean[0, 1]) and len(display.ax_.texts) == 3
    assert np.isnan(display.standard_error).all()  # of one fold
    assert display.ax_.texts[0].get_text() == "1.000"
    with pytest.raises(ValueError, match="two results have a=1 and b=2"):
        AblationDisplay.from_cv_results(results_of([*params, params[2]], np.ones((4, 2))))
    partly = [*params, {"a": 3}]
    with pytest.raises(ValueError, match="has no a or no b: {'a': 3}"):
        AblationDisplay.from_cv_results(results_of(partly, np.ones((4, 2))), "a", "b")
    with pytest.raises(ValueError, match="every mean is NaN"):
        AblationDisplay([[np.nan]], [[np.nan]], [1], [2], "a", "b")
    with pytest.raises(ValueError, match=r"expected \(1, 2\), a row a value of b"):
        AblationDisplay([[1.0]], [[1.0]], [1, 2], [2], "a", "b")
    with pytest.raises(TypeError, match="this LinearRewardRegressor has no cv_results_"):
        AblationDisplay.from_estimator(LinearRewardRegressor())


def test_a_fitted_search_is_drawn(pairs):
    grid = {"hidden_dim": [2, 4], "weight_decay": [0, 1]}
    reward = BTRewardRegressor(max_epochs=1, random_state=0)
    search = GridSearchCV(reward, grid, cv=3).fit(pairs)
    display = AblationDisplay.from_estimator(search, x="hidden_dim", y="weight_decay")
    means = search.cv_results_["mean_test_score"].reshape(2, 2).T
    np.testing.assert_allclose(display.mean, means)
    deviations = search.cv_results_["std_test_score"].reshape(2, 2).T  # of the folds, ddof=0
    np.testing.assert_allclose(display.standard_error, deviations / np.sqrt(2))


# --------------------------------------------------------------------------- colors and matplotlib
def test_styles_differ_in_gray_and_to_the_color_blind():
    styles = displays.series_styles(7)
    assert len({style["color"] for style in styles}) == 7
    assert len({(str(s["linestyle"]), s["marker"]) for s in displays.series_styles(20)}) == 20


def test_nothing_is_drawn_on_other_axes_and_no_backend_is_chosen(scored, pyplot):
    ax = matplotlib.figure.Figure().subplots()
    rewards, gold = scored
    BestOfNComparisonDisplay.from_predictions({"a": rewards}, gold, ax=ax, random_state=0)
    PairCalibrationDisplay.from_predictions([0.7], ax=ax)
    LatentSpaceDisplay.from_latents(np.eye(2)[None], ax=ax)
    RewardLengthDisplay.from_predictions([[1.0, 2.0]], [[1, 2]], ax=ax)
    DataMultiplierDisplay.from_scores([1, 2], {"a": [0, 1]}, ax=ax)
    history = TrainingHistoryDisplay({"net": [{"loss": 1.0}]})
    assert history.plot(axes=ax) is history
    assert not pyplot.get_fignums()
