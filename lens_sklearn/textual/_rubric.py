"""A judge that reasons, then adds up points (Yuan et al., 2024)."""

import re
import warnings
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval

from .._device import draw_seed
from .._rows import read_dialogues
from .._warnings import warn
from ._conversations import fill_in, plain_text
from ._generator import ResponseGenerator
from ._labelling import Escaped, places
from ._networks import headed_model, report_overlong
from ._questions import write_questions

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
MAX_POINTS = 5

RUBRIC = """Below are a user's question and a response to it. Judge the response by points. Begin \
with 0 and add 1 for each of these statements that is true:
- The response is about the question and tells the user something of use, even if much is missing.
- It deals with a large part of what was asked, even if something is left open.
- It answers the core of the question in a way that the user can work with.
- It speaks to the user as a good assistant does: directly, in good order, complete and helpful.
- It is made for this very question, shows expert knowledge and has nothing that is out of place.

Question:
{prompt}

Response:
{response}

First explain in at most 100 words which points the response gets. Then end with a line of the \
form "Score: n", where n is the sum of the points, from 0 to 5."""

_SCORE = re.compile(r"\bscore\b[\s*_`\"']*[:=][\s*_`\"']*", re.IGNORECASE)
_POINTS = re.compile(
    r"(\d+(?:\.\d+)?)[ \t]*(?:points?\b)?"
    r"[ \t]*(?:\(?[ \t]*(?:/|out of|of)[ \t]*5(?:\.0+)?\b[ \t]*\)?)?(?!\w|[.,]\d)"
)
#: What makes a number one of another scale, an end of a range or a part of a sum.
_NOT_ALONE = re.compile(
    r"[ \t]*\(?[ \t]*(?:[/+×÷~%]|[-–—](?![ \t]+[^\W\d])|"
    r"(?:\*|x|…|\.{2,})[ \t]*\d|(?:to|or|of|out of)\b)",
    re.IGNORECASE,
)


class RubricLabeller(BaseEstimator):
    """Label responses by the points that a language model gives them after some reasoning.

    The judge is asked to award one point for each of five statements that is true of a response,
    to give its reasons, and to end with a line "Score: n". Several such judgements are sampled;
    a response's score is their mean. A small model does not keep to the form (SmolLM2 with 135
    million parameters wrote no score in 8 judgements); it is better asked by
    :class:`SelfRewardingLabeller`, which reads the rating off the next-token probabilities.

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        The judge, sampled at temperature 0.7 and ``top_p=0.9`` with at most 256 tokens. For
        anything else give a `generator`.
    generator : ResponseGenerator, default=None
        Writes the judgements: any estimator whose ``fit`` and ``transform`` turn rows with a
        ``prompt`` into candidate rows, with a parameter ``n_samples``, which `n_judgements`
        replaces. It brings a ``store``, so that a killed call resumes, and its own temperature,
        batches and longest judgement.
    n_judgements : int, default=3
        Judgements sampled for each response.
    instruction : str, default=None
        Another text for the judge, with ``{prompt}`` and ``{response}``. It must ask for a last
        line "Score: n", n from 0 to 5.
    random_state : int, RandomState instance or None, default=None
        Seeds a generator that has no seed of its own.

    Attributes
    ----------
    n_unparsed_ : int
        How many judgements of the latest ``score`` had no score that can be read.
    n_overlong_ : int
        How many questions left too little room for a judgement, so that they were cut.

    See Also
    --------
    SelfRewardingLabeller : Expected rating, without reasoning.

    Notes
    -----
    The last "Score:" of a judgement counts, with a number from 0 to 5 behind it; "4/5" and "4 out
    of 5" are 4. If what stands there is another number, a range, a sum or a word, the judgement has
    no score, and an earlier line is not taken for it. A response without any judgement gets NaN.

    Where a question is too long for the judge's context, the end of the response is cut, and the
    beginning of the prompt where it takes more than half of what the instruction leaves. Special
    tokens within texts are written as ordinary characters. Both need a :class:`ResponseGenerator`,
    whose tokens are known here.

    References
    ----------
    W. Yuan et al., "Self-Rewarding Language Models", 2024. The five additive points, reasons
    before the score and the mean of three judgements are theirs; the words are not.

    Examples
    --------
    >>> from lens_sklearn.textual import ResponseGenerator, RubricLabeller
    >>> labeller = RubricLabeller(generator=ResponseGenerator(store="judged", random_state=0))
    >>> labeller.score(["2 + 2?"], [["4", "A fish."]])  # doctest: +SKIP
    array([[4.33, 0.67]])
    """

    _parameter_constraints = {
        "model_name": ResponseGenerator._parameter_constraints["model_name"],
        "generator": [HasMethods(["fit", "transform", "get_params"]), None],
        "n_judgements": [Interval(Integral, 1, None, closed="left")],
        "instruction": [str, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        model_name=MODEL,
        *,
        generator=None,
        n_judgements=3,
        instruction=None,
        random_state=None,
    ):
        self.model_name = model_name
        self.generator = generator
        self.n_judgements = n_judgements
        self.instruction = instruction
        self.random_state = random_state

    def score(self, prompts, responses):
        """Score responses.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        ndarray of float64, shape (n, k)
            Mean points from 0 to 5; NaN is the padding of shorter lists, and a response without
            a judgement that can be read.

        Raises
        ------
        ValueError
            As :meth:`judgements`.

        Warns
        -----
        UserWarning
            If judgements have no score that can be read.
        """
        judged = self.judgements(prompts, responses)
        scores = np.full((len(judged), max(map(len, judged))), np.nan)
        self.n_unparsed_, without, first = 0, 0, None
        for i, row in enumerate(judged):
            for j, texts in enumerate(row):
                points = [p for p in map(read_score, texts) if p is not None]
                n_lost = self.n_judgements - len(points)
                first = first or (f"responses[{i}][{j}]" if n_lost > 0 else None)
                self.n_unparsed_ += n_lost
                without += not points
                if points:
                    scores[i, j] = np.mean(points)
        if self.n_unparsed_:
            n = self.n_judgements * sum(map(len, judged))
            warn(
                f'{self.n_unparsed_} of {n} judgements have no "Score: n" from 0 to 5 that can be '
                f"read (first: {first}); {without} responses have no other and get NaN. Take a "
                "larger judge, or a generator with more max_new_tokens."
            )
        return scores

    def judgements(self, prompts, responses):
        """Return the texts of the judgements.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        list of list of list of str
            For each response of each prompt its judgements, empty ones left out.

        Raises
        ------
        ValueError
            If a text is malformed, the instruction lacks a field, `model_name` or `random_state`
            is given along with a generator that has its own, or not even the instruction fits
            the judge's context.
        """
        generator, questions, _, where = self._read(prompts, responses)
        judged = [[] for _ in responses]
        if not questions:
            return judged
        rows = [{"prompt": [{"role": "user", "content": text}]} for text in questions]
        with warnings.catch_warnings():  # both are said by n_unparsed_, and in terms of responses
            warnings.filterwarnings("ignore", ".*(responses are empty|identical responses)")
            answers = generator.transform(rows)
        if len(answers) != len(rows):
            raise ValueError(
                f"{type(generator).__name__} returned {len(answers)} candidate rows for "
                f"{len(rows)} questions; expected as many, in their order."
            )
        for (i, _), row in zip(where, answers, strict=True):
            judged[i].append(list(row["responses"]))
        return judged

    def rendered(self, prompts, responses):
        """Return the texts that the judge reads, cut and escaped; nothing is generated.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        list of str
            One for each response, prompt by prompt. With another generator than a
            :class:`ResponseGenerator` they are what its user says, without a chat template.

        Raises
        ------
        ValueError
            As :meth:`judgements`.
        """
        return self._read(prompts, responses)[2]

    def _fitted_generator(self):
        """Return the generator, fitted, with as many samples as there are judgements."""
        if self.generator is None:
            generator = ResponseGenerator(
                self.model_name, temperature=0.7, top_p=0.9, random_state=self.random_state
            )
        else:
            generator = clone(self.generator)
        parameters = generator.get_params(deep=False)
        if "n_samples" not in parameters:
            raise ValueError(
                f"generator: {type(generator).__name__} has no parameter n_samples, which says how "
                "many judgements it samples."
            )
        if self.generator is not None and self.model_name != MODEL:
            raise ValueError(
                f"model_name={str(self.model_name)!r} has no effect beside a generator, which "
                "has its own model."
            )
        if self.generator is not None and self.random_state is not None:
            if parameters.get("random_state", 0) is not None:
                raise ValueError("random_state has no effect: the generator has its own, or none.")
            generator.set_params(random_state=draw_seed(self.random_state))
        if "overlong" in parameters:  # never cut the instruction
            generator.set_params(overlong="raise")
        return generator.set_params(n_samples=self.n_judgements).fit()

    def _read(self, prompts, responses):
        """Return the generator, fitted, what it is asked, and where the responses are."""
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        where, place = places(items)
        texts = [(plain_text(prompts[i]), plain_text(items[i, j])) for i, j in where]
        instruction = RUBRIC if self.instruction is None else self.instruction
        question(instruction, "", "")
        generator = self._fitted_generator()
        self.n_overlong_ = 0
        if not isinstance(generator, ResponseGenerator):
            asked = [question(instruction, *both) for both in texts]
            return generator, asked, asked, where
        model = headed_model(generator, "causal")
        # What users wrote is data: no special token of theirs may begin or end a turn.
        escape = Escaped(model, generator.chat_template)
        limit = generator.context_ - generator.max_new_tokens
        questions = write_questions(
            model,
            instruction,
            [
                {"prompt": escape(prompt), "response": escape(response)}
                for prompt, response in texts
            ],
            generator.chat_template,
            limit,
            place,
            generator.system_prompt,
        )
        self.n_overlong_ = report_overlong(
            questions.overlong, limit, place, "their responses or prompts"
        )
        return generator, questions.contents, questions.texts, where


def question(instruction, prompt, response):
    """Put a prompt and a response into the instruction.

    Parameters
    ----------
    instruction : str
        Has ``{prompt}`` and ``{response}``.
    prompt, response : str
        The user's texts.

    Returns
    -------
    str
        What the judge reads.
    """
    return fill_in(instruction, prompt=prompt, response=response)


def read_score(judgement):
    """Read the points off a judgement.

    Parameters
    ----------
    judgement : str
        What the judge wrote.

    Returns
    -------
    float or None
        The number behind the last "Score:", from 0 to 5; None if there is no such number.
    """
    *_, last = (None, *_SCORE.finditer(judgement))
    points = last and _POINTS.match(judgement, last.end())
    if not points or _NOT_ALONE.match(judgement, points.end()):  # "4 to 5", "1 + 1"
        return None
    value = float(points[1])
    return value if value <= MAX_POINTS else None
