"""``lens-sklearn fit``: train a reward model on preference pairs."""

import sys
import time
from math import ceil

from ._arguments import (
    add_command,
    add_device,
    add_force,
    add_rows,
    add_text_model,
    check_device,
    make_text_step,
    seed,
    share,
)
from ._data import read_pairs
from ._methods import add_methods, make_augmenter, settle_methods
from ._output import check_folder, print_table, say, write_config

__all__ = ["add_parser", "run"]

# Of AutoRewardRegressor.cv_results_, whose last row is the combination.
NORMAL = 1.96  # quantile of a 95 % interval
FEW = 100  # held-out pairs whose accuracy is uncertain by a tenth
CHOICE = ("candidate", "weight", "log_loss", "log_loss_error", "accuracy")

EXAMPLES = """\
examples:
  lens-sklearn fit pairs.jsonl -o reward
  lens-sklearn fit pairs.jsonl -o reward --model minilm
  lens-sklearn fit pairs.jsonl -o reward --unlabeled candidates.jsonl
  lens-sklearn fit pairs.jsonl -o reward --controlled log_characters,log_words
  lens-sklearn fit pairs.parquet -o reward --method lens --model Qwen/Qwen2.5-0.5B-Instruct \\
      --factor 8 --gamma 0.5 --noise-variance 0.1 --store embeddings

The default, auto, reads the embedding and what can be counted in a response, and lets left-out
prompts choose; it prints what they chose. "lens-sklearn compare" tells whether that, or anything
else, is worth more on your pairs than a tuned linear model.

The others train a network on the pairs and on synthetic ones, by the embedding alone. Run the
control beside them: as many optimiser steps, without new data.
  lens-sklearn fit pairs.jsonl -o control --method repeat

PAIRS has the columns chosen, rejected and, optionally, prompt:
  {"prompt": "What is 2 + 2?", "chosen": "4.", "rejected": "5."}
A column target is the probability that chosen wins, a column weight how much a pair counts.
A .npy file of embeddings (n, 2, d) does too, or a .npz file with pairs, target, weight, groups.
--unlabeled ROWS has responses, two or more a row, and, optionally, prompt:
  {"prompt": "What is 3 + 4?", "responses": ["7.", "8.", "Seven."]}
--model minilm is all-MiniLM-L6-v2 from the package of the extra "demo", --model smollm2 is
SmolLM2-135M-Instruct from that of the extra "smollm2"; both need no network."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    help = "train a reward model on preference pairs"
    parser = add_command(commands, "fit", run, help, EXAMPLES)
    parser.add_argument("pairs", metavar="PAIRS", help="rows of text, or .npy, .npz embeddings")
    parser.add_argument("-o", "--output", required=True, help="folder for the reward model")
    add_force(parser)
    add_rows(parser)
    add_text_model(parser)
    add_methods(parser)
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
    check_folder(arguments.output, arguments.force)
    check_device(arguments.device)
    from sklearn import config_context

    from .. import export

    started = time.perf_counter()
    pairs = read_pairs(arguments)
    if pairs.weight is not None:  # a part without any that counts could not be fitted or judged
        pairs = pairs.take(pairs.weight.nonzero()[0])
        if arguments.method == "distillation":
            raise ValueError(
                f"{arguments.pairs}: --method distillation has a teacher to which all pairs count "
                "alike; leave the column 'weight' out, or take another method."
            )
    train, test = _split_by_prompt(pairs, arguments.test_fraction, arguments.seed)
    pipeline = make_pipeline(arguments, is_text=pairs.is_text)
    n_test = 0 if test is None else len(test.X)
    source = "standard input" if arguments.pairs == "-" else arguments.pairs
    say(f"{_count(len(train.X), 'pair')} for training, {n_test} held out, from {source}")
    params = {"groups": train.groups}  # keeps prompts whole in folds and early stopping
    if arguments.unlabeled is not None:
        params["unlabeled"] = _load_unlabeled(arguments.unlabeled, test.X if test else [])
        say(f"{len(params['unlabeled'])} prompts with responses from {arguments.unlabeled}")
    for column, values in (("target", train.target), ("weight", train.weight)):
        if values is not None:
            say(f"the column {column} is read, mean {values.mean():.3g}")
    with config_context(enable_metadata_routing=True):
        if train.weight is not None:
            pipeline["reward"].set_fit_request(sample_weight=True)
            params["sample_weight"] = train.weight
        pipeline.fit(train.X, train.target, **params)
    accuracies = {"train_accuracy": _accuracy(pipeline, train)}
    if test is not None:
        accuracies["held_out_accuracy"] = _accuracy(pipeline, test)
    export.save(pipeline, arguments.output)
    sizes = {"train_pairs": len(train.X), "held_out_pairs": n_test} | _sizes_of(pipeline)
    scores = {name: accuracy.mean for name, accuracy in accuracies.items()}
    if test is not None and accuracies["held_out_accuracy"].n > 1:
        scores["held_out_accuracy_half_width"] = accuracies["held_out_accuracy"].half_width
    write_config(arguments, arguments.output, sizes=sizes, scores=scores)
    _report(arguments, sizes, accuracies, time.perf_counter() - started)
    if arguments.method == "auto":
        print()
        _print_choice(pipeline["reward"].cv_results_)
    if test is not None:
        _say_how_sure(n_test, accuracies["held_out_accuracy"].n)
    _say_what_next(arguments.output, pairs.is_text)


def _report(arguments, sizes, accuracies, seconds):
    """Print what was fitted, and how well."""
    lines = [[k.replace("_", " "), str(v)] for k, v in sizes.items()]
    for name, accuracy in accuracies.items():
        cell = f"{accuracy.mean:.3f}"
        if name == "held_out_accuracy" and accuracy.n > 1:
            low, high = (accuracy.mean + side * accuracy.half_width for side in (-1, 1))
            cell += f" ({max(low, 0):.3f} to {min(high, 1):.3f})"
        lines.append([name.replace("_", " "), cell])
    lines.append(["seconds", f"{seconds:.1f}"])
    print_table(["saved in", arguments.output], lines)


def _say_how_sure(n_pairs, n_prompts):
    """Say what the interval is, and what a small number of held-out pairs means."""
    interval = "In parentheses is the 95 % interval, by prompt."
    if n_prompts == 1:
        interval = "One held-out prompt has no interval."
    if n_pairs < FEW:
        counts = f"{_count(n_pairs, 'pair')} of {_count(n_prompts, 'prompt')}"
        interval += (
            f' The accuracy was measured on few: {counts}. "lens-sklearn compare" judges by all '
            "pairs in turn."
        )
    say(interval)


def _count(n, what):
    return f"{n} {what}{'' if n == 1 else 's'}"


def _say_what_next(output, is_text):
    given = f"{output} {'ROWS' if is_text else 'EMBEDDINGS'}"
    say(
        f"Next: lens-sklearn score {given} writes rewards, lens-sklearn best-of-n {given} measures "
        "picks by gold."
    )


def _sizes_of(pipeline):
    """Return the numbers that tell what was fitted."""
    reward, augmenter = pipeline["reward"], pipeline.named_steps.get("augment")
    sizes = {"n_features": reward.n_features_in_}
    if augmenter is None:
        return sizes
    factor = getattr(augmenter, "factor_", augmenter.factor)
    return sizes | {"factor": factor, "epochs": len(reward.history_)}


def _print_choice(found):
    """Print what left-out prompts chose, the largest weight first."""
    *candidates, combined = zip(*(found[name] for name in CHOICE), strict=True)
    candidates.sort(key=lambda row: -row[1])
    rows = [
        [name, f"{weight:.3f}", _cell(loss, error), _cell(accuracy)]
        for name, weight, loss, error, accuracy in (*candidates, combined)
    ]
    rows[-1][1] = ""
    print_table(["left-out prompts", "weight", "log loss ± error", "accuracy"], rows)


def _cell(mean, error=None):
    """Return numbers as a cell, blank where nothing could be left out."""
    if mean != mean:
        return ""
    return f"{mean:.3f}" if error is None else f"{mean:.3f} ± {error:.3f}"


def _accuracy(pipeline, pairs):
    """Return pair accuracy by targets and weights, with its interval by prompt."""
    from .._statistics import clustered_mean
    from ..metrics import pair_agreement

    agreement = pair_agreement(pipeline.predict(pairs.X), pairs.target)
    accuracy = clustered_mean(agreement, pairs.groups, pairs.weight)
    if accuracy.half_width == 0:  # equal values show no spread, which is not to know for sure
        accuracy = accuracy._replace(half_width=NORMAL**2 / (accuracy.n + NORMAL**2))  # Wilson's
    return accuracy


def make_pipeline(arguments, *, is_text=True):
    """Return the pipeline from text, or from embeddings, to rewards.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn fit``, after :func:`settle_methods`.
    is_text : bool, default=True
        Whether it begins with an embedder.

    Returns
    -------
    Pipeline
        Not fitted.
    """
    from sklearn.pipeline import Pipeline

    from .._auto_reward import AutoRewardRegressor
    from .._bt_reward import BTRewardRegressor
    from .._scaler import EmbeddingScaler

    # Unlabelled responses are text: they reach who learns from them through the steps before it.
    transform_input = None if arguments.unlabeled is None else ["unlabeled"]
    if arguments.method == "auto":
        steps, settings = [], {}
        if is_text:
            embed = make_text_step(arguments, with_features=not arguments.no_features)
            steps.append(("embed", embed))
        if is_text and not arguments.no_features:
            settings["n_response_features"] = len(embed.features.names)
            settings["controlled"] = tuple(embed.features.columns(arguments.controlled or []))
        reward = AutoRewardRegressor(
            **settings, device=arguments.device, random_state=arguments.seed
        )
        return Pipeline([*steps, ("reward", reward)], transform_input=transform_input)
    reward = BTRewardRegressor(
        max_epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        device=arguments.device,
        random_state=arguments.seed,
        verbose=int(sys.stderr.isatty()),
    )
    steps = [("embed", make_text_step(arguments, with_features=False))] if is_text else []
    steps += [
        ("scale", EmbeddingScaler()),
        ("augment", make_augmenter(arguments)),
        ("reward", reward),
    ]
    return Pipeline(steps, transform_input=transform_input)


def _split_by_prompt(pairs, test_fraction, random_state):
    """Return training and held-out pairs, which share no prompt; None if none are held out."""
    from sklearn.model_selection import GroupShuffleSplit

    if test_fraction == 0:
        return pairs, None
    n_prompts = len(set(pairs.groups.tolist()))
    if ceil(test_fraction * n_prompts) == n_prompts:
        raise ValueError(
            f"--test-fraction {test_fraction} leaves no prompt to train on, as there "
            f"{'is' if n_prompts == 1 else 'are'} {n_prompts}; --test-fraction 0 holds none out."
        )
    splitter = GroupShuffleSplit(n_splits=1, test_size=test_fraction, random_state=random_state)
    train, test = next(splitter.split(pairs.X, groups=pairs.groups))
    return pairs.take(train), pairs.take(test)


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
