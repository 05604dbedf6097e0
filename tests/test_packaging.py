"""What pyproject.toml promises is what the two files of constraints pin."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def floors():
    """Return {package: lowest version allowed} of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    found = {}
    for text in [*project["dependencies"], *(text for extra in extras for text in extra)]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        if name != project["name"]:
            (specifier,) = requirement.specifier
            assert specifier.operator == ">=", text
            assert found.setdefault(name, specifier.version) == specifier.version, text
    return {name: Version(version) for name, version in found.items()}


def pinned(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if line[:1] != "#"]
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in pins}


def test_the_oldest_versions_are_the_floors():
    assert pinned("constraints-oldest.txt") == floors()


def test_the_versions_of_development_are_allowed():
    newest, lowest = pinned("constraints.txt"), floors()
    assert [name for name in newest if name in lowest and newest[name] < lowest[name]] == []
    unpinned = set(lowest) - set(newest)
    assert unpinned <= {"pre-commit"}, "what tests install is pinned"
