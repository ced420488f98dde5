"""Docstrings of the running interpreter's library and packages. Files are parsed, never imported."""

import ast
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

from .document import Document, document, readable

IGNORED = {"site-packages", "dist-packages", "test", "tests", "testing", "idlelib", "lib2to3", "_vendor", "vendor"}
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def interpreter_roots() -> tuple[Path, ...]:
    """The standard library's folder, then that of installed packages."""
    return tuple(dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib")))


def docstrings(roots: Sequence[Path], modules: int, paragraphs: int) -> Iterator[Document]:
    """The first `paragraphs` of each docstring, in the `modules` of each top-level package nearest to its top."""
    for root in roots:
        for package, files in groupby(_sources(root), partial(_package, root)):
            nearest = sorted(files, key=lambda file: (len(file.parts), str(file)))[:modules]
            for file in nearest:
                yield from _of_module(root, package, file, paragraphs)


def _package(root: Path, file: Path) -> str:
    return file.relative_to(root).parts[0].removesuffix(".py")


def _sources(root: Path) -> Iterator[Path]:
    """Public modules, in the order of the folders. A folder that cannot be read has none."""
    try:
        entries = sorted(root.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name in IGNORED or (entry.name.startswith("_") and entry.name != "__init__.py"):
            continue
        if entry.suffix == ".py":
            yield entry
        elif entry.is_dir() and not entry.suffix:
            yield from _sources(entry)


def _of_module(root: Path, package: str, file: Path, paragraphs: int) -> Iterator[Document]:
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for name, kind, text in _described(tree, module):
        for number, paragraph in enumerate(text.split("\n\n", paragraphs)[:paragraphs]):
            if line := readable(paragraph):
                id_ = f"python:{name}" if number == 0 else f"python:{name}#{number + 1}"
                yield document(id_, line, "python", package, kind, module=module)


def _described(scope: ast.Module | _Definition, name: str) -> Iterator[tuple[str, str, str]]:
    """(name, kind, docstring) of a module, its classes and functions, and their methods."""
    kind = {ast.Module: "module", ast.ClassDef: "class"}.get(type(scope), "function")
    if text := _docstring(scope):
        yield name, kind, text
    if kind == "function":
        return
    for child in scope.body:
        if isinstance(child, _Definition) and not child.name.startswith("_"):
            yield from _described(child, f"{name}.{child.name}")


def _docstring(scope: ast.Module | _Definition) -> str | None:
    first = scope.body[0] if scope.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return cleandoc(first.value.value)
    return None
