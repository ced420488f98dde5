"""Summaries of man pages, from the index that `mandb` keeps."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator

from .document import Document, document, readable

_ENTRY = re.compile(r"^(?P<name>\S+) \((?P<section>[^)]+)\)\s+- (?P<summary>.+)$")


def pages() -> Iterator[Document]:
    """One document a page: names of one page share a summary, of which the first is kept."""
    return summaries(_index())


def summaries(lines: Iterable[str]) -> Iterator[Document]:
    """lines: as `apropos --long` prints them. A page without a summary is left out."""
    known: set[str] = set()
    for line in sorted(lines):
        entry = _ENTRY.match(line.rstrip("\n"))
        text = readable(entry["summary"]) if entry else None
        if entry and text and text.casefold() not in known:
            known.add(text.casefold())
            yield document(f"man:{entry['name']}.{entry['section']}", text, "man", entry["name"], entry["section"])


def _index() -> list[str]:
    if not shutil.which("apropos"):
        return []
    found = subprocess.run(["apropos", "--long", "."], capture_output=True, text=True, errors="replace", check=False)
    return found.stdout.splitlines()
