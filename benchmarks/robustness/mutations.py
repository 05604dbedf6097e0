"""Random changes of values, bytes and JSON, drawn from a seed."""

import copy

#: What stands where something else should.
ODD_VALUES = [
    None, True, False, 0, 1, -1, 2, 7.5, 1e308, -1e-308, float("nan"), float("inf"), 10**9,
    10**18, 10**30, "", " ", "\t\n", "x", "\x00", "\ud800", "\u202e", "é", "🙂" * 10, "a" * 10_000,
    b"bytes",
    [], [[]], [None], ["x"], [""], [1, 2], {}, {"role": "user"}, {"content": "x"},
    {"role": "user", "content": "x"}, [{"role": "user", "content": "x"}],
    [{"role": "user", "content": None}], [{"role": None, "content": "x"}],
    [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}],
    [{"role": "assistant", "content": [{"type": "image"}]}], [{"role": "user"}], [["user", "x"]],
    ("a", "b"), object(), 1j, {1, 2}, range(3), lambda: None,
]  # fmt: skip
ODD_JSON = [
    None, True, False, 0, 1, -1, 3, 7.5, 1e308, 10**9, 10**12, 2**62, "", "x", "1", "../x",
    "/tmp/x", "auto", "é", [], {}, [1], [[]], ["x"], {"x": 1}, {"kind": "array", "name": "x"},
    {"kind": "array", "name": "model/coef_"}, {"kind": "texts", "values": ["x"]},
    {"kind": "mapping", "items": [["a", 1], ["a", 2]]}, {"kind": "mapping", "items": [[[], 1]]},
    {"kind": "estimator", "class": "BTRewardRegressor", "params": {"hidden_dim": 10**9},
     "state": {}},
    {"class": "ContrastiveVAE", "params": {"hidden_dim": 10**9}},
    {"class": "LLMEmbedder", "params": {}}, {"steps": []},
    {"steps": [{"name": "a", "class": "EmbeddingScaler", "params": {}, "state": {}}]},
    {"class": "os.system", "params": {"command": "touch planted"}},
]  # fmt: skip
SNIPPETS = [
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\n\n", b"\r", b'"', b",", b"{", b"}", b"[",
    b"]", b"\\", b"\\ud800", b"NaN", b"1e999", b"null", b"-", b"9" * 400, b"\x1b[31m", b"a" * 5000,
    b"[" * 3000, b'{"a":' * 3000, b"\x1f\x8b\x08", b"PAR1", b"PK\x03\x04",
]  # fmt: skip


def odd_value(draws, values=ODD_VALUES):
    """Return one of the odd values.

    Parameters
    ----------
    draws : random.Random
        What draws.
    values : list, default=ODD_VALUES
        Of which.

    Returns
    -------
    object
        A copy.
    """
    value = draws.choice(values)
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def changed_bytes(content, draws):
    """Return bytes that differ: flipped, cut, put in, left out or repeated.

    Parameters
    ----------
    content : bytes
        What is changed.
    draws : random.Random
        What draws.

    Returns
    -------
    bytes
        The result.
    """
    content = bytearray(content)
    for _ in range(draws.choice([1, 1, 1, 2, 5])):
        i = draws.randrange(len(content) + 1)
        j = min(len(content), i + draws.choice([1, 2, 8, 100]))
        kind = draws.randrange(6)
        if kind == 0 and i < len(content):
            content[i] ^= 1 << draws.randrange(8)
        elif kind == 1:
            del content[i:]
        elif kind == 2:
            content[i:i] = draws.choice(SNIPPETS)
        elif kind == 3:
            del content[i:j]
        elif kind == 4:
            content[i:j] = draws.choice(SNIPPETS)
        else:
            content[i:i] = content[max(0, i - 50) : i]
    return bytes(content)


def changed_tree(tree, draws, values=ODD_JSON):
    """Return nested lists and dicts with one place changed.

    Parameters
    ----------
    tree : list or dict
        What is changed.
    draws : random.Random
        What draws.
    values : list, default=ODD_JSON
        What may be put there.

    Returns
    -------
    list or dict
        A changed copy.
    """
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    node, key = draws.choice(places)
    kind = draws.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, name = draws.choice(places)
        node[key] = copy.deepcopy(other[name])
    elif kind == 2 and isinstance(node, dict):
        node[draws.choice(["x", "", "out", "store", "memory", "kind", "steps", key + "_"])] = node[
            key
        ]
    elif kind == 3 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    elif kind == 4 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
        node[key] = draws.choice([-node[key], node[key] + 1, node[key] * 10**6, str(node[key])])
    else:
        node[key] = odd_value(draws, values)
    return tree


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)
