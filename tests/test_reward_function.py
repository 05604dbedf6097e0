"""A reward as a function of TRL, OpenRLHF and verl: signatures, and completions as they come."""

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from tiny_models import WORDS, save_causal

from lens_sklearn import GPRewardRegressor, LinearRewardRegressor, LLMEmbedder, as_reward_function

PAIRS = [
    {"prompt": f"why {WORDS[i]}", "chosen": f"{WORDS[i]} sat on {WORDS[i + 5]}", "rejected": "no"}
    for i in range(20)
]


class Lengths(BaseEstimator):
    """Rewards a response by its characters; refuses what a set of words says."""

    def __init__(self, refused=()):
        self.refused, self.calls = refused, []

    def fit(self):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, rows):
        self.calls.append(rows)
        texts = [row["responses"][0] for row in rows]
        texts = [t if isinstance(t, str) else t[-1]["content"] for t in texts]
        for text in texts:
            if text in self.refused:
                raise ValueError(f"{text!r} is too long")
        return np.array([[len(t)] for t in texts])


class Spread(Lengths):
    def predict(self, rows, return_std=False):
        rewards = super().predict(rows)
        return (rewards, rewards / 2) if return_std else rewards


def test_completions_are_scored_in_their_order_as_floats():
    function = as_reward_function(Lengths(), name="mine")
    found = function(prompts=["a", "b"], completions=["xx", "yyyy"], completion_ids=[[1], [2]])
    assert found == [2.0, 4.0] and all(type(r) is float for r in found)
    assert function.__name__ == "mine"


def test_conversations_are_completions_too():
    prompt = [{"role": "user", "content": "a"}]
    answer = [{"role": "assistant", "content": "xxx"}]
    estimator = Lengths()
    assert as_reward_function(estimator)([prompt], [answer]) == [3.0]
    assert estimator.calls == [[{"prompt": prompt, "responses": [answer]}]]


@pytest.mark.parametrize(
    "blank", ["", "  \n", None, [], [{"role": "assistant", "content": None}]],
    ids=["empty", "white space", "none", "no message", "no content"],
)  # fmt: skip
def test_what_says_nothing_has_no_reward(blank):
    function = as_reward_function(Lengths())
    assert function(["a", "a"], ["xx", blank]) == [2.0, None]
    assert as_reward_function(Lengths(), floor=-7)(["a", "a"], ["xx", blank]) == [2.0, -7]
    assert (function.n_scored, function.n_failed) == (1, 1)


def test_a_call_of_a_tool_says_something():
    call = [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]
    assert as_reward_function(Lengths())(["a"], [call]) == [0.0]


def test_a_refused_completion_costs_itself_alone():
    estimator = Lengths(refused=("bad", "worse"))
    function = as_reward_function(estimator)
    with pytest.warns(UserWarning, match=r"2 of 5 completions have no reward \(first: number 1"):
        found = function(["p"] * 5, ["xx", "bad", "yyyy", "worse", "z"])
    assert found == [2.0, None, 4.0, None, 1.0]


def test_a_reward_that_scores_nothing_at_all_is_at_fault():
    function = as_reward_function(Lengths(refused=("bad",)))
    with pytest.raises(ValueError, match="'bad' is too long"):
        function(["p"], ["bad"])
    assert function(["p"], ["xx"]) == [2.0]
    with pytest.warns(UserWarning, match="1 of 1"):  # later it is the completion's fault
        assert function(["p"], ["bad"]) == [None]


def test_reference_rows_get_mean_zero_and_deviation_one():
    rows = [{"prompt": "p", "responses": ["xx"]}, {"prompt": "p", "responses": ["xxxxxx"]}]
    function = as_reward_function(Lengths(), reference=rows)  # 2 and 6: mean 4, deviation 2
    assert function(["p", "p"], ["xxxx", "x" * 8]) == [0.0, 2.0]
    with pytest.raises(ValueError, match="all equal"):
        as_reward_function(Lengths(), reference=rows[:1])


def test_deviations_are_logged():
    logged, metrics = {}, {}
    function = as_reward_function(Spread(), name="r")
    found = function(
        ["p", "p", "p"], ["xx", "", "xxxx"], log_extra=logged.__setitem__,
        log_metric=metrics.__setitem__,
    )  # fmt: skip
    assert found == [2.0, None, 4.0]
    assert logged == {"r_std": [1.0, None, 2.0]} and metrics == {"r_std": 1.5}


def test_openrlhf_gets_tensors_and_the_lowest_reward_for_nothing():
    function = as_reward_function(Spread(), name="r")
    found = function.openrlhf(["ask xx", "ask xxxx", "ask "], ["ask ", "ask ", "ask "], ["l"] * 3)
    assert found["rewards"].tolist() == [2.0, 4.0, 2.0] == found["scores"].tolist()
    assert found["extra_logs"]["r_std"].tolist() == [1.0, 2.0, 0.0]


def test_openrlhf_reads_rendered_prompts_as_one_text():
    estimator = Lengths()
    query = "<|im_start|>user\nask<|im_end|>\n<|im_start|>assistant\nxx"
    as_reward_function(estimator).openrlhf([query], [query[:-2]])
    assert estimator.calls == [[{"responses": [query]}]]


def test_verl_needs_the_prompt():
    function = as_reward_function(Lengths(), floor=-1.0)
    assert function.verl("set", "xxx", "truth", {"prompt": "p"}) == 3.0
    assert function.verl_batch(["s"] * 2, ["x", ""], ["t"] * 2, [{"prompt": "p"}] * 2) == [1.0, -1]
    with pytest.raises(ValueError, match="extra_info of response 0 has no prompt"):
        function.verl("set", "xxx", "truth", {"index": 3})


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="1 prompts and 2 completions"):
        as_reward_function(Lengths())(["p"], ["x", "y"])
    with pytest.raises(ValueError, match="2 queries and 1 prompts"):
        as_reward_function(Lengths()).openrlhf(["p", "q"], ["p"])


@pytest.mark.parametrize("floor", [np.nan, np.inf, "0", True])
def test_a_floor_is_a_finite_number(floor):
    with pytest.raises(ValueError, match="floor=.* a finite number"):
        as_reward_function(Lengths(), floor=floor)


def test_verl_is_told_what_extra_info_is():
    with pytest.raises(ValueError, match="extra_info of response 1 has no prompt"):
        as_reward_function(Lengths()).verl_batch(
            ["s"] * 2, ["x", "y"], ["t"] * 2, [{"prompt": "p"}, "p"]
        )


def test_reference_rows_that_differ_by_rounding_give_no_scale():
    class Noisy(Lengths):
        def predict(self, rows):
            return np.array([[5.0, 5.0 + 1e-7]])

    with pytest.raises(ValueError, match="all equal, so they give no scale"):
        as_reward_function(Noisy(), reference=[{"responses": ["a", "a"]}])


def test_it_has_to_be_fitted():
    with pytest.raises(NotFittedError):
        as_reward_function(LinearRewardRegressor())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal"))


def test_a_pipeline_scores_as_it_predicts(model):
    pipe = make_pipeline(LLMEmbedder(model, device="cpu"), GPRewardRegressor()).fit(PAIRS)
    function = pickle.loads(pickle.dumps(as_reward_function(pipe)))
    logged = {}
    found = function(["why dog"] * 3, ["the dog sat", "", "no"], log_extra=logged.__setitem__)
    rows = [{"prompt": "why dog", "responses": ["the dog sat", "no"]}]
    rewards, spread = pipe.predict(rows, return_std=True)
    np.testing.assert_allclose([found[0], found[2]], rewards[0], rtol=1e-5)
    np.testing.assert_allclose(logged["lens_reward_std"][::2], spread[0], rtol=1e-5)
    assert found[1] is None


@pytest.mark.filterwarnings(  # TRL's own to follow
    "ignore:.*gradient_checkpointing.*:FutureWarning", "ignore::DeprecationWarning"
)
def test_grpo_takes_two_steps_with_it(model, tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    pipe = make_pipeline(LLMEmbedder(model, device="cpu"), GPRewardRegressor()).fit(PAIRS)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=4, num_generations=4,
        max_completion_length=6, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
        logging_steps=1, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model, as_reward_function(pipe), args=config,
        train_dataset=datasets.Dataset.from_list([{"prompt": row["prompt"]} for row in PAIRS]),
    )  # fmt: skip
    trainer.train()
    logs = [log for log in trainer.state.log_history if "reward" in log]
    assert len(logs) == 2
    assert all(math.isfinite(log["rewards/lens_reward/mean"]) for log in logs)


# Added to the logit of SmolLM2's end of a turn, it leaves half of three layers' completions empty.
ENDS_AT_ONCE = [[[2], 53.0]]


@pytest.fixture
def cut_smollm2(packaged, tmp_path):
    """SmolLM2 with its first three layers of thirty, as a folder that trainers read."""
    folder = packaged("smollm2")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    network = AutoModelForCausalLM.from_pretrained(folder, num_hidden_layers=3, dtype="float32")
    network.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.filterwarnings(  # TRL's own to follow
    "ignore:.*gradient_checkpointing.*:FutureWarning", "ignore::DeprecationWarning"
)
@pytest.mark.parametrize("floor", [None, -50.0])
def test_grpo_trains_three_layers_of_smollm2(cut_smollm2, floor, tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    pipe = make_pipeline(LLMEmbedder(cut_smollm2, device="cpu"), GPRewardRegressor()).fit(PAIRS)
    prompts = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in PAIRS]
    function = as_reward_function(pipe, floor=floor)
    config = trl.GRPOConfig(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=8,
        num_generations=8, max_completion_length=6, use_cpu=True, bf16=False, report_to="none",
        save_strategy="no", logging_steps=1, dataloader_pin_memory=False, log_completions=True,
        learning_rate=1e-4, seed=0, generation_kwargs={"sequence_bias": ENDS_AT_ONCE},
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        cut_smollm2, function, args=config, train_dataset=datasets.Dataset.from_list(prompts)
    )
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    changed = [not p.equal(q) for p, q in zip(trainer.model.parameters(), before, strict=True)]
    assert trainer.state.global_step == 2 and all(changed)

    n_blank = 0
    files = sorted((tmp_path / "run" / "completions").glob("*.parquet"))  # one a step
    logs = [log for log in trainer.state.log_history if "reward" in log]
    for file, log in zip(files, logs, strict=True):
        written = pd.read_parquet(file)
        rows = [{"prompt": list(p), "responses": [list(c)]}
                for p, c in zip(written["prompt"], written["completion"], strict=True)]  # fmt: skip
        blank = np.array([not row["responses"][0][0]["content"] for row in rows])
        found = written["lens_reward"].to_numpy()
        expected = pipe.predict([row for row, b in zip(rows, blank, strict=True) if not b])[:, 0]
        assert np.isfinite(expected).all() and np.ptp(expected) > 0.01  # no constant reward
        np.testing.assert_allclose(found[~blank], expected, rtol=1e-4)
        np.testing.assert_array_equal(found[blank], np.nan if floor is None else floor)
        assert log["rewards/lens_reward/mean"] == pytest.approx(np.nanmean(found), rel=1e-4)
        n_blank += blank.sum()
    assert len(files) == 2 and 0 < n_blank < 16
    assert (function.n_scored, function.n_failed) == (16 - n_blank, n_blank)
