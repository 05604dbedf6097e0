"""What is compared, by name. A method is ``fit(split, seed) -> score``, (..., d) -> (...).

The split that a method gets is standardised. A method reads ``pairs``, ``groups`` and
``unlabeled``; the test set is not its business.
"""

from functools import partial

from . import (
    ablations,
    direct_noise,
    ensemble,
    filtered,
    gaussian,
    leads,
    lens,
    original,
    ours,
    repeat,
    steps,
    tuned_linear,
    tuned_mlp,
)

__all__ = ["BASELINES", "METHODS", "ORIGINAL"]

#: The paper's un-augmented model: what differences are taken to.
ORIGINAL = "original"

#: The un-augmented models whose settings are chosen by cross-validation.
TUNED = ("tuned linear", "tuned MLP", "ensemble", "tuned MLP, zero output", "ensemble, zero output")
#: The un-augmented models that augmentation has to beat; the best of them is the yardstick.
#: Repeated pairs are more steps on the same ones.
BASELINES = (
    *TUNED,
    "original, zero output",
    "repeat 4x, zero output",
    "repeat 4x, zero output, five",
)

FACTORS = (2, 4, 8)

METHODS = (
    {ORIGINAL: original.fit, "steps 4x": steps.fit}
    | {f"repeat {k}x": partial(repeat.fit, factor=k) for k in FACTORS}
    | {"tuned linear": tuned_linear.fit, "tuned MLP": tuned_mlp.fit, "ensemble": ensemble.fit}
    | {f"direct noise {k}x": partial(direct_noise.fit, factor=k) for k in FACTORS}
    | {f"Gaussian {k}x": partial(gaussian.fit, factor=k) for k in FACTORS}
    | {f"LENS {k}x": lens.Lens(factor=k) for k in FACTORS}
    | {
        "original, zero output": partial(original.fit, output_init="zero"),
        "repeat 4x, zero output": partial(repeat.fit, output_init="zero"),
        "repeat 4x, zero output, five": partial(
            ensemble.of, method=partial(repeat.fit, output_init="zero")
        ),
        "tuned MLP, zero output": partial(tuned_mlp.fit, output_init="zero"),
        "ensemble, zero output": partial(ensemble.fit, output_init="zero"),
        "repeat 4x, zero output, filtered": filtered.fit,
        "repeat 4x, zero output, filtered, five": partial(ensemble.of, method=filtered.fit),
        "LENS 4x, zero output": lens.Lens(factor=4, network={"output_init": "zero"}),
    }
    | ours.METHODS
    | ablations.METHODS
    | leads.METHODS
)
