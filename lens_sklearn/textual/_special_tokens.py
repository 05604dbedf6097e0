"""Special tokens in users' texts: text that a judge reads is data and begins no turn."""

import re

import numpy as np


def special_tokens(tokenizer, template=None):
    """Return the texts that a tokenizer reads as tokens with a meaning of their own.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Which.
    template : str, default=None
        The chat template in force: added tokens that it writes, such as those around calls,
        count as special even where the tokenizer does not mark them so.

    Returns
    -------
    dict of str to int
        Token ids by text, the longest text first. A single character is none of them: it may
        be an ordinary one, such as a line break that ends a text.
    """
    found = {str(token): tokenizer.convert_tokens_to_ids(str(token))
             for token in tokenizer.all_special_tokens}  # fmt: skip
    for number, token in tokenizer.added_tokens_decoder.items():
        if token.special or (template is not None and token.content in template):
            found[token.content] = number
    names = sorted((name for name in found if len(name.strip()) > 1), key=len, reverse=True)
    return {name: int(found[name]) for name in names}


class Escape:
    """Write special tokens within a text so that they are read as ordinary characters.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Which.
    template : str, default=None
        The chat template in force.

    Attributes
    ----------
    ids : ndarray of int
        The special tokens. The one for unknown words is left out, since ordinary words may
        become it.
    """

    def __init__(self, tokenizer, template=None):
        tokens = special_tokens(tokenizer, template)
        self.ids = np.array(sorted({*tokens.values()} - {tokenizer.unk_token_id}), dtype=int)
        self._pattern = re.compile("|".join(map(re.escape, tokens))) if tokens else None

    def __call__(self, text):
        """Return the text with a space behind the first character of each special token.

        Parameters
        ----------
        text : str
            What somebody wrote.

        Returns
        -------
        str
            The same text where it has none.
        """
        if self._pattern is None:
            return text
        for _ in range(8):  # what a space makes of one token may hold another
            escaped = self._pattern.sub(_split, text)
            if escaped == text:
                break
            text = escaped
        return text

    def count(self, ids):
        """Count the special tokens in token ids.

        Parameters
        ----------
        ids : ndarray of int
            Token ids of a text.

        Returns
        -------
        dict of int to int
            How often each is there, those alone that are.
        """
        own = np.asarray(ids)
        tokens, counts = np.unique(own[np.isin(own, self.ids)], return_counts=True)
        return dict(zip(tokens.tolist(), counts.tolist(), strict=True))


def _split(found):
    n = len(found[0]) - len(found[0].lstrip()) + 1
    return f"{found[0][:n]} {found[0][n:]}"
