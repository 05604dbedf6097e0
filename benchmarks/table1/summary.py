"""Table 1 as Markdown: intervals over test prompts, differences, lengths, and what rows mean."""

import numpy as np

from .systems import MLP, ROWS, SCORED

N_BOOTSTRAP = 10_000
PRIVILEGED = (
    "The first three rows are privileged: their synthetic pairs are labelled by a reward that is "
    "not trained on\nthe few pairs: the paper's was trained on more than 100,000, which no other "
    "row has."
)


def interval(values, n_bootstrap=N_BOOTSTRAP, seed=0):
    """Return a 95 % percentile bootstrap interval of a mean over test prompts.

    Parameters
    ----------
    values : ndarray, shape (n_prompts,)
        One a prompt.
    n_bootstrap : int, default=10000
        Draws.
    seed : int, default=0
        Draws the prompts, the same for every cell.

    Returns
    -------
    tuple of float
        Lower and upper end.
    """
    values = np.asarray(values, dtype=float)
    rng, n = np.random.default_rng(seed), len(values)
    blocks = np.array_split(np.arange(n_bootstrap), max(1, n_bootstrap * n // 10**7))
    means = [values[rng.integers(n, size=(len(block), n))].mean(axis=1) for block in blocks]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def picks(records, system, factor):
    """Return the gold of a cell's picks, the mean over seeds of each test prompt.

    Parameters
    ----------
    records : list of dict
        From `table1`.
    system : str
        The row.
    factor : int
        The column.

    Returns
    -------
    ndarray, shape (n_prompts,) or None
        None where the cell is not there.
    """
    own = [r["picked"] for r in records if (r["system"], r["factor"]) == (system, factor)]
    return np.mean(own, axis=0) if own else None


def markdown(records, *, labeller_is_evaluator=False):
    """Return three tables: gold, difference to the original network, correlation with length.

    Parameters
    ----------
    records : list of dict
        From `table1`.
    labeller_is_evaluator : bool, default=False
        Whether the privileged rows say that they know the test's metric.

    Returns
    -------
    str
        Markdown; intervals are 95 % over test prompts, ± a standard deviation over seeds.
    """
    original = picks(records, MLP, 1)

    def gold(own):
        low, high = interval(own["picked"])
        spread = f" ± {np.std(own['golds'], ddof=1):.2f}" if len(own["golds"]) > 1 else ""
        return f"{np.mean(own['golds']):.2f}{spread} [{low:.2f}, {high:.2f}]"

    def difference(own):
        gain = own["picked"] - original
        low, high = interval(gain)
        return f"{gain.mean():+.2f} [{low:+.2f}, {high:+.2f}]" if gain.any() else "0"

    def length(own):
        known = [value for value in own["lengths"] if value is not None]
        return f"{np.mean(known):+.2f}" if known else "none"

    tables = {"Mean gold reward of the Best-of-N pick, 95 % interval over test prompts": gold}
    if original is not None:
        tables[f"Difference to the original of: {MLP}, paired by prompt"] = difference
    tables["Rank correlation of scores with length in characters, within prompts"] = length
    return "\n\n".join(
        f"{title}\n\n{_table(records, write, labeller_is_evaluator)}"
        for title, write in tables.items()
    )


def _table(records, write, labeller_is_evaluator):
    factors = sorted({r["factor"] for r in records})
    names = ["original" if factor == 1 else f"{factor}×" for factor in factors]
    lines = ["| system | " + " | ".join(names) + " |", "|---" + "|---:" * len(factors) + "|"]
    for system in dict.fromkeys(r["system"] for r in records):
        written = []
        for factor in factors:
            cell = [r for r in records if (r["system"], r["factor"]) == (system, factor)]
            own = {"golds": [r["gold"] for r in cell], "lengths": [r["length"] for r in cell]}
            own["picked"] = picks(records, system, factor)
            written.append(write(own) if cell else "")
        label = row_label(system, labeller_is_evaluator)
        lines.append(f"| {label} | " + " | ".join(written) + " |")
    return "\n".join(lines)


def row_label(system, labeller_is_evaluator):
    """Return how a row is called.

    Parameters
    ----------
    system : str
        The row.
    labeller_is_evaluator : bool
        Whether privileged rows know the test's metric.

    Returns
    -------
    str
        Its label.
    """
    uses = system == "control: the labeller"
    uses |= system in ROWS and ROWS[system].synthesis == "privileged"
    return f"{system} (labelled by the evaluator)" if uses and labeller_is_evaluator else system


def meanings(systems):
    """Return what rows mean, a line each.

    Parameters
    ----------
    systems : iterable of str
        Rows.

    Returns
    -------
    str
        Lines of a Markdown list.
    """
    told = {name: row.meaning for name, row in ROWS.items()}
    told |= {name: meaning for name, (_, meaning) in SCORED.items()}
    return "\n".join(f"- {name}: {told[name]}." for name in dict.fromkeys(systems))


def notes(setting):
    """Return what the table has to say of its setting.

    Parameters
    ----------
    setting : Setting
        The first seed's.

    Returns
    -------
    str
        Paragraphs.
    """
    told = [
        f"Base model: {setting.base_label or setting.base}. Evaluator: {setting.evaluator}.\n"
        f"Labeller of the privileged rows: {setting.labeller}.\n"
        f"{len(setting.pairs)} pairs, {len(setting.candidates)} test prompts of up to "
        f"{setting.gold_rewards.shape[1]} responses; {setting.n_samples} samples "
        f"of at most {setting.max_new_tokens} tokens."
    ]
    told.append(PRIVILEGED)
    if setting.labeller_is_evaluator:
        told.append(
            "The labeller is the evaluator: the rows marked so are trained on the test's own "
            "metric, and are no comparison."
        )
    return "\n\n".join([*told, *setting.notes])
