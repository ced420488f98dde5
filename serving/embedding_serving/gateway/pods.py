"""Every copy of every shard of a generation: who they are, how to reach them, and whether they answer.

A headless Service's records are looked up every two seconds, every pod has one connection, and says in its hello what
it is. The connections mend themselves here; who asks chooses among those that stand.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from ..contract.admin import Mode, Role
from ..contract.index import FieldType, IndexName
from ..contract.route import GenerationRoute
from ..contract.settings import FRAME_PORT
from ..outgoing.addresses import Address, Resolve, resolve
from ..wire.client import AnswerFuture, Connection
from ..wire.errors import CallFailed
from .breaker import Breaker

log = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0
FIRST_REFRESH_SECONDS = 0.05
HELLO_SECONDS = 1.0


class Pod:
    """One copy of one shard."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.breaker = Breaker()
        self.connection: Connection | None = None
        self.failure = "not connected yet"

    @property
    def name(self) -> str:
        known = self.connection.hello.get("pod") if self.connection else None
        return str(known or f"{self.address[0]}:{self.address[1]}")

    @property
    def connected(self) -> bool:
        return self.connection is not None and not self.connection.is_lost

    @property
    def is_writer(self) -> bool:
        return self.connection is not None and self.connection.hello.get("role") == Role.WRITER

    @property
    def reads(self) -> bool:
        """Whether it may be asked: what it says of itself, and how its last calls ended. A writer that was retired may have
        been come back to since it said so: it answers, or with the route.
        """
        connection = self.connection
        if connection is None or connection.is_lost or not self.breaker.allows():
            return False
        hello = connection.hello
        return (self.is_writer or not hello.get("retired")) and hello.get("ready", True) is not False

    @property
    def outstanding(self) -> int:
        return self.connection.outstanding if self.connection else 0

    def send(self, head: Mapping[str, object] | bytes, tail: bytes | memoryview, timeout: float) -> AnswerFuture:
        """Only on a connected pod."""
        assert self.connection is not None  # noqa: S101 - chosen among the connected
        return self.connection.send(head, tail, timeout=timeout)


class _Identity(NamedTuple):
    """What a pod must be for its answers to count: all of it, because addresses are used again."""

    owner: IndexName
    generation: Any
    shard: Any
    fingerprint: Any

    @classmethod
    def said(cls, hello: Mapping[str, Any]) -> Self:
        return cls(IndexName.said(hello), hello.get("generation"), hello.get("shard"), hello.get("fingerprint"))

    def __str__(self) -> str:
        return f"{self.owner}, generation {self.generation}, shard {self.shard}, fingerprint {self.fingerprint}"


class Copies:
    """The pods of one shard of one generation."""

    def __init__(self, index: IndexName, pin: GenerationRoute, shard: int, peer: str, look_up: Resolve) -> None:
        self.generation = pin.generation
        self.shard = shard
        self.host = pin.hosts[shard]
        self.position = 0
        """The latest position of the writer's feed that this gateway knows of."""
        self.seen = float("-inf")
        """When the pods were last looked at and one of them could be read from, by time.monotonic."""
        self.pods: dict[Address, Pod] = {}
        self._identity = _Identity(index, pin.generation, shard, pin.fingerprint)
        self._peer = peer
        self._look_up = look_up
        self._kicked = asyncio.Event()
        self._refreshed = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    def readers(self) -> list[Pod]:
        """Pods that answer reads, least busy first; ties in random order."""
        found = [pod for pod in self.pods.values() if pod.reads]
        if len(found) > 1:
            random.shuffle(found)
            found.sort(key=lambda pod: pod.outstanding)
        return found

    def writer(self) -> Pod | None:
        """The pod that takes writes, if it can be asked."""
        for pod in self.pods.values():
            if pod.is_writer and pod.connected and pod.breaker.allows():
                return pod
        return None

    def reached(self, position: object) -> None:
        """Learns of a position of the writer's feed."""
        if type(position) is int and position > self.position:
            self.position = position

    def kick(self) -> None:
        """Something changed: look again soon."""
        self._kicked.set()

    async def changed(self, timeout: float) -> None:
        """Waits until the pods were looked at again."""
        self.kick()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._refreshed.wait()

    def why_not(self) -> str:
        """For a person: what is wrong with the copies."""
        if not self.pods:
            return f"{self.host} has no pods"
        return "; ".join(f"{pod.name}: {_state(pod)}" for pod in self.pods.values())

    def close(self) -> None:
        self._task.cancel()
        for pod in self.pods.values():
            if pod.connection:
                pod.connection.close()

    async def _keep(self) -> None:
        pause = FIRST_REFRESH_SECONDS
        while True:
            self._kicked.clear()
            try:
                await self._refresh()
            except Exception:
                log.exception("looking after the copies of shard %d failed", self.shard)
            self._refreshed.set()
            self._refreshed = asyncio.Event()
            whole = bool(self.pods) and all(pod.connected for pod in self.pods.values())
            pause = REFRESH_SECONDS if whole else min(2 * pause, REFRESH_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._kicked.wait()
                    pause = FIRST_REFRESH_SECONDS
            await asyncio.sleep(FIRST_REFRESH_SECONDS)

    async def _refresh(self) -> None:
        found = await self._look_up(self.host, FRAME_PORT)
        for address in found:
            self.pods.setdefault(address, Pod(address))
        for address in [address for address in self.pods if address not in found]:
            pod = self.pods[address]
            if not pod.connected:  # a pod that answers is kept whatever DNS says at this moment
                del self.pods[address]
        await asyncio.gather(*(self._look_after(pod) for pod in list(self.pods.values())))
        if any(pod.reads for pod in self.pods.values()):
            self.seen = time.monotonic()

    async def _look_after(self, pod: Pod) -> None:
        try:
            if pod.connected and pod.connection is not None:
                await pod.connection.refresh(HELLO_SECONDS)
            else:
                await self._connect(pod)
        except CallFailed as error:
            pod.failure = str(error)
            pod.breaker.failed()
            return
        if pod.is_writer and pod.connection is not None:
            self.reached(pod.connection.hello.get("position"))

    async def _connect(self, pod: Pod) -> None:
        connection = await Connection.connect(*pod.address, peer=self._peer, timeout=HELLO_SECONDS)
        found = _Identity.said(connection.hello)
        if found != self._identity:
            connection.close()
            pod.failure = f"it is of {found}"
            return
        pod.connection, pod.breaker, pod.failure = connection, Breaker(), ""
        log.info("connected", extra={"pod": pod.name, "generation": self.generation, "shard": self.shard})


class Shards:
    """The shards of one generation."""

    def __init__(self, index: IndexName, generation: GenerationRoute, peer: str, look_up: Resolve) -> None:
        self.generation = generation
        self.copies: Sequence[Copies] = [Copies(index, generation, shard, peer, look_up) for shard in range(generation.shards)]

    def __len__(self) -> int:
        return len(self.copies)

    @property
    def least_copies(self) -> int:
        """Known of the shard that has the fewest, at least 1."""
        return max(1, min(len(copies.pods) for copies in self.copies))

    def positions(self) -> tuple[int, ...]:
        return tuple(copies.position for copies in self.copies)

    def fields(self) -> dict[str, FieldType]:
        """Declared fields, as the shards tell of them; empty while none has."""
        for copies in self.copies:
            for pod in copies.pods.values():
                if pod.connection and pod.connection.hello.get("fields"):
                    return _fields(pod.connection.hello["fields"])
        return {}

    def close(self) -> None:
        for copies in self.copies:
            copies.close()


class Fleet:
    """The shards of every generation that the current route of an index names."""

    def __init__(self, peer: str, index: IndexName, look_up: Resolve = resolve) -> None:
        self._index = index
        self._peer = peer
        self._look_up = look_up
        self._known: dict[tuple[int, str, tuple[str, ...]], Shards] = {}
        self._last: Shards | None = None

    def shards(self, generation: GenerationRoute) -> Shards:
        last = self._last
        if last is not None and last.generation is generation:
            return last
        key = _key(generation)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Shards(self._index, generation, self._peer, self._look_up)
        known.generation, self._last = generation, known
        return known

    def keep(self, named: Sequence[GenerationRoute]) -> None:
        """Connects to what the route names, and lets go of the rest."""
        for generation in named:
            self.shards(generation)
        keys = {_key(generation) for generation in named}
        for key in [key for key in self._known if key not in keys]:
            self._known.pop(key).close()
        self._last = None

    def pods(self) -> Iterator[tuple[Copies, Pod]]:
        for shards in self._known.values():
            for copies in shards.copies:
                for pod in copies.pods.values():
                    yield copies, pod

    def close(self) -> None:
        self.keep([])

    def breakers(self) -> Iterator[tuple[int, int, str, bool]]:
        """(generation, shard, pod, open) of every pod."""
        for copies, pod in self.pods():
            yield copies.generation, copies.shard, pod.name, pod.breaker.state != "closed"


def _key(generation: GenerationRoute) -> tuple[int, str, tuple[str, ...]]:
    """What makes another set of pods; the rest of a generation's route may change under them."""
    return generation.generation, generation.fingerprint, generation.hosts


def _state(pod: Pod) -> str:
    if not pod.connected:
        return pod.failure or "not connected"
    hello = pod.connection.hello if pod.connection else {}
    if pod.breaker.state != "closed":
        return f"its last calls failed ({pod.failure})"
    if hello.get("retired"):
        return "retired"
    if hello.get("mode") == Mode.CLOSED:
        return "closed"
    return pod.failure or "answers"


def _fields(raw: Sequence[Mapping[str, str]]) -> dict[str, FieldType]:
    return {one["name"]: FieldType(one["type"]) for one in raw if one.get("type") in set(FieldType)}
