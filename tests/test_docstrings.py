"""Public docstrings are numpydoc's format, tell the true defaults; examples run, in pages too."""

import doctest
import importlib
import inspect
import pkgutil
import re
from fractions import Fraction
from pathlib import Path

import numpydoc.docscrape
import pytest
from numpydoc.validate import validate

import lens_sklearn

PAGES = sorted((Path(__file__).parents[1] / "docs" / "user_guide").glob("*.md"))
PAGES = [page for page in PAGES if ">>>" in page.read_text(encoding="utf-8")]

# Left out of numpydoc's checks, each for a reason:
IGNORED = {
    "GL01": "the summary starts on the line of the quotes, as ruff's D212 side of numpy style",
    "GL08": "ruff's D rules find missing docstrings, methods of private parents included",
    "ES01": "not everything needs a second paragraph",
    "SA01": "See Also where there is something to see",
    "SA04": "a name says enough where it is in the same module",
    "EX01": "examples where one helps; those that stand there are run below",
    "RT02": "numpydoc's own pages name a single returned value where its name is in the text",
    "RT03": "'Itself, fitted.' is a sentence",
    "PR01": "compared with the signature below, where inherited methods are left out",
    "SS06": "a summary may need the whole line",
    "YD01": "generators are private",
}


def modules():
    """Return every module of the package, private ones included."""
    found = pkgutil.walk_packages(lens_sklearn.__path__, "lens_sklearn.")
    return ["lens_sklearn"] + sorted(m.name for m in found if not m.name.endswith("__main__"))


def public_modules():
    return [m for m in modules() if "._" not in m]


def public_objects():
    """Return the dotted names of public classes, functions and the methods they define."""
    names = {}
    for module_name in public_modules():
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if inspect.ismodule(value):
                continue
            names.setdefault(id(value), f"{module_name}.{name}")
            if inspect.isclass(value):
                for method, member in inspect.getmembers(value, callable):
                    ours = (getattr(member, "__module__", None) or "").startswith("lens_sklearn")
                    if ours and not method.startswith("_"):
                        names.setdefault((id(value), method), f"{module_name}.{name}.{method}")
    return sorted(names.values())


def resolve(dotted):
    parts = dotted.split(".")
    for i in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            value = getattr(value, part)
        return value
    raise LookupError(dotted)


def documented_parameters(value):
    """Return {name: type line} of the Parameters section; `a, b` lines are split."""
    doc = numpydoc.docscrape.NumpyDocString(inspect.getdoc(value))
    rows = doc["Parameters"] + doc["Other Parameters"]
    return {n.strip().lstrip("*"): row.type for row in rows for n in row.name.split(",")}


def signature_parameters(value):
    if getattr(value, "_is_protocol", False):  # is never called, Protocol's __init__ says *args
        return {}
    parameters = inspect.signature(value).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("self", "cls")}


def test_every_public_module_lists_its_surface():
    without = [
        m for m in public_modules() if not getattr(importlib.import_module(m), "__all__", None)
    ]
    assert not without, f"no __all__ in {without}"


@pytest.mark.parametrize("name", public_objects())
def test_docstring_has_numpydoc_format(name):
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code not in IGNORED]
    assert not errors, "\n".join([name, *errors])


@pytest.mark.parametrize("name", public_objects())
def test_documented_parameters_are_those_of_the_signature(name):
    value = resolve(name)
    signature, documented = signature_parameters(value), documented_parameters(value)
    assert list(documented) == list(signature), name
    for parameter, default in signature.items():
        kind = documented[parameter]
        if default is inspect.Parameter.empty:
            assert "default" not in kind and "optional" not in kind, f"{name}: {parameter}: {kind}"
            continue
        written = re.search(r"default[=:]?\s*(.+)$", kind)
        if written is None:
            assert default is None and ("optional" in kind or kind == "None"), (
                f"{name}: '{parameter} : {kind}' does not tell the default {default!r}"
            )
            continue
        text = written.group(1).strip("` ")
        same = text in (repr(default), str(default), repr(default).replace("'", '"'))
        try:
            same = same or float(Fraction(text)) == float(default)
        except (TypeError, ValueError):
            pass
        assert same, f"{name}: '{parameter} : {kind}' but the default is {default!r}"


@pytest.mark.parametrize("name", modules())
def test_examples_run(name):
    module = importlib.import_module(name)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=options).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_of_pages_run(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    # A block's end is the end of the output that is expected.
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, page.stem, page.name, 0)
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.DocTestRunner(optionflags=options).run(test).failed == 0
