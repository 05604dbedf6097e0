"""Several machines, as two processes of a dask cluster: the same numbers, also after a loss."""

import os
import signal

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from tiny_models import save_encoder, sentence

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter, LLMEmbedder
from lens_sklearn._array_store import ArrayStore

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client():
    """A client of two worker processes on this machine."""
    # The memory manager would drop the second copy of the pairs that the search scatters, and a
    # killed worker the first.
    keep_copies = {"distributed.scheduler.active-memory-manager.start": False}
    with (
        dask.config.set(keep_copies),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny random encoder on disk."""
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def rows():
    """Preference rows with texts of many lengths."""
    rng = np.random.RandomState(0)
    return [
        {"chosen": sentence(rng, rng.randint(1, 30)), "rejected": sentence(rng, rng.randint(1, 30))}
        for _ in range(60)
    ]


def workers(client):
    return client.run(os.getpid)


def test_embeddings_are_those_of_one_process(client, model_folder, rows, tmp_path):
    local = LLMEmbedder(model_folder, batch_tokens=64).fit_transform(rows)
    embedder = LLMEmbedder(model_folder, batch_tokens=64, n_jobs=-1, store=tmp_path / "store")
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_array_equal(embedder.fit_transform(rows), local)
        mapped = LLMEmbedder(model_folder, batch_tokens=64, n_jobs=-1, out=tmp_path / "out")
        np.testing.assert_array_equal(mapped.fit_transform(rows), local)
    n_texts = len({text for row in rows for text in row.values()})
    assert len(ArrayStore(tmp_path / "store")) == n_texts
    # Only this process has the store open: the workers return vectors and write nothing.
    opened = client.run(lambda: list(__import__("lens_sklearn._array_store")
                                     ._array_store._OPEN))  # fmt: skip
    assert not any(opened.values())
    models = client.run(lambda: len(__import__("lens_sklearn._language_model")
                                    ._language_model._CACHE))  # fmt: skip
    assert set(models.values()) == {1}, "one model a worker"


def test_a_worker_killed_half_way_costs_no_embedding(
    client, model_folder, rows, tmp_path, monkeypatch
):
    local = LLMEmbedder(model_folder, batch_tokens=32).fit_transform(rows)
    before = workers(client)
    put_many, killed = ArrayStore.put_many, []

    def put_and_kill(self, *args):
        put_many(self, *args)
        if not killed:
            killed.append(next(iter(before.values())))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(ArrayStore, "put_many", put_and_kill)
    embedder = LLMEmbedder(model_folder, batch_tokens=32, n_jobs=-1, store=tmp_path / "store")
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_array_equal(embedder.fit_transform(rows), local)
    client.wait_for_workers(2)
    assert killed[0] not in workers(client).values()


class KillOnce:
    """A scorer whose first call is the death of the process that it runs in."""

    def __init__(self, flag):
        self.flag = str(flag)

    def __call__(self, estimator, X, y=None):
        if not os.path.exists(self.flag):
            open(self.flag, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return estimator.score(X)


def test_grid_search_scores_are_those_of_one_process(client, pairs, tmp_path):
    pipe = Pipeline(
        [
            ("augment", LatentPairAugmenter(ContrastiveVAE(4, 8, max_epochs=3), random_state=0)),
            ("reward", BTRewardRegressor(16, learning_rate=1e-2, max_epochs=4, random_state=0)),
        ]
    )
    grid = {"augment__vae__gamma": [0, 0.5], "augment__noise_variance": [0.01, 1.0]}
    local = GridSearchCV(pipe, grid, cv=3).fit(pairs)
    with joblib.parallel_config(backend="dask", scatter=[pairs]):  # a copy on every worker
        spread = GridSearchCV(pipe, grid, cv=3, n_jobs=-1).fit(pairs)
        scorer = KillOnce(tmp_path / "killed")
        survived = GridSearchCV(pipe, grid, cv=3, n_jobs=-1, scoring=scorer, refit=False).fit(pairs)
    assert (tmp_path / "killed").exists()
    for search in (spread, survived):
        for name in ("split0_test_score", "split2_test_score", "mean_test_score"):
            np.testing.assert_array_equal(search.cv_results_[name], local.cv_results_[name])
    np.testing.assert_array_equal(spread.predict(pairs), local.predict(pairs))
