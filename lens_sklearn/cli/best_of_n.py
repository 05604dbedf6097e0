"""``lens-sklearn best-of-n``: measure the reward model's picks by gold rewards."""

import json

from ._arguments import add_command, add_saved_model, load_pipeline, positive, seed
from ._output import check_file, check_matplotlib, check_picture, print_table, write_lines

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn best-of-n reward candidates.jsonl
  lens-sklearn best-of-n reward candidates.jsonl --n 1 4 16 --plot curve.png -o picks.jsonl

CANDIDATES has the columns responses, gold and, optionally, prompt:
  {"prompt": "What is 2 + 2?", "responses": ["5.", "4."], "gold": [-1.0, 1.0]}
For each n the table has the mean gold reward of the response that the model picks among n,
with an interval over prompts, beside a random pick and the best possible one."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    help = "measure the reward model's picks by gold"
    parser = add_command(commands, "best-of-n", run, help, EXAMPLES)
    add_saved_model(parser)
    parser.add_argument("candidates", metavar="CANDIDATES", help="candidates with gold rewards")
    parser.add_argument(
        "--n", type=positive, nargs="+", help="numbers of candidates (default: 1, 2, 4, … and all)"
    )
    parser.add_argument("--plot", metavar="PNG", help="draw the curve (extra: plot)")
    parser.add_argument("-o", "--output", help="write the picked responses to a .jsonl file")
    parser.add_argument("--seed", type=seed, default=0, help="of the interval's bootstrap")


def run(arguments):
    """Measure a reward model's picks.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn best-of-n``.
    """
    check_file("-o", arguments.output, arguments.candidates)
    check_file("--plot", arguments.plot, arguments.candidates)
    if arguments.plot is not None:
        check_picture("--plot", arguments.plot)
        check_matplotlib("--plot")
    from .._io import load_candidates
    from ..displays import save_curves
    from ..metrics import best_of_n_curve, best_of_n_score

    rows, gold = load_candidates(arguments.candidates)
    rewards = load_pipeline(arguments).predict(rows)  # (n_prompts, N)
    curve = best_of_n_curve(rewards, gold, arguments.n, random_state=arguments.seed)
    oracle = best_of_n_curve(gold, gold, curve.n, n_bootstrap=1).mean
    random = best_of_n_score(rewards, gold, n=1)
    if arguments.output:
        write_lines(arguments.output, map(json.dumps, _picks(rows, rewards, gold)))
    if arguments.plot:
        save_curves([("reward model", rewards)], gold, arguments.plot, ns=arguments.n)
    print_table(
        ["n", "gold of the pick", "95 % interval", "random", "oracle"],
        [
            [str(n), f"{m:.3f}", f"{low:.3f} to {high:.3f}", f"{random:.3f}", f"{best:.3f}"]
            for n, m, low, high, best in zip(
                curve.n, curve.mean, curve.lower, curve.upper, oracle, strict=True
            )
        ],
    )


def _picks(rows, rewards, gold):
    """Yield each row with the picked response alone, its reward and its gold."""
    import numpy as np

    for i, pick in enumerate(np.nanargmax(rewards, axis=1)):
        others = {k: v for k, v in rows[i].items() if k not in ("responses", "gold")}
        yield {
            **others,
            "response": rows[i]["responses"][pick],
            "reward": float(rewards[i, pick]),
            "gold": float(gold[i, pick]),
        }
