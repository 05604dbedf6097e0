"""``lens-sklearn score``: write the rewards of responses."""

import json

from ._arguments import add_command, add_saved_model, load_pipeline
from ._output import check_file, say, write_lines

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn score reward candidates.jsonl -o scored.jsonl
  lens-sklearn score reward pairs.jsonl

Every row comes back with its "rewards", in the order of responses or as [chosen, rejected].
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
    parser.add_argument("rows", metavar="ROWS", help="candidates or pairs")
    parser.add_argument("-o", "--output", help="a .jsonl file (default: standard output)")


def run(arguments):
    """Write the rewards of rows.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn score``.
    """
    check_file("-o", arguments.output, arguments.rows)
    import numpy as np

    from .._io import load_rows, pair_targets
    from .._rows import kind_of
    from ..metrics import pair_accuracy_score

    rows = load_rows(arguments.rows)
    kind = kind_of(rows[0])
    if kind == "texts":
        raise ValueError(
            f"{arguments.rows}: expected rows with the columns 'chosen' and 'rejected', or "
            f"'responses'; got rows of {type(rows[0]).__name__}."
        )
    target, weight = pair_targets(rows) if kind == "pairs" else (None, None)
    rewards = load_pipeline(arguments).predict(rows)  # (n, 2) or (n, N), padded with NaN
    lines = (
        json.dumps({**row, "rewards": [float(r) for r in values[~np.isnan(values)]]})
        for row, values in zip(rows, rewards, strict=True)
    )
    write_lines(arguments.output, lines)
    if kind == "pairs":
        accuracy = pair_accuracy_score(rewards, target, sample_weight=weight)
        say(f"pair accuracy {accuracy:.3f} over {len(rows)} pairs")
