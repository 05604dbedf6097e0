"""Five MLPs with the tuned MLP's parameters and other seeds; their mean reward."""

import numpy as np

from . import tuned_mlp

N_MEMBERS = 5


def fit(split, seed, output_init="uniform"):
    params, _ = tuned_mlp.search(split, seed, output_init)
    split.details |= params
    # Seeds far from those of other splits, so that no two ensembles share a member.
    members = [
        tuned_mlp.fit_once(split.pairs, params, N_MEMBERS * seed + i) for i in range(N_MEMBERS)
    ]
    return lambda X: np.mean([member.predict(X) for member in members], axis=0)
