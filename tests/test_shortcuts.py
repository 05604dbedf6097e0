"""Lengths of responses, and the rewards that know no more than them."""

import numpy as np
import pytest

from lens_sklearn import best_of_n_score, response_lengths, shortcut_rewards


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def test_lengths_are_of_the_responses_alone():
    rows = [
        {"prompt": "a long prompt", "chosen": "four", "rejected": "é"},
        {"prompt": [user("x")], "chosen": [assistant("ab")], "rejected": "abc"},
    ]
    np.testing.assert_array_equal(response_lengths(rows), [[4, 1], [2, 3]])


def test_messages_that_a_row_shares_are_its_prompt():
    opening = [user("question"), assistant("what?"), user("this")]
    row = {
        "chosen": [*opening, assistant("abc")],
        "rejected": [*opening, assistant("a"), user("so"), assistant("b")],
    }
    np.testing.assert_array_equal(response_lengths([row]), [[3, 4]])
    # With a prompt of its own the row's responses are whole, whatever they share.
    np.testing.assert_array_equal(response_lengths([{**row, "prompt": "p"}]), [[20, 21]])


def test_texts_without_a_prompt_count_as_they_are():
    rows = [{"chosen": "same start, end", "rejected": "same start"}]
    np.testing.assert_array_equal(response_lengths(rows), [[15, 10]])


def test_what_is_no_content_does_not_count():
    call = {**assistant("ab"), "tool_calls": [{"function": {"name": "weather"}}]}
    rows = [
        {"prompt": "p", "chosen": [call], "rejected": [{**call, "content": None}]},
        {"prompt": "p", "chosen": "", "rejected": None},
        {"chosen": "\n\nHuman: p\n\nAssistant: abc", "rejected": "\n\nHuman: p\n\nAssistant:"},
    ]
    np.testing.assert_array_equal(response_lengths(rows), [[2, 0], [0, 0], [3, 0]])


def test_fewer_candidates_are_padded():
    rows = [{"responses": ["a", "bbb", "cc"]}, {"prompt": "p", "responses": ["dddd"]}]
    np.testing.assert_array_equal(response_lengths(rows), [[1, 3, 2], [4, np.nan, np.nan]])
    rewards = shortcut_rewards(rows)
    assert list(rewards) == ["longest", "shortest"]
    gold = np.array([[0.0, 2.0, 1.0], [5.0, np.nan, np.nan]])
    assert best_of_n_score(rewards["longest"], gold) == 3.5
    assert best_of_n_score(rewards["shortest"], gold) == 2.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a", "b"], "preference or candidate rows; got texts alone"),
        ([{"chosen": "a"}], "row 0: column 'rejected' is missing"),
        ([{"responses": ["a"]}, {"responses": []}], "row 1, column 'responses': expected a list"),
    ],
)
def test_bad_rows_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        response_lengths(rows)
