"""Let links of pages be right in the repository and on the site.

In the repository a page links to files as they lie there. On the site an example is the page that
the gallery made of it, and a file outside docs/ is looked at in the repository.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
EXAMPLES, GALLERY = DOCS / "examples", DOCS / "auto_examples"
LINK = re.compile(r"\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def rewrite(text, folder, repository):
    """Return a page's text with its links as the site needs them.

    Parameters
    ----------
    text : str
        Markdown.
    folder : Path
        Where the page lies.
    repository : str
        Address of the repository.
    """

    def send(match):
        target = (folder / match[1]).resolve()
        if not target.exists():
            return match[0]  # Sphinx reports it
        if target.is_relative_to(EXAMPLES):
            name = "index.rst" if target == EXAMPLES else f"{target.stem}.rst"
            return f"]({os.path.relpath(GALLERY / name, folder)})"
        if target.is_relative_to(DOCS):
            return match[0]
        kind = "tree" if target.is_dir() else "blob"
        path = target.relative_to(DOCS.parent).as_posix()
        return f"]({repository}/{kind}/main/{path}{match[2] or ''})"

    return LINK.sub(send, text)


def read_source(app, docname, source):
    """Rewrite a page before it is parsed."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = rewrite(source[0], path.parent.resolve(), app.config.repository_url)


def setup(app):
    """Connect to the reading of pages."""
    app.add_config_value("repository_url", "", "env", str)
    app.connect("source-read", read_source)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
