"""The theorems measured on a toy world and on real embeddings.

::

    python -m benchmarks.theory --data FOLDER --what certificates constants
    python -m benchmarks.theory --what certificates --world toy_32
    python -m benchmarks.theory --data FOLDER --what figure --world alpaca_384

certificates
    The share of synthetic pairs that keep their order, that Theorem 1 certifies, and that the
    realised bound does. A reward trained on all pairs there are stands for the best possible
    one, as in B.5.4; on the toy world the gold reward itself does.
constants
    The three estimates of B.5.1. The optimum is a reward trained on all pairs but the test
    pairs, on the toy world the gold reward.
figure
    The certificates of one data set in both decode modes, as a picture.

FOLDER holds the embeddings (``*.npz``), and may come from the environment variable
``LENS_SKLEARN_DATA``. Tables are printed as Markdown; rows are kept in
``benchmarks/results/theory.jsonl``. What filtering synthetic pairs does to the trained reward is
the suite ``keep`` of ``benchmarks.run``.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, EmbeddingScaler, LatentPairAugmenter
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.theory import (
    SynthesisCertificate,
    beneficial_region,
    estimate_reconstruction_exponent,
    estimate_statistical_constant,
    estimate_synthesis_bias,
    theorem2_error_ratio,
    theorem2_rho,
)

from .datasets import DATASETS
from .objective import MIN_GAP
from .records import RESULTS, add_record, begin_run, provenance
from .report import markdown_table

FIGURE = Path(__file__).parents[1] / "docs" / "research" / "images" / "certificates.png"
#: Original pairs by world, of the certificates and of the largest size of the constants.
N_PAIRS = {"toy_32": 1000, "alpaca_384": 1000, "alpaca_3840": 1000, "hh_3840": 800}
N_CONSTANTS = {**N_PAIRS, "toy_32": 2000, "alpaca_384": 2000}
MOST_PAIRS = 4000  # from candidates: what the judging reward is trained on
VARIANCES = (0.001, 0.01, 0.1)
DECODE = ("reconstruct", "residual")


# ---------------------------------------------------------------------------- data
def world(name, data, seed=0):
    """Return many pairs, standardised, test pairs, and the reward that judges (None: learn)."""
    if name == "toy_32":
        toy = make_preference_pairs(6000, 32, temperature=1.0, random_state=seed)
        return toy.pairs[:MOST_PAIRS], toy.pairs[MOST_PAIRS:], toy.reward
    loaded = DATASETS[name].load(data, RESULTS / ".store")
    split = loaded.split(loaded.max_pairs or MOST_PAIRS, seed)
    test = split.test if split.gold is None else held_out_pairs(split.test, split.gold, seed)
    scaler = EmbeddingScaler().fit(split.pairs)
    return scaler.transform(split.pairs), scaler.transform(test), None


def held_out_pairs(candidates, gold, seed, n_pairs=1000):
    """Draw pairs with a clear gold difference from the test prompts."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(len(gold), size=4 * n_pairs)
    two = np.argsort(rng.random((len(prompt), gold.shape[1])), axis=1)[:, :2]
    gap = gold[prompt, two[:, 0]] - gold[prompt, two[:, 1]]
    two[gap < 0] = two[gap < 0, ::-1]
    kept = np.flatnonzero(abs(gap) > MIN_GAP)[:n_pairs]
    return candidates[prompt[kept, None], two[kept]]


def judge(pairs, seed=0):
    """Train the reward that stands for the best possible one."""
    return BTRewardRegressor(output_init="uniform", max_epochs=40, random_state=seed).fit(pairs)


# -------------------------------------------------------------------- certificates
def certified(name, arguments, memory, variances):
    """Yield (decode, variance, certificate) of one data set."""
    pairs, test, reward = world(name, arguments.data)
    reward = judge(np.concatenate([pairs, test])) if reward is None else reward
    seed_pairs = pairs[: N_PAIRS[name]]
    for decode in DECODE:
        for variance in variances:
            augmenter = LatentPairAugmenter(
                ContrastiveVAE(learning_rate=arguments.learning_rate),
                noise_variance=variance,
                decode=decode,
                memory=memory,
                random_state=0,
            ).fit(seed_pairs)
            made = SynthesisCertificate.from_estimator(augmenter, seed_pairs, reward)
            yield decode, variance, made


def certificates(name, arguments, memory):
    """Yield what is certified, a row a decode mode and variance."""
    for decode, variance, made in certified(name, arguments, memory, VARIANCES):
        row = {
            "n_pairs": N_PAIRS[name],
            "decode": decode,
            "variance": variance,
            **made.totals,
            "deduction": float(np.max(made.margin - made.bound)),
            "L_r": made.reward_lipschitz,
            "L_g": made.decoder_lipschitz,
            "t_delta": made.radius,
            "supremum": made.reconstruction_error,
            "mse": made.mean_squared_error,
            "displacement": float(made.displacement[made.displacement > 0].mean()),
        }
        yield row


def figure(name, arguments, memory):
    """Draw the certificates of both decode modes side by side."""
    from matplotlib import pyplot as plt

    canvas, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    made = certified(name, arguments, memory, (0.01,))
    for ax, (decode, variance, certificate) in zip(axes, made, strict=True):
        certificate.plot(ax)
        realised = certificate.totals["realised_certified"]
        ax.set_title(f"{decode}, σ² = {variance}: {realised:.0%} certified by displacement")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(FIGURE, dpi=90)
    return ()


# ----------------------------------------------------------------------- constants
def constants(name, arguments, memory):
    """Yield the estimates, one row."""
    pairs, test, optimum = world(name, arguments.data)
    optimum = judge(pairs) if optimum is None else optimum
    pairs = pairs[: N_CONSTANTS[name]]
    model = BTRewardRegressor(output_init="uniform", max_epochs=40)
    vae = ContrastiveVAE(learning_rate=arguments.learning_rate)
    shared = {"n_repeats": arguments.repeats, "random_state": 0}
    scaling = estimate_reconstruction_exponent(vae, pairs, test, **shared)
    shared["optimum"] = optimum
    c1 = estimate_statistical_constant(model, pairs, test, **shared)
    p = scaling.supremum.exponent
    augmenter = LatentPairAugmenter(vae, factor=2)
    b0 = estimate_synthesis_bias(model, augmenter, pairs, test, c1=c1.constant, p=p, **shared)
    row = {"n": c1.n.tolist(), "repeats": len(c1.values)}
    row |= {"c1": c1.constant, "c1_interval": c1.interval, "c1_r2": c1.r2}
    row["errors"] = c1.values.mean(axis=0).tolist()
    for kind in ("supremum", "norm", "mean_squared"):
        fit = getattr(scaling, kind)
        row |= {f"p_{kind}": fit.exponent, f"p_{kind}_interval": fit.exponent_interval}
    row |= {"b0": b0.constant, "b0_interval": b0.interval, "b0_r2": b0.r2}
    if c1.constant > 0 and b0.constant > 0:
        rho = theorem2_rho(c1.constant, b0.constant, pairs.shape[-1], 0.05)
        region = beneficial_region(rho=rho, p=p)
        row |= {"rho": rho, "n_lower": region.n_lower, "n_upper": region.n_upper}
        row["ratio_k4_n1000"] = float(theorem2_error_ratio(4, 1000, rho=rho, p=p))
    yield row


# -------------------------------------------------------------------------- report
def table(rows):
    """Write rows as Markdown."""

    def cell(value):
        if isinstance(value, float):
            return f"{value:.3g}"
        if isinstance(value, tuple | list):
            return " to ".join(f"{v:.2g}" for v in value)
        return str(value)

    names = list(dict.fromkeys(name for row in rows for name in row))
    return markdown_table(names, [[cell(row.get(name, "")) for name in names] for row in rows])


WHAT = {"certificates": certificates, "constants": constants, "figure": figure}


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.theory", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("LENS_SKLEARN_DATA"))
    parser.add_argument("--world", nargs="+", choices=N_PAIRS, default=list(N_PAIRS))
    parser.add_argument("--what", nargs="+", choices=list(WHAT), required=True)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="the autoencoder's")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of 'constants'")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of theory.jsonl")
    return parser


def main(argv=None):
    """Measure what is asked for; print it and keep it."""
    command = parser()
    arguments = command.parse_args(argv)
    if set(arguments.world) - {"toy_32"} and not (arguments.data and arguments.data.is_dir()):
        command.error("--data names no folder; give the one with the .npz files")
    torch.set_num_threads(1)
    path = arguments.results / "theory.jsonl"
    for what in arguments.what:
        for name in arguments.world:
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as memory:
                rows = list(WHAT[what](name, arguments, memory))
            print(f"# {what} of {name}: {time.perf_counter() - start:.0f} s", flush=True)
            shared = {"what": what, "dataset": name, "seed": 0}
            shared |= {"vae_learning_rate": arguments.learning_rate}
            if rows:
                run = begin_run(path, provenance())
                for row in rows:
                    add_record(path, shared | row, run)
                print(table(rows), flush=True)


if __name__ == "__main__":
    main()
