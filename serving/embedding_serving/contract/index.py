"""A shard's part of a VectorIndex: what is kept, how it is compared, and how a document finds its shard."""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self

from pydantic import Field

from .model import Frozen

MAX_ID_BYTES = 512
MAX_TEXT_BYTES = 1 << 20
MAX_METADATA_BYTES = 64 << 10
NO_EXPIRY = 0
"""`expires_at` of a change that takes an expiry away; without any, a patch keeps the one there is."""


class IndexName(NamedTuple):
    """Whose data a pod holds. Addresses are used again, and indexes of one model have equal generations and vector spaces."""

    namespace: str
    name: str

    @classmethod
    def said(cls, hello: Mapping[str, Any]) -> Self:
        """What a shard says of itself in its hello."""
        return cls(str(hello.get("namespace")), str(hello.get("index")))

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Distance(StrEnum):
    """How vectors are compared. A hit's score is larger for what is nearer: cosine, inner product, minus squared L2."""

    COSINE = "Cosine"
    DOT = "Dot"
    EUCLIDEAN = "Euclidean"


class Acknowledge(StrEnum):
    """When a write counts as done: its writer has synced it, or one follower has too."""

    WRITER = "Writer"
    FOLLOWER = "Follower"


class IndexType(StrEnum):
    AUTO = "Auto"
    FLAT = "Flat"
    IVF_FLAT = "IVFFlat"
    IVF_PQ = "IVFPQ"
    PQ_FAST_SCAN = "PQFastScan"
    HNSW = "HNSW"
    SCANN = "ScaNN"


class FieldType(StrEnum):
    KEYWORD = "Keyword"
    INTEGER = "Integer"
    NUMBER = "Number"
    BOOLEAN = "Boolean"
    DATE_TIME = "DateTime"
    TEXT = "Text"


class FieldIndex(Frozen):
    """A member of the documents' metadata that filters find by an index. Dots in `name` lead into objects."""

    name: str
    type: FieldType


class IndexOptions(Frozen):
    """The approximate index of a shard: a cache, rebuilt in place when these change."""

    type: IndexType = IndexType.AUTO
    target_recall_percent: int = Field(default=97, ge=1, le=100)
    lists: int | None = Field(default=None, ge=1)
    m: int | None = Field(default=None, ge=2)
    ef_construction: int | None = Field(default=None, ge=8)
    subquantizers: int | None = Field(default=None, ge=1)


def hash_of(document_id: str) -> int:
    """Place of a document on the ring [0, 2^64), the same for every generation and shard count.

    Personalised: documents that come sorted by somebody's own hash of their ids still spread over all shards.
    """
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8, person=b"eo-ring").digest(), "big")


def shard_of(document_id: str, shards: int) -> int:
    """The shard that owns a document: each of N shards owns one N-th of the ring, in order."""
    return hash_of(document_id) * shards >> 64


def ring_range(shard: int, shards: int) -> tuple[int, int]:
    """First and last-but-one place of a shard on the ring: `lower <= hash_of(id) < upper`."""
    return -(-(shard << 64) // shards), -(-((shard + 1) << 64) // shards)
