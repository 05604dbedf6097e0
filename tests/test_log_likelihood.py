"""How likely a model finds a response, from the same forward pass as its states."""

import numpy as np
import pytest
import tiny_models
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from lens_sklearn import LLMEmbedder, ResponseFeatures, ResponseViews, _log_likelihood, export
from lens_sklearn._language_model import LanguageModel, get_language_model, resolve_model
from lens_sklearn._log_likelihood import check_logits, logits, mean_log_likelihoods
from lens_sklearn._response_span import tokenize_texts
from lens_sklearn.textual import ImplicitPreferenceLabeller

ROWS = [
    {"prompt": "why the cat", "chosen": "because the dog ran", "rejected": "no"},
    {"prompt": "how big", "chosen": "small and red", "rejected": "small"},
    {"prompt": "yes", "chosen": "maybe never always i you we they said", "rejected": "a"},
]
READ = {"layer": 1, "pooling": ["last", "response_mean"], "device": "cpu"}
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return tiny_models.save_causal(tmp_path_factory.mktemp("causal"))


def embed(model, X, **options):
    options = {"dtype": "float32", "log_likelihood": True} | options
    return LLMEmbedder(model, **READ | options).fit_transform(X)


def reference(model, text, start, end, special=False):
    """Mean log-likelihood of the tokens from start to end of one text."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(model).eval()
    ids = tokenizer(text, add_special_tokens=special, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        log_p = network(input_ids=ids).logits[0].double().log_softmax(-1)
    return np.mean([log_p[t - 1, ids[0, t]].item() for t in range(start, end)])


# --------------------------------------------------------------------------------- values
class Uneven(torch.nn.Module):
    """A network whose states are its logits."""

    def __init__(self, size):
        super().__init__()
        self.head = torch.nn.Linear(size, size, bias=False)
        torch.nn.init.eye_(self.head.weight)
        self.config = transformers.LlamaConfig()
        self.requires_grad_(False)

    def get_output_embeddings(self):
        return self.head


def test_values_by_hand():
    # Odds 3 : 1 of token 1, then 1 : 4; the state behind the last token is not read.
    states = torch.tensor([[[0, np.log(3)], [np.log(4), 0], [np.nan, np.nan]]]).float()
    ids = [np.array([0, 1, 1])]
    for span, expected in [
        ((0, 3), (np.log(3 / 4) + np.log(1 / 5)) / 2),
        ((1, 3), (np.log(3 / 4) + np.log(1 / 5)) / 2),
        ((1, 2), np.log(3 / 4)),
        ((2, 3), np.log(1 / 5)),
        ((0, 1), 0.0),  # the first token follows nothing
        ((3, 3), 0.0),
    ]:
        found = mean_log_likelihoods(Uneven(2), states, ids, np.array([span]))
        np.testing.assert_allclose(found, [expected], rtol=1e-6)


@given(st.data())
def test_chunks_make_no_difference(data):
    lengths = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = [rng.integers(0, 3, size=length) for length in lengths]
    spans = np.array([sorted(rng.integers(0, length + 1, size=2)) for length in lengths])
    states = torch.from_numpy(rng.normal(size=(len(ids), max(lengths), 3))).float()
    at_once = mean_log_likelihoods(Uneven(3), states, ids, spans)
    assert at_once.dtype == torch.float32 and (at_once <= 0).all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_log_likelihood, "LOGITS_AT_ONCE", data.draw(st.integers(1, 9)))
        np.testing.assert_allclose(
            mean_log_likelihoods(Uneven(3), states, ids, spans), at_once, rtol=1e-5
        )


def test_chunks_bound_the_logits(monkeypatch):
    sizes = []
    monkeypatch.setattr(_log_likelihood, "LOGITS_AT_ONCE", 7)
    monkeypatch.setattr(
        _log_likelihood, "logits", lambda n, s: (sizes.append(len(s)), logits(n, s))[1]
    )
    mean_log_likelihoods(
        Uneven(3), torch.zeros(2, 4, 3), [np.zeros(4, int)] * 2, np.array([[0, 4]] * 2)
    )
    assert sizes == [2, 2, 2]  # 6 tokens of 3 logits each


def test_it_stands_behind_the_states_and_reads_the_response_alone(causal):
    vectors = embed(causal, ROWS)
    text = "<s> user why the cat </s> assistant because the dog ran </s>"
    np.testing.assert_allclose(vectors[0, 0, -1], reference(causal, text, 7, 11), **TOLERANCE)
    states = embed(causal, ROWS, log_likelihood=False)
    np.testing.assert_allclose(vectors[..., :-1], states, rtol=1e-5, atol=1e-5)


def test_it_is_what_the_labeller_says(causal):
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {{ eos_token }} "
        "{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
    )
    rows = [
        {"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]} for r in ROWS
    ]  # fmt: skip
    found = embed(causal, rows, chat_template=template)[..., -1]
    labeller = ImplicitPreferenceLabeller(
        causal, mode="likelihood", chat_template=template, dtype="float32", device="cpu"
    )
    expected = labeller.score([r["prompt"] for r in ROWS], [r["responses"] for r in rows])
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_a_plain_text_counts_but_for_its_first_token(causal):
    expected = reference(causal, "why the cat", 1, 4, special=True)
    np.testing.assert_allclose(embed(causal, ["why the cat"])[0, -1], expected, **TOLERANCE)


@pytest.mark.parametrize("jobs", [None, 2])
def test_batch_and_single_agree(causal, jobs):
    single = embed(causal, ROWS, batch_tokens=1, n_jobs=jobs)
    np.testing.assert_allclose(single, embed(causal, ROWS), rtol=1e-5, atol=1e-5)


def test_padding_is_nan_and_an_empty_response_is_zero(causal):
    rows = [{"prompt": "why", "responses": ["cat", "a dog"]}, {"prompt": "a", "responses": ["no"]}]
    vectors = embed(causal, rows)
    assert np.isnan(vectors[1, 1]).all() and (vectors[0, :, -1] < 0).all()
    model = get_language_model(resolve_model(causal, dtype="float32", device="cpu"))
    talk = (("user", "why"), ("assistant", ""))
    ids, _, spans = tokenize_texts(
        model, [talk], tiny_models.CHAT_TEMPLATE, 64, str, with_spans=True
    )
    empty = model.embed(ids, [1], ["response_mean"], spans, log_likelihood=True)
    assert empty[0, -1] == 0 and np.isfinite(empty).all()


# ------------------------------------------------------------------------------- settings
def test_it_is_counted_and_named(causal):
    embedder = LLMEmbedder(causal, log_likelihood=True, **READ).fit()
    assert (embedder.n_features_out_, embedder.n_response_features_) == (2 * 16 + 1, 1)
    names = embedder.get_feature_names_out()
    assert names[-2:].tolist() == ["llmembedder31", "log_likelihood"] and len(names) == 33
    plain = LLMEmbedder(causal, **READ).fit()
    assert (plain.n_features_out_, plain.n_response_features_) == (32, 0)
    assert plain.get_feature_names_out()[-1] == "llmembedder31"


def test_records_with_and_without_it_are_others(causal, tmp_path):
    with_it = embed(causal, ROWS, store=tmp_path)
    without = embed(causal, ROWS, store=tmp_path, log_likelihood=False)
    assert with_it.shape[-1] == without.shape[-1] + 1
    np.testing.assert_array_equal(embed(causal, ROWS, store=tmp_path), with_it)


def test_the_store_saves_the_forward_pass(causal, tmp_path, monkeypatch):
    first = embed(causal, ROWS, store=tmp_path)
    monkeypatch.setattr(LanguageModel, "embed", None)
    np.testing.assert_array_equal(embed(causal, ROWS, store=tmp_path), first)


def test_states_and_head_are_one_network(causal, tmp_path):
    folder = tiny_models.save_causal(tmp_path, seed=1)
    model = get_language_model(resolve_model(folder, device="cpu"))
    before = model.network
    assert model.causal_network.base_model is model.network is not before
    assert model.causal_network is model.causal_network


def test_it_comes_back_from_a_file(causal, tmp_path):
    embedder = LLMEmbedder(causal, log_likelihood=True, **READ)
    expected = embedder.fit_transform(ROWS)
    export.save(embedder, tmp_path)
    again = export.load(tmp_path)
    again.device = "cpu"
    assert again.n_response_features_ == 1
    np.testing.assert_array_equal(again.transform(ROWS), expected)


def test_views_count_it_among_the_response_features(causal):
    embedder = LLMEmbedder(causal, log_likelihood=True, **READ)
    views = ResponseViews(embedder, ResponseFeatures(["log_words", "finished"]))
    joined = views.fit_transform(ROWS)
    assert (views.n_features_out_, views.n_response_features_) == (35, 3)
    np.testing.assert_array_equal(joined[..., 32], embedder.fit_transform(ROWS)[..., -1])
    names = views.get_feature_names_out().tolist()
    assert names[-4:] == ["llmembedder31", "log_likelihood", "log_words", "finished"]
    assert views.features_.columns("log_words") == [-2]


# ------------------------------------------------------------------------------- refusals
def test_an_encoder_is_refused(tmp_path):
    folder = tiny_models.save_encoder(tmp_path)
    with pytest.raises(ValueError, match="log_likelihood=True.*'bert'.*no causal language model"):
        LLMEmbedder(folder, log_likelihood=True).fit()


def test_a_decoder_without_its_head_is_refused(tmp_path):
    folder = tiny_models.save_decoder(tmp_path)
    with pytest.raises(
        ValueError,
        match=r"log_likelihood=True: .* lack \['lm_head.weight'\].*random",
    ):
        embed(folder, ROWS)


def save_family(folder, family, **options):
    config = getattr(transformers, f"{family}Config")(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8, **options,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = getattr(transformers, f"{family}ForCausalLM")(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    network.save_pretrained(folder)
    return str(folder)


FAMILIES = [
    ("Gemma2", {"final_logit_softcapping": 2.0}),
    ("Granite", {"logits_scaling": 5.0}),
    ("Cohere", {"logit_scale": 0.3}),
]


@pytest.mark.parametrize("family, options", FAMILIES)
def test_logits_are_scaled_and_capped_as_the_network_does(tmp_path, family, options):
    folder = save_family(tmp_path, family, **options)
    network = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    check_logits(network, folder)
    ids = torch.tensor([[4, 9, 2, 7]])
    with torch.inference_mode():
        states = network.base_model(input_ids=ids).last_hidden_state
        np.testing.assert_allclose(
            logits(network, states), network(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )


def test_logits_that_are_made_in_another_way_are_refused(tmp_path, monkeypatch):
    folder = save_family(tmp_path, "Granite", logits_scaling=5.0)
    forward = transformers.GraniteForCausalLM.forward

    def shifted(self, *args, **options):
        output = forward(self, *args, **options)
        output.logits = output.logits + 1
        return output

    monkeypatch.setattr(transformers.GraniteForCausalLM, "forward", shifted)
    with pytest.raises(ValueError, match="how .* makes logits .* is not known"):
        check_logits(transformers.AutoModelForCausalLM.from_pretrained(folder).eval(), folder)
