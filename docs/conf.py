"""How the site is built: ``sphinx-build -W --keep-going docs docs/_build/html``."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models: threads cost more than they bring
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # examples need no network, and must not look for one
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from lens_sklearn import __version__  # noqa: E402

project = "lens_sklearn"
author = "lens_sklearn developers"
copyright = "lens_sklearn developers, BSD-3-Clause"
version = release = __version__
repository_url = "https://github.com/lens-sklearn/lens-sklearn"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "links_out_of_the_docs",
    "math_without_a_script",
    "names_of_the_api",
]
exclude_patterns = ["_build", "_templates", "_extensions", "examples", "auto_examples/*.ipynb"]
exclude_patterns += ["auto_examples/*.py", "auto_examples/*.json", "sg_execution_times.rst"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
default_role = "py:obj"
highlight_language = "default"
show_warning_types = True

# Pages are Markdown: headings are anchors, and a link to one that is not there is a warning.
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "mathml"

# What is documented of a class is its own: scikit-learn's methods are in scikit-learn's manual.
autosummary_generate = True
autodoc_default_options = {"members": True, "inherited-members": "object"}
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1,
    "plot_gallery": True,
    "capture_repr": (),  # what an example prints is enough
    "remove_config_comments": True,
    "show_signature": False,
    "reset_modules": ("matplotlib", "sklearn_settings.reset"),
    "doc_module": ("lens_sklearn",),
    "backreferences_dir": "api/backreferences",
    "reference_url": {"lens_sklearn": None},
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "lens_sklearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Pages without pages below them: a navigation of the section would be an empty column.
single_pages = (
    "install",
    "tutorial",
    "coming_from",
    "faq",
    "glossary",
    "contributing",
    "changelog",
)
html_sidebars = dict.fromkeys(single_pages, ())
html_theme_options = {
    "github_url": repository_url,
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "show_prev_next": True,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "navigation_with_keys": False,
}

# For maintainers, where there is a network: sphinx-build -b linkcheck docs docs/_build/links
linkcheck_ignore = [rf"{repository_url}/(blob|tree)/main/.*"]  # checked as files of the checkout


def skip_foreign_members(app, what, name, value, skip, options):
    """Leave out members that another package defines, and scikit-learn's setters of requests."""
    if what not in ("class", "exception"):
        return None
    function = getattr(value, "fget", None) or getattr(value, "__func__", value)
    module = getattr(function, "__module__", None)
    is_foreign = module is not None and not module.startswith("lens_sklearn")
    return True if is_foreign or name.startswith("set_") and name.endswith("_request") else None


def setup(app):
    """Connect what no option says."""
    app.connect("autodoc-skip-member", skip_foreign_members)
