"""How long the small Table 1 should take: operations counted, and a short calibration."""

import time

import numpy as np
import torch

from lens_sklearn._device import torch_device
from lens_sklearn._language_model import resolve_model

from .paper import n_draws
from .small import ENCODER, PAIRS_A_PROMPT, count_tokens
from .systems import LABELLERS, ROWS

RUBRIC = 100  # tokens of a judge's question besides prompt and responses
ENCODED = 256  # tokens of a text of the labeller, at most
OTHER = 0.5  # minutes of all that is not a language model's


def small_estimate(setting, names):
    """Return expected minutes of ``--size small`` by part, for one seed.

    Parameters
    ----------
    setting : Setting
        What would be run.
    names : list of str
        Rows.

    Returns
    -------
    dict of str to float
        Minutes a part.
    """
    speed = calibrate(setting.base, setting.max_length)
    rows = [ROWS[name] for name in names if name in ROWS]
    more = [factor for factor in setting.factors if factor > 1]
    labellers = {r.synthesis for r in rows if r.synthesis in LABELLERS} if more else set()
    n, k, new = len(setting.pairs), setting.n_samples, setting.max_new_tokens
    draws = n_draws(setting.factors)
    test = _mean_tokens(setting.candidates, setting.base)
    pair = _mean_tokens(
        [{"prompt": r["prompt"], "responses": [r["chosen"], r["rejected"]]} for r in setting.pairs],
        setting.base,
    )
    prompt = _mean_tokens([{"prompt": r["prompt"], "responses": [""]} for r in setting.pairs],
                          setting.base)  # fmt: skip
    sampled = prompt + new
    tokens = _judged(labellers, k, prompt, new)
    judged = 3 * 4 * new * ("rubric" in labellers)  # tokens that a judge writes of a response
    # Rows of factor k: the originals and (k - 1) n synthetic ones, two texts each.
    original, synthetic = 2 * n * pair, 2 * n * sampled * sum(f - 1 for f in more)
    tuned = [row for row in rows if row.model != "mlp"]
    trained = len(tuned) * (len(more) * original + synthetic)
    trained += original * len({row.model for row in tuned}) * (1 in setting.factors)
    evolved = len(labellers & {"self-evolved", "best against worst"})
    trained += evolved * (4 * original + 3 * 2 * n * sampled)
    fits = len(tuned) * len(more) + len({row.model for row in tuned}) * (1 in setting.factors)
    n_test = int(np.isfinite(setting.gold_rewards).sum())
    embedded = n_test * test + original + 2 * n * sampled * max(more, default=1)
    epochs = setting.full.get("max_epochs", 1)
    return {
        "the labeller's embeddings": _labeller_texts(setting) * ENCODED * speed["encode"] / 60,
        "sampling": draws * n * k * (bool(labellers) * new + judged) * speed["sample"] / 60,
        "labelling": draws * n * tokens * speed["read"] / 60,
        "fine-tuning": epochs * trained * speed["train"] / 60,
        "scoring test responses, a fit each": fits * n_test * test * speed["read"] / 60,
        "embeddings of the base model": embedded * speed["read"] / 60,
        "the rest": OTHER,
    }


def _judged(labellers, k, prompt, new):
    """Return how many tokens all labellers read of a prompt's k responses."""
    one = {"likelihood": prompt + new, "p_yes": RUBRIC + prompt + new}
    one["pointwise"] = one["p_yes_plain"] = one["p_yes"]
    tokens = sum(k * one[name] for name in labellers if name in one)
    if "pairwise" in labellers:
        tokens += k * (k - 1) * (RUBRIC + prompt + 2 * new)
    return tokens + 4 * k * (prompt + new) * len(labellers & {"self-evolved", "best against worst"})


def _labeller_texts(setting):
    """Return how many texts the labeller embeds: of all published prompts that are not used."""
    if ENCODER not in setting.labeller:
        return 0
    used = len(setting.pairs) + len(setting.candidates)
    return 2 * PAIRS_A_PROMPT * max(505 - used, 0)


def _mean_tokens(rows, base):
    return float(np.mean(np.concatenate(count_tokens(rows, base))))


def calibrate(base, length):
    """Measure a model on this machine, in seconds a token.

    Parameters
    ----------
    base : str
        The language model.
    length : int
        Tokens of a text.

    Returns
    -------
    dict of str to float
        ``read``, ``train`` and ``sample`` of the base model, ``encode`` of the labeller's.
    """
    from transformers import AutoModel

    speed = _decoder_speed(base, length)
    encoder = AutoModel.from_pretrained(resolve_model(ENCODER).name).to(torch_device("auto"))
    ids = torch.randint(10, encoder.config.vocab_size, (8, 128), device=encoder.device)
    with torch.inference_mode():
        encode = _seconds(lambda: encoder(ids).last_hidden_state.sum().item())
    return speed | {"encode": encode / ids.numel()}


def _decoder_speed(base, length):
    from transformers import AutoModelForCausalLM, GenerationConfig

    network = AutoModelForCausalLM.from_pretrained(resolve_model(base).name, dtype=torch.float32)
    network = network.to(torch_device("auto"))
    body = network.base_model
    ids = torch.randint(10, network.config.vocab_size, (2, length), device=network.device)
    with torch.inference_mode():
        read = _seconds(lambda: body(ids, use_cache=False).last_hidden_state.sum().item())
    optimizer = torch.optim.AdamW(body.parameters(), lr=0.0)

    def step():
        body(ids, use_cache=False).last_hidden_state.mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    train = _seconds(step)
    few = ids[:, :32].repeat(8, 1)
    greedy = GenerationConfig(
        max_new_tokens=8, min_new_tokens=8, do_sample=False, pad_token_id=0, eos_token_id=1
    )
    options = {"attention_mask": torch.ones_like(few), "generation_config": greedy}
    sample = _seconds(lambda: network.generate(few, **options))
    n_read, n_sampled = ids.numel(), 8 * len(few)
    return {"read": read / n_read, "train": train / n_read, "sample": sample / n_sampled}


def _seconds(compute):
    compute()  # the first call is slower
    start = time.perf_counter()
    compute()
    return time.perf_counter() - start
