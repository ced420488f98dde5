"""English texts of mixed length: docstrings of the standard library, in a fixed blend of short, medium and long."""

import ast
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path

BLEND = ((0.4, 3, 24), (0.3, 25, 70), (0.3, 71, 190))
"""Share of the corpus, and its least and most words."""


def corpus(size: int, seed: int) -> list[str]:
    """`size` texts, in random order; the same for the same seed and Python."""
    chooser = random.Random(seed)
    known = sorted(set(_docstrings()))
    texts: list[str] = []
    for share, least, most in BLEND:
        fitting = [text for text in known if least <= len(text.split()) <= most]
        texts += chooser.choices(fitting, k=round(share * size))
    chooser.shuffle(texts)
    return texts[:size]


def _docstrings() -> Iterator[str]:
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node)):
                yield text
