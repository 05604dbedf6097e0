"""
What are answers worth that nobody has judged?
==============================================

Labels cost a person's time; answers cost little. Several answers to a prompt, without labels, say
in which directions answers to *one* question differ at all. Does a reward get better if it knows
that?
"""

# %%
# A toy world in which embeddings have 128 features and hold much that is about the prompt
# alone.
import matplotlib.pyplot as plt
import numpy as np

from lens_sklearn import GPRewardRegressor
from lens_sklearn.datasets import make_preference_pairs

sizes = [10, 20, 40, 80]
accuracy = {
    "labels alone": np.zeros((5, 4)),
    "and 300 prompts of answers without": np.zeros((5, 4)),
}
for seed in range(5):
    toy = make_preference_pairs(
        n_pairs=80, n_features=128, n_candidates=4, n_test_prompts=400, random_state=seed
    )
    unlabeled, test, gold = toy.candidates[:300], toy.candidates[300:], toy.gold[300:]
    for column, n in enumerate(sizes):
        for name, extra in zip(accuracy, (None, unlabeled), strict=True):
            reward = GPRewardRegressor(random_state=0).fit(toy.pairs[:n], unlabeled=extra)
            accuracy[name][seed, column] = reward.score(test, gold)

# %%
# The mean gold reward of the picked answer of four, over five worlds, with the standard error.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), marker in zip(accuracy.items(), "os", strict=True):
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    ax.errorbar(sizes, values.mean(axis=0), error, marker=marker, capsize=3, label=name)
ax.set_xscale("log", base=2)
ax.set_xticks(sizes, sizes)
ax.set(xlabel="pairs with labels", ylabel="mean gold reward of the pick, of 4")
ax.legend()

# %%
# **What to take away.** Where embeddings hold much that does not differ between answers to one
# prompt, and pairs are few, answers without labels help. In a Pipeline of texts they go through
# the steps before: ``Pipeline([...], transform_input=["unlabeled"])`` and ``pipe.fit(pairs,
# unlabeled=rows)``. On your own pairs, ``lens-sklearn compare pairs.jsonl --unlabeled
# rows.jsonl`` says whether they do.
