import asyncio
from pathlib import Path

import pytest

from embedding_serving.contract.route import GenerationRoute
from embedding_serving.gateway.failures import RouteUnavailable, ShardUnavailable
from embedding_serving.gateway.routes import Pin, Routes
from embedding_serving.outgoing.deadline import Deadline
from embedding_serving.outgoing.failures import Moved

from .frame_shards import route_to

ONE = GenerationRoute(generation=1, hosts=("one",), fingerprint="f1", dimensions=2)
TWO = GenerationRoute(generation=2, hosts=("two",), fingerprint="f2", dimensions=2)


@pytest.fixture
def routes(tmp_path: Path) -> Routes:
    return Routes("docs", "test", tmp_path)


def test_only_a_higher_seq_is_taken(routes: Routes) -> None:
    assert routes.offer(route_to(ONE, seq=3))
    assert not routes.offer(route_to(TWO, seq=3))
    assert not routes.offer(route_to(TWO, seq=2))
    assert routes.active().number == 1
    assert routes.offer(route_to(TWO, seq=4))
    assert routes.active().number == 2


def test_a_route_of_another_index_or_namespace_is_refused(routes: Routes) -> None:
    for changed in ({"index": "other"}, {"namespace": "other"}):
        with pytest.raises(ValueError, match="not of test/docs"):
            routes.offer(route_to(ONE, seq=9, **changed))
    with pytest.raises(RouteUnavailable):
        routes.active()


def test_what_a_shard_says_is_checked_as_well(routes: Routes) -> None:
    assert routes.learn(route_to(ONE).model_dump(mode="json"))
    assert not routes.learn({"seq": 7})
    assert not routes.learn(route_to(ONE, seq=7, writer=5).model_dump(mode="json"))
    assert routes.active().seq == 1


def test_reads_are_shared_by_the_weights(routes: Routes) -> None:
    routes.offer(route_to(ONE, TWO, weights={1: 80, 2: 20}))
    pins = [routes.readable() for _ in range(2_000)]
    canaries = [pin for pin in pins if pin.number == 2]
    assert 250 < len(canaries) < 550
    assert all(pin.canary for pin in canaries)
    assert routes.active().number == 1


def test_without_weights_reads_go_to_the_writer(routes: Routes) -> None:
    routes.offer(route_to(ONE, TWO, weights={}))
    assert routes.readable().number == 1


async def test_a_mounted_route_is_taken_and_a_broken_one_changes_nothing(routes: Routes, tmp_path: Path) -> None:
    await routes.read_file()
    with pytest.raises(RouteUnavailable, match="not known yet"):
        routes.active()
    file = tmp_path / "route.json"
    file.write_text(route_to(ONE, seq=2).model_dump_json())
    await routes.read_file()
    file.write_text("{broken")
    await routes.read_file()
    assert routes.active().seq == 2


async def test_an_attempt_that_met_a_move_begins_anew_under_the_newer_route(routes: Routes) -> None:
    routes.offer(route_to(ONE))
    seen: list[int] = []

    async def attempt(pin: Pin) -> int:
        seen.append(pin.number)
        if pin.number == 1:
            raise Moved("gone", route_to(TWO, seq=2).model_dump(mode="json"))
        return pin.number

    assert await routes.pinned(routes.active, Deadline.after(5), attempt) == 2
    assert seen == [1, 2]


async def test_an_attempt_waits_for_a_route_that_is_pushed_later(routes: Routes) -> None:
    routes.offer(route_to(ONE))

    async def attempt(pin: Pin) -> int:
        if pin.number == 1:
            raise Moved("gone")
        return pin.number

    asking = asyncio.create_task(routes.pinned(routes.active, Deadline.after(5), attempt))
    await asyncio.sleep(0.05)
    routes.offer(route_to(TWO, seq=2))
    assert await asking == 2


async def test_without_a_newer_route_the_deadline_ends_it(routes: Routes) -> None:
    routes.offer(route_to(ONE))

    async def attempt(pin: Pin) -> int:
        raise Moved("gone")

    with pytest.raises(RouteUnavailable, match="moved on"):
        await routes.pinned(routes.active, Deadline.after(0.1), attempt)


async def test_what_a_canary_cannot_answer_the_active_generation_does(routes: Routes) -> None:
    routes.offer(route_to(ONE, TWO, weights={2: 100}))
    seen: list[int] = []

    async def attempt(pin: Pin) -> int:
        seen.append(pin.number)
        if pin.canary:
            raise ShardUnavailable([0], "its pod has died")
        return pin.number

    assert await routes.pinned(routes.readable, Deadline.after(5), attempt) == 1
    assert seen == [2, 1]


def test_a_generation_is_left_when_a_newer_route_sends_no_reads_there(routes: Routes) -> None:
    routes.offer(route_to(ONE))
    pin = routes.active()
    assert not routes.left(pin)
    routes.offer(route_to(ONE, TWO, seq=2, weights={1: 90, 2: 10}))
    assert not routes.left(pin)
    routes.offer(route_to(TWO, ONE, seq=3, weights={2: 100}))
    assert routes.left(pin), "it stands for the way back alone"
    assert not routes.left(routes.active())


async def test_the_silence_of_a_generation_that_was_let_go_is_no_answer(routes: Routes) -> None:
    routes.offer(route_to(ONE))

    async def attempt(pin: Pin) -> int:
        if pin.number == 1:
            routes.offer(route_to(TWO, seq=2))
            raise ShardUnavailable([0], "its pods are deleted")
        return pin.number

    assert await routes.pinned(routes.active, Deadline.after(5), attempt) == 2
