"""
Which γ and noise variance suit my pairs, and how do I keep the result?
=======================================================================

Two numbers decide what the synthetic pairs of LENS look like: γ (``gamma``), which keeps chosen
and rejected latents apart, and σ² (``noise_variance``), how far a latent is moved.
``GridSearchCV`` tries them like any other parameter. The best Pipeline is then saved in files
that run no code when they are loaded.
"""

# %%
# ``memory`` keeps fitted autoencoders, so that a change of σ² alone trains none again. Two
# pairs share each prompt here: ``GroupKFold`` keeps them on the same side of a split.
import tempfile

import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, EmbeddingScaler, LatentPairAugmenter
from lens_sklearn.datasets import make_preference_pairs

toy = make_preference_pairs(
    n_pairs=160, n_features=32, n_prompts=80, label_noise=0.1, random_state=0
)
folder = tempfile.TemporaryDirectory()
vae = ContrastiveVAE(8, learning_rate=3e-3, max_epochs=40, random_state=0)
pipe = Pipeline(
    [
        ("scale", EmbeddingScaler()),
        ("augment", LatentPairAugmenter(vae, factor=4, random_state=0, memory=folder.name)),
        ("reward", BTRewardRegressor(learning_rate=1e-3, random_state=0)),
    ]
)
grid = {"augment__vae__gamma": [0, 0.1, 1], "augment__noise_variance": [0.01, 0.1, 1]}
search = GridSearchCV(pipe, grid, cv=GroupKFold(4))
search.fit(toy.pairs, groups=toy.groups)
print(search.best_params_)

# %%
# Each cell has the mean accuracy on left-out pairs and its standard error over the folds; the best
# one has a frame.
import matplotlib.pyplot as plt

from lens_sklearn import AblationDisplay

AblationDisplay.from_estimator(search)

# %%
# A saved Pipeline is a folder of numbers (safetensors) and a description (JSON).
from pathlib import Path

from lens_sklearn import export

export.save(search.best_estimator_, f"{folder.name}/reward")
loaded = export.load(f"{folder.name}/reward")
print(sorted(file.name for file in Path(folder.name, "reward").iterdir()))
print(np.array_equal(loaded.predict(toy.candidates), search.predict(toy.candidates)))

# %%
# **What to take away.** Cells differ by less than their deviations over the folds, so on these
# pairs neither number matters much; do not report the best cell as a gain. Compare it with
# :class:`~lens_sklearn.RepeatAugmenter`, which trains as long on no new data, on splits that
# chose nothing.
folder.cleanup()
plt.show()
