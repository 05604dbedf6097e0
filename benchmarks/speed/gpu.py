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
    LLMEmbedder,
)

from .embedding import LENGTH, read_texts
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


def embeddings(args):
    """Yield the rows of a decoder's embeddings, and its share of the card's peak."""
    if args.model is None or args.data is None:
        print("embedding: not run; give --model FOLDER and --data FOLDER")
        return
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    texts = read_texts(args.data, args.texts)
    options = dict(layer=-1, pooling="mean", max_length=LENGTH, dtype="bfloat16", device="cuda")
    embedder = LLMEmbedder(args.model, show_progress=False, **options).fit()
    word = Transformer(args.model, max_seq_length=LENGTH)
    word.auto_model.to(torch.bfloat16)
    if word.tokenizer.pad_token is None:
        word.tokenizer.pad_token = word.tokenizer.eos_token
    word.tokenizer.chat_template = None  # it would put plain texts into a conversation
    pooling = Pooling(word.auto_model.config.hidden_size, "mean")
    rival = SentenceTransformer(modules=[word, pooling], device="cuda")
    sizes = {size: np.inf for size in (32, 128, 512)}  # 32 is its default
    embedder.transform(texts[:512]), rival.encode(texts[:512])
    mine = seconds(embedder.transform, texts)
    for size in sizes:
        sizes[size] = seconds(rival.encode, texts, batch_size=size, show_progress_bar=False)
    gap = embedder.transform(texts[:64]) - rival.encode(texts[:64])
    scale = np.abs(rival.encode(texts[:64])).max()
    if not np.abs(gap).max() < 0.1 * scale:  # bfloat16 rounds to a percent
        raise RuntimeError("the two do not embed the same texts, so their times say nothing.")
    tokens = sum(len(ids) for ids in embedder_tokens(args.model, texts))
    body = [p for p in word.auto_model.parameters() if p.ndim == 2]
    body = sum(p.numel() for p in body) - word.auto_model.get_input_embeddings().weight.numel()
    rate, peak = 2 * body * tokens / mine, peak_rate(word.auto_model.config)
    setting = (
        f"{len(texts)} responses, {tokens} tokens, at most {LENGTH} each, bfloat16; largest "
        f"difference {np.abs(gap).max() / scale:.1e} of the largest value"
    )
    what = "LLMEmbedder.transform on a GPU"
    for size, theirs in sizes.items():
        reach = ">= 1.5" if size == 32 else ""
        yield row(what, f"sentence-transformers, batch {size}", theirs, mine, reach, setting)
    yield row(f"{what}: operations", "measured peak", rate / 1e12, peak / 1e12, "", setting)


def embedder_tokens(model, texts):
    """Return the token ids of texts as both embed them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return tokenizer(texts, truncation=True, max_length=LENGTH)["input_ids"]


def peak_rate(config, rows=32768):
    """Return the products a second, times two, of the network's largest shape in bfloat16."""
    x = torch.randn(rows, config.hidden_size, device="cuda", dtype=torch.bfloat16)
    weight = torch.randn(config.hidden_size, config.intermediate_size, device="cuda").to(x)
    x @ weight

    def products():
        for _ in range(100):
            x @ weight

    return 100 * 2 * x.numel() * config.intermediate_size / seconds(products, repeats=3)


def measure(args):
    """Yield the rows of the table."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(args.n_pairs, 2, args.features)).astype(np.float32)
    parts = {
        "whole": lambda: whole_fits(args, pairs),
        "reward": lambda: reward_alone(args, pairs),
        "grid": lambda: grid(args, pairs),
        "gp": lambda: gaussian_processes(args),
        "embedding": lambda: embeddings(args),
    }
    for name in args.gpu_parts or parts:
        for line in parts[name]():
            print(line, flush=True)
            yield line
