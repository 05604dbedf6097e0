"""
Which reward picks best?
========================

A reward model is for picking: of n responses to a prompt, the one with the largest reward. The
*Best-of-n curve* is the mean gold reward of that pick over n. *Gold* is what a stronger judge
says of each response, and what the reward models never see. Here data are made, so that the gold
reward is known.
"""

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline

from lens_sklearn import (
    BestOfNComparisonDisplay,
    BTRewardRegressor,
    DirectNoiseAugmenter,
    LinearRewardRegressor,
)
from lens_sklearn.datasets import make_preference_pairs

# %%
# Three rewards, fitted on 150 pairs of a response that was chosen and one that was rejected.
# Their labels are noisy: a pair of about equal responses is decided by a coin.


def make_rewards():
    network = BTRewardRegressor(learning_rate=1e-2, random_state=0)
    noise = DirectNoiseAugmenter(factor=4, random_state=0)
    return {
        "linear": LinearRewardRegressor(),
        "network": network,
        "network, noise": make_pipeline(noise, network),
    }


def make_data(seed):
    noise = {"embedding_noise": 0.5, "temperature": 0.7}
    return make_preference_pairs(n_pairs=150, n_features=24, random_state=seed, **noise)


data = make_data(0)
rewards = {name: reward.fit(data.pairs) for name, reward in make_rewards().items()}

# %%
# Bars are 95 % intervals over the prompts. The *oracle* picks by gold itself; nothing can lie above
# it.
display = BestOfNComparisonDisplay.from_estimators(
    rewards, data.candidates, data.gold, random_state=0
)

# %%
# One draw of the pairs says little of a method. With several, curves are means over the draws and
# bars are intervals over these: what to expect of a method, and not of one reward.
golds, predicted = [], {name: [] for name in rewards}
for seed in range(4):
    data = make_data(seed)
    golds.append(data.gold)
    for name, reward in make_rewards().items():
        predicted[name].append(reward.fit(data.pairs).predict(data.candidates))
display = BestOfNComparisonDisplay.from_splits(predicted, golds)
for name, curve in display.curves.items():
    print(f"{name}: {curve.mean[-1]:.2f} [{curve.lower[-1]:.2f}, {curve.upper[-1]:.2f}]")

# %%
# **What to take away.** Compare rewards on the same prompts and look at the paired difference, not
# at two intervals; and put a pick that needs no model beside them.

plt.show()
