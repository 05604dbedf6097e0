"""The paper's models and the user's rows, for one GPU with 80 GB; not run."""

import json

import numpy as np

from lens_sklearn import load_candidates, load_preferences
from lens_sklearn.textual import ResponseGenerator, RewardModelLabeller, TextPairSynthesizer

from .settings import Setting, model_identity, untemplated

BASE = "meta-llama/Llama-3.1-8B-Instruct"
EVALUATOR = "Skywork/Skywork-Reward-V2-Llama-3.1-8B"
#: Trained on more pairs than 100,000, as the paper's own labeller, and none of the evaluator's kin.
LABELLER = "sfairXC/FsfairX-LLaMA3-RM-v0.1"


def check_labeller(labeller, evaluator, is_wanted):
    """Refuse a labeller that is the evaluator, unless it was asked for.

    Parameters
    ----------
    labeller, evaluator : str
        Names of models.
    is_wanted : bool
        Whether ``--labeller-is-evaluator`` was given.

    Returns
    -------
    bool
        Whether they are the same.

    Raises
    ------
    ValueError
        If they are and should not be, or are not and should be.
    """
    same = labeller == evaluator or model_identity(labeller) == model_identity(evaluator)
    if same and not is_wanted:
        raise ValueError(
            f"--labeller {labeller} is the evaluator (--gold {evaluator}): the rows that it labels "
            "would be trained on the test's own metric. Give another reward model, or say "
            "--labeller-is-evaluator, which the table then says too."
        )
    if is_wanted and not same:
        raise ValueError(
            f"--labeller-is-evaluator has no effect: --labeller {labeller} is not --gold "
            f"{evaluator}."
        )
    return same


def paper_setting(args):
    """Take the paper's models and the user's rows; sample and score test candidates.

    Parameters
    ----------
    args : argparse.Namespace
        Of the command line.

    Returns
    -------
    Setting
        The same for every seed.
    """
    if args.pairs is None or args.prompts is None:
        raise ValueError(
            "--size paper needs --pairs (rows prompt, chosen, rejected) and --prompts (rows with "
            "a prompt, or candidate rows with responses and gold); see --estimate for its cost."
        )
    base, labeller = args.base or BASE, args.labeller or LABELLER
    rows = [json.loads(line) for line in args.prompts.read_text("utf-8").splitlines() if line]
    has_gold, is_evaluator = "gold" in rows[0], False
    if has_gold and (args.gold or args.labeller_is_evaluator):
        option = "--gold" if args.gold else "--labeller-is-evaluator"
        raise ValueError(
            f"{option} has no effect: the rows of {args.prompts} have a gold of their own."
        )
    if not has_gold:
        evaluator = args.gold or EVALUATOR
        is_evaluator = check_labeller(labeller, evaluator, args.labeller_is_evaluator)
    notes = untemplated(base)
    if has_gold:
        evaluator = f"the gold of {args.prompts.name}"
        candidates, gold = load_candidates(args.prompts)
    else:
        candidates, gold = _scored(rows, base, evaluator, args.folder)
    half = {"dtype": "bfloat16", "gradient_checkpointing": True, "max_epochs": args.epochs or 1}
    return Setting(
        base=base,
        make_labeller=lambda: RewardModelLabeller(labeller),
        labeller=labeller,
        evaluator=evaluator,
        pairs=load_preferences(args.pairs)[: args.n_pairs or 1000],
        candidates=candidates,
        gold_rewards=gold,
        folder=args.folder,
        factors=tuple(args.factors or (1, 2, 4, 8)),
        n_samples=args.n_samples or 16,
        max_new_tokens=args.max_new_tokens or 256,
        full=half,
        lora=half | {"lora": {}},
        max_length=args.max_length or 1024,
        labeller_is_evaluator=is_evaluator,
        notes=notes,
    )


def _scored(rows, base, evaluator, folder):
    """Sample test responses and score them once: the same candidates for every seed."""
    generator = ResponseGenerator(base, n_samples=16, random_state=1000, store=folder / "responses")
    candidates = [row for row in generator.fit_transform(rows) if row["responses"]]
    name = model_identity(evaluator).replace("/", "-")[-32:]
    scored = folder / f"gold-{name}.npy"
    if not scored.exists():
        prompts, texts = zip(*((r["prompt"], r["responses"]) for r in candidates), strict=True)
        rewards = RewardModelLabeller(evaluator).score(list(prompts), list(texts))
        unfinished = scored.with_suffix(".new.npy")
        np.save(unfinished, rewards)
        unfinished.replace(scored)
    return candidates, np.load(scored)


def paper_estimate(
    n_pairs=1000, n_prompts=1000, factors=(1, 2, 4, 8), tokens=400, flops=1.5e14,
    tokens_per_second=1150,
):  # fmt: skip
    """Return estimated hours of ``--size paper`` by part, for one seed; nothing is measured.

    An 8B model takes 2 · 8e9 operations a token forward and 4 times that to train with
    checkpointed activations; `flops` is what a GPU reaches of its peak, `tokens_per_second` what
    sampling reaches (46 sequences a step, 25 steps a second).

    Returns
    -------
    dict of str to float
        Hours a part.
    """
    forward = 2 * 8e9 * tokens / flops / 3600  # hours a text
    more = [factor for factor in factors if factor > 1]
    draws = n_draws(factors)
    # Each of the four full systems and LoRA trains on k n rows a factor k; the original n rows
    # are trained on once fully and once by LoRA, and the self-evolved labeller trains four times
    # on up to 2 n.
    trained = n_pairs * (5 * sum(more) + 2 + 7)
    fits, embedded = 5 * len(more) + 2, n_pairs * 2 * (1 + sum(more)) + 16 * n_prompts
    return {
        "sampling, training and test prompts": (draws * n_pairs + n_prompts) * 16 * 256
        / tokens_per_second / 3600,
        "pairwise judgements, 16 · 15 a prompt": forward * 1.5 * 240 * draws * n_pairs,
        "the other three labellers and the test gold": forward * 16
        * (3 * draws * n_pairs + n_prompts),
        "fine-tuning": forward * 4 * 2 * trained,
        "scoring test candidates, a fit each": forward * 16 * n_prompts * fits,
        "embedding and latent systems": forward * embedded + 0.3,
    }  # fmt: skip


def n_draws(factors):
    """Return how many draws of responses the synthesis of the largest factor takes."""
    draws = getattr(TextPairSynthesizer(None, None), "draws", "once")
    return max(max(factors) - 1, 0) if draws == "anew" else int(max(factors) > 1)
