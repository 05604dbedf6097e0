"""
Which synthetic pairs still have the right order?
=================================================

:class:`~lens_sklearn.LatentPairAugmenter` makes new pairs: it adds noise to the latents of a real
pair and decodes them. The label is inherited, so a pair that was moved too far teaches the wrong
thing. Which ones can be trusted?
"""

# %%
# In this toy world the true reward is known, and so is its *Lipschitz constant*: how fast it
# can change.
from lens_sklearn import ContrastiveVAE, LatentPairAugmenter
from lens_sklearn.datasets import make_preference_pairs
from lens_sklearn.theory import SynthesisCertificate

toy = make_preference_pairs(n_pairs=200, n_features=8, random_state=0)
vae = ContrastiveVAE(4, 32, learning_rate=3e-3, max_epochs=60)

# %%
# Each pair becomes four. A :class:`~lens_sklearn.theory.SynthesisCertificate` compares the
# *margin* of each synthetic pair, the reward of the chosen member minus that of the rejected
# one, with its parent's. It is made for the paper's decoding, and for *residual* decoding,
# which adds to the embedding only what the noise changed.
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharex=True, sharey=True)
for decode, ax in zip(("reconstruct", "residual"), axes, strict=True):
    augmenter = LatentPairAugmenter(
        vae, factor=4, decode=decode, noise_variance=0.02, random_state=0
    )
    print(decode, augmenter.fit_transform(toy.pairs))
    certificate = SynthesisCertificate.from_estimator(augmenter, toy.pairs, toy.reward)
    certificate.plot(ax=ax)
    ax.set_title(f'decode="{decode}"')
    print({name: round(float(value), 2) for name, value in certificate.totals.items()})

# %%
# **What to take away.** ``kept`` is the share of synthetic pairs in the order of their label.
# Residual decoding keeps far more, since nothing is lost in the bottleneck.
# ``LatentPairAugmenter(keep="ordered")`` leaves out the pairs that a reward fitted on the
# originals puts the wrong way round; ``keep="certified"`` only returns those whose order is
# proven for that reward. See :doc:`the theorems </user_guide/theory>`.
