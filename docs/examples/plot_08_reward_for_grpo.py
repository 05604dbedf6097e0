"""
How do I train a language model with my reward?
===============================================

TRL's ``GRPOTrainer`` lets a language model write several answers to a prompt, asks a *reward
function* for a number for each, and makes the better ones more likely.
:func:`~lens_sklearn.as_reward_function` makes a fitted reward such a function.
"""

# %%
# So that this runs anywhere in seconds, the language model is a random one with a vocabulary of
# 16 words. Yours would be a name such as ``"Qwen/Qwen2.5-0.5B-Instruct"``.
import tempfile
import warnings

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = (
    "<s> </s> <pad> <unk> yes no maybe please thanks sorry never always good bad why how".split()
)
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    bos_token="<s>",
    eos_token="</s>",
    pad_token="<pad>",
    unk_token="<unk>",
)
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64,
    bos_token_id=0, eos_token_id=1, pad_token_id=2,
)  # fmt: skip
folder = tempfile.TemporaryDirectory()
LlamaForCausalLM(config).save_pretrained(f"{folder.name}/model")
tokenizer.save_pretrained(f"{folder.name}/model")

# %%
# Somebody likes thanks, and dislikes "never". The reward learns this from 40 pairs.
import numpy as np
from sklearn.pipeline import make_pipeline

from lens_sklearn import LinearRewardRegressor, ResponseFeatures, as_reward_function

rng = np.random.default_rng(0)
fill = words[4:7]
pairs = [
    {
        "prompt": "why",
        "chosen": " ".join([*rng.choice(fill, 2), "thanks", rng.choice(fill)]),
        "rejected": " ".join([*rng.choice(fill, 2), "never", rng.choice(fill)]),
    }
    for _ in range(40)
]
counts = {
    word: lambda prompt, response, word=word: response.split().count(word) for word in words[4:]
}
features = ResponseFeatures(functions=counts)
reward = make_pipeline(features, LinearRewardRegressor(n_response_features=len(features.names)))
reward.fit(pairs)
function = as_reward_function(reward, name="thanks")
print(function(prompts=["why", "why"], completions=["yes thanks maybe", "yes never maybe"]))

# %%
# The function goes to the trainer as it is. An empty answer gets None, which TRL leaves out.
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

logging.disable_progress_bar()
arguments = GRPOConfig(
    output_dir=folder.name, max_steps=60, per_device_train_batch_size=32, num_generations=16,
    max_completion_length=6, learning_rate=2e-2, lr_scheduler_type="constant", use_cpu=True,
    bf16=False, report_to="none", save_strategy="no", logging_steps=1, disable_tqdm=True,
    gradient_checkpointing=False, log_level="error", seed=0,
)  # fmt: skip
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TRL's and torch's own to follow
    trainer = GRPOTrainer(
        f"{folder.name}/model",
        reward_funcs=function,
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": "why"}] * 64),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()

# %%
import matplotlib.pyplot as plt

logs = [log["rewards/thanks/mean"] for log in trainer.state.log_history if "reward" in log]
figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(range(1, len(logs) + 1), logs)
ax.set(xlabel="step", ylabel="mean reward of the answers")

# %%
# **What to take away.** A fitted reward goes into TRL with one call, and into OpenRLHF and verl
# by the function's ``openrlhf`` and ``verl``. A language model finds whatever the reward pays
# for, so look at what it writes: this one was never told what a good answer is, only that some
# words are liked.
folder.cleanup()
