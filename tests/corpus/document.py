"""A document as the search API takes it, and how a text found on the machine becomes one."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

LEAST_WORDS = 4
MOST_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class Document:
    """`metadata` has `source`, `package`, `section`, `words` (int) for every document; `module` for Python's."""

    id: str
    text: str
    metadata: Mapping[str, str | int]

    @property
    def place(self) -> bytes:
        """Sorting by it shuffles the sources, the same way every time."""
        return hashlib.blake2b(self.id.encode(), digest_size=8).digest()


def readable(text: str) -> str | None:
    """One line of at most MOST_CHARACTERS, cut between words; None where it is not prose enough to search for."""
    line = " ".join(text.split())
    if len(line) > MOST_CHARACTERS:
        line = line[:MOST_CHARACTERS].rpartition(" ")[0] + " …"
    letters = sum(character.isalpha() or character == " " for character in line)
    if len(line.split()) < LEAST_WORDS or letters < 0.75 * len(line):
        return None
    return line


def document(id_: str, text: str, source: str, package: str, section: str, **more: str) -> Document:
    metadata: dict[str, str | int] = {"source": source, "package": package, "section": section, "words": len(text.split())}
    return Document(id_, text, metadata | more)
