"""Several reward networks trained at once by `torch.func` beside one after the other.

A grid trains its networks each on batches of its own; an ensemble may share the batches and
differ by initial weights alone. Both are measured against the plain loop of one network, and
weights are compared: a ratio between two different trainings would say nothing. One thread, and
its CPU time, which other processes disturb least.
"""

import copy
import time

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

K, PAIRS, WIDTH, BATCH, RATE = 8, 1000, 256, 128, 1e-4
SIZES = {32: 40, 384: 12, 4096: 2}  # features: epochs of one measurement
CHECKED = 100, 2  # features and epochs of the comparison in float64


def networks(features):
    """Return K networks that differ by their initial weights."""
    made = []
    for seed in range(K):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = nn.Linear(features, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1), nn.Flatten(-2)
            made.append(nn.Sequential(*layers))
    return made


def orders(epochs, shared):
    """Return the rows of every batch, shape (K, rows), step by step."""
    drawn = []
    for seed in range(K):
        generator = torch.Generator().manual_seed(0 if shared else seed)
        epoch = [torch.randperm(PAIRS, generator=generator).split(BATCH) for _ in range(epochs)]
        drawn.append([rows for batches in epoch for rows in batches])
    return [torch.stack(rows) for rows in zip(*drawn, strict=True)]


def optimizer(parameters):
    """Return BTRewardRegressor's optimizer."""
    return torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0, fused=True)


def loss_of(rewards):
    """Return BTRewardRegressor's loss of a batch without targets and weights of its own."""
    return nn.functional.softplus(rewards[:, 1] - rewards[:, 0]).mean()


def in_turn(pairs, models, steps):
    """Train one network after the other."""
    for number, model in enumerate(models):
        adam = optimizer(model.parameters())
        for rows in steps:
            adam.zero_grad()
            loss_of(model(pairs[rows[number]])).backward()
            adam.step()
    return {name: p.detach() for name, p in stack_module_state(models)[0].items()}


def at_once(pairs, models, steps, shared):
    """Train all networks in one loop over stacked weights."""
    weights, _ = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(weights, batch):
        return loss_of(functional_call(skeleton, weights, batch))

    gradients = vmap(grad(loss), in_dims=(0, None if shared else 0))
    adam = optimizer(weights.values())
    for rows in steps:
        batch = pairs[rows[0] if shared else rows]  # (b, 2, d) or (K, b, 2, d)
        detached = {name: p.detach() for name, p in weights.items()}
        for name, gradient in gradients(detached, batch).items():
            weights[name].grad = gradient
        adam.step()
    return {name: p.detach() for name, p in weights.items()}


def difference(one, other):
    """Return the largest difference of two sets of weights."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def check(shared):
    """Compare both trainings in float64, where rounding is far below a step of Adam."""
    features, epochs = CHECKED
    pairs = torch.randn(PAIRS, 2, features, generator=torch.Generator().manual_seed(0)).double()
    steps = orders(epochs, shared)
    start = [model.double() for model in networks(features)]
    moved = in_turn(pairs, copy.deepcopy(start), steps)
    gap = difference(moved, at_once(pairs, copy.deepcopy(start), steps, shared))
    initial = {name: p.detach() for name, p in stack_module_state(start)[0].items()}
    assert gap < 1e-9 < RATE < difference(moved, initial), (shared, gap)


def timed(function, *args):
    """Return the CPU seconds and the weights of a training."""
    start = time.process_time()
    weights = function(*args)
    return time.process_time() - start, weights


def measure(args):
    """Yield the rows of the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for shared in (False, True):
        check(shared)
    yield from rows_of_table(args.repeats)
    torch.set_num_threads(threads)


def rows_of_table(repeats):
    """Measure every size with batches of each kind."""
    generator = torch.Generator().manual_seed(0)
    for features, epochs in SIZES.items():
        pairs = torch.randn(PAIRS, 2, features, generator=generator)
        for shared in (False, True):
            steps, seconds = orders(epochs, shared), {"ours": [], "rival": []}
            at_once(pairs, networks(features), steps[:2], shared)
            for _ in range(repeats):  # in turns: the clock may drift
                lone, one = timed(in_turn, pairs, networks(features), steps)
                joint, other = timed(at_once, pairs, networks(features), steps, shared)
                seconds["ours"].append(joint), seconds["rival"].append(lone)
            gap = difference(one, other)
            assert gap < RATE, gap  # float32 rounds, but no weight is a whole step apart
            batches = "shared batches" if shared else "own batches"
            middle = {who: float(np.median(values)) for who, values in seconds.items()}
            yield {
                "what": f"{K} networks at once, d = {features}: {batches}",
                "rival": "one after the other", "ratio": middle["rival"] / middle["ours"],
                "reach": "", "seconds": middle,
                "setting": f"N = {PAIRS}, {WIDTH} hidden units, batch {BATCH}, {epochs} epochs, "
                f"one thread, CPU seconds, median of {repeats}; largest difference of weights "
                f"{gap:.1e}",
            }  # fmt: skip
