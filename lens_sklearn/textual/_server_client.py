"""Requests to a server that speaks OpenAI's protocol: side by side, retried, kept on disk."""

import asyncio
import json
import os
import queue
import threading
from numbers import Integral, Real
from urllib.parse import urlsplit

import numpy as np
from sklearn.utils._param_validation import Interval

from .._array_store import ArrayStore
from .._progress import progress_bar
from ._extras import import_extra

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
NO_KEY = "none"  # a server on one's own machine asks for no key, the client's package does
NOT_EXTRA = ("model", "messages", "input", "seed", "n", "stream")
LONGEST_MESSAGE = 300  # characters of what a server says

#: Constraints of the parameters that everything that asks a server has.
SERVER_CONSTRAINTS = {
    "model": [str],
    "base_url": [str],
    "api_key_env": [str],
    "n_concurrent": [Interval(Integral, 1, None, closed="left")],
    "max_retries": [Interval(Integral, 0, None, closed="left")],
    "timeout": [Interval(Real, 0, None, closed="neither")],
    "store": [str, os.PathLike, None],
    "extra_body": [dict, None],
    "show_progress": ["boolean", None],
}


class ServerClient:
    """The client of one piece of work; nothing of it outlives a call, the key least of all.

    Parameters
    ----------
    estimator : estimator
        Has the parameters of `SERVER_CONSTRAINTS`.
    path : {CHAT, EMBEDDINGS}
        Where requests go, behind ``base_url``.
    body : dict
        What all requests have in common.

    Raises
    ------
    ImportError
        If the extra is not installed.
    ValueError
        If the address or the key's name is none, or ``extra_body`` has a field that is set here.
    OSError
        If the store cannot be written.
    """

    def __init__(self, estimator, path, body):
        import_extra("openai", "server")
        _check_address(estimator.base_url)
        _check_key_name(estimator.api_key_env)
        extra = estimator.extra_body or {}
        own = sorted({*NOT_EXTRA, *body} & set(extra))
        if own:
            raise ValueError(
                f"extra_body has {own[0]!r}, which {type(estimator).__name__} sets itself, by its "
                "parameters or because it could not read other answers."
            )
        try:
            json.dumps(extra)
        except (TypeError, ValueError) as error:
            raise ValueError(f"extra_body cannot be written as JSON ({error}).") from None
        self.estimator = estimator
        self.path = path
        self.body = {"model": estimator.model, **body}
        self.extra = extra
        self.store = None if estimator.store is None else ArrayStore(estimator.store)

    @property
    def settings(self):
        """All that an answer depends on besides its own part of a request; a dict."""
        return {"server": self.estimator.base_url, "path": self.path, **self.body, **self.extra}

    def ask(self, keys, own, read, place, *, per_request=1, desc="Asking"):
        """Ask for what is not in the store; equal keys are asked once.

        Parameters
        ----------
        keys : list of bytes
            What tells the items apart, n of them.
        own : callable
            Takes a list of items' numbers and returns their part of a request, a dict.
        read : callable
            Takes an answer and the numbers, and returns their vectors; a ValueError says what
            is wrong with an answer.
        place : callable
            Names item number i in an error.
        per_request : int, default=1
            Items of one request.
        desc : str, default="Asking"
            What the progress bar says.

        Returns
        -------
        vectors : list of ndarray of float32
            One an item.
        n_asked : int
            How many different items were not in the store.

        Raises
        ------
        RuntimeError
            If a request failed after all retries. What was answered is in the store.
        """
        first = {}
        for i, key in enumerate(keys):
            first.setdefault(key, i)
        found = dict.fromkeys(first)
        if self.store is not None:
            found = dict(zip(first, self.store.get_each(list(first)), strict=True))
        missing = [i for key, i in first.items() if found[key] is None]
        groups = [missing[j : j + per_request] for j in range(0, len(missing), per_request)]
        with progress_bar(self.estimator.show_progress, len(missing), desc) as bar:

            def keep(answers):
                """Write answers as they come, several at once where they do."""
                numbers = [i for group, _ in answers for i in group]
                vectors = [vector for _, new in answers for vector in new]
                own_keys = [keys[i] for i in numbers]
                if self.store is not None:
                    self.store.put_many(own_keys, vectors)
                found.update(zip(own_keys, vectors, strict=True))
                bar.update(len(numbers))

            failure = _Requests(self, groups, own, read).run(keep)
        if failure is not None:
            self._raise(failure, place, sum(v is not None for v in found.values()), len(found))
        return [found[key] for key in keys], len(missing)

    def _raise(self, failure, place, n_done, n):
        group, reason = failure
        kept = "are in the store: running again asks for the others alone"
        if self.store is None:
            kept = "are lost; with a store= running again asks for the others alone"
        raise RuntimeError(
            f"{place(group[0])}: {reason} {n_done} of {n} answers came before, and {kept}."
        )

    def open(self):
        """Return openai's asynchronous client; what closes it is ``async with``."""
        estimator = self.estimator
        return import_extra("openai", "server").AsyncOpenAI(
            api_key=self._key(),
            base_url=estimator.base_url,
            timeout=float(estimator.timeout),
            max_retries=int(estimator.max_retries),
        )

    async def send(self, api, own):
        """Send one request.

        Parameters
        ----------
        api : openai.AsyncOpenAI
            As :meth:`open` returns it.
        own : dict
            Its own part.

        Returns
        -------
        object
            The answer's JSON, as it is: the package's classes take anything for an answer.
        """
        resource = api.embeddings if self.path == EMBEDDINGS else api.chat.completions
        create = resource.with_raw_response.create
        response = await create(**self.body, **own, extra_body=self.extra)
        return response.http_response.json()

    def reason(self, error):
        """Say why a request failed, without the key and with what would help.

        Parameters
        ----------
        error : Exception
            What the request raised.

        Returns
        -------
        str
            Sentences.
        """
        openai, estimator = import_extra("openai", "server"), self.estimator
        url = f"{estimator.base_url.rstrip('/')}{self.path}"
        if isinstance(error, openai.APIStatusError):
            text = f"{url} answered {error.status_code}: {self._clean(_message_in(error.body))}."
            hint = {
                401: f"Is the environment variable {estimator.api_key_env} set to its key?",
                403: f"May the key in the environment variable {estimator.api_key_env} do this?",
                404: f"Is {estimator.model!r} the model's name there, and base_url as the server "
                "says, mostly with /v1 at its end?",
                429: "Lower n_concurrent, or raise max_retries.",
            }.get(error.status_code)
        elif isinstance(error, openai.APITimeoutError):
            text = f"{url} did not answer within timeout={estimator.timeout} seconds."
            hint = "Raise the timeout, or lower n_concurrent."
        elif isinstance(error, openai.APIConnectionError):
            text = f"{url} cannot be reached ({self._clean(error.__cause__ or error)})."
            hint = "Is the server running, and base_url its address?"
        else:
            text, hint = f"{url} gave an answer that cannot be read: {self._clean(error)}", None
        return text if hint is None else f"{text} {hint}"

    def _key(self):
        # A line break behind it, as files have, is no header, and the error would show the key.
        return os.environ.get(self.estimator.api_key_env, "").strip() or NO_KEY

    def _clean(self, message):
        """Write a message on one line, without the key, which some servers repeat."""
        text = " ".join(str(message).split())
        if self._key() != NO_KEY:
            text = text.replace(self._key(), "***")
        return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]}…"


class _Requests:
    """Requests side by side in an event loop of a thread of its own.

    An interrupt cancels them, so that the server stops working on them too; in a notebook, whose
    own loop is running, this works as well.
    """

    def __init__(self, client, groups, own, read):
        self.client, self.own, self.read = client, own, read
        self.waiting = iter(groups)
        self.n_workers = min(client.estimator.n_concurrent, len(groups))
        self.done, self.failure = queue.Queue(), None

    def run(self, keep):
        """Ask all; return what failed first, or None."""
        if not self.n_workers:
            return None
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            work = asyncio.run_coroutine_threadsafe(self._work(), loop)
            while answers := self._arrived():
                keep(answers)
            work.result()
        finally:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
        return self.failure

    def _arrived(self):
        """Wait for answers and return all that are there; nothing at the end."""
        answers = []
        while True:
            try:
                # Without a timeout the wait cannot be interrupted on all systems.
                answer = self.done.get(timeout=None if answers else 0.5, block=not answers)
            except queue.Empty:
                if answers:
                    return answers
                continue
            if answer is None:
                self.done.put(None)  # for the next call
                return answers
            answers.append(answer)

    async def _work(self):
        try:
            async with self.client.open() as api:
                await asyncio.gather(*(self._worker(api) for _ in range(self.n_workers)))
        finally:
            self.done.put(None)

    async def _worker(self, api):
        for group in self.waiting:
            if self.failure is not None:
                return  # the others end what they began, and it is kept
            try:
                answer = await self.client.send(api, self.own(group))
                self.done.put((group, self.read(_checked(answer), group)))
            except Exception as error:  # whatever it is, it is said once, without the key
                self.failure = self.failure or (group, self.client.reason(error))


async def _cancel_all():
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def choice_of(answer):
    """Return the one choice of a chat's answer.

    Parameters
    ----------
    answer : dict
        What the server said.

    Returns
    -------
    dict
        The choice.

    Raises
    ------
    ValueError
        If there is not exactly one.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError(f"expected 'choices' with one entry, got {_shown(choices)}.")
    return choices[0]


def pack_text(*texts):
    """Write texts as a vector of whole numbers, for the store.

    Parameters
    ----------
    *texts : str
        The texts.

    Returns
    -------
    ndarray of float32
        Three bytes of JSON each, which float32 holds exactly.

    Examples
    --------
    >>> unpack_text(pack_text("ja, é", "stop"))
    ['ja, é', 'stop']
    """
    content = json.dumps(texts, ensure_ascii=True).encode()
    content += b" " * (-len(content) % 3)
    triples = np.frombuffer(content, dtype=np.uint8).reshape(-1, 3).astype(np.float32)
    return triples @ np.array([1, 256, 65536], dtype=np.float32)


def unpack_text(vector):
    """Read what :func:`pack_text` wrote.

    Parameters
    ----------
    vector : ndarray of float32
        The vector.

    Returns
    -------
    list of str
        The texts.
    """
    return json.loads(vector.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes())


def _checked(answer):
    """Return an answer that is an object of JSON and no error."""
    if not isinstance(answer, dict):
        raise ValueError(f"expected an object of JSON, got {_shown(answer)}.")
    if answer.get("error"):
        raise ValueError(f"the error {_shown(_message_in(answer))}.")
    return answer


def _message_in(body):
    """Return the message in the body of an error, which servers write in several ways."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return str(error)


def _shown(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _check_address(url):
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"base_url={url!r:.80} is no address of a server, such as 'http://127.0.0.1:8000/v1'."
        )
    if parts.username is not None or parts.password is not None or parts.query:
        raise ValueError(
            "base_url holds a name, a password or a query, which would stand in logs and in the "
            "store. Put the key into an environment variable, and its name into api_key_env."
        )


def _check_key_name(name):
    # A key that was given in place of a name is not repeated in the message.
    if not name.isidentifier() or (name not in os.environ and name != name.upper()):
        raise ValueError(
            "api_key_env is the name of an environment variable that holds the server's key, such "
            "as 'OPENAI_API_KEY', and never the key itself; there is no variable of the name "
            "that was given."
        )
