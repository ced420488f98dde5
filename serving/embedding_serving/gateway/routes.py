"""The route of one index as this process knows it: mounted as a file, pushed by the operator, or learnt from a shard.

Only a route with a higher `seq` is taken, wherever it comes from. A request pins one generation and keeps to it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from ..contract.route import ROUTE_KEY, GenerationRoute, Route
from ..outgoing.deadline import Deadline
from ..outgoing.failures import Moved, Unavailable
from .failures import RouteUnavailable, ShardUnavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_SECONDS = 1.0
FIRST_RETRY_SECONDS = 0.02
LAST_RETRY_SECONDS = 0.5


class Pin(NamedTuple):
    """One generation of one route, for the life of one attempt. canary: it does not take writes (yet)."""

    seq: int
    epoch: int
    generation: GenerationRoute
    canary: bool

    @property
    def number(self) -> int:
        return self.generation.generation

    def head(self) -> dict[str, Any]:
        """What every frame begins with."""
        return {"g": self.generation.generation, "f": self.generation.fingerprint, "e": self.epoch}


class Routes:
    def __init__(self, index: str, namespace: str, directory: Path, told: Callable[[], None] = lambda: None) -> None:
        """told: called whenever a newer route was taken."""
        self.index = index
        self._told = told
        self._namespace = namespace
        self._path = directory / ROUTE_KEY
        self._raw = b""
        self._route: Route | None = None
        self._active: Pin | None = None
        self._readable: list[Pin] = []
        self._weights: list[int] = []
        self._newer = asyncio.Event()

    @property
    def current(self) -> Route | None:
        return self._route

    def active(self) -> Pin:
        """Of the generation that takes writes. Raises RouteUnavailable."""
        if self._active is None:
            raise RouteUnavailable(
                f"the route of index {self.index!r} is not known yet: the operator writes it once the index has a generation"
            )
        return self._active

    def readable(self) -> Pin:
        """Of a generation that answers reads, by the route's weights. Raises RouteUnavailable."""
        if len(self._readable) <= 1:
            return self._readable[0] if self._readable else self.active()
        return random.choices(self._readable, self._weights)[0]  # noqa: S311 - a share of the traffic

    def offer(self, route: Route) -> bool:
        """Takes a route if it is of this index and newer. Raises ValueError for one of another index."""
        if (route.index, route.namespace) != (self.index, self._namespace):
            raise ValueError(f"the route is of {route.namespace}/{route.index}, not of {self._namespace}/{self.index}")
        if self._route is not None and route.seq <= self._route.seq:
            return False
        active = route.active  # raises KeyError before anything has changed
        self._route = route
        self._active = Pin(route.seq, route.epoch, active, canary=False)
        shares = {one.generation: route.weights.get(one.generation, 0) for one in route.generations}
        named = [one for one in route.generations if shares[one.generation] > 0]
        self._readable = [Pin(route.seq, route.epoch, one, one.generation != route.writer) for one in named]
        self._weights = [shares[one.generation] for one in named]
        log.info("route", extra={"index": self.index, "seq": route.seq, "epoch": route.epoch, "generation": route.writer})
        self._newer.set()
        self._newer = asyncio.Event()
        self._told()
        return True

    def learn(self, raw: Mapping[str, Any]) -> bool:
        """Offers what a shard said of the route; what cannot be read is not taken."""
        try:
            return self.offer(Route.model_validate(raw))
        except (ValidationError, ValueError, KeyError) as error:
            log.warning("a shard sent a route that is not one", extra={"index": self.index, "reason": type(error).__name__})
            return False

    async def newer_than(self, seq: int, timeout: float) -> bool:
        """Waits for a route beyond `seq`."""
        try:
            async with asyncio.timeout(timeout):
                while self._route is None or self._route.seq <= seq:
                    await self._newer.wait()
        except TimeoutError:
            return False
        return True

    async def watch(self) -> None:
        """Follows the mounted file until it is cancelled: a ConfigMap is replaced, not written, so it is read again."""
        while True:
            await self.read_file()
            await asyncio.sleep(POLL_SECONDS)

    async def read_file(self) -> None:
        """Takes the mounted route if it has changed. An unreadable one leaves what is known."""
        raw = await asyncio.to_thread(_content, self._path)
        if not raw or raw == self._raw:
            return
        self._raw = raw
        try:
            self.offer(Route.model_validate_json(raw))
        except (ValidationError, ValueError, KeyError) as error:
            log.error("the mounted route is not one", extra={"path": str(self._path), "reason": str(error)[:500]})

    async def pinned(self, choose: Callable[[], Pin], deadline: Deadline, attempt: Callable[[Pin], Awaitable[T]]) -> T:
        """Runs `attempt` under one pin, and again from the start under a newer one while shards say they have moved.

        What a canary cannot answer, the generation that takes writes does.
        """
        retry_seconds = FIRST_RETRY_SECONDS
        last: Moved | None = None
        while True:
            pin = choose()
            try:
                return await attempt(pin)
            except Moved as moved:
                last = moved
            except Unavailable as failure:
                if deadline.passed and last is not None:
                    raise self._stuck(pin, last) from failure
                if deadline.passed:
                    raise
                if pin.canary:
                    choose = self.active
                elif not isinstance(failure, ShardUnavailable) or not self.left(pin):
                    raise
                continue
            left = deadline.left()
            if left <= 0:
                raise self._stuck(pin, last) from last
            if last.route is None or not self.learn(last.route):
                await self.newer_than(pin.seq, min(left, retry_seconds))
                retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)

    def left(self, pin: Pin) -> bool:
        """Whether reads no longer go to the pinned generation, so that its silence says nothing of the index."""
        if self._route is None or self._route.seq == pin.seq:
            return False
        return all(one.number != pin.number for one in self._readable)

    def _stuck(self, pin: Pin, moved: Moved) -> RouteUnavailable:
        what = f"index {self.index!r} has moved on from generation {pin.number}"
        return RouteUnavailable(f"{what}, and no newer route arrived in time: {moved.detail}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
