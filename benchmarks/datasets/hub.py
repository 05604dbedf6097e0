"""HH-RLHF and TL;DR from the Hugging Face hub, with the library ``datasets``.

The hub needs a network. ``HUB_ROWS`` rows are embedded once and kept in the store.
"""

from lens_sklearn import prompt_groups

from ._dataset import Dataset
from ._embedding import embed
from ._splits import PairData

HUB_ROWS = 6000
TURN = "\n\nAssistant:"


def load_hh(data=None, store=None, *, subset="harmless-base", split="train", n_rows=HUB_ROWS):
    """Load ``Anthropic/hh-rlhf``: two dialogues that differ in the last answer."""
    rows = _hub_rows("Anthropic/hh-rlhf", split, n_rows, data_dir=subset)
    return _pair_data([row for row in map(hh_row, rows) if row], store)


def load_tldr(data=None, store=None, *, split="train", n_rows=HUB_ROWS):
    """Load ``trl-lib/tldr-preference``: two summaries of a post."""
    rows = _hub_rows("trl-lib/tldr-preference", split, n_rows)
    columns = ("prompt", "chosen", "rejected")
    rows = [{column: row[column] for column in columns} for row in rows]
    return _pair_data([row for row in rows if row["chosen"] != row["rejected"]], store)


def hh_row(row, max_prompt=600):
    """Split a pair of dialogues into the prompt and its two answers.

    Parameters
    ----------
    row : dict
        With the dialogues ``chosen`` and ``rejected``, whose turns begin with "Human:" and
        "Assistant:".
    max_prompt : int, default=600
        The prompt is the dialogue before the last answer, cut to its last characters.

    Returns
    -------
    dict or None
        A row with ``prompt``, ``chosen``, ``rejected``; None where the dialogues part before
        the last answer, or an answer is empty or both are equal.
    """
    prompt, turn, chosen = row["chosen"].rpartition(TURN)
    start = prompt + turn
    rejected = row["rejected"][len(start) :]
    if not turn or not row["rejected"].startswith(start) or TURN in rejected:
        return None
    chosen, rejected = chosen.strip(), rejected.strip()
    if not chosen or not rejected or chosen == rejected:
        return None
    return {"prompt": prompt[-max_prompt:], "chosen": chosen, "rejected": rejected}


def _hub_rows(name, split, n_rows, **options):
    import datasets  # the library, imported where it is used

    stream = datasets.load_dataset(name, split=split, streaming=True, **options)
    return list(stream.shuffle(seed=0, buffer_size=10_000).take(n_rows))


def _pair_data(rows, store):
    return PairData(embed(rows, store), prompt_groups(rows))


DATASETS = [
    Dataset(name, load, gold=False, needs_files=False)
    for name, load in (("hub_hh", load_hh), ("hub_tldr", load_tldr))
]
