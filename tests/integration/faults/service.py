"""Two shards with two copies each and two gateways, as bare processes, and each of them as a victim."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedding_serving.contract.route import Route
from integration.gateway.world import GatewayProcess, Generation, free_port, gateway, generation, mount, route_of, start
from integration.shard.shard_process import Operator, ShardProcess, until

SHARDS = 2
COPIES = 2
GATEWAYS = 2


@dataclass
class ShardCopy:
    pod: ShardProcess
    shard: int

    @property
    def name(self) -> str:
        return self.pod.settings.pod

    @property
    def group(self) -> str:
        return f"shard {self.shard}"

    def kill(self) -> None:
        self.pod.stop()

    def start(self) -> None:
        self.pod.start()

    def is_ready(self) -> bool:
        return self.pod.is_ready()

    def lose_volume(self) -> None:
        """Only while it is killed."""
        directory = Path(self.pod.settings.data_dir)
        shutil.rmtree(directory)
        directory.mkdir()


@dataclass
class GatewayCopy:
    process: GatewayProcess

    @property
    def name(self) -> str:
        return self.process.settings.pod

    @property
    def group(self) -> str:
        return "gateways"

    def kill(self) -> None:
        self.process.kill()

    def start(self) -> None:
        self.process.start()

    def is_ready(self) -> bool:
        return self.process.process is not None and self.process.is_ready()


@dataclass
class Service:
    """`epoch`: of the last message of the operator, which these tests play themselves."""

    generation: Generation
    shards: list[ShardCopy]
    gateways: list[GatewayCopy]
    epoch: int = 1

    @property
    def urls(self) -> list[str]:
        """Of the gateways, also of those that are down: a client finds that out."""
        return [f"http://127.0.0.1:{one.process.settings.port}" for one in self.gateways]

    def copies(self, shard: int) -> list[ShardProcess]:
        """The writer first."""
        return self.generation.copies[shard]

    def refill_writer(self, shard: int) -> None:
        """What the operator does for a writer that came back empty: it copies from its follower, then it is admitted."""
        writer, *followers = self.copies(shard)
        writer.await_ready()
        assert writer.info().lost
        sources = {follower.settings.pod: follower.info() for follower in followers}
        best = max(followers, key=lambda one: sum(source.cursor for source in sources[one.settings.pod].sources))
        info = sources[best.settings.pod]
        self._tell(
            writer,
            "follow",
            sources=[{"shard": shard, "history": info.history, "host": best.host, "with_vectors": True}],
        )

        def copied() -> bool:
            return any(source.behind == 0 and source.cursor >= info.position for source in writer.info().sources)

        until(copied, f"{writer.settings.pod} has what {best.settings.pod} holds")
        self._tell(writer, "unfence")

    def _tell(self, pod: ShardProcess, name: str, **members: Any) -> None:
        self.epoch += 1
        answer = pod.tell(name, epoch=self.epoch, **members)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def serving(work: Path, **changes: Any) -> Iterator[Service]:
    """All ready; killed at the end."""
    operator = Operator()
    # A space of its own: no shard of another test that gets a killed one's port is taken for it.
    made = generation(work, operator, shards=SHARDS, copies=COPIES, fingerprint=f"kills-{secrets.token_hex(4)}", **changes)
    gateways = [GatewayCopy(_gateway(work, number, operator)) for number in range(GATEWAYS)]
    shards = [ShardCopy(pod, shard) for shard, pods in enumerate(made.copies) for pod in pods]
    service = Service(made, shards, gateways)
    route: Route = route_of(made)
    try:
        start(made)
        for copy in gateways:
            mount(copy.process, route)
            copy.start()
        for copy in gateways:
            copy.process.await_ready()
        yield service
    finally:
        for copy in gateways:
            copy.kill()
        for pod in made.all:
            pod.stop()


def _gateway(work: Path, number: int, operator: Operator) -> GatewayProcess:
    return gateway(work / f"gateway-{number}", operator, pod=f"docs-search-{number}", port=free_port(), admin_port=free_port())
