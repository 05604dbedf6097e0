"""A training that diverges says so: ValueError, with the epoch and what to change."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, LatentPairAugmenter
from lens_sklearn._divergence import has_finite_weights, raise_diverged


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("learning_rate", [1e25, 1e30])
def test_a_reward_that_diverges(learning_rate, early_stopping, pairs):
    reward = BTRewardRegressor(
        8, learning_rate=learning_rate, early_stopping=early_stopping, random_state=0
    )
    message = r"the reward network diverged: .* not finite in epoch \d\. Lower learning_rate, wh"
    with pytest.raises(ValueError, match=message):
        reward.fit(pairs)
    assert not hasattr(reward, "net_")


def test_a_reward_whose_last_step_diverges(pairs):
    """No loss is computed after it: the weights alone tell."""

    class Spoil(Callback):
        def on_train_end(self, net, **kwargs):
            with torch.no_grad():
                net.module_.hidden.weight[0, 0] = np.inf

    reward = BTRewardRegressor(8, max_epochs=2, early_stopping=False, callbacks=[Spoil()])
    with pytest.raises(ValueError, match="not finite in epoch 2"):
        reward.fit(pairs)


def test_large_features_that_are_not_standardized(pairs):
    reward = BTRewardRegressor(8, standardize=False, output_init="uniform", random_state=0)
    with pytest.raises(ValueError, match="leave standardize=True where features are large"):
        reward.set_params(learning_rate=1e15).fit(pairs * np.float32(1e15))


@pytest.mark.parametrize("learning_rate, scale", [(1e3, 1e3), (1e15, 1.0), (1e12, 1e12)])
def test_an_autoencoder_that_diverges(learning_rate, scale, pairs):
    vae = ContrastiveVAE(learning_rate=learning_rate, max_epochs=20, random_state=0)
    size = f"{np.abs(pairs * np.float32(scale)).max():.3g}".replace("+", r"\+")
    message = rf"ContrastiveVAE diverged: .* in epoch \d+\. Lower .*, which go up to {size}\.$"
    with pytest.raises(ValueError, match=message):
        LatentPairAugmenter(vae).fit_transform(pairs * np.float32(scale))


def test_partial_fit_that_diverges_leaves_the_model(pairs):
    vae = ContrastiveVAE(max_epochs=2, random_state=0).fit(pairs)
    codes = vae.transform(pairs)
    with pytest.raises(ValueError, match="in epoch 3"):
        vae.partial_fit(pairs * np.float32(1e25))
    np.testing.assert_array_equal(vae.transform(pairs), codes)
    assert len(vae.partial_fit(pairs).history_) == 3


def test_a_search_leaves_out_what_diverges(pairs):
    search = GridSearchCV(
        BTRewardRegressor(8, max_epochs=3, random_state=0),
        {"learning_rate": [1e-2, 1e30]},
        cv=2,
        error_score=np.nan,
    )
    with pytest.warns(UserWarning, match="non-finite"), pytest.warns(FitFailedWarning) as caught:
        search.fit(pairs)
    assert any("diverged" in str(warning.message) for warning in caught)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores[0]) and np.isnan(scores[1])
    assert search.best_params_ == {"learning_rate": 1e-2}


@pytest.mark.parametrize("value, finite", [(1.0, True), (3e38, True), (np.nan, False),
                                           (np.inf, False)])  # fmt: skip
def test_finite_weights(value, finite):
    module = torch.nn.Linear(2, 2)
    with torch.no_grad():
        module.bias[:] = value  # the sum of two of 3e38 would not be
    assert has_finite_weights(module) is finite


def test_the_message_reads_as_a_sentence():
    with pytest.raises(ValueError) as error:
        raise_diverged("a model", "its loss is nan", 0.1, "rest")
    assert str(error.value) == (
        "the training of a model diverged: its loss is nan. Lower learning_rate, which is 0.1, or "
        "rest."
    )
