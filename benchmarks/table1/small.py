"""SmolLM2 on AlpacaEval's published responses and judgements: Table 1 on two cores.

Three sets of prompts are apart: those of the test, those of the few pairs, and the rest, whose
pairs train the labeller of the privileged rows. Test responses and those of the few pairs are
published ones that fit with their prompt into ``max_length`` tokens, so that no system reads a
text that was cut. Test prompts whose responses all have one gold are left out: judgements are
clipped, short responses are often at the lower end, and no pick matters there.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline

from lens_sklearn import EmbeddingScaler, LinearRewardRegressor, LLMEmbedder, prompt_groups
from lens_sklearn._language_model import get_language_model, resolve_model
from lens_sklearn._packaged_model import MINILM, SMOLLM2, packaged_folder
from lens_sklearn.textual import RewardLabeller, RewardModelLabeller

from ..datasets._texts import SOURCES, read_rows
from .settings import Setting, untemplated

ENCODER = MINILM  # of the labeller; not the model that is compared
MIN_GAP = 0.1  # of gold, between the two responses of a pair
PAIRS_A_PROMPT = 3  # of the labeller
EVALUATOR = "AlpacaEval's published GPT-4-turbo judgements, as log-odds against one reference"


class Sets(NamedTuple):
    """Rows whose prompts are apart.

    Attributes
    ----------
    pairs : list of dict
        The few preference rows.
    candidates : list of dict
        Test prompts with published responses.
    gold : ndarray, shape (n_prompts, n_candidates)
        Their published judgements.
    others : list of dict
        Preference rows of the labeller.
    lengths : ndarray, shape (n_prompts, n_candidates)
        Tokens of the candidates with their prompts.
    """

    pairs: list
    candidates: list
    gold: np.ndarray
    others: list
    lengths: np.ndarray


def small_setting(args, seed):
    """Take SmolLM2 and the published rows.

    Parameters
    ----------
    args : argparse.Namespace
        Of the command line.
    seed : int
        Draws the two responses of each pair; prompts, test responses and the labeller are the
        same for every seed.

    Returns
    -------
    Setting
        Whose labeller is fitted when it is asked for.
    """
    file = f"{SOURCES['alpaca'].file}.jsonl.gz"
    if args.data is None or not (Path(args.data) / file).is_file():
        raise ValueError(f"--size small needs --data, the folder of {file}; got {args.data}.")
    base = args.base or SMOLLM2
    notes = untemplated(base)
    if args.labeller is None:
        packaged_folder(ENCODER)  # its extra is named before anything is computed
    sets = draw_sets(
        read_rows("alpaca", Path(args.data)), base, seed, n_pairs=args.n_pairs or 64,
        n_prompts=args.n_prompts or 48, n_candidates=args.n_candidates or 8,
        max_length=args.max_length or 192,
    )  # fmt: skip
    n_others = len({row["prompt"] for row in sets.others})
    encoder = f"a linear reward on {ENCODER}, fitted to {len(sets.others)} pairs of {n_others} "
    encoder += "other prompts of the same judge"
    common = {"max_epochs": args.epochs or 1, "batch_size": 8}
    return Setting(
        base=base,
        make_labeller=_labeller(args, sets.others),
        labeller=args.labeller or encoder,
        evaluator=EVALUATOR,
        pairs=sets.pairs,
        candidates=sets.candidates,
        gold_rewards=sets.gold,
        folder=args.folder,
        factors=tuple(args.factors or (1, 2)),
        n_samples=args.n_samples or 4,
        max_new_tokens=args.max_new_tokens or 64,
        full=common,
        lora=common | {"lora": {"r": 8}},
        max_length=args.max_length or 192,
        notes=(*notes, _schedule(len(sets.pairs), common)),
    )


def _schedule(n_pairs, common):
    steps = -(-n_pairs // common["batch_size"]) * common["max_epochs"]
    return (
        f"Fine-tuning is the paper's schedule (AdamW, 1e-5 in full and 1e-4 with LoRA, "
        f"{common['max_epochs']} epoch(s)), which is\n{steps} steps on {n_pairs} pairs: these rows "
        "are hardly trained; --epochs gives them more."
    )


# ------------------------------------------------------------------------------------ rows
def draw_sets(rows, base, seed, *, n_pairs, n_prompts, n_candidates, max_length):
    """Split prompts into those of the test, of the pairs and of the labeller.

    Parameters
    ----------
    rows : list of dict
        Candidate rows with gold, one a prompt.
    base : str
        Whose tokens are counted.
    seed : int
        Draws the two responses of each pair.
    n_pairs, n_prompts, n_candidates : int
        Sizes.
    max_length : int
        Most tokens of a text.

    Returns
    -------
    Sets
        What there is.

    Raises
    ------
    ValueError
        If there are too few prompts whose responses fit.
    """
    rng = np.random.default_rng(0)
    rows = list({row["prompt"]: row for row in rows if row["prompt"].strip()}.values())
    rows = [rows[i] for i in rng.permutation(len(rows))]
    lengths = count_tokens(rows, base)
    gold = [np.asarray(row["gold"], dtype=float) for row in rows]
    fits = [
        np.intersect1d(np.flatnonzero(own <= max_length), _written(row))
        for own, row in zip(lengths, rows, strict=True)
    ]
    columns = [rng.permutation(own)[:n_candidates] for own in fits]
    full = [i for i, own in enumerate(columns) if len(own) == n_candidates]
    test = [i for i in full if _has_pair(gold[i][columns[i]])][:n_prompts]
    taken = set(test)
    few = [i for i in range(len(rows)) if i not in taken and _has_pair(gold[i][fits[i]])][:n_pairs]
    taken |= set(few)
    others = [i for i in range(len(rows)) if i not in taken]
    if len(test) < n_prompts or len(few) < n_pairs or not others:
        raise ValueError(
            f"{len(rows)} prompts have {len(test)} with {n_candidates} responses of at most "
            f"{max_length} tokens and different gold for the test, then {len(few)} for the pairs "
            f"and {len(others)} for the labeller; wanted are {n_prompts}, {n_pairs} and some. "
            "Lower these sizes, or raise --max-length."
        )
    columns = [columns[i] for i in test]
    draw = np.random.default_rng([seed, 1])
    return Sets(
        [pair for i in few for pair in _pairs(rows[i], gold[i], fits[i], 1, draw)],
        [
            {"prompt": rows[i]["prompt"], "responses": [rows[i]["responses"][j] for j in own]}
            for i, own in zip(test, columns, strict=True)
        ],
        np.array([gold[i][own] for i, own in zip(test, columns, strict=True)]),
        [
            pair
            for i in others
            for pair in _pairs(rows[i], gold[i], _written(rows[i]), PAIRS_A_PROMPT, rng)
        ],
        np.array([lengths[i][own] for i, own in zip(test, columns, strict=True)]),
    )


def count_tokens(rows, base):
    """Count the tokens of prompts with each response, in a model's template.

    Parameters
    ----------
    rows : list of dict
        Candidate rows.
    base : str
        The model.

    Returns
    -------
    list of ndarray of int, shape (N,)
        Tokens.
    """
    tokenizer = get_language_model(resolve_model(base, device="cpu")).tokenizer
    lengths = []
    for row in rows:
        texts = [row["prompt"] + "\n" + response for response in row["responses"]]
        extra = 0
        if tokenizer.chat_template is not None:
            turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
            rendered = tokenizer.apply_chat_template(turns, tokenize=False)
            extra = len(tokenizer(rendered, add_special_tokens=False)["input_ids"])
        ids = tokenizer(texts, verbose=False)["input_ids"]
        lengths.append(np.array([len(i) + extra for i in ids]))
    return lengths


def _written(row):
    return np.flatnonzero([bool(text.strip()) for text in row["responses"]])


def _has_pair(gold):
    return len(gold) > 1 and np.ptp(gold) > MIN_GAP


def _pairs(row, gold, columns, n, rng):
    """Draw up to n pairs of different responses whose gold differs; each response once."""
    pairs, left = [], list(rng.permutation(columns))
    while left and len(pairs) < n:
        first = left.pop()
        partners = [j for j in left if abs(gold[first] - gold[j]) > MIN_GAP]
        if not partners:
            continue
        left.remove(partners[0])
        better, worse = sorted((first, partners[0]), key=lambda j: -gold[j])
        texts = row["responses"]
        pair = {"chosen": texts[better], "rejected": texts[worse]}
        pairs.append({"prompt": row["prompt"]} | pair)
    return pairs


# -------------------------------------------------------------------------------- labeller
def _labeller(args, others):
    """Return a function that makes the labeller, once."""

    @cache
    def make():
        if args.labeller is not None:
            return RewardModelLabeller(args.labeller)
        embedder = LLMEmbedder(ENCODER, max_length=256, store=args.folder / "embeddings")
        steps = [("embed", embedder), ("scale", EmbeddingScaler())]
        reward = Pipeline([*steps, ("reward", LinearRewardRegressor())])
        return RewardLabeller(reward.fit(others, reward__groups=prompt_groups(others)))

    return make
