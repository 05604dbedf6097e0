"""``lens-sklearn demo``: compare LENS with its controls on real text."""

import time
from pathlib import Path

from ._arguments import add_command, add_force, positive, seed
from ._output import (
    check_folder,
    check_matplotlib,
    printable,
    replacing,
    say,
    write_config,
    write_json,
    write_rows,
)

__all__ = ["add_parser", "run"]

CURVE_METHODS = ("original", "repeat 4×", "tuned linear", "LENS 4×", "distillation 8×")
SAVED_METHOD = "LENS 4×"

EXAMPLES = """\
example:
  lens-sklearn demo -o lens-demo

The sentences were written for this project and have a known quality; the encoder comes with
the extra "demo", so nothing is downloaded. Two controls tell whether synthesis is worth it:
"repeat" has the same optimiser steps without new data, "tuned linear" is a cross-validated
logistic regression. "Gaussian process" is the teacher of "distillation". "longest" and
"shortest" pick by length, without pairs or a model; "length-matched" is the accuracy over pairs
whose lengths differ by less than a fifth, where that is of no use. In the folder:
table.md, table.json, curve.png, pairs.jsonl, candidates.jsonl, and the model of
"lens-sklearn score lens-demo ROWS"."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    parser = add_command(
        commands, "demo", run, "compare LENS with its controls on real text", EXAMPLES
    )
    parser.add_argument("-o", "--output", default="lens-demo", help="folder for the results")
    add_force(parser)
    parser.add_argument("--seed", type=seed, default=0, help="of splits and methods")
    parser.add_argument("--splits", type=positive, default=5, help="splits by prompt")
    parser.add_argument("--pairs", type=positive, default=240, help="training pairs of a split")
    parser.add_argument("--model", default="minilm", help="encoder, a name or a folder")


def run(arguments):
    """Compare LENS with its controls on the demo's sentences.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn demo``.
    """
    check_folder(arguments.output, arguments.force)
    check_matplotlib("demo")
    from .._demo import demo_table, summarize
    from .._embedder import LLMEmbedder
    from .._packaged_model import packaged_folder
    from ..datasets import make_demo_preferences

    started = time.perf_counter()
    seeds = range(arguments.seed, arguments.seed + arguments.splits)
    demos = [make_demo_preferences(arguments.pairs, random_state=drawn) for drawn in seeds]
    packaged_folder(arguments.model)  # its extra is named before the work
    embedder = LLMEmbedder(arguments.model, pooling="mean", layer="all")
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    embeddings, features = _embed_responses(embedder, started)
    splits = [_make_split(demo, embeddings, features) for demo in demos]
    results, rewards, fitted = _run_splits(splits, seeds, started)
    _save_pipeline(embedder, fitted[SAVED_METHOD], folder)
    summary = summarize(results)
    table, gold = demo_table(summary), splits[0].gold
    with replacing(folder / "table.md") as file:
        file.write(table + "\n")
    write_json(folder / "table.json", {"summary": summary, "splits": results})
    write_rows(str(folder / "pairs.jsonl"), demos[0].pairs)
    write_rows(str(folder / "candidates.jsonl"), demos[0].candidates)
    _draw_curves(rewards, demos, folder / "curve.png")
    sizes = {"pairs": arguments.pairs, "splits": arguments.splits, "d": embeddings.shape[-1]}
    write_config(arguments, folder, sizes=sizes, scores={"first_split": results[0]})
    text = (
        f"Mean gold reward of the Best-of-{gold.shape[1]} pick on {len(gold)} held-out prompts, "
        f"mean ± 95 % interval over {arguments.splits} splits:\n\n{table}\n\n"
        f"In {folder}/: the model ({SAVED_METHOD}, first split), table.md, table.json, curve.png, "
        f"and of the first split pairs.jsonl and candidates.jsonl. "
        f"{time.perf_counter() - started:.0f} s in all."
    )
    print(printable(text))
    say(
        f"Next: lens-sklearn best-of-n {folder} {folder}/candidates.jsonl measures the picks, "
        f"lens-sklearn fit {folder}/pairs.jsonl -o reward --model {arguments.model} learns what is "
        "recommended; then take your own pairs."
    )


def _embed_responses(embedder, started):
    """Fit the embedder; return embeddings (n_prompts, N, d) and features (n_prompts, N, k)."""
    from .._demo_data import demo_responses
    from .._response_features import ResponseFeatures

    prompts, responses, _ = demo_responses()
    say(f"Embedding {responses.size} responses to {len(prompts)} prompts …")
    rows = [{"prompt": p, "responses": list(r)} for p, r in zip(prompts, responses, strict=True)]
    embeddings = embedder.fit_transform(rows)
    say(f"  (n_prompts, N, d) = {embeddings.shape}, {time.perf_counter() - started:.0f} s")
    return embeddings, ResponseFeatures().fit_transform(rows)


def _make_split(demo, embeddings, features):
    """Return both views of a split's pairs and held-out candidates."""
    import numpy as np

    from .._demo import Split
    from .._shortcuts import response_lengths

    prompt, chosen, rejected = demo.pair_index.T
    of_pairs, of_candidates = [], []
    for view in (embeddings, features):
        # (n, 2, d)
        of_pairs.append(np.stack([view[prompt, chosen], view[prompt, rejected]], axis=1))
        of_candidates.append(view[demo.test_index])  # (n_prompts, N, d)
    return Split(
        of_pairs[0],
        demo.groups,
        of_candidates[0],
        demo.gold,
        response_lengths(demo.candidates),
        of_pairs[1],
        of_candidates[1],
    )


def _run_splits(splits, seeds, started):
    """Return results and rewards of all splits, and what was fitted on the first one."""
    from .._demo import run_split
    from .._device import one_thread

    results, rewards, first = [], [], None
    for number, (split, drawn) in enumerate(zip(splits, seeds, strict=True), start=1):
        with one_thread():
            result, predicted, fitted = run_split(split, drawn)
        results.append(result)
        rewards.append(predicted)
        first = first or fitted
        say(
            f"Split {number} of {len(splits)}: {len(split.pairs)} pairs, "
            f"{len(split.gold)} held-out prompts, {time.perf_counter() - started:.0f} s"
        )
    return results, rewards, first


def _save_pipeline(embedder, steps, folder):
    """Save what was fitted on embeddings as a model that reads text."""
    from sklearn.pipeline import Pipeline

    from .. import export

    names = ("embed", "scale", "augment", "reward")
    export.save(Pipeline(list(zip(names, (embedder, *steps), strict=True))), folder)


def _draw_curves(rewards, demos, path):
    """Draw the Best-of-N curves of the methods worth comparing, means of the splits."""
    from .._shortcuts import shortcut_rewards
    from ..displays import save_curves

    shortcuts = [shortcut_rewards(demo.candidates) for demo in demos]
    save_curves(
        [(name, [predicted[name] for predicted in rewards]) for name in CURVE_METHODS],
        [demo.gold for demo in demos],
        path,
        shortcuts={name: [of[name] for of in shortcuts] for name in shortcuts[0]},
    )
