"""Lists in the cells of a table, as JSON or as Python prints them."""

import ast
import io
import json
import tokenize

MOST_CHARACTERS = 1 << 20  # of what Python printed; reading it takes a hundred times its size
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)


def read_list(text):
    """Read a list that is written as text.

    Parameters
    ----------
    text : str
        JSON, or what Python prints of a list: ``['a', 'b']``.

    Returns
    -------
    list
        Its entries.

    Raises
    ------
    ValueError
        If it is no list, or one whose entries cannot be told apart, as where numpy printed it.

    Examples
    --------
    >>> from lens_sklearn._printed_lists import read_list
    >>> read_list('["a", "b"]') == read_list("['a', 'b']") == ["a", "b"]
    True
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = _printed(text, error)
    if not isinstance(value, list):
        raise ValueError(f"not a list but {type(value).__name__}")
    return value


def read_messages(text):
    """Read a conversation that Python printed.

    Parameters
    ----------
    text : str
        Any cell.

    Returns
    -------
    str or list of dict
        The cell as it is, unless it is a printed list of ``{'role', 'content'}``.

    Raises
    ------
    ValueError
        If it begins as such a list and cannot be read.
    """
    begin = text[:2000].lstrip()
    if not begin.startswith(("[{'", "[ {'", "({'", "array([{'")):
        return text
    if "'role'" not in text or "'content'" not in text:
        return text
    return _printed(text, "no conversation")


def _printed(text, error):
    """Return what Python printed; `error` tells why it is nothing else."""
    if not text.lstrip().startswith(("[", "(", "array(")):
        raise ValueError(f"not a list in JSON ({error})")
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"not a list in JSON ({error}), and too long to be read as Python's")
    try:
        value = ast.literal_eval(text.strip())
        tokens = list(tokenize.generate_tokens(io.StringIO(text.strip()).readline))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError, tokenize.TokenError):
        raise ValueError(
            "neither a list in JSON nor one that Python prints (numpy's and pandas' do not tell "
            "entries apart); write it with json.dumps"
        ) from None
    kinds = [token.type for token in tokens if token.type not in _LAYOUT]
    if (tokenize.STRING, tokenize.STRING) in zip(kinds, kinds[1:], strict=False):
        raise ValueError(
            "entries without commas between them, as numpy prints them, cannot be told apart; "
            "write the list with json.dumps"
        )
    return list(value) if isinstance(value, tuple) else value
