"""One leader by a Lease, and a fence: it stops writing before its Lease can pass to another.

The election is the official client's; the lock below reads and writes the Lease in plain JSON through `Kube`, and
remembers when the last renewal *began*. A renewal is good for `lease_seconds` from the moment that others see it, so a
write that begins within `renew_seconds` of that moment, and lasts no longer than one request may, lands in time.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from .kube import Kube, KubeError
from .metrics import LEADER
from .resources import LEASE, Manifest
from .settings import OperatorSettings

logger = logging.getLogger(__name__)


def _seconds_since_boot() -> float:
    """Time that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseLock(BaseLock):  # type: ignore[misc]  # the client is untyped
    """The Lease as the client's election reads and writes it."""

    def __init__(self, kube: Kube, settings: OperatorSettings, clock: Callable[[], float] = _seconds_since_boot) -> None:
        super().__init__(settings.lease_name, settings.namespace, settings.pod_name)
        self._kube = kube
        self._clock = clock
        self._lease_seconds = settings.lease_seconds
        self._renew_seconds = settings.renew_seconds
        self._live: Manifest = {}
        self._renewed_at = float("-inf")

    def held(self) -> bool:
        """Whether a write that begins now still lands before the Lease can pass to another."""
        return self._clock() - self._renewed_at < self._renew_seconds

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            live = await self._kube.get(LEASE, namespace, name)
        except KubeError as error:
            return False, error
        if live is None:
            absent = ApiException(status=404, reason="NotFound")
            absent.body = json.dumps({"code": 404})
            return False, absent
        self._live = live
        spec = live.get("spec", {})
        if spec.get("holderIdentity") != self.identity:
            self._renewed_at = float("-inf")  # whatever was believed before
        if not spec.get("holderIdentity"):
            return True, None
        return True, LeaderElectionRecord(
            spec["holderIdentity"],
            str(spec.get("leaseDurationSeconds")),
            spec.get("acquireTime"),
            spec.get("renewTime"),
        )

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        manifest = {"metadata": {"name": name, "namespace": namespace}, "spec": self._spec(0)}
        return await self._hold(self._kube.post(LEASE, manifest))

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        before = self._live.get("spec", {})
        mine = before.get("holderIdentity") == self.identity
        spec = self._spec(before.get("leaseTransitions", 0) + (not mine))
        if mine and before.get("acquireTime"):
            spec["acquireTime"] = before["acquireTime"]
        return await self._hold(self._kube.put(LEASE, {"metadata": self._live["metadata"], "spec": spec}))

    async def release(self) -> None:
        """Gives the Lease up, so that a successor need not wait for its end."""
        if not self.held():
            return
        self._renewed_at = float("-inf")
        live = await self._kube.get(LEASE, self.namespace, self.name)
        if live is None or live.get("spec", {}).get("holderIdentity") != self.identity:
            return
        spec = {key: value for key, value in live["spec"].items() if key != "holderIdentity"}
        await self._kube.put(LEASE, {"metadata": live["metadata"], "spec": spec})

    async def _hold(self, write: Awaitable[Manifest]) -> bool:
        began = self._clock()
        try:
            self._live = await write
        except KubeError as error:
            logger.info("lease not taken: %s", error)
            return False
        self._renewed_at = began
        return True

    def _spec(self, transitions: int) -> Manifest:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._lease_seconds,
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }


async def lead(lock: LeaseLock, settings: OperatorSettings, act: Callable[[], Awaitable[None]]) -> None:
    """Waits for the Lease, runs `act` while it is held, and returns when it is lost or `act` ends, with the error of `act`.

    The client's election would go on renewing for work that has died, and would release before work has ended; so the
    work is a task of ours.
    """
    elected = asyncio.Event()

    async def started() -> None:
        elected.set()
        await asyncio.Event().wait()  # the election cancels it

    async def stopped() -> None:
        pass

    config = Config(lock, settings.lease_seconds, settings.renew_seconds, settings.retry_seconds, started, stopped)
    tasks = [asyncio.ensure_future(LeaderElection(config).run()), asyncio.ensure_future(_when(elected, act, lock))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        LEADER.set(0)
        for task in reversed(tasks):  # the work first, then the Lease that protects it
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.shield(_released(lock))
    for task in done:
        task.result()


async def _when(elected: asyncio.Event, act: Callable[[], Awaitable[None]], lock: LeaseLock) -> None:
    await elected.wait()
    LEADER.set(1)
    logger.info("leading as %s", lock.identity)
    await act()


async def _released(lock: LeaseLock) -> None:
    try:
        await lock.release()
    except KubeError as error:
        logger.info("lease not released, it ends by itself: %s", error)
