"""Sampling responses: seeds, batches, the store, kills, and what goes wrong."""

import pickle
import sys
from math import log

import numpy as np
import pytest
import torch
from sklearn.base import clone
from tiny_models import CHAT_TEMPLATE, EOS, save_causal, save_decoder, sentence

from lens_sklearn._language_model import LanguageModel, resolve_model
from lens_sklearn.textual import ResponseGenerator, _networks
from lens_sklearn.textual._generator import GumbelNoise

# Random models end some responses before they begin; the counting has a test of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.* responses are empty")
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
        {"chat_template": None},
    ):  # fmt: skip
        other = clone(stored).set_params(**params)
        other.fit_transform(ROWS[:3])
        assert other.n_generated_ == 12
    more = clone(stored).set_params(n_samples=6)
    more.fit_transform(ROWS[:3])
    assert more.n_generated_ == 3 * 2  # the first four of each prompt are there


def test_a_store_needs_a_seed(generator, tmp_path):
    with pytest.raises(ValueError, match="resumed run would draw other"):
        generator.set_params(store=tmp_path, random_state=None).fit()


def test_an_interrupted_run_resumes(generator, tmp_path, monkeypatch):
    expected = clone(generator).fit_transform(ROWS)
    generate, sizes = ResponseGenerator._generate, []

    def interrupt(self, model, ids, seeds):
        if len(sizes) == 3:
            raise KeyboardInterrupt
        sizes.append(len(ids))
        return generate(self, model, ids, seeds)

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
    def nothing(self, model, ids, seeds):
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

    def small_memory(self, model, ids, seeds):
        if len(ids) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        sizes.append(len(ids))
        return generate(self, model, ids, seeds)

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
        _networks.import_extra("trl")


def test_pickle_holds_no_weights(generator):
    expected = generator.fit_transform(ROWS[:1])
    pickled = pickle.dumps(generator)
    assert len(pickled) < 2000
    assert pickle.loads(pickled).transform(ROWS[:1]) == expected
