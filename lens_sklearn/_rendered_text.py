"""Plain texts that a chat template rendered beforehand: where in them the response is."""

from typing import NamedTuple

PROMPT, RESPONSE = "\ue000", "\ue001"  # stand for the two messages; no text has them


class Markers(NamedTuple):
    """What a template writes around the messages of a conversation.

    Attributes
    ----------
    opening : str
        The special token that every conversation begins with.
    between : str
        What stands between a prompt and its response.
    after : str
        What follows the response.
    special : tuple of str
        The special tokens in `between`.
    """

    opening: str
    between: str
    after: str
    special: tuple


def find_markers(language_model, template):
    """Return what a template writes around messages.

    Parameters
    ----------
    language_model : LanguageModel
        Whose tokenizer renders.
    template : str or None
        A Jinja chat template.

    Returns
    -------
    Markers or None
        None where a rendered conversation could not be told from any other text, since the
        template writes no special tokens.
    """
    from jinja2 import TemplateError

    if template is None:
        return None
    try:
        whole = language_model.render((("user", PROMPT), ("assistant", RESPONSE)), template)
    except TemplateError:
        return None
    front, found, rest = whole.partition(PROMPT)
    between, found_too, after = rest.partition(RESPONSE)
    tokenizer = language_model.tokenizer
    known = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} - {""}
    opening = max((token for token in known if front.startswith(token)), key=len, default="")
    special = tuple(sorted(token for token in known if token in between))
    if not (found and found_too and opening and special):
        return None
    return Markers(opening, between, after, special)


def split_rendered(text, markers):
    """Return what stands before and behind the response of a rendered conversation.

    Parameters
    ----------
    text : str
        Any text.
    markers : Markers or None
        Of the template in force.

    Returns
    -------
    (str, str) or None
        None if the template did not render the text, or its last message is no response.
    """
    if markers is None or not text.startswith(markers.opening):
        return None
    at = text.rfind(markers.between)
    if at < 0:
        return None
    before, response = text[: at + len(markers.between)], text[at + len(markers.between) :]
    ends = (markers.after, markers.after.rstrip(), "")  # its line breaks may have been stripped
    after = next(end for end in ends if response.endswith(end))
    if any(token in response.removesuffix(after) for token in markers.special):
        return None
    return before, after
