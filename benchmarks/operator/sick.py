"""How long a healthy model waits for its reconcile while others are sick, each in its own way.

A healthy model's spec is changed once a second, from the moment the sick ones appear; its delay is the time from there to
the operator's write of its Deployment, by the API server's audit log.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from .audit import AuditLog, Call
from .controlplane import OPERATOR, ControlPlane, control_plane
from .process import OperatorProcess, operator
from .world import MODELS, World, names, until

HEALTHY = "well"
HEALTHY_MODELS = 20
SAMPLES = 30
SAMPLE_SECONDS = 1.0
LAST_SAMPLE_SECONDS = 120.0
CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/embeddingmodels.embedding-operator.io"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SICKNESS = "bench/sickness"
SICK = "sick"


@dataclass(frozen=True)
class Sickness:
    """`models` in the namespace that is called as their trouble is; or beside the healthy ones."""

    name: str
    namespace: str
    models: int
    spec: dict[str, Any] = field(default_factory=dict)


SICKNESSES = (
    Sickness("nobody is sick", "none", 0),
    Sickness("100 refused by a quota", "quota", 100),
    Sickness("100 whose writes fail at once (500)", "fail", 100),
    Sickness("100 that this version can't read", "unreadable", 100, {"rollout": {"strategy": "Sideways"}}),
    Sickness("1 whose writes hang", "hang", 1),
    Sickness("8 whose writes hang (as many as workers)", "hang", 8),
    Sickness("50 whose writes hang", "hang", 50),
    Sickness("1 whose writes hang, in the same namespace", HEALTHY, 1),
    Sickness("8 whose writes hang, in the same namespace", HEALTHY, 8),
)


@dataclass(frozen=True)
class Delays:
    sickness: str
    seconds: tuple[float, ...]
    sick_looks: int


def measure(rounds: int, source: Path) -> list[Delays]:
    """Each sickness in turn, `rounds` times over, by one operator."""
    with control_plane() as plane, _deaf_port() as deaf:
        return asyncio.run(_measure(plane, deaf, rounds, source))


async def _measure(plane: ControlPlane, deaf_port: int, rounds: int, source: Path) -> list[Delays]:
    async with plane.client() as client:
        world = World(client, AuditLog(plane.audit_log))
        await _set_up(client, world, deaf_port)
        with operator(plane, source) as running:
            await world.create_models(HEALTHY, names("well", HEALTHY_MODELS))
            await world.converged(running, HEALTHY, 120)
            return [await _one(client, world, running, sickness) for _ in range(rounds) for sickness in SICKNESSES]


async def _set_up(client: httpx.AsyncClient, world: World, deaf_port: int) -> None:
    for kind in ("none", "quota", "fail", "unreadable", "hang"):
        await world.namespace(kind, {SICKNESS: kind})
    await world.namespace(HEALTHY, {SICKNESS: "hang"})
    quota = {"metadata": {"name": "nothing"}, "spec": {"hard": {"services": "0", "configmaps": "0"}}}
    await world.post("/api/v1/namespaces/quota/resourcequotas", quota)
    crd = (await client.get(CRD)).json()
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["rollout"]["properties"]["strategy"]["enum"]
    (await client.put(CRD, json=crd)).raise_for_status()
    await world.post(HOOKS, {"metadata": {"name": "sick"}, "webhooks": [_hook("fail", 1), _hook("hang", deaf_port)]})


def _hook(kind: str, port: int) -> dict[str, Any]:
    """An admission webhook for what the operator creates for sick models of some namespaces. Nobody answers for it."""
    sick = f"request.userInfo.username == '{OPERATOR}' && request.name.startsWith('{SICK}')"
    return {
        "name": f"{kind}.bench.example",
        "clientConfig": {"url": f"https://127.0.0.1:{port}/"},
        "rules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["*"]}],
        "namespaceSelector": {"matchLabels": {SICKNESS: kind}},
        "matchConditions": [{"name": "sick", "expression": sick}],
        "failurePolicy": "Fail",
        "timeoutSeconds": 30,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }


@contextlib.contextmanager
def _deaf_port() -> Iterator[int]:
    """A port of loopback that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield int(listener.getsockname()[1])


async def _one(client: httpx.AsyncClient, world: World, running: OperatorProcess, sickness: Sickness) -> Delays:
    world.read_calls()
    calls: list[Call] = []
    await world.create_models(sickness.namespace, names(SICK, sickness.models), **sickness.spec)
    changes: list[tuple[str, float]] = []
    for index in range(SAMPLES):
        name = names("well", HEALTHY_MODELS)[index % HEALTHY_MODELS]
        changes.append((name, time.time()))
        seconds = 600 + int(time.time()) % 100_000
        await world.change_model(HEALTHY, name, {"rollout": {"progressDeadlineSeconds": seconds}})
        await asyncio.sleep(SAMPLE_SECONDS)

    async def all_written() -> bool:
        running.check()
        calls.extend(world.read_calls())
        return all(_written(calls, name, since) for name, since in changes)

    await until(all_written, LAST_SAMPLE_SECONDS, f"every change was applied while {sickness.name}")
    await _remove_sick(client, sickness.namespace)
    delays = tuple(_written(calls, name, since) - since for name, since in changes)
    return Delays(sickness.name, delays, sum(call.is_look and call.name.startswith(SICK) for call in calls))


def _written(calls: list[Call], model: str, since: float) -> float:
    """When the model's Deployment was next written; 0 while it was not."""
    found = (
        call.began
        for call in calls
        if call.resource == "deployments" and call.is_write and call.name.startswith(f"{model}-embed-") and call.began > since
    )
    return min(found, default=0.0)


async def _remove_sick(client: httpx.AsyncClient, namespace: str) -> None:
    path = MODELS.format(namespace)

    async def gone() -> bool:
        items = (await client.get(path)).json()["items"]
        sick = [item["metadata"]["name"] for item in items if item["metadata"]["name"].startswith(SICK)]
        await asyncio.gather(*(client.delete(f"{path}/{name}") for name in sick))
        return not sick

    await until(gone, 60, f"no sick model in {namespace}")
