"""Which chat templates a file may bring along: those that cannot grow without bound."""

import re

LONGEST_TEMPLATE = 1 << 16  # characters
LARGEST_NUMBER = 10_000
DEEPEST_LOOPS = 4
#: What transformers marks an assistant's words with; it is no part of Jinja.
MARKS_OF_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


def check_template(text):
    """Refuse a template by which a file could take memory or time without end.

    Templates run in a sandbox, which keeps them from files and from attributes, but not from
    work. Those of models write one message after the other and need little of what is refused.
    What a patient author hides in a text of this length is not all found.

    Parameters
    ----------
    text : str
        A Jinja template.

    Raises
    ------
    ValueError
        If it is longer than 65,536 characters or no template, multiplies or raises to a power,
        joins a text with itself, has a number beyond 10,000, a loop over a range within another
        loop, more than four loops within each other, or a macro that calls itself or a later one.

    Examples
    --------
    >>> from lens_sklearn._template_check import check_template
    >>> check_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    >>> check_template("{{ 'a' * 1000000000 }}")
    Traceback (most recent call last):
        ...
    ValueError: chat_template multiplies, which can take memory without end
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if len(text) > LONGEST_TEMPLATE:
        raise ValueError(f"chat_template has {len(text)} characters, more than {LONGEST_TEMPLATE}")
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(MARKS_OF_GENERATION.sub("", text))
    except (TemplateError, RecursionError) as error:
        raise ValueError(f"chat_template is no Jinja template ({error})") from None
    found = next(_dangers(tree), None)
    if found is not None:
        raise ValueError(f"chat_template {found}, which can take memory without end")


def _dangers(tree):
    from jinja2 import nodes

    if next(tree.find_all((nodes.Mul, nodes.Pow)), None) is not None:
        yield "multiplies"
    for node in tree.find_all(nodes.Const):
        numbers = [node.value] if isinstance(node.value, int | float) else []
        if isinstance(node.value, str):  # '%1000000000d' % 1, '{:1000000000}'.format(1)
            numbers = [float(n) for n in re.findall(r"[%:.<>^=]0?(\d{5,40})", node.value)]
        if any(number > LARGEST_NUMBER for number in numbers):
            yield f"has a number beyond {LARGEST_NUMBER}"
    for node in tree.find_all((nodes.Concat, nodes.Add)):
        parts = node.nodes if isinstance(node, nodes.Concat) else [node.left, node.right]
        names = [_name(part) for part in parts]
        names = [name for name in names if name is not None]
        if len(set(names)) < len(names):
            yield "joins a text with itself"
    yield from _loops(tree, 0)
    later = [macro.name for macro in tree.find_all(nodes.Macro)]
    for macro in tree.find_all(nodes.Macro):
        called = {_name(call.node) for call in macro.find_all(nodes.Call)}
        if called & set(later):  # an earlier one has ended before
            yield f"has a macro {macro.name!r} that calls itself or a later one"
        later.remove(macro.name)


def _loops(node, depth):
    from jinja2 import nodes

    if isinstance(node, nodes.For):
        depth += 1
        ranges = isinstance(node.iter, nodes.Call) and _name(node.iter.node) == "range"
        if depth > DEEPEST_LOOPS or node.recursive:
            yield f"has more than {DEEPEST_LOOPS} loops within each other"
        if ranges and depth > 1:
            yield "has a loop over a range within another loop"
    for child in node.iter_child_nodes():
        yield from _loops(child, depth)


def _name(node):
    """Return what a node reads: a variable, or an attribute of one."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    return None
