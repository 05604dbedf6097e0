"""A warning names the line of whoever called the package, however deep it arises."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_validate
from sklearn.pipeline import make_pipeline

from lens_sklearn import BTRewardRegressor, ContrastiveVAE, EmbeddingScaler, LatentPairAugmenter
from lens_sklearn._warnings import warn

NONE_KEPT = LatentPairAugmenter(
    ContrastiveVAE(2, 2, max_epochs=1), keep="certified", noise_variance=1e6, random_state=0
)


def test_it_names_the_callers_line_in_this_file():
    with pytest.warns(ConvergenceWarning, match="that is wrong") as caught:
        warn("that is wrong", ConvergenceWarning)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "call",
    [
        lambda pairs: NONE_KEPT.fit_transform(pairs),
        lambda pairs: NONE_KEPT.fit(pairs).augment(pairs),
        lambda pairs: make_pipeline(
            EmbeddingScaler(), NONE_KEPT, BTRewardRegressor(max_epochs=1)
        ).fit(pairs),
        lambda pairs: cross_validate(
            make_pipeline(NONE_KEPT, BTRewardRegressor(max_epochs=1)), pairs, cv=2
        ),
    ],
    ids=["fit_transform", "augment", "Pipeline", "cross_validate"],
)
def test_it_is_the_same_from_every_path(pairs, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(np.asarray(pairs))
    ours = [w for w in caught if "keeps none" in str(w.message)]
    assert ours and {w.filename for w in ours} == {__file__}


def test_the_command_line_counts_as_a_caller(tmp_path, monkeypatch):
    """Its filter shows what is attributed to the package, and nothing else."""
    from lens_sklearn.cli import _output

    code = compile("warn('shown')", _output.__file__, "exec")
    with pytest.warns(UserWarning, match="shown") as caught:
        exec(code, {"warn": warn, "__name__": _output.__name__})
    assert caught[0].filename == _output.__file__
