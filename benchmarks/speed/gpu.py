"""What a GPU is good for: whole fits, rewards alone, a grid, Gaussian processes, embeddings.

Needs one; ``run.py`` leaves this part out elsewhere. All rivals run on the same card, and those
on the CPU on two of its machine's cores.
"""

import time

import numpy as np
import torch
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback
from threadpoolctl import threadpool_limits

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    ContrastiveVAE,
    GPRewardRegressor,
    LatentPairAugmenter,
)

from .fit import ours
from .gpu_script import fit, train, train_captured

GRID = {"augment__vae__gamma": [0, 0.1, 0.5, 1.0], "augment__noise_variance": [1e-3, 0.01, 0.1, 1]}
THREADS = 8  # networks of a grid that train side by side


class EveryBatch(Callback):
    """Listens to batches, so that a net trains by skorch's own loop."""

    def on_batch_end(self, net, **kwargs):
        """Do nothing."""


def seconds(function, *args, repeats=1, **kwargs):
    """Return the median seconds of a call."""
    taken = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        function(*args, **kwargs)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def row(what, rival, theirs, mine, reach, setting, **more):
    """Return a row of the table."""
    return {
        "what": what, "rival": rival, "ratio": theirs / mine, "reach": reach, "setting": setting,
        "seconds": {"ours": mine, "rival": theirs} | more,
    }  # fmt: skip


def whole_fits(args, pairs):
    """Yield the rows of the whole fit."""
    runs = {"ours": [], "plain": [], "fused": [], "captured": []}
    for repeat in range(1 + args.repeats):
        times = {
            "ours": ours(pairs, args.factor, args.epochs)[0],
            "plain": fit(pairs, args.factor, args.epochs, train),
            "fused": fit(pairs, args.factor, args.epochs, train, fused=True),
            "captured": fit(pairs, args.factor, args.epochs, train_captured),
        }
        if repeat:  # the first compiles and loads
            for name, stages in times.items():
                runs[name].append(stages)
    stages = {name: np.median(values, axis=0) for name, values in runs.items()}
    whole = {name: float(values.sum()) for name, values in stages.items()}
    names = "autoencoder", "synthesis", "reward"
    detail = {
        f"{name}_{who}": float(value)
        for who, values in stages.items()
        for name, value in zip(names, values, strict=True)
    }
    setting = (
        f"N = {len(pairs)}, d = {pairs.shape[-1]}, factor {args.factor}, {args.epochs[0]} + "
        f"{args.epochs[1]} epochs, median of {args.repeats}"
    )
    what, mine = "whole fit on a GPU", whole["ours"]
    yield row(
        what, "research script, tensors on it", whole["plain"], mine, ">= 8", setting, **detail
    )
    yield row(what, "the same with fused Adam", whole["fused"], mine, "", setting)
    hand = whole["captured"]
    yield row(f"{what}: time", "captured by hand", mine, hand, "<= 1.5", setting) | {
        "seconds": {"ours": mine, "rival": hand}
    }


def reward_alone(args, pairs):
    """Yield the row of a reward with all that it has."""
    vae = ContrastiveVAE(max_epochs=2, random_state=0)
    augmented = LatentPairAugmenter(vae, factor=args.factor, random_state=0).fit_transform(pairs)
    rng = np.random.default_rng(0)
    target, weight = rng.uniform(size=len(pairs)), rng.uniform(0.5, 2, size=len(pairs))
    options = dict(max_epochs=args.epochs[1], patience=args.epochs[1], random_state=0)

    def learn(**more):
        return BTRewardRegressor(**options, **more).fit(augmented, target, sample_weight=weight)

    learn(), learn(callbacks=[EveryBatch()])
    mine = seconds(learn, repeats=args.repeats)
    theirs = seconds(learn, callbacks=[EveryBatch()], repeats=args.repeats)
    gap = abs(learn().predict(pairs) - learn(callbacks=[EveryBatch()]).predict(pairs)).max()
    setting = (
        f"N = {len(pairs)}, d = {pairs.shape[-1]}, factor {args.factor}, soft targets, weights, "
        f"early stopping; largest difference of rewards {gap:.1e}"
    )
    yield row("reward on a GPU", "itself, not captured", theirs, mine, ">= 5", setting)


def grid(args, pairs):
    """Yield the row of a search."""
    vae = ContrastiveVAE(max_epochs=args.epochs[0], random_state=0)
    augment = LatentPairAugmenter(vae, factor=4, random_state=0)
    reward = BTRewardRegressor(max_epochs=args.epochs[1], early_stopping=False, random_state=0)
    pipeline = Pipeline([("augment", augment), ("reward", reward)])

    def search(n_jobs):
        with parallel_config(backend="threading", n_jobs=n_jobs):
            GridSearchCV(pipeline, GRID, cv=5, refit=False).fit(pairs)

    in_turn, beside = seconds(search, 1), seconds(search, THREADS)
    setting = f"N = {len(pairs)}, d = {pairs.shape[-1]}, factor 4, 80 fits, {THREADS} threads"
    yield row("grid of 80 fits on a GPU", "one after another", in_turn, beside, ">= 2", setting)


def gaussian_processes(args):
    """Yield the rows of rewards that are linear algebra."""
    n, d = args.gp
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(n, 2, d)).astype(np.float32)
    pairs[:, 0] += 0.05 * rng.normal(size=d).astype(np.float32)
    setting = f"N = {n}, d = {d}, once each"
    for reward in (GPRewardRegressor, AutoRewardRegressor):
        small = pairs[:200, :, :64]
        reward(random_state=0, device="cuda").fit(small)
        mine = seconds(reward(random_state=0, device="cuda").fit, pairs)
        threads = torch.get_num_threads()
        torch.set_num_threads(2)
        with threadpool_limits(2):
            theirs = seconds(reward(random_state=0, device="cpu").fit, pairs)
        torch.set_num_threads(threads)
        yield row(f"{reward.__name__} on a GPU", "two cores", theirs, mine, ">= 5", setting)


def measure(args):
    """Yield the rows of the table."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(args.n_pairs, 2, args.features)).astype(np.float32)
    parts = {
        "whole": lambda: whole_fits(args, pairs),
        "reward": lambda: reward_alone(args, pairs),
        "grid": lambda: grid(args, pairs),
        "gp": lambda: gaussian_processes(args),
    }
    for name in args.gpu_parts or parts:
        for line in parts[name]():
            print(line, flush=True)
            yield line
