"""What goes into the store and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contract.admin import Refusal
from ...contract.index import Distance
from ...contract.route import Route

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]


class StoreError(Exception):
    """The store cannot be opened or used; the message says why and what to do."""


class StoreCorrupt(StoreError):
    """The database file is damaged. Nothing of it is served."""


class WrongIdentity(StoreError):
    """The volume belongs to another shard, generation or vector space."""


class Refused(Exception):
    """The shard did not do as told, and nothing changed. `route` comes with MOVED."""

    def __init__(self, code: Refusal, detail: str, route: Route | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.route = route


@dataclass(frozen=True, slots=True)
class Identity:
    """What a volume was made for. Only `distance` is needed to prepare vectors; all of it must agree at each start."""

    generation: int
    shard: int
    shards: int
    fingerprint: str
    dimensions: int
    distance: Distance = Distance.COSINE


class Version(NamedTuple):
    """Order of the changes of one document: the epoch that the shard was opened at, then the row number there."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Raises ValueError where the text is no version."""
        epoch, _, seq = text.partition(".")
        return cls(int(epoch), int(seq))


ABSENT = "0"
"""`if_version` of a document that must not exist yet."""


class Op(StrEnum):
    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document.

    metadata: JSON object text; a patch merges it (RFC 7396) into what is there. vector: float32 [dimensions], normalised
    where the distance is Cosine; a patch without one keeps the vector. failure: why the text could not be embedded.
    digest: of what the client asked for, where it may send the change again under a key of its own.
    """

    op: Op
    id: str
    text: str | None = None
    metadata: str | None = None
    if_version: str | None = None
    expires_at: int | None = None
    vector: Vectors | None = None
    failure: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class WriteBatch:
    """Changes of different documents, applied in one transaction; `request_id` makes a repetition harmless.

    issued_at: ms since 1970 when the request first came in.
    """

    generation: int
    fingerprint: str
    request_id: str
    issued_at: int
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class WriteResult:
    """version: of the document after the change; None where it was deleted without having existed, or refused."""

    id: str
    version: str | None = None
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """position: the feed position from which on a copy has all of it."""

    results: Sequence[WriteResult]
    position: int


@dataclass(frozen=True, slots=True)
class Committed:
    """What one transaction did to the searchable vectors: rows ascending, vectors float32 [len(added), dimensions]."""

    added: Rows
    vectors: Vectors
    removed: Rows
    position: int


@dataclass(frozen=True, slots=True)
class Document:
    """A row as readers get it; metadata is JSON object text."""

    row: int
    id: str
    version: str
    text: str | None
    metadata: str
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class FeedRow:
    """The current state of one document, deletions included."""

    row: int
    id: str
    version: Version
    deleted: bool
    expires_at: int | None
    text: str | None
    metadata: str
    content_hash: bytes
    failure: str | None
    vector: bytes | None


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """A remembered request: results by document id."""

    row: int
    request_id: str
    issued_at: int
    results: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A stretch of a feed: everything with cursor < row <= upto. position: the end of the feed when it was read.

    A consumer of another vector space fills in `FeedRow.vector` with its own before it applies the page.
    """

    history: str
    cursor: int
    upto: int
    position: int
    rows: Sequence[FeedRow]
    requests: Sequence[FeedRequest]


@dataclass(frozen=True, slots=True)
class Lease:
    consumer: str
    nonce: str
    position: int
