"""``lens-sklearn score``: write the rewards of responses."""

from ._arguments import (
    COLUMNS,
    add_command,
    add_force,
    add_rows,
    add_saved_model,
    check_device,
    load_pipeline,
    reading,
    refuse_text_options,
)
from ._output import RESULTS, check_file, say, write_rows

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn score reward candidates.jsonl -o scored.jsonl
  lens-sklearn score reward pairs.csv -o scored.csv --prompt-column question
  zcat rows.jsonl.gz | lens-sklearn score reward - | head

ROWS has responses, or chosen and rejected, or one response a row, as response, completion or
messages; prompt is optional. A model of embeddings reads .npy and .npz files in its place.
Every row comes back with its "rewards", in the order of responses or as [chosen, rejected];
null is a text that was left out.
A reward is known up to a shift: compare the rewards of one prompt with each other only."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    parser = add_command(commands, "score", run, "write the rewards of responses", EXAMPLES)
    add_saved_model(parser)
    parser.add_argument("rows", metavar="ROWS", help="candidates, pairs or single responses")
    parser.add_argument(
        "-o", "--output", help=f"{', '.join(RESULTS)} (default: lines to standard output)"
    )
    add_force(parser)
    add_rows(parser, COLUMNS[:4])


def run(arguments):
    """Write the rewards of rows.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn score``.
    """
    check_file("-o", arguments.output, arguments.rows, arguments.force, RESULTS)
    check_device(arguments.device)
    from .._embedding_files import is_embedding_file

    if is_embedding_file(arguments.rows):
        _score_embeddings(arguments)
    else:
        _score_text(arguments)


def _score_text(arguments):
    import numpy as np

    from .._io import check_texts, load_rows, pair_targets

    rows = load_rows(arguments.rows, **reading(arguments))
    table = check_texts(rows, arguments.rows, arguments.on_invalid)
    try:
        target, weight = pair_targets(rows) if table.kind == "pairs" else (None, None)
    except ValueError as error:
        raise ValueError(f"{arguments.rows}: {error}") from None
    kept = np.setdiff1d(np.arange(len(rows)), table.dropped)
    if not len(kept):
        raise ValueError(f"{arguments.rows}: every row has an empty or malformed text.")
    rewards = np.full(table.items.shape, np.nan)  # (n, 2) or (n, N)
    found = load_pipeline(arguments).predict([rows[i] for i in kept])
    rewards[kept, : found.shape[1]] = found
    scored = [
        {**row, "rewards": values[: _count(row, table)].tolist()}
        for row, values in zip(rows, rewards, strict=True)
    ]
    write_rows(arguments.output, scored)
    _say_where(arguments.output, scored)
    if table.kind == "pairs":
        target, weight = (None if v is None else v[kept] for v in (target, weight))
        _say_accuracy(rewards[kept], target, weight)


def _count(row, table):
    """Return how many rewards a row has, those of texts that were left out included."""
    if table.kind == "pairs":
        return 2
    return len(row[table.column]) if table.column == "responses" else 1


def _score_embeddings(arguments):
    from .._embedding_files import load_embeddings

    refuse_text_options(arguments, arguments.rows)
    found = load_embeddings(arguments.rows)
    rewards = load_pipeline(arguments, text=False).predict(found.X)
    scored = [{"rewards": values.tolist()} for values in rewards]
    write_rows(arguments.output, scored)
    _say_where(arguments.output, scored)
    if found.kind == "pairs" and not arguments.rows.lower().endswith(".npy"):  # may be of two each
        _say_accuracy(rewards, found.target, found.weight)


def _say_where(path, rows):
    if path is not None:
        say(f"{len(rows)} rows with their rewards in {path}.")


def _say_accuracy(rewards, target, weight):
    from ..metrics import pair_accuracy_score

    accuracy = pair_accuracy_score(rewards, target, sample_weight=weight)
    say(f"pair accuracy {accuracy:.3f} over {len(rewards)} pairs")
