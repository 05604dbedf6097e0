"""Sample responses of a model on a server."""

from numbers import Real

from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval

from .._array_store import store_keys
from .._device import draw_seed
from .._messages import message_dicts
from ._sampled_rows import SAMPLING_CONSTRAINTS, SampledRows, row_name
from ._server_client import (
    CHAT,
    SERVER_CONSTRAINTS,
    ServerClient,
    choice_of,
    pack_text,
    unpack_text,
)

ENDS = ("stop", "eos_token", "stop_sequence")  # what servers call an end that the model chose


class ServerGenerator(SampledRows):
    """Sample responses to the prompts of rows on a server that speaks OpenAI's protocol.

    vLLM, Ollama, TGI and llama.cpp do. Every sample is a request of its own with a seed of its
    own, drawn from ``random_state``, the prompt and the sample's number; vLLM and llama.cpp
    compute the prompt once all the same.

    Parameters
    ----------
    model : str
        The model's name on the server.
    base_url : str, default="http://127.0.0.1:8000/v1"
        The server's address.
    api_key_env : str, default="OPENAI_API_KEY"
        Name of the environment variable that holds the server's key. The key is read for each
        call and kept nowhere. Without such a variable "none" is sent.
    n_samples : int, default=16
        Responses a prompt.
    temperature : float, default=1.0
        Divides the logits.
    top_p : float, default=1.0
        Samples among the likeliest tokens that have this much probability together.
    max_new_tokens : int, default=256
        Longest response.
    stop : list of str, default=None
        Texts that end a response, which the server cuts before the first of them.
    system_prompt : str, default=None
        A system message before each prompt that has none of its own.
    n_concurrent : int, default=8
        Requests that are under way at a time.
    max_retries : int, default=5
        How often a request is sent again after status 408, 409, 429 or 5xx, a lost connection or
        a timeout, with growing pauses or those that the server asks for.
    timeout : float, default=60
        Seconds without a byte after which a request counts as lost.
    store : str or Path, default=None
        A folder that keeps finished responses: a run that was killed or failed goes on where it
        ended and asks nothing twice. Needs a ``random_state``.
    random_state : int, RandomState instance or None, default=None
        Draws the seeds of the requests; with None no seed is sent.
    extra_body : dict, default=None
        Further fields of a request that a server understands, such as vLLM's
        ``{"top_k": 50, "min_p": 0.05}``.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    n_empty_ : int
        How many responses of the latest ``transform`` were empty, and left out.
    n_identical_ : int
        How many of its prompts got one and the same response all the time.
    n_cut_ : int
        How many responses were cut at ``max_new_tokens``.
    n_generated_ : int
        How many responses the server made, the others being in the store.

    See Also
    --------
    ResponseGenerator : The same with a network in this process.

    Notes
    -----
    What a parameter does not say is the server's to choose: vLLM applies the model's
    ``generation_config.json`` unless it is started with ``--generation-config vllm``, Ollama and
    llama.cpp sample with top-k, min-p and more of their own. Servers batch requests, so
    responses to the same seed are the same only as far as their arithmetic is.

    A record of the store is found again under the same address, model name and settings; a
    server does not say which weights it has.

    Examples
    --------
    >>> from lens_sklearn.textual import ServerGenerator
    >>> generator = ServerGenerator("Qwen/Qwen2.5-7B-Instruct", n_samples=4, random_state=0)
    >>> rows = generator.fit_transform([{"prompt": "Why is the sky blue?"}])  # doctest: +SKIP
    >>> sorted(rows[0]), len(rows[0]["responses"])  # doctest: +SKIP
    (['finish_reasons', 'prompt', 'responses'], 4)
    """

    _parameter_constraints = (
        SERVER_CONSTRAINTS
        | SAMPLING_CONSTRAINTS
        | {"temperature": [Interval(Real, 0, None, closed="left")]}
    )
    advice_if_identical = (
        "raise the temperature or max_new_tokens, or find out whether the server samples at all "
        "and reads a request's seed."
    )

    def __init__(
        self,
        model,
        *,
        base_url="http://127.0.0.1:8000/v1",
        api_key_env="OPENAI_API_KEY",
        n_samples=16,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=256,
        stop=None,
        system_prompt=None,
        n_concurrent=8,
        max_retries=5,
        timeout=60,
        store=None,
        random_state=None,
        extra_body=None,
        show_progress=None,
    ):
        self.model = model
        self.base_url = base_url
        self.api_key_env = api_key_env
        self.n_samples = n_samples
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.stop = stop
        self.system_prompt = system_prompt
        self.n_concurrent = n_concurrent
        self.max_retries = max_retries
        self.timeout = timeout
        self.store = store
        self.random_state = random_state
        self.extra_body = extra_body
        self.show_progress = show_progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Check the parameters; nothing is learnt, and the server is not asked yet.

        Parameters
        ----------
        X : rows of text, default=None
            Ignored.
        y : None
            Ignored.

        Returns
        -------
        ServerGenerator
            Itself, fitted.

        Raises
        ------
        ValueError
            If the address is none, ``store`` is given without a ``random_state``, or
            ``extra_body`` has a field that a parameter sets.
        ImportError
            If the extra ``server`` is not installed.
        OSError
            If the store cannot be written.
        """
        self._check()
        self._client()
        return self

    def _client(self):
        body = {
            "temperature": float(self.temperature),
            "top_p": float(self.top_p),
            "max_tokens": int(self.max_new_tokens),
        }
        if self.stop:
            body["stop"] = list(self.stop)
        return ServerClient(self, CHAT, body)

    def _sample(self, prompts):
        """Return (text, finish reason) of n_samples responses a prompt."""
        client, samples = self._client(), self._numbered(prompts)
        seed = None if self.random_state is None else draw_seed(self.random_state)
        digests = store_keys({"seed": seed}, samples)

        def own(group):
            (i,) = group
            message = {"messages": message_dicts(samples[i][0])}
            # 31 bits, which every server takes
            seeds = {} if seed is None else {"seed": int.from_bytes(digests[i][:4]) >> 1}
            return message | seeds

        vectors, self.n_generated_ = client.ask(
            store_keys({**client.settings, "seed": seed}, samples),
            own,
            _read_response,
            lambda i: row_name(i // self.n_samples),
            desc="Generating",
        )
        return self._by_prompt([tuple(unpack_text(vector)) for vector in vectors])

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_generated_")


def _read_response(answer, group):
    """Return the text and finish reason of an answer."""
    choice = choice_of(answer)
    message = choice.get("message")
    if not isinstance(message, dict) or "content" not in message:
        raise ValueError(f"expected a choice with a 'message', got {list(choice)}.")
    text = message["content"] or ""  # None: nothing but calls or reasoning
    if not isinstance(text, str):
        raise ValueError(f"expected a str as 'content', got {type(text).__name__}.")
    reason = str(choice.get("finish_reason") or "unknown")
    return [pack_text(text, "stop" if reason in ENDS else reason)]
