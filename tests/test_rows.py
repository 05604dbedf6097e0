"""Rows of text in every form read the same; bad rows say where they are."""

import numpy as np
import pytest
import torch

from lens_sklearn import prompt_groups
from lens_sklearn._records import is_text
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


# ------------------------------------------------------------------- empty and malformed
def empties():
    """Rows of which the second has an empty text, in each form of emptiness."""
    nothing = ["", " \n", None, float("nan"), [], [says("")], [says(None)]]
    return [[ROWS[0], {**ROWS[1], column: empty}] for empty in nothing for column in COLUMNS]


COLUMNS = ("chosen", "rejected")


@pytest.mark.parametrize("rows", empties())
def test_an_empty_text_is_refused_left_out_or_kept(rows):
    column = next(c for c in COLUMNS if rows[1][c] != ROWS[1][c])
    with pytest.raises(ValueError, match=f"row 1, column '{column}'.*empty.*'drop'.*'keep'"):
        read_texts(rows)
    with pytest.warns(UserWarning, match=f"leaves out 1 of 2 rows. The first: row 1, .*{column}"):
        table = read_texts(rows, "drop")
    assert table.dropped == (1,) and table.items[1].tolist() == [None, None]
    assert table.items[0].tolist() == read_texts(rows[:1]).items[0].tolist()
    kept = read_texts(rows, "keep")
    assert kept.dropped == ()
    assert kept.items[1, COLUMNS.index(column)][-1][1].strip() == ""


def test_marked_turns_without_an_answer_are_empty():
    start = "\n\nHuman: p0\n\nAssistant:"
    rows = [{"chosen": f"{start} good", "rejected": start}]
    with pytest.raises(ValueError, match="row 0, column 'rejected': the text is empty"):
        read_texts(rows)
    assert read_texts(rows, "keep").items[0, 1] == (("user", "p0"), ("assistant", ""))


@pytest.mark.parametrize("choice", ["raise", "keep"])
def test_an_empty_candidate_is_a_sample_and_an_empty_prompt_a_prompt(choice):
    rows = [{"prompt": "", "responses": ["a", "", None]}, {"prompt": "p", "response": ""}]
    table = read_texts(rows[:1], choice)
    assert [cell[-1][1] for cell in table.items[0]] == ["a", "", ""]
    assert table.items[0, 0][0] == ("user", "")
    assert read_texts(rows[1:], choice).items[0, 0] == (("user", "p"), ("assistant", ""))


def test_under_drop_a_candidate_is_left_out_alone_and_a_row_without_any_as_a_whole():
    rows = [{"responses": ["a", 3, ""]}, {"responses": [" "]}, {"responses": "abc"}, {"x": 1}]
    message = r"3 of 4 rows and 2 candidates of other rows. The first: row 0, responses\[1\]"
    with pytest.warns(UserWarning, match=message):
        table = read_texts(rows, "drop")
    assert table.items.tolist() == [["a", None, None]] + [[None] * 3] * 3
    assert table.dropped == (1, 2, 3)


@pytest.mark.parametrize("bad", [{"chosen": "a"}, {**ROWS[0], "chosen": 3}, "text", {"x": 1}])
@pytest.mark.parametrize("place", [0, 2])
def test_other_faults_are_left_out_under_drop_alone(bad, place):
    rows = [*ROWS[:place], bad, *ROWS[place:]]
    for choice in ("raise", "keep"):
        with pytest.raises(ValueError, match="row 0" if place == 0 else "row 2"):
            read_texts(rows, choice)
    with pytest.warns(UserWarning, match=f"1 of 4 rows. The first: row {place}"):
        assert read_texts(rows, "drop").dropped == (place,)


def test_texts_that_are_empty_are_left_out_by_row():
    with pytest.warns(UserWarning, match=r"1 of 2 rows. The first: row 1, texts\[1\]\[0\]"):
        table = read_texts([["a", "b"], ["", "c"]], "drop")
    assert table.items.tolist() == [["a", "b"], [None, None]] and table.dropped == (1,)
    assert read_texts(["a", ""], "keep").items.tolist() == ["a", ""]


def test_where_nothing_is_left_a_table_has_its_shape():
    rows = [{**ROWS[0], "chosen": ""}]
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        table = read_texts(rows, "drop")
    assert table.items.tolist() == [[None, None]] and table.dropped == (0,)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="leaves none of 1 rows. row 0"):
        read_preferences(rows, "drop")
    with pytest.raises(ValueError, match="on_invalid is 'raise', 'drop' or 'keep'; got 'skip'"):
        read_texts(ROWS, "skip")


def test_every_reader_leaves_out_the_same():
    rows = [ROWS[0], {**ROWS[1], "chosen": ""}]
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        assert read_preferences(rows, "drop") == ROWS[:1]
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        assert read_responses(rows, "drop").dropped == (1,)
    with pytest.raises(ValueError, match="row 1, column 'chosen'"):
        read_preferences(rows)
    assert read_preferences(rows, "keep")[1]["chosen"] == ""
    assert prompt_groups([*rows, {**ROWS[1], "chosen": 3}]).tolist() == [0, 1, 2]


def test_a_null_prompt_is_none_and_a_null_in_a_frame_is_a_null():
    rows = [{**ROWS[0], "prompt": None}, ROWS[1]]
    for form in (rows, pandas(rows), hugging_face(rows)):
        assert read_texts(form).items[0].tolist() == ["good", "bad"]
    assert prompt_keys(rows)[0] == ()


# ------------------------------------------------------------------------------ formats
def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize(
    "make",
    [
        columns,
        lambda rows: {k: np.array(v) for k, v in columns(rows).items()},
        lambda rows: pandas([ROWS[1], *rows])[1:],
        lambda rows: pandas(rows).convert_dtypes(dtype_backend="pyarrow"),
        lambda rows: {k: arrow(rows)[k] for k in rows[0]},
        lambda rows: hugging_face(rows).to_iterable_dataset(),
        lambda rows: hugging_face(rows).with_format("numpy"),
        lambda rows: hugging_face([ROWS[1], *rows]).select([1, 2, 3]),
        lambda rows: hugging_face(rows)[:],
        lambda rows: iter(rows),
        lambda rows: pandas(rows).to_records(index=False),
        lambda rows: arrow([{"row": row} for row in rows])["row"],
        lambda rows: pandas(rows).astype("category"),
        lambda rows: pandas([{"row": row} for row in rows])["row"],
    ],
)
def test_other_tables_read_the_same(make):
    assert read_texts(make(ROWS)).items.tolist() == read_texts(ROWS).items.tolist()
    assert prompt_groups(make(ROWS)).tolist() == [0, 1, 0]


def test_a_table_of_conversations_reads_as_its_rows():
    call = {"function": {"name": "f", "arguments": {"city": "Rome"}}, "type": "function"}
    rows = [
        {"chosen": [USER, says("good")], "rejected": [USER, {**says("bad"), "name": "bot"}]},
        {"chosen": [USER, {**says("x"), "tool_calls": [call]}], "rejected": [USER, says("y")]},
    ]
    expected = read_texts(rows).items.tolist()
    assert expected[1][0][1][2] and len(expected[0][0][1]) == 2
    for make in (hugging_face, arrow, pandas, lambda rows: hugging_face(rows).to_pandas()):
        assert read_texts(make(rows)).items.tolist() == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[0], r"a dict whose 'prompt' is one cell: a single row goes into a list"),
        ({"chosen": [USER], "rejected": [USER]}, "whose 'chosen' is one cell"),
        ({"responses": ["a", "b"]}, "whose 'responses' is one cell"),
        ({"chosen": ["a", "b"], "rejected": ["c"]}, "different lengths: {'chosen': 2, 'rej"),
        ({"train": ArrowLike()}, r"the splits 'train': take one of them, such as X\['train'\]"),
        ([USER, says("a")], "row 0 is a message: a conversation is one row"),
        ([{"responses": [USER, says("a")]}], "messages of one conversation stand where"),
        ([{"prompt": "p", "choosen": "a", "rejected": "b"}], "Rename 'choosen' to 'chosen'"),
        ([{"Chosen": "a", "Rejected": "b"}], "Rename 'Chosen' to 'chosen' and 'Rejected' to 'rej"),
        ([{"question": "q", "answer": "a"}], "Rename 'answer' to 'response' and 'question' to 'p"),
        ([{"prompt": "q", "completions": ["a"]}], "Rename 'completions' to 'responses'"),
        (
            [{"model_a": "x", "model_b": "y", "text_a": "1", "text_b": "2", "winner": "model_a"}],
            "row 0: which of 'text_a' and 'text_b' is better is not read from a further column",
        ),
        ([{"score_1": 1, "score_2": 2, "winner": "a"}], "preference rows need .*'winner'.\\.$"),
        ([{**ROWS[0], "rejected": ["8", "9"]}], "a list of 2. pairs_from_lists"),
        ([{**ROWS[0], "rejected": "a\ud83d"}], "row 0, column 'rejected': character 1 is half"),
        ([{"responses": ["a", "b\ud83d"]}], r"row 0, responses\[1\]: character 1 is half"),
        (["a\ud83d"], r"row 0, texts\[0\]: character 1 is half"),
        (3, "expected rows of text, got int"),
    ],
)
def test_other_bad_tables_say_what_is_meant(rows, message):
    with pytest.raises(ValueError, match=message):
        read_texts(rows)


def test_responses_that_a_table_writes_as_json_are_a_list():
    assert read_texts([{"responses": '["a", "b"]'}]).items.tolist() == [["a", "b"]]
    with pytest.raises(ValueError, match="row 0, column 'responses': expected a list"):
        read_texts([{"responses": "[a"}])


ANSWER = (("user", "p0"), ("assistant", "a"))


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"prompt": "p0", "response": "a"}, "response"),
        ({"prompt": "p0", "completion": [says("a")]}, "completion"),
        ({"messages": [USER, says("a")]}, "messages"),
        ({"prompt": "p0", "messages": [USER, says("a")]}, "messages"),
        ({"conversations": [{"from": "human", "value": "p0"}, {"from": "gpt", "value": "a"}]},
         "conversations"),
        ({"text": "\n\nHuman: p0\n\nAssistant: a"}, "text"),
    ],
)  # fmt: skip
def test_single_responses_are_candidates_of_one(row, column):
    table = read_texts([row, row])
    assert table.kind == "candidates" and table.items.tolist() == [[ANSWER]] * 2
    assert table.place(1) == f"row 1, column '{column}'"
    assert prompt_keys([row]) == read_prompts([row]) == [ANSWER[:1]]
    response = read_responses([row]).responses[0, 0]
    assert response in ("a", ANSWER[1:])


def test_a_column_that_others_call_the_prompt_is_pointed_at():
    rows = [{"question": "p", "chosen": "a", "rejected": "b"}]
    with pytest.warns(UserWarning, match="no row has a prompt, .*Rename 'question' to 'prompt'"):
        read_texts(rows)
    with pytest.warns(UserWarning, match="each counts as a prompt .*Rename 'question' to 'pr"):
        prompt_groups(rows)
    last = [{"conversations": [USER], "chosen": says("a"), "rejected": says("b")}]
    with pytest.warns(UserWarning, match="Rename 'conversations' to 'prompt'"):
        read_texts(last)


def test_marked_turns_group_by_what_was_asked():
    def row(question, *answers):
        texts = [f"\n\nHuman: {question}\n\nAssistant: {answer}" for answer in answers]
        return dict(zip(COLUMNS, texts, strict=True))

    rows = [row("p0", "a", "b"), row("p1", "a", "b"), row("p0", "c", "d"), ROWS[0]]
    assert prompt_groups(rows).tolist() == [0, 1, 0, 0]
    assert read_responses(rows[:1]).responses.tolist() == [
        [(("assistant", "a"),), (("assistant", "b"),)]
    ]
    assert read_preferences(rows[:1])[0]["chosen"] == [USER, says("a")]


def test_answers_that_differ_in_a_call_alone_are_no_tie():
    def answer(city):
        return [{**says("Let me look."), "tool_calls": [{"arguments": {"city": city}}]}]

    row = {"prompt": "p", "chosen": answer("Rome"), "rejected": answer("Oslo")}
    chosen, rejected = read_texts([row]).items[0]
    assert chosen != rejected
    assert read_preferences([row])[0] == row


def test_prompts_are_the_same_in_every_reader():
    """A system message that the texts begin with belongs to the prompt, in pairs and beyond."""
    whole = as_dicts(SYSTEM, ASKED, EIGHT)
    rows = [
        {"prompt": "How long? ", "chosen": whole, "rejected": as_dicts(SYSTEM, ASKED, NINE)},
        {"prompt": "How long?", "responses": [whole, whole]},
        {"prompt": as_dicts(SYSTEM, ASKED), "chosen": "Eight.", "rejected": "Nine."},
    ]
    for row in rows:
        assert read_prompts([row]) == prompt_keys([row]) == [(SYSTEM, ASKED)]
    prompts, items = read_dialogues(["How long?"], [[whole, "Nine.", ""]])
    assert prompts == [(ASKED,)]
    assert items.tolist() == [[(EIGHT,), (NINE,), (("assistant", ""),)]]


def test_strings_that_all_begin_with_their_prompt_are_told():
    asked = [("What is 1 + 1?", "2."), ("What is 2 + 2?", "4.")]
    rows = [{"prompt": prompt, "chosen": text, "rejected": "No."} for prompt, text in asked]
    whole = [{k: r["prompt"] * (k != "prompt") + r[k] for k in r} for r in rows]
    with pytest.warns(UserWarning, match="begins with its prompt, which so is read twice"):
        read_texts(whole)
    messages = [r | {"prompt": [{"role": "user", "content": r["prompt"]}]} for r in whole]
    with pytest.warns(UserWarning, match="begins with its prompt"):
        read_texts(messages)
    for quiet in (rows, [whole[0], rows[1]], whole[:1], [r | {"rejected": "No."} for r in whole]):
        read_texts(quiet)  # one that quotes its prompt is no layout


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        ([{"prompt": "p", "chosen": "a", "rejected": "b"}], True),
        ([["a", "b"], ["c"]], True),
        (np.array([["a", "b"]], dtype=object), True),
        ({"chosen": ["a"], "rejected": ["b"]}, True),
        ([], True),
        (np.zeros((2, 2, 3), dtype=np.float16), False),
        (torch.zeros(2, 2, 3), False),
        ([[[0.0, 1.0], [2.0, 3.0]]], False),
        ([np.zeros((2, 3))], False),
        ([torch.zeros(2, 3)], False),
    ],
)
def test_texts_are_told_from_embeddings(X, expected):
    assert is_text(X) is expected
