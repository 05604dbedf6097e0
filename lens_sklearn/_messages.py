"""One text: a plain string, or a conversation in one of the forms that people have."""

import ast
import json
import re
from collections.abc import Mapping

import numpy as np

ROLES = {"human": "user", "gpt": "assistant"}  # what ShareGPT calls them, beside the usual names
SHAREGPT = {name: name for name in ("user", "assistant", "system", "tool")} | {
    **ROLES,
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
# Fields that link messages; most templates write none of them, and nothing of a text is lost.
IDENTIFIERS = frozenset({"name", "tool_call_id"})
# Fields that say something of a message and are no part of it; nor are numbers and dates.
ABOUT = frozenset(
    "annotations avatar category conversation_id country created_at date detoxify_moderation "
    "emotion feedback finish_reason hash hashed_ip header id lang language label labels logprobs "
    "message_id meta metadata model model_name moderation openai_moderation parent parent_id "
    "rating raw source state status stop_reason tag tags time timestamp turn turn_id "
    "turn_identifier type uid url usage user_id uuid".split()
)
FIELD_REMEDY = (
    "Give a chat_template that writes it, put what it says into the content, or leave it out."
)
TEXT_PARTS = ("text", "input_text", "output_text")
TURN = re.compile(r"(?:\A\s*|\n\s*\n)(Human|Assistant):")
OPENING_MARK = re.compile(r"\s*\n\s*\n(?:Human|Assistant):")
ANSWER_MARK = re.compile(r"\s*\n\s*\nAssistant:")
PRINTED_LIST = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)'\s*:")
PRINTED_MOST = 1 << 20  # characters of a printed list that are parsed


def read_text(value, where, *, hint=""):
    r"""Read one text.

    Parameters
    ----------
    value : object
        A str; a list of messages with ``role`` and ``content`` or ``from`` and ``value``, one
        such message, or a str that is such a list in JSON; a list of one of these. None and NaN
        are the empty text. ``content`` is a str, None beside further fields, or a list of text
        parts, which are put together.
    where : str
        Names the cell in an error.
    hint : str, default=""
        What to do with a list of several texts.

    Returns
    -------
    str or tuple of (role, content) or (role, content, extra)
        A plain text, or messages; `extra` is JSON of the fields that a chat template may write.

    Raises
    ------
    ValueError
        If it is something else; the message names the cell.
    """
    if is_null(value):
        return ""
    if isinstance(value, str):
        check_unicode(value, where)
        messages = _messages_in(value, where)
        if messages is None:
            return str(value)
        value = messages
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        value = _of_columns(value)
    if not isinstance(value, list | tuple):
        raise ValueError(
            f"{where}: expected a str or a list of {{'role', 'content'}} messages, "
            f"got {value!r:.60}."
        )
    if not len(value):
        return ""
    if isinstance(value[0], Mapping):
        return tuple(_message(m, f"{where}, message {j}") for j, m in enumerate(value))
    if len(value) == 1 and isinstance(value[0], str | list | tuple | np.ndarray):
        return read_text(value[0], where)
    if all(isinstance(entry, str | list | tuple | np.ndarray) for entry in value):
        raise ValueError(f"{where}: expected one text, got a list of {len(value)}.{hint}")
    raise ValueError(
        f"{where}, message 0: expected {{'role': str, 'content': str}}, got {value[0]!r:.60}."
    )


def is_null(value):
    """Tell whether a cell of a table holds nothing: None, NaN or a null of pandas."""
    return (
        value is None
        or (isinstance(value, float | np.floating) and bool(value != value))
        or type(value).__name__ in ("NAType", "NaTType")
    )


def check_unicode(text, where):
    """Refuse half of a surrogate pair, which JSON may hold and no tokenizer reads.

    Parameters
    ----------
    text : str
        What is looked at.
    where : str
        Names it in an error.

    Raises
    ------
    ValueError
        If there is one; the message says at which character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: character {error.start} is half of a surrogate pair "
            f"({ascii(text[error.start])}): the text was cut inside a character, such as an "
            "emoji. text.encode('utf-8', 'replace').decode() puts a question mark there."
        ) from None


def says_nothing(text):
    """Tell whether a text has no response: no character, call or reasoning in its last message.

    Parameters
    ----------
    text : str or tuple of messages
        What :func:`read_text` returns.

    Returns
    -------
    bool
        White space counts as nothing.
    """
    if isinstance(text, str):
        return not text.strip()
    return not text[-1][1].strip() and not written_fields(text[-1])


def fields_of(message):
    """Return a message's further fields, a dict that is empty where there are none."""
    return json.loads(message[2]) if len(message) > 2 else {}


def written_fields(message):
    """Return the names of the further fields that say something, in order."""
    return [name for name in fields_of(message) if name not in IDENTIFIERS]


def join_contents(text, place):
    """Write a conversation as text without a template, its contents joined by line breaks.

    Parameters
    ----------
    text : str or tuple of messages
        A plain text is returned as it is.
    place : callable
        Names the row.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        If a message has a field that only a template writes, such as ``tool_calls``.
    """
    if not isinstance(text, str):
        for j, message in enumerate(text):
            if names := written_fields(message):
                raise ValueError(
                    f"{place()}, message {j}: without a chat template the field {names[0]!r} is "
                    f"not written. {FIELD_REMEDY}"
                )
    return "\n".join(contents_of(text))


def message_dicts(messages):
    """Write messages as a chat template takes them.

    Parameters
    ----------
    messages : tuple of messages
        What :func:`read_text` returns.

    Returns
    -------
    list of dict
        With ``role``, ``content`` and whatever further fields there are.
    """
    return [
        {"role": message[0], "content": message[1], **fields_of(message)} for message in messages
    ]


def contents_of(text):
    """Return the contents of a text's messages, or the plain text alone; a list of str."""
    return [text] if isinstance(text, str) else [message[1] for message in text]


def as_messages(prompt):
    """Return a prompt as messages: a plain text is what a user says."""
    return (("user", prompt),) if isinstance(prompt, str) else prompt


def message_key(message):
    """Return what is compared of a message: white space around it makes no difference."""
    return (message[0], message[1].strip(), *message[2:])


def read_turns(text):
    r"""Read a str whose turns are marked as in HH-RLHF.

    Parameters
    ----------
    text : str
        ``"\n\nHuman: …\n\nAssistant: …"``; the line breaks before the first mark may be missing
        where there is an answer.

    Returns
    -------
    tuple of (role, content) or None
        The turns, those of the same side put together; None for any other text.
    """
    if "Human:" not in text:
        return None
    start, *pieces = TURN.split(text)
    roles = pieces[::2]
    if start or not roles or roles[0] != "Human":
        return None
    if "Assistant" not in roles and not OPENING_MARK.match(text):
        return None
    turns = []
    for role, content in zip(roles, pieces[1::2], strict=True):
        role, content = ("user" if role == "Human" else "assistant"), content.strip()
        if turns and turns[-1][0] == role:
            content = "\n\n".join(filter(None, (turns.pop()[1], content)))
        turns.append((role, content))
    return tuple(turns)


def mark_turns(prompt, texts):
    r"""Read the strings of a row as conversations where they mark turns as in HH-RLHF.

    Parameters
    ----------
    prompt : str, tuple of messages or None
        Of one row.
    texts : list of str, tuple of messages or None
        Of the same row.

    Returns
    -------
    prompt : str, tuple of messages or None
        Without the mark of the answer that follows it.
    texts : list of str, tuple of messages or None
        Without a prompt they are conversations only if all of them are; with one, where they
        begin with it: an answer may write a dialogue.
    """
    if prompt is None:
        strings = [text for text in texts if isinstance(text, str) and text.strip()]
        whole = {text: read_turns(text) for text in strings}
        return None, texts if None in whole.values() else [
            whole.get(text, text) if isinstance(text, str) else text for text in texts
        ]
    turns = read_turns(prompt) if isinstance(prompt, str) else None
    if turns is not None:
        prompt = turns[:-1] if turns[-1] == ("assistant", "") else turns
    read = []
    for text in texts:
        if isinstance(text, str):
            whole = read_turns(text)
            if whole is not None and prompt_overlap(prompt, whole)[1]:
                text = whole
            elif turns is not None:
                mark = ANSWER_MARK.match(text)
                text = text[mark.end() if mark else 0 :].strip()
        read.append(text)
    return prompt, read


def join(prompt, text):
    """Put a prompt before a response, unless it is there already.

    Parameters
    ----------
    prompt : str, tuple of messages or None
        A plain text is what a user says.
    text : str or tuple of messages
        A response; or, beside a prompt as in UltraFeedback, a whole conversation that begins
        with it, or repeats its end. System messages may stand in either.

    Returns
    -------
    whole : str or tuple of messages
        The conversation; without a prompt the text as it is.
    n_prompt : int
        How many of its first messages are the prompt's.
    """
    if prompt is None:
        return text, 0
    prompt = as_messages(prompt)
    if isinstance(text, str):
        return (*prompt, ("assistant", text)), len(prompt)
    before, n_repeated = prompt_overlap(prompt, text)
    return before + text[n_repeated:], len(before)


def prompt_overlap(prompt, text):
    """Find a prompt in a conversation.

    Parameters
    ----------
    prompt : str or tuple of messages
        The prompt.
    text : tuple of messages
        A response or a whole conversation.

    Returns
    -------
    before : tuple of messages
        What stands before the response.
    n_repeated : int
        How many of the conversation's first messages are in it, 0 for a response.
    """
    prompt = as_messages(prompt)
    n_own, n_system = _n_systems(prompt), _n_systems(text)
    if n_own == len(prompt):
        n_own = 0  # a prompt of system messages alone
        n_system = 0
    asked = [message_key(m) for m in prompt[n_own:]]
    said = [message_key(m) for m in text]
    for k in range(min(len(asked), len(said) - n_system - 1), 0, -1):
        if asked[-k:] == said[n_system : n_system + k]:
            if k == len(asked):
                system = text[:n_system] or prompt[:n_own]
                return system + text[n_system : n_system + k], n_system + k
            if text[n_system][0] == "user":
                return prompt, n_system + k
    if text[0][0] in ("user", "system"):  # a whole conversation: its prompt may be a later turn
        for start in range(len(said) - len(asked) - 1, n_system, -1):
            if asked == said[start : start + len(asked)]:
                end = start + len(asked)
                return (prompt[:n_own] if not n_system else ()) + text[:end], end
    return prompt, 0


def shared_messages(texts):
    """Return the first messages that conversations share; the last of a text is never one."""
    shared = []
    if all(isinstance(text, tuple) for text in texts):
        for messages in zip(*texts, strict=False):
            if len(set(messages)) > 1 or len(shared) + 1 == min(map(len, texts)):
                break
            shared.append(messages[0])
    return tuple(shared)


def _n_systems(messages):
    return next((i for i, m in enumerate(messages) if m[0] != "system"), len(messages))


def _of_columns(value):
    """Return a lone message, or messages that are a dict of lists, as a list of messages."""
    columns = {key: v.tolist() if isinstance(v, np.ndarray) else v for key, v in value.items()}
    role = columns.get("role", columns.get("from"))
    if not isinstance(role, list) or not role:
        return [value]
    lists = {key: v for key, v in columns.items() if isinstance(v, list) and len(v) == len(role)}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _messages_in(text, where):
    """Return the messages of a str that is a list of them in JSON, None for any other text."""
    if not text.lstrip()[:1] == "[" or not text.rstrip()[-1:] == "]":
        return None
    printed = PRINTED_LIST.match(text) is not None
    try:
        found = ast.literal_eval(text.strip()) if printed and len(text) <= PRINTED_MOST else None
        found = json.loads(text) if found is None else found
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        if printed:
            raise ValueError(
                f"{where}: the text looks like messages that Python printed ({text.strip()!r:.40}),"
                " and cannot be read. Write them as JSON, by json.dumps(messages)."
            ) from None
        return None
    if not isinstance(found, list) or not found:
        return None
    pairs = (("role", "content"), ("from", "value"))
    is_message = [isinstance(m, dict) and any(a in m and b in m for a, b in pairs) for m in found]
    return found if all(is_message) else None


def _message(message, where):
    """Return one message as (role, content), and its further fields behind it."""
    expected = f"{where}: expected {{'role': str, 'content': str}}, got {message!r:.60}."
    if not isinstance(message, Mapping):
        raise ValueError(expected)
    role_name = "from" if is_null(message.get("role")) and "from" in message else "role"
    content_name = "value" if "content" not in message and "value" in message else "content"
    role = message.get(role_name)
    if not isinstance(role, str) or not role:
        raise ValueError(expected)
    if role_name == "from" and role.lower() not in SHAREGPT:
        raise ValueError(f"{where}: 'from' is {role!r:.40}; known are {', '.join(SHAREGPT)}.")
    role = SHAREGPT[role.lower()] if role_name == "from" else ROLES.get(role, str(role))
    extra = _extra(message, (role_name, content_name), where)
    content = message.get(content_name)
    if is_null(content):
        if content_name not in message and not extra:
            raise ValueError(expected)
        content = ""
    elif not isinstance(content, str):
        content = _joined_parts(content, where, expected)
    for text in (role, content, extra):
        check_unicode(text, where)
    return (role, str(content), extra) if extra else (role, str(content))


def _joined_parts(content, where, expected):
    """Put the text parts of a message together, as chat templates do."""
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list | tuple):
        raise ValueError(expected)
    texts = []
    for j, part in enumerate(content):
        if isinstance(part, Mapping):
            kind = part.get("type") or "text"
            if kind not in TEXT_PARTS:
                raise ValueError(
                    f"{where}, part {j}: the content is of the type {kind!r:.40}, and only text "
                    "is read. Leave such rows or parts out."
                )
            part = part.get("text")
            if is_null(part):
                part = "" if "text" in content[j] else None
        if not isinstance(part, str):
            raise ValueError(
                f"{where}, part {j}: expected {{'type': 'text', 'text': str}}, "
                f"got {content[j]!r:.60}."
            )
        texts.append(part)
    return "".join(texts)


def _extra(message, known, where):
    """Return JSON of the fields that a chat template may write, an empty str if there are none."""
    fields = {}
    for name in sorted(map(str, message)):
        value = message.get(name)
        if name in known or name in ABOUT:
            continue
        if isinstance(value, np.ndarray):
            value = value.tolist()
        if isinstance(value, str | list | tuple | Mapping) and len(value):
            fields[name] = _without_nulls(value)
    if not fields:
        return ""
    try:
        return json.dumps(fields, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the fields {list(fields)} are not JSON ({error}).") from None


def _without_nulls(value):
    """Leave out entries of None: a table puts them wherever another row has such a field."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_without_nulls(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
