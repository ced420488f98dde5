"""The queue: each key once, one worker a key, back-off, and nobody waits for a sick one."""

import asyncio
import itertools

import pytest
from prometheus_client import REGISTRY

from embedding_operator.kube import KubeError
from embedding_operator.lanes import Key
from embedding_operator.queue import WorkQueue

A, B = Key("EmbeddingModel", "t", "a"), Key("EmbeddingModel", "t", "b")


async def run_until(queue: WorkQueue, done: asyncio.Event, seconds: float = 10) -> None:
    working = asyncio.create_task(queue.run())
    try:
        await asyncio.wait_for(done.wait(), seconds)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def test_events_that_come_together_are_one_look() -> None:
    looks: list[Key] = []
    done = asyncio.Event()

    async def reconcile(key: Key) -> None:
        looks.append(key)
        if key == B:
            done.set()

    queue = WorkQueue(reconcile, concurrency=1)
    for _ in range(50):
        queue.add(A)
    queue.add(B, 0.2)
    await run_until(queue, done)
    assert looks == [A, B]


async def test_a_key_is_never_looked_at_twice_at_once_and_no_event_is_lost() -> None:
    running = 0
    looks = 0
    done = asyncio.Event()

    async def reconcile(_: Key) -> None:
        nonlocal running, looks
        running += 1
        assert running == 1
        looks += 1
        if looks == 1:
            queue.add(A)  # an event that comes while its key is looked at
            queue.add(A)
        await asyncio.sleep(0.02)
        running -= 1
        if looks == 2:
            done.set()

    queue = WorkQueue(reconcile, concurrency=4, settle_seconds=0)
    queue.add(A)
    await run_until(queue, done)
    assert looks == 2


async def test_a_sick_object_does_not_delay_another() -> None:
    healthy = 0
    done = asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        nonlocal healthy
        if key == A:
            await asyncio.Event().wait()  # hangs for ever
        healthy += 1
        if healthy == 20:
            done.set()
        return 0.001

    queue = WorkQueue(reconcile, concurrency=2, settle_seconds=0)
    queue.add(A)
    queue.add(B)
    await run_until(queue, done)


async def test_failures_back_off_and_a_success_forgets_them(caplog: pytest.LogCaptureFixture) -> None:
    times: list[float] = []
    done = asyncio.Event()

    async def reconcile(_: Key) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise KubeError(500, "InternalError", "etcd is away")
        done.set()

    queue = WorkQueue(reconcile, concurrency=1, settle_seconds=0)
    queue.add(A)
    await run_until(queue, done)
    gaps = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert gaps[0] >= 0.25
    assert gaps[1] >= 0.5
    assert gaps[2] >= 1.0
    assert all("etcd is away" in record.message for record in caplog.records)
    assert queue._failures == {}


async def test_an_earlier_appointment_wins() -> None:
    done = asyncio.Event()

    async def reconcile(_: Key) -> None:
        done.set()

    queue = WorkQueue(reconcile, concurrency=1)
    queue.add(A, 3600)
    queue.add(A, 0)
    queue.add(A, 3600)
    await run_until(queue, done)


async def test_many_that_hang_do_not_delay_another_namespace() -> None:
    done = asyncio.Event()
    well = Key("EmbeddingModel", "well", "m")

    async def reconcile(key: Key) -> None:
        if key != well:
            await asyncio.Event().wait()
        done.set()

    queue = WorkQueue(reconcile, concurrency=4, settle_seconds=0)
    for index in range(50):
        queue.add(Key("EmbeddingModel", "sick", f"m{index}"))
    queue.add(well)
    await run_until(queue, done)


async def test_retries_that_hang_do_not_delay_a_change_beside_them() -> None:
    done = asyncio.Event()
    failed: set[Key] = set()

    async def reconcile(key: Key) -> None:
        if key == A:
            done.set()
        elif key in failed:
            await asyncio.Event().wait()
        else:
            failed.add(key)
            if len(failed) == 20:
                asyncio.get_running_loop().call_later(1, queue.add, A)  # when every retry is due
            raise KubeError(500, "InternalError", "admission is away")

    queue = WorkQueue(reconcile, concurrency=4, settle_seconds=0)
    for index in range(20):
        queue.add(Key("EmbeddingModel", A.namespace, f"m{index}"))
    await run_until(queue, done)


async def test_what_waits_is_measured() -> None:
    release, started = asyncio.Event(), asyncio.Event()

    async def reconcile(_: Key) -> None:
        started.set()
        await release.wait()

    queue = WorkQueue(reconcile, concurrency=1, settle_seconds=0)
    queue.add(A)
    queue.add(B)
    await run_until(queue, started)
    assert REGISTRY.get_sample_value("embedding_operator_queue_depth") == 1
    assert (REGISTRY.get_sample_value("embedding_operator_queue_oldest_seconds") or 0) >= 0
