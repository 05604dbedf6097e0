"""The command line of Table 1."""

import argparse
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

from .estimate import small_estimate
from .paper import paper_estimate, paper_setting
from .small import small_setting
from .summary import markdown, meanings, notes
from .systems import ROWS, SCORED
from .table import table1, wanted_rows
from .tiny import tiny_setting

#: Options that not every size has; elsewhere they would have no effect.
SIZES = {
    "data": {"small"},
    "n_prompts": {"small"},
    "n_candidates": {"small"},
    "pairs": {"paper"},
    "prompts": {"paper"},
    "gold": {"paper"},
    "labeller_is_evaluator": {"paper"},
    **dict.fromkeys(
        ("n_pairs", "n_samples", "max_new_tokens", "max_length", "epochs", "base", "labeller"),
        {"small", "paper"},
    ),
    "estimate": {"small", "paper"},
}


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table1",
        description=sys.modules[__package__].__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--size", choices=["tiny", "small", "paper"], default="tiny")
    parser.add_argument("--factors", type=_positive, nargs="+", help="columns; 1 is the original")
    parser.add_argument("--seeds", type=_positive, default=1, help="how many")
    parser.add_argument(
        "--rows", nargs="+", default=["paper"], choices=["paper", "all", *ROWS, *SCORED],
        metavar="NAME", help="paper: the paper's rows and controls, the default; all: the judges' "
        f"other modes besides; or these alone: {'; '.join([*ROWS, *SCORED])}",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, help="keeps all that is finished")
    parser.add_argument("--base", help="an Instruct model; small: smollm2")
    parser.add_argument(
        "--labeller", help="the reward model of the privileged rows; small: a reward that is "
        "fitted to the pairs of other prompts"
    )  # fmt: skip
    parser.add_argument("--n-pairs", type=_positive, help="small: 64; paper: 1000")
    parser.add_argument("--n-samples", type=_positive, help="responses a prompt; small: 4")
    parser.add_argument("--max-new-tokens", type=_positive, help="small: 64")
    parser.add_argument("--max-length", type=_positive, help="tokens of a text; small: 192")
    parser.add_argument("--epochs", type=_positive, help="of fine-tuning; 1 by default")
    parser.add_argument("--data", type=Path, help="small: the folder of alpaca_eval_dev.jsonl.gz")
    parser.add_argument("--n-prompts", type=_positive, help="small: test prompts, 48")
    parser.add_argument("--n-candidates", type=_positive, help="small: test responses, 8")
    parser.add_argument("--pairs", type=Path, help="paper: a file of preference rows")
    parser.add_argument("--prompts", type=Path, help="paper: a .jsonl of test prompts")
    parser.add_argument("--gold", help="paper: the reward model that evaluates")
    parser.add_argument(
        "--labeller-is-evaluator", action="store_true", help="paper: let them be one model"
    )
    parser.add_argument("--estimate", action="store_true", help="how long it should take")
    return parser


def _positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def read_arguments(argv):
    """Read the command line, and refuse what has no effect.

    Parameters
    ----------
    argv : list of str or None
        The words.

    Returns
    -------
    argparse.Namespace
        With ``rows`` as `table1` takes it.
    """
    command = parser()
    args = command.parse_args(argv)
    for name, sizes in SIZES.items():
        if getattr(args, name) not in (None, False) and args.size not in sizes:
            option = f"--{name.replace('_', '-')}"
            command.error(f"{option} has no effect with --size {args.size}")
    if {"paper", "all"} & set(args.rows):
        if len(args.rows) > 1:
            command.error("--rows: paper and all stand alone")
        args.rows = args.rows[0]
    if args.factors:
        args.factors = tuple(sorted(set(args.factors)))
    if args.size == "small":
        args.data = args.data or os.environ.get("LENS_SKLEARN_DATA")
    if args.size != "tiny":
        args.folder = args.folder or Path("table1")
    return args


def main(argv=None):
    """Run what is missing and print the table.

    Parameters
    ----------
    argv : list of str, default=None
        The words of the command line.
    """
    args = read_arguments(argv)
    made = {}

    def setting(seed):
        if seed not in made:
            made[seed] = _make(args, seed)
        return made[seed]

    try:
        if args.estimate:
            return _print_estimate(args, setting)
        with _told_at_once():
            if args.size != "tiny":
                setting(0)
            records = table1(
                args.size, folder=args.folder, factors=args.factors, seeds=range(args.seeds),
                setting=None if args.size == "tiny" else setting, rows=args.rows,
            )  # fmt: skip
    except _Refused as error:
        raise SystemExit(f"{parser().prog}: {error}") from error.__cause__
    except KeyboardInterrupt:
        where = f"; {args.folder} keeps what is done: the same command goes on" * bool(args.folder)
        raise SystemExit(f"\ninterrupted{where}") from None
    _print_table(args, records, setting)
    return None


class _Refused(Exception):
    """What a setting cannot be made of."""


def _make(args, seed):
    """Return the setting of a seed; what is wrong with the command is an error of its own."""
    try:
        return small_setting(args, seed) if args.size == "small" else paper_setting(args)
    except (ValueError, ImportError, OSError) as error:
        raise _Refused(error) from error


@contextmanager
def _told_at_once():
    """Print each warning of the library once, and when it is given."""
    told = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if category is UserWarning and str(message) not in told:
            told.add(str(message))
            print(f"note: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _print_estimate(args, setting):
    """Print the expected time by part."""
    if args.size == "paper":
        factors = args.factors or (1, 2, 4, 8)
        parts, unit = paper_estimate(args.n_pairs or 1000, factors=factors), "h"
        told = "a seed: an estimate by operations, not a measurement"
    else:
        parts = small_estimate(setting(0), wanted_rows(args.rows))
        unit, told = "min", "a seed, by operations and a short calibration on this machine"
    for part, value in parts.items():
        print(f"{value:6.1f} {unit}  {part}")
    print(f"{sum(parts.values()):6.1f} {unit}  {told}")
    if args.size == "paper":
        print("Memory: weights, gradients and AdamW's states of 8B in bfloat16 take 64 GB, so 80.")


def _print_table(args, records, setting):
    if args.size == "tiny":
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:  # its models alone; the notes are the same
            first = tiny_setting(Path(folder), args.factors)
    else:
        first = setting(0)
    print(f"\nTable 1, {args.size}, {args.seeds} seed(s)\n")
    print(markdown(records, labeller_is_evaluator=first.labeller_is_evaluator))
    print(f"\n{notes(first)}\n\n{meanings(r['system'] for r in records)}")
