"""A model card: what a reward was learned from, what it is worth beside controls, its limits."""

import re
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from ._card_findings import LINEAR, measure, read_pairs
from ._comparison_table import interval_text
from ._embedder import LLMEmbedder
from ._packaged_model import MINILM, SMOLLM2, is_packaged
from .export import CLASSES, versions

#: What packaged models are called on the Hub.
ON_THE_HUB = {
    MINILM: "sentence-transformers/all-MiniLM-L6-v2",
    SMOLLM2: "HuggingFaceTB/SmolLM2-135M-Instruct",
}
#: The extras that they come with, and where an extra is installed from.
EXTRAS = {MINILM: "demo", SMOLLM2: "smollm2"}
SOURCE = "git+https://github.com/lens-sklearn/lens-sklearn"
LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
HUB_NAME = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*", re.ASCII)
LABELS = {
    "model": "**this model**",
    LINEAR: "tuned linear model on the same embeddings",
    "longest": "longest response",
    "random": "random response",
}
LONG_CORRELATION = 0.5  # with length, beyond which the card warns of it


def model_card(
    model,
    *,
    train=None,
    test=None,
    candidates=None,
    gold=None,
    controls=True,
    name=None,
    repo_id=None,
    description=None,
    license=None,
    datasets=None,
    language=None,
):
    """Write a model card: data, result beside controls, calibration, length, limits, how to load.

    What is not given is not measured, and the card says so. No text of any row is in it, and no
    path of this machine.

    Parameters
    ----------
    model : estimator
        Fitted: a Pipeline of rows of text or embeddings that ends in a reward, or a reward.
    train : rows of text or array-like of shape (n, 2, d), default=None
        The pairs that it was fitted on. The tuned linear model is fitted on them too. Of
        :class:`AugmentedPairs`, here and in `test`, the originals are taken.
    test : rows of text or array-like of shape (n, 2, d), default=None
        Pairs of other prompts, for accuracy and calibration. Of rows, the columns ``target`` and
        ``weight`` are read.
    candidates : rows of text or array-like of shape (n_prompts, N, d), default=None
        Candidates of other prompts, of which one is picked.
    gold : array-like of shape (n_prompts, N), default=None
        Their gold rewards.
    controls : bool, default=True
        Whether to put beside the result what a tuned linear model, the longest response and a
        random one reach: each where `train` and texts allow it.
    name : str, default=None
        The model's name; None is the end of `repo_id`, or "Reward model".
    repo_id : str, default=None
        Where it will be on the Hub, as "user/name", for the lines that load it.
    description : str, default=None
        What the pairs are: whose prompts, in which language, who judged.
    license : str, default=None
        The model's license by its name on the Hub, such as "apache-2.0", or "other".
    datasets : str or list of str, default=None
        Names on the Hub of the data that it was fitted on.
    language : str or list of str, default=None
        Codes of the languages of the pairs, such as "en".

    Returns
    -------
    huggingface_hub.ModelCard
        ``str(card)`` is its text, ``card.save("README.md")`` writes it.

    Raises
    ------
    TypeError
        If the model has no `predict`.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.
    ValueError
        If `candidates` comes without `gold` or the other way round, names are none of the Hub, or
        pairs or candidates are malformed.

    Warns
    -----
    UserWarning
        If prompts of `test` or `candidates` are prompts of `train`; the card says it too.

    See Also
    --------
    compare_rewards : Every method and control on one's own pairs.
    push_to_hub : Saves a model and its card on the Hub.

    Notes
    -----
    Intervals are of 95 %, clustered by prompt. Pairs of embeddings count as a prompt each.

    Examples
    --------
    >>> from lens_sklearn import LinearRewardRegressor, model_card
    >>> from lens_sklearn.datasets import make_preference_pairs
    >>> toy = make_preference_pairs(n_pairs=60, n_features=4, random_state=0)
    >>> reward = LinearRewardRegressor().fit(toy.pairs[:40])
    >>> card = model_card(reward, train=toy.pairs[:40], test=toy.pairs[40:], license="mit")
    >>> card.data.license, "No absolute scale" in card.text
    ('mit', True)
    """
    from huggingface_hub import ModelCard

    if not hasattr(model, "predict"):
        raise TypeError(f"a {type(model).__name__} gives no rewards; a card is for what does.")
    check_is_fitted(model)
    if (candidates is None) != (gold is None):
        raise ValueError("candidates and gold go together; one of them is None.")
    names = _check_names(repo_id, license, datasets, language)
    name = _one_line(name or (repo_id or "Reward model").rpartition("/")[2])
    train = None if train is None else read_pairs(train, "train")
    test = None if test is None else read_pairs(test, "test")
    found = measure(model, train, test, candidates, gold, controls)
    bases = _base_models(model)
    data = _metadata(name, names, bases, found)
    sections = [
        _write_head(name, description),
        _write_use(model, repo_id),
        _write_data(train, bases, names),
        _write_results(found),
        _write_calibration(found),
        _write_length(found),
        _write_limits(train, found),
        _write_versions(model),
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n")


# --------------------------------------------------------------------------------- what is given
def _check_names(repo_id, license, datasets, language):
    """Return the names that go into the metadata, checked."""
    for name, value in {"license": license, "repo_id": repo_id}.items():
        if not isinstance(value, str | None):
            raise TypeError(f"{name} has to be a text, got {value!r}.")
    for name, values in {"datasets": datasets, "language": language}.items():
        texts = values if isinstance(values, list | tuple) else [values or ""]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} has to be a text or a list of texts, got {values!r}.")
    if license is not None and not LICENSE.fullmatch(license):
        raise ValueError(
            f"license={license!r} is no license's name on the Hub, such as 'mit', 'apache-2.0' or "
            "'other'."
        )
    if repo_id is not None and not HUB_NAME.fullmatch(repo_id):
        raise ValueError(f"repo_id={repo_id!r} is no name on the Hub, such as 'user/name'.")
    datasets = [datasets] if isinstance(datasets, str) else datasets
    for dataset in datasets or ():
        if not HUB_NAME.fullmatch(dataset):
            raise ValueError(
                f"datasets: {dataset!r} is no name on the Hub, such as 'user/data'; describe data "
                "that are not there in `description`."
            )
    language = [language] if isinstance(language, str) else language
    for code in language or ():
        if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?|code|multilingual", code):
            raise ValueError(f"language: {code!r} is no code of a language, such as 'en'.")
    return {"license": license, "datasets": datasets, "language": language}


def _parts(value):
    """Yield all estimators in a parameter, members of ensembles and frozen ones too."""
    if isinstance(value, list | tuple):
        for part in value:
            yield from _parts(part)
    elif isinstance(value, BaseEstimator):
        yield value
        yield from _parts(list(value.get_params(deep=False).values()))


def _language_models(model):
    return {str(part.model_name) for part in _parts(model) if isinstance(part, LLMEmbedder)}


def _base_models(model):
    """Return the names of the language models that a pipeline reads with; None is a local one."""
    names = _language_models(model)
    return {ON_THE_HUB.get(name, name) if is_for_others(name) else None for name in names}


def is_for_others(name):
    """Tell whether a language model's name means the same on other machines.

    Parameters
    ----------
    name : str
        As :class:`LLMEmbedder` takes it.

    Returns
    -------
    bool
        Whether it is one of the Hub or of a package, and no folder here is called so.
    """
    return is_packaged(name) or bool(HUB_NAME.fullmatch(name)) and not Path(name).is_dir()


# --------------------------------------------------------------------------------- what is written
def escape(text):
    """Write a user's text as one line of Markdown that is read as no markup.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        Its words, punctuation that means something to Markdown or HTML behind a backslash.
    """
    text = re.sub(r"([\\`*_{}\[\]<>#|~$&!^:@])", r"\\\1", _one_line(text))
    return re.sub(r"^(\d*)([-+=.)])", r"\1\\\2", text)  # lists, rules and headings begin so


def _one_line(text):
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _metadata(name, names, bases, found):
    from huggingface_hub import EvalResult, ModelCardData

    row = found.table[0] if found.table else {}
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="reward model",
            dataset_type=(names["datasets"] or ["custom"])[0],
            dataset_name="held-out prompts",
            metric_type=kind,
            metric_name=label,
            metric_value=round(row[metric], 4),
        )
        for metric, kind, label in (
            ("accuracy", "accuracy", "pair accuracy"),
            ("gold", "mean_gold_reward", "mean gold reward of the pick"),
        )
        if np.isfinite(row.get(metric, np.nan))
    ]
    known = sorted(base for base in bases if base)
    return ModelCardData(
        **names,
        library_name="lens-sklearn",
        tags=["reward-model", "preference-learning", "scikit-learn"],
        base_model=known or None,
        model_name=name,
        eval_results=results or None,
        metrics=[r.metric_type for r in results if r.metric_type == "accuracy"] or None,
    )


def _write_head(name, description):
    text = (
        f"# {escape(name)}\n\nA reward model: it gives each response to a prompt a number, the "
        "better the response, the larger. It was learned from pairs of responses of which one was "
        "chosen."
    )
    return text if description is None else f"{text}\n\n{escape(description)}"


def _write_use(model, repo_id):
    ask = "reward.predict(embeddings)  # of shape (n_prompts, N, d)"
    if get_tags(_steps(model)[0]).input_tags.string:
        ask = 'reward.predict([{"prompt": "What is 2 + 2?", "responses": ["4.", "It is five."]}])'
    extras = f"[{','.join(_extras(model))}]" if _extras(model) else ""
    return (
        f'## How to use it\n\n```bash\npip install "lens-sklearn{extras} @ {SOURCE}"\n```\n\n'
        "```python\nfrom lens_sklearn import from_pretrained\n\n"
        f'reward = from_pretrained("{repo_id or "USER/NAME"}")\n{ask}\n```\n\n'
        "The files are safetensors and JSON: loading them runs no code."
    )


def _steps(model):
    return [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]


def _extras(model):
    """Return the extras that loading a model takes."""
    extras = [EXTRAS[name] for name in _language_models(model) & set(EXTRAS) if is_packaged(name)]
    known = {Pipeline, FrozenEstimator, *CLASSES.values()}
    is_foreign = any(type(part) not in known for part in _parts(model))
    return sorted(extras) + ["save"] * is_foreign


def _write_data(train, bases, names):
    lines = ["## What it was trained on"]
    if train is None:
        lines.append("The author of this card has not said on how many pairs.")
    else:
        lines.append(_say_pairs(train))
    if names["datasets"]:
        lines.append(f"Data on the Hub: {', '.join(map(escape, names['datasets']))}.")
    known = sorted(base for base in bases if base)
    if known:
        lines.append(f"Texts are read by {', '.join(map(escape, known))}.")
    if None in bases:
        lines.append(
            "Texts are read by a language model in a folder of the author's, which is not on the "
            "Hub: the reward cannot be used without it."
        )
    return "\n\n".join(lines)


def _say_pairs(train):
    """Say how many pairs there are, and how long their responses."""
    text = f"{len(train.groups)} preference pairs"
    if not train.prompts:
        return f"{text}, given as embeddings."
    text += f" of {len(np.unique(train.groups))} prompts."
    half, most = (np.quantile(train.lengths, q, axis=0) for q in (0.5, 0.9))
    return (
        f"{text} Half of the chosen responses have up to {half[0]:.0f} characters and nine of ten "
        f"up to {most[0]:.0f}; of the rejected ones {half[1]:.0f} and {most[1]:.0f}."
    )


#: Columns of the table: what a metric is called in it.
COLUMNS = {"accuracy": "pairs in the right order", "log_loss": "log loss",
           "gold": "mean gold reward of the pick"}  # fmt: skip


def _write_results(found):
    if not found.table:
        return "## Results\n\nNothing was measured."
    columns = [m for m in COLUMNS if any(np.isfinite(row[m]) for row in found.table)]
    lines = [["", *(COLUMNS[m] for m in columns)], ["---"] * (len(columns) + 1)]
    for row in found.table:
        cells = [_cell(row, m) for m in columns]
        lines.append([LABELS[row["method"]], *cells])
    said = ["## Results", "\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
    judged = []
    if found.n_pairs:
        judged.append(f"{found.n_pairs} held-out pairs of {found.n_prompts} prompts")
    if found.n_candidates:
        judged.append(f"candidates of {found.n_candidates} prompts with gold rewards")
    said.append(f"Measured on {' and on '.join(judged)}. In brackets, intervals of 95 %.")
    model = found.table[0]
    for metric in ("accuracy", "gold"):
        if np.isfinite(model.get(f"{metric}_difference", np.nan)):
            said.append(_say_difference(model, metric))
    if not any(row["method"] == LINEAR for row in found.table):
        said.append("No tuned linear model stands beside it, so what the method adds is unknown.")
    if found.n_shared:
        said.append(
            f"**{found.n_shared} of these prompts were trained on**, so the numbers look better "
            "than on other prompts."
        )
    return "\n\n".join(said)


def _cell(row, metric):
    mean, half_width = row[metric], row[f"{metric}_half_width"]
    if not np.isfinite(mean):
        return "–"
    if not np.isfinite(half_width):
        return f"{mean:.3f}"
    limits = [mean - half_width, mean + half_width]
    if metric == "accuracy":
        limits = np.clip(limits, 0, 1)
    return f"{mean:.3f} [{limits[0]:.3f}, {limits[1]:.3f}]"


def _say_difference(row, metric):
    difference, half_width = row[f"{metric}_difference"], row[f"{metric}_difference_half_width"]
    is_clear = np.isfinite(half_width) and abs(difference) > half_width
    said = "beyond chance" if is_clear else "which may be chance"
    return (
        f"Difference to the tuned linear model, {COLUMNS[metric]}: "
        f"{interval_text(difference, half_width)}, {said}."
    )


def _write_calibration(found):
    if found.calibration is None:
        return "## Probabilities\n\nNot measured."
    return (
        "## Probabilities\n\nThe difference of two rewards is the log-odds that the first "
        "response is preferred. On the held-out pairs, in both orders, the probabilities are off "
        f"by {found.calibration:.3f} on average (expected calibration error, 10 bins; the noise of "
        "few pairs counts too). A coin has a log loss of 0.693."
    )


def _write_length(found):
    if found.length is None:
        return "## Length\n\nNot measured."
    r, (low, high) = found.length.correlation, found.length.interval
    if not np.isfinite(r):
        return "## Length\n\nRewards of one prompt do not differ."
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    text = (
        f"## Length\n\nWithin prompts, rewards and the logarithm of lengths correlate by {r:.2f}"
        f"{interval}."
    )
    if abs(r) > LONG_CORRELATION:
        text += " **Much of what this reward says is how long a response is.**"
    return text


def _write_limits(train, found):
    prompts = "the prompts that it was trained on"
    if train is not None and train.prompts:
        n = len(np.unique(train.groups))
        prompts = f"the {n} prompts that it was trained on"
    lines = [
        "No absolute scale: rewards are log-odds, known up to a shift for each prompt. Compare "
        "responses to one prompt, never those to different prompts.",
        f"It knows {prompts} and what resembles them. Other topics, languages, lengths or models "
        "that write the responses were not tested unless a table above says so.",
        "It repeats what the judges of the pairs preferred, their mistakes and prejudices among "
        "it. It does not know facts.",
        "It is not a safety filter.",
        "Whatever is optimized against it, by reinforcement learning or a pick of very many, finds "
        "responses that it overrates. Check results by other means.",
    ]
    if not found.table:
        lines.append("Nothing was measured for this card.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _write_versions(model):
    made = " → ".join(type(step).__name__ for step in _steps(model))
    used = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"## Made with\n\n{made}\n\n{used}"
