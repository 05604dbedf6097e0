"""
What is in an embedding of a response?
======================================

An *embedding* is a vector that a language model makes of a text. Here a small encoder, which
comes with the extra ``demo``, embeds answers to everyday questions. Then we look at what the
vectors differ by: the question, or how good the answer is?
"""

# %%
# Rows of text go in, one array comes out. A *preference pair* is a prompt with the answer that
# somebody chose and the one that was rejected; n pairs become an array (n, 2, d), the chosen
# answers first. *Candidates* are several answers to one prompt, (prompts, answers, d).
from lens_sklearn import LLMEmbedder
from lens_sklearn.datasets import make_demo_preferences

demo = make_demo_preferences(n_pairs=60, n_test_prompts=12, random_state=0)
embedder = LLMEmbedder("minilm", layer=-1).fit(demo.pairs)
pairs = embedder.transform(demo.pairs)
candidates = embedder.transform(demo.candidates)
print(demo.pairs[0]["prompt"], "→", pairs.shape, "and", candidates.shape)

# %%
# Two directions in which the answers differ most, first as they are, then with each prompt's
# mean taken away. The demo's sentences have a known quality, the *gold reward*.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

within = candidates - candidates.mean(axis=1, keepdims=True)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
flat = PCA(2).fit_transform(candidates.reshape(-1, candidates.shape[-1]))
left.scatter(*flat.T, c=np.repeat(np.arange(12), 16), cmap="tab20", s=18)
left.set(
    title="as they are: a color is a prompt", xlabel="first direction", ylabel="second direction"
)
flat = PCA(2).fit_transform(within.reshape(-1, within.shape[-1]))
points = right.scatter(*flat.T, c=demo.gold.ravel(), cmap="viridis", s=18)
right.set(title="prompts' means taken away", xlabel="first direction", ylabel="second direction")
figure.colorbar(points, label="gold reward")
share = 1 - within.var(axis=(0, 1)).sum() / candidates.var(axis=(0, 1)).sum()
print(f"{share:.0%} of the variance is between prompts")

# %%
# **What to take away.** Most of an embedding is about the question. A reward compares answers
# to the *same* question, so it learns from differences within prompts, where quality shows but
# does not stand out. That is why a reward needs labels, and why pairs of one prompt must never
# be on both sides of a split.
