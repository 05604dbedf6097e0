"""Plain texts that a chat template rendered beforehand: where in them the response is."""

from typing import NamedTuple

# Stand for the contents of messages; no text has them.
PROMPT, RESPONSE, FURTHER, SYSTEM = "\ue000", "\ue001", "\ue002", "\ue003"


class Markers(NamedTuple):
    """What a template writes around the messages of a conversation.

    Attributes
    ----------
    bos : str
        The tokenizer's BOS where every conversation begins with it, else empty. People remove
        it from texts, since tokenizers add another.
    openings : tuple of str
        What conversations begin with, one of these: a special token, or all that stands before
        the first message's content.
    between : str
        What stands between a prompt and its response.
    after : str
        What follows the response.
    foreign : tuple of str
        What no response holds: the special tokens in `between` or, where there are none, what
        stands before a user's next message.
    """

    bos: str
    openings: tuple
    between: str
    after: str
    foreign: tuple


class Rendered(NamedTuple):
    """A rendered conversation.

    Attributes
    ----------
    text : str
        All of it, with its BOS.
    before, after : str
        What stands before and behind the response.
    """

    text: str
    before: str
    after: str


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
        template writes little besides the contents.
    """
    if template is None:
        return None
    tokenizer = language_model.tokenizer
    known = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} - {""}
    parts = _parts(language_model, template, (("user", PROMPT), ("assistant", RESPONSE)))
    if parts is None:
        return None
    front, between, after = parts
    bos = tokenizer.bos_token or ""
    bos = bos if front.startswith(bos) else ""
    foreign = tuple(sorted(token for token in known if token in between))
    if not foreign:
        foreign = _next_turn(language_model, template)
    fronts = {front, *_system_front(language_model, template)}
    fronts |= {front.removeprefix(bos) for front in fronts}
    openings = {_opening(front, known) for front in fronts} - {""}
    if not (openings and foreign and between.strip()):
        return None
    return Markers(bos, tuple(sorted(openings)), between, after, foreign)


def _parts(language_model, template, messages):
    """Return what a template writes around the contents of messages, or None."""
    from jinja2 import TemplateError

    try:
        rest = language_model.render(messages, template)
    except TemplateError:
        return None
    parts = []
    for _, content in messages:
        part, found, rest = rest.partition(content)
        if not found:
            return None
        parts.append(part)
    return [*parts, rest]


def _next_turn(language_model, template):
    messages = (("user", PROMPT), ("assistant", RESPONSE), ("user", FURTHER))
    parts = _parts(language_model, template, messages)
    return (parts[2],) if parts is not None and parts[2].strip() else ()


def _system_front(language_model, template):
    messages = (("system", SYSTEM), ("user", PROMPT), ("assistant", RESPONSE))
    parts = _parts(language_model, template, messages)
    return () if parts is None else (parts[0],)


def _opening(front, known):
    """Return the special token that a text begins with, or all of it that is more than space."""
    token = max((token for token in known if front.startswith(token)), key=len, default="")
    return token or (front if front.strip() else "")


def split_rendered(text, markers):
    """Tell a rendered conversation, and what in it stands around its last response.

    Parameters
    ----------
    text : str
        Any text.
    markers : Markers or None
        Of the template in force.

    Returns
    -------
    Rendered or None
        None if the template did not render the text, or its last message is no response.
    """
    if markers is None or not text.startswith(markers.openings):
        return None
    if not text.startswith(markers.bos):
        text = markers.bos + text
    at = text.rfind(markers.between)
    if at < 0:
        return None
    before, response = text[: at + len(markers.between)], text[at + len(markers.between) :]
    ends = (markers.after, markers.after.rstrip(), "")  # its line breaks may have been stripped
    after = next(end for end in ends if response.endswith(end))
    if any(part in response.removesuffix(after) for part in markers.foreign):
        return None
    return Rendered(text, before, after)
