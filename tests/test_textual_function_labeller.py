"""A plain function as labeller: what it is given, what it may return, and what is refused."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from lens_sklearn.textual import FunctionLabeller, PairLabeller

PROMPTS, RESPONSES = ["why", "how"], [["the cat", "no"], ["yes"]]


def count_words(prompts, responses):
    return [[len(text.split()) for text in row] for row in responses]


def test_lists_are_padded_and_arrays_are_taken():
    labeller = FunctionLabeller(count_words)
    assert isinstance(labeller, PairLabeller)
    np.testing.assert_array_equal(labeller.score(PROMPTS, RESPONSES), [[2, 1], [1, np.nan]])
    # what an array has in the place of padding is no score
    as_array = FunctionLabeller(lambda p, r: np.array([[2, 1], [1, 7]]))
    np.testing.assert_array_equal(as_array.score(PROMPTS, RESPONSES), [[2, 1], [1, np.nan]])


def test_no_judgement_is_nan():
    labeller = FunctionLabeller(lambda p, r: [[None, np.float32(0.5)], [np.nan]])
    np.testing.assert_array_equal(labeller.score(PROMPTS, RESPONSES), [[np.nan, 0.5], [np.nan] * 2])


@pytest.mark.parametrize("messages", [False, True])
def test_the_function_is_given_one_form_whatever_came_in(messages):
    given = []

    def keep(prompts, responses):
        given.append((prompts, responses))
        return [[0.0] * len(row) for row in responses]

    user, answer = {"role": "user", "content": "why"}, {"role": "assistant", "content": "no"}
    labeller = FunctionLabeller(keep, messages)
    labeller.score(["why"], [["no"]])
    labeller.score([[user]], [[[answer]]])
    labeller.score([[user, answer, user]], [["no"]])
    if messages:
        assert given[0] == given[1] == ([[user]], [[[answer]]])
        assert given[2] == ([[user, answer, user]], [[[answer]]])
    else:
        assert given[0] == given[1] == (["why"], [["no"]])
        assert given[2] == (["user: why\nassistant: no\nuser: why"], [["no"]])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (3.0, "returned float; expected an array of shape"),
        ("12", "returned str; expected an array of shape"),
        ([[1, 2]], "returned 1 rows for 2 prompts"),
        ([[1, 2], [1, 2, 3]], "returned 3 scores for the 1 responses of prompt 1"),
        ([[1], [1]], "returned 1 scores for the 2 responses of prompt 0"),
        ([1, 2], "returned a single value for the 2 responses of prompt 0"),
        ([[1, "2"], [1]], r"returned '2' for responses\[0\]\[1\]; a score is a finite number"),
        ([[1, 2], [np.inf]], r"returned inf for responses\[1\]\[0\]"),
        ([[1, 2], [1j]], r"returned 1j for responses\[1\]\[0\]"),
    ],
)
def test_what_is_no_score_is_named(scores, message):
    with pytest.raises(ValueError, match=f"the function <lambda> {message}"):
        FunctionLabeller(lambda p, r: scores).score(PROMPTS, RESPONSES)


def test_malformed_texts_never_reach_the_function():
    with pytest.raises(ValueError, match=r"responses\[1\]\[0\]: expected a str"):
        FunctionLabeller(lambda p, r: pytest.fail("called")).score(PROMPTS, [["a"], [3]])
    with pytest.raises(ValueError, match="'function' parameter"):
        FunctionLabeller("count_words").score(PROMPTS, RESPONSES)


def test_clones_and_pickles_hold_the_function():
    class Client:
        """What cannot be copied, as a connection."""

        def __deepcopy__(self, memo):
            raise AssertionError

        def __call__(self, prompts, responses):
            return count_words(prompts, responses)

    client = Client()
    assert clone(FunctionLabeller(client, messages=True)).get_params() == {
        "function": client, "messages": True,
    }  # fmt: skip
    again = pickle.loads(pickle.dumps(FunctionLabeller(count_words)))
    np.testing.assert_array_equal(again.score(PROMPTS, RESPONSES), [[2, 1], [1, np.nan]])


def test_scores_of_pandas_go_by_position():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series([1.0, 2.0], index=[1, 0])
    texts = ["why", "how"], [["a", "b"], ["c", "d"]]
    expected = [[1, 2], [1, 2]]
    for scores in ([series, series], pandas.DataFrame([series.tolist()] * 2, columns=["x", "y"])):
        found = FunctionLabeller(lambda *_, scores=scores: scores).score(*texts)
        np.testing.assert_array_equal(found, expected)
    for row in ({0: 1.0, 1: 2.0}, {1.0, 2.0}):  # their order says nothing
        with pytest.raises(ValueError, match="a single value for the 2 responses of prompt 0"):
            FunctionLabeller(lambda *_, row=row: [row, row]).score(*texts)
