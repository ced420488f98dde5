"""The pages that users read, taken apart: blocks, links, tables, words in code."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
GENERATED = ("reference.md", "settings.md")

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Page:
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """The text without its blocks."""
        return _BLOCK.sub("", self.text)

    @cached_property
    def sentences(self) -> str:
        """The prose without the code in it."""
        return _CODE.sub("", self.prose)

    def blocks(self, *languages: str) -> list[str]:
        return [body for language, body in _BLOCK.findall(self.text) if language in languages]

    def links(self) -> list[str]:
        return [target for target in _LINK.findall(self.prose) if not target.startswith(("http://", "https://"))]

    def anchors(self) -> set[str]:
        """As GitHub makes them of headings."""
        return {_anchor(heading) for heading in _HEADING.findall(self.prose)}

    def code(self) -> list[str]:
        """What stands in backquotes outside of blocks."""
        return _CODE.findall(self.prose)

    def rows(self, heading: str) -> list[list[str]]:
        """Cells of the tables below a heading, up to the next heading; without the head of each table."""
        lines = self.section(heading).splitlines()
        rules = [index for index, line in enumerate(lines) if re.fullmatch(r"\|[-|]+\|", line)]
        skipped = {index for rule in rules for index in (rule - 1, rule)}
        return [
            [cell.strip() for cell in line.strip("|").split("|")]
            for index, line in enumerate(lines)
            if line.startswith("|") and index not in skipped
        ]

    def section(self, heading: str) -> str:
        """What stands below a heading, up to the next one of any level. Raises ValueError where there is none."""
        parts = re.split(r"^#+ (.+)$", self.prose, flags=re.MULTILINE)
        sections = dict(zip(parts[1::2], parts[2::2], strict=True))
        if heading not in sections:
            raise ValueError(f"{self} has no heading {heading!r}")
        return sections[heading]


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
    return kept.replace(" ", "-")


def page(name: str) -> Page:
    return Page(DOCS / name)


README = Page(ROOT / "README.md")
CHANGELOG = Page(ROOT / "CHANGELOG.md")
PAGES = (README, CHANGELOG, *(Page(path) for path in sorted(DOCS.glob("*.md"))))
WRITTEN = tuple(found for found in PAGES if found.path.name not in GENERATED)
"""Pages that people write."""
FOR_USERS = tuple(found for found in WRITTEN if found.path.name != "architecture.md")
"""Pages that speak of the API, not of the sources."""
