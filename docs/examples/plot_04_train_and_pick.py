"""
How good are a reward's picks, and can its probabilities be believed?
=====================================================================

We learn a reward from 240 pairs of real sentences, let it pick the best of sixteen answers to new
questions, and check whether what it is 70 % sure of is right seven times in ten.
"""

# %%
# The Pipeline embeds texts and learns a Gaussian process. ``groups`` says which pairs share a
# prompt; with scikit-learn's metadata routing switched on it reaches the step that asks for it.
import sklearn
from sklearn.pipeline import make_pipeline

from lens_sklearn import GPRewardRegressor, LLMEmbedder
from lens_sklearn.datasets import make_demo_preferences

demo = make_demo_preferences(random_state=0)
pipe = make_pipeline(LLMEmbedder("minilm"), GPRewardRegressor())
with sklearn.config_context(enable_metadata_routing=True):
    pipe.fit(demo.pairs, groups=demo.groups)

# %%
# *Best-of-N*: of n answers the one with the largest reward is picked, and judged by its *gold
# reward*, which the model never saw. The oracle picks by gold; "longest" picks the longest
# answer.
import matplotlib.pyplot as plt

from lens_sklearn import BestOfNDisplay, shortcut_rewards

rewards = pipe.predict(demo.candidates)  # (33 prompts, 16 answers)
BestOfNDisplay.from_predictions(
    rewards,
    demo.gold,
    name="Gaussian process",
    shortcuts={"longest": shortcut_rewards(demo.candidates)["longest"]},
    random_state=0,
)

# %%
# The difference of two rewards is a *log-odds*: σ(r₁ − r₂) is the probability that the first
# answer is better. We put all pairs of answers into ten bins by that probability, and count how
# often the first one was.
import numpy as np
from scipy.special import expit

from lens_sklearn.metrics import calibration_bins

first, second = np.triu_indices(16, 1)
probability = expit(rewards[:, first] - rewards[:, second]).ravel()
is_better = (demo.gold[:, first] > demo.gold[:, second]).ravel()
counts, predicted, observed = calibration_bins(probability, is_better)
figure, ax = plt.subplots(figsize=(4.5, 4.2), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="what they say")
ax.plot(predicted / counts, observed / counts, marker="o", label="Gaussian process")
ax.set(xlabel="probability by the reward", ylabel="how often it was so", aspect="equal")
ax.legend()

# %%
# **What to take away.** Judge a reward by its picks on prompts that it has not seen, beside a
# pick that needs no model. The more answers it may choose from, the better the pick, and the
# further from the oracle. Probabilities close to the diagonal can be used for thresholds: ask a
# person only about pairs near one half.
