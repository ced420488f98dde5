"""A shard's process: the shipped ShardService over a simulated disk, with an index that is a dictionary and no threads."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embedding_serving.contract.admin import Answer, IndexState, Message, ShardInfo
from embedding_serving.contract.index import Distance
from embedding_serving.contract.route import GenerationRoute
from embedding_serving.contract.settings import ShardSettings
from embedding_serving.shard.embedding import Embedded, NotNow
from embedding_serving.shard.index_feed import IndexFeed
from embedding_serving.shard.service import ShardService
from embedding_serving.shard.store.records import Identity, StoreError
from embedding_serving.shard.store.store import Store
from embedding_serving.shard.store.transaction import Transaction
from embedding_serving.shard.store.writer import Writer, _Job
from embedding_serving.wire.calls import Call

from .network import WORLD, Node
from .space import DIMENSIONS, space_of, vectors_of

if TYPE_CHECKING:
    from .world import World

T = TypeVar("T")


class Promise(asyncio.Future[Any]):
    """Of a job: kept in the thread of the one who waits for it."""

    def set_running_or_notify_cancel(self) -> bool:
        return not self.cancelled()


class SteppedWriter(Writer):
    """Commits when the simulation says so, in the caller's thread."""

    pod = ""
    _started = _scheduled = False

    def start(self) -> None:
        self._started = True
        self._schedule()

    def submit(self, run: Any, changes: int = 1) -> Any:
        promise: Any = Promise()
        if self._closed:
            promise.set_exception(StoreError("the store is closed"))
            return promise
        self._jobs.put(_Job(run, promise, changes))
        if self._started:
            self._schedule()
        return promise

    def _schedule(self) -> None:
        if not self._scheduled and not self._jobs.empty():
            self._scheduled = True
            world = WORLD.get()
            asyncio.get_running_loop().call_later(world.dice.uniform(0.0001, world.commit_seconds), self._step)

    def _step(self) -> None:
        self._scheduled = False
        if self._closed or self._jobs.empty():
            return
        group, _ = self._gather()
        if group:
            before = self.published
            self._run(group)
            WORLD.get().committed(self.pod, before, self.published)
        self._schedule()


async def disks_are_sound(store: Store, on_damage: Any) -> None:
    """In place of looking again and again whether a write has met damage."""


class DictIndex:
    """An index of vectors that is exact. It finds fault with a query of another vector space."""

    def __init__(self, fingerprint: str, store: Store, world: "World") -> None:
        self._space = space_of(fingerprint)
        self._world = world
        self._vectors: dict[int, NDArray[np.float32]] = {}
        rows, vectors = store.reader.vectors(0, 1_000_000)
        self._vectors = dict(zip(rows.tolist(), vectors, strict=True))

    def apply(self, added_rows: Any, added: Any, removed_rows: Any) -> None:
        for row in removed_rows.tolist():
            self._vectors.pop(row, None)
        self._vectors |= dict(zip(added_rows.tolist(), added, strict=True))
        if any(vector[0] != self._space for vector in added):
            self._world.broken("a document has a vector of another vector space")

    def search(self, queries: Any, k: int, rows: Any, *, exact: bool = False) -> tuple[Any, Any]:
        for query in queries:
            if query[0] != self._space or any(vector[0] != self._space for vector in self._vectors.values()):
                self._world.broken("a query is compared with vectors of another vector space")
        found = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.zeros((len(queries), k), dtype=np.float32)
        for number, query in enumerate(queries):
            best = sorted(self._vectors, key=lambda row: (float(np.abs(self._vectors[row] - query).sum()), row))[:k]
            found[number, : len(best)] = best
            scores[number, : len(best)] = [-float(np.abs(self._vectors[row] - query).sum()) for row in best]
        return found, scores

    def state(self) -> IndexState:
        return IndexState(type="Flat", covered=0, depth=0)

    def sample_recall(self) -> None:
        pass

    def close(self) -> None:
        pass


class SimEncoderCalls:
    """A shard's encoder: it makes vectors of the space that it was made for, whoever asks."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def close(self) -> None:
        pass

    async def __call__(self, encoder: str, texts: Sequence[str]) -> Embedded:
        world = WORLD.get()
        await asyncio.sleep(world.dice.uniform(0.001, world.embed_seconds))
        if world.network.loses(world.network.weather.lost):
            raise NotNow("the encoder is away")
        fingerprint = encoder.removeprefix("http://")
        if fingerprint != self._identity.fingerprint:
            raise NotNow(f"the encoder is of {fingerprint}")
        return Embedded(vectors_of(fingerprint, texts))


class ShardProcess(Node):
    """One life of a shard's pod. `opened` once the volume is."""

    def __init__(self, world: "World", pod: str, generation: GenerationRoute, shard: int, replicas: int) -> None:
        super().__init__(pod)
        self._world = world
        host = generation.hosts[shard]
        feed = IndexFeed()
        self.settings = settings(pod, generation, shard, host, world.acknowledge if replicas > 1 else "Writer")
        identity = Identity(generation.generation, shard, generation.shards, generation.fingerprint, DIMENSIONS, Distance.DOT)
        self.store = Store.open(
            Path("/simulated") / pod,
            identity,
            retention_seconds=world.retention_seconds,
            on_commit=feed,
            on_measured=lambda _: self.service.committed_more(),
        )
        index: Any = DictIndex(generation.fingerprint, self.store, world)
        feed.attach(index)
        self.service = ShardService(self.settings, self.store, index, feed, 1)
        self._handlers = self.service.handlers()
        writer: Any = self.store._writer
        writer.pod = pod
        self.spawn(self._serve())

    async def _serve(self) -> None:
        self.service.start()
        await asyncio.Event().wait()

    def handle(self, call: Call) -> Any:
        return self._handlers[call.op](call)

    def info(self) -> ShardInfo:
        return self.service.info()

    async def command(self, message: Message) -> Answer:
        return await self.service.command(message)

    def kill(self) -> None:
        """kill -9: what waits for its commit is lost."""
        super().kill()
        for task in self.service._tasks:
            task.cancel()
        self.store.close()


_SETTINGS: dict[tuple[Any, ...], ShardSettings] = {}


def settings(pod: str, generation: GenerationRoute, shard: int, host: str, acknowledge: str) -> ShardSettings:
    key = (pod, generation.fingerprint, generation.shards, acknowledge)
    if key not in _SETTINGS:
        name = host.partition(".")[0]
        _SETTINGS[key] = ShardSettings.model_validate(
            {
                "pod": pod,
                "namespace": "t",
                "index": "docs",
                "generation": generation.generation,
                "shard": shard,
                "shards": generation.shards,
                "writer": f"{name}-0.{host}",
                "fingerprint": generation.fingerprint,
                "dimensions": DIMENSIONS,
                "distance": Distance.DOT,
                "acknowledge": acknowledge,
                "recall_sample_seconds": 0.0,
                "follower_timeout_seconds": 2.0,
            }
        )
    return _SETTINGS[key]


def purge_checked(purge: Any) -> Any:
    """Forgetting never passes a lease that is durable."""

    def checked(self: Transaction) -> int:
        lowest = min((position for _, position in self.state.leases.values()), default=None)
        if lowest is None or not self.state.counters.tombstones:
            return int(purge(self))
        needed = tombstones_above(self, lowest)
        done: int = purge(self)
        for row in needed - tombstones_above(self, lowest):
            WORLD.get().broken(f"a tombstone at {row} was purged before a lease at {lowest}")
        return done

    return checked


def tombstones_above(transaction: Transaction, position: int) -> set[int]:
    return {row for (row,) in transaction._db.execute("SELECT row FROM rows WHERE deleted = 1 AND row > ?", (position,))}
