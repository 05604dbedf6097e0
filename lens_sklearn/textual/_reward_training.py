"""Training of a language model as reward model by TRL, resumable from its checkpoints."""

import json
import os
import random
import shutil
from contextlib import contextmanager

import numpy as np
import torch

from .._divergence import has_finite_weights, raise_diverged
from .._language_model import quiet
from .._packaged_model import keep_name
from ._extras import ignore_deprecations, import_extra
from ._prediction_settings import write_settings

LORA = {"task_type": "SEQ_CLS", "r": 32, "lora_alpha": 16, "modules_to_save": ["score"]}
MODEL, CHECKPOINTS, HISTORY = "model", "checkpoints", "history.json"
# Files that a trainer leaves beside weights: pickles that no prediction reads.
TRAINING_STATE = (
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "scaler.pt",
    "rng_state*.pth",
)


def train_reward_model(estimator, model, ids, folder, seed):
    """Train a reward model and write it to ``folder / MODEL``, its log to ``folder / HISTORY``.

    Parameters
    ----------
    estimator : FineTunedRewardRegressor
        Whose parameters hold.
    model : HeadedModel
        Where training starts.
    ids : list of ndarray of int
        Token ids of chosen and rejected in turn.
    folder : Path
        With checkpoints in it, training goes on from the latest.
    seed : int
        Draws the head, the adapter and the order of pairs. The global generators that
        transformers draws from are seeded by it and restored.

    Raises
    ------
    ValueError
        If the training diverges.
    """
    import transformers

    trl = import_extra("trl")
    dataset = import_extra("datasets").Dataset.from_dict(
        {
            "chosen_ids": [i.tolist() for i in ids[0::2]],
            "rejected_ids": [i.tolist() for i in ids[1::2]],
        }
    )
    lora = None
    if estimator.lora is not None:
        lora = import_extra("peft").LoraConfig(**(LORA | estimator.lora))
    with _seed_global_state(seed), ignore_deprecations():
        network = model.load_for_training()
        with quiet(transformers):
            trainer = trl.RewardTrainer(
                network,
                trl.RewardConfig(**reward_arguments(estimator, folder, seed)),
                train_dataset=dataset,
                processing_class=model.tokenizer,
                callbacks=list(estimator.callbacks or []),
                peft_config=lora,
            )
        if not estimator.verbose:
            trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder / CHECKPOINTS))
        if not has_finite_weights(trainer.model):
            found = f"its weights are not finite after {trainer.state.global_step} steps"
            remedy = "load it in another dtype"
            raise_diverged("the reward model", found, trainer.args.learning_rate, remedy)
        _write(estimator, trainer, network, transformers, folder)


def _write(estimator, trainer, network, transformers, folder):
    """Write the trained model, complete or not at all, and delete its checkpoints."""
    partial = folder / f"{MODEL}.partial"
    with quiet(transformers):
        trainer.save_model(str(partial))
    if trainer.is_world_process_zero():
        network.config.save_pretrained(partial)  # an adapter's folder has none
        for path in (path for pattern in TRAINING_STATE for path in partial.glob(pattern)):
            path.unlink()
        keep_name(partial, estimator.model_name)
        write_settings(partial, estimator)
        (folder / HISTORY).write_text(json.dumps(trainer.state.log_history), encoding="utf-8")
        os.replace(partial, folder / MODEL)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()


def reward_arguments(estimator, folder, seed):
    """Translate an estimator's parameters into those of ``trl.RewardConfig``.

    Parameters
    ----------
    estimator : FineTunedRewardRegressor
        Whose parameters hold.
    folder : Path
        Checkpoints go below it.
    seed : int
        Draws the head, the adapter and the order of pairs.

    Returns
    -------
    dict
        Arguments by name, `training_arguments` over all others.
    """
    on_cpu = estimator.device == "cpu" or not torch.cuda.is_available()
    arguments = {
        "output_dir": str(folder / CHECKPOINTS),
        "learning_rate": estimator.learning_rate or (1e-5 if estimator.lora is None else 1e-4),
        "num_train_epochs": estimator.max_epochs,
        "per_device_train_batch_size": estimator.batch_size,
        "weight_decay": estimator.weight_decay,
        "center_rewards_coefficient": estimator.center_coefficient or None,
        "gradient_checkpointing": estimator.gradient_checkpointing,
        "max_length": None,  # cut and counted already; TRL would leave pairs out
        "use_cpu": on_cpu,
        "bf16": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "no" if estimator.store is None else "steps",
        "save_steps": estimator.checkpoint_steps,
        "save_total_limit": 1,
        "logging_first_step": True,
        "report_to": "none",
        "disable_tqdm": not estimator.verbose,
    }
    return arguments | (estimator.training_arguments or {})


def last_checkpoint(folder):
    """Return the newest checkpoint that was written to its end.

    Parameters
    ----------
    folder : Path
        Where the trainer writes checkpoints.

    Returns
    -------
    str or None
        Its folder, None if there is none.
    """
    # The trainer writes this file last, so a checkpoint without it was cut off.
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    return str(max(complete, key=lambda p: int(p.name.split("-")[1]))) if complete else None


@contextmanager
def _seed_global_state(seed):
    """Seed the global generators, which is what transformers draws from, and restore them."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
