"""Console blocks as what was typed and what was answered; `…` in an answer stands for anything."""

import re
from dataclasses import dataclass

from unit.docs.pages import Page

PROMPT = "$ "
ANYTHING = "…"


@dataclass(frozen=True)
class Typed:
    """One command of a page, over as many lines as its quotes need, and the answer below it."""

    command: str
    answer: str

    def fits(self, answer: str) -> bool:
        parts = (re.escape(part) for part in self.answer.strip().split(ANYTHING))
        return re.fullmatch(".*".join(parts), answer.strip(), re.DOTALL) is not None


def transcript(page: Page) -> list[Typed]:
    return [typed for block in page.blocks("console") for typed in _typed(block.splitlines())]


def _typed(lines: list[str]) -> list[Typed]:
    starts = [number for number, line in enumerate(lines) if line.startswith(PROMPT)]
    found = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        end = start + 1
        while "\n".join(lines[start:end]).count("'") % 2:
            end += 1
        found.append(Typed("\n".join(lines[start:end]).removeprefix(PROMPT), "\n".join(lines[end:stop])))
    return found
