"""Text synthesis as a step of a Pipeline: rows, parents, ties, and TRL's own trainers."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV, GroupKFold, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from tiny_models import save_causal, save_encoder, save_reward, sentence

from lens_sklearn import AugmentedPairs, BTRewardRegressor, EmbeddingScaler, LLMEmbedder
from lens_sklearn._rows import read_texts
from lens_sklearn.textual import (
    AugmentedRows,
    ResponseGenerator,
    RewardModelLabeller,
    SelfEvolvedLabeller,
    TextPairSynthesizer,
)


class Sampler(BaseEstimator):
    """Hands out fixed responses: a stand-in for a language model."""

    def __init__(self, responses, n_samples=6):
        self.responses = responses
        self.n_samples = n_samples

    def fit(self, X=None, y=None):
        return self

    def transform(self, X):
        return [
            {"prompt": [{"role": "user", "content": "why"}], "responses": list(self.responses)}
            for _ in X
        ]


class Length(BaseEstimator):
    """A labeller that likes long responses."""

    def score(self, prompts, responses):
        scores = np.full((len(responses), max(map(len, responses))), np.nan)
        for i, row in enumerate(responses):
            scores[i, : len(row)] = [len(text.split()) for text in row]
        return scores


RESPONSES = ["the cat sat", "no", "a big dog ran", "a dog", "the red cat ran under", "yes no"]
USER, BOT = {"role": "user", "content": "why"}, {"role": "assistant", "content": "no"}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.RandomState(0)
    return [
        {"prompt": sentence(rng, 4), "chosen": sentence(rng, 6), "rejected": sentence(rng, 3)}
        for _ in range(20)
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "causal": save_causal(root / "causal"),
        "reward": save_reward(root / "reward"),
        "encoder": save_encoder(root / "encoder"),
    }


@pytest.fixture
def synthesizer():
    return TextPairSynthesizer(Sampler(RESPONSES), Length(), factor=3, draws="once")


# ------------------------------------------------------------------------------ rows
def test_top_stands_against_bottom_and_originals_come_first(synthesizer, rows):
    out = synthesizer.fit_transform(rows)
    assert len(out) == 60 and out[:20] == rows
    assert out[20] == {
        "prompt": rows[0]["prompt"], "chosen": "the red cat ran under", "rejected": "no",
    }  # fmt: skip
    assert (out[40]["chosen"], out[40]["rejected"]) == ("a big dog ran", "yes no")
    assert out.parent.tolist() == list(range(20)) * 3
    assert out.number.tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert synthesizer.transform(rows) is rows


@pytest.mark.parametrize(
    ("row", "chosen"),
    [
        ({"prompt": "why", "chosen": "yes", "rejected": "no"}, "the red cat ran under"),
        (
            {"prompt": [USER], "chosen": [BOT], "rejected": [{**BOT, "content": "yes"}]},
            [{"role": "assistant", "content": "the red cat ran under"}],
        ),
        (
            {"chosen": [USER, BOT], "rejected": [USER, {**BOT, "content": "yes"}]},
            [USER, {"role": "assistant", "content": "the red cat ran under"}],
        ),
    ],
    ids=["strings", "messages", "implicit prompt"],
)
def test_synthetic_rows_have_the_form_of_their_parents(synthesizer, row, chosen):
    import datasets

    out = synthesizer.fit_transform([row])
    assert out[1]["chosen"] == chosen and out[1].keys() == row.keys()
    assert read_texts(out).items.shape == (3, 2)
    dataset = datasets.Dataset.from_list(list(out))
    assert dataset.column_names == list(row)
    assert synthesizer.fit_transform(dataset.select([0])) == out


def test_further_columns_are_left_out(synthesizer):
    row = {"prompt": "why", "chosen": "yes", "rejected": "no", "margin": 0.5}
    assert all(set(r) == {"prompt", "chosen", "rejected"} for r in synthesizer.fit_transform([row]))


def test_factor_one_is_the_rows(synthesizer, rows):
    assert synthesizer.set_params(factor=1).fit_transform(rows) == rows


# ------------------------------------------------------------------------------ draws
class Numbered(BaseEstimator):
    """Further responses where a prompt comes again, as a ResponseGenerator has; any seed."""

    def __init__(self, draws, random_state=None):
        self.draws = draws  # prompt: a list of responses a draw
        self.random_state = random_state

    def fit(self, X=None, y=None):
        return self

    def transform(self, X):
        seen = dict.fromkeys(self.draws, 0)
        rows = []
        for row in X:
            prompt = row["prompt"]
            rows.append({"prompt": prompt, "responses": self.draws[prompt][seen[prompt]]})
            seen[prompt] += 1
        return rows


DRAWS = {
    "why": [["a", "the cat sat", "a dog"], ["no", "no", "a dog ran under"], ["yes", "you said so"]],
    "how": [["red"], ["the red cat", "blue"], ["a", "yes"]],
}
TWO = [{"prompt": p, "chosen": "yes", "rejected": "no"} for p in DRAWS]


def test_each_synthetic_row_is_best_against_worst_of_a_draw_of_its_own():
    synthesizer = TextPairSynthesizer(Numbered(DRAWS), Length())
    with pytest.warns(UserWarning, match="2 of 6 .* ties the two responses of 1 and too few"):
        out = synthesizer.fit_transform(TWO)
    assert [(r["prompt"], r["chosen"], r["rejected"]) for r in list(out)[2:]] == [
        ("why", "the cat sat", "a"),
        ("why", "a dog ran under", "no"),
        ("how", "the red cat", "blue"),
        ("why", "you said so", "yes"),
    ]
    assert out.parent.tolist() == [0, 1, 0, 0, 1, 0] and out.number.tolist() == [0, 0, 1, 2, 2, 3]
    assert (synthesizer.n_missing_, synthesizer.n_tied_, synthesizer.n_repeated_) == (1, 1, 0)


@pytest.mark.filterwarnings("ignore:.* synthetic pairs are left out")
def test_smaller_factors_are_the_first_of_larger_ones():
    draws = {"why": DRAWS["why"] + [["b", "big cat"]] * 3}
    twins = [TWO[0], {**TWO[0], "chosen": "maybe"}]  # one prompt: their draws come in turn
    three, two = (
        TextPairSynthesizer(Numbered(draws), Length(), factor=f).fit_transform(twins)
        for f in (3, 2)
    )
    assert three[np.flatnonzero(three.number < 2)] == two
    assert [row["chosen"] for row in two] == ["yes", "maybe", "the cat sat", "a dog ran under"]


def test_a_pair_that_comes_again_is_left_out():
    draws = {"why": [["a", "the cat"], ["the cat", "a"], ["a", "the dog"]]}
    synthesizer = TextPairSynthesizer(Numbered(draws), Length())
    with pytest.warns(UserWarning, match="1 of 3 .* left out: 1 were made of another draw already"):
        out = synthesizer.fit_transform(TWO[:1])
    assert synthesizer.n_repeated_ == 1 and out.number.tolist() == [0, 1, 3]


def test_responses_without_a_judgement_are_in_no_pair():
    def judge(prompts, responses):  # knows nothing of texts with "cat"
        return [[None if "cat" in t else len(t.split()) for t in row] for row in responses]

    synthesizer = TextPairSynthesizer(Numbered(DRAWS), judge)
    with (
        pytest.warns(UserWarning, match="2 of 11 responses got no judgement .NaN. by Function"),
        pytest.warns(UserWarning, match="too few different responses were sampled and judged for"),
    ):
        out = synthesizer.fit_transform(TWO)
    assert synthesizer.n_unjudged_ == 2 and synthesizer.n_missing_ == 2
    assert [(r["chosen"], r["rejected"]) for r in list(out)[2:4]] == [
        ("a dog", "a"), ("a dog ran under", "no"),
    ]  # fmt: skip
    once = TextPairSynthesizer(Sampler(RESPONSES), judge, factor=2, draws="once")
    with pytest.warns(UserWarning, match="2 of 6 responses got no judgement"):
        new = once.fit_transform(TWO[:1])[1]
    assert (new["chosen"], new["rejected"]) == ("a big dog ran", "no")


@pytest.mark.filterwarnings("ignore:.* synthetic pairs are left out")
def test_a_labeller_that_learns_is_given_all_responses_of_a_row():
    class Learner(Length):
        def fit(self, rows, candidates):
            self.given_ = rows, candidates
            return self

    synthesizer = TextPairSynthesizer(Numbered(DRAWS), Learner())
    synthesizer.fit_transform(TWO)
    rows, candidates = synthesizer.labeller_.given_
    assert rows == TWO and [row["prompt"] for row in candidates] == ["why", "how"]
    assert [row["responses"] for row in candidates] == [sum(DRAWS[p], []) for p in DRAWS]


def test_one_seed_makes_all_of_it_repeatable():
    class Seeded(Length):
        def __init__(self, reward=None, random_state=None):
            self.reward = reward
            self.random_state = random_state

    class Learner(Seeded):
        def fit(self, rows, candidates):
            return self

    def fitted(labeller, random_state):
        synthesizer = TextPairSynthesizer(Numbered(DRAWS), labeller, random_state=random_state)
        synthesizer.fit()
        return synthesizer.generator_.random_state, synthesizer.labeller_.get_params()

    reward = Numbered(DRAWS)
    seed, learner = fitted(Learner(reward), 0)
    assert fitted(Learner(reward), 0)[0] == seed and fitted(Learner(reward), 1)[0] != seed
    assert len({seed, learner["random_state"], learner["reward__random_state"]}) == 3
    assert fitted(Learner(reward, random_state=7), 0)[1]["random_state"] == 7
    # what does not learn keeps what it holds as it is
    assert fitted(Seeded(reward), 0)[1]["reward__random_state"] is None
    assert fitted(Learner(reward), None)[1]["random_state"] is None
    assert reward.random_state is None


# ------------------------------------------------------------------------------ AugmentedRows
@pytest.fixture
def mixed():
    """Two families in no order: b's children b1 and b2, a's child a1."""
    rows = [{"chosen": name, "rejected": "no"} for name in ("b1", "a", "b", "a1", "b2")]
    return AugmentedRows(rows, parent=[2, 1, 2, 1, 2], number=[1, 0, 0, 1, 2])


def names_of(rows):
    return [row["chosen"] for row in rows]


@pytest.mark.parametrize(
    ("index", "names", "parent", "number"),
    [
        (slice(None, None, -1), ["b2", "a1", "b", "a", "b1"], [2, 3, 2, 3, 2], [2, 1, 0, 0, 1]),
        ([3, 1], ["a1", "a"], [1, 1], [1, 0]),
        (np.array([4, 2, 1]), ["b2", "b", "a"], [1, 1, 2], [2, 0, 0]),
        (np.array([True, False, True, False, False]), ["b1", "b"], [1, 1], [1, 0]),
        # of an original that comes twice, the first is the parent
        ([4, 2, 2, 0], ["b2", "b", "b", "b1"], [1, 1, 2, 1], [2, 0, 0, 1]),
        ([], [], [], []),
    ],
    ids=["backwards", "list", "array", "mask", "twice", "nothing"],
)
def test_a_selection_is_in_the_order_asked_for(mixed, index, names, parent, number):
    part = mixed[index]
    assert isinstance(part, AugmentedRows) and names_of(part) == names
    assert part.parent.tolist() == parent and part.number.tolist() == number
    assert part.is_synthetic.tolist() == [n > 0 for n in number]
    assert part.n_originals == number.count(0)


def test_a_single_index_is_a_row(mixed):
    assert mixed[0]["chosen"] == "b1" and mixed[np.int64(-1)]["chosen"] == "b2"
    assert names_of(mixed) == ["b1", "a", "b", "a1", "b2"] and len(mixed) == 5
    with pytest.raises(IndexError):
        mixed[5]


def test_children_without_their_parent_are_refused(mixed):
    with pytest.raises(IndexError, match="row 3 is synthetic and its parent, row 1, is not among"):
        mixed[[2, 3]]


def test_folds_hold_whole_families(mixed):
    folds = GroupKFold(2).split(mixed, groups=mixed.parent)
    halves = [_safe_indexing(mixed, test) for _, test in folds]
    assert sorted(map(names_of, halves)) == [["a", "a1"], ["b1", "b", "b2"]]
    assert sorted(half.parent.tolist() for half in halves) == [[0, 0], [1, 1, 1]]
    assert names_of(_safe_indexing(mixed, [True, False, True, False, True])) == ["b1", "b", "b2"]
    with pytest.raises(IndexError, match="groups=rows.parent"):
        train_test_split(mixed, random_state=0)


def test_rows_cannot_be_changed(mixed):
    with pytest.raises(FrozenInstanceError):
        mixed.rows = ()
    with pytest.raises(ValueError, match="read-only"):
        mixed.parent[0] = 1
    with pytest.raises(TypeError):
        mixed[0] = {}
    parent = np.array([0, 0])
    rows = AugmentedRows([{"chosen": "a"}, {"chosen": "b"}], parent, [0, 1])
    parent[0] = 1
    assert rows.parent.tolist() == [0, 0]


def test_equality_is_of_rows_and_where_they_come_from(mixed):
    assert mixed == list(mixed.rows) and list(mixed.rows) == mixed
    assert mixed != list(mixed.rows)[:4] and mixed != mixed[::-1] and mixed != "rows"
    assert mixed == mixed[:] and mixed == pickle.loads(pickle.dumps(mixed))
    assert mixed != AugmentedRows(mixed.rows)
    assert mixed != AugmentedRows(mixed.rows, [1, 1, 2, 1, 2], mixed.number)
    assert mixed != AugmentedRows(mixed.rows, mixed.parent, [3, 0, 0, 1, 2])


def test_values_are_handed_down_from_parents(mixed):
    assert mixed.hand_down([7, 8]).tolist() == [8, 7, 8, 7, 8]  # of a and b
    assert mixed.hand_down([1, 2, 3, 4, 5]).tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"a value a row \(5\) or a value an original \(2\)"):
        mixed.hand_down([1, 2, 3])


@pytest.mark.parametrize(
    ("parent", "number", "message"),
    [
        ([0, 0], [0, 0], "row 1 has parent 0 and number 0: an original is its own parent"),
        ([0, 1], [0, 1], "row 1 has parent 1 and number 1"),
        ([0, 2], [0, 1], "row 1 has parent 2"),
        ([-1, 1], [1, 0], "row 0 has parent -1"),
        ([1, 0], [1, 1], "row 0 has parent 1 and number 1: .* is an original"),
        ([0, 0], [0, -1], "row 1 has parent 0 and number -1"),
        ([0], [0, 1], r"got shapes \(1,\) and \(2,\) for 2 rows"),
        ([0, 0], None, "row 1 has parent 0 and number 0"),
    ],
)
def test_parents_that_are_none_are_refused(parent, number, message):
    with pytest.raises(ValueError, match=message):
        AugmentedRows([{"chosen": "a"}, {"chosen": "b"}], parent, number)


# ------------------------------------------------------------------------------ pipeline
def pipeline(synthesizer, models, **embedder):
    return Pipeline(
        [
            ("synthesize", synthesizer),
            ("embed", LLMEmbedder(models["encoder"], pooling="mean", **embedder)),
            ("scale", EmbeddingScaler()),
            ("reward", BTRewardRegressor(8, learning_rate=3e-2, max_epochs=4, random_state=0)),
        ]
    )


def test_parents_reach_the_reward(synthesizer, models, rows):
    pipe = pipeline(synthesizer, models).fit(rows)
    pairs = pipe[:-1].fit_transform(rows)
    assert isinstance(pairs, AugmentedPairs) and len(pairs.originals) == 20
    assert pairs.parent.tolist() == list(range(20)) * 3
    assert pairs.is_synthetic.tolist() == [False] * 20 + [True] * 40
    candidates = [{"prompt": "why", "responses": ["no", "yes"]}]
    reward = clone(pipe[-1]).fit(pairs)
    np.testing.assert_array_equal(
        pipe.predict(candidates), reward.predict(pipe[:-1].transform(candidates))
    )


def test_embedding_and_scaling_treat_augmented_rows_as_rows(synthesizer, models, rows):
    out = synthesizer.fit_transform(rows)
    embedder = LLMEmbedder(models["encoder"], pooling="mean")
    pairs, plain = embedder.fit_transform(out), embedder.fit_transform(list(out))
    assert isinstance(pairs, AugmentedPairs) and isinstance(plain, np.ndarray)
    np.testing.assert_array_equal(pairs, plain)
    turned = embedder.fit_transform(out[::-1])  # synthetic rows before their parents
    np.testing.assert_array_equal(turned, plain[::-1])
    assert turned.is_synthetic.tolist() == out.is_synthetic.tolist()[::-1]
    np.testing.assert_array_equal(turned.originals[turned.parent], plain[out.parent[::-1]])
    scaled = EmbeddingScaler().fit_transform(pairs)
    assert isinstance(scaled, AugmentedPairs) and scaled.parent.tolist() == out.parent.tolist()
    np.testing.assert_allclose(scaled, EmbeddingScaler().fit_transform(plain), atol=1e-6)
    back = EmbeddingScaler().fit(pairs).inverse_transform(scaled)
    np.testing.assert_allclose(back, plain, atol=1e-5)


def test_ties_of_originals_are_not_handed_down(synthesizer, models):
    rows = [{"prompt": "why", "chosen": "yes", "rejected": "yes"}] * 2
    with pytest.warns(UserWarning, match="chosen equal to rejected"):
        out = synthesizer.fit_transform(rows)
    with pytest.warns(UserWarning, match="chosen equal to rejected"):
        pairs = LLMEmbedder(models["encoder"]).fit_transform(out)
    assert pairs.target.tolist() == [0.5, 0.5, 1, 1, 1, 1]


@pytest.mark.parametrize("step", [1, -1])
def test_dropped_originals_take_their_children_along(synthesizer, models, rows, step):
    long = [*rows[:3], {**rows[3], "chosen": sentence(np.random.RandomState(0), 40)}]
    embedder = LLMEmbedder(models["encoder"], pooling="mean", overlong="drop", max_length=20)
    pairs = embedder.fit_transform(synthesizer.fit_transform(long)[::step])
    assert pairs.parent.tolist() == [0, 1, 2] * 3
    expected = embedder.fit_transform(rows[:3])[::step]
    np.testing.assert_array_equal(pairs.originals, expected)


def test_grid_search_scores_rows_as_they_are(synthesizer, models, rows):
    search = GridSearchCV(pipeline(synthesizer, models), {"synthesize__factor": [1, 2]}, cv=2)
    scores = search.fit(rows).cv_results_
    folds = [(rows[10:], rows[:10]), (rows[:10], rows[10:])]
    for factor, mean in zip([1, 2], scores["mean_test_score"], strict=True):
        pipe = pipeline(clone(synthesizer).set_params(factor=factor), models)
        by_hand = np.mean([pipe.fit(train).score(test) for train, test in folds])
        assert mean == pytest.approx(by_hand)


@pytest.mark.filterwarnings("ignore:.* responses are empty")  # a random model's
@pytest.mark.filterwarnings("ignore:.* were cut at max_new_tokens")
def test_end_to_end_on_tiny_models(models, rows):
    rows = rows[:8]
    generator = ResponseGenerator(models["causal"], n_samples=6, max_new_tokens=6)
    for labeller in (
        RewardModelLabeller(models["reward"]),
        SelfEvolvedLabeller(pipeline("passthrough", models), n_iterations=1),
    ):
        synthesizer = TextPairSynthesizer(generator, labeller, factor=3, random_state=0)
        out = synthesizer.fit_transform(rows)
        assert len(out) == 24 and synthesizer.n_tied_ == synthesizer.n_missing_ == 0
        new = list(out)[8:]
        texts = [[row["chosen"], row["rejected"]] for row in new]
        scores = synthesizer.labeller_.score([row["prompt"] for row in new], texts)
        assert (scores[:, 0] > scores[:, 1]).all()
        assert clone(synthesizer).fit_transform(rows) == out  # random_state seeds the generator


def test_clone_and_nested_parameters(synthesizer):
    again = clone(synthesizer).set_params(generator__n_samples=9)
    assert again.generator.n_samples == 9 and synthesizer.generator.n_samples == 6


# ------------------------------------------------------------------------------ bad input
def test_a_labeller_that_ties_everything(rows):
    class Tied(Length):
        def score(self, prompts, responses):
            return super().score(prompts, responses) * 0

    synthesizer = TextPairSynthesizer(Sampler(RESPONSES), Tied(), factor=3, draws="once")
    with pytest.warns(UserWarning, match="40 of 40 .* ties .* of 40. Nothing was synthesised"):
        out = synthesizer.fit_transform(rows)
    assert out == rows and synthesizer.n_tied_ == 40


def test_warnings_point_at_the_callers_line(rows, models):
    synthesizer = TextPairSynthesizer(Sampler(["no"]), Length(), factor=2)
    evolved = TextPairSynthesizer(
        Sampler(["no"]), SelfEvolvedLabeller(pipeline("passthrough", models)), factor=2
    )
    for fit in (
        synthesizer.fit_transform,
        pipeline(synthesizer, models).fit,
        evolved.fit_transform,
    ):
        with pytest.warns(UserWarning) as caught:
            fit(rows)
        assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.parametrize("responses", [["no"] * 6, [], ["no"]])
def test_a_generator_without_different_responses(rows, responses):
    synthesizer = TextPairSynthesizer(Sampler(responses), Length(), factor=3)
    with pytest.warns(UserWarning, match="too few different responses were sampled for 40"):
        assert synthesizer.fit_transform(rows) == rows


def test_some_pairs_are_left_out(rows):
    synthesizer = TextPairSynthesizer(
        Sampler(["no", "yes", "the cat", "no"]), Length(), factor=3, draws="once"
    )
    with pytest.warns(UserWarning, match="20 of 40 synthetic pairs are left out: too few"):
        assert len(synthesizer.fit_transform(rows)) == 40


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda n, k: np.zeros((n, k + 1)), r"Odd scored 20 × 6 responses with shape \(20, 7\)"),
        (
            lambda n, k: np.where(np.arange(n * k).reshape(n, k) == 7, np.inf, 0),
            "Odd gave inf to row 1, response 1",
        ),
    ],
)
def test_a_labeller_that_breaks_its_promise(rows, scores, message):
    class Odd(Length):
        def score(self, prompts, responses):
            return scores(len(responses), len(responses[0]))

    with pytest.raises(ValueError, match=message):
        TextPairSynthesizer(Sampler(RESPONSES), Odd(), factor=2).fit_transform(rows)


def test_a_class_or_a_word_is_no_labeller(rows):
    with pytest.raises(TypeError, match=r"the labeller is the class Length; give an object"):
        TextPairSynthesizer(Sampler(RESPONSES), Length).fit(rows)
    with pytest.raises(ValueError, match="'labeller' parameter"):
        TextPairSynthesizer(Sampler(RESPONSES), "length").fit(rows)


def test_a_generator_that_loses_rows_is_named(rows):
    class Lossy(Sampler):
        def transform(self, X):
            return super().transform(X)[1:]

    with pytest.raises(ValueError, match="Lossy returned 59 candidate rows for 60 rows"):
        TextPairSynthesizer(Lossy(RESPONSES), Length()).fit_transform(rows)


def test_what_it_refuses(synthesizer, rows):
    with pytest.raises(ValueError, match="y cannot follow text synthesis"):
        synthesizer.fit_transform(rows, np.ones(20))
    with pytest.raises(ValueError, match="augmented already"):
        synthesizer.fit_transform(synthesizer.fit_transform(rows))
    with pytest.raises(ValueError, match="best 7 responses .* needs n_samples >= 14; got 6"):
        synthesizer.set_params(factor=8).fit(rows)
    one = TextPairSynthesizer(Sampler(RESPONSES, n_samples=1), Length())
    with pytest.raises(ValueError, match="best and worst, so .* needs n_samples >= 2; got 1"):
        one.fit(rows)
    one.set_params(factor=1).fit(rows)
    with pytest.raises(ValueError, match="expected preference rows"):
        synthesizer.set_params(factor=2).fit_transform([{"prompt": "why", "responses": ["no"]}])
    with pytest.raises(ValueError, match="row 0: there is no prompt"):
        synthesizer.fit_transform([{"chosen": "yes", "rejected": "no"}])
