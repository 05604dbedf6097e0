"""What the systems of Table 1 are run on, and with which models."""

import hashlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lens_sklearn._language_model import get_language_model, resolve_model


@dataclass
class Setting:
    """What the systems are run on, and with which models.

    Parameters
    ----------
    base : str
        The language model that is trained, that writes, and that judges itself.
    make_labeller : callable
        Returns the labeller of the privileged rows; called when it is needed.
    labeller, evaluator : str
        Who that is, and where the gold rewards are from.
    pairs, candidates : list of dict
        Preference rows, and test prompts with their responses.
    gold_rewards : ndarray, shape (n_prompts, N)
        NaN is padding.
    folder : Path
        Keeps all that is finished.
    labeller_is_evaluator : bool, default=False
        Whether the privileged rows are trained on the test's own metric.
    base_label : str, default=""
        What the table calls the base model; empty is its name.
    notes : tuple of str, default=()
        What the table has to say of this setting.
    """

    base: str
    make_labeller: Callable
    labeller: str
    evaluator: str
    pairs: list
    candidates: list
    gold_rewards: np.ndarray
    folder: Path
    factors: tuple = (1, 2, 4, 8)
    n_samples: int = 16
    max_new_tokens: int = 256
    full: dict = field(default_factory=dict)
    lora: dict = field(default_factory=lambda: {"lora": {}})
    max_length: int = 1024
    labeller_is_evaluator: bool = False
    base_label: str = ""
    notes: tuple = ()

    def digest(self):
        """Return a name of all that a cell depends on besides system, factor and seed."""
        known = [self.labeller, self.evaluator, self.pairs, self.candidates]
        known += [np.asarray(self.gold_rewards).tolist(), self.n_samples, self.max_new_tokens]
        known += [self.full, self.lora, self.max_length, model_identity(self.base)]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def model_identity(name):
    """Return what tells a model from others: a digest of its files, or its name on the hub.

    Parameters
    ----------
    name : str
        A name on the hub, a packaged model's, or a folder.

    Returns
    -------
    str
        The same for two names of one model on this machine.
    """
    spec = resolve_model(name, device="cpu")
    return spec.fingerprint or spec.name


def untemplated(base):
    """Return a note on a base model without a chat template.

    Parameters
    ----------
    base : str
        A name on the hub, a packaged model's, or a folder.

    Returns
    -------
    tuple of str
        Empty where there is a template.

    Warns
    -----
    UserWarning
        The note, before hours are spent.
    """
    tokenizer = get_language_model(resolve_model(base, device="cpu")).tokenizer
    if tokenizer.chat_template is not None:
        return ()
    told = (
        f"The base model {base} has no chat template: it is not an Instruct model, as the paper's "
        "is (section 5.1),\nand prompts are continued as plain text."
    )
    warnings.warn(told, stacklevel=2)
    return (told,)
