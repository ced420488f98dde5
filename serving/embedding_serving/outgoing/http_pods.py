"""HTTP calls to the pods behind a name: the least busy one first, another one where it fails.

A ClusterIP would pin a kept connection to one pod for good, so the records of a headless Service are called one by one.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from .addresses import Address, Resolve, resolve
from .deadline import Deadline

LOOK_UP_SECONDS = 2.0
REST_SECONDS = 1.0
BUSY = frozenset({429, 502, 503, 504})


class NoAnswer(Exception):
    """No pod answered in time; the message says why the last did not."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Target:
    address: Address
    outstanding: int = 0
    resting_until: float = 0.0


@dataclass(slots=True)
class HttpPods:
    """base_url: `http://name:port`; name as in `addresses.resolve`."""

    base_url: str
    session: aiohttp.ClientSession
    look_up: Resolve = resolve
    _targets: dict[Address, _Target] = field(default_factory=dict)
    _looked_up: float = float("-inf")
    _looking: asyncio.Task[None] | None = None

    async def post(self, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> HttpAnswer:
        """Any answer but of a pod that is too busy or failing: those are asked elsewhere first. Raises NoAnswer.

        A pod that is busy everywhere answers for all: its last answer is returned.
        """
        busy: HttpAnswer | None = None
        reason = "the time was over before it was asked"
        tried: set[Address] = set()
        while not deadline.passed:
            target = await self._choose(tried, deadline)
            if target is None:
                if busy is not None:
                    return busy
                if not self._targets:
                    reason = f"{self.base_url} has no pods"
                tried.clear()
                await asyncio.sleep(min(0.02, deadline.left()))
                continue
            tried.add(target.address)
            try:
                answer = await self._call(target, path, body, headers, deadline)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                reason = f"{target.address[0]}:{target.address[1]}: {str(error) or type(error).__name__}"
                target.resting_until = time.monotonic() + REST_SECONDS
                self._looked_up = float("-inf")
                continue
            if answer.status not in BUSY:
                return answer
            busy = answer
        if busy is not None:
            return busy
        raise NoAnswer(reason)

    async def _call(
        self, target: _Target, path: str, body: bytes, headers: Mapping[str, str], deadline: Deadline
    ) -> HttpAnswer:
        host, port = target.address
        url = URL.build(scheme=URL(self.base_url).scheme, host=host, port=port, path=path)
        timeout = aiohttp.ClientTimeout(total=max(0.001, deadline.left()))
        target.outstanding += 1
        try:
            async with self.session.post(url, data=body, headers=headers, timeout=timeout) as response:
                return HttpAnswer(response.status, response.headers, await response.read())
        finally:
            target.outstanding -= 1

    async def _choose(self, tried: set[Address], deadline: Deadline) -> _Target | None:
        if not self._targets:
            await self._refresh(deadline)
        elif time.monotonic() - self._looked_up > LOOK_UP_SECONDS:
            self._start_looking()
        fresh = [target for target in self._targets.values() if target.address not in tried]
        now = time.monotonic()
        awake = [target for target in fresh if target.resting_until <= now]
        return min(awake or fresh, key=lambda target: target.outstanding, default=None)

    async def _refresh(self, deadline: Deadline) -> None:
        looking = self._start_looking()
        try:
            async with asyncio.timeout(deadline.left()):
                await asyncio.shield(looking)
        except TimeoutError:
            return

    def _start_looking(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return self._looking

    async def _look(self) -> None:
        self._looked_up = time.monotonic()
        url = URL(self.base_url)
        found = await self.look_up(url.host or "", url.port or 80)
        for address in found:
            self._targets.setdefault(address, _Target(address))
        for address in [address for address in self._targets if address not in found]:
            if found:
                del self._targets[address]
