"""Mutants of a module by cosmic-ray's operators, at most one for each place and kind of change."""

import ast
import difflib
import hashlib
import random
from collections import defaultdict

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}


def operators():
    """Return cosmic-ray's operators, without those whose mutants tell nothing.

    Operators with arguments have to be told the names of variables. `x + y` with `<<` or `&` for
    its `+` raises a TypeError for floats, dicts and lists alike: every test kills it, which would
    flatter the score.
    """
    found = {}
    for name in operator_names():
        kind, *change = name.split("/")[1].split("_")
        mixed = kind == "ReplaceBinaryOperator" and len(set(change) & ARITHMETIC) == 1
        if kind != "NoOp" and not mixed and not get_operator(name).arguments():
            found[name] = get_operator(name)()
    return found


def sites(source):
    """Return {(start, end, kind of change): [(operator, occurrence)]} of a module's source."""
    tree, skip = get_ast(source), cosmetic(source)
    found = defaultdict(list)
    for name, operator in operators().items():
        positions = (p for node in ast_nodes(tree) for p in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in skip):
                kind = name.split("/")[1].split("_")[0]
                found[start, end, kind].append((name, occurrence))
    return found


def cosmetic(source):
    """Return the spans in which no mutant is made: annotations, texts of messages, __repr__.

    Docstrings and other plain strings are left alone by every operator; what stands in the
    braces of an f-string is not, so errors, warnings and `__repr__` are named here.
    """
    lines = source.splitlines()

    def span(node):
        ends = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
        # ast counts bytes, parso characters.
        return tuple((i, len(lines[i - 1].encode()[:col].decode())) for i, col in ends)

    spans = []
    for node in ast.walk(ast.parse(source)):
        spans += [span(n) for n in (getattr(node, "annotation", None),) if n is not None]
        if isinstance(node, ast.FunctionDef):
            spans += [span(node.returns)] if node.returns is not None else []
            spans += [span(node)] if node.name == "__repr__" else []
        called = isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1]
        if isinstance(node, ast.Raise) or called == "warn":
            spans += [span(n) for n in ast.walk(node) if isinstance(n, ast.JoinedStr)]
    return spans


def draw(sources, n, seed):
    """Draw n mutants of several modules, each place as likely as any other.

    Parameters
    ----------
    sources : dict of str to str
        Each module's source.
    n : int
        Mutants; fewer if there are fewer places.
    seed : int
        Of the draw.

    Returns
    -------
    list of dict
        With the mutated ``code``, the ``diff`` and what names the mutant.
    """
    rng = random.Random(seed)
    places = [
        (m, place, made) for m in sorted(sources) for place, made in sites(sources[m]).items()
    ]
    rng.shuffle(places)
    mutants = []
    for module, (start, *_), made in places:
        if len(mutants) == n:
            break
        rng.shuffle(made)
        for operator, occurrence in made:
            code = mutate_code(sources[module], get_operator(operator)(), occurrence)
            if is_change(sources[module], code):
                break
        else:
            continue
        mutants.append(
            {
                "module": module,
                "operator": operator.split("/")[1],
                "occurrence": occurrence,
                "line": start[0],
                "source": hashlib.sha256(sources[module].encode()).hexdigest()[:12],
                "diff": changed_lines(sources[module], code),
                "code": code,
            }
        )
    return mutants


def is_change(source, code):
    """Whether mutated code is Python, and another program with the same signatures.

    To the operators the star before keyword-only arguments is a multiplication.
    """
    try:
        compile(code, "mutant", "exec")
    except SyntaxError:
        return False
    old, new = ast.parse(source), ast.parse(code)
    return ast.dump(old) != ast.dump(new) and signatures(old) == signatures(new)


def signatures(tree):
    """Return how many arguments of each kind every function has."""
    lists = ("posonlyargs", "args", "kwonlyargs")
    arguments = (node for node in ast.walk(tree) if isinstance(node, ast.arguments))
    return [
        ([len(getattr(a, name)) for name in lists], a.vararg is None, a.kwarg is None)
        for a in arguments
    ]


def changed_lines(source, code):
    diff = difflib.unified_diff(source.splitlines(), code.splitlines(), lineterm="", n=0)
    return [line for line in diff if line[:1] in "-+" and line[:3] not in ("---", "+++")]
