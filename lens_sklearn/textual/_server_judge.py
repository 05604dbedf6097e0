"""A model on a server as judge, read off the probabilities of one token."""

from itertools import permutations
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from .._array_store import store_keys
from .._rows import read_dialogues
from .._warnings import warn
from ._conversations import fill_in, plain_text
from ._labelling import places
from ._self_rewarding import PAIRWISE, POINTWISE
from ._server_client import CHAT, SERVER_CONSTRAINTS, ServerClient, choice_of

SPACES = " \t\n\r\u0120\u2581\u010a"  # also as vocabularies write them: Ġ, ▁, Ċ
EARLY = 20  # questions after which a judge that answers none is given up
WITHOUT_LOGPROBS = (
    "the server gave no logprobs of the first token. vLLM, llama.cpp, TGI and newer versions of "
    "Ollama give them, up to a number that some limit (vLLM: --max-logprobs): lower top_logprobs, "
    "or take RubricLabeller(generator=ServerGenerator(...)), which reads the text of an answer."
)


class ServerJudge(BaseEstimator):
    """Label responses with a model on a server as judge.

    The questions are those of :class:`SelfRewardingLabeller`, and so is the way to read the
    answer: the expected rating, or A against B, under the probabilities of the first token,
    which the server returns as ``logprobs``. Nothing is parsed from a text.

    Parameters
    ----------
    model : str
        The model's name on the server.
    mode : {"pointwise", "pairwise"}, default="pointwise"
        "pointwise" rates each response from 1 to 5. "pairwise" compares all pairs of a prompt's
        responses, each in both orders; the score is the mean probability of beating another.
    instruction : str, default=None
        Another text for the judge, as in :class:`SelfRewardingLabeller`.
    base_url : str, default="http://127.0.0.1:8000/v1"
        The server's address.
    api_key_env : str, default="OPENAI_API_KEY"
        As in :class:`ServerGenerator`.
    top_logprobs : int, default=20
        How many of the likeliest tokens the server is asked for. An answer that is not among
        them counts as impossible.
    n_concurrent : int, default=8
        Requests that are under way at a time.
    max_retries : int, default=5
        As in :class:`ServerGenerator`.
    timeout : float, default=60
        Seconds without a byte after which a request counts as lost.
    store : str or Path, default=None
        A folder that keeps answers: a run that was killed or failed goes on where it ended and
        asks nothing twice.
    extra_body : dict, default=None
        Further fields of a request, such as vLLM's
        ``{"chat_template_kwargs": {"enable_thinking": False}}``.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_asked_ : int
        How many different questions of the latest ``score`` were sent, the others being in the
        store.
    n_unanswered_ : int
        To how many of its questions no answer was among the tokens; they count as undecided,
        which is a rating of 3, or one half.

    See Also
    --------
    SelfRewardingLabeller : The same with a network in this process.

    Notes
    -----
    The server's chat template reads the texts: one that holds special tokens may write turns of
    its own there. A question that is too long is the server's to refuse or to cut.

    Examples
    --------
    >>> from lens_sklearn.textual import ServerJudge
    >>> judge = ServerJudge("Qwen/Qwen2.5-7B-Instruct", mode="pairwise")
    >>> judge.score(["2 + 2?"], [["4", "A fish."]])  # doctest: +SKIP
    array([[0.98, 0.02]])
    """

    _parameter_constraints = SERVER_CONSTRAINTS | {
        "mode": [StrOptions({"pointwise", "pairwise"})],
        "instruction": [str, None],
        "top_logprobs": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        model,
        *,
        mode="pointwise",
        instruction=None,
        base_url="http://127.0.0.1:8000/v1",
        api_key_env="OPENAI_API_KEY",
        top_logprobs=20,
        n_concurrent=8,
        max_retries=5,
        timeout=60,
        store=None,
        extra_body=None,
        show_progress=None,
    ):
        self.model = model
        self.mode = mode
        self.instruction = instruction
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.top_logprobs = top_logprobs
        self.n_concurrent = n_concurrent
        self.max_retries = max_retries
        self.timeout = timeout
        self.store = store
        self.extra_body = extra_body
        self.show_progress = show_progress

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
            Larger is better; NaN is the padding of shorter lists.

        Raises
        ------
        ValueError
            If a text is malformed, or a parameter is of no use.
        RuntimeError
            If a request failed after all retries, the server gives no logprobs, or the model
            answers no question by a rating or by A or B; the message names the response.

        Warns
        -----
        UserWarning
            If some questions are not answered so.
        """
        self._validate_params()
        prompts, items = read_dialogues(prompts, responses)
        scores = np.full(items.shape, np.nan)
        score = self._compare if self.mode == "pairwise" else self._rate
        score(prompts, items, scores)
        return scores

    def _rate(self, prompts, items, scores):
        """Give each response the rating that is expected under the digits' probabilities."""
        where, place = places(items)
        questions = [
            fill_in(
                self.instruction or POINTWISE,
                prompt=plain_text(prompts[i]),
                response=plain_text(items[i, j]),
            )
            for i, j in where
        ]
        probabilities = self._probabilities(questions, "12345", place)  # (m, 5)
        scores[tuple(where.T)] = probabilities @ np.arange(1, 6)

    def _compare(self, prompts, items, scores):
        """Give each response its mean probability of beating another of its prompt."""
        matches, questions = [], []
        for i, row in enumerate(items):
            present = [j for j, item in enumerate(row) if item is not None]
            scores[i, present] = 0.5 if len(present) == 1 else 0
            for first, second in permutations(present, 2):
                matches.append((i, first, second, len(present) - 1))
                questions.append(
                    fill_in(
                        self.instruction or PAIRWISE,
                        prompt=plain_text(prompts[i]),
                        first=plain_text(row[first]),
                        second=plain_text(row[second]),
                    )
                )

        def place(m):
            i, first, second, _ = matches[m]
            return f"responses[{i}][{first}] and [{second}]"

        probabilities = self._probabilities(questions, "AB", place)  # (m, 2)
        for (i, first, second, n_others), (a, b) in zip(matches, probabilities, strict=True):
            scores[i, first] += a / (2 * n_others)
            scores[i, second] += b / (2 * n_others)

    def _probabilities(self, questions, choices, place):
        """Return the probabilities of the answers to questions, shape (n, len(choices))."""
        body = {
            "max_tokens": 1,
            "temperature": 1.0,  # some servers return the probabilities of what they sample from
            "logprobs": True,
            "top_logprobs": int(self.top_logprobs),
        }
        client = ServerClient(self, CHAT, body)
        vectors, self.n_asked_ = client.ask(
            store_keys({**client.settings, "choices": choices}, questions),
            lambda group: {"messages": [{"role": "user", "content": questions[group[0]]}]},
            _Answers(choices).read,
            place,
            desc="Judging",
        )
        probabilities = np.array(vectors, dtype=float).reshape(-1, len(choices))
        unanswered = probabilities.sum(axis=1) == 0
        self.n_unanswered_ = int(unanswered.sum())
        if not self.n_unanswered_:
            return probabilities
        first = place(int(np.flatnonzero(unanswered)[0]))
        if unanswered.all():
            raise RuntimeError(f"{first}: {_no_answer(choices)}")
        warn(
            f"{self.n_unanswered_} of {len(questions)} questions to the judge (first: {first}) got "
            f"none of {', '.join(choices)} among its {self.top_logprobs} likeliest tokens; they "
            "count as undecided."
        )
        probabilities[unanswered] = 1 / len(choices)
        return probabilities


class _Answers:
    """Read answers, and give a judge up early that answers by other words alone."""

    def __init__(self, choices):
        self.choices = choices
        self.n_read = self.n_answered = 0

    def read(self, answer, group):
        """Return the probabilities of the choices, zeros where none was among the tokens."""
        logprobs = choice_of(answer).get("logprobs")
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        if not isinstance(content, list):
            raise ValueError(WITHOUT_LOGPROBS)
        entries = content[0].get("top_logprobs") if content else []  # nothing: it ended at once
        if content and not entries:
            raise ValueError(WITHOUT_LOGPROBS)
        masses = np.zeros(len(self.choices), dtype=np.float32)
        if not all(isinstance(e, dict) and {"token", "logprob"} <= e.keys() for e in entries):
            raise ValueError("expected entries of 'top_logprobs' with a token and its logprob.")
        for entry in entries:
            token = str(entry["token"]).strip(SPACES)
            if len(token) == 1 and token in self.choices:
                masses[self.choices.index(token)] += np.exp(float(entry["logprob"]))
        self.n_read += 1
        self.n_answered += masses.any()
        if self.n_read == EARLY and not self.n_answered:
            tokens = [str(entry["token"]) for entry in entries[:3]]
            raise ValueError(f"{_no_answer(self.choices)} Its likeliest tokens: {tokens}.")
        if not np.isfinite(masses).all():
            raise ValueError("a logprob is no finite number.")
        return [masses / masses.sum() if masses.any() else masses]


def _no_answer(choices):
    return (
        f"the judge answers no question by {', '.join(choices)}. A model that reasons first needs "
        "that turned off (extra_body), another one an instruction that ends where the answer "
        "begins; RubricLabeller(generator=ServerGenerator(...)) reads the text of an answer."
    )
