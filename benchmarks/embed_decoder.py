"""Hidden states of a decoder at several layers, and how likely it finds each response.

::

    python -m benchmarks.embed_decoder --data FOLDER --embeddings FOLDER

One forward pass over prompt and response, in the model's chat template with its default system
message, gives for every layer that is asked for the state at the end of the response (``last18``)
and the mean over the response's tokens and its end (``mean18``), and the mean log-likelihood of
the response's tokens. The prompt is cut to its last tokens and the response to what is left.
Rows are embedded in chunks that are kept, so a run that was killed goes on where it stopped.

The model is SmolLM2-135M-Instruct of the extra ``smollm2`` unless ``--model`` names another. The
data sets whose names have ``smollm2`` in them read the files.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from lens_sklearn._model_weights import load_weights
from lens_sklearn._packaged_model import SMOLLM2, packaged_folder

from .datasets._texts import SOURCES, read_rows, responses_of
from .datasets.embedders import LAYERS, made_file
from .records import RESULTS

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
PROMPT_TOKENS = 256
CHUNK = 16  # rows a file
BATCH_TOKENS = 8192  # padding included
PLACE = "\x00"  # stands for the prompt in the rendered template


class Text(NamedTuple):
    """Token ids of a response and of what stands before it."""

    start: list
    response: list


class Tokens:
    """Turn prompts and responses into token ids.

    Parameters
    ----------
    tokenizer : tokenizer
        With a chat template and an end-of-turn token.
    max_length : int
        Tokens of a text in all.
    prompt_tokens : int, default=256
        The last so many tokens of a prompt are kept.
    """

    def __init__(self, tokenizer, max_length, prompt_tokens=PROMPT_TOKENS):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.prompt_tokens = prompt_tokens

    def text(self, prompt, response):
        """Return the token ids of a response to a prompt.

        Parameters
        ----------
        prompt : str
            Empty where there is none: then the user has no turn.
        response : str
            The answer; an empty one has its end alone.

        Returns
        -------
        Text
            The response ends with the end of the turn, cut or not.

        Raises
        ------
        ValueError
            If the prompt leaves no room for a response.
        """
        messages = [{"role": "system", "content": SYSTEM}]
        messages += [{"role": "user", "content": PLACE}] if prompt else []
        rendered = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        before, _, after = rendered.partition(PLACE)
        start = self._ids(before) + self._ids(prompt)[-self.prompt_tokens :] + self._ids(after)
        left = self.max_length - len(start) - 1
        if left < 1:
            raise ValueError(
                f"max_length={self.max_length} leaves no token of a response behind {len(start)} "
                "of its prompt and the template."
            )
        return Text(start, [*self._ids(response)[:left], self.tokenizer.eos_token_id])

    def _ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []


@torch.inference_mode()
def read_states(model, texts, layers):
    """Read the states of a batch of texts.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model.
    texts : list of Text
        The batch; shorter ones are padded on the right, which states do not see.
    layers : sequence of int
        Hidden states, 0 being the embeddings of tokens.

    Returns
    -------
    last, mean : ndarray of float16, shape (n, n_layers, d)
        At the end of the response, and over its tokens and its end.
    log_likelihood : ndarray of float32, shape (n,)
        Mean over the response's tokens, without its end; 0 for an empty one.
    """
    ids = [torch.tensor([*text.start, *text.response]) for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(model.device)
    mask = torch.arange(padded.shape[1]) < torch.tensor([len(i) for i in ids])[:, None]
    states = model.base_model(
        input_ids=padded,
        attention_mask=mask.long().to(model.device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    last, mean, log_likelihood = [], [], []
    for row, text in enumerate(texts):
        start, end = len(text.start), len(text.start) + len(text.response)
        own = torch.stack([states[layer][row, start:end].float() for layer in layers])
        last.append(own[:, -1])
        mean.append(own.mean(dim=1))
        log_likelihood.append(_likelihood(model, states[-1][row, start - 1 : end - 2], text))
    stacked = (torch.stack(found).half().cpu().numpy() for found in (last, mean))
    return *stacked, np.array(log_likelihood, dtype=np.float32)


def _likelihood(model, states, text):
    """Return the mean log-likelihood of a response from the states before its tokens."""
    if not len(states):
        return 0.0
    logits = model.get_output_embeddings()(states)  # (tokens, vocabulary)
    wanted = torch.tensor(text.response[:-1], device=states.device)[:, None]
    return float(logits.float().log_softmax(dim=-1).gather(1, wanted).mean())


def batches(texts, n_tokens=BATCH_TOKENS):
    """Yield the positions of texts that are embedded together, short ones first.

    Parameters
    ----------
    texts : list of Text
        All.
    n_tokens : int, default=8192
        A batch has no more, padding included, unless one text alone has.

    Yields
    ------
    list of int
        Positions.
    """
    lengths = [len(text.start) + len(text.response) for text in texts]
    batch = []
    for i in sorted(range(len(texts)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[i] > n_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def embed_rows(model, tokens, rows, layers):
    """Embed the responses of some rows.

    Parameters
    ----------
    model : PreTrainedModel
        A causal language model.
    tokens : Tokens
        Of its tokenizer.
    rows : list of dict
        With as many responses each.
    layers : sequence of int
        Hidden states.

    Returns
    -------
    dict of str to ndarray
        ``last18``, ``mean18`` and the like (n, N, d), and ``log_likelihood`` (n, N).
    """
    responses = responses_of(rows)
    texts = [
        tokens.text(row.get("prompt", ""), response)
        for row, own in zip(rows, responses, strict=True)
        for response in own
    ]
    shape = len(rows), len(responses[0])
    d = model.config.hidden_size
    last = np.empty((len(texts), len(layers), d), np.float16)
    mean, log_likelihood = np.empty_like(last), np.empty(len(texts), np.float32)
    for batch in batches(texts):
        found = read_states(model, [texts[i] for i in batch], layers)
        last[batch], mean[batch], log_likelihood[batch] = found
    pooled = {
        f"{name}{layer}": states[:, i].reshape(*shape, d)
        for name, states in (("last", last), ("mean", mean))
        for i, layer in enumerate(layers)
    }
    return pooled | {"log_likelihood": log_likelihood.reshape(shape)}


def embed_source(model, tokens, rows, layers, path):
    """Embed all rows of a source and write one file.

    Parameters
    ----------
    model, tokens, rows, layers
        As of `embed_rows`.
    path : Path
        The file; its chunks are kept beside it until it is whole.
    """
    settings = [list(layers), tokens.max_length, tokens.prompt_tokens, rows]
    settings += [model.name_or_path, str(model.dtype)]
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    parts = path.with_name(f"{path.stem}.parts-{digest}")  # of other settings or texts: another
    parts.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(rows), CHUNK)
    for start in starts:
        part = parts / f"{start}.npz"
        if not part.exists():
            _save(part, embed_rows(model, tokens, rows[start : start + CHUNK], layers))
            done = f"{min(start + CHUNK, len(rows))}/{len(rows)} rows"
            print(f"{path.name}: {done}", file=sys.stderr, flush=True)
    chunks = [dict(np.load(parts / f"{start}.npz")) for start in starts]
    _save(path, {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]})
    shutil.rmtree(parts)


def _save(path, arrays):
    """Write arrays so that a run that is killed leaves the file whole or not there."""
    unfinished = path.with_suffix(f".{os.getpid()}.new")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)
    unfinished.replace(path)


def load_model(folder):
    """Load a model, on a GPU where there is one, and its tokenizer.

    Parameters
    ----------
    folder : Path
        Of a causal language model.

    Returns
    -------
    model : PreTrainedModel
        In bfloat16.
    tokenizer : PreTrainedTokenizer
        Its own.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = load_weights(AutoModelForCausalLM, str(folder), head="causal", dtype=torch.bfloat16)
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return model, AutoTokenizer.from_pretrained(folder)


def parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embed_decoder", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the .jsonl.gz files")
    parser.add_argument("--embeddings", type=Path, default=RESULTS / ".store", help="where to")
    parser.add_argument("--model", default=SMOLLM2, help="folder of the model, or smollm2")
    parser.add_argument("--source", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument("--layers", nargs="+", type=int, default=list(LAYERS))
    parser.add_argument("--max-length", type=int, default=768, help="tokens of a text")
    return parser


def main(argv=None):
    """Read the command line, and embed what is not there."""
    command = parser()
    args = command.parse_args(argv)
    model, tokenizer = load_model(packaged_folder(args.model))
    n_layers = model.config.num_hidden_layers
    beyond = [layer for layer in args.layers if not 0 <= layer <= n_layers]
    if beyond:
        command.error(f"--layers: {beyond} are not there; the model has 0 to {n_layers}")
    for source in args.source:
        path = args.embeddings / made_file(source)
        if not path.exists():
            tokens = Tokens(tokenizer, args.max_length)
            embed_source(model, tokens, read_rows(source, args.data), args.layers, path)


if __name__ == "__main__":
    main()
