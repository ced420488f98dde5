"""Descriptions of Debian packages: what dpkg has installed, and what apt knows to be available."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from .document import Document, document, readable

STATUS = Path("/var/lib/dpkg/status")
WANTED = {"Package", "Section", "Description"}
_VARIANT = re.compile(r"\s*(?:\(.*|\s[-–—:]\s.*)$")


def packages() -> Iterator[Document]:
    """One document a package; packages that differ in a variant alone (`(development files)`, `- docs`) give one."""
    return descriptions(_available())


def descriptions(lines: Iterable[str]) -> Iterator[Document]:
    """lines: paragraphs of a control file."""
    known: set[str] = set()
    for fields in _paragraphs(lines):
        name, summary = fields.get("Package"), fields.get("Description", "")
        title = summary.partition("\n")[0]
        subject = _VARIANT.sub("", title).casefold()
        text = readable(_prose(summary))
        if name and text and subject not in known:
            known.add(subject)
            yield document(f"debian:{name}", text, "debian", name, fields.get("Section", "unknown").rpartition("/")[2])


def _available() -> Iterator[str]:
    """What is installed first: its long descriptions are on the machine."""
    if STATUS.is_file():
        with STATUS.open(encoding="utf-8", errors="replace") as file:
            yield from file
    if shutil.which("apt-cache"):
        with subprocess.Popen(
            ["apt-cache", "dumpavail"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            yield from process.stdout


def _paragraphs(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    current = ""
    for line in lines:
        if line == "\n":
            yield fields
            fields, current = {}, ""
        elif line[0] in " \t":
            if current in WANTED:
                fields[current] += "\n" + line.strip()
        else:
            current, _, value = line.partition(":")
            if current in WANTED:
                fields[current] = value.strip()
    if fields:
        yield fields


def _prose(description: str) -> str:
    """The title and the first paragraph of the long description, where there is one (a line `.` ends it)."""
    title, _, rest = description.partition("\n")
    body = rest.partition("\n.")[0]
    return f"{title}. {body}" if body else title
