"""Follows feeds: reads pages from another shard and applies them in order, for as long as the store names the source.

A copy of a shard follows its writer and chooses so by itself; whatever else is followed, the operator has named. What
is durable is in the store (cursor, history, nonce); this file holds connections and retries alone.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from ..contract.admin import FeedSource, Mode, Refusal, SourceState
from ..contract.index import IndexName
from .reading import Feed, Fill, Hello, Reading, Unreachable
from .store.records import Lease, Refused, StoreError
from .store.state import Source
from .store.store import Store

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 3.0
LOOK_SECONDS = 0.2
"""How soon a change of the sources that the store names is noticed."""


Connect = Callable[[str], AbstractAsyncContextManager[Feed]]


@dataclass(slots=True)
class _Progress:
    """end: of the feed when last asked."""

    end: int | None = None
    message: str | None = None


class Follower:
    """`consumer`: the name of this copy in leases. `index`: whose shard this is. `writer`: host to follow by one's own
    choice; None = only as told.
    """

    def __init__(
        self,
        store: Store,
        consumer: str,
        index: IndexName,
        connect: Connect,
        fill: Fill,
        writer: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._consumer = consumer
        self._index = index
        self._connect = connect
        self._fill = fill
        self._writer = writer
        self._clock = clock
        self._progress: dict[Source | None, _Progress] = {}
        self._stood: dict[Source, tuple[int, float]] = {}
        """The cursor of a source, and since when it is there."""

    @property
    def caught_up_once(self) -> bool:
        """Whether this copy has read every feed to its end, ever: then it can answer, also while its writer is away."""
        sources = self._store.state.sources
        return bool(sources) and all(source.complete for source in sources)

    def states(self) -> tuple[SourceState, ...]:
        return tuple(
            SourceState(
                shard=source.shard,
                history=source.history,
                host=source.host,
                encoder=source.encoder,
                donors=source.donors,
                cursor=source.cursor,
                behind=self._behind(source),
                idle_seconds=self._idle_seconds(source.reading),
                message=self._of(source.reading).message,
            )
            for source in self._store.state.sources
        )

    def stood_as_told(self) -> None:
        """It was told to stand still, and may go on: the time until now does not count as idle."""
        self._stood = {}

    async def run(self) -> None:
        """Until cancelled."""
        tasks: dict[Source, asyncio.Task[None]] = {}
        try:
            while True:
                if self._writer is not None and not self._store.state.sources:
                    await self._retried(self._choose)
                wanted = [source.reading for source in self._store.state.sources if self._is_free]
                for reading in [reading for reading in tasks if reading not in wanted or tasks[reading].done()]:
                    await _ended(tasks.pop(reading))
                    self._progress.pop(reading, None)
                for reading in [reading for reading in wanted if reading not in tasks]:
                    tasks[reading] = asyncio.create_task(self._follow(reading))
                self._note_cursors()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)

    # --- one source ---

    async def _follow(self, reading: Source) -> None:
        consumer = reading.consumer or self._consumer

        def current() -> Source | None:
            return self._current(reading)

        def seen(end: int) -> None:
            self._progress[reading] = _Progress(end)

        async def read() -> None:
            async with self._connect(reading.host) as feed:
                source = current()
                if source is not None and await self._acceptable(feed, source):
                    await feed.lease(Lease(consumer, source.nonce, source.cursor))
                    await Reading(self._store, feed, consumer, current, self._fill, seen).run()

        while current() is not None:
            await self._retried(read, reading)

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

    async def _retried(self, attempt: Callable[[], Awaitable[None]], reading: Source | None = None) -> None:
        """Once through, with waits that grow while it fails."""
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                await attempt()
                return
            except Refused as refused:
                reason = refused.detail if reading is None else await self._begun_again(refused, reading)
                if reason is None:
                    return
            except (Unreachable, StoreError) as error:
                reason = str(error)
            self._note(reading, reason)
            await asyncio.sleep(wait)
            wait = min(LAST_RETRY_SECONDS, wait * 2)

    async def _begun_again(self, refused: Refused, reading: Source) -> str | None:
        """A consumer behind its own lease, or without one, reads from 0. Answers why it does not."""
        if self._current(reading) is None:
            return None
        if refused.code not in (Refusal.RESET, Refusal.NO_LEASE):
            return refused.detail
        try:
            await self._store.restart_source(reading.shard, reading.nonce)
        except Refused as error:
            return f"{refused.detail}; {error.detail}"
        log.warning("reading shard %d again from 0: %s", reading.shard, refused.detail)
        return None

    def _note(self, reading: Source | None, reason: str) -> None:
        progress = self._of(reading)
        if progress.message != reason:
            log.info("a source cannot be read: %s", reason, extra={"shard": reading.shard if reading else None})
        self._progress[reading] = _Progress(progress.end, reason)

    def _note_cursors(self) -> None:
        """A source without a message that has been read to its end has nothing to give: that is no idleness."""
        now, before = self._clock(), self._stood
        self._stood = {}
        for source in self._store.state.sources:
            cursor, since = before.get(source.reading, (source.cursor, now))
            wanting = self._is_free and (self._behind(source) != 0 or self._of(source.reading).message is not None)
            self._stood[source.reading] = source.cursor, since if wanting and cursor == source.cursor else now

    def _idle_seconds(self, reading: Source) -> float:
        _, since = self._stood.get(reading, (0, self._clock()))
        return max(0.0, self._clock() - since)

    def _of(self, reading: Source | None) -> _Progress:
        return self._progress.get(reading, _Progress())

    @property
    def _is_free(self) -> bool:
        """Whether this shard may read: from `prepare` on it stands still."""
        return self._store.state.protocol.prepared is None

    def _current(self, reading: Source) -> Source | None:
        if self._is_free:
            for source in self._store.state.sources:
                if source.reading == reading:
                    return source
        return None

    def _behind(self, source: Source) -> int | None:
        end = self._of(source.reading).end
        return None if end is None else max(0, end - source.cursor)


async def _ended(task: asyncio.Task[None]) -> None:
    """Until nothing of it is on its way any more: what reads the same source next begins where it stopped."""
    task.cancel()
    (failure,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(failure, Exception):
        log.error("a source is read anew after a failure", exc_info=failure)
