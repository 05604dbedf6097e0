"""``lens-sklearn best-of-n``: measure the reward model's picks by gold rewards."""

from ._arguments import (
    add_command,
    add_force,
    add_rows,
    add_saved_model,
    check_device,
    load_pipeline,
    positive,
    seed,
)
from ._data import read_candidates
from ._output import (
    PICTURES,
    RESULTS,
    check_file,
    check_matplotlib,
    print_table,
    say,
    write_rows,
)

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
    parser.add_argument("-o", "--output", help=f"write the picked responses: {', '.join(RESULTS)}")
    add_force(parser)
    add_rows(parser, ("prompt", "responses", "gold"))
    parser.add_argument("--seed", type=seed, default=0, help="of the interval's bootstrap")


def run(arguments):
    """Measure a reward model's picks.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn best-of-n``.
    """
    source = arguments.candidates
    check_file("-o", arguments.output, source, arguments.force, RESULTS)
    check_file("--plot", arguments.plot, source, arguments.force, PICTURES)
    if arguments.plot is not None:
        check_matplotlib("--plot")
    check_device(arguments.device)
    from ..displays import save_curves
    from ..metrics import best_of_n_curve, best_of_n_score

    rows, X, gold = read_candidates(arguments)
    _check_n(arguments.n, gold.shape[1])
    rewards = load_pipeline(arguments, text=rows is not None).predict(X)  # (n_prompts, N)
    curve = best_of_n_curve(rewards, gold, arguments.n, random_state=arguments.seed)
    shortcuts, lengths = _shortcuts_of(rows, rewards)
    references = {**shortcuts, "oracle": gold}
    means = [best_of_n_curve(r, gold, curve.n, n_bootstrap=1).mean for r in references.values()]
    random = best_of_n_score(rewards, gold, n=1)
    if arguments.output:
        write_rows(arguments.output, _picks(rows, rewards, gold))
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
    _print_accuracies({"reward model": rewards, **shortcuts}, gold, lengths)
    for what, path in (("picks", arguments.output), ("curve", arguments.plot)):
        if path is not None:
            say(f"The {what}: {path}")


def _check_n(ns, most):
    """Refuse more candidates than there are."""
    for n in ns or ():
        if n > most:
            raise ValueError(f"--n {n}: no prompt has more than {most} candidates.")


def _shortcuts_of(rows, rewards):
    """Return the rewards by length, and the lengths; of embeddings neither is known."""
    import numpy as np

    from .._shortcuts import response_lengths

    if rows is None:
        return {}, None
    lengths = np.where(np.isnan(rewards), np.nan, response_lengths(rows))
    return {"longest": lengths, "shortest": -lengths}, lengths


def _print_accuracies(named_rewards, gold, lengths):
    """Print accuracy over all pairs and over subsets by length, blank where there is no pair."""
    from ..metrics import SUBSETS, count_pairs, pair_accuracy_score

    names = SUBSETS if lengths is not None else SUBSETS[:1]
    subsets = [{"subset": name, "lengths": None if name == "all" else lengths} for name in names]
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
    print_table(["pair accuracy", *(name.replace("_", " ") for name in names)], table)


def _picks(rows, rewards, gold):
    """Yield each row with the picked response alone, its reward and its gold."""
    import numpy as np

    from .._records import candidate_column

    for i, pick in enumerate(np.nanargmax(rewards, axis=1)):
        if rows is None:
            picked = {"candidate": int(pick)}
        else:
            column = candidate_column(rows[i])
            picked = {k: v for k, v in rows[i].items() if k not in (column, "gold")}
            responses = rows[i][column]
            picked["response"] = responses[pick] if column == "responses" else responses
        yield {**picked, "reward": float(rewards[i, pick]), "gold": float(gold[i, pick])}
