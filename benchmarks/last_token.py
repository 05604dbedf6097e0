"""Which token "last" should read: what ends the text, the turn or the answer.

::

    python -m benchmarks.last_token --data FOLDER --model FOLDER

Chat templates such as ChatML write a line break behind the token that ends a turn, so that the last
token of a text is a line break. One forward pass reads the states of all three tokens; the same
pairs, splits by prompt and tuned linear reward then learn from each.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from lens_sklearn import EmbeddingScaler, LinearRewardRegressor
from lens_sklearn._hidden_states import batches_by_tokens, pad_right, pool
from lens_sklearn._language_model import get_language_model, resolve_model, template_text
from lens_sklearn._reading import read_layers
from lens_sklearn._response_span import ends_of_turns, tokenize_texts
from lens_sklearn._statistics import clustered_mean
from lens_sklearn.metrics import pair_accuracy_score

from .datasets._texts import read_rows

TOKENS = ("of the text", "of the turn", "of the answer")
MIN_MARGIN = 0.1  # of gold, between the responses of a pair


def alpaca_pairs(rows, model, n_prompts, max_length):
    """Return texts, pairs (n, 2) of their numbers with the better one first, and prompts (n,).

    Of each prompt's responses whose texts are not cut, four are taken that are spread evenly over
    the ranks of gold: most short ones are at its lower end alike.
    """
    texts, pairs, groups, prompt = [], [], [], 0
    for row in rows:
        if prompt == n_prompts:
            break
        talks, gold = [_talk(row["prompt"], text) for text in row["responses"]], row["gold"]
        whole = [j for j, own in enumerate(_tokens(model, talks)[0]) if len(own) <= max_length]
        if len(whole) < 4:
            continue
        ranked = sorted(whole, key=lambda j: -gold[j])
        kept = [ranked[i] for i in np.linspace(0, len(ranked) - 1, 4).round().astype(int)]
        ordered = [
            (len(texts) + a, len(texts) + b)
            for a, b in itertools.combinations(range(4), 2)
            if gold[kept[a]] - gold[kept[b]] > MIN_MARGIN
        ]
        if ordered:
            pairs += ordered
            groups += len(ordered) * [prompt]
            texts += [talks[j] for j in kept]
            prompt += 1
    return texts, np.array(pairs), np.array(groups)


def hh_pairs(rows, model, n_pairs, max_length):
    """Return texts, pairs (n, 2) of their numbers with the chosen one first, and prompts (n,)."""
    texts, groups, prompts = [], [], {}
    for row in rows:
        if len(groups) == n_pairs:
            break
        talks = [_talk(row["prompt"], row[name]) for name in ("chosen", "rejected")]
        if max(len(i) for i in _tokens(model, talks)[0]) <= max_length:
            texts += talks
            groups.append(prompts.setdefault(row["prompt"], len(prompts)))
    return texts, np.arange(len(texts)).reshape(-1, 2), np.array(groups)


def _talk(prompt, response):
    return (("user", prompt), ("assistant", response))


def _tokens(model, talks):
    """Return token ids that are not cut, and the responses' spans."""
    template = template_text("auto", model.tokenizer)
    ids, _, spans = tokenize_texts(model, talks, template, 10**9, str, with_spans=True)
    return ids, spans


def last_tokens(model, ids, spans):
    """Return where the three tokens are, shape (n, 3), in the order of `TOKENS`."""
    text = [len(own) - 1 for own in ids]
    return np.stack([text, ends_of_turns(model, ids, spans), spans[:, 1] - 1], axis=1)


def embed(model, texts, layers, batch_tokens=2048):
    """Return states of the three tokens (n, layers, 3, h), and responses' means (n, layers, h)."""
    ids, spans = _tokens(model, texts)
    where = torch.from_numpy(last_tokens(model, ids, spans))
    states, means = [None] * len(ids), [None] * len(ids)
    for batch in batches_by_tokens([len(own) for own in ids], batch_tokens):
        tokens, mask = map(torch.from_numpy, pad_right([ids[i] for i in batch], model.pad_id))
        with torch.inference_mode():
            hidden = model.network(
                input_ids=tokens, attention_mask=mask, output_hidden_states=True
            ).hidden_states
        rows, starts = torch.arange(len(batch))[:, None], torch.from_numpy(spans[batch, 0])
        last = torch.stack([hidden[layer][rows, where[batch]] for layer in layers], dim=1)
        mean = [pool(hidden[layer], mask, "response_mean", starts) for layer in layers]
        for i, one, other in zip(batch, last, torch.stack(mean, dim=1), strict=True):
            states[i], means[i] = one.float(), other
    return torch.stack(states).numpy(), torch.stack(means).numpy()


def accuracies(embeddings, pairs, groups, n_splits):
    """Return the pair accuracy of a tuned linear reward on each split by prompt."""
    found, prompts = [], np.unique(groups)
    for seed in range(n_splits):
        test = np.isin(groups, np.random.RandomState(seed).permutation(prompts)[::3])
        scaler = EmbeddingScaler().fit(embeddings[pairs[~test]])
        scaled = scaler.transform(embeddings[pairs])
        reward = LinearRewardRegressor().fit(scaled[~test], groups=groups[~test])
        found.append(pair_accuracy_score(reward.predict(scaled[test])))
    return np.array(found)


def report(name, model, texts, pairs, groups, n_splits):
    """Print the accuracy of each reading, and its difference to the last token of the text."""
    layers = (*read_layers("auto", model.n_hidden_states, True), model.n_hidden_states - 1)
    states, means = embed(model, texts, layers)
    print(f"{name}: {len(pairs)} pairs of {len(np.unique(groups))} prompts, {n_splits} splits")
    for j, layer in enumerate(layers):
        for beside in ("", " and response_mean"):
            first = None
            for k, token in enumerate(TOKENS):
                parts = [states[:, j, k]] + ([means[:, j]] if beside else [])
                found = accuracies(np.concatenate(parts, axis=1), pairs, groups, n_splits)
                first = found if first is None else first
                gain = clustered_mean(found - first, np.arange(n_splits))
                print(
                    f"layer {layer}, last {token}{beside}: {found.mean():.4f}, "
                    f"{gain.mean:+.4f} ± {gain.half_width:.4f}",
                    flush=True,
                )


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.last_token", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", required=True, help="folder of a decoder with a chat template")
    parser.add_argument("--prompts", type=int, default=120, help="of AlpacaEval")
    parser.add_argument("--pairs", type=int, default=300, help="of HH-RLHF")
    parser.add_argument("--max-length", type=int, default=256, help="longer texts are left out")
    parser.add_argument("--splits", type=int, default=10)
    return parser


def main(argv=None):
    """Measure both data sets."""
    args = parser().parse_args(argv)
    model = get_language_model(resolve_model(args.model, dtype="float32", device="cpu"))
    for name, make, n in (("alpaca", alpaca_pairs, args.prompts), ("hh", hh_pairs, args.pairs)):
        found = make(read_rows(name, args.data), model, n, args.max_length)
        report(name, model, *found, args.splits)


if __name__ == "__main__":
    main()
