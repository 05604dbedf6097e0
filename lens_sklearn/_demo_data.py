"""The demo's responses: put together from hand-written sentences, so their quality is known."""

import tomllib
from functools import cache
from importlib.resources import files

import numpy as np

#: Responses of each prompt.
N_RESPONSES = 16
#: Content sentences of each response; one more sets its tone.
N_CONTENT = 3
#: What a content sentence and a tone are worth; content counts as the mean of its sentences.
CONTENT_VALUE = {"good": 1.0, "vague": 0.0, "off_topic": -0.5, "wrong": -1.0}
TONE_VALUE = {"kind": 0.25, "neutral": 0.0, "curt": -0.5}
#: Taken off per word, so that of two equal responses the shorter one is better.
WORD_COST = 0.001
COMPOSITION_SEED = 20  # the responses are part of the data set: the same for every user


@cache
def demo_responses():
    """Return the demo's prompts, their responses and gold rewards.

    Each response is three content sentences and one of tone, in an order where the tone opens
    or closes. Sentences are good (to the point and true), vague, off topic (good for another
    prompt) or wrong (to the point and false). Lengths hardly differ between the kinds.

    Returns
    -------
    prompts : list of str
        The prompts.
    responses : ndarray of object, shape (n_prompts, 16)
        The responses.
    gold : ndarray of float64, shape (n_prompts, 16)
        Mean value of the content, plus the tone's, less 0.001 a word.
    """
    text = files(__package__).joinpath("demo_sentences.toml").read_text(encoding="utf-8")
    source = tomllib.loads(text)
    topics = source["prompts"]
    responses = np.empty((len(topics), N_RESPONSES), dtype=object)
    gold = np.empty(responses.shape)
    random_state = np.random.RandomState(COMPOSITION_SEED)
    for i, topic in enumerate(topics):
        others = [s for j, other in enumerate(topics) if j != i for s in other["good"]]
        seen = set()
        while len(seen) < N_RESPONSES:
            response, value = _compose(topic, others, source["tone"], random_state)
            if response not in seen:
                responses[i, len(seen)], gold[i, len(seen)] = response, value
                seen.add(response)
    return [topic["prompt"] for topic in topics], responses, gold


def _compose(topic, others, tones, random_state):
    """Draw a response to one prompt, and return it with its gold reward."""
    parts = {
        "good": topic["good"],
        "vague": [topic["vague"]],
        "off_topic": others,
        "wrong": topic["wrong"],
    }
    # A response's own share of good sentences spreads the qualities from poor to complete.
    p_good = random_state.uniform()
    chances = [p_good, *((1 - p_good) * np.array([0.3, 0.3, 0.4]))]
    content, value = [], 0.0
    while len(content) < N_CONTENT:
        kind = random_state.choice(list(parts), p=chances)
        sentence = parts[kind][random_state.randint(len(parts[kind]))]
        if sentence not in content:
            content.append(sentence)
            value += CONTENT_VALUE[kind] / N_CONTENT
    tone = random_state.choice(list(TONE_VALUE), p=[0.35, 0.35, 0.3])
    sentence = tones[tone][random_state.randint(len(tones[tone]))]
    content.insert(N_CONTENT * random_state.randint(2), sentence)
    response = " ".join(content)
    return response, value + TONE_VALUE[tone] - WORD_COST * len(response.split())
