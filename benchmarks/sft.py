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
from pathlib import Path

import numpy as np

from lens_sklearn.textual import ResponseGenerator, SelfRewardingLabeller


def read_rows(path):
    """Return the rows of a .jsonl file."""
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines() if line]


def train(rows, model, output, *, batch_size=32, micro_batch=4, deepspeed=None, seed=0):
    """Fine-tune a model on rows with ``prompt`` and ``completion``; save it in `output`."""
    import torch
    import transformers
    import trl
    from datasets import Dataset

    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    on_cpu = not torch.cuda.is_available()
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    config = trl.SFTConfig(
        output_dir=str(Path(output) / "checkpoints"),
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
    trainer.save_model(str(output))
    return loss


def judge(rows, first, second, judge_model, *, seed=0, **generator):
    """Return the mean probability that the first model's response beats the second's.

    Both answer each prompt once; the judge compares the two in both orders.
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
    prompts, responses = zip(*both, strict=True)
    labeller = SelfRewardingLabeller(judge_model, mode="pairwise")
    return labeller.score(list(prompts), list(responses))[:, 0]


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
    wins = judge(rows, args.first, args.second, args.judge, max_new_tokens=args.max_new_tokens)
    error = np.std(wins, ddof=1) / np.sqrt(len(wins)) if len(wins) > 1 else np.nan
    print(
        f"{len(wins)} of {len(rows)} prompts: the first model beats the second with mean "
        f"probability {wins.mean():.3f} (standard error {error:.3f}); preferred in "
        f"{np.mean(wins > 0.5):.1%} of them, the second in {np.mean(wins < 0.5):.1%}."
    )


if __name__ == "__main__":
    main()
