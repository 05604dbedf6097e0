"""Let public names in a page link to their page of the API, without a role around each.

A page says `` `LLMEmbedder(store="embeddings")` `` and reads well in the repository; on the site
that is a link. Names are those of ``docs/api/index.rst``.
"""

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref

INDEX = Path(__file__).parents[1] / "api" / "index.rst"
NAME = re.compile(r"(?:lens_sklearn\.)?([\w.]+)(?:\(.*\))?", re.S)


def public_names(index):
    """Return what a page may write, mapped to whole names.

    Parameters
    ----------
    index : str
        Text of the API's index, a name a line.
    """
    listed = re.findall(r"^   ([\w.]+)$", index, re.M)
    names = {name: f"lens_sklearn.{name}" for name in listed}
    for name in listed:
        last = name.rpartition(".")[2]
        if "_" in last or last != last.lower():  # "load" alone may be anybody's
            names.setdefault(last, f"lens_sklearn.{name}")
    return names


@cache
def _names_of_the_index():
    """Return the public names, which every page asks for."""
    return public_names(INDEX.read_text(encoding="utf-8"))


def find(text, names):
    """Return the whole name of what a literal is about, or None."""
    match = NAME.fullmatch(text)
    return names.get(match[1]) if match else None


def link(app, doctree):
    """Put a reference around every literal that is a public name or a call of one."""
    if Path(doctree["source"]).suffix != ".md":
        return
    names = _names_of_the_index()
    for literal in list(doctree.findall(nodes.literal)):
        target = find(literal.astext(), names)
        ancestor = literal.parent
        while ancestor and not isinstance(ancestor, nodes.title | nodes.reference | pending_xref):
            ancestor = ancestor.parent
        if target and not ancestor:
            reference = pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=target,
                refdoc=app.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            literal.replace_self(reference)
            reference += literal


def setup(app):
    """Connect to pages that have been parsed."""
    app.connect("doctree-read", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
