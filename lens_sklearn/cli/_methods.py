"""How ``fit`` learns: the methods, and which option goes with which of them."""

import sys
from typing import NamedTuple

from ._arguments import above_zero, factor, from_zero, positive

METHODS = {
    "auto": "what left-out prompts choose or combine, on embedding and features; no more pairs",
    "lens": "the paper's synthesis in the latent space of an autoencoder",
    "distillation": "differences of other pairs, with the soft targets of a Gaussian process",
    "repeat": "the pairs again, as they are: the control",
    "direct-noise": "noise on the embeddings",
    "gaussian": "draws from a Gaussian of the embeddings",
    "none": "no more pairs",
}


class MethodOption(NamedTuple):
    """An option that some methods have.

    Attributes
    ----------
    flag : str
        What is typed.
    defaults : dict of str to object
        The methods that have it, each with its default.
    help : str
        What it sets.
    settings : dict
        Of ``add_argument``.
    """

    flag: str
    defaults: dict
    help: str
    settings: dict

    @property
    def name(self):
        """Name among the arguments."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def full_help(self):
        """`help` with the methods and their defaults."""
        methods = {}
        for method, default in self.defaults.items():
            methods.setdefault(default, []).append(method)
        texts = []
        for default, names in methods.items():
            who = f"for {', '.join(names)}"
            texts.append(who if default is None else f"default {who}: {default}")
        return f"{self.help} ({'; '.join(texts)})"


NETWORKS = tuple(name for name in METHODS if name != "auto")

SYNTHESIS = (
    MethodOption(
        "--factor",
        {"lens": 4, "repeat": 4, "direct-noise": 4, "gaussian": 4, "distillation": "auto"},
        "pairs that a real pair becomes, itself included; auto: by cross-validation",
        {"type": factor, "metavar": "FACTOR|auto"},
    ),
    MethodOption("--gamma", {"lens": 0.1}, "weight of the contrast", {"type": from_zero}),
    MethodOption("--beta", {"lens": 1.0}, "weight of the KL term", {"type": from_zero}),
    MethodOption(
        "--noise-variance",
        {"lens": 0.01, "direct-noise": 0.01},
        "variance of the noise",
        {"type": from_zero},
    ),
    MethodOption("--vae-epochs", {"lens": 100}, "epochs of the autoencoder", {"type": positive}),
    MethodOption(
        "--unlabeled",
        {"auto": None, "distillation": None},
        "responses without labels, several to a prompt, to learn from",
        {"metavar": "ROWS"},
    ),
)
REWARD = (
    MethodOption(
        "--no-features",
        {"auto": None},
        "leave out what can be counted in a response",
        {"action": "store_true", "default": None},
    ),
    MethodOption(
        "--controlled",
        {"auto": None},
        "features that are fitted and left out of what is predicted, with commas: "
        "log_characters,log_words",
        {"metavar": "NAMES"},
    ),
    MethodOption(
        "--epochs",
        dict.fromkeys(NETWORKS, 20),
        "most epochs of the reward model",
        {"type": positive},
    ),
    MethodOption(
        "--learning-rate",
        dict.fromkeys(NETWORKS, 1e-4),
        "learning rate of the reward model",
        {"type": above_zero},
    ),
)
OPTIONS = SYNTHESIS + REWARD


def add_methods(parser):
    """Add ``--method`` and the options of methods.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of ``fit``.
    """
    width = max(map(len, METHODS))
    lines = "\n".join(f"{name:{width}}  {what}" for name, what in METHODS.items())
    group = parser.add_argument_group("method", lines)
    group.add_argument("--method", choices=METHODS, default="auto", help="how to learn")
    for option in SYNTHESIS:
        group.add_argument(option.flag, help=option.full_help, **option.settings)
    group = parser.add_argument_group("reward")
    for option in REWARD:
        group.add_argument(option.flag, help=option.full_help, **option.settings)


def settle_methods(arguments):
    """Refuse options without effect, and fill in the defaults of the others.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of :func:`add_methods`; changed in place.

    Raises
    ------
    ValueError
        If an option that was given goes with other methods.
    """
    method = arguments.method
    given = [option for option in OPTIONS if getattr(arguments, option.name) is not None]
    for option in given:
        if method not in option.defaults:
            raise ValueError(f"{option.flag} goes with --method {_any(option)}, not {method}.")
        if arguments.factor == 1 and option in SYNTHESIS and option.name != "factor":
            raise ValueError(f"{option.flag} has no effect at --factor 1, which makes no pairs.")
    if arguments.factor == "auto" and method != "distillation":
        raise ValueError(f"--factor auto goes with --method distillation, not {method}.")
    if arguments.controlled is not None:
        _check_controlled(arguments)
    for option in OPTIONS:
        if method in option.defaults and option not in given:
            setattr(arguments, option.name, option.defaults[method])


def _check_controlled(arguments):
    """Refuse names that are no features, before anything is embedded."""
    from .._response_features import ResponseFeatures

    if arguments.no_features:
        raise ValueError("--controlled names response features, which --no-features leaves out.")
    arguments.controlled = [name.strip() for name in arguments.controlled.split(",")]
    ResponseFeatures().columns(arguments.controlled)


def _any(option):
    """Return the methods of an option: a, b or c."""
    *others, last = option.defaults
    return f"{', '.join(others)} or {last}" if others else last


def make_augmenter(arguments):
    """Return the step that makes pairs.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``fit`` with another method than auto, after :func:`settle_methods`.

    Returns
    -------
    augmenter
        Not fitted.
    """
    from .._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
    from .._contrastive_vae import ContrastiveVAE
    from .._distillation import DistillationAugmenter
    from .._gp_reward import GPRewardRegressor
    from .._latent_augmenter import LatentPairAugmenter

    drawn = {"factor": arguments.factor, "random_state": arguments.seed}
    match arguments.method:
        case "lens":
            vae = ContrastiveVAE(
                gamma=arguments.gamma,
                beta=arguments.beta,
                max_epochs=arguments.vae_epochs,
                device=arguments.device,
                verbose=int(sys.stderr.isatty()),
            )
            return LatentPairAugmenter(vae, noise_variance=arguments.noise_variance, **drawn)
        case "distillation":
            return DistillationAugmenter(
                teacher=GPRewardRegressor(device=arguments.device), **drawn
            )
        case "direct-noise":
            return DirectNoiseAugmenter(noise_variance=arguments.noise_variance, **drawn)
        case "gaussian":
            return GaussianAugmenter(**drawn)
        case "repeat":
            return RepeatAugmenter(factor=arguments.factor)
        case "none":
            return RepeatAugmenter(factor=1)
