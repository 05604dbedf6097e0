"""The arrows of the architecture point one way, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lens_sklearn

PACKAGE = Path(lens_sklearn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("transformers", "datasets", "matplotlib", "pandas", "narwhals", "dask", "tqdm",
         "trl", "peft", "accelerate", "openai", "fastapi",
         "uvicorn")  # fmt: skip

# Who may import whom: a module imports only modules of lower floors.
FLOORS = [
    {"__version__", "_arrow_rows", "_atomic_fit", "_augmented_rows", "_blueprint", "_calibration",
     "_covariance", "_demo_data", "_device", "_divergence", "_embedding_array", "_embedding_files",
     "_feature_scale", "_fitted_state", "_foreign_estimators", "_hidden_states", "_kernels",
     "_learning_state", "_lipschitz", "_log_likelihood", "_low_rank_error", "_messages",
     "_model_folder", "_model_weights", "_number_checks", "_pair_subsets", "_printed_lists",
     "_progress", "_records", "_rendered_text", "_result_lines", "_row_scores", "_saved_model",
     "_state_reader", "_statistics", "_template_check", "_text_counts", "_text_lines",
     "_text_tables", "_tokens", "_warnings"},
    {"_array_store", "_conversation_text", "_csv_table", "_equal_embeddings", "_json_rows",
     "_laplace", "_linear_algebra", "_packaged_model", "_pair_lists", "_pair_vae", "_pools",
     "_reading", "_rows", "_training_step", "_whitening", "metrics"},
    {"_augmented_pairs", "_comparison_table", "_inducing", "_io", "_language_model",
     "_pair_table", "_shortcuts"},
    {"_replayed_epochs", "_response_span", "_validation", "datasets", "displays"},
    {"_base_reward", "_contrastive_vae", "_embedder", "_ratings", "_response_features",
     "_reward_net", "_scaler", "_within_prompt_whitening"},
    {"_augmenters", "_bt_reward", "_gp_pairs", "_linear_reward", "_order_filter",
     "_response_views", "_voting_reward"},
    {"_comparison_data", "_gp_selection", "_latent_augmenter", "_pair_classifier",
     "_reward_ensemble"},
    {"_gp_reward"},
    {"_distillation"},
    {"_auto_reward"},
    {"_comparison", "_demo", "_reward_function", "_suggest_pairs", "_suspect_pairs", "export",
     "textual", "theory"},
    {"_card_findings", "reporting", "serving"},
    {"_model_card", "cli"},
    {"__main__", "_hub"},
]  # fmt: skip

# Underscores of others that are meant to be read: a named tuple's, and constraints of a base class.
SHARED = {"_replace", "_parameter_constraints"}


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
        if is_lazy and module_of(f).split(".")[0] not in ("cli", "__main__")
    ]
    assert not lazy, f"imports of our own modules inside functions hide the arrows: {lazy}"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_module_reads_anothers_underscore(path):
    read = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            ours = node.level or (node.module or "").startswith("lens_sklearn")
            names = [a.name for a in node.names if ours and node.module]
        elif isinstance(node, ast.Attribute) and not of_its_own(node.value):
            names = [node.attr]
        else:
            continue
        private = (n for n in names if n.startswith("_") and not n.startswith("__"))
        read += [f"{path.name}:{node.lineno} {name}" for name in private if name not in SHARED]
    assert not read, f"give it a public name, or ask its owner: {read}"


def of_its_own(value):
    """Whether an attribute is of the object itself, its class or its parents."""
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id == "super"
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def test_import_is_light():
    # scikit-learn itself loads pandas and narwhals where they are installed, torch loads tqdm.
    code = (
        "import sys, torch, skorch, sklearn.utils.validation\n"
        "before = set(sys.modules)\n"
        "import lens_sklearn, lens_sklearn.textual\n"
        "for name in lens_sklearn.__all__: getattr(lens_sklearn, name)\n"
        f"print([m for m in {HEAVY!r} if m in set(sys.modules) - before])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]", "import lens_sklearn loads heavy modules"


def test_import_loads_nothing_before_a_name_is_used():
    code = (
        "import sys, lens_sklearn\n"
        "print([m for m in ('torch', 'numpy', 'sklearn') if m in sys.modules])\n"
        "assert 'BTRewardRegressor' in dir(lens_sklearn) and 'export' in dir(lens_sklearn)\n"
        "assert lens_sklearn.export.save and lens_sklearn.BTRewardRegressor().hidden_dim\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_surface_is_there():
    assert len(lens_sklearn.__all__) == len(set(lens_sklearn.__all__))
    for name in lens_sklearn.__all__:
        assert getattr(lens_sklearn, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'GaussianProcessReward'"):
        lens_sklearn.GaussianProcessReward  # noqa: B018
