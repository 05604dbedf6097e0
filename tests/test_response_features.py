"""Features of responses: counted by hand, in any language, in every kind of row."""

import pickle
from math import log1p

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from lens_sklearn import AugmentedPairs, ResponseFeatures, export
from lens_sklearn._text_counts import NAMES
from lens_sklearn.textual import AugmentedRows, PairLabeller

USER = {"role": "user", "content": "How are you?"}


def says(text):
    return {"role": "assistant", "content": text}


def value(name, response, prompt=None):
    row = {"chosen": response, "rejected": "x"} | ({"prompt": prompt} if prompt else {})
    return float(ResponseFeatures([name]).fit_transform([row])[0, 0, 0])


def count(name, response):
    return round(np.expm1(value(name, response)), 4)


# ------------------------------------------------------------------------------ each feature
@pytest.mark.parametrize(
    ("name", "response", "expected"),
    [
        ("log_characters", "ab c", 4),
        ("log_words", "Don't panic: 42 snake_case", 5),
        ("log_words", "我喜欢猫。", 4),
        ("log_words", "हिन्दी में लिखो।", 3),
        ("log_words", "ราคา", 4),
        ("log_words", "na\u0308ive", 1),
        ("log_words", "¿?!", 0),
        ("log_lines", "a\n\n b \n \t\nc", 3),
        ("log_paragraphs", "a\nb\n\nc\n \n\nd\n\n", 3),
        ("log_paragraphs", " ", 0),
        ("log_list_items", "- a\n * b\n• c\n– d\n1. e\n(2) f\na) g\n十\n1、h", 8),
        ("log_list_items", "---\n**bold**\n1.5 m\n-5\nab) c", 0),
        ("log_headings", "# a\n###### b\n**c**\n**d:**\n#e\nx **f**", 4),
        ("log_bold", "**a** and **b c**, 2 ** 3, <strong>d</strong>", 3),
        ("log_code_fences", "```py\n1\n```\n~~~\n2\n~~~\n```\nopen", 3),
        ("log_inline_code", "`a` and `b`\n```\nc\n```", 2),
        ("log_links", "[a](https://b.c) www.d.e http://f.g [h](i.md)", 4),
        ("log_table_rows", "| a | b |\n|---|---|\n| 1 | 2 |\na | b", 3),
        ("log_math", r"\(x\) and \[y\], $z+1$, $$w$$ for $5 and $10", 5),
        ("log_questions", "¿Qué? 什么？ لماذا؟", 3),
        ("log_exclamations", "¡Hola! 好！", 2),
        ("log_colons", "a: b：", 2),
        ("log_quotes", '"a" «b» “c”', 6),
        ("log_parentheses", "(a) （b）", 2),
        ("log_emoji", "😀 ✅ é", 2),
        ("log_word_length", "ab abcd", 3),
        ("log_sentence_length", "One two. Three 3.5 four!\nFive", 7 / 3),
        ("log_sentence_length", "我喜欢猫。你呢？", 3),
        ("log_sentence_length", "1. One two\n2. Three four", 3),
    ],
)
def test_counts_by_hand(name, response, expected):
    assert count(name, response) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "response", "expected"),
    [
        ("digits_share", "a1b２", 0.5),
        ("capitals_share", "Ab c 1 ÉД 我", 3 / 5),
        ("non_ascii_share", "aé我b", 0.5),
        ("distinct_words_share", "The the cat", 2 / 3),
        ("repeated_trigrams_share", "a b c a b c", 1 / 4),
        ("repeated_trigrams_share", "a b", 0),
        ("first_person_share", "I saw my cat", 0.5),
        ("refusal_start", "I’m sorry, but I can't help with that.", 1),
        ("refusal_start", "I cannot do this", 1),
        ("refusal_start", "> **As an AI language model**, I", 1),
        ("refusal_start", "很抱歉，我无法", 1),
        ("refusal_start", "Je suis désolé, mais", 1),
        ("refusal_start", "К сожалению, я", 1),
        ("refusal_start", "申し訳ありません", 1),
        ("refusal_start", "I'm sorry to hear that.", 0),
        ("refusal_start", "Leiderlos. I cannot", 0),
        ("refusal_start", "He said: I cannot", 0),
        ("opening_courtesy", "Sure! Here", 1),
        ("opening_courtesy", "That's a great question", 1),
        ("opening_courtesy", "¡Claro! Aquí", 1),
        ("opening_courtesy", "当然可以", 1),
        ("opening_courtesy", "Surely not", 0),
        ("opening_courtesy", "Not sure.", 0),
        ("finished", "Done. ", 1),
        ("finished", "好。", 1),
        ("finished", "```\n1\n```\n", 1),
        ("finished", "as follows:\n- a\n- b", 1),
        ("finished", "He said “no”", 1),
        ("finished", "and then the", 0),
        ("finished", "the following:", 0),
    ],
)
def test_shares_and_signs_by_hand(name, response, expected):
    assert value(name, response) == pytest.approx(expected)


def test_features_of_both_by_hand():
    prompt = "big CAT dog cat"
    assert value("prompt_overlap", "A cat, a cat", prompt) == pytest.approx(1 / 3)
    assert value("response_overlap", "A cat, a cat", prompt) == pytest.approx(1 / 2)
    assert value("log_characters_by_prompt", "abcd", prompt) == pytest.approx(
        log1p(4) * (log1p(len(prompt)) - 5), rel=1e-6
    )
    for name in ("prompt_overlap", "response_overlap", "log_characters_by_prompt"):
        assert value(name, "A cat") == 0


def test_a_longer_prompt_asks_for_more_only_in_a_product():
    # What every response of a prompt has in common cancels in a pair.
    long = "why " * 100
    for name in set(NAMES) - {"prompt_overlap", "response_overlap", "log_characters_by_prompt"}:
        assert value(name, "It is so.", "why") == value(name, "It is so.", long), name
    assert value("log_characters_by_prompt", "ab", long) > value("log_characters_by_prompt", "ab")


@given(st.text(), st.text())
def test_any_text_has_finite_features_in_their_range(prompt, response):
    rows = [{"prompt": prompt or "?", "responses": [response, ""]}] if prompt.strip() else [
        {"responses": [response, ""]}
    ]  # fmt: skip
    features = ResponseFeatures().fit()
    values = features.transform(rows)
    assert values.shape == (1, 2, len(NAMES)) and np.isfinite(values).all()
    bounded = features.columns(
        [n for n in NAMES if n.endswith(("_share", "_overlap", "_start", "_courtesy", "finished"))]
    )
    assert (values[..., bounded] >= 0).all() and (values[..., bounded] <= 1).all()
    assert (values[..., :-1] >= 0).all()
    assert not values[0, 1, :-1].any()  # nothing is nothing


@pytest.mark.parametrize(
    "piece", [".", "!)", "*", "`", "$a", "|", "\n ", "a'", "_", "\\(", "](", " "]
)
def test_what_a_stuck_model_repeats_takes_no_quadratic_time(piece):
    # 400,000 characters: minutes, were each repetition to look at all that follow.
    text = piece * (400_000 // len(piece)) + "x"
    assert np.isfinite(ResponseFeatures().fit_transform([[text]])).all()


# ------------------------------------------------------------------------------ rows
@given(
    st.lists(st.tuples(*[st.sampled_from(["a b", "b a", "A?!", "", "1. c\nd"])] * 3), min_size=1)
)
def test_each_text_is_counted_as_if_it_were_alone(texts):
    # Equal texts are counted once: under another prompt, or of the same length, none is mistaken.
    rows = [{"prompt": f"b {p}", "chosen": c, "rejected": r} for p, c, r in texts]
    features = ResponseFeatures().fit()
    alone = np.concatenate([features.transform([row]) for row in rows])
    np.testing.assert_array_equal(features.transform(rows), alone)


def test_every_form_of_a_prompt_reads_the_same():
    prompt, good, bad = "How are you?", "Fine, you?", "No."
    forms = [
        {"prompt": prompt, "chosen": good, "rejected": bad},
        {"prompt": [USER], "chosen": [says(good)], "rejected": [says(bad)]},
        {"chosen": [USER, says(good)], "rejected": [USER, says(bad)]},
    ]
    features = ResponseFeatures().fit()
    expected = features.transform(forms[:1])
    assert expected.shape == (1, 2, 32) and expected.dtype == np.float32
    for form in forms[1:]:
        np.testing.assert_array_equal(features.transform([form]), expected)
    nested = [[[USER, says(good)], [USER, says(bad)]]]
    np.testing.assert_array_equal(features.transform(nested), expected)
    candidates = [{"prompt": prompt, "responses": [good, bad]}]
    np.testing.assert_array_equal(features.transform(candidates), expected)


def test_padding_is_all_nan_and_nothing_else_is():
    rows = [{"prompt": "p", "responses": ["a", "", "c"]}, {"prompt": "q", "responses": ["a"]}]
    values = ResponseFeatures().fit_transform(rows)
    assert np.isnan(values[1, 1:]).all()
    assert np.isfinite(values[0]).all() and np.isfinite(values[1, 0]).all()


def test_plain_texts_have_no_prompt():
    values = ResponseFeatures(["log_words", "prompt_overlap"]).fit_transform([["a b", "c"]] * 3)
    assert values.shape == (3, 2, 2)
    np.testing.assert_allclose(values[0], [[log1p(2), 0], [log1p(1), 0]], rtol=1e-6)


def test_rows_of_text_synthesis_remember_parents():
    row = {"prompt": "p", "chosen": "a b", "rejected": "c"}
    new = {"prompt": "p", "chosen": "a", "rejected": "c d e"}
    rows = AugmentedRows([new, row], parent=[1, 1], number=[1, 0])
    pairs = ResponseFeatures(["log_words"]).fit_transform(rows)
    assert isinstance(pairs, AugmentedPairs)
    assert pairs.parent.tolist() == [0, 0] and pairs.is_synthetic.tolist() == [True, False]
    np.testing.assert_allclose(np.asarray(pairs)[..., 0], np.log1p([[1, 3], [2, 1]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "got no rows"),
        ([{"prompt": 3, "chosen": "a", "rejected": "b"}], "row 0, column 'prompt'.*got 3"),
        ([{"chosen": "a"}], "row 0: column 'rejected' is missing"),
        ([{"chosen": "a", "rejected": "b"}, {"chosen": 1, "rejected": "b"}], "row 1, column 'ch"),
        ([{"responses": ["a", 3]}], r"row 0, responses\[1\]"),
    ],
)
def test_bad_rows_say_where(rows, message):
    with pytest.raises(ValueError, match=message):
        ResponseFeatures().fit_transform(rows)


def test_what_becomes_of_an_empty_response():
    rows = [{"prompt": "p", "chosen": "a b", "rejected": ""}, {"prompt": "p", **PLAIN}]
    names = ["log_words"]
    kept = ResponseFeatures(names).fit_transform(rows)[..., 0]
    np.testing.assert_allclose(kept, np.log1p([[2, 0], [1, 1]]), rtol=1e-6)
    with pytest.raises(ValueError, match="row 0, column 'rejected': the text is empty"):
        ResponseFeatures(names, on_invalid="raise").fit_transform(rows)
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        left = ResponseFeatures(names, on_invalid="drop").fit_transform(rows)[..., 0]
    np.testing.assert_allclose(left, np.log1p([[np.nan, np.nan], [1, 1]]), rtol=1e-6)


def test_a_labeller_is_given_the_calls():
    class Calls:
        def score(self, prompts, responses):
            return [[len(r[0]["tool_calls"]) for r in row] for row in responses]

    def answer(n):
        return [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}] * n}]

    rows = [{"prompt": "p", "chosen": answer(3), "rejected": answer(1)}]
    features = ResponseFeatures([], labellers={"calls": Calls()})
    assert features.fit_transform(rows).tolist() == [[[3], [1]]]


PLAIN = {"chosen": "a", "rejected": "b"}


# ------------------------------------------------------------------------------ own functions
def test_own_functions_are_asked_once_a_text():
    asked = []

    def ratio(prompt, response):
        asked.append((prompt, response))
        return len(response) / len(prompt)

    rows = [{"prompt": "abcd", "chosen": "ab", "rejected": "a"}] * 3
    features = ResponseFeatures(["log_words"], functions={"ratio": ratio})
    np.testing.assert_allclose(features.fit_transform(rows)[2, :, 1], [0.5, 0.25])
    assert asked == [("abcd", "ab"), ("abcd", "a")]
    assert features.get_feature_names_out().tolist() == ["log_words", "ratio"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e39, "3", None, [1.0]])
def test_a_function_returns_a_finite_number(wrong):
    features = ResponseFeatures(functions={"mine": lambda p, r: wrong if r == "b" else 1})
    with pytest.raises(ValueError, match="row 1, column 'rejected': the function 'mine' returned"):
        features.fit_transform([{"chosen": "a", "rejected": "c"}, {"chosen": "a", "rejected": "b"}])


def test_a_function_that_fails_says_where():
    features = ResponseFeatures(functions={"mine": lambda p, r: 1 / (len(r) - 1)})
    with pytest.raises(ValueError, match=r"row 0, responses\[1\]: .*'mine' failed with ZeroDiv"):
        features.fit_transform([{"responses": ["aa", "b"]}])


class Lengths:
    """A labeller that remembers what it was asked."""

    def score(self, prompts, responses):
        self.asked = prompts, responses
        scores = np.full((len(prompts), max(map(len, responses))), np.nan)
        for i, row in enumerate(responses):
            scores[i, : len(row)] = [len(r) if isinstance(r, str) else -1 for r in row]
        return scores


def test_a_labeller_scores_each_response_of_a_prompt_once():
    labeller = Lengths()
    assert isinstance(labeller, PairLabeller)
    rows = [
        {"prompt": "p", "chosen": "aa", "rejected": "b"},
        {"prompt": "q", "chosen": [says("a")], "rejected": "ccc"},
        {"prompt": "p", "chosen": "dddd", "rejected": "b"},
    ]
    values = ResponseFeatures([], labellers={"judge": labeller}).fit_transform(rows)
    assert values[..., 0].tolist() == [[2, 1], [-1, 3], [4, 1]]
    assert labeller.asked == (["p", "q"], [["aa", "b", "dddd"], [[says("a")], "ccc"]])


def test_labeller_errors_say_where():
    features = ResponseFeatures(labellers={"judge": Lengths()})
    with pytest.raises(ValueError, match="row 0, column 'chosen': the labeller 'judge' needs a p"):
        features.fit_transform([{"chosen": "a", "rejected": "b"}])

    class Wrong:
        def __init__(self, scores):
            self.scores = scores

        def score(self, prompts, responses):
            return self.scores

    rows = [{"prompt": "p", "chosen": "a", "rejected": "b"}]
    with pytest.raises(ValueError, match=r"'judge' returned scores of shape \(2,\).*\(1, 2\)"):
        ResponseFeatures(labellers={"judge": Wrong([1, 2])}).fit_transform(rows)
    with pytest.raises(ValueError, match="column 'rejected': the labeller 'judge' gave nan"):
        ResponseFeatures(labellers={"judge": Wrong([[1, np.nan]])}).fit_transform(rows)


# ------------------------------------------------------------------------------ parameters
def test_columns_hold_behind_any_embedding():
    features = ResponseFeatures(functions={"one": lambda p, r: 1.0})
    values = features.fit_transform([{"prompt": "p", "chosen": "a b", "rejected": "c"}])
    behind = np.concatenate([np.zeros((1, 2, 7), dtype=np.float32), values], axis=-1)
    columns = features.columns(["one", "log_words"])
    assert columns[0] == -1 and all(c < 0 for c in columns)
    np.testing.assert_allclose(behind[0, 0, columns], [1, log1p(2)], rtol=1e-6)
    assert features.columns("one") == [-1]
    assert len(features.names) == features.n_features_out_ == 33


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"features": ["log_word"]}, ValueError, "'log_word'. Did you mean 'log_words'"),
        ({"features": ["log_words", "log_words"]}, ValueError, "'log_words' occurs twice"),
        ({"functions": {"finished": len}}, ValueError, "'finished' occurs twice"),
        ({"features": []}, ValueError, "no feature at all"),
        ({"functions": {"a": 1}}, TypeError, r"functions\['a'\]: expected a function"),
        ({"labellers": {"a": len}}, TypeError, r"labellers\['a'\]: expected an object"),
        ({"features": "log_words"}, ValueError, "'features' parameter"),
    ],
)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        ResponseFeatures(**params).fit()


def test_unknown_columns_are_named():
    with pytest.raises(ValueError, match="columns: there is no feature 'length'.*Known are log_c"):
        ResponseFeatures().columns(["length"])


def test_it_is_an_estimator(tmp_path):
    features = ResponseFeatures(["log_words", "finished"])
    with pytest.raises(NotFittedError):
        features.transform([["a"]])
    with pytest.raises(NotFittedError):
        features.get_feature_names_out()
    rows = [{"prompt": "p", "chosen": "a b.", "rejected": "c"}]
    expected = features.fit_transform(rows)
    assert clone(features).get_params() == features.get_params()
    again = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(again.transform(rows), expected)
    export.save(features, tmp_path)
    np.testing.assert_array_equal(export.load(tmp_path).transform(rows), expected)
    features = ResponseFeatures(functions={"mine": lambda p, r: 1}).fit()
    with pytest.raises(ValueError, match="model__functions: a dict cannot be written"):
        export.save(features, tmp_path)
