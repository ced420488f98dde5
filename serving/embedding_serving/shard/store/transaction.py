"""Changes of documents within one SQLite transaction: what the writer thread runs between BEGIN and COMMIT.

Nothing here is visible to anybody until the commit: the state evolves in `Transaction.state`, the rows for the
approximate index are collected, and a failure throws both away with the transaction.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from ...contract.admin import Mode, Refusal
from ...contract.index import NO_EXPIRY, FieldType, hash_of, ring_range
from ...filters import field_entries, keywords
from . import protocol, requests
from .records import (
    ABSENT,
    Change,
    Committed,
    FeedRequest,
    FeedRow,
    Op,
    Page,
    Refused,
    Version,
    WriteBatch,
    WriteResult,
    Written,
)
from .rows import COLUMNS, StoredRow, sealed, vector_checksum, verified, verify_vector
from .state import DIGEST_MODULUS, Source, State

NO_METADATA = "{}"
SWEPT_AT_ONCE = 2_000
HELD_CHARACTERS = 8 << 20
"""Of texts that wait for the end of a transaction to be entered into, or taken out of, the keyword lists."""

_FIND = f"SELECT {COLUMNS} FROM rows r WHERE r.id = ?"
_INSERT = f"INSERT INTO rows VALUES ({', '.join('?' * len(StoredRow._fields))})"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it goes into the table."""

    id: str
    version: Version
    deleted: bool
    expires_at: int | None
    text: str | None
    metadata: str
    content_hash: bytes
    failure: str | None
    vector: bytes | None


class Transaction:
    def __init__(
        self,
        connection: sqlite3.Connection,
        state: State,
        declared: Mapping[str, tuple[int, FieldType]],
        now_ms: int,
        retention_ms: int,
    ) -> None:
        self.state = state
        self._db = connection
        self._declared = declared
        self._now = now_ms
        self._retention = retention_ms
        self._added: dict[int, bytes] = {}
        self._removed: list[int] = []
        self._texts_added: dict[int, str] = {}
        self._texts_removed: dict[int, str] = {}
        self._held_characters = 0
        counters = state.counters
        self._next_row = counters.next_row
        self._digest = counters.digest
        self._documents = counters.documents
        self._tombstones = counters.tombstones
        self._failed = counters.failed
        self._text_bytes = counters.text_bytes

    # --- what a client asks for ---

    def write(self, batch: WriteBatch) -> Written:
        """Raises Refused, and has changed nothing then."""
        protocol.check_write(self.state, batch.generation, batch.fingerprint)
        known = self._known(batch.request_id, batch.issued_at)
        results: list[WriteResult] = []
        fresh: dict[str, Any] = {}
        for change in batch.changes:
            if change.id in known:
                results.append(requests.result_of(change, known[change.id]))
                continue
            result = self._change(change)
            fresh[change.id] = requests.entry(result, change.digest)
            results.append(result)
        if fresh:
            self._insert_request(batch.request_id, batch.issued_at, fresh)
        return Written(results, self._next_row - 1)

    def delete_all(self, generation: int, fingerprint: str, ids: Sequence[str]) -> int:
        """Deletes what a filter found. `ids` were read before: one that has changed since is deleted all the same."""
        protocol.check_write(self.state, generation, fingerprint)
        return sum(self._change(Change(Op.DELETE, id_)).version is not None for id_ in ids)

    def finished(self, request_id: str, issued_at: int, digest: str | None) -> int | None:
        """What a request without documents of its own answered before; None where it is new or was cut short.

        Raises Refused for another request of the same name.
        """
        answer = self._known(request_id, issued_at).get(requests.WHOLE_REQUEST)
        return None if answer is None else requests.count_of(answer, digest)

    def finish_request(self, request_id: str, issued_at: int, answer: int, digest: str | None) -> None:
        self._insert_request(request_id, issued_at, {requests.WHOLE_REQUEST: requests.counted(answer, digest)})

    # --- what the shard does by itself ---

    def expire(self) -> int:
        """Turns documents whose time is over into tombstones; only an open shard may sequence that."""
        if self.state.protocol.mode is not Mode.OPEN:
            return 0
        due = self._db.execute(
            "SELECT id FROM rows WHERE expires_at <= ? AND expires_at IS NOT NULL AND deleted = 0 LIMIT ?",
            (self._now, SWEPT_AT_ONCE),
        ).fetchall()
        for (id_,) in due:
            self._change(Change(Op.DELETE, id_))
        return len(due)

    def purge(self) -> int:
        """Forgets tombstones and requests that every lease has passed and no request in flight can need."""
        lowest = min((position for _, position in self.state.leases.values()), default=self._next_row - 1)
        oldest = self._now - self._retention
        gone = self._db.execute(
            "DELETE FROM requests WHERE row IN "
            "(SELECT row FROM requests WHERE row <= ? AND issued_at < ? ORDER BY row LIMIT ?)",
            (lowest, oldest, SWEPT_AT_ONCE),
        ).rowcount
        tombstones = self._db.execute(
            "DELETE FROM rows WHERE deleted = 1 AND row IN (SELECT row FROM rows WHERE deleted = 1 AND row <= ? LIMIT ?)",
            (lowest, SWEPT_AT_ONCE),
        ).rowcount
        self._tombstones -= tombstones
        return int(gone + tombstones)

    def index_fields(self, fields: Mapping[str, tuple[int, FieldType]], above: int, upto: int) -> int:
        """Enters newly declared fields for rows that were there before; answers the last row done, `upto` at the end."""
        found = self._db.execute(
            f"SELECT {COLUMNS} FROM rows r WHERE r.row > ? AND r.row <= ? AND r.deleted = 0 ORDER BY r.row LIMIT ?",
            (above, upto, SWEPT_AT_ONCE),
        )
        done, last = 0, upto
        for columns in found:
            row = verified(columns)
            self._enter(row.row, row.metadata, fields)
            done, last = done + 1, row.row
        return last if done == SWEPT_AT_ONCE else upto

    # --- what a consumer of another feed does ---

    def apply_page(self, shard: int, nonce: str, page: Page, of: int) -> None:
        """Takes a page of a followed feed, iff newer, and moves the cursor with it. Raises Refused out of page order.

        of: shards of the source's generation. Several that are followed at once each own a part of what is here.
        """
        source = next((one for one in self.state.sources if one.shard == shard), None)
        if source is None or source.nonce != nonce or source.history != page.history:
            raise Refused(Refusal.WRONG_HISTORY, f"shard {shard} is not followed under history {page.history}")
        if source.cursor != page.cursor:
            raise Refused(Refusal.NOT_CAUGHT_UP, f"the page begins at {page.cursor}, the cursor is at {source.cursor}")
        if self.state.protocol.prepared is not None:
            raise Refused(Refusal.NOT_CAUGHT_UP, "this shard is frozen by prepare")
        for row in page.rows:
            self._take(row, source)
        for request in page.requests:
            if results := self._brought(request, source, of):
                self._insert_request(request.request_id, request.issued_at, results)
        moved = replace(source, cursor=page.upto)
        if page.upto >= page.position:
            if moved.resync_from is not None:
                self._drop_outdated(moved, of)
            moved = replace(moved, resync_from=None, complete=True)
        self._replace_source(moved)

    # --- the end ---

    def finish(self) -> tuple[State, Committed]:
        """The state to persist and publish, and what the approximate index has to learn."""
        self._enter_vectors()
        self._enter_texts()
        dimensions = self.state.identity.dimensions
        added = np.fromiter(self._added, dtype=np.int64, count=len(self._added))
        vectors = np.frombuffer(b"".join(self._added.values()), dtype="<f4").reshape(len(added), dimensions)
        removed = np.array(sorted(set(self._removed)), dtype=np.int64)
        return self.as_of_now(), Committed(added, vectors, removed, self._next_row - 1)

    def as_of_now(self) -> State:
        """With position and digest after what this transaction has done: a fence stands behind the writes before it."""
        now = {
            "next_row": self._next_row,
            "digest": self._digest % DIGEST_MODULUS,
            "documents": self._documents,
            "tombstones": self._tombstones,
            "failed": self._failed,
            "text_bytes": self._text_bytes,
        }
        known = self.state.counters
        return self.state if now == dict(known) else self.state.with_counters(known.model_copy(update=now))

    # --- one document ---

    def _change(self, change: Change) -> WriteResult:
        found = self._find(change.id)
        existing = found if found is not None and not found.is_gone(self._now) else None
        if change.if_version is not None:
            actual = str(existing.version) if existing else ABSENT
            if actual != change.if_version:
                detail = f"the document has version {actual}, not {change.if_version}: read it again"
                return WriteResult(change.id, code="version_conflict", detail=detail)
        if change.op is Op.DELETE:
            return self._delete(change.id, found, existing)
        if change.op is Op.PATCH and existing is None:
            return WriteResult(change.id, code="not_found", detail="there is no such document: upsert it")
        version = Version(self.state.protocol.opened_at, self._next_row)
        if change.op is Op.PATCH and existing is not None:
            row = self._patched(change, existing, version)
        else:
            row = _row(
                change, change.text, change.metadata or NO_METADATA, version, _expiry(change), _bytes(change), change.failure
            )
        self._put(row, found)
        return WriteResult(change.id, str(version))

    def _patched(self, change: Change, existing: StoredRow, version: Version) -> _Row:
        metadata = existing.metadata
        if change.metadata is not None:
            metadata = orjson.dumps(_merged(orjson.loads(existing.metadata), orjson.loads(change.metadata))).decode()
        text = existing.text if change.text is None else change.text
        vector, failure = _bytes(change), change.failure
        if vector is None and change.text is None:
            vector, failure = self._vector(existing), existing.failure
        expires_at = existing.expires_at if change.expires_at is None else _expiry(change)
        return _row(change, text, metadata, version, expires_at, vector, failure)

    def _delete(self, id_: str, found: StoredRow | None, existing: StoredRow | None) -> WriteResult:
        if found is None or found.deleted:
            return WriteResult(id_)
        version = Version(self.state.protocol.opened_at, self._next_row)
        self._put(_Row(id_, version, True, None, None, NO_METADATA, b"", None, None), found)
        return WriteResult(id_, str(version) if existing else None)

    def _take(self, row: FeedRow, source: Source) -> None:
        found = self._find(row.id)
        if found is not None:
            outdated = source.resync_from is not None and found.row <= source.resync_from
            if found.version >= row.version and not outdated:
                return
        self._put(
            _Row(
                row.id,
                row.version,
                row.deleted,
                row.expires_at,
                row.text,
                row.metadata,
                row.content_hash,
                row.failure,
                row.vector,
            ),
            found,
        )

    def _find(self, id_: str) -> StoredRow | None:
        row = self._db.execute(_FIND, (id_,)).fetchone()
        return verified(row) if row else None

    def _vector(self, row: StoredRow) -> bytes | None:
        if row.row in self._added:
            return self._added[row.row]
        found = self._db.execute("SELECT vector FROM vectors WHERE row = ?", (row.row,)).fetchone()
        vector = found[0] if found else None
        verify_vector(row.row, row.vector_checksum, vector)
        return vector

    def _put(self, row: _Row, found: StoredRow | None) -> None:
        """The one place that writes a document's row."""
        if found is not None:
            self._remove(row.id, found)
        number = self._next_row
        self._next_row += 1
        self._db.execute(_INSERT, _stored(number, row))
        if row.deleted:
            self._tombstones += 1
            return
        self._documents += 1
        self._failed += row.failure is not None
        self._text_bytes += _text_bytes(row.text)
        self._digest += _digest(row.id, row.version, row.content_hash)
        self._enter(number, row.metadata, self._declared)
        if row.text:
            self._texts_added[number] = row.text
            self._hold(row.text)
        if row.vector is not None:
            self._added[number] = row.vector

    def _remove(self, id_: str, found: StoredRow) -> None:
        self._db.execute("DELETE FROM rows WHERE row = ?", (found.row,))
        if found.deleted:
            self._tombstones -= 1
            return
        self._documents -= 1
        self._failed -= found.failure is not None
        self._text_bytes -= _text_bytes(found.text)
        self._digest -= _digest(id_, found.version, found.content_hash)
        if found.text and self._texts_added.pop(found.row, None) is None:
            self._texts_removed[found.row] = found.text
            self._hold(found.text)
        if self._declared and found.metadata != NO_METADATA:
            entries = field_entries(orjson.loads(found.metadata), self._declared)
            self._db.executemany(
                "DELETE FROM field_values WHERE field = ? AND value = ? AND row = ?",
                [(field, value, found.row) for field, value in entries],
            )
        if self._added.pop(found.row, None) is None:
            self._removed.append(found.row)

    def _enter(self, number: int, metadata: str, fields: Mapping[str, tuple[int, FieldType]]) -> None:
        if not fields or metadata == NO_METADATA:
            return
        entries = field_entries(orjson.loads(metadata), fields)
        self._db.executemany(
            "INSERT OR IGNORE INTO field_values VALUES (?, ?, ?)", [(field, value, number) for field, value in entries]
        )

    def _enter_vectors(self) -> None:
        if self._removed:
            self._db.executemany("DELETE FROM vectors WHERE row = ?", [(row,) for row in sorted(self._removed)])
        if self._added:
            self._db.executemany("INSERT INTO vectors VALUES (?, ?)", self._added.items())

    def _hold(self, text: str) -> None:
        self._held_characters += len(text)
        if self._held_characters > HELD_CHARACTERS:
            self._enter_texts()

    def _enter_texts(self) -> None:
        """FTS5 writes a segment whenever a row number is below the one before it: two at the end, not two a document."""
        if self._texts_removed:
            self._db.executemany(keywords.DELETE, sorted(self._texts_removed.items()))
        if self._texts_added:
            self._db.executemany(keywords.INSERT, self._texts_added.items())
        self._texts_removed, self._texts_added, self._held_characters = {}, {}, 0

    # --- requests ---

    def _known(self, request_id: str, issued_at: int) -> dict[str, Any]:
        """Results of this request by document. Raises Refused for a copy that is older than what is remembered."""
        if issued_at < self._now - self._retention:
            seconds = self._retention // 1000
            raise Refused(Refusal.REQUEST_EXPIRED, f"the request is older than {seconds} s: send it again under another id")
        known: dict[str, Any] = {}
        for (results,) in self._db.execute("SELECT results FROM requests WHERE request_id = ?", (request_id,)):
            known |= orjson.loads(results)
        return known

    def _brought(self, request: FeedRequest, source: Source, of: int) -> Mapping[str, Any]:
        """Results of a followed shard. One that names no document is of all that shard held: it says nothing here where
        others hold documents of this shard, too; and where several come of one, the first alone has the number.
        """
        results = dict(request.results)
        whole = results.pop(requests.WHOLE_REQUEST, None)
        identity = self.state.identity
        own, theirs = ring_range(identity.shard, identity.shards), ring_range(source.shard, of)
        if whole is not None and theirs[0] <= own[0] and own[1] <= theirs[1]:
            results[requests.WHOLE_REQUEST] = whole if own[0] == theirs[0] else requests.counted_elsewhere(whole)
        return results

    def _insert_request(self, request_id: str, issued_at: int, results: Mapping[str, Any]) -> None:
        number = self._next_row
        self._next_row += 1
        self._db.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?)", (number, request_id, issued_at, orjson.dumps(results).decode())
        )

    # --- sources ---

    def _drop_outdated(self, source: Source, of: int) -> None:
        """Ends a second reading: what the source did not send again, it does not have. Its neighbours' rows are not its."""
        limit = source.resync_from or 0
        first, end = ring_range(source.shard, of)
        lower, upper = max(first, source.lower), min(end, source.upper)
        for (id_,) in self._db.execute("SELECT id FROM rows WHERE row <= ?", (limit,)).fetchall():
            if lower <= hash_of(id_) < upper:
                found = self._find(id_)
                if found is not None:
                    self._remove(id_, found)

    def _replace_source(self, moved: Source) -> None:
        sources = tuple(moved if source.shard == moved.shard else source for source in self.state.sources)
        self.state = replace(self.state, sources=sources)


def _text_bytes(text: str | None) -> int:
    return len(text.encode()) if text else 0


def _stored(number: int, row: _Row) -> tuple[Any, ...]:
    checksum = None if row.deleted or row.vector is None else vector_checksum(row.vector)
    expires_at, flag = row.expires_at, int(row.deleted)
    return sealed(
        number, row.id, *row.version, flag, expires_at, checksum, row.failure, row.metadata, row.text, row.content_hash
    )


def content_hash(text: str | None, metadata: str, expires_at: int | None) -> bytes:
    """BLAKE2b-128 of what a client wrote: equal content has equal hashes in every generation."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in _parts(text, metadata, expires_at):
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()


def _parts(text: str | None, metadata: str, expires_at: int | None) -> Iterator[bytes]:
    yield b"" if text is None else b"t" + text.encode()
    yield metadata.encode()
    yield b"" if expires_at is None else str(expires_at).encode()


def _digest(id_: str, version: Version, hash_: bytes) -> int:
    """A live row's share of the digest: sums over shards and generations can be compared."""
    text = b"%s\0%d.%d\0%s" % (id_.encode(), version.epoch, version.seq, hash_)
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def _row(
    change: Change,
    text: str | None,
    metadata: str,
    version: Version,
    expires_at: int | None,
    vector: bytes | None,
    failure: str | None,
) -> _Row:
    hash_ = content_hash(text, metadata, expires_at)
    return _Row(change.id, version, False, expires_at, text, metadata, hash_, failure, vector)


def _expiry(change: Change) -> int | None:
    return None if change.expires_at == NO_EXPIRY else change.expires_at


def _bytes(change: Change) -> bytes | None:
    return None if change.vector is None else np.ascontiguousarray(change.vector, dtype="<f4").tobytes()


def _merged(target: Any, patch: Any) -> Any:
    """JSON Merge Patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
