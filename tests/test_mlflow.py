"""MLflow's scikit-learn flavour keeps a pipeline; and so do its artifacts, without pickle."""

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from lens_sklearn import (
    BTRewardRegressor,
    ContrastiveVAE,
    EmbeddingScaler,
    LatentPairAugmenter,
    LinearRewardRegressor,
    ResponseFeatures,
)

flavour = pytest.importorskip(
    "mlflow.sklearn", reason="MLflow is optional and large, and no extra installs it"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own

WITHOUT_LOOKING = {"pip_requirements": ["lens-sklearn"]}  # else it loads the model elsewhere
TEXTS = [{"prompt": f"q{i}", "chosen": "yes, " * (i % 3 + 2), "rejected": "no"} for i in range(20)]
ASKED = [{"prompt": "q", "responses": ["yes", "yes, yes, indeed"]}]


def test_a_network_behind_an_augmenter(pairs, candidates, tmp_path):
    pipe = Pipeline(
        [
            ("scale", EmbeddingScaler()),
            ("augment", LatentPairAugmenter(ContrastiveVAE(max_epochs=1), random_state=0)),
            ("reward", BTRewardRegressor(max_epochs=2, random_state=0)),
        ]
    ).fit(pairs)
    path = str(tmp_path / "model")
    flavour.save_model(pipe, path, serialization_format="cloudpickle", **WITHOUT_LOOKING)
    again = flavour.load_model(path)
    np.testing.assert_array_equal(again.predict(candidates[0]), pipe.predict(candidates[0]))
    assert again.score(*candidates) == pipe.score(*candidates)


@pytest.mark.parametrize("serialization_format", ["cloudpickle", "skops"])
def test_a_pipeline_of_text(serialization_format, tmp_path):
    steps = [("features", ResponseFeatures()), ("reward", LinearRewardRegressor())]
    pipe = Pipeline(steps).fit(TEXTS)
    params = {"serialization_format": serialization_format} | WITHOUT_LOOKING
    if serialization_format == "skops":
        params["skops_trusted_types"] = [
            "lens_sklearn._linear_reward.LinearRewardRegressor",
            "lens_sklearn._response_features.ResponseFeatures",
        ]
    path = str(tmp_path / "model")
    flavour.save_model(pipe, path, **params)
    np.testing.assert_array_equal(flavour.load_model(path).predict(ASKED), pipe.predict(ASKED))
