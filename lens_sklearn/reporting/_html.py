"""HTML out of Python values: text is escaped unless it is markup that was made here."""

import re
from html import escape

#: What a reader cannot see or what turns the text around: controls, marks of direction, halves of
#: characters, and what is no character.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    "\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
_EMPTY = ("br", "link", "meta")


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def visible(text):
    r"""Write characters that cannot be seen as escapes.

    Parameters
    ----------
    text : str
        As somebody wrote it.

    Returns
    -------
    str
        Line breaks, as ``\n``, and tabs stay.
    """
    text = text.replace("\r\n", "\n")
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def tag(name, /, *children, **attributes):
    """Return an element.

    Parameters
    ----------
    name : str
        Of the element.
    *children : object
        What is in it: markup as it is, everything else as text.
    **attributes : object
        By name, a line in place of a hyphen and one at the end left out; None is not written.

    Returns
    -------
    Markup
        Its HTML.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(str(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children, between=""):
    """Return children after each other.

    Parameters
    ----------
    children : iterable of object
        Markup, or values that are written as text.
    between : str, default=""
        Markup between them.

    Returns
    -------
    Markup
        HTML.
    """
    return Markup(between.join(map(_as_markup, children)))


def _as_markup(child):
    return child if isinstance(child, Markup) else Markup(escape(visible(str(child))))


def quote(text, most, lines=14):
    """Return what somebody wrote, in its own direction; a long text is cut and says so.

    Parameters
    ----------
    text : str
        Prompt or response.
    most : int
        Characters that are shown.
    lines : int, default=14
        Lines that are shown.

    Returns
    -------
    Markup
        A block.
    """
    if not text.strip():
        return tag("div", tag("span", "(empty)", class_="muted"), class_="text")
    shown = "\n".join(text[:most].split("\n")[:lines])
    children = [shown]
    if len(shown) < len(text):
        children += ["…"]
    block = tag("div", *children, class_="text", dir="auto")
    if len(shown) == len(text):
        return block
    cut = f"cut; {len(text):,} characters in all"
    return join([block, tag("div", cut, class_="muted small")])


def paragraph(*children):
    """Return a paragraph."""
    return tag("p", *children)


def absent(why):
    """Return the line that stands where there is nothing to show.

    Parameters
    ----------
    why : str
        A sentence.

    Returns
    -------
    Markup
        HTML.
    """
    return tag("p", f"Not shown: {why}", class_="absent")


def table(header, rows, caption=None, is_named=False):
    """Return a table that scrolls on its own where it is wider than the page.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list
        Cells. The first one of a row is its header, what is text of one word or a number is
        aligned as one.
    caption : str, default=None
        What the table shows.
    is_named : bool, default=False
        Whether each cell knows its column, for where they stand below each other.

    Returns
    -------
    Markup
        HTML.
    """
    names = header[1:] if is_named else [None] * (len(header) - 1)
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in header)))
    body = [
        tag("tr", tag("th", first, scope="row"), *_cells(cells, names)) for first, *cells in rows
    ]
    parts = [] if caption is None else [tag("caption", caption)]
    inside = tag("table", *parts, head if any(header) else "", tag("tbody", *body))
    return tag("div", inside, class_="scroll", tabindex=0, role="group", aria_label=caption)


def _cells(cells, names):
    return [tag("td", cell, data_name=name) for cell, name in zip(cells, names, strict=True)]


def details(summary, *children):
    """Return what is shown on demand."""
    return tag("details", tag("summary", summary), *children)


def listing(items):
    """Return a list of items."""
    return tag("ul", *(tag("li", item) for item in items))
