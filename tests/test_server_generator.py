"""Responses of a server: rows, seeds, retries, failures, resumed work, and a key nobody sees."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from fake_server import KEY, chat, error, fake_server
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

from lens_sklearn.textual import ServerGenerator, TextPairSynthesizer
from lens_sklearn.textual._server_client import pack_text, unpack_text

pytest.importorskip("openai", reason="needs the extra server")
ROWS = [{"prompt": f"question {i}"} for i in range(6)]


@pytest.fixture(scope="module")
def process():
    with fake_server() as server:
        yield server


@pytest.fixture
def server(process):
    process.__init__(process.url)
    process.answer = echo
    return process


@pytest.fixture
def generator(server):
    return ServerGenerator(
        "m", base_url=server.url, n_samples=3, random_state=0, max_retries=2, timeout=5
    )


def echo(body):
    return chat(f"{body['messages'][-1]['content']} {body.get('seed')}")


def asked(server):
    return [(body["messages"][-1]["content"], body["seed"]) for body in server.bodies]


def test_each_sample_is_a_request_with_a_seed_of_its_own(generator, server):
    out = generator.set_params(temperature=0.5, top_p=0.9, max_new_tokens=7, stop=["x"])
    out = out.fit_transform(ROWS)
    assert [row["prompt"] for row in out] == [
        [{"role": "user", "content": row["prompt"]}] for row in ROWS
    ]
    assert sorted(text for row in out for text in row["responses"]) == sorted(
        f"{content} {seed}" for content, seed in asked(server)
    )
    for row in out:  # each row has the answers to its own question
        assert all(text.startswith(row["prompt"][0]["content"]) for text in row["responses"])
        assert row["finish_reasons"] == ["stop"] * 3
    assert len({seed for _, seed in asked(server)}) == 18 == generator.n_generated_
    assert all(0 <= seed < 2**31 for _, seed in asked(server))
    sent = {k: v for k, v in server.bodies[0].items() if k not in ("messages", "seed")}
    assert sent == {
        "model": "m", "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["x"]
    }  # fmt: skip
    assert set(server.paths) == {"/v1/chat/completions"}


def test_seeds_depend_on_the_prompt_and_its_number_alone(generator, server):
    expected = generator.fit_transform(ROWS)
    assert clone(generator).set_params(n_concurrent=1).fit_transform(ROWS[::-1]) == expected[::-1]
    once, again = clone(generator).fit_transform([ROWS[0], ROWS[0]])
    assert once == expected[0] and again != once
    other = clone(generator).set_params(random_state=1).fit_transform(ROWS)
    assert other[0]["responses"] != expected[0]["responses"]
    server.bodies.clear()
    with pytest.warns(UserWarning, match="identical.*reads a request's seed"):
        clone(generator).set_params(random_state=None).fit_transform(ROWS[:1])
    assert all("seed" not in body for body in server.bodies)


def test_fields_that_a_server_knows_are_sent_and_no_others(generator, server):
    generator.set_params(extra_body={"top_k": 5}, system_prompt="Be kind.")
    generator.fit_transform(ROWS[:1])
    assert server.bodies[0]["top_k"] == 5 and "extra_body" not in server.bodies[0]
    assert server.bodies[0]["messages"] == [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "question 0"}
    ]  # fmt: skip
    for name in ("temperature", "messages", "seed", "n", "stream"):
        with pytest.raises(ValueError, match=f"extra_body has '{name}'"):
            clone(generator).set_params(extra_body={name: 1}).fit()
    with pytest.raises(ValueError, match="extra_body cannot be written as JSON"):
        clone(generator).set_params(extra_body={"a": {1}}).fit()


def test_cut_and_empty_responses_are_counted(generator, server):
    answers = itertools.cycle([chat("a", "length"), chat(" "), chat(None, "tool_calls")])
    server.answer = lambda body: next(answers)
    generator.set_params(n_concurrent=1)
    with pytest.warns(UserWarning) as caught:
        out = generator.fit_transform(ROWS[:2])
    messages = " ".join(str(w.message) for w in caught)
    assert "4 of 6 responses are empty (first: row 0)" in messages
    assert "2 of 6 responses (first: row 0) were cut at max_new_tokens=256" in messages
    assert (generator.n_empty_, generator.n_cut_) == (4, 2)
    assert out[1]["responses"] == ["a"] and out[1]["finish_reasons"] == ["length"]


@pytest.mark.parametrize("said", ["eos_token", "stop_sequence"])
def test_names_of_an_end_are_one(generator, server, said):
    server.answer = lambda body: chat(str(body["seed"]), said)
    assert generator.fit_transform(ROWS[:1])[0]["finish_reasons"] == ["stop"] * 3


def test_requests_are_side_by_side_and_no_more_than_asked_for(generator, server):
    server.pause = 0.02
    generator.set_params(n_concurrent=4).fit_transform(ROWS)
    assert server.n_most == 4
    server.n_most = 0
    generator.set_params(n_concurrent=1).fit_transform(ROWS[:1])
    assert server.n_most == 1


def test_a_synthesizer_takes_it_for_a_generator(generator):
    class Longest:
        def score(self, prompts, responses):
            return np.array([[float(text.split()[-1]) for text in row] for row in responses])

    rows = [row | {"chosen": "yes", "rejected": "no"} for row in ROWS]
    generator.set_params(random_state=None)
    synthesizer = TextPairSynthesizer(generator, Longest(), factor=2, random_state=0)
    out = synthesizer.fit_transform(rows)
    assert len(out) == 12
    seeds = [[float(row[c].split()[-1]) for c in ("chosen", "rejected")] for row in list(out)[6:]]
    assert all(chosen > rejected for chosen, rejected in seeds)


# ------------------------------------------------------------------------------ retries
@pytest.mark.parametrize(
    "fault",
    [
        error(429, "slow down", retry_after_ms=1),
        error(429, "slow down", Retry_After="0.001"),
        error(500, "a fault", retry_after_ms=1),
        error(503, "busy", retry_after_ms=1),
    ],
    ids=["429", "429 in seconds", "500", "503"],
)
def test_a_fault_that_passes_is_retried(generator, server, fault):
    expected = generator.fit_transform(ROWS)
    counts = {}

    def flaky(body):
        key = body["seed"]
        counts[key] = counts.get(key, 0) + 1
        return fault if counts[key] < 3 else echo(body)

    server.answer = flaky
    assert clone(generator).fit_transform(ROWS) == expected
    assert set(counts.values()) == {3}


def test_a_timeout_is_retried_and_then_named(generator, server):
    server.pause = 0.2
    generator.set_params(timeout=0.02, max_retries=0, n_samples=1)
    with pytest.raises(RuntimeError, match=r"row 0: .*did not answer within timeout=0.02 seconds"):
        generator.fit_transform(ROWS[:1])


def test_a_server_that_is_not_there(generator):
    generator.set_params(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(RuntimeError, match="row 0: .*cannot be reached.*Is the server running"):
        generator.fit_transform(ROWS[:1])


@pytest.mark.parametrize(
    "fault, said",
    [
        (error(400, "prompt is too long"), "answered 400: prompt is too long"),
        (error(404, "no such model"), "404: no such model. Is 'm' the model's name there"),
        (error(401, "who are you"), "401: who are you. Is the environment variable A_KEY set"),
        (error(500, "a bug", retry_after_ms=1), "answered 500: a bug"),
        ((422, {"detail": "no field"}, {}), "422: no field"),
        ((200, b'{"choices": [', {}), "cannot be read"),
        ((200, b"<html>", {"Content-Type": "text/html"}), "cannot be read"),
        ((200, b"[1]", {}), "expected an object of JSON, got [1]"),
        ((200, {}, {}), "expected 'choices' with one entry, got None"),
        ((200, {"error": {"message": "full"}}, {}), "the error 'full'"),
        ((200, {"choices": []}, {}), "expected 'choices' with one entry"),
        ((200, {"choices": [{"text": "a"}]}, {}), "expected a choice with a 'message'"),
        ((200, {"choices": [{"message": {"content": [1]}}]}, {}), "expected a str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_server_says_is_said_with_the_row(generator, server, monkeypatch, fault, said):
    monkeypatch.setenv("A_KEY", KEY)
    generator.set_params(api_key_env="A_KEY")
    server.answer = lambda body: fault if "question 2" in str(body) else echo(body)
    with pytest.raises(RuntimeError) as caught:
        generator.fit_transform(ROWS[:3])
    assert str(caught.value).startswith(f"row 2: {server.url}/chat/completions")
    assert said in str(caught.value)
    assert "of 9 answers came before, and are lost; with a store=" in str(caught.value)


# ------------------------------------------------------------------------------ the store
def test_the_store_asks_nothing_twice(generator, server, tmp_path):
    expected = clone(generator).fit_transform(ROWS)
    stored = generator.set_params(store=tmp_path)
    assert stored.fit_transform(ROWS[:2]) == expected[:2]
    server.bodies.clear()
    assert clone(stored).fit_transform(ROWS) == expected
    assert len(server.bodies) == 12
    server.bodies.clear()
    again = clone(stored).set_params(n_concurrent=1, timeout=9, max_retries=0)
    assert again.fit_transform(ROWS) == expected and again.n_generated_ == 0
    assert server.bodies == []


def test_other_settings_are_other_responses(generator, tmp_path):
    stored = generator.set_params(store=tmp_path)
    stored.fit_transform(ROWS[:2])
    for params in (
        {"temperature": 0.7}, {"random_state": 1}, {"max_new_tokens": 5}, {"top_p": 0.9},
        {"stop": ["cat"]}, {"system_prompt": "you"}, {"model": "n"}, {"extra_body": {"a": 1}},
    ):  # fmt: skip
        other = clone(stored).set_params(**params)
        other.fit_transform(ROWS[:2])
        assert other.n_generated_ == 6, params


def test_after_a_failure_what_was_answered_is_kept(generator, server, tmp_path):
    expected = clone(generator).fit_transform(ROWS)
    server.bodies.clear()
    server.answer = lambda body: error(400, "no") if "question 4" in str(body) else echo(body)
    stored = generator.set_params(store=tmp_path, n_concurrent=3)
    with pytest.raises(RuntimeError, match="row 4: .*are in the store: running again asks for"):
        stored.fit_transform(ROWS)
    done = {pair for pair in asked(server) if pair[0] != "question 4"}
    assert len(done) >= 12
    server.bodies.clear()
    server.answer = echo
    assert clone(stored).fit_transform(ROWS) == expected
    assert not done & set(asked(server)) and len(server.bodies) == 18 - len(done)


def test_an_interrupt_cancels_what_is_under_way(generator, server, tmp_path):
    begun = threading.Event()

    def slow(body):
        if "question 1" in str(body):
            begun.set()
            time.sleep(1.5)
        return echo(body)

    server.answer = slow
    stored = generator.set_params(store=tmp_path, n_concurrent=2)
    main = threading.get_ident()
    threading.Thread(
        target=lambda: (begun.wait(), time.sleep(0.05), signal.pthread_kill(main, signal.SIGINT))
    ).start()
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            stored.fit_transform(ROWS)
    finally:
        signal.signal(signal.SIGINT, was)
    assert time.perf_counter() - start < 1.2
    n_asked = len(server.bodies)
    time.sleep(0.05)
    assert len(server.bodies) == n_asked < 18
    assert not any(
        t.name.startswith("Thread") and "run_forever" in t.name for t in threading.enumerate()
    )
    server.bodies.clear()
    server.answer = echo
    clone(stored).fit_transform(ROWS)
    assert {f"question {i}" for i in range(1, 6)} >= {content for content, _ in asked(server)}


def test_a_full_disk_ends_the_requests(generator, server, tmp_path, monkeypatch):
    def full(self, keys, vectors):
        raise OSError("no room")

    monkeypatch.setattr("lens_sklearn._array_store.ArrayStore.put_many", full)
    server.pause = 0.02
    with pytest.raises(OSError, match="no room"):
        generator.set_params(store=tmp_path, n_concurrent=1).fit_transform(ROWS)
    assert len(server.bodies) < 6


def test_a_killed_run_goes_on_where_it_ended(generator, server, tmp_path):
    answered = {}

    def until_killed(body):
        if len(answered) >= 5:
            killed.wait(5)
        # A request that is sent again, since its answer came late, is one and the same.
        answered[body["messages"][-1]["content"], body["seed"]] = True
        return echo(body)

    killed = threading.Event()
    server.answer = until_killed
    stored = generator.set_params(store=tmp_path / "store", n_concurrent=1, n_samples=2)
    file = tmp_path / "generator.pickle"
    file.write_bytes(pickle.dumps((stored, ROWS)))
    code = f"import pickle; g, rows = pickle.load(open({str(file)!r}, 'rb')); g.fit_transform(rows)"
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    try:
        deadline = time.perf_counter() + 60
        while len(set(asked(server))) < 6 and time.perf_counter() < deadline:
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
        killed.set()
    done = set(list(answered)[:5])
    server.bodies.clear()
    server.answer = echo
    out = clone(stored).fit_transform(ROWS)
    assert sum(len(row["responses"]) for row in out) == 12
    assert not done & set(asked(server)) and len(server.bodies) == 7


@given(st.lists(st.text()))
def test_a_text_comes_back_from_its_vector(texts):
    vector = pack_text(*texts)
    assert (vector == vector.astype(int)).all() and vector.max() < 2**24
    assert unpack_text(vector) == texts


# ------------------------------------------------------------------------------ the key
def test_nobody_sees_the_key(generator, server, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("A_KEY", f"{KEY}\n")
    generator.set_params(api_key_env="A_KEY", store=tmp_path, n_samples=1)
    with caplog.at_level("DEBUG"):
        generator.fit_transform(ROWS)
        server.answer = lambda body: error(401, f"wrong key {KEY}")
        with pytest.raises(RuntimeError) as caught:
            clone(generator).set_params(random_state=1).fit_transform(ROWS)
    assert {h["authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    assert "wrong key ***" in str(caught.value)
    error_chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert error_chain[1:] == [None, None]
    seen = [repr(generator), str(generator.get_params()), str(vars(generator)), caplog.text]
    seen += [str(error_chain[0]), pickle.dumps(generator).decode("latin1")]
    seen += [p.read_bytes().decode("latin1") for p in tmp_path.rglob("*") if p.is_file()]
    assert not any(KEY in text for text in seen)


def test_without_a_key_a_local_server_is_asked_all_the_same(generator, server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    generator.fit_transform(ROWS[:1])
    assert server.headers[0]["authorization"] == "Bearer none"


@pytest.mark.parametrize("name", [KEY, "hf_abcdefGHIJ", ""])
def test_a_key_in_place_of_its_name_is_refused_and_not_repeated(generator, name):
    with pytest.raises(ValueError, match="is the name of an environment variable") as caught:
        generator.set_params(api_key_env=name).fit()
    assert not name or name not in str(caught.value)


# ------------------------------------------------------------------------------ parameters
@pytest.mark.parametrize("url", ["127.0.0.1:8000", "file:///v1", "", "http://"])
def test_an_address_that_is_none(generator, url):
    with pytest.raises(ValueError, match="is no address of a server, such as"):
        generator.set_params(base_url=url).fit()


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "http://host/v1?key=secret"])
def test_no_secrets_in_the_address(generator, url):
    with pytest.raises(ValueError, match="Put the key into an environment variable") as caught:
        generator.set_params(base_url=url).fit()
    assert "secret" not in str(caught.value)


def test_a_store_needs_a_seed(generator, tmp_path):
    with pytest.raises(ValueError, match="resumed run would draw other"):
        generator.set_params(store=tmp_path, random_state=None).fit()


def test_a_missing_extra_is_named(generator, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r'pip install "lens-sklearn\[server\]"'):
        generator.fit()


def test_it_is_fitted_by_fit_alone(generator):
    with pytest.raises(Exception, match="not fitted"):
        generator.transform(ROWS)
    with pytest.raises(ValueError, match="row 1: there is no prompt"):
        generator.fit_transform([ROWS[0], {"chosen": "a", "rejected": "b"}])
