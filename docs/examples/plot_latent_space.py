r"""
What does γ do to the latent space?
===================================

The contrastive autoencoder maps an embedding to a *latent*, a Gaussian of few dimensions, and its
loss rewards a distance between the latents of chosen and rejected responses, weighed by γ. New
pairs are made by adding noise to latents and decoding them. What does γ do to the latents?
"""

import matplotlib.pyplot as plt

from lens_sklearn import ContrastiveVAE, LatentSpaceDisplay, TrainingHistoryDisplay
from lens_sklearn.datasets import make_preference_pairs

pairs = make_preference_pairs(n_pairs=200, n_features=24, random_state=0).pairs

# %%
# Filled markers are the pairs' own latents, open ones have noise. The plane is that of the two
# largest principal components.
figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
models = {}
for ax, gamma in zip(axes, (0.0, 1.0, 10.0), strict=True):
    vae = ContrastiveVAE(8, gamma=gamma, learning_rate=1e-3, max_epochs=60, random_state=0)
    models[gamma] = vae.fit(pairs)
    display = LatentSpaceDisplay.from_estimator(vae, pairs, ax=ax, random_state=0)
    if gamma:
        ax.get_legend().remove()  # the same as that of the first
    ax.set_xlabel(f"γ = {gamma:g}: {ax.get_xlabel()}")
    print(f"γ = {gamma:g}: {display.distance:.2f} apart, heads alone {display.head_distance:.2f}")

# %%
# The larger γ, the farther apart. But the encoder has a *head* for each column: it is told which
# response was chosen. "Heads alone" is how far apart they lay the *same* embedding. Where the two
# numbers are equal, the distance says nothing of the embeddings.
#
# The losses over the epochs: γ pays for the divergence by the KL divergence from a standard
# Gaussian.
display = TrainingHistoryDisplay({f"γ = {gamma:g}": vae.history_ for gamma, vae in models.items()})
display.plot()

# %%
# **What to take away.** A latent space in which chosen and rejected are far apart looks good and
# proves little: with a large γ most of the distance is what the heads were told. Choose γ by pairs
# of left-out prompts (:ref:`sphx_glr_auto_examples_plot_05_search_and_save.py`).

plt.show()
