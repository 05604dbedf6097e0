"""A conversation as a chat template writes it, and whether the template writes all of it."""

import json
import re

from ._messages import FIELD_REMEDY, fields_of, message_dicts, written_fields

CALLS = ("tool_calls", "function_call")
#: Templates write reasoning in the last message and leave it out of those before.
REASONING = re.compile("reason|think|thought")
#: What a template raises that meets a value of a kind that it does not expect.
UNEXPECTED = (TypeError, ValueError, LookupError, AttributeError)
MARK = "\ue002"  # stands for a content where it is looked for; no text has it


def write_conversation(messages, apply):
    """Apply a chat template to messages in the form that it expects of tool calls.

    Data hold a call's arguments as an object or as JSON text, and beside a call an empty
    content or none; a template may know one of these forms alone.

    Parameters
    ----------
    messages : tuple of messages
        The conversation.
    apply : callable
        Applies the template to a list of dicts.

    Returns
    -------
    str
        Of the first form in which all functions that are called are named; else of the first
        that the template takes.

    Raises
    ------
    Exception
        What the template raises, if it takes none.
    """
    from jinja2 import TemplateError

    dicts = message_dicts(messages)
    names = [name for message in dicts for name in _called(message)]
    text = error = None
    for form in _forms(dicts):
        try:
            written = apply(form)
        except (TemplateError, *UNEXPECTED) as refusal:
            error = error or refusal
            continue
        if all(name in written for name in names):
            return written
        text = written if text is None else text
    if text is None:
        raise error
    return text


def check_written(messages, template, text, write, place, reads_all):
    """Refuse what a chat template leaves out of a conversation.

    Answers that differ in it alone would be equal, and the reward would not know of it.

    Parameters
    ----------
    messages : tuple of messages
        The conversation.
    template : str
        The chat template's source.
    text : str
        What the template makes of the conversation.
    write : callable
        Applies the template to messages.
    place : callable
        Names the row.
    reads_all : callable
        Says whether contents are looked for too, and not only further fields: a template that
        its user wrote may leave messages out.

    Raises
    ------
    ValueError
        If a message or a field of it is left out; the message names the row.
    """
    for j, message in enumerate(messages):

        def changed(other, j=j):
            return _changes((*messages[:j], other, *messages[j + 1 :]), text, write)

        content = message[1].strip()
        if content and content not in text and reads_all():
            if not changed((message[0], MARK, *message[2:])):
                raise ValueError(
                    f"{place()}, message {j}: the chat template leaves out what the role "
                    f"{message[0]!r} says. Give a chat_template that writes it, None to join the "
                    "contents, or leave the message out."
                )
        for name in written_fields(message):
            if re.search(rf"\b{re.escape(name)}\b", template):
                if j < len(messages) - 1 and REASONING.search(name):
                    continue
                rest = {k: v for k, v in fields_of(message).items() if k != name}
                if changed((*message[:2], json.dumps(rest, ensure_ascii=False))):
                    continue
            raise ValueError(
                f"{place()}, message {j}: the chat template does not write the field {name!r}. "
                f"{FIELD_REMEDY}"
            )


def _changes(messages, text, write):
    from jinja2 import TemplateError

    try:
        return write(messages) != text
    except (TemplateError, *UNEXPECTED):  # the template asks for what is gone
        return True


def _forms(dicts):
    """Yield messages as they are, and in the other forms that calls have, each form once."""
    found = []
    for empty in ("", None):
        for arguments in (_same, _as_object, _as_text):
            form = [_in_form(message, arguments, empty) for message in dicts]
            if form not in found:
                found.append(form)
                yield form


def _in_form(message, arguments, empty):
    if not any(name in message for name in CALLS):
        return message
    form = {**message, "content": message["content"] or empty}
    for name in CALLS:
        if name in form:
            form[name] = _map_arguments(form[name], arguments)
    return form


def _map_arguments(value, convert):
    """Return a call, or a list of calls, with its arguments converted."""
    if isinstance(value, list):
        return [_map_arguments(entry, convert) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        name: convert(entry)
        if name == "arguments"
        else _map_arguments(entry, convert)
        if name == "function"
        else entry
        for name, entry in value.items()
    }


def _same(arguments):
    return arguments


def _as_object(arguments):
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return arguments
    return found if isinstance(found, dict) else arguments


def _as_text(arguments):
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _called(message):
    """Return the names of the functions that a message calls."""
    calls = []
    for name in CALLS:
        value = message.get(name, [])
        calls += value if isinstance(value, list) else [value]
    calls = [call.get("function", call) for call in calls if isinstance(call, dict)]
    names = [call.get("name") for call in calls if isinstance(call, dict)]
    return [name for name in names if isinstance(name, str)]
