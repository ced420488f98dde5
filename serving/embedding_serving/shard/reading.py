"""One feed on its way into the store: while a stretch of it is being filled, the next page is pulled and the one before is
committed.

Pages are committed in the order of the feed, each with its cursor. The lease at the source stays at what is durable here,
whatever has been read ahead of it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from ..contract.admin import Mode
from ..contract.index import IndexName
from .store.records import Lease, Page
from .store.state import Source
from .store.store import Store

PAGE_ROWS = 500
PAGES_AHEAD = 1
WAIT_MS = 1_000
"""How long a source may hold back an empty page."""
LOOK_SECONDS = 1.0
"""How often a source is looked at whose rows wait."""


class Unreachable(Exception):
    """A source does not answer; it is asked again."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a source says of itself."""

    index: IndexName
    generation: int
    shard: int
    fingerprint: str
    history: str
    mode: Mode
    position: int
    shards: int = 1


class Feed(Protocol):
    """A connection to a source. Every call raises Refused or Unreachable."""

    hello: Hello

    async def lease(self, lease: Lease) -> int: ...

    async def pull(
        self, lease: Lease, history: str, start: int, *, lower: int, upper: int, with_vectors: bool, limit: int, wait_ms: int
    ) -> Page: ...


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a page, committed at once when it is `filled`. closed: it was committed, or is not wanted any more."""

    filled: Awaitable[Page]
    close: Callable[[], None]


Fill = Callable[[Source, Page], AsyncIterator[Piece]]
"""Cuts a page into pieces, in order, whose rows get vectors of this shard's own space. May make its caller wait."""


class Reading:
    """Reads one source from where the store is, until it is told otherwise, or something fails.

    current: the source as the store has it; None once it is not to be read any more. seen: told of the end of the feed.
    """

    def __init__(
        self,
        store: Store,
        feed: Feed,
        consumer: str,
        current: Callable[[], Source | None],
        fill: Fill,
        seen: Callable[[int], None],
    ) -> None:
        self._store = store
        self._feed = feed
        self._consumer = consumer
        self._current = current
        self._fill = fill
        self._seen = seen
        self._pages: asyncio.Queue[Page] = asyncio.Queue(PAGES_AHEAD)
        self._pieces: asyncio.Queue[Piece] = asyncio.Queue()
        self._uncommitted = 0
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Raises Refused, Unreachable, StoreError."""
        try:
            await first_of(self._pull(), self._cut(), self._commit())
        finally:
            while not self._pieces.empty():
                self._pieces.get_nowait().close()

    async def _pull(self) -> None:
        """One page ahead while there are more; at the end of the feed all is committed, and told to the source, first."""
        source = self._current()
        start = source.cursor if source else 0
        while (source := self._current()) is not None:
            page = await self._pulled(source, start, limit=PAGE_ROWS, wait_ms=WAIT_MS)
            start = page.upto
            if page.upto > page.cursor or not source.complete or source.resync_from is not None:
                self._uncommitted += 1
                await self._meanwhile_looking(lambda page=page: self._pages.put(page), start)  # type: ignore[misc]
            if page.upto >= page.position:
                await self._meanwhile_looking(self._all_committed, start)

    async def _pulled(self, source: Source, start: int, *, limit: int, wait_ms: int) -> Page:
        page = await self._feed.pull(
            Lease(self._consumer, source.nonce, source.cursor),
            source.history,
            start,
            lower=source.lower,
            upper=source.upper,
            with_vectors=source.with_vectors,
            limit=limit,
            wait_ms=wait_ms,
        )
        self._seen(page.position)
        return page

    async def _meanwhile_looking(self, wait: Callable[[], Awaitable[None]], start: int) -> None:
        """Waits; where that takes long, the end of the feed is still seen, and the source learns what is durable here."""
        waiting = asyncio.ensure_future(wait())
        try:
            while not (await asyncio.wait([waiting], timeout=LOOK_SECONDS))[0]:
                if (source := self._current()) is None:
                    return
                await self._pulled(source, start, limit=1, wait_ms=0)
        finally:
            waiting.cancel()

    async def _cut(self) -> None:
        while (source := self._current()) is not None:
            page = await self._pages.get()
            async for piece in _whole(page) if source.with_vectors else self._fill(source, page):
                self._uncommitted += 1
                self._pieces.put_nowait(piece)
            self._done()

    async def _commit(self) -> None:
        while True:
            piece = await self._pieces.get()
            try:
                page = await piece.filled
                source = self._current()
                if source is None:
                    return
                await self._store.apply_page(source.shard, source.nonce, page, self._feed.hello.shards)
            finally:
                piece.close()
            self._done()

    def _done(self) -> None:
        self._uncommitted -= 1
        if not self._uncommitted:
            self._settled.set()

    async def _all_committed(self) -> None:
        while self._uncommitted:
            self._settled.clear()
            await self._settled.wait()


async def first_of(*work: Coroutine[Any, Any, None]) -> None:
    """Runs all until one ends, and raises what it raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(page: Page) -> AsyncIterator[Piece]:
    filled: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
    filled.set_result(page)
    yield Piece(filled, lambda: None)
