"""What N models cost: to create, to find again after a restart, to keep, and to leave alone."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .audit import AuditLog, Call, tally
from .controlplane import ControlPlane, control_plane
from .process import Memory, OperatorProcess, cpu_seconds, operator
from .world import World, looked_at, names, until

NAMESPACE = "bench"
PATIENCE_SECONDS = 900
RESYNC_SECONDS = 30
QUIET_SECONDS = 60


@dataclass(frozen=True)
class Creation:
    """From the first model's POST to the operator's last write."""

    seconds: float
    calls: Counter[tuple[str, str]]
    writes: Counter[tuple[str, str]]
    reconciles: float
    operator_cpu_seconds: float
    api_server_cpu_seconds: float
    peak: Memory


@dataclass(frozen=True)
class Restart:
    """From the start of the process, in a world that is as it should be."""

    to_lease_seconds: float
    to_last_model_seconds: float
    """Until the last of the models has been looked at."""
    looks: int
    writes: int
    operator_cpu_seconds: float
    memory: Memory


@dataclass(frozen=True)
class Quiet:
    """A minute and more in which nobody changes anything and the operator looks at everything again."""

    seconds: float
    models_looked_at: int
    looks: int
    calls: int
    writes: int
    operator_cpu_seconds: float
    api_server_cpu_seconds: float


@dataclass(frozen=True)
class Growth:
    models: int
    empty: Memory
    """Before there was any model."""
    creation: Creation
    restart: Restart
    quiet: Quiet


def measure(models: int, source: Path) -> Growth:
    """One control plane, one number of models, all of it."""
    with control_plane() as plane:
        return asyncio.run(_measure(plane, models, source))


async def _measure(plane: ControlPlane, models: int, source: Path) -> Growth:
    async with plane.client() as client:
        world = World(client, AuditLog(plane.audit_log))
        await world.namespace(NAMESPACE)
        with operator(plane, source) as running:
            await until(lambda: _leads(running), 60, "the operator leads")
            empty = running.memory()
            creation = await _creation(plane, world, running, models)
        world.read_calls()
        with operator(plane, source, RESYNC_SECONDS=str(RESYNC_SECONDS)) as running:
            restart = await _restart(world, running, models)
            quiet = await _quiet(plane, world, running, models)
        return Growth(models, empty, creation, restart, quiet)


async def _leads(running: OperatorProcess) -> bool:
    return running.metric("embedding_operator_leader") == 1


async def _creation(plane: ControlPlane, world: World, running: OperatorProcess, models: int) -> Creation:
    world.read_calls()
    cpu, server_cpu, began = running.cpu_seconds(), cpu_seconds(plane.api_server_pid), time.time()
    await world.create_models(NAMESPACE, names("m", models))
    calls = await world.converged(running, NAMESPACE, PATIENCE_SECONDS)
    writes = [call for call in calls if call.is_write]
    return Creation(
        seconds=max(call.ended for call in writes) - began,
        calls=tally(calls),
        writes=tally(writes),
        reconciles=sum(call.is_look for call in calls),
        operator_cpu_seconds=running.cpu_seconds() - cpu,
        api_server_cpu_seconds=cpu_seconds(plane.api_server_pid) - server_cpu,
        peak=running.memory(),
    )


async def _restart(world: World, running: OperatorProcess, models: int) -> Restart:
    calls = await world.all_looked_at(running, models, PATIENCE_SECONDS)
    return Restart(
        to_lease_seconds=_lease_taken(calls) - running.began,
        to_last_model_seconds=max(looked_at(calls).values()) - running.began,
        looks=sum(call.is_look for call in calls),
        writes=sum(call.is_write for call in calls),
        operator_cpu_seconds=running.cpu_seconds(),
        memory=running.memory(),
    )


def _lease_taken(calls: list[Call]) -> float:
    return next(call.ended for call in calls if call.resource == "leases" and call.verb in ("create", "update"))


async def _quiet(plane: ControlPlane, world: World, running: OperatorProcess, models: int) -> Quiet:
    """Long enough for a whole resync, and never under a minute."""
    cpu, server_cpu, began = running.cpu_seconds(), cpu_seconds(plane.api_server_pid), time.time()
    calls: list[Call] = []

    async def over() -> bool:
        running.check()
        calls.extend(world.read_calls())
        return time.time() - began > QUIET_SECONDS and len(looked_at(calls)) == models

    await until(over, PATIENCE_SECONDS, "a resync of every model")
    return Quiet(
        seconds=time.time() - began,
        models_looked_at=len(looked_at(calls)),
        looks=sum(call.is_look for call in calls),
        calls=len(calls),
        writes=sum(call.is_write for call in calls),
        operator_cpu_seconds=running.cpu_seconds() - cpu,
        api_server_cpu_seconds=cpu_seconds(plane.api_server_pid) - server_cpu,
    )
