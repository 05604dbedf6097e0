"""A judge's questions: users' texts within an instruction, cut where they are too long."""

from typing import NamedTuple

import numpy as np

from .._language_model import template_text
from ._conversations import fill_in
from ._networks import tokenize_texts, write_texts
from ._special_tokens import Escape


class Questions(NamedTuple):
    """Questions as a judge reads them.

    Attributes
    ----------
    texts : list of str
        As written, without what the tokenizer itself puts around a plain text.
    ids : list of ndarray of int32
        Token ids, none longer than the limit.
    overlong : ndarray of bool, shape (n,)
        Of which a text was cut.
    contents : list of str
        What the user's message says.
    """

    texts: list
    ids: list
    overlong: np.ndarray
    contents: list


def write_questions(model, instruction, texts, chat_template, limit, place, system_prompt=None):
    """Put texts into an instruction and cut them, and nothing else, to a number of tokens.

    Parameters
    ----------
    model : LanguageModel
        Whose tokenizer is used.
    instruction : str
        Has ``{prompt}`` and a name in braces for each response.
    texts : list of dict
        What is put into the instruction, by name; escaped already. All have the same names.
    chat_template : "auto", str, None or False
        As in :class:`~lens_sklearn.LLMEmbedder`.
    limit : int
        Most tokens of a question.
    place : callable
        Names question number i.
    system_prompt : str, default=None
        A system message before each question.

    Returns
    -------
    Questions
        Of a long one the ends of the responses are cut, and the beginning of the prompt where
        it takes more than half of the room that the instruction leaves. Two responses get
        equal room.

    Raises
    ------
    ValueError
        If the instruction leaves no token for each text, a text holds a special token that
        cannot be written otherwise, or the chat template refuses a question.
    """
    if not texts:
        return Questions([], [], np.zeros(0, dtype=bool), [])
    writer = _Writer(model, instruction, chat_template, limit, list(texts[0]), system_prompt)
    contents, written, ids = writer.write(texts, place)
    overlong = np.array([len(own) > limit for own in ids], dtype=bool)
    for i in np.flatnonzero(overlong):
        own = writer.shorten(texts[i], len(ids[i]), lambda _, i=i: place(i))
        contents[i], written[i], ids[i] = own
    refuse_special_tokens(model.tokenizer, writer.escape, writer.alone, ids, place)
    return Questions(written, ids, overlong, contents)


class _Writer:
    """Writes questions of one instruction; the arguments of `write_questions`."""

    def __init__(self, model, instruction, chat_template, limit, names, system_prompt):
        self.model, self.instruction, self.limit = model, instruction, limit
        self.chat_template = chat_template
        self.before = () if system_prompt is None else (("system", system_prompt),)
        *_, (self.alone,) = self.write([dict.fromkeys(names, "")], lambda _: "the instruction")
        self.room = limit - len(self.alone)
        self.escape = Escape(model.tokenizer, template_text(chat_template, model.tokenizer))
        if self.room < len(names):
            raise ValueError(
                f"a question has {limit} tokens at most, by max_length or the model's own "
                f"context, and the instruction alone takes {len(self.alone)}: nothing of the texts "
                f"would be read. At least {len(self.alone) + len(names)} tokens are needed, so "
                "raise max_length (of a generator lower max_new_tokens), or give a model with a "
                "longer context or a shorter instruction."
            )

    def write(self, texts, place):
        """Return contents, questions and their token ids, however long."""
        contents = [fill_in(self.instruction, **own) for own in texts]
        questions = [(*self.before, ("user", content)) for content in contents]
        written = write_texts(self.model, questions, self.chat_template, place, prompt=True)
        return contents, written[0], tokenize_texts(self.model, *written, place, prompt=True)

    def shorten(self, texts, n_tokens, place):
        """Return the content of a question within the limit, the question and its token ids."""
        pieces = {name: _Pieces(self.model, text) for name, text in texts.items()}
        # What is written anew may have other tokens at its borders: less room then.
        room = self.room
        while n_tokens > self.limit:
            shares = _shares({name: len(own) for name, own in pieces.items()}, room)
            cut = {
                name: own.last(shares[name]) if name == "prompt" else own.first(shares[name])
                for name, own in pieces.items()
            }
            (content,), (text,), (ids,) = self.write([cut], place)
            n_tokens = len(ids)
            room -= max(1, n_tokens - self.limit)
        return content, text, ids


def refuse_special_tokens(tokenizer, escape, alone, ids, place):
    """Refuse a question with other special tokens than the instruction's own.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Names the tokens.
    escape : Escape
        Knows which are special.
    alone : ndarray of int
        Token ids of the instruction with empty texts.
    ids : list of ndarray of int
        Token ids of the questions, not cut within the instruction.
    place : callable
        Names question number i.

    Raises
    ------
    ValueError
        If a question has others: texts and instruction make them together.
    """
    own = escape.count(alone)
    for i, tokens in enumerate(ids):
        found = escape.count(tokens)
        if found != own:
            names = tokenizer.convert_ids_to_tokens([t for t in found if found[t] != own.get(t, 0)])
            raise ValueError(
                f"{place(i)}: the text makes special tokens of the tokenizer ({names}), which "
                "the judge would take for turns of the conversation. Take them out of it."
            )


def _shares(lengths, room):
    """Divide the room among a prompt and responses, given the tokens that each would take."""
    responses = [name for name in lengths if name != "prompt"]
    room = max(room, 0)
    left = max(room - lengths["prompt"], room // 2)
    shares = {}
    # The shorter response first: what it does not need is the other's.
    for n_taken, name in enumerate(sorted(responses, key=lengths.get)):
        shares[name] = min(lengths[name], left // (len(responses) - n_taken))
        left -= shares[name]
    shares["prompt"] = room - sum(shares.values())
    return shares


class _Pieces:
    """A text that can be cut at the borders of its tokens."""

    def __init__(self, model, text):
        self.text = text
        (ids,) = model.tokenize([text], add_special_tokens=False)
        if model.tokenizer.is_fast and len(ids):
            options = {"add_special_tokens": False, "return_offsets_mapping": True}
            offsets = model.tokenizer(text, verbose=False, **options)["offset_mapping"]
            self.starts = [start for start, _ in offsets]
        else:  # about where they are
            self.starts = np.linspace(0, len(text), len(ids), endpoint=False).astype(int).tolist()

    def __len__(self):
        return len(self.starts)

    def first(self, n):
        return self.text if n >= len(self) else self.text[: self.starts[n]]

    def last(self, n):
        if n >= len(self):
            return self.text
        return self.text[self.starts[len(self) - n] :] if n > 0 else ""
