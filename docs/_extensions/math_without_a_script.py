"""Write equations as MathML, which browsers draw themselves: no script, no network."""

import re
import unicodedata

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)
HATS = re.compile(r"\\hat\s*(?:\{([a-zA-Z])\}|([a-zA-Z]))")
SIZES = re.compile(r"\\[bB]ig{1,2}[lr]?(?![a-zA-Z])")  # docutils knows no sizes


def one_letter(match):
    """Return a letter with its hat as one character, where there is one.

    docutils would put indices under a hat that is a command.
    """
    letter = unicodedata.normalize("NFC", f"{match[1] or match[2]}\u0302")
    return letter if len(letter) == 1 else match[0]


def mathml(node, as_block):
    """Return the MathML of a node's equation.

    Parameters
    ----------
    node : docutils node
        With LaTeX as its text.
    as_block : bool
        Whether it stands on a line of its own.

    Returns
    -------
    str
        HTML. What cannot be read is a warning, and stays LaTeX.
    """
    text = SIZES.sub("", node.astext().strip())
    text = HATS.sub(one_letter, re.sub("([a-zA-Z])\u0302", r"\\hat{\1}", text))
    if as_block and r"\\" in text and r"\begin" not in text:
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    try:
        return tex2mathml(text, as_block=as_block)
    except MathError as error:
        logger.warning("no MathML of %r: %s", text, error, location=node, type="math")
        return f"<code>{node.astext()}</code>"


def visit_math(self, node):
    """Write an equation within a line."""
    self.body.append(mathml(node, as_block=False))
    raise SkipNode


def visit_displaymath(self, node):
    """Write an equation of its own."""
    self.body.append(self.starttag(node, "div", CLASS="math") + mathml(node, True) + "</div>\n")
    raise SkipNode


def setup(app):
    """Name the renderer that conf.py chooses by ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
