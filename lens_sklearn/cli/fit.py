"""``lens-sklearn fit``: train a reward model on preference pairs."""

import sys
import time
from math import ceil

from ._arguments import (
    above_zero,
    add_command,
    add_device,
    add_store,
    layer,
    model_path,
    pooling,
    positive,
    seed,
    share,
)
from ._methods import add_methods, make_augmenter, settle_methods
from ._output import check_folder, print_table, say, write_config

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn fit pairs.jsonl -o reward
  lens-sklearn fit pairs.jsonl -o reward --model minilm
  lens-sklearn fit pairs.jsonl -o reward --method distillation --unlabeled candidates.jsonl
  lens-sklearn fit pairs.parquet -o reward --model Qwen/Qwen2.5-0.5B-Instruct --factor 8 \\
      --gamma 0.5 --noise-variance 0.1 --store embeddings

Run the control beside it: as many optimiser steps, without new data. Synthetic pairs are worth only
what they gain over this control; "lens-sklearn best-of-n" measures both:
  lens-sklearn fit pairs.jsonl -o control --method repeat
The control without a network is lens_sklearn.LinearRewardRegressor, in Python and in the demo.

PAIRS has the columns chosen, rejected and, optionally, prompt:
  {"prompt": "What is 2 + 2?", "chosen": "4.", "rejected": "5."}
A column target is the probability that chosen wins, a column weight how much a pair counts.
--unlabeled ROWS has responses, two or more a row, and, optionally, prompt:
  {"prompt": "What is 3 + 4?", "responses": ["7.", "8.", "Seven."]}
--model minilm is all-MiniLM-L6-v2 from the package of the extra "demo"; it needs no network."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    help = "train a reward model on preference pairs"
    parser = add_command(commands, "fit", run, help, EXAMPLES)
    parser.add_argument("pairs", metavar="PAIRS", help=".jsonl, .jsonl.gz, .parquet or .csv")
    parser.add_argument("-o", "--output", required=True, help="folder for the reward model")
    text = parser.add_argument_group("embedding")
    text.add_argument(
        "--model",
        default="Qwen/Qwen2.5-0.5B-Instruct",
        help="name on the Hugging Face Hub, a folder, or minilm",
    )
    text.add_argument("--layer", type=layer, default="auto", help="a number, 1,2,3, all or auto")
    text.add_argument(
        "--pooling",
        type=pooling,
        default="auto",
        help="auto, last, mean, response_mean, cls, weighted_mean, max, or several with commas",
    )
    text.add_argument("--max-length", type=positive, default=1024, help="tokens of a text")
    add_store(text)
    add_methods(parser)
    reward = parser.add_argument_group("reward")
    reward.add_argument(
        "--epochs", type=positive, default=20, help="most epochs of the reward model"
    )
    reward.add_argument(
        "--learning-rate", type=above_zero, default=1e-4, help="learning rate of the reward model"
    )
    other = parser.add_argument_group("other")
    other.add_argument(
        "--test-fraction",
        type=share,
        default=0.2,
        help="share of the prompts kept out of training to measure pair accuracy; 0 for none",
    )
    add_device(other)
    other.add_argument("--seed", type=seed, default=0, help="random seed")


def run(arguments):
    """Train and save a reward model.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn fit``.
    """
    settle_methods(arguments)
    check_folder(arguments.output)
    from sklearn import config_context

    from .. import export
    from .._io import load_preferences, pair_targets
    from .._rows import prompt_groups

    started = time.perf_counter()
    rows = _leave_out_weightless(load_preferences(arguments.pairs), arguments.pairs)
    train, test = _split_by_prompt(rows, arguments.test_fraction, arguments.seed)
    pipeline = make_pipeline(arguments)
    say(f"{len(train)} pairs for training, {len(test)} held out, from {arguments.pairs}")
    params = {"groups": prompt_groups(train)}  # keeps prompts whole in folds and early stopping
    if arguments.unlabeled is not None:
        params["unlabeled"] = _load_unlabeled(arguments.unlabeled, test)
        say(f"{len(params['unlabeled'])} prompts with responses from {arguments.unlabeled}")
    target, weight = pair_targets(train)
    if weight is not None and arguments.method == "distillation":
        raise ValueError(
            f"{arguments.pairs}: --method distillation has a teacher to which all pairs count "
            "alike; leave the column 'weight' out, or take another method."
        )
    for column, values in (("target", target), ("weight", weight)):
        if values is not None:
            say(f"the column {column} is read, mean {values.mean():.3g}")
    with config_context(enable_metadata_routing=True):
        if weight is not None:
            pipeline["reward"].set_fit_request(sample_weight=True)
            params["sample_weight"] = weight
        pipeline.fit(train, target, **params)
    scores = {"train_accuracy": _accuracy(pipeline, train)}
    if test:
        scores["held_out_accuracy"] = _accuracy(pipeline, test)
    export.save(pipeline, arguments.output)
    reward, augmenter = pipeline["reward"], pipeline["augment"]
    sizes = {
        "train_pairs": len(train),
        "held_out_pairs": len(test),
        "n_features": reward.n_features_in_,
        "factor": getattr(augmenter, "factor_", augmenter.factor),
        "epochs": len(reward.history_),
    }
    write_config(arguments, arguments.output, sizes=sizes, scores=scores)
    lines = [[k.replace("_", " "), str(v)] for k, v in sizes.items()]
    lines += [[k.replace("_", " "), f"{v:.3f}"] for k, v in scores.items()]
    lines.append(["seconds", f"{time.perf_counter() - started:.1f}"])
    print_table(["saved in", arguments.output], lines)


def _accuracy(pipeline, rows):
    """Return pair accuracy by the rows' targets and weights."""
    from .._io import pair_targets
    from ..metrics import pair_accuracy_score

    target, weight = pair_targets(rows)
    return pair_accuracy_score(pipeline.predict(rows), target, sample_weight=weight)


def make_pipeline(arguments):
    """Return the pipeline from text to rewards.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn fit``, after :func:`settle_methods`.

    Returns
    -------
    Pipeline
        Not fitted.
    """
    from sklearn.pipeline import Pipeline

    from .._bt_reward import BTRewardRegressor
    from .._embedder import LLMEmbedder
    from .._scaler import EmbeddingScaler

    embedder = LLMEmbedder(
        model_path(arguments.model),
        layer=arguments.layer,
        pooling=arguments.pooling,
        max_length=arguments.max_length,
        store=arguments.store,
        device=arguments.device,
    )
    reward = BTRewardRegressor(
        max_epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        device=arguments.device,
        random_state=arguments.seed,
        verbose=int(sys.stderr.isatty()),
    )
    steps = [
        ("embed", embedder),
        ("scale", EmbeddingScaler()),
        ("augment", make_augmenter(arguments)),
        ("reward", reward),
    ]
    # Unlabelled responses are text: they reach the augmenter through the steps before it.
    return Pipeline(steps, transform_input=None if arguments.unlabeled is None else ["unlabeled"])


def _leave_out_weightless(rows, path):
    """Return the rows that count: a part without any of them could be neither fitted nor judged."""
    from .._io import pair_targets

    weight = pair_targets(rows)[1]
    if weight is None:
        return rows
    if not weight.any():
        raise ValueError(f"{path}: the weight of every row is 0; nothing can be learnt.")
    return [row for row, counts in zip(rows, weight > 0, strict=True) if counts]


def _split_by_prompt(rows, test_fraction, random_state):
    """Return training and held-out rows, which share no prompt."""
    from sklearn.model_selection import GroupShuffleSplit

    from .._rows import prompt_groups

    if test_fraction == 0:
        return rows, []
    groups = prompt_groups(rows)
    n_prompts = len(set(groups))
    if ceil(test_fraction * n_prompts) == n_prompts:
        raise ValueError(
            f"--test-fraction {test_fraction} leaves no prompt to train on, the rows have "
            f"{n_prompts}; 0 holds none out."
        )
    splitter = GroupShuffleSplit(n_splits=1, test_size=test_fraction, random_state=random_state)
    train, test = next(splitter.split(rows, groups=groups))
    return [rows[i] for i in train], [rows[i] for i in test]


def _load_unlabeled(path, held_out):
    """Read responses without labels; those to held-out prompts are left out."""
    from .._io import load_candidate_rows
    from .._rows import prompt_keys

    rows = load_candidate_rows(path)
    keys = {key for key in prompt_keys(held_out) if key} if held_out else set()
    rows = [row for row, key in zip(rows, prompt_keys(rows), strict=True) if key not in keys]
    if not rows:
        raise ValueError(
            f"--unlabeled {path}: all its prompts are among those held out for the accuracy; give "
            "others or set --test-fraction 0."
        )
    return rows
