"""One schedule from its seed: what happens, until everything has healed, and what is left then."""

from . import clock  # before anything that is shipped

# isort: split
import asyncio
import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from embedding_operator.plan import switch
from embedding_serving.gateway import pods
from embedding_serving.gateway.failures import ShardRefused
from embedding_serving.outgoing.failures import Unavailable
from embedding_serving.shard import feed, housekeeping, lane, service
from embedding_serving.shard.store import schema, state, store
from embedding_serving.shard.store.transaction import Transaction
from embedding_serving.wire.errors import CallFailed

from . import disk, network, shard
from .clock import VirtualLoop
from .schedule import Schedule, drawn
from .world import World

END_SECONDS = 60.0
GARBAGE = 400_000
"""Objects that are left before they are collected: between two lives."""
EXPECTED = (CallFailed, TimeoutError, Unavailable, ShardRefused)
"""How calls end that nobody waits for any more."""


@dataclass
class Outcome:
    seed: int
    failures: Sequence[str]
    lines: Sequence[str]
    switches: int
    seconds: float
    phase: str


def substitute() -> None:
    """Clock, network and disk of what is shipped, and its threads."""
    logging.disable(logging.CRITICAL)
    for module, name, other in (
        (schema, "connect", lambda path, *, writer: network.WORLD.get().disks.connect(path)),
        (schema, "create_or_check", disk.create_or_check),
        (schema, "check", lambda connection: None),
        (store, "Writer", shard.SteppedWriter),
        (store.Store, "bytes", lambda store: 0),
        (store.Store, "free_bytes", lambda store: 0),
        (feed, "Connection", network.SimConnection),
        (pods, "Connection", network.SimConnection),
        (service, "EncoderCalls", shard.SimEncoderCalls),
        (lane.Lane, "run", lambda lane, work, units=1: work()),
        (asyncio.tasks._all_tasks, "add", lambda task: None),  # type: ignore[attr-defined] # the loop has them
        (state.Source, "reading", property(lru_cache(1_000)(state.Source.reading.fget))),  # type: ignore[attr-defined]
        (Transaction, "purge", shard.purge_checked(Transaction.purge)),
        (housekeeping, "SCRUB_SECONDS", 1e6),
        (housekeeping, "INDEX_LOOK_SECONDS", 1e6),
        (housekeeping, "_watch_writes", shard.disks_are_sound),
        (housekeeping, "PURGE_SECONDS", 0.8),
        (housekeeping, "FENCE_LOOK_SECONDS", 0.25),
        (switch, "FIRST_WAIT", switch.FIRST_WAIT / 25),
        (switch, "LONGEST_WAIT", switch.FIRST_WAIT / 3),
    ):
        assert hasattr(module, name), f"{module} has no {name} any more"
        setattr(module, name, other)
    gc.freeze()
    gc.disable()


def run(seed: int, *, talks: bool = False) -> Outcome:
    if gc.get_count()[0] > GARBAGE:
        gc.collect()
    loop = VirtualLoop()
    clock.install(loop, seed)
    try:
        return loop.run_until_complete(_lived(loop, seed, talks=talks))
    finally:
        loop.end()
        loop.run_until_complete(_nothing())
        clock.install(None)


async def _nothing() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _lived(loop: VirtualLoop, seed: int, *, talks: bool) -> Outcome:
    world = World(loop, seed, talks=talks)
    loop.set_exception_handler(lambda _, context: _unexpected(world, context))
    schedule = drawn(world)
    world.trace(f"seed {seed}: {schedule}")
    story = asyncio.ensure_future(_told(world, schedule))
    stopped = asyncio.ensure_future(world.stop.wait())
    try:
        await asyncio.wait([story, stopped], return_when=asyncio.FIRST_COMPLETED)
        if story.done():
            story.result()
    finally:
        story.cancel()
        stopped.cancel()
        world.close()
    seconds = loop.now - clock.FIRST_MOMENT
    return Outcome(seed, world.failures, list(world.lines), world.switches, seconds, world.kube.route.phase)


async def _told(world: World, schedule: Schedule) -> None:
    await schedule.play(world)
    schedule.heal(world)
    world.closing = True
    try:
        async with asyncio.timeout(END_SECONDS):
            await world.until(lambda: world.settled)
    except TimeoutError:
        route = world.kube.route
        waiting = [one.id for client in world.clients for one in client.accounts if one.deeds[-1].acknowledged is None]
        world.broken(f"stuck in {route.phase} at epoch {route.epoch}, waiting for an acknowledgement: {waiting}")
        return
    for client in world.clients:
        for account in client.accounts:
            if not await client.read(account, "strong"):
                await asyncio.sleep(1.0)
                if not await client.read(account, "strong"):
                    world.broken(f"{account.id} cannot be read at the end")


def _unexpected(world: World, context: dict[str, object]) -> None:
    error = context.get("exception")
    if isinstance(error, Exception) and not isinstance(error, EXPECTED):
        world.broken(f"{context.get('message')}: {type(error).__name__} {error}")
