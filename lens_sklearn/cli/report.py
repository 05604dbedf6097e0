"""``lens-sklearn report``: what a reward model is worth, as one HTML page."""

import argparse
import json
import os
import tempfile
from contextlib import nullcontext
from pathlib import Path

from ._arguments import (
    COLUMNS,
    add_command,
    add_force,
    add_rows,
    add_saved_model,
    check_device,
    load_pipeline,
    positive,
    seed,
)
from ._data import PAIR_COLUMNS, read_candidates, read_pairs
from ._output import check_file, check_matplotlib, replacing, say

__all__ = ["add_parser", "run"]

PAGES = (".html", ".htm")

EXAMPLES = """\
examples:
  lens-sklearn report reward --candidates candidates.jsonl
  lens-sklearn report reward --candidates candidates.jsonl --pairs held_out.jsonl \\
      --reference control -o report.html

The page opens in any browser, without a network. It compares the model's picks with random ones,
the longest, the shortest and the best possible ones, draws the Best-of-N curve, shows picks side
by side with those of the reference model (without one: the longest responses), and says how far
the reward goes by length. With --pairs it has calibration, and of a model with an autoencoder the
map of latents and the certificate. What cannot be shown says why.

CANDIDATES is what "lens-sklearn best-of-n" reads; without gold rewards picks are shown and not
judged. Take prompts and pairs that the model has not learned from. PAIRS is what "lens-sklearn fit"
reads; PAIRS:test is its split test."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    help = "write what a reward model is worth as an HTML page"
    parser = add_command(commands, "report", run, help, EXAMPLES)
    add_saved_model(parser)
    parser.add_argument(
        "--candidates", metavar="CANDIDATES", required=True, help="responses, and their gold"
    )
    parser.add_argument("--pairs", metavar="PAIRS", help="preference pairs, held out")
    parser.add_argument("--reference", metavar="FOLDER", help="another model: a control")
    parser.add_argument(
        "--reference-model", metavar="NAME", help="where the reference's language model is"
    )
    parser.add_argument("-o", "--output", default="report.html", help=", ".join(PAGES))
    add_force(parser)
    parser.add_argument(
        "--examples", type=positive, default=8, help="prompts whose picks are shown"
    )
    add_rows(parser, COLUMNS)
    parser.add_argument("--seed", type=seed, default=0, help="of the intervals' bootstrap")


def run(arguments):
    """Write the report of a reward model.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn report``.
    """
    _check(arguments)
    from ..reporting import html_report

    rows, candidates, gold = read_candidates(arguments, needs_gold=False, keeps_empty=True)
    pairs = _read_pairs(arguments, rows is not None)
    # Of two models with the same language model the second one reads what the first embedded.
    share = arguments.reference and rows is not None and arguments.store is None
    with tempfile.TemporaryDirectory() if share else nullcontext(arguments.store) as store:
        load = {"text": rows is not None}
        model = load_pipeline(_with(arguments, store=store), **load)
        reference = None
        if arguments.reference is not None:
            given = {"folder": arguments.reference, "model": arguments.reference_model}
            reference = load_pipeline(_with(arguments, store=store, **given), **load)
        page = html_report(
            model,
            candidates,
            gold,
            pairs=None if pairs is None else pairs.X,
            target=None if pairs is None else pairs.target,
            sample_weight=None if pairs is None else pairs.weight,
            groups=None if pairs is None else pairs.groups,
            reference=reference,
            name=_name_of(arguments.folder),
            about=_about(arguments),
            notes=_notes(arguments),
            n_examples=arguments.examples,
            random_state=arguments.seed,
        )
    with replacing(arguments.output) as file:
        file.write(page)
    say(f"The report: {arguments.output}")


def _check(arguments):
    """Refuse what cannot be done before anything is read."""
    check_file("-o", arguments.output, arguments.candidates, arguments.force, PAGES)
    check_matplotlib("report")
    check_device(arguments.device)
    if arguments.reference_model is not None and arguments.reference is None:
        raise ValueError("--reference-model has no effect without --reference.")
    if arguments.pairs is None:
        for name in PAIR_COLUMNS:
            if getattr(arguments, f"{name}_column") is not None:
                raise ValueError(f"--{name}-column has no effect without --pairs.")
    if arguments.pairs == arguments.candidates == "-":
        raise ValueError("--candidates and --pairs cannot both be standard input.")


def _with(arguments, **changed):
    return argparse.Namespace(**{**vars(arguments), **changed})


def _read_pairs(arguments, is_text):
    """Return the pairs, or None."""
    if arguments.pairs is None:
        return None
    candidate_columns = {"responses_column": None, "gold_column": None, "split": None}
    pairs = read_pairs(_with(arguments, **candidate_columns))
    if pairs.is_text != is_text:
        kinds = ("rows of text", "embeddings")
        ours, theirs = kinds if is_text else kinds[::-1]
        raise ValueError(
            f"--pairs {arguments.pairs}: has {theirs}, and {arguments.candidates} has {ours}; give "
            "both alike."
        )
    return pairs


def _about(arguments):
    """Return what is known of the files and of how the model came about."""
    from ..export import versions

    about = {"candidates": _name_of(arguments.candidates)}
    config = _config_of(arguments.folder)
    if arguments.pairs is not None:
        about["pairs"] = _name_of(arguments.pairs)
    if arguments.reference is not None:
        about["reference model"] = _name_of(arguments.reference)
    fitted = [
        f"{name.replace('_', ' ')} {value:.4g}"
        for part in ("sizes", "scores")
        for name, value in config.get(part, {}).items()
        if isinstance(value, int | float)
    ]
    if fitted:
        about["when fitted"] = ", ".join(fitted)
    about["versions"] = ", ".join(f"{name} {version}" for name, version in versions().items())
    return about


def _notes(arguments):
    """Return what a reader must know, and say it at once."""
    settings = _config_of(arguments.folder).get("settings", {})
    if arguments.pairs is None or not _is_same(settings, arguments.pairs):
        return []
    note = (
        "The model was fitted on the file of these pairs: its calibration and its accuracy on them "
        "look better than they are."
    )
    say(f"lens-sklearn: warning: {note}")
    return [note]


def _config_of(folder):
    """Return what was written beside the model, nothing if it cannot be read."""
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    parts = config.items() if isinstance(config, dict) else ()
    return {name: part for name, part in parts if isinstance(part, dict)}


def _is_same(settings, other):
    """Return whether a model was fitted on the file, and the split, of these pairs."""
    from .._io import split_path

    if not isinstance(settings.get("pairs"), str):
        return False
    path, split = split_path(settings["pairs"])
    other, other_split = split_path(other)
    split = split or settings.get("split")
    try:
        is_same = os.path.samefile(path, other)
    except (OSError, ValueError):
        return False
    return is_same and (split == other_split or None in (split, other_split))


def _name_of(path):
    """Return a path without the folders of this machine: the page goes to others."""
    return os.path.basename(os.path.normpath(path))
