"""Synthesis of pairs in latent space beside text generation by a small language model.

The language model is random and built here, a Qwen2 of 8 layers and 512 features: what it
writes is nonsense, but the time of a token does not depend on what it says. Its speed is
measured over `NEW_TOKENS` tokens of a batch and extrapolated to all the responses.
"""

import time

import numpy as np
import torch

from lens_sklearn import LatentPairAugmenter

from .fit import TimedVAE

PAPER_SECONDS = 0.2 * 3600  # its Table 2: generation of the same pairs on one A100
CONFIG = dict(
    vocab_size=32_000, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
    num_attention_heads=8, num_key_value_heads=2,
)  # fmt: skip
BATCH, PROMPT_TOKENS, NEW_TOKENS = 32, 64, 32
RESPONSE_TOKENS = 128


def tokens_per_second():
    """Return how fast the model writes, and its number of weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    model = Qwen2ForCausalLM(Qwen2Config(**CONFIG)).eval()
    prompts = torch.randint(100, 32_000, (BATCH, PROMPT_TOKENS))
    options = dict(do_sample=True, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS)
    options |= dict(attention_mask=torch.ones_like(prompts), pad_token_id=0, eos_token_id=1)
    with torch.inference_mode():
        model.generate(prompts[:, :4], **options | dict(attention_mask=torch.ones(BATCH, 4)))
        start = time.perf_counter()
        model.generate(prompts, **options)
    seconds = time.perf_counter() - start
    return BATCH * NEW_TOKENS / seconds, sum(p.numel() for p in model.parameters())


def measure(args):
    """Yield the rows of the table."""
    pairs = np.random.default_rng(0).normal(size=(1000, 2, 4096)).astype(np.float32)
    vae = TimedVAE(max_epochs=args.epochs[0], random_state=0)
    augmenter = LatentPairAugmenter(vae, factor=8, random_state=0)
    times = [time.perf_counter()]
    augmented = augmenter.fit_transform(pairs)
    times.append(time.perf_counter())
    np.asarray(augmented)
    times.append(time.perf_counter())
    both, decoded = np.diff(times)
    learnt = augmenter.vae_.seconds_
    speed, n_weights = tokens_per_second()
    n_texts = 2 * int(augmented.is_synthetic.sum())
    text = n_texts * RESPONSE_TOKENS / speed
    detail = {"fit_vae": learnt, "sample": both - learnt, "decode_all": decoded, "text": text,
              "tokens_per_second": speed, "model_weights": n_weights}  # fmt: skip
    for rival, seconds in (
        ("text by a small model, extrapolated", text),
        ("the paper's 0.2 h (A100)", PAPER_SECONDS),
    ):
        yield {
            "what": "synthesis of 8,000 pairs, autoencoder included", "rival": rival,
            "ratio": seconds / both, "reach": "seconds", "detail": detail,
            "seconds": {"ours": both, "rival": seconds},
            "setting": f"N = 1000, d = 4096, factor 8; {n_texts} texts of {RESPONSE_TOKENS} "
            f"tokens, random Qwen2 {CONFIG}",
        }  # fmt: skip
