"""The network: what is sent arrives later, in another order, more than once, after its sender has given up, or never."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from embedding_serving.shard.store.records import StoreError
from embedding_serving.wire.calls import Call, Reply
from embedding_serving.wire.client import Answer
from embedding_serving.wire.errors import CallFailed, ConnectionLost, DeadlineExceeded, WireError

if TYPE_CHECKING:
    from .world import World

HERE: ContextVar["Node"] = ContextVar("HERE")
"""On which node a task runs."""
WORLD: ContextVar["World"] = ContextVar("WORLD")


Answered = Callable[..., None]
"""Takes what is answered, and in its place what went wrong."""


class Node:
    """A process. Its tasks end with it; what it was sent meanwhile is lost."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, work: Any) -> "asyncio.Task[Any]":
        token = HERE.set(self)
        try:
            task = asyncio.get_running_loop().create_task(work)
        finally:
            HERE.reset(token)
        self._tasks[task] = None
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.pop(task, None)

    def kill(self) -> None:
        self.alive = False
        for task in list(self._tasks):
            task.cancel()


@dataclass
class Weather:
    """How bad it is: probabilities a message, and seconds."""

    lost: float = 0.0
    reply_lost: float = 0.0
    slow: float = 0.0
    slow_seconds: float = 5.0
    twice: float = 0.0


@dataclass
class Network:
    dice: random.Random
    weather: Weather = field(default_factory=Weather)
    cut: set[str] = field(default_factory=set)
    """Nodes that reach nobody."""

    def delay(self) -> float:
        """Of one way."""
        if self.dice.random() < self.weather.slow:
            return self.dice.uniform(0.05, self.weather.slow_seconds)
        return self.dice.uniform(0.0002, 0.004)

    def loses(self, chance: float) -> bool:
        return bool(chance) and self.dice.random() < chance

    def between(self, one: Node, other: Node) -> bool:
        return one.name not in self.cut and other.name not in self.cut

    def send(self, to: Callable[[], Any], do: "Callable[[Any, Answered], None]", timeout: float) -> "asyncio.Future[Any]":
        """An HTTP call: `do` is called with the node, once, twice or never. Fails with TimeoutError, ConnectionLost, or what
        `do` answers.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        over = loop.call_later(timeout, _settle, answer, None, TimeoutError())
        answer.add_done_callback(lambda _: over.cancel())
        for _ in range(2 if self.loses(self.weather.twice) else 1):
            if not self.loses(self.weather.lost):
                loop.call_later(self.delay(), self._arrived, HERE.get(), to, do, answer)
        return answer

    def _arrived(
        self, here: Node, to: Callable[[], Any], do: "Callable[[Any, Answered], None]", answer: "asyncio.Future[Any]"
    ) -> None:
        loop = asyncio.get_running_loop()
        node = to()
        if node is None or not node.alive or not self.between(here, node):
            _settle(answer, None, ConnectionLost("no such process"))
        elif node.frozen_until > loop.time():
            loop.call_at(node.frozen_until, self._arrived, here, to, do, answer)
        else:
            do(node, partial(self._answered, here, node, answer))

    def _answered(
        self, here: Node, node: Node, answer: "asyncio.Future[Any]", result: Any, failure: Exception | None = None
    ) -> None:
        if not self.loses(self.weather.reply_lost) and self.between(here, node):
            asyncio.get_running_loop().call_later(self.delay(), _settle, answer, result, failure)


class SimConnection:
    """In place of `wire.client.Connection`: a connection to one process, over the simulated network."""

    def __init__(self, node: Any, peer: str) -> None:
        self.hello: dict[str, Any] = {}
        self._here: Node = HERE.get()
        self._world: World = WORLD.get()
        self._node = node
        self._peer = peer
        self._closed = False
        self._calls: dict[asyncio.Future[Answer], None] = {}

    @classmethod
    async def connect(cls, host: str, port: int, *, peer: str, timeout: float, limits: Any = None) -> "SimConnection":
        world = WORLD.get()
        await asyncio.sleep(world.network.delay())
        node = world.process_at(host.partition(".")[0])
        if node is None or not world.network.between(HERE.get(), node):
            raise ConnectionLost(f"{host}: nobody is there")
        connection = cls(node, peer)
        await connection.refresh(timeout)
        return connection

    @property
    def outstanding(self) -> int:
        return len(self._calls)

    @property
    def is_lost(self) -> bool:
        return self._closed or not self._node.alive

    async def refresh(self, timeout: float) -> dict[str, Any]:
        self.hello = (await self.call({"op": "hello"}, timeout=timeout)).head
        return self.hello

    async def call(self, head: Mapping[str, Any] | bytes, tail: Any = b"", *, timeout: float) -> Answer:
        return await self.send(head, tail, timeout=timeout)

    def send(self, head: Mapping[str, Any] | bytes, tail: Any = b"", *, timeout: float) -> "asyncio.Future[Answer]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        raw = orjson.loads(head if isinstance(head, bytes) else orjson.dumps(head))
        network = self._world.network
        self._calls[answer] = None
        answer.add_done_callback(lambda done: self._calls.pop(done, None))
        timer = loop.call_later(timeout, _fail, answer, DeadlineExceeded("no answer in time"))
        answer.add_done_callback(lambda _: timer.cancel())
        if self.is_lost:
            _fail(answer, ConnectionLost("the connection is lost"))
        elif network.loses(network.weather.lost):
            loop.call_later(network.delay(), _fail, answer, ConnectionLost("the connection broke"))
        else:
            loop.call_later(network.delay(), self._arrived, raw, bytes(tail), answer)
        return answer

    def close(self) -> None:
        self._closed = True
        for answer in list(self._calls):
            _fail(answer, ConnectionLost("the connection was closed"))

    def _arrived(self, head: dict[str, Any], tail: bytes, answer: "asyncio.Future[Answer]") -> None:
        loop, node = asyncio.get_running_loop(), self._node
        if not node.alive or not self._world.network.between(self._here, node):
            _fail(answer, ConnectionLost("the connection broke"))
            return
        if node.frozen_until > loop.time():
            loop.call_at(node.frozen_until, self._arrived, head, tail, answer)
            return
        milliseconds = head.get("deadline_ms")
        deadline = None if milliseconds is None else loop.time() + milliseconds / 1_000
        node.spawn(self._handled(Call(head["op"], head, memoryview(tail), self._peer, deadline), answer))

    async def _handled(self, call: Call, answer: "asyncio.Future[Answer]") -> None:
        loop, network = asyncio.get_running_loop(), self._world.network
        result: Answer | None = None
        failure: CallFailed | None = None
        try:
            async with asyncio.timeout_at(call.deadline):
                reply = self._node.handle(call)
                if not isinstance(reply, Reply):
                    reply = await reply
            result = _answer(reply)
        except TimeoutError:
            failure = WireError("deadline", "the time is over")
        except WireError as error:
            failure = WireError.parse(orjson.loads(orjson.dumps(error.head())))
        except (StoreError, CallFailed) as error:
            failure = WireError("internal", str(error))
        if network.loses(network.weather.reply_lost) or not network.between(self._here, self._node):
            loop.call_later(network.delay(), _fail, answer, ConnectionLost("the connection broke"))
            return
        loop.call_later(network.delay(), _settle, answer, result, failure)


def _answer(reply: Reply) -> Answer:
    head = reply.head if isinstance(reply.head, bytes) else orjson.dumps(reply.head)
    return Answer(orjson.loads(head), memoryview(b"".join(bytes(part) for part in reply.tail)))


def _fail(answer: "asyncio.Future[Answer]", failure: CallFailed) -> None:
    _settle(answer, None, failure)


def _settle(answer: "asyncio.Future[Any]", result: Any, failure: Exception | None = None) -> None:
    if not answer.done():
        answer.set_exception(failure) if failure else answer.set_result(result)
