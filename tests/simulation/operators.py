"""An operator: it looks, decides by the shipped table, and acts, and may be away for any time between any two of these.

The order is the shipped one: first what stands and what shards say, then the route. A decision is written by compare-and-set
before anything follows from it; commands and deletions belong to a route that was read, and were decided upon by what was
seen before.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from embedding_operator.build.names import digest
from embedding_operator.plan.route import decide
from embedding_operator.plan.standing import Copy, Shard
from embedding_operator.plan.wish import Inputs, Promotion, Wish
from embedding_operator.plan.world import SWITCHING, Decision
from embedding_serving.contract.admin import Message, ShardInfo
from embedding_serving.contract.route import Phase, Route, Verdict
from embedding_serving.shard.store.records import Refused, StoreError
from embedding_serving.wire.errors import CallFailed

from .clock import wall_seconds
from .kube import Conflict, PodObject, generation_route, pod_name
from .network import Answered, Node

if TYPE_CHECKING:
    from .world import World

CALL_SECONDS = 2.0
LOST = (CallFailed, TimeoutError, Refused, StoreError)


@dataclass
class Spec:
    """What people ask for. The numbers are of generations: an annotation is about one."""

    fingerprint: str = "fp-1"
    shards: int = 1
    replicas: int = 1
    abort: int | None = None
    rollback: int | None = None
    promote: int | None = None
    retry: int | None = None
    accepted_loss: int | None = None
    auto_promotion: bool = True
    canary: tuple[tuple[int, float | None], ...] = ()
    refused_generations: set[int] = field(default_factory=set)
    """Those that the gate turns away."""
    fence_seconds: float = 2.0
    rollback_seconds: float = 3.0
    max_parallel_shards: int | None = None


class OperatorProcess(Node):
    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self._world = world
        self.spawn(self._run())

    async def _run(self) -> None:
        while True:
            switching = False
            with contextlib.suppress(Conflict):
                switching = await self.look()
            await asyncio.sleep(self._world.dice.uniform(0.01, 0.1 if switching else 0.4))

    async def look(self) -> bool:
        """Whether it is to look again at once."""
        world, kube = self._world, self._world.kube
        await self._api()
        pods = dict(kube.pods)
        asked = [self._asks(name) for name in pods]
        infos = [await self._answered(answer) for answer in asked]
        await self._api()
        version, route = kube.version, kube.route
        await self._api()
        shards = shards_of(route, pods, {name: info for name, info in zip(pods, infos, strict=True) if info})
        decision = decide(route, shards, wish_of(world, route, pods))
        changed = decision.route is not route and decision.route != route
        if changed:
            await self._write(version, decision.route)
            if decision.consumes_acceptance:
                world.spec.accepted_loss = None
        await self._ensure(decision.route, pods, fresh=changed)
        if not changed:
            await self._tell(decision)
        return decision.route.phase in SWITCHING

    async def _write(self, version: int, route: Route) -> None:
        """Raises Conflict. An answer that is lost leaves the decision on record."""
        world = self._world
        await self._api()
        if world.network.loses(world.network.weather.lost):
            raise Conflict
        world.decided(self.name, version, route)
        if world.network.loses(world.network.weather.reply_lost):
            raise Conflict
        await self._api()

    async def _ensure(self, route: Route, pods: Mapping[str, PodObject], *, fresh: bool) -> None:
        world = self._world
        going = route.other if route.phase is Phase.COLLECTING else None
        named = {one.generation: one for one in route.standing if one.generation != going}
        for one in named.values():
            for shard in range(one.shards):
                for ordinal in range(world.spec.replicas):
                    name = pod_name(one, shard, ordinal)
                    if name not in pods and name not in world.kube.pods:
                        await self._api()
                        world.create(PodObject(name, one, shard, ordinal))
        for pod in pods.values():
            if pod.generation.generation not in named:
                await self._api()
                world.delete(pod)

    async def _tell(self, decision: Decision) -> None:
        for copy, message in decision.commands:
            await self._command(copy.name, message)

    async def _command(self, pod: str, message: Message) -> None:
        world = self._world
        if world.talks:
            world.trace(f"{self.name} tells {pod}: {said(message)}")

        def obey(node: Any, answered: Answered) -> None:
            node.spawn(self._obeyed(node, message, answered))

        try:
            await world.network.send(lambda: world.process_at(pod), obey, CALL_SECONDS)
        except LOST as error:
            if world.talks:
                world.trace(f"{pod} did not obey {said(message)}: {type(error).__name__} {error}")

    async def _obeyed(self, node: Any, message: Message, answered: Answered) -> None:
        try:
            answered(await node.command(message))
        except LOST as error:
            answered(None, error)
        else:
            if self._world.talks:
                self._world.trace(f"{node.name} obeyed {said(message)}")

    def _asks(self, pod: str) -> "asyncio.Future[ShardInfo]":
        world = self._world

        def to() -> Any:
            return world.process_at(pod)

        return world.network.send(to, lambda node, answered: answered(node.info()), CALL_SECONDS)

    async def _answered(self, answer: "asyncio.Future[ShardInfo]") -> ShardInfo | None:
        try:
            return await answer
        except LOST:
            return None

    async def _api(self) -> None:
        """On the way to the API server or back; or frozen."""
        world = self._world
        await asyncio.sleep(world.network.delay())
        while self.frozen_until > world.loop.now:  # noqa: ASYNC110 - it may be frozen again
            await asyncio.sleep(self.frozen_until - world.loop.now)


def shards_of(route: Route, pods: Mapping[str, PodObject], infos: Mapping[str, ShardInfo]) -> dict[int, tuple[Shard, ...]]:
    found = {}
    for one in route.standing:
        shards = []
        for number in range(one.shards):
            expected = [
                name for name, pod in pods.items() if pod.generation.generation == one.generation and pod.shard == number
            ]
            copies = {pods[name].ordinal: Copy({"metadata": {"name": name}}, infos[name]) for name in expected if name in infos}
            shards.append(
                Shard(
                    number,
                    pod_name(one, number).rpartition("-")[0],
                    writer=copies.get(0),
                    followers=tuple(copy for ordinal, copy in sorted(copies.items()) if ordinal),
                    silent=tuple(sorted(name for name in expected if pods[name].ordinal and name not in infos)),
                )
            )
        found[one.generation] = tuple(shards)
    return found


def wish_of(world: "World", route: Route, pods: Mapping[str, PodObject]) -> Wish:
    """As the shipped one, from a spec and annotations without Kubernetes around them."""
    spec = world.spec
    passed = route.other not in spec.refused_generations
    running: dict[int, set[str]] = {}
    for name, pod in pods.items():
        if world.process_at(name) is not None:
            running.setdefault(pod.generation.generation, set()).add(name)
    return Wish(
        now=datetime.fromtimestamp(wall_seconds(), UTC),
        inputs=asked(spec.fingerprint, spec.shards),
        draft=generation_route(route.next_generation, spec.fingerprint, spec.shards),
        rebuild_id=rebuild_id(route.next_generation),
        gate=Verdict(passed=passed, message="" if passed else "it finds too little"),
        promotion=Promotion(enabled=spec.auto_promotion, canary=spec.canary),
        fence_timeout=timedelta(seconds=spec.fence_seconds),
        rollback_window=timedelta(seconds=spec.rollback_seconds),
        max_parallel_shards=spec.max_parallel_shards,
        promote=spec.promote is not None and spec.promote == route.other,
        abort=spec.abort is not None and spec.abort == route.other,
        rollback=spec.rollback == route.writer and route.other is not None,
        retry=route.refused is not None and spec.retry == route.refused.generation,
        loss_accepted=spec.accepted_loss == route.writer,
        leftovers=frozenset(pod.generation.generation for pod in pods.values()),
        running={number: frozenset(names) for number, names in running.items()},
    )


asked = cache(Inputs)


@cache
def rebuild_id(generation: int) -> str:
    return digest(["index", generation])[:12]


def said(message: Message) -> str:
    more = {name: value for name, value in message.model_dump().items() if name in ("position", "consumer", "deadline_seconds")}
    if hasattr(message, "sources"):
        more["sources"] = [(one.shard, one.history, one.position) for one in message.sources]
    return f"{type(message).__name__} at {message.epoch} to {message.history} {more or ''}"
