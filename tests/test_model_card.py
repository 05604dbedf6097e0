"""Model cards: numbers by hand, what is not said, and nothing of the user's that is markup."""

import re

import numpy as np
import pytest
from huggingface_hub import ModelCard
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from tiny_models import WORDS, save_encoder

from lens_sklearn import (
    EmbeddingScaler,
    LinearRewardRegressor,
    LLMEmbedder,
    RepeatAugmenter,
    ResponseFeatures,
    VotingRewardRegressor,
    model_card,
)
from lens_sklearn._base_reward import RewardRegressor
from lens_sklearn._model_card import escape
from lens_sklearn.datasets import make_preference_pairs


class First(RewardRegressor):
    """A reward that is the first feature."""

    def fit(self, X, y=None, sample_weight=None, *, groups=None):
        self.n_features_in_ = np.shape(X)[-1]
        return self

    def _predict_rows(self, rows):
        return rows[:, 0]


def rows_of(n, start=0):
    return [
        {"prompt": f"q{start + i}", "chosen": "a" * (20 + i % 3), "rejected": "b" * (i % 4 + 1)}
        for i in range(n)
    ]


@pytest.fixture
def of_text():
    steps = [("features", ResponseFeatures()), ("reward", LinearRewardRegressor())]
    return Pipeline(steps).fit(rows_of(40))


def section(card, title):
    return re.search(rf"^## {title}\n\n(.*?)(?=^## |\Z)", card.text, re.M | re.S)[1]


def cells(card):
    """Return {first cell: other cells} of the table of results."""
    lines = [line for line in section(card, "Results").splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {line[0]: line[1:] for line in table if set(line[0]) != {"-"}}


def test_results_by_hand():
    # Three of four pairs are in the right order, by log-odds 1, 1, 1 and -1.
    test = np.zeros((4, 2, 3), dtype=np.float32)
    test[:3, 0, 0], test[3, 1, 0] = 1.0, 1.0
    candidates = np.zeros((2, 3, 3), dtype=np.float32)
    candidates[:, 1, 0] = 1.0  # the second is picked
    gold = np.array([[0.0, 4.0, 2.0], [1.0, 2.0, 3.0]])
    card = model_card(First().fit(test), test=test, candidates=candidates, gold=gold)
    table = cells(card)
    # deviations .25, .25, .25, -.75: standard error .25, and Student's 3.182 with 3 degrees
    assert table["**this model**"][0] == "0.750 [0.000, 1.000]"
    loss = (3 * np.log1p(np.exp(-1)) + np.log1p(np.e)) / 4
    assert table["**this model**"][1].startswith(f"{loss:.3f} [")
    assert table["**this model**"][2].startswith("3.000 [")
    assert table["random response"][0] == "0.500 [0.500, 0.500]"
    assert table["random response"][2] == "2.000 [2.000, 2.000]"
    assert "longest response" not in table and len(table) == 3
    # Probabilities are .731 where .75 came true, and .269 where .25 did.
    assert "off by 0.019 on average" in section(card, "Probabilities")
    assert "4 held-out pairs of 4 prompts and on candidates of 2" in section(card, "Results")
    assert "No tuned linear model stands beside it" in section(card, "Results")
    assert "Not measured" in section(card, "Length")
    (accuracy, picked) = ModelCard(str(card)).data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", 0.75)
    assert picked.metric_value == 3.0 and card.data.metrics == ["accuracy"]
    picks = model_card(First().fit(test), candidates=candidates, gold=gold)
    assert cells(picks)["**this model**"] == table["**this model**"][2:]
    assert picks.data.metrics is None and "Not measured" in section(picks, "Probabilities")


def test_all_numbers_go_by_weights(of_text):
    rows = [row | {"weight": i % 3} for i, row in enumerate(rows_of(12, 100))]
    for i in (1, 4, 5):  # half of the weight of five pairs is wrong
        rows[i] |= {"chosen": rows[i]["rejected"], "rejected": rows[i]["chosen"]}
    copies = [row | {"weight": 1} for row in rows for _ in range(row["weight"])]
    weighed, copied = (model_card(of_text, train=rows_of(40), test=r) for r in (rows, copies))
    plain = model_card(of_text, train=rows_of(40), test=[r | {"weight": 1} for r in rows])
    said = section(weighed, "Probabilities").splitlines()[0]
    off = re.search(r"off by 0\.\d+", said)[0]
    assert off in section(copied, "Probabilities") and off not in section(plain, "Probabilities")
    assert cells(weighed)["**this model**"][0][:5] == cells(copied)["**this model**"][0][:5]


def test_controls_stand_beside_the_result(of_text):
    test = rows_of(20, 100)
    candidates = [{"prompt": f"c{i}", "responses": ["a" * (i + 1), "bb", "c"]} for i in range(9)]
    gold = np.tile([0.0, 1.0, 2.0], (9, 1))
    given = {"test": test, "candidates": candidates, "gold": gold}
    table = cells(model_card(of_text, train=rows_of(40), **given))
    assert table["longest response"][:2] == ["1.000 [1.000, 1.000]", "–"]
    # Of equal lengths the mean gold counts: 1, (0 + 1) / 2, and 0 seven times.
    assert table["longest response"][2].startswith(f"{1.5 / 9:.3f} [")
    assert table["**this model**"] == table["tuned linear model on the same embeddings"]
    alone = model_card(of_text, train=rows_of(40), controls=False, **given)
    assert list(cells(alone)) == ["", "**this model**"]
    without = model_card(of_text, **given)
    assert "has not said" in section(without, "What it was trained on")
    assert list(cells(without)) == ["", "**this model**", "longest response", "random response"]


def test_the_difference_to_the_tuned_linear_model(pairs):
    worse = pairs.copy()
    worse[..., 0] *= -1
    card = model_card(First().fit(pairs), train=worse[:30], test=pairs[30:])
    said = section(card, "Results")
    assert re.search(r"tuned linear model, pairs in the right order: \+0\.\d+ .*, beyond", said)
    card = model_card(LinearRewardRegressor().fit(pairs[:30]), train=pairs[:30], test=pairs[30:])
    assert "+0.000 [+0.000, +0.000], which may be chance" in section(card, "Results")


def test_data_and_length_are_told(of_text):
    rows = rows_of(40)
    card = model_card(of_text, train=rows, test=rows_of(20, 100))
    assert section(card, "What it was trained on").startswith(
        "40 preference pairs of 40 prompts. Half of the chosen responses have up to 21 characters "
        "and nine of ten up to 22; of the rejected ones 2 and 4."
    )
    assert "Much of what this reward says is how long" in section(card, "Length")
    assert re.search(r"correlate by [01]\.\d\d \[[01]\.\d\d, [01]\.\d\d\]", section(card, "Length"))
    assert "the 40 prompts that it was trained on" in section(card, "Limits")
    assert "q0" not in str(card) and "a" * 20 not in str(card)
    assert "### " not in str(card) and "nan" not in str(card)


def test_shared_prompts_are_told(of_text):
    with pytest.warns(UserWarning, match="5 prompts of test or candidates are prompts of train"):
        card = model_card(of_text, train=rows_of(40), test=rows_of(20, 35))
    assert "**5 of these prompts were trained on**" in section(card, "Results")


def test_dropped_texts_are_left_out():
    test = np.zeros((4, 2, 3), dtype=np.float32)
    test[:3, 0, 0], test[3, 1, 0] = 1.0, 1.0
    test[3, 1] = np.nan
    with pytest.warns(UserWarning, match="1 of 4 pairs"):
        card = model_card(First().fit(test[:3]), test=test)
    assert cells(card)["**this model**"][0] == "1.000 [1.000, 1.000]"


def test_a_card_without_measurements(pairs):
    card = model_card(LinearRewardRegressor().fit(pairs))
    assert "Nothing was measured" in section(card, "Results")
    assert card.data.eval_results is None and card.data.metrics is None
    assert "not a safety filter" in section(card, "Limits")
    assert 'from_pretrained("USER/NAME")' in card.text and "embeddings" in card.text


def test_a_step_of_another_library_takes_an_extra(pairs):
    pipe = Pipeline([("scale", EmbeddingScaler()), ("reward", First())]).fit(pairs)
    assert "lens-sklearn[save] @ git+" in model_card(pipe).text
    assert "lens-sklearn @ git+" in model_card(LinearRewardRegressor().fit(pairs)).text
    frozen = FrozenEstimator(EmbeddingScaler().fit(pairs))
    for step, extra in ((frozen, ""), (FunctionTransformer(np.tanh), "[save]")):
        member = Pipeline([("step", step), ("reward", LinearRewardRegressor())])
        ensemble = VotingRewardRegressor([("a", FrozenEstimator(member.fit(pairs)))]).fit(pairs)
        assert f"lens-sklearn{extra} @ git+" in model_card(ensemble).text


def test_metadata_survives_the_card_library(of_text, tmp_path):
    card = model_card(
        of_text, test=rows_of(20, 100), name="a: 'b'\n--- [c]", license="apache-2.0",
        datasets="user/data", language=["en", "de"],
    )  # fmt: skip
    card.save(tmp_path / "README.md")
    again = ModelCard.load(tmp_path / "README.md")
    assert again.data.to_dict() == card.data.to_dict() and again.text == card.text
    assert again.data.model_name == "a: 'b' --- [c]" and again.data.license == "apache-2.0"
    assert again.data.datasets == ["user/data"] and again.data.language == ["en", "de"]
    assert again.data.eval_results[0].dataset_type == "user/data"
    assert again.data.library_name == "lens-sklearn"


def test_language_models_are_named_and_folders_are_not(tmp_path):
    local = save_encoder(tmp_path / "encoder")
    for name, said, base in (
        (local, "a language model in a folder", None),
        ("user/encoder", "read by user/encoder", ["user/encoder"]),
        ("minilm", "all-MiniLM-L6-v2", ["sentence-transformers/all-MiniLM-L6-v2"]),
    ):
        embedder = LLMEmbedder(local, store=tmp_path / "store")
        pipe = Pipeline([("embed", embedder), ("reward", LinearRewardRegressor())])
        rows = [{"prompt": w, "chosen": "red dog", "rejected": "a cat"} for w in WORDS[:9]]
        card = model_card(pipe.fit(rows).set_params(embed__model_name=name))
        assert said in section(card, "What it was trained on") and card.data.base_model == base
        assert str(tmp_path) not in str(card)
        assert ("lens-sklearn[demo] @" in card.text) == (name == "minilm")
        assert '"responses": ["4."' in card.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words, 3.5 % (so)", "plain words, 3.5 % (so)"),
        ("<script>a</script>", r"\<script\>a\</script\>"),
        ("[a](b) ![c](d)", r"\[a\](b) \!\[c\](d)"),
        ("# a\n- b\n\n| c |", r"\# a - b \| c \|"),
        ("- a", r"\- a"),
        ("1. a", r"1\. a"),
        ("--- `x` &lt; a_b*c~d", r"\--- \`x\` \&lt; a\_b\*c\~d"),
        ("http://a.b me@c.d", r"http\://a.b me\@c.d"),
        ("a\u2028b\u200b\x00c\\", r"a b c\\"),
    ],
)
def test_a_users_text_is_no_markup(text, expected):
    assert escape(text) == expected


def test_description_and_name_are_escaped(pairs):
    card = model_card(LinearRewardRegressor().fit(pairs), name="<b>", description="# a\n\n## b")
    assert "# \\<b\\>\n" in card.text and "\n\n\\# a \\#\\# b\n\n" in card.text


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"candidates": np.zeros((2, 3, 12))}, "candidates and gold go together"),
        ({"gold": np.zeros((2, 3))}, "candidates and gold go together"),
        ({"license": "MIT License"}, "license='MIT License' is no license's name"),
        ({"repo_id": "/home/me/model"}, "no name on the Hub, such as 'user/name'"),
        ({"repo_id": 'a/b")\nimport os'}, "no name on the Hub"),
        ({"datasets": ["a/b", "/data/x.jsonl"]}, "'/data/x.jsonl' is no name on the Hub"),
        ({"language": "English"}, "'English' is no code"),
        ({"train": np.zeros((3, 12))}, r"train must be pairs of shape \(n, 2, d\)"),
        ({"test": [{"prompt": "a", "responses": ["b"]}]}, "test: expected preference rows"),
    ],
)
def test_what_is_wrong_is_named(params, message, pairs):
    with pytest.raises(ValueError, match=message):
        model_card(LinearRewardRegressor().fit(pairs), **params)


@pytest.mark.parametrize(
    "params",
    [{"license": 3}, {"repo_id": b"a/b"}, {"datasets": {"a/b"}}, {"language": ["en", None]}],
)
def test_names_are_texts(params, pairs):
    with pytest.raises(TypeError, match=f"{next(iter(params))} has to be a text"):
        model_card(LinearRewardRegressor().fit(pairs), **params)


def test_what_gives_no_rewards_has_no_card(pairs):
    with pytest.raises(TypeError, match="EmbeddingScaler gives no rewards"):
        model_card(EmbeddingScaler().fit(pairs))


def test_a_model_has_to_be_fitted():
    with pytest.raises(NotFittedError):
        model_card(LinearRewardRegressor())


def test_synthetic_pairs_are_nobodys_judgements():
    toy = make_preference_pairs(n_pairs=60, n_features=4, label_noise=0.3, random_state=0)
    given = {"train": toy.pairs[:40], "test": toy.pairs[40:]}
    reward = LinearRewardRegressor().fit(given["train"])
    plain = model_card(reward, **given).text
    assert "40 preference pairs" in plain and "20 held-out pairs of 20 prompts" in plain
    augment = RepeatAugmenter(factor=3).fit_transform
    copies = {name: augment(pairs) for name, pairs in given.items()}
    assert model_card(reward, **copies).text == plain
