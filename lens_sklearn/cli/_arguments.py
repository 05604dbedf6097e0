"""What commands share on their way in: help, values of options, the model that they name."""

import argparse
import difflib
import re
import sys
from math import isfinite

from ._output import printable

POOLINGS = ("auto", "last", "mean", "response_mean", "cls", "weighted_mean", "max")
LARGEST_SEED = 2**32 - 1  # numpy's


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the default of every option that has one, and examples line by line."""

    def _get_help_string(self, action):
        if action.default is None or action.const is True:
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Tells what may have been meant, and prints no control characters."""

    def error(self, message):
        """Print how it is used and what is wrong; exit with 2.

        Parameters
        ----------
        message : str
            Of argparse.
        """
        self.usage = self.short_usage()
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message, re.DOTALL)
        if choice:
            known = re.findall(r"[\w-]+", choice[2])
            is_command = message.startswith("argument COMMAND")
            message += _meant([choice[1]], known + self.options() * is_command)
        elif message.startswith("unrecognized arguments: "):
            message += _meant(message.split(": ", 1)[1].split(), self.options())
        elif "are required: " in message:
            known = self.options()
            for name in self.given:
                if not any(option.startswith(name) for option in known):
                    message += f"; {name} is unknown{_meant([name], known)}"
        super().error(printable(message))

    def short_usage(self):
        """Return what has to be given, in a line: the error below it is what is to be read.

        Returns
        -------
        str
            For ``usage``.
        """
        if self.commands():
            return "%(prog)s COMMAND ...; COMMAND --help shows its options"
        required = [
            action.metavar or f"{action.option_strings[0]} {action.dest.upper()}"
            for action in self._actions
            if action.required
        ]
        return f"%(prog)s {' '.join(required)} [options]; --help shows them".replace("  ", " ")

    def parse_known_args(self, args=None, namespace=None):
        """Keep the options that were given, for the error that may come.

        Parameters
        ----------
        args : list of str, default=None
            As in argparse.
        namespace : argparse.Namespace, default=None
            As in argparse.

        Returns
        -------
        tuple of argparse.Namespace and list of str
            As in argparse.
        """
        given = sys.argv[1:] if args is None else args
        self.given = [text.split("=")[0] for text in map(str, given) if text.startswith("--")]
        return super().parse_known_args(args, namespace)

    def options(self):
        """Return the names of all options, those of commands included.

        Returns
        -------
        list of str
            With their dashes.
        """
        names = list(self._option_string_actions)
        for parser in self.commands():
            names += parser.options()
        return names

    def commands(self):
        """Return the parsers of the commands.

        Returns
        -------
        list of Parser
            Empty for a command's own.
        """
        choices = [a.choices for a in self._actions if isinstance(a.choices, dict)]
        return [parser for c in choices for parser in c.values() if isinstance(parser, Parser)]


def _meant(given, known):
    for name in given:
        near = difflib.get_close_matches(name.split("=")[0], known, n=1)
        if near and near[0] != name:
            return f"; did you mean {near[0]}?"
    return ""


def add_command(commands, name, run, help, examples):
    """Add a command's parser.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    name : str
        The command.
    run : callable
        What to do with its arguments.
    help : str
        What it does, in one line.
    examples : str
        The end of its help.

    Returns
    -------
    argparse.ArgumentParser
        With ``--debug`` alone.
    """
    parser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=examples,
        formatter_class=HelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_force(parser):
    """Add ``--force`` to a parser or group."""
    parser.add_argument("--force", action="store_true", help="overwrite the output if it is there")


COLUMNS = ("prompt", "chosen", "rejected", "responses", "gold")


def add_rows(parser, columns=COLUMNS[:3]):
    """Add how rows are read.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command that calls :func:`reading`.
    columns : sequence of str, default=("prompt", "chosen", "rejected")
        Which of ``COLUMNS`` may have other names.
    """
    group = parser.add_argument_group("rows", ROWS_HELP)
    group.add_argument("--split", help="which split, of a file or folder that has several")
    for name in columns:
        group.add_argument(f"--{name}-column", metavar="NAME", help=f"what it calls {name}")
    group.add_argument(
        "--on-invalid",
        choices=("raise", "drop", "keep"),
        default="raise",
        help="what becomes of empty texts: an error, left out, or taken for empty responses",
    )


ROWS_HELP = (
    ".jsonl, .json, .csv or .tsv, each also with .gz; .parquet; a folder of save_to_disk; "
    "- for standard input"
)


def reading(arguments):
    """Return how rows are read.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of :func:`add_rows`.

    Returns
    -------
    dict
        Of `load_rows` and its like: ``split`` and ``columns``.
    """
    columns = {name: getattr(arguments, f"{name}_column", None) for name in COLUMNS}
    return {"split": arguments.split, "columns": columns}


def refuse_text_options(arguments, path):
    """Refuse options about text where embeddings are read.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of a command that reads text or embeddings.
    path : str
        The file of embeddings.

    Raises
    ------
    ValueError
        If an option that says something of text was given.
    """
    text = {**TEXT_DEFAULTS, "split": None, "on_invalid": "raise"}
    text |= {f"{name}_column": None for name in COLUMNS}
    text |= {"no_features": None, "controlled": None, "unlabeled": None}
    for name, default in text.items():
        given = getattr(arguments, name, default)
        if given not in (default, False, None):
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is about text, and {path} holds embeddings.")


def check_device(device):
    """Refuse a device that is not there.

    Parameters
    ----------
    device : str
        As torch spells it, or "auto".

    Raises
    ------
    ValueError
        If torch does not know it or has none.
    """
    if device in ("auto", "cpu"):
        return
    import torch

    from .._device import torch_device

    found = torch_device(device)
    if found.type == "cuda":
        count = torch.cuda.device_count()
        if not torch.cuda.is_available() or (found.index or 0) >= count:
            there = f"it has {count}" if count else "there is none that torch can use"
            raise ValueError(
                f"--device {device}: no such GPU on this machine, {there}; --device auto takes "
                "what there is."
            )
    elif found.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"--device {device}: this machine has none; --device auto takes the CPU.")


# ------------------------------------------------------------------------- values of options
def positive(text):
    """Read a whole number of at least 1."""
    value = _whole(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def seed(text):
    """Read a seed of numpy's generators."""
    value = _whole(text)
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{value} does not lie between 0 and {LARGEST_SEED}")
    return value


def factor(text):
    """Read a factor, a positive whole number or auto."""
    return text if text == "auto" else positive(text)


def above_zero(text):
    """Read a number above 0."""
    return _number(text, lambda value: value > 0, "above 0")


def from_zero(text):
    """Read a number of at least 0."""
    return _number(text, lambda value: value >= 0, "at least 0")


def share(text):
    """Read a number of at least 0 and below 1."""
    return _number(text, lambda value: 0 <= value < 1, "at least 0 and below 1")


def number(text):
    """Read any number that is finite."""
    return _number(text, lambda value: True, "finite")


def port(text):
    """Read a port."""
    value = _whole(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{value} does not lie between 0 and 65535")
    return value


def layer(text):
    """Read a layer, several with commas, all or auto."""
    if text in ("all", "auto"):
        return text
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number, numbers with commas, all, nor auto"
        ) from None
    return layers[0] if len(layers) == 1 else layers


def pooling(text):
    """Read a pooling, or several with commas."""
    parts = text.split(",")
    for part in parts:
        if part not in POOLINGS:
            raise argparse.ArgumentTypeError(
                f"invalid choice: {part!r} (choose from {', '.join(POOLINGS)})"
            )
    return parts[0] if len(parts) == 1 else parts


def _whole(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None


def _number(text, holds, rule):
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not (isfinite(value) and holds(value)):
        raise argparse.ArgumentTypeError(f"{text} is not {rule}")
    return value


# ----------------------------------------------------------------------- the model and its host
def add_device(parser):
    """Add ``--device`` to a parser or group."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")


def add_store(parser):
    """Add ``--store`` to a parser or group."""
    parser.add_argument("--store", help="folder that keeps embeddings between runs")


TEXT_DEFAULTS = {
    "model": "Qwen/Qwen2.5-0.5B-Instruct",
    "layer": "auto",
    "pooling": "auto",
    "max_length": 1024,
    "store": None,
}


def add_text_model(parser, store_help="folder that keeps embeddings between runs"):
    """Add what turns text into embeddings.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command that calls :func:`make_text_step`.
    store_help : str
        Of ``--store``.
    """
    text = parser.add_argument_group("embedding")
    text.add_argument(
        "--model",
        default=TEXT_DEFAULTS["model"],
        help="name on the Hugging Face Hub, a folder, minilm or smollm2",
    )
    text.add_argument("--layer", type=layer, default="auto", help="a number, 1,2,3, all or auto")
    text.add_argument(
        "--pooling",
        type=pooling,
        default="auto",
        help="auto, last, mean, response_mean, cls, weighted_mean, max, or several with commas",
    )
    text.add_argument(
        "--max-length",
        type=positive,
        default=1024,
        help="tokens of a text; of a longer one the beginning of the prompt is left out",
    )
    text.add_argument("--store", help=store_help)


def make_text_step(arguments, *, with_features):
    """Return the step of a Pipeline that reads rows of text.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of :func:`add_text_model`, with ``device``.
    with_features : bool
        Whether response features stand behind the embedding.

    Returns
    -------
    LLMEmbedder or ResponseViews
        Not fitted.
    """
    from .._embedder import LLMEmbedder
    from .._packaged_model import packaged_folder
    from .._response_features import ResponseFeatures
    from .._response_views import ResponseViews

    packaged_folder(arguments.model)  # its extra is named before anything is read
    embedder = LLMEmbedder(
        arguments.model,
        layer=arguments.layer,
        pooling=arguments.pooling,
        max_length=arguments.max_length,
        store=arguments.store,
        device=arguments.device,
        on_invalid=arguments.on_invalid,
    )
    return ResponseViews(embedder, ResponseFeatures()) if with_features else embedder


def add_saved_model(parser):
    """Add the folder of a saved model, and what may differ on this machine.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command that calls :func:`load_pipeline`.
    """
    parser.add_argument("folder", metavar="FOLDER", help="what fit or demo wrote")
    add_device(parser)
    add_store(parser)
    parser.add_argument(
        "--model",
        help="where the language model is on this machine: a name, a folder, minilm or smollm2",
    )


def load_pipeline(arguments, *, text=True):
    """Load the model of :func:`add_saved_model`'s arguments, set up for this machine.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``folder``, ``device``, ``store``, ``model`` and, for text, ``on_invalid``.
    text : bool, default=True
        Whether it is to read rows of text, or embeddings.

    Returns
    -------
    Pipeline
        Fitted.
    """
    from .. import export
    from .._packaged_model import packaged_folder

    pipeline = export.load(arguments.folder)
    embedders = list(_embedders_of(pipeline))
    if not hasattr(pipeline, "predict") or (text and not embedders):
        raise ValueError(
            f"{arguments.folder}: the saved model reads embeddings, not text; give a .npy or .npz "
            "file, or a folder that 'lens-sklearn fit' wrote from text."
        )
    if not text and embedders:
        raise ValueError(
            f"{arguments.folder}: the saved model reads text, not embeddings; give rows of text."
        )
    params = {"device": arguments.device, "store": arguments.store}
    if text and getattr(arguments, "on_invalid", "raise") != "raise":
        params["on_invalid"] = arguments.on_invalid
    if arguments.model:
        packaged_folder(arguments.model)
        params["model_name"] = arguments.model
    for embedder in embedders:
        embedder.set_params(**params)
    return pipeline


def _embedders_of(model):
    """Yield the language models' embedders in a fitted model, also within its steps."""
    from .._embedder import LLMEmbedder
    from .._response_views import ResponseViews

    if isinstance(model, LLMEmbedder):
        yield model
    elif isinstance(model, ResponseViews):
        yield from _embedders_of(model.embedder_)
    for _, step in getattr(model, "steps", ()):
        yield from _embedders_of(step)
