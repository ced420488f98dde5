"""Everything that runs, what becomes of it, and what must hold of it after every step."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import Phase, Route
from embedding_serving.shard.store.state import State

from .clients import ClientProcess
from .clock import VirtualLoop
from .disk import Disks
from .gateway import GatewayProcess
from .kube import Conflict, Kube, PodObject, first_route, generation_route
from .network import HERE, WORLD, Network, Node
from .operators import OperatorProcess, Spec
from .shard import ShardProcess

T = TypeVar("T")


CALM_SECONDS = 0.7
"""Longer than an operator sleeps."""


class World:
    def __init__(self, loop: VirtualLoop, seed: int, *, talks: bool = False) -> None:
        self.loop = loop
        self.dice = random.Random(seed)
        self.network = Network(self.dice)
        self._lifetimes = random.Random(f"lifetimes {seed}")
        self._expires = self._lifetimes.choice((0.0, 0.0, 0.0, 0.3))
        self.kube = Kube(loop.time)
        self.disks = Disks()
        self.spec = Spec()
        self.acknowledge = "Writer"
        self.retention_seconds = 60.0
        self.pause_seconds = 0.3
        self.commit_seconds = 0.003
        self.embed_seconds = 0.03
        self.pushes = True
        """Gateways are told of a route at once; else they see it as late as their mounted file."""
        self.entered: Callable[[World, Phase], None] = lambda world, phase: None
        self.closing = self.over = False
        self.failures: list[str] = []
        self.calm = True
        """Nothing fails, so every read is answered."""
        self.lines: deque[str] = deque(maxlen=None if talks else 1)
        self.talks = talks
        self.processes: dict[str, ShardProcess] = {}
        self.gateways: list[GatewayProcess] = []
        self.operators: list[OperatorProcess] = []
        self.clients: list[ClientProcess] = []
        self.opened: dict[str, tuple[int, Mode]] = {}
        """Of every writer's volume: generation and mode, as committed last."""
        self.volumes_lost = 0
        self.volumes_put_back = 0
        self.ever_open: set[str] = set()
        """Pods whose volumes took writes, or are of the first generation."""
        self._restarting: set[str] = set()
        self.switches = 0
        self.acknowledged = 0
        self.stop = asyncio.Event()
        self.rush = asyncio.Event()
        """All clients write at once: a fence is about to go up."""
        HERE.set(Node("nobody"))
        WORLD.set(self)

    # --- telling ---

    def trace(self, line: str) -> None:
        if self.talks:
            self.lines.append(f"{self.loop.now - 1000:8.3f}  {line}")

    def broken(self, what: str) -> None:
        if self.over:
            return
        self.trace(f"BROKEN: {what}")
        self.failures.append(what)
        self.stop.set()

    def unanswered(self, kind: str, error: BaseException) -> None:
        self.trace(f"a {kind} read is not answered: {type(error).__name__} {error}")
        if self.calm and self._all_heard:
            self.broken(f"a {kind} read was not answered though nothing failed: {error}")

    @property
    def _all_heard(self) -> bool:
        """Gateways know who takes writes. In a cluster the former generation stays until those that answer do; here it may not,
        so that the rest is held to its word without that help.
        """
        known = [gateway.routes.current for gateway in self.gateways]
        return all(route is not None and route.writer == self.kube.route.writer for route in known)

    # --- who runs ---

    def begin(self, gateways: int, operators: int, clients: int, documents: int) -> None:
        first = generation_route(1, self.spec.fingerprint, self.spec.shards)
        self.kube.routes.append((self.loop.now, first_route(first)))
        self.gateways = [GatewayProcess(self, f"gateway-{number}") for number in range(gateways)]
        self.operators = [OperatorProcess(self, f"operator-{number}") for number in range(operators)]
        self._clients = clients, documents

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.1)

    async def opened_for_clients(self) -> None:
        """Until the index takes writes; then its clients begin."""
        await self.until(
            lambda: self.kube.route.phase is Phase.STABLE and all(one.routes.current is not None for one in self.gateways)
        )
        await asyncio.sleep(0.3)
        number, documents = self._clients
        self.clients = [ClientProcess(self, f"client-{one}", documents) for one in range(number)]

    def nodes(self) -> list[Node]:
        return [*(one for _, one in sorted(self.processes.items()) if one.alive), *self.gateways, *self.operators]

    def add_operator(self) -> None:
        self.operators.append(OperatorProcess(self, f"operator-{len(self.operators)}"))

    def replace_operator(self, place: int, seconds: float) -> None:
        self.operators[place].kill()
        self.loop.call_later(seconds, self._operator_starts, place)

    def _operator_starts(self, place: int) -> None:
        self.operators[place] = OperatorProcess(self, self.operators[place].name)

    def replace_gateway(self, place: int) -> None:
        self.gateways[place].kill()
        self.gateways[place] = GatewayProcess(self, self.gateways[place].name)

    def process_at(self, pod: str) -> ShardProcess | None:
        process = self.processes.get(pod)
        return process if process is not None and process.alive else None

    def gateway(self) -> GatewayProcess:
        return self.dice.choice(self.gateways)

    async def at(self, node: Node, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Somebody's call to a node, with a way there and back."""
        await asyncio.sleep(self.network.delay())
        await asyncio.sleep(node.frozen_until - self.loop.now)
        task = node.spawn(work())
        result: T = await asyncio.shield(task)
        await asyncio.sleep(self.network.delay())
        return result

    def lifetime(self) -> float | None:
        """Of a document, in seconds: most stay."""
        return self._lifetimes.choice((0.5, 2.0, 5.0)) if self._lifetimes.random() < self._expires else None

    async def look_up(self, host: str, port: int) -> list[tuple[str, int]]:
        name = host.partition(".")[0]
        return [(pod, port) for pod in self.kube.pods if pod.rpartition("-")[0] == name]

    # --- pods ---

    def create(self, pod: PodObject) -> None:
        self.trace(f"pod {pod.name} is created")
        self.kube.pods[pod.name] = pod
        self.start(pod.name, self.dice.uniform(0.02, 0.3))

    def start(self, name: str, seconds: float) -> None:
        if name not in self._restarting:
            self._restarting.add(name)
            self.loop.call_later(seconds, self._started, name)

    def _started(self, name: str) -> None:
        self._restarting.discard(name)
        pod = self.kube.pods.get(name)
        if pod is None or self.process_at(name) is not None:
            return
        process = ShardProcess(self, name, pod.generation, pod.shard, self.spec.replicas)
        self.processes[name] = process
        self.trace(f"{name} starts with history {process.store.state.protocol.history}")
        self._stands(name, process.store.state)

    def kill(self, name: str, *, again_after: float | None = 0.2) -> None:
        process = self.process_at(name)
        if process is not None:
            self.trace(f"{name} dies")
            process.kill()
        if again_after is not None:
            self.start(name, again_after)

    def lose(self, name: str) -> None:
        """A pod and its volume."""
        self.trace(f"{name} loses its volume")
        self.kill(name, again_after=None)
        self.disks.lose(f"/simulated/{name}")
        self.opened.pop(name, None)
        self.start(name, 0.3)

    def put_back(self, name: str, content: bytes) -> None:
        """A volume as it was before, unless it is not the same one any more, or its generation is about to be switched to."""
        path = f"/simulated/{name}"
        building = self.kube.route.phase is Phase.BUILDING
        if not building or name not in self.kube.pods or not self.never_open(name) or path not in self.disks.volumes:
            return
        self.trace(f"the volume of {name} is put back")
        self.kill(name, again_after=None)
        self.disks.restore(path, content)
        self.start(name, 0.2)

    def never_open(self, name: str) -> bool:
        return name not in self.ever_open

    def delete(self, pod: PodObject) -> None:
        """A pod of a generation that goes, and its volume."""
        number = pod.generation.generation
        if number == self.kube.route.writer:
            self.broken(f"{pod.name} is removed while its generation takes writes")
        if self.kube.pods.pop(pod.name, None) is None:
            return
        self.trace(f"pod {pod.name} is removed with its volume")
        self.kill(pod.name, again_after=None)
        self.disks.lose(f"/simulated/{pod.name}")
        self.opened.pop(pod.name, None)

    # --- what is watched ---

    def decided(self, who: str, version: int, route: Route) -> None:
        """Raises Conflict."""
        before = self.kube.route
        try:
            self.kube.put(version, route)
        except Conflict:
            self.trace(f"{who} is too late")
            raise
        self.trace(
            f"{who} decides: {before.phase} → {route.phase} seq {route.seq} epoch {route.epoch} writer {route.writer} "
            f"other {route.other} resume {route.resume} weights {route.weights} histories {route.active.histories}"
        )
        if route.phase is not before.phase:
            self.switches += route.phase is Phase.COMMITTED
            self.entered(self, route.phase)
            self.rush.set() if route.phase is Phase.FENCING else self.rush.clear()
        for gateway in self.gateways if self.pushes else ():
            self.loop.call_later(self.dice.uniform(0.02, 0.3), self._pushed, gateway, route)
        if route.refused and route.refused.reason == "DigestsDiffer":
            self.broken("the generations do not hold the same documents at the fence")
        if before.writer not in {one.generation for one in route.generations}:
            self.broken(f"the route forgets generation {before.writer} which takes writes")

    def _pushed(self, gateway: GatewayProcess, route: Route) -> None:
        """A gateway is told, or hears of it when its mounted file changes."""
        reached = gateway.alive and gateway.name not in self.network.cut and gateway.frozen_until <= self.loop.now
        if reached and not self.network.loses(self.network.weather.lost):
            gateway.spawn(gateway.push(route))

    def committed(self, pod: str, before: State, after: State) -> None:
        """Of a shard's transaction."""
        if before.protocol.mode is not after.protocol.mode or pod not in self.opened:
            self.trace(f"{pod} is {after.protocol.mode} at {after.protocol.epoch}, position {after.position}")
            self._stands(pod, after)

    def _stands(self, pod: str, state: State) -> None:
        if state.protocol.was_writer:
            self.ever_open.add(pod)
        self.opened[pod] = state.identity.generation, state.protocol.mode
        taking = {generation for generation, mode in self.opened.values() if mode is Mode.OPEN}
        if len(taking) > 1:
            self.broken(f"generations {sorted(taking)} take writes at once")

    @property
    def settled(self) -> bool:
        """Nothing was decided for some looks, and nobody waits."""
        since, route = self.kube.routes[-1]
        at_rest = route.phase in (Phase.STABLE, Phase.OBSERVING) and self.loop.now - since > CALM_SECONDS
        return at_rest and all(one.resting for one in self.clients)

    def close(self) -> None:
        self.over = True
        for name in list(self.processes):
            if self.process_at(name):
                self.processes[name].kill()
        for node in (*self.gateways, *self.operators, *self.clients):
            node.kill()
        self.disks.close()
