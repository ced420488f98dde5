"""A frame server on loopback with handlers that a test controls."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from embedding_serving.wire.calls import Call, Handler, Reply
from embedding_serving.wire.client import Connection
from embedding_serving.wire.codec import Limits
from embedding_serving.wire.errors import WireError
from embedding_serving.wire.server import FrameServer

DEADLINE_SECONDS = 20.0


@dataclass
class World:
    """`gate` lets held calls go on."""

    server: FrameServer
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    held: int = 0
    most_held: int = 0
    cancelled: int = 0
    observed: list[tuple[str, str]] = field(default_factory=list)

    def echo(self, call: Call) -> Reply:
        return Reply({"said": call.head.get("say")}, (call.tail,))

    async def hold(self, call: Call) -> Reply:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.held -= 1
        return Reply({"said": call.head.get("say")})

    def refuse(self, call: Call) -> Reply:
        raise WireError("moved", "go on", field="x", route={"seq": 2}, retry_after=0.25)

    def fail(self, call: Call) -> Reply:
        raise RuntimeError("a bug with a secret")

    def large(self, call: Call) -> Reply:
        return Reply({}, (bytes(int(call.head["size"])),))

    async def connect(self, **limits: Any) -> Connection:
        return await Connection.connect(
            "127.0.0.1", self.server.port, peer="test", timeout=DEADLINE_SECONDS, limits=Limits(**limits)
        )


@contextlib.asynccontextmanager
async def serving(limits: Limits | None = None, max_connections: int = 100) -> AsyncIterator[World]:
    world: World
    handlers: dict[str, Handler] = {
        "hello": lambda call: Reply({"pod": "p", "peer": call.peer}),
        "echo": lambda call: world.echo(call),
        "hold": lambda call: world.hold(call),
        "refuse": lambda call: world.refuse(call),
        "fail": lambda call: world.fail(call),
        "large": lambda call: world.large(call),
    }
    server = FrameServer(
        handlers,
        0,
        limits=limits,
        max_connections=max_connections,
        observe=lambda op, code, seconds: world.observed.append((op, code)),
    )
    world = World(server)
    await server.start()
    try:
        yield world
    finally:
        await server.stop(0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def raw_frame(call: int, head: Any, tail: bytes = b"") -> bytes:
    encoded = head if isinstance(head, bytes) else orjson.dumps(head)
    return struct.pack("<III", 8 + len(encoded) + len(tail), call, len(encoded) << 8) + encoded + tail


async def raw_answers(reader: asyncio.StreamReader) -> list[tuple[int, int, Any]]:
    """Everything until the other side closes: call, kind, head."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        data = await reader.read(-1)
    answers = []
    while data:
        length, call, packed = struct.unpack_from("<III", data)
        answers.append((call, packed & 0xFF, orjson.loads(data[12 : 12 + (packed >> 8)])))
        data = data[4 + length :]
    return answers
