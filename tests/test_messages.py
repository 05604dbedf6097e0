"""One text in every form that people have; what is no text is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn._messages import (
    join,
    join_contents,
    mark_turns,
    message_dicts,
    read_text,
    read_turns,
    says_nothing,
)

ASKED, ANSWERED = ("user", "q"), ("assistant", "a")
TALK = (ASKED, ANSWERED)
DICTS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
SHAREGPT = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}


def says(content, **fields):
    return {"role": "assistant", "content": content, **fields}


# --------------------------------------------------------------------------------- forms
@pytest.mark.parametrize(
    "form",
    [
        DICTS,
        tuple(DICTS),
        np.array(DICTS, dtype=object),
        SHAREGPT,
        [{"from": "User", "value": "q"}, {"from": "chatgpt", "value": "a"}],
        [{"role": "human", "content": "q"}, {"role": "gpt", "content": "a"}],
        [{"role": "user", "content": [{"type": "text", "text": "q"}]}, says(["a"])],
        [DICTS[0], says([{"type": "text", "text": "", "image_url": None}, {"text": "a"}])],
        {"role": ["user", "assistant"], "content": ["q", "a"]},
        json.dumps(DICTS),
        f"\n{json.dumps(SHAREGPT)} ",
        str(DICTS),
        [DICTS],
        [DICTS[0], says("a", tool_calls=None, name="", tools=[], toxic=False, turn_id="3")],
    ],
)
def test_every_form_of_a_conversation_is_the_same(form):
    assert read_text(form, "row 0") == TALK


def test_a_lone_message_and_a_list_of_one_text_are_that_text():
    assert read_text(says("a"), "row 0") == (ANSWERED,)
    assert read_text({"from": "gpt", "value": "a"}, "row 0") == (ANSWERED,)
    assert read_text(["7"], "row 0") == "7"


@pytest.mark.parametrize("text", ["[1] is a list", "[", '["a", "b"]', '[{"a": 1}]', "[]", "NA"])
def test_a_text_that_looks_like_json_stays_a_text(text):
    assert read_text(text, "row 0") == text


def test_deep_json_stays_a_text():
    text = "[" * 100_000 + "]" * 100_000
    assert read_text(text, "row 0") is not None


@pytest.mark.parametrize("value", [None, float("nan"), np.float64("nan"), [], "", [says(None)]])
def test_nothing_is_the_empty_text(value):
    assert says_nothing(read_text(value, "row 0"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "row 0: expected a str or a list"),
        (b"a", "row 0: expected a str or a list"),
        ([3], "row 0, message 0: expected {'role'"),
        ([{"role": "user"}], "row 0, message 0: expected {'role'"),
        ([{"content": "a"}], "row 0, message 0: expected {'role'"),
        ([{"role": "user", "content": 3}], "row 0, message 0: expected {'role'"),
        ([DICTS[0], "a"], "row 0, message 1: expected {'role'"),
        ([{"from": "alice", "value": "a"}], "message 0: 'from' is 'alice'; known are user, "),
        ([says([{"type": "image_url", "image_url": "x"}])], "part 0: .* type 'image_url', and"),
        ([says([{"type": "thinking", "thinking": "x"}])], "part 0: .* type 'thinking', and only"),
        ([says([{"type": "text"}])], "part 0: expected {'type': 'text'"),
        (["7", "8"], "row 0: expected one text, got a list of 2"),
        ("[{'role': 'user' 'content': 'q'}]", "looks like messages that Python printed"),
        ("Hello \ud83d", r"row 0: character 6 is half of a surrogate pair \('\\ud83d'\)"),
        ([says("\udc00")], "row 0, message 0: character 0 is half"),
        ([says("a", tool_calls=["\udc00"])], "row 0, message 0: character .* is half"),
        ([says("a", tool_calls=[{1, 2}])], r"message 0: the fields \['tool_calls'\] are not JSON"),
    ],
)
def test_what_is_no_text_is_named(value, message):
    with pytest.raises(ValueError, match=message):
        read_text(value, "row 0")


# -------------------------------------------------------------------------------- fields
def test_fields_are_carried_and_given_back():
    given_messages = [says(None, tool_calls=[CALL], reasoning_content="hm", name="bot")]
    (message,) = read_text(given_messages, "row 0")
    assert message[:2] == ("assistant", "") and hash(message)
    assert not says_nothing((message,))
    (written,) = message_dicts((message,))
    assert written == {**given_messages[0], "content": ""}


def test_a_null_that_a_table_puts_into_a_call_is_left_out():
    call = {**CALL, "function": {**CALL["function"], "arguments": {"city": "Rome", "day": None}}}
    assert read_text([says("a", tool_calls=[call])], "") == read_text(
        [says("a", tool_calls=[CALL])], ""
    )


def test_without_a_template_a_field_that_says_something_is_refused():
    text = read_text([says("a", tool_calls=[CALL])], "row 0")
    with pytest.raises(ValueError, match="row 7, message 0: without a chat template the field"):
        join_contents(text, lambda: "row 7")
    linked = read_text([{"role": "tool", "content": "b", "tool_call_id": "1", "name": "w"}], "")
    assert join_contents(linked, None) == "b"


# ------------------------------------------------------------------------- marked turns
@pytest.mark.parametrize(
    "text",
    [
        "\n\nHuman: q\n\nAssistant: a",
        "Human: q\n\nAssistant: a\n",
        "\r\n\r\nHuman:q\r\n\r\nAssistant:a",
    ],
)
def test_marked_turns_are_a_conversation(text):
    assert read_turns(text) == TALK
    assert mark_turns(None, [text])[1] == [TALK]


@pytest.mark.parametrize(
    "text",
    [
        "He said:\n\nHuman: q\n\nAssistant: a",
        "Human: I am one.",
        "Human: q\nAssistant: a",
        "\n\nAssistant: a",
        "Assistant: a\n\nHuman: q",
        "Humanity",
        "",
    ],
)
def test_a_text_that_mentions_the_marks_stays_plain(text):
    assert read_turns(text) is None
    assert mark_turns(None, [text])[1] == [text]


def test_turns_of_the_same_side_are_put_together():
    text = "\n\nHuman: one\n\nHuman: two\n\nAssistant: a\n\nHuman: three\n\nAssistant:"
    assert read_turns(text) == (
        ("user", "one\n\ntwo"), ANSWERED, ("user", "three"), ("assistant", "")
    )  # fmt: skip


def test_a_prompt_that_ends_where_the_answer_begins():
    prompt, texts = mark_turns(
        "\n\nHuman: q\n\nAssistant:",
        [" a", "\n\nAssistant: a", "\n\nHuman: q\n\nAssistant: a", "Human: b\n\nAssistant: c"],
    )
    assert prompt == (ASKED,)
    assert texts == ["a", "a", TALK, "Human: b\n\nAssistant: c"]  # the last one writes a dialogue


def test_without_a_prompt_all_texts_of_a_row_mark_turns_or_none():
    marked = "Human: q\n\nAssistant: a"
    assert mark_turns(None, [marked, "b"])[1] == [marked, "b"]
    assert mark_turns(None, [marked, "", None])[1] == [TALK, "", None]


words = st.text(alphabet="ab :.\n", max_size=12).map(str.strip).filter(lambda t: "\n\n" not in t)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=3))
def test_what_is_written_with_marks_is_read_back(turns):
    text = "".join(f"\n\nHuman: {asked}\n\nAssistant: {said}" for asked, said in turns)
    expected = [m for q, a in turns for m in (("user", q), ("assistant", a))]
    assert read_turns(text) == tuple(expected)


# --------------------------------------------------------------------- prompt and response
SYSTEM, LATER = ("system", "s"), ("user", "q2")


@pytest.mark.parametrize(
    ("prompt", "text", "before"),
    [
        ("q", "a", (ASKED,)),
        ("q", (ANSWERED,), (ASKED,)),
        ("q", TALK, (ASKED,)),
        ("q\n", TALK, (ASKED,)),
        ((ASKED,), TALK, (ASKED,)),
        ("q", (SYSTEM, *TALK), (SYSTEM, ASKED)),
        ((SYSTEM, ASKED), TALK, (SYSTEM, ASKED)),
        ((SYSTEM, ASKED), (SYSTEM, *TALK), (SYSTEM, ASKED)),
        ((SYSTEM, ASKED), (("system", "t"), *TALK), (("system", "t"), ASKED)),
        ((SYSTEM,), (SYSTEM, ANSWERED), (SYSTEM,)),
        ((SYSTEM,), (ANSWERED,), (SYSTEM,)),
        # the whole conversation beside its last question, and the last turn beside all before
        ("q2", (*TALK, LATER, ANSWERED), (*TALK, LATER)),
        ((*TALK, LATER), (LATER, ANSWERED), (*TALK, LATER)),
        # a response that asks back
        ("q", (("assistant", "b"), ASKED, ANSWERED), (ASKED,)),
    ],
)
def test_a_prompt_is_read_once(prompt, text, before):
    whole, n_prompt = join(prompt, text)
    assert whole[:n_prompt] == before
    assert whole[n_prompt:][-1] == ANSWERED
    assert join(whole[:n_prompt], whole) == (whole, n_prompt)


roles = st.sampled_from(["user", "assistant"])
messages = st.tuples(roles, st.sampled_from(["a", "b", "c"]))


@given(st.lists(messages, min_size=1, max_size=4), st.text(max_size=3))
def test_a_conversation_is_its_prompt_and_its_response(prompt, answer):
    prompt, response = tuple(prompt), ("assistant", answer)
    whole = (*prompt, response)
    assert join(prompt, answer) == join(prompt, whole) == (whole, len(prompt))
