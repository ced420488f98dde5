"""The Lease: one leader, which stops writing before another can begin."""

import asyncio
from typing import Any

import pytest
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from pydantic import ValidationError

from embedding_operator.kube import KubeError
from embedding_operator.leader import LeaseLock, lead
from embedding_operator.resources import LEASE, Manifest, Resource
from embedding_operator.settings import OperatorSettings
from fixtures.kube import FakeKube


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def settings(name: str) -> OperatorSettings:
    return OperatorSettings(
        pod_name=name, namespace="s", lease_seconds=3, renew_seconds=2, retry_seconds=1, request_seconds=0.5
    )


def election(kube: Any, name: str, clock: Clock) -> tuple[LeaseLock, LeaderElection]:
    lock = LeaseLock(kube, settings(name), clock)

    async def idle() -> None:
        await asyncio.Event().wait()

    return lock, LeaderElection(Config(lock, 3, 2, 1, idle, idle))


async def test_only_one_of_two_gets_the_lease() -> None:
    kube, clock = FakeKube(), Clock()
    (one, first), (two, second) = election(kube, "one", clock), election(kube, "two", clock)
    assert await first.try_acquire_or_renew()
    assert not await second.try_acquire_or_renew()
    assert one.held()
    assert not two.held()
    assert kube.objects[LEASE, "s", "embedding-operator"]["spec"]["holderIdentity"] == "one"


async def test_a_leader_that_cannot_renew_stops_writing_before_the_lease_ends() -> None:
    clock = Clock()
    lock, elected = election(FakeKube(), "one", clock)
    assert await elected.try_acquire_or_renew()
    clock.now += 1.9
    assert lock.held()
    clock.now += 0.2
    assert not lock.held(), "the lease itself lives for 3 s"


async def test_a_renewal_counts_from_its_beginning() -> None:
    """A reply that comes late must not make the leader believe that it has time left."""
    clock = Clock()

    class Slow(FakeKube):
        async def put(self, resource: Resource, manifest: Manifest) -> Manifest:
            clock.now += 5
            return await super().put(resource, manifest)

    lock, elected = election(Slow(), "one", clock)
    assert await elected.try_acquire_or_renew()
    assert await elected.try_acquire_or_renew()
    assert not lock.held()


async def test_a_stale_contender_does_not_take_a_renewed_lease() -> None:
    kube, clock = FakeKube(), Clock()
    (_, first), (two, second) = election(kube, "one", clock), election(kube, "two", clock)
    assert await first.try_acquire_or_renew()
    await two.get(two.name, two.namespace)
    assert await first.try_acquire_or_renew()
    assert not await two.update(two.name, two.namespace, second.observed_record)
    assert kube.objects[LEASE, "s", "embedding-operator"]["spec"]["holderIdentity"] == "one"


async def test_a_released_lease_passes_at_once() -> None:
    kube, clock = FakeKube(), Clock()
    (one, first), (two, second) = election(kube, "one", clock), election(kube, "two", clock)
    assert await first.try_acquire_or_renew()
    await one.release()
    assert not one.held()
    assert await second.try_acquire_or_renew()
    assert two.held()
    assert kube.objects[LEASE, "s", "embedding-operator"]["spec"]["leaseTransitions"] == 1


async def test_an_api_server_that_is_away_is_no_lease() -> None:
    class Away(FakeKube):
        async def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
            raise KubeError(0, "ClientError", "connection refused")

    lock, elected = election(Away(), "one", Clock())
    assert not await elected.try_acquire_or_renew()
    assert not lock.held()


async def test_leading_ends_and_gives_the_lease_back_when_asked_to_stop() -> None:
    kube = FakeKube()
    lock = LeaseLock(kube, settings("one"))
    acting = asyncio.Event()

    async def act() -> None:
        acting.set()
        await asyncio.Event().wait()

    leading = asyncio.create_task(lead(lock, settings("one"), act))
    await asyncio.wait_for(acting.wait(), 5)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert "holderIdentity" not in kube.objects[LEASE, "s", "embedding-operator"]["spec"]


async def test_a_leader_whose_work_dies_stops_leading_and_says_why() -> None:
    kube = FakeKube()

    async def act() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(lead(LeaseLock(kube, settings("one")), settings("one"), act), 10)
    assert "holderIdentity" not in kube.objects[LEASE, "s", "embedding-operator"]["spec"]


async def test_the_lease_is_released_after_the_work_has_ended() -> None:
    told: list[str] = []
    acting = asyncio.Event()

    class Telling(FakeKube):
        async def put(self, resource: Resource, manifest: Manifest) -> Manifest:
            if "holderIdentity" not in manifest["spec"]:
                told.append("released")
            return await super().put(resource, manifest)

    async def act() -> None:
        acting.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.2)  # a write that the API server still works on
            told.append("work ended")

    leading = asyncio.create_task(lead(LeaseLock(Telling(), settings("one")), settings("one"), act))
    await asyncio.wait_for(acting.wait(), 5)
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
    assert told == ["work ended", "released"]


async def test_a_leader_that_sees_another_holder_writes_no_more() -> None:
    kube, clock = FakeKube(), Clock()
    lock, elected = election(kube, "one", clock)
    assert await elected.try_acquire_or_renew()
    kube.edit(LEASE, "s", "embedding-operator", lambda live: live["spec"].update(holderIdentity="two", renewTime="x"))
    assert not await elected.try_acquire_or_renew()
    assert not lock.held()


def test_a_fence_that_could_be_too_late_is_refused() -> None:
    with pytest.raises(ValidationError, match="lease_seconds"):
        OperatorSettings(lease_seconds=15, renew_seconds=12, request_seconds=4)
