"""``lens-sklearn suspect``: which pairs are to be read again."""

import csv
import json

import numpy as np
import pytest
from tiny_models import WORDS, save_decoder

from lens_sklearn.cli import main
from lens_sklearn.datasets import make_preference_pairs


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_flipped_embeddings_come_first(tmp_path, capsys):
    toy = make_preference_pairs(n_pairs=100, n_features=4, random_state=0)
    pairs = toy.pairs.copy()
    pairs[7] = pairs[7, ::-1]
    np.savez(tmp_path / "pairs.npz", pairs=pairs, groups=np.arange(100) // 2)
    assert run("suspect", tmp_path / "pairs.npz", "-o", tmp_path / "out.csv", "-n", 20) == 0
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    probabilities = [float(row["probability"]) for row in rows]
    assert len(rows) == 20 and probabilities == sorted(probabilities)
    assert "7" in [row["row"] for row in rows]
    said = capsys.readouterr()
    assert "row" in said.out and "20 of 100 pairs in" in said.err
    assert run("suspect", tmp_path / "pairs.npz", "-o", tmp_path / "out.csv") == 2
    assert "--force overwrites it" in capsys.readouterr().err


def test_text_comes_back_with_its_row(tmp_path, capsys):
    model = save_decoder(tmp_path / "model")
    rows = [
        {"prompt": f"why {w}", "chosen": f"{w} sat on the mat", "rejected": f"{w} no"}
        for w in WORDS[:20]
    ]
    rows[3] |= {"chosen": rows[3]["rejected"], "rejected": rows[3]["chosen"]}
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "suspects.jsonl"
    assert run("suspect", source, "-o", out, "--model", model, "--splits", 4) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(found) == 20 and found[0]["row"] == 3 and found[0]["probability"] < 0.5
    assert {k: found[0][k] for k in rows[3]} == rows[3]
    assert "accuracy 0.95" in capsys.readouterr().err


def test_the_column_weight_counts(tmp_path, capsys):
    rng = np.random.default_rng(0)
    pairs = rng.standard_normal((60, 2, 1))
    # Two thirds prefer the larger feature, the others the smaller one.
    pairs[:40] = np.take_along_axis(pairs[:40], np.argsort(-pairs[:40, :, :1], axis=1), axis=1)
    pairs[40:] = np.take_along_axis(pairs[40:], np.argsort(pairs[40:, :, :1], axis=1), axis=1)
    first, said = {}, {}
    for name, weight in (("majority", np.ones(60)), ("minority", np.repeat([0.1, 1.0], [40, 20]))):
        np.savez(tmp_path / f"{name}.npz", pairs=pairs, weight=weight)
        out = tmp_path / f"{name}.jsonl"
        assert run("suspect", tmp_path / f"{name}.npz", "-o", out, "-n", 10) == 0
        first[name] = [json.loads(line)["row"] for line in out.read_text().splitlines()]
        said[name] = float(capsys.readouterr().err.split("accuracy ")[1].split(";")[0])
    assert min(first["majority"]) >= 40 and max(first["minority"]) < 40
    assert said["minority"] > 0.6  # by number it would be near a third


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--splits", "1"], "--splits 1 leaves nothing to learn from"),
        (["--splits", "21"], "n_splits=21 and 20 prompts"),
    ],
)
def test_parts_have_to_be_possible(given, message, tmp_path, capsys):
    pairs = np.random.default_rng(0).standard_normal((20, 2, 3))
    np.save(tmp_path / "pairs.npy", pairs)
    assert run("suspect", tmp_path / "pairs.npy", "-o", tmp_path / "o.csv", *given) == 2
    assert message in capsys.readouterr().err


def test_rows_are_those_of_the_file_whatever_is_left_out(tmp_path):
    model = save_decoder(tmp_path / "model")
    rows = [
        {"prompt": f"why {w}", "chosen": f"{w} sat on the mat", "rejected": f"{w} no"}
        for w in WORDS[:20]
    ]
    rows[0]["chosen"] = rows[2]["rejected"] = ""
    source, out = tmp_path / "pairs.jsonl", tmp_path / "suspects.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--model", model, "--splits", 4, "--on-invalid", "drop"]
    assert run("suspect", source, "-o", out, *given) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["row"] for row in found) == [1, *range(3, 20)]
    assert all(row["chosen"] == rows[row["row"]]["chosen"] for row in found)


def test_suspects_can_be_read_again(tmp_path):
    model = save_decoder(tmp_path / "model")
    rows = [
        {"row": "x", "probability": "y", "chosen": f"{w} sat on the mat", "rejected": f"{w} no"}
        for w in WORDS[:10]
    ]
    source, out = tmp_path / "suspects.jsonl", tmp_path / "again.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run("suspect", source, "-o", out, "--model", model, "--splits", 2) == 0
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(row["row"] for row in found) == list(range(10))
    assert all(0 <= row["probability"] <= 1 for row in found)
