"""The rows of Table 1: who labels its synthetic pairs, and which reward model learns from them."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from lens_sklearn import (
    BTRewardRegressor,
    DirectNoiseAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    LatentPairAugmenter,
    LinearRewardRegressor,
    LLMEmbedder,
    RepeatAugmenter,
    prompt_groups,
    response_lengths,
    textual,
)
from lens_sklearn.textual import (
    AugmentedRows,
    FineTunedRewardRegressor,
    ImplicitPreferenceLabeller,
    ResponseGenerator,
    SelfEvolvedLabeller,
    SelfRewardingLabeller,
    TextPairSynthesizer,
)


class Row(NamedTuple):
    """A row of the table that is trained at every factor.

    Attributes
    ----------
    synthesis : str or type
        A key of ``LABELLERS``, or an augmenter of the latent space.
    model : {"full", "lora", "mlp"}
        The reward model.
    meaning : str
        What stands below the table.
    in_paper : bool
        Whether the paper's table has it.
    """

    synthesis: str | type
    model: str
    meaning: str
    in_paper: bool = True


#: The labellers of sampled responses, by setting and seed.
LABELLERS: dict[str, Callable] = {
    "privileged": lambda setting, seed: setting.make_labeller(),
    "pairwise": lambda setting, seed: SelfRewardingLabeller(setting.base, mode="pairwise"),
    "likelihood": lambda setting, seed: ImplicitPreferenceLabeller(setting.base, mode="likelihood"),
    "self-evolved": lambda setting, seed: SelfEvolvedLabeller(reward_model(setting, "full", seed)),
    "pointwise": lambda setting, seed: SelfRewardingLabeller(setting.base, mode="pointwise"),
    "p_yes": lambda setting, seed: ImplicitPreferenceLabeller(setting.base, mode="p_yes"),
}
MLP = "embedding MLP on text synthesis"
ROWS = {
    "full fine-tune": Row(
        "privileged", "full", "all weights of the base model; sampled pairs, labeller's labels"
    ),
    "low-rank adaptation": Row("privileged", "lora", "a LoRA adapter on the same pairs"),
    MLP: Row("privileged", "mlp", "a network on the base model's embeddings of the same pairs"),
    "self-rewarding": Row(
        "pairwise", "full", "full fine-tuning; the base model compares sampled responses, A or B"
    ),
    "self-evolved": Row(
        "self-evolved", "full", "full fine-tuning; a reward trained on the pairs labels and learns"
    ),
    "IPO (implicit preference)": Row(
        "likelihood", "full", "full fine-tuning; labels are mean log-likelihoods of the base model"
    ),
    "direct perturbation": Row(DirectNoiseAugmenter, "mlp", "noise on embeddings; the network"),
    "Gaussian sampling": Row(GaussianAugmenter, "mlp", "a Gaussian of embeddings; the network"),
    "LENS": Row(LatentPairAugmenter, "mlp", "the paper's synthesis in latent space; the network"),
    "control: repeat": Row(
        RepeatAugmenter, "mlp", "the same pairs k times: as many steps, no data"
    ),
    "self-rewarding, ratings": Row(
        "pointwise", "full", "as self-rewarding, by the expected rating from 1 to 5", False
    ),
    "IPO, P(yes)": Row("p_yes", "full", "as IPO, by the answer whether a response is good", False),
}


def _rubric(setting, seed):
    generator = ResponseGenerator(
        setting.base, temperature=0.7, top_p=0.9, max_new_tokens=4 * setting.max_new_tokens,
        store=setting.folder / "judgements", random_state=seed,
    )  # fmt: skip
    return textual.RubricLabeller(generator=generator)


def _p_yes_plain(setting, seed):
    return ImplicitPreferenceLabeller(setting.base, mode="p_yes_plain")


def _best_worst(setting, seed):
    return SelfEvolvedLabeller(reward_model(setting, "full", seed), pairs="best_worst")


def _knows(labeller, name, option):
    """Tell whether a labeller's parameter may have a value."""
    kinds = labeller._parameter_constraints.get(name, ())
    return any(option in getattr(kind, "options", ()) for kind in kinds)


if hasattr(textual, "RubricLabeller"):
    LABELLERS["rubric"] = _rubric
    ROWS["self-rewarding, rubric"] = Row(
        "rubric", "full", "as self-rewarding, by points that it reasons about and writes", False
    )
if _knows(ImplicitPreferenceLabeller, "mode", "p_yes_plain"):
    LABELLERS["p_yes_plain"] = _p_yes_plain
    ROWS["IPO, P(yes) as plain text"] = Row(
        "p_yes_plain", "full", "as IPO, P(yes), without a template as its source has it", False
    )
if _knows(SelfEvolvedLabeller, "pairs", "best_worst"):
    LABELLERS["best against worst"] = _best_worst
    ROWS["self-evolved, best against worst"] = Row(
        "best against worst",
        "full",
        "as self-evolved, on the best and worst by its own reward",
        False,
    )
#: Rows without a factor: scores of the test responses by setting, and what they mean.
SCORED = {
    "control: tuned linear": (
        lambda setting: tuned_linear(setting),
        "a linear reward on the original pairs' embeddings, penalty chosen by prompts",
    ),
    "control: the labeller": (
        lambda setting: labeller_scores(setting),
        "the pick of the privileged rows' labeller itself",
    ),
    "longest": (lambda setting: response_lengths(setting.candidates), "the longest response"),
    "shortest": (lambda setting: -response_lengths(setting.candidates), "the shortest response"),
    "random pick": (lambda setting: 0 * setting.gold_rewards, "the mean of the responses"),
    "oracle": (lambda setting: setting.gold_rewards, "the best response by the evaluator"),
}


def reward_model(setting, kind, seed):
    """Return one of the three reward models, not fitted.

    Parameters
    ----------
    setting : Setting
        With which language model.
    kind : {"full", "lora", "mlp"}
        Which.
    seed : int
        Its random state.

    Returns
    -------
    estimator
        Takes rows of text.
    """
    if kind == "mlp":
        embedder = LLMEmbedder(
            setting.base, layer=-1, pooling="last", max_length=setting.max_length,
            store=setting.folder / "embeddings",
        )  # fmt: skip
        reward = BTRewardRegressor(random_state=seed)
        steps = [("embed", embedder), ("scale", EmbeddingScaler()), ("augment", "passthrough")]
        return Pipeline([*steps, ("reward", reward)])
    return FineTunedRewardRegressor(
        setting.base, **getattr(setting, kind), max_length=setting.max_length,
        store=setting.folder / "rewards", random_state=seed,
    )  # fmt: skip


def synthetic_rows(setting, name, seed):
    """Return the rows of the largest factor; smaller factors are parts of them.

    Parameters
    ----------
    setting : Setting
        What to start from.
    name : str
        A key of ``LABELLERS``.
    seed : int
        Draws the responses.

    Returns
    -------
    AugmentedRows
        Kept in the setting's folder once they are there.
    """
    factor = max(setting.factors)
    file = f"{setting.digest()}-{name}-{seed}-{factor}.json"
    path = setting.folder / "synthetic" / file
    if path.exists():
        return AugmentedRows(**json.loads(path.read_text(encoding="utf-8")))
    generator = ResponseGenerator(
        setting.base, n_samples=setting.n_samples, max_new_tokens=setting.max_new_tokens,
        store=setting.folder / "responses", random_state=seed,
    )  # fmt: skip
    labeller = LABELLERS[name](setting, seed)
    rows = TextPairSynthesizer(generator, labeller, factor=factor).fit_transform(setting.pairs)
    known = {"rows": list(rows), "parent": rows.parent.tolist(), "number": rows.number.tolist()}
    path.parent.mkdir(exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.new")
    unfinished.write_text(json.dumps(known), encoding="utf-8")
    unfinished.replace(path)
    return rows


def fitted(setting, system, factor, rows, seed):
    """Return a system's reward model, fitted at one factor.

    Parameters
    ----------
    setting : Setting
        What to start from.
    system : str
        A key of ``ROWS``.
    factor : int
        1 is the original pairs alone.
    rows : AugmentedRows or None
        From `synthetic_rows`, where the system has such.
    seed : int
        Of the reward model and the augmenter.

    Returns
    -------
    estimator
        Its ``predict`` takes candidate rows.
    """
    synthesis, kind = ROWS[system].synthesis, ROWS[system].model
    reward = reward_model(setting, kind, seed)
    if factor == 1:
        return reward.fit(setting.pairs)
    if isinstance(synthesis, str):
        return reward.fit(rows[np.flatnonzero(rows.number < factor)])
    augmenter = synthesis(factor=factor)
    if "random_state" in augmenter.get_params():
        augmenter.set_params(random_state=seed)
    return reward.set_params(augment=augmenter).fit(setting.pairs)


def drop_weights(setting, kept):
    """Delete fine-tuned weights that no later cell begins with: they are as large as the model.

    Parameters
    ----------
    setting : Setting
        In whose folder they are.
    kept : set of str
        Folders of reward models that stay.
    """
    stay = {Path(folder).parent for folder in kept}
    for folder in (setting.folder / "rewards").resolve().glob("*"):
        if folder not in stay:
            shutil.rmtree(folder, ignore_errors=True)


def tuned_linear(setting):
    """Return scores by a linear reward whose penalty is chosen by prompts.

    Parameters
    ----------
    setting : Setting
        What it learns from and scores.

    Returns
    -------
    ndarray, shape (n_prompts, N)
        Rewards.
    """
    steps = [*reward_model(setting, "mlp", 0).steps[:2], ("reward", LinearRewardRegressor())]
    linear = Pipeline(steps).fit(setting.pairs, reward__groups=prompt_groups(setting.pairs))
    return linear.predict(setting.candidates)


def labeller_scores(setting):
    """Return the labeller's scores of the test responses.

    Parameters
    ----------
    setting : Setting
        Whose labeller.

    Returns
    -------
    ndarray, shape (n_prompts, N)
        Scores.
    """
    rows = setting.candidates
    return setting.make_labeller().score(
        [row["prompt"] for row in rows], [row["responses"] for row in rows]
    )
