"""The self-evolved labeller: what it keeps, turns round and carries over, by hand."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from tiny_models import save_encoder, sentence

from lens_sklearn import BTRewardRegressor, EmbeddingScaler, LLMEmbedder
from lens_sklearn.textual import AugmentedRows, RewardLabeller, SelfEvolvedLabeller

RNG = np.random.RandomState(0)
PROMPTS = [sentence(RNG, 3 + i) for i in range(6)]
RESPONSES = [[sentence(RNG, n) for n in RNG.randint(1, 9, size=5 - i % 2)] for i in range(6)]


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


@pytest.mark.parametrize("pairs", ["given", "best_worst"])
def test_self_evolution_trains_anew_on_what_it_keeps(reward, rows, pairs):
    rng = np.random.RandomState(2)
    candidates = [{"responses": [sentence(rng, n) for n in (1, 5, 12)]} for _ in rows]
    labeller = SelfEvolvedLabeller(reward, pairs=pairs, n_iterations=2, random_state=0)
    labeller.fit(rows, candidates)
    assert len(labeller.n_kept_) == 2 and 0 < labeller.n_kept_[0] <= len(rows)
    once = SelfEvolvedLabeller(reward, n_iterations=0).fit(rows, candidates)
    first = clone(reward).fit(rows)
    np.testing.assert_allclose(
        once.score(PROMPTS, RESPONSES),
        RewardLabeller(first).score(PROMPTS, RESPONSES) - first.predict(rows).mean(),
        atol=1e-6,
    )
    difference = labeller.score(PROMPTS, RESPONSES) - once.score(PROMPTS, RESPONSES)
    assert np.nanmax(np.abs(difference)) > 1e-3
    # the same first reward, the same confident pairs
    assert clone(labeller).fit(rows, candidates).n_kept_ == labeller.n_kept_


class Fixed(BaseEstimator):
    """A reward of 0 for preference rows and fixed rewards for candidates; keeps what it fits."""

    def __init__(self, rewards):
        self.rewards = rewards

    def fit(self, X, y=None):
        self.rows_ = X
        return self

    def predict(self, X):
        return np.array([[0, 0] if "chosen" in row else self.rewards for row in X], dtype=float)


@pytest.mark.parametrize(
    ("rewards", "kept"),
    [
        ([0.25, -0.25], True),  # .56 and .44
        ([0.25, -0.15], False),  # .56 and .46
        ([0.15, -0.25], False),  # .54 and .44
        ([3.0, 0.3], True),  # .95 and .57: a gap above .3
        ([3.0, 0.7], False),  # .95 and .67
        ([1.0, 1.0], False),
    ],
)
@pytest.mark.parametrize("pairs", ["given", "best_worst"])
@pytest.mark.filterwarnings("ignore:iteration 1 .* is sure of none of 2 pairs")
def test_confident_pairs_are_trained_on(rows, rewards, kept, pairs):
    candidates = [{"responses": ["yes", "no"]}, {"responses": ["no"]}, {"responses": ["a", "the"]}]
    labeller = SelfEvolvedLabeller(Fixed(rewards), pairs=pairs, n_iterations=1)
    labeller.fit(rows[:3], candidates)
    assert labeller.n_kept_ == [2 * kept] and labeller.n_undecided_ == [2 - 2 * kept]
    new = [
        {"prompt": rows[0]["prompt"], "chosen": "yes", "rejected": "no"},
        {"prompt": rows[2]["prompt"], "chosen": "a", "rejected": "the"},
    ]
    training = labeller.reward_.rows_
    assert isinstance(training, AugmentedRows)
    assert list(training) == rows[:3] + (new if kept else [])
    assert training.parent.tolist() == [0, 1, 2] + ([0, 2] if kept else [])


def test_rewards_are_centered_by_the_preference_rows(rows):
    class Shifted(Fixed):
        def predict(self, X):
            return super().predict(X) + 5

    labeller = SelfEvolvedLabeller(Shifted([0.25, -0.25]), n_iterations=1)
    labeller.fit(rows[:1], [{"responses": ["yes", "no"]}])
    assert labeller.center_ == 5 and labeller.n_kept_ == [1]
    np.testing.assert_allclose(labeller.score(["why"], [["yes", "no"]]), [[0.25, -0.25]])


def test_self_evolution_that_is_sure_of_nothing_warns(reward, rows):
    labeller = SelfEvolvedLabeller(reward)
    with pytest.warns(UserWarning, match="iteration 1 .* is sure of none of 0 pairs"):
        labeller.fit(rows, [{"responses": ["the cat"]}] * len(rows))
    assert labeller.n_kept_ == [0]
    with pytest.raises(ValueError, match="got 24 rows and candidates for 1"):
        labeller.fit(rows, [{"responses": ["the cat"]}])


# ------------------------------------------------------------------------------ given pairs
class Staged(BaseEstimator):
    """Rewards of texts by how many rows it was trained on; preference rows get 0."""

    def __init__(self, stages):
        self.stages = stages

    def fit(self, X, y=None):
        self.rows_ = X
        return self

    def predict(self, X):
        texts = self.stages.get(len(self.rows_), {})
        if "chosen" in X[0]:
            return np.zeros((len(X), 2))
        rewards = np.full((len(X), max(len(row["responses"]) for row in X)), np.nan)
        for i, row in enumerate(X):
            for j, (message,) in enumerate(row["responses"]):
                rewards[i, j] = texts.get(message["content"], 0.0)
        return rewards


GIVEN = [{"responses": r} for r in (["a", "the cat"], ["no", "yes"], ["red", "blue"])]
STAGES = {
    3: {"a": -1, "the cat": 1, "no": 0.1},  # .27 and .73: sure, and the other way round
    4: {"a": 5, "the cat": -5, "no": 1, "yes": -1},  # sure of another, and of a different mind
    5: {"red": 0.1, "blue": -0.1},  # .52 and .48: sure of nothing
}


def test_given_pairs_are_filtered_turned_round_and_carried_over(rows):
    labeller = SelfEvolvedLabeller(Staged(STAGES), n_iterations=5)
    with pytest.warns(UserWarning, match="iteration 3 .* is sure of none of 1 pairs"):
        labeller.fit(rows[:3], GIVEN)
    assert labeller.n_kept_ == [1, 1, 0]
    assert labeller.n_flipped_ == [1, 0, 0]
    assert labeller.n_undecided_ == [2, 1, 1]
    training = labeller.reward_.rows_
    # what was decided keeps the order that it got then
    assert [(r["chosen"], r["rejected"]) for r in list(training)[3:]] == [
        ("the cat", "a"), ("no", "yes"),
    ]  # fmt: skip
    assert training.parent.tolist() == [0, 1, 2, 0, 1]


def test_best_and_worst_are_chosen_anew_by_each_reward(rows):
    three = [{"responses": ["a", "the cat", "red"]}, *GIVEN[1:]]
    labeller = SelfEvolvedLabeller(Staged(STAGES), pairs="best_worst", n_iterations=2)
    labeller.fit(rows[:3], three)
    # of row 0 the pair of the second reward, not of the first; of row 1 a new one
    assert labeller.n_kept_ == [1, 2] and labeller.n_flipped_ == [0, 0]
    assert labeller.n_undecided_ == [2, 1]
    assert [(r["chosen"], r["rejected"]) for r in list(labeller.reward_.rows_)[3:]] == [
        ("a", "the cat"), ("no", "yes"),
    ]  # fmt: skip


def test_when_all_pairs_are_decided_nothing_is_left_to_warn_of(rows):
    labeller = SelfEvolvedLabeller(Fixed([1, -1])).fit(rows[:3], GIVEN)
    assert (labeller.n_kept_, labeller.n_flipped_, labeller.n_undecided_) == ([3], [0], [0])
    assert len(labeller.reward_.rows_) == 6


def test_pairs_are_drawn_at_random_once(rows):
    texts = "a b c d e f g h".split()
    rewards = {text: 4 * i for i, text in enumerate(texts)}  # all differ by more than the gap...
    stages = {24: {t: r - 14 for t, r in rewards.items()}}  # ... in the middle of the sigmoid

    def drawn(random_state):
        labeller = SelfEvolvedLabeller(Staged(stages), n_iterations=1, random_state=random_state)
        labeller.fit(rows, [{"responses": texts}] * 24)
        return labeller, [(r["chosen"], r["rejected"]) for r in list(labeller.reward_.rows_)[24:]]

    labeller, pairs = drawn(0)
    assert drawn(0)[1] == pairs != drawn(1)[1]
    assert len(set(pairs)) > 5 and all(better > worse for better, worse in pairs)
    assert 0 < labeller.n_kept_[0] < 24  # a pair at one end of the sigmoid is none to be sure of
    assert 0 < labeller.n_flipped_[0] < labeller.n_kept_[0]
    assert labeller.n_kept_[0] + labeller.n_undecided_[0] == 24


@pytest.mark.parametrize("pairs", ["given", "best_worst"])
def test_a_response_without_a_reward_is_in_no_pair(rows, pairs):
    stages = {3: {"a": np.nan, "the cat": np.nan, "no": np.nan, "yes": 3, "red": 1, "blue": -1}}
    labeller = SelfEvolvedLabeller(Staged(stages), pairs=pairs, n_iterations=1)
    labeller.fit(rows[:3], GIVEN)
    assert labeller.n_kept_ == [1]
    assert labeller.reward_.rows_[3]["chosen"] == "red"


def test_candidates_may_be_messages_and_others_are_named(rows):
    answers = [[{"role": "assistant", "content": text}] for text in ("a", "the cat")]
    odd = '[{"role": "user", "content": "why"}]'  # a sampled text that looks like messages
    candidates = [{"responses": answers}, {"responses": [odd, "yes"]}, GIVEN[2]]
    labeller = SelfEvolvedLabeller(Staged(STAGES), n_iterations=1).fit(rows[:3], candidates)
    assert labeller.reward_.rows_[3]["chosen"] == "the cat"
    user = [{"role": "user", "content": "why"}]
    for row, message in (
        ({"responses": ["a", user]}, r"candidates\[0\], responses\[1\]: expected a str or one"),
        ({"responses": ["a", 3]}, r"candidates\[0\], responses\[1\]: expected a str"),
        ({"texts": ["a"]}, r"candidates\[0\]: expected a dict with a list of 'responses'"),
        (["a", "b"], r"candidates\[0\]: expected a dict .* got rows of list"),
    ):
        with pytest.raises(ValueError, match=message):
            labeller.fit(rows[:1], [row])
