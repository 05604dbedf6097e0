"""Rejection-sampling fine-tuning (Table 3): train on Best-of-N picks, judge two models.

::

    python -m benchmarks.sft train picks.jsonl --model MODEL -o textual
    python -m benchmarks.sft judge prompts.jsonl --first textual --second latent --judge MODEL

``picks.jsonl`` has the rows of ``lens_sklearn.textual.RejectionSampler``. On several GPUs
(needs deepspeed) the first one becomes ::

    accelerate launch --num_processes 8 -m benchmarks.sft train picks.jsonl --model MODEL \
        -o textual --deepspeed benchmarks/zero2.json

The recipe is the paper's: full fine-tuning, 1 epoch, learning rate 1e-5, batch 32 over all
GPUs, 512 tokens, ZeRO-2.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lens_sklearn._statistics import wilson_interval
from lens_sklearn.textual import ResponseGenerator, SelfRewardingLabeller


def read_rows(path):
    """Return the rows of a .jsonl file."""
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines() if line]


def train(rows, model, output, *, batch_size=32, micro_batch=4, deepspeed=None, seed=0):
    """Fine-tune a model on rows with ``prompt`` and ``completion``; save it in `output`.

    The folder `output` must not be there yet. It holds the model and its tokenizer, no pickle.
    """
    import torch
    import transformers
    import trl
    from datasets import Dataset

    output = Path(output).expanduser()
    if output.exists():
        raise FileExistsError(f"{output}: it exists already. Give a folder that does not.")
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    on_cpu = not torch.cuda.is_available()
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    with tempfile.TemporaryDirectory() as scratch:  # the trainer makes a folder, and leaves it
        config = trl.SFTConfig(
            output_dir=scratch,
            num_train_epochs=1,
            learning_rate=1e-5,
            per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=max(1, batch_size // (micro_batch * n_processes)),
            max_length=512,
            completion_only_loss=True,
            deepspeed=deepspeed,
            use_cpu=on_cpu,
            bf16=not on_cpu,
            dataloader_pin_memory=not on_cpu,
            save_strategy="no",
            report_to="none",
            seed=seed,
        )
        trainer = trl.SFTTrainer(str(model), args=config, train_dataset=Dataset.from_list(rows))
        trainer.remove_callback(transformers.PrinterCallback)
        loss = trainer.train().training_loss
        _save(trainer, output)
    return loss


def _save(trainer, output):
    """Write the trained model, complete or not at all."""
    partial = output.with_name(f".{output.name}.partial")  # of all processes the same
    if trainer.is_world_process_zero():
        shutil.rmtree(partial, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(partial))
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        (partial / "training_args.bin").unlink(missing_ok=True)  # a pickle
        os.replace(partial, output)


class Comparison(NamedTuple):
    """What a judge says of two models' answers.

    Attributes
    ----------
    orders : ndarray of float, shape (n, 2)
        Probability that the first model's answer is better, shown first and shown second.
    tie : float
        A mean of both orders within this of 1/2 is a tie.
    n_equal : int
        How many of the n prompts have the same answer of both, a tie that no judge is asked.
    n_rows : int
        Prompts in all; those without an answer of either model are left out.
    """

    orders: np.ndarray
    tie: float
    n_equal: int
    n_rows: int

    @property
    def means(self):
        """Mean probability of both orders, shape (n,)."""
        return self.orders.mean(axis=1)

    @property
    def counts(self):
        """Wins, ties and losses of the first model, by the mean of both orders."""
        return _count(self.means - 0.5, self.tie)

    @property
    def win_rate(self):
        """Share of wins, ties counting half, and its Wilson interval of 95 %."""
        wins, ties, losses = self.counts
        n = wins + ties + losses
        return (wins + ties / 2) / n, *wilson_interval((wins + ties / 2) / n, n)

    def __str__(self):
        wins, ties, losses = self.counts
        both = np.sign(_beyond(self.orders - 0.5, self.tie)).sum(axis=1) / 2  # 1: wins in both
        rate, low, high = self.win_rate
        shown_first = (self.orders[:, 0] + 1 - self.orders[:, 1]).mean() / 2
        return (
            f"{len(self.orders)} of {self.n_rows} prompts have an answer of both models.\n"
            f"The first model wins {wins}, ties {ties} ({self.n_equal} of them by equal answers) "
            f"and loses {losses}: win rate {rate:.3f} [{low:.3f}, {high:.3f}], ties counting half "
            "(Wilson, 95 %).\n"
            f"In both orders alike it wins {(both == 1).sum()} and loses {(both == -1).sum()}; in "
            f"{_position_decides(self.orders, self.tie)} prompts the position decides. The answer "
            f"that is shown first has mean probability {shown_first:.3f}.\n"
            f"Mean probability that the first model is better: {self.means.mean():.3f}."
        )


def _beyond(margin, tie):
    """Return margins with 0 for ties."""
    return np.where(np.abs(margin) > tie, margin, 0.0)


def _count(margin, tie):
    margin = _beyond(margin, tie)
    return int((margin > 0).sum()), int((margin == 0).sum()), int((margin < 0).sum())


def _position_decides(orders, tie):
    """Count the prompts where another answer wins in the other order."""
    signs = np.sign(_beyond(orders - 0.5, tie))
    return int((signs[:, 0] * signs[:, 1] < 0).sum())


def judge(rows, first, second, judge_model, *, tie=0.01, seed=0, **generator):
    """Return the :class:`Comparison` of two models by a third.

    Both answer each prompt once; the judge compares different answers in both orders.
    """
    answers = [
        ResponseGenerator(model, n_samples=1, random_state=seed, **generator).fit_transform(rows)
        for model in (first, second)
    ]
    both = [
        (one["prompt"], one["responses"] + two["responses"])
        for one, two in zip(*answers, strict=True)
        if one["responses"] and two["responses"]  # an empty response cannot be compared
    ]
    if not both:
        raise ValueError("no prompt has a response of both models.")
    orders = np.full((len(both), 2), 0.5)
    asked = [i for i, (_, (one, two)) in enumerate(both) if one != two]
    if asked:
        labeller = SelfRewardingLabeller(judge_model, mode="pairwise")
        labeller.score([both[i][0] for i in asked], [both[i][1] for i in asked])
        shown_first = labeller.shown_first_  # (m, 2)
        orders[asked] = np.stack([shown_first[:, 0], 1 - shown_first[:, 1]], axis=1)
    return Comparison(orders, tie, len(both) - len(asked), len(rows))


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sft", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="fine-tune on picks")
    training.add_argument("rows")
    training.add_argument("--model", required=True)
    training.add_argument("-o", "--output", required=True)
    training.add_argument("--deepspeed", help="a configuration, such as benchmarks/zero2.json")
    training.add_argument("--micro-batch", type=int, default=4)
    judging = commands.add_parser("judge", help="compare two models")
    judging.add_argument("rows")
    for name in ("--first", "--second", "--judge"):
        judging.add_argument(name, required=True)
    judging.add_argument("--max-new-tokens", type=int, default=256)
    judging.add_argument(
        "--tie", type=float, default=0.01, help="mean probabilities within this of 1/2 are ties"
    )
    return parser


def main(argv=None):
    """Run one of the two commands."""
    args = parser().parse_args(argv)
    rows = read_rows(args.rows)
    if args.command == "train":
        loss = train(
            rows, args.model, args.output, micro_batch=args.micro_batch, deepspeed=args.deepspeed
        )
        print(f"{len(rows)} rows, mean training loss {loss:.4f}; saved in {args.output}")
        return
    print(
        judge(
            rows, args.first, args.second, args.judge,
            tie=args.tie, max_new_tokens=args.max_new_tokens,
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
