"""A copy and the address of its writer, which another pod may answer at."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from embedding_serving.contract.admin import Mode
from embedding_serving.contract.index import IndexName
from embedding_serving.shard.follower import LOOK_SECONDS, Follower
from embedding_serving.shard.reading import Hello, Piece, Unreachable
from embedding_serving.shard.store.records import Identity, Lease, Page
from embedding_serving.shard.store.state import Source
from embedding_serving.shard.store.store import Store

OURS = IndexName("test", "docs")
WRITER = Hello(index=OURS, generation=1, shard=0, fingerprint="f1", history="h1", mode=Mode.OPEN, position=0)
DEADLINE_SECONDS = 10.0


@dataclass
class Address:
    """A feed without rows, behind which the pod can change."""

    hello: Hello = WRITER
    connected: int = 0
    pulled: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def connect(self, host: str) -> AsyncIterator["Address"]:
        self.connected += 1
        yield self

    async def lease(self, lease: Lease) -> int:
        return lease.position

    async def pull(self, lease: Lease, history: str, start: int, **asked: object) -> Page:
        said = self.hello
        self.pulled.append(said.history)
        if said != WRITER:
            raise Unreachable("the pod went away")
        await asyncio.sleep(0.01)
        return Page(history, lease.position, lease.position, lease.position, [], [])


@dataclass
class Endless(Address):
    """There is always more, and none of it is given."""

    async def pull(self, lease: Lease, history: str, start: int, **asked: object) -> Page:
        page = await super().pull(lease, history, start, **asked)
        return replace(page, position=lease.position + 5)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.005)


def fill(source: Source, page: Page) -> AsyncIterator[Piece]:
    raise AssertionError("a copy takes vectors along")


@asynccontextmanager
async def following(
    directory: Path, address: Address, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[tuple[Follower, Store]]:
    store = Store.open(directory, Identity(generation=1, shard=0, shards=1, fingerprint="f1", dimensions=4))
    store.start()
    follower = Follower(store, "docs-g1-s0-1", OURS, address.connect, fill, "writer:8082", clock)
    running = asyncio.create_task(follower.run())
    try:
        yield follower, store
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        store.close()


STRANGERS = [
    replace(WRITER, history="h2", index=IndexName("test", "other")),
    replace(WRITER, history="h2", index=IndexName("other", "docs")),
    replace(WRITER, history="h2", shard=1),
    replace(WRITER, history="h2", generation=2),
    replace(WRITER, history="h2", fingerprint="f2"),
]


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_new_copy_does_not_take_the_history_of_another_pods_shard(stranger: Hello, tmp_path: Path) -> None:
    address = Address(stranger)
    async with following(tmp_path, address) as (_, store):
        await until(lambda: address.connected >= 3)
        assert not store.state.sources
        address.hello = WRITER
        await until(lambda: [source.history for source in store.state.sources] == ["h1"])


@pytest.mark.parametrize("stranger", STRANGERS)
async def test_a_copy_keeps_what_it_holds_while_another_pod_has_its_writers_address(stranger: Hello, tmp_path: Path) -> None:
    address = Address()
    async with following(tmp_path, address) as (follower, store):
        await until(lambda: len(address.pulled) >= 2)
        address.hello = stranger
        before = address.connected
        await until(lambda: address.connected >= before + 3)
        (source,), (state,) = store.state.sources, follower.states()
        assert source.history == "h1"
        assert state.message is not None
        assert str(stranger.index) in state.message
        assert address.pulled.count("h2") <= 1  # what had been connected already
        address.hello = WRITER
        read = len(address.pulled)
        await until(lambda: len(address.pulled) > read)


def idle(follower: Follower) -> float | None:
    return next((state.idle_seconds for state in follower.states()), None)


async def test_a_source_that_gives_nothing_of_what_it_has_is_idle_until_that_is_as_it_was_told(tmp_path: Path) -> None:
    clock = Clock()
    async with following(tmp_path, Endless(), clock) as (follower, _):
        await until(lambda: any(state.behind for state in follower.states()))
        await asyncio.sleep(2 * LOOK_SECONDS)
        clock.now += 50
        await until(lambda: idle(follower) == 50)
        follower.stood_as_told()
        assert idle(follower) == 0
        clock.now += 7
        await until(lambda: idle(follower) in (0, 7))


async def test_a_source_that_has_been_read_to_its_end_is_not_idle_and_one_that_is_away_is(tmp_path: Path) -> None:
    clock, address = Clock(), Address()
    async with following(tmp_path, address, clock) as (follower, _):
        await until(lambda: len(address.pulled) >= 2)
        clock.now += 50
        await until(lambda: idle(follower) == 0)
        address.hello = replace(WRITER, history="h2", shard=1)
        await until(lambda: any(state.message for state in follower.states()))
        await asyncio.sleep(2 * LOOK_SECONDS)
        clock.now += 50
        await until(lambda: idle(follower) == 50)
        address.hello = WRITER
        await until(lambda: idle(follower) == 0)
