"""Sampling responses: seeds, batches, the store, kills, and what goes wrong."""

import json
import pickle
import sys
from math import log

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_models import CHAT_TEMPLATE, EOS, save_causal, save_decoder, sentence

from lens_sklearn import load_candidates
from lens_sklearn._array_store import ArrayStore, store_keys
from lens_sklearn._language_model import LanguageModel, resolve_model
from lens_sklearn._rows import read_responses
from lens_sklearn.textual import RejectionSampler, ResponseGenerator, _extras, _networks
from lens_sklearn.textual._sampling import (
    GumbelNoise,
    StopAtText,
    cut_at_stop,
    logits_processors,
    stop_tokens,
)

# Random models end some responses before they begin and most never; counting has its own tests.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* responses are empty"),
    pytest.mark.filterwarnings("ignore:.* were cut at max_new_tokens"),
]
ROWS = [{"prompt": sentence(np.random.RandomState(i), 3 + i % 4)} for i in range(12)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture
def generator(folder):
    return ResponseGenerator(folder, n_samples=4, max_new_tokens=6, random_state=0)


def test_rows_come_back_with_their_responses(generator):
    out = generator.fit_transform(ROWS)
    assert [row["prompt"][0]["content"] for row in out] == [row["prompt"] for row in ROWS]
    assert all(0 < len(row["responses"]) <= 4 for row in out)
    words = [len(text.split()) for row in out for text in row["responses"]]
    assert generator.n_generated_ == 48 == len(words) + generator.n_empty_
    assert 1 <= min(words) and max(words) <= 6


@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
def test_samples_do_not_depend_on_the_batch(tmp_path, family):
    generator = ResponseGenerator(
        save_causal(tmp_path, family=family), n_samples=4, max_new_tokens=6, random_state=0
    )
    expected = clone(generator).fit_transform(ROWS)
    for batch_tokens in (1, 60):
        again = generator.set_params(batch_tokens=batch_tokens).fit_transform(ROWS[:6])
        assert again == expected[:6]
    assert clone(generator).fit_transform(ROWS[::-1]) == expected[::-1]


def test_seeds_differ_and_the_global_state_is_left_alone(generator):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = generator.fit_transform(ROWS)
    assert clone(generator).set_params(random_state=1).fit_transform(ROWS) != first
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_a_prompt_that_comes_again_gets_further_samples(generator):
    once, again = generator.fit_transform([ROWS[0], ROWS[0]])
    assert once["responses"] != again["responses"]
    twice = generator.set_params(n_samples=8).fit_transform([ROWS[0]])[0]
    assert twice["responses"] == once["responses"] + again["responses"]


def test_gumbel_noise_samples_the_softmax():
    logits = torch.tensor([log(0.5), log(0.3), log(0.2), -torch.inf])
    seeds = [(7919 * i).to_bytes(8, "big") for i in range(4000)]
    drawn = GumbelNoise(seeds, "cpu")(None, logits.expand(len(seeds), -1)).argmax(dim=1)
    share = np.bincount(drawn, minlength=4) / len(seeds)
    np.testing.assert_allclose(share, [0.5, 0.3, 0.2, 0], atol=0.03)


def test_warpers_act_in_the_order_of_transformers():
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    kinds = [type(p) for p in logits_processors(0.5, 3, 0.9, 0.1, str)[:-1]]
    assert kinds == [TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, MinPLogitsWarper]
    assert len(logits_processors(1.0, None, 1.0, None, str)) == 2

    def left(logits, **options):
        scores = torch.tensor([logits])
        for process in logits_processors(*options.values(), lambda ids, scores: scores):
            scores = process(None, scores)
        return torch.isfinite(scores[0]).tolist()

    logits = [log(0.5), log(0.3), log(0.15), log(0.05)]
    assert left(logits, temperature=1, top_k=3, top_p=1, min_p=None) == [1, 1, 1, 0]
    assert left(logits, temperature=1, top_k=None, top_p=1, min_p=0.4) == [1, 1, 0, 0]
    # at half the temperature 0.15 / 0.5 = .3 becomes .09
    assert left(logits, temperature=0.5, top_k=None, top_p=1, min_p=0.2) == [1, 1, 0, 0]
    # of the three that are left 0.3 / 0.95 more make .84
    assert left(logits, temperature=1, top_k=3, top_p=0.84, min_p=None) == [1, 1, 0, 0]


@pytest.mark.parametrize("params", [{"top_k": 1}, {"min_p": 1.0}])
def test_the_likeliest_alone_is_left(generator, params):
    expected = clone(generator).set_params(temperature=1e-6)
    with pytest.warns(UserWarning, match="identical responses"):
        expected = expected.fit_transform(ROWS[:3])
    with pytest.warns(UserWarning, match="identical responses"):
        assert generator.set_params(**params).fit_transform(ROWS[:3]) == expected


# ------------------------------------------------------------------------------ where it ends
def test_what_fills_the_room_is_cut_and_counted(generator, monkeypatch):
    generate, n_full = ResponseGenerator._generate, []

    def watched(self, *args):
        new = generate(self, *args)
        n_full.append((new[:, -1] != -1).sum())
        return new

    monkeypatch.setattr(ResponseGenerator, "_generate", watched)
    with pytest.warns(UserWarning, match="were cut at max_new_tokens=6") as caught:
        out = generator.fit_transform(ROWS)
    (message,) = [str(w.message) for w in caught if "were cut" in str(w.message)]
    assert message.startswith(f"{generator.n_cut_} of 48 responses (first: row 0) were cut")
    assert generator.n_cut_ == sum(n_full) > 5
    for row in out:
        assert len(row["finish_reasons"]) == len(row["responses"])
        for text, reason in zip(row["responses"], row["finish_reasons"], strict=True):
            assert reason in ("stop", "length")
            assert reason == "length" or len(text.split()) < 6
    # Responses of nothing but tokens that are not shown are left out, cut or not.
    n_shown = sum(row["finish_reasons"].count("length") for row in out)
    assert generator.n_cut_ - generator.n_empty_ <= n_shown <= generator.n_cut_


def test_few_cuts_are_counted_without_a_warning(generator, monkeypatch, recwarn):
    def answers(self, model, ids, *args):
        new = np.full((len(ids), self.max_new_tokens), -1, dtype=np.float32)
        new[:, 0] = 20 + np.arange(len(ids)) % 7
        new[0] = 21
        return new

    monkeypatch.setattr(ResponseGenerator, "_generate", answers)
    generator.set_params(n_samples=2).fit_transform(ROWS[:5])
    assert generator.n_cut_ == 1 and not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of 8 responses \(first: row \d\) were cut"):
        generator.transform(ROWS[:4])


def test_a_stored_response_knows_whether_it_was_cut(generator, tmp_path):
    expected = clone(generator).fit_transform(ROWS)
    for _ in range(2):
        stored = clone(generator).set_params(store=tmp_path)
        assert stored.fit_transform(ROWS) == expected
    assert stored.n_generated_ == 0 and stored.n_cut_ > 0


def test_rows_with_finish_reasons_pass_every_reader(generator, tmp_path):
    out = generator.fit_transform(ROWS[:4])
    file = tmp_path / "rows.jsonl"
    gold = [{"gold": [0.0] * len(row["responses"])} for row in out]
    rows = [row | g for row, g in zip(out, gold, strict=True)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_candidates(file)[0]
    plain = [{k: row[k] for k in ("prompt", "responses")} for row in out]
    for rows in (out, loaded):
        for a, b in zip(read_responses(rows), read_responses(plain), strict=True):
            assert np.array_equal(a, b)

    class Longest:
        def predict(self, rows):
            lengths = np.full((len(rows), 4), np.nan)
            for i, row in enumerate(rows):
                lengths[i, : len(row["responses"])] = [len(text) for text in row["responses"]]
            return lengths

    picked = RejectionSampler(Longest()).transform(out)
    assert picked == RejectionSampler(Longest()).transform(plain)


def test_stop_strings_cut_before_the_first_whatever_the_batch(generator):
    free = clone(generator).fit_transform(ROWS)
    words = [text.split() for row in free for text in row["responses"]]
    stop = [words[0][2], words[5][1]]
    out = generator.set_params(stop=stop).fit_transform(ROWS)
    expected = []
    for row in free:
        cut = [cut_at_stop(text, stop) for text in row["responses"]]
        expected += [
            (text, "stop" if stopped else reason)
            for (text, stopped), reason in zip(cut, row["finish_reasons"], strict=True)
            if text.strip()
        ]
    found = [
        pair for row in out for pair in zip(row["responses"], row["finish_reasons"], strict=True)
    ]
    assert found == expected
    for batch_tokens in (1, 60):
        again = clone(generator).set_params(batch_tokens=batch_tokens)
        assert again.fit_transform(ROWS[:6]) == out[:6]


def test_a_stopped_row_generates_no_further(generator, folder, monkeypatch):
    # All rows end at the first token: the network runs once.
    from transformers import LlamaForCausalLM

    calls, forward = [], LlamaForCausalLM.forward

    def watched(self, *args, **kwargs):
        calls.append(1)
        return forward(self, *args, **kwargs)

    free = clone(generator).set_params(n_samples=1).fit_transform(ROWS[:1])[0]["responses"][0]
    monkeypatch.setattr(LlamaForCausalLM, "forward", watched)
    short = generator.set_params(n_samples=1, stop=[free.split()[1]])
    assert short.fit_transform(ROWS[:1])[0]["responses"][0] == free.split()[0] + " "
    assert len(calls) == 2


def test_a_stop_string_is_looked_for_in_new_text_alone(folder):
    tokenizer = LanguageModel(resolve_model(folder, device="cpu")).tokenizer
    criteria = StopAtText(["cat sat", "dog"], tokenizer, n_prompt=2)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in
           ("the cat sat on", "the cat dog on", "cat sat the cat")]  # fmt: skip
    assert criteria(torch.tensor(ids)[:, :3], None).tolist() == [False, True, False]
    assert criteria(torch.tensor(ids), None).tolist() == [False, True, False]
    assert criteria.lengths == {1: 1}


def test_special_tokens_stop_by_themselves_and_nowhere_else(folder):
    tokenizer = LanguageModel(resolve_model(folder, device="cpu")).tokenizer
    assert stop_tokens(["cat", "</s>", "<pad>"], tokenizer) == (["cat"], [1, 2])
    with pytest.raises(ValueError, match="'cat </s>' holds the special token '</s>'"):
        stop_tokens(["cat </s>"], tokenizer)


@pytest.mark.parametrize("stop", [[""], [3], "cat"])
def test_stop_is_a_list_of_texts(generator, stop):
    with pytest.raises(ValueError, match="'?stop'?"):
        generator.set_params(stop=stop).fit()


# ------------------------------------------------------------------------------ system prompt
def test_a_system_prompt_is_as_if_the_row_had_it(generator):
    plain = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS[:3]]
    system = {"role": "system", "content": "say no"}
    expected = clone(generator).fit_transform([{"prompt": [system, *r["prompt"]]} for r in plain])
    generator.set_params(system_prompt="say no")
    out = generator.fit_transform(plain)
    assert [row["responses"] for row in out] == [row["responses"] for row in expected]
    assert [row["prompt"] for row in out] == [row["prompt"] for row in plain]
    own = {"prompt": [{"role": "system", "content": "say yes"}, *plain[1]["prompt"]]}
    with pytest.warns(UserWarning, match="1 of 2 prompts .first: row 1. have a system message"):
        mixed = generator.fit_transform([plain[0], own])
    assert mixed[0] == out[0] and mixed[1]["responses"] != out[1]["responses"]


def test_temperature_near_zero_takes_the_likeliest(generator):
    cold = generator.set_params(temperature=1e-6, top_p=0.5)
    with pytest.warns(UserWarning, match="12 of 12 prompts .first: row 0. got 4 identical"):
        out = cold.fit_transform(ROWS)
    assert cold.n_identical_ == 12
    assert all(len(set(row["responses"])) == 1 for row in out)


def test_the_models_own_sampling_settings_are_not_applied(tmp_path, generator, folder):
    from transformers import GenerationConfig

    expected = generator.fit_transform(ROWS[:3])
    other = save_causal(tmp_path)
    own = GenerationConfig(do_sample=True, top_k=1, repetition_penalty=9.0, eos_token_id=1)
    own.save_pretrained(other)
    assert clone(generator).set_params(model_name=other).fit_transform(ROWS[:3]) == expected


# ------------------------------------------------------------------------------ templates
def test_bos_is_not_doubled_and_the_prompt_invites_an_answer(folder, tmp_path):
    prompt = (("user", "the cat"),)
    plain = save_causal(tmp_path / "plain", chat_template=None)
    inviting = CHAT_TEMPLATE + "{% if add_generation_prompt %}assistant{% endif %}"
    for name, template, text in [
        (folder, "auto", "<s>user the cat </s>"),
        (folder, inviting, "<s>user the cat </s>assistant"),
        (plain, "auto", "<s> the cat"),
    ]:
        model = LanguageModel(resolve_model(name, device="cpu"))
        (ids,) = _networks.token_ids(model, [prompt], template, str, prompt=True)
        assert ids.tolist().count(0) == 1
        assert model.tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")


def test_an_answer_without_a_template_begins_on_a_line_of_its_own(folder, monkeypatch):
    model = LanguageModel(resolve_model(folder, device="cpu"))
    texts, tokenize = [], model.tokenize

    def watch(new, *args, **kwargs):
        texts.extend(new)
        return tokenize(new, *args, **kwargs)

    monkeypatch.setattr(model, "tokenize", watch)
    messages = (("user", "the cat"), ("assistant", "sat"))
    for prompt in (False, True):
        _networks.token_ids(model, [messages], None, str, prompt=prompt)
    assert texts == ["the cat\nsat", "the cat\nsat\n"]


def test_a_model_without_a_template_continues_the_prompt(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plain = save_causal(tmp_path, chat_template=None)
    cold = ResponseGenerator(plain, n_samples=1, temperature=1e-6, max_new_tokens=4)
    out = cold.fit_transform([[{"role": "user", "content": "the cat sat"}]])
    tokenizer = AutoTokenizer.from_pretrained(plain)
    ids = tokenizer("the cat sat", return_tensors="pt")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(plain)
    continued = model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=2)
    expected = tokenizer.decode(continued[0, ids.shape[1] :], skip_special_tokens=True)
    assert out[0]["responses"] == [expected]


def test_implicit_prompts_are_read(generator):
    user, says = {"role": "user", "content": "why"}, {"role": "assistant", "content": "yes"}
    row = {"chosen": [user, says], "rejected": [user, {**says, "content": "no"}]}
    assert generator.fit_transform([row])[0]["prompt"] == [user]


# ------------------------------------------------------------------------------ the store
def test_the_store_generates_nothing_twice(generator, tmp_path, monkeypatch):
    expected = clone(generator).fit_transform(ROWS)
    stored = generator.set_params(store=tmp_path / "store")
    assert stored.fit_transform(ROWS[:5]) == expected[:5]
    assert clone(stored).fit_transform(ROWS) == expected
    monkeypatch.setattr(ResponseGenerator, "_generate", None)  # whoever calls it fails
    assert clone(stored).set_params(batch_tokens=7).fit_transform(ROWS) == expected


def test_other_settings_are_other_responses(generator, tmp_path):
    stored = generator.set_params(store=tmp_path / "store")
    stored.fit_transform(ROWS[:3])
    for params in (
        {"temperature": 0.7}, {"random_state": 1}, {"max_new_tokens": 5}, {"top_p": 0.9},
        {"chat_template": None}, {"top_k": 7}, {"min_p": 0.1}, {"stop": ["cat"]},
        {"system_prompt": "you"},
    ):  # fmt: skip
        other = clone(stored).set_params(**params)
        other.fit_transform(ROWS[:3])
        assert other.n_generated_ == 12
    more = clone(stored).set_params(n_samples=6)
    more.fit_transform(ROWS[:3])
    assert more.n_generated_ == 3 * 2  # the first four of each prompt are there


def test_responses_of_earlier_versions_are_found(generator, folder, tmp_path):
    # The settings as they were before top_k, min_p, stop and the system prompt.
    model = LanguageModel(resolve_model(folder, device="cpu"))
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    settings = {
        "model": model.spec.fingerprint, "revision": None, "template": CHAT_TEMPLATE,
        "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 6, "dtype": "float32",
        "device": "cpu", "seed": seed,
    }  # fmt: skip
    keys = store_keys(settings, [[(("user", "the cat"),), j] for j in range(4)])
    tokens = np.array([[20, 21, -1, -1, -1, -1], [22] * 6, [23] * 6, [24] * 6])
    ArrayStore(tmp_path).put_many(keys, tokens)
    generator.set_params(store=tmp_path)
    (row,) = generator.fit_transform([{"prompt": "the cat"}])
    assert generator.n_generated_ == 0
    assert row["finish_reasons"] == ["stop", "length", "length", "length"]


def test_a_store_needs_a_seed(generator, tmp_path):
    with pytest.raises(ValueError, match="resumed run would draw other"):
        generator.set_params(store=tmp_path, random_state=None).fit()


def test_an_interrupted_run_resumes(generator, tmp_path, monkeypatch):
    expected = clone(generator).fit_transform(ROWS)
    generate, sizes = ResponseGenerator._generate, []

    def interrupt(self, model, ids, *args):
        if len(sizes) == 3:
            raise KeyboardInterrupt
        sizes.append(len(ids))
        return generate(self, model, ids, *args)

    stored = generator.set_params(store=tmp_path, batch_tokens=60)
    with monkeypatch.context() as patch:
        patch.setattr(ResponseGenerator, "_generate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            clone(stored).fit_transform(ROWS)
    resumed = clone(stored)
    assert resumed.fit_transform(ROWS) == expected
    assert resumed.n_generated_ == 48 - sum(sizes) < 48


# ------------------------------------------------------------------------------ bad input
def test_a_prompt_that_overruns_the_context(tmp_path, caplog):
    small = save_causal(tmp_path, context=16)
    generator = ResponseGenerator(small, n_samples=2, max_new_tokens=6, random_state=0)
    rows = [*ROWS[:2], {"prompt": sentence(np.random.RandomState(0), 30)}]
    with caplog.at_level("WARNING", logger="lens_sklearn.textual"):
        out = generator.fit_transform(rows)
    assert generator.n_overlong_ == 1 and all(row["responses"] for row in out)
    assert "1 of 3 texts (first: row 2) are longer than 10 tokens" in caplog.text
    with pytest.raises(ValueError, match="row 2: the prompt has more than 10 tokens"):
        generator.set_params(overlong="raise").fit_transform(rows)
    with pytest.raises(ValueError, match="leaves no room for a prompt"):
        generator.set_params(max_new_tokens=16).fit()


def test_cutting_keeps_the_end_and_bos(folder):
    model = LanguageModel(resolve_model(folder, device="cpu"))
    ids = [np.array([0, 5, 6, 7, 8]), np.array([5, 6, 7, 8])]
    cut, overlong = _networks.truncate_left(model, ids, 3)
    assert [i.tolist() for i in cut] == [[0, 7, 8], [6, 7, 8]] and overlong.all()


def test_empty_responses_are_counted_and_left_out(generator, monkeypatch):
    def nothing(self, model, ids, *args):
        return np.full((len(ids), self.max_new_tokens), -1, dtype=np.float32)

    monkeypatch.setattr(ResponseGenerator, "_generate", nothing)
    with pytest.warns(UserWarning) as caught:
        out = generator.fit_transform(ROWS[:2])
    assert "8 of 8 responses are empty (first: row 0)" in str(caught[0].message)
    assert generator.n_empty_ == 8 and out[0]["responses"] == []


def test_responses_end_where_the_model_ends_them(tmp_path):
    # A model that says EOS whatever comes before it: its output weights know one token alone.
    from transformers import AutoModelForCausalLM

    folder = save_causal(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(folder)
    generator = ResponseGenerator(folder, n_samples=40, max_new_tokens=30, random_state=0)
    out = generator.fit_transform(ROWS[:1])[0]["responses"]
    lengths = [len(text.split()) for text in out]
    assert min(lengths) < 30 and not any(EOS in text for text in out)


def test_out_of_memory_halves_the_batch_and_goes_on(generator, monkeypatch):
    expected = clone(generator).fit_transform(ROWS)
    generate, sizes = ResponseGenerator._generate, []

    def small_memory(self, model, ids, *args):
        if len(ids) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        sizes.append(len(ids))
        return generate(self, model, ids, *args)

    monkeypatch.setattr(ResponseGenerator, "_generate", small_memory)
    with pytest.warns(RuntimeWarning) as caught:
        assert generator.fit_transform(ROWS) == expected
    assert "out of memory with 48 texts at a time; going on with 24" in str(caught[0].message)
    assert sum(sizes) == 48 and max(sizes) <= 10


def test_other_errors_and_single_texts_are_raised():
    def fail(batch):
        raise RuntimeError("a bug" if len(batch) > 1 else "CUDA out of memory")

    with pytest.raises(RuntimeError, match="a bug"):
        list(_networks.run_batches([3, 3], 100, fail))
    with pytest.raises(RuntimeError, match="out of memory"):
        list(_networks.run_batches([3], 100, fail))


def test_rows_without_prompts_and_models_without_heads(generator, tmp_path):
    with pytest.raises(ValueError, match="row 1: there is no prompt"):
        generator.fit_transform([{"prompt": "why"}, {"chosen": "yes", "rejected": "no"}])
    headless = save_decoder(tmp_path)
    with pytest.raises(ValueError, match="has no causal head.*lm_head.weight"):
        generator.set_params(model_name=headless).fit_transform(ROWS)


def test_accelerate_places_the_layers(generator):
    expected = clone(generator).fit_transform(ROWS[:2])
    spread = generator.set_params(device="accelerate")
    assert spread.fit_transform(ROWS[:2]) == expected


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(ImportError, match=r'pip install "lens-sklearn\[textual\]"'):
        _extras.import_extra("trl")


def test_pickle_holds_no_weights(generator):
    expected = generator.fit_transform(ROWS[:1])
    pickled = pickle.dumps(generator)
    assert len(pickled) < 2000
    assert pickle.loads(pickled).transform(ROWS[:1]) == expected
