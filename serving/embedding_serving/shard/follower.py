"""Follows feeds: reads pages from another shard and applies them in order, for as long as the store names the source.

A copy of a shard follows its writer and chooses so by itself; whatever else is followed, the operator has named. What
is durable is in the store (cursor, history, nonce); this file holds connections and retries alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from ..contract.admin import FeedSource, Mode, Refusal, SourceState
from ..contract.index import IndexName
from .store.records import Lease, Page, Refused
from .store.state import Source
from .store.store import Store

log = logging.getLogger(__name__)

PAGE_ROWS = 500
WAIT_MS = 1_000
"""How long a source may hold back an empty page."""
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 3.0
LOOK_SECONDS = 0.2
"""How soon a change of the sources that the store names is noticed."""


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


class Feed(Protocol):
    """A connection to a source. Every call raises Refused or Unreachable."""

    hello: Hello

    async def lease(self, lease: Lease) -> int: ...

    async def pull(
        self, lease: Lease, history: str, *, lower: int, upper: int, with_vectors: bool, limit: int, wait_ms: int
    ) -> Page: ...


Connect = Callable[[str], AbstractAsyncContextManager[Feed]]
Fill = Callable[[Page], Awaitable[Page]]
"""Gives the rows of a page vectors of this shard's own space."""


@dataclass(slots=True)
class _Progress:
    behind: int | None = None
    message: str | None = None


class Follower:
    """`consumer`: the name of this copy in leases. `index`: whose shard this is. `writer`: host to follow by one's own
    choice; None = only as told.
    """

    def __init__(
        self, store: Store, consumer: str, index: IndexName, connect: Connect, fill: Fill, writer: str | None = None
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._index = index
        self._connect = connect
        self._fill = fill
        self._writer = writer
        self._progress: dict[int, _Progress] = {}

    @property
    def caught_up_once(self) -> bool:
        """Whether this copy has read every feed to its end, ever: then it can answer, also while its writer is away."""
        sources = self._store.state.sources
        return bool(sources) and all(source.complete for source in sources)

    @property
    def behind(self) -> int | None:
        """Rows that the sources had beyond the cursors when last asked; None where one has not answered yet."""
        known = [self._of(source.shard).behind for source in self._store.state.sources]
        return None if not known or None in known else sum(number or 0 for number in known)

    def states(self) -> tuple[SourceState, ...]:
        return tuple(
            SourceState(
                shard=source.shard,
                history=source.history,
                host=source.host,
                cursor=source.cursor,
                behind=self._of(source.shard).behind,
                message=self._of(source.shard).message,
            )
            for source in self._store.state.sources
        )

    async def run(self) -> None:
        """Until cancelled."""
        tasks: dict[tuple[int, str, str], asyncio.Task[None]] = {}
        try:
            while True:
                if self._writer is not None and not self._store.state.sources:
                    await self._retried(self._choose)
                wanted = {(source.shard, source.nonce, source.host) for source in self._store.state.sources}
                for key in [key for key in tasks if key not in wanted]:
                    tasks.pop(key).cancel()
                for key in wanted - tasks.keys():
                    tasks[key] = asyncio.create_task(self._follow(*key))
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    # --- one source ---

    async def _follow(self, shard: int, nonce: str, host: str) -> None:
        async def read() -> None:
            async with self._connect(host) as feed:
                source = self._source(shard, nonce)
                if source is not None and await self._acceptable(feed, source):
                    await feed.lease(Lease(self._consumer, nonce, source.cursor))
                    await self._pages(feed, shard, nonce)

        while self._source(shard, nonce) is not None:
            await self._retried(read, shard)

    async def _pages(self, feed: Feed, shard: int, nonce: str) -> None:
        """Reads on until the source is dropped, refuses, or is gone."""
        while (source := self._source(shard, nonce)) is not None:
            lease = Lease(self._consumer, nonce, source.cursor)
            page = await feed.pull(
                lease,
                source.history,
                lower=source.lower,
                upper=source.upper,
                with_vectors=source.with_vectors,
                limit=PAGE_ROWS,
                wait_ms=WAIT_MS,
            )
            if page.upto > source.cursor or not source.complete or source.resync_from is not None:
                filled = page if source.with_vectors else await self._fill(page)
                await self._store.apply_page(shard, nonce, filled)
            self._progress[shard] = _Progress(behind=page.position - page.upto)

    async def _acceptable(self, feed: Feed, source: Source) -> bool:
        """Whether the source is what the store knows; a copy goes over to its writer's new history once it is admitted."""
        self._require_ours(feed.hello, source.shard, source.host)
        if feed.hello.history == source.history:
            return True
        if self._writer is None or source.host != self._writer:
            raise Refused(Refusal.WRONG_HISTORY, f"{source.host} has another history now: waiting for the operator")
        if feed.hello.mode is not Mode.OPEN:
            raise Unreachable(f"{source.host} lost its volume and is not admitted: what this copy holds is kept")
        log.warning("the writer has a new history: reading it again from 0", extra={"host": source.host})
        await self._store.follow(self._own(feed.hello.history))
        return False

    async def _choose(self) -> None:
        """A new copy takes the history that its writer has."""
        if self._writer is not None:
            async with self._connect(self._writer) as feed:
                self._require_ours(feed.hello, self._store.state.identity.shard, self._writer)
                await self._store.follow(self._own(feed.hello.history))

    def _require_ours(self, hello: Hello, shard: int, host: str) -> None:
        """An address may have been given to another pod, whose history must not be taken for a new one of the source."""
        identity = self._store.state.identity
        is_ours = (hello.index, hello.shard) == (self._index, shard)
        if host == self._writer:
            is_ours = is_ours and (hello.generation, hello.fingerprint) == (identity.generation, identity.fingerprint)
        if not is_ours:
            what = f"{hello.index}, generation {hello.generation}, shard {hello.shard}"
            raise Unreachable(f"{host} is another pod's address now: it is of {what}")

    def _own(self, history: str) -> FeedSource:
        identity = self._store.state.identity
        return FeedSource(shard=identity.shard, history=history, host=self._writer or "", with_vectors=True)

    # --- retries ---

    async def _retried(self, attempt: Callable[[], Awaitable[None]], shard: int | None = None) -> None:
        """Once through, with waits that grow while it fails."""
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                await attempt()
                return
            except Refused as refused:
                if await self._begun_again(refused, shard):
                    return
                reason = refused.detail
            except Unreachable as error:
                reason = str(error)
            self._note(shard, reason)
            await asyncio.sleep(wait)
            wait = min(LAST_RETRY_SECONDS, wait * 2)

    async def _begun_again(self, refused: Refused, shard: int | None) -> bool:
        """A consumer behind its own lease, or without one, reads from 0."""
        if shard is None or refused.code not in (Refusal.RESET, Refusal.NO_LEASE):
            return False
        try:
            await self._store.restart_source(shard)
        except Refused as error:
            self._note(shard, error.detail)
            return False
        log.warning("reading shard %d again from 0: %s", shard, refused.detail)
        return True

    def _note(self, shard: int | None, reason: str) -> None:
        key = -1 if shard is None else shard
        progress = self._of(key)
        if progress.message != reason:
            log.info("a source cannot be read: %s", reason, extra={"shard": key})
        self._progress[key] = _Progress(progress.behind, reason)

    def _of(self, shard: int) -> _Progress:
        return self._progress.get(shard, _Progress())

    def _source(self, shard: int, nonce: str) -> Source | None:
        for source in self._store.state.sources:
            if source.shard == shard and source.nonce == nonce:
                return source
        return None
