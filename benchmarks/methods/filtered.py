"""Repeated pairs in the metric of unlabelled responses: what they give to a plain network."""

from dataclasses import replace

from lens_sklearn import WithinPromptWhitening

from . import repeat


def fit(split, seed):
    metric = WithinPromptWhitening(random_state=seed).fit(split.pairs, unlabeled=split.unlabeled)
    in_metric = replace(split, pairs=metric.transform(split.pairs))
    score = repeat.fit(in_metric, seed, output_init="zero")
    return lambda X: score(metric.transform(X))
