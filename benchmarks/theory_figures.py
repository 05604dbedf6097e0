"""The theorems measured on a toy world and on real embeddings.

    python benchmarks/theory_figures.py --data FOLDER --what certificates constants
    python benchmarks/theory_figures.py --data FOLDER --what keep --world alpaca_384 --n-pairs 200
    python benchmarks/theory_figures.py --data FOLDER --what figure

certificates
    The share of synthetic pairs that keep their order, that Theorem 1 certifies, and that the
    realised bound does. A reward trained on all pairs there are stands for the best possible
    one, as in B.5.4; on the toy world the gold reward itself does.
constants
    The three estimates of B.5.1. The optimum is a reward trained on all pairs but the test
    pairs, on the toy world the gold reward.
keep
    What filtering synthetic pairs does to the trained reward, over splits, beside the originals
    alone, their repetition, and as many synthetic pairs drawn at random.
figure
    The certificates of one data set in both decode modes, as a picture.

FOLDER holds the embeddings (``*.npz``), and may come from the environment variable
``LENS_SKLEARN_DATA``. Tables are printed as Markdown; rows are kept in ``benchmarks/results`` as
JSON with seeds, versions, machine and commit, a file for each world and setting. A run of keep
that was interrupted goes on where it stopped.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from real_data import (
    DEVICE,
    candidate_arrays,
    candidate_split,
    held_out_accuracy,
    hh_split,
    interval,
)

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    LatentPairAugmenter,
    RepeatAugmenter,
)
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.export import versions
from lens_sklearn.theory import (
    SynthesisCertificate,
    beneficial_region,
    estimate_reconstruction_exponent,
    estimate_statistical_constant,
    estimate_synthesis_bias,
    theorem2_error_ratio,
    theorem2_rho,
)

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURE = ROOT / "docs" / "user_guide" / "images" / "certificates.png"
N_PAIRS = {"toy_32": 1000, "alpaca_384": 1000, "alpaca_3840": 1000, "hh_3840": 800}
N_CONSTANTS = {**N_PAIRS, "toy_32": 2000, "alpaca_384": 2000}  # the largest training size
VARIANCES = (0.001, 0.01, 0.1)
DECODE = ("reconstruct", "residual")


# ---------------------------------------------------------------------------- data
def world(name, data, seed=0):
    """Return many pairs, standardised, test pairs, and the reward that judges (None: learn)."""
    if name == "toy_32":
        toy = make_preference_pairs(6000, 32, temperature=1.0, random_state=seed)
        return toy.pairs[:4000], toy.pairs[4000:], toy.reward
    if name == "hh_3840":
        pairs, _, test = hh_split(data, 856, seed)
    else:
        candidates, gold = candidate_arrays(data, name)
        pairs, _, rest = candidate_split(candidates, gold, 4000, seed)
        test = held_out_pairs(*rest, seed)
    scaler = EmbeddingScaler().fit(pairs)
    return scaler.transform(pairs), scaler.transform(test), None


def held_out_pairs(candidates, gold, seed, n_pairs=1000):
    """Draw pairs with a clear gold difference from the test prompts."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(len(gold), size=4 * n_pairs)
    two = np.argsort(rng.random((len(prompt), gold.shape[1])), axis=1)[:, :2]
    gap = gold[prompt, two[:, 0]] - gold[prompt, two[:, 1]]
    two[gap < 0] = two[gap < 0, ::-1]
    kept = np.flatnonzero(abs(gap) > 0.1)[:n_pairs]
    return candidates[prompt[kept, None], two[kept]]


def split(name, data, n_pairs, seed):
    """Return training pairs and what the reward is tested on, both standardised."""
    if name == "hh_3840":
        pairs, _, test = hh_split(data, n_pairs, seed)
        scaler = EmbeddingScaler().fit(pairs)
        return scaler.transform(pairs), scaler.transform(test)
    pairs, _, (test, gold) = candidate_split(*candidate_arrays(data, name), n_pairs, seed)
    scaler = EmbeddingScaler().fit(pairs)
    return scaler.transform(pairs), (scaler.transform(test), gold)


def judge(pairs, seed=0):
    return BTRewardRegressor(output_init="uniform", max_epochs=40, random_state=seed).fit(pairs)


# -------------------------------------------------------------------- certificates
def certified(name, arguments, memory, variances=VARIANCES):
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


def certificates(name, arguments, memory, done):
    for decode, variance, made in certified(name, arguments, memory):
        row = {
            "data": name,
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
        yield [row]


def figure(name, arguments, memory, done):
    """Draw the certificates of both decode modes side by side."""
    import matplotlib.pyplot as plt

    canvas, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    made = certified(name, arguments, memory, variances=(0.01,))
    for ax, (decode, variance, certificate) in zip(axes, made, strict=True):
        certificate.plot(ax)
        realised = certificate.totals["realised_certified"]
        ax.set_title(f"{decode}, σ² = {variance}: {realised:.0%} certified by displacement")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(FIGURE, dpi=90)
    yield []


# ----------------------------------------------------------------------- constants
def constants(name, arguments, memory, done):
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
    row = {"data": name, "n": c1.n.tolist(), "repeats": len(c1.values)}
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
    yield [row]


# ---------------------------------------------------------------------------- keep
def keep(name, arguments, memory, done):
    """Train on the pairs of every method, on each split that is not done."""
    for seed in sorted(set(range(arguments.splits)) - {row["seed"] for row in done}):
        rows = []
        pairs, test = split(name, arguments.data, arguments.n_pairs, seed)
        for method, decode, share, train in keep_methods(pairs, arguments, memory, seed):
            model = BTRewardRegressor(output_init="uniform", random_state=seed).fit(train)
            row = {"data": name, "n_pairs": len(pairs), "seed": seed, "decode": decode}
            row |= {"keep": method, "kept": share}
            row["accuracy"] = held_out_accuracy(model.predict, test)
            rows.append(row | ({"gold": model.score(*test)} if isinstance(test, tuple) else {}))
        yield rows


def keep_methods(pairs, arguments, memory, seed):
    """Yield (method, decode, share of synthetic pairs kept, pairs to train on)."""
    n = len(pairs)
    yield "original", "", 0.0, pairs
    yield "repeat", "", 1.0, RepeatAugmenter(factor=4).fit_transform(pairs)
    vae = ContrastiveVAE(learning_rate=arguments.learning_rate)
    for decode in DECODE:
        made = {}
        for method in ("all", "ordered", "certified"):
            augmenter = LatentPairAugmenter(
                vae, decode=decode, keep=method, memory=memory, random_state=seed
            )
            made[method] = augmenter.fit_transform(pairs)
            yield method, decode, augmenter.n_kept_ / (3 * n), made[method]
        # As many as "ordered" keeps, whatever their order.
        n_kept = len(made["ordered"]) - n
        drawn = n + np.random.default_rng(seed).permutation(3 * n)[:n_kept]
        rows = np.concatenate([np.arange(n), np.sort(drawn)])
        yield "at random", decode, n_kept / (3 * n), made["all"][rows]


def summary(rows):
    """Average each method over splits, with 95 % intervals of paired differences."""
    out = []
    for decode, method in dict.fromkeys((r["decode"], r["keep"]) for r in rows):
        mine = [r for r in rows if (r["decode"], r["keep"]) == (decode, method)]
        row = {"data": mine[0]["data"], "N": mine[0]["n_pairs"], "decode": decode, "keep": method}
        row["kept"] = float(np.mean([r["kept"] for r in mine]))
        for metric in [m for m in ("accuracy", "gold") if m in mine[0]]:
            row[metric] = float(np.mean([r[metric] for r in mine]))
            for against, key in (("original", ("", "original")), ("all", (decode, "all"))):
                base = [r[metric] for r in rows if (r["decode"], r["keep"]) == key]
                same = (decode, method) == key or not base
                gaps = np.subtract([r[metric] for r in mine], base) if not same else []
                row[f"{metric} − {against}"] = "" if same else interval(gaps)
        out.append(row)
    return out


# -------------------------------------------------------------------------- report
def provenance(what, arguments):
    """Return what a result depends on besides the data."""
    git = ["git", "-C", str(ROOT)]
    sha = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    code = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "lens_sklearn", "*.py"])
    return {
        "commit": sha + ("" if code.returncode == 0 else ", with changes"),
        "seeds": list(range(arguments.splits)) if what == "keep" else [0],
        "vae_learning_rate": arguments.learning_rate,
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread, {DEVICE}",
    }


def table(rows):
    def cell(value):
        if isinstance(value, float):
            return f"{value:.3g}"
        if isinstance(value, tuple | list):
            return " to ".join(f"{v:.2g}" for v in value)
        return str(value)

    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines)


WHAT = {"certificates": certificates, "constants": constants, "keep": keep, "figure": figure}


def result_file(what, name, arguments):
    parts = ["theory", what, name, f"{arguments.learning_rate:g}"]
    return RESULTS / ("_".join(parts + [str(arguments.n_pairs)] * (what == "keep")) + ".json")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("LENS_SKLEARN_DATA"))
    parser.add_argument("--world", nargs="+", choices=N_PAIRS, default=list(N_PAIRS))
    parser.add_argument("--what", nargs="+", choices=list(WHAT), required=True)
    parser.add_argument("--learning-rate", type=float, default=1e-4, help="the autoencoder's")
    parser.add_argument("--n-pairs", type=int, default=200, help="training pairs of 'keep'")
    parser.add_argument("--splits", type=int, default=5, help="splits of 'keep'")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of 'constants'")
    arguments = parser.parse_args()
    if set(arguments.world) - {"toy_32"} and not (arguments.data and arguments.data.is_dir()):
        parser.error("--data names no folder; give the one with the .npz files")
    torch.set_num_threads(1)
    RESULTS.mkdir(exist_ok=True)
    for what in arguments.what:
        for name in arguments.world:
            start, made = time.perf_counter(), provenance(what, arguments)
            file = result_file(what, name, arguments)
            rows = finished(file, made) if what == "keep" else []
            with tempfile.TemporaryDirectory() as memory:
                for new in WHAT[what](name, arguments, memory, rows):
                    rows = rows + new
                    if rows:
                        text = json.dumps({"made": made, "rows": rows}, indent=1)
                        file.write_text(text + "\n")
            print(f"# {what} of {name}: {time.perf_counter() - start:.0f} s", flush=True)
            if rows:
                print(table(summary(rows) if what == "keep" else rows), flush=True)


def finished(file, made):
    """Return the rows of an earlier run of the same code, if there is one."""
    if not file.exists():
        return []
    found = json.loads(file.read_text())
    return found["rows"] if found["made"] == made else []


if __name__ == "__main__":
    main()
