"""
What does the judge pay attention to, and what if I do not want that?
=====================================================================

People and language models tend to prefer long answers. A reward that learns this writes long
answers once something is trained with it. Here is how to see it, and how to take it out.
"""

# %%
# 240 pairs in which the judge mostly takes the better answer, but takes the longer one every
# second time.
import numpy as np

from lens_sklearn import ResponseFeatures
from lens_sklearn.datasets import make_demo_preferences

demo = make_demo_preferences(n_pairs=240, random_state=0)
rng = np.random.default_rng(0)
pairs = []
for row in demo.pairs:
    longer, shorter = sorted([row["chosen"], row["rejected"]], key=len, reverse=True)
    asks_length = rng.random() < 0.5
    pairs.append(row | {"chosen": longer, "rejected": shorter} if asks_length else row)

# %%
# :class:`~lens_sklearn.ResponseFeatures` counts what shows in how an answer is written. Of a
# linear reward on standardized features the weights can be compared.
from lens_sklearn import FeatureWeightsDisplay, LinearRewardRegressor

features = ResponseFeatures()
X = features.fit_transform(pairs)  # (n, 2, 32)
reward = LinearRewardRegressor(n_response_features=len(features.names)).fit(X)
FeatureWeightsDisplay.from_estimator(reward, features.names).plot(max_features=8)

# %%
# A *controlled* feature is fitted, so that it explains what it explains, and then left out of
# what is predicted.
import matplotlib.pyplot as plt

from lens_sklearn import response_lengths

names = ["log_characters", "log_words"]
controlled = LinearRewardRegressor(
    n_response_features=len(features.names), controlled=features.columns(names)
).fit(X)
lengths = response_lengths(demo.candidates)
answers = features.transform(demo.candidates)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True)
for ax, (title, model) in zip(
    axes, {"all features": reward, "length controlled": controlled}.items(), strict=True
):
    rewards = model.predict(answers)
    correlation = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(lengths, rewards, strict=True)])
    ax.scatter(lengths, rewards, s=8, alpha=0.5)
    ax.set(title=f"{title}: correlation {correlation:.2f}", xlabel="characters")
axes[0].set_ylabel("reward")

# %%
# **What to take away.** Look at the weights, and at the longest answer's score, before you
# believe a reward. Controlling length lowers accuracy on the judge's own pairs, for the judge
# did look at length; judge such a reward on pairs of about equal length
# (``pair_accuracy_score(subset="length_matched", lengths=...)``).
