"""Pictures in a column of a paper, 3.3 inches wide: nothing is cut off or over something else."""

from itertools import pairwise

import numpy as np
import pytest

from lens_sklearn import (
    AblationDisplay,
    BestOfNComparisonDisplay,
    BestOfNDisplay,
    Comparison,
    ComparisonDisplay,
    DataMultiplierDisplay,
    FeatureWeightsDisplay,
    LatentSpaceDisplay,
    PairCalibrationDisplay,
    RewardLengthDisplay,
    TrainingHistoryDisplay,
    displays,
)

matplotlib = pytest.importorskip("matplotlib", reason="draws")

COLUMN = (3.3, 2.6)  # inches
LONG = ("tuned linear, embedding", "distillation, unlabeled", "network, repeat 4×", "LENS 4×")
FEATURES = ("share of first-person words", "numbered_list_items", "exclamation_marks", "digits")


@pytest.fixture(autouse=True)
def pyplot():
    """Draw in memory, and close what was drawn."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def comparison(n_methods=12, with_curves=False):
    names = [LONG[i % 4] for i in range(n_methods)]
    numbers = {"accuracy": 0.7, "accuracy_difference_half_width": 0.03}
    numbers |= {"length_matched_difference_half_width": 0.05}
    table = [
        {"method": str(i), "label": name, "accuracy_difference": 0.01 * (i - 4)}
        | {"length_matched_difference": -0.012 * (i - 4)}
        | numbers
        for i, name in enumerate(names)
    ]
    curve = {"n_pairs": [160.0, 320.0, 640.0, 1280.0], "accuracy": [0.6, 0.65, 0.68, 0.7]}
    curve |= {"accuracy_half_width": [0.03] * 4, "accuracy_gain": [0.03, 0.02]}
    curves = {"0": curve, "1": curve} if with_curves else {}
    return Comparison(table, "0", curves, {"length_matched": 5}, {}, {})


def draw_best_of_n(ax, several):
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(40, 16))
    shortcuts = {"longest": gold + 6 * rng.normal(size=gold.shape), "shortest": -gold}
    given = {"shortcuts": shortcuts, "ax": ax, "n_bootstrap": 20, "random_state": 0}
    rewards = {name: gold + i * rng.normal(size=gold.shape) for i, name in enumerate(LONG, 1)}
    if several:
        return BestOfNComparisonDisplay.from_predictions(rewards, gold, **given)
    return BestOfNDisplay.from_predictions(rewards[LONG[0]], gold, name=LONG[0], **given)


def draw_multiplier(ax):
    scores = np.array([0.6, 0.64, 0.67, 0.69])[:, None] + np.arange(4) / 100
    of = {name: scores + gain for name, gain in zip(LONG, (0, 0.03, -0.01, 0.035), strict=True)}
    given = {"score_name": "pair accuracy", "ax": ax}
    return DataMultiplierDisplay.from_scores([80, 160, 320, 640], of, **given)


def draw_lengths(ax, n_prompts=50):
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(5, 1, size=(n_prompts, 8)))
    rewards = np.log2(lengths) + rng.normal(size=lengths.shape)
    return RewardLengthDisplay(rewards, lengths, name=LONG[1]).plot(ax=ax)


def draw_latents(ax):
    latents = np.random.default_rng(0).normal(size=(50, 2, 4))
    return LatentSpaceDisplay(latents, 1.1 * latents, head_distance=1.234).plot(ax=ax)


def draw_history(ax, names, n_epochs=29):
    rows = [
        {"epoch": i} | {name: (2 + j) * 0.9**i + 0.1 for j, name in enumerate(names)}
        for i in range(1, n_epochs + 1)
    ]
    return TrainingHistoryDisplay({f"{LONG[1]}: BTRewardRegressor": rows}).plot(axes=[ax])


def draw_ablation(ax):
    mean = np.linspace(0.6, 0.7, 20).reshape(4, 5)
    values = [0.0, 0.05, 0.1, 0.5, 1.0], [0.001, 0.01, 0.1, 1.0]
    names = "augment__vae__contrastive_weight", "augment__noise_variance"
    return AblationDisplay(mean, mean / 50, *values, *names, score_name="score").plot(ax=ax)


def draw_features(ax):
    names = [f"{FEATURES[i % 4]} {i}" for i in range(15)]
    weights = np.linspace(-3, 3, 15)
    return FeatureWeightsDisplay(weights, names, np.eye(15)[0]).plot(ax=ax)


def draw_calibration(ax):
    p = np.linspace(0, 1, 200)
    return PairCalibrationDisplay.from_predictions(p, p > 0.5, name=LONG[1], ax=ax)


DRAWN = {
    "AblationDisplay": draw_ablation,
    "BestOfNComparisonDisplay": lambda ax: draw_best_of_n(ax, True),
    "BestOfNDisplay": lambda ax: draw_best_of_n(ax, False),
    "ComparisonDisplay": lambda ax: ComparisonDisplay(comparison()).plot(ax),
    "ComparisonDisplay, few": lambda ax: ComparisonDisplay(comparison(2)).plot([ax]),
    "DataMultiplierDisplay": draw_multiplier,
    "FeatureWeightsDisplay": draw_features,
    "LatentSpaceDisplay": draw_latents,
    "PairCalibrationDisplay": draw_calibration,
    "RewardLengthDisplay": draw_lengths,
    "RewardLengthDisplay, many": lambda ax: draw_lengths(ax, 400),
    "TrainingHistoryDisplay": lambda ax: draw_history(ax, ["train_loss", "valid_loss"]),
    "TrainingHistoryDisplay, logs": lambda ax: draw_history(
        ax, ["loss", "reconstruction", "kl", "divergence"]
    ),
}


def tick_labels(axis):
    """Return the labels that are drawn: ticks beyond the limits have some too."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    drawn = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [label for label in drawn if label.get_text()]


def check(figure):
    """Check that every text is in the figure, no tick label over another, no legend on lines."""
    figure.draw_without_rendering()
    for ax in figure.axes:
        legend = ax.get_legend()
        texts = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        texts += legend.get_texts() if legend else []
        texts += tick_labels(ax.xaxis) + tick_labels(ax.yaxis)
        for text in filter(lambda text: text.get_text(), texts):
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1, text.get_text()
        for axis, low, high in ((ax.xaxis, "x0", "x1"), (ax.yaxis, "y0", "y1")):
            boxes = [label.get_window_extent() for label in tick_labels(axis)]
            boxes.sort(key=lambda box: getattr(box, low))
            assert len(boxes) >= 2, axis.axis_name
            for one, other in pairwise(boxes):
                assert getattr(one, high) <= getattr(other, low) + 0.5, axis.axis_name
        if legend:
            assert legend.get_window_extent().y0 >= ax.get_window_extent().y1 - 1


def test_all_displays_are_looked_at():
    names = {name for name in displays.__all__ if name.endswith("Display")}
    assert {name.split(",")[0] for name in DRAWN} == names


@pytest.mark.parametrize("size", [8, 10])
@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_cut_off_in_a_column(name, size, pyplot):
    with matplotlib.rc_context({"font.size": size}):
        figure, ax = pyplot.subplots(figsize=COLUMN, layout="constrained")
        DRAWN[name](ax)
        check(figure)
    width, height = ax.get_position().size
    assert width > 0.3 and height > 0.5  # of the figure are left for what is drawn


def test_a_comparison_in_a_column_has_its_curves_below(pyplot):
    with matplotlib.rc_context({"figure.figsize": COLUMN, "font.size": 8}):
        display = ComparisonDisplay(comparison(with_curves=True)).plot()
    assert display.figure_.get_figwidth() == COLUMN[0]
    check(display.figure_)
    above, below = (ax.get_position() for ax in display.axes_)
    assert above.y0 > below.y1 and above.height > below.height


def test_on_one_axes_a_comparison_has_no_curves(pyplot):
    ax = pyplot.subplots(figsize=COLUMN, layout="constrained")[1]
    display = ComparisonDisplay(comparison(with_curves=True)).plot(ax)
    assert display.axes_.tolist() == [ax] and display.figure_.axes == [ax]


def test_wide_pictures_keep_their_letters(pyplot):
    ax = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")[1]
    FeatureWeightsDisplay([1.0, -2.0], ["log_words", "digits"], None).plot(ax=ax)
    assert ax.get_yticklabels()[0].get_size() == 10 and ax.xaxis.label.get_ha() == "center"


@pytest.mark.parametrize(("losses", "least"), [([1.0, 0.99], 2), ([4.0, 0.3], 3), ([1e4, 0.1], 3)])
def test_losses_on_a_logarithmic_axis_have_ticks(losses, least, pyplot):
    rows = [{"epoch": i, "loss": loss} for i, loss in enumerate(losses)]
    ax = pyplot.subplots(figsize=COLUMN, layout="constrained")[1]
    TrainingHistoryDisplay({"vae": rows}).plot(axes=[ax])
    ax.figure.draw_without_rendering()
    labels = [label.get_text() for label in tick_labels(ax.yaxis)]
    assert len(labels) >= least and len(set(labels)) == len(labels)
    assert [float(label) for label in labels] == sorted(float(label) for label in labels)
