"""Token ids of texts: special tokens once, every id in the vocabulary, long texts cut."""

import re
from typing import NamedTuple

import numpy as np

HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")
PROBES = ("a", "the", "0")


class AddedTokens(NamedTuple):
    """The special tokens that a tokenizer puts around every text by itself.

    Attributes
    ----------
    before, after : tuple of int
        Token ids, such as BOS or CLS in front, and EOS or SEP behind.
    """

    before: tuple
    after: tuple


def added_tokens(tokenizer):
    """Find out what a tokenizer puts around a text.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Which.

    Returns
    -------
    AddedTokens
        Empty where it adds nothing.
    """
    for probe in PROBES:
        bare = list(tokenizer(probe, add_special_tokens=False)["input_ids"])
        whole = list(tokenizer(probe)["input_ids"])
        for start in range(len(whole) - len(bare) + 1):
            if bare and whole[start : start + len(bare)] == bare:
                return AddedTokens(tuple(whole[:start]), tuple(whole[start + len(bare) :]))
    return AddedTokens((), ())


def encode(tokenizer, texts, added, place):
    """Turn texts into token ids.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Which.
    texts : list of str
        Plain texts or rendered conversations.
    added : AddedTokens or None
        What the tokenizer puts around them; None if it shall not. A text that brings these
        tokens itself, as one does that a chat template rendered beforehand, has them once.
    place : callable
        Names text number i in an error.

    Returns
    -------
    list of ndarray of int32
        Token ids, no padding, not cut.

    Raises
    ------
    ValueError
        If the tokenizer refuses a text.
    """
    options = {"add_special_tokens": added is not None, "return_attention_mask": False}
    try:
        encoded = tokenizer(texts, verbose=False, **options)["input_ids"]
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        for i, text in enumerate(texts):
            try:
                tokenizer(text, verbose=False, **options)
            except Exception as own:
                raise ValueError(f"{place(i)}: {_refusal(text, own)}") from own
        raise
    if added is not None:
        encoded = [_once(ids, added) for ids in encoded]
    return [np.array(ids, dtype=np.int32) for ids in encoded]


def _refusal(text, error):
    half = HALF_OF_A_PAIR.search(text)
    if half:
        return (
            f"character {half.start()} of what the tokenizer reads is half of a surrogate pair "
            f"({half[0]!r}), as a text has that was cut within an emoji. Remove it, or replace it "
            "by text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
        )
    return f"the tokenizer refuses the text ({type(error).__name__}: {error})."


def _once(ids, added):
    before, after = list(added.before), list(added.after)
    if before and ids[: 2 * len(before)] == 2 * before:
        ids = ids[len(before) :]
    if after and ids[-2 * len(after) :] == 2 * after:
        ids = ids[: -len(after)]
    return ids


def check_ids(ids, n_rows, place):
    """Refuse tokens that a network has no embedding for.

    Parameters
    ----------
    ids : list of ndarray of int
        Token ids of texts.
    n_rows : int or None
        Rows of the network's embedding matrix; None if that is not known.
    place : callable
        Names text number i in an error.

    Raises
    ------
    ValueError
        If an id is not a row.
    """
    for i, own in enumerate(ids):
        if n_rows is not None and len(own) and own.max() >= n_rows:
            raise ValueError(
                f"{place(i)}: the tokenizer makes the token {own.max()} of this text, but the "
                f"network has embeddings for the tokens 0 to {n_rows - 1} alone. Tokenizer and "
                "network are of different models, or tokens were added without "
                "model.resize_token_embeddings(len(tokenizer))."
            )


def legal_pad(pad_id, n_rows):
    """Return a token id to fill the padding with, which the mask hides.

    Parameters
    ----------
    pad_id : int or None
        The tokenizer's.
    n_rows : int or None
        Rows of the network's embedding matrix; None if that is not known.

    Returns
    -------
    int
        The tokenizer's where the network has an embedding for it, else 0.
    """
    legal = pad_id is not None and 0 <= pad_id and (n_rows is None or pad_id < n_rows)
    return int(pad_id) if legal else 0


def cut(ids, span, limit, *, front, added, has_prompt, side="right"):
    """Cut a text to a number of tokens; of a prompt and a response the prompt goes first.

    Parameters
    ----------
    ids : ndarray of int, shape (T,)
        Token ids.
    span : tuple of int
        The response's first token and the one behind its last.
    limit : int
        Most tokens.
    front : set of int
        Tokens that stay where a text begins with them, such as BOS.
    added : AddedTokens or None
        What the tokenizer put around the text: it stays at the end.
    has_prompt : bool
        Whether what stands before the response is a prompt. Its beginning is cut, and only of
        a response that is too long by itself the end. Other texts are cut on the given side.
    side : {"right", "left"}, default="right"
        The tokenizer's ``truncation_side``.

    Returns
    -------
    ids : ndarray of int, shape (min(T, limit),)
        What is left.
    span : tuple of int
        What is left of the response there.
    """
    n, (start, end) = len(ids), span
    if n <= limit:
        return ids, span
    after = () if added is None else added.after
    n_after = len(after) if after and tuple(ids[n - len(after) :]) == after else 0
    n_front = 0
    while n_front < min(n - n_after, len(front)) and int(ids[n_front]) in front:
        n_front += 1
    if n_front + n_after >= limit:
        n_front, n_after = 0, 0
    room, last = limit - n_front - n_after, n - n_after
    if has_prompt and last - max(start, n_front) > room:
        first = max(start, n_front)  # nothing of the prompt is left
    elif has_prompt or side == "left":
        first = last - room
    else:
        first = n_front
    kept = np.r_[0:n_front, first : first + room, last : last + n_after]
    return ids[kept], tuple(int(np.searchsorted(kept, border)) for border in (start, end))
