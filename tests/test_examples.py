"""The gallery's examples run as they are, without a warning, and draw something."""

import runpy
from pathlib import Path

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="draws")

# Those with a number embed text or train a language model: the site's build in .ci/run runs them.
EXAMPLES = sorted((Path(__file__).parents[1] / "docs" / "examples").glob("plot_[!0-9]*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, monkeypatch):
    matplotlib.use("Agg")
    from matplotlib import pyplot

    monkeypatch.setattr("sys.argv", [str(path)])
    monkeypatch.delenv("DISPLAY", raising=False)  # show() has nobody to show it to
    try:
        runpy.run_path(str(path))
        assert pyplot.get_fignums()
    finally:
        pyplot.close("all")


@pytest.mark.slow
def test_smollm2_is_judged(packaged, capsys):
    packaged("smollm2")
    runpy.run_path(str(EXAMPLES[0].parent / "run_smollm2_as_judge.py"))
    shown = capsys.readouterr().out
    assert "<|im_start|>user" in shown and "Response:" in shown
    assert shown.count("beyond longest") == shown.count("72 pairs,") == 2


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
