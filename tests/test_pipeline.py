"""The README's promises, end to end: pipelines, searches, caches, clones and files."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import Pipeline
from tiny_models import save_encoder

from lens_sklearn import (
    BestOfNScorer,
    BTRewardRegressor,
    ContrastiveVAE,
    DistillationAugmenter,
    EmbeddingScaler,
    LatentPairAugmenter,
    LLMEmbedder,
    WithinPromptWhitening,
    prompt_groups,
)

WORDS = "the a soup salt water boil stir slowly then serve hot never always maybe no".split()


@pytest.fixture(scope="module")
def rows():
    """Preference rows on 12 prompts: the chosen one has more words."""
    rng = np.random.default_rng(0)

    def text(n_words):
        return " ".join(rng.choice(WORDS, n_words))

    return [
        {"prompt": f"prompt {i % 12}", "chosen": text(12), "rejected": text(5)} for i in range(48)
    ]


@pytest.fixture(scope="module")
def candidate_rows():
    """Candidate rows, one of them short, and their gold: the number of words."""
    rng = np.random.default_rng(1)
    rows = [
        {"prompt": f"new {i}", "responses": [" ".join(rng.choice(WORDS, n)) for n in lengths]}
        for i, lengths in enumerate([(3, 5, 12), (12, 4, 6), (7, 12, 3), (5, 9)])
    ]
    gold = np.full((4, 3), np.nan)
    for i, row in enumerate(rows):
        gold[i, : len(row["responses"])] = [len(text.split()) for text in row["responses"]]
    return rows, gold


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny random encoder on disk."""
    return str(save_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture
def pipe(model_folder):
    """The README's Pipeline with a tiny model and short training."""
    return Pipeline(
        [
            ("embed", LLMEmbedder(model_folder, pooling="mean")),
            ("scale", EmbeddingScaler()),
            (
                "augment",
                LatentPairAugmenter(
                    ContrastiveVAE(4, 8, gamma=0.1, max_epochs=3), factor=4, random_state=0
                ),
            ),
            (
                "reward",
                BTRewardRegressor(16, learning_rate=1e-2, max_epochs=8, random_state=0),
            ),
        ]
    )


def test_fit_and_score_the_two_ways(pipe, rows, candidate_rows):
    pipe.fit(rows)
    assert 0.5 < pipe.score(rows) <= 1
    assert np.nanmin(candidate_rows[1]) <= pipe.score(*candidate_rows) <= 12
    rewards = pipe.predict(candidate_rows[0])
    assert rewards.shape == (4, 3)
    assert np.isnan(rewards).tolist() == np.isnan(candidate_rows[1]).tolist()


def test_soft_targets_travel_through_the_pipeline(pipe, rows):
    straight = pipe.fit(rows).predict(rows)
    against = clone(pipe).fit(rows, np.zeros(len(rows))).predict(rows)
    assert (np.diff(straight).mean() < 0) and (np.diff(against).mean() > 0)


def test_unlabelled_rows_of_text_are_learnt_from(pipe, rows, candidate_rows):
    pipe.set_params(
        augment=DistillationAugmenter(factor=4, random_state=0),
        transform_input=["unlabeled"],
    )
    with sklearn.config_context(enable_metadata_routing=True):
        alone = clone(pipe).fit(rows).predict(rows)
        pipe.fit(rows, unlabeled=candidate_rows[0])
    assert (pipe.predict(rows) != alone).any()
    teacher = pipe["augment"].teacher_
    usable = np.isfinite(candidate_rows[1]).sum()
    n_responses = 2 * len(rows) + usable
    assert len(teacher.whitening_.directions) == min(n_responses, pipe[-1].n_features_in_)
    assert teacher.whitening_.gains.ndim == 2, "the whitening is that of the unlabelled responses"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_the_latent_parameters(pipe, rows, candidate_rows, n_jobs):
    search = GridSearchCV(
        pipe,
        {"augment__vae__gamma": [0, 0.5], "augment__noise_variance": [1e-3, 1e-1]},
        cv=GroupKFold(3),
        n_jobs=n_jobs,
        scoring={"best_of_n": BestOfNScorer(*candidate_rows), "accuracy": passthrough},
        refit="best_of_n",
    )
    search.fit(rows, groups=prompt_groups(rows))
    assert len(search.cv_results_["mean_test_best_of_n"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_accuracy"]).all()
    assert search.best_estimator_.predict(candidate_rows[0]).shape == (4, 3)


def passthrough(estimator, X, y=None):
    """The estimator's own score, pair accuracy."""
    return estimator.score(X)


def test_scoring_folds_are_not_augmented(pipe, rows, monkeypatch):
    seen = []
    score = BTRewardRegressor.score
    monkeypatch.setattr(
        BTRewardRegressor, "score", lambda self, X, y=None: seen.append(X.shape) or score(self, X)
    )
    cross_validate(pipe, rows, cv=GroupKFold(3), groups=prompt_groups(rows))
    assert [shape[0] for shape in seen] == [16, 16, 16]


def test_memory_of_the_pipeline_changes_no_number(pipe, rows, tmp_path):
    expected = clone(pipe).fit(rows).predict(rows)
    for _ in range(2):
        cached = clone(pipe).set_params(memory=str(tmp_path)).fit(rows)
        np.testing.assert_array_equal(cached.predict(rows), expected)


def test_pandas_output_leaves_three_d_arrays_alone(pipe, rows):
    expected = clone(pipe).fit(rows).predict(rows)
    with sklearn.config_context(transform_output="pandas"):
        np.testing.assert_array_equal(clone(pipe).fit(rows).predict(rows), expected)


def test_metadata_routing(pipe, rows, candidate_rows):
    weight = np.linspace(0.1, 1, len(rows))
    by_hand = clone(pipe).fit(rows, reward__sample_weight=weight).predict(rows)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(pipe)
        routed.named_steps["reward"].set_fit_request(sample_weight=True)
        routed.named_steps["reward"].set_score_request(sample_weight=True)
        routed.fit(rows, sample_weight=weight)
        np.testing.assert_array_equal(routed.predict(rows), by_hand)
        assert np.isfinite(routed.score(*candidate_rows))
        rewards = routed.predict(rows)
        right = rewards[:, 0] > rewards[:, 1]
        assert routed.score(rows, None, sample_weight=weight) == pytest.approx(
            np.average(right, weights=weight)
        )
        cross_validate(
            routed, rows, cv=GroupKFold(2),
            params={"sample_weight": weight, "groups": prompt_groups(rows)},
        )  # fmt: skip


def test_prompts_reach_the_reward_and_unknown_metadata_is_refused(pipe, rows, monkeypatch):
    groups, seen = prompt_groups(rows), []
    fit = BTRewardRegressor.fit

    def record(self, X, y=None, sample_weight=None, *, groups=None):
        seen.append(groups)
        return fit(self, X, y, sample_weight, groups=groups)

    monkeypatch.setattr(BTRewardRegressor, "fit", record)
    with sklearn.config_context(enable_metadata_routing=True):
        pipe.fit(rows, groups=groups)
        with pytest.raises(TypeError, match="unlabeled"):
            pipe.fit(rows, unlabeled=rows)  # nobody requests it
    np.testing.assert_array_equal(seen, [groups])


def test_every_step_before_the_reward_has_feature_names(pipe, rows):
    pipe.fit(rows)
    names = pipe[:-1].get_feature_names_out()
    assert len(names) == len(set(names)) == pipe[-1].n_features_in_
    assert names[0] == "llmembedder0"
    for augmenter in (DistillationAugmenter(factor=2), WithinPromptWhitening()):
        pipe.set_params(augment=augmenter).fit(rows)
        assert len(pipe[:-1].get_feature_names_out()) == pipe[-1].n_features_in_


def test_clone_is_unfitted_and_equal(pipe, rows):
    pipe.fit(rows)
    again = clone(pipe)
    assert not hasattr(again.named_steps["augment"], "vae_")
    np.testing.assert_array_equal(again.fit(rows).predict(rows), pipe.predict(rows))


def test_another_process_predicts_the_same_to_the_bit(pipe, rows, tmp_path):
    pipe.fit(rows)
    joblib.dump(pipe, tmp_path / "reward.joblib")
    joblib.dump(rows, tmp_path / "rows.joblib")
    code = (
        "import joblib, numpy, sys, torch; torch.set_num_threads(1)\n"
        "folder = sys.argv[1]\n"
        "pipe = joblib.load(folder + '/reward.joblib')\n"
        "numpy.save(folder + '/out.npy', pipe.predict(joblib.load(folder + '/rows.joblib')))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), pipe.predict(rows))


def test_the_steps_work_in_imbalanced_learns_pipeline(pipe, rows):
    imblearn = pytest.importorskip("imblearn.pipeline", reason="needs imbalanced-learn")
    theirs = imblearn.Pipeline(clone(pipe).steps)
    np.testing.assert_array_equal(theirs.fit(rows).predict(rows), pipe.fit(rows).predict(rows))


def test_text_forms_are_interchangeable(pipe, rows):
    import pandas as pd

    expected = clone(pipe).fit(rows).predict(rows)
    np.testing.assert_array_equal(clone(pipe).fit(pd.DataFrame(rows)).predict(rows), expected)
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    search = GridSearchCV(pipe, {"augment__factor": [1, 2]}, cv=2)
    assert np.isfinite(search.fit(array).cv_results_["mean_test_score"]).all()
