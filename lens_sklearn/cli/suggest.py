"""``lens-sklearn suggest``: pairs to label next."""

from ._arguments import (
    add_command,
    add_force,
    add_rows,
    add_saved_model,
    check_device,
    load_pipeline,
    positive,
    reading,
    refuse_text_options,
    seed,
)
from ._output import RESULTS, check_file, say, write_rows

__all__ = ["add_parser", "run"]

EXAMPLES = """\
examples:
  lens-sklearn suggest reward candidates.jsonl -n 50 -o to_label.csv
  lens-sklearn suggest reward candidates.jsonl -n 50 -o next.csv --labeled to_label.csv

Of each prompt the two likeliest winners are taken, and prompts are drawn at random: a label then
decides what Best-of-N picks. The output has response_a and response_b of each pair in random
order; "row", "first" and "second" are their numbers in CANDIDATES. Label them, add them to the
pairs as chosen and rejected, fit again, and ask for the next with --labeled.

CANDIDATES has several responses to a prompt: {"prompt": "...", "responses": ["...", "..."]}"""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    parser = add_command(commands, "suggest", run, "choose pairs to label next", EXAMPLES)
    add_saved_model(parser)
    parser.add_argument("rows", metavar="CANDIDATES", help="rows of responses, or embeddings")
    parser.add_argument("-n", type=positive, required=True, help="how many pairs")
    parser.add_argument("-o", "--output", required=True, help=", ".join(RESULTS))
    parser.add_argument(
        "--labeled", action="append", metavar="FILE", help="what was suggested before; repeatable"
    )
    parser.add_argument("--seed", type=seed, default=0, help="draws the prompts")
    add_force(parser)
    add_rows(parser, ("prompt", "responses"))


def run(arguments):
    """Write pairs to label.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn suggest``.
    """
    for path in (arguments.rows, *(arguments.labeled or ())):
        check_file("-o", arguments.output, path, arguments.force, RESULTS)
    check_device(arguments.device)
    from .._embedding_files import is_embedding_file, load_embeddings
    from .._io import check_texts, load_rows
    from .._suggest_pairs import suggest_pairs

    earlier = _read_labeled(arguments.labeled or [])
    is_text = not is_embedding_file(arguments.rows)
    if is_text:
        X = load_rows(arguments.rows, **reading(arguments))
        kind = check_texts(X, arguments.rows, arguments.on_invalid).kind
        if kind != "candidates":
            raise ValueError(f"{arguments.rows}: rows with responses are needed, these are {kind}.")
    else:
        refuse_text_options(arguments, arguments.rows)
        embeddings = load_embeddings(arguments.rows)
        # Without names, pairs are what candidates of two each are.
        if embeddings.kind != "candidates" and not arguments.rows.lower().endswith(".npy"):
            raise ValueError(
                f"{arguments.rows}: holds pairs, and their labels would not be read; candidates "
                "are needed, an array 'candidates' (n_prompts, N, d)."
            )
        X = embeddings.X
    if is_text:
        _check_texts(earlier, X, arguments.rows)
    found = suggest_pairs(
        load_pipeline(arguments, text=is_text),
        X,
        arguments.n,
        labeled=[numbers for _, _, numbers in earlier],
        random_state=arguments.seed,
    )
    chosen = found.rows(X) if is_text else found.numbers()
    write_rows(arguments.output, chosen)
    say(f"{len(chosen)} pairs to label in {arguments.output}.")


def _read_labeled(paths):
    """Return (where, row, numbers) of each pair that was suggested before."""
    from .._io import load_rows

    earlier = []
    for path in paths:
        for i, row in enumerate(load_rows(path)):
            try:
                numbers = [float(row[name]) for name in ("row", "first", "second")]
                if not all(map(float.is_integer, numbers)):
                    raise ValueError
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"--labeled {path}: row {i} has no whole numbers row, first and second, as "
                    '"lens-sklearn suggest" writes them.'
                ) from None
            earlier.append((f"--labeled {path}: row {i}", row, list(map(int, numbers))))
    return earlier


def _check_texts(earlier, candidates, source):
    """Refuse pairs whose texts, where they have them, are not those at their numbers."""
    for where, row, (number, *places) in earlier:
        for name, place in zip(("response_a", "response_b"), places, strict=True):
            text = row.get(name)
            there = candidates[number].get("responses") if 0 <= number < len(candidates) else ()
            is_known = there and 0 <= place < len(there) and isinstance(there[place], str)
            # Tables may have other line breaks.
            if is_known and isinstance(text, str) and text.split() != there[place].split():
                raise ValueError(
                    f"{where} has another {name} than response {place} of row {number} of "
                    f"{source}: it was suggested of other candidates, or these are in another "
                    "order now."
                )
