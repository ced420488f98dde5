"""Shards and gateways are killed with SIGKILL again and again, and a client's ledger of acknowledgements still holds."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faults.killer import Killer
from fixtures.ledger import Ledger, first_broken
from fixtures.ledger_http import HttpApi, session
from integration.shard.shard_process import until

from .service import SHARDS, Service, serving

LONG = os.environ.get("FAULTS") == "long"
SPARING_KILLS = 240 if LONG else 30
BLIND_KILLS = 80 if LONG else 10
LOST_VOLUMES = 12 if LONG else 3
LEAST_ACKNOWLEDGED = 200
OPERATOR_SECONDS = 6.0
"""At most so long the operator takes to see an empty writer: longer than a follower's pause between two attempts."""


@pytest.fixture
def seed() -> int:
    chosen = int(os.environ.get("FAULTS_SEED", random.randrange(1 << 32)))
    print(f"seed {chosen}")
    return chosen


@contextlib.asynccontextmanager
async def keeping_a_ledger(service: Service, seed: int) -> AsyncIterator[Ledger]:
    """A client at work beside what the body does; in the end every document is compared with what was acknowledged."""
    async with session() as http:
        ledger = Ledger(HttpApi(http, lambda: service.urls), seed)
        running = asyncio.create_task(ledger.run())
        try:
            yield ledger
            await worth_it(ledger, running)
            ledger.stop()
            await running
        except ExceptionGroup as group:
            raise first_broken(group) from None
        finally:
            running.cancel()
            print(ledger.counts)
        certain = await ledger.verify()
        print(f"{certain} documents as acknowledged; {ledger.counts}")


async def worth_it(ledger: Ledger, running: "asyncio.Task[None]") -> None:
    """On a busy machine little is acknowledged in the time that the kills take."""
    async with asyncio.timeout(120):
        while not running.done() and ledger.counts.acknowledged < LEAST_ACKNOWLEDGED:  # noqa: ASYNC110 - either may come
            await asyncio.sleep(0.1)


async def test_kills_lose_nothing_and_searches_are_answered_while_a_copy_is_left(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    with serving(tmp_path) as service:
        async with keeping_a_ledger(service, seed) as ledger:
            killer = Killer([*service.shards, *service.gateways], draw)
            await killer.run(SPARING_KILLS)
        print(f"{killer.kills} kills: {killer.killed}")
        assert ledger.counts.failed_searches == 0, ledger.failures[:5]
        assert ledger.counts.searches > SPARING_KILLS


async def test_kills_of_whatever_there_is_lose_nothing(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    with serving(tmp_path) as service:
        async with keeping_a_ledger(service, seed):
            killer = Killer([*service.shards, *service.gateways], draw, sparing=False)
            await killer.run(BLIND_KILLS)
        print(f"{killer.kills} kills: {killer.killed}")


async def test_a_lost_volume_of_a_writer_loses_nothing_that_a_follower_acknowledged(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    with serving(tmp_path, acknowledge="Follower") as service:
        async with keeping_a_ledger(service, seed):
            for _ in range(LOST_VOLUMES):
                await asyncio.sleep(draw.random() * 2)
                shard = draw.randrange(SHARDS)
                writer = service.shards[2 * shard]
                writer.kill()
                writer.lose_volume()
                await asyncio.to_thread(writer.start)
                await asyncio.sleep(draw.random() * OPERATOR_SECONDS)
                await asyncio.to_thread(service.refill_writer, shard)
                await settled(service, shard)
        print(f"{LOST_VOLUMES} volumes lost")


async def settled(service: Service, shard: int) -> None:
    """The follower has gone over to its writer's new history: from here on, what is acknowledged is on both again."""

    def follows() -> bool:
        history = service.copies(shard)[0].info().history
        return any(one.history == history for one in service.copies(shard)[1].info().sources)

    await asyncio.to_thread(until, follows, "the follower has its writer's new history")
