"""Rows of text in every form read the same; bad rows say where they are."""

import numpy as np
import pytest

from lens_sklearn import prompt_groups
from lens_sklearn._rows import (
    as_records,
    prompt_keys,
    read_dialogues,
    read_preferences,
    read_prompts,
    read_responses,
    read_texts,
)

ROWS = [
    {"prompt": "p0", "chosen": "good", "rejected": "bad"},
    {"prompt": "p1", "chosen": "fine", "rejected": "poor"},
    {"prompt": "p0", "chosen": "great", "rejected": "awful"},
]
USER = {"role": "user", "content": "p0"}


def says(text):
    return {"role": "assistant", "content": text}


# ------------------------------------------------------------------------------ rows
def object_array(rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def hugging_face(rows):
    return pytest.importorskip("datasets", reason="reads a datasets.Dataset").Dataset.from_list(
        rows
    )


def pandas(rows):
    return pytest.importorskip("pandas", reason="reads a pandas frame").DataFrame(rows)


def arrow(rows):
    return pytest.importorskip("pyarrow", reason="reads an Arrow table").Table.from_pylist(rows)


def polars(rows):
    return pytest.importorskip("polars", reason="reads a polars frame").DataFrame(rows)


@pytest.mark.parametrize("make", [list, pandas, arrow, object_array, hugging_face, polars])
def test_every_form_of_rows_reads_the_same(make):
    expected = read_texts(ROWS)
    table = read_texts(make(ROWS))
    assert table.kind == "pairs"
    assert table.items.tolist() == expected.items.tolist()
    assert table.items[1, 0] == (("user", "p1"), ("assistant", "fine"))


def test_string_explicit_and_implicit_prompts_agree():
    explicit = [{"prompt": [USER], "chosen": [says("good")], "rejected": [says("bad")]}]
    implicit = [{"chosen": [USER, says("good")], "rejected": [USER, says("bad")]}]
    for rows in (explicit, implicit):
        assert read_texts(rows).items.tolist() == read_texts(ROWS[:1]).items.tolist()
        assert prompt_groups(rows * 2).tolist() == [0, 0]


def test_the_last_message_of_a_text_is_never_its_prompt():
    short, long = [USER, says("4")], [USER, says("4"), USER, says("5")]
    for rows in ([{"chosen": short, "rejected": long}], [{"responses": [long, short]}]):
        assert prompt_keys(rows) == read_prompts(rows) == [(("user", "p0"),)]


def test_groups_follow_prompts_and_order_of_appearance():
    assert prompt_groups(ROWS).tolist() == [0, 1, 0]
    plain = [{"chosen": "a", "rejected": "b"}] * 2
    assert prompt_groups([*plain, ROWS[0]]).tolist() == [0, 1, 2]


def test_ragged_candidates_are_padded():
    rows = [{"prompt": "p", "responses": ["a", "b", "c"]}, {"prompt": "q", "responses": ["d"]}]
    table = read_texts(rows)
    assert table.kind == "candidates"
    assert table.items.shape == (2, 3)
    assert table.items[1, 1:].tolist() == [None, None]


def test_nested_lists_keep_their_shape():
    assert read_texts([["a", "b"], ["c", "d"], ["e", "f"]]).items.shape == (3, 2)
    assert read_texts(["a", "b"]).items.tolist() == ["a", "b"]
    conversations = [[USER, says("x")], [USER, says("y")]]
    assert read_texts(conversations).items.shape == (2,)


def test_ties_are_kept_and_counted():
    rows = [*ROWS, {"prompt": "p", "chosen": "same", "rejected": "same"}]
    with pytest.warns(UserWarning, match=r"1 of 4 rows .* \(first: row 3\)"):
        assert len(read_texts(rows).items) == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no rows"),
        ("text", "single string"),
        ([{"prompt": "p", "chosen": "a", "rejcted": "b"}], "row 0: column 'rejected' is missing"),
        ([{"question": "p"}], "row 0: .*'chosen' and 'rejected'.*'question'"),
        ([ROWS[0], {"prompt": "p", "chosen": None, "rejected": "b"}], "row 1, column 'chosen'"),
        ([ROWS[0], {"prompt": "p", "chosen": "a", "rejected": " "}], "row 1, .*'rejected'.*empty"),
        ([ROWS[0], {"prompt": 3, "chosen": "a", "rejected": "b"}], "row 1, column 'prompt'"),
        ([ROWS[0], "text"], "row 1: expected a dict"),
        ([{"prompt": "p", "responses": []}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": "abc"}], "row 0, column 'responses'"),
        ([{"prompt": "p", "responses": ["a", 3]}], r"row 0, responses\[1\]"),
        ([{"chosen": [{"role": "user"}], "rejected": "b"}], "row 0, column 'chosen', message 0"),
        ([["a", "b"], ["c"]], "row 1.*expected 2 entries"),
        ([["a", "b"], "c"], "row 1.*single text"),
        ([["a", ["b"]]], "deeper"),
        (np.zeros((3, 2)), "array of float64"),
    ],
)
def test_bad_rows_say_where(rows, message):
    with pytest.raises(ValueError, match=message):
        read_texts(rows)


def test_cells_are_named_as_their_user_knows_them():
    candidates = read_texts([{"prompt": "p", "responses": ["a", "b"]}] * 2)
    places = [read_texts(ROWS).place(3), candidates.place(2), read_texts([["a", "b"]]).place(1)]
    assert places == ["row 1, column 'rejected'", "row 1, responses[0]", "row 0[1]"]


@pytest.mark.parametrize(
    ("read", "rows", "message"),
    [
        (prompt_groups, ["a", "b"], "got texts alone"),
        (read_preferences, ["a", "b"], "'rejected'; got rows of str"),
        (read_preferences, [{"responses": ["a"]}], r"'rejected'; got \['responses'\]"),
        (read_prompts, [{"chosen": "a", "rejected": "b"}], "row 0: there is no prompt"),
    ],
)
def test_rows_of_another_kind_are_refused(read, rows, message):
    with pytest.raises(ValueError, match=message):
        read(rows)


def test_pairs_and_candidates_of_a_prompt_are_known_by_the_same_key():
    pair = {"chosen": [USER, says("4")], "rejected": [USER, says("5")]}
    candidates = {"responses": [[USER, says("Four.")], [USER, says("Five.")], [USER, says("6")]]}
    (key,) = prompt_keys([pair])
    assert key and prompt_keys([candidates]) == [key]
    strings = [{"chosen": "4", "rejected": "5"}, {"chosen": "6", "rejected": "7"}]
    assert not any(prompt_keys(strings))
    with pytest.warns(UserWarning, match="no row has a prompt, so each counts as a prompt of"):
        assert prompt_groups(strings).tolist() == [0, 1]


def test_a_prompt_ends_where_conversations_part_and_not_later():
    """They may agree again after that: what was said in between differs."""
    shared = [{"role": "user", "content": "hello"}]

    def conversation(reply, last):
        middle = [{"role": "assistant", "content": reply}, {"role": "user", "content": "and?"}]
        return [*shared, *middle, {"role": "assistant", "content": last}]

    one = {"chosen": conversation("yes", "good"), "rejected": conversation("no", "bad")}
    other = {"chosen": conversation("well", "fine"), "rejected": conversation("hm", "ill")}
    assert prompt_groups([one, other]).tolist() == [0, 0], "both begin with the greeting alone"


class ArrowLike:
    """What is known of a `datasets.Dataset`: ``column_names`` and ``to_list``."""

    column_names = ["chosen", "rejected"]

    def to_list(self):
        return [{"chosen": "a", "rejected": "b"}]


def test_a_dataset_is_read_by_its_rows():
    assert as_records(ArrowLike()) == [{"chosen": "a", "rejected": "b"}]


def test_every_response_of_a_dialogue_is_read():
    prompts, items = read_dialogues(["p", "q"], [["a", "b"], ["c"]])
    assert items.shape == (2, 2) and items[1, 1] is None
    assert [cell[-1] for cell in items.ravel()[:3]] == [
        ("assistant", "a"), ("assistant", "b"), ("assistant", "c")
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"responses\[1\]\[0\]"):
        read_dialogues(["p", "q"], [["a"], [3]])


def test_the_first_row_says_of_what_kind_rows_are():
    candidate, pair = {"prompt": "p", "responses": ["a"]}, ROWS[0]
    with pytest.raises(ValueError, match="expected preference rows .* 'chosen' and 'rejected'"):
        read_preferences([candidate, pair])


# --------------------------------------------------- a prompt beside whole conversations
ASKED, EIGHT, NINE = ("user", "How long?"), ("assistant", "Eight."), ("assistant", "Nine.")
SYSTEM = ("system", "Be brief.")


def as_dicts(*messages):
    return [{"role": role, "content": content} for role, content in messages]


@pytest.mark.parametrize("prompt", ["How long?", as_dicts(ASKED)])
@pytest.mark.parametrize("before", [(), (SYSTEM,)])
def test_a_prompt_that_conversations_begin_with_is_read_once(prompt, before):
    texts = [as_dicts(*before, ASKED, answer) for answer in (EIGHT, NINE)]
    pairs = [{"prompt": prompt, "chosen": texts[0], "rejected": texts[1]}]
    candidates = [{"prompt": prompt, "responses": texts}]
    expected = [[(*before, ASKED, EIGHT), (*before, ASKED, NINE)]]
    for rows in (pairs, candidates):
        assert read_texts(rows).items.tolist() == expected
        table = read_responses(rows)
        assert [list(cells) for cells in table.responses] == [[(EIGHT,), (NINE,)]]


def test_a_conversation_that_asks_something_else_follows_its_prompt():
    other = as_dicts(("assistant", "Ask."), ASKED, EIGHT)
    rows = [{"prompt": "How long?", "chosen": other, "rejected": as_dicts(ASKED)}]
    chosen, rejected = read_texts(rows).items[0]
    assert chosen == (ASKED, ("assistant", "Ask."), ASKED, EIGHT)
    assert rejected == (ASKED, ASKED)  # nothing would be left of it


def test_a_prompt_is_one_as_text_as_messages_and_as_what_texts_share():
    rows = [
        {"prompt": "How long?", "chosen": "Eight.", "rejected": "Nine."},
        {"prompt": as_dicts(ASKED), "chosen": "Eight.", "rejected": "Nine."},
        {"chosen": as_dicts(ASKED, EIGHT), "rejected": as_dicts(ASKED, NINE)},
        {"prompt": "How far?", "chosen": "Eight.", "rejected": "Nine."},
    ]
    assert prompt_groups(rows).tolist() == [0, 0, 0, 1]


def test_dialogues_of_messages_have_no_prompt_to_repeat():
    prompts, items = read_dialogues([as_dicts(ASKED)], [[as_dicts(EIGHT), as_dicts(NINE)]])
    assert list(items[0]) == [(EIGHT,), (NINE,)]
    assert prompts[0] == (ASKED,)
