"""A judge on a server: what its scores mean, answers it does not give, and resumed work."""

from math import log

import numpy as np
import pytest
from fake_server import chat, error, fake_server

from lens_sklearn.textual import PairLabeller, ServerJudge
from lens_sklearn.textual._judge import PAIRWISE, POINTWISE

pytest.importorskip("openai", reason="needs the extra server")
PROMPTS = ["2 + 2?", "why"]
RESPONSES = [["4", "A fish.", "five"], ["because"]]
SHORT = {"pointwise": "{prompt}|{response}", "pairwise": "{prompt}|{first}|{second}"}


@pytest.fixture(scope="module")
def process():
    with fake_server() as server:
        yield server


@pytest.fixture
def server(process):
    process.__init__(process.url)
    return process


@pytest.fixture
def judge(server):
    return ServerJudge("j", base_url=server.url, max_retries=0, timeout=5)


def question(body):
    return body["messages"][0]["content"]


def rate(body):
    """Give a response its length as rating, with half the probability, and 1 with the other."""
    length = min(len(question(body).split("|")[-1]), 5)
    return chat("x", "length", {str(length): log(0.3), "1": log(0.1), " 1": log(0.2), "no": -1})


def prefer_longer(body):
    """Prefer the longer response with probability 3/4, and the first place a little."""
    _, first, second = question(body).split("|")
    a = 0.75 if len(first) > len(second) else 0.25
    return chat("A", "length", {"A": log(a), "B": log(1 - a + 0.1), "▁A": log(0.1)})


def test_a_rating_is_expected_under_the_digits(judge, server):
    server.answer = rate
    scores = judge.set_params(instruction=SHORT["pointwise"]).score(PROMPTS, RESPONSES)
    # half of 1 and half of the length: 1, 5 (of 7), 4; 5 (of 7)
    np.testing.assert_allclose(scores, [[1, 3, 2.5], [3, np.nan, np.nan]], rtol=1e-6)
    assert isinstance(judge, PairLabeller) and judge.n_asked_ == 4 and judge.n_unanswered_ == 0
    sent = {k: v for k, v in server.bodies[0].items() if k != "messages"}
    assert sent == {
        "model": "j", "max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 20
    }  # fmt: skip


def test_pairs_are_compared_in_both_orders(judge, server):
    server.answer = prefer_longer
    judge.set_params(mode="pairwise", instruction=SHORT["pairwise"])
    scores = judge.score(PROMPTS, RESPONSES)
    # A has .85 of 1.1 when it is longer and .35 of 1.2 (B .85) when it is shorter
    longer, shorter = 0.85 / 1.2, 0.35 / 1.2
    wins = (longer + (1 - shorter)) / 2
    np.testing.assert_allclose(scores[0], [1 - wins, wins, 0.5], rtol=1e-6)
    assert scores[1, 0] == 0.5 and judge.n_asked_ == 6


@pytest.mark.parametrize("mode, text", [("pointwise", POINTWISE), ("pairwise", PAIRWISE)])
def test_questions_are_those_of_the_judge_without_a_server(judge, server, mode, text):
    server.answer = lambda body: chat("A", "length", {"A": -1, "B": -2, "3": -1})
    judge.set_params(mode=mode).score(["2 + 2?"], [["4", "5"]])
    names = {"response": "4"} if mode == "pointwise" else {"first": "4", "second": "5"}
    assert text.format(prompt="2 + 2?", **names) in map(question, server.bodies)


def test_equal_texts_are_even_to_the_bit(judge, server):
    server.answer = lambda body: chat("A", "length", {"A": log(0.6), "B": log(0.3)})
    judge.set_params(mode="pairwise")
    assert judge.score(["why"], [["a", "a"]]).tolist() == [[0.5, 0.5]]
    assert judge.position_bias_ == pytest.approx(1 / 6)
    np.testing.assert_allclose(judge.shown_first_, [[2 / 3, 2 / 3]])
    judge.set_params(mode="pointwise")
    server.answer = lambda body: chat("3", "length", {"3": log(0.6)})
    judge.score(["why"], [["a", "a"]])
    assert np.isnan(judge.position_bias_) and judge.shown_first_.shape == (0, 2)


@pytest.mark.parametrize("mode", ["pointwise", "pairwise"])
def test_what_is_rendered_is_what_is_asked(judge, server, mode):
    server.answer = lambda body: chat("A", "length", {"A": -1, "3": -1})
    judge.set_params(mode=mode, n_concurrent=1)
    texts = judge.rendered(PROMPTS, RESPONSES)
    assert server.bodies == [] and len(texts) == {"pointwise": 4, "pairwise": 6}[mode]
    judge.score(PROMPTS, RESPONSES)
    assert texts == list(map(question, server.bodies))


def test_equal_questions_are_asked_once(judge, server):
    server.answer = rate
    judge.set_params(instruction=SHORT["pointwise"])
    scores = judge.score(["a", "a"], [["bb", "bb"], ["bb"]])
    assert judge.n_asked_ == 1 == len(server.bodies)
    assert scores[0, 0] == scores[0, 1] == scores[1, 0]


def test_nothing_to_compare_asks_nothing(judge, server):
    judge.set_params(mode="pairwise")
    assert judge.score(PROMPTS, [["a"], ["b"]]).tolist() == [[0.5], [0.5]]
    assert server.bodies == []


# ------------------------------------------------------------------------------ no answer
@pytest.mark.parametrize(
    "logprobs",
    [None, {}, {"content": None}, {"content": [{"token": "4", "logprob": -1, "top_logprobs": []}]},
     {"tokens": ["4"]}],
)  # fmt: skip
def test_a_server_without_logprobs_is_told_what_to_do(judge, server, logprobs):
    answer = chat("4", "length")
    answer["choices"][0]["logprobs"] = logprobs
    server.answer = lambda body: answer
    with pytest.raises(RuntimeError, match=r"responses\[0\]\[0\]: .*no logprobs.*RubricLabeller"):
        judge.set_params(n_concurrent=1).score(PROMPTS, RESPONSES)


def test_some_without_an_answer_have_no_judgement(judge, server):
    nothing = chat("Sure", "length", {"Sure": -0.1, "I": -2})
    ended = chat("", "stop")
    ended["choices"][0]["logprobs"] = {"content": []}

    def answer(body):
        last = question(body).split("|")[-1]
        return nothing if last == "4" else ended if last == "five" else rate(body)

    server.answer = answer
    judge.set_params(instruction=SHORT["pointwise"])
    with pytest.warns(UserWarning, match=r"2 of 4 questions .*first: responses\[0\]\[0\]"):
        scores = judge.score(PROMPTS, RESPONSES)
    assert judge.n_unanswered_ == 2
    np.testing.assert_allclose(scores, [[np.nan, 3, np.nan], [3, np.nan, np.nan]], rtol=1e-6)


def test_a_comparison_without_an_answer_is_in_no_mean(judge, server):
    def answer(body):
        _, first, second = question(body).split("|")
        if "4" in (first, second):
            return chat("Sure", "length", {"Sure": -0.1})
        return chat("A", "length", {"A": log(0.6), "B": log(0.2)})

    server.answer = answer
    judge.set_params(mode="pairwise", instruction=SHORT["pairwise"])
    with pytest.warns(UserWarning, match="4 of 6 questions .* NaN where there is no other"):
        scores = judge.score(PROMPTS, RESPONSES)
    np.testing.assert_allclose(scores, [[np.nan, 0.5, 0.5], [0.5, np.nan, np.nan]])
    assert judge.position_bias_ == pytest.approx(0.25) and judge.n_unanswered_ == 4


def test_a_judge_that_answers_nothing_is_given_up_early(judge, server):
    server.answer = lambda body: chat("<think>", "length", {"<think>": -0.1, "Sure": -3})
    judge.set_params(n_concurrent=1)
    with pytest.raises(RuntimeError, match=r"responses\[0\]\[0\]: the judge answers no question"):
        judge.score(PROMPTS, RESPONSES)
    many = [[f"{i} {j}" for j in range(40)] for i in range(2)]
    with pytest.raises(RuntimeError, match=r"reasons first.*\['<think>', 'Sure'\]"):
        judge.score(PROMPTS, many)
    assert len(server.bodies) == 4 + 20


@pytest.mark.parametrize(
    "top, said",
    [([{"token": "4"}], "a token and its logprob"), (["4"], "a token and its logprob")]
    + [
        ([{"token": "4", "logprob": value}], rf"logprob of '4' is {value!r}; expected a number")
        for value in ("-1", None, True, 0.7, float("nan"), float("inf"))  # .7: a probability
    ],
)
def test_malformed_logprobs_are_refused(judge, server, top, said):
    answer = chat("4", "length", {"4": -1})
    answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = top
    server.answer = lambda body: answer
    with pytest.raises(RuntimeError, match=f"cannot be read: .*{said}"):
        judge.set_params(n_concurrent=1).score(PROMPTS, RESPONSES)


def test_entries_of_another_shape_are_no_logprobs(judge, server):
    answer = chat("4", "length", {"4": -1})
    answer["choices"][0]["logprobs"]["content"] = ["4"]
    server.answer = lambda body: answer
    with pytest.raises(RuntimeError, match="no logprobs of the first token"):
        judge.score(PROMPTS, RESPONSES)
    answer["choices"][0]["logprobs"] = {
        "content": [{"top_logprobs": [{"token": "4", "logprob": 1e-6}]}]
    }
    assert judge.score(["a"], [["b"]]) == [[4]]  # rounding


# ------------------------------------------------------------------------------ the store
def test_a_failed_call_goes_on_where_it_ended(judge, server, tmp_path):
    server.answer = rate
    judge.set_params(instruction=SHORT["pointwise"])
    expected = judge.score(PROMPTS, RESPONSES)
    server.bodies.clear()
    server.answer = lambda body: error(500, "down") if "five" in question(body) else rate(body)
    judge.set_params(store=tmp_path, n_concurrent=1)
    with pytest.raises(RuntimeError, match=r"responses\[0\]\[2\]: .*500: down.* 2 of 4 answers"):
        judge.score(PROMPTS, RESPONSES)
    server.bodies.clear()
    server.answer = rate
    assert np.array_equal(judge.score(PROMPTS, RESPONSES), expected, equal_nan=True)
    assert judge.n_asked_ == 2 == len(server.bodies)
    judge.set_params(top_logprobs=5).score(PROMPTS, RESPONSES)
    assert judge.n_asked_ == 4


def test_parameters_are_checked_before_anything_is_sent(judge, server):
    for params, said in [
        ({"mode": "both"}, "mode"), ({"top_logprobs": 0}, "top_logprobs"),
        ({"instruction": "{prompt}"}, "instruction needs"), ({"base_url": "host"}, "no address"),
        ({"extra_body": {"logprobs": False}}, "extra_body has 'logprobs'"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=said):
            ServerJudge(**judge.get_params() | params).score(PROMPTS, RESPONSES)
    assert server.bodies == []
