"""A shard and its copy at work on a recorded directory, until the power goes off; then what is left is looked at."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from embedding_serving.contract.admin import FeedSource, Fence, Mode, Refusal, Unfence
from embedding_serving.contract.index import FieldIndex, FieldType
from embedding_serving.shard.store.records import Change, Identity, Lease, Op, Refused, WriteBatch
from embedding_serving.shard.store.store import Store

from .audit import audit
from .promises import Command, Content, Operation, Promises, check_commands, check_documents, contents
from .recording import Recorder

IDENTITY = Identity(generation=1, shard=0, shards=1, fingerprint="f", dimensions=4)
FIELDS = (FieldIndex(name="kind", type=FieldType.KEYWORD), FieldIndex(name="n", type=FieldType.INTEGER))
CLIENTS = 4
DOCUMENTS_EACH = 5
NOW_MS = 1_000_000_000
WHOLE = {"lower": 0, "upper": 1 << 64}


@dataclass(frozen=True, slots=True)
class Tuning:
    """How often SQLite spills and checkpoints, so that a short life sees it; `synchronous` is for the one that must fail."""

    checkpoint_pages: int
    cache_pages: int
    synchronous: str = "FULL"

    @classmethod
    def drawn(cls, draw: random.Random, synchronous: str = "FULL") -> "Tuning":
        return cls(draw.choice((2, 8, 40, 2048)), draw.choice((10, 40, 4000)), synchronous)


def opened(directory: Path, tuning: Tuning) -> Store:
    directory.mkdir(parents=True, exist_ok=True)
    store = Store.open(directory, IDENTITY, FIELDS, now_ms=lambda: NOW_MS)
    connection = store._writer._db
    connection.execute(f"PRAGMA wal_autocheckpoint = {tuning.checkpoint_pages}")
    connection.execute(f"PRAGMA cache_size = {tuning.cache_pages}")
    connection.execute(f"PRAGMA synchronous = {tuning.synchronous}")
    store.start()
    return store


@asynccontextmanager
async def pair(root: Path, tuning: Tuning) -> AsyncIterator[tuple[Store, Store]]:
    """The writer's store and its copy's."""
    writer = opened(root / "writer", tuning)
    try:
        copy = opened(root / "copy", tuning)
        try:
            yield writer, copy
        finally:
            copy.close()
    finally:
        writer.close()


def document_ids() -> list[str]:
    return [f"c{client}-{number}" for client in range(CLIENTS) for number in range(DOCUMENTS_EACH)]


class Life:
    """One recorded stretch of work: two sessions with a restart between."""

    def __init__(
        self, root: Path, recorder: Recorder, draw: random.Random, tuning: Tuning, promises: Promises, name: str
    ) -> None:
        self._root = root
        self._recorder = recorder
        self._draw = draw
        self._tuning = tuning
        self._promises = promises
        self._name = name
        self._documents = dict(promises.start)
        self._versions: dict[str, str] = {}

    async def run(self, operations_each: int) -> None:
        for session in range(2):
            async with pair(self._root, self._tuning) as (writer, copy):
                await self._admit(writer)
                clients = [
                    self._client(writer, number, random.Random(self._draw.random()), f"{self._name}.{session}", operations_each)
                    for number in range(CLIENTS)
                ]
                done = asyncio.Event()
                beside = asyncio.gather(
                    self._copy(writer, copy, done, random.Random(self._draw.random())),
                    self._operator(writer, done, random.Random(self._draw.random())),
                )
                await asyncio.gather(*clients)
                done.set()
                await beside

    async def _admit(self, writer: Store) -> None:
        self._promises.history = self._promises.history or writer.state.protocol.history
        await self._command(writer, Mode.OPEN)

    async def _command(self, writer: Store, mode: Mode) -> None:
        known = writer.state.protocol
        command = Command(known.epoch + 1, mode, self._recorder.now())
        self._promises.commands.append(command)
        if mode is Mode.OPEN:
            await writer.command(Unfence(epoch=command.epoch, history=known.history))
        else:
            await writer.command(Fence(epoch=command.epoch, history=known.history, deadline_seconds=5))
        command.answered = self._recorder.now()

    # --- clients ---

    async def _client(self, writer: Store, number: int, draw: random.Random, name: str, operations: int) -> None:
        own = [f"c{number}-{n}" for n in range(DOCUMENTS_EACH)]
        for step in range(operations):
            ids = draw.sample(own, draw.choice((1, 1, 1, 2, 4)))
            changes = [self._change(id_, draw, f"{name}.{step}") for id_ in ids]
            before = {id_: self._documents.get(id_) for id_ in ids}
            after = {change.id: _after(before[change.id], change) for change in changes}
            batch = WriteBatch(1, "f", f"{name}.{number}.{step}", NOW_MS, changes)
            operation = Operation(number, batch, before, after, self._recorder.now())
            self._promises.operations.append(operation)
            try:
                operation.results = list((await writer.write(batch)).results)
            except Refused as refused:
                if refused.code is not Refusal.FENCED:
                    raise
                self._promises.operations.remove(operation)
                await asyncio.sleep(0)
                continue
            operation.answered = self._recorder.now()
            self._documents.update(after)
            self._versions.update({result.id: result.version or "" for result in operation.results})

    def _change(self, id_: str, draw: random.Random, name: str) -> Change:
        there = self._documents.get(id_) is not None
        text = f"{id_} {name} " + "x" * draw.choice((0, 50, 500, 9_000, 40_000))
        metadata = orjson.dumps({"kind": draw.choice("abc"), "n": draw.randint(0, 9)}).decode()
        condition = self._versions.get(id_) or None if there and draw.random() < 0.3 else None
        kind = draw.random()
        if there and kind < 0.25:
            return Change(Op.DELETE, id_, if_version=condition)
        if there and kind < 0.4:
            return Change(Op.PATCH, id_, metadata=metadata, if_version=condition)
        vector = np.asarray([draw.random() for _ in range(4)], dtype=np.float32)
        return Change(Op.PUT, id_, text, metadata, condition, vector=vector)

    # --- beside them ---

    async def _operator(self, writer: Store, done: asyncio.Event, draw: random.Random) -> None:
        while not done.is_set():
            await asyncio.sleep(draw.random() * 0.01)
            if draw.random() < 0.3:
                await self._command(writer, Mode.FENCED)
                await self._command(writer, Mode.OPEN)
            else:
                await writer.purge()

    async def _copy(self, writer: Store, copy: Store, done: asyncio.Event, draw: random.Random) -> None:
        await begin(writer, copy)
        while not done.is_set():
            self._promises.cursors.append((self._recorder.now(), copy.state.sources[0].cursor))
            await pull_once(writer, copy, draw.choice((1, 3, 10)))
            await asyncio.sleep(0)


def _after(before: Content | None, change: Change) -> Content | None:
    if change.op is Op.DELETE:
        return None
    if change.op is Op.PATCH:
        assert before is not None
        merged = orjson.loads(before.metadata) | orjson.loads(change.metadata or "{}")
        return replace(before, metadata=orjson.dumps(merged).decode())
    assert change.vector is not None
    return Content(change.text, change.metadata or "{}", change.vector.tobytes())


async def begin(writer: Store, copy: Store) -> None:
    history = writer.state.protocol.history
    if not copy.state.sources:
        await copy.follow(FeedSource(shard=0, history=history, host="writer", with_vectors=True))
    source = copy.state.sources[0]
    await writer.lease(Lease("copy", source.nonce, source.cursor))


async def pull_once(writer: Store, copy: Store, limit: int) -> bool:
    """Whether the copy has all of it."""
    source = copy.state.sources[0]
    lease = Lease("copy", source.nonce, source.cursor)
    page = await asyncio.to_thread(writer.pull, lease, source.history, **WHOLE, with_vectors=True, limit=limit)
    if page.upto > source.cursor:
        await copy.apply_page(0, source.nonce, page)
    return page.upto >= page.position


async def examine(root: Path, promises: Promises, tuning: Tuning) -> Promises:
    """Opens what a power cut left in `root` and asserts every promise. Answers what a next life begins with."""
    ids = document_ids()
    async with pair(root, tuning) as (writer, copy):
        audit(writer)
        audit(copy)
        check_commands(promises, writer)
        check_documents(promises, contents(writer, ids))
        await _check_copy(promises, writer, copy, ids)
        await _check_repetition(promises, writer, ids)
        audit(writer)
        known = writer.state.protocol
        return Promises(contents(writer, ids), (known.epoch, known.mode), history=known.history)


async def _check_copy(promises: Promises, writer: Store, copy: Store, ids: list[str]) -> None:
    """It is no further back than it had said, and what its cursor has passed it holds: the rest makes it equal."""
    told = max((cursor for _, cursor in promises.cursors), default=0)
    held = copy.state.sources[0].cursor if copy.state.sources else 0
    assert held >= told, f"the copy told its source {told} and has {held}"
    await begin(writer, copy)
    while not await pull_once(writer, copy, 10):
        pass
    audit(copy)
    assert contents(copy, ids) == contents(writer, ids), "the copy lacks what its cursor has passed"
    assert copy.state.counters.digest == writer.state.counters.digest


async def _check_repetition(promises: Promises, writer: Store, ids: list[str]) -> None:
    """A request sent again answers as before and changes nothing; one in doubt is done once."""
    known = writer.state.protocol
    await writer.command(Unfence(epoch=known.epoch + 1, history=known.history))
    expected = contents(writer, ids)
    for one in promises.operations[-12:]:
        results = list((await writer.write(one.batch)).results)
        if one.answered is not None:
            assert results == one.results, f"{one.batch.request_id} was answered otherwise before"
        else:
            assert all(result.code is None for result in results), results
            expected.update(one.after)
    assert contents(writer, ids) == expected, "a repeated request changed something"
