"""A row as the table holds it, sealed with checksums: SQLite checks how its pages hang together, not what is in them.

The seal is over every member of the row, its number and the checksum of its vector among them, so that a row answers for
having a vector, and for which. It is of this file alone: `content_hash` is what copies and generations compare.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from .records import StoreCorrupt, Version
from .schema import RESTORE

COLUMNS = (
    "r.row, r.id, r.epoch, r.seq, r.deleted, r.expires_at, r.vector_checksum, r.failure, r.metadata, r.text, "
    "r.content_hash, r.checksum"
)


class StoredRow(NamedTuple):
    """In the order of the table's columns."""

    row: int
    id: str
    epoch: int
    seq: int
    deleted: int
    expires_at: int | None
    vector_checksum: int | None
    failure: str | None
    metadata: str
    text: str | None
    content_hash: bytes
    checksum: int

    @property
    def version(self) -> Version:
        return Version(self.epoch, self.seq)

    def is_gone(self, now_ms: int) -> bool:
        return bool(self.deleted) or (self.expires_at is not None and self.expires_at <= now_ms)


_HASH = StoredRow._fields.index("content_hash")


def sealed(*members: Any) -> tuple[Any, ...]:
    """Members of a StoredRow up to `content_hash`, with the checksum that belongs to them."""
    return (*members, _checksum(members))


def verified(columns: Sequence[Any]) -> StoredRow:
    """The row that these COLUMNS are. Raises StoreCorrupt where they are not as they were written."""
    try:
        intact = _checksum(columns) == columns[-1]
    except TypeError:  # a member is of another type now
        intact = False
    if not intact:
        raise damaged(columns[0])
    return StoredRow._make(columns)


def vector_checksum(vector: bytes) -> int:
    return zlib.crc32(vector)


def verify_vector(number: int, checksum: int | None, vector: bytes | None) -> None:
    """checksum: as the row has it. Raises StoreCorrupt, also where one is there without the other."""
    if vector is None and checksum is None:
        return
    if not isinstance(vector, bytes) or zlib.crc32(vector) != checksum:
        raise damaged(number, "the vector of ")


def damaged(number: object, what: str = "") -> StoreCorrupt:
    return StoreCorrupt(f"the database is damaged ({what}row {number} is not as it was written): {RESTORE}")


def _checksum(members: Sequence[Any]) -> int:
    """CRC-32 of the members as JSON, which tells them and their types apart, and of the last, which is bytes."""
    return zlib.crc32(members[_HASH], zlib.crc32(orjson.dumps(members[:_HASH])))
