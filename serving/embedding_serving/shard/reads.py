"""What is read from a shard: searches, documents, counts. Every answer names generation, fingerprint, epoch and position."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from ..contract.admin import Refusal
from ..wire.calls import Call, Reply
from ..wire.codec import MAX_HEAD_BYTES, Buffer
from ..wire.errors import BAD_REQUEST, TOO_LARGE, WireError
from . import heads
from .heads import checked
from .index_feed import BEHIND
from .lane import Lane
from .matches import Matches
from .store.protocol import check_read
from .store.records import Document, Refused, Rows, Vectors
from .store.state import State
from .store.store import Store
from .watermark import Watermark

ROWS_AT_ONCE = 64
PAGE_CHARACTERS = 2 << 20
"""Text and metadata of one page of a scroll: as JSON it stays within a head."""
PATIENCE_SECONDS = 1.0
"""How long a read waits for a position where its caller names no deadline."""
REPORT_SECONDS = 0.005
"""Before the deadline: time to say that the position was not reached."""
NO_ROW = -1


class Searchable(Protocol):
    def search(
        self, queries: Vectors, k: int, rows: Rows | None, *, exact: bool = False
    ) -> tuple[Rows, NDArray[np.float32]]: ...


class Told(NamedTuple):
    """Documents as they go out: heads in JSON, vectors in the tail."""

    documents: list[list[Any] | None]
    tail: tuple[Buffer, ...]


class Reads:
    """One method an operation; each answers at once where that is cheap, else from a thread.

    reached: how much of the writer's feed this copy has. searchable: whether the index has every commit. caught_up: whether
    this copy has what it should; a follower that has not answers nothing.
    """

    def __init__(
        self,
        store: Store,
        index: Searchable,
        matches: Matches,
        reached: Watermark,
        executor: Executor,
        *,
        writer: bool,
        searchable: Callable[[], bool],
        caught_up: Callable[[], bool],
    ) -> None:
        self._store = store
        self._index = index
        self._matches = matches
        self._reached = reached
        self._writer = writer
        self._searchable = searchable
        self._caught_up = caught_up
        self._dimensions = store.state.identity.dimensions
        self.lanes = {name: Lane(executor) for name in ("search", "filtered", "keywords", "fetch", "scan")}

    def search(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Search, call)
        queries = self._queries(call.tail, head.queries)
        if head.consistency == "strong" and not self._searchable():
            raise Refused(Refusal.READ_ONLY, BEHIND)
        lane = self.lanes["search" if head.filter is None and not head.exact else "filtered"]
        return self._read(call, head, lane, partial(self._search, head, queries), head.queries)

    def keywords(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Keywords, call)
        return self._read(call, head, self.lanes["keywords"], partial(self._keywords, head))

    def fetch(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Fetch, call)
        work = partial(self._documents, head, head.rows, self._store.reader.fetch)
        return self._read(call, head, self.lanes["fetch"], work, 1 + len(head.rows) // ROWS_AT_ONCE)

    def get(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Get, call)
        work = partial(self._documents, head, head.ids, self._store.reader.get)
        return self._read(call, head, self.lanes["fetch"], work, 1 + len(head.ids) // ROWS_AT_ONCE)

    def scroll(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Scroll, call)
        return self._scan(call, head, partial(self._scroll, head))

    def count(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Count, call)
        return self._scan(
            call, head, lambda: self._reply({"count": self._store.reader.count(self._matches.filter_of(head.filter))})
        )

    def facet(self, call: Call) -> Reply | Awaitable[Reply]:
        head = checked(heads.Facet, call)
        return self._scan(call, head, partial(self._facet, head))

    # --- what is checked before ---

    def _read(
        self, call: Call, head: heads.Read, lane: Lane, work: Callable[[], Reply], units: int = 1
    ) -> Reply | Awaitable[Reply]:
        self._check(head)
        if head.position is not None and head.position > self._reached.value():
            return self._later(call, head, head.position, lane, work, units)
        return lane.run(work, units)

    def _scan(self, call: Call, head: heads.Read, work: Callable[[], Reply]) -> Reply | Awaitable[Reply]:
        return self._read(call, head, self.lanes["scan"], work)

    async def _later(
        self, call: Call, head: heads.Read, position: int, lane: Lane, work: Callable[[], Reply], units: int
    ) -> Reply:
        now = time.monotonic()
        patience = (PATIENCE_SECONDS if call.deadline is None else call.deadline - now) - REPORT_SECONDS
        try:
            async with asyncio.timeout(patience):
                await self._reached.reach(position)
        except TimeoutError:
            detail = f"this copy is at {self._reached.value()} of {position}: ask another, or the writer"
            raise Refused(Refusal.NOT_CAUGHT_UP_READ, detail) from None
        self._check(head)
        reply = lane.run(work, units)
        return reply if isinstance(reply, Reply) else await reply

    def _check(self, head: heads.Read) -> None:
        check_read(self._store.state, head.g, head.f, writer=self._writer, canary=head.canary, epoch=head.e)
        if head.consistency == "strong" and not self._writer:
            raise Refused(Refusal.NOT_A_WRITER, "this copy follows: a strong read goes to the writer")
        if not self._caught_up():
            raise Refused(Refusal.NOT_CAUGHT_UP, "this copy has not read its writer's feed to the end yet")

    # --- the work ---

    def _search(self, head: heads.Search, queries: Vectors) -> Reply:
        state = self._store.state
        allowed = None if head.filter is None else self._matches.rows(head.filter)
        rows, scores = self._index.search(queries, head.k, allowed, exact=head.exact)
        return self._found(head, rows, scores, state, {"exact": True} if head.exact else {})

    def _keywords(self, head: heads.Keywords) -> Reply:
        state = self._store.state
        rows, scores = self._store.reader.keywords(head.text, head.k, self._matches.filter_of(head.filter))
        return self._found(head, rows[None], scores[None], state)

    def _found(
        self,
        head: heads.Search | heads.Keywords,
        rows: Rows,
        scores: NDArray[np.float32],
        state: State,
        said: dict[str, Any] | None = None,
    ) -> Reply:
        found: dict[str, Any] = {"n": rows.shape[1]} | (said or {})
        if head.documents and (hits := self._hits(rows, head)) is not None:
            found["documents"] = hits
        return self._reply(found, (_bytes(rows, "<i8"), _bytes(scores, "<f4")), state)

    def _hits(self, rows: Rows, head: heads.Search | heads.Keywords) -> list[list[list[Any] | None]] | None:
        """Documents of each query's first hits, None where one has gone since; None for all that are more than is wanted."""
        numbers = [[row for row in one if row != NO_ROW] for one in rows[:, : head.documents_first].tolist()]
        wanted = list(dict.fromkeys(row for one in numbers for row in one))
        most = head.documents_bytes
        try:
            told = self._told(wanted, self._store.reader.fetch, head.include, MAX_HEAD_BYTES if most is None else most)
        except WireError:
            if most is None:
                raise
            return None
        by_row = dict(zip(wanted, told.documents, strict=True))
        return [[by_row[row] for row in one] for one in numbers]

    def _documents(
        self,
        head: heads.Fetch | heads.Get,
        keys: Sequence[Any],
        read: Callable[[Sequence[Any]], list[Document | None]],
    ) -> Reply:
        state = self._store.state
        told = self._told(keys, read, head.include)
        return self._reply({"documents": told.documents}, told.tail, state)

    def _told(
        self,
        keys: Sequence[Any],
        read: Callable[[Sequence[Any]], list[Document | None]],
        include: heads.Include,
        most_bytes: int = MAX_HEAD_BYTES,
    ) -> Told:
        """Raises WireError where they do not fit into one answer."""
        documents: list[Document | None] = []
        size = 0
        for start in range(0, len(keys), ROWS_AT_ONCE):
            part = read(keys[start : start + ROWS_AT_ONCE])
            size += sum(_size(document, include) for document in part if document is not None)
            if size > most_bytes:
                raise WireError(TOO_LARGE, "these documents do not fit into one answer: ask for fewer, or without their text")
            documents += part
        told = [None if document is None else _told(document, include) for document in documents]
        return Told(told, self._vectors(documents, include))

    def _scroll(self, head: heads.Scroll) -> Reply:
        state = self._store.state
        page = self._store.reader.scroll(head.after, head.limit + 1, self._matches.filter_of(head.filter))
        kept: list[Document] = []
        size = 0
        for document in page[: head.limit]:
            size += _size(document, head.include)
            if kept and size > PAGE_CHARACTERS:
                break
            kept.append(document)
        found = {
            "documents": [_told(document, head.include) for document in kept],
            "more": len(kept) < len(page),
        }
        return self._reply(found, self._vectors(kept, head.include), state)

    def _facet(self, head: heads.Facet) -> Reply:
        values = self._store.reader.facet(head.field, self._matches.filter_of(head.filter), head.limit)
        return self._reply({"values": values})

    def _vectors(self, documents: Sequence[Document | None], include: heads.Include) -> tuple[Buffer, ...]:
        """float32 [documents that are there, dimensions], zeros for one without a vector."""
        if not include.vector:
            return ()
        there = [document.row for document in documents if document is not None]
        none = bytes(4 * self._dimensions)
        found: dict[int, bytes] = {}
        for start in range(0, len(there), ROWS_AT_ONCE):
            found |= self._store.reader.vectors_of(there[start : start + ROWS_AT_ONCE])
        return (b"".join(found.get(row, none) for row in there),)

    def _reply(self, found: dict[str, Any], tail: tuple[Buffer, ...] = (), state: State | None = None) -> Reply:
        """state: as of before the read, so that the position is one that the answer surely contains."""
        known = state or self._store.state
        identity = known.identity
        common = {"g": identity.generation, "f": identity.fingerprint, "e": known.protocol.epoch, "p": known.position}
        return Reply(orjson.dumps(common | found), tail)

    def _queries(self, tail: memoryview, number: int) -> Vectors:
        expected = 4 * number * self._dimensions
        if len(tail) != expected:
            detail = f"{len(tail)} bytes of vectors: {number} of {self._dimensions} dimensions are {expected}"
            raise WireError(BAD_REQUEST, detail, field="vector")
        queries: Vectors = np.frombuffer(tail, dtype="<f4").reshape(number, self._dimensions)
        if not np.isfinite(queries).all():
            raise WireError(BAD_REQUEST, "the vector has a member that is not a finite number", field="vector")
        return queries


def _bytes(array: NDArray[Any], dtype: str) -> Buffer:
    return np.ascontiguousarray(array, dtype=dtype).data.cast("B") if array.size else b""


def _size(document: Document, include: heads.Include) -> int:
    size = len(document.id) + 40
    if include.text and document.text is not None:
        size += len(document.text)
    return size + len(document.metadata) if include.metadata else size


def _told(document: Document, include: heads.Include) -> list[Any]:
    return [
        document.row,
        document.id,
        document.version,
        document.text if include.text else None,
        document.metadata if include.metadata else None,
        document.expires_at,
    ]
