"""One copy of one shard at work: store, approximate index, follower and housekeeping behind one object."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from .. import __version__
from ..contract.admin import Answer, BuildState, FenceState, FollowerState, Message, Mode, Pace, Refusal, Role, ShardInfo
from ..contract.index import IndexName
from ..contract.settings import ShardSettings
from ..filters import FilterError
from ..wire.calls import Call, Handler, Reply
from ..wire.errors import BAD_REQUEST, INTERNAL, WireError
from .ann.index import VectorIndex
from .donors import Donors
from .embedding import Embedding
from .encoder import EncoderCalls
from .feed import connect
from .feed_server import FeedServer
from .follower import Follower
from .housekeeping import keep_house, keep_index
from .index_feed import BEHIND, IndexFeed
from .matches import Matches
from .reads import Reads
from .store.protocol import answer, check, digest_text
from .store.records import Refused, StoreCorrupt, StoreError
from .store.state import Protocol
from .store.store import Store
from .watermark import Watermark
from .writes import Writes

log = logging.getLogger(__name__)

FEED_THREADS = 2
CORRUPT = Refusal.CORRUPT.value
FOLLOWING = "follower"


def ordinal(pod: str) -> int:
    """The number at the end of a StatefulSet's pod; 0 where there is none."""
    number = pod.rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def copies(pod: str) -> str:
    """What the names of all copies of a pod's shard begin with."""
    return f"{pod.rpartition('-')[0]}-"


class ShardService:
    """Made when store and index are open; belongs to the event loop. `start` before the first call, `close` at the end."""

    def __init__(self, settings: ShardSettings, store: Store, index: VectorIndex, index_feed: IndexFeed, threads: int) -> None:
        self.store = store
        self._index_feed = index_feed
        self._settings = settings
        self._index = index
        self._damage: str | None = None
        self._seen: dict[str, tuple[int, float]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.is_writer = ordinal(settings.pod) == 0
        self._searches = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._feeds = ThreadPoolExecutor(FEED_THREADS, thread_name_prefix="feed")
        self._encoder = EncoderCalls(store.state.identity)
        ours, connected = IndexName(settings.namespace, settings.index), partial(connect, peer=settings.pod)
        donors = Donors(store.state.identity, ours, connected)
        self._embedding = Embedding(store.state.identity, self._encoder, self._embedded, donors, store.reader.failures)
        self._follower = Follower(
            store,
            settings.pod,
            ours,
            connected,
            self._embedding.pieces,
            None if self.is_writer else _host(settings),
        )
        self.committed = Watermark(lambda: store.state.position)
        self._reached = self.committed if self.is_writer else Watermark(self._cursor)
        acknowledged = Watermark(self._acknowledged_position)
        matches = Matches(store.reader, lambda: store.state.position)
        self._reads = Reads(
            store,
            index,
            matches,
            self._reached,
            self._searches,
            writer=self.is_writer,
            searchable=self._is_searchable,
            caught_up=self._caught_up,
        )
        self._writes = self._make_writes(acknowledged)
        self._feed = FeedServer(store, self.committed, acknowledged, self._feeds)

    @property
    def is_ready(self) -> bool:
        return self._damage is None and self._caught_up()

    @property
    def sickness(self) -> str | None:
        """What has ended that never should; a restart is the remedy."""
        ended = [task.get_name() for task in self._tasks if task.done() and not task.cancelled()]
        return f"ended: {', '.join(ended)}" if ended else None

    @property
    def is_damaged(self) -> bool:
        return self._damage is not None

    def start(self) -> None:
        self.store.start()
        sampling = self._settings.recall_sample_seconds
        work = {
            FOLLOWING: self._follower.run(),
            "housekeeping": keep_house(self.store, self.damaged),
            "index": keep_index(self._index, self._index_feed, sampling),
        }
        self._tasks = [asyncio.create_task(one, name=name) for name, one in work.items()]
        for task in self._tasks:
            task.add_done_callback(_tell_failure)

    async def close(self) -> None:
        """Commits what is queued, then lets go of the files."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await self._encoder.close()
        await asyncio.to_thread(self.store.close)
        await asyncio.to_thread(self._index.close)
        self._searches.shutdown(wait=False, cancel_futures=True)
        self._feeds.shutdown(wait=False, cancel_futures=True)

    def damaged(self, detail: str) -> None:
        """Nothing more is served from a database that is found damaged, and nothing acknowledged that was read into it."""
        if self._damage is None:
            log.error("the database is damaged: %s", detail)
        self._damage = detail
        for task in self._tasks:
            if task.get_name() == FOLLOWING:
                task.cancel()

    async def command(self, message: Message) -> Answer:
        """What the operator tells. Raises Refused, StoreError."""
        self._refuse_damaged()
        answered = self._paced(message) if isinstance(message, Pace) else await self.store.command(message)
        log.info("obeyed", extra={"command": type(message).__name__, "epoch": answered.epoch, "mode": answered.mode})
        return answered

    def handlers(self) -> dict[str, Handler]:
        """The operations of the frame server."""
        handlers: Mapping[str, Handler] = {
            "search": self._reads.search,
            "keywords": self._reads.keywords,
            "fetch": self._reads.fetch,
            "get": self._reads.get,
            "scroll": self._reads.scroll,
            "count": self._reads.count,
            "facet": self._reads.facet,
            "write": self._writes.write,
            "delete_by_filter": self._writes.delete_by_filter,
            "pull": self._feed.pull,
            "lease": self._feed.lease,
            "embedded": self._feed.embedded,
        }
        return {"hello": self.hello} | {op: self._guarded(handler) for op, handler in handlers.items()}

    def hello(self, call: Call) -> Reply:
        state = self.store.state
        identity, protocol = state.identity, state.protocol
        return Reply(
            {
                "pod": self._settings.pod,
                "namespace": self._settings.namespace,
                "index": self._settings.index,
                "role": self._role,
                "ready": self.is_ready,
                "generation": identity.generation,
                "shard": identity.shard,
                "shards": identity.shards,
                "fingerprint": identity.fingerprint,
                "dimensions": identity.dimensions,
                "distance": identity.distance,
                "history": protocol.history,
                "epoch": protocol.epoch,
                "mode": protocol.mode,
                "position": state.position,
                "retired": protocol.retired is not None and protocol.prepared is None,
                "fields": [{"name": one.name, "type": one.type} for one in self._settings.fields],
            }
        )

    def info(self) -> ShardInfo:
        """Blocking: it looks at the volume."""
        state = self.store.state
        identity, protocol, counters = state.identity, state.protocol, state.counters
        fault, message = self._fault()
        return ShardInfo(
            pod=self._settings.pod,
            role=self._role,
            generation=identity.generation,
            shard=identity.shard,
            shards=identity.shards,
            fingerprint=identity.fingerprint,
            dimensions=identity.dimensions,
            history=protocol.history,
            epoch=protocol.epoch,
            mode=protocol.mode,
            sealed=protocol.sealed,
            prepared=protocol.prepared,
            prepared_at=protocol.prepared_at,
            fenced=_fence(protocol),
            lifted=protocol.lifted,
            opened_at=protocol.opened_at,
            retired=protocol.retired is not None,
            ready=self.is_ready,
            position=state.position,
            digest=digest_text(state),
            documents=counters.documents,
            tombstones=counters.tombstones,
            failed_documents=counters.failed,
            text_bytes=max(0, counters.text_bytes),
            bytes=self.store.bytes(),
            free_bytes=self.store.free_bytes(),
            lost=protocol.lost,
            sources=self._follower.states(),
            followers=self._followers(),
            build=self._build(),
            index=self._index.state(),
            fault=fault,
            message=message,
            version=__version__,
        )

    # --- underneath ---

    @property
    def _role(self) -> Role:
        return Role.WRITER if self.is_writer else Role.FOLLOWER

    def committed_more(self) -> None:
        """From any thread: a transaction can be seen now."""
        self.committed.moved()
        self._reached.moved()

    def _paced(self, message: Pace) -> Answer:
        state = self.store.state
        check(state, message)
        if self._embedding.pace.rows_per_second == 0 != message.rows_per_second:
            self._follower.stood_as_told()
        self._embedding.pace.tell(message.rows_per_second)
        return answer(state)

    def _build(self) -> BuildState | None:
        """Of a shard that embeds, did so since it started, or holds documents that could not be embedded."""
        state = self.store.state
        reads = any(not source.with_vectors for source in state.sources)
        return self._embedding.state() if reads or self._embedding.has_begun or state.counters.failed else None

    async def _embedded(self, ids: Sequence[str]) -> dict[str, tuple[str, bytes]]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._feeds, self.store.reader.embedded, ids)
        except StoreCorrupt as error:
            self.damaged(str(error))
            raise

    def _cursor(self) -> int:
        """In the writer's positions: a copy numbers its own rows anew."""
        sources = self.store.state.sources
        return sources[0].cursor if sources else 0

    def _is_searchable(self) -> bool:
        return not self._index_feed.is_behind

    def _caught_up(self) -> bool:
        return self.is_writer or self._follower.caught_up_once

    def _make_writes(self, acknowledged: Watermark) -> Writes:
        return Writes(
            self.store,
            self._is_searchable,
            acknowledged,
            writer=self.is_writer,
            acknowledge=self._settings.acknowledge,
            text_required=self._settings.text_required,
            follower_timeout_seconds=self._settings.follower_timeout_seconds,
        )

    def _acknowledged_position(self) -> int:
        """Of the most advanced copy: consumers of other generations hold no copy of this one."""
        of_copies = copies(self._settings.pod)
        leases = self.store.leases.items()
        return max((position for consumer, (_, position) in leases if consumer.startswith(of_copies)), default=-1)

    def _followers(self) -> tuple[FollowerState, ...]:
        """seconds_since_seen: since its lease last moved, or stands at the end of the feed."""
        now, end = time.monotonic(), self.store.state.position
        leases = dict(self.store.leases)
        self._seen = {
            consumer: (position, now)
            if position >= end or self._seen.get(consumer, (-1, 0.0))[0] != position
            else self._seen[consumer]
            for consumer, (_, position) in leases.items()
        }
        return tuple(
            FollowerState(consumer=consumer, position=position, seconds_since_seen=now - self._seen[consumer][1])
            for consumer, (_, position) in sorted(leases.items())
        )

    def _fault(self) -> tuple[str | None, str | None]:
        if self._damage is not None:
            return CORRUPT, self._damage
        if self._index_feed.is_behind:
            return Refusal.READ_ONLY.value, BEHIND
        known = self.store.fault
        return (known[0].value, known[1]) if known else (None, None)

    def _refuse_damaged(self) -> None:
        if self._damage is not None:
            raise Refused(Refusal.CORRUPT, self._damage)

    def _guarded(self, handler: Handler) -> Handler:
        """Answers what the store and the filters refuse in the words of the frames."""

        def guarded(call: Call) -> Any:
            try:
                self._refuse_damaged()
                reply = handler(call)
            except (Refused, StoreError, FilterError) as error:
                raise self._wire_error(error) from error
            return reply if isinstance(reply, Reply) else self._awaited(reply)

        return guarded

    async def _awaited(self, reply: Any) -> Reply:
        try:
            answer: Reply = await reply
        except (Refused, StoreError, FilterError) as error:
            raise self._wire_error(error) from error
        return answer

    def _wire_error(self, error: Refused | StoreError | FilterError) -> WireError:
        match error:
            case Refused():
                if error.code is Refusal.CORRUPT:
                    self.damaged(error.detail)
                route = error.route.model_dump(mode="json") if error.route else None
                return WireError(error.code.value, error.detail, route=route)
            case StoreCorrupt():
                self.damaged(str(error))
                return WireError(CORRUPT, str(error))
            case FilterError():
                return WireError(BAD_REQUEST, str(error), field=error.field)
        return WireError(INTERNAL, str(error))


def _tell_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("what should run for ever has ended", exc_info=error, extra={"task": task.get_name()})


def _host(settings: ShardSettings) -> str:
    """`writer` names the pod alone where every copy listens on the same port."""
    return settings.writer if ":" in settings.writer else f"{settings.writer}:{settings.frame_port}"


def _fence(protocol: Protocol) -> FenceState | None:
    if protocol.mode is not Mode.FENCED or protocol.fenced is None:
        return None
    return FenceState(epoch=protocol.fenced.epoch, position=protocol.fenced.position)
