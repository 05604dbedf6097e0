"""Embeddings of a server: rows, order, what an answer may hold, and resumed work."""

import numpy as np
import pytest
from fake_server import error, fake_server
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from lens_sklearn import AugmentedPairs, BTRewardRegressor, EmbeddingScaler
from lens_sklearn.textual import AugmentedRows, ServerEmbedder

pytest.importorskip("openai", reason="needs the extra server")
PAIRS = [
    {"prompt": f"why {i}", "chosen": f"because {i}", "rejected": "no" * (i + 1)} for i in range(5)
]


@pytest.fixture(scope="module")
def process():
    with fake_server() as server:
        yield server


@pytest.fixture
def server(process):
    process.__init__(process.url)
    process.answer = answer
    return process


@pytest.fixture
def embedder(server):
    return ServerEmbedder("e", base_url=server.url, batch_size=3, max_retries=1, timeout=5)


def vector(text):
    return [float(len(text)), float(sum(map(ord, text)) % 101), 1.0]


def answer(body, entries=None):
    if entries is None:
        entries = [{"index": i, "embedding": vector(t)} for i, t in enumerate(body["input"])]
    return {"object": "list", "data": entries, "model": body["model"]}


def texts(server):
    return [text for body in server.bodies[1:] for text in body["input"]]  # the first is fit's


def test_pairs_are_joined_as_without_a_template(embedder, server):
    pairs = embedder.fit_transform(PAIRS)
    assert pairs.shape == (5, 2, 3) and pairs.dtype == np.float32
    for i, row in enumerate(PAIRS):
        for j, column in enumerate(("chosen", "rejected")):
            assert pairs[i, j].tolist() == vector(f"{row['prompt']}\n{row[column]}")
    assert embedder.n_features_out_ == 3 and embedder.n_embedded_ == 10
    assert embedder.get_feature_names_out().tolist() == [f"serverembedder{i}" for i in range(3)]
    assert [len(body["input"]) for body in server.bodies].count(3) == 3
    fields = {"model": "e", "encoding_format": "float"}
    assert all({k: b[k] for k in b if k != "input"} == fields for b in server.bodies)
    assert set(server.paths) == {"/v1/embeddings"}


def test_candidates_are_ragged_and_equal_texts_sent_once(embedder, server):
    rows = [{"prompt": "p", "responses": ["a", "b", "a"]}, {"prompt": "p", "responses": ["b"]}]
    candidates = embedder.fit(rows).transform(rows)
    assert candidates.shape == (2, 3, 3)
    assert np.isnan(candidates[1, 1:]).all() and np.isfinite(candidates[0]).all()
    assert (candidates[0, 0] == candidates[0, 2]).all()
    assert (candidates[0, 1] == candidates[1, 0]).all()
    assert sorted(texts(server)) == ["p\na", "p\nb"]


def test_embeddings_go_where_their_index_says(embedder, server):
    expected = embedder.fit_transform(PAIRS)
    server.answer = lambda body: answer(body, answer(body)["data"][::-1])
    assert (clone(embedder).fit_transform(PAIRS) == expected).all()
    server.answer = lambda body: answer(body, [{"embedding": vector(t)} for t in body["input"]])
    assert (clone(embedder).fit_transform(PAIRS) == expected).all()


def test_it_stands_where_an_embedder_does(embedder):
    rng = np.random.default_rng(0)
    rows = [
        {"prompt": "why", "chosen": "a" * rng.integers(9, 15), "rejected": "a" * rng.integers(1, 8)}
        for _ in range(20)
    ]
    pipe = make_pipeline(embedder, EmbeddingScaler(), BTRewardRegressor(4, random_state=0))
    assert pipe.fit(rows).predict(rows).shape == (20, 2)


def test_synthetic_rows_remember_their_parents(embedder):
    rows = AugmentedRows([*PAIRS, *PAIRS[:2]], [0, 1, 2, 3, 4, 0, 1], [0] * 5 + [1] * 2)
    pairs = embedder.fit_transform(rows)
    assert isinstance(pairs, AugmentedPairs) and pairs.parent.tolist() == [0, 1, 2, 3, 4, 0, 1]


# ------------------------------------------------------------------------------ empty texts
def test_empty_texts_are_refused_dropped_or_kept(embedder):
    rows = [*PAIRS[:2], {"prompt": "why", "chosen": "a", "rejected": " "}]
    with pytest.raises(ValueError, match="row 2, column 'rejected': the text is empty"):
        embedder.fit_transform(rows)
    embedder.set_params(on_invalid="keep")
    assert embedder.fit_transform(rows)[2, 1].tolist() == vector("why\n ")
    embedder.set_params(on_invalid="drop")
    with pytest.warns(UserWarning, match="leaves out 1 of 3 rows"):
        assert embedder.fit_transform(rows).shape == (2, 2, 3)
    with pytest.warns(UserWarning, match="leaves out 1 of 3 rows"):
        assert np.isnan(embedder.transform(rows)[2]).all()
    with (
        pytest.warns(UserWarning, match="leaves out"),
        pytest.raises(ValueError, match=r"on_invalid='drop': 1 of 3 rows \(first: row 2\).*y"),
    ):
        embedder.fit_transform(rows, [1, 1, 1])


def test_a_blank_text_is_named_before_anything_is_sent(embedder, server):
    rows = [{"responses": ["a", " "]}]
    embedder.fit()
    with pytest.raises(ValueError, match=r"row 0, responses\[1\]: the text is blank"):
        embedder.transform(rows)
    assert texts(server) == []


def test_pairs_that_a_server_makes_equal_are_warned_of(embedder, server):
    server.answer = lambda body: answer(
        body, [{"index": i, "embedding": vector(t[:5])} for i, t in enumerate(body["input"])]
    )
    rows = [{"prompt": "a long prompt", "chosen": "a", "rejected": "b"}]
    with pytest.warns(UserWarning, match="in 1 of 1 rows .*may have been cut off by the server"):
        embedder.fit_transform(rows)


# ------------------------------------------------------------------------------ answers
@pytest.mark.parametrize(
    "entries, said",
    [
        (lambda e: e[:-1], r"row \d, .*expected 'data' with \d embeddings, got \d"),
        (lambda e: [*e, e[0]], "expected 'data' with"),
        (lambda e: {}, "expected 'data' with . embeddings, got dict"),
        (lambda e: [{**x, "index": 0} for x in e], "the indices of the embeddings are"),
        (lambda e: [{"index": 0, "embedding": "AAAA"} for x in e], "entries with a list"),
        (lambda e: [{**x, "embedding": ["a"]} for x in e], "is no list of numbers"),
        (lambda e: [{**x, "embedding": [[1.0]]} for x in e], r"has the shape \(1, 1\)"),
        (lambda e: [{**x, "embedding": []} for x in e], r"has the shape \(0,\)"),
        (lambda e: [{**x, "embedding": [1.0, None, 2.0]} for x in e], "1 of the 3 values"),
        (lambda e: [{**x, "embedding": [1e39, 1.0, 2.0]} for x in e], "NaN or infinite"),
        (lambda e: [{**x, "embedding": [float("nan")] * 3} for x in e], "3 of the 3 values"),
    ],
)
def test_an_answer_that_is_not_as_it_should_be(embedder, server, entries, said):
    embedder.fit()
    server.answer = lambda body: answer(body, entries(answer(body)["data"]))
    with pytest.raises(RuntimeError, match=said):
        embedder.transform(PAIRS)


def test_another_length_than_before_is_named(embedder, server, tmp_path):
    embedder.set_params(store=tmp_path).fit()
    server.answer = lambda body: answer(
        body, [{"index": i, "embedding": [1.0, float(len(t))]} for i, t in enumerate(body["input"])]
    )
    with pytest.raises(ValueError, match="row 0, column 'chosen': the embedding has 2 values"):
        embedder.transform(PAIRS)


def test_a_failure_keeps_what_is_there(embedder, server, tmp_path):
    expected = clone(embedder).fit_transform(PAIRS)
    refused = "why 3\nbecause 3"
    server.bodies.clear()
    server.answer = lambda body: error(400, "no") if refused in body["input"] else answer(body)
    embedder.set_params(store=tmp_path, n_concurrent=1, batch_size=1)
    with pytest.raises(RuntimeError, match="row 3, column 'chosen': .*400: no.*are in the store"):
        embedder.fit_transform(PAIRS)
    assert len(server.bodies) == 8  # fit's, six and the one that failed
    server.bodies.clear()
    server.answer = answer
    again = clone(embedder).set_params(batch_size=32)
    assert (again.fit_transform(PAIRS) == expected).all()
    assert again.n_embedded_ == 4 and len(server.bodies) == 1  # fit's word is there too
    other = clone(embedder).set_params(extra_body={"dimensions": 3}).fit(PAIRS)
    assert other.n_embedded_ == 1 and server.bodies[-1]["dimensions"] == 3
