"""The shipped decision table in a small loop: it looks, decides, and swaps the route or tells the pods, as the operator does.

What is missing beside the operator is the API server: no object is read, and a route is written within the process. What
a step of a switch costs more in a cluster is one list of each kind of child and one PUT.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from embedding_operator.admin_key import AdminKey
from embedding_operator.build import names
from embedding_operator.dataplane import PodError
from embedding_operator.plan.annotations import open_ones, unheeded
from embedding_operator.plan.brake import pace
from embedding_operator.plan.generation import new_rebuild_id
from embedding_operator.plan.route import decide
from embedding_operator.plan.standing import Copy, Shard
from embedding_operator.plan.vector_index import AT_ONCE_SECONDS, MOVING_SECONDS, SWITCHING_SECONDS
from embedding_operator.plan.wish import Inputs, Promotion, Wish
from embedding_operator.plan.world import SWITCHING, Decision
from embedding_operator.resources import GROUP
from embedding_serving.contract.admin import ShardInfo
from embedding_serving.contract.reports import ModelInfo
from embedding_serving.contract.route import GenerationRoute, Phase, Route, Verdict

from .dataplane import LoopbackDataPlane
from .pods import INDEX, NAMESPACE, Pod, Pods, api

ROLLBACK_WINDOW = timedelta(days=1)
Annotations = Mapping[str, str]


class Conflict(Exception):
    """The route has changed since it was read."""


@dataclass
class RouteRecord:
    """In the place of the ConfigMap. changes: (when, on the monotonic clock, what was decided)."""

    changes: list[tuple[float, Route]] = field(default_factory=list)

    @property
    def route(self) -> Route:
        return self.changes[-1][1]

    @property
    def version(self) -> int:
        return len(self.changes)

    def swap(self, version: int, route: Route) -> None:
        if version != self.version:
            raise Conflict
        self.changes.append((time.monotonic(), route))


@dataclass
class Spec:
    """What people ask for. bound_milliseconds: of the brake; absent = none."""

    model: ModelInfo
    encoder: Pod
    shards: int
    paused: bool = False
    bound_milliseconds: int | None = None
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> Inputs:
        return Inputs(self.model.fingerprint, self.shards)

    def generation(self, number: int, pods: Pods) -> GenerationRoute:
        return GenerationRoute(
            generation=number,
            hosts=tuple(pods.host(number, shard) for shard in range(self.shards)),
            fingerprint=self.model.fingerprint,
            dimensions=self.model.dimensions,
            model=self.model.model,
            revision=self.model.revision,
            encoder=api(self.encoder),
        )


class Operator:
    def __init__(self, pods: Pods, spec: Spec) -> None:
        self.spec = spec
        self.record = RouteRecord()
        self.data_plane = LoopbackDataPlane(AdminKey(pods.key).token)
        self.infos: dict[str, ShardInfo] = {}
        """Of the last look."""
        self.decision: Decision | None = None
        self.gateways: list[Pod] = []
        self._pods = pods
        self._changed = asyncio.Event()
        self._pushes: set[asyncio.Task[None]] = set()
        first = spec.generation(1, pods)
        self.record.swap(
            0,
            Route(
                index=INDEX,
                namespace=NAMESPACE,
                seq=1,
                epoch=1,
                phase=Phase.STABLE,
                writer=1,
                weights={1: 100},
                next_generation=2,
                generations=(first,),
            ),
        )

    @property
    def route(self) -> Route:
        return self.record.route

    def shard_pods(self, generation: int) -> list[Pod]:
        one = self.route.generation(generation)
        return [self._pods.shard(one, number) for number in range(one.shards)]

    def annotate(self, annotations: Annotations) -> None:
        """All that there are from now on."""
        self.spec.annotations = {f"{GROUP}/{name}": value for name, value in annotations.items()}
        self.changed()

    def changed(self) -> None:
        """A watch of the spec."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self._changed.clear()
                wait = 0.0
                with contextlib.suppress(Conflict):
                    wait = await self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
        finally:
            await self.data_plane.close()

    async def _look(self) -> float:
        """Seconds until the next one."""
        pods = {pod.name: pod for one in self.route.generations for pod in self.shard_pods(one.generation)}
        said = await asyncio.gather(*(self.data_plane.shard_info(pod.manifest) for pod in pods.values()))
        self.infos = {name: info for name, info in zip(pods, said, strict=True) if info}
        version, route = self.record.version, self.route
        self.decision = decision = decide(route, self._shards(route), await self._wish(route))
        if decision.route != route:
            self.record.swap(version, decision.route)
            self._push(decision.route)
        else:
            for copy, message in decision.commands:
                with contextlib.suppress(PodError):
                    await self.data_plane.command(copy.pod, message)
        if decision.route.phase in SWITCHING:
            return SWITCHING_SECONDS
        return AT_ONCE_SECONDS if decision.route != route or decision.commands else MOVING_SECONDS

    def _shards(self, route: Route) -> dict[int, tuple[Shard, ...]]:
        return {
            one.generation: tuple(self._shard(one.generation, number, pod) for number, pod in enumerate(self._known(one)))
            for one in route.generations
        }

    def _known(self, generation: GenerationRoute) -> list[Pod]:
        return [self._pods.shard(generation, number) for number in range(generation.shards)]

    def _shard(self, generation: int, number: int, pod: Pod) -> Shard:
        info = self.infos.get(pod.name)
        return Shard(number, names.shard(INDEX, generation, number), Copy(pod.manifest, info) if info else None)

    async def _wish(self, route: Route) -> Wish:
        said = open_ones(route, self.spec.annotations)
        return Wish(
            now=datetime.now(UTC),
            inputs=self.spec.inputs,
            draft=self.spec.generation(route.next_generation, self._pods),
            rebuild_id=new_rebuild_id(INDEX, route.next_generation),
            gate=Verdict(passed=True),
            promotion=Promotion(enabled=False),
            rollback_window=ROLLBACK_WINDOW,
            pace=0.0 if self.spec.paused and route.phase is Phase.BUILDING else await self._pace(route),
            said=self.spec.annotations,
            unheeded=unheeded(route, said),
            promote=said.get(names.PROMOTE) == str(route.other),
            rollback=said.get(names.ROLLBACK) == str(route.writer) and route.other is not None,
            retry=route.refused is not None and said.get(names.RETRY) == str(route.refused.generation),
            running={one.generation: frozenset(pod.name for pod in self._known(one)) for one in route.generations},
        )

    async def _pace(self, route: Route) -> float | None:
        bound = self.spec.bound_milliseconds
        if bound is None or route.phase is not Phase.BUILDING:
            return None
        gateways = await asyncio.gather(*(self.data_plane.gateway_info(pod.manifest) for pod in self.gateways))
        builds = [info.build for info in self.infos.values() if info.build and info.generation == route.other]
        return pace(bound, [one for one in gateways if one], builds)

    def _push(self, route: Route) -> None:
        """The SearchService's own lane, which nothing here waits for."""
        for gateway in self.gateways:
            task = asyncio.create_task(self._pushed(gateway, route))
            self._pushes.add(task)
            task.add_done_callback(self._pushes.discard)

    async def _pushed(self, gateway: Pod, route: Route) -> None:
        with contextlib.suppress(PodError):
            await self.data_plane.push_route(gateway.manifest, route)
