"""What a process is killed in the middle of; each is run in a process of its own."""

import os
import warnings

import joblib
from sklearn.pipeline import make_pipeline

from lens_sklearn import EmbeddingScaler, LinearRewardRegressor, LLMEmbedder, export
from lens_sklearn.textual import ResponseGenerator

from .zoo import some_rows

N_ROWS = 60


def embed(model, folder):
    """Embed rows into a store and a file.

    Parameters
    ----------
    model : str
        A language model.
    folder : Path
        Gets the folders ``store`` and ``out``.

    Returns
    -------
    memmap
        The embeddings.
    """
    embedder = LLMEmbedder(
        model, device="cpu", batch_tokens=64, store=folder / "store", out=folder / "out"
    )
    return embedder.fit_transform(some_rows(N_ROWS))


def generate(model, folder):
    """Sample responses into a store.

    Parameters
    ----------
    model : str
        A language model.
    folder : Path
        Gets the folder ``store``.

    Returns
    -------
    list of dict
        Candidate rows.
    """
    generator = ResponseGenerator(
        model, n_samples=2, max_new_tokens=8, batch_tokens=128, device="cpu",
        store=folder / "store", random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty responses: the words are drawn at random
        return generator.fit_transform([row["prompt"] for row in some_rows(N_ROWS // 2)])


def fit(model, folder):
    """Fit a pipeline of rows and save it over another.

    Parameters
    ----------
    model : str
        A language model.
    folder : Path
        Gets the folders ``store`` and ``model``.

    Returns
    -------
    Pipeline
        As it was saved.
    """
    embedder = LLMEmbedder(model, device="cpu", batch_tokens=256, store=folder / "store")
    pipeline = make_pipeline(embedder, EmbeddingScaler(), LinearRewardRegressor(cv=2))
    export.save(pipeline.fit(some_rows(N_ROWS)), folder / "model")
    return pipeline


def save(model, folder):
    """Save two models in turn, 50 times.

    Parameters
    ----------
    model : str
        Not used.
    folder : Path
        Has the file ``models``; gets the folder ``model``.
    """
    models = joblib.load(folder / "models")
    for i in range(50):
        export.save(models[i % 2], folder / "model")


def run(job, model, folder, connection):
    """Do a job when told to: the time before it is not what is to be killed.

    Parameters
    ----------
    job : callable
        One of this module.
    model : str
        A language model.
    folder : Path
        For what it writes.
    connection : multiprocessing.connection.Connection
        Is told when the job begins.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    connection.send("begins")
    job(model, folder)
