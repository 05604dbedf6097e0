"""
What are answers worth that nobody has judged?
==============================================

Labels cost a person's time; answers cost little. Several answers to a prompt, without labels, say
in which directions answers to *one* question differ at all. Does a reward get better if it knows
that?
"""

# %%
# A toy world whose embeddings have 128 features, most of them noise. Five worlds, each with
# 10 to 80 labeled pairs, without and with four answers to each of 300 other prompts.
import matplotlib.pyplot as plt
import numpy as np

from lens_sklearn import GPRewardRegressor
from lens_sklearn.datasets import make_preference_pairs

sizes = [10, 20, 40, 80]
gold_of_pick = np.zeros((2, 5, len(sizes)))
for seed in range(5):
    toy = make_preference_pairs(
        n_pairs=80,
        n_features=128,
        n_candidates=4,
        n_test_prompts=400,
        embedding_noise=0.5,
        random_state=seed,
    )
    unlabeled, test, gold = toy.candidates[:300], toy.candidates[300:], toy.gold[300:]
    for row, extra in enumerate((None, unlabeled)):
        for column, n in enumerate(sizes):
            reward = GPRewardRegressor(random_state=0).fit(toy.pairs[:n], unlabeled=extra)
            gold_of_pick[row, seed, column] = reward.score(test, gold)

# %%
# Left: the mean gold reward of the answer that is picked of four. Right: what the answers without
# labels add, each world compared with itself; bars are standard errors.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharex=True)
for name, values, marker in zip(
    ("labels alone", "and unlabeled answers"), gold_of_pick, "os", strict=True
):
    left.plot(sizes, values.mean(axis=0), marker=marker, label=name)
gain = gold_of_pick[1] - gold_of_pick[0]
error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
right.errorbar(
    sizes, gain.mean(axis=0), gain.std(axis=0, ddof=1) / np.sqrt(5), marker="o", capsize=3
)
right.axhline(0, color="0.6", linestyle="--")
left.set_xscale("log", base=2)
left.set_xticks(sizes, sizes)
left.set(xlabel="pairs with labels", ylabel="mean gold reward of the pick")
right.set(xlabel="pairs with labels", ylabel="gain by unlabeled answers")
left.legend()

# %%
# **What to take away.** Where embeddings hold much that says nothing and pairs are few, answers
# without labels help; with ``embedding_noise=0.1`` they do not. In a Pipeline of texts they go
# through the steps before: ``Pipeline([...], transform_input=["unlabeled"])`` and
# ``pipe.fit(pairs, unlabeled=rows)``. On your own pairs,
# ``lens-sklearn compare pairs.jsonl --unlabeled rows.jsonl`` says whether they do.
