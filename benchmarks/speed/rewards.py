"""What rewards of both views cost, and how a Gaussian process grows in d and in pairs.

The last rows take minutes: their sizes are ``--many-pairs N D``.
"""

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


def draw_many(n_pairs, d, n_test, seed):
    """Return pairs and test pairs whose reward bends, judged with noise."""
    rng = np.random.default_rng(seed)
    scale = (1 + np.arange(d)) ** -0.35  # variances decay as those of a language model's states
    X = rng.normal(size=(n_pairs + n_test, 1, d)) + 0.7 * rng.normal(size=(n_pairs + n_test, 2, d))
    X *= scale
    straight, bent = rng.normal(size=(1, d)), rng.normal(size=(16, d))
    straight, bent = (w / np.linalg.norm(w * scale, axis=1)[:, None] for w in (straight, bent))
    reward = 3 * (X @ straight[0]) + 6 * abs(X @ bent.T).mean(axis=-1)
    reward += rng.logistic(size=(len(X), 1)) * [0.5, -0.5]
    swapped = reward[:, 0] < reward[:, 1]
    X[swapped] = X[swapped, ::-1]
    return X[:n_pairs].astype(np.float32), X[n_pairs:].astype(np.float32)


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
    yield from measure_many(*args.many_pairs, args.repeats)


def measure_many(n_pairs, d, n_seeds, n_drawn=5000, n_test=5000):
    """Yield the rows of a Gaussian process of many pairs, against one of so many of them."""
    times, accuracies = np.empty((n_seeds, 2)), np.empty((n_seeds, 2))
    for seed in range(n_seeds):
        pairs, test = draw_many(n_pairs, d, n_test, seed)
        drawn = np.random.default_rng(seed).permutation(n_pairs)[:n_drawn]
        for number, given in enumerate((pairs, pairs[drawn])):
            reward = GPRewardRegressor(random_state=seed)
            times[seed, number] = seconds(reward, given)
            accuracies[seed, number] = reward.score(test)
    ours, rival = times.mean(axis=0)
    common = {
        "what": f"GPRewardRegressor.fit, {n_pairs} pairs, d = {d}",
        "rival": f"itself, of {n_drawn} drawn at random",
        "setting": f"{n_seeds} seeds, the mean; {n_test} pairs to test",
    }
    yield common | {
        "ratio": ours / rival,
        "reach": "<= 5",
        "seconds": {"ours": ours, "rival": rival},
    }
    ours, rival = accuracies.mean(axis=0)
    yield common | {
        "what": f"accuracy of that, {n_pairs} pairs",
        "ratio": ours / rival,
        "reach": ">= 1",
        "accuracy": {"ours": accuracies[:, 0].tolist(), "rival": accuracies[:, 1].tolist()},
    }
