"""A feed on its way into the store: read ahead, committed in order, and told to the source when it is durable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.admin import FeedSource, Follow, Mode, Prepare
from embedding_serving.contract.index import IndexName
from embedding_serving.contract.route import ShardPosition
from embedding_serving.shard import embedding, reading
from embedding_serving.shard.embedding import Embedded, Embedding, Known
from embedding_serving.shard.follower import Follower
from embedding_serving.shard.reading import Hello, Piece
from embedding_serving.shard.store.records import FeedRow, Identity, Lease, Page, Version
from embedding_serving.shard.store.state import Source
from embedding_serving.shard.store.store import Store

from .test_follower import until

OURS = IndexName("test", "docs")
BLUE = Hello(index=OURS, generation=1, shard=0, fingerprint="f1", history="blue", mode=Mode.OPEN, position=0)
PAGE = 3


def row(number: int) -> FeedRow:
    return FeedRow(number, f"d{number}", Version(1, number), False, None, f"text {number}", "{}", b"h", None, None)


@dataclass
class Feed:
    """Rows 1 to `end`, a page of PAGE at a time. asked: durable position and start of each pull."""

    end: int
    hello: Hello = BLUE
    asked: list[tuple[int, int]] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, host: str) -> AsyncIterator["Feed"]:
        yield self

    async def lease(self, lease: Lease) -> int:
        self.leases.append(lease)
        return lease.position

    async def pull(self, lease: Lease, history: str, start: int, *, limit: int, wait_ms: int, **asked: object) -> Page:
        if limit > 1:
            self.asked.append((lease.position, start))
        upto = min(self.end, start + min(PAGE, limit))
        if upto == start:
            await asyncio.sleep(0.002)
        return Page(history, start, upto, self.end, [row(number) for number in range(start + 1, upto + 1)], [])


@dataclass
class Fill:
    """Each page as one piece, filled when `gate` is open."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    begun: list[int] = field(default_factory=list)
    closed: int = 0

    async def __call__(self, source: Source, page: Page) -> AsyncIterator[Piece]:
        self.begun.append(page.upto)

        async def filled() -> Page:
            await self.gate.wait()
            return page

        filling = asyncio.ensure_future(filled())

        def close() -> None:
            filling.cancel()
            self.closed += 1

        yield Piece(filling, close)


@asynccontextmanager
async def following(directory: Path, feed: Feed, fill: reading.Fill, **told: object) -> AsyncIterator[tuple[Follower, Store]]:
    store = Store.open(directory, Identity(generation=2, shard=0, shards=1, fingerprint="f2", dimensions=4))
    store.start()
    follower = Follower(store, "docs-g2-s0-0", OURS, feed.connect, fill)
    running = asyncio.create_task(follower.run())
    source = FeedSource.model_validate({"shard": 0, "history": "blue", "host": "blue:1", "encoder": "http://e"} | told)
    await store.command(Follow(epoch=1, history=store.state.protocol.history, sources=(source,)))
    try:
        yield follower, store
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        store.close()


def cursor(store: Store) -> Callable[[], int]:
    return lambda: store.state.sources[0].cursor


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LOOK_SECONDS", 0.01)


async def test_pages_are_read_ahead_and_the_source_is_told_what_is_durable_alone(tmp_path: Path) -> None:
    feed, fill = Feed(end=40), Fill()
    async with following(tmp_path, feed, fill) as (follower, store):
        await until(lambda: len(fill.begun) >= 2)
        assert all(durable == 0 for durable, _ in feed.asked)
        assert max(start for _, start in feed.asked) > 0
        assert follower.states()[0].behind == 40
        fill.gate.set()
        await until(lambda: cursor(store)() == 40)
        starts = [start for _, start in feed.asked]
        assert list(dict.fromkeys(starts)) == [*range(0, 40, PAGE), 40][: len(set(starts))]
        assert all(durable <= start for durable, start in feed.asked)
        await until(lambda: feed.asked[-1] == (40, 40))
        assert (follower.states()[0].behind, store.state.counters.documents) == (0, 40)


async def test_the_encoder_has_the_next_texts_before_it_is_done_with_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "PIECE_ROWS", 2)
    queue: list[object] = []
    answered = 0

    async def encode(encoder: str, texts: Sequence[str]) -> Embedded:
        """One after the other: each when another call waits behind it, if there is more to come."""
        nonlocal answered
        queue.append(call := object())
        await until(lambda: queue[0] is call and (len(queue) > 1 or answered + len(texts) == feed.end))
        queue.pop(0)
        answered += len(texts)
        return Embedded(np.ones((len(texts), 4), np.float32))

    async def nothing(ids: Sequence[str]) -> Known:
        return {}

    async def nobody(hosts: Sequence[str], texts: Mapping[str, str]) -> Mapping[str, bytes]:
        return {}

    feed = Feed(end=21)
    one = Embedding(Identity(2, 0, 1, "f2", 4), encode, nothing, nobody, lambda _: [])
    async with following(tmp_path, feed, one.pieces) as (_, store):
        await until(lambda: cursor(store)() == 21)
        assert len(store.reader.live_rows(0)) == 21


async def test_what_waits_is_looked_at_meanwhile(tmp_path: Path) -> None:
    feed, fill = Feed(end=40), Fill()
    async with following(tmp_path, feed, fill) as (follower, _):
        await until(lambda: follower.states()[0].behind == 40)
        feed.end = 50
        await until(lambda: follower.states()[0].behind == 50)


async def test_prepare_throws_away_what_is_on_its_way_and_nothing_more_is_read(tmp_path: Path) -> None:
    feed, fill = Feed(end=40), Fill()
    async with following(tmp_path, feed, fill) as (_, store):
        await until(lambda: len(fill.begun) >= 2)
        source = ShardPosition(shard=0, history="blue", position=0)
        await store.command(Prepare(epoch=1, history=store.state.protocol.history, sources=(source,)))
        await until(lambda: fill.closed == len(fill.begun))
        read = len(feed.asked)
        fill.gate.set()
        await asyncio.sleep(0.05)
        assert (cursor(store)(), store.state.counters.documents, len(feed.asked)) == (0, 0, read)


async def test_the_lease_that_the_operator_names_is_gone_on_with_from_its_position(tmp_path: Path) -> None:
    feed, fill = Feed(end=40), Fill()
    fill.gate.set()
    async with following(tmp_path, feed, fill, position=31, consumer="reverse-0", nonce="r1") as (_, store):
        await until(lambda: cursor(store)() == 40)
        assert feed.leases[0] == Lease("reverse-0", "r1", 31)
        assert min(start for _, start in feed.asked) == 31
        assert store.state.counters.documents == 9
