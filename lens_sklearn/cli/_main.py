"""The parser of all commands, and what becomes of their errors and warnings."""

import argparse
import sys
import warnings
from contextlib import contextmanager

from .. import __version__
from . import best_of_n, compare, demo, fit, score

COMMANDS = (fit, compare, score, best_of_n, demo)
EXPECTED = (ValueError, OSError, ImportError)


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 1 unexpected error, 2 bad usage or input, 130 interrupted.
    """
    arguments = make_parser().parse_args(argv)
    try:
        with plain_warnings():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("lens-sklearn: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"lens-sklearn: error: {error}", file=sys.stderr)
        if isinstance(error, EXPECTED):
            return 2
        print(
            f"lens-sklearn: this {type(error).__name__} was not expected; --debug shows where.",
            file=sys.stderr,
        )
        return 1
    return 0


def make_parser():
    """Return the parser of all commands; it imports nothing that computes.

    Returns
    -------
    argparse.ArgumentParser
        Whose arguments have ``run``, the command's function of them.
    """
    parser = argparse.ArgumentParser(
        prog="lens-sklearn",
        description="Reward models from few preference pairs, and what they are worth in "
        "Best-of-N. Begin with: lens-sklearn demo",
    )
    parser.add_argument("--version", action="version", version=f"lens-sklearn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


@contextmanager
def plain_warnings():
    """Print this package's warnings as lines of text, and no others.

    A warning of this package points at the caller's line, which is one of this folder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="lens_sklearn")
        warnings.showwarning = lambda message, *_: print(
            f"lens-sklearn: warning: {message}", file=sys.stderr
        )
        yield
