"""
γ and σ² in a grid search
=========================

The synthesis has two parameters that matter: γ, how far the autoencoder pushes chosen and rejected
latents apart, and σ², the variance of the noise. A grid search tries them together.
"""

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from lens_sklearn import AblationDisplay, BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter
from lens_sklearn.datasets import make_preference_pairs

data = make_preference_pairs(
    n_pairs=90, n_features=24, embedding_noise=0.5, temperature=0.7, random_state=0
)
vae = ContrastiveVAE(8, learning_rate=1e-3, max_epochs=10)
pipeline = Pipeline(
    [
        ("augment", LatentPairAugmenter(vae, factor=4, random_state=0)),
        ("reward", BTRewardRegressor(learning_rate=1e-2, max_epochs=5, random_state=0)),
    ]
)
grid = {
    "augment__vae__gamma": [0.0, 0.1, 1.0],
    "augment__noise_variance": [0.001, 0.01, 0.1],
}

# %%
# Folds are by prompt: pairs of one prompt in two folds would make every score too good.
search = GridSearchCV(pipeline, grid, cv=GroupKFold(3)).fit(data.pairs, groups=data.groups)
display = AblationDisplay.from_estimator(search)

# %%
# Each cell has the mean accuracy over the folds and its standard error, the best one a frame. Where
# the standard errors are larger than the differences, the frame is luck.
spread = display.mean.max() - display.mean.min()
print(f"cells differ by {spread:.3f} at most, standard errors go up to "
      f"{display.standard_error.max():.3f}")  # fmt: skip

plt.show()
