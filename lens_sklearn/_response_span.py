"""Texts to token ids, and which of a text's tokens are the response's."""

from functools import partial
from os.path import commonprefix
from typing import NamedTuple

import numpy as np

from ._language_model import render
from ._messages import join_contents

TOKENIZED_AT_ONCE = 1024  # texts; token ids become arrays before the next ones are made
NO_LIMIT = np.iinfo(np.int32).max
PLACE = "\ue000"  # stands for the response where what surrounds it is looked for; no text has it


class Written(NamedTuple):
    """A text as the tokenizer reads it.

    Attributes
    ----------
    text : str
        All of it.
    before, after : str or None
        What stands before and behind the response; None where all of the text is the response.
    """

    text: str
    before: str | None = None
    after: str | None = None


def tokenize_texts(language_model, texts, template, max_length, place, *, with_spans=False):
    """Return the token ids of texts, and where in them the responses are.

    Parameters
    ----------
    language_model : LanguageModel
        Whose tokenizer is used.
    texts : list of str or tuple of (role, content)
        Plain texts and conversations. The response is a conversation's last message, and all
        of a plain text.
    template : str or None
        A Jinja chat template; without one contents are joined by line breaks.
    max_length : int
        Longer texts are cut, on the tokenizer's ``truncation_side``.
    place : callable
        Names the row of text number i in an error.
    with_spans : bool, default=False
        Whether responses are looked for.

    Returns
    -------
    ids : list of ndarray of int32
        Token ids, at least one a text.
    overlong : ndarray of bool, shape (len(texts),)
        Which texts were cut.
    spans : ndarray of int, shape (len(texts), 2), or None
        First token of each response and the one behind its last; equal where nothing of it is
        left.

    Raises
    ------
    ValueError
        If the template refuses a conversation, or a text has no token.
    """
    ids, overlong = [None] * len(texts), np.zeros(len(texts), dtype=bool)
    spans = np.zeros((len(texts), 2), dtype=np.int64) if with_spans else None
    is_plain = np.array([template is None or isinstance(t, str) for t in texts], dtype=bool)
    for plain in (True, False):
        group = np.flatnonzero(is_plain == plain)
        for start in range(0, len(group), TOKENIZED_AT_ONCE):
            part = group[start : start + TOKENIZED_AT_ONCE]
            written = _write(language_model, texts, part, template, place, with_spans)
            whole = [w.text for w in written]
            new, overlong[part] = language_model.tokenize(
                whole, max_length, add_special_tokens=bool(plain)
            )
            for i, tokens in zip(part, new, strict=True):
                if not len(tokens):
                    raise ValueError(f"{place(i)}: the tokenizer finds no token in the text.")
                ids[i] = tokens
            if with_spans:
                spans[part] = _spans(language_model, written, new, overlong[part], bool(plain))
    return ids, overlong, spans


def _write(language_model, texts, part, template, place, with_spans):
    """Return texts as the tokenizer reads them, and what surrounds the responses."""
    written, others = [], {}
    for i in part:
        text = texts[i]
        if isinstance(text, str):
            written.append(Written(text))
            continue
        if template is None:
            whole = join_contents(text, partial(place, i))
            written.append(Written(whole, whole[: len(whole) - len(text[-1][1])], ""))
            continue
        whole = render(language_model, text, template, place, i)
        if not with_spans:
            written.append(Written(whole))
            continue
        # Whatever else stands in the response's place is surrounded by the same text. This needs
        # no prompt that a template might refuse or write in another way than within a whole.
        other = (*text[:-1], (text[-1][0], PLACE))
        if other not in others:
            others[other] = render(language_model, other, template, place, i)
        before = commonprefix([whole, others[other]])
        rest, other_rest = whole[len(before) :], others[other][len(before) :]
        after = commonprefix([rest[::-1], other_rest[::-1]])[::-1]
        written.append(Written(whole, before, after))
    return written


def _spans(language_model, written, ids, overlong, add_special_tokens):
    """Return the responses' tokens in texts that may have been cut, shape (len(written), 2)."""
    texts = sorted({text for w in written for text in (w.before, w.after) if text is not None})
    found = _whole_ids(language_model, texts, add_special_tokens)
    cut = sorted({w.text for w, is_cut in zip(written, overlong, strict=True) if is_cut})
    whole = _whole_ids(language_model, cut, add_special_tokens)
    cut_left = language_model.tokenizer.truncation_side == "left"
    spans = []
    for w, own, is_cut in zip(written, ids, overlong, strict=True):
        full = whole[w.text] if is_cut else own
        start, end = 0, len(full)
        if w.before is not None:
            # Tokens that reach over a border differ from those of either side alone.
            start = _n_common(full, found[w.before])
            end = max(start, end - _n_common(full[::-1], found[w.after][::-1]))
        shift = len(full) - len(own) if cut_left else 0
        spans.append(np.clip([start - shift, end - shift], 0, len(own)))
    return spans


def _whole_ids(language_model, texts, add_special_tokens):
    """Return the token ids of each text, not cut."""
    if not texts:
        return {}
    ids, _ = language_model.tokenize(texts, NO_LIMIT, add_special_tokens=add_special_tokens)
    return dict(zip(texts, ids, strict=True))


def _n_common(first, second):
    """Return how many tokens two texts begin with alike."""
    n = min(len(first), len(second))
    differ = np.flatnonzero(first[:n] != second[:n])
    return int(differ[0]) if len(differ) else n
