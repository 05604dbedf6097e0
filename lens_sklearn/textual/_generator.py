"""Sample responses of a language model, the same whatever the batch, resumable from disk."""

import logging
import os
from collections import Counter
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._array_store import ArrayStore, store_keys
from .._device import draw_seed
from .._language_model import template_text
from .._rows import read_prompts
from .._warnings import warn
from ._conversations import as_messages
from ._networks import (
    headed_model,
    pad_left,
    report_overlong,
    run_batches,
    token_ids,
    truncate_left,
)

END = -1  # fills a stored response up to max_new_tokens

logger = logging.getLogger("lens_sklearn.textual")


class ResponseGenerator(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Sample responses to the prompts of rows with a causal language model.

    Every sample has a random generator of its own, seeded by ``random_state``, the prompt and
    the sample's number. So the responses depend neither on the batches nor on what was
    generated before an interruption, and no global seed is set. The network stays
    loaded until another is used (:func:`release_networks`).

    Parameters
    ----------
    model_name : str or Path, default="Qwen/Qwen2.5-0.5B-Instruct"
        Name on the Hugging Face Hub or a local folder.
    revision : str, default=None
        Commit, branch or tag of a Hub model.
    n_samples : int, default=16
        Responses a prompt.
    temperature : float, default=1.0
        Divides the logits; the paper samples at 1.
    top_p : float, default=1.0
        Samples among the likeliest tokens that have this much probability together.
    max_new_tokens : int, default=256
        Longest response.
    chat_template : "auto", str, None or False, default="auto"
        As in :class:`~lens_sklearn.LLMEmbedder`. Without a template the contents of a prompt
        are joined by line breaks and continued.
    overlong : {"truncate", "raise"}, default="truncate"
        What becomes of a prompt that leaves no room for ``max_new_tokens`` in the model's
        context: its beginning is cut and their number logged, or an error names the first.
    batch_tokens : int, default=16384
        Tokens of one batch, padding and the responses' room included. When memory runs out,
        batches are halved with a warning and the work goes on.
    dtype : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        Precision; "auto" is bfloat16 on CUDA and float32 on the CPU.
    device : str, default="auto"
        A torch device, or "accelerate", which spreads the layers over all devices there are.
        "auto" is the GPU if there is one, "accelerate" if there are several, else the CPU.
    store : str or Path, default=None
        A folder that keeps finished responses: a run that was killed resumes after its last
        batch and generates nothing twice. Needs a ``random_state``.
    random_state : int, RandomState instance or None, default=None
        Draws the samples.
    show_progress : bool, default=None
        Show a progress bar; None shows it on a terminal when there is much to do.

    Attributes
    ----------
    context_ : int
        The model's context in tokens.
    n_overlong_ : int
        How many prompts of the latest ``transform`` were cut.
    n_empty_ : int
        How many of its responses were empty, and left out.
    n_identical_ : int
        How many of its prompts got one and the same response all the time.
    n_generated_ : int
        How many responses it generated, the others being in the store.

    See Also
    --------
    TextPairSynthesizer : Makes preference pairs of the responses.

    Notes
    -----
    A sample is the arg max of ``logits / temperature`` plus Gumbel noise, which has exactly the
    distribution ``softmax(logits / temperature)``. Batches change logits by rounding, so in
    half precision a near tie may fall otherwise in another batch; in float32 this hardly
    happens. A GPU draws other noise than the CPU. Settings for sampling in the model's own
    ``generation_config.json`` are not applied, its end-of-sequence tokens are.

    Examples
    --------
    >>> from lens_sklearn.textual import ResponseGenerator
    >>> generator = ResponseGenerator(n_samples=4, random_state=0)
    >>> rows = generator.fit_transform([{"prompt": "Why is the sky blue?"}])  # doctest: +SKIP
    >>> sorted(rows[0]), len(rows[0]["responses"])  # doctest: +SKIP
    (['prompt', 'responses'], 4)
    """

    _parameter_constraints = {
        "model_name": [str, os.PathLike],
        "revision": [str, None],
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "top_p": [Interval(Real, 0, 1, closed="right")],
        "max_new_tokens": [Interval(Integral, 1, None, closed="left")],
        "chat_template": [str, None, Options(bool, {False})],
        "overlong": [StrOptions({"truncate", "raise"})],
        "batch_tokens": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "device": [str],
        "store": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "show_progress": ["boolean", None],
    }

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        revision=None,
        n_samples=16,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=256,
        chat_template="auto",
        overlong="truncate",
        batch_tokens=16384,
        dtype="auto",
        device="auto",
        store=None,
        random_state=None,
        show_progress=None,
    ):
        self.model_name = model_name
        self.revision = revision
        self.n_samples = n_samples
        self.temperature = temperature
        self.top_p = top_p
        self.max_new_tokens = max_new_tokens
        self.chat_template = chat_template
        self.overlong = overlong
        self.batch_tokens = batch_tokens
        self.dtype = dtype
        self.device = device
        self.store = store
        self.random_state = random_state
        self.show_progress = show_progress

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X=None, y=None):
        """Find the model and check that it fits the parameters; nothing is learnt.

        Parameters
        ----------
        X : rows of text, default=None
            Ignored.
        y : None
            Ignored.

        Returns
        -------
        ResponseGenerator
            Itself, fitted. Configuration and tokenizer are read, the weights are not yet.

        Raises
        ------
        ValueError
            If the context has no room for ``max_new_tokens``, or ``store`` is given without a
            ``random_state``.
        OSError
            If the model is not found, or the store cannot be written.
        """
        if self.store is not None:
            if self.random_state is None:
                raise ValueError(
                    "store is given and random_state is None: a resumed run would draw other "
                    "samples and find none of its own. Give an int random_state."
                )
            ArrayStore(self.store)
        self.context_ = headed_model(self, "causal").longest_input(np.iinfo(np.int32).max)
        if self.max_new_tokens >= self.context_:
            raise ValueError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a prompt: the model's "
                f"context has {self.context_} tokens."
            )
        self.n_overlong_ = self.n_empty_ = self.n_identical_ = self.n_generated_ = 0
        return self

    def transform(self, X):
        """Sample responses to the prompts of rows.

        Parameters
        ----------
        X : rows of text
            Preference or candidate rows, rows with a ``prompt`` alone, or a list of prompts.
            Where a prompt comes several times it gets further samples each time.

        Returns
        -------
        list of dict
            Candidate rows: ``prompt``, a list of messages, and ``responses``, a list of
            ``n_samples`` strings. Empty responses are left out.

        Raises
        ------
        ValueError
            If a row has no prompt, the chat template refuses one, or one is too long under
            ``overlong="raise"``; the message names the row.

        Warns
        -----
        UserWarning
            If responses are empty, or all responses to a prompt are identical.
        """
        check_is_fitted(self, "context_")
        prompts = read_prompts(X)
        model = headed_model(self, "causal")
        ids = token_ids(model, prompts, self.chat_template, _row, prompt=True)
        limit = self.context_ - self.max_new_tokens
        ids, overlong = truncate_left(model, ids, limit)
        if overlong.any() and self.overlong == "raise":
            raise ValueError(
                f"{_row(np.flatnonzero(overlong)[0])}: the prompt has more than {limit} tokens, "
                f"which with max_new_tokens={self.max_new_tokens} overruns the context of "
                f"{self.context_}; {overlong.sum()} prompts do. Lower max_new_tokens, or choose "
                "overlong='truncate'."
            )
        self.n_overlong_ = report_overlong(overlong, limit, _row)
        responses = self._sample(model, prompts, ids)
        self._report(responses)
        return [
            {
                "prompt": as_messages(prompt),
                "responses": [text for text in texts if text.strip()],
            }
            for prompt, texts in zip(prompts, responses, strict=True)
        ]

    def _sample(self, model, prompts, ids):
        """Return n_samples responses a prompt, those in the store without the network."""
        counts, samples = Counter(), []  # a sample: its prompt and its number
        for prompt in prompts:  # a prompt that comes again gets the samples that follow
            samples += [[prompt, counts[prompt] + j] for j in range(self.n_samples)]
            counts[prompt] += self.n_samples
        seed = draw_seed(self.random_state)
        # (n · n_samples, max_new_tokens); float32 holds whole numbers below 2²⁴ exactly
        tokens = np.full((len(samples), self.max_new_tokens), END, dtype=np.float32)
        in_store = np.zeros(len(samples), dtype=bool)
        if self.store is not None:
            store = ArrayStore(self.store)
            keys = store_keys(self._settings(model, seed), samples)
            tokens, in_store, _ = store.get_many(keys, self.max_new_tokens)
        missing = np.flatnonzero(~in_store)
        self.n_generated_ = len(missing)
        seeds = store_keys({"seed": seed}, [samples[i] for i in missing])
        missing_ids = [ids[i // self.n_samples] for i in missing]
        with model:
            for batch, new in run_batches(
                [len(i) + self.max_new_tokens for i in missing_ids],
                self.batch_tokens,
                lambda batch: self._generate(
                    model, [missing_ids[i] for i in batch], [seeds[i] for i in batch]
                ),
                show_progress=self.show_progress,
                desc="Generating",
            ):
                tokens[missing[batch]] = new
                if self.store is not None:
                    store.put_many([keys[missing[i]] for i in batch], new)
        texts = model.tokenizer.batch_decode(
            [row[row != END].astype(int).tolist() for row in tokens], skip_special_tokens=True
        )
        return [texts[i : i + self.n_samples] for i in range(0, len(texts), self.n_samples)]

    def _generate(self, model, ids, seeds):
        """Generate one batch; return token ids filled up with END."""
        from transformers import GenerationConfig, TemperatureLogitsWarper, TopPLogitsWarper

        network = model.network
        tokens, mask = pad_left(ids, model.pad_id)
        processors = [TemperatureLogitsWarper(float(self.temperature))]
        if self.top_p < 1:
            processors.append(TopPLogitsWarper(float(self.top_p)))
        processors.append(GumbelNoise(seeds, network.device))
        with torch.inference_mode():
            output = network.generate(
                input_ids=torch.from_numpy(tokens).to(network.device),
                attention_mask=torch.from_numpy(mask).to(network.device),
                logits_processor=processors,
                generation_config=GenerationConfig(
                    do_sample=False,  # the noise is in the logits already
                    max_new_tokens=self.max_new_tokens,
                    eos_token_id=model.end_ids or None,
                    pad_token_id=model.pad_id,
                    use_cache=True,
                ),
            )
        new = np.full((len(ids), self.max_new_tokens), END, dtype=np.float32)
        output = output[:, tokens.shape[1] :].cpu().numpy()  # (B, at most max_new_tokens)
        is_past_end = np.cumsum(np.isin(output, model.end_ids), axis=1) > 0
        new[:, : output.shape[1]] = np.where(is_past_end, END, output)
        return new

    def _settings(self, model, seed):
        """Return all that a response depends on besides its prompt and number."""
        return {
            "model": model.spec.fingerprint or model.spec.name,
            "revision": model.commit or model.spec.revision,
            "template": template_text(self.chat_template, model.tokenizer),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
            "dtype": model.spec.dtype,
            "device": model.spec.device.split(":")[0],
            "seed": seed,
        }

    def _report(self, responses):
        """Count what is of no use, and say so."""
        n_empty = np.array([sum(not t.strip() for t in texts) for texts in responses])
        identical = np.array([len(texts) > 1 and len(set(texts)) == 1 for texts in responses])
        self.n_empty_, self.n_identical_ = int(n_empty.sum()), int(identical.sum())
        if self.n_empty_:
            warn(
                f"{self.n_empty_} of {len(responses) * self.n_samples} responses are empty "
                f"(first: {_row(np.flatnonzero(n_empty)[0])}) and are left out.",
            )
        if self.n_identical_:
            warn(
                f"{self.n_identical_} of {len(responses)} prompts (first: "
                f"{_row(np.flatnonzero(identical)[0])}) got {self.n_samples} identical responses; "
                "raise the temperature or max_new_tokens.",
            )

    def __sklearn_is_fitted__(self):
        return hasattr(self, "context_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


class GumbelNoise:
    """Add Gumbel noise to logits, each row from a generator of its own.

    The arg max of what comes out is a sample of the softmax of what goes in.

    Parameters
    ----------
    seeds : list of bytes
        A digest a row.
    device : torch.device
        Where the logits are.
    """

    def __init__(self, seeds, device):
        self.generators = [
            torch.Generator(device).manual_seed(int.from_bytes(seed[:8]) >> 1) for seed in seeds
        ]

    def __call__(self, input_ids, scores):
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.clamp_(min=torch.finfo(torch.float32).tiny).log_()


def _row(i):
    return f"row {int(i)}"
