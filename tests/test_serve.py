"""Rewards over HTTP: answers, batches, limits, tokens, slow clients, and how it ends."""

import asyncio
import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from test_reward_function import Lengths, Spread
from tiny_models import WORDS, save_decoder, sentence

from lens_sklearn import LinearRewardRegressor, LLMEmbedder, cli, export

pytest.importorskip("fastapi", reason="of the extra serve")
pytest.importorskip("uvicorn", reason="of the extra serve")

from lens_sklearn._row_scores import Scores, score_rows
from lens_sklearn.serving import _server, make_app
from lens_sklearn.serving._batcher import Batcher, QueueFull

TOKEN = "a-token-of-32-characters-or-so-x"
QUICK = {"max_wait_ms": 0.0}


class Gate(BaseEstimator):
    """Rewards a response by its characters, once the gate is open; keeps what it was asked."""

    def __init__(self):
        self.calls, self.open = [], threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def fit(self):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, rows):
        self.entered.set()
        assert self.open.wait(30)
        self.calls.append([text for row in rows for text in row["responses"]])
        for row in rows:
            if "bad" in row["responses"]:
                raise ValueError("row 0, responses[0]: this is bad")
            if "broken" in row["responses"]:
                raise RuntimeError("out of memory")
        n = max(len(row["responses"]) for row in rows)
        found = np.full((len(rows), n), np.nan)
        for i, row in enumerate(rows):
            found[i, : len(row["responses"])] = [len(text) for text in row["responses"]]
        return found

    def shut(self):
        """Let the next call wait."""
        self.open.clear()
        self.entered.clear()


@contextmanager
def served(estimator, *, token=None, files=None, **settings):
    """Run a server in a thread; yield a client of it."""
    app = make_app(estimator, token=token, **(QUICK | settings))
    listener, ready = _server.bind("127.0.0.1", 0), threading.Event()
    server = _server.make_server(app, on_ready=ready.set, **(files or {}))
    thread = threading.Thread(target=_server.run_until_stopped, args=(server, listener))
    thread.start()
    try:
        assert ready.wait(30)
        yield Client(listener.getsockname()[1], server, thread)
    finally:
        getattr(estimator, "open", ready).set()  # a test that failed may have shut the gate
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


class Client:
    def __init__(self, port, server=None, thread=None):
        self.port, self.server, self.thread = port, server, thread

    def ask(self, method, path, body=None, headers=None, raw=False):
        """Return status, content and headers of an answer."""
        given = {"Content-Type": "application/json"} | (headers or {})
        body = body if raw or body is None else json.dumps(body)
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as line:
            line.request(method, path, body, {k: v for k, v in given.items() if v is not None})
            answer = line.getresponse()
            return answer.status, json.loads(answer.read()), dict(answer.getheaders())

    def score(self, *rows, **given):
        return self.ask("POST", "/score", {"rows": list(rows)}, **given)[:2]

    def get_reward(self, query, **given):
        return self.ask("POST", "/get_reward", {"query": query} | given)[:2]

    def health(self, **given):
        return self.ask("GET", "/health", **given)[1]

    def in_thread(self, *rows):
        """Ask for scores in a thread; return what will hold the answer."""
        future = []
        thread = threading.Thread(target=lambda: future.append(self.score(*rows)))
        thread.start()
        return thread, future

    def connect(self):
        return closing(socket.create_connection(("127.0.0.1", self.port), timeout=10))


def row(*responses, **given):
    return {"responses": list(responses), **given}


def until(holds, seconds=20):
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# ------------------------------------------------------------------------------------ answers
@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Return a fitted pipeline of a tiny decoder, and the folder it is saved in."""
    folder = tmp_path_factory.mktemp("serve")
    random_state = np.random.RandomState(0)
    pairs = [
        {"prompt": f"why {WORDS[i]}", "chosen": sentence(random_state, 6), "rejected": "no"}
        for i in range(20)
    ]
    embedder = LLMEmbedder(save_decoder(folder / "model"), device="cpu", pooling="mean")
    pipeline = make_pipeline(embedder, LinearRewardRegressor()).fit(pairs)
    export.save(pipeline, folder / "reward")
    return pipeline, folder / "reward"


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"batch_size": 7, "max_wait_ms": 20.0}])
def test_rewards_are_those_of_predict_whatever_the_batches(fitted, settings):
    random_state = np.random.RandomState(1)
    rows = [
        row(*(sentence(random_state, n) for n in range(2, 2 + k)), prompt=f"was {WORDS[k]}")
        for k in (1, 4, 2, 3) * 3
    ]
    rows[0]["prompt"] = [{"role": "user", "content": "was the"}]
    rows[1]["responses"][0] = [{"role": "assistant", "content": "the cat sat"}]
    expected = [fitted[0].predict([one])[0] for one in rows]
    with served(fitted[0], **settings) as client:
        status, found = client.score(*rows)
        assert status == 200
        asked = [client.in_thread(one) for one in rows]
        for thread, _ in asked:
            thread.join()
    for i, values in enumerate(expected):
        np.testing.assert_allclose(found["rewards"][i], values, atol=1e-6)
        np.testing.assert_allclose(asked[i][1][0][1]["rewards"][0], values, atol=1e-6)


def test_openrlhf_gets_a_number_for_every_query():
    with served(Lengths()) as client:
        status, found = client.get_reward(
            ["ask xx", "ask xxxx", "ask "], prompts=["ask "] * 3, labels=["l", 1, None], more=1
        )
        assert status == 200
        assert found == {"rewards": [2, 4, 2], "scores": [2, 4, 2], "extra_logs": {}}
        assert client.get_reward(["ask xx"])[1]["rewards"] == [6]  # older ones send no prompts
        assert client.get_reward([" "], prompts=[""])[1]["rewards"] == [0]
        assert client.get_reward([], prompts=[])[1]["rewards"] == []


def test_deviations_are_told_where_there_are_any():
    with served(Spread(), name="mine") as client:
        found = client.get_reward(["ask xx", "ask "], prompts=["ask ", "ask "])[1]
        assert found["extra_logs"] == {"mine_std": [1, 0]}
        assert client.score(row("xxxx"))[1] == {"rewards": [[4]], "deviations": [[2]]}


def test_what_has_no_reward_is_null_or_the_floor():
    class Dropping(Gate):
        def predict(self, rows):
            return np.where(super().predict(rows) == 3, np.nan, super().predict(rows))

    with served(Dropping()) as client:
        assert client.score(row("xx", "xxx"))[1] == {"rewards": [[2, None]]}
        assert client.get_reward(["xxx", "xxxx", "x"])[1]["rewards"] == [1, 4, 1]
        assert client.get_reward(["x", "bad"])[0] == 400
    with served(Dropping(), floor=-9.0) as client:
        assert client.get_reward(["xxx", "bad", "", "x"])[1]["rewards"] == [-9, -9, -9, 1]
        assert client.score(row("bad"))[0] == 400


def test_health_tells_what_was_done():
    with served(Gate(), name="mine") as client:
        assert client.health()["requests"] == 0
        client.score(row("x", "xx"), row("x"))
        client.score(row(3))
        found = client.health()
    assert found["ready"] is True and found["model"] == "mine" and "torch" in found["versions"]
    assert (found["requests"], found["texts"], found["waiting"]) == (3, 3, 0)
    assert found["statuses"] == {"200": 2, "422": 1} and found["batches"] == 1


# --------------------------------------------------------------------------------- faults
MALFORMED = [
    ("/score", b'{"rows": [', 400, "the body is no JSON: Expecting value, at character 10."),
    ("/score", b'{"rows": "\xff"}', 400, "not UTF-8"),
    ("/score", b"[" * 100_000, 400, "nested too deeply"),
    ("/score", b'{"rows": ' + b"9" * 10_000 + b"}", 400, "with a huge number"),
    ("/score", b"", 422, "body: this is missing"),
    ("/score", b"[]", 422, "body: expected an object"),
    ("/score", b'{"row": []}', 422, "rows: this is missing"),
    ("/score", b'{"rows": [], "x": 1}', 422, "x: no such field"),
    ("/score", b'{"rows": NaN}', 422, "rows: expected a list"),
    ("/score", b'{"rows": [{"responses": []}]}', 422, "rows[0].responses: the list is empty"),
    ("/score", b'{"rows": [{"responses": [3]}]}', 422, "rows[0].responses[0]: expected a text"),
    ("/score", b'{"rows": [{"responses": [[]]}]}', 422, "rows[0].responses[0]: expected a text"),
    ("/score", b'{"rows": [{"responses": ["a"], "gold": []}]}', 422, "rows[0].gold: no such"),
    ("/score", b'{"rows": [{"prompt": 1, "responses": ["a"]}]}', 422, "rows[0].prompt: expected"),
    ("/get_reward", b'{"query": ["a", 1]}', 422, "query[1]: expected a text"),
    ("/get_reward", b'{"query": "a"}', 422, "query: expected a list"),
    ("/get_reward", b'{"query": ["a"], "prompts": []}', 422, "got 1 queries and 0 prompts"),
]


def test_what_is_malformed_is_told():
    with served(Gate()) as client:
        for path, body, status, words in MALFORMED:
            found = client.ask("POST", path, body, raw=True)
            assert found[0] == status and words in found[1]["error"], (body[:40], found)
            assert len(found[1]["error"]) < 600
        assert client.ask("POST", "/score", "{}", {"Content-Type": "text/plain"})[0] == 415
        assert client.ask("GET", "/score")[0] == 405 and client.ask("GET", "/x")[0] == 404
        assert client.score(row("xx"))[1]["rewards"] == [[2]]


def test_a_refused_text_costs_its_request_alone():
    estimator = Gate()
    with served(estimator, batch_size=64) as client:
        estimator.shut()
        first = client.in_thread(row("x"))
        assert estimator.entered.wait(10)
        asked = [client.in_thread(*rows) for rows in ([row("xx")], [row("x"), row("bad")],
                                                      [row("broken")], [row("xxx")])]  # fmt: skip
        until(lambda: client.health()["waiting"] == 5)
        estimator.open.set()
        for thread, _ in [first, *asked]:
            thread.join()
        found = [future[0] for _, future in asked]
        assert sorted(estimator.calls[2]) == sorted(["xx", "x", "bad", "broken", "xxx"])
    assert found[0] == (200, {"rewards": [[2]]}) and found[3] == (200, {"rewards": [[3]]})
    bad = {"error": "rows[1], responses[0]: this is bad", "field": "rows[1]"}
    assert found[1] == (400, bad)
    assert found[2][0] == 500 and "the model failed (RuntimeError)" in found[2][1]["error"]


def test_half_a_character_is_named(fitted):
    body = b'{"rows": [{"responses": ["the"]}, {"responses": ["cat \\ud800"]}]}'
    with served(fitted[0]) as client:
        status, found, _ = client.ask("POST", "/score", body, raw=True)
    assert status == 400 and "rows[1], responses[0]: character 4 is half of" in found["error"]


def test_a_model_that_fails_at_once_is_not_served():
    class Broken(Gate):
        def predict(self, rows):
            raise OSError("no such model")

    with pytest.raises(OSError, match="no such model"):
        make_app(Broken())
    with pytest.raises(NotFittedError):
        make_app(LinearRewardRegressor())
    with pytest.raises(ValueError, match="max_queue=3 has no room for a request of max_items=4"):
        make_app(Gate(), max_queue=3, max_items=4)


@pytest.mark.parametrize(
    "given",
    [
        {"token": ""},  # what an unset variable gives: everybody would have it
        {"token": "  "},
        {"token": 3},
        {"token": "señal-secreta"},
        {"batch_size": 0},  # would wait forever
        {"batch_size": 2.5},
        {"max_wait_ms": -1.0},
        {"max_wait_ms": np.nan},
        {"max_items": 0},
        {"max_queue": True},
        {"max_body_mb": 0},
        {"body_seconds": np.inf},
        {"floor": np.nan},  # no JSON
        {"floor": "0"},
    ],
)
def test_what_would_let_everybody_in_or_nobody_be_answered_is_refused(given):
    (name,) = given
    with pytest.raises((ValueError, TypeError), match=name):
        make_app(Gate(), **given)


def test_who_asks_a_model_that_ends_its_thread_is_answered():
    class Ends(Gate):
        def predict(self, rows):
            if "end" in rows[0]["responses"]:
                raise SystemExit(3)
            return super().predict(rows)

    with served(Ends()) as client:
        status, found = client.score(row("end"))
        assert (status, found["error"]) == (500, "rows[0]: the model failed (SystemExit).")
        assert client.score(row("xx")) == (200, {"rewards": [[2.0]]})
        assert client.health()["ready"]


# ---------------------------------------------------------------------------------- batches
def test_rows_are_halved_until_the_refused_ones_are_alone():
    estimator = Gate()
    rows = [row("x", "xx"), row("bad"), row("xxx"), row("xxxx")]
    found = score_rows(estimator, rows)
    assert found[0] == Scores([1, 2], None) and found[2:] == [Scores([3], None), Scores([4], None)]
    assert isinstance(found[1], ValueError) and len(estimator.calls) == 5


async def batches_of(estimator, requests, **settings):
    """Return the batches that requests were predicted in, and the answers."""
    settings = {"batch_size": 4, "max_wait": 0.0, "max_queue": 100} | settings
    batcher = Batcher(estimator, False, **settings)
    estimator.shut()
    batcher.start(asyncio.get_running_loop())
    first = batcher.submit([row("first")])
    await asyncio.to_thread(estimator.entered.wait, 10)
    asked = [batcher.submit(rows) for rows in requests]
    estimator.open.set()
    answers = [await future for future in [first, *asked]]
    await asyncio.to_thread(batcher.close)
    assert batcher.n_queued == 0 and not batcher.is_alive()
    assert batcher.n_batches == len(estimator.calls)
    with pytest.raises(QueueFull):
        batcher.submit([row("late")])
    return estimator.calls[1:], [[one.rewards for one in found] for found in answers[1:]]


def test_a_long_request_does_not_hold_up_short_ones():
    long = [row("x" * n) for n in range(1, 11)]
    calls, answers = asyncio.run(batches_of(Gate(), [long, [row("ab")], [row("cd")]]))
    assert [len(call) for call in calls] == [4, 4, 4]
    assert calls[1][:2] == ["ab", "cd"]  # behind the first batch of the long one, not behind all
    assert answers == [[[n] for n in range(1, 11)], [[2]], [[2]]]


def test_rows_are_not_divided():
    wide = row(*"abcdef")
    calls, answers = asyncio.run(batches_of(Gate(), [[row("x"), wide], [row("y", "z")]]))
    assert calls == [["x"], ["y", "z"], list("abcdef")]
    assert answers[0] == [[1], [1] * 6]


def test_who_finds_no_room_keeps_the_place():
    calls, _ = asyncio.run(batches_of(Gate(), [[row("x")], [row(*"abcd")], [row("y")]]))
    assert calls == [["x"], list("abcd"), ["y"]]


def test_one_waits_for_others_until_the_batch_is_full():
    async def ask(n, max_wait):
        batcher = Batcher(Gate(), False, batch_size=3, max_wait=max_wait, max_queue=9)
        batcher.start(asyncio.get_running_loop())
        begin = time.monotonic()
        asked = []
        for _ in range(n):
            asked.append(batcher.submit([row("x")]))
            await asyncio.sleep(0.02)
        await asyncio.gather(*asked)
        seconds = time.monotonic() - begin
        await asyncio.to_thread(batcher.close)
        return seconds, batcher.n_batches

    assert asyncio.run(ask(3, 60.0))[1] == 1  # full, so nobody waits a minute
    seconds, n_batches = asyncio.run(ask(2, 0.3))
    assert n_batches == 1 and 0.25 < seconds < 20
    assert asyncio.run(ask(2, 0.0))[1] == 2


# ----------------------------------------------------------------------------------- limits
def test_a_full_queue_says_when_to_come_again():
    estimator = Gate()
    with served(estimator, max_queue=3, max_items=3) as client:
        estimator.shut()
        first = client.in_thread(row("x"))
        assert estimator.entered.wait(10)
        second = client.in_thread(row("a", "b"), row("c"))
        until(lambda: client.health()["waiting"] == 3)
        status, found, headers = client.ask("POST", "/score", {"rows": [row("y")]})
        assert status == 503 and "try again" in found["error"]
        assert {k.lower(): v for k, v in headers.items()}["retry-after"] == "1"
        estimator.open.set()
        for thread, _ in (first, second):
            thread.join()
        assert second[1] == [(200, {"rewards": [[1, 1], [1]]})]
        assert client.score(row(*"abc"))[0] == 200  # there is room again
        assert client.score(row(*"abcd")) == (
            413, {"error": "4 responses; a request may have 3."},
        )  # fmt: skip
        assert client.get_reward(["a"] * 4)[0] == 413


def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    size = 2**20 // 8
    fits = json.dumps({"rows": [row("x" * (size - 31))]})
    with served(Gate(), max_body_mb=0.125) as client:
        assert len(fits) == size and client.ask("POST", "/score", fits, raw=True)[0] == 200
        status, found, _ = client.ask("POST", "/score", b"x" * (size + 1), raw=True)
        assert status == 413 and "larger than 0.125 MB" in found["error"]
        with client.connect() as line:  # promises much, sends nothing
            line.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
            assert b" 413 " in line.recv(100)
        for _ in range(12):  # what was refused is held no longer
            assert client.ask("POST", "/score", chunks(2 * size), raw=True)[0] == 413
        assert client.ask("POST", "/score", fits, raw=True)[0] == 200


def chunks(size):
    """Yield a body in pieces, so that its length is not known beforehand."""
    for _ in range(size // 8192):
        yield b"x" * 8192


HEAD = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_bodies_of_all_requests_together_are_bounded():
    estimator = Gate()
    with served(estimator, max_body_mb=1.0) as client:
        estimator.shut()
        first = client.in_thread(row("x"))
        assert estimator.entered.wait(10)
        body = json.dumps({"rows": [row("x" * (2**20 - 100))]})
        asked = [threading.Thread(target=client.ask, args=("POST", "/score", body, {}, True))
                 for _ in range(8)]  # fmt: skip
        for thread in asked:
            thread.start()
        until(lambda: client.health()["waiting"] == 8)
        status, found, headers = client.ask("POST", "/score", body, raw=True)
        assert status == 503 and "too many large requests" in found["error"]
        estimator.open.set()
        for thread in [first[0], *asked]:
            thread.join()
        assert client.ask("POST", "/score", body, raw=True)[0] == 200


def test_a_slow_body_is_given_up():
    with served(Gate(), body_seconds=0.3) as client, client.connect() as line:
        line.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"rows"')
        assert b" 408 " in line.recv(100)
        assert client.score(row("x"))[0] == 200


def test_slow_headers_are_given_up(monkeypatch):
    monkeypatch.setattr(_server, "HEAD_SECONDS", 0.3)
    with served(Gate()) as client:
        with client.connect() as line:  # says nothing
            assert line.recv(100) == b""
        with client.connect() as line:  # drips: each byte in time, the whole never
            begin = time.monotonic()
            with pytest.raises(OSError):
                for _ in range(100):
                    line.sendall(b"G")
                    time.sleep(0.05)
            assert time.monotonic() - begin < 4
        with client.connect() as line:  # after a request has been answered, too
            line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 200 " in line.recv(1000)
            line.sendall(b"GET /he")
            until(lambda: line.recv(1000) == b"")
        estimator = Gate()  # a request that is worked on has all the time that it needs
    with served(estimator) as client:
        estimator.shut()
        thread, future = client.in_thread(row("xx"))
        time.sleep(0.6)
        estimator.open.set()
        thread.join()
        assert future == [(200, {"rewards": [[2]]})]


def test_nobody_works_for_a_client_that_has_left():
    estimator = Gate()
    body = json.dumps({"rows": [row("unasked")]}).encode()
    with served(estimator) as client:
        estimator.shut()
        first = client.in_thread(row("x"))
        assert estimator.entered.wait(10)
        with client.connect() as line:
            line.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            until(lambda: client.health()["waiting"] == 1)
        time.sleep(0.2)
        estimator.open.set()
        first[0].join()
        assert client.score(row("xx"))[0] == 200
        assert client.health()["waiting"] == 0
    assert not any("unasked" in call for call in estimator.calls)


# ------------------------------------------------------------------------------------ tokens
def test_a_token_has_to_be_shown(capfd):
    def basic(text):
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    right = [{"Authorization": f"Bearer {TOKEN}"}, {"Authorization": f"bearer  {TOKEN}"},
             basic(f":{TOKEN}"), basic(f"me:{TOKEN}")]  # fmt: skip
    wrong = [{}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Bearer {TOKEN[:-1]}"},
             {"Authorization": TOKEN}, {"Authorization": "Bearer"}, basic(TOKEN), basic(":"),
             {"Authorization": f"Digest {TOKEN}"}, {"Authorization": "Basic ***"}]  # fmt: skip
    with served(Gate(), token=TOKEN) as client:
        for headers in right:
            assert client.score(row("xx"), headers=headers) == (200, {"rewards": [[2]]})
            assert "model" in client.health(headers=headers | {"Host": "anywhere"})
        for headers in wrong:
            status, found, _ = client.ask("POST", "/score", {"rows": [row("xx")]}, headers)
            assert status == 401 and "Authorization: Bearer TOKEN" in found["error"], headers
            assert client.health(headers=headers) == {"ready": True}
            assert client.ask("GET", "/openapi.json", None, headers)[0] == 401
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:80", 200), ("[::1]:80", 200), ("LOCALHOST", 200),
     ("evil.example", 403), ("localhost.evil.example:80", 403), ("evil.example:127.0.0.1", 403)],
)  # fmt: skip
def test_without_a_token_only_this_machine_is_answered(host, status):
    with served(Gate()) as client:
        assert client.ask("GET", "/health", headers={"Host": host})[0] == status


# --------------------------------------------------------------------------- the command line
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--host", "0.0.0.0"], "the environment variable LENS_SKLEARN_TOKEN has none"),
        (["--host", "::", "--token-env", "MINE"], "the environment variable MINE has none"),
        (["--token-env", "SHORT"], "the token in SHORT needs at least 16 ASCII characters"),
        (["--token-env", "SPACE"], "begins or ends with white space"),
        (["--ssl-keyfile", "k"], "--ssl-keyfile goes with --ssl-certfile"),
        (["--ssl-certfile", "nowhere"], "--ssl-certfile nowhere: there is no such file"),
        (["--ssl-certfile", __file__], "not a certificate with its key"),
        (["--max-queue", "9", "--max-items", "10"], "--max-queue 9 has no room"),
        (["--host", "nowhere.invalid", "--token-env", "LONG"], "--host nowhere.invalid: "),
    ],
)
def test_what_cannot_be_served_is_told_before_a_model_is_loaded(given, words, capsys, monkeypatch):
    monkeypatch.delenv("LENS_SKLEARN_TOKEN", raising=False)
    monkeypatch.setenv("SHORT", "x" * 15)
    monkeypatch.setenv("SPACE", "x" * 16 + " ")
    monkeypatch.setenv("LONG", TOKEN)
    assert cli.main(["serve", "no such folder", *given]) == 2
    error = capsys.readouterr().err
    assert words in error and TOKEN not in error and "x" * 15 not in error


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(capsys):
    with closing(_server.bind("127.0.0.1", 0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        assert cli.main(["serve", "no such folder", "--port", str(port)]) == 2
    assert f"--port {port}: Address already in use. --port 0" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["serve", "x", "--port", "65536"])
    assert "does not lie between 0 and 65535" in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_not_installed(capsys, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("lens_sklearn.serving")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert cli.main(["serve", "no such folder"]) == 2
    assert "pip install 'lens-sklearn[serve]'" in capsys.readouterr().err


def test_a_process_outlives_malformed_requests_and_ends_with_zero(fitted):
    pipeline, folder = fitted
    expected = pipeline.predict([row("the cat sat", prompt="why")])[0].tolist()
    rng = np.random.default_rng(0)
    command = [sys.executable, "-m", "lens_sklearn", "serve", str(folder), "--port", "0"]
    command += ["--device", "cpu", "--max-wait-ms", "500"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stderr.readline()
        client = Client(int(re.search(r"reward is served at http://127.0.0.1:(\d+);", said)[1]))
        assert client.health()["ready"] and client.health()["model"] == "reward"
        good = json.dumps({"query": ["why the cat sat"], "prompts": ["why "]}).encode()
        with closing(http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)) as line:
            for i in range(300):  # cut somewhere, with a byte that does not belong there
                place, cut = sorted(rng.integers(1, len(good), 2))
                body = bytearray(good[: cut + (cut == place)])
                body[place] = rng.integers(128, 256) if i % 3 else ord("{")
                path = ("/get_reward", "/score")[i % 2]
                line.request("POST", path, bytes(body), {"Content-Type": "application/json"})
                answer = line.getresponse()
                assert answer.status in (400, 422) and b'"error"' in answer.read()
        found = client.get_reward(["why the cat sat"], prompts=["why "])
        np.testing.assert_allclose(found[1]["rewards"], expected, atol=1e-6)
        assert sum(client.health()["statuses"].values()) == 303  # with two of /health
        thread, future = client.in_thread(row("the cat sat", prompt="why"))
        until(lambda: client.health()["waiting"] == 1)
        process.send_signal(signal.SIGTERM)  # while the request waits for company
        thread.join()
        np.testing.assert_allclose(future[0][1]["rewards"][0], expected, atol=1e-6)
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, error
    assert error.endswith("everything that was accepted has been answered.\n")
    assert "Traceback" not in error
    with pytest.raises(ConnectionRefusedError):
        client.health()


def test_who_was_accepted_is_answered_and_told_to_go():
    estimator, answers = Gate(), []
    with served(estimator) as client:
        estimator.shut()
        asked = [
            threading.Thread(
                target=lambda: answers.append(client.ask("POST", "/score", {"rows": [row("xx")]}))
            )
            for _ in range(3)
        ]
        asked[0].start()
        assert estimator.entered.wait(10)
        for thread in asked[1:]:
            thread.start()
        until(lambda: client.health()["waiting"] == 2)
        client.server.should_exit = True

        def is_closed():
            try:
                with client.connect():
                    return False
            except ConnectionRefusedError:
                return True

        until(is_closed)
        time.sleep(0.2)
        estimator.open.set()
        for thread in asked:
            thread.join()
    assert [(status, found["rewards"]) for status, found, _ in answers] == [(200, [[2]])] * 3
    assert all({"close"} & {*headers.values()} for _, _, headers in answers)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_goes_no_further(number):
    listener = _server.bind("127.0.0.1", 0)
    client, answers = Client(listener.getsockname()[1]), []

    def ask():
        answers.append(client.score(row("xx")))
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=ask)
    server = _server.make_server(make_app(Gate(), **QUICK), on_ready=thread.start)
    before = signal.getsignal(number)
    _server.run_until_stopped(server, listener)  # no KeyboardInterrupt
    thread.join()
    assert signal.getsignal(number) is before and answers == [(200, {"rewards": [[2]]})]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate")
def test_tls(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
         certificate, "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=certificate)
    files = {"ssl_certfile": certificate, "ssl_keyfile": key}
    with served(Gate(), files=files, token=TOKEN) as client:
        line = http.client.HTTPSConnection("127.0.0.1", client.port, context=context, timeout=30)
        with closing(line):
            line.request("GET", "/health", headers={"Authorization": f"Bearer {TOKEN}"})
            assert json.loads(line.getresponse().read())["ready"] is True
