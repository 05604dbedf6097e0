"""What the README and the site say is there: names, commands, links, examples."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from test_docstrings import public_objects, resolve

from lens_sklearn.cli._main import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "user_guide").glob("*.md")]
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))

sys.path.insert(0, str(DOCS / "_extensions"))
from links_out_of_the_docs import rewrite  # noqa: E402
from math_without_a_script import mathml  # noqa: E402
from names_of_the_api import INDEX, find, public_names  # noqa: E402


def page_id(page):
    return page.relative_to(ROOT).as_posix()


def test_every_public_name_is_in_the_api_once():
    text = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   ([\w.]+)$", text, re.M)
    values = [resolve(f"lens_sklearn.{name}") for name in listed]
    twice = {name for name, value in zip(listed, values, strict=True) if values.count(value) > 1}
    assert not twice
    missing = []
    for name in public_objects():
        value = resolve(name)
        is_method = isinstance(resolve(name.rpartition(".")[0]), type)
        is_command = name.startswith("lens_sklearn.cli.")  # its reference is --help
        if not is_method and not is_command and value not in values:
            missing.append(name)
    assert not missing, "give it a line in docs/api/index.rst"


def test_private_names_are_not_in_the_api():
    text = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    assert not re.findall(r"^   (?:\w+\.)*_\w+$", text, re.M)


def commands(page):
    """Return the commands of a page's shell blocks, without redirections and comments."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&|;", line):
                if part.strip().startswith("lens-sklearn ") and "..." not in part:
                    yield shlex.split(part, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_of_pages_are_understood(page):
    for words in commands(page):
        make_parser().parse_args(words)  # exits, and so fails, on what it does not know


def test_pages_have_commands():
    assert sum(len(list(commands(page))) for page in PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_of_pages_compiles(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    for block in blocks:
        if ">>>" not in block:
            compile(block, page_id(page), "exec")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_local_links_of_pages_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s#]+)", text):
        made = "auto_examples/images/sphx_glr_" in target  # by the build, which checks it
        if not made and not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_first_command_installs_what_the_first_example_needs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index('pip install "lens-sklearn[demo] @') < text.index("```python")
    assert '"minilm"' in text[: text.index("## Which one")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_asks_and_answers(path):
    text = path.read_text(encoding="utf-8")
    title, rule = text.split("\n")[1:3]
    assert title.endswith("?") and rule == "=" * len(title)
    assert text.count("# **What to take away.**") == 1


def test_there_are_eight_examples():
    assert len(EXAMPLES) >= 8


def test_links_out_of_the_docs_go_to_the_repository():
    def sent(link):
        return rewrite(f"[x]({link})", DOCS / "research", "https://host/me")

    assert sent("../../benchmarks/results/README.md") == (
        "[x](https://host/me/blob/main/benchmarks/results/README.md)"
    )
    assert sent("../../benchmarks#a") == "[x](https://host/me/tree/main/benchmarks#a)"
    assert sent("../examples/plot_theorem2.py") == "[x](../auto_examples/plot_theorem2.rst)"
    assert sent("../examples") == "[x](../auto_examples/index.rst)"
    for same in ("results.md#a", "../user_guide/theory.md", "../../nothing.md", "https://a.b/c"):
        assert sent(same) == f"[x]({same})"


@pytest.mark.parametrize(
    "literal, target",
    [
        ("LLMEmbedder", "LLMEmbedder"),
        ('LLMEmbedder(store="e", n_jobs=4)', "LLMEmbedder"),
        ("lens_sklearn.LLMEmbedder", "LLMEmbedder"),
        ("ResponseGenerator", "textual.ResponseGenerator"),
        ("theory.noise_radius", "theory.noise_radius"),
        ("noise_radius", "theory.noise_radius"),
        ("export.save", "export.save"),
        ("save", None),  # a method of others too
        ("VotingRegressor", None),  # scikit-learn's
        ("BTRewardRegressor.fit", None),
        ("from lens_sklearn import LLMEmbedder", None),
    ],
)
def test_public_names_in_pages_are_links(literal, target):
    names = public_names(INDEX.read_text(encoding="utf-8"))
    assert find(literal, names) == (target and f"lens_sklearn.{target}")


class Equation:
    def __init__(self, text):
        self.astext = lambda: text


@pytest.mark.parametrize(
    "text, within",
    [
        (r"\hat e_i^\pm", "<msubsup><mi>ê</mi><mi>i</mi><mo>±</mo></msubsup>"),  # not under the hat
        (r"\hat{r}", '<mover accent="true"><mi>r</mi>'),  # no such letter
        ("r\u0302", '<mover accent="true"><mi>r</mi>'),
        (r"\Big[ x \bigr]", "[</mo><mi>x</mi><mo"),
        (r"a &= 1 \\ b &= 2", "<mtable"),
    ],
)
def test_equations_are_mathml(text, within):
    found = re.sub(r">\s+<", "><", mathml(Equation(text), as_block=True))
    assert within in found and found.startswith("<math") and 'display="block"' in found
