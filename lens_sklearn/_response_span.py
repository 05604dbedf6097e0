"""Texts to token ids, and which of a text's tokens are the response's."""

from functools import partial
from hashlib import blake2b
from os.path import commonprefix

import numpy as np

from ._language_model import render
from ._messages import join_contents
from ._rendered_text import find_markers, split_rendered
from ._tokens import cut

TOKENIZED_AT_ONCE = 1024  # texts; token ids become arrays before the next ones are made
PLACE = "\ue000"  # stands for the response where what surrounds it is looked for; no text has it


def tokenize_texts(
    language_model, texts, template, max_length, place, *, with_spans=False, front=None
):
    """Return the token ids of texts, and where in them the responses are.

    Parameters
    ----------
    language_model : LanguageModel
        Whose tokenizer is used.
    texts : list of str or tuple of messages
        Plain texts and conversations. The response is a conversation's last message, and all
        of a plain text, unless the same template rendered it beforehand: it is then read as
        its conversation.
    template : str or None
        A Jinja chat template; without one contents are joined by line breaks.
    max_length : int
        Longer texts are cut: of a conversation of several messages first what is before the
        response, from the left, then the response's end; of other texts what the tokenizer's
        ``truncation_side`` says. Special tokens that begin a text stay.
    place : callable
        Names the row of text number i in an error.
    with_spans : bool, default=False
        Whether responses are looked for.
    front : collection of int, default=None
        Tokens that stay where a text that is cut begins with them; None is
        ``language_model.front_tokens``.

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
        If the template refuses a conversation, the tokenizer a text, or a text has no token.
    """
    reader = _Reader(language_model, texts, template, max_length, place, front)
    ids, overlong = [None] * len(texts), np.zeros(len(texts), dtype=bool)
    spans = np.zeros((len(texts), 2), dtype=np.int64) if with_spans else None
    for plain in (True, False):
        group = np.flatnonzero(reader.is_plain == plain)
        for start in range(0, len(group), TOKENIZED_AT_ONCE):
            part = group[start : start + TOKENIZED_AT_ONCE]
            new, overlong[part], found = reader.read(part, bool(plain), with_spans)
            for i, own in zip(part, new, strict=True):
                ids[i] = own
            if with_spans:
                spans[part] = found
    return ids, overlong, spans


def ends_of_turns(language_model, ids, spans):
    """Find the token that ends each text's last turn, before white space that a template writes.

    ChatML and others write a line break behind it. A text without a template's token behind its
    response, such as one that was cut there, ends with the response.

    Parameters
    ----------
    language_model : LanguageModel
        Whose tokenizer made the tokens.
    ids : list of ndarray of int
        Token ids, cut already.
    spans : ndarray of int, shape (len(ids), 2)
        First token of each response and the one behind its last.

    Returns
    -------
    ndarray of int, shape (len(ids),)
        Behind the response the last token that is not white space alone; where there is none,
        the response's last token, or what stands before an empty response.
    """
    is_blank, found = {}, np.empty(len(ids), dtype=np.int64)
    for i, (own, (_, end)) in enumerate(zip(ids, spans, strict=True)):
        j = len(own) - 1
        while j >= end:
            token = int(own[j])
            if token not in is_blank:
                is_blank[token] = not language_model.tokenizer.decode([token]).strip()
            if not is_blank[token]:
                break
            j -= 1
        found[i] = max(j, 0)
    return found


def equal_inputs(ids, spans=None):
    """Find texts that a network reads alike.

    Parameters
    ----------
    ids : list of ndarray of int32
        Token ids.
    spans : ndarray of int, shape (len(ids), 2 or 3), default=None
        Where the responses are, and what else is read; None if that makes no difference.

    Returns
    -------
    once : list of int
        The first text of each kind.
    kind : ndarray of int, shape (len(ids),)
        Which of them each text equals.
    """
    numbers, once, kind = {}, [], np.empty(len(ids), dtype=np.int64)
    for i, own in enumerate(ids):
        key = blake2b(own.tobytes() + (b"" if spans is None else spans[i].tobytes())).digest()
        kind[i] = numbers.setdefault(key, len(once))
        if kind[i] == len(once):
            once.append(i)
    return once, kind


class _Reader:
    """What turns some of the texts into tokens; the arguments of `tokenize_texts`."""

    def __init__(self, language_model, texts, template, max_length, place, front):
        self.language_model, self.template, self.place = language_model, template, place
        self.texts, self.max_length, self.front = texts, max_length, front
        is_text = [isinstance(text, str) for text in texts]
        markers = find_markers(language_model, template) if any(is_text) else None
        self.rendered = [
            split_rendered(text, markers) if plain else None
            for text, plain in zip(texts, is_text, strict=True)
        ]
        self.is_plain = np.array(
            [
                template is None or (plain and pair is None)
                for plain, pair in zip(is_text, self.rendered, strict=True)
            ],
            dtype=bool,
        )

    def read(self, part, plain, with_spans):
        """Return token ids, which were too long, and spans if there are any."""
        whole = [self._write(i) for i in part]
        ids = self.language_model.tokenize(
            whole, add_special_tokens=plain, place=lambda j: self.place(part[j])
        )
        empty = [i for i, own in zip(part, ids, strict=True) if not len(own)]
        if empty:
            raise ValueError(f"{self.place(empty[0])}: the tokenizer finds no token in the text.")
        overlong = np.array([len(own) > self.max_length for own in ids], dtype=bool)
        wanted = np.flatnonzero(overlong | with_spans)
        around = self._surroundings([part[j] for j in wanted], [whole[j] for j in wanted])
        spans = np.zeros((len(part), 2), dtype=np.int64)
        spans[wanted] = self._find([ids[j] for j in wanted], around, plain)
        for j in np.flatnonzero(overlong):
            ids[j], spans[j] = self._cut(part[j], ids[j], spans[j], plain)
        return ids, overlong, spans

    def _write(self, i):
        """Return a text as the tokenizer reads it."""
        text = self.texts[i]
        if isinstance(text, str):
            return text if self.rendered[i] is None else self.rendered[i].text
        if self.template is None:
            return join_contents(text, partial(self.place, i))
        return render(self.language_model, text, self.template, self.place, i)

    def _surroundings(self, numbers, whole):
        """Return what stands before and behind each response, None where all is response."""
        around, others = [], {}
        for i, own in zip(numbers, whole, strict=True):
            text = self.texts[i]
            if isinstance(text, str):
                around.append(None if self.rendered[i] is None else self.rendered[i][1:])
                continue
            if self.template is None:
                around.append((own[: len(own) - len(text[-1][1])], ""))
                continue
            # Whatever else stands in the response's place is surrounded by the same text. This
            # needs no prompt that a template might refuse or write in another way than in a whole.
            other = (*text[:-1], (text[-1][0], PLACE))
            if other not in others:
                others[other] = render(self.language_model, other, self.template, self.place, i)
            before = commonprefix([own, others[other]])
            rest, other_rest = own[len(before) :], others[other][len(before) :]
            after = commonprefix([rest[::-1], other_rest[::-1]])[::-1]
            around.append((before, after))
        return around

    def _find(self, ids, around, plain):
        """Return the responses' tokens in texts that are not cut, shape (len(ids), 2)."""
        texts = sorted({text for pair in around if pair is not None for text in pair})
        made = self.language_model.tokenize(texts, add_special_tokens=plain) if texts else []
        found = dict(zip(texts, made, strict=True))
        spans = np.zeros((len(ids), 2), dtype=np.int64)
        for j, (own, pair) in enumerate(zip(ids, around, strict=True)):
            start, end = 0, len(own)
            if pair is not None:
                # Tokens that reach over a border differ from those of either side alone.
                start = _n_common(own, found[pair[0]])
                end = max(start, end - _n_common(own[::-1], found[pair[1]][::-1]))
            spans[j] = start, end
        return spans

    def _cut(self, i, ids, span, plain):
        text = self.texts[i]
        has_prompt = self.rendered[i] is not None if isinstance(text, str) else len(text) > 1
        return cut(
            ids, tuple(span), self.max_length,
            front=self.language_model.front_tokens if self.front is None else self.front,
            added=self.language_model.added_tokens if plain else None,
            has_prompt=has_prompt, side=self.language_model.tokenizer.truncation_side,
        )  # fmt: skip


def _n_common(first, second):
    """Return how many tokens two texts begin with alike."""
    n = min(len(first), len(second))
    differ = np.flatnonzero(first[:n] != second[:n])
    return int(differ[0]) if len(differ) else n
