"""What the next token is drawn from, and where a response ends."""

import numpy as np
import torch


def logits_processors(temperature, top_k, top_p, min_p, noise):
    """Return the processors of a batch's logits, in the order of transformers.

    Parameters
    ----------
    temperature : float
        Divides the logits.
    top_k : int or None
        How many of the likeliest tokens are left.
    top_p : float
        The likeliest tokens that have this much probability together are left.
    min_p : float or None
        Tokens that have this share of the likeliest one's probability are left.
    noise : GumbelNoise
        Comes last.

    Returns
    -------
    list of callable
        Each takes token ids and logits, and returns logits.
    """
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    processors = [TemperatureLogitsWarper(float(temperature))]
    if top_k is not None:
        processors.append(TopKLogitsWarper(int(top_k)))
    if top_p < 1:
        processors.append(TopPLogitsWarper(float(top_p)))
    if min_p is not None:
        processors.append(MinPLogitsWarper(float(min_p)))
    return [*processors, noise]


class GumbelNoise:
    """Add Gumbel noise to logits, each row from a generator of its own.

    The arg max of what comes out is a sample of the softmax of what goes in.

    Parameters
    ----------
    seeds : list of bytes
        A digest a row.
    device : torch.device
        Where the logits are.
    """

    def __init__(self, seeds, device):
        self.generators = [
            torch.Generator(device).manual_seed(int.from_bytes(seed[:8]) >> 1) for seed in seeds
        ]

    def __call__(self, input_ids, scores):
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.clamp_(min=torch.finfo(torch.float32).tiny).log_()


# ---------------------------------------------------------------------------- stop strings
def check_stop(stop):
    """Refuse stop strings that are no texts.

    Parameters
    ----------
    stop : list of str or None
        A parameter.

    Raises
    ------
    ValueError
        If an entry is no str or is empty.
    """
    for entry in stop or ():
        if not isinstance(entry, str) or not entry:
            raise ValueError(f"stop: expected texts of at least one character, got {entry!r:.60}.")


def cut_at_stop(text, stop):
    """Cut a text before the first of several strings.

    Parameters
    ----------
    text : str
        A response.
    stop : sequence of str
        What ends it.

    Returns
    -------
    text : str
        What stands before.
    stopped : bool
        Whether one was there.
    """
    places = [place for place in (text.find(entry) for entry in stop) if place >= 0]
    return (text[: min(places)], True) if places else (text, False)


def stop_tokens(stop, tokenizer):
    """Tell special tokens among stop strings from what is looked for in the text.

    Parameters
    ----------
    stop : sequence of str
        What ends a response.
    tokenizer : transformers tokenizer
        Whose special tokens a response's text does not show.

    Returns
    -------
    texts : list of str
        What is looked for in the text.
    ids : list of int
        The special tokens.

    Raises
    ------
    ValueError
        If a string holds a special token and other text, which would never be found.
    """
    added = tokenizer.added_tokens_decoder.items()
    special = {str(token): i for i, token in added if token.special}
    for entry in stop:
        inside = [token for token in special if token in entry and entry not in special]
        if inside:
            raise ValueError(
                f"stop: {entry!r:.60} holds the special token {inside[0]!r}, which a response's "
                f"text does not show. Give {inside[0]!r} alone, or the text without it."
            )
    return [e for e in stop if e not in special], [special[e] for e in stop if e in special]


class StopAtText:
    """End each row of a batch where its new text has a stop string.

    The class of transformers looks at tokens, those of the prompt included, so that a prompt's
    end and the first token together would end a response before it begins.

    Parameters
    ----------
    stop : list of str
        What ends a response.
    tokenizer : transformers tokenizer
        Writes the text.
    n_prompt : int
        How many of the columns are the prompt.

    Attributes
    ----------
    lengths : dict of int to int
        After how many new tokens a row was ended.
    """

    def __init__(self, stop, tokenizer, n_prompt):
        self.stop = stop
        self.tokenizer = tokenizer
        self.n_prompt = n_prompt
        self.lengths = {}

    def __call__(self, input_ids, scores, **kwargs):
        new = input_ids[:, self.n_prompt :].tolist()
        going = [i for i in range(len(new)) if i not in self.lengths]
        texts = self.tokenizer.batch_decode([new[i] for i in going], skip_special_tokens=True)
        for i, text in zip(going, texts, strict=True):
            if cut_at_stop(text, self.stop)[1]:
                self.lengths[i] = len(new[i])
        done = np.isin(np.arange(len(new)), list(self.lengths))
        return torch.from_numpy(done).to(input_ids.device)
