"""The durable truth of one copy of one shard, behind one object. Thread-safe; waiting is the caller's loop's."""

import asyncio
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...contract.admin import Answer, FeedSource, Message, Refusal
from ...contract.index import FieldIndex, FieldType
from ...filters import Filter
from . import protocol, schema, state
from .reader import Reader
from .records import Committed, Identity, Lease, Page, Refused, StoreCorrupt, WriteBatch, Written
from .state import Counters, Protocol, Source, State
from .transaction import Transaction
from .writer import Commit, Writer

T = TypeVar("T")

DELETED_AT_ONCE = 1_000


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Store:
    """Open it with `Store.open`; `state` is the last committed State, `reader` answers reads."""

    def __init__(self, path: Path, writer: Writer, reader: Reader, fields: "Fields") -> None:
        self.path = path
        self.reader = reader
        self._writer = writer
        self._fields = fields
        self._leases: dict[str, tuple[str, int]] = dict(writer.published.leases)
        self._moving = threading.Lock()

    @classmethod
    def open(
        cls,
        directory: Path,
        identity: Identity,
        fields: Iterable[FieldIndex] = (),
        *,
        retention_seconds: float = 3_600.0,
        on_commit: Callable[[Committed], None] = lambda _: None,
        on_measured: Callable[[Commit], None] = lambda _: None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> "Store":
        """Opens the file in `directory` or makes it. Raises StoreCorrupt, WrongIdentity, StoreError."""
        path = directory / schema.FILE
        size = path.stat().st_size if path.exists() else 0
        connection = schema.connect(path, writer=True)
        try:
            first = State(identity, Protocol(history=secrets.token_hex(8)), Counters())
            schema.create_or_check(connection, size, lambda new: state.initialise(new, first))
            loaded = state.load(connection, identity)
            declared = Fields.declare(connection, fields, loaded.position)
        except sqlite3.DatabaseError as error:
            connection.close()
            raise schema.store_error(error) from error
        except (KeyError, ValueError) as error:
            connection.close()
            raise StoreCorrupt(f"the database is damaged (its state cannot be read: {error}): {schema.RESTORE}") from error
        except BaseException:
            connection.close()
            raise
        writer = Writer(
            connection,
            loaded,
            declared.all,
            retention_ms=round(retention_seconds * 1_000),
            on_commit=on_commit,
            on_measured=on_measured,
            now_ms=now_ms,
        )
        return cls(path, writer, Reader(path, identity.dimensions, lambda: declared.ready, now_ms), declared)

    def start(self) -> None:
        """Starts the writer thread: before, nothing is written."""
        self._writer.start()

    def close(self) -> None:
        self._writer.close()
        self.reader.close()

    @property
    def state(self) -> State:
        return self._writer.published

    @property
    def fault(self) -> tuple[Refusal, str] | None:
        """Why the last transaction failed, until one succeeds; damage stays."""
        return self._writer.fault

    @property
    def leases(self) -> Mapping[str, tuple[str, int]]:
        """How far each consumer has come, by its own word: at or beyond what is durable in `state.leases`."""
        return self._leases

    def bytes(self) -> int:
        """Of the files of the store."""
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{schema.FILE}*"))

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.path.parent).free

    # --- writes: each raises Refused, StoreError ---

    async def write(self, batch: WriteBatch) -> Written:
        return await self._submitted(lambda transaction: transaction.write(batch), len(batch.changes))

    async def delete_by_filter(
        self, generation: int, fingerprint: str, request_id: str, issued_at: int, filter_: Filter, *, digest: str | None = None
    ) -> int:
        """Deletes what matches now, some at a time, so that other writes get their turn. A repetition does it once."""
        finished = await self._submitted(lambda transaction: transaction.finished(request_id, issued_at, digest))
        if finished is not None:
            return finished
        ids = await asyncio.to_thread(self.reader.ids, filter_)
        deleted = 0
        for start in range(0, len(ids), DELETED_AT_ONCE):
            part = ids[start : start + DELETED_AT_ONCE]

            def delete(transaction: Transaction, part: list[str] = part) -> int:
                return transaction.delete_all(generation, fingerprint, part)

            deleted += await self._submitted(delete, len(part))
        await self._submitted(lambda transaction: transaction.finish_request(request_id, issued_at, deleted, digest))
        return deleted

    async def command(self, message: Message) -> Answer:
        """Obeys a message of the operator; what it changes is durable before it is answered."""

        def obey(transaction: Transaction) -> Answer:
            transaction.state, answer = protocol.command(transaction.as_of_now(), message)
            return answer

        answer = await self._submitted(obey)
        with self._moving:
            self._leases = self._moved()
        return answer

    async def lift_fence(self) -> None:
        """What the fence's timer does."""

        def lift(transaction: Transaction) -> None:
            transaction.state = protocol.lift(transaction.state)

        await self._submitted(lift)

    async def expire(self) -> int:
        """Documents turned into tombstones because their time is over."""
        return await self._submitted(lambda transaction: transaction.expire())

    async def purge(self) -> int:
        """Tombstones and requests forgotten. Makes the leases durable first: they bound it."""

        def purge(transaction: Transaction) -> int:
            transaction.state = _with_leases(transaction.state, self._leases)
            return transaction.purge()

        return await self._submitted(purge)

    async def index_declared_fields(self) -> None:
        """Enters rows that were there before a field was declared; until then filters on it read every document."""
        while (pending := self._fields.pending()) is not None:
            numbers, upto, above = pending

            def enter(transaction: Transaction, numbers: Any = numbers, above: int = above, upto: int = upto) -> int:
                return transaction.index_fields(numbers, above, upto)

            reached = await self._submitted(enter, 2_000)
            if reached < upto:
                self._fields.reached(reached)
            else:
                await self._submitted(lambda _: self._fields.complete())

    # --- the feed, from the side of the one who is followed ---

    async def lease(self, lease: Lease, *, release: bool = False) -> int:
        """Opens a lease at 0 for an empty consumer, or goes on with one; durable before it is answered."""

        def record(transaction: Transaction) -> int:
            kept = {name: held for name, held in transaction.state.leases.items() if name != lease.consumer}
            if not release:
                known = transaction.state.leases.get(lease.consumer)
                if known and known[0] == lease.nonce:
                    kept[lease.consumer] = (lease.nonce, max(known[1], lease.position))
                elif lease.position == 0:
                    kept[lease.consumer] = (lease.nonce, 0)
                else:
                    detail = f"{lease.consumer} has no lease under this nonce and is at {lease.position}: begin at 0"
                    raise Refused(Refusal.RESET, detail)
            transaction.state = _with_leases(transaction.state, kept, whole=True)
            return kept.get(lease.consumer, ("", 0))[1]

        position = await self._submitted(record)
        if release:
            self._leases.pop(lease.consumer, None)
        else:
            self._leases[lease.consumer] = (lease.nonce, position)
        return position

    def pull(
        self,
        lease: Lease,
        history: str,
        *,
        lower: int,
        upper: int,
        with_vectors: bool,
        limit: int,
        start: int | None = None,
    ) -> Page:
        """A page for the consumer of this lease, whose durable cursor is `lease.position`. Blocking. Raises Refused.

        start: where the page begins if the consumer reads ahead of what it has made durable; the lease stays behind with that.
        """
        known = self.state.protocol
        if history != known.history:
            raise Refused(Refusal.WRONG_HISTORY, f"this feed has history {known.history}, not {history}")
        held = self._leases.get(lease.consumer)
        if held is None or held[0] != lease.nonce:
            raise Refused(Refusal.NO_LEASE, f"{lease.consumer} has no lease under this nonce: open one at 0")
        begin = lease.position if start is None else start
        page = self.reader.feed(history, begin, lower, upper, with_vectors=with_vectors, limit=limit)
        # The end is the file's, not `state`'s: a commit can be read, and told to the consumer, before it is published.
        if not held[1] <= lease.position <= begin <= page.position:
            detail = f"{lease.consumer} is at {lease.position}, had reached {held[1]} of {page.position}: begin at 0"
            raise Refused(Refusal.RESET, detail)
        with self._moving:
            if self._leases.get(lease.consumer, ("", 0))[0] == lease.nonce:
                self._leases[lease.consumer] = (lease.nonce, lease.position)
        return page

    # --- the feed, from the side of the one who follows ---

    async def follow(self, source: FeedSource) -> Source:
        """A copy's own choice of the writer that it follows; the operator's is a Follow message."""

        def adopt(transaction: Transaction) -> None:
            transaction.state = protocol.follow(transaction.as_of_now(), (source,))

        await self._submitted(adopt)
        return self.state.sources[0]

    async def restart_source(self, shard: int, nonce: str | None = None) -> None:
        def restart(transaction: Transaction) -> None:
            transaction.state = protocol.restart(transaction.as_of_now(), shard, nonce)

        await self._submitted(restart)

    async def apply_page(self, shard: int, nonce: str, page: Page, of: int = 1) -> None:
        """of: shards of the source's generation."""
        await self._submitted(lambda transaction: transaction.apply_page(shard, nonce, page, of), max(1, len(page.rows)))

    # --- underneath ---

    def _moved(self) -> dict[str, tuple[str, int]]:
        """The durable leases, and how far those of the same nonce have come since."""
        moved = dict(self.state.leases)
        for consumer, lease in self._leases.items():
            if moved.get(consumer, ("", 0))[0] == lease[0]:
                moved[consumer] = max(lease, moved[consumer])
        return moved

    async def _submitted(self, run: Callable[[Transaction], T], changes: int = 1) -> T:
        return await asyncio.wrap_future(self._writer.submit(run, changes))


class Fields:
    """The declared fields: which have a number, and which are complete enough to answer filters alone."""

    def __init__(
        self, connection: sqlite3.Connection, all_: Mapping[str, tuple[int, FieldType]], pending: set[int], upto: int
    ) -> None:
        self._db = connection
        self.all = all_
        self.ready = {name: entry for name, entry in all_.items() if entry[0] not in pending}
        self._pending = pending
        self._upto = upto
        self._above = 0

    @classmethod
    def declare(cls, connection: sqlite3.Connection, fields: Iterable[FieldIndex], position: int) -> "Fields":
        """Compares with what the file has: new and retyped fields start pending, others go with their values."""
        wanted = {one.name: one.type for one in fields}
        connection.execute("BEGIN IMMEDIATE")
        for number, name, type_ in connection.execute("SELECT field, name, type FROM fields").fetchall():
            if wanted.get(name) != type_:
                connection.execute("DELETE FROM field_values WHERE field = ?", (number,))
                connection.execute("DELETE FROM fields WHERE field = ?", (number,))
        for name, type_ in wanted.items():
            connection.execute(
                "INSERT OR IGNORE INTO fields (name, type, pending) VALUES (?, ?, ?)", (name, type_.value, int(position > 0))
            )
        found = connection.execute("SELECT field, name, type, pending FROM fields").fetchall()
        connection.execute("COMMIT")
        declared = {name: (number, FieldType(type_)) for number, name, type_, _ in found}
        return cls(connection, declared, {number for number, _, _, pending in found if pending}, position)

    def pending(self) -> tuple[dict[str, tuple[int, FieldType]], int, int] | None:
        """Fields to enter, the last row to do, and the row done so far."""
        if not self._pending:
            return None
        return {name: entry for name, entry in self.all.items() if entry[0] in self._pending}, self._upto, self._above

    def reached(self, row: int) -> None:
        self._above = row

    def complete(self) -> None:
        """In the writer's transaction: filters may trust the entries from now on."""
        self._db.execute("UPDATE fields SET pending = 0")
        self._pending = set()
        self.ready = dict(self.all)


def _with_leases(state_: State, leases: Mapping[str, tuple[str, int]], *, whole: bool = False) -> State:
    """`whole`: these are all; else they only move forward those that are there."""
    if not whole:
        leases = state_.leases | {
            consumer: lease
            for consumer, lease in leases.items()
            if consumer in state_.leases and state_.leases[consumer][0] == lease[0] and lease[1] > state_.leases[consumer][1]
        }
    return State(state_.identity, state_.protocol, state_.counters, state_.sources, dict(leases))
