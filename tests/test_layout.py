"""The arrows of the architecture point one way, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lens_sklearn

PACKAGE = Path(lens_sklearn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("transformers", "datasets", "matplotlib", "pandas", "lmdb", "narwhals", "dask", "tqdm",
         "trl", "peft", "accelerate")  # fmt: skip

# Who may import whom: a module imports only modules of lower floors.
FLOORS = [
    {
        "_augmented_rows",
        "_device",
        "_embedding_array",
        "_learning_state",
        "_low_rank_error",
        "_rows",
        "_demo_data",
    },  # fmt: skip
    {"_pools", "_pair_vae", "_language_model", "metrics"},
    {"_augmented_pairs", "_array_store", "displays"},
    {"_validation"},
    {"_contrastive_vae", "_reward_net", "_scaler", "_within_prompt_whitening", "theory"},
    {"_embedder", "_bt_reward", "datasets"},
    {"_augmenters", "_gp_reward"},
    {"_latent_augmenter"},
    {"export", "_demo", "textual"},
    {"cli"},
]


def module_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(path):
    """Return (module of the package, line, lazily) for every import of our own package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_import_time = {id(n) for n in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level == 0 and not (node.module or "").startswith("lens_sklearn"):
                continue
            module = (node.module or "").removeprefix("lens_sklearn").lstrip(".")
            names = [module] if module else [alias.name for alias in node.names]
            if node.level:  # relative to the folder that this many dots name
                parents = path.relative_to(PACKAGE).parts[: -node.level]
                names = [".".join([*parents, name]) for name in names]
        elif isinstance(node, ast.Import):
            ours = [a.name for a in node.names if a.name.split(".")[0] == "lens_sklearn"]
            names = [name.removeprefix("lens_sklearn").lstrip(".") for name in ours]
        else:
            continue
        for name in names:
            yield name, node.lineno, id(node) not in at_import_time


def floor(module):
    for number, names in enumerate(FLOORS):
        if module.split(".")[0] in names:
            return number
    return None


@pytest.mark.parametrize("path", [f for f in FILES if f.name != "__init__.py"], ids=module_of)
def test_imports_point_down(path):
    module = module_of(path)
    assert floor(module) is not None, f"{module}: give it a floor in FLOORS"
    for name, line, _ in imports(path):
        where = f"{path.name}:{line}"
        assert name, f"{where}: imports the package itself; import the module that defines the name"
        assert floor(name) is not None, f"{where}: {name} has no floor in FLOORS"
        same_package = "." in name and name.split(".")[0] == module.split(".")[0]
        assert same_package or floor(name) < floor(module), f"{where}: not {name} in {module}"


def test_no_module_is_oversized_or_a_dumping_ground():
    lengths = {module_of(f): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    long = {name: n for name, n in lengths.items() if n > 600}
    assert not long, f"modules above 600 lines: {long}"
    assert "utils" not in lengths


def test_only_cli_imports_lazily_within_the_package():
    lazy = [
        f"{module_of(f)}:{line} {name}"
        for f in FILES
        for name, line, is_lazy in imports(f)
        if is_lazy and f.name != "cli.py"
    ]
    assert not lazy, f"imports of our own modules inside functions hide the arrows: {lazy}"


def test_import_is_light():
    # scikit-learn itself loads pandas and narwhals where they are installed, torch loads tqdm.
    code = (
        "import sys, torch, skorch, sklearn.utils.validation\n"
        "before = set(sys.modules)\n"
        "import lens_sklearn, lens_sklearn.textual\n"
        f"print([m for m in {HEAVY!r} if m in set(sys.modules) - before])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", "import lens_sklearn loads heavy modules"
