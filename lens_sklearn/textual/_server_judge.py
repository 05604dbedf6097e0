"""A model on a server as judge, read off the probabilities of one token."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from .._array_store import store_keys
from .._rows import read_dialogues
from .._warnings import warn
from ._conversations import fill_in, plain_text
from ._judge import Judge
from ._server_client import CHAT, SERVER_CONSTRAINTS, ServerClient, choice_of

SPACES = " \t\n\r\u0120\u2581\u010a"  # also as vocabularies write them: Ġ, ▁, Ċ
ROUNDING = 1e-3  # by which a log-probability may lie above 0
EARLY = 20  # questions after which a judge that answers none is given up
WITHOUT_LOGPROBS = (
    "the server gave no logprobs of the first token. vLLM, llama.cpp, TGI and newer versions of "
    "Ollama give them, up to a number that some limit (vLLM: --max-logprobs): lower top_logprobs, "
    "or take RubricLabeller(generator=ServerGenerator(...)), which reads the text of an answer."
)


class ServerJudge(Judge, BaseEstimator):
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
        To how many of its questions no answer was among the tokens. A rating is then NaN, no
        judgement; a comparison is left out of the means, which are NaN without any other.
    position_bias_, shown_first_
        As of :class:`SelfRewardingLabeller`.

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
            Larger is better; NaN is the padding of shorter lists, and no judgement.

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
        questions, place = self._questions(prompts, items)
        return self._scores(items, self._probabilities(questions, self._choices, place))

    def rendered(self, prompts, responses):
        """Return the questions to the judge; nothing is sent.

        Parameters
        ----------
        prompts : list of n prompts
            Strings or lists of ``{"role", "content"}`` messages.
        responses : list of n lists of responses
            Strings or lists of messages, up to k a prompt.

        Returns
        -------
        list of str
            One for each response, prompt by prompt; of "pairwise" one for each comparison. Each
            is a user's message; what the server's chat template puts around it is not known here.

        Raises
        ------
        ValueError
            If a text is malformed; the message names it.
        """
        self._validate_params()
        return self._questions(*read_dialogues(prompts, responses))[0]

    def _questions(self, prompts, items):
        instruction, matches, place = self._matches(items)
        prompts = [plain_text(prompt) for prompt in prompts]
        questions = [
            fill_in(
                instruction,
                prompt=prompts[i],
                **{name: plain_text(items[i, j]) for name, j in names.items()},
            )
            for i, names in matches
        ]
        return questions, place

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
            f"none of {', '.join(choices)} among its {self.top_logprobs} likeliest tokens: no "
            "judgement, NaN where there is no other."
        )
        probabilities[unanswered] = np.nan
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
        first = content[0] if content else {"top_logprobs": []}  # nothing: it ended at once
        entries = first.get("top_logprobs") if isinstance(first, dict) else None
        if not isinstance(entries, list) or (content and not entries):
            raise ValueError(WITHOUT_LOGPROBS)
        masses = np.zeros(len(self.choices), dtype=np.float32)
        for entry in entries:
            token, logprob = _read_entry(entry)
            token = token.strip(SPACES)
            if len(token) == 1 and token in self.choices:
                masses[self.choices.index(token)] += np.exp(logprob)
        self.n_read += 1
        self.n_answered += masses.any()
        if self.n_read == EARLY and not self.n_answered:
            tokens = [str(entry["token"]) for entry in entries[:3]]
            raise ValueError(f"{_no_answer(self.choices)} Its likeliest tokens: {tokens}.")
        return [masses / masses.sum() if masses.any() else masses]


def _read_entry(entry):
    """Return a token and its log-probability."""
    if not isinstance(entry, dict) or not {"token", "logprob"} <= entry.keys():
        raise ValueError("expected entries of 'top_logprobs' with a token and its logprob.")
    logprob = entry["logprob"]
    is_number = isinstance(logprob, Real) and not isinstance(logprob, bool)
    if not is_number or not logprob <= ROUNDING:  # not for NaN
        raise ValueError(
            f"the logprob of {str(entry['token'])!r:.40} is {logprob!r:.40}; expected a number, "
            "and no log-probability is above 0."
        )
    return str(entry["token"]), float(logprob)


def _no_answer(choices):
    return (
        f"the judge answers no question by {', '.join(choices)}. A model that reasons first needs "
        "that turned off (extra_body), another one an instruction that ends where the answer "
        "begins; RubricLabeller(generator=ServerGenerator(...)) reads the text of an answer."
    )
