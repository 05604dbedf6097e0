"""Every row of the paper's Table 1 in one command.

::

    python -m benchmarks.table1 --size tiny
    python -m benchmarks.table1 --size paper --pairs pairs.jsonl --prompts test.jsonl --seeds 3
    python -m benchmarks.table1 --size paper --estimate

"tiny" builds random language models of 0.1 M parameters in a temporary folder and needs no
network: it shows that every system runs from rows to a score. **Its numbers mean nothing**,
since random models neither write nor judge. "paper" takes the paper's models (one GPU with 80 GB);
``--estimate`` prints what that should cost. Whatever is finished stays in ``--folder``, so an
interrupted run goes on where it stopped.
"""

import argparse
import json
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

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
    best_of_n_score,
    load_candidates,
    load_preferences,
    prompt_groups,
)
from lens_sklearn.datasets import make_demo_preferences
from lens_sklearn.textual import (
    FineTunedRewardRegressor,
    ImplicitPreferenceLabeller,
    ResponseGenerator,
    RewardModelLabeller,
    SelfEvolvedLabeller,
    SelfRewardingLabeller,
    TextPairSynthesizer,
)

#: Row of the table -> (labeller of its synthetic pairs, None for latent ones; reward model).
SYSTEMS = {
    "full fine-tune": ("gold", "full"),
    "low-rank adaptation": ("gold", "lora"),
    "embedding MLP on text synthesis": ("gold", "mlp"),
    "self-rewarding": ("self-rewarding", "full"),
    "self-evolved": ("self-evolved", "full"),
    "IPO (implicit preference)": ("implicit", "full"),
    "direct perturbation": (DirectNoiseAugmenter, "mlp"),
    "Gaussian sampling": (GaussianAugmenter, "mlp"),
    "LENS": (LatentPairAugmenter, "mlp"),
    "control: repeat": (RepeatAugmenter, "mlp"),
}
PRIVILEGED = (
    "The first three rows' synthetic pairs are labelled by a reward model that is not trained on "
    "the few pairs:\nthe paper's was trained on more than 100,000 pairs, which no other row has."
)
MEANINGLESS = (
    "These numbers mean nothing: the language models are tiny and random. The table shows that "
    "every\nsystem runs from rows to a score, and no more."
)


@dataclass
class Setting:
    """What the systems are run on, and with which models."""

    base: str
    gold: str
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


# ------------------------------------------------------------------------------ settings
def tiny_setting(folder, factors, seed=0):
    """Build random models and take the demo's sentences, whose gold is exact."""
    demo = make_demo_preferences(n_pairs=48, n_test_prompts=8, random_state=seed)
    for row in demo.candidates:
        row["responses"] = row["responses"][:8]
    texts = [text for row in demo.pairs for text in row.values()]
    texts += [text for row in demo.candidates for text in (row["prompt"], *row["responses"])]
    words = {word for text in texts for word in text.split()} | set("Yes No A B 1 2 3 4 5".split())
    fast = {"learning_rate": 1e-3, "batch_size": 16}
    return Setting(
        save_tiny_model(folder / "base", "LlamaForCausalLM", words),
        save_tiny_model(folder / "gold", "LlamaForSequenceClassification", words),
        demo.pairs,
        demo.candidates,
        demo.gold[:, :8],
        folder,
        factors or (1, 2, 4),
        n_samples=6,
        max_new_tokens=12,
        full=fast,
        lora=fast | {"lora": {"r": 4}},
        max_length=256,
    )


def save_tiny_model(folder, architecture, words):
    """Save a random Llama with a word-level tokenizer, pad and end tokens apart."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {w: i for i, w in enumerate(["<s>", "</s>", "<pad>", "<unk>", *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        chat_template=(
            "{{ bos_token }}{% for m in messages %} {{ m['content'] }} {{ eos_token }}{% endfor %}"
        ),
    )  # fmt: skip
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=1024, bos_token_id=0, eos_token_id=1,
        pad_token_id=2, num_labels=1,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, architecture)(config)
        for parameter in model.parameters():  # the usual 0.02 makes all texts look alike
            torch.nn.init.normal_(parameter, std=0.3)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def paper_setting(args, seed):
    """Take the paper's models and the user's rows; sample and score test candidates."""
    if args.pairs is None or args.prompts is None:
        raise SystemExit(
            "--size paper needs --pairs (rows prompt, chosen, rejected) and --prompts (rows with "
            "a prompt, or candidate rows with responses and gold); see --estimate for its cost."
        )
    rows = [json.loads(line) for line in args.prompts.read_text("utf-8").splitlines() if line]
    if "gold" in rows[0]:
        candidates, gold = load_candidates(args.prompts)
    else:
        generator = ResponseGenerator(
            args.base, n_samples=16, random_state=1000, store=args.folder / "responses"
        )
        candidates = generator.fit_transform(rows)
        candidates = [row for row in candidates if row["responses"]]
        scored = args.folder / "gold.npy"  # the same candidates for every seed
        if not scored.exists():
            prompts, texts = zip(*((r["prompt"], r["responses"]) for r in candidates), strict=True)
            np.save(scored, RewardModelLabeller(args.gold).score(list(prompts), list(texts)))
        gold = np.load(scored)
    half = {"dtype": "bfloat16", "gradient_checkpointing": True}
    pairs = load_preferences(args.pairs)[: args.n_pairs]
    return Setting(
        args.base, args.gold, pairs, candidates, gold, args.folder,
        args.factors or (1, 2, 4, 8), full=half, lora=half | {"lora": {}},
    )  # fmt: skip


# ------------------------------------------------------------------------------- systems
def reward_model(setting, kind, seed):
    """Return one of the three reward models, not fitted."""
    if kind == "mlp":
        return Pipeline(
            [
                (
                    "embed",
                    LLMEmbedder(
                        setting.base,
                        layer=-1,
                        pooling="last",
                        store=setting.folder / "embeddings",
                    ),
                ),
                ("scale", EmbeddingScaler()),
                ("augment", "passthrough"),
                ("reward", BTRewardRegressor(random_state=seed)),
            ]
        )
    return FineTunedRewardRegressor(
        setting.base, **getattr(setting, kind), max_length=setting.max_length,
        store=setting.folder / "rewards", random_state=seed,
    )  # fmt: skip


def labeller(setting, name, seed):
    """Return one of the four labellers."""
    if name == "self-evolved":
        return SelfEvolvedLabeller(reward_model(setting, "full", seed))
    return {
        "gold": RewardModelLabeller(setting.gold),
        "self-rewarding": SelfRewardingLabeller(setting.base),
        "implicit": ImplicitPreferenceLabeller(setting.base),
    }[name]


def synthetic_rows(setting, name, seed):
    """Return the rows of the largest factor; smaller factors are parts of them."""
    generator = ResponseGenerator(
        setting.base, n_samples=setting.n_samples, max_new_tokens=setting.max_new_tokens,
        store=setting.folder / "responses", random_state=seed,
    )  # fmt: skip
    synthesizer = TextPairSynthesizer(
        generator, labeller(setting, name, seed), factor=max(setting.factors)
    )
    return synthesizer.fit_transform(setting.pairs)


def fitted(setting, system, factor, rows, seed):
    """Return a system's reward model, fitted at one factor."""
    source, kind = SYSTEMS[system]
    reward = reward_model(setting, kind, seed)
    if factor == 1:
        return reward.fit(setting.pairs)
    if isinstance(source, str):
        return reward.fit(rows[np.flatnonzero(rows.number < factor)])
    augmenter = source(factor=factor)
    if "random_state" in augmenter.get_params():
        augmenter.set_params(random_state=seed)
    return reward.set_params(augment=augmenter).fit(setting.pairs)


def tuned_linear(setting):
    """Return the mean gold of a linear reward whose penalty is chosen by prompts."""
    steps = [*reward_model(setting, "mlp", 0).steps[:2], ("reward", LinearRewardRegressor())]
    linear = Pipeline(steps).fit(setting.pairs, reward__groups=prompt_groups(setting.pairs))
    return linear.score(setting.candidates, setting.gold_rewards)


# ------------------------------------------------------------------------------- the table
def table1(size="tiny", *, folder=None, factors=None, seeds=(0,), setting=None, report=print):
    """Run every row of Table 1; return a record a cell.

    Parameters
    ----------
    size : {"tiny", "paper"}, default="tiny"
        "paper" needs a `setting`.
    folder : str or Path, default=None
        Where models, responses and results are kept; None is a temporary folder.
    factors : sequence of int, default=None
        Columns; None is 1, 2, 4 for "tiny" and 1, 2, 4, 8 for "paper".
    seeds : sequence of int, default=(0,)
        Repetitions.
    setting : callable, default=None
        ``setting(seed) -> Setting``; None builds the tiny one.
    report : callable, default=print
        Takes a line on each finished cell.

    Returns
    -------
    list of dict
        With ``system``, ``factor``, ``seed``, ``gold`` (mean gold reward of the pick),
        ``rows`` (trained on) and ``seconds``.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            return table1(
                size, folder=temporary, factors=factors, seeds=seeds, setting=setting, report=report
            )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if setting is None and size != "tiny":
        raise ValueError("size='paper' needs a setting: its models and rows.")
    results = folder / "table1.jsonl"
    records = [json.loads(r) for r in results.read_text().splitlines()] if results.exists() else []
    for seed in seeds:
        made = setting(seed) if setting else tiny_setting(folder, factors, seed)
        done = {(r["system"], r["factor"]) for r in records if r["seed"] == seed}
        for record in cells(made, seed, done):
            records.append({"size": size, "seed": seed} | record)
            with results.open("a") as file:
                file.write(json.dumps(records[-1]) + "\n")
            report(
                "{system}, {factor}x: {gold:.3f} ({rows} rows, {seconds:.1f} s)".format(**record)
            )
    return records


def cells(setting, seed, done):
    """Yield a record a cell of the table that is not done yet."""
    gold = setting.gold_rewards
    if ("control: tuned linear", 1) not in done:
        start = time.perf_counter()
        score = tuned_linear(setting)
        yield record("control: tuned linear", 1, score, len(setting.pairs), start)
    labelled = {}
    for system, (source, _) in SYSTEMS.items():
        for factor in setting.factors:
            if (system, factor) in done:
                continue
            start = time.perf_counter()
            if factor > 1 and isinstance(source, str) and source not in labelled:
                labelled[source] = synthetic_rows(setting, source, seed)
            rows = labelled.get(source) if isinstance(source, str) else None
            reward = fitted(setting, system, factor, rows, seed)
            score = best_of_n_score(reward.predict(setting.candidates), gold)
            if factor > 1 and rows is not None:
                n_rows = int((rows.number < factor).sum())
            else:
                n_rows = factor * len(setting.pairs)
            yield record(system, factor, score, n_rows, start)
    if ("random pick", 1) not in done:
        start = time.perf_counter()
        yield record("random pick", 1, float(np.nanmean(np.nanmean(gold, axis=1))), 0, start)
        yield record("oracle", 1, float(np.nanmax(gold, axis=1).mean()), 0, start)


def record(system, factor, gold, n_rows, start):
    """Return one cell of the table."""
    seconds = round(time.perf_counter() - start, 2)
    return {"system": system, "factor": factor, "gold": gold, "rows": n_rows, "seconds": seconds}


def markdown(records):
    """Return the records as a Markdown table, mean ± standard deviation over seeds."""
    factors = sorted({r["factor"] for r in records})
    names = ["original" if factor == 1 else f"{factor}×" for factor in factors]
    lines = ["| system | " + " | ".join(names) + " |", "|---" + "|---:" * len(factors) + "|"]
    for system in dict.fromkeys(r["system"] for r in records):
        written = []
        for factor in factors:
            own = [r["gold"] for r in records if (r["system"], r["factor"]) == (system, factor)]
            spread = f" ± {np.std(own, ddof=1):.3f}" if len(own) > 1 else ""
            written.append(f"{np.mean(own):.3f}{spread}" if own else "")
        lines.append(f"| {system} | " + " | ".join(written) + " |")
    return "\n".join(lines)


def paper_estimate(n_pairs=1000, n_prompts=1000, tokens=400, flops=1.5e14, tokens_per_second=1150):
    """Return estimated hours of ``--size paper`` by part, for one seed; nothing is measured.

    An 8B model takes 2 · 8e9 operations a token forward and 4 times that to train with
    checkpointed activations; `flops` is what a GPU reaches of its peak, `tokens_per_second` what
    sampling reaches (46 sequences a step, 25 steps a second).
    """
    forward = 2 * 8e9 * tokens / flops / 3600  # hours a text
    # Factors 2, 4, 8 are 14 n rows for each of the four full systems, LoRA has 15 n, the
    # originals n, and the self-evolved labeller trains four times on up to 2 n.
    trained = n_pairs * (4 * 14 + 15 + 1 + 7)
    fits, embedded = 4 * 3 + 1 + 4, 15 * n_pairs * 2 + 16 * n_prompts
    return {
        "sampling, training and test prompts": (n_pairs + n_prompts) * 16 * 256
        / tokens_per_second / 3600,
        "labelling, four labellers and the test gold": forward * 16 * (4 * n_pairs + n_prompts),
        "fine-tuning": forward * 4 * 2 * trained,
        "scoring test candidates, a fit each": forward * 16 * n_prompts * fits,
        "embedding and latent systems": forward * embedded + 0.3,
    }  # fmt: skip


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table1",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=["tiny", "paper"], default="tiny")
    parser.add_argument("--factors", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--folder", type=Path, help="keeps all that is finished")
    parser.add_argument("--pairs", type=Path, help="paper: a file of preference rows")
    parser.add_argument("--n-pairs", type=int, default=1000)
    parser.add_argument("--prompts", type=Path, help="paper: a .jsonl of test prompts")
    parser.add_argument("--base", default="meta-llama/Llama-3.1-8B")
    parser.add_argument("--gold", default="Skywork/Skywork-Reward-V2-Llama-3.1-8B")
    parser.add_argument("--estimate", action="store_true", help="what --size paper should cost")
    return parser


def main(argv=None):
    """Run what is missing and print the table."""
    args = parser().parse_args(argv)
    if args.estimate:
        hours = paper_estimate(args.n_pairs)
        for part, value in hours.items():
            print(f"{value:5.1f} h  {part}")
        print(f"{sum(hours.values()):5.1f} h  a seed: an estimate by operations, not a measurement")
        print("Memory: weights, gradients and AdamW's states of 8B in bfloat16 take 64 GB, so 80.")
        return
    setting = None
    if args.size == "paper":
        args.folder = args.folder or Path("table1")

        def setting(seed):
            return paper_setting(args, seed)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        records = table1(
            args.size, folder=args.folder, factors=args.factors, seeds=range(args.seeds),
            setting=setting,
        )  # fmt: skip
    for message in dict.fromkeys(str(w.message) for w in caught if w.category is UserWarning):
        print(f"note: {message}")
    print(f"\nMean gold reward of the Best-of-N pick, {args.size}, {args.seeds} seed(s)\n")
    print(markdown(records), PRIVILEGED, sep="\n\n")
    if args.size == "tiny":
        print(MEANINGLESS)


if __name__ == "__main__":
    main()
