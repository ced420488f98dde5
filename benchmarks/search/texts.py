"""The texts of the benchmark: found on the machine once, then frozen, so that vectors stay good when packages change."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import orjson

from corpus import Depth, Document, documents

from .cache import cache_dir, replace_file

QUERIES = 1_000
LEAST_DOCUMENTS = 100_000


class TooFewTexts(Exception):
    """This machine has not enough to say."""


@dataclass(frozen=True)
class Texts:
    """`queries` are held out: no document has the text of one."""

    documents: Sequence[Document]
    queries: Sequence[str]
    hash: str


def texts() -> Texts:
    """Raises TooFewTexts, corpus.NoTexts."""
    frozen = cache_dir() / "texts.ndjson"
    if not frozen.exists():
        found = documents(Depth.LINES)
        replace_file(frozen, b"".join(orjson.dumps(asdict(one)) + b"\n" for one in found))
    content = frozen.read_bytes()
    known = [Document(**orjson.loads(line)) for line in content.splitlines()]
    if len(known) < LEAST_DOCUMENTS + QUERIES:
        raise TooFewTexts(
            f"{len(known):,} texts on this machine, the benchmark wants {LEAST_DOCUMENTS + QUERIES:,}: "
            f"install packages with docstrings, or run `apt-get update`, and delete {frozen}"
        )
    queries = [one.text for one in known[:QUERIES]]
    return Texts(known[QUERIES:], queries, hashlib.sha256(content).hexdigest()[:16])
