"""Send links from a page to files outside docs/ to the repository, and check that they are there.

The pages are read on the site and in the repository, where ``../../benchmarks/README.md`` is a
file; on the site it is a page of the repository's.
"""

import re
from pathlib import Path

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
LINK = re.compile(r"\]\((\.\.?/[^)\s#]+)(#[^)\s]*)?\)")


def rewrite(text, folder, repository):
    """Return a page's text with links that leave docs/ sent to the repository.

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
        if target.is_relative_to(DOCS) or not target.exists():
            return match[0]  # what is not there is Sphinx's to report
        kind = "tree" if target.is_dir() else "blob"
        path = target.relative_to(ROOT).as_posix()
        return f"]({repository}/{kind}/main/{path}{match[2] or ''})"

    return LINK.sub(send, text)


def read_source(app, docname, source):
    """Rewrite a page before it is parsed."""
    path = Path(app.env.doc2path(docname))
    if path.suffix == ".md":
        source[0] = rewrite(source[0], path.parent, app.config.repository_url)


def setup(app):
    """Connect to the reading of pages."""
    app.add_config_value("repository_url", "", "env", str)
    app.connect("source-read", read_source)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
