"""A gateway's process: the shipped routes, pins, fan-out, writes and reads, with an encoder that tags its vectors."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedding_serving.contract.index import IndexName
from embedding_serving.contract.route import Route
from embedding_serving.gateway.fanout import Fanout
from embedding_serving.gateway.metrics import Metrics
from embedding_serving.gateway.pods import Fleet
from embedding_serving.gateway.reads import Reads
from embedding_serving.gateway.routes import Routes
from embedding_serving.gateway.search import Searcher
from embedding_serving.gateway.writes import Writes
from embedding_serving.outgoing.failures import EncoderUnavailable

from .network import WORLD, Node
from .space import vectors_of

if TYPE_CHECKING:
    from .world import World

_METRICS: list[Metrics] = []


class SimEncoders:
    async def embed(
        self, space: Any, texts: Sequence[str], input_type: Any, deadline: Any, request_id: str, priority: Any = None
    ) -> Any:
        world = WORLD.get()
        await asyncio.sleep(world.dice.choice((0.001, 0.005, world.embed_seconds)))
        if world.network.loses(world.network.weather.lost):
            raise EncoderUnavailable("the encoder is away")
        return vectors_of(space.fingerprint, texts)


class GatewayProcess(Node):
    def __init__(self, world: "World", name: str) -> None:
        super().__init__(name)
        self._world = world
        metrics = _metrics()
        encoders: Any = SimEncoders()
        self.routes = Routes("docs", "t", Path("/simulated"), self._told)
        self.fleet = Fleet(name, IndexName("t", "docs"), world.look_up)
        self.writes = Writes(self.routes, self.fleet, encoders, metrics)
        fanout = Fanout(metrics, self.routes.left)
        self.reads = Reads(self.routes, self.fleet, fanout)
        self.searcher = Searcher(self.routes, self.fleet, fanout, encoders, None)
        self.spawn(self._follow())

    async def _follow(self) -> None:
        """The mounted ConfigMap, as late as this node's kubelet is."""
        lateness = self._world.dice.random()
        while True:
            route = self._world.kube.route_of_late(lateness)
            if route is not None:
                self.routes.offer(route)
            await asyncio.sleep(self._world.dice.uniform(0.3, 2.0))

    async def push(self, route: Route) -> None:
        self.routes.offer(route)

    def _told(self) -> None:
        route = self.routes.current
        if route is not None:
            self.fleet.keep(route.generations)

    def kill(self) -> None:
        super().kill()
        self.fleet.close()


def _metrics() -> Metrics:
    if not _METRICS:
        _METRICS.append(Metrics())
    return _METRICS[0]
