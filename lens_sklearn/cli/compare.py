"""``lens-sklearn compare``: every control and method on one's own pairs."""

import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ._arguments import (
    add_command,
    add_device,
    add_rows,
    add_text_model,
    check_device,
    make_text_step,
    positive,
    seed,
)
from ._data import read_pairs
from ._output import (
    check_folder,
    print_wide_table,
    printable,
    replacing,
    say,
    settings_of,
    write_json,
)

__all__ = ["add_parser", "run"]

RESULTS = "results.jsonl"
MOST_JOBS = 8
WRITTEN = ("comparison.json", "comparison.md", "comparison.png")

EXAMPLES = """\
examples:
  lens-sklearn compare pairs.jsonl --model minilm --pooling mean
  lens-sklearn compare pairs.jsonl -o comparison --candidates candidates.jsonl --quick
  lens-sklearn compare pairs.jsonl --methods gp,auto --folds 10 --store embeddings

Prompts are dealt to folds; each method learns from all folds but one and is judged by the pairs of
that one. All are held against the tuned linear model, a logistic regression that everybody can
run. Intervals are of 95 % and clustered by prompt, p-values corrected for the number of methods.
The shortcuts "longest" and "shortest" know the lengths alone. "matched" is the accuracy on pairs
whose lengths differ by less than a fifth, "shorter wins" that on pairs whose shorter response is
the better one. The learning curve says what twice as many pairs would add.

PAIRS has the columns chosen, rejected and, optionally, prompt, target and weight, as in
"lens-sklearn fit". --unlabeled ROWS has responses, --candidates ROWS responses and gold; candidates
of prompts that pairs have are left out. In the folder: comparison.json, comparison.md,
comparison.png (extra: plot), and results.jsonl, from which a run that was stopped goes on.
METHODS: longest, shortest, random, linear-embedding, linear-features, linear, gp, network, repeat,
lens, distillation, auto, distillation-unlabeled, auto-unlabeled."""


def add_parser(commands):
    """Add the command.

    Parameters
    ----------
    commands : argparse subparsers
        Where to add it.
    """
    help = "compare every control and method on your own pairs"
    parser = add_command(commands, "compare", run, help, EXAMPLES)
    parser.add_argument("pairs", metavar="PAIRS", help="rows of text, or .npy, .npz embeddings")
    parser.add_argument("-o", "--output", default="comparison", help="folder for the results")
    add_rows(parser)
    parser.add_argument(
        "--unlabeled", metavar="ROWS", help="responses without labels, for methods that use them"
    )
    parser.add_argument(
        "--candidates", metavar="ROWS", help="responses with gold: what each method picks"
    )
    add_text_model(parser, "folder that keeps embeddings (default: in the folder of -o)")
    what = parser.add_argument_group("comparison")
    what.add_argument(
        "--no-features", action="store_true", help="leave out what can be counted in a response"
    )
    what.add_argument("--methods", type=_names, help="some of them, with commas (default: all)")
    what.add_argument("--quick", action="store_true", help="the fast methods alone")
    what.add_argument("--folds", type=positive, default=5, help="folds of prompts")
    what.add_argument("--repeats", type=positive, default=1, help="how often prompts are dealt")
    other = parser.add_argument_group("other")
    other.add_argument(
        "--jobs", type=positive, help=f"fits at a time (default: cores, at most {MOST_JOBS})"
    )
    add_device(other)
    other.add_argument("--seed", type=seed, default=0, help="random seed")


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def run(arguments):
    """Compare methods and write what came out.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of ``lens-sklearn compare``.
    """
    if arguments.quick and arguments.methods is not None:
        raise ValueError("--quick chooses the methods, and --methods does; give one of them.")
    check_folder(arguments.output, force=None)
    _check_place(Path(arguments.output))
    check_device(arguments.device)
    from .._comparison import compare_rewards

    started = time.perf_counter()
    read = _read(arguments)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.store is None and read["pairs"].is_text:
        arguments.store = str(folder / "embeddings")
    data = _embed(read, arguments)
    say(f"  d = {data['X'].shape[-1]}, {time.perf_counter() - started:.0f} s")
    try:
        comparison = compare_rewards(
            **data,
            methods=read["methods"],
            cv=arguments.folds,
            n_repeats=arguments.repeats,
            results=folder / RESULTS,
            n_jobs=arguments.jobs or _count_jobs(),
            device=arguments.device,
            progress=_Progress(),
            random_state=arguments.seed,
        )
    except KeyboardInterrupt:
        say(f"\nWhat is done is kept in {folder}; the same command goes on from there.")
        raise
    _write(comparison, arguments, folder)
    _report(comparison, folder, time.perf_counter() - started)


# ------------------------------------------------------------------------------ before the fits
def _check_place(folder):
    """Refuse to overwrite results that no comparison wrote."""
    if (folder / RESULTS).exists():
        return  # which tells whether it is the same comparison, and goes on from there
    for name in WRITTEN:
        if (folder / name).exists():
            raise FileExistsError(
                f"-o {folder}: {name} is there, but no {RESULTS} to go on from; give a new folder."
            )


def _read(arguments):
    """Read everything, and refuse what cannot be compared before anything is embedded."""
    from .._comparison import QUICK, check_methods
    from .._comparison_data import check_folds

    pairs = read_pairs(arguments)
    kept = slice(None) if pairs.weight is None else pairs.weight > 0
    ties = [0.5 if _is_tie(pair) else 1.0 for pair in pairs.X]
    try:
        target = pairs.target if pairs.target is not None else ties
        check_folds(pairs.groups[kept], target, arguments.folds)
    except ValueError as error:
        raise ValueError(f"{arguments.pairs}: {error}") from None
    methods = check_methods(
        arguments.methods,
        has_features=pairs.is_text and not arguments.no_features,
        has_lengths=pairs.is_text,
        has_weights=pairs.weight is not None,
        has_unlabeled=arguments.unlabeled is not None,
    )
    if arguments.quick:
        methods = [name for name in methods if name in QUICK]
    if arguments.unlabeled is not None and not any("unlabeled" in name for name in methods):
        raise ValueError("--unlabeled has no effect: none of the methods learns from it.")
    say(f"{len(pairs.X)} pairs of {len(set(pairs.groups.tolist()))} prompts from {arguments.pairs}")
    read = {"pairs": pairs, "methods": methods, "others": {}}
    if pairs.is_text:
        read["others"] = _read_others(arguments, _prompts_of(pairs))
    elif arguments.candidates is not None:
        read["others"] = {"candidates": _read_embedded(arguments.candidates, pairs.X.shape[-1])}
    return read


def _is_tie(pair):
    return (
        pair["chosen"] == pair["rejected"] if isinstance(pair, dict) else (pair[0] == pair[1]).all()
    )


def _prompts_of(pairs):
    """Return the number of each prompt, those that are empty left out."""
    from .._rows import prompt_keys

    numbers = dict(zip(prompt_keys(pairs.X), pairs.groups.tolist(), strict=True))
    return {key: number for key, number in numbers.items() if key}


def _read_embedded(path, d):
    """Read candidates and gold of embeddings (n_prompts, N, d)."""
    from .._embedding_files import is_embedding_file, load_embeddings

    found = load_embeddings(path) if is_embedding_file(path) else None
    if found is None or found.gold is None or found.X.shape[-1] != d:
        raise ValueError(
            f"--candidates {path}: beside embeddings of pairs a .npz file is needed, with "
            f"'candidates' (n_prompts, N, {d}) and 'gold' (n_prompts, N)."
        )
    return found.X, found.gold


def _read_others(arguments, numbers):
    """Read responses without labels, and candidates of prompts that no pair has."""
    import numpy as np

    from .._io import load_candidate_rows, load_candidates
    from .._rows import prompt_keys

    others = {}
    if arguments.unlabeled is not None:
        rows = load_candidate_rows(arguments.unlabeled)
        others["unlabeled"] = rows, [numbers.get(key, -1) for key in prompt_keys(rows)]
        say(f"{len(rows)} prompts with responses from {arguments.unlabeled}")
    if arguments.candidates is not None:
        rows, gold = load_candidates(arguments.candidates, on_invalid=arguments.on_invalid)
        new = np.array([key not in numbers for key in prompt_keys(rows)])
        if not new.any():
            raise ValueError(
                f"--candidates {arguments.candidates}: pairs have all its prompts; candidates of "
                "prompts that a method has learnt from do not tell how it does on others."
            )
        rows = [row for row, kept in zip(rows, new, strict=True) if kept]
        others["candidates"] = rows, gold[new]
        left_out = "" if new.all() else f", {(~new).sum()} left out whose prompts pairs have"
        say(f"{len(rows)} prompts with candidates from {arguments.candidates}{left_out}")
    return others


def _embed(read, arguments):
    """Return what `compare_rewards` takes of what was read."""
    from .._shortcuts import response_lengths

    pairs, others = read["pairs"], read["others"]
    data = {"y": pairs.target, "sample_weight": pairs.weight, "groups": pairs.groups}
    if not pairs.is_text:
        candidates, gold = others.get("candidates", (None, None))
        return data | {"X": pairs.X, "candidates": candidates, "gold": gold}
    step = make_text_step(arguments, with_features=not arguments.no_features)
    say("Embedding …")
    data |= {"X": step.fit_transform(pairs.X), "lengths": response_lengths(pairs.X)}
    data["n_response_features"] = getattr(step, "n_response_features_", 0)
    if "unlabeled" in others:
        rows, groups = others["unlabeled"]
        data |= {"unlabeled": step.transform(rows), "unlabeled_groups": groups}
    if "candidates" in others:
        rows, gold = others["candidates"]
        data |= {"candidates": step.transform(rows), "gold": gold}
        data["candidate_lengths"] = response_lengths(rows)
    return data


def _count_jobs():
    from joblib import cpu_count

    return min(cpu_count(), MOST_JOBS)


class _Progress:
    """Tells how many fits are done: in one line of a terminal, or every tenth of them."""

    def __init__(self):
        self.started = time.perf_counter()
        self.told = 0

    def __call__(self, done, total, text):
        line = f"  {done} of {total} fits, {time.perf_counter() - self.started:.0f} s: {text}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done == total or done >= self.told + total / 10:
            self.told = done
            say(line)


# ---------------------------------------------------------------------------- what is written
def _write(comparison, arguments, folder):
    """Write the numbers, the tables and the picture."""
    from .._demo import markdown_table
    from ..export import versions

    content = comparison.to_dict()
    content |= {"settings": settings_of(arguments), "versions": versions()}
    write_json(folder / "comparison.json", content)
    parts = ["# Reward models on left-out prompts", *comparison.conclusions]
    parts += [markdown_table(*_table(comparison)), _legend(comparison)]
    if comparison.curves:
        parts += ["## Learning curve", markdown_table(*_curve_table(comparison))]
    with replacing(folder / "comparison.md") as file:
        file.write("\n\n".join(parts) + "\n")
    if find_spec("matplotlib") is not None:
        from ..displays import save_comparison

        save_comparison(comparison, folder / "comparison.png")


def _report(comparison, folder, seconds):
    """Print the tables, and what to conclude of them."""
    width = shutil.get_terminal_size().columns
    print_wide_table(*_table(comparison), width)
    print(f"\n{_legend(comparison)}\n")
    if comparison.curves:
        print_wide_table(*_curve_table(comparison), width)
        print()
    for sentence in comparison.conclusions:
        print(printable(sentence))
    for label, error in comparison.failures.items():
        say(f"lens-sklearn: warning: {label} could not be fitted: {error}")
    for message, count in comparison.warnings.items():
        say(f"lens-sklearn: warning: in {count} fits: {message}")
    say(f"In {folder}/: comparison.json, comparison.md and results.jsonl; {seconds:.0f} s in all.")
    say(
        "Next: lens-sklearn fit PAIRS -o reward; --method chooses how, --test-fraction 0 learns "
        "from all pairs."
    )


def _number(value, form=".3f"):
    return "" if value is None or value != value else f"{value:{form}}"


def _table(comparison):
    """Return the header and the cells of the table of methods."""
    from .._comparison_table import interval_text

    def differences(row, metric):
        mean, half_width = row[f"{metric}_difference"], row[f"{metric}_difference_half_width"]
        is_reference = row["method"] == comparison.reference
        return "" if mean != mean or is_reference else interval_text(mean, half_width)

    columns = {
        "method": lambda row: row["label"],
        "accuracy": lambda row: _number(row["accuracy"]),
        "against tuned linear": lambda row: differences(row, "accuracy"),
        "p": lambda row: _number(row["accuracy_p_holm"]),
        "matched": lambda row: _number(row.get("length_matched")),
        "shorter wins": lambda row: _number(row.get("shorter_wins")),
        "log loss": lambda row: _number(row["log_loss"]),
    }
    if "length_matched" not in comparison.counts:
        del columns["matched"], columns["shorter wins"]
    if "candidates" in comparison.counts:
        columns["gold of the pick"] = lambda row: _number(row["gold"])
        columns["gold against tuned linear"] = lambda row: differences(row, "gold")
    rows = [[cell(row) for cell in columns.values()] for row in comparison.table]
    return list(columns), rows


def _legend(comparison):
    """Say what the table shows."""
    counts = comparison.counts
    dealt = f", dealt {counts['repeats']} times" if counts["repeats"] > 1 else ""
    text = (
        f"{counts['pairs']} pairs of {counts['prompts']} prompts, each left out by one of "
        f"{counts['folds']} folds{dealt}. Brackets are 95 % intervals by prompt; p is corrected "
        "for the number of methods."
    )
    if "length_matched" in counts:
        text += (
            f" {counts['length_matched']} pairs are matched in length, in "
            f"{counts['shorter_wins']} the shorter response wins."
        )
    return text


def _curve_table(comparison):
    """Return the header and the cells of the learning curves."""
    curves = list(comparison.curves.values())
    labels = [comparison.row(name)["label"] for name in comparison.curves]
    rows = [
        [f"{size:.0f}"]
        + [
            f"{curve['accuracy'][i]:.3f} ± {_number(curve['accuracy_half_width'][i])}"
            for curve in curves
        ]
        for i, size in enumerate(curves[0]["n_pairs"])
    ]
    return ["training pairs", *labels], rows
