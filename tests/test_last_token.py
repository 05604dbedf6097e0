"""The comparison of tokens that "last" may read, on a tiny decoder and rows of known words."""

import gzip
import json

import numpy as np
import pytest
import tiny_models

from benchmarks import last_token
from lens_sklearn import LLMEmbedder
from lens_sklearn._language_model import get_language_model, resolve_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.save_decoder(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def model(folder):
    return get_language_model(resolve_model(folder, dtype="float32", device="cpu"))


def row(random_state, gold):
    responses = [tiny_models.sentence(random_state, 3 + i) for i in range(len(gold))]
    return {"prompt": tiny_models.sentence(random_state, 3), "responses": responses, "gold": gold}


def test_the_states_are_those_that_the_embedder_reads(folder, model):
    texts = [(("user", "why"), ("assistant", text)) for text in ("the cat", "a dog ran", "no")]
    states, means = last_token.embed(model, texts, (1, 2), batch_tokens=20)
    rows = [[[{"role": role, "content": text} for role, text in talk] for talk in texts]]
    embedder = LLMEmbedder(folder, layer=[1, 2], pooling=["last", "response_mean"], device="cpu")
    expected = embedder.fit_transform(rows)[0].reshape(3, 2, 2, 16)  # layers, poolings
    np.testing.assert_allclose(states[:, :, 1], expected[:, :, 0], atol=1e-5)
    np.testing.assert_allclose(means, expected[:, :, 1], atol=1e-5)
    np.testing.assert_allclose(states[:, :, 0], states[:, :, 1])  # no line break behind
    assert (np.abs(states[:, :, 2] - states[:, :, 1]).max(axis=-1) > 1e-2).all()


def test_pairs_are_of_responses_of_different_gold(model):
    rng = np.random.RandomState(0)
    rows = [
        row(rng, [0.0] * 5),  # no pair
        row(rng, [1.0, 5.0, 2.0, 4.0, 3.0, 3.05]),
        row(rng, [1.0, 2.0]),  # too few
        row(rng, [2.0, 1.0, 0.0, -1.0]),
        row(rng, [2.0, 1.0, 0.0, -1.0]),  # one prompt too many
    ]
    texts, pairs, groups = last_token.alpaca_pairs(rows, model, 2, 64)
    assert len(texts) == 8
    assert groups.tolist() == [0] * 5 + [1] * 6  # 3.05 and 3 are too close
    assert texts[0][1][1] == rows[1]["responses"][1]  # the best
    assert texts[3][1][1] == rows[1]["responses"][0]  # and the worst are among the four
    gold = dict(zip(rows[1]["responses"], rows[1]["gold"], strict=True))
    for better, worse in pairs[:5]:
        assert gold[texts[better][1][1]] > gold[texts[worse][1][1]] + 0.1
    # a text that would be cut is left out
    assert last_token.alpaca_pairs(rows[3:4], model, 2, 12)[0] == []


def test_accuracy_is_of_prompts_that_were_left_out():
    rng = np.random.RandomState(0)
    embeddings = rng.normal(size=(80, 4)).astype(np.float32)
    pairs = np.arange(80).reshape(-1, 2)
    better = embeddings[pairs][..., 0].argsort(axis=1)[:, ::-1]
    pairs = np.take_along_axis(pairs, better, axis=1)  # the first feature decides
    found = last_token.accuracies(embeddings, pairs, np.arange(40) // 2, 2)
    assert found.shape == (2,) and found.min() > 0.7
    noise = rng.normal(size=(80, 4)).astype(np.float32)
    assert last_token.accuracies(noise, pairs, np.arange(40) // 2, 1)[0] < 0.8


def test_the_comparison_runs_to_its_table(folder, tmp_path, capsys, monkeypatch):
    rng = np.random.RandomState(1)
    files = {
        "alpaca_eval_dev": [row(rng, [2.0, 1.0, 0.0, -1.0]) for _ in range(3)],
        "hh_harmless_dev": [
            {"prompt": prompt, "chosen": "the cat ran", "rejected": "no"}
            for prompt in ("why", "how", "a dog", "red")
        ],
    }
    for name, rows in files.items():
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(map(json.dumps, rows)))
    widths = []

    def accuracies(embeddings, pairs, groups, n_splits):
        widths.append(embeddings.shape[1])
        return np.array([0.5, 0.75]) + 0.01 * len(widths)

    monkeypatch.setattr(last_token, "accuracies", accuracies)
    arguments = ["--data", str(tmp_path), "--model", folder, "--splits", "2", "--pairs", "3"]
    last_token.main(arguments)
    out = capsys.readouterr().out
    assert "alpaca: 18 pairs of 3 prompts, 2 splits" in out
    assert "hh: 3 pairs of 3 prompts, 2 splits" in out
    assert widths == 4 * [16, 16, 16, 32, 32, 32]  # two data sets, two layers
    assert "last of the text: 0.6350, +0.0000 ± 0.0000" in out
    assert "last of the answer: 0.6550, +0.0200 ± 0.0000" in out
