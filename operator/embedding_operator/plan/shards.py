"""The shards of a generation as they stand: pods, volumes, and what they say."""

from collections.abc import Iterable
from dataclasses import dataclass

from embedding_serving.contract.admin import Mode, ShardInfo
from embedding_serving.contract.route import GenerationRoute, Route

from ..build import names
from ..resources import STATEFUL_SET, Manifest
from .diagnosis import is_ready
from .snapshot import IndexSnapshot
from .standing import Copy, Shard


@dataclass(frozen=True)
class ShardWorld:
    """One shard: its StatefulSet, its pods and volumes, and the copies that answer."""

    generation: int
    number: int
    name: str
    stateful_set: Manifest | None
    pods: tuple[Manifest, ...]
    claims: tuple[Manifest, ...]
    answers: Shard

    @property
    def wanted(self) -> int:
        return _replicas(self.stateful_set)

    @property
    def ready(self) -> int:
        return sum(is_ready(pod) for pod in self.pods)

    @property
    def answering(self) -> int:
        """Pods that answer searches: a closed writer answers none, ready as it may be, unless it is about to be opened."""
        closed = self.writer is not None and self.writer.mode is Mode.CLOSED and self.writer.prepared != self.writer.epoch
        return sum(is_ready(pod) for pod in self.pods if not (closed and ordinal(pod) == 0))

    @property
    def writer_pod(self) -> Manifest | None:
        return next((pod for pod in self.pods if ordinal(pod) == 0), None)

    @property
    def writer(self) -> ShardInfo | None:
        return self.answers.writer.info if self.answers.writer else None

    @property
    def rolled_out(self) -> bool:
        """Every pod is of the latest template and ready."""
        if self.stateful_set is None:
            return False
        status = self.stateful_set.get("status", {})
        current = status.get("observedGeneration", 0) >= self.stateful_set["metadata"]["generation"]
        counts = {status.get(count, 0) for count in ("replicas", "updatedReplicas", "readyReplicas")}
        return bool(current and counts == {self.wanted})

    @property
    def follower_lag(self) -> int | None:
        """Changes that the slowest follower has still to read; None where no follower says."""
        writer = self.writer
        if writer is None:
            return None
        cursors = [
            source.cursor for copy in self.answers.followers for source in copy.info.sources if source.history == writer.history
        ]
        return max((max(0, writer.position - cursor) for cursor in cursors), default=None)


def shards_of(s: IndexSnapshot, generation: GenerationRoute) -> tuple[ShardWorld, ...]:
    return tuple(_shard(s, generation.generation, number) for number in range(generation.shards))


def all_shards(s: IndexSnapshot, route: Route) -> dict[int, tuple[ShardWorld, ...]]:
    """By generation, of all that the route names."""
    return {one.generation: shards_of(s, one) for one in route.standing}


def ordinal(named: Manifest) -> int:
    """Number of a pod or a volume in its StatefulSet; -1 where the name has none."""
    end = str(named["metadata"]["name"]).rpartition("-")[2]
    return int(end) if end.isdigit() else -1


def _shard(s: IndexSnapshot, generation: int, number: int) -> ShardWorld:
    labels = names.shard_selector(s.metadata.name, generation, number)
    name = names.shard(s.metadata.name, generation, number)
    pods = tuple(_labelled(s.pods, labels))
    copies = [
        Copy(pod, s.infos[pod["metadata"]["name"]])
        for pod in pods
        if pod["metadata"]["name"] in s.infos and not pod["metadata"].get("deletionTimestamp")
    ]
    stateful_set, claims = s.children.get(STATEFUL_SET, name), tuple(_labelled(s.claims, labels))
    expected = {ordinal(claim) for claim in claims} | set(range(_replicas(stateful_set)))
    answering = {ordinal(copy.pod) for copy in copies}
    return ShardWorld(
        generation=generation,
        number=number,
        name=name,
        stateful_set=stateful_set,
        pods=pods,
        claims=claims,
        answers=Shard(
            number,
            name,
            writer=next((copy for copy in copies if ordinal(copy.pod) == 0), None),
            followers=tuple(copy for copy in copies if ordinal(copy.pod) > 0),
            silent=tuple(f"{name}-{missing}" for missing in sorted(expected - answering) if missing > 0),
        ),
    )


def _replicas(stateful_set: Manifest | None) -> int:
    return int(stateful_set["spec"].get("replicas", 1)) if stateful_set else 0


def _labelled(manifests: Iterable[Manifest], labels: dict[str, str]) -> Iterable[Manifest]:
    return (found for found in manifests if labels.items() <= found["metadata"].get("labels", {}).items())
