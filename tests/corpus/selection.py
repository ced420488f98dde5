"""The sources together: without repetitions, in an order of which every prefix is a fair sample."""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain, islice

from .debian import packages
from .document import Document
from .manual import pages
from .python import docstrings, interpreter_roots


class NoTexts(Exception):
    """Nothing was found; the message says where was looked."""


class Depth(Enum):
    """How much of a machine's texts is wanted: (modules of a package that are read, paragraphs of a docstring).

    SUMMARIES takes some seconds and gives tens of thousands; LINES, for benchmarks, minutes and more than 100,000.
    """

    SUMMARIES = (12, 1)
    LINES = (400, 20)


def documents(depth: Depth = Depth.SUMMARIES, limit: int | None = None) -> list[Document]:
    """At most `limit` documents of this machine. Raises NoTexts."""
    modules, paragraphs = depth.value
    return shuffled(chain(docstrings(interpreter_roots(), modules, paragraphs), packages(), pages()), limit)


def shuffled(found: Iterable[Document], limit: int | None = None) -> list[Document]:
    """Distinct documents, at most `limit`, in the order that their ids alone decide. Raises NoTexts."""
    ordered = sorted(distinct(found), key=lambda document: document.place)
    if not ordered:
        raise NoTexts(
            "no texts on this machine: neither docstrings in Python's library, nor Debian packages (/var/lib/apt/lists, "
            "/var/lib/dpkg/status), nor man pages. Install Python with its sources, or give documents of your own"
        )
    return list(islice(ordered, limit))


def distinct(found: Iterable[Document]) -> Iterator[Document]:
    """The first of documents with one id or one text."""
    known: set[str] = set()
    for one in found:
        names = {one.id, one.text.casefold()}
        if known.isdisjoint(names):
            known |= names
            yield one
