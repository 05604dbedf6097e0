"""Conversations as rows have them, as plain text, and as questions to a language model."""

from .._rows import read_dialogues


def as_messages(conversation):
    """Write a conversation as rows have it.

    Parameters
    ----------
    conversation : tuple of (role, content)
        The conversation.

    Returns
    -------
    list of dict
        With ``role`` and ``content``.
    """
    return [{"role": role, "content": content} for role, content in conversation]


def candidate_rows(prompts, responses):
    """Put prompts and responses together as candidate rows.

    Parameters
    ----------
    prompts : list of n prompts
        Strings or lists of ``{"role", "content"}`` messages.
    responses : list of n lists of responses
        Strings or lists of messages.

    Returns
    -------
    list of dict
        Rows with ``prompt`` and ``responses``, both as messages.
    """
    prompts, items = read_dialogues(prompts, responses)
    return [
        {"prompt": as_messages(prompt), "responses": [as_messages(r) for r in row if r is not None]}
        for prompt, row in zip(prompts, items, strict=True)
    ]


def preference_row(row, prompt, chosen, rejected):
    """Make a preference row of new responses, in the form of another row.

    Parameters
    ----------
    row : dict
        The row that it is made from: strings or messages, with or without a prompt.
    prompt : tuple of (role, content)
        That row's prompt.
    chosen, rejected : str
        The responses.

    Returns
    -------
    dict
        With the columns of `row`.
    """

    def as_in_row(text):
        if isinstance(row["chosen"], str):
            return text
        shared = [] if "prompt" in row else as_messages(prompt)
        return [*shared, {"role": "assistant", "content": text}]

    new = {"prompt": row["prompt"]} if "prompt" in row else {}
    return new | {"chosen": as_in_row(chosen), "rejected": as_in_row(rejected)}


def plain_text(messages):
    """Write a prompt or response as plain text for a judge to read.

    Parameters
    ----------
    messages : tuple of (role, content)
        The conversation.

    Returns
    -------
    str
        A lone message's content; several messages with their roles, one a line.
    """
    if len(messages) == 1:
        return messages[0][1]
    return "\n".join(f"{message[0]}: {message[1]}" for message in messages)


def fill_in(instruction, **texts):
    """Put texts into an instruction; braces within the texts are left alone.

    Parameters
    ----------
    instruction : str
        Has a ``{name}`` for each text.
    **texts : str
        The texts.

    Returns
    -------
    str
        The instruction with the texts in it.

    Raises
    ------
    ValueError
        If the instruction lacks one of the names or has another.
    """
    try:
        if missing := [name for name in texts if "{" + name + "}" not in instruction]:
            raise KeyError(missing[0])
        return instruction.format(**texts)
    except (KeyError, IndexError, ValueError) as error:
        names = ", ".join("{" + name + "}" for name in texts)
        raise ValueError(f"instruction needs {names} and no other braces ({error}).") from None
