"""Are suggested pairs worth more than random ones, and are suspected labels wrong ones?

::

    python -m benchmarks.labels --data FOLDER               # both, on every embedder
    python -m benchmarks.labels suspect --data FOLDER --splits 5

Records go to ``results/labels.json``, each as soon as it is there; what is there is not run again.
The table is made of all of them: mean and 95 % interval over splits, paired with random pairs.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from lens_sklearn import (
    EmbeddingScaler,
    GPRewardRegressor,
    LinearRewardRegressor,
    best_of_n_score,
    suggest_pairs,
    suspect_pairs,
)

from .curves import interval
from .speed.run import machine

EMBEDDERS = ("minilm384", "minilm3840", "smollm576")
RESULTS = Path(__file__).parent / "results" / "labels.json"
N_TRAIN = 330  # prompts whose responses may be labelled; the others are the test
ROUND, ROUNDS = 40, 4  # labels a round
N_PAIRS, FLIPPED = 300, 0.1
MIN_GAP = 0.1  # of gold, between the responses of a pair whose label may be flipped
FIRST_SEED = 200  # those below were used to find the rule


def load(data, embedder):
    """Return embeddings (n_prompts, N, d) and gold (n_prompts, N)."""
    with np.load(Path(data) / f"alpaca_eval_dev_{embedder}.npz") as arrays:
        return arrays["embeddings"].astype(np.float32), arrays["gold"]


def random_pairs(candidates, labeled, rng):
    """Return pairs (n, 3) of two responses, of prompts that have no label yet."""
    free = np.setdiff1d(np.arange(len(candidates)), labeled[:, 0])
    prompts = rng.choice(free, ROUND, replace=False)
    two = [rng.choice(candidates.shape[1], 2, replace=False) for _ in prompts]
    return np.column_stack([prompts, two])


def learning_curve(X, gold, seed, rule):
    """Yield the labels and the mean gold of the picks, round by round."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(X))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    scaler = EmbeddingScaler().fit(X[train])
    candidates, held_out = scaler.transform(X[train]), scaler.transform(X[test])
    labeled, reward = np.empty((0, 3), dtype=int), None
    for _ in range(ROUNDS):
        if rule == "random" or reward is None:
            new = random_pairs(candidates, labeled, rng)
        else:
            found = suggest_pairs(
                reward, candidates, ROUND, labeled=labeled, random_state=int(rng.integers(2**31))
            )
            new = np.column_stack([found.prompt, found.first, found.second])
        labeled = np.concatenate([labeled, new])
        row, first, second = labeled.T
        pairs = np.stack([candidates[row, first], candidates[row, second]], axis=1)
        y = 0.5 + 0.5 * np.sign(gold[train][row, first] - gold[train][row, second])
        reward = GPRewardRegressor(random_state=0).fit(pairs, y, groups=row)
        yield len(labeled), best_of_n_score(reward.predict(held_out), gold[test])


def flipped_auroc(X, gold, seed):
    """Return the area under the ROC curve of suspected labels, some of which are flipped."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in rng.permutation(len(X))[:N_PAIRS]:
        a, b = rng.permutation(X.shape[1])[:2]
        if abs(gold[i, a] - gold[i, b]) > MIN_GAP:
            pairs.append(X[i, [a, b] if gold[i, a] > gold[i, b] else [b, a]])
    pairs = np.array(pairs)
    flipped = rng.random(len(pairs)) < FLIPPED
    pairs[flipped] = pairs[flipped, ::-1]
    found = suspect_pairs(LinearRewardRegressor(), pairs)
    return float(roc_auc_score(flipped[found.index], -found.log_odds))


def measure(parts, data, n_splits, done):
    """Yield the records that are not done."""
    for seed in range(FIRST_SEED, FIRST_SEED + n_splits):
        for embedder in EMBEDDERS:
            for rule in ("suspect",) * ("suspect" in parts) + ("random", "likely winners") * (
                "suggest" in parts
            ):
                key = {"embedder": embedder, "seed": seed, "rule": rule}
                if tuple(key.values()) in done:
                    continue
                X, gold = load(data, embedder)
                if rule == "suspect":
                    yield key | {"auroc": flipped_auroc(X, gold, seed)}
                else:
                    curve = dict(learning_curve(X, gold, seed, rule))
                    yield key | {"gold": {str(n): float(value) for n, value in curve.items()}}


def cell(values):
    """Return a mean with its 95 % interval."""
    found = interval(np.asarray(values))
    return f"{found.mean:+.2f} ± {found.half_width:.2f}"


def print_table(records):
    """Print gold over random pairs by labels, and the areas of suspected labels."""
    by = {(r["embedder"], r["rule"], r["seed"]): r for r in records}
    sizes = [str(ROUND * (k + 1)) for k in range(1, ROUNDS)]
    print(
        "| embedder | " + " | ".join(f"{n} labels" for n in sizes) + " | AUROC of flipped labels |"
    )
    print("|---" * (len(sizes) + 2) + "|")
    for name in EMBEDDERS:
        pairs = [
            (r["gold"], by[name, "random", seed]["gold"])
            for (embedder, rule, seed), r in by.items()
            if (embedder, rule) == (name, "likely winners") and (name, "random", seed) in by
        ]
        areas = [r["auroc"] for (e, rule, _), r in by.items() if (e, rule) == (name, "suspect")]
        cells = [cell([a[n] - b[n] for a, b in pairs]) if len(pairs) > 1 else "" for n in sizes]
        cells.append(cell(areas).lstrip("+") if len(areas) > 1 else "")
        print(f"| {name} | " + " | ".join(cells) + " |")


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.labels", description=__doc__.splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", help="suggest, suspect; default: both")
    parser.add_argument("--data", default=os.environ.get("LENS_SKLEARN_DATA"))
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def main(argv=None):
    """Run what is missing and print the table."""
    command = parser()
    args = command.parse_args(argv)
    parts = args.parts or ["suggest", "suspect"]
    if unknown := set(parts) - {"suggest", "suspect"}:
        command.error(f"no part {', '.join(sorted(unknown))}; choose of suggest, suspect")
    if args.data is None:
        command.error("--data FOLDER holds alpaca_eval_dev_minilm384.npz and the like")
    kept = {"runs": [], "records": []}
    if args.results.exists():
        kept = json.loads(args.results.read_text(encoding="utf-8"))
    done = {(r["embedder"], r["seed"], r["rule"]) for r in kept["records"]}
    kept["runs"].append(machine())
    for record in measure(parts, args.data, args.splits, done):
        kept["records"].append(record)
        args.results.write_text(written(kept), encoding="utf-8")
    print_table(kept["records"])


def written(kept):
    """Return runs and records as JSON, a record a line."""
    lines = ",\n".join(json.dumps(record) for record in kept["records"])
    return f'{{"runs": {json.dumps(kept["runs"])},\n"records": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    main()
