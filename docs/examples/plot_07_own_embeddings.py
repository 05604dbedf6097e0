"""
Can I bring embeddings of my own?
=================================

Perhaps a service already gave you embeddings, or you have a better encoder. A reward needs an
array, and nothing else: here is the whole way with files of NumPy, without a language model.
"""

# %%
# Pairs are an array (n, 2, d), the chosen answer first; candidates are (prompts, answers, d).
# Prompts that have fewer answers than others are filled up with embeddings that are all NaN.
import tempfile
from pathlib import Path

import numpy as np

from lens_sklearn.datasets import make_preference_pairs

toy = make_preference_pairs(
    n_pairs=200, n_features=64, n_prompts=100, label_noise=0.2, random_state=0
)
folder = tempfile.TemporaryDirectory()
pairs_file, candidates_file = Path(folder.name, "pairs.npz"), Path(folder.name, "candidates.npy")
np.savez(pairs_file, pairs=toy.pairs, groups=toy.groups)  # groups: which pairs share a prompt
np.save(candidates_file, toy.candidates)

# %%
# In Python these are arrays like others. On the command line the same files go where rows of
# text would: ``lens-sklearn fit pairs.npz -o reward``, ``lens-sklearn compare pairs.npz``,
# ``lens-sklearn score reward candidates.npy``.
from lens_sklearn import LinearRewardRegressor

with np.load(pairs_file) as given:
    reward = LinearRewardRegressor().fit(given["pairs"], groups=given["groups"])
candidates = np.load(candidates_file)
rewards = reward.predict(candidates)
print(candidates.shape, "→", rewards.shape)

# %%
# This toy world has a gold reward, so we can look.
import matplotlib.pyplot as plt

center = rewards - rewards.mean(axis=1, keepdims=True)
gold = toy.gold - toy.gold.mean(axis=1, keepdims=True)
figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.scatter(gold, center, s=8, alpha=0.5)
ax.set(xlabel="gold reward, less the prompt's mean", ylabel="reward, less the prompt's mean")
print(
    f"gold of the pick {reward.score(candidates, toy.gold):.2f}, best {toy.gold.max(1).mean():.2f}"
)

# %%
# **What to take away.** Whatever embeds pairs can stand in front of a reward, so long as one
# array comes out, and the same model embeds candidates later. Rewards are known up to a shift
# for each prompt, so compare answers to the same prompt only.
folder.cleanup()
