"""Token ids: legal ones alone, special tokens once, and what is left of long texts."""

import numpy as np
import pytest
import tiny_models
import transformers
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn import LLMEmbedder
from lens_sklearn._tokens import AddedTokens, added_tokens, check_ids, cut, encode, legal_pad
from lens_sklearn.textual import ImplicitPreferenceLabeller, RewardModelLabeller


class Letters:
    """A tokenizer of a token a letter, between the tokens 1, 2 and 3."""

    def __init__(self, before=(1, 2), after=(3,)):
        self.before, self.after = list(before), list(after)

    def __call__(self, texts, add_special_tokens=True, **options):
        if isinstance(texts, str):
            return {"input_ids": self([texts], add_special_tokens)["input_ids"][0]}
        ids = [[int(c) if c.isdigit() else ord(c) for c in text] for text in texts]
        if "?" in "".join(texts):
            raise OverflowError("a question")
        if add_special_tokens:
            ids = [self.before + own + self.after for own in ids]
        return {"input_ids": ids}


# ------------------------------------------------------------------------- special tokens
def test_what_a_tokenizer_adds_is_found():
    assert added_tokens(Letters()) == AddedTokens((1, 2), (3,))
    assert added_tokens(Letters((), ())) == AddedTokens((), ())


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a", [1, 2, 97, 3]),
        ("12a", [1, 2, 97, 3]),
        ("12a3", [1, 2, 97, 3]),
        ("a3", [1, 2, 97, 3]),
        ("1a", [1, 2, 1, 97, 3]),
        ("", [1, 2, 3]),
        ("1212a", [1, 2, 1, 2, 97, 3]),
    ],
)
def test_special_tokens_come_once(text, expected):
    (ids,) = encode(Letters(), [text], AddedTokens((1, 2), (3,)), str)
    assert ids.tolist() == expected
    (bare,) = encode(Letters(), [text], None, str)
    assert bare.tolist() == [int(c) if c.isdigit() else ord(c) for c in text]


def test_a_refused_text_is_named_with_what_the_tokenizer_says():
    with pytest.raises(ValueError, match=r"row 1: the tokenizer refuses .*OverflowError: a quest"):
        encode(Letters(), ["a", "why?"], None, "row {}".format)
    with pytest.raises(ValueError, match=r"row 0: character 1 .* \('\\ud83d'\).*surrogatepass"):
        encode(Letters(), ["a\ud83d?"], None, "row {}".format)


# ---------------------------------------------------------------------------- legal tokens
def test_ids_are_rows_of_the_embedding_matrix():
    check_ids([np.array([0, 9]), np.array([], dtype=int)], 10, str)
    check_ids([np.array([10**6])], None, str)
    with pytest.raises(ValueError, match="1: .* token 10 .* 0 to 9 .*resize_token_embeddings"):
        check_ids([np.array([9]), np.array([10])], 10, str)
    assert [legal_pad(i, 10) for i in (None, 9, 10, -1)] == [0, 9, 0, 0]
    assert legal_pad(10, None) == 10


def add_tokens(folder, **tokens):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(tokens)
    tokenizer.save_pretrained(folder)


def test_a_pad_token_without_an_embedding_makes_no_difference(tmp_path):
    rows = [["the cat", "the cat sat on the mat", "a"]]
    for save in (tiny_models.save_decoder, tiny_models.save_encoder):
        folder = save(tmp_path / save.__name__)
        before = LLMEmbedder(folder, dtype="float32").fit_transform(rows)
        add_tokens(folder, pad_token="[PADDING]")
        after = LLMEmbedder(folder, dtype="float32").fit_transform(rows)
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def test_labellers_do_without_the_pad_tokens_embedding(tmp_path):
    asked = (["why"], [["the cat", "the cat sat on the mat", "a"]])
    options = {"dtype": "float32", "device": "cpu"}
    reward = tiny_models.save_reward(tmp_path / "reward")
    causal = tiny_models.save_causal(tmp_path / "causal")
    labellers = [
        RewardModelLabeller(reward, **options),
        ImplicitPreferenceLabeller(causal, mode="likelihood", **options),
    ]
    before = [labeller.score(*asked) for labeller in labellers]
    for folder in (reward, causal):
        add_tokens(folder, pad_token="[PADDING]")
    config = transformers.AutoConfig.from_pretrained(reward)
    config.pad_token_id = config.vocab_size
    config.save_pretrained(reward)
    for labeller, expected in zip(labellers, before, strict=True):
        np.testing.assert_allclose(labeller.score(*asked), expected, rtol=1e-4, atol=1e-5)


def test_a_token_without_an_embedding_names_its_text(tmp_path):
    folder = tiny_models.save_decoder(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(folder)
    rows = [
        {"prompt": "why", "chosen": "a", "rejected": "no"},
        {"prompt": "why", "chosen": "a", "rejected": "<think> no"},
    ]
    with pytest.raises(ValueError, match="row 1, column 'rejected': .* token 40 .* 0 to 39"):
        LLMEmbedder(folder).fit_transform(rows)


# ------------------------------------------------------------------------------- long texts
FRONT = {"front": {1, 2}, "added": AddedTokens((1, 2), (3,))}


@pytest.mark.parametrize(
    "limit, has_prompt, side, expected, span",
    [
        # 1 2 | 10 11 12 13 | 20 21 22 | 3: front, prompt, response, added behind
        (10, True, "right", [1, 2, 10, 11, 12, 13, 20, 21, 22, 3], (6, 9)),
        (8, True, "right", [1, 2, 12, 13, 20, 21, 22, 3], (4, 7)),
        (8, True, "left", [1, 2, 12, 13, 20, 21, 22, 3], (4, 7)),
        (6, True, "right", [1, 2, 20, 21, 22, 3], (2, 5)),
        (5, True, "right", [1, 2, 20, 21, 3], (2, 4)),
        (4, True, "left", [1, 2, 20, 3], (2, 3)),
        (3, True, "right", [20, 21, 22], (0, 3)),  # no room for both: what is read first
        (8, False, "right", [1, 2, 10, 11, 12, 13, 20, 3], (6, 7)),
        (8, False, "left", [1, 2, 12, 13, 20, 21, 22, 3], (4, 7)),
        (4, False, "right", [1, 2, 10, 3], (3, 3)),
    ],
)
def test_what_is_left_of_a_long_text(limit, has_prompt, side, expected, span):
    ids = np.array([1, 2, 10, 11, 12, 13, 20, 21, 22, 3])
    found, place = cut(ids, (6, 9), limit, has_prompt=has_prompt, side=side, **FRONT)
    assert (found.tolist(), place) == (expected, span)


@given(st.data())
def test_cut_texts_have_their_length_and_the_spans_tokens(data):
    n = data.draw(st.integers(1, 20))
    start = data.draw(st.integers(0, n))
    end = data.draw(st.integers(start, n))
    limit = data.draw(st.integers(1, 22))
    n_front, n_after = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    ids = np.arange(n)  # each token its own place
    found, (first, last) = cut(
        ids, (start, end), limit, front=set(range(n_front)),
        added=AddedTokens((), tuple(range(n - n_after, n))) if n_after <= n else None,
        has_prompt=data.draw(st.booleans()), side=data.draw(st.sampled_from(["left", "right"])),
    )  # fmt: skip
    assert len(found) == min(n, limit) and (np.diff(found) > 0).all()
    assert found[first:last].tolist() == [i for i in found if start <= i < end]


# ------------------------------------------------------------- what became equal is counted
def long_rows(prompt="why", extra=""):
    shared = "the cat sat on a mat because the dog ran on the small red tree "
    rows = [
        {"prompt": prompt, "chosen": shared + "yes" + extra, "rejected": shared + "no"},
        {"prompt": prompt, "chosen": "yes", "rejected": "no"},
    ]
    return rows[::-1]


def test_pairs_that_the_cut_made_equal_are_counted_and_the_first_is_named(tmp_path):
    folder = tiny_models.save_decoder(tmp_path / "model")
    options = {"max_length": 12, "dtype": "float32", "store": tmp_path / "store"}
    for _ in range(2):  # the store's records are compared too
        with pytest.warns(UserWarning, match=r"in 1 of 2 rows \(first: row 1\) chosen and rej"):
            pairs = LLMEmbedder(folder, **options).fit_transform(long_rows())
    assert (pairs[1, 0] == pairs[1, 1]).all() and (pairs[0, 0] != pairs[0, 1]).any()
    LLMEmbedder(folder, max_length=40).fit_transform(long_rows())
    dropped = LLMEmbedder(folder, max_length=12, overlong="drop").fit().transform(long_rows())
    assert np.isnan(dropped[1]).all()


def test_long_prompts_make_no_pairs_equal(tmp_path):
    folder = tiny_models.save_decoder(tmp_path)
    rows = [{"prompt": "a cat " * 40, "chosen": "the dog", "rejected": "no"}]
    pairs = LLMEmbedder(folder, max_length=16).fit_transform(rows)
    assert (pairs[0, 0] != pairs[0, 1]).any()


def test_what_a_template_leaves_out_is_counted(tmp_path, caplog):
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }} "
        "{{ m['content'].split('</think>')[-1].strip() }} {{ eos_token }}{% endfor %}"
    )
    folder = tiny_models.save_decoder(tmp_path, chat_template=template)
    rows = [{"prompt": "why", "chosen": "<think>a</think> yes", "rejected": "<think>b</think> yes"}]
    with pytest.warns(UserWarning, match="in 1 of 1 rows .*left out by the chat template"):
        LLMEmbedder(folder).fit_transform(rows)
    candidates = [
        {"prompt": "why", "responses": ["yes", "no", "a"]},
        {"prompt": "why", "responses": ["a", "yes ", "yes"]},
        {"prompt": "why", "responses": ["no", "no"]},  # one text twice says nothing
    ]
    LLMEmbedder(folder).fit_transform(candidates)
    assert "In 1 of 3 rows (first: row 1) different candidates have the same" in caplog.text
