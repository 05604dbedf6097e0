"""
Can I trust this reward?
========================

Two questions before a reward is used: do its probabilities mean what they say, and does it go by
the length of a response?
"""

import matplotlib.pyplot as plt
import numpy as np

from lens_sklearn import LinearRewardRegressor, PairCalibrationDisplay, RewardLengthDisplay
from lens_sklearn.datasets import make_preference_pairs

data = make_preference_pairs(
    n_pairs=400, n_features=24, embedding_noise=0.5, temperature=0.7, random_state=0
)
train, test = data.pairs[:150], data.pairs[150:]
reward = LinearRewardRegressor().fit(train)

# %%
# **Calibration.** Of the pairs for which the reward is 80 % sure, eight of ten should come true.
# Points below the diagonal are promises that were not kept. ECE, the expected calibration error, is
# the mean gap.
#
# Rewards that are three times too large order everything the same and promise too much.
display = PairCalibrationDisplay.from_estimator(reward, test, name="reward")
log_odds = reward.decision_function(test).astype(float)
PairCalibrationDisplay.from_predictions(
    1 / (1 + np.exp(-3 * log_odds)),
    name="three times as large",
    ax=display.ax_,
    plot_counts=False,
    color="#D55E00",
    marker="s",
    linestyle="--",
)

# %%
# **Length.** Judges often prefer long responses, and a reward learns it from them. Here the lengths
# are made up, and half a unit of reward is added for each doubling. Lengths and rewards are those
# within a prompt, less its mean: whether long *prompts* have large rewards does not matter.
rng = np.random.default_rng(0)
lengths = np.exp(rng.normal(6, 0.6, size=data.gold.shape))
predicted = reward.predict(data.candidates) + 0.5 * np.log2(lengths)
display = RewardLengthDisplay.from_predictions(predicted, lengths)
print(f"a doubling of the length adds {display.slope:.2f}")

# %%
# **What to take away.** A reward whose points lie on the diagonal can be asked for thresholds. One
# that grows with length should be compared with the longest response, or have length controlled.

plt.show()
