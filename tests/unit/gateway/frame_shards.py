"""Stand-in shards behind the real frames: they answer what a test tells them, and remember what they were asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embedding_serving.contract.index import IndexName
from embedding_serving.contract.route import GenerationRoute, Phase, Route
from embedding_serving.gateway.metrics import Metrics
from embedding_serving.gateway.pods import Fleet, Shards
from embedding_serving.gateway.routes import Pin
from embedding_serving.wire.calls import Call, Reply
from embedding_serving.wire.errors import WireError
from embedding_serving.wire.server import FrameServer

DEADLINE_SECONDS = 10.0


@dataclass
class FrameShard:
    """One copy. `answers[op]` gets the call: it returns a head (or a head and a tail), raises, or waits."""

    generation: int = 1
    shard: int = 0
    fingerprint: str = "f1"
    index: str = "docs"
    namespace: str = "test"
    role: str = "Writer"
    answers: dict[str, Callable[[Call], Any]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    server: FrameServer | None = None

    async def start(self) -> None:
        """Where it was before, if it was."""
        port = 0 if self.server is None else self.server.port
        handlers = dict.fromkeys(("search", "keywords", "fetch", "get", "scroll", "count", "write"), self._handle)
        self.server = FrameServer(handlers | {"hello": self._hello}, port, host="127.0.0.1")
        await self.server.start()

    async def stop(self) -> None:
        if self.server is not None:
            await self.server.stop(0)

    def ops(self, op: str) -> list[dict[str, Any]]:
        return [head for head in self.asked if head["op"] == op]

    def _hello(self, call: Call) -> Reply:
        said = {"pod": f"s{self.shard}-{self.role}", "role": self.role, "mode": "Open", "position": 0}
        return Reply(self._common() | said | {"namespace": self.namespace, "index": self.index})

    async def _handle(self, call: Call) -> Reply:
        self.asked.append(call.head)
        answer = self.answers[call.op](call)
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, WireError):
            raise answer
        head, tail = answer if isinstance(answer, tuple) else (answer, b"")
        common = {"g": self.generation, "f": self.fingerprint, "e": 1, "p": 0}
        return Reply(common | head, (tail,) if tail else ())

    def _common(self) -> dict[str, Any]:
        return {"generation": self.generation, "shard": self.shard, "fingerprint": self.fingerprint, "version": 1}


def found(rows: list[int], scores: list[float]) -> tuple[dict[str, Any], bytes]:
    """An answer to one query without documents."""
    return {"n": len(rows)}, np.array(rows, "<i8").tobytes() + np.array(scores, "<f4").tobytes()


def generation_of(copies: list[list[FrameShard]], **changes: Any) -> GenerationRoute:
    hosts = tuple(",".join(f"127.0.0.1:{one.server.port}" for one in pods if one.server) for pods in copies)
    values = {"generation": 1, "hosts": hosts, "fingerprint": "f1", "dimensions": 2} | changes
    return GenerationRoute.model_validate(values)


def route_to(*generations: GenerationRoute, seq: int = 1, **changes: Any) -> Route:
    writer = generations[0].generation
    values: dict[str, Any] = {
        "index": "docs", "namespace": "test", "seq": seq, "epoch": seq, "phase": Phase.STABLE, "writer": writer,
        "weights": {writer: 100}, "next_generation": 9, "generations": generations,
    }  # fmt: skip
    return Route.model_validate(values | changes)


@dataclass
class World:
    copies: list[list[FrameShard]]
    fleet: Fleet
    metrics: Metrics
    pin: Pin

    @property
    def shards(self) -> Shards:
        return self.fleet.shards(self.pin.generation)


@asynccontextmanager
async def world(copies: list[list[FrameShard]]) -> AsyncIterator[World]:
    """Shards that listen, and a fleet that has connected to all of them."""
    for shard, pods in enumerate(copies):
        for one in pods:
            one.shard = shard
            await one.start()
    metrics = Metrics()
    fleet = Fleet("test", IndexName("test", "docs"))
    pin = Pin(1, 1, generation_of(copies), False)
    made = World(copies, fleet, metrics, pin)
    try:
        await until(lambda: all(len(pods.readers()) == len(copies[pods.shard]) for pods in made.shards.copies))
        yield made
    finally:
        fleet.close()
        for pods in copies:
            for one in pods:
                await one.stop()


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        await asyncio.sleep(0.005)
