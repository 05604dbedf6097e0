"""The application: its paths, what it takes and what it answers."""

import asyncio
import logging
import math
import re
from contextlib import asynccontextmanager
from numbers import Integral, Real
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from sklearn.utils._param_validation import Interval, validate_params
from sklearn.utils.validation import check_is_fitted
from starlette.exceptions import HTTPException

from .._reward_function import candidate_row, returns_std, split_queries
from .._row_scores import Scores, score_rows
from ..export import versions
from ._batcher import Batcher, QueueFull
from ._guard import Guard, to_bytes

LOG = logging.getLogger(__name__)
#: What is asked of a model before anybody else asks.
WARM_UP = {"prompt": "Is it warm?", "responses": ["Yes."]}
#: What pydantic calls faults, in words that fit all of them.
WORDS = {
    "extra_forbidden": "no such field; rows have 'prompt' and 'responses'",
    "missing": "this is missing",
    "model_attributes_type": "expected an object",
    "list_type": "expected a list",
    "string_type": "expected a text",
    "too_short": "the list is empty",
}
LONGEST_ERROR = 500  # characters: an error may repeat what a text says


def _check_text(value):
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(message, dict) for message in value):
        return value
    raise ValueError("expected a text, or a list of messages {'role': ..., 'content': ...}")


_MESSAGES = {"type": "array", "items": {"type": "object"}, "minItems": 1}
Text = Annotated[
    Any, AfterValidator(_check_text), WithJsonSchema({"anyOf": [{"type": "string"}, _MESSAGES]})
]


class Query(BaseModel):
    """What OpenRLHF sends. Fields of other versions are left alone."""

    query: list[str]
    prompts: list[str] | None = None
    labels: list[Any] | None = None


class Row(BaseModel):
    """A prompt and responses to it."""

    model_config = ConfigDict(extra="forbid")
    prompt: Text | None = None
    responses: list[Text] = Field(min_length=1)


class Rows(BaseModel):
    """Rows to score."""

    model_config = ConfigDict(extra="forbid")
    rows: list[Row]


class Answer(JSONResponse):
    """JSON in ASCII: an error may repeat half a character, which UTF-8 cannot write."""

    def render(self, content):
        """Return the bytes of an answer."""
        return to_bytes(content)


class Fault(Exception):
    """A request that has no answer: its status, what is wrong and where."""

    def __init__(self, status, error, field=None):
        super().__init__(error)
        self.status, self.error, self.field = status, error, field


class Service:
    """A reward, and what has been asked of it.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    name : str
        What it is called.
    batcher : Batcher
        What predicts.
    max_items : int
        Responses of a request.
    floor : float or None
        The reward of what cannot be scored, in ``/get_reward``.
    """

    def __init__(self, estimator, name, batcher, max_items, floor):
        self.estimator, self.name, self.batcher = estimator, name, batcher
        self.max_items, self.floor = max_items, floor
        self.n_requests = self.n_texts = 0
        self.statuses, self.versions = {}, versions()

    def count(self, status):
        """Count an answer."""
        self.n_requests += 1
        self.statuses[str(status)] = self.statuses.get(str(status), 0) + 1

    async def score(self, rows, n_texts):
        """Return scores or exceptions of rows; one too many, or no room, is a fault."""
        if n_texts > self.max_items:
            raise Fault(413, f"{n_texts} responses; a request may have {self.max_items}.")
        if not rows:
            return []
        try:
            found = await self.batcher.submit(rows)
        except QueueFull:
            raise Fault(503, "too many texts wait; try again soon.") from None
        self.n_texts += n_texts
        return found

    async def score_rows(self, rows):
        """Answer ``/score``."""
        given = [row.model_dump(exclude_none=True) for row in rows]
        found = await self.score(given, sum(len(row.responses) for row in rows))
        _raise_first(found, "rows", range(len(found)))
        answer = {"rewards": [[_number(r) for r in one.rewards] for one in found]}
        if self.batcher.has_deviation:
            answer["deviations"] = [[_number(d) for d in one.deviations] for one in found]
        return answer

    async def score_queries(self, query, prompts):
        """Answer ``/get_reward``: a number for every query, whatever it is."""
        n = len(query)
        if prompts is not None and len(prompts) != n:
            raise Fault(422, f"got {n} queries and {len(prompts)} prompts.", "prompts")
        pairs = split_queries(query, prompts) if prompts is not None else ([None] * n, list(query))
        rows = [candidate_row(*both) for both in zip(*pairs, strict=True)]
        places = [i for i, row in enumerate(rows) if row]
        found = await self.score([rows[i] for i in places], n)
        if self.floor is None:
            _raise_first(found, "query", places)
        rewards, deviations = [math.nan] * n, [0.0] * n
        for i, one in zip(places, found, strict=True):
            if isinstance(one, Scores):
                rewards[i] = one.rewards[0]
                if self.batcher.has_deviation and math.isfinite(one.deviations[0]):
                    deviations[i] = one.deviations[0]
        floor = self.floor
        if floor is None:
            floor = min(filter(math.isfinite, rewards), default=0.0)
        rewards = [r if math.isfinite(r) else floor for r in rewards]
        logs = {f"{self.name}_std": deviations} if self.batcher.has_deviation else {}
        return {"rewards": rewards, "scores": rewards, "extra_logs": logs}

    def health(self, is_trusted):
        """Answer ``/health``; who shows no token learns no more than whether it is ready."""
        ready = {"ready": self.batcher.is_alive()}
        if not is_trusted:
            return ready
        return ready | {
            "model": self.name,
            "versions": self.versions,
            "requests": self.n_requests,
            "statuses": self.statuses,
            "texts": self.n_texts,
            "batches": self.batcher.n_batches,
            "waiting": self.batcher.n_queued,
        }


def _raise_first(found, name, places):
    """Raise what was wrong with the first row that has no scores."""
    failed = [(i, one) for i, one in zip(places, found, strict=True) if not isinstance(one, Scores)]
    if not failed:
        return
    place, error = failed[0]
    field = f"{name}[{place}]"
    if isinstance(error, ValueError):
        # Rows were read by themselves or in the batch of others: their number is of no use.
        words = re.sub(r"^row \d+[,:]? *", "", str(error))
        inside = words.startswith(("responses[", "column "))
        words = f"{field}{', ' if inside else ': '}{words}"[:LONGEST_ERROR]
        more = f" {len(failed)} of {len(found)} are refused." if len(failed) > 1 else ""
        raise Fault(400, f"{words}{more}", field)
    LOG.error("the model failed at %s", field, exc_info=error)
    raise Fault(500, f"{field}: the model failed ({type(error).__name__}).", field)


def _number(value):
    return value if math.isfinite(value) else None


def _check_token(token):
    if token is None:
        return
    if not isinstance(token, str):
        raise TypeError(f"token must be a str or None, got {type(token).__name__}.")
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError(
            "token has to be ASCII characters without white space, and not empty as an environment "
            "variable that is not set; None asks for none."
        )


@validate_params(
    {
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_wait_ms": [Interval(Real, 0, None, closed="left")],
        "max_queue": [Interval(Integral, 1, None, closed="left")],
        "max_items": [Interval(Integral, 1, None, closed="left")],
        "max_body_mb": [Interval(Real, 0, None, closed="neither")],
        "body_seconds": [Interval(Real, 0, None, closed="neither")],
        "floor": [Interval(Real, None, None, closed="neither"), None],
    },
    prefer_skip_nested_validation=False,
)
def make_app(
    estimator,
    *,
    name="lens_reward",
    token=None,
    batch_size=64,
    max_wait_ms=5.0,
    max_queue=16384,
    max_items=4096,
    max_body_mb=16.0,
    body_seconds=30.0,
    floor=None,
):
    """Make a fitted reward an application for uvicorn or any other ASGI server.

    Parameters
    ----------
    estimator : estimator
        Fitted; its ``predict`` takes candidate rows of text. It is asked for one text here, so
        that its language model is in memory before the first request.
    name : str, default="lens_reward"
        What ``/health`` and logs call it.
    token : str, default=None
        What requests have to show. None asks for none, and answers to requests for localhost
        only.
    batch_size : int, default=64
        Responses that are predicted at once.
    max_wait_ms : float, default=5.0
        Milliseconds that a request waits for others at most.
    max_queue : int, default=16384
        Responses that may wait; beyond, the answer is 503.
    max_items : int, default=4096
        Responses of a request; beyond, the answer is 413.
    max_body_mb : float, default=16.0
        Size of a request's body, in MB of 2**20 bytes; beyond, the answer is 413.
    body_seconds : float, default=30.0
        Time for a body to arrive; beyond, the answer is 408.
    floor : float, default=None
        The reward in ``/get_reward`` of what cannot be scored. None is the lowest reward of the
        request for what is empty, and an error for what is refused.

    Returns
    -------
    fastapi.FastAPI
        With ``POST /get_reward``, ``POST /score`` and ``GET /health``.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If a request of `max_items` would find no room in the queue, a number is out of range, or
        the token is empty or no header can hold it.

    Notes
    -----
    Run it in one process: each one loads the model, and batches by itself.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from lens_sklearn.serving import make_app
    >>> class Length(BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         return self
    ...     def predict(self, rows):
    ...         return [[len(text) for text in row["responses"]] for row in rows]
    ...     def __sklearn_is_fitted__(self):
    ...         return True
    >>> app = make_app(Length())
    >>> import uvicorn
    >>> uvicorn.run(app)  # doctest: +SKIP
    """
    _check_token(token)
    check_is_fitted(estimator)
    if max_queue < max_items:
        raise ValueError(
            f"max_queue={max_queue} has no room for a request of max_items={max_items}."
        )
    has_deviation = returns_std(estimator)
    (warm,) = score_rows(estimator, [WARM_UP], has_deviation)
    if isinstance(warm, Exception):
        raise warm
    batcher = Batcher(estimator, has_deviation, batch_size, max_wait_ms / 1000, max_queue)
    service = Service(estimator, name, batcher, max_items, floor)

    @asynccontextmanager
    async def lifespan(app):
        batcher.start(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(batcher.close)

    # The pages that FastAPI draws load scripts from elsewhere, so they are left out.
    app = FastAPI(title=name, lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_paths(app, service)
    app.add_middleware(
        Guard,
        token=token,
        max_body=int(max_body_mb * 2**20),
        body_seconds=body_seconds,
        count=service.count,
    )
    return app


def _add_paths(app, service):
    """Add what can be asked, and how it is answered that a request has a fault."""

    @app.post("/get_reward")
    async def get_reward(body: Query):
        """Score queries as OpenRLHF asks for it."""
        return Answer(await service.score_queries(body.query, body.prompts))

    @app.post("/score")
    async def score(body: Rows):
        """Score the responses of rows."""
        return Answer(await service.score_rows(body.rows))

    @app.get("/health")
    async def health(request: Request):
        """Tell whether it is ready, which model it is and what it has done."""
        return Answer(service.health(request.scope["is_trusted"]))

    @app.exception_handler(RequestValidationError)
    async def malformed(request, error):
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            where, what = first["loc"][-1], first["ctx"]["error"]
            return Answer({"error": f"the body is no JSON: {what}, at character {where}."}, 400)
        field = _path(first["loc"])
        words = WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        return Answer({"error": f"{field}: {words}."[:LONGEST_ERROR], "field": field}, 422)

    @app.exception_handler(Fault)
    async def faulty(request, fault):
        content = {"error": fault.error} | ({"field": fault.field} if fault.field else {})
        headers = {"Retry-After": "1"} if fault.status == 503 else None
        return Answer(content, fault.status, headers)

    @app.exception_handler(HTTPException)
    async def refused(request, error):
        words = f"{error.detail}."
        if error.status_code == 400:  # what Python's reader of JSON gives up on
            words = "the body is no JSON: not UTF-8, nested too deeply, or with a huge number."
        return Answer({"error": words}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request, error):
        return Answer({"error": f"the server failed ({type(error).__name__})."}, 500)


def _path(loc):
    """Return a place in the body as one writes it: rows[3].responses[0]."""
    text = ""
    for part in loc[1:]:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "body"
