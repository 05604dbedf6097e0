"""Sample responses of a language model, the same whatever the batch, resumable from disk."""

import os
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .._array_store import ArrayStore, store_keys
from .._device import draw_seed
from .._language_model import template_text
from ._networks import (
    headed_model,
    pad_left,
    report_overlong,
    run_batches,
    token_ids,
    truncate_left,
)
from ._sampled_rows import SAMPLING_CONSTRAINTS, SampledRows, row_name
from ._sampling import GumbelNoise, StopAtText, cut_at_stop, logits_processors, stop_tokens

END = -1  # fills a stored response up to max_new_tokens


class ResponseGenerator(SampledRows):
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
    top_k : int, default=None
        Samples among this many of the likeliest tokens; None among all.
    min_p : float, default=None
        Samples among the tokens that are at least this share as likely as the likeliest one;
        None among all. Where several are given, ``temperature``, ``top_k``, ``top_p`` and
        ``min_p`` act in this order.
    max_new_tokens : int, default=256
        Longest response.
    stop : list of str, default=None
        Texts that end a response: it is cut before the first of them. A special token of the
        tokenizer ends it too.
    system_prompt : str, default=None
        A system message before each prompt that has none of its own.
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
    n_cut_ : int
        How many were cut at ``max_new_tokens``; a warning says if more than a tenth were.
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
    (['finish_reasons', 'prompt', 'responses'], 4)
    """

    _parameter_constraints = SAMPLING_CONSTRAINTS | {
        "model_name": [str, os.PathLike],
        "revision": [str, None],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "top_k": [Interval(Integral, 1, None, closed="left"), None],
        "min_p": [Interval(Real, 0, 1, closed="right"), None],
        "chat_template": [str, None, Options(bool, {False})],
        "overlong": [StrOptions({"truncate", "raise"})],
        "batch_tokens": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "device": [str],
    }

    def __init__(
        self,
        model_name="Qwen/Qwen2.5-0.5B-Instruct",
        *,
        revision=None,
        n_samples=16,
        temperature=1.0,
        top_p=1.0,
        top_k=None,
        min_p=None,
        max_new_tokens=256,
        stop=None,
        system_prompt=None,
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
        self.top_k = top_k
        self.min_p = min_p
        self.max_new_tokens = max_new_tokens
        self.stop = stop
        self.system_prompt = system_prompt
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
            If the context has no room for ``max_new_tokens``, ``store`` is given without a
            ``random_state``, or an entry of ``stop`` is no text.
        OSError
            If the model is not found, or the store cannot be written.
        """
        self._check()
        self.context_ = headed_model(self, "causal").longest_input(np.iinfo(np.int32).max)
        if self.max_new_tokens >= self.context_:
            raise ValueError(
                f"max_new_tokens={self.max_new_tokens} leaves no room for a prompt: the model's "
                f"context has {self.context_} tokens."
            )
        self.n_overlong_ = 0
        return self

    def _sample(self, prompts):
        """Return (text, finish reason) of n_samples responses a prompt.

        The network is loaded for those that are not in the store.
        """
        model = headed_model(self, "causal")
        stop, stop_ids = stop_tokens(self.stop or (), model.tokenizer)
        ids = self._prompt_ids(model, prompts)
        samples = self._numbered(prompts)
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
                    model,
                    [missing_ids[i] for i in batch],
                    [seeds[i] for i in batch],
                    stop,
                    stop_ids,
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
        # What filled all the room has no end, unless its last tokens are a stop string.
        is_full = (tokens != END).all(axis=1)
        cut = [cut_at_stop(text, stop) for text in texts]
        return self._by_prompt(
            [
                (text, "length" if full and not stopped else "stop")
                for (text, stopped), full in zip(cut, is_full, strict=True)
            ]
        )

    def _prompt_ids(self, model, prompts):
        """Return token ids of prompts that leave room for a response."""
        ids = token_ids(model, prompts, self.chat_template, row_name, prompt=True)
        limit = self.context_ - self.max_new_tokens
        ids, overlong = truncate_left(model, ids, limit)
        if overlong.any() and self.overlong == "raise":
            raise ValueError(
                f"{row_name(np.flatnonzero(overlong)[0])}: the prompt has more than {limit} "
                f"tokens, which with max_new_tokens={self.max_new_tokens} overruns the context of "
                f"{self.context_}; {overlong.sum()} prompts do. Lower max_new_tokens, or choose "
                "overlong='truncate'."
            )
        self.n_overlong_ = report_overlong(overlong, limit, row_name)
        return ids

    def _generate(self, model, ids, seeds, stop, stop_ids):
        """Generate one batch; return token ids filled up with END."""
        from transformers import GenerationConfig, StoppingCriteriaList

        network = model.network
        tokens, mask = pad_left(ids, model.pad_id)
        noise = GumbelNoise(seeds, network.device)
        end_ids = [*model.end_ids, *stop_ids]
        criteria = StopAtText(stop, model.tokenizer, tokens.shape[1])
        with torch.inference_mode():
            output = network.generate(
                input_ids=torch.from_numpy(tokens).to(network.device),
                attention_mask=torch.from_numpy(mask).to(network.device),
                logits_processor=logits_processors(
                    self.temperature, self.top_k, self.top_p, self.min_p, noise
                ),
                stopping_criteria=StoppingCriteriaList([criteria] if stop else []),
                generation_config=GenerationConfig(
                    do_sample=False,  # the noise is in the logits already
                    max_new_tokens=self.max_new_tokens,
                    eos_token_id=end_ids or None,
                    pad_token_id=model.pad_id,
                    use_cache=True,
                ),
            )
        new = np.full((len(ids), self.max_new_tokens), END, dtype=np.float32)
        output = output[:, tokens.shape[1] :].cpu().numpy()  # (B, at most max_new_tokens)
        is_past_end = np.cumsum(np.isin(output, end_ids), axis=1) > 0
        for i, length in criteria.lengths.items():
            is_past_end[i, length:] = True
        new[:, : output.shape[1]] = np.where(is_past_end, END, output)
        return new

    def _settings(self, model, seed):
        """Return all that a response depends on besides its prompt and number."""
        settings = {
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
        # The system prompt is part of the prompts. What is not given leaves no trace, so that
        # responses of versions without these parameters are found.
        later = {"top_k": self.top_k, "min_p": self.min_p, "stop": sorted(self.stop or ()) or None}
        return settings | {name: value for name, value in later.items() if value is not None}

    def __sklearn_is_fitted__(self):
        return hasattr(self, "context_")
