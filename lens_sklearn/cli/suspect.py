"""``lens-sklearn suspect``: pairs whose labels should be read again."""

from ._arguments import (
    add_command,
    add_device,
    add_force,
    add_rows,
    add_text_model,
    check_device,
    make_text_step,
    positive,
)
from ._data import read_pairs
from ._output import RESULTS, check_file, print_table, say, write_rows

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn suspect pairs.jsonl -o suspects.csv --model minilm
  lens-sklearn suspect pairs.csv -o suspects.jsonl -n 50 --store embeddings

Every pair is judged by a linear reward of the pairs of other prompts. The output has the pairs
whose label it finds least likely first: "row" is the pair's number in PAIRS, from 0, and
"probability" how likely its label is. Read them again, and mend what is wrong; do not leave them
out unread, since pairs that are hard to predict are among them.

PAIRS is what "lens-sklearn fit" reads. Its column weight says how much a pair counts where others
are judged by it, and in the accuracy; a pair of weight 0 is listed and not learned from."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    parser = add_command(commands, "suspect", run, "list pairs to read again", EXAMPLES)
    parser.add_argument("pairs", metavar="PAIRS", help="rows of text, or .npy, .npz embeddings")
    parser.add_argument("-o", "--output", required=True, help=", ".join(RESULTS))
    parser.add_argument("-n", type=positive, help="how many pairs (default: all, in their order)")
    add_force(parser)
    add_rows(parser)
    add_text_model(parser)
    other = parser.add_argument_group("other")
    other.add_argument("--splits", type=positive, default=5, help="parts that are left out in turn")
    add_device(other)


def run(arguments):
    """Write the pairs in the order in which they should be read again.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn suspect``.
    """
    check_file("-o", arguments.output, arguments.pairs, arguments.force, RESULTS)
    check_device(arguments.device)
    if arguments.splits < 2:
        raise ValueError("--splits 1 leaves nothing to learn from; give 2 or more.")
    import numpy as np

    from .._linear_reward import LinearRewardRegressor
    from .._suspect_pairs import suspect_pairs
    from ..metrics import pair_accuracy_score

    pairs = read_pairs(arguments)
    X = pairs.X
    reward = LinearRewardRegressor()
    if pairs.is_text:  # embedded once, not once a part
        step = make_text_step(arguments, with_features=True)
        reward.set_params(n_response_features=len(step.features.names))
        X = step.fit_transform(X)
    weighed = pairs.target, pairs.weight
    found = suspect_pairs(reward, X, *weighed, groups=pairs.groups, n_splits=arguments.splits)
    rows = pairs.X if pairs.is_text else [{} for _ in pairs.X]
    suspects = found.rows(rows, arguments.n)
    suspects = [row | {"row": int(pairs.numbers[row["row"]])} for row in suspects]
    write_rows(arguments.output, suspects)
    log_odds = np.empty(len(rows))
    log_odds[found.index] = found.log_odds
    rewards = np.stack([log_odds, np.zeros_like(log_odds)], axis=1)
    accuracy = pair_accuracy_score(rewards, pairs.target, sample_weight=pairs.weight)
    print_table(
        ["row", "probability of its label"],
        [[str(s["row"]), f"{s['probability']:.3f}"] for s in suspects[:10]],
    )
    say(
        f"{len(suspects)} of {len(rows)} pairs in {arguments.output}. Pairs of left-out prompts "
        f"are predicted with accuracy {accuracy:.3f}; near .5 the order says nothing."
    )
