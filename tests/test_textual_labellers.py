"""Labellers: what their scores mean, that batches change nothing, and what goes wrong."""

import numpy as np
import pytest
import torch
import transformers
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from tiny_models import CHAT_TEMPLATE, save_causal, save_encoder, save_reward, sentence

from lens_sklearn import BTRewardRegressor, EmbeddingScaler, LLMEmbedder
from lens_sklearn.textual import (
    ImplicitPreferenceLabeller,
    PairLabeller,
    RewardLabeller,
    RewardModelLabeller,
    SelfRewardingLabeller,
)

RNG = np.random.RandomState(0)
PROMPTS = [sentence(RNG, 3 + i) for i in range(6)]
RESPONSES = [[sentence(RNG, n) for n in RNG.randint(1, 9, size=5 - i % 2)] for i in range(6)]
# The instructions' words are unknown to the tiny tokenizer; what is asked does not matter here.
JUDGE = "{prompt} said {response} yes or no"
LAST_WORDS = "{{ bos_token }}{{ messages[0]['content'] }} {{ eos_token }}"


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory):
    return save_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    """An ordinary reward pipeline, not fitted."""
    return make_pipeline(
        LLMEmbedder(save_encoder(tmp_path_factory.mktemp("encoder")), pooling="mean"),
        EmbeddingScaler(),
        BTRewardRegressor(8, learning_rate=3e-2, max_epochs=10, random_state=0),
    )


@pytest.fixture(scope="module")
def rows():
    """Preference rows whose chosen response is the one with more words."""
    rng = np.random.RandomState(1)
    return [
        {"prompt": sentence(rng, 4), "chosen": sentence(rng, 9), "rejected": sentence(rng, 2)}
        for _ in range(24)
    ]


def labellers(causal, reward_model):
    return {
        "reward_model": RewardModelLabeller(reward_model),
        "pointwise": SelfRewardingLabeller(causal, instruction=JUDGE),
        "pairwise": SelfRewardingLabeller(causal, mode="pairwise"),
        "p_yes": ImplicitPreferenceLabeller(causal),
        "p_yes_plain": ImplicitPreferenceLabeller(causal, mode="p_yes_plain"),
        "likelihood": ImplicitPreferenceLabeller(causal, mode="likelihood"),
    }


NAMES = ["reward_model", "pointwise", "pairwise", "p_yes", "p_yes_plain", "likelihood"]


@pytest.mark.parametrize("name", NAMES)
def test_labels_do_not_depend_on_the_batch(causal, reward_model, name):
    labeller = labellers(causal, reward_model)[name]
    assert isinstance(labeller, PairLabeller)
    scores = labeller.score(PROMPTS, RESPONSES)
    assert scores.shape == (6, 5) and np.isnan(scores).sum() == 3
    for batch_tokens in (1, 90):
        again = clone(labeller).set_params(batch_tokens=batch_tokens).score(PROMPTS, RESPONSES)
        np.testing.assert_allclose(again, scores, atol=3e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scores_follow_their_responses(causal, reward_model, name):
    labeller = labellers(causal, reward_model)[name]
    scores = labeller.score(PROMPTS[:2], [RESPONSES[0], RESPONSES[2]])
    reversed_scores = labeller.score(PROMPTS[:2], [RESPONSES[0][::-1], RESPONSES[2][::-1]])
    np.testing.assert_allclose(reversed_scores[:, ::-1], scores, atol=3e-6)
    assert len(np.unique(scores)) == scores.size


def test_messages_and_strings_are_the_same(reward_model):
    labeller = RewardModelLabeller(reward_model)
    as_messages = labeller.score(
        [[{"role": "user", "content": PROMPTS[0]}]],
        [[[{"role": "assistant", "content": text}] for text in RESPONSES[0]]],
    )
    np.testing.assert_array_equal(as_messages, labeller.score(PROMPTS[:1], RESPONSES[:1]))


# ------------------------------------------------------------------------------ reward models
@pytest.mark.parametrize("family", ["Llama", "Qwen2"])
def test_reward_model_labeller_is_the_models_own_output(tmp_path, family):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = save_reward(tmp_path, family=family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores = RewardModelLabeller(folder, dtype="float32").score(PROMPTS[:1], RESPONSES[:1])[0]
    for text, score in zip(RESPONSES[0], scores, strict=True):
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": PROMPTS[0]}, {"role": "assistant", "content": text}],
            return_tensors="pt", return_dict=True,
        )  # fmt: skip
        with torch.no_grad():
            assert model(**ids).logits.item() == pytest.approx(score, abs=1e-5)


def test_reward_model_labeller_without_a_pad_token_scores_one_by_one(reward_model, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(reward_model)
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(reward_model).save_pretrained(tmp_path)
    scores = RewardModelLabeller(str(tmp_path)).score(PROMPTS, RESPONSES)
    np.testing.assert_allclose(
        scores, RewardModelLabeller(reward_model).score(PROMPTS, RESPONSES), atol=3e-6
    )


def test_reward_model_labeller_with_one_token_for_pad_and_end(reward_model, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = (
        kind.from_pretrained(reward_model)
        for kind in (AutoModelForSequenceClassification, AutoTokenizer)
    )
    tokenizer.pad_token, model.config.pad_token_id = tokenizer.eos_token, tokenizer.eos_token_id
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    together, alone = (
        RewardModelLabeller(str(tmp_path), batch_tokens=n).score(PROMPTS, RESPONSES)
        for n in (9999, 1)
    )
    np.testing.assert_allclose(together, alone, atol=3e-6)


def test_a_reward_model_labeller_needs_a_reward_head(causal, tmp_path):
    with pytest.raises(ValueError, match="has no reward head: its weights lack .'score.weight'"):
        RewardModelLabeller(causal).score(PROMPTS, RESPONSES)
    two = save_reward(tmp_path, n_labels=2)
    with pytest.raises(ValueError, match="gives 2 numbers a text"):
        RewardModelLabeller(two).score(PROMPTS, RESPONSES)


def test_a_model_without_a_template_joins_the_contents(tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain = save_reward(tmp_path, chat_template=None)
    score = RewardModelLabeller(plain).score(["the cat"], [["sat on"]])[0, 0]
    ids = AutoTokenizer.from_pretrained(plain)("the cat\nsat on", return_tensors="pt")
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(plain).eval()(**ids).logits
    assert score == pytest.approx(logits.item(), abs=1e-5)


def test_long_conversations_are_cut_and_counted(reward_model, caplog):
    texts = [["the cat sat on a mat", "no"], ["dog"]]
    labeller = RewardModelLabeller(reward_model, max_length=9)
    with caplog.at_level("WARNING", logger="lens_sklearn.textual"):
        scores = labeller.score(["why", "why"], texts)
    # "<s> user why </s> assistant … </s>": 12 tokens with six words, 7 with one
    assert labeller.n_overlong_ == 1
    assert "1 of 3 texts (first: responses[0][0]) are longer than 9 tokens" in caplog.text
    whole = RewardModelLabeller(reward_model).score(["why", "why"], texts)
    np.testing.assert_allclose(scores.ravel()[1:], whole.ravel()[1:], atol=3e-6)
    assert scores[0, 0] != pytest.approx(whole[0, 0], abs=1e-3)


# ------------------------------------------------------------------------------ judges
def test_pointwise_is_the_expected_rating(causal):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    judge = SelfRewardingLabeller(causal, instruction=JUDGE, dtype="float32")
    score = judge.score(["the cat"], [["sat"]])[0, 0]
    tokenizer = AutoTokenizer.from_pretrained(causal)
    model = AutoModelForCausalLM.from_pretrained(causal).eval()
    ids = tokenizer("user the cat said sat yes or no </s>", return_tensors="pt")
    with torch.no_grad():
        logits = model(**ids).logits[0, -1]
    digits = tokenizer.convert_tokens_to_ids(list("12345"))
    expected = (logits[digits].softmax(0) * torch.arange(1.0, 6.0)).sum()
    assert score == pytest.approx(expected.item(), abs=1e-5) and 1 < score < 5


def test_pairwise_cancels_the_position(causal):
    judge = SelfRewardingLabeller(causal, mode="pairwise")
    scores = judge.score(["why"], [["the cat", "a dog sat"]])[0]
    assert scores.sum() == pytest.approx(1)  # one wins what the other loses
    a, b, c = "the cat", "a dog sat", "no"
    three = judge.score(["why"], [[a, b, c]])[0]
    matches = judge.score(["why"] * 3, [[a, b], [a, c], [b, c]])[:, 0]  # P of the first
    ab, ac, bc = matches
    by_hand = [(ab + ac) / 2, (1 - ab + bc) / 2, (2 - ac - bc) / 2]
    np.testing.assert_allclose(three, by_hand, atol=3e-6)
    assert judge.score(["why"], [[a]]).tolist() == [[0.5]]
    assert np.isnan(judge.position_bias_)


def test_position_bias_is_what_the_first_place_gains(causal, monkeypatch):
    judge = SelfRewardingLabeller(causal, mode="pairwise")
    answers = np.array([[0.9, 0.1], [0.6, 0.4]])  # of a against b, and of b against a
    monkeypatch.setattr(judge, "_evaluate", lambda *_: answers)
    np.testing.assert_allclose(judge.score(["why"], [["the cat", "no"]]), [[0.65, 0.35]])
    assert judge.position_bias_ == pytest.approx(0.25)


def test_p_yes_and_likelihood_by_hand(causal):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(causal)
    model = AutoModelForCausalLM.from_pretrained(causal).eval()
    ids = tokenizer("user the cat </s> sat on", return_tensors="pt")
    with torch.no_grad():
        logs = model(**ids).logits[0].log_softmax(-1)
    tokens = ids["input_ids"][0]
    by_hand = (logs[-3, tokens[-2]] + logs[-2, tokens[-1]]) / 2
    labeller = ImplicitPreferenceLabeller(causal, mode="likelihood", dtype="float32")
    assert labeller.score(["the cat"], [["sat on"]])[0, 0] == pytest.approx(
        by_hand.item(), abs=1e-5
    )

    ids = tokenizer("user the cat said sat yes or no </s>", return_tensors="pt")
    with torch.no_grad():
        logits = model(**ids).logits[0, -1]
    yes, no = logits[tokenizer.convert_tokens_to_ids(["Yes", "No"])].exp()
    labeller = ImplicitPreferenceLabeller(causal, instruction=JUDGE, dtype="float32")
    p_yes = labeller.score(["the cat"], [["sat"]])[0, 0]
    assert p_yes == pytest.approx((yes / (yes + no)).item(), abs=1e-5)


def test_p_yes_plain_by_hand(causal, tmp_path, caplog):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked = {"instruction": "yes no {prompt} said {response}", "mode": "p_yes_plain"}
    judge = ImplicitPreferenceLabeller(causal, **asked)
    assert judge.rendered(["the cat"], [["sat"]]) == ["yes no the cat said sat"]
    tokenizer = AutoTokenizer.from_pretrained(causal)
    ids = tokenizer("yes no the cat said sat", return_tensors="pt")
    assert ids["input_ids"][0, 0] == tokenizer.bos_token_id
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(causal).eval()(**ids).logits[0, -1]
    yes, no = logits[tokenizer.convert_tokens_to_ids(["Yes", "No"])].exp()
    score = judge.score(["the cat"], [["sat"]])[0, 0]
    assert score == pytest.approx((yes / (yes + no)).item(), abs=1e-5)
    # all but the first tokens are cut, of which <s> is one
    judge.set_params(max_length=6)
    assert judge.rendered(["the cat"], [["sat"]]) == ["yes no the cat said"]
    assert judge.score(["the cat"], [["sat"]])[0, 0] != score and judge.n_overlong_ == 1
    assert "longer than 6 tokens; their ends were cut" in caplog.text
    long = ImplicitPreferenceLabeller(save_causal(tmp_path, context=2048), **asked)
    (text,) = long.rendered(["the cat"], [["sat " * 1500]])
    assert len(text.split()) == 1023
    with pytest.raises(ValueError, match="chat_template has no effect with mode='p_yes_plain'"):
        clone(judge).set_params(chat_template=CHAT_TEMPLATE).rendered(["why"], [["no"]])


def test_likelihood_keeps_the_answer_where_the_context_is_short(causal):
    labeller = ImplicitPreferenceLabeller(causal, mode="likelihood", max_length=8)
    answer = "the cat sat"
    scores = labeller.score([sentence(RNG, 30) + " on the mat"], [[answer, sentence(RNG, 20)]])
    assert np.isfinite(scores).all() and labeller.n_overlong_ == 2
    # of the context are left: <s>, three words and </s>
    whole = ImplicitPreferenceLabeller(causal, mode="likelihood", chat_template=LAST_WORDS)
    assert scores[0, 0] == pytest.approx(whole.score(["on the mat"], [[answer]])[0, 0], abs=1e-5)


def test_an_empty_response_has_no_likelihood(causal, tmp_path):
    labeller = ImplicitPreferenceLabeller(causal, mode="likelihood", store=tmp_path)
    alone = labeller.score(["why"], [["the cat"]])
    assert labeller.n_empty_ == 0
    for _ in range(2):  # computed, then read from the store
        with pytest.warns(
            UserWarning, match=r"2 of 3 responses \(first: responses\[0\]\[1\]\) are"
        ):
            scores = labeller.score(["why"], [["the cat", "", "  "]])
        np.testing.assert_allclose(scores, [[alone[0, 0], np.nan, np.nan]], atol=3e-6)
        assert labeller.n_empty_ == 2
    with pytest.raises(ValueError, match="max_length=1 leaves no token of a response"):
        labeller.set_params(max_length=1).score(["why"], [["the cat"]])
    labeller.set_params(mode="p_yes", max_length=4096).score(["why"], [[""]])
    assert labeller.n_empty_ == 0


def test_likelihood_refuses_an_instruction(causal):
    labeller = ImplicitPreferenceLabeller(causal, mode="likelihood", instruction=JUDGE)
    with pytest.raises(ValueError, match="instruction has no effect with mode='likelihood'"):
        labeller.score(["why"], [["no"]])


def test_braces_in_texts_and_wrong_instructions(causal):
    judge = SelfRewardingLabeller(causal, instruction=JUDGE)
    # to the tiny tokenizer words with braces are unknown ones like all others
    first, second = judge.score(["{the} cat", "what cat"], [["{}", "{0}"], ["so", "then"]])
    np.testing.assert_allclose(first, second, atol=3e-6)
    for instruction in ("{prompt} alone", "{prompt} {response} {other}"):
        judge = SelfRewardingLabeller(causal, instruction=instruction)
        with pytest.raises(ValueError, match="instruction needs {prompt}, {response} and no other"):
            judge.score(["why"], [["no"]])


@pytest.mark.skipif(
    int(transformers.__version__.split(".")[0]) < 5,
    reason="before transformers 5 this tokenizer finds the word whole",
)
def test_a_tokenizer_without_the_answers(tmp_path):
    folder = save_causal(tmp_path, family="Qwen2")  # whose tokenizer splits words into bytes
    with pytest.raises(ValueError, match="no single token for 'Yes'"):
        ImplicitPreferenceLabeller(folder).score(["why"], [["no"]])


@pytest.mark.parametrize(
    ("responses", "message"),
    [
        ([["a"]], "got 2 prompts and 1 lists"),
        ([["a"], "no"], r"responses\[1\]: expected a list of responses, got a string"),
        ([["a"], ["b", 3]], r"responses\[1\]\[1\]: expected a str"),
    ],
)
def test_malformed_responses_are_named(reward_model, responses, message):
    with pytest.raises(ValueError, match=message):
        RewardModelLabeller(reward_model).score(["why", "how"], responses)


def test_an_empty_response_is_scored(reward_model):
    scores = RewardModelLabeller(reward_model).score(["why"], [["no", ""]])
    assert np.isfinite(scores).all() and scores[0, 0] != scores[0, 1]


def test_a_template_that_refuses_is_named(reward_model):
    labeller = RewardModelLabeller(
        reward_model, chat_template=CHAT_TEMPLATE + "{{ raise_exception('no') }}"
    )
    with pytest.raises(ValueError, match=r"responses\[0\]\[0\]: the chat template refuses"):
        labeller.score(["why"], [["no"]])


# ------------------------------------------------------------------------------ rewards
def test_an_ordinary_reward_labels_and_survives_cloning(reward, rows):
    fitted = clone(reward).fit(rows)
    labeller = clone(RewardLabeller(fitted))
    scores = labeller.score(PROMPTS, RESPONSES)
    candidates = [{"prompt": p, "responses": r} for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    np.testing.assert_array_equal(scores, fitted.predict(candidates))
