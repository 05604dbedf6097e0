"""Fine-tuned rewards: learning, seeds, resuming, saving, and rows that TRL's trainers accept."""

import pickle
import random
import shutil
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import tiny_models
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from tiny_models import save_causal, save_reward, sentence

from lens_sklearn.textual import (
    AugmentedRows,
    FineTunedRewardRegressor,
    RewardLabeller,
    RewardModelLabeller,
    _reward_model_labeller,
)
from lens_sklearn.textual._networks import headed_model
from lens_sklearn.textual._prediction_settings import SETTINGS
from lens_sklearn.textual._reward_training import last_checkpoint

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


class Record:
    """A callback that keeps arguments, steps, the head's weights and the global draws."""

    def __new__(cls):
        import transformers

        class Callback(transformers.TrainerCallback):
            n_steps, arguments, head, draws = 0, None, None, None

            def on_step_end(self, args, state, control, **kwargs):
                self.n_steps += 1

            def on_train_end(self, args, state, control, model=None, **kwargs):
                self.arguments = args
                self.draws = random.random(), np.random.rand(), torch.rand(1).item()
                (self.head,) = (
                    w.detach().clone()
                    for name, w in model.named_parameters()
                    if "score" in name and w.requires_grad
                )

        return Callback()


def make_reward(folder, kind, **params):
    lora = None if kind == "full" else {"r": 4}
    params = {"learning_rate": 1e-2, "max_epochs": 2, "random_state": 0, "device": "cpu"} | params
    return FineTunedRewardRegressor(folder, lora=lora, **params)


@pytest.fixture(params=["full", "lora"])
def reward(request, folder):
    """A reward that is not fitted."""
    return make_reward(folder, request.param)


@pytest.fixture(scope="module", params=["full", "lora"])
def fitted(request, folder, rows):
    """A fitted reward, for tests that leave it as it is."""
    return make_reward(folder, request.param, callbacks=[Record()]).fit(rows)


def head_of(folder):
    """Return the score head's weights as they are on disk."""
    from safetensors.torch import load_file

    (file,) = Path(folder).glob("*.safetensors")
    (head,) = [w for name, w in load_file(file).items() if "score" in name]
    return head


def turn(rows):
    """Exchange chosen and rejected."""
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]


# ------------------------------------------------------------------------------ learning
def test_it_learns_and_scores_both_ways(fitted, rows, candidates):
    accuracy = fitted.score(rows)
    assert accuracy > 0.7
    rewards = fitted.predict(candidates[0])
    assert np.isnan(rewards).tolist() == np.isnan(candidates[1]).tolist()
    picks = [row[i] for row, i in zip(candidates[1], np.nanargmax(rewards, axis=1), strict=True)]
    assert fitted.score(*candidates) == pytest.approx(np.mean(picks))
    assert fitted.score(turn(rows)) == pytest.approx(1 - accuracy)
    assert fitted.score(rows, np.zeros(32)) == pytest.approx(1 - accuracy)
    assert fitted.score(rows, sample_weight=np.eye(32)[0]) in (0, 1)
    assert fitted.history_[0].keys() >= {"loss", "accuracy", "margin"}


def test_candidates_need_gold(fitted, rows):
    """Of two candidates the first is no chosen one."""
    two = [{"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]} for r in rows]
    with pytest.raises(ValueError, match="scored against their gold rewards: give them as y"):
        fitted.score(two)
    assert fitted.score(two, np.tile([1.0, 0.0], (32, 1))) == pytest.approx(fitted.score(rows))


def test_a_training_that_diverges_says_so(folder, rows):
    reward = make_reward(folder, "full", learning_rate=1e30)
    with pytest.raises(ValueError, match="the reward model diverged: its weights are not finite"):
        reward.fit(rows)
    assert not hasattr(reward, "folder_")


def test_rewards_that_are_not_finite_name_their_row(fitted, rows, monkeypatch):
    def broken(model, ids, batch_tokens):
        found = np.zeros(len(ids))
        found[3] = np.nan
        return found

    monkeypatch.setattr("lens_sklearn.textual._fine_tuned.predict_rewards", broken)
    with pytest.raises(ValueError, match="the reward of row 1, 1 is nan; its language model over"):
        fitted.predict(rows)


def test_log_odds_and_probabilities(fitted, rows, candidates):
    rewards = fitted.predict(rows)
    log_odds = fitted.decision_function(rows)
    np.testing.assert_array_equal(log_odds, rewards[:, 0] - rewards[:, 1])
    probability = fitted.predict_proba(rows)  # (n, 2)
    np.testing.assert_allclose(probability[:, 1], 1 / (1 + np.exp(-log_odds)))
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    with pytest.raises(ValueError, match=r"expected pairs; got rewards of shape \(3, 3\)"):
        fitted.predict_proba(candidates[0])


def test_seeds_decide_and_the_global_state_is_left_alone(fitted, rows):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    again = clone(fitted).fit(rows)
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    assert again.callbacks[0].draws == fitted.callbacks[0].draws
    np.testing.assert_array_equal(again.predict(rows), fitted.predict(rows))
    other = clone(fitted).set_params(random_state=1, max_epochs=1).fit(rows)
    one_epoch = clone(fitted).set_params(max_epochs=1).fit(rows)
    assert (other.predict(rows) != one_epoch.predict(rows)).all()


@THEIRS
@pytest.mark.parametrize(("lora", "rate"), [(None, 1e-5), ({}, 1e-4)])
def test_parameters_reach_the_trainer(folder, rows, lora, rate):
    record = Record()
    FineTunedRewardRegressor(
        folder, lora=lora, device="cpu", callbacks=[record], weight_decay=0.25,
        center_coefficient=0.5, batch_size=2, training_arguments={"gradient_accumulation_steps": 2},
    ).fit(rows[:4])  # fmt: skip
    arguments = record.arguments
    assert arguments.learning_rate == rate  # the paper's
    assert arguments.weight_decay == 0.25 and arguments.center_rewards_coefficient == 0.5
    assert arguments.per_device_train_batch_size == arguments.gradient_accumulation_steps == 2
    assert arguments.num_train_epochs == record.n_steps == 1  # 4 pairs, 2 times 2 a step


def test_predictions_do_not_depend_on_the_batch(fitted, rows):
    expected = fitted.predict(rows[:8])
    for batch_tokens in (1, 100):
        again = clone(fitted).set_params(batch_tokens=batch_tokens)
        again.folder_ = fitted.folder_
        np.testing.assert_allclose(again.predict(rows[:8]), expected, atol=3e-6)


def test_labels_turn_rows_around(folder, rows):
    reward = make_reward(folder, "full", max_epochs=1)
    y = np.arange(32) % 2
    turned = [row if label else turn([row])[0] for row, label in zip(rows, y, strict=True)]
    expected = clone(reward).fit(turned).predict(rows)
    np.testing.assert_array_equal(reward.fit(rows, y).predict(rows), expected)
    with pytest.raises(ValueError, match=r"y\[1\] is 0.5: TRL's loss has hard labels alone"):
        reward.fit(rows, [1, 0.5] * 16)
    with pytest.raises(ValueError, match=r"y must have shape \(32,\)"):
        reward.fit(rows, [1, 0])


def test_weights_are_repetitions(folder, rows):
    reward = make_reward(folder, "full", max_epochs=1)
    weight = [3, 0, 1, 2, 0, 0, 1, 1]
    repeated = [row for row, n in zip(rows, weight, strict=False) for _ in range(n)]
    expected = clone(reward).fit(repeated).predict(rows)
    weighted = clone(reward).fit(rows[:8], sample_weight=weight)
    np.testing.assert_array_equal(weighted.predict(rows), expected)
    # a weight an original: children have their parents' weights
    augmented = AugmentedRows(rows[:4], [0, 1, 0, 1], [0, 0, 1, 1])
    expected = clone(reward).fit([rows[i] for i in (0, 0, 1, 2, 2, 3)]).predict(rows)
    weighted = clone(reward).fit(augmented, sample_weight=[2, 1])
    np.testing.assert_array_equal(weighted.predict(rows), expected)


# ------------------------------------------------------------------------------ saving
def test_the_head_survives_bit_for_bit(fitted, rows, tmp_path):
    head = fitted.callbacks[0].head
    assert torch.equal(head_of(fitted.folder_), head)
    expected = fitted.predict(rows[:8])
    fitted.save(tmp_path / "saved")
    again = FineTunedRewardRegressor.load(tmp_path / "saved", device="cpu")
    np.testing.assert_array_equal(again.predict(rows[:8]), expected)
    with headed_model(again, "reward") as model:
        heads = [w for name, w in model.network.named_parameters() if "score" in name]
    assert any(torch.equal(w, head) for w in heads)
    texts = [[row["chosen"], row["rejected"]] for row in rows[:8]]
    labeller = RewardModelLabeller(tmp_path / "saved", device="cpu")
    scores = labeller.score([row["prompt"] for row in rows[:8]], texts)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@THEIRS
def test_the_folder_is_an_ordinary_one(fitted, rows):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    names = {path.name for path in Path(fitted.folder_).iterdir()}
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    tokenizer = AutoTokenizer.from_pretrained(fitted.folder_)
    if fitted.lora is None:
        model = AutoModelForSequenceClassification.from_pretrained(fitted.folder_)
    else:
        import peft

        model = peft.AutoPeftModelForSequenceClassification.from_pretrained(
            fitted.folder_, num_labels=1
        )
    messages = [
        {"role": "user", "content": rows[0]["prompt"]},
        {"role": "assistant", "content": rows[0]["chosen"]},
    ]
    ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logit = model.eval()(**ids).logits.item()
    assert logit == pytest.approx(fitted.predict(rows)[0, 0], abs=1e-5)


def test_pickles_name_a_folder_and_hold_no_weights(folder, rows, tmp_path):
    reward = make_reward(folder, "full", max_epochs=1, store=tmp_path / "store").fit(rows[:8])
    joblib.dump(reward, tmp_path / "reward.joblib")
    weights = sum(path.stat().st_size for path in Path(reward.folder_).glob("*.safetensors"))
    assert (tmp_path / "reward.joblib").stat().st_size < 4_000 < weights
    again = joblib.load(tmp_path / "reward.joblib")
    assert again.folder_ == reward.folder_
    np.testing.assert_array_equal(again.predict(rows[:8]), reward.predict(rows[:8]))


def test_a_temporary_folder_is_warned_of_and_goes_away(folder, rows):
    reward = FineTunedRewardRegressor(folder, device="cpu").fit(rows[:8])
    with pytest.warns(UserWarning, match="a pickle does not hold the fine-tuned weights") as caught:
        again = pickle.loads(pickle.dumps(reward))
    assert caught[0].filename == __file__
    assert Path(reward.folder_).is_dir()
    del reward
    with pytest.raises(FileNotFoundError, match="A pickle holds their folder's name alone"):
        again.predict(rows)


# ------------------------------------------------------------------------------ settings
@pytest.fixture(scope="module")
def long_rows():
    """Rows of far more than twelve tokens, whose beginnings decide nothing where they are cut."""
    rng = np.random.RandomState(2)
    return [
        {"prompt": sentence(rng, 9), "chosen": sentence(rng, 20), "rejected": sentence(rng, 12)}
        for _ in range(4)
    ]


def scores_of(labeller, rows):
    return labeller.score(
        [row["prompt"] for row in rows], [[row["chosen"], row["rejected"]] for row in rows]
    )


def warning_free_load(folder, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return FineTunedRewardRegressor.load(folder, device="cpu", **params)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_saved_model_keeps_where_it_cuts(folder, rows, long_rows, tmp_path, kind):
    reward = make_reward(folder, kind, max_epochs=1, max_length=12).fit(rows[:8])
    expected, cut = reward.predict(long_rows), reward.n_overlong_
    assert cut == 8
    reward.save(tmp_path / "saved")
    again = warning_free_load(tmp_path / "saved")
    assert again.max_length == 12
    np.testing.assert_array_equal(again.predict(long_rows), expected)
    assert again.n_overlong_ == cut
    # another limit wins where it is given, and is another prediction
    other = warning_free_load(tmp_path / "saved", max_length=1024)
    assert other.max_length == 1024
    assert (np.abs(other.predict(long_rows) - expected) > 1e-4).any()
    for where in (tmp_path / "saved", reward.folder_):
        labeller = RewardModelLabeller(where, device="cpu")
        np.testing.assert_allclose(scores_of(labeller, long_rows), expected, atol=1e-6)
        assert labeller.n_overlong_ == cut
        labeller.set_params(max_length=1024)
        np.testing.assert_allclose(
            scores_of(labeller, long_rows), other.predict(long_rows), atol=1e-6
        )


def test_what_is_saved_is_what_the_estimator_predicts_with(fitted, long_rows, tmp_path):
    other = clone(fitted).set_params(max_length=9)
    other.folder_ = fitted.folder_
    expected = other.predict(long_rows)
    other.save(tmp_path / "a")
    again = warning_free_load(tmp_path / "a")
    np.testing.assert_array_equal(again.predict(long_rows), expected)
    again.save(tmp_path / "b")
    assert warning_free_load(tmp_path / "b").max_length == 9
    with pytest.raises(FileExistsError, match="it exists already"):
        again.save(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    "template", [False, None, "{% for m in messages %}{{ m.content }} a {% endfor %}"]
)
def test_a_chat_template_is_kept(folder, rows, tmp_path, template):
    reward = make_reward(folder, "full", max_epochs=1, chat_template=template).fit(rows[:4])
    expected = reward.predict(rows[:4])
    reward.save(tmp_path / "saved")
    np.testing.assert_array_equal(warning_free_load(tmp_path / "saved").predict(rows[:4]), expected)
    labeller = RewardModelLabeller(tmp_path / "saved", device="cpu")
    np.testing.assert_allclose(scores_of(labeller, rows[:4]), expected, atol=1e-6)
    # one that was changed after the fit, too
    own = warning_free_load(tmp_path / "saved", chat_template=tiny_models.CHAT_TEMPLATE)
    changed = own.predict(rows[:4])
    assert (np.abs(changed - expected) > 1e-6).any()
    own.save(tmp_path / "changed")
    np.testing.assert_array_equal(
        warning_free_load(tmp_path / "changed").predict(rows[:4]), changed
    )
    back = warning_free_load(tmp_path / "changed", chat_template=template)
    back.save(tmp_path / "back")
    np.testing.assert_array_equal(warning_free_load(tmp_path / "back").predict(rows[:4]), expected)


def test_a_folder_without_settings_is_warned_of_once(fitted, rows, tmp_path, monkeypatch):
    fitted.save(tmp_path / "old")
    (tmp_path / "old" / SETTINGS).unlink()
    with pytest.warns(UserWarning, match="the default is taken, max_length=1024") as caught:
        again = FineTunedRewardRegressor.load(tmp_path / "old", device="cpu")
    assert len(caught) == 1 and caught[0].filename == __file__
    again.predict(rows[:2])  # no second warning: they are errors here
    assert warning_free_load(tmp_path / "old", max_length=7).max_length == 7
    labeller = RewardModelLabeller(tmp_path / "old", device="cpu")
    for longest, n_cut in ((_reward_model_labeller.MAX_LENGTH, 0), (5, 1)):
        monkeypatch.setattr(_reward_model_labeller, "MAX_LENGTH", longest)
        labeller.score(["why"], [["a cat sat on the mat"]])
        assert labeller.n_overlong_ == n_cut


def test_a_store_of_an_earlier_version_gets_its_settings(folder, rows, long_rows, tmp_path):
    stored = make_reward(folder, "full", max_epochs=1, max_length=12, store=tmp_path)
    first = clone(stored).fit(rows[:4])
    (Path(first.folder_) / SETTINGS).unlink()
    again = clone(stored).fit(rows[:4])
    assert again.folder_ == first.folder_
    loaded = warning_free_load(again.folder_)
    np.testing.assert_array_equal(loaded.predict(long_rows), first.predict(long_rows))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "list indices"),
        ('{"format": 2}', "format 2; this version reads 1"),
        ('{"format": 1, "dtype": "float32"}', "'max_length' is missing"),
        ('{"format": 1, "max_length": 0, "dtype": "float32"}', "max_length 0 is no whole number"),
        ('{"format": 1, "max_length": true, "dtype": "float32"}', "max_length True is no whole"),
        ('{"format": 1, "max_length": 9, "dtype": "int8"}', "dtype 'int8' is none of float32"),
    ],
)
def test_settings_that_say_something_else_are_named(fitted, tmp_path, text, reason):
    fitted.save(tmp_path / "saved")
    (tmp_path / "saved" / SETTINGS).write_text(text)
    with pytest.raises(ValueError, match=f"{SETTINGS}: it does not say how .*{reason}"):
        FineTunedRewardRegressor.load(tmp_path / "saved")
    with pytest.raises(ValueError, match=reason):
        RewardModelLabeller(tmp_path / "saved", device="cpu").score(["why"], [["no"]])


def test_nothing_that_a_trainer_leaves_is_copied(fitted, tmp_path):
    shutil.copytree(fitted.folder_, tmp_path / "checkpoint")
    for name in ("training_args.bin", "optimizer.pt", "rng_state_0.pth"):
        (tmp_path / "checkpoint" / name).write_bytes(b"a pickle")
    warning_free_load(tmp_path / "checkpoint").save(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {path.name for path in Path(fitted.folder_).iterdir()}
    with pytest.raises(ValueError, match="The 'max_length' parameter"):
        FineTunedRewardRegressor.load(tmp_path / "saved", max_length=0)


# ------------------------------------------------------------------------------ resuming
# What older versions of datasets say of files of the same second.
@pytest.mark.filterwarnings("ignore:mtime may not be reliable:UserWarning")
def test_an_interrupted_fit_resumes(fitted, rows, tmp_path):
    import transformers

    class Interrupt(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    stored = clone(fitted).set_params(store=tmp_path, checkpoint_steps=3)
    with pytest.raises(KeyboardInterrupt):
        clone(stored).set_params(callbacks=[Interrupt()]).fit(rows)
    record = Record()
    stored.set_params(callbacks=[record]).fit(rows)
    assert record.n_steps == 8 - 3  # of two epochs of four steps, three were done
    np.testing.assert_allclose(stored.predict(rows), fitted.predict(rows), atol=1e-6)
    again = clone(stored).fit(rows)  # done: not trained again
    assert record.n_steps == 8 - 3 and again.history_ == stored.history_
    (run,) = tmp_path.iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["history.json", "model"]


def test_other_fits_have_other_folders(folder, rows, tmp_path):
    reward = make_reward(folder, "full", max_epochs=1, store=tmp_path)
    fits = [
        clone(reward).fit(rows[:2]),
        clone(reward).set_params(learning_rate=1e-3).fit(rows[:2]),
        clone(reward).fit(rows[1:3]),
        clone(reward).fit(rows[:2], [1, 0]),
        clone(reward).fit(rows[:2], sample_weight=[2, 1]),
    ]
    assert len({fit.folder_ for fit in fits}) == len(fits) == len(list(tmp_path.iterdir()))
    same = clone(reward).set_params(batch_tokens=1).fit(rows[:2], np.ones(2))
    assert same.folder_ == fits[0].folder_


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    assert last_checkpoint(tmp_path) is None
    for step, is_complete in ((9, True), (10, True), (11, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if is_complete:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    assert Path(last_checkpoint(tmp_path)).name == "checkpoint-10"


# ------------------------------------------------------------------------------ uses, errors
def test_it_labels_and_stands_in_a_pipeline(folder, rows):
    augmented = AugmentedRows(rows[:3] + rows[3:5], [0, 1, 2, 0, 1], [0, 0, 0, 1, 1])
    pipe = make_pipeline("passthrough", make_reward(folder, "full", max_epochs=1)).fit(augmented)
    expected = make_reward(folder, "full", max_epochs=1).fit(rows[:5]).predict(rows[:5])
    np.testing.assert_array_equal(pipe.predict(rows[:5]), expected)
    texts = [[row["chosen"], row["rejected"]] for row in rows[:5]]
    labels = RewardLabeller(pipe[-1]).score([row["prompt"] for row in rows[:5]], texts)
    np.testing.assert_array_equal(labels, expected)


def test_an_existing_reward_model_keeps_its_head(tmp_path, rows):
    folder = save_reward(tmp_path)
    reward = FineTunedRewardRegressor(folder, learning_rate=1e-12, device="cpu").fit(rows[:2])
    torch.testing.assert_close(head_of(reward.folder_), head_of(folder))


def test_what_it_refuses(folder, rows, tmp_path):
    reward = make_reward(folder, "full")
    with pytest.raises(ValueError, match="expected preference rows .* got candidates"):
        reward.fit([{"prompt": "why", "responses": ["no"]}])
    with pytest.raises(ValueError, match="store is given and random_state is None"):
        clone(reward).set_params(store=tmp_path, random_state=None).fit(rows)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        FineTunedRewardRegressor.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="The 'device' parameter"):
        clone(reward).set_params(device="cuda:1").fit(rows)
    with pytest.raises(ValueError, match="groups has no effect"):
        reward.fit(rows, groups=np.arange(32))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, 0.5], r"sample_weight\[1\] is 0.5: TRL's loss has no weights"),
        ([1, -1], r"sample_weight\[1\] is -1.0"),
        ([np.nan, 1], r"sample_weight\[0\] is nan"),
        ([np.inf, 1], r"sample_weight\[0\] is inf"),
        ([1], r"must have shape \(2,\), got \(1,\)"),
        ([0, 0], "the weights of all pairs are zero"),
    ],
)
def test_weights_that_are_no_repetitions(folder, rows, weight, message):
    with pytest.raises(ValueError, match=message):
        make_reward(folder, "full").fit(rows[:2], sample_weight=weight)


def test_long_conversations_are_cut_and_counted(folder, rows, caplog):
    reward = make_reward(folder, "full", max_epochs=1, max_length=12)
    with caplog.at_level("WARNING", logger="lens_sklearn.textual"):
        reward.fit(rows[:4])
    # "<s> user p p p p </s> assistant …": 18 tokens with nine words, 12 with three
    assert reward.n_overlong_ == 4
    assert "4 of 8 texts (first: row 0, 0) are longer than 12 tokens" in caplog.text


def test_pairs_of_the_same_tokens_are_counted(folder, rows):
    shared = "a cat sat on the mat and ran "
    long = [{"prompt": "why", "chosen": f"yes {shared}", "rejected": f"no {shared}"}, *rows[:3]]
    with pytest.warns(UserWarning, match=r"in 1 of 4 rows \(first: row 0\) .*same tokens"):
        make_reward(folder, "full", max_epochs=1, max_length=7).fit(long)


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
        folder, args=config, train_dataset=datasets.Dataset.from_list(list(augmented))
    )
    trainer.remove_callback(transformers.PrinterCallback)
    assert np.isfinite(trainer.train().training_loss)
