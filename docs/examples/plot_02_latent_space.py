"""
What does γ do to the latent space?
===================================

:class:`~lens_sklearn.ContrastiveVAE` squeezes an embedding into a few numbers, its *latents*,
from which a decoder makes the embedding again. Its parameter γ (``gamma``) pays for keeping
chosen and rejected answers apart. How far apart do they go, and what does it cost?
"""

# %%
# A toy world with a known reward: 200 pairs of 32 features.
import matplotlib.pyplot as plt
from sklearn.decomposition import PCA

from lens_sklearn import ContrastiveVAE, EmbeddingScaler
from lens_sklearn.datasets import make_preference_pairs

toy = make_preference_pairs(n_pairs=200, n_features=32, random_state=0)
pairs = EmbeddingScaler().fit_transform(toy.pairs)

# %%
# One autoencoder for each γ, from the same random weights. Dots are the latents' means, drawn
# in the two directions in which they spread most.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
for gamma, ax in zip((0, 1, 10), axes, strict=True):
    vae = ContrastiveVAE(8, gamma=gamma, learning_rate=3e-3, random_state=0).fit(pairs)
    latents = vae.transform(pairs)  # (n, 2, 8)
    flat = PCA(2).fit_transform(latents.reshape(-1, 8)).reshape(-1, 2, 2)
    ax.scatter(*flat[:, 0].T, s=12, color="#0072B2", marker="o", label="chosen")
    ax.scatter(*flat[:, 1].T, s=14, color="#D55E00", marker="x", linewidth=1, label="rejected")
    ax.set(title=f"γ = {gamma}", xlabel="first direction")
    last = vae.history_[-1]
    print(
        f"γ = {gamma:>2}: divergence {last['divergence']:.2f}, "
        f"reconstruction error {last['reconstruction']:.1f}"
    )
axes[0].set_ylabel("second direction")
axes[0].legend()

# %%
# **What to take away.** With γ = 0 the latents do not know who was chosen. A larger γ moves the
# two apart, and the embeddings are rebuilt less well, since the network spends its few numbers
# on the label. A latent space in which chosen and rejected are clearly apart looks good, and is
# no proof of a better reward: chosen and rejected go through different heads of the encoder, so
# they can be moved apart without learning what quality is. Choose γ by held-out pairs
# (:ref:`sphx_glr_auto_examples_plot_05_search_and_save.py`).
