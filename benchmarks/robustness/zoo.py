"""A small fitted model of every class that can be saved, and a language model of some words."""

from functools import cache

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from lens_sklearn import (
    AutoRewardRegressor,
    BTRewardRegressor,
    ContrastiveVAE,
    DifferenceAugmenter,
    DirectNoiseAugmenter,
    DistillationAugmenter,
    EmbeddingScaler,
    GaussianAugmenter,
    GPRewardRegressor,
    LatentPairAugmenter,
    LinearRewardRegressor,
    LLMEmbedder,
    PairClassifier,
    RepeatAugmenter,
    ResponseFeatures,
    ResponseViews,
    RewardEnsemble,
    VotingRewardRegressor,
    WithinPromptWhitening,
)
from lens_sklearn.datasets import make_preference_pairs

WORDS = "a the cat dog sat ran on mat and so why how yes no red blue it is good bad".split()
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
)
N_FEATURES = 6


def save_language_model(folder):
    """Write a decoder with random weights, a tokenizer of words and a chat template.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.

    Returns
    -------
    str
        The folder.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        pad_token_id=0, eos_token_id=2, bos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def some_rows(n):
    """Return preference rows of known words.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    list of dict
        ``prompt``, ``chosen`` and ``rejected``.
    """
    draws = np.random.default_rng(0)

    def text():
        return " ".join(draws.choice(WORDS, draws.integers(3, 12)))

    return [{"prompt": text(), "chosen": text(), "rejected": text()} for _ in range(n)]


@cache
def toy():
    """Return labelled toy data.

    Returns
    -------
    Bunch
        As :func:`lens_sklearn.datasets.make_preference_pairs` returns it.
    """
    return make_preference_pairs(n_pairs=24, n_features=N_FEATURES, random_state=0)


def fitted_models(language_model, names=None):
    """Fit a model of every class that :mod:`lens_sklearn.export` knows.

    Parameters
    ----------
    language_model : str
        As :func:`save_language_model` returns it.
    names : sequence of str, default=None
        Which of them; None for all.

    Returns
    -------
    dict of str to estimator
        By name; each class is in one of them.
    """
    pairs = toy().pairs
    net = BTRewardRegressor(4, max_epochs=2, random_state=0)
    vae = ContrastiveVAE(2, 4, max_epochs=1, random_state=0)
    rewards = [("net", net), ("linear", LinearRewardRegressor())]
    models = {
        "pipeline": Pipeline(
            [("scale", EmbeddingScaler()), ("augment", GaussianAugmenter(factor=2)), ("fit", net)]
        ),
        "vae": vae,
        "latent": LatentPairAugmenter(vae, factor=2, random_state=0),
        "ordered": LatentPairAugmenter(
            vae, factor=2, decode="residual", keep="ordered", reward=net, random_state=0
        ),
        "distillation": DistillationAugmenter(factor=2, random_state=0),
        "difference": DifferenceAugmenter(factor=2, random_state=0),
        "noise": DirectNoiseAugmenter(factor=2, random_state=0),
        "repeat": RepeatAugmenter(factor=2),
        "whitening": WithinPromptWhitening(),
        "linear": LinearRewardRegressor(n_response_features=2),
        "net": clone(net).set_params(n_response_features=2),
        "gp": GPRewardRegressor(n_response_features=2, controlled=(-1,)),
        "auto": AutoRewardRegressor(n_response_features=2, random_state=0),
        "vote": VotingRewardRegressor(rewards),
        "ensemble": RewardEnsemble(rewards),
        "classifier": PairClassifier(LinearRewardRegressor()),
    }
    names = [*models, "text"] if names is None else names
    fitted = {name: clone(models[name]).fit(pairs) for name in names if name in models}
    if "text" not in names:
        return fitted
    embedder = LLMEmbedder(language_model, device="cpu", log_likelihood=True)
    views = ResponseViews(embedder, ResponseFeatures(["log_words", "finished"]))
    reward = LinearRewardRegressor(n_response_features=3)
    return fitted | {"text": make_pipeline(views, reward).fit(some_rows(12))}
