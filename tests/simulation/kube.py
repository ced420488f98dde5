"""What the API server holds of one index: its route, changed by compare-and-set, and the pods of its generations."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from embedding_operator.plan.following import address
from embedding_serving.contract.index import Distance
from embedding_serving.contract.route import GenerationRoute, Phase, Route

from .space import DIMENSIONS


class Conflict(Exception):
    """The route is not the one that was read."""


@dataclass
class PodObject:
    name: str
    generation: GenerationRoute
    shard: int
    ordinal: int


@dataclass
class Kube:
    clock: Callable[[], float]
    lag_seconds: float = 1.0
    """Of what gateways have mounted."""
    routes: list[tuple[float, Route]] = field(default_factory=list)
    """Every one that was written, with when."""
    pods: dict[str, PodObject] = field(default_factory=dict)

    @property
    def route(self) -> Route:
        return self.routes[-1][1]

    @property
    def version(self) -> int:
        return len(self.routes)

    def put(self, version: int, route: Route) -> None:
        if version != self.version:
            raise Conflict
        self.routes.append((self.clock(), route))

    def route_of_late(self, lateness: float) -> Route | None:
        """As somebody sees it who is behind: by all of the lag, or a part of it."""
        seen = self.clock() - lateness * self.lag_seconds
        return next((route for when, route in reversed(self.routes) if when <= seen), None)

    def standing(self) -> frozenset[int]:
        return frozenset(pod.generation.generation for pod in self.pods.values())


@cache
def generation_route(number: int, fingerprint: str, shards: int) -> GenerationRoute:
    return GenerationRoute(
        generation=number,
        hosts=tuple(f"docs-g{number}-s{shard}.t.svc" for shard in range(shards)),
        fingerprint=fingerprint,
        dimensions=DIMENSIONS,
        distance=Distance.DOT,
        model="m",
        revision=fingerprint,
        encoder=f"http://{fingerprint}",
    )


def first_route(generation: GenerationRoute) -> Route:
    number = generation.generation
    return Route(
        index="docs",
        namespace="t",
        seq=1,
        epoch=1,
        phase=Phase.REOPENING,
        writer=number,
        weights={number: 100},
        next_generation=number + 1,
        generations=(generation,),
    )


def pod_name(generation: GenerationRoute, shard: int, ordinal: int = 0) -> str:
    name = address(generation, shard).partition(".")[0]
    return f"{name.rpartition('-')[0]}-{ordinal}"
