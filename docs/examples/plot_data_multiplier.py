"""
How many pairs is a method worth?
=================================

Labels cost money, so a method is worth the labels that it saves. The *data multiplier* at N is
N'/N, where the baseline needs N' pairs for the score that the method has with N. It is read off
the baseline's learning curve: follow the dotted line.
"""

import matplotlib.pyplot as plt

from lens_sklearn import BTRewardRegressor, DataMultiplierDisplay, LinearRewardRegressor
from lens_sklearn.datasets import make_preference_pairs

data = make_preference_pairs(
    n_pairs=160, n_features=24, embedding_noise=0.5, temperature=0.7, random_state=0
)

# %%
# Each split is an order of the prompts, the same for both methods; bars are 95 % intervals over
# splits. Here the embeddings are linear in the reward, which is what a linear reward is for.
display = DataMultiplierDisplay.from_estimators(
    {
        "network": BTRewardRegressor(learning_rate=1e-2, random_state=0),
        "linear": LinearRewardRegressor(),
    },
    data.pairs,
    data.candidates,
    data.gold,
    groups=data.groups,
    train_sizes=[20, 40, 80, 160],
    n_splits=3,
    random_state=0,
)

# %%
# Where the method is better than the baseline ever was, there is no more than a lower bound.
bounds = {1: "at least ", 0: "", -1: "at most "}
found = zip(
    display.sizes,
    display.multipliers["linear"],
    display.bounds["linear"],
    display.multiplier_intervals["linear"],
    strict=True,
)
for size, ratio, side, (low, high) in found:
    print(f"{size} pairs: {bounds[side]}{ratio:.1f}, 95 % interval {low:.1f} to {high:.1f}")

# %%
# **What to take away.** A multiplier of 2 means half the labels for the same score. It depends on
# the baseline and on N, so say both.

plt.show()
