"""Rows and files of rows that are malformed."""

import copy
import csv
import gzip
import io
import json

from lens_sklearn import load_candidates, load_preferences
from lens_sklearn._rows import read_texts

from .mutations import changed_bytes, changed_tree, odd_value
from .tally import Tally

MESSAGES = [{"role": "user", "content": "why is it"}]
PAIRS = [
    {"prompt": f"why {i}", "chosen": f"a cat {i}", "rejected": f"the dog {i}"} for i in range(4)
]
TABLES = {
    "pairs": PAIRS,
    "conversations": [
        {
            "chosen": [*MESSAGES, {"role": "assistant", "content": f"a cat {i}"}],
            "rejected": [*MESSAGES, {"role": "assistant", "content": f"the dog {i}"}],
        }
        for i in range(4)
    ],
    "messages": [
        {
            "prompt": MESSAGES,
            "chosen": [{"role": "assistant", "content": f"a cat {i}"}],
            "rejected": [{"role": "assistant", "content": f"the dog {i}"}],
        }
        for i in range(4)
    ],
    "candidates": [
        {"prompt": f"why {i}", "responses": [f"a cat {i}", f"the dog {i}", "no"]} for i in range(4)
    ],
    "texts": [["a cat", "the dog"], ["yes", "no"]],
}


def malformed_rows(n, draws):
    """Give `read_texts` rows in which something is wrong.

    An answer is right if it is a ValueError or a TypeError with a message, or a table of texts in
    which all rows but the changed one are as they were.

    Parameters
    ----------
    n : int
        How many tables.
    draws : random.Random
        What draws.

    Returns
    -------
    Tally
        What came of it.
    """
    tally = Tally("malformed rows")
    whole = {name: read_texts(rows) for name, rows in TABLES.items()}
    for _ in range(n):
        name = draws.choice(list(TABLES))
        rows = copy.deepcopy(TABLES[name])
        i = draws.randrange(len(rows))
        kind = draws.randrange(4)
        if kind == 0:
            rows[i] = odd_value(draws)
        elif kind == 1 and isinstance(rows[i], dict):
            rows[i][draws.choice([*rows[i], "prompt", "gold", "system", ""])] = odd_value(draws)
        else:
            rows[i] = changed_tree(rows[i], draws, [odd_value(draws)])
        with tally.attempt(f"{name}, row {i} = {rows[i]!r}"[:300], (ValueError, TypeError)):
            table = read_texts(rows)
            for item in table.items.flat:
                tally.check(
                    item is None or isinstance(item, str | tuple), f"{name}: a text is {item!r}"
                )
            if table.kind == whole[name].kind and len(table.items) == len(rows):
                _check_others(tally, name, i, rows, table, whole[name])
    return tally


def _check_others(tally, name, i, rows, table, whole):
    for j in set(range(len(rows))) - {i}:
        found, expected = ([t for t in x.items[j].flat if t is not None] for x in (table, whole))
        tally.check(
            found == expected, f"{name}: row {i} = {rows[i]!r:.200} changed row {j}: {found}"
        )


# ------------------------------------------------------------------------------ files
def _json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _separated(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows
    )
    return text.getvalue().encode()


def _parquet(rows):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return None
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), content)
    return content.getvalue()


FORMATS = {
    ".jsonl": _json_lines,
    ".jsonl.gz": lambda rows: gzip.compress(_json_lines(rows)),
    ".json": lambda rows: json.dumps(rows).encode(),
    ".csv": _separated,
    ".csv.gz": lambda rows: gzip.compress(_separated(rows)),
    ".tsv": lambda rows: _separated(rows, "\t"),
    ".parquet": _parquet,
}


def malformed_files(n, draws, folder):
    """Give `load_preferences` and `load_candidates` damaged files of every format they read.

    An answer is right if it is a ValueError that names the file, or rows.

    Parameters
    ----------
    n : int
        How many files, over all formats.
    draws : random.Random
        What draws.
    folder : Path
        For the files.

    Returns
    -------
    list of Tally
        What came of each format.
    """
    candidates = [row | {"gold": [0.5, 0.25, 1.0]} for row in TABLES["candidates"]]
    loaders = {"pairs": (load_preferences, PAIRS), "candidates": (load_candidates, candidates)}
    whole = {}
    for ending, write in FORMATS.items():
        for name, (load, rows) in loaders.items():
            content, path = write(rows), folder / f"{name}{ending}"
            if content is None:
                continue
            path.write_bytes(content)
            try:
                load(path)
            except ValueError:  # a format that this version does not read
                continue
            whole.setdefault(ending, []).append((load, path, content))
    tallies = [Tally(f"malformed files, {ending}") for ending in whole]
    for k in range(n):
        tally = tallies[k % len(tallies)]
        load, path, content = draws.choice(whole[tally.kind.split(", ")[1]])
        if path.suffix == ".gz" and draws.random() < 0.5:
            content = gzip.compress(changed_bytes(gzip.decompress(content), draws))
        else:
            content = changed_bytes(content, draws)
        path.write_bytes(content)
        with tally.attempt(f"{path.name} of {content!r:.200}", (ValueError,)):
            try:
                load(path)
            except ValueError as error:
                tally.check(path.name in str(error), f"{path.name} is not named by: {error}"[:300])
                raise
    return tallies
