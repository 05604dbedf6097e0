"""Fine-tuned rewards: learning, seeds, resuming, saving, and rows that TRL's trainers accept."""

import json
import random
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from tiny_models import save_causal, save_reward, sentence

from lens_sklearn.textual import (
    AugmentedRows,
    FineTunedRewardRegressor,
    RewardLabeller,
    RewardModelLabeller,
)
from lens_sklearn.textual._networks import headed_model

pytest.importorskip("trl", reason="needs the extra textual")
# TRL 1.16 and PEFT 0.21 use the names of transformers 4; within ``fit`` the library hides this.
THEIRS = pytest.mark.filterwarnings(r"ignore:`\w*gradient_checkpointing\w*` is deprecated")


@pytest.fixture(scope="module")
def rows():
    """Preference rows whose chosen response is the longer one."""
    rng = np.random.RandomState(0)
    return [
        {"prompt": sentence(rng, 4), "chosen": sentence(rng, 9), "rejected": sentence(rng, 3)}
        for _ in range(32)
    ]


@pytest.fixture(scope="module")
def candidates():
    """Candidate rows, one short, and their gold: the number of words."""
    rng = np.random.RandomState(1)
    lengths = [(3, 9, 5), (8, 2, 6), (4, 7)]
    rows = [{"prompt": "why", "responses": [sentence(rng, n) for n in ns]} for ns in lengths]
    gold = np.array([[3, 9, 5], [8, 2, 6], [4, 7, np.nan]])
    return rows, gold


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture(params=["full", "lora"])
def reward(request, folder):
    lora = None if request.param == "full" else {"r": 4}
    return FineTunedRewardRegressor(
        folder, lora=lora, learning_rate=1e-2, max_epochs=2, random_state=0, device="cpu"
    )


def head_of(folder):
    """Return the score head's weights as they are on disk."""
    from safetensors.torch import load_file

    (file,) = Path(folder).glob("*.safetensors")
    (head,) = [w for name, w in load_file(file).items() if "score" in name]
    return head


# ------------------------------------------------------------------------------ learning
def test_it_learns_and_scores_both_ways(reward, rows, candidates):
    reward.fit(rows)
    assert reward.score(rows) > 0.7
    predicted = reward.predict(candidates[0])
    assert np.isnan(predicted).tolist() == np.isnan(candidates[1]).tolist()
    assert 3 < reward.score(*candidates) <= 8
    assert reward.score(rows, np.zeros(32)) == pytest.approx(1 - reward.score(rows))
    assert "accuracy" in reward.history_[0]


def test_seeds_decide_and_the_global_state_is_left_alone(reward, rows):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    first = reward.fit(rows).predict(rows)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    np.testing.assert_array_equal(clone(reward).fit(rows).predict(rows), first)
    assert (clone(reward).set_params(random_state=1).fit(rows).predict(rows) != first).all()


@THEIRS
def test_learning_rates_follow_the_paper(folder, tmp_path):
    import trl

    for lora, rate in ((None, 1e-5), ({}, 1e-4)):
        reward = FineTunedRewardRegressor(folder, lora=lora, device="cpu")
        assert reward._config(trl, 0, tmp_path).learning_rate == rate
    more = reward.set_params(training_arguments={"gradient_accumulation_steps": 4})
    assert more._config(trl, 0, tmp_path).gradient_accumulation_steps == 4


def test_predictions_do_not_depend_on_the_batch(reward, rows):
    expected = reward.fit(rows).predict(rows)
    for batch_tokens in (1, 100):
        again = reward.set_params(batch_tokens=batch_tokens).predict(rows)
        np.testing.assert_allclose(again, expected, atol=3e-6)


def test_labels_turn_rows_around(folder, rows):
    reward = FineTunedRewardRegressor(folder, learning_rate=1e-2, random_state=0, device="cpu")
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    expected = clone(reward).fit(rows).predict(rows)
    np.testing.assert_array_equal(reward.fit(turned, np.zeros(32)).predict(rows), expected)
    with pytest.raises(ValueError, match=r"y\[1\] is 0.5: TRL's loss has hard labels alone"):
        reward.fit(rows, [1, 0.5] * 16)


# ------------------------------------------------------------------------------ saving
def test_the_head_survives_bit_for_bit(reward, rows, tmp_path):
    captured = {}

    import transformers

    class Capture(transformers.TrainerCallback):
        def on_train_end(self, args, state, control, model=None, **kwargs):
            head = [
                w for name, w in model.named_parameters() if "score" in name and w.requires_grad
            ]
            captured["head"] = head[0].detach().clone()

    reward.set_params(callbacks=[Capture()]).fit(rows)
    assert torch.equal(head_of(reward.folder_), captured["head"])
    expected = reward.predict(rows)
    reward.save(tmp_path / "saved")
    again = FineTunedRewardRegressor.load(tmp_path / "saved", device="cpu")
    np.testing.assert_array_equal(again.predict(rows), expected)
    with headed_model(again, "reward") as model:
        heads = [w for name, w in model.network.named_parameters() if "score" in name]
    assert any(torch.equal(w, captured["head"]) for w in heads)
    texts = [[row["chosen"], row["rejected"]] for row in rows]
    gold = RewardModelLabeller(tmp_path / "saved", device="cpu").score(
        [row["prompt"] for row in rows], texts
    )
    np.testing.assert_allclose(gold, expected, atol=1e-6)


@THEIRS
def test_the_folder_is_an_ordinary_one(reward, rows):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reward.fit(rows)
    names = {path.name for path in Path(reward.folder_).iterdir()}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    tokenizer = AutoTokenizer.from_pretrained(reward.folder_)
    if reward.lora is None:
        model = AutoModelForSequenceClassification.from_pretrained(reward.folder_)
    else:
        import peft

        model = peft.AutoPeftModelForSequenceClassification.from_pretrained(
            reward.folder_, num_labels=1
        )
    messages = [
        {"role": "user", "content": rows[0]["prompt"]},
        {"role": "assistant", "content": rows[0]["chosen"]},
    ]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logit = model.eval()(**ids).logits.item()
    assert logit == pytest.approx(reward.predict(rows)[0, 0], abs=1e-5)


def test_pickles_name_a_folder_and_hold_no_weights(reward, rows, tmp_path):
    reward.set_params(store=tmp_path / "store").fit(rows)
    joblib.dump(reward, tmp_path / "reward.joblib")
    assert (tmp_path / "reward.joblib").stat().st_size < 20_000
    again = joblib.load(tmp_path / "reward.joblib")
    np.testing.assert_array_equal(again.predict(rows), reward.predict(rows))


def test_a_temporary_folder_is_warned_of_and_goes_away(folder, rows):
    import pickle

    reward = FineTunedRewardRegressor(folder, device="cpu").fit(rows[:8])
    with pytest.warns(UserWarning, match="a pickle does not hold the fine-tuned weights"):
        again = pickle.loads(pickle.dumps(reward))
    assert Path(reward.folder_).is_dir()
    del reward
    with pytest.raises(FileNotFoundError, match="A pickle holds their folder's name alone"):
        again.predict(rows)


# ------------------------------------------------------------------------------ resuming
def test_an_interrupted_fit_resumes(reward, rows, tmp_path):
    import transformers

    class Interrupt(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    class Count(transformers.TrainerCallback):
        steps = 0

        def on_step_end(self, args, state, control, **kwargs):
            Count.steps += 1

    expected = clone(reward).fit(rows).predict(rows)
    stored = reward.set_params(store=tmp_path, checkpoint_steps=3)
    with pytest.raises(KeyboardInterrupt):
        clone(stored).set_params(callbacks=[Interrupt()]).fit(rows)
    stored.set_params(callbacks=[Count()]).fit(rows)
    assert Count.steps == 8 - 3  # of two epochs of four steps, three were done
    np.testing.assert_allclose(stored.predict(rows), expected, atol=1e-6)
    clone(stored).fit(rows)  # done: not trained again
    assert Count.steps == 8 - 3
    (run,) = tmp_path.iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["history.json", "model"]
    clone(stored).set_params(learning_rate=1e-3).fit(rows)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    from lens_sklearn.textual._fine_tuned import _last_checkpoint

    assert _last_checkpoint(tmp_path) is None
    for step, done in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if done:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps({}))
    assert Path(_last_checkpoint(tmp_path)).name == "checkpoint-10"


# ------------------------------------------------------------------------------ uses, errors
def test_it_labels_and_stands_in_a_pipeline(folder, rows):
    reward = FineTunedRewardRegressor(folder, random_state=0, device="cpu")
    augmented = AugmentedRows(rows + rows[:4], [*range(32), 0, 1, 2, 3], [0] * 32 + [1] * 4)
    pipe = make_pipeline("passthrough", reward).fit(augmented)
    assert pipe.predict(rows).shape == (32, 2)
    assert RewardLabeller(pipe[-1]).score(["why"], [["no", "yes"]]).shape == (1, 2)


def test_an_existing_reward_model_keeps_its_head(tmp_path, rows):
    folder = save_reward(tmp_path)
    reward = FineTunedRewardRegressor(folder, learning_rate=1e-12, device="cpu").fit(rows[:8])
    torch.testing.assert_close(head_of(reward.folder_), head_of(folder))


def test_what_it_refuses(reward, rows, tmp_path):
    with pytest.raises(ValueError, match="expected preference rows .* got candidates"):
        reward.fit([{"prompt": "why", "responses": ["no"]}])
    with pytest.raises(ValueError, match="store is given and random_state is None"):
        clone(reward).set_params(store=tmp_path, random_state=None).fit(rows)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        FineTunedRewardRegressor.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="The 'device' parameter"):
        clone(reward).set_params(device="cuda:1").fit(rows)


def test_long_conversations_are_cut_and_counted(reward, rows, caplog):
    with caplog.at_level("WARNING", logger="lens_sklearn.textual"):
        reward.set_params(max_length=12).fit(rows)
    assert reward.n_overlong_ == 32 and "64 texts (first: row 0, 0)" in caplog.text


# ------------------------------------------------------------------------------ TRL itself
@THEIRS
@pytest.mark.parametrize("form", ["strings", "messages"])
@pytest.mark.parametrize("kind", ["Reward", "DPO"])
def test_trls_own_trainers_accept_our_rows(folder, rows, tmp_path, kind, form):
    import datasets
    import transformers
    import trl

    if form == "messages":
        rows = [
            {
                "prompt": [{"role": "user", "content": row["prompt"]}],
                **{c: [{"role": "assistant", "content": row[c]}] for c in ("chosen", "rejected")},
            }
            for row in rows
        ]
    augmented = AugmentedRows(rows[:6] + rows[6:8], [*range(6), 0, 1], [0] * 6 + [1, 2])
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False, max_steps=1, per_device_train_batch_size=2,
    )  # fmt: skip
    trainer = getattr(trl, f"{kind}Trainer")(
        folder, args=config, train_dataset=datasets.Dataset.from_list(augmented)
    )
    trainer.remove_callback(transformers.PrinterCallback)
    assert np.isfinite(trainer.train().training_loss)
