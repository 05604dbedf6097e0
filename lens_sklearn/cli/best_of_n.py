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
with an interval over prompts, beside a random pick, the longest and the shortest response,
which need no model, and the best possible pick. Then it has pair accuracy: over all pairs of a
prompt's responses, over those whose lengths differ by less than a fifth, and over those of
which the shorter response is the better one."""


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
    from .._shortcuts import response_lengths, shortcut_rewards
    from ..displays import save_curves
    from ..metrics import best_of_n_curve, best_of_n_score

    rows, gold = load_candidates(arguments.candidates)
    rewards = load_pipeline(arguments).predict(rows)  # (n_prompts, N)
    curve = best_of_n_curve(rewards, gold, arguments.n, random_state=arguments.seed)
    shortcuts = shortcut_rewards(rows)
    references = {**shortcuts, "oracle": gold}
    means = [best_of_n_curve(r, gold, curve.n, n_bootstrap=1).mean for r in references.values()]
    random = best_of_n_score(rewards, gold, n=1)
    if arguments.output:
        write_lines(arguments.output, map(json.dumps, _picks(rows, rewards, gold)))
    if arguments.plot:
        named = [("reward model", rewards)]
        save_curves(named, gold, arguments.plot, ns=arguments.n, shortcuts=shortcuts)
    columns = zip(curve.n, curve.mean, curve.lower, curve.upper, *means, strict=True)
    print_table(
        ["n", "gold of the pick", "95 % interval", "random", *references],
        [
            [str(n), f"{m:.3f}", f"{low:.3f} to {high:.3f}", f"{random:.3f}"]
            + [f"{other:.3f}" for other in others]
            for n, m, low, high, *others in columns
        ],
    )
    print()
    _print_accuracies({"reward model": rewards, **shortcuts}, gold, response_lengths(rows))


def _print_accuracies(named_rewards, gold, lengths):
    """Print accuracy over all pairs and over subsets by length, blank where there is no pair."""
    from ..metrics import SUBSETS, count_pairs, pair_accuracy_score

    subsets = [{"subset": name, "lengths": None if name == "all" else lengths} for name in SUBSETS]
    counts = [count_pairs(gold, **subset) for subset in subsets]
    table = [
        [name]
        + [
            f"{pair_accuracy_score(rewards, gold, **subset):.3f}" if count else ""
            for count, subset in zip(counts, subsets, strict=True)
        ]
        for name, rewards in named_rewards.items()
    ]
    table.append(["random", *("0.500" if count else "" for count in counts)])
    table.append(["pairs", *map(str, counts)])
    print_table(["pair accuracy", *(name.replace("_", " ") for name in SUBSETS)], table)


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
