"""Where in a text's tokens its response is, and the mean over them."""

import pickle

import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import CHAT_TEMPLATE

from lens_sklearn import LLMEmbedder, _response_span
from lens_sklearn._hidden_states import pool
from lens_sklearn._language_model import get_language_model, resolve_model
from lens_sklearn._response_span import ends_of_turns, equal_inputs, tokenize_texts

TALK = (("user", "why the cat"), ("assistant", "because the dog ran"))
ROWS = [
    {"prompt": "why the cat", "chosen": "because the dog ran", "rejected": "no"},
    {"prompt": "how big", "chosen": "small and red", "rejected": "small"},
    {"prompt": "yes", "chosen": "maybe never always i you we they said", "rejected": "a"},
]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
# <s> user why the cat </s> assistant because the dog ran </s>
#  0   1    2   3   4   5      6        7     8   9   10   11


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        "decoder": tiny_models.save_decoder(tmp_path_factory.mktemp("decoder")),
        "encoder": tiny_models.save_encoder(tmp_path_factory.mktemp("encoder")),
    }


@pytest.fixture(scope="module")
def decoder(folders):
    return get_language_model(resolve_model(folders["decoder"]))


@pytest.fixture(scope="module")
def encoder(folders):
    return get_language_model(resolve_model(folders["encoder"]))


def spans_of(model, texts, template=CHAT_TEMPLATE, max_length=64):
    ids, overlong, spans = tokenize_texts(model, texts, template, max_length, str, with_spans=True)
    assert all(0 <= start <= end <= len(own) for (start, end), own in zip(spans, ids, strict=True))
    return [tuple(span) for span in spans.tolist()], ids, overlong


def words_of(model, text, **options):
    (span,), (ids,), _ = spans_of(model, [text], **options)
    return model.tokenizer.decode(ids[slice(*span)])


# ---------------------------------------------------------------------------------- spans
def test_the_response_is_the_last_message_alone(decoder):
    spans, ids, _ = spans_of(decoder, [TALK, TALK[:1], (*TALK, ("user", "red"))])
    assert [len(own) for own in ids] == [12, 6, 15]
    assert spans == [(7, 11), (2, 5), (13, 14)]


def test_of_a_plain_text_all_tokens_are_the_response(decoder, encoder):
    assert spans_of(decoder, ["why the cat"])[0] == [(0, 4)]  # with its BOS
    assert spans_of(encoder, ["why the cat"], template=None)[0] == [(0, 5)]


def test_without_a_template_the_contents_are_joined(decoder, encoder):
    # <s> why the cat because the dog ran;  [CLS] why the cat because the dog ran [SEP]
    assert spans_of(decoder, [TALK], template=None)[0] == [(4, 8)]
    assert spans_of(encoder, [TALK], template=None)[0] == [(4, 8)]


def test_a_response_that_repeats_what_surrounds_it_is_whole(decoder):
    for content in ("assistant", "assistant </s>", "why the cat", "user why </s> assistant"):
        talk = (TALK[0], ("assistant", content))
        assert words_of(decoder, talk) == content


TEMPLATES = {
    "generation prompt": CHAT_TEMPLATE + "{% if add_generation_prompt %}assistant{% endif %}",
    "no prompt alone": "{% if messages|length < 2 %}{{ raise_exception('too few') }}{% endif %}"
    + CHAT_TEMPLATE,
    "rewrites earlier messages": "{% for m in messages %}{{ 'red ' if not loop.last }}"
    "{{ m['content'] }} {{ 'blue' if loop.last else 'big ' }} {% endfor %}",
    "trims": CHAT_TEMPLATE.replace("m['content']", "m['content'] | trim"),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_templates_of_all_kinds(decoder, template):
    assert words_of(decoder, TALK, template=template) == "because the dog ran"


def test_a_template_that_reads_the_response_before_it_writes_it(decoder):
    # The first message depends on the last: only what both versions begin with is the prompt's.
    template = "red {{ 'blue' if 'dog' in messages[-1]['content'] else 'big' }} " + CHAT_TEMPLATE
    words = words_of(decoder, TALK, template=template)
    assert words.startswith("blue") and words.endswith("because the dog ran")


def test_a_token_that_reaches_over_the_border_counts(tmp_path, decoder):
    class Merging:
        """A tokenizer of pairs of letters: a border may fall within a token."""

    class Model:
        tokenizer = Merging()

        def render(self, messages, template, **options):
            return "".join(content for _, content in messages)

        def tokenize(self, texts, *, add_special_tokens, place=None):
            ids = [[int(t[i : i + 2], 36) for i in range(0, len(t), 2)] for t in texts]
            return [np.array(own, dtype=np.int32) for own in ids]

    texts = [(("user", "abc"), ("assistant", "de")), (("user", "abcd"), ("assistant", "ef"))]
    assert spans_of(Model(), texts, template="")[0] == [(1, 3), (2, 3)]


@pytest.mark.parametrize("length", range(1, 14))
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_prompt_is_cut_before_the_response(decoder, monkeypatch, side, length):
    monkeypatch.setattr(decoder.tokenizer, "truncation_side", side)
    _, (whole,), _ = spans_of(decoder, [TALK])
    ((start, end),), (ids,), overlong = spans_of(decoder, [TALK], max_length=length)
    assert overlong.tolist() == [length < 12]
    left = {  # which of the 12 tokens are there: BOS, the response, then the prompt's end
        1: [7], 2: [0, 7], 3: [0, 7, 8], 4: [0, 7, 8, 9], 5: [0, 7, 8, 9, 10],
    }.get(length) or [0, *range(13 - min(length, 12), 12)]  # fmt: skip
    assert ids.tolist() == whole[left].tolist()
    assert left[start:end] == [token for token in left if 7 <= token < 11]


@pytest.mark.parametrize("length", range(3, 9))
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_text_without_a_prompt_is_cut_as_the_tokenizer_does(kind, side, length, request):
    model = request.getfixturevalue(kind)
    model.tokenizer.truncation_side = side
    text = "why the cat sat on a mat"
    try:
        _, (ids,), _ = spans_of(model, [text], template=None, max_length=length)
        own = model.tokenizer(text, truncation=True, max_length=length)["input_ids"]
    finally:
        model.tokenizer.truncation_side = "right"
    assert ids.tolist() == own


def test_without_a_template_the_prompt_is_cut_between_the_special_tokens(encoder):
    # [CLS] why the cat because the dog ran [SEP]
    (span,), (ids,), _ = spans_of(encoder, [TALK], template=None, max_length=7)
    assert encoder.tokenizer.decode(ids) == "[CLS] cat because the dog ran [SEP]"
    assert span == (2, 6)
    assert words_of(encoder, TALK, template=None, max_length=4) == "because the"


def test_a_text_that_was_rendered_beforehand_is_its_conversation(decoder):
    text = "<s>user why the cat </s>assistant because the dog ran </s>"
    for max_length in (64, 9, 4):
        (first, second), (ids, same), _ = spans_of(decoder, [text, TALK], max_length=max_length)
        assert first == second and ids.tolist() == same.tolist()
    # What only begins so, or goes on behind the response, is a plain text; BOS comes once.
    for other in ("<s> why the cat", text + "user no </s>"):
        (span,), (ids,), _ = spans_of(decoder, [other])
        assert span == (0, len(ids)) and ids.tolist().count(0) == 1


# Around messages: words alone in front of them, between them, or both, with BOS and without.
OTHER_TEMPLATES = {
    "Llama 2": "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}"
    "[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} {{ eos_token }}{% endif %}"
    "{% endfor %}",
    "Zephyr": "{% for m in messages %}|{{ m.role }}|\n{{ m.content }} {{ eos_token }}\n"
    "{% endfor %}",
    "Vicuna": "A chat.{% for m in messages %} {{ m.role|upper }}: {{ m.content }}{% endfor %}",
    "Alpaca": "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}",
    "words": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
}


@pytest.mark.parametrize("template", OTHER_TEMPLATES.values(), ids=OTHER_TEMPLATES)
def test_templates_that_write_words_are_known_by_them(decoder, template):
    for talk in (TALK, (("user", "a cat"), ("assistant", "ran"), *TALK)):
        text = decoder.render(talk, template)
        forms = sorted({text, text.rstrip(), text.removeprefix("<s>")})
        for max_length in (64, 9):
            found, ids, _ = spans_of(decoder, [*forms, talk], template, max_length)
            assert len(set(found)) == 1 and found[0] != (0, len(ids[0]))
            assert len({tuple(own.tolist()) for own in ids}) == 1
    asked = decoder.render((*TALK, ("user", "no")), template)
    for other in ("a cat", asked, "system: a cat"):
        (span,), (ids,), _ = spans_of(decoder, [other], template)
        assert span == (0, len(ids))


def test_a_system_message_of_words_is_known(decoder):
    template = OTHER_TEMPLATES["Alpaca"]
    talk = (("system", "be red"), *TALK)
    found, ids, _ = spans_of(decoder, [decoder.render(talk, template), talk], template)
    assert found[0] == found[1] and ids[0].tolist() == ids[1].tolist()


def test_a_template_that_writes_contents_alone_marks_no_text(decoder):
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (span,), (ids,), _ = spans_of(decoder, [decoder.render(TALK, template)], template)
    assert span == (0, len(ids)) and ids[0] == 0


def test_special_tokens_of_the_text_are_not_added_again(encoder, decoder):
    for model, text in ((encoder, "[CLS] a cat [SEP]"), (decoder, "<s> a cat")):
        _, (own,), _ = spans_of(model, [text], template=None)
        _, (bare,), _ = spans_of(model, ["a cat"], template=None)
        assert own.tolist() == bare.tolist()


def test_equal_inputs_are_found():
    ids = [np.array(i, dtype=np.int32) for i in ([1, 2], [1], [1, 2], [2, 1])]
    once, kind = equal_inputs(ids)
    assert (once, kind.tolist()) == ([0, 1, 3], [0, 1, 0, 2])
    spans = np.array([(0, 2), (0, 1), (1, 2), (0, 2)])
    assert equal_inputs(ids, spans)[0] == [0, 1, 2, 3]


def test_a_text_that_the_tokenizer_refuses_is_named(decoder):
    with pytest.raises(ValueError, match="1: character 2 of .* is half of a surrogate"):
        spans_of(decoder, ["a cat", "a \ud83d"])


def test_texts_are_found_again_across_chunks(decoder, monkeypatch):
    texts = [TALK, "red", (*TALK, ("user", "red")), TALK[:1], "a cat"]
    at_once, _, _ = spans_of(decoder, texts)
    monkeypatch.setattr(_response_span, "TOKENIZED_AT_ONCE", 1)
    assert spans_of(decoder, texts)[0] == at_once


def test_without_spans_nothing_more_is_tokenized(decoder, monkeypatch):
    asked = []
    tokenize = type(decoder).tokenize
    monkeypatch.setattr(
        type(decoder), "tokenize", lambda self, texts, *a, **k: (
            asked.extend(texts), tokenize(self, texts, *a, **k))[1],
    )  # fmt: skip
    assert tokenize_texts(decoder, [TALK], CHAT_TEMPLATE, 64, str)[2] is None
    assert len(asked) == 1


# --------------------------------------------------------------------------------- pooling
@given(st.data())
def test_the_mean_begins_at_the_response_on_either_side_of_padding(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    starts = [data.draw(st.integers(0, length + 1)) for length in lengths]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    states = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    longest = max(lengths) + data.draw(st.integers(0, 2))
    for left in (True, False):
        hidden = np.full((len(states), longest, 3), np.nan, dtype=np.float32)
        mask = np.zeros((len(states), longest), dtype=np.int64)
        for i, state in enumerate(states):
            own = slice(longest - len(state), None) if left else slice(len(state))
            hidden[i, own], mask[i, own] = state, 1
        vectors = pool(
            torch.from_numpy(hidden), torch.from_numpy(mask), "response_mean", torch.tensor(starts)
        )
        expected = [
            state[min(start, len(state) - 1) :].mean(0)
            for state, start in zip(states, starts, strict=True)
        ]
        np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


def test_what_is_before_the_response_may_be_infinite():
    hidden = torch.tensor([[[torch.inf], [1.0], [3.0]]])
    vector = pool(hidden, torch.ones(1, 3), "response_mean", torch.tensor([1]))
    assert vector.tolist() == [[2.0]]


def test_the_embedding_is_the_mean_over_the_response_and_its_end(decoder, folders):
    embedder = LLMEmbedder(folders["decoder"], layer=1, pooling="response_mean", dtype="float32")
    vectors = embedder.fit_transform(ROWS[:1])
    ids = decoder.tokenizer("<s> user why the cat </s> assistant because the dog ran </s>",
                            add_special_tokens=False)["input_ids"]  # fmt: skip
    with torch.inference_mode():
        output = decoder.network(
            input_ids=torch.tensor([ids]).to(decoder.spec.device), output_hidden_states=True
        )
    expected = output.hidden_states[1][0, 7:].float().mean(0).cpu().numpy()
    np.testing.assert_allclose(vectors[0, 0], expected, **TOLERANCE)


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_batch_and_single_agree_whatever_the_padding_side(tmp_path, padding_side, folders):
    model = tiny_models.save_decoder(tmp_path, padding_side=padding_side)
    options = {"pooling": ["response_mean", "last"], "layer": "all", "dtype": "float32"}
    whole = LLMEmbedder(model, **options).fit_transform(ROWS)
    single = LLMEmbedder(model, batch_tokens=1, **options).fit_transform(ROWS)
    np.testing.assert_allclose(single, whole, **TOLERANCE)
    alone = np.concatenate([LLMEmbedder(model, **options).fit_transform([row]) for row in ROWS])
    np.testing.assert_allclose(alone, whole, **TOLERANCE)
    other = LLMEmbedder(folders["decoder"], **options).fit_transform(ROWS)
    np.testing.assert_allclose(other, whole, **TOLERANCE)


def test_an_empty_response_is_the_last_token(decoder, encoder):
    talk = (TALK[0], ("assistant", ""))
    for model, template in ((decoder, CHAT_TEMPLATE), (decoder, None), (encoder, None)):
        ids, _, spans = tokenize_texts(model, [talk], template, 64, str, with_spans=True)
        assert spans[0, 0] == spans[0, 1]
        mean, last = np.split(model.embed(ids, [1], ["response_mean", "last"], spans)[0], 2)
        np.testing.assert_allclose(mean, last, **TOLERANCE)


def test_dropped_texts_do_not_shift_the_spans_of_others(folders):
    options = {"layer": 1, "pooling": "response_mean", "dtype": "float32"}
    rows = [ROWS[2], *ROWS[:2]]
    whole = LLMEmbedder(folders["decoder"], **options).fit_transform(rows)
    some = LLMEmbedder(folders["decoder"], max_length=12, overlong="drop", **options)
    vectors = some.fit(rows).transform(rows)
    assert np.isnan(vectors[0, 0]).all()
    np.testing.assert_allclose(vectors[1:], whole[1:], **TOLERANCE)


@pytest.mark.parametrize("jobs", [None, 2])
def test_without_a_template_the_prompt_is_left_out_too(folders, encoder, jobs):
    options = {"layer": -1, "pooling": "response_mean", "dtype": "float32"}
    vectors = LLMEmbedder(
        folders["encoder"], chat_template=None, n_jobs=jobs, batch_tokens=9, **options
    ).fit_transform(ROWS)
    for row, vector in zip(ROWS, vectors[:, 0], strict=True):
        ids = encoder.tokenizer(f"{row['prompt']} {row['chosen']}", return_tensors="pt")
        with torch.inference_mode():
            states = encoder.network(**ids.to(encoder.spec.device)).last_hidden_state[0]
        first = 1 + len(row["prompt"].split())  # behind [CLS] and the prompt
        expected = states[first:].float().mean(0).cpu().numpy()
        np.testing.assert_allclose(vector, expected, **TOLERANCE)


def test_the_same_words_split_elsewhere_are_another_record(folders, tmp_path):
    options = {"layer": 1, "pooling": "response_mean", "chat_template": None}
    rows = [{"prompt": "a", "responses": ["cat\nran"]}, {"prompt": "a\ncat", "responses": ["ran"]}]
    first = LLMEmbedder(folders["decoder"], store=tmp_path, **options).fit_transform(rows)
    assert np.abs(first[0] - first[1]).max() > 1e-3
    again = LLMEmbedder(folders["decoder"], store=tmp_path, **options).fit_transform(rows[::-1])
    np.testing.assert_array_equal(again[::-1], first)


# ---------------------------------------------------------------------------------- last
# As ChatML, but for the line break between turns, so that a text with and without the last line
# break has the same states up to it.
TURNS = (
    "{% for m in messages %}<s> {{ m['role'] }} {{ m['content'] }} </s>"
    "{% if loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
)
BARE = TURNS.replace("{{ '\n' }}", "")
LAST = {"layer": -1, "pooling": "last", "dtype": "float32", "chat_template": TURNS}


@pytest.fixture(scope="module")
def breaking(tmp_path_factory):
    """A decoder whose tokenizer has a token for a line break, as real ones have."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("breaking")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_models, "WORDS", [*tiny_models.WORDS, "\n"])
        tiny_models.save_decoder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["\n"])
    tokenizer.save_pretrained(folder)
    return str(folder)


def forget_rule(embedder):
    """Make a fitted embedder what earlier versions saved."""
    state = embedder.get_fitted_state()
    assert state.pop("last_of_turn_") is ("last" in state["poolings_"])
    old = LLMEmbedder(**embedder.get_params())
    old.set_fitted_state(state)
    return old


def test_last_ends_the_turn_before_its_line_break(breaking):
    bare = LLMEmbedder(breaking, **LAST | {"chat_template": BARE}).fit_transform(ROWS)
    new = LLMEmbedder(breaking, **LAST).fit(ROWS)
    np.testing.assert_allclose(new.transform(ROWS), bare, **TOLERANCE)
    old = forget_rule(new).transform(ROWS)
    assert (np.abs(old - bare).max(axis=-1) > 1e-2).all()
    # several turns, a text that was rendered beforehand, and beside other poolings
    model = get_language_model(resolve_model(breaking))
    rendered = [model.render(TALK, TURNS), model.render(TALK, BARE)]
    vectors = new.transform([[text] for text in rendered])
    np.testing.assert_allclose(vectors[0], vectors[1], **TOLERANCE)
    both = LLMEmbedder(breaking, **LAST | {"pooling": ["last", "response_mean"]})
    np.testing.assert_allclose(both.fit_transform(ROWS)[..., :16], bare, **TOLERANCE)


def test_what_was_saved_earlier_reads_what_it_was_fitted_on(breaking, tmp_path):
    new = LLMEmbedder(breaking, store=tmp_path, **LAST).fit(ROWS)
    old = forget_rule(new)
    expected = [forget_rule(LLMEmbedder(breaking, **LAST).fit()).transform(ROWS),
                LLMEmbedder(breaking, **LAST).fit_transform(ROWS)]  # fmt: skip
    for _ in range(2):  # made, then read from the store: neither finds the other's records
        for embedder, vectors in zip((old, new), expected, strict=True):
            np.testing.assert_array_equal(embedder.transform(ROWS), vectors)
    again = pickle.loads(pickle.dumps(old))
    np.testing.assert_array_equal(again.transform(ROWS), expected[0])
    del vars(new)["last_of_turn_"]  # an older pickle
    np.testing.assert_array_equal(new.transform(ROWS), expected[0])


# ---------------------------------------------------------------------------------- the front
def test_a_token_that_begins_turns_does_not_stay_in_front(tmp_path):
    folder = tiny_models.save_chatml(tmp_path / "model")
    model = get_language_model(resolve_model(folder))
    template = model.tokenizer.chat_template
    assert model.lone_front_tokens("auto") == set() and model.lone_front_tokens(None) == {1}
    assert model.lone_front_tokens("{{ raise_exception('no') }}") == {1}  # nothing is known
    rows = [{"prompt": "why? " * 20, "chosen": "because", "rejected": "no"}]
    options = {"max_length": 60, "layer": -1, "pooling": "mean", "dtype": "float32"}
    new = LLMEmbedder(folder, store=tmp_path / "store", **options).fit(rows)
    old = LLMEmbedder(**new.get_params())
    old.set_fitted_state({k: v for k, v in new.get_fitted_state().items() if k != "front_tokens_"})
    ids = model.tokenize(
        [model.render((("user", rows[0]["prompt"]), ("assistant", "because")), template)],
        add_special_tokens=False,
    )[0]
    for _ in range(2):  # made, then read from the store
        for embedder, own in ((new, ids[-60:]), (old, np.r_[ids[:1], ids[-59:]])):
            by_hand = model.embed([own], [2], ["mean"])[0]
            np.testing.assert_allclose(embedder.transform(rows)[0, 0], by_hand, **TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("decoder", {"chat_template": None}),
        ("encoder", {}),
        ("decoder", {"pooling": ["mean", "response_mean"]}),
    ],
)
def test_where_nothing_changed_records_are_found_again(folders, tmp_path, kind, options):
    options = LAST | {"chat_template": "auto"} | options
    new = LLMEmbedder(folders[kind], store=tmp_path, **options).fit(ROWS)
    vectors = forget_rule(new).transform(ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lens_sklearn._embedder.embed_batch", None)  # nothing is computed
        np.testing.assert_array_equal(new.transform(ROWS), vectors)


def test_a_template_that_ends_with_its_end_of_turn_changes_nothing(folders):
    new = LLMEmbedder(folders["decoder"], **LAST | {"chat_template": "auto"}).fit(ROWS)
    np.testing.assert_array_equal(new.transform(ROWS), forget_rule(new).transform(ROWS))


def test_a_response_that_was_cut_ends_where_it_was_cut(breaking):
    short = LLMEmbedder(breaking, **LAST | {"max_length": 9}).fit(ROWS)
    long = [{"prompt": "why", "responses": ["maybe never always i you we they said"]}]
    np.testing.assert_array_equal(short.transform(long), forget_rule(short).transform(long))


@pytest.mark.parametrize(
    ("text", "end", "last"),
    [
        ("<s> why no </s> \n", 3, 3),
        ("<s> why no </s> \n \n", 3, 3),
        ("<s> why no </s>", 3, 3),
        ("<s> why no \n", 3, 2),  # no token ends the turn: the response's last
        ("<s> why no \n", 4, 3),  # the line break is the response's own
        ("<s> why </s> \n", 2, 2),  # an empty response
        ("\n", 0, 0),
    ],
)
def test_ends_of_turns(breaking, text, end, last):
    model = get_language_model(resolve_model(breaking))
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.split(" "))
    assert ends_of_turns(model, [np.array(ids)], [(0, end)]).tolist() == [last]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_token_that_last_reads_is_counted_without_padding(side):
    hidden = torch.arange(10.0).reshape(2, 5, 1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    if side == "right":
        mask = mask.flip(1)
    found = pool(hidden, mask, "last", lasts=torch.tensor([3, 1]))
    assert found.ravel().tolist() == [3.0, 8.0 if side == "left" else 6.0]
