"""Questions to a loaded index, and a table of what it answers."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from .endpoint import AnswerError, Endpoint

QUESTIONS: tuple[tuple[str, dict[str, Any] | None], ...] = (
    ("watch what a program does while it runs", None),
    ("read a compressed archive", None),
    ("send a message to another process", None),
    ("draw a picture of how numbers relate", {"must": [{"key": "source", "match": {"value": "debian"}}]}),
)
_TEXT_CHARACTERS = 100


@dataclass(frozen=True)
class Answered:
    question: str
    filtered: bool
    hits: list[dict[str, Any]]


def ask(endpoint: Endpoint) -> list[Answered]:
    """Raises AnswerError where a question finds nothing."""
    answered = []
    for question, chosen in QUESTIONS:
        hits = endpoint.search(question, k=2, **({"filter": chosen} if chosen else {}))
        if not hits:
            raise AnswerError(f"nothing was found for {question!r}")
        answered.append(Answered(question, chosen is not None, hits))
    return answered


def table(answered: list[Answered]) -> Table:
    shown = Table("question", "score", "found", box=None)
    for one in answered:
        for number, hit in enumerate(one.hits):
            question = "" if number else one.question + (" (Debian only)" if one.filtered else "")
            text = textwrap.shorten(f"{hit['id']}: {hit['text']}", _TEXT_CHARACTERS, placeholder=" …")
            shown.add_row(question, f"{hit['score']:.2f}", text)
    return shown
