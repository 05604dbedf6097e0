"""Rewards of both views: what the recommended one costs, and how a Gaussian process grows in d."""

import time

import numpy as np
from threadpoolctl import threadpool_limits

from lens_sklearn import AutoRewardRegressor, GPRewardRegressor, LinearRewardRegressor

N_FEATURES = 32
#: Pairs and embedding size of each row.
SIZES = ((300, 576), (1000, 4096))


def draw(n_pairs, d, n_features):
    """Return pairs (n, 2, d + n_features) whose chosen member is better in one direction."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(n_pairs, 2, d + n_features)).astype(np.float32)
    reward = pairs[..., 0] + pairs[..., -1] + rng.logistic(size=(n_pairs, 2))
    swapped = reward[:, 0] < reward[:, 1]
    pairs[swapped] = pairs[swapped, ::-1]
    return pairs


def seconds(reward, pairs):
    """Return the seconds of a fit."""
    start = time.perf_counter()
    reward.fit(pairs)
    return time.perf_counter() - start


def measure(args):
    """Yield the rows of the table."""
    GPRewardRegressor().fit(draw(20, 8, 0))  # imports and first calls are no reward's
    for n_pairs, d in SIZES:
        pairs = draw(n_pairs, d, N_FEATURES)
        ours = seconds(AutoRewardRegressor(n_response_features=N_FEATURES, random_state=0), pairs)
        rival = seconds(LinearRewardRegressor(n_response_features=N_FEATURES), pairs)
        yield {
            "what": f"AutoRewardRegressor.fit, N = {n_pairs}, d = {d}",
            "rival": "its tuned linear candidate alone",
            "ratio": ours / rival,
            "reach": "as it is",
            "seconds": {"ours": ours, "rival": rival},
            "setting": f"{N_FEATURES} response features",
        }
    with threadpool_limits(1):
        narrow, wide = (
            min(seconds(GPRewardRegressor(), draw(300, d, 0)) for _ in range(args.repeats))
            for d in (1024, 4096)
        )
    yield {
        "what": "GPRewardRegressor.fit, d = 4096",
        "rival": "d = 1024",  # 4 times the time is linear in d, 16 times quadratic
        "ratio": wide / narrow,
        "reach": "<= 6",
        "seconds": {"ours": wide, "rival": narrow},
        "setting": "N = 300, one thread",
    }
