"""What the sources say with literal strings, read from their syntax trees: reasons, codes, names of metrics."""

import ast
from collections.abc import Iterator
from pathlib import Path


def arguments(files: list[Path], callee: str, position: int) -> set[str]:
    """Values of one positional argument in every call of `callee` (a name, or the end of a dotted one).

    A name is looked up among the assignments of its file. Parameters, imported names, attributes and items of other objects
    are left out: they repeat what another call has said. Raises AssertionError for anything else, so that nothing goes unseen.
    """
    found: set[str] = set()
    for file in files:
        tree = ast.parse(file.read_text())
        for call in _calls(tree, callee):
            found |= set(_values(call.args[position], tree, file))
    return found


def _calls(tree: ast.Module, callee: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name == callee:
                yield node


def _values(node: ast.expr, tree: ast.Module, file: Path) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _values(body, tree, file)
            yield from _values(orelse, tree, file)
        case ast.Name(id=name):
            yield from _assigned(name, tree, file)
        case ast.Attribute() | ast.Subscript():
            return
        case _:
            raise AssertionError(f"{file}:{node.lineno}: {ast.unparse(node)} is not a literal")


def _assigned(name: str, tree: ast.Module, file: Path) -> Iterator[str]:
    known = False
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                    known = True
                    yield from _values(value, tree, file)
            case ast.ImportFrom(names=imported):
                known |= any(alias.name == name for alias in imported)
            case ast.arg(arg=parameter):
                known |= parameter == name
    if not known:
        raise AssertionError(f"{file}: where does {name} come from?")
