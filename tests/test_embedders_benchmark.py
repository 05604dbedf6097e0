"""The benchmark of many embedders: views of a response, its length, and what probabilities say."""

import gzip
import json
from collections import Counter
from dataclasses import replace
from itertools import permutations

import matplotlib
import numpy as np
import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st

import lens_sklearn
from benchmarks import embed_decoder, figures, report, run
from benchmarks import embedders as embedders_report
from benchmarks.curves import interval
from benchmarks.datasets import DATASETS, CandidateData, PairData, _texts, embedders, toy
from benchmarks.datasets._texts import SOURCES
from benchmarks.methods import METHODS, Method
from benchmarks.objective import MIN_GAP, best_slope_loss, calibration, evaluate, ordered_pairs
from benchmarks.records import compact, read_records
from benchmarks.suites import SUITES

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def world():
    """Candidates whose second feature is their gold, with lengths; the last four are padding."""
    plain = toy.load(n_prompts=40, n_features=6)
    candidates, gold = plain.candidates.copy(), plain.gold.copy()
    candidates[:, 12:], gold[:, 12:] = np.nan, np.nan
    rng = np.random.default_rng(0)
    lengths = np.where(np.isnan(gold), np.nan, rng.integers(50, 150, gold.shape))
    features = np.stack([np.log(lengths), 3 * gold + 7], axis=-1).astype(np.float32)
    return CandidateData(candidates, gold, n_test=8, features=features, lengths=lengths)


@pytest.fixture(scope="module")
def human():
    """Pairs whose one feature says which of them was chosen."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(80, 2, 6)).astype(np.float32)
    lengths = rng.integers(50, 150, (80, 2)).astype(float)
    features = (pairs[..., :1] * 2).astype(np.float32)
    return PairData(pairs, n_test=20, features=features, lengths=lengths)


# ------------------------------------------------------------------------------- views
def test_features_and_lengths_follow_their_responses(world, human):
    known = {
        row.tobytes(): (tuple(features), length)
        for row, features, length in zip(
            world.candidates.reshape(-1, 6),
            world.features.reshape(-1, 2),
            world.lengths.ravel(),
            strict=True,
        )
        if np.isfinite(length)
    }
    split = world.split(50, 3)
    for part, columns in ((split.pairs, "pairs"), (split.unlabeled, "unlabeled")):
        features = getattr(split.features, columns).reshape(-1, 2)
        for row, own in zip(part.reshape(-1, 6), features, strict=True):
            if np.isfinite(row[0]):
                assert known[row.tobytes()][0] == tuple(own)
    for row, own, length in zip(
        split.test.reshape(-1, 6),
        split.features.test.reshape(-1, 2),
        split.lengths.ravel(),
        strict=True,
    ):
        assert np.isnan(length) or known[row.tobytes()] == (tuple(own), length)
    split = human.split(30, 1)
    for part in ("pairs", "unlabeled", "test"):
        np.testing.assert_array_equal(
            getattr(split.features, part), 2 * getattr(split, part)[..., :1]
        )
    assert split.lengths.shape == (20, 2)


def test_views_are_columns_of_one_split(world):
    split = world.split(50, 0).scaled()
    assert split.view("embedding") is split and split.n_response_features == 0
    features, both = split.view("features"), split.view("both")
    assert both is split.view("both"), "made once, so that methods share what they compute"
    assert features.n_response_features == both.n_response_features == 2
    for part in ("pairs", "unlabeled", "test"):
        embedding, own = getattr(split, part), getattr(split.features, part)
        np.testing.assert_array_equal(getattr(features, part), own)
        np.testing.assert_array_equal(getattr(both, part)[..., :6], embedding)
        np.testing.assert_array_equal(getattr(both, part)[..., 6:], own)
    np.testing.assert_array_equal(both.features.pairs, world.split(50, 0).features.pairs)
    for view in (features, both):
        assert view.groups is split.groups and view.gold is split.gold
        assert view.lengths is split.lengths


def test_views_share_no_work(world):
    split = world.split(20, 0).scaled()
    views = ["embedding", "both", "features"]
    assert [split.view(v).once("key", lambda v=v: v) for v in views] == views
    assert split.view("both").details is not split.details


def test_a_view_that_is_not_there_is_refused(world):
    plain = replace(world.split(20, 0), features=None)
    with pytest.raises(ValueError, match="view='both' needs response features"):
        plain.view("both")
    with pytest.raises(ValueError, match="'text' is none of embedding, features, both"):
        plain.view("text")


def test_without_features_a_split_is_what_it_was(world):
    plain = CandidateData(world.candidates, world.gold, n_test=8)
    one, two = plain.split(50, 0).scaled(), world.split(50, 0).scaled()
    for part in ("pairs", "groups", "unlabeled", "test", "gold"):
        np.testing.assert_array_equal(getattr(one, part), getattr(two, part))
    assert set(evaluate(lambda X: X[..., 0], one)) == {"gold", "accuracy", "random", "oracle"}


@pytest.mark.parametrize("name", ["features", "lengths"])
def test_columns_of_other_responses_are_refused(world, name):
    other = getattr(world, name)[:-1]
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(40, 16.*got \(39, 16"):
        CandidateData(world.candidates, world.gold, **{name: other})
    with pytest.raises(ValueError, match=rf"{name} must have the shape \(40, 2.*got \(39, "):
        PairData(world.candidates[:, :2], **{name: other[:, :2]})


# ----------------------------------------------------------------------------- metrics
def counted_one_by_one(rewards, gold, lengths):
    """Return hits on matched pairs and on those whose shorter response is better."""
    matched, shorter = [], []
    for r, g, n in zip(rewards, gold, lengths, strict=True):
        for i, j in permutations(range(len(r)), 2):
            if g[i] - g[j] > MIN_GAP:
                hit = 1.0 if r[i] > r[j] else 0.5 if r[i] == r[j] else 0.0
                if abs(n[i] - n[j]) < max(n[i], n[j]) / 5:
                    matched.append(hit)
                if n[i] < n[j]:
                    shorter.append(hit)
    return np.mean(matched), np.mean(shorter)


def test_accuracy_by_length_is_counted_pair_by_pair(world, human):
    def score(X):
        return X[..., 0].round(0)  # with ties

    split = world.split(20, 0)
    expected = counted_one_by_one(score(split.test), split.gold, split.lengths)
    found = evaluate(score, split)
    assert (found["accuracy_matched"], found["accuracy_shorter"]) == pytest.approx(
        expected, abs=1e-5
    )
    split = human.split(20, 0)
    gold = np.tile([1.0, 0.0], (20, 1))
    expected = counted_one_by_one(score(split.test), gold, split.lengths)
    found = evaluate(score, split)
    assert (found["accuracy_matched"], found["accuracy_shorter"]) == pytest.approx(
        expected, abs=1e-5
    )
    assert "gold" not in found


def test_a_fifth_of_the_longer_one_is_no_match():
    split = PairData(np.zeros((3, 2, 1), np.float32), n_test=1).split(1, 0)
    split.test = np.array([[[1.0], [0.0]], [[0.0], [1.0]]])
    split.lengths = np.array([[100, 80], [81, 100]])  # 20 is no less than a fifth of 100
    assert evaluate(lambda X: X[..., 0], split)["accuracy_matched"] == 0
    assert evaluate(lambda X: X[..., 0], split)["accuracy_shorter"] == 0
    split.lengths = np.array([[100, 50], [100, 50]])
    found = evaluate(lambda X: X[..., 0], split)
    assert "accuracy_matched" not in found and "accuracy_shorter" not in found


def test_length_alone_orders_its_own_pairs(world):
    split = world.split(20, 0)
    found = evaluate(lambda X: split.lengths, split, log_odds=False)
    assert found["accuracy_shorter"] == 0
    assert "log_loss" not in found and "ece" not in found


def test_ordered_pairs_leave_padding_and_near_ties_out():
    rewards = np.array([[1.0, 2.0, 3.0, np.nan]])
    gold = np.array([[0.0, 0.05, 1.0, np.nan]])
    found, lengths = ordered_pairs(rewards, gold, 10 * rewards)
    assert sorted(map(tuple, found.tolist())) == [(3.0, 1.0), (3.0, 2.0)]
    np.testing.assert_array_equal(lengths, 10 * found)


def test_calibration_by_hand():
    margin = np.log([3.0, 3.0, 3.0, 1 / 3])  # right three times of four, as it says
    found = calibration(margin)
    loss = -(3 * np.log(0.75) + np.log(0.25)) / 4
    assert found["log_loss"] == pytest.approx(loss)
    assert found["log_loss_best_slope"] == pytest.approx(loss)
    assert calibration(5 * margin)["log_loss_best_slope"] == pytest.approx(loss, abs=1e-5)
    assert calibration(5 * margin)["log_loss"] > loss + 0.1
    assert best_slope_loss(-margin) == pytest.approx(np.log(2), abs=1e-4), "no slope is negative"
    assert best_slope_loss(0 * margin) == np.log(2)
    assert best_slope_loss(np.ones(3)) == pytest.approx(0, abs=1e-4)


def test_calibration_error_needs_both_outcomes():
    rng = np.random.default_rng(1)
    log_odds = rng.normal(scale=2, size=40_000)
    margin = np.where(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds)), log_odds, -log_odds)
    honest, sure, shy = (calibration(s * margin) for s in (1, 3, 0))
    assert honest["ece"] < 0.01 < 0.1 < sure["ece"]
    assert honest["log_loss"] == pytest.approx(honest["log_loss_best_slope"], abs=1e-3)
    assert shy["ece"] < 0.01 and shy["log_loss"] == pytest.approx(np.log(2), abs=1e-5)
    counts, predicted, observed = np.array(honest["reliability"])
    assert counts.sum() == 40_000 and (counts > 100).all()
    assert (np.abs(predicted - observed) / counts).max() < 0.05
    error = np.abs(predicted - observed).sum() / counts.sum()
    assert error == pytest.approx(honest["ece"], abs=1e-3)


# -------------------------------------------------------------------------- the runner
@pytest.fixture
def toy_run(tmp_path, monkeypatch, world):
    monkeypatch.setitem(
        run.DATASETS, "toy", replace(DATASETS["toy"], load=lambda data, store: world)
    )
    run.load.cache_clear()
    yield tmp_path
    run.load.cache_clear()


def run_methods(folder, monkeypatch, *methods, n_pairs=30):
    for method in methods:
        monkeypatch.setitem(run.METHODS, method.name, method)
    cells = [run.SUITES["curves"]()[0]._replace(
        dataset="toy", n_pairs=n_pairs, n_splits=1, methods=tuple(m.name for m in methods)
    )]  # fmt: skip
    return run.run_suite("suite", cells, None, 1, folder)


def test_a_method_reads_its_view(toy_run, monkeypatch):
    shapes = {}

    def fit(split, seed):
        shapes[split.pairs.shape[-1]] = split.n_response_features
        split.details["d"] = split.pairs.shape[-1]
        return lambda X: X[..., -1]

    named = {view: Method(view, fit, view=view) for view in ("embedding", "features", "both")}
    found = run_methods(toy_run, monkeypatch, *named.values())
    assert shapes == {6: 0, 2: 2, 8: 2}
    assert [r["details"]["d"] for r in found] == [6, 2, 8]
    assert found[1]["accuracy"] == found[2]["accuracy"] == 1, "the feature is the gold"
    assert found[1]["accuracy_matched"] == 1


def test_bins_are_kept_where_a_diagram_is_drawn(toy_run, monkeypatch):
    def fit(split, seed):
        return lambda X: X[..., 0]

    drawn, other = Method("drawn", fit, diagram=(30,)), Method("other", fit, diagram=(50,))
    rank = Method("rank", fit, log_odds=False, diagram=(30,))
    found = {r["method"]: r for r in run_methods(toy_run, monkeypatch, drawn, other, rank)}
    assert np.shape(found["drawn"]["reliability"]) == (3, 10)
    assert "reliability" not in found["other"] and found["other"]["ece"] == found["drawn"]["ece"]
    assert "ece" not in found["rank"] and "accuracy_matched" in found["rank"]


# --------------------------------------------------------------------- texts and states
@pytest.fixture
def texts(tmp_path, monkeypatch):
    """Write three small sources; features are the number of spaces, as a stand-in."""
    rng = np.random.default_rng(0)

    def sentences(n):
        return [tiny_models.sentence(rng, int(rng.integers(2, 9))) for _ in range(n)]

    rows = {
        "alpaca": [
            {"prompt": sentences(1)[0], "responses": sentences(3), "gold": [0.0, 1.0, 2.0]}
            for _ in range(18)
        ],
        "hh": [
            dict(zip(("prompt", "chosen", "rejected"), sentences(3), strict=True)) for _ in range(8)
        ],
        "wildbench": [
            {"id": str(i), "responses": sentences(4), "gold": [1, 5, 5, 10]} for i in range(6)
        ],
    }
    rows["hh"][0]["rejected"] = ""
    for source, own in rows.items():
        with gzip.open(tmp_path / f"{SOURCES[source].file}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in own)

    def spaces(rows):
        return np.array([[[t.count(" ")] for t in ts] for ts in _texts.responses_of(rows)])

    monkeypatch.setattr(_texts, "response_features", spaces)
    return tmp_path, rows


def test_embeddings_features_and_lengths_are_of_the_same_responses(texts):
    folder, rows = texts
    for source, (n, m) in {"alpaca": (18, 3), "hh": (8, 2)}.items():
        embeddings = np.arange(n * m * 5).reshape(n, m, 5).astype(np.float16)
        np.savez(folder / f"{SOURCES[source].file}_smollm576.npz", embeddings=embeddings)
    candidates = DATASETS["alpaca_smollm576"].load(folder, None)
    assert candidates.candidates.dtype == np.float32 and candidates.candidates[2, 1, 0] == 35
    assert candidates.gold.tolist() == [[0, 1, 2]] * 18
    text = rows["alpaca"][4]["responses"][2]
    assert candidates.lengths[4, 2] == len(text) and candidates.features[4, 2] == text.count(" ")
    pairs = DATASETS["hh_smollm576"].load(folder, None)
    assert pairs.pairs.shape == (8, 2, 5) and pairs.lengths[0, 1] == 0
    assert pairs.lengths[3, 0] == len(rows["hh"][3]["chosen"])


def test_terms_embed_every_source(texts, monkeypatch):
    folder, rows = texts
    monkeypatch.setattr("benchmarks.datasets.lsa.N_FEATURES", 4)
    shapes = {"alpaca": (18, 3, 4), "wildbench": (6, 4, 4)}
    for source, shape in shapes.items():
        data = DATASETS[f"{source}_lsa"].load(folder, None)
        assert data.candidates.shape == shape and data.gold.shape == shape[:2]
        assert data.features.shape == (*shape[:2], 1)
    assert DATASETS["hh_lsa"].load(folder, None).pairs.shape == (8, 2, 4)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tiny_models.save_causal(tmp_path_factory.mktemp("decoder") / "model")
    return embed_decoder.load_model(folder)


def test_states_are_those_of_a_text_by_itself(texts, decoder):
    model, tokenizer = decoder
    model = model.float().cpu()
    tokens = embed_decoder.Tokens(tokenizer, max_length=25, prompt_tokens=3)
    rows = texts[1]["hh"]
    found = embed_decoder.embed_rows(model, tokens, rows, [0, 2])
    assert found["last0"].shape == (8, 2, 16) and found["log_likelihood"].shape == (8, 2)
    assert found["log_likelihood"][0, 1] == 0  # an empty response
    end = tokenizer.eos_token_id
    for i, j in ((0, 1), (3, 0), (5, 1)):
        response = rows[i][("chosen", "rejected")[j]]
        text = tokens.text(rows[i]["prompt"], response)
        assert text.response[-1] == end and len(text.start) + len(text.response) <= 25
        ids = torch.tensor([text.start + text.response])
        with torch.inference_mode():
            out = model(ids, output_hidden_states=True)
        n = len(text.start)
        for layer in (0, 2):
            own = out.hidden_states[layer][0, n:].numpy()
            np.testing.assert_allclose(found[f"last{layer}"][i, j], own[-1], atol=2e-2)
            np.testing.assert_allclose(found[f"mean{layer}"][i, j], own.mean(axis=0), atol=2e-2)
        if response:
            log_probability = out.logits[0].log_softmax(dim=-1)
            at = range(n, ids.shape[1] - 1)
            expected = np.mean([float(log_probability[t - 1, ids[0, t]]) for t in at])
            assert found["log_likelihood"][i, j] == pytest.approx(expected, abs=1e-4)


def test_a_prompt_keeps_its_end_and_a_response_its_beginning(decoder):
    tokens = embed_decoder.Tokens(decoder[1], max_length=30, prompt_tokens=2)
    ids = {word: decoder[1].convert_tokens_to_ids(word) for word in ("dog", "cat", "sat", "user")}
    text = tokens.text("dog cat sat", "cat " * 50)
    assert [ids[word] in text.start for word in ("dog", "cat", "sat")] == [False, True, True]
    assert len(text.start) + len(text.response) == 30
    assert text.response[:-1] == [ids["cat"]] * (len(text.response) - 1)
    with pytest.raises(ValueError, match="max_length=9 leaves no token of a response behind"):
        embed_decoder.Tokens(decoder[1], max_length=9).text("dog", "cat")
    assert ids["user"] in text.start and ids["user"] not in tokens.text("", "cat").start


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(10, 100))
def test_every_text_is_in_one_batch_that_is_small_enough(lengths, n_tokens):
    texts = [embed_decoder.Text([0], [0] * (n - 1)) for n in lengths]
    found = list(embed_decoder.batches(texts, n_tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= n_tokens


def test_a_killed_embedding_goes_on_and_gives_a_data_set(texts, tmp_path, monkeypatch, decoder):
    folder, rows = texts
    read, calls = embed_decoder.embed_rows, []

    def killed(model, tokens, rows, layers):
        calls.append(len(rows))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return read(model, tokens, rows, layers)

    store, model = tmp_path / "store", tmp_path / "model"
    tiny_models.save_causal(model)
    words = ["--data", str(folder), "--embeddings", str(store), "--model", str(model)]
    words += ["--source", "alpaca", "--layers", "0", "2", "--max-length", "40"]
    monkeypatch.setattr(embed_decoder, "embed_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        embed_decoder.main(words)
    path = store / embedders.made_file("alpaca")
    assert not path.exists()
    embed_decoder.main(words)
    assert calls == [16, 2, 2], "the first chunk is not embedded again"
    assert [file.name for file in store.iterdir()] == [path.name]
    embed_decoder.main(words)
    assert len(calls) == 3, "a file that is there is left as it is"
    data = embedders._decoder(folder, store, source="alpaca", pooling="mean", layer=2)
    assert data.candidates.shape == (18, 3, 16) and data.features.shape == (18, 3, 2)
    assert (data.features[..., 1] < 0).all(), "a log-likelihood, behind what is counted"
    whole = read(*embed_decoder_of(model, 40), rows["alpaca"], [2])
    np.testing.assert_allclose(data.candidates, whole["mean2"], rtol=0.02, atol=0.05)


def embed_decoder_of(folder, max_length):
    model, tokenizer = embed_decoder.load_model(folder)
    return model, embed_decoder.Tokens(tokenizer, max_length)


def test_layers_that_are_not_there_are_refused(tmp_path, capsys):
    model = tiny_models.save_causal(tmp_path / "model")
    with pytest.raises(SystemExit):
        embed_decoder.main(["--data", str(tmp_path), "--model", model, "--layers", "2", "3"])
    assert "[3] are not there; the model has 0 to 2" in capsys.readouterr().err


def test_a_suite_that_lacks_a_made_file_says_so_before_it_runs(tmp_path, capsys):
    words = ["--suite", "layers", "--data", str(tmp_path), "--embeddings", str(tmp_path)]
    with pytest.raises(SystemExit):
        run.main([*words, "--dataset", "hh_smollm2_mean18"])
    error = capsys.readouterr().err
    assert "lacks smollm2_layers_hh.npz, which benchmarks.embed_decoder makes" in error


# ------------------------------------------------------------------------------ methods
@pytest.mark.parametrize("view", ["features", "both"])
@pytest.mark.parametrize("family", ["tuned linear", "GP"])
def test_models_of_a_view_read_its_columns(world, family, view):
    split = world.split(60, 0).scaled().view(view)
    method = METHODS[f"{family}, {view}"]
    assert method.view == view and not method.baseline
    score = method.fit(split, 0)
    again = method.fit(world.split(60, 0).scaled().view(view), 0)
    np.testing.assert_array_equal(score(split.test), again(split.test))
    assert evaluate(score, split)["accuracy"] > 0.9, "the last feature is the gold"


def test_shortcuts_learn_nothing(world):
    split = world.split(20, 0).scaled()
    split.pairs = split.groups = split.unlabeled = None
    found = {
        name: evaluate(METHODS[name].fit(split, 0), split, METHODS[name].log_odds)
        for name in embedders_report.shortcuts()
    }
    assert set(found) == {"longest", "shortest", "random"}
    assert found["random"]["accuracy"] == found["random"]["accuracy_shorter"] == 0.5
    assert found["random"]["gold"] == pytest.approx(found["random"]["random"])
    assert found["longest"]["accuracy_shorter"] == 0 and found["shortest"]["accuracy_shorter"] == 1
    total = found["longest"]["accuracy"] + found["shortest"]["accuracy"]
    assert total == pytest.approx(1)
    at = np.nanargmax(split.lengths, axis=1)
    picked = np.mean(split.gold[np.arange(len(at)), at])
    assert found["longest"]["gold"] == pytest.approx(picked, abs=0.3)  # ties are averaged


def test_auto_gets_both_views_and_what_it_may_read(world, monkeypatch):
    seen = []

    class Recorder:
        def __init__(self, **params):
            seen.append(params)

        def fit(self, pairs, *, groups, unlabeled):
            seen.append((pairs.shape, len(groups), None if unlabeled is None else unlabeled.shape))
            return self

        def predict(self, X):
            return X[..., 0]

    monkeypatch.setattr(lens_sklearn, "AutoRewardRegressor", Recorder, raising=False)
    split = world.split(20, 0).scaled()
    for name in ("auto", "auto, unlabelled"):
        METHODS[name].fit(split.view(METHODS[name].view), 5)
    params = {"n_response_features": 2, "random_state": 5}
    shape = (20, 2, 8)
    assert seen == [params, (shape, 20, None), params, (shape, 20, (32, 16, 8))]


def test_the_suite_runs_shortcuts_and_views_everywhere():
    settings = {}
    for cell in SUITES["embedders_full"]():
        settings.setdefault((cell.dataset, cell.n_pairs), []).append(cell)
    sources = Counter(name.split("_")[0] for name in {dataset for dataset, _ in settings})
    assert set(sources) == set(SOURCES) and sources["alpaca"] >= 4
    wanted = {"longest", "shortest", "random", "LENS 4x", "tuned linear", "auto", "GP"}
    wanted |= {"tuned linear, both", "tuned linear, features", "GP, both", "GP, features"}
    for (_, n), (cell, *dear) in settings.items():
        assert wanted <= set(cell.methods) and cell.n_splits == (20 if n <= 500 else 8)
        assert ("auto, unlabelled" in cell.methods) == (n <= 500)
        assert not any(set(cell.methods) & set(d.methods) for d in dear)
    assert {n for d, n in settings if d == "alpaca_smollm576"} == set(_texts.SIZES)
    dear = {(d, n) for (d, n), found in settings.items() if len(found) == 2}
    quick = ("alpaca_smollm576", "hh_smollm576", "wildbench_lsa")
    assert dear == {(d, n) for d in quick for n in (100, 300)}
    short = SUITES["embedders"]()
    assert [c._replace(n_splits=0) for c in short] == [
        c._replace(n_splits=0) for c in SUITES["embedders_full"]()
    ]
    assert {(c.n_pairs, c.n_splits) for c in short} == {
        *((n, 10) for n in (50, 100, 200, 300, 500)), (1000, 3), *((n, 1) for n in (2000, 5000)),
        *((n, 3) for n in (100, 300)), (850, 3),
    }  # fmt: skip
    found = SUITES["embedders_quick"]()
    assert {(c.dataset, c.n_pairs) for c in found} == {(d, n) for d in quick for n in (100, 200)}
    assert all(c.n_splits == 2 and "auto" in c.methods for c in found)
    assert all(METHODS[name].view == "embedding" for name in SUITES["layers"]()[0].methods)


# -------------------------------------------------------------------------- the report
def made_up(datasets=("alpaca_lsa", "hh_lsa"), n_seeds=4):
    """Make results in which "auto" gains .01 on the first dataset and loses .02 on the second."""
    rng = np.random.default_rng(0)
    records = []
    for dataset, gain in zip(datasets, (0.01, -0.02), strict=True):
        noise = rng.normal(scale=0.05, size=n_seeds)  # of a split, at every size
        for n in (100, 200):
            for seed in range(n_seeds):
                base = 0.6 + 0.02 * np.log2(n / 100) + noise[seed]
                at = {"dataset": dataset, "n_pairs": n, "seed": seed, "seconds": 1.0}
                values = {
                    "tuned linear": 0.0,
                    "GP": -0.03 if n == 100 else 0.03,
                    "GP, unlabelled": 0.1,
                    "longest": -0.05,
                    "auto": gain + (0.0 if n == 100 else 0.03) + 0.001 * (-1) ** seed,
                }
                for method, more in values.items():
                    record = at | {"method": method, "accuracy": base + more, "commit": "abc"}
                    record |= {"accuracy_matched": base + more - 0.1, "accuracy_shorter": 0.4}
                    if dataset.startswith("alpaca"):
                        record |= {"gold": 10 * (base + more), "random": -5.0, "oracle": 1.0}
                    if method != "longest":
                        record |= {"log_loss": 0.6, "log_loss_best_slope": 0.59, "ece": 0.05}
                        record["reliability"] = [[10, 0], [2.0, 0.0], [3, 0]]
                    records.append(record)
    return records


def cells(table, row):
    (line,) = (one for one in table.splitlines() if one.startswith(f"| {row} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_best_rival_is_another_at_each_size_and_reads_what_the_method_reads():
    rivals = embedders_report.rivals_of("auto")
    assert "tuned linear, both" in rivals and "LENS 4x" in rivals
    assert not {"longest", "auto", "GP, unlabelled"} & set(rivals)
    assert "GP, unlabelled" in embedders_report.rivals_of("auto, unlabelled")
    differences, best = embedders_report.rival_differences(made_up(), "auto", rivals, "accuracy")
    assert best["hh_lsa", 100] == "tuned linear" and best["hh_lsa", 200] == "GP"
    np.testing.assert_allclose(differences["alpaca_lsa"][100], [0.011, 0.009, 0.011, 0.009])


def test_differences_are_averaged_over_embedders_split_by_split():
    title, table, verdict = embedders_report.rival_table(
        made_up(), "auto", embedders_report.rivals_of("auto"), "single rival", "accuracy"
    )
    assert title.endswith("pair accuracy")
    # Both data sets have the same ± .001 over the splits: Student's interval of 4.
    half = interval(np.array([0.011, 0.009, 0.011, 0.009])).half_width
    assert cells(table, "alpaca_lsa")[0] == f"+0.010 ± {half:.3f} ↑ (tuned linear)"
    assert cells(table, "hh_lsa")[1] == f"**−0.020 ± {half:.3f}** (Gaussian process)"
    assert cells(table, "average of all") == [f"**−0.005 ± {half:.3f}**"] * 2
    assert cells(table, "average of hh") == [f"**−0.020 ± {half:.3f}**"] * 2
    assert verdict == (
        "Below the best single rival beyond the interval in 2 of 4 settings: "
        "hh_lsa at N = 100; hh_lsa at N = 200."
    )
    gold = embedders_report.rival_table(
        made_up(), "auto", embedders_report.rivals_of("auto"), "single rival", "gold"
    )
    assert "hh_lsa" not in gold[1] and gold[2].endswith("in 0 of 2 settings.")
    assert not embedders_report.rival_table(made_up(), "auto, unlabelled", rivals=[], title="",
                                            metric="gold")  # fmt: skip


def test_an_average_needs_a_split_on_every_embedder():
    records = [r for r in made_up() if (r["dataset"], r["seed"]) != ("hh_lsa", 3)]
    _, table, _ = embedders_report.rival_table(
        records, "auto", embedders_report.rivals_of("auto"), "single rival", "accuracy"
    )
    half = interval(np.array([-0.004, -0.006, -0.004])).half_width
    assert cells(table, "average of all")[0] == f"**−0.005 ± {half:.3f}**"


def test_shortcuts_and_probabilities_have_their_tables():
    records = [r for r in made_up() if r["dataset"] == "alpaca_lsa"]
    (table,) = embedders_report.shortcut_table(records)
    assert table.startswith("| N = 200 ")
    assert cells(table, "the longest response")[3] == "0.400"
    (table,) = embedders_report.calibration_table(records)
    # In each split's bin: 10 pairs of probability .2 on average, of which 3 came true.
    assert cells(table, "auto") == ["0.600 / 0.590 / 0.050, pooled 0.100"] * 2
    assert "longest" not in table
    for record in records:
        if record["method"] == "auto" and record["n_pairs"] == 200:
            record["ece"] = 0.07
    _, missed = embedders_report.calibration_table(records)
    assert missed.endswith("an error above 0.06: auto at N = 200.")
    without = [{k: v for k, v in r.items() if k != "ece"} for r in records]
    assert embedders_report.calibration_table(without) == []
    opposite = {"method": "auto", "n_pairs": 100, "reliability": [[10, 0], [4.0, 0.0], [3, 0]]}
    found = embedders_report.pooled_error([*records[:5], opposite], "auto", 100)
    assert found == pytest.approx(0), "the noise of splits cancels"
    assert embedders_report.pooled_error(records, "longest", 100) is None


def test_multipliers_are_read_twice():
    records = [r for r in made_up() if r["dataset"] == "alpaca_lsa"]
    (table,) = embedders_report.multiplier_table(records, "accuracy_matched")
    assert cells(table, "tuned linear")[0].startswith("1.0 [1.0, 1.0]")
    assert cells(table, "auto")[0].startswith("1.4"), "half a doubling"
    assert embedders_report.multiplier_table(records[:5], "accuracy") == []


def test_the_report_of_embedders(tmp_path, capsys):
    (tmp_path / "embedders.jsonl").write_text(compact(made_up()))
    assert read_records(tmp_path / "embedders.jsonl")[0]["reliability"] == [
        [10, 0],
        [2.0, 0.0],
        [3, 0],
    ]
    made = tmp_path / "made"
    report.main(["--suite", "embedders", "--results", str(tmp_path), "-o", str(made)])
    out = capsys.readouterr().out
    for title in (
        "### auto against the best single rival: gold of the pick",
        "### auto against the best shortcut: pair accuracy, lengths alike",
        "| data multiplier by pair accuracy, lengths alike ",
        "| log loss / at the best slope / calibration error ",
        "commit abc",
    ):
        assert title in out
    names = {
        f"{kind}_{d}.png" for kind in ("curves", "reliability") for d in ("alpaca_lsa", "hh_lsa")
    }
    assert {file.name for file in made.iterdir()} == {"report.md", *names}
    assert all(f"]({name})" in out for name in names)


def test_bins_are_pooled_over_splits():
    bins = [
        {"reliability": [[1, 2], [0.5, 1.5], [0, 2]]},
        {"reliability": [[3, 0], [1, 0], [1, 0]]},
    ]
    np.testing.assert_allclose(figures.pooled_bins(bins), [[4, 2], [1.5, 1.5], [1, 2]])


def test_layers_are_rows_and_poolings_columns():
    records = [
        {
            "dataset": f"hh_smollm2_{pooling}{layer}",
            "n_pairs": n,
            "seed": seed,
            "method": "tuned linear",
            "accuracy": 0.5 + layer / 100 + seed / 10,
        }
        for pooling in ("last", "mean")
        for layer in (4, 18)
        for n in (100, 300)
        for seed in (0, 1)
        if (pooling, layer, n) != ("mean", 4, 300)
    ]
    title, table = embedders_report.layer_tables(records)
    assert title == "### hh: pair accuracy"
    assert table.splitlines()[0].split("|")[2:-1] == [
        f" {p}, N = {n} " for p in ("last", "mean") for n in (100, 300)
    ]
    assert cells(table, "4") == ["0.590", "0.590", "0.590", ""]
    assert cells(table, "18") == ["0.730"] * 4
